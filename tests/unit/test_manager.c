/* SPDX-License-Identifier: Apache-2.0 */
/* The manager in its world: labels, configs, success and failure, boots and restarts. */
#include "manager_world_internal.h"
#include "plan_support.h"
#include <stdio.h>
#include <string.h>

static const char config_a30[] = "version: v1\n"
                                 "mig-configs:\n"
                                 "  all-disabled:\n"
                                 "    - devices: all\n"
                                 "      mig-enabled: false\n"
                                 "  all-1g.6gb:\n"
                                 "    - devices: all\n"
                                 "      mig-enabled: true\n"
                                 "      mig-devices: {1g.6gb: 4}\n"
                                 "  all-2g.12gb:\n"
                                 "    - devices: all\n"
                                 "      mig-enabled: true\n"
                                 "      mig-devices: {2g.12gb: 2}\n"
                                 "  all-balanced:\n"
                                 "    - devices: all\n"
                                 "      mig-enabled: true\n"
                                 "      mig-devices: {1g.6gb: 2, 2g.12gb: 1}\n"
                                 "  second-only:\n"
                                 "    - devices: [1]\n"
                                 "      mig-enabled: true\n"
                                 "      mig-devices: {1g.6gb: 4}\n"
                                 "  foreign:\n"
                                 "    - devices: all\n"
                                 "      mig-enabled: true\n"
                                 "      mig-devices: {7g.40gb: 1}\n"
                                 "  too-much:\n"
                                 "    - devices: all\n"
                                 "      mig-enabled: true\n"
                                 "      mig-devices: {2g.12gb: 3}\n";

static const char config_changed[] = "version: v1\n"
                                     "mig-configs:\n"
                                     "  all-balanced:\n"
                                     "    - devices: all\n"
                                     "      mig-enabled: true\n"
                                     "      mig-devices: {1g.6gb: 1, 2g.12gb: 1}\n";

static void open_a30(struct world *world, uint32_t gpu_count)
{
    world_open(world, "NVIDIA A30", gpu_count, 1);
    world->config_text = config_a30;
}

static void assert_idle(struct world *world)
{
    unsigned before[32];

    memcpy(before, world->counts, sizeof(before));
    world_run(world, 3600000);
    assert_memory_equal(before, world->counts, sizeof(before));
}

/* ---- labels ---------------------------------------------------------------------------------- */

static void test_walk_through(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 2);
    world_start(&world);
    world_run(&world, 5000);
    assert_null(world_get(&world, STATE));
    world_label(&world, LABEL, "all-balanced");
    assert_true(world_until(&world, "pending", 1000));
    assert_true(world_until(&world, "success", 20000));
    assert_true(world_is_met(&world));
    assert_message(&world, "'all-balanced' is in place: GPU 0: ");
    assert_message(&world, "2 x 1g.6gb");
    assert_true(world_happened(&world, "MigConfigApplied"));
    world_label(&world, LABEL, "all-disabled");
    assert_true(world_until(&world, "pending", 1000));
    assert_true(world_until(&world, "success", 20000));
    assert_string_equal(world_layout(&world, 0), "off");
    assert_false(world_any_paused(&world));
    assert_idle(&world);
    close_world(&world);
}

/* Who waits for migd to be ready does not wait for a wish that there is not. */
static void test_settled(void **state)
{
    static struct world world;
    struct mig_manager_status status;

    (void)state;
    open_a30(&world, 1);
    world.api_away = true;
    world_start(&world);
    mig_manager_status(world.manager, &status);
    assert_false(status.settled);
    world_api(&world, false);
    mig_manager_status(world.manager, &status);
    assert_true(status.settled);
    world_label(&world, LABEL, "all-balanced");
    mig_manager_status(world.manager, &status);
    assert_false(status.settled);
    assert_true(world_until(&world, "success", 20000));
    mig_manager_status(world.manager, &status);
    assert_true(status.settled);
    world_label(&world, LABEL, "no-such");
    mig_manager_status(world.manager, &status);
    assert_true(status.settled);
    close_world(&world);
}

static void test_default_config(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.default_config = "all-disabled";
    world_start(&world);
    assert_true(world_until(&world, "success", 5000));
    assert_string_equal(world_get(&world, LABEL), "all-disabled");
    assert_int_equal(world.applies, 0);
    close_world(&world);
}

/* Already as wanted: nobody is disturbed, nothing is asked of the driver. */
static void test_already_applied(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 5000));
    assert_int_equal(world.applies, 0);
    assert_int_equal(world.pauses, 0);
    assert_int_equal(world.counts[MIG_MANAGER_PATCH], 1);
    world_kill(&world);
    world_start(&world);
    world_run(&world, 5000);
    assert_int_equal(world.counts[MIG_MANAGER_PATCH], 1);
    close_world(&world);
}

/* Instances that stay are not touched, and no GPU client has to stop for the others. */
static void test_instances_only(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    assert_true(world_until(&world, "success", 5000));
    assert_string_equal(world_layout(&world, 0), "1g.6gb@0 1g.6gb@1 1g.6gb@2 1g.6gb@3");
    assert_int_equal(world.destroyed, 1);
    assert_int_equal(world.created, 2);
    assert_int_equal(world.pauses, 0);
    assert_int_equal(world.counts[MIG_MANAGER_PATCH], 2);
    close_world(&world);
}

static void test_label_removed(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_label(&world, LABEL, NULL);
    world_run(&world, 5000);
    assert_null(world_get(&world, STATE));
    assert_null(world_get(&world, MESSAGE));
    assert_string_not_equal(world_layout(&world, 0), "off");
    /* While a change is under way: it ends, and nothing is left half done. */
    world_label(&world, LABEL, "all-disabled");
    world_run(&world, 3);
    world_label(&world, LABEL, "");
    world_run(&world, 60000);
    assert_null(world_get(&world, STATE));
    assert_false(world_any_paused(&world));
    close_world(&world);
}

static void test_unknown_name(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "all-balancd");
    world_start(&world);
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "all-balancd");
    assert_message(&world, "all-balanced");
    assert_int_equal(world.applies, 0);
    world_run(&world, 3600000);
    assert_true(world.counts[MIG_MANAGER_PATCH] <= 2);
    world_label(&world, LABEL, "all-balanced");
    assert_true(world_until(&world, "success", 5000));
    close_world(&world);
}

/* A message is cut where it is too long. Cut in the middle of a character the API server would
 * never take it, and the state that stands beside it would be the one of before for ever. */
static void test_message_is_text(void **state)
{
    static struct world world;
    static char config[4000];

    (void)state;
    for (unsigned shift = 0; shift < 3; shift++) {
        open_a30(&world, 1);
        snprintf(config, sizeof(config), "version: v1\nmig-configs:\n");
        for (unsigned i = 0; i < 5; i++) {
            snprintf(config + strlen(config), 64, "  '%u%.*s", i, (int)shift, "aa");
            for (unsigned j = 0; j < 60; j++) {
                snprintf(config + strlen(config), 8, "\xe2\x82\xac");
            }
            snprintf(config + strlen(config), 64, "':\n    - {devices: all, mig-enabled: false}\n");
        }
        world.config_text = config;
        world_label(&world, LABEL, "none");
        world_start(&world);
        assert_true(world_until(&world, "failed", 5000));
        assert_message(&world, "\xe2\x82\xac");
        close_world(&world);
    }
}

/* The peer's "applied successfully": nothing was created, and what there was is gone. */
static void test_profile_of_no_gpu(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "foreign");
    world_start(&world);
    assert_true(world_until(&world, "failed", 5000));
    world_run(&world, 600000);
    assert_state(&world, "failed");
    assert_message(&world, "7g.40gb");
    assert_string_equal(world_layout(&world, 0), BALANCED);
    assert_int_equal(world.applies, 0);
    world_label(&world, LABEL, "too-much");
    world_run(&world, 600000);
    assert_state(&world, "failed");
    assert_string_equal(world_layout(&world, 0), BALANCED);
    assert_int_equal(world.applies, 0);
    close_world(&world);
}

/* The peer: A -> B -> A while A is applied is lost; B after A is too. */
static void test_back_and_forth_during_a_run(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world.delay_ms = 2000;
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    world_run(&world, 2500);
    world_label(&world, LABEL, "all-2g.12gb");
    world_run(&world, 100);
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 60000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    world_label(&world, LABEL, "all-2g.12gb");
    world_run(&world, 2500);
    world_label(&world, LABEL, "all-balanced");
    world_run(&world, 60000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    close_world(&world);
}

/* A config for one GPU is met by that GPU; the other one is left alone. */
static void test_unlisted_gpu(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 2);
    world_set_layout(&world, 0, BALANCED);
    world_set_layout(&world, 1, "");
    world_label(&world, LABEL, "second-only");
    world_start(&world);
    assert_true(world_until(&world, "success", 10000));
    assert_string_equal(world_layout(&world, 0), BALANCED);
    world_kill(&world);
    world_start(&world);
    world_run(&world, 60000);
    assert_int_equal(world.applies, 1);
    assert_int_equal(world.pauses, 0);
    close_world(&world);
}

/* ---- configs --------------------------------------------------------------------------------- */

/* The peer does not see a config that changed under its name. */
static void test_config_changed_under_its_name(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_config(&world, config_changed);
    world_run(&world, 20000);
    assert_state(&world, "success");
    assert_string_equal(world_layout(&world, 0), "2g.12gb@0 1g.6gb@2");
    close_world(&world);
}

static void test_config_deleted(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_config(&world, NULL);
    world_run(&world, 20000);
    assert_state(&world, "failed");
    assert_message(&world, "'mig-config' does not exist");
    world_label(&world, LABEL, "all-disabled"); /* the old one would know it */
    world_run(&world, 20000);
    assert_state(&world, "failed");
    assert_string_not_equal(world_layout(&world, 0), "off");
    world_config(&world, config_a30);
    world_run(&world, 20000);
    assert_state(&world, "success");
    assert_string_equal(world_layout(&world, 0), "off");
    world_config(&world, "version: v1\nmig-configs: 3\n");
    world_run(&world, 20000);
    assert_state(&world, "failed");
    assert_message(&world, "mig-config:2:");
    close_world(&world);
}

static void test_generated_config(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.config_map = "";
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    assert_int_equal(world.counts[MIG_MANAGER_PUBLISH_CONFIG], 1);
    assert_true(world_is_met(&world));
    world_snapshot(&world);
    assert_int_equal(world.counts[MIG_MANAGER_PUBLISH_CONFIG], 1);
    close_world(&world);
}

static void tell_file(struct world *world, enum mig_manager_source source, const char *name)
{
    struct mig_manager_config config = {
        .source = source, .name = name, .text = config_a30, .size = strlen(config_a30)};
    struct mig_manager_event event = {.kind = MIG_MANAGER_CONFIG, .config = &config};

    world->told_config = config_a30;
    world_step(world, &event);
}

/* The watch may tell an older object than the answer to our own patch did. */
static void test_older_object(void **state)
{
    static struct world world;
    struct mig_manager_pair label = {LABEL, "all-disabled"};
    struct mig_manager_object object = {.exists = true,
                                        .uid = "uid-1",
                                        .resource_version = "1",
                                        .labels = &label,
                                        .label_count = 1};
    struct mig_manager_event event = {.kind = MIG_MANAGER_OBJECT, .object = &object};

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_step(&world, &event);
    world_run(&world, 20000);
    assert_state(&world, "success");
    assert_int_equal(world.applies, 1);
    /* but what a list says is so: the cluster's store may have been put back from a copy */
    world_set_pair(&world.labels, LABEL, "all-disabled");
    world.resource_version = 1;
    object.listed = true;
    world_step(&world, &event);
    world_run(&world, 20000);
    assert_string_equal(world_layout(&world, 0), "off");
    assert_state(&world, "success");
    close_world(&world);
}

/* Somebody else wrote the object meanwhile: as soon as that is told we write again. */
static void test_conflict(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.delay_ms = 5;
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    world.resource_version++;
    world_run(&world, 30); /* the watch follows the answer; backoff is longer */
    assert_state(&world, "success");
    assert_int_equal(world.counts[MIG_MANAGER_PATCH], 2);
    close_world(&world);
}

/* ClusterPolicy names another ConfigMap: what is still told of the old one does not count. */
static void test_another_config_map(void **state)
{
    static struct world world;
    struct mig_manager_config old = {.source = MIG_MANAGER_SOURCE_CONFIG_MAP,
                                     .name = "mig-config",
                                     .text = config_changed,
                                     .size = sizeof(config_changed) - 1};
    struct mig_manager_policy policy = {"other-config", ""};
    struct mig_manager_event event = {.kind = MIG_MANAGER_POLICY, .policy = &policy};

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_step(&world, &event);
    event = (struct mig_manager_event){.kind = MIG_MANAGER_CONFIG, .config = &old};
    world_step(&world, &event);
    world_run(&world, 20000);
    assert_state(&world, "pending");
    assert_message(&world, "its config is not known yet");
    assert_int_equal(world.applies, 1);
    world.config_map = "other-config";
    world_config(&world, config_a30);
    assert_true(world_until(&world, "success", 20000));
    assert_int_equal(world.applies, 1);
    close_world(&world);
}

/* CONFIG_FILE wins over everything; DEFAULT_CONFIG_FILE serves where no GPU tells its profiles. */
static void test_config_files(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.options.has_config_file = true;
    world.config_text = "version: v2\n";
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    world_run(&world, 20000);
    assert_null(world_get(&world, STATE));
    tell_file(&world, MIG_MANAGER_SOURCE_FILE, "/config.yaml");
    world_label(&world, LABEL, "all-1g.6gb");
    assert_true(world_until(&world, "success", 20000));
    close_world(&world);

    open_a30(&world, 1);
    world.options.has_cluster_policy = false;
    world.options.has_default_file = true;
    world.gpus[0].mig_capable = false;
    world_label(&world, LABEL, "all-disabled");
    world_start(&world);
    tell_file(&world, MIG_MANAGER_SOURCE_DEFAULT_FILE, "/default.yaml");
    world_run(&world, 20000);
    assert_state(&world, "success");
    world_label(&world, LABEL, "all-balanced");
    world_run(&world, 20000);
    assert_state(&world, "failed");
    close_world(&world);
}

static void test_mode_only(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.options.mode_only = true;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    assert_true(world.gpus[0].mig_mode);
    assert_int_equal(world.gpus[0].layout.gi_count, 0);
    close_world(&world);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* The peer never tries a failed change again. */
static void test_failure_is_retried(void **state)
{
    static struct world world;
    unsigned applies;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world.faults.apply = 100;
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "'all-1g.6gb': "); /* what was asked, then what stopped it */
    assert_message(&world, "the driver failed");
    assert_false(world_any_paused(&world));
    world_run(&world, 3600000);
    applies = world.applies;
    assert_in_range(applies, 10, 25); /* 5 s, 10 s ... 5 min */
    world.faults.apply = 0;
    world_run(&world, 400000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    close_world(&world);
}

/* Something else wanted is tried at once, whatever the backoff. */
static void test_change_ends_backoff(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world.faults.apply = 100;
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    world_run(&world, 3600000);
    world.faults.apply = 0;
    world_label(&world, LABEL, "all-2g.12gb");
    assert_true(world_until(&world, "success", 5000));
    close_world(&world);
}

static void test_no_success_without_read_back(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world.apply_lies = true;
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "does not show in what was read back");
    assert_int_equal(world.success_writes, 0);
    world.silent_apply = true; /* one that was not read back is read, and found out as well */
    world_run(&world, 3600000);
    assert_state(&world, "failed");
    assert_in_range(world.applies, 5, 25);
    world.apply_lies = false;
    world_run(&world, 400000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    close_world(&world);
}

static void test_driver_gone(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.driver_gone = true;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "failed", 60000));
    assert_message(&world, "the driver is not loaded");
    world.driver_gone = false;
    world_snapshot(&world);
    assert_true(world_until(&world, "success", 60000));
    close_world(&world);
}

static void test_helper_lost(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "all-1g.6gb");
    world.delay_ms = 1000;
    world_start(&world);
    while (world.counts[MIG_MANAGER_APPLY] == 0) {
        world_run(&world, 10);
    }
    world_helper(&world, true);
    world_run(&world, 5000);
    world_helper(&world, false);
    world_run(&world, 60000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    world_helper(&world, true);
    world_run(&world, 20000);
    assert_state(&world, "success"); /* a restart is no news */
    world_run(&world, 60000);
    assert_state(&world, "failed");
    assert_message(&world, "process that talks to the driver");
    world_helper(&world, false);
    world_run(&world, 5000);
    assert_state(&world, "success");
    close_world(&world);
}

static void test_api_away_for_an_hour(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_set_layout(&world, 0, BALANCED);
    world.delay_ms = 1000;
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    while (world.counts[MIG_MANAGER_APPLY] == 0) {
        world_run(&world, 10);
    }
    world_api(&world, true);
    world_run(&world, 3600000);
    assert_true(world_is_met(&world));
    assert_true(world.counts[MIG_MANAGER_PATCH] < 200);
    world_api(&world, false);
    assert_true(world_until(&world, "success", 2500));
    close_world(&world);
}

static void test_node_deleted_and_made_again(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    while (world.pauses == 0) {
        world_run(&world, 5);
    }
    world_delete_node(&world);
    world_run(&world, 60000);
    world_create_node(&world);
    world_run(&world, 60000);
    assert_null(world_get(&world, STATE));
    assert_false(world_any_paused(&world));
    world_label(&world, LABEL, "all-balanced");
    assert_true(world_until(&world, "success", 20000));
    close_world(&world);
}

/* A clock that goes back is taken for one that stands still. */
static void test_clock_goes_back(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.now_ms = 1000000;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    world_run(&world, 100);
    world.now_ms = 500;
    world_snapshot(&world);
    world.now_ms = 1000200;
    assert_true(world_until(&world, "success", 20000));
    close_world(&world);
}

/* ---- drift ----------------------------------------------------------------------------------- */

static void test_drift_is_told(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_set_layout(&world, 0, "2g.12gb@0");
    world_snapshot(&world);
    assert_true(world_until(&world, "failed", 1000));
    assert_message(&world, "somebody else changed");
    assert_true(world_happened(&world, "MigGeometryDrift"));
    assert_int_equal(world.applies, 1);
    world_set_layout(&world, 0, BALANCED);
    world_snapshot(&world);
    assert_true(world_until(&world, "success", 1000));
    assert_int_equal(world.applies, 1);
    world_set_layout(&world, 0, "2g.12gb@0");
    world_snapshot(&world);
    world_label(&world, LABEL, NULL);
    world_label(&world, LABEL, "all-balanced"); /* set again: wanted again */
    world_run(&world, 50);
    assert_true(world_until(&world, "success", 5000));
    assert_true(world_is_met(&world));
    close_world(&world);
}

static void test_drift_is_repaired(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.options.repair_drift = true;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_set_layout(&world, 0, "2g.12gb@0");
    world_snapshot(&world);
    assert_true(world_until(&world, "pending", 1000));
    assert_true(world_until(&world, "success", 5000));
    assert_true(world_is_met(&world));
    assert_true(world_happened(&world, "MigGeometryDrift"));
    close_world(&world);
}

/* ---- boots ----------------------------------------------------------------------------------- */

static void test_boot_without_api(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world_reboot(&world);
    world.taint = true;
    world.api_away = true;
    world.faults.kubelet = 100; /* it waits for us */
    world_start(&world);
    world_run(&world, 30000);
    assert_true(world_is_met(&world));
    assert_true(world.taint);
    world.faults.kubelet = 0;
    world_api(&world, false);
    world_run(&world, 10000);
    assert_state(&world, "success");
    assert_false(world.taint);
    close_world(&world);
}

static void test_taint_stays_while_it_fails(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.taint = true;
    world_label(&world, LABEL, "no-such");
    world_start(&world);
    world_run(&world, 60000);
    assert_state(&world, "failed");
    assert_true(world.taint);
    world_label(&world, LABEL, "all-balanced");
    world_run(&world, 60000);
    assert_false(world.taint);
    close_world(&world);

    open_a30(&world, 1);
    world.taint = true;
    world_start(&world);
    world_run(&world, 60000);
    assert_false(world.taint); /* nothing is asked for */
    close_world(&world);
}

static void test_one_reboot(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.options.with_reboot = true;
    world.reset_fails = true;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "rebooting", 20000));
    assert_message(&world, "needs a reboot of the host: GPU 0: the reset failed");
    assert_true(world.gpus[0].mig_mode_pending); /* what the boot is for */
    world_run(&world, 2000);
    assert_int_equal(world.reboots, 1);
    world_kill(&world); /* restarted while the host goes down */
    world_start(&world);
    world_run(&world, 5000);
    assert_state(&world, "rebooting");
    world_reboot(&world);
    world_start(&world);
    world_run(&world, 60000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    assert_int_equal(world.reboots, 1);
    assert_false(world_any_paused(&world));
    close_world(&world);
}

/* One that could not be asked for has not been: it is told so, and asked for again. */
static void test_reboot_that_did_not_come(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.options.with_reboot = true;
    world.reset_fails = world.reboot_fails = true;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "failed", 20000));
    assert_message(&world, "could not reboot the host: the helper is gone");
    world.reboot_fails = false;
    world_run(&world, 60000);
    assert_state(&world, "rebooting");
    assert_int_equal(world.reboots, 1);
    world_reboot(&world);
    world_start(&world);
    world_run(&world, 60000);
    assert_state(&world, "success");
    assert_int_equal(world.reboots, 1);
    close_world(&world);
}

/* The reboot did not help: failed, and not rebooted again, with or without a record of it. */
static void test_no_second_reboot(void **state)
{
    static struct world world;

    (void)state;
    for (int with_record = 0; with_record < 2; with_record++) {
        open_a30(&world, 1);
        world.options.with_reboot = true;
        world.reset_fails = true;
        world_label(&world, LABEL, "all-balanced");
        world_start(&world);
        assert_true(world_until(&world, "rebooting", 20000));
        world_run(&world, 2000);
        world_reboot(&world);
        world.gpus[0].mig_mode = world.gpus[0].mig_mode_pending = false;
        world.has_record = with_record;
        world_start(&world);
        world_run(&world, 3600000);
        assert_state(&world, "failed");
        assert_message(&world, "also after a reboot");
        assert_int_equal(world.reboots, 1);
        assert_false(world_any_paused(&world));
        close_world(&world);
    }
}

static void test_no_reboot_under_pods(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 2);
    world.options.with_reboot = true;
    world.reset_fails = true;
    world_set_layout(&world, 0, BALANCED);
    assert_non_null(world_add_pod(&world, "a", 0, "2g.12gb"));
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    world_run(&world, 3600000);
    assert_state(&world, "failed");
    assert_message(&world, "drain the node");
    assert_int_equal(world.reboots, 0);
    assert_false(world_any_paused(&world));
    close_world(&world);
}

static void test_cdi(void **state)
{
    static struct world world;

    (void)state;
    open_a30(&world, 1);
    world.options.cdi_enabled = true;
    world.cdi_fails = true;
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "nvidia-ctk failed");
    assert_int_equal(world.success_writes, 0);
    world.cdi_fails = false;
    world_run(&world, 30000);
    assert_state(&world, "success");
    assert_int_equal(world.applies, 1);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_through),
        cmocka_unit_test(test_settled),
        cmocka_unit_test(test_default_config),
        cmocka_unit_test(test_already_applied),
        cmocka_unit_test(test_instances_only),
        cmocka_unit_test(test_label_removed),
        cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_message_is_text),
        cmocka_unit_test(test_profile_of_no_gpu),
        cmocka_unit_test(test_back_and_forth_during_a_run),
        cmocka_unit_test(test_unlisted_gpu),
        cmocka_unit_test(test_config_changed_under_its_name),
        cmocka_unit_test(test_config_deleted),
        cmocka_unit_test(test_generated_config),
        cmocka_unit_test(test_older_object),
        cmocka_unit_test(test_conflict),
        cmocka_unit_test(test_another_config_map),
        cmocka_unit_test(test_config_files),
        cmocka_unit_test(test_mode_only),
        cmocka_unit_test(test_failure_is_retried),
        cmocka_unit_test(test_change_ends_backoff),
        cmocka_unit_test(test_no_success_without_read_back),
        cmocka_unit_test(test_driver_gone),
        cmocka_unit_test(test_helper_lost),
        cmocka_unit_test(test_api_away_for_an_hour),
        cmocka_unit_test(test_node_deleted_and_made_again),
        cmocka_unit_test(test_clock_goes_back),
        cmocka_unit_test(test_drift_is_told),
        cmocka_unit_test(test_drift_is_repaired),
        cmocka_unit_test(test_boot_without_api),
        cmocka_unit_test(test_taint_stays_while_it_fails),
        cmocka_unit_test(test_one_reboot),
        cmocka_unit_test(test_reboot_that_did_not_come),
        cmocka_unit_test(test_no_second_reboot),
        cmocka_unit_test(test_no_reboot_under_pods),
        cmocka_unit_test(test_cdi),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
