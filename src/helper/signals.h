/* SPDX-License-Identifier: Apache-2.0 */
/* The signals that the supervisor takes by descriptor: the end of a child, and those it passes on.
 */
#ifndef MIG_HELPER_SIGNALS_H
#define MIG_HELPER_SIGNALS_H

#include <signal.h>

sigset_t mig_signals_watched(void);

/*
 * Blocks them, so that none is lost on the way to the program that takes them: the mask, and what
 * waits behind it, live on in a program that is run.
 */
void mig_signals_block(sigset_t *ret_before);

#endif
