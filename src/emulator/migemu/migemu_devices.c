/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device nodes of an emulated host, as a list: control nodes, one per GPU, and the capability
 * nodes. A capability node stands for each instance, or for each that may ever come.
 */
#include "emulator/migemu/migemu_devices.h"

#include "emulator/machine/host_tree.h"

#include <errno.h>

#define NVIDIA_MAJOR 195
#define UVM_MAJOR 510
#define CONTROL_MINOR 255
#define MODESET_MINOR 254
#define COMMON_COUNT 6 /* of every host */
#define INSTANCES_PER_GPU (MAX_GPU_INSTANCE_IDS * (1 + MAX_COMPUTE_INSTANCE_IDS_PER_GI))

static void add(struct migemu_devices *devices, int gpu, unsigned major_number,
                unsigned minor_number, mode_t mode, const char *format, ...) MIG_PRINTF(6, 7);

static void add(struct migemu_devices *devices, int gpu, unsigned major_number,
                unsigned minor_number, mode_t mode, const char *format, ...)
{
    struct migemu_device *device = &devices->list[devices->count++];
    va_list args;

    device->gpu = gpu;
    device->major_number = major_number;
    device->minor_number = minor_number;
    device->mode = mode;
    va_start(args, format);
    (void)vsnprintf(device->path, sizeof(device->path), format, args);
    va_end(args);
}

static void add_capability(struct migemu_devices *devices, int gpu, unsigned minor_number,
                           mode_t mode)
{
    add(devices, gpu, EMU_CAPS_MAJOR, minor_number, mode, "/dev/nvidia-caps/nvidia-cap%u",
        minor_number);
}

static void add_instances(struct migemu_devices *devices, int gpu, unsigned minor_number,
                          const struct emu_gpu *state, bool all)
{
    unsigned gi;
    unsigned ci;

    for (gi = 0; gi < MAX_GPU_INSTANCE_IDS; gi++) {
        const struct emu_gi *instance = &state->gis[gi];

        if (!instance->used && !all) {
            continue;
        }
        add_capability(devices, gpu, emu_capability_minor(minor_number, gi, EMU_ID_NONE), 0444);
        for (ci = 0; ci < EMU_CI_MAX; ci++) {
            if (instance->cis[ci].used || all) {
                add_capability(devices, gpu, emu_capability_minor(minor_number, gi, ci), 0444);
            }
        }
    }
}

int migemu_list_devices(const struct emu_node_info *info, const struct emu_state *state, bool all,
                        struct migemu_devices *ret)
{
    size_t room = COMMON_COUNT + (size_t)info->gpu_count * (1 + INSTANCES_PER_GPU);
    unsigned i;

    ret->count = 0;
    ret->list = calloc(room, sizeof(*ret->list));
    if (!ret->list) {
        return -ENOMEM;
    }
    add(ret, EMU_UNKNOWN, NVIDIA_MAJOR, CONTROL_MINOR, 0666, "/dev/nvidiactl");
    add(ret, EMU_UNKNOWN, NVIDIA_MAJOR, MODESET_MINOR, 0666, "/dev/nvidia-modeset");
    add(ret, EMU_UNKNOWN, UVM_MAJOR, 0, 0666, "/dev/nvidia-uvm");
    add(ret, EMU_UNKNOWN, UVM_MAJOR, 1, 0666, "/dev/nvidia-uvm-tools");
    add_capability(ret, EMU_UNKNOWN, 1, 0400);
    add_capability(ret, EMU_UNKNOWN, 2, 0444);
    for (i = 0; i < info->gpu_count; i++) {
        unsigned minor_number = info->gpus[i].minor;

        add(ret, (int)i, NVIDIA_MAJOR, minor_number, 0666, "/dev/nvidia%u", minor_number);
        add_instances(ret, (int)i, minor_number, &state->gpus[i], all);
    }
    return 0;
}

void migemu_devices_release(struct migemu_devices *devices)
{
    free(devices->list);
    devices->list = NULL;
}

int migemu_proc_devices(char *buffer, size_t size)
{
    return snprintf(buffer, size,
                    "%3d nvidia\n%3d nvidia-modeset\n%3d nvidiactl\n%3d nvidia-caps\n"
                    "%3d nvidia-uvm\n",
                    NVIDIA_MAJOR, NVIDIA_MAJOR, NVIDIA_MAJOR, EMU_CAPS_MAJOR, UVM_MAJOR);
}
