/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests by kind. Each builds a path and a body and says how it may be repeated; a body is built
 * from what the caller gives, so the only failures before sending are bad names and no memory.
 */
#include "kube/objects.h"
#include "base/cleanup.h"
#include "kube/json.h"
#include "kube/path.h"
#include "kube/status.h"
#include <errno.h>
#include <string.h>

#define FIELD_MANAGER "migd"
#define MERGE_PATCH "application/merge-patch+json"
#define APPLY_PATCH "application/apply-patch+yaml" /* JSON is YAML */

static int no_memory(struct mig_error *error)
{
    return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not make a request");
}

static int send_request(struct mig_kube *kube, struct mig_kube_request *request,
                        const struct mig_kube_reply *reply, struct mig_error *error)
{
    request->done = reply->done;
    request->data = reply->data;
    request->timeout_ms = reply->timeout_ms;
    return mig_kube_request(kube, request, reply->ret, error);
}

/* PREFIX/[namespaces/NS/]RESOURCE[/NAME] into `path`. */
static void build(struct mig_kube_path *path, const char *prefix, const char *namespace_name,
                  const char *resource, const char *name)
{
    mig_kube_path_init(path, prefix);
    mig_kube_path_resource(path, namespace_name, resource);
    if (name) {
        mig_kube_path_name(path, name);
    }
}

/* --- any object --- */

int mig_kube_get(struct mig_kube *kube, const char *path, const struct mig_kube_reply *reply,
                 struct mig_error *error)
{
    struct mig_kube_request request = {
        .method = "GET", .path = path, .retry = MIG_KUBE_RETRY_ALWAYS};

    return send_request(kube, &request, reply, error);
}

static int get_in(struct mig_kube *kube, const char *namespace_name, const char *resource,
                  const char *name, const struct mig_kube_reply *reply, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    const char *text;

    build(&path, "/api/v1", namespace_name, resource, name);
    text = mig_kube_path_text(&path, error);
    return text ? mig_kube_get(kube, text, reply, error) : MIG_E_USAGE;
}

int mig_kube_merge_patch(struct mig_kube *kube, const char *path, json_t *patch,
                         enum mig_kube_retry retry, const struct mig_kube_reply *reply,
                         struct mig_error *error)
{
    struct mig_kube_request request = {.method = "PATCH",
                                       .path = path,
                                       .content_type = MERGE_PATCH,
                                       .body = patch,
                                       .retry = retry};

    return patch ? send_request(kube, &request, reply, error) : no_memory(error);
}

int mig_kube_apply(struct mig_kube *kube, const char *path, json_t *object,
                   const char *field_manager, bool force, const struct mig_kube_reply *reply,
                   struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path full;
    struct mig_kube_request request = {.method = "PATCH",
                                       .content_type = APPLY_PATCH,
                                       .body = object,
                                       .retry = MIG_KUBE_RETRY_ALWAYS};

    mig_kube_path_init(&full, path);
    mig_kube_path_query(&full, "fieldManager", field_manager ? field_manager : FIELD_MANAGER);
    mig_kube_path_query(&full, "force", force ? "true" : NULL);
    request.path = mig_kube_path_text(&full, error);
    if (!request.path) {
        return MIG_E_USAGE;
    }
    return object ? send_request(kube, &request, reply, error) : no_memory(error);
}

/* --- nodes --- */

int mig_kube_get_node(struct mig_kube *kube, const char *name, const struct mig_kube_reply *reply,
                      struct mig_error *error)
{
    return get_in(kube, NULL, "nodes", name, reply, error);
}

/* {key: value or null}; NULL when there is none or no memory (*failed). */
static json_t *map_of(const struct mig_kube_pair *pairs, size_t count, bool *failed)
{
    json_t *map = count > 0 ? json_object() : NULL;

    for (size_t i = 0; i < count; i++) {
        json_t *value = pairs[i].value ? json_string(pairs[i].value) : json_null();

        if (json_object_set_new(map, pairs[i].key, value) < 0) {
            *failed = true;
        }
    }
    return map;
}

int mig_kube_patch_node(struct mig_kube *kube, const char *name,
                        const struct mig_kube_metadata_patch *patch,
                        const struct mig_kube_reply *reply, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    MIG_AUTO_JSON json_t *body = NULL;
    bool failed = false;
    json_t *labels = map_of(patch->labels, patch->label_count, &failed);
    json_t *annotations = map_of(patch->annotations, patch->annotation_count, &failed);
    const char *text;

    body = json_pack("{s:{s:o*, s:o*, s:s*}}", "metadata", "labels", labels, "annotations",
                     annotations, "resourceVersion", patch->resource_version);
    build(&path, "/api/v1", NULL, "nodes", name);
    mig_kube_path_query(&path, "fieldManager",
                        patch->field_manager ? patch->field_manager : FIELD_MANAGER);
    text = mig_kube_path_text(&path, error);
    if (!text) {
        return MIG_E_USAGE;
    }
    if (failed || !body) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "a label or annotation is not UTF-8 text, or there is no memory");
    }
    return mig_kube_merge_patch(
        kube, text, body, patch->resource_version ? MIG_KUBE_RETRY_SAFE : MIG_KUBE_RETRY_ALWAYS,
        reply, error);
}

/* --- pods --- */

int mig_kube_get_pod(struct mig_kube *kube, const char *namespace_name, const char *name,
                     const struct mig_kube_reply *reply, struct mig_error *error)
{
    return get_in(kube, namespace_name, "pods", name, reply, error);
}

/* meta/v1 DeleteOptions. */
static json_t *delete_options(const struct mig_kube_pod *pod)
{
    json_t *grace = pod->grace_period_s >= 0 ? json_integer(pod->grace_period_s) : NULL;
    json_t *preconditions = pod->uid ? json_pack("{s:s}", "uid", pod->uid) : NULL;

    return json_pack("{s:s, s:s, s:o*, s:o*}", "apiVersion", "v1", "kind", "DeleteOptions",
                     "gracePeriodSeconds", grace, "preconditions", preconditions);
}

int mig_kube_delete_pod(struct mig_kube *kube, const struct mig_kube_pod *pod,
                        const struct mig_kube_reply *reply, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    MIG_AUTO_JSON json_t *options = delete_options(pod);
    struct mig_kube_request request = {.method = "DELETE",
                                       .body = options,
                                       /* without a uid a repetition could hit the next pod */
                                       .retry =
                                           pod->uid ? MIG_KUBE_RETRY_ALWAYS : MIG_KUBE_RETRY_SAFE};

    build(&path, "/api/v1", pod->namespace_name, "pods", pod->name);
    request.path = mig_kube_path_text(&path, error);
    if (!request.path) {
        return MIG_E_USAGE;
    }
    return options ? send_request(kube, &request, reply, error) : no_memory(error);
}

int mig_kube_evict_pod(struct mig_kube *kube, const struct mig_kube_pod *pod,
                       const struct mig_kube_reply *reply, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    MIG_AUTO_JSON json_t *eviction = json_pack(
        "{s:s, s:s, s:{s:s, s:s}, s:o}", "apiVersion", "policy/v1", "kind", "Eviction", "metadata",
        "name", pod->name, "namespace", pod->namespace_name, "deleteOptions", delete_options(pod));
    struct mig_kube_request request = {
        .method = "POST", .body = eviction, .retry = MIG_KUBE_RETRY_SAFE};

    build(&path, "/api/v1", pod->namespace_name, "pods", pod->name);
    mig_kube_path_name(&path, "eviction");
    request.path = mig_kube_path_text(&path, error);
    if (!request.path) {
        return MIG_E_USAGE;
    }
    return eviction ? send_request(kube, &request, reply, error) : no_memory(error);
}

enum mig_kube_eviction mig_kube_eviction_of(int status, const json_t *object)
{
    if (status >= 200 && status < 300) {
        return MIG_KUBE_EVICTED;
    }
    if (status == 404 ||
        (status == 409 && strstr(mig_kube_json_text(object, "message", NULL), "UID in"))) {
        return MIG_KUBE_EVICTION_GONE;
    }
    return status == 429 && mig_kube_status_is_budget(object) ? MIG_KUBE_EVICTION_BLOCKED
                                                              : MIG_KUBE_EVICTION_FAILED;
}

/* --- ConfigMaps --- */

int mig_kube_get_configmap(struct mig_kube *kube, const char *namespace_name, const char *name,
                           const struct mig_kube_reply *reply, struct mig_error *error)
{
    return get_in(kube, namespace_name, "configmaps", name, reply, error);
}

static json_t *configmap_object(const struct mig_kube_configmap *configmap)
{
    const struct mig_kube_owner *owner = configmap->owner;
    bool failed = false;
    json_t *owners = owner ? json_pack("[{s:s, s:s, s:s, s:s}]", "apiVersion", owner->api_version,
                                       "kind", owner->kind, "name", owner->name, "uid", owner->uid)
                           : NULL;
    json_t *labels = map_of(configmap->labels, configmap->label_count, &failed);
    json_t *data = map_of(configmap->data, configmap->data_count, &failed);
    json_t *object = json_pack("{s:s, s:s, s:{s:s, s:s, s:o*, s:o*}, s:o*}", "apiVersion", "v1",
                               "kind", "ConfigMap", "metadata", "name", configmap->name,
                               "namespace", configmap->namespace_name, "labels", labels,
                               "ownerReferences", owners, "data", data);

    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

int mig_kube_apply_configmap(struct mig_kube *kube, const struct mig_kube_configmap *configmap,
                             const struct mig_kube_reply *reply, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    MIG_AUTO_JSON json_t *object = configmap_object(configmap);
    const char *text;

    build(&path, "/api/v1", configmap->namespace_name, "configmaps", configmap->name);
    text = mig_kube_path_text(&path, error);
    return text ? mig_kube_apply(kube, text, object, NULL, true, reply, error) : MIG_E_USAGE;
}

/* --- rights --- */

int mig_kube_can(struct mig_kube *kube, const char *verb, const char *group, const char *resource,
                 const char *namespace_name, const char *name, const struct mig_kube_reply *reply,
                 struct mig_error *error)
{
    MIG_AUTO_JSON json_t *review = json_pack(
        "{s:s, s:s, s:{s:{s:s, s:s*, s:s, s:s*, s:s*}}}", "apiVersion", "authorization.k8s.io/v1",
        "kind", "SelfSubjectAccessReview", "spec", "resourceAttributes", "verb", verb, "group",
        group, "resource", resource, "namespace", namespace_name, "name", name);
    struct mig_kube_request request = {
        .method = "POST",
        .path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        .body = review,
        .retry = MIG_KUBE_RETRY_ALWAYS, /* nothing is stored */
    };

    return review ? send_request(kube, &request, reply, error) : no_memory(error);
}

bool mig_kube_allowed(int status, const json_t *object)
{
    return status >= 200 && status < 300 &&
           json_is_true(mig_kube_json_member(object, "status", "allowed", NULL));
}
