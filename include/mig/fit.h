/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Would these slices fit on this node, where, and after which smallest change?
 *
 * Places a list of wanted MIG devices over all GPUs of a node. Idle instances of the right kind are
 * used as they are; then free room; then idle instances of other kinds are given up. Instances in
 * use stay. Among all ways the fewest destroyed instances win, then the fewest created, then the
 * most future placements over the node, then the first GPU. Exact (dynamic programme over the
 * GPUs), pure like the planner; allocates its table.
 */
#ifndef MIG_FIT_H
#define MIG_FIT_H

#include <mig/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_FIT_KIND_MAX 16 /* different kinds in one request */
#define MIG_FIT_GPU_MAX 64
#define MIG_FIT_TABLE_MAX \
    2000000 /* count vectors, over all GPUs; a larger request is refused with the limit named */

/* One kind of slice that is wanted; resolved per GPU because models differ. */
struct mig_fit_want {
    const char *name; /* profile name as written */
    uint32_t count;
};

struct mig_fit_gpu {
    struct mig_layout layout;
    struct mig_policy policy;
    bool usable; /* false: MIG is off or the GPU is left out; nothing is placed here */
};

struct mig_fit_gpu_result {
    uint16_t reused[MIG_FIT_KIND_MAX];  /* idle instances taken as they are, per want */
    uint16_t created[MIG_FIT_KIND_MAX]; /* new ones, per want */
    struct mig_plan plan;               /* step_count 0: nothing to do here */
};

struct mig_fit_result {
    uint32_t destroy_count, create_count; /* GPU instances, over the node */
    uint32_t unplaced[MIG_FIT_KIND_MAX];  /* on refusal: the fewest that stay without a place */
    bool fits_empty;                      /* on refusal: would fit if nobody used the node */
    uint32_t gpu_count;
    struct mig_fit_gpu_result *gpus; /* release with mig_fit_result_release */
};

/*
 * Each kind may be asked for once (MIG_E_USAGE otherwise). A want that is a part of a GPU instance
 * (1c.3g.20gb) also goes into room inside one that is in use.
 *
 * MIG_OK: ret says how. MIG_E_NO_FIT or MIG_E_BUSY: ret->unplaced says what stays out and the GPU
 * plans show the best partial answer. In each of these cases ret has to be released.
 */
MIG_PUBLIC int mig_fit(const struct mig_fit_gpu *gpus, size_t gpu_count,
                       const struct mig_fit_want *wants, size_t want_count,
                       struct mig_fit_result *ret, struct mig_error *error);
MIG_PUBLIC void mig_fit_result_release(struct mig_fit_result *result);

#ifdef __cplusplus
}
#endif
#endif
