/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two layouts of nvidia-mig-parted's output. YAML goes through libyaml's emitter, whose choices
 * (quotes, line breaks at 80 columns) are those of the emitter that nvidia-mig-parted uses; JSON is
 * simple enough to write here. The formats order keys differently: YAML counts numbers in names
 * (1g.5gb before 1g.10gb), JSON compares bytes.
 */
#include "config/write.h"
#include "base/buffer.h"
#include "config/scalar.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define OUTPUT_MAX (8u << 20)

/* --- order of keys --- */

static int read_number(const char *text, size_t from, int64_t start, int64_t *ret)
{
    size_t at = from;

    *ret = start;
    while (isdigit((unsigned char)text[at])) {
        if (__builtin_mul_overflow(*ret, (int64_t)10, ret)) {
            *ret = INT64_MAX / 10;
        }
        *ret += text[at] - '0';
        at++;
    }
    return (int)(at - from);
}

/* True when the digits just before `at` hold one that is not zero: then a 0 at `at` counts. */
static bool after_digits(const char *text, size_t at)
{
    for (; at > 0 && isdigit((unsigned char)text[at - 1]); at--) {
        if (text[at - 1] != '0') {
            return true;
        }
    }
    return false;
}

static bool is_letter(char character)
{
    return isalpha((unsigned char)character) || (unsigned char)character >= 0x80;
}

/* At the first difference letters go by code and after all else, numbers by value. */
static int compare_natural(const char *a, const char *b)
{
    int64_t a_number, b_number, start;
    int a_length, b_length;
    size_t at = 0;

    while (a[at] && a[at] == b[at]) {
        at++;
    }
    if (!a[at] || !b[at]) {
        return (unsigned char)a[at] - (unsigned char)b[at];
    }
    if (is_letter(a[at]) && is_letter(b[at])) {
        return (unsigned char)a[at] - (unsigned char)b[at];
    }
    if (is_letter(a[at]) || is_letter(b[at])) {
        return is_letter(b[at]) ? -1 : 1;
    }
    start = (a[at] == '0' || b[at] == '0') && after_digits(a, at) ? 1 : 0;
    a_length = read_number(a, at, start, &a_number);
    b_length = read_number(b, at, start, &b_number);
    if (a_number != b_number) {
        return a_number < b_number ? -1 : 1;
    }
    if (a_length != b_length) {
        return a_length - b_length;
    }
    return (unsigned char)a[at] - (unsigned char)b[at];
}

static int compare_yaml_configs(const void *a, const void *b)
{
    return compare_natural(((const struct mig_out_config *)a)->name,
                           ((const struct mig_out_config *)b)->name);
}

static int compare_json_configs(const void *a, const void *b)
{
    return strcmp(((const struct mig_out_config *)a)->name,
                  ((const struct mig_out_config *)b)->name);
}

static int compare_yaml_profiles(const void *a, const void *b)
{
    return compare_natural(((const struct mig_out_profile *)a)->name,
                           ((const struct mig_out_profile *)b)->name);
}

static int compare_json_profiles(const void *a, const void *b)
{
    return strcmp(((const struct mig_out_profile *)a)->name,
                  ((const struct mig_out_profile *)b)->name);
}

static void sort_keys(struct mig_out_config *configs, size_t count, enum mig_format format)
{
    bool yaml = format == MIG_FORMAT_YAML;

    qsort(configs, count, sizeof(*configs), yaml ? compare_yaml_configs : compare_json_configs);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < configs[i].entry_count; k++) {
            struct mig_out_entry *entry = &configs[i].entries[k];

            if (entry->profile_count > 1) {
                qsort(entry->profiles, entry->profile_count, sizeof(*entry->profiles),
                      yaml ? compare_yaml_profiles : compare_json_profiles);
            }
        }
    }
}

/* --- YAML --- */

/* Every function returns a node number, or 0 when memory is short; 0 as input gives 0. */

static bool skip_digits(const char **text, size_t min, size_t max)
{
    size_t count = strspn(*text, "0123456789");

    *text += count;
    return count >= min && count <= max;
}

/* 2006-1-2: text that readers of YAML 1.1 may take for a date. */
static bool looks_like_date(const char *text)
{
    return skip_digits(&text, 4, 4) && *text++ == '-' && skip_digits(&text, 1, 2) &&
           *text++ == '-' && skip_digits(&text, 1, 2) && (!*text || strchr("Tt ", *text));
}

/* 1:30: text that readers of YAML 1.1 may take for a number of base 60. */
static bool looks_like_base60(const char *text)
{
    bool colon = false;

    text += *text == '+' || *text == '-';
    for (; isdigit((unsigned char)*text) || *text == ':' || *text == '_' || *text == '.'; text++) {
        colon = colon || *text == ':';
    }
    return colon && !*text;
}

static int yaml_text(yaml_document_t *document, const char *text)
{
    bool plain = mig_scalar_resolve(text).kind == MIG_VALUE_TEXT && !looks_like_date(text) &&
                 !looks_like_base60(text);
    yaml_scalar_style_t style = plain ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE;

    if (strchr(text, '\n')) {
        style = YAML_LITERAL_SCALAR_STYLE;
    }
    return yaml_document_add_scalar(document, NULL, (const yaml_char_t *)text, (int)strlen(text),
                                    style);
}

/* A number or truth value: text that needs no quotes because it is meant as what it looks like. */
static int yaml_word(yaml_document_t *document, const char *text)
{
    return yaml_document_add_scalar(document, NULL, (const yaml_char_t *)text, (int)strlen(text),
                                    YAML_PLAIN_SCALAR_STYLE);
}

static int yaml_number(yaml_document_t *document, uint32_t number)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    return yaml_word(document, text);
}

static bool yaml_put(yaml_document_t *document, int map, const char *key, int value)
{
    int name = yaml_text(document, key);

    return map && name && value && yaml_document_append_mapping_pair(document, map, name, value);
}

static bool yaml_append(yaml_document_t *document, int list, int item)
{
    return list && item && yaml_document_append_sequence_item(document, list, item);
}

static int yaml_list(yaml_document_t *document, yaml_sequence_style_t style)
{
    return yaml_document_add_sequence(document, NULL, style);
}

static int yaml_map(yaml_document_t *document)
{
    return yaml_document_add_mapping(document, NULL, YAML_BLOCK_MAPPING_STYLE);
}

static int yaml_filters(yaml_document_t *document, const struct mig_out_entry *entry)
{
    int list;

    if (entry->filter_is_text) {
        return yaml_text(document, entry->filters[0]);
    }
    list = yaml_list(document, YAML_FLOW_SEQUENCE_STYLE);
    for (size_t i = 0; i < entry->filter_count; i++) {
        if (!yaml_append(document, list, yaml_text(document, entry->filters[i]))) {
            return 0;
        }
    }
    return list;
}

static int yaml_devices(yaml_document_t *document, const struct mig_out_entry *entry)
{
    int list;

    if (entry->all) {
        return yaml_text(document, "all");
    }
    list = yaml_list(document, YAML_FLOW_SEQUENCE_STYLE);
    for (size_t i = 0; i < entry->device_count; i++) {
        if (!yaml_append(document, list, yaml_number(document, entry->devices[i]))) {
            return 0;
        }
    }
    return list;
}

static int yaml_profiles(yaml_document_t *document, const struct mig_out_entry *entry)
{
    int map = yaml_map(document);

    for (size_t i = 0; i < entry->profile_count; i++) {
        if (!yaml_put(document, map, entry->profiles[i].name,
                      yaml_number(document, entry->profiles[i].count))) {
            return 0;
        }
    }
    return map;
}

static int yaml_entry(yaml_document_t *document, const struct mig_out_entry *entry)
{
    int map = yaml_map(document);
    bool done = entry->filter_count == 0 ||
                yaml_put(document, map, "device-filter", yaml_filters(document, entry));

    done = done && yaml_put(document, map, "devices", yaml_devices(document, entry)) &&
           yaml_put(document, map, "mig-enabled",
                    yaml_word(document, entry->enabled ? "true" : "false")) &&
           yaml_put(document, map, "mig-devices", yaml_profiles(document, entry));
    return done ? map : 0;
}

static bool yaml_build(yaml_document_t *document, const struct mig_out_config *configs,
                       size_t count)
{
    int root = yaml_map(document), map = yaml_map(document);

    if (!yaml_put(document, root, "version", yaml_text(document, "v1"))) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        int list = yaml_list(document, YAML_BLOCK_SEQUENCE_STYLE);

        for (size_t k = 0; k < configs[i].entry_count; k++) {
            if (!yaml_append(document, list, yaml_entry(document, &configs[i].entries[k]))) {
                return false;
            }
        }
        if (!yaml_put(document, map, configs[i].name, list)) {
            return false;
        }
    }
    return yaml_put(document, root, "mig-configs", map);
}

static int on_output(void *data, unsigned char *bytes, size_t size)
{
    return mig_buffer_append(data, bytes, size) == 0;
}

/* False when memory was short. */
static bool write_yaml(const struct mig_out_config *configs, size_t count,
                       struct mig_buffer *buffer)
{
    yaml_document_t document;
    yaml_emitter_t emitter;
    bool done;

    if (!yaml_document_initialize(&document, NULL, NULL, NULL, 1, 1)) {
        return false;
    }
    if (!yaml_build(&document, configs, count)) {
        yaml_document_delete(&document);
        return false;
    }
    if (!yaml_emitter_initialize(&emitter)) {
        yaml_document_delete(&document);
        return false;
    }
    yaml_emitter_set_output(&emitter, on_output, buffer);
    yaml_emitter_set_unicode(&emitter, 1);
    done = yaml_emitter_dump(&emitter, &document); /* takes the document's content over */
    done = done && yaml_emitter_close(&emitter);
    yaml_emitter_delete(&emitter);
    return done;
}

/* --- JSON --- */

static void json_text(struct mig_buffer *buffer, const char *text)
{
    mig_buffer_puts(buffer, "\"");
    for (; *text; text++) {
        unsigned char character = (unsigned char)*text;

        if (character == '"' || character == '\\') {
            mig_buffer_printf(buffer, "\\%c", character);
        } else if (character == '\n') {
            mig_buffer_puts(buffer, "\\n");
        } else if (character == '\r') {
            mig_buffer_puts(buffer, "\\r");
        } else if (character == '\t') {
            mig_buffer_puts(buffer, "\\t");
        } else if (character < 0x20 || strchr("<>&", character)) {
            mig_buffer_printf(buffer, "\\u%04x", character);
        } else {
            mig_buffer_append(buffer, text, 1);
        }
    }
    mig_buffer_puts(buffer, "\"");
}

/* Starts the next item of a list or map, or ends it. */
static void json_break(struct mig_buffer *buffer, size_t index, unsigned indent)
{
    mig_buffer_printf(buffer, "%s\n%*s", index > 0 ? "," : "", (int)indent, "");
}

#define ENTRY_INDENT 8u /* of an entry's keys */

static void json_filters(struct mig_buffer *buffer, const struct mig_out_entry *entry)
{
    if (entry->filter_count == 0) {
        return;
    }
    mig_buffer_puts(buffer, "\"device-filter\": ");
    if (entry->filter_is_text) {
        json_text(buffer, entry->filters[0]);
    } else {
        mig_buffer_puts(buffer, "[");
        for (size_t i = 0; i < entry->filter_count; i++) {
            json_break(buffer, i, ENTRY_INDENT + 2);
            json_text(buffer, entry->filters[i]);
        }
        json_break(buffer, 0, ENTRY_INDENT);
        mig_buffer_puts(buffer, "]");
    }
    json_break(buffer, 1, ENTRY_INDENT);
}

static void json_devices(struct mig_buffer *buffer, const struct mig_out_entry *entry)
{
    if (entry->all || entry->device_count == 0) {
        mig_buffer_puts(buffer, entry->all ? "\"all\"" : "[]");
        return;
    }
    mig_buffer_puts(buffer, "[");
    for (size_t i = 0; i < entry->device_count; i++) {
        json_break(buffer, i, ENTRY_INDENT + 2);
        mig_buffer_printf(buffer, "%u", entry->devices[i]);
    }
    json_break(buffer, 0, ENTRY_INDENT);
    mig_buffer_puts(buffer, "]");
}

static void json_profiles(struct mig_buffer *buffer, const struct mig_out_entry *entry)
{
    if (entry->profile_count == 0) {
        mig_buffer_puts(buffer, entry->profiles_unset ? "null" : "{}");
        return;
    }
    mig_buffer_puts(buffer, "{");
    for (size_t i = 0; i < entry->profile_count; i++) {
        json_break(buffer, i, ENTRY_INDENT + 2);
        json_text(buffer, entry->profiles[i].name);
        mig_buffer_printf(buffer, ": %u", entry->profiles[i].count);
    }
    json_break(buffer, 0, ENTRY_INDENT);
    mig_buffer_puts(buffer, "}");
}

static void json_entry(struct mig_buffer *buffer, const struct mig_out_entry *entry)
{
    mig_buffer_puts(buffer, "{");
    json_break(buffer, 0, ENTRY_INDENT);
    json_filters(buffer, entry);
    mig_buffer_puts(buffer, "\"devices\": ");
    json_devices(buffer, entry);
    json_break(buffer, 1, ENTRY_INDENT);
    mig_buffer_printf(buffer, "\"mig-enabled\": %s", entry->enabled ? "true" : "false");
    json_break(buffer, 1, ENTRY_INDENT);
    mig_buffer_puts(buffer, "\"mig-devices\": ");
    json_profiles(buffer, entry);
    json_break(buffer, 0, ENTRY_INDENT - 2);
    mig_buffer_puts(buffer, "}");
}

static void write_json(const struct mig_out_config *configs, size_t count,
                       struct mig_buffer *buffer)
{
    mig_buffer_puts(buffer, "{\n  \"version\": \"v1\",\n  \"mig-configs\": {");
    for (size_t i = 0; i < count; i++) {
        json_break(buffer, i, 4);
        json_text(buffer, configs[i].name);
        mig_buffer_puts(buffer, ": [");
        for (size_t k = 0; k < configs[i].entry_count; k++) {
            json_break(buffer, k, ENTRY_INDENT - 2);
            json_entry(buffer, &configs[i].entries[k]);
        }
        json_break(buffer, 0, 4);
        mig_buffer_puts(buffer, "]");
    }
    mig_buffer_puts(buffer, "\n  }\n}");
}

/* --- both --- */

/* Bytes of the UTF-8 character at `text`; 0 when there is none. */
static size_t character_length(const unsigned char *text)
{
    size_t length = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : 2;

    if ((text[0] >= 0x80 && text[0] < 0xc2) || text[0] > 0xf4) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
        (text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f)) {
        return 0; /* a longer form than needed, half of a pair, or past the last character */
    }
    return length;
}

static bool is_utf8(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;

    while (*at) {
        size_t length = character_length(at);

        if (length == 0) {
            return false;
        }
        at += length;
    }
    return true;
}

int mig_config_write(struct mig_out_config *configs, size_t count, enum mig_format format,
                     char **ret, struct mig_error *error)
{
    MIG_AUTO_BUFFER struct mig_buffer buffer;

    mig_buffer_init(&buffer, OUTPUT_MAX);
    for (size_t i = 0; i < count; i++) {
        if (!is_utf8(configs[i].name)) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "the name of a config has to be UTF-8 text");
        }
    }
    sort_keys(configs, count, format);
    if (format == MIG_FORMAT_JSON) {
        write_json(configs, count, &buffer);
    } else if (!write_yaml(configs, count, &buffer)) {
        buffer.error = buffer.error ? buffer.error : ENOMEM;
    }
    *ret = mig_buffer_take(&buffer);
    if (!*ret) {
        return mig_error_set_errno(error, MIG_E_FAILED, buffer.error,
                                   "could not write the config file");
    }
    return 0;
}
