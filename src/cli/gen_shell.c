/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions for bash, zsh and fish. The names that only the machine knows (configs of a file,
 * profiles, GPUs, MIG devices) are asked from `migctl complete WHAT`, which never fails and never
 * prints errors.
 */
#include "cli/gen.h"
#include <stdio.h>
#include <string.h>

/* The argument of `migctl complete` for a kind of completion; NULL when it does not ask migctl. */
static const char *ask_for(enum cli_complete complete)
{
    static const char *const words[] = {
        [CLI_COMPLETE_CONFIGS] = "configs", [CLI_COMPLETE_PROFILES] = "profiles",
        [CLI_COMPLETE_GPUS] = "gpus",       [CLI_COMPLETE_DEVICES] = "devices",
        [CLI_COMPLETE_MODELS] = "models",   [CLI_COMPLETE_COMMANDS] = NULL,
    };

    return words[complete];
}

/* Prints text inside single quotes of a shell. */
static void print_quoted(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
        } else {
            putchar(*text);
        }
    }
}

static void print_choices(const char *choices)
{
    for (; choices && *choices; choices++) {
        putchar(*choices == '|' ? ' ' : *choices);
    }
}

static void print_command_names(void)
{
    const char *gap = "";

    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (cli_command_is_shown((enum cli_command_id)i)) {
            printf("%s%s", gap, cli_commands[i].name);
            gap = " ";
        }
    }
}

/* bash: one line that fills COMPREPLY for a kind of argument. */
static void bash_action(enum cli_complete complete, const char *choices)
{
    if (complete == CLI_COMPLETE_CHOICES) {
        fputs("COMPREPLY=($(compgen -W '", stdout);
        print_choices(choices);
        puts("' -- \"$cur\"));;");
    } else if (complete == CLI_COMPLETE_COMMANDS) {
        puts("COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"));;");
    } else if (complete == CLI_COMPLETE_FILE) {
        puts("COMPREPLY=($(compgen -f -- \"$cur\")); compopt -o filenames;;");
    } else if (complete == CLI_COMPLETE_DIRECTORY) {
        puts("COMPREPLY=($(compgen -d -- \"$cur\")); compopt -o filenames;;");
    } else if (ask_for(complete)) {
        printf("COMPREPLY=($(compgen -W \"$(_migctl_ask %s)\" -- \"$cur\"));;\n",
               ask_for(complete));
    } else {
        puts(";;");
    }
}

static void bash_option_arguments(void)
{
    puts("    case $prev in");
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        const struct cli_option *option = &cli_options[i];

        if (!option->argument) {
            continue;
        }
        printf("    --%s", option->name);
        if (option->letter) {
            printf("|-%c", option->letter);
        }
        fputs(") ", stdout);
        bash_action(option->complete, option->choices);
    }
    puts("    *) found=;;\n    esac");
}

static void bash_options_of(const struct cli_command *command)
{
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        const struct cli_option *option = &cli_options[i];
        enum cli_option_id id = (enum cli_option_id)i;

        if (command ? !cli_command_takes(command, id) : !cli_option_is_common(id)) {
            continue;
        }
        printf(" --%s", option->name);
        if (option->letter) {
            printf(" -%c", option->letter);
        }
    }
}

static void bash_commands(void)
{
    puts("    case $command in\n    '') options='");
    bash_options_of(NULL);
    puts("';;");
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (cli_command_is_shown((enum cli_command_id)i)) {
            printf("    %s) options='", cli_commands[i].name);
            bash_options_of(&cli_commands[i]);
            puts("';;");
        }
    }
    puts("    esac");
}

static void bash_operands(void)
{
    puts("    case $command in\n"
         "    '') COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"));;");
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        const struct cli_command *command = &cli_commands[i];

        if (cli_command_is_shown((enum cli_command_id)i) && command->operands) {
            printf("    %s) ", command->name);
            bash_action(command->operand_complete, NULL);
        }
    }
    puts("    esac");
}

int gen_bash(void)
{
    puts("# bash completion for migctl, generated from its option table\n"
         "_migctl_ask()\n"
         "{\n"
         "    local i file=()\n"
         "    for ((i = 1; i + 1 < ${#COMP_WORDS[@]}; i++)); do\n"
         "        case ${COMP_WORDS[i]} in\n"
         "        -f|--file) file=(-f \"${COMP_WORDS[i + 1]}\");;\n"
         "        esac\n"
         "    done\n"
         "    migctl complete \"$1\" \"${file[@]}\" 2>/dev/null\n"
         "}\n\n"
         "_migctl()\n"
         "{\n"
         "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
         "    local command= options= found=1 word i");
    fputs("    local commands='", stdout);
    print_command_names();
    puts("'\n"
         "    COMPREPLY=()\n"
         "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "        for word in $commands; do\n"
         "            [[ ${COMP_WORDS[i]} == \"$word\" ]] && command=$word && break 2\n"
         "        done\n"
         "    done");
    bash_option_arguments();
    puts("    [[ $found ]] && return");
    bash_commands();
    puts("    if [[ $cur == -* ]]; then\n"
         "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
         "        return\n"
         "    fi");
    bash_operands();
    puts("}\ncomplete -F _migctl migctl");
    return 0;
}

/* zsh: the part of an _arguments spec that completes one argument. */
static void zsh_action(enum cli_complete complete, const char *choices)
{
    if (complete == CLI_COMPLETE_CHOICES) {
        putchar('(');
        print_choices(choices);
        putchar(')');
    } else if (complete == CLI_COMPLETE_COMMANDS) {
        putchar('(');
        print_command_names();
        putchar(')');
    } else if (complete == CLI_COMPLETE_FILE) {
        fputs("_files", stdout);
    } else if (complete == CLI_COMPLETE_DIRECTORY) {
        fputs("_files -/", stdout);
    } else if (ask_for(complete)) {
        printf("{_migctl_ask %s}", ask_for(complete));
    }
}

/* Text inside the [..] of a spec. */
static void zsh_help(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
        } else if (strchr("[]:\\", *text)) {
            printf("\\%c", *text);
        } else {
            putchar(*text);
        }
    }
}

static void zsh_spec(const struct cli_option *option, const char *flag, const char *tail)
{
    printf("        '%s%s[", flag, option->argument ? tail : "");
    zsh_help(option->help);
    putchar(']');
    if (option->argument) {
        printf(":%s:", option->argument);
        zsh_action(option->complete, option->choices);
    }
    puts("' \\");
}

static void zsh_options(const struct cli_command *command)
{
    char flag[64];

    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        const struct cli_option *option = &cli_options[i];

        if (!cli_command_takes(command, (enum cli_option_id)i)) {
            continue;
        }
        if (option->letter) {
            (void)snprintf(flag, sizeof(flag), "-%c", option->letter);
            zsh_spec(option, flag, "+");
        }
        (void)snprintf(flag, sizeof(flag), "--%s", option->name);
        zsh_spec(option, flag, "=");
    }
}

static void zsh_command(const struct cli_command *command)
{
    printf("    %s)\n        _arguments -s -S \\\n", command->name);
    zsh_options(command);
    if (!command->operands) {
        puts("        ;;");
        return;
    }
    fputs("        '*::", stdout);
    zsh_help(command->operands);
    putchar(':');
    zsh_action(command->operand_complete, NULL);
    puts("'\n        ;;");
}

int gen_zsh(void)
{
    puts("#compdef migctl\n# zsh completion for migctl, generated from its option table\n"
         "_migctl_ask()\n"
         "{\n"
         "    local -a file names\n"
         "    local i=${words[(I)-f]}\n"
         "    (( i )) || i=${words[(I)--file]}\n"
         "    (( i )) && file=(-f ${words[i+1]})\n"
         "    names=(${(f)\"$(migctl complete $1 $file 2>/dev/null)\"})\n"
         "    compadd -a names\n"
         "}\n\n"
         "_migctl()\n"
         "{\n"
         "    local -a commands\n"
         "    commands=(");
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (cli_command_is_shown((enum cli_command_id)i)) {
            printf("        '%s:", cli_commands[i].name);
            zsh_help(cli_commands[i].summary);
            puts("'");
        }
    }
    puts("    )\n"
         "    if (( CURRENT == 2 )); then\n"
         "        _describe -t commands command commands\n"
         "        return\n"
         "    fi\n"
         "    shift words\n"
         "    (( CURRENT-- ))\n"
         "    case $words[1] in");
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (cli_command_is_shown((enum cli_command_id)i)) {
            zsh_command(&cli_commands[i]);
        }
    }
    puts("    esac\n}\n\n_migctl \"$@\"");
    return 0;
}

/* fish: the -a or -F part of a `complete` line. */
static void fish_action(enum cli_complete complete, const char *choices)
{
    if (complete == CLI_COMPLETE_CHOICES) {
        fputs(" -a '", stdout);
        print_choices(choices);
        putchar('\'');
    } else if (complete == CLI_COMPLETE_COMMANDS) {
        fputs(" -a '", stdout);
        print_command_names();
        putchar('\'');
    } else if (complete == CLI_COMPLETE_FILE) {
        fputs(" -F", stdout);
    } else if (complete == CLI_COMPLETE_DIRECTORY) {
        fputs(" -a '(__fish_complete_directories)'", stdout);
    } else if (ask_for(complete)) {
        printf(" -a '(__migctl_ask %s)'", ask_for(complete));
    }
}

static void fish_option(const struct cli_option *option, const char *condition)
{
    printf("complete -c migctl%s -l %s", condition, option->name);
    if (option->letter) {
        printf(" -s %c", option->letter);
    }
    fputs(" -d '", stdout);
    print_quoted(option->help);
    putchar('\'');
    if (option->argument) {
        fputs(" -r", stdout);
        fish_action(option->complete, option->choices);
    }
    putchar('\n');
}

static void fish_command(const struct cli_command *command)
{
    char condition[96];

    printf("complete -c migctl -n __fish_use_subcommand -a %s -d '", command->name);
    print_quoted(command->summary);
    puts("'");
    (void)snprintf(condition, sizeof(condition), " -n '__fish_seen_subcommand_from %s'",
                   command->name);
    if (command->operands) {
        printf("complete -c migctl%s", condition);
        fish_action(command->operand_complete, NULL);
        putchar('\n');
    }
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        enum cli_option_id id = (enum cli_option_id)i;

        if (!cli_option_is_common(id) && cli_command_takes(command, id)) {
            fish_option(&cli_options[i], condition);
        }
    }
}

int gen_fish(void)
{
    puts("# fish completion for migctl, generated from its option table\n"
         "function __migctl_ask\n"
         "    set -l words (commandline -opc)\n"
         "    set -l file\n"
         "    for i in (seq (math (count $words) - 1))\n"
         "        if contains -- $words[$i] -f --file\n"
         "            set file -f $words[(math $i + 1)]\n"
         "        end\n"
         "    end\n"
         "    migctl complete $argv[1] $file 2>/dev/null\n"
         "end\n\n"
         "complete -c migctl -f");
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        if (cli_option_is_common((enum cli_option_id)i)) {
            fish_option(&cli_options[i], "");
        }
    }
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        if (cli_command_is_shown((enum cli_command_id)i)) {
            fish_command(&cli_commands[i]);
        }
    }
    return 0;
}
