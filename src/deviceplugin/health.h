/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which devices are unhealthy, and how they become healthy again. Pure: the time is an argument.
 *
 * A critical error (XID) marks what it names: a compute instance, a GPU instance, or the whole GPU
 * when it names neither or concerns the GPU as such. A mark goes only when it was earned: the GPU
 * was reset, the instance was destroyed and made again, a lost GPU came back, or the driver
 * withdrew its demand for a reset; and then after a time without a new error. That a call to the
 * driver succeeds is no sign of health.
 */
#ifndef MIG_DEVICEPLUGIN_HEALTH_H
#define MIG_DEVICEPLUGIN_HEALTH_H

#include "deviceplugin/resources.h"

#define MIG_DP_MARKS_MAX 256u

/* What the driver wants done with a GPU (NVML_FI_DEV_GET_GPU_RECOVERY_ACTION). */
enum mig_dp_recovery_action {
    MIG_DP_RECOVERY_NONE = 0,
    MIG_DP_RECOVERY_GPU_RESET,
    MIG_DP_RECOVERY_REBOOT,
    MIG_DP_RECOVERY_DRAIN_P2P,
    MIG_DP_RECOVERY_DRAIN_AND_RESET,
    MIG_DP_RECOVERY_IMEX_DOMAIN, /* of the fabric: the GPU itself works */
};

/* "a reset", for messages; also for one that is newer than this list. */
const char *mig_dp_recovery_name(uint32_t action);

/* Something that is unhealthy. */
struct mig_dp_mark {
    char gpu_uuid[MIG_DP_ID_SIZE];
    uint32_t gi_id, ci_id; /* MIG_ID_NONE: all */
    uint64_t xid;          /* 0: the driver asked for `recovery` */
    uint32_t recovery;     /* enum mig_dp_recovery_action, or newer */
    uint64_t place;        /* what the ids stood for when they were first seen, never 0 then */
    bool lost;             /* the GPU could not be read meanwhile */
    bool earned;           /* repaired; goes at `free_ms` */
    uint64_t free_ms;
};

struct mig_dp_health {
    uint32_t mark_count;
    struct mig_dp_mark marks[MIG_DP_MARKS_MAX];
};

/* What the policy says of an XID: IGNORE, DEVICE or GPU. */
enum mig_dp_xid_action mig_dp_xid_policy(const struct mig_dp_health_config *config, uint64_t xid);

/* An error came. True when devices may have changed. */
bool mig_dp_health_xid(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                       const char *gpu_uuid, uint32_t gi_id, uint32_t ci_id, uint64_t xid);

/* The GPU was reset, or the driver loaded anew (gpu_uuid NULL: all GPUs). */
void mig_dp_health_reset(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                         const char *gpu_uuid, uint64_t now_ms);

/* The driver's recovery action for a GPU. True when devices may have changed. */
bool mig_dp_health_recovery(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                            const char *gpu_uuid, uint32_t action, uint64_t now_ms);

/* A new snapshot: instances that are gone, GPUs that are lost or came back. */
void mig_dp_health_observe(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                           const struct mig_node *node, uint64_t now_ms);

/* Removes what has earned it long enough; true when any was. */
bool mig_dp_health_tick(struct mig_dp_health *health, uint64_t now_ms);

/* When tick has to be called next; UINT64_MAX = nothing waits. */
uint64_t mig_dp_health_next_ms(const struct mig_dp_health *health);

/* Marks the slices of a table, with the reason. */
void mig_dp_health_apply(const struct mig_dp_health *health, struct mig_dp_table *table);

#endif
