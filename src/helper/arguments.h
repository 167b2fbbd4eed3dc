/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What migd tells migd-helper when it starts it.
 *
 *     migd-helper PROTOCOL CONTROL AGENT [--NAME=VALUE ...]
 *
 * The first three are the same in all versions, so that programs of different versions can say so
 * to each other; what follows is only read when the protocol is the same.
 */
#ifndef MIG_HELPER_ARGUMENTS_H
#define MIG_HELPER_ARGUMENTS_H

#include "helper/helper.h"

#define MIG_HELPER_PROGRAM "migd-helper"
#define MIG_ARGUMENT_MAX 24  /* words, with the program's name and the NULL behind them */
#define MIG_ARGUMENT_FIXED 4 /* the program's name and the three */

struct mig_helper_arguments {
    const char *protocol;
    int control; /* the socket to the agent */
    pid_t agent;
    struct mig_helper_options options;
};

/* The words, NULL behind the last one. */
int mig_helper_arguments_make(const struct mig_helper_arguments *arguments,
                              char *ret[MIG_ARGUMENT_MAX], struct mig_error *error);
void mig_helper_arguments_free(char *words[MIG_ARGUMENT_MAX]);

/* The first three. MIG_E_USAGE. */
int mig_helper_arguments_read_fixed(int argc, char **argv, struct mig_helper_arguments *ret,
                                    struct mig_error *error);

/* The options; texts point into argv. MIG_E_USAGE. */
int mig_helper_arguments_read(int argc, char **argv, struct mig_helper_arguments *ret,
                              struct mig_error *error);

#endif
