/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding a lease: read it, decide (lease_policy.c), write it, and again after a while. Each write
 * names the resourceVersion that was read, so of several that want it one gets it.
 */
#include "kube/lease.h"
#include "base/cleanup.h"
#include "kube/client_internal.h"
#include "kube/json.h"
#include "kube/lease_policy.h"
#include "kube/microtime.h"
#include "kube/path.h"
#include <errno.h>
#include <string.h>

#define DURATION_MS 15000u

struct mig_kube_lease {
    struct mig_kube *kube;
    struct mig_kube_lease_options options; /* its texts are copies */
    char *namespace_name, *name, *identity;
    uv_timer_t timer;
    bool freed, told_held;
    char told_holder[MIG_KUBE_LEASE_TEXT_MAX];
    struct mig_kube_lease_state state;
    struct mig_kube_call *call;
    json_t *object; /* as read or written last */
    uint64_t sent_ms, ask_ms;
};

static void on_timer(uv_timer_t *timer);
static void on_written(struct mig_kube_call *call, int status, json_t *object,
                       const struct mig_error *error, void *data);

static uint64_t now(const struct mig_kube_lease *lease)
{
    return uv_now(lease->timer.loop);
}

static void tell(struct mig_kube_lease *lease)
{
    bool held = mig_kube_lease_holds(&lease->state, now(lease));
    const char *holder = mig_kube_json_text(lease->object, "spec", "holderIdentity", NULL);

    if (held == lease->told_held &&
        strncmp(holder, lease->told_holder, sizeof(lease->told_holder) - 1) == 0) {
        return;
    }
    lease->told_held = held;
    snprintf(lease->told_holder, sizeof(lease->told_holder), "%s", holder);
    lease->options.changed(held, lease->told_holder, lease->options.data);
}

static void keep(struct mig_kube_lease *lease, json_t *object)
{
    json_decref(lease->object);
    lease->object = json_incref(object);
}

/* Asks again at `ask_ms`, and looks at whether it is still ours before. */
static void schedule(struct mig_kube_lease *lease)
{
    uint64_t wake_ms = lease->ask_ms;

    if (lease->state.held && lease->state.held_until_ms < wake_ms) {
        wake_ms = lease->state.held_until_ms;
    }
    uv_timer_start(&lease->timer, on_timer, wake_ms > now(lease) ? wake_ms - now(lease) : 0, 0);
}

static void ask_later(struct mig_kube_lease *lease)
{
    unsigned jitter_ms = lease->options.renew_ms / 10;

    lease->call = NULL;
    lease->ask_ms = now(lease) + lease->options.renew_ms -
                    mig_kube_random_below(mig_kube_random(lease->kube), jitter_ms + 1);
    tell(lease);
    if (!lease->freed) {
        schedule(lease);
    }
}

/* Writes it: ours, or with identity "" nobody's. */
static int write_lease(struct mig_kube_lease *lease, const char *identity, mig_kube_done *done,
                       struct mig_kube_call **ret)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    MIG_AUTO_JSON json_t *body = NULL;
    char time[MIG_KUBE_MICROTIME_SIZE];
    struct mig_kube_request request = {.method = lease->object ? "PUT" : "POST",
                                       .timeout_ms = lease->options.duration_ms,
                                       .retry = MIG_KUBE_RETRY_SAFE,
                                       .done = done,
                                       .data = lease};

    mig_kube_microtime(mig_kube_realtime_us(), time);
    body = mig_kube_lease_object(lease->object, lease->namespace_name, lease->name, identity,
                                 lease->options.duration_ms, time);
    mig_kube_path_init(&path, "/apis/coordination.k8s.io/v1");
    mig_kube_path_resource(&path, lease->namespace_name, "leases");
    if (lease->object) {
        mig_kube_path_name(&path, lease->name);
    }
    request.path = mig_kube_path_text(&path, NULL);
    request.body = body;
    if (!request.path || !body) {
        return MIG_E_FAILED;
    }
    return mig_kube_request(lease->kube, &request, ret, NULL);
}

static void on_read(struct mig_kube_call *call, int status, json_t *object,
                    const struct mig_error *error, void *data)
{
    struct mig_kube_lease *lease = data;

    (void)call;
    lease->call = NULL;
    if (error && status != 404) {
        ask_later(lease);
        return;
    }
    keep(lease, status == 404 ? NULL : object);
    switch (mig_kube_lease_decide(&lease->state, lease->object, lease->identity, now(lease))) {
    case MIG_KUBE_LEASE_CREATE:
    case MIG_KUBE_LEASE_TAKE:
    case MIG_KUBE_LEASE_RENEW:
        lease->sent_ms = now(lease);
        if (write_lease(lease, lease->identity, on_written, &lease->call) < 0) {
            ask_later(lease);
        } else {
            schedule(lease);
        }
        break;
    case MIG_KUBE_LEASE_WAIT:
        ask_later(lease);
        break;
    }
}

static void on_written(struct mig_kube_call *call, int status, json_t *object,
                       const struct mig_error *error, void *data)
{
    struct mig_kube_lease *lease = data;

    (void)call;
    (void)status; /* whoever was first is read with the next turn */
    if (!error) {
        keep(lease, object);
        mig_kube_lease_won(&lease->state, lease->sent_ms);
    }
    ask_later(lease);
}

static int read_lease(struct mig_kube_lease *lease, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    struct mig_kube_request request = {.method = "GET",
                                       .timeout_ms = lease->options.duration_ms,
                                       .retry = MIG_KUBE_RETRY_ALWAYS,
                                       .done = on_read,
                                       .data = lease};

    mig_kube_path_init(&path, "/apis/coordination.k8s.io/v1");
    mig_kube_path_resource(&path, lease->namespace_name, "leases");
    mig_kube_path_name(&path, lease->name);
    request.path = mig_kube_path_text(&path, error);
    lease->ask_ms = UINT64_MAX; /* the answer says when */
    return request.path ? mig_kube_request(lease->kube, &request, &lease->call, error)
                        : MIG_E_USAGE;
}

static void on_timer(uv_timer_t *timer)
{
    struct mig_kube_lease *lease = timer->data;

    tell(lease);
    if (lease->freed) {
        return;
    }
    if (!lease->call && now(lease) >= lease->ask_ms && read_lease(lease, NULL) < 0) {
        ask_later(lease);
    } else if (lease->ask_ms != UINT64_MAX || lease->state.held) {
        schedule(lease);
    }
}

/* --- life --- */

static void free_memory(struct mig_kube_lease *lease)
{
    json_decref(lease->object);
    free(lease->namespace_name);
    free(lease->name);
    free(lease->identity);
    free(lease);
}

int mig_kube_lease_new(struct mig_kube *kube, const struct mig_kube_lease_options *options,
                       struct mig_kube_lease **ret, struct mig_error *error)
{
    struct mig_kube_lease *lease = calloc(1, sizeof(*lease));
    int rc = 0;

    if (lease) {
        lease->kube = kube;
        lease->options = *options;
        lease->namespace_name = strdup(options->namespace_name);
        lease->name = strdup(options->name);
        lease->identity = strdup(options->identity);
    }
    if (!lease || !lease->namespace_name || !lease->name || !lease->identity) {
        rc = mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not make a lease");
    } else {
        if (lease->options.duration_ms < 1000) {
            lease->options.duration_ms = DURATION_MS;
        }
        if (lease->options.renew_ms == 0) {
            lease->options.renew_ms = lease->options.duration_ms / 3;
        }
        lease->state.duration_ms = lease->options.duration_ms;
        rc = read_lease(lease, error);
    }
    if (rc < 0) {
        if (lease) {
            free_memory(lease);
        }
        return rc;
    }
    uv_timer_init(mig_kube_loop(kube), &lease->timer);
    lease->timer.data = lease;
    *ret = lease;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free_memory(handle->data);
}

void mig_kube_lease_free(struct mig_kube_lease *lease)
{
    if (!lease) {
        return;
    }
    lease->freed = true;
    mig_kube_cancel(MIG_TAKE(lease->call));
    if (mig_kube_lease_holds(&lease->state, now(lease))) {
        write_lease(lease, "", NULL, NULL);
    }
    uv_close((uv_handle_t *)&lease->timer, on_closed);
}
