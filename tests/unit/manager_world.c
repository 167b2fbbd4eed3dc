/* SPDX-License-Identifier: Apache-2.0 */
/* The world as it is: the cluster, the machine, pods; and how it begins and ends. */
#include "manager_world_internal.h"
#include "plan_support.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const world_clients[4] = {"device-plugin", "gpu-feature-discovery", "dcgm-exporter",
                                      "dcgm"};
const char *const world_services[WORLD_SERVICES + 1] = {"nvsm.service", "nvidia-dcgm.service",
                                                        NULL};

uint64_t world_random(struct world *world, uint64_t below)
{
    uint64_t value = world->random += 0x9e3779b97f4a7c15u;

    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return (value ^ (value >> 31)) % below;
}

bool world_chance(struct world *world, unsigned percent)
{
    return percent > 0 && world_random(world, 100) < percent;
}

void world_violate(struct world *world, const char *what, const char *detail)
{
    if (!world->violation) {
        snprintf(world->violation_text, sizeof(world->violation_text), "%s: %s", what, detail);
        world->violation = world->violation_text;
    }
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static size_t index_of(const struct world_pairs *pairs, const char *key)
{
    size_t i = 0;

    while (i < pairs->count && strcmp(pairs->list[i].key, key) != 0) {
        i++;
    }
    return i;
}

const struct world_pair *world_find_pair(const struct world_pairs *pairs, const char *key)
{
    size_t index = index_of(pairs, key);

    return index < pairs->count ? &pairs->list[index] : NULL;
}

void world_set_pair(struct world_pairs *pairs, const char *key, const char *value)
{
    size_t index = index_of(pairs, key);

    if (!value) {
        if (index < pairs->count) {
            pairs->list[index] = pairs->list[--pairs->count];
        }
        return;
    }
    if (index == pairs->count) {
        assert_true(pairs->count < WORLD_PAIRS);
        snprintf(pairs->list[pairs->count++].key, sizeof(pairs->list[0].key), "%s", key);
    }
    snprintf(pairs->list[index].value, sizeof(pairs->list[0].value), "%s", value);
}

const char *world_get(const struct world *world, const char *key)
{
    const struct world_pair *pair = world_find_pair(&world->labels, key);

    pair = pair ? pair : world_find_pair(&world->annotations, key);
    return pair ? pair->value : NULL;
}

bool world_any_paused(const struct world *world)
{
    for (size_t i = 0; i < world->labels.count; i++) {
        if (strcmp(world->labels.list[i].value, MIG_MANAGER_PAUSED) == 0) {
            return true;
        }
    }
    return world_get(world, MIG_MANAGER_ANNOTATION_PAUSED) != NULL;
}

bool world_happened(const struct world *world, const char *reason)
{
    return strstr(world->events, reason) != NULL;
}

/* ---- the node object ------------------------------------------------------------------------- */

const struct mig_manager_object *world_view_object(const struct world *world,
                                                   struct world_view *view)
{
    for (size_t i = 0; i < world->labels.count; i++) {
        view->labels[i] =
            (struct mig_manager_pair){world->labels.list[i].key, world->labels.list[i].value};
    }
    for (size_t i = 0; i < world->annotations.count; i++) {
        view->annotations[i] = (struct mig_manager_pair){world->annotations.list[i].key,
                                                         world->annotations.list[i].value};
    }
    snprintf(view->uid, sizeof(view->uid), "uid-%u", world->uid);
    snprintf(view->resource_version, sizeof(view->resource_version), "%u", world->resource_version);
    view->object = (struct mig_manager_object){
        .exists = world->exists,
        .uid = view->uid,
        .resource_version = view->resource_version,
        .labels = view->labels,
        .annotations = view->annotations,
        .label_count = world->labels.count,
        .annotation_count = world->annotations.count,
        .not_ready_taint = world->taint,
    };
    return &view->object;
}

void world_tell_object(struct world *world)
{
    struct world_view view;
    struct mig_manager_event event = {.kind = MIG_MANAGER_OBJECT};

    if (world->manager && !world->api_away) {
        event.object = world_view_object(world, &view);
        world_step(world, &event);
    }
}

void world_label(struct world *world, const char *key, const char *value)
{
    if (world->exists) {
        world_set_pair(&world->labels, key, value);
        world->resource_version++;
        world_tell_object(world);
    }
}

void world_annotate(struct world *world, const char *key, const char *value)
{
    if (world->exists) {
        world_set_pair(&world->annotations, key, value);
        world->resource_version++;
        world_tell_object(world);
    }
}

void world_delete_node(struct world *world)
{
    world->exists = world->taint = false;
    world->labels.count = world->annotations.count = 0;
    world_tell_object(world);
}

void world_create_node(struct world *world)
{
    world->exists = true;
    world->uid++;
    world->resource_version++;
    for (unsigned i = 0; i < 4; i++) {
        char key[64];

        snprintf(key, sizeof(key), MIG_MANAGER_LABEL_DEPLOY "%s", world_clients[i]);
        world_set_pair(&world->labels, key, "true");
    }
    world_tell_object(world);
}

void world_tell_config(struct world *world)
{
    struct mig_manager_config config = {.source = MIG_MANAGER_SOURCE_CONFIG_MAP,
                                        .name = world->config_map,
                                        .text = world->config_text};
    struct mig_manager_policy policy = {world->config_map, world->default_config};
    struct mig_manager_event event = {.kind = MIG_MANAGER_POLICY, .policy = &policy};
    struct mig_error error;

    if (!world->manager || world->api_away) {
        return;
    }
    world_step(world, &event);
    world->told_config = world->config_text;
    if (world->config_map[0]) {
        config.size = world->config_text ? strlen(world->config_text) : 0;
        mig_error_set(&error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0, "ConfigMap '%s' does not exist",
                      world->config_map);
        config.error = world->config_text ? NULL : &error;
        event = (struct mig_manager_event){.kind = MIG_MANAGER_CONFIG, .config = &config};
        world_step(world, &event);
    }
}

void world_config(struct world *world, const char *text)
{
    world->config_text = text;
    world_tell_config(world);
}

void world_tell(struct world *world, enum mig_manager_event_kind kind)
{
    struct mig_manager_event event = {.kind = kind};

    if (world->manager) {
        world_step(world, &event);
    }
}

void world_api(struct world *world, bool away)
{
    world->api_away = away;
    world_tell(world, away ? MIG_MANAGER_OFFLINE : MIG_MANAGER_ONLINE);
    if (!away) {
        world_tell_config(world);
        world_tell_object(world);
    }
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void add_process(struct mig_gpu *gpu, const struct mig_process *process)
{
    gpu->processes = realloc(gpu->processes, (gpu->process_known + 1) * sizeof(*process));
    assert_non_null(gpu->processes);
    gpu->processes[gpu->process_known++] = *process;
    gpu->process_count++;
}

bool world_pod_is_on(const struct world_pod *pod, const struct mig_gpu *gpu, unsigned gi)
{
    return pod->alive && gi < gpu->layout.gi_count &&
           strcmp(pod->device, gpu->gi_infos[gi].devices[0].uuid) == 0;
}

static void snapshot_gpu(const struct world *world, const struct mig_gpu *from, struct mig_gpu *to)
{
    *to = *from;
    to->processes = NULL;
    to->process_known = to->process_count = 0;
    for (uint32_t i = 0; i < from->process_known; i++) {
        add_process(to, &from->processes[i]);
    }
    for (unsigned p = 0; p < WORLD_PODS; p++) {
        const struct world_pod *pod = &world->pods[p];
        struct mig_process process = {.pid = 1000 + p, .ci_id = 0, .type = 'C', .name = "python3"};

        for (unsigned gi = 0; gi < from->layout.gi_count; gi++) {
            if (pod->process && world_pod_is_on(pod, from, gi)) {
                process.gi_id = from->layout.gis[gi].id;
                add_process(to, &process);
            }
        }
        if (pod->alive && pod->process && strcmp(pod->device, from->uuid) == 0) {
            process.gi_id = process.ci_id = MIG_ID_NONE;
            add_process(to, &process);
        }
    }
    for (unsigned gi = 0; gi < to->layout.gi_count; gi++) {
        for (uint32_t i = 0; i < to->process_known; i++) {
            if (to->processes[i].gi_id == to->layout.gis[gi].id) {
                to->layout.gis[gi].in_use = to->layout.gis[gi].cis[0].in_use = true;
            }
        }
    }
}

struct mig_node *world_take_snapshot(const struct world *world)
{
    struct mig_node *node = calloc(1, sizeof(*node));

    assert_non_null(node);
    node->gpu_count = world->gpu_count;
    node->gpus = calloc(world->gpu_count, sizeof(node->gpus[0]));
    assert_non_null(node->gpus);
    for (uint32_t i = 0; i < world->gpu_count; i++) {
        snapshot_gpu(world, &world->gpus[i], &node->gpus[i]);
    }
    return node;
}

/* New instances get ids and UUIDs as a driver gives them; those that stay keep theirs. */
void world_apply_layout(struct world *world, struct mig_gpu *gpu, const struct mig_layout *layout)
{
    struct mig_gpu old = *gpu;

    gpu->layout = *layout;
    for (unsigned i = 0; i < layout->gi_count; i++) {
        struct mig_gi *gi = &gpu->layout.gis[i];

        memset(&gpu->gi_infos[i], 0, sizeof(gpu->gi_infos[i]));
        for (unsigned j = 0; j < old.layout.gi_count; j++) {
            if (gi->id != MIG_ID_NONE && old.layout.gis[j].id == gi->id) {
                gpu->gi_infos[i] = old.gi_infos[j];
            }
        }
        gi->in_use = false;
        gi->id = gi->id == MIG_ID_NONE ? world->next_gi_id++ : gi->id;
        for (unsigned k = 0; k < gi->ci_count; k++) {
            gi->cis[k].in_use = false;
            if (gi->cis[k].id == MIG_ID_NONE) {
                gi->cis[k].id = k;
                snprintf(gpu->gi_infos[i].devices[k].uuid, MIG_UUID_SIZE, "MIG-%u",
                         world->next_uuid++);
            }
        }
    }
}

void world_set_layout(struct world *world, uint32_t gpu, const char *layout)
{
    struct mig_gpu *at = &world->gpus[gpu];
    struct mig_layout now = {.model = at->layout.model};

    if (layout) {
        now = plan_layout(at->layout.model, layout);
        for (unsigned i = 0; i < now.gi_count; i++) {
            now.gis[i].id = MIG_ID_NONE;
            for (unsigned j = 0; j < now.gis[i].ci_count; j++) {
                now.gis[i].cis[j].id = MIG_ID_NONE;
            }
        }
    }
    at->mig_mode = at->mig_mode_pending = layout != NULL;
    world_apply_layout(world, at, &now);
}

const char *world_layout(struct world *world, uint32_t gpu)
{
    static char text[512];

    if (!world->gpus[gpu].mig_mode) {
        return "off";
    }
    return plan_layout_text(&world->gpus[gpu].layout, text, sizeof(text));
}

void world_add_process(struct world *world, uint32_t gpu, uint32_t gi, uint32_t pid)
{
    struct mig_gpu *at = &world->gpus[gpu];

    add_process(
        at, &(struct mig_process){.pid = pid,
                                  .gi_id = gi == MIG_ID_NONE ? MIG_ID_NONE : at->layout.gis[gi].id,
                                  .ci_id = MIG_ID_NONE,
                                  .type = 'C',
                                  .name = "trainer"});
}

void world_give(struct world *world, struct mig_node *node)
{
    world->older = world->given;
    world->given = node;
}

void world_snapshot(struct world *world)
{
    struct mig_manager_event event = {.kind = MIG_MANAGER_SNAPSHOT};
    struct mig_error error;

    if (!world->manager || world->helper_away) {
        return;
    }
    if (world->driver_gone) {
        mig_error_set(&error, MIG_E_NO_DRIVER, MIG_DOMAIN_NONE, 0, "the driver is not loaded");
        event.kind = MIG_MANAGER_UNREADABLE;
        event.error = &error;
        world_step(world, &event);
        return;
    }
    world_give(world, world_take_snapshot(world));
    event.node = world->given;
    world_step(world, &event);
}

void world_helper(struct world *world, bool away)
{
    world->helper_away = away;
    world_tell(world, away ? MIG_MANAGER_HELPER_LOST : MIG_MANAGER_HELPER_BACK);
    world_snapshot(world);
}

/* ---- pods ------------------------------------------------------------------------------------ */

static bool is_withheld(const struct world *world, const struct mig_gpu *gpu, unsigned gi)
{
    for (uint32_t i = 0; i < world->withheld_count; i++) {
        const struct mig_manager_slice *slice = &world->withheld[i];

        if (strcmp(slice->gpu_uuid, gpu->uuid) == 0 &&
            (slice->profile == MIG_MANAGER_WHOLE_GPU ||
             (gi != MIG_ID_NONE && slice->profile == gpu->layout.gis[gi].profile &&
              slice->start == gpu->layout.gis[gi].start))) {
            return true;
        }
    }
    return false;
}

bool world_is_taken(const struct world *world, const char *device)
{
    for (unsigned i = 0; i < WORLD_PODS; i++) {
        if (world->pods[i].alive && strcmp(world->pods[i].device, device) == 0) {
            return true;
        }
    }
    return false;
}

static const char *find_device(const struct world *world, const struct mig_gpu *gpu,
                               const char *profile)
{
    const struct mig_model *model = gpu->layout.model;

    if (!profile) {
        bool free_gpu = !gpu->mig_mode && !world_is_taken(world, gpu->uuid) &&
                        !is_withheld(world, gpu, MIG_ID_NONE);

        return free_gpu ? gpu->uuid : NULL;
    }
    for (unsigned i = 0; i < gpu->layout.gi_count; i++) {
        if (strcmp(model->profiles[gpu->layout.gis[i].profile].name, profile) == 0 &&
            gpu->layout.gis[i].ci_count > 0 &&
            !world_is_taken(world, gpu->gi_infos[i].devices[0].uuid) &&
            !is_withheld(world, gpu, i)) {
            return gpu->gi_infos[i].devices[0].uuid;
        }
    }
    return NULL;
}

struct world_pod *world_add_pod(struct world *world, const char *name, uint32_t gpu,
                                const char *profile)
{
    const char *device = find_device(world, &world->gpus[gpu], profile);

    for (unsigned i = 0; device && i < WORLD_PODS; i++) {
        struct world_pod *pod = &world->pods[i];

        if (!pod->alive) {
            *pod = (struct world_pod){.alive = true};
            snprintf(pod->name, sizeof(pod->name), "%s", name);
            snprintf(pod->uid, sizeof(pod->uid), "pod-uid-%u", world->next_pod++);
            snprintf(pod->device, sizeof(pod->device), "%s", device);
            return pod;
        }
    }
    return NULL;
}

void world_end_pod(struct world *world, struct world_pod *pod)
{
    (void)world;
    pod->alive = false;
}

/* ---- how it should be ------------------------------------------------------------------------ */

bool world_goal(struct world *world, struct mig_goal *ret)
{
    const char *label = world_get(world, MIG_MANAGER_LABEL_CONFIG);
    struct mig_config *config = NULL;
    struct mig_node *node;
    struct mig_error error;
    size_t index;
    bool good;

    if (!label || !label[0] || !world->config_text ||
        mig_config_parse("config", world->config_text, strlen(world->config_text), &config,
                         &error) != MIG_OK) {
        return false;
    }
    node = world_take_snapshot(world);
    good = mig_config_select(config, label, &index, &error) == MIG_OK &&
           mig_config_goal(config, index, node, world->options.mode_only, ret, &error) == MIG_OK;
    mig_node_free(node);
    mig_config_free(config);
    return good;
}

bool world_is_met(struct world *world)
{
    struct mig_node *node = world_take_snapshot(world);
    struct mig_goal goal = {0};
    bool met = world_goal(world, &goal) && mig_goal_is_met(node, &goal, NULL);

    mig_node_free(node);
    return met;
}

/* Success may only be said of what the manager was shown. */
bool world_snapshot_shows(struct world *world)
{
    const char *text = world->config_text;
    struct mig_goal goal = {0};
    bool known;

    world->config_text = world->told_config;
    known = world_goal(world, &goal);
    world->config_text = text;
    return world->given && known && mig_goal_is_met(world->given, &goal, NULL);
}

static void protect_pods(const struct world *world, const struct mig_node *node,
                         struct mig_policy *policies)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        for (unsigned p = 0; p < WORLD_PODS; p++) {
            for (unsigned gi = 0; gi < node->gpus[i].layout.gi_count; gi++) {
                if (world_pod_is_on(&world->pods[p], &node->gpus[i], gi)) {
                    policies[i].protect |= 1u << gi;
                }
            }
        }
    }
}

bool world_is_feasible(struct world *world)
{
    struct mig_policy policies[MIG_GPU_MAX] = {{0}};
    struct mig_node *node = world_take_snapshot(world);
    struct mig_goal goal = {0};
    struct mig_node_plan plan = {0};
    bool feasible = false;

    if (world_goal(world, &goal)) {
        protect_pods(world, node, policies);
        feasible = mig_node_plan_make(node, &goal, policies, &plan, NULL) == MIG_OK;
        for (uint32_t i = 0; i < plan.gpu_count; i++) {
            feasible = feasible && !(plan.gpus[i].set_mode &&
                                     world_is_taken(world, node->gpus[plan.gpus[i].gpu].uuid));
        }
        mig_node_plan_release(&plan);
    }
    mig_node_free(node);
    return feasible;
}

/* ---- made and started ------------------------------------------------------------------------ */

void world_open(struct world *world, const char *model, uint32_t gpu_count, uint64_t seed)
{
    memset(world, 0, sizeof(*world));
    world->random = seed;
    world->delay_ms = 20;
    world->now_ms = 1000;
    world->next_uuid = world->next_gi_id = 1;
    world->config_map = "mig-config";
    world->default_config = "";
    world->hold_handles = true;
    world->gpu_count = gpu_count;
    world->service_runs[0] = true;
    world->options = (struct mig_manager_options){
        .node_name = "node-a", .has_cluster_policy = true, .seed = seed};
    for (uint32_t i = 0; i < gpu_count; i++) {
        struct mig_gpu *gpu = &world->gpus[i];

        gpu->index = i;
        gpu->mig_capable = true;
        gpu->layout.model = plan_model(model);
        snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%u", i);
        snprintf(gpu->name, sizeof(gpu->name), "%s", gpu->layout.model->name);
        gpu->pci_device = gpu->layout.model->pci_ids[0].device;
    }
    world_create_node(world);
    for (unsigned i = 0; i < 4; i++) {
        world->client_alive[i] = true;
    }
}

void world_start(struct world *world)
{
    char boot[32];
    struct mig_manager_record record = {
        .label = world->record_label,
        .config_name = world->config_map,
        .config_text = world->record_config,
        .config_size = strlen(world->record_config),
        .boot_id = world->record_boot,
        .reboot_label = world->record_reboot,
        .reboot_boot_id = world->record_reboot_boot,
    };
    struct mig_manager_event event = {.kind = MIG_MANAGER_START,
                                      .record = world->has_record ? &record : NULL};

    snprintf(boot, sizeof(boot), "boot-%u", world->boot);
    world->options.boot_id = boot;
    world->options.boot_ms = world->boot_ms;
    world->options.services = world_services;
    world->epoch++;
    assert_int_equal(mig_manager_new(&world->options, &world->manager, NULL), MIG_OK);
    world->options.boot_id = NULL;
    world_step(world, &event);
    world_tell(world, world->api_away ? MIG_MANAGER_OFFLINE : MIG_MANAGER_ONLINE);
    world_snapshot(world);
    world_tell_config(world);
    world_tell_object(world);
}

/* The helper goes with the agent: what it was asked for was done by then, or never is. */
static void end_helper(struct world *world)
{
    for (size_t i = 0; i < world->job_count;) {
        struct world_job *job = world->jobs[i];

        if (!world_is_for_helper(job->kind)) {
            i++;
            continue;
        }
        world->jobs[i] = world->jobs[--world->job_count];
        if (world_random(world, 2) == 0) {
            world_finish_job(world, job);
        }
        free(job);
    }
}

void world_kill(struct world *world)
{
    mig_manager_free(world->manager);
    world->manager = NULL;
    end_helper(world);
    mig_node_free(world->given);
    mig_node_free(world->older);
    world->given = world->older = NULL;
    world->withheld_count = 0; /* it went with its device plugin */
}

void world_reboot(struct world *world)
{
    world_kill(world);
    while (world->job_count > 0) {
        free(world->jobs[--world->job_count]);
    }
    world->boot++;
    world->boot_ms = world->now_ms;
    memset(world->pods, 0, sizeof(world->pods));
    for (uint32_t i = 0; i < world->gpu_count; i++) {
        struct mig_gpu *gpu = &world->gpus[i];

        gpu->mig_mode = gpu->mig_mode_pending;
        gpu->layout.gi_count = 0;
        gpu->process_known = gpu->process_count = 0;
    }
}

void world_close(struct world *world)
{
    world_kill(world);
    while (world->job_count > 0) {
        free(world->jobs[--world->job_count]);
    }
    for (uint32_t i = 0; i < world->gpu_count; i++) {
        free(world->gpus[i].processes);
    }
}
