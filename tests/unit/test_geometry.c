/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of src/gpu/geometry.c: the steps between two sides of a change lead where they should from
 * every mixture of the two, and touch nothing else.
 */
#include "gpu/geometry.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct mig_model *a100(void)
{
    const struct mig_model *model = mig_catalog_find_name("NVIDIA A100-SXM4-40GB");

    assert_non_null(model);
    return model;
}

static struct mig_gi make_gi(const struct mig_model *model, const char *name, unsigned start,
                             unsigned ci_count)
{
    int profile = mig_model_find_profile(model, name);
    struct mig_gi gi = {.start = (uint8_t)start, .ci_count = (uint8_t)ci_count, .id = 100 + start};

    assert_true(profile >= 0);
    gi.profile = (uint8_t)profile;
    for (unsigned i = 0; i < ci_count; i++) {
        int ci = ci_count == 1 ? mig_profile_default_ci(&model->profiles[profile]) : 0;

        gi.cis[i] = (struct mig_ci){.profile = (uint8_t)ci, .start = (uint8_t)i, .id = i};
    }
    return gi;
}

/* Carries the steps out on a layout, refusing what a driver would. */
static void play(struct mig_layout *layout, const struct mig_steps *steps)
{
    for (unsigned i = 0; i < steps->count; i++) {
        const struct mig_step *step = &steps->steps[i];
        unsigned at = 0;
        struct mig_gi *gi;

        while (at < layout->gi_count && layout->gis[at].start != step->gi_start) {
            at++;
        }
        gi = &layout->gis[at];
        switch (step->kind) {
        case MIG_STEP_CREATE_GI:
            assert_int_equal(at, layout->gi_count);
            layout->gi_count++;
            *gi = (struct mig_gi){.profile = step->gi_profile, .start = step->gi_start};
            assert_int_equal(mig_layout_check(layout, NULL), MIG_OK);
            break;
        case MIG_STEP_DESTROY_GI:
            assert_int_equal(gi->ci_count, 0);
            assert_int_equal(step->gi_id, gi->id);
            *gi = layout->gis[--layout->gi_count];
            break;
        case MIG_STEP_CREATE_CI:
            gi->cis[gi->ci_count++] =
                (struct mig_ci){.profile = step->ci_profile, .start = step->ci_start};
            break;
        case MIG_STEP_DESTROY_CI:
            at = 0;
            while (gi->cis[at].id != step->ci_id) {
                at++;
                assert_true(at < gi->ci_count);
            }
            gi->cis[at] = gi->cis[--gi->ci_count];
            break;
        }
    }
}

static void test_both_ways_from_every_mixture(void **state)
{
    const struct mig_model *model = a100();
    struct mig_layout old_layout = {.model = model, .gi_count = 2};
    struct mig_layout new_layout = {.model = model, .gi_count = 3};
    struct mig_geometry sides[2];

    (void)state;
    old_layout.gis[0] = make_gi(model, "3g.20gb", 4, 1);
    old_layout.gis[1] = make_gi(model, "3g.20gb", 0, 1);
    new_layout.gis[0] = make_gi(model, "3g.20gb", 4, 3);
    new_layout.gis[1] = make_gi(model, "2g.10gb", 0, 1);
    new_layout.gis[2] = make_gi(model, "1g.5gb", 2, 1);
    mig_geometry_of(&old_layout, &sides[0]);
    mig_geometry_of(&new_layout, &sides[1]);
    /* bits: which of the old ones are left, which of the new ones are there, with or without CI */
    for (unsigned bits = 0; bits < 1u << 8; bits++) {
        for (unsigned side = 0; side < 2; side++) {
            struct mig_layout layout = {.model = model};
            static struct mig_steps steps;
            struct mig_geometry reached;
            struct mig_error error;

            if (bits & 1) {
                layout.gis[layout.gi_count++] = bits & 2 ? old_layout.gis[0] : new_layout.gis[0];
                layout.gis[0].ci_count = (uint8_t)(bits & 4 ? layout.gis[0].ci_count : bits & 1);
            }
            if (bits & 8) {
                layout.gis[layout.gi_count++] = old_layout.gis[1];
            }
            for (unsigned i = 1; i < 3 && !(bits & 8); i++) {
                if (bits & 16u << i) {
                    layout.gis[layout.gi_count] = new_layout.gis[i];
                    layout.gis[layout.gi_count++].ci_count = (bits & 128) != 0;
                }
            }
            assert_int_equal(
                mig_geometry_steps(&layout, &sides[side], &sides[!side], &steps, &error), 0);
            play(&layout, &steps);
            mig_geometry_of(&layout, &reached);
            assert_true(mig_geometry_equal(&reached, &sides[side]));
            assert_int_equal(
                mig_geometry_steps(&layout, &sides[side], &sides[!side], &steps, &error), 0);
            assert_int_equal(steps.count, 0);
        }
    }
}

static void test_what_is_not_ours_is_left_alone(void **state)
{
    const struct mig_model *model = a100();
    struct mig_layout layout = {.model = model, .gi_count = 2};
    struct mig_geometry nothing = {0}, ours;
    static struct mig_steps steps;

    (void)state;
    layout.gis[0] = make_gi(model, "1g.5gb", 6, 1);
    mig_geometry_of(&(struct mig_layout){.model = model, .gi_count = 1, .gis = {layout.gis[0]}},
                    &ours);
    layout.gis[1] = make_gi(model, "2g.10gb", 2, 1);
    assert_int_equal(mig_geometry_steps(&layout, &nothing, &ours, &steps, NULL), 0);
    assert_int_equal(steps.count, 2);
    assert_int_equal(steps.steps[1].kind, MIG_STEP_DESTROY_GI);
    assert_int_equal(steps.steps[1].gi_start, 6);
    assert_int_equal(mig_geometry_steps(&layout, &nothing, &nothing, &steps, NULL), 0);
    assert_int_equal(steps.count, 0);
}

static void test_unknown_places_are_no_difference(void **state)
{
    const struct mig_model *model = a100();
    struct mig_layout a = {.model = model, .gi_count = 1}, b;
    struct mig_geometry left, right;

    (void)state;
    a.gis[0] = make_gi(model, "3g.20gb", 4, 3);
    b = a;
    b.gis[0].cis[0].start = MIG_START_ANY;
    b.gis[0].cis[1].start = 2;
    b.gis[0].cis[2].start = 0;
    mig_geometry_of(&a, &left);
    mig_geometry_of(&b, &right);
    assert_true(mig_geometry_equal(&left, &right));
    assert_true(mig_geometry_equal(&right, &left));
    b.gis[0].cis[2].start = 2;
    mig_geometry_of(&b, &right);
    assert_false(mig_geometry_equal(&left, &right));
}

static void test_describe(void **state)
{
    const struct mig_model *model = a100();
    struct mig_layout layout = {.model = model};
    char text[128], cut[16];

    (void)state;
    mig_geometry_describe(&layout, text, sizeof(text));
    assert_string_equal(text, "no instances");
    layout.gi_count = 2;
    layout.gis[0] = make_gi(model, "3g.20gb", 4, 1);
    layout.gis[1] = make_gi(model, "1g.5gb", 0, 0);
    mig_geometry_describe(&layout, text, sizeof(text));
    assert_string_equal(text, "3g.20gb at 4, 1g.5gb at 0 (no compute instance)");
    mig_geometry_describe(&layout, cut, sizeof(cut));
    assert_string_equal(cut, "3g.20gb at 4, 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_ways_from_every_mixture),
        cmocka_unit_test(test_what_is_not_ours_is_left_alone),
        cmocka_unit_test(test_unknown_places_are_no_difference),
        cmocka_unit_test(test_describe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
