/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brute force over placed states. A state is legal when no two of its pairs conflict (they share a
 * unit, or their media engines) and no profile is there more often than it may. Legal sets have
 * only legal parts, so growing them pair by pair meets each once.
 */
#include "plan_oracle.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct mig_profile *profile_of(const struct oracle *oracle, unsigned pair)
{
    return &oracle->model->profiles[oracle->pairs[pair].profile];
}

static bool takes_media(enum mig_variant variant)
{
    return variant == MIG_VARIANT_ME || variant == MIG_VARIANT_ALL_ME;
}

static bool conflict(const struct oracle *oracle, unsigned a, unsigned b)
{
    enum mig_variant first = profile_of(oracle, a)->variant;
    enum mig_variant second = profile_of(oracle, b)->variant;

    for (unsigned i = 0; i < profile_of(oracle, a)->size; i++) {
        for (unsigned j = 0; j < profile_of(oracle, b)->size; j++) {
            if (oracle->pairs[a].start + i == oracle->pairs[b].start + j) {
                return true;
            }
        }
    }
    return (takes_media(first) && takes_media(second)) ||
           (first == MIG_VARIANT_ALL_ME && second != MIG_VARIANT_NO_ME) ||
           (second == MIG_VARIANT_ALL_ME && first != MIG_VARIANT_NO_ME);
}

void oracle_counts(const struct oracle *oracle, uint64_t state, uint8_t *ret)
{
    memset(ret, 0, MIG_PROFILE_MAX);
    for (unsigned i = 0; i < oracle->pair_count; i++) {
        if (state >> i & 1) {
            ret[oracle->pairs[i].profile]++;
        }
    }
}

bool oracle_is_legal(const struct oracle *oracle, uint64_t state)
{
    uint8_t counts[MIG_PROFILE_MAX];

    for (unsigned i = 0; i < oracle->pair_count; i++) {
        if ((state >> i & 1) && (state & oracle->conflicts[i] & ~(UINT64_C(1) << i))) {
            return false;
        }
    }
    oracle_counts(oracle, state, counts);
    for (unsigned i = 0; i < oracle->model->profile_count; i++) {
        if (counts[i] > oracle->model->profiles[i].max_instances) {
            return false;
        }
    }
    return true;
}

static uint8_t future_of(const struct oracle *oracle, uint64_t state)
{
    uint8_t count = 0;

    for (unsigned i = 0; i < oracle->pair_count; i++) {
        uint64_t bit = UINT64_C(1) << i;

        if (!(state & bit) && oracle_is_legal(oracle, state | bit)) {
            count++;
        }
    }
    return count;
}

static void grow(struct oracle *oracle, uint64_t state, unsigned from, unsigned leave_out)
{
    if ((oracle->state_count & (oracle->state_count + 1)) == 0) {
        oracle->states =
            realloc(oracle->states, 2 * (oracle->state_count + 1) * sizeof(oracle->states[0]));
        assert_non_null(oracle->states);
    }
    oracle->states[oracle->state_count++] = state;
    for (unsigned i = from; i < oracle->pair_count; i++) {
        uint64_t more = state | UINT64_C(1) << i;

        if (!(leave_out >> profile_of(oracle, i)->variant & 1u) && oracle_is_legal(oracle, more)) {
            grow(oracle, more, i + 1, leave_out);
        }
    }
}

static const struct oracle *sorted;

static int compare_geometry(const void *a, const void *b)
{
    uint8_t first[MIG_PROFILE_MAX], second[MIG_PROFILE_MAX];
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    int order;

    oracle_counts(sorted, x, first);
    oracle_counts(sorted, y, second);
    order = memcmp(first, second, sizeof(first));
    return order ? order : (x > y) - (x < y);
}

void oracle_make(struct oracle *oracle, const struct mig_model *model, unsigned leave_out)
{
    uint8_t last[MIG_PROFILE_MAX] = {0xff};

    *oracle = (struct oracle){.model = model};
    for (unsigned i = 0; i < model->profile_count; i++) {
        for (unsigned j = 0; j < model->profiles[i].start_count; j++) {
            assert_true(oracle->pair_count < ORACLE_PAIR_MAX);
            oracle->pairs[oracle->pair_count++] =
                (struct oracle_pair){(uint8_t)i, model->profiles[i].starts[j]};
        }
    }
    for (unsigned i = 0; i < oracle->pair_count; i++) {
        for (unsigned j = 0; j < oracle->pair_count; j++) {
            oracle->conflicts[i] |= (uint64_t)(i != j && conflict(oracle, i, j)) << j;
        }
    }
    grow(oracle, 0, 0, leave_out);
    sorted = oracle;
    qsort(oracle->states, oracle->state_count, sizeof(oracle->states[0]), compare_geometry);
    oracle->futures = calloc(oracle->state_count, 1);
    oracle->first = calloc(oracle->state_count + 1, sizeof(oracle->first[0]));
    oracle->counts = calloc(oracle->state_count, sizeof(oracle->counts[0]));
    assert_non_null(oracle->futures);
    assert_non_null(oracle->counts);
    assert_non_null(oracle->first);
    for (size_t i = 0; i < oracle->state_count; i++) {
        oracle->futures[i] = future_of(oracle, oracle->states[i]);
        oracle_counts(oracle, oracle->states[i], oracle->counts[i]);
        if (memcmp(oracle->counts[i], last, sizeof(last)) != 0) {
            oracle->first[oracle->geometry_count++] = i;
            memcpy(last, oracle->counts[i], sizeof(last));
        }
    }
    oracle->first[oracle->geometry_count] = oracle->state_count;
}

size_t oracle_find_geometry(const struct oracle *oracle, const uint8_t *counts)
{
    size_t geometry = 0;

    while (geometry < oracle->geometry_count &&
           memcmp(oracle->counts[oracle->first[geometry]], counts, MIG_PROFILE_MAX) != 0) {
        geometry++;
    }
    return geometry;
}

void oracle_release(struct oracle *oracle)
{
    free(oracle->states);
    free(oracle->futures);
    free(oracle->first);
    free(oracle->counts);
    *oracle = (struct oracle){0};
}

struct mig_layout oracle_layout(const struct oracle *oracle, uint64_t state, uint64_t in_use)
{
    struct mig_layout layout = {.model = oracle->model};

    for (unsigned i = 0; i < oracle->pair_count; i++) {
        if (state >> i & 1) {
            struct mig_gi *gi = &layout.gis[layout.gi_count++];

            gi->profile = oracle->pairs[i].profile;
            gi->start = oracle->pairs[i].start;
            gi->id = 100 + i;
            gi->in_use = (in_use >> i & 1) != 0;
            gi->ci_count = 1;
            gi->cis[0].profile = (uint8_t)mig_profile_default_ci(profile_of(oracle, i));
            gi->cis[0].in_use = gi->in_use;
        }
    }
    return layout;
}

struct mig_target oracle_target(const struct oracle *oracle, uint64_t state)
{
    struct mig_target target = {0};

    for (unsigned i = 0; i < oracle->pair_count; i++) {
        if (state >> i & 1) {
            struct mig_target_gi *gi = &target.gis[target.gi_count++];

            gi->profile = oracle->pairs[i].profile;
            gi->start = MIG_START_ANY;
            gi->ci_count = 1;
            gi->ci_profiles[0] = (uint8_t)mig_profile_default_ci(profile_of(oracle, i));
        }
    }
    return target;
}

uint64_t oracle_state_of(const struct oracle *oracle, const struct mig_layout *layout)
{
    uint64_t state = 0;

    for (unsigned i = 0; i < layout->gi_count; i++) {
        unsigned pair = 0;

        while (pair < oracle->pair_count &&
               (oracle->pairs[pair].profile != layout->gis[i].profile ||
                oracle->pairs[pair].start != layout->gis[i].start)) {
            pair++;
        }
        assert_true(pair < oracle->pair_count);
        assert_false(state >> pair & 1);
        state |= UINT64_C(1) << pair;
    }
    assert_true(oracle_is_legal(oracle, state));
    return state;
}

struct oracle_answer oracle_plan(const struct oracle *oracle, uint64_t state, uint64_t in_use,
                                 size_t geometry)
{
    struct oracle_answer best = {.possible = false};

    for (size_t i = oracle->first[geometry]; i < oracle->first[geometry + 1]; i++) {
        uint64_t end = oracle->states[i];
        struct oracle_answer answer = {true, (unsigned)__builtin_popcountll(state & ~end),
                                       (unsigned)__builtin_popcountll(end & ~state),
                                       oracle->futures[i]};

        if (in_use & ~end) {
            continue;
        }
        if (!best.possible || answer.destroy_count < best.destroy_count ||
            (answer.destroy_count == best.destroy_count &&
             (answer.create_count < best.create_count ||
              (answer.create_count == best.create_count && answer.future > best.future)))) {
            best = answer;
        }
    }
    return best;
}
