/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of src/net/http2*.c: our client against our server on a unix socket, and against peers made
 * of bytes for what no honest server does.
 */
#include "net_support.h"
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- a server that does what the path says -------------------------------------------------- */

struct peer {
    struct net *net;
    struct mig_h2_server *server;
    struct mig_h2 *h2;
    bool ready, closed;
    unsigned closed_calls;
    struct mig_error error;
    /* what the server has seen */
    unsigned requests, live, ends, ends_failed;
    struct mig_h2_stream *last;
    bool free_client_on_close;
};

struct service {
    struct peer *peer;
    char path[64];
    size_t received;
    char body[64];
};

static size_t served_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct service *service = data;
    struct mig_error error;

    if (service->received + size < sizeof(service->body)) {
        memcpy(service->body + service->received, bytes, size);
    }
    service->received += size;
    if (strcmp(service->path, "/echo") == 0) {
        assert_int_equal(mig_h2_stream_write(stream, bytes, size, &error), 0);
    }
    return strcmp(service->path, "/hold") == 0 ? 0 : size;
}

static void answer_big(struct mig_h2_stream *stream, size_t size)
{
    struct mig_error error;
    char *bytes = malloc(size);

    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (char)('a' + i % 26);
    }
    assert_int_equal(mig_h2_stream_write(stream, bytes, size, &error), 0);
    free(bytes);
}

static void served_body_end(struct mig_h2_stream *stream, void *data)
{
    const struct mig_h2_header trailer = {"x-test", "at the end"};
    struct service *service = data;
    struct mig_error error;

    if (strcmp(service->path, "/never") == 0 || strcmp(service->path, "/hold") == 0) {
        return;
    }
    if (strcmp(service->path, "/reset") == 0) {
        mig_h2_stream_cancel(stream);
        return;
    }
    if (strcmp(service->path, "/goaway") == 0) {
        mig_h2_server_free(service->peer->server);
        service->peer->server = NULL;
        return;
    }
    if (strncmp(service->path, "/big/", 5) == 0) {
        answer_big(stream, strtoul(service->path + 5, NULL, 10));
    } else if (strcmp(service->path, "/count") == 0) {
        char text[32];

        snprintf(text, sizeof(text), "%zu", service->received);
        assert_int_equal(mig_h2_stream_write(stream, text, strlen(text), &error), 0);
    }
    assert_int_equal(mig_h2_stream_finish(stream, &trailer, 1, &error), 0);
}

static void served_end(struct mig_h2_stream *stream, const struct mig_error *error, void *data)
{
    struct service *service = data;

    (void)stream;
    service->peer->live--;
    service->peer->ends++;
    service->peer->ends_failed += error != NULL;
    if (service->peer->last == stream) {
        service->peer->last = NULL;
    }
    free(service);
}

static const struct mig_h2_events service_events = {
    .body = served_body, .body_end = served_body_end, .end = served_end};

static const struct mig_h2_events *serve(struct mig_h2_stream *stream, const char *method,
                                         const char *path, const struct mig_h2_header *headers,
                                         size_t count, void **ret_data, void *data)
{
    const struct mig_h2_header header = {"x-test", "from the server"};
    struct peer *peer = data;
    struct service *service;
    struct mig_error error;

    assert_true(*method);
    assert_true(count >= 1);
    assert_non_null(headers[0].name);
    peer->requests++;
    if (strcmp(path, "/refuse") == 0) {
        return NULL;
    }
    service = calloc(1, sizeof(*service));
    assert_non_null(service);
    service->peer = peer;
    snprintf(service->path, sizeof(service->path), "%s", path);
    peer->live++;
    peer->last = stream;
    *ret_data = service;
    if (strcmp(path, "/never") != 0) {
        assert_int_equal(mig_h2_stream_respond(stream, 200, &header, 1, &error), 0);
    }
    if (strcmp(path, "/early") == 0) {
        assert_int_equal(mig_h2_stream_finish(stream, NULL, 0, &error), 0);
    }
    return &service_events;
}

static void is_ready(struct mig_h2 *h2, void *data)
{
    struct peer *peer = data;

    assert_ptr_equal(h2, peer->h2);
    peer->ready = true;
}

static void is_closed(struct mig_h2 *h2, const struct mig_error *error, void *data)
{
    struct peer *peer = data;

    assert_ptr_equal(h2, peer->h2);
    assert_int_equal(mig_h2_stream_count(h2), 0);
    assert_false(mig_h2_usable(h2));
    peer->closed = true;
    peer->closed_calls++;
    peer->error = *error;
    if (peer->free_client_on_close) {
        peer->h2 = NULL;
        mig_h2_free(h2);
    }
}

static void connect_client(struct peer *peer, struct mig_h2_connect_options options)
{
    struct mig_error error;

    options.ready = is_ready;
    options.closed = is_closed;
    options.data = peer;
    if (mig_h2_connect(&peer->net->loop, &options, &peer->h2, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

static void start_server(struct peer *peer)
{
    const struct mig_h2_server_options options = {
        .unix_path = peer->net->path, .request = serve, .data = peer};
    struct mig_error error;

    if (mig_h2_serve(&peer->net->loop, &options, &peer->server, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

static struct peer start_both(void **state, struct peer *peer)
{
    *peer = (struct peer){.net = *state};
    start_server(peer);
    connect_client(peer, (struct mig_h2_connect_options){.unix_path = peer->net->path});
    return *peer;
}

static void stop(struct peer *peer)
{
    mig_h2_free(peer->h2);
    mig_h2_server_free(peer->server);
    net_drain(peer->net);
    assert_int_equal(peer->live, 0);
}

/* ---- in order ------------------------------------------------------------------------------- */

static void test_request(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    start_both(state, &peer);
    exchange_start(&exchange, peer.h2, "POST", "/echo", "hello", 5, false);
    assert_int_equal(exchange.end_calls, 0);
    net_run_until(peer.net, &exchange.over);
    assert_false(exchange.failed);
    assert_true(peer.ready);
    assert_int_equal(exchange.status, 200);
    assert_int_equal(exchange.header_calls, 1);
    assert_int_equal(exchange.trailer_calls, 1);
    assert_int_equal(exchange.body_end_calls, 1);
    assert_int_equal(exchange.end_calls, 1);
    assert_string_equal(exchange.header, "from the server");
    assert_string_equal(exchange.trailer, "at the end");
    assert_string_equal(exchange.body, "hello");
    assert_int_equal(mig_h2_stream_count(peer.h2), 0);
    stop(&peer);
    assert_int_equal(peer.ends, 1);
    assert_int_equal(peer.ends_failed, 0);
    exchange_release(&exchange);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_request, net_setup, net_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
