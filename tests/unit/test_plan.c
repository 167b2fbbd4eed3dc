/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner, case by case: what is kept, what goes, in which order, and what a refusal says. The
 * exhaustive comparison with brute force is test_plan_exhaustive.c.
 */
#include "plan_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define A100 "NVIDIA A100-SXM4-40GB"
#define A30 "NVIDIA A30"

struct outcome {
    int result;
    struct mig_plan plan;
    struct mig_certificate certificate;
    struct mig_error error;
    char text[1024]; /* of the steps, or of the nearest layout */
};

static struct outcome plan_with(const char *model_name, const char *layout_text,
                                const char *target_text, const struct mig_policy *policy)
{
    const struct mig_model *model = plan_model(model_name);
    struct mig_layout layout = plan_layout(model, layout_text);
    struct mig_target target = plan_target(model, target_text);
    struct outcome outcome = {0};

    outcome.result = mig_plan_make(&layout, &target, policy, &outcome.plan, &outcome.certificate,
                                   &outcome.error);
    if (outcome.result == MIG_OK) {
        const char *problem = plan_replay(&layout, policy, &outcome.plan);

        if (problem) {
            fail_msg("%s -> %s: %s", layout_text, target_text, problem);
        }
        assert_int_equal(outcome.certificate.kind, MIG_REFUSAL_NONE);
        plan_steps_text(model, &outcome.plan, outcome.text, sizeof(outcome.text));
    } else if (outcome.certificate.kind != MIG_REFUSAL_NONE) {
        plan_layout_text(&outcome.certificate.nearest, outcome.text, sizeof(outcome.text));
    }
    return outcome;
}

static struct outcome plan(const char *model, const char *layout, const char *target)
{
    return plan_with(model, layout, target, NULL);
}

static void expect_steps(const char *model, const char *layout, const char *target,
                         const char *steps)
{
    struct outcome outcome = plan(model, layout, target);

    if (outcome.result != MIG_OK) {
        fail_msg("%s -> %s: %s", layout, target, outcome.error.message);
    }
    assert_string_equal(outcome.text, steps);
}

static void test_nothing_to_do(void **state)
{
    struct outcome outcome;

    (void)state;
    expect_steps(A100, "", "", "");
    expect_steps(A100, "3g.20gb@4 1g.5gb@0", "1g.5gb 3g.20gb", "");
    expect_steps(A100, "3g.20gb@0*{1c.3g.20gb@0*,1c.3g.20gb@1}", "3g.20gb{1c.3g.20gb,1c.3g.20gb}",
                 "");
    outcome = plan(A100, "7g.40gb@0*", "7g.40gb");
    assert_int_equal(outcome.plan.kept_count, 1);
    assert_int_equal(outcome.plan.estimate_ms, 0);
}

/* Creation order and starts of a new geometry: larger first, explicit starts, most room left. */
static void test_from_empty(void **state)
{
    (void)state;
    expect_steps(A30, "", "1g.6gb 1g.6gb 2g.12gb",
                 "+2g.12gb@0 +2g.12gb@0/0 +1g.6gb@2 +1g.6gb@0/2 +1g.6gb@3 +1g.6gb@0/3");
    expect_steps(A100, "", "1g.5gb 3g.20gb", "+3g.20gb@4 +3g.20gb@0/4 +1g.5gb@0 +1g.5gb@0/0");
    expect_steps(A100, "", "1g.5gb", "+1g.5gb@6 +1g.5gb@0/6");
    /* the order that the driver's own placing fails at */
    expect_steps(A100, "", "1g.5gb 1g.5gb 2g.10gb 3g.20gb",
                 "+3g.20gb@4 +3g.20gb@0/4 +2g.10gb@0 +2g.10gb@0/0 +1g.5gb@2 +1g.5gb@0/2 "
                 "+1g.5gb@3 +1g.5gb@0/3");
}

static void test_keeps_what_it_can(void **state)
{
    struct outcome outcome;

    (void)state;
    expect_steps(A100, "3g.20gb@0* 1g.5gb@4 1g.5gb@5 1g.5gb@6", "3g.20gb 3g.20gb",
                 "-1g.5gb@0/4 -1g.5gb@0/5 -1g.5gb@0/6 -1g.5gb@4 -1g.5gb@5 -1g.5gb@6 "
                 "+3g.20gb@4 +3g.20gb@0/4");
    /* of seven, the three that are not in the way of the 4g stay */
    outcome = plan(A100, "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6",
                   "4g.20gb 1g.5gb 1g.5gb");
    assert_int_equal(outcome.result, MIG_OK);
    assert_int_equal(outcome.plan.kept_count, 2);
    assert_int_equal(outcome.plan.gi_destroy_count, 5);
    assert_int_equal(outcome.plan.gi_create_count, 1);
}

static void test_fixed_starts(void **state)
{
    struct outcome outcome;

    (void)state;
    expect_steps(A100, "1g.5gb@0", "1g.5gb@3", "-1g.5gb@0/0 -1g.5gb@0 +1g.5gb@3 +1g.5gb@0/3");
    expect_steps(A100, "1g.5gb@0*", "1g.5gb@3 1g.5gb", "+1g.5gb@3 +1g.5gb@0/3");
    outcome = plan(A100, "1g.5gb@0*", "1g.5gb@3");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_int_equal(outcome.certificate.blocker_count, 1);
    assert_true(outcome.certificate.blocker_moves[0]);
    outcome = plan(A100, "", "1g.5gb@7");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    assert_non_null(strstr(outcome.error.message, "cannot start at 7"));
    outcome = plan(A100, "", "1g.5gb@3 1g.5gb@3");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    assert_int_equal(outcome.certificate.unplaced_count, 1);
}

static void test_gi_without_ci_is_reused(void **state)
{
    (void)state;
    expect_steps(A100, "3g.20gb@4{}", "3g.20gb", "+3g.20gb@0/4");
    expect_steps(A100, "3g.20gb@4{}", "", "-3g.20gb@4");
    expect_steps(A100, "3g.20gb@4{} 3g.20gb@0", "3g.20gb", "-3g.20gb@4"); /* fewer CIs to create */
    expect_steps(A100, "3g.20gb@4{}", "3g.20gb{}", "");
}

static void test_compute_instances(void **state)
{
    struct outcome outcome;

    (void)state;
    expect_steps(A100, "", "3g.20gb{1c.3g.20gb,2c.3g.20gb}",
                 "+3g.20gb@4 +2c.3g.20gb@0/4 +1c.3g.20gb@2/4");
    expect_steps(A100, "3g.20gb@4", "3g.20gb{1c.3g.20gb,2c.3g.20gb}",
                 "-3g.20gb@0/4 +2c.3g.20gb@0/4 +1c.3g.20gb@2/4");
    expect_steps(A100, "3g.20gb@4*{1c.3g.20gb@0*,1c.3g.20gb@1,1c.3g.20gb@2}",
                 "3g.20gb{1c.3g.20gb,2c.3g.20gb}",
                 "-1c.3g.20gb@1/4 -1c.3g.20gb@2/4 +2c.3g.20gb@1/4");
    /* the CI in use sits in the middle: no room for two slices together */
    outcome = plan(A100, "3g.20gb@4*{1c.3g.20gb@1*}", "3g.20gb{1c.3g.20gb,2c.3g.20gb}");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_int_equal(outcome.certificate.blocker_count, 1);
    assert_false(outcome.plan.step_count);
    /* a CI in use that is not wanted blocks, though its GPU instance is wanted */
    outcome = plan(A100, "3g.20gb@4*{1c.3g.20gb@0*}", "3g.20gb");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_false(outcome.certificate.blocker_moves[0]);
    assert_int_equal(outcome.certificate.unplaced_count, 0);
    assert_string_equal(outcome.text, "3g.20gb@0 3g.20gb@4*{1c.3g.20gb@0*}");
    outcome = plan(A100, "7g.40gb@0*{1c.7g.40gb@0*}", "7g.40gb");
    assert_int_equal(outcome.certificate.unplaced_count, 1);
    /* to another slot of the same GPU instance is not elsewhere */
    outcome = plan(A100, "4g.20gb@0*{1c.4g.20gb@1*,1c.4g.20gb@3*}",
                   "4g.20gb{1c.4g.20gb,1c.4g.20gb,2c.4g.20gb}");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_false(outcome.certificate.blocker_moves[0]);
    /* where the driver does not say where a CI sits, it chooses */
    expect_steps(A100, "3g.20gb@4*{1c.3g.20gb*}", "3g.20gb{1c.3g.20gb,2c.3g.20gb}",
                 "+2c.3g.20gb/4");
    /* more than it holds, whoever goes */
    outcome = plan(A100, "", "3g.20gb{2c.3g.20gb,2c.3g.20gb}");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    assert_non_null(strstr(outcome.error.message, "cannot hold"));
    /* of two 3g, the one that has what is wanted stays as it is */
    expect_steps(A100, "3g.20gb@0 3g.20gb@4{1c.3g.20gb@0,2c.3g.20gb@1}",
                 "3g.20gb{2c.3g.20gb,1c.3g.20gb}", "-3g.20gb@0/0 -3g.20gb@0");
}

/* In use without a word on which compute instance: all of them count. */
static void test_whole_gi_in_use(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome = plan(A100, "3g.20gb@4*{1c.3g.20gb@0,1c.3g.20gb@1}", "3g.20gb{1c.3g.20gb}");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    expect_steps(A100, "3g.20gb@4*{1c.3g.20gb@0,1c.3g.20gb@1}",
                 "3g.20gb{1c.3g.20gb,1c.3g.20gb,1c.3g.20gb}", "+1c.3g.20gb@2/4");
}

static void test_policy(void **state)
{
    struct mig_policy first_may_go = {.may_go = 1}, protect_first = {.protect = 1};
    struct mig_policy both_may_go = {.may_go = 3};
    struct outcome outcome;

    (void)state;
    outcome = plan_with(A100, "1g.5gb@0* 1g.5gb@1*", "1g.5gb", &first_may_go);
    assert_string_equal(outcome.text, "-1g.5gb@0/0 -1g.5gb@0");
    outcome = plan_with(A100, "1g.5gb@0* 1g.5gb@1*", "2g.10gb@0", &first_may_go);
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_int_equal(outcome.certificate.blocker_count, 1);
    assert_int_equal(outcome.certificate.blockers[0], 1);
    /* an idle one is given up before one in use that may go */
    outcome = plan_with(A100, "1g.5gb@0* 1g.5gb@6", "1g.5gb", &both_may_go);
    assert_string_equal(outcome.text, "-1g.5gb@0/6 -1g.5gb@6");
    outcome = plan_with(A100, "1g.5gb@0", "7g.40gb", &protect_first);
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_string_equal(outcome.error.holders, "1g.5gb at 0: protected");
}

static void test_blocked_says_who(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome = plan(A100, "1g.5gb@5* 2g.10gb@0", "3g.20gb 3g.20gb");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_int_equal(outcome.error.domain, MIG_DOMAIN_PLAN);
    assert_int_equal(outcome.error.code, MIG_REFUSAL_BLOCKED);
    assert_int_equal(outcome.certificate.kind, MIG_REFUSAL_BLOCKED);
    assert_int_equal(outcome.certificate.unplaced_count, 1);
    assert_string_equal(outcome.text, "3g.20gb@0 1g.5gb@5*");
    assert_string_equal(outcome.error.holders, "1g.5gb at 5: python3 (pid 4000)");
    assert_string_equal(outcome.error.message,
                        "cannot make 2 x 3g.20gb on NVIDIA A100-SXM4-40GB: no place for 1 x "
                        "3g.20gb beside instances in use; the fewest in the way: 1g.5gb at 5 (has "
                        "to end)");
    assert_string_equal(outcome.error.hint,
                        "end or drain what uses it and try again, or ask for the nearest that "
                        "disturbs nobody: 3g.20gb at 0, 1g.5gb at 5");
}

/* A running 1g at 5 stands where the wanted 3g has to be, though the counts would fit. */
static void test_blocked_by_where(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome = plan(A100, "1g.5gb@0* 1g.5gb@5*", "3g.20gb 1g.5gb 1g.5gb");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_int_equal(outcome.certificate.blocker_count, 1);
    assert_int_equal(outcome.certificate.blockers[0], 0); /* the lower start */
    assert_true(outcome.certificate.blocker_moves[0]);
    assert_string_equal(outcome.text, "1g.5gb@0* 1g.5gb@5*");
}

/* In the nearest, what is in use stands for what is wanted of its kind, and for one of them only.
 */
static void test_nearest_counts_what_is_in_use(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome = plan(A100, "1g.5gb@0* 1g.5gb@1", "1g.5gb 7g.40gb");
    assert_int_equal(outcome.certificate.kind, MIG_REFUSAL_TOO_MUCH);
    assert_string_equal(outcome.text, "1g.5gb@0*");
    outcome = plan(A100, "1g.5gb@0*", "1g.5gb@0 1g.5gb 7g.40gb");
    assert_int_equal(outcome.certificate.unplaced_count, 1);
    assert_string_equal(outcome.text, "1g.5gb@0* 1g.5gb@1");
}

static void test_too_much(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome = plan(A100, "1g.5gb@0*",
                   "1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 2g.10gb 2g.10gb 2g.10gb "
                   "3g.20gb 3g.20gb");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    assert_int_equal(outcome.certificate.kind, MIG_REFUSAL_TOO_MUCH);
    assert_int_equal(outcome.certificate.unplaced_count, 5);
    assert_int_equal(outcome.certificate.blocker_count, 0);
    assert_non_null(strstr(outcome.error.message, "21 placement units and it has 8"));
    outcome = plan(A100, "", "3g.20gb 3g.20gb 1g.5gb");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    outcome = plan(A100, "", "1g.5gb+me 1g.5gb+me");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    assert_non_null(strstr(outcome.error.message, "at most 1 x 1g.5gb+me"));
    outcome = plan(A100, "", "4g.20gb 4g.20gb");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
}

static void test_media_rules(void **state)
{
    struct outcome outcome;
    const char *pro = "NVIDIA RTX PRO 6000 Blackwell Server Edition";

    (void)state;
    outcome = plan(pro, "", "1g.24gb+me.all 1g.24gb-me 1g.24gb-me 1g.24gb-me");
    assert_int_equal(outcome.result, MIG_OK);
    outcome = plan(pro, "", "1g.24gb+me.all 1g.24gb");
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    assert_non_null(strstr(outcome.error.message, "media engines"));
    outcome = plan(pro, "1g.24gb@0*", "1g.24gb+me.all 1g.24gb-me");
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_string_equal(outcome.text, "1g.24gb@0* 1g.24gb-me@3");
}

static void test_no_table(void **state)
{
    const struct mig_model *model = NULL;
    struct outcome outcome;

    (void)state;
    for (size_t i = 0; i < mig_catalog_count() && !model; i++) {
        if (!mig_model_is_placeable(mig_catalog_get(i))) {
            model = mig_catalog_get(i);
        }
    }
    assert_non_null(model);
    outcome = plan(model->name, "", model->profiles[0].name);
    assert_int_equal(outcome.result, MIG_E_NO_FIT);
    assert_int_equal(outcome.certificate.kind, MIG_REFUSAL_NO_TABLE);
    assert_int_equal(outcome.certificate.unplaced_count, 1);
    assert_non_null(strstr(outcome.error.message, "placements are not known"));
    outcome = plan(model->name, "", "");
    assert_int_equal(outcome.result, MIG_OK);
}

static void test_bad_input_is_refused(void **state)
{
    const struct mig_model *model = plan_model(A100);
    struct mig_layout layout = plan_layout(model, "1g.5gb@0");
    struct mig_target target = plan_target(model, "1g.5gb");
    struct mig_plan plan;
    struct mig_error error;

    (void)state;
    target.gis[0].profile = 200;
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_E_USAGE);
    target = plan_target(model, "1g.5gb");
    target.gis[0].ci_profiles[0] = 9;
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_E_USAGE);
    target.gi_count = MIG_GI_MAX + 1;
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_E_USAGE);
    target = plan_target(model, "1g.5gb");
    layout.gis[0].start = 7;
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_E_FAILED);
    layout = plan_layout(model, "2g.10gb@0 1g.5gb@1");
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_E_FAILED);
    layout.model = NULL;
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, NULL, &error), MIG_E_FAILED);
}

/* A table that allows more arrangements than can be looked at is refused in bounded time. */
static void test_a_boundless_table(void **state)
{
    static const uint8_t starts[MIG_UNIT_MAX] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    static const struct mig_ci_profile cis[] = {{.name = "1g",
                                                 .slice_count = 1,
                                                 .max_instances = 1,
                                                 .is_default = true,
                                                 .size = 1,
                                                 .start_count = 1,
                                                 .starts = starts}};
    static const struct mig_profile profiles[] = {{.name = "1g",
                                                   .slice_count = 1,
                                                   .max_instances = 32,
                                                   .size = 1,
                                                   .start_count = 32,
                                                   .starts = starts,
                                                   .ci_profile_count = 1,
                                                   .ci_profiles = cis},
                                                  {.name = "3g",
                                                   .slice_count = 3,
                                                   .max_instances = 10,
                                                   .size = 3,
                                                   .start_count = 30,
                                                   .starts = starts,
                                                   .ci_profile_count = 1,
                                                   .ci_profiles = cis}};
    static const struct mig_model model = {.name = "boundless",
                                           .unit_count = 32,
                                           .compute_slice_count = 32,
                                           .profile_count = 2,
                                           .profiles = profiles};
    struct mig_layout layout = {.model = &model};
    struct mig_target target = plan_target(&model, "3g 3g 3g 3g 1g 1g 1g 1g 1g 1g 1g 1g");
    struct mig_plan plan;
    struct mig_certificate certificate;
    struct mig_error error;

    (void)state;
    assert_true(mig_model_is_placeable(&model));
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, &certificate, &error),
                     MIG_E_FAILED);
    assert_int_equal(certificate.kind, MIG_REFUSAL_NONE);
    assert_non_null(strstr(error.message, "more arrangements than can be searched"));
    /* small requests of such a GPU are answered */
    target = plan_target(&model, "3g 1g 1g");
    assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, &certificate, &error), MIG_OK);
}

static void test_estimate(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome = plan(A30, "4g.24gb@0", "2g.12gb 1g.6gb 1g.6gb");
    assert_int_equal(outcome.plan.estimate_ms, 100 + 120 + 110 + 110);
    outcome = plan(A30, "", "2g.12gb{1c.2g.12gb,1c.2g.12gb}");
    assert_int_equal(outcome.plan.estimate_ms, 120 + 110);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_to_do),
        cmocka_unit_test(test_from_empty),
        cmocka_unit_test(test_keeps_what_it_can),
        cmocka_unit_test(test_fixed_starts),
        cmocka_unit_test(test_gi_without_ci_is_reused),
        cmocka_unit_test(test_compute_instances),
        cmocka_unit_test(test_whole_gi_in_use),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_blocked_says_who),
        cmocka_unit_test(test_blocked_by_where),
        cmocka_unit_test(test_nearest_counts_what_is_in_use),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_media_rules),
        cmocka_unit_test(test_no_table),
        cmocka_unit_test(test_bad_input_is_refused),
        cmocka_unit_test(test_a_boundless_table),
        cmocka_unit_test(test_estimate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
