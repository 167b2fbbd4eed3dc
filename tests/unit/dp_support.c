/* SPDX-License-Identifier: Apache-2.0 */
/* Makes what the tests of the device plugin work on, and writes what came out. */
#include "dp_support.h"
#include "base/text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void dp_add_gpu(struct config_node *node, const char *model, const char *layout)
{
    struct mig_gpu *gpu = &node->gpus[node->node.gpu_count];
    int32_t index = 0;

    config_add_gpu(node, model, layout);
    gpu->minor = (int32_t)gpu->index;
    gpu->numa_node = MIG_UNKNOWN;
    for (unsigned i = 0; i < gpu->layout.gi_count; i++) {
        struct mig_gi *gi = &gpu->layout.gis[i];

        gi->id = i + 1;
        for (unsigned j = 0; j < gi->ci_count; j++) {
            struct mig_device *device = &gpu->gi_infos[i].devices[j];

            gi->cis[j].id = j;
            device->index = index++;
            snprintf(device->uuid, sizeof(device->uuid), "MIG-%u-%u-%u", gpu->index, i + 1, j);
        }
    }
}

struct mig_dp_config *dp_config(const char *text)
{
    struct mig_dp_sources sources = {.file_name = "file", .text = text, .size = strlen(text)};
    struct mig_dp_config *config = NULL;
    struct mig_error error = {0};

    if (mig_dp_config_make(&sources, &config, &error) < 0) {
        fail_msg("%s", error.message);
    }
    return config;
}

struct mig_dp_config *dp_strategy(const char *name)
{
    char text[64];

    snprintf(text, sizeof(text), "flags: {migStrategy: %s}\n", name);
    return dp_config(text);
}

struct mig_dp_table *dp_table(const struct config_node *node, const struct mig_dp_config *config)
{
    struct mig_dp_table *table = NULL;

    assert_int_equal(mig_dp_table_make(&node->node, config, &table, NULL), MIG_OK);
    return table;
}

const char *dp_table_text(const struct mig_dp_table *table)
{
    static char buffer[16384];
    size_t used = 0;

    buffer[0] = '\0';
    for (uint32_t i = 0; i < table->resource_count; i++) {
        const struct mig_dp_resource *resource = &table->resources[i];
        const char *name = resource->name;

        if (mig_text_starts_with(name, MIG_DP_DOMAIN)) {
            name += strlen(MIG_DP_DOMAIN);
        }
        used +=
            (size_t)snprintf(buffer + used, sizeof(buffer) - used, "%s%s:", i ? " | " : "", name);
        for (uint32_t j = 0; j < resource->count; j++) {
            const struct mig_dp_slice *slice = &table->slices[resource->first + j];
            char replicas[16] = "";

            if (slice->replicas) {
                snprintf(replicas, sizeof(replicas), "x%u", slice->replicas);
            }
            used += (size_t)snprintf(buffer + used, sizeof(buffer) - used, " %s%s%s%s", slice->uuid,
                                     replicas, slice->unhealthy ? "!" : "", slice->kept ? "~" : "");
        }
    }
    return buffer;
}

const char *dp_resources(const struct config_node *node, const char *strategy)
{
    struct mig_dp_config *config = dp_strategy(strategy);
    struct mig_dp_table *table = dp_table(node, config);
    const char *text = dp_table_text(table);

    mig_dp_table_free(table);
    mig_dp_config_free(config);
    return text;
}

bool dp_has_note(const struct mig_dp_table *table, const char *text)
{
    for (uint32_t i = 0; i < table->note_count; i++) {
        if (strstr(table->notes[i].text, text)) {
            return true;
        }
    }
    return false;
}
