/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl under the name nvidia-mig-parted: that program's subcommands, exit codes and lines, with
 * libmig underneath.
 *
 * Success is one line on standard output and exit code 0; every failure is one fatal log line on
 * standard error and exit code 1; an unknown subcommand is 3. Where the outcome differs on purpose
 * is written in docs/compatibility.md.
 */
#include "cli/parted.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "cli/parted_change.h"
#include "cli/parted_flags.h"
#include "cli/parted_log.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define EXIT_UNKNOWN_COMMAND 3
#define NOT_APPLIED "assertion failure: selected configuration not currently applied"

MIG_DEFINE_CLEANUP(config, struct mig_config, mig_config_free)
MIG_DEFINE_CLEANUP(hooks, struct mig_hooks, mig_hooks_free)

static int fatal(const char *prefix, const struct mig_error *error)
{
    parted_log_error(PARTED_LEVEL_FATAL, prefix, error);
    return 1;
}

static int succeed(const char *line)
{
    puts(line);
    if (fflush(stdout) != 0) {
        parted_log(PARTED_LEVEL_FATAL, "could not write the output: %s", strerror(errno));
        return 1;
    }
    return 0;
}

/* False, after help and a fatal line, when a flag that is needed was left out. */
static bool require(const struct parted_arguments *arguments, enum parted_flag flag,
                    const char *name)
{
    if (arguments->values[flag][0]) {
        return true;
    }
    parted_print_help(stdout, arguments->command);
    parted_log(PARTED_LEVEL_FATAL, "missing required flags '%s'", name);
    return false;
}

/* --- apply and assert --- */

struct selection {
    const struct mig_config *config;
    size_t index;
};

static int config_goal(const struct mig_node *node, bool mode_only, void *data,
                       struct mig_goal *ret, struct mig_error *error)
{
    const struct selection *selection = data;

    return mig_config_goal(selection->config, selection->index, node, mode_only, ret, error);
}

/* Reads the file and finds the config in it; its name goes back into the arguments. */
static int select_config(struct parted_arguments *arguments, struct mig_config **config,
                         struct selection *ret)
{
    struct mig_error error;

    parted_log(PARTED_LEVEL_DEBUG, "parsing config file...");
    if (mig_config_load(arguments->values[PARTED_CONFIG_FILE], config, &error) < 0) {
        return fatal("error parsing config file: ", &error);
    }
    parted_log(PARTED_LEVEL_DEBUG, "selecting specific MIG config...");
    if (mig_config_select(*config, arguments->values[PARTED_SELECTED_CONFIG], &ret->index, &error) <
        0) {
        return fatal("error selecting MIG config: ", &error);
    }
    ret->config = *config;
    arguments->values[PARTED_SELECTED_CONFIG] = mig_config_name(*config, ret->index);
    return 0;
}

static int load_hooks(const struct parted_arguments *arguments, struct mig_hooks **ret)
{
    struct mig_error error;

    if (!arguments->values[PARTED_HOOKS_FILE][0]) {
        return 0;
    }
    parted_log(PARTED_LEVEL_DEBUG, "parsing hooks file...");
    if (mig_hooks_load(arguments->values[PARTED_HOOKS_FILE], ret, &error) < 0) {
        return fatal("error parsing hooks file: ", &error);
    }
    return 0;
}

static int run_apply(struct parted_arguments *arguments)
{
    MIG_CLEANUP(cleanup_config) struct mig_config *config = NULL;
    MIG_CLEANUP(cleanup_hooks) struct mig_hooks *hooks = NULL;
    struct selection selection = {NULL, 0};
    struct mig_error error;

    if (!require(arguments, PARTED_CONFIG_FILE, "config-file") ||
        select_config(arguments, &config, &selection) != 0 || load_hooks(arguments, &hooks) != 0) {
        return 1;
    }
    if (parted_change(arguments, hooks, config_goal, &selection, &error) < 0) {
        return fatal("error applying MIG configuration with hooks: ", &error);
    }
    return succeed("MIG configuration applied successfully");
}

/* True when the node is as the config wants it; `error` says why not. */
static bool is_applied(const struct selection *selection, bool mode_only, struct mig_error *error)
{
    MIG_CLEANUP(parted_node_release) struct parted_node node = {NULL, NULL};
    struct mig_goal goal;

    return parted_node_read(&node, error) == 0 &&
           mig_config_goal(selection->config, selection->index, node.node, mode_only, &goal,
                           error) == 0 &&
           mig_goal_is_met(node.node, &goal, error);
}

static int run_assert(struct parted_arguments *arguments)
{
    MIG_CLEANUP(cleanup_config) struct mig_config *config = NULL;
    struct selection selection = {NULL, 0};
    bool mode_only = parted_is_set(arguments, PARTED_MODE_ONLY);
    struct mig_error error;

    if (!require(arguments, PARTED_CONFIG_FILE, "config-file") ||
        select_config(arguments, &config, &selection) != 0) {
        return 1;
    }
    if (parted_is_set(arguments, PARTED_VALID_CONFIG)) {
        return succeed("Selected MIG configuration is valid");
    }
    if (!is_applied(&selection, mode_only, &error)) {
        parted_log_error(PARTED_LEVEL_DEBUG, "", &error);
        parted_log(PARTED_LEVEL_FATAL, NOT_APPLIED);
        return 1;
    }
    return succeed(mode_only ? "Selected MIG mode settings from configuration currently applied"
                             : "Selected MIG configuration currently applied");
}

/* --- export and generate-config --- */

static bool read_format(const struct parted_arguments *arguments, enum mig_format *ret)
{
    const char *format = arguments->values[PARTED_OUTPUT_FORMAT];

    *ret = strcmp(format, "json") == 0 ? MIG_FORMAT_JSON : MIG_FORMAT_YAML;
    if (*ret == MIG_FORMAT_JSON || strcmp(format, "yaml") == 0) {
        return true;
    }
    parted_print_help(stdout, arguments->command);
    parted_log(PARTED_LEVEL_FATAL, "unrecognized 'output-format': %s", format);
    return false;
}

static int print_text(const char *text)
{
    if (fputs(text, stdout) < 0 || fflush(stdout) != 0) {
        parted_log(PARTED_LEVEL_FATAL, "error writing output: %s", strerror(errno));
        return 1;
    }
    return 0;
}

static int run_export(struct parted_arguments *arguments)
{
    MIG_CLEANUP(parted_node_release) struct parted_node node = {NULL, NULL};
    MIG_AUTO_FREE char *text = NULL;
    enum mig_format format;
    struct mig_error error;

    if (!read_format(arguments, &format)) {
        return 1;
    }
    if (parted_node_read(&node, &error) < 0 ||
        mig_config_export(node.node, arguments->values[PARTED_CONFIG_LABEL], format, &text,
                          &error) < 0) {
        return fatal("", &error);
    }
    return print_text(text);
}

static size_t models_of(const struct mig_node *node, const struct mig_model *models[MIG_GPU_MAX])
{
    size_t count = 0;

    for (uint32_t i = 0; i < node->gpu_count && count < MIG_GPU_MAX; i++) {
        if (node->gpus[i].mig_capable && node->gpus[i].layout.model) {
            models[count++] = node->gpus[i].layout.model;
        }
    }
    return count;
}

static int generate(enum mig_format format, char **ret, struct mig_error *error)
{
    MIG_CLEANUP(parted_node_release) struct parted_node node = {NULL, NULL};
    const struct mig_model *models[MIG_GPU_MAX];
    size_t count;
    int rc = parted_node_read(&node, error);

    if (rc < 0) {
        return rc;
    }
    count = models_of(node.node, models);
    if (count == 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "no MIG-capable devices found on the system");
    }
    return mig_config_generate(models, count, format, ret, error);
}

/* A regular file is replaced in one step; a pipe or a terminal is written to. */
static int write_output(const char *path, const char *text, struct mig_error *error)
{
    MIG_AUTO_FCLOSE FILE *out = NULL;
    struct stat status;

    if (stat(path, &status) != 0 || S_ISREG(status.st_mode)) {
        return mig_file_write_atomic(path, text, strlen(text), 0644, error);
    }
    out = fopen(path, "we");
    if (!out || fputs(text, out) < 0 || fflush(out) != 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not write '%s'", path);
    }
    return 0;
}

static int run_generate_config(struct parted_arguments *arguments)
{
    const char *path = arguments->values[PARTED_OUTPUT_FILE];
    MIG_AUTO_FREE char *text = NULL;
    enum mig_format format;
    struct mig_error error;

    if (!read_format(arguments, &format)) {
        return 1;
    }
    if (generate(format, &text, &error) < 0 || !text) {
        return fatal("error generating MIG config: ", &error);
    }
    if (!*path) {
        return print_text(text);
    }
    return write_output(path, text, &error) < 0 ? fatal("error writing output: ", &error) : 0;
}

/* --- checkpoint and restore --- */

static int run_checkpoint(struct parted_arguments *arguments)
{
    MIG_CLEANUP(parted_node_release) struct parted_node node = {NULL, NULL};
    MIG_AUTO_FREE char *text = NULL;
    struct mig_error error;

    if (!require(arguments, PARTED_CHECKPOINT_FILE, "checkpoint-file")) {
        return 1;
    }
    if (parted_node_read(&node, &error) < 0 || mig_checkpoint_write(node.node, &text, &error) < 0) {
        return fatal("error fetching MIG state: ", &error);
    }
    if (write_output(arguments->values[PARTED_CHECKPOINT_FILE], text, &error) < 0) {
        return fatal("error writing checkpoint file: ", &error);
    }
    return succeed("MIG configuration checkpointed successfully");
}

struct checkpoint {
    const char *path;
    char *text;
    size_t size;
};

static void checkpoint_release(struct checkpoint *checkpoint)
{
    free(MIG_TAKE(checkpoint->text));
}

static int checkpoint_goal(const struct mig_node *node, bool mode_only, void *data,
                           struct mig_goal *ret, struct mig_error *error)
{
    const struct checkpoint *checkpoint = data;

    return mig_checkpoint_goal(checkpoint->path, checkpoint->text, checkpoint->size, node,
                               mode_only, ret, error);
}

/* A checkpoint that cannot be read, or is of another node, ends it before the first hook. */
static int load_checkpoint(struct checkpoint *checkpoint, struct mig_error *error)
{
    MIG_CLEANUP(parted_node_release) struct parted_node node = {NULL, NULL};
    struct mig_goal goal;
    int rc = mig_file_read(checkpoint->path, MIG_CONFIG_BYTES_MAX, &checkpoint->text,
                           &checkpoint->size, error);

    if (rc == 0) {
        rc = parted_node_read(&node, error);
    }
    return rc < 0 ? rc : checkpoint_goal(node.node, false, checkpoint, &goal, error);
}

static int run_restore(struct parted_arguments *arguments)
{
    MIG_CLEANUP(cleanup_hooks) struct mig_hooks *hooks = NULL;
    MIG_CLEANUP(checkpoint_release)
    struct checkpoint checkpoint = {.path = arguments->values[PARTED_CHECKPOINT_FILE]};
    struct mig_error error;

    if (!require(arguments, PARTED_CHECKPOINT_FILE, "checkpoint-file")) {
        return 1;
    }
    parted_log(PARTED_LEVEL_DEBUG, "parsing checkpoint file...");
    if (load_checkpoint(&checkpoint, &error) < 0) {
        return fatal("error parsing checkpoint file: ", &error);
    }
    if (load_hooks(arguments, &hooks) != 0) {
        return 1;
    }
    if (parted_change(arguments, hooks, checkpoint_goal, &checkpoint, &error) < 0) {
        return fatal("error applying MIG configuration with hooks: ", &error);
    }
    return succeed("MIG configuration restored successfully");
}

/* --- the program --- */

static int (*const functions[PARTED_COMMAND_COUNT])(struct parted_arguments *arguments) = {
    [PARTED_APPLY] = run_apply,           [PARTED_ASSERT] = run_assert,
    [PARTED_EXPORT] = run_export,         [PARTED_GENERATE_CONFIG] = run_generate_config,
    [PARTED_CHECKPOINT] = run_checkpoint, [PARTED_RESTORE] = run_restore,
};

int mig_parted_main(int argc, char **argv)
{
    struct parted_arguments arguments;

    parted_read_arguments(argc, argv, &arguments);
    parted_log_debug_enable(parted_is_set(&arguments, PARTED_DEBUG));
    if (arguments.unknown_command[0]) {
        fprintf(stderr, "No help topic for '%s'\n", arguments.unknown_command);
        return EXIT_UNKNOWN_COMMAND;
    }
    if (arguments.problem[0]) {
        fprintf(stderr, "Incorrect Usage: %s\n\n", arguments.problem);
        parted_print_help(stdout, arguments.command);
        parted_log(PARTED_LEVEL_FATAL, "%s", arguments.problem);
        return 1;
    }
    if (parted_is_set(&arguments, PARTED_VERSION)) {
        printf("nvidia-mig-parted version %s\ncommit: migd\n", MIG_VERSION);
        return 0;
    }
    if (arguments.command == PARTED_COMMAND_COUNT || parted_is_set(&arguments, PARTED_HELP)) {
        parted_print_help(stdout, arguments.command);
        return 0;
    }
    return functions[arguments.command](&arguments);
}
