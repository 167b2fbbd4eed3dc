/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets: unix, TCP, or given; nonblocking. */
#ifndef MIG_NET_LISTEN_H
#define MIG_NET_LISTEN_H

#include <mig/error.h>
#include <stdint.h>
#include <sys/types.h>

struct mig_listener {
    int fd;     /* -1 = none */
    char *path; /* of a unix socket, and which file it was */
    dev_t device;
    ino_t inode;
};

/* An old socket at the path is replaced; another kind of file is an error. */
int mig_listen_unix(const char *path, struct mig_listener *ret, struct mig_error *error);

/* `address` is numeric; NULL = all of the machine's. `port` 0 = any. */
int mig_listen_tcp(const char *address, uint16_t port, struct mig_listener *ret,
                   struct mig_error *error);

/* Takes a listening descriptor over, on success. */
int mig_listen_given(int fd, struct mig_listener *ret, struct mig_error *error);

/* Removes the socket's file, unless somebody has put another one there. */
void mig_listener_unlink(struct mig_listener *listener);

/* The same, and closes it. */
void mig_listener_close(struct mig_listener *listener);

/* Of TCP; 0 = no port. */
uint16_t mig_listener_port(const struct mig_listener *listener);

#endif
