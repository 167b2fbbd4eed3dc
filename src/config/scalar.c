/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling numbers, truth values and nothing from text. No locale and no floating point is
 * involved: a number with a point or an exponent is an integer exactly when its decimal digits say
 * so.
 */
#include "config/scalar.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <ctype.h>
#include <string.h>

#define WORD_MAX 64 /* no number that fits in 64 bits needs more */
#define EXPONENT_MAX 400

static const char *const null_words[] = {"", "~", "null", "Null", "NULL"};
static const char *const true_words[] = {"y",    "Y",    "yes", "Yes", "YES", "true",
                                         "True", "TRUE", "on",  "On",  "ON"};
static const char *const false_words[] = {"n",     "N",     "no",  "No",  "NO", "false",
                                          "False", "FALSE", "off", "Off", "OFF"};
static const char *const number_words[] = {".nan",  ".NaN",  ".NAN",  ".inf",  ".Inf",  ".INF",
                                           "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF"};

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool resolve_word(const char *text, struct mig_scalar *ret)
{
    if (is_one_of(text, null_words, MIG_ARRAY_SIZE(null_words))) {
        ret->kind = MIG_VALUE_NULL;
    } else if (is_one_of(text, true_words, MIG_ARRAY_SIZE(true_words))) {
        *ret = (struct mig_scalar){.kind = MIG_VALUE_BOOL, .boolean = true};
    } else if (is_one_of(text, false_words, MIG_ARRAY_SIZE(false_words))) {
        *ret = (struct mig_scalar){.kind = MIG_VALUE_BOOL};
    } else if (is_one_of(text, number_words, MIG_ARRAY_SIZE(number_words))) {
        ret->kind = MIG_VALUE_NUMBER;
    } else {
        return false;
    }
    return true;
}

/* Digits of a number in `base`; false when one is not a digit. Too large: *ret_fits is false. */
static bool read_digits(const char *text, unsigned base, uint64_t *ret, bool *ret_fits)
{
    uint64_t value = 0;

    *ret_fits = true;
    if (!*text) {
        return false;
    }
    for (; *text; text++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = strchr(digits, tolower((unsigned char)*text));

        if (!digit || (unsigned)(digit - digits) >= base) {
            return false;
        }
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, (uint64_t)(digit - digits), &value)) {
            *ret_fits = false;
        }
    }
    *ret = value;
    return true;
}

static struct mig_scalar signed_integer(bool negative, uint64_t magnitude, bool fits)
{
    struct mig_scalar scalar = {.kind = MIG_VALUE_NUMBER};

    if (!fits || magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0)) {
        return scalar;
    }
    scalar.kind = MIG_VALUE_INTEGER;
    scalar.integer = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return scalar;
}

static bool resolve_integer(const char *text, struct mig_scalar *ret)
{
    bool negative = *text == '-', fits;
    unsigned base = 10;
    uint64_t magnitude;

    if (*text == '+' || *text == '-') {
        text++;
    }
    if (text[0] == '0' && text[1] != '\0') {
        char mark = (char)tolower((unsigned char)text[1]);

        base = mark == 'x' ? 16 : mark == 'b' ? 2 : 8;
        text += mark == 'x' || mark == 'b' || mark == 'o' ? 2 : 1;
    }
    if (!read_digits(text, base, &magnitude, &fits)) {
        return false;
    }
    *ret = signed_integer(negative, magnitude, fits);
    return true;
}

/* [-+] digits [. digits] [e [-+] digits], as its digits without the point and the power of ten. */
struct decimal {
    bool negative;
    char digits[WORD_MAX + 1];
    size_t digit_count;
    int exponent;
};

static bool read_exponent(const char *text, int *ret)
{
    bool negative = *text == '-';
    uint64_t value;

    if (*text == '+' || *text == '-') {
        text++;
    }
    if (!*text || strspn(text, "0123456789") != strlen(text)) {
        return false;
    }
    if (!mig_text_parse_u64(text, EXPONENT_MAX, &value)) {
        value = EXPONENT_MAX;
    }
    *ret = negative ? -(int)value : (int)value;
    return true;
}

static bool read_decimal(const char *text, struct decimal *ret)
{
    bool after_point = false;
    size_t count = 0;
    int exponent = 0;

    *ret = (struct decimal){.negative = *text == '-'};
    if (*text == '+' || *text == '-') {
        text++;
    }
    /* text is terminated, which clang-tidy does not follow: NOLINTNEXTLINE(clang-analyzer-*) */
    for (; isdigit((unsigned char)*text) || (*text == '.' && !after_point); text++) {
        if (*text == '.') {
            after_point = true;
        } else if (count < WORD_MAX) {
            ret->digits[count++] = *text;
            ret->exponent -= after_point ? 1 : 0;
        }
    }
    if (count == 0) {
        return false;
    }
    if (*text == 'e' || *text == 'E') {
        if (!read_exponent(text + 1, &exponent)) {
            return false;
        }
        text = "";
    }
    ret->digit_count = count;
    ret->exponent += exponent;
    return *text == '\0';
}

static bool resolve_decimal(const char *text, struct mig_scalar *ret)
{
    struct decimal decimal;
    uint64_t magnitude;
    bool fits;

    if (!read_decimal(text, &decimal)) {
        return false;
    }
    while (decimal.exponent < 0 && decimal.digit_count > 1 &&
           decimal.digits[decimal.digit_count - 1] == '0') {
        decimal.digits[--decimal.digit_count] = '\0';
        decimal.exponent++;
    }
    if (strspn(decimal.digits, "0") == decimal.digit_count) {
        *ret = signed_integer(false, 0, true);
        return true;
    }
    while (decimal.exponent > 0 && decimal.digit_count < WORD_MAX) {
        decimal.digits[decimal.digit_count++] = '0';
        decimal.exponent--;
    }
    if (decimal.exponent != 0 || !read_digits(decimal.digits, 10, &magnitude, &fits)) {
        *ret = (struct mig_scalar){.kind = MIG_VALUE_NUMBER};
        return true;
    }
    *ret = signed_integer(decimal.negative, magnitude, fits);
    return true;
}

struct mig_scalar mig_scalar_resolve(const char *text)
{
    struct mig_scalar scalar = {.kind = MIG_VALUE_TEXT};
    char plain[WORD_MAX + 1] = "";
    size_t length = 0;

    if (resolve_word(text, &scalar) || !strchr("+-.0123456789", *text)) {
        return scalar;
    }
    for (const char *from = text; *from; from++) {
        if (*from == '_') {
            continue;
        }
        if (length == WORD_MAX) {
            return scalar;
        }
        plain[length++] = *from;
    }
    plain[length] = '\0';
    if (!resolve_integer(plain, &scalar)) {
        resolve_decimal(plain, &scalar);
    }
    return scalar;
}
