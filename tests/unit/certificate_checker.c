/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The claims of a certificate, each against all placed states: that the target fits on an empty GPU
 * or not; that it cannot be reached while everything in use stays; that it can be without the
 * blockers, and not without fewer; that the nearest is legal, holds what is in use, and as much of
 * the target as anything could.
 */
#include "certificate_checker.h"
#include <string.h>

struct check {
    const struct oracle *oracle;
    const struct mig_layout *layout;
    uint64_t in_use;
    uint8_t wanted[MIG_PROFILE_MAX]; /* counts of the target */
    unsigned wanted_total;
    const struct mig_certificate *certificate;
};

/* The fewest in use that a state of the target's geometry does without; -1 when there is none. Of
 * equally few, *ret_lost is the set with the lowest starts. */
static int fewest_lost(const struct check *check, uint64_t *ret_lost)
{
    const struct oracle *oracle = check->oracle;
    size_t geometry = oracle_find_geometry(oracle, check->wanted);
    int fewest = -1;
    uint64_t best_starts = 0;

    if (geometry == oracle->geometry_count) {
        return -1;
    }
    for (size_t i = oracle->first[geometry]; i < oracle->first[geometry + 1]; i++) {
        uint64_t lost = check->in_use & ~oracle->states[i];
        int count = __builtin_popcountll(lost);
        uint64_t starts = 0;

        for (unsigned j = 0; j < oracle->pair_count; j++) {
            starts |= (lost >> j & 1) << (63 - oracle->pairs[j].start);
        }
        if (fewest < 0 || count < fewest || (count == fewest && starts > best_starts)) {
            fewest = count;
            best_starts = starts;
            *ret_lost = lost;
        }
    }
    return fewest;
}

static uint64_t bit_of(const struct check *check, unsigned gi)
{
    struct mig_layout one = {.model = check->layout->model, .gi_count = 1};

    one.gis[0] = check->layout->gis[gi];
    return oracle_state_of(check->oracle, &one);
}

static const char *check_blockers(const struct check *check)
{
    const struct mig_certificate *certificate = check->certificate;
    uint8_t in_use[MIG_PROFILE_MAX], gone[MIG_PROFILE_MAX], moves[MIG_PROFILE_MAX] = {0};
    uint64_t lost = 0, claimed = 0;
    int fewest = fewest_lost(check, &lost);

    if (fewest <= 0) {
        return "it is called blocked, but it is not";
    }
    for (unsigned i = 0; i < certificate->blocker_count; i++) {
        const struct mig_gi *gi = &check->layout->gis[certificate->blockers[i]];

        if (certificate->blockers[i] >= check->layout->gi_count) {
            return "a blocker that is not there";
        }
        claimed |= bit_of(check, certificate->blockers[i]);
        moves[gi->profile] = (uint8_t)(moves[gi->profile] + certificate->blocker_moves[i]);
        if (i > 0 && certificate->blocker_moves[i - 1] > certificate->blocker_moves[i]) {
            return "those that end are not named first";
        }
    }
    if (certificate->blocker_count != fewest || (claimed & ~check->in_use)) {
        return "the blockers are not the fewest in use";
    }
    if (claimed != lost) {
        return "the blockers are not those with the lowest starts";
    }
    oracle_counts(check->oracle, check->in_use, in_use);
    oracle_counts(check->oracle, claimed, gone);
    for (unsigned i = 0; i < MIG_PROFILE_MAX; i++) {
        int places = check->wanted[i] - (in_use[i] - gone[i]); /* of those that stay */

        if (moves[i] != (gone[i] < places ? gone[i] : places)) {
            return "it is wrong about which blockers move";
        }
    }
    return NULL;
}

/* How much of the target the i-th state holds at most. */
static unsigned held(const struct check *check, size_t i)
{
    const uint8_t *counts = check->oracle->counts[i];
    unsigned total = 0;

    for (unsigned j = 0; j < MIG_PROFILE_MAX; j++) {
        total += counts[j] < check->wanted[j] ? counts[j] : check->wanted[j];
    }
    return total;
}

static const char *check_nearest(const struct check *check, const struct mig_target *target)
{
    const struct mig_certificate *certificate = check->certificate;
    uint64_t nearest = oracle_state_of(check->oracle, &certificate->nearest);
    uint8_t counts[MIG_PROFILE_MAX], in_use[MIG_PROFILE_MAX], placed[MIG_PROFILE_MAX];
    unsigned most = 0;

    if (check->in_use & ~nearest) {
        return "the nearest does without something in use";
    }
    memcpy(placed, check->wanted, sizeof(placed));
    for (unsigned i = 0; i < certificate->unplaced_count; i++) {
        if (certificate->unplaced[i] >= target->gi_count ||
            (i > 0 && certificate->unplaced[i - 1] >= certificate->unplaced[i])) {
            return "unplaced instances are not in order";
        }
        placed[target->gis[certificate->unplaced[i]].profile]--;
    }
    oracle_counts(check->oracle, nearest, counts);
    oracle_counts(check->oracle, check->in_use, in_use);
    for (unsigned i = 0; i < MIG_PROFILE_MAX; i++) {
        if (counts[i] < placed[i] || counts[i] < in_use[i] || counts[i] > placed[i] + in_use[i]) {
            return "the nearest is not what stays and what has a place";
        }
    }
    for (size_t i = 0; i < check->oracle->state_count; i++) {
        if (!(check->in_use & ~check->oracle->states[i]) && held(check, i) > most) {
            most = held(check, i);
        }
    }
    return most == check->wanted_total - certificate->unplaced_count
               ? NULL
               : "the nearest does not hold the most of the target";
}

const char *certificate_check(const struct oracle *oracle, const struct mig_layout *layout,
                              uint64_t in_use, const struct mig_target *target, int result,
                              const struct mig_certificate *certificate)
{
    struct check check = {.oracle = oracle,
                          .layout = layout,
                          .in_use = in_use,
                          .wanted_total = target->gi_count,
                          .certificate = certificate};
    uint64_t lost = 0;
    bool fits;

    for (unsigned i = 0; i < target->gi_count; i++) {
        check.wanted[target->gis[i].profile]++;
    }
    fits = fewest_lost(&check, &lost) >= 0;
    if (certificate->kind != (fits ? MIG_REFUSAL_BLOCKED : MIG_REFUSAL_TOO_MUCH)) {
        return "it is wrong about whether the target fits on an empty GPU";
    }
    if (result != (fits ? MIG_E_BUSY : MIG_E_NO_FIT)) {
        return "the code is not that of the certificate";
    }
    if (fits) {
        const char *problem = check_blockers(&check);

        if (problem) {
            return problem;
        }
    } else if (certificate->blocker_count > 0) {
        return "blockers of what cannot fit anyway";
    }
    return check_nearest(&check, target);
}
