/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/core/profile.c: the grammar, and what a name means on a model. */
#include "base/cleanup.h"
#include "base/text.h"
#include <mig/profile.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct mig_model *model_named(const char *name)
{
    const struct mig_model *model = mig_catalog_find_name(name);

    assert_non_null(model);
    return model;
}

static void test_accepted_spellings(void **state)
{
    static const struct {
        const char *text, *canonical;
        unsigned compute, gpu, memory, attribute_count;
    } cases[] = {
        {"1g.5gb", "1g.5gb", 1, 1, 5, 0},
        {"1g.5gb+me", "1g.5gb+me", 1, 1, 5, 1},
        {"1c.3g.20gb", "1c.3g.20gb", 1, 3, 20, 0},
        {"1c.1g.5gb", "1g.5gb", 1, 1, 5, 0},
        {"1g.24gb+gfx", "1g.24gb+gfx", 1, 1, 24, 1},
        {"1g.24gb+me.all", "1g.24gb+me.all", 1, 1, 24, 1},
        {"1g.24gb-me", "1g.24gb-me", 1, 1, 24, 1},
        {"1g.5gb+ME", "1g.5gb+ME", 1, 1, 5, 1},
        {"01g.5gb", "1g.5gb", 1, 1, 5, 0},
        {"0g.0gb", "0g.0gb", 0, 0, 0, 0},
        {"9c.1g.5gb", "9c.1g.5gb", 9, 1, 5, 0},
        {"1g.5gb+me,gfx", "1g.5gb+me,gfx", 1, 1, 5, 2},
        {"65535g.4294967295gb", "65535g.4294967295gb", 65535, 65535, 4294967295, 0},
        {"1g.5gb+a,b,c,d", "1g.5gb+a,b,c,d", 1, 1, 5, 4},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct mig_profile_name name;
        struct mig_error error = {0};
        char buffer[128];

        assert_int_equal(mig_profile_parse(cases[i].text, &name, &error), MIG_OK);
        assert_int_equal(name.compute, cases[i].compute);
        assert_int_equal(name.gpu, cases[i].gpu);
        assert_int_equal(name.memory, cases[i].memory);
        assert_int_equal(name.attribute_count, cases[i].attribute_count);
        assert_string_equal(mig_profile_format(&name, buffer, sizeof(buffer)), cases[i].canonical);
    }
}

static void test_rejected_spellings(void **state)
{
    static const char *const cases[] = {
        "1g.5gb.me",
        "MIG 1g.5gb",
        "1g.5GB",
        "+me",
        "1g.5gb+",
        "1g.5gb+me-gfx",
        "1g.5gb+1a",
        "1g.5gb+me.",
        "1g.5gb ",
        " 1g.5gb",
        "1g.5gb+me,me",
        "",
        "1g",
        "1g.",
        "1g.5",
        "g.5gb",
        "1g.gb",
        "1c.5gb",
        "1c.1c.1g.5gb",
        "-1g.5gb",
        "+1g.5gb",
        "1G.5gb",
        "1g.5.5gb",
        "1g.5gb+.me",
        "1g.5gb+me,",
        "1g.5gb+me, gfx",
        "1g.5gb+,me",
        "1g.5gb+me_x",
        "65536g.5gb",
        "1g.4294967296gb",
        "99999999999999999999c.1g.5gb",
        "1g.5gb+a,b,c,d,e",
        "1g.5gb+abcdefghijklmnop",
        "all-disabled",
        "1g.5gb\n",
        "1g.5gb+m\xc3\xa9",
        "0x1g.5gb",
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct mig_profile_name name;
        struct mig_error error = {0};

        assert_int_equal(mig_profile_parse(cases[i], &name, &error), MIG_E_CONFIG);
        assert_non_null(strstr(error.message, "is not a profile name"));
        assert_non_null(strstr(error.hint, "1g.5gb"));
        assert_int_equal(mig_profile_parse(cases[i], &name, NULL), MIG_E_CONFIG);
    }
}

static void test_refusal_names_part_and_offset(void **state)
{
    struct mig_profile_name name;
    struct mig_error error;
    char long_text[4096];

    (void)state;
    mig_profile_parse("1g.5GB", &name, &error);
    assert_string_equal(error.message, "'1g.5GB' is not a profile name: expected 'gb' at "
                                       "offset 4, not 'GB'");
    mig_profile_parse("1g.5gb+", &name, &error);
    assert_string_equal(error.message, "'1g.5gb+' is not a profile name: expected an attribute "
                                       "that starts with a letter at its end");
    mig_profile_parse("1g.\x1b[31m", &name, &error);
    assert_non_null(strstr(error.message, "'1g.?[31m'"));
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    mig_profile_parse(long_text, &name, &error);
    assert_true(strlen(error.message) < 256);
}

static void test_format_never_overruns(void **state)
{
    struct mig_profile_name name;
    char buffer[64];

    (void)state;
    assert_int_equal(mig_profile_parse("1c.3g.20gb+me,gfx", &name, NULL), MIG_OK);
    for (size_t size = 1; size < sizeof(buffer); size++) {
        memset(buffer, '#', sizeof(buffer));
        assert_ptr_equal(mig_profile_format(&name, buffer, size), buffer);
        assert_true(strlen(buffer) < size);
        assert_int_equal(buffer[size], '#');
        assert_int_equal(strncmp(buffer, "1c.3g.20gb+me,gfx", strlen(buffer)), 0);
    }
}

/* The lowest enum among the compute profiles of that name: what a name has to resolve to. */
static bool is_lowest_of_its_name(const struct mig_profile *profile, size_t index)
{
    for (size_t i = 0; i < profile->ci_profile_count; i++) {
        if (strcmp(profile->ci_profiles[i].name, profile->ci_profiles[index].name) == 0 &&
            profile->ci_profiles[i].enum_value < profile->ci_profiles[index].enum_value) {
            return false;
        }
    }
    return true;
}

static void check_ci_names(const struct mig_model *model, size_t gi)
{
    const struct mig_profile *profile = &model->profiles[gi];

    for (size_t i = 0; i < profile->ci_profile_count; i++) {
        struct mig_device_kind kind;
        const char *name = profile->ci_profiles[i].name;

        assert_int_equal(mig_profile_resolve(model, name, &kind, NULL), MIG_OK);
        assert_int_equal(kind.profile, gi);
        assert_string_equal(mig_device_kind_name(model, kind), name);
        assert_string_equal(profile->ci_profiles[kind.ci_profile].name, name);
        assert_int_equal(kind.ci_profile == i, is_lowest_of_its_name(profile, i));
    }
}

static void test_every_name_resolves_to_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        for (size_t j = 0; j < model->profile_count; j++) {
            struct mig_device_kind kind;

            assert_int_equal(mig_profile_resolve(model, model->profiles[j].name, &kind, NULL),
                             MIG_OK);
            assert_int_equal(kind.profile, j);
            assert_int_equal(kind.ci_profile, mig_profile_default_ci(&model->profiles[j]));
            check_ci_names(model, j);
        }
    }
}

static void test_names_that_occur_twice(void **state)
{
    const struct mig_model *h100 = model_named("H100 80GB HBM3");
    const struct mig_model *a100 = model_named("A100-SXM4-40GB");
    struct mig_device_kind kind;

    (void)state;
    assert_int_equal(mig_profile_resolve(h100, "1c.2g.20gb", &kind, NULL), MIG_OK);
    assert_int_equal(h100->profiles[kind.profile].ci_profiles[kind.ci_profile].driver_id, 0);
    assert_int_equal(mig_profile_resolve(a100, "7g.40gb", &kind, NULL), MIG_OK);
    assert_int_equal(a100->profiles[kind.profile].ci_profiles[kind.ci_profile].driver_id, 4);
}

static void test_other_spellings_of_one_profile(void **state)
{
    static const struct {
        const char *model, *text, *name;
    } cases[] = {
        {"A100-SXM4-40GB", "7c.7g.40gb", "7g.40gb"},
        {"A100-SXM4-40GB", "1c.1g.5gb+me", "1g.5gb+me"},
        {"A100-SXM4-80GB", "7g.79gb", "7g.80gb"},
        {"A100-SXM4-80GB", "3g.39gb", "3g.40gb"},
        {"A100-SXM4-80GB", "1c.3g.39gb", "1c.3g.40gb"},
        {"H100 80GB HBM3", "4g.41gb", "4g.40gb"},
        {"GB200", "1g.24gb", "1g.23gb"},
        {"A30", "04g.024gb", "4g.24gb"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        const struct mig_model *model = model_named(cases[i].model);
        struct mig_device_kind kind;

        assert_int_equal(mig_profile_resolve(model, cases[i].text, &kind, NULL), MIG_OK);
        assert_string_equal(mig_device_kind_name(model, kind), cases[i].name);
    }
}

static void test_never_a_guess(void **state)
{
    static const struct {
        const char *model, *text;
    } cases[] = {
        {"A100-SXM4-40GB", "1g.6gb"},     /* a slice of another GPU */
        {"A100-SXM4-40GB", "1g.7gb"},     /* between two profiles */
        {"A100-SXM4-40GB", "1g.20gb"},    /* only the 80 GB board has it */
        {"A100-SXM4-40GB", "1g.5gb-me"},  /* other attributes */
        {"A100-SXM4-40GB", "1g.10gb+me"}, /* the double-memory profile has no +me */
        {"A100-SXM4-40GB", "1g.5gb+ME"},
        {"A100-SXM4-40GB", "3c.4g.20gb"}, /* a 4g has parts of 1 and 2 slices */
        {"A100-SXM4-40GB", "2c.1g.5gb"},
        {"A100-SXM4-40GB", "0c.1g.5gb"},
        {"A100-SXM4-40GB", "6g.40gb"},
        {"A30", "7g.40gb"},
        {"RTX 6000D", "1g.24gb"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct mig_device_kind kind;
        struct mig_error error = {0};

        assert_int_equal(
            mig_profile_resolve(model_named(cases[i].model), cases[i].text, &kind, &error),
            MIG_E_NO_FIT);
        assert_non_null(strstr(error.message, cases[i].text));
        assert_true(*error.hint);
    }
}

static void test_two_candidates_are_none(void **state)
{
    static const struct mig_ci_profile ci = {.slice_count = 1, .is_default = true};
    static const struct mig_profile profiles[] = {
        {.name = "1g.99gb", .slice_count = 1, .ci_profile_count = 1, .ci_profiles = &ci},
        {.name = "1g.101gb", .slice_count = 1, .ci_profile_count = 1, .ci_profiles = &ci},
    };
    struct mig_model model = {.name = "X", .profile_count = 2, .profiles = profiles};
    struct mig_device_kind kind;

    (void)state;
    assert_int_equal(mig_profile_resolve(&model, "1g.100gb", &kind, NULL), MIG_E_NO_FIT);
    assert_int_equal(mig_profile_resolve(&model, "1g.101gb", &kind, NULL), MIG_OK);
    assert_int_equal(kind.profile, 1);
    model.profile_count = 1;
    assert_int_equal(mig_profile_resolve(&model, "1g.100gb", &kind, NULL), MIG_OK);
}

static void test_refusal_offers_what_there_is(void **state)
{
    const struct mig_model *a30 = model_named("A30");
    struct mig_device_kind kind;
    struct mig_error error;

    (void)state;
    assert_int_equal(mig_profile_resolve(a30, "1g.5gb", &kind, &error), MIG_E_NO_FIT);
    assert_string_equal(error.message, "NVIDIA A30 has no profile '1g.5gb'; closest: 1g.6gb");
    assert_string_equal(error.hint, "profiles of NVIDIA A30: 1g.6gb, 1g.6gb+me, 2g.12gb, "
                                    "2g.12gb+me, 4g.24gb");
    assert_int_equal(mig_profile_resolve(a30, "3c.4g.24gb", &kind, &error), MIG_E_NO_FIT);
    assert_string_equal(error.hint, "inside a 4g.24gb: 1c.4g.24gb, 2c.4g.24gb, 4g.24gb");
    assert_int_equal(mig_profile_resolve(a30, "1c.2g.14gb", &kind, &error), MIG_E_NO_FIT);
    assert_string_equal(error.message,
                        "NVIDIA A30 has no profile '1c.2g.14gb'; closest: 2g.12gb, 4g.24gb");
    assert_int_equal(mig_profile_resolve(a30, "1g.6", &kind, &error), MIG_E_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted_spellings),
        cmocka_unit_test(test_rejected_spellings),
        cmocka_unit_test(test_refusal_names_part_and_offset),
        cmocka_unit_test(test_format_never_overruns),
        cmocka_unit_test(test_every_name_resolves_to_itself),
        cmocka_unit_test(test_names_that_occur_twice),
        cmocka_unit_test(test_other_spellings_of_one_profile),
        cmocka_unit_test(test_never_a_guess),
        cmocka_unit_test(test_two_candidates_are_none),
        cmocka_unit_test(test_refusal_offers_what_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
