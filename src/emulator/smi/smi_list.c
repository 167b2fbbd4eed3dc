/* SPDX-License-Identifier: Apache-2.0 */
/* nvidia-smi -L: each GPU with its MIG devices, in the driver's order. */
#include "emulator/smi/smi.h"

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

static int list_gpu(const struct smi *smi, unsigned index)
{
    nvmlDevice_t gpu;
    char name[SMI_NAME_SIZE];
    char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
    char which[16];
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetHandleByIndex_v2, index, &gpu);

    if (code != NVML_SUCCESS) {
        (void)snprintf(which, sizeof(which), "%u", index);
        return smi_fail_handle(smi, "gpu ", which, code);
    }
    code = SMI_CALL(smi, DeviceGetName, gpu, name, sizeof(name));
    if (code == NVML_SUCCESS) {
        code = SMI_CALL(smi, DeviceGetUUID, gpu, uuid, sizeof(uuid));
    }
    if (code != NVML_SUCCESS) {
        printf("Unable to determine the device name of gpu %u: %s\n", index,
               smi_nvml_text(&smi->nvml, code));
        return (int)code;
    }
    printf("GPU %u: %s (UUID: %s)\n", index, name, uuid);
    list_mig_devices(smi, gpu);
    return 0;
}

/* A GPU that cannot be had does not keep the others from being listed. */
int smi_show_list(const struct smi *smi)
{
    unsigned count = 0;
    unsigned i;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetCount_v2, &count);
    int status = (int)code;

    if (code != NVML_SUCCESS) {
        puts("No devices were found");
    }
    for (i = 0; i < count; i++) {
        int one = list_gpu(smi, i);

        status = one != 0 ? one : status;
    }
    return status;
}
