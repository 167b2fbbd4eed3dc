/* SPDX-License-Identifier: Apache-2.0 */
/* The names of all NVML functions, without "nvml"; a function's id is its place in the table. */
#ifndef MIG_EMULATOR_FUNCTIONS_H
#define MIG_EMULATOR_FUNCTIONS_H

extern const char *const emu_function_names[];
extern const unsigned emu_function_names_count;

#endif
