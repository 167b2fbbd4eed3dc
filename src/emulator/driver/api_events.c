/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's event sets.
 *
 * A set is a place in a table of the process with a mask per GPU and the number of the last event
 * it has seen; its handle carries the number of times that place was given out, so a freed set is
 * recognised. Every set gets every event it listens for, once, whoever posts it. A wait that ends
 * without an event lasts exactly as long as it was told.
 */
#include "emulator/entries.h"
#include <time.h>

#define SET_MAX 256
#define MARK 0x4e5eu
#define ALWAYS                                                                               \
    (nvmlEventTypeSingleBitEccError | nvmlEventTypeDoubleBitEccError | nvmlEventTypePState | \
     nvmlEventTypeXidCriticalError | nvmlEventTypeClock | nvmlEventMigConfigChange)

struct set {
    atomic_uint birth; /* odd while it is given out */
    _Atomic uint64_t cursor;
    _Atomic uint64_t masks[EMU_GPU_MAX];
};

static struct set sets[SET_MAX];

static uint64_t supported(void)
{
    return ALWAYS | (emu_has_recovery_action() ? nvmlEventTypeGpuRecoveryAction : 0);
}

static nvmlEventSet_t set_handle(unsigned index, unsigned birth)
{
    return (nvmlEventSet_t)((uint64_t)MARK << 48 | (uint64_t)index << 32 | birth);
}

static struct set *find_set(nvmlEventSet_t handle)
{
    uintptr_t value = (uintptr_t)handle;
    unsigned index = value >> 32 & 0xffff;
    if (value >> 48 != MARK || index >= SET_MAX) {
        return NULL;
    }
    unsigned birth = atomic_load(&sets[index].birth);
    return birth % 2 == 1 && birth == (unsigned)value ? &sets[index] : NULL;
}

nvmlReturn_t emu_EventSetCreate(struct emu_call *call, nvmlEventSet_t *handle)
{
    if (!handle) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < SET_MAX; i++) {
        unsigned birth = atomic_load(&sets[i].birth);
        if (birth % 2 == 1 || !atomic_compare_exchange_strong(&sets[i].birth, &birth, birth + 1)) {
            continue;
        }
        for (unsigned gpu = 0; gpu < EMU_GPU_MAX; gpu++) {
            atomic_store(&sets[i].masks[gpu], 0);
        }
        atomic_store(&sets[i].cursor, emu_event_last(call->machine));
        *handle = set_handle(i, birth + 1);
        return NVML_SUCCESS;
    }
    return NVML_ERROR_MEMORY;
}

nvmlReturn_t emu_EventSetFree(struct emu_call *call, nvmlEventSet_t handle)
{
    struct set *set = find_set(handle);
    (void)call;
    if (!set) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    atomic_fetch_add(&set->birth, 1);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetSupportedEventTypes(struct emu_call *call, unsigned long long *types)
{
    (void)call;
    if (!types) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *types = supported();
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceRegisterEvents(struct emu_call *call, unsigned long long types,
                                      nvmlEventSet_t handle)
{
    struct set *set = find_set(handle);
    if (!set) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (types & ~supported()) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    atomic_fetch_or(&set->masks[call->gpu], types);
    return NVML_SUCCESS;
}

/* The next event the set listens for. */
static bool take_event(const struct emu_call *call, struct set *set, struct emu_event *ret)
{
    uint64_t cursor = atomic_load(&set->cursor);
    bool found = false;
    while (!found && emu_event_next(call->machine, &cursor, ret) == 0) {
        found = ret->gpu < EMU_GPU_MAX && (atomic_load(&set->masks[ret->gpu]) & ret->type) != 0;
    }
    atomic_store(&set->cursor, cursor);
    return found;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

nvmlReturn_t emu_EventSetWait_v2(struct emu_call *call, nvmlEventSet_t handle,
                                 nvmlEventData_t *data, unsigned int timeout_ms)
{
    struct emu_event event;
    struct set *set = find_set(handle);
    if (!set || !data) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint64_t deadline_ns = now_ns() + (uint64_t)timeout_ms * 1000000u;
    while (!take_event(call, set, &event)) {
        if (now_ns() >= deadline_ns) {
            return NVML_ERROR_TIMEOUT;
        }
        emu_event_wait(call->machine, atomic_load(&set->cursor), deadline_ns);
    }
    *data = (nvmlEventData_t){
        .device = emu_gpu_handle(event.gpu),
        .eventType = event.type,
        .eventData = event.data,
        .gpuInstanceId = event.gi,
        .computeInstanceId = event.ci,
    };
    return NVML_SUCCESS;
}

nvmlReturn_t emu_EventSetWait(struct emu_call *call, nvmlEventSet_t handle,
                              nvmlEventData_v1_t *data, unsigned int timeout_ms)
{
    nvmlEventData_t full;
    if (!data) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_EventSetWait_v2(call, handle, &full, timeout_ms);
    if (rc == NVML_SUCCESS) {
        *data = (nvmlEventData_v1_t){full.device, full.eventType, full.eventData};
    }
    return rc;
}
