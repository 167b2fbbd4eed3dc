/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading nvidia-mig-parted's command line: long flags with one dash or two, values behind a blank
 * or '=', letters that may be put together, and a variable for each flag that the command line
 * beats. Operands are ignored, as that program does.
 */
#include "cli/parted_flags.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <stdint.h>
#include <string.h>

#define VARIABLE_PREFIX "MIG_PARTED_"
#define BIT(flag) (1u << (flag))
#define COMMON (BIT(PARTED_DEBUG) | BIT(PARTED_HELP))
#define PROGRAM_ONLY BIT(PARTED_VERSION)
#define ENVIRONMENT_MAX 65536u

struct flag {
    const char *name;
    char letter;
    bool is_switch;
    const char *variable; /* behind VARIABLE_PREFIX; NULL = none */
    const char *fallback;
    const char *help;
};

static const struct flag flags[PARTED_FLAG_COUNT] = {
    [PARTED_CONFIG_FILE] = {"config-file", 'f', false, "CONFIG_FILE", "",
                            "config file to read, - for standard input"},
    [PARTED_SELECTED_CONFIG] =
        {"selected-config", 'c', false, "SELECTED_CONFIG", "",
         "config of the file to use; may be left out when it is the only one"},
    [PARTED_HOOKS_FILE] = {"hooks-file", 'k', false, "HOOKS_FILE", "",
                           "file with commands to run around the change"},
    [PARTED_SKIP_RESET] = {"skip-reset", 's', true, "SKIP_RESET", "false",
                           "leave a MIG mode pending instead of resetting its GPU"},
    [PARTED_MODE_ONLY] = {"mode-only", 'm', true, "MODE_CHANGE_ONLY", "false",
                          "look at the MIG mode only, not at MIG devices"},
    [PARTED_VALID_CONFIG] = {"valid-config", 'a', true, "VALID_CONFIG", "false",
                             "check the file and the name only, not the node"},
    [PARTED_OUTPUT_FORMAT] = {"output-format", 'o', false, "OUTPUT_FORMAT", "yaml", "yaml or json"},
    [PARTED_CONFIG_LABEL] = {"config-label", 'l', false, "CONFIG_LABEL", "current",
                             "name of the config that is written"},
    [PARTED_OUTPUT_FILE] = {"output-file", 'f', false, "OUTPUT_FILE", "",
                            "file to write (standard output when it is left out)"},
    [PARTED_CHECKPOINT_FILE] = {"checkpoint-file", 'f', false, "CHECKPOINT_FILE", "",
                                "checkpoint file"},
    [PARTED_DEBUG] = {"debug", 'd', true, "DEBUG", "false",
                      "tell what is done, and show the output of hooks"},
    [PARTED_HELP] = {"help", 'h', true, NULL, "false", "show this text"},
    [PARTED_VERSION] = {"version", 'v', true, NULL, "false", "show the version"},
};

static const struct command {
    const char *name, *help;
    unsigned flags;
} commands[PARTED_COMMAND_COUNT] = {
    [PARTED_APPLY] = {"apply", "bring the node to a MIG config, changing what differs",
                      BIT(PARTED_CONFIG_FILE) | BIT(PARTED_SELECTED_CONFIG) |
                          BIT(PARTED_HOOKS_FILE) | BIT(PARTED_SKIP_RESET) | BIT(PARTED_MODE_ONLY)},
    [PARTED_ASSERT] = {"assert", "tell by the exit code whether a MIG config is applied",
                       BIT(PARTED_CONFIG_FILE) | BIT(PARTED_SELECTED_CONFIG) |
                           BIT(PARTED_MODE_ONLY) | BIT(PARTED_VALID_CONFIG)},
    [PARTED_EXPORT] = {"export", "write the MIG geometry of the node as a config file",
                       BIT(PARTED_OUTPUT_FORMAT) | BIT(PARTED_CONFIG_LABEL)},
    [PARTED_GENERATE_CONFIG] = {"generate-config", "write a config file that fits the node's GPUs",
                                BIT(PARTED_OUTPUT_FILE) | BIT(PARTED_OUTPUT_FORMAT)},
    [PARTED_CHECKPOINT] = {"checkpoint", "keep the MIG state of the node in a file",
                           BIT(PARTED_CHECKPOINT_FILE)},
    [PARTED_RESTORE] = {"restore", "bring the node back to a checkpoint",
                        BIT(PARTED_CHECKPOINT_FILE) | BIT(PARTED_HOOKS_FILE) |
                            BIT(PARTED_MODE_ONLY)},
};

/* The flags that are known at this point of the command line. */
static unsigned known_flags(const struct parted_arguments *arguments)
{
    return arguments->command == PARTED_COMMAND_COUNT ? COMMON | PROGRAM_ONLY
                                                      : COMMON | commands[arguments->command].flags;
}

static enum parted_flag find_name(unsigned known, const char *name, size_t length)
{
    for (enum parted_flag i = 0; i < PARTED_FLAG_COUNT; i++) {
        if (known & BIT(i) && strlen(flags[i].name) == length &&
            strncmp(flags[i].name, name, length) == 0) {
            return i;
        }
    }
    return PARTED_FLAG_COUNT;
}

static enum parted_flag find_letter(unsigned known, char letter)
{
    for (enum parted_flag i = 0; i < PARTED_FLAG_COUNT; i++) {
        if (known & BIT(i) && flags[i].letter == letter) {
            return i;
        }
    }
    return PARTED_FLAG_COUNT;
}

/* The words of the command line, and how far they are read. */
struct words {
    int count, at;
    char **words;
    struct parted_arguments *arguments;
};

static bool fail(struct words *words, const char *what, const char *word)
{
    snprintf(words->arguments->problem, sizeof(words->arguments->problem), "%s: %.128s", what,
             word);
    return false;
}

static bool set_flag(struct words *words, enum parted_flag flag, const char *value)
{
    if (flags[flag].is_switch) {
        const char *read = value ? mig_text_switch(value) : "true";

        words->arguments->values[flag] = read ? read : "false";
        return read || fail(words, "invalid boolean value for flag", flags[flag].name);
    }
    if (!value) {
        if (words->at == words->count) {
            return fail(words, "flag needs an argument", flags[flag].name);
        }
        value = words->words[words->at++];
    }
    words->arguments->values[flag] = value;
    return true;
}

/* -sm, -f FILE, -f=FILE, -smf FILE */
static bool read_letters(struct words *words, const char *letters)
{
    for (const char *at = letters; *at; at++) {
        enum parted_flag flag = find_letter(known_flags(words->arguments), *at);
        const char *value = at[1] == '=' ? at + 2 : NULL;

        if (flag == PARTED_FLAG_COUNT) {
            return fail(words, "flag provided but not defined", letters);
        }
        if (!value && !flags[flag].is_switch && at[1]) {
            value = at + 1;
        }
        if (!set_flag(words, flag, value)) {
            return false;
        }
        if (value) {
            break;
        }
    }
    return true;
}

static bool read_flag(struct words *words, const char *word)
{
    bool is_long = word[1] == '-';
    const char *name = word + (is_long ? 2 : 1);
    size_t length = strcspn(name, "=");
    enum parted_flag flag = find_name(known_flags(words->arguments), name, length);

    if (flag != PARTED_FLAG_COUNT) {
        return set_flag(words, flag, name[length] ? name + length + 1 : NULL);
    }
    return is_long ? fail(words, "flag provided but not defined", name) : read_letters(words, name);
}

static enum parted_command find_command(const char *name)
{
    enum parted_command command = 0;

    while (command < PARTED_COMMAND_COUNT && strcmp(commands[command].name, name) != 0) {
        command++;
    }
    return command;
}

/* The word that stands where the subcommand does. False when reading ends here. */
static bool read_command(struct words *words, const char *word)
{
    struct parted_arguments *arguments = words->arguments;
    bool help = strcmp(word, "help") == 0 || strcmp(word, "h") == 0;

    if (help) {
        arguments->values[PARTED_HELP] = "true";
        if (words->at == words->count) {
            return false;
        }
        word = words->words[words->at++];
    }
    arguments->command = find_command(word);
    if (arguments->command == PARTED_COMMAND_COUNT) {
        mig_text_copy(arguments->unknown_command, sizeof(arguments->unknown_command), word);
        return false;
    }
    return !help;
}

static void read_words(struct words *words)
{
    bool only_operands = false;

    while (words->at < words->count) {
        const char *word = words->words[words->at++];

        if (!only_operands && strcmp(word, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && word[0] == '-' && word[1]) {
            if (!read_flag(words, word)) {
                return;
            }
        } else if (words->arguments->command == PARTED_COMMAND_COUNT &&
                   !read_command(words, word)) {
            return;
        }
    }
}

static void read_variables(struct words *words)
{
    for (enum parted_flag i = 0; i < PARTED_FLAG_COUNT && !words->arguments->problem[0]; i++) {
        char name[64];
        const char *value;

        if (words->arguments->values[i] || !(known_flags(words->arguments) & BIT(i)) ||
            !flags[i].variable) {
            continue;
        }
        snprintf(name, sizeof(name), VARIABLE_PREFIX "%s", flags[i].variable);
        value = getenv(name);
        if (!value || !*value) {
            continue;
        }
        words->arguments->values[i] = flags[i].is_switch ? mig_text_switch(value) : value;
        if (!words->arguments->values[i]) {
            fail(words, "not a boolean value in environment variable", name);
        }
    }
}

void parted_read_arguments(int argc, char **argv, struct parted_arguments *ret)
{
    struct words words = {.count = argc, .at = 1, .words = argv, .arguments = ret};

    *ret = (struct parted_arguments){.command = PARTED_COMMAND_COUNT};
    read_words(&words);
    if (!ret->unknown_command[0] && !ret->problem[0]) {
        read_variables(&words);
    }
    for (size_t i = 0; i < PARTED_FLAG_COUNT; i++) {
        ret->values[i] = ret->values[i] ? ret->values[i] : flags[i].fallback;
    }
}

const char *parted_command_name(enum parted_command command)
{
    return command < PARTED_COMMAND_COUNT ? commands[command].name : "";
}

static void print_flags(FILE *out, unsigned known)
{
    for (enum parted_flag i = 0; i < PARTED_FLAG_COUNT; i++) {
        char left[64], variable[64] = "";

        if (!(known & BIT(i))) {
            continue;
        }
        snprintf(left, sizeof(left), "--%s, -%c%s", flags[i].name, flags[i].letter,
                 flags[i].is_switch ? "" : " value");
        if (flags[i].variable) {
            snprintf(variable, sizeof(variable), " [$" VARIABLE_PREFIX "%s]", flags[i].variable);
        }
        fprintf(out, "   %-28s %s%s\n", left, flags[i].help, variable);
    }
}

void parted_print_help(FILE *out, enum parted_command command)
{
    if (command < PARTED_COMMAND_COUNT) {
        fprintf(out, "NAME:\n   nvidia-mig-parted %s - %s\n\n", commands[command].name,
                commands[command].help);
        fprintf(out, "USAGE:\n   nvidia-mig-parted %s [options]\n\nOPTIONS:\n",
                commands[command].name);
        print_flags(out, COMMON | commands[command].flags);
        return;
    }
    fprintf(out, "NAME:\n   nvidia-mig-parted - MIG partitions of all NVIDIA GPUs of a node "
                 "(migd " MIG_VERSION ")\n\n");
    fprintf(out, "USAGE:\n   nvidia-mig-parted [global options] command [options]\n\nCOMMANDS:\n");
    for (size_t i = 0; i < PARTED_COMMAND_COUNT; i++) {
        fprintf(out, "   %-16s %s\n", commands[i].name, commands[i].help);
    }
    fprintf(out, "   %-16s %s\n\nGLOBAL OPTIONS:\n", "help, h", "show help of a command");
    print_flags(out, COMMON | PROGRAM_ONLY);
}

char **parted_hook_environment(const struct parted_arguments *arguments)
{
    unsigned known = commands[arguments->command].flags;
    size_t size = (PARTED_FLAG_COUNT + 1) * sizeof(char *), count = 0, used = 0;
    char **environment;
    char *text;

    for (enum parted_flag i = 0; i < PARTED_FLAG_COUNT; i++) {
        if (known & BIT(i) && flags[i].variable) {
            size += strlen(VARIABLE_PREFIX) + strlen(flags[i].variable) +
                    strlen(arguments->values[i]) + 2;
        }
    }
    environment = size < ENVIRONMENT_MAX ? calloc(1, size) : NULL;
    if (!environment) {
        return NULL;
    }
    text = (char *)(environment + PARTED_FLAG_COUNT + 1);
    size -= (PARTED_FLAG_COUNT + 1) * sizeof(char *);
    for (enum parted_flag i = 0; i < PARTED_FLAG_COUNT; i++) {
        if (known & BIT(i) && flags[i].variable) {
            environment[count++] = text + used;
            used += (size_t)snprintf(text + used, size - used, VARIABLE_PREFIX "%s=%s",
                                     flags[i].variable, arguments->values[i]) +
                    1;
        }
    }
    return environment;
}
