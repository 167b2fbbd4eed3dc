/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls that choose clocks: what is supported, applications clocks, locked clocks.
 *
 * A GPU supports one memory clock, its highest, and with it graphics clocks from the idle to the
 * highest one in even steps. Settings are volatile: a reset forgets them. They bound what the
 * sensors show, in emu_clock_limited().
 */
#include "emulator/entries.h"

#define CLOCK_STEP_MHZ 15

static unsigned limited(unsigned mhz, unsigned low, unsigned high)
{
    if (mhz < low) {
        return low;
    }
    return high > 0 && mhz > high ? high : mhz;
}

unsigned emu_clock_limited(const struct emu_gpu *state, nvmlClockType_t type, unsigned mhz)
{
    if (type == NVML_CLOCK_VIDEO) {
        return mhz;
    }
    bool memory = type == NVML_CLOCK_MEM;
    const uint16_t *lock = memory ? state->lock_memory_mhz : state->lock_graphics_mhz;
    mhz = limited(mhz, 0, memory ? state->app_memory_mhz : state->app_graphics_mhz);
    return limited(mhz, lock[0], lock[1]);
}

/* ---- supported clocks ----------------------------------------------------------------------- */

static unsigned graphics_clock_count(const struct emu_gpu_info *info)
{
    unsigned high = emu_known(info->clock_graphics_mhz), low = emu_known(info->clock_idle_mhz);
    return high > low ? (high - low) / CLOCK_STEP_MHZ + 1 : 1;
}

/* Writes `needed` clocks downwards from the highest, or says how many there are. */
static nvmlReturn_t list_clocks(unsigned highest, unsigned needed, unsigned int *count,
                                unsigned int *clocks)
{
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned room = *count;
    *count = needed;
    if (room < needed || !clocks) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; i < needed; i++) {
        clocks[i] = highest - i * CLOCK_STEP_MHZ;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetSupportedMemoryClocks(struct emu_call *call, unsigned int *count,
                                                unsigned int *clocks)
{
    return list_clocks(emu_known(call->info->clock_memory_mhz), 1, count, clocks);
}

nvmlReturn_t emu_DeviceGetSupportedGraphicsClocks(struct emu_call *call, unsigned int memory_clock,
                                                  unsigned int *count, unsigned int *clocks)
{
    if (memory_clock != emu_known(call->info->clock_memory_mhz)) {
        return NVML_ERROR_NOT_FOUND;
    }
    return list_clocks(emu_known(call->info->clock_graphics_mhz), graphics_clock_count(call->info),
                       count, clocks);
}

static bool is_supported(const struct emu_gpu_info *info, unsigned memory_mhz,
                         unsigned graphics_mhz)
{
    unsigned high = emu_known(info->clock_graphics_mhz);
    return memory_mhz == emu_known(info->clock_memory_mhz) && graphics_mhz <= high &&
           (high - graphics_mhz) % CLOCK_STEP_MHZ == 0 &&
           (high - graphics_mhz) / CLOCK_STEP_MHZ < graphics_clock_count(info);
}

/* ---- settings ------------------------------------------------------------------------------- */

/* Sets the applications clocks; 0 and 0 for the defaults. */
static nvmlReturn_t set_applications(struct emu_call *call, unsigned memory_mhz,
                                     unsigned graphics_mhz)
{
    struct emu_transaction change;
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc == NVML_SUCCESS) {
        change.state->gpus[call->gpu].app_memory_mhz = (uint16_t)memory_mhz;
        change.state->gpus[call->gpu].app_graphics_mhz = (uint16_t)graphics_mhz;
        rc = emu_change_end(&change, NVML_SUCCESS);
    }
    return rc;
}

nvmlReturn_t emu_DeviceSetApplicationsClocks(struct emu_call *call, unsigned int memory_mhz,
                                             unsigned int graphics_mhz)
{
    if (!is_supported(call->info, memory_mhz, graphics_mhz)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return set_applications(call, memory_mhz, graphics_mhz);
}

nvmlReturn_t emu_DeviceResetApplicationsClocks(struct emu_call *call)
{
    return set_applications(call, 0, 0);
}

nvmlReturn_t emu_DeviceGetApplicationsClock(struct emu_call *call, nvmlClockType_t type,
                                            unsigned int *clock)
{
    bool memory = type == NVML_CLOCK_MEM;
    unsigned set = memory ? call->state.app_memory_mhz : call->state.app_graphics_mhz;
    if (set == 0 || type == NVML_CLOCK_VIDEO) {
        return emu_DeviceGetDefaultApplicationsClock(call, type, clock);
    }
    return (unsigned)type >= NVML_CLOCK_COUNT ? NVML_ERROR_INVALID_ARGUMENT
                                              : emu_number_out(set, clock);
}

/* Locks the clock at this offset of the GPU's state between two values; 0 and 0 unlocks it. */
static nvmlReturn_t lock(struct emu_call *call, size_t offset, unsigned low, unsigned high)
{
    struct emu_transaction change;
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    uint16_t *range = (uint16_t *)(void *)((char *)&change.state->gpus[call->gpu] + offset);
    range[0] = (uint16_t)low;
    range[1] = (uint16_t)high;
    return emu_change_end(&change, NVML_SUCCESS);
}

/* As asked, within what the GPU can do. */
static nvmlReturn_t lock_within(struct emu_call *call, size_t offset, const unsigned asked[2],
                                const unsigned range[2])
{
    if (asked[0] > asked[1] || asked[1] == 0 || asked[0] > range[1]) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return lock(call, offset, limited(asked[0], range[0], range[1]),
                limited(asked[1], range[0], range[1]));
}

nvmlReturn_t emu_DeviceSetGpuLockedClocks(struct emu_call *call, unsigned int low,
                                          unsigned int high)
{
    const unsigned range[2] = {emu_known(call->info->clock_idle_mhz),
                               emu_known(call->info->clock_graphics_mhz)};
    return lock_within(call, offsetof(struct emu_gpu, lock_graphics_mhz), (unsigned[2]){low, high},
                       range);
}

nvmlReturn_t emu_DeviceResetGpuLockedClocks(struct emu_call *call)
{
    return lock(call, offsetof(struct emu_gpu, lock_graphics_mhz), 0, 0);
}

nvmlReturn_t emu_DeviceSetMemoryLockedClocks(struct emu_call *call, unsigned int low,
                                             unsigned int high)
{
    unsigned only = emu_known(call->info->clock_memory_mhz);
    return lock_within(call, offsetof(struct emu_gpu, lock_memory_mhz), (unsigned[2]){low, high},
                       (unsigned[2]){only, only});
}

nvmlReturn_t emu_DeviceResetMemoryLockedClocks(struct emu_call *call)
{
    return lock(call, offsetof(struct emu_gpu, lock_memory_mhz), 0, 0);
}

/* ---- performance states: there is one ------------------------------------------------------- */

nvmlReturn_t emu_DeviceGetSupportedPerformanceStates(struct emu_call *call, nvmlPstates_t *states,
                                                     unsigned int size)
{
    (void)call;
    if (!states) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (size < sizeof *states) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    states[0] = NVML_PSTATE_0;
    if (size >= 2 * sizeof *states) {
        states[1] = NVML_PSTATE_UNKNOWN;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetMinMaxClockOfPState(struct emu_call *call, nvmlClockType_t type,
                                              nvmlPstates_t pstate, unsigned int *low,
                                              unsigned int *high)
{
    if (!low || !high || (unsigned)type >= NVML_CLOCK_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (pstate != NVML_PSTATE_0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    nvmlReturn_t rc = emu_DeviceGetMaxClockInfo(call, type, high);
    *low = type == NVML_CLOCK_MEM ? *high : emu_known(call->info->clock_idle_mhz);
    return rc;
}
