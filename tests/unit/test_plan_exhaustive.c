/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner against brute force: every placed state, every set in use, every geometry. For each
 * the answer has to be possible or not as brute force says, destroy and create as few, leave as
 * many future placements, and be carried out by the replay; each refusal goes through the
 * certificate checker. Prints the time of the slowest plan; times decide nothing.
 *
 * The argument "fast" leaves most (state, in-use) pairs out, evenly spaced: for instrumented
 * builds.
 */
#include "certificate_checker.h"
#include "plan_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define A100 "NVIDIA A100-SXM4-40GB"
#define A30 "NVIDIA A30"
#define RTX_PRO_6000 "NVIDIA RTX PRO 6000 Blackwell Server Edition"

static unsigned stride_factor = 1;

struct tally {
    size_t plans, refusals;
    uint64_t slowest_ns, total_ns;
    char slowest[256];
};

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* A time longer than all before is taken again, so that it is the planner's and not the machine's.
 */
static void time_it(struct tally *tally, uint64_t duration_ns, const struct mig_layout *layout,
                    const struct mig_target *target)
{
    struct mig_plan plan;
    struct mig_certificate certificate;
    struct mig_error error;

    tally->total_ns += duration_ns;
    for (int i = 0; i < 10 && duration_ns > tally->slowest_ns; i++) {
        uint64_t again = now_ns();

        mig_plan_make(layout, target, NULL, &plan, &certificate, &error);
        again = now_ns() - again;
        duration_ns = again < duration_ns ? again : duration_ns;
    }
    if (duration_ns > tally->slowest_ns) {
        char text[200];

        tally->slowest_ns = duration_ns;
        snprintf(tally->slowest, sizeof(tally->slowest), "%s -> %u instances",
                 plan_layout_text(layout, text, sizeof(text)), target->gi_count);
    }
}

static void check_one(const struct oracle *oracle, uint64_t state, uint64_t in_use, size_t geometry,
                      struct tally *tally)
{
    struct mig_layout layout = oracle_layout(oracle, state, in_use);
    struct mig_target target = oracle_target(oracle, oracle->states[oracle->first[geometry]]);
    struct oracle_answer answer = oracle_plan(oracle, state, in_use, geometry);
    struct mig_plan plan;
    struct mig_certificate certificate;
    const char *problem = NULL;
    uint64_t before = now_ns();
    int result = mig_plan_make(&layout, &target, NULL, &plan, &certificate, NULL);

    time_it(tally, now_ns() - before, &layout, &target);
    tally->plans++;
    if ((result == MIG_OK) != answer.possible) {
        problem = "one says possible, the other impossible";
    } else if (result != MIG_OK) {
        tally->refusals++;
        problem = certificate_check(oracle, &layout, in_use, &target, result, &certificate);
    } else if (plan.gi_destroy_count != answer.destroy_count ||
               plan.gi_create_count != answer.create_count ||
               plan.future_placements != answer.future) {
        problem = "not the least";
    } else if (plan.kept_count + plan.gi_create_count != target.gi_count || plan.ci_destroy_count ||
               plan.ci_create_count) {
        problem = "counts do not add up";
    } else {
        problem = plan_replay(&layout, NULL, &plan);
    }
    if (problem) {
        char text[256];

        fail_msg("%s, geometry %zu: %s", plan_layout_text(&layout, text, sizeof(text)), geometry,
                 problem);
    }
}

static void report(const char *what, const struct tally *tally)
{
    print_message("%s: %zu plans, %zu refused, mean %.2f us, slowest %.1f us (%s)\n", what,
                  tally->plans, tally->refusals,
                  (double)tally->total_ns / 1000.0 / (double)tally->plans,
                  (double)tally->slowest_ns / 1000.0, tally->slowest);
}

/* Every stride-th of all (state, in-use set, geometry); returns the number of (state, in-use). */
static size_t check_all(const char *name, unsigned leave_out, unsigned stride, const char *what)
{
    struct oracle oracle;
    struct tally tally = {0};
    size_t pairs = 0, number = 0;

    oracle_make(&oracle, plan_model(name), leave_out);
    for (size_t i = 0; i < oracle.state_count; i++) {
        uint64_t state = oracle.states[i], in_use = state;

        do { /* every subset, from all to none */
            pairs++;
            for (size_t g = 0; g < oracle.geometry_count; g++, number++) {
                if (number % (stride * stride_factor) == 0) {
                    check_one(&oracle, state, in_use, g, &tally);
                }
            }
            in_use = (in_use - 1) & state;
        } while (in_use != state);
    }
    report(what, &tally);
    oracle_release(&oracle);
    return pairs;
}

static void test_a100_nothing_in_use(void **state)
{
    struct oracle oracle;
    struct tally tally = {0};

    (void)state;
    oracle_make(&oracle, plan_model(A100), 1u << MIG_VARIANT_ME);
    assert_int_equal(oracle.state_count, 723);
    assert_int_equal(oracle.geometry_count, 78);
    for (size_t i = 0; i < oracle.state_count; i++) {
        for (size_t g = 0; g < oracle.geometry_count; g++) {
            check_one(&oracle, oracle.states[i], 0, g, &tally);
        }
    }
    assert_int_equal(tally.plans, 723 * 78);
    assert_int_equal(tally.refusals, 0);
    report("A100, nothing in use", &tally);
    oracle_release(&oracle);
}

static void test_a100_every_in_use_set(void **state)
{
    (void)state;
    assert_int_equal(check_all(A100, 1u << MIG_VARIANT_ME, 1, "A100, every in-use set"), 11593);
}

/* With +me: a deterministic sample, every 13th of 6 million. */
static void test_a100_with_me(void **state)
{
    (void)state;
    check_all(A100, 0, 13, "A100 with +me, sampled");
}

static void test_a30(void **state)
{
    (void)state;
    check_all(A30, 0, 1, "A30 with +me, every in-use set");
}

static void test_rtx_pro_6000(void **state)
{
    (void)state;
    check_all(RTX_PRO_6000, 0, 1, "RTX PRO 6000, every in-use set");
}

/*
 * Public figures of this problem: of the (in-use set, geometry) pairs of an A100 where the counts
 * allow it, so many can be reached without touching what is in use.
 */
static void test_share_that_is_reachable(void **state)
{
    struct oracle oracle;
    size_t compatible = 0, reachable = 0;

    (void)state;
    oracle_make(&oracle, plan_model(A100), 1u << MIG_VARIANT_ME);
    for (size_t i = 0; i < oracle.state_count; i++) {
        uint8_t used[MIG_PROFILE_MAX], wanted[MIG_PROFILE_MAX];
        struct mig_layout layout = oracle_layout(&oracle, oracle.states[i], oracle.states[i]);

        oracle_counts(&oracle, oracle.states[i], used);
        for (size_t g = 0; g < oracle.geometry_count; g++) {
            struct mig_target target = oracle_target(&oracle, oracle.states[oracle.first[g]]);
            struct mig_plan plan;
            bool fits = true;

            oracle_counts(&oracle, oracle.states[oracle.first[g]], wanted);
            for (unsigned j = 0; j < MIG_PROFILE_MAX; j++) {
                fits = fits && used[j] <= wanted[j];
            }
            compatible += fits;
            reachable += fits && mig_plan_make(&layout, &target, NULL, &plan, NULL, NULL) == MIG_OK;
        }
    }
    assert_int_equal(compatible, 6969);
    assert_int_equal(1000 * reachable / compatible, 712);
    print_message("%zu of %zu count-compatible pairs are reachable\n", reachable, compatible);
    oracle_release(&oracle);
}

/*
 * One more instance beside what is there, where the counts make a legal geometry: how many have no
 * slot, and how many of those that are there have to move for it.
 */
static void test_relocations_for_one_more(void **state)
{
    struct oracle oracle;
    size_t pairs = 0, moves[8] = {0};

    (void)state;
    oracle_make(&oracle, plan_model(A100), 1u << MIG_VARIANT_ME);
    for (size_t i = 0; i < oracle.state_count; i++) {
        struct mig_layout layout = oracle_layout(&oracle, oracle.states[i], oracle.states[i]);

        for (unsigned p = 0; p < oracle.model->profile_count; p++) {
            struct mig_target target = oracle_target(&oracle, oracle.states[i]);
            struct mig_plan plan;
            struct mig_certificate certificate;
            int result;

            if (oracle.model->profiles[p].variant == MIG_VARIANT_ME) {
                continue;
            }
            target.gis[target.gi_count++] = (struct mig_target_gi){
                .profile = (uint8_t)p,
                .start = MIG_START_ANY,
                .ci_count = 1,
                .ci_profiles = {(uint8_t)mig_profile_default_ci(&oracle.model->profiles[p])}};
            result = mig_plan_make(&layout, &target, NULL, &plan, &certificate, NULL);
            if (result == MIG_E_NO_FIT) {
                continue;
            }
            pairs++;
            moves[result == MIG_OK ? 0 : certificate.blocker_count]++;
        }
    }
    assert_int_equal(pairs, 2190);
    assert_int_equal(moves[1], 566);
    assert_int_equal(moves[2], 159);
    assert_int_equal(moves[3], 28);
    assert_int_equal(moves[4], 1);
    assert_int_equal(moves[0], 2190 - 754);
    oracle_release(&oracle);
}

/* Requests far beyond the GPU: the time that a peer needs thousands of creation orders for. */
static void test_time_of_the_hardest(void **state)
{
    const struct mig_model *model = plan_model(A100);
    static const char *const targets[] = {
        "1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 2g.10gb 2g.10gb 2g.10gb 3g.20gb 3g.20gb",
        "1g.5gb 1g.5gb 1g.5gb 1g.5gb 2g.10gb 2g.10gb 3g.20gb 1g.10gb 1g.10gb 1g.5gb+me 4g.20gb",
        "1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb 1g.5gb "
        "1g.5gb 1g.5gb 1g.5gb 1g.5gb",
        "1g.5gb 1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6 1g.5gb+me 2g.10gb "
        "2g.10gb@2 2g.10gb@4 1g.10gb 1g.10gb@0 1g.10gb@6 3g.20gb",
        "3g.20gb{1c.3g.20gb,1c.3g.20gb,1c.3g.20gb} 2g.10gb{1c.2g.10gb,1c.2g.10gb} "
        "4g.20gb{2c.4g.20gb,1c.4g.20gb,1c.4g.20gb} 7g.40gb{1c.7g.40gb,2c.7g.40gb,4c.7g.40gb}",
    };
    static const char *const layouts[] = {
        "", "1g.5gb@0 1g.5gb@1* 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5* 1g.5gb@6",
        ("7g.40gb@0{1c.7g.40gb@0,1c.7g.40gb@1,1c.7g.40gb@2,1c.7g.40gb@3,1c.7g.40gb@4*,"
         "1c.7g.40gb@5}")};

    (void)state;
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        for (size_t j = 0; j < sizeof(targets) / sizeof(targets[0]); j++) {
            struct mig_layout layout = plan_layout(model, layouts[i]);
            struct mig_target target = plan_target(model, targets[j]);
            struct mig_plan plan;
            struct mig_certificate certificate;
            struct mig_error error;
            uint64_t best = UINT64_MAX;

            for (int k = 0; k < 20; k++) {
                uint64_t before = now_ns(), duration;

                assert_int_equal(mig_plan_make(&layout, &target, NULL, &plan, &certificate, &error),
                                 MIG_E_NO_FIT);
                duration = now_ns() - before;
                best = duration < best ? duration : best;
            }
            print_message("layout %zu, request %zu: %.1f us (%u of %u unplaced)\n", i, j,
                          (double)best / 1000.0, certificate.unplaced_count, target.gi_count);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a100_nothing_in_use),
        cmocka_unit_test(test_a100_every_in_use_set),
        cmocka_unit_test(test_a100_with_me),
        cmocka_unit_test(test_a30),
        cmocka_unit_test(test_rtx_pro_6000),
        cmocka_unit_test(test_share_that_is_reachable),
        cmocka_unit_test(test_relocations_for_one_more),
        cmocka_unit_test(test_time_of_the_hardest),
    };

    if (argc > 1 && strcmp(argv[1], "fast") == 0) {
        stride_factor = 37;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
