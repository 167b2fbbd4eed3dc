/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner's front: checks what it is given, runs the exact search (search.c), and writes the
 * answer as steps, or has the refusal explained (certificate.c).
 *
 * The order of steps is one that a driver accepts: compute instances go before their GPU instance,
 * everything goes before anything comes, and what comes has an explicit start, so that the order of
 * creations decides nothing. Larger ones come first all the same: if a later creation fails, the
 * room that is left is of more use.
 */
#include "catalog/timing.h"
#include "core/plan_internal.h"
#include <string.h>

static bool has_bit(uint32_t mask, unsigned index)
{
    return (mask >> index & 1u) != 0;
}

/* ---- checking -------------------------------------------------------------------------------- */

static int check_target(const struct mig_model *model, const struct mig_target *target,
                        struct mig_error *error)
{
    if (target->gi_count > MIG_GI_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "%u GPU instances are wanted, a GPU can have at most %d",
                             target->gi_count, MIG_GI_MAX);
    }
    for (unsigned i = 0; i < target->gi_count; i++) {
        const struct mig_target_gi *wanted = &target->gis[i];

        if (wanted->profile >= model->profile_count || wanted->ci_count > MIG_CI_MAX) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "wanted GPU instance %u is of no profile of %s", i, model->name);
        }
        for (unsigned j = 0; j < wanted->ci_count; j++) {
            if (wanted->ci_profiles[j] >= model->profiles[wanted->profile].ci_profile_count) {
                return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                     "wanted GPU instance %u has a compute instance of no profile "
                                     "of %s",
                                     i, model->profiles[wanted->profile].name);
            }
        }
    }
    return MIG_OK;
}

/* Without a table of placements what is there can only be believed; its indices are still checked.
 */
static int check_unplaced_layout(const struct mig_layout *layout, struct mig_error *error)
{
    const struct mig_model *model = layout->model;
    bool valid = layout->gi_count <= MIG_GI_MAX;

    for (unsigned i = 0; valid && i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        valid = gi->profile < model->profile_count && gi->ci_count <= MIG_CI_MAX;
        for (unsigned j = 0; valid && j < gi->ci_count; j++) {
            valid = gi->cis[j].profile < model->profiles[gi->profile].ci_profile_count;
        }
    }
    if (!valid) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "it has instances of no profile of %s", model->name);
    }
    return MIG_OK;
}

int mig_plan_check_layout(const struct mig_layout *layout, struct mig_error *error)
{
    int result;

    if (!layout->model) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not plan for a GPU of no known model");
    }
    result = mig_model_is_placeable(layout->model) ? mig_layout_check(layout, error)
                                                   : check_unplaced_layout(layout, error);
    if (result != MIG_OK) {
        mig_error_prefix(error, "could not plan from the present state of the GPU");
        return MIG_E_FAILED;
    }
    return MIG_OK;
}

/* ---- the result ------------------------------------------------------------------------------ */

static void add_created_cis(struct mig_gi *gi, const struct mig_ci_change *change)
{
    for (unsigned i = 0; i < change->create_count && gi->ci_count < MIG_CI_MAX; i++) {
        gi->cis[gi->ci_count++] = (struct mig_ci){
            .profile = change->create_profiles[i],
            .start = change->create_starts[i],
            .id = MIG_ID_NONE,
        };
    }
}

static void keep_gi(const struct mig_gi *old, const struct mig_ci_change *change,
                    struct mig_gi *ret)
{
    *ret = *old;
    ret->ci_count = 0;
    for (unsigned i = 0; i < old->ci_count; i++) {
        if (has_bit(change->kept, i)) {
            ret->cis[ret->ci_count++] = old->cis[i];
        }
    }
    add_created_cis(ret, change);
}

/* A layout being put together, and where its instances come from. */
struct result {
    struct mig_layout *layout;
    struct mig_plan_origin origins[MIG_GI_MAX];
};

static void insert_by_start(struct result *result, const struct mig_gi *gi,
                            struct mig_plan_origin origin)
{
    struct mig_layout *layout = result->layout;
    unsigned at = layout->gi_count;

    if (at == MIG_GI_MAX) {
        return; /* the placement rule allows no more */
    }
    for (; at > 0 && layout->gis[at - 1].start > gi->start; at--) {
        layout->gis[at] = layout->gis[at - 1];
        result->origins[at] = result->origins[at - 1];
    }
    layout->gis[at] = *gi;
    result->origins[at] = origin;
    layout->gi_count++;
}

/* One target instance of `group` on its slot. */
static void insert_target(const struct mig_search *search, unsigned group,
                          const struct mig_search_slot *slot, struct result *result)
{
    const struct mig_ci_change *change = &search->groups[group].anew;
    struct mig_gi gi = {
        .profile = search->groups[group].profile, .start = slot->start, .id = MIG_ID_NONE};

    if (slot->existing >= 0) {
        change = &search->changes[slot->existing][group];
        keep_gi(&search->layout->gis[slot->existing], change, &gi);
    } else {
        add_created_cis(&gi, change);
    }
    insert_by_start(result, &gi,
                    (struct mig_plan_origin){
                        .existing = slot->existing,
                        .kept_ci_count = (uint8_t)(gi.ci_count - change->create_count),
                    });
}

void mig_plan_result(const struct mig_search *search, struct mig_layout *ret,
                     struct mig_plan_origin *ret_origins)
{
    const struct mig_layout *layout = search->layout;
    struct result result = {.layout = ret};
    uint32_t done = 0;

    ret->model = layout->model;
    ret->gi_count = 0;
    for (unsigned g = 0; g < search->group_count; g++) {
        for (unsigned i = 0; i < search->groups[g].count; i++) {
            const struct mig_search_slot *slot = &search->slots[search->groups[g].targets[i]];

            if (slot->placed) {
                insert_target(search, g, slot, &result);
                done |= slot->existing >= 0 ? UINT32_C(1) << slot->existing : 0;
            }
        }
    }
    for (unsigned i = 0; search->mode == MIG_SEARCH_NEAREST && i < layout->gi_count; i++) {
        if (has_bit(search->hard & ~done, i)) {
            insert_by_start(&result, &layout->gis[i],
                            (struct mig_plan_origin){.existing = (int16_t)i,
                                                     .kept_ci_count = layout->gis[i].ci_count});
        }
    }
    if (ret_origins) {
        memcpy(ret_origins, result.origins, sizeof(result.origins));
    }
}

/* ---- the steps ------------------------------------------------------------------------------- */

static void add_step(struct mig_plan *plan, const struct mig_step *step)
{
    if (plan->step_count < MIG_STEP_MAX) {
        plan->steps[plan->step_count++] = *step;
    }
}

static void add_gi_step(struct mig_plan *plan, enum mig_step_kind kind, const struct mig_gi *gi,
                        const struct mig_model *model)
{
    struct mig_timing timing = mig_timing_estimate(model, model->profiles[gi->profile].slice_count);

    add_step(plan, &(struct mig_step){.kind = kind,
                                      .gi_profile = gi->profile,
                                      .gi_start = gi->start,
                                      .gi_id = gi->id,
                                      .ci_id = MIG_ID_NONE});
    plan->estimate_ms += kind == MIG_STEP_CREATE_GI ? timing.create_ms : timing.destroy_ms;
}

/*
 * Timings were measured for a GPU instance together with a compute instance that fills it. So the
 * first compute instance of a GPU instance that goes or comes is in that one's figure (`included`);
 * any other is taken to cost as much as such a pair of its own size, which is on the safe side.
 */
static void add_ci_step(struct mig_plan *plan, enum mig_step_kind kind, const struct mig_gi *gi,
                        unsigned index, const struct mig_model *model, bool included)
{
    const struct mig_ci *ci = &gi->cis[index];
    const struct mig_profile *profile = &model->profiles[gi->profile];
    struct mig_timing timing =
        mig_timing_estimate(model, profile->ci_profiles[ci->profile].slice_count);

    add_step(plan, &(struct mig_step){.kind = kind,
                                      .gi_profile = gi->profile,
                                      .gi_start = gi->start,
                                      .ci_profile = ci->profile,
                                      .ci_start = ci->start,
                                      .gi_id = gi->id,
                                      .ci_id = ci->id});
    if (!included) {
        plan->estimate_ms += kind == MIG_STEP_CREATE_CI ? timing.create_ms : timing.destroy_ms;
    }
}

/* All CIs that go, in layout order, then all GPU instances that go. */
static void add_destroys(const struct mig_search *search, struct mig_plan *plan)
{
    const struct mig_layout *layout = search->layout;
    const struct mig_ci_change *changes[MIG_GI_MAX] = {NULL}; /* of those that stay */

    for (unsigned g = 0; g < search->group_count; g++) {
        for (unsigned i = 0; i < search->groups[g].count; i++) {
            int existing = search->slots[search->groups[g].targets[i]].existing;

            if (existing >= 0) {
                changes[existing] = &search->changes[existing][g];
                plan->kept_count++;
            }
        }
    }
    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        for (unsigned j = 0; j < gi->ci_count; j++) {
            if (!changes[i] || !has_bit(changes[i]->kept, j)) {
                add_ci_step(plan, MIG_STEP_DESTROY_CI, gi, j, layout->model, !changes[i] && j == 0);
                plan->ci_destroy_count = (uint8_t)(plan->ci_destroy_count + (changes[i] ? 1 : 0));
            }
        }
    }
    for (unsigned i = 0; i < layout->gi_count; i++) {
        if (!changes[i]) {
            add_gi_step(plan, MIG_STEP_DESTROY_GI, &layout->gis[i], layout->model);
            plan->gi_destroy_count++;
        }
    }
}

/* What has to come of one instance of the result: itself, if it is new, and its new CIs. */
static void add_creates_of(struct mig_plan *plan, unsigned index, struct mig_plan_origin origin)
{
    const struct mig_gi *gi = &plan->result.gis[index];
    bool is_new = origin.existing < 0;

    if (is_new) {
        add_gi_step(plan, MIG_STEP_CREATE_GI, gi, plan->result.model);
        plan->gi_create_count++;
    }
    for (unsigned i = origin.kept_ci_count; i < gi->ci_count; i++) {
        add_ci_step(plan, MIG_STEP_CREATE_CI, gi, i, plan->result.model, is_new && i == 0);
        plan->ci_create_count = (uint8_t)(plan->ci_create_count + (is_new ? 0 : 1));
    }
}

/* Larger first, then the lowest start; the result is in order of starts. */
static void add_creates(struct mig_plan *plan, const struct mig_plan_origin *origins)
{
    const struct mig_profile *profiles = plan->result.model->profiles;
    uint32_t left = (UINT32_C(1) << plan->result.gi_count) - 1;

    while (left) {
        unsigned next = (unsigned)__builtin_ctz(left);

        for (unsigned i = next + 1; i < plan->result.gi_count; i++) {
            if (has_bit(left, i) && profiles[plan->result.gis[i].profile].size >
                                        profiles[plan->result.gis[next].profile].size) {
                next = i;
            }
        }
        add_creates_of(plan, next, origins[next]);
        left &= ~(UINT32_C(1) << next);
    }
}

static void write_plan(const struct mig_search *search, struct mig_plan *ret)
{
    struct mig_plan_origin origins[MIG_GI_MAX];
    struct mig_occupancy occupancy;

    *ret = (struct mig_plan){0};
    mig_plan_result(search, &ret->result, origins);
    add_destroys(search, ret);
    add_creates(ret, origins);
    occupancy = mig_place_occupancy(&ret->result);
    ret->future_placements = (uint16_t)mig_place_pairs(ret->result.model, &occupancy);
}

/* ---- the front ------------------------------------------------------------------------------- */

void mig_plan_split_policy(const struct mig_layout *layout, const struct mig_policy *policy,
                           uint32_t *ret_hard, uint32_t *ret_soft)
{
    uint32_t in_use = 0;

    for (unsigned i = 0; i < layout->gi_count; i++) {
        bool used = layout->gis[i].in_use;

        for (unsigned j = 0; j < layout->gis[i].ci_count; j++) {
            used = used || layout->gis[i].cis[j].in_use;
        }
        in_use |= used ? UINT32_C(1) << i : 0;
    }
    *ret_soft = policy ? in_use & policy->may_go : 0;
    *ret_hard = policy ? (in_use | policy->protect) & ~*ret_soft : in_use;
    *ret_hard &= (UINT32_C(1) << layout->gi_count) - 1;
}

int mig_plan_make(const struct mig_layout *layout, const struct mig_target *target,
                  const struct mig_policy *policy, struct mig_plan *ret,
                  struct mig_certificate *ret_certificate, struct mig_error *error)
{
    struct mig_search search;
    struct mig_certificate certificate;
    uint32_t hard, soft;
    int result;

    if (ret_certificate) {
        *ret_certificate = (struct mig_certificate){.kind = MIG_REFUSAL_NONE};
    }
    result = mig_plan_check_layout(layout, error);
    if (result == MIG_OK) {
        result = check_target(layout->model, target, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    mig_plan_split_policy(layout, policy, &hard, &soft);
    mig_search_init(&search, layout, target, hard, soft);
    mig_search_run(&search, MIG_SEARCH_FULL);
    if (search.found && search.hard_disturbed == 0 && !search.given_up) {
        write_plan(&search, ret);
        return MIG_OK;
    }
    return mig_certificate_make(&search, target, ret_certificate ? ret_certificate : &certificate,
                                error);
}
