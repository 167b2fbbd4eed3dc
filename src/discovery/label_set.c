/* SPDX-License-Identifier: Apache-2.0 */
/* Labels in one array that is always sorted; a node has few dozens of them. */
#include "discovery/label_set.h"
#include "base/buffer.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX (MIG_LABELS_MAX * sizeof(struct mig_label))

void mig_labels_release(struct mig_labels *labels)
{
    free(labels->items);
    *labels = (struct mig_labels){0};
}

static bool is_word(char character)
{
    return isalnum((unsigned char)character) != 0;
}

static bool is_label_character(char character)
{
    return is_word(character) || character == '-' || character == '_' || character == '.';
}

/* Cuts what may not be at the end. */
static void trim_end(char *text)
{
    size_t length = strlen(text);

    while (length > 0 && !is_word(text[length - 1])) {
        text[--length] = '\0';
    }
}

/* Whatever the driver says, it is a value that an API server takes. */
static void make_value(char *text)
{
    size_t start = 0;

    for (char *at = text; *at; at++) {
        if (!is_label_character(*at)) {
            *at = '-';
        }
    }
    while (text[start] != '\0' && !is_word(text[start])) {
        start++;
    }
    if (start > 0) {
        memmove(text, text + start, strlen(text + start) + 1);
    }
    trim_end(text);
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length > MIG_LABEL_TEXT_MAX || !is_word(name[0]) ||
        !is_word(name[length - 1])) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        if (!is_label_character(name[i])) {
            return false;
        }
    }
    return true;
}

/* Where the key is, or would be. */
static size_t find(const struct mig_labels *labels, const char *key)
{
    size_t low = 0, high = labels->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(labels->items[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool make_room(struct mig_labels *labels)
{
    size_t room = labels->room > 0 ? labels->room * 2 : 64;
    struct mig_label *larger;

    if (labels->count < labels->room) {
        return true;
    }
    if (room > MIG_LABELS_MAX) {
        labels->error = EFBIG;
        return false;
    }
    larger = realloc(labels->items, room * sizeof(*larger));
    if (!larger) {
        labels->error = ENOMEM;
        return false;
    }
    labels->items = larger;
    labels->room = room;
    return true;
}

void mig_labels_set(struct mig_labels *labels, const char *name, const char *format, ...)
{
    struct mig_label label;
    va_list arguments;
    size_t at;

    if (labels->error != 0) {
        return;
    }
    if (!is_name(name)) {
        labels->error = EINVAL;
        return;
    }
    snprintf(label.key, sizeof(label.key), MIG_LABEL_PREFIX "%s", name);
    va_start(arguments, format);
    vsnprintf(label.value, sizeof(label.value), format, arguments);
    va_end(arguments);
    make_value(label.value);
    at = find(labels, label.key);
    if (at == labels->count || strcmp(labels->items[at].key, label.key) != 0) {
        if (!make_room(labels)) {
            return;
        }
        memmove(&labels->items[at + 1], &labels->items[at],
                (labels->count - at) * sizeof(labels->items[0]));
        labels->count++;
    }
    labels->items[at] = label;
}

const char *mig_labels_get(const struct mig_labels *labels, const char *key)
{
    size_t at = find(labels, key);

    return at < labels->count && strcmp(labels->items[at].key, key) == 0 ? labels->items[at].value
                                                                         : NULL;
}

bool mig_labels_equal(const struct mig_labels *a, const struct mig_labels *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->items[i].key, b->items[i].key) != 0 ||
            strcmp(a->items[i].value, b->items[i].value) != 0) {
            return false;
        }
    }
    return true;
}

bool mig_labels_copy(struct mig_labels *to, const struct mig_labels *from)
{
    struct mig_labels copy = {.count = from->count, .room = from->count};

    if (from->count > 0) {
        copy.items = malloc(from->count * sizeof(*copy.items));
        if (!copy.items) {
            return false;
        }
        memcpy(copy.items, from->items, from->count * sizeof(*copy.items));
    }
    mig_labels_release(to);
    *to = copy;
    return true;
}

char *mig_labels_text(const struct mig_labels *labels)
{
    MIG_AUTO_BUFFER struct mig_buffer buffer;

    mig_buffer_init(&buffer, TEXT_MAX);
    mig_buffer_puts(&buffer, "");
    for (size_t i = 0; i < labels->count; i++) {
        mig_buffer_printf(&buffer, "%s=%s\n", labels->items[i].key, labels->items[i].value);
    }
    return mig_buffer_take(&buffer);
}

void mig_label_sanitise(const char *text, char *buffer, size_t size)
{
    size_t used = 0;
    bool gap = false;

    for (; *text && used + 2 < size; text++) {
        if (*text == ' ') {
            gap = used > 0;
        } else if (is_label_character(*text) && (used > 0 || is_word(*text))) {
            if (gap) {
                buffer[used++] = '-';
                gap = false;
            }
            buffer[used++] = *text;
        }
    }
    buffer[used] = '\0';
    trim_end(buffer);
}

void mig_label_shorten(const char *base, const char *suffix, size_t max,
                       char buffer[MIG_LABEL_VALUE_SIZE])
{
    size_t suffix_length = strlen(suffix), length = strlen(base);
    size_t room = suffix_length < max ? max - suffix_length : 0;

    while (length > room) {
        size_t cut = length - 1;

        while (cut > 0 && base[cut] != '-') {
            cut--;
        }
        length = cut > 0 ? cut : room;
    }
    while (length > 0 && !is_word(base[length - 1])) {
        length--;
    }
    snprintf(buffer, MIG_LABEL_VALUE_SIZE, "%.*s%s", (int)length, base, suffix);
    trim_end(buffer);
}
