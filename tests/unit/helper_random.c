/* SPDX-License-Identifier: Apache-2.0 */
/* See helper_random.h. Padding and what is behind a text's end are zero, so memory can be compared.
 */
#include "helper_random.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

unsigned helper_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static void text(unsigned *seed, char *buffer, size_t size)
{
    size_t length = helper_random(seed) % 3 == 0 ? 0 : helper_random(seed) % size;

    if (helper_random(seed) % 20 == 0) {
        length = size - 1;
    }
    for (size_t i = 0; i < length; i++) {
        buffer[i] = (char)('!' + helper_random(seed) % 90);
    }
}

static bool coin(unsigned *seed)
{
    return helper_random(seed) % 2 == 0;
}

static void fill_gi(unsigned *seed, struct mig_gpu *gpu, unsigned index)
{
    const struct mig_model *model = gpu->layout.model;
    struct mig_gi *gi = &gpu->layout.gis[index];
    const struct mig_profile *profile;

    gi->profile = (uint8_t)(helper_random(seed) % model->profile_count);
    profile = &model->profiles[gi->profile];
    gi->start = (uint8_t)(helper_random(seed) % MIG_UNIT_MAX);
    gi->in_use = coin(seed);
    gi->id = helper_random(seed);
    text(seed, gi->holder, sizeof(gi->holder));
    gpu->gi_infos[index].memory_total_mib = (int64_t)helper_random(seed) - 1;
    gi->ci_count = (uint8_t)(profile->ci_profile_count > 0 ? helper_random(seed) % MIG_CI_MAX : 0);
    for (unsigned i = 0; i < gi->ci_count; i++) {
        gi->cis[i].profile = (uint8_t)(helper_random(seed) % profile->ci_profile_count);
        gi->cis[i].start = coin(seed) ? MIG_START_ANY : (uint8_t)(helper_random(seed) % 8);
        gi->cis[i].in_use = coin(seed);
        gi->cis[i].id = helper_random(seed);
        gpu->gi_infos[index].devices[i].index = (int32_t)(helper_random(seed) % 8);
        text(seed, gpu->gi_infos[index].devices[i].uuid, MIG_UUID_SIZE);
        gpu->gi_infos[index].devices[i].attributes.sm_count = (int32_t)helper_random(seed);
        gpu->gi_infos[index].devices[i].attributes.memory_mib = (int64_t)helper_random(seed) << 9;
    }
}

static void fill_processes(unsigned *seed, struct mig_gpu *gpu)
{
    uint32_t count = helper_random(seed) % 4 == 0 ? helper_random(seed) % 50 : 0;

    if (helper_random(seed) % 200 == 0) {
        count = MIG_PROCESS_MAX;
    }
    gpu->process_count = count + (coin(seed) ? 0 : helper_random(seed));
    gpu->process_known = count;
    gpu->processes = count > 0 ? calloc(count, sizeof(*gpu->processes)) : NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct mig_process *process = &gpu->processes[i];

        process->pid = helper_random(seed);
        process->gi_id = coin(seed) ? MIG_ID_NONE : helper_random(seed) % 16;
        process->ci_id = coin(seed) ? MIG_ID_NONE : helper_random(seed) % 8;
        process->memory_mib = coin(seed) ? MIG_UNKNOWN : (int64_t)helper_random(seed);
        process->type = "CGM"[helper_random(seed) % 3];
        text(seed, process->name, sizeof(process->name));
    }
}

static void fill_gpu(unsigned *seed, struct mig_gpu *gpu)
{
    for (unsigned i = 0; i < MIG_GI_MAX; i++) {
        gpu->gi_infos[i].memory_used_mib = gpu->gi_infos[i].memory_total_mib = MIG_UNKNOWN;
        for (unsigned j = 0; j < MIG_CI_MAX; j++) {
            gpu->gi_infos[i].devices[j].index = MIG_UNKNOWN;
            memset(&gpu->gi_infos[i].devices[j].attributes, 0xff, sizeof(struct mig_attributes));
        }
    }
    gpu->index = helper_random(seed) % 64;
    text(seed, gpu->uuid, sizeof(gpu->uuid));
    text(seed, gpu->name, sizeof(gpu->name));
    text(seed, gpu->bus_id, sizeof(gpu->bus_id));
    gpu->pci_device = helper_random(seed);
    gpu->pci_subsystem = helper_random(seed);
    gpu->minor = coin(seed) ? MIG_UNKNOWN : 3;
    gpu->numa_node = coin(seed) ? MIG_UNKNOWN : (int32_t)helper_random(seed);
    gpu->pci_class = helper_random(seed);
    gpu->cc_major = (int32_t)(helper_random(seed) % 14);
    gpu->cc_minor = (int32_t)(helper_random(seed) % 10);
    text(seed, gpu->clique, sizeof(gpu->clique));
    gpu->vgpu = coin(seed);
    text(seed, gpu->vgpu_host_version, sizeof(gpu->vgpu_host_version));
    text(seed, gpu->vgpu_host_branch, sizeof(gpu->vgpu_host_branch));
    gpu->mig_capable = coin(seed);
    gpu->mig_mode = coin(seed);
    gpu->mig_mode_pending = coin(seed);
    gpu->model_from_driver = coin(seed);
    gpu->memory_used_mib = coin(seed) ? MIG_UNKNOWN : (int64_t)helper_random(seed);
    gpu->memory_total_mib = (int64_t)helper_random(seed) << 20;
    fill_processes(seed, gpu);
    if (helper_random(seed) % 5 == 0) {
        text(seed, gpu->problem, sizeof(gpu->problem));
        return;
    }
    gpu->layout.model = mig_catalog_get(helper_random(seed) % mig_catalog_count());
    gpu->layout.gi_count =
        (uint8_t)(gpu->layout.model->profile_count > 0 ? helper_random(seed) % (MIG_GI_MAX + 1)
                                                       : 0);
    for (unsigned i = 0; i < gpu->layout.gi_count; i++) {
        fill_gi(seed, gpu, i);
    }
}

struct mig_node *helper_random_node(unsigned seed)
{
    struct mig_node *node = calloc(1, sizeof(*node));
    uint32_t count = helper_random(&seed) % 9;

    if (!node) {
        abort();
    }
    if (helper_random(&seed) % 30 == 0) {
        count = MIG_GPU_MAX;
    }
    node->generation = helper_random(&seed);
    text(&seed, node->driver_version, sizeof(node->driver_version));
    text(&seed, node->nvml_version, sizeof(node->nvml_version));
    node->cuda_version = coin(&seed) ? MIG_UNKNOWN : (int32_t)helper_random(&seed);
    node->gpu_count = count;
    node->gpus = calloc(count > 0 ? count : 1, sizeof(*node->gpus));
    if (!node->gpus) {
        abort();
    }
    for (uint32_t i = 0; i < count; i++) {
        fill_gpu(&seed, &node->gpus[i]);
    }
    return node;
}

static void fill_meters(unsigned *seed, int64_t *meters)
{
    for (size_t i = 0; i < MIG_METER_COUNT; i++) {
        meters[i] = coin(seed) ? MIG_METER_ABSENT : (int64_t)helper_random(seed) - 9;
    }
}

static struct mig_sample *random_sample(unsigned seed)
{
    struct mig_sample *sample = calloc(1, sizeof(*sample));

    if (!sample || !(sample->gpus = calloc(9, sizeof(*sample->gpus)))) {
        abort();
    }
    sample->gpu_count = helper_random(&seed) % 9;
    for (uint32_t i = 0; i < sample->gpu_count; i++) {
        struct mig_gpu_sample *gpu = &sample->gpus[i];

        gpu->index = helper_random(&seed);
        text(&seed, gpu->uuid, sizeof(gpu->uuid));
        fill_meters(&seed, gpu->meters);
        gpu->gi_count = helper_random(&seed) % (MIG_GI_MAX + 1);
        for (uint32_t j = 0; j < gpu->gi_count; j++) {
            gpu->gis[j].gi_id = helper_random(&seed);
            fill_meters(&seed, gpu->gis[j].meters);
        }
    }
    return sample;
}

static void fill_error(unsigned *seed, struct mig_error *error)
{
    error->domain = helper_random(seed) % (MIG_DOMAIN_EXIT + 1);
    error->code = (int)helper_random(seed) - 100;
    text(seed, error->message, sizeof(error->message));
    text(seed, error->holders, sizeof(error->holders));
    text(seed, error->hint, sizeof(error->hint));
}

static void fill_instances(unsigned *seed, struct mig_wire_instance *instances, uint8_t *count)
{
    *count = (uint8_t)(helper_random(seed) % (MIG_GI_MAX + 1));
    for (unsigned i = 0; i < *count; i++) {
        instances[i].profile = (uint8_t)helper_random(seed);
        instances[i].start = (uint8_t)(helper_random(seed) % MIG_UNIT_MAX);
        instances[i].id = helper_random(seed);
    }
}

static void fill_apply(unsigned *seed, struct mig_wire_apply *apply)
{
    apply->skip_reset = coin(seed);
    apply->lock_timeout_ms = helper_random(seed);
    apply->busy_timeout_ms = helper_random(seed);
    apply->gpu_count = helper_random(seed) % (MIG_GPU_MAX + 1);
    for (uint32_t i = 0; i < apply->gpu_count; i++) {
        struct mig_wire_gpu *gpu = &apply->gpus[i];

        text(seed, gpu->uuid, sizeof(gpu->uuid));
        gpu->kind = coin(seed) ? MIG_GOAL_MODE : MIG_GOAL_LAYOUT;
        gpu->mig_mode = coin(seed);
        gpu->gi_count = (uint8_t)(helper_random(seed) % (MIG_GI_MAX + 1));
        for (unsigned j = 0; j < gpu->gi_count; j++) {
            gpu->gis[j].profile = (uint8_t)helper_random(seed);
            gpu->gis[j].start = coin(seed) ? MIG_START_ANY : 4;
            gpu->gis[j].ci_count = (uint8_t)(helper_random(seed) % (MIG_CI_MAX + 1));
            for (unsigned k = 0; k < gpu->gis[j].ci_count; k++) {
                gpu->gis[j].ci_profiles[k] = (uint8_t)helper_random(seed);
            }
        }
        fill_instances(seed, gpu->go, &gpu->go_count);
        fill_instances(seed, gpu->protect, &gpu->protect_count);
    }
}

static void fill_answer(unsigned *seed, struct mig_message *message)
{
    struct mig_wire_answer *answer = &message->answer;

    answer->result = coin(seed) ? MIG_OK : -(int32_t)(1 + helper_random(seed) % 7);
    if (answer->result != MIG_OK) {
        fill_error(seed, &answer->error);
    }
    answer->changed = coin(seed);
    text(seed, answer->config_name, sizeof(answer->config_name));
    answer->report.recovery = helper_random(seed) % 4;
    text(seed, answer->report.recovery_text, sizeof(answer->report.recovery_text));
    answer->report.gi_destroyed = helper_random(seed);
    answer->report.gi_created = helper_random(seed);
    answer->report.ci_destroyed = helper_random(seed);
    answer->report.ci_created = helper_random(seed);
    answer->report.mode_changed = helper_random(seed);
    answer->report.reset_count = helper_random(seed);
    answer->report.reset_gpus = (uint64_t)helper_random(seed) << 32 | helper_random(seed);
    answer->report.rolled_back = coin(seed);
    answer->report.mode_pending = coin(seed);
    answer->report.elapsed_ms = helper_random(seed);
    answer->node = coin(seed) ? helper_random_node(*seed) : NULL;
    answer->sample = coin(seed) ? random_sample(*seed) : NULL;
    if (coin(seed)) {
        message->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

static void fill_event(unsigned *seed, struct mig_message *message)
{
    switch ((int)message->type) {
    case MIG_MESSAGE_HELLO:
        message->hello.pid = helper_random(seed);
        message->hello.isolated = coin(seed);
        break;
    case MIG_MESSAGE_CHANGED:
        message->node = helper_random_node(*seed);
        break;
    case MIG_MESSAGE_UNREADABLE:
        fill_error(seed, &message->error);
        break;
    case MIG_MESSAGE_XID:
        text(seed, message->xid.gpu_uuid, sizeof(message->xid.gpu_uuid));
        message->xid.gi_id = helper_random(seed);
        message->xid.ci_id = helper_random(seed);
        message->xid.xid = helper_random(seed);
        break;
    case MIG_MESSAGE_RECOVERY:
        text(seed, message->recovery.gpu_uuid, sizeof(message->recovery.gpu_uuid));
        message->recovery.action = helper_random(seed);
        break;
    case MIG_MESSAGE_MPS:
        message->mps.count = helper_random(seed) % (MIG_HELPER_MPS_MAX + 1);
        for (uint32_t i = 0; i < message->mps.count; i++) {
            struct mig_helper_mps *device = &message->mps.devices[i];

            (void)snprintf(device->uuid, sizeof(device->uuid), "MIG-%x", helper_random(seed));
            (void)snprintf(device->gpu_uuid, sizeof(device->gpu_uuid), "GPU-%x",
                           helper_random(seed));
            device->percentage = 1 + helper_random(seed) % 100;
            device->memory_mib = helper_random(seed);
        }
        break;
    case MIG_MESSAGE_MPS_STATE:
        (void)snprintf(message->mps_state.uuid, sizeof(message->mps_state.uuid), "GPU-%x",
                       helper_random(seed));
        message->mps_state.ready = coin(seed);
        text(seed, message->mps_state.text, sizeof(message->mps_state.text));
        break;
    case MIG_MESSAGE_PROGRESS:
        message->progress.stage = helper_random(seed) % (MIG_STAGE_ROLLBACK + 1);
        message->progress.gpu = helper_random(seed);
        message->progress.step = helper_random(seed);
        message->progress.step_count = helper_random(seed);
        text(seed, message->progress.text, sizeof(message->progress.text));
        break;
    default:
        break;
    }
}

struct mig_message *helper_random_message(unsigned seed)
{
    enum mig_message_type type = 1 + helper_random(&seed) % (MIG_MESSAGE_TYPE_END - 1);
    struct mig_message *message = mig_message_new(type, helper_random(&seed));

    if (!message) {
        abort();
    }
    switch ((int)type) {
    case MIG_MESSAGE_APPLY:
        fill_apply(&seed, &message->apply);
        break;
    case MIG_MESSAGE_HOST:
    case MIG_MESSAGE_SOCKET:
        message->host.what = helper_random(&seed) % MIG_HELPER_SOCKET_COUNT;
        message->host.timeout_ms = helper_random(&seed);
        text(&seed, message->host.name, sizeof(message->host.name));
        break;
    case MIG_MESSAGE_ANSWER:
        fill_answer(&seed, message);
        break;
    case MIG_MESSAGE_SAVE:
    case MIG_MESSAGE_SAID:
    case MIG_MESSAGE_CDI:
    case MIG_MESSAGE_READY:
    case MIG_MESSAGE_RESET:
        text(&seed, message->text, sizeof(message->text));
        break;
    case MIG_MESSAGE_STARTED:
    case MIG_MESSAGE_ENDED:
    case MIG_MESSAGE_REPLACE:
        message->process.pid = helper_random(&seed);
        message->process.status = (int32_t)helper_random(&seed) - 99;
        message->fd = type == MIG_MESSAGE_STARTED ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1;
        break;
    default:
        fill_event(&seed, message);
        break;
    }
    return message;
}
