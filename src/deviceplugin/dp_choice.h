/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of several named configs a node takes: the one that its label names; without a label the
 * default; without a default what the fallbacks find. Pure. The rules are those of the config
 * manager that NVIDIA puts beside its device plugin.
 */
#ifndef MIG_DEVICEPLUGIN_DP_CHOICE_H
#define MIG_DEVICEPLUGIN_DP_CHOICE_H

#include <mig/error.h>
#include <stdbool.h>
#include <stddef.h>

#define MIG_DP_CHOICE_LABEL "nvidia.com/device-plugin.config"
#define MIG_DP_CHOICE_NONE ((size_t)-1) /* no config: flags, environment and defaults alone */

struct mig_dp_choice {
    const char *label;          /* its name, for messages */
    const char *wanted;         /* its value; "" = the node does not have it */
    const char *default_name;   /* "" = none */
    const char *fallbacks;      /* "named", "single", "empty", separated by commas, in order */
    const char *source;         /* where the configs are, for messages */
    const char *const *configs; /* their names */
    size_t count;
};

/* The index of the config, or MIG_DP_CHOICE_NONE. MIG_E_CONFIG when the name that is asked for is
 * not among them, or no fallback finds one. */
int mig_dp_choose(const struct mig_dp_choice *choice, size_t *ret, struct mig_error *error);

#endif
