/* SPDX-License-Identifier: Apache-2.0 */
/* What create and destroy share. */
#include "cli/edit.h"

int edit_begin(const struct mig_gpu *gpu, struct mig_gpu_goal *goal, struct mig_error *error)
{
    if (goal->kind == MIG_GOAL_LAYOUT) {
        return MIG_OK;
    }
    if (gpu->problem[0]) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %u: %s", gpu->index,
                             gpu->problem);
    }
    if (!gpu->mig_capable || !gpu->layout.model) {
        return mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0, "GPU %u (%s) has no MIG",
                             gpu->index, gpu->name);
    }
    if (!gpu->mig_mode) {
        mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0, "MIG is off on GPU %u", gpu->index);
        return mig_error_hint(error, MIG_E_NO_FIT,
                              "turn it on with a config, for example migctl apply -c all-enabled");
    }
    goal->kind = MIG_GOAL_LAYOUT;
    goal->mig_mode = true;
    mig_target_from_layout(&gpu->layout, &goal->target);
    return MIG_OK;
}
