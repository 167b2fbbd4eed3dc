/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks are taken from malloc in chunks and handed out from the front; nothing is given back
 * before the whole arena is. What is counted against the limit is what was taken from malloc.
 */
#include "config/arena.h"
#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE 65536u

struct mig_arena_block {
    struct mig_arena_block *next;
    size_t used, size;
    alignas(max_align_t) unsigned char data[];
};

void mig_arena_init(struct mig_arena *arena, size_t max)
{
    *arena = (struct mig_arena){.max = max};
}

void mig_arena_release(struct mig_arena *arena)
{
    while (arena->blocks) {
        struct mig_arena_block *next = arena->blocks->next;

        free(arena->blocks);
        arena->blocks = next;
    }
    arena->size = 0;
}

static struct mig_arena_block *add_block(struct mig_arena *arena, size_t needed)
{
    size_t size = needed > BLOCK_SIZE ? needed : BLOCK_SIZE;
    struct mig_arena_block *block;

    if (size > arena->max || arena->size > arena->max - size) {
        return NULL;
    }
    block = malloc(sizeof(*block) + size);
    if (!block) {
        return NULL;
    }
    block->next = arena->blocks;
    block->used = 0;
    block->size = size;
    arena->blocks = block;
    arena->size += size;
    return block;
}

static void *take(struct mig_arena *arena, size_t size, size_t alignment)
{
    struct mig_arena_block *block = arena->blocks;
    size_t start = block ? (block->used + alignment - 1) & ~(alignment - 1) : 0;

    if (!block || start > block->size || size > block->size - start) {
        block = add_block(arena, size);
        if (!block) {
            return NULL;
        }
        start = 0;
    }
    block->used = start + size;
    return block->data + start;
}

void *mig_arena_take(struct mig_arena *arena, size_t size)
{
    void *memory = take(arena, size, alignof(max_align_t));

    if (memory) {
        memset(memory, 0, size);
    }
    return memory;
}

void *mig_arena_array(struct mig_arena *arena, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total)) {
        return NULL;
    }
    return mig_arena_take(arena, total);
}

char *mig_arena_text(struct mig_arena *arena, const char *text, size_t length)
{
    char *copy = length < SIZE_MAX ? take(arena, length + 1, 1) : NULL;

    if (copy) {
        memcpy(copy, text, length);
        copy[length] = '\0';
    }
    return copy;
}
