/* SPDX-License-Identifier: Apache-2.0 */
/* Which entry of a config decides about a GPU, and what it wants there. */
#ifndef MIG_CONFIG_GOAL_H
#define MIG_CONFIG_GOAL_H

#include "config/config.h"

#define MIG_FILTER_FORM \
    "a filter is \"0xDDDDVVVV\" or \"0xDDDDVVVV:0xSSSSVVVV\": device, vendor, subsystem"

/* True when `entry` speaks of this GPU: filter and devices match (`all` = those that can do MIG).
 */
bool mig_config_entry_claims(const struct mig_config_entry *entry, const struct mig_gpu *gpu);

/* The entry that decides about this GPU: the last that claims it. NULL = none. */
const struct mig_config_entry *mig_config_entry_for(const struct mig_config_named *named,
                                                    const struct mig_gpu *gpu);

/*
 * The entry's profiles as kinds of `model`, equal kinds added up, zero counts left out. On failure
 * *ret_position is that of the profile that the model lacks, else of the first profile.
 */
int mig_config_entry_devices(const struct mig_config_entry *entry, const struct mig_model *model,
                             struct mig_device_count devices[MIG_CONFIG_DEVICES_MAX],
                             size_t *ret_count, struct mig_position *ret_position,
                             struct mig_error *error);

#endif
