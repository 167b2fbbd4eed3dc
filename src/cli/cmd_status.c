/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl status: first each GPU as its row of slots, so that the room is seen before anything is
 * read, then one tree with the ids, UUIDs, memory and users that other commands ask for.
 */
#include "base/buffer.h"
#include "cli/doc_node.h"
#include "cli/manager_word.h"
#include "cli/node.h"
#include "cli/persist.h"
#include "cli/slots.h"
#include "cli/table.h"
#include <inttypes.h>
#include <string.h>

enum column {
    COLUMN_ID = 0,
    COLUMN_PROFILE,
    COLUMN_START,
    COLUMN_SLICES,
    COLUMN_SM,
    COLUMN_MEMORY,
    COLUMN_UUID,
    COLUMN_USERS,
    COLUMN_COUNT
};

static const struct table_column columns[COLUMN_COUNT] = {
    [COLUMN_ID] = {"ID", SCOLS_FL_TREE, false},
    [COLUMN_PROFILE] = {"PROFILE", 0, false},
    [COLUMN_START] = {"START", SCOLS_FL_RIGHT, false},
    [COLUMN_SLICES] = {"SLICES", SCOLS_FL_RIGHT, true},
    [COLUMN_SM] = {"SM", SCOLS_FL_RIGHT, true},
    [COLUMN_MEMORY] = {"MEMORY MIB", SCOLS_FL_RIGHT, false},
    [COLUMN_UUID] = {"UUID", 0, false},
    [COLUMN_USERS] = {"USED BY", 0, false},
};

#define USERS_SHOWN 3

static const char *mode_words(const struct mig_gpu *gpu)
{
    if (gpu->problem[0]) {
        return "not readable";
    }
    if (!gpu->mig_capable) {
        return "no MIG";
    }
    if (gpu->mig_mode != gpu->mig_mode_pending) {
        return gpu->mig_mode ? "MIG on, off after a reset" : "MIG off, on after a reset";
    }
    return gpu->mig_mode ? "MIG on" : "MIG off";
}

/* How many more of each profile fit, "1g.5gb x7"; profiles of which none fits are left out. */
static void print_room(const struct cli *cli, const struct mig_layout *layout)
{
    unsigned column = (unsigned)printf("  room:");
    const unsigned indent = column;
    bool any = false;

    for (unsigned p = 0; p < layout->model->profile_count; p++) {
        unsigned room = mig_layout_room(layout, p);
        char text[MIG_NAME_SIZE + 16];
        unsigned length;

        if (!room) {
            continue;
        }
        length = (unsigned)snprintf(text, sizeof(text), " %s x%u", layout->model->profiles[p].name,
                                    room);
        if (column + length + 2 > cli->width) {
            printf("\n%*s", (int)indent, "");
            column = indent;
            any = false;
        }
        column += (unsigned)printf("%s%s", any ? " " : "", text);
        any = true;
    }
    puts(column == indent ? " none" : "");
}

static void print_slots(const struct cli *cli, const struct mig_gpu *gpu)
{
    char clean[MIG_PROBLEM_SIZE];

    printf("%sGPU %u  %s%s  %s  %s", cli_color(cli, CLI_COLOR_BOLD), gpu->index,
           cli_clean(clean, sizeof(clean), gpu->name), cli_color(cli, CLI_COLOR_NONE), gpu->bus_id,
           mode_words(gpu));
    if (gpu->problem[0]) {
        printf("\n  %s%s%s", cli_color(cli, CLI_COLOR_ERROR),
               cli_clean(clean, sizeof(clean), gpu->problem), cli_color(cli, CLI_COLOR_NONE));
    }
    putchar('\n');
    if (gpu->mig_mode && gpu->layout.model) {
        slots_draw(cli, stdout, &gpu->layout, 2);
        print_room(cli, &gpu->layout);
    }
    putchar('\n');
}

static void set_memory(struct table *table, struct libscols_line *line, int64_t used, int64_t total)
{
    if (used == MIG_UNKNOWN && total == MIG_UNKNOWN) {
        table_set(table, line, COLUMN_MEMORY, "-");
    } else if (used == MIG_UNKNOWN) {
        table_set(table, line, COLUMN_MEMORY, "-/%" PRId64, total);
    } else {
        table_set(table, line, COLUMN_MEMORY, "%" PRId64 "/%" PRId64, used, total);
    }
}

/* Processes on the whole GPU (gi_id MIG_ID_NONE), on a GI, or on one of its CIs. */
static void set_users(struct table *table, struct libscols_line *line, const struct mig_gpu *gpu,
                      uint32_t gi_id, uint32_t ci_id)
{
    MIG_AUTO_BUFFER struct mig_buffer text;
    unsigned count = 0;

    mig_buffer_init(&text, 512);
    for (uint32_t i = 0; i < gpu->process_known; i++) {
        const struct mig_process *process = &gpu->processes[i];

        if (process->gi_id != gi_id || process->ci_id != ci_id) {
            continue;
        }
        if (count < USERS_SHOWN || table->wide) {
            (void)mig_buffer_printf(&text, "%s%s (pid %u)", count ? ", " : "",
                                    process->name[0] ? process->name : "?", process->pid);
        }
        count++;
    }
    if (count > USERS_SHOWN && !table->wide) {
        (void)mig_buffer_printf(&text, " and %u more", count - USERS_SHOWN);
    }
    if (text.data) {
        table_set(table, line, COLUMN_USERS, "%s", text.data);
    }
}

static void add_ci(struct table *table, struct libscols_line *parent, const struct mig_gpu *gpu,
                   unsigned gi_index, unsigned ci_index)
{
    const struct mig_gi *gi = &gpu->layout.gis[gi_index];
    const struct mig_ci *ci = &gi->cis[ci_index];
    const struct mig_ci_profile *profile =
        &gpu->layout.model->profiles[gi->profile].ci_profiles[ci->profile];
    struct libscols_line *line = table_line(table, parent);

    table_set(table, line, COLUMN_ID, "CI %u", ci->id);
    table_set(table, line, COLUMN_PROFILE, "%s", profile->name);
    if (ci->start != MIG_START_ANY) {
        table_set(table, line, COLUMN_START, "%u", ci->start);
    }
    table_set(table, line, COLUMN_SLICES, "%u", profile->slice_count);
    if (profile->sm_count != MIG_UNKNOWN) {
        table_set(table, line, COLUMN_SM, "%d", profile->sm_count);
    }
    table_set(table, line, COLUMN_UUID, "%s", gpu->gi_infos[gi_index].devices[ci_index].uuid);
    set_users(table, line, gpu, gi->id, ci->id);
}

static void add_gi(const struct cli *cli, struct table *table, struct libscols_line *parent,
                   const struct mig_gpu *gpu, unsigned index)
{
    const struct mig_gi *gi = &gpu->layout.gis[index];
    const struct mig_profile *profile = &gpu->layout.model->profiles[gi->profile];
    struct libscols_line *line = table_line(table, parent);

    table_set(table, line, COLUMN_ID, "GI %u", gi->id);
    table_set(table, line, COLUMN_PROFILE, "%s", profile->name);
    table_set(table, line, COLUMN_START, "%u:%u", gi->start, profile->size);
    table_set(table, line, COLUMN_SLICES, "%u", profile->slice_count);
    if (profile->sm_count != MIG_UNKNOWN) {
        table_set(table, line, COLUMN_SM, "%d", profile->sm_count);
    }
    set_memory(table, line, gpu->gi_infos[index].memory_used_mib,
               gpu->gi_infos[index].memory_total_mib);
    set_users(table, line, gpu, gi->id, MIG_ID_NONE);
    if (gi->ci_count == 0) {
        table_set(table, line, COLUMN_UUID, "no compute instance");
        table_set_color(table, line, cli_color(cli, CLI_COLOR_ERROR));
    } else if (gi->in_use) {
        table_set_color(table, line, cli_color(cli, CLI_COLOR_USED));
    }
    if (gi->in_use && gi->holder[0] && !gpu->process_known) {
        table_set(table, line, COLUMN_USERS, "%s", gi->holder);
    }
    for (unsigned c = 0; c < gi->ci_count; c++) {
        add_ci(table, line, gpu, index, c);
    }
}

static void add_gpu(const struct cli *cli, struct table *table, const struct mig_gpu *gpu)
{
    struct libscols_line *line = table_line(table, NULL);

    table_set(table, line, COLUMN_ID, "GPU %u", gpu->index);
    table_set(table, line, COLUMN_PROFILE, "%s", mode_words(gpu));
    set_memory(table, line, gpu->memory_used_mib, gpu->memory_total_mib);
    table_set(table, line, COLUMN_UUID, "%s", gpu->uuid);
    set_users(table, line, gpu, MIG_ID_NONE, MIG_ID_NONE);
    for (unsigned i = 0; gpu->layout.model && i < gpu->layout.gi_count; i++) {
        add_gi(cli, table, line, gpu, i);
    }
}

static void print_manager(const struct cli *cli)
{
    json_t *word = manager_word_read(cli);

    if (word) {
        putchar('\n');
        manager_word_print(cli, word);
    }
    json_decref(word);
}

static int print_text(const struct cli *cli, const struct mig_node *node, uint32_t only,
                      struct mig_error *error)
{
    MIG_CLEANUP(table_release) struct table table = {0};
    struct slots_legend legend = {false, false};
    int result = table_init(&table, cli, columns, COLUMN_COUNT, error);

    if (result != MIG_OK) {
        return result;
    }
    if (cli->output == CLI_WIDE) {
        printf("driver %s, NVML %s, %u GPU%s\n\n", node->driver_version, node->nvml_version,
               node->gpu_count, node->gpu_count == 1 ? "" : "s");
    }
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (only == UINT32_MAX || only == i) {
            print_slots(cli, &node->gpus[i]);
            slots_legend_add(&legend, &node->gpus[i].layout);
            add_gpu(cli, &table, &node->gpus[i]);
        }
    }
    if (node->gpu_count == 0) {
        puts("this node has no GPUs");
        return MIG_OK;
    }
    result = table_print(&table, error);
    slots_legend_print(cli, stdout, &legend);
    if (mig_apply_is_on_record(persist_state_dir(cli))) {
        puts("a change is under way or was interrupted; the next apply finishes or undoes it");
    }
    print_manager(cli);
    return result;
}

static void put_manager(struct cli *cli, json_t *document)
{
    json_t *word = manager_word_read(cli);

    doc_put(document, "manager", manager_word_document(word));
    json_decref(word);
}

int cmd_status(struct cli *cli, struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    uint32_t only = UINT32_MAX;
    json_t *document, *gpus;
    int result = cli_node_load(cli, &node, error);

    if (result == MIG_OK) {
        result = cli_node_gpu(cli, node.node, &only, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    if (cli_is_text(cli)) {
        return print_text(cli, node.node, only, error);
    }
    document = doc_start(cli, "status");
    doc_put_text(document, "driver_version", node.node->driver_version);
    doc_put_text(document, "nvml_version", node.node->nvml_version);
    doc_put_bool(document, "change_on_record", mig_apply_is_on_record(persist_state_dir(cli)));
    put_manager(cli, document);
    gpus = doc_array();
    for (uint32_t i = 0; i < node.node->gpu_count; i++) {
        if (only == UINT32_MAX || only == i) {
            doc_add(gpus, doc_gpu(&node.node->gpus[i]));
        }
    }
    doc_put(document, "gpus", gpus);
    return MIG_OK;
}
