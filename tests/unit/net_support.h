/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of src/net: a loop that ends in time, a folder of its own, and a peer that records. */
#ifndef MIG_TESTS_NET_SUPPORT_H
#define MIG_TESTS_NET_SUPPORT_H

#include "net/http2.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIMIT_MS 20000 /* of each wait; a test that waits so long has failed */

struct net {
    uv_loop_t loop;
    char directory[64];
    char path[96]; /* of a unix socket in it */
};

int net_setup(void **state);
int net_teardown(void **state); /* fails when a handle has been left open */

/* Runs the loop until *flag; fails the test after LIMIT_MS. */
void net_run_until(struct net *net, const bool *flag);
void net_run_for(struct net *net, unsigned duration_ms);

/* Runs the loop until all handles are closed. */
void net_drain(struct net *net);

/* One request on a client, recorded. */
struct exchange {
    struct mig_h2_stream *stream;
    int status;
    unsigned header_calls, trailer_calls, body_end_calls, end_calls;
    char header[64];  /* value of "x-test" in the headers */
    char trailer[64]; /* and in the trailers */
    char *body;
    size_t body_size;
    bool hold; /* consume nothing */
    bool over;
    bool failed;
    bool refused;
    int64_t reset_code;
    struct mig_error error;
    void (*on_body)(struct exchange *exchange); /* called in body(), end() */
    void (*on_end)(struct exchange *exchange);
    void *data;
};

extern const struct mig_h2_events exchange_events;

void exchange_release(struct exchange *exchange);

/* Submits METHOD PATH with a body (NULL = none); keep_open as in mig_h2_request. */
void exchange_start(struct exchange *exchange, struct mig_h2 *h2, const char *method,
                    const char *path, const void *body, size_t size, bool keep_open);

#endif
