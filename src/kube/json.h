/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON from the API server: parsed with limits on depth and number of values, because a few bytes
 * of text can stand for a hundred of memory; and read without assuming that anything is there.
 */
#ifndef MIG_KUBE_JSON_H
#define MIG_KUBE_JSON_H

#include "base/cleanup.h"
#include <jansson.h>
#include <mig/error.h>

#define MIG_KUBE_JSON_DEPTH_MAX 64u
#define MIG_KUBE_JSON_VALUES_MAX 524288u

MIG_DEFINE_CLEANUP(json, json_t, json_decref)
#define MIG_AUTO_JSON MIG_CLEANUP(cleanup_json)

/* MIG_E_FAILED with the place. The value is an object or a list. */
int mig_kube_json_parse(const void *bytes, size_t size, json_t **ret, struct mig_error *error);

/* The member that the names lead to, ended by NULL; NULL when something is not there. */
#define mig_kube_json_member(object, ...) \
    mig_kube_json_find(object, (const char *const[]){__VA_ARGS__, NULL})

/* The same, its text; "" when it is not there or no text. Never NULL. */
#define mig_kube_json_text(object, ...) \
    mig_kube_json_find_text(object, (const char *const[]){__VA_ARGS__, NULL})

json_t *mig_kube_json_find(const json_t *object, const char *const *names);
const char *mig_kube_json_find_text(const json_t *object, const char *const *names);

/* metadata.NAME as text. */
const char *mig_kube_metadata(const json_t *object, const char *name);

/* A label or annotation of an object; NULL when there is none. */
const char *mig_kube_label(const json_t *object, const char *key);
const char *mig_kube_annotation(const json_t *object, const char *key);

#endif
