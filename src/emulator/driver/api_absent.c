/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls for what such a node does not have, where the real driver gives an empty answer
 * instead of refusing: units, excluded devices, bridge cards, encoder and frame buffer capture
 * sessions, confidential computing. What it refuses is in unsupported.tsv.
 */
#include "emulator/entries.h"

/* An empty list; the caller's array stays as it is. */
static nvmlReturn_t none(unsigned int *count)
{
    return emu_number_out(0, count);
}

/* ---- the node ------------------------------------------------------------------------------- */

nvmlReturn_t emu_UnitGetCount(struct emu_call *call, unsigned int *count)
{
    (void)call;
    return none(count);
}

nvmlReturn_t emu_GetExcludedDeviceCount(struct emu_call *call, unsigned int *count)
{
    (void)call;
    return none(count);
}

nvmlReturn_t emu_GetBlacklistDeviceCount(struct emu_call *call, unsigned int *count)
{
    (void)call;
    return none(count);
}

nvmlReturn_t emu_SystemGetHicVersion(struct emu_call *call, unsigned int *count, void *entries)
{
    (void)call;
    (void)entries;
    return none(count);
}

/* ---- video sessions ------------------------------------------------------------------------- */

nvmlReturn_t emu_DeviceGetEncoderStats(struct emu_call *call, unsigned int *sessions,
                                       unsigned int *frames_per_second, unsigned int *latency_us)
{
    (void)call;
    if (!sessions || !frames_per_second || !latency_us) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *frames_per_second = 0;
    *latency_us = 0;
    return none(sessions);
}

nvmlReturn_t emu_DeviceGetEncoderSessions(struct emu_call *call, unsigned int *count,
                                          void *sessions)
{
    (void)call;
    (void)sessions;
    return none(count);
}

nvmlReturn_t emu_DeviceGetFBCStats(struct emu_call *call, nvmlFBCStats_t *stats)
{
    (void)call;
    if (!stats) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *stats = (nvmlFBCStats_t){0};
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetFBCSessions(struct emu_call *call, unsigned int *count, void *sessions)
{
    (void)call;
    (void)sessions;
    return none(count);
}

/* ---- confidential computing: off ------------------------------------------------------------ */

nvmlReturn_t emu_SystemGetConfComputeState(struct emu_call *call,
                                           nvmlConfComputeSystemState_t *state)
{
    (void)call;
    if (!state) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *state = (nvmlConfComputeSystemState_t){0};
    return NVML_SUCCESS;
}

nvmlReturn_t emu_SystemGetConfComputeCapabilities(struct emu_call *call,
                                                  nvmlConfComputeSystemCaps_t *capabilities)
{
    (void)call;
    if (!capabilities) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *capabilities = (nvmlConfComputeSystemCaps_t){0};
    return NVML_SUCCESS;
}

nvmlReturn_t emu_SystemGetConfComputeGpusReadyState(struct emu_call *call, unsigned int *ready)
{
    (void)call;
    return none(ready);
}

nvmlReturn_t emu_DeviceGetConfComputeProtectedMemoryUsage(struct emu_call *call,
                                                          nvmlMemory_t *memory)
{
    (void)call;
    if (!memory) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *memory = (nvmlMemory_t){0};
    return NVML_SUCCESS;
}
