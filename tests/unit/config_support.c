/* SPDX-License-Identifier: Apache-2.0 */
/* Makes what the tests of config/ work on, and writes goals in the notation of plan_support.h. */
#include "config_support.h"
#include "plan_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

void config_add_gpu(struct config_node *node, const char *model, const char *layout)
{
    struct mig_gpu *gpu = &node->gpus[node->node.gpu_count];

    assert_true(node->node.gpu_count < CONFIG_TEST_GPUS);
    node->node.gpus = node->gpus;
    *gpu = (struct mig_gpu){.index = node->node.gpu_count};
    snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%u", node->node.gpu_count);
    snprintf(gpu->name, sizeof(gpu->name), "%s", model);
    node->node.gpu_count++;
    if (strcmp(model, "T4") == 0) {
        gpu->pci_device = 0x1EB810DE;
        return;
    }
    gpu->mig_capable = true;
    gpu->layout.model = plan_model(model);
    snprintf(gpu->name, sizeof(gpu->name), "%s", gpu->layout.model->name);
    gpu->pci_device = gpu->layout.model->pci_ids[0].device;
    gpu->mig_mode = gpu->mig_mode_pending = layout != NULL;
    if (layout) {
        gpu->layout = plan_layout(gpu->layout.model, layout);
    }
}

struct mig_config *config_parse(const char *text)
{
    struct mig_config *config = NULL;
    struct mig_error error;

    if (mig_config_parse("file", text, strlen(text), &config, &error) < 0) {
        fail_msg("%s", error.message);
    }
    return config;
}

static void add_gi(const struct mig_model *model, const struct mig_target_gi *gi, char *buffer,
                   size_t size)
{
    const struct mig_profile *profile = &model->profiles[gi->profile];
    bool plain = gi->ci_count == 1 && profile->ci_profiles[gi->ci_profiles[0]].is_default;
    size_t used = strlen(buffer);

    used += (size_t)snprintf(buffer + used, size - used, " %s", profile->name);
    if (gi->start != MIG_START_ANY) {
        used += (size_t)snprintf(buffer + used, size - used, "@%u", gi->start);
    }
    for (uint8_t i = 0; !plain && i < gi->ci_count; i++) {
        used += (size_t)snprintf(buffer + used, size - used, "%s%s", i > 0 ? "," : "{",
                                 profile->ci_profiles[gi->ci_profiles[i]].name);
    }
    if (!plain) {
        snprintf(buffer + used, size - used, "%s", gi->ci_count > 0 ? "}" : "{}");
    }
}

const char *config_goal_text(const struct config_node *node, const struct mig_goal *goal,
                             size_t gpu)
{
    static char buffer[1024];
    const struct mig_gpu_goal *wanted = &goal->gpus[gpu];

    if (wanted->kind == MIG_GOAL_LEAVE) {
        return "leave";
    }
    snprintf(buffer, sizeof(buffer), "%s%s", wanted->kind == MIG_GOAL_MODE ? "mode " : "",
             wanted->mig_mode ? "on" : "off");
    for (uint8_t i = 0; i < wanted->target.gi_count; i++) {
        add_gi(node->gpus[gpu].layout.model, &wanted->target.gis[i], buffer, sizeof(buffer));
    }
    return buffer;
}
