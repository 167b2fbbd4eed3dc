/* SPDX-License-Identifier: Apache-2.0 */
/* Resetting one GPU by an outside command. */
#ifndef MIG_GPU_RESET_H
#define MIG_GPU_RESET_H

#include <mig/error.h>

#define MIG_RESET_TIMEOUT_MS 120000u

/*
 * Runs `command` (argv, NULL-terminated; "{bus_id}" is replaced in each word; NULL = the default of
 * apply.h) below `root` (NULL = ours) and waits for it, at most timeout_ms. Fails with MIG_E_FAILED
 * and MIG_DOMAIN_EXIT, and what the command said.
 */
int mig_reset_run(const char *const *command, const char *root, const char *bus_id,
                  unsigned timeout_ms, struct mig_error *error);

#endif
