/* SPDX-License-Identifier: Apache-2.0 */
/* migctl assert: is the node as a config wants it? */
#include "cli/document.h"
#include "cli/node.h"
#include "cli/source.h"
#include <string.h>

int cmd_assert(struct cli *cli, struct mig_error *error)
{
    SOURCE_AUTO struct source source = {NULL, NULL, 0, false};
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    struct mig_goal goal;
    bool met;
    int result = source_open(cli, &source, error);

    if (result == MIG_OK) {
        result = cli_node_load(cli, &node, error);
    }
    if (result == MIG_OK) {
        result = source_goal(node.node, &source, &goal, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    met = mig_goal_is_met(node.node, &goal, error);
    if (!cli_is_text(cli)) {
        json_t *document = doc_start(cli, "assert");

        source_describe(&source, document);
        doc_put_bool(document, "met", met);
        doc_put_known_text(document, "difference", met ? NULL : error->message);
    } else if (met && !cli_has(cli, CLI_QUIET)) {
        printf("the node is as '%s' wants it\n", mig_config_name(source.config, source.index));
    }
    if (met) {
        return MIG_OK;
    }
    mig_error_prefix(error, "the node is not as '%s' wants it",
                     mig_config_name(source.config, source.index));
    return MIG_E_FAILED;
}
