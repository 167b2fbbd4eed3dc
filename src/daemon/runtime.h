/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the node object says of the container runtime, and what that means for telling containers
 * their devices.
 *
 * NVIDIA_VISIBLE_DEVICES is read by NVIDIA's runtime and by nobody else. Where there is none,
 * CDI names are the only way, and adding them takes nothing from anybody. Where there is one, what
 * it does for containers by the variable (forward compatibility, for example) is its own business,
 * and stays so until somebody chooses otherwise.
 */
#ifndef MIG_DAEMON_RUNTIME_H
#define MIG_DAEMON_RUNTIME_H

#include <jansson.h>
#include <stdbool.h>

/*
 * True when the runtime puts CDI devices into containers and is known to have no runtime of
 * NVIDIA's: containerd 2 or later (which has CDI switched on) that names its handlers, and none of
 * them is NVIDIA's.
 */
bool runtime_has_cdi_only(const json_t *node);

/* "containerd://2.1.4"; "" when the node does not say. Borrowed. */
const char *runtime_version(const json_t *node);

#endif
