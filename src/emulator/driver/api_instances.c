/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls on GPU instances and compute instances: profiles, places, creating, destroying,
 * listing. The rules are in partition.c; here they meet the ABI.
 *
 * Contract that clients depend on: counts of the listing calls are written, never read; profile
 * queries work with MIG off; an unknown enum is INVALID_ARGUMENT, a profile that this GPU lacks is
 * NOT_SUPPORTED, an unknown driver id INVALID_ARGUMENT.
 */
#include "emulator/entries.h"
#include "emulator/machine/partition.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- profiles ------------------------------------------------------------------------------- */

static void fill_gi_profile(const struct emu_profile *profile, nvmlGpuInstanceProfileInfo_v2_t *ret)
{
    *ret = (nvmlGpuInstanceProfileInfo_v2_t){
        .version = nvmlGpuInstanceProfileInfo_v2,
        .id = (unsigned)profile->driver_id,
        .isP2pSupported = profile->p2p,
        .sliceCount = profile->slice_count,
        .instanceCount = profile->max_instances,
        .multiprocessorCount = emu_known(profile->sm_count),
        .copyEngineCount = emu_known(profile->copy_engines),
        .decoderCount = emu_known(profile->decoders),
        .encoderCount = emu_known(profile->encoders),
        .jpegCount = emu_known(profile->jpegs),
        .ofaCount = emu_known(profile->ofas),
        .memorySizeMB = emu_known(profile->memory_mib),
    };
    snprintf(ret->name, sizeof ret->name, "MIG %s", profile->name);
}

static nvmlReturn_t write_gi_profile(const struct emu_profile *profile, void *info)
{
    nvmlGpuInstanceProfileInfo_v2_t full;
    unsigned version;
    fill_gi_profile(profile, &full);
    memcpy(&version, info, sizeof version);
    if (version == nvmlGpuInstanceProfileInfo_v2) {
        memcpy(info, &full, sizeof full);
        return NVML_SUCCESS;
    }
    if (version != nvmlGpuInstanceProfileInfo_v3) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    nvmlGpuInstanceProfileInfo_v3_t out = {
        .version = version,
        .id = full.id,
        .sliceCount = full.sliceCount,
        .instanceCount = full.instanceCount,
        .multiprocessorCount = full.multiprocessorCount,
        .copyEngineCount = full.copyEngineCount,
        .decoderCount = full.decoderCount,
        .encoderCount = full.encoderCount,
        .jpegCount = full.jpegCount,
        .ofaCount = full.ofaCount,
        .memorySizeMB = full.memorySizeMB,
        .capabilities =
            (profile->p2p ? (unsigned)NVML_GPU_INSTANCE_PROFILE_CAPS_P2P : 0) |
            (profile->variant == EMU_VARIANT_GFX ? (unsigned)NVML_GPU_INSTANCE_PROFILE_CAPS_GFX
                                                 : 0),
    };
    memcpy(out.name, full.name, sizeof out.name);
    memcpy(info, &out, sizeof out);
    return NVML_SUCCESS;
}

/* The profile that an NVML enum stands for on the call's GPU. */
static nvmlReturn_t find_gi_enum(const struct emu_call *call, unsigned enum_value,
                                 const struct emu_profile **ret)
{
    if (enum_value >= NVML_GPU_INSTANCE_PROFILE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int index = call->info->mig_capable ? emu_profile_by_enum(call->info, enum_value) : EMU_UNKNOWN;
    if (index < 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *ret = &call->info->profiles[index];
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetGpuInstanceProfileInfo(struct emu_call *call, unsigned int profile,
                                                 nvmlGpuInstanceProfileInfo_t *info)
{
    const struct emu_profile *found = NULL;
    nvmlGpuInstanceProfileInfo_v2_t full;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_gi_enum(call, profile, &found);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    fill_gi_profile(found, &full);
    *info = (nvmlGpuInstanceProfileInfo_t){
        .id = full.id,
        .isP2pSupported = full.isP2pSupported,
        .sliceCount = full.sliceCount,
        .instanceCount = full.instanceCount,
        .multiprocessorCount = full.multiprocessorCount,
        .copyEngineCount = full.copyEngineCount,
        .decoderCount = full.decoderCount,
        .encoderCount = full.encoderCount,
        .jpegCount = full.jpegCount,
        .ofaCount = full.ofaCount,
        .memorySizeMB = full.memorySizeMB,
    };
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetGpuInstanceProfileInfoV(struct emu_call *call, unsigned int profile,
                                                  nvmlGpuInstanceProfileInfo_v2_t *info)
{
    const struct emu_profile *found = NULL;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_gi_enum(call, profile, &found);
    return rc == NVML_SUCCESS ? write_gi_profile(found, info) : rc;
}

nvmlReturn_t emu_DeviceGetGpuInstanceProfileInfoByIdV(struct emu_call *call, unsigned int id,
                                                      nvmlGpuInstanceProfileInfo_v2_t *info)
{
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->info->mig_capable) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int index = emu_profile_by_id(call->info, id);
    return index < 0 ? NVML_ERROR_INVALID_ARGUMENT
                     : write_gi_profile(&call->info->profiles[index], info);
}

static nvmlReturn_t find_profile_id(const struct emu_call *call, unsigned id, unsigned *ret)
{
    int index = emu_profile_by_id(call->info, id);
    if (index < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = (unsigned)index;
    return NVML_SUCCESS;
}

/* The profile a driver id stands for, on a GPU with MIG on. */
static nvmlReturn_t find_gi_id(const struct emu_call *call, unsigned id, unsigned *ret)
{
    if (!call->info->mig_capable || !call->state.mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return find_profile_id(call, id, ret);
}

/*
 * From driver 550 on, nvidia-smi mig -lgip asks for the room of GPUs whose MIG mode is off, and
 * ends when there is no answer; it must be one of an empty GPU.
 */
static bool answers_without_mode(const struct emu_call *call)
{
    return call->info->mig_capable && strtoul(call->node->driver_version, NULL, 10) >= 550;
}

nvmlReturn_t emu_DeviceGetGpuInstancePossiblePlacements_v2(struct emu_call *call, unsigned int id,
                                                           nvmlGpuInstancePlacement_t *placements,
                                                           unsigned int *count)
{
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->info->mig_capable) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    int index = emu_profile_by_id(call->info, id);
    if (index < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct emu_profile *profile = &call->info->profiles[index];
    *count = profile->start_count;
    for (unsigned i = 0; placements && i < profile->start_count; i++) {
        placements[i] = (nvmlGpuInstancePlacement_t){profile->starts[i], profile->size};
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetGpuInstancePossiblePlacements(struct emu_call *call, unsigned int id,
                                                        nvmlGpuInstancePlacement_t *placements,
                                                        unsigned int *count)
{
    return emu_DeviceGetGpuInstancePossiblePlacements_v2(call, id, placements, count);
}

nvmlReturn_t emu_DeviceGetGpuInstanceRemainingCapacity(struct emu_call *call, unsigned int id,
                                                       unsigned int *count)
{
    unsigned profile = 0;
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_gi_id(call, id, &profile);
    if (rc == NVML_ERROR_NOT_SUPPORTED && answers_without_mode(call)) {
        rc = find_profile_id(call, id, &profile);
    }
    if (rc == NVML_SUCCESS) {
        *count = emu_gi_room(call->info, &call->state, profile);
    }
    return rc;
}

/* ---- GPU instances -------------------------------------------------------------------------- */

/* The entry of a latency option that is kept by slices. */
static size_t slice_option(const struct emu_call *call, unsigned profile, size_t option)
{
    unsigned slices = call->info->profiles[profile].slice_count;
    return option + (slices <= EMU_SLICE_MAX ? slices : EMU_SLICE_MAX) * sizeof(uint32_t);
}

static nvmlReturn_t create_gi(struct emu_call *call, unsigned id,
                              const nvmlGpuInstancePlacement_t *placement, nvmlGpuInstance_t *ret)
{
    unsigned profile = 0, gi = 0;
    struct emu_transaction change;
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_gi_id(call, id, &profile);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (placement && placement->size != call->info->profiles[profile].size) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned gpu = (unsigned)call->gpu, start = placement ? placement->start : EMU_START_ANY;
    rc = start == EMU_START_ANY && placement
             ? NVML_ERROR_INVALID_ARGUMENT
             : emu_gi_create(call->node, change.state, gpu, profile, start, &gi);
    if (rc == NVML_SUCCESS) {
        *ret = emu_gi_handle(&change.state->gpus[gpu], gpu, gi);
        call->gi = gi; /* for the trace */
    }
    return emu_instances_end_late(
        call, &change, rc, slice_option(call, profile, offsetof(struct emu_latency, gi_create_ms)));
}

nvmlReturn_t emu_DeviceCreateGpuInstance(struct emu_call *call, unsigned int id,
                                         nvmlGpuInstance_t *instance)
{
    return create_gi(call, id, NULL, instance);
}

nvmlReturn_t emu_DeviceCreateGpuInstanceWithPlacement(struct emu_call *call, unsigned int id,
                                                      const nvmlGpuInstancePlacement_t *placement,
                                                      nvmlGpuInstance_t *instance)
{
    return placement ? create_gi(call, id, placement, instance) : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t destroy_gi(const struct emu_call *call, struct emu_state *state)
{
    return emu_gi_destroy(state, (unsigned)call->gpu, call->gi);
}

nvmlReturn_t emu_GpuInstanceDestroy(struct emu_call *call)
{
    size_t option = offsetof(struct emu_latency, gi_destroy_ms);
    return emu_change_late(call, slice_option(call, emu_call_gi(call)->profile, option),
                           destroy_gi);
}

nvmlReturn_t emu_DeviceGetGpuInstances(struct emu_call *call, unsigned int id,
                                       nvmlGpuInstance_t *instances, unsigned int *count)
{
    unsigned profile = 0, found = 0;
    if (!instances || !count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_gi_id(call, id, &profile);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    for (unsigned i = 0; i < EMU_GI_MAX; i++) {
        if (call->state.gis[i].used && call->state.gis[i].profile == profile) {
            instances[found++] = emu_gi_handle(&call->state, (unsigned)call->gpu, i);
        }
    }
    *count = found;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetGpuInstanceById(struct emu_call *call, unsigned int id,
                                          nvmlGpuInstance_t *instance)
{
    if (!instance) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->state.mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (id >= EMU_GI_MAX || !call->state.gis[id].used) {
        return NVML_ERROR_NOT_FOUND;
    }
    *instance = emu_gi_handle(&call->state, (unsigned)call->gpu, id);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_GpuInstanceGetInfo(struct emu_call *call, nvmlGpuInstanceInfo_t *info)
{
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct emu_gi *gi = emu_call_gi(call);
    *info = (nvmlGpuInstanceInfo_t){
        .device = emu_gpu_handle((unsigned)call->gpu),
        .id = call->gi,
        .profileId = (unsigned)emu_call_profile(call)->driver_id,
        .placement = {gi->start, gi->size},
    };
    return NVML_SUCCESS;
}

/* ---- compute-instance profiles -------------------------------------------------------------- */

static void fill_ci_profile(const struct emu_profile *profile, const struct emu_ci_profile *ci,
                            nvmlComputeInstanceProfileInfo_v3_t *ret)
{
    *ret = (nvmlComputeInstanceProfileInfo_v3_t){
        .version = nvmlComputeInstanceProfileInfo_v3,
        .id = (unsigned)ci->driver_id,
        .sliceCount = ci->slice_count,
        .instanceCount = ci->max_instances,
        .multiprocessorCount = emu_known(ci->sm_count),
        .sharedCopyEngineCount = emu_known(profile->copy_engines),
        .sharedDecoderCount = emu_known(profile->decoders),
        .sharedEncoderCount = emu_known(profile->encoders),
        .sharedJpegCount = emu_known(profile->jpegs),
        .sharedOfaCount = emu_known(profile->ofas),
        .capabilities =
            profile->variant == EMU_VARIANT_GFX ? NVML_COMPUTE_INSTANCE_PROFILE_CAPS_GFX : 0,
    };
    snprintf(ret->name, sizeof ret->name, "MIG %s", ci->name);
}

static nvmlReturn_t find_ci_enum(const struct emu_call *call, unsigned enum_value, unsigned engines,
                                 nvmlComputeInstanceProfileInfo_v3_t *ret)
{
    if (enum_value >= NVML_COMPUTE_INSTANCE_PROFILE_COUNT ||
        engines >= NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    const struct emu_profile *profile = emu_call_profile(call);
    int index = emu_ci_profile_by_enum(profile, enum_value);
    if (index < 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    fill_ci_profile(profile, &profile->ci_profiles[index], ret);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_GpuInstanceGetComputeInstanceProfileInfo(struct emu_call *call,
                                                          unsigned int profile,
                                                          unsigned int engines,
                                                          nvmlComputeInstanceProfileInfo_t *info)
{
    nvmlComputeInstanceProfileInfo_v3_t full;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_ci_enum(call, profile, engines, &full);
    if (rc == NVML_SUCCESS) {
        /* The oldest layout is what lies between the version and the name. */
        memcpy(info, (const char *)&full + offsetof(nvmlComputeInstanceProfileInfo_v3_t, id),
               sizeof *info);
    }
    return rc;
}

nvmlReturn_t
emu_GpuInstanceGetComputeInstanceProfileInfoV(struct emu_call *call, unsigned int profile,
                                              unsigned int engines,
                                              nvmlComputeInstanceProfileInfo_v2_t *info)
{
    nvmlComputeInstanceProfileInfo_v3_t full;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned version = info->version;
    nvmlReturn_t rc = find_ci_enum(call, profile, engines, &full);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (version != nvmlComputeInstanceProfileInfo_v2 &&
        version != nvmlComputeInstanceProfileInfo_v3) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    /* Version 3 is version 2 with a field behind. */
    full.version = version;
    memcpy((void *)info, &full,
           version == nvmlComputeInstanceProfileInfo_v2 ? sizeof *info : sizeof full);
    return NVML_SUCCESS;
}

static nvmlReturn_t find_ci_id(const struct emu_call *call, unsigned id, unsigned *ret)
{
    int index = emu_ci_profile_by_id(emu_call_profile(call), id);
    if (index < 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = (unsigned)index;
    return NVML_SUCCESS;
}

nvmlReturn_t
emu_GpuInstanceGetComputeInstancePossiblePlacements(struct emu_call *call, unsigned int id,
                                                    nvmlComputeInstancePlacement_t *placements,
                                                    unsigned int *count)
{
    unsigned index = 0;
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_ci_id(call, id, &index);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    const struct emu_ci_profile *ci = &emu_call_profile(call)->ci_profiles[index];
    *count = ci->start_count;
    for (unsigned i = 0; placements && i < ci->start_count; i++) {
        placements[i] = (nvmlComputeInstancePlacement_t){ci->starts[i], ci->size};
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_GpuInstanceGetComputeInstanceRemainingCapacity(struct emu_call *call,
                                                                unsigned int id,
                                                                unsigned int *count)
{
    unsigned index = 0;
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_ci_id(call, id, &index);
    if (rc == NVML_SUCCESS) {
        *count = emu_ci_room(emu_call_profile(call), emu_call_gi(call), index);
    }
    return rc;
}

/* ---- compute instances ---------------------------------------------------------------------- */

static nvmlReturn_t create_ci(struct emu_call *call, unsigned id,
                              const nvmlComputeInstancePlacement_t *placement,
                              nvmlComputeInstance_t *ret)
{
    unsigned index = 0, ci = 0;
    struct emu_transaction change;
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_ci_id(call, id, &index);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (placement && (placement->size != emu_call_profile(call)->ci_profiles[index].size ||
                      placement->start == EMU_START_ANY)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned gpu = (unsigned)call->gpu;
    rc = emu_ci_create(call->node, change.state, gpu, call->gi, index,
                       placement ? placement->start : EMU_START_ANY, &ci);
    if (rc == NVML_SUCCESS) {
        *ret = emu_ci_handle(&change.state->gpus[gpu], gpu, call->gi, ci);
        call->ci = ci; /* for the trace */
    }
    return emu_instances_end_late(call, &change, rc, offsetof(struct emu_latency, ci_create_ms));
}

nvmlReturn_t emu_GpuInstanceCreateComputeInstance(struct emu_call *call, unsigned int id,
                                                  nvmlComputeInstance_t *instance)
{
    return create_ci(call, id, NULL, instance);
}

nvmlReturn_t
emu_GpuInstanceCreateComputeInstanceWithPlacement(struct emu_call *call, unsigned int id,
                                                  const nvmlComputeInstancePlacement_t *placement,
                                                  nvmlComputeInstance_t *instance)
{
    return placement ? create_ci(call, id, placement, instance) : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t destroy_ci(const struct emu_call *call, struct emu_state *state)
{
    return emu_ci_destroy(state, (unsigned)call->gpu, call->gi, call->ci);
}

nvmlReturn_t emu_ComputeInstanceDestroy(struct emu_call *call)
{
    return emu_change_late(call, offsetof(struct emu_latency, ci_destroy_ms), destroy_ci);
}

nvmlReturn_t emu_GpuInstanceGetComputeInstances(struct emu_call *call, unsigned int id,
                                                nvmlComputeInstance_t *instances,
                                                unsigned int *count)
{
    unsigned profile = 0, found = 0;
    if (!instances || !count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = find_ci_id(call, id, &profile);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    const struct emu_gi *gi = emu_call_gi(call);
    for (unsigned i = 0; i < EMU_CI_MAX; i++) {
        if (gi->cis[i].used && gi->cis[i].profile == profile) {
            instances[found++] = emu_ci_handle(&call->state, (unsigned)call->gpu, call->gi, i);
        }
    }
    *count = found;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_GpuInstanceGetComputeInstanceById(struct emu_call *call, unsigned int id,
                                                   nvmlComputeInstance_t *instance)
{
    if (!instance) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (id >= EMU_CI_MAX || !emu_call_gi(call)->cis[id].used) {
        return NVML_ERROR_NOT_FOUND;
    }
    *instance = emu_ci_handle(&call->state, (unsigned)call->gpu, call->gi, id);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_ComputeInstanceGetInfo_v2(struct emu_call *call, nvmlComputeInstanceInfo_t *info)
{
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned gpu = (unsigned)call->gpu;
    const struct emu_ci *ci = &emu_call_gi(call)->cis[call->ci];
    *info = (nvmlComputeInstanceInfo_t){
        .device = emu_ci_device_handle(&call->state, gpu, call->gi, call->ci),
        .gpuInstance = emu_gi_handle(&call->state, gpu, call->gi),
        .id = call->ci,
        .profileId = (unsigned)emu_call_ci_profile(call)->driver_id,
        .placement = {ci->start, ci->size},
    };
    return NVML_SUCCESS;
}

nvmlReturn_t emu_ComputeInstanceGetInfo(struct emu_call *call, nvmlComputeInstanceInfo_v1_t *info)
{
    nvmlComputeInstanceInfo_t full;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    emu_ComputeInstanceGetInfo_v2(call, &full);
    *info = (nvmlComputeInstanceInfo_v1_t){full.device, full.gpuInstance, full.id, full.profileId};
    return NVML_SUCCESS;
}
