/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Protobuf messages in bounded memory.
 *
 * While a message is unpacked, what is allocated is counted and never given back to the count: a
 * message that needs more than the limit in total is refused, whatever it releases meanwhile.
 */
#include "deviceplugin/protobuf.h"
#include <errno.h>
#include <stdlib.h>

static void *limited_alloc(void *data, size_t size)
{
    size_t *left = data;

    if (size > *left) {
        return NULL;
    }
    *left -= size;
    return malloc(size ? size : 1);
}

static void limited_free(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

int mig_protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, const void *bytes,
                        size_t size, ProtobufCMessage **ret, struct mig_error *error)
{
    size_t left = MIG_PROTOBUF_MEMORY_MAX;
    ProtobufCAllocator allocator = {limited_alloc, limited_free, &left};

    *ret = protobuf_c_message_unpack(descriptor, &allocator, size, bytes);
    if (!*ret) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not read %zu bytes as %s: %s", size, descriptor->short_name,
                             left < MIG_PROTOBUF_MEMORY_MAX / 2 ? "it needs too much memory"
                                                                : "not such a message");
    }
    return MIG_OK;
}

void mig_protobuf_free(ProtobufCMessage *message)
{
    size_t left = 0;
    ProtobufCAllocator allocator = {limited_alloc, limited_free, &left};

    if (message) {
        protobuf_c_message_free_unpacked(message, &allocator);
    }
}

int mig_protobuf_pack(const ProtobufCMessage *message, void **ret, size_t *ret_size,
                      struct mig_error *error)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    void *bytes = malloc(size ? size : 1);

    if (!bytes) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not write %s",
                                   message->descriptor->short_name);
    }
    *ret_size = protobuf_c_message_pack(message, bytes);
    *ret = bytes;
    return MIG_OK;
}
