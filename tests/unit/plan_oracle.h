/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Brute force for tests of the planner: every placed state of a GPU as a set of (profile, start)
 * pairs, found by trying all sets. Shares nothing with src/core but the model's tables; the rules
 * are written down a second time, in another form.
 */
#ifndef MIG_TEST_PLAN_ORACLE_H
#define MIG_TEST_PLAN_ORACLE_H

#include <mig/plan.h>

#define ORACLE_PAIR_MAX 64

struct oracle_pair {
    uint8_t profile, start;
};

/* Bit i of a state stands for pairs[i]. States of equal geometry (profiles without starts) are
 * neighbours: geometry g is states[first[g]] up to states[first[g + 1]]. */
struct oracle {
    const struct mig_model *model;
    unsigned pair_count;
    struct oracle_pair pairs[ORACLE_PAIR_MAX];
    uint64_t conflicts[ORACLE_PAIR_MAX]; /* pairs that cannot stand beside pair i */
    size_t state_count;
    uint64_t *states;
    uint8_t *futures;                   /* per state: pairs that can still be added, each alone */
    uint8_t (*counts)[MIG_PROFILE_MAX]; /* per state */
    size_t geometry_count;
    size_t *first; /* geometry_count + 1 */
};

/* Profiles with a variant in `leave_out` (bit = enum mig_variant) are left out of the states, but
 * counted as futures. */
void oracle_make(struct oracle *oracle, const struct mig_model *model, unsigned leave_out);
void oracle_release(struct oracle *oracle);

/* The geometry with these counts per profile; geometry_count when there is none. */
size_t oracle_find_geometry(const struct oracle *oracle, const uint8_t *counts);

/* Counts per profile. */
void oracle_counts(const struct oracle *oracle, uint64_t state, uint8_t *ret);

/* A state as a layout, with the default CI in each GPU instance; in_use is a part of state. The
 * i-th instance is the i-th bit set. */
struct mig_layout oracle_layout(const struct oracle *oracle, uint64_t state, uint64_t in_use);

/* A state's geometry as a target without starts. */
struct mig_target oracle_target(const struct oracle *oracle, uint64_t state);

/* The bits of a layout; fails the test when it is no legal state. */
uint64_t oracle_state_of(const struct oracle *oracle, const struct mig_layout *layout);

bool oracle_is_legal(const struct oracle *oracle, uint64_t state);

/* The best way from `state` to a geometry that keeps `in_use`. */
struct oracle_answer {
    bool possible;
    unsigned destroy_count, create_count, future;
};
struct oracle_answer oracle_plan(const struct oracle *oracle, uint64_t state, uint64_t in_use,
                                 size_t geometry);

#endif
