/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Man pages in scdoc's language: migctl(1) from the whole table, migctl-COMMAND(1) for each
 * command. In scdoc underscores and asterisks mean emphasis, so every text is escaped.
 */
#include "cli/gen.h"
#include <stdio.h>
#include <string.h>

/* Prints text of the table with scdoc's special characters escaped. */
static void print_text(const char *text)
{
    for (; *text; text++) {
        if (strchr("_*\\`~<>#[]", *text)) {
            putchar('\\');
        }
        putchar(*text);
    }
}

static void print_option(const struct cli_option *option)
{
    if (option->letter) {
        printf("*-%c*, ", option->letter);
    }
    printf("*--%s*", option->name);
    if (option->argument) {
        printf(" _%s_", option->argument);
    }
    fputs("\n\t", stdout);
    print_text(option->help);
    fputs(".", stdout);
    if (option->choices) {
        fputs(" One of ", stdout);
        print_text(option->choices);
        fputs(".", stdout);
    }
    fputs("\n\n", stdout);
}

static void print_options(const struct cli_command *command, bool common)
{
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        enum cli_option_id id = (enum cli_option_id)i;

        if (cli_option_is_common(id) == common && (common || cli_command_takes(command, id))) {
            print_option(&cli_options[i]);
        }
    }
}

static void print_exits(unsigned exits)
{
    puts("# EXIT STATUS\n");
    for (unsigned i = 0; i < CLI_EXIT_COUNT; i++) {
        if (exits & (1U << i)) {
            printf("*%u*\n\t", i);
            print_text(cli_exits[i]);
            puts(".\n");
        }
    }
}

static void print_variables(void)
{
    puts("# ENVIRONMENT\n");
    for (const struct cli_variable *variable = cli_variables; variable->name; variable++) {
        putchar('*');
        print_text(variable->name);
        fputs("*\n\t", stdout);
        print_text(variable->help);
        puts(".\n");
    }
}

static void print_examples(const struct cli_command *command)
{
    if (!command->examples[0].command) {
        return;
    }
    puts("# EXAMPLES\n");
    for (unsigned i = 0; i < CLI_EXAMPLE_MAX && command->examples[i].command; i++) {
        putchar('*');
        print_text(command->examples[i].command);
        fputs("*\n\t", stdout);
        print_text(command->examples[i].text);
        puts("\n");
    }
}

static void print_global_page(void)
{
    puts("migctl(1)\n\n# NAME\n");
    printf("migctl - %s\n\n# SYNOPSIS\n\n", cli_summary);
    puts("*migctl* _COMMAND_ [_OPTION_]... [_ARGUMENT_]...\n\n# DESCRIPTION\n");
    print_text(cli_description);
    puts("\n\n# COMMANDS\n");
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (cli_command_is_shown((enum cli_command_id)i)) {
            printf("*%s*\n\t", cli_commands[i].name);
            print_text(cli_commands[i].summary);
            printf(". See *migctl-%s*(1).\n\n", cli_commands[i].name);
        }
    }
    puts("# OPTIONS\n\nEvery command has these:\n");
    print_options(NULL, true);
    print_exits((1U << CLI_EXIT_COUNT) - 1);
    print_variables();
    puts("# SEE ALSO\n\n*systemd*(1)");
}

static void print_command_page(const struct cli_command *command)
{
    printf("migctl-%s(1)\n\n# NAME\n\nmigctl-%s - ", command->name, command->name);
    print_text(command->summary);
    printf("\n\n# SYNOPSIS\n\n*migctl %s* [_OPTION_]...", command->name);
    if (command->operands) {
        putchar(' ');
        print_text(command->operands);
    }
    puts("\n\n# DESCRIPTION\n");
    print_text(command->description);
    puts("\n\n# OPTIONS\n");
    print_options(command, false);
    print_options(command, true);
    print_exits(command->exits);
    print_variables();
    print_examples(command);
    puts("# SEE ALSO\n\n*migctl*(1)");
}

int gen_man(const char *page)
{
    enum cli_command_id id;

    if (strcmp(page, "migctl") == 0) {
        print_global_page();
        return 0;
    }
    id = cli_command_find(page);
    if (!cli_command_is_shown(id)) {
        return 2;
    }
    print_command_page(&cli_commands[id]);
    return 0;
}
