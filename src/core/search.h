/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exact search behind the planner and its certificates.
 *
 * One search, two questions. MIG_SEARCH_FULL: all of the target on the GPU, with the fewest
 * disturbed; instances that must stay are no obstacle to it but the dearest to disturb, so its
 * answer is a plan when none of them is, and else the smallest set of blockers. MIG_SEARCH_NEAREST:
 * as much of the target as fits around what must stay.
 */
#ifndef MIG_CORE_SEARCH_H
#define MIG_CORE_SEARCH_H

#include "core/ci_change.h"
#include "core/place.h"

enum mig_search_mode { MIG_SEARCH_FULL, MIG_SEARCH_NEAREST };

/* Where one target instance goes. */
struct mig_search_slot {
    bool placed;
    uint8_t start;
    int16_t existing; /* the instance of the layout that it keeps, or MIG_UNKNOWN: a new one */
};

/* The target's GPU instances that are alike in all that matters, and so interchangeable. */
struct mig_search_group {
    uint8_t profile;
    uint8_t start; /* MIG_START_ANY, or the only one */
    struct mig_ci_set cis;
    struct mig_ci_change anew; /* how a new GPU instance gets these CIs, if it can hold them */
    uint8_t candidate_count;
    struct mig_search_slot candidates[MIG_UNIT_MAX]; /* where one may go, ascending starts */
    uint8_t count;                                   /* of target instances */
    uint8_t targets[MIG_GI_MAX];                     /* their indices, ascending */
};

/* What an answer costs: compared from the front, less is better. */
enum mig_search_cost {
    MIG_COST_UNPLACED,   /* NEAREST only */
    MIG_COST_HARD,       /* that must stay: disturbed in FULL, no part of the target in NEAREST */
    MIG_COST_HARD_SET,   /* of equally many, those at the lowest starts; FULL only */
    MIG_COST_SOFT,       /* instances in use disturbed that may be */
    MIG_COST_GI_DESTROY, /* no part of the target; after MIG_COST_HARD only idle ones differ */
    MIG_COST_CI_DESTROY, /* in GPU instances that stay */
    MIG_COST_CI_CREATE,  /* likewise; what GPU instances are created follows from the others */
    MIG_COST_FUTURE,     /* future placements lost */
    MIG_COST_COUNT
};

struct mig_search {
    const struct mig_layout *layout;
    enum mig_search_mode mode;
    bool placeable;             /* the model's placements are known: new instances can be made */
    uint32_t hard;              /* bit i: layout->gis[i] must stay undisturbed */
    uint32_t soft;              /* bit i: in use, but may go */
    uint32_t useless;           /* bit i: the target has nothing that layout->gis[i] could be */
    uint8_t in_use[MIG_GI_MAX]; /* per GPU instance, its CIs in use */
    uint32_t masks[MIG_GI_MAX]; /* per GPU instance, its units */
    unsigned empty_pairs;       /* future placements of the empty GPU */
    uint8_t group_count;
    struct mig_search_group groups[MIG_GI_MAX]; /* larger first */
    /* changes[i][g]: how layout->gis[i] becomes one of group g; not possible where profile or start
     * differ */
    struct mig_ci_change changes[MIG_GI_MAX][MIG_GI_MAX];

    /* the answer */
    bool found;
    uint32_t step_count;
    bool given_up; /* the limit of steps was reached; only tables far from any known GPU do that */
    uint32_t best[MIG_COST_COUNT];
    uint32_t hard_disturbed;                  /* bit i: layout->gis[i] */
    struct mig_search_slot slots[MIG_GI_MAX]; /* per target instance */
};

/*
 * Sets up a search: groups, what each existing instance could become. `hard` and `soft` do not
 * overlap. The indices in layout and target have to be valid.
 */
void mig_search_init(struct mig_search *search, const struct mig_layout *layout,
                     const struct mig_target *target, uint32_t hard, uint32_t soft);

/* Runs it. May be called again with the other mode. */
void mig_search_run(struct mig_search *search, enum mig_search_mode mode);

/* The group that a target instance belongs to. */
unsigned mig_search_group_of(const struct mig_search *search, unsigned target);

#endif
