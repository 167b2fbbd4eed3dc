/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the labels of a node: what they say, that an API server takes them, and where they go.
 */
#include "base/file.h"
#include "config_support.h"
#include "discovery/discovery.h"
#include "discovery/node_feature.h"
#include "kube/json.h"
#include "kube_server.h"
#include "plan_support.h"
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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

    /* one in MIG mode is not shared whole; by MPS slices are shared as GPUs are */
    node.node.gpu_count = 1;
    facts.mps = true;
    labels = make(&node, &facts);
    expect(&labels, "gpu.product", "NVIDIA-A100-SXM4-40GB");
    expect(&labels, "gpu.replicas", "0");
    expect(&labels, "gpu.sharing-strategy", "none");
    expect(&labels, "mig-2g.10gb.product", "NVIDIA-A100-SXM4-40GB-MIG-2g.10gb-SHARED");
    expect(&labels, "mig-2g.10gb.replicas", "3");
    expect(&labels, "mig-2g.10gb.sharing-strategy", "mps");
    expect(&labels, "mps.capable", "true");
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

/* ---- where they go ---- */

struct publishing {
    struct kube_server server;
    struct mig_kube *kube;
    struct mig_discovery *discovery;
    struct config_node node;
    char folder[64], file[128];
    unsigned written, failed, requests;
    char reason[MIG_LABEL_REASON_SIZE];
    json_t *feature; /* what the API server has of it */
    unsigned refuse; /* so many requests with 503 */
    bool no_pod;
};

static void answer_json(struct kube_seen *request, int status, const json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);

    assert_non_null(text);
    kube_answer(request, status, NULL, "%s", text);
    free(text);
}

/* A server with one pod, one node and one NodeFeature. */
static void serve(struct kube_seen *request, void *data)
{
    struct publishing *publishing = data;
    MIG_AUTO_JSON json_t *body = NULL;

    publishing->requests++;
    if (request->body_size > 0) {
        assert_int_equal(mig_kube_json_parse(request->body, request->body_size, &body, NULL), 0);
    }
    if (publishing->refuse > 0) {
        publishing->refuse--;
        kube_answer(request, 500, NULL, "{\"kind\":\"Status\",\"message\":\"not now\"}");
    } else if (strstr(request->path, "/pods/migd-abc")) {
        kube_answer(request, publishing->no_pod ? 403 : 200, NULL,
                    "{\"metadata\":{\"name\":\"migd-abc\",\"uid\":\"p1\",\"ownerReferences\":[{"
                    "\"apiVersion\":\"apps/v1\",\"kind\":\"DaemonSet\",\"name\":\"migd\","
                    "\"uid\":\"d1\",\"controller\":true,\"blockOwnerDeletion\":true}]}}");
    } else if (strcmp(request->method, "GET") == 0 && !publishing->feature) {
        kube_answer(request, 404, NULL, "{\"kind\":\"Status\",\"code\":404}");
    } else if (strcmp(request->method, "GET") == 0) {
        answer_json(request, 200, publishing->feature);
    } else if (strcmp(request->method, "POST") == 0) {
        assert_string_equal(request->path,
                            "/apis/nfd.k8s-sigs.io/v1alpha1/namespaces/gpu/nodefeatures");
        json_decref(publishing->feature);
        publishing->feature = json_incref(body);
        json_object_set_new(json_object_get(body, "metadata"), "resourceVersion", json_string("1"));
        answer_json(request, 201, body);
    } else {
        answer_json(request, 200, body);
    }
}

static void on_wrote(enum mig_discovery_output output, const struct mig_error *error, void *data)
{
    struct publishing *publishing = data;

    (void)output;
    publishing->written += !error;
    publishing->failed += error != NULL;
}

static void on_invalid(const char *reason, void *data)
{
    struct publishing *publishing = data;

    snprintf(publishing->reason, sizeof(publishing->reason), "%s", reason);
}

static struct publishing *publish_to(enum mig_discovery_output output)
{
    struct publishing *publishing = calloc(1, sizeof(*publishing));
    struct mig_discovery_options options = {.node_name = "node-1",
                                            .namespace_name = "gpu",
                                            .pod_name = "migd-abc",
                                            .wrote = on_wrote,
                                            .invalid = on_invalid,
                                            .recheck_ms = 300};
    struct mig_discovery_rules rules = {.strategy = MIG_LABEL_SINGLE};

    assert_non_null(publishing);
    publishing->node = new_node();
    publishing->node.node.gpus = publishing->node.gpus;
    snprintf(publishing->folder, sizeof(publishing->folder), "/tmp/mig-labels-XXXXXX");
    assert_non_null(mkdtemp(publishing->folder));
    snprintf(publishing->file, sizeof(publishing->file), "%s/gfd", publishing->folder);
    kube_server_start(&publishing->server, serve, publishing);
    publishing->kube = kube_server_client(&publishing->server, NULL, NULL);
    options.outputs[output] = true;
    options.file = publishing->file;
    options.machine_file = "/nonexistent";
    options.kube = publishing->kube;
    options.data = publishing;
    assert_int_equal(
        mig_discovery_new(&publishing->server.loop, &options, &publishing->discovery, NULL), 0);
    mig_discovery_set_rules(publishing->discovery, &rules);
    return publishing;
}

static void stop_publishing(struct publishing *publishing)
{
    mig_discovery_free(publishing->discovery);
    mig_kube_free(publishing->kube);
    kube_server_stop(&publishing->server);
    json_decref(publishing->feature);
    unlink(publishing->file);
    assert_int_equal(rmdir(publishing->folder), 0);
    free(publishing);
}

static void show(struct publishing *publishing, const char *layout)
{
    publishing->node.node.gpu_count = 0;
    add_gpu(&publishing->node, "A30", layout);
    publishing->node.node.gpus = publishing->node.gpus;
    mig_discovery_set_node(publishing->discovery, &publishing->node.node);
}

static char *file_of(const struct publishing *publishing)
{
    char *text = NULL;
    size_t size = 0;

    assert_int_equal(mig_file_read(publishing->file, 1u << 20, &text, &size, NULL), 0);
    return text;
}

static bool file_has(const struct publishing *publishing, const char *line)
{
    MIG_AUTO_FREE char *text = file_of(publishing);

    return strstr(text, line) != NULL;
}

static void test_g7_file(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_FILE);
    struct stat status;
    MIG_AUTO_FREE char *text = NULL;
    char *lines[128], *rest;
    unsigned count = 0;

    (void)state;
    show(publishing, "1g.6gb@0");
    assert_int_equal(stat(publishing->file, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0644);
    text = file_of(publishing);
    rest = text;
    while (rest && *rest && count < 128) {
        lines[count] = strsep(&rest, "\n");
        assert_non_null(strchr(lines[count], '='));
        assert_true(count == 0 || strcmp(lines[count - 1], lines[count]) < 0);
        count++;
    }
    assert_int_equal(count, mig_discovery_labels(publishing->discovery)->count);
    /* an unchanged file is left as it is, a lost one is written again */
    mig_discovery_hold(publishing->discovery, false);
    assert_int_equal(publishing->written, 1);
    assert_int_equal(unlink(publishing->file), 0);
    assert_true(kube_server_run(&publishing->server, &publishing->written, 2));
    assert_true(file_has(publishing, "nvidia.com/gpu.product=NVIDIA-A30-MIG-1g.6gb\n"));
    stop_publishing(publishing);
}

static void test_g7_file_that_cannot_be_written(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_FILE);

    (void)state;
    assert_int_equal(mkdir(publishing->file, 0755), 0);
    show(publishing, NULL);
    assert_int_equal(publishing->failed, 1);
    assert_int_equal(rmdir(publishing->file), 0);
    assert_true(kube_server_run(&publishing->server, &publishing->written, 1));
    stop_publishing(publishing);
}

static const char *spec_label(const json_t *feature, const char *name)
{
    char key[128];

    snprintf(key, sizeof(key), "nvidia.com/%s", name);
    return mig_kube_json_text(feature, "spec", "labels", key, NULL);
}

static void test_g8_node_feature(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_NODE_FEATURE);
    const json_t *owners, *feature;
    unsigned requests;

    (void)state;
    show(publishing, "1g.6gb@0");
    assert_true(kube_server_run(&publishing->server, &publishing->written, 1));
    feature = publishing->feature;
    assert_string_equal(mig_kube_metadata(feature, "name"), "nvidia-features-for-node-1");
    assert_string_equal(mig_kube_label(feature, "nfd.node.kubernetes.io/node-name"), "node-1");
    assert_string_equal(spec_label(feature, "gpu.product"), "NVIDIA-A30-MIG-1g.6gb");
    assert_true(
        json_is_object(mig_kube_json_member(feature, "spec", "features", "attributes", NULL)));
    owners = mig_kube_json_member(feature, "metadata", "ownerReferences", NULL);
    assert_int_equal(json_array_size(owners), 2);
    assert_string_equal(mig_kube_json_text(json_array_get(owners, 0), "kind", NULL), "DaemonSet");
    assert_string_equal(mig_kube_json_text(json_array_get(owners, 0), "uid", NULL), "d1");
    assert_string_equal(mig_kube_json_text(json_array_get(owners, 1), "name", NULL), "migd-abc");
    /* looked at again later, and left alone */
    requests = publishing->requests;
    assert_true(kube_server_run(&publishing->server, &publishing->requests, requests + 2));
    assert_int_equal(publishing->written, 1);
    assert_string_equal(publishing->server.seen[publishing->server.count - 1].method, "GET");
    stop_publishing(publishing);
}

static void test_g8_without_right_to_read_pods(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_NODE_FEATURE);

    (void)state;
    publishing->no_pod = true;
    show(publishing, NULL);
    assert_true(kube_server_run(&publishing->server, &publishing->written, 1));
    assert_null(mig_kube_json_member(publishing->feature, "metadata", "ownerReferences", NULL));
    stop_publishing(publishing);
}

static void test_g8_patch_of_what_is_there(void **state)
{
    struct mig_labels labels = {0};
    MIG_AUTO_JSON json_t *wanted = NULL;
    MIG_AUTO_JSON json_t *patch = NULL;
    MIG_AUTO_JSON json_t *there =
        json_pack("{s:{s:s, s:{s:s}}, s:{s:{s:s, s:s}}}", "metadata", "resourceVersion", "7",
                  "labels", "theirs", "x", "spec", "labels", "nvidia.com/gpu.count", "4",
                  "nvidia.com/mig-1g.5gb.count", "7");

    (void)state;
    mig_labels_set(&labels, "gpu.count", "2");
    wanted = mig_node_feature_make(&labels, "n", NULL);
    assert_true(mig_node_feature_patch(there, wanted, &patch));
    assert_string_equal(mig_kube_metadata(patch, "resourceVersion"), "7");
    assert_string_equal(spec_label(patch, "gpu.count"), "2");
    assert_true(json_is_null(
        mig_kube_json_member(patch, "spec", "labels", "nvidia.com/mig-1g.5gb.count", NULL)));
    assert_null(mig_kube_json_member(patch, "metadata", "labels", "theirs", NULL));
    json_decref(patch);
    patch = NULL;
    assert_true(mig_node_feature_patch(wanted, wanted, &patch));
    assert_null(patch);
    /* of any form */
    json_decref(there);
    there = json_pack("{s:[], s:{s:i}}", "metadata", "spec", "labels", 3);
    assert_true(mig_node_feature_patch(there, wanted, &patch));
    assert_non_null(patch);
    mig_labels_release(&labels);
}

static void test_g9_on_the_node(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_NODE);
    const struct kube_seen *seen;
    MIG_AUTO_JSON json_t *body = NULL;

    (void)state;
    publishing->refuse = 1;
    show(publishing, "1g.6gb@0");
    assert_true(kube_server_run(&publishing->server, &publishing->written, 1));
    seen = &publishing->server.seen[publishing->server.count - 1];
    assert_string_equal(seen->method, "PATCH");
    assert_string_equal(seen->path, "/api/v1/nodes/node-1?fieldManager=migd-labels&force=true");
    assert_string_equal(seen->content_type, "application/apply-patch+yaml");
    assert_int_equal(mig_kube_json_parse(seen->body, seen->body_size, &body, NULL), 0);
    assert_string_equal(mig_kube_metadata(body, "name"), "node-1");
    assert_string_equal(mig_kube_label(body, "nvidia.com/gpu.count"), "1");
    /* nothing but labels of ours */
    assert_int_equal(json_object_size(json_object_get(body, "metadata")), 2);
    stop_publishing(publishing);
}

static void test_g10_at_once(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_FILE);

    (void)state;
    show(publishing, "1g.6gb@0");
    assert_true(file_has(publishing, "nvidia.com/gpu.count=1\n"));
    show(publishing, "1g.6gb@0 1g.6gb@1");
    assert_true(file_has(publishing, "nvidia.com/gpu.count=2\n"));
    assert_string_equal(publishing->reason, "");
    show(publishing, "1g.6gb@0 2g.12gb@2");
    assert_true(file_has(publishing, "nvidia.com/gpu.product=NVIDIA-A30-MIG-INVALID\n"));
    assert_string_equal(publishing->reason,
                        "there are MIG devices of different profiles: 1g.6gb and 2g.12gb");
    /* other settings count at once too */
    mig_discovery_set_rules(publishing->discovery,
                            &(struct mig_discovery_rules){.strategy = MIG_LABEL_MIXED});
    assert_true(file_has(publishing, "nvidia.com/mig-2g.12gb.count=1\n"));
    assert_string_equal(publishing->reason, "");
    stop_publishing(publishing);
}

/* Over the API server too: well under 2 s, also when a change comes while another is on its way. */
static void test_g10_change_while_another_is_on_its_way(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_NODE);
    const struct kube_seen *seen;
    uint64_t start_ms;

    (void)state;
    show(publishing, "1g.6gb@0");
    start_ms = uv_hrtime() / 1000000;
    show(publishing, "1g.6gb@0 1g.6gb@1");
    assert_true(kube_server_run(&publishing->server, &publishing->written, 2));
    assert_true(uv_hrtime() / 1000000 - start_ms < 2000);
    seen = &publishing->server.seen[publishing->server.count - 1];
    assert_non_null(strstr(seen->body, "\"nvidia.com/gpu.count\":\"2\""));
    stop_publishing(publishing);
}

static void test_g11_kept_while_it_is_changed_and_at_the_end(void **state)
{
    struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_FILE);
    char file[128];

    (void)state;
    show(publishing, "1g.6gb@0");
    mig_discovery_hold(publishing->discovery, true);
    show(publishing, "");
    mig_discovery_set_node(publishing->discovery, NULL);
    kube_server_run_ms(&publishing->server, 400); /* over a recheck */
    assert_true(file_has(publishing, "nvidia.com/gpu.product=NVIDIA-A30-MIG-1g.6gb\n"));
    show(publishing, "2g.12gb@0");
    assert_true(file_has(publishing, "nvidia.com/gpu.product=NVIDIA-A30-MIG-1g.6gb\n"));
    mig_discovery_hold(publishing->discovery, false);
    assert_true(file_has(publishing, "nvidia.com/gpu.product=NVIDIA-A30-MIG-2g.12gb\n"));
    /* not readable: as it was */
    mig_discovery_set_node(publishing->discovery, NULL);
    assert_true(file_has(publishing, "nvidia.com/gpu.product=NVIDIA-A30-MIG-2g.12gb\n"));
    snprintf(file, sizeof(file), "%s", publishing->file);
    mig_discovery_free(publishing->discovery);
    publishing->discovery = NULL;
    kube_server_run_ms(&publishing->server, 20);
    assert_int_equal(access(file, R_OK), 0);
    stop_publishing(publishing);
}

/* Nothing here needs a privilege: see the tests of the daemon for the process as a whole. */
static void test_g13_as_nobody(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        skip();
    } else {
        struct publishing *publishing = publish_to(MIG_DISCOVERY_TO_FILE);

        assert_int_equal(chown(publishing->folder, 65534, 65534), 0);
        assert_int_equal(seteuid(65534), 0);
        show(publishing, "1g.6gb@0");
        assert_int_equal(seteuid(0), 0);
        assert_int_equal(publishing->written, 1);
        assert_true(file_has(publishing, "nvidia.com/gpu.memory=5952\n"));
        stop_publishing(publishing);
    }
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
        cmocka_unit_test(test_g7_file),
        cmocka_unit_test(test_g7_file_that_cannot_be_written),
        cmocka_unit_test(test_g8_node_feature),
        cmocka_unit_test(test_g8_without_right_to_read_pods),
        cmocka_unit_test(test_g8_patch_of_what_is_there),
        cmocka_unit_test(test_g9_on_the_node),
        cmocka_unit_test(test_g10_at_once),
        cmocka_unit_test(test_g10_change_while_another_is_on_its_way),
        cmocka_unit_test(test_g11_kept_while_it_is_changed_and_at_the_end),
        cmocka_unit_test(test_g13_as_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
