/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Config files: whatever is accepted can be validated, and turned into goals for a node without a
 * crash; a refusal has a place.
 */
#include "base/text.h"
#include "fuzz.h"
#include <mig/config.h>
#include <string.h>

static void ignore(const struct mig_finding *finding, void *data)
{
    FUZZ_CHECK(finding->text[0] != '\0');
    (void)data;
}

static void make_node(struct mig_node *node, struct mig_gpu gpus[3])
{
    static const char *const names[] = {"A100-SXM4-40GB", "A30",
                                        "RTX PRO 6000 Blackwell Server Edition"};

    memset(gpus, 0, 3 * sizeof(gpus[0]));
    *node = (struct mig_node){.gpu_count = 3, .gpus = gpus};
    for (uint32_t i = 0; i < 3; i++) {
        gpus[i].index = i;
        gpus[i].mig_capable = gpus[i].mig_mode = gpus[i].mig_mode_pending = true;
        gpus[i].layout.model = mig_catalog_find_name(names[i]);
        FUZZ_CHECK(gpus[i].layout.model);
        gpus[i].pci_device = gpus[i].layout.model->pci_ids[0].device;
    }
}

static void use(const struct mig_config *config)
{
    static struct mig_gpu gpus[3];
    static struct mig_goal goal;
    struct mig_node node;
    struct mig_error error;

    make_node(&node, gpus);
    mig_config_validate(config, SIZE_MAX, NULL, ignore, NULL, &error);
    mig_config_validate(config, SIZE_MAX, &node, ignore, NULL, &error);
    for (size_t i = 0; i < mig_config_count(config) && i < 64; i++) {
        FUZZ_CHECK(mig_config_name(config, i));
        mig_config_goal(config, i, &node, false, &goal, &error);
        mig_config_goal(config, i, &node, true, &goal, &error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mig_config *config = NULL;
    struct mig_error error;

    mig_error_clear(&error);
    if (mig_config_parse("file", (const char *)data, size, &config, &error) < 0) {
        FUZZ_CHECK(mig_text_starts_with(error.message, "file:"));
        FUZZ_CHECK(error.code >= 1);
        return 0;
    }
    use(config);
    mig_config_free(config);
    return 0;
}
