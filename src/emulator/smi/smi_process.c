/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of a GPU, compute and graphics, in the driver's order, which --query-compute-apps
 * shows; the table and -q sort them by GPU instance, compute instance and pid. A full GPU has few;
 * the list grows until the driver is satisfied, up to SMI_PROCESS_MAX.
 */
#include "emulator/smi/smi.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

typedef nvmlReturn_t process_query(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos);

/* One list in full; *ret is malloc'd. */
static nvmlReturn_t query_all(process_query *query, nvmlDevice_t gpu, nvmlProcessInfo_t **ret,
                              unsigned *ret_count)
{
    unsigned room = 64;

    *ret = NULL;
    *ret_count = 0;
    while (query && room <= SMI_PROCESS_MAX) {
        MIG_AUTO_FREE nvmlProcessInfo_t *infos = calloc(room, sizeof(*infos));
        unsigned count = room;
        nvmlReturn_t code;

        if (!infos) {
            return NVML_ERROR_MEMORY;
        }
        code = query(gpu, &count, infos);
        if (code == NVML_SUCCESS && count <= room) {
            *ret = MIG_TAKE(infos);
            *ret_count = count;
            return NVML_SUCCESS;
        }
        if (code != NVML_ERROR_INSUFFICIENT_SIZE) {
            return code;
        }
        room *= 4;
    }
    return query ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_ERROR_FUNCTION_NOT_FOUND;
}

static void fill_process(const struct smi *smi, const nvmlProcessInfo_t *info, char type,
                         struct smi_process *ret)
{
    ret->pid = info->pid;
    ret->gi = info->gpuInstanceId;
    ret->ci = info->computeInstanceId;
    ret->memory = info->usedGpuMemory;
    ret->type = type;
    if (SMI_CALL(smi, SystemGetProcessName, info->pid, ret->name, sizeof(ret->name)) !=
        NVML_SUCCESS) {
        (void)snprintf(ret->name, sizeof(ret->name), "[Not Found]");
    }
}

static int compare_processes(const void *a, const void *b)
{
    const struct smi_process *left = a;
    const struct smi_process *right = b;

    if (left->gi != right->gi) {
        return left->gi < right->gi ? -1 : 1;
    }
    if (left->ci != right->ci) {
        return left->ci < right->ci ? -1 : 1;
    }
    if (left->pid != right->pid) {
        return left->pid < right->pid ? -1 : 1;
    }
    return (left->type > right->type) - (left->type < right->type);
}

nvmlReturn_t smi_processes(const struct smi *smi, nvmlDevice_t gpu, struct smi_process **ret,
                           size_t *ret_count)
{
    process_query *const queries[] = {smi->nvml.DeviceGetComputeRunningProcesses_v3,
                                      smi->nvml.DeviceGetGraphicsRunningProcesses_v3};
    static const char types[] = {'C', 'G'};
    MIG_AUTO_FREE struct smi_process *list = NULL;
    size_t count = 0;
    size_t kind;

    for (kind = 0; kind < MIG_ARRAY_SIZE(queries); kind++) {
        MIG_AUTO_FREE nvmlProcessInfo_t *infos = NULL;
        struct smi_process *grown;
        unsigned more;
        unsigned i;
        nvmlReturn_t code = query_all(queries[kind], gpu, &infos, &more);

        if (code != NVML_SUCCESS) {
            return code;
        }
        grown = realloc(list, (count + more + 1) * sizeof(*list));
        if (!grown) {
            return NVML_ERROR_MEMORY;
        }
        list = grown;
        for (i = 0; i < more; i++) {
            fill_process(smi, &infos[i], types[kind], &list[count++]);
        }
    }
    *ret = MIG_TAKE(list);
    *ret_count = count;
    return NVML_SUCCESS;
}

void smi_sort_processes(struct smi_process *list, size_t count)
{
    qsort(list, count, sizeof(*list), compare_processes);
}
