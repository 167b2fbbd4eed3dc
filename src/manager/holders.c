/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds what, and who of them is in the way.
 *
 * A slice is held by the pods that the kubelet gave it to, whether they run anything on it or not,
 * and by the processes that the driver sees there. What must go is the planner's answer: first with
 * every held slice protected; where that is refused, its certificate names a smallest set that
 * would have to be free, and the holders of that set are the ones in the way, nobody else.
 */
#include "base/text.h"
#include "core/describe.h"
#include "manager/internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- what pods hold -------------------------------------------------------------------------- */

static bool holds_gi(const struct mig_manager_pod *pod, const struct mig_gpu *gpu, uint32_t gi)
{
    for (unsigned i = 0; i < gpu->layout.gis[gi].ci_count; i++) {
        const char *uuid = gpu->gi_infos[gi].devices[i].uuid;

        if (uuid[0] && strcmp(uuid, pod->device) == 0) {
            return true;
        }
    }
    return false;
}

static bool holds_gpu(const struct mig_manager_pod *pod, const struct mig_gpu *gpu)
{
    return gpu->uuid[0] && strcmp(gpu->uuid, pod->device) == 0;
}

void mig_manager_protect(struct mig_manager *manager)
{
    const struct mig_node *node = manager->node;

    memset(manager->policies, 0, sizeof(manager->policies));
    for (uint32_t i = 0; i < node->gpu_count && i < MIG_GPU_MAX; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];

        for (uint32_t gi = 0; gi < gpu->layout.gi_count; gi++) {
            for (size_t j = 0; manager->pods_known && j < manager->pod_count; j++) {
                if (holds_gi(&manager->pods[j], gpu, gi)) {
                    manager->policies[i].protect |= 1u << gi;
                }
            }
        }
    }
}

/* ---- who is in the way ----------------------------------------------------------------------- */

static void add_blocker(struct mig_manager_blockers *blockers,
                        const struct mig_manager_blocker *blocker)
{
    if (blockers->count < MIG_MANAGER_BLOCKERS_MAX) {
        blockers->list[blockers->count++] = *blocker;
    } else {
        blockers->more++;
    }
}

/* Pods that hold an instance (gi) or, with MIG_ID_NONE, the GPU as a whole; how many. */
static size_t add_pods(const struct mig_manager *manager, uint32_t gpu, uint32_t gi,
                       struct mig_manager_blockers *ret)
{
    const struct mig_gpu *at = &manager->node->gpus[gpu];
    size_t count = 0;

    for (size_t i = 0; manager->pods_known && i < manager->pod_count; i++) {
        const struct mig_manager_pod *pod = &manager->pods[i];

        if (gi == MIG_ID_NONE ? holds_gpu(pod, at) : holds_gi(pod, at, gi)) {
            add_blocker(ret, &(struct mig_manager_blocker){.pod = pod, .gpu = gpu, .gi = gi});
            count++;
        }
    }
    return count;
}

/* Processes of an instance, or all of the GPU. */
static size_t add_processes(const struct mig_manager *manager, uint32_t gpu, uint32_t gi,
                            struct mig_manager_blockers *ret)
{
    const struct mig_gpu *at = &manager->node->gpus[gpu];
    size_t count = 0;

    for (uint32_t i = 0; i < at->process_known; i++) {
        const struct mig_process *process = &at->processes[i];

        if (gi == MIG_ID_NONE || process->gi_id == at->layout.gis[gi].id) {
            add_blocker(ret,
                        &(struct mig_manager_blocker){.process = process, .gpu = gpu, .gi = gi});
            count++;
        }
    }
    return count;
}

/* An instance that has to go and cannot: its pods, else its processes, else that it is in use. */
static void add_instance(const struct mig_manager *manager, uint32_t gpu, uint32_t gi,
                         struct mig_manager_blockers *ret)
{
    if (add_pods(manager, gpu, gi, ret) > 0) {
        return;
    }
    ret->processes_alone = true;
    if (add_processes(manager, gpu, gi, ret) == 0) {
        add_blocker(ret, &(struct mig_manager_blocker){.gpu = gpu, .gi = gi});
    }
}

static void add_refused(const struct mig_manager *manager, const struct mig_gpu_plan *plan,
                        struct mig_manager_blockers *ret)
{
    const struct mig_certificate *certificate = &plan->certificate;

    if (certificate->kind == MIG_REFUSAL_BLOCKED) {
        for (unsigned i = 0; i < certificate->blocker_count; i++) {
            add_instance(manager, plan->gpu, certificate->blockers[i], ret);
        }
        return;
    }
    /* The change of mode: the GPU as such is in use. */
    if (add_pods(manager, plan->gpu, MIG_ID_NONE, ret) == 0) {
        ret->processes_alone = true;
        ret->mode_processes = true;
        if (add_processes(manager, plan->gpu, MIG_ID_NONE, ret) == 0) {
            add_blocker(ret, &(struct mig_manager_blocker){.gpu = plan->gpu, .gi = MIG_ID_NONE});
        }
    }
}

void mig_manager_find_blockers(const struct mig_manager *manager, const struct mig_node_plan *plan,
                               struct mig_manager_blockers *ret)
{
    *ret = (struct mig_manager_blockers){0};
    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        const struct mig_gpu_plan *gpu = &plan->gpus[i];

        if (gpu->result == MIG_E_BUSY) {
            add_refused(manager, gpu, ret);
        } else if (gpu->result == MIG_OK && gpu->set_mode) {
            /* Free as far as the driver knows; but a pod may have been given all of it. */
            (void)add_pods(manager, gpu->gpu, MIG_ID_NONE, ret);
        }
    }
}

/* ---- in words -------------------------------------------------------------------------------- */

static void name_place(struct mig_words *words, const struct mig_gpu *gpu, uint32_t gi)
{
    if (gi != MIG_ID_NONE) {
        mig_describe_gi(words, gpu->layout.model, &gpu->layout.gis[gi]);
        mig_words_add(words, " of ");
    }
    mig_words_add(words, "GPU %u", gpu->index);
}

static void name_blocker(const struct mig_manager *manager,
                         const struct mig_manager_blocker *blocker, struct mig_words *words)
{
    const struct mig_gpu *gpu = &manager->node->gpus[blocker->gpu];

    if (blocker->pod) {
        mig_words_add(words, "%s/%s (", blocker->pod->namespace_name, blocker->pod->pod);
    } else if (blocker->process) {
        mig_words_add(words, "%s (pid %u, ",
                      blocker->process->name[0] ? blocker->process->name : "a process",
                      blocker->process->pid);
    } else {
        mig_words_add(words, "an unknown user (");
    }
    name_place(words, gpu, blocker->gi);
    mig_words_add(words, ")");
}

void mig_manager_name_blockers(const struct mig_manager *manager,
                               const struct mig_manager_blockers *blockers, char *buffer,
                               size_t size)
{
    enum { NAMED_MAX = 6 };
    struct mig_words words = mig_words_start(buffer, size);
    size_t more = blockers->more;

    for (size_t i = 0; i < blockers->count; i++) {
        if (i >= NAMED_MAX) {
            more += blockers->count - i;
            break;
        }
        mig_words_separate(&words, ", ");
        name_blocker(manager, &blockers->list[i], &words);
    }
    if (more > 0) {
        mig_words_add(&words, " and %zu more", more);
    }
}

/* ---- not to be given out --------------------------------------------------------------------- */

struct slice_set {
    size_t count;
    struct mig_manager_slice list[MIG_MANAGER_SLICES_MAX];
};

static void add_slice(struct slice_set *set, const struct mig_gpu *gpu, uint8_t profile,
                      uint8_t start)
{
    struct mig_manager_slice *slice;

    if (set->count < MIG_MANAGER_SLICES_MAX) {
        slice = &set->list[set->count++];
        *slice = (struct mig_manager_slice){.profile = profile, .start = start};
        (void)mig_text_copy(slice->gpu_uuid, sizeof(slice->gpu_uuid), gpu->uuid);
    }
}

static void add_destroyed(struct slice_set *set, const struct mig_gpu *gpu,
                          const struct mig_gpu_plan *plan)
{
    if (plan->set_mode) {
        add_slice(set, gpu, MIG_MANAGER_WHOLE_GPU, 0);
    }
    for (unsigned i = 0; i < plan->plan.step_count; i++) {
        const struct mig_step *step = &plan->plan.steps[i];

        if (step->kind == MIG_STEP_DESTROY_GI || step->kind == MIG_STEP_DESTROY_CI) {
            add_slice(set, gpu, step->gi_profile, step->gi_start);
        }
    }
}

/* What would go if `blockers` were not there. Planned without them as users. */
static void find_doomed(struct mig_manager *manager, const struct mig_manager_blockers *blockers,
                        struct slice_set *ret)
{
    struct mig_policy policies[MIG_GPU_MAX];
    struct mig_node_plan plan;
    struct mig_error error;

    memcpy(policies, manager->policies, sizeof(policies));
    for (size_t i = 0; blockers && i < blockers->count; i++) {
        const struct mig_manager_blocker *blocker = &blockers->list[i];

        if (blocker->gi != MIG_ID_NONE) {
            policies[blocker->gpu].may_go |= 1u << blocker->gi;
            policies[blocker->gpu].protect &= ~(1u << blocker->gi);
        } else {
            policies[blocker->gpu].may_go = UINT32_MAX;
        }
    }
    ret->count = 0;
    (void)mig_node_plan_make(manager->node, &manager->wish.goal, policies, &plan, &error);
    for (uint32_t i = 0; i < plan.gpu_count; i++) {
        add_destroyed(ret, &manager->node->gpus[plan.gpus[i].gpu], &plan.gpus[i]);
    }
    mig_node_plan_release(&plan);
}

static bool replace_withheld(struct mig_manager *manager, const struct slice_set *set)
{
    size_t size = set->count * sizeof(set->list[0]);
    struct mig_manager_action *action;

    if (manager->withhold_told && set->count == manager->withheld_count &&
        memcmp(set->list, manager->withheld, size) == 0) {
        return false;
    }
    action = mig_manager_act(manager, MIG_MANAGER_WITHHOLD);
    if (!action) {
        return true;
    }
    manager->withhold_told = true;
    memcpy(manager->withheld, set->list, size);
    manager->withheld_count = set->count;
    action->slices = manager->withheld;
    action->slice_count = manager->withheld_count;
    return true;
}

bool mig_manager_withhold(struct mig_manager *manager, const struct mig_manager_blockers *blockers)
{
    struct slice_set *set = calloc(1, sizeof(*set));
    bool changed = false;

    if (set) {
        find_doomed(manager, blockers, set);
        changed = replace_withheld(manager, set);
        free(set);
    }
    return changed;
}

void mig_manager_release(struct mig_manager *manager)
{
    struct mig_manager_action *action;

    if (manager->withheld_count > 0 || !manager->withhold_told) {
        action = mig_manager_act(manager, MIG_MANAGER_WITHHOLD);
        if (action) {
            manager->withhold_told = true;
            manager->withheld_count = 0;
            action->slices = manager->withheld;
        }
    }
}
