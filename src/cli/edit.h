/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of single instances: create and destroy turn into a goal for one or few GPUs. */
#ifndef MIG_CLI_EDIT_H
#define MIG_CLI_EDIT_H

#include "cli/node.h"

/* The goal that leaves a GPU as it is, to be edited; MIG_E_FAILED when nothing is known about it or
 * MIG is off. */
int edit_begin(const struct mig_gpu *gpu, struct mig_gpu_goal *goal, struct mig_error *error);

#endif
