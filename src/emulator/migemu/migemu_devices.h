/* SPDX-License-Identifier: Apache-2.0 */
/* The device nodes of an emulated host; see migemu_devices.c. */
#ifndef MIG_EMULATOR_MIGEMU_DEVICES_H
#define MIG_EMULATOR_MIGEMU_DEVICES_H

#include "emulator/migemu/migemu.h"

#include <sys/types.h>

struct migemu_device {
    char path[48];
    int gpu; /* EMU_UNKNOWN: of the host */
    unsigned major_number, minor_number;
    mode_t mode;
};

struct migemu_devices {
    struct migemu_device *list;
    size_t count;
};

/* `all`: also for instances that are not there. 0 or -ENOMEM. */
int migemu_list_devices(const struct emu_node_info *info, const struct emu_state *state, bool all,
                        struct migemu_devices *ret);
void migemu_devices_release(struct migemu_devices *devices);
#define MIGEMU_AUTO_DEVICES MIG_CLEANUP(migemu_devices_release)

/* The driver's lines of /proc/devices; the length as snprintf. */
int migemu_proc_devices(char *buffer, size_t size);

#endif
