/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Taints of a node. They are one list that several write (kubelet, controllers, people), and a
 * merge patch replaces it whole, so each change is made from a list that was read, and only if the
 * node is still the one that was read.
 */
#include "base/cleanup.h"
#include "kube/json.h"
#include "kube/objects.h"
#include "kube/path.h"
#include <errno.h>
#include <string.h>

#define ATTEMPTS_MAX 5u

struct mig_kube_taint_change {
    struct mig_kube *kube;
    struct mig_kube_call *call;
    struct mig_kube_reply reply;
    char *path, *key, *value, *effect, *remove_key; /* key NULL = nothing to add */
    unsigned attempts;
};

/* --- the patch --- */

static bool is_taint(const json_t *taint, const char *key, const char *effect)
{
    return strcmp(mig_kube_json_text(taint, "key", NULL), key) == 0 &&
           (!effect || strcmp(mig_kube_json_text(taint, "effect", NULL), effect) == 0);
}

/* What stays; *same when nothing has to change. NULL when there is no memory. */
static json_t *changed_list(const json_t *taints, const struct mig_kube_taint *add,
                            const char *remove_key, bool *same)
{
    json_t *list = json_array();
    bool present = false;

    *same = true;
    for (size_t i = 0; i < json_array_size(taints); i++) {
        json_t *taint = json_array_get(taints, i);

        if (add && is_taint(taint, add->key, add->effect) && !present &&
            strcmp(mig_kube_json_text(taint, "value", NULL), add->value) == 0) {
            present = true;
        } else if ((add && is_taint(taint, add->key, add->effect)) ||
                   (remove_key && is_taint(taint, remove_key, NULL))) {
            *same = false;
            continue;
        }
        json_array_append(list, taint);
    }
    if (add && !present) {
        *same = false;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "key", add->key, "value",
                                              add->value, "effect", add->effect));
    }
    return list;
}

int mig_kube_taints_patch(const json_t *node, const struct mig_kube_taint *add,
                          const char *remove_key, json_t **ret, struct mig_error *error)
{
    const char *version = mig_kube_metadata(node, "resourceVersion");
    bool same = false;
    json_t *list =
        changed_list(mig_kube_json_member(node, "spec", "taints", NULL), add, remove_key, &same);

    *ret = NULL;
    if (list && same) {
        json_decref(list);
        return 0;
    }
    if (!*version) {
        json_decref(list);
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the node has no resourceVersion");
    }
    *ret = json_pack("{s:{s:s}, s:{s:o}}", "metadata", "resourceVersion", version, "spec", "taints",
                     list);
    if (!*ret) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not change taints");
    }
    return 0;
}

/* --- the requests --- */

static void free_change(struct mig_kube_taint_change *change)
{
    free(change->path);
    free(change->key);
    free(change->value);
    free(change->effect);
    free(change->remove_key);
    free(change);
}

static void on_cancelled(void *data)
{
    free_change(data);
}

void mig_kube_taint_cancel(struct mig_kube_taint_change *change)
{
    if (change) {
        mig_kube_cancel(change->call);
    }
}

static void finish(struct mig_kube_taint_change *change, struct mig_kube_call *call, int status,
                   json_t *object, const struct mig_error *error)
{
    if (change->reply.done) {
        change->reply.done(call, status, object, error, change->reply.data);
    }
    free_change(change);
}

static int read_node(struct mig_kube_taint_change *change, struct mig_error *error);

static void on_patched(struct mig_kube_call *call, int status, json_t *object,
                       const struct mig_error *error, void *data)
{
    struct mig_kube_taint_change *change = data;
    struct mig_error failure;

    if (status == 409 && ++change->attempts < ATTEMPTS_MAX) {
        if (read_node(change, &failure) < 0) {
            finish(change, call, 0, NULL, &failure);
        }
        return;
    }
    finish(change, call, status, object, error);
}

static void on_read(struct mig_kube_call *call, int status, json_t *object,
                    const struct mig_error *error, void *data)
{
    struct mig_kube_taint_change *change = data;
    const struct mig_kube_taint add = {change->key, change->value, change->effect};
    MIG_AUTO_JSON json_t *patch = NULL;
    struct mig_kube_request request = {.method = "PATCH",
                                       .path = change->path,
                                       .content_type = "application/merge-patch+json",
                                       .timeout_ms = change->reply.timeout_ms,
                                       .retry = MIG_KUBE_RETRY_SAFE,
                                       .done = on_patched,
                                       .cancelled = on_cancelled,
                                       .data = change};
    struct mig_error failure;

    if (error) {
        finish(change, call, status, object, error);
    } else if (mig_kube_taints_patch(object, change->key ? &add : NULL, change->remove_key, &patch,
                                     &failure) < 0) {
        finish(change, call, 0, NULL, &failure);
    } else if (!patch) {
        finish(change, call, status, object, NULL);
    } else {
        request.body = patch;
        if (mig_kube_request(change->kube, &request, &change->call, &failure) < 0) {
            finish(change, call, 0, NULL, &failure);
        }
    }
}

static int read_node(struct mig_kube_taint_change *change, struct mig_error *error)
{
    const struct mig_kube_request request = {.method = "GET",
                                             .path = change->path,
                                             .timeout_ms = change->reply.timeout_ms,
                                             .retry = MIG_KUBE_RETRY_ALWAYS,
                                             .done = on_read,
                                             .cancelled = on_cancelled,
                                             .data = change};

    return mig_kube_request(change->kube, &request, &change->call, error);
}

static int fill(struct mig_kube_taint_change *change, const char *name,
                const struct mig_kube_taint *add, const char *remove_key, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    const char *text;

    mig_kube_path_init(&path, "/api/v1/nodes");
    mig_kube_path_name(&path, name);
    text = mig_kube_path_text(&path, error);
    if (!text) {
        return MIG_E_USAGE;
    }
    change->path = strdup(text);
    change->key = add ? strdup(add->key) : NULL;
    change->value = strdup(add && add->value ? add->value : "");
    change->effect = strdup(add ? add->effect : "");
    change->remove_key = remove_key ? strdup(remove_key) : NULL;
    if (!change->path || (add && !change->key) || !change->value || !change->effect ||
        (remove_key && !change->remove_key)) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not change taints");
    }
    return 0;
}

int mig_kube_taint_node(struct mig_kube *kube, const char *name, const struct mig_kube_taint *add,
                        const char *remove_key, const struct mig_kube_reply *reply,
                        struct mig_kube_taint_change **ret, struct mig_error *error)
{
    struct mig_kube_taint_change *change = calloc(1, sizeof(*change));
    int rc;

    if (!change) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not change taints");
    }
    change->kube = kube;
    change->reply = *reply;
    rc = fill(change, name, add, remove_key, error);
    if (rc == 0) {
        rc = read_node(change, error);
    }
    if (rc < 0) {
        free_change(change);
        return rc;
    }
    if (ret) {
        *ret = change;
    }
    return 0;
}
