/* SPDX-License-Identifier: Apache-2.0 */
/* nvidia-smi -L: each GPU with its MIG devices, in the driver's order. */
#include "emulator/smi.h"

#include <stdio.h>
#include <string.h>

const char *smi_mig_name(const char *device_name)
{
    const char *found = strstr(device_name, " MIG ");

    return found ? found + strlen(" MIG ") : device_name;
}

static void list_mig_devices(const struct smi *smi, nvmlDevice_t gpu)
{
    unsigned max = 0;
    unsigned i;

    if (SMI_CALL(smi, DeviceGetMaxMigDeviceCount, gpu, &max) != NVML_SUCCESS) {
        return;
    }
    for (i = 0; i < max; i++) {
        nvmlDevice_t device;
        char name[SMI_NAME_SIZE];
        char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];

        if (SMI_CALL(smi, DeviceGetMigDeviceHandleByIndex, gpu, i, &device) != NVML_SUCCESS ||
            SMI_CALL(smi, DeviceGetName, device, name, sizeof(name)) != NVML_SUCCESS ||
            SMI_CALL(smi, DeviceGetUUID, device, uuid, sizeof(uuid)) != NVML_SUCCESS) {
            continue;
        }
        printf("  MIG %-11s Device %2u: (UUID: %s)\n", smi_mig_name(name), i, uuid);
    }
}

int smi_show_list(struct smi *smi)
{
    size_t i;

    for (i = 0; i < smi->gpu_count; i++) {
        const struct smi_gpu *gpu = &smi->gpus[i];
        char name[SMI_NAME_SIZE];
        char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
        nvmlReturn_t code = SMI_CALL(smi, DeviceGetName, gpu->handle, name, sizeof(name));

        if (code == NVML_SUCCESS) {
            code = SMI_CALL(smi, DeviceGetUUID, gpu->handle, uuid, sizeof(uuid));
        }
        if (code != NVML_SUCCESS) {
            printf("Unable to determine the device name of gpu %s: %s\n", gpu->pci.busId,
                   smi_nvml_text(&smi->nvml, code));
            return (int)code;
        }
        printf("GPU %u: %s (UUID: %s)\n", gpu->index, name, uuid);
        list_mig_devices(smi, gpu->handle);
    }
    return 0;
}
