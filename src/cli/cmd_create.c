/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl create: adds one MIG device to a geometry and leaves the rest as it is. Every way to add
 * it is tried by the planner on the snapshot: to complete or fill a GPU instance that is there, or
 * to make a new one, on each GPU that may be used. Completing wins; among new ones the GPU that
 * loses the fewest future placements, then the first. A way that would destroy anything is none.
 */
#include "base/text.h"
#include "cli/change.h"
#include "cli/doc_node.h"
#include "cli/edit.h"
#include "cli/persist.h"
#include <string.h>

/* What is wanted, and where it went. */
struct creation {
    const struct cli *cli;
    char profile[MIG_NAME_SIZE];
    uint8_t start;  /* MIG_START_ANY */
    uint32_t gi_id; /* of --gi, or MIG_ID_NONE */
    uint32_t gpu;   /* chosen, index into node->gpus */
};

/* One way to add it. */
struct way {
    bool found, completes;
    uint32_t gpu;
    unsigned lost; /* future placements */
    struct mig_target target;
};

static int parse_wanted(const struct cli *cli, struct creation *ret, struct mig_error *error)
{
    const char *text = cli->operands[0], *at = strchr(text, '@');
    size_t length = at ? (size_t)(at - text) : strlen(text);
    uint64_t number = MIG_START_ANY;
    int result;

    if (length == 0 || length >= sizeof(ret->profile)) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "'%.64s' is not PROFILE[@START]", text);
    }
    memcpy(ret->profile, text, length);
    ret->profile[length] = '\0';
    if (at && !mig_text_parse_u64(at + 1, MIG_UNIT_MAX - 1, &number)) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "'%.64s' is not a placement start", at + 1);
    }
    ret->start = (uint8_t)number;
    result = cli_number(cli, CLI_GI, UINT32_MAX - 1, MIG_ID_NONE, &number, error);
    ret->gi_id = (uint32_t)number;
    if (result == MIG_OK && cli_has(cli, CLI_GI) && !cli_has(cli, CLI_GPU)) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "--gi needs --gpu");
        return mig_error_hint(error, MIG_E_USAGE, "GPU instance ids are those of one GPU");
    }
    return result;
}

/* Plans one way; keeps it when it destroys nothing and is better than the best so far. */
static int try_way(const struct mig_layout *layout, const struct way *way, struct way *best,
                   struct mig_error *error)
{
    struct mig_plan plan;
    int result = mig_plan_make(layout, &way->target, NULL, &plan, NULL, error);
    struct way candidate = *way;

    if (result != MIG_OK) {
        return result;
    }
    if (plan.gi_destroy_count || plan.ci_destroy_count) {
        return MIG_E_NO_FIT;
    }
    candidate.found = true;
    candidate.lost = mig_layout_future_placements(layout);
    candidate.lost -=
        plan.future_placements < candidate.lost ? plan.future_placements : candidate.lost;
    if (!best->found || (candidate.completes && !best->completes) ||
        (candidate.completes == best->completes && candidate.lost < best->lost)) {
        *best = candidate;
    }
    return MIG_OK;
}

/* Ways to put the compute instance into a GPU instance that is there. */
static void try_existing(const struct creation *creation, const struct mig_layout *layout,
                         const struct way *base, struct mig_device_kind kind, struct way *best)
{
    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        struct way way = *base;
        struct mig_target_gi *target = &way.target.gis[i];

        if (gi->profile != kind.profile || gi->ci_count >= MIG_CI_MAX ||
            (creation->start != MIG_START_ANY && creation->start != gi->start) ||
            (creation->gi_id != MIG_ID_NONE && creation->gi_id != gi->id)) {
            continue;
        }
        target->ci_profiles[target->ci_count++] = kind.ci_profile;
        way.completes = true;
        (void)try_way(layout, &way, best, NULL);
    }
}

static int try_new(const struct creation *creation, const struct mig_layout *layout,
                   const struct way *base, struct mig_device_kind kind, struct way *best,
                   struct mig_error *error)
{
    struct way way = *base;

    if (way.target.gi_count >= MIG_GI_MAX) {
        return mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0,
                             "there are %d GPU instances already", MIG_GI_MAX);
    }
    way.target.gis[way.target.gi_count++] =
        (struct mig_target_gi){.profile = kind.profile,
                               .start = creation->start,
                               .ci_count = 1,
                               .ci_profiles = {kind.ci_profile}};
    return try_way(layout, &way, best, error);
}

/* Says why there is no room: who sits where this profile could start. */
static int no_room(const struct creation *creation, const struct mig_gpu *gpu,
                   struct mig_device_kind kind, struct mig_error *error)
{
    const struct mig_layout *layout = &gpu->layout;
    const struct mig_profile *profile = &layout->model->profiles[kind.profile];
    char words[CLI_WORDS_SIZE];
    int result = MIG_E_NO_FIT;

    mig_error_set(error, result, MIG_DOMAIN_PLAN, 0, "GPU %u has no room for %s", gpu->index,
                  creation->cli->operands[0]);
    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];
        bool overlaps = false;

        for (unsigned s = 0; s < profile->start_count; s++) {
            overlaps |=
                (creation->start == MIG_START_ANY || profile->starts[s] == creation->start) &&
                profile->starts[s] < gi->start + layout->model->profiles[gi->profile].size &&
                gi->start < profile->starts[s] + profile->size;
        }
        if (overlaps) {
            result = gi->in_use ? MIG_E_BUSY : result;
            mig_error_add_holder(error, "%s: %s", cli_words_gi(layout, gi, words),
                                 !gi->in_use     ? "idle"
                                 : gi->holder[0] ? gi->holder
                                                 : "in use");
        }
    }
    return mig_error_hint(error, result,
                          "migctl fit %s shows whether idle instances could give way",
                          creation->profile);
}

/* How near a GPU came, when there is no way on it: the nearest one's reason is told. */
enum nearness { NEAR_NOTHING = 0, NEAR_MODEL, NEAR_PROFILE, NEAR_BUSY };

/* Tries one GPU; the error is the reason when there is no way on it. */
static int try_gpu(const struct creation *creation, const struct mig_node *node, uint32_t index,
                   struct way *best, enum nearness *ret_near, struct mig_error *error)
{
    const struct mig_gpu *gpu = &node->gpus[index];
    struct mig_gpu_goal goal = {.kind = MIG_GOAL_LEAVE};
    struct way base = {.gpu = index}, found = {.found = false};
    struct mig_device_kind kind = {0, 0};
    int result = edit_begin(gpu, &goal, error);

    *ret_near = NEAR_NOTHING;
    if (result == MIG_OK) {
        *ret_near = NEAR_MODEL;
        result = mig_profile_resolve(gpu->layout.model, creation->profile, &kind, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    *ret_near = NEAR_PROFILE;
    base.target = goal.target;
    try_existing(creation, &gpu->layout, &base, kind, &found);
    if (!found.found && creation->gi_id != MIG_ID_NONE) {
        return mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_PLAN, 0,
                             "GPU instance %u of GPU %u has no room for %s", creation->gi_id,
                             gpu->index, creation->profile);
    }
    if (!found.found) {
        result = try_new(creation, &gpu->layout, &base, kind, &found, error);
        if (result != MIG_OK) {
            result = no_room(creation, gpu, kind, error);
            *ret_near = result == MIG_E_BUSY ? NEAR_BUSY : NEAR_PROFILE;
            return result;
        }
    }
    if (!best->found || (found.completes && !best->completes) ||
        (found.completes == best->completes && found.lost < best->lost)) {
        *best = found;
    }
    return MIG_OK;
}

static int create_goal(const struct mig_node *node, void *data, struct mig_goal *ret,
                       struct mig_error *error)
{
    struct creation *creation = data;
    struct way best = {.found = false};
    struct mig_error reason = {0};
    enum nearness near, nearest = NEAR_NOTHING;
    uint32_t only;
    int refused = MIG_OK, result = cli_node_gpu(creation->cli, node, &only, error);

    if (result != MIG_OK) {
        return result;
    }
    memset(ret, 0, sizeof(*ret));
    ret->gpu_count = node->gpu_count;
    for (uint32_t g = 0; g < node->gpu_count; g++) {
        if (only != UINT32_MAX && only != g) {
            continue;
        }
        result = try_gpu(creation, node, g, &best, &near, &reason);
        if (result < 0 && (refused == MIG_OK || near > nearest)) {
            refused = result;
            nearest = near;
            if (error) {
                *error = reason;
            }
        }
    }
    if (!best.found) {
        return refused < 0 ? refused
                           : mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0,
                                           "this node has no GPUs");
    }
    mig_error_clear(error);
    creation->gpu = best.gpu;
    ret->gpus[best.gpu] =
        (struct mig_gpu_goal){.kind = MIG_GOAL_LAYOUT, .mig_mode = true, .target = best.target};
    return MIG_OK;
}

static bool has_uuid(const struct mig_gpu *gpu, const char *uuid)
{
    for (unsigned i = 0; gpu->layout.model && i < gpu->layout.gi_count; i++) {
        for (unsigned c = 0; c < gpu->layout.gis[i].ci_count; c++) {
            if (strcmp(gpu->gi_infos[i].devices[c].uuid, uuid) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Reads the node again and tells the ids of the MIG device that was not there before. */
static int tell_created(struct cli *cli, struct change *change, uint32_t gpu_index,
                        struct mig_error *error)
{
    struct mig_node *after = NULL;
    const struct mig_gpu *gpu;
    int result = mig_inventory_read(change->node.session, &after, error);

    if (result < 0 || gpu_index >= after->gpu_count) {
        mig_node_free(after);
        return result;
    }
    gpu = &after->gpus[gpu_index];
    for (unsigned i = 0; gpu->layout.model && i < gpu->layout.gi_count; i++) {
        const struct mig_gi *gi = &gpu->layout.gis[i];

        for (unsigned c = 0; c < gi->ci_count; c++) {
            const char *uuid = gpu->gi_infos[i].devices[c].uuid;

            if (has_uuid(&change->node.node->gpus[gpu_index], uuid)) {
                continue;
            }
            if (cli->document) {
                json_t *object = doc_object();

                doc_put_int(object, "gpu", gpu->index);
                doc_put_id(object, "gi_id", gi->id);
                doc_put_id(object, "ci_id", gi->cis[c].id);
                doc_put_text(object, "profile", gpu->layout.model->profiles[gi->profile].name);
                doc_put_int(object, "start", gi->start);
                doc_put_known_text(object, "uuid", uuid);
                doc_put(cli->document, "created", object);
            } else {
                printf("GPU %u GI %u CI %u  %s\n", gpu->index, gi->id, gi->cis[c].id, uuid);
            }
        }
    }
    mig_node_free(after);
    return MIG_OK;
}

int cmd_create(struct cli *cli, struct mig_error *error)
{
    CHANGE_AUTO struct change change = {.planned = false};
    struct creation creation = {.cli = cli};
    int result = parse_wanted(cli, &creation, error);

    if (result != MIG_OK) {
        return result;
    }
    result = change_run(cli, create_goal, &creation, &change, error);
    change_report(cli, &change, result, cli_is_text(cli) ? NULL : doc_start(cli, "create"));
    if (change.applied) {
        result = tell_created(cli, &change, creation.gpu, error);
        persist_refresh(cli, &change.node);
    }
    return result;
}
