/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's accounting, and what processes use over time.
 *
 * Accounting is off while MIG is on (nvml.h). Only processes that run are accounted: those that
 * ended are not kept, so there is nothing to clear. Processes take an even share of the load.
 */
#include "emulator/entries.h"
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define ACCOUNTED_MAX 4000 /* what real drivers report */

static bool is_on(const struct emu_call *call)
{
    return call->state.accounting && !call->state.mode;
}

nvmlReturn_t emu_DeviceGetAccountingMode(struct emu_call *call, nvmlEnableState_t *mode)
{
    if (!mode) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *mode = is_on(call) ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceSetAccountingMode(struct emu_call *call, nvmlEnableState_t mode)
{
    struct emu_transaction change;
    if ((unsigned)mode > NVML_FEATURE_ENABLED) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc == NVML_SUCCESS) {
        change.state->gpus[call->gpu].accounting = (uint8_t)mode;
        rc = emu_change_end(&change, NVML_SUCCESS);
    }
    return rc;
}

nvmlReturn_t emu_DeviceGetAccountingBufferSize(struct emu_call *call, unsigned int *size)
{
    (void)call;
    return emu_number_out(ACCOUNTED_MAX, size);
}

nvmlReturn_t emu_DeviceClearAccountingPids(struct emu_call *call)
{
    struct emu_transaction change;
    nvmlReturn_t rc = emu_change_begin(call, &change); /* for the permission */
    if (rc == NVML_SUCCESS) {
        emu_abort(&change);
    }
    return rc;
}

/* Once per process, though it may be listed several times. */
static unsigned keep_first_of_each(struct emu_process *processes, unsigned count)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned j = 0;
        while (j < kept && processes[j].pid != processes[i].pid) {
            j++;
        }
        if (j == kept) {
            processes[kept++] = processes[i];
        } else {
            processes[j].memory_bytes += processes[i].memory_bytes;
        }
    }
    return kept;
}

static nvmlReturn_t accounted(const struct emu_call *call, struct emu_process **ret,
                              unsigned *ret_count)
{
    nvmlReturn_t rc = emu_call_processes(call, ret, ret_count);
    if (rc == NVML_SUCCESS) {
        *ret_count = is_on(call) ? keep_first_of_each(*ret, *ret_count) : 0;
    }
    return rc;
}

nvmlReturn_t emu_DeviceGetAccountingPids(struct emu_call *call, unsigned int *count,
                                         unsigned int *pids)
{
    struct emu_process *processes = NULL;
    unsigned found = 0;
    if (!count || (*count > 0 && !pids)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = accounted(call, &processes, &found);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (found > *count) {
        rc = NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; rc == NVML_SUCCESS && i < found; i++) {
        pids[i] = processes[i].pid;
    }
    *count = found;
    free(processes);
    return rc;
}

/* When a process of the host started, in microseconds since the epoch; 0 for a simulated one. */
static unsigned long long start_us(const struct emu_process *process)
{
    struct timespec wall, boot;
    long ticks_per_second = sysconf(_SC_CLK_TCK);
    if (!process->real || ticks_per_second <= 0) {
        return 0;
    }
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_BOOTTIME, &boot);
    unsigned long long up_us =
        process->start_time * 1000000u / (unsigned long long)ticks_per_second;
    return (unsigned long long)(wall.tv_sec - boot.tv_sec) * 1000000u + up_us;
}

nvmlReturn_t emu_DeviceGetAccountingStats(struct emu_call *call, unsigned int pid,
                                          nvmlAccountingStats_t *stats)
{
    struct emu_process *processes = NULL;
    unsigned found = 0;
    if (!stats) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = accounted(call, &processes, &found);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    rc = NVML_ERROR_NOT_FOUND;
    for (unsigned i = 0; i < found; i++) {
        if (processes[i].pid == pid) {
            *stats = (nvmlAccountingStats_t){
                .gpuUtilization = emu_load_of(call, &processes[i], found),
                .memoryUtilization = emu_memory_load_of(call, &processes[i], found),
                .maxMemoryUsage = processes[i].memory_bytes,
                .startTime = start_us(&processes[i]),
                .isRunning = 1,
            };
            rc = NVML_SUCCESS;
        }
    }
    free(processes);
    return rc;
}

/* ---- utilisation ---------------------------------------------------------------------------- */

nvmlReturn_t emu_DeviceGetProcessesUtilizationInfo(struct emu_call *call,
                                                   nvmlProcessesUtilizationInfo_t *info)
{
    struct emu_process *processes = NULL;
    unsigned found = 0;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (info->version != nvmlProcessesUtilizationInfo_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (info->processSamplesCount > 0 && !info->procUtilArray) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_call_processes(call, &processes, &found);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned long long now_us = call->start_ns / 1000;
    if (found == 0 || info->lastSeenTimeStamp >= now_us) {
        found = 0;
        rc = NVML_ERROR_NOT_FOUND;
    } else if (found > info->processSamplesCount) {
        rc = NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; rc == NVML_SUCCESS && i < found; i++) {
        info->procUtilArray[i] = (nvmlProcessUtilizationInfo_v1_t){
            .timeStamp = now_us,
            .pid = processes[i].pid,
            .smUtil = emu_load_of(call, &processes[i], found),
            .memUtil = emu_memory_load_of(call, &processes[i], found),
        };
    }
    info->processSamplesCount = found;
    free(processes);
    return rc;
}
