/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the planner share. */
#ifndef MIG_CORE_PLAN_INTERNAL_H
#define MIG_CORE_PLAN_INTERNAL_H

#include "core/search.h"

/* Where an instance of the resulting layout comes from. */
struct mig_plan_origin {
    int16_t existing;      /* index in the layout planned from, or MIG_UNKNOWN: a new one */
    uint8_t kept_ci_count; /* the first so many of its CIs were there before */
};

/*
 * The layout that the search's answer leads to: the target's instances that have a place, and with
 * MIG_SEARCH_NEAREST also those that have to stay; by ascending start. `ret_origins`, parallel to
 * ret->gis, may be NULL.
 */
void mig_plan_result(const struct mig_search *search, struct mig_layout *ret,
                     struct mig_plan_origin *ret_origins);

/*
 * MIG_OK when the layout can be planned from: every index is valid, and it is legal as far as the
 * model tells. Otherwise MIG_E_FAILED.
 */
int mig_plan_check_layout(const struct mig_layout *layout, struct mig_error *error);

/*
 * Splits the instances in use: those that must stay undisturbed (in use or protected), and those
 * that may go. `policy` may be NULL.
 */
void mig_plan_split_policy(const struct mig_layout *layout, const struct mig_policy *policy,
                           uint32_t *ret_hard, uint32_t *ret_soft);

/* Who is behind an instance that must stay, in words. */
const char *mig_plan_holder(const struct mig_gi *gi);

/*
 * Why there is no plan. `search` has run with MIG_SEARCH_FULL and found no plan; it is run again.
 * Returns MIG_E_NO_FIT or MIG_E_BUSY with both filled.
 */
int mig_certificate_make(struct mig_search *search, const struct mig_target *target,
                         struct mig_certificate *ret, struct mig_error *error);

#endif
