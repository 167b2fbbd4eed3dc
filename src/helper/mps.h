/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MPS control daemons of a node: which there are to be, and what becomes of each.
 *
 * Nothing is touched before the first call of mig_mps_want: a helper that follows another finds
 * the daemons of that one running, takes over those that are still wanted, and ends the others.
 * Work is done in small pieces by mig_mps_tick, so that whoever owns the loop can do other things
 * between two daemons.
 */
#ifndef MIG_HELPER_MPS_H
#define MIG_HELPER_MPS_H

#include "helper/helper.h"

struct mig_mps;

struct mig_mps_options {
    const char *dir;         /* NULL = /run/nvidia/mps */
    const char *driver_root; /* NULL or "" = ours */
    /* The compute mode of a GPU, as gpu/compute_mode.h; both may be NULL. */
    int (*get_mode)(const char *gpu_uuid, int *ret, struct mig_error *error, void *data);
    int (*set_mode)(const char *gpu_uuid, int mode, struct mig_error *error, void *data);
    int exclusive_mode;   /* what a shared GPU is set to */
    unsigned patience_ms; /* how long a daemon may take to start or to answer; 0 = 5,000 */
    void (*told)(const struct mig_helper_mps_state *state, void *data);
    void (*said)(const char *text, void *data); /* one line for the log */
    void *data;
};

/* Options are copied, their texts are not. NULL without memory. */
struct mig_mps *mig_mps_new(const struct mig_mps_options *options);
void mig_mps_free(struct mig_mps *mps); /* daemons stay; NULL is allowed */

/* Which devices are to have a daemon: always all of them. */
void mig_mps_want(struct mig_mps *mps, const struct mig_helper_mps *devices, size_t count);

/* Does what is due, of what takes time one thing. True when there is more to do at once. */
bool mig_mps_tick(struct mig_mps *mps);

/* Ends all daemons and puts everything back. */
void mig_mps_end(struct mig_mps *mps);

/* Whether a process is one of the daemons, or a server that one of them has started. */
bool mig_mps_owns(const struct mig_mps *mps, uint32_t pid);

/* The same for those daemons only that have clients, who are asked. */
bool mig_mps_owns_used(const struct mig_mps *mps, uint32_t pid);

/*
 * A device is about to go, or to change: its daemon ends now, the GPU is as it was before. After
 * that, `remains` tells whether it is still there: those that are get a daemon again.
 */
void mig_mps_yield(struct mig_mps *mps, const char *uuid);
void mig_mps_resume(struct mig_mps *mps, bool (*remains)(const char *uuid, void *data), void *data);

/* How many daemons run. */
size_t mig_mps_running_count(const struct mig_mps *mps);

#endif
