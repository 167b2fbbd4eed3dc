/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault presets: what people have seen go wrong with MIG in the field, as rules, holders and
 * options that bring it about. Each row names the public report it was made from, or none for what
 * any driver call may do. Where a rule has a number, the fault comes at a call where it hurts.
 */
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <string.h>

#define RULES_MAX 4

struct migemu_preset {
    const char *name, *what;
    const char *seen_in;          /* repository and number of the report */
    const char *rules[RULES_MAX]; /* fault rules without a gpu= */
    const char *client;           /* a kernel client that holds the GPU, over resets too */
    const char *setting;          /* an option of the GPU */
};

static const struct migemu_preset presets[] = {
    {.name = "half-cleaned",
     .what = "compute instances can be destroyed, GPU instances stay in use",
     .seen_in = "NVIDIA/DCGM 95, 276",
     .rules = {"GpuInstanceDestroy -> IN_USE"}},
    {.name = "remnant",
     .what = "destroying a GPU instance succeeds once, and it is still listed",
     .seen_in = "NVIDIA/go-nvml 146",
     .rules = {"GpuInstanceDestroy nth=1 -> SUCCESS"}},
    {.name = "held-ci",
     .what = "a compute instance stays in use after its jobs have ended, and nobody is listed",
     .seen_in = "NVIDIA/DCGM 95",
     .rules = {"ComputeInstanceDestroy -> IN_USE"}},
    {.name = "orphan-gi",
     .what = "the GPU instance is made, its compute instance fails",
     .seen_in = "kubernetes-sigs/dra-driver-nvidia-gpu 1452",
     .rules = {"GpuInstanceCreateComputeInstance* nth=1 -> INSUFFICIENT_RESOURCES"}},
    {.name = "killed-between",
     .what = "the manager dies between the GPU instance and its compute instance",
     .rules = {"GpuInstanceCreateComputeInstance* nth=1 -> KILL"}},
    {.name = "done-but-failed",
     .what = "an instance is made, and the caller told that it was not",
     .rules = {"DeviceCreateGpuInstance* nth=1 after -> UNKNOWN"}},
    {.name = "stale-devices",
     .what = "in a session the index of a MIG device keeps the device it once had",
     .seen_in = "NVIDIA/libcudacxx 224",
     .setting = "stale-devices=on"},
    {.name = "reset-refused",
     .what = "nvidia_drm holds the GPU: no reset, and no mode change that needs one",
     .seen_in = "NVIDIA/mig-parted 181",
     .client = "nvidia_drm"},
    {.name = "mode-stuck",
     .what = "a mode that needs a reset stays pending until a reboot, as in a VM",
     .seen_in = "NVIDIA/mig-parted 18, NVIDIA/gpu-operator 668",
     .rules = {"migemu_reset_gpu -> NOT_SUPPORTED"},
     .setting = "mode-blocked=RESET_REQUIRED"},
    {.name = "monitor-denied",
     .what = "instances cannot be listed: no mig/monitor capability in the container",
     .seen_in = "Project-HAMi/HAMi 1044",
     .rules = {"DeviceGetGpuInstances -> NO_PERMISSION",
               "DeviceGetGpuInstanceById -> NO_PERMISSION",
               "GpuInstanceGetComputeInstances -> NO_PERMISSION"}},
    {.name = "config-denied",
     .what = "nothing can be changed: no mig/config capability",
     .rules = {"DeviceCreateGpuInstance* -> NO_PERMISSION",
               "GpuInstanceCreateComputeInstance* -> NO_PERMISSION",
               "*InstanceDestroy -> NO_PERMISSION", "DeviceSetMigMode -> NO_PERMISSION"}},
    {.name = "device-denied",
     .what = "MIG devices cannot be opened: no access to their capability files",
     .seen_in = "NVIDIA/k8s-device-plugin 229",
     .rules = {"DeviceGetMigDeviceHandleByIndex -> NO_PERMISSION"}},
    {.name = "slow-lookup",
     .what = "finding a device by UUID takes ten seconds",
     .seen_in = "kubernetes-sigs/dra-driver-nvidia-gpu",
     .rules = {"DeviceGetHandleByUUID* delay=10000"}},
    {.name = "slow-destroy",
     .what = "destroying takes ten seconds",
     .seen_in = "kubernetes-sigs/dra-driver-nvidia-gpu",
     .rules = {"*InstanceDestroy delay=10000"}},
    {.name = "flaky",
     .what = "one query of twenty times out",
     .rules = {"DeviceGet* chance=5 seed=1 -> TIMEOUT"}},
    {.name = "gpu-lost",
     .what = "the GPU falls off the bus (XID 79) when the second instance is made",
     .rules = {"DeviceCreateGpuInstance* nth=2 -> XID=79"}},
    {.name = "reset-required",
     .what = "an uncontained memory error (XID 95) when the first instance is destroyed",
     .rules = {"GpuInstanceDestroy nth=1 -> XID=95"}},
    {.name = "driver-mismatch",
     .what = "the driver was updated and not yet loaded",
     .rules = {"Init* -> LIB_RM_VERSION_MISMATCH"}},
    {.name = "driver-gone",
     .what = "the driver is not loaded",
     .rules = {"Init* -> DRIVER_NOT_LOADED"}},
};

const struct migemu_preset *migemu_find_preset(const char *name)
{
    size_t i;

    for (i = 0; i < MIG_ARRAY_SIZE(presets); i++) {
        if (strcmp(presets[i].name, name) == 0) {
            return &presets[i];
        }
    }
    (void)migemu_fail("there is no fault preset '%s'", name);
    migemu_hint("'migemu fault presets' lists them");
    return NULL;
}

void migemu_print_presets(void)
{
    size_t i;

    for (i = 0; i < MIG_ARRAY_SIZE(presets); i++) {
        printf("%-16s %s%s%s%s\n", presets[i].name, presets[i].what, presets[i].seen_in ? " (" : "",
               presets[i].seen_in ? presets[i].seen_in : "", presets[i].seen_in ? ")" : "");
    }
}

/* The rule, for one GPU: its number goes behind the function. */
static int add_rule(const struct emu_machine *machine, struct emu_state *state, const char *rule,
                    uint64_t gpu)
{
    char text[MIGEMU_TEXT_SIZE];
    size_t length = strcspn(rule, " ");

    if (gpu == EMU_GPU_MAX) {
        return migemu_add_rule(machine, state, rule);
    }
    (void)snprintf(text, sizeof(text), "%.*s gpu=%u%s", (int)length, rule, (unsigned)gpu,
                   rule + length);
    return migemu_add_rule(machine, state, text);
}

static int add_client(struct emu_state *state, const char *name, uint64_t only)
{
    unsigned gpu;

    for (gpu = 0; gpu < state->gpu_count; gpu++) {
        struct emu_holder holder = {.kind = EMU_HOLDER_CLIENT,
                                    .gpu = (uint8_t)gpu,
                                    .survives_reboot = 1,
                                    .gi = EMU_ID_NONE,
                                    .ci = EMU_ID_NONE};
        int rc;

        if (only != EMU_GPU_MAX && gpu != only) {
            continue;
        }
        (void)mig_text_copy(holder.name, sizeof(holder.name), name);
        rc = emu_holder_add(state, &holder);
        if (rc < 0) {
            return migemu_fail_errno(rc, "could not add a holder");
        }
        printf("holder: %s on GPU %u\n", name, gpu);
    }
    return 0;
}

int migemu_apply_preset(const struct emu_machine *machine, struct emu_state *state,
                        const struct migemu_preset *preset, uint64_t gpu)
{
    unsigned i;
    int status = 0;

    for (i = 0; status == 0 && i < RULES_MAX && preset->rules[i]; i++) {
        /* who opens the library is about no GPU */
        bool of_library = strncmp(preset->rules[i], "Init", 4) == 0;

        status = add_rule(machine, state, preset->rules[i], of_library ? EMU_GPU_MAX : gpu);
    }
    if (status == 0 && preset->client) {
        status = add_client(state, preset->client, gpu);
    }
    if (status == 0 && preset->setting) {
        status = migemu_apply_option(state, gpu, preset->setting);
        if (status == 0) {
            printf("set: %s\n", preset->setting);
        }
    }
    return status;
}
