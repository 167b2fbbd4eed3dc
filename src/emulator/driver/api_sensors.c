/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls for what a GPU measures: temperature, power, clocks, load, errors.
 *
 * Values are read from the meters (meter.h): the same state at the same time of the machine always
 * shows the same values. MIG devices have no sensors: clients ask the GPU.
 */
#include "emulator/entries.h"
#include "emulator/machine/meter.h"
#include <string.h>
#include <time.h>

#define UTILIZATION_PERIOD_US 167000

/* By nvmlTemperatureThresholds_t: shutdown, slowdown, memory, GPU. */
static const int thresholds_c[] = {92, 89, 95, 85};

static nvmlReturn_t value_out(int64_t value, unsigned int *ret)
{
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = value > 0 ? (unsigned)value : 0;
    return NVML_SUCCESS;
}

/* ---- measuring ------------------------------------------------------------------------------ */

static bool has_ended_process(const struct emu_call *call)
{
    struct emu_process process = {.pid = 1};
    for (unsigned i = 0; process.pid != 0 && i < EMU_PROCESS_MAX; i++) {
        size_t offset = offsetof(struct emu_state, processes) + i * sizeof process;
        if (emu_machine_read_part(call->machine, offset, &process, sizeof process) == 0 &&
            process.pid != 0 && process.gpu == call->gpu && !emu_process_is_alive(&process)) {
            return true;
        }
    }
    return false;
}

/* The load of a process counts until somebody sees that it has ended. */
static void drop_ended_processes(struct emu_call *call)
{
    struct emu_transaction change;
    bool by_processes = call->state.meter.load_percent > call->state.load_percent;
    if (!by_processes || !has_ended_process(call) || emu_begin(call->machine, &change) < 0) {
        return;
    }
    emu_process_reap(change.state);
    emu_commit(&change);
    emu_machine_read_gpu(call->machine, (unsigned)call->gpu, &call->state);
}

uint64_t emu_measure(struct emu_call *call, struct emu_reading *ret)
{
    struct emu_clock clock = {.rate = EMU_CLOCK_REAL};
    drop_ended_processes(call);
    emu_machine_read_part(call->machine, offsetof(struct emu_state, clock), &clock, sizeof clock);
    uint64_t now_ns = emu_clock_at(&clock, call->start_ns);
    emu_meter_read(call->info, &call->state, now_ns, ret);
    return now_ns;
}

static struct emu_reading measure(struct emu_call *call)
{
    struct emu_reading reading;
    emu_measure(call, &reading);
    return reading;
}

/* ---- temperature and power ------------------------------------------------------------------ */

static int64_t temperature(struct emu_call *call)
{
    return measure(call).temperature_mc / 1000;
}

static int64_t power_mw(struct emu_call *call)
{
    return measure(call).power_mw;
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
    (void)call;
    if ((unsigned)threshold >= NVML_TEMPERATURE_THRESHOLD_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if ((unsigned)threshold >= sizeof thresholds_c / sizeof thresholds_c[0]) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return value_out(thresholds_c[threshold], value);
}

/* How far the GPU is from its slowdown. */
nvmlReturn_t emu_DeviceGetMarginTemperature(struct emu_call *call, nvmlMarginTemperature_t *value)
{
    if (!value) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (value->version != nvmlMarginTemperature_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (call->info->architecture < NVML_DEVICE_ARCH_HOPPER) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    value->marginTemperature =
        (int)(thresholds_c[NVML_TEMPERATURE_THRESHOLD_SLOWDOWN] - temperature(call));
    return NVML_SUCCESS;
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

nvmlReturn_t emu_DeviceSetPowerManagementLimit_v2(struct emu_call *call, nvmlPowerValue_v2_t *value)
{
    if (!value) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (value->version != nvmlPowerValue_v2) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (value->powerScope != NVML_POWER_SCOPE_GPU) {
        return NVML_ERROR_NOT_SUPPORTED; /* no module or memory with a limit of its own */
    }
    return emu_DeviceSetPowerManagementLimit(call, value->powerValueMw);
}

nvmlReturn_t emu_DeviceGetFanSpeed(struct emu_call *call, unsigned int *speed)
{
    return call->info->has_fan ? value_out(30, speed) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t emu_DeviceGetFanSpeed_v2(struct emu_call *call, unsigned int fan, unsigned int *speed)
{
    return fan < call->info->has_fan || !call->info->has_fan ? emu_DeviceGetFanSpeed(call, speed)
                                                             : NVML_ERROR_INVALID_ARGUMENT;
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
    struct emu_reading reading = measure(call);
    int64_t value = reading.clock_graphics_mhz;
    if (type == NVML_CLOCK_MEM || (type == NVML_CLOCK_VIDEO && reading.load_percent > 0)) {
        value = max_clock(call->info, type);
    }
    unsigned mhz = emu_known((int)value);
    return value_out(emu_clock_limited(&call->state, type, mhz), clock);
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
    struct emu_reading reading = measure(call);
    if (reading.is_capped) {
        return wide_out(nvmlClocksEventReasonSwPowerCap, reasons);
    }
    bool idle = reading.load_percent == 0;
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
    struct emu_reading reading = measure(call);
    *utilization = (nvmlUtilization_t){reading.load_percent, reading.memory_load_percent};
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

nvmlReturn_t emu_DeviceGetTotalEnergyConsumption(struct emu_call *call, unsigned long long *energy)
{
    return wide_out(measure(call).energy_mj, energy);
}

/* ---- fields --------------------------------------------------------------------------------- */

/* Counters of what never happens here, in ranges of numbers. */
static bool is_zero_field(unsigned field)
{
    static const unsigned ranges[][2] = {
        {NVML_FI_DEV_PERF_POLICY_POWER, NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS},
        {NVML_FI_DEV_NVLINK_LINK_COUNT, NVML_FI_DEV_NVLINK_LINK_COUNT},
        {NVML_FI_DEV_PCIE_REPLAY_COUNTER, NVML_FI_DEV_PCIE_REPLAY_ROLLOVER_COUNTER},
        {NVML_FI_DEV_C2C_LINK_COUNT, NVML_FI_DEV_C2C_LINK_COUNT},
        {NVML_FI_DEV_PCIE_COUNT_CORRECTABLE_ERRORS, NVML_FI_DEV_PCIE_COUNT_LANE_ERROR},
        {NVML_FI_DEV_DRAIN_AND_RESET_STATUS, NVML_FI_DEV_DRAIN_AND_RESET_STATUS},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (field >= ranges[i][0] && field <= ranges[i][1]) {
            return true;
        }
    }
    return false;
}

/* ECC counts and remapped rows: by the calls that give the same. */
static nvmlReturn_t error_field(struct emu_call *call, unsigned field, int64_t *ret)
{
    static const struct {
        unsigned field;
        nvmlMemoryErrorType_t type;
        nvmlEccCounterType_t counter;
    } fields[] = {
        {NVML_FI_DEV_ECC_SBE_VOL_TOTAL, NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_VOLATILE_ECC},
        {NVML_FI_DEV_ECC_DBE_VOL_TOTAL, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC},
        {NVML_FI_DEV_ECC_SBE_AGG_TOTAL, NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_AGGREGATE_ECC},
        {NVML_FI_DEV_ECC_DBE_AGG_TOTAL, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_AGGREGATE_ECC},
        {NVML_FI_DEV_ECC_SBE_VOL_DEV, NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_VOLATILE_ECC},
        {NVML_FI_DEV_ECC_DBE_VOL_DEV, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC},
        {NVML_FI_DEV_ECC_SBE_AGG_DEV, NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_AGGREGATE_ECC},
        {NVML_FI_DEV_ECC_DBE_AGG_DEV, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_AGGREGATE_ECC},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        unsigned long long count = 0;
        if (fields[i].field == field) {
            nvmlReturn_t rc =
                emu_DeviceGetTotalEccErrors(call, fields[i].type, fields[i].counter, &count);
            *ret = (int64_t)count;
            return rc;
        }
    }
    return NVML_ERROR_NOT_SUPPORTED;
}

/*
 * Limits as they are shown from Hopper on: counted from the highest temperature to work at, so that
 * 0 is there and those beyond are negative.
 */
static nvmlReturn_t limit_field(const struct emu_call *call, unsigned field, int64_t *ret)
{
    static const struct {
        unsigned field;
        nvmlTemperatureThresholds_t limit, zero;
    } fields[] = {
        {NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT, NVML_TEMPERATURE_THRESHOLD_SHUTDOWN,
         NVML_TEMPERATURE_THRESHOLD_GPU_MAX},
        {NVML_FI_DEV_TEMPERATURE_SLOWDOWN_TLIMIT, NVML_TEMPERATURE_THRESHOLD_SLOWDOWN,
         NVML_TEMPERATURE_THRESHOLD_GPU_MAX},
        {NVML_FI_DEV_TEMPERATURE_MEM_MAX_TLIMIT, NVML_TEMPERATURE_THRESHOLD_MEM_MAX,
         NVML_TEMPERATURE_THRESHOLD_MEM_MAX},
        {NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT, NVML_TEMPERATURE_THRESHOLD_GPU_MAX,
         NVML_TEMPERATURE_THRESHOLD_GPU_MAX},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i].field == field && call->info->architecture >= NVML_DEVICE_ARCH_HOPPER) {
            *ret = thresholds_c[fields[i].zero] - thresholds_c[fields[i].limit];
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_NOT_SUPPORTED;
}

static int field_table(struct emu_call *call, unsigned field, int64_t *ret)
{
    const struct {
        unsigned field;
        int64_t value;
    } fields[] = {
        {NVML_FI_DEV_ECC_CURRENT, call->state.ecc},
        {NVML_FI_DEV_ECC_PENDING, call->state.ecc_pending},
        {NVML_FI_DEV_MEMORY_TEMP, temperature(call)},
        {NVML_FI_DEV_REMAPPED_COR, 0},
        {NVML_FI_DEV_REMAPPED_UNC, 0},
        {NVML_FI_DEV_REMAPPED_PENDING, 0},
        {NVML_FI_DEV_REMAPPED_FAILURE, 0},
        {NVML_FI_DEV_IS_RESETLESS_MIG_SUPPORTED,
         call->info->mig_capable && !call->info->mode_needs_reset},
        {NVML_FI_DEV_RESET_STATUS, call->state.reset_required},
        {NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, call->state.reset_required},
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

static nvmlReturn_t read_field(struct emu_call *call, unsigned field, int64_t *ret)
{
    unsigned long long energy = 0;
    if (field == NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION) {
        nvmlReturn_t rc = emu_DeviceGetTotalEnergyConsumption(call, &energy);
        *ret = (int64_t)energy;
        return rc;
    }
    if (field == NVML_FI_DEV_GET_GPU_RECOVERY_ACTION && emu_has_recovery_action()) {
        *ret = call->state.recovery_action;
        return NVML_SUCCESS;
    }
    if (field_table(call, field, ret) == 0 || is_zero_field(field)) {
        return NVML_SUCCESS;
    }
    if (limit_field(call, field, ret) == NVML_SUCCESS) {
        return NVML_SUCCESS;
    }
    return error_field(call, field, ret);
}

/* Values are 64 bits wide in memory, so the counters among them only differ in their type. */
static nvmlValueType_t field_type(unsigned field)
{
    bool wide = field == NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION ||
                (field >= NVML_FI_DEV_ECC_SBE_VOL_TOTAL && field <= NVML_FI_DEV_ECC_DBE_AGG_DEV) ||
                (field >= NVML_FI_DEV_PERF_POLICY_POWER &&
                 field <= NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS);
    bool negative = field >= NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT &&
                    field <= NVML_FI_DEV_TEMPERATURE_GPU_MAX_TLIMIT;
    if (negative) {
        return NVML_VALUE_TYPE_SIGNED_INT;
    }
    return wide ? NVML_VALUE_TYPE_UNSIGNED_LONG_LONG : NVML_VALUE_TYPE_UNSIGNED_INT;
}

/*
 * Whether the scope means anything: the GPU, its memory or the module for power. nvidia-smi leaves
 * rubbish in it for other fields.
 */
static bool has_scope(unsigned field)
{
    return field >= NVML_FI_DEV_POWER_AVERAGE && field <= NVML_FI_DEV_POWER_REQUESTED_LIMIT;
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
        nvmlReturn_t rc = NVML_ERROR_NOT_SUPPORTED;
        if (values[i].scopeId == 0 || !has_scope(values[i].fieldId)) {
            rc = read_field(call, values[i].fieldId, &value);
        }
        values[i].timestamp = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
        values[i].latencyUsec = 0;
        values[i].valueType = field_type(values[i].fieldId);
        values[i].nvmlReturn = rc;
        values[i].value = (nvmlValue_t){.ullVal = (unsigned long long)value};
    }
    return NVML_SUCCESS;
}

/* ---- samples: the buffer holds one, of this moment ------------------------------------------- */

static int64_t sample_value(struct emu_call *call, nvmlSamplingType_t type)
{
    unsigned value = 0;
    switch ((unsigned)type) {
    case NVML_TOTAL_POWER_SAMPLES:
        return power_mw(call);
    case NVML_GPU_UTILIZATION_SAMPLES:
        return measure(call).load_percent;
    case NVML_MEMORY_UTILIZATION_SAMPLES:
        return measure(call).memory_load_percent;
    case NVML_PROCESSOR_CLK_SAMPLES:
        emu_DeviceGetClockInfo(call, NVML_CLOCK_SM, &value);
        return value;
    case NVML_MEMORY_CLK_SAMPLES:
        emu_DeviceGetClockInfo(call, NVML_CLOCK_MEM, &value);
        return value;
    default:
        return 0; /* the engines for video, idle */
    }
}

nvmlReturn_t emu_DeviceGetSamples(struct emu_call *call, nvmlSamplingType_t type,
                                  unsigned long long last_seen, nvmlValueType_t *value_type,
                                  unsigned int *count, nvmlSample_t *samples)
{
    if (!value_type || !count || (unsigned)type >= NVML_SAMPLINGTYPE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    bool utilization = type != NVML_TOTAL_POWER_SAMPLES && type != NVML_PROCESSOR_CLK_SAMPLES &&
                       type != NVML_MEMORY_CLK_SAMPLES;
    if (type == NVML_MODULE_POWER_SAMPLES || (utilization && call->state.mode)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    if (!samples) {
        *count = 1;
        return NVML_SUCCESS;
    }
    unsigned long long now_us = call->start_ns / 1000;
    if (last_seen >= now_us) {
        return NVML_ERROR_NOT_FOUND;
    }
    if (*count == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *count = 1;
    samples[0] = (nvmlSample_t){now_us, {.ullVal = (unsigned long long)sample_value(call, type)}};
    return NVML_SUCCESS;
}
