/* SPDX-License-Identifier: Apache-2.0 */
/* One sorted array of pointers to series; there are dozens of them, looked up by halving. */
#include "base/counters.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

struct mig_counters {
    struct mig_counter_series **series;
    size_t count, room;
    uint64_t dropped;
};

struct mig_counters *mig_counters_new(void)
{
    return calloc(1, sizeof(struct mig_counters));
}

void mig_counters_free(struct mig_counters *counters)
{
    if (!counters) {
        return;
    }
    for (size_t i = 0; i < counters->count; i++) {
        free(counters->series[i]);
    }
    free(counters->series);
    free(counters);
}

static int compare(const struct mig_counter_series *a, const struct mig_counter_series *b)
{
    int order = strcmp(a->counter->name, b->counter->name);

    for (size_t i = 0; order == 0 && i < MIG_COUNTER_LABELS_MAX; i++) {
        order = strcmp(a->values[i], b->values[i]);
    }
    return order;
}

static struct mig_counter_series *insert(struct mig_counters *counters, size_t at,
                                         const struct mig_counter_series *key)
{
    struct mig_counter_series *made;

    if (counters->count >= MIG_COUNTER_SERIES_MAX) {
        return NULL;
    }
    if (counters->count == counters->room) {
        size_t room = counters->room > 0 ? counters->room * 2 : 32;
        struct mig_counter_series **larger =
            realloc(counters->series, room * sizeof(struct mig_counter_series *));

        if (!larger) {
            return NULL;
        }
        counters->series = larger;
        counters->room = room;
    }
    made = malloc(sizeof(*made));
    if (!made) {
        return NULL;
    }
    *made = *key;
    memmove(counters->series + at + 1, counters->series + at,
            (counters->count - at) * sizeof(struct mig_counter_series *));
    counters->series[at] = made;
    counters->count++;
    return made;
}

/* The series with these labels, made if there is none; NULL when it cannot be. */
static struct mig_counter_series *find(struct mig_counters *counters,
                                       const struct mig_counter *counter, const char *const *values)
{
    struct mig_counter_series key = {.counter = counter}, *found;
    size_t low = 0, high;

    if (!counters) {
        return NULL;
    }
    for (size_t i = 0; i < MIG_COUNTER_LABELS_MAX && counter->labels[i] && values[i]; i++) {
        mig_text_copy(key.values[i], sizeof(key.values[i]), values[i]);
    }
    high = counters->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(counters->series[middle], &key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < counters->count && compare(counters->series[low], &key) == 0) {
        return counters->series[low];
    }
    found = insert(counters, low, &key);
    counters->dropped += !found;
    return found;
}

void mig_counter_add_to(struct mig_counters *counters, const struct mig_counter *counter,
                        double amount, const char *const *values)
{
    struct mig_counter_series *series = find(counters, counter, values);

    if (series) {
        series->value += amount;
    }
}

void mig_counter_set_to(struct mig_counters *counters, const struct mig_counter *counter,
                        double value, const char *const *values)
{
    struct mig_counter_series *series = find(counters, counter, values);

    if (series) {
        series->value = value;
    }
}

void mig_counter_observe_in(struct mig_counters *counters, const struct mig_counter *counter,
                            double value, const char *const *values)
{
    struct mig_counter_series *series = find(counters, counter, values);

    if (!series) {
        return;
    }
    series->value += value;
    series->count++;
    for (size_t i = 0; i < counter->bucket_count && i < MIG_COUNTER_BUCKETS_MAX; i++) {
        if (value <= counter->buckets[i]) {
            series->buckets[i]++;
            return;
        }
    }
}

void mig_counter_forget(struct mig_counters *counters, const struct mig_counter *counter)
{
    size_t kept = 0;

    for (size_t i = 0; counters && i < counters->count; i++) {
        if (counters->series[i]->counter == counter) {
            free(counters->series[i]);
        } else {
            counters->series[kept++] = counters->series[i];
        }
    }
    if (counters) {
        counters->count = kept;
    }
}

const struct mig_counter_series *mig_counters_get(const struct mig_counters *counters, size_t index)
{
    return counters && index < counters->count ? counters->series[index] : NULL;
}

uint64_t mig_counters_dropped(const struct mig_counters *counters)
{
    return counters ? counters->dropped : 0;
}
