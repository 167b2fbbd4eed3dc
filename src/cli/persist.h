/* SPDX-License-Identifier: Apache-2.0 */
/* The checkpoint of the last good geometry, kept while persistence is enabled. */
#ifndef MIG_CLI_PERSIST_H
#define MIG_CLI_PERSIST_H

#include "cli/node.h"

/* --state-dir, else $MIGD_STATE_DIR, else the default. */
const char *persist_state_dir(const struct cli *cli);

/* Path of the checkpoint below `root` ("" for none); MIG_E_USAGE when it is too long. */
int persist_path(const struct cli *cli, const char *root, char *buffer, size_t size,
                 struct mig_error *error);

/*
 * After a change that succeeded: reads the node again and replaces the checkpoint, if there is one.
 * A failure is a note on standard error; the change itself stands.
 */
void persist_refresh(const struct cli *cli, struct cli_node *node);

#endif
