/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host has: device nodes, capability minors of instances, files of the driver.
 *
 * Paths have two sides: as this process sees the host, and as the container runtime does. The roots
 * here are for this process; what is handed to the runtime starts at the roots of the settings.
 */
#ifndef MIG_DEVICEPLUGIN_HOST_H
#define MIG_DEVICEPLUGIN_HOST_H

#include <mig/node.h>
#include <stdio.h>

#define MIG_DP_CAPS_DIRECTORY "/dev/nvidia-caps"
#define MIG_DP_PATH_SIZE 512

/* Where this process sees things. NULL = "". */
struct mig_dp_host {
    const char *proc_root;   /* before /proc/driver/... */
    const char *sys_root;    /* before /sys/bus/pci */
    const char *dev_root;    /* before /dev */
    const char *driver_root; /* before /usr/lib/... of the driver */
};

/* The device nodes that every GPU container needs, in this order; NULL past the end. */
const char *mig_dp_control_node(size_t index);

/* True when a path below the host's /dev exists, for example "/dev/nvidia-uvm". */
bool mig_dp_host_has_node(const struct mig_dp_host *host, const char *path);

/*
 * The minor number of the capability node of a GPU instance (ci_id MIG_ID_NONE), or of a compute
 * instance. From the instance's own file, or from the driver's table of all. MIG_E_FAILED when
 * neither tells.
 */
int mig_dp_caps_minor(const struct mig_dp_host *host, int32_t gpu_minor, uint32_t gi_id,
                      uint32_t ci_id, unsigned *ret, struct mig_error *error);

/* The same from one of the two sources each. */
int mig_dp_caps_minor_from_file(const struct mig_dp_host *host, int32_t gpu_minor, uint32_t gi_id,
                                uint32_t ci_id, unsigned *ret, struct mig_error *error);
int mig_dp_caps_minor_from_table(const struct mig_dp_host *host, int32_t gpu_minor, uint32_t gi_id,
                                 uint32_t ci_id, unsigned *ret, struct mig_error *error);

/* Finds an entry in the text of the table, "gpu0/gi1/ci0/access 31". */
bool mig_dp_caps_find(const char *table, int32_t gpu_minor, uint32_t gi_id, uint32_t ci_id,
                      unsigned *ret);

/*
 * Calls `found` for each node of the GPU below /dev/dri, "/dev/dri/card1"; none when the GPU has
 * none.
 */
void mig_dp_host_drm_nodes(const struct mig_dp_host *host, const char *bus_id,
                           void (*found)(const char *path, void *data), void *data);

/*
 * Calls `found` for each file of the driver that a container needs: libraries under all the names
 * that programs load them by, programs, firmware, sockets. `path` is what it is below the driver
 * root, `link` what it has to be called in the container. Order and number are the same for equal
 * roots. At most MIG_DP_DRIVER_FILES_MAX.
 */
#define MIG_DP_DRIVER_FILES_MAX 512u
void mig_dp_host_driver_files(const struct mig_dp_host *host, const char *driver_version,
                              void (*found)(const char *path, const char *link, void *data),
                              void *data);

#endif
