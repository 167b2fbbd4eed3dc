/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots on the wire. Models that GPUs share are sent once; a GPU says which one is its own.
 * Whatever is read can be planned with: every index is within its model.
 */
#include "helper/codec.h"
#include <string.h>

/* Of one on the wire: what cannot be there is not allocated for. */
#define MODEL_SIZE_MIN 32
#define GPU_SIZE_MIN 72
#define PROCESS_SIZE_MIN 16

static void pass_process(struct mig_wire *wire, struct mig_process *process)
{
    uint8_t type = (uint8_t)process->type;

    mig_wire_u32(wire, &process->pid, UINT32_MAX);
    mig_wire_u32(wire, &process->gi_id, UINT32_MAX);
    mig_wire_u32(wire, &process->ci_id, UINT32_MAX);
    mig_wire_i64(wire, &process->memory_mib);
    mig_wire_u8(wire, &type, 'z');
    mig_wire_check(wire, type >= 'A');
    if (mig_wire_is_reading(wire)) {
        process->type = (char)type;
    }
    mig_wire_text(wire, process->name, sizeof(process->name));
}

static void pass_processes(struct mig_wire *wire, struct mig_gpu *gpu)
{
    uint32_t known = gpu->process_known;

    mig_wire_u32(wire, &gpu->process_count, UINT32_MAX);
    mig_wire_u32(wire, &known, MIG_PROCESS_MAX);
    mig_wire_check(wire, known <= gpu->process_count);
    if (mig_wire_is_reading(wire) && known > 0) {
        mig_wire_check(wire, wire->size / PROCESS_SIZE_MIN >= known);
        gpu->processes = wire->failed ? NULL : calloc(known, sizeof(*gpu->processes));
        mig_wire_check(wire, gpu->processes);
        gpu->process_known = wire->failed ? 0 : known;
    }
    for (uint32_t i = 0; !wire->failed && i < known; i++) {
        pass_process(wire, &gpu->processes[i]);
    }
}

static void pass_attributes(struct mig_wire *wire, struct mig_attributes *attributes)
{
    mig_wire_i32(wire, &attributes->sm_count);
    mig_wire_i32(wire, &attributes->gi_slice_count);
    mig_wire_i32(wire, &attributes->ci_slice_count);
    mig_wire_i32(wire, &attributes->copy);
    mig_wire_i32(wire, &attributes->decoder);
    mig_wire_i32(wire, &attributes->encoder);
    mig_wire_i32(wire, &attributes->jpeg);
    mig_wire_i32(wire, &attributes->ofa);
    mig_wire_i64(wire, &attributes->memory_mib);
}

static void pass_ci(struct mig_wire *wire, const struct mig_profile *profile, struct mig_ci *ci,
                    struct mig_device *device)
{
    mig_wire_u8(wire, &ci->profile, MIG_CI_PROFILE_MAX - 1);
    mig_wire_check(wire, ci->profile < profile->ci_profile_count);
    mig_wire_u8(wire, &ci->start, UINT8_MAX);
    mig_wire_check(wire, ci->start < MIG_UNIT_MAX || ci->start == MIG_START_ANY);
    mig_wire_bool(wire, &ci->in_use);
    mig_wire_u32(wire, &ci->id, UINT32_MAX);
    mig_wire_text(wire, device->uuid, sizeof(device->uuid));
    mig_wire_i32(wire, &device->index);
    pass_attributes(wire, &device->attributes);
}

static void pass_gi(struct mig_wire *wire, const struct mig_model *model, struct mig_gi *gi,
                    struct mig_gi_info *info)
{
    mig_wire_u8(wire, &gi->profile, MIG_PROFILE_MAX - 1);
    mig_wire_u8(wire, &gi->start, MIG_UNIT_MAX - 1);
    mig_wire_bool(wire, &gi->in_use);
    mig_wire_u32(wire, &gi->id, UINT32_MAX);
    mig_wire_text(wire, gi->holder, sizeof(gi->holder));
    mig_wire_i64(wire, &info->memory_used_mib);
    mig_wire_i64(wire, &info->memory_total_mib);
    mig_wire_u8(wire, &gi->ci_count, MIG_CI_MAX);
    mig_wire_check(wire, gi->profile < model->profile_count);
    for (unsigned i = 0; !wire->failed && i < gi->ci_count; i++) {
        pass_ci(wire, &model->profiles[gi->profile], &gi->cis[i], &info->devices[i]);
    }
}

/* What a reader leaves in places without an instance. */
static void clear_infos(struct mig_gpu *gpu)
{
    for (unsigned i = 0; i < MIG_GI_MAX; i++) {
        for (unsigned j = 0; j < MIG_CI_MAX; j++) {
            gpu->gi_infos[i].devices[j].index = MIG_UNKNOWN;
            /* all of them MIG_UNKNOWN */
            memset(&gpu->gi_infos[i].devices[j].attributes, 0xff, sizeof(struct mig_attributes));
        }
        gpu->gi_infos[i].memory_used_mib = gpu->gi_infos[i].memory_total_mib = MIG_UNKNOWN;
    }
}

static void pass_layout(struct mig_wire *wire, struct mig_gpu *gpu)
{
    struct mig_layout *layout = &gpu->layout;

    mig_wire_u8(wire, &layout->gi_count, MIG_GI_MAX);
    mig_wire_check(wire, layout->gi_count == 0 || layout->model);
    for (unsigned i = 0; !wire->failed && i < layout->gi_count; i++) {
        pass_gi(wire, layout->model, &layout->gis[i], &gpu->gi_infos[i]);
    }
}

static void pass_gpu(struct mig_wire *wire, struct mig_gpu *gpu)
{
    mig_wire_u32(wire, &gpu->index, UINT32_MAX);
    mig_wire_text(wire, gpu->problem, sizeof(gpu->problem));
    mig_wire_text(wire, gpu->uuid, sizeof(gpu->uuid));
    mig_wire_text(wire, gpu->name, sizeof(gpu->name));
    mig_wire_text(wire, gpu->bus_id, sizeof(gpu->bus_id));
    mig_wire_u32(wire, &gpu->pci_device, UINT32_MAX);
    mig_wire_u32(wire, &gpu->pci_subsystem, UINT32_MAX);
    mig_wire_i32(wire, &gpu->minor);
    mig_wire_i32(wire, &gpu->numa_node);
    mig_wire_u32(wire, &gpu->pci_class, UINT32_MAX);
    mig_wire_i32(wire, &gpu->cc_major);
    mig_wire_i32(wire, &gpu->cc_minor);
    mig_wire_text(wire, gpu->clique, sizeof(gpu->clique));
    mig_wire_bool(wire, &gpu->vgpu);
    mig_wire_text(wire, gpu->vgpu_host_version, sizeof(gpu->vgpu_host_version));
    mig_wire_text(wire, gpu->vgpu_host_branch, sizeof(gpu->vgpu_host_branch));
    mig_wire_bool(wire, &gpu->mig_capable);
    mig_wire_bool(wire, &gpu->mig_mode);
    mig_wire_bool(wire, &gpu->mig_mode_pending);
    mig_wire_bool(wire, &gpu->model_from_driver);
    mig_wire_i64(wire, &gpu->memory_used_mib);
    mig_wire_i64(wire, &gpu->memory_total_mib);
    if (mig_wire_is_reading(wire)) {
        clear_infos(gpu);
    }
    mig_wire_check(wire, gpu->problem[0] == '\0' || !gpu->layout.model);
    pass_layout(wire, gpu);
    pass_processes(wire, gpu);
}

/* ---- writing ---- */

/* Number of the model among `known`, from 1, entered if it is new; 0 = none. */
static uint32_t number_of(const struct mig_model *model, const struct mig_model **known,
                          uint32_t *count)
{
    uint32_t i = 0;

    if (!model) {
        return 0;
    }
    while (i < *count && known[i] != model) {
        i++;
    }
    if (i == *count) {
        known[(*count)++] = model;
    }
    return i + 1;
}

static void put_node(struct mig_wire *wire, struct mig_node *node)
{
    const struct mig_model *models[MIG_GPU_MAX] = {NULL};
    uint32_t numbers[MIG_GPU_MAX] = {0}, count = 0;

    mig_wire_check(wire, node->gpu_count <= MIG_GPU_MAX);
    for (uint32_t i = 0; !wire->failed && i < node->gpu_count; i++) {
        numbers[i] = number_of(node->gpus[i].layout.model, models, &count);
    }
    mig_wire_u32(wire, &count, MIG_GPU_MAX);
    for (uint32_t i = 0; !wire->failed && i < count; i++) {
        mig_wire_model_put(wire, models[i]);
    }
    mig_wire_u32(wire, &node->gpu_count, MIG_GPU_MAX);
    for (uint32_t i = 0; !wire->failed && i < node->gpu_count; i++) {
        mig_wire_u32(wire, &numbers[i], count);
        pass_gpu(wire, &node->gpus[i]);
    }
}

/* ---- reading ---- */

static void take_gpus(struct mig_wire *wire, struct mig_node *node, uint32_t model_count)
{
    uint32_t count = 0, highest = 0;

    mig_wire_u32(wire, &count, MIG_GPU_MAX);
    mig_wire_check(wire, wire->size / GPU_SIZE_MIN >= count);
    node->gpus = wire->failed ? NULL : calloc(count > 0 ? count : 1, sizeof(*node->gpus));
    mig_wire_check(wire, node->gpus);
    for (uint32_t i = 0; !wire->failed && i < count; i++) {
        uint32_t number = 0;

        mig_wire_u32(wire, &number, model_count);
        /* numbered as they come, so that there is one way to write a node */
        mig_wire_check(wire, number <= highest + 1);
        highest = number > highest ? number : highest;
        if (number > 0) {
            node->gpus[i].layout.model = mig_wire_model_get(node->models, number - 1);
        }
        node->gpu_count = i + 1;
        pass_gpu(wire, &node->gpus[i]);
    }
    mig_wire_check(wire, highest == model_count);
}

static void take_node(struct mig_wire *wire, struct mig_node *node)
{
    uint32_t count = 0;

    mig_wire_u32(wire, &count, MIG_GPU_MAX);
    mig_wire_check(wire, wire->size / MODEL_SIZE_MIN >= count);
    if (count > 0 && !wire->failed) {
        node->models = mig_wire_models_new(count);
        mig_wire_check(wire, node->models);
    }
    for (uint32_t i = 0; !wire->failed && i < count; i++) {
        mig_wire_model_take(wire, node->models, i);
    }
    take_gpus(wire, node, count);
}

void mig_wire_node(struct mig_wire *wire, struct mig_node **node)
{
    if (mig_wire_is_reading(wire)) {
        *node = calloc(1, sizeof(**node));
        mig_wire_check(wire, *node);
    }
    if (wire->failed) {
        return;
    }
    mig_wire_u64(wire, &(*node)->generation);
    mig_wire_text(wire, (*node)->driver_version, sizeof((*node)->driver_version));
    mig_wire_text(wire, (*node)->nvml_version, sizeof((*node)->nvml_version));
    mig_wire_i32(wire, &(*node)->cuda_version);
    if (mig_wire_is_reading(wire)) {
        take_node(wire, *node);
    } else {
        put_node(wire, *node);
    }
    if (wire->failed && mig_wire_is_reading(wire)) {
        mig_node_free(*node);
        *node = NULL;
    }
}
