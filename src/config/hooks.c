/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hooks: commands that stop and start the users of GPUs around an apply.
 *
 * The file has nvidia-mig-parted's form: its version is not looked at, names of hooks and fields
 * that are not known are passed over, and numbers and truth values stand for their text. What is
 * refused is what could never run.
 *
 * A command gets exactly the environment that is written down, /dev/null as its input and, unless
 * its output is wanted, as its output. It stays in the caller's process group, so that Ctrl-C ends
 * both. It may take MIG_HOOK_SECONDS_MAX: a hook that stops services takes minutes, one that hangs
 * must not hang the node for good.
 */
#include "config/hooks.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "config/arena.h"
#include "config/document.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define HOOKS_MEMORY_MAX (8u << 20)
#define COMMANDS_MAX 64u /* of one hook */
#define WORDS_MAX 256u   /* arguments, environment variables of one command */
#define TERM_GRACE_MS 5000u
#define KILL_GRACE_MS 2000u /* a process that hangs in a driver cannot be ended at all */
#define POLL_MS_MAX 50u
#define STATUS_UNKNOWN (-1)

struct command {
    const char *path, *directory; /* directory "" = the caller's */
    char **arguments;             /* with the command itself, NULL-terminated */
    char **environment;           /* NULL-terminated */
};

struct mig_hooks {
    struct mig_arena arena;
    struct command *commands[MIG_HOOK_COUNT];
    uint32_t counts[MIG_HOOK_COUNT];
};

struct parser {
    struct mig_hooks *hooks;
    const char *name;
    struct mig_error *error;
};

static const char *const hook_names[MIG_HOOK_COUNT] = {
    [MIG_HOOK_APPLY_START] = "apply-start",
    [MIG_HOOK_PRE_APPLY_MODE] = "pre-apply-mode",
    [MIG_HOOK_PRE_APPLY_CONFIG] = "pre-apply-config",
    [MIG_HOOK_APPLY_EXIT] = "apply-exit",
};

/* --- parsing --- */

static int no_memory(struct parser *parser)
{
    return mig_error_set_errno(parser->error, MIG_E_FAILED, ENOMEM, "could not read '%s'",
                               parser->name);
}

static int wrong_kind(struct parser *parser, const char *what, const struct mig_value *value,
                      const char *wanted)
{
    return mig_position_error(parser->error, MIG_E_CONFIG, parser->name, value->position,
                              "%s has to be %s, found %s", what, wanted,
                              mig_value_kind_name(value->kind));
}

/* The text of a scalar, `prefix` in front; NULL when there is no memory. */
static char *scalar_text(struct parser *parser, const char *prefix, const struct mig_value *value)
{
    char number[24];
    const char *text = value->text;
    size_t size;
    char *copy;

    if (value->kind == MIG_VALUE_NULL) {
        text = "";
    } else if (value->kind == MIG_VALUE_BOOL) {
        text = value->boolean ? "true" : "false";
    } else if (value->kind == MIG_VALUE_INTEGER) {
        snprintf(number, sizeof(number), "%lld", (long long)value->integer);
        text = number;
    }
    size = strlen(prefix) + strlen(text) + 1;
    copy = mig_arena_array(&parser->hooks->arena, size, 1);
    if (copy) {
        snprintf(copy, size, "%s%s", prefix, text);
    }
    return copy;
}

static bool is_scalar(const struct mig_value *value)
{
    return value->kind != MIG_VALUE_LIST && value->kind != MIG_VALUE_MAP;
}

static int parse_text(struct parser *parser, const struct mig_value *map, const char *key,
                      const char **ret)
{
    const struct mig_pair *pair = mig_value_find(map, key);

    *ret = "";
    if (!pair) {
        return 0;
    }
    if (!is_scalar(pair->value)) {
        return wrong_kind(parser, key, pair->value, "text");
    }
    *ret = scalar_text(parser, "", pair->value);
    return *ret ? 0 : no_memory(parser);
}

/* Room for `count` words and a terminator. */
static int new_words(struct parser *parser, const struct mig_value *value, uint32_t count,
                     char ***ret)
{
    if (count > WORDS_MAX) {
        return mig_position_error(parser->error, MIG_E_CONFIG, parser->name, value->position,
                                  "more than %u arguments or variables", WORDS_MAX);
    }
    *ret = mig_arena_array(&parser->hooks->arena, count + 1, sizeof(char *));
    return *ret ? 0 : no_memory(parser);
}

static int parse_arguments(struct parser *parser, const struct mig_value *map,
                           struct command *command)
{
    const struct mig_pair *pair = mig_value_find(map, "args");
    const struct mig_value *list = pair ? pair->value : NULL;
    uint32_t count = list && list->kind == MIG_VALUE_LIST ? list->count : 0;
    int rc;

    if (list && list->kind != MIG_VALUE_LIST && list->kind != MIG_VALUE_NULL) {
        return wrong_kind(parser, "args", list, "a list of texts");
    }
    rc = new_words(parser, list ? list : map, count + 1, &command->arguments);
    if (rc < 0) {
        return rc;
    }
    command->arguments[0] =
        mig_arena_text(&parser->hooks->arena, command->path, strlen(command->path));
    for (uint32_t i = 0; i < count; i++) {
        if (!is_scalar(list->items[i])) {
            return wrong_kind(parser, "an argument", list->items[i], "text");
        }
        command->arguments[i + 1] = scalar_text(parser, "", list->items[i]);
    }
    for (uint32_t i = 0; i <= count; i++) {
        if (!command->arguments[i]) {
            return no_memory(parser);
        }
    }
    return 0;
}

static int parse_variable(struct parser *parser, const struct mig_pair *pair, char **ret)
{
    char prefix[128];

    if (!is_scalar(pair->value)) {
        return wrong_kind(parser, "an environment variable", pair->value, "text");
    }
    if (!*pair->key || strchr(pair->key, '=') ||
        (size_t)snprintf(prefix, sizeof(prefix), "%s=", pair->key) >= sizeof(prefix)) {
        return mig_position_error(parser->error, MIG_E_CONFIG, parser->name, pair->position,
                                  "'%.64s' cannot be the name of an environment variable",
                                  pair->key);
    }
    *ret = scalar_text(parser, prefix, pair->value);
    return *ret ? 0 : no_memory(parser);
}

static int parse_environment(struct parser *parser, const struct mig_value *map,
                             struct command *command)
{
    const struct mig_pair *pair = mig_value_find(map, "envs");
    const struct mig_value *envs = pair ? pair->value : NULL;
    uint32_t count = envs && envs->kind == MIG_VALUE_MAP ? envs->count : 0, used = 0;
    int rc;

    if (envs && envs->kind != MIG_VALUE_MAP && envs->kind != MIG_VALUE_NULL) {
        return wrong_kind(parser, "envs", envs, "a map of texts");
    }
    rc = new_words(parser, envs ? envs : map, count, &command->environment);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        if (!envs->pairs[i].overridden) {
            rc = parse_variable(parser, &envs->pairs[i], &command->environment[used]);
            used++;
        }
    }
    return rc;
}

static int parse_command(struct parser *parser, const struct mig_value *map,
                         struct command *command)
{
    int rc;

    if (map->kind != MIG_VALUE_MAP) {
        return wrong_kind(parser, "a hook", map, "a map with 'command'");
    }
    rc = parse_text(parser, map, "command", &command->path);
    if (rc == 0 && !*command->path) {
        rc = mig_position_error(parser->error, MIG_E_CONFIG, parser->name, map->position,
                                "a hook without 'command'");
    }
    if (rc == 0) {
        rc = parse_text(parser, map, "workdir", &command->directory);
    }
    if (rc == 0) {
        rc = parse_arguments(parser, map, command);
    }
    if (rc == 0) {
        rc = parse_environment(parser, map, command);
    }
    return rc;
}

static int parse_hook(struct parser *parser, enum mig_hook hook, const struct mig_value *list)
{
    struct command *commands;

    if (list->kind == MIG_VALUE_NULL) {
        return 0;
    }
    if (list->kind != MIG_VALUE_LIST) {
        return wrong_kind(parser, hook_names[hook], list, "a list of commands");
    }
    if (list->count > COMMANDS_MAX) {
        return mig_position_error(parser->error, MIG_E_CONFIG, parser->name, list->position,
                                  "more than %u commands in hook %s", COMMANDS_MAX,
                                  hook_names[hook]);
    }
    commands = mig_arena_array(&parser->hooks->arena, list->count, sizeof(*commands));
    if (!commands) {
        return no_memory(parser);
    }
    for (uint32_t i = 0; i < list->count; i++) {
        int rc = parse_command(parser, list->items[i], &commands[i]);

        if (rc < 0) {
            return rc;
        }
    }
    parser->hooks->commands[hook] = commands;
    parser->hooks->counts[hook] = list->count;
    return 0;
}

static int parse_root(struct parser *parser, const struct mig_value *root)
{
    const struct mig_pair *hooks;

    if (root->kind == MIG_VALUE_NULL) {
        return 0;
    }
    if (root->kind != MIG_VALUE_MAP) {
        return wrong_kind(parser, "the file", root, "a map with 'version' and 'hooks'");
    }
    hooks = mig_value_find(root, "hooks");
    if (!hooks || hooks->value->kind == MIG_VALUE_NULL) {
        return 0;
    }
    if (hooks->value->kind != MIG_VALUE_MAP) {
        return wrong_kind(parser, "'hooks'", hooks->value, "a map of hook names");
    }
    for (enum mig_hook hook = 0; hook < MIG_HOOK_COUNT; hook++) {
        const struct mig_pair *pair = mig_value_find(hooks->value, hook_names[hook]);
        int rc = pair ? parse_hook(parser, hook, pair->value) : 0;

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int mig_hooks_parse(const char *name, const char *text, size_t size, struct mig_hooks **ret,
                    struct mig_error *error)
{
    struct mig_hooks *hooks = calloc(1, sizeof(*hooks));
    struct parser parser = {.hooks = hooks, .name = name, .error = error};
    struct mig_document *document = NULL;
    int rc;

    if (!hooks) {
        return no_memory(&parser);
    }
    mig_arena_init(&hooks->arena, HOOKS_MEMORY_MAX);
    rc = mig_document_parse(name, text, size, &document, error);
    if (rc == 0) {
        rc = parse_root(&parser, mig_document_root(document));
    }
    mig_document_free(document);
    if (rc < 0) {
        mig_hooks_free(hooks);
        return rc;
    }
    *ret = hooks;
    return 0;
}

int mig_hooks_load(const char *path, struct mig_hooks **ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size = 0;
    int rc = mig_document_read_file(path, &text, &size, error);

    return rc < 0 ? rc : mig_hooks_parse(path, text, size, ret, error);
}

void mig_hooks_free(struct mig_hooks *hooks)
{
    if (hooks) {
        mig_arena_release(&hooks->arena);
        free(hooks);
    }
}

/* --- running --- */

static bool same_variable(const char *a, const char *b)
{
    size_t length = strcspn(a, "=");

    return strncmp(a, b, length + 1) == 0;
}

/* The command's own variables and then `extra`, which wins; the strings are not copied. */
static char **join_environment(const struct command *command, char *const *extra)
{
    size_t own = 0, added = 0, count = 0;
    char **joined;

    while (command->environment[own]) {
        own++;
    }
    while (extra && extra[added]) {
        added++;
    }
    joined = calloc(own + added + 1, sizeof(char *));
    for (size_t i = 0; joined && i < own; i++) {
        bool replaced = false;

        for (size_t k = 0; k < added; k++) {
            replaced = replaced || same_variable(command->environment[i], extra[k]);
        }
        if (!replaced) {
            joined[count++] = command->environment[i];
        }
    }
    for (size_t k = 0; joined && k < added; k++) {
        joined[count++] = extra[k];
    }
    return joined;
}

static int add_actions(posix_spawn_file_actions_t *actions, const struct command *command,
                       bool verbose)
{
    int rc = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    if (rc == 0 && !verbose) {
        rc = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    }
    if (rc == 0 && !verbose) {
        rc = posix_spawn_file_actions_adddup2(actions, STDOUT_FILENO, STDERR_FILENO);
    }
    if (rc == 0 && *command->directory) {
        rc = posix_spawn_file_actions_addchdir_np(actions, command->directory);
    }
    return rc;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    int rc;

    sigemptyset(&none);
    sigfillset(&all);
    rc = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (rc == 0) {
        rc = posix_spawnattr_setsigmask(attributes, &none);
    }
    return rc == 0 ? posix_spawnattr_setsigdefault(attributes, &all) : rc;
}

/* Returns 0 or an errno. */
static int start(const struct command *command, char *const *environment, bool verbose, pid_t *ret)
{
    MIG_AUTO_FREE char **joined = join_environment(command, environment);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc;

    if (!joined || posix_spawn_file_actions_init(&actions) != 0) {
        return ENOMEM;
    }
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return ENOMEM;
    }
    rc = add_actions(&actions, command, verbose);
    if (rc == 0) {
        rc = set_attributes(&attributes);
    }
    if (rc == 0) {
        rc = posix_spawnp(ret, command->path, &actions, &attributes, command->arguments, joined);
    }
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* True when the process has ended before `deadline` (monotonic). */
static bool wait_until(pid_t pid, uint64_t deadline, int *ret_status)
{
    unsigned pause_ms = 1;

    for (;;) {
        pid_t ended = waitpid(pid, ret_status, WNOHANG);

        if (ended == pid) {
            return true;
        }
        if (ended < 0 && errno != EINTR) {
            *ret_status = STATUS_UNKNOWN; /* somebody else has waited for it */
            return true;
        }
        if (mig_now_ms() >= deadline) {
            return false;
        }
        mig_sleep_ms(pause_ms);
        pause_ms = pause_ms * 2 < POLL_MS_MAX ? pause_ms * 2 : POLL_MS_MAX;
    }
}

static int report_end(enum mig_hook hook, const struct command *command, int status,
                      struct mig_error *error)
{
    if (status == STATUS_UNKNOWN) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "hook %s: how '%.256s' ended is not known (SIGCHLD is ignored here)",
                             hook_names[hook], command->path);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, status,
                  WIFSIGNALED(status) ? "hook %s: '%.256s' was ended by signal %d"
                                      : "hook %s: '%.256s' ended with exit status %d",
                  hook_names[hook], command->path,
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return MIG_E_FAILED;
}

static int run_command(enum mig_hook hook, const struct command *command,
                       const struct mig_hook_options *options, struct mig_error *error)
{
    pid_t pid = -1;
    int status = 0;
    int rc = start(command, options->environment, options->verbose, &pid);

    if (rc != 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, rc, "hook %s: could not run '%.256s'",
                                   hook_names[hook], command->path);
    }
    if (wait_until(pid, mig_now_ms() + options->limit_ms, &status)) {
        return report_end(hook, command, status, error);
    }
    kill(pid, SIGTERM);
    if (!wait_until(pid, mig_now_ms() + options->grace_ms, &status)) {
        kill(pid, SIGKILL);
        (void)wait_until(pid, mig_now_ms() + KILL_GRACE_MS, &status);
    }
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, status,
                         "hook %s: '%.256s' took longer than %u seconds and was ended",
                         hook_names[hook], command->path, options->limit_ms / 1000);
}

int mig_hooks_run_limited(const struct mig_hooks *hooks, enum mig_hook hook,
                          const struct mig_hook_options *options, struct mig_error *error)
{
    if (!hooks || hook >= MIG_HOOK_COUNT) {
        return 0;
    }
    for (uint32_t i = 0; i < hooks->counts[hook]; i++) {
        int rc = run_command(hook, &hooks->commands[hook][i], options, error);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int mig_hooks_run(const struct mig_hooks *hooks, enum mig_hook hook, char *const *environment,
                  bool verbose, struct mig_error *error)
{
    const struct mig_hook_options options = {.environment = environment,
                                             .verbose = verbose,
                                             .limit_ms = MIG_HOOK_SECONDS_MAX * 1000u,
                                             .grace_ms = TERM_GRACE_MS};

    return mig_hooks_run_limited(hooks, hook, &options, error);
}
