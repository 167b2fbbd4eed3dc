/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live part of the machine: counters of calls and the ring of the latest ones.
 *
 * Written by every call of every process without a lock. A ring slot is guarded like a seqlock:
 * its guard is cleared before and set to the call's number after it is written, so a reader takes
 * only entries that were whole.
 */
#include "emulator/functions.h"
#include "emulator/machine_file.h"
#include <string.h>

int emu_function_find(const char *name)
{
    if (strncmp(name, "nvml", 4) == 0) {
        name += 4;
    }
    for (unsigned i = 0; i < emu_function_names_count; i++) {
        if (strcmp(emu_function_names[i], name) == 0) {
            return (int)i;
        }
    }
    return EMU_UNKNOWN;
}

const char *emu_function_name(unsigned function)
{
    return function < emu_function_names_count ? emu_function_names[function] : NULL;
}

uint64_t emu_call_count(const struct emu_machine *machine)
{
    return atomic_load_explicit(&machine->file->live.call_count, memory_order_relaxed);
}

uint64_t emu_function_count(const struct emu_machine *machine, unsigned function)
{
    if (function >= EMU_FUNCTION_MAX) {
        return 0;
    }
    return atomic_load_explicit(&machine->file->live.function_counts[function],
                                memory_order_relaxed);
}

void emu_counters_clear(const struct emu_machine *machine)
{
    if (!machine->writable) {
        return;
    }
    /* The call count stays: it numbers the calls of the ring. */
    for (unsigned i = 0; i < EMU_FUNCTION_MAX; i++) {
        atomic_store_explicit(&machine->file->live.function_counts[i], 0, memory_order_relaxed);
    }
}

void emu_trace_add(const struct emu_machine *machine, struct emu_trace *entry)
{
    if (!machine->writable) {
        return;
    }
    struct emu_live *live = &machine->file->live;
    atomic_fetch_add_explicit(&live->function_counts[entry->function], 1, memory_order_relaxed);
    entry->sequence = atomic_fetch_add_explicit(&live->call_count, 1, memory_order_relaxed) + 1;
    size_t slot = entry->sequence % EMU_TRACE_MAX;
    atomic_store_explicit(&live->trace_guards[slot], 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    emu_words_store(&live->traces[slot], entry, sizeof *entry);
    atomic_store_explicit(&live->trace_guards[slot], entry->sequence, memory_order_release);
}

static bool read_entry(const struct emu_live *live, uint64_t sequence, struct emu_trace *ret)
{
    size_t slot = sequence % EMU_TRACE_MAX;
    if (atomic_load_explicit(&live->trace_guards[slot], memory_order_acquire) != sequence) {
        return false;
    }
    emu_words_load(ret, &live->traces[slot], sizeof *ret);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&live->trace_guards[slot], memory_order_relaxed) == sequence &&
           ret->sequence == sequence;
}

size_t emu_trace_read(const struct emu_machine *machine, uint64_t from, struct emu_trace *ret,
                      size_t max)
{
    const struct emu_live *live = &machine->file->live;
    uint64_t last = emu_call_count(machine);
    uint64_t first = last >= EMU_TRACE_MAX ? last - EMU_TRACE_MAX + 1 : 1;
    size_t count = 0;
    for (uint64_t i = from > first ? from : first; i <= last && count < max; i++) {
        count += read_entry(live, i, &ret[count]);
    }
    return count;
}

uint64_t emu_fault_seen(const struct emu_machine *machine, unsigned slot)
{
    return slot < EMU_FAULT_MAX ? atomic_load(&machine->file->live.fault_seen[slot]) : 0;
}

uint64_t emu_fault_hits(const struct emu_machine *machine, unsigned slot)
{
    return slot < EMU_FAULT_MAX ? atomic_load(&machine->file->live.fault_hits[slot]) : 0;
}
