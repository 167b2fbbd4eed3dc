/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What NVML calls cost, on any library that has them: the ten that monitors, device plugins and MIG
 * managers make most, and creating and destroying an instance.
 *
 *     bench_nvml LIBRARY                 calls per second of each, one line "NAME<tab>CALLS_PER_S"
 *     bench_nvml LIBRARY NAME COUNT      makes COUNT calls, for a profiler to count
 *
 * The first GPU is without MIG, the second in MIG mode with a MIG device and a free slice. A call
 * that fails is left out, with its code in the place of the number.
 */
#include "nvml/nvml_functions.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH 64
#define SECONDS_EACH 0.25
#define PROFILE_SLICE 0 /* NVML_GPU_INSTANCE_PROFILE_1_SLICE */

static void *library;
static nvmlDevice_t whole, sliced, device;
static char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];

/* The function by its own type; ends the program when the library lacks it. */
#define NVML(name) ((__typeof__(&(name)))find(#name))

static void *find(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "bench_nvml: the library has no %s\n", name);
        exit(1);
    }
    return found;
}

static void check(nvmlReturn_t rc, const char *what)
{
    if (rc != NVML_SUCCESS) {
        fprintf(stderr, "bench_nvml: %s: %d\n", what, (int)rc);
        exit(1);
    }
}

/* ---- what is measured ----------------------------------------------------------------------- */

#define QUERY(name, ...)                                          \
    static nvmlReturn_t query_##name(void)                        \
    {                                                             \
        static __typeof__(&(nvml##name)) call;                    \
        if (!call) {                                              \
            call = (__typeof__(&(nvml##name)))find("nvml" #name); \
        }                                                         \
        return call(__VA_ARGS__);                                 \
    }

static nvmlDevice_t a_device;
static char text[256];
static nvmlMemory_t memory;
static nvmlUtilization_t utilization;
static unsigned number, other_number;
static nvmlProcessInfo_t processes[32];

QUERY(DeviceGetHandleByIndex_v2, 0, &a_device)
QUERY(DeviceGetHandleByUUID, uuid, &a_device)
QUERY(DeviceGetUUID, device, text, sizeof text)
QUERY(DeviceGetName, device, text, sizeof text)
QUERY(DeviceGetMemoryInfo, device, &memory)
QUERY(DeviceGetUtilizationRates, whole, &utilization)
QUERY(DeviceGetPowerUsage, whole, &number)
QUERY(DeviceGetMigMode, sliced, &number, &other_number)
QUERY(DeviceGetMigDeviceHandleByIndex, sliced, 0, &a_device)

static nvmlReturn_t query_DeviceGetComputeRunningProcesses_v3(void)
{
    static __typeof__(&nvmlDeviceGetComputeRunningProcesses_v3) call;
    if (!call) {
        call = NVML(nvmlDeviceGetComputeRunningProcesses_v3);
    }
    number = sizeof processes / sizeof processes[0];
    return call(device, &number, processes);
}

/* A GPU instance with its compute instance, and away again. */
static nvmlReturn_t create_and_destroy(void)
{
    static unsigned gi_profile, ci_profile;
    nvmlGpuInstanceProfileInfo_t gi_info;
    nvmlComputeInstanceProfileInfo_t ci_info;
    nvmlGpuInstance_t gi = NULL;
    nvmlComputeInstance_t ci = NULL;
    if (gi_profile == 0) {
        check(NVML(nvmlDeviceGetGpuInstanceProfileInfo)(sliced, PROFILE_SLICE, &gi_info),
              "profile");
        gi_profile = gi_info.id;
    }
    nvmlReturn_t rc = NVML(nvmlDeviceCreateGpuInstance)(sliced, gi_profile, &gi);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    rc = NVML(nvmlGpuInstanceGetComputeInstanceProfileInfo)(gi, PROFILE_SLICE, 0, &ci_info);
    ci_profile = ci_info.id;
    if (rc == NVML_SUCCESS) {
        rc = NVML(nvmlGpuInstanceCreateComputeInstance)(gi, ci_profile, &ci);
    }
    if (rc == NVML_SUCCESS) {
        rc = NVML(nvmlComputeInstanceDestroy)(ci);
    }
    nvmlReturn_t last = NVML(nvmlGpuInstanceDestroy)(gi);
    return rc == NVML_SUCCESS ? last : rc;
}

static const struct row {
    const char *name;
    nvmlReturn_t (*run)(void);
} rows[] = {
    {"DeviceGetHandleByIndex_v2", query_DeviceGetHandleByIndex_v2},
    {"DeviceGetHandleByUUID", query_DeviceGetHandleByUUID},
    {"DeviceGetUUID", query_DeviceGetUUID},
    {"DeviceGetName", query_DeviceGetName},
    {"DeviceGetMemoryInfo", query_DeviceGetMemoryInfo},
    {"DeviceGetUtilizationRates", query_DeviceGetUtilizationRates},
    {"DeviceGetPowerUsage", query_DeviceGetPowerUsage},
    {"DeviceGetMigMode", query_DeviceGetMigMode},
    {"DeviceGetMigDeviceHandleByIndex", query_DeviceGetMigDeviceHandleByIndex},
    {"DeviceGetComputeRunningProcesses_v3", query_DeviceGetComputeRunningProcesses_v3},
    {"create and destroy", create_and_destroy},
};

/* ---- measuring ------------------------------------------------------------------------------ */

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void measure(const struct row *row)
{
    nvmlReturn_t rc = row->run();
    unsigned long calls = 0;
    double begin = now_s(), passed = 0;
    while (rc == NVML_SUCCESS && passed < SECONDS_EACH) {
        for (unsigned i = 0; i < BATCH; i++) {
            rc = row->run();
        }
        calls += BATCH;
        passed = now_s() - begin;
    }
    if (rc != NVML_SUCCESS) {
        printf("%s\tfailed with %d\n", row->name, (int)rc);
    } else {
        printf("%s\t%.0f\n", row->name, (double)calls / passed);
    }
}

static int repeat(const char *name, unsigned long count)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            while (count-- > 0) {
                check(rows[i].run(), name);
            }
            return 0;
        }
    }
    fprintf(stderr, "bench_nvml: nothing is called '%s'\n", name);
    return 2;
}

static void open_library(const char *path)
{
    library = dlopen(path, RTLD_NOW);
    if (!library) {
        fprintf(stderr, "bench_nvml: %s\n", dlerror());
        exit(1);
    }
    check(NVML(nvmlInit_v2)(), "nvmlInit");
    check(NVML(nvmlDeviceGetHandleByIndex_v2)(0, &whole), "GPU 0");
    device = sliced = whole; /* a library that knows no MIG */
    if (NVML(nvmlDeviceGetHandleByIndex_v2)(1, &sliced) != NVML_SUCCESS ||
        NVML(nvmlDeviceGetMigDeviceHandleByIndex)(sliced, 0, &device) != NVML_SUCCESS) {
        device = whole;
    }
    check(NVML(nvmlDeviceGetUUID)(device, uuid, sizeof uuid), "UUID");
}

int main(int argc, char **argv)
{
    if (argc != 2 && argc != 4) {
        fputs("usage: bench_nvml LIBRARY [NAME COUNT]\n", stderr);
        return 2;
    }
    open_library(argv[1]);
    if (argc == 4) {
        return repeat(argv[2], strtoul(argv[3], NULL, 10));
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        measure(&rows[i]);
    }
    return 0;
}
