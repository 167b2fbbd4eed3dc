/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi without arguments: the table of GPUs, the MIG devices when a GPU is in MIG mode, and
 * the processes. Where the driver has no answer the cell says N/A, as the original does.
 */
#include "emulator/smi/smi_value.h"

#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

#define MIB (1024ULL * 1024ULL)
#define PROCESS_NAME_COLUMN 36

static void print_line(const struct smi *smi, const char *text)
{
    putchar('|');
    smi_cell(smi->layout.inner, "%s", text);
    puts("|");
}

static void print_rule(const struct smi *smi)
{
    smi_rule(&smi->layout.inner, 1, '-');
}

static void print_head(const struct smi *smi)
{
    const struct smi_layout *layout = &smi->layout;
    char cuda[16] = "N/A";
    int version = 0;
    unsigned i;

    if (SMI_CALL(smi, SystemGetCudaDriverVersion, &version) == NVML_SUCCESS) {
        (void)snprintf(cuda, sizeof(cuda), "%d.%d", version / 1000, version % 1000 / 10);
    }
    print_rule(smi);
    putchar('|');
    smi_cell(layout->inner, " NVIDIA-SMI %-*s Driver Version: %-*s CUDA Version: %-8s ",
             (int)layout->version_width, smi->driver_version, (int)layout->driver_width,
             smi->driver_version, cuda);
    puts("|");
    smi_table_rule(layout->gpu, 3, '-', '|', '+');
    for (i = 0; i < 3; i++) {
        static const char *const bus[] = {"Bus-Id", "", ""};
        static const char *const memory[] = {"Disp.A", "Memory-Usage", ""};
        static const char *const state[] = {"Volatile Uncorr. ECC", "GPU-Util  Compute M.",
                                            "MIG M."};
        unsigned left = bus[i][0] ? 7 : 0;

        putchar('|');
        smi_cell(layout->gpu[0], "%s", i < 2 ? layout->gpu_header[i] : "");
        putchar('|');
        smi_cell(left, " %s", bus[i]);
        smi_cell_right(layout->gpu[1] - left, "%s", memory[i]);
        putchar('|');
        smi_cell_right(layout->gpu[2], "%s", state[i]);
        puts("|");
    }
    smi_table_rule(layout->gpu, 3, '=', '|', '|');
}

/* The ECC cell: MIG mode hides the count, a board without ECC has none. */
static void print_ecc(const struct smi *smi, const struct smi_gpu *gpu)
{
    unsigned width = smi->layout.gpu[2];
    nvmlEnableState_t ecc = NVML_FEATURE_DISABLED;
    nvmlEnableState_t pending;
    unsigned long long errors = 0;

    if (SMI_CALL(smi, DeviceGetEccMode, gpu->handle, &ecc, &pending) != NVML_SUCCESS) {
        smi_cell_right(width, "N/A");
    } else if (ecc != NVML_FEATURE_ENABLED) {
        smi_cell_right(width, "Off");
    } else if (smi_mig_enabled(smi, gpu->handle)) {
        smi_cell_right(width, "On");
    } else if (SMI_CALL(smi, DeviceGetTotalEccErrors, gpu->handle,
                        NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC,
                        &errors) != NVML_SUCCESS) {
        smi_cell_right(width, "N/A");
    } else {
        smi_cell_right(width, "%llu", errors);
    }
}

static void print_gpu_name(const struct smi *smi, const struct smi_gpu *gpu)
{
    const struct smi_layout *layout = &smi->layout;
    nvmlEnableState_t persistence = NVML_FEATURE_DISABLED;
    nvmlEnableState_t display = NVML_FEATURE_DISABLED;
    char name[SMI_NAME_SIZE] = "ERR!";

    (void)SMI_CALL(smi, DeviceGetName, gpu->handle, name, sizeof(name));
    if (strlen(name) > layout->name_max) {
        memcpy(name + layout->name_max - 3, "...", 4);
    }
    (void)SMI_CALL(smi, DeviceGetPersistenceMode, gpu->handle, &persistence);
    (void)SMI_CALL(smi, DeviceGetDisplayActive, gpu->handle, &display);
    putchar('|');
    smi_cell(layout->persistence_column, "%4u  %s", gpu->index, name);
    smi_cell(layout->gpu[0] - layout->persistence_column, "%s",
             persistence == NVML_FEATURE_ENABLED ? "On" : "Off");
    putchar('|');
    smi_cell_right(layout->gpu[1], "%s %-3s", gpu->pci.busId,
                   display == NVML_FEATURE_ENABLED ? "On" : "Off");
    putchar('|');
    print_ecc(smi, gpu);
    puts("|");
}

static void print_gpu_health(const struct smi *smi, const struct smi_gpu *gpu)
{
    const struct smi_layout *layout = &smi->layout;
    char fan_text[16] = "N/A";
    char temperature_text[16] = "N/A";
    char state_text[16] = "N/A";
    char used_text[16] = "N/A";
    char cap_text[16] = "N/A";
    unsigned value;
    nvmlPstates_t pstate;

    if (SMI_CALL(smi, DeviceGetFanSpeed, gpu->handle, &value) == NVML_SUCCESS) {
        (void)snprintf(fan_text, sizeof(fan_text), "%u%%", value);
    }
    if (SMI_CALL(smi, DeviceGetTemperature, gpu->handle, NVML_TEMPERATURE_GPU, &value) ==
        NVML_SUCCESS) {
        (void)snprintf(temperature_text, sizeof(temperature_text), "%uC", value);
    }
    if (SMI_CALL(smi, DeviceGetPerformanceState, gpu->handle, &pstate) == NVML_SUCCESS) {
        (void)snprintf(state_text, sizeof(state_text), "P%u", (unsigned)pstate);
    }
    if (SMI_CALL(smi, DeviceGetPowerUsage, gpu->handle, &value) == NVML_SUCCESS) {
        (void)snprintf(used_text, sizeof(used_text), "%uW", (value + 500) / 1000);
    }
    if (SMI_CALL(smi, DeviceGetEnforcedPowerLimit, gpu->handle, &value) == NVML_SUCCESS) {
        (void)snprintf(cap_text, sizeof(cap_text), "%uW", (value + 500) / 1000);
    }
    putchar('|');
    smi_cell(layout->gpu[0], "%4s%6s%6s%*s / %*s ", fan_text, temperature_text, state_text,
             (int)layout->power_width + 1, used_text, (int)layout->cap_width + 1, cap_text);
    putchar('|');
}

static void print_gpu_use(const struct smi *smi, const struct smi_gpu *gpu)
{
    static const char *const modes[] = {"Default", "E. Thread", "Prohibited", "E. Process"};
    const struct smi_layout *layout = &smi->layout;
    nvmlMemory_v2_t memory = {.version = NVML_STRUCT_VERSION(Memory, 2)};
    nvmlUtilization_t use;
    nvmlComputeMode_t mode;
    char use_text[16] = "N/A";
    const char *mode_text = "N/A";

    if (SMI_CALL(smi, DeviceGetMemoryInfo_v2, gpu->handle, &memory) == NVML_SUCCESS) {
        smi_cell(layout->gpu[1], "%*lluMiB / %*lluMiB ", (int)layout->used_width, memory.used / MIB,
                 (int)layout->total_width, memory.total / MIB);
    } else {
        smi_cell_right(layout->gpu[1], layout->branch >= 545 ? "N/A  " : "N/A");
    }
    if (SMI_CALL(smi, DeviceGetUtilizationRates, gpu->handle, &use) == NVML_SUCCESS) {
        (void)snprintf(use_text, sizeof(use_text), "%u%%", use.gpu);
    }
    if (SMI_CALL(smi, DeviceGetComputeMode, gpu->handle, &mode) == NVML_SUCCESS &&
        (size_t)mode < MIG_ARRAY_SIZE(modes)) {
        mode_text = modes[mode];
    }
    putchar('|');
    smi_cell(layout->gpu[2], "%8s%13s", use_text, mode_text);
    puts("|");
}

static void print_gpu_mode(const struct smi *smi, const struct smi_gpu *gpu)
{
    const struct smi_layout *layout = &smi->layout;
    unsigned current = 0;
    unsigned pending = 0;

    putchar('|');
    smi_cell(layout->gpu[0], "%s", "");
    putchar('|');
    smi_cell(layout->gpu[1], "%s", "");
    putchar('|');
    if (SMI_CALL(smi, DeviceGetMigMode, gpu->handle, &current, &pending) != NVML_SUCCESS) {
        smi_cell_right(layout->gpu[2], "N/A");
    } else {
        smi_cell_right(layout->gpu[2], "%s%s",
                       pending == NVML_DEVICE_MIG_ENABLE ? "Enabled" : "Disabled",
                       current == pending ? "" : "*"); /* the star: not in force yet */
    }
    puts("|");
}

static void print_mig_head(const struct smi *smi)
{
    const struct smi_layout *layout = &smi->layout;
    static const char *const ids[] = {" GPU  GI  CI  MIG ", "      ID  ID  Dev ", ""};
    static const char *const counts[] = {"        Vol", " SM     Unc", "        ECC"};
    const char *const memory[] = {layout->headings.memory, layout->headings.bar1, ""};
    unsigned i;

    putchar('\n');
    print_rule(smi);
    print_line(smi, " MIG devices:");
    smi_rule(layout->mig, 4, '-');
    for (i = 0; i < 3; i++) {
        putchar('|');
        smi_cell(layout->mig[0], "%s", ids[i]);
        putchar('|');
        smi_cell_right(layout->mig[1], "%s", memory[i]);
        putchar('|');
        smi_cell(layout->mig[2], "%s", counts[i]);
        putchar('|');
        smi_cell(layout->mig[3], "%s", i < 2 ? layout->headings.engines[i] : "");
        puts("|");
    }
    smi_bar_rule(layout->mig, 4, '=');
}

/* What one line pair of the MIG table shows. */
struct mig_row {
    unsigned gpu, gi, ci, index;
    bool shares_previous; /* same GPU instance as the row before: memory cells are merged */
    nvmlMemory_v2_t memory;
    nvmlBAR1Memory_t bar1;
    nvmlDeviceAttributes_t attributes;
    char errors[16];
};

static bool read_mig_row(const struct smi *smi, nvmlDevice_t device, struct mig_row *row)
{
    nvmlEnableState_t ecc = NVML_FEATURE_ENABLED;
    nvmlEnableState_t pending;
    unsigned long long errors = 0;
    nvmlReturn_t code;

    row->memory.version = NVML_STRUCT_VERSION(Memory, 2);
    if (SMI_CALL(smi, DeviceGetGpuInstanceId, device, &row->gi) != NVML_SUCCESS ||
        SMI_CALL(smi, DeviceGetComputeInstanceId, device, &row->ci) != NVML_SUCCESS ||
        SMI_CALL(smi, DeviceGetAttributes_v2, device, &row->attributes) != NVML_SUCCESS) {
        return false;
    }
    (void)SMI_CALL(smi, DeviceGetMemoryInfo_v2, device, &row->memory);
    (void)SMI_CALL(smi, DeviceGetBAR1MemoryInfo, device, &row->bar1);
    (void)SMI_CALL(smi, DeviceGetEccMode, device, &ecc, &pending);
    code = SMI_CALL(smi, DeviceGetTotalEccErrors, device, NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                    NVML_VOLATILE_ECC, &errors);
    if (code == NVML_SUCCESS && ecc == NVML_FEATURE_ENABLED) {
        (void)snprintf(row->errors, sizeof(row->errors), "%llu", errors);
    } else {
        (void)snprintf(row->errors, sizeof(row->errors), "N/A");
    }
    return true;
}

static void print_mig_separator(const struct smi *smi, bool shares)
{
    const struct smi_layout *layout = &smi->layout;

    if (!shares) {
        smi_rule(layout->mig, 4, '-');
        return;
    }
    fputs("+------------------+", stdout);
    smi_cell(layout->mig[1], "%s", "");
    smi_rule(&layout->mig[2], 2, '-');
}

static void print_mig_row(const struct smi *smi, const struct mig_row *row)
{
    const struct smi_layout *layout = &smi->layout;
    const nvmlDeviceAttributes_t *has = &row->attributes;

    putchar('|');
    smi_cell(layout->mig[0], "%3u%5u%4u%4u", row->gpu, row->gi, row->ci, row->index);
    putchar('|');
    if (row->shares_previous) {
        smi_cell(layout->mig[1], "%s", "");
    } else {
        smi_cell(layout->mig[1], "%*lluMiB / %5lluMiB", layout->mig[1] > 22 ? 16 : 7,
                 row->memory.used / MIB, row->memory.total / MIB);
    }
    putchar('|');
    smi_cell(layout->mig[2], "%3u%7s", has->multiprocessorCount, row->errors);
    putchar('|');
    smi_cell(layout->mig[3], "%3u%4u%5u%5u%5u", has->sharedCopyEngineCount, has->sharedEncoderCount,
             has->sharedDecoderCount, has->sharedOfaCount, has->sharedJpegCount);
    puts("|");
    putchar('|');
    smi_cell(layout->mig[0], "%s", "");
    putchar('|');
    if (row->shares_previous) {
        smi_cell(layout->mig[1], "%s", "");
    } else {
        smi_cell(layout->mig[1], "%*lluMiB / %5lluMiB", (int)layout->bar1_used_width,
                 row->bar1.bar1Used / MIB, row->bar1.bar1Total / MIB);
    }
    putchar('|');
    smi_cell(layout->mig[2], "%s", "");
    putchar('|');
    smi_cell(layout->mig[3], "%s", "");
    puts("|");
}

/* All MIG devices of one GPU; returns how many there are. */
static unsigned print_mig_devices(const struct smi *smi, const struct smi_gpu *gpu, unsigned before)
{
    unsigned max = 0;
    unsigned shown = 0;
    unsigned last_gi = NO_GPU_INSTANCE_ID;
    unsigned i;

    if (SMI_CALL(smi, DeviceGetMaxMigDeviceCount, gpu->handle, &max) != NVML_SUCCESS) {
        return 0;
    }
    for (i = 0; i < max; i++) {
        struct mig_row row = {.gpu = gpu->index, .index = i};
        nvmlDevice_t device;

        if (SMI_CALL(smi, DeviceGetMigDeviceHandleByIndex, gpu->handle, i, &device) !=
                NVML_SUCCESS ||
            !read_mig_row(smi, device, &row)) {
            continue;
        }
        row.shares_previous = row.gi == last_gi;
        if (shown + before > 0) {
            print_mig_separator(smi, row.shares_previous);
        }
        print_mig_row(smi, &row);
        last_gi = row.gi;
        shown++;
    }
    return shown;
}

static void print_mig_table(const struct smi *smi)
{
    unsigned shown = 0;
    size_t i;

    print_mig_head(smi);
    for (i = 0; i < smi->gpu_count; i++) {
        if (smi_mig_enabled(smi, smi->gpus[i].handle)) {
            shown += print_mig_devices(smi, &smi->gpus[i], shown);
        }
    }
    if (shown == 0) {
        print_line(smi, "  No MIG devices found");
        print_rule(smi);
        return;
    }
    smi_rule(smi->layout.mig, 4, '-');
}

static void print_process(const struct smi *smi, const struct smi_gpu *gpu,
                          const struct smi_process *process)
{
    unsigned room = smi->layout.inner - PROCESS_NAME_COLUMN - 12;
    size_t length = strlen(process->name);
    const char *name = process->name;
    char instance[32] = "   N/A  N/A";

    if (process->gi != NO_GPU_INSTANCE_ID) {
        (void)snprintf(instance, sizeof(instance), "%5u%5u ", process->gi, process->ci);
    }
    if (length > room) {
        name += length - room + 3;
    }
    putchar('|');
    smi_cell(PROCESS_NAME_COLUMN, "%5u%s%10u%7c   ", gpu->index, instance, process->pid,
             process->type);
    smi_cell(room, "%s%s", length > room ? "..." : "", name);
    if (process->memory == (unsigned long long)NVML_VALUE_NOT_AVAILABLE) {
        printf("%11s |\n", "N/A");
    } else {
        printf("%8lluMiB |\n", process->memory / MIB);
    }
}

static void print_processes(const struct smi *smi)
{
    size_t shown = 0;
    size_t i;
    unsigned width = smi->layout.inner - 49;
    char line[160];

    /* One line of blanks stands before this table; it is two columns short from 545 on. */
    printf("%*s\n", (int)(smi->layout.branch >= 545 ? 89 : smi->layout.inner + 2), "");
    print_rule(smi);
    print_line(smi, " Processes:");
    (void)snprintf(line, sizeof(line), "  GPU   GI   CI        PID   Type   %-12s%*s",
                   "Process name", (int)width, "GPU Memory");
    print_line(smi, line);
    (void)snprintf(line, sizeof(line), "        ID   ID%33s%*s", "", (int)width, "Usage     ");
    print_line(smi, line);
    smi_bar_rule(&smi->layout.inner, 1, '=');
    for (i = 0; i < smi->gpu_count; i++) {
        MIG_AUTO_FREE struct smi_process *list = NULL;
        size_t count = 0;
        size_t p;

        if (smi_processes(smi, smi->gpus[i].handle, &list, &count) != NVML_SUCCESS) {
            continue;
        }
        smi_sort_processes(list, count);
        for (p = 0; p < count; p++) {
            print_process(smi, &smi->gpus[i], &list[p]);
        }
        shown += count;
    }
    if (shown == 0) {
        print_line(smi, "  No running processes found");
    }
    print_rule(smi);
}

int smi_show_table(struct smi *smi)
{
    bool mig = false;
    char time_text[64];
    size_t i;

    smi_format_time(time_text, sizeof(time_text));
    printf("%s       \n", time_text);
    print_head(smi);
    for (i = 0; i < smi->gpu_count; i++) {
        print_gpu_name(smi, &smi->gpus[i]);
        print_gpu_health(smi, &smi->gpus[i]);
        print_gpu_use(smi, &smi->gpus[i]);
        print_gpu_mode(smi, &smi->gpus[i]);
        smi_rule(smi->layout.gpu, 3, '-');
        mig = mig || smi_mig_enabled(smi, smi->gpus[i].handle);
    }
    if (mig) {
        print_mig_table(smi);
    }
    print_processes(smi);
    return 0;
}
