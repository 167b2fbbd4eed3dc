/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client of an emulated node, told line by line what to call, for tests that compare the
 * library with a model in another language.
 *
 *     nvml-worker LIBRARY NODE
 *
 * A line is a word and numbers; the commands are in the table at the end. Each is answered by one
 * line: the call's return code, up to two numbers it gave, and how many commits it made to the
 * machine; then the state of the GPU it was about (of all, where it was about none), as NVML tells
 * it, and "!" if the state of any other GPU changed meanwhile. After `timed` the state is left
 * out and the time of call and return stands in its place, for histories of concurrent calls.
 *
 * NVML is used as a client uses it, through the dynamic library. What no NVML client can do (let a
 * virtual process use a slice, reboot) is done through the machine's control interface. The ids of
 * profiles that the state lists are told by the other side, not asked of the library.
 */
#include "emulator/machine/machine.h"
#include "nvml/nvml_abi.h"
#include "nvml_functions.h"
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORD_MAX 16
#define LINE_SIZE 4096
#define NONE 0xffffffffu

#define FUNCTIONS(X)                                   \
    X(Init_v2)                                         \
    X(DeviceGetHandleByIndex_v2)                       \
    X(DeviceGetHandleByUUID)                           \
    X(DeviceGetIndex)                                  \
    X(DeviceGetUUID)                                   \
    X(DeviceGetMigMode)                                \
    X(DeviceSetMigMode)                                \
    X(DeviceGetMaxMigDeviceCount)                      \
    X(DeviceGetMigDeviceHandleByIndex)                 \
    X(DeviceGetDeviceHandleFromMigDeviceHandle)        \
    X(DeviceIsMigDeviceHandle)                         \
    X(DeviceGetGpuInstanceId)                          \
    X(DeviceGetComputeInstanceId)                      \
    X(DeviceGetAttributes_v2)                          \
    X(DeviceGetMemoryInfo)                             \
    X(DeviceGetName)                                   \
    X(DeviceGetComputeRunningProcesses_v3)             \
    X(DeviceGetGpuInstanceProfileInfoV)                \
    X(DeviceGetGpuInstancePossiblePlacements_v2)       \
    X(DeviceGetGpuInstanceRemainingCapacity)           \
    X(DeviceCreateGpuInstance)                         \
    X(DeviceCreateGpuInstanceWithPlacement)            \
    X(DeviceGetGpuInstances)                           \
    X(DeviceGetGpuInstanceById)                        \
    X(GpuInstanceDestroy)                              \
    X(GpuInstanceGetInfo)                              \
    X(GpuInstanceGetComputeInstanceProfileInfoV)       \
    X(GpuInstanceGetComputeInstancePossiblePlacements) \
    X(GpuInstanceGetComputeInstanceRemainingCapacity)  \
    X(GpuInstanceCreateComputeInstance)                \
    X(GpuInstanceCreateComputeInstanceWithPlacement)   \
    X(GpuInstanceGetComputeInstances)                  \
    X(GpuInstanceGetComputeInstanceById)               \
    X(ComputeInstanceGetInfo_v2)                       \
    X(ComputeInstanceDestroy)

#define DECLARE(name) __typeof__(nvml##name) *name;
static struct {
    FUNCTIONS(DECLARE)
} nvml;

/* What the state lists, as told by `profile`. */
struct profile_ids {
    unsigned id, ci_count;
    unsigned ci_ids[EMU_CI_PROFILE_MAX];
};

static struct {
    unsigned profile_count[EMU_GPU_MAX];
    struct profile_ids profiles[EMU_GPU_MAX][EMU_PROFILE_MAX];
    nvmlDevice_t gpus[EMU_GPU_MAX];
    /* Handles that this process made or was told to keep, to be used when what they meant may be
     * gone, and others in its place. */
    nvmlGpuInstance_t gis[EMU_GPU_MAX][EMU_GI_MAX];
    nvmlComputeInstance_t cis[EMU_GPU_MAX][EMU_GI_MAX][EMU_CI_MAX];
    nvmlComputeInstance_t shown[EMU_GI_MAX][EMU_CI_MAX]; /* of the GPU that is being shown */
    struct emu_machine *machine;
    struct emu_state *before, *after;
    bool timed;
} self;

/* The words of the line in hand. */
static struct {
    const char *text[WORD_MAX];
    unsigned number[WORD_MAX];
} word;

/* What a command gave. */
struct answer {
    int code;
    unsigned first, second;
    int gpu; /* whose state is shown; EMU_UNKNOWN: all */
};

_Noreturn static void fail(const char *what)
{
    fprintf(stderr, "nvml-worker: %s\n", what);
    exit(1);
}

static unsigned limited(unsigned value, unsigned limit)
{
    if (value >= limit) {
        fail("a number is out of range");
    }
    return value;
}

/* ---- the state, as NVML tells it ------------------------------------------------------------ */

/* ":E3" for a call that failed, ":5" for what it gave. */
static void show_number(nvmlReturn_t rc, unsigned value)
{
    if (rc != NVML_SUCCESS) {
        printf(":E%d", (int)rc);
    } else {
        printf(":%u", value);
    }
}

static void show_profile(unsigned gpu, unsigned id)
{
    nvmlGpuInstance_t list[EMU_GI_MAX] = {NULL};
    unsigned room = 0, count = 12345; /* an output only: what is in it does not count */
    nvmlReturn_t rc = nvml.DeviceGetGpuInstanceRemainingCapacity(self.gpus[gpu], id, &room);
    printf(" %u", id);
    show_number(rc, room);
    rc = nvml.DeviceGetGpuInstances(self.gpus[gpu], id, list, &count);
    show_number(rc, count);
    for (unsigned i = 0; rc == NVML_SUCCESS && i < count && i < EMU_GI_MAX; i++) {
        nvmlGpuInstanceInfo_t info = {0};
        rc = nvml.GpuInstanceGetInfo(list[i], &info);
        if (rc != NVML_SUCCESS || info.device != self.gpus[gpu] || info.profileId != id) {
            printf(",?%d", (int)rc);
            continue;
        }
        printf(",%u@%u+%u", info.id, info.placement.start, info.placement.size);
    }
}

static void show_ci_profile(unsigned gi, nvmlGpuInstance_t handle, unsigned id)
{
    nvmlComputeInstance_t list[EMU_CI_MAX] = {NULL};
    unsigned room = 0, count = 12345;
    nvmlReturn_t rc = nvml.GpuInstanceGetComputeInstanceRemainingCapacity(handle, id, &room);
    printf(" %u", id);
    show_number(rc, room);
    rc = nvml.GpuInstanceGetComputeInstances(handle, id, list, &count);
    show_number(rc, count);
    for (unsigned i = 0; rc == NVML_SUCCESS && i < count && i < EMU_CI_MAX; i++) {
        nvmlComputeInstanceInfo_t info = {0};
        rc = nvml.ComputeInstanceGetInfo_v2(list[i], &info);
        if (rc != NVML_SUCCESS || info.gpuInstance != handle || info.profileId != id) {
            printf(",?%d", (int)rc);
            continue;
        }
        printf(",%u@%u+%u", info.id, info.placement.start, info.placement.size);
        self.shown[gi][limited(info.id, EMU_CI_MAX)] = list[i];
    }
}

static const struct profile_ids *profile_of(unsigned gpu, unsigned id)
{
    for (unsigned i = 0; i < self.profile_count[gpu]; i++) {
        if (self.profiles[gpu][i].id == id) {
            return &self.profiles[gpu][i];
        }
    }
    return NULL;
}

static void show_gpu_instance(unsigned gpu, unsigned gi)
{
    nvmlGpuInstance_t handle = NULL;
    nvmlGpuInstanceInfo_t info = {0};
    if (nvml.DeviceGetGpuInstanceById(self.gpus[gpu], gi, &handle) != NVML_SUCCESS ||
        nvml.GpuInstanceGetInfo(handle, &info) != NVML_SUCCESS) {
        return;
    }
    const struct profile_ids *profile = profile_of(gpu, info.profileId);
    printf(" G%u", gi);
    for (unsigned i = 0; profile && i < profile->ci_count; i++) {
        show_ci_profile(gi, handle, profile->ci_ids[i]);
    }
}

/* Whether the device named by a compute instance's info is this MIG device of this GPU. */
static bool is_device_of_ci(unsigned gpu, nvmlComputeInstance_t ci, const char *uuid)
{
    nvmlComputeInstanceInfo_t info = {0};
    char own[NVML_DEVICE_UUID_V2_BUFFER_SIZE] = "";
    unsigned index = NONE;
    return nvml.ComputeInstanceGetInfo_v2(ci, &info) == NVML_SUCCESS &&
           nvml.DeviceGetUUID(info.device, own, sizeof own) == NVML_SUCCESS &&
           nvml.DeviceGetIndex(info.device, &index) == NVML_SUCCESS && strcmp(own, uuid) == 0 &&
           index == gpu;
}

static void show_mig_device(unsigned gpu, unsigned index, nvmlDevice_t device)
{
    unsigned gi = NONE, ci = NONE, own_index = NONE;
    char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE] = "";
    nvmlReturn_t rc = nvml.DeviceGetGpuInstanceId(device, &gi);
    if (rc == NVML_SUCCESS) {
        rc = nvml.DeviceGetComputeInstanceId(device, &ci);
    }
    if (rc == NVML_SUCCESS) {
        rc = nvml.DeviceGetUUID(device, uuid, sizeof uuid);
    }
    if (rc == NVML_SUCCESS) {
        rc = nvml.DeviceGetIndex(device, &own_index);
    }
    printf(" D%u:%u.%u:%s", index, gi, ci, rc == NVML_SUCCESS ? uuid : "?");
    if (own_index != index || gi >= EMU_GI_MAX || ci >= EMU_CI_MAX ||
        !is_device_of_ci(gpu, self.shown[gi][ci], uuid)) {
        printf("?");
    }
}

static void show_mig_devices(unsigned gpu)
{
    nvmlDevice_t device = NULL;
    unsigned index = 0;
    while (index < EMU_GI_MAX * EMU_CI_MAX &&
           nvml.DeviceGetMigDeviceHandleByIndex(self.gpus[gpu], index, &device) == NVML_SUCCESS) {
        show_mig_device(gpu, index++, device);
    }
}

static int compare_processes(const void *left, const void *right)
{
    const nvmlProcessInfo_t *one = left, *other = right;
    return (one->pid > other->pid) - (one->pid < other->pid);
}

static void show_processes(unsigned gpu)
{
    nvmlProcessInfo_t list[EMU_PROCESS_MAX];
    unsigned count = EMU_PROCESS_MAX;
    nvmlReturn_t rc = nvml.DeviceGetComputeRunningProcesses_v3(self.gpus[gpu], &count, list);
    if (rc != NVML_SUCCESS) {
        printf(" P:E%d", (int)rc);
        return;
    }
    qsort(list, count, sizeof list[0], compare_processes);
    for (unsigned i = 0; i < count; i++) {
        printf(" P%u/%d/%d", list[i].pid, (int)list[i].gpuInstanceId,
               (int)list[i].computeInstanceId);
    }
}

static void show_gpu(unsigned gpu)
{
    unsigned mode = 0, pending = 0, max = 0;
    nvmlReturn_t rc = nvml.DeviceGetMigMode(self.gpus[gpu], &mode, &pending);
    printf(" |%u", gpu);
    if (rc != NVML_SUCCESS) {
        printf(" E%d", (int)rc);
        return;
    }
    rc = nvml.DeviceGetMaxMigDeviceCount(self.gpus[gpu], &max);
    printf(" m%up%u", mode, pending);
    show_number(rc, max);
    for (unsigned i = 0; i < self.profile_count[gpu]; i++) {
        show_profile(gpu, self.profiles[gpu][i].id);
    }
    for (unsigned gi = 0; gi < EMU_GI_MAX; gi++) {
        show_gpu_instance(gpu, gi);
    }
    show_mig_devices(gpu);
    show_processes(gpu);
}

/* ---- commands about modes and instances ----------------------------------------------------- */

static void run_mode(struct answer *answer)
{
    nvmlReturn_t activation = NVML_ERROR_UNKNOWN;
    answer->code = (int)nvml.DeviceSetMigMode(self.gpus[answer->gpu], word.number[2], &activation);
    answer->first = answer->code == 0 ? activation : 0;
}

static void keep_gi(struct answer *answer, nvmlGpuInstance_t handle)
{
    nvmlGpuInstanceInfo_t info = {0};
    answer->first = NONE; /* another client may have destroyed it by now */
    if (nvml.GpuInstanceGetInfo(handle, &info) == NVML_SUCCESS) {
        answer->first = info.id;
        self.gis[answer->gpu][limited(info.id, EMU_GI_MAX)] = handle;
    }
}

static void run_create_gi(struct answer *answer)
{
    nvmlGpuInstance_t handle = NULL;
    answer->code =
        (int)nvml.DeviceCreateGpuInstance(self.gpus[answer->gpu], word.number[2], &handle);
    if (answer->code == 0) {
        keep_gi(answer, handle);
    }
}

static void run_create_gi_at(struct answer *answer)
{
    nvmlGpuInstance_t handle = NULL;
    nvmlGpuInstancePlacement_t placement = {word.number[3], word.number[4]};
    answer->code = (int)nvml.DeviceCreateGpuInstanceWithPlacement(
        self.gpus[answer->gpu], word.number[2], &placement, &handle);
    if (answer->code == 0) {
        keep_gi(answer, handle);
    }
}

static nvmlReturn_t find_gi(const struct answer *answer, nvmlGpuInstance_t *ret)
{
    return nvml.DeviceGetGpuInstanceById(self.gpus[answer->gpu], word.number[2], ret);
}

static nvmlReturn_t find_ci(const struct answer *answer, nvmlComputeInstance_t *ret)
{
    nvmlGpuInstance_t gi = NULL;
    nvmlReturn_t rc = find_gi(answer, &gi);
    return rc == NVML_SUCCESS ? nvml.GpuInstanceGetComputeInstanceById(gi, word.number[3], ret)
                              : rc;
}

static void run_destroy_gi(struct answer *answer)
{
    nvmlGpuInstance_t handle = NULL;
    nvmlReturn_t rc = find_gi(answer, &handle);
    answer->code = (int)(rc == NVML_SUCCESS ? nvml.GpuInstanceDestroy(handle) : rc);
}

static void run_keep_gi(struct answer *answer)
{
    nvmlGpuInstance_t handle = NULL;
    answer->code = (int)find_gi(answer, &handle);
    if (answer->code == 0) {
        keep_gi(answer, handle);
    }
}

static void run_destroy_kept_gi(struct answer *answer)
{
    answer->code =
        (int)nvml.GpuInstanceDestroy(self.gis[answer->gpu][limited(word.number[2], EMU_GI_MAX)]);
}

static void keep_ci(struct answer *answer, nvmlComputeInstance_t handle)
{
    nvmlComputeInstanceInfo_t info = {0};
    answer->first = NONE;
    if (nvml.ComputeInstanceGetInfo_v2(handle, &info) == NVML_SUCCESS) {
        answer->first = info.id;
        self.cis[answer->gpu][limited(word.number[2], EMU_GI_MAX)][limited(info.id, EMU_CI_MAX)] =
            handle;
    }
}

static void run_create_ci(struct answer *answer)
{
    nvmlGpuInstance_t gi = NULL;
    nvmlComputeInstance_t handle = NULL;
    nvmlReturn_t rc = find_gi(answer, &gi);
    answer->code = (int)(rc == NVML_SUCCESS
                             ? nvml.GpuInstanceCreateComputeInstance(gi, word.number[3], &handle)
                             : rc);
    if (answer->code == 0) {
        keep_ci(answer, handle);
    }
}

static void run_create_ci_at(struct answer *answer)
{
    nvmlGpuInstance_t gi = NULL;
    nvmlComputeInstance_t handle = NULL;
    nvmlComputeInstancePlacement_t placement = {word.number[4], word.number[5]};
    nvmlReturn_t rc = find_gi(answer, &gi);
    answer->code = (int)(rc == NVML_SUCCESS ? nvml.GpuInstanceCreateComputeInstanceWithPlacement(
                                                  gi, word.number[3], &placement, &handle)
                                            : rc);
    if (answer->code == 0) {
        keep_ci(answer, handle);
    }
}

static void run_destroy_ci(struct answer *answer)
{
    nvmlComputeInstance_t handle = NULL;
    nvmlReturn_t rc = find_ci(answer, &handle);
    answer->code = (int)(rc == NVML_SUCCESS ? nvml.ComputeInstanceDestroy(handle) : rc);
}

static void run_keep_ci(struct answer *answer)
{
    nvmlComputeInstance_t handle = NULL;
    answer->code = (int)find_ci(answer, &handle);
    if (answer->code == 0) {
        keep_ci(answer, handle);
    }
}

static void run_destroy_kept_ci(struct answer *answer)
{
    answer->code =
        (int)nvml.ComputeInstanceDestroy(self.cis[answer->gpu][limited(word.number[2], EMU_GI_MAX)]
                                                 [limited(word.number[3], EMU_CI_MAX)]);
}

/* By UUID in any form: which GPU (or MIG device's GPU), and GI * 8 + CI. */
static void run_find(struct answer *answer)
{
    nvmlDevice_t device = NULL, gpu = NULL;
    unsigned is_mig = 0, gi = 0, ci = 0;
    nvmlReturn_t rc = nvml.DeviceGetHandleByUUID(word.text[2], &device);
    gpu = device;
    if (rc == NVML_SUCCESS) {
        rc = nvml.DeviceIsMigDeviceHandle(device, &is_mig);
    }
    if (rc == NVML_SUCCESS && is_mig) {
        rc = nvml.DeviceGetDeviceHandleFromMigDeviceHandle(device, &gpu);
        rc = rc == NVML_SUCCESS ? nvml.DeviceGetGpuInstanceId(device, &gi) : rc;
        rc = rc == NVML_SUCCESS ? nvml.DeviceGetComputeInstanceId(device, &ci) : rc;
    }
    if (rc == NVML_SUCCESS) {
        rc = nvml.DeviceGetIndex(gpu, &answer->first);
    }
    answer->code = (int)rc;
    answer->second = rc != NVML_SUCCESS ? 0 : is_mig ? gi * 8 + ci : NONE;
    answer->first = rc != NVML_SUCCESS ? 0 : answer->first;
}

/* SMs and memory of a MIG device. */
static void run_attributes(struct answer *answer)
{
    nvmlComputeInstance_t ci = NULL;
    nvmlComputeInstanceInfo_t info = {0};
    nvmlDeviceAttributes_t attributes = {0};
    nvmlReturn_t rc = find_ci(answer, &ci);
    rc = rc == NVML_SUCCESS ? nvml.ComputeInstanceGetInfo_v2(ci, &info) : rc;
    rc = rc == NVML_SUCCESS ? nvml.DeviceGetAttributes_v2(info.device, &attributes) : rc;
    answer->code = (int)rc;
    answer->first = attributes.multiprocessorCount;
    answer->second = (unsigned)attributes.memorySizeMB;
}

/* ---- commands about users and the machine --------------------------------------------------- */

/* Commits when `rc` is 0; an errno value is shown as 1000 and more, to tell it from NVML's. */
static int end(struct emu_transaction *change, int rc)
{
    if (rc == 0) {
        emu_commit(change);
    } else {
        emu_abort(change);
    }
    return rc < 0 ? 1000 - rc : rc;
}

static struct emu_transaction begin(void)
{
    struct emu_transaction change;
    if (emu_begin(self.machine, &change) < 0) {
        fail("could not change the machine");
    }
    emu_process_reap(change.state);
    return change;
}

static void add_process(struct answer *answer, bool real)
{
    struct emu_transaction change = begin();
    struct emu_process process = {.pid = word.number[4],
                                  .gpu = (uint8_t)answer->gpu,
                                  .type = 'C',
                                  .real = real,
                                  .gi = word.number[2],
                                  .ci = word.number[3],
                                  .memory_bytes = 1 << 20,
                                  .name = "worker"};
    process.start_time = real ? emu_process_start_time(process.pid) : 0;
    answer->code = end(&change, emu_process_add(change.state, &process));
}

static void run_job(struct answer *answer)
{
    add_process(answer, false);
}

static void run_real_job(struct answer *answer)
{
    add_process(answer, true);
}

static void run_end_job(struct answer *answer)
{
    struct emu_transaction change = begin();
    unsigned removed = emu_process_remove(change.state, word.number[2], 0);
    answer->code = end(&change, removed > 0 ? 0 : -ENOENT);
}

static void run_hold(struct answer *answer)
{
    struct emu_transaction change = begin();
    struct emu_holder holder = {.kind = (uint8_t)word.number[4],
                                .gpu = (uint8_t)answer->gpu,
                                .survives_reboot = word.number[5] != 0,
                                .gi = word.number[2],
                                .ci = word.number[3],
                                .name = "handle"};
    answer->code = end(&change, emu_holder_add(change.state, &holder));
}

/* Drops the first holder that is like the one described. */
static void run_drop(struct answer *answer)
{
    struct emu_transaction change = begin();
    int rc = -ENOENT;
    for (unsigned i = 0; rc < 0 && i < EMU_HOLDER_MAX; i++) {
        const struct emu_holder *holder = &change.state->holders[i];
        if (holder->kind == word.number[4] && (int)holder->gpu == answer->gpu &&
            holder->gi == word.number[2] && holder->ci == word.number[3] &&
            holder->survives_reboot == word.number[5]) {
            rc = emu_holder_remove(change.state, i);
        }
    }
    answer->code = end(&change, rc);
}

static void run_reset(struct answer *answer)
{
    struct emu_transaction change = begin();
    answer->code = end(&change, (int)emu_gpu_reset(emu_machine_info(self.machine), change.state,
                                                   (unsigned)answer->gpu));
}

static void run_reload(struct answer *answer)
{
    struct emu_transaction change = begin();
    answer->code =
        end(&change, (int)emu_driver_reload(emu_machine_info(self.machine), change.state));
}

static void run_reboot(struct answer *answer)
{
    struct emu_transaction change = begin();
    emu_reboot(emu_machine_info(self.machine), change.state);
    answer->code = end(&change, 0);
}

/* set GPU lost|reset|blocked|idle VALUE */
static void run_set(struct answer *answer)
{
    struct emu_transaction change = begin();
    struct emu_gpu *gpu = &change.state->gpus[answer->gpu];
    unsigned value = word.number[3];
    switch (word.text[2][0]) {
    case 'l':
        gpu->lost = value != 0;
        break;
    case 'r':
        gpu->reset_required = value != 0;
        break;
    case 'b':
        gpu->mode_blocked = (uint16_t)value;
        break;
    default:
        gpu->create_needs_idle = value != 0;
        break;
    }
    answer->code = end(&change, 0);
}

/* Nothing: shows the state of one GPU, or of all, and how often the machine has changed. */
static void run_state(struct answer *answer)
{
    answer->second = (unsigned)self.before->change_count;
}

/* The birth of a GPU instance: another number when it was destroyed and made again. */
static void run_birth(struct answer *answer)
{
    const struct emu_gi *gi =
        &self.before->gpus[answer->gpu].gis[limited(word.number[2], EMU_GI_MAX)];
    answer->code = gi->used ? 0 : (int)NVML_ERROR_NOT_FOUND;
    answer->first = gi->birth;
}

/* Whether a call is one that changes instances or modes. */
static bool is_change(const struct emu_trace *call)
{
    const char *name = emu_function_name(call->function);
    return name && (strstr(name, "Create") || strstr(name, "Destroy") || strstr(name, "SetMig"));
}

static bool is_call(const struct emu_trace *call, const char *name)
{
    const char *own = emu_function_name(call->function);
    return call->result == 0 && own && strncmp(own, name, strlen(name)) == 0;
}

/*
 * What other processes called since the last `calls`: GPU instances destroyed * 1000 + made, and
 * changes that failed * 1000 + changes of mode.
 */
static void run_calls(struct answer *answer)
{
    static struct emu_trace calls[EMU_TRACE_MAX];
    static uint64_t from;
    size_t count = emu_trace_read(self.machine, from, calls, EMU_TRACE_MAX);
    for (size_t i = 0; i < count; i++) {
        if (calls[i].pid == (uint32_t)getpid()) {
            continue;
        }
        answer->first += is_call(&calls[i], "GpuInstanceDestroy") ? 1000 : 0;
        answer->first += is_call(&calls[i], "DeviceCreateGpuInstance") ? 1 : 0;
        answer->second += is_change(&calls[i]) && calls[i].result != 0 ? 1000 : 0;
        answer->second += is_call(&calls[i], "DeviceSetMigMode") ? 1 : 0;
    }
    from = emu_call_count(self.machine) + 1;
    answer->code = count == EMU_TRACE_MAX; /* some may be missing */
}

/* ---- commands about this process ------------------------------------------------------------ */

/* profile GPU ID CI-ID...: a profile whose instances the state lists. */
static void run_profile(struct answer *answer)
{
    unsigned *count = &self.profile_count[answer->gpu];
    struct profile_ids *profile = &self.profiles[answer->gpu][limited(*count, EMU_PROFILE_MAX)];
    profile->id = word.number[2];
    for (unsigned i = 3; i < WORD_MAX && word.text[i]; i++) {
        profile->ci_ids[profile->ci_count++] = word.number[i];
    }
    (*count)++;
}

/* arm _ NANOSECONDS: this process is killed, as by kill -9, that much later. */
static void run_arm(struct answer *answer)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec delay = {.it_value = {.tv_nsec = (long)word.number[2]}};
    timer_t timer;
    answer->code = timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ? errno : 0;
    if (answer->code == 0) {
        answer->code = timer_settime(timer, 0, &delay, NULL) < 0 ? errno : 0;
    }
}

static void run_timed(struct answer *answer)
{
    (void)answer;
    self.timed = true;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* wait _ NANOSECONDS (of CLOCK_MONOTONIC): so that several processes start at one time. */
static void run_wait(struct answer *answer)
{
    uint64_t until = strtoull(word.text[2], NULL, 10);
    (void)answer;
    while (now_ns() < until) {
    }
}

/* ---- lines ---------------------------------------------------------------------------------- */

static const struct command {
    const char *name;
    void (*run)(struct answer *answer);
    unsigned words; /* at least, the command and the GPU ("-" for none) included */
} commands[] = {
    {"mode", run_mode, 3},
    {"cgi", run_create_gi, 3},
    {"cgip", run_create_gi_at, 5},
    {"dgi", run_destroy_gi, 3},
    {"dgik", run_destroy_kept_gi, 3},
    {"cci", run_create_ci, 4},
    {"ccip", run_create_ci_at, 6},
    {"dci", run_destroy_ci, 4},
    {"dcik", run_destroy_kept_ci, 4},
    {"keep", run_keep_gi, 3},
    {"keepci", run_keep_ci, 4},
    {"find", run_find, 3},
    {"job", run_job, 5},
    {"rjob", run_real_job, 5},
    {"unjob", run_end_job, 3},
    {"hold", run_hold, 6},
    {"drop", run_drop, 6},
    {"reset", run_reset, 2},
    {"reload", run_reload, 2},
    {"reboot", run_reboot, 2},
    {"set", run_set, 4},
    {"birth", run_birth, 3},
    {"calls", run_calls, 2},
    {"attributes", run_attributes, 4},
    {"state", run_state, 2},
    {"profile", run_profile, 3},
    {"arm", run_arm, 3},
    {"timed", run_timed, 2},
    {"wait", run_wait, 3},
};

static unsigned split(char *line)
{
    unsigned count = 0;
    char *rest = line, *piece;
    memset(&word, 0, sizeof word);
    while (count < WORD_MAX && (piece = strsep(&rest, " ")) != NULL) {
        word.text[count] = piece;
        word.number[count++] = (unsigned)strtol(piece, NULL, 10);
    }
    return count;
}

/* The head, with the count of changes, and the GPUs; the large tables between are not needed. */
static void read_state(struct emu_state *ret)
{
    size_t gpus_size = emu_machine_info(self.machine)->gpu_count * sizeof ret->gpus[0];
    if (emu_machine_read_part(self.machine, 0, ret, offsetof(struct emu_state, processes)) < 0 ||
        emu_machine_read_part(self.machine, offsetof(struct emu_state, gpus), ret->gpus,
                              gpus_size) < 0) {
        fail("could not read the machine's state");
    }
}

/* Whether a GPU that a command was not about is another than before. */
static bool others_changed(int gpu)
{
    bool changed = false;
    for (unsigned i = 0; gpu >= 0 && i < self.after->gpu_count; i++) {
        changed |= (int)i != gpu && memcmp(&self.before->gpus[i], &self.after->gpus[i],
                                           sizeof self.after->gpus[i]) != 0;
    }
    return changed;
}

static void answer_line(const struct command *command)
{
    struct answer answer = {.gpu = word.text[1][0] == '-' ? EMU_UNKNOWN : (int)word.number[1]};
    if (answer.gpu >= 0 && (unsigned)answer.gpu >= emu_machine_info(self.machine)->gpu_count) {
        fail("there is no such GPU");
    }
    if (self.timed) {
        uint64_t called = now_ns();
        command->run(&answer);
        printf("%d %u %u %llu %llu\n", answer.code, answer.first, answer.second,
               (unsigned long long)called, (unsigned long long)now_ns());
        return;
    }
    read_state(self.before);
    command->run(&answer);
    read_state(self.after);
    printf("%d %u %u %llu", answer.code, answer.first, answer.second,
           (unsigned long long)(self.after->change_count - self.before->change_count));
    for (unsigned i = 0; i < self.after->gpu_count; i++) {
        if (answer.gpu < 0 || (unsigned)answer.gpu == i) {
            show_gpu(i);
        }
    }
    printf("%s\n", others_changed(answer.gpu) ? " !" : "");
}

static void serve(void)
{
    char line[LINE_SIZE];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        unsigned words = split(line);
        const struct command *command = commands;
        const struct command *last = &commands[sizeof commands / sizeof commands[0]];
        while (command < last && strcmp(command->name, word.text[0]) != 0) {
            command++;
        }
        if (command == last || words < command->words) {
            fail("a line is not a command");
        }
        answer_line(command);
        fflush(stdout);
    }
}

static void load_symbol(void *library, const char *name, void *target)
{
    void *symbol = dlsym(library, name);
    if (!symbol) {
        fail(name);
    }
    memcpy(target, &symbol, sizeof symbol);
}

static void load(const char *path)
{
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        fail(dlerror());
    }
#define LOAD(name) load_symbol(library, "nvml" #name, &nvml.name);
    FUNCTIONS(LOAD)
}

int main(int argc, char **argv)
{
    if (argc != 3 || setenv("MIGEMU_NODE", argv[2], 1) < 0) {
        fail("usage: nvml-worker LIBRARY NODE");
    }
    load(argv[1]);
    self.before = calloc(1, sizeof *self.before);
    self.after = calloc(1, sizeof *self.after);
    if (!self.before || !self.after || nvml.Init_v2() != NVML_SUCCESS ||
        emu_machine_open(argv[2], &self.machine) < 0) {
        fail("could not start");
    }
    for (unsigned i = 0; i < emu_machine_info(self.machine)->gpu_count; i++) {
        if (nvml.DeviceGetHandleByIndex_v2(i, &self.gpus[i]) != NVML_SUCCESS) {
            fail("could not get a GPU");
        }
    }
    serve();
    emu_machine_close(self.machine);
    free(self.before);
    free(self.after);
    return 0;
}
