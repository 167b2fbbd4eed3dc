/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/core/target.c: how counts of MIG devices become GPU instances. */
#include "base/cleanup.h"
#include <mig/plan.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WANT_MAX 4

struct want {
    const char *name;
    uint32_t count;
};

static const struct mig_model *model_named(const char *name)
{
    const struct mig_model *model = mig_catalog_find_name(name);

    assert_non_null(model);
    return model;
}

static struct mig_device_kind kind_named(const struct mig_model *model, const char *name)
{
    struct mig_device_kind kind;

    assert_int_equal(mig_profile_resolve(model, name, &kind, NULL), MIG_OK);
    return kind;
}

/* Adds a GPU instance with `count` compute instances of the same kind, in slots 0, 1, ... */
static struct mig_gi *put(struct mig_layout *layout, const char *name, unsigned count,
                          unsigned start)
{
    struct mig_gi *gi = &layout->gis[layout->gi_count++];
    struct mig_device_kind kind = kind_named(layout->model, name);

    gi->profile = kind.profile;
    gi->start = (uint8_t)start;
    gi->ci_count = (uint8_t)count;
    for (unsigned i = 0; i < count; i++) {
        gi->cis[i].profile = kind.ci_profile;
        gi->cis[i].start = (uint8_t)i;
    }
    return gi;
}

static int make(const struct mig_model *model, const struct mig_layout *current,
                const struct want *wants, struct mig_target *ret, struct mig_error *error)
{
    struct mig_device_count devices[WANT_MAX];
    size_t count = 0;

    for (; count < WANT_MAX && wants[count].name; count++) {
        devices[count].kind = kind_named(model, wants[count].name);
        devices[count].count = wants[count].count;
    }
    return mig_target_from_devices(model, current, devices, count, ret, error);
}

/* "3g.20gb[1c.3g.20gb 2c.3g.20gb] ..." */
static const char *described(const struct mig_model *model, const struct mig_target *target)
{
    static char text[1024];
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < target->gi_count; i++) {
        const struct mig_target_gi *gi = &target->gis[i];

        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s[", i ? " " : "",
                                 model->profiles[gi->profile].name);
        for (size_t j = 0; j < gi->ci_count; j++) {
            used += (size_t)snprintf(
                text + used, sizeof(text) - used, "%s%uc", j ? " " : "",
                model->profiles[gi->profile].ci_profiles[gi->ci_profiles[j]].slice_count);
        }
        used += (size_t)snprintf(text + used, sizeof(text) - used, "]");
        assert_true(used < sizeof(text));
    }
    return text;
}

static void test_packing_from_nothing(void **state)
{
    static const struct {
        const char *model;
        struct want wants[WANT_MAX];
        const char *expected;
    } cases[] = {
        {"A100-SXM4-40GB", {{NULL, 0}}, ""},
        {"A100-SXM4-40GB", {{"1g.5gb", 0}}, ""},
        {"A100-SXM4-40GB", {{"3g.20gb", 2}}, "3g.20gb[3c] 3g.20gb[3c]"},
        {"A100-SXM4-40GB", {{"3c.3g.20gb", 1}, {"3g.20gb", 1}}, "3g.20gb[3c] 3g.20gb[3c]"},
        {"A100-SXM4-40GB", {{"1c.3g.20gb", 3}}, "3g.20gb[1c 1c 1c]"},
        {"A100-SXM4-40GB", {{"1c.3g.20gb", 4}}, "3g.20gb[1c 1c 1c] 3g.20gb[1c]"},
        {"A100-SXM4-40GB", {{"2c.3g.20gb", 1}, {"1c.3g.20gb", 1}}, "3g.20gb[2c 1c]"},
        {"A100-SXM4-40GB", {{"1c.3g.20gb", 1}, {"2c.3g.20gb", 1}}, "3g.20gb[2c 1c]"},
        {"A100-SXM4-40GB", {{"1c.3g.20gb", 2}, {"2c.3g.20gb", 2}}, "3g.20gb[2c 1c] 3g.20gb[2c 1c]"},
        {"A100-SXM4-40GB", {{"3g.20gb", 1}, {"1c.3g.20gb", 2}}, "3g.20gb[3c] 3g.20gb[1c 1c]"},
        {"A100-SXM4-40GB",
         {{"1c.4g.20gb", 2}, {"2c.4g.20gb", 1}, {"1c.3g.20gb", 1}},
         "3g.20gb[1c] 4g.20gb[2c 1c 1c]"},
        {"A100-SXM4-40GB", {{"3c.7g.40gb", 2}, {"1c.7g.40gb", 1}}, "7g.40gb[3c 3c 1c]"},
        {"H100 80GB HBM3", {{"1c.2g.20gb", 2}}, "2g.20gb[1c 1c]"},
        {"A30", {{"1c.2g.12gb", 4}}, "2g.12gb[1c 1c] 2g.12gb[1c 1c]"},
        {"RTX PRO 5000 Blackwell", {{"1g.24gb", 2}}, "1g.24gb[1c] 1g.24gb[1c]"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        const struct mig_model *model = model_named(cases[i].model);
        struct mig_target target;

        assert_int_equal(make(model, NULL, cases[i].wants, &target, NULL), MIG_OK);
        assert_string_equal(described(model, &target), cases[i].expected);
        for (size_t j = 0; j < target.gi_count; j++) {
            assert_int_equal(target.gis[j].start, MIG_START_ANY);
        }
    }
}

static void test_an_equal_packing_that_is_there_is_kept(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    struct want wants[] = {{"1c.3g.20gb", 3}, {NULL, 0}};
    struct mig_target target;

    (void)state;
    put(&layout, "1c.3g.20gb", 1, 0);
    put(&layout, "1c.3g.20gb", 2, 4);
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 1c] 3g.20gb[1c]");
    /* one more goes where there is room, and one less is one GPU instance less */
    wants[0].count = 4;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 1c 1c] 3g.20gb[1c]");
    wants[0].count = 2;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 1c]");
    wants[0].count = 1;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c]");
}

static void test_instances_in_use_are_taken_over_first(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    struct want wants[WANT_MAX] = {{"1c.3g.20gb", 3}};
    struct mig_target target;

    (void)state;
    put(&layout, "1c.3g.20gb", 1, 0)->in_use = true;
    put(&layout, "1c.3g.20gb", 3, 4);
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 1c 1c]");
    /* the same devices, told apart by their order: the 2c joins the 1c in use */
    put(&layout, "2c.3g.20gb", 1, 4);
    layout.gis[1] = layout.gis[2];
    layout.gis[1].ci_count = 2;
    layout.gis[1].cis[1].start = 2;
    layout.gi_count = 2;
    wants[0].count = 1;
    wants[1] = (struct want){"2c.3g.20gb", 1};
    layout.gis[0].cis[0].start = 0;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 2c]");
    layout.gis[0].in_use = false;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[2c 1c]");
    /* a 1c in the middle slot leaves no place for a 2c beside it */
    layout.gis[0].cis[0].start = 1;
    layout.gi_count = 1;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c] 3g.20gb[2c]");
}

static void test_taking_over_never_costs_the_fit(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    const struct want wants[] = {{"1c.3g.20gb", 2}, {"4g.20gb", 1}, {NULL, 0}};
    struct mig_target target;

    (void)state;
    put(&layout, "1c.3g.20gb", 1, 0);
    put(&layout, "1c.3g.20gb", 1, 4);
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 1c] 4g.20gb[4c]");
    /* the one in use is kept and filled up */
    layout.gis[1].in_use = true;
    layout.gis[1].cis[0].start = 2;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 1c] 4g.20gb[4c]");
}

/* Three 2g and a 1g fit on an empty GPU, but not beside a 1g that stands at 4. */
static void test_the_place_of_instances_in_use_counts(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    const struct want wants[] = {{"1g.5gb", 1}, {"1c.2g.10gb", 2}, {"2g.10gb", 1}, {NULL, 0}};
    struct mig_target target;

    (void)state;
    put(&layout, "1g.5gb", 1, 4);
    put(&layout, "1c.2g.10gb", 1, 0);
    put(&layout, "1c.2g.10gb", 1, 2);
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target),
                        "1g.5gb[1c] 2g.10gb[1c] 2g.10gb[1c] 2g.10gb[2c]");
    layout.gis[0].in_use = true;
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "1g.5gb[1c] 2g.10gb[2c] 2g.10gb[1c 1c]");
}

static void test_a_name_listed_twice_counts_as_one(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    const struct want wants[] = {{"7g.40gb", 1}, {NULL, 0}};
    const struct mig_profile *profile;
    struct mig_target target;
    struct mig_gi *gi = put(&layout, "7g.40gb", 1, 0);

    (void)state;
    profile = &layout.model->profiles[gi->profile];
    gi->cis[0].profile = (uint8_t)(profile->ci_profile_count - 1);
    assert_string_equal(profile->ci_profiles[gi->cis[0].profile].name, "7g.40gb");
    assert_false(profile->ci_profiles[gi->cis[0].profile].is_default);
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_int_equal(target.gi_count, 1);
    assert_int_equal(target.gis[0].ci_profiles[0], gi->cis[0].profile);
}

static void test_instances_without_compute_instance_are_not_taken_over(void **state)
{
    struct mig_layout layout = {.model = model_named("A30")};
    const struct want wants[] = {{"1g.6gb", 1}, {NULL, 0}};
    struct mig_target target;

    (void)state;
    put(&layout, "2g.12gb", 0, 0);
    assert_int_equal(make(layout.model, &layout, wants, &target, NULL), MIG_OK);
    assert_string_equal(described(layout.model, &target), "1g.6gb[1c]");
}

static void test_too_many_is_refused_at_once(void **state)
{
    const struct mig_model *model = model_named("A100-SXM4-40GB");
    const struct want wants[] = {{"1g.5gb", UINT32_MAX}, {"1g.5gb", UINT32_MAX}, {NULL, 0}};
    const struct mig_device_count unknown = {{model->profile_count, 0}, 1};
    const struct mig_device_count unknown_ci = {{0, MIG_CI_PROFILE_MAX}, 1};
    const struct want enough[] = {{"1c.3g.20gb", MIG_GI_MAX * 3}, {NULL, 0}};
    const struct want over[] = {{"1c.3g.20gb", MIG_GI_MAX * 3 + 1}, {NULL, 0}};
    struct mig_target target;
    struct mig_error error;

    (void)state;
    assert_int_equal(make(model, NULL, wants, &target, &error), MIG_E_NO_FIT);
    assert_non_null(strstr(error.message, "8589934590 MIG devices"));
    assert_non_null(strstr(error.hint, "at most 7"));
    assert_int_equal(make(model, NULL, enough, &target, &error), MIG_OK);
    assert_int_equal(make(model, NULL, over, &target, &error), MIG_E_NO_FIT);
    assert_int_equal(mig_target_from_devices(model, NULL, &unknown, 1, &target, &error),
                     MIG_E_USAGE);
    assert_int_equal(mig_target_from_devices(model, NULL, &unknown_ci, 1, &target, &error),
                     MIG_E_USAGE);
}

static void test_target_from_layout(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    struct mig_target target;

    (void)state;
    put(&layout, "1c.3g.20gb", 2, 4);
    put(&layout, "1g.5gb", 1, 3);
    mig_target_from_layout(&layout, &target);
    assert_string_equal(described(layout.model, &target), "3g.20gb[1c 1c] 1g.5gb[1c]");
    assert_int_equal(target.gis[0].start, 4);
    assert_int_equal(target.gis[1].start, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packing_from_nothing),
        cmocka_unit_test(test_an_equal_packing_that_is_there_is_kept),
        cmocka_unit_test(test_instances_in_use_are_taken_over_first),
        cmocka_unit_test(test_taking_over_never_costs_the_fit),
        cmocka_unit_test(test_the_place_of_instances_in_use_counts),
        cmocka_unit_test(test_a_name_listed_twice_counts_as_one),
        cmocka_unit_test(test_instances_without_compute_instance_are_not_taken_over),
        cmocka_unit_test(test_too_many_is_refused_at_once),
        cmocka_unit_test(test_target_from_layout),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
