/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plans in words. Steps that follow from others are left out except with -v: the compute instances
 * of a GPU instance that goes, and the one that fills a GPU instance that comes. GPUs to which the
 * same happens are listed once: each GPU's lines are printed into memory, and equal texts are
 * joined under one heading.
 */
#include "cli/plan_text.h"
#include "cli/node.h"
#include "cli/slots.h"
#include <string.h>

const char *plan_time(uint32_t estimate_ms, char buffer[PLAN_TIME_SIZE])
{
    (void)snprintf(buffer, PLAN_TIME_SIZE, "about %u.%u s", estimate_ms / 1000,
                   estimate_ms % 1000 / 100);
    return buffer;
}

static bool same_gi(const struct mig_step *a, const struct mig_step *b)
{
    return a->gi_profile == b->gi_profile && a->gi_start == b->gi_start;
}

/* True when another step of the plan says as much. */
static bool is_implied(const struct mig_model *model, const struct mig_plan *plan, unsigned index)
{
    const struct mig_step *step = &plan->steps[index];
    enum mig_step_kind by;

    if (step->kind == MIG_STEP_DESTROY_CI) {
        by = MIG_STEP_DESTROY_GI;
    } else if (step->kind == MIG_STEP_CREATE_CI &&
               model->profiles[step->gi_profile].ci_profiles[step->ci_profile].is_default) {
        by = MIG_STEP_CREATE_GI;
    } else {
        return false;
    }
    for (unsigned i = 0; i < plan->step_count; i++) {
        if (plan->steps[i].kind == by && same_gi(&plan->steps[i], step)) {
            return true;
        }
    }
    return false;
}

static void print_step(FILE *out, const struct mig_model *model, const struct mig_step *step,
                       bool done)
{
    const struct mig_profile *profile = &model->profiles[step->gi_profile];
    bool is_ci = step->kind == MIG_STEP_DESTROY_CI || step->kind == MIG_STEP_CREATE_CI;
    bool goes = step->kind == MIG_STEP_DESTROY_CI || step->kind == MIG_STEP_DESTROY_GI;
    const char *verb = goes ? done ? "destroyed" : "destroy" : done ? "created" : "create";

    fprintf(out, "  %-10s", verb);
    if (is_ci) {
        fprintf(out, "compute instance %s", profile->ci_profiles[step->ci_profile].name);
        if (step->ci_id != MIG_ID_NONE) {
            fprintf(out, " (CI %u)", step->ci_id);
        }
        fputs(" in ", out);
    }
    fprintf(out, "%s at %u", profile->name, step->gi_start);
    if (step->gi_id != MIG_ID_NONE) {
        fprintf(out, " (GI %u)", step->gi_id);
    }
    putc('\n', out);
}

/* True when a GPU instance of the layout is still there afterwards. */
static bool is_kept(const struct mig_gi *gi, const struct mig_plan *plan)
{
    for (unsigned i = 0; i < plan->step_count; i++) {
        const struct mig_step *step = &plan->steps[i];

        if (step->kind == MIG_STEP_DESTROY_GI && step->gi_profile == gi->profile &&
            step->gi_start == gi->start) {
            return false;
        }
    }
    return true;
}

void plan_print_steps(const struct cli *cli, FILE *out, const struct mig_layout *layout,
                      const struct mig_plan *plan, bool done)
{
    char words[CLI_WORDS_SIZE], holder[CLI_WORDS_SIZE];

    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        if (is_kept(gi, plan)) {
            cli_words_holder(gi, holder);
            fprintf(out, "  %-10s%s%s%s\n", done ? "kept" : "keep", cli_words_gi(layout, gi, words),
                    *holder ? ", " : "", holder);
        }
    }
    for (unsigned i = 0; i < plan->step_count; i++) {
        if (cli_has(cli, CLI_VERBOSE) || !is_implied(layout->model, plan, i)) {
            print_step(out, layout->model, &plan->steps[i], done);
        }
    }
}

static void print_mode(FILE *out, const struct mig_gpu_plan *plan, bool done)
{
    fprintf(out, "  %-10sMIG mode %s%s\n", done ? "turned" : "turn", plan->mode ? "on" : "off",
            plan->may_reset && !done ? "; this GPU is reset if its driver asks for it" : "");
}

static void print_gpu(const struct cli *cli, FILE *out, const struct mig_gpu *gpu,
                      const struct mig_gpu_plan *plan, bool done)
{
    if (plan->set_mode && plan->mode) {
        print_mode(out, plan, done);
    }
    if (gpu->layout.model && plan->plan.step_count) {
        plan_print_steps(cli, out, &gpu->layout, &plan->plan, done);
        if (plan->plan.result.gi_count) {
            slots_draw(cli, out, &plan->plan.result, 2);
        }
    }
    if (plan->set_mode && !plan->mode) {
        print_mode(out, plan, done);
    }
}

static void print_refusal_of(const struct cli *cli, FILE *out, const struct mig_gpu *gpu,
                             const struct mig_target *target, const struct mig_gpu_plan *plan)
{
    const struct mig_certificate *certificate = &plan->certificate;
    char words[CLI_WORDS_SIZE], holder[CLI_WORDS_SIZE], clean[MIG_ERROR_MESSAGE_SIZE];

    if (!gpu->layout.model || certificate->kind == MIG_REFUSAL_NONE) {
        fprintf(out, "  %s\n", cli_clean(clean, sizeof(clean), plan->error.message));
        return;
    }
    fputs("  wanted      ", out);
    plan_print_target(out, gpu->layout.model, target, NULL, target->gi_count);
    fputs("\n  no place    ", out);
    plan_print_target(out, gpu->layout.model, target, certificate->unplaced,
                      certificate->unplaced_count);
    putc('\n', out);
    for (unsigned i = 0; i < certificate->blocker_count; i++) {
        const struct mig_gi *gi = &gpu->layout.gis[certificate->blockers[i]];

        cli_words_holder(gi, holder);
        fprintf(out, "  in the way  %s%s%s: has to %s\n", cli_words_gi(&gpu->layout, gi, words),
                *holder ? ", " : "", holder, certificate->blocker_moves[i] ? "move" : "end");
    }
    if (certificate->nearest.model) {
        fputs("  nearest that can be had now:\n", out);
        slots_draw(cli, out, &certificate->nearest, 2);
    }
}

/* Texts of the GPUs of a plan, to join equal ones. */
struct bodies {
    char *texts[MIG_GPU_MAX];
    size_t sizes[MIG_GPU_MAX];
    uint32_t count;
};

static void bodies_release(struct bodies *bodies)
{
    for (uint32_t i = 0; i < bodies->count; i++) {
        free(bodies->texts[i]);
    }
}

static bool bodies_fill(struct bodies *bodies, const struct cli *cli, const struct mig_node *node,
                        const struct mig_goal *goal, const struct mig_node_plan *plan, bool done)
{
    bodies->count = 0;
    for (uint32_t i = 0; i < plan->gpu_count && i < MIG_GPU_MAX; i++) {
        const struct mig_gpu_plan *one = &plan->gpus[i];
        FILE *out = open_memstream(&bodies->texts[i], &bodies->sizes[i]);

        if (!out) {
            return false;
        }
        bodies->count++;
        if (!goal) {
            print_gpu(cli, out, &node->gpus[one->gpu], one, done);
        } else if (one->result != MIG_OK) {
            print_refusal_of(cli, out, &node->gpus[one->gpu], &goal->gpus[one->gpu].target, one);
        }
        if (fclose(out) != 0) {
            return false;
        }
    }
    return true;
}

static bool bodies_equal(const struct bodies *bodies, const struct mig_node *node,
                         const struct mig_node_plan *plan, uint32_t a, uint32_t b)
{
    return strcmp(bodies->texts[a], bodies->texts[b]) == 0 &&
           strcmp(node->gpus[plan->gpus[a].gpu].name, node->gpus[plan->gpus[b].gpu].name) == 0;
}

/* "GPU 0, 2-7  NVIDIA A100-SXM4-40GB" for the GPUs whose text equals that of `first`. */
static void print_heading(const struct cli *cli, const struct bodies *bodies,
                          const struct mig_node *node, const struct mig_node_plan *plan,
                          uint32_t first)
{
    const char *gap = " ";
    uint32_t i = first;

    printf("%sGPU", cli_color(cli, CLI_COLOR_BOLD));
    while (i < bodies->count) {
        uint32_t last = i;

        if (!bodies_equal(bodies, node, plan, first, i)) {
            i++;
            continue;
        }
        while (last + 1 < bodies->count && bodies_equal(bodies, node, plan, first, last + 1)) {
            last++;
        }
        printf("%s%u", gap, node->gpus[plan->gpus[i].gpu].index);
        if (last > i) {
            printf("%s%u", last > i + 1 ? "-" : ", ", node->gpus[plan->gpus[last].gpu].index);
        }
        gap = ", ";
        i = last + 1;
    }
    printf("  %s%s", node->gpus[plan->gpus[first].gpu].name, cli_color(cli, CLI_COLOR_NONE));
}

static void bodies_print(const struct bodies *bodies, const struct cli *cli,
                         const struct mig_node *node, const struct mig_node_plan *plan,
                         const char *empty)
{
    for (uint32_t i = 0; i < bodies->count; i++) {
        bool seen = false;

        for (uint32_t j = 0; j < i && !seen; j++) {
            seen = bodies_equal(bodies, node, plan, i, j);
        }
        if (seen || (!bodies->texts[i][0] && !empty)) {
            continue;
        }
        print_heading(cli, bodies, node, plan, i);
        printf("%s\n%s", bodies->texts[i][0] ? "" : empty, bodies->texts[i]);
    }
}

void plan_print(const struct cli *cli, const struct mig_node *node,
                const struct mig_node_plan *plan, bool done)
{
    MIG_CLEANUP(bodies_release) struct bodies bodies = {.count = 0};

    if (bodies_fill(&bodies, cli, node, NULL, plan, done)) {
        bodies_print(&bodies, cli, node, plan, "  as wanted");
    }
}

void plan_print_refusals(const struct cli *cli, const struct mig_node *node,
                         const struct mig_goal *goal, const struct mig_node_plan *plan)
{
    MIG_CLEANUP(bodies_release) struct bodies bodies = {.count = 0};

    if (bodies_fill(&bodies, cli, node, goal, plan, false)) {
        bodies_print(&bodies, cli, node, plan, NULL);
    }
}

/* Devices of one target, counted by name. */
struct tally {
    const char *names[MIG_GI_MAX * MIG_CI_MAX];
    unsigned counts[MIG_GI_MAX * MIG_CI_MAX];
    unsigned count;
};

static void tally_add(struct tally *tally, const char *name)
{
    for (unsigned i = 0; i < tally->count; i++) {
        if (strcmp(tally->names[i], name) == 0) {
            tally->counts[i]++;
            return;
        }
    }
    tally->names[tally->count] = name;
    tally->counts[tally->count++] = 1;
}

void plan_print_target(FILE *out, const struct mig_model *model, const struct mig_target *target,
                       const uint8_t *indices, unsigned count)
{
    struct tally tally = {.count = 0};

    for (unsigned i = 0; i < count; i++) {
        const struct mig_target_gi *gi = &target->gis[indices ? indices[i] : i];

        for (unsigned c = 0; c < gi->ci_count; c++) {
            tally_add(&tally, mig_device_kind_name(model, (struct mig_device_kind){
                                                              gi->profile, gi->ci_profiles[c]}));
        }
        if (gi->ci_count == 0) {
            tally_add(&tally, model->profiles[gi->profile].name);
        }
    }
    for (unsigned i = 0; i < tally.count; i++) {
        fputs(i ? ", " : "", out);
        if (tally.counts[i] > 1) {
            fprintf(out, "%u x ", tally.counts[i]);
        }
        fputs(tally.names[i], out);
    }
    fputs(tally.count ? "" : "nothing", out);
}
