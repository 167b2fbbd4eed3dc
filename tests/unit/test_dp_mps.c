/* SPDX-License-Identifier: Apache-2.0 */
/* Sharing by MPS in the device plugin: which devices need a daemon, limits, health. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deviceplugin/lists.h"
#include "deviceplugin/mps.h"
#include "dp_support.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define A100 "A100-SXM4-40GB"
#define SHARED                      \
    "flags: {migStrategy: mixed}\n" \
    "sharing: {mps: {resources: ["  \
    "{name: gpu, replicas: 3}, "    \
    "{name: mig-1g.5gb, replicas: 4}]}}\n"

struct world {
    struct config_node node;
    struct mig_dp_config *config;
    struct mig_dp_table *table;
    struct mig_dp_mps mps;
};

static struct world *begin(const char *config)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    dp_add_gpu(&world->node, A100, "1g.5gb@0 3g.20gb@4");
    dp_add_gpu(&world->node, A100, NULL);
    world->node.gpus[0].cc_major = world->node.gpus[1].cc_major = 8;
    world->node.gpus[0].gi_infos[0].memory_total_mib = 4864;
    world->node.gpus[1].memory_total_mib = 40960;
    world->config = dp_config(config);
    world->table = dp_table(&world->node, world->config);
    return world;
}

static void finish(struct world *world)
{
    mig_dp_table_free(world->table);
    mig_dp_config_free(world->config);
    free(world);
}

static void S3_S4_limits(void **state)
{
    struct world *world = begin(SHARED);
    const struct mig_dp_mps_device *device = world->mps.devices;

    (void)state;
    assert_string_equal(dp_table_text(world->table),
                        "gpu: GPU-1x3 | mig-1g.5gb: MIG-0-1-0x4 | mig-3g.20gb: MIG-0-2-0");
    assert_true(mig_dp_mps_collect(&world->mps, world->table));
    assert_int_equal(world->mps.device_count, 2);
    assert_string_equal(device[0].uuid, "GPU-1");
    assert_string_equal(device[0].gpu_uuid, "GPU-1");
    assert_int_equal(device[0].percentage, 33);
    assert_int_equal(device[0].memory_mib, 13653);
    assert_string_equal(device[1].uuid, "MIG-0-1-0");
    assert_string_equal(device[1].gpu_uuid, "GPU-0");
    assert_int_equal(device[1].percentage, 25);
    assert_int_equal(device[1].memory_mib, 1216);
    assert_false(mig_dp_mps_collect(&world->mps, world->table)); /* the same again is nothing new */
    finish(world);
}

/* Compute instances share the memory of their GPU instance. */
static void S4_compute_instances(void **state)
{
    struct config_node node = {0};
    struct mig_dp_config *config =
        dp_config("flags: {migStrategy: mixed}\n"
                  "sharing: {mps: {resources: [{name: mig-1c.3g.20gb, replicas: 2}]}}\n");
    struct mig_dp_mps *mps = calloc(1, sizeof(*mps));
    struct mig_dp_table *table;

    (void)state;
    assert_non_null(mps);
    dp_add_gpu(&node, A100, "3g.20gb@4{1c.3g.20gb,1c.3g.20gb,1c.3g.20gb}");
    node.gpus[0].gi_infos[0].memory_total_mib = 19968;
    table = dp_table(&node, config);
    assert_true(mig_dp_mps_collect(mps, table));
    assert_int_equal(mps->device_count, 3);
    assert_int_equal(mps->devices[2].memory_mib, 19968 / 3 / 2);
    assert_int_equal(mps->devices[2].percentage, 50);
    mig_dp_table_free(table);
    mig_dp_config_free(config);
    free(mps);
}

static void S3_S4_health_is_the_daemons(void **state)
{
    struct world *world = begin(SHARED);
    struct mig_dp_table *table = world->table;

    (void)state;
    (void)mig_dp_mps_collect(&world->mps, table);
    mig_dp_mps_apply(&world->mps, table);
    assert_string_equal(dp_table_text(table),
                        "gpu: GPU-1x3! | mig-1g.5gb: MIG-0-1-0x4! | mig-3g.20gb: MIG-0-2-0");
    mig_dp_table_free(table);
    assert_true(mig_dp_mps_tell(&world->mps, "GPU-1", true, ""));
    assert_false(mig_dp_mps_tell(&world->mps, "GPU-1", true, ""));
    assert_true(mig_dp_mps_tell(&world->mps, "MIG-0-1-0", false, "ended"));
    assert_false(mig_dp_mps_tell(&world->mps, "MIG-0-2-0", true, "")); /* has no daemon */
    table = world->table = dp_table(&world->node, world->config);
    mig_dp_mps_apply(&world->mps, table);
    assert_string_equal(dp_table_text(table),
                        "gpu: GPU-1x3 | mig-1g.5gb: MIG-0-1-0x4! | mig-3g.20gb: MIG-0-2-0");
    assert_string_equal(table->slices[1].reason, "ended");
    finish(world);
}

/* What was known of a device is forgotten with it. */
static void S4_slice_goes_and_comes(void **state)
{
    struct world *world = begin(SHARED);
    struct config_node without = {0};
    struct mig_dp_table *table;

    (void)state;
    (void)mig_dp_mps_collect(&world->mps, world->table);
    assert_true(mig_dp_mps_tell(&world->mps, "MIG-0-1-0", true, ""));
    dp_add_gpu(&without, A100, "3g.20gb@4");
    table = dp_table(&without, world->config);
    assert_true(mig_dp_mps_collect(&world->mps, table));
    assert_int_equal(world->mps.device_count, 0);
    assert_false(mig_dp_mps_tell(&world->mps, "MIG-0-1-0", true, ""));
    mig_dp_table_free(table);
    assert_true(mig_dp_mps_collect(&world->mps, world->table));
    mig_dp_mps_apply(&world->mps, world->table);
    assert_true(world->table->slices[1].unhealthy);
    finish(world);
}

/* A GPU that cannot be read for a while does not lose its daemon. */
static void S3_kept_devices_keep_their_daemon(void **state)
{
    struct world *world = begin(SHARED);
    struct mig_error error = {0};
    struct mig_dp_table *table;

    (void)state;
    (void)mig_dp_mps_collect(&world->mps, world->table);
    snprintf(world->node.gpus[1].problem, sizeof(world->node.gpus[1].problem), "GPU is lost");
    table = dp_table(&world->node, world->config);
    assert_int_equal(mig_dp_table_keep(table, world->table, &world->node.node, NULL, &error), 0);
    assert_false(mig_dp_mps_collect(&world->mps, table));
    assert_int_equal(world->mps.device_count, 2);
    mig_dp_table_free(table);
    finish(world);
}

static void S3_S4_what_cannot_be_shared(void **state)
{
    struct world *world = begin("flags: {migStrategy: mixed}\n"
                                "sharing: {mps: {resources: [{name: gpu, replicas: 49}]}}\n");

    (void)state;
    assert_string_equal(dp_table_text(world->table),
                        "gpu: GPU-1 | mig-1g.5gb: MIG-0-1-0 | mig-3g.20gb: MIG-0-2-0");
    assert_true(dp_has_note(world->table, "GPU-1 is not shared: MPS has at most 48 clients"));
    finish(world);
    /* a GPU in MIG mode as a whole */
    world = begin("sharing: {mps: {resources: [{name: gpu, replicas: 2}]}}\n");
    assert_string_equal(dp_table_text(world->table), "gpu: GPU-0 GPU-1x2");
    assert_true(dp_has_note(world->table, "GPU-0 is not shared by MPS: the GPU has MIG mode"));
    finish(world);
    /* 16 clients before compute capability 7.5 */
    world = begin("sharing: {mps: {resources: [{name: gpu, replicas: 17}]}}\n");
    mig_dp_table_free(world->table);
    world->node.gpus[1].cc_major = 6;
    world->node.gpus[1].cc_minor = 1;
    world->table = dp_table(&world->node, world->config);
    assert_true(dp_has_note(world->table, "GPU-1 is not shared: MPS has at most 16 clients"));
    finish(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(S3_S4_limits),
        cmocka_unit_test(S4_compute_instances),
        cmocka_unit_test(S3_S4_health_is_the_daemons),
        cmocka_unit_test(S4_slice_goes_and_comes),
        cmocka_unit_test(S3_kept_devices_keep_their_daemon),
        cmocka_unit_test(S3_S4_what_cannot_be_shared),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
