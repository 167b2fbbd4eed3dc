/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing the node to a goal, as apply, restore, create and destroy do it: lock, snapshot, goal,
 * plan, steps; again while users are in the way if --on-busy wait was given; progress on the way,
 * and the checkpoint of the last good geometry refreshed at the end.
 */
#ifndef MIG_CLI_CHANGE_H
#define MIG_CLI_CHANGE_H

#include "cli/node.h"

/* Makes the goal from a snapshot; called again for each new snapshot. */
typedef int (*change_goal)(const struct mig_node *node, void *data, struct mig_goal *ret,
                           struct mig_error *error);

struct change {
    struct cli_node node; /* the snapshot that the plan was made from */
    struct mig_goal goal;
    struct mig_node_plan plan;
    struct mig_apply_report report;
    bool planned; /* plan is filled */
    bool applied; /* the node is as the goal wants it, by this run or before */
};

#define CHANGE_AUTO MIG_CLEANUP(change_release)

/* Does it, or with --dry-run only plans. Release in each case. */
int change_run(const struct cli *cli, change_goal make_goal, void *data, struct change *ret,
               struct mig_error *error);
void change_release(struct change *change);

/*
 * Tells what was done or why not: prints text, or fills the document. `result` is what change_run
 * returned.
 */
void change_report(const struct cli *cli, const struct change *change, int result,
                   json_t *document);

#endif
