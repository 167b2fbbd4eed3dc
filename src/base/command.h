/* SPDX-License-Identifier: Apache-2.0 */
/* Running another program: no shell, limited input and output, limited time. */
#ifndef MIG_BASE_COMMAND_H
#define MIG_BASE_COMMAND_H

#include <mig/error.h>
#include <sys/types.h>

#define MIG_COMMAND_OUTPUT_SIZE 4096
#define MIG_COMMAND_INPUT_MAX 4096u /* what a pipe takes at once, so nobody has to wait */

struct mig_command {
    const char *const *words; /* NULL-terminated; the first is looked up in PATH */
    const char *root;         /* the program's root directory; NULL or "" = ours */
    const char *input;        /* on its standard input; NULL = nothing */
    char *const *environment; /* NULL = ours */
    /* In the child, before `root`; only calls that are safe there. 0 or an errno value. */
    int (*prepare)(void *data);
    void *prepare_data;
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

/*
 * Starts it in a process group of its own, with both its outputs on `output`, and does not wait.
 * MIG_OK when it runs; the caller has a child more.
 */
int mig_command_start(const struct mig_command *command, int output, pid_t *ret,
                      struct mig_error *error);

/* MIG_OK when it ended with status 0; else says how it ended, with the last line of its output. */
int mig_command_check(struct mig_command *command, struct mig_error *error);

#endif
