/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl export and generate-config: config files written from what is there. Their output is the
 * file itself, so -o chooses between its two forms, YAML unless json is asked for.
 */
#include "cli/node.h"
#include <string.h>

static enum mig_format format_of(const struct cli *cli)
{
    return cli->output == CLI_JSON ? MIG_FORMAT_JSON : MIG_FORMAT_YAML;
}

static void print_file(const char *text)
{
    size_t length = strlen(text);

    printf("%s%s", text, length && text[length - 1] == '\n' ? "" : "\n");
}

int cmd_export(struct cli *cli, struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    MIG_AUTO_FREE char *text = NULL;
    const char *label = cli_has(cli, CLI_LABEL) ? cli->values[CLI_LABEL] : "current";
    int result = cli_node_load(cli, &node, error);

    if (result == MIG_OK) {
        result = mig_config_export(node.node, label, format_of(cli), &text, error);
    }
    if (result == MIG_OK) {
        print_file(text);
    }
    return result;
}

/* Different models of the node's MIG-capable GPUs. */
static size_t node_models(const struct mig_node *node, const struct mig_model **models)
{
    size_t count = 0;

    for (uint32_t i = 0; i < node->gpu_count && count < MIG_GPU_MAX; i++) {
        const struct mig_model *model = node->gpus[i].layout.model;
        bool known = !model;

        for (size_t j = 0; j < count && !known; j++) {
            known = models[j] == model;
        }
        if (!known) {
            models[count++] = model;
        }
    }
    return count;
}

static int generate_for_node(const struct cli *cli, char **ret, struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    const struct mig_model *models[MIG_GPU_MAX];
    size_t count;
    int result = cli_node_load(cli, &node, error);

    if (result != MIG_OK) {
        return result;
    }
    count = node_models(node.node, models);
    if (count == 0) {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "no GPU of this node is known to have MIG");
        return mig_error_hint(error, MIG_E_FAILED, "--catalog writes a file for all known GPUs");
    }
    return mig_config_generate(models, count, format_of(cli), ret, error);
}

static int generate_for_catalog(const struct cli *cli, char **ret, struct mig_error *error)
{
    size_t count = mig_catalog_count();
    MIG_AUTO_FREE const struct mig_model **models =
        calloc(count + 1, sizeof(const struct mig_model *));

    if (!models) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        models[i] = mig_catalog_get(i);
    }
    return mig_config_generate(models, count, format_of(cli), ret, error);
}

int cmd_generate_config(struct cli *cli, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    int result = cli_has(cli, CLI_CATALOG) ? generate_for_catalog(cli, &text, error)
                                           : generate_for_node(cli, &text, error);

    if (result == MIG_OK && text) {
        print_file(text);
    }
    return result;
}
