/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The document reader: events of libyaml, put together on an explicit stack.
 *
 * Nothing recurses and everything is counted, so hostile input ends in an error early: depth,
 * number of values, anchors and bytes of a scalar are limited while reading, the arena limits
 * memory, and directives are counted before libyaml sees them because it compares each with all
 * before it. A container that is still open is not an anchor that can be referred to, so the result
 * has no cycles.
 */
#include "config/document.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "config/arena.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#define DOCUMENT_MEMORY_MAX (32u << 20)
#define DIRECTIVES_MAX 16u
#define TAG_PREFIX "tag:yaml.org,2002:"
#define BYTE_ORDER_MARK "\xef\xbb\xbf" /* of UTF-8 */
#define NAME_SHOWN_MAX 200             /* bytes of a file name in a message */

struct mig_document {
    struct mig_arena arena;
    const struct mig_value *root;
};

struct anchor {
    const char *name;
    struct mig_value *value;
    bool open; /* a container whose end has not been seen */
};

/* An open list or map. Its children are on the child stack from `first` up. */
struct frame {
    struct mig_value *value;
    size_t first;
    bool has_key;
    bool is_merge;
    struct mig_pair key; /* without its value */
};

struct reader {
    const char *name;
    const char *text;
    size_t size;
    struct mig_error *error;
    struct mig_arena *arena;
    yaml_parser_t parser;
    uint32_t value_count;
    struct anchor anchors[MIG_DOCUMENT_ANCHORS_MAX];
    size_t anchor_count;
    struct frame frames[MIG_CONFIG_DEPTH_MAX];
    size_t depth;
    struct mig_pair *children; /* items of lists are pairs without key */
    size_t child_count, child_capacity;
    const struct mig_value *root;
};

static const struct mig_value null_value = {.kind = MIG_VALUE_NULL, .position = {1, 1}, .text = ""};

int mig_position_error(struct mig_error *error, int result, const char *name,
                       struct mig_position position, const char *format, ...)
{
    char text[MIG_ERROR_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return mig_error_set(error, result, MIG_DOMAIN_CONFIG, (int)position.line, "%.*s:%u:%u: %s",
                         NAME_SHOWN_MAX, name, position.line, position.column, text);
}

static int no_memory(struct reader *reader)
{
    return mig_position_error(reader->error, MIG_E_CONFIG, reader->name,
                              (struct mig_position){1, 1},
                              "could not read the file: it needs too much memory");
}

static struct mig_position position_of(yaml_mark_t mark)
{
    return (struct mig_position){(uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

/* Where the byte at `offset` stands; libyaml gives only that for bytes that are not text. */
static struct mig_position position_of_offset(const struct reader *reader, size_t offset)
{
    struct mig_position position = {1, 1};

    for (size_t i = 0; i < offset && i < reader->size; i++) {
        position.column++;
        if (reader->text[i] == '\n') {
            position.line++;
            position.column = 1;
        }
    }
    return position;
}

static int syntax_error(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem ? parser->problem : "not valid YAML";

    switch (parser->error) {
    case YAML_MEMORY_ERROR:
        return no_memory(reader);
    case YAML_READER_ERROR:
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name,
                                  position_of_offset(reader, parser->problem_offset),
                                  "not UTF-8 text: %s", problem);
    case YAML_NO_ERROR:
    case YAML_SCANNER_ERROR:
    case YAML_PARSER_ERROR:
    case YAML_COMPOSER_ERROR:
    case YAML_WRITER_ERROR:
    case YAML_EMITTER_ERROR:
        break;
    }
    if (parser->context) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name,
                                  position_of(parser->problem_mark),
                                  "%s, %s that starts at line %zu", problem, parser->context,
                                  parser->context_mark.line + 1);
    }
    return mig_position_error(reader->error, MIG_E_CONFIG, reader->name,
                              position_of(parser->problem_mark), "%s", problem);
}

/* Lines that start with '%'. One %YAML is usual, thousands are an attack on the parser's time. */
static int check_directives(struct reader *reader)
{
    /* the last three end the encodings of U+0085, U+2028 and U+2029, which break lines too */
    static const unsigned char breaks[] = {'\n', '\r', 0x85, 0xa8, 0xa9};
    unsigned count = 0;

    for (size_t i = 0; i < reader->size; i++) {
        unsigned char before = i > 0 ? (unsigned char)reader->text[i - 1] : (unsigned char)'\n';

        if (reader->text[i] == '%' && memchr(breaks, before, sizeof(breaks)) &&
            ++count > DIRECTIVES_MAX) {
            return mig_position_error(reader->error, MIG_E_CONFIG, reader->name,
                                      position_of_offset(reader, i),
                                      "more than %u lines that start with '%%'", DIRECTIVES_MAX);
        }
    }
    return 0;
}

static int count_value(struct reader *reader, struct mig_position position)
{
    if (++reader->value_count > MIG_DOCUMENT_VALUES_MAX) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, position,
                                  "more than %u values in the file", MIG_DOCUMENT_VALUES_MAX);
    }
    return 0;
}

static int push_child(struct reader *reader, const struct mig_pair *pair)
{
    if (reader->child_count == reader->child_capacity) {
        size_t capacity = reader->child_capacity > 0 ? 2 * reader->child_capacity : 64;
        struct mig_pair *larger = realloc(reader->children, capacity * sizeof(*larger));

        if (!larger) {
            return no_memory(reader);
        }
        reader->children = larger;
        reader->child_capacity = capacity;
    }
    reader->children[reader->child_count++] = *pair;
    return 0;
}

/* Copies the pairs of a merged map behind the pairs read so far: they count unless a later pair
 * has their key. */
static int merge_map(struct reader *reader, const struct mig_value *map,
                     struct mig_position position)
{
    if (map->kind != MIG_VALUE_MAP) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, position,
                                  "'<<' needs a map or a list of maps, found %s",
                                  mig_value_kind_name(map->kind));
    }
    for (uint32_t i = 0; i < map->count; i++) {
        struct mig_pair pair = map->pairs[i];
        int rc = count_value(reader, position);

        pair.merged = true;
        if (rc == 0) {
            rc = push_child(reader, &pair);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int merge(struct reader *reader, const struct mig_value *value, struct mig_position position)
{
    if (value->kind != MIG_VALUE_LIST) {
        return merge_map(reader, value, position);
    }
    for (uint32_t i = value->count; i > 0; i--) { /* the first of the list wins */
        int rc = merge_map(reader, value->items[i - 1], position);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* The text a scalar has as a key; NULL when it cannot be one. */
static const char *key_text(struct reader *reader, const struct mig_value *value)
{
    char number[24];

    switch (value->kind) {
    case MIG_VALUE_BOOL:
        return value->boolean ? "true" : "false";
    case MIG_VALUE_INTEGER:
        snprintf(number, sizeof(number), "%lld", (long long)value->integer);
        return mig_arena_text(reader->arena, number, strlen(number));
    case MIG_VALUE_NUMBER:
    case MIG_VALUE_TEXT:
        return value->text;
    case MIG_VALUE_NULL:
    case MIG_VALUE_LIST:
    case MIG_VALUE_MAP:
        break;
    }
    return NULL;
}

static int take_key(struct reader *reader, struct frame *frame, const struct mig_value *value,
                    struct mig_position position, bool is_merge)
{
    frame->key = (struct mig_pair){.key = key_text(reader, value), .position = position};
    frame->has_key = true;
    frame->is_merge = is_merge;
    if (frame->key.key) {
        return 0;
    }
    if (value->kind == MIG_VALUE_INTEGER) {
        return no_memory(reader);
    }
    return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, position,
                              "a key has to be text, found %s", mig_value_kind_name(value->kind));
}

/* Gives a complete value to the container it stands in. */
static int deliver(struct reader *reader, const struct mig_value *value,
                   struct mig_position position, bool is_merge_word)
{
    struct frame *frame;
    struct mig_pair item = {.value = value, .position = position};

    if (reader->depth == 0) {
        reader->root = value;
        return 0;
    }
    frame = &reader->frames[reader->depth - 1];
    if (frame->value->kind == MIG_VALUE_LIST) {
        return push_child(reader, &item);
    }
    if (!frame->has_key) {
        return take_key(reader, frame, value, position, is_merge_word);
    }
    frame->has_key = false;
    if (frame->is_merge) {
        return merge(reader, value, position);
    }
    frame->key.value = value;
    return push_child(reader, &frame->key);
}

static int add_anchor(struct reader *reader, const yaml_char_t *name, struct mig_value *value,
                      bool open)
{
    const char *text = (const char *)name;
    struct anchor *anchor = NULL;

    if (!name) {
        return 0;
    }
    for (size_t i = 0; i < reader->anchor_count; i++) {
        if (strcmp(reader->anchors[i].name, text) == 0) {
            anchor = &reader->anchors[i];
        }
    }
    if (!anchor && reader->anchor_count == MIG_DOCUMENT_ANCHORS_MAX) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, value->position,
                                  "more than %u anchors", MIG_DOCUMENT_ANCHORS_MAX);
    }
    if (!anchor) {
        anchor = &reader->anchors[reader->anchor_count++];
        anchor->name = mig_arena_text(reader->arena, text, strlen(text));
        if (!anchor->name) {
            reader->anchor_count--;
            return no_memory(reader);
        }
    }
    anchor->value = value;
    anchor->open = open;
    return 0;
}

static int new_value(struct reader *reader, const yaml_event_t *event, struct mig_value **ret)
{
    struct mig_position position = position_of(event->start_mark);
    int rc = count_value(reader, position);

    if (rc < 0) {
        return rc;
    }
    *ret = mig_arena_take(reader->arena, sizeof(**ret));
    if (!*ret) {
        return no_memory(reader);
    }
    (*ret)->position = position;
    (*ret)->text = "";
    return 0;
}

static bool is_tag(const yaml_char_t *tag, const char *kind)
{
    return tag && strncmp((const char *)tag, TAG_PREFIX, strlen(TAG_PREFIX)) == 0 &&
           strcmp((const char *)tag + strlen(TAG_PREFIX), kind) == 0;
}

static void set_scalar(struct mig_value *value, struct mig_scalar scalar)
{
    value->kind = scalar.kind;
    if (scalar.kind == MIG_VALUE_BOOL) {
        value->boolean = scalar.boolean;
    } else {
        value->integer = scalar.integer;
    }
}

/* The kind that the scalar's tag asks for; text for a tag of somebody else. */
static int resolve_tagged(struct reader *reader, const yaml_event_t *event, struct mig_value *value)
{
    static const struct {
        const char *name;
        enum mig_value_kind kind;
    } tags[] = {{"bool", MIG_VALUE_BOOL},
                {"int", MIG_VALUE_INTEGER},
                {"float", MIG_VALUE_NUMBER},
                {"null", MIG_VALUE_NULL}};
    const yaml_char_t *tag = event->data.scalar.tag;
    struct mig_scalar scalar = mig_scalar_resolve(value->text);

    value->kind = MIG_VALUE_TEXT;
    if (is_tag(tag, "binary")) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, value->position,
                                  "binary values are not supported");
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(tags); i++) {
        if (!is_tag(tag, tags[i].name)) {
            continue;
        }
        if (scalar.kind != tags[i].kind &&
            !(scalar.kind == MIG_VALUE_INTEGER && tags[i].kind == MIG_VALUE_NUMBER)) {
            return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, value->position,
                                      "'%.64s' is not of the type that its tag says", value->text);
        }
        set_scalar(value, scalar);
    }
    return 0;
}

static int fill_scalar(struct reader *reader, const yaml_event_t *event, struct mig_value *value)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    struct mig_scalar scalar = {.kind = MIG_VALUE_TEXT};

    if (length > MIG_DOCUMENT_TEXT_MAX || memchr(text, '\0', length)) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, value->position,
                                  length > MIG_DOCUMENT_TEXT_MAX
                                      ? "a value longer than %u bytes"
                                      : "a NUL character in a value of at most %u bytes",
                                  MIG_DOCUMENT_TEXT_MAX);
    }
    value->text = mig_arena_text(reader->arena, text, length);
    if (!value->text) {
        return no_memory(reader);
    }
    if (event->data.scalar.tag) {
        return resolve_tagged(reader, event, value);
    }
    if (event->data.scalar.plain_implicit) {
        scalar = mig_scalar_resolve(value->text);
    }
    set_scalar(value, scalar);
    return 0;
}

static int on_scalar(struct reader *reader, const yaml_event_t *event)
{
    struct mig_value *value;
    bool is_merge_word;
    int rc = new_value(reader, event, &value);

    if (rc == 0) {
        rc = fill_scalar(reader, event, value);
    }
    if (rc == 0) {
        rc = add_anchor(reader, event->data.scalar.anchor, value, false);
    }
    if (rc < 0) {
        return rc;
    }
    is_merge_word = strcmp(value->text, "<<") == 0 &&
                    (event->data.scalar.plain_implicit || is_tag(event->data.scalar.tag, "merge"));
    return deliver(reader, value, value->position, is_merge_word);
}

static int on_alias(struct reader *reader, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    struct mig_position position = position_of(event->start_mark);
    int rc = count_value(reader, position);

    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < reader->anchor_count; i++) {
        const struct anchor *anchor = &reader->anchors[i];

        if (strcmp(anchor->name, name) != 0) {
            continue;
        }
        if (anchor->open) {
            return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, position,
                                      "'*%.64s' stands inside the value it refers to", name);
        }
        return deliver(reader, anchor->value, position, false);
    }
    return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, position,
                              "there is no anchor '&%.64s'", name);
}

static int on_container(struct reader *reader, const yaml_event_t *event)
{
    bool is_map = event->type == YAML_MAPPING_START_EVENT;
    struct mig_value *value;
    int rc = new_value(reader, event, &value);

    if (rc < 0) {
        return rc;
    }
    if (reader->depth == MIG_CONFIG_DEPTH_MAX) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, value->position,
                                  "nested deeper than %d levels", MIG_CONFIG_DEPTH_MAX);
    }
    value->kind = is_map ? MIG_VALUE_MAP : MIG_VALUE_LIST;
    reader->frames[reader->depth++] = (struct frame){.value = value, .first = reader->child_count};
    return add_anchor(reader,
                      is_map ? event->data.mapping_start.anchor : event->data.sequence_start.anchor,
                      value, true);
}

static int compare_keys(const void *a, const void *b)
{
    const struct mig_pair *const *left = a;
    const struct mig_pair *const *right = b;
    int order = strcmp((*left)->key, (*right)->key);

    if (order != 0) {
        return order;
    }
    return *left < *right ? -1 : *left > *right;
}

/* Marks every pair but the last of each key. */
static int mark_overridden(struct reader *reader, struct mig_pair *pairs, size_t count)
{
    MIG_AUTO_FREE struct mig_pair **order = NULL;

    if (count < 2) {
        return 0;
    }
    order = calloc(count, sizeof(struct mig_pair *));
    if (!order) {
        return no_memory(reader);
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = &pairs[i];
    }
    qsort(order, count, sizeof(struct mig_pair *), compare_keys);
    for (size_t i = 0; i + 1 < count; i++) {
        order[i]->overridden = strcmp(order[i]->key, order[i + 1]->key) == 0;
    }
    return 0;
}

static int close_map(struct reader *reader, struct frame *frame, size_t count)
{
    struct mig_pair *pairs = mig_arena_array(reader->arena, count, sizeof(*pairs));

    if (!pairs) {
        return no_memory(reader);
    }
    if (count > 0) {
        memcpy(pairs, reader->children + frame->first, count * sizeof(*pairs));
    }
    frame->value->pairs = pairs;
    return mark_overridden(reader, pairs, count);
}

static int close_list(struct reader *reader, struct frame *frame, size_t count)
{
    const struct mig_value **items =
        mig_arena_array(reader->arena, count, sizeof(struct mig_value *));

    if (!items) {
        return no_memory(reader);
    }
    for (size_t i = 0; i < count; i++) {
        items[i] = reader->children[frame->first + i].value;
    }
    frame->value->items = items;
    return 0;
}

static int on_container_end(struct reader *reader)
{
    struct frame *frame = &reader->frames[reader->depth - 1];
    size_t count = reader->child_count - frame->first;
    struct mig_value *value = frame->value;
    int rc = value->kind == MIG_VALUE_MAP ? close_map(reader, frame, count)
                                          : close_list(reader, frame, count);

    if (rc < 0) {
        return rc;
    }
    value->count = (uint32_t)count;
    for (size_t i = 0; i < reader->anchor_count; i++) {
        if (reader->anchors[i].value == value) {
            reader->anchors[i].open = false;
        }
    }
    reader->child_count = frame->first;
    reader->depth--;
    return deliver(reader, value, value->position, false);
}

static int on_event(struct reader *reader, const yaml_event_t *event, bool *ret_end)
{
    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        *ret_end = true;
        return 0;
    case YAML_DOCUMENT_START_EVENT:
        if (!reader->root) {
            return 0;
        }
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name,
                                  position_of(event->start_mark),
                                  "a second document; only one is allowed in a file");
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event);
    case YAML_ALIAS_EVENT:
        return on_alias(reader, event);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return on_container(reader, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_container_end(reader);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

static int read_events(struct reader *reader)
{
    bool end = false;
    int rc = 0;

    while (rc == 0 && !end) {
        yaml_event_t event;

        if (!yaml_parser_parse(&reader->parser, &event)) {
            return syntax_error(reader);
        }
        rc = on_event(reader, &event, &end);
        yaml_event_delete(&event);
    }
    return rc;
}

static int read_document(struct reader *reader)
{
    int rc = check_directives(reader);

    if (rc < 0) {
        return rc;
    }
    if (!yaml_parser_initialize(&reader->parser)) {
        return no_memory(reader);
    }
    yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)reader->text,
                                 reader->size);
    rc = read_events(reader);
    yaml_parser_delete(&reader->parser);
    return rc;
}

int mig_document_parse(const char *name, const char *text, size_t size, struct mig_document **ret,
                       struct mig_error *error)
{
    struct mig_document *document;
    MIG_AUTO_FREE struct reader *reader = NULL;
    int rc;

    if (size > MIG_CONFIG_BYTES_MAX) {
        return mig_position_error(error, MIG_E_CONFIG, name, (struct mig_position){1, 1},
                                  "larger than the limit of %u bytes", MIG_CONFIG_BYTES_MAX);
    }
    document = calloc(1, sizeof(*document));
    reader = calloc(1, sizeof(*reader));
    if (!document || !reader) {
        free(document);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read '%s'", name);
    }
    mig_arena_init(&document->arena, DOCUMENT_MEMORY_MAX);
    if (size >= strlen(BYTE_ORDER_MARK) &&
        memcmp(text, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0) {
        text += strlen(BYTE_ORDER_MARK);
        size -= strlen(BYTE_ORDER_MARK);
    }
    *reader = (struct reader){
        .name = name, .text = text, .size = size, .error = error, .arena = &document->arena};
    rc = read_document(reader);
    free(reader->children);
    if (rc < 0) {
        mig_document_free(document);
        return rc;
    }
    document->root = reader->root ? reader->root : &null_value;
    *ret = document;
    return 0;
}

void mig_document_free(struct mig_document *document)
{
    if (document) {
        mig_arena_release(&document->arena);
        free(document);
    }
}

const struct mig_value *mig_document_root(const struct mig_document *document)
{
    return document->root;
}

const struct mig_pair *mig_value_find(const struct mig_value *map, const char *key)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (!map->pairs[i].overridden && strcmp(map->pairs[i].key, key) == 0) {
            return &map->pairs[i];
        }
    }
    return NULL;
}

const char *mig_value_kind_name(enum mig_value_kind kind)
{
    switch (kind) {
    case MIG_VALUE_NULL:
        return "nothing";
    case MIG_VALUE_BOOL:
        return "a truth value";
    case MIG_VALUE_INTEGER:
        return "a number";
    case MIG_VALUE_NUMBER:
        return "a number that is not a 64-bit integer";
    case MIG_VALUE_TEXT:
        return "text";
    case MIG_VALUE_LIST:
        return "a list";
    case MIG_VALUE_MAP:
        return "a map";
    }
    return "";
}

int mig_document_read_file(const char *path, char **ret, size_t *ret_size, struct mig_error *error)
{
    int rc = mig_file_read(path, MIG_CONFIG_BYTES_MAX, ret, ret_size, error);

    return rc < 0 ? MIG_E_CONFIG : 0;
}
