/* SPDX-License-Identifier: Apache-2.0 */
/* Messages over a socketpair, with the descriptors that some of them carry. */
#ifndef MIG_HELPER_CHANNEL_H
#define MIG_HELPER_CHANNEL_H

#include "helper/protocol.h"

/* Requests are small; only nodes are not. */
#define MIG_CHANNEL_REQUEST_MAX (256u << 10)

/* Both ends, close-on-exec. */
int mig_channel_pair(int ret[2], struct mig_error *error);

/*
 * Sends a message (its descriptor stays the caller's). Waits at most timeout_ms for room; a message
 * that was sent in part has broken the channel. MIG_E_FAILED; the code is EPIPE when the other side
 * is gone.
 */
int mig_channel_send(int fd, const struct mig_message *message, unsigned timeout_ms,
                     struct mig_error *error);

/* What has been received of the next message. */
struct mig_receiver {
    uint32_t body_max;
    uint32_t have; /* bytes, header included */
    uint8_t bytes[MIG_MESSAGE_HEADER_SIZE];
    struct mig_message_header header;
    uint8_t *body;
    int fd; /* that came with it; -1 */
};

void mig_receiver_init(struct mig_receiver *receiver, uint32_t body_max);
void mig_receiver_release(struct mig_receiver *receiver);

/*
 * Takes what there is, without waiting. 1 = *ret is a message; 0 = not yet in full; negative: the
 * channel is of no use any more (code EPIPE: the other side has closed it).
 */
int mig_receiver_read(struct mig_receiver *receiver, int fd, struct mig_message **ret,
                      struct mig_error *error);

#endif
