/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files that a host with NVIDIA's driver has, under NODE/host: proc/driver/nvidia with the
 * capability tree, proc/driver/nvidia-caps/mig-minors, the PCI devices of sysfs, and the module's
 * directory. Plain files; `migemu run` shows them at their real places. libc only, so that the
 * library can keep the capability tree in step with the instances.
 */
#ifndef MIG_EMULATOR_HOST_TREE_H
#define MIG_EMULATOR_HOST_TREE_H

#include "emulator/machine/machine.h"

#define EMU_HOST_DIRECTORY "host"
#define EMU_CAPS_MAJOR 238 /* of /dev/nvidia-caps; the kernel chooses it, captures show 238 */

/* Writes all of it, without instances. 0 or a negative errno value. */
int emu_host_write(const char *node, const struct emu_node_info *info);

/* Makes the capability entries of one GPU those of its instances. A tree that is not there stays
 * away. 0 or a negative errno value. */
int emu_host_sync(const char *node, unsigned gpu, const struct emu_gpu *state);

/* Number of the device node that stands for access to an instance (ci EMU_ID_NONE: to the GI). */
unsigned emu_capability_minor(unsigned gpu, unsigned gi, unsigned ci);

/* "0000:07:00.0", the form of sysfs and of /proc/driver/nvidia/gpus. */
void emu_format_pci(const struct emu_gpu_info *gpu, char *buffer, size_t size);

#endif
