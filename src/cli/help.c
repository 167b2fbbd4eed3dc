/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Help texts, printed from the option table. Always 80 columns, so that they read the same in a
 * terminal, a pager and a bug report.
 */
#include "cli/cli.h"
#include <string.h>

#define WIDTH 79
#define HELP_COLUMN 26 /* where the help of an option starts */

/* Prints paragraphs filled to WIDTH; the first line continues at column `column`. */
static void print_filled(FILE *out, const char *text, size_t column, size_t indent)
{
    bool start = true;

    while (*text) {
        size_t length = strcspn(text, " \n");

        if (*text == '\n') {
            fprintf(out, "\n%*s", text[1] == '\n' ? 0 : (int)indent, "");
            column = indent;
            start = true;
            text++;
            continue;
        }
        if (!start && column + 1 + length > WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            start = true;
        }
        fprintf(out, "%s%.*s", start ? "" : " ", (int)length, text);
        column += length + (start ? 0 : 1);
        start = false;
        text += length;
        text += *text == ' ';
    }
    putc('\n', out);
}

static void print_option(FILE *out, const struct cli_option *option)
{
    char left[64];
    int length;

    if (option->letter) {
        length = snprintf(left, sizeof(left), "  -%c, --%s%s%s", option->letter, option->name,
                          option->argument ? " " : "", option->argument ? option->argument : "");
    } else {
        length = snprintf(left, sizeof(left), "      --%s%s%s", option->name,
                          option->argument ? " " : "", option->argument ? option->argument : "");
    }
    if (length > HELP_COLUMN - 2) {
        fprintf(out, "%s\n%*s", left, HELP_COLUMN, "");
    } else {
        fprintf(out, "%-*s", HELP_COLUMN, left);
    }
    print_filled(out, option->help, HELP_COLUMN, HELP_COLUMN);
    if (option->choices) {
        fprintf(out, "%*sone of %s\n", HELP_COLUMN, "", option->choices);
    }
}

static void print_options(FILE *out, const struct cli_command *command, bool common)
{
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        if (cli_option_is_common((enum cli_option_id)i) == common &&
            (common || cli_command_takes(command, (enum cli_option_id)i))) {
            print_option(out, &cli_options[i]);
        }
    }
}

void cli_help_global(FILE *out)
{
    fprintf(out, "Usage: migctl COMMAND [OPTION]... [ARGUMENT]...\n\nmigctl: %s\n\nCommands:\n",
            cli_summary);
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (cli_command_is_shown((enum cli_command_id)i)) {
            fprintf(out, "  %-20s", cli_commands[i].name);
            print_filled(out, cli_commands[i].summary, 22, 22);
        }
    }
    fputs("\nOptions of every command:\n", out);
    print_options(out, NULL, true);
    fputs("\nExit codes:\n", out);
    for (unsigned i = 0; i < CLI_EXIT_COUNT; i++) {
        fprintf(out, "  %u  %s\n", i, cli_exits[i]);
    }
    fputs("\nEnvironment:\n", out);
    for (const struct cli_variable *variable = cli_variables; variable->name; variable++) {
        fprintf(out, "  %-16s", variable->name);
        print_filled(out, variable->help, 18, 18);
    }
    fputs("\nmigctl help COMMAND says more about one command.\n", out);
}

void cli_help_command(FILE *out, enum cli_command_id id)
{
    const struct cli_command *command = &cli_commands[id];

    fprintf(out, "Usage: migctl %s [OPTION]...%s%s\n\n", command->name,
            command->operands ? " " : "", command->operands ? command->operands : "");
    fprintf(out, "migctl %s: ", command->name);
    print_filled(out, command->summary, strlen(command->name) + 9, 0);
    putc('\n', out);
    print_filled(out, command->description, 0, 0);
    if (command->options) {
        fputs("\nOptions:\n", out);
        print_options(out, command, false);
    }
    fputs("\nOptions of every command:\n", out);
    print_options(out, command, true);
    fputs("\nExit codes:\n", out);
    for (unsigned i = 0; i < CLI_EXIT_COUNT; i++) {
        if (command->exits & (1U << i)) {
            fprintf(out, "  %u  %s\n", i, cli_exits[i]);
        }
    }
    if (command->examples[0].command) {
        fputs("\nExamples:\n", out);
    }
    for (unsigned i = 0; i < CLI_EXAMPLE_MAX && command->examples[i].command; i++) {
        fprintf(out, "  %s\n      %s\n", command->examples[i].command, command->examples[i].text);
    }
}

int cmd_help(struct cli *cli, struct mig_error *error)
{
    enum cli_command_id id;

    if (!cli->operand_count) {
        cli_help_global(stdout);
        return MIG_OK;
    }
    id = cli_command_find(cli->operands[0]);
    if (!cli_command_is_shown(id)) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "there is no command '%s'",
                      cli->operands[0]);
        return mig_error_hint(error, MIG_E_USAGE, "see migctl help");
    }
    cli_help_command(stdout, id);
    return MIG_OK;
}
