/* SPDX-License-Identifier: Apache-2.0 */
/* Where the program of the privileged processes is. */
#ifndef MIG_HELPER_PROGRAM_H
#define MIG_HELPER_PROGRAM_H

#include <mig/error.h>

/*
 * Opens the program (NULL = the one that belongs to this one), to be run with fexecve.
 * Close-on-exec. Refuses what others than its owner, or than root, could have put there.
 * MIG_E_FAILED.
 */
int mig_helper_open_program(const char *path, int *ret_fd, struct mig_error *error);

#endif
