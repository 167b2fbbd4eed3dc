/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of host operations that are files and text, each testable alone. */
#ifndef MIG_HELPER_HOST_H
#define MIG_HELPER_HOST_H

#include "base/buffer.h"
#include <stdbool.h>

/* One or more of [A-Za-z0-9@._:-], not starting with '-' or '.'. */
bool mig_host_is_name(const char *text);

/* "GPU-..." or "MIG-...", of letters, digits and dashes; at most 63 characters. */
bool mig_host_is_uuid(const char *text);

/* "nvidia-*.sock" */
bool mig_host_is_plugin_socket(const char *text);

/* "k8s.device-plugin.nvidia.com-*.json" */
bool mig_host_is_cdi_file(const char *text);

/*
 * nvidia-mig-manager's drop-in `text` with the selected config `name`: its line is replaced, or
 * added to [Service]; everything else stays. Returns out->error.
 */
int mig_host_select_config(const char *text, const char *name, struct mig_buffer *out);

/*
 * Makes the nodes of /dev/nvidia-caps that the driver asks for, with the modes that it asks for:
 * `proc` is /proc, `dev` the directory /dev. *ret_changed: any was made or corrected. Without such
 * a driver nothing is done.
 */
int mig_host_make_caps(const char *proc, const char *dev, bool *ret_changed,
                       struct mig_error *error);

#endif
