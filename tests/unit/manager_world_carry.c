/* SPDX-License-Identifier: Apache-2.0 */
/* Actions carried out, as an API server, a kubelet and a driver would; and what must never happen.
 */
#include "base/text.h"
#include "manager_world_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- carrying out: the node object ----------------------------------------------------------- */

static bool is_client_key(const char *key)
{
    return mig_text_starts_with(key, MIG_MANAGER_LABEL_DEPLOY);
}

static void check_change(struct world *world, const char *key, bool is_annotation,
                         const char *value, bool exactly)
{
    const struct world_pair *had = world_find_pair(&world->labels, key);

    if (is_annotation) {
        if (!mig_text_starts_with(key, "migd.dev/")) {
            world_violate(world, "a foreign annotation is written", key);
        }
        return;
    }
    if (is_client_key(key)) {
        bool ours = !had || !had->value[0] || strcmp(had->value, "true") == 0 ||
                    strcmp(had->value, MIG_MANAGER_PAUSED) == 0;

        if (!ours && exactly) {
            world_violate(world, "somebody else's client label is written", key);
        }
        world->pauses += value && strcmp(value, MIG_MANAGER_PAUSED) == 0;
        return;
    }
    if (strcmp(key, MIG_MANAGER_LABEL_CONFIG) == 0 && (!had || !had->value[0]) && value &&
        strcmp(value, "all-disabled") == 0) {
        return;
    }
    if (strcmp(key, MIG_MANAGER_LABEL_STATE) != 0) {
        world_violate(world, "a foreign label is written", key);
    }
}

static void touch_clients(struct world *world)
{
    for (unsigned i = 0; i < 4; i++) {
        world->client_change_ms[i] = world->now_ms + 200 + world_random(world, 3000);
    }
}

static void carry_patch(struct world *world, const struct world_job *job,
                        struct mig_manager_event *event, struct world_view *view)
{
    char version[16];

    snprintf(version, sizeof(version), "%u", world->resource_version);
    if (!job->resource_version[0]) {
        world_violate(world, "a patch is made blindly", job->changes[0].key);
    }
    if (!world->exists) {
        event->status = 404;
        event->result = MIG_E_FAILED;
        return;
    }
    if (world_chance(world, world->faults.conflict) ||
        (job->resource_version[0] && strcmp(job->resource_version, version) != 0)) {
        event->status = 409;
        event->result = MIG_E_FAILED;
        return;
    }
    for (size_t i = 0; i < job->change_count; i++) {
        const char *value = job->changes[i].removes ? NULL : job->changes[i].value;

        if (strcmp(job->changes[i].key, MIG_MANAGER_LABEL_STATE) == 0 && value &&
            strcmp(value, "success") == 0) {
            world->success_writes++;
            if (!job->shows_success) {
                world_violate(world, "success is written without a snapshot that shows it",
                              world_get(world, MIG_MANAGER_LABEL_CONFIG));
            }
        }
        if (value && !mig_text_is_utf8(value)) {
            world_violate(world, "what is written is no UTF-8", job->changes[i].key);
        }
        check_change(world, job->changes[i].key, job->changes[i].is_annotation, value,
                     job->resource_version[0] != '\0');
        world_set_pair(job->changes[i].is_annotation ? &world->annotations : &world->labels,
                       job->changes[i].key, value);
        if (is_client_key(job->changes[i].key)) {
            touch_clients(world);
        }
    }
    world->resource_version++;
    event->status = 200;
    event->object = world_view_object(world, view);
}

static void carry_evict(struct world *world, const struct world_job *job,
                        struct mig_manager_event *event, struct mig_error *error)
{
    event->status = 404;
    event->result = MIG_E_FAILED;
    for (unsigned i = 0; i < WORLD_PODS; i++) {
        struct world_pod *pod = &world->pods[i];

        if (!pod->alive || strcmp(pod->name, job->pod) != 0) {
            continue;
        }
        if (job->uid[0] && strcmp(pod->uid, job->uid) != 0) {
            event->status = 409;
            return;
        }
        if (pod->budget) {
            event->status = 429;
            mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                          "Cannot evict pod as it would violate the pod's disruption budget.");
            mig_error_add_holder(error, "PodDisruptionBudget default/budget-%s", pod->name);
            return;
        }
        world->evictions += pod->evicted ? 0 : 1;
        pod->evicted = true;
        pod->ends_ms = world->now_ms + 500 + world_random(world, 5000);
        event->status = 201;
        event->result = MIG_OK;
    }
}

/* ---- carrying out: the machine --------------------------------------------------------------- */

static void check_pods_stay(struct world *world, uint32_t gpu, const struct mig_gpu_plan *plan)
{
    const struct mig_gpu *at = &world->gpus[gpu];

    for (unsigned p = 0; p < WORLD_PODS; p++) {
        const struct world_pod *pod = &world->pods[p];

        if (pod->alive && plan->set_mode && strcmp(pod->device, at->uuid) == 0) {
            world_violate(world, "MIG mode is changed under a pod", pod->name);
        }
        for (unsigned gi = 0; gi < at->layout.gi_count; gi++) {
            for (unsigned s = 0; world_pod_is_on(pod, at, gi) && s < plan->plan.step_count; s++) {
                const struct mig_step *done = &plan->plan.steps[s];

                if ((done->kind == MIG_STEP_DESTROY_GI || done->kind == MIG_STEP_DESTROY_CI) &&
                    done->gi_id == at->layout.gis[gi].id) {
                    world_violate(world, "the slice of a pod is destroyed", pod->name);
                }
            }
        }
    }
}

static bool handles_are_open(const struct world *world)
{
    for (unsigned i = 0; i < 4; i++) {
        if (world->hold_handles && world->client_alive[i]) {
            return true;
        }
    }
    return false;
}

/* As mig_apply_run would; false when a reset is needed and fails, or is skipped: then the mode
 * stays pending, else what was there is put back. */
static bool change_gpu(struct world *world, const struct mig_gpu_plan *plan, bool skip_reset)
{
    struct mig_gpu *gpu = &world->gpus[plan->gpu];

    check_pods_stay(world, plan->gpu, plan);
    if (plan->set_mode && gpu->mig_mode != plan->mode && world->reset_fails && !skip_reset) {
        return false;
    }
    world->destroyed += plan->plan.gi_destroy_count;
    world->created += plan->plan.gi_create_count;
    if (plan->set_mode && gpu->mig_mode != plan->mode && world->reset_fails) {
        gpu->mig_mode_pending = plan->mode;
        if (!plan->mode && plan->plan.step_count > 0) {
            world_apply_layout(world, gpu, &plan->plan.result);
        }
        return false;
    }
    if (plan->set_mode) {
        gpu->mig_mode = gpu->mig_mode_pending = plan->mode;
    }
    if (plan->plan.step_count > 0 || !gpu->mig_mode) {
        struct mig_layout result = plan->plan.result;

        result.model = gpu->layout.model;
        if (!gpu->mig_mode) {
            result.gi_count = 0;
        }
        world_apply_layout(world, gpu, &result);
    }
    return true;
}

static void carry_plan(struct world *world, const struct mig_node *node,
                       const struct mig_node_plan *plan, bool skip_reset,
                       struct mig_manager_event *event, struct mig_error *error)
{
    bool breaks = world_chance(world, world->faults.broken);

    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        const struct mig_gpu_plan *gpu = &plan->gpus[i];

        if (gpu->set_mode && node->gpus[gpu->gpu].mig_mode != gpu->mode &&
            handles_are_open(world)) {
            event->result = mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                                          "GPU %u: in use by another client", gpu->gpu);
            return;
        }
    }
    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        if (breaks && i > 0) {
            event->result = mig_error_set(error, MIG_E_BROKEN, MIG_DOMAIN_NONE, 0,
                                          "failed, and the old state could not be put back");
            return;
        }
        if (!change_gpu(world, &plan->gpus[i], skip_reset)) {
            event->mode_pending = skip_reset;
            event->result = mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                          skip_reset ? "GPU %u: MIG mode stays pending"
                                                     : "GPU %u: the reset failed; put back",
                                          i);
        }
    }
}

static void carry_apply(struct world *world, const struct world_job *job,
                        struct mig_manager_event *event, struct mig_error *error)
{
    struct mig_policy policies[MIG_GPU_MAX] = {{0}};
    struct mig_node *node = world_take_snapshot(world);
    struct mig_node_plan plan = {0};

    world->applies++;
    for (size_t i = 0; i < job->slice_count; i++) {
        for (uint32_t g = 0; g < node->gpu_count; g++) {
            for (unsigned gi = 0; gi < node->gpus[g].layout.gi_count; gi++) {
                const struct mig_gi *at = &node->gpus[g].layout.gis[gi];

                if (strcmp(job->slices[i].gpu_uuid, node->gpus[g].uuid) == 0 &&
                    at->profile == job->slices[i].profile && at->start == job->slices[i].start) {
                    policies[g].protect |= 1u << gi;
                }
            }
        }
    }
    if (world_chance(world, world->faults.apply)) {
        event->result = mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                      "GPU 0: create 1g: the driver failed; put back");
    } else if (world->busy_driver) {
        event->result = mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                                      "GPU 0: destroy: in use by another client");
    } else if (!world->apply_lies) {
        event->result = mig_node_plan_make(node, &job->goal, policies, &plan, error);
        if (event->result == MIG_OK) {
            carry_plan(world, node, &plan, job->skip_reset, event, error);
        }
        mig_node_plan_release(&plan);
    }
    mig_node_free(node);
    if (!world->silent_apply) {
        world_give(world, world_take_snapshot(world));
        event->node = world->given;
    }
}

static void carry_services(struct world *world, const struct world_job *job, bool start,
                           struct mig_manager_event *event, const char **names)
{
    for (size_t i = 0; i < job->name_count; i++) {
        bool ours = false;

        for (unsigned s = 0; s < WORLD_SERVICES; s++) {
            if (strcmp(world_services[s], job->names[i]) == 0) {
                ours = true;
                if (!start && world->service_runs[s]) {
                    names[event->name_count++] = world_services[s];
                }
                world->service_runs[s] = start;
            }
        }
        world->started_foreign = world->started_foreign || (start && !ours);
    }
    event->names = names;
}

/* ---- carrying out: dispatch ------------------------------------------------------------------ */

static bool is_for_api(enum mig_manager_action_kind kind)
{
    return kind == MIG_MANAGER_PATCH || kind == MIG_MANAGER_REMOVE_TAINT ||
           kind == MIG_MANAGER_EVICT || kind == MIG_MANAGER_LIST_CLIENT_PODS ||
           kind == MIG_MANAGER_DELETE_PODS;
}

bool world_is_for_helper(enum mig_manager_action_kind kind)
{
    return kind == MIG_MANAGER_READ_NODE || kind == MIG_MANAGER_APPLY ||
           kind == MIG_MANAGER_STOP_SERVICES || kind == MIG_MANAGER_START_SERVICES ||
           kind == MIG_MANAGER_REFRESH_CDI || kind == MIG_MANAGER_REBOOT;
}

/* Room for what an answer points to. */
struct answer_room {
    struct world_view view;
    struct mig_error error;
    struct mig_manager_holder pods[WORLD_PODS];
    struct mig_manager_holders holders;
    const char *names[WORLD_SERVICES + 4];
};

static void carry_holders(struct world *world, struct mig_manager_event *event,
                          struct answer_room *room)
{
    if (world_chance(world, world->faults.kubelet)) {
        event->result = mig_error_set(&room->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                      "the kubelet does not answer");
        return;
    }
    for (unsigned i = 0; i < WORLD_PODS; i++) {
        if (world->pods[i].alive) {
            room->pods[room->holders.count++] = (struct mig_manager_holder){
                "default", world->pods[i].name, world->pods[i].uid, world->pods[i].device};
        }
    }
    room->holders.holders = room->pods;
    event->holders = &room->holders;
}

static void carry_read(struct world *world, struct mig_manager_event *event,
                       struct answer_room *room)
{
    if (world->driver_gone) {
        event->result = mig_error_set(&room->error, MIG_E_NO_DRIVER, MIG_DOMAIN_NONE, 0,
                                      "the driver is not loaded");
        return;
    }
    world_give(world, world_take_snapshot(world));
    event->node = world->given;
}

static void carry(struct world *world, const struct world_job *job, struct mig_manager_event *event,
                  struct answer_room *room)
{
    switch (job->kind) {
    case MIG_MANAGER_PATCH:
        carry_patch(world, job, event, &room->view);
        break;
    case MIG_MANAGER_REMOVE_TAINT:
        world->taint = false;
        world->resource_version++;
        event->status = 200;
        event->object = world_view_object(world, &room->view);
        break;
    case MIG_MANAGER_EVICT:
        carry_evict(world, job, event, &room->error);
        break;
    case MIG_MANAGER_LIST_CLIENT_PODS:
        for (unsigned i = 0; i < 4; i++) {
            if (world->client_alive[i]) {
                room->names[event->name_count++] = world_clients[i];
            }
        }
        event->names = room->names;
        break;
    case MIG_MANAGER_READ_HOLDERS:
        carry_holders(world, event, room);
        break;
    case MIG_MANAGER_READ_NODE:
        carry_read(world, event, room);
        break;
    case MIG_MANAGER_APPLY:
        carry_apply(world, job, event, &room->error);
        break;
    case MIG_MANAGER_STOP_SERVICES:
    case MIG_MANAGER_START_SERVICES:
        carry_services(world, job, job->kind == MIG_MANAGER_START_SERVICES, event, room->names);
        break;
    case MIG_MANAGER_REFRESH_CDI:
        event->result = world->cdi_fails ? mig_error_set(&room->error, MIG_E_FAILED,
                                                         MIG_DOMAIN_NONE, 0, "nvidia-ctk failed")
                                         : MIG_OK;
        break;
    case MIG_MANAGER_REBOOT:
        if (world->reboot_fails) {
            event->result =
                mig_error_set(&room->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "the helper is gone");
        } else {
            world->reboots++;
        }
        break;
    case MIG_MANAGER_LOG:
    case MIG_MANAGER_EVENT:
    case MIG_MANAGER_WITHHOLD:
    case MIG_MANAGER_SAVE_RECORD:
    case MIG_MANAGER_PUBLISH_CONFIG:
    case MIG_MANAGER_DELETE_PODS:
        break;
    }
}

void world_finish_job(struct world *world, struct world_job *job)
{
    struct mig_manager_event event = {.kind = MIG_MANAGER_ANSWER, .id = job->id};
    struct answer_room room = {.holders = {0}};
    struct mig_node *unheard = world->given;
    bool lost =
        (is_for_api(job->kind) && (world->api_away || world_chance(world, world->faults.api))) ||
        (world_is_for_helper(job->kind) &&
         (world->helper_away || world_chance(world, world->faults.helper)));

    /* Half of what is lost did happen, and only the answer is missing. */
    if (!lost || world_random(world, 2) == 0) {
        if (!(lost && (world->api_away || world->helper_away))) {
            carry(world, job, &event, &room);
        }
    }
    if (lost) {
        if (event.node) {
            mig_node_free(world->given);
            world->given = world->older;
            world->older = NULL;
        }
        event = (struct mig_manager_event){.kind = MIG_MANAGER_ANSWER, .id = job->id};
        event.result = mig_error_set(&room.error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "it was lost");
    }
    event.error = event.result != MIG_OK ? &room.error : NULL;
    if (job->epoch == world->epoch && world->manager) {
        world_step(world, &event);
    } else if (event.node) { /* nobody hears it */
        mig_node_free(world->given);
        world->given = unheard;
        world->older = NULL;
    }
    if (job->kind == MIG_MANAGER_PATCH || job->kind == MIG_MANAGER_REMOVE_TAINT) {
        world_tell_object(world); /* the watch */
    }
}
