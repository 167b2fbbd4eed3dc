/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs drawn as rows of slots, one cell per placement unit. */
#ifndef MIG_CLI_SLOTS_H
#define MIG_CLI_SLOTS_H

#include "cli/cli.h"

/*
 * Draws a layout as a boxed row. The upper edge carries the starts. Instances in use, and GPU
 * instances without a compute instance, are marked; free units that no profile can use at the
 * moment are empty. Draws nothing when the model's units are not known.
 */
void slots_draw(const struct cli *cli, FILE *out, const struct mig_layout *layout, unsigned indent);

/*
 * The placements of one profile, one character per unit: where instances can go now, and crossed
 * out where they cannot. Overlapping placements are drawn on as many lines as they need; `line`
 * counts them from 0. Returns false when there is no such line. Units that no placement of the
 * profile covers are dots.
 */
#define SLOTS_TEXT_SIZE (MIG_UNIT_MAX * 4 + 1)
bool slots_placements(const struct cli *cli, const struct mig_layout *layout, unsigned profile,
                      unsigned line, char text[SLOTS_TEXT_SIZE]);

/* What the marks of slots_draw mean, as far as these layouts need it. */
struct slots_legend {
    bool in_use, bare;
};
void slots_legend_add(struct slots_legend *legend, const struct mig_layout *layout);
void slots_legend_print(const struct cli *cli, FILE *out, const struct slots_legend *legend);

#endif
