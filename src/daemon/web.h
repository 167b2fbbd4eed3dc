/* SPDX-License-Identifier: Apache-2.0 */
/* What others may look at over HTTP: /healthz, /readyz and /metrics on --listen. */
#ifndef MIG_DAEMON_WEB_H
#define MIG_DAEMON_WEB_H

#include "base/buffer.h"
#include <uv.h>

struct web;

struct web_options {
    const char *listen; /* ":9400", "127.0.0.1:9400", "[::1]:9400" */
    bool (*is_ready)(void *data);
    /* Appends the metrics; false when there are none to be had. May be NULL: no /metrics. */
    bool (*metrics)(struct mig_buffer *out, void *data);
    void *data;
};

/* MIG_E_USAGE when `listen` is no address. */
int web_start(uv_loop_t *loop, const struct web_options *options, struct web **ret,
              struct mig_error *error);
void web_free(struct web *web); /* NULL is allowed */

/* Reads an address; `host` is "" for all. */
int web_parse_listen(const char *text, char *host, size_t host_size, uint16_t *port,
                     struct mig_error *error);

#endif
