/* SPDX-License-Identifier: Apache-2.0 */
/* Values of a message, see wire.h. Numbers are as the machine has them: nothing leaves it. */
#include "helper/wire.h"
#include <string.h>

void mig_wire_check(struct mig_wire *wire, bool holds)
{
    if (!holds) {
        wire->failed = true;
    }
}

/* Writes, or reads; false when there is nothing (more) to read. */
static bool pass(struct mig_wire *wire, void *value, size_t size)
{
    if (wire->failed) {
        return false;
    }
    if (wire->out) {
        mig_wire_check(wire, mig_buffer_append(wire->out, value, size) == 0);
        return false;
    }
    mig_wire_check(wire, wire->size >= size);
    if (wire->failed) {
        return false;
    }
    memcpy(value, wire->data, size);
    wire->data += size;
    wire->size -= size;
    return true;
}

/* A number that is too large is not kept: what is read is always within its limit. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type cannot stand in parentheses */
#define DEFINE_LIMITED(name, type)                                     \
    void mig_wire_##name(struct mig_wire *wire, type *value, type max) \
    {                                                                  \
        type number = *value;                                          \
        bool read;                                                     \
                                                                       \
        mig_wire_check(wire, wire->out == NULL || number <= max);      \
        read = pass(wire, &number, sizeof(number));                    \
        mig_wire_check(wire, !read || number <= max);                  \
        if (read) {                                                    \
            *value = number <= max ? number : 0;                       \
        }                                                              \
    }

#define DEFINE_PLAIN(name, type)                             \
    void mig_wire_##name(struct mig_wire *wire, type *value) \
    {                                                        \
        (void)pass(wire, value, sizeof(*value));             \
    }

/* NOLINTEND(bugprone-macro-parentheses) */

DEFINE_LIMITED(u8, uint8_t)
DEFINE_LIMITED(u16, uint16_t)
DEFINE_LIMITED(u32, uint32_t)
DEFINE_PLAIN(u64, uint64_t)
DEFINE_PLAIN(i16, int16_t)
DEFINE_PLAIN(i32, int32_t)
DEFINE_PLAIN(i64, int64_t)

void mig_wire_bool(struct mig_wire *wire, bool *value)
{
    uint8_t number = wire->out && *value ? 1 : 0;

    mig_wire_u8(wire, &number, 1);
    if (mig_wire_is_reading(wire)) {
        *value = number == 1;
    }
}

void mig_wire_text(struct mig_wire *wire, char *text, size_t size)
{
    uint16_t length = 0;

    if (wire->out) {
        size_t found = strnlen(text, size);

        mig_wire_check(wire, found < size && found <= UINT16_MAX);
        length = (uint16_t)found;
    }
    mig_wire_u16(wire, &length, (uint16_t)(size - 1 < UINT16_MAX ? size - 1 : UINT16_MAX));
    if (pass(wire, text, length)) {
        text[length] = '\0';
        mig_wire_check(wire, strlen(text) == length);
    }
    if (wire->failed && mig_wire_is_reading(wire)) {
        text[0] = '\0';
    }
}
