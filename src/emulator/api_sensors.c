/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls for what a GPU measures: temperature, power, clocks, load, errors.
 *
 * Values are the description's idle figures, raised by the load that the state gives the GPU; the
 * same state always shows the same values. MIG devices have no sensors: clients ask the GPU.
 */
#include "emulator/entries.h"
#include <string.h>
#include <time.h>

#define UTILIZATION_PERIOD_US 167000
#define LOAD_HEAT_C 40 /* warmer than idle at full load */

static nvmlReturn_t value_out(int64_t value, unsigned int *ret)
{
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = value > 0 ? (unsigned)value : 0;
    return NVML_SUCCESS;
}

/* A figure between its idle and its full-load value. */
static int64_t by_load(const struct emu_call *call, int64_t idle, int64_t full)
{
    return idle + (full - idle) * call->state.load_percent / 100;
}

/* ---- temperature and power ------------------------------------------------------------------ */

static int64_t temperature(const struct emu_call *call)
{
    return by_load(call, call->info->temperature_c, call->info->temperature_c + LOAD_HEAT_C);
}

static int64_t power_mw(const struct emu_call *call)
{
    return by_load(call, call->info->power_idle_mw, call->state.power_limit_mw);
}

nvmlReturn_t emu_DeviceGetTemperature(struct emu_call *call, nvmlTemperatureSensors_t sensor,
                                      unsigned int *value)
{
    if ((unsigned)sensor >= NVML_TEMPERATURE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return value_out(temperature(call), value);
}

nvmlReturn_t emu_DeviceGetTemperatureV(struct emu_call *call, nvmlTemperature_t *value)
{
    if (!value) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (value->version != nvmlTemperature_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if ((unsigned)value->sensorType >= NVML_TEMPERATURE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    value->temperature = (int)temperature(call);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetTemperatureThreshold(struct emu_call *call,
                                               nvmlTemperatureThresholds_t threshold,
                                               unsigned int *value)
{
    static const int limits[] = {92, 89, 95, 85}; /* shutdown, slowdown, memory, GPU */
    (void)call;
    if ((unsigned)threshold >= NVML_TEMPERATURE_THRESHOLD_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if ((unsigned)threshold >= sizeof limits / sizeof limits[0]) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return value_out(limits[threshold], value);
}

nvmlReturn_t emu_DeviceGetPowerUsage(struct emu_call *call, unsigned int *power)
{
    return value_out(power_mw(call), power);
}

nvmlReturn_t emu_DeviceGetPowerManagementMode(struct emu_call *call, nvmlEnableState_t *mode)
{
    (void)call;
    if (!mode) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *mode = NVML_FEATURE_ENABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetPowerManagementLimit(struct emu_call *call, unsigned int *limit)
{
    return value_out(call->state.power_limit_mw, limit);
}

nvmlReturn_t emu_DeviceGetEnforcedPowerLimit(struct emu_call *call, unsigned int *limit)
{
    return value_out(call->state.power_limit_mw, limit);
}

nvmlReturn_t emu_DeviceGetPowerManagementDefaultLimit(struct emu_call *call, unsigned int *limit)
{
    return value_out(call->info->power_limit_mw, limit);
}

nvmlReturn_t emu_DeviceGetPowerManagementLimitConstraints(struct emu_call *call, unsigned int *min,
                                                          unsigned int *max)
{
    if (!min || !max) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    value_out(call->info->power_min_mw, min);
    return value_out(call->info->power_max_mw, max);
}

nvmlReturn_t emu_DeviceSetPowerManagementLimit(struct emu_call *call, unsigned int limit)
{
    struct emu_transaction change;
    if ((int64_t)limit < call->info->power_min_mw || (int64_t)limit > call->info->power_max_mw) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    change.state->gpus[call->gpu].power_limit_mw = (int32_t)limit;
    return emu_change_end(&change, NVML_SUCCESS);
}

nvmlReturn_t emu_DeviceGetFanSpeed(struct emu_call *call, unsigned int *speed)
{
    return call->info->has_fan ? value_out(30, speed) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t emu_DeviceGetNumFans(struct emu_call *call, unsigned int *count)
{
    return value_out(call->info->has_fan, count);
}

/* ---- clocks --------------------------------------------------------------------------------- */

static int64_t max_clock(const struct emu_gpu_info *info, nvmlClockType_t type)
{
    switch (type) {
    case NVML_CLOCK_MEM:
        return info->clock_memory_mhz;
    case NVML_CLOCK_VIDEO:
        return info->clock_video_mhz;
    case NVML_CLOCK_GRAPHICS:
    case NVML_CLOCK_SM:
    case NVML_CLOCK_COUNT:
    default:
        return info->clock_graphics_mhz;
    }
}

nvmlReturn_t emu_DeviceGetMaxClockInfo(struct emu_call *call, nvmlClockType_t type,
                                       unsigned int *clock)
{
    if ((unsigned)type >= NVML_CLOCK_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return value_out(max_clock(call->info, type), clock);
}

nvmlReturn_t emu_DeviceGetClockInfo(struct emu_call *call, nvmlClockType_t type,
                                    unsigned int *clock)
{
    if ((unsigned)type >= NVML_CLOCK_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    int64_t full = max_clock(call->info, type);
    bool idle = call->state.load_percent == 0 && type != NVML_CLOCK_MEM;
    return value_out(idle ? call->info->clock_idle_mhz : full, clock);
}

nvmlReturn_t emu_DeviceGetClock(struct emu_call *call, nvmlClockType_t type, nvmlClockId_t id,
                                unsigned int *clock)
{
    if ((unsigned)id >= NVML_CLOCK_ID_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return id == NVML_CLOCK_ID_CURRENT ? emu_DeviceGetClockInfo(call, type, clock)
                                       : emu_DeviceGetMaxClockInfo(call, type, clock);
}

nvmlReturn_t emu_DeviceGetApplicationsClock(struct emu_call *call, nvmlClockType_t type,
                                            unsigned int *clock)
{
    return emu_DeviceGetMaxClockInfo(call, type, clock);
}

nvmlReturn_t emu_DeviceGetDefaultApplicationsClock(struct emu_call *call, nvmlClockType_t type,
                                                   unsigned int *clock)
{
    return emu_DeviceGetMaxClockInfo(call, type, clock);
}

nvmlReturn_t emu_DeviceGetMaxCustomerBoostClock(struct emu_call *call, nvmlClockType_t type,
                                                unsigned int *clock)
{
    return emu_DeviceGetMaxClockInfo(call, type, clock);
}

/* One clock is supported: the highest. */
static nvmlReturn_t one_clock(int64_t value, unsigned int *count, unsigned int *clocks)
{
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned room = *count;
    *count = 1;
    if (room < 1 || !clocks) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    return value_out(value, clocks);
}

nvmlReturn_t emu_DeviceGetSupportedMemoryClocks(struct emu_call *call, unsigned int *count,
                                                unsigned int *clocks)
{
    return one_clock(call->info->clock_memory_mhz, count, clocks);
}

nvmlReturn_t emu_DeviceGetSupportedGraphicsClocks(struct emu_call *call, unsigned int memory_clock,
                                                  unsigned int *count, unsigned int *clocks)
{
    if (memory_clock != emu_known(call->info->clock_memory_mhz)) {
        return NVML_ERROR_NOT_FOUND;
    }
    return one_clock(call->info->clock_graphics_mhz, count, clocks);
}

nvmlReturn_t emu_DeviceGetPerformanceState(struct emu_call *call, nvmlPstates_t *state)
{
    (void)call;
    if (!state) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *state = NVML_PSTATE_0;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetPowerState(struct emu_call *call, nvmlPstates_t *state)
{
    return emu_DeviceGetPerformanceState(call, state);
}

static nvmlReturn_t wide_out(uint64_t value, unsigned long long *ret)
{
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = value;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetCurrentClocksEventReasons(struct emu_call *call,
                                                    unsigned long long *reasons)
{
    bool idle = call->state.load_percent == 0;
    return wide_out(idle ? nvmlClocksEventReasonGpuIdle : nvmlClocksEventReasonNone, reasons);
}

nvmlReturn_t emu_DeviceGetCurrentClocksThrottleReasons(struct emu_call *call,
                                                       unsigned long long *reasons)
{
    return emu_DeviceGetCurrentClocksEventReasons(call, reasons);
}

nvmlReturn_t emu_DeviceGetSupportedClocksEventReasons(struct emu_call *call,
                                                      unsigned long long *reasons)
{
    (void)call;
    return wide_out(nvmlClocksEventReasonAll, reasons);
}

nvmlReturn_t emu_DeviceGetSupportedClocksThrottleReasons(struct emu_call *call,
                                                         unsigned long long *reasons)
{
    return emu_DeviceGetSupportedClocksEventReasons(call, reasons);
}

/* ---- load ----------------------------------------------------------------------------------- */

nvmlReturn_t emu_DeviceGetUtilizationRates(struct emu_call *call, nvmlUtilization_t *utilization)
{
    if (!utilization) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *utilization = (nvmlUtilization_t){call->state.load_percent, call->state.memory_load_percent};
    return NVML_SUCCESS;
}

static nvmlReturn_t no_load(unsigned int *utilization, unsigned int *period_us)
{
    if (!utilization || !period_us) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *utilization = 0;
    *period_us = UTILIZATION_PERIOD_US;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetEncoderUtilization(struct emu_call *call, unsigned int *utilization,
                                             unsigned int *period_us)
{
    (void)call;
    return no_load(utilization, period_us);
}

nvmlReturn_t emu_DeviceGetDecoderUtilization(struct emu_call *call, unsigned int *utilization,
                                             unsigned int *period_us)
{
    (void)call;
    return no_load(utilization, period_us);
}

nvmlReturn_t emu_DeviceGetJpgUtilization(struct emu_call *call, unsigned int *utilization,
                                         unsigned int *period_us)
{
    (void)call;
    return no_load(utilization, period_us);
}

nvmlReturn_t emu_DeviceGetOfaUtilization(struct emu_call *call, unsigned int *utilization,
                                         unsigned int *period_us)
{
    (void)call;
    return no_load(utilization, period_us);
}

nvmlReturn_t emu_DeviceGetPcieThroughput(struct emu_call *call, nvmlPcieUtilCounter_t counter,
                                         unsigned int *value)
{
    (void)call;
    return (unsigned)counter >= NVML_PCIE_UTIL_COUNT ? NVML_ERROR_INVALID_ARGUMENT
                                                     : value_out(0, value);
}

/* Counted as if the GPU had drawn its present power since the host's clock began. */
nvmlReturn_t emu_DeviceGetTotalEnergyConsumption(struct emu_call *call, unsigned long long *energy)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return wide_out((uint64_t)now.tv_sec * (uint64_t)call->info->power_idle_mw, energy);
}

/* ---- errors --------------------------------------------------------------------------------- */

nvmlReturn_t emu_DeviceGetTotalEccErrors(struct emu_call *call, nvmlMemoryErrorType_t type,
                                         nvmlEccCounterType_t counter, unsigned long long *count)
{
    if ((unsigned)type >= NVML_MEMORY_ERROR_TYPE_COUNT ||
        (unsigned)counter >= NVML_ECC_COUNTER_TYPE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->state.ecc) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return wide_out(type == NVML_MEMORY_ERROR_TYPE_CORRECTED ? call->state.ecc_corrected
                                                             : call->state.ecc_uncorrected,
                    count);
}

nvmlReturn_t emu_DeviceGetDetailedEccErrors(struct emu_call *call, nvmlMemoryErrorType_t type,
                                            nvmlEccCounterType_t counter,
                                            nvmlEccErrorCounts_t *counts)
{
    unsigned long long total = 0;
    if (!counts) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_DeviceGetTotalEccErrors(call, type, counter, &total);
    if (rc == NVML_SUCCESS) {
        *counts = (nvmlEccErrorCounts_t){.deviceMemory = total};
    }
    return rc;
}

nvmlReturn_t emu_DeviceGetMemoryErrorCounter(struct emu_call *call, nvmlMemoryErrorType_t type,
                                             nvmlEccCounterType_t counter,
                                             nvmlMemoryLocation_t location,
                                             unsigned long long *count)
{
    unsigned long long total = 0;
    if (!count || (unsigned)location >= NVML_MEMORY_LOCATION_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_DeviceGetTotalEccErrors(call, type, counter, &total);
    if (rc == NVML_SUCCESS) {
        *count = location == NVML_MEMORY_LOCATION_DEVICE_MEMORY ? total : 0;
    }
    return rc;
}

nvmlReturn_t emu_DeviceGetRemappedRows(struct emu_call *call, unsigned int *corrected,
                                       unsigned int *uncorrected, unsigned int *pending,
                                       unsigned int *failure)
{
    if (!corrected || !uncorrected || !pending || !failure) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < EMU_GI_MAX; i++) {
        if (call->state.gis[i].used) {
            return NVML_ERROR_NOT_SUPPORTED;
        }
    }
    *corrected = 0;
    *uncorrected = 0;
    *pending = 0;
    *failure = 0;
    return NVML_SUCCESS;
}

/* ---- fields --------------------------------------------------------------------------------- */

static int field_table(const struct emu_call *call, unsigned field, int64_t *ret)
{
    const struct {
        unsigned field;
        int64_t value;
    } fields[] = {
        {NVML_FI_DEV_ECC_CURRENT, call->state.ecc},
        {NVML_FI_DEV_ECC_PENDING, call->state.ecc_pending},
        {NVML_FI_DEV_MEMORY_TEMP, temperature(call)},
        {NVML_FI_DEV_NVLINK_LINK_COUNT, 0},
        {NVML_FI_DEV_REMAPPED_COR, 0},
        {NVML_FI_DEV_REMAPPED_UNC, 0},
        {NVML_FI_DEV_REMAPPED_PENDING, 0},
        {NVML_FI_DEV_REMAPPED_FAILURE, 0},
        {NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED,
         call->info->mig_capable && !call->info->mode_needs_reset},
        {NVML_FI_DEV_POWER_AVERAGE, power_mw(call)},
        {NVML_FI_DEV_POWER_INSTANT, power_mw(call)},
        {NVML_FI_DEV_POWER_MIN_LIMIT, call->info->power_min_mw},
        {NVML_FI_DEV_POWER_MAX_LIMIT, call->info->power_max_mw},
        {NVML_FI_DEV_POWER_DEFAULT_LIMIT, call->info->power_limit_mw},
        {NVML_FI_DEV_POWER_CURRENT_LIMIT, call->state.power_limit_mw},
        {NVML_FI_DEV_POWER_REQUESTED_LIMIT, call->state.power_limit_mw},
        {NVML_FI_DEV_IS_MIG_MODE_INDEPENDENT_MIG_QUERY_CAPABLE, call->info->mig_capable},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].field == field) {
            *ret = fields[i].value;
            return 0;
        }
    }
    return EMU_UNKNOWN;
}

nvmlReturn_t emu_DeviceGetFieldValues(struct emu_call *call, int count, nvmlFieldValue_t *values)
{
    struct timespec now;
    if (count < 1 || count > 1024 || !values) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < count; i++) {
        int64_t value = 0;
        /* a scope other than the GPU itself: the module's or memory's power, a link */
        bool known = values[i].scopeId == 0 && field_table(call, values[i].fieldId, &value) == 0;
        values[i].timestamp = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        values[i].latencyUsec = 0;
        values[i].valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
        values[i].nvmlReturn = known ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
        values[i].value = (nvmlValue_t){.ullVal = (unsigned long long)value};
    }
    return NVML_SUCCESS;
}
