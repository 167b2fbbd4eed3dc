/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Words for messages. Positions are said as starts ("at 6") because that is what a person gives
 * back to a create command; counts are put together, since nobody reads "1g.5gb" seven times.
 */
#include "core/describe.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct mig_words mig_words_start(char *buffer, size_t size)
{
    buffer[0] = '\0';
    return (struct mig_words){.buffer = buffer, .size = size};
}

void mig_words_add(struct mig_words *words, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length =
        vsnprintf(words->buffer + words->length, words->size - words->length, format, arguments);
    va_end(arguments);
    if (length > 0) {
        size_t room = words->size - words->length - 1;

        words->length += (size_t)length < room ? (size_t)length : room;
    }
}

void mig_words_separate(struct mig_words *words, const char *separator)
{
    if (words->length > 0) {
        mig_words_add(words, "%s", separator);
    }
}

static bool wants_same(const struct mig_target_gi *a, const struct mig_target_gi *b)
{
    return a->profile == b->profile && a->start == b->start && a->ci_count == b->ci_count &&
           memcmp(a->ci_profiles, b->ci_profiles, a->ci_count) == 0;
}

static void describe_wanted_gi(struct mig_words *words, const struct mig_model *model,
                               const struct mig_target_gi *wanted)
{
    const struct mig_profile *profile = &model->profiles[wanted->profile];

    mig_words_add(words, "%s", profile->name);
    if (wanted->start != MIG_START_ANY) {
        mig_words_add(words, " at %u", wanted->start);
    }
    if (wanted->ci_count == 1 && profile->ci_profiles[wanted->ci_profiles[0]].is_default) {
        return;
    }
    mig_words_add(words, " (");
    for (unsigned i = 0; i < wanted->ci_count; i++) {
        mig_words_add(words, "%s%s", i > 0 ? " + " : "",
                      profile->ci_profiles[wanted->ci_profiles[i]].name);
    }
    mig_words_add(words, "%s)", wanted->ci_count == 0 ? "no compute instance" : "");
}

void mig_describe_target(struct mig_words *words, const struct mig_model *model,
                         const struct mig_target *target, uint32_t mask)
{
    uint32_t left = mask;
    const char *separator = "";

    for (unsigned i = 0; i < target->gi_count; i++) {
        unsigned count = 0;

        for (unsigned j = i; (left >> i & 1u) && j < target->gi_count; j++) {
            if ((left >> j & 1u) && wants_same(&target->gis[i], &target->gis[j])) {
                count++;
                left &= j == i ? left : ~(UINT32_C(1) << j);
            }
        }
        if (count > 0) {
            mig_words_add(words, "%s%u x ", separator, count);
            describe_wanted_gi(words, model, &target->gis[i]);
            separator = ", ";
        }
    }
    if (separator[0] == '\0') {
        mig_words_add(words, "nothing");
    }
}

void mig_describe_gi(struct mig_words *words, const struct mig_model *model,
                     const struct mig_gi *gi)
{
    mig_words_add(words, "%s at %u", model->profiles[gi->profile].name, gi->start);
}

void mig_describe_layout(struct mig_words *words, const struct mig_layout *layout, uint32_t mask)
{
    const char *separator = "";

    for (unsigned i = 0; i < layout->gi_count; i++) {
        if (mask >> i & 1u) {
            mig_words_add(words, "%s", separator);
            mig_describe_gi(words, layout->model, &layout->gis[i]);
            separator = ", ";
        }
    }
    if (separator[0] == '\0') {
        mig_words_add(words, "nothing");
    }
}
