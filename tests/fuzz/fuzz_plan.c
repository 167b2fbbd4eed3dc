/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner: any layout and target, sensible or not, gets a plan that can be carried out, or a
 * refusal with its reason. The same layout on two GPUs goes through fit.
 */
#include "../unit/plan_replay.h"
#include "fuzz.h"
#include <mig/fit.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct input *input)
{
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

/* Counts go one beyond what is allowed, indices as far as a byte does. */
static void take_layout(struct input *input, struct mig_layout *layout, struct mig_policy *policy)
{
    layout->gi_count = take(input) % (MIG_GI_MAX + 2);
    for (unsigned i = 0; i < layout->gi_count && i < MIG_GI_MAX; i++) {
        struct mig_gi *gi = &layout->gis[i];
        uint8_t flags;

        gi->profile = take(input);
        gi->start = take(input);
        gi->id = 100 + i;
        flags = take(input);
        gi->in_use = flags & 1;
        policy->may_go |= (uint32_t)(flags >> 1 & 1) << i;
        policy->protect |= (uint32_t)(flags >> 2 & 1) << i;
        gi->ci_count = (uint8_t)((flags >> 3) % (MIG_CI_MAX + 2));
        for (unsigned j = 0; j < gi->ci_count && j < MIG_CI_MAX; j++) {
            uint8_t ci = take(input);

            gi->cis[j].profile = ci & 7;
            gi->cis[j].start = (ci >> 3 & 15) == 15 ? MIG_START_ANY : ci >> 3 & 15;
            gi->cis[j].in_use = ci >> 7;
            gi->cis[j].id = j;
        }
    }
}

static void take_target(struct input *input, struct mig_target *target)
{
    target->gi_count = take(input) % (MIG_GI_MAX + 2);
    for (unsigned i = 0; i < target->gi_count && i < MIG_GI_MAX; i++) {
        struct mig_target_gi *gi = &target->gis[i];
        uint8_t start = take(input);

        gi->start = start % 32 < 20 ? MIG_START_ANY : start % 32 - 20;
        gi->profile = take(input);
        gi->ci_count = take(input) % (MIG_CI_MAX + 2);
        for (unsigned j = 0; j < gi->ci_count && j < MIG_CI_MAX; j++) {
            gi->ci_profiles[j] = take(input);
        }
    }
}

static void try_plan(const struct mig_layout *layout, const struct mig_target *target,
                     const struct mig_policy *policy)
{
    static struct mig_plan plan;
    static struct mig_certificate certificate;
    struct mig_error error;
    int result = mig_plan_make(layout, target, policy, &plan, &certificate, &error);

    if (result == MIG_OK) {
        FUZZ_CHECK(plan.result.gi_count == target->gi_count);
        FUZZ_CHECK(!plan_replay(layout, policy, &plan));
        return;
    }
    FUZZ_CHECK(error.message[0] != '\0');
    if (certificate.kind == MIG_REFUSAL_NONE) {
        FUZZ_CHECK(result == MIG_E_USAGE || result == MIG_E_FAILED);
        return;
    }
    FUZZ_CHECK(result == MIG_E_NO_FIT || result == MIG_E_BUSY);
    FUZZ_CHECK((certificate.kind == MIG_REFUSAL_BLOCKED) == (certificate.blocker_count > 0));
    FUZZ_CHECK(!mig_model_is_placeable(layout->model) ||
               mig_layout_check(&certificate.nearest, &error) == MIG_OK);
}

static void try_fit(const struct mig_layout *layout, const struct mig_target *target,
                    const struct mig_policy *policy)
{
    static struct mig_fit_gpu gpus[2];
    struct mig_fit_want wants[4];
    struct mig_fit_result fit;
    struct mig_error error;
    size_t want_count = 0;

    for (unsigned i = 0; i < target->gi_count && i < 4 && layout->model->profile_count > 0; i++) {
        unsigned index = target->gis[i].profile % layout->model->profile_count;
        const struct mig_profile *profile = &layout->model->profiles[index];
        unsigned count = profile->ci_profile_count; /* none are known for some GPUs */
        const char *name = count > 0
                               ? profile->ci_profiles[target->gis[i].ci_profiles[0] % count].name
                               : profile->name;

        wants[want_count++] = (struct mig_fit_want){name, 1 + i};
    }
    for (unsigned i = 0; i < 2; i++) {
        gpus[i] = (struct mig_fit_gpu){.layout = *layout, .policy = *policy, .usable = true};
    }
    mig_fit(gpus, 2, wants, want_count, &fit, &error);
    for (unsigned i = 0; i < fit.gpu_count; i++) {
        FUZZ_CHECK(fit.gpus[i].plan.step_count == 0 ||
                   !plan_replay(layout, policy, &fit.gpus[i].plan));
    }
    mig_fit_result_release(&fit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    static struct mig_layout layout;
    static struct mig_target target;
    struct mig_policy policy = {0};

    memset(&layout, 0, sizeof(layout));
    memset(&target, 0, sizeof(target));
    layout.model = mig_catalog_get(take(&input) % mig_catalog_count());
    take_layout(&input, &layout, &policy);
    take_target(&input, &target);
    try_plan(&layout, &target, &policy);
    try_fit(&layout, &target, &policy);
    return 0;
}
