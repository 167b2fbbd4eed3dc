/* SPDX-License-Identifier: Apache-2.0 */
/* The role "labels": the node's labels from the snapshots of the agent (src/discovery). */
#ifndef MIG_DAEMON_ROLE_LABELS_H
#define MIG_DAEMON_ROLE_LABELS_H

#include "base/counters.h"
#include "daemon/options.h"
#include "deviceplugin/dp_config.h"
#include "kube/client.h"
#include <mig/node.h>

struct role_labels;

struct role_labels_options {
    uv_loop_t *loop;
    const struct daemon_values *values; /* borrowed for the call only */
    struct mig_kube *kube;              /* NULL: a machine without a cluster */
    const char *node_name;
    struct mig_counters *counters;
    bool (*is_changing)(void *data); /* the geometry is being changed: the labels are kept */
    void *data;
};

/* *ret is NULL when the labels would go nowhere. */
int role_labels_new(const struct role_labels_options *options, struct role_labels **ret,
                    struct mig_error *error);
void role_labels_free(struct role_labels *role); /* NULL is allowed, here and below */

/* Borrowed until the next one; NULL: not readable now. */
void role_labels_set_node(struct role_labels *role, const struct mig_node *node);

/* Settings of the device plugin, for strategy and sharing; borrowed for the call. */
void role_labels_set_config(struct role_labels *role, const struct mig_dp_config *config);

/* The strategy of ClusterPolicy; "" = that of the settings. */
void role_labels_set_strategy(struct role_labels *role, const char *strategy);

#endif
