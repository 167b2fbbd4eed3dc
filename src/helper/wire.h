/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of messages, one description for both directions: the same function writes a value into a
 * buffer or reads it out of bytes, so the two cannot differ. Values have a fixed order and no
 * names; both ends are built of the same files (start.c sees to that).
 *
 * The first thing that is wrong (too short, a number over its limit, a text that is too long) fails
 * the whole, and nothing is read or written after it. While writing, values are never assigned to.
 */
#ifndef MIG_HELPER_WIRE_H
#define MIG_HELPER_WIRE_H

#include "base/buffer.h"
#include <stdbool.h>
#include <stdint.h>

struct mig_wire {
    struct mig_buffer *out; /* NULL = reading */
    const uint8_t *data;    /* what is left to read */
    size_t size;
    bool failed;
};

static inline bool mig_wire_is_reading(const struct mig_wire *wire)
{
    return !wire->out;
}

void mig_wire_u8(struct mig_wire *wire, uint8_t *value, uint8_t max);
void mig_wire_u16(struct mig_wire *wire, uint16_t *value, uint16_t max);
void mig_wire_u32(struct mig_wire *wire, uint32_t *value, uint32_t max);
void mig_wire_u64(struct mig_wire *wire, uint64_t *value);
void mig_wire_i16(struct mig_wire *wire, int16_t *value);
void mig_wire_i32(struct mig_wire *wire, int32_t *value);
void mig_wire_i64(struct mig_wire *wire, int64_t *value);
void mig_wire_bool(struct mig_wire *wire, bool *value);

/* A terminated text in a buffer of `size`. */
void mig_wire_text(struct mig_wire *wire, char *text, size_t size);

/* An enum of any type, 0 .. `last`. */
#define MIG_WIRE_ENUM(wire, value, last)                  \
    do {                                                  \
        uint32_t number_ = (uint32_t)(value);             \
        mig_wire_u32((wire), &number_, (uint32_t)(last)); \
        if (mig_wire_is_reading(wire)) {                  \
            (value) = (__typeof__(value))(int)number_;    \
        }                                                 \
    } while (0)

/* Fails it unless `holds`. */
void mig_wire_check(struct mig_wire *wire, bool holds);

#endif
