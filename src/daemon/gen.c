/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migd-gen: the man page (in scdoc's language) and the completions of three shells, from the option
 * table.
 *   migd-gen man|bash|zsh|fish
 */
#include "daemon/options.h"
#include <string.h>

/* In scdoc underscores, asterisks and others mean emphasis. */
static void print_text(const char *text)
{
    for (; *text; text++) {
        if (strchr("_*\\`~<>#[]", *text)) {
            putchar('\\');
        }
        putchar(*text);
    }
}

static void print_fallback(const struct daemon_option *option)
{
    if (option->kind == DAEMON_SWITCH) {
        return;
    }
    if (option->fallback[0]) {
        fputs(" Default: ", stdout);
        print_text(option->fallback);
        putchar('.');
    }
    if (option->manager_fallback && option->manager_fallback[0]) {
        fputs(" As nvidia-mig-manager: ", stdout);
        print_text(option->manager_fallback);
        putchar('.');
    }
}

static void print_option(const struct daemon_option *option)
{
    if (option->letter) {
        printf("*-%c*, ", option->letter);
    }
    printf("*--%s*", option->name);
    if (option->argument) {
        putchar(' ');
        putchar('_');
        print_text(option->argument);
        putchar('_');
    }
    fputs("\n\t", stdout);
    print_text(option->help);
    putchar('.');
    if (option->choices) {
        fputs(" Of ", stdout);
        print_text(option->choices);
        putchar('.');
    }
    print_fallback(option);
    if (option->dead) {
        fputs(" No effect: ", stdout);
        print_text(option->dead);
        putchar('.');
    }
    for (size_t i = 0; i < 2 && option->variables[i]; i++) {
        fputs(i ? ", " : " Variable: ", stdout);
        print_text(option->variables[i]);
    }
    puts(option->variables[0] ? ".\n" : "\n");
}

static void print_man(void)
{
    printf("migd(8)\n\n# NAME\n\nmigd - %s\n\n", daemon_summary);
    puts("# SYNOPSIS\n\n*migd* [_OPTION_]...\n\n*nvidia-mig-manager* [_OPTION_]...\n");
    puts("# DESCRIPTION\n");
    print_text(daemon_description);
    puts("\n\n# OPTIONS\n");
    for (enum daemon_option_group group = 0; group < DAEMON_GROUP_COUNT; group++) {
        printf("## %s\n\n", daemon_group_names[group]);
        for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
            if (daemon_options[id].group == group) {
                print_option(&daemon_options[id]);
            }
        }
    }
    puts("# PROCESSES\n");
    puts(
        "The first process, which signals go to, becomes *migd-helper*: it starts the agent, which "
        "has the network and no rights, and the helper, which has the rights and no network. "
        "*migd-helper* is found beside *migd* or in the libexec folder of the same installation, "
        "never by $PATH; one that is missing, of another build, or open to changes by others is "
        "refused. It is not meant to be run by hand.\n");
    puts("# FILES\n");
    puts("_LIBEXEC_/migd/migd-helper\n\tThe program of the privileged processes.\n");
    puts("_STATE-DIR_/agent/manager.json\n\tThe manager's last word, for *migctl status*.\n");
    puts("_STATE-DIR_/agent/record.json\n\tThe config that was confirmed last; it is restored "
         "after a boot also when the API server is away.\n");
    puts("# EXIT STATUS\n");
    puts("*0*\n\tTold to stop.\n");
    puts("*1*\n\tSomething failed.\n");
    puts("*2*\n\tThe options make no sense.\n");
    puts("*3*\n\tA file is not valid.\n");
    puts("# SEE ALSO\n\n*migctl*(1), *systemd*(1)");
}

static void print_words(const char *choices)
{
    for (; *choices; choices++) {
        putchar(*choices == '|' ? ' ' : *choices);
    }
}

static void print_bash(void)
{
    puts("# bash completion of migd\n_migd()\n{\n    local word=${COMP_WORDS[COMP_CWORD]} "
         "before=${COMP_WORDS[COMP_CWORD-1]}\n    case $before in");
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        if (daemon_options[id].choices) {
            printf("    --%s) mapfile -t COMPREPLY < <(compgen -W '", daemon_options[id].name);
            print_words(daemon_options[id].choices);
            puts("' -- \"$word\"); return ;;");
        }
    }
    fputs("    esac\n    if [[ $word == -* ]]; then\n        mapfile -t COMPREPLY < <(compgen -W '",
          stdout);
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        printf("%s--%s", id ? " " : "", daemon_options[id].name);
    }
    puts("' -- \"$word\")\n    else\n        mapfile -t COMPREPLY < <(compgen -f -- \"$word\")\n"
         "    fi\n}\ncomplete -F _migd migd nvidia-mig-manager");
}

/* Inside single quotes. */
static void print_quoted(const char *text, const char *escaped)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
            continue;
        }
        if (strchr(escaped, *text)) {
            putchar('\\');
        }
        putchar(*text);
    }
}

static void print_zsh(void)
{
    puts("#compdef migd nvidia-mig-manager\n_arguments -s \\");
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        const struct daemon_option *option = &daemon_options[id];

        printf("    '--%s%s[", option->name, option->argument ? "=" : "");
        print_quoted(option->help, "[]:");
        putchar(']');
        if (option->choices) {
            fputs(":value:(", stdout);
            print_words(option->choices);
            putchar(')');
        } else if (option->argument) {
            fputs(":value:_files", stdout);
        }
        puts("' \\");
    }
    puts("    && return");
}

static void print_fish(void)
{
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        const struct daemon_option *option = &daemon_options[id];

        printf("complete -c migd -l %s", option->name);
        if (option->letter) {
            printf(" -s %c", option->letter);
        }
        if (option->argument) {
            fputs(" -r", stdout);
        }
        if (option->choices) {
            fputs(" -f -a '", stdout);
            print_words(option->choices);
            putchar('\'');
        }
        fputs(" -d '", stdout);
        print_quoted(option->help, "\\");
        puts("'");
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } outputs[] = {
        {"man", print_man}, {"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

    for (size_t i = 0; argc == 2 && i < sizeof(outputs) / sizeof(outputs[0]); i++) {
        if (strcmp(argv[1], outputs[i].name) == 0) {
            outputs[i].print();
            return 0;
        }
    }
    return 2;
}
