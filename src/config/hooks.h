/* SPDX-License-Identifier: Apache-2.0 */
/* Running hooks with limits of one's own, for tests. */
#ifndef MIG_CONFIG_HOOKS_H
#define MIG_CONFIG_HOOKS_H

#include <mig/config.h>

struct mig_hook_options {
    char *const *environment;
    bool verbose;
    unsigned limit_ms; /* per command */
    unsigned grace_ms; /* between SIGTERM and SIGKILL */
};

int mig_hooks_run_limited(const struct mig_hooks *hooks, enum mig_hook hook,
                          const struct mig_hook_options *options, struct mig_error *error);

#endif
