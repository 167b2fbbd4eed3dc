/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's clock, and what its GPUs measure at a time: pure functions of the description, the
 * state and the time. A GPU that draws a steady power approaches a temperature; jobs make the load
 * move a little around its mean, the same way for the same GPU at the same time.
 */
#ifndef MIG_EMULATOR_METER_H
#define MIG_EMULATOR_METER_H

#include "emulator/machine/machine.h"

#define EMU_CLOCK_REAL 1000u      /* rate: machine seconds in a thousand host seconds */
#define EMU_CLOCK_FASTEST 100000u /* years of it fit into 64 bits of nanoseconds */

/* The time of the machine when the host's is `host_ns`; from 0 when the machine was made. */
uint64_t emu_clock_at(const struct emu_clock *clock, uint64_t host_ns);

/* CLOCK_REALTIME. */
uint64_t emu_host_ns(void);

struct emu_reading {
    unsigned load_percent, memory_load_percent;
    int64_t temperature_mc;
    int64_t power_mw;
    uint64_t energy_mj;
    bool is_capped;             /* it would draw more than the power limit allows */
    int64_t clock_graphics_mhz; /* before locks and applications clocks */
};

/* What GPU `gpu`, described by `info`, measures at the machine's time `now_ns`. */
void emu_meter_read(const struct emu_gpu_info *info, const struct emu_gpu *gpu, uint64_t now_ns,
                    struct emu_reading *ret);

/* Load of an instance, moving as that of the GPU does. */
unsigned emu_meter_gi_load(const struct emu_gpu_info *info, const struct emu_gpu *gpu, unsigned gi,
                           uint64_t now_ns);

/*
 * To be called with each change of the state: where the load or the power limit are others than
 * before, the meters are read at `now_ns` and go on from there.
 */
void emu_meter_settle(const struct emu_node_info *info, struct emu_state *state, uint64_t now_ns);

#endif
