/* SPDX-License-Identifier: Apache-2.0 */
/* Series of events. Tables of fixed size, the least recent goes: what it forgets costs an event
 * that could have been a count. */
#include "kube/event_series.h"
#include "base/text.h"
#include <string.h>

static struct mig_kube_series *find_series(struct mig_kube_event_table *table, const char *key)
{
    for (size_t i = 0; i < MIG_KUBE_SERIES_MAX; i++) {
        if (table->series[i].used &&
            strncmp(table->series[i].key, key, MIG_KUBE_SERIES_KEY_MAX - 1) == 0) {
            return &table->series[i];
        }
    }
    return NULL;
}

static struct mig_kube_series *oldest_series(struct mig_kube_event_table *table)
{
    struct mig_kube_series *oldest = &table->series[0];

    for (size_t i = 0; i < MIG_KUBE_SERIES_MAX; i++) {
        if (!table->series[i].used) {
            return &table->series[i];
        }
        if (table->series[i].seen_ms < oldest->seen_ms) {
            oldest = &table->series[i];
        }
    }
    return oldest;
}

static struct mig_kube_event_limit *limit_of(struct mig_kube_event_table *table, const char *object)
{
    struct mig_kube_event_limit *oldest = &table->limits[0];

    for (size_t i = 0; i < MIG_KUBE_EVENT_OBJECTS_MAX; i++) {
        struct mig_kube_event_limit *limit = &table->limits[i];

        if (limit->used && strncmp(limit->object, object, sizeof(limit->object) - 1) == 0) {
            return limit;
        }
        if (!limit->used || (oldest->used && limit->window_ms < oldest->window_ms)) {
            oldest = limit;
        }
    }
    *oldest = (struct mig_kube_event_limit){.used = false};
    mig_text_copy(oldest->object, sizeof(oldest->object), object);
    return oldest;
}

static bool is_too_many(struct mig_kube_event_table *table, const char *object, uint64_t now_ms)
{
    struct mig_kube_event_limit *limit = limit_of(table, object);

    if (!limit->used || now_ms - limit->window_ms >= MIG_KUBE_SERIES_WINDOW_MS) {
        limit->used = true;
        limit->window_ms = now_ms;
        limit->count = 0;
    }
    return ++limit->count > MIG_KUBE_EVENTS_PER_WINDOW;
}

enum mig_kube_event_step mig_kube_event_decide(struct mig_kube_event_table *table, const char *key,
                                               const char *object, uint64_t now_ms,
                                               struct mig_kube_series **ret)
{
    struct mig_kube_series *series = find_series(table, key);
    unsigned generation;

    if (series && now_ms - series->seen_ms < MIG_KUBE_SERIES_WINDOW_MS) {
        series->seen_ms = now_ms;
        series->count++;
        *ret = series;
        return MIG_KUBE_EVENT_AGAIN;
    }
    if (is_too_many(table, object, now_ms)) {
        table->dropped++;
        *ret = NULL;
        return MIG_KUBE_EVENT_DROP;
    }
    if (!series) {
        series = oldest_series(table);
    }
    generation = series->generation + 1;
    *series = (struct mig_kube_series){.used = true,
                                       .seen_ms = now_ms,
                                       .told_ms = now_ms,
                                       .count = 1,
                                       .told_count = 1,
                                       .generation = generation};
    mig_text_copy(series->key, sizeof(series->key), key);
    *ret = series;
    return MIG_KUBE_EVENT_NEW;
}

struct mig_kube_series *mig_kube_event_due(struct mig_kube_event_table *table, uint64_t now_ms,
                                           uint64_t *wait_ms)
{
    *wait_ms = UINT64_MAX;
    for (size_t i = 0; i < MIG_KUBE_SERIES_MAX; i++) {
        struct mig_kube_series *series = &table->series[i];
        uint64_t due_ms = series->told_ms + MIG_KUBE_SERIES_TELL_MS;

        if (!series->used || !series->live || series->count == series->told_count) {
            continue;
        }
        if (due_ms <= now_ms) {
            series->told_ms = now_ms;
            series->told_count = series->count;
            *wait_ms = 0;
            return series;
        }
        if (due_ms - now_ms < *wait_ms) {
            *wait_ms = due_ms - now_ms;
        }
    }
    return NULL;
}
