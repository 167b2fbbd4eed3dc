/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checkpoint that the unit of enable-persistence restores. It exists only while persistence is
 * enabled; without it a change costs nothing more. A node that has not changed is not written
 * again, so applying the same config over and over writes nothing.
 */
#include "cli/persist.h"

const char *persist_state_dir(const struct cli *cli)
{
    const char *variable = getenv("MIGD_STATE_DIR");

    if (cli_has(cli, CLI_STATE_DIR)) {
        return cli->values[CLI_STATE_DIR];
    }
    return variable && *variable ? variable : MIG_STATE_DIR_DEFAULT;
}

int persist_path(const struct cli *cli, const char *root, char *buffer, size_t size,
                 struct mig_error *error)
{
    int length = snprintf(buffer, size, "%s%s/%s", root, persist_state_dir(cli), MIG_SAVED_FILE);

    if (length < 0 || (size_t)length >= size) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the path of the state directory is too long");
    }
    return MIG_OK;
}

static int refresh(const struct cli *cli, struct cli_node *node, struct mig_error *error)
{
    int result = cli_node_read(node, error);

    return result == MIG_OK ? mig_saved_write(persist_state_dir(cli), node->node, "", error)
                            : result;
}

void persist_refresh(const struct cli *cli, struct cli_node *node)
{
    struct mig_error error = {0};
    char path[4096];

    if (persist_path(cli, "", path, sizeof(path), &error) < 0 || access(path, F_OK) != 0) {
        return;
    }
    if (refresh(cli, node, &error) < 0) {
        cli_note(cli, "the change is done, but the checkpoint for the next boot is old: %s",
                 error.message);
    }
}
