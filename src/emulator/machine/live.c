/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live part of the machine: counters of calls, and the rings of calls and events.
 *
 * Written by any process without a lock. A ring slot is guarded like a seqlock: its guard is
 * cleared before and set to the entry's number after it is written, so a reader takes only entries
 * that were whole; a writer that dies in between leaves a hole. Waiting for events is a futex on
 * the mapping, so it costs nothing and ends exactly at its time.
 */
#include "emulator/machine/functions.h"
#include "emulator/machine/machine_file.h"
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EVENT_PATIENCE 1000 /* looks at an event that is not there yet */

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

/* Writes an entry of whole words into its slot of a ring. */
static void ring_write(_Atomic uint64_t *guard, void *slot, const void *entry, size_t size,
                       uint64_t sequence)
{
    atomic_store_explicit(guard, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    emu_words_store(slot, entry, size);
    atomic_store_explicit(guard, sequence, memory_order_release);
}

/* False when the slot does not hold the whole entry with that number. */
static bool ring_read(const _Atomic uint64_t *guard, const void *slot, void *entry, size_t size,
                      uint64_t sequence)
{
    if (atomic_load_explicit(guard, memory_order_acquire) != sequence) {
        return false;
    }
    emu_words_load(entry, slot, size);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(guard, memory_order_relaxed) == sequence;
}

/* ---- calls ---------------------------------------------------------------------------------- */

void emu_trace_add(const struct emu_machine *machine, struct emu_trace *entry)
{
    if (!machine->writable) {
        return;
    }
    struct emu_live *live = &machine->file->live;
    atomic_fetch_add_explicit(&live->function_counts[entry->function], 1, memory_order_relaxed);
    entry->sequence = atomic_fetch_add_explicit(&live->call_count, 1, memory_order_relaxed) + 1;
    size_t slot = entry->sequence % EMU_TRACE_MAX;
    ring_write(&live->trace_guards[slot], &live->traces[slot], entry, sizeof *entry,
               entry->sequence);
}

size_t emu_trace_read(const struct emu_machine *machine, uint64_t from, struct emu_trace *ret,
                      size_t max)
{
    const struct emu_live *live = &machine->file->live;
    uint64_t last = emu_call_count(machine);
    uint64_t first = last >= EMU_TRACE_MAX ? last - EMU_TRACE_MAX + 1 : 1;
    size_t count = 0;
    for (uint64_t i = from > first ? from : first; i <= last && count < max; i++) {
        size_t slot = i % EMU_TRACE_MAX;
        count +=
            ring_read(&live->trace_guards[slot], &live->traces[slot], &ret[count], sizeof *ret, i);
    }
    return count;
}

/* ---- events --------------------------------------------------------------------------------- */

void emu_event_post(const struct emu_machine *machine, const struct emu_event *event)
{
    if (!machine->writable) {
        return;
    }
    struct emu_live *live = &machine->file->live;
    struct emu_event entry = *event;
    entry.sequence = atomic_fetch_add(&live->event_count, 1) + 1;
    size_t slot = entry.sequence % EMU_EVENT_MAX;
    ring_write(&live->event_guards[slot], &live->events[slot], &entry, sizeof entry,
               entry.sequence);
    atomic_store(&live->event_bell, (uint32_t)entry.sequence);
    syscall(SYS_futex, &live->event_bell, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

uint64_t emu_event_last(const struct emu_machine *machine)
{
    return atomic_load(&machine->file->live.event_count);
}

/* An event that has its number may still be on its way; its writer may also have died. */
static bool read_event(const struct emu_live *live, uint64_t number, struct emu_event *ret)
{
    size_t slot = number % EMU_EVENT_MAX;
    for (unsigned i = 0; i < EVENT_PATIENCE; i++) {
        if (ring_read(&live->event_guards[slot], &live->events[slot], ret, sizeof *ret, number)) {
            return true;
        }
        sched_yield();
    }
    return false;
}

int emu_event_next(const struct emu_machine *machine, uint64_t *cursor, struct emu_event *ret)
{
    const struct emu_live *live = &machine->file->live;
    uint64_t last = emu_event_last(machine);
    uint64_t first = last >= EMU_EVENT_MAX ? last - EMU_EVENT_MAX + 1 : 1;
    uint64_t number = *cursor + 1 > first ? *cursor + 1 : first;
    for (; number <= last; number++) {
        *cursor = number;
        if (read_event(live, number, ret)) {
            return 0;
        }
    }
    return -ENOENT;
}

void emu_event_wait(const struct emu_machine *machine, uint64_t seen, uint64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                                .tv_nsec = (long)(deadline_ns % 1000000000u)};
    const struct emu_live *live = &machine->file->live;
    uint32_t bell = atomic_load(&live->event_bell);
    if (emu_event_last(machine) != seen) {
        return;
    }
    /* FUTEX_WAIT_BITSET takes an absolute time. */
    syscall(SYS_futex, &live->event_bell, FUTEX_WAIT_BITSET, bell, &deadline, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

/* ---- faults --------------------------------------------------------------------------------- */

uint64_t emu_fault_seen(const struct emu_machine *machine, unsigned slot)
{
    return slot < EMU_FAULT_MAX ? atomic_load(&machine->file->live.fault_seen[slot]) : 0;
}

uint64_t emu_fault_hits(const struct emu_machine *machine, unsigned slot)
{
    return slot < EMU_FAULT_MAX ? atomic_load(&machine->file->live.fault_hits[slot]) : 0;
}
