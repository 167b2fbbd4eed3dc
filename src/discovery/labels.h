/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The labels of a node, as gpu-feature-discovery names them: a pure function of one snapshot and a
 * few facts of the host.
 *
 * With GPUs of several models the labels without a model in their name (gpu.product, gpu.memory,
 * ...) describe the model of which there are most GPUs outside MIG mode, or most at all when every
 * GPU is in MIG mode; of equally many the first by name. So they never flip between two equal
 * snapshots. gpu.product.MODEL=COUNT then tells of each.
 *
 * A GPU that cannot be read is left out.
 */
#ifndef MIG_DISCOVERY_LABELS_H
#define MIG_DISCOVERY_LABELS_H

#include "discovery/label_set.h"
#include <mig/node.h>

enum mig_label_strategy { MIG_LABEL_NONE = 0, MIG_LABEL_SINGLE, MIG_LABEL_MIXED };

/* That a resource is shared. */
struct mig_label_sharing {
    const char *resource; /* as it is called unshared: "nvidia.com/gpu", "nvidia.com/mig-1g.5gb" */
    uint32_t replicas;
    bool renamed; /* then products get no -SHARED */
};

struct mig_label_facts {
    enum mig_label_strategy strategy;
    const char *machine; /* product name of the machine; "" or NULL = unknown */
    bool with_timestamp;
    uint64_t timestamp_s; /* when the settings were read */
    bool mps;             /* sharing is by MPS */
    size_t sharing_count;
    const struct mig_label_sharing *sharing;
};

#define MIG_LABEL_REASON_SIZE 160

/*
 * Makes the labels. *ret is empty when the node has no GPU. `reason` (may be NULL) is filled when
 * the strategy cannot describe the node (products end in MIG-INVALID), else "". Fails only for want
 * of memory, or when a name of a profile cannot be one of a label. Release *ret in each case.
 */
int mig_labels_make(const struct mig_node *node, const struct mig_label_facts *facts,
                    struct mig_labels *ret, char reason[MIG_LABEL_REASON_SIZE],
                    struct mig_error *error);

/* "none", "single", "mixed". */
const char *mig_label_strategy_name(enum mig_label_strategy strategy);

#endif
