/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls on memory and on the processes that use it.
 *
 * A MIG device shows its GPU instance's memory, which all compute instances of it share; a GPU
 * with MIG on shows the sum. The process lists come in three entry layouts by function; the count
 * is in and out, and says what is needed when there is not enough room.
 */
#include "emulator/entries.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB_SHIFT 20

/* All processes at one moment; NULL with *ret_count 0 when there are none. */
static nvmlReturn_t read_processes(const struct emu_call *call, struct emu_process **ret,
                                   unsigned *ret_count)
{
    uint64_t words[2] = {0};
    size_t offset = offsetof(struct emu_state, fault_count);
    uint64_t generation = emu_machine_generation(call->machine);
    uint32_t count = 0;
    _Static_assert(offsetof(struct emu_state, process_count) ==
                       offsetof(struct emu_state, fault_count) + 4,
                   "read in one word");
    *ret = NULL;
    *ret_count = 0;
    if (emu_machine_read_part(call->machine, offset, words, sizeof words) < 0) {
        return NVML_ERROR_TIMEOUT;
    }
    memcpy(&count, (const char *)words + 4, sizeof count);
    if (count == 0) {
        return NVML_SUCCESS;
    }
    struct emu_process *all = malloc(EMU_PROCESS_MAX * sizeof *all);
    if (!all) {
        return NVML_ERROR_MEMORY;
    }
    offset = offsetof(struct emu_state, processes);
    int rc = emu_machine_read_part(call->machine, offset, all, count * sizeof *all);
    if (rc == 0 && emu_machine_generation(call->machine) != generation) {
        /* the count was another moment's: take all there can be */
        count = EMU_PROCESS_MAX;
        rc = emu_machine_read_part(call->machine, offset, all, count * sizeof *all);
    }
    if (rc < 0) {
        free(all);
        return NVML_ERROR_TIMEOUT;
    }
    *ret = all;
    *ret_count = count;
    return NVML_SUCCESS;
}

/* Whether the call's device shows the process. */
static bool is_on_device(const struct emu_call *call, const struct emu_process *process)
{
    return process->pid != 0 && process->gpu == (unsigned)call->gpu &&
           (!call->is_mig_device || (process->gi == call->gi && process->ci == call->ci)) &&
           emu_process_is_alive(process);
}

/* ---- memory --------------------------------------------------------------------------------- */

struct amount {
    uint64_t total, reserved, used; /* bytes; used without reserved */
};

static uint64_t bytes(int64_t mib)
{
    return mib > 0 ? (uint64_t)mib << MIB_SHIFT : 0;
}

static uint64_t idle_bytes(const struct emu_call *call)
{
    if (call->is_mig_device) {
        return bytes(emu_call_profile(call)->idle_memory_mib);
    }
    uint64_t sum = bytes(call->info->idle_memory_mib);
    for (unsigned i = 0; i < EMU_GI_MAX; i++) {
        if (call->state.gis[i].used) {
            sum += bytes(call->info->profiles[call->state.gis[i].profile].idle_memory_mib);
        }
    }
    return sum;
}

static nvmlReturn_t measure(const struct emu_call *call, struct amount *ret)
{
    struct emu_process *processes = NULL;
    unsigned count = 0;
    nvmlReturn_t rc = read_processes(call, &processes, &count);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    *ret = (struct amount){.used = idle_bytes(call)};
    if (call->is_mig_device) {
        ret->total = bytes(emu_call_profile(call)->memory_mib);
    } else {
        ret->total = bytes(call->info->memory_mib);
        ret->reserved = bytes(call->info->reserved_memory_mib);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct emu_process *process = &processes[i];
        if (process->pid != 0 && process->gpu == (unsigned)call->gpu &&
            (!call->is_mig_device || process->gi == call->gi) && emu_process_is_alive(process)) {
            ret->used += process->memory_bytes;
        }
    }
    free(processes);
    if (ret->reserved > ret->total) {
        ret->reserved = ret->total;
    }
    if (ret->used > ret->total - ret->reserved) {
        ret->used = ret->total - ret->reserved;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetMemoryInfo(struct emu_call *call, nvmlMemory_t *memory)
{
    struct amount amount;
    if (!memory) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = measure(call, &amount);
    if (rc == NVML_SUCCESS) {
        uint64_t used = amount.used + amount.reserved;
        *memory = (nvmlMemory_t){amount.total, amount.total - used, used};
    }
    return rc;
}

nvmlReturn_t emu_DeviceGetMemoryInfo_v2(struct emu_call *call, nvmlMemory_v2_t *memory)
{
    struct amount amount;
    if (!memory) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (memory->version != nvmlMemory_v2) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    nvmlReturn_t rc = measure(call, &amount);
    if (rc == NVML_SUCCESS) {
        *memory = (nvmlMemory_v2_t){nvmlMemory_v2, amount.total, amount.reserved,
                                    amount.total - amount.reserved - amount.used, amount.used};
    }
    return rc;
}

/* Up to driver 570: the instance's share of the GPU's BAR1 less one MiB. */
static int64_t bar1_mib(const struct emu_call *call)
{
    if (!call->is_mig_device) {
        return call->info->bar1_mib;
    }
    const struct emu_profile *profile = emu_call_profile(call);
    if (profile->bar1_mib > 0) {
        return profile->bar1_mib;
    }
    return call->info->bar1_mib / call->info->unit_count * profile->size - 1;
}

nvmlReturn_t emu_DeviceGetBAR1MemoryInfo(struct emu_call *call, nvmlBAR1Memory_t *memory)
{
    if (!memory) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    uint64_t total = bytes(bar1_mib(call));
    uint64_t used = call->is_mig_device || total == 0 ? 0 : 1u << MIB_SHIFT;
    *memory = (nvmlBAR1Memory_t){total, total - used, used};
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetConfComputeMemSizeInfo(struct emu_call *call,
                                                 nvmlConfComputeMemSizeInfo_t *info)
{
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *info = (nvmlConfComputeMemSizeInfo_t){0, bytes(call->info->memory_mib) >> 10};
    return NVML_SUCCESS;
}

/* ---- process lists -------------------------------------------------------------------------- */

/* Keeps the device's processes of a type ('\0': all) at the front of the array. */
static unsigned select_processes(const struct emu_call *call, struct emu_process *processes,
                                 unsigned count, char type)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        if ((type == '\0' || processes[i].type == type) && is_on_device(call, &processes[i])) {
            processes[kept++] = processes[i];
        }
    }
    return kept;
}

nvmlReturn_t emu_call_processes(const struct emu_call *call, struct emu_process **ret,
                                unsigned *ret_count)
{
    nvmlReturn_t rc = read_processes(call, ret, ret_count);
    if (rc == NVML_SUCCESS && *ret) {
        *ret_count = select_processes(call, *ret, *ret_count, '\0');
    }
    return rc;
}

static void write_entry(void *entries, unsigned index, size_t entry_size,
                        const struct emu_process *process)
{
    /* The short layout is the front of the long one. */
    nvmlProcessInfo_v2_t entry = {process->pid, process->memory_bytes, process->gi, process->ci};
    memcpy((char *)entries + index * entry_size, &entry, entry_size);
}

static nvmlReturn_t list_processes(const struct emu_call *call, char type, unsigned int *count,
                                   void *entries, size_t entry_size)
{
    struct emu_process *processes = NULL;
    unsigned found = 0;
    if (!count || (*count > 0 && !entries)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = read_processes(call, &processes, &found);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    found = select_processes(call, processes, found, type);
    if (found > *count) {
        rc = NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; rc == NVML_SUCCESS && processes && i < found; i++) {
        write_entry(entries, i, entry_size, &processes[i]);
    }
    *count = found;
    free(processes);
    return rc;
}

nvmlReturn_t emu_DeviceGetComputeRunningProcesses(struct emu_call *call, unsigned int *count,
                                                  nvmlProcessInfo_v1_t *infos)
{
    return list_processes(call, 'C', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetComputeRunningProcesses_v2(struct emu_call *call, unsigned int *count,
                                                     nvmlProcessInfo_v2_t *infos)
{
    return list_processes(call, 'C', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetComputeRunningProcesses_v3(struct emu_call *call, unsigned int *count,
                                                     nvmlProcessInfo_t *infos)
{
    return list_processes(call, 'C', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetGraphicsRunningProcesses(struct emu_call *call, unsigned int *count,
                                                   nvmlProcessInfo_v1_t *infos)
{
    return list_processes(call, 'G', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetGraphicsRunningProcesses_v2(struct emu_call *call, unsigned int *count,
                                                      nvmlProcessInfo_v2_t *infos)
{
    return list_processes(call, 'G', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetGraphicsRunningProcesses_v3(struct emu_call *call, unsigned int *count,
                                                      nvmlProcessInfo_t *infos)
{
    return list_processes(call, 'G', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetMPSComputeRunningProcesses(struct emu_call *call, unsigned int *count,
                                                     nvmlProcessInfo_v1_t *infos)
{
    return list_processes(call, 'M', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetMPSComputeRunningProcesses_v2(struct emu_call *call, unsigned int *count,
                                                        nvmlProcessInfo_v2_t *infos)
{
    return list_processes(call, 'M', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetMPSComputeRunningProcesses_v3(struct emu_call *call, unsigned int *count,
                                                        nvmlProcessInfo_t *infos)
{
    return list_processes(call, 'M', count, infos, sizeof *infos);
}

nvmlReturn_t emu_DeviceGetRunningProcessDetailList(struct emu_call *call,
                                                   nvmlProcessDetailList_t *list)
{
    static const char types[] = {'C', 'G', 'M', '\0'}; /* by nvmlProcessMode_t */
    struct emu_process *processes = NULL;
    unsigned found = 0;
    if (!list) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (list->version != nvmlProcessDetailList_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (list->mode >= sizeof types || (list->numProcArrayEntries > 0 && !list->procArray)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = read_processes(call, &processes, &found);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    found = select_processes(call, processes, found, types[list->mode]);
    if (found > list->numProcArrayEntries) {
        rc = NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; rc == NVML_SUCCESS && processes && i < found; i++) {
        list->procArray[i] = (nvmlProcessDetail_v1_t){processes[i].pid, processes[i].memory_bytes,
                                                      processes[i].gi, processes[i].ci, 0};
    }
    list->numProcArrayEntries = found;
    free(processes);
    return rc;
}

nvmlReturn_t emu_DeviceGetProcessUtilization(struct emu_call *call,
                                             nvmlProcessUtilizationSample_t *samples,
                                             unsigned int *count, unsigned long long last_seen)
{
    struct emu_process *processes = NULL;
    unsigned found = 0;
    if (!count || (*count > 0 && !samples)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = read_processes(call, &processes, &found);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned long long now_us = call->start_ns / 1000;
    found = select_processes(call, processes, found, '\0');
    if (found == 0 || last_seen >= now_us) {
        rc = NVML_ERROR_NOT_FOUND;
    } else if (found > *count) {
        rc = NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; rc == NVML_SUCCESS && i < found; i++) {
        samples[i] = (nvmlProcessUtilizationSample_t){
            .pid = processes[i].pid,
            .timeStamp = now_us,
            .smUtil = emu_load_of(call, &processes[i], found),
            .memUtil = emu_memory_load_of(call, &processes[i], found),
        };
    }
    *count = rc == NVML_ERROR_NOT_FOUND ? 0 : found;
    free(processes);
    return rc;
}
