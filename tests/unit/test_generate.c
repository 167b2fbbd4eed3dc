/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of generated files: names and counts, filters, and that every config fits every GPU it
 * names. */
#include "base/cleanup.h"
#include "config_support.h"
#include "plan_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct mig_error error;

static char *generate(const char *const *names, size_t count, enum mig_format format)
{
    const struct mig_model *models[8];
    char *text = NULL;

    for (size_t i = 0; i < count; i++) {
        models[i] = plan_model(names[i]);
    }
    if (mig_config_generate(models, count, format, &text, &error) < 0) {
        fail_msg("%s", error.message);
    }
    return text;
}

static void test_one_a30(void **state)
{
    static const char *const names[] = {"A30", "A30"};
    MIG_AUTO_FREE char *text = generate(names, 2, MIG_FORMAT_YAML);

    (void)state;
    assert_string_equal(
        text, "version: v1\nmig-configs:\n"
              "  all-1g.6gb:\n  - devices: all\n    mig-enabled: true\n    mig-devices:\n      "
              "1g.6gb: 4\n"
              "  all-1g.6gb.me:\n  - devices: all\n    mig-enabled: true\n    mig-devices:\n"
              "      1g.6gb+me: 1\n"
              "  all-2g.12gb:\n  - devices: all\n    mig-enabled: true\n    mig-devices:\n      "
              "2g.12gb: 2\n"
              "  all-2g.12gb.me:\n  - devices: all\n    mig-enabled: true\n    mig-devices:\n"
              "      2g.12gb+me: 1\n"
              "  all-4g.24gb:\n  - devices: all\n    mig-enabled: true\n    mig-devices:\n      "
              "4g.24gb: 1\n"
              "  all-balanced:\n  - devices: all\n    mig-enabled: true\n    mig-devices:\n"
              "      1g.6gb: 2\n      2g.12gb: 1\n"
              "  all-disabled:\n  - devices: all\n    mig-enabled: false\n    mig-devices: {}\n"
              "  all-enabled:\n  - devices: all\n    mig-enabled: true\n    mig-devices: {}\n");
}

static void test_json_of_all_disabled(void **state)
{
    static const char *const names[] = {"A30"};
    MIG_AUTO_FREE char *text = generate(names, 1, MIG_FORMAT_JSON);

    (void)state;
    assert_non_null(strstr(text, "    \"all-disabled\": [\n      {\n        \"devices\": \"all\",\n"
                                 "        \"mig-enabled\": false,\n        \"mig-devices\": null\n"
                                 "      }\n    ],\n"));
}

static void test_kinds_get_filters(void **state)
{
    static const char *const names[] = {"H100 PCIe", "A100-SXM4-40GB", "A100-SXM4-80GB"};
    MIG_AUTO_FREE char *text = generate(names, 3, MIG_FORMAT_YAML);

    (void)state;
    /* four on the 40 GB board, where it is the double-memory profile, seven on the others */
    assert_non_null(strstr(text, "  all-1g.10gb:\n"
                                 "  - device-filter: [\"0x20B010DE\"]\n    devices: all\n"
                                 "    mig-enabled: true\n    mig-devices:\n      1g.10gb: 4\n"
                                 "  - device-filter: [\"0x20B210DE\", \"0x233110DE\"]\n"
                                 "    devices: all\n    mig-enabled: true\n    mig-devices:\n"
                                 "      1g.10gb: 7\n"));
    assert_non_null(strstr(text, "  all-balanced:\n  - device-filter: [\"0x20B010DE\"]\n"
                                 "    devices: all\n    mig-enabled: true\n    mig-devices:\n"
                                 "      1g.5gb: 2\n      2g.10gb: 1\n      3g.20gb: 1\n"));
    assert_non_null(strstr(text, "  all-disabled:\n  - devices: all\n"));
}

static void test_smaller_counts_come_first(void **state)
{
    static const char *const names[] = {"H100 NVL", "RTX PRO 5000 Blackwell"};
    MIG_AUTO_FREE char *text = generate(names, 2, MIG_FORMAT_YAML);

    (void)state;
    assert_non_null(strstr(text, "  all-1g.24gb:\n"
                                 "  - device-filter: [\"0x2BB310DE\"]\n    devices: all\n"
                                 "    mig-enabled: true\n    mig-devices:\n      1g.24gb: 2\n"
                                 "  - device-filter: [\"0x232110DE\"]\n"));
}

/* The plain profile that fits most often is the one that is meant, wherever it stands. */
static void test_balanced_takes_the_smaller_profile(void **state)
{
    const struct mig_model *a100 = plan_model("A100-SXM4-40GB");
    struct mig_profile profiles[MIG_PROFILE_MAX];
    struct mig_model model = *a100;
    const struct mig_model *models[] = {&model};
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    for (unsigned i = 0; i < a100->profile_count; i++) {
        profiles[i] = a100->profiles[a100->profile_count - 1 - i];
    }
    model.profiles = profiles;
    assert_int_equal(mig_config_generate(models, 1, MIG_FORMAT_YAML, &text, &error), 0);
    assert_non_null(strstr(text, "      1g.5gb: 2\n      2g.10gb: 1\n      3g.20gb: 1\n"));
}

static void test_media_and_graphics_names(void **state)
{
    static const char *const names[] = {"RTX PRO 6000 Blackwell Server Edition"};
    static const char *const wanted[] = {
        "all-1g.24gb:",        "all-1g.24gb-me:", "all-1g.24gb.gfx:", "all-1g.24gb.me:",
        "all-1g.24gb.me.all:", "all-2g.48gb-me:", "all-4g.96gb.gfx:", "1g.24gb+me.all: 1",
        "1g.24gb-me: 4",       "2g.48gb+gfx: 2"};
    MIG_AUTO_FREE char *text = generate(names, 1, MIG_FORMAT_YAML);

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(wanted); i++) {
        assert_non_null(strstr(text, wanted[i]));
    }
}

static void test_nothing_to_generate_from(void **state)
{
    char *text = NULL;

    (void)state;
    assert_int_equal(mig_config_generate(NULL, 0, MIG_FORMAT_YAML, &text, &error), MIG_E_NO_FIT);
}

static void on_finding(const struct mig_finding *finding, void *data)
{
    unsigned *count = data;

    print_message("# %u:%u %s: %s\n", finding->position.line, finding->position.column,
                  finding->config, finding->text);
    ++*count;
}

static void test_the_whole_catalogue_is_valid(void **state)
{
    const struct mig_model *models[128];
    MIG_AUTO_FREE char *text = NULL;
    struct mig_config *config;
    unsigned count = 0;
    size_t model_count = 0;

    (void)state;
    while (mig_catalog_get(model_count)) {
        models[model_count] = mig_catalog_get(model_count);
        model_count++;
    }
    assert_int_equal(mig_config_generate(models, model_count, MIG_FORMAT_YAML, &text, &error), 0);
    config = config_parse(text);
    assert_true(mig_config_count(config) > 80);
    assert_int_equal(mig_config_validate(config, SIZE_MAX, NULL, on_finding, &count, &error), 0);
    assert_int_equal(count, 0);
    mig_config_free(config);
}

/* On a node with one GPU of each kind every config that names a GPU can be planned there. */
static void test_every_config_can_be_planned(void **state)
{
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);
        struct mig_config *config;
        struct config_node node = {0};
        MIG_AUTO_FREE char *text = NULL;

        (void)state;
        if (!mig_model_is_placeable(model) || model->profile_count == 0) {
            continue;
        }
        assert_int_equal(mig_config_generate(&model, 1, MIG_FORMAT_YAML, &text, &error), 0);
        config = config_parse(text);
        config_add_gpu(&node, model->name, "");
        for (size_t k = 0; k < mig_config_count(config); k++) {
            struct mig_node_plan plan;
            struct mig_goal goal;

            assert_int_equal(mig_config_goal(config, k, &node.node, false, &goal, &error), 0);
            if (mig_node_plan_make(&node.node, &goal, NULL, &plan, &error) < 0) {
                fail_msg("%s: %s: %s", model->name, mig_config_name(config, k), error.message);
            }
            mig_node_plan_release(&plan);
        }
        mig_config_free(config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_a30),
        cmocka_unit_test(test_json_of_all_disabled),
        cmocka_unit_test(test_kinds_get_filters),
        cmocka_unit_test(test_smaller_counts_come_first),
        cmocka_unit_test(test_balanced_takes_the_smaller_profile),
        cmocka_unit_test(test_media_and_graphics_names),
        cmocka_unit_test(test_nothing_to_generate_from),
        cmocka_unit_test(test_the_whole_catalogue_is_valid),
        cmocka_unit_test(test_every_config_can_be_planned),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
