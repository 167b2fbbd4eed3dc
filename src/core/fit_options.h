/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one GPU can contribute to a request: for every combination of wanted devices that it can
 * provide, the cheapest way.
 */
#ifndef MIG_CORE_FIT_OPTIONS_H
#define MIG_CORE_FIT_OPTIONS_H

#include "core/place.h"
#include <mig/fit.h>

/* Compared by changes, then by loss; costs of several GPUs add up. */
struct mig_fit_cost {
    uint64_t changes; /* packed, see MIG_FIT_COST_* */
    uint32_t loss;    /* future placements taken away */
};

/* Units of `changes`, dearest first; each has room for MIG_FIT_GPU_MAX full GPUs. */
#define MIG_FIT_COST_CI_CREATE UINT64_C(1)
#define MIG_FIT_COST_GI_CREATE (UINT64_C(1) << 14)
#define MIG_FIT_COST_CI_DESTROY (UINT64_C(1) << 25)
#define MIG_FIT_COST_GI_DESTROY (UINT64_C(1) << 39)
#define MIG_FIT_COST_IN_USE (UINT64_C(1) << 50) /* disturbs one in use that may go */

static inline bool mig_fit_cost_less(struct mig_fit_cost a, struct mig_fit_cost b)
{
    return a.changes != b.changes ? a.changes < b.changes : a.loss < b.loss;
}

/* So many of each want on this GPU, and the least that this costs. */
struct mig_fit_option {
    uint8_t counts[MIG_FIT_KIND_MAX];
    struct mig_fit_cost cost;
};

/* A GPU and what the wants mean on it. */
struct mig_fit_place {
    const struct mig_fit_gpu *gpu;
    struct mig_device_kind kinds[MIG_FIT_KIND_MAX];
    bool known[MIG_FIT_KIND_MAX];    /* the model has this kind */
    uint8_t wants[MIG_FIT_KIND_MAX]; /* how many, at most what a GPU can hold */
};

struct mig_fit_options {
    size_t count, capacity;
    struct mig_fit_option *options; /* most devices first */
    size_t index_size;              /* power of two, while being filled */
    uint32_t *index;                /* hash table: position in options + 1 */
};

void mig_fit_options_release(struct mig_fit_options *options);

/* All options of a GPU. MIG_E_FAILED when memory is short or they are more than can be handled. */
int mig_fit_options_make(const struct mig_fit_place *place, struct mig_fit_options *ret,
                         struct mig_error *error);

/*
 * The way behind an option: the target of the GPU (everything that is there afterwards, at its
 * start), and how many of each want are new. False when there is none such.
 */
bool mig_fit_option_explain(const struct mig_fit_place *place, const struct mig_fit_option *option,
                            struct mig_target *ret_target, uint16_t *ret_created);

#endif
