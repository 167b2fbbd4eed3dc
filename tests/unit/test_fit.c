/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placing slices over a node: case by case, and against brute force on small nodes.
 */
#include "plan_oracle.h"
#include "plan_support.h"
#include <mig/fit.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define A100 "NVIDIA A100-SXM4-40GB"
#define A30 "NVIDIA A30"
#define GPU_MAX 4

struct node {
    size_t gpu_count;
    struct mig_fit_gpu gpus[GPU_MAX];
    size_t want_count;
    struct mig_fit_want wants[MIG_FIT_KIND_MAX];
    struct mig_fit_result result;
    struct mig_error error;
    char text[1024]; /* per GPU its steps, "| " between */
};

static struct node *make_node(void)
{
    struct node *node = calloc(1, sizeof(*node));

    assert_non_null(node);
    return node;
}

static void add_gpu(struct node *node, const char *model, const char *layout)
{
    struct mig_fit_gpu *gpu = &node->gpus[node->gpu_count++];

    gpu->layout = plan_layout(plan_model(model), layout);
    gpu->usable = true;
}

static void want(struct node *node, const char *name, uint32_t count)
{
    node->wants[node->want_count++] = (struct mig_fit_want){name, count};
}

static int fit(struct node *node)
{
    int result;

    mig_fit_result_release(&node->result);
    mig_error_clear(&node->error);
    result = mig_fit(node->gpus, node->gpu_count, node->wants, node->want_count, &node->result,
                     &node->error);
    node->text[0] = '\0';
    for (size_t i = 0; i < node->result.gpu_count; i++) {
        const struct mig_fit_gpu *gpu = &node->gpus[i];
        const struct mig_plan *plan = &node->result.gpus[i].plan;
        const char *problem = gpu->usable ? plan_replay(&gpu->layout, &gpu->policy, plan) : NULL;
        size_t length = strlen(node->text);

        if (problem) {
            fail_msg("GPU %zu: %s", i, problem);
        }
        length += (size_t)snprintf(node->text + length, sizeof(node->text) - length, "%s",
                                   i > 0 ? " | " : "");
        plan_steps_text(gpu->layout.model, plan, node->text + length, sizeof(node->text) - length);
    }
    return result;
}

static void free_node(struct node *node)
{
    mig_fit_result_release(&node->result);
    free(node);
}

static void test_idle_ones_are_used_first(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A100, "3g.20gb@4* 1g.5gb@0");
    add_gpu(node, A100, "3g.20gb@4");
    want(node, "3g.20gb", 1);
    want(node, "1g.5gb", 1);
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, " | ");
    assert_int_equal(node->result.gpus[0].reused[1], 1);
    assert_int_equal(node->result.gpus[1].reused[0], 1);
    assert_int_equal(node->result.create_count + node->result.destroy_count, 0);
    /* a second 3g fits beside the idle 1g of GPU 0 only by destroying it; GPU 1 has room */
    node->wants[0].count = 2;
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, " | +3g.20gb@0 +3g.20gb@0/0");
    /* a third one needs the idle 1g's place, which is then made again */
    node->wants[0].count = 3;
    assert_int_equal(fit(node), MIG_E_BUSY);
    assert_int_equal(node->result.unplaced[0] + node->result.unplaced[1], 1);
    free_node(node);
}

static void test_gives_up_idle_ones_of_other_kinds(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A100, "1g.5gb@0 1g.5gb@1* 3g.20gb@4");
    want(node, "4g.20gb", 1);
    assert_int_equal(fit(node), MIG_E_BUSY);
    assert_true(node->result.fits_empty);
    assert_int_equal(node->result.unplaced[0], 1);
    assert_string_equal(node->error.holders, "GPU 0 1g.5gb at 1: python3 (pid 4001)");
    assert_string_equal(node->text, "");
    node->gpus[0] = (struct mig_fit_gpu){
        .layout = plan_layout(plan_model(A100), "1g.5gb@0 1g.5gb@1 3g.20gb@4"), .usable = true};
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "-1g.5gb@0/0 -1g.5gb@0/1 -1g.5gb@0 -1g.5gb@1 +4g.20gb@0 "
                                    "+4g.20gb@0/0");
    assert_int_equal(node->result.destroy_count, 2);
    node->gpus[0].policy.protect = 1;
    assert_int_equal(fit(node), MIG_E_BUSY);
    free_node(node);
}

static void test_first_gpu_on_ties(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A30, "");
    add_gpu(node, A30, "");
    want(node, "4g.24gb", 1);
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "+4g.24gb@0 +4g.24gb@0/0 | ");
    free_node(node);
}

/* Of equally good answers, the one with more devices on the first GPU. */
static void test_more_on_the_first_gpu(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A30, "2g.12gb@0*");
    add_gpu(node, A30, "2g.12gb@0*");
    want(node, "2g.12gb", 1);
    want(node, "1g.6gb", 2);
    assert_int_equal(fit(node), MIG_OK);
    assert_int_equal(node->result.gpus[0].created[1], 2);
    assert_int_equal(node->result.gpus[1].created[0], 1);
    free_node(node);
}

/* What is in use and may go is dearer than any idle instance. */
static void test_idle_ones_go_before_those_in_use(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A30, "2g.12gb@0 2g.12gb@2*");
    node->gpus[0].policy.may_go = 2;
    want(node, "1g.6gb", 1);
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "-2g.12gb@0/0 -2g.12gb@0 +1g.6gb@0 +1g.6gb@0/0");
    node->gpus[0].layout =
        plan_layout(plan_model(A100), "3g.20gb@4* 4g.20gb@0*{1c.4g.20gb@0*,1c.4g.20gb@2}");
    node->wants[0] = (struct mig_fit_want){"2c.4g.20gb", 1};
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "-1c.4g.20gb@2/0 +2c.4g.20gb@1/0");
    /* when nothing else helps */
    node->wants[0] = (struct mig_fit_want){"4g.20gb", 1};
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "-1c.4g.20gb@0/0 -1c.4g.20gb@2/0 +4g.20gb@0/0");
    node->gpus[0].policy.may_go = 0;
    assert_int_equal(fit(node), MIG_E_BUSY);
    /* over GPUs too, though the first one would do */
    node->gpus[0].layout =
        plan_layout(plan_model(A100), "3g.20gb@4* 4g.20gb@0*{1c.4g.20gb@1*,1c.4g.20gb@2*}");
    node->gpus[0].policy.may_go = 2;
    add_gpu(node, A100, "3g.20gb@4* 4g.20gb@0{1c.4g.20gb@1,1c.4g.20gb@2}");
    node->wants[0] = (struct mig_fit_want){"2c.4g.20gb", 1};
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, " | -1c.4g.20gb@1/0 +2c.4g.20gb@0/0");
    free_node(node);
}

/* The least fragmentation over the node, not the first place. */
static void test_fills_where_it_fragments_least(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A100, "");
    add_gpu(node, A100, "1g.5gb@4* 2g.10gb@2*");
    want(node, "1g.5gb", 1);
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, " | +1g.5gb@5 +1g.5gb@0/5");
    free_node(node);
}

static void test_compute_parts(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A100, "3g.20gb@4*{1c.3g.20gb@0*}");
    want(node, "1c.3g.20gb", 2);
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "+1c.3g.20gb@1/4 +1c.3g.20gb@2/4");
    assert_int_equal(node->result.create_count, 0);
    assert_int_equal(node->result.gpus[0].created[0], 2);
    node->wants[0].count = 3;
    assert_int_equal(fit(node), MIG_OK);
    assert_int_equal(node->result.create_count, 1);
    /* an idle CI of another kind makes room; nothing else does, the rest is in use */
    node->gpus[0].layout =
        plan_layout(plan_model(A100), "3g.20gb@4*{1c.3g.20gb@0*,1c.3g.20gb@1} 4g.20gb@0*");
    node->wants[0] = (struct mig_fit_want){"2c.3g.20gb", 1};
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "-1c.3g.20gb@1/4 +2c.3g.20gb@1/4");
    free_node(node);
}

static void test_gi_without_ci_is_reused(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A100, "3g.20gb@0{}");
    want(node, "3g.20gb", 1);
    assert_int_equal(fit(node), MIG_OK);
    assert_string_equal(node->text, "+3g.20gb@0/0");
    assert_int_equal(node->result.create_count, 0);
    free_node(node);
}

static void test_mixed_models(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A30, "");
    add_gpu(node, A100, "");
    want(node, "4g.24gb", 1);
    want(node, "3g.20gb", 2);
    assert_int_equal(fit(node), MIG_OK);
    assert_int_equal(node->result.gpus[0].created[0], 1);
    assert_int_equal(node->result.gpus[1].created[1], 2);
    node->gpus[0].usable = false;
    assert_int_equal(fit(node), MIG_E_NO_FIT);
    assert_int_equal(node->result.unplaced[0], 1);
    assert_int_equal(node->result.unplaced[1], 0);
    free_node(node);
}

static void test_refusals(void **state)
{
    struct node *node = make_node();

    (void)state;
    add_gpu(node, A100, "");
    want(node, "3g.20gb", 1000000);
    assert_int_equal(fit(node), MIG_E_NO_FIT);
    assert_int_equal(node->result.unplaced[0], 999998);
    assert_false(node->result.fits_empty);
    assert_string_equal(node->error.message, "the slices cannot fit on this node, even if nobody "
                                             "used it: no place for 999998 x 3g.20gb");
    assert_string_equal(node->error.hint, "ask for less; this fits: 2 x 3g.20gb");
    node->wants[0] = (struct mig_fit_want){"3g.21gb+gfx", 1};
    assert_int_equal(fit(node), MIG_E_NO_FIT);
    assert_non_null(strstr(node->error.message, "3g.21gb+gfx"));
    node->wants[0] = (struct mig_fit_want){"three", 1};
    assert_int_equal(fit(node), MIG_E_CONFIG);
    node->wants[0] = (struct mig_fit_want){"3g.20gb", 1};
    want(node, "3c.3g.20gb", 1);
    assert_int_equal(fit(node), MIG_E_USAGE);
    assert_string_equal(node->error.message,
                        "'3g.20gb' and '3c.3g.20gb' are the same kind of slice");
    node->want_count = 1;
    node->gpus[0].usable = false;
    assert_int_equal(fit(node), MIG_E_NO_FIT);
    assert_non_null(strstr(node->error.message, "MIG mode"));
    node->gpu_count = 0;
    assert_int_equal(fit(node), MIG_E_NO_FIT);
    node->want_count = 0;
    assert_int_equal(fit(node), MIG_OK);
    free_node(node);
}

/* The largest table is refused, not attempted. */
static void test_too_large_is_refused(void **state)
{
    static struct mig_fit_gpu gpus[MIG_FIT_GPU_MAX];
    struct mig_fit_want wants[] = {{"1g.5gb", 400}, {"2g.10gb", 200}, {"3g.20gb", 120},
                                   {"4g.20gb", 60}, {"7g.40gb", 60},  {"1g.10gb", 100}};
    struct mig_fit_result result;
    struct mig_error error;

    (void)state;
    for (size_t i = 0; i < MIG_FIT_GPU_MAX; i++) {
        gpus[i].layout.model = plan_model(A100);
        gpus[i].usable = true;
    }
    assert_int_equal(mig_fit(gpus, MIG_FIT_GPU_MAX, wants, 6, &result, &error), MIG_E_FAILED);
    assert_non_null(strstr(error.message, "2000000"));
    mig_fit_result_release(&result);
    assert_int_equal(mig_fit(gpus, MIG_FIT_GPU_MAX + 1, wants, 6, &result, &error), MIG_E_USAGE);
    mig_fit_result_release(&result);
}

/* ---- brute force ----------------------------------------------------------------------------- */

struct cost {
    unsigned unplaced, destroyed, created, future;
};

static bool is_less(const struct cost *a, const struct cost *b)
{
    if (a->unplaced != b->unplaced) {
        return a->unplaced < b->unplaced;
    }
    if (a->destroyed != b->destroyed) {
        return a->destroyed < b->destroyed;
    }
    return a->created != b->created ? a->created < b->created : a->future > b->future;
}

/* Two GPUs, all pairs of end states. */
static struct cost best_of_two(const struct oracle *oracle, const uint64_t *from,
                               const uint64_t *in_use, const uint8_t *wanted)
{
    struct cost best = {.unplaced = ~0u};

    for (size_t i = 0; i < oracle->state_count; i++) {
        for (size_t j = 0; j < oracle->state_count; j++) {
            uint64_t to[2] = {oracle->states[i], oracle->states[j]};
            struct cost cost = {.future = (unsigned)oracle->futures[i] + oracle->futures[j]};
            uint8_t first[MIG_PROFILE_MAX], second[MIG_PROFILE_MAX];

            if ((in_use[0] & ~to[0]) || (in_use[1] & ~to[1])) {
                continue;
            }
            oracle_counts(oracle, to[0] & ~in_use[0], first);
            oracle_counts(oracle, to[1] & ~in_use[1], second);
            for (unsigned k = 0; k < MIG_PROFILE_MAX; k++) {
                int missing = wanted[k] - first[k] - second[k];

                cost.unplaced += missing > 0 ? (unsigned)missing : 0;
            }
            for (unsigned k = 0; k < 2; k++) {
                cost.destroyed += (unsigned)__builtin_popcountll(from[k] & ~to[k]);
                cost.created += (unsigned)__builtin_popcountll(to[k] & ~from[k]);
            }
            if (is_less(&cost, &best)) {
                best = cost;
            }
        }
    }
    return best;
}

static void check_two(const struct oracle *oracle, struct node *node, const uint64_t *from,
                      const uint64_t *in_use, const uint8_t *wanted)
{
    struct cost best = best_of_two(oracle, from, in_use, wanted), cost = {0};

    node->want_count = 0;
    for (unsigned k = 0; k < oracle->model->profile_count; k++) {
        if (wanted[k] > 0) {
            want(node, oracle->model->profiles[k].name, wanted[k]);
        }
    }
    for (unsigned k = 0; k < 2; k++) {
        node->gpus[k].layout = oracle_layout(oracle, from[k], in_use[k]);
    }
    fit(node);
    cost.destroyed = node->result.destroy_count;
    cost.created = node->result.create_count;
    for (unsigned k = 0; k < node->want_count; k++) {
        unsigned placed = 0;

        for (unsigned g = 0; g < 2; g++) {
            placed += node->result.gpus[g].reused[k] + node->result.gpus[g].created[k];
        }
        assert_int_equal(placed + node->result.unplaced[k], node->wants[k].count);
        cost.unplaced += node->result.unplaced[k];
    }
    cost.future =
        node->result.gpus[0].plan.future_placements + node->result.gpus[1].plan.future_placements;
    if (is_less(&cost, &best) || is_less(&best, &cost)) {
        char text[2][256];

        fail_msg("[%s] and [%s]: %u %u %u %u, brute force says %u %u %u %u",
                 plan_layout_text(&node->gpus[0].layout, text[0], sizeof(text[0])),
                 plan_layout_text(&node->gpus[1].layout, text[1], sizeof(text[1])), cost.unplaced,
                 cost.destroyed, cost.created, cost.future, best.unplaced, best.destroyed,
                 best.created, best.future);
    }
}

/* Two A30s in states drawn with a fixed seed, requests of all kinds. */
static void test_two_gpus_against_brute_force(void **state)
{
    struct oracle oracle;
    struct node *node = make_node();
    uint32_t seed = 12345;

    (void)state;
    oracle_make(&oracle, plan_model(A30), 0);
    node->gpu_count = 2;
    node->gpus[0].usable = node->gpus[1].usable = true;
    for (int i = 0; i < 600; i++) {
        uint64_t from[2], in_use[2];
        uint8_t wanted[MIG_PROFILE_MAX] = {0};

        for (unsigned k = 0; k < 2; k++) {
            seed = seed * 1664525u + 1013904223u;
            from[k] = oracle.states[(seed >> 8) % oracle.state_count];
            seed = seed * 1664525u + 1013904223u;
            in_use[k] = from[k] & (seed >> 7);
        }
        for (unsigned k = 0; k < oracle.model->profile_count; k++) {
            seed = seed * 1664525u + 1013904223u;
            wanted[k] = (uint8_t)((seed >> 10) % 8 < 4 ? 0 : (seed >> 20) % 4);
        }
        check_two(&oracle, node, from, in_use, wanted);
    }
    oracle_release(&oracle);
    free_node(node);
}

/* A time for the record; it decides nothing. */
static void test_time_of_a_big_node(void **state)
{
    static struct mig_fit_gpu gpus[MIG_FIT_GPU_MAX];
    struct mig_fit_want wants[] = {
        {"1g.5gb", 20}, {"2g.10gb", 12}, {"3g.20gb", 10}, {"7g.40gb", 4}};
    struct mig_fit_result result;
    struct mig_error error;
    clock_t before;

    (void)state;
    for (size_t i = 0; i < MIG_FIT_GPU_MAX; i++) {
        gpus[i].layout = plan_layout(plan_model(A100), i % 2 ? "1g.5gb@0* 1g.5gb@1" : "2g.10gb@0");
        gpus[i].usable = true;
    }
    before = clock();
    mig_fit(gpus, 8, wants, 4, &result, &error);
    print_message("8 GPUs: %.2f ms\n", 1000.0 * (double)(clock() - before) / CLOCKS_PER_SEC);
    mig_fit_result_release(&result);
    before = clock();
    assert_int_equal(mig_fit(gpus, MIG_FIT_GPU_MAX, wants, 4, &result, &error), MIG_OK);
    print_message("64 GPUs: %.2f ms\n", 1000.0 * (double)(clock() - before) / CLOCKS_PER_SEC);
    mig_fit_result_release(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_idle_ones_are_used_first),
        cmocka_unit_test(test_gives_up_idle_ones_of_other_kinds),
        cmocka_unit_test(test_first_gpu_on_ties),
        cmocka_unit_test(test_more_on_the_first_gpu),
        cmocka_unit_test(test_idle_ones_go_before_those_in_use),
        cmocka_unit_test(test_fills_where_it_fragments_least),
        cmocka_unit_test(test_compute_parts),
        cmocka_unit_test(test_gi_without_ci_is_reused),
        cmocka_unit_test(test_mixed_models),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_too_large_is_refused),
        cmocka_unit_test(test_two_gpus_against_brute_force),
        cmocka_unit_test(test_time_of_a_big_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
