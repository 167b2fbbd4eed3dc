/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that is released all at once, with a limit: a small file can ask for a lot (an alias costs
 * a few bytes and may stand for a long list), so the memory behind a file has a ceiling.
 */
#ifndef MIG_CONFIG_ARENA_H
#define MIG_CONFIG_ARENA_H

#include <stddef.h>

struct mig_arena_block;

struct mig_arena {
    struct mig_arena_block *blocks;
    size_t size, max;
};

void mig_arena_init(struct mig_arena *arena, size_t max);
void mig_arena_release(struct mig_arena *arena);

/* Zeroed; aligned for any object. NULL when there is no memory or the limit is reached. */
void *mig_arena_take(struct mig_arena *arena, size_t size);

/* `count` objects of `size`. NULL as above, or when the product is too large. */
void *mig_arena_array(struct mig_arena *arena, size_t count, size_t size);

/* A terminated copy of `length` bytes. */
char *mig_arena_text(struct mig_arena *arena, const char *text, size_t length);

#endif
