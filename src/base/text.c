/* SPDX-License-Identifier: Apache-2.0 */
/* Strict parsing and comparing of text; nothing here allocates. */
#include "base/text.h"
#include "base/cleanup.h"
#include <ctype.h>
#include <string.h>

#define DISTANCE_LENGTH_MAX 63

bool mig_text_copy(char *buffer, size_t size, const char *text)
{
    size_t length = strnlen(text, size);
    bool whole = length < size;

    if (!whole) {
        length = size - 1;
    }
    memcpy(buffer, text, length);
    buffer[length] = '\0';
    return whole;
}

size_t mig_text_utf8_length(const char *text)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } kinds[] = {{0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    unsigned char first = (unsigned char)text[0];

    for (size_t i = 0; i < MIG_ARRAY_SIZE(kinds); i++) {
        uint32_t point = first & (unsigned char)~kinds[i].mask;
        size_t length = 1;

        if ((first & kinds[i].mask) != kinds[i].lead) {
            continue;
        }
        while (length < i + 2 && ((unsigned char)text[length] & 0xc0) == 0x80) {
            point = point << 6 | ((unsigned char)text[length++] & 0x3f);
        }
        return length == i + 2 && point >= kinds[i].least && point <= 0x10ffff &&
                       (point < 0xd800 || point > 0xdfff)
                   ? length
                   : 0;
    }
    return first < 0x80;
}

bool mig_text_is_utf8(const char *text)
{
    while (*text) {
        size_t length = mig_text_utf8_length(text);

        if (length == 0) {
            return false;
        }
        text += length;
    }
    return true;
}

void mig_text_make_utf8(char *text)
{
    while (*text) {
        size_t length = mig_text_utf8_length(text);

        if (length == 0) {
            *text = '?';
            length = 1;
        }
        text += length;
    }
}

static int digit_value(char character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    if (character >= 'A' && character <= 'F') {
        return character - 'A' + 10;
    }
    return 16;
}

static bool parse_digits(const char *text, unsigned base, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;

    if (!*text) {
        return false;
    }
    for (; *text; text++) {
        unsigned digit = (unsigned)digit_value(*text);

        if (digit >= base || digit > max || value > (max - digit) / base) {
            return false;
        }
        value = value * base + digit;
    }
    *ret = value;
    return true;
}

bool mig_text_parse_u64(const char *text, uint64_t max, uint64_t *ret)
{
    return parse_digits(text, 10, max, ret);
}

bool mig_text_parse_base0(const char *text, uint64_t max, uint64_t *ret)
{
    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        return parse_digits(text + 2, 16, max, ret);
    }
    if (text[0] == '0' && text[1]) {
        return parse_digits(text + 1, 8, max, ret);
    }
    return parse_digits(text, 10, max, ret);
}

const char *mig_text_switch(const char *text)
{
    static const char *const words[][2] = {{"1", "0"},        {"t", "f"},        {"T", "F"},
                                           {"TRUE", "FALSE"}, {"true", "false"}, {"True", "False"}};

    for (size_t i = 0; i < MIG_ARRAY_SIZE(words); i++) {
        if (strcmp(text, words[i][0]) == 0) {
            return "true";
        }
        if (strcmp(text, words[i][1]) == 0) {
            return "false";
        }
    }
    return NULL;
}

bool mig_text_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool mig_text_equal_nocase(const char *a, const char *b)
{
    while (*a && tolower((unsigned char)*a) == tolower((unsigned char)*b)) {
        a++;
        b++;
    }
    return tolower((unsigned char)*a) == tolower((unsigned char)*b);
}

unsigned mig_text_distance(const char *a, const char *b, unsigned limit)
{
    unsigned row[DISTANCE_LENGTH_MAX + 1];
    size_t a_length = strlen(a), b_length = strlen(b);

    if (a_length > DISTANCE_LENGTH_MAX || b_length > DISTANCE_LENGTH_MAX) {
        return limit;
    }
    for (size_t j = 0; j <= b_length; j++) {
        row[j] = (unsigned)j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned above = row[j];
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            if (row[j] + 1 < best) {
                best = row[j] + 1;
            }
            if (row[j - 1] + 1 < best) {
                best = row[j - 1] + 1;
            }
            diagonal = above;
            row[j] = best;
        }
    }
    return row[b_length] < limit ? row[b_length] : limit;
}
