/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MIG mode, and MIG devices: a GPU instance with a compute instance, seen as a device.
 *
 * MIG devices are numbered per GPU by (GI id, CI id) without gaps, so numbers move when an instance
 * goes away (facts/README.md section 6).
 */
#include "emulator/entries.h"
#include "emulator/machine/partition.h"

nvmlReturn_t emu_DeviceGetMigMode(struct emu_call *call, unsigned int *mode, unsigned int *pending)
{
    if (!mode || !pending) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->info->mig_capable) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *mode = call->state.mode;
    *pending = call->state.mode_pending;
    return NVML_SUCCESS;
}

/* While the driver is at it the mode is pending, for everybody to see. */
static nvmlReturn_t wait_for_mode(struct emu_call *call, struct emu_transaction *change,
                                  unsigned mode)
{
    emu_abort(change);
    nvmlReturn_t rc = emu_change_begin(call, change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    change->state->gpus[call->gpu].mode_pending = (uint8_t)mode;
    emu_commit(change);
    emu_latency_wait(call, offsetof(struct emu_latency, mode_ms));
    return emu_change_begin(call, change);
}

nvmlReturn_t emu_DeviceSetMigMode(struct emu_call *call, unsigned int mode,
                                  nvmlReturn_t *activation)
{
    struct emu_transaction change;
    if (!activation || mode > NVML_DEVICE_MIG_ENABLE) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->info->mig_capable) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned gpu = (unsigned)call->gpu, before = call->state.mode;
    rc = emu_mode_set(call->node, change.state, gpu, mode, activation);
    if (rc == NVML_SUCCESS && change.state->gpus[gpu].mode != before &&
        emu_latency_ms(call, offsetof(struct emu_latency, mode_ms)) > 0) {
        rc = wait_for_mode(call, &change, mode);
        if (rc != NVML_SUCCESS) {
            return rc;
        }
        rc = emu_mode_set(call->node, change.state, gpu, mode, activation);
    }
    return emu_instances_end(call, &change, rc);
}

nvmlReturn_t emu_DeviceGetMaxMigDeviceCount(struct emu_call *call, unsigned int *count)
{
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *count = call->state.mode ? call->info->max_mig_devices : 0;
    return NVML_SUCCESS;
}

/*
 * With the option of that name, as old drivers were seen to do: what an index has meant once in a
 * session is what it means until nvmlShutdown, also when that device is long gone.
 */
static _Atomic uintptr_t remembered[EMU_GPU_MAX][EMU_GI_MAX * EMU_CI_MAX];

void emu_forget_devices(void)
{
    for (unsigned gpu = 0; gpu < EMU_GPU_MAX; gpu++) {
        for (unsigned i = 0; i < EMU_GI_MAX * EMU_CI_MAX; i++) {
            atomic_store(&remembered[gpu][i], 0);
        }
    }
}

static nvmlDevice_t remember(const struct emu_call *call, unsigned index, nvmlDevice_t device)
{
    if (!call->state.stale_devices || index >= EMU_GI_MAX * EMU_CI_MAX) {
        return device;
    }
    uintptr_t known = 0;
    bool is_new =
        atomic_compare_exchange_strong(&remembered[call->gpu][index], &known, (uintptr_t)device);
    return is_new ? device : (nvmlDevice_t)known;
}

nvmlReturn_t emu_DeviceGetMigDeviceHandleByIndex(struct emu_call *call, unsigned int index,
                                                 nvmlDevice_t *device)
{
    if (!device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->state.mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (index >= call->info->max_mig_devices) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned left = index;
    for (unsigned gi = 0; gi < EMU_GI_MAX; gi++) {
        for (unsigned ci = 0; call->state.gis[gi].used && ci < EMU_CI_MAX; ci++) {
            if (call->state.gis[gi].cis[ci].used &&
                emu_mig_is_visible(call, (unsigned)call->gpu, gi, ci) && left-- == 0) {
                *device = remember(call, index,
                                   emu_mig_handle(&call->state, (unsigned)call->gpu, gi, ci));
                return NVML_SUCCESS;
            }
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t emu_DeviceGetDeviceHandleFromMigDeviceHandle(struct emu_call *call,
                                                          nvmlDevice_t *device)
{
    if (!device || !call->is_mig_device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *device = emu_gpu_handle((unsigned)call->gpu);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceIsMigDeviceHandle(struct emu_call *call, unsigned int *is_mig_device)
{
    if (!is_mig_device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *is_mig_device = call->is_mig_device;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetGpuInstanceId(struct emu_call *call, unsigned int *id)
{
    if (!id) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->is_mig_device) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *id = call->gi;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetComputeInstanceId(struct emu_call *call, unsigned int *id)
{
    if (!id) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->is_mig_device) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *id = call->ci;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetAttributes_v2(struct emu_call *call, nvmlDeviceAttributes_t *attributes)
{
    if (!attributes) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->is_mig_device) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    const struct emu_profile *gi = emu_call_profile(call);
    const struct emu_ci_profile *ci = emu_call_ci_profile(call);
    *attributes = (nvmlDeviceAttributes_t){
        .multiprocessorCount = emu_known(ci->sm_count),
        .sharedCopyEngineCount = emu_known(gi->copy_engines),
        .sharedDecoderCount = emu_known(gi->decoders),
        .sharedEncoderCount = emu_known(gi->encoders),
        .sharedJpegCount = emu_known(gi->jpegs),
        .sharedOfaCount = emu_known(gi->ofas),
        .gpuInstanceSliceCount = gi->slice_count,
        .computeInstanceSliceCount = ci->slice_count,
        .memorySizeMB = emu_known(gi->memory_mib),
    };
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetAttributes(struct emu_call *call, nvmlDeviceAttributes_v1_t *attributes)
{
    nvmlDeviceAttributes_t full;
    if (!attributes) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_DeviceGetAttributes_v2(call, &full);
    if (rc == NVML_SUCCESS) {
        *attributes = (nvmlDeviceAttributes_v1_t){
            full.multiprocessorCount, full.sharedCopyEngineCount, full.sharedDecoderCount,
            full.sharedEncoderCount,  full.sharedJpegCount,       full.sharedOfaCount,
        };
    }
    return rc;
}
