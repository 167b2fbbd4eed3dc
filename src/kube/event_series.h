/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which events are new, which are the same again, and which are too many: pure, the time is an
 * argument.
 */
#ifndef MIG_KUBE_EVENT_SERIES_H
#define MIG_KUBE_EVENT_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MIG_KUBE_SERIES_MAX 64u       /* remembered; the one that was seen longest ago goes */
#define MIG_KUBE_SERIES_KEY_MAX 1600u /* bytes of a key; more is cut */
#define MIG_KUBE_SERIES_WINDOW_MS 600000u
#define MIG_KUBE_SERIES_TELL_MS 10000u /* the count is written at most as often */
#define MIG_KUBE_EVENTS_PER_WINDOW 25u /* new ones of one object */
#define MIG_KUBE_EVENT_OBJECTS_MAX 16u

struct mig_kube_series {
    bool used, live; /* live: the event is there, its count can be written */
    char key[MIG_KUBE_SERIES_KEY_MAX];
    uint64_t seen_ms, told_ms;
    unsigned count, told_count;
    unsigned generation;                 /* another event was put in its place */
    char name[256], namespace_name[256]; /* of the event; the owner's business */
};

struct mig_kube_event_limit {
    bool used;
    char object[256];
    uint64_t window_ms; /* its beginning */
    unsigned count;
};

struct mig_kube_event_table {
    struct mig_kube_series series[MIG_KUBE_SERIES_MAX];
    struct mig_kube_event_limit limits[MIG_KUBE_EVENT_OBJECTS_MAX];
    unsigned dropped;
};

enum mig_kube_event_step {
    MIG_KUBE_EVENT_NEW = 0, /* write it */
    MIG_KUBE_EVENT_AGAIN,   /* counted; mig_kube_event_due says when to write the count */
    MIG_KUBE_EVENT_DROP,    /* too many of this object */
};

/* `key` is all that makes two events the same, `object` what they are about. */
enum mig_kube_event_step mig_kube_event_decide(struct mig_kube_event_table *table, const char *key,
                                               const char *object, uint64_t now_ms,
                                               struct mig_kube_series **ret);

/* A series whose count has to be written now; NULL when there is none, and then *wait_ms is the
 * time until there is one (UINT64_MAX: nothing is waiting). */
struct mig_kube_series *mig_kube_event_due(struct mig_kube_event_table *table, uint64_t now_ms,
                                           uint64_t *wait_ms);

#endif
