/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl apply and plan: bring the node to a config of a file, or say what that would take. A plan
 * is an apply that stops before its first step; it takes no lock.
 */
#include "cli/change.h"
#include "cli/document.h"
#include "cli/persist.h"
#include "cli/source.h"

static int run(struct cli *cli, const char *name, struct mig_error *error)
{
    SOURCE_AUTO struct source source = {NULL, NULL, 0, false};
    CHANGE_AUTO struct change change = {.planned = false};
    json_t *document = NULL;
    int result = source_open(cli, &source, error);

    if (result != MIG_OK) {
        return result;
    }
    result = change_run(cli, source_goal, &source, &change, error);
    if (!cli_is_text(cli) && !change.planned && cli->command == CLI_COMMAND_PLAN) {
        return result;
    }
    if (!cli_is_text(cli)) {
        document = doc_start(cli, name);
        source_describe(&source, document);
    }
    change_report(cli, &change, result, document);
    if (change.applied) {
        persist_refresh(cli, &change.node);
    }
    return result;
}

int cmd_apply(struct cli *cli, struct mig_error *error)
{
    return run(cli, "apply", error);
}

int cmd_plan(struct cli *cli, struct mig_error *error)
{
    cli->values[CLI_DRY_RUN] = "";
    return run(cli, "plan", error);
}
