/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding all symbols at the start (-z now) touches the symbol tables of every library, those of
 * libraries of libraries included; a process that was started once and then waits for weeks would
 * hold these pages for ever.
 */
#include "base/memory.h"
#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#define MMAP_THRESHOLD (64 * 1024)

void mig_memory_setup(void)
{
    /*
     * Without a fixed threshold glibc raises it to the largest block ever freed, and a snapshot
     * that comes and goes leaves the heap as large as it made it
     */
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
}

/* Whether the loader wrote to segments that are read-only now; their pages are not in any file. */
static bool has_text_relocations(const struct dl_phdr_info *info)
{
    for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Dyn) * entry;

        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC) {
            continue;
        }
        entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag == DT_TEXTREL ||
                (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0)) {
                return true;
            }
        }
    }
    return false;
}

static int give_back_object(struct dl_phdr_info *info, size_t size, void *userdata)
{
    const uintptr_t page = *(const uintptr_t *)userdata;

    (void)size;
    if (has_text_relocations(info)) {
        return 0;
    }
    for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
        uintptr_t end = (begin + segment->p_memsz) / page * page;

        begin = (begin + page - 1) / page * page;
        /* a page at an edge may belong to a segment with data as well */
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_W) == 0 && begin < end) {
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
        }
    }
    return 0;
}

void mig_memory_give_back(void)
{
    long size = sysconf(_SC_PAGESIZE);
    uintptr_t page = size > 0 ? (uintptr_t)size : 4096;

    (void)malloc_trim(0);
    (void)dl_iterate_phdr(give_back_object, &page);
}
