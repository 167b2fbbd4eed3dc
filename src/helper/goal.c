/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Goals and policies from one snapshot to another. Agent and helper each have their own: between
 * the two a GPU may have gone, an instance may have been made again, and the model may be another
 * table. So nothing travels by index.
 */
#include "base/text.h"
#include "helper/protocol.h"
#include <string.h>

/* ---- from a snapshot ---- */

static int no_target(const struct mig_gpu *gpu, struct mig_error *error)
{
    return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                         "the goal of GPU %u is not one of its model", gpu->index);
}

static int make_target(const struct mig_gpu *gpu, const struct mig_target *target,
                       struct mig_wire_gpu *ret, struct mig_error *error)
{
    const struct mig_model *model = gpu->layout.model;

    if (!model || target->gi_count > MIG_GI_MAX) {
        return no_target(gpu, error);
    }
    ret->gi_count = target->gi_count;
    for (unsigned i = 0; i < target->gi_count; i++) {
        const struct mig_target_gi *gi = &target->gis[i];
        const struct mig_profile *profile = &model->profiles[gi->profile];

        if (gi->profile >= model->profile_count || gi->ci_count > MIG_CI_MAX) {
            return no_target(gpu, error);
        }
        ret->gis[i] = (struct mig_wire_gi){
            .profile = profile->enum_value, .start = gi->start, .ci_count = gi->ci_count};
        for (unsigned j = 0; j < gi->ci_count; j++) {
            if (gi->ci_profiles[j] >= profile->ci_profile_count) {
                return no_target(gpu, error);
            }
            ret->gis[i].ci_profiles[j] = profile->ci_profiles[gi->ci_profiles[j]].enum_value;
        }
    }
    return 0;
}

static uint8_t make_instances(const struct mig_layout *layout, uint32_t mask,
                              struct mig_wire_instance *ret)
{
    uint8_t count = 0;

    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        if ((mask >> i & 1u) != 0) {
            ret[count++] = (struct mig_wire_instance){
                .profile = layout->model->profiles[gi->profile].enum_value,
                .start = gi->start,
                .id = gi->id};
        }
    }
    return count;
}

int mig_wire_apply_make(const struct mig_node *node, const struct mig_goal *goal,
                        const struct mig_policy *policies, struct mig_wire_apply *ret,
                        struct mig_error *error)
{
    if (goal->gpu_count > node->gpu_count || goal->gpu_count > MIG_GPU_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the goal is of %u GPUs, the node has %u", goal->gpu_count,
                             node->gpu_count);
    }
    ret->gpu_count = 0;
    for (uint32_t i = 0; i < goal->gpu_count; i++) {
        const struct mig_gpu_goal *wanted = &goal->gpus[i];
        const struct mig_gpu *gpu = &node->gpus[i];
        struct mig_wire_gpu *out = &ret->gpus[ret->gpu_count];
        int rc = 0;

        if (wanted->kind == MIG_GOAL_LEAVE) {
            continue;
        }
        *out = (struct mig_wire_gpu){.kind = wanted->kind, .mig_mode = wanted->mig_mode};
        mig_text_copy(out->uuid, sizeof(out->uuid), gpu->uuid);
        if (wanted->kind == MIG_GOAL_LAYOUT && wanted->mig_mode) {
            rc = make_target(gpu, &wanted->target, out, error);
        }
        if (rc < 0) {
            return rc;
        }
        if (policies) {
            out->go_count = make_instances(&gpu->layout, policies[i].may_go, out->go);
            out->protect_count = make_instances(&gpu->layout, policies[i].protect, out->protect);
        }
        ret->gpu_count++;
    }
    return 0;
}

/* ---- on another ---- */

static int lacks(const struct mig_gpu *gpu, const char *what, unsigned number,
                 struct mig_error *error)
{
    return mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0,
                         "GPU %u (%s) has no %s profile with NVML's number %u", gpu->index,
                         gpu->name, what, number);
}

static int find_ci(const struct mig_profile *profile, unsigned enum_value)
{
    for (int i = 0; i < profile->ci_profile_count; i++) {
        if (profile->ci_profiles[i].enum_value == enum_value) {
            return i;
        }
    }
    return -1;
}

static int resolve_gi(const struct mig_wire_gi *gi, const struct mig_gpu *gpu,
                      struct mig_target_gi *ret, struct mig_error *error)
{
    const struct mig_model *model = gpu->layout.model;
    int index = mig_model_find_enum(model, gi->profile);

    if (index < 0) {
        return lacks(gpu, "GPU-instance", gi->profile, error);
    }
    *ret = (struct mig_target_gi){
        .profile = (uint8_t)index, .start = gi->start, .ci_count = gi->ci_count};
    for (unsigned i = 0; i < gi->ci_count; i++) {
        int ci = find_ci(&model->profiles[index], gi->ci_profiles[i]);

        if (ci < 0) {
            return lacks(gpu, "compute-instance", gi->ci_profiles[i], error);
        }
        ret->ci_profiles[i] = (uint8_t)ci;
    }
    return 0;
}

static int resolve_target(const struct mig_wire_gpu *wanted, const struct mig_gpu *gpu,
                          struct mig_target *ret, struct mig_error *error)
{
    if (!gpu->layout.model) {
        return mig_error_set(
            error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %u cannot be partitioned now: %s",
            gpu->index, gpu->problem[0] != '\0' ? gpu->problem : "its MIG profiles are not known");
    }
    ret->gi_count = wanted->gi_count;
    for (unsigned i = 0; i < wanted->gi_count; i++) {
        int rc = resolve_gi(&wanted->gis[i], gpu, &ret->gis[i], error);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* The same instance, not only one of the same kind at the same place. */
static uint32_t resolve_instances(const struct mig_wire_instance *instances, unsigned count,
                                  const struct mig_layout *layout)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        for (unsigned j = 0; j < count; j++) {
            if (instances[j].id == gi->id && instances[j].start == gi->start &&
                instances[j].profile == layout->model->profiles[gi->profile].enum_value) {
                mask |= 1u << i;
            }
        }
    }
    return mask;
}

static int resolve_gpu(const struct mig_wire_gpu *wanted, const struct mig_node *node,
                       struct mig_goal *goal, struct mig_policy *policies, struct mig_error *error)
{
    uint32_t i = 0;

    while (i < node->gpu_count && strcmp(node->gpus[i].uuid, wanted->uuid) != 0) {
        i++;
    }
    if (i == node->gpu_count) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %s is gone",
                             wanted->uuid);
    }
    goal->gpus[i].kind = wanted->kind;
    goal->gpus[i].mig_mode = wanted->mig_mode;
    policies[i].may_go = resolve_instances(wanted->go, wanted->go_count, &node->gpus[i].layout);
    policies[i].protect =
        resolve_instances(wanted->protect, wanted->protect_count, &node->gpus[i].layout);
    if (wanted->kind != MIG_GOAL_LAYOUT || !wanted->mig_mode) {
        return 0;
    }
    return resolve_target(wanted, &node->gpus[i], &goal->gpus[i].target, error);
}

int mig_wire_apply_resolve(const struct mig_wire_apply *apply, const struct mig_node *node,
                           struct mig_goal *ret, struct mig_policy *ret_policies,
                           struct mig_error *error)
{
    *ret = (struct mig_goal){.gpu_count = node->gpu_count};
    memset(ret_policies, 0, MIG_GPU_MAX * sizeof(*ret_policies));
    for (uint32_t i = 0; i < apply->gpu_count; i++) {
        int rc = resolve_gpu(&apply->gpus[i], node, ret, ret_policies, error);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}
