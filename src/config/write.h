/* SPDX-License-Identifier: Apache-2.0 */
/* Writing config files, byte for byte as nvidia-mig-parted lays them out. */
#ifndef MIG_CONFIG_WRITE_H
#define MIG_CONFIG_WRITE_H

#include <mig/config.h>

struct mig_out_profile {
    const char *name;
    uint32_t count;
};

struct mig_out_entry {
    char (*filters)[16]; /* "0x20B710DE" */
    size_t filter_count;
    const uint32_t *devices;
    size_t device_count;
    struct mig_out_profile *profiles;
    size_t profile_count;
    bool filter_is_text; /* one filter as a plain string, not as a list */
    bool all;            /* instead of device numbers */
    bool enabled;
    bool profiles_unset; /* JSON says null instead of {} */
};

struct mig_out_config {
    const char *name;
    struct mig_out_entry *entries;
    size_t entry_count;
};

/* Puts configs and profiles into the format's order of keys and writes. *ret is malloc'd. */
int mig_config_write(struct mig_out_config *configs, size_t count, enum mig_format format,
                     char **ret, struct mig_error *error);

#endif
