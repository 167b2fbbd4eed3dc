/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From one table to the next: what must not vanish, and which resources hear of the change.
 *
 * Pure. A device that a pod holds is never silently withdrawn: it stays announced, unhealthy and
 * with the reason, until the pod has ended. So does a device of a GPU that cannot be read now, so
 * that the kubelet's account of running pods holds.
 */
#ifndef MIG_DEVICEPLUGIN_LISTS_H
#define MIG_DEVICEPLUGIN_LISTS_H

#include "deviceplugin/pod_resources.h"
#include "deviceplugin/resources.h"

/*
 * Adds to `table` what of `previous` has to stay. `holders` NULL: it is not known who holds what;
 * what was kept for a holder stays, and nothing else is taken for held.
 * A slice that is held under another resource than its new one is announced under both, unhealthy,
 * so that it is not handed out twice.
 */
int mig_dp_table_keep(struct mig_dp_table *table, const struct mig_dp_table *previous,
                      const struct mig_node *node, const struct mig_pod_devices *holders,
                      struct mig_error *error);

/* A slice that is to go: no pod may be given it any more. */
struct mig_dp_withheld {
    char gpu_uuid[MIG_DP_ID_SIZE];
    uint8_t gi_profile, start; /* as in struct mig_gi; MIG_DP_WHOLE_GPU: the GPU as such */
};

bool mig_dp_slice_is_withheld(const struct mig_dp_slice *slice,
                              const struct mig_dp_withheld *withheld, size_t count);

/* Marks what is withheld as unhealthy. */
void mig_dp_table_withhold(struct mig_dp_table *table, const struct mig_dp_withheld *withheld,
                           size_t count);

/* True when something of `previous` would go, so that it matters who holds it. */
bool mig_dp_table_loses(const struct mig_dp_table *table, const struct mig_dp_table *previous);

/* True when some slice is only kept for its holder. */
bool mig_dp_table_has_kept(const struct mig_dp_table *table);

/* True when both announce the same devices, health and places for a resource. NULL: not there. */
bool mig_dp_resource_equal(const struct mig_dp_table *a, const struct mig_dp_resource *in_a,
                           const struct mig_dp_table *b, const struct mig_dp_resource *in_b);

#endif
