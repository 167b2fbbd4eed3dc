/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests that migd makes, one function each: what is sent, how it may be repeated, and what
 * the answers mean.
 *
 * Each takes where the answer goes (struct mig_kube_reply) and returns 0 once the request is on its
 * way. Answers come as in client.h.
 */
#ifndef MIG_KUBE_OBJECTS_H
#define MIG_KUBE_OBJECTS_H

#include "kube/client.h"

struct mig_kube_reply {
    mig_kube_done *done; /* may be NULL */
    void *data;
    unsigned timeout_ms;        /* 0 = 30,000 */
    struct mig_kube_call **ret; /* for mig_kube_cancel; may be NULL */
};

/* --- nodes --- */

int mig_kube_get_node(struct mig_kube *kube, const char *name, const struct mig_kube_reply *reply,
                      struct mig_error *error);

struct mig_kube_pair {
    const char *key, *value; /* value NULL = remove it */
};

struct mig_kube_metadata_patch {
    const struct mig_kube_pair *labels, *annotations;
    size_t label_count, annotation_count;
    const char *resource_version; /* NULL = whatever is there; else 409 when it is another one */
    const char *field_manager;    /* NULL = "migd" */
};

/*
 * Labels and annotations, as a JSON merge patch. Without resource_version it is repeated over lost
 * connections; with it, a lost answer is an error, as a repetition would find its own change and
 * take it for somebody else's.
 */
int mig_kube_patch_node(struct mig_kube *kube, const char *name,
                        const struct mig_kube_metadata_patch *patch,
                        const struct mig_kube_reply *reply, struct mig_error *error);

struct mig_kube_taint {
    const char *key, *value; /* value "" = none */
    const char *effect;      /* NoSchedule, PreferNoSchedule, NoExecute */
};

/*
 * The merge patch that adds `add` (same key and effect: its value is replaced) or removes every
 * taint of key `remove_key` (either may be NULL), with the resourceVersion of `node`, because a
 * list is replaced whole. *ret is NULL when nothing has to change.
 */
int mig_kube_taints_patch(const json_t *node, const struct mig_kube_taint *add,
                          const char *remove_key, json_t **ret, struct mig_error *error);

/*
 * The same as requests: reads the node, patches it, and again when somebody else was first, up to
 * five times. The answer is the node, also when nothing had to change. It has its own handle for
 * cancelling: *ret may be NULL, reply->ret is not used.
 */
struct mig_kube_taint_change;
int mig_kube_taint_node(struct mig_kube *kube, const char *name, const struct mig_kube_taint *add,
                        const char *remove_key, const struct mig_kube_reply *reply,
                        struct mig_kube_taint_change **ret, struct mig_error *error);
void mig_kube_taint_cancel(struct mig_kube_taint_change *change); /* NULL is allowed */

/* --- any object --- */

/* GET `path` (path.h). */
int mig_kube_get(struct mig_kube *kube, const char *path, const struct mig_kube_reply *reply,
                 struct mig_error *error);

int mig_kube_merge_patch(struct mig_kube *kube, const char *path, json_t *patch,
                         enum mig_kube_retry retry, const struct mig_kube_reply *reply,
                         struct mig_error *error);

/*
 * Server-side apply: `object` with apiVersion, kind and metadata.name becomes so, and
 * `field_manager` (NULL = "migd") owns the fields that it names. `force` takes them from other
 * managers, without it a field of somebody else is a 409 that names him.
 */
int mig_kube_apply(struct mig_kube *kube, const char *path, json_t *object,
                   const char *field_manager, bool force, const struct mig_kube_reply *reply,
                   struct mig_error *error);

/* --- pods --- */

int mig_kube_get_pod(struct mig_kube *kube, const char *namespace_name, const char *name,
                     const struct mig_kube_reply *reply, struct mig_error *error);

/* What to delete or evict. */
struct mig_kube_pod {
    const char *namespace_name, *name;
    const char *uid;    /* NULL = whichever has the name; else another pod of the name is kept */
    int grace_period_s; /* < 0 = the pod's own */
};

int mig_kube_delete_pod(struct mig_kube *kube, const struct mig_kube_pod *pod,
                        const struct mig_kube_reply *reply, struct mig_error *error);

enum mig_kube_eviction {
    MIG_KUBE_EVICTED = 0,
    MIG_KUBE_EVICTION_GONE,    /* there is no such pod (any more), or another one of its name */
    MIG_KUBE_EVICTION_BLOCKED, /* a PodDisruptionBudget forbids it now; error->holders names it */
    MIG_KUBE_EVICTION_FAILED,  /* anything else; error says what */
};

/*
 * Evicts a pod through policy/v1. The answer's status and Status object are read with
 * mig_kube_eviction_of. A budget that forbids it is an answer, not something that is repeated here.
 */
int mig_kube_evict_pod(struct mig_kube *kube, const struct mig_kube_pod *pod,
                       const struct mig_kube_reply *reply, struct mig_error *error);

enum mig_kube_eviction mig_kube_eviction_of(int status, const json_t *object);

/* --- lists, in pages --- */

struct mig_kube_list;

struct mig_kube_list_options {
    const char *path;           /* "/api/v1/pods", without query; path.h */
    const char *field_selector; /* may be NULL */
    const char *label_selector; /* may be NULL */
    unsigned page_size;         /* 0 = 50 */
    /* Each object, apiVersion and kind not set; borrowed. When a list has to be started again
     * (its continue token ran out) `restart` is called first: what was told is void. */
    void (*item)(json_t *object, void *data);
    void (*restart)(void *data); /* may be NULL */
    /* `resource_version` of the list; error as in mig_kube_done. The list is gone after it. */
    void (*done)(int status, const char *resource_version, const struct mig_error *error,
                 void *data);
    void *data;
    unsigned timeout_ms; /* of each page; 0 = 30,000 */
};

int mig_kube_list(struct mig_kube *kube, const struct mig_kube_list_options *options,
                  struct mig_kube_list **ret, struct mig_error *error);
void mig_kube_list_cancel(struct mig_kube_list *list); /* done() is not called; NULL is allowed */

/* --- ConfigMaps --- */

struct mig_kube_owner {
    const char *api_version, *kind, *name, *uid;
};

struct mig_kube_configmap {
    const char *namespace_name, *name;
    const struct mig_kube_pair *data, *labels;
    size_t data_count, label_count;
    const struct mig_kube_owner *owner; /* NULL = none */
};

int mig_kube_get_configmap(struct mig_kube *kube, const char *namespace_name, const char *name,
                           const struct mig_kube_reply *reply, struct mig_error *error);

/* Makes it, or makes it so: server-side apply as "migd", taking the fields from others. */
int mig_kube_apply_configmap(struct mig_kube *kube, const struct mig_kube_configmap *configmap,
                             const struct mig_kube_reply *reply, struct mig_error *error);

/* --- rights --- */

/* May we? The answer is a SelfSubjectAccessReview; mig_kube_allowed reads it. NULL = any or none.
 */
int mig_kube_can(struct mig_kube *kube, const char *verb, const char *group, const char *resource,
                 const char *namespace_name, const char *name, const struct mig_kube_reply *reply,
                 struct mig_error *error);
bool mig_kube_allowed(int status, const json_t *object);

#endif
