/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compute instances of one GPU instance: packing and the smallest change.
 *
 * Every subset of the existing CIs is a candidate to stay; there are at most 2^MIG_CI_MAX of them,
 * and one that cannot beat the best so far costs a comparison. What may stand beside what is
 * mig_place_cis's to say; but a set that is there already is legal by being there, because the
 * tables of compute placements are less sure than the driver.
 */
#include "core/ci_change.h"
#include "core/place.h"
#include <string.h>

struct mig_ci_set mig_ci_set_make(const uint8_t *profiles, unsigned count)
{
    struct mig_ci_set set = {.count = (uint8_t)count};

    for (unsigned i = 0; i < count; i++) {
        unsigned at = i;

        while (at > 0 && set.profiles[at - 1] > profiles[i]) {
            set.profiles[at] = set.profiles[at - 1];
            at--;
        }
        set.profiles[at] = profiles[i];
    }
    return set;
}

struct mig_ci_set mig_ci_set_of(const struct mig_gi *gi, unsigned mask)
{
    uint8_t profiles[MIG_CI_MAX];
    unsigned count = 0;

    for (unsigned i = 0; i < gi->ci_count; i++) {
        if (mask >> i & 1u) {
            profiles[count++] = gi->cis[i].profile;
        }
    }
    return mig_ci_set_make(profiles, count);
}

bool mig_ci_set_equal(const struct mig_ci_set *a, const struct mig_ci_set *b)
{
    return a->count == b->count && memcmp(a->profiles, b->profiles, a->count) == 0;
}

bool mig_ci_set_subtract(const struct mig_ci_set *whole, const struct mig_ci_set *part,
                         struct mig_ci_set *ret_rest)
{
    unsigned taken = 0;

    ret_rest->count = 0;
    for (unsigned i = 0; i < whole->count; i++) {
        if (taken < part->count && part->profiles[taken] == whole->profiles[i]) {
            taken++;
        } else {
            ret_rest->profiles[ret_rest->count++] = whole->profiles[i];
        }
    }
    return taken == part->count;
}

unsigned mig_ci_in_use_mask(const struct mig_gi *gi, bool used)
{
    unsigned mask = 0;

    for (unsigned i = 0; used && i < gi->ci_count && i < MIG_CI_MAX; i++) {
        mask |= (unsigned)gi->cis[i].in_use << i;
    }
    return used && mask == 0 ? (1u << gi->ci_count) - 1 : mask;
}

/* The creations in the order in which they are made: larger first, then by profile. */
static void order_creations(const struct mig_profile *profile, const struct mig_ci_set *added,
                            struct mig_ci_change *ret)
{
    ret->create_count = added->count;
    for (unsigned i = 0; i < added->count; i++) {
        unsigned slice_count = profile->ci_profiles[added->profiles[i]].slice_count;
        unsigned at = i;

        while (at > 0 &&
               profile->ci_profiles[ret->create_profiles[at - 1]].slice_count < slice_count) {
            ret->create_profiles[at] = ret->create_profiles[at - 1];
            at--;
        }
        ret->create_profiles[at] = added->profiles[i];
    }
}

/* One start left to the driver makes every other one a guess. */
static void drop_starts_unless_all_known(const struct mig_profile *profile,
                                         const struct mig_ci *kept, unsigned kept_count,
                                         struct mig_ci_change *change)
{
    bool known = true;

    for (unsigned i = 0; i < kept_count; i++) {
        known = known && kept[i].start != MIG_START_ANY &&
                profile->ci_profiles[kept[i].profile].size > 0;
    }
    for (unsigned i = 0; i < change->create_count; i++) {
        known = known && change->create_starts[i] != MIG_START_ANY;
    }
    for (unsigned i = 0; !known && i < change->create_count; i++) {
        change->create_starts[i] = MIG_START_ANY;
    }
}

bool mig_ci_place(const struct mig_profile *profile, const struct mig_gi *gi, unsigned kept,
                  const struct mig_ci_set *added, struct mig_ci_change *ret)
{
    struct mig_ci staying[MIG_CI_MAX] = {{0}};
    unsigned staying_count = 0;

    order_creations(profile, added, ret);
    if (added->count == 0) {
        return true;
    }
    for (unsigned i = 0; gi && i < gi->ci_count; i++) {
        if (kept >> i & 1u) {
            staying[staying_count++] = gi->cis[i];
        }
    }
    if (!mig_place_cis(profile, staying, staying_count, ret->create_profiles, ret->create_count,
                       ret->create_starts)) {
        return false;
    }
    drop_starts_unless_all_known(profile, staying, staying_count, ret);
    return true;
}

struct mig_ci_change mig_ci_change_make(const struct mig_profile *profile, const struct mig_gi *gi,
                                        unsigned in_use, const struct mig_ci_set *wanted)
{
    struct mig_ci_change best = {.possible = false};
    unsigned ci_count = gi ? gi->ci_count : 0;
    unsigned all = (1u << ci_count) - 1;
    unsigned best_cost = ~0u;

    /* downwards: all that is there is tried first, and nearly always does */
    for (unsigned kept = all + 1; kept-- > 0 && best_cost > 0;) {
        struct mig_ci_change change = {.possible = true, .kept = (uint8_t)kept};
        struct mig_ci_set have = {0}, rest;
        unsigned cost;

        change.in_use_lost = (uint8_t)__builtin_popcount(all & ~kept & in_use);
        change.destroy_count = (uint8_t)__builtin_popcount(all & ~kept);
        cost = change.in_use_lost * (MIG_CI_MAX + 1u) + change.destroy_count;
        if (cost >= best_cost) {
            continue;
        }
        if (gi) {
            have = mig_ci_set_of(gi, kept);
        }
        if (mig_ci_set_subtract(wanted, &have, &rest) &&
            mig_ci_place(profile, gi, kept, &rest, &change)) {
            best = change;
            best_cost = cost;
        }
    }
    return best;
}
