/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of the library: nvmlInit and nvmlShutdown, and what happens around every call.
 *
 * Process-wide state is the mapped machine and a count of inits. The machine found by the first
 * nvmlInit (MIGEMU_NODE, see container.c) stays mapped after nvmlShutdown, because threads may be
 * inside a call; the next nvmlInit takes it again, or another one when the node was made anew. A
 * child of fork inherits both and needs nothing. Nothing else is kept, no thread and no exit
 * handler but one that unmaps when the library is unloaded properly shut down.
 */
#include "emulator/driver/library.h"
#include "emulator/entries.h"
#include "emulator/machine/fault.h"
#include "nvml/nvml_functions.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define RETIRED_MAX 8
#define NOTHING_DONE \
    ((nvmlReturn_t)0x7fffffff) /* a fault: the call does nothing and says SUCCESS */
#define VERSION_WITHOUT_NODE "13.580.65.06"

static _Atomic(struct emu_machine *) current;
static atomic_uint init_count;
static atomic_int init_owner; /* pid of the process that is in nvmlInit or nvmlShutdown */

/* Machines that were replaced: kept for threads that may still read them, the oldest let go. */
static struct emu_machine *retired[RETIRED_MAX];
static unsigned retired_count;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- the caller's pid, without a system call per NVML call ---------------------------------- */

/* A page that the kernel empties in a child of fork; NULL when it cannot. */
static _Atomic(_Atomic uint32_t *) pid_page;

static void make_pid_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    if (atomic_load(&pid_page)) {
        return;
    }
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return;
    }
    if (madvise(page, size, MADV_WIPEONFORK) < 0) {
        munmap(page, size);
        return;
    }
    atomic_store(&pid_page, (_Atomic uint32_t *)page);
}

static void drop_pid_page(void)
{
    _Atomic uint32_t *page = atomic_exchange(&pid_page, NULL);
    if (page) {
        munmap((void *)(uintptr_t)page, (size_t)sysconf(_SC_PAGESIZE));
    }
}

static uint32_t own_pid(void)
{
    _Atomic uint32_t *page = atomic_load_explicit(&pid_page, memory_order_relaxed);
    uint32_t pid = page ? atomic_load_explicit(page, memory_order_relaxed) : 0;
    if (pid == 0) {
        pid = (uint32_t)getpid();
        if (page) {
            atomic_store_explicit(page, pid, memory_order_relaxed);
        }
    }
    return pid;
}

/* A lock that a forked child can take over: its owner may be a thread the child does not have. */
static void lock_init(void)
{
    int self = (int)getpid(), owner = 0;
    while (!atomic_compare_exchange_weak(&init_owner, &owner, self)) {
        if (owner == self || owner == 0) {
            sched_yield();
            owner = 0;
        }
    }
}

static void unlock_init(void)
{
    atomic_store(&init_owner, 0);
}

/* ---- the machine ---------------------------------------------------------------------------- */

static void complain(const char *node, int rc)
{
    const char *debug = getenv("MIGEMU_DEBUG");
    if (debug && strcmp(debug, "1") == 0) {
        fprintf(stderr, "migemu: no machine at MIGEMU_NODE=\"%s\": %s\n", node ? node : "",
                strerror(-rc));
    }
}

static void replace_machine(struct emu_machine *machine)
{
    struct emu_machine *old = atomic_exchange(&current, machine);
    if (old) {
        emu_machine_close(retired[retired_count % RETIRED_MAX]);
        retired[retired_count++ % RETIRED_MAX] = old;
    }
}

/* True when the machine that is mapped is the one the environment names. */
static bool is_named_by(const struct emu_machine *machine, const char *node)
{
    char path[4096], directory[4096];
    if (!machine || !node || !realpath(node, directory) ||
        snprintf(path, sizeof path, "%s/state", directory) >= (int)sizeof path) {
        return false;
    }
    return strcmp(path, emu_machine_path(machine)) == 0 && emu_machine_is_current(machine);
}

static nvmlReturn_t attach(void)
{
    const char *node = emu_node_path();
    struct emu_machine *machine = atomic_load(&current);
    if (!is_named_by(machine, node)) {
        int rc = emu_machine_open(node, &machine);
        if (rc < 0) {
            complain(node, rc);
            return rc == -EPROTO ? NVML_ERROR_LIB_RM_VERSION_MISMATCH
                                 : NVML_ERROR_DRIVER_NOT_LOADED;
        }
        replace_machine(machine);
    }
    uint64_t word = 0; /* `permission` and `driver_unloaded` */
    _Static_assert(offsetof(struct emu_state, permission) % 8 == 0, "read as a word");
    emu_machine_read_part(machine, offsetof(struct emu_state, permission), &word, sizeof word);
    emu_forget_devices();
    return word >> 32 ? NVML_ERROR_DRIVER_NOT_LOADED : NVML_SUCCESS;
}

static nvmlReturn_t init(unsigned function)
{
    lock_init();
    make_pid_page();
    nvmlReturn_t rc = atomic_load(&init_count) > 0 ? NVML_SUCCESS : attach();
    if (rc == NVML_SUCCESS) {
        atomic_fetch_add(&init_count, 1);
        struct emu_call call;
        rc = emu_enter(&call, function, EMU_HANDLE_NONE, 0);
        rc = emu_leave(&call, rc);
        if (rc != NVML_SUCCESS) {
            atomic_fetch_sub(&init_count, 1);
        }
    }
    unlock_init();
    return rc;
}

EMU_EXPORT nvmlReturn_t nvmlInit(void)
{
    return init(EMU_F_Init);
}

EMU_EXPORT nvmlReturn_t nvmlInit_v2(void)
{
    return init(EMU_F_Init_v2);
}

EMU_EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned int flags)
{
    (void)flags; /* they only soften failures that do not happen here */
    return init(EMU_F_InitWithFlags);
}

EMU_EXPORT nvmlReturn_t nvmlShutdown(void)
{
    lock_init();
    nvmlReturn_t rc = NVML_SUCCESS; /* also without nvmlInit, as the real library */
    if (atomic_load(&init_count) > 0) {
        struct emu_call call;
        rc = emu_enter(&call, EMU_F_Shutdown, EMU_HANDLE_NONE, 0);
        rc = emu_leave(&call, rc);
        if (rc == NVML_SUCCESS) {
            atomic_fetch_sub(&init_count, 1);
        }
    }
    unlock_init();
    return rc;
}

__attribute__((destructor)) static void unload(void)
{
    /* At exit of a program that never shut down, threads may still be here. */
    if (atomic_load(&init_count) == 0) {
        emu_machine_close(atomic_exchange(&current, NULL));
        drop_pid_page();
        for (unsigned i = 0; i < RETIRED_MAX; i++) {
            emu_machine_close(retired[i]);
            retired[i] = NULL;
        }
    }
}

/* ---- around every call ---------------------------------------------------------------------- */

static void pause_ns(uint64_t duration_ns)
{
    struct timespec rest = {.tv_sec = (time_t)(duration_ns / 1000000000u),
                            .tv_nsec = (long)(duration_ns % 1000000000u)};
    while (nanosleep(&rest, &rest) < 0 && errno == EINTR) {
    }
}

static void pause_ms(uint32_t duration_ms)
{
    if (duration_ms > 0) {
        pause_ns((uint64_t)duration_ms * 1000000u);
    }
}

/* The front of the state's options, read in one go. */
struct options {
    uint32_t query_us, reserved, fault_count, process_count;
};
_Static_assert(offsetof(struct emu_state, query_us) % 8 == 0 &&
                   offsetof(struct emu_state, fault_count) - offsetof(struct emu_state, query_us) ==
                       offsetof(struct options, fault_count),
               "the same order as in the state");

static struct options read_options(const struct emu_machine *machine)
{
    struct options options = {.fault_count = 0};
    emu_machine_read_part(machine, offsetof(struct emu_state, query_us), &options, sizeof options);
    return options;
}

/* A critical error in the middle of a call, on its GPU; true when that has lost the GPU. */
static bool let_xid_happen(const struct emu_call *call, unsigned xid)
{
    struct emu_transaction change;
    unsigned gpu = call->gpu >= 0 ? (unsigned)call->gpu : 0;
    if (emu_begin(call->machine, &change) < 0) {
        return false;
    }
    bool recovery = emu_xid(change.state, gpu, call->gi, call->ci, xid);
    uint64_t action = change.state->gpus[gpu].recovery_action;
    bool lost = change.state->gpus[gpu].lost;
    emu_commit(&change);
    struct emu_event event = {.type = nvmlEventTypeXidCriticalError,
                              .data = xid,
                              .gpu = gpu,
                              .gi = call->gi,
                              .ci = call->ci};
    emu_event_post(call->machine, &event);
    if (recovery) {
        event.type = nvmlEventTypeGpuRecoveryAction;
        event.data = action;
        event.gi = event.ci = EMU_ID_NONE;
        emu_event_post(call->machine, &event);
    }
    return lost;
}

/* What the fault script wants at this point; a call that has failed keeps its own code. */
static nvmlReturn_t apply_faults(const struct emu_call *call, bool after, nvmlReturn_t rc)
{
    if (!call->has_faults) {
        return rc;
    }
    struct emu_verdict verdict = emu_fault_ask(call->machine, call->function, call->gpu, after);
    pause_ms(verdict.delay_ms);
    if (verdict.kill) {
        raise(SIGKILL);
    }
    if (verdict.xid > 0 && let_xid_happen(call, verdict.xid) && !after && rc == NVML_SUCCESS) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    if (!verdict.fail || (after && rc != NVML_SUCCESS)) {
        return rc;
    }
    return verdict.code == NVML_SUCCESS && !after ? NOTHING_DONE : verdict.code;
}

static nvmlReturn_t check_rules(const struct emu_call *call, unsigned rule)
{
    if (call->is_mig_device && !(rule & EMU_RULE_MIG_DEVICE)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (call->gpu >= 0 && call->state.mode && (rule & EMU_RULE_NOT_IN_MIG_MODE)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_enter(struct emu_call *call, unsigned function, unsigned rule, uintptr_t handle)
{
    call->machine = NULL;
    if (atomic_load_explicit(&init_count, memory_order_acquire) == 0) {
        return NVML_ERROR_UNINITIALIZED;
    }
    call->machine = atomic_load_explicit(&current, memory_order_acquire);
    call->node = emu_machine_info(call->machine);
    call->info = NULL;
    call->start_ns = now_ns();
    call->function = function;
    call->gpu = EMU_UNKNOWN;
    call->gi = EMU_ID_NONE;
    call->ci = EMU_ID_NONE;
    call->is_mig_device = false;
    call->is_ci_device = false;
    struct options options = read_options(call->machine);
    call->has_faults = options.fault_count > 0;
    if (options.query_us > 0) {
        pause_ns((uint64_t)options.query_us * 1000u);
    }
    unsigned kind = rule & EMU_HANDLE_MASK;
    nvmlReturn_t rc = kind == EMU_HANDLE_NONE ? NVML_SUCCESS : emu_resolve(call, kind, handle);
    if (rc == NVML_SUCCESS) {
        rc = check_rules(call, rule);
    }
    return apply_faults(call, false, rc);
}

nvmlReturn_t emu_leave(struct emu_call *call, nvmlReturn_t rc)
{
    if (!call->machine) {
        return rc;
    }
    rc = apply_faults(call, true, rc == NOTHING_DONE ? NVML_SUCCESS : rc);
    uint64_t end_ns = now_ns();
    uint64_t duration_us = end_ns > call->start_ns ? (end_ns - call->start_ns) / 1000 : 0;
    struct emu_trace entry = {
        .time_ns = end_ns,
        .pid = own_pid(),
        .result = (int32_t)rc,
        .duration_us = duration_us < UINT32_MAX ? (uint32_t)duration_us : UINT32_MAX,
        .function = (uint16_t)call->function,
        .gpu = (int16_t)call->gpu,
        .gi = call->gi,
        .ci = call->ci,
    };
    emu_trace_add(call->machine, &entry);
    return rc;
}

nvmlReturn_t emu_refuse(unsigned function, unsigned rule, uintptr_t handle, nvmlReturn_t answer)
{
    struct emu_call call;
    nvmlReturn_t rc = emu_enter(&call, function, rule | EMU_RULE_MIG_DEVICE, handle);
    return emu_leave(&call, rc == NVML_SUCCESS ? answer : rc);
}

/* ---- changes -------------------------------------------------------------------------------- */

static bool may_change(const struct emu_call *call)
{
    uint64_t word = 0;
    uid_t user = geteuid();
    emu_machine_read_part(call->machine, offsetof(struct emu_state, permission), &word,
                          sizeof word);
    switch ((uint32_t)word) {
    case EMU_PERMISSION_OPEN:
        return true;
    case EMU_PERMISSION_OWNER:
        return user == 0 || user == emu_machine_owner(call->machine);
    default:
        return user == 0;
    }
}

/* Other writers may have been between this call's start and its turn. */
static nvmlReturn_t refresh(struct emu_call *call, const struct emu_state *state)
{
    if (call->gpu < 0) {
        return NVML_SUCCESS;
    }
    const struct emu_gpu *now = &state->gpus[call->gpu];
    bool same = true;
    if (call->gi != EMU_ID_NONE) {
        const struct emu_gi *was = emu_call_gi(call), *is = &now->gis[call->gi];
        same = is->used && is->birth == was->birth;
        if (same && call->ci != EMU_ID_NONE) {
            const struct emu_ci *ci = &is->cis[call->ci];
            same = ci->used && ci->birth == was->cis[call->ci].birth;
        }
    }
    call->state = *now;
    if (now->lost) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    return same ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t emu_change_begin(struct emu_call *call, struct emu_transaction *ret)
{
    *ret = (struct emu_transaction){.lock_fd = -1};
    if (!may_change(call)) {
        return NVML_ERROR_NO_PERMISSION;
    }
    switch (emu_begin(call->machine, ret)) {
    case 0:
        break;
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return NVML_ERROR_NO_PERMISSION;
    case -ENOMEM:
        return NVML_ERROR_MEMORY;
    case -ETIMEDOUT:
        return NVML_ERROR_TIMEOUT;
    default:
        return NVML_ERROR_UNKNOWN;
    }
    emu_process_reap(ret->state);
    nvmlReturn_t rc = refresh(call, ret->state);
    if (rc != NVML_SUCCESS) {
        emu_abort(ret);
    }
    return rc;
}

nvmlReturn_t emu_change_end(struct emu_transaction *change, nvmlReturn_t rc)
{
    if (rc == NVML_SUCCESS) {
        emu_commit(change);
    } else {
        emu_abort(change);
    }
    return rc;
}

uint32_t emu_latency_ms(const struct emu_call *call, size_t option)
{
    struct emu_latency latency = {.mode_ms = 0};
    uint32_t duration_ms = 0;
    emu_machine_read_part(call->machine, offsetof(struct emu_state, latency), &latency,
                          sizeof latency);
    memcpy(&duration_ms, (const char *)&latency + option, sizeof duration_ms);
    return duration_ms;
}

void emu_latency_wait(const struct emu_call *call, size_t option)
{
    pause_ms(emu_latency_ms(call, option));
}

nvmlReturn_t emu_instances_end_late(const struct emu_call *call, struct emu_transaction *change,
                                    nvmlReturn_t rc, size_t option)
{
    rc = emu_instances_end(call, change, rc);
    if (rc == NVML_SUCCESS) {
        emu_latency_wait(call, option);
    }
    return rc;
}

nvmlReturn_t emu_change_late(struct emu_call *call, size_t option, emu_operation *operation)
{
    struct emu_transaction change;
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    rc = operation(call, change.state);
    uint32_t duration_ms = rc == NVML_SUCCESS ? emu_latency_ms(call, option) : 0;
    if (duration_ms > 0) {
        emu_abort(&change);
        pause_ms(duration_ms);
        rc = emu_change_begin(call, &change);
        if (rc != NVML_SUCCESS) {
            return rc;
        }
        rc = operation(call, change.state);
    }
    return emu_instances_end(call, &change, rc);
}

/* ---- text ----------------------------------------------------------------------------------- */

nvmlReturn_t emu_text_out(const char *text, char *buffer, unsigned size)
{
    if (!buffer) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    size_t needed = strlen(text) + 1;
    if (needed > size) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    memcpy(buffer, text, needed);
    return NVML_SUCCESS;
}

/* Works before nvmlInit: then the node is looked at without being kept. */
EMU_EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    struct emu_call call;
    char text[NVML_SYSTEM_NVML_VERSION_BUFFER_SIZE] = VERSION_WITHOUT_NODE;
    nvmlReturn_t rc = emu_enter(&call, EMU_F_SystemGetNVMLVersion, EMU_HANDLE_NONE, 0);
    struct emu_machine *peek = NULL;
    const struct emu_node_info *node = call.machine ? call.node : NULL;
    if (!node && emu_machine_open(emu_node_path(), &peek) == 0) {
        node = emu_machine_info(peek);
    }
    if (node) {
        snprintf(text, sizeof text, "%d.%.70s", node->cuda_version / 1000, node->driver_version);
    }
    emu_machine_close(peek);
    if (rc == NVML_SUCCESS || !call.machine) {
        rc = emu_text_out(text, version, length);
    }
    return emu_leave(&call, rc);
}

EMU_EXPORT const char *nvmlErrorString(nvmlReturn_t result)
{
    static const char *const texts[] = {
        "Success",
        "Uninitialized",
        "Invalid Argument",
        "Not Supported",
        "Insufficient Permissions",
        "Already Initialized",
        "Not Found",
        "Insufficient Size",
        "Insufficient External Power",
        "Driver Not Loaded",
        "Timeout",
        "Interrupt Request Issue",
        "NVML Shared Library Not Found",
        "Function Not Found",
        "Corrupted infoROM",
        "GPU is lost",
        "GPU requires reset",
        "GPU access blocked by the operating system",
        "Driver/library version mismatch",
        "In use by another client",
        "Insufficient Memory",
        "No data",
        "vGPU ECC not supported",
        "Insufficient Resources",
        "Invalid Frequency",
        "Argument version mismatch",
        "Requested functionality has been deprecated",
        "System is not in ready state",
        "No supported GPUs were found",
        "Resource not in correct state to perform requested operation",
    };
    /* 28 and 29 came with the next branch */
    unsigned count =
        emu_library_branch <= 535 ? NVML_ERROR_GPU_NOT_FOUND : sizeof texts / sizeof texts[0];
    return (unsigned)result < count ? texts[result] : "Unknown Error";
}
