/* SPDX-License-Identifier: Apache-2.0 */
/* The layout of NODE/state, for the parts of the machine that work on the mapping itself. */
#ifndef MIG_EMULATOR_MACHINE_FILE_H
#define MIG_EMULATOR_MACHINE_FILE_H

#include "emulator/machine/machine.h"
#include <limits.h>
#include <stdalign.h>

#define EMU_MAGIC "migemu\n"
#define EMU_READ_TRIES 1000 /* a reader is overtaken by two commits that many times in a row */

/* Written with atomics only, outside transactions. */
struct emu_live {
    _Atomic uint64_t call_count;
    _Atomic uint64_t function_counts[EMU_FUNCTION_MAX];
    _Atomic uint64_t fault_seen[EMU_FAULT_MAX], fault_hits[EMU_FAULT_MAX];
    /* The ring: a slot is valid for the call whose number its guard holds before and after. */
    _Atomic uint64_t trace_guards[EMU_TRACE_MAX];
    struct emu_trace traces[EMU_TRACE_MAX];
    _Atomic uint64_t event_count;
    _Atomic uint32_t event_bell; /* the low half of event_count, for futex */
    _Atomic uint64_t event_guards[EMU_EVENT_MAX];
    struct emu_event events[EMU_EVENT_MAX];
};

struct emu_file {
    char magic[8];
    uint32_t schema;
    uint32_t reserved;
    uint64_t layout_size;      /* sizeof(struct emu_file) of the program that made it */
    uint64_t description_hash; /* of the used part of `info` */
    alignas(64) _Atomic uint64_t generation; /* odd: images[1] is current */
    alignas(64) struct emu_node_info info;
    alignas(64) struct emu_live live;
    alignas(64) struct emu_state images[2];
};

struct emu_machine {
    struct emu_file *file;
    bool writable;
    uid_t owner;
    dev_t device;
    ino_t inode;
    char path[PATH_MAX];
};

/* Hash of memory in whole words. */
uint64_t emu_hash(const void *data, size_t size);

/* Bytes of a description or state that are in use with so many GPUs. */
size_t emu_info_size(uint32_t gpu_count);
size_t emu_state_size(uint32_t gpu_count);
uint64_t emu_state_checksum(const struct emu_state *state);

/* False when the description could lead a reader out of bounds. */
bool emu_info_is_sane(const struct emu_node_info *info);

/* Copies words to and from memory that other processes write and read meanwhile. */
void emu_words_load(void *to, const void *from, size_t size);
void emu_words_store(void *to, const void *from, size_t size);

#endif
