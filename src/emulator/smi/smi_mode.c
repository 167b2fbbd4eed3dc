/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi -mig, -pm and --gpu-reset. A mode change that only becomes pending is no failure: the
 * driver says why and the tool passes that on.
 */
#include "emulator/smi/smi.h"

#include <stdio.h>

static void print_pending(const struct smi *smi, const char *bus, bool enable, nvmlReturn_t why)
{
    printf("Warning: MIG mode is in pending %s state for GPU %s:%s\n",
           enable ? "enable" : "disable", bus, smi_nvml_text(&smi->nvml, why));
    if (why == NVML_ERROR_IN_USE) {
        printf("%s is currently being used by one or more other processes (e.g. CUDA application "
               "or a monitoring application such as another instance of nvidia-smi). Please first "
               "kill all processes using the device and retry the command or reboot the system to "
               "make MIG mode effective.\n",
               bus);
    } else {
        printf("Reboot the system or try nvidia-smi --gpu-reset to make MIG mode effective on GPU "
               "%s\n",
               bus);
    }
}

static void warn_persistence(const struct smi *smi, const struct smi_gpu *gpu)
{
    nvmlEnableState_t persistence = NVML_FEATURE_ENABLED;

    if (SMI_CALL(smi, DeviceGetPersistenceMode, gpu->handle, &persistence) != NVML_SUCCESS ||
        persistence == NVML_FEATURE_ENABLED) {
        return;
    }
    printf("\nWarning: persistence mode is disabled on device %s. See the Known Issues section of "
           "the nvidia-smi(1) man page for more information. Run with [--help | -h] switch to get "
           "more information on how to enable persistence mode.\n",
           gpu->pci.busId);
}

int smi_set_mig_mode(struct smi *smi, bool enable)
{
    int worst = 0;
    size_t i;

    for (i = 0; i < smi->gpu_count; i++) {
        const struct smi_gpu *gpu = &smi->gpus[i];
        nvmlReturn_t activation = NVML_SUCCESS;
        nvmlReturn_t code =
            SMI_CALL(smi, DeviceSetMigMode, gpu->handle,
                     enable ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE, &activation);

        if (code != NVML_SUCCESS) {
            printf("Unable to %s MIG Mode for GPU %s: %s\n", enable ? "enable" : "disable",
                   gpu->pci.busId, smi_nvml_text(&smi->nvml, code));
            if (code != NVML_ERROR_NOT_SUPPORTED) {
                printf("Terminating early due to previous errors.\n");
                return (int)code;
            }
            printf("Treating as warning and moving on.\n");
            worst = (int)code;
        } else if (activation != NVML_SUCCESS) {
            print_pending(smi, gpu->pci.busId, enable, activation);
        } else {
            printf("%s MIG Mode for GPU %s\n", enable ? "Enabled" : "Disabled", gpu->pci.busId);
            warn_persistence(smi, gpu);
        }
    }
    printf("All done.\n");
    return worst;
}

int smi_set_persistence(struct smi *smi, bool enable)
{
    nvmlEnableState_t state = enable ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    size_t i;

    for (i = 0; i < smi->gpu_count; i++) {
        const struct smi_gpu *gpu = &smi->gpus[i];
        nvmlReturn_t code = SMI_CALL(smi, DeviceSetPersistenceMode, gpu->handle, state);

        if (code != NVML_SUCCESS) {
            printf("Unable to set persistence mode for GPU %s: %s\n", gpu->pci.busId,
                   smi_nvml_text(&smi->nvml, code));
            printf("Terminating early due to previous errors.\n");
            return (int)code;
        }
        printf("%s persistence mode for GPU %s.\n", enable ? "Enabled" : "Disabled",
               gpu->pci.busId);
    }
    printf("All done.\n");
    return 0;
}

static void explain_busy(size_t count)
{
    printf("%zu device%s currently being used by one or more other processes (e.g., Fabric "
           "Manager, CUDA application, graphics application such as an X server, or a monitoring "
           "application such as another instance of nvidia-smi). Please first kill all processes "
           "using %s and all compute applications running in the system.\n",
           count, count == 1 ? " is" : "s are", count == 1 ? "this device" : "these devices");
}

int smi_reset_gpus(struct smi *smi)
{
    size_t refused = 0;
    size_t busy = 0;
    size_t i;

    if (!smi->nvml.reset_gpu) {
        printf("GPU reset unavailable: %s\n", smi_nvml_text(&smi->nvml, NVML_ERROR_NOT_SUPPORTED));
        return NVML_ERROR_NOT_SUPPORTED;
    }
    for (i = 0; i < smi->gpu_count; i++) {
        const char *bus = smi->gpus[i].pci.busId;
        nvmlReturn_t code = smi->nvml.reset_gpu(smi->gpus[i].handle);

        if (code == NVML_SUCCESS) {
            printf("GPU %s was successfully reset.\n", bus);
            continue;
        }
        if (code == NVML_ERROR_NO_PERMISSION) {
            printf("GPU reset unavailable: %s\n", smi_nvml_text(&smi->nvml, code));
            return (int)code;
        }
        if (refused++ == 0) {
            printf("The following GPUs could not be reset:\n");
        }
        busy += code == NVML_ERROR_IN_USE;
        printf("  GPU %s: %s\n", bus, smi_nvml_text(&smi->nvml, code));
    }
    if (busy > 0) {
        putchar('\n');
        explain_busy(busy);
    }
    if (refused == 0) {
        printf("All done.\n");
    }
    return refused == 0 ? 0 : SMI_EXIT_RESET_FAILED;
}
