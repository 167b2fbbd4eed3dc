/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to what was asked, and what happens when none comes. An answer that nobody waits for is
 * ignored; what it brought (a snapshot, an object) was taken in all the same.
 */
#include "base/text.h"
#include "manager/internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE_TOLD_AFTER 5u /* tries to start them again, that never end */

/* ---- who holds what -------------------------------------------------------------------------- */

static void copy_pod(struct mig_manager_pod *pod, const struct mig_manager_holder *holder)
{
    char *replica;

    (void)mig_text_copy(pod->namespace_name, sizeof(pod->namespace_name), holder->namespace_name);
    (void)mig_text_copy(pod->pod, sizeof(pod->pod), holder->pod);
    (void)mig_text_copy(pod->uid, sizeof(pod->uid), holder->uid ? holder->uid : "");
    (void)mig_text_copy(pod->device, sizeof(pod->device), holder->device);
    replica = strstr(pod->device, "::");
    if (replica) {
        *replica = '\0';
    }
}

/* The kubelet names devices of every kind; those of network cards and the like are not our
 * business. */
static bool is_of_gpu(const struct mig_manager_holder *holder)
{
    return mig_text_starts_with(holder->device, "GPU-") ||
           mig_text_starts_with(holder->device, "MIG-");
}

static int see_pods(struct mig_manager *manager, const struct mig_manager_holders *holders,
                    struct mig_error *error)
{
    size_t count = holders->count, kept = 0;
    struct mig_manager_pod *pods;

    if (holders->truncated || count > MIG_MANAGER_HOLDERS_MAX) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "the kubelet names more than %u devices in use: not all holders are "
                             "known",
                             MIG_MANAGER_HOLDERS_MAX);
    }
    pods = calloc(count + 1, sizeof(*pods));
    if (!pods) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not keep %zu holders",
                                   count);
    }
    for (size_t i = 0; i < count; i++) {
        if (is_of_gpu(&holders->holders[i])) {
            copy_pod(&pods[kept++], &holders->holders[i]);
        }
    }
    free(manager->pods);
    manager->pods = pods;
    manager->pod_count = kept;
    return MIG_OK;
}

static void on_holders(struct mig_manager *manager, const struct mig_manager_event *event)
{
    int result = event->result;

    manager->pods_error = event->error ? *event->error : (struct mig_error){0};
    if (result == MIG_OK && event->holders) {
        manager->kubelet_seen = true;
        result = see_pods(manager, event->holders, &manager->pods_error);
    }
    manager->pods_known = result == MIG_OK && event->holders;
    manager->run.holders_fresh = true;
}

/* ---- the hardware ---------------------------------------------------------------------------- */

static void on_read(struct mig_manager *manager, const struct mig_manager_event *event)
{
    if (event->node) {
        manager->run.node_fresh = true;
        return;
    }
    manager->node_unreadable = true;
    manager->node_error = event->error ? *event->error : (struct mig_error){0};
    mig_manager_backoff(manager, &manager->read_retry, manager->options.retry_min_ms,
                        manager->options.retry_max_ms);
}

/* The driver says in use: if nobody is known to use it, pause the GPU clients the next time. */
static void learn_from_busy(struct mig_manager *manager)
{
    if (manager->clients.held) {
        manager->run.futile = true;
    } else if (mig_manager_has_clients(manager) && !manager->run.futile) {
        manager->run.escalate = true;
    }
}

static void on_apply(struct mig_manager *manager, const struct mig_manager_event *event)
{
    struct mig_error error = event->error ? *event->error : (struct mig_error){0};
    bool met = event->node && mig_goal_is_met(event->node, &manager->apply_goal, NULL);

    manager->node_stale = event->node == NULL;
    mig_manager_look_again(manager);
    if (event->result == MIG_OK || met) {
        manager->run.applied = true;
        manager->run.unseen = !manager->clients.held;
        manager->run.refreshed = false;
    } else if (event->result == MIG_E_FAILED || event->result == MIG_E_BROKEN) {
        /* what was put back may have other UUIDs; who is told is told with the next success */
        manager->run.applied = manager->run.unseen = true;
        manager->run.refreshed = false;
    }
    manager->run.unconfirmed = event->result == MIG_OK && !event->node;
    if (met || manager->run.unconfirmed) {
        return; /* finished, or a read will tell */
    }
    if (event->result == MIG_OK) {
        mig_error_clear(&error);
        (void)mig_goal_is_met(event->node, &manager->apply_goal, &error);
        mig_error_prefix(&error, MIG_MANAGER_NOT_SHOWN);
    }
    if (event->result == MIG_E_BUSY) {
        if (event->node && !manager->run.surprised) {
            manager->run.surprised = true;
            return; /* what was read back may show who it is: they are asked as set up */
        }
        learn_from_busy(manager);
    }
    mig_manager_consider_reboot(manager, &error);
}

/* ---- clients and services -------------------------------------------------------------------- */

static void on_client_pods(struct mig_manager *manager, const struct mig_manager_event *event)
{
    struct mig_manager_clients *clients = &manager->clients;

    clients->poll_ms = manager->now_ms + manager->options.poll_ms;
    if (event->result != MIG_OK) {
        (void)mig_text_copy(clients->awaited, sizeof(clients->awaited),
                            event->error ? event->error->message : "they could not be listed");
        clients->awaited_count = 1;
        return;
    }
    clients->awaited_count = event->name_count;
    clients->had_pods = event->name_count == 0;
    clients->awaited[0] = '\0';
    for (size_t i = 0; i < event->name_count; i++) {
        size_t used = strlen(clients->awaited);

        if (used + strlen(event->names[i]) + 3 > sizeof(clients->awaited)) {
            break;
        }
        strncat(clients->awaited, i > 0 ? ", " : "", sizeof(clients->awaited) - used - 1);
        strncat(clients->awaited, event->names[i], sizeof(clients->awaited) - used - 3);
    }
}

/* Beside those of before that are not back yet. */
static void add_stopped(struct mig_manager_clients *clients, const char *name)
{
    for (size_t i = 0; i < clients->stopped_count; i++) {
        if (strcmp(clients->stopped[i], name) == 0) {
            return;
        }
    }
    if (clients->stopped_count < MIG_MANAGER_SERVICES_MAX) {
        (void)mig_text_copy(clients->stopped[clients->stopped_count++], sizeof(clients->stopped[0]),
                            name);
    }
}

static void on_stopped(struct mig_manager *manager, const struct mig_manager_event *event)
{
    struct mig_manager_clients *clients = &manager->clients;

    clients->stopped_done = true;
    if (event->result != MIG_OK && !event->names) { /* not known: any of them may be down */
        for (size_t i = 0; i < manager->service_count; i++) {
            add_stopped(clients, manager->services[i]);
        }
    }
    for (size_t i = 0; i < event->name_count; i++) {
        add_stopped(clients, event->names[i]);
    }
    if (event->result != MIG_OK) {
        mig_manager_say(manager, MIG_MANAGER_WARNING, "MigServices",
                        "not all host services could be stopped: %s",
                        event->error ? event->error->message : "no answer");
    }
}

static void on_started(struct mig_manager *manager, const struct mig_manager_event *event)
{
    struct mig_manager_clients *clients = &manager->clients;

    if (event->result == MIG_OK) {
        clients->stopped_count = 0;
        clients->start_retry = (struct mig_manager_retry){0};
        return;
    }
    mig_manager_backoff(manager, &clients->start_retry, manager->options.poll_ms,
                        manager->options.retry_max_ms);
    if (clients->start_retry.failure_count >= SERVICE_TOLD_AFTER) {
        mig_manager_say(manager, MIG_MANAGER_WARNING, "MigServices",
                        "host services that were stopped for the change could not all be started "
                        "again: %s",
                        event->error ? event->error->message : "no answer");
    }
}

static void on_cdi(struct mig_manager *manager, const struct mig_manager_event *event)
{
    struct mig_error error = event->error ? *event->error : (struct mig_error){0};

    if (event->result == MIG_OK) {
        manager->run.refreshed = true;
        return;
    }
    mig_error_prefix(&error, "the geometry is in place but its CDI specs could not be made");
    mig_manager_fail(manager, "MigConfigFailed", &error);
}

static void on_reboot(struct mig_manager *manager, const struct mig_manager_event *event)
{
    struct mig_error error = event->error ? *event->error : (struct mig_error){0};

    if (event->result != MIG_OK && manager->state == MIG_MANAGER_STATE_REBOOTING) {
        manager->reboot_deadline_ms = 0;
        mig_error_prefix(&error, "could not reboot the host");
        mig_manager_fail(manager, "MigConfigFailed", &error);
    }
}

static void on_taint(struct mig_manager *manager, const struct mig_manager_event *event)
{
    if (event->object) {
        mig_manager_see_object(manager, event->object);
    }
    if (event->result == MIG_OK) {
        manager->seen.taint = false;
    }
    mig_manager_backoff(manager, &manager->taint_retry, 250, 30000);
}

/* ---- by id ----------------------------------------------------------------------------------- */

typedef void answer(struct mig_manager *manager, const struct mig_manager_event *event);

static answer *const answers[] = {
    [MIG_MANAGER_OP_PATCH] = mig_manager_patched,
    [MIG_MANAGER_OP_TAINT] = on_taint,
    [MIG_MANAGER_OP_CLIENT_PODS] = on_client_pods,
    [MIG_MANAGER_OP_HOLDERS] = on_holders,
    [MIG_MANAGER_OP_READ] = on_read,
    [MIG_MANAGER_OP_APPLY] = on_apply,
    [MIG_MANAGER_OP_STOP] = on_stopped,
    [MIG_MANAGER_OP_START] = on_started,
    [MIG_MANAGER_OP_CDI] = on_cdi,
    [MIG_MANAGER_OP_REBOOT] = on_reboot,
};

void mig_manager_answer(struct mig_manager *manager, const struct mig_manager_event *event)
{
    for (unsigned i = 0; i < MIG_MANAGER_OP_COUNT; i++) {
        if (event->id != 0 && manager->ops[i].id == event->id) {
            manager->ops[i].id = 0;
            answers[i](manager, event);
            return;
        }
    }
    (void)mig_manager_evict_answer(manager, event);
}

/* What is not answered in its time has failed. */
void mig_manager_expire(struct mig_manager *manager)
{
    static const char *const names[] = {
        "patching the node",      "removing the taint",     "listing pods of GPU clients",
        "asking the kubelet",     "reading the GPUs",       "changing the GPUs",
        "stopping host services", "starting host services", "making the CDI specs",
        "rebooting the host"};

    for (unsigned i = 0; i < MIG_MANAGER_OP_COUNT; i++) {
        struct mig_error error;
        struct mig_manager_event event = {.kind = MIG_MANAGER_ANSWER, .error = &error};

        if (mig_manager_expired(&manager->ops[i], manager)) {
            event.result = mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                         "%s was not answered in its time", names[i]);
            answers[i](manager, &event);
        }
    }
}
