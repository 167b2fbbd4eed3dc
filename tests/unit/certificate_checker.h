/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks a refusal of the planner claim by claim, by brute force over all placed states. For
 * targets without starts and with the compute instances that fill their GPU instances.
 */
#ifndef MIG_TEST_CERTIFICATE_CHECKER_H
#define MIG_TEST_CERTIFICATE_CHECKER_H

#include "plan_oracle.h"

/*
 * `oracle` has every state of the profiles that occur, `layout` is oracle_layout(state, in_use) of
 * some state, target any multiset. Returns NULL, or the claim that is wrong.
 */
const char *certificate_check(const struct oracle *oracle, const struct mig_layout *layout,
                              uint64_t in_use, const struct mig_target *target, int result,
                              const struct mig_certificate *certificate);

#endif
