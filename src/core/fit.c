/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Placing wanted slices over the GPUs of a node.
 *
 * Each GPU alone has a list of options (fit_options.c). They are joined by dynamic programming: row
 * g of the table holds, for every vector of counts, the least cost of placing exactly these on GPUs
 * g and up. Costs are sums over GPUs, so the least cost of the whole is made of least costs of its
 * parts, and the answer is exact. Rows are made from the last GPU to the first; then the choice is
 * read from the first GPU on, where options with more devices come first, so that of equally good
 * answers the one that fills the first GPUs is taken.
 *
 * A request that cannot be met is answered by the vector with the most devices that can.
 */
#include "base/cleanup.h"
#include "core/describe.h"
#include "core/fit_options.h"
#include "core/plan_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORK_MAX (UINT64_C(1) << 31) /* steps of the dynamic programme */

/* A request, and the table being made for it. */
struct fit {
    const struct mig_fit_gpu *gpus;
    size_t gpu_count;
    const struct mig_fit_want *wants;
    size_t want_count;
    struct mig_fit_place places[MIG_FIT_GPU_MAX];
    bool usable[MIG_FIT_GPU_MAX];
    size_t like[MIG_FIT_GPU_MAX]; /* the first GPU with equal options, or itself */
    struct mig_fit_options options[MIG_FIT_GPU_MAX]; /* of the first of its like */
    uint32_t most[MIG_FIT_KIND_MAX]; /* counted up to: wanted, and what the node could hold */
    size_t stride[MIG_FIT_KIND_MAX];
    size_t cell_count;
    uint16_t *choices;         /* per GPU and cell: option taken + 1; 0 = cannot be */
    struct mig_fit_cost *cost; /* per cell, of the row made last */
    size_t best;               /* the cell of the answer */
    uint32_t placed[MIG_FIT_KIND_MAX];
    bool complete;
};

static void release(struct fit *fit)
{
    for (size_t i = 0; i < fit->gpu_count; i++) {
        mig_fit_options_release(&fit->options[i]);
    }
    free(fit->choices);
    free(fit->cost);
    free(fit);
}

MIG_DEFINE_CLEANUP(fit, struct fit, release)

static int no_memory(struct mig_error *error)
{
    return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not place the slices");
}

/* ---- what the wants mean on each GPU --------------------------------------------------------- */

static int check_request(const struct mig_fit_gpu *gpus, size_t gpu_count, size_t want_count,
                         struct mig_error *error)
{
    if (gpu_count > MIG_FIT_GPU_MAX || want_count > MIG_FIT_KIND_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "%zu kinds of slices on %zu GPUs are more than can be placed at once "
                             "(%d on %d)",
                             want_count, gpu_count, MIG_FIT_KIND_MAX, MIG_FIT_GPU_MAX);
    }
    for (size_t i = 0; i < gpu_count; i++) {
        const struct mig_layout *layout = &gpus[i].layout;

        if (gpus[i].usable && layout->model && mig_plan_check_layout(layout, error) != MIG_OK) {
            mig_error_prefix(error, "GPU %zu", i);
            return MIG_E_FAILED;
        }
    }
    return MIG_OK;
}

/* Two wants of one kind would be counted twice. */
static int check_distinct(const struct fit *fit, const struct mig_fit_place *place, size_t want,
                          struct mig_error *error)
{
    for (size_t i = 0; i < want; i++) {
        if (place->known[i] && place->kinds[i].profile == place->kinds[want].profile &&
            place->kinds[i].ci_profile == place->kinds[want].ci_profile) {
            mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                          "'%s' and '%s' are the same kind of slice", fit->wants[i].name,
                          fit->wants[want].name);
            return mig_error_hint(error, MIG_E_USAGE,
                                  "ask for it once, with the sum of the counts");
        }
    }
    return MIG_OK;
}

/* Resolves one want on every usable GPU. When none has it, *ret_none holds why. */
static int resolve_want(struct fit *fit, size_t want, struct mig_error *ret_none,
                        struct mig_error *error)
{
    struct mig_error reason;
    bool known = false;

    for (size_t i = 0; i < fit->gpu_count; i++) {
        struct mig_fit_place *place = &fit->places[i];
        int result;

        if (!fit->usable[i]) {
            continue;
        }
        result = mig_profile_resolve(fit->gpus[i].layout.model, fit->wants[want].name,
                                     &place->kinds[want], &reason);
        if (result == MIG_OK) {
            uint32_t count = fit->wants[want].count;

            place->known[want] = true;
            place->wants[want] =
                (uint8_t)(count < MIG_GI_MAX * MIG_CI_MAX ? count : MIG_GI_MAX * MIG_CI_MAX);
            known = true;
            result = check_distinct(fit, place, want, &reason);
        } else if (result == MIG_E_NO_FIT) {
            result = MIG_OK;
        }
        if (result != MIG_OK) {
            if (error) {
                *error = reason;
            }
            return result;
        }
    }
    if (!known && fit->wants[want].count > 0 && !ret_none->message[0]) {
        *ret_none = reason;
    }
    return MIG_OK;
}

static bool same_gi(const struct mig_gi *a, const struct mig_gi *b)
{
    bool same = a->profile == b->profile && a->start == b->start && a->in_use == b->in_use &&
                a->ci_count == b->ci_count;

    for (unsigned i = 0; same && i < a->ci_count; i++) {
        same = a->cis[i].profile == b->cis[i].profile && a->cis[i].start == b->cis[i].start &&
               a->cis[i].in_use == b->cis[i].in_use;
    }
    return same;
}

static bool same_options(const struct mig_fit_gpu *a, const struct mig_fit_gpu *b)
{
    bool same = a->layout.model == b->layout.model && a->layout.gi_count == b->layout.gi_count &&
                a->policy.may_go == b->policy.may_go && a->policy.protect == b->policy.protect;

    for (unsigned i = 0; same && i < a->layout.gi_count; i++) {
        same = same_gi(&a->layout.gis[i], &b->layout.gis[i]);
    }
    return same;
}

static const struct mig_fit_options *options_of(const struct fit *fit, size_t gpu)
{
    return &fit->options[fit->like[gpu]];
}

static int list_options(struct fit *fit, struct mig_error *error)
{
    for (size_t i = 0; i < fit->gpu_count; i++) {
        size_t like = i;
        int result;

        for (size_t j = 0; fit->usable[i] && like == i && j < i; j++) {
            if (fit->usable[j] && same_options(&fit->gpus[j], &fit->gpus[i])) {
                like = j;
            }
        }
        fit->like[i] = like;
        if (!fit->usable[i] || like != i) {
            continue;
        }
        result = mig_fit_options_make(&fit->places[i], &fit->options[i], error);
        if (result != MIG_OK) {
            return result;
        }
    }
    return MIG_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* How far each kind is counted: what is wanted, if the GPUs could hold it one kind at a time. */
static void find_most(struct fit *fit)
{
    for (size_t i = 0; i < fit->gpu_count; i++) {
        const struct mig_fit_options *options = options_of(fit, i);
        uint8_t most[MIG_FIT_KIND_MAX] = {0};

        for (size_t j = 0; j < options->count; j++) {
            for (size_t k = 0; k < fit->want_count; k++) {
                most[k] = options->options[j].counts[k] > most[k] ? options->options[j].counts[k]
                                                                  : most[k];
            }
        }
        for (size_t k = 0; k < fit->want_count; k++) {
            fit->most[k] += most[k];
        }
    }
    for (size_t k = 0; k < fit->want_count; k++) {
        fit->most[k] = fit->most[k] < fit->wants[k].count ? fit->most[k] : fit->wants[k].count;
    }
}

static int size_table(struct fit *fit, struct mig_error *error)
{
    uint64_t cells = 1, options = 0;

    find_most(fit);
    for (size_t i = 0; i < fit->gpu_count; i++) {
        options += options_of(fit, i)->count;
    }
    for (size_t i = fit->want_count; i-- > 0 && cells <= MIG_FIT_TABLE_MAX;) {
        fit->stride[i] = (size_t)cells;
        cells *= fit->most[i] + 1u;
    }
    if (cells * fit->gpu_count > MIG_FIT_TABLE_MAX || cells * options > WORK_MAX) {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "could not place so many slices of so many kinds at once: %d combinations "
                      "over all GPUs can be compared",
                      MIG_FIT_TABLE_MAX);
        return mig_error_hint(error, MIG_E_FAILED, "ask for fewer kinds, or for fewer at a time");
    }
    fit->cell_count = (size_t)cells;
    return MIG_OK;
}

/* The cell that is reached from `cell` by an option; false when it is more than is counted. */
static bool add_counts(const struct fit *fit, size_t cell, const struct mig_fit_option *option,
                       size_t *ret)
{
    size_t sum = cell;

    for (size_t i = 0; i < fit->want_count; i++) {
        if (option->counts[i] > 0) {
            if (cell / fit->stride[i] % (fit->most[i] + 1u) + option->counts[i] > fit->most[i]) {
                return false;
            }
            sum += option->counts[i] * fit->stride[i];
        }
    }
    *ret = sum;
    return true;
}

/* A cell of row `gpu`, on top of `behind` on the later GPUs. Earlier options win ties. */
static void offer(struct mig_fit_cost *costs, uint16_t *choices, size_t cell,
                  struct mig_fit_cost behind, const struct mig_fit_option *option, size_t index)
{
    struct mig_fit_cost cost = {.changes = behind.changes + option->cost.changes,
                                .loss = behind.loss + option->cost.loss};
    bool better = choices[cell] == 0 || mig_fit_cost_less(cost, costs[cell]);

    if (better || (!mig_fit_cost_less(costs[cell], cost) && index + 1 < choices[cell])) {
        costs[cell] = cost;
        choices[cell] = (uint16_t)(index + 1);
    }
}

/* Makes row `gpu` from the row behind it, whose costs are in `behind` (NULL: no GPU is behind). */
static void make_row(const struct fit *fit, size_t gpu, const struct mig_fit_cost *behind,
                     struct mig_fit_cost *costs)
{
    const struct mig_fit_options *options = options_of(fit, gpu);
    uint16_t *choices = fit->choices + gpu * fit->cell_count;
    const uint16_t *reached = behind ? choices + fit->cell_count : NULL;

    for (size_t cell = 0; cell < (behind ? fit->cell_count : 1); cell++) {
        struct mig_fit_cost cost = behind ? behind[cell] : (struct mig_fit_cost){0};

        if (reached && reached[cell] == 0) {
            continue;
        }
        if (options->count == 0) { /* not usable: nothing is placed here */
            static const struct mig_fit_option nothing;

            offer(costs, choices, cell, cost, &nothing, 0);
        }
        for (size_t i = 0; i < options->count; i++) {
            size_t sum;

            if (add_counts(fit, cell, &options->options[i], &sum)) {
                offer(costs, choices, sum, cost, &options->options[i], i);
            }
        }
    }
}

/* The cell with the most devices, then the least cost, then most of the first wanted kinds. */
static void find_best(struct fit *fit)
{
    uint64_t best_total = 0;

    fit->best = 0;
    for (size_t cell = 0; cell < fit->cell_count; cell++) {
        uint64_t total = 0;

        for (size_t i = 0; i < fit->want_count; i++) {
            total += cell / fit->stride[i] % (fit->most[i] + 1u);
        }
        if (fit->choices[cell] != 0 &&
            (total > best_total ||
             (total == best_total && !mig_fit_cost_less(fit->cost[fit->best], fit->cost[cell])))) {
            fit->best = cell;
            best_total = total;
        }
    }
}

/* Reads the counts of the answer off its cell. */
static void read_answer(struct fit *fit)
{
    fit->complete = true;
    for (size_t i = 0; i < fit->want_count; i++) {
        fit->placed[i] = (uint32_t)(fit->best / fit->stride[i] % (fit->most[i] + 1u));
        fit->complete = fit->complete && fit->placed[i] == fit->wants[i].count;
    }
}

static int fill_table(struct fit *fit, struct mig_error *error)
{
    MIG_AUTO_FREE struct mig_fit_cost *behind = NULL;

    fit->choices = calloc(fit->cell_count * fit->gpu_count, sizeof(fit->choices[0]));
    if (!fit->choices) {
        return no_memory(error);
    }
    for (size_t gpu = fit->gpu_count; gpu-- > 0;) {
        free(behind);
        behind = MIG_TAKE(fit->cost);
        fit->cost = calloc(fit->cell_count, sizeof(fit->cost[0]));
        if (!fit->cost) {
            return no_memory(error);
        }
        make_row(fit, gpu, behind, fit->cost);
    }
    find_best(fit);
    return MIG_OK;
}

/* A request without a table yet; NULL when memory is short. The request is checked. */
static struct fit *start(const struct mig_fit_gpu *gpus, size_t gpu_count,
                         const struct mig_fit_want *wants, size_t want_count)
{
    struct fit *fit = calloc(1, sizeof(*fit));

    if (fit) {
        fit->gpus = gpus;
        fit->gpu_count = gpu_count;
        fit->wants = wants;
        fit->want_count = want_count;
        for (size_t i = 0; i < gpu_count; i++) {
            fit->places[i].gpu = &gpus[i];
            fit->usable[i] = gpus[i].usable && gpus[i].layout.model;
        }
    }
    return fit;
}

/* Everything but the plans. *ret_none: see resolve_want. */
static int solve(struct fit *fit, struct mig_error *ret_none, struct mig_error *error)
{
    int result = MIG_OK;

    for (size_t i = 0; i < fit->want_count && result == MIG_OK; i++) {
        result = resolve_want(fit, i, ret_none, error);
    }
    if (result == MIG_OK) {
        result = list_options(fit, error);
    }
    if (result == MIG_OK) {
        result = size_table(fit, error);
    }
    if (result == MIG_OK && fit->gpu_count > 0) {
        result = fill_table(fit, error);
    }
    if (result == MIG_OK) {
        read_answer(fit);
    }
    return result;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* What one GPU does for its share of the answer. */
static int plan_gpu(const struct fit *fit, size_t gpu, const struct mig_fit_option *option,
                    struct mig_fit_gpu_result *ret, struct mig_error *error)
{
    const struct mig_fit_gpu *place = &fit->gpus[gpu];
    struct mig_target target;
    unsigned count = 0;

    for (size_t i = 0; i < fit->want_count; i++) {
        count += option->counts[i];
    }
    if (count == 0) {
        mig_target_from_layout(&place->layout, &target);
    } else if (!mig_fit_option_explain(&fit->places[gpu], option, &target, ret->created)) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not place the slices on GPU %zu again", gpu);
    }
    for (size_t i = 0; i < fit->want_count; i++) {
        ret->reused[i] = (uint16_t)(option->counts[i] - ret->created[i]);
    }
    return mig_plan_make(&place->layout, &target, &place->policy, &ret->plan, NULL, error);
}

static int make_plans(const struct fit *fit, struct mig_fit_result *ret, struct mig_error *error)
{
    size_t cell = fit->best;

    for (size_t i = 0; i < fit->gpu_count; i++) {
        const struct mig_fit_options *options = options_of(fit, i);
        const struct mig_fit_option *option;
        int result;

        if (options->count == 0) {
            continue;
        }
        option = &options->options[fit->choices[i * fit->cell_count + cell] - 1];
        result = plan_gpu(fit, i, option, &ret->gpus[i], error);
        if (result != MIG_OK) {
            mig_error_prefix(error, "GPU %zu", i);
            return MIG_E_FAILED;
        }
        for (size_t j = 0; j < fit->want_count; j++) {
            cell -= option->counts[j] * fit->stride[j];
        }
        ret->destroy_count += ret->gpus[i].plan.gi_destroy_count;
        ret->create_count += ret->gpus[i].plan.gi_create_count;
    }
    return MIG_OK;
}

/* Would all of it have a place if nobody used the node? */
static int try_empty(const struct fit *fit, bool *ret, struct mig_error *error)
{
    MIG_AUTO_FREE struct mig_fit_gpu *empty = calloc(fit->gpu_count + 1, sizeof(*empty));
    MIG_CLEANUP(cleanup_fit) struct fit *on_empty = NULL;
    struct mig_error none = {0};
    int result;

    if (!empty) {
        return no_memory(error);
    }
    for (size_t i = 0; i < fit->gpu_count; i++) {
        empty[i].usable = fit->gpus[i].usable;
        empty[i].layout.model = fit->gpus[i].layout.model;
    }
    on_empty = start(empty, fit->gpu_count, fit->wants, fit->want_count);
    if (!on_empty) {
        return no_memory(error);
    }
    result = solve(on_empty, &none, error);
    *ret = result == MIG_OK && on_empty->complete;
    return result;
}

/* ---- words ----------------------------------------------------------------------------------- */

/* "2 x 3g.20gb, 1 x 1g.5gb" */
static void describe_counts(struct mig_words *words, const struct fit *fit, const uint32_t *counts)
{
    for (size_t i = 0; i < fit->want_count; i++) {
        if (counts[i] > 0) {
            mig_words_separate(words, ", ");
            mig_words_add(words, "%u x %s", counts[i], fit->wants[i].name);
        }
    }
    if (words->length == 0) {
        mig_words_add(words, "nothing");
    }
}

static void add_users(const struct fit *fit, struct mig_error *error)
{
    for (size_t i = 0; i < fit->gpu_count; i++) {
        const struct mig_layout *layout = &fit->gpus[i].layout;
        uint32_t hard, soft;

        if (!fit->usable[i]) {
            continue;
        }
        mig_plan_split_policy(layout, &fit->gpus[i].policy, &hard, &soft);
        for (unsigned j = 0; j < layout->gi_count; j++) {
            if (hard >> j & 1u) {
                mig_error_add_holder(error, "GPU %zu %s at %u: %s", i,
                                     layout->model->profiles[layout->gis[j].profile].name,
                                     layout->gis[j].start, mig_plan_holder(&layout->gis[j]));
            }
        }
    }
}

static int refuse(const struct fit *fit, const struct mig_fit_result *answer,
                  const struct mig_error *none, struct mig_error *error)
{
    char missing[256], fitting[256];
    struct mig_words words = mig_words_start(missing, sizeof(missing));
    bool any_usable = false;

    for (size_t i = 0; i < fit->gpu_count; i++) {
        any_usable = any_usable || fit->usable[i];
    }
    if (!any_usable) {
        mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_PLAN, MIG_REFUSAL_TOO_MUCH,
                      "cannot place slices: no GPU of this node has MIG mode on");
        return mig_error_hint(error, MIG_E_NO_FIT, "enable MIG mode on a GPU first");
    }
    if (none->message[0]) {
        if (error) {
            *error = *none;
        }
        return MIG_E_NO_FIT;
    }
    describe_counts(&words, fit, answer->unplaced);
    words = mig_words_start(fitting, sizeof(fitting));
    describe_counts(&words, fit, fit->placed);
    if (answer->fits_empty) {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_PLAN, MIG_REFUSAL_BLOCKED,
                      "cannot place all slices beside what is in use: no place for %s", missing);
        add_users(fit, error);
        return mig_error_hint(error, MIG_E_BUSY,
                              "end or drain some of these users and try again; disturbing nobody, "
                              "this fits: %s",
                              fitting);
    }
    mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_PLAN, MIG_REFUSAL_TOO_MUCH,
                  "the slices cannot fit on this node, even if nobody used it: no place for %s",
                  missing);
    return mig_error_hint(error, MIG_E_NO_FIT, "ask for less; this fits: %s", fitting);
}

/* ---- the front ------------------------------------------------------------------------------- */

void mig_fit_result_release(struct mig_fit_result *result)
{
    if (result) {
        free(result->gpus);
        *result = (struct mig_fit_result){0};
    }
}

int mig_fit(const struct mig_fit_gpu *gpus, size_t gpu_count, const struct mig_fit_want *wants,
            size_t want_count, struct mig_fit_result *ret, struct mig_error *error)
{
    MIG_CLEANUP(cleanup_fit) struct fit *fit = NULL;
    struct mig_error none = {0};
    int result;

    *ret = (struct mig_fit_result){0};
    result = check_request(gpus, gpu_count, want_count, error);
    if (result != MIG_OK) {
        return result;
    }
    fit = start(gpus, gpu_count, wants, want_count);
    ret->gpus = calloc(gpu_count + 1, sizeof(ret->gpus[0]));
    if (!fit || !ret->gpus) {
        return no_memory(error);
    }
    result = solve(fit, &none, error);
    if (result != MIG_OK) {
        return result;
    }
    ret->gpu_count = (uint32_t)gpu_count;
    for (size_t i = 0; i < want_count; i++) {
        ret->unplaced[i] = wants[i].count - fit->placed[i];
    }
    result = make_plans(fit, ret, error);
    if (result == MIG_OK && !fit->complete) {
        result = try_empty(fit, &ret->fits_empty, error);
    }
    if (result == MIG_OK && !fit->complete) {
        result = refuse(fit, ret, &none, error);
    }
    return result;
}
