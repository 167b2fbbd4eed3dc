/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what a config wants of each GPU of a node. */
#include "config_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "version: v1\nmig-configs:\n  a:\n"

static struct mig_goal goal;
static struct mig_error error;

static int make(const struct config_node *node, const char *entries, bool mode_only)
{
    char text[2048];
    struct mig_config *config;
    int rc;

    snprintf(text, sizeof(text), HEAD "%s", entries);
    config = config_parse(text);
    mig_error_clear(&error);
    rc = mig_config_goal(config, 0, &node->node, mode_only, &goal, &error);
    mig_config_free(config);
    return rc;
}

static void expect(const struct config_node *node, const char *entries, const char *const *wanted)
{
    if (make(node, entries, false) != 0) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(goal.gpu_count, node->node.gpu_count);
    for (uint32_t i = 0; i < node->node.gpu_count; i++) {
        assert_string_equal(config_goal_text(node, &goal, i), wanted[i]);
    }
}

static void expect_error(const struct config_node *node, const char *entries, int rc,
                         const char *message)
{
    assert_int_equal(make(node, entries, false), rc);
    assert_string_equal(error.message, message);
}

static void two_kinds(struct config_node *node)
{
    *node = (struct config_node){0};
    config_add_gpu(node, "A100-SXM4-40GB", "");
    config_add_gpu(node, "A30", "");
    config_add_gpu(node, "A100-SXM4-40GB", NULL);
    config_add_gpu(node, "T4", NULL);
}

static void test_all_means_those_that_can(void **state)
{
    static const char *const off[] = {"off", "off", "off", "leave"};
    static const char *const on[] = {"on", "on", "on", "leave"};
    struct config_node node;

    (void)state;
    two_kinds(&node);
    expect(&node, "  - {devices: all, mig-enabled: false}\n", off);
    expect(&node, "  - {devices: all, mig-enabled: true, mig-devices: {}}\n", on);
}

static void test_filters_and_numbers(void **state)
{
    static const char *const wanted[] = {"on 1g.5gb 1g.5gb", "on 1g.6gb 2g.12gb", "leave", "leave"};
    static const char *const subsystem[] = {"leave", "leave", "off", "leave"};
    struct config_node node;

    (void)state;
    two_kinds(&node);
    expect(
        &node,
        "  - {devices: [0], device-filter: '0x20B010DE', mig-enabled: true, mig-devices: "
        "{1g.5gb: 2}}\n"
        "  - {devices: all, device-filter: ['548868318', '0x1'], mig-enabled: true, mig-devices: "
        "{1g.6gb: 1, 2g.12gb: 1}}\n"
        "  - {devices: [3], mig-enabled: false}\n",
        wanted);
    node.gpus[2].pci_subsystem = 0x134F10DE;
    expect(&node,
           "  - {devices: all, device-filter: '0x20B010DE:0x134F10DE', mig-enabled: false}\n",
           subsystem);
}

static void test_the_later_entry_wins(void **state)
{
    static const char *const wanted[] = {"on 7g.40gb", "off", "on 7g.40gb", "leave"};
    struct config_node node;

    (void)state;
    two_kinds(&node);
    /* what the first entry says of the A30 would be an error, but does not count */
    expect(&node,
           "  - {devices: all, mig-enabled: true, mig-devices: {7g.40gb: 1}}\n"
           "  - {devices: [1], mig-enabled: false}\n",
           wanted);
}

static void test_counts(void **state)
{
    static const char *const wanted[] = {"on 1g.5gb 1g.5gb 1g.5gb 3g.20gb{2c.3g.20gb,1c.3g.20gb}"};
    static const char *const zero[] = {"on 1g.5gb"};
    struct config_node node = {0};

    (void)state;
    config_add_gpu(&node, "A100-SXM4-40GB", "");
    expect(
        &node,
        "  - {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1, 1c.1g.5gb: 2, 2c.3g.20gb: "
        "1, 1c.3g.20gb: 1}}\n",
        wanted);
    expect(&node, "  - {devices: all, mig-enabled: true, mig-devices: {9g.9gb: 0, 1g.5gb: 1}}\n",
           zero);
}

static void test_an_equal_packing_is_no_change(void **state)
{
    static const char *const wanted[] = {"on 3g.20gb{1c.3g.20gb,1c.3g.20gb} 3g.20gb{1c.3g.20gb}"};
    struct config_node node = {0};

    (void)state;
    config_add_gpu(&node, "A100-SXM4-40GB",
                   "3g.20gb@4{1c.3g.20gb@0,1c.3g.20gb@1} 3g.20gb@0{1c.3g.20gb@0}");
    expect(&node, "  - {devices: all, mig-enabled: true, mig-devices: {1c.3g.20gb: 3}}\n", wanted);
}

static void test_mode_only(void **state)
{
    struct config_node node;

    (void)state;
    two_kinds(&node);
    assert_int_equal(
        make(&node, "  - {devices: all, mig-enabled: true, mig-devices: {9g.9gb: 1}}\n", true), 0);
    assert_string_equal(config_goal_text(&node, &goal, 0), "mode on");
    assert_string_equal(config_goal_text(&node, &goal, 3), "leave");
}

static void test_what_would_be_left_undone_is_an_error(void **state)
{
    struct config_node node;

    (void)state;
    two_kinds(&node);
    expect_error(&node, "  - {devices: [0, 9], mig-enabled: false}\n", MIG_E_CONFIG,
                 "file:4:19: there is no GPU 9; the node has 4");
    expect_error(&node, "  - {devices: [-1], mig-enabled: false}\n", MIG_E_CONFIG,
                 "file:4:16: there is no GPU -1; the node has 4");
    expect_error(&node, "  - {devices: all, device-filter: '20B0', mig-enabled: false}\n",
                 MIG_E_CONFIG, "file:4:35: device-filter '20B0' is not a PCI id");
    expect_error(&node, "  - {devices: all, device-filter: '0x233010DE', mig-enabled: false}\n",
                 MIG_E_CONFIG,
                 "file:3:3: config 'a' applies to none of the 4 GPUs of this node (3 can do MIG)");
    expect_error(&node, "  - {devices: [], mig-enabled: false}\n", MIG_E_CONFIG,
                 "file:3:3: config 'a' applies to none of the 4 GPUs of this node (3 can do MIG)");
    expect_error(&node, "  - {devices: [3], mig-enabled: true, mig-devices: {}}\n", MIG_E_NO_FIT,
                 "file:4:16: GPU 3 (T4) cannot do MIG");
    assert_int_equal(
        make(&node, "  - {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1}}\n", false),
        MIG_E_NO_FIT);
    assert_non_null(strstr(error.message, "file:4:53: GPU 1 (NVIDIA A30): "));
    assert_int_equal(error.code, 4);
    assert_int_equal(
        make(&node, "  - {devices: [0], mig-enabled: true, mig-devices: {1g.5gb: 99}}\n", false),
        MIG_E_NO_FIT);
    assert_non_null(strstr(error.message, "file:4:53: GPU 0 (NVIDIA A100-SXM4-40GB): "));
}

static void test_gpus_that_are_not_known(void **state)
{
    static const char *const wanted[] = {"leave", "off", "leave", "leave"};
    struct config_node node;

    (void)state;
    two_kinds(&node);
    snprintf(node.gpus[0].problem, sizeof(node.gpus[0].problem), "could not read MIG mode: lost");
    expect_error(&node, "  - {devices: all, mig-enabled: false}\n", MIG_E_FAILED,
                 "file:4:5: GPU 0 (NVIDIA A100-SXM4-40GB): could not read MIG mode: lost");
    expect(&node, "  - {devices: [1], mig-enabled: false}\n", wanted);
    node.gpus[0].pci_device = 0;
    expect_error(&node, "  - {devices: all, device-filter: \"0x20B710DE\", mig-enabled: false}\n",
                 MIG_E_FAILED,
                 "file:4:5: GPU 0 (NVIDIA A100-SXM4-40GB): could not read MIG mode: lost");
    node.gpus[1].layout = (struct mig_layout){0};
    assert_int_equal(
        make(&node, "  - {devices: [1], mig-enabled: true, mig-devices: {1g.6gb: 1}}\n", false),
        MIG_E_NO_FIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_means_those_that_can),
        cmocka_unit_test(test_filters_and_numbers),
        cmocka_unit_test(test_the_later_entry_wins),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_an_equal_packing_is_no_change),
        cmocka_unit_test(test_mode_only),
        cmocka_unit_test(test_what_would_be_left_undone_is_an_error),
        cmocka_unit_test(test_gpus_that_are_not_known),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
