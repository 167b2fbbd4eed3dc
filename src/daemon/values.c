/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the command line, the environment and the settings file into checked texts.
 *
 * The command line is read as nvidia-mig-manager reads it: long flags with one dash or two, values
 * behind a blank or '=', letters. Every value is checked to be of its kind where it is read, so
 * that the message can name the place it came from.
 */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/document.h"
#include "daemon/options.h"
#include <stdlib.h>
#include <string.h>

#define DURATION_MS_MAX (7ull * 24 * 3600 * 1000)
#define LIST_TEXT_MAX 4096u

/* --- kinds --- */

/* Also the words that people write in settings files. */
static const char *read_switch(const char *text)
{
    if (strcmp(text, "yes") == 0 || strcmp(text, "on") == 0) {
        return "true";
    }
    if (strcmp(text, "no") == 0 || strcmp(text, "off") == 0) {
        return "false";
    }
    return mig_text_switch(text);
}

/* True when the `length` characters at `word` are one of "a|b|c". */
static bool is_choice(const char *choices, const char *word, size_t length)
{
    for (const char *at = choices; *at;) {
        size_t size = strcspn(at, "|");

        if (size == length && strncmp(at, word, length) == 0) {
            return true;
        }
        at += size + (at[size] == '|');
    }
    return false;
}

static bool read_duration(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    size_t digits = strspn(text, "0123456789");
    char number[16];
    uint64_t value;

    if (digits == 0 || digits >= sizeof(number)) {
        return false;
    }
    memcpy(number, text, digits);
    number[digits] = '\0';
    for (size_t i = 0; i < MIG_ARRAY_SIZE(units); i++) {
        if (strcmp(text + digits, units[i].unit) == 0) {
            *ret_ms = 0;
            if (!mig_text_parse_u64(number, DURATION_MS_MAX / units[i].ms, &value)) {
                return false;
            }
            *ret_ms = value * units[i].ms;
            return true;
        }
    }
    return false;
}

static bool is_set(const struct daemon_option *option, const char *text)
{
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, ",");

        if (!is_choice(option->choices, at, length)) {
            return false;
        }
        at += length + (at[length] == ',' && at[length + 1]);
        if (*at == ',') {
            return false;
        }
    }
    return *text != '\0';
}

/* The text to keep for `text`, or NULL with `wanted` when it is not of the option's kind. */
static const char *check_value(const struct daemon_option *option, const char *text,
                               const char **wanted)
{
    uint64_t ms;

    *wanted = option->choices ? option->choices : "";
    switch (option->kind) {
    case DAEMON_SWITCH:
        *wanted = "true or false";
        return read_switch(text);
    case DAEMON_CHOICE:
        return is_choice(option->choices, text, strlen(text)) ? text : NULL;
    case DAEMON_SET:
        return is_set(option, text) ? text : NULL;
    case DAEMON_DURATION:
        *wanted = "a time of at most a week, as 30s, 10m or 1h";
        return read_duration(text, &ms) ? text : NULL;
    case DAEMON_TEXT:
    default:
        return text;
    }
}

/* --- command line --- */

static enum daemon_option_id find_name(const char *name, size_t length)
{
    enum daemon_option_id id = 0;

    while (id < DAEMON_OPTION_COUNT && (strlen(daemon_options[id].name) != length ||
                                        strncmp(daemon_options[id].name, name, length) != 0)) {
        id++;
    }
    return id;
}

static enum daemon_option_id find_letter(char letter)
{
    enum daemon_option_id id = 0;

    while (id < DAEMON_OPTION_COUNT && daemon_options[id].letter != letter) {
        id++;
    }
    return id;
}

struct words {
    int count, at;
    char *const *words;
    struct daemon_values *values;
    struct mig_error *error;
};

static int usage(struct words *words, const char *what, const char *word)
{
    (void)mig_error_set(words->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "%s: %.128s", what, word);
    return mig_error_hint(words->error, MIG_E_USAGE, "migd --help lists the options");
}

static int set_from_words(struct words *words, enum daemon_option_id id, const char *value)
{
    const struct daemon_option *option = &daemon_options[id];
    const char *kept, *wanted;

    if (!value && option->kind == DAEMON_SWITCH) {
        value = "true";
    } else if (!value) {
        if (words->at == words->count) {
            return usage(words, "option needs a value", option->name);
        }
        value = words->words[words->at++];
    }
    kept = check_value(option, value, &wanted);
    if (!kept) {
        return mig_error_set(words->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "--%s cannot be '%.128s': it has to be %s", option->name, value,
                             wanted);
    }
    words->values->texts[id] = kept;
    words->values->sources[id] = DAEMON_FROM_COMMAND_LINE;
    return 0;
}

/* -rd, -f FILE, -f=FILE, -fFILE */
static int read_letters(struct words *words, const char *letters)
{
    for (const char *at = letters; *at; at++) {
        enum daemon_option_id id = find_letter(*at);
        const char *value = at[1] == '=' ? at + 2 : NULL;
        int rc;

        if (id == DAEMON_OPTION_COUNT) {
            return usage(words, "unknown option", letters);
        }
        if (!value && daemon_options[id].kind != DAEMON_SWITCH && at[1]) {
            value = at + 1;
        }
        rc = set_from_words(words, id, value);
        if (rc < 0 || value) {
            return rc;
        }
    }
    return 0;
}

static int read_words(struct words *words)
{
    while (words->at < words->count) {
        const char *word = words->words[words->at++];
        const char *name = word + (word[0] == '-' && word[1] == '-' ? 2 : 1);
        size_t length = strcspn(word[0] ? name : word, "=");
        enum daemon_option_id id;
        int rc;

        if (word[0] != '-' || !word[1] || strcmp(word, "--") == 0) {
            return usage(words, "migd takes options only", word);
        }
        id = find_name(name, length);
        if (id != DAEMON_OPTION_COUNT) {
            rc = set_from_words(words, id, name[length] ? name + length + 1 : NULL);
        } else {
            rc = word[1] == '-' ? usage(words, "unknown option", word) : read_letters(words, name);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* --- environment --- */

static int read_variable(struct daemon_values *values, enum daemon_option_id id,
                         const char *variable, struct mig_error *error)
{
    const char *text = getenv(variable), *kept, *wanted;

    if (!text || !*text) {
        return 0;
    }
    kept = check_value(&daemon_options[id], text, &wanted);
    if (!kept) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "environment variable %s cannot be '%.128s': it has to be %s",
                             variable, text, wanted);
    }
    values->texts[id] = kept;
    values->sources[id] = DAEMON_FROM_ENVIRONMENT;
    return 0;
}

static int read_environment(struct daemon_values *values, struct mig_error *error)
{
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        for (size_t i = 0; i < MIG_ARRAY_SIZE(daemon_options[id].variables); i++) {
            const char *variable = daemon_options[id].variables[i];

            if (variable && !values->texts[id]) {
                int rc = read_variable(values, id, variable, error);

                if (rc < 0) {
                    return rc;
                }
            }
        }
    }
    return 0;
}

/* --- settings file --- */

static int append_scalar(struct mig_buffer *buffer, const struct mig_value *value)
{
    switch (value->kind) {
    case MIG_VALUE_BOOL:
        return mig_buffer_puts(buffer, value->boolean ? "true" : "false");
    case MIG_VALUE_INTEGER:
    case MIG_VALUE_NUMBER:
    case MIG_VALUE_TEXT:
        return mig_buffer_puts(buffer, value->text);
    case MIG_VALUE_NULL:
        return mig_buffer_puts(buffer, "");
    case MIG_VALUE_LIST:
    case MIG_VALUE_MAP:
    default:
        return -1;
    }
}

/* A scalar, or a list of scalars separated by commas; NULL when it is neither. */
static char *value_text(const struct mig_value *value)
{
    MIG_AUTO_BUFFER struct mig_buffer buffer;
    int rc = 0;

    mig_buffer_init(&buffer, LIST_TEXT_MAX);
    if (value->kind == MIG_VALUE_LIST) {
        rc = mig_buffer_puts(&buffer, "");
        for (uint32_t i = 0; i < value->count && rc == 0; i++) {
            rc = i ? mig_buffer_puts(&buffer, ",") : 0;
            rc = rc ? rc : append_scalar(&buffer, value->items[i]);
        }
    } else {
        rc = append_scalar(&buffer, value);
    }
    return rc == 0 ? mig_buffer_take(&buffer) : NULL;
}

static int read_setting(struct daemon_values *values, const char *path, const struct mig_pair *pair,
                        struct mig_error *error)
{
    enum daemon_option_id id = find_name(pair->key, strlen(pair->key));
    MIG_AUTO_FREE char *text = NULL;
    const char *kept, *wanted;

    if (id == DAEMON_OPTION_COUNT || id == DAEMON_SETTINGS || id == DAEMON_HELP ||
        id == DAEMON_VERSION) {
        return mig_position_error(error, MIG_E_CONFIG, path, pair->position,
                                  "unknown setting '%.128s'", pair->key);
    }
    text = value_text(pair->value);
    kept = text ? check_value(&daemon_options[id], text, &wanted) : NULL;
    if (!text) {
        wanted = "a value or a list of values";
    }
    if (!kept) {
        return mig_position_error(error, MIG_E_CONFIG, path, pair->value->position,
                                  "%s cannot be '%.128s': it has to be %s", pair->key,
                                  text ? text : mig_value_kind_name(pair->value->kind), wanted);
    }
    if (!values->texts[id]) {
        values->sources[id] = DAEMON_FROM_FILE;
        values->texts[id] = kept;
        values->owned[id] = kept == text ? MIG_TAKE(text) : NULL;
    }
    return 0;
}

MIG_DEFINE_CLEANUP(document, struct mig_document, mig_document_free)

static int read_settings(struct daemon_values *values, struct mig_error *error)
{
    MIG_CLEANUP(cleanup_document) struct mig_document *document = NULL;
    MIG_AUTO_FREE char *text = NULL;
    const char *path = values->texts[DAEMON_SETTINGS];
    const struct mig_value *root;
    size_t size;
    int rc;

    if (!path || !*path) {
        return 0;
    }
    rc = mig_document_read_file(path, &text, &size, error);
    rc = rc < 0 ? rc : mig_document_parse(path, text, size, &document, error);
    if (rc < 0) {
        return rc;
    }
    root = mig_document_root(document);
    if (root->kind == MIG_VALUE_NULL) {
        return 0;
    }
    if (root->kind != MIG_VALUE_MAP) {
        return mig_position_error(error, MIG_E_CONFIG, path, root->position,
                                  "settings have to be a map, found %s",
                                  mig_value_kind_name(root->kind));
    }
    for (uint32_t i = 0; i < root->count && rc == 0; i++) {
        if (!root->pairs[i].overridden) {
            rc = read_setting(values, path, &root->pairs[i], error);
        }
    }
    return rc;
}

/* --- all together --- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

int daemon_values_read(int argc, char *const *argv, struct daemon_values *ret,
                       struct mig_error *error)
{
    struct words words = {.count = argc, .at = 1, .words = argv, .values = ret, .error = error};
    int rc;

    *ret = (struct daemon_values){
        .as_mig_manager = argc > 0 && strcmp(base_name(argv[0]), "nvidia-mig-manager") == 0};
    rc = read_words(&words);
    rc = rc < 0 ? rc : read_environment(ret, error);
    rc = rc < 0 ? rc : read_settings(ret, error);
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        const struct daemon_option *option = &daemon_options[id];

        if (!ret->texts[id]) {
            ret->texts[id] = ret->as_mig_manager && option->manager_fallback
                                 ? option->manager_fallback
                                 : option->fallback;
        }
    }
    return rc;
}

void daemon_values_release(struct daemon_values *values)
{
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        free(values->owned[id]);
    }
    *values = (struct daemon_values){0};
}

uint64_t daemon_value_ms(const struct daemon_values *values, enum daemon_option_id id)
{
    uint64_t ms = 0;

    (void)read_duration(values->texts[id], &ms);
    return ms;
}

bool daemon_value_has(const struct daemon_values *values, enum daemon_option_id id,
                      const char *word)
{
    size_t length = strlen(word);

    for (const char *at = values->texts[id]; *at;) {
        size_t size = strcspn(at, ",");

        if (size == length && strncmp(at, word, length) == 0) {
            return true;
        }
        at += size + (at[size] == ',');
    }
    return false;
}

static void print_option(FILE *out, const struct daemon_option *option)
{
    char letter[8] = "";

    if (option->letter) {
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    }
    fprintf(out, "  %s--%s%s%s\n      %s", letter, option->name, option->argument ? " " : "",
            option->argument ? option->argument : "", option->help);
    if (option->choices && !option->argument) {
        fprintf(out, "; one of %s", option->choices);
    } else if (option->choices) {
        fprintf(out, " (%s)", option->choices);
    }
    if (option->fallback[0] && option->kind != DAEMON_SWITCH) {
        fprintf(out, " [%s]", option->fallback);
    }
    if (option->variables[0]) {
        fprintf(out, " $%s", option->variables[0]);
    }
    fputc('\n', out);
}

void daemon_print_help(FILE *out, const char *program)
{
    fprintf(out, "%s - %s\n\nUsage: %s [OPTION]...\n", program, daemon_summary, program);
    for (enum daemon_option_group group = 0; group < DAEMON_GROUP_COUNT; group++) {
        fprintf(out, "\n%s:\n", daemon_group_names[group]);
        for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
            if (daemon_options[id].group == group) {
                print_option(out, &daemon_options[id]);
            }
        }
    }
}
