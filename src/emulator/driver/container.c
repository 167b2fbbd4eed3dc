/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container sees of the machine: the GPUs and MIG devices whose device files it has.
 *
 * A container that was given devices by CDI or a runtime has no MIGEMU_NODE; the machine is then at
 * its usual place, EMU_CONTAINER_NODE. As with the real driver, a GPU without its
 * /dev/nvidia<minor> is not enumerated, and a MIG device needs the capability files of its GPU and
 * compute instance. With MIGEMU_NODE everything is visible, and nothing here costs more than a look
 * at a flag.
 */
#include "emulator/driver/library.h"
#include "emulator/machine/host_tree.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define EMU_CONTAINER_NODE "/run/migemu/node"

static atomic_bool by_devices;

const char *emu_node_path(void)
{
    const char *node = getenv("MIGEMU_NODE");
    bool in_container = !node && access(EMU_CONTAINER_NODE "/state", F_OK) == 0;
    atomic_store(&by_devices, in_container);
    return in_container ? EMU_CONTAINER_NODE : node;
}

static bool has_capability(unsigned minor)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/nvidia-caps/nvidia-cap%u", minor);
    return access(path, F_OK) == 0;
}

bool emu_gpu_is_visible(const struct emu_call *call, unsigned gpu)
{
    char path[64];
    if (!atomic_load_explicit(&by_devices, memory_order_relaxed)) {
        return true;
    }
    snprintf(path, sizeof path, "/dev/nvidia%u", call->node->gpus[gpu].minor);
    return access(path, F_OK) == 0;
}

bool emu_mig_is_visible(const struct emu_call *call, unsigned gpu, unsigned gi, unsigned ci)
{
    unsigned minor = call->node->gpus[gpu].minor;
    return !atomic_load_explicit(&by_devices, memory_order_relaxed) ||
           (has_capability(emu_capability_minor(minor, gi, EMU_ID_NONE)) &&
            has_capability(emu_capability_minor(minor, gi, ci)));
}

unsigned emu_visible_before(const struct emu_call *call, unsigned gpu)
{
    unsigned count = 0;
    for (unsigned i = 0; i < gpu; i++) {
        count += emu_gpu_is_visible(call, i);
    }
    return count;
}

unsigned emu_visible_gpu(const struct emu_call *call, unsigned index)
{
    for (unsigned i = 0; i < call->node->gpu_count; i++) {
        if (emu_gpu_is_visible(call, i) && index-- == 0) {
            return i;
        }
    }
    return call->node->gpu_count;
}
