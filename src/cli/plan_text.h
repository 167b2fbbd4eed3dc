/* SPDX-License-Identifier: Apache-2.0 */
/* Plans and refusals as a person reads them. */
#ifndef MIG_CLI_PLAN_TEXT_H
#define MIG_CLI_PLAN_TEXT_H

#include "cli/cli.h"

/* Prints what happens to each GPU, equal ones together; `done`: it has happened. */
void plan_print(const struct cli *cli, const struct mig_node *node,
                const struct mig_node_plan *plan, bool done);

/* Prints why GPUs cannot be brought to the goal. */
void plan_print_refusals(const struct cli *cli, const struct mig_node *node,
                         const struct mig_goal *goal, const struct mig_node_plan *plan);

/* The steps of one GPU as lines, steps that follow from others left out. */
void plan_print_steps(const struct cli *cli, FILE *out, const struct mig_layout *layout,
                      const struct mig_plan *plan, bool done);

/* "2 x 3g.20gb, 1g.5gb" */
void plan_print_target(FILE *out, const struct mig_model *model, const struct mig_target *target,
                       const uint8_t *indices, unsigned count);

/* "about 0.4 s" */
#define PLAN_TIME_SIZE 32
const char *plan_time(uint32_t estimate_ms, char buffer[PLAN_TIME_SIZE]);

#endif
