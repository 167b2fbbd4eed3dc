/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why there is no plan.
 *
 * The full search has told which of three it is: no placing of the target on this GPU at all (too
 * much), one that disturbs instances in use (blocked; its answer is the smallest such set, because
 * disturbing them is what it avoids first), or a GPU whose placements nobody knows. An instance
 * that the target has no use for is in every set of blockers. The search for the nearest then fills
 * the GPU around what must stay.
 *
 * Every claim is data first (a program can check it without this code) and words second.
 */
#include "core/describe.h"
#include "core/plan_internal.h"

/* ---- blockers -------------------------------------------------------------------------------- */

/* Which blocker takes which target instance, while they are being matched. */
struct matching {
    const struct mig_search *search;
    const struct mig_target *target;
    uint32_t free;                /* bit t: target instance t is not kept for somebody else */
    int16_t taken_by[MIG_GI_MAX]; /* per target instance: index in the layout, or MIG_UNKNOWN */
};

/* Could what runs in the instance go on as target instance `wanted`, at another place? */
static bool could_become(const struct matching *matching, unsigned instance, unsigned wanted)
{
    const struct mig_gi *gi = &matching->search->layout->gis[instance];
    const struct mig_search_slot *slot = &matching->search->slots[wanted];
    unsigned group = mig_search_group_of(matching->search, wanted);
    struct mig_ci_set used = mig_ci_set_of(gi, matching->search->in_use[instance]);
    struct mig_ci_set rest;

    return (matching->free >> wanted & 1u) &&
           matching->target->gis[wanted].profile == gi->profile && slot->start != gi->start &&
           mig_ci_set_subtract(&matching->search->groups[group].cis, &used, &rest);
}

/* Finds `instance` a place, asking others to change theirs (augmenting paths). */
static bool match(struct matching *matching, unsigned instance, uint32_t *tried)
{
    for (unsigned i = 0; i < matching->target->gi_count; i++) {
        if ((*tried >> i & 1u) || !could_become(matching, instance, i)) {
            continue;
        }
        *tried |= UINT32_C(1) << i;
        if (matching->taken_by[i] < 0 || match(matching, (unsigned)matching->taken_by[i], tried)) {
            matching->taken_by[i] = (int16_t)instance;
            return true;
        }
    }
    return false;
}

/* Bits of the blockers that the target has a place for elsewhere, as many as can be at once. */
static uint32_t find_moves(const struct mig_search *search, const struct mig_target *target)
{
    const struct mig_layout *layout = search->layout;
    struct matching matching = {.search = search, .target = target};
    uint32_t moves = 0;

    for (unsigned i = 0; i < target->gi_count; i++) {
        int existing = search->slots[i].existing;

        matching.taken_by[i] = MIG_UNKNOWN;
        if (existing < 0 ||
            !((search->hard & ~search->hard_disturbed) >> (unsigned)existing & 1u)) {
            matching.free |= UINT32_C(1) << i;
        }
    }
    for (unsigned i = 0; i < layout->gi_count; i++) {
        uint32_t tried = 0;

        if ((search->hard_disturbed >> i & 1u) && match(&matching, i, &tried)) {
            moves |= UINT32_C(1) << i;
        }
    }
    return moves;
}

/* Adds a blocker: those that have to end first, then those that move; each by ascending start. */
static void add_blocker(const struct mig_layout *layout, unsigned blocker, bool moves,
                        struct mig_certificate *ret)
{
    unsigned at = ret->blocker_count++;

    for (; at > 0; at--) {
        unsigned before = ret->blockers[at - 1];

        if (ret->blocker_moves[at - 1] != moves
                ? moves
                : layout->gis[before].start < layout->gis[blocker].start) {
            break;
        }
        ret->blockers[at] = ret->blockers[at - 1];
        ret->blocker_moves[at] = ret->blocker_moves[at - 1];
    }
    ret->blockers[at] = (uint8_t)blocker;
    ret->blocker_moves[at] = moves;
}

static void list_blockers(const struct mig_search *search, const struct mig_target *target,
                          struct mig_certificate *ret)
{
    uint32_t moves = find_moves(search, target);

    for (unsigned i = 0; i < search->layout->gi_count; i++) {
        if (search->hard_disturbed >> i & 1u) {
            add_blocker(search->layout, i, (moves >> i & 1u) != 0, ret);
        }
    }
}

/* ---- words ----------------------------------------------------------------------------------- */

static void add_units_reason(struct mig_words *words, const struct mig_search *search)
{
    const struct mig_model *model = search->layout->model;
    unsigned units = 0;

    for (unsigned i = 0; i < search->group_count; i++) {
        const struct mig_search_group *group = &search->groups[i];

        units += (unsigned)group->count * model->profiles[group->profile].size;
    }
    if (units > model->unit_count) {
        mig_words_add(words, "they need %u placement units and it has %u", units,
                      model->unit_count);
    }
}

/* What one group breaks by itself: its start, its compute instances, its own limit. */
static void add_group_reason(struct mig_words *words, const struct mig_search *search,
                             const struct mig_search_group *group)
{
    const struct mig_profile *profile = &search->layout->model->profiles[group->profile];
    unsigned count = 0;

    for (unsigned i = 0; i < search->group_count; i++) {
        count += search->groups[i].profile == group->profile ? search->groups[i].count : 0;
    }
    if (count > profile->max_instances) {
        mig_words_add(words, "it can have at most %u x %s", profile->max_instances, profile->name);
    } else if (group->start != MIG_START_ANY && !mig_place_is_start(profile, group->start)) {
        mig_words_add(words, "%s cannot start at %u", profile->name, group->start);
    } else if (!group->anew.possible) {
        mig_words_add(words, "%s cannot hold these compute instances", profile->name);
    }
}

static void add_media_reason(struct mig_words *words, const struct mig_search *search)
{
    const struct mig_model *model = search->layout->model;
    struct mig_occupancy occupancy = {0};

    for (unsigned i = 0; i < search->group_count; i++) {
        for (unsigned j = 0; j < search->groups[i].count; j++) {
            if (!mig_place_allows(model, &occupancy, search->groups[i].profile)) {
                mig_words_add(words, "their media engines rule each other out (%s)",
                              model->profiles[search->groups[i].profile].name);
                return;
            }
            mig_place_add(model, &occupancy, search->groups[i].profile, 0);
        }
    }
}

/* The plainest reason why the target does not fit on an empty GPU. */
static void add_reason(struct mig_words *words, const struct mig_search *search)
{
    size_t before = words->length;

    for (unsigned i = 0; i < search->group_count && words->length == before; i++) {
        add_group_reason(words, search, &search->groups[i]);
    }
    if (words->length == before) {
        add_units_reason(words, search);
    }
    if (words->length == before) {
        add_media_reason(words, search);
    }
    if (words->length == before) {
        mig_words_add(words, "no arrangement of them has a place for all");
    }
}

static uint32_t unplaced_mask(const struct mig_certificate *certificate)
{
    uint32_t mask = 0;

    for (unsigned i = 0; i < certificate->unplaced_count; i++) {
        mask |= UINT32_C(1) << certificate->unplaced[i];
    }
    return mask;
}

/* The texts of a refusal: what was asked, what finds no place, who stays, what would fit. */
struct refusal_words {
    char asked[192], unplaced[128], blockers[192], nearest[192];
};

static void describe(const struct mig_search *search, const struct mig_target *target,
                     const struct mig_certificate *certificate, struct refusal_words *ret)
{
    const struct mig_layout *layout = search->layout;
    struct mig_words words = mig_words_start(ret->asked, sizeof(ret->asked));

    mig_describe_target(&words, layout->model, target, ~UINT32_C(0));
    words = mig_words_start(ret->unplaced, sizeof(ret->unplaced));
    mig_describe_target(&words, layout->model, target, unplaced_mask(certificate));
    words = mig_words_start(ret->nearest, sizeof(ret->nearest));
    mig_describe_layout(&words, &certificate->nearest, ~UINT32_C(0));
    words = mig_words_start(ret->blockers, sizeof(ret->blockers));
    for (unsigned i = 0; i < certificate->blocker_count; i++) {
        mig_words_separate(&words, ", ");
        mig_describe_gi(&words, layout->model, &layout->gis[certificate->blockers[i]]);
        mig_words_add(&words, certificate->blocker_moves[i] ? " (has to move)" : " (has to end)");
    }
}

static int say_no_table(const struct mig_search *search, const struct refusal_words *words,
                        struct mig_error *error)
{
    const char *name = search->layout->model->name;

    mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_PLAN, MIG_REFUSAL_NO_TABLE,
                  "cannot plan %s on %s: its placements are not known, so only instances that "
                  "are there can be kept",
                  words->asked, name);
    return mig_error_hint(error, MIG_E_NO_FIT,
                          "run where the driver of a %s can be asked for its placements", name);
}

static int say_too_much(const struct mig_search *search, const struct refusal_words *words,
                        struct mig_error *error)
{
    char reason[160];
    struct mig_words text = mig_words_start(reason, sizeof(reason));

    add_reason(&text, search);
    mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_PLAN, MIG_REFUSAL_TOO_MUCH,
                  "%s cannot fit on %s, even when it is empty: %s; no place for %s", words->asked,
                  search->layout->model->name, reason, words->unplaced);
    return mig_error_hint(error, MIG_E_NO_FIT,
                          "ask for less, or spread it over more GPUs; nearest that fits: %s",
                          words->nearest);
}

const char *mig_plan_holder(const struct mig_gi *gi)
{
    if (gi->holder[0]) {
        return gi->holder;
    }
    return gi->in_use ? "a user that is not known" : "protected";
}

static void add_holders(const struct mig_layout *layout, const struct mig_certificate *certificate,
                        struct mig_error *error)
{
    for (unsigned i = 0; i < certificate->blocker_count; i++) {
        const struct mig_gi *gi = &layout->gis[certificate->blockers[i]];

        mig_error_add_holder(error, "%s at %u: %s", layout->model->profiles[gi->profile].name,
                             gi->start, mig_plan_holder(gi));
    }
}

static int say_blocked(const struct mig_search *search, const struct mig_target *target,
                       const struct mig_certificate *certificate, const struct refusal_words *words,
                       struct mig_error *error)
{
    const struct mig_layout *layout = search->layout;

    if (target->gi_count == 0) {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_PLAN, MIG_REFUSAL_BLOCKED,
                      "cannot remove all instances of %s: in use: %s", layout->model->name,
                      words->blockers);
    } else if (certificate->unplaced_count > 0) {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_PLAN, MIG_REFUSAL_BLOCKED,
                      "cannot make %s on %s: no place for %s beside instances in use; the fewest "
                      "in the way: %s",
                      words->asked, layout->model->name, words->unplaced, words->blockers);
    } else {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_PLAN, MIG_REFUSAL_BLOCKED,
                      "cannot make %s on %s: instances in use are not part of it: %s", words->asked,
                      layout->model->name, words->blockers);
    }
    add_holders(layout, certificate, error);
    return mig_error_hint(error, MIG_E_BUSY,
                          "end or drain what uses %s and try again, or ask for the nearest that "
                          "disturbs nobody: %s",
                          certificate->blocker_count > 1 ? "them" : "it", words->nearest);
}

/* ---- the certificate ------------------------------------------------------------------------- */

static int give_up(const struct mig_search *search, struct mig_error *error)
{
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_PLAN, MIG_REFUSAL_NONE,
                         "could not plan for %s: its table of placements allows more arrangements "
                         "than can be searched",
                         search->layout->model->name);
}

int mig_certificate_make(struct mig_search *search, const struct mig_target *target,
                         struct mig_certificate *ret, struct mig_error *error)
{
    struct refusal_words words;

    *ret = (struct mig_certificate){.kind = MIG_REFUSAL_TOO_MUCH};
    if (search->given_up) {
        ret->kind = MIG_REFUSAL_NONE;
        return give_up(search, error);
    }
    if (search->found) {
        ret->kind = MIG_REFUSAL_BLOCKED;
        list_blockers(search, target, ret);
    } else if (!search->placeable) {
        ret->kind = MIG_REFUSAL_NO_TABLE;
    }
    mig_search_run(search, MIG_SEARCH_NEAREST);
    if (search->given_up) {
        *ret = (struct mig_certificate){.kind = MIG_REFUSAL_NONE};
        return give_up(search, error);
    }
    mig_plan_result(search, &ret->nearest, NULL);
    for (unsigned i = 0; i < target->gi_count; i++) {
        if (!search->slots[i].placed) {
            ret->unplaced[ret->unplaced_count++] = (uint8_t)i;
        }
    }
    describe(search, target, ret, &words);
    switch (ret->kind) {
    case MIG_REFUSAL_NO_TABLE:
        return say_no_table(search, &words, error);
    case MIG_REFUSAL_BLOCKED:
        return say_blocked(search, target, ret, &words, error);
    case MIG_REFUSAL_TOO_MUCH:
    case MIG_REFUSAL_NONE:
        break;
    }
    return say_too_much(search, &words, error);
}
