/* SPDX-License-Identifier: Apache-2.0 */
/* One TLS connection of a struct mig_tls, for transport.c. */
#ifndef MIG_NET_TLS_SESSION_H
#define MIG_NET_TLS_SESSION_H

#include "net/tls.h"
#include <openssl/ssl.h>

struct mig_tls_session {
    SSL *ssl;
    char *name;               /* whom we expect; NULL = anybody */
    struct mig_error refusal; /* why the certificate is not accepted; empty = it is */
};

/* A client session on the socket `fd`, that expects `host` unless the options name somebody. */
int mig_tls_session_new(struct mig_tls *tls, const char *host, int fd, struct mig_tls_session **ret,
                        struct mig_error *error);
void mig_tls_session_free(struct mig_tls_session *session); /* NULL is allowed */

/* After the handshake: the peer has to have agreed on HTTP/2. */
int mig_tls_session_check(const struct mig_tls_session *session, struct mig_error *error);

/* Says why the last call of OpenSSL failed; returns MIG_E_FAILED. */
int mig_tls_session_error(const struct mig_tls_session *session, struct mig_error *error);

/* OpenSSL keeps a list of errors per thread; empty before each call whose failure is looked at. */
void mig_tls_clear_errors(void);

#endif
