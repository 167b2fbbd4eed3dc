/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting a stream socket without blocking: by name or address, or to a unix socket. */
#ifndef MIG_NET_DIAL_H
#define MIG_NET_DIAL_H

#include <mig/error.h>
#include <stdint.h>
#include <uv.h>

struct mig_dial;

struct mig_dial_options {
    const char *host; /* NULL for a unix socket */
    uint16_t port;
    const char *unix_path;
    unsigned timeout_ms; /* over all addresses of a name; each gets its share */
    /* From the loop, exactly once: the socket (the callee's), or -1 and why not. */
    void (*done)(int fd, const struct mig_error *error, void *data);
    void *data;
};

int mig_dial(uv_loop_t *loop, const struct mig_dial_options *options, struct mig_dial **ret,
             struct mig_error *error);

/* Before done() only: done() is not called any more. NULL is allowed. */
void mig_dial_cancel(struct mig_dial *dial);

#endif
