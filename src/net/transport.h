/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes over a connected nonblocking socket, plain or through TLS, watched by the loop. */
#ifndef MIG_NET_TRANSPORT_H
#define MIG_NET_TRANSPORT_H

#include "net/tls.h"
#include <sys/types.h>
#include <uv.h>

/* Instead of a number of bytes. */
enum mig_transport_result {
    MIG_TRANSPORT_AGAIN = -1,  /* nothing now; the loop tells when */
    MIG_TRANSPORT_FAILED = -2, /* `error` is set */
};

struct mig_tls_session;

struct mig_transport {
    int fd;                      /* -1 = not open */
    struct mig_tls_session *tls; /* NULL = plain */
    uv_poll_t poll;
    uv_poll_cb ready;
    bool wants_write; /* what could not be read or written waits for the socket to take bytes */
    int events;       /* that are watched for */
};

/*
 * Takes `fd` over, on success only. `host` is whom to expect behind `tls` (NULL: no TLS). `ready`
 * is called when something can be read or written; `data` is poll.data.
 */
int mig_transport_open(struct mig_transport *transport, uv_loop_t *loop, int fd,
                       struct mig_tls *tls, const char *host, uv_poll_cb ready, void *data,
                       struct mig_error *error);

/* Drops the socket; `closed` is called by the loop when the handle is done with. */
void mig_transport_close(struct mig_transport *transport, uv_close_cb closed);

/* TLS: makes the handshake go on; 0 = done (at once without TLS), or mig_transport_result. */
int mig_transport_handshake(struct mig_transport *transport, struct mig_error *error);

/* Bytes read, 0 = the peer has closed, or mig_transport_result. */
ssize_t mig_transport_read(struct mig_transport *transport, void *bytes, size_t size,
                           struct mig_error *error);

/* Bytes written, or mig_transport_result. */
ssize_t mig_transport_write(struct mig_transport *transport, const void *bytes, size_t size,
                            struct mig_error *error);

/* Watches for input, and for room when `output` is waiting. Returns 0 or -errno. */
int mig_transport_watch(struct mig_transport *transport, bool output);

#endif
