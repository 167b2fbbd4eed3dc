/* SPDX-License-Identifier: Apache-2.0 */
/* What errors make unhealthy, and what makes healthy again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deviceplugin/health.h"
#include "dp_support.h"
#include <stdio.h>
#include <string.h>

#define A100 "A100-SXM4-40GB"
#define NONE MIG_ID_NONE
#define HOLD_DOWN_MS 5000u

struct world {
    struct config_node node;
    struct mig_dp_config *config;
    struct mig_dp_health health;
};

static int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof(world));
    world.config = dp_config("flags: {migStrategy: mixed}\nhealth: {holdDownSeconds: 5}\n");
    dp_add_gpu(&world.node, A100, "1g.5gb@0 2g.10gb@2{1c.2g.10gb,1c.2g.10gb}");
    dp_add_gpu(&world.node, A100, "1g.5gb@0");
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    mig_dp_config_free(((struct world *)*state)->config);
    return 0;
}

static const char *seen(const struct world *world)
{
    struct mig_dp_table *table = dp_table(&world->node, world->config);
    const char *text;

    mig_dp_health_apply(&world->health, table);
    text = dp_table_text(table);
    mig_dp_table_free(table);
    return text;
}

static bool xid(struct world *world, const char *gpu, uint32_t gi, uint32_t ci, uint64_t number)
{
    return mig_dp_health_xid(&world->health, &world->config->health, gpu, gi, ci, number);
}

/* getenv over two variables. */
static const char *lookup(const char *name, void *data)
{
    const char *const *values = data;

    if (strcmp(name, "DP_DISABLE_HEALTHCHECKS") == 0) {
        return values[0];
    }
    return strcmp(name, "DP_ENABLE_HEALTHCHECKS") == 0 ? values[1] : NULL;
}

static enum mig_dp_xid_action policy(const char *file, const char *disable, const char *enable,
                                     uint64_t number)
{
    const char *values[] = {disable, enable};
    struct mig_dp_sources sources = {.file_name = "file",
                                     .text = file,
                                     .size = strlen(file),
                                     .environment = lookup,
                                     .environment_data = values};
    struct mig_dp_config *config = NULL;
    enum mig_dp_xid_action action;

    assert_int_equal(mig_dp_config_make(&sources, &config, NULL), MIG_OK);
    action = mig_dp_xid_policy(&config->health, number);
    mig_dp_config_free(config);
    return action;
}

static void H1_errors_of_applications_are_ignored(void **state)
{
    static const uint64_t ignored[] = {13, 31, 43, 45, 68, 109};

    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++) {
        assert_false(xid(*state, "GPU-0", 1, 0, ignored[i]));
        assert_int_equal(policy("", NULL, NULL, ignored[i]), MIG_DP_XID_IGNORE);
    }
    assert_true(xid(*state, "GPU-0", 1, 0, 94));
    assert_int_equal(policy("", NULL, NULL, 999), MIG_DP_XID_DEVICE);
    assert_int_equal(policy("", NULL, NULL, 79), MIG_DP_XID_GPU);
}

static void H2_lists_in_the_environment(void **state)
{
    (void)state;
    /* all off, one on: only that one acts */
    assert_int_equal(policy("", "all", "48", 48), MIG_DP_XID_GPU);
    assert_int_equal(policy("", "all", "48", 79), MIG_DP_XID_IGNORE);
    assert_int_equal(policy("", "all", "48", 94), MIG_DP_XID_IGNORE);
    assert_int_equal(policy("", "xids", NULL, 48), MIG_DP_XID_IGNORE);
    /* anywhere in the list */
    assert_int_equal(policy("", "13, xids", NULL, 48), MIG_DP_XID_IGNORE);
    assert_int_equal(policy("", "48,94", NULL, 94), MIG_DP_XID_IGNORE);
    assert_int_equal(policy("", "48,94", NULL, 79), MIG_DP_XID_GPU);
    /* what is enabled wins, also for errors of applications */
    assert_int_equal(policy("", "48", "48", 48), MIG_DP_XID_GPU);
    assert_int_equal(policy("", NULL, "13", 13), MIG_DP_XID_DEVICE);
    assert_int_equal(policy("", NULL, "all", 31), MIG_DP_XID_DEVICE);
    assert_int_equal(policy("", "all", "all", 31), MIG_DP_XID_DEVICE);
    /* what is no number is left out */
    assert_int_equal(policy("", "abc,,94", NULL, 94), MIG_DP_XID_IGNORE);
}

static void H8_policy_in_the_file(void **state)
{
    static const char file[] = "health:\n"
                               "  xids:\n"
                               "  - {xid: 94, action: ignore}\n"
                               "  - {xid: 109, action: gpu}\n"
                               "  - {xid: 79, action: device}\n";

    (void)state;
    assert_int_equal(policy(file, NULL, NULL, 94), MIG_DP_XID_IGNORE);
    assert_int_equal(policy(file, NULL, NULL, 109), MIG_DP_XID_GPU);
    assert_int_equal(policy(file, NULL, NULL, 79), MIG_DP_XID_DEVICE);
    /* environment over file */
    assert_int_equal(policy(file, "109", "94", 94), MIG_DP_XID_DEVICE);
    assert_int_equal(policy(file, "109", "94", 109), MIG_DP_XID_IGNORE);
}

static void H3_an_error_marks_what_it_names(void **state)
{
    struct world *world = *state;

    assert_true(xid(world, "GPU-0", 2, 1, 94));
    assert_string_equal(seen(world), "mig-1c.2g.10gb: MIG-0-2-0 MIG-0-2-1! | "
                                     "mig-1g.5gb: MIG-0-1-0 MIG-1-1-0");
    /* a GPU instance without a compute instance: all of it */
    assert_true(xid(world, "GPU-0", 2, NONE, 94));
    assert_string_equal(seen(world), "mig-1c.2g.10gb: MIG-0-2-0! MIG-0-2-1! | "
                                     "mig-1g.5gb: MIG-0-1-0 MIG-1-1-0");
}

static void H3_an_error_without_a_name_marks_the_gpu(void **state)
{
    struct world *world = *state;

    assert_true(xid(world, "GPU-0", NONE, NONE, 94));
    assert_string_equal(seen(world), "mig-1c.2g.10gb: MIG-0-2-0! MIG-0-2-1! | "
                                     "mig-1g.5gb: MIG-0-1-0! MIG-1-1-0");
}

static void H3_errors_of_the_gpu_mark_the_gpu(void **state)
{
    struct world *world = *state;

    assert_true(xid(world, "GPU-0", 2, 1, 48));
    assert_string_equal(seen(world), "mig-1c.2g.10gb: MIG-0-2-0! MIG-0-2-1! | "
                                     "mig-1g.5gb: MIG-0-1-0! MIG-1-1-0");
}

static void H3_errors_of_instances_mark_whole_gpus_that_are_announced(void **state)
{
    struct world *world = *state;

    mig_dp_config_free(world->config);
    world->config = dp_strategy("none");
    assert_true(xid(world, "GPU-1", 1, 0, 94));
    assert_string_equal(seen(world), "gpu: GPU-0 GPU-1!");
}

static void H4_nothing_heals_by_itself(void **state)
{
    struct world *world = *state;

    xid(world, "GPU-1", 1, 0, 94);
    for (uint64_t now = 0; now < 10000000; now += 100000) {
        mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, now);
        assert_false(mig_dp_health_tick(&world->health, now));
    }
    assert_non_null(strstr(seen(world), "MIG-1-1-0!"));
    assert_true(mig_dp_health_next_ms(&world->health) == UINT64_MAX);
}

static void H4_reset_heals_after_hold_down(void **state)
{
    struct world *world = *state;

    xid(world, "GPU-0", NONE, NONE, 79);
    xid(world, "GPU-1", NONE, NONE, 79);
    mig_dp_health_reset(&world->health, &world->config->health, "GPU-0", 1000);
    assert_int_equal(mig_dp_health_next_ms(&world->health), 1000 + HOLD_DOWN_MS);
    assert_false(mig_dp_health_tick(&world->health, 1000 + HOLD_DOWN_MS - 1));
    assert_non_null(strstr(seen(world), "MIG-0-1-0!"));
    assert_true(mig_dp_health_tick(&world->health, 1000 + HOLD_DOWN_MS));
    assert_string_equal(seen(world), "mig-1c.2g.10gb: MIG-0-2-0 MIG-0-2-1 | "
                                     "mig-1g.5gb: MIG-0-1-0 MIG-1-1-0!");
}

static void H4_a_new_error_begins_anew(void **state)
{
    struct world *world = *state;

    xid(world, "GPU-0", 1, 0, 94);
    mig_dp_health_reset(&world->health, &world->config->health, NULL, 1000);
    xid(world, "GPU-0", 1, 0, 94);
    assert_false(mig_dp_health_tick(&world->health, 1000000));
    assert_non_null(strstr(seen(world), "MIG-0-1-0!"));
}

static void H4_destroyed_and_made_again(void **state)
{
    struct world *world = *state;
    struct mig_layout before = world->node.gpus[1].layout;

    xid(world, "GPU-1", 1, 0, 94);
    world->node.gpus[1].layout.gi_count = 0;
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 1000);
    world->node.gpus[1].layout = before;
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 1100);
    assert_non_null(strstr(seen(world), "MIG-1-1-0!"));
    assert_true(mig_dp_health_tick(&world->health, 1000 + HOLD_DOWN_MS));
    assert_null(strstr(seen(world), "!"));
}

static void H4_another_instance_with_the_same_ids(void **state)
{
    struct world *world = *state;
    struct mig_gi *gi = &world->node.gpus[1].layout.gis[0];

    xid(world, "GPU-1", 1, 0, 94);
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 1000);
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 1100);
    assert_true(mig_dp_health_next_ms(&world->health) == UINT64_MAX);
    gi->start = 3;
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 1200);
    assert_int_equal(mig_dp_health_next_ms(&world->health), 1200 + HOLD_DOWN_MS);
    xid(world, "GPU-1", 1, 0, 94); /* an error of the new one counts for it */
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 1300);
    assert_true(mig_dp_health_next_ms(&world->health) == UINT64_MAX);
}

static void H4_lost_and_found(void **state)
{
    struct world *world = *state;

    xid(world, "GPU-1", NONE, NONE, 79);
    snprintf(world->node.gpus[1].problem, sizeof(world->node.gpus[1].problem), "lost");
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 1000);
    assert_true(mig_dp_health_next_ms(&world->health) == UINT64_MAX);
    world->node.gpus[1].problem[0] = '\0';
    mig_dp_health_observe(&world->health, &world->config->health, &world->node.node, 2000);
    assert_int_equal(mig_dp_health_next_ms(&world->health), 2000 + HOLD_DOWN_MS);
}

static void H5_recovery_action(void **state)
{
    struct world *world = *state;

    assert_true(mig_dp_health_recovery(&world->health, &world->config->health, "GPU-0",
                                       MIG_DP_RECOVERY_GPU_RESET, 0));
    xid(world, "GPU-0", 1, 0, 94);
    assert_string_equal(seen(world), "mig-1c.2g.10gb: MIG-0-2-0! MIG-0-2-1! | "
                                     "mig-1g.5gb: MIG-0-1-0! MIG-1-1-0");
    /* the demand is gone: the reset has been seen, and it repaired all of the GPU */
    mig_dp_health_recovery(&world->health, &world->config->health, "GPU-0", MIG_DP_RECOVERY_NONE,
                           1000);
    assert_true(mig_dp_health_tick(&world->health, 1000 + HOLD_DOWN_MS));
    assert_null(strstr(seen(world), "!"));
    /* no demand before: nothing is known to be repaired */
    xid(world, "GPU-0", 1, 0, 94);
    mig_dp_health_recovery(&world->health, &world->config->health, "GPU-0", MIG_DP_RECOVERY_NONE,
                           20000);
    assert_false(mig_dp_health_tick(&world->health, 1000000));
}

/* What is of the fabric, or of nobody's interest, marks nothing; what is not known does. */
static void H5_which_actions_mark(void **state)
{
    struct world *world = *state;
    struct mig_dp_health_config off = world->config->health;

    mig_dp_health_recovery(&world->health, &world->config->health, "GPU-0",
                           MIG_DP_RECOVERY_IMEX_DOMAIN, 0);
    assert_null(strstr(seen(world), "!"));
    off.disable_all = true;
    mig_dp_health_recovery(&world->health, &off, "GPU-0", MIG_DP_RECOVERY_REBOOT, 0);
    assert_null(strstr(seen(world), "!"));
    off.enable_all = true;
    mig_dp_health_recovery(&world->health, &off, "GPU-0", 77, 0);
    assert_non_null(strstr(seen(world), "MIG-0-1-0!"));
    assert_null(strstr(seen(world), "MIG-1-1-0!"));
    for (uint32_t i = 0; i < 10; i++) {
        assert_true(mig_dp_recovery_name(i)[0]);
    }
}

static void too_many_marks_become_one_of_the_gpu(void **state)
{
    struct world *world = *state;

    for (uint32_t i = 0; i < 2 * MIG_DP_MARKS_MAX; i++) {
        xid(world, "GPU-0", 1000 + i, 0, 94);
    }
    assert_true(world->health.mark_count <= MIG_DP_MARKS_MAX);
    assert_string_equal(seen(world), "mig-1c.2g.10gb: MIG-0-2-0! MIG-0-2-1! | "
                                     "mig-1g.5gb: MIG-0-1-0! MIG-1-1-0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(H1_errors_of_applications_are_ignored),
        TEST(H2_lists_in_the_environment),
        TEST(H3_an_error_marks_what_it_names),
        TEST(H3_an_error_without_a_name_marks_the_gpu),
        TEST(H3_errors_of_the_gpu_mark_the_gpu),
        TEST(H3_errors_of_instances_mark_whole_gpus_that_are_announced),
        TEST(H4_nothing_heals_by_itself),
        TEST(H4_reset_heals_after_hold_down),
        TEST(H4_a_new_error_begins_anew),
        TEST(H4_destroyed_and_made_again),
        TEST(H4_another_instance_with_the_same_ids),
        TEST(H4_lost_and_found),
        TEST(H5_recovery_action),
        TEST(H5_which_actions_mark),
        TEST(H8_policy_in_the_file),
        TEST(too_many_marks_become_one_of_the_gpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
