/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replay of plans on a copy of the layout. It asks only the model's tables and shares no code with
 * src/core; and it needs no test library, because the fuzzer uses it too.
 */
#include "plan_replay.h"
#include <string.h>

struct replay {
    const struct mig_model *model;
    struct mig_layout layout; /* gi_count slots, dead ones have profile 0xff */
    uint32_t may_go;          /* by index of the first layout */
};

#define DEAD 0xff

static struct mig_gi *find_gi(struct replay *replay, const struct mig_step *step, unsigned *index)
{
    for (unsigned i = 0; i < replay->layout.gi_count; i++) {
        struct mig_gi *gi = &replay->layout.gis[i];

        if (gi->profile == step->gi_profile && gi->start == step->gi_start &&
            gi->id == step->gi_id) {
            *index = i;
            return gi;
        }
    }
    return NULL;
}

static bool may_touch(const struct replay *replay, unsigned index, bool in_use)
{
    return !in_use || (replay->may_go >> index & 1u);
}

static const char *destroy_ci(struct replay *replay, const struct mig_step *step)
{
    unsigned index;
    struct mig_gi *gi = find_gi(replay, step, &index);

    for (unsigned i = 0; gi && i < gi->ci_count; i++) {
        if (gi->cis[i].id == step->ci_id && gi->cis[i].profile == step->ci_profile) {
            bool any_marked = false;

            for (unsigned j = 0; j < gi->ci_count; j++) {
                any_marked = any_marked || gi->cis[j].in_use;
            }
            if (!may_touch(replay, index, gi->cis[i].in_use || (gi->in_use && !any_marked))) {
                return "a compute instance in use is destroyed";
            }
            memmove(&gi->cis[i], &gi->cis[i + 1], (gi->ci_count - i - 1u) * sizeof(gi->cis[0]));
            gi->ci_count--;
            return NULL;
        }
    }
    return "a compute instance that is not there is destroyed";
}

static const char *destroy_gi(struct replay *replay, const struct mig_step *step)
{
    unsigned index;
    struct mig_gi *gi = find_gi(replay, step, &index);

    if (!gi) {
        return "a GPU instance that is not there is destroyed";
    }
    if (gi->ci_count > 0) {
        return "a GPU instance with compute instances is destroyed";
    }
    if (!may_touch(replay, index, gi->in_use)) {
        return "a GPU instance in use is destroyed";
    }
    gi->profile = DEAD;
    return NULL;
}

static const char *create_gi(struct replay *replay, const struct mig_step *step)
{
    const struct mig_profile *profile = &replay->model->profiles[step->gi_profile];
    bool legal = false;
    unsigned slot = replay->layout.gi_count;

    for (unsigned i = 0; i < profile->start_count; i++) {
        legal = legal || profile->starts[i] == step->gi_start;
    }
    if (!legal) {
        return "a GPU instance is created where it cannot start";
    }
    for (unsigned i = 0; i < replay->layout.gi_count; i++) {
        const struct mig_gi *gi = &replay->layout.gis[i];

        if (gi->profile == DEAD) {
            slot = i;
            continue;
        }
        if (gi->start < step->gi_start + profile->size &&
            step->gi_start < gi->start + replay->model->profiles[gi->profile].size) {
            return "a GPU instance is created over another";
        }
    }
    if (slot == MIG_GI_MAX) {
        return "too many GPU instances";
    }
    replay->layout.gi_count =
        (uint8_t)(slot == replay->layout.gi_count ? slot + 1 : replay->layout.gi_count);
    replay->may_go |= 1u << slot;
    replay->layout.gis[slot] =
        (struct mig_gi){.profile = step->gi_profile, .start = step->gi_start, .id = MIG_ID_NONE};
    return NULL;
}

static const char *create_ci(struct replay *replay, const struct mig_step *step)
{
    unsigned index;
    struct mig_gi *gi = find_gi(replay, step, &index);
    const struct mig_profile *profile = &replay->model->profiles[step->gi_profile];
    const struct mig_ci_profile *ci = &profile->ci_profiles[step->ci_profile];
    unsigned slices = ci->slice_count;
    bool legal = step->ci_start == MIG_START_ANY;

    if (!gi || gi->ci_count == MIG_CI_MAX) {
        return "a compute instance is created where there is no GPU instance or no room";
    }
    for (unsigned i = 0; i < ci->start_count; i++) {
        legal = legal || ci->starts[i] == step->ci_start;
    }
    for (unsigned i = 0; i < gi->ci_count; i++) {
        const struct mig_ci_profile *other = &profile->ci_profiles[gi->cis[i].profile];

        slices += other->slice_count;
        if (step->ci_start != MIG_START_ANY && gi->cis[i].start != MIG_START_ANY &&
            gi->cis[i].start < step->ci_start + ci->size &&
            step->ci_start < gi->cis[i].start + other->size) {
            return "a compute instance is created over another";
        }
    }
    if (!legal || slices > profile->slice_count) {
        return "a compute instance is created where it cannot be";
    }
    gi->cis[gi->ci_count++] =
        (struct mig_ci){.profile = step->ci_profile, .start = step->ci_start, .id = MIG_ID_NONE};
    return NULL;
}

static const char *carry_out(struct replay *replay, const struct mig_step *step)
{
    switch (step->kind) {
    case MIG_STEP_DESTROY_CI:
        return destroy_ci(replay, step);
    case MIG_STEP_DESTROY_GI:
        return destroy_gi(replay, step);
    case MIG_STEP_CREATE_GI:
        return create_gi(replay, step);
    case MIG_STEP_CREATE_CI:
        return create_ci(replay, step);
    }
    return "an unknown step";
}

static bool same_gi(const struct mig_gi *a, const struct mig_gi *b)
{
    if (a->profile != b->profile || a->start != b->start || a->id != b->id ||
        a->in_use != b->in_use || a->ci_count != b->ci_count) {
        return false;
    }
    for (unsigned i = 0; i < a->ci_count; i++) {
        if (a->cis[i].profile != b->cis[i].profile || a->cis[i].start != b->cis[i].start ||
            a->cis[i].id != b->cis[i].id) {
            return false;
        }
    }
    return true;
}

const char *plan_replay(const struct mig_layout *layout, const struct mig_policy *policy,
                        const struct mig_plan *plan)
{
    struct replay replay = {layout->model, *layout, policy ? policy->may_go : 0};
    unsigned alive = 0, equal = 0;

    for (unsigned i = 0; i < plan->step_count; i++) {
        const char *problem = carry_out(&replay, &plan->steps[i]);

        if (problem) {
            return problem;
        }
    }
    for (unsigned i = 0; i < replay.layout.gi_count; i++) {
        if (replay.layout.gis[i].profile == DEAD) {
            continue;
        }
        alive++;
        for (unsigned j = 0; j < plan->result.gi_count; j++) {
            equal += same_gi(&replay.layout.gis[i], &plan->result.gis[j]);
        }
    }
    return alive == plan->result.gi_count && equal == alive ? NULL
                                                            : "it does not end in its result";
}
