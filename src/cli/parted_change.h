/* SPDX-License-Identifier: Apache-2.0 */
/* Changing the node under the name nvidia-mig-parted: hooks around libmig's apply. */
#ifndef MIG_CLI_PARTED_CHANGE_H
#define MIG_CLI_PARTED_CHANGE_H

#include "cli/parted_flags.h"
#include <mig/mig.h>

/* Makes the goal from a snapshot; called again for each new one. */
typedef int (*parted_goal)(const struct mig_node *node, bool mode_only, void *data,
                           struct mig_goal *ret, struct mig_error *error);

/*
 * Runs the hooks and brings the node to the goal. On failure the error says at which point; hooks
 * that ran are not undone. `hooks` may be NULL.
 */
int parted_change(const struct parted_arguments *arguments, const struct mig_hooks *hooks,
                  parted_goal make_goal, void *data, struct mig_error *error);

/* A session and one snapshot. Release in each case. */
struct parted_node {
    struct mig_session *session;
    struct mig_node *node;
};

int parted_node_read(struct parted_node *ret, struct mig_error *error);
void parted_node_release(struct parted_node *node);

#endif
