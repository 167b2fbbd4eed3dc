/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPS in the helper: what the agent wants shared, and daemons that must not be in the way of a
 * change.
 *
 * A server that an MPS daemon of ours has started is no user of a device: it is there so that users
 * can come. It is taken out of every snapshot, and before a change it is ended on what goes. Its
 * clients are users: the driver lists them, and before a change the daemons are asked as well.
 */
#include "base/text.h"
#include "gpu/compute_mode.h"
#include "gpu/process.h"
#include "helper/mps.h"
#include "helper/server.h"
#include <string.h>

/* ---- what the daemons need of the helper ---- */

static int get_mode(const char *gpu_uuid, int *ret, struct mig_error *error, void *data)
{
    struct mig_server *server = data;
    struct mig_node *node = NULL;
    int rc = server->session ? 0 : mig_server_read(server, &node, error);

    mig_node_free(node);
    rc = rc == 0 ? mig_compute_mode_get(server->session, gpu_uuid, ret, error) : rc;
    if (rc < 0) {
        mig_server_check_session(server, error);
    }
    return rc;
}

static int set_mode(const char *gpu_uuid, int mode, struct mig_error *error, void *data)
{
    struct mig_server *server = data;
    int now = MIG_COMPUTE_MODE_NONE;
    int rc = get_mode(gpu_uuid, &now, error, data);

    if (rc == 0 && now != mode) {
        rc = mig_compute_mode_set(server->session, gpu_uuid, mode, error);
        if (rc < 0) {
            mig_server_check_session(server, error);
        }
    }
    return rc;
}

static void tell_state(const struct mig_helper_mps_state *state, void *data)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_MPS_STATE, 0);

    if (message) {
        message->mps_state = *state;
        mig_server_send(data, message);
    }
}

static void say_line(const char *text, void *data)
{
    mig_server_say(data, "%s", text);
}

struct mig_mps *mig_server_mps_new(struct mig_server *server)
{
    const struct mig_mps_options options = {
        .dir = server->options->mps_dir,
        .driver_root = server->options->driver_root,
        .get_mode = get_mode,
        .set_mode = set_mode,
        .exclusive_mode = mig_compute_mode_exclusive(),
        .told = tell_state,
        .said = say_line,
        .data = server,
    };

    return mig_mps_new(&options);
}

void mig_server_share(struct mig_server *server, const struct mig_message *request)
{
    mig_mps_want(server->mps, request->mps.devices, request->mps.count);
}

/* ---- snapshots ---- */

static bool is_server(const struct mig_process *process, void *data)
{
    const struct mig_server *server = data;

    return mig_mps_owns(server->mps, process->pid);
}

/* The same, but one with clients stays. */
static bool is_idle_server(const struct mig_process *process, void *data)
{
    const struct mig_server *server = data;

    return mig_mps_owns(server->mps, process->pid) && !mig_mps_owns_used(server->mps, process->pid);
}

void mig_server_hide_mps(struct mig_server *server, struct mig_node *node, bool idle_only)
{
    if (mig_mps_running_count(server->mps) == 0) {
        return;
    }
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        mig_processes_drop(&node->gpus[i], idle_only ? is_idle_server : is_server, server);
    }
}

/* ---- changes ---- */

/* The devices of an instance, or of one of its compute instances. */
static void yield_instance(struct mig_server *server, const struct mig_gpu *gpu, uint32_t gi_id,
                           uint32_t ci_id)
{
    for (unsigned i = 0; i < gpu->layout.gi_count; i++) {
        const struct mig_gi *gi = &gpu->layout.gis[i];

        for (unsigned j = 0; gi->id == gi_id && j < gi->ci_count; j++) {
            if (ci_id == MIG_ID_NONE || gi->cis[j].id == ci_id) {
                mig_mps_yield(server->mps, gpu->gi_infos[i].devices[j].uuid);
            }
        }
    }
}

void mig_server_yield_mps(struct mig_server *server, const struct mig_node *node,
                          const struct mig_node_plan *plan)
{
    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        const struct mig_gpu_plan *part = &plan->gpus[i];
        const struct mig_gpu *gpu = &node->gpus[part->gpu];

        if (part->set_mode) {
            mig_mps_yield(server->mps, gpu->uuid);
            for (unsigned j = 0; j < gpu->layout.gi_count; j++) {
                yield_instance(server, gpu, gpu->layout.gis[j].id, MIG_ID_NONE);
            }
        }
        for (unsigned j = 0; j < part->plan.step_count; j++) {
            const struct mig_step *step = &part->plan.steps[j];

            if (step->kind == MIG_STEP_DESTROY_GI) {
                yield_instance(server, gpu, step->gi_id, MIG_ID_NONE);
            } else if (step->kind == MIG_STEP_DESTROY_CI) {
                yield_instance(server, gpu, step->gi_id, step->ci_id);
            }
        }
    }
}

/* Whole GPUs in MIG mode are nothing that can be shared. */
static bool remains(const char *uuid, void *data)
{
    const struct mig_node *node = data;

    for (uint32_t i = 0; node && i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];

        if (!gpu->mig_mode && strcmp(gpu->uuid, uuid) == 0) {
            return true;
        }
        for (unsigned j = 0; j < gpu->layout.gi_count; j++) {
            for (unsigned k = 0; k < gpu->layout.gis[j].ci_count; k++) {
                if (strcmp(gpu->gi_infos[j].devices[k].uuid, uuid) == 0) {
                    return true;
                }
            }
        }
    }
    return !node; /* nothing is known: it is tried */
}

void mig_server_resume_mps(struct mig_server *server, struct mig_node *node)
{
    mig_mps_resume(server->mps, remains, node);
}
