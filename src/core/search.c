/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Depth-first search over all ways to place the target.
 *
 * Target instances that are alike form a group and take ascending starts, so that every placed
 * state is met once and no creation order is ever tried: 12 wanted instances are one walk, not
 * 7,920 permutations. Groups go larger first. Costs only grow on the way down, so a branch ends as
 * soon as what it has cost already is no better than the best answer; and since candidates come in
 * ascending starts and only a better answer replaces the best, ties go to the lowest starts.
 *
 * An A100 has 723 placed states (2,319 with +me), so a walk is some microseconds. Tables from a
 * driver could describe something far larger: the number of steps has a limit.
 */
#include "core/search.h"
#include <string.h>

#define STEP_MAX (1u << 20)

/* What is decided on the way from the root to a node. */
struct walk {
    struct mig_occupancy occupancy;
    uint32_t kept;       /* bit i: layout->gis[i] is one of the target's */
    uint32_t disturbed;  /* bit i: kept, but loses CIs in use */
    uint32_t overlapped; /* bit i: something new lies on it */
    uint32_t cost[MIG_COST_COUNT];
    struct mig_search_slot slots[MIG_GI_MAX]; /* per target instance */
};

static uint32_t bit(unsigned index)
{
    return UINT32_C(1) << index;
}

static unsigned popcount(uint32_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}

/* ---- setting up ------------------------------------------------------------------------------ */

static bool group_takes(const struct mig_search_group *group, const struct mig_target_gi *wanted,
                        const struct mig_ci_set *cis)
{
    return group->profile == wanted->profile && group->start == wanted->start &&
           mig_ci_set_equal(&group->cis, cis);
}

/* Larger first; then by profile, and fixed starts before free ones. */
static bool group_before(const struct mig_model *model, const struct mig_search_group *a,
                         const struct mig_search_group *b)
{
    const struct mig_profile *first = &model->profiles[a->profile];
    const struct mig_profile *second = &model->profiles[b->profile];

    if (first->size != second->size) {
        return first->size > second->size;
    }
    if (first->slice_count != second->slice_count) {
        return first->slice_count > second->slice_count;
    }
    if (a->profile != b->profile) {
        return a->profile < b->profile;
    }
    return a->start < b->start;
}

static void add_to_groups(struct mig_search *search, const struct mig_target_gi *wanted,
                          unsigned target)
{
    struct mig_search_group *group;
    struct mig_ci_set cis = mig_ci_set_make(wanted->ci_profiles, wanted->ci_count);

    for (unsigned i = 0; i < search->group_count; i++) {
        if (group_takes(&search->groups[i], wanted, &cis)) {
            group = &search->groups[i];
            group->targets[group->count++] = (uint8_t)target;
            return;
        }
    }
    group = &search->groups[search->group_count++];
    group->profile = wanted->profile;
    group->start = wanted->start;
    group->cis = cis;
    group->candidate_count = 0;
    group->count = 1;
    group->targets[0] = (uint8_t)target;
}

static void order_groups(struct mig_search *search)
{
    const struct mig_model *model = search->layout->model;

    for (unsigned i = 1; i < search->group_count; i++) {
        struct mig_search_group group = search->groups[i];
        unsigned at = i;

        for (; at > 0 && group_before(model, &group, &search->groups[at - 1]); at--) {
            search->groups[at] = search->groups[at - 1];
        }
        search->groups[at] = group;
    }
}

static void add_candidate(struct mig_search_group *group, unsigned start, int existing)
{
    unsigned at = group->candidate_count;

    if (at == MIG_UNIT_MAX) {
        return; /* a table cannot have as many starts, units are fewer */
    }
    for (; at > 0 && group->candidates[at - 1].start > start; at--) {
        group->candidates[at] = group->candidates[at - 1];
    }
    group->candidates[at] = (struct mig_search_slot){true, (uint8_t)start, (int16_t)existing};
    group->candidate_count++;
}

/* Where instances of a group may go: on an instance that is there, or anew on a start. */
static void find_candidates(struct mig_search *search, unsigned index)
{
    struct mig_search_group *group = &search->groups[index];
    const struct mig_layout *layout = search->layout;
    const struct mig_profile *profile = &layout->model->profiles[group->profile];
    uint32_t taken = 0;

    group->anew = mig_ci_change_make(profile, NULL, 0, &group->cis);
    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        struct mig_ci_change *change = &search->changes[i][index];

        change->possible = false;
        if (gi->profile == group->profile &&
            (group->start == MIG_START_ANY || group->start == gi->start)) {
            *change = mig_ci_change_make(profile, gi, search->in_use[i], &group->cis);
        }
        if (change->possible) {
            add_candidate(group, gi->start, (int)i);
            search->useless &= ~bit(i);
            taken |= gi->start < MIG_UNIT_MAX ? bit(gi->start) : 0;
        }
    }
    for (unsigned i = 0; search->placeable && group->anew.possible && i < profile->start_count;
         i++) {
        unsigned start = profile->starts[i];

        if ((group->start == MIG_START_ANY || group->start == start) && start < MIG_UNIT_MAX &&
            !(taken & bit(start))) {
            add_candidate(group, start, MIG_UNKNOWN);
        }
    }
}

void mig_search_init(struct mig_search *search, const struct mig_layout *layout,
                     const struct mig_target *target, uint32_t hard, uint32_t soft)
{
    struct mig_occupancy empty = {0};

    search->layout = layout;
    search->placeable = mig_model_is_placeable(layout->model);
    search->hard = hard;
    search->soft = soft;
    search->useless = bit(layout->gi_count) - 1;
    search->empty_pairs = mig_place_pairs(layout->model, &empty);
    search->group_count = 0;
    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        search->in_use[i] = (uint8_t)mig_ci_in_use_mask(gi, ((hard | soft) >> i & 1u) != 0);
        search->masks[i] = mig_place_mask(&layout->model->profiles[gi->profile], gi->start);
    }
    for (unsigned i = 0; i < target->gi_count; i++) {
        add_to_groups(search, &target->gis[i], i);
    }
    order_groups(search);
    for (unsigned i = 0; i < search->group_count; i++) {
        find_candidates(search, i);
    }
}

unsigned mig_search_group_of(const struct mig_search *search, unsigned target)
{
    for (unsigned i = 0; i < search->group_count; i++) {
        for (unsigned j = 0; j < search->groups[i].count; j++) {
            if (search->groups[i].targets[j] == target) {
                return i;
            }
        }
    }
    return 0;
}

/* ---- costs ----------------------------------------------------------------------------------- */

static bool is_better(const uint32_t *cost, const uint32_t *than)
{
    for (unsigned i = 0; i < MIG_COST_COUNT; i++) {
        if (cost[i] != than[i]) {
            return cost[i] < than[i];
        }
    }
    return false;
}

/* Sets the costs that follow from which instances are no part of the target. */
static void price(const struct mig_search *search, struct walk *walk, uint32_t gone)
{
    uint32_t touched = gone | walk->disturbed;

    walk->cost[MIG_COST_HARD] = popcount(search->hard & touched);
    walk->cost[MIG_COST_SOFT] = popcount(search->soft & touched);
    walk->cost[MIG_COST_GI_DESTROY] = popcount(gone);
}

/* Smaller for the set with the lower starts; among sets of one size only. */
static uint32_t rank_of_set(const struct mig_layout *layout, uint32_t set)
{
    uint32_t starts = 0;

    for (unsigned i = 0; i < layout->gi_count; i++) {
        if (set >> i & 1u) {
            starts |= bit(31) >> (layout->gis[i].start % MIG_UNIT_MAX);
        }
    }
    return ~starts;
}

/* At least so many of the target, from `group` and `item` on, find no units. */
static unsigned least_unplaced(const struct mig_search *search, const struct walk *walk,
                               unsigned group, unsigned item)
{
    const struct mig_model *model = search->layout->model;
    unsigned units = model->unit_count - popcount(walk->occupancy.mask);
    unsigned unplaced = 0, free_of_charge = 0;

    if (!search->placeable) {
        return 0;
    }
    if (search->mode == MIG_SEARCH_NEAREST) {
        free_of_charge = popcount(search->hard & ~walk->kept); /* their units are counted */
    }
    for (unsigned i = search->group_count; i-- > group;) {
        const struct mig_search_group *wanted = &search->groups[i];
        unsigned size = model->profiles[wanted->profile].size;
        unsigned count = wanted->count - (i == group ? item : 0);
        unsigned fitting = units / size < count ? units / size : count;

        units -= fitting * size;
        unplaced += count - fitting;
    }
    return unplaced > free_of_charge ? unplaced - free_of_charge : 0;
}

static void finish(struct mig_search *search, struct walk *walk)
{
    const struct mig_layout *layout = search->layout;
    uint32_t gone = (bit(layout->gi_count) - 1) & ~walk->kept;
    uint32_t hard_disturbed = 0;

    price(search, walk, gone);
    if (search->mode == MIG_SEARCH_FULL) {
        hard_disturbed = search->hard & (gone | walk->disturbed);
        walk->cost[MIG_COST_HARD_SET] = hard_disturbed ? rank_of_set(layout, hard_disturbed) : 0;
    }
    walk->cost[MIG_COST_FUTURE] =
        search->empty_pairs - mig_place_pairs(layout->model, &walk->occupancy);
    if (search->found && !is_better(walk->cost, search->best)) {
        return;
    }
    search->found = true;
    search->hard_disturbed = hard_disturbed;
    memcpy(search->best, walk->cost, sizeof(search->best));
    memcpy(search->slots, walk->slots, sizeof(search->slots));
}

/* ---- the walk -------------------------------------------------------------------------------- */

/* False when a target instance of `group` cannot go there. */
static bool take(const struct mig_search *search, struct walk *walk, unsigned group,
                 const struct mig_search_slot *slot)
{
    const struct mig_layout *layout = search->layout;
    unsigned profile = search->groups[group].profile;
    uint32_t self = slot->existing >= 0 ? bit((unsigned)slot->existing) : 0;
    bool stays = search->mode == MIG_SEARCH_NEAREST && (self & search->hard);
    uint32_t mask;

    if (self & walk->kept) {
        return false;
    }
    if (self) {
        const struct mig_ci_change *change = &search->changes[slot->existing][group];

        if (stays && change->in_use_lost > 0) {
            return false;
        }
        walk->kept |= self;
        walk->disturbed |= change->in_use_lost > 0 ? self : 0;
        walk->cost[MIG_COST_CI_DESTROY] += change->destroy_count;
        walk->cost[MIG_COST_CI_CREATE] += change->create_count;
    }
    if (stays) {
        return true; /* it is in the occupancy from the beginning */
    }
    if (search->placeable &&
        !mig_place_fits(layout->model, &walk->occupancy, profile, slot->start)) {
        return false;
    }
    mig_place_add(layout->model, &walk->occupancy, profile, slot->start);
    mask = mig_place_mask(&layout->model->profiles[profile], slot->start);
    for (unsigned i = 0; i < layout->gi_count; i++) {
        walk->overlapped |= (search->masks[i] & mask) && bit(i) != self ? bit(i) : 0;
    }
    return true;
}

static void descend(struct mig_search *search, const struct walk *walk, unsigned group,
                    unsigned item, unsigned from);

/* Places the item-th of `group` on its candidate `at`, and goes on. */
static void try_candidate(struct mig_search *search, const struct walk *walk, unsigned group,
                          unsigned item, unsigned at)
{
    const struct mig_search_group *wanted = &search->groups[group];
    struct walk next = *walk;

    if (!take(search, &next, group, &wanted->candidates[at])) {
        return;
    }
    next.slots[wanted->targets[item]] = wanted->candidates[at];
    price(search, &next, next.overlapped | search->useless);
    descend(search, &next, group, item + 1, at + 1);
}

/* Leaves the rest of a group without a place. */
static void skip_rest(struct mig_search *search, const struct walk *walk, unsigned group,
                      unsigned item)
{
    const struct mig_search_group *wanted = &search->groups[group];
    struct walk next = *walk;

    next.cost[MIG_COST_UNPLACED] += wanted->count - item;
    for (unsigned i = item; i < wanted->count; i++) {
        next.slots[wanted->targets[i]].placed = false;
    }
    descend(search, &next, group + 1, 0, 0);
}

/*
 * One node: the items of `group` before `item` have a place, the next may take candidates from
 * `from` on. The depth is at most the number of target instances and groups.
 */
static void descend(struct mig_search *search, const struct walk *walk, unsigned group,
                    unsigned item, unsigned from)
{
    uint32_t bound[MIG_COST_COUNT];
    unsigned unplaced;

    if (++search->step_count > STEP_MAX) {
        search->given_up = true;
        return;
    }
    while (group < search->group_count && item == search->groups[group].count) {
        group++;
        item = 0;
        from = 0;
    }
    if (group == search->group_count) {
        struct walk leaf = *walk;

        finish(search, &leaf);
        return;
    }
    unplaced = least_unplaced(search, walk, group, item);
    if (search->mode == MIG_SEARCH_FULL && unplaced > 0) {
        return;
    }
    memcpy(bound, walk->cost, sizeof(bound));
    bound[MIG_COST_UNPLACED] += unplaced;
    if (search->found && !is_better(bound, search->best)) {
        return;
    }
    for (unsigned i = from; i < search->groups[group].candidate_count; i++) {
        try_candidate(search, walk, group, item, i);
    }
    if (search->mode == MIG_SEARCH_NEAREST) {
        skip_rest(search, walk, group, item);
    }
}

void mig_search_run(struct mig_search *search, enum mig_search_mode mode)
{
    const struct mig_layout *layout = search->layout;
    struct walk walk = {0};

    search->mode = mode;
    search->found = false;
    search->given_up = false;
    search->step_count = 0;
    search->hard_disturbed = 0;
    for (unsigned i = 0; mode == MIG_SEARCH_NEAREST && i < layout->gi_count; i++) {
        if (search->hard >> i & 1u) {
            mig_place_add(layout->model, &walk.occupancy, layout->gis[i].profile,
                          layout->gis[i].start);
        }
    }
    price(search, &walk, search->useless);
    descend(search, &walk, 0, 0, 0);
}
