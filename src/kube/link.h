/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to the API server, and single tries of requests on it.
 *
 * There is one connection that new requests go to; it is made when a request needs it. One that the
 * server is leaving (GOAWAY) ends what runs on it and takes nothing new. Nothing is tried again
 * here.
 */
#ifndef MIG_KUBE_LINK_H
#define MIG_KUBE_LINK_H

#include "kube/client.h"
#include "kube/token.h"

#define MIG_KUBE_CONNECTIONS_MAX 8u  /* the one in use, and those that are being left */
#define MIG_KUBE_CONNECTIONS_KEPT 4u /* by mig_kube_link_trim */

struct mig_h2;
struct mig_tls;
struct mig_kube_try;

struct mig_kube_link {
    uv_loop_t *loop;
    struct mig_kube_config config;
    struct mig_kube_token token;
    struct mig_tls *tls; /* NULL = cleartext */
    char *user_agent;
    struct mig_h2 *connections[MIG_KUBE_CONNECTIONS_MAX]; /* newest first */
};

struct mig_kube_try_options {
    const char *method, *path; /* without the path of the server's URL */
    const char *content_type;  /* of the body; NULL = none */
    const void *body;
    size_t body_size;
    void (*headers)(int status, unsigned retry_after_ms, void *data);
    void (*body_part)(const void *bytes, size_t size, void *data);
    /* It is over, and gone after this. `refused`: the server has certainly not looked at it. */
    void (*end)(const struct mig_error *error, bool refused, void *data);
    void *data;
};

int mig_kube_link_init(struct mig_kube_link *link, uv_loop_t *loop,
                       const struct mig_kube_config *config, const char *user_agent,
                       struct mig_error *error);
void mig_kube_link_release(struct mig_kube_link *link);

/* Ends the oldest of the connections that are being left, with what runs on them, and those where
 * nothing runs. Tries end inside of it. */
void mig_kube_link_trim(struct mig_kube_link *link);

int mig_kube_try(struct mig_kube_link *link, const struct mig_kube_try_options *options,
                 struct mig_kube_try **ret, struct mig_error *error);

/* Nothing is called any more; NULL is allowed. */
void mig_kube_try_cancel(struct mig_kube_try *try);

#endif
