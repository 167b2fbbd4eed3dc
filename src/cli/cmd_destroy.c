/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl destroy: takes named instances out of the geometry and leaves the rest. The names are
 * looked up in the snapshot that the plan is made from, so nothing can slip in between. An
 * instance in use is refused here, naming who uses it; the planner would refuse it as well.
 */
#include "base/text.h"
#include "cli/change.h"
#include "cli/document.h"
#include "cli/edit.h"
#include "cli/persist.h"
#include <string.h>

/* What to take out of one GPU: bit i of gis = all of layout.gis[i], of cis[i] = single ones. */
struct marks {
    uint32_t gis;
    uint32_t cis[MIG_GI_MAX];
};

/* A name of an instance, found in a snapshot. */
struct place {
    uint32_t gpu;
    unsigned gi, ci;
    bool whole; /* the GPU instance with everything in it */
};

static int not_there(const char *name, struct mig_error *error)
{
    mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "there is no instance '%s'", name);
    return mig_error_hint(error, MIG_E_USAGE, "migctl status shows what there is");
}

static int find_uuid(const struct mig_node *node, const char *uuid, struct place *ret,
                     struct mig_error *error)
{
    for (uint32_t g = 0; g < node->gpu_count; g++) {
        const struct mig_gpu *gpu = &node->gpus[g];

        for (unsigned i = 0; gpu->layout.model && i < gpu->layout.gi_count; i++) {
            for (unsigned c = 0; c < gpu->layout.gis[i].ci_count; c++) {
                if (strcmp(gpu->gi_infos[i].devices[c].uuid, uuid) == 0) {
                    *ret = (struct place){g, i, c, gpu->layout.gis[i].ci_count == 1};
                    return MIG_OK;
                }
            }
        }
    }
    return not_there(uuid, error);
}

static int find_ids(const struct mig_node *node, uint32_t gpu_index, uint64_t gi_id, uint64_t ci_id,
                    const char *name, struct place *ret, struct mig_error *error)
{
    const struct mig_gpu *gpu = &node->gpus[gpu_index];
    const struct mig_layout *layout = &gpu->layout;

    if (gpu->problem[0]) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %u: %s", gpu->index,
                             gpu->problem);
    }
    for (unsigned i = 0; layout->model && i < layout->gi_count; i++) {
        if (layout->gis[i].id != gi_id) {
            continue;
        }
        if (ci_id == MIG_ID_NONE) {
            *ret = (struct place){gpu_index, i, 0, true};
            return MIG_OK;
        }
        for (unsigned c = 0; c < layout->gis[i].ci_count; c++) {
            if (layout->gis[i].cis[c].id == ci_id) {
                *ret = (struct place){gpu_index, i, c, false};
                return MIG_OK;
            }
        }
    }
    return not_there(name, error);
}

/* "GPU:GI" or "GPU:GI:CI"; the GPU may be a bus id, which has colons itself, so it is read from the
 * end. */
static int find_colons(const struct mig_node *node, const char *name, struct place *ret,
                       struct mig_error *error)
{
    char gpu[MIG_UUID_SIZE];
    uint64_t numbers[2] = {MIG_ID_NONE, MIG_ID_NONE};
    uint32_t index;

    for (unsigned given = 2; given > 0; given--) {
        unsigned left = given;
        char *colon;

        if (!mig_text_copy(gpu, sizeof(gpu), name)) {
            break;
        }
        while (left > 0 && (colon = strrchr(gpu, ':')) != NULL &&
               mig_text_parse_u64(colon + 1, UINT32_MAX - 1, &numbers[left - 1])) {
            *colon = '\0';
            left--;
        }
        if (left == 0 && mig_node_find_gpu(node, gpu, &index, NULL) == MIG_OK) {
            return find_ids(node, index, numbers[0], given == 2 ? numbers[1] : MIG_ID_NONE, name,
                            ret, error);
        }
    }
    return not_there(name, error);
}

/* --gpu, --gi and --ci */
static int find_options(const struct cli *cli, const struct mig_node *node, struct place *ret,
                        struct mig_error *error)
{
    char name[MIG_UUID_SIZE * 2];
    uint64_t gi_id = 0, ci_id = MIG_ID_NONE;
    uint32_t gpu = 0;
    int result = cli_number(cli, CLI_GI, UINT32_MAX - 1, 0, &gi_id, error);

    if (result == MIG_OK) {
        result = cli_number(cli, CLI_CI, UINT32_MAX - 1, MIG_ID_NONE, &ci_id, error);
    }
    if (result == MIG_OK) {
        result = cli_node_gpu(cli, node, &gpu, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    (void)snprintf(name, sizeof(name), "--gpu %s --gi %s%s%s", cli->values[CLI_GPU],
                   cli->values[CLI_GI], cli_has(cli, CLI_CI) ? " --ci " : "",
                   cli_has(cli, CLI_CI) ? cli->values[CLI_CI] : "");
    return find_ids(node, gpu, gi_id, ci_id, name, ret, error);
}

/* Takes the marked instances out of the target, which lists the layout's instances in order. */
static void take_out(const struct mig_layout *layout, const struct marks *marks,
                     struct mig_target *target)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < layout->gi_count; i++) {
        struct mig_target_gi *gi = &target->gis[i];
        unsigned left = 0;

        if (marks->gis & (UINT32_C(1) << i)) {
            continue;
        }
        for (unsigned c = 0; c < gi->ci_count; c++) {
            if (!(marks->cis[i] & (UINT32_C(1) << c))) {
                gi->ci_profiles[left++] = gi->ci_profiles[c];
            }
        }
        gi->ci_count = (uint8_t)left;
        target->gis[kept++] = *gi;
    }
    target->gi_count = (uint8_t)kept;
}

/* Refuses an instance that somebody uses, in words that fit a single instance. */
static int refuse_used(const struct mig_gpu *gpu, const struct mig_gi *gi, const struct mig_ci *ci,
                       struct mig_error *error)
{
    char words[CLI_WORDS_SIZE];

    cli_words_gi(&gpu->layout, gi, words);
    if (ci) {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_PLAN, MIG_REFUSAL_BLOCKED,
                      "cannot destroy compute instance %u of %s on GPU %u while it is in use",
                      ci->id, words, gpu->index);
    } else {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_PLAN, MIG_REFUSAL_BLOCKED,
                      "cannot destroy %s on GPU %u while it is in use", words, gpu->index);
    }
    mig_error_add_holder(error, "%s", gi->holder[0] ? gi->holder : "a process that is not known");
    return mig_error_hint(error, MIG_E_BUSY, "end it, then try again");
}

static int mark(const struct mig_node *node, const struct place *place, struct marks *marks,
                struct mig_goal *goal, struct mig_error *error)
{
    const struct mig_gpu *gpu = &node->gpus[place->gpu];
    const struct mig_gi *gi = &gpu->layout.gis[place->gi];
    const struct mig_ci *ci = &gi->cis[place->ci];
    int result = edit_begin(gpu, &goal->gpus[place->gpu], error);

    if (result != MIG_OK) {
        return result;
    }
    if (place->whole ? gi->in_use : ci->in_use) {
        return refuse_used(gpu, gi, place->whole ? NULL : ci, error);
    }
    if (place->whole) {
        marks[place->gpu].gis |= UINT32_C(1) << place->gi;
    } else {
        marks[place->gpu].cis[place->gi] |= UINT32_C(1) << place->ci;
    }
    return MIG_OK;
}

static int destroy_goal(const struct mig_node *node, void *data, struct mig_goal *ret,
                        struct mig_error *error)
{
    const struct cli *cli = data;
    struct marks marks[MIG_GPU_MAX] = {0};
    struct place place = {0, 0, 0, false};
    int result = MIG_OK;

    memset(ret, 0, sizeof(*ret));
    ret->gpu_count = node->gpu_count;
    if (cli_has(cli, CLI_GI)) {
        result = find_options(cli, node, &place, error);
        result = result != MIG_OK ? result : mark(node, &place, marks, ret, error);
    }
    for (size_t i = 0; result == MIG_OK && i < cli->operand_count; i++) {
        result = strncmp(cli->operands[i], "MIG-", 4) == 0
                     ? find_uuid(node, cli->operands[i], &place, error)
                     : find_colons(node, cli->operands[i], &place, error);
        result = result != MIG_OK ? result : mark(node, &place, marks, ret, error);
    }
    for (uint32_t g = 0; result == MIG_OK && g < node->gpu_count; g++) {
        if (ret->gpus[g].kind == MIG_GOAL_LAYOUT) {
            take_out(&node->gpus[g].layout, &marks[g], &ret->gpus[g].target);
        }
    }
    return result;
}

static int check_usage(const struct cli *cli, struct mig_error *error)
{
    bool by_options = cli_has(cli, CLI_GPU) && cli_has(cli, CLI_GI);
    bool any_option = cli_has(cli, CLI_GPU) || cli_has(cli, CLI_GI) || cli_has(cli, CLI_CI);

    if (any_option ? by_options && cli->operand_count == 0 : cli->operand_count > 0) {
        return MIG_OK;
    }
    mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                  "'destroy' needs either instances by UUID or GPU:GI[:CI], or --gpu and --gi");
    return mig_error_hint(error, MIG_E_USAGE, "see migctl help destroy");
}

int cmd_destroy(struct cli *cli, struct mig_error *error)
{
    CHANGE_AUTO struct change change = {.planned = false};
    int result = check_usage(cli, error);

    if (result != MIG_OK) {
        return result;
    }
    result = change_run(cli, destroy_goal, cli, &change, error);
    change_report(cli, &change, result, cli_is_text(cli) ? NULL : doc_start(cli, "destroy"));
    if (change.applied) {
        persist_refresh(cli, &change.node);
    }
    return result;
}
