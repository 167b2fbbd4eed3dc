/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The geometry of a GPU in NVML's own profile numbers: what a journal can keep, because it means
 * the same in another process with another model table. And the way from what is there to what a
 * geometry wants, for undoing or finishing a change. Pure.
 */
#ifndef MIG_GPU_GEOMETRY_H
#define MIG_GPU_GEOMETRY_H

#include <mig/plan.h>

struct mig_geometry_ci {
    uint8_t profile; /* NVML_COMPUTE_INSTANCE_PROFILE_* */
    uint8_t start;   /* MIG_START_ANY: not known */
};

struct mig_geometry_gi {
    uint8_t profile; /* NVML_GPU_INSTANCE_PROFILE_* */
    uint8_t start;
    uint8_t ci_count;
    struct mig_geometry_ci cis[MIG_CI_MAX];
};

struct mig_geometry {
    uint8_t gi_count;
    struct mig_geometry_gi gis[MIG_GI_MAX];
};

void mig_geometry_of(const struct mig_layout *layout, struct mig_geometry *ret);

const struct mig_geometry_gi *mig_geometry_find(const struct mig_geometry *geometry,
                                                unsigned profile, unsigned start);

/* Same GPU instances at the same places, same compute instances; places that one of the two does
 * not know count as equal. */
bool mig_geometry_equal(const struct mig_geometry *a, const struct mig_geometry *b);

/*
 * The steps from `layout` to `target`, destroys first. Only instances that are in `target` or
 * `other` are ours: others are left alone, and do not count. MIG_E_FAILED when the model lacks a
 * profile of `target`.
 */
struct mig_steps {
    uint16_t count;
    struct mig_step steps[MIG_STEP_MAX];
};
int mig_geometry_steps(const struct mig_layout *layout, const struct mig_geometry *target,
                       const struct mig_geometry *other, struct mig_steps *ret,
                       struct mig_error *error);

/* Writes "3g.20gb at 4, 1g.5gb at 0 (no compute instance)" or "no instances". */
void mig_geometry_describe(const struct mig_layout *layout, char *buffer, size_t size);

#endif
