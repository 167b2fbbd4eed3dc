/* SPDX-License-Identifier: Apache-2.0 */
/* Known objects: a sorted array, so that no choice of names makes it slow. */
#include "kube/known.h"
#include "base/cleanup.h"
#include "kube/json.h"
#include <errno.h>
#include <string.h>

#define TEXT_MAX 253u /* of a name, namespace, uid or resourceVersion in Kubernetes */

struct mig_kube_known_entry {
    unsigned generation;
    char *namespace_name, *name, *uid, *version; /* in `texts` */
    char texts[];
};

void mig_kube_known_init(struct mig_kube_known *known, size_t max)
{
    *known = (struct mig_kube_known){.max = max};
}

void mig_kube_known_release(struct mig_kube_known *known)
{
    for (size_t i = 0; i < known->count; i++) {
        free(known->entries[i]);
    }
    free(known->entries);
    mig_kube_known_init(known, known->max);
}

/* Where it is, or would be; true when it is there. */
static bool find(const struct mig_kube_known *known, const char *namespace_name, const char *name,
                 size_t *ret)
{
    size_t low = 0, high = known->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct mig_kube_known_entry *entry = known->entries[middle];
        int order = strcmp(entry->namespace_name, namespace_name);

        if (order == 0) {
            order = strcmp(entry->name, name);
        }
        if (order == 0) {
            *ret = middle;
            return true;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *ret = low;
    return false;
}

static char *place(char **position, const char *text)
{
    size_t size = strlen(text) + 1;
    char *placed = memcpy(*position, text, size);

    *position += size;
    return placed;
}

static struct mig_kube_known_entry *new_entry(const json_t *object, unsigned generation)
{
    const char *texts[] = {mig_kube_metadata(object, "namespace"),
                           mig_kube_metadata(object, "name"), mig_kube_metadata(object, "uid"),
                           mig_kube_metadata(object, "resourceVersion")};
    struct mig_kube_known_entry *entry;
    size_t size = 0;
    char *position;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(texts); i++) {
        size += strlen(texts[i]) + 1;
    }
    entry = malloc(sizeof(*entry) + size);
    if (entry) {
        position = entry->texts;
        entry->generation = generation;
        entry->namespace_name = place(&position, texts[0]);
        entry->name = place(&position, texts[1]);
        entry->uid = place(&position, texts[2]);
        entry->version = place(&position, texts[3]);
    }
    return entry;
}

static bool make_room(struct mig_kube_known *known)
{
    size_t capacity = known->capacity > 0 ? 2 * known->capacity : 16;
    struct mig_kube_known_entry **larger;

    if (known->count < known->capacity) {
        return true;
    }
    larger = realloc(known->entries, capacity * sizeof(struct mig_kube_known_entry *));
    if (!larger) {
        return false;
    }
    known->entries = larger;
    known->capacity = capacity;
    return true;
}

static int no_memory(struct mig_error *error)
{
    return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not remember an object");
}

static int check(const struct mig_kube_known *known, const json_t *object, bool found,
                 struct mig_error *error)
{
    static const char *const names[] = {"namespace", "name", "uid", "resourceVersion"};

    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        size_t size = strlen(mig_kube_metadata(object, names[i]));

        if (size > TEXT_MAX || (size == 0 && strcmp(names[i], "name") == 0)) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "the server sent an object %s a %s",
                                 size > 0 ? "with too long" : "without", names[i]);
        }
    }
    if (!found && known->count >= known->max) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "more than %zu objects match",
                             known->max);
    }
    return 0;
}

static json_t *as_object(const struct mig_kube_known_entry *entry)
{
    return json_pack("{s:{s:s, s:s, s:s, s:s}}", "metadata", "namespace", entry->namespace_name,
                     "name", entry->name, "uid", entry->uid, "resourceVersion", entry->version);
}

int mig_kube_known_put(struct mig_kube_known *known, const json_t *object, json_t **ret_old,
                       struct mig_error *error)
{
    const char *namespace_name = mig_kube_metadata(object, "namespace");
    const char *name = mig_kube_metadata(object, "name");
    struct mig_kube_known_entry *entry, *old;
    size_t position;
    bool found = find(known, namespace_name, name, &position);
    int rc = check(known, object, found, error);

    if (rc < 0) {
        return rc;
    }
    if (found &&
        strcmp(known->entries[position]->version, mig_kube_metadata(object, "resourceVersion")) ==
            0 &&
        strcmp(known->entries[position]->uid, mig_kube_metadata(object, "uid")) == 0) {
        known->entries[position]->generation = known->generation;
        return MIG_KUBE_KNOWN_SAME;
    }
    entry = new_entry(object, known->generation);
    if (!entry || !make_room(known)) {
        free(entry);
        return no_memory(error);
    }
    if (!found) {
        memmove(known->entries + position + 1, known->entries + position,
                (known->count - position) * sizeof(struct mig_kube_known_entry *));
        known->entries[position] = entry;
        known->count++;
        return MIG_KUBE_KNOWN_NEW;
    }
    old = known->entries[position];
    known->entries[position] = entry;
    rc = MIG_KUBE_KNOWN_CHANGED;
    if (strcmp(old->uid, entry->uid) != 0) {
        *ret_old = as_object(old);
        rc = *ret_old ? MIG_KUBE_KNOWN_REPLACED : no_memory(error);
    }
    free(old);
    return rc;
}

static void remove_at(struct mig_kube_known *known, size_t position)
{
    free(known->entries[position]);
    known->count--;
    memmove(known->entries + position, known->entries + position + 1,
            (known->count - position) * sizeof(struct mig_kube_known_entry *));
}

bool mig_kube_known_remove(struct mig_kube_known *known, const json_t *object)
{
    size_t position;

    if (!find(known, mig_kube_metadata(object, "namespace"), mig_kube_metadata(object, "name"),
              &position)) {
        return false;
    }
    remove_at(known, position);
    return true;
}

void mig_kube_known_begin(struct mig_kube_known *known)
{
    known->generation++;
}

json_t *mig_kube_known_take_stale(struct mig_kube_known *known)
{
    for (size_t i = known->count; i > 0; i--) {
        if (known->entries[i - 1]->generation != known->generation) {
            json_t *object = as_object(known->entries[i - 1]);

            remove_at(known, i - 1);
            return object;
        }
    }
    return NULL;
}
