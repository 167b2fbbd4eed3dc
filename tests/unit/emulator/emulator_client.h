/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the emulated libnvidia-ml.so.1 on a node of its own: loads it with dlopen. */
#ifndef MIG_TEST_EMULATOR_CLIENT_H
#define MIG_TEST_EMULATOR_CLIENT_H

#include "emulator_support.h"

extern void *library;
extern struct emu_machine *machine;
extern char directory[64];

void *symbol(const char *name);

/* Calls an NVML function by name with its own type. */
#define NVML(name) ((__typeof__(&name))symbol(#name))

void load(void);
int start(const enum board *boards, unsigned count); /* for a test's setup: node and nvmlInit */
int stop(void **unused);                             /* and its teardown */

nvmlDevice_t gpu(unsigned index);

#endif
