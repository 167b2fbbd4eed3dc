/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/catalog: the generated tables and the look-ups in them. */
#include "base/cleanup.h"
#include "base/text.h"
#include "catalog/timing.h"
#include <mig/model.h>
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

static void check_ci_profiles(const struct mig_profile *profile)
{
    unsigned default_count = 0;

    assert_in_range(profile->ci_profile_count, 1, MIG_CI_PROFILE_MAX);
    for (size_t i = 0; i < profile->ci_profile_count; i++) {
        const struct mig_ci_profile *ci = &profile->ci_profiles[i];

        default_count += ci->is_default;
        assert_in_range(ci->slice_count, 1, profile->slice_count);
        assert_in_range(ci->max_instances * ci->slice_count, 1, profile->slice_count);
        assert_true(strlen(ci->name) < MIG_NAME_SIZE);
        if (ci->is_default) {
            assert_string_equal(ci->name, profile->name);
        }
    }
    assert_int_equal(default_count, 1);
}

static void check_profile(const struct mig_model *model, const struct mig_profile *profile)
{
    assert_true(strlen(profile->name) < MIG_NAME_SIZE);
    assert_in_range(profile->slice_count, 1, model->compute_slice_count);
    assert_in_range(profile->max_instances, 1, model->compute_slice_count);
    assert_int_equal(profile->size == 0, model->unit_count == 0);
    assert_int_equal(profile->size == 0, profile->start_count == 0);
    for (size_t i = 0; i < profile->start_count; i++) {
        assert_true(profile->starts[i] + profile->size <= model->unit_count);
        assert_true(i == 0 || profile->starts[i - 1] < profile->starts[i]);
    }
    check_ci_profiles(profile);
}

static void test_every_model_keeps_the_contract(void **state)
{
    (void)state;
    assert_int_equal(mig_catalog_count(), 39);
    assert_null(mig_catalog_get(mig_catalog_count()));
    assert_null(mig_catalog_get(SIZE_MAX));
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        assert_in_range(model->unit_count, 0, MIG_UNIT_MAX);
        assert_in_range(model->profile_count, 0, MIG_PROFILE_MAX);
        for (size_t j = 0; j < model->profile_count; j++) {
            check_profile(model, &model->profiles[j]);
            assert_true(j == 0 ||
                        model->profiles[j - 1].slice_count <= model->profiles[j].slice_count);
        }
    }
}

static void test_numbers_of_a30(void **state)
{
    const struct mig_model *a30 = model_named("NVIDIA A30");
    const struct mig_profile *profile = &a30->profiles[0];

    (void)state;
    assert_int_equal(a30->architecture, MIG_ARCH_AMPERE);
    assert_int_equal(a30->cc_major, 8);
    assert_int_equal(a30->cc_minor, 0);
    assert_int_equal(a30->unit_count, 4);
    assert_int_equal(a30->total_memory_mib, 24576);
    assert_int_equal(a30->bar1_total_mib, 32768);
    assert_true(a30->mode_needs_reset);
    assert_true(a30->mode_persists_reboot);
    assert_string_equal(a30->min_driver, "460.73.01");
    assert_int_equal(a30->profile_count, 5);
    assert_string_equal(profile->name, "1g.6gb");
    assert_int_equal(profile->driver_id, 14);
    assert_int_equal(profile->memory_mib, 5952);
    assert_false(profile->memory_is_estimate);
    assert_int_equal(profile->bar1_mib, 8191);
    assert_int_equal(profile->sm_count, 14);
    assert_int_equal(profile->engines.copy, 1);
    assert_int_equal(profile->confidence, MIG_CAPTURED);
    assert_int_equal(profile->start_count, 4);
    assert_int_equal(profile->starts[3], 3);
}

static void test_what_is_not_known_says_so(void **state)
{
    const struct mig_model *rtx = model_named("RTX PRO 4500");
    const struct mig_model *gb300 = model_named("GB300");

    (void)state;
    assert_int_equal(rtx->unit_count, 0);
    assert_int_equal(rtx->bar1_total_mib, MIG_UNKNOWN);
    assert_int_equal(rtx->profiles[0].size, 0);
    assert_null(rtx->profiles[0].starts);
    assert_int_equal(rtx->profiles[0].driver_id, MIG_UNKNOWN);
    assert_int_equal(rtx->profiles[0].bar1_mib, MIG_UNKNOWN);
    assert_int_equal(rtx->profiles[0].memory_mib, 16128);
    assert_true(rtx->profiles[0].memory_is_estimate);
    assert_int_equal(gb300->sm_total, MIG_UNKNOWN);
    assert_int_equal(model_named("RTX 6000D")->profile_count, 0);
    assert_null(model_named("RTX 6000D")->min_driver);
}

static void test_find_name(void **state)
{
    static const struct {
        const char *text, *name;
    } cases[] = {
        {"NVIDIA A30", "NVIDIA A30"},
        {"A30", "NVIDIA A30"},
        {"a30-24gb", "NVIDIA A30"},
        {"A100-SXM4-40GB", "NVIDIA A100-SXM4-40GB"},
        {"a100 sxm4 40gb", "NVIDIA A100-SXM4-40GB"},
        {"nvidia a100-pcie-40gb", "NVIDIA A100-PCIE-40GB"},
        {"h100 pcie", "NVIDIA H100 PCIe"},
        {"H100", "NVIDIA H100"},
        {"H200", "NVIDIA H200"},
        {"GH200 120GB", "NVIDIA GH200 480GB"},
        {"PG506", "NVIDIA PG506-232"},
        {"RTX PRO 4500", "NVIDIA RTX PRO 4500 Blackwell"},
        {"RTX PRO 5000 72GB", "NVIDIA RTX PRO 5000 72GB Blackwell"},
        {"Thor", "Thor iGPU"},
        {"NVIDIA H100 SXM5 64GB", "NVIDIA H100 SXM5 64GB"},
    };
    static const char *const none[] = {"",           "A100", "A800", "RTX",    "RTX PRO 6000",
                                       "custom",     "A3",   "A300", "NVIDIA", "H",
                                       "Tesla V100", "A30 ", "GH200"};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_string_equal(model_named(cases[i].text)->name, cases[i].name);
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(none); i++) {
        assert_null(mig_catalog_find_name(none[i]));
    }
    assert_null(mig_catalog_find_name(NULL));
}

static void test_names_and_aliases_find_their_model(void **state)
{
    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        assert_ptr_equal(mig_catalog_find_name(model->name), model);
        assert_null(strchr(model->name, '('));
        for (size_t j = 0; j < model->alias_count; j++) {
            assert_ptr_equal(mig_catalog_find_name(model->aliases[j]), model);
        }
    }
}

static void test_find_pci(void **state)
{
    (void)state;
    assert_string_equal(mig_catalog_find_pci(0x20B710DE, 0x153210DE)->name, "NVIDIA A30");
    assert_string_equal(mig_catalog_find_pci(0x20B710DE, 0)->name, "NVIDIA A30");
    assert_string_equal(mig_catalog_find_pci(0x20B710DE, 0xFFFF10DE)->name, "NVIDIA A30");
    assert_null(mig_catalog_find_pci(0x1DB610DE, 0));
    assert_null(mig_catalog_find_pci(0x20B70000, 0));
    assert_string_equal(mig_catalog_find_pci(0x2BB310DE, 0)->name, "NVIDIA RTX PRO 5000 Blackwell");
    assert_string_equal(mig_catalog_find_pci(0x2BB310DE, 0x227A17AA)->name,
                        "NVIDIA RTX PRO 5000 72GB Blackwell");
    assert_string_equal(mig_catalog_find_pci(0x20F510DE, 0x179A10DE)->name,
                        "NVIDIA A800 80GB PCIe LC");
    assert_string_equal(mig_catalog_find_pci(0x20F510DE, 0x123410DE)->name,
                        "NVIDIA A800 80GB PCIe");
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        for (size_t j = 0; j < model->pci_id_count; j++) {
            if (model->pci_ids[j].subsystem != 0) {
                assert_ptr_equal(
                    mig_catalog_find_pci(model->pci_ids[j].device, model->pci_ids[j].subsystem),
                    model);
            }
        }
    }
}

static void test_words(void **state)
{
    (void)state;
    assert_string_equal(mig_architecture_name(MIG_ARCH_HOPPER), "hopper");
    assert_string_equal(mig_architecture_name(MIG_ARCH_UNKNOWN), "unknown");
    assert_string_equal(mig_confidence_name(MIG_INFERRED), "inferred");
    assert_string_equal(mig_confidence_name(MIG_FROM_DRIVER), "from driver");
}

static void test_timing(void **state)
{
    struct mig_model unheard = {.name = "NVIDIA Next", .architecture = MIG_ARCH_UNKNOWN};
    struct mig_timing timing = mig_timing_estimate(model_named("A30"), 2);

    (void)state;
    assert_int_equal(timing.create_ms, 120);
    assert_int_equal(timing.destroy_ms, 100);
    assert_int_equal(timing.confidence, MIG_DOCUMENTED);
    timing = mig_timing_estimate(model_named("A30"), 3); /* as near to 2 as to 4 */
    assert_int_equal(timing.create_ms, 130);
    timing = mig_timing_estimate(model_named("A100-SXM4-80GB"), 7);
    assert_int_equal(timing.create_ms, 240);
    timing = mig_timing_estimate(model_named("H200"), 6); /* between 4 and 7: nearer to 7 */
    assert_int_equal(timing.create_ms, 420);
    assert_int_equal(timing.confidence, MIG_INFERRED);
    timing = mig_timing_estimate(model_named("B200"), 3);
    assert_int_equal(timing.create_ms, 330);
    assert_int_equal(timing.confidence, MIG_INFERRED);
    timing = mig_timing_estimate(&unheard, 1);
    assert_int_equal(timing.destroy_ms, 210);
    assert_int_equal(timing.confidence, MIG_INFERRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_model_keeps_the_contract),
        cmocka_unit_test(test_numbers_of_a30),
        cmocka_unit_test(test_what_is_not_known_says_so),
        cmocka_unit_test(test_find_name),
        cmocka_unit_test(test_names_and_aliases_find_their_model),
        cmocka_unit_test(test_find_pci),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_timing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
