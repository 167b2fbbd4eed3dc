/* SPDX-License-Identifier: Apache-2.0 */
/* migctl fit: would these slices fit on the node, where, and what would have to go for it. */
#include "base/text.h"
#include "cli/doc_node.h"
#include "cli/node.h"
#include "cli/plan_text.h"
#include "cli/slots.h"
#include <string.h>

#define COUNT_MAX 4096

struct request {
    char names[MIG_FIT_KIND_MAX][MIG_NAME_SIZE];
    struct mig_fit_want wants[MIG_FIT_KIND_MAX];
    size_t count;
};

static int parse_want(const char *text, struct request *request, struct mig_error *error)
{
    const char *equals = strchr(text, '=');
    size_t length = equals ? (size_t)(equals - text) : strlen(text);
    uint64_t count = 1;
    char *name;

    if (length == 0 || length >= MIG_NAME_SIZE ||
        (equals && (!mig_text_parse_u64(equals + 1, COUNT_MAX, &count) || count == 0))) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "'%.64s' is not PROFILE[=COUNT]",
                      text);
        return mig_error_hint(error, MIG_E_USAGE, "a count is from 1 to %d", COUNT_MAX);
    }
    for (size_t i = 0; i < request->count; i++) {
        if (strncmp(request->names[i], text, length) == 0 && !request->names[i][length]) {
            request->wants[i].count += (uint32_t)count;
            return MIG_OK;
        }
    }
    if (request->count == MIG_FIT_KIND_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "more than %d different profiles", MIG_FIT_KIND_MAX);
    }
    name = request->names[request->count];
    memcpy(name, text, length);
    name[length] = '\0';
    request->wants[request->count++] =
        (struct mig_fit_want){.name = name, .count = (uint32_t)count};
    return MIG_OK;
}

static void fill_gpus(const struct mig_node *node, uint32_t only, struct mig_fit_gpu *gpus)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];

        gpus[i].layout = gpu->layout;
        gpus[i].usable = gpu->mig_mode && gpu->layout.model && !gpu->problem[0] &&
                         (only == UINT32_MAX || only == i);
    }
}

static void print_where(const struct mig_gpu *gpu, const struct request *request,
                        const struct mig_fit_gpu_result *result)
{
    const char *gap = "  ";

    printf("GPU %u  %s", gpu->index, gpu->name);
    for (size_t w = 0; w < request->count; w++) {
        unsigned count = (unsigned)result->reused[w] + result->created[w];

        if (!count) {
            continue;
        }
        printf("%s%u x %s", gap, count, request->names[w]);
        if (result->reused[w]) {
            printf(" (%u there already)", result->reused[w]);
        }
        gap = ", ";
    }
    putchar('\n');
}

static bool is_involved(const struct request *request, const struct mig_fit_gpu_result *result)
{
    for (size_t w = 0; w < request->count; w++) {
        if (result->reused[w] || result->created[w]) {
            return true;
        }
    }
    return result->plan.step_count > 0;
}

/* True when some GPU has something of what was asked for. */
static bool any_involved(const struct request *request, const struct mig_fit_result *fit)
{
    for (uint32_t i = 0; i < fit->gpu_count; i++) {
        if (is_involved(request, &fit->gpus[i])) {
            return true;
        }
    }
    return false;
}

static void print_gpu(const struct cli *cli, const struct mig_gpu *gpu,
                      const struct request *request, const struct mig_fit_gpu_result *result)
{
    print_where(gpu, request, result);
    if (result->plan.step_count) {
        plan_print_steps(cli, stdout, &gpu->layout, &result->plan, false);
        slots_draw(cli, stdout, &result->plan.result, 2);
    } else {
        slots_draw(cli, stdout, &gpu->layout, 2);
    }
}

static void print_text(const struct cli *cli, const struct mig_node *node,
                       const struct request *request, const struct mig_fit_result *fit, bool fits)
{
    unsigned off = 0;

    puts(fits                         ? "fits:"
         : any_involved(request, fit) ? "does not fit; most of it that does:"
                                      : "does not fit");
    for (uint32_t i = 0; i < fit->gpu_count && i < node->gpu_count; i++) {
        off += node->gpus[i].mig_capable && !node->gpus[i].mig_mode;
        if (is_involved(request, &fit->gpus[i])) {
            print_gpu(cli, &node->gpus[i], request, &fit->gpus[i]);
        }
    }
    for (size_t w = 0; !fits && w < request->count; w++) {
        if (fit->unplaced[w]) {
            printf("no place for %u x %s\n", fit->unplaced[w], request->names[w]);
        }
    }
    if (off) {
        printf("left out: %u GPU%s with MIG off\n", off, off == 1 ? "" : "s");
    }
    if (fits) {
        printf("%u idle instance%s to destroy, %u to create; disturbs nobody\n", fit->destroy_count,
               fit->destroy_count == 1 ? "" : "s", fit->create_count);
    }
}

static json_t *doc_fit_gpu(const struct mig_gpu *gpu, const struct request *request,
                           const struct mig_fit_gpu_result *result)
{
    json_t *object = doc_object(), *slices = doc_array();

    doc_put_gpu_name(object, gpu);
    for (size_t w = 0; w < request->count; w++) {
        json_t *slice = doc_object();

        if (!result->reused[w] && !result->created[w]) {
            json_decref(slice);
            continue;
        }
        doc_put_text(slice, "profile", request->names[w]);
        doc_put_int(slice, "reused", result->reused[w]);
        doc_put_int(slice, "created", result->created[w]);
        doc_add(slices, slice);
    }
    doc_put(object, "slices", slices);
    doc_put(object, "steps", doc_steps(gpu->layout.model, &result->plan));
    return object;
}

static void fill_document(json_t *document, const struct mig_node *node,
                          const struct request *request, const struct mig_fit_result *fit,
                          bool fits)
{
    json_t *gpus = doc_array(), *unplaced = doc_array();

    doc_put_bool(document, "fits", fits);
    doc_put_bool(document, "fits_empty", fits || fit->fits_empty);
    doc_put_int(document, "destroy_count", fit->destroy_count);
    doc_put_int(document, "create_count", fit->create_count);
    doc_put(document, "disturbed", doc_array());
    for (size_t w = 0; w < request->count; w++) {
        if (!fits && fit->unplaced[w]) {
            json_t *object = doc_object();

            doc_put_text(object, "profile", request->names[w]);
            doc_put_int(object, "count", fit->unplaced[w]);
            doc_add(unplaced, object);
        }
    }
    doc_put(document, "unplaced", unplaced);
    for (uint32_t i = 0; i < fit->gpu_count && i < node->gpu_count; i++) {
        if (is_involved(request, &fit->gpus[i])) {
            doc_add(gpus, doc_fit_gpu(&node->gpus[i], request, &fit->gpus[i]));
        }
    }
    doc_put(document, "gpus", gpus);
}

static int answer(struct cli *cli, const struct mig_node *node, uint32_t only,
                  const struct request *request, struct mig_error *error)
{
    MIG_AUTO_FREE struct mig_fit_gpu *gpus = calloc((size_t)node->gpu_count + 1, sizeof(*gpus));
    struct mig_fit_result fit = {0};
    int result;

    if (!gpus) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "out of memory");
    }
    fill_gpus(node, only, gpus);
    result = mig_fit(gpus, node->gpu_count, request->wants, request->count, &fit, error);
    if (result == MIG_OK || ((result == MIG_E_NO_FIT || result == MIG_E_BUSY) && fit.gpus)) {
        if (cli_is_text(cli)) {
            print_text(cli, node, request, &fit, result == MIG_OK);
        } else {
            fill_document(doc_start(cli, "fit"), node, request, &fit, result == MIG_OK);
        }
    }
    mig_fit_result_release(&fit);
    return result;
}

int cmd_fit(struct cli *cli, struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    struct request request = {.count = 0};
    uint32_t only = UINT32_MAX;
    int result = MIG_OK;

    for (size_t i = 0; result == MIG_OK && i < cli->operand_count; i++) {
        result = parse_want(cli->operands[i], &request, error);
    }
    if (result == MIG_OK) {
        result = cli_node_load(cli, &node, error);
    }
    if (result == MIG_OK) {
        result = cli_node_gpu(cli, node.node, &only, error);
    }
    return result != MIG_OK ? result : answer(cli, node.node, only, &request, error);
}
