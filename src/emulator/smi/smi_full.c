/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi -q and -q -x: one walk over what there is to say, written as indented text or as XML.
 * A group or value without a text label appears in the XML only, and the other way round.
 */
#include "emulator/smi/smi_value.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

#define LABEL_COLUMN 42
#define MIB (1024ULL * 1024ULL)

struct writer {
    const struct smi *smi;
    const struct smi_gpu *gpu;
    bool xml;
    unsigned text_depth, xml_depth;
};

static void indent_xml(const struct writer *w)
{
    unsigned i;

    for (i = 0; i < w->xml_depth; i++) {
        putchar('\t');
    }
}

/* XML wants five characters spelled out. */
static void put_escaped(const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", stdout);
            break;
        case '<':
            fputs("&lt;", stdout);
            break;
        case '>':
            fputs("&gt;", stdout);
            break;
        case '"':
            fputs("&quot;", stdout);
            break;
        default:
            putchar(*text);
            break;
        }
    }
}

static void put(const struct writer *w, const char *label, const char *tag, const char *value)
{
    int indent = (int)w->text_depth * 4;

    if (w->xml && tag) {
        indent_xml(w);
        printf("<%s>", tag);
        put_escaped(value);
        printf("</%s>\n", tag);
    } else if (!w->xml && label) {
        printf("%*s%-*s: %s\n", indent, "", LABEL_COLUMN - indent, label, value);
    }
}

static void open_group(struct writer *w, const char *label, const char *tag)
{
    if (w->xml && tag) {
        indent_xml(w);
        printf("<%s>\n", tag);
    } else if (!w->xml && label) {
        printf("%*s%s\n", (int)w->text_depth * 4, "", label);
    }
    w->text_depth += label != NULL;
    w->xml_depth += tag != NULL;
}

static void close_group(struct writer *w, const char *label, const char *tag)
{
    w->text_depth -= label != NULL;
    w->xml_depth -= tag != NULL;
    if (w->xml && tag) {
        indent_xml(w);
        printf("</%s>\n", tag);
    }
}

/* A value of --query-gpu, with its unit. */
static void put_field(const struct writer *w, const char *label, const char *tag, const char *field)
{
    const struct smi_field *row = smi_find_field(field);
    char value[SMI_VALUE_SIZE] = "";
    char full[SMI_VALUE_SIZE + 8];

    smi_read_field(w->smi, w->gpu, row, value, sizeof(value));
    (void)snprintf(full, sizeof(full), "%s%s%s", value,
                   row->unit && strcmp(value, "N/A") != 0 ? " " : "",
                   row->unit && strcmp(value, "N/A") != 0 ? row->unit : "");
    put(w, label, tag, full);
}

/* An identity such as "0x07", which the XML shows without its "0x". */
static void put_hex(const struct writer *w, const char *label, const char *tag, const char *value)
{
    put(w, label, tag, w->xml && strncmp(value, "0x", 2) == 0 ? value + 2 : value);
}

static void put_hex_field(const struct writer *w, const char *label, const char *tag,
                          const char *field)
{
    char value[SMI_VALUE_SIZE] = "";

    smi_read_field(w->smi, w->gpu, smi_find_field(field), value, sizeof(value));
    put_hex(w, label, tag, value);
}

static void put_link_width(const struct writer *w, const char *label, const char *tag,
                           const char *field)
{
    char value[SMI_VALUE_SIZE] = "";
    char full[SMI_VALUE_SIZE + 1];

    smi_read_field(w->smi, w->gpu, smi_find_field(field), value, sizeof(value));
    (void)snprintf(full, sizeof(full), "%s%s", value, strcmp(value, "N/A") == 0 ? "" : "x");
    put(w, label, tag, full);
}

static void put_number(const struct writer *w, const char *label, const char *tag,
                       unsigned long long number, const char *unit)
{
    char text[48];

    (void)snprintf(text, sizeof(text), "%llu%s", number, unit);
    put(w, label, tag, text);
}

static void put_pci(struct writer *w)
{
    char text[64];

    open_group(w, "PCI", "pci");
    put_hex_field(w, "Bus", "pci_bus", "pci.bus");
    put_hex_field(w, "Device", "pci_device", "pci.device");
    put_hex_field(w, "Domain", "pci_domain", "pci.domain");
    put_hex_field(w, "Device Id", "pci_device_id", "pci.device_id");
    put_field(w, "Bus Id", "pci_bus_id", "pci.bus_id");
    (void)snprintf(text, sizeof(text), "0x%08X", w->gpu->pci.pciSubSystemId);
    put_hex(w, "Sub System Id", "pci_sub_system_id", text);
    open_group(w, "GPU Link Info", "pci_gpu_link_info");
    open_group(w, "PCIe Generation", "pcie_gen");
    put_field(w, "Max", "max_link_gen", "pcie.link.gen.max");
    put_field(w, "Current", "current_link_gen", "pcie.link.gen.current");
    close_group(w, "PCIe Generation", "pcie_gen");
    open_group(w, "Link Width", "link_widths");
    put_link_width(w, "Max", "max_link_width", "pcie.link.width.max");
    put_link_width(w, "Current", "current_link_width", "pcie.link.width.current");
    close_group(w, "Link Width", "link_widths");
    close_group(w, "GPU Link Info", "pci_gpu_link_info");
    close_group(w, "PCI", "pci");
}

static void put_memory(struct writer *w)
{
    open_group(w, "FB Memory Usage", "fb_memory_usage");
    put_field(w, "Total", "total", "memory.total");
    put_field(w, "Reserved", "reserved", "memory.reserved");
    put_field(w, "Used", "used", "memory.used");
    put_field(w, "Free", "free", "memory.free");
    close_group(w, "FB Memory Usage", "fb_memory_usage");
    open_group(w, "BAR1 Memory Usage", "bar1_memory_usage");
    put_field(w, "Total", "total", "bar1.total");
    put_field(w, "Used", "used", "bar1.used");
    put_field(w, "Free", "free", "bar1.free");
    close_group(w, "BAR1 Memory Usage", "bar1_memory_usage");
}

static void put_mig_attributes(struct writer *w, const nvmlDeviceAttributes_t *has)
{
    open_group(w, "Device Attributes", "device_attributes");
    open_group(w, "Shared", "shared");
    put_number(w, "Multiprocessor count", "multiprocessor_count", has->multiprocessorCount, "");
    put_number(w, "Copy Engine count", "copy_engine_count", has->sharedCopyEngineCount, "");
    put_number(w, "Encoder count", "encoder_count", has->sharedEncoderCount, "");
    put_number(w, "Decoder count", "decoder_count", has->sharedDecoderCount, "");
    put_number(w, "OFA count", "ofa_count", has->sharedOfaCount, "");
    put_number(w, "JPG count", "jpg_count", has->sharedJpegCount, "");
    close_group(w, "Shared", "shared");
    close_group(w, "Device Attributes", "device_attributes");
}

static void put_mig_memory(struct writer *w, nvmlDevice_t device)
{
    nvmlMemory_v2_t memory = {.version = nvmlMemory_v2};
    nvmlBAR1Memory_t bar1 = {0};

    if (SMI_CALL(w->smi, DeviceGetMemoryInfo_v2, device, &memory) == NVML_SUCCESS) {
        open_group(w, "FB Memory Usage", "fb_memory_usage");
        put_number(w, "Total", "total", memory.total / MIB, " MiB");
        put_number(w, "Reserved", "reserved", memory.reserved / MIB, " MiB");
        put_number(w, "Used", "used", memory.used / MIB, " MiB");
        put_number(w, "Free", "free", memory.free / MIB, " MiB");
        close_group(w, "FB Memory Usage", "fb_memory_usage");
    }
    if (SMI_CALL(w->smi, DeviceGetBAR1MemoryInfo, device, &bar1) == NVML_SUCCESS) {
        open_group(w, "BAR1 Memory", "bar1_memory_usage");
        put_number(w, "Total", "total", bar1.bar1Total / MIB, " MiB");
        put_number(w, "Used", "used", bar1.bar1Used / MIB, " MiB");
        put_number(w, "Free", "free", bar1.bar1Free / MIB, " MiB");
        close_group(w, "BAR1 Memory", "bar1_memory_usage");
    }
}

static void put_mig_errors(struct writer *w, nvmlDevice_t device)
{
    unsigned long long errors = 0;

    if (SMI_CALL(w->smi, DeviceGetTotalEccErrors, device, NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                 NVML_VOLATILE_ECC, &errors) != NVML_SUCCESS) {
        return;
    }
    open_group(w, "ECC Errors", "ecc_error_count");
    open_group(w, "Volatile", "volatile_count");
    put_number(w, "SRAM Uncorrectable", "sram_uncorrectable", errors, "");
    close_group(w, "Volatile", "volatile_count");
    close_group(w, "ECC Errors", "ecc_error_count");
}

static void put_mig_device(struct writer *w, unsigned index, nvmlDevice_t device)
{
    nvmlDeviceAttributes_t has;
    unsigned gi;
    unsigned ci;

    if (SMI_CALL(w->smi, DeviceGetGpuInstanceId, device, &gi) != NVML_SUCCESS ||
        SMI_CALL(w->smi, DeviceGetComputeInstanceId, device, &ci) != NVML_SUCCESS ||
        SMI_CALL(w->smi, DeviceGetAttributes_v2, device, &has) != NVML_SUCCESS) {
        return;
    }
    open_group(w, "MIG Device", "mig_device");
    put_number(w, "Index", "index", index, "");
    put_number(w, "GPU Instance ID", "gpu_instance_id", gi, "");
    put_number(w, "Compute Instance ID", "compute_instance_id", ci, "");
    put_mig_attributes(w, &has);
    put_mig_errors(w, device);
    put_mig_memory(w, device);
    close_group(w, "MIG Device", "mig_device");
}

/* The XML names no devices as a word of its own, and does not indent the list of them. */
static void put_mig_devices(struct writer *w)
{
    unsigned max = 0;
    unsigned found = 0;
    unsigned i;

    open_group(w, NULL, "mig_devices");
    w->xml_depth--;
    if (smi_mig_enabled(w->smi, w->gpu->handle)) {
        (void)SMI_CALL(w->smi, DeviceGetMaxMigDeviceCount, w->gpu->handle, &max);
    }
    for (i = 0; i < max; i++) {
        nvmlDevice_t device;

        if (SMI_CALL(w->smi, DeviceGetMigDeviceHandleByIndex, w->gpu->handle, i, &device) ==
            NVML_SUCCESS) {
            put_mig_device(w, i, device);
            found++;
        }
    }
    w->xml_depth++;
    if (w->xml && found == 0) {
        indent_xml(w);
        puts("None");
    }
    close_group(w, NULL, "mig_devices");
}

static void put_mig(struct writer *w)
{
    open_group(w, "MIG Mode", "mig_mode");
    put_field(w, "Current", "current_mig", "mig.mode.current");
    put_field(w, "Pending", "pending_mig", "mig.mode.pending");
    close_group(w, "MIG Mode", "mig_mode");
    put_mig_devices(w);
}

static void put_health(struct writer *w)
{
    put_field(w, "Fan Speed", "fan_speed", "fan.speed");
    put_field(w, "Performance State", "performance_state", "pstate");
    put_memory(w);
    put_field(w, "Compute Mode", "compute_mode", "compute_mode");
    open_group(w, "Utilization", "utilization");
    put_field(w, "Gpu", "gpu_util", "utilization.gpu");
    put_field(w, "Memory", "memory_util", "utilization.memory");
    close_group(w, "Utilization", "utilization");
    open_group(w, "ECC Mode", "ecc_mode");
    put_field(w, "Current", "current_ecc", "ecc.mode.current");
    put_field(w, "Pending", "pending_ecc", "ecc.mode.pending");
    close_group(w, "ECC Mode", "ecc_mode");
    open_group(w, "ECC Errors", "ecc_errors");
    open_group(w, "Volatile", "volatile");
    put_field(w, "DRAM Correctable", "dram_correctable", "ecc.errors.corrected.volatile.total");
    put_field(w, "DRAM Uncorrectable", "dram_uncorrectable",
              "ecc.errors.uncorrected.volatile.total");
    close_group(w, "Volatile", "volatile");
    close_group(w, "ECC Errors", "ecc_errors");
}

static void put_sensors(struct writer *w)
{
    char text[SMI_VALUE_SIZE] = "";
    char value[SMI_VALUE_SIZE + 4];

    smi_read_field(w->smi, w->gpu, smi_find_field("temperature.gpu"), text, sizeof(text));
    (void)snprintf(value, sizeof(value), "%s%s", text, strcmp(text, "N/A") == 0 ? "" : " C");
    open_group(w, "Temperature", "temperature");
    put(w, "GPU Current Temp", "gpu_temp", value);
    close_group(w, "Temperature", "temperature");
    open_group(w, "GPU Power Readings", "gpu_power_readings");
    if (w->smi->layout.branch >= 550) {
        put_field(w, "Average Power Draw", "average_power_draw", "power.draw");
        put_field(w, "Instantaneous Power Draw", "instant_power_draw", "power.draw");
    } else {
        put_field(w, "Power Draw", "power_draw", "power.draw");
    }
    put_field(w, "Current Power Limit", "current_power_limit", "power.limit");
    close_group(w, "GPU Power Readings", "gpu_power_readings");
    open_group(w, "Clocks", "clocks");
    put_field(w, "Graphics", "graphics_clock", "clocks.current.graphics");
    put_field(w, "SM", "sm_clock", "clocks.current.sm");
    put_field(w, "Memory", "mem_clock", "clocks.current.memory");
    put_field(w, "Video", "video_clock", "clocks.current.video");
    close_group(w, "Clocks", "clocks");
    open_group(w, "Max Clocks", "max_clocks");
    put_field(w, "Graphics", "graphics_clock", "clocks.max.graphics");
    put_field(w, "SM", "sm_clock", "clocks.max.sm");
    put_field(w, "Memory", "mem_clock", "clocks.max.memory");
    close_group(w, "Max Clocks", "max_clocks");
}

static void put_id(const struct writer *w, const char *label, const char *tag, unsigned id)
{
    char text[16] = "N/A";

    if (id != NO_GPU_INSTANCE_ID) {
        (void)snprintf(text, sizeof(text), "%u", id);
    }
    put(w, label, tag, text);
}

static void put_process(struct writer *w, const struct smi_process *process)
{
    const char type[2] = {process->type, '\0'};

    if (!w->xml) {
        put_id(w, "GPU instance ID", NULL, process->gi);
        put_id(w, "Compute instance ID", NULL, process->ci);
        put_number(w, "Process ID", NULL, process->pid, "");
        w->text_depth++;
        put(w, "Type", NULL, process->type == 'C' ? "C" : "G");
        put(w, "Name", NULL, process->name);
        put_number(w, "Used GPU Memory", NULL, process->memory / MIB, " MiB");
        w->text_depth--;
        return;
    }
    open_group(w, NULL, "process_info");
    put_id(w, NULL, "gpu_instance_id", process->gi);
    put_id(w, NULL, "compute_instance_id", process->ci);
    put_number(w, NULL, "pid", process->pid, "");
    put(w, NULL, "type", type);
    put(w, NULL, "process_name", process->name);
    put_number(w, NULL, "used_memory", process->memory / MIB, " MiB");
    close_group(w, NULL, "process_info");
}

static void put_processes(struct writer *w)
{
    MIG_AUTO_FREE struct smi_process *list = NULL;
    size_t count = 0;
    size_t i;

    if (smi_processes(w->smi, w->gpu->handle, &list, &count) != NVML_SUCCESS || count == 0) {
        put(w, "Processes", NULL, "None");
        open_group(w, NULL, "processes");
        close_group(w, NULL, "processes");
        return;
    }
    smi_sort_processes(list, count);
    open_group(w, "Processes", "processes");
    for (i = 0; i < count; i++) {
        put_process(w, &list[i]);
    }
    close_group(w, "Processes", "processes");
}

static void put_gpu(struct writer *w)
{
    put_field(w, "Product Name", "product_name", "name");
    put_field(w, "Display Mode", "display_mode", "display_mode");
    put_field(w, "Display Active", "display_active", "display_active");
    put_field(w, "Persistence Mode", "persistence_mode", "persistence_mode");
    put_mig(w);
    put_field(w, "Serial Number", "serial", "serial");
    put_field(w, "GPU UUID", "uuid", "uuid");
    put_field(w, "Minor Number", "minor_number", "minor_number");
    put_field(w, "VBIOS Version", "vbios_version", "vbios_version");
    put_pci(w);
    put_health(w);
    put_sensors(w);
    put_processes(w);
}

static int show(struct smi *smi, bool xml)
{
    struct writer w = {.smi = smi, .xml = xml, .xml_depth = 1};
    char time_text[64];
    char cuda[16];
    int version = 0;
    unsigned count = 0;
    size_t i;

    smi_format_time(time_text, sizeof(time_text));
    (void)SMI_CALL(smi, SystemGetCudaDriverVersion, &version);
    (void)SMI_CALL(smi, DeviceGetCount_v2, &count);
    (void)snprintf(cuda, sizeof(cuda), "%d.%d", version / 1000, version % 1000 / 10);
    fputs(xml ? "<?xml version=\"1.0\" ?>\n"
                "<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v12.dtd\">\n<nvidia_smi_log>\n"
              : "\n==============NVSMI LOG==============\n\n",
          stdout);
    put(&w, "Timestamp", "timestamp", time_text);
    put(&w, "Driver Version", "driver_version", smi->driver_version);
    put(&w, "CUDA Version", "cuda_version", cuda);
    fputs(xml ? "" : "\n", stdout);
    put_number(&w, "Attached GPUs", "attached_gpus", count, "");
    for (i = 0; i < smi->gpu_count; i++) {
        w.gpu = &smi->gpus[i];
        printf(xml ? "\t<gpu id=\"%s\">\n" : "GPU %s\n", w.gpu->pci.busId);
        w.text_depth = 1;
        w.xml_depth = 2;
        put_gpu(&w);
        fputs(xml ? "\t</gpu>\n\n" : "\n", stdout);
    }
    fputs(xml ? "</nvidia_smi_log>\n" : "", stdout);
    return 0;
}

int smi_show_full(struct smi *smi)
{
    return show(smi, false);
}

int smi_show_full_xml(struct smi *smi)
{
    return show(smi, true);
}
