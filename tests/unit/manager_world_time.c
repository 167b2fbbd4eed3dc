/* SPDX-License-Identifier: Apache-2.0 */
/* Actions taken from the machine and carried out at their time. Time moves only here. */
#include "manager_world_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- taking actions -------------------------------------------------------------------------- */

static void copy_changes(struct world_job *job, const struct mig_manager_action *action)
{
    job->change_count = action->change_count;
    for (size_t i = 0; i < action->change_count; i++) {
        const struct mig_manager_change *change = &action->changes[i];

        job->changes[i].is_annotation = change->is_annotation;
        job->changes[i].removes = change->value == NULL;
        snprintf(job->changes[i].key, sizeof(job->changes[i].key), "%s", change->key);
        snprintf(job->changes[i].value, sizeof(job->changes[i].value), "%s",
                 change->value ? change->value : "");
    }
    snprintf(job->resource_version, sizeof(job->resource_version), "%s", action->resource_version);
}

static void copy_apply(struct world_job *job, const struct mig_manager_action *action)
{
    job->goal = *action->goal;
    job->skip_reset = action->skip_reset;
    for (uint32_t i = 0; i < action->node->gpu_count; i++) {
        const struct mig_gpu *gpu = &action->node->gpus[i];

        for (unsigned gi = 0; gi < gpu->layout.gi_count; gi++) {
            if (action->policies[i].protect >> gi & 1u) {
                struct mig_manager_slice *slice = &job->slices[job->slice_count++];

                memcpy(slice->gpu_uuid, gpu->uuid, sizeof(slice->gpu_uuid));
                slice->profile = gpu->layout.gis[gi].profile;
                slice->start = gpu->layout.gis[gi].start;
            }
        }
        assert_int_equal(action->policies[i].may_go, 0);
    }
}

static void queue_job(struct world *world, const struct mig_manager_action *action)
{
    struct world_job *job = calloc(1, sizeof(*job));

    assert_non_null(job);
    assert_true(world->job_count < WORLD_JOBS);
    job->kind = action->kind;
    job->id = action->id;
    job->epoch = world->epoch;
    job->due_ms = world->now_ms + 1 + world_random(world, world->delay_ms);
    if (action->kind == MIG_MANAGER_PATCH) {
        job->shows_success = world_snapshot_shows(world);
        copy_changes(job, action);
    } else if (action->kind == MIG_MANAGER_APPLY) {
        copy_apply(job, action);
    } else if (action->kind == MIG_MANAGER_EVICT) {
        snprintf(job->pod, sizeof(job->pod), "%s", action->pod);
        snprintf(job->uid, sizeof(job->uid), "%s", action->uid);
    }
    for (size_t i = 0; i < action->service_count; i++) {
        snprintf(job->names[job->name_count++], sizeof(job->names[0]), "%s", action->services[i]);
    }
    world->jobs[world->job_count++] = job;
}

static void keep_record(struct world *world, const struct mig_manager_record *record)
{
    world->has_record = true;
    snprintf(world->record_label, sizeof(world->record_label), "%s", record->label);
    snprintf(world->record_config, sizeof(world->record_config), "%s", record->config_text);
    snprintf(world->record_boot, sizeof(world->record_boot), "%s", record->boot_id);
    snprintf(world->record_reboot, sizeof(world->record_reboot), "%s", record->reboot_label);
    snprintf(world->record_reboot_boot, sizeof(world->record_reboot_boot), "%s",
             record->reboot_boot_id);
}

static void take_action(struct world *world, const struct mig_manager_action *action)
{
    world->counts[action->kind]++;
    if (getenv("WORLD_TRACE")) {
        print_message("# %lu: %u of %lu %s\n", (unsigned long)world->now_ms, (unsigned)action->kind,
                      (unsigned long)action->id,
                      action->text && action->text_size == 0 ? action->text : "");
    }
    if (action->kind == MIG_MANAGER_WITHHOLD) {
        assert_true(action->slice_count <= 64);
        world->withheld_count = (uint32_t)action->slice_count;
        memcpy(world->withheld, action->slices, action->slice_count * sizeof(action->slices[0]));
    } else if (action->kind == MIG_MANAGER_SAVE_RECORD) {
        keep_record(world, action->record);
    } else if (action->kind == MIG_MANAGER_EVENT) {
        size_t used = strlen(world->events);

        snprintf(world->events + used, sizeof(world->events) - used, "%s ", action->reason);
        snprintf(world->last_event, sizeof(world->last_event), "%s", action->reason);
    }
    if (action->id != 0) {
        queue_job(world, action);
    }
}

void world_step(struct world *world, const struct mig_manager_event *event)
{
    static struct mig_manager_actions actions;
    unsigned epoch = world->epoch;

    mig_manager_step(world->manager, event, world->now_ms, &actions);
    if (event->node && world->older) {
        mig_node_free(world->older);
        world->older = NULL;
    }
    world->wake_ms = actions.wake_ms;
    for (size_t i = 0; i < actions.count && world->epoch == epoch; i++) {
        take_action(world, &actions.list[i]);
        if (world->die_at > 0 && --world->die_at == 0) {
            world->dead_after_action = true;
            return;
        }
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

static void move_clients(struct world *world)
{
    for (unsigned i = 0; i < 4; i++) {
        char key[64];
        const char *value;
        bool wanted;

        snprintf(key, sizeof(key), MIG_MANAGER_LABEL_DEPLOY "%s", world_clients[i]);
        value = world_get(world, key);
        wanted = value && strcmp(value, "true") == 0;
        if (wanted != world->client_alive[i] && world->now_ms >= world->client_change_ms[i] &&
            !(world->client_stuck && !wanted)) {
            world->client_alive[i] = wanted;
        }
    }
    for (unsigned i = 0; i < WORLD_PODS; i++) {
        if (world->pods[i].ends_ms > 0 && world->now_ms >= world->pods[i].ends_ms) {
            world->pods[i].alive = false;
        }
    }
}

static struct world_job *take_due(struct world *world)
{
    size_t best = world->job_count;

    for (size_t i = 0; i < world->job_count; i++) {
        if (world->jobs[i]->due_ms <= world->now_ms &&
            (best == world->job_count || world->jobs[i]->due_ms < world->jobs[best]->due_ms)) {
            best = i;
        }
    }
    if (best == world->job_count) {
        return NULL;
    }
    struct world_job *job = world->jobs[best];

    world->jobs[best] = world->jobs[--world->job_count];
    return job;
}

static uint64_t next_time(const struct world *world, uint64_t end_ms)
{
    uint64_t next_ms = end_ms;

    for (size_t i = 0; i < world->job_count; i++) {
        next_ms = world->jobs[i]->due_ms < next_ms ? world->jobs[i]->due_ms : next_ms;
    }
    if (world->manager && world->wake_ms < next_ms) {
        next_ms = world->wake_ms;
    }
    return next_ms > world->now_ms ? next_ms : world->now_ms;
}

static void die_if_told(struct world *world)
{
    if (world->dead_after_action) {
        world->dead_after_action = false;
        world_kill(world);
        world_start(world);
    }
}

/* Everything that is due now. */
static void run_due(struct world *world)
{
    struct world_job *job;
    unsigned rounds = 0;

    move_clients(world);
    while ((job = take_due(world))) {
        world_finish_job(world, job);
        free(job);
        die_if_told(world);
        assert_true(++rounds < 10000);
    }
    if (world->manager && world->now_ms >= world->wake_ms) {
        world_tell(world, MIG_MANAGER_TIME);
        if (world->wake_ms <= world->now_ms) {
            assert_true(world->wake_ms > world->now_ms || world->job_count > 0);
            world->wake_ms = world->now_ms + 1;
        }
    }
    die_if_told(world);
}

static bool run_until(struct world *world, const char *state, uint64_t limit_ms)
{
    uint64_t end_ms = world->now_ms + limit_ms;

    for (;;) {
        const char *now = world_get(world, MIG_MANAGER_LABEL_STATE);

        run_due(world);
        now = world_get(world, MIG_MANAGER_LABEL_STATE);
        if (state && now && strcmp(now, state) == 0) {
            return true;
        }
        if (world->now_ms >= end_ms) {
            return false;
        }
        world->now_ms = next_time(world, end_ms);
    }
}

void world_run(struct world *world, uint64_t duration_ms)
{
    (void)run_until(world, NULL, duration_ms);
}

bool world_until(struct world *world, const char *state, uint64_t limit_ms)
{
    return run_until(world, state, limit_ms);
}
