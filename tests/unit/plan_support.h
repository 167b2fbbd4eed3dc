/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the planner: layouts and targets in a short notation.
 *
 *   "3g.20gb@4* 1g.5gb@0 2g.10gb@2{1c.2g.10gb@0*} 1g.5gb@6{}"
 *
 * profile, @start (targets may leave it out), * in use; in braces the compute instances, {} none;
 * without braces the one that fills the GPU instance, in use as the GPU instance is.
 */
#ifndef MIG_TEST_PLAN_SUPPORT_H
#define MIG_TEST_PLAN_SUPPORT_H

#include "plan_replay.h"
#include <mig/plan.h>

/* Each fails the test on a notation that it cannot read. */
struct mig_layout plan_layout(const struct mig_model *model, const char *text);
struct mig_target plan_target(const struct mig_model *model, const char *text);
const struct mig_model *plan_model(const char *name);

/* Writes a layout in the notation (in order of starts; CIs only where they are not the default). */
const char *plan_layout_text(const struct mig_layout *layout, char *buffer, size_t size);

/* The steps in short: "-3g.20gb@4 +1g.5gb@4", CI steps as "-1c.3g.20gb@0/4". */
const char *plan_steps_text(const struct mig_model *model, const struct mig_plan *plan,
                            char *buffer, size_t size);

#endif
