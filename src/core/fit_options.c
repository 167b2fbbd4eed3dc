/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enumeration of what one GPU can provide.
 *
 * The walk decides on every instance that is there (it stays, perhaps with other idle compute
 * instances in it, or it goes), then adds new ones, larger first and alike ones by ascending start.
 * What stays and is idle need not be given out: one end of the walk stands for every number between
 * what it creates and that plus what it has idle. So the ends are few thousand for any known GPU;
 * of those with equal counts the cheapest is kept, in a hash table.
 *
 * Kinds are taken as they come; nothing is created beyond what is wanted, since that never pays.
 */
#include "core/fit_options.h"
#include "core/plan_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPTION_MAX 16384
#define STEP_MAX (1u << 22)

/* What is decided on the way to a node. */
struct walk {
    struct mig_occupancy occupancy;
    struct mig_fit_cost cost;
    uint8_t created[MIG_FIT_KIND_MAX];
    uint8_t idle[MIG_FIT_KIND_MAX]; /* there, not in use, and staying */
    struct mig_target target;
};

struct enumeration {
    const struct mig_fit_place *place;
    const struct mig_model *model;
    bool placeable;
    unsigned empty_pairs;
    uint32_t hard, soft;        /* as in the planner */
    uint8_t in_use[MIG_GI_MAX]; /* per GPU instance, its CIs in use */
    unsigned new_count;         /* profiles that new instances may have, larger first */
    uint8_t news[MIG_FIT_KIND_MAX];
    uint32_t step_count;

    struct mig_fit_options *options;     /* filled, or NULL: */
    const struct mig_fit_option *sought; /* this one's way is looked for */
    struct walk found;
    bool done; /* found, or something is wrong */
    int error; /* errno */
};

/* ---- the set of options ---------------------------------------------------------------------- */

void mig_fit_options_release(struct mig_fit_options *options)
{
    free(options->options);
    free(options->index);
    *options = (struct mig_fit_options){0};
}

static size_t hash(const uint8_t *counts)
{
    uint32_t value = 2166136261u;

    for (unsigned i = 0; i < MIG_FIT_KIND_MAX; i++) {
        value = (value ^ counts[i]) * 16777619u;
    }
    return value ^ value >> 15;
}

static uint32_t *find_slot(const struct mig_fit_options *options, const uint8_t *counts)
{
    size_t at = hash(counts) & (options->index_size - 1);

    while (options->index[at] != 0 &&
           memcmp(options->options[options->index[at] - 1].counts, counts, MIG_FIT_KIND_MAX) != 0) {
        at = (at + 1) & (options->index_size - 1);
    }
    return &options->index[at];
}

/* Doubles the room; the table is always at most half full. */
static int grow(struct mig_fit_options *options)
{
    size_t capacity = options->capacity ? 2 * options->capacity : 64;
    struct mig_fit_option *larger;
    uint32_t *index;

    if (capacity > OPTION_MAX) {
        return E2BIG;
    }
    larger = realloc(options->options, capacity * sizeof(*larger));
    if (!larger) {
        return ENOMEM;
    }
    options->options = larger;
    options->capacity = capacity;
    index = calloc(2 * capacity, sizeof(*index));
    if (!index) {
        return ENOMEM;
    }
    free(options->index);
    options->index = index;
    options->index_size = 2 * capacity;
    for (size_t i = 0; i < options->count; i++) {
        *find_slot(options, options->options[i].counts) = (uint32_t)i + 1;
    }
    return 0;
}

static int add_option(struct mig_fit_options *options, const uint8_t *counts,
                      struct mig_fit_cost cost)
{
    uint32_t *slot;

    if (options->count == options->capacity) {
        int error = grow(options);

        if (error) {
            return error;
        }
    }
    slot = find_slot(options, counts);
    if (*slot == 0) {
        struct mig_fit_option *option = &options->options[options->count];

        memcpy(option->counts, counts, MIG_FIT_KIND_MAX);
        option->cost = cost;
        *slot = (uint32_t)++options->count;
    } else if (mig_fit_cost_less(cost, options->options[*slot - 1].cost)) {
        options->options[*slot - 1].cost = cost;
    }
    return 0;
}

/* Most devices first, then most of the first wanted kind, and so on. */
static int compare_options(const void *a, const void *b)
{
    const struct mig_fit_option *first = a, *second = b;
    unsigned first_count = 0, second_count = 0;

    for (unsigned i = 0; i < MIG_FIT_KIND_MAX; i++) {
        first_count += first->counts[i];
        second_count += second->counts[i];
    }
    if (first_count != second_count) {
        return first_count > second_count ? -1 : 1;
    }
    return -memcmp(first->counts, second->counts, MIG_FIT_KIND_MAX);
}

/* ---- ends of the walk ------------------------------------------------------------------------ */

static unsigned most_of(const struct enumeration *all, const struct walk *walk, unsigned want)
{
    unsigned most = walk->created[want] + walk->idle[want];

    return most < all->place->wants[want] ? most : all->place->wants[want];
}

/* Adds an option for every number of idle devices that could be given out. */
static int add_options(const struct enumeration *all, const struct walk *walk,
                       struct mig_fit_cost cost)
{
    uint8_t counts[MIG_FIT_KIND_MAX];
    unsigned at;

    memcpy(counts, walk->created, sizeof(counts));
    do {
        int error = add_option(all->options, counts, cost);

        if (error) {
            return error;
        }
        for (at = 0; at < MIG_FIT_KIND_MAX; at++) {
            if (counts[at] < most_of(all, walk, at)) {
                counts[at]++;
                break;
            }
            counts[at] = walk->created[at];
        }
    } while (at < MIG_FIT_KIND_MAX);
    return 0;
}

static bool is_sought(const struct enumeration *all, const struct walk *walk,
                      struct mig_fit_cost cost)
{
    for (unsigned i = 0; i < MIG_FIT_KIND_MAX; i++) {
        unsigned count = all->sought->counts[i];

        if (count < walk->created[i] || count > most_of(all, walk, i)) {
            return false;
        }
    }
    return cost.changes == all->sought->cost.changes && cost.loss == all->sought->cost.loss;
}

static void end(struct enumeration *all, const struct walk *walk)
{
    struct mig_fit_cost cost = walk->cost;

    cost.loss = all->empty_pairs - mig_place_pairs(all->model, &walk->occupancy);
    if (all->options) {
        all->error = add_options(all, walk, cost);
        all->done = all->error != 0;
    } else if (is_sought(all, walk, cost)) {
        all->found = *walk;
        all->done = true;
    }
}

/* ---- new instances --------------------------------------------------------------------------- */

/* A GPU instance that is being filled with compute instances. */
struct filling {
    unsigned profile;
    uint8_t start;
    int existing; /* index in the layout, or MIG_UNKNOWN */
    struct mig_ci kept[MIG_CI_MAX];
    uint8_t kept_count;
    uint8_t added_count;
    uint8_t added[MIG_CI_MAX];
};

static void decide_existing(struct enumeration *all, const struct walk *walk, unsigned index);
static void add_new(struct enumeration *all, const struct walk *walk, unsigned at, unsigned from);

/* The GPU instance is as it shall be: it joins the target, and the walk goes on. */
static void go_on(struct enumeration *all, const struct walk *walk, const struct filling *filling,
                  unsigned at, unsigned from)
{
    struct walk next = *walk;
    struct mig_target_gi *gi = &next.target.gis[next.target.gi_count++];

    *gi = (struct mig_target_gi){.profile = (uint8_t)filling->profile, .start = filling->start};
    for (unsigned i = 0; i < filling->kept_count; i++) {
        gi->ci_profiles[gi->ci_count++] = filling->kept[i].profile;
    }
    for (unsigned i = 0; i < filling->added_count; i++) {
        gi->ci_profiles[gi->ci_count++] = filling->added[i];
    }
    if (filling->existing >= 0) {
        next.cost.changes += filling->added_count * MIG_FIT_COST_CI_CREATE;
        decide_existing(all, &next, (unsigned)filling->existing + 1);
    } else {
        add_new(all, &next, at, from);
    }
}

/*
 * Adds wanted compute instances to the GPU instance in every way, alike ones once: kinds from
 * `kind` on. `at` and `from` say where new instances go on.
 */
static void fill(struct enumeration *all, const struct walk *walk, const struct filling *filling,
                 unsigned kind, bool has_to_add, unsigned at, unsigned from)
{
    const struct mig_fit_place *place = all->place;

    if (all->done || ++all->step_count > STEP_MAX) {
        all->error = all->done ? all->error : E2BIG;
        all->done = true;
        return;
    }
    if (!has_to_add || filling->added_count > 0) {
        go_on(all, walk, filling, at, from);
    }
    for (; kind < MIG_FIT_KIND_MAX; kind++) {
        struct filling more = *filling;
        struct walk next = *walk;

        if (!place->known[kind] || place->kinds[kind].profile != filling->profile ||
            walk->created[kind] >= place->wants[kind] ||
            filling->kept_count + filling->added_count >= MIG_CI_MAX) {
            continue;
        }
        more.added[more.added_count++] = place->kinds[kind].ci_profile;
        if (mig_place_cis(&all->model->profiles[filling->profile], more.kept, more.kept_count,
                          more.added, more.added_count, NULL)) {
            next.created[kind]++;
            fill(all, &next, &more, kind, has_to_add, at, from);
        }
    }
}

/* New instances of the at-th profile on its starts from the from-th on, then of the next ones. */
static void add_new(struct enumeration *all, const struct walk *walk, unsigned at, unsigned from)
{
    const struct mig_profile *profile;
    unsigned index;

    if (all->done) {
        return;
    }
    if (at == all->new_count) {
        end(all, walk);
        return;
    }
    index = all->news[at];
    profile = &all->model->profiles[index];
    for (unsigned i = from; i < profile->start_count; i++) {
        if (mig_place_fits(all->model, &walk->occupancy, index, profile->starts[i])) {
            struct walk next = *walk;
            struct filling filling = {
                .profile = index, .start = profile->starts[i], .existing = MIG_UNKNOWN};

            mig_place_add(all->model, &next.occupancy, index, profile->starts[i]);
            next.cost.changes += MIG_FIT_COST_GI_CREATE;
            fill(all, &next, &filling, 0, true, at, i + 1);
        }
    }
    add_new(all, walk, at + 1, 0);
}

/* ---- instances that are there ---------------------------------------------------------------- */

/* True when the compute instance is a device of the wanted kind; by name, as people count them. */
static bool is_of_kind(const struct mig_fit_place *place, unsigned kind, const struct mig_gi *gi,
                       unsigned ci)
{
    const struct mig_profile *profile = &place->gpu->layout.model->profiles[gi->profile];

    return place->known[kind] && place->kinds[kind].profile == gi->profile &&
           strcmp(profile->ci_profiles[place->kinds[kind].ci_profile].name,
                  profile->ci_profiles[gi->cis[ci].profile].name) == 0;
}

/* The GPU instance stays without the CIs in `gone`; idle ones that stay can be given out. */
static void keep_without(struct enumeration *all, const struct walk *walk, unsigned index,
                         unsigned gone)
{
    const struct mig_gi *gi = &all->place->gpu->layout.gis[index];
    struct filling filling = {.profile = gi->profile, .start = gi->start, .existing = (int)index};
    struct walk next = *walk;

    for (unsigned i = 0; i < gi->ci_count; i++) {
        bool is_used = (all->in_use[index] >> i & 1) != 0;

        if (gone >> i & 1u) {
            next.cost.changes += MIG_FIT_COST_CI_DESTROY;
            continue;
        }
        filling.kept[filling.kept_count++] = gi->cis[i];
        for (unsigned j = 0; j < MIG_FIT_KIND_MAX && !is_used; j++) {
            if (is_of_kind(all->place, j, gi, i)) {
                next.idle[j]++;
            }
        }
    }
    next.cost.changes += gone & all->in_use[index] ? MIG_FIT_COST_IN_USE : 0;
    mig_place_add(all->model, &next.occupancy, gi->profile, gi->start);
    fill(all, &next, &filling, 0, gone != 0, 0, 0);
}

/* Every way for the instances from `index` on, then new ones. */
static void decide_existing(struct enumeration *all, const struct walk *walk, unsigned index)
{
    const struct mig_layout *layout = &all->place->gpu->layout;
    const struct mig_profile *profile;
    unsigned all_cis, staying;
    bool hard;

    if (all->done) {
        return;
    }
    if (index == layout->gi_count) {
        add_new(all, walk, 0, 0);
        return;
    }
    profile = &all->model->profiles[layout->gis[index].profile];
    hard = (all->hard >> index & 1u) != 0;
    all_cis = (1u << layout->gis[index].ci_count) - 1;
    staying = hard ? all->in_use[index] : 0;
    for (unsigned gone = 0; gone <= all_cis; gone++) {
        /* where one compute profile is all there is, making room inside gains nothing */
        if (!(gone & staying) && (gone == 0 || profile->ci_profile_count > 1)) {
            keep_without(all, walk, index, gone);
        }
    }
    if (!hard) {
        struct walk next = *walk;

        next.cost.changes += MIG_FIT_COST_GI_DESTROY;
        next.cost.changes += all->soft >> index & 1u ? MIG_FIT_COST_IN_USE : 0;
        decide_existing(all, &next, index + 1);
    }
}

/* ---- the front ------------------------------------------------------------------------------- */

/* Profiles that a wanted kind needs, larger first. */
static void find_new_profiles(struct enumeration *all)
{
    const struct mig_fit_place *place = all->place;
    uint32_t seen = 0;

    for (unsigned i = 0; all->placeable && i < MIG_FIT_KIND_MAX; i++) {
        unsigned profile = place->kinds[i].profile;
        unsigned at = all->new_count;

        if (!place->known[i] || place->wants[i] == 0 || (seen >> profile & 1u)) {
            continue;
        }
        seen |= UINT32_C(1) << profile;
        for (; at > 0 &&
               all->model->profiles[all->news[at - 1]].size < all->model->profiles[profile].size;
             at--) {
            all->news[at] = all->news[at - 1];
        }
        all->news[at] = (uint8_t)profile;
        all->new_count++;
    }
}

static void prepare(struct enumeration *all, const struct mig_fit_place *place)
{
    const struct mig_layout *layout = &place->gpu->layout;
    struct mig_occupancy empty = {0};

    *all = (struct enumeration){.place = place, .model = layout->model};
    all->placeable = mig_model_is_placeable(layout->model);
    all->empty_pairs = mig_place_pairs(layout->model, &empty);
    mig_plan_split_policy(layout, &place->gpu->policy, &all->hard, &all->soft);
    for (unsigned i = 0; i < layout->gi_count; i++) {
        all->in_use[i] =
            (uint8_t)mig_ci_in_use_mask(&layout->gis[i], ((all->hard | all->soft) >> i & 1u) != 0);
    }
    find_new_profiles(all);
}

int mig_fit_options_make(const struct mig_fit_place *place, struct mig_fit_options *ret,
                         struct mig_error *error)
{
    struct enumeration all;
    struct walk walk = {.target = {0}};

    *ret = (struct mig_fit_options){0};
    prepare(&all, place);
    all.options = ret;
    decide_existing(&all, &walk, 0);
    if (all.error == E2BIG) {
        mig_fit_options_release(ret);
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_PLAN, MIG_REFUSAL_NONE,
                             "could not place the slices on %s: there are more combinations than "
                             "can be searched",
                             all.model->name);
    }
    if (all.error) {
        mig_fit_options_release(ret);
        return mig_error_set_errno(error, MIG_E_FAILED, all.error, "could not place the slices");
    }
    qsort(ret->options, ret->count, sizeof(ret->options[0]), compare_options);
    return MIG_OK;
}

bool mig_fit_option_explain(const struct mig_fit_place *place, const struct mig_fit_option *option,
                            struct mig_target *ret_target, uint16_t *ret_created)
{
    struct enumeration all;
    struct walk walk = {.target = {0}};

    prepare(&all, place);
    all.sought = option;
    decide_existing(&all, &walk, 0);
    if (!all.done || all.error) {
        return false;
    }
    *ret_target = all.found.target;
    for (unsigned i = 0; i < MIG_FIT_KIND_MAX; i++) {
        ret_created[i] = all.found.created[i];
    }
    return true;
}
