/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading processes. NVML has three generations of each of the three lists (compute, graphics,
 * MPS); the older ones say less: v1 does not tell the instance, which is then known only when a MIG
 * device was asked. The whole GPU and each MIG device are both asked, because the whole one answers
 * only to the privileged; so an entry can come twice and is kept once.
 */
#include "gpu/process.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <string.h>

#define ENTRY_FIRST 32u
#define ENTRY_MAX 65536u /* entries of one list; a driver that tells more is not believed */
#define COMM_MAX 64

void mig_process_label(const struct mig_process *process, char *buffer, size_t size)
{
    if (process->name[0] == '\0') {
        snprintf(buffer, size, "pid %u", process->pid);
    } else {
        /* a long name is cut so that the pid stays */
        snprintf(buffer, size, "%.64s (pid %u)", process->name, process->pid);
    }
}

/* Asks for one list in the newest form that the driver has. v1 entries become v2 ones. */
static nvmlReturn_t ask(struct mig_session *session, const struct mig_process_scope *scope,
                        uint32_t gpu, char type, unsigned *count, nvmlProcessInfo_v2_t *entries)
{
    nvmlProcessInfo_v1_t *old = (nvmlProcessInfo_v1_t *)(void *)entries;
    nvmlDevice_t device = scope->device;
    unsigned room = *count;
    nvmlReturn_t code = NVML_ERROR_FUNCTION_NOT_FOUND;

#define ASK_NEW(version)                                                                            \
    (type == 'C'   ? MIG_CALL(session, gpu, nvmlDeviceGetComputeRunningProcesses_##version, device, \
                              count, entries)                                                       \
     : type == 'G' ? MIG_CALL(session, gpu, nvmlDeviceGetGraphicsRunningProcesses_##version,        \
                              device, count, entries)                                               \
                   : MIG_CALL(session, gpu, nvmlDeviceGetMPSComputeRunningProcesses_##version,      \
                              device, count, entries))
    code = ASK_NEW(v3);
    if (code == NVML_ERROR_FUNCTION_NOT_FOUND) {
        code = ASK_NEW(v2);
    }
#undef ASK_NEW
    if (code != NVML_ERROR_FUNCTION_NOT_FOUND) {
        return code;
    }
    code =
        type == 'C'
            ? MIG_CALL(session, gpu, nvmlDeviceGetComputeRunningProcesses, device, count, old)
        : type == 'G'
            ? MIG_CALL(session, gpu, nvmlDeviceGetGraphicsRunningProcesses, device, count, old)
            : MIG_CALL(session, gpu, nvmlDeviceGetMPSComputeRunningProcesses, device, count, old);
    if (code == NVML_SUCCESS && *count <= room) {
        /* from the back: entries grow in place */
        for (unsigned i = *count; i-- > 0;) {
            nvmlProcessInfo_v1_t entry;

            memcpy(&entry, &old[i], sizeof(entry));
            entries[i] = (nvmlProcessInfo_v2_t){.pid = entry.pid,
                                                .usedGpuMemory = entry.usedGpuMemory,
                                                .gpuInstanceId = MIG_ID_NONE,
                                                .computeInstanceId = MIG_ID_NONE};
        }
    }
    return code;
}

static bool is_known(const struct mig_gpu *gpu, const struct mig_process *process)
{
    for (uint32_t i = 0; i < gpu->process_known; i++) {
        const struct mig_process *other = &gpu->processes[i];

        if (other->pid == process->pid && other->type == process->type &&
            other->gi_id == process->gi_id && other->ci_id == process->ci_id) {
            return true;
        }
    }
    return false;
}

static int add(struct mig_gpu *gpu, const struct mig_process *process)
{
    if (is_known(gpu, process)) {
        return 0;
    }
    gpu->process_count++;
    if (gpu->process_known >= MIG_PROCESS_MAX) {
        return 0;
    }
    if ((gpu->process_known & (gpu->process_known - 1)) == 0) {
        /* grows at powers of two */
        size_t room = gpu->process_known > 0 ? (size_t)gpu->process_known * 2 : 1;
        struct mig_process *larger = realloc(gpu->processes, room * sizeof(*larger));

        if (!larger) {
            return -ENOMEM;
        }
        gpu->processes = larger;
    }
    gpu->processes[gpu->process_known++] = *process;
    return 0;
}

static int add_entries(struct mig_gpu *gpu, const struct mig_process_scope *scope, char type,
                       const nvmlProcessInfo_v2_t *entries, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct mig_process process = {
            .pid = entries[i].pid,
            .gi_id = scope->gi_id != MIG_ID_NONE ? scope->gi_id : entries[i].gpuInstanceId,
            .ci_id = scope->ci_id != MIG_ID_NONE ? scope->ci_id : entries[i].computeInstanceId,
            .memory_mib = entries[i].usedGpuMemory == UINT64_MAX
                              ? MIG_UNKNOWN
                              : (int64_t)(entries[i].usedGpuMemory >> 20),
            .type = type,
        };

        if (add(gpu, &process) < 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

static int read_list(struct mig_session *session, const struct mig_process_scope *scope, char type,
                     struct mig_gpu *gpu, struct mig_error *error)
{
    unsigned room = ENTRY_FIRST;

    while (room <= ENTRY_MAX) {
        MIG_AUTO_FREE nvmlProcessInfo_v2_t *entries = calloc(room, sizeof(*entries));
        unsigned count = room;
        nvmlReturn_t code;

        if (!entries) {
            return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not list processes");
        }
        code = ask(session, scope, gpu->index, type, &count, entries);
        if (code == NVML_ERROR_GPU_IS_LOST || code == NVML_ERROR_TIMEOUT) {
            return mig_nvml_error(session, code, error, "could not read its processes");
        }
        if (code == NVML_SUCCESS && count <= room) {
            return add_entries(gpu, scope, type, entries, count) == 0
                       ? 0
                       : mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                             "could not list processes");
        }
        if (code != NVML_ERROR_INSUFFICIENT_SIZE) {
            return 0;
        }
        /* some may start before the next try */
        room = count > room && count <= ENTRY_MAX ? count + ENTRY_FIRST : room * 4;
    }
    gpu->process_count += ENTRY_MAX; /* more than that, none of them known */
    return 0;
}

int mig_processes_read(struct mig_session *session, const struct mig_process_scope *scope,
                       struct mig_gpu *gpu, struct mig_error *error)
{
    static const char types[] = {'C', 'G', 'M'};

    for (size_t i = 0; i < sizeof(types); i++) {
        int rc = read_list(session, scope, types[i], gpu, error);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- names ---- */

/* "/usr/bin/python3 train.py" -> "python3" */
static void set_name(struct mig_process *process, const char *text)
{
    size_t length = strcspn(text, " \n");
    const char *start = text;

    for (const char *c = text; c < text + length; c++) {
        if (*c == '/') {
            start = c + 1;
        }
    }
    length -= (size_t)(start - text);
    if (length >= sizeof(process->name)) {
        length = sizeof(process->name) - 1;
    }
    for (size_t i = 0; i < length; i++) {
        process->name[i] = start[i];
        if (start[i] < ' ' || start[i] > '~') {
            process->name[i] = '?';
        }
    }
    process->name[length] = '\0';
}

static void read_name(struct mig_session *session, uint32_t gpu, struct mig_process *process)
{
    char buffer[256] = "";
    char path[COMM_MAX];
    MIG_AUTO_FREE char *comm = NULL;
    size_t size;

    if (MIG_CALL(session, gpu, nvmlSystemGetProcessName, process->pid, buffer,
                 (unsigned)sizeof(buffer) - 1) == NVML_SUCCESS &&
        buffer[0] != '\0') {
        set_name(process, buffer);
        return;
    }
    snprintf(path, sizeof(path), "/proc/%u/comm", process->pid);
    if (mig_file_read(path, sizeof(buffer), &comm, &size, NULL) == 0) {
        set_name(process, comm);
    }
}

static void add_holder(struct mig_gi *gi, const struct mig_process *process, uint32_t before)
{
    if (before == 0) {
        mig_process_label(process, gi->holder, sizeof(gi->holder));
    } else if (before == 1) {
        size_t length = strlen(gi->holder);

        snprintf(gi->holder + length, sizeof(gi->holder) - length, " and others");
    }
}

/* There are more processes than are kept, and any of the others may be here. */
static void mark_unlisted(const struct mig_gpu *gpu, struct mig_gi *gi)
{
    if (!gi->in_use) {
        snprintf(gi->holder, sizeof(gi->holder), "perhaps one of %u processes that are not listed",
                 gpu->process_count - gpu->process_known);
    }
    gi->in_use = true;
    for (uint8_t i = 0; i < gi->ci_count; i++) {
        gi->cis[i].in_use = true;
    }
}

static void mark_users(const struct mig_gpu *gpu, struct mig_gi *gi)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < gpu->process_known; i++) {
        const struct mig_process *process = &gpu->processes[i];

        if (process->gi_id != gi->id) {
            continue;
        }
        gi->in_use = true;
        add_holder(gi, process, count++);
        for (uint8_t j = 0; j < gi->ci_count; j++) {
            if (process->ci_id == gi->cis[j].id || process->ci_id == MIG_ID_NONE) {
                gi->cis[j].in_use = true;
            }
        }
    }
    if (gpu->process_count > gpu->process_known) {
        mark_unlisted(gpu, gi);
    }
}

void mig_processes_assign(struct mig_session *session, struct mig_gpu *gpu)
{
    for (uint32_t i = 0; i < gpu->process_known; i++) {
        uint32_t same = 0;

        while (gpu->processes[same].pid != gpu->processes[i].pid) {
            same++;
        }
        if (same < i) {
            memcpy(gpu->processes[i].name, gpu->processes[same].name, MIG_HOLDER_SIZE);
        } else {
            read_name(session, gpu->index, &gpu->processes[i]);
        }
    }
    for (uint8_t i = 0; i < gpu->layout.gi_count; i++) {
        mark_users(gpu, &gpu->layout.gis[i]);
    }
}

static void clear_users(struct mig_gi *gi)
{
    gi->in_use = false;
    gi->holder[0] = '\0';
    for (uint8_t i = 0; i < gi->ci_count; i++) {
        gi->cis[i].in_use = false;
    }
}

void mig_processes_drop(struct mig_gpu *gpu,
                        bool (*drops)(const struct mig_process *process, void *data), void *data)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < gpu->process_known; i++) {
        if (!drops(&gpu->processes[i], data)) {
            gpu->processes[kept++] = gpu->processes[i];
        }
    }
    if (kept == gpu->process_known) {
        return;
    }
    gpu->process_count -= gpu->process_known - kept;
    gpu->process_known = kept;
    for (uint8_t i = 0; i < gpu->layout.gi_count; i++) {
        clear_users(&gpu->layout.gis[i]);
        mark_users(gpu, &gpu->layout.gis[i]);
    }
}
