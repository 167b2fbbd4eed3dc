/* SPDX-License-Identifier: Apache-2.0 */
/* Messages: their header, and for each type the function that passes its body; see protocol.h. */
#include "helper/protocol.h"
#include "helper/codec.h"
#include "helper/host.h"
#include <errno.h>
#include <string.h>

#define MAGIC 0x4847494du /* "MIGH" */
#define VERSION 1

/* ---- bodies ---- */

static void pass_error(struct mig_wire *wire, struct mig_error *error)
{
    MIG_WIRE_ENUM(wire, error->domain, MIG_DOMAIN_EXIT);
    mig_wire_i32(wire, &error->code);
    mig_wire_text(wire, error->message, sizeof(error->message));
    mig_wire_text(wire, error->holders, sizeof(error->holders));
    mig_wire_text(wire, error->hint, sizeof(error->hint));
}

static void pass_report(struct mig_wire *wire, struct mig_apply_report *report)
{
    MIG_WIRE_ENUM(wire, report->recovery, MIG_RECOVERY_OBSOLETE);
    mig_wire_text(wire, report->recovery_text, sizeof(report->recovery_text));
    mig_wire_u32(wire, &report->gi_destroyed, UINT32_MAX);
    mig_wire_u32(wire, &report->gi_created, UINT32_MAX);
    mig_wire_u32(wire, &report->ci_destroyed, UINT32_MAX);
    mig_wire_u32(wire, &report->ci_created, UINT32_MAX);
    mig_wire_u32(wire, &report->mode_changed, UINT32_MAX);
    mig_wire_u32(wire, &report->reset_count, UINT32_MAX);
    mig_wire_u64(wire, &report->reset_gpus);
    mig_wire_bool(wire, &report->rolled_back);
    mig_wire_bool(wire, &report->mode_pending);
    mig_wire_u32(wire, &report->elapsed_ms, UINT32_MAX);
}

static void pass_instances(struct mig_wire *wire, struct mig_wire_instance *instances,
                           uint8_t *count)
{
    mig_wire_u8(wire, count, MIG_GI_MAX);
    for (unsigned i = 0; !wire->failed && i < *count; i++) {
        mig_wire_u8(wire, &instances[i].profile, UINT8_MAX);
        mig_wire_u8(wire, &instances[i].start, MIG_UNIT_MAX - 1);
        mig_wire_u32(wire, &instances[i].id, UINT32_MAX);
    }
}

static void pass_gpu_goal(struct mig_wire *wire, struct mig_wire_gpu *gpu)
{
    mig_wire_text(wire, gpu->uuid, sizeof(gpu->uuid));
    MIG_WIRE_ENUM(wire, gpu->kind, MIG_GOAL_LAYOUT);
    mig_wire_check(wire, gpu->kind != MIG_GOAL_LEAVE);
    mig_wire_bool(wire, &gpu->mig_mode);
    mig_wire_u8(wire, &gpu->gi_count, MIG_GI_MAX);
    for (unsigned i = 0; !wire->failed && i < gpu->gi_count; i++) {
        struct mig_wire_gi *gi = &gpu->gis[i];

        mig_wire_u8(wire, &gi->profile, UINT8_MAX);
        mig_wire_u8(wire, &gi->start, UINT8_MAX);
        mig_wire_check(wire, gi->start < MIG_UNIT_MAX || gi->start == MIG_START_ANY);
        mig_wire_u8(wire, &gi->ci_count, MIG_CI_MAX);
        for (unsigned j = 0; !wire->failed && j < gi->ci_count; j++) {
            mig_wire_u8(wire, &gi->ci_profiles[j], UINT8_MAX);
        }
    }
    pass_instances(wire, gpu->go, &gpu->go_count);
    pass_instances(wire, gpu->protect, &gpu->protect_count);
}

static void pass_apply(struct mig_wire *wire, struct mig_wire_apply *apply)
{
    mig_wire_bool(wire, &apply->skip_reset);
    mig_wire_u32(wire, &apply->lock_timeout_ms, UINT32_MAX);
    mig_wire_u32(wire, &apply->busy_timeout_ms, UINT32_MAX);
    mig_wire_u32(wire, &apply->gpu_count, MIG_GPU_MAX);
    for (uint32_t i = 0; !wire->failed && i < apply->gpu_count; i++) {
        pass_gpu_goal(wire, &apply->gpus[i]);
    }
}

static void pass_answer(struct mig_wire *wire, struct mig_wire_answer *answer)
{
    bool has_node = wire->out && answer->node, has_sample = wire->out && answer->sample;

    mig_wire_i32(wire, &answer->result);
    mig_wire_check(wire, answer->result <= 0 && answer->result >= MIG_E_BROKEN);
    if (answer->result != MIG_OK) {
        pass_error(wire, &answer->error);
    }
    mig_wire_bool(wire, &answer->changed);
    mig_wire_text(wire, answer->config_name, sizeof(answer->config_name));
    pass_report(wire, &answer->report);
    mig_wire_bool(wire, &has_node);
    if (has_node && !wire->failed) {
        mig_wire_node(wire, &answer->node);
    }
    mig_wire_bool(wire, &has_sample);
    if (has_sample && !wire->failed) {
        mig_wire_sample(wire, &answer->sample);
    }
}

static void pass_progress(struct mig_wire *wire, struct mig_wire_progress *progress)
{
    MIG_WIRE_ENUM(wire, progress->stage, MIG_STAGE_ROLLBACK);
    mig_wire_u32(wire, &progress->gpu, UINT32_MAX);
    mig_wire_u32(wire, &progress->step, UINT32_MAX);
    mig_wire_u32(wire, &progress->step_count, UINT32_MAX);
    mig_wire_text(wire, progress->text, sizeof(progress->text));
}

static void pass_host(struct mig_wire *wire, struct mig_message *message)
{
    struct mig_wire_host *host = &message->host;
    uint32_t count = message->type == MIG_MESSAGE_HOST ? (uint32_t)MIG_HELPER_HOST_COUNT
                                                       : (uint32_t)MIG_HELPER_SOCKET_COUNT;

    mig_wire_u32(wire, &host->what, count - 1);
    mig_wire_u32(wire, &host->timeout_ms, UINT32_MAX);
    mig_wire_text(wire, host->name, sizeof(host->name));
}

static void pass_xid(struct mig_wire *wire, struct mig_helper_xid *xid)
{
    mig_wire_text(wire, xid->gpu_uuid, sizeof(xid->gpu_uuid));
    mig_wire_u32(wire, &xid->gi_id, UINT32_MAX);
    mig_wire_u32(wire, &xid->ci_id, UINT32_MAX);
    mig_wire_u64(wire, &xid->xid);
}

/* Names become paths: nothing but a UUID gets through. */
static void pass_uuid(struct mig_wire *wire, char uuid[MIG_HELPER_MPS_ID_SIZE])
{
    mig_wire_text(wire, uuid, MIG_HELPER_MPS_ID_SIZE);
    mig_wire_check(wire, wire->failed || mig_host_is_uuid(uuid));
}

static void pass_mps(struct mig_wire *wire, struct mig_wire_mps *mps)
{
    mig_wire_u32(wire, &mps->count, MIG_HELPER_MPS_MAX);
    for (uint32_t i = 0; !wire->failed && i < mps->count; i++) {
        struct mig_helper_mps *device = &mps->devices[i];

        pass_uuid(wire, device->uuid);
        pass_uuid(wire, device->gpu_uuid);
        mig_wire_u32(wire, &device->percentage, 100);
        mig_wire_check(wire, device->percentage > 0);
        mig_wire_u32(wire, &device->memory_mib, INT32_MAX);
    }
}

static void pass_mps_state(struct mig_wire *wire, struct mig_helper_mps_state *state)
{
    pass_uuid(wire, state->uuid);
    mig_wire_bool(wire, &state->ready);
    mig_wire_text(wire, state->text, sizeof(state->text));
}

static void pass_body(struct mig_wire *wire, struct mig_message *message)
{
    switch (message->type) {
    case MIG_MESSAGE_APPLY:
        pass_apply(wire, &message->apply);
        break;
    case MIG_MESSAGE_HOST:
    case MIG_MESSAGE_SOCKET:
        pass_host(wire, message);
        break;
    case MIG_MESSAGE_ANSWER:
        pass_answer(wire, &message->answer);
        break;
    case MIG_MESSAGE_PROGRESS:
        pass_progress(wire, &message->progress);
        break;
    case MIG_MESSAGE_HELLO:
        mig_wire_u32(wire, &message->hello.pid, INT32_MAX);
        mig_wire_bool(wire, &message->hello.isolated);
        break;
    case MIG_MESSAGE_CHANGED:
        mig_wire_check(wire, !wire->out || message->node);
        if (!wire->failed) {
            mig_wire_node(wire, &message->node);
        }
        break;
    case MIG_MESSAGE_UNREADABLE:
        pass_error(wire, &message->error);
        break;
    case MIG_MESSAGE_XID:
        pass_xid(wire, &message->xid);
        break;
    case MIG_MESSAGE_RECOVERY:
        mig_wire_text(wire, message->recovery.gpu_uuid, sizeof(message->recovery.gpu_uuid));
        mig_wire_u32(wire, &message->recovery.action, UINT32_MAX);
        break;
    case MIG_MESSAGE_MPS:
        pass_mps(wire, &message->mps);
        break;
    case MIG_MESSAGE_MPS_STATE:
        pass_mps_state(wire, &message->mps_state);
        break;
    case MIG_MESSAGE_SAVE:
    case MIG_MESSAGE_SAID:
    case MIG_MESSAGE_CDI:
    case MIG_MESSAGE_READY:
    case MIG_MESSAGE_RESET:
        mig_wire_text(wire, message->text, sizeof(message->text));
        break;
    case MIG_MESSAGE_STARTED:
    case MIG_MESSAGE_ENDED:
    case MIG_MESSAGE_REPLACE:
        mig_wire_u32(wire, &message->process.pid, INT32_MAX);
        mig_wire_i32(wire, &message->process.status);
        break;
    case MIG_MESSAGE_READ:
    case MIG_MESSAGE_SAMPLE:
    case MIG_MESSAGE_RESTORE:
    case MIG_MESSAGE_TYPE_END:
        break;
    }
}

/* ---- messages ---- */

struct mig_message *mig_message_new(enum mig_message_type type, uint32_t request)
{
    struct mig_message *message = calloc(1, sizeof(*message));

    if (message) {
        message->type = type;
        message->request = request;
        message->fd = -1;
    }
    return message;
}

void mig_message_free(struct mig_message *message)
{
    if (!message) {
        return;
    }
    if (message->type == MIG_MESSAGE_ANSWER) {
        mig_node_free(message->answer.node);
        mig_sample_free(message->answer.sample);
    } else if (message->type == MIG_MESSAGE_CHANGED) {
        mig_node_free(message->node);
    }
    if (message->fd >= 0) {
        close(message->fd);
    }
    free(message);
}

static const char *const names[MIG_MESSAGE_TYPE_END] = {
    [MIG_MESSAGE_READ] = "read",
    [MIG_MESSAGE_APPLY] = "apply",
    [MIG_MESSAGE_SAVE] = "save",
    [MIG_MESSAGE_RESTORE] = "restore",
    [MIG_MESSAGE_HOST] = "host operation",
    [MIG_MESSAGE_SOCKET] = "open socket",
    [MIG_MESSAGE_ANSWER] = "answer",
    [MIG_MESSAGE_PROGRESS] = "progress",
    [MIG_MESSAGE_HELLO] = "hello",
    [MIG_MESSAGE_CHANGED] = "changed",
    [MIG_MESSAGE_UNREADABLE] = "unreadable",
    [MIG_MESSAGE_XID] = "critical error",
    [MIG_MESSAGE_SAID] = "said",
    [MIG_MESSAGE_STARTED] = "started",
    [MIG_MESSAGE_ENDED] = "ended",
    [MIG_MESSAGE_REPLACE] = "replace",
    [MIG_MESSAGE_SAMPLE] = "measure",
    [MIG_MESSAGE_CDI] = "write CDI file",
    [MIG_MESSAGE_RECOVERY] = "recovery action",
    [MIG_MESSAGE_READY] = "ready",
    [MIG_MESSAGE_RESET] = "reset",
    [MIG_MESSAGE_MPS] = "share by MPS",
    [MIG_MESSAGE_MPS_STATE] = "state of MPS",
};

const char *mig_message_name(enum mig_message_type type)
{
    return type > 0 && type < MIG_MESSAGE_TYPE_END ? names[type] : "unknown";
}

/* Which messages come with a descriptor: an answer and CDI may, STARTED must, others must not. */
static bool may_have_fd(enum mig_message_type type, bool has_fd)
{
    return type == MIG_MESSAGE_ANSWER || type == MIG_MESSAGE_CDI ||
           has_fd == (type == MIG_MESSAGE_STARTED);
}

static void pass_header(struct mig_wire *wire, struct mig_message_header *header)
{
    uint32_t magic = MAGIC;
    uint16_t type = (uint16_t)header->type;
    uint8_t version = VERSION;

    mig_wire_u32(wire, &magic, MAGIC);
    mig_wire_u8(wire, &version, VERSION);
    mig_wire_bool(wire, &header->has_fd);
    mig_wire_u16(wire, &type, MIG_MESSAGE_TYPE_END - 1);
    mig_wire_check(wire, magic == MAGIC && version == VERSION && type > 0);
    mig_wire_u32(wire, &header->request, UINT32_MAX);
    mig_wire_u32(wire, &header->size, MIG_MESSAGE_BODY_MAX);
    header->type = (enum mig_message_type)type;
    mig_wire_check(wire, wire->failed || may_have_fd(header->type, header->has_fd));
}

int mig_message_encode(const struct mig_message *message, struct mig_buffer *out,
                       struct mig_error *error)
{
    /* while writing nothing is assigned to: one description serves both ways */
    union {
        const struct mig_message *given;
        struct mig_message *passed;
    } body = {message};
    struct mig_message_header header = {
        .type = message->type, .request = message->request, .has_fd = message->fd >= 0};
    MIG_AUTO_BUFFER struct mig_buffer bytes;
    struct mig_wire wire = {.out = &bytes};

    mig_buffer_init(&bytes, MIG_MESSAGE_BODY_MAX);
    pass_body(&wire, body.passed);
    header.size = (uint32_t)bytes.size;
    if (!wire.failed) {
        wire.out = out;
        pass_header(&wire, &header);
        mig_wire_check(&wire, mig_buffer_append(out, bytes.data, bytes.size) == 0);
    }
    if (wire.failed) {
        return mig_error_set_errno(error, MIG_E_FAILED, bytes.error ? bytes.error : EMSGSIZE,
                                   "could not write the message '%s'",
                                   mig_message_name(message->type));
    }
    return 0;
}

static int refuse(const char *what, struct mig_error *error)
{
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                         "a message between the processes of migd cannot be read: %s", what);
}

int mig_message_decode_header(const uint8_t bytes[MIG_MESSAGE_HEADER_SIZE],
                              struct mig_message_header *ret, struct mig_error *error)
{
    struct mig_wire wire = {.data = bytes, .size = MIG_MESSAGE_HEADER_SIZE};

    *ret = (struct mig_message_header){0};
    pass_header(&wire, ret);
    return wire.failed ? refuse("its header is wrong", error) : 0;
}

int mig_message_decode(const struct mig_message_header *header, const uint8_t *body,
                       struct mig_message **ret, struct mig_error *error)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(header->type, header->request);
    struct mig_wire wire = {.data = body, .size = header->size};

    if (!message) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read a message");
    }
    pass_body(&wire, message);
    mig_wire_check(&wire, wire.size == 0);
    if (wire.failed) {
        return refuse(mig_message_name(header->type), error);
    }
    *ret = MIG_TAKE(message);
    return 0;
}
