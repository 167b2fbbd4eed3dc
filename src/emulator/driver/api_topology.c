/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls on how GPUs are connected, and on taking one out of use.
 *
 * All GPUs sit under one processor and memory node, each behind its own host bridge, without
 * NVLink: peers reach each other over PCIe, and not at all while either has MIG on.
 */
#include "emulator/entries.h"

/* Hands out the GPUs but one (EMU_UNKNOWN: all). *count is in and out, as NVML's are. */
static nvmlReturn_t list_gpus(const struct emu_call *call, int except, unsigned int *count,
                              nvmlDevice_t *devices)
{
    unsigned needed = call->node->gpu_count - (except == EMU_UNKNOWN ? 0 : 1), written = 0;
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned room = *count;
    *count = needed;
    if (room == 0) {
        return NVML_SUCCESS; /* asks how many there are */
    }
    if (room < needed || !devices) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        if ((int)i != except) {
            devices[written++] = emu_gpu_handle(i);
        }
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetTopologyNearestGpus(struct emu_call *call, nvmlGpuTopologyLevel_t level,
                                              unsigned int *count, nvmlDevice_t *devices)
{
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (level != NVML_TOPOLOGY_NODE) {
        *count = 0;
        return NVML_SUCCESS;
    }
    return list_gpus(call, call->gpu, count, devices);
}

nvmlReturn_t emu_SystemGetTopologyGpuSet(struct emu_call *call, unsigned int processor,
                                         unsigned int *count, nvmlDevice_t *devices)
{
    (void)processor; /* every GPU is near every processor */
    return list_gpus(call, EMU_UNKNOWN, count, devices);
}

nvmlReturn_t emu_DeviceGetP2PStatus(struct emu_call *call, nvmlDevice_t other,
                                    nvmlGpuP2PCapsIndex_t capability, nvmlGpuP2PStatus_t *status)
{
    int self = call->gpu;
    bool mig = call->state.mode;
    if (!status || (unsigned)capability >= NVML_P2P_CAPS_INDEX_UNKNOWN) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_resolve(call, EMU_HANDLE_GPU, (uintptr_t)other);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (call->is_mig_device || call->gpu == self) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    bool pcie = capability == NVML_P2P_CAPS_INDEX_READ || capability == NVML_P2P_CAPS_INDEX_WRITE ||
                capability == NVML_P2P_CAPS_INDEX_PCI;
    *status =
        pcie && !mig && !call->state.mode ? NVML_P2P_STATUS_OK : NVML_P2P_STATUS_NOT_SUPPORTED;
    return NVML_SUCCESS;
}

/* ---- PCIe ----------------------------------------------------------------------------------- */

static nvmlReturn_t link_speed_mbps(const struct emu_call *call, unsigned int *speed)
{
    unsigned generation = emu_known(call->info->pcie_generation);
    if (generation == 0 || generation > 6) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    /* 2.5 and 5 GT/s, then 8 and twice as much each time */
    return emu_number_out(generation < 3 ? 2500 * generation : 1000u << generation, speed);
}

nvmlReturn_t emu_DeviceGetPcieSpeed(struct emu_call *call, unsigned int *speed)
{
    return link_speed_mbps(call, speed);
}

/* NVML_PCIE_LINK_MAX_SPEED_*, which number the generations. */
nvmlReturn_t emu_DeviceGetPcieLinkMaxSpeed(struct emu_call *call, unsigned int *speed)
{
    return emu_number_out(emu_known(call->info->pcie_generation), speed);
}

/* ---- draining ------------------------------------------------------------------------------- */

/* The GPU at a place on the bus. */
static nvmlReturn_t resolve_place(struct emu_call *call, const nvmlPciInfo_t *pci)
{
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        const struct emu_gpu_info *info = &call->node->gpus[i];
        if (info->pci_domain == pci->domain && info->pci_bus == pci->bus &&
            info->pci_device_number == pci->device) {
            return emu_resolve(call, EMU_HANDLE_GPU, (uintptr_t)emu_gpu_handle(i));
        }
    }
    return NVML_ERROR_INVALID_ARGUMENT;
}

nvmlReturn_t emu_DeviceQueryDrainState(struct emu_call *call, nvmlPciInfo_t *pci,
                                       nvmlEnableState_t *draining)
{
    if (!draining) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = resolve_place(call, pci);
    if (rc == NVML_SUCCESS) {
        *draining = call->state.drain ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    }
    return rc;
}

/* nvml.h: persistence mode must be off, and nobody may use the GPU. */
nvmlReturn_t emu_DeviceModifyDrainState(struct emu_call *call, nvmlPciInfo_t *pci,
                                        nvmlEnableState_t draining)
{
    struct emu_transaction change;
    if ((unsigned)draining > NVML_FEATURE_ENABLED) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = resolve_place(call, pci);
    if (rc == NVML_SUCCESS) {
        rc = emu_change_begin(call, &change);
    }
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct emu_gpu *gpu = &change.state->gpus[call->gpu];
    bool busy = gpu->persistence ||
                emu_users(change.state, (unsigned)call->gpu, EMU_ID_NONE, EMU_ID_NONE) > 0;
    gpu->drain = (uint8_t)draining;
    return emu_change_end(&change, draining && busy ? NVML_ERROR_IN_USE : NVML_SUCCESS);
}
