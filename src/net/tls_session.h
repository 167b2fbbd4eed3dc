/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection of a struct mig_tls, for transport.c. */
#ifndef MIG_NET_TLS_SESSION_H
#define MIG_NET_TLS_SESSION_H

#include "net/tls.h"
#include <openssl/ssl.h>

/* A client session on the socket `fd`, that expects `host` unless the options name somebody. */
int mig_tls_session_new(struct mig_tls *tls, const char *host, int fd, SSL **ret,
                        struct mig_error *error);

/* After the handshake: the peer has to have agreed on HTTP/2. */
int mig_tls_session_check(SSL *ssl, struct mig_error *error);

/* Says why the last call on `ssl` failed; returns MIG_E_FAILED. */
int mig_tls_session_error(SSL *ssl, struct mig_error *error);

/* OpenSSL keeps a list of errors per thread; empty before each call whose failure is looked at. */
void mig_tls_clear_errors(void);

#endif
