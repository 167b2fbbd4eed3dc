/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl complete: names for the completions of shells, one a line. It always succeeds and prints
 * no errors: a shell that completes a word has nobody to tell them to.
 */
#include "cli/node.h"
#include "cli/source.h"
#include <string.h>

static void list_models(void)
{
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        printf("%s\n", strncmp(model->name, "NVIDIA ", 7) == 0 ? model->name + 7 : model->name);
    }
}

static void list_configs(const struct cli *cli)
{
    struct mig_config *config = NULL;
    const char *path;

    if (source_path(cli, &path, NULL) == MIG_OK && mig_config_load(path, &config, NULL) == MIG_OK) {
        for (size_t i = 0; i < mig_config_count(config); i++) {
            printf("%s\n", mig_config_name(config, i));
        }
    }
    mig_config_free(config);
}

static void list_devices(const struct mig_gpu *gpu)
{
    for (unsigned i = 0; gpu->layout.model && i < gpu->layout.gi_count; i++) {
        const struct mig_gi *gi = &gpu->layout.gis[i];

        printf("%u:%u\n", gpu->index, gi->id);
        for (unsigned c = 0; c < gi->ci_count; c++) {
            if (gpu->gi_infos[i].devices[c].uuid[0]) {
                printf("%s\n", gpu->gi_infos[i].devices[c].uuid);
            }
        }
    }
}

/* Names of profiles, and of the parts that compute instances can be. */
static void list_profiles(const struct mig_node *node)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_model *model = node->gpus[i].layout.model;
        bool listed = !model;

        for (uint32_t j = 0; j < i && !listed; j++) {
            listed = node->gpus[j].layout.model == model;
        }
        for (unsigned p = 0; !listed && p < model->profile_count; p++) {
            const struct mig_profile *profile = &model->profiles[p];

            for (unsigned c = 0; c < profile->ci_profile_count; c++) {
                printf("%s\n", mig_device_kind_name(
                                   model, (struct mig_device_kind){(uint8_t)p, (uint8_t)c}));
            }
        }
    }
}

static void list_node(const struct cli *cli, const char *what)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};

    if (cli_node_load(cli, &node, NULL) < 0) {
        return;
    }
    if (strcmp(what, "profiles") == 0) {
        list_profiles(node.node);
        return;
    }
    for (uint32_t i = 0; i < node.node->gpu_count; i++) {
        if (strcmp(what, "gpus") == 0) {
            printf("%u\n", node.node->gpus[i].index);
        } else if (strcmp(what, "devices") == 0) {
            list_devices(&node.node->gpus[i]);
        }
    }
}

int cmd_complete(struct cli *cli, struct mig_error *error)
{
    const char *what = cli->operands[0];

    (void)error;
    if (strcmp(what, "models") == 0) {
        list_models();
    } else if (strcmp(what, "configs") == 0) {
        list_configs(cli);
    } else {
        list_node(cli, what);
    }
    return MIG_OK;
}
