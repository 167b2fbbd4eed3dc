/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps a copy of what matches a path and selectors: list (in pages), then watch with bookmarks
 * from its resourceVersion; watch again where it ended; list again after 410 or when the server
 * makes no sense; backoff with jitter between tries. Works for as long as it is not freed, whatever
 * the server does.
 */
#ifndef MIG_KUBE_WATCH_H
#define MIG_KUBE_WATCH_H

#include "kube/client.h"

#define MIG_KUBE_WATCH_LINE_MAX (4u << 20) /* one event */
#define MIG_KUBE_WATCH_OBJECTS_MAX 16384u  /* known at once; more are an error that is reported */

struct mig_kube_watch;

enum mig_kube_watch_event {
    MIG_KUBE_ADDED = 0,
    MIG_KUBE_MODIFIED, /* resourceVersion differs from the one seen last */
    MIG_KUBE_DELETED,  /* object: as seen last, metadata only when a list no longer has it */
    MIG_KUBE_SYNCED,   /* all of a list has been told, or OFFLINE is over; object is NULL */
    MIG_KUBE_OFFLINE,  /* not in touch with the server for offline_after_ms; error says why, object
                          is NULL. Told once, until the next SYNCED. */
};

struct mig_kube_watch_options {
    const char *path;           /* "/api/v1/nodes", without query */
    const char *field_selector; /* may be NULL */
    const char *label_selector; /* may be NULL */
    unsigned idle_timeout_ms;   /* no event, no bookmark: a new list; 0 = 300,000 */
    unsigned offline_after_ms;  /* 0 = 30,000 */
    /* `object` is borrowed; `error` is NULL but for OFFLINE. The watch may be freed from here. */
    void (*event)(enum mig_kube_watch_event event, json_t *object, const struct mig_error *error,
                  void *data);
    void *data;
};

int mig_kube_watch_new(struct mig_kube *kube, const struct mig_kube_watch_options *options,
                       struct mig_kube_watch **ret, struct mig_error *error);

/* For event(): the object is of a list, so that is how it is now, whatever was told before. */
bool mig_kube_watch_is_listing(const struct mig_kube_watch *watch);
void mig_kube_watch_free(struct mig_kube_watch *watch); /* NULL is allowed */

#endif
