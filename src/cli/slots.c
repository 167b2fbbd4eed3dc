/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draws slots. A cell is as wide as its units; all units have one width, chosen so that every label
 * fits, or as wide as the terminal allows. Labels that do not fit lose their memory part
 * ("1g.10gb+me" becomes "1g+me"), then their end. Nothing here knows a GPU: units, starts and sizes
 * come from the model.
 */
#include "cli/slots.h"
#include <string.h>

#define LABEL_SIZE (MIG_NAME_SIZE + 8)
#define UNIT_WIDTH_MIN 4 /* with one border */
#define UNIT_WIDTH_FREE 7

struct cell {
    unsigned start, size;
    char label[LABEL_SIZE];
    const char *mark; /* "" or one column wide */
    enum cli_color color;
};

struct row {
    struct cell cells[MIG_UNIT_MAX];
    unsigned cell_count, unit_count;
};

static const char *mark_used(const struct cli *cli)
{
    return cli->unicode ? "●" : "*";
}

static const struct mig_gi *instance_at(const struct mig_layout *layout, unsigned unit)
{
    for (unsigned i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        if (unit >= gi->start &&
            unit < (unsigned)gi->start + layout->model->profiles[gi->profile].size) {
            return gi;
        }
    }
    return NULL;
}

static uint32_t span(unsigned start, unsigned size)
{
    return (uint32_t)(((UINT64_C(1) << size) - 1) << start);
}

/* Units that some profile could still use. */
static uint32_t usable_units(const struct mig_layout *layout)
{
    uint32_t taken = mig_layout_mask(layout), usable = 0;

    for (unsigned p = 0; p < layout->model->profile_count; p++) {
        const struct mig_profile *profile = &layout->model->profiles[p];

        if (mig_layout_room(layout, p) == 0) {
            continue;
        }
        for (unsigned s = 0; s < profile->start_count; s++) {
            uint32_t units = span(profile->starts[s], profile->size);

            usable |= units & taken ? 0 : units;
        }
    }
    return usable;
}

static void fill_instance(const struct cli *cli, const struct mig_layout *layout,
                          const struct mig_gi *gi, struct cell *cell)
{
    const struct mig_profile *profile = &layout->model->profiles[gi->profile];

    cell->start = gi->start;
    cell->size = profile->size;
    (void)snprintf(cell->label, sizeof(cell->label), "%s", profile->name);
    cell->mark = gi->in_use ? mark_used(cli) : gi->ci_count == 0 ? "!" : "";
    cell->color = gi->in_use          ? CLI_COLOR_USED
                  : gi->ci_count == 0 ? CLI_COLOR_ERROR
                                      : CLI_COLOR_NONE;
}

static void fill_row(const struct cli *cli, const struct mig_layout *layout, struct row *row)
{
    uint32_t usable = usable_units(layout);
    unsigned unit = 0;

    row->cell_count = 0;
    row->unit_count = layout->model->unit_count;
    while (unit < row->unit_count && row->cell_count < MIG_UNIT_MAX) {
        struct cell *cell = &row->cells[row->cell_count++];
        const struct mig_gi *gi = instance_at(layout, unit);

        *cell = (struct cell){.start = unit, .size = 1, .mark = "", .color = CLI_COLOR_FREE};
        if (gi && gi->start == unit && layout->model->profiles[gi->profile].size) {
            fill_instance(cli, layout, gi, cell);
        } else if (usable & (UINT32_C(1) << unit)) {
            (void)snprintf(cell->label, sizeof(cell->label), "free");
        }
        unit += cell->size;
    }
}

static unsigned label_width(const struct cell *cell)
{
    return (unsigned)strlen(cell->label) + (*cell->mark ? 2 : 0);
}

/* Columns of one unit, its left border included. */
static unsigned choose_unit_width(const struct cli *cli, const struct row *row, unsigned indent)
{
    unsigned limit = (cli->width - indent - 2) / row->unit_count;
    unsigned width = UNIT_WIDTH_FREE;

    for (unsigned i = 0; i < row->cell_count; i++) {
        unsigned need = label_width(&row->cells[i]) + 3; /* border and a blank on each side */
        unsigned each = (need + row->cells[i].size - 1) / row->cells[i].size;

        width = each > width ? each : width;
    }
    width = width > limit ? limit : width;
    return width < UNIT_WIDTH_MIN ? UNIT_WIDTH_MIN : width;
}

/* Shortens a label to `room` columns. */
static void fit_label(struct cell *cell, unsigned room)
{
    unsigned mark = *cell->mark ? 2 : 0;
    char *dot = strchr(cell->label, '.');
    char *rest = dot ? strstr(dot, "gb") : NULL;

    if (strlen(cell->label) + mark <= room) {
        return;
    }
    if (rest) {
        memmove(dot, rest + 2, strlen(rest + 2) + 1);
    }
    if (strlen(cell->label) + mark > room) {
        cell->label[room > mark ? room - mark : 0] = '\0';
    }
}

static void draw_edge(const struct cli *cli, FILE *out, const struct row *row, unsigned width,
                      bool top)
{
    const char *left = !cli->unicode ? "+" : top ? "┌" : "└";
    const char *middle = !cli->unicode ? "+" : top ? "┬" : "┴";
    const char *right = !cli->unicode ? "+" : top ? "┐" : "┘";

    for (unsigned i = 0; i < row->cell_count; i++) {
        unsigned columns = row->cells[i].size * width - 1;

        fputs(i == 0 ? left : middle, out);
        if (top) {
            columns -= (unsigned)fprintf(out, "%u", row->cells[i].start);
        }
        while (columns-- > 0) {
            fputs(cli->unicode ? "─" : "-", out);
        }
    }
    fprintf(out, "%s\n", right);
}

static void draw_cells(const struct cli *cli, FILE *out, struct row *row, unsigned width)
{
    const char *bar = cli->unicode ? "│" : "|";

    for (unsigned i = 0; i < row->cell_count; i++) {
        struct cell *cell = &row->cells[i];
        unsigned room = cell->size * width - 1;
        unsigned blank, before;

        fit_label(cell, room);
        blank = room - label_width(cell);
        before = blank > 1 ? 1 : 0;
        fprintf(out, "%s%*s%s%s%s%s%s%*s", bar, (int)before, "",
                cell->color == CLI_COLOR_NONE ? "" : cli_color(cli, cell->color), cell->label,
                *cell->mark ? " " : "", cell->mark,
                cell->color == CLI_COLOR_NONE ? "" : cli_color(cli, CLI_COLOR_NONE),
                (int)(blank - before), "");
    }
    fprintf(out, "%s\n", bar);
}

void slots_draw(const struct cli *cli, FILE *out, const struct mig_layout *layout, unsigned indent)
{
    struct row row;
    unsigned width;

    if (!layout->model || !layout->model->unit_count || layout->model->unit_count > MIG_UNIT_MAX) {
        return;
    }
    fill_row(cli, layout, &row);
    width = choose_unit_width(cli, &row, indent);
    fprintf(out, "%*s", (int)indent, "");
    draw_edge(cli, out, &row, width, true);
    fprintf(out, "%*s", (int)indent, "");
    draw_cells(cli, out, &row, width);
    fprintf(out, "%*s", (int)indent, "");
    draw_edge(cli, out, &row, width, false);
}

/* The line that the s-th placement is drawn on: the first one where it overlaps no earlier one. */
static unsigned line_of(const struct mig_profile *profile, unsigned s)
{
    uint32_t lines[MIG_UNIT_MAX] = {0};
    unsigned line = 0;

    for (unsigned i = 0; i <= s; i++) {
        uint32_t units = span(profile->starts[i], profile->size);

        for (line = 0; line + 1 < MIG_UNIT_MAX && (lines[line] & units); line++) {
        }
        lines[line] |= units;
    }
    return line;
}

/* One unit of a placement. */
static const char *glyph(const struct cli *cli, bool free, unsigned at, unsigned size)
{
    if (!free) {
        return cli->unicode ? "×" : "x";
    }
    if (size == 1) {
        return cli->unicode ? "■" : "#";
    }
    if (at == 0) {
        return cli->unicode ? "├" : "[";
    }
    if (at == size - 1) {
        return cli->unicode ? "┤" : "]";
    }
    return cli->unicode ? "─" : "=";
}

bool slots_placements(const struct cli *cli, const struct mig_layout *layout, unsigned profile,
                      unsigned line, char text[SLOTS_TEXT_SIZE])
{
    const struct mig_profile *shape = &layout->model->profiles[profile];
    const char *units[MIG_UNIT_MAX] = {NULL};
    uint32_t taken = mig_layout_mask(layout);
    bool room = mig_layout_room(layout, profile) > 0, any = false;
    size_t length = 0;

    for (unsigned s = 0; s < shape->start_count; s++) {
        unsigned start = shape->starts[s];
        bool free = room && !(span(start, shape->size) & taken);

        if (line_of(shape, s) != line) {
            continue;
        }
        any = true;
        for (unsigned at = 0; at < shape->size && start + at < MIG_UNIT_MAX; at++) {
            units[start + at] = glyph(cli, free, at, shape->size);
        }
    }
    text[0] = '\0';
    for (unsigned unit = 0; any && unit < layout->model->unit_count && unit < MIG_UNIT_MAX;
         unit++) {
        const char *shown = units[unit] ? units[unit] : cli->unicode ? "·" : ".";

        length += (size_t)snprintf(text + length, SLOTS_TEXT_SIZE - length, "%s", shown);
    }
    return any;
}

void slots_legend_add(struct slots_legend *legend, const struct mig_layout *layout)
{
    for (unsigned i = 0; layout->model && i < layout->gi_count; i++) {
        legend->in_use |= layout->gis[i].in_use;
        legend->bare |= !layout->gis[i].in_use && layout->gis[i].ci_count == 0;
    }
}

void slots_legend_print(const struct cli *cli, FILE *out, const struct slots_legend *legend)
{
    if (legend->in_use) {
        fprintf(out, "%s in use%s", mark_used(cli), legend->bare ? "   " : "\n");
    }
    if (legend->bare) {
        fputs("! GPU instance without a compute instance: nobody can use it\n", out);
    }
}
