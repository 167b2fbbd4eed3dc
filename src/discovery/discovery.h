/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps the labels of the node up to date where others look for them: in a file for
 * node-feature-discovery, in a NodeFeature, or on the node itself.
 *
 * A change of a snapshot is written at once. What fails is tried again; once a minute it is looked
 * whether what was written is still there. While the geometry is being changed (hold) the labels
 * stay as they were. Labels are never taken away at the end: the GPUs are still there.
 */
#ifndef MIG_DISCOVERY_DISCOVERY_H
#define MIG_DISCOVERY_DISCOVERY_H

#include "discovery/labels.h"
#include "kube/client.h"
#include <uv.h>

#define MIG_DISCOVERY_FILE_DEFAULT "/etc/kubernetes/node-feature-discovery/features.d/gfd"
#define MIG_DISCOVERY_MACHINE_DEFAULT "/sys/class/dmi/id/product_name"
#define MIG_DISCOVERY_SHARING_MAX 64
#define MIG_DISCOVERY_FIELD_MANAGER "migd-labels" /* owns the labels that are on the node */

enum mig_discovery_output {
    MIG_DISCOVERY_TO_FILE = 0,
    MIG_DISCOVERY_TO_NODE_FEATURE, /* nfd.k8s-sigs.io/v1alpha1; what is in it is replaced */
    MIG_DISCOVERY_TO_NODE,         /* server-side apply; labels of others are left alone */
    MIG_DISCOVERY_OUTPUT_COUNT,
};

struct mig_discovery;

/* Texts are copied. */
struct mig_discovery_options {
    bool outputs[MIG_DISCOVERY_OUTPUT_COUNT];
    const char *file;           /* NULL = MIG_DISCOVERY_FILE_DEFAULT */
    const char *machine_file;   /* NULL = MIG_DISCOVERY_MACHINE_DEFAULT */
    struct mig_kube *kube;      /* for the last two outputs; has to outlive the discovery */
    const char *node_name;      /* likewise needed for them */
    const char *namespace_name; /* of the NodeFeature */
    const char *pod_name;       /* our own, whose DaemonSet is to own the NodeFeature; NULL */
    unsigned recheck_ms;        /* 0 = 60,000 */
    /* Each attempt, `error` NULL when it worked; may be NULL. */
    void (*wrote)(enum mig_discovery_output output, const struct mig_error *error, void *data);
    /* The strategy cannot describe the node, and why; "" = it can again. May be NULL. */
    void (*invalid)(const char *reason, void *data);
    void *data;
};

/* What the labels are to say; sharing as in labels.h. */
struct mig_discovery_rules {
    enum mig_label_strategy strategy;
    bool mps;
    bool with_timestamp;  /* nvidia.com/gfd.timestamp, the time of the last settings */
    size_t sharing_count; /* at most MIG_DISCOVERY_SHARING_MAX; more are left out */
    const struct mig_label_sharing *sharing;
};

int mig_discovery_new(uv_loop_t *loop, const struct mig_discovery_options *options,
                      struct mig_discovery **ret, struct mig_error *error);

/* Memory goes when libuv has closed the timer. NULL is allowed. */
void mig_discovery_free(struct mig_discovery *discovery);

/* Copied. Until then the strategy is none, without sharing. */
void mig_discovery_set_rules(struct mig_discovery *discovery,
                             const struct mig_discovery_rules *rules);

/* The snapshot to describe, borrowed until the next one is set; NULL (not readable now) leaves
 * everything as it is. */
void mig_discovery_set_node(struct mig_discovery *discovery, const struct mig_node *node);

/* While the geometry is being changed: nothing is written, then the result at once. */
void mig_discovery_hold(struct mig_discovery *discovery, bool hold);

/* The labels as they are now. */
const struct mig_labels *mig_discovery_labels(const struct mig_discovery *discovery);

const char *mig_discovery_output_name(enum mig_discovery_output output); /* "file", ... */

#endif
