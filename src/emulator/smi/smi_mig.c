/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `nvidia-smi mig`. */
#include "emulator/smi/smi_mig.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

enum mig_option {
    OPTION_VERB = 0,
    OPTION_GPU,
    OPTION_GI,
    OPTION_CI,
    OPTION_DEFAULT_CI,
    OPTION_HELP,
};

enum mig_argument { ARGUMENT_NONE, ARGUMENT_OPTIONAL, ARGUMENT_REQUIRED };

struct option_row {
    const char *brief, *full;
    smi_mig_verb *verb; /* of OPTION_VERB */
    const char *help;
    enum mig_option option;
    enum mig_argument argument;
};

static const struct option_row rows[] = {
    {"-h", "--help", NULL, "show this text", OPTION_HELP, ARGUMENT_NONE},
    {"-i", "--id", NULL, "GPU index, bus id or UUID, or a list", OPTION_GPU, ARGUMENT_REQUIRED},
    {"-gi", "--gpu-instance-id", NULL, "GPU instance id or a list", OPTION_GI, ARGUMENT_REQUIRED},
    {"-ci", "--compute-instance-id", NULL, "compute instance id or a list", OPTION_CI,
     ARGUMENT_REQUIRED},
    {"-lgip", "--list-gpu-instance-profiles", smi_list_gi_profiles, "list GPU instance profiles",
     OPTION_VERB, ARGUMENT_NONE},
    {"-lgipp", "--list-gpu-instance-possible-placements", smi_list_gi_placements,
     "list where GPU instances may start", OPTION_VERB, ARGUMENT_NONE},
    {"-C", "--default-compute-instance", NULL,
     "with -cgi: also create the default compute instance", OPTION_DEFAULT_CI, ARGUMENT_NONE},
    {"-cgi", "--create-gpu-instance", smi_create_gis,
     "create GPU instances: profile ids or names, each with :START or not", OPTION_VERB,
     ARGUMENT_REQUIRED},
    {"-dgi", "--destroy-gpu-instance", smi_destroy_gis, "destroy GPU instances", OPTION_VERB,
     ARGUMENT_NONE},
    {"-lgi", "--list-gpu-instances", smi_list_gis, "list GPU instances", OPTION_VERB,
     ARGUMENT_NONE},
    {"-lcip", "--list-compute-instance-profiles", smi_list_ci_profiles,
     "list compute instance profiles", OPTION_VERB, ARGUMENT_NONE},
    {"-lcipp", "--list-compute-instance-possible-placements", smi_list_ci_placements,
     "list where compute instances may start", OPTION_VERB, ARGUMENT_NONE},
    {"-cci", "--create-compute-instance", smi_create_cis,
     "create compute instances; without a profile the default one", OPTION_VERB, ARGUMENT_OPTIONAL},
    {"-dci", "--destroy-compute-instance", smi_destroy_cis, "destroy compute instances",
     OPTION_VERB, ARGUMENT_NONE},
    {"-lci", "--list-compute-instances", smi_list_cis, "list compute instances", OPTION_VERB,
     ARGUMENT_NONE},
};

static int print_help(void)
{
    size_t i;

    printf("Usage: nvidia-smi mig [-i ID] [-gi ID] [-ci ID] VERB\n\n");
    for (i = 0; i < MIG_ARRAY_SIZE(rows); i++) {
        static const char *const arguments[] = {"", " [LIST]", " LIST"};
        char option[96];

        (void)snprintf(option, sizeof(option), "%s, %s%s", rows[i].brief, rows[i].full,
                       arguments[rows[i].argument]);
        printf("  %-58s %s\n", option, rows[i].help);
    }
    return 0;
}

static int bad_option(const char *text, const char *why)
{
    printf("Option \"%s\" %s.\n", text, why);
    return SMI_EXIT_USAGE;
}

/* "-cgi", "--create-gpu-instance" or "--create-gpu-instance=19": the row, and what stands behind
 * the "=" (NULL for none). */
static const struct option_row *find_row(const char *text, const char **value)
{
    size_t i;

    *value = NULL;
    for (i = 0; i < MIG_ARRAY_SIZE(rows); i++) {
        size_t length = strlen(rows[i].full);

        if (strcmp(text, rows[i].brief) == 0 || strcmp(text, rows[i].full) == 0) {
            return &rows[i];
        }
        if (strncmp(text, rows[i].full, length) == 0 && text[length] == '=') {
            *value = text + length + 1;
            return &rows[i];
        }
    }
    return NULL;
}

struct mig_command {
    const struct option_row *verb;
    const char *gpus;
    struct smi_mig_options options;
    bool help;
};

static int apply_option(struct mig_command *command, const struct option_row *row,
                        const char *value)
{
    switch (row->option) {
    case OPTION_HELP:
        command->help = true;
        return 0;
    case OPTION_GPU:
        command->gpus = value;
        return 0;
    case OPTION_GI:
        return smi_ids_parse(value, &command->options.gi)
                   ? 0
                   : bad_option(value, "is not a list of ids");
    case OPTION_CI:
        return smi_ids_parse(value, &command->options.ci)
                   ? 0
                   : bad_option(value, "is not a list of ids");
    case OPTION_DEFAULT_CI:
        command->options.with_compute_instance = true;
        return 0;
    case OPTION_VERB:
        if (command->verb) {
            return bad_option(row->brief, "cannot be combined with another verb");
        }
        command->verb = row;
        command->options.profiles = value;
        return 0;
    }
    return 0;
}

static int parse_command(int argc, char **argv, struct mig_command *command)
{
    int i;

    for (i = 0; i < argc; i++) {
        const char *value;
        const struct option_row *row = find_row(argv[i], &value);
        int status;

        if (!row) {
            return bad_option(argv[i], "is not recognized");
        }
        if (!value && row->argument != ARGUMENT_NONE && i + 1 < argc &&
            (row->argument == ARGUMENT_REQUIRED || argv[i + 1][0] != '-')) {
            value = argv[++i];
        }
        if (!value && row->argument == ARGUMENT_REQUIRED) {
            return bad_option(row->brief, "is missing its value");
        }
        status = apply_option(command, row, value);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

/*
 * Leaves the GPUs in MIG mode; most verbs mean nothing on others. From driver 550 on, none being
 * left is no error, and profiles and placements are asked for without MIG mode too.
 */
static int keep_mig_gpus(struct smi *smi, smi_mig_verb *verb)
{
    bool any_mode = smi->layout.branch >= 550 &&
                    (verb == smi_list_gi_profiles || verb == smi_list_gi_placements);
    size_t kept = 0;
    size_t i;
    bool supported = false;

    for (i = 0; i < smi->gpu_count; i++) {
        bool able = smi_mig_supported(smi, smi->gpus[i].handle);

        supported = supported || able;
        if (any_mode ? able : smi_mig_enabled(smi, smi->gpus[i].handle)) {
            smi->gpus[kept++] = smi->gpus[i];
        }
    }
    smi->gpu_count = kept;
    if (kept > 0) {
        return 0;
    }
    printf("No MIG-%s devices found.\n", supported ? "enabled" : "supported");
    return smi->layout.branch >= 550 ? SMI_EXIT_NOTHING_TO_DO : NVML_ERROR_NOT_FOUND;
}

int smi_mig_main(struct smi *smi, int argc, char **argv)
{
    struct mig_command command = {.verb = NULL};
    int status = parse_command(argc, argv, &command);

    if (status != 0) {
        return status;
    }
    if (command.help || argc == 0) {
        return print_help();
    }
    if (!command.verb) {
        return bad_option(argv[argc - 1], "needs a verb beside it");
    }
    if (command.options.with_compute_instance && command.verb->verb != smi_create_gis) {
        return bad_option("-C", "needs -cgi");
    }
    status = command.gpus ? smi_select(smi, command.gpus) : smi_select_all(smi);
    if (status == 0) {
        status = keep_mig_gpus(smi, command.verb->verb);
    }
    if (status != 0) {
        return status == SMI_EXIT_NOTHING_TO_DO ? 0 : status;
    }
    return command.verb->verb(smi, &command.options);
}
