/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the two halves of the settings: single values (dp_config.c) and the file. */
#ifndef MIG_DEVICEPLUGIN_DP_CONFIG_INTERNAL_H
#define MIG_DEVICEPLUGIN_DP_CONFIG_INTERNAL_H

#include "config/arena.h"
#include "config/document.h"
#include "deviceplugin/dp_config.h"

/* While settings are put together. */
struct mig_dp_config_maker {
    struct mig_dp_config config;
    struct mig_arena arena;
    struct mig_finding findings[MIG_DP_FINDINGS_MAX];
    struct mig_dp_xid_rule xid_rules[MIG_DP_XID_ACTIONS_MAX];
    const char *name; /* of the file */
    struct mig_error *error;
};

enum mig_dp_setting_kind {
    MIG_DP_SETTING_BOOL = 0,
    MIG_DP_SETTING_TEXT,
    MIG_DP_SETTING_STRATEGY,
    MIG_DP_SETTING_LIST_STRATEGIES,
    MIG_DP_SETTING_ID_STRATEGY,
    MIG_DP_SETTING_POLICY,
    MIG_DP_SETTING_IMEX_CHANNELS,
    MIG_DP_SETTING_XIDS_DISABLED,
    MIG_DP_SETTING_XIDS_ENABLED,
};

/* One setting under all its names; NULL where it has none. */
struct mig_dp_setting {
    const char *flag, *other_flag;
    const char *variable, *other_variable;
    const char *section, *key; /* in the file: "flags.plugin", "passDeviceSpecs" */
    enum mig_dp_setting_kind kind;
    size_t offset; /* of bool and text settings, in struct mig_dp_config */
};

/* The setting of that key of that section of the file; NULL. */
const struct mig_dp_setting *mig_dp_setting_find(const char *section, const char *key);

/* Sets from text, as flags and variables give it. On failure the error has no place yet. */
int mig_dp_setting_set(struct mig_dp_config_maker *maker, const struct mig_dp_setting *setting,
                       const char *text);

/* Remembers a warning; position {0, 0} when it is not about the file. */
void mig_dp_config_warn(struct mig_dp_config_maker *maker, struct mig_position position,
                        const char *format, ...) MIG_PRINTF(3, 4);

/* Adds a rule; MIG_E_CONFIG when there are too many. */
int mig_dp_config_add_xid(struct mig_dp_config_maker *maker, uint64_t xid,
                          enum mig_dp_xid_action action);

/* Reads the file into the maker. */
int mig_dp_config_read_file(struct mig_dp_config_maker *maker, const char *text, size_t size);

#endif
