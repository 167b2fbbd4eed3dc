/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists the MIG devices of every GPU: a program that knows nothing of the emulator.
 *
 *     cc slices.c -o slices -lnvidia-ml && migemu run NODE -- ./slices
 */
#include <nvml.h>
#include <stdio.h>

static void show_device(nvmlDevice_t device)
{
    char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
    nvmlMemory_t memory;

    if (nvmlDeviceGetUUID(device, uuid, sizeof(uuid)) == NVML_SUCCESS &&
        nvmlDeviceGetMemoryInfo(device, &memory) == NVML_SUCCESS) {
        printf("  %s %llu MiB\n", uuid, memory.total >> 20);
    }
}

static void show_gpu(unsigned int index, nvmlDevice_t gpu)
{
    char name[NVML_DEVICE_NAME_V2_BUFFER_SIZE];
    unsigned int max = 0, count = 0, i;
    nvmlDevice_t device;

    if (nvmlDeviceGetName(gpu, name, sizeof(name)) != NVML_SUCCESS) {
        return;
    }
    nvmlDeviceGetMaxMigDeviceCount(gpu, &max);
    for (i = 0; i < max; i++) {
        count += nvmlDeviceGetMigDeviceHandleByIndex(gpu, i, &device) == NVML_SUCCESS;
    }
    printf("GPU %u %s: %u MIG devices\n", index, name, count);
    for (i = 0; i < max; i++) {
        if (nvmlDeviceGetMigDeviceHandleByIndex(gpu, i, &device) == NVML_SUCCESS) {
            show_device(device);
        }
    }
}

int main(void)
{
    unsigned int count = 0, i;
    nvmlDevice_t gpu;
    nvmlReturn_t rc = nvmlInit();

    if (rc != NVML_SUCCESS) {
        fprintf(stderr, "nvmlInit: %s\n", nvmlErrorString(rc));
        return 1;
    }
    nvmlDeviceGetCount(&count);
    for (i = 0; i < count; i++) {
        if (nvmlDeviceGetHandleByIndex(i, &gpu) == NVML_SUCCESS) {
            show_gpu(i, gpu);
        }
    }
    return nvmlShutdown() == NVML_SUCCESS ? 0 : 1;
}
