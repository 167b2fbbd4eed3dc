/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML as nvidia-smi uses it: the library by its SONAME, as the loader finds it, and a table of
 * its functions. A library may lack any of them; SMI_CALL then answers as NVML does for a missing
 * function.
 */
#ifndef MIG_EMULATOR_SMI_NVML_H
#define MIG_EMULATOR_SMI_NVML_H

#include "nvml/nvml_abi.h"
#include "nvml/nvml_functions.h"

#define SMI_NVML_FUNCTIONS(X)                          \
    X(Init_v2)                                         \
    X(Shutdown)                                        \
    X(ErrorString)                                     \
    X(SystemGetDriverVersion)                          \
    X(SystemGetNVMLVersion)                            \
    X(SystemGetCudaDriverVersion)                      \
    X(SystemGetProcessName)                            \
    X(DeviceGetCount_v2)                               \
    X(DeviceGetHandleByIndex_v2)                       \
    X(DeviceGetHandleByPciBusId_v2)                    \
    X(DeviceGetHandleByUUID)                           \
    X(DeviceGetIndex)                                  \
    X(DeviceGetName)                                   \
    X(DeviceGetUUID)                                   \
    X(DeviceGetSerial)                                 \
    X(DeviceGetPciInfo_v3)                             \
    X(DeviceGetMinorNumber)                            \
    X(DeviceGetVbiosVersion)                           \
    X(DeviceGetMigMode)                                \
    X(DeviceSetMigMode)                                \
    X(DeviceGetMaxMigDeviceCount)                      \
    X(DeviceGetMigDeviceHandleByIndex)                 \
    X(DeviceGetGpuInstanceId)                          \
    X(DeviceGetComputeInstanceId)                      \
    X(DeviceGetAttributes_v2)                          \
    X(DeviceGetMemoryInfo)                             \
    X(DeviceGetMemoryInfo_v2)                          \
    X(DeviceGetBAR1MemoryInfo)                         \
    X(DeviceGetPersistenceMode)                        \
    X(DeviceSetPersistenceMode)                        \
    X(DeviceGetDisplayActive)                          \
    X(DeviceGetDisplayMode)                            \
    X(DeviceGetFanSpeed)                               \
    X(DeviceGetTemperature)                            \
    X(DeviceGetPerformanceState)                       \
    X(DeviceGetPowerUsage)                             \
    X(DeviceGetEnforcedPowerLimit)                     \
    X(DeviceGetUtilizationRates)                       \
    X(DeviceGetComputeMode)                            \
    X(DeviceGetEccMode)                                \
    X(DeviceGetTotalEccErrors)                         \
    X(DeviceGetComputeRunningProcesses_v3)             \
    X(DeviceGetGraphicsRunningProcesses_v3)            \
    X(DeviceGetCudaComputeCapability)                  \
    X(DeviceGetClockInfo)                              \
    X(DeviceGetMaxClockInfo)                           \
    X(DeviceGetCurrPcieLinkGeneration)                 \
    X(DeviceGetMaxPcieLinkGeneration)                  \
    X(DeviceGetCurrPcieLinkWidth)                      \
    X(DeviceGetMaxPcieLinkWidth)                       \
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

#define SMI_DECLARE(name) __typeof__(nvml##name) *name; /* NOLINT(bugprone-macro-parentheses) */

struct smi_nvml {
    void *library;
    SMI_NVML_FUNCTIONS(SMI_DECLARE)
    /* The emulated library's own: resets a GPU, as the kernel driver does for nvidia-smi. */
    nvmlReturn_t (*reset_gpu)(nvmlDevice_t device);
};

#undef SMI_DECLARE

#define SMI_CALL(smi, name, ...) \
    ((smi)->nvml.name ? (smi)->nvml.name(__VA_ARGS__) : NVML_ERROR_FUNCTION_NOT_FOUND)

/* Loads and initialises the library. Prints what is wrong and returns the exit status, or 0. */
int smi_nvml_open(struct smi_nvml *nvml);
void smi_nvml_close(struct smi_nvml *nvml);

/* nvmlErrorString, which works for every code. */
const char *smi_nvml_text(const struct smi_nvml *nvml, nvmlReturn_t code);

#endif
