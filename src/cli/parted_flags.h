/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of nvidia-mig-parted: subcommands, flags, and the variables that stand for
 * flags. */
#ifndef MIG_CLI_PARTED_FLAGS_H
#define MIG_CLI_PARTED_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum parted_flag {
    PARTED_CONFIG_FILE = 0,
    PARTED_SELECTED_CONFIG,
    PARTED_HOOKS_FILE,
    PARTED_SKIP_RESET,
    PARTED_MODE_ONLY,
    PARTED_VALID_CONFIG,
    PARTED_OUTPUT_FORMAT,
    PARTED_CONFIG_LABEL,
    PARTED_OUTPUT_FILE,
    PARTED_CHECKPOINT_FILE,
    PARTED_DEBUG,
    PARTED_HELP,
    PARTED_VERSION,
    PARTED_FLAG_COUNT
};

enum parted_command {
    PARTED_APPLY = 0,
    PARTED_ASSERT,
    PARTED_EXPORT,
    PARTED_GENERATE_CONFIG,
    PARTED_CHECKPOINT,
    PARTED_RESTORE,
    PARTED_COMMAND_COUNT, /* none was given */
};

struct parted_arguments {
    enum parted_command command;
    const char *values[PARTED_FLAG_COUNT]; /* never NULL; "true" and "false" for switches */
    char problem[256];                     /* what is wrong with the command line; "" = nothing */
    char unknown_command[64];              /* "" = none */
};

/* Reads arguments, then variables for what was not given. */
void parted_read_arguments(int argc, char **argv, struct parted_arguments *ret);

static inline bool parted_is_set(const struct parted_arguments *arguments, enum parted_flag flag)
{
    return arguments->values[flag][0] == 't';
}

const char *parted_command_name(enum parted_command command);

/* Help of a subcommand, or of the program for PARTED_COMMAND_COUNT. */
void parted_print_help(FILE *out, enum parted_command command);

/*
 * The environment that hooks get: every variable of the subcommand with its value, "NAME=value",
 * NULL-terminated, in one block to free. NULL when memory is short.
 */
char **parted_hook_environment(const struct parted_arguments *arguments);

#endif
