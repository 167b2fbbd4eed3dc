/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl profiles: the profile table of each GPU with its placements drawn as slots. GPUs of one
 * model with the same instances are one table, since the drawing and the counts are the same.
 */
#include "base/buffer.h"
#include "cli/doc_node.h"
#include "cli/node.h"
#include "cli/slots.h"
#include "cli/table.h"
#include <string.h>

enum column {
    COLUMN_PROFILE = 0,
    COLUMN_ID,
    COLUMN_ENUM,
    COLUMN_SLICES,
    COLUMN_SM,
    COLUMN_MEMORY,
    COLUMN_PLACEMENTS,
    COLUMN_STARTS,
    COLUMN_FREE,
    COLUMN_MAX,
    COLUMN_ENGINES,
    COLUMN_CIS,
    COLUMN_SOURCE,
    COLUMN_COUNT
};

static const struct table_column columns[COLUMN_COUNT] = {
    [COLUMN_PROFILE] = {"PROFILE", 0, false},
    [COLUMN_ID] = {"ID", SCOLS_FL_RIGHT, false},
    [COLUMN_ENUM] = {"ENUM", SCOLS_FL_RIGHT, true},
    [COLUMN_SLICES] = {"SLICES", SCOLS_FL_RIGHT, true},
    [COLUMN_SM] = {"SM", SCOLS_FL_RIGHT, false},
    [COLUMN_MEMORY] = {"MEMORY MIB", SCOLS_FL_RIGHT, false},
    [COLUMN_PLACEMENTS] = {"PLACEMENTS", 0, false},
    [COLUMN_STARTS] = {"STARTS:SIZE", 0, false},
    [COLUMN_FREE] = {"FREE", SCOLS_FL_RIGHT, false},
    [COLUMN_MAX] = {"MAX", SCOLS_FL_RIGHT, false},
    [COLUMN_ENGINES] = {"CE/DEC/ENC/JPEG/OFA", SCOLS_FL_RIGHT, true},
    [COLUMN_CIS] = {"COMPUTE INSTANCES", 0, true},
    [COLUMN_SOURCE] = {"SOURCE", 0, true},
};

static void set_known(struct table *table, struct libscols_line *line, size_t column, int value)
{
    if (value == MIG_UNKNOWN) {
        table_set(table, line, column, "-");
    } else {
        table_set(table, line, column, "%d", value);
    }
}

/* "0-6:1", "0,2,4:2" */
static void set_starts(struct table *table, struct libscols_line *line,
                       const struct mig_profile *profile)
{
    MIG_AUTO_BUFFER struct mig_buffer text;
    unsigned i = 0;

    mig_buffer_init(&text, 256);
    while (i < profile->start_count) {
        unsigned last = i;

        while (last + 1 < profile->start_count &&
               profile->starts[last + 1] == profile->starts[last] + 1) {
            last++;
        }
        if (last > i + 1) {
            (void)mig_buffer_printf(&text, "%s%u-%u", i ? "," : "", profile->starts[i],
                                    profile->starts[last]);
            i = last + 1;
        } else {
            (void)mig_buffer_printf(&text, "%s%u", i ? "," : "", profile->starts[i]);
            i++;
        }
    }
    if (text.data) {
        table_set(table, line, COLUMN_STARTS, "%s:%u", text.data, profile->size);
    } else {
        table_set(table, line, COLUMN_STARTS, "not known");
    }
}

static void set_engines(struct table *table, struct libscols_line *line,
                        const struct mig_engines *engines)
{
    const int16_t counts[] = {engines->copy, engines->decoder, engines->encoder, engines->jpeg,
                              engines->ofa};
    char text[64] = "";
    size_t length = 0;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(counts); i++) {
        if (counts[i] == MIG_UNKNOWN) {
            length += (size_t)snprintf(text + length, sizeof(text) - length, "%s-", i ? "/" : "");
        } else {
            length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%d", i ? "/" : "",
                                       counts[i]);
        }
    }
    table_set(table, line, COLUMN_ENGINES, "%s", text);
}

static void set_cis(struct table *table, struct libscols_line *line,
                    const struct mig_profile *profile)
{
    MIG_AUTO_BUFFER struct mig_buffer text;

    mig_buffer_init(&text, 512);
    for (unsigned c = 0; c < profile->ci_profile_count; c++) {
        const struct mig_ci_profile *ci = &profile->ci_profiles[c];

        (void)mig_buffer_printf(&text, "%s%s x%u", c ? ", " : "", ci->name, ci->max_instances);
    }
    table_set(table, line, COLUMN_CIS, "%s", text.data ? text.data : "");
}

static void add_profile(const struct cli *cli, struct table *table, const struct mig_layout *layout,
                        unsigned index)
{
    const struct mig_profile *profile = &layout->model->profiles[index];
    struct libscols_line *line = table_line(table, NULL);
    char text[SLOTS_TEXT_SIZE];

    table_set(table, line, COLUMN_PROFILE, "%s", profile->name);
    set_known(table, line, COLUMN_ID, profile->driver_id);
    table_set(table, line, COLUMN_ENUM, "%u", profile->enum_value);
    table_set(table, line, COLUMN_SLICES, "%u", profile->slice_count);
    set_known(table, line, COLUMN_SM, profile->sm_count);
    if (profile->memory_mib != MIG_UNKNOWN) {
        table_set(table, line, COLUMN_MEMORY, "%s%d", profile->memory_is_estimate ? "~" : "",
                  profile->memory_mib);
    }
    set_starts(table, line, profile);
    table_set(table, line, COLUMN_FREE, "%u", mig_layout_room(layout, index));
    table_set(table, line, COLUMN_MAX, "%u", profile->max_instances);
    set_engines(table, line, &profile->engines);
    set_cis(table, line, profile);
    table_set(table, line, COLUMN_SOURCE, "%s", mig_confidence_name(profile->confidence));
    for (unsigned drawn = 0; slots_placements(cli, layout, index, drawn, text); drawn++) {
        if (drawn) {
            line = table_line(table, NULL);
        }
        table_set(table, line, COLUMN_PLACEMENTS, "%s", text);
    }
}

static int print_layout(const struct cli *cli, const struct mig_layout *layout,
                        struct mig_error *error)
{
    MIG_CLEANUP(table_release) struct table table = {0};
    int result = table_init(&table, cli, columns, COLUMN_COUNT, error);

    if (result != MIG_OK) {
        return result;
    }
    slots_draw(cli, stdout, layout, 0);
    for (unsigned p = 0; p < layout->model->profile_count; p++) {
        add_profile(cli, &table, layout, p);
    }
    return table_print(&table, error);
}

static json_t *doc_ci_profiles(const struct mig_profile *profile)
{
    json_t *array = doc_array();

    for (unsigned c = 0; c < profile->ci_profile_count; c++) {
        const struct mig_ci_profile *ci = &profile->ci_profiles[c];
        json_t *object = doc_object();

        doc_put_text(object, "profile", ci->name);
        doc_put_int(object, "enum", ci->enum_value);
        doc_put_known_int(object, "driver_id", ci->driver_id);
        doc_put_int(object, "slices", ci->slice_count);
        doc_put_known_int(object, "sm_count", ci->sm_count);
        doc_put_int(object, "max", ci->max_instances);
        doc_put_bool(object, "default", ci->is_default);
        doc_add(array, object);
    }
    return array;
}

static json_t *doc_engines(const struct mig_engines *engines)
{
    json_t *object = doc_object();

    doc_put_known_int(object, "copy", engines->copy);
    doc_put_known_int(object, "decoder", engines->decoder);
    doc_put_known_int(object, "encoder", engines->encoder);
    doc_put_known_int(object, "jpeg", engines->jpeg);
    doc_put_known_int(object, "ofa", engines->ofa);
    return object;
}

static json_t *doc_profile(const struct mig_layout *layout, unsigned index)
{
    const struct mig_profile *profile = &layout->model->profiles[index];
    json_t *object = doc_object(), *starts = doc_array();

    doc_put_text(object, "profile", profile->name);
    doc_put_int(object, "enum", profile->enum_value);
    doc_put_known_int(object, "driver_id", profile->driver_id);
    doc_put_int(object, "slices", profile->slice_count);
    doc_put_known_int(object, "sm_count", profile->sm_count);
    doc_put_known_int(object, "memory_mib", profile->memory_mib);
    doc_put_bool(object, "memory_is_estimate", profile->memory_is_estimate);
    doc_put_known_int(object, "size", profile->size ? profile->size : MIG_UNKNOWN);
    for (unsigned s = 0; s < profile->start_count; s++) {
        doc_add(starts, json_integer(profile->starts[s]));
    }
    doc_put(object, "starts", starts);
    doc_put_int(object, "max", profile->max_instances);
    doc_put_int(object, "free", mig_layout_room(layout, index));
    doc_put(object, "engines", doc_engines(&profile->engines));
    doc_put_text(object, "source", mig_confidence_name(profile->confidence));
    doc_put(object, "compute_instances", doc_ci_profiles(profile));
    return object;
}

static json_t *doc_model(const struct mig_layout *layout)
{
    json_t *object = doc_object(), *profiles = doc_array();

    doc_put_text(object, "model", layout->model->name);
    doc_put_text(object, "architecture", mig_architecture_name(layout->model->architecture));
    doc_put_known_int(object, "units",
                      layout->model->unit_count ? layout->model->unit_count : MIG_UNKNOWN);
    for (unsigned p = 0; p < layout->model->profile_count; p++) {
        doc_add(profiles, doc_profile(layout, p));
    }
    doc_put(object, "profiles", profiles);
    return object;
}

/* --model: an empty GPU out of the catalogue. */
static int show_model(struct cli *cli, struct mig_error *error)
{
    struct mig_layout layout = {.model = mig_catalog_find_name(cli->values[CLI_MODEL])};
    json_t *document, *gpus, *object;

    if (!layout.model) {
        mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0,
                      "the catalogue has no GPU model '%s', or several like it",
                      cli->values[CLI_MODEL]);
        return mig_error_hint(error, MIG_E_NO_FIT, "migctl complete models lists the names");
    }
    if (cli_is_text(cli)) {
        printf("%s\n", layout.model->name);
        return print_layout(cli, &layout, error);
    }
    document = doc_start(cli, "profiles");
    gpus = doc_array();
    object = doc_model(&layout);
    doc_put(object, "index", json_null());
    doc_put(object, "uuid", json_null());
    doc_add(gpus, object);
    doc_put(document, "gpus", gpus);
    return MIG_OK;
}

static bool same_layout(const struct mig_layout *a, const struct mig_layout *b)
{
    if (a->model != b->model || a->gi_count != b->gi_count) {
        return false;
    }
    for (unsigned i = 0; i < a->gi_count; i++) {
        if (a->gis[i].profile != b->gis[i].profile || a->gis[i].start != b->gis[i].start ||
            a->gis[i].in_use != b->gis[i].in_use) {
            return false;
        }
    }
    return true;
}

/* True when an earlier GPU was listed with this one. */
static bool is_listed(const struct mig_node *node, uint32_t gpu)
{
    for (uint32_t i = 0; i < gpu; i++) {
        if (same_layout(&node->gpus[i].layout, &node->gpus[gpu].layout)) {
            return true;
        }
    }
    return false;
}

static int print_node(const struct cli *cli, const struct mig_node *node, uint32_t only,
                      struct mig_error *error)
{
    unsigned shown = 0;

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];
        int result;

        if (only != UINT32_MAX ? only != i : is_listed(node, i)) {
            continue;
        }
        printf("%sGPU %u", shown++ ? "\n" : "", gpu->index);
        for (uint32_t j = i + 1; only == UINT32_MAX && j < node->gpu_count; j++) {
            if (same_layout(&gpu->layout, &node->gpus[j].layout)) {
                printf(", %u", node->gpus[j].index);
            }
        }
        if (gpu->problem[0]) {
            printf("  %s  not readable\n%s\n", gpu->name, gpu->problem);
            continue;
        }
        printf("  %s%s\n", gpu->name, gpu->mig_mode ? "" : "  MIG off");
        if (!gpu->layout.model) {
            puts(gpu->mig_capable ? "profiles are not known" : "has no MIG");
            continue;
        }
        result = print_layout(cli, &gpu->layout, error);
        if (result != MIG_OK) {
            return result;
        }
    }
    return MIG_OK;
}

int cmd_profiles(struct cli *cli, struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    uint32_t only = UINT32_MAX;
    json_t *document, *gpus;
    int result;

    if (cli_has(cli, CLI_MODEL)) {
        return show_model(cli, error);
    }
    result = cli_node_load(cli, &node, error);
    if (result == MIG_OK) {
        result = cli_node_gpu(cli, node.node, &only, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    if (cli_is_text(cli)) {
        return print_node(cli, node.node, only, error);
    }
    document = doc_start(cli, "profiles");
    gpus = doc_array();
    for (uint32_t i = 0; i < node.node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node.node->gpus[i];

        if ((only == UINT32_MAX || only == i) && gpu->layout.model) {
            json_t *object = doc_model(&gpu->layout);

            doc_put_int(object, "index", gpu->index);
            doc_put_text(object, "uuid", gpu->uuid);
            doc_add(gpus, object);
        }
    }
    doc_put(document, "gpus", gpus);
    return MIG_OK;
}
