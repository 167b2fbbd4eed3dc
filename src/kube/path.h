/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of the API, escaped. A name that the API server could take for another path ("..", with a
 * '/') is refused here rather than sent.
 */
#ifndef MIG_KUBE_PATH_H
#define MIG_KUBE_PATH_H

#include "base/buffer.h"
#include <stdbool.h>
#include <stdint.h>

#define MIG_KUBE_PATH_MAX 8192u

struct mig_kube_path {
    struct mig_buffer text;
    bool query;      /* '?' was written */
    const char *bad; /* the first name that cannot be one; NULL = none */
};

/* `prefix` as it is: "/api/v1". */
void mig_kube_path_init(struct mig_kube_path *path, const char *prefix);
void mig_kube_path_release(struct mig_kube_path *path);

#define MIG_AUTO_KUBE_PATH MIG_CLEANUP(mig_kube_path_release)

/* Adds "/NAME". An empty name is bad too. `name` has to live until mig_kube_path_text. */
void mig_kube_path_name(struct mig_kube_path *path, const char *name);

/* Adds "namespaces/NAME" when `name` is not NULL, and then the resource. */
void mig_kube_path_resource(struct mig_kube_path *path, const char *namespace_name,
                            const char *resource);

/* Adds "KEY=VALUE" to the query; nothing when `value` is NULL. */
void mig_kube_path_query(struct mig_kube_path *path, const char *key, const char *value);
void mig_kube_path_query_number(struct mig_kube_path *path, const char *key, uint64_t value);

/* The text; NULL with MIG_E_USAGE in `error` when a name was bad or it is too long. */
const char *mig_kube_path_text(struct mig_kube_path *path, struct mig_error *error);

#endif
