/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands of migctl share: the parsed command line, the terminal, and the one document
 * that -o json and -o yaml print.
 */
#ifndef MIG_CLI_CLI_H
#define MIG_CLI_CLI_H

#include "base/cleanup.h"
#include "cli/options.h"
#include <jansson.h>
#include <mig/mig.h>
#include <stdio.h>

enum cli_output { CLI_TABLE = 0, CLI_WIDE, CLI_JSON, CLI_YAML };

struct cli {
    enum cli_command_id command;          /* CLI_COMMAND_COUNT = none was given */
    const char *values[CLI_OPTION_COUNT]; /* NULL = not given; "" for one without argument */
    const char *operands[CLI_OPERAND_MAX];
    size_t operand_count;
    enum cli_output output;
    bool color;       /* standard output */
    bool error_color; /* standard error */
    bool progress;    /* standard error is a terminal and may carry a progress line */
    bool unicode;
    unsigned width;   /* of the terminal, 80 when there is none */
    json_t *document; /* what main prints at the end with -o json|yaml; NULL = nothing */
};

/* parse.c: fills `cli` from the command line; MIG_E_USAGE. What was read before an error stays. */
int cli_parse(struct cli *cli, int argc, char **argv, struct mig_error *error);

static inline bool cli_has(const struct cli *cli, enum cli_option_id option)
{
    return cli->values[option] != NULL;
}

/* A number given with an option, at most `max`; `fallback` when the option was not given. */
int cli_number(const struct cli *cli, enum cli_option_id option, uint64_t max, uint64_t fallback,
               uint64_t *ret, struct mig_error *error);

/* True when a person reads the output. */
static inline bool cli_is_text(const struct cli *cli)
{
    return cli->output == CLI_TABLE || cli->output == CLI_WIDE;
}

/* help.c */
void cli_help_global(FILE *out);
void cli_help_command(FILE *out, enum cli_command_id id);

/* term.c */
void cli_term_init(struct cli *cli);

enum cli_color {
    CLI_COLOR_NONE = 0,
    CLI_COLOR_ERROR,
    CLI_COLOR_USED,
    CLI_COLOR_FREE,
    CLI_COLOR_DIM,
    CLI_COLOR_BOLD
};

/* The escape sequence of a color on standard output, "" when there are none. CLI_COLOR_NONE ends a
 * color. */
const char *cli_color(const struct cli *cli, enum cli_color color);

/*
 * Copies text from outside (process names, error texts) without what a terminal would take as a
 * command: control characters become '?'. Returns buffer.
 */
char *cli_clean(char *buffer, size_t size, const char *text);

/* One line on standard error, unless --quiet. */
void cli_note(const struct cli *cli, const char *format, ...) MIG_PRINTF(2, 3);

/* The line that overwrites itself while something takes time; only on a terminal. */
void cli_progress(const struct cli *cli, const char *format, ...) MIG_PRINTF(2, 3);
void cli_progress_end(const struct cli *cli);

/* Prints an error as a person reads it: what, who is in the way, what to do. */
void cli_print_error(const struct cli *cli, const struct mig_error *error);

/* commands, one per file; each returns MIG_OK or a negative MIG_E_* with `error` set */
int cmd_status(struct cli *cli, struct mig_error *error);
int cmd_profiles(struct cli *cli, struct mig_error *error);
int cmd_plan(struct cli *cli, struct mig_error *error);
int cmd_apply(struct cli *cli, struct mig_error *error);
int cmd_fit(struct cli *cli, struct mig_error *error);
int cmd_create(struct cli *cli, struct mig_error *error);
int cmd_destroy(struct cli *cli, struct mig_error *error);
int cmd_assert(struct cli *cli, struct mig_error *error);
int cmd_export(struct cli *cli, struct mig_error *error);
int cmd_generate_config(struct cli *cli, struct mig_error *error);
int cmd_checkpoint(struct cli *cli, struct mig_error *error);
int cmd_restore(struct cli *cli, struct mig_error *error);
int cmd_validate(struct cli *cli, struct mig_error *error);
int cmd_enable_persistence(struct cli *cli, struct mig_error *error);
int cmd_version(struct cli *cli, struct mig_error *error);
int cmd_help(struct cli *cli, struct mig_error *error);
int cmd_complete(struct cli *cli, struct mig_error *error);

#endif
