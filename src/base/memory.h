/* SPDX-License-Identifier: Apache-2.0 */
/* What a long-running process holds of the machine's memory. */
#ifndef MIG_BASE_MEMORY_H
#define MIG_BASE_MEMORY_H

/* Once, before anything large is allocated: what is large is given back whenever it is freed. */
void mig_memory_setup(void);

/*
 * Gives back what only the past needed: free heap, and the pages of programs and libraries that are
 * as they are in their files. Those that are needed again are mapped again when they are touched,
 * as they were the first time, so a process calls this before it waits for long, not while it
 * works.
 */
void mig_memory_give_back(void);

#endif
