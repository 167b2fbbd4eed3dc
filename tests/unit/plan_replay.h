/* SPDX-License-Identifier: Apache-2.0 */
/* Carries plans out on a model of a driver that knows nothing of the planner. */
#ifndef MIG_TEST_PLAN_REPLAY_H
#define MIG_TEST_PLAN_REPLAY_H

#include <mig/plan.h>

/*
 * Carries the plan out on a copy of `layout`, step by step, as a driver would: an occupied unit, a
 * start that is none, a GI destroyed with CIs in it, an unknown instance, or one in use touched
 * that may_go does not name, fails. Afterwards the copy has to equal plan->result. Returns NULL, or
 * what is wrong.
 */
const char *plan_replay(const struct mig_layout *layout, const struct mig_policy *policy,
                        const struct mig_plan *plan);

#endif
