/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host tells about a node: any configuration space of a PCI device is read without going
 * past its end, and any name of a GPU or machine makes labels that an API server takes. The first
 * byte says how much of the input is the name.
 */
#include "base/text.h"
#include "discovery/labels.h"
#include "fuzz.h"
#include "gpu/pci.h"
#include <ctype.h>

static void check_text(const char *text, int may_be_empty)
{
    size_t length = strlen(text);

    FUZZ_CHECK(length <= MIG_LABEL_TEXT_MAX && (length > 0 || may_be_empty));
    for (size_t i = 0; i < length; i++) {
        int is_word = isalnum((unsigned char)text[i]);

        FUZZ_CHECK(is_word || (i > 0 && i + 1 < length && strchr("-_.", text[i])));
    }
}

static void check_labels(const char *name, struct mig_gpu *gpu)
{
    struct mig_node node = {.gpu_count = 1, .gpus = gpu, .cuda_version = 12040};
    struct mig_label_facts facts = {.strategy = MIG_LABEL_SINGLE, .machine = name};
    struct mig_labels labels;

    mig_text_copy(gpu->name, sizeof(gpu->name), name);
    mig_text_copy(gpu->clique, sizeof(gpu->clique), name);
    mig_text_copy(node.driver_version, sizeof(node.driver_version), name);
    gpu->mig_mode = true;
    FUZZ_CHECK(mig_labels_make(&node, &facts, &labels, NULL, NULL) == 0);
    for (size_t i = 0; i < labels.count; i++) {
        FUZZ_CHECK(mig_text_starts_with(labels.items[i].key, MIG_LABEL_PREFIX));
        check_text(labels.items[i].key + strlen(MIG_LABEL_PREFIX), 0);
        check_text(labels.items[i].value, 1);
    }
    mig_labels_release(&labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mig_gpu *gpu = calloc(1, sizeof(*gpu));
    size_t length = size > 0 ? data[0] : 0;
    uint8_t *space;
    char *name;

    FUZZ_CHECK(gpu);
    length = size > 0 && length > size - 1 ? size - 1 : length;
    name = fuzz_text(size > 0 ? data + 1 : data, length);
    space = malloc(size > 0 ? size - length : 1);
    FUZZ_CHECK(space);
    if (size > length + 1) {
        memcpy(space, data + 1 + length, size - 1 - length);
    }
    gpu->vgpu = mig_pci_parse_vgpu(space, size > length + 1 ? size - 1 - length : 0,
                                   gpu->vgpu_host_version, gpu->vgpu_host_branch);
    FUZZ_CHECK(strlen(gpu->vgpu_host_version) < MIG_VGPU_TEXT_SIZE);
    check_labels(name, gpu);
    free(space);
    free(name);
    free(gpu);
    return 0;
}
