/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a snapshot and goals to one plan per GPU.
 *
 * Around the planner of one GPU this adds what concerns the GPU as a whole: can it have MIG, does
 * its mode have to change, is it free for that. Mode and instances depend on each other in one way
 * only: no instance outlives MIG mode. So switching it off is a plan for the empty geometry
 * followed by the change, and switching it on is the change followed by a plan from nothing. A GPU
 * that cannot be planned does not stop the others from being planned: the caller sees all refusals.
 */
#include "core/describe.h"
#include <ctype.h>
#include <errno.h>
#include <mig/node.h>
#include <stdlib.h>
#include <string.h>

#define HOLDER_NAMED_MAX 8 /* processes named in a refusal; the rest is a number */

void mig_node_free(struct mig_node *node)
{
    if (!node) {
        return;
    }
    for (uint32_t i = 0; node->gpus && i < node->gpu_count; i++) {
        free(node->gpus[i].processes);
    }
    free(node->gpus);
    free(node->models);
    free(node);
}

/* ---- who holds the GPU ----------------------------------------------------------------------- */

/* True for a process in an instance that the policy lets go. */
static bool may_go(const struct mig_gpu *gpu, const struct mig_policy *policy,
                   const struct mig_process *process)
{
    for (unsigned i = 0; policy && i < gpu->layout.gi_count; i++) {
        if (gpu->layout.gis[i].id == process->gi_id && process->gi_id != MIG_ID_NONE) {
            return (policy->may_go >> i & 1u) != 0;
        }
    }
    return false;
}

static void add_holder(const struct mig_process *process, struct mig_error *error)
{
    if (process->name[0]) {
        mig_error_add_holder(error, "%s (pid %u)", process->name, process->pid);
    } else {
        mig_error_add_holder(error, "pid %u", process->pid);
    }
}

/* MIG_E_BUSY naming the processes that stand against a change of mode, or MIG_OK. */
static int check_free(const struct mig_gpu *gpu, const struct mig_policy *policy, bool mode,
                      struct mig_error *error)
{
    uint32_t holder_count = gpu->process_count - gpu->process_known;

    for (uint32_t i = 0; i < gpu->process_known; i++) {
        holder_count += may_go(gpu, policy, &gpu->processes[i]) ? 0 : 1;
    }
    if (holder_count == 0) {
        return MIG_OK;
    }
    mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                  "cannot %s MIG mode: the GPU has to be free for that and is used by %u process%s",
                  mode ? "enable" : "disable", holder_count, holder_count == 1 ? "" : "es");
    for (uint32_t i = 0, named = 0; i < gpu->process_known && named < HOLDER_NAMED_MAX; i++) {
        if (!may_go(gpu, policy, &gpu->processes[i])) {
            add_holder(&gpu->processes[i], error);
            named++;
        }
    }
    if (holder_count > HOLDER_NAMED_MAX) {
        mig_error_add_holder(error, "%u more", holder_count - HOLDER_NAMED_MAX);
    }
    return mig_error_hint(error, MIG_E_BUSY,
                          "end these processes, or drain the node, and try again");
}

/* The same behind a plan, which then is none. */
static int check_free_for(const struct mig_gpu *gpu, const struct mig_policy *policy, bool mode,
                          struct mig_gpu_plan *ret)
{
    int result = check_free(gpu, policy, mode, &ret->error);

    if (result != MIG_OK) {
        memset(&ret->plan, 0, sizeof(ret->plan));
    }
    return result;
}

/* ---- one GPU --------------------------------------------------------------------------------- */

static int plan_instances(const struct mig_layout *layout, const struct mig_target *target,
                          const struct mig_policy *policy, struct mig_gpu_plan *ret)
{
    return mig_plan_make(layout, target, policy, &ret->plan, &ret->certificate, &ret->error);
}

/* Everything goes, then the mode. A GPU of an unknown model has no instances that could be planned.
 */
static int plan_off(const struct mig_gpu *gpu, const struct mig_policy *policy,
                    struct mig_gpu_plan *ret)
{
    struct mig_target nothing = {0};
    int result = MIG_OK;

    if (gpu->layout.gi_count > 0) {
        result = plan_instances(&gpu->layout, &nothing, policy, ret);
        if (result != MIG_OK) {
            mig_error_prefix(&ret->error, "cannot disable MIG mode");
            return result;
        }
    }
    return check_free_for(gpu, policy, false, ret);
}

static int plan_on(const struct mig_gpu *gpu, const struct mig_gpu_goal *goal,
                   const struct mig_policy *policy, struct mig_gpu_plan *ret)
{
    struct mig_layout empty = {.model = gpu->layout.model};
    int result = MIG_OK;

    /* With MIG off there are no instances, and none for a policy to speak of. */
    if (goal->kind == MIG_GOAL_LAYOUT) {
        result = plan_instances(gpu->mig_mode ? &gpu->layout : &empty, &goal->target,
                                gpu->mig_mode ? policy : NULL, ret);
    }
    /* Last: what cannot fit does not fit on a GPU that is free either. */
    return result == MIG_OK && !gpu->mig_mode ? check_free_for(gpu, NULL, true, ret) : result;
}

static int plan_gpu(const struct mig_gpu *gpu, const struct mig_gpu_goal *goal,
                    const struct mig_policy *policy, struct mig_gpu_plan *ret)
{
    const struct mig_model *model = gpu->layout.model;
    bool changes = gpu->mig_mode != goal->mig_mode;

    if (gpu->problem[0]) {
        return mig_error_set(&ret->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not plan for a GPU that could not be read: %s", gpu->problem);
    }
    if (!gpu->mig_capable) {
        if (!goal->mig_mode) {
            return MIG_OK;
        }
        mig_error_set(&ret->error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0,
                      "cannot enable MIG mode: %s has no MIG", gpu->name);
        return mig_error_hint(&ret->error, MIG_E_NO_FIT, "leave this GPU out");
    }
    ret->set_mode = changes || gpu->mig_mode_pending != goal->mig_mode;
    ret->mode = goal->mig_mode;
    ret->may_reset =
        changes && (!model || model->mode_needs_reset || gpu->mig_mode_pending == goal->mig_mode);
    if (goal->mig_mode) {
        return plan_on(gpu, goal, policy, ret);
    }
    return changes ? plan_off(gpu, policy, ret) : MIG_OK;
}

/* ---- the node -------------------------------------------------------------------------------- */

static int check_parallel(const struct mig_node *node, const struct mig_goal *goal,
                          struct mig_error *error)
{
    if (node->gpu_count > MIG_GPU_MAX || goal->gpu_count != node->gpu_count) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the goal is for %u GPUs, the node has %u (at most %d can be planned)",
                             goal->gpu_count, node->gpu_count, MIG_GPU_MAX);
    }
    return MIG_OK;
}

int mig_node_plan_make(const struct mig_node *node, const struct mig_goal *goal,
                       const struct mig_policy *policies, struct mig_node_plan *ret,
                       struct mig_error *error)
{
    int result;

    *ret = (struct mig_node_plan){0};
    result = check_parallel(node, goal, error);
    if (result != MIG_OK || node->gpu_count == 0) {
        return result;
    }
    ret->gpus = calloc(node->gpu_count, sizeof(ret->gpus[0]));
    if (!ret->gpus) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not plan for %u GPUs",
                                   node->gpu_count);
    }
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        struct mig_gpu_plan *plan = &ret->gpus[ret->gpu_count];

        if (goal->gpus[i].kind == MIG_GOAL_LEAVE) {
            continue;
        }
        ret->gpu_count++;
        plan->gpu = i;
        plan->result =
            plan_gpu(&node->gpus[i], &goal->gpus[i], policies ? &policies[i] : NULL, plan);
        if (plan->result != MIG_OK) {
            mig_error_prefix(&plan->error, "GPU %u", node->gpus[i].index);
            if (result == MIG_OK && error) {
                *error = plan->error;
            }
            result = result == MIG_OK ? plan->result : result;
            continue;
        }
        ret->change_count += plan->set_mode || plan->plan.step_count > 0;
        ret->estimate_ms += plan->plan.estimate_ms;
    }
    return result;
}

void mig_node_plan_release(struct mig_node_plan *plan)
{
    if (plan) {
        free(plan->gpus);
        *plan = (struct mig_node_plan){0};
    }
}

/* ---- is the goal met ------------------------------------------------------------------------- */

/* Devices of one GPU-instance profile by compute profile; the last counts GPU instances without. */
struct device_counts {
    unsigned counts[MIG_CI_PROFILE_MAX + 1];
};

#define WITHOUT_CI MIG_CI_PROFILE_MAX

/* A device is counted by its name: a driver may list a compute profile twice. */
static unsigned ci_by_name(const struct mig_profile *profile, unsigned ci_profile)
{
    unsigned first = 0;

    while (first < ci_profile &&
           strcmp(profile->ci_profiles[first].name, profile->ci_profiles[ci_profile].name) != 0) {
        first++;
    }
    return first;
}

static void count_target(const struct mig_model *model, const struct mig_target *target,
                         unsigned profile, struct device_counts *ret)
{
    *ret = (struct device_counts){{0}};
    for (unsigned i = 0; i < target->gi_count; i++) {
        const struct mig_target_gi *gi = &target->gis[i];

        if (gi->profile != profile) {
            continue;
        }
        for (unsigned j = 0; j < gi->ci_count; j++) {
            ret->counts[ci_by_name(&model->profiles[profile], gi->ci_profiles[j])]++;
        }
        ret->counts[WITHOUT_CI] += gi->ci_count == 0;
    }
}

/* Compares the devices of one GPU-instance profile. */
static bool profile_is_met(const struct mig_gpu *gpu, const struct mig_target *have,
                           const struct mig_target *want, unsigned profile,
                           struct mig_error *ret_reason)
{
    const struct mig_model *model = gpu->layout.model;
    const struct mig_profile *gi = &model->profiles[profile];
    struct device_counts have_counts, want_counts;

    count_target(model, have, profile, &have_counts);
    count_target(model, want, profile, &want_counts);
    if (have_counts.counts[WITHOUT_CI] != want_counts.counts[WITHOUT_CI]) {
        mig_error_set(ret_reason, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "GPU %u: %u x %s without a compute instance, %u wanted", gpu->index,
                      have_counts.counts[WITHOUT_CI], gi->name, want_counts.counts[WITHOUT_CI]);
        return false;
    }
    for (unsigned i = 0; i < gi->ci_profile_count; i++) {
        if (have_counts.counts[i] != want_counts.counts[i]) {
            mig_error_set(ret_reason, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                          "GPU %u: has %u x %s, %u wanted", gpu->index, have_counts.counts[i],
                          gi->ci_profiles[i].name, want_counts.counts[i]);
            return false;
        }
    }
    return true;
}

static bool mode_is_met(const struct mig_gpu *gpu, bool mode, struct mig_error *ret_reason)
{
    if (gpu->mig_mode != mode) {
        mig_error_set(ret_reason, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "GPU %u: MIG mode is %s, %s is wanted", gpu->index,
                      gpu->mig_mode ? "on" : "off", mode ? "on" : "off");
        return false;
    }
    if (gpu->mig_mode_pending != mode) {
        mig_error_set(ret_reason, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "GPU %u: MIG mode is %s but %s is pending", gpu->index, mode ? "on" : "off",
                      mode ? "off" : "on");
        return false;
    }
    return true;
}

static bool gpu_is_met(const struct mig_gpu *gpu, const struct mig_gpu_goal *goal,
                       struct mig_error *ret_reason)
{
    struct mig_target have;

    if (gpu->problem[0]) {
        mig_error_set(ret_reason, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %u: %s", gpu->index,
                      gpu->problem);
        return false;
    }
    if (!mode_is_met(gpu, goal->mig_mode, ret_reason)) {
        return false;
    }
    if (goal->kind != MIG_GOAL_LAYOUT || !goal->mig_mode) {
        return true;
    }
    if (!gpu->layout.model) {
        mig_error_set(ret_reason, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "GPU %u: %s is of no known model, its instances cannot be compared",
                      gpu->index, gpu->name);
        return false;
    }
    mig_target_from_layout(&gpu->layout, &have);
    for (unsigned i = 0; i < gpu->layout.model->profile_count; i++) {
        if (!profile_is_met(gpu, &have, &goal->target, i, ret_reason)) {
            return false;
        }
    }
    return true;
}

bool mig_goal_is_met(const struct mig_node *node, const struct mig_goal *goal,
                     struct mig_error *ret_reason)
{
    if (check_parallel(node, goal, ret_reason) != MIG_OK) {
        return false;
    }
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (goal->gpus[i].kind != MIG_GOAL_LEAVE &&
            !gpu_is_met(&node->gpus[i], &goal->gpus[i], ret_reason)) {
            return false;
        }
    }
    return true;
}

/* ---- finding a GPU --------------------------------------------------------------------------- */

/* "[domain:]bus:device.function" in hex, as numbers: 8 and 4 digits of domain are the same. */
static bool parse_bus_id(const char *text, unsigned long ret[4])
{
    static const char separators[] = "::.";
    unsigned colons = 0, at;

    for (const char *c = text; *c; c++) {
        colons += *c == ':';
    }
    if (colons != 1 && colons != 2) {
        return false;
    }
    ret[0] = 0;
    for (at = 2 - colons; at < 4; at++) {
        char *end;

        if (!isxdigit((unsigned char)*text)) {
            return false;
        }
        ret[at] = strtoul(text, &end, 16);
        if (*end != (at < 3 ? separators[at] : '\0')) {
            return false;
        }
        text = end + 1;
    }
    return true;
}

static bool is_called(const struct mig_gpu *gpu, const char *text)
{
    unsigned long wanted[4], own[4];
    char index[16];
    struct mig_words words = mig_words_start(index, sizeof(index));

    mig_words_add(&words, "%u", gpu->index);
    if (strcmp(text, index) == 0 || (gpu->uuid[0] && strcasecmp(text, gpu->uuid) == 0)) {
        return true;
    }
    return parse_bus_id(text, wanted) && parse_bus_id(gpu->bus_id, own) &&
           memcmp(wanted, own, sizeof(own)) == 0;
}

int mig_node_find_gpu(const struct mig_node *node, const char *text, uint32_t *ret,
                      struct mig_error *error)
{
    char known[MIG_ERROR_HINT_SIZE];
    struct mig_words words = mig_words_start(known, sizeof(known));

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (is_called(&node->gpus[i], text)) {
            *ret = i;
            return MIG_OK;
        }
        mig_words_separate(&words, ", ");
        mig_words_add(&words, "%u (%s, %s)", node->gpus[i].index, node->gpus[i].bus_id,
                      node->gpus[i].uuid);
    }
    mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "there is no GPU '%s'", text);
    return mig_error_hint(error, MIG_E_USAGE, "this node has %s",
                          words.length > 0 ? known : "no GPU");
}
