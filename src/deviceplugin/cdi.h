/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CDI specification: which nodes and files a container gets with a device.
 *
 * One file per class, kind k8s.device-plugin.nvidia.com/CLASS, in the form of the lowest version of
 * the format that has what is used. It is made anew whenever devices change, and has to be in place
 * before they are announced.
 *
 * Libraries are mounted under all names that programs load them by, so that a container works
 * without hooks. The hook that renews the loader's cache is added where NVIDIA's toolkit is
 * installed; elsewhere they are in the directories of both families of distributions, where
 * loaders look by themselves.
 */
#ifndef MIG_DEVICEPLUGIN_CDI_H
#define MIG_DEVICEPLUGIN_CDI_H

#include "deviceplugin/host.h"
#include "deviceplugin/resources.h"

#define MIG_DP_CDI_VENDOR "k8s.device-plugin.nvidia.com"
#define MIG_DP_CDI_DIRECTORY "/var/run/cdi"
#define MIG_DP_CDI_BYTES_MAX (8u << 20)

enum mig_dp_cdi_class {
    MIG_DP_CDI_GPU = 0,
    MIG_DP_CDI_GDRCOPY,
    MIG_DP_CDI_GDS,
    MIG_DP_CDI_MOFED,
    MIG_DP_CDI_IMEX,
    MIG_DP_CDI_CLASS_COUNT,
};

const char *mig_dp_cdi_class_name(enum mig_dp_cdi_class class);

/* "k8s.device-plugin.nvidia.com-gpu.json" */
void mig_dp_cdi_file_name(enum mig_dp_cdi_class class, char *buffer, size_t size);

/* True when the settings ask for the class and the host has what is in it. */
bool mig_dp_cdi_wanted(const struct mig_dp_config *config, const struct mig_dp_host *host,
                       enum mig_dp_cdi_class class);

struct mig_dp_cdi_input {
    const struct mig_dp_config *config;
    const struct mig_dp_host *host;
    const struct mig_node *node; /* driver version, bus ids */
    /* what is left out becomes unhealthy there unless the variable does, with a note; in_cdi */
    struct mig_dp_table *table;
};

/*
 * The text of one file; *ret is malloc'd and terminated, and NULL when there would be no device in
 * it: then the file has to go.
 */
int mig_dp_cdi_make(const struct mig_dp_cdi_input *input, enum mig_dp_cdi_class class, char **ret,
                    struct mig_error *error);

/* No slice is in the file: it could not be written. */
void mig_dp_cdi_clear(struct mig_dp_table *table);

/* Where device nodes are on the host, "" for /dev itself. */
const char *mig_dp_dev_root(const struct mig_dp_config *config);

/*
 * Calls `found` for each node of a slice, "/dev/nvidia0" and the capability nodes of its instances.
 * Fails, before any call, when a minor number cannot be found out.
 */
int mig_dp_slice_nodes(const struct mig_dp_host *host, const struct mig_dp_slice *slice,
                       void (*found)(const char *path, void *data), void *data,
                       struct mig_error *error);

#endif
