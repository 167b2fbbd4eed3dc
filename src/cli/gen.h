/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of migctl-gen. Each prints to standard output and returns an exit code. */
#ifndef MIG_CLI_GEN_H
#define MIG_CLI_GEN_H

#include "cli/options.h"

int gen_man(const char *page); /* "migctl" or the name of a command */
int gen_bash(void);
int gen_zsh(void);
int gen_fish(void);

#endif
