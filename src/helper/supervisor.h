/* SPDX-License-Identifier: Apache-2.0 */
/* The first process of migd, once it is the program migd-helper. */
#ifndef MIG_HELPER_SUPERVISOR_H
#define MIG_HELPER_SUPERVISOR_H

#include "helper/arguments.h"

/*
 * Starts helpers for the agent, a child of this process that is joined by `control`, until it ends;
 * ends with its status.
 */
__attribute__((noreturn)) void mig_supervisor_run(const struct mig_helper_arguments *arguments);

/*
 * For an agent of another version: says which protocol is spoken here, and ends when the agent,
 * which will not like it, does.
 */
__attribute__((noreturn)) void mig_supervisor_decline(const struct mig_helper_arguments *arguments);

#endif
