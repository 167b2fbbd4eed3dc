/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the labels of a node: what they say, that an API server takes them, and where they go.
 */
#include "config_support.h"
#include "discovery/labels.h"
#include "plan_support.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void add_gpu(struct config_node *node, const char *model, const char *layout)
{
    struct mig_gpu *gpu;

    config_add_gpu(node, model, layout);
    gpu = &node->gpus[node->node.gpu_count - 1];
    gpu->pci_class = 0x030200;
    gpu->cc_major = gpu->layout.model ? gpu->layout.model->cc_major : 7;
    gpu->cc_minor = gpu->layout.model ? gpu->layout.model->cc_minor : 5;
    gpu->memory_total_mib = gpu->layout.model ? gpu->layout.model->total_memory_mib : 15360;
    for (unsigned i = 0; i < MIG_GI_MAX; i++) {
        for (unsigned j = 0; j < MIG_CI_MAX; j++) {
            gpu->gi_infos[i].devices[j].attributes = (struct mig_attributes){
                MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN,
                MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN,
            };
        }
    }
}

static struct config_node new_node(void)
{
    struct config_node node = {.node.cuda_version = 12050};

    snprintf(node.node.driver_version, sizeof(node.node.driver_version), "550.107.02");
    return node;
}

static struct mig_labels make(struct config_node *node, const struct mig_label_facts *facts)
{
    struct mig_labels labels;
    struct mig_error error;

    node->node.gpus = node->gpus;
    if (mig_labels_make(&node->node, facts, &labels, NULL, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return labels;
}

static void expect(const struct mig_labels *labels, const char *name, const char *value)
{
    char key[128];
    const char *got;

    snprintf(key, sizeof(key), "nvidia.com/%s", name);
    got = mig_labels_get(labels, key);
    if (!got || !value) {
        assert_ptr_equal(got, value);
        return;
    }
    assert_string_equal(got, value);
}

static void test_g1_labels_of_every_node(void **state)
{
    struct config_node node = new_node();
    struct mig_label_facts facts = {.machine = "DGXA100 920-23687-2530-000 (rev 1)\n",
                                    .with_timestamp = true,
                                    .timestamp_s = 1724064000};
    struct mig_labels labels;

    (void)state;
    add_gpu(&node, "A100-SXM4-40GB", NULL);
    add_gpu(&node, "A100-SXM4-40GB", NULL);
    labels = make(&node, &facts);
    expect(&labels, "gfd.timestamp", "1724064000");
    expect(&labels, "cuda.driver.major", "550");
    expect(&labels, "cuda.driver.minor", "107");
    expect(&labels, "cuda.driver.rev", "02");
    expect(&labels, "cuda.driver-version.major", "550");
    expect(&labels, "cuda.driver-version.minor", "107");
    expect(&labels, "cuda.driver-version.revision", "02");
    expect(&labels, "cuda.driver-version.full", "550.107.02");
    expect(&labels, "cuda.runtime.major", "12");
    expect(&labels, "cuda.runtime.minor", "5");
    expect(&labels, "cuda.runtime-version.major", "12");
    expect(&labels, "cuda.runtime-version.minor", "5");
    expect(&labels, "cuda.runtime-version.full", "12.5");
    expect(&labels, "gpu.machine", "DGXA100-920-23687-2530-000-rev-1");
    expect(&labels, "gpu.product", "NVIDIA-A100-SXM4-40GB");
    expect(&labels, "gpu.count", "2");
    expect(&labels, "gpu.replicas", "1");
    expect(&labels, "gpu.sharing-strategy", "none");
    expect(&labels, "gpu.memory", "40960");
    expect(&labels, "gpu.family", "ampere");
    expect(&labels, "gpu.compute.major", "8");
    expect(&labels, "gpu.compute.minor", "0");
    expect(&labels, "gpu.mode", "compute");
    expect(&labels, "mig.capable", "true");
    expect(&labels, "mps.capable", "false");
    expect(&labels, "vgpu.present", "false");
    expect(&labels, "mig.strategy", NULL);
    expect(&labels, "gpu.clique", NULL);
    assert_int_equal(labels.count, 26);
    mig_labels_release(&labels);

    /* what is not known is not told */
    facts = (struct mig_label_facts){0};
    node.node.cuda_version = MIG_UNKNOWN;
    node.gpus[0].pci_class = 0x030000;
    snprintf(node.node.driver_version, sizeof(node.node.driver_version), "550.107");
    labels = make(&node, &facts);
    expect(&labels, "gfd.timestamp", NULL);
    expect(&labels, "gpu.machine", "unknown");
    expect(&labels, "gpu.mode", "unknown");
    expect(&labels, "cuda.driver.rev", "");
    expect(&labels, "cuda.runtime.major", NULL);
    mig_labels_release(&labels);
}

static void test_g1_no_gpu_no_label(void **state)
{
    struct config_node node = new_node();
    struct mig_label_facts facts = {.with_timestamp = true};
    struct mig_labels labels = make(&node, &facts);

    (void)state;
    assert_int_equal(labels.count, 0);
}

static void test_g1_families(void **state)
{
    static const struct {
        int major, minor;
        const char *family;
    } cases[] = {{7, 0, "volta"},        {7, 5, "turing"},     {8, 6, "ampere"},
                 {8, 9, "ada-lovelace"}, {9, 0, "hopper"},     {10, 0, "blackwell"},
                 {11, 0, "undefined"},   {12, 0, "blackwell"}, {13, 0, "rubin"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config_node node = new_node();
        struct mig_labels labels;

        add_gpu(&node, "T4", NULL);
        node.gpus[0].cc_major = cases[i].major;
        node.gpus[0].cc_minor = cases[i].minor;
        labels = make(&node, &(struct mig_label_facts){0});
        expect(&labels, "gpu.family", cases[i].family);
        mig_labels_release(&labels);
    }
}

static void test_g2_single(void **state)
{
    struct config_node node = new_node();
    struct mig_label_facts facts = {.strategy = MIG_LABEL_SINGLE};
    struct mig_labels labels;

    (void)state;
    add_gpu(&node, "A100-SXM4-40GB", "1g.5gb@0 1g.5gb@1");
    add_gpu(&node, "A100-SXM4-40GB", "1g.5gb@6");
    labels = make(&node, &facts);
    expect(&labels, "mig.strategy", "single");
    expect(&labels, "gpu.product", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb");
    expect(&labels, "gpu.count", "3");
    expect(&labels, "gpu.replicas", "1");
    expect(&labels, "gpu.sharing-strategy", "none");
    expect(&labels, "gpu.memory", "4864");
    expect(&labels, "gpu.multiprocessors", "14");
    expect(&labels, "gpu.slices.gi", "1");
    expect(&labels, "gpu.slices.ci", "1");
    expect(&labels, "gpu.engines.copy", "1");
    expect(&labels, "gpu.engines.decoder", "0");
    expect(&labels, "gpu.engines.encoder", "0");
    expect(&labels, "gpu.engines.jpeg", "0");
    expect(&labels, "gpu.engines.ofa", "0");
    expect(&labels, "gpu.family", "ampere");
    expect(&labels, "mig-1g.5gb.count", NULL);
    mig_labels_release(&labels);

    /* the driver's word counts, where there is one */
    node.gpus[0].gi_infos[0].devices[0].attributes =
        (struct mig_attributes){15, 1, 1, 2, 3, 4, 5, 6, 4800};
    labels = make(&node, &facts);
    expect(&labels, "gpu.memory", "4800");
    expect(&labels, "gpu.multiprocessors", "15");
    expect(&labels, "gpu.engines.copy", "2");
    expect(&labels, "gpu.engines.ofa", "6");
    mig_labels_release(&labels);
}

static void expect_invalid(struct config_node *node, const char *why)
{
    struct mig_label_facts facts = {.strategy = MIG_LABEL_SINGLE};
    char reason[MIG_LABEL_REASON_SIZE];
    struct mig_labels labels;

    node->node.gpus = node->gpus;
    assert_int_equal(mig_labels_make(&node->node, &facts, &labels, reason, NULL), 0);
    assert_string_equal(reason, why);
    expect(&labels, "gpu.product", "NVIDIA-A30-MIG-INVALID");
    expect(&labels, "gpu.count", "0");
    expect(&labels, "gpu.replicas", "0");
    expect(&labels, "gpu.memory", "0");
    expect(&labels, "gpu.sharing-strategy", "");
    expect(&labels, "mig.strategy", "single");
    mig_labels_release(&labels);
}

static void test_g2_single_invalid(void **state)
{
    struct config_node node = new_node();
    struct mig_labels labels;

    (void)state;
    add_gpu(&node, "A30", "1g.6gb@0");
    add_gpu(&node, "A30", "");
    expect_invalid(&node, "GPU 1 is in MIG mode and has no MIG device");
    node.gpus[1].mig_mode = false;
    expect_invalid(&node, "GPU 0 is in MIG mode and GPU 1 is not");
    node = new_node();
    add_gpu(&node, "A30", "1g.6gb@0 2g.12gb@2");
    expect_invalid(&node, "there are MIG devices of different profiles: 1g.6gb and 2g.12gb");
    node = new_node();
    add_gpu(&node, "A30", "1g.6gb@0{}");
    expect_invalid(&node, "GPU 0 is in MIG mode and has no MIG device");

    /* without MIG mode it is as with none */
    node = new_node();
    add_gpu(&node, "A30", NULL);
    labels = make(&node, &(struct mig_label_facts){.strategy = MIG_LABEL_SINGLE});
    expect(&labels, "gpu.product", "NVIDIA-A30");
    expect(&labels, "gpu.count", "1");
    expect(&labels, "mig.strategy", "single");
    mig_labels_release(&labels);
}

static void test_g3_mixed(void **state)
{
    struct config_node node = new_node();
    struct mig_label_facts facts = {.strategy = MIG_LABEL_MIXED};
    struct mig_labels labels;

    (void)state;
    add_gpu(&node, "A100-SXM4-40GB", "3g.20gb@4 1g.5gb@0 1g.5gb+me@1");
    add_gpu(&node, "A100-SXM4-40GB", "3g.20gb@0{1c.3g.20gb@0,2c.3g.20gb@1} 3g.20gb@4");
    add_gpu(&node, "A100-SXM4-40GB", "");
    labels = make(&node, &facts);
    expect(&labels, "mig.strategy", "mixed");
    expect(&labels, "gpu.product", "NVIDIA-A100-SXM4-40GB");
    expect(&labels, "gpu.count", "3");
    expect(&labels, "gpu.replicas", "0"); /* all are in MIG mode */
    expect(&labels, "mig-3g.20gb.product", "NVIDIA-A100-SXM4-40GB-MIG-3g.20gb");
    expect(&labels, "mig-3g.20gb.count", "2");
    expect(&labels, "mig-3g.20gb.replicas", "1");
    expect(&labels, "mig-3g.20gb.sharing-strategy", "none");
    expect(&labels, "mig-3g.20gb.memory", "19968");
    expect(&labels, "mig-3g.20gb.multiprocessors", "42");
    expect(&labels, "mig-3g.20gb.slices.gi", "3");
    expect(&labels, "mig-3g.20gb.slices.ci", "3");
    expect(&labels, "mig-3g.20gb.engines.copy", "3");
    expect(&labels, "mig-3g.20gb.engines.decoder", "2");
    expect(&labels, "mig-1c.3g.20gb.count", "1");
    expect(&labels, "mig-1c.3g.20gb.slices.gi", "3");
    expect(&labels, "mig-1c.3g.20gb.slices.ci", "1");
    expect(&labels, "mig-2c.3g.20gb.count", "1");
    expect(&labels, "mig-1g.5gb.me.product", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb.me");
    expect(&labels, "mig-1g.5gb.me.count", "1");
    mig_labels_release(&labels);

    node.gpus[2].mig_mode = false;
    labels = make(&node, &facts);
    expect(&labels, "gpu.replicas", "1");
    expect(&labels, "gpu.count", "3");
    mig_labels_release(&labels);
}

static void test_g4_shared(void **state)
{
    struct config_node node = new_node();
    struct mig_label_sharing sharing[] = {{"nvidia.com/gpu", 4, false},
                                          {"nvidia.com/mig-1g.5gb", 2, true},
                                          {"nvidia.com/mig-2g.10gb", 3, false}};
    struct mig_label_facts facts = {
        .strategy = MIG_LABEL_MIXED, .sharing = sharing, .sharing_count = 3};
    struct mig_labels labels;

    (void)state;
    add_gpu(&node, "A100-SXM4-40GB", "1g.5gb@0 2g.10gb@2");
    add_gpu(&node, "A100-SXM4-40GB", NULL);
    labels = make(&node, &facts);
    expect(&labels, "gpu.product", "NVIDIA-A100-SXM4-40GB-SHARED");
    expect(&labels, "gpu.replicas", "4");
    expect(&labels, "gpu.sharing-strategy", "time-slicing");
    expect(&labels, "mig-1g.5gb.product", "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb");
    expect(&labels, "mig-1g.5gb.replicas", "2");
    expect(&labels, "mig-1g.5gb.sharing-strategy", "time-slicing");
    expect(&labels, "mig-2g.10gb.product", "NVIDIA-A100-SXM4-40GB-MIG-2g.10gb-SHARED");
    expect(&labels, "mig-2g.10gb.replicas", "3");
    expect(&labels, "mps.capable", "false");
    mig_labels_release(&labels);

    /* one in MIG mode is not shared whole; MPS is told, but does not go with MIG */
    node.node.gpu_count = 1;
    facts.mps = true;
    labels = make(&node, &facts);
    expect(&labels, "gpu.product", "NVIDIA-A100-SXM4-40GB");
    expect(&labels, "gpu.replicas", "0");
    expect(&labels, "gpu.sharing-strategy", "none");
    expect(&labels, "mig-2g.10gb.sharing-strategy", "mps");
    expect(&labels, "mps.capable", "false");
    mig_labels_release(&labels);
    node = new_node();
    add_gpu(&node, "A30", NULL);
    facts.strategy = MIG_LABEL_SINGLE;
    labels = make(&node, &facts);
    expect(&labels, "gpu.sharing-strategy", "mps");
    expect(&labels, "mps.capable", "true");
    mig_labels_release(&labels);
}

static bool is_text(const char *text, bool may_be_empty)
{
    size_t length = strlen(text);

    if (length == 0) {
        return may_be_empty;
    }
    for (size_t i = 0; i < length; i++) {
        bool end = i == 0 || i + 1 == length;

        if (!isalnum((unsigned char)text[i]) && (end || !strchr("-_.", text[i]))) {
            return false;
        }
    }
    return length <= 63;
}

static void assert_legal(const struct mig_labels *labels)
{
    for (size_t i = 0; i < labels->count; i++) {
        const char *key = labels->items[i].key;

        assert_memory_equal(key, "nvidia.com/", 11);
        if (!is_text(key + 11, false) || !is_text(labels->items[i].value, true)) {
            fail_msg("no legal label: %s=%s", key, labels->items[i].value);
        }
        assert_true(i == 0 || strcmp(labels->items[i - 1].key, key) < 0);
    }
}

/* Every MIG device that there can be, shared and not, of every GPU of the catalogue. */
static void test_g5_length_for_every_gpu_and_profile(void **state)
{
    unsigned checked = 0;

    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        for (unsigned j = 0; j < model->profile_count; j++) {
            for (unsigned k = 0; k < model->profiles[j].ci_profile_count; k++) {
                struct config_node node = new_node();
                struct mig_label_sharing sharing = {"nvidia.com/gpu", 2, false};
                struct mig_label_facts facts = {
                    .strategy = MIG_LABEL_SINGLE, .sharing = &sharing, .sharing_count = 1};
                struct mig_labels labels;
                struct mig_gpu *gpu = &node.gpus[0];

                add_gpu(&node, "A30", "");
                snprintf(gpu->name, sizeof(gpu->name), "%s", model->name);
                gpu->layout.model = model;
                gpu->layout.gi_count = 1;
                gpu->layout.gis[0] = (struct mig_gi){
                    .profile = (uint8_t)j, .ci_count = 1, .cis[0].profile = (uint8_t)k};
                labels = make(&node, &facts);
                assert_legal(&labels);
                assert_non_null(strstr(mig_labels_get(&labels, "nvidia.com/gpu.product"), "-MIG-"));
                assert_non_null(strstr(mig_labels_get(&labels, "nvidia.com/gpu.product"), "gb"));
                mig_labels_release(&labels);
                facts.strategy = MIG_LABEL_MIXED;
                labels = make(&node, &facts);
                assert_legal(&labels);
                mig_labels_release(&labels);
                checked++;
            }
        }
    }
    assert_true(checked > 100);
}

static void test_g5_shortening(void **state)
{
    static const char maxq[] = "NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-Edition";
    char buffer[MIG_LABEL_VALUE_SIZE];

    (void)state;
    mig_label_shorten(maxq, "", 63, buffer);
    assert_string_equal(buffer, maxq);
    mig_label_shorten(maxq, "-MIG-1g.24gb", 63, buffer);
    assert_string_equal(buffer, "NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-MIG-1g.24gb");
    mig_label_shorten(maxq, "-MIG-1g.24gb.me.all-SHARED", 63, buffer);
    assert_string_equal(buffer, "NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-MIG-1g.24gb.me.all-SHARED");
    mig_label_shorten("Averylongwordwithoutanyplacetobreak", "-MIG-1g.5gb", 20, buffer);
    assert_string_equal(buffer, "Averylong-MIG-1g.5gb");
    mig_label_shorten("A-.", "-MIG", 63, buffer);
    assert_string_equal(buffer, "A-MIG");
    mig_label_sanitise(" (c) some [ / thing / ]else_ ", buffer, sizeof(buffer));
    assert_string_equal(buffer, "c-some-thing-else");
    mig_label_sanitise("--", buffer, sizeof(buffer));
    assert_string_equal(buffer, "");
    mig_label_sanitise("abc def", buffer, 5);
    assert_string_equal(buffer, "abc");
}

/* Names and values that no API server takes never get out. */
static void test_g5_bad_names(void **state)
{
    struct mig_labels labels = {0};

    (void)state;
    mig_labels_set(&labels, "gpu.count", "%s", "1.-");
    assert_string_equal(mig_labels_get(&labels, "nvidia.com/gpu.count"), "1");
    mig_labels_set(&labels, "gpu/count", "%s", "1");
    assert_int_not_equal(labels.error, 0);
    mig_labels_release(&labels);
    mig_labels_set(&labels, "", "%s", "1");
    assert_int_not_equal(labels.error, 0);
    mig_labels_release(&labels);
}

static void test_g6_several_models(void **state)
{
    struct config_node node = new_node();
    struct mig_label_facts facts = {.strategy = MIG_LABEL_MIXED};
    struct mig_labels labels, again;

    (void)state;
    add_gpu(&node, "T4", NULL);
    add_gpu(&node, "A30", "1g.6gb@0");
    add_gpu(&node, "A100-SXM4-40GB", NULL);
    add_gpu(&node, "A100-SXM4-40GB", NULL);
    labels = make(&node, &facts);
    assert_legal(&labels);
    expect(&labels, "gpu.product", "NVIDIA-A100-SXM4-40GB");
    expect(&labels, "gpu.count", "2");
    expect(&labels, "gpu.product.NVIDIA-A100-SXM4-40GB", "2");
    expect(&labels, "gpu.product.NVIDIA-A30", "1");
    expect(&labels, "gpu.product.T4", "1");
    expect(&labels, "mig-1g.6gb.product", "NVIDIA-A30-MIG-1g.6gb");
    /* the order of the GPUs does not matter */
    for (unsigned i = 0; i < 2; i++) {
        struct mig_gpu swap = node.gpus[i];

        node.gpus[i] = node.gpus[3 - i];
        node.gpus[3 - i] = swap;
    }
    again = make(&node, &facts);
    assert_true(mig_labels_equal(&labels, &again));
    mig_labels_release(&again);
    mig_labels_release(&labels);
    /* of equally many the first by name; whole ones before those in MIG mode */
    node.node.gpu_count = 3;
    node.gpus[0].mig_mode = true;
    labels = make(&node, &facts);
    expect(&labels, "gpu.replicas", "1");
    mig_labels_release(&labels);
}

static void test_g6_lost_gpu_is_left_out(void **state)
{
    struct config_node node = new_node();
    struct mig_labels labels;

    (void)state;
    add_gpu(&node, "A30", "1g.6gb@0");
    add_gpu(&node, "A30", "");
    snprintf(node.gpus[1].problem, sizeof(node.gpus[1].problem), "could not open it: GPU is lost");
    labels = make(&node, &(struct mig_label_facts){.strategy = MIG_LABEL_SINGLE});
    expect(&labels, "gpu.product", "NVIDIA-A30-MIG-1g.6gb");
    expect(&labels, "gpu.count", "1");
    mig_labels_release(&labels);
}

static void test_g12_virtual_gpu_and_fabric(void **state)
{
    struct config_node node = new_node();
    struct mig_labels labels;

    (void)state;
    add_gpu(&node, "A30", NULL);
    add_gpu(&node, "A30", NULL);
    node.gpus[1].vgpu = true;
    snprintf(node.gpus[1].vgpu_host_version, MIG_VGPU_TEXT_SIZE, "470.63");
    snprintf(node.gpus[1].vgpu_host_branch, MIG_VGPU_TEXT_SIZE, "r470_00");
    snprintf(node.gpus[0].clique, MIG_CLIQUE_SIZE, "7b968a6d-c8aa-45e1-9e07-e1e51be99c31.7");
    labels = make(&node, &(struct mig_label_facts){0});
    expect(&labels, "vgpu.present", "true");
    expect(&labels, "vgpu.host-driver-version", "470.63");
    expect(&labels, "vgpu.host-driver-branch", "r470_00");
    expect(&labels, "gpu.clique", "7b968a6d-c8aa-45e1-9e07-e1e51be99c31.7");
    mig_labels_release(&labels);
    snprintf(node.gpus[1].clique, MIG_CLIQUE_SIZE, "7b968a6d-c8aa-45e1-9e07-e1e51be99c31.8");
    labels = make(&node, &(struct mig_label_facts){0});
    expect(&labels, "gpu.clique", NULL);
    mig_labels_release(&labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_g1_labels_of_every_node),
        cmocka_unit_test(test_g1_no_gpu_no_label),
        cmocka_unit_test(test_g1_families),
        cmocka_unit_test(test_g2_single),
        cmocka_unit_test(test_g2_single_invalid),
        cmocka_unit_test(test_g3_mixed),
        cmocka_unit_test(test_g4_shared),
        cmocka_unit_test(test_g5_length_for_every_gpu_and_profile),
        cmocka_unit_test(test_g5_shortening),
        cmocka_unit_test(test_g5_bad_names),
        cmocka_unit_test(test_g6_several_models),
        cmocka_unit_test(test_g6_lost_gpu_is_left_out),
        cmocka_unit_test(test_g12_virtual_gpu_and_fabric),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
