/* SPDX-License-Identifier: Apache-2.0 */
/* From one table to the next: what must stay, and who hears of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deviceplugin/lists.h"
#include "dp_support.h"
#include <stdio.h>
#include <string.h>

#define A100 "A100-SXM4-40GB"

static struct mig_pod_device held[] = {
    {"ml", "train-0", "main", "nvidia.com/mig-1g.5gb", "MIG-0-1-0"}};
static const struct mig_pod_devices holders = {1, held};
static const struct mig_pod_devices nobody = {0, NULL};

/* The table after `before` became `after`, under the strategies. */
static struct mig_dp_table *step(const char *before, const char *after, const char *old_strategy,
                                 const char *new_strategy, const struct mig_pod_devices *who)
{
    struct config_node then = {0}, now = {0};
    struct mig_dp_config *old_config = dp_strategy(old_strategy);
    struct mig_dp_config *new_config = dp_strategy(new_strategy);
    struct mig_dp_table *previous, *table;

    dp_add_gpu(&then, A100, before);
    dp_add_gpu(&now, A100, after);
    previous = dp_table(&then, old_config);
    table = dp_table(&now, new_config);
    assert_int_equal(mig_dp_table_keep(table, previous, &now.node, who, NULL), MIG_OK);
    mig_dp_table_free(previous);
    mig_dp_config_free(old_config);
    mig_dp_config_free(new_config);
    return table;
}

static void expect(struct mig_dp_table *table, const char *wanted)
{
    assert_string_equal(dp_table_text(table), wanted);
    mig_dp_table_free(table);
}

static void R2_held_devices_stay(void **state)
{
    struct mig_dp_table *table = step("1g.5gb@0 1g.5gb@1", "", "mixed", "mixed", &holders);

    (void)state;
    assert_true(mig_dp_table_has_kept(table));
    assert_non_null(strstr(table->slices[0].reason, "held by pod ml/train-0"));
    expect(table, "mig-1g.5gb: MIG-0-1-0!~");
    expect(step("1g.5gb@0 1g.5gb@1", "", "mixed", "mixed", &nobody), "");
    expect(step("1g.5gb@0 1g.5gb@1", "", "mixed", "mixed", NULL), "");
    expect(step("1g.5gb@0", "1g.5gb@0", "mixed", "mixed", &holders), "mig-1g.5gb: MIG-0-1-0");
}

/* Under another name the slice is not handed out while it is held under the old one. */
static void R2_held_under_another_name(void **state)
{
    struct mig_dp_table *table =
        step("1g.5gb@0 1g.5gb@1", "1g.5gb@0 1g.5gb@1", "mixed", "single", &holders);

    (void)state;
    expect(table, "gpu: MIG-0-1-0! MIG-0-2-0 | mig-1g.5gb: MIG-0-1-0!~");
    expect(step("1g.5gb@0", "1g.5gb@0", "mixed", "single", &nobody), "gpu: MIG-0-1-0");
}

static void R2_replicas_are_held_too(void **state)
{
    struct mig_pod_device replica[] = {
        {"ml", "a", "main", "nvidia.com/mig-1g.5gb", "MIG-0-1-0::3"}};
    const struct mig_pod_devices who = {1, replica};

    (void)state;
    expect(step("1g.5gb@0", "", "mixed", "mixed", &who), "mig-1g.5gb: MIG-0-1-0!~");
}

static void H6_devices_of_a_lost_gpu_stay_unhealthy(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config = dp_strategy("mixed");
    struct mig_dp_table *previous, *table;

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 3g.20gb@4");
    dp_add_gpu(&node, A100, "1g.5gb@0");
    previous = dp_table(&node, config);
    node.gpus[0].layout.model = NULL;
    node.gpus[0].layout.gi_count = 0;
    node.gpus[0].mig_mode = false;
    snprintf(node.gpus[0].problem, sizeof(node.gpus[0].problem), "GPU is lost");
    table = dp_table(&node, config);
    mig_dp_table_keep(table, previous, &node.node, NULL, NULL);
    assert_string_equal(dp_table_text(table),
                        "mig-1g.5gb: MIG-0-1-0!~ MIG-1-1-0 | mig-3g.20gb: MIG-0-2-0!~");
    assert_string_equal(table->slices[0].reason, "GPU is lost");
    /* also when not even its UUID can be read */
    node.gpus[0].uuid[0] = '\0';
    mig_dp_table_free(previous);
    previous = table;
    table = dp_table(&node, config);
    mig_dp_table_keep(table, previous, &node.node, NULL, NULL);
    assert_string_equal(dp_table_text(table),
                        "mig-1g.5gb: MIG-0-1-0!~ MIG-1-1-0 | mig-3g.20gb: MIG-0-2-0!~");
    mig_dp_table_free(previous);
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

/* A kubelet that restarts says nothing for a while: what it said last counts. */
static void R2_held_devices_stay_while_nobody_can_be_asked(void **state)
{
    static struct mig_pod_device item = {"ns", "pod", "main", "nvidia.com/mig-1g.5gb", "MIG-0-1-0"};
    const struct mig_pod_devices holds = {1, &item}, empty = {0};
    struct config_node then = {0}, now = {0};
    struct mig_dp_config *mixed = dp_strategy("mixed"), *single = dp_strategy("single");
    struct mig_dp_table *first, *second, *third, *fourth;

    (void)state;
    dp_add_gpu(&then, A100, "1g.5gb@0 1g.5gb@1");
    dp_add_gpu(&now, A100, "");
    first = dp_table(&then, mixed);
    second = dp_table(&now, mixed);
    assert_int_equal(mig_dp_table_keep(second, first, &now.node, &holds, NULL), MIG_OK);
    assert_string_equal(dp_table_text(second), "mig-1g.5gb: MIG-0-1-0!~");
    third = dp_table(&now, mixed);
    assert_int_equal(mig_dp_table_keep(third, second, &now.node, NULL, NULL), MIG_OK);
    assert_string_equal(dp_table_text(third), "mig-1g.5gb: MIG-0-1-0!~");
    assert_string_equal(third->slices[0].reason, second->slices[0].reason);
    fourth = dp_table(&now, mixed);
    assert_int_equal(mig_dp_table_keep(fourth, third, &now.node, &empty, NULL), MIG_OK);
    expect(fourth, "");
    mig_dp_table_free(second);
    mig_dp_table_free(third);
    /* under its old name too: or the new one would be handed out beside it */
    second = dp_table(&then, single);
    assert_int_equal(mig_dp_table_keep(second, first, &then.node, &holds, NULL), MIG_OK);
    assert_string_equal(dp_table_text(second),
                        "gpu: MIG-0-1-0! MIG-0-2-0 | mig-1g.5gb: MIG-0-1-0!~");
    third = dp_table(&then, single);
    assert_int_equal(mig_dp_table_keep(third, second, &then.node, NULL, NULL), MIG_OK);
    expect(third, "gpu: MIG-0-1-0! MIG-0-2-0 | mig-1g.5gb: MIG-0-1-0!~");
    mig_dp_table_free(first);
    mig_dp_table_free(second);
    mig_dp_config_free(mixed);
    mig_dp_config_free(single);
}

static void withheld_slices_are_not_given_out(void **state)
{
    struct mig_dp_withheld withheld[] = {{"GPU-0", 0, 1}, {"GPU-1", MIG_DP_WHOLE_GPU, 0}};
    struct config_node node = {0};
    struct mig_dp_config *config = dp_strategy("mixed");
    struct mig_dp_table *table;

    (void)state;
    dp_add_gpu(&node, A100, "1g.5gb@0 1g.5gb@1");
    dp_add_gpu(&node, A100, NULL);
    table = dp_table(&node, config);
    withheld[0].gi_profile = node.gpus[0].layout.gis[1].profile;
    mig_dp_table_withhold(table, withheld, 2);
    expect(table, "gpu: GPU-1! | mig-1g.5gb: MIG-0-1-0 MIG-0-2-0!");
    mig_dp_config_free(config);
}

static void R3_only_what_differs_is_told(void **state)
{
    struct config_node then = {0}, now = {0};
    struct mig_dp_config *config = dp_strategy("mixed");
    struct mig_dp_table *a, *b;

    (void)state;
    dp_add_gpu(&then, A100, "1g.5gb@0 2g.10gb@2 3g.20gb@4");
    dp_add_gpu(&now, A100, "1g.5gb@0 2g.10gb@2");
    dp_add_gpu(&now, A100, "1g.5gb@0");
    a = dp_table(&then, config);
    b = dp_table(&now, config);
    assert_true(mig_dp_resource_equal(a, mig_dp_table_find(a, "nvidia.com/mig-2g.10gb"), b,
                                      mig_dp_table_find(b, "nvidia.com/mig-2g.10gb")));
    assert_false(mig_dp_resource_equal(a, mig_dp_table_find(a, "nvidia.com/mig-1g.5gb"), b,
                                       mig_dp_table_find(b, "nvidia.com/mig-1g.5gb")));
    assert_false(mig_dp_resource_equal(a, mig_dp_table_find(a, "nvidia.com/mig-3g.20gb"), b, NULL));
    assert_true(mig_dp_table_loses(b, a));
    assert_true(mig_dp_table_loses(a, b));
    assert_false(mig_dp_table_loses(a, a));
    /* health and place are told, what the driver says of the rest is not */
    mig_dp_table_free(b);
    b = dp_table(&then, config);
    b->slices[0].gi_id = 77;
    b->generation = 99;
    assert_true(mig_dp_resource_equal(a, &a->resources[0], b, &b->resources[0]));
    b->slices[0].unhealthy = true;
    assert_false(mig_dp_resource_equal(a, &a->resources[0], b, &b->resources[0]));
    b->slices[0].unhealthy = false;
    b->slices[0].numa = 1;
    assert_false(mig_dp_resource_equal(a, &a->resources[0], b, &b->resources[0]));
    mig_dp_table_free(a);
    mig_dp_table_free(b);
    mig_dp_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(R2_held_devices_stay),
        cmocka_unit_test(R2_held_under_another_name),
        cmocka_unit_test(R2_replicas_are_held_too),
        cmocka_unit_test(H6_devices_of_a_lost_gpu_stay_unhealthy),
        cmocka_unit_test(R2_held_devices_stay_while_nobody_can_be_asked),
        cmocka_unit_test(withheld_slices_are_not_given_out),
        cmocka_unit_test(R3_only_what_differs_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
