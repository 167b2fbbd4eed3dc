/* SPDX-License-Identifier: Apache-2.0 */
/* The node of a command: a session with the driver and one snapshot; and words for what is in it.
 */
#ifndef MIG_CLI_NODE_H
#define MIG_CLI_NODE_H

#include "cli/cli.h"

struct cli_node {
    struct mig_session *session;
    struct mig_node *node;
};

/* Opens the driver. Close in each case. */
int cli_node_open(const struct cli *cli, struct cli_node *ret, struct mig_error *error);

/* Reads a new snapshot in place of the old one. */
int cli_node_read(struct cli_node *node, struct mig_error *error);
void cli_node_close(struct cli_node *node);

/* Both in one. */
int cli_node_load(const struct cli *cli, struct cli_node *ret, struct mig_error *error);

/*
 * The GPU of --gpu as an index into node->gpus; UINT32_MAX = all. MIG_E_USAGE when there is none
 * like it.
 */
int cli_node_gpu(const struct cli *cli, const struct mig_node *node, uint32_t *ret,
                 struct mig_error *error);

/* Writes into buffer and returns it. */
#define CLI_WORDS_SIZE 256
char *cli_words_gi(const struct mig_layout *layout, const struct mig_gi *gi,
                   char buffer[CLI_WORDS_SIZE]); /* "3g.20gb at 4 (GI 2)" */
char *cli_words_holder(const struct mig_gi *gi,
                       char buffer[CLI_WORDS_SIZE]); /* "in use by x", "" */

#define CLI_AUTO_NODE MIG_CLEANUP(cli_node_close)

#endif
