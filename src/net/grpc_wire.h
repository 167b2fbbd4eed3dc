/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of gRPC share: message frames, status texts, timeouts, deadlines. */
#ifndef MIG_NET_GRPC_WIRE_H
#define MIG_NET_GRPC_WIRE_H

#include "base/buffer.h"
#include "net/grpc.h"

#define MIG_GRPC_PREFIX_SIZE 5         /* of a message: a flag and the length */
#define MIG_GRPC_STATUS_TEXT_SIZE 1024 /* of grpc-message, decoded; longer ones are cut */

/* Takes messages out of the bytes of a body, whatever their cut. */
struct mig_grpc_reader {
    uint8_t prefix[MIG_GRPC_PREFIX_SIZE];
    size_t prefix_size;
    size_t message_size; /* as the prefix says */
    struct mig_buffer message;
    bool whole; /* the message is complete; the next read starts a new one */
};

void mig_grpc_reader_init(struct mig_grpc_reader *reader);
void mig_grpc_reader_release(struct mig_grpc_reader *reader);

/*
 * Reads on from *bytes, which move. 1 = reader->message is whole, 0 = more bytes are needed, or a
 * negated enum mig_grpc_status that ends the call, with its reason in `reason`.
 */
int mig_grpc_read(struct mig_grpc_reader *reader, const uint8_t **bytes, size_t *size,
                  const char **reason);

/* The body ended in the middle of a message. */
bool mig_grpc_reader_cut(const struct mig_grpc_reader *reader);

void mig_grpc_put_prefix(uint8_t prefix[MIG_GRPC_PREFIX_SIZE], size_t size);

/* The percent-encoding of grpc-message. Both cut at `size`; decoding takes what it is given. */
void mig_grpc_encode_text(const char *text, char *encoded, size_t size);
void mig_grpc_decode_text(const char *encoded, char *text, size_t size);

/* "100m"; false when it is not a timeout. Cut at one day. */
bool mig_grpc_parse_timeout(const char *text, unsigned *ret_ms);
void mig_grpc_format_timeout(unsigned timeout_ms, char *text, size_t size);

/* A timer that can be dropped at any time. */
struct mig_grpc_deadline;
struct mig_grpc_deadline *mig_grpc_deadline_start(uv_loop_t *loop, unsigned timeout_ms,
                                                  void (*passed)(void *data), void *data);
void mig_grpc_deadline_stop(struct mig_grpc_deadline *deadline); /* NULL is allowed */

const char *mig_grpc_find_header(const struct mig_h2_header *headers, size_t count,
                                 const char *name); /* NULL = not there */

/* "application/grpc", "application/grpc+proto", ... */
bool mig_grpc_content_type(const struct mig_h2_header *headers, size_t count);

#endif
