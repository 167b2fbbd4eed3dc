/* SPDX-License-Identifier: Apache-2.0 */
/* For tests with TLS: certificates made on the spot, and a relay from TLS to a unix socket. */
#ifndef MIG_TESTS_TLS_SUPPORT_H
#define MIG_TESTS_TLS_SUPPORT_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct identity {
    X509 *certificate;
    EVP_PKEY *key;
};

struct identity_options {
    const char *common_name;
    const char *names; /* "DNS:a.example,IP:10.0.0.1"; NULL = none */
    bool authority;
    long begin_s, end_s; /* of validity, from now; 0 = an hour before and after */
};

/* `issuer` NULL: signed by itself. */
struct identity identity_make(const struct identity_options *options,
                              const struct identity *issuer);
void identity_release(struct identity *identity);

/* PEM texts, malloc'd. `passphrase` may be NULL. */
char *identity_certificate(const struct identity *identity);
char *identity_key(const struct identity *identity, const char *passphrase);

struct relay_options {
    const struct identity *identity;         /* NULL: no TLS; answers in HTTP/1.1 */
    const struct identity *intermediate;     /* sent along; may be NULL */
    const struct identity *client_authority; /* whoever comes has to be signed by it; may be NULL */
    const char *protocol;                    /* of ALPN; NULL = "h2", "" = none */
    int version_max;                         /* 0 = any */
    bool silent;                             /* accepts, and never says anything */
    bool close_at_once;
};

/* Listens at 127.0.0.1, in a thread of its own; one connection at a time goes to the unix socket.
 */
struct relay {
    struct relay_options options;
    char path[96];
    int fd;
    uint16_t port;
    SSL_CTX *context;
    pthread_t thread;
    char server_name[64]; /* that the client asked for last */
};

void relay_start(struct relay *relay, const char *path, const struct relay_options *options);
void relay_stop(struct relay *relay);

#endif
