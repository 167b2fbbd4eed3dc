/* SPDX-License-Identifier: Apache-2.0 */
/* The server checks as it goes; its streams have to be gone when it is stopped. */
#include "h2_peer.h"
#include <stdio.h>

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
        struct peer *peer = service->peer; /* the service goes with the stream */

        mig_h2_server_free(peer->server);
        peer->server = NULL;
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
    free(service);
}

static const struct mig_h2_events service_events = {
    .body = served_body, .body_end = served_body_end, .end = served_end};

const struct mig_h2_events *peer_serve(struct mig_h2_stream *stream, const char *method,
                                       const char *path, const struct mig_h2_header *headers,
                                       size_t count, void **ret_data, void *data)
{
    const struct mig_h2_header header = {"x-test", "from the server"};
    struct peer *peer = data;
    struct service *service;
    struct mig_error error;

    assert_true(*method);
    assert_true(count == 0 || *headers[0].name);
    peer->requests++;
    if (strcmp(path, "/refuse") == 0) {
        return NULL;
    }
    service = calloc(1, sizeof(*service));
    assert_non_null(service);
    service->peer = peer;
    snprintf(service->path, sizeof(service->path), "%s", path);
    peer->live++;
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

void peer_connect(struct peer *peer, struct mig_h2_connect_options options)
{
    struct mig_error error;

    options.ready = is_ready;
    options.closed = is_closed;
    options.data = peer;
    if (mig_h2_connect(&peer->net->loop, &options, &peer->h2, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

void peer_start_server(struct peer *peer)
{
    const struct mig_h2_server_options options = {
        .unix_path = peer->net->path, .request = peer_serve, .data = peer};
    struct mig_error error;

    if (mig_h2_serve(&peer->net->loop, &options, &peer->server, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

void peer_start(void **state, struct peer *peer)
{
    *peer = (struct peer){.net = *state};
    peer_start_server(peer);
    peer_connect(peer, (struct mig_h2_connect_options){.unix_path = peer->net->path});
}

void peer_stop(struct peer *peer)
{
    mig_h2_free(peer->h2);
    mig_h2_server_free(peer->server);
    net_drain(peer->net);
    assert_int_equal(peer->live, 0);
}

void expect_ok(const struct exchange *exchange)
{
    if (exchange->failed) {
        fail_msg("%s", exchange->error.message);
    }
    assert_int_equal(exchange->status, 200);
    assert_int_equal(exchange->end_calls, 1);
}

void expect_error(const struct exchange *exchange, const char *message)
{
    assert_int_equal(exchange->end_calls, 1);
    if (!exchange->failed || !strstr(exchange->error.message, message)) {
        fail_msg("expected \"%s\", got \"%s\"", message,
                 exchange->failed ? exchange->error.message : "success");
    }
}

void peer_check_alive(struct peer *peer)
{
    struct exchange exchange = {0};

    exchange_start(&exchange, peer->h2, "POST", "/echo", "alive", 5, false);
    net_run_until(peer->net, &exchange.over);
    expect_ok(&exchange);
    assert_string_equal(exchange.body, "alive");
    exchange_release(&exchange);
}
