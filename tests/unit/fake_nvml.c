/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A library with just enough of NVML to be opened, and with habits that the real one has on bad
 * days. FAKE_NVML says which: "hang" (a call does not return until fake_release), "mismatch",
 * "not-loaded", "lost" (the second GPU). Compiled with FAKE_OLD it lacks a function that migd
 * cannot do without.
 */
#include "nvml/nvml_abi.h"
#include "nvml/nvml_functions.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT void fake_release(void);
EXPORT unsigned fake_call_count(void);

static atomic_bool released;
static atomic_uint call_count;

EXPORT void fake_release(void)
{
    atomic_store(&released, true);
}

EXPORT unsigned fake_call_count(void)
{
    return atomic_load(&call_count);
}

static bool is_fake(const char *habit)
{
    const char *habits = getenv("FAKE_NVML");

    return habits && strcmp(habits, habit) == 0;
}

static nvmlReturn_t copy(char *buffer, unsigned size, const char *text)
{
    atomic_fetch_add(&call_count, 1);
    if (strlen(text) >= size) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    memcpy(buffer, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlInit_v2(void)
{
    atomic_fetch_add(&call_count, 1);
    if (is_fake("mismatch")) {
        return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    }
    return is_fake("not-loaded") ? NVML_ERROR_DRIVER_NOT_LOADED : NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlShutdown(void)
{
    atomic_fetch_add(&call_count, 1);
    return NVML_SUCCESS;
}

EXPORT const char *nvmlErrorString(nvmlReturn_t result)
{
    return result == NVML_ERROR_LIB_RM_VERSION_MISMATCH ? "Driver/library version mismatch"
           : result == NVML_ERROR_GPU_IS_LOST           ? "GPU is lost"
                                                        : "Some Error";
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    return copy(version, length, "550.90.07");
}

EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count)
{
    atomic_fetch_add(&call_count, 1);
    *count = 2;
    return NVML_SUCCESS;
}

static char devices[2];

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device)
{
    atomic_fetch_add(&call_count, 1);
    if (index == 1 && is_fake("lost")) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    *device = (nvmlDevice_t)(void *)&devices[index];
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length)
{
    for (unsigned i = 0; is_fake("hang") && !atomic_load(&released) && i < 3000; i++) {
        usleep(10000);
    }
    (void)device;
    return copy(name, length, "Fake GPU");
}

#ifndef FAKE_OLD
EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device)
{
    (void)uuid;
    return nvmlDeviceGetHandleByIndex_v2(0, device);
}
#endif

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length)
{
    return copy(uuid, length, (char *)(void *)device == &devices[0] ? "GPU-0" : "GPU-1");
}

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *pci)
{
    (void)device;
    *pci = (nvmlPciInfo_t){.pciDeviceId = 0x12345678};
    return copy(pci->busId, sizeof(pci->busId), "00000000:3B:00.0");
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    atomic_fetch_add(&call_count, 1);
    (void)device;
    *memory = (nvmlMemory_t){.total = 4096ull << 20, .used = 1ull << 20};
    return NVML_SUCCESS;
}
