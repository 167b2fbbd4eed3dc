/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preferred allocation: devices are taken one after the other, each time the one with the
 * lowest cost, and what was taken changes the cost of the others.
 *
 * How full a GPU is follows from the table and the request: what the resource has on the GPU and is
 * not available is taken. Instances of other resources on the GPU count as room that is gone
 * already, so that a GPU with fewer free devices is filled first.
 */
#include "deviceplugin/preferred.h"
#include "base/cleanup.h"
#include <stdlib.h>
#include <string.h>

/* A device that can be chosen. */
struct candidate {
    const char *id;
    const struct mig_dp_slice *slice; /* NULL: not in the table; taken last */
    bool chosen;
};

struct chooser {
    const struct mig_dp_preference *preference;
    struct candidate *candidates; /* in table order, so that ties are broken the same way always */
    size_t count, chosen_count;
    uint32_t *free; /* of each slice of the table: its candidates that are not chosen */
};

/* Lower is better; compared member by member. */
struct cost {
    uint32_t unknown, unhealthy, replica, other_gpu, other_numa, free_on_gpu, free_neighbours;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;

    if (left->slice != right->slice) {
        if (!left->slice || !right->slice) {
            return left->slice ? -1 : 1;
        }
        return left->slice < right->slice ? -1 : 1;
    }
    if (strlen(left->id) != strlen(right->id)) {
        return strlen(left->id) < strlen(right->id) ? -1 : 1; /* ::2 before ::10 */
    }
    return strcmp(left->id, right->id);
}

/* There may be thousands of replicas: they are counted once, not for each choice. */
static uint32_t *free_of(const struct chooser *chooser, const struct mig_dp_slice *slice)
{
    return &chooser->free[slice - chooser->preference->table->slices];
}

static bool same_gpu(const struct mig_dp_slice *a, const struct mig_dp_slice *b)
{
    return strcmp(a->gpu_uuid, b->gpu_uuid) == 0;
}

/* Sets what depends on the devices that are chosen already. */
static void cost_of_company(const struct chooser *chooser, const struct mig_dp_slice *slice,
                            struct cost *cost)
{
    for (size_t i = 0; i < chooser->count; i++) {
        const struct candidate *other = &chooser->candidates[i];

        if (other->chosen && other->slice) {
            cost->other_gpu += !same_gpu(other->slice, slice);
            cost->other_numa += other->slice->numa != slice->numa;
        }
    }
}

/* Sets what depends on what is still free on the GPU. */
static void cost_of_room(const struct chooser *chooser, const struct mig_dp_slice *slice,
                         struct cost *cost)
{
    const struct mig_dp_slice *last = NULL;

    for (size_t i = 0; i < chooser->count; i++) {
        const struct candidate *other = &chooser->candidates[i];

        /* candidates are in order: replicas of one slice stand together and count once */
        if (other->chosen || !other->slice || other->slice == last ||
            !same_gpu(other->slice, slice)) {
            continue;
        }
        last = other->slice;
        cost->free_on_gpu++;
        cost->free_neighbours += other->slice->start + other->slice->size == slice->start ||
                                 slice->start + slice->size == other->slice->start;
    }
}

static struct cost cost_of(const struct chooser *chooser, const struct candidate *candidate)
{
    const struct mig_dp_slice *slice = candidate->slice;
    struct cost cost = {0};
    uint32_t taken;

    if (!slice) {
        cost.unknown = 1;
        return cost;
    }
    cost.unhealthy = slice->unhealthy;
    if (slice->replicas > 0) {
        taken = slice->replicas - *free_of(chooser, slice);
        cost.replica = chooser->preference->packed ? slice->replicas - taken : taken;
        return cost;
    }
    cost_of_company(chooser, slice, &cost);
    cost_of_room(chooser, slice, &cost);
    return cost;
}

static bool is_cheaper(const struct cost *a, const struct cost *b)
{
    const uint32_t left[] = {a->unknown,    a->unhealthy,   a->replica,        a->other_gpu,
                             a->other_numa, a->free_on_gpu, a->free_neighbours};
    const uint32_t right[] = {b->unknown,    b->unhealthy,   b->replica,        b->other_gpu,
                              b->other_numa, b->free_on_gpu, b->free_neighbours};

    for (size_t i = 0; i < MIG_ARRAY_SIZE(left); i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i];
        }
    }
    return false;
}

/* How many devices are free on the candidate's GPU, itself too. */
static uint32_t room_on_gpu(const struct chooser *chooser, const struct candidate *candidate)
{
    struct cost cost = {0};

    if (candidate->slice) {
        cost_of_room(chooser, candidate->slice, &cost);
    }
    return cost.free_on_gpu;
}

/*
 * The cheapest candidate. The first of several is rather taken on a GPU that has room for all of
 * them: the fullest of those.
 */
static struct candidate *cheapest(const struct chooser *chooser, size_t wanted)
{
    struct candidate *best = NULL;
    struct cost best_cost = {0};
    bool best_fits = false;
    const struct mig_dp_slice *last = NULL;

    for (size_t i = 0; i < chooser->count; i++) {
        struct candidate *candidate = &chooser->candidates[i];
        struct cost cost;
        bool fits;

        /* free replicas of one slice cost the same: the first stands for them */
        if (candidate->chosen || (candidate->slice && candidate->slice == last)) {
            continue;
        }
        last = candidate->slice;
        cost = cost_of(chooser, candidate);
        fits = chooser->chosen_count > 0 || !candidate->slice || candidate->slice->replicas > 0 ||
               candidate->slice->unhealthy || room_on_gpu(chooser, candidate) >= wanted;
        if (!best || (fits && !best_fits) || (fits == best_fits && is_cheaper(&cost, &best_cost))) {
            best = candidate;
            best_cost = cost;
            best_fits = fits;
        }
    }
    return best;
}

static size_t take(struct chooser *chooser, const char **chosen, struct candidate *candidate)
{
    candidate->chosen = true;
    if (candidate->slice) {
        --*free_of(chooser, candidate->slice);
    }
    chosen[chooser->chosen_count++] = candidate->id;
    return chooser->chosen_count;
}

static struct candidate *find_candidate(const struct chooser *chooser, const char *id)
{
    const struct mig_dp_preference *preference = chooser->preference;
    const struct candidate wanted = {
        .id = id, .slice = mig_dp_table_device(preference->table, preference->resource, id)};

    return bsearch(&wanted, chooser->candidates, chooser->count, sizeof(wanted),
                   compare_candidates);
}

/* Those that must be included come first, also when they are not among the available ones. */
static void take_required(struct chooser *chooser, const char **chosen)
{
    const struct mig_dp_preference *preference = chooser->preference;

    for (size_t i = 0; i < preference->must_include_count; i++) {
        struct candidate *candidate = find_candidate(chooser, preference->must_include[i]);

        if (chooser->chosen_count >= preference->size) {
            return;
        }
        if (!candidate) {
            chosen[chooser->chosen_count++] = preference->must_include[i];
        } else if (!candidate->chosen) {
            take(chooser, chosen, candidate);
        }
    }
}

static size_t first_ones(const struct mig_dp_preference *preference, const char **chosen)
{
    size_t count = 0;

    for (size_t i = 0; i < preference->must_include_count && count < preference->size; i++) {
        chosen[count++] = preference->must_include[i];
    }
    for (size_t i = 0; i < preference->available_count && count < preference->size; i++) {
        bool there = false;

        for (size_t j = 0; j < count && !there; j++) {
            there = strcmp(chosen[j], preference->available[i]) == 0;
        }
        if (!there) {
            chosen[count++] = preference->available[i];
        }
    }
    return count;
}

size_t mig_dp_prefer(const struct mig_dp_preference *preference, const char **chosen)
{
    MIG_AUTO_FREE struct candidate *candidates =
        calloc(preference->available_count + 1, sizeof(*candidates));
    MIG_AUTO_FREE uint32_t *free_counts =
        calloc((size_t)preference->table->slice_count + 1, sizeof(*free_counts));
    struct chooser chooser = {.preference = preference,
                              .candidates = candidates,
                              .count = preference->available_count,
                              .free = free_counts};

    if (!candidates || !free_counts || !preference->resource) {
        return first_ones(preference, chosen);
    }
    for (size_t i = 0; i < chooser.count; i++) {
        const char *id = preference->available[i];

        candidates[i] = (struct candidate){
            .id = id, .slice = mig_dp_table_device(preference->table, preference->resource, id)};
        if (candidates[i].slice) {
            ++*free_of(&chooser, candidates[i].slice);
        }
    }
    qsort(candidates, chooser.count, sizeof(candidates[0]), compare_candidates);
    take_required(&chooser, chosen);
    while (chooser.chosen_count < preference->size) {
        struct candidate *candidate = cheapest(&chooser, preference->size - chooser.chosen_count);

        if (!candidate) {
            break;
        }
        take(&chooser, chosen, candidate);
    }
    return chooser.chosen_count;
}
