/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver does with instances: creating, destroying, choosing places, numbering, and MIG
 * mode. Pure functions over the description and the state of one GPU; they change the state they
 * are given or nothing, and answer with the driver's codes.
 */
#ifndef MIG_EMULATOR_PARTITION_H
#define MIG_EMULATOR_PARTITION_H

#include "emulator/machine/machine.h"

/* Index of a profile by driver id or NVML enum; EMU_UNKNOWN when the GPU has none that works. */
int emu_profile_by_id(const struct emu_gpu_info *info, unsigned driver_id);
int emu_profile_by_enum(const struct emu_gpu_info *info, unsigned enum_value);
int emu_ci_profile_by_id(const struct emu_profile *profile, unsigned driver_id);
int emu_ci_profile_by_enum(const struct emu_profile *profile, unsigned enum_value);

/* The hardware's number of an instance of `size` units at `start`. */
unsigned emu_gi_id(const struct emu_gpu_info *info, unsigned start, unsigned size);

/* How many more instances of the profile fit beside what is there. */
unsigned emu_gi_room(const struct emu_gpu_info *info, const struct emu_gpu *gpu, unsigned profile);
unsigned emu_ci_room(const struct emu_profile *profile, const struct emu_gi *gi,
                     unsigned ci_profile);

/* Starts at which an instance could be created now; the number of them. */
unsigned emu_gi_free_starts(const struct emu_gpu_info *info, const struct emu_gpu *gpu,
                            unsigned profile, uint8_t starts[EMU_START_MAX]);

/* `start` EMU_START_ANY: the driver's choice. On success *ret_id is set. */
nvmlReturn_t emu_gi_create(const struct emu_node_info *info, struct emu_state *state, unsigned gpu,
                           unsigned profile, unsigned start, unsigned *ret_id);
nvmlReturn_t emu_ci_create(const struct emu_node_info *info, struct emu_state *state, unsigned gpu,
                           unsigned gi, unsigned ci_profile, unsigned start, unsigned *ret_id);
nvmlReturn_t emu_gi_destroy(struct emu_state *state, unsigned gpu, unsigned gi);
nvmlReturn_t emu_ci_destroy(struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci);

/* What nvmlDeviceSetMigMode does: *ret_activation says whether the mode is in force. */
nvmlReturn_t emu_mode_set(const struct emu_node_info *info, struct emu_state *state, unsigned gpu,
                          unsigned mode, nvmlReturn_t *ret_activation);

/* The pending mode comes into force; instances are gone. */
void emu_mode_activate(struct emu_gpu *gpu);

#endif
