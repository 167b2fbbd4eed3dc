/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which GPUs and instances a command line means: `-i 0,00000000:3B:00.0,GPU-...`, `-gi 1,2`. Lists
 * have limits, and a piece that names nothing is an error, never skipped.
 */
#include "emulator/smi/smi.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool smi_next_piece(const char **list, char *piece, size_t size)
{
    size_t length;

    if (!*list || **list == '\0') {
        return false;
    }
    length = strcspn(*list, ",");
    while (length > 0 && isspace((unsigned char)**list)) {
        (*list)++;
        length--;
    }
    if (length == 0 || length >= size) {
        return false;
    }
    memcpy(piece, *list, length);
    piece[length] = '\0';
    *list += length;
    while (length > 0 && isspace((unsigned char)piece[length - 1])) {
        piece[--length] = '\0';
    }
    if (**list == ',') {
        (*list)++;
    }
    return true;
}

bool smi_parse_number(const char *text, unsigned max, unsigned *ret)
{
    unsigned long value = 0;

    if (*text == '\0') {
        return false;
    }
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text)) {
            return false;
        }
        value = value * 10 + (unsigned long)(*text - '0');
        if (value > max) {
            return false;
        }
    }
    *ret = (unsigned)value;
    return true;
}

bool smi_ids_parse(const char *list, struct smi_ids *ret)
{
    char piece[16];

    ret->count = 0;
    while (ret->count < SMI_INSTANCE_MAX && smi_next_piece(&list, piece, sizeof(piece))) {
        if (!smi_parse_number(piece, 0xffff, &ret->ids[ret->count])) {
            return false;
        }
        ret->count++;
    }
    return ret->count > 0 && *list == '\0';
}

bool smi_ids_has(const struct smi_ids *ids, unsigned id)
{
    size_t i;

    for (i = 0; i < ids->count; i++) {
        if (ids->ids[i] == id) {
            return true;
        }
    }
    return ids->count == 0;
}

static nvmlReturn_t add_gpu(struct smi *smi, nvmlDevice_t handle)
{
    struct smi_gpu *gpu = &smi->gpus[smi->gpu_count];
    nvmlReturn_t code;
    size_t i;

    code = SMI_CALL(smi, DeviceGetIndex, handle, &gpu->index);
    if (code == NVML_SUCCESS) {
        code = SMI_CALL(smi, DeviceGetPciInfo_v3, handle, &gpu->pci);
    }
    if (code != NVML_SUCCESS) {
        return code;
    }
    for (i = 0; i < smi->gpu_count; i++) {
        if (smi->gpus[i].index == gpu->index) {
            return NVML_SUCCESS;
        }
    }
    gpu->handle = handle;
    smi->gpu_count++;
    return NVML_SUCCESS;
}

int smi_fail_handle(const struct smi *smi, const char *gpu, const char *which, nvmlReturn_t code)
{
    printf("Unable to determine the device handle for %s%s: %s%s\n", gpu, which,
           smi_nvml_text(&smi->nvml, code),
           code == NVML_ERROR_GPU_IS_LOST ? ".  Reboot the system to recover this GPU\n\n" : "");
    return (int)code;
}

int smi_select_all(struct smi *smi)
{
    unsigned count = 0;
    unsigned i;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetCount_v2, &count);

    smi->gpu_count = 0;
    if (code != NVML_SUCCESS || count == 0) {
        printf("No devices were found\n");
        return code == NVML_SUCCESS ? NVML_ERROR_NOT_FOUND : (int)code;
    }
    for (i = 0; i < count && i < SMI_GPU_MAX; i++) {
        nvmlDevice_t handle;
        char which[16];

        code = SMI_CALL(smi, DeviceGetHandleByIndex_v2, i, &handle);
        if (code == NVML_SUCCESS) {
            code = add_gpu(smi, handle);
        }
        if (code != NVML_SUCCESS) {
            (void)snprintf(which, sizeof(which), "%u", i);
            return smi_fail_handle(smi, "GPU", which, code);
        }
    }
    return 0;
}

static nvmlReturn_t find_gpu(const struct smi *smi, const char *which, nvmlDevice_t *ret)
{
    unsigned index;

    if (smi_parse_number(which, 0xffff, &index)) {
        return SMI_CALL(smi, DeviceGetHandleByIndex_v2, index, ret);
    }
    if (strncmp(which, "GPU-", 4) == 0) {
        return SMI_CALL(smi, DeviceGetHandleByUUID, which, ret);
    }
    return SMI_CALL(smi, DeviceGetHandleByPciBusId_v2, which, ret);
}

static bool is_nothing(nvmlReturn_t code)
{
    return code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_INVALID_ARGUMENT;
}

int smi_select(struct smi *smi, const char *list)
{
    char piece[NVML_DEVICE_UUID_BUFFER_SIZE];

    smi->gpu_count = 0;
    while (smi->gpu_count < SMI_GPU_MAX && smi_next_piece(&list, piece, sizeof(piece))) {
        nvmlDevice_t handle;
        nvmlReturn_t code = find_gpu(smi, piece, &handle);

        if (code == NVML_SUCCESS) {
            code = add_gpu(smi, handle);
        }
        if (is_nothing(code)) {
            printf("No devices were found\n");
            return NVML_ERROR_NOT_FOUND;
        }
        if (code != NVML_SUCCESS) {
            return smi_fail_handle(smi, "GPU", piece, code);
        }
    }
    if (smi->gpu_count == 0 || *list != '\0') {
        printf("No devices were found\n");
        return NVML_ERROR_NOT_FOUND;
    }
    return 0;
}

bool smi_mig_enabled(const struct smi *smi, nvmlDevice_t gpu)
{
    unsigned current = 0;
    unsigned pending = 0;

    return SMI_CALL(smi, DeviceGetMigMode, gpu, &current, &pending) == NVML_SUCCESS &&
           current == NVML_DEVICE_MIG_ENABLE;
}

bool smi_mig_supported(const struct smi *smi, nvmlDevice_t gpu)
{
    unsigned current = 0;
    unsigned pending = 0;

    return SMI_CALL(smi, DeviceGetMigMode, gpu, &current, &pending) != NVML_ERROR_NOT_SUPPORTED;
}
