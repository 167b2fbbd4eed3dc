/* SPDX-License-Identifier: Apache-2.0 */
/* Plans for a whole node: modes, who holds a GPU, goals met or not, finding a GPU. */
#include "plan_support.h"
#include <mig/node.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A100 "NVIDIA A100-SXM4-40GB"
#define H100 "NVIDIA H100 80GB HBM3"

/* A node of two GPUs: an A100 (index 0) and an H100 (index 1), MIG off, free. */
static struct mig_node *two_gpus(void)
{
    static const char *const names[] = {A100, H100};
    struct mig_node *node = calloc(1, sizeof(*node));

    assert_non_null(node);
    node->gpu_count = 2;
    node->gpus = calloc(2, sizeof(node->gpus[0]));
    assert_non_null(node->gpus);
    for (uint32_t i = 0; i < 2; i++) {
        struct mig_gpu *gpu = &node->gpus[i];

        gpu->index = i;
        snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-0000-%u", i);
        snprintf(gpu->name, sizeof(gpu->name), "%s", names[i]);
        snprintf(gpu->bus_id, sizeof(gpu->bus_id), "00000000:%X:00.0", 0x3b + i);
        gpu->mig_capable = true;
        gpu->layout.model = plan_model(names[i]);
    }
    return node;
}

static void turn_on(struct mig_gpu *gpu, const char *layout)
{
    gpu->mig_mode = true;
    gpu->mig_mode_pending = true;
    gpu->layout = plan_layout(gpu->layout.model, layout);
}

static void add_process(struct mig_gpu *gpu, uint32_t pid, uint32_t gi_id, const char *name)
{
    struct mig_process *process;

    gpu->processes = realloc(gpu->processes, (gpu->process_known + 1) * sizeof(*process));
    assert_non_null(gpu->processes);
    process = &gpu->processes[gpu->process_known++];
    gpu->process_count++;
    *process = (struct mig_process){.pid = pid, .gi_id = gi_id, .ci_id = MIG_ID_NONE, .type = 'C'};
    snprintf(process->name, sizeof(process->name), "%s", name);
}

static struct mig_goal leave_all(void)
{
    return (struct mig_goal){.gpu_count = 2};
}

static struct mig_gpu_goal want(const struct mig_gpu *gpu, const char *target)
{
    return (struct mig_gpu_goal){.kind = MIG_GOAL_LAYOUT,
                                 .mig_mode = true,
                                 .target = plan_target(gpu->layout.model, target)};
}

static void test_left_alone(void **state)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_node_plan plan;
    struct mig_error error;

    (void)state;
    node->gpus[1].mig_mode = true;
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_OK);
    assert_int_equal(plan.gpu_count, 0);
    assert_true(mig_goal_is_met(node, &goal, &error));
    mig_node_plan_release(&plan);
    goal.gpu_count = 1;
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_E_USAGE);
    mig_node_plan_release(&plan);
    mig_node_free(node);
    mig_node_free(NULL);
}

static void test_mode_on_and_instances(void **state)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_node_plan plan;
    struct mig_error error;

    (void)state;
    goal.gpus[0] = want(&node->gpus[0], "3g.20gb 3g.20gb");
    goal.gpus[1] = want(&node->gpus[1], "7g.80gb");
    turn_on(&node->gpus[1], "");
    assert_false(mig_goal_is_met(node, &goal, &error));
    assert_string_equal(error.message, "GPU 0: MIG mode is off, on is wanted");
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_OK);
    assert_int_equal(plan.gpu_count, 2);
    assert_int_equal(plan.change_count, 2);
    assert_true(plan.gpus[0].set_mode);
    assert_true(plan.gpus[0].mode);
    assert_true(plan.gpus[0].may_reset);
    assert_int_equal(plan.gpus[0].plan.step_count, 4);
    assert_false(plan.gpus[1].set_mode);
    assert_int_equal(plan.gpus[1].plan.step_count, 2);
    assert_int_equal(plan.estimate_ms,
                     plan.gpus[0].plan.estimate_ms + plan.gpus[1].plan.estimate_ms);
    mig_node_plan_release(&plan);
    mig_node_free(node);
}

static void test_mode_on_needs_the_gpu_free(void **state)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_node_plan plan;
    struct mig_error error;

    (void)state;
    goal.gpus[0] = (struct mig_gpu_goal){.kind = MIG_GOAL_MODE, .mig_mode = true};
    goal.gpus[1] = goal.gpus[0];
    add_process(&node->gpus[1], 77, MIG_ID_NONE, "python3");
    add_process(&node->gpus[1], 78, MIG_ID_NONE, "");
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_E_BUSY);
    assert_int_equal(plan.gpus[0].result, MIG_OK);
    assert_int_equal(plan.gpus[1].result, MIG_E_BUSY);
    assert_int_equal(plan.change_count, 1);
    assert_false(plan.gpus[1].may_reset); /* Hopper needs none */
    assert_string_equal(error.message, "GPU 1: cannot enable MIG mode: the GPU has to be free for "
                                       "that and is used by 2 processes");
    assert_string_equal(error.holders, "python3 (pid 77), pid 78");
    mig_node_plan_release(&plan);
    mig_node_free(node);
}

/* Nobody is asked to make way for what would not fit then either. */
static void test_what_cannot_fit_is_said_first(void **state)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_node_plan plan;
    struct mig_error error;

    (void)state;
    goal.gpus[1] = want(&node->gpus[1], "7g.80gb");
    add_process(&node->gpus[1], 77, MIG_ID_NONE, "python3");
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_E_BUSY);
    assert_int_equal(plan.gpus[1].plan.step_count, 0);
    mig_node_plan_release(&plan);
    goal.gpus[1] = want(&node->gpus[1], "7g.80gb 1g.10gb");
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_E_NO_FIT);
    mig_node_plan_release(&plan);
    mig_node_free(node);
}

static void test_mode_off_takes_idle_instances_along(void **state)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_policy policies[2] = {{0}};
    struct mig_node_plan plan;
    struct mig_error error;

    (void)state;
    turn_on(&node->gpus[0], "3g.20gb@4 1g.5gb@0*");
    goal.gpus[0] = (struct mig_gpu_goal){.kind = MIG_GOAL_MODE, .mig_mode = false};
    add_process(&node->gpus[0], 42, node->gpus[0].layout.gis[1].id, "train");
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_E_BUSY);
    assert_string_equal(error.message, "GPU 0: cannot disable MIG mode: cannot remove all "
                                       "instances of NVIDIA A100-SXM4-40GB: in use: 1g.5gb at 0 "
                                       "(has to end)");
    assert_string_equal(error.holders, "1g.5gb at 0: python3 (pid 4001)");
    mig_node_plan_release(&plan);
    policies[0].may_go = 2;
    assert_int_equal(mig_node_plan_make(node, &goal, policies, &plan, &error), MIG_OK);
    assert_int_equal(plan.gpus[0].plan.step_count, 4);
    assert_true(plan.gpus[0].set_mode);
    assert_false(plan.gpus[0].mode);
    mig_node_plan_release(&plan);
    /* a process on the GPU itself holds it whatever the policy says */
    add_process(&node->gpus[0], 43, MIG_ID_NONE, "dcgm");
    assert_int_equal(mig_node_plan_make(node, &goal, policies, &plan, &error), MIG_E_BUSY);
    assert_string_equal(error.holders, "dcgm (pid 43)");
    mig_node_plan_release(&plan);
    mig_node_free(node);
}

static void test_mode_that_matches_keeps_instances(void **state)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_node_plan plan;
    struct mig_error error;

    (void)state;
    turn_on(&node->gpus[0], "3g.20gb@4 1g.5gb@0*");
    goal.gpus[0] = (struct mig_gpu_goal){.kind = MIG_GOAL_MODE, .mig_mode = true};
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_OK);
    assert_int_equal(plan.change_count, 0);
    assert_int_equal(plan.gpus[0].plan.step_count, 0);
    assert_true(mig_goal_is_met(node, &goal, &error));
    mig_node_plan_release(&plan);
    /* taking a pending change back disturbs nobody */
    node->gpus[0].mig_mode_pending = false;
    add_process(&node->gpus[0], 42, MIG_ID_NONE, "train");
    assert_false(mig_goal_is_met(node, &goal, &error));
    assert_string_equal(error.message, "GPU 0: MIG mode is on but off is pending");
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_OK);
    assert_true(plan.gpus[0].set_mode);
    assert_false(plan.gpus[0].may_reset);
    mig_node_plan_release(&plan);
    mig_node_free(node);
}

static void test_gpus_that_cannot_be_planned(void **state)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_node_plan plan;
    struct mig_error error;

    (void)state;
    goal.gpus[0] = (struct mig_gpu_goal){.kind = MIG_GOAL_MODE, .mig_mode = true};
    goal.gpus[1] = (struct mig_gpu_goal){.kind = MIG_GOAL_MODE, .mig_mode = false};
    node->gpus[0].mig_capable = false;
    node->gpus[0].layout.model = NULL;
    snprintf(node->gpus[1].problem, sizeof(node->gpus[1].problem), "GPU is lost");
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_E_NO_FIT);
    assert_non_null(strstr(error.message, "has no MIG"));
    assert_int_equal(plan.gpus[1].result, MIG_E_FAILED);
    assert_non_null(strstr(plan.gpus[1].error.message, "GPU is lost"));
    assert_false(mig_goal_is_met(node, &goal, NULL));
    mig_node_plan_release(&plan);
    goal.gpus[0].mig_mode = false; /* it has none, and none is wanted */
    goal.gpus[1].kind = MIG_GOAL_LEAVE;
    assert_int_equal(mig_node_plan_make(node, &goal, NULL, &plan, &error), MIG_OK);
    assert_int_equal(plan.change_count, 0);
    assert_true(mig_goal_is_met(node, &goal, &error));
    mig_node_plan_release(&plan);
    mig_node_free(node);
}

static void expect_met(const char *layout, const char *target, const char *reason)
{
    struct mig_node *node = two_gpus();
    struct mig_goal goal = leave_all();
    struct mig_error error;
    bool met;

    turn_on(&node->gpus[0], layout);
    goal.gpus[0] = want(&node->gpus[0], target);
    mig_error_clear(&error);
    met = mig_goal_is_met(node, &goal, &error);
    assert_string_equal(error.message, reason ? reason : "");
    assert_int_equal(met, reason == NULL);
    mig_node_free(node);
}

static void test_devices_are_compared_by_count(void **state)
{
    (void)state;
    expect_met("1g.5gb@3 3g.20gb@4*", "3g.20gb 1g.5gb", NULL);
    expect_met("1g.5gb@3", "1g.5gb 1g.5gb", "GPU 0: has 1 x 1g.5gb, 2 wanted");
    expect_met("1g.5gb@3 2g.10gb@0", "1g.5gb", "GPU 0: has 1 x 2g.10gb, 0 wanted");
    expect_met("3g.20gb@4{}", "3g.20gb", "GPU 0: 1 x 3g.20gb without a compute instance, 0 wanted");
    expect_met("3g.20gb@4{}", "", "GPU 0: 1 x 3g.20gb without a compute instance, 0 wanted");
    expect_met("3g.20gb@4{1c.3g.20gb@0,1c.3g.20gb@1}", "3g.20gb",
               "GPU 0: has 2 x 1c.3g.20gb, 0 wanted");
    /* the same devices in another packing */
    expect_met("3g.20gb@4{1c.3g.20gb@0} 3g.20gb@0{1c.3g.20gb@0}", "3g.20gb{1c.3g.20gb,1c.3g.20gb}",
               NULL);
}

static void expect_found(const struct mig_node *node, const char *text, int index)
{
    struct mig_error error;
    uint32_t found = 99;
    int result = mig_node_find_gpu(node, text, &found, &error);

    assert_int_equal(result, index < 0 ? MIG_E_USAGE : MIG_OK);
    if (index >= 0) {
        assert_int_equal(found, index);
    } else {
        assert_non_null(strstr(error.hint, "1 (00000000:3C:00.0, GPU-0000-1)"));
    }
}

static void test_find_gpu(void **state)
{
    struct mig_node *node = two_gpus();

    (void)state;
    expect_found(node, "1", 1);
    expect_found(node, "01", -1);
    expect_found(node, "2", -1);
    expect_found(node, "gpu-0000-1", 1);
    expect_found(node, "GPU-0000", -1);
    expect_found(node, "0000:3b:00.0", 0);
    expect_found(node, "00000000:3C:00.0", 1);
    expect_found(node, "3c:0.0", 1);
    expect_found(node, "3c:00.1", -1);
    expect_found(node, "3c:00", -1);
    expect_found(node, ":3c:00.0", -1);
    expect_found(node, "1:0:3c:00.0", -1);
    expect_found(node, "0x3c:00.0 ", -1);
    expect_found(node, "", -1);
    mig_node_free(node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_left_alone),
        cmocka_unit_test(test_mode_on_and_instances),
        cmocka_unit_test(test_mode_on_needs_the_gpu_free),
        cmocka_unit_test(test_what_cannot_fit_is_said_first),
        cmocka_unit_test(test_mode_off_takes_idle_instances_along),
        cmocka_unit_test(test_mode_that_matches_keeps_instances),
        cmocka_unit_test(test_gpus_that_cannot_be_planned),
        cmocka_unit_test(test_devices_are_compared_by_count),
        cmocka_unit_test(test_find_gpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
