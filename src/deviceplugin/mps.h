/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPS in the device plugin: which devices need an MPS control daemon, and which of them have one.
 *
 * Pure. The daemons themselves belong to whoever is given the list; a device whose daemon is not
 * known to be ready is announced as unhealthy.
 */
#ifndef MIG_DEVICEPLUGIN_MPS_H
#define MIG_DEVICEPLUGIN_MPS_H

#include "deviceplugin/resources.h"

#define MIG_DP_MPS_MAX 512u

/* A device that is to have a daemon. */
struct mig_dp_mps_device {
    char uuid[MIG_DP_ID_SIZE], gpu_uuid[MIG_DP_ID_SIZE];
    uint32_t percentage; /* of threads, of each client */
    uint32_t memory_mib; /* pinned device memory, of each client; 0 = no limit */
};

/* One that has, or had, one. */
struct mig_dp_mps_state {
    char uuid[MIG_DP_ID_SIZE];
    bool ready;
    char reason[MIG_DP_REASON_SIZE]; /* when it is not */
};

struct mig_dp_mps {
    uint32_t device_count, state_count;
    struct mig_dp_mps_device devices[MIG_DP_MPS_MAX]; /* what the table asks for */
    struct mig_dp_mps_state states[MIG_DP_MPS_MAX];
};

/* The limits of one client of a slice: 100 % and the memory, divided by the replicas. */
void mig_dp_mps_limits(const struct mig_dp_slice *slice, struct mig_dp_mps_device *ret);

/* Takes the devices over from a table; true when they are others than before. What is only kept
 * (a GPU that cannot be read now, a slice that a pod still has) keeps its daemon too. */
bool mig_dp_mps_collect(struct mig_dp_mps *mps, const struct mig_dp_table *table);

/* What is told of a daemon; true when that is new. Only of devices that are asked for. */
bool mig_dp_mps_tell(struct mig_dp_mps *mps, const char *uuid, bool ready, const char *reason);

/* Marks devices without a daemon that is ready as unhealthy. */
void mig_dp_mps_apply(const struct mig_dp_mps *mps, struct mig_dp_table *table);

#endif
