/* SPDX-License-Identifier: Apache-2.0 */
/* The objects that carry labels to the API server; pure. Each returned value is new. */
#ifndef MIG_DISCOVERY_NODE_FEATURE_H
#define MIG_DISCOVERY_NODE_FEATURE_H

#include "discovery/label_set.h"
#include <jansson.h>

#define MIG_NODE_FEATURE_API "/apis/nfd.k8s-sigs.io/v1alpha1"
#define MIG_NODE_FEATURE_PREFIX "nvidia-features-for-"

/* The NodeFeature of a node, as gpu-feature-discovery makes it. `owners` (borrowed) may be NULL.
 * NULL when there is no memory. */
json_t *mig_node_feature_make(const struct mig_labels *labels, const char *node_name,
                              const json_t *owners);

/*
 * The merge patch that makes `existing` into `wanted`, with its resourceVersion, so that a change
 * by somebody else in between is noticed. Labels in the spec that are not wanted go, whoever wrote
 * them. *ret is NULL when nothing has to change. False when there is no memory.
 */
bool mig_node_feature_patch(const json_t *existing, const json_t *wanted, json_t **ret);

/* The owners for a NodeFeature made by a pod: its DaemonSet (its controller), and itself. */
json_t *mig_node_feature_owners(const json_t *pod);

/* A Node with nothing but labels, for server-side apply. */
json_t *mig_node_labels_object(const struct mig_labels *labels, const char *node_name);

#endif
