/* SPDX-License-Identifier: Apache-2.0 */
/* JSON of NodeFeature and Node objects. What comes from the API server may be of any form. */
#include "discovery/node_feature.h"
#include "kube/json.h"
#include <string.h>

static json_t *label_map(const struct mig_labels *labels)
{
    json_t *map = json_object();

    for (size_t i = 0; map && i < labels->count; i++) {
        if (json_object_set_new(map, labels->items[i].key, json_string(labels->items[i].value)) <
            0) {
            json_decref(map);
            return NULL;
        }
    }
    return map;
}

json_t *mig_node_feature_make(const struct mig_labels *labels, const char *node_name,
                              const json_t *owners)
{
    char name[512];

    snprintf(name, sizeof(name), MIG_NODE_FEATURE_PREFIX "%s", node_name);
    return json_pack("{s:s, s:s, s:{s:s, s:{s:s}, s:O*}, s:{s:{s:{}, s:{}, s:{}}, s:o}}",
                     "apiVersion", "nfd.k8s-sigs.io/v1alpha1", "kind", "NodeFeature", "metadata",
                     "name", name, "labels", "nfd.node.kubernetes.io/node-name", node_name,
                     "ownerReferences", owners, "spec", "features", "attributes", "flags",
                     "instances", "labels", label_map(labels));
}

/* What has to be set or, with `remove`, taken away (null) to make `have` into `want`. */
static json_t *map_changes(const json_t *have, const json_t *want, bool remove)
{
    json_t *changes = json_object();
    const char *key;
    json_t *value;
    bool failed = !changes;
    void *at;

    for (at = json_object_iter((json_t *)(uintptr_t)want); at;
         at = json_object_iter_next((json_t *)(uintptr_t)want, at)) {
        key = json_object_iter_key(at);
        value = json_object_iter_value(at);
        if (!json_equal(json_object_get(have, key), value)) {
            failed = failed || json_object_set(changes, key, value) < 0;
        }
    }
    for (at = json_object_iter((json_t *)(uintptr_t)have); remove && at;
         at = json_object_iter_next((json_t *)(uintptr_t)have, at)) {
        key = json_object_iter_key(at);
        if (!json_object_get(want, key)) {
            failed = failed || json_object_set_new(changes, key, json_null()) < 0;
        }
    }
    if (failed) {
        json_decref(changes);
        return NULL;
    }
    return changes;
}

bool mig_node_feature_patch(const json_t *existing, const json_t *wanted, json_t **ret)
{
    const json_t *owners = mig_kube_json_member(wanted, "metadata", "ownerReferences", NULL);
    MIG_AUTO_JSON json_t *spec =
        map_changes(mig_kube_json_member(existing, "spec", "labels", NULL),
                    mig_kube_json_member(wanted, "spec", "labels", NULL), true);
    MIG_AUTO_JSON json_t *labels =
        map_changes(mig_kube_json_member(existing, "metadata", "labels", NULL),
                    mig_kube_json_member(wanted, "metadata", "labels", NULL), false);
    bool owners_differ =
        owners &&
        !json_equal(mig_kube_json_member(existing, "metadata", "ownerReferences", NULL), owners);

    *ret = NULL;
    if (!spec || !labels) {
        return false;
    }
    if (json_object_size(spec) == 0 && json_object_size(labels) == 0 && !owners_differ) {
        return true;
    }
    *ret = json_pack("{s:{s:s, s:O, s:O*}, s:{s:O}}", "metadata", "resourceVersion",
                     mig_kube_metadata(existing, "resourceVersion"), "labels", labels,
                     "ownerReferences", owners_differ ? owners : NULL, "spec", "labels", spec);
    return *ret != NULL;
}

json_t *mig_node_feature_owners(const json_t *pod)
{
    const json_t *references = mig_kube_json_member(pod, "metadata", "ownerReferences", NULL);
    MIG_AUTO_JSON json_t *owners = json_array();
    size_t count = json_array_size(references);

    for (size_t i = 0; i < count; i++) {
        json_t *reference = json_array_get(references, i);

        if (json_is_true(json_object_get(reference, "controller")) &&
            strcmp(mig_kube_json_text(reference, "kind", NULL), "DaemonSet") == 0) {
            json_array_append_new(
                owners,
                json_pack("{s:s, s:s, s:s, s:s, s:b}", "apiVersion",
                          mig_kube_json_text(reference, "apiVersion", NULL), "kind", "DaemonSet",
                          "name", mig_kube_json_text(reference, "name", NULL), "uid",
                          mig_kube_json_text(reference, "uid", NULL), "controller", 1));
        }
    }
    json_array_append_new(owners, json_pack("{s:s, s:s, s:s, s:s}", "apiVersion", "v1", "kind",
                                            "Pod", "name", mig_kube_metadata(pod, "name"), "uid",
                                            mig_kube_metadata(pod, "uid")));
    return MIG_TAKE(owners);
}

json_t *mig_node_labels_object(const struct mig_labels *labels, const char *node_name)
{
    return json_pack("{s:s, s:s, s:{s:s, s:o}}", "apiVersion", "v1", "kind", "Node", "metadata",
                     "name", node_name, "labels", label_map(labels));
}
