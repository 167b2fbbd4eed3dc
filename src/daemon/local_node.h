/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node object of a machine without a cluster: labels and annotations in memory. The wish is the
 * config of the command line; what the manager would write to Kubernetes stays here.
 */
#ifndef MIG_DAEMON_LOCAL_NODE_H
#define MIG_DAEMON_LOCAL_NODE_H

#include "manager/manager.h"

#define LOCAL_NODE_PAIRS_MAX 32u

struct local_node {
    struct mig_manager_pair labels[LOCAL_NODE_PAIRS_MAX], annotations[LOCAL_NODE_PAIRS_MAX];
    size_t label_count, annotation_count;
    uint64_t version;
    char version_text[24];
};

/* `config` "" = nothing is asked for. MIG_E_FAILED when memory is short. */
int local_node_set(struct local_node *node, const char *config, struct mig_error *error);

/* As a merge patch. After a failure the changes before it stand. */
int local_node_patch(struct local_node *node, const struct mig_manager_change *changes,
                     size_t count, struct mig_error *error);

/* Borrowed until the next change. */
struct mig_manager_object local_node_object(struct local_node *node);

void local_node_release(struct local_node *node);

#endif
