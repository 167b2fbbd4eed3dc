/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of HTTP/2: a server that does what the path of a request says, and a client. */
#ifndef MIG_TESTS_H2_PEER_H
#define MIG_TESTS_H2_PEER_H

#include "net_support.h"

struct peer {
    struct net *net;
    struct mig_h2_server *server;
    struct mig_h2 *h2;
    bool ready, closed;
    unsigned closed_calls;
    struct mig_error error;
    bool free_client_on_close;
    /* what the server has seen */
    unsigned requests, live, ends, ends_failed;
};

/*
 * The paths: /echo sends back what comes, /big/N sends N bytes, /count says how many came, /hold
 * consumes nothing, /never does not answer, /early answers before the body, /reset resets, /refuse
 * refuses, /goaway frees the server.
 */
const struct mig_h2_events *peer_serve(struct mig_h2_stream *stream, const char *method,
                                       const char *path, const struct mig_h2_header *headers,
                                       size_t count, void **ret_data, void *data);

void peer_start_server(struct peer *peer);
void peer_connect(struct peer *peer, struct mig_h2_connect_options options);
void peer_start(void **state, struct peer *peer); /* both */
void peer_stop(struct peer *peer);

/* One request on a connection that works; it has to. */
void peer_check_alive(struct peer *peer);

void expect_ok(const struct exchange *exchange);
void expect_error(const struct exchange *exchange, const char *message);

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_setup, net_teardown)

#endif
