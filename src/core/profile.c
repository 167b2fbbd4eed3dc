/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Profile names: spelling, and what a name means on one model.
 *
 * Two steps, because a config file is read before anyone knows on which GPU a name will be used.
 * Resolving is strict about what the slice is (slices, attributes) and forgiving only where two
 * correct sources spell one profile differently; a name that could mean two profiles is refused.
 */
#include <mig/plan.h>

#include "base/text.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 48       /* characters of a bad name that an error repeats */
#define NEAR_MAX 3         /* names that are offered instead */
#define NEAR_DISTANCE 3    /* edit distance from which a name is no longer near */
#define DRIFT_PERCENT 2    /* how far memory figures of one profile may be apart */
#define DRIFT_PERCENT_1 10 /* the same where they differ by 1 */

/* A text that is being parsed. */
struct cursor {
    const char *text, *at;
    struct mig_error *error;
};

/* Texts come from files: what is shown of them is short and printable. */
static const char *shown(const char *text, char buffer[SHOWN_MAX + 4])
{
    size_t length = 0;

    for (; length < SHOWN_MAX && text[length]; length++) {
        buffer[length] = isprint((unsigned char)text[length]) ? text[length] : '?';
    }
    snprintf(buffer + length, 4, "%s", text[length] ? "..." : "");
    return buffer;
}

static int bad(const struct cursor *cursor, const char *what)
{
    char name[SHOWN_MAX + 4], rest[SHOWN_MAX + 4];
    int result = MIG_E_CONFIG;

    if (*cursor->at) {
        mig_error_set(cursor->error, result, MIG_DOMAIN_CONFIG, 0,
                      "'%s' is not a profile name: expected %s at offset %zu, not '%s'",
                      shown(cursor->text, name), what, (size_t)(cursor->at - cursor->text),
                      shown(cursor->at, rest));
    } else {
        mig_error_set(cursor->error, result, MIG_DOMAIN_CONFIG, 0,
                      "'%s' is not a profile name: expected %s at its end",
                      shown(cursor->text, name), what);
    }
    return mig_error_hint(cursor->error, result,
                          "names look like 1g.5gb, 1c.3g.20gb, 1g.10gb+me or 1g.24gb-me");
}

static int parse_number(struct cursor *cursor, uint32_t max, uint32_t *ret)
{
    uint32_t value = 0;
    const char *start = cursor->at;

    while (isdigit((unsigned char)*cursor->at)) {
        uint32_t digit = (uint32_t)(*cursor->at - '0');

        if (value > (max - digit) / 10) {
            cursor->at = start;
            return bad(cursor, "a smaller number");
        }
        value = value * 10 + digit;
        cursor->at++;
    }
    if (cursor->at == start) {
        return bad(cursor, "a number");
    }
    *ret = value;
    return MIG_OK;
}

static bool take(struct cursor *cursor, const char *word)
{
    if (!mig_text_starts_with(cursor->at, word)) {
        return false;
    }
    cursor->at += strlen(word);
    return true;
}

static int expect(struct cursor *cursor, const char *word, const char *what)
{
    return take(cursor, word) ? MIG_OK : bad(cursor, what);
}

static size_t attribute_length(const char *text)
{
    size_t length = 0;

    while (isalnum((unsigned char)text[length]) || text[length] == '.') {
        length++;
    }
    return length;
}

static int parse_attribute(struct cursor *cursor, struct mig_profile_name *name)
{
    const char *start = cursor->at;
    size_t length = attribute_length(start);
    char *attribute;

    if (name->attribute_count == MIG_ATTRIBUTE_MAX) {
        return bad(cursor, "no more attributes");
    }
    if (!isalpha((unsigned char)*start)) {
        return bad(cursor, "an attribute that starts with a letter");
    }
    if (start[length - 1] == '.') {
        return bad(cursor, "an attribute that does not end in a dot");
    }
    if (length >= sizeof(name->attributes[0])) {
        return bad(cursor, "an attribute of at most 15 characters");
    }
    attribute = name->attributes[name->attribute_count];
    memcpy(attribute, start, length);
    attribute[length] = '\0';
    for (size_t i = 0; i < name->attribute_count; i++) {
        if (strcmp(name->attributes[i], attribute) == 0) {
            return bad(cursor, "an attribute that is new");
        }
    }
    name->attribute_count++;
    cursor->at += length;
    return MIG_OK;
}

static int parse_attributes(struct cursor *cursor, struct mig_profile_name *name)
{
    int result;

    if (*cursor->at != '+' && *cursor->at != '-') {
        return *cursor->at ? bad(cursor, "'+', '-' or the end") : MIG_OK;
    }
    name->sign = *cursor->at++;
    do {
        result = parse_attribute(cursor, name);
    } while (result == MIG_OK && take(cursor, ","));
    if (result == MIG_OK && *cursor->at) {
        return bad(cursor, "',' or the end");
    }
    return result;
}

/* "Cc.Gg." or "Gg."; the letter after the first number tells which. */
static int parse_slices(struct cursor *cursor, struct mig_profile_name *name)
{
    uint32_t number = 0;
    int result = parse_number(cursor, UINT16_MAX, &number);

    if (result != MIG_OK) {
        return result;
    }
    name->compute = (uint16_t)number;
    if (take(cursor, "c.")) {
        result = parse_number(cursor, UINT16_MAX, &number);
        if (result != MIG_OK) {
            return result;
        }
        name->gpu = (uint16_t)number;
        return expect(cursor, "g.", "'g.'");
    }
    name->gpu = (uint16_t)number;
    return expect(cursor, "g.", "'g.' or 'c.'");
}

int mig_profile_parse(const char *text, struct mig_profile_name *ret, struct mig_error *error)
{
    struct cursor cursor = {.text = text, .at = text, .error = error};
    int result;

    *ret = (struct mig_profile_name){0};
    result = parse_slices(&cursor, ret);
    if (result == MIG_OK) {
        result = parse_number(&cursor, UINT32_MAX, &ret->memory);
    }
    if (result == MIG_OK) {
        result = expect(&cursor, "gb", "'gb'");
    }
    if (result == MIG_OK) {
        result = parse_attributes(&cursor, ret);
    }
    return result;
}

char *mig_profile_format(const struct mig_profile_name *name, char *buffer, size_t size)
{
    char compute[16] = "";
    int length;

    if (name->compute != name->gpu) {
        snprintf(compute, sizeof(compute), "%uc.", name->compute);
    }
    length = snprintf(buffer, size, "%s%ug.%ugb", compute, name->gpu, name->memory);
    for (size_t i = 0; i < name->attribute_count && (size_t)length < size; i++) {
        length += snprintf(buffer + length, size - (size_t)length, "%c%s",
                           i == 0 ? name->sign : ',', name->attributes[i]);
    }
    return buffer;
}

static bool has_attribute(const struct mig_profile_name *name, const char *attribute)
{
    for (size_t i = 0; i < name->attribute_count; i++) {
        if (strcmp(name->attributes[i], attribute) == 0) {
            return true;
        }
    }
    return false;
}

/* Same slices and same attributes in any order: what has to be equal for two names to be one. */
static bool same_but_memory(const struct mig_profile_name *a, const struct mig_profile_name *b)
{
    if (a->gpu != b->gpu || a->sign != b->sign || a->attribute_count != b->attribute_count) {
        return false;
    }
    for (size_t i = 0; i < a->attribute_count; i++) {
        if (!has_attribute(b, a->attributes[i])) {
            return false;
        }
    }
    return true;
}

/*
 * True when two figures can be one profile rounded by two drivers. A difference of 1 is rounding
 * for 79 and 80 and for 11 and 12, but 5 and 6 are the slices of different GPUs.
 */
static bool is_drift(uint32_t a, uint32_t b)
{
    uint64_t larger = a > b ? a : b;
    uint64_t difference = larger - (a > b ? b : a);

    return difference * 100 <= larger * DRIFT_PERCENT ||
           (difference == 1 && 100 <= larger * DRIFT_PERCENT_1);
}

/* The GPU-instance profile that `name` means, or MIG_UNKNOWN for none and for several. */
static int find_gi(const struct mig_model *model, const struct mig_profile_name *name)
{
    int near = MIG_UNKNOWN;
    unsigned near_count = 0;

    for (int i = 0; i < model->profile_count; i++) {
        struct mig_profile_name known;

        if (mig_profile_parse(model->profiles[i].name, &known, NULL) != MIG_OK ||
            !same_but_memory(name, &known)) {
            continue;
        }
        if (known.memory == name->memory) {
            return i;
        }
        if (is_drift(known.memory, name->memory)) {
            near = i;
            near_count++;
        }
    }
    return near_count == 1 ? near : MIG_UNKNOWN;
}

/* Names may occur twice in a GPU instance; the default goes first, then the lowest NVML enum. */
static int find_ci(const struct mig_profile *profile, unsigned slice_count)
{
    int best = MIG_UNKNOWN;

    if (slice_count == profile->slice_count) {
        return mig_profile_default_ci(profile);
    }
    for (int i = 0; i < profile->ci_profile_count; i++) {
        const struct mig_ci_profile *ci = &profile->ci_profiles[i];

        if (ci->slice_count == slice_count && !ci->is_default &&
            (best < 0 || ci->enum_value < profile->ci_profiles[best].enum_value)) {
            best = i;
        }
    }
    return best;
}

/* Appends a name to a list; false (and the list is as before) when there is no room. */
static bool list_add(char *list, size_t size, const char *name)
{
    size_t length = strlen(list);
    int added = snprintf(list + length, size - length, "%s%s", length ? ", " : "", name);

    if (added < 0 || (size_t)added >= size - length) {
        list[length] = '\0';
        return false;
    }
    return true;
}

/* The nearest names of GPU instances, by spelling, best first. */
static void list_near(const struct mig_model *model, const struct mig_profile_name *wanted,
                      char *list, size_t size)
{
    struct mig_profile_name whole = *wanted;
    char text[4 * MIG_NAME_SIZE];
    unsigned count = 0;

    whole.compute = whole.gpu;
    mig_profile_format(&whole, text, sizeof(text));

    for (unsigned distance = 1; distance < NEAR_DISTANCE; distance++) {
        for (size_t i = 0; i < model->profile_count && count < NEAR_MAX; i++) {
            const char *name = model->profiles[i].name;

            if (mig_text_distance(text, name, NEAR_DISTANCE) == distance &&
                list_add(list, size, name)) {
                count++;
            }
        }
    }
}

static int refuse_gi(const struct mig_model *model, const char *text,
                     const struct mig_profile_name *wanted, struct mig_error *error)
{
    char name[SHOWN_MAX + 4], near[4 * MIG_NAME_SIZE] = "", all[MIG_ERROR_HINT_SIZE / 2] = "";
    int result = MIG_E_NO_FIT;

    list_near(model, wanted, near, sizeof(near));
    mig_error_set(error, result, MIG_DOMAIN_PLAN, MIG_REFUSAL_TOO_MUCH,
                  "%s has no profile '%s'%s%s", model->name, shown(text, name),
                  *near ? "; closest: " : "", near);
    for (size_t i = 0; i < model->profile_count; i++) {
        list_add(all, sizeof(all), model->profiles[i].name);
    }
    if (!*all) {
        return mig_error_hint(error, result, "no profiles of %s are known without its driver",
                              model->name);
    }
    return mig_error_hint(error, result, "profiles of %s: %s", model->name, all);
}

static int refuse_ci(const struct mig_model *model, const struct mig_profile *profile,
                     const char *text, struct mig_error *error)
{
    char name[SHOWN_MAX + 4], all[MIG_ERROR_HINT_SIZE / 2] = "";
    int result = MIG_E_NO_FIT;

    mig_error_set(error, result, MIG_DOMAIN_PLAN, MIG_REFUSAL_TOO_MUCH,
                  "%s has no profile '%s': a %s has no compute instance of that size", model->name,
                  shown(text, name), profile->name);
    for (size_t i = 0; i < profile->ci_profile_count; i++) {
        list_add(all, sizeof(all), profile->ci_profiles[i].name);
    }
    return mig_error_hint(error, result, "inside a %s: %s", profile->name, all);
}

int mig_profile_resolve(const struct mig_model *model, const char *text,
                        struct mig_device_kind *ret, struct mig_error *error)
{
    struct mig_profile_name name;
    int result = mig_profile_parse(text, &name, error);
    int gi, ci;

    *ret = (struct mig_device_kind){0};
    if (result != MIG_OK) {
        return result;
    }
    gi = find_gi(model, &name);
    if (gi < 0) {
        return refuse_gi(model, text, &name, error);
    }
    ci = find_ci(&model->profiles[gi], name.compute);
    if (ci < 0) {
        return refuse_ci(model, &model->profiles[gi], text, error);
    }
    *ret = (struct mig_device_kind){.profile = (uint8_t)gi, .ci_profile = (uint8_t)ci};
    return MIG_OK;
}

const char *mig_device_kind_name(const struct mig_model *model, struct mig_device_kind kind)
{
    const struct mig_profile *profile = &model->profiles[kind.profile];
    const struct mig_ci_profile *ci = &profile->ci_profiles[kind.ci_profile];

    return ci->is_default ? profile->name : ci->name;
}
