/* SPDX-License-Identifier: Apache-2.0 */
/* The growing text buffer: capacity doubles up to the limit; the first failure sticks. */
#include "base/buffer.h"
#include <errno.h>
#include <string.h>

#define FIRST_CAPACITY 256

void mig_buffer_init(struct mig_buffer *buffer, size_t max)
{
    *buffer = (struct mig_buffer){.max = max};
}

void mig_buffer_release(struct mig_buffer *buffer)
{
    free(buffer->data);
    mig_buffer_init(buffer, buffer->max);
}

/* Makes room for `size` more bytes and a terminator. */
static int reserve(struct mig_buffer *buffer, size_t size)
{
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : FIRST_CAPACITY;
    char *data;

    if (buffer->error) {
        return buffer->error;
    }
    if (size > buffer->max || buffer->size > buffer->max - size) {
        return buffer->error = EFBIG;
    }
    while (capacity < buffer->size + size + 1) {
        capacity *= 2;
    }
    if (capacity == buffer->capacity) {
        return 0;
    }
    data = realloc(buffer->data, capacity);
    if (!data) {
        return buffer->error = ENOMEM;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

int mig_buffer_append(struct mig_buffer *buffer, const void *data, size_t size)
{
    if (reserve(buffer, size)) {
        return buffer->error;
    }
    if (size > 0) {
        memcpy(buffer->data + buffer->size, data, size);
    }
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
    return 0;
}

int mig_buffer_puts(struct mig_buffer *buffer, const char *text)
{
    return mig_buffer_append(buffer, text, strlen(text));
}

int mig_buffer_printf(struct mig_buffer *buffer, const char *format, ...)
{
    va_list arguments;
    int length;

    va_start(arguments, format);
    length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return buffer->error = buffer->error ? buffer->error : EINVAL;
    }
    if (reserve(buffer, (size_t)length)) {
        return buffer->error;
    }
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->size += (size_t)length;
    return 0;
}

char *mig_buffer_take(struct mig_buffer *buffer)
{
    if (mig_buffer_append(buffer, "", 0)) {
        return NULL;
    }
    buffer->size = buffer->capacity = 0;
    return MIG_TAKE(buffer->data);
}
