/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault rules: what should go wrong, at which call.
 *
 *     FUNCTION [gpu=N] [nth=N] [hits=N] [delay=MS] [chance=PERCENT] [seed=N] [before|after]
 *              [-> CODE|KILL|XID=N]
 *
 * FUNCTION is an NVML function without the "nvml" (which may be written), with `*` for any text.
 * nth counts the matching calls of all processes of the machine since the rule was added; with nth
 * the rule acts once unless hits says more, without it on every call. CODE is an nvmlReturn_t by
 * name (IN_USE) or number; SUCCESS means that the call says so and has done nothing. `after` lets
 * the call have its effect first. XID=N lets a critical error happen at that point, see emu_xid().
 * A rule without an arrow must have a delay.
 */
#ifndef MIG_EMULATOR_FAULT_H
#define MIG_EMULATOR_FAULT_H

#include "emulator/machine/machine.h"

/*
 * Parses a rule. 0, or -EINVAL with the reason, in words, in `reason` (cut to size).
 */
int emu_fault_parse(const char *text, struct emu_fault *ret, char *reason, size_t reason_size);

/* Writes the canonical text of a rule. */
void emu_fault_format(const struct emu_fault *fault, char *buffer, size_t size);

/* Adds a rule to the state; *ret_slot tells where. -ENOSPC when there are EMU_FAULT_MAX. */
int emu_fault_add(const struct emu_machine *machine, struct emu_state *state,
                  const struct emu_fault *fault, unsigned *ret_slot);
int emu_fault_remove(struct emu_state *state, unsigned slot); /* -ENOENT when it is free */
void emu_fault_clear(struct emu_state *state);

/* What to do to a call now. */
struct emu_verdict {
    uint32_t delay_ms;
    bool kill, fail;
    nvmlReturn_t code; /* when fail */
    unsigned xid;      /* 0: none */
};

/* Asks the rules for the call's start (after = false) or its end; counts only matching rules. */
struct emu_verdict emu_fault_ask(const struct emu_machine *machine, unsigned function, int gpu,
                                 bool after);

/* The name of a return code without its prefix ("IN_USE"), or NULL; and back, or EMU_UNKNOWN. */
const char *emu_return_name(nvmlReturn_t code);
int emu_return_find(const char *name);

#endif
