/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls on a GPU's health: ECC errors, rows and pages taken out of use, violations, the
 * infoROM.
 *
 * All errors are counted as the device memory's: volatile since the last reset, aggregate since
 * the machine was made. From Ampere on bad rows are remapped; older GPUs retire pages instead.
 * Neither happens here by itself, so their lists are empty.
 */
#include "emulator/entries.h"

static nvmlReturn_t wide_out(uint64_t value, unsigned long long *ret)
{
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = value;
    return NVML_SUCCESS;
}

static uint64_t error_count(const struct emu_gpu *state, nvmlMemoryErrorType_t type,
                            nvmlEccCounterType_t counter)
{
    bool aggregate = counter == NVML_AGGREGATE_ECC;
    if (type == NVML_MEMORY_ERROR_TYPE_CORRECTED) {
        return state->ecc_corrected + (aggregate ? state->ecc_corrected_before : 0);
    }
    return state->ecc_uncorrected + (aggregate ? state->ecc_uncorrected_before : 0);
}

/* ---- ECC ------------------------------------------------------------------------------------ */

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
    return wide_out(error_count(&call->state, type, counter), count);
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

nvmlReturn_t emu_DeviceClearEccErrorCounts(struct emu_call *call, nvmlEccCounterType_t counter)
{
    struct emu_transaction change;
    if ((unsigned)counter >= NVML_ECC_COUNTER_TYPE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->state.ecc) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct emu_gpu *gpu = &change.state->gpus[call->gpu];
    bool aggregate = counter == NVML_AGGREGATE_ECC;
    /* The other counter keeps what it shows. */
    gpu->ecc_corrected_before = aggregate ? 0 : gpu->ecc_corrected_before + gpu->ecc_corrected;
    gpu->ecc_uncorrected_before =
        aggregate ? 0 : gpu->ecc_uncorrected_before + gpu->ecc_uncorrected;
    gpu->ecc_corrected = 0;
    gpu->ecc_uncorrected = 0;
    return emu_change_end(&change, NVML_SUCCESS);
}

nvmlReturn_t emu_DeviceGetSramEccErrorStatus(struct emu_call *call,
                                             nvmlEccSramErrorStatus_t *status)
{
    if (!status) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (status->version != nvmlEccSramErrorStatus_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!call->state.ecc || call->info->architecture < NVML_DEVICE_ARCH_AMPERE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *status = (nvmlEccSramErrorStatus_t){.version = nvmlEccSramErrorStatus_v1};
    return NVML_SUCCESS;
}

/* ---- rows and pages ------------------------------------------------------------------------- */

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

nvmlReturn_t emu_DeviceGetRetiredPages_v2(struct emu_call *call, nvmlPageRetirementCause_t cause,
                                          unsigned int *count, unsigned long long *addresses,
                                          unsigned long long *times)
{
    (void)addresses;
    (void)times;
    if (!count || (unsigned)cause >= NVML_PAGE_RETIREMENT_CAUSE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (call->info->architecture >= NVML_DEVICE_ARCH_AMPERE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *count = 0;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetRetiredPages(struct emu_call *call, nvmlPageRetirementCause_t cause,
                                       unsigned int *count, unsigned long long *addresses)
{
    return emu_DeviceGetRetiredPages_v2(call, cause, count, addresses, NULL);
}

nvmlReturn_t emu_DeviceGetRetiredPagesPendingStatus(struct emu_call *call,
                                                    nvmlEnableState_t *pending)
{
    if (!pending) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (call->info->architecture >= NVML_DEVICE_ARCH_AMPERE) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    *pending = NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

/* ---- other ---------------------------------------------------------------------------------- */

/* Nothing ever holds the clocks down. */
nvmlReturn_t emu_DeviceGetViolationStatus(struct emu_call *call, nvmlPerfPolicyType_t policy,
                                          nvmlViolationTime_t *violation)
{
    bool known = (unsigned)policy <= NVML_PERF_POLICY_RELIABILITY ||
                 policy == NVML_PERF_POLICY_TOTAL_APP_CLOCKS ||
                 policy == NVML_PERF_POLICY_TOTAL_BASE_CLOCKS;
    if (!violation || !known) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *violation = (nvmlViolationTime_t){.referenceTime = call->start_ns / 1000};
    return NVML_SUCCESS;
}

/* It is never damaged; a fault rule can say otherwise. */
nvmlReturn_t emu_DeviceValidateInforom(struct emu_call *call)
{
    (void)call;
    return NVML_SUCCESS;
}
