/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated machines for tests: boards by hand (not from the catalogue, so that a mistake in either
 * shows), nodes in temporary directories.
 */
#ifndef MIG_TEST_EMULATOR_SUPPORT_H
#define MIG_TEST_EMULATOR_SUPPORT_H

#include "emulator/machine/machine.h"

enum board {
    BOARD_A30 = 0, /* 4 units */
    BOARD_A100,    /* 8 units, mode change needs a reset */
    BOARD_H100,    /* 8 units, it does not */
    BOARD_RTX,     /* 12 units, +gfx, -me and +me.all */
    BOARD_T4,      /* no MIG */
};

/* Fills the description of one board. */
void board_describe(enum board board, enum emu_numbering numbering, unsigned index,
                    struct emu_gpu_info *ret);

/* A node with these boards in a new temporary directory; path in `directory`. */
struct emu_machine *node_make(const enum board *boards, unsigned count,
                              enum emu_numbering numbering, char directory[64]);
void node_remove(struct emu_machine *machine, const char *directory);

/* Sets the mode of a GPU directly. */
void node_enable(const struct emu_machine *machine, unsigned gpu);

/* A state on the heap; the caller frees. */
struct emu_state *node_read(const struct emu_machine *machine);

/* Adds a fault rule by its text; its slot. */
unsigned node_add_fault(const struct emu_machine *machine, const char *text);

#endif
