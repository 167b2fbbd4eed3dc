/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Binding all symbols at the start (-z now) touches the symbol tables of every library, those of
 * libraries of libraries included; a process that was started once and then waits for weeks would
 * hold these pages for ever.
 *
 * Only what can be read from the file again is given back, and it is the kernel that is asked
 * (/proc/self/smaps), not the headers of the library: a mapping that is private, read-only, of a
 * file, and has no page that anybody ever wrote to, by relocation, by a patch or with a debugger.
 * What is not known to be so is left as it is. NVIDIA's libraries are left alone altogether: they
 * are somebody else's, have threads of their own, and may be unmounted with the driver's container.
 */
#include "base/memory.h"
#include "base/cleanup.h"
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define MMAP_THRESHOLD (64 * 1024)
#define LINE_SIZE 512 /* the longest of interest but for paths, which may be cut */

void mig_memory_setup(void)
{
    /*
     * Without a fixed threshold glibc raises it to the largest block ever freed, and a snapshot
     * that comes and goes leaves the heap as large as it made it
     */
    (void)mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD);
}

/* One mapping, as far as its lines have been read. */
struct mapping {
    uintptr_t begin, end;
    bool is_candidate;    /* private, read-only, of a file that may be touched */
    bool knows_anonymous; /* the kernel has told that no page was written to */
    bool knows_swap;      /* ... and none is swapped out */
};

static bool is_foreign(const char *path)
{
    static const char *const starts[] = {"libnvidia", "libcuda"};
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(starts); i++) {
        if (strncmp(name, starts[i], strlen(starts[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* "7f0a4c000000-7f0a4c028000 r-xp 00001000 fe:00 1234 /usr/lib/libc.so.6"; false: another line. */
static bool read_head(const char *line, struct mapping *ret)
{
    unsigned long begin, end;
    char rights[5] = "";
    int length = 0;
    const char *path;

    if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &begin, &end, rights, &length) < 3) {
        return false;
    }
    path = length > 0 ? line + length : "";
    *ret = (struct mapping){.begin = begin, .end = end};
    /* a path that was cut does not show its name */
    ret->is_candidate = rights[0] == 'r' && rights[1] == '-' && rights[3] == 'p' &&
                        path[0] == '/' && strchr(path, '\n') && !is_foreign(path);
    return true;
}

static void give_back_mapping(const struct mapping *mapping)
{
    union {
        uintptr_t number;
        void *pointer;
    } begin = {mapping->begin};

    if (mapping->is_candidate && mapping->knows_anonymous && mapping->knows_swap) {
        (void)madvise(begin.pointer, mapping->end - mapping->begin, MADV_DONTNEED);
    }
}

static bool is_zero(const char *line, const char *name)
{
    size_t length = strlen(name);
    unsigned long kib;

    return strncmp(line, name, length) == 0 && sscanf(line + length, "%lu", &kib) == 1 && kib == 0;
}

static void give_back_files(void)
{
    MIG_AUTO_FCLOSE FILE *file = fopen("/proc/self/smaps", "re");
    struct mapping mapping = {0}, next;
    char line[LINE_SIZE];

    while (file && fgets(line, sizeof(line), file)) {
        if (read_head(line, &next)) {
            give_back_mapping(&mapping);
            mapping = next;
        }
        mapping.knows_anonymous = mapping.knows_anonymous || is_zero(line, "Anonymous:");
        mapping.knows_swap = mapping.knows_swap || is_zero(line, "Swap:");
    }
    give_back_mapping(&mapping);
}

void mig_memory_give_back(void)
{
    (void)malloc_trim(0);
    give_back_files();
}
