/* SPDX-License-Identifier: Apache-2.0 */
/* A parsed config file, for the parts of config/ that work on it. All of it lives in one arena. */
#ifndef MIG_CONFIG_CONFIG_H
#define MIG_CONFIG_CONFIG_H

#include "config/arena.h"
#include <mig/config.h>

struct mig_config_number {
    int64_t value; /* as written: may be negative or name no GPU */
    struct mig_position position;
};

/* A device-filter. One that is not a PCI id matches nothing and is found by those who use it. */
struct mig_config_filter {
    const char *text;
    struct mig_position position;
    bool valid, has_subsystem;
    uint32_t device, subsystem; /* as struct mig_pci_id */
};

/* `"3g.20gb": 2` */
struct mig_config_profile {
    const char *name; /* as written */
    struct mig_position position;
    uint32_t count; /* what is larger is UINT32_MAX: far more than fits anywhere */
};

struct mig_config_entry {
    struct mig_position position, devices_position, filter_position;
    bool all;     /* devices: all */
    bool enabled; /* mig-enabled */
    uint32_t device_count, filter_count, profile_count;
    const struct mig_config_number *devices;
    const struct mig_config_filter *filters;
    const struct mig_config_profile *profiles;
};

struct mig_config_named {
    const char *name;
    struct mig_position position;
    uint32_t entry_count;
    const struct mig_config_entry *entries;
};

/* What was accepted because nvidia-mig-parted accepts it, and is wrong all the same. */
struct mig_config_problem {
    const struct mig_config_problem *next;
    const char *config; /* name of the config, "" = the file */
    enum mig_severity severity;
    struct mig_position position;
    const char *text;
};

struct mig_config {
    struct mig_arena arena;
    const char *name; /* of the file, for messages */
    size_t count;
    const struct mig_config_named *configs;
    const struct mig_config_problem *problems; /* in the order found */
};

/* True when the entry's filters (none: always) let a GPU with this identity through. */
bool mig_config_filter_matches(const struct mig_config_entry *entry, uint32_t device,
                               uint32_t subsystem);

/* The same for one filter. */
bool mig_config_filter_is(const struct mig_config_filter *filter, uint32_t device,
                          uint32_t subsystem);

#endif
