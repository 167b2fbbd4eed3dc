/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a watch has told: of each object its name, uid and resourceVersion, no more, so that a
 * repetition can be passed over and what a new list does not have any more can be told as deleted.
 * Pure.
 */
#ifndef MIG_KUBE_KNOWN_H
#define MIG_KUBE_KNOWN_H

#include <jansson.h>
#include <mig/error.h>
#include <stddef.h>

struct mig_kube_known_entry;

struct mig_kube_known {
    struct mig_kube_known_entry **entries; /* by namespace and name */
    size_t count, capacity, max;
    unsigned generation; /* of the list that is being told */
};

enum mig_kube_known_change {
    MIG_KUBE_KNOWN_SAME = 0,
    MIG_KUBE_KNOWN_NEW,
    MIG_KUBE_KNOWN_CHANGED,
    MIG_KUBE_KNOWN_REPLACED, /* another object of the same name; *ret_old is the one before */
};

void mig_kube_known_init(struct mig_kube_known *known, size_t max);
void mig_kube_known_release(struct mig_kube_known *known);

/* Remembers it, as of this generation. Returns enum mig_kube_known_change, or MIG_E_FAILED when it
 * has no name, there are too many, or no memory. */
int mig_kube_known_put(struct mig_kube_known *known, const json_t *object, json_t **ret_old,
                       struct mig_error *error);

/* True when it was there. */
bool mig_kube_known_remove(struct mig_kube_known *known, const json_t *object);

/* A new list begins. */
void mig_kube_known_begin(struct mig_kube_known *known);

/* Forgets one that the list did not have, and returns it ({"metadata": {...}}); NULL = no more (or
 * no memory). */
json_t *mig_kube_known_take_stale(struct mig_kube_known *known);

#endif
