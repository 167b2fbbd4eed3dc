/* SPDX-License-Identifier: Apache-2.0 */
/* The manager among users of slices: kept, waited for, evicted; and GPU clients in the way. */
#include "manager_world.h"
#include <stdio.h>
#include <string.h>

static const char config_a30[] =
    "version: v1\n"
    "mig-configs:\n"
    "  all-disabled:\n"
    "    - {devices: all, mig-enabled: false}\n"
    "  all-1g.6gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1g.6gb: 4}}\n"
    "  all-4g.24gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {4g.24gb: 1}}\n"
    "  all-balanced:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1g.6gb: 2, 2g.12gb: 1}}\n"
    "  second-only:\n"
    "    - {devices: [1], mig-enabled: true, mig-devices: {1g.6gb: 4}}\n"
    "  all-2g.12gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {2g.12gb: 2}}\n";

/* One A30, balanced and confirmed. */
static void open_balanced(struct world *world, enum mig_manager_on_busy on_busy)
{
    world_open(world, "NVIDIA A30", 1, 1);
    world->config_text = config_a30;
    world->options.on_busy = on_busy;
    world->options.busy_timeout_ms = 60000;
    world_set_layout(world, 0, BALANCED);
    world_label(world, LABEL, "all-balanced");
    world_start(world);
    assert_true(world_until(world, "success", 1000));
}

/* ---- slices that stay ------------------------------------------------------------------------ */

/* The peer destroys idle slices of pods, and cannot keep the busy ones. */
static void test_slices_that_stay(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    assert_non_null(world_add_pod(&world, "idle", 0, "1g.6gb"));
    world_add_pod(&world, "busy", 0, "1g.6gb")->process = true;
    world_label(&world, LABEL, "all-1g.6gb");
    assert_true(world_until(&world, "pending", 1000));
    assert_true(world_until(&world, "success", 5000));
    assert_true(world_is_met(&world));
    assert_int_equal(world.destroyed, 1);
    assert_int_equal(world.pauses, 0);
    close_world(&world);
}

/* ---- keep ------------------------------------------------------------------------------------ */

/* The peer would destroy the slice of a pod that has no process on it. */
static void test_keep_names_the_pod(void **state)
{
    static struct world world;
    struct world_pod *pod;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    assert_non_null(world_add_pod(&world, "bystander", 0, "1g.6gb"));
    pod = world_add_pod(&world, "holder", 0, "2g.12gb");
    world_label(&world, LABEL, "all-1g.6gb");
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "default/holder (2g.12gb at 0 of GPU 0)");
    assert_null(strstr(world_get(&world, MIG_MANAGER_ANNOTATION_MESSAGE), "bystander"));
    assert_int_equal(world.destroyed, 0);
    assert_int_equal(world.withheld_count, 0);
    world_run(&world, 3600000);
    assert_int_equal(world.evictions, 0);
    assert_true(world.counts[MIG_MANAGER_PATCH] < 6);
    world_end_pod(&world, pod);
    world_run(&world, 60000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    close_world(&world);
}

/* "In use by another client" with no name. */
static void test_keep_names_the_process(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_add_process(&world, 0, 0, 4242);
    world_label(&world, LABEL, "all-1g.6gb");
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "trainer (pid 4242, 2g.12gb at 0 of GPU 0)");
    assert_int_equal(world.destroyed, 0);
    assert_int_equal(world.pauses, 0);
    close_world(&world);
}

/* A pod that was given the whole GPU holds it without a process. */
static void test_keep_whole_gpu(void **state)
{
    static struct world world;
    struct world_pod *pod;

    (void)state;
    world_open(&world, "NVIDIA A30", 1, 1);
    world.config_text = config_a30;
    pod = world_add_pod(&world, "whole", 0, NULL);
    assert_non_null(pod);
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "default/whole (GPU 0)");
    assert_int_equal(world.pauses, 0);
    world_end_pod(&world, pod);
    world_run(&world, 60000);
    assert_state(&world, "success");
    close_world(&world);
}

/* The kubelet cannot be asked: nothing is destroyed on a guess. */
static void test_holders_unknown(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world.faults.kubelet = 100;
    world_label(&world, LABEL, "all-1g.6gb");
    assert_true(world_until(&world, "failed", 5000));
    assert_message(&world, "the kubelet does not answer");
    world_run(&world, 600000);
    assert_int_equal(world.applies, 0);
    world.faults.kubelet = 0;
    world_run(&world, 400000);
    assert_state(&world, "success");
    close_world(&world);
}

/*
 * Only while a host boots may nobody be asked. Here the kubelet has long been up, and the manager
 * has had no reason to ask it so far in this boot; then it is restarted just as a change comes.
 */
static void test_holders_unknown_after_a_boot(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_reboot(&world);
    world_set_layout(&world, 0, BALANCED);
    world_label(&world, LABEL, "no-such");
    world_start(&world);
    world_run(&world, 3600000);
    assert_state(&world, "failed");
    assert_non_null(world_add_pod(&world, "idle", 0, "2g.12gb"));
    world.faults.kubelet = 100;
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 60000);
    assert_state(&world, "failed");
    assert_message(&world, "the kubelet does not answer");
    assert_int_equal(world.applies, 0);
    close_world(&world);
}

/* ---- wait ------------------------------------------------------------------------------------ */

static void test_wait(void **state)
{
    static struct world world;
    struct world_pod *pod;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_WAIT);
    pod = world_add_pod(&world, "holder", 0, "2g.12gb");
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 30000);
    assert_state(&world, "pending");
    assert_message(&world, "waits for default/holder (2g.12gb at 0 of GPU 0)");
    assert_true(world_happened(&world, "MigConfigWaiting"));
    world_end_pod(&world, pod);
    assert_null(world_add_pod(&world, "next", 0, "2g.12gb")); /* nobody else gets it meanwhile */
    assert_true(world_until(&world, "success", 3000));
    assert_int_equal(world.evictions, 0);
    assert_int_equal(world.withheld_count, 0);
    close_world(&world);
}

/* Settings are read again while somebody is waited for: the device plugin stays, the manager is
 * another one, and does not know what the one before it had told. */
static void test_wait_of_another_manager(void **state)
{
    static struct world world;
    uint32_t withheld;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_WAIT);
    assert_non_null(world_add_pod(&world, "a", 0, "2g.12gb"));
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 5000);
    withheld = world.withheld_count;
    assert_true(withheld > 0);
    world_kill(&world);
    world.withheld_count = withheld;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 5000));
    assert_int_equal(world.withheld_count, 0);
    close_world(&world);
}

static void test_wait_ends(void **state)
{
    static struct world world;
    struct world_pod *pod;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_WAIT);
    pod = world_add_pod(&world, "holder", 0, "2g.12gb");
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 70000);
    assert_state(&world, "failed");
    assert_message(&world, "after 60 s: held by default/holder");
    assert_int_equal(world.withheld_count, 0);
    world_run(&world, 3600000);
    assert_state(&world, "failed");
    assert_true(world.counts[MIG_MANAGER_PATCH] < 8);
    world_end_pod(&world, pod);
    assert_true(world_until(&world, "success", 30000));
    close_world(&world);
}

/* What is waited for does not matter any more when something else is wanted. */
static void test_wait_is_given_up(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_WAIT);
    assert_non_null(world_add_pod(&world, "holder", 0, "2g.12gb"));
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 10000);
    world_label(&world, LABEL, "all-2g.12gb");
    world_run(&world, 2000);
    assert_state(&world, "success");
    assert_int_equal(world.withheld_count, 0);
    close_world(&world);
}

/* ---- evict ----------------------------------------------------------------------------------- */

static void test_evict_only_who_must_go(void **state)
{
    static struct world world;
    struct world_pod *bystander;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_EVICT);
    bystander = world_add_pod(&world, "bystander", 0, "1g.6gb");
    world_add_pod(&world, "holder", 0, "2g.12gb")->process = true;
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 20000);
    assert_state(&world, "success");
    assert_true(world_is_met(&world));
    assert_int_equal(world.evictions, 1);
    assert_true(bystander->alive);
    assert_true(world_happened(&world, "MigPodEvicted"));
    close_world(&world);
}

/* Of two that would do, one goes. */
static void test_evict_as_few_as_can_be(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_EVICT);
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 5000);
    for (unsigned i = 0; i < 4; i++) {
        char name[8];

        snprintf(name, sizeof(name), "p%u", i);
        assert_non_null(world_add_pod(&world, name, 0, "1g.6gb"));
    }
    world_label(&world, LABEL, "all-balanced");
    world_run(&world, 20000);
    assert_state(&world, "success");
    assert_int_equal(world.evictions, 2);
    close_world(&world);
}

static void test_evict_respects_budgets(void **state)
{
    static struct world world;
    struct world_pod *pod;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_EVICT);
    pod = world_add_pod(&world, "holder", 0, "2g.12gb");
    pod->budget = true;
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 30000);
    assert_state(&world, "pending");
    assert_message(&world, "PodDisruptionBudget default/budget-holder");
    assert_true(world.counts[MIG_MANAGER_EVICT] < 10);
    world_run(&world, 40000);
    assert_state(&world, "failed");
    assert_message(&world, "PodDisruptionBudget default/budget-holder");
    assert_true(pod->alive);
    pod->budget = false;
    world_run(&world, 120000);
    assert_state(&world, "success");
    close_world(&world);
}

/* A StatefulSet's pod is back under its name, on a slice that has to go (of another's plugin). */
static void test_evict_the_next_of_its_name(void **state)
{
    static struct world world;
    struct world_pod *pod;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_EVICT);
    pod = world_add_pod(&world, "web-0", 0, "2g.12gb");
    world_label(&world, LABEL, "all-1g.6gb");
    while (pod->alive) {
        world_run(&world, 100);
        assert_true(world.now_ms < 60000);
    }
    world.withheld_count = 0;
    pod = world_add_pod(&world, "web-0", 0, "2g.12gb");
    assert_non_null(pod);
    world_run(&world, 20000);
    assert_int_equal(world.evictions, 2);
    assert_state(&world, "success");
    close_world(&world);
}

/* Who has left is not named any more. */
static void test_refusals_end(void **state)
{
    static struct world world;
    struct world_pod *first, *second;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_EVICT);
    first = world_add_pod(&world, "first", 0, "1g.6gb");
    second = world_add_pod(&world, "second", 0, "2g.12gb");
    first->budget = second->budget = true;
    world_label(&world, LABEL, "all-4g.24gb");
    world_run(&world, 10000);
    assert_message(&world, "budget-first");
    assert_message(&world, "budget-second");
    assert_message(&world, "for at most 60 s");
    world_end_pod(&world, first);
    world_run(&world, 5000);
    assert_message(&world, "budget-second");
    assert_null(strstr(world_get(&world, MIG_MANAGER_ANNOTATION_MESSAGE), "first"));
    close_world(&world);
}

/* Nobody is evicted for a slice that a process outside of pods holds as well. */
static void test_evict_not_in_vain(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_EVICT);
    assert_non_null(world_add_pod(&world, "small", 0, "1g.6gb"));
    world_add_process(&world, 0, 0, 4242);
    world_label(&world, LABEL, "all-4g.24gb");
    world_run(&world, 30000);
    assert_state(&world, "pending");
    assert_int_equal(world.evictions, 0);
    world.gpus[0].process_known = world.gpus[0].process_count = 0;
    world_run(&world, 20000);
    assert_state(&world, "success");
    assert_int_equal(world.evictions, 1);
    close_world(&world);
}

static void test_annotation_wins(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    assert_non_null(world_add_pod(&world, "holder", 0, "2g.12gb"));
    world_annotate(&world, MIG_MANAGER_ANNOTATION_ON_BUSY, "evicted");
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 5000);
    assert_state(&world, "failed");
    assert_true(world_happened(&world, "MigOnBusyInvalid"));
    world_annotate(&world, MIG_MANAGER_ANNOTATION_ON_BUSY, "wait:20");
    world_run(&world, 15000);
    assert_state(&world, "pending");
    world_run(&world, 40000);
    assert_state(&world, "failed");
    world_annotate(&world, MIG_MANAGER_ANNOTATION_ON_BUSY, "wait:600"); /* from now on */
    world_run(&world, 5000);
    assert_state(&world, "pending");
    world_annotate(&world, MIG_MANAGER_ANNOTATION_ON_BUSY, "evict");
    world_run(&world, 40000);
    assert_state(&world, "success");
    close_world(&world);
}

/* The annotation is the answer to what was told: it is not the next try that is waited for. */
static void test_annotation_counts_at_once(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    assert_non_null(world_add_pod(&world, "holder", 0, "2g.12gb"));
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 3600000); /* the tries are far apart by now */
    assert_state(&world, "failed");
    world_annotate(&world, MIG_MANAGER_ANNOTATION_ON_BUSY, "evict");
    assert_true(world_until(&world, "pending", 1000));
    world_run(&world, 40000);
    assert_state(&world, "success");
    close_world(&world);
}

/* ---- GPU clients ----------------------------------------------------------------------------- */

/* The peer: everything it finds becomes `true`, or stays paused. */
static void test_prior_values_come_back(void **state)
{
    static struct world world;

    (void)state;
    world_open(&world, "NVIDIA A30", 1, 1);
    world.config_text = config_a30;
    world_label(&world, DEPLOY "dcgm", "false");
    world_label(&world, DEPLOY "dcgm-exporter", "paused-for-driver-upgrade");
    world_label(&world, DEPLOY "nvsm", NULL);
    world.client_alive[2] = world.client_alive[3] = false;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    while (world.pauses == 0) {
        world_run(&world, 5);
    }
    assert_string_equal(world_get(&world, DEPLOY "nvsm"), MIG_MANAGER_PAUSED);
    assert_true(world_until(&world, "success", 20000));
    assert_string_equal(world_get(&world, DEPLOY "dcgm"), "false");
    assert_string_equal(world_get(&world, DEPLOY "dcgm-exporter"), "paused-for-driver-upgrade");
    assert_string_equal(world_get(&world, DEPLOY "device-plugin"), "true");
    assert_null(world_get(&world, DEPLOY "nvsm"));
    assert_null(world_get(&world, DEPLOY "client"));
    assert_null(world_get(&world, MIG_MANAGER_ANNOTATION_PAUSED));
    close_world(&world);
}

/* Somebody takes a client over while it is paused: it is his. */
static void test_foreign_value_meanwhile(void **state)
{
    static struct world world;

    (void)state;
    world_open(&world, "NVIDIA A30", 1, 1);
    world.config_text = config_a30;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    while (world.pauses == 0) {
        world_run(&world, 5);
    }
    world_label(&world, DEPLOY "dcgm", "paused-for-driver-upgrade");
    assert_true(world_until(&world, "success", 20000));
    assert_string_equal(world_get(&world, DEPLOY "dcgm"), "paused-for-driver-upgrade");
    assert_string_equal(world_get(&world, DEPLOY "device-plugin"), "true");
    close_world(&world);
}

/* The peer: wedged at pending, clients paused for ever, after a failure there or a crash. */
static void test_clients_that_do_not_end(void **state)
{
    static struct world world;

    (void)state;
    world_open(&world, "NVIDIA A30", 1, 1);
    world.config_text = config_a30;
    world.client_stuck = true;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    world_run(&world, 60000);
    assert_state(&world, "pending");
    assert_message(&world, "waiting for pods of GPU clients to end: device-plugin");
    assert_true(world_until(&world, "failed", 300000));
    assert_false(world_any_paused(&world));
    assert_true(world_happened(&world, "MigClientsTimeout"));
    assert_int_equal(world.applies, 0);
    world.client_stuck = false;
    world_run(&world, 600000);
    assert_state(&world, "success");
    close_world(&world);
}

/* The peer: after one success in its life a later failure leaves them paused. */
static void test_failure_after_success(void **state)
{
    static struct world world;

    (void)state;
    world_open(&world, "NVIDIA A30", 1, 1);
    world.config_text = config_a30;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "success", 20000));
    world.faults.apply = 100;
    world_label(&world, LABEL, "all-disabled");
    assert_true(world_until(&world, "failed", 20000));
    assert_false(world_any_paused(&world));
    assert_string_equal(world_get(&world, DEPLOY "device-plugin"), "true");
    close_world(&world);
}

/* What a manager that is no more left behind: its labels, with and without a note of what was. */
static void test_paused_by_the_dead(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_kill(&world);
    world_label(&world, STATE, "pending");
    world_label(&world, DEPLOY "device-plugin", MIG_MANAGER_PAUSED);
    world_label(&world, DEPLOY "dcgm", MIG_MANAGER_PAUSED);
    world_label(&world, DEPLOY "nvsm", MIG_MANAGER_PAUSED);
    world_annotate(&world, MIG_MANAGER_ANNOTATION_PAUSED, "nvsm,dcgm=true");
    world_start(&world);
    assert_true(world_until(&world, "success", 5000));
    assert_false(world_any_paused(&world));
    assert_string_equal(world_get(&world, DEPLOY "device-plugin"), "true");
    assert_null(world_get(&world, DEPLOY "nvsm"));
    assert_int_equal(world.applies, 0);
    close_world(&world);
}

/* Killed at each action of a change of mode with services, and started again. */
static void test_killed_at_every_action(void **state)
{
    static struct world world;

    (void)state;
    for (unsigned at = 1; at < 60; at++) {
        world_open(&world, "NVIDIA A30", 1, at);
        world.config_text = config_a30;
        world.options.stop_services = true;
        world_label(&world, LABEL, "all-balanced");
        world.die_at = at;
        world_start(&world);
        world_run(&world, 120000);
        assert_state(&world, "success");
        assert_true(world_is_met(&world));
        assert_false(world_any_paused(&world));
        assert_true(world.service_runs[0]);
        assert_null(world_get(&world, MIG_MANAGER_ANNOTATION_SERVICES));
        close_world(&world);
    }
}

static void test_services(void **state)
{
    static struct world world;

    (void)state;
    world_open(&world, "NVIDIA A30", 1, 1);
    world.config_text = config_a30;
    world.options.stop_services = true;
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    while (world.applies == 0) {
        world_run(&world, 5);
        assert_true(world.now_ms < 60000);
    }
    assert_false(world.service_runs[0]);
    assert_true(world_until(&world, "success", 20000));
    assert_true(world.service_runs[0]);
    assert_false(world.service_runs[1]); /* it did not run before */
    assert_int_equal(world.counts[MIG_MANAGER_STOP_SERVICES], 1);
    assert_int_equal(world.counts[MIG_MANAGER_START_SERVICES], 1);
    close_world(&world);
}

/* Whoever may write annotations of the node must not be able to start what he likes on the host. */
static void test_services_that_were_never_ours(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_kill(&world);
    world.service_runs[0] = false;
    world_annotate(&world, MIG_MANAGER_ANNOTATION_SERVICES, "debug-shell.service,nvsm.service");
    world_start(&world);
    world_run(&world, 10000);
    assert_state(&world, "success");
    assert_true(world.service_runs[0]); /* this one is in the list of GPU clients */
    assert_false(world.started_foreign);
    assert_true(world_happened(&world, "MigServices"));
    assert_null(world_get(&world, MIG_MANAGER_ANNOTATION_SERVICES));
    close_world(&world);
}

/* The driver says in use, of nobody that can be seen: GPU clients are paused the next time. */
static void test_unseen_user(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world.busy_driver = true;
    world_label(&world, LABEL, "all-1g.6gb");
    assert_true(world_until(&world, "failed", 5000));
    assert_int_equal(world.pauses, 0);
    assert_false(world_any_paused(&world));
    world_run(&world, 20000);
    assert_true(world.pauses > 0);
    world.busy_driver = false;
    world_run(&world, 600000);
    assert_state(&world, "success");
    assert_false(world_any_paused(&world));
    close_world(&world);
}

/* Somebody else's device plugin has to be told of new instances; it was not paused. */
static void test_plugin_of_others(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_kill(&world);
    world.options.restart_plugin = true;
    world.counts[MIG_MANAGER_DELETE_PODS] = 0;
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    world_run(&world, 5000);
    assert_state(&world, "success");
    assert_int_equal(world.counts[MIG_MANAGER_DELETE_PODS], 2);
    close_world(&world);
}

/* Its clients were paused, in vain, before: that was not for the instances that changed then. */
static void test_plugin_of_others_paused_before(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_kill(&world);
    world.options.restart_plugin = true;
    world.client_stuck = true;
    world_label(&world, LABEL, "all-disabled");
    world_start(&world);
    assert_true(world_until(&world, "failed", 400000));
    assert_true(world_happened(&world, "MigClientsTimeout"));
    assert_int_equal(world.applies, 0);
    world.counts[MIG_MANAGER_DELETE_PODS] = 0;
    world_label(&world, LABEL, "all-1g.6gb");
    world_run(&world, 10000);
    assert_state(&world, "success");
    assert_int_equal(world.counts[MIG_MANAGER_DELETE_PODS], 2);
    close_world(&world);
}

/* A change fails, what was there is put back (under other ids, maybe), and is wanted again. */
static void test_plugin_of_others_after_a_failure(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_kill(&world);
    world.options.restart_plugin = true;
    world.faults.apply = 100;
    world_label(&world, LABEL, "all-1g.6gb");
    world_start(&world);
    assert_true(world_until(&world, "failed", 5000));
    world.counts[MIG_MANAGER_DELETE_PODS] = 0;
    world_label(&world, LABEL, "all-balanced");
    world_run(&world, 1000);
    assert_state(&world, "success");
    assert_int_equal(world.counts[MIG_MANAGER_DELETE_PODS], 2);
    close_world(&world);
}

/* Killed when the change was made and nobody had been told of it. */
static void test_plugin_of_others_is_told_by_the_next(void **state)
{
    static struct world world;

    (void)state;
    open_balanced(&world, MIG_MANAGER_BUSY_KEEP);
    world_kill(&world);
    world.options.restart_plugin = world.options.cdi_enabled = true;
    world_set_layout(&world, 0, "1g.6gb@0 1g.6gb@1 1g.6gb@2 1g.6gb@3");
    world_label(&world, LABEL, "all-1g.6gb");
    world_label(&world, STATE, "pending");
    world_start(&world);
    world_run(&world, 10000);
    assert_state(&world, "success");
    assert_int_equal(world.applies, 0);
    assert_int_equal(world.counts[MIG_MANAGER_REFRESH_CDI], 1);
    assert_int_equal(world.counts[MIG_MANAGER_DELETE_PODS], 2);
    close_world(&world);
}

/* ---- reboots --------------------------------------------------------------------------------- */

/* Devices that are no GPUs are in the kubelet's list too; whoever has those is not in the way. */
static void test_reboot_under_other_devices(void **state)
{
    static struct world world;

    (void)state;
    world_open(&world, "NVIDIA A30", 1, 1);
    world.config_text = config_a30;
    world.options.with_reboot = true;
    world.reset_fails = true;
    world.pods[0] = (struct world_pod){
        .alive = true, .name = "network", .uid = "pod-uid-9", .device = "mlx5_0"};
    world_label(&world, LABEL, "all-balanced");
    world_start(&world);
    assert_true(world_until(&world, "rebooting", 20000));
    world_run(&world, 2000);
    assert_int_equal(world.reboots, 1);
    close_world(&world);
}

/* A pod is given a GPU between the change that failed and the reboot. */
static void test_no_reboot_under_a_late_pod(void **state)
{
    static struct world world;
    struct world_pod *late;

    (void)state;
    world_open(&world, "NVIDIA A30", 2, 1);
    world.config_text = config_a30;
    world.options.with_reboot = true;
    world.reset_fails = true;
    world_label(&world, LABEL, "second-only");
    world_start(&world);
    while (!world_happened(&world, "MigRebooting")) {
        world_run(&world, 1);
        assert_true(world.now_ms < 60000);
    }
    assert_int_equal(world.reboots, 0);
    late = world_add_pod(&world, "late", 0, NULL);
    assert_non_null(late);
    world_run(&world, 60000);
    assert_int_equal(world.reboots, 0);
    assert_state(&world, "failed");
    assert_message(&world, "drain the node");
    assert_false(world_any_paused(&world));
    world_end_pod(&world, late);
    world_run(&world, 400000);
    assert_int_equal(world.reboots, 1);
    close_world(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_that_stay),
        cmocka_unit_test(test_keep_names_the_pod),
        cmocka_unit_test(test_keep_names_the_process),
        cmocka_unit_test(test_keep_whole_gpu),
        cmocka_unit_test(test_holders_unknown),
        cmocka_unit_test(test_holders_unknown_after_a_boot),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_wait_of_another_manager),
        cmocka_unit_test(test_wait_ends),
        cmocka_unit_test(test_wait_is_given_up),
        cmocka_unit_test(test_evict_only_who_must_go),
        cmocka_unit_test(test_evict_as_few_as_can_be),
        cmocka_unit_test(test_evict_respects_budgets),
        cmocka_unit_test(test_evict_the_next_of_its_name),
        cmocka_unit_test(test_refusals_end),
        cmocka_unit_test(test_evict_not_in_vain),
        cmocka_unit_test(test_annotation_wins),
        cmocka_unit_test(test_annotation_counts_at_once),
        cmocka_unit_test(test_prior_values_come_back),
        cmocka_unit_test(test_foreign_value_meanwhile),
        cmocka_unit_test(test_clients_that_do_not_end),
        cmocka_unit_test(test_failure_after_success),
        cmocka_unit_test(test_paused_by_the_dead),
        cmocka_unit_test(test_killed_at_every_action),
        cmocka_unit_test(test_services),
        cmocka_unit_test(test_services_that_were_never_ours),
        cmocka_unit_test(test_unseen_user),
        cmocka_unit_test(test_plugin_of_others),
        cmocka_unit_test(test_plugin_of_others_paused_before),
        cmocka_unit_test(test_plugin_of_others_after_a_failure),
        cmocka_unit_test(test_plugin_of_others_is_told_by_the_next),
        cmocka_unit_test(test_reboot_under_other_devices),
        cmocka_unit_test(test_no_reboot_under_a_late_pod),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
