/* SPDX-License-Identifier: Apache-2.0 */
/* migctl checkpoint and restore: the node to a file and back, in nvidia-mig-parted's format. */
#include "base/file.h"
#include "cli/change.h"
#include "cli/document.h"
#include "cli/persist.h"
#include <string.h>

#define CHECKPOINT_BYTES_MAX (4u << 20)

struct checkpoint {
    const char *path;
    char *text;
    size_t size;
    bool mode_only;
};

static void checkpoint_release(struct checkpoint *checkpoint)
{
    free(checkpoint->text);
}

static int checkpoint_goal(const struct mig_node *node, void *data, struct mig_goal *ret,
                           struct mig_error *error)
{
    const struct checkpoint *checkpoint = data;

    return mig_checkpoint_goal(checkpoint->path, checkpoint->text, checkpoint->size, node,
                               checkpoint->mode_only, ret, error);
}

int cmd_restore(struct cli *cli, struct mig_error *error)
{
    MIG_CLEANUP(checkpoint_release)
    struct checkpoint checkpoint = {.path = cli->operands[0],
                                    .mode_only = cli_has(cli, CLI_MODE_ONLY)};
    CHANGE_AUTO struct change change = {.planned = false};
    json_t *document = NULL;
    int result = mig_file_read(checkpoint.path, CHECKPOINT_BYTES_MAX, &checkpoint.text,
                               &checkpoint.size, error);

    if (result != MIG_OK) {
        return MIG_E_CONFIG;
    }
    result = change_run(cli, checkpoint_goal, &checkpoint, &change, error);
    if (!cli_is_text(cli)) {
        document = doc_start(cli, "restore");
        doc_put_text(document, "file", checkpoint.path);
    }
    change_report(cli, &change, result, document);
    if (change.applied) {
        persist_refresh(cli, &change.node);
    }
    return result;
}

int cmd_checkpoint(struct cli *cli, struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    MIG_AUTO_FREE char *text = NULL;
    const char *path = cli->operand_count ? cli->operands[0] : "-";
    int result = cli_node_load(cli, &node, error);

    if (result == MIG_OK) {
        result = mig_checkpoint_write(node.node, &text, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    if (strcmp(path, "-") == 0) {
        printf("%s\n", text);
        return MIG_OK;
    }
    result = mig_file_write_atomic(path, text, strlen(text), 0644, error);
    if (result != MIG_OK) {
        return result;
    }
    if (!cli_is_text(cli)) {
        json_t *document = doc_start(cli, "checkpoint");

        doc_put_text(document, "file", path);
        doc_put_int(document, "gpu_count", node.node->gpu_count);
    } else if (!cli_has(cli, CLI_QUIET)) {
        printf("wrote the state of %u GPU%s to %s\n", node.node->gpu_count,
               node.node->gpu_count == 1 ? "" : "s", path);
    }
    return MIG_OK;
}
