/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints: what is accepted is a goal that stays inside the GPU's tables. */
#include "fuzz.h"
#include <mig/config.h>
#include <string.h>

static void check_goal(const struct mig_gpu *gpu, const struct mig_gpu_goal *goal)
{
    const struct mig_model *model = gpu->layout.model;

    FUZZ_CHECK(goal->target.gi_count <= MIG_GI_MAX);
    for (uint8_t i = 0; i < goal->target.gi_count; i++) {
        const struct mig_target_gi *gi = &goal->target.gis[i];

        FUZZ_CHECK(gi->profile < model->profile_count);
        FUZZ_CHECK(gi->ci_count <= MIG_CI_MAX);
        for (uint8_t k = 0; k < gi->ci_count; k++) {
            FUZZ_CHECK(gi->ci_profiles[k] < model->profiles[gi->profile].ci_profile_count);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct mig_gpu gpus[2];
    static struct mig_goal goal;
    struct mig_node node = {.gpu_count = 2, .gpus = gpus};
    struct mig_node_plan plan;
    struct mig_error error;

    memset(gpus, 0, sizeof(gpus));
    for (uint32_t i = 0; i < 2; i++) {
        gpus[i].index = i;
        gpus[i].mig_capable = gpus[i].mig_mode = gpus[i].mig_mode_pending = true;
        gpus[i].layout.model = mig_catalog_find_name(i == 0 ? "A100-SXM4-40GB" : "A30");
        snprintf(gpus[i].uuid, sizeof(gpus[i].uuid), "GPU-%u", i);
    }
    if (mig_checkpoint_goal("file", (const char *)data, size, &node, false, &goal, &error) < 0) {
        FUZZ_CHECK(strncmp(error.message, "file:", 5) == 0);
        return 0;
    }
    check_goal(&gpus[0], &goal.gpus[0]);
    check_goal(&gpus[1], &goal.gpus[1]);
    mig_node_plan_make(&node, &goal, NULL, &plan, &error);
    mig_node_plan_release(&plan);
    return 0;
}
