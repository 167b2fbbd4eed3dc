/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the command line against the option table, strictly: no abbreviated names, no option that
 * the command does not have, no value option given twice, no operand too many. A mistyped name gets
 * the nearest one as a suggestion. Options may stand before the command, between operands and after
 * them; `--` ends them.
 *
 * getopt_long is not used because it accepts abbreviations, prints its own messages and cannot
 * check an option against a command that comes after it.
 */
#include "base/text.h"
#include "cli/cli.h"
#include <string.h>

#define SUGGESTION_DISTANCE 3

/* The command line while it is read. */
struct reader {
    struct cli *cli;
    int argc, next;
    char **argv;
    bool options_ended;
};

static int usage_hint(const struct cli *cli, struct mig_error *error)
{
    if (cli->command != CLI_COMMAND_COUNT) {
        return mig_error_hint(error, MIG_E_USAGE, "see migctl help %s",
                              cli_commands[cli->command].name);
    }
    return mig_error_hint(error, MIG_E_USAGE, "see migctl help");
}

static enum cli_option_id find_long(const char *name, size_t length)
{
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        if (strlen(cli_options[i].name) == length &&
            strncmp(cli_options[i].name, name, length) == 0) {
            return (enum cli_option_id)i;
        }
    }
    return CLI_OPTION_COUNT;
}

static enum cli_option_id find_letter(char letter)
{
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        if (cli_options[i].letter == letter) {
            return (enum cli_option_id)i;
        }
    }
    return CLI_OPTION_COUNT;
}

/* How far a mistyped word is from a name; the beginning of a name is near. */
static unsigned distance_to(const char *word, const char *name)
{
    if (strlen(word) > 1 && mig_text_starts_with(name, word)) {
        return 1;
    }
    return mig_text_distance(word, name, SUGGESTION_DISTANCE);
}

static int unknown_option(const struct cli *cli, const char *name, size_t length,
                          struct mig_error *error)
{
    char word[64] = "";
    unsigned best = SUGGESTION_DISTANCE;
    const char *nearest = NULL;

    if (length < sizeof(word)) {
        memcpy(word, name, length);
        for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
            unsigned distance = distance_to(word, cli_options[i].name);

            if (distance < best) {
                best = distance;
                nearest = cli_options[i].name;
            }
        }
    }
    mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "there is no option '--%.*s'",
                  (int)length, name);
    if (nearest) {
        return mig_error_hint(error, MIG_E_USAGE, "did you mean --%s?", nearest);
    }
    return usage_hint(cli, error);
}

static bool is_choice(const char *choices, const char *value)
{
    size_t length = strlen(value);

    for (const char *at = choices; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (strncmp(at, value, length) == 0 && (at[length] == '|' || !at[length])) {
            return length > 0;
        }
    }
    return false;
}

static int take_value(struct cli *cli, enum cli_option_id id, const char *value,
                      struct mig_error *error)
{
    const struct cli_option *option = &cli_options[id];

    if (option->argument && cli->values[id] && strcmp(cli->values[id], value) != 0) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "--%s is given twice", option->name);
        return usage_hint(cli, error);
    }
    if (option->choices && !is_choice(option->choices, value)) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "--%s cannot be '%s'", option->name,
                      value);
        return mig_error_hint(error, MIG_E_USAGE, "one of %s", option->choices);
    }
    cli->values[id] = value;
    if (id == CLI_OUTPUT) {
        cli->output = value[0] == 'w'   ? CLI_WIDE
                      : value[0] == 'j' ? CLI_JSON
                      : value[0] == 'y' ? CLI_YAML
                                        : CLI_TABLE;
    }
    return MIG_OK;
}

/* The argument of an option: the rest of the same word, or the next word. */
static int take_argument(struct reader *reader, enum cli_option_id id, const char *rest,
                         struct mig_error *error)
{
    if (!rest) {
        if (reader->next >= reader->argc) {
            mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "--%s needs %s",
                          cli_options[id].name, cli_options[id].argument);
            return usage_hint(reader->cli, error);
        }
        rest = reader->argv[reader->next++];
    }
    return take_value(reader->cli, id, rest, error);
}

static int read_long(struct reader *reader, const char *word, struct mig_error *error)
{
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    enum cli_option_id id = find_long(word, length);

    if (id == CLI_OPTION_COUNT) {
        return unknown_option(reader->cli, word, length, error);
    }
    if (cli_options[id].argument) {
        return take_argument(reader, id, equals ? equals + 1 : NULL, error);
    }
    if (equals) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "--%s takes no argument",
                      cli_options[id].name);
        return usage_hint(reader->cli, error);
    }
    return take_value(reader->cli, id, "", error);
}

static int read_letters(struct reader *reader, const char *letters, struct mig_error *error)
{
    for (; *letters; letters++) {
        enum cli_option_id id = find_letter(*letters);
        int result;

        if (id == CLI_OPTION_COUNT) {
            mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "there is no option '-%c'",
                          *letters);
            return usage_hint(reader->cli, error);
        }
        if (cli_options[id].argument) {
            return take_argument(reader, id, letters[1] ? letters + 1 : NULL, error);
        }
        result = take_value(reader->cli, id, "", error);
        if (result != MIG_OK) {
            return result;
        }
    }
    return MIG_OK;
}

static int unknown_command(const char *word, struct mig_error *error)
{
    unsigned best = SUGGESTION_DISTANCE;
    const char *nearest = NULL;

    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        unsigned distance = distance_to(word, cli_commands[i].name);

        if (cli_command_is_shown((enum cli_command_id)i) && distance < best) {
            best = distance;
            nearest = cli_commands[i].name;
        }
    }
    mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "there is no command '%s'", word);
    if (nearest) {
        return mig_error_hint(error, MIG_E_USAGE, "did you mean migctl %s?", nearest);
    }
    return mig_error_hint(error, MIG_E_USAGE, "see migctl help");
}

static int read_operand(struct cli *cli, const char *word, struct mig_error *error)
{
    if (cli->command == CLI_COMMAND_COUNT) {
        cli->command = cli_command_find(word);
        return cli->command == CLI_COMMAND_COUNT ? unknown_command(word, error) : MIG_OK;
    }
    if (cli->operand_count >= cli_commands[cli->command].operand_max) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "'%s' is one argument too many",
                      word);
        return usage_hint(cli, error);
    }
    cli->operands[cli->operand_count++] = word;
    return MIG_OK;
}

static int read_word(struct reader *reader, struct mig_error *error)
{
    const char *word = reader->argv[reader->next++];

    if (reader->options_ended || word[0] != '-' || !word[1]) {
        return read_operand(reader->cli, word, error);
    }
    if (strcmp(word, "--") == 0) {
        reader->options_ended = true;
        return MIG_OK;
    }
    return word[1] == '-' ? read_long(reader, word + 2, error)
                          : read_letters(reader, word + 1, error);
}

/* What can only be checked when all is read. */
static int check(const struct cli *cli, struct mig_error *error)
{
    const struct cli_command *command;

    if (cli->values[CLI_HELP] || cli->values[CLI_VERSION]) {
        return MIG_OK;
    }
    if (cli->command == CLI_COMMAND_COUNT) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "no command was given");
        return usage_hint(cli, error);
    }
    command = &cli_commands[cli->command];
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        if (cli->values[i] && !cli_command_takes(command, (enum cli_option_id)i)) {
            mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "'%s' has no option --%s",
                          command->name, cli_options[i].name);
            return usage_hint(cli, error);
        }
    }
    if (cli->operand_count < command->operand_min) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "'%s' needs %s", command->name,
                      command->operands);
        return usage_hint(cli, error);
    }
    return MIG_OK;
}

int cli_parse(struct cli *cli, int argc, char **argv, struct mig_error *error)
{
    struct reader reader = {.cli = cli, .argc = argc, .next = 1, .argv = argv};

    cli->command = CLI_COMMAND_COUNT;
    while (reader.next < argc) {
        int result = read_word(&reader, error);

        if (result != MIG_OK) {
            return result;
        }
    }
    return check(cli, error);
}

int cli_number(const struct cli *cli, enum cli_option_id option, uint64_t max, uint64_t fallback,
               uint64_t *ret, struct mig_error *error)
{
    const char *text = cli->values[option];

    *ret = fallback;
    if (!text || mig_text_parse_u64(text, max, ret)) {
        return MIG_OK;
    }
    mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                  "--%s needs a whole number up to %llu, not '%s'", cli_options[option].name,
                  (unsigned long long)max, text);
    return usage_hint(cli, error);
}
