/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Turns what libmig knows into the parts that the documents share, so that a GPU, an instance or a
 * step looks the same wherever it appears. Unknown is null, never 0.
 */
#include "cli/doc_node.h"

const char *doc_mode(bool enabled)
{
    return enabled ? "enabled" : "disabled";
}

void doc_put_gpu_name(json_t *object, const struct mig_gpu *gpu)
{
    doc_put_int(object, "index", gpu->index);
    doc_put_text(object, "uuid", gpu->uuid);
    doc_put_text(object, "name", gpu->name);
    doc_put_text(object, "bus_id", gpu->bus_id);
}

static json_t *doc_ci(const struct mig_profile *profile, const struct mig_ci *ci,
                      const struct mig_device *device)
{
    json_t *object = doc_object();
    const struct mig_ci_profile *shape = &profile->ci_profiles[ci->profile];

    doc_put_id(object, "ci_id", ci->id);
    doc_put_text(object, "profile", shape->name);
    doc_put_known_int(object, "start", ci->start == MIG_START_ANY ? MIG_UNKNOWN : ci->start);
    doc_put_int(object, "slices", shape->slice_count);
    doc_put_known_int(object, "sm_count", shape->sm_count);
    doc_put_bool(object, "in_use", ci->in_use);
    if (device) {
        doc_put_known_text(object, "uuid", device->uuid);
        doc_put_known_int(object, "device_index", device->index);
    }
    return object;
}

json_t *doc_instances(const struct mig_layout *layout, const struct mig_gpu *gpu)
{
    json_t *instances = doc_array();

    for (unsigned i = 0; layout->model && i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        const struct mig_profile *profile = &layout->model->profiles[gi->profile];
        const struct mig_gi_info *info = gpu ? &gpu->gi_infos[i] : NULL;
        json_t *object = doc_object(), *cis = doc_array();

        doc_put_id(object, "gi_id", gi->id);
        doc_put_text(object, "profile", profile->name);
        doc_put_int(object, "start", gi->start);
        doc_put_int(object, "size", profile->size);
        doc_put_bool(object, "in_use", gi->in_use);
        doc_put_known_text(object, "holder", gi->holder);
        if (info) {
            doc_put_known_int(object, "memory_used_mib", info->memory_used_mib);
            doc_put_known_int(object, "memory_total_mib", info->memory_total_mib);
        }
        for (unsigned c = 0; c < gi->ci_count; c++) {
            doc_add(cis, doc_ci(profile, &gi->cis[c], info ? &info->devices[c] : NULL));
        }
        doc_put(object, "compute_instances", cis);
        doc_add(instances, object);
    }
    return instances;
}

static json_t *doc_processes(const struct mig_gpu *gpu)
{
    json_t *processes = doc_array();

    for (uint32_t i = 0; i < gpu->process_known; i++) {
        const struct mig_process *process = &gpu->processes[i];
        char type[2] = {process->type, '\0'};
        json_t *object = doc_object();

        doc_put_int(object, "pid", process->pid);
        doc_put_known_text(object, "name", process->name);
        doc_put_known_text(object, "type", type);
        doc_put_id(object, "gi_id", process->gi_id);
        doc_put_id(object, "ci_id", process->ci_id);
        doc_put_known_int(object, "memory_mib", process->memory_mib);
        doc_add(processes, object);
    }
    return processes;
}

static json_t *doc_room(const struct mig_layout *layout)
{
    json_t *room = doc_array();

    for (unsigned p = 0; p < layout->model->profile_count; p++) {
        json_t *object = doc_object();

        doc_put_text(object, "profile", layout->model->profiles[p].name);
        doc_put_int(object, "count", mig_layout_room(layout, p));
        doc_add(room, object);
    }
    return room;
}

json_t *doc_gpu(const struct mig_gpu *gpu)
{
    json_t *object = doc_object();
    const struct mig_model *model = gpu->layout.model;

    doc_put_gpu_name(object, gpu);
    doc_put_known_text(object, "problem", gpu->problem);
    doc_put_known_int(object, "minor", gpu->minor);
    doc_put_bool(object, "mig_capable", gpu->mig_capable);
    doc_put_text(object, "mig_mode", doc_mode(gpu->mig_mode));
    doc_put_text(object, "mig_mode_pending", doc_mode(gpu->mig_mode_pending));
    doc_put_known_text(object, "model_source",
                       !model                   ? NULL
                       : gpu->model_from_driver ? "driver"
                                                : "catalog");
    doc_put_known_int(object, "memory_used_mib", gpu->memory_used_mib);
    doc_put_known_int(object, "memory_total_mib", gpu->memory_total_mib);
    doc_put_known_int(object, "units",
                      model && model->unit_count ? model->unit_count : MIG_UNKNOWN);
    doc_put(object, "instances", doc_instances(&gpu->layout, gpu));
    doc_put(object, "room", model && gpu->mig_mode ? doc_room(&gpu->layout) : doc_array());
    doc_put_int(object, "process_count", gpu->process_count);
    doc_put(object, "processes", doc_processes(gpu));
    return object;
}

json_t *doc_target_gi(const struct mig_model *model, const struct mig_target_gi *gi)
{
    const struct mig_profile *profile = &model->profiles[gi->profile];
    json_t *object = doc_object(), *cis = doc_array();

    doc_put_text(object, "profile", profile->name);
    doc_put_known_int(object, "start", gi->start == MIG_START_ANY ? MIG_UNKNOWN : gi->start);
    for (unsigned c = 0; c < gi->ci_count; c++) {
        doc_add_text(cis, profile->ci_profiles[gi->ci_profiles[c]].name);
    }
    doc_put(object, "compute_instances", cis);
    return object;
}

json_t *doc_steps(const struct mig_model *model, const struct mig_plan *plan)
{
    static const char *const names[] = {
        [MIG_STEP_DESTROY_CI] = "destroy-ci",
        [MIG_STEP_DESTROY_GI] = "destroy-gi",
        [MIG_STEP_CREATE_GI] = "create-gi",
        [MIG_STEP_CREATE_CI] = "create-ci",
    };
    json_t *steps = doc_array();

    for (unsigned i = 0; model && i < plan->step_count; i++) {
        const struct mig_step *step = &plan->steps[i];
        const struct mig_profile *profile = &model->profiles[step->gi_profile];
        bool is_ci = step->kind == MIG_STEP_DESTROY_CI || step->kind == MIG_STEP_CREATE_CI;
        json_t *object = doc_object();

        doc_put_text(object, "do", names[step->kind]);
        doc_put_text(object, "profile", profile->name);
        doc_put_int(object, "start", step->gi_start);
        doc_put_id(object, "gi_id", step->gi_id);
        if (is_ci) {
            doc_put_text(object, "ci_profile", profile->ci_profiles[step->ci_profile].name);
            doc_put_known_int(object, "ci_start",
                              step->ci_start == MIG_START_ANY ? MIG_UNKNOWN : step->ci_start);
            doc_put_id(object, "ci_id", step->ci_id);
        }
        doc_add(steps, object);
    }
    return steps;
}

static const char *refusal_name(enum mig_refusal kind)
{
    static const char *const names[] = {
        [MIG_REFUSAL_NONE] = "none",
        [MIG_REFUSAL_NO_TABLE] = "no-table",
        [MIG_REFUSAL_TOO_MUCH] = "too-much",
        [MIG_REFUSAL_BLOCKED] = "blocked",
    };

    return names[kind];
}

static json_t *doc_blockers(const struct mig_layout *layout,
                            const struct mig_certificate *certificate)
{
    json_t *blockers = doc_array();

    for (unsigned i = 0; i < certificate->blocker_count; i++) {
        const struct mig_gi *gi = &layout->gis[certificate->blockers[i]];
        json_t *object = doc_object();

        doc_put_id(object, "gi_id", gi->id);
        doc_put_text(object, "profile", layout->model->profiles[gi->profile].name);
        doc_put_int(object, "start", gi->start);
        doc_put_known_text(object, "holder", gi->holder);
        doc_put_text(object, "has_to", certificate->blocker_moves[i] ? "move" : "end");
        doc_add(blockers, object);
    }
    return blockers;
}

json_t *doc_refusal(const struct mig_layout *layout, const struct mig_target *target,
                    const struct mig_certificate *certificate, const struct mig_error *error)
{
    json_t *object = doc_object(), *wanted = doc_array(), *unplaced = doc_array();

    doc_put_text(object, "kind", refusal_name(certificate->kind));
    doc_put_text(object, "message", error->message);
    doc_put_known_text(object, "in_the_way", error->holders);
    doc_put_known_text(object, "what_to_do", error->hint);
    for (unsigned i = 0; layout->model && i < target->gi_count; i++) {
        doc_add(wanted, doc_target_gi(layout->model, &target->gis[i]));
    }
    for (unsigned i = 0; layout->model && i < certificate->unplaced_count; i++) {
        doc_add(unplaced, doc_target_gi(layout->model, &target->gis[certificate->unplaced[i]]));
    }
    doc_put(object, "wanted", wanted);
    doc_put(object, "unplaced", unplaced);
    doc_put(object, "blockers", doc_blockers(layout, certificate));
    doc_put(object, "nearest", doc_instances(&certificate->nearest, NULL));
    return object;
}

static json_t *doc_gpu_plan(const struct mig_gpu *gpu, const struct mig_gpu_goal *goal,
                            const struct mig_gpu_plan *plan)
{
    const struct mig_model *model = gpu->layout.model;
    json_t *object = doc_object();

    doc_put_gpu_name(object, gpu);
    doc_put_text(object, "result",
                 plan->result == MIG_OK         ? "ok"
                 : plan->result == MIG_E_BUSY   ? "busy"
                 : plan->result == MIG_E_NO_FIT ? "no-fit"
                                                : "failed");
    doc_put_known_text(object, "set_mode", plan->set_mode ? doc_mode(plan->mode) : NULL);
    doc_put_bool(object, "may_reset", plan->may_reset);
    doc_put_int(object, "kept", plan->plan.kept_count);
    doc_put_int(object, "gi_destroy", plan->plan.gi_destroy_count);
    doc_put_int(object, "gi_create", plan->plan.gi_create_count);
    doc_put_int(object, "estimate_ms", plan->plan.estimate_ms);
    doc_put(object, "steps", doc_steps(model, &plan->plan));
    doc_put(object, "after",
            plan->result == MIG_OK ? doc_instances(&plan->plan.result, NULL) : json_null());
    doc_put(object, "refusal",
            plan->result == MIG_OK
                ? json_null()
                : doc_refusal(&gpu->layout, &goal->target, &plan->certificate, &plan->error));
    return object;
}

void doc_put_node_plan(json_t *document, const struct mig_node *node, const struct mig_goal *goal,
                       const struct mig_node_plan *plan, bool feasible)
{
    json_t *gpus = doc_array();

    doc_put_bool(document, "feasible", feasible);
    doc_put_int(document, "change_count", plan->change_count);
    doc_put_int(document, "estimate_ms", plan->estimate_ms);
    doc_put(document, "disturbed", doc_array());
    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        uint32_t gpu = plan->gpus[i].gpu;

        doc_add(gpus, doc_gpu_plan(&node->gpus[gpu], &goal->gpus[gpu], &plan->gpus[i]));
    }
    doc_put(document, "gpus", gpus);
}
