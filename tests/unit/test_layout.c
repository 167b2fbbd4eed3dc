/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/core/place.c, layout.c and model.c: what may stand where, counted exhaustively. */
#include "base/cleanup.h"
#include "base/text.h"
#include "core/place.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define VARIANT(v) (1u << MIG_VARIANT_##v)
#define ALL_VARIANTS 0xffu

static const struct mig_model *model_named(const char *name)
{
    const struct mig_model *model = mig_catalog_find_name(name);

    assert_non_null(model);
    return model;
}

static unsigned index_of(const struct mig_model *model, const char *name)
{
    int index = mig_model_find_profile(model, name);

    assert_true(index >= 0);
    return (unsigned)index;
}

/* Adds an instance with its default compute instance. */
static void put(struct mig_layout *layout, const char *name, unsigned start)
{
    struct mig_gi *gi = &layout->gis[layout->gi_count++];

    gi->profile = (uint8_t)index_of(layout->model, name);
    gi->start = (uint8_t)start;
    gi->ci_count = 1;
    gi->cis[0].profile = (uint8_t)mig_profile_default_ci(&layout->model->profiles[gi->profile]);
    gi->cis[0].start = 0;
}

/* Walks all placed states of a model, each once: (profile, start) pairs in rising order. */
struct walk {
    const struct mig_model *model;
    unsigned variants;
    unsigned states, maximal;
    bool masks[1 << 12];
};

static void walk_states(struct walk *walk, const struct mig_occupancy *occupancy, unsigned first)
{
    unsigned pair = 0;
    bool maximal = true;

    walk->states++;
    walk->masks[occupancy->mask] = true;
    for (unsigned i = 0; i < walk->model->profile_count; i++) {
        const struct mig_profile *profile = &walk->model->profiles[i];

        for (size_t j = 0; j < profile->start_count; j++, pair++) {
            struct mig_occupancy next = *occupancy;

            if (!(walk->variants & (1u << profile->variant)) ||
                !mig_place_fits(walk->model, occupancy, i, profile->starts[j])) {
                continue;
            }
            maximal = false;
            if (pair >= first) {
                mig_place_add(walk->model, &next, i, profile->starts[j]);
                walk_states(walk, &next, pair + 1);
            }
        }
    }
    walk->maximal += maximal;
}

static void test_counts_of_placed_states(void **state)
{
    static const struct {
        const char *model;
        unsigned variants, states, maximal, masks;
    } cases[] = {
        {"A100-SXM4-40GB", VARIANT(BASE), 298, 19, 144},
        {"A100-SXM4-40GB", VARIANT(BASE) | VARIANT(MEM2X), 723, 78, 192},
        {"A100-SXM4-40GB", VARIANT(BASE) | VARIANT(MEM2X) | VARIANT(ME), 2319, 239, 192},
        {"H100 80GB HBM3", ALL_VARIANTS, 2319, 239, 192},
        {"A30", VARIANT(BASE), 26, 5, 16},
        {"A30", ALL_VARIANTS, 76, 17, 16},
        {"RTX PRO 6000 WS", VARIANT(BASE), 26, 5, 16},
        {"RTX PRO 6000 WS", ALL_VARIANTS, 717, 302, 16},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct walk walk = {.model = model_named(cases[i].model), .variants = cases[i].variants};
        struct mig_occupancy empty = {0};
        unsigned masks = 0;

        walk_states(&walk, &empty, 0);
        for (size_t j = 0; j < MIG_ARRAY_SIZE(walk.masks); j++) {
            masks += walk.masks[j];
        }
        assert_int_equal(walk.states, cases[i].states);
        assert_int_equal(walk.maximal, cases[i].maximal);
        assert_int_equal(masks, cases[i].masks);
    }
}

static void test_adding_and_removing_cancel_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        for (unsigned j = 0; j < model->profile_count; j++) {
            struct mig_occupancy occupancy = {0}, empty = {0};

            for (size_t k = 0; k < model->profiles[j].start_count; k++) {
                mig_place_add(model, &occupancy, j, model->profiles[j].starts[k]);
                assert_int_equal(__builtin_popcount(occupancy.mask), model->profiles[j].size);
                mig_place_remove(model, &occupancy, j, model->profiles[j].starts[k]);
                assert_memory_equal(&occupancy, &empty, sizeof(empty));
            }
        }
    }
}

static void test_room_of_an_empty_gpu_is_max_instances(void **state)
{
    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        struct mig_layout layout = {.model = mig_catalog_get(i)};

        for (unsigned j = 0; j < layout.model->profile_count; j++) {
            unsigned room = mig_layout_room(&layout, j);

            assert_int_equal(room, mig_model_is_placeable(layout.model)
                                       ? layout.model->profiles[j].max_instances
                                       : 0);
        }
        assert_int_equal(mig_layout_room(&layout, layout.model->profile_count), 0);
    }
}

static void test_room_beside_instances(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    const struct mig_model *model = layout.model;

    (void)state;
    assert_int_equal(mig_layout_future_placements(&layout), 25);
    put(&layout, "3g.20gb", 4);
    assert_int_equal(mig_layout_mask(&layout), 0xf0);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "1g.5gb")), 4);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "1g.5gb+me")), 1);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "2g.10gb")), 2);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "4g.20gb")), 1);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "7g.40gb")), 0);
    put(&layout, "1g.5gb+me", 1);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "1g.5gb+me")), 0);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "2g.10gb")), 1);
    /* 1g at 0, 2, 3; double memory and 2g at 2 */
    assert_int_equal(mig_layout_future_placements(&layout), 5);
    assert_int_equal(mig_layout_check(&layout, NULL), MIG_OK);
}

static void test_media_rules(void **state)
{
    struct mig_layout layout = {.model = model_named("RTX PRO 6000 Blackwell Server Edition")};
    const struct mig_model *model = layout.model;
    struct mig_error error;

    (void)state;
    put(&layout, "1g.24gb+me.all", 0);
    for (unsigned i = 0; i < model->profile_count; i++) {
        bool without_media = model->profiles[i].variant == MIG_VARIANT_NO_ME;

        assert_int_equal(mig_layout_room(&layout, i) > 0, without_media);
    }
    put(&layout, "2g.48gb-me", 6);
    assert_int_equal(mig_layout_check(&layout, &error), MIG_OK);
    put(&layout, "1g.24gb", 3);
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_NO_FIT);
    assert_non_null(strstr(error.message, "media engines"));

    layout.gi_count = 0;
    put(&layout, "1g.24gb+me", 0);
    put(&layout, "1g.24gb+gfx", 3);
    assert_int_equal(mig_layout_check(&layout, &error), MIG_OK);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "1g.24gb+me.all")), 0);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "1g.24gb+me")), 0);
    assert_int_equal(mig_layout_room(&layout, index_of(model, "2g.48gb+gfx")), 1);

    /* on A30 one +me of either size */
    layout = (struct mig_layout){.model = model_named("A30")};
    put(&layout, "1g.6gb+me", 0);
    assert_int_equal(mig_layout_room(&layout, index_of(layout.model, "2g.12gb+me")), 0);
    assert_int_equal(mig_layout_room(&layout, index_of(layout.model, "2g.12gb")), 1);
}

/* A driver may allow fewer than there are places, as for a GPU that is shared with others. */
static void test_limit_of_a_profile_holds(void **state)
{
    struct mig_model model = *model_named("A30");
    struct mig_profile profiles[MIG_PROFILE_MAX];
    struct mig_layout layout = {.model = &model};

    (void)state;
    memcpy(profiles, model.profiles, model.profile_count * sizeof(profiles[0]));
    profiles[0].max_instances = 2;
    model.profiles = profiles;
    assert_int_equal(mig_layout_room(&layout, 0), 2);
    put(&layout, "1g.6gb", 0);
    assert_int_equal(mig_layout_room(&layout, 0), 1);
    put(&layout, "1g.6gb", 3);
    assert_int_equal(mig_layout_check(&layout, NULL), MIG_OK);
    put(&layout, "1g.6gb", 2);
    assert_int_equal(mig_layout_check(&layout, NULL), MIG_E_NO_FIT);
}

static void test_check_refuses_and_says_why(void **state)
{
    const struct mig_model *model = model_named("A100-SXM4-40GB");
    struct mig_layout layout = {0};
    struct mig_error error;

    (void)state;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_USAGE);
    layout.model = model;
    layout.gi_count = MIG_GI_MAX + 1;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_USAGE);

    layout.gi_count = 1;
    layout.gis[0].profile = model->profile_count;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_USAGE);
    assert_non_null(strstr(error.message, "profile number 7"));

    layout.gi_count = 0;
    put(&layout, "3g.20gb", 4);
    put(&layout, "2g.10gb", 4);
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_NO_FIT);
    assert_string_equal(error.message, "2g.10gb at 4 cannot be on NVIDIA A100-SXM4-40GB: "
                                       "it overlaps another instance");
    layout.gis[1].start = 1;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_NO_FIT);
    assert_non_null(strstr(error.message, "no start"));
    layout.gis[1].start = 0;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_OK);

    layout.gis[0].ci_count = 2;
    layout.gis[0].cis[0].profile = layout.model->profiles[layout.gis[0].profile].ci_profile_count;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_NO_FIT);
    assert_non_null(strstr(error.message, "unknown profile"));
    layout.gis[0].ci_count = MIG_CI_MAX + 1;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_E_NO_FIT);
    layout.gis[0].ci_count = 0; /* a GPU instance without compute instance is a state that occurs */
    assert_int_equal(mig_layout_check(&layout, &error), MIG_OK);
}

/* Tables of compute placements are partly inferred: what the driver has made is not disputed. */
static void test_compute_instances_that_should_not_fit(void **state)
{
    struct mig_layout layout = {.model = model_named("A100-SXM4-40GB")};
    struct mig_target target = {0};
    struct mig_error error;
    struct mig_plan plan;

    (void)state;
    put(&layout, "3g.20gb", 4);
    layout.gis[0].ci_count = 2; /* the default, which fills it, and a part */
    layout.gis[0].cis[1].profile = 0;
    layout.gis[0].cis[1].id = 1;
    layout.gis[0].cis[1].start = MIG_START_ANY;
    assert_int_equal(mig_layout_check(&layout, &error), MIG_OK);
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_OK);
    assert_int_equal(plan.gi_destroy_count, 1);
    assert_int_equal(plan.step_count, 3);
    mig_target_from_layout(&layout, &target);
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_OK);
    assert_int_equal(plan.step_count, 0);
}

static void test_compute_instances_find_slots(void **state)
{
    const struct mig_model *a100 = model_named("A100-SXM4-40GB");
    const struct mig_profile *a100_3g = &a100->profiles[index_of(a100, "3g.20gb")];
    const struct mig_model *h100 = model_named("H100 80GB HBM3");
    const struct mig_profile *h100_2g = &h100->profiles[index_of(h100, "2g.20gb")];
    const struct mig_profile *h100_3g = &h100->profiles[index_of(h100, "3g.40gb")];
    const uint8_t parts[] = {1, 0}; /* 2c, 1c */
    const uint8_t whole[] = {2};
    const uint8_t singles[] = {0, 0, 0, 0};
    struct mig_ci kept = {.profile = 0, .start = 1};
    uint8_t starts[MIG_CI_MAX];

    (void)state;
    assert_true(mig_place_cis(a100_3g, NULL, 0, parts, 2, starts));
    assert_int_equal(starts[0], 0);
    assert_int_equal(starts[1], 2);
    assert_true(mig_place_cis(a100_3g, NULL, 0, singles, 3, starts));
    assert_int_equal(starts[2], 2);
    assert_false(mig_place_cis(a100_3g, NULL, 0, singles, 4, NULL));
    assert_true(mig_place_cis(a100_3g, NULL, 0, whole, 1, starts));
    assert_false(mig_place_cis(a100_3g, &kept, 1, whole, 1, NULL));
    /* a 1c in the middle slot leaves room for two more 1c, but no aligned pair on A100 */
    assert_true(mig_place_cis(a100_3g, &kept, 1, singles, 2, starts));
    assert_int_equal(starts[0], 0);
    assert_int_equal(starts[1], 2);
    assert_false(mig_place_cis(a100_3g, &kept, 1, parts, 1, NULL));
    assert_true(mig_place_cis(h100_3g, &kept, 1, parts, 1, starts));
    assert_int_equal(starts[0], 2);
    /* the larger 1c of a Hopper 2g exists once, wherever it is */
    kept = (struct mig_ci){.profile = 2, .start = MIG_START_ANY};
    assert_int_equal(h100_2g->ci_profiles[2].max_instances, 1);
    assert_false(mig_place_cis(h100_2g, &kept, 1, whole, 1, NULL));
    kept = (struct mig_ci){.profile = 0, .start = 1};
    /* where the driver does not say where the first one is, the sum of slices decides */
    kept.start = MIG_START_ANY;
    assert_true(mig_place_cis(a100_3g, &kept, 1, parts, 1, NULL));
    assert_false(mig_place_cis(a100_3g, &kept, 1, whole, 1, NULL));
}

static void test_three_keys_of_a_profile(void **state)
{
    const struct mig_model *a100 = model_named("A100-SXM4-40GB");
    const struct mig_model *a30 = model_named("A30");

    (void)state;
    assert_string_equal(a100->profiles[mig_model_find_driver_id(a100, 14)].name, "2g.10gb");
    assert_string_equal(a30->profiles[mig_model_find_driver_id(a30, 14)].name, "1g.6gb");
    assert_string_equal(a100->profiles[mig_model_find_enum(a100, 4)].name, "7g.40gb");
    assert_int_equal(mig_model_find_enum(a30, 4), MIG_UNKNOWN);
    assert_int_equal(mig_model_find_profile(a30, "1g.5gb"), MIG_UNKNOWN);
    assert_int_equal(mig_model_find_driver_id(a30, MIG_UNKNOWN), MIG_UNKNOWN);
    assert_int_equal(mig_model_find_driver_id(model_named("Thor iGPU"), MIG_UNKNOWN), MIG_UNKNOWN);
    assert_true(mig_model_is_placeable(a30));
    assert_false(mig_model_is_placeable(model_named("Thor iGPU")));
    assert_false(mig_model_is_placeable(model_named("RTX 6000D")));
    assert_false(mig_model_is_placeable(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_of_placed_states),
        cmocka_unit_test(test_adding_and_removing_cancel_out),
        cmocka_unit_test(test_room_of_an_empty_gpu_is_max_instances),
        cmocka_unit_test(test_room_beside_instances),
        cmocka_unit_test(test_media_rules),
        cmocka_unit_test(test_limit_of_a_profile_holds),
        cmocka_unit_test(test_check_refuses_and_says_why),
        cmocka_unit_test(test_compute_instances_that_should_not_fit),
        cmocka_unit_test(test_compute_instances_find_slots),
        cmocka_unit_test(test_three_keys_of_a_profile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
