/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS for clients: trust, own certificate, ALPN h2; TLS 1.2 at least. The name is checked against
 * the certificate's alternative names only, as everything in Kubernetes does.
 */
#ifndef MIG_NET_TLS_H
#define MIG_NET_TLS_H

#include <mig/error.h>
#include <stddef.h>

#define MIG_TLS_PEM_MAX (1u << 20) /* of each PEM text */

struct mig_tls;

/* All are PEM text in memory, and may be NULL. */
struct mig_tls_options {
    const char *ca; /* NULL = the system's authorities */
    const char *certificate, *key;
    const char *server_name; /* to check and to send; NULL = the host that is connected to */
    bool insecure;           /* nothing is checked (kubeconfig insecure-skip-tls-verify) */
};

/* MIG_E_CONFIG when a text is not what it should be; nothing of `options` is kept. */
int mig_tls_new(const struct mig_tls_options *options, struct mig_tls **ret,
                struct mig_error *error);
void mig_tls_free(struct mig_tls *tls); /* NULL is allowed */

#endif
