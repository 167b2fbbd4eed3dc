/* SPDX-License-Identifier: Apache-2.0 */
/* Version-5 UUIDs (RFC 4122): the same name in the same space is the same UUID, everywhere. */
#ifndef MIG_EMULATOR_UUID_H
#define MIG_EMULATOR_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMU_UUID_TEXT_SIZE 37 /* 8-4-4-4-12 and the terminator */

void emu_uuid_v5(const uint8_t space[16], const void *name, size_t size, uint8_t ret[16]);
void emu_uuid_format(const uint8_t uuid[16], char text[EMU_UUID_TEXT_SIZE]);

/* Reads 8-4-4-4-12 at the start of `text`; false when it is none. */
bool emu_uuid_parse(const char *text, uint8_t ret[16]);

/* "GPU-..." of the number-th GPU of a machine, from any text that names the machine. */
void emu_gpu_uuid(const char *machine, unsigned number, char *buffer, size_t size);

/* "MIG-..." of a MIG device, from its GPU's "GPU-..." and its ids. */
void emu_mig_uuid(const char *gpu_uuid, unsigned gi, unsigned ci, char *buffer, size_t size);

#endif
