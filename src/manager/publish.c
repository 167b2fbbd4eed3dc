/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node object has to say: the difference between what it says and what is true goes out as
 * one patch, one at a time, so a label and its reason, or success and the clients' return, are one
 * write. It is made for the very object that was read (resourceVersion): a state belongs to the
 * config that was asked for when it was found, and somebody else may be changing client labels too.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "manager/internal.h"
#include <stdio.h>
#include <string.h>

#define PATCH_MS 60000u
#define PATCH_RETRY_MIN_MS 250u
#define PATCH_RETRY_MAX_MS 30000u
#define UNDECIDED_MS 30000u /* then clients that a dead manager paused are let go all the same */

void mig_manager_add_change(struct mig_manager *manager, bool is_annotation, const char *key,
                            const char *value)
{
    if (manager->change_count < MIG_MANAGER_CHANGES_MAX) {
        manager->changes[manager->change_count++] =
            (struct mig_manager_change){is_annotation, key, value};
    }
}

/* ---- the state ------------------------------------------------------------------------------- */

static void state_changes(struct mig_manager *manager)
{
    const struct mig_manager_seen *seen = &manager->seen;
    const char *state = mig_manager_state_name(manager->state);
    bool none = manager->state == MIG_MANAGER_STATE_NONE;

    if (manager->state == MIG_MANAGER_STATE_LEAVE) {
        return;
    }
    if (none ? seen->state.present : strcmp(seen->state.value, state) != 0) {
        mig_manager_add_change(manager, false, MIG_MANAGER_LABEL_STATE, none ? NULL : state);
    }
    if (none ? seen->has_message : strcmp(seen->message, manager->message) != 0) {
        mig_manager_add_change(manager, true, MIG_MANAGER_ANNOTATION_MESSAGE,
                               none ? NULL : manager->message);
    }
    /* As the operator does it. */
    if (none && manager->policy_known && strcmp(manager->default_config, "all-disabled") == 0) {
        mig_manager_add_change(manager, false, MIG_MANAGER_LABEL_CONFIG, manager->default_config);
    }
}

/* ---- the patch ------------------------------------------------------------------------------- */

static void send_patch(struct mig_manager *manager)
{
    struct mig_manager_action *action =
        mig_manager_begin(manager, MIG_MANAGER_OP_PATCH, MIG_MANAGER_PATCH, PATCH_MS);

    if (action) {
        action->changes = manager->changes;
        action->change_count = manager->change_count;
        action->resource_version = manager->seen.resource_version;
    }
}

/* A claim is not made while services that have to be back for it are on their way. */
static bool is_ready(struct mig_manager *manager)
{
    const struct mig_manager_clients *clients = &manager->clients;

    return clients->hold || mig_manager_free_clients(manager) ||
           clients->start_retry.failure_count > 0;
}

static void remove_taint(struct mig_manager *manager)
{
    bool has_default = manager->options.has_cluster_policy &&
                       (!manager->policy_known || manager->default_config[0]);
    bool settled = manager->state == MIG_MANAGER_STATE_SUCCESS ||
                   (manager->state == MIG_MANAGER_STATE_NONE && !has_default);

    if (!manager->seen.taint || !settled || mig_manager_busy(manager, MIG_MANAGER_OP_TAINT) ||
        !mig_manager_is_due(manager, manager->taint_retry.at_ms)) {
        return;
    }
    (void)mig_manager_begin(manager, MIG_MANAGER_OP_TAINT, MIG_MANAGER_REMOVE_TAINT, PATCH_MS);
}

void mig_manager_publish(struct mig_manager *manager)
{
    manager->change_count = 0;
    if (!manager->decided && !mig_manager_is_due(manager, manager->start_ms + UNDECIDED_MS)) {
        return;
    }
    if (!is_ready(manager) || !manager->seen.exists) {
        return;
    }
    remove_taint(manager);
    if (mig_manager_busy(manager, MIG_MANAGER_OP_PATCH) ||
        !mig_manager_is_due(manager, manager->patch_retry.at_ms)) {
        return;
    }
    mig_manager_client_changes(manager);
    state_changes(manager);
    if (manager->change_count == 0 && manager->patch_lost && manager->clients.hold) {
        mig_manager_add_change(manager, true, MIG_MANAGER_ANNOTATION_MESSAGE, manager->message);
    }
    if (manager->change_count > 0) {
        send_patch(manager);
    }
}

/* ---- answered -------------------------------------------------------------------------------- */

void mig_manager_patched(struct mig_manager *manager, const struct mig_manager_event *event)
{
    struct mig_manager_retry *retry = &manager->patch_retry;

    if (event->result == MIG_OK && event->object) {
        *retry = (struct mig_manager_retry){0};
        manager->patch_lost = false;
        mig_manager_see_object(manager, event->object);
        return;
    }
    manager->patch_conflict = event->status == 409;
    manager->patch_lost = manager->patch_lost || event->status < 400 || event->status >= 500;
    mig_manager_backoff(manager, retry, PATCH_RETRY_MIN_MS, PATCH_RETRY_MAX_MS);
    if (event->result != MIG_OK && event->status != 409) {
        mig_manager_log(manager, MIG_MANAGER_WARNING, "the node's labels could not be written: %s",
                        event->error ? event->error->message : "no answer");
    }
}
