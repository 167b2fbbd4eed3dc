/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packing and unpacking protobuf messages with a limit on memory: a few bytes on the wire can ask
 * for a large structure, so the size of a message says little about what it costs to read.
 */
#ifndef MIG_DEVICEPLUGIN_PROTOBUF_H
#define MIG_DEVICEPLUGIN_PROTOBUF_H

#include <mig/error.h>
#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

/* What the structures of one message may take. */
#define MIG_PROTOBUF_MEMORY_MAX (16u << 20)

/*
 * Unpacks a message of `descriptor`; release *ret with mig_protobuf_free. MIG_E_FAILED when the
 * bytes are no such message, or one that needs too much memory.
 */
int mig_protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes,
                        size_t size, ProtobufCMessage **ret, struct mig_error *error);
void mig_protobuf_free(ProtobufCMessage *message); /* NULL is allowed */

/* Packs into malloc'd memory; an empty message has size 0 and still a pointer. */
int mig_protobuf_pack(const ProtobufCMessage *message, void **ret, size_t *ret_size,
                      struct mig_error *error);

/* The generated structures take texts without const; packing does not change them. */
static inline char *mig_protobuf_text(const char *text)
{
    return (char *)(uintptr_t)text;
}

#endif
