/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of commands and options. Parsing, --help, the completions of three shells and the
 * man pages are all made from it, so they cannot disagree.
 */
#ifndef MIG_CLI_OPTIONS_H
#define MIG_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cli_option_id {
    CLI_FILE = 0,
    CLI_CONFIG,
    CLI_GPU,
    CLI_GI,
    CLI_CI,
    CLI_MODEL,
    CLI_MODE_ONLY,
    CLI_DRY_RUN,
    CLI_ON_BUSY,
    CLI_TIMEOUT,
    CLI_SKIP_RESET,
    CLI_RESET_COMMAND,
    CLI_LABEL,
    CLI_CATALOG,
    CLI_NODE,
    CLI_DISABLE,
    CLI_ROOT,
    /* common to all commands, from here on */
    CLI_OUTPUT,
    CLI_LIBRARY,
    CLI_STATE_DIR,
    CLI_NO_COLOR,
    CLI_QUIET,
    CLI_VERBOSE,
    CLI_HELP,
    CLI_VERSION,
    CLI_OPTION_COUNT
};

/* What a shell offers when an argument is completed. */
enum cli_complete {
    CLI_COMPLETE_NONE = 0,
    CLI_COMPLETE_FILE,
    CLI_COMPLETE_DIRECTORY,
    CLI_COMPLETE_CHOICES, /* the words in `choices` */
    CLI_COMPLETE_CONFIGS, /* names of the configs in the file of -f */
    CLI_COMPLETE_PROFILES,
    CLI_COMPLETE_GPUS,
    CLI_COMPLETE_DEVICES,  /* MIG UUIDs and GPU:GI:CI */
    CLI_COMPLETE_MODELS,   /* names in the catalogue */
    CLI_COMPLETE_COMMANDS, /* names of the commands */
};

struct cli_option {
    const char *name;     /* without the dashes */
    const char *argument; /* "FILE"; NULL = takes none */
    const char *choices;  /* "a|b" = nothing else is accepted; NULL = anything */
    const char *help;     /* one line, no full stop */
    enum cli_complete complete;
    char letter; /* 0 = none */
};

enum cli_command_id {
    CLI_COMMAND_STATUS = 0,
    CLI_COMMAND_PROFILES,
    CLI_COMMAND_PLAN,
    CLI_COMMAND_APPLY,
    CLI_COMMAND_FIT,
    CLI_COMMAND_CREATE,
    CLI_COMMAND_DESTROY,
    CLI_COMMAND_ASSERT,
    CLI_COMMAND_EXPORT,
    CLI_COMMAND_GENERATE_CONFIG,
    CLI_COMMAND_CHECKPOINT,
    CLI_COMMAND_RESTORE,
    CLI_COMMAND_VALIDATE,
    CLI_COMMAND_ENABLE_PERSISTENCE,
    CLI_COMMAND_VERSION,
    CLI_COMMAND_HELP,
    CLI_COMMAND_COMPLETE, /* for the shells; not shown */
    CLI_COMMAND_COUNT
};

struct cli_example {
    const char *command, *text;
};

#define CLI_EXAMPLE_MAX 4
#define CLI_OPERAND_MAX 64

struct cli_command {
    const char *name;
    const char *operands; /* "PROFILE[@START]"; NULL = takes none */
    enum cli_complete operand_complete;
    uint8_t operand_min, operand_max;
    uint32_t options;        /* bit i = option i; the common ones are added */
    uint8_t exits;           /* bit i = can end with exit code i */
    const char *summary;     /* one line, no full stop */
    const char *description; /* paragraphs, separated by an empty line */
    struct cli_example examples[CLI_EXAMPLE_MAX];
};

struct cli_variable {
    const char *name, *help;
};

#define CLI_EXIT_COUNT 8

extern const struct cli_option cli_options[CLI_OPTION_COUNT];
extern const struct cli_command cli_commands[CLI_COMMAND_COUNT];
extern const char *const cli_exits[CLI_EXIT_COUNT];
extern const struct cli_variable cli_variables[]; /* ends with a NULL name */
extern const char cli_summary[], cli_description[];

/* True when the option may be given to the command. */
bool cli_command_takes(const struct cli_command *command, enum cli_option_id option);

/* True for the options that every command has. */
bool cli_option_is_common(enum cli_option_id option);

/* True for commands that help and completions show. */
bool cli_command_is_shown(enum cli_command_id id);

/* Index of a command by name, or CLI_COMMAND_COUNT. */
enum cli_command_id cli_command_find(const char *name);

#endif
