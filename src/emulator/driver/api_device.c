/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's calls for what a device is: names, numbers, identity, and switches that are not MIG's.
 *
 * Which of them a MIG device answers is in handle-rules.tsv. The PCI calls without the newest
 * suffix keep their short old layouts.
 */
#include "emulator/entries.h"
#include "emulator/machine/uuid.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static nvmlReturn_t number_out(unsigned value, unsigned int *ret)
{
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = value;
    return NVML_SUCCESS;
}

static nvmlReturn_t state_out(bool value, nvmlEnableState_t *ret)
{
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = value ? NVML_FEATURE_ENABLED : NVML_FEATURE_DISABLED;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetName(struct emu_call *call, char *name, unsigned int length)
{
    char text[NVML_DEVICE_NAME_V2_BUFFER_SIZE + sizeof " MIG " + 32];
    if (!call->is_mig_device) {
        return emu_text_out(call->info->name, name, length);
    }
    snprintf(text, sizeof text, "%s MIG %s", call->info->name, emu_call_ci_profile(call)->name);
    return emu_text_out(text, name, length);
}

nvmlReturn_t emu_DeviceGetUUID(struct emu_call *call, char *uuid, unsigned int length)
{
    char text[NVML_DEVICE_UUID_BUFFER_SIZE];
    if (!call->is_mig_device) {
        return emu_text_out(call->info->uuid, uuid, length);
    }
    emu_mig_uuid(call->info->uuid, call->gi, call->ci, text, sizeof text);
    return emu_text_out(text, uuid, length);
}

/*
 * Of a MIG device: its number among those of the GPU, which nvidia-smi shows as "MIG Dev". Of the
 * device in a compute instance's info, whose UUID is the MIG device's, it is the GPU's: nvidia-smi
 * mig -lci takes its GPU column from there.
 */
nvmlReturn_t emu_DeviceGetIndex(struct emu_call *call, unsigned int *index)
{
    unsigned before = 0;
    if (!call->is_mig_device || call->is_ci_device) {
        return number_out(emu_visible_before(call, (unsigned)call->gpu), index);
    }
    for (unsigned gi = 0; gi <= call->gi; gi++) {
        for (unsigned ci = 0; call->state.gis[gi].used && ci < EMU_CI_MAX; ci++) {
            before += (gi < call->gi || ci < call->ci) && call->state.gis[gi].cis[ci].used &&
                      emu_mig_is_visible(call, (unsigned)call->gpu, gi, ci);
        }
    }
    return number_out(before, index);
}

/* A text that may not be known. */
static nvmlReturn_t optional_text(const char *text, char *buffer, unsigned length)
{
    if (!buffer) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return *text ? emu_text_out(text, buffer, length) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t emu_DeviceGetSerial(struct emu_call *call, char *serial, unsigned int length)
{
    return optional_text(call->info->serial, serial, length);
}

nvmlReturn_t emu_DeviceGetVbiosVersion(struct emu_call *call, char *version, unsigned int length)
{
    return optional_text(call->info->vbios, version, length);
}

nvmlReturn_t emu_DeviceGetBoardPartNumber(struct emu_call *call, char *number, unsigned int length)
{
    return optional_text(call->info->part_number, number, length);
}

nvmlReturn_t emu_DeviceGetMinorNumber(struct emu_call *call, unsigned int *minor)
{
    return number_out(call->info->minor, minor);
}

nvmlReturn_t emu_DeviceGetBoardId(struct emu_call *call, unsigned int *id)
{
    return number_out(call->info->pci_domain << 16 | call->info->pci_bus << 8 |
                          call->info->pci_device_number,
                      id);
}

nvmlReturn_t emu_DeviceGetModuleId(struct emu_call *call, unsigned int *id)
{
    return number_out((unsigned)call->gpu, id);
}

nvmlReturn_t emu_DeviceGetMultiGpuBoard(struct emu_call *call, unsigned int *multi)
{
    (void)call;
    return number_out(0, multi);
}

nvmlReturn_t emu_DeviceOnSameBoard(struct emu_call *call, nvmlDevice_t other, int *same)
{
    int self = call->gpu;
    if (!same) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_resolve(call, EMU_HANDLE_GPU, (uintptr_t)other);
    if (rc == NVML_SUCCESS) {
        *same = call->gpu == self;
    }
    return rc;
}

nvmlReturn_t emu_DeviceGetBrand(struct emu_call *call, nvmlBrandType_t *brand)
{
    if (!brand) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *brand = (nvmlBrandType_t)call->info->brand;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetArchitecture(struct emu_call *call, unsigned int *architecture)
{
    return number_out(call->info->architecture, architecture);
}

/* Cores in a multiprocessor, by compute capability (CUDA programming guide). */
nvmlReturn_t emu_DeviceGetNumGpuCores(struct emu_call *call, unsigned int *count)
{
    bool few = call->info->cc_major == 7 || (call->info->cc_major == 8 && !call->info->cc_minor);
    if (call->info->sm_total <= 0) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return number_out((unsigned)call->info->sm_total * (few ? 64 : 128), count);
}

nvmlReturn_t emu_DeviceGetPowerSource(struct emu_call *call, unsigned int *source)
{
    (void)call;
    return number_out(NVML_POWER_SOURCE_AC, source);
}

/* From Turing on, and always of the driver's version. */
static bool has_gsp_firmware(const struct emu_call *call)
{
    return call->info->architecture >= NVML_DEVICE_ARCH_TURING;
}

nvmlReturn_t emu_DeviceGetGspFirmwareMode(struct emu_call *call, unsigned int *enabled,
                                          unsigned int *is_default)
{
    if (!enabled || !is_default) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    number_out(has_gsp_firmware(call), enabled);
    return number_out(1, is_default);
}

nvmlReturn_t emu_DeviceGetGspFirmwareVersion(struct emu_call *call, char *version)
{
    if (!version) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return has_gsp_firmware(call) ? emu_text_out(call->node->driver_version, version,
                                                 NVML_GSP_FIRMWARE_VERSION_BUF_SIZE)
                                  : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t emu_DeviceGetBusType(struct emu_call *call, unsigned int *type)
{
    (void)call;
    return number_out(NVML_BUS_TYPE_PCIE, type);
}

nvmlReturn_t emu_DeviceGetCudaComputeCapability(struct emu_call *call, int *major, int *minor)
{
    if (!major || !minor) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *major = call->info->cc_major;
    *minor = call->info->cc_minor;
    return NVML_SUCCESS;
}

/* ---- PCI ------------------------------------------------------------------------------------ */

static void fill_pci(const struct emu_gpu_info *info, nvmlPciInfo_t *pci)
{
    *pci = (nvmlPciInfo_t){
        .domain = info->pci_domain,
        .bus = info->pci_bus,
        .device = info->pci_device_number,
        .pciDeviceId = info->pci_device,
        .pciSubSystemId = info->pci_subsystem,
    };
    snprintf(pci->busId, sizeof pci->busId, "%08X:%02X:%02X.0", info->pci_domain,
             info->pci_bus & 0xff, info->pci_device_number & 0xff);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "%04X:%02X:%02X.0",
             info->pci_domain & 0xffff, info->pci_bus & 0xff, info->pci_device_number & 0xff);
}

nvmlReturn_t emu_DeviceGetPciInfo_v3(struct emu_call *call, nvmlPciInfo_t *pci)
{
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    fill_pci(call->info, pci);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetPciInfo_v2(struct emu_call *call, nvmlPciInfo_v2_t *pci)
{
    nvmlPciInfo_t full;
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    fill_pci(call->info, &full);
    *pci = (nvmlPciInfo_v2_t){
        .domain = full.domain,
        .bus = full.bus,
        .device = full.device,
        .pciDeviceId = full.pciDeviceId,
        .pciSubSystemId = full.pciSubSystemId,
    };
    memcpy(pci->busId, full.busIdLegacy, sizeof pci->busId);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetPciInfo(struct emu_call *call, nvmlPciInfo_v1_t *pci)
{
    nvmlPciInfo_t full;
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    fill_pci(call->info, &full);
    *pci = (nvmlPciInfo_v1_t){
        .domain = full.domain,
        .bus = full.bus,
        .device = full.device,
        .pciDeviceId = full.pciDeviceId,
    };
    memcpy(pci->busId, full.busIdLegacy, sizeof pci->busId);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetPciInfoExt(struct emu_call *call, nvmlPciInfoExt_t *pci)
{
    nvmlPciInfo_t full;
    if (!pci) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (pci->version != nvmlPciInfoExt_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    fill_pci(call->info, &full);
    *pci = (nvmlPciInfoExt_t){
        .version = nvmlPciInfoExt_v1,
        .domain = full.domain,
        .bus = full.bus,
        .device = full.device,
        .pciDeviceId = full.pciDeviceId,
        .pciSubSystemId = full.pciSubSystemId,
        .baseClass = 0x03, /* display controller, 3D */
        .subClass = 0x02,
    };
    memcpy(pci->busId, full.busId, sizeof pci->busId);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetCurrPcieLinkGeneration(struct emu_call *call, unsigned int *generation)
{
    return number_out(emu_known(call->info->pcie_generation), generation);
}

nvmlReturn_t emu_DeviceGetMaxPcieLinkGeneration(struct emu_call *call, unsigned int *generation)
{
    return number_out(emu_known(call->info->pcie_generation), generation);
}

nvmlReturn_t emu_DeviceGetGpuMaxPcieLinkGeneration(struct emu_call *call, unsigned int *generation)
{
    return number_out(emu_known(call->info->pcie_generation), generation);
}

nvmlReturn_t emu_DeviceGetCurrPcieLinkWidth(struct emu_call *call, unsigned int *width)
{
    return number_out(emu_known(call->info->pcie_width), width);
}

nvmlReturn_t emu_DeviceGetMaxPcieLinkWidth(struct emu_call *call, unsigned int *width)
{
    return number_out(emu_known(call->info->pcie_width), width);
}

nvmlReturn_t emu_DeviceGetPcieReplayCounter(struct emu_call *call, unsigned int *count)
{
    (void)call;
    return number_out(0, count);
}

nvmlReturn_t emu_DeviceGetTopologyCommonAncestor(struct emu_call *call, nvmlDevice_t other,
                                                 nvmlGpuTopologyLevel_t *level)
{
    int self = call->gpu;
    if (!level) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    nvmlReturn_t rc = emu_resolve(call, EMU_HANDLE_GPU, (uintptr_t)other);
    if (rc == NVML_SUCCESS) {
        *level = call->gpu == self ? NVML_TOPOLOGY_INTERNAL : NVML_TOPOLOGY_NODE;
    }
    return rc;
}

/* ---- affinity: every GPU is near every processor and memory node 0 -------------------------- */

#define BITS_PER_WORD 64
#define MASK_WORDS_MAX 1024

static nvmlReturn_t mask_out(unsigned bit_count, unsigned int word_count, unsigned long long *mask)
{
    if (!mask || word_count == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (word_count < (bit_count + BITS_PER_WORD - 1) / BITS_PER_WORD) {
        return NVML_ERROR_INSUFFICIENT_SIZE;
    }
    /* Nobody has more processors; a count that is rubbish does no harm. */
    for (unsigned i = 0; i < word_count && i < MASK_WORDS_MAX; i++) {
        unsigned first = i * BITS_PER_WORD;
        unsigned left = bit_count > first ? bit_count - first : 0;
        mask[i] = left >= BITS_PER_WORD ? ~0ull : (1ull << left) - 1;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetCpuAffinity(struct emu_call *call, unsigned int word_count,
                                      unsigned long long *mask)
{
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    (void)call;
    return mask_out(processors > 0 ? (unsigned)processors : 1, word_count, mask);
}

nvmlReturn_t emu_DeviceGetCpuAffinityWithinScope(struct emu_call *call, unsigned int word_count,
                                                 unsigned long long *mask, unsigned int scope)
{
    return scope > NVML_AFFINITY_SCOPE_SOCKET ? NVML_ERROR_INVALID_ARGUMENT
                                              : emu_DeviceGetCpuAffinity(call, word_count, mask);
}

nvmlReturn_t emu_DeviceGetMemoryAffinity(struct emu_call *call, unsigned int word_count,
                                         unsigned long long *mask, unsigned int scope)
{
    (void)call;
    return scope > NVML_AFFINITY_SCOPE_SOCKET ? NVML_ERROR_INVALID_ARGUMENT
                                              : mask_out(1, word_count, mask);
}

/* ---- switches ------------------------------------------------------------------------------- */

nvmlReturn_t emu_DeviceGetPersistenceMode(struct emu_call *call, nvmlEnableState_t *mode)
{
    return state_out(call->state.persistence, mode);
}

/* One byte of the GPU's state that a privileged call may set. */
static nvmlReturn_t set_byte(struct emu_call *call, size_t offset, unsigned value)
{
    struct emu_transaction change;
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    *((unsigned char *)&change.state->gpus[call->gpu] + offset) = (unsigned char)value;
    return emu_change_end(&change, NVML_SUCCESS);
}

nvmlReturn_t emu_DeviceSetPersistenceMode(struct emu_call *call, nvmlEnableState_t mode)
{
    if ((unsigned)mode > NVML_FEATURE_ENABLED) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return set_byte(call, offsetof(struct emu_gpu, persistence), (unsigned)mode);
}

nvmlReturn_t emu_DeviceGetComputeMode(struct emu_call *call, nvmlComputeMode_t *mode)
{
    if (!mode) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *mode = (nvmlComputeMode_t)call->state.compute_mode;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceSetComputeMode(struct emu_call *call, nvmlComputeMode_t mode)
{
    if ((unsigned)mode >= NVML_COMPUTEMODE_COUNT) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return set_byte(call, offsetof(struct emu_gpu, compute_mode), (unsigned)mode);
}

nvmlReturn_t emu_DeviceGetEccMode(struct emu_call *call, nvmlEnableState_t *current,
                                  nvmlEnableState_t *pending)
{
    if (!current || !pending) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->info->ecc_capable) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    state_out(call->state.ecc, current);
    return state_out(call->state.ecc_pending, pending);
}

nvmlReturn_t emu_DeviceSetEccMode(struct emu_call *call, nvmlEnableState_t mode)
{
    if ((unsigned)mode > NVML_FEATURE_ENABLED) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!call->info->ecc_capable) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    return set_byte(call, offsetof(struct emu_gpu, ecc_pending), (unsigned)mode);
}

nvmlReturn_t emu_DeviceGetDefaultEccMode(struct emu_call *call, nvmlEnableState_t *mode)
{
    return call->info->ecc_capable ? state_out(true, mode) : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t emu_DeviceGetDisplayMode(struct emu_call *call, nvmlEnableState_t *mode)
{
    (void)call;
    return state_out(false, mode);
}

nvmlReturn_t emu_DeviceGetDisplayActive(struct emu_call *call, nvmlEnableState_t *active)
{
    (void)call;
    return state_out(false, active);
}

nvmlReturn_t emu_DeviceGetVirtualizationMode(struct emu_call *call,
                                             nvmlGpuVirtualizationMode_t *mode)
{
    (void)call;
    if (!mode) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *mode = NVML_GPU_VIRTUALIZATION_MODE_NONE;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetAddressingMode(struct emu_call *call, nvmlDeviceAddressingMode_t *mode)
{
    (void)call;
    if (!mode) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (mode->version != nvmlDeviceAddressingMode_v1) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    mode->value = NVML_DEVICE_ADDRESSING_MODE_NONE;
    return NVML_SUCCESS;
}

/* ---- fabric: none of these boards is part of one -------------------------------------------- */

nvmlReturn_t emu_DeviceGetGpuFabricInfo(struct emu_call *call, nvmlGpuFabricInfo_t *info)
{
    (void)call;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *info = (nvmlGpuFabricInfo_t){.state = NVML_GPU_FABRIC_STATE_NOT_SUPPORTED};
    return NVML_SUCCESS;
}

nvmlReturn_t emu_DeviceGetGpuFabricInfoV(struct emu_call *call, nvmlGpuFabricInfoV_t *info)
{
    (void)call;
    if (!info) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned version = info->version;
    if (version != nvmlGpuFabricInfo_v2 && version != nvmlGpuFabricInfo_v3) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    /* Version 3 is version 2 with a field behind; both are zero here but for the version. */
    memset((void *)info, 0,
           version == nvmlGpuFabricInfo_v2 ? sizeof(nvmlGpuFabricInfo_v2_t) : sizeof *info);
    info->version = version;
    return NVML_SUCCESS;
}
