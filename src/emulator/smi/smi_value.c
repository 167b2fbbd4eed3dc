/* SPDX-License-Identifier: Apache-2.0 */
/* The facts that --query-gpu and -q show, one small reader each, in one table. */
#include "emulator/smi/smi_value.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#define MIB (1024ULL * 1024ULL)

#define READER(name)                                                                        \
    static nvmlReturn_t name(const struct smi *smi, const struct smi_gpu *gpu, char *value, \
                             size_t size)

/* Readers of a text that the driver gives as such. */
#define TEXT_READER(name, function)                                         \
    READER(name)                                                            \
    {                                                                       \
        return SMI_CALL(smi, function, gpu->handle, value, (unsigned)size); \
    }

/* Readers of one unsigned number. */
#define NUMBER_READER(name, function)                                      \
    READER(name)                                                           \
    {                                                                      \
        unsigned number = 0;                                               \
        nvmlReturn_t code = SMI_CALL(smi, function, gpu->handle, &number); \
                                                                           \
        (void)snprintf(value, size, "%u", number);                         \
        return code;                                                       \
    }

/* Readers of a switch. */
#define SWITCH_READER(name, function)                                                              \
    READER(name)                                                                                   \
    {                                                                                              \
        nvmlEnableState_t state = NVML_FEATURE_DISABLED;                                           \
        nvmlReturn_t code = SMI_CALL(smi, function, gpu->handle, &state);                          \
                                                                                                   \
        (void)snprintf(value, size, "%s", state == NVML_FEATURE_ENABLED ? "Enabled" : "Disabled"); \
        return code;                                                                               \
    }

TEXT_READER(read_name, DeviceGetName)
TEXT_READER(read_uuid, DeviceGetUUID)
TEXT_READER(read_serial, DeviceGetSerial)
TEXT_READER(read_vbios, DeviceGetVbiosVersion)
NUMBER_READER(read_minor, DeviceGetMinorNumber)
NUMBER_READER(read_fan, DeviceGetFanSpeed)
NUMBER_READER(read_link_generation, DeviceGetCurrPcieLinkGeneration)
NUMBER_READER(read_link_generation_max, DeviceGetMaxPcieLinkGeneration)
NUMBER_READER(read_link_width, DeviceGetCurrPcieLinkWidth)
NUMBER_READER(read_link_width_max, DeviceGetMaxPcieLinkWidth)
SWITCH_READER(read_persistence, DeviceGetPersistenceMode)
SWITCH_READER(read_display_active, DeviceGetDisplayActive)
SWITCH_READER(read_display_mode, DeviceGetDisplayMode)

void smi_format_time(char *text, size_t size)
{
    time_t now = time(NULL);
    struct tm tm;

    if (!localtime_r(&now, &tm) || strftime(text, size, "%a %b %e %H:%M:%S %Y", &tm) == 0) {
        text[0] = '\0';
    }
}

READER(read_timestamp)
{
    struct timeval now;
    char seconds[64] = "";
    struct tm tm;

    (void)smi;
    (void)gpu;
    (void)gettimeofday(&now, NULL);
    if (localtime_r(&now.tv_sec, &tm)) {
        (void)strftime(seconds, sizeof(seconds), "%Y/%m/%d %H:%M:%S", &tm);
    }
    (void)snprintf(value, size, "%s.%03ld", seconds, (long)(now.tv_usec / 1000));
    return NVML_SUCCESS;
}

READER(read_driver)
{
    (void)gpu;
    (void)snprintf(value, size, "%s", smi->driver_version);
    return NVML_SUCCESS;
}

READER(read_count)
{
    unsigned count = 0;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetCount_v2, &count);

    (void)gpu;
    (void)snprintf(value, size, "%u", count);
    return code;
}

READER(read_index)
{
    (void)smi;
    (void)snprintf(value, size, "%u", gpu->index);
    return NVML_SUCCESS;
}

READER(read_bus_id)
{
    (void)smi;
    (void)snprintf(value, size, "%s", gpu->pci.busId);
    return NVML_SUCCESS;
}

READER(read_pci_domain)
{
    (void)smi;
    (void)snprintf(value, size, "0x%04X", gpu->pci.domain);
    return NVML_SUCCESS;
}

READER(read_pci_bus)
{
    (void)smi;
    (void)snprintf(value, size, "0x%02X", gpu->pci.bus);
    return NVML_SUCCESS;
}

READER(read_pci_device)
{
    (void)smi;
    (void)snprintf(value, size, "0x%02X", gpu->pci.device);
    return NVML_SUCCESS;
}

READER(read_device_id)
{
    (void)smi;
    (void)snprintf(value, size, "0x%08X", gpu->pci.pciDeviceId);
    return NVML_SUCCESS;
}

READER(read_subsystem_id)
{
    (void)smi;
    (void)snprintf(value, size, "0x%08X", gpu->pci.pciSubSystemId);
    return NVML_SUCCESS;
}

READER(read_pstate)
{
    nvmlPstates_t pstate = NVML_PSTATE_UNKNOWN;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetPerformanceState, gpu->handle, &pstate);

    (void)snprintf(value, size, "P%u", (unsigned)pstate);
    return code;
}

static nvmlReturn_t read_memory(const struct smi *smi, const struct smi_gpu *gpu,
                                nvmlMemory_v2_t *memory)
{
    memset(memory, 0, sizeof(*memory));
    memory->version = nvmlMemory_v2;
    return SMI_CALL(smi, DeviceGetMemoryInfo_v2, gpu->handle, memory);
}

#define MEMORY_READER(name, member)                               \
    READER(name)                                                  \
    {                                                             \
        nvmlMemory_v2_t memory;                                   \
        nvmlReturn_t code = read_memory(smi, gpu, &memory);       \
                                                                  \
        (void)snprintf(value, size, "%llu", memory.member / MIB); \
        return code;                                              \
    }

MEMORY_READER(read_memory_total, total)
MEMORY_READER(read_memory_reserved, reserved)
MEMORY_READER(read_memory_used, used)
MEMORY_READER(read_memory_free, free)

#define BAR1_READER(name, member)                                                       \
    READER(name)                                                                        \
    {                                                                                   \
        nvmlBAR1Memory_t bar1 = {0};                                                    \
        nvmlReturn_t code = SMI_CALL(smi, DeviceGetBAR1MemoryInfo, gpu->handle, &bar1); \
                                                                                        \
        (void)snprintf(value, size, "%llu", bar1.member / MIB);                         \
        return code;                                                                    \
    }

BAR1_READER(read_bar1_total, bar1Total)
BAR1_READER(read_bar1_used, bar1Used)
BAR1_READER(read_bar1_free, bar1Free)

READER(read_compute_mode)
{
    static const char *const modes[] = {"Default", "Exclusive_Thread", "Prohibited",
                                        "Exclusive_Process"};
    nvmlComputeMode_t mode = NVML_COMPUTEMODE_DEFAULT;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetComputeMode, gpu->handle, &mode);

    if ((size_t)mode >= MIG_ARRAY_SIZE(modes)) {
        return NVML_ERROR_UNKNOWN;
    }
    (void)snprintf(value, size, "%s", modes[mode]);
    return code;
}

READER(read_compute_cap)
{
    int major = 0;
    int minor = 0;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetCudaComputeCapability, gpu->handle, &major, &minor);

    (void)snprintf(value, size, "%d.%d", major, minor);
    return code;
}

#define USE_READER(name, member)                                                         \
    READER(name)                                                                         \
    {                                                                                    \
        nvmlUtilization_t use = {0};                                                     \
        nvmlReturn_t code = SMI_CALL(smi, DeviceGetUtilizationRates, gpu->handle, &use); \
                                                                                         \
        (void)snprintf(value, size, "%u", use.member);                                   \
        return code;                                                                     \
    }

USE_READER(read_use_gpu, gpu)
USE_READER(read_use_memory, memory)

static nvmlReturn_t read_ecc(const struct smi *smi, const struct smi_gpu *gpu, bool pending,
                             char *value, size_t size)
{
    nvmlEnableState_t now = NVML_FEATURE_DISABLED;
    nvmlEnableState_t later = NVML_FEATURE_DISABLED;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetEccMode, gpu->handle, &now, &later);

    (void)snprintf(value, size, "%s",
                   (pending ? later : now) == NVML_FEATURE_ENABLED ? "Enabled" : "Disabled");
    return code;
}

READER(read_ecc_current)
{
    return read_ecc(smi, gpu, false, value, size);
}

READER(read_ecc_pending)
{
    return read_ecc(smi, gpu, true, value, size);
}

static nvmlReturn_t read_ecc_errors(const struct smi *smi, const struct smi_gpu *gpu,
                                    nvmlMemoryErrorType_t type, char *value, size_t size)
{
    unsigned long long count = 0;
    nvmlReturn_t code =
        SMI_CALL(smi, DeviceGetTotalEccErrors, gpu->handle, type, NVML_VOLATILE_ECC, &count);

    (void)snprintf(value, size, "%llu", count);
    return code;
}

READER(read_ecc_corrected)
{
    return read_ecc_errors(smi, gpu, NVML_MEMORY_ERROR_TYPE_CORRECTED, value, size);
}

READER(read_ecc_uncorrected)
{
    return read_ecc_errors(smi, gpu, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, value, size);
}

READER(read_temperature)
{
    unsigned degrees = 0;
    nvmlReturn_t code =
        SMI_CALL(smi, DeviceGetTemperature, gpu->handle, NVML_TEMPERATURE_GPU, &degrees);

    (void)snprintf(value, size, "%u", degrees);
    return code;
}

static nvmlReturn_t format_watts(nvmlReturn_t code, unsigned milliwatts, char *value, size_t size)
{
    (void)snprintf(value, size, "%.2f", (double)milliwatts / 1000.0);
    return code;
}

READER(read_power)
{
    unsigned milliwatts = 0;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetPowerUsage, gpu->handle, &milliwatts);

    return format_watts(code, milliwatts, value, size);
}

READER(read_power_limit)
{
    unsigned milliwatts = 0;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetEnforcedPowerLimit, gpu->handle, &milliwatts);

    return format_watts(code, milliwatts, value, size);
}

#define CLOCK_READER(name, function, type)                                          \
    READER(name)                                                                    \
    {                                                                               \
        unsigned megahertz = 0;                                                     \
        nvmlReturn_t code = SMI_CALL(smi, function, gpu->handle, type, &megahertz); \
                                                                                    \
        (void)snprintf(value, size, "%u", megahertz);                               \
        return code;                                                                \
    }

CLOCK_READER(read_clock_graphics, DeviceGetClockInfo, NVML_CLOCK_GRAPHICS)
CLOCK_READER(read_clock_sm, DeviceGetClockInfo, NVML_CLOCK_SM)
CLOCK_READER(read_clock_memory, DeviceGetClockInfo, NVML_CLOCK_MEM)
CLOCK_READER(read_clock_video, DeviceGetClockInfo, NVML_CLOCK_VIDEO)
CLOCK_READER(read_clock_graphics_max, DeviceGetMaxClockInfo, NVML_CLOCK_GRAPHICS)
CLOCK_READER(read_clock_sm_max, DeviceGetMaxClockInfo, NVML_CLOCK_SM)
CLOCK_READER(read_clock_memory_max, DeviceGetMaxClockInfo, NVML_CLOCK_MEM)

static nvmlReturn_t read_mode(const struct smi *smi, const struct smi_gpu *gpu, bool pending,
                              char *value, size_t size)
{
    unsigned now = 0;
    unsigned later = 0;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetMigMode, gpu->handle, &now, &later);

    (void)snprintf(value, size, "%s",
                   (pending ? later : now) == NVML_DEVICE_MIG_ENABLE ? "Enabled" : "Disabled");
    return code;
}

READER(read_mode_current)
{
    return read_mode(smi, gpu, false, value, size);
}

READER(read_mode_pending)
{
    return read_mode(smi, gpu, true, value, size);
}

static const struct smi_field fields[] = {
    {"timestamp", NULL, NULL, read_timestamp},
    {"driver_version", NULL, NULL, read_driver},
    {"count", NULL, NULL, read_count},
    {"name", "gpu_name", NULL, read_name},
    {"serial", "gpu_serial", NULL, read_serial},
    {"uuid", "gpu_uuid", NULL, read_uuid},
    {"index", NULL, NULL, read_index},
    {"minor_number", NULL, NULL, read_minor},
    {"pci.bus_id", "gpu_bus_id", NULL, read_bus_id},
    {"pci.domain", NULL, NULL, read_pci_domain},
    {"pci.bus", NULL, NULL, read_pci_bus},
    {"pci.device", NULL, NULL, read_pci_device},
    {"pci.device_id", NULL, NULL, read_device_id},
    {"pci.sub_device_id", NULL, NULL, read_subsystem_id},
    {"vbios_version", NULL, NULL, read_vbios},
    {"pcie.link.gen.current", "pcie.link.gen.gpucurrent", NULL, read_link_generation},
    {"pcie.link.gen.max", "pcie.link.gen.gpumax", NULL, read_link_generation_max},
    {"pcie.link.width.current", NULL, NULL, read_link_width},
    {"pcie.link.width.max", NULL, NULL, read_link_width_max},
    {"display_mode", NULL, NULL, read_display_mode},
    {"display_active", NULL, NULL, read_display_active},
    {"persistence_mode", NULL, NULL, read_persistence},
    {"fan.speed", NULL, "%", read_fan},
    {"pstate", NULL, NULL, read_pstate},
    {"memory.total", NULL, "MiB", read_memory_total},
    {"memory.reserved", NULL, "MiB", read_memory_reserved},
    {"memory.used", NULL, "MiB", read_memory_used},
    {"memory.free", NULL, "MiB", read_memory_free},
    {"compute_mode", NULL, NULL, read_compute_mode},
    {"compute_cap", NULL, NULL, read_compute_cap},
    {"utilization.gpu", NULL, "%", read_use_gpu},
    {"utilization.memory", NULL, "%", read_use_memory},
    {"ecc.mode.current", NULL, NULL, read_ecc_current},
    {"ecc.mode.pending", NULL, NULL, read_ecc_pending},
    {"ecc.errors.corrected.volatile.total", NULL, NULL, read_ecc_corrected},
    {"ecc.errors.uncorrected.volatile.total", NULL, NULL, read_ecc_uncorrected},
    {"temperature.gpu", NULL, NULL, read_temperature},
    {"power.draw", NULL, "W", read_power},
    {"power.limit", "enforced.power.limit", "W", read_power_limit},
    {"clocks.current.graphics", "clocks.gr", "MHz", read_clock_graphics},
    {"clocks.current.sm", "clocks.sm", "MHz", read_clock_sm},
    {"clocks.current.memory", "clocks.mem", "MHz", read_clock_memory},
    {"clocks.current.video", "clocks.video", "MHz", read_clock_video},
    {"clocks.max.graphics", "clocks.max.gr", "MHz", read_clock_graphics_max},
    {"clocks.max.sm", NULL, "MHz", read_clock_sm_max},
    {"clocks.max.memory", "clocks.max.mem", "MHz", read_clock_memory_max},
    {"mig.mode.current", NULL, NULL, read_mode_current},
    {"mig.mode.pending", NULL, NULL, read_mode_pending},
    {"bar1.total", NULL, "MiB", read_bar1_total},
    {"bar1.used", NULL, "MiB", read_bar1_used},
    {"bar1.free", NULL, "MiB", read_bar1_free},
};

const struct smi_field *smi_find_field(const char *name)
{
    size_t i;

    for (i = 0; i < MIG_ARRAY_SIZE(fields); i++) {
        if (strcmp(fields[i].name, name) == 0 ||
            (fields[i].alias && strcmp(fields[i].alias, name) == 0)) {
            return &fields[i];
        }
    }
    return NULL;
}

const struct smi_field *smi_field_at(size_t index)
{
    return index < MIG_ARRAY_SIZE(fields) ? &fields[index] : NULL;
}

void smi_read_field(const struct smi *smi, const struct smi_gpu *gpu, const struct smi_field *field,
                    char *value, size_t size)
{
    nvmlReturn_t code = field->read(smi, gpu, value, size);

    if (code == NVML_SUCCESS) {
        return;
    }
    if (code == NVML_ERROR_NOT_SUPPORTED || code == NVML_ERROR_FUNCTION_NOT_FOUND) {
        (void)snprintf(value, size, "N/A");
    } else {
        (void)snprintf(value, size, "%s", smi_nvml_text(&smi->nvml, code));
    }
}
