/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of the geometry: what the agent asks for, and what was kept for a boot. Both plan on a
 * snapshot that is read under the lock; the agent's own plan is never taken over.
 */
#include "base/clock.h"
#include "base/text.h"
#include "helper/server.h"
#include <errno.h>
#include <mig/config.h>
#include <string.h>

#define LOCK_DEFAULT_MS 10000u
#define REPEAT_MS 1000u /* the same progress is not told again earlier */

/* What one change works on. */
struct change {
    struct mig_goal goal;
    struct mig_policy policies[MIG_GPU_MAX];
    char config_name[MIG_SAVED_NAME_SIZE];
};

/* Fills the goal for this snapshot. */
typedef int make_goal(struct mig_server *server, const struct mig_message *request,
                      const struct mig_node *node, struct change *ret, struct mig_error *error);

static int agents_goal(struct mig_server *server, const struct mig_message *request,
                       const struct mig_node *node, struct change *ret, struct mig_error *error)
{
    (void)server;
    return mig_wire_apply_resolve(&request->apply, node, &ret->goal, ret->policies, error);
}

static int saved_goal(struct mig_server *server, const struct mig_message *request,
                      const struct mig_node *node, struct change *ret, struct mig_error *error)
{
    (void)request;
    return mig_saved_goal(mig_server_state_dir(server), node, &ret->goal, ret->config_name, error);
}

static void tell_progress(const struct mig_apply_progress *progress, void *data)
{
    struct mig_server *server = data;
    MIG_AUTO_MESSAGE struct mig_message *message =
        mig_message_new(MIG_MESSAGE_PROGRESS, server->progress_request);
    uint64_t now_ms = mig_now_ms();

    if (!message || (now_ms < server->progress_ms + REPEAT_MS &&
                     strcmp(progress->text, server->progress_text) == 0)) {
        return;
    }
    server->progress_ms = now_ms;
    mig_text_copy(server->progress_text, sizeof(server->progress_text), progress->text);
    message->progress.stage = progress->stage;
    message->progress.gpu = progress->gpu;
    message->progress.step = progress->step;
    message->progress.step_count = progress->step_count;
    mig_text_copy(message->progress.text, sizeof(message->progress.text), progress->text);
    mig_server_send(server, message);
}

static bool stop(void *data)
{
    return mig_server_is_stopped(data);
}

/* With the lock held: snapshot, goal, plan, steps. */
static int carry_out(struct mig_server *server, const struct mig_message *request, make_goal *make,
                     struct mig_apply *apply, struct mig_wire_answer *answer)
{
    MIG_AUTO_FREE struct change *change = calloc(1, sizeof(*change));
    struct mig_node_plan plan = {0};
    struct mig_error *error = &answer->error;
    int rc;

    if (!change) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not begin a change");
    }
    rc = mig_inventory_read(server->session, &answer->node, error);
    if (rc == 0) {
        mig_server_hide_mps(server, answer->node, true);
        rc = make(server, request, answer->node, change, error);
    }
    if (rc == 0) {
        mig_text_copy(answer->config_name, sizeof(answer->config_name), change->config_name);
        rc = mig_node_plan_make(answer->node, &change->goal, change->policies, &plan, error);
        if (rc == 0) {
            mig_server_yield_mps(server, answer->node, &plan);
            rc = mig_apply_run(apply, answer->node, &plan, &answer->report, error);
        }
        mig_node_plan_release(&plan);
    }
    return rc;
}

struct mig_apply_options mig_server_apply_options(const struct mig_server *server)
{
    static const char *const reset_command[] = {"nvidia-smi", "--gpu-reset", "-i", "{bus_id}",
                                                NULL};

    return (struct mig_apply_options){.state_dir = mig_server_state_dir(server),
                                      .reset_command = reset_command,
                                      .reset_root = server->options->driver_root};
}

static void run_change(struct mig_server *server, const struct mig_message *request,
                       make_goal *make, struct mig_apply_options *options,
                       struct mig_wire_answer *answer)
{
    struct mig_apply *apply = NULL;
    struct mig_error reason = {0};

    server->progress_request = request->request;
    server->progress_ms = 0;
    options->progress = tell_progress;
    options->progress_data = server;
    options->stop = stop;
    options->stop_data = server;
    answer->result =
        mig_apply_open(server->session, options, &apply, &answer->report, &answer->error);
    if (answer->result == 0) {
        answer->result = carry_out(server, request, make, apply, answer);
    }
    mig_apply_close(apply);
    mig_server_check_session(server, &answer->error);
    if (!server->driver_hangs) {
        /* as it is now, whatever has happened */
        mig_node_free(MIG_TAKE(answer->node));
        (void)mig_server_read(server, &answer->node, &reason);
        mig_server_resume_mps(server, answer->node);
    }
}

/* Opens the driver if it is not open. */
static bool is_ready(struct mig_server *server, struct mig_wire_answer *answer)
{
    struct mig_node *node = NULL;

    if (!server->session) {
        answer->result = mig_server_read(server, &node, &answer->error);
        mig_node_free(node);
    }
    return answer->result == 0;
}

void mig_server_apply(struct mig_server *server, const struct mig_message *request,
                      struct mig_wire_answer *answer)
{
    struct mig_apply_options options = mig_server_apply_options(server);

    options.skip_reset = request->apply.skip_reset;
    options.lock_timeout_ms =
        request->apply.lock_timeout_ms > 0 ? request->apply.lock_timeout_ms : LOCK_DEFAULT_MS;
    options.busy_timeout_ms = request->apply.busy_timeout_ms;
    if (is_ready(server, answer)) {
        run_change(server, request, agents_goal, &options, answer);
    }
}

void mig_server_restore(struct mig_server *server, const struct mig_message *request,
                        struct mig_wire_answer *answer)
{
    struct mig_apply_options options = mig_server_apply_options(server);

    options.lock_timeout_ms = LOCK_DEFAULT_MS;
    if (is_ready(server, answer)) {
        run_change(server, request, saved_goal, &options, answer);
    }
}

void mig_server_save(struct mig_server *server, const struct mig_message *request,
                     struct mig_wire_answer *answer)
{
    answer->result = mig_server_read(server, &answer->node, &answer->error);
    if (answer->result == 0) {
        answer->result = mig_saved_write(mig_server_state_dir(server), answer->node, request->text,
                                         &answer->error);
    }
}
