/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner's compute instances against brute force: inside one GPU instance for every profile of
 * several GPUs, and over a whole A30 with every arrangement of compute instances in every placed
 * state. States are sets of (profile, start) pairs; an end state is judged by set differences.
 */
#include "plan_oracle.h"
#include "plan_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CI_STATE_MAX 4096
#define CI_PAIR_MAX 32

/* Every legal set of compute instances of one GPU-instance profile. */
struct ci_oracle {
    const struct mig_profile *profile;
    unsigned pair_count;
    struct oracle_pair pairs[CI_PAIR_MAX]; /* profile = CI profile */
    size_t state_count;
    uint32_t states[CI_STATE_MAX];
    uint64_t kinds[CI_STATE_MAX]; /* counts per CI profile, 4 bits each */
};

static bool ci_is_legal(const struct ci_oracle *oracle, uint32_t state)
{
    uint8_t slots[64] = {0}, counts[MIG_CI_PROFILE_MAX] = {0};
    unsigned slices = 0, total = 0;

    for (unsigned i = 0; i < oracle->pair_count; i++) {
        const struct mig_ci_profile *ci = &oracle->profile->ci_profiles[oracle->pairs[i].profile];

        if (!(state >> i & 1)) {
            continue;
        }
        for (unsigned j = 0; j < ci->size; j++) {
            if (slots[oracle->pairs[i].start + j]++) {
                return false;
            }
        }
        if (++counts[oracle->pairs[i].profile] > ci->max_instances) {
            return false;
        }
        slices += ci->slice_count;
        total++;
    }
    return slices <= oracle->profile->slice_count && total <= MIG_CI_MAX;
}

static uint64_t kinds_of(const struct ci_oracle *oracle, uint32_t state)
{
    uint64_t kinds = 0;

    for (unsigned i = 0; i < oracle->pair_count; i++) {
        kinds += (uint64_t)(state >> i & 1) << (4 * oracle->pairs[i].profile);
    }
    return kinds;
}

static void grow(struct ci_oracle *oracle, uint32_t state, unsigned from)
{
    assert_true(oracle->state_count < CI_STATE_MAX);
    oracle->kinds[oracle->state_count] = kinds_of(oracle, state);
    oracle->states[oracle->state_count++] = state;
    for (unsigned i = from; i < oracle->pair_count; i++) {
        uint32_t more = state | UINT32_C(1) << i;

        if (ci_is_legal(oracle, more)) {
            grow(oracle, more, i + 1);
        }
    }
}

static void ci_oracle_make(struct ci_oracle *oracle, const struct mig_profile *profile)
{
    memset(oracle, 0, sizeof(*oracle));
    oracle->profile = profile;
    for (unsigned i = 0; i < profile->ci_profile_count; i++) {
        assert_true(profile->ci_profiles[i].size > 0);
        for (unsigned j = 0; j < profile->ci_profiles[i].start_count; j++) {
            assert_true(oracle->pair_count < CI_PAIR_MAX);
            oracle->pairs[oracle->pair_count++] =
                (struct oracle_pair){(uint8_t)i, profile->ci_profiles[i].starts[j]};
        }
    }
    grow(oracle, 0, 0);
}

static void set_cis(const struct ci_oracle *oracle, uint32_t state, uint32_t in_use,
                    struct mig_gi *gi)
{
    gi->ci_count = 0;
    gi->in_use = in_use != 0;
    for (unsigned i = 0; i < oracle->pair_count; i++) {
        if (state >> i & 1) {
            gi->cis[gi->ci_count] = (struct mig_ci){.profile = oracle->pairs[i].profile,
                                                    .start = oracle->pairs[i].start,
                                                    .in_use = (in_use >> i & 1) != 0,
                                                    .id = i};
            gi->ci_count++;
        }
    }
}

static void set_wanted(const struct ci_oracle *oracle, uint64_t kinds, struct mig_target_gi *gi)
{
    gi->ci_count = 0;
    for (unsigned i = oracle->profile->ci_profile_count; i-- > 0;) {
        for (unsigned j = 0; j < (kinds >> (4 * i) & 15); j++) {
            gi->ci_profiles[gi->ci_count++] = (uint8_t)i;
        }
    }
}

/* ---- inside one GPU instance ----------------------------------------------------------------- */

/* The fewest CIs destroyed on the way to `kinds` that keeps `in_use`; -1 when there is none. */
static int fewest_destroyed(const struct ci_oracle *oracle, uint32_t state, uint32_t in_use,
                            uint64_t kinds)
{
    int fewest = -1;

    for (size_t i = 0; i < oracle->state_count; i++) {
        int destroyed = __builtin_popcount(state & ~oracle->states[i]);

        if (oracle->kinds[i] == kinds && !(in_use & ~oracle->states[i]) &&
            (fewest < 0 || destroyed < fewest)) {
            fewest = destroyed;
        }
    }
    return fewest;
}

static void check_inside(const struct ci_oracle *oracle, struct mig_layout *layout, uint32_t state,
                         uint32_t in_use, uint64_t kinds)
{
    int fewest = fewest_destroyed(oracle, state, in_use, kinds);
    struct mig_target target = {.gi_count = 1};
    struct mig_plan plan;
    struct mig_certificate certificate;
    const char *problem = NULL;
    int result;

    target.gis[0].profile = layout->gis[0].profile;
    target.gis[0].start = MIG_START_ANY;
    set_wanted(oracle, kinds, &target.gis[0]);
    set_cis(oracle, state, in_use, &layout->gis[0]);
    result = mig_plan_make(layout, &target, NULL, &plan, &certificate, NULL);
    if (fewest < 0) {
        if (result != MIG_E_BUSY || certificate.blocker_count != 1) {
            problem = "it should be blocked";
        }
    } else if (result != MIG_OK) {
        problem = "it should be possible";
    } else if (plan.ci_destroy_count != fewest || plan.gi_destroy_count != 0 ||
               plan.ci_create_count !=
                   target.gis[0].ci_count - (layout->gis[0].ci_count - fewest)) {
        problem = "not the least";
    } else {
        problem = plan_replay(layout, NULL, &plan);
    }
    if (problem) {
        char text[256];

        fail_msg("%s -> kinds %llx: %s", plan_layout_text(layout, text, sizeof(text)),
                 (unsigned long long)kinds, problem);
    }
}

/* Distinct kinds in the order of their first state. */
static size_t list_kinds(const struct ci_oracle *oracle, uint64_t *ret)
{
    size_t count = 0;

    for (size_t i = 0; i < oracle->state_count; i++) {
        size_t at = 0;

        while (at < count && ret[at] != oracle->kinds[i]) {
            at++;
        }
        if (at == count) {
            ret[count++] = oracle->kinds[i];
        }
    }
    return count;
}

static size_t check_profile(const struct mig_model *model, unsigned profile)
{
    static struct ci_oracle oracle;
    static uint64_t kinds[CI_STATE_MAX];
    struct mig_layout layout = {.model = model, .gi_count = 1};
    size_t kind_count, checked = 0;

    ci_oracle_make(&oracle, &model->profiles[profile]);
    kind_count = list_kinds(&oracle, kinds);
    layout.gis[0].profile = (uint8_t)profile;
    layout.gis[0].start = model->profiles[profile].starts[0];
    for (size_t i = 0; i < oracle.state_count; i++) {
        uint32_t state = oracle.states[i], in_use = state;

        do {
            for (size_t j = 0; j < kind_count; j++) {
                check_inside(&oracle, &layout, state, in_use, kinds[j]);
                checked++;
            }
            in_use = (in_use - 1) & state;
        } while (in_use != state);
    }
    return checked;
}

static void test_inside_one_gpu_instance(void **state)
{
    static const char *const models[] = {"NVIDIA A30", "NVIDIA A100-SXM4-40GB",
                                         "NVIDIA H100 80GB HBM3",
                                         "NVIDIA RTX PRO 6000 Blackwell Server Edition"};
    size_t checked = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        const struct mig_model *model = plan_model(models[i]);

        for (unsigned j = 0; j < model->profile_count; j++) {
            /* the 7g of an A100 has 4,000 states: H100's stands for it */
            if (model->profiles[j].slice_count < 7 || model->architecture == MIG_ARCH_HOPPER) {
                checked += check_profile(model, j);
            }
        }
    }
    print_message("%zu changes inside one GPU instance\n", checked);
}

/* ---- a whole A30 ----------------------------------------------------------------------------- */

#define FULL_MAX 2048

/* A placed state with the CI states of its GPU instances; parallel to the bits of `state`. */
struct full {
    uint64_t state;
    unsigned gi_count;
    uint8_t pairs[4];
    uint32_t cis[4];
};

static struct ci_oracle ci_oracles[MIG_PROFILE_MAX];
static struct full fulls[FULL_MAX];
static size_t full_count;

static void fill_cis(const struct oracle *oracle, struct full full, unsigned at)
{
    const struct ci_oracle *cis;

    if (at == full.gi_count) {
        assert_true(full_count < FULL_MAX);
        fulls[full_count++] = full;
        return;
    }
    cis = &ci_oracles[oracle->pairs[full.pairs[at]].profile];
    for (size_t i = 0; i < cis->state_count; i++) {
        full.cis[at] = cis->states[i];
        fill_cis(oracle, full, at + 1);
    }
}

static void list_fulls(const struct oracle *oracle)
{
    for (unsigned i = 0; i < oracle->model->profile_count; i++) {
        ci_oracle_make(&ci_oracles[i], &oracle->model->profiles[i]);
    }
    full_count = 0;
    for (size_t i = 0; i < oracle->state_count; i++) {
        struct full full = {.state = oracle->states[i]};

        for (unsigned j = 0; j < oracle->pair_count; j++) {
            if (full.state >> j & 1) {
                full.pairs[full.gi_count++] = (uint8_t)j;
            }
        }
        fill_cis(oracle, full, 0);
    }
}

/* The kinds of GPU instance, profile and CIs, as sorted numbers: the target that a state is. */
static void signature(const struct oracle *oracle, const struct full *full, uint64_t *ret)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t value = 0;
        unsigned at = i;

        if (i < full->gi_count) {
            unsigned profile = oracle->pairs[full->pairs[i]].profile;

            value = (uint64_t)(profile + 1) << 56 | kinds_of(&ci_oracles[profile], full->cis[i]);
        }
        for (; at > 0 && ret[at - 1] < value; at--) {
            ret[at] = ret[at - 1];
        }
        ret[at] = value;
    }
}

/* What it costs to go from one to the other: GIs destroyed, CIs destroyed, CIs created in those
 * that stay, future placements (more is better). */
static void price(const struct oracle *oracle, const struct full *from, const struct full *to,
                  int *ret)
{
    ret[0] = __builtin_popcountll(from->state & ~to->state);
    ret[1] = ret[2] = 0;
    for (unsigned i = 0; i < from->gi_count; i++) {
        for (unsigned j = 0; j < to->gi_count; j++) {
            if (from->pairs[i] == to->pairs[j]) {
                ret[1] += __builtin_popcount(from->cis[i] & ~to->cis[j]);
                ret[2] += __builtin_popcount(to->cis[j] & ~from->cis[i]);
            }
        }
    }
    for (size_t i = 0; i < oracle->state_count; i++) {
        if (oracle->states[i] == to->state) {
            ret[3] = -oracle->futures[i];
        }
    }
}

/* Bit of the CI that is in use: instance number times 8 plus CI pair. -1 = nothing. */
static bool keeps(const struct full *from, const struct full *to, int in_use)
{
    unsigned gi = (unsigned)in_use / 8, pair = (unsigned)in_use % 8;

    for (unsigned j = 0; in_use >= 0 && j < to->gi_count; j++) {
        if (to->pairs[j] == from->pairs[gi]) {
            return to->cis[j] >> pair & 1;
        }
    }
    return in_use < 0;
}

static bool best_way(const struct oracle *oracle, const struct full *from, const uint64_t *wanted,
                     int in_use, int *ret)
{
    bool found = false;

    for (size_t i = 0; i < full_count; i++) {
        uint64_t have[4];
        int cost[4];

        signature(oracle, &fulls[i], have);
        if (memcmp(have, wanted, sizeof(have)) != 0 || !keeps(from, &fulls[i], in_use)) {
            continue;
        }
        price(oracle, from, &fulls[i], cost);
        for (unsigned j = 0; j < 4; j++) {
            if (!found || cost[j] != ret[j]) {
                if (!found || cost[j] < ret[j]) {
                    memcpy(ret, cost, sizeof(cost));
                }
                break;
            }
        }
        found = true;
    }
    return found;
}

static struct mig_target target_of(const struct oracle *oracle, const struct full *full)
{
    struct mig_target target = oracle_target(oracle, full->state);

    for (unsigned i = 0; i < full->gi_count; i++) {
        const struct ci_oracle *cis = &ci_oracles[target.gis[i].profile];

        set_wanted(cis, kinds_of(cis, full->cis[i]), &target.gis[i]);
    }
    return target;
}

static void check_full(const struct oracle *oracle, const struct full *from, const struct full *to,
                       int in_use)
{
    struct mig_layout layout = oracle_layout(oracle, from->state, 0);
    struct mig_target target = target_of(oracle, to);
    struct mig_plan plan;
    uint64_t wanted[4];
    int best[4] = {0}, result;
    const char *problem = NULL;

    signature(oracle, to, wanted);
    for (unsigned i = 0; i < from->gi_count; i++) {
        set_cis(&ci_oracles[layout.gis[i].profile], from->cis[i],
                in_use / 8 == (int)i && in_use >= 0 ? 1u << in_use % 8 : 0, &layout.gis[i]);
    }
    result = mig_plan_make(&layout, &target, NULL, &plan, NULL, NULL);
    if (best_way(oracle, from, wanted, in_use, best) != (result == MIG_OK)) {
        problem = "one says possible, the other impossible";
    } else if (result == MIG_OK) {
        int cost[4] = {plan.gi_destroy_count, plan.ci_destroy_count, plan.ci_create_count,
                       -plan.future_placements};

        problem = memcmp(cost, best, sizeof(cost)) == 0 ? plan_replay(&layout, NULL, &plan)
                                                        : "not the least";
    }
    if (problem) {
        char text[2][256];

        fail_msg("%s -> like %llx: %s (%s)", plan_layout_text(&layout, text[0], sizeof(text[0])),
                 (unsigned long long)to->state, problem,
                 plan_steps_text(oracle->model, &plan, text[1], sizeof(text[1])));
    }
}

/* Pairs of states in a fixed stride, with nothing or one compute instance in use. */
static void test_whole_a30(void **state)
{
    struct oracle oracle;
    size_t checked = 0;

    (void)state;
    oracle_make(&oracle, plan_model("NVIDIA A30"), 1u << MIG_VARIANT_ME);
    list_fulls(&oracle);
    for (size_t number = 0; number < full_count * full_count; number += 3) {
        const struct full *from = &fulls[number / full_count], *to = &fulls[number % full_count];

        check_full(&oracle, from, to, -1);
        for (unsigned i = 0; i < from->gi_count; i++) {
            if (from->cis[i]) {
                check_full(&oracle, from, to, (int)(8 * i) + __builtin_ctz(from->cis[i]));
                checked++;
            }
        }
        checked++;
    }
    print_message("%zu states of an A30, %zu changes\n", full_count, checked);
    oracle_release(&oracle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inside_one_gpu_instance),
        cmocka_unit_test(test_whole_a30),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
