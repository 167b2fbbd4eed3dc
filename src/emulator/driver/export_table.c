/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private table through which NVIDIA's own nvidia-smi does what NVML has no calls for: finding
 * GPUs by number or bus id, processes with their names, and resets.
 *
 * The first word of the table is its size in bytes, every other one a function. Slots have kept
 * their places from driver 535 on. What is known of a slot was seen from the calls that unmodified
 * nvidia-smi 535 and 550 make; all others answer success and write nothing, which nvidia-smi takes
 * for "nothing to tell". A slot must not write through an argument whose meaning is not known:
 * some are plain numbers.
 */
#include "emulator/entries.h"
#include "nvml/nvml_functions.h"
#include <stdio.h>
#include <string.h>

#define SLOT_COUNT 251 /* as in driver 550; 535 has 245 and asks for none of the last six */
#define GUID_SIZE 16
#define PROCESS_NAME_SIZE 4096

/* What slots 213 to 215 fill. */
struct private_process {
    uint32_t pid, reserved;
    uint64_t memory_bytes;
    uint32_t gi, ci;
    uint64_t protected_memory_bytes;
    char name[PROCESS_NAME_SIZE];
};
_Static_assert(sizeof(struct private_process) == 4128, "stride seen in nvidia-smi");

typedef nvmlReturn_t any_slot(void);
typedef nvmlReturn_t parse_slot(const char *, unsigned *, unsigned *, unsigned *, unsigned *);
typedef nvmlReturn_t place_slot(unsigned, unsigned *, unsigned *, unsigned *);
typedef nvmlReturn_t index_slot(unsigned, nvmlDevice_t *, unsigned);
typedef nvmlReturn_t number_slot(nvmlDevice_t, unsigned *);
typedef nvmlReturn_t level_slot(const void *, const void *, unsigned *);
typedef nvmlReturn_t process_slot(nvmlDevice_t, unsigned *, struct private_process *);
typedef nvmlReturn_t reset_slot(unsigned, const nvmlDevice_t *, nvmlReturn_t *);

union slot {
    uintptr_t size;
    any_slot *any;
    parse_slot *parse;
    place_slot *place;
    index_slot *index;
    number_slot *number;
    level_slot *level;
    process_slot *process;
    reset_slot *reset;
};

/* For figures that nvidia-smi would otherwise show from its stack. */
static nvmlReturn_t refuse(void)
{
    return NVML_ERROR_NOT_SUPPORTED;
}

static nvmlReturn_t do_nothing(void)
{
    return NVML_SUCCESS;
}

/* ---- finding GPUs --------------------------------------------------------------------------- */

static nvmlReturn_t parse_bus_id(const char *text, unsigned *domain, unsigned *bus,
                                 unsigned *device, unsigned *function)
{
    unsigned long fields[3];

    if (!text || !domain || !bus || !device || !function || !emu_bus_id_parse(text, fields)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *domain = (unsigned)fields[0];
    *bus = (unsigned)fields[1];
    *device = (unsigned)fields[2];
    *function = 0;
    return NVML_SUCCESS;
}

static nvmlReturn_t get_handle(unsigned index, nvmlDevice_t *device, unsigned flags)
{
    (void)flags;
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

static nvmlReturn_t get_place(unsigned index, unsigned *domain, unsigned *bus, unsigned *device)
{
    nvmlDevice_t handle;
    nvmlPciInfo_t pci;
    nvmlReturn_t rc;

    if (!domain || !bus || !device) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = nvmlDeviceGetHandleByIndex_v2(index, &handle);
    if (rc == NVML_SUCCESS) {
        rc = nvmlDeviceGetPciInfo_v3(handle, &pci);
    }
    if (rc == NVML_SUCCESS) {
        *domain = pci.domain;
        *bus = pci.bus;
        *device = pci.device;
    }
    return rc;
}

/* What topo -m shows: 0 PIX, 1 PXB, 2 PHB, 3 NODE, 4 SYS, then NV1 and on. GPUs here share a node,
 * as nvmlDeviceGetTopologyCommonAncestor says. */
#define LEVEL_NODE 3

static nvmlReturn_t get_common_level(const void *first, const void *second, unsigned *level)
{
    if (!first || !second || !level) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *level = LEVEL_NODE;
    return NVML_SUCCESS;
}

static nvmlReturn_t get_enforced_limit(nvmlDevice_t device, unsigned *milliwatts)
{
    return nvmlDeviceGetEnforcedPowerLimit(device, milliwatts);
}

/* How far the GPU is from slowing down. */
static nvmlReturn_t get_margin(nvmlDevice_t device, unsigned *celsius)
{
    nvmlMarginTemperature_t margin = {.version = nvmlMarginTemperature_v1};
    nvmlReturn_t rc = nvmlDeviceGetMarginTemperature(device, &margin);

    if (rc == NVML_SUCCESS && celsius) {
        *celsius = (unsigned)margin.marginTemperature;
    }
    return celsius ? rc : NVML_ERROR_INVALID_ARGUMENT;
}

static nvmlReturn_t get_host_generation(nvmlDevice_t device, unsigned *generation)
{
    return nvmlDeviceGetMaxPcieLinkGeneration(device, generation);
}

/* ---- processes ------------------------------------------------------------------------------ */

typedef nvmlReturn_t process_list(nvmlDevice_t, unsigned *, nvmlProcessInfo_t *);

static nvmlReturn_t list(process_list *query, nvmlDevice_t device, unsigned *count,
                         struct private_process *ret)
{
    nvmlProcessInfo_t infos[EMU_PROCESS_MAX];
    unsigned found = EMU_PROCESS_MAX;
    nvmlReturn_t rc;

    if (!count || (*count > 0 && !ret)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    rc = query(device, &found, infos);
    if (rc == NVML_SUCCESS && found > *count) {
        rc = NVML_ERROR_INSUFFICIENT_SIZE;
    }
    for (unsigned i = 0; rc == NVML_SUCCESS && i < found; i++) {
        memset(&ret[i], 0, sizeof(ret[i]));
        ret[i].pid = infos[i].pid;
        ret[i].memory_bytes = infos[i].usedGpuMemory;
        ret[i].gi = infos[i].gpuInstanceId;
        ret[i].ci = infos[i].computeInstanceId;
        if (nvmlSystemGetProcessName(infos[i].pid, ret[i].name, sizeof(ret[i].name)) !=
            NVML_SUCCESS) {
            (void)snprintf(ret[i].name, sizeof(ret[i].name), "[Not Found]");
        }
    }
    *count = found;
    return rc;
}

static nvmlReturn_t list_compute(nvmlDevice_t device, unsigned *count, struct private_process *ret)
{
    return list(nvmlDeviceGetComputeRunningProcesses_v3, device, count, ret);
}

static nvmlReturn_t list_graphics(nvmlDevice_t device, unsigned *count, struct private_process *ret)
{
    return list(nvmlDeviceGetGraphicsRunningProcesses_v3, device, count, ret);
}

static nvmlReturn_t list_mps(nvmlDevice_t device, unsigned *count, struct private_process *ret)
{
    return list(nvmlDeviceGetMPSComputeRunningProcesses_v3, device, count, ret);
}

/* ---- resets --------------------------------------------------------------------------------- */

/* UNKNOWN makes nvidia-smi look at each GPU's code. */
static nvmlReturn_t reset_gpus(unsigned count, const nvmlDevice_t *devices, nvmlReturn_t *codes)
{
    nvmlReturn_t rc = NVML_SUCCESS;

    if (!devices || !codes || count > EMU_GPU_MAX) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < count; i++) {
        codes[i] = migemu_reset_gpu(devices[i]);
        if (codes[i] == NVML_ERROR_NO_PERMISSION) {
            return codes[i];
        }
        if (codes[i] != NVML_SUCCESS) {
            rc = NVML_ERROR_UNKNOWN;
        }
    }
    return rc;
}

/* ---- the table ------------------------------------------------------------------------------ */

static const union slot table[SLOT_COUNT] = {
    [0] = {.size = SLOT_COUNT * sizeof(union slot)},
    [1 ... 11] = {.any = do_nothing},
    [12] = {.parse = parse_bus_id},
    [13 ... 22] = {.any = do_nothing}, /* 20: is it the primary GPU, which cannot be reset? No. */
    [23] = {.level = get_common_level},
    [24 ... 74] = {.any = do_nothing},
    [75] = {.place = get_place},
    [76 ... 80] = {.any = do_nothing},
    [81] = {.index = get_handle},
    [82 ... 107] = {.any = do_nothing},
    [108] = {.number = get_enforced_limit},
    [109 ... 167] = {.any = do_nothing},
    [168] = {.reset = reset_gpus},
    [169 ... 208] = {.any = do_nothing}, /* 182 to 184: making, asking, freeing reset groups */
    [209] = {.any = refuse},             /* a voltage */
    [210 ... 212] = {.any = do_nothing},
    [213] = {.process = list_compute},
    [214] = {.process = list_graphics},
    [215] = {.process = list_mps},
    [216 ... 229] = {.any = do_nothing},
    [230] = {.number = get_host_generation},
    [231] = {.any = do_nothing},
    [232] = {.any = refuse}, /* a deferred memory clock */
    [233 ... 239] = {.any = do_nothing},
    [240] = {.number = get_margin},
    [241 ... 250] = {.any = do_nothing},
};

/* Works before nvmlInit, as in the real library. */
EMU_EXPORT nvmlReturn_t nvmlInternalGetExportTable(const void **ret, const unsigned char *guid)
{
    static const unsigned char known[GUID_SIZE] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                                   0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};

    if (!ret || !guid || memcmp(guid, known, sizeof(known)) != 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = table;
    return NVML_SUCCESS;
}
