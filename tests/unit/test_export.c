/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of exported files. The expected texts are what nvidia-mig-parted's own encoders write for
 * the same content: order of keys, quotes, line breaks.
 */
#include "base/cleanup.h"
#include "config/write.h"
#include "config_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void expect(const struct config_node *node, const char *label, enum mig_format format,
                   const char *wanted)
{
    MIG_AUTO_FREE char *text = NULL;
    struct mig_error error;

    assert_int_equal(mig_config_export(&node->node, label, format, &text, &error), 0);
    assert_string_equal(text, wanted);
}

static void test_equal_gpus_are_one_entry(void **state)
{
    struct config_node node = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        config_add_gpu(&node, "A100-SXM4-40GB",
                       i == 1 ? "1g.5gb@4 3g.20gb@0 1g.5gb@5" : "3g.20gb@0 1g.5gb@4 1g.5gb@6");
    }
    expect(&node, "current", MIG_FORMAT_YAML,
           "version: v1\nmig-configs:\n  current:\n  - devices: all\n    mig-enabled: true\n"
           "    mig-devices:\n      1g.5gb: 2\n      3g.20gb: 1\n");
    expect(&node, "current", MIG_FORMAT_JSON,
           "{\n  \"version\": \"v1\",\n  \"mig-configs\": {\n    \"current\": [\n      {\n"
           "        \"devices\": \"all\",\n        \"mig-enabled\": true,\n"
           "        \"mig-devices\": {\n          \"1g.5gb\": 2,\n          \"3g.20gb\": 1\n"
           "        }\n      }\n    ]\n  }\n}");
}

static void test_one_kind_needs_no_filter(void **state)
{
    struct config_node node = {0};

    (void)state;
    config_add_gpu(&node, "A100-SXM4-40GB", "7g.40gb@0");
    config_add_gpu(&node, "A100-SXM4-40GB", NULL);
    config_add_gpu(&node, "A100-SXM4-40GB", "7g.40gb@0");
    config_add_gpu(&node, "A100-SXM4-40GB", "3g.20gb@0{} 3g.20gb@4{1c.3g.20gb@0,1c.3g.20gb@1}");
    expect(&node, "now", MIG_FORMAT_YAML,
           "version: v1\nmig-configs:\n  now:\n"
           "  - devices: [0, 2]\n    mig-enabled: true\n    mig-devices:\n      7g.40gb: 1\n"
           "  - devices: [1]\n    mig-enabled: false\n    mig-devices: {}\n"
           "  - devices: [3]\n    mig-enabled: true\n    mig-devices:\n      1c.3g.20gb: 2\n");
}

static void test_kinds_are_told_apart_by_filters(void **state)
{
    struct config_node node = {0};

    (void)state;
    config_add_gpu(&node, "H100 PCIe", NULL);
    config_add_gpu(&node, "A30", "2g.12gb@0");
    config_add_gpu(&node, "T4", NULL);
    config_add_gpu(&node, "H100 PCIe", "1g.10gb@0 2g.20gb@2 1g.10gb@1");
    expect(&node, "a: b", MIG_FORMAT_YAML,
           "version: v1\nmig-configs:\n  'a: b':\n"
           "  - device-filter: [\"0x1EB810DE\", \"0x233110DE\"]\n    devices: [0, 2]\n"
           "    mig-enabled: false\n    mig-devices: {}\n"
           "  - device-filter: \"0x20B710DE\"\n    devices: all\n    mig-enabled: true\n"
           "    mig-devices:\n      2g.12gb: 1\n"
           "  - device-filter: \"0x233110DE\"\n    devices: [3]\n    mig-enabled: true\n"
           "    mig-devices:\n      1g.10gb: 2\n      2g.20gb: 1\n");
}

static void test_kinds_with_equal_content_are_one_entry(void **state)
{
    struct config_node node = {0};

    (void)state;
    config_add_gpu(&node, "H100 PCIe", NULL);
    config_add_gpu(&node, "A30", NULL);
    expect(&node, "off", MIG_FORMAT_YAML,
           "version: v1\nmig-configs:\n  \"off\":\n  - devices: all\n    mig-enabled: false\n"
           "    mig-devices: {}\n");
}

/* --- the encoders --- */

static void write_label(const char *label, enum mig_format format, char **ret)
{
    struct mig_out_entry entry = {.all = true, .enabled = true};
    struct mig_out_config config = {.name = label, .entries = &entry, .entry_count = 1};
    struct mig_error error;

    assert_int_equal(mig_config_write(&config, 1, format, ret, &error), 0);
}

static void test_labels_are_quoted_where_they_need_it(void **state)
{
    static const char *const cases[][2] = {
        {"", "\"\":"},
        {" lead", "' lead':"},
        {"\"q\"", "'\"q\"':"},
        {"#x", "'#x':"},
        {"- x", "'- x':"},
        {"<<", "<<:"},
        {"1:30", "\"1:30\":"},
        {"12", "\"12\":"},
        {"2024-01-02", "\"2024-01-02\":"},
        {"yes", "\"yes\":"},
        {"it's #1", "'it''s #1':"},
        {"tab\there", "\"tab\\there\":"},
        {"\xc3\xa4<&>", "\xc3\xa4<&>:"},
        {"all-1g.5gb", "all-1g.5gb:"},
        {"1e3", "\"1e3\":"},
        {"0x10", "\"0x10\":"},
        {"~", "\"~\":"},
        {"a\nb", "? |-\n    a\n    b\n  :"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        MIG_AUTO_FREE char *text = NULL;
        char wanted[128];

        snprintf(wanted, sizeof(wanted), "version: v1\nmig-configs:\n  %s", cases[i][1]);
        write_label(cases[i][0], MIG_FORMAT_YAML, &text);
        assert_memory_equal(text, wanted, strlen(wanted));
    }
}

static void test_json_escapes(void **state)
{
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    write_label("\"\\\n\t\x01<&>\xc3\xa4", MIG_FORMAT_JSON, &text);
    assert_non_null(strstr(text, "    \"\\\"\\\\\\n\\t\\u0001\\u003c\\u0026\\u003e\xc3\xa4\": ["));
}

static void test_order_of_keys(void **state)
{
    static const char *const yaml[] = {"1c.3g.20gb",  "1g.5gb",     "1g.5gb+me", "1g.10gb",
                                       "1g.24gb+gfx", "1g.24gb-me", "1g.90gb",   "3g.20gb"};
    static const char *const json[] = {"1c.3g.20gb", "1g.10gb",   "1g.24gb+gfx", "1g.24gb-me",
                                       "1g.5gb",     "1g.5gb+me", "1g.90gb",     "3g.20gb"};
    struct mig_out_profile profiles[8];
    struct mig_out_entry entry = {.all = true, .profiles = profiles, .profile_count = 8};
    struct mig_out_config config = {.name = "a", .entries = &entry, .entry_count = 1};
    struct mig_error error;

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        profiles[i] = (struct mig_out_profile){.name = json[i], .count = 1};
    }
    for (enum mig_format format = MIG_FORMAT_YAML; format <= MIG_FORMAT_JSON; format++) {
        MIG_AUTO_FREE char *text = NULL;

        assert_int_equal(mig_config_write(&config, 1, format, &text, &error), 0);
        for (size_t i = 0; i < 8; i++) {
            assert_string_equal(profiles[i].name, format == MIG_FORMAT_YAML ? yaml[i] : json[i]);
        }
    }
}

static void test_long_lists_are_broken(void **state)
{
    char filters[8][16];
    struct mig_out_entry entry = {.all = true, .filters = filters, .filter_count = 8};
    struct mig_out_config config = {.name = "a", .entries = &entry, .entry_count = 1};
    MIG_AUTO_FREE char *text = NULL;
    struct mig_error error;

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        snprintf(filters[i], sizeof(filters[i]), "0x20%02X10DE", i);
    }
    assert_int_equal(mig_config_write(&config, 1, MIG_FORMAT_YAML, &text, &error), 0);
    assert_non_null(strstr(
        text, "  - device-filter: [\"0x200010DE\", \"0x200110DE\", \"0x200210DE\", \"0x200310DE\", "
              "\"0x200410DE\",\n      \"0x200510DE\", \"0x200610DE\", \"0x200710DE\"]\n"));
}

static void test_what_cannot_be_exported(void **state)
{
    struct config_node node = {0};
    struct mig_error error;
    char *text = NULL;

    (void)state;
    config_add_gpu(&node, "A30", "");
    assert_int_equal(mig_config_export(&node.node, "\xc3", MIG_FORMAT_JSON, &text, &error),
                     MIG_E_USAGE);
    assert_int_equal(mig_config_export(&node.node, "a\xed\xa0\x80", MIG_FORMAT_YAML, &text, &error),
                     MIG_E_USAGE);
    node.gpus[0].layout.model = NULL;
    assert_int_equal(mig_config_export(&node.node, "x", MIG_FORMAT_YAML, &text, &error),
                     MIG_E_FAILED);
    snprintf(node.gpus[0].problem, sizeof(node.gpus[0].problem), "GPU is lost");
    assert_int_equal(mig_config_export(&node.node, "x", MIG_FORMAT_YAML, &text, &error),
                     MIG_E_FAILED);
    assert_string_equal(error.message, "could not export the node: GPU 0: GPU is lost");
}

/* Whatever is exported is what the node has: read back it asks for no change. */
static void test_an_export_is_met_by_its_node(void **state)
{
    struct config_node node = {0};
    struct mig_config *config;
    struct mig_goal goal;
    struct mig_error error;
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    config_add_gpu(&node, "A100-SXM4-40GB", "3g.20gb@0{1c.3g.20gb@0,2c.3g.20gb@1} 1g.5gb@4");
    config_add_gpu(&node, "A30", "2g.12gb@2 1g.6gb+me@0");
    config_add_gpu(&node, "RTX PRO 6000 Blackwell Server Edition", "1g.24gb-me@0 1g.24gb+gfx@3");
    config_add_gpu(&node, "A30", NULL);
    config_add_gpu(&node, "T4", NULL);
    assert_int_equal(mig_config_export(&node.node, "x", MIG_FORMAT_YAML, &text, &error), 0);
    config = config_parse(text);
    assert_int_equal(mig_config_goal(config, 0, &node.node, false, &goal, &error), 0);
    assert_true(mig_goal_is_met(&node.node, &goal, &error));
    mig_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_gpus_are_one_entry),
        cmocka_unit_test(test_one_kind_needs_no_filter),
        cmocka_unit_test(test_kinds_are_told_apart_by_filters),
        cmocka_unit_test(test_kinds_with_equal_content_are_one_entry),
        cmocka_unit_test(test_labels_are_quoted_where_they_need_it),
        cmocka_unit_test(test_json_escapes),
        cmocka_unit_test(test_order_of_keys),
        cmocka_unit_test(test_long_lists_are_broken),
        cmocka_unit_test(test_what_cannot_be_exported),
        cmocka_unit_test(test_an_export_is_met_by_its_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
