/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Noticing that somebody else changed the node, cheaply: the driver's own events where it has them,
 * and a few numbers per GPU that change with its geometry. Also the critical errors that the driver
 * reports, and what it says a GPU needs to recover. What has changed is found by reading the
 * inventory.
 */
#ifndef MIG_GPU_WATCH_H
#define MIG_GPU_WATCH_H

#include <mig/inventory.h>

#define MIG_WATCH_XID_MAX 64 /* kept of one poll; the driver keeps the rest for the next */

/* A critical error. */
struct mig_watch_xid {
    char gpu_uuid[MIG_UUID_SIZE];
    uint32_t gi_id, ci_id; /* MIG_ID_NONE: the whole GPU */
    uint64_t xid;
};

/* What the driver says a GPU needs to recover (NVML_FI_DEV_GET_GPU_RECOVERY_ACTION). */
struct mig_watch_recovery {
    char gpu_uuid[MIG_UUID_SIZE];
    uint32_t action; /* nvmlDeviceGpuRecoveryAction_t; 0 = nothing */
};

struct mig_watch_news {
    bool changed;            /* read the inventory: always so after mig_watch_expect() */
    uint32_t recovery_count; /* first of all GPUs whose driver tells, then when it is another one */
    struct mig_watch_recovery recoveries[MIG_GPU_MAX];
    uint32_t xid_count;
    struct mig_watch_xid xids[MIG_WATCH_XID_MAX];
};

struct mig_watch;

/* Begins to listen. The watch is of this session and is freed before it. */
int mig_watch_new(struct mig_session *session, struct mig_watch **ret, struct mig_error *error);

/* NULL is allowed. */
void mig_watch_free(struct mig_watch *watch);

/*
 * What there was since the last call. Few NVML calls; none waits. When a call hangs, *watch is
 * taken away as mig_session_run does it. Fails when the driver cannot be asked any more.
 */
int mig_watch_poll(struct mig_watch **watch, struct mig_watch_news *ret, struct mig_error *error);

/* `node` is what the caller knows now; the next polls tell of changes to it. */
void mig_watch_expect(struct mig_watch *watch, const struct mig_node *node);

#endif
