/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one rule about what may stand beside what on a GPU. Everything that searches (planner, fit,
 * free room) asks here, so that all answers agree.
 *
 * A `struct mig_occupancy` is all that matters of a layout for placing: which units are taken and
 * how many instances there are of each profile. It is small, so a search copies it or adds and
 * removes.
 */
#ifndef MIG_CORE_PLACE_H
#define MIG_CORE_PLACE_H

#include <mig/plan.h>

struct mig_occupancy {
    uint32_t mask;                   /* units taken, bit i = unit i */
    uint8_t counts[MIG_PROFILE_MAX]; /* instances per profile */
    uint8_t gi_count;
    uint8_t me_count;     /* of these +me */
    uint8_t all_me_count; /* of these +me.all */
    uint8_t no_me_count;  /* of these -me */
};

/* The units of an instance; 0 when placements of the profile are not known. */
uint32_t mig_place_mask(const struct mig_profile *profile, unsigned start);

/* True when `start` is one of the profile's starts. */
bool mig_place_is_start(const struct mig_profile *profile, unsigned start);

/* May one more instance of `profile` be there at all: its own limit and the media rules, not where.
 */
bool mig_place_allows(const struct mig_model *model, const struct mig_occupancy *occupancy,
                      unsigned profile);

/* May `profile` be placed at `start` beside what is there: legal start, free units, and allowed. */
bool mig_place_fits(const struct mig_model *model, const struct mig_occupancy *occupancy,
                    unsigned profile, unsigned start);

/* Adds or removes one instance, without asking. */
void mig_place_add(const struct mig_model *model, struct mig_occupancy *occupancy, unsigned profile,
                   unsigned start);
void mig_place_remove(const struct mig_model *model, struct mig_occupancy *occupancy,
                      unsigned profile, unsigned start);

/* What a layout takes. Its profile indices have to be valid. */
struct mig_occupancy mig_place_occupancy(const struct mig_layout *layout);

/* Pairs of profile and start that fit beside what is there, each alone. */
unsigned mig_place_pairs(const struct mig_model *model, const struct mig_occupancy *occupancy);

/* How many more of `profile` fit beside what is there. */
unsigned mig_place_room(const struct mig_model *model, const struct mig_occupancy *occupancy,
                        unsigned profile);

/*
 * Compute instances in one GPU instance: can `added` (indices into ci_profiles, at most MIG_CI_MAX
 * together with `kept`) stand beside those that stay? When they can, ret_starts (may be NULL) has a
 * start for each of them, the lowest in their order, or MIG_START_ANY where starts are not known.
 */
bool mig_place_cis(const struct mig_profile *profile, const struct mig_ci *kept, size_t kept_count,
                   const uint8_t *added, size_t added_count, uint8_t *ret_starts);

#endif
