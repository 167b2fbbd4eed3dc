/* SPDX-License-Identifier: Apache-2.0 */
/* systemd's notification protocol: a datagram of lines to NOTIFY_SOCKET. Does nothing elsewhere. */
#ifndef MIG_DAEMON_NOTIFY_H
#define MIG_DAEMON_NOTIFY_H

/*
 * Opens the socket that NOTIFY_SOCKET names ('@' = abstract) and takes the variable away, so that
 * nothing that is started inherits it. To be called while the socket may still be reached.
 */
void notify_open(void);

/* "READY=1", "STATUS=...", "STOPPING=1", "RELOADING=1"; several lines separated by '\n'. */
void notify_send(const char *text);

void notify_close(void);

#endif
