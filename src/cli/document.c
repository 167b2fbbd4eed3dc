/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds and writes the documents. jansson holds the tree and writes JSON; the YAML writer walks
 * the same tree and feeds libyaml's emitter, so both forms always say the same. A string is written
 * plain in YAML only when no reader could take it for anything but a string.
 */
#include "cli/document.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <yaml.h>

static json_t *need(json_t *value)
{
    if (!value) {
        fputs("migctl: out of memory\n", stderr);
        exit(-MIG_E_FAILED);
    }
    return value;
}

json_t *doc_object(void)
{
    return need(json_object());
}

json_t *doc_array(void)
{
    return need(json_array());
}

void doc_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0) {
        (void)need(NULL);
    }
}

void doc_add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0) {
        (void)need(NULL);
    }
}

static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);

    if (!value) {
        char copy[MIG_ERROR_MESSAGE_SIZE];
        size_t length = 0;

        for (; *text && length + 1 < sizeof(copy); text++) {
            copy[length++] = isascii((unsigned char)*text) ? *text : '?';
        }
        copy[length] = '\0';
        value = json_string(copy);
    }
    return need(value);
}

void doc_put_text(json_t *object, const char *key, const char *text)
{
    doc_put(object, key, text_value(text));
}

void doc_put_known_text(json_t *object, const char *key, const char *text)
{
    doc_put(object, key, text && *text ? text_value(text) : json_null());
}

void doc_put_bool(json_t *object, const char *key, bool value)
{
    doc_put(object, key, json_boolean(value));
}

void doc_put_int(json_t *object, const char *key, int64_t value)
{
    doc_put(object, key, need(json_integer(value)));
}

void doc_put_known_int(json_t *object, const char *key, int64_t value)
{
    doc_put(object, key, value == MIG_UNKNOWN ? json_null() : need(json_integer(value)));
}

void doc_put_id(json_t *object, const char *key, uint32_t id)
{
    doc_put(object, key, id == MIG_ID_NONE ? json_null() : need(json_integer(id)));
}

void doc_add_text(json_t *array, const char *text)
{
    doc_add(array, text_value(text));
}

json_t *doc_start(struct cli *cli, const char *name)
{
    char schema[64];

    if (cli->document) {
        json_decref(cli->document);
    }
    cli->document = doc_object();
    (void)snprintf(schema, sizeof(schema), "migctl/%s/v1", name);
    doc_put_text(cli->document, "schema", schema);
    return cli->document;
}

static const char *class_of(int result)
{
    static const char *const names[] = {"ok",     "failed", "usage",     "config",
                                        "no-fit", "busy",   "no-driver", "broken"};

    return result <= 0 && (size_t)-result < MIG_ARRAY_SIZE(names) ? names[-result] : "failed";
}

static const char *domain_of(enum mig_error_domain domain)
{
    static const char *const names[] = {
        [MIG_DOMAIN_NONE] = NULL,       [MIG_DOMAIN_ERRNO] = "errno", [MIG_DOMAIN_NVML] = "nvml",
        [MIG_DOMAIN_CONFIG] = "config", [MIG_DOMAIN_PLAN] = "plan",   [MIG_DOMAIN_EXIT] = "exit",
        [MIG_DOMAIN_HTTP] = "http",
    };

    return (size_t)domain < MIG_ARRAY_SIZE(names) ? names[domain] : NULL;
}

void doc_put_error(json_t *document, int result, const struct mig_error *error)
{
    json_t *object = doc_object();

    doc_put_int(object, "code", -result);
    doc_put_text(object, "class", class_of(result));
    doc_put_text(object, "message", error->message);
    doc_put_known_text(object, "in_the_way", error->holders);
    doc_put_known_text(object, "what_to_do", error->hint);
    doc_put_known_text(object, "domain", domain_of(error->domain));
    doc_put_known_int(object, "domain_code",
                      error->domain == MIG_DOMAIN_NONE ? MIG_UNKNOWN : error->code);
    doc_put(document, "error", object);
}

/* YAML */

static bool emit(yaml_emitter_t *emitter, yaml_event_t *event, int initialized)
{
    return initialized && yaml_emitter_emit(emitter, event);
}

/* True for text that YAML 1.1 and 1.2 readers both take for a string. */
static bool is_plain(const char *text)
{
    static const char *const words[] = {"y",  "yes", "n",    "no",   "true",
                                        "on", "off", "null", "false"};

    if (!isalpha((unsigned char)*text)) {
        return false;
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(words); i++) {
        if (strcasecmp(words[i], text) == 0) {
            return false;
        }
    }
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "_./+-")] == '\0';
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, yaml_scalar_style_t style)
{
    yaml_event_t event;
    /* libyaml copies the text but does not say const */
    unsigned char *copy = (unsigned char *)strdup(text);
    bool done = copy && emit(emitter, &event,
                             yaml_scalar_event_initialize(&event, NULL, NULL, copy,
                                                          (int)strlen(text), 1, 1, style));

    free(copy);
    return done;
}

static bool emit_string(yaml_emitter_t *emitter, const char *text)
{
    return emit_scalar(emitter, text,
                       is_plain(text) ? YAML_PLAIN_SCALAR_STYLE : YAML_DOUBLE_QUOTED_SCALAR_STYLE);
}

static bool emit_value(yaml_emitter_t *emitter, json_t *value);

static bool emit_array(yaml_emitter_t *emitter, const json_t *array)
{
    yaml_event_t event;
    size_t count = json_array_size(array);

    if (!emit(emitter, &event,
              yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                                   count ? YAML_BLOCK_SEQUENCE_STYLE
                                                         : YAML_FLOW_SEQUENCE_STYLE))) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!emit_value(emitter, json_array_get(array, i))) {
            return false;
        }
    }
    return emit(emitter, &event, yaml_sequence_end_event_initialize(&event));
}

static bool emit_object(yaml_emitter_t *emitter, json_t *object)
{
    yaml_event_t event;
    const char *key;
    json_t *value;
    bool done =
        emit(emitter, &event,
             yaml_mapping_start_event_initialize(
                 &event, NULL, NULL, 1,
                 json_object_size(object) ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE));

    json_object_foreach(object, key, value)
    {
        done = done && emit_string(emitter, key) && emit_value(emitter, value);
    }
    return done && emit(emitter, &event, yaml_mapping_end_event_initialize(&event));
}

static bool emit_value(yaml_emitter_t *emitter, json_t *value)
{
    char number[32];

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return emit_object(emitter, value);
    case JSON_ARRAY:
        return emit_array(emitter, value);
    case JSON_STRING:
        return emit_string(emitter, json_string_value(value));
    case JSON_TRUE:
        return emit_scalar(emitter, "true", YAML_PLAIN_SCALAR_STYLE);
    case JSON_FALSE:
        return emit_scalar(emitter, "false", YAML_PLAIN_SCALAR_STYLE);
    case JSON_NULL:
        return emit_scalar(emitter, "null", YAML_PLAIN_SCALAR_STYLE);
    case JSON_INTEGER:
        (void)snprintf(number, sizeof(number), "%" PRId64, (int64_t)json_integer_value(value));
        return emit_scalar(emitter, number, YAML_PLAIN_SCALAR_STYLE);
    case JSON_REAL:
        (void)snprintf(number, sizeof(number), "%.17g", json_real_value(value));
        return emit_scalar(emitter, number, YAML_PLAIN_SCALAR_STYLE);
    }
    return false;
}

static bool write_yaml(json_t *document, FILE *out)
{
    yaml_emitter_t emitter;
    yaml_event_t event;
    bool done;

    if (!yaml_emitter_initialize(&emitter)) {
        return false;
    }
    yaml_emitter_set_output_file(&emitter, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    done =
        emit(&emitter, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING)) &&
        emit(&emitter, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1)) &&
        emit_value(&emitter, document) &&
        emit(&emitter, &event, yaml_document_end_event_initialize(&event, 1)) &&
        emit(&emitter, &event, yaml_stream_end_event_initialize(&event)) &&
        yaml_emitter_flush(&emitter);
    yaml_emitter_delete(&emitter);
    return done;
}

bool doc_write(json_t *document, enum cli_output output, FILE *out)
{
    if (output == CLI_YAML) {
        return write_yaml(document, out);
    }
    return json_dumpf(document, out, JSON_INDENT(2)) == 0 && putc('\n', out) != EOF;
}
