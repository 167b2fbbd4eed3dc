/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing text buffer with an upper limit. It cannot be made without one: whatever comes from
 * outside has a size that somebody else chose. The content is always terminated. After the first
 * failure (limit reached, or no memory) further appends do nothing, so a writer checks once, at the
 * end, with mig_buffer_error().
 */
#ifndef MIG_BASE_BUFFER_H
#define MIG_BASE_BUFFER_H

#include "base/cleanup.h"
#include <mig/error.h>
#include <stdarg.h>
#include <stddef.h>

struct mig_buffer {
    char *data; /* NULL until something is appended */
    size_t size, capacity, max;
    int error; /* 0, or the errno of the first failure (ENOMEM, EFBIG) */
};

void mig_buffer_init(struct mig_buffer *buffer, size_t max);
void mig_buffer_release(struct mig_buffer *buffer);

#define MIG_AUTO_BUFFER MIG_CLEANUP(mig_buffer_release)

/* Each returns buffer->error. */
int mig_buffer_append(struct mig_buffer *buffer, const void *data, size_t size);
int mig_buffer_puts(struct mig_buffer *buffer, const char *text);
int mig_buffer_printf(struct mig_buffer *buffer, const char *format, ...) MIG_PRINTF(2, 3);

/* The terminated content, handed over to the caller (malloc'd); NULL after a failure. */
char *mig_buffer_take(struct mig_buffer *buffer);

#endif
