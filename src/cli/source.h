/* SPDX-License-Identifier: Apache-2.0 */
/* The config that -f and -c name. */
#ifndef MIG_CLI_SOURCE_H
#define MIG_CLI_SOURCE_H

#include "cli/cli.h"

struct source {
    const char *path;
    struct mig_config *config;
    size_t index;
    bool mode_only;
};

#define SOURCE_AUTO MIG_CLEANUP(source_close)

/* The file: -f, else $MIGCTL_CONFIG, else the installed default; MIG_E_USAGE when there is none. */
int source_path(const struct cli *cli, const char **ret, struct mig_error *error);

/* Loads the file and finds the config of -c. Close in each case. */
int source_open(const struct cli *cli, struct source *ret, struct mig_error *error);
void source_close(struct source *source);

/* A change_goal (change.h); `data` is a struct source. */
int source_goal(const struct mig_node *node, void *data, struct mig_goal *ret,
                struct mig_error *error);

/* Puts "config": {file, name} into a document. */
void source_describe(const struct source *source, json_t *document);

#endif
