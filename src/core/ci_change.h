/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One level down: how the compute instances of one GPU instance become the wanted ones.
 *
 * Where the table does not give placements, or an instance that stays does not say where it sits,
 * new instances get MIG_START_ANY: the driver chooses.
 */
#ifndef MIG_CORE_CI_CHANGE_H
#define MIG_CORE_CI_CHANGE_H

#include <mig/plan.h>

/* A multiset of CI profiles of one GI profile, ascending. */
struct mig_ci_set {
    uint8_t count;
    uint8_t profiles[MIG_CI_MAX];
};

struct mig_ci_change {
    bool possible;       /* there is a way; the rest is set only then */
    uint8_t kept;        /* bit j: cis[j] stays */
    uint8_t in_use_lost; /* CIs in use that have to go */
    uint8_t destroy_count, create_count;
    uint8_t create_profiles[MIG_CI_MAX]; /* largest first */
    uint8_t create_starts[MIG_CI_MAX];
};

/* Sorts `profiles` into a set. `count` is at most MIG_CI_MAX. */
struct mig_ci_set mig_ci_set_make(const uint8_t *profiles, unsigned count);

/* The CIs of `gi` whose bit in `mask` is set, as a set. */
struct mig_ci_set mig_ci_set_of(const struct mig_gi *gi, unsigned mask);

bool mig_ci_set_equal(const struct mig_ci_set *a, const struct mig_ci_set *b);

/* True when every member of `part` is in `whole`, counted; then *ret_rest holds the others. */
bool mig_ci_set_subtract(const struct mig_ci_set *whole, const struct mig_ci_set *part,
                         struct mig_ci_set *ret_rest);

/*
 * The CIs of a GPU instance that counts as `used` or not: those marked as in use, or all of them
 * when nothing tells which (also when it is idle but protected). None of one that is not used.
 */
unsigned mig_ci_in_use_mask(const struct mig_gi *gi, bool used);

/*
 * Places `added` beside the CIs of `gi` whose bit in `kept` is set (`gi` may be NULL: an empty GPU
 * instance). Fills the creations of *ret, lowest starts first choice. False when there is no way.
 */
bool mig_ci_place(const struct mig_profile *profile, const struct mig_gi *gi, unsigned kept,
                  const struct mig_ci_set *added, struct mig_ci_change *ret);

/*
 * The best way from the CIs of `gi` (NULL: none) to `wanted`: fewest in use lost (`in_use` says
 * which are), then fewest destroyed; creations follow from that. Exact.
 */
struct mig_ci_change mig_ci_change_make(const struct mig_profile *profile, const struct mig_gi *gi,
                                        unsigned in_use, const struct mig_ci_set *wanted);

#endif
