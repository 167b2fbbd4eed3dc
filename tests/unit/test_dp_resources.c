/* SPDX-License-Identifier: Apache-2.0 */
/* Which resources a node has: strategies, states that are not valid, names, sharing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dp_support.h"
#include <stdio.h>
#include <string.h>

#define A100 "A100-SXM4-40GB"

static void N1_no_mig(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, NULL);
    dp_add_gpu(&node, "T4", NULL);
    assert_string_equal(dp_resources(&node, "none"), "gpu: GPU-0 GPU-1");
    assert_string_equal(dp_resources(&node, "single"), "gpu: GPU-0 GPU-1");
    assert_string_equal(dp_resources(&node, "mixed"), "gpu: GPU-0 GPU-1");
}

static void N1_one_profile_everywhere(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "3g.20gb@0 3g.20gb@4");
    dp_add_gpu(&node, A100, "3g.20gb@4");
    assert_string_equal(dp_resources(&node, "none"), "gpu: GPU-0 GPU-1");
    assert_string_equal(dp_resources(&node, "single"), "gpu: MIG-0-1-0 MIG-0-2-0 MIG-1-1-0");
    assert_string_equal(dp_resources(&node, "mixed"), "mig-3g.20gb: MIG-0-1-0 MIG-0-2-0 MIG-1-1-0");
}

static void N1_mixed_serves_each_kind(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 1g.5gb@1 2g.10gb@2 3g.20gb@4");
    dp_add_gpu(&node, A100, NULL);
    assert_string_equal(dp_resources(&node, "mixed"),
                        "gpu: GPU-1 | mig-1g.5gb: MIG-0-1-0 MIG-0-2-0 | mig-2g.10gb: MIG-0-3-0 | "
                        "mig-3g.20gb: MIG-0-4-0");
}

/* Where NVIDIA's plugin exits, the valid part is served and the rest is named. */
static void N2_single_with_different_profiles(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config = dp_strategy("single");
    struct mig_dp_table *table;

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 1g.5gb@1");
    dp_add_gpu(&node, A100, "3g.20gb@0");
    table = dp_table(&node, config);
    assert_string_equal(dp_table_text(table), "gpu: MIG-0-1-0 MIG-0-2-0");
    assert_true(dp_has_note(table, "a 3g.20gb of GPU 1 is not served: all MIG devices"));
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

static void N2_single_with_some_gpus_in_mig_mode(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config = dp_strategy("single");
    struct mig_dp_table *table;

    (void)state;
    dp_add_gpu(&node, A100, NULL);
    dp_add_gpu(&node, A100, NULL);
    dp_add_gpu(&node, A100, "3g.20gb@0");
    table = dp_table(&node, config);
    assert_string_equal(dp_table_text(table), "gpu: MIG-2-1-0");
    assert_true(dp_has_note(table, "GPU 1 is not served: MIG mode has to be enabled on all"));
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

static void N2_gpu_that_cannot_be_read(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config = dp_strategy("mixed");
    struct mig_dp_table *table;

    (void)state;
    dp_add_gpu(&node, A100, NULL);
    dp_add_gpu(&node, A100, "3g.20gb@0");
    snprintf(node.gpus[0].problem, sizeof(node.gpus[0].problem), "GPU is lost");
    table = dp_table(&node, config);
    assert_string_equal(dp_table_text(table), "mig-3g.20gb: MIG-1-1-0");
    assert_true(dp_has_note(table, "GPU 0 is not served: GPU is lost"));
    mig_dp_table_free(table);
    mig_dp_config_free(config);
    assert_string_equal(dp_resources(&node, "none"), "gpu: GPU-0! GPU-1");
}

static void N9_empty_mig_gpu_is_a_note(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0");
    dp_add_gpu(&node, A100, "");
    for (unsigned i = 0; i < 2; i++) {
        struct mig_dp_config *config = dp_strategy(i ? "single" : "mixed");
        struct mig_dp_table *table = dp_table(&node, config);

        assert_string_equal(dp_table_text(table), i ? "gpu: MIG-0-1-0" : "mig-1g.5gb: MIG-0-1-0");
        assert_true(dp_has_note(table, "GPU 1 has MIG mode enabled and no MIG device"));
        mig_dp_table_free(table);
        mig_dp_config_free(config);
    }
}

static void N2_instance_without_device_is_left_out(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0{} 3g.20gb@4");
    assert_string_equal(dp_resources(&node, "mixed"), "mig-3g.20gb: MIG-0-2-0");
    node.gpus[0].gi_infos[1].devices[0].uuid[0] = '\0';
    assert_string_equal(dp_resources(&node, "mixed"), "");
}

/* Every profile of every GPU of the catalogue, as the only instance: the name follows the rule. */
static void N3_names_of_all_profiles(void **state)
{
    unsigned named = 0;

    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *model = mig_catalog_get(i);

        for (uint8_t j = 0; j < model->profile_count; j++) {
            struct config_node node = {0};
            char layout[64], wanted[96];

            if (model->profiles[j].size == 0) {
                continue;
            }
            snprintf(layout, sizeof(layout), "%s@%u", model->profiles[j].name,
                     model->profiles[j].starts[0]);
            dp_add_gpu(&node, model->name, layout);
            snprintf(wanted, sizeof(wanted), "mig-%s: MIG-0-1-0", model->profiles[j].name);
            for (char *at = wanted; *at; at++) {
                *at = *at == '+' ? '.' : *at;
            }
            assert_string_equal(dp_resources(&node, "mixed"), wanted);
            named++;
        }
    }
    assert_true(named > 150);
}

static void N3_suffixes(void **state)
{
    struct config_node a100 = {0}, pro = {0};

    (void)state;
    dp_add_gpu(&a100, A100, "1g.5gb+me@0");
    assert_string_equal(dp_resources(&a100, "mixed"), "mig-1g.5gb.me: MIG-0-1-0");
    dp_add_gpu(&pro, "NVIDIA RTX PRO 6000 Blackwell Server Edition", "1g.24gb-me@0 1g.24gb+gfx@3");
    assert_string_equal(dp_resources(&pro, "mixed"),
                        "mig-1g.24gb-me: MIG-0-1-0 | mig-1g.24gb.gfx: MIG-0-2-0");
}

static void N4_parts_of_a_gpu_instance(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "3g.20gb@0{1c.3g.20gb,2c.3g.20gb} 3g.20gb@4");
    assert_string_equal(dp_resources(&node, "mixed"),
                        "mig-1c.3g.20gb: MIG-0-1-0 | mig-2c.3g.20gb: MIG-0-1-1 | "
                        "mig-3g.20gb: MIG-0-2-0");
}

/* A profile that no table knows has the name that the driver gave it, made fit for Kubernetes. */
static void N5_unknown_profile(void **state)
{
    struct config_node node = {0};
    struct mig_model model;
    struct mig_profile profiles[MIG_PROFILE_MAX];

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 3g.20gb@4");
    model = *node.gpus[0].layout.model;
    memcpy(profiles, model.profiles, model.profile_count * sizeof(profiles[0]));
    profiles[node.gpus[0].layout.gis[1].profile].name = "3g.20gb+new thing,x";
    model.profiles = profiles;
    node.gpus[0].layout.model = &model;
    assert_string_equal(dp_resources(&node, "mixed"),
                        "mig-1g.5gb: MIG-0-1-0 | mig-3g.20gb.new-thing.x: MIG-0-2-0");
}

/* One name, from the instance: what its memory reads as plays no part. */
static void N5a_memory_that_rounds_differently(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "3g.20gb@0");
    node.gpus[0].gi_infos[0].memory_total_mib = 20481;
    assert_string_equal(dp_resources(&node, "mixed"), "mig-3g.20gb: MIG-0-1-0");
}

static void N8_figures_of_the_names(void **state)
{
    static const struct {
        const char *model, *layout, *wanted;
    } cases[] = {
        {"A30", "1g.6gb@0 1g.6gb@1 2g.12gb@2",
         "mig-1g.6gb: MIG-0-1-0 MIG-0-2-0 | mig-2g.12gb: MIG-0-3-0"},
        {A100, "7g.40gb@0", "mig-7g.40gb: MIG-0-1-0"},
        {"A100-SXM4-80GB", "1g.10gb@0 3g.40gb@4",
         "mig-1g.10gb: MIG-0-1-0 | mig-3g.40gb: MIG-0-2-0"},
        {"H100 80GB HBM3", "1g.10gb@0 3g.40gb@4",
         "mig-1g.10gb: MIG-0-1-0 | mig-3g.40gb: MIG-0-2-0"},
        {"H200", "1g.18gb@0 3g.71gb@4", "mig-1g.18gb: MIG-0-1-0 | mig-3g.71gb: MIG-0-2-0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config_node node = {0};

        dp_add_gpu(&node, cases[i].model, cases[i].layout);
        assert_string_equal(dp_resources(&node, "mixed"), cases[i].wanted);
    }
}

static const char *with_config(const struct config_node *node, const char *text)
{
    struct mig_dp_config *config = dp_config(text);
    struct mig_dp_table *table = dp_table(node, config);
    const char *written = dp_table_text(table);

    mig_dp_table_free(table);
    mig_dp_config_free(config);
    return written;
}

static void N7_patterns(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 1g.5gb+me@1 3g.20gb@4");
    dp_add_gpu(&node, "A30", NULL);
    dp_add_gpu(&node, "T4", NULL);
    assert_string_equal(with_config(&node, "flags: {migStrategy: mixed}\n"
                                           "resources:\n"
                                           "  gpus: [{pattern: '*A30*', name: big}]\n"
                                           "  mig: [{pattern: 1g.*, name: example.com/small}]\n"),
                        "example.com/small: MIG-0-1-0 MIG-0-2-0 | big: GPU-1 | gpu: GPU-2 | "
                        "mig-3g.20gb: MIG-0-3-0");
    /* anchored at both ends */
    assert_string_equal(with_config(&node, "flags: {migStrategy: mixed}\n"
                                           "resources: {mig: [{pattern: 1g.5gb, name: x}]}\n"),
                        "gpu: GPU-1 GPU-2 | mig-1g.5gb.me: MIG-0-2-0 | mig-3g.20gb: MIG-0-3-0 | "
                        "x: MIG-0-1-0");
}

static void S1_replicas(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 3g.20gb@4");
    dp_add_gpu(&node, A100, NULL);
    assert_string_equal(with_config(&node, "flags: {migStrategy: mixed}\n"
                                           "sharing: {timeSlicing: {resources: [\n"
                                           "  {name: nvidia.com/gpu, replicas: 4},\n"
                                           "  {name: mig-1g.5gb, replicas: 2}]}}\n"),
                        "gpu: GPU-1x4 | mig-1g.5gb: MIG-0-1-0x2 | mig-3g.20gb: MIG-0-2-0");
}

static void S1_ids_of_replicas(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config =
        dp_config("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 12}]}}");
    struct mig_dp_table *table;
    const struct mig_dp_resource *resource;
    char id[MIG_DP_ID_SIZE];

    (void)state;
    dp_add_gpu(&node, A100, NULL);
    table = dp_table(&node, config);
    resource = mig_dp_table_find(table, "nvidia.com/gpu");
    assert_int_equal(mig_dp_slice_devices(&table->slices[0]), 12);
    assert_string_equal(mig_dp_slice_id(&table->slices[0], 11, id), "GPU-0::11");
    assert_ptr_equal(mig_dp_table_device(table, resource, "GPU-0::11"), &table->slices[0]);
    assert_null(mig_dp_table_device(table, resource, "GPU-0::12"));
    assert_null(mig_dp_table_device(table, resource, "GPU-0"));
    assert_null(mig_dp_table_device(table, resource, "GPU-0::"));
    assert_null(mig_dp_table_device(table, resource, "GPU-0::1x"));
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

static void N6_shared_suffix(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 3g.20gb@4");
    assert_string_equal(with_config(&node,
                                    "flags: {migStrategy: mixed}\n"
                                    "sharing: {timeSlicing: {renameByDefault: true, resources: [\n"
                                    "  {name: nvidia.com/mig-1g.5gb, replicas: 2}]}}\n"),
                        "mig-1g.5gb.shared: MIG-0-1-0x2 | mig-3g.20gb: MIG-0-2-0");
}

static void N7_rename_and_subsets(void **state)
{
    struct config_node node = {0};

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 1g.5gb@1 1g.5gb@2");
    dp_add_gpu(&node, A100, NULL);
    dp_add_gpu(&node, A100, NULL);
    /* a count: the first so many */
    assert_string_equal(
        with_config(&node, "flags: {migStrategy: mixed}\n"
                           "sharing: {timeSlicing: {resources: [\n"
                           "  {name: mig-1g.5gb, rename: tiny, devices: 2, replicas: 3}]}}\n"),
        "gpu: GPU-1 GPU-2 | mig-1g.5gb: MIG-0-3-0 | tiny: MIG-0-1-0x3 MIG-0-2-0x3");
    /* lists: by index and UUID, each device by the first rule that names it */
    assert_string_equal(
        with_config(&node, "flags: {migStrategy: mixed}\n"
                           "sharing: {timeSlicing: {resources: [\n"
                           "  {name: mig-1g.5gb, devices: ['0:1'], replicas: 2},\n"
                           "  {name: mig-1g.5gb, devices: [MIG-0-3-0, '0:1'], replicas: 5},\n"
                           "  {name: gpu, rename: slow, devices: [2], replicas: 8}]}}\n"),
        "gpu: GPU-1 | mig-1g.5gb: MIG-0-1-0 MIG-0-2-0x2 MIG-0-3-0x5 | slow: GPU-2x8");
    /* a GPU stands for its slices */
    assert_string_equal(with_config(&node, "flags: {migStrategy: mixed}\n"
                                           "sharing: {timeSlicing: {resources: [\n"
                                           "  {name: mig-1g.5gb, devices: [0], replicas: 2}]}}\n"),
                        "gpu: GPU-1 GPU-2 | mig-1g.5gb: MIG-0-1-0x2 MIG-0-2-0x2 MIG-0-3-0x2");
}

static void K16_ids_stay_within_63_characters(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config =
        dp_config("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 1000}]}}");
    struct mig_dp_table *table;
    char uuid[MIG_DP_ID_SIZE + 1];

    (void)state;
    memset(uuid, 'a', sizeof(uuid));
    dp_add_gpu(&node, A100, NULL);
    dp_add_gpu(&node, A100, NULL);
    dp_add_gpu(&node, A100, NULL);
    snprintf(node.gpus[0].uuid, sizeof(node.gpus[0].uuid), "%.58s", uuid); /* and ::999 */
    snprintf(node.gpus[1].uuid, sizeof(node.gpus[1].uuid), "%.59s", uuid);
    snprintf(node.gpus[2].uuid, sizeof(node.gpus[2].uuid), "%.64s", uuid);
    table = dp_table(&node, config);
    assert_int_equal(table->slice_count, 2);
    assert_int_equal(table->slices[0].replicas, 1000);
    assert_int_equal(table->slices[1].replicas, 0);
    assert_true(dp_has_note(table, "is not shared"));
    assert_true(dp_has_note(table, "no UUID of at most 63 characters"));
    for (uint32_t i = 0; i < mig_dp_slice_devices(&table->slices[0]); i++) {
        char id[MIG_DP_ID_SIZE];

        assert_true(strlen(mig_dp_slice_id(&table->slices[0], i, id)) <= 63);
        assert_non_null(mig_dp_table_device(table, &table->resources[0], id));
    }
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

static void K15_numa_node_of_the_gpu(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config = dp_strategy("mixed");
    struct mig_dp_table *table;

    (void)state;
    dp_add_gpu(&node, A100, "3g.20gb@0");
    dp_add_gpu(&node, A100, "3g.20gb@0");
    node.gpus[1].numa_node = 1;
    table = dp_table(&node, config);
    assert_int_equal(table->slices[0].numa, MIG_DP_NUMA_NONE);
    assert_int_equal(table->slices[1].numa, 1);
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

static void names_of_resources(void **state)
{
    static const char *const bad[] = {
        "",
        "a/b/c",
        "-x",
        "x-",
        "a b",
        "/x",
        "x/",
        "Upper.io/x",
        "a_b/x",
        "requests.kubernetes.io/x",
        "nvidia.com/a123456789a123456789a123456789a123456789a123456789abc"};
    char name[MIG_DP_NAME_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (mig_dp_resource_name(bad[i], name)) {
            fail_msg("'%s' became '%s'", bad[i], name);
        }
    }
    assert_true(mig_dp_resource_name("gpu", name));
    assert_string_equal(name, "nvidia.com/gpu");
    assert_true(mig_dp_resource_name("example.com/A_1.x", name));
    assert_string_equal(name, "example.com/A_1.x");
}

static void patterns(void **state)
{
    (void)state;
    assert_true(mig_dp_pattern_matches("*", ""));
    assert_true(mig_dp_pattern_matches("1g.*gb", "1g.10gb"));
    assert_true(mig_dp_pattern_matches("*a*b*", "xaayb"));
    assert_true(mig_dp_pattern_matches("a*b*c", "abbbbc"));
    assert_false(mig_dp_pattern_matches("1g.5gb", "1g.5gb+me"));
    assert_false(mig_dp_pattern_matches("3g.20gb", "1c.3g.20gb"));
    assert_false(mig_dp_pattern_matches("a*b", "ba"));
    assert_false(mig_dp_pattern_matches("", "a"));
}

static void number_of_devices_is_limited(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config =
        dp_config("flags: {migStrategy: mixed}\n"
                  "sharing: {timeSlicing: {resources: [{name: mig-1g.5gb, replicas: 1024}]}}");
    struct mig_dp_table *table;
    uint32_t total = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        dp_add_gpu(&node, A100, "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6");
    }
    table = dp_table(&node, config);
    for (uint32_t i = 0; i < table->slice_count; i++) {
        total += mig_dp_slice_devices(&table->slices[i]);
    }
    assert_true(total <= MIG_DP_DEVICES_MAX);
    assert_int_equal(table->slice_count, 16);
    assert_true(dp_has_note(table, "more than 16384 devices"));
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(N1_no_mig),
        cmocka_unit_test(N1_one_profile_everywhere),
        cmocka_unit_test(N1_mixed_serves_each_kind),
        cmocka_unit_test(N2_single_with_different_profiles),
        cmocka_unit_test(N2_single_with_some_gpus_in_mig_mode),
        cmocka_unit_test(N2_gpu_that_cannot_be_read),
        cmocka_unit_test(N2_instance_without_device_is_left_out),
        cmocka_unit_test(N3_names_of_all_profiles),
        cmocka_unit_test(N3_suffixes),
        cmocka_unit_test(N4_parts_of_a_gpu_instance),
        cmocka_unit_test(N5_unknown_profile),
        cmocka_unit_test(N5a_memory_that_rounds_differently),
        cmocka_unit_test(N6_shared_suffix),
        cmocka_unit_test(N7_patterns),
        cmocka_unit_test(N7_rename_and_subsets),
        cmocka_unit_test(N8_figures_of_the_names),
        cmocka_unit_test(N9_empty_mig_gpu_is_a_note),
        cmocka_unit_test(S1_replicas),
        cmocka_unit_test(S1_ids_of_replicas),
        cmocka_unit_test(K15_numa_node_of_the_gpu),
        cmocka_unit_test(K16_ids_stay_within_63_characters),
        cmocka_unit_test(names_of_resources),
        cmocka_unit_test(patterns),
        cmocka_unit_test(number_of_devices_is_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
