/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The config file of the device plugin: settings within their limits, or an error with a place.
 * What was accepted can be applied to any node.
 */
#include "deviceplugin/resources.h"
#include "fuzz.h"

static void check_rules(const struct mig_dp_config *config)
{
    FUZZ_CHECK(config->sharing.rule_count <= MIG_DP_RULES_MAX);
    for (uint32_t i = 0; i < config->sharing.rule_count; i++) {
        const struct mig_dp_rule *rule = &config->sharing.rules[i];
        char name[MIG_DP_NAME_SIZE];

        FUZZ_CHECK(rule->name && mig_dp_resource_name(rule->name, name));
        FUZZ_CHECK(rule->replicas >= 2 && rule->replicas <= MIG_DP_REPLICAS_MAX);
        FUZZ_CHECK(rule->reference_count <= MIG_DP_REFERENCES_MAX);
    }
}

static void apply(const struct mig_dp_config *config)
{
    static struct mig_gpu gpus[] = {{.index = 0, .uuid = "GPU-0", .name = "NVIDIA A30"},
                                    {.index = 1, .uuid = "GPU-1", .problem = "lost"}};
    const struct mig_node node = {.gpu_count = 2, .gpus = gpus};
    struct mig_dp_table *table = NULL;

    FUZZ_CHECK(mig_dp_table_make(&node, config, &table, NULL) == MIG_OK);
    for (uint32_t i = 0; i < table->resource_count; i++) {
        FUZZ_CHECK(table->resources[i].count > 0);
    }
    mig_dp_table_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mig_dp_sources sources = {.file_name = "file", .text = (const char *)data, .size = size};
    struct mig_dp_config *config = NULL;
    struct mig_error error = {0};
    int result = mig_dp_config_make(&sources, &config, &error);

    if (result < 0) {
        FUZZ_CHECK(result == MIG_E_CONFIG && error.message[0]);
        return 0;
    }
    FUZZ_CHECK(config->list_strategies != 0 && config->finding_count <= MIG_DP_FINDINGS_MAX);
    check_rules(config);
    apply(config);
    mig_dp_config_free(config);
    return 0;
}
