/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of checkpoints: the text, the way back, and every kind of damage. */
#include "base/cleanup.h"
#include "base/text.h"
#include "config_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DEVICES(devices) "{\"Version\":\"v1\",\"MigState\":{\"Devices\":" devices "}}"
#define GPU0(gis) DEVICES("[{\"UUID\":\"GPU-0\",\"MigMode\":1,\"GpuInstances\":" gis "}]")
#define GI(profile, start, size, cis)                                                     \
    "{\"ProfileID\":" profile ",\"Placement\":{\"Start\":" start ",\"Size\":" size "},\"" \
    "ComputeInstances\":" cis "}"
#define CI(profile) "{\"ProfileID\":" profile ",\"EngProfileID\":0}"

static struct mig_goal goal;
static struct mig_error error;

static int read_goal(const struct config_node *node, const char *text, bool mode_only)
{
    mig_error_clear(&error);
    return mig_checkpoint_goal("cp", text, strlen(text), &node->node, mode_only, &goal, &error);
}

static void one_a100(struct config_node *node)
{
    *node = (struct config_node){0};
    config_add_gpu(node, "A100-SXM4-40GB", "");
}

static void test_text(void **state)
{
    struct config_node node = {0};
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    config_add_gpu(&node, "A100-SXM4-40GB",
                   "3g.20gb@4{1c.3g.20gb@0,2c.3g.20gb@1} 1g.5gb@0 1g.5gb@2{}");
    config_add_gpu(&node, "T4", NULL);
    config_add_gpu(&node, "A30", NULL);
    config_add_gpu(&node, "A30", "");
    assert_int_equal(mig_checkpoint_write(&node.node, &text, &error), 0);
    assert_string_equal(
        text,
        DEVICES("[{\"UUID\":\"GPU-0\",\"MigMode\":1,\"GpuInstances\":[" GI(
            "0", "0", "1",
            "[" CI("0") "]") "," GI("0", "2", "1",
                                    "null") "," GI("2", "4", "4",
                                                   "[" CI("0") "," CI(
                                                       "1") "]") "]},"
                                                                 "{\"UUID\":\"GPU-2\",\"MigMode\":"
                                                                 "0,\"GpuInstances\":null},"
                                                                 "{\"UUID\":\"GPU-3\",\"MigMode\":"
                                                                 "1,\"GpuInstances\":null}]"));
}

static void test_no_gpus(void **state)
{
    struct config_node node = {0};
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    assert_int_equal(mig_checkpoint_write(&node.node, &text, &error), 0);
    assert_string_equal(text, DEVICES("null"));
    assert_int_equal(read_goal(&node, text, false), 0);
}

static void test_round_trip(void **state)
{
    static const char *const layouts[] = {
        "", "7g.40gb@0", "3g.20gb@0{1c.3g.20gb@0,2c.3g.20gb@1} 1g.5gb+me@6 1g.10gb@4",
        "4g.20gb@0{} 2g.10gb@4", "1g.5gb@3 1g.5gb@5"};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(layouts); i++) {
        struct config_node node = {0};
        struct mig_node_plan plan;
        MIG_AUTO_FREE char *text = NULL;

        config_add_gpu(&node, "A30", "2g.12gb@0"); /* not in the checkpoint */
        config_add_gpu(&node, "A100-SXM4-40GB", layouts[i]);
        node.node.gpus = &node.gpus[1];
        node.node.gpu_count = 1;
        assert_int_equal(mig_checkpoint_write(&node.node, &text, &error), 0);
        node.node.gpus = node.gpus;
        node.node.gpu_count = 2;
        assert_int_equal(read_goal(&node, text, false), 0);
        assert_int_equal(goal.gpus[0].kind, MIG_GOAL_LEAVE);
        assert_int_equal(goal.gpus[1].kind, MIG_GOAL_LAYOUT);
        assert_int_equal(mig_node_plan_make(&node.node, &goal, NULL, &plan, &error), 0);
        assert_int_equal(plan.change_count, 0);
        mig_node_plan_release(&plan);
        assert_int_equal(read_goal(&node, text, true), 0);
        assert_string_equal(config_goal_text(&node, &goal, 1), "mode on");
    }
}

static void test_goal(void **state)
{
    struct config_node node;

    (void)state;
    one_a100(&node);
    assert_int_equal(read_goal(&node,
                               GPU0("[" GI("2", "4", "4", "[" CI("0") "," CI("1") "]") "," GI(
                                   "0", "2", "1", "null") "]"),
                               false),
                     0);
    assert_string_equal(config_goal_text(&node, &goal, 0),
                        "on 3g.20gb@4{1c.3g.20gb,2c.3g.20gb} 1g.5gb@2{}");
    /* fields that are not known do no harm, and layout of the text does not matter */
    assert_int_equal(
        read_goal(&node,
                  "{\n  \"MigState\": {\n\t\"Devices\": [ {\"UUID\": \"GPU-0\", \"x\": "
                  "[1], \"MigMode\": 0, \"GpuInstances\": []} ] },\n"
                  "  \"Version\": \"v1\" }\n",
                  false),
        0);
    assert_string_equal(config_goal_text(&node, &goal, 0), "off");
}

static void test_damage(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "'checkpoint' has to be a map, found nothing"},
        {"[]", "'checkpoint' has to be a map, found a list"},
        {"{", "did not find expected"},
        {"{}", "missing required field 'Version'"},
        {"{\"Version\":\"v7\",\"MigState\":{\"Devices\":[]}}", "unknown version 'v7', expected v1"},
        {"{\"Version\":1}", "'Version' has to be text, found a number"},
        {"{\"Version\":\"v1\"}", "missing required field 'MigState'"},
        {"{\"Version\":\"v1\",\"MigState\":{}}", "missing required field 'Devices'"},
        {DEVICES("{}"), "'Devices' has to be a list, found a map"},
        {DEVICES("[1]"), "'Devices' has to be a map, found a number"},
        {DEVICES("[{\"MigMode\":1,\"GpuInstances\":null}]"), "missing required field 'UUID'"},
        {DEVICES("[{\"UUID\":\"GPU-9\",\"MigMode\":1,\"GpuInstances\":null}]"),
         "this node has no GPU 'GPU-9'"},
        {DEVICES("[{\"UUID\":\"GPU-0\",\"GpuInstances\":null}]"),
         "missing required field 'MigMode'"},
        {DEVICES("[{\"UUID\":\"GPU-0\",\"MigMode\":2,\"GpuInstances\":null}]"),
         "'MigMode' is 2, expected 0 to 1"},
        {DEVICES("[{\"UUID\":\"GPU-0\",\"MigMode\":1}]"), "missing required field 'GpuInstances'"},
        {DEVICES("[{\"UUID\":\"GPU-0\",\"MigMode\":0,\"GpuInstances\":null},"
                 "{\"UUID\":\"GPU-0\",\"MigMode\":0,\"GpuInstances\":null}]"),
         "GPU 'GPU-0' stands twice in the checkpoint"},
        {GPU0("[" GI("4", "-1", "8", "null") "]"), "'Start' is -1, expected 0 to 31"},
        {GPU0("[" GI("4", "0", "99999999999999999999", "null") "]"),
         "'Size' has to be a number, found a number that is not a 64-bit integer"},
        {GPU0("[" GI("256", "0", "8", "null") "]"), "'ProfileID' is 256, expected 0 to 255"},
        {GPU0("[" GI("4", "0", "8", "[{\"ProfileID\":4,\"EngProfileID\":1}]") "]"),
         "'EngProfileID' is 1, expected 0 to 0"},
        {GPU0("[{\"ProfileID\":4}]"), "missing required field 'Placement'"},
    };
    struct config_node node;

    (void)state;
    one_a100(&node);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_int_equal(read_goal(&node, cases[i].text, false), MIG_E_CONFIG);
        if (!strstr(error.message, cases[i].message) ||
            !mig_text_starts_with(error.message, "cp:")) {
            fail_msg("%s\n%s", cases[i].text, error.message);
        }
    }
}

static void test_what_the_gpu_cannot_have(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {GPU0("[" GI("9", "0", "2", "[" CI("99") "]") "]"),
         "1g.10gb has no compute instance profile 99"},
        {GPU0("[" GI("13", "0", "3", "null") "]"), "has no GPU instance profile 13"},
        {GPU0("[" GI("4", "1", "8", "null") "]"), "7g.40gb cannot stand at 1 with size 8"},
        {GPU0("[" GI("4", "0", "4", "null") "]"), "7g.40gb cannot stand at 0 with size 4"},
    };
    struct config_node node;

    (void)state;
    one_a100(&node);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_int_equal(read_goal(&node, cases[i].text, false), MIG_E_NO_FIT);
        assert_non_null(strstr(error.message, cases[i].message));
    }
}

static void test_too_many(void **state)
{
    struct config_node node;
    char text[4096] = "", list[2048] = "";

    (void)state;
    one_a100(&node);
    for (int i = 0; i < MIG_GI_MAX + 1; i++) {
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i > 0 ? "," : "",
                 GI("0", "0", "1", "null"));
    }
    snprintf(text, sizeof(text), "%s[%s]}]}}",
             "{\"Version\":\"v1\",\"MigState\":{\"Devices\":[{\"UUID\":\"GPU-0\",\"MigMode\":1,"
             "\"GpuInstances\":",
             list);
    assert_int_equal(read_goal(&node, text, false), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "'GpuInstances' has 17 items, the limit is 16"));
}

static void test_gpus_in_trouble(void **state)
{
    struct config_node node;
    char *text = NULL;

    (void)state;
    one_a100(&node);
    snprintf(node.gpus[0].problem, sizeof(node.gpus[0].problem), "GPU is lost");
    assert_int_equal(read_goal(&node, GPU0("null"), false), MIG_E_FAILED);
    assert_int_equal(mig_checkpoint_write(&node.node, &text, &error), MIG_E_FAILED);
    node.gpus[0].problem[0] = '\0';
    node.gpus[0].mig_capable = false;
    assert_int_equal(read_goal(&node, GPU0("null"), false), MIG_E_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),       cmocka_unit_test(test_no_gpus),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_goal),
        cmocka_unit_test(test_damage),     cmocka_unit_test(test_what_the_gpu_cannot_have),
        cmocka_unit_test(test_too_many),   cmocka_unit_test(test_gpus_in_trouble),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
