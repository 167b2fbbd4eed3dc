/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as a whole: made, stepped, freed; its actions, ids, deadlines and backoff. */
#include "base/cleanup.h"
#include "base/text.h"
#include "manager/internal.h"
#include <errno.h>
#include <string.h>

#define JITTER_PERCENT 20u

/* ---- made and freed -------------------------------------------------------------------------- */

static unsigned or_default(unsigned value, unsigned fallback)
{
    return value > 0 ? value : fallback;
}

static void set_defaults(struct mig_manager_options *options)
{
    options->busy_timeout_ms = or_default(options->busy_timeout_ms, 300000);
    options->retry_min_ms = or_default(options->retry_min_ms, 5000);
    options->retry_max_ms = or_default(options->retry_max_ms, 300000);
    options->poll_ms = or_default(options->poll_ms, 1000);
    options->clients_timeout_ms = or_default(options->clients_timeout_ms, 300000);
    options->apply_timeout_ms = or_default(options->apply_timeout_ms, 660000);
    options->record_after_ms = or_default(options->record_after_ms, 3000);
}

static int copy_services(struct mig_manager *manager, const char *const *services,
                         struct mig_error *error)
{
    for (; services && *services; services++) {
        if (manager->service_known_count == MIG_MANAGER_SERVICES_MAX) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "more than %u host services to stop", MIG_MANAGER_SERVICES_MAX);
        }
        if (strchr(*services, ',') ||
            !mig_text_copy(manager->services[manager->service_known_count], MIG_UUID_SIZE,
                           *services)) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "'%.100s' is no name of a systemd unit", *services);
        }
        manager->service_known_count++;
    }
    manager->service_count = manager->options.stop_services ? manager->service_known_count : 0;
    return MIG_OK;
}

int mig_manager_new(const struct mig_manager_options *options, struct mig_manager **ret,
                    struct mig_error *error)
{
    struct mig_manager *manager = calloc(1, sizeof(*manager));
    int result;

    if (!manager) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start the MIG manager");
    }
    manager->options = *options;
    set_defaults(&manager->options);
    (void)mig_text_copy(manager->boot_id, sizeof(manager->boot_id),
                        options->boot_id ? options->boot_id : "");
    manager->random = options->seed;
    manager->next_id = 1;
    manager->next_revision = 1;
    result = copy_services(manager, options->services, error);
    if (result != MIG_OK) {
        mig_manager_free(manager);
        return result;
    }
    /* What they point to is the caller's. */
    manager->options.services = NULL;
    manager->options.boot_id = NULL;
    *ret = manager;
    return MIG_OK;
}

void mig_manager_free(struct mig_manager *manager)
{
    if (!manager) {
        return;
    }
    for (unsigned i = 0; i < MIG_ARRAY_SIZE(manager->files); i++) {
        free(manager->files[i].text);
        mig_config_free(manager->files[i].config);
    }
    free(manager->pods);
    free(manager);
}

/* ---- a step ---------------------------------------------------------------------------------- */

void mig_manager_step(struct mig_manager *manager, const struct mig_manager_event *event,
                      uint64_t now_ms, struct mig_manager_actions *ret)
{
    ret->count = 0;
    ret->wake_ms = MIG_MANAGER_NEVER;
    manager->actions = ret;
    manager->text_count = 0;
    if (now_ms > manager->now_ms) {
        manager->now_ms = now_ms;
    }
    mig_manager_take(manager, event);
    mig_manager_expire(manager);
    if (manager->started) {
        mig_manager_reconcile(manager);
        mig_manager_publish(manager);
    }
    manager->actions = NULL;
}

void mig_manager_status(const struct mig_manager *manager, struct mig_manager_status *ret)
{
    enum mig_manager_state state = manager->state;

    *ret = (struct mig_manager_status){
        .wanted = manager->wish.label,
        .state = mig_manager_state_name(state),
        .message = manager->message,
        .failure_count = manager->failure_count,
        .clients_paused = manager->clients.hold,
        .settled = state == MIG_MANAGER_STATE_NONE || state == MIG_MANAGER_STATE_SUCCESS ||
                   state == MIG_MANAGER_STATE_FAILED,
    };
}

/* ---- actions --------------------------------------------------------------------------------- */

struct mig_manager_action *mig_manager_act(struct mig_manager *manager,
                                           enum mig_manager_action_kind kind)
{
    struct mig_manager_actions *actions = manager->actions;
    struct mig_manager_action *action;

    if (actions->count == MIG_MANAGER_ACTIONS_MAX) {
        mig_manager_wake(manager, manager->now_ms + 1);
        return NULL;
    }
    action = &actions->list[actions->count++];
    *action = (struct mig_manager_action){.kind = kind};
    return action;
}

struct mig_manager_action *mig_manager_begin(struct mig_manager *manager, enum mig_manager_op op,
                                             enum mig_manager_action_kind kind, unsigned limit_ms)
{
    struct mig_manager_action *action = mig_manager_act(manager, kind);

    if (action) {
        action->id = manager->next_id++;
        manager->ops[op] = (struct mig_manager_pending){action->id, manager->now_ms + limit_ms};
        mig_manager_wake(manager, manager->ops[op].deadline_ms);
    }
    return action;
}

bool mig_manager_busy(const struct mig_manager *manager, enum mig_manager_op op)
{
    return manager->ops[op].id != 0;
}

/* ---- time ------------------------------------------------------------------------------------ */

void mig_manager_wake(struct mig_manager *manager, uint64_t at_ms)
{
    if (at_ms < manager->actions->wake_ms) {
        manager->actions->wake_ms = at_ms;
    }
}

bool mig_manager_is_due(struct mig_manager *manager, uint64_t at_ms)
{
    if (manager->now_ms >= at_ms) {
        return true;
    }
    mig_manager_wake(manager, at_ms);
    return false;
}

bool mig_manager_expired(struct mig_manager_pending *pending, struct mig_manager *manager)
{
    if (pending->id == 0 || !mig_manager_is_due(manager, pending->deadline_ms)) {
        return false;
    }
    pending->id = 0;
    return true;
}

/* splitmix64 (Vigna, public domain), good enough to keep nodes of a cluster out of step. */
static uint64_t next_random(struct mig_manager *manager)
{
    uint64_t value = manager->random += 0x9e3779b97f4a7c15u;

    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

void mig_manager_backoff(struct mig_manager *manager, struct mig_manager_retry *retry,
                         unsigned min_ms, unsigned max_ms)
{
    uint64_t delay_ms = min_ms;
    uint64_t jitter;

    for (uint32_t i = 0; i < retry->failure_count && delay_ms < max_ms; i++) {
        delay_ms *= 2;
    }
    delay_ms = delay_ms < max_ms ? delay_ms : max_ms;
    jitter = delay_ms * JITTER_PERCENT / 100;
    delay_ms = delay_ms - jitter + next_random(manager) % (2 * jitter + 1);
    retry->failure_count += retry->failure_count < UINT32_MAX;
    retry->at_ms = manager->now_ms + delay_ms;
}
