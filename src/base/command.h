/* SPDX-License-Identifier: Apache-2.0 */
/* Running another program: no shell, no input, limited output, limited time. */
#ifndef MIG_BASE_COMMAND_H
#define MIG_BASE_COMMAND_H

#include <mig/error.h>

#define MIG_COMMAND_OUTPUT_SIZE 4096

struct mig_command {
    const char *const *words; /* NULL-terminated; the first is looked up in PATH */
    const char *root;         /* the program's root directory; NULL or "" = ours */
    unsigned timeout_ms;
    char output[MIG_COMMAND_OUTPUT_SIZE]; /* out: the first of both its outputs, terminated */
    int status;                           /* out: as of waitpid */
};

/*
 * Runs it in a process group of its own and waits. MIG_OK when it has ended, however it ended.
 * MIG_E_FAILED with MIG_DOMAIN_ERRNO when it could not be started, with MIG_DOMAIN_EXIT when it
 * took too long and was killed; a process that hangs in a driver cannot be killed and is left.
 */
int mig_command_run(struct mig_command *command, struct mig_error *error);

/* MIG_OK when it ended with status 0; else says how it ended, with the last line of its output. */
int mig_command_check(struct mig_command *command, struct mig_error *error);

#endif
