/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated libnvidia-ml.so.1 as its clients meet it: loaded with dlopen, every symbol called
 * with rubbish, then the contract that clients depend on.
 */
#include "emulator_client.h"
#include "nvml/nvml_functions.h"
#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static int start_a100_a30(void **unused)
{
    static const enum board boards[] = {BOARD_A100, BOARD_A30};
    (void)unused;
    return start(boards, 2);
}

static int start_enabled(void **unused)
{
    start_a100_a30(unused);
    node_enable(machine, 0);
    node_enable(machine, 1);
    return 0;
}

static nvmlGpuInstance_t make_gi(unsigned index, unsigned id)
{
    nvmlGpuInstance_t gi = NULL;
    assert_int_equal(NVML(nvmlDeviceCreateGpuInstance)(gpu(index), id, &gi), NVML_SUCCESS);
    return gi;
}

static nvmlComputeInstance_t make_ci(nvmlGpuInstance_t gi, unsigned id)
{
    nvmlComputeInstance_t ci = NULL;
    assert_int_equal(NVML(nvmlGpuInstanceCreateComputeInstance)(gi, id, &ci), NVML_SUCCESS);
    return ci;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Runs a step in a child; its exit status, or 128 + the signal that ended it. */
static int in_child(int (*step)(void *), void *data)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(step(data));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ---- every symbol --------------------------------------------------------------------------- */

#define NVML_FUNCTIONS 416 /* facts/nvml-functions.tsv */

typedef uintptr_t any_function(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t);

static char scratch[1 << 20]; /* what good pointers point at */

static bool is_special(const char *name)
{
    return strncmp(name, "Init", 4) == 0 || strcmp(name, "ErrorString") == 0 ||
           strcmp(name, "Shutdown") == 0 || strcmp(name, "SystemGetNVMLVersion") == 0 ||
           strcmp(name, "InternalGetExportTable") == 0;
}

/* Whether the facts say that the first argument is a pointer: rubbish there is the caller's fault.
 */
static bool takes_pointer(const char *name, const char *facts)
{
    char line[128];
    snprintf(line, sizeof line, "\nnvml%s\tret <- (", name);
    const char *kind = strstr(facts, line);
    if (!kind) {
        return true;
    }
    kind += strlen(line);
    size_t size = strcspn(kind, ",)");
    bool text = strncmp(kind, "charbuf", 7) == 0 || strncmp(kind, "cstr", 4) == 0;
    return text || memchr(kind, '*', size);
}

static char *read_facts(void)
{
    static char text[1 << 17];
    const char *path = getenv("EMU_FACTS");
    FILE *file = fopen(path ? path : "facts/nvml-functions.tsv", "re");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* Calls every function with these arguments; 1 when an uninitialised one says anything else. */
static int call_all(uintptr_t first, uintptr_t rest, bool initialised)
{
    const char *facts = read_facts();
    for (unsigned i = 0; i < NVML_FUNCTIONS; i++) {
        char name[96];
        snprintf(name, sizeof name, "nvml%s", emu_function_name(i));
        any_function *function = (any_function *)dlsym(library, name);
        if (!function) {
            fprintf(stderr, "no symbol %s\n", name);
            return 2;
        }
        memset(scratch, 0, sizeof scratch);
        bool pointer = takes_pointer(emu_function_name(i), facts);
        uintptr_t rc = function(pointer ? rest : first, rest, rest, rest, rest, rest);
        if (!initialised && !is_special(emu_function_name(i)) &&
            (nvmlReturn_t)rc != NVML_ERROR_UNINITIALIZED) {
            fprintf(stderr, "%s returned %u before nvmlInit\n", name, (unsigned)rc);
            return 1;
        }
        if (initialised) {
            NVML(nvmlInit_v2)(); /* in case that was nvmlShutdown */
        }
    }
    return 0;
}

static int smoke_uninitialised(void *unused)
{
    (void)unused;
    unsetenv("MIGEMU_NODE");
    while (NVML(nvmlDeviceGetCount_v2)(&(unsigned){0}) == NVML_SUCCESS) {
        NVML(nvmlShutdown)();
    }
    int rc = call_all(0, 0, false);
    return rc ? rc : call_all((uintptr_t)scratch, (uintptr_t)scratch, false);
}

static int smoke_initialised(void *unused)
{
    nvmlGpuInstance_t gi = make_gi(0, 9);
    nvmlComputeInstance_t ci = make_ci(gi, 0);
    nvmlComputeInstanceInfo_t info;
    (void)unused;
    assert_int_equal(NVML(nvmlComputeInstanceGetInfo_v2)(ci, &info), NVML_SUCCESS);
    const uintptr_t firsts[] = {
        0,
        1,
        (uintptr_t)scratch,
        UINTPTR_MAX,
        (uintptr_t)gpu(0),
        (uintptr_t)gpu(0) ^ 1,
        (uintptr_t)gpu(0) | 0xffffffff,
        (uintptr_t)info.device,
        (uintptr_t)ci,
        (uintptr_t)gi,
    };
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++) {
        call_all(firsts[i], 0, true);
        call_all(firsts[i], (uintptr_t)scratch, true);
    }
    return 0;
}

static void test_rubbish_before_init(void **unused)
{
    (void)unused;
    assert_int_equal(in_child(smoke_uninitialised, NULL), 0);
}

static void test_rubbish_after_init(void **unused)
{
    (void)unused;
    assert_int_equal(in_child(smoke_initialised, NULL), 0);
}

/* ---- init ----------------------------------------------------------------------------------- */

static void test_init_is_counted(void **unused)
{
    unsigned count = 0;
    char text[80];
    (void)unused;
    assert_int_equal(NVML(nvmlInit)(), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlShutdown)(), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetCount_v2)(&count), NVML_SUCCESS);
    assert_int_equal(count, 2);
    assert_int_equal(NVML(nvmlShutdown)(), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetCount_v2)(&count), NVML_ERROR_UNINITIALIZED);
    assert_int_equal(NVML(nvmlShutdown)(), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlSystemGetNVMLVersion)(text, sizeof text), NVML_SUCCESS);
    assert_string_equal(text, "12.550.90.07");
    assert_int_equal(NVML(nvmlSystemGetNVMLVersion)(text, 3), NVML_ERROR_INSUFFICIENT_SIZE);
    assert_string_equal(NVML(nvmlErrorString)(NVML_ERROR_IN_USE), "In use by another client");
    assert_string_equal(NVML(nvmlErrorString)((nvmlReturn_t)500), "Unknown Error");
}

static void test_no_machine_no_driver(void **unused)
{
    (void)unused;
    NVML(nvmlShutdown)();
    setenv("MIGEMU_NODE", "/nonexistent", 1);
    assert_int_equal(NVML(nvmlInit_v2)(), NVML_ERROR_DRIVER_NOT_LOADED);
    unsetenv("MIGEMU_NODE");
    assert_int_equal(NVML(nvmlInit_v2)(), NVML_ERROR_DRIVER_NOT_LOADED);
    setenv("MIGEMU_NODE", directory, 1);
    assert_int_equal(NVML(nvmlInit_v2)(), NVML_SUCCESS);
}

static void test_loaded_and_unloaded_again(void **unused)
{
    nvmlDevice_t before = gpu(1);
    (void)unused;
    for (unsigned i = 0; i < 20; i++) {
        NVML(nvmlShutdown)();
        dlclose(library);
        load();
        assert_int_equal(NVML(nvmlInit_v2)(), NVML_SUCCESS);
        assert_ptr_equal(gpu(1), before); /* clients compare handles */
    }
}

static int count_in_child(void *unused)
{
    unsigned count = 0;
    (void)unused;
    return NVML(nvmlInit_v2)() == NVML_SUCCESS &&
                   NVML(nvmlDeviceGetCount_v2)(&count) == NVML_SUCCESS
               ? (int)count
               : 100;
}

static void test_works_in_a_forked_child(void **unused)
{
    (void)unused;
    assert_int_equal(in_child(count_in_child, NULL), 2);
}

/* ---- profiles and instances ----------------------------------------------------------------- */

static void test_profiles_with_mig_off(void **unused)
{
    nvmlGpuInstanceProfileInfo_t info;
    nvmlGpuInstanceProfileInfo_v2_t v2 = {.version = nvmlGpuInstanceProfileInfo_v2};
    nvmlGpuInstanceProfileInfo_v3_t v3 = {.version = nvmlGpuInstanceProfileInfo_v3};
    nvmlGpuInstance_t gi = NULL;
    unsigned count = 0, mode = 9, pending = 9;
    (void)unused;
    assert_int_equal(NVML(nvmlDeviceGetMigMode)(gpu(0), &mode, &pending), NVML_SUCCESS);
    assert_true(mode == 0 && pending == 0);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceProfileInfo)(gpu(0), 2, &info), NVML_SUCCESS);
    assert_int_equal(info.id, 9);
    assert_int_equal(info.instanceCount, 2);
    assert_int_equal(info.memorySizeMB, 19968);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceProfileInfo)(gpu(0), 17, &info),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceProfileInfo)(gpu(0), 18, &info),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceProfileInfoV)(gpu(0), 2, &v2), NVML_SUCCESS);
    assert_string_equal(v2.name, "MIG 3g.20gb");
    v2.version = 0x04000098;
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceProfileInfoV)(gpu(0), 2, &v2),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceProfileInfoByIdV)(
                         gpu(0), 9, (nvmlGpuInstanceProfileInfo_v2_t *)(void *)&v3),
                     NVML_SUCCESS);
    assert_string_equal(v3.name, "MIG 3g.20gb");
    assert_int_equal(NVML(nvmlDeviceGetGpuInstancePossiblePlacements_v2)(gpu(0), 9, NULL, &count),
                     NVML_SUCCESS);
    assert_int_equal(count, 2);
    assert_int_equal(NVML(nvmlDeviceCreateGpuInstance)(gpu(0), 9, &gi), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(NVML(nvmlDeviceGetMaxMigDeviceCount)(gpu(0), &count), NVML_SUCCESS);
    assert_int_equal(count, 0);
}

static void test_instances_are_made_listed_and_destroyed(void **unused)
{
    nvmlGpuInstance_t gis[7], gi = make_gi(0, 9), found = NULL;
    nvmlGpuInstanceInfo_t info;
    unsigned count = 32767; /* never read: clients pass rubbish */
    (void)unused;
    assert_int_equal(NVML(nvmlGpuInstanceGetInfo)(gi, &info), NVML_SUCCESS);
    assert_ptr_equal(info.device, gpu(0));
    assert_int_equal(info.id, 2);
    assert_int_equal(info.profileId, 9);
    assert_int_equal(info.placement.start, 4);
    assert_int_equal(info.placement.size, 4);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstances)(gpu(0), 9, gis, &count), NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_ptr_equal(gis[0], gi);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstances)(gpu(0), 19, gis, &count), NVML_SUCCESS);
    assert_int_equal(count, 0);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstances)(gpu(0), 77, gis, &count),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceById)(gpu(0), 2, &found), NVML_SUCCESS);
    assert_ptr_equal(found, gi);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceById)(gpu(0), 1, &found), NVML_ERROR_NOT_FOUND);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceRemainingCapacity)(gpu(0), 9, &count),
                     NVML_SUCCESS);
    assert_int_equal(count, 1);

    nvmlGpuInstancePlacement_t place = {4, 4};
    assert_int_equal(NVML(nvmlDeviceCreateGpuInstanceWithPlacement)(gpu(0), 9, &place, &found),
                     NVML_ERROR_INSUFFICIENT_RESOURCES);
    place.start = 2;
    assert_int_equal(NVML(nvmlDeviceCreateGpuInstanceWithPlacement)(gpu(0), 9, &place, &found),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlGpuInstanceDestroy)(gi), NVML_SUCCESS);

    /* The handle is stale, also when the same place is taken again. */
    assert_int_equal(NVML(nvmlGpuInstanceGetInfo)(gi, &info), NVML_ERROR_NOT_FOUND);
    nvmlGpuInstance_t again = make_gi(0, 9);
    assert_ptr_not_equal(again, gi);
    assert_int_equal(NVML(nvmlGpuInstanceDestroy)(gi), NVML_ERROR_NOT_FOUND);
    assert_int_equal(NVML(nvmlGpuInstanceGetInfo)(again, &info), NVML_SUCCESS);
}

static void test_mig_devices(void **unused)
{
    nvmlGpuInstance_t second = make_gi(0, 9), first = make_gi(0, 9); /* ids 2 and 1 */
    nvmlComputeInstance_t whole = make_ci(second, 2), part = make_ci(first, 0);
    nvmlComputeInstanceInfo_t info;
    nvmlDevice_t device = NULL, found = NULL, parent = NULL;
    nvmlDeviceAttributes_t attributes;
    unsigned value = 0;
    char uuid[96], text[128], again[96];
    (void)unused;
    assert_int_equal(NVML(nvmlComputeInstanceGetInfo_v2)(part, &info), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetMigDeviceHandleByIndex)(gpu(0), 0, &device), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetUUID)(device, uuid, sizeof uuid), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetUUID)(info.device, text, sizeof text), NVML_SUCCESS);
    assert_string_equal(uuid, text); /* GI 1 comes before GI 2 */

    /* The index of such a device is its GPU's. */
    assert_int_equal(NVML(nvmlComputeInstanceGetInfo_v2)(whole, &info), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetIndex)(info.device, &value), NVML_SUCCESS);
    assert_int_equal(value, 0);
    assert_int_equal(NVML(nvmlDeviceGetMigDeviceHandleByIndex)(gpu(0), 1, &found), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetIndex)(found, &value), NVML_SUCCESS);
    assert_int_equal(value, 1);
    assert_int_equal(NVML(nvmlDeviceGetMigDeviceHandleByIndex)(gpu(0), 2, &found),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(NVML(nvmlDeviceIsMigDeviceHandle)(device, &value), NVML_SUCCESS);
    assert_int_equal(value, 1);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceId)(device, &value), NVML_SUCCESS);
    assert_int_equal(value, 1);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceId)(gpu(0), &value), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(NVML(nvmlDeviceGetDeviceHandleFromMigDeviceHandle)(device, &parent),
                     NVML_SUCCESS);
    assert_ptr_equal(parent, gpu(0));
    assert_int_equal(NVML(nvmlDeviceGetName)(device, text, sizeof text), NVML_SUCCESS);
    assert_string_equal(text, "NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb");
    assert_int_equal(NVML(nvmlDeviceGetAttributes_v2)(device, &attributes), NVML_SUCCESS);
    assert_int_equal(attributes.multiprocessorCount, 14);
    assert_int_equal(attributes.gpuInstanceSliceCount, 3);
    assert_int_equal(attributes.computeInstanceSliceCount, 1);
    assert_int_equal(attributes.memorySizeMB, 19968);
    assert_int_equal(NVML(nvmlDeviceGetTemperature)(device, NVML_TEMPERATURE_GPU, &value),
                     NVML_ERROR_NOT_SUPPORTED);

    assert_int_equal(NVML(nvmlDeviceGetUUID)(device, uuid, sizeof uuid), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetHandleByUUID)(uuid, &found), NVML_SUCCESS);
    assert_ptr_equal(found, device);
    assert_int_equal(uuid[strlen("MIG-") + 14], '5'); /* version of the UUID */
    assert_int_equal(NVML(nvmlDeviceGetUUID)(gpu(0), again, sizeof again), NVML_SUCCESS);
    snprintf(text, sizeof text, "MIG-%s/1/0", again);
    assert_int_equal(NVML(nvmlDeviceGetHandleByUUID)(text, &found), NVML_SUCCESS);
    assert_ptr_equal(found, device);
    snprintf(text, sizeof text, "MIG-%s/1/1", again);
    assert_int_equal(NVML(nvmlDeviceGetHandleByUUID)(text, &found), NVML_ERROR_NOT_FOUND);

    assert_int_equal(NVML(nvmlComputeInstanceDestroy)(part), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetUUID)(device, again, sizeof again), NVML_ERROR_NOT_FOUND);
    assert_int_equal(NVML(nvmlDeviceGetMigDeviceHandleByIndex)(gpu(0), 0, &found), NVML_SUCCESS);
    make_ci(first, 0);
    assert_int_equal(NVML(nvmlDeviceGetMigDeviceHandleByIndex)(gpu(0), 0, &found), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceGetUUID)(found, again, sizeof again), NVML_SUCCESS);
    assert_string_equal(again, uuid); /* the same instance has the same UUID */
}

/* ---- processes and memory ------------------------------------------------------------------- */

static void add_process(uint32_t pid, unsigned gi, unsigned ci, uint64_t mib)
{
    struct emu_transaction change;
    struct emu_process process = {
        .pid = pid, .type = 'C', .gi = gi, .ci = ci, .memory_bytes = mib << 20, .name = "python3"};
    assert_int_equal(emu_begin(machine, &change), 0);
    assert_int_equal(emu_process_add(change.state, &process), 0);
    emu_commit(&change);
}

static void test_processes_and_old_layouts(void **unused)
{
    nvmlProcessInfo_v1_t old[3];
    nvmlProcessInfo_t new[2];
    nvmlDevice_t device = NULL;
    unsigned count = 0;
    char name[64];
    (void)unused;
    make_ci(make_gi(0, 9), 2);
    assert_int_equal(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &count, NULL),
                     NVML_SUCCESS);
    add_process(4242, 2, 0, 100);
    add_process(4343, EMU_ID_NONE, EMU_ID_NONE, 7);
    assert_int_equal(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &count, NULL),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 2);
    assert_int_equal(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(gpu(0), &count, new),
                     NVML_SUCCESS);
    assert_int_equal(new[0].pid, 4242);
    assert_int_equal(new[0].gpuInstanceId, 2);
    assert_int_equal(new[1].gpuInstanceId, NO_GPU_INSTANCE_ID);
    memset(old, 0x5a, sizeof old);
    count = 2;
    assert_int_equal(NVML(nvmlDeviceGetComputeRunningProcesses)(gpu(0), &count, old), NVML_SUCCESS);
    assert_int_equal(old[1].pid, 4343);
    assert_int_equal(old[2].pid, 0x5a5a5a5a); /* nothing written behind the short entries */
    assert_int_equal(NVML(nvmlDeviceGetMigDeviceHandleByIndex)(gpu(0), 0, &device), NVML_SUCCESS);
    count = 2;
    assert_int_equal(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, new),
                     NVML_SUCCESS);
    assert_int_equal(count, 1);
    assert_int_equal(NVML(nvmlDeviceGetGraphicsRunningProcesses_v3)(device, &count, new),
                     NVML_SUCCESS);
    assert_int_equal(count, 0);
    assert_int_equal(NVML(nvmlSystemGetProcessName)(4242, name, sizeof name), NVML_SUCCESS);
    assert_string_equal(name, "python3");
    assert_int_equal(NVML(nvmlSystemGetProcessName)(1, name, sizeof name), NVML_ERROR_NOT_FOUND);

    nvmlMemory_t memory;
    nvmlMemory_v2_t memory_v2 = {.version = nvmlMemory_v2};
    assert_int_equal(NVML(nvmlDeviceGetMemoryInfo)(device, &memory), NVML_SUCCESS);
    assert_int_equal(memory.total >> 20, 19968);
    assert_int_equal(memory.used >> 20, 139); /* 3 slices idle, and the process */
    assert_int_equal(memory.free + memory.used, memory.total);
    assert_int_equal(NVML(nvmlDeviceGetMemoryInfo_v2)(device, &memory_v2), NVML_SUCCESS);
    memory_v2.version = 1;
    assert_int_equal(NVML(nvmlDeviceGetMemoryInfo_v2)(device, &memory_v2),
                     NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
    nvmlBAR1Memory_t bar1;
    assert_int_equal(NVML(nvmlDeviceGetBAR1MemoryInfo)(device, &bar1), NVML_SUCCESS);
    assert_int_equal(bar1.bar1Total >> 20, 32768 / 8 * 4 - 1);
}

static void test_load_and_affinity(void **unused)
{
    nvmlProcessUtilizationSample_t samples[2];
    unsigned long long mask[64] = {0};
    unsigned count = 2;
    (void)unused;
    assert_int_equal(NVML(nvmlDeviceGetProcessUtilization)(gpu(1), samples, &count, 0),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(count, 0);
    add_process(4242, EMU_ID_NONE, EMU_ID_NONE, 7); /* on GPU 0 */
    struct emu_transaction change;
    assert_int_equal(emu_begin(machine, &change), 0);
    change.state->gpus[0].load_percent = 60;
    emu_commit(&change);
    assert_int_equal(NVML(nvmlDeviceGetProcessUtilization)(gpu(0), samples, &count, 0),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 1);
    assert_int_equal(NVML(nvmlDeviceGetProcessUtilization)(gpu(0), samples, &count, 0),
                     NVML_SUCCESS);
    assert_int_equal(samples[0].pid, 4242);
    assert_int_equal(samples[0].smUtil, 60);
    assert_int_equal(NVML(nvmlDeviceGetCpuAffinity)(gpu(0), 64, mask), NVML_SUCCESS);
    assert_true(mask[0] & 1);
    assert_int_equal(NVML(nvmlDeviceGetMemoryAffinity)(gpu(0), 2, mask, 0), NVML_SUCCESS);
    assert_true(mask[0] == 1 && mask[1] == 0);
    node_enable(machine, 0);
    assert_int_equal(NVML(nvmlDeviceGetProcessUtilization)(gpu(0), samples, &count, 0),
                     NVML_ERROR_NOT_SUPPORTED);
}

static void test_old_pci_layouts(void **unused)
{
    union {
        nvmlPciInfo_v1_t v1;
        nvmlPciInfo_v2_t v2;
        nvmlPciInfo_t v3;
        unsigned char bytes[80];
    } pci;
    nvmlDevice_t found = NULL;
    (void)unused;
    memset(&pci, 0x5a, sizeof pci);
    assert_int_equal(NVML(nvmlDeviceGetPciInfo)(gpu(1), &pci.v1), NVML_SUCCESS);
    assert_string_equal(pci.v1.busId, "0000:11:00.0");
    assert_int_equal(pci.bytes[sizeof pci.v1], 0x5a);
    memset(&pci, 0x5a, sizeof pci);
    assert_int_equal(NVML(nvmlDeviceGetPciInfo_v2)(gpu(1), &pci.v2), NVML_SUCCESS);
    assert_int_equal(pci.bytes[sizeof pci.v2], 0x5a);
    assert_int_equal(NVML(nvmlDeviceGetPciInfo_v3)(gpu(1), &pci.v3), NVML_SUCCESS);
    assert_string_equal(pci.v3.busId, "00000000:11:00.0");
    assert_int_equal(pci.v3.pciDeviceId, 0x20b710de);
    static const char *const spellings[] = {"00000000:11:00.0", "0000:11:00.0", "11:00.0", "11:00"};
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        assert_int_equal(NVML(nvmlDeviceGetHandleByPciBusId_v2)(spellings[i], &found),
                         NVML_SUCCESS);
        assert_ptr_equal(found, gpu(1));
    }
    assert_int_equal(NVML(nvmlDeviceGetHandleByPciBusId_v2)("12:00.0", &found),
                     NVML_ERROR_NOT_FOUND);
    assert_int_equal(NVML(nvmlDeviceGetHandleByPciBusId_v2)("x", &found),
                     NVML_ERROR_INVALID_ARGUMENT);
}

/* ---- between processes ---------------------------------------------------------------------- */

static int create_in_child(void *data)
{
    nvmlGpuInstance_t gi = NULL;
    const unsigned *id = data;
    return (int)NVML(nvmlDeviceCreateGpuInstance)(gpu(0), *id, &gi);
}

static void test_changes_are_seen_at_once(void **unused)
{
    unsigned id = 14, count = 0;
    nvmlGpuInstance_t gis[7];
    (void)unused;
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(in_child(create_in_child, &id), NVML_SUCCESS);
        assert_int_equal(NVML(nvmlDeviceGetGpuInstances)(gpu(0), id, gis, &count), NVML_SUCCESS);
        assert_int_equal(count, i);
    }
    assert_int_equal(in_child(create_in_child, &id), NVML_ERROR_INSUFFICIENT_RESOURCES);
}

static int create_as_nobody(void *data)
{
    if (setgid(65534) < 0 || setuid(65534) < 0) {
        return 100;
    }
    return create_in_child(data);
}

static void set_permission(unsigned permission)
{
    struct emu_transaction change;
    assert_int_equal(emu_begin(machine, &change), 0);
    change.state->permission = permission;
    emu_commit(&change);
}

static void test_permission(void **unused)
{
    unsigned id = 19;
    (void)unused;
    if (geteuid() != 0) {
        set_permission(EMU_PERMISSION_ROOT);
        assert_int_equal(in_child(create_in_child, &id), NVML_ERROR_NO_PERMISSION);
        set_permission(EMU_PERMISSION_OWNER);
        assert_int_equal(in_child(create_in_child, &id), NVML_SUCCESS);
        return;
    }
    chmod(directory, 0755);
    chmod(emu_machine_path(machine), 0666);
    assert_int_equal(in_child(create_as_nobody, &id), NVML_ERROR_NO_PERMISSION);
    set_permission(EMU_PERMISSION_OPEN);
    assert_int_equal(in_child(create_as_nobody, &id), NVML_SUCCESS);
    set_permission(EMU_PERMISSION_ROOT);
    assert_int_equal(in_child(create_in_child, &id), NVML_SUCCESS);
}

/* ---- threads -------------------------------------------------------------------------------- */

static atomic_bool threads_end;

static void *change_thread(void *data)
{
    unsigned *changes = data;
    while (!atomic_load(&threads_end)) {
        nvmlGpuInstance_t gi = NULL;
        nvmlComputeInstance_t ci = NULL;
        if (NVML(nvmlDeviceCreateGpuInstance)(gpu(0), 19, &gi) == NVML_SUCCESS) {
            NVML(nvmlGpuInstanceCreateComputeInstance)(gi, 0, &ci);
            NVML(nvmlComputeInstanceDestroy)(ci);
            NVML(nvmlGpuInstanceDestroy)(gi);
            ++*changes;
        }
    }
    return NULL;
}

/* Whatever is read belongs together: an instance's number is that of its place. */
static void *read_thread(void *data)
{
    unsigned *wrong = data;
    while (!atomic_load(&threads_end)) {
        nvmlGpuInstance_t gis[7];
        unsigned count = 0;
        *wrong += NVML(nvmlDeviceGetGpuInstances)(gpu(0), 19, gis, &count) != NVML_SUCCESS;
        for (unsigned i = 0; i < count; i++) {
            nvmlGpuInstanceInfo_t info;
            nvmlReturn_t rc = NVML(nvmlGpuInstanceGetInfo)(gis[i], &info);
            *wrong += rc != NVML_ERROR_NOT_FOUND &&
                      (rc != NVML_SUCCESS || info.id != info.placement.start + 7);
        }
    }
    return NULL;
}

static void test_threads(void **unused)
{
    pthread_t threads[4];
    unsigned counts[4] = {0};
    (void)unused;
    atomic_store(&threads_end, false);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < 2 ? change_thread : read_thread, &counts[i]), 0);
    }
    struct timespec duration = {.tv_nsec = 300000000};
    nanosleep(&duration, NULL);
    atomic_store(&threads_end, true);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(counts[0] > 0 && counts[1] > 0);
    assert_int_equal(counts[2] + counts[3], 0);
}

/* ---- mode ----------------------------------------------------------------------------------- */

static void test_mode_changes(void **unused)
{
    nvmlReturn_t activation = NVML_ERROR_UNKNOWN;
    unsigned mode = 9, pending = 9;
    nvmlGpuInstance_t gi = NULL;
    (void)unused;
    assert_int_equal(NVML(nvmlDeviceSetMigMode)(gpu(0), 2, &activation),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlDeviceSetMigMode)(gpu(0), 1, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_SUCCESS);
    gi = make_gi(0, 0);
    add_process(99, EMU_ID_NONE, EMU_ID_NONE, 1);
    assert_int_equal(NVML(nvmlDeviceSetMigMode)(gpu(0), 0, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_ERROR_IN_USE);
    assert_int_equal(NVML(nvmlDeviceGetMigMode)(gpu(0), &mode, &pending), NVML_SUCCESS);
    assert_true(mode == 1 && pending == 0);
    struct emu_transaction change;
    assert_int_equal(emu_begin(machine, &change), 0);
    emu_process_remove(change.state, 99, 0);
    assert_int_equal(emu_gpu_reset(emu_machine_info(machine), change.state, 0), NVML_SUCCESS);
    emu_commit(&change);
    assert_int_equal(NVML(nvmlDeviceGetMigMode)(gpu(0), &mode, &pending), NVML_SUCCESS);
    assert_true(mode == 0 && pending == 0);
    assert_int_equal(NVML(nvmlGpuInstanceDestroy)(gi), NVML_ERROR_NOT_FOUND);
}

static int start_t4(void **unused)
{
    static const enum board boards[] = {BOARD_T4};
    (void)unused;
    return start(boards, 1);
}

static void test_a_gpu_without_mig(void **unused)
{
    nvmlReturn_t activation = NVML_SUCCESS;
    nvmlGpuInstanceProfileInfo_t info;
    unsigned mode = 0, pending = 0, count = 9;
    (void)unused;
    assert_int_equal(NVML(nvmlDeviceGetMigMode)(gpu(0), &mode, &pending), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(NVML(nvmlDeviceSetMigMode)(gpu(0), 1, &activation), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstanceProfileInfo)(gpu(0), 0, &info),
                     NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(NVML(nvmlDeviceGetMaxMigDeviceCount)(gpu(0), &count), NVML_SUCCESS);
    assert_int_equal(count, 0);
}

/* ---- faults and events ---------------------------------------------------------------------- */

static void test_faults(void **unused)
{
    unsigned id = 19, count = 0;
    nvmlGpuInstance_t gi = NULL, gis[7];
    (void)unused;
    node_add_fault(machine, "GpuInstanceDestroy gpu=0 nth=2 -> IN_USE");
    node_add_fault(machine, "DeviceCreateGpuInstance nth=3 after -> UNKNOWN");
    node_add_fault(machine, "DeviceCreateGpuInstance nth=4 after -> KILL");
    node_add_fault(machine, "DeviceCreateGpuInstance nth=5 before -> KILL");
    node_add_fault(machine, "DeviceGetCount_v2 nth=1 delay=50");
    gi = make_gi(0, id);
    assert_int_equal(NVML(nvmlGpuInstanceDestroy)(gi), NVML_SUCCESS);
    gi = make_gi(0, id);
    assert_int_equal(NVML(nvmlGpuInstanceDestroy)(gi), NVML_ERROR_IN_USE);
    assert_int_equal(NVML(nvmlGpuInstanceDestroy)(gi), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceCreateGpuInstance)(gpu(0), id, &gi), NVML_ERROR_UNKNOWN);
    assert_int_equal(in_child(create_in_child, &id), 128 + SIGKILL); /* the 4th, machine-wide */
    assert_int_equal(NVML(nvmlDeviceGetGpuInstances)(gpu(0), id, gis, &count), NVML_SUCCESS);
    assert_int_equal(count, 2); /* both had their effect */
    assert_int_equal(in_child(create_in_child, &id), 128 + SIGKILL);
    assert_int_equal(NVML(nvmlDeviceGetGpuInstances)(gpu(0), id, gis, &count), NVML_SUCCESS);
    assert_int_equal(count, 2); /* this one had not */
    uint64_t begin = now_ms();
    assert_int_equal(NVML(nvmlDeviceGetCount_v2)(&count), NVML_SUCCESS);
    assert_true(now_ms() - begin >= 50);
    int function = emu_function_find("DeviceCreateGpuInstance");
    assert_int_equal(emu_function_count(machine, (unsigned)function), 3); /* that came back */
}

static void test_event_waits(void **unused)
{
    nvmlEventSet_t set = NULL;
    nvmlEventData_t data;
    (void)unused;
    assert_int_equal(NVML(nvmlEventSetCreate)(&set), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlDeviceRegisterEvents)(gpu(1), nvmlEventTypeXidCriticalError, set),
                     NVML_SUCCESS);
    uint64_t begin = now_ms();
    assert_int_equal(NVML(nvmlEventSetWait_v2)(set, &data, 60), NVML_ERROR_TIMEOUT);
    assert_true(now_ms() - begin >= 60);
    struct emu_event event = {
        .type = nvmlEventTypeXidCriticalError, .data = 43, .gpu = 0, .gi = 1, .ci = 0};
    emu_event_post(machine, &event); /* of a GPU nobody listens to */
    event.gpu = 1;
    event.data = 94;
    emu_event_post(machine, &event);
    assert_int_equal(NVML(nvmlEventSetWait_v2)(set, &data, 10000), NVML_SUCCESS);
    assert_ptr_equal(data.device, gpu(1));
    assert_int_equal(data.eventData, 94);
    assert_int_equal(data.gpuInstanceId, 1);
    assert_int_equal(NVML(nvmlEventSetWait_v2)(set, &data, 0), NVML_ERROR_TIMEOUT);
    assert_int_equal(NVML(nvmlEventSetFree)(set), NVML_SUCCESS);
    assert_int_equal(NVML(nvmlEventSetWait_v2)(set, &data, 0), NVML_ERROR_INVALID_ARGUMENT);
}

static void test_a_lost_gpu(void **unused)
{
    struct emu_transaction change;
    unsigned value = 0;
    nvmlDevice_t device = gpu(0);
    (void)unused;
    assert_int_equal(emu_begin(machine, &change), 0);
    emu_xid(change.state, 0, EMU_ID_NONE, EMU_ID_NONE, 79);
    emu_commit(&change);
    assert_int_equal(NVML(nvmlDeviceGetTemperature)(device, NVML_TEMPERATURE_GPU, &value),
                     NVML_ERROR_GPU_IS_LOST);
    assert_int_equal(NVML(nvmlDeviceGetHandleByIndex_v2)(0, &device), NVML_ERROR_GPU_IS_LOST);
    assert_int_equal(NVML(nvmlDeviceGetTemperature)(gpu(1), NVML_TEMPERATURE_GPU, &value),
                     NVML_SUCCESS);
}

#define PLAIN(test) cmocka_unit_test_setup_teardown(test, start_a100_a30, stop)
#define ENABLED(test) cmocka_unit_test_setup_teardown(test, start_enabled, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENABLED(test_rubbish_before_init),
        ENABLED(test_rubbish_after_init),
        PLAIN(test_init_is_counted),
        PLAIN(test_no_machine_no_driver),
        PLAIN(test_loaded_and_unloaded_again),
        PLAIN(test_works_in_a_forked_child),
        PLAIN(test_profiles_with_mig_off),
        ENABLED(test_instances_are_made_listed_and_destroyed),
        ENABLED(test_mig_devices),
        ENABLED(test_processes_and_old_layouts),
        PLAIN(test_load_and_affinity),
        PLAIN(test_old_pci_layouts),
        ENABLED(test_changes_are_seen_at_once),
        ENABLED(test_permission),
        ENABLED(test_threads),
        PLAIN(test_mode_changes),
        cmocka_unit_test_setup_teardown(test_a_gpu_without_mig, start_t4, stop),
        ENABLED(test_faults),
        PLAIN(test_event_waits),
        PLAIN(test_a_lost_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
