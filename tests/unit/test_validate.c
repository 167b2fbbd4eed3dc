/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of validation: each kind of finding, with its place, and silence on what is right. */
#include "base/cleanup.h"
#include "config_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "version: v1\nmig-configs:\n  a:\n"

struct findings {
    unsigned count, error_count;
    char text[4096];
};

static struct mig_error error;

static void collect(const struct mig_finding *finding, void *data)
{
    struct findings *findings = data;
    size_t used = strlen(findings->text);

    findings->count++;
    findings->error_count += finding->severity == MIG_FINDING_ERROR ? 1 : 0;
    snprintf(findings->text + used, sizeof(findings->text) - used, "%s%u:%u %s%s: %s",
             used > 0 ? "\n" : "", finding->position.line, finding->position.column,
             finding->severity == MIG_FINDING_ERROR ? "E " : "", finding->config, finding->text);
}

static void validate(const char *text, const struct config_node *node, struct findings *ret)
{
    struct mig_config *config = config_parse(text);
    int rc;

    *ret = (struct findings){0};
    rc = mig_config_validate(config, SIZE_MAX, node ? &node->node : NULL, collect, ret, &error);
    assert_int_equal(rc, ret->error_count > 0 ? MIG_E_CONFIG : 0);
    mig_config_free(config);
}

/* The findings of one config "a" with these entries; "" = none. */
static void expect(const struct config_node *node, const char *entries, const char *wanted)
{
    struct findings findings;
    char text[4096];

    snprintf(text, sizeof(text), HEAD "%s", entries);
    validate(text, node, &findings);
    assert_string_equal(findings.text, wanted);
}

#define PROFILES(profiles) "  - {devices: all, mig-enabled: true, mig-devices: {" profiles "}}\n"
#define FILTERED(filter, profiles)                                       \
    "  - {devices: all, device-filter: " filter ", mig-enabled: true,\n" \
    "     mig-devices: {" profiles "}}\n"

static void test_profiles_against_the_catalogue(void **state)
{
    (void)state;
    expect(NULL, PROFILES("1g.5gb: 7"), "");
    expect(NULL, PROFILES("1g.10gb: 7"), "");
    expect(NULL, PROFILES("1c.3g.20gb: 6"), "");
    expect(NULL, PROFILES("3g.20gb: 1, 2g.10gb: 1, 1g.5gb: 2"), "");
    expect(NULL, PROFILES("9g.99gb: 1"), "4:53 E a: no GPU of the catalogue has profile '9g.99gb'");
    expect(NULL, PROFILES("1g.5gb: 1, 4g.24gb: 1"),
           "4:53 E a: no GPU of the catalogue has all of these profiles");
    expect(NULL, FILTERED("'0x20B710DE'", "1g.5gb: 1"),
           "5:20 E a: no GPU that the device-filter lets through has profile '1g.5gb'");
    expect(NULL, PROFILES("1g.5gb: 0, 2g.10gb: 1"),
           "4:53 a: a count of 0 asks for nothing; leave '1g.5gb' out");
}

static void test_counts_that_cannot_be(void **state)
{
    static const char *const impossible[] = {
        PROFILES("1g.5gb: 8"),
        PROFILES("1g.5gb: 1000000"),
        PROFILES("1g.5gb: 9999999999"),
        PROFILES("1g.5gb: 9, 7g.40gb: 3"),
        PROFILES("3g.20gb: 1, 4g.20gb: 1, 1g.5gb: 1"),
        PROFILES("3g.20gb: 2, 1g.5gb: 1"),
        PROFILES("1g.5gb+me: 2"),
        PROFILES("1c.3g.20gb: 7"),
        FILTERED("'0x2BB510DE'", "1g.24gb+me.all: 1, 1g.24gb+me: 1"),
        FILTERED("'0x2C3110DE'", "1g.16gb: 3"), /* its placements are not known */
        FILTERED("'0x20B710DE'", "2g.12gb: 1, 1g.6gb: 3"),
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(impossible); i++) {
        struct findings findings;
        char text[512];

        snprintf(text, sizeof(text), HEAD "%s", impossible[i]);
        validate(text, NULL, &findings);
        if (findings.error_count != 1 || !strstr(findings.text, "does not fit on any GPU; on ")) {
            fail_msg("%s%s", text, findings.text);
        }
    }
}

static void test_a_filter_that_names_too_many(void **state)
{
    struct findings findings;

    (void)state;
    validate(HEAD FILTERED("['0x20B010DE', '0x20B710DE']", "1g.5gb: 7"), NULL, &findings);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.error_count, 0);
    assert_non_null(
        strstr(findings.text, "5:20 a: not on NVIDIA A30, which the device-filter names"));
}

static void test_filters(void **state)
{
    (void)state;
    expect(NULL, "  - {devices: all, device-filter: 'x', mig-enabled: false}\n",
           "4:35 E a: device-filter 'x' is not a PCI id and matches nothing; a filter is "
           "\"0xDDDDVVVV\" or \"0xDDDDVVVV:0xSSSSVVVV\": device, vendor, subsystem");
    expect(NULL, FILTERED("'0x123410DE'", "1g.5gb: 1"),
           "4:35 a: device-filter '0x123410DE' is no GPU of the catalogue; it is not checked "
           "further");
    expect(NULL,
           "  - {devices: all, device-filter: ['0x20B010DE', '0x20B010DE'], mig-enabled: "
           "false}\n",
           "4:50 a: device-filter '0x20B010DE' is listed twice");
}

static void test_device_numbers(void **state)
{
    struct config_node node = {0};

    (void)state;
    config_add_gpu(&node, "A30", NULL);
    expect(NULL, "  - {devices: [0, 1, 0], mig-enabled: false}\n", "4:22 a: GPU 0 is listed twice");
    expect(NULL, "  - {devices: [], mig-enabled: false}\n",
           "4:6 a: 'devices' is empty: the entry applies to no GPU");
    expect(NULL, "  - {devices: [-1, 64], mig-enabled: false}\n",
           "4:16 E a: -1 is not a GPU number\n"
           "4:20 E a: there is no GPU 64; a node has at most 64, numbered from 0");
    expect(&node, "  - {devices: [0, 1], mig-enabled: false}\n",
           "4:19 E a: there is no GPU 1; the node has 1, numbered from 0");
}

static void test_overlaps(void **state)
{
    (void)state;
    expect(NULL,
           "  - {devices: [0, 1], mig-enabled: false}\n"
           "  - {devices: [2], mig-enabled: false}\n",
           "");
    expect(NULL,
           "  - {devices: all, mig-enabled: false}\n"
           "  - {devices: [2], mig-enabled: true, mig-devices: {}}\n",
           "4:5 a: the entry at line 5 decides about some of the GPUs of this one");
    expect(NULL,
           "  - {devices: [0, 1], mig-enabled: false}\n"
           "  - {devices: [2], mig-enabled: false}\n"
           "  - {devices: all, mig-enabled: false}\n",
           "4:5 a: the entry has no effect: the one at line 6 decides about all its GPUs\n"
           "5:5 a: the entry has no effect: the one at line 6 decides about all its GPUs");
    expect(
        NULL,
        "  - {devices: all, device-filter: '0x20B010DE', mig-enabled: false}\n"
        "  - {devices: all, device-filter: ['0x20B710DE', '0x20B010DE:0x1'], mig-enabled: false}\n",
        "4:5 a: the entry at line 5 decides about some of the GPUs of this one");
    expect(NULL,
           "  - {devices: all, device-filter: '0x20B010DE:0x1', mig-enabled: false}\n"
           "  - {devices: all, device-filter: ['0x20B710DE', '0x20B010DE'], mig-enabled: false}\n",
           "4:5 a: the entry has no effect: the one at line 5 decides about all its GPUs");
}

static void test_what_the_parser_let_through(void **state)
{
    struct findings findings;

    (void)state;
    validate("version: v1\nmig-configs:\n  a:\n  - 5\n  a:\n"
             "  - {devices: [~], mig-enabled: ~, mig-enabled: false}\n",
             NULL, &findings);
    assert_string_equal(findings.text,
                        "3:3 E : config 'a' is written again below; this one does not count\n"
                        "6:20 E a: field 'mig-enabled' is written again below; this one does not "
                        "count\n"
                        "6:16 E a: an empty device number means GPU 0");
    assert_string_equal(error.message,
                        "file:3:3: config 'a' is written again below; this one does not count");
    assert_string_equal(error.hint, "there are 2 more errors");
    validate("", NULL, &findings);
    assert_string_equal(findings.text, "1:1 : there is no config in the file");
}

static void test_against_a_node(void **state)
{
    struct config_node node = {0};

    (void)state;
    config_add_gpu(&node, "A100-SXM4-40GB", "7g.40gb@0*");
    config_add_gpu(&node, "A30", NULL);
    config_add_gpu(&node, "A30", NULL);
    config_add_gpu(&node, "T4", NULL);
    expect(&node, FILTERED("'0x20B010DE'", "1g.5gb: 7"), "");
    expect(&node, PROFILES("1g.5gb: 1") "  - {devices: [1, 2], mig-enabled: false}\n",
           "4:5 a: the entry at line 5 decides about some of the GPUs of this one");
    expect(&node, FILTERED("'0x233010DE'", "1g.10gb: 7"),
           "3:3 a: the config applies to no GPU of this node");
    expect(&node, "  - {devices: [3], mig-enabled: true, mig-devices: {}}\n",
           "4:6 E a: GPU 3 (T4): it cannot do MIG");
    node.gpus[1].layout = (struct mig_layout){0};
    expect(&node, "  - {devices: [1], mig-enabled: true, mig-devices: {1g.6gb: 1}}\n",
           "4:5 a: GPU 1 (NVIDIA A30): its MIG profiles are not known, so it is not checked");
}

static void test_one_finding_for_equal_gpus(void **state)
{
    struct config_node node = {0};
    struct findings findings;

    (void)state;
    for (int i = 0; i < 4; i++) {
        config_add_gpu(&node, "A30", NULL);
    }
    validate(HEAD PROFILES("1g.6gb: 5"), &node, &findings);
    assert_int_equal(findings.count, 1);
    assert_non_null(strstr(findings.text, "4:53 E a: GPU 0 (NVIDIA A30): "));
}

static void count_findings(const struct mig_finding *finding, void *data)
{
    (void)finding;
    ++*(unsigned *)data;
}

static void test_findings_are_limited(void **state)
{
    size_t size = 256 * 1024, used;
    MIG_AUTO_FREE char *text = malloc(size);
    struct mig_config *config;
    unsigned count = 0;

    (void)state;
    assert_non_null(text);
    used = (size_t)snprintf(text, size, "%s", HEAD);
    for (int i = 0; i < 2000; i++) {
        used +=
            (size_t)snprintf(text + used, size - used, "  - {devices: [-1], mig-enabled: false}\n");
    }
    config = config_parse(text);
    assert_int_equal(mig_config_validate(config, 0, NULL, count_findings, &count, &error),
                     MIG_E_CONFIG);
    assert_int_equal(count, MIG_FINDINGS_MAX);
    assert_int_equal(mig_config_validate(config, 7, NULL, count_findings, &count, &error),
                     MIG_E_USAGE);
    mig_config_free(config);
}

/* As much work as a file can ask for: many entries with many profiles that nobody has. */
static void test_work_is_limited(void **state)
{
    size_t size = 3u << 20, used;
    MIG_AUTO_FREE char *text = malloc(size);
    struct mig_config *config;
    unsigned count = 0;

    (void)state;
    assert_non_null(text);
    used = (size_t)snprintf(text, size,
                            HEAD "  - &e {devices: all, mig-enabled: true, mig-devices: &d {");
    for (int i = 0; i < 60; i++) {
        used += (size_t)snprintf(text + used, size - used, "9g.%dgb: 1, ", i);
    }
    used += (size_t)snprintf(text + used, size - used, "1g.5gb: 1}}\n");
    for (int i = 0; i < 3000; i++) {
        used += (size_t)snprintf(text + used, size - used, "  - *e\n");
    }
    config = config_parse(text);
    assert_int_equal(mig_config_validate(config, 0, NULL, count_findings, &count, &error),
                     MIG_E_CONFIG);
    mig_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles_against_the_catalogue),
        cmocka_unit_test(test_counts_that_cannot_be),
        cmocka_unit_test(test_a_filter_that_names_too_many),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_device_numbers),
        cmocka_unit_test(test_overlaps),
        cmocka_unit_test(test_what_the_parser_let_through),
        cmocka_unit_test(test_against_a_node),
        cmocka_unit_test(test_one_finding_for_equal_gpus),
        cmocka_unit_test(test_findings_are_limited),
        cmocka_unit_test(test_work_is_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
