/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small HTTP/1.1 server for what others look at: metrics and health. GET and HEAD of fixed paths;
 * everything else is refused. It runs on the loop, without threads.
 */
#ifndef MIG_NET_HTTP_H
#define MIG_NET_HTTP_H

#include "base/buffer.h"
#include <stdint.h>
#include <uv.h>

#define MIG_HTTP_REQUEST_MAX (16u << 10) /* line and headers */
#define MIG_HTTP_BODY_MAX (16u << 20)    /* of an answer */

struct mig_http;

struct mig_http_answer {
    struct mig_buffer body;   /* to be filled; at most MIG_HTTP_BODY_MAX */
    const char *content_type; /* NULL = "text/plain; charset=utf-8" */
};

struct mig_http_route {
    const char *path; /* exact; a query is ignored */
    /* Makes the answer now; returns the HTTP status. */
    int (*answer)(struct mig_http_answer *answer, void *data);
};

struct mig_http_options {
    const char *address;                 /* numeric; NULL = all */
    uint16_t port;                       /* 0 = any */
    const char *unix_path;               /* instead of both */
    int listen_fd;                       /* instead of all, when not 0 or less. Owned on success */
    const struct mig_http_route *routes; /* have to outlive the server */
    size_t route_count;
    unsigned connection_max; /* 0 = 64; half of them for one address */
    unsigned timeout_s;      /* of silence; 0 = 10 */
    void *data;
};

int mig_http_serve(uv_loop_t *loop, const struct mig_http_options *options, struct mig_http **ret,
                   struct mig_error *error);

/* May be called from an answer. NULL is allowed. Memory goes when libuv has closed the handles. */
void mig_http_free(struct mig_http *http);

uint16_t mig_http_port(const struct mig_http *http); /* 0 = a unix socket */

#endif
