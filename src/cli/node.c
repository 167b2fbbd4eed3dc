/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the driver and reading the node, as every command that looks at hardware does. */
#include "cli/node.h"

int cli_node_open(const struct cli *cli, struct cli_node *ret, struct mig_error *error)
{
    struct mig_session_options options = {.library = cli->values[CLI_LIBRARY]};
    int result;

    *ret = (struct cli_node){NULL, NULL};
    result = mig_session_open(&options, &ret->session, error);
    if (result != MIG_OK) {
        return result;
    }
    for (size_t i = 0; cli_has(cli, CLI_VERBOSE); i++) {
        const char *missing = mig_session_missing(ret->session, i);

        if (!missing) {
            break;
        }
        cli_note(cli, "the driver lacks %s", missing);
    }
    return MIG_OK;
}

int cli_node_read(struct cli_node *node, struct mig_error *error)
{
    mig_node_free(node->node);
    node->node = NULL;
    return mig_inventory_read(node->session, &node->node, error);
}

void cli_node_close(struct cli_node *node)
{
    mig_node_free(node->node);
    mig_session_close(node->session);
    *node = (struct cli_node){NULL, NULL};
}

int cli_node_load(const struct cli *cli, struct cli_node *ret, struct mig_error *error)
{
    int result = cli_node_open(cli, ret, error);

    return result != MIG_OK ? result : cli_node_read(ret, error);
}

int cli_node_gpu(const struct cli *cli, const struct mig_node *node, uint32_t *ret,
                 struct mig_error *error)
{
    *ret = UINT32_MAX;
    if (!cli_has(cli, CLI_GPU)) {
        return MIG_OK;
    }
    return mig_node_find_gpu(node, cli->values[CLI_GPU], ret, error);
}

char *cli_words_gi(const struct mig_layout *layout, const struct mig_gi *gi,
                   char buffer[CLI_WORDS_SIZE])
{
    int length = snprintf(buffer, CLI_WORDS_SIZE, "%s at %u",
                          layout->model->profiles[gi->profile].name, gi->start);

    if (gi->id != MIG_ID_NONE) {
        (void)snprintf(buffer + length, CLI_WORDS_SIZE - (size_t)length, " (GI %u)", gi->id);
    }
    return buffer;
}

char *cli_words_holder(const struct mig_gi *gi, char buffer[CLI_WORDS_SIZE])
{
    char clean[MIG_HOLDER_SIZE];

    buffer[0] = '\0';
    if (gi->in_use && gi->holder[0]) {
        (void)snprintf(buffer, CLI_WORDS_SIZE, "in use by %s",
                       cli_clean(clean, sizeof(clean), gi->holder));
    } else if (gi->in_use) {
        (void)snprintf(buffer, CLI_WORDS_SIZE, "in use");
    }
    return buffer;
}
