/* SPDX-License-Identifier: Apache-2.0 */
/* A private view of /proc, /sys and /dev for one command; see migemu_namespace.c. */
#ifndef MIG_EMULATOR_MIGEMU_NAMESPACE_H
#define MIG_EMULATOR_MIGEMU_NAMESPACE_H

#include "emulator/machine/machine.h"

/*
 * Puts the calling process into a mount namespace of its own that looks like the emulated host.
 * `node` is absolute. Complains and returns the exit status on failure, after which the process
 * is good for nothing but to end.
 */
int migemu_enter_host(const char *node, const struct emu_node_info *info,
                      const struct emu_state *state);

#endif
