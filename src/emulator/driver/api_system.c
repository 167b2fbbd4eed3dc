/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls on the node: versions, counting and finding devices, process names.
 *
 * Devices are found by index, bus id in any spelling, serial, and UUID; UUIDs of MIG devices are
 * accepted in the current form and in the one of old drivers, MIG-GPU-<uuid>/<gi>/<ci>.
 */
#include "emulator/entries.h"
#include "emulator/machine/uuid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BRANCH_SIZE 16

nvmlReturn_t emu_SystemGetDriverVersion(struct emu_call *call, char *version, unsigned int length)
{
    return emu_text_out(call->node->driver_version, version, length);
}

nvmlReturn_t emu_SystemGetCudaDriverVersion(struct emu_call *call, int *version)
{
    if (!version) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *version = call->node->cuda_version;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_SystemGetCudaDriverVersion_v2(struct emu_call *call, int *version)
{
    return emu_SystemGetCudaDriverVersion(call, version);
}

nvmlReturn_t emu_SystemGetDriverBranch(struct emu_call *call, nvmlSystemDriverBranchInfo_t *branch,
                                       unsigned int length)
{
    if (!branch || length == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (branch->version != nvmlSystemDriverBranchInfo_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    char text[BRANCH_SIZE];
    const char *version = call->node->driver_version;
    snprintf(text, sizeof text, "r%.*s_00", (int)strcspn(version, "."), version);
    unsigned room = length < sizeof branch->branch ? length : (unsigned)sizeof branch->branch;
    return emu_text_out(text, branch->branch, room);
}

/* ---- processes by pid ----------------------------------------------------------------------- */

static bool read_process_name(const struct emu_call *call, unsigned pid, char *name, size_t size)
{
    for (unsigned i = 0; i < EMU_PROCESS_MAX; i++) {
        struct emu_process process;
        size_t offset = offsetof(struct emu_state, processes) + i * sizeof process;
        if (emu_machine_read_part(call->machine, offset, &process, sizeof process) == 0 &&
            process.pid == pid && emu_process_is_alive(&process)) {
            snprintf(name, size, "%.*s", (int)sizeof process.name - 1, process.name);
            return true;
        }
    }
    return false;
}

nvmlReturn_t emu_SystemGetProcessName(struct emu_call *call, unsigned int pid, char *name,
                                      unsigned int length)
{
    char text[sizeof((struct emu_process *)0)->name];
    if (!name || length == 0 || pid == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!read_process_name(call, pid, text, sizeof text)) {
        return NVML_ERROR_NOT_FOUND;
    }
    snprintf(name, length, "%s", text); /* cut to the caller's room, as the real one does */
    return NVML_SUCCESS;
}

/* ---- devices -------------------------------------------------------------------------------- */

nvmlReturn_t emu_DeviceGetCount_v2(struct emu_call *call, unsigned int *count)
{
    if (!count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *count = emu_visible_before(call, call->node->gpu_count);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetCount(struct emu_call *call, unsigned int *count)
{
    return emu_DeviceGetCount_v2(call, count);
}

/* Hands a GPU out, unless it has fallen off the bus or is not this container's. */
static nvmlReturn_t give_gpu(struct emu_call *call, unsigned gpu, nvmlDevice_t *device)
{
    if (!emu_gpu_is_visible(call, gpu)) {
        return NVML_ERROR_NOT_FOUND;
    }
    nvmlReturn_t rc = emu_resolve(call, EMU_HANDLE_GPU, (uintptr_t)emu_gpu_handle(gpu));
    if (rc == NVML_SUCCESS) {
        *device = emu_gpu_handle(gpu);
    }
    return rc;
}

nvmlReturn_t emu_DeviceGetHandleByIndex_v2(struct emu_call *call, unsigned int index,
                                           nvmlDevice_t *device)
{
    unsigned gpu = emu_visible_gpu(call, index);
    if (!device || gpu >= call->node->gpu_count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return give_gpu(call, gpu, device);
}

nvmlReturn_t emu_DeviceGetHandleByIndex(struct emu_call *call, unsigned int index,
                                        nvmlDevice_t *device)
{
    return emu_DeviceGetHandleByIndex_v2(call, index, device);
}

nvmlReturn_t emu_DeviceGetHandleBySerial(struct emu_call *call, const char *serial,
                                         nvmlDevice_t *device)
{
    if (!serial || !device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        if (*serial && strcmp(call->node->gpus[i].serial, serial) == 0) {
            return give_gpu(call, i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

bool emu_bus_id_parse(const char *text, unsigned long ret[3])
{
    unsigned long fields[3] = {0};
    unsigned count = 0;
    for (;;) {
        size_t digits = strspn(text, "0123456789abcdefABCDEF");
        if (digits == 0 || digits > 8 || count == 3) {
            return false;
        }
        fields[count++] = strtoul(text, NULL, 16);
        text += digits;
        if (*text != ':') {
            break;
        }
        text++;
    }
    if (count < 2 || (*text && strcmp(text, ".0") != 0)) {
        return false;
    }
    ret[0] = count == 3 ? fields[0] : 0;
    ret[1] = fields[count - 2];
    ret[2] = fields[count - 1];
    return true;
}

nvmlReturn_t emu_DeviceGetHandleByPciBusId_v2(struct emu_call *call, const char *bus_id,
                                              nvmlDevice_t *device)
{
    unsigned long wanted[3];
    if (!bus_id || !device || !emu_bus_id_parse(bus_id, wanted)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        const struct emu_gpu_info *info = &call->node->gpus[i];
        if (info->pci_domain == wanted[0] && info->pci_bus == wanted[1] &&
            info->pci_device_number == wanted[2]) {
            return give_gpu(call, i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t emu_DeviceGetHandleByPciBusId(struct emu_call *call, const char *bus_id,
                                           nvmlDevice_t *device)
{
    return emu_DeviceGetHandleByPciBusId_v2(call, bus_id, device);
}

/* ---- by UUID -------------------------------------------------------------------------------- */

static nvmlReturn_t give_mig_device(struct emu_call *call, unsigned gpu, unsigned gi, unsigned ci,
                                    nvmlDevice_t *device)
{
    nvmlReturn_t rc = emu_resolve(call, EMU_HANDLE_GPU, (uintptr_t)emu_gpu_handle(gpu));
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (gi >= EMU_GI_MAX || ci >= EMU_CI_MAX || !call->state.gis[gi].used ||
        !call->state.gis[gi].cis[ci].used || !emu_mig_is_visible(call, gpu, gi, ci)) {
        return NVML_ERROR_NOT_FOUND;
    }
    *device = emu_mig_handle(&call->state, gpu, gi, ci);
    return NVML_SUCCESS;
}

/* "MIG-GPU-<uuid>/<gi>/<ci>" */
static nvmlReturn_t find_by_old_name(struct emu_call *call, const char *text, nvmlDevice_t *device)
{
    const char *name = text + strlen("MIG-");
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        size_t size = strlen(call->node->gpus[i].uuid);
        unsigned gi = 0, ci = 0;
        char rest = 0;
        if (strncmp(name, call->node->gpus[i].uuid, size) == 0 &&
            sscanf(name + size, "/%2u/%2u%c", &gi, &ci, &rest) == 2) {
            return give_mig_device(call, i, gi, ci, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

static bool is_mig_uuid(const char *gpu_uuid, unsigned gi, unsigned ci, const char *text)
{
    char uuid[NVML_DEVICE_UUID_BUFFER_SIZE];
    emu_mig_uuid(gpu_uuid, gi, ci, uuid, sizeof uuid);
    return strcmp(uuid, text) == 0;
}

static nvmlReturn_t find_mig_device(struct emu_call *call, const char *text, nvmlDevice_t *device)
{
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        struct emu_gpu state;
        if (emu_machine_read_gpu(call->machine, i, &state) < 0) {
            return NVML_ERROR_TIMEOUT;
        }
        for (unsigned gi = 0; gi < EMU_GI_MAX; gi++) {
            for (unsigned ci = 0; state.gis[gi].used && ci < EMU_CI_MAX; ci++) {
                if (state.gis[gi].cis[ci].used &&
                    is_mig_uuid(call->node->gpus[i].uuid, gi, ci, text)) {
                    return give_mig_device(call, i, gi, ci, device);
                }
            }
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t emu_DeviceGetHandleByUUID(struct emu_call *call, const char *uuid,
                                       nvmlDevice_t *device)
{
    if (!uuid || !device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (strncmp(uuid, "MIG-GPU-", 8) == 0) {
        return find_by_old_name(call, uuid, device);
    }
    if (strncmp(uuid, "MIG-", 4) == 0) {
        return find_mig_device(call, uuid, device);
    }
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        if (*uuid && strcmp(call->node->gpus[i].uuid, uuid) == 0) {
            return give_gpu(call, i, device);
        }
    }
    return NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t emu_DeviceGetHandleByUUIDV(struct emu_call *call, const nvmlUUID_t *uuid,
                                        nvmlDevice_t *device)
{
    char text[NVML_DEVICE_UUID_ASCII_LEN + 1];
    if (!uuid || !device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (uuid->version != nvmlUUID_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (uuid->type == NVML_UUID_TYPE_ASCII) {
        snprintf(text, sizeof text, "%.*s", (int)sizeof uuid->value.str, uuid->value.str);
        return emu_DeviceGetHandleByUUID(call, text, device);
    }
    if (uuid->type != NVML_UUID_TYPE_BINARY) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    char digits[EMU_UUID_TEXT_SIZE];
    emu_uuid_format(uuid->value.bytes, digits);
    snprintf(text, sizeof text, "GPU-%s", digits);
    nvmlReturn_t rc = emu_DeviceGetHandleByUUID(call, text, device);
    if (rc == NVML_ERROR_NOT_FOUND) {
        snprintf(text, sizeof text, "MIG-%s", digits);
        rc = emu_DeviceGetHandleByUUID(call, text, device);
    }
    return rc;
}
