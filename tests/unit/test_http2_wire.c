/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/net/http2*.c against peers made of bytes, for what no honest peer does. */
#include "h2_peer.h"
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct wire {
    struct peer peer;
    int fd;
};

static void wire_start(void **state, struct wire *wire, struct mig_h2_connect_options options)
{
    int fds[2];

    *wire = (struct wire){.peer.net = *state};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    wire->fd = fds[1];
    options.fd = fds[0];
    peer_connect(&wire->peer, options);
}

static void wire_stop(struct wire *wire)
{
    mig_h2_free(wire->peer.h2);
    net_drain(wire->peer.net);
    close(wire->fd);
}

/* The other side may have gone already; the tests look at what it has done. */
static void wire_bytes(const struct wire *wire, const void *bytes, size_t size)
{
    assert_true(send(wire->fd, bytes, size, MSG_NOSIGNAL) == (ssize_t)size || errno == EPIPE);
}

static void wire_frame(const struct wire *wire, int type, int flags, int id, const void *payload,
                       size_t size)
{
    uint8_t head[9] = {(uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size,
                       (uint8_t)type,         (uint8_t)flags,       (uint8_t)(id >> 24),
                       (uint8_t)(id >> 16),   (uint8_t)(id >> 8),   (uint8_t)id};

    wire_bytes(wire, head, sizeof(head));
    wire_bytes(wire, payload, size);
}

/* Types and flags of frames. */
enum { DATA = 0, HEADERS = 1, RST = 3, SETTINGS = 4, GOAWAY = 7, CONTINUATION = 9 };
enum { END_STREAM = 1, END_HEADERS = 4 };

static void wire_settings(const struct wire *wire)
{
    wire_frame(wire, SETTINGS, 0, 0, "", 0);
}

static void test_interim_answer(void **state)
{
    struct exchange exchange = {0};
    struct wire wire;

    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    exchange_start(&exchange, wire.peer.h2, "GET", "/", NULL, 0, false);
    wire_settings(&wire);
    net_run_until(wire.peer.net, &wire.peer.ready);
    wire_frame(&wire, HEADERS, END_HEADERS, 1,
               "\x08\x03"
               "100",
               5);
    wire_frame(&wire, HEADERS, END_HEADERS, 1, "\x88", 1);
    wire_frame(&wire, DATA, END_STREAM, 1, "body", 4);
    net_run_until(wire.peer.net, &exchange.over);
    expect_ok(&exchange);
    assert_int_equal(exchange.header_calls, 1);
    assert_string_equal(exchange.body, "body");
    wire_stop(&wire);
    exchange_release(&exchange);
}

static void test_status_that_is_none(void **state)
{
    struct exchange exchange = {0};
    struct wire wire;

    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    exchange_start(&exchange, wire.peer.h2, "GET", "/", NULL, 0, false);
    wire_settings(&wire);
    net_run_until(wire.peer.net, &wire.peer.ready);
    wire_frame(&wire, HEADERS, END_HEADERS, 1, "\x08\x03\x30\x36\x30", 5);
    wire_frame(&wire, DATA, END_STREAM, 1, "body", 4);
    net_run_until(wire.peer.net, &exchange.over);
    expect_error(&exchange, "broke the protocol: PROTOCOL_ERROR");
    assert_int_equal(exchange.body_size, 0);
    wire_stop(&wire);
}

/* Header blocks over the limits end their stream; the connection goes on. */
static void test_too_many_headers(void **state)
{
    struct exchange first = {0}, second = {0}, third = {0};
    uint8_t block[1 + (MIG_H2_HEADERS_MAX + 1) * 5] = {0x88};
    static uint8_t large[16000];
    struct wire wire;

    for (size_t i = 1; i < sizeof(block); i += 5) {
        memcpy(block + i, "\0\1x\1y", 5);
    }
    /* 15,994 bytes of one value: two in a block are fine, three are not */
    large[0] = 0;
    memcpy(large + 1, "\1x\x7f\xfb\x7b", 5);
    memset(large + 6, 'a', sizeof(large) - 6);
    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    exchange_start(&first, wire.peer.h2, "GET", "/", NULL, 0, false);
    exchange_start(&second, wire.peer.h2, "GET", "/", NULL, 0, false);
    exchange_start(&third, wire.peer.h2, "GET", "/", NULL, 0, false);
    wire_settings(&wire);
    net_run_for(wire.peer.net, 10);
    wire_frame(&wire, HEADERS, END_HEADERS, 1, block, sizeof(block));
    wire_frame(&wire, HEADERS, 0, 3, "\x88", 1);
    for (unsigned i = 0; i < 3; i++) {
        wire_frame(&wire, CONTINUATION, i == 2 ? END_HEADERS : 0, 3, large, sizeof(large));
    }
    wire_frame(&wire, HEADERS, END_HEADERS | END_STREAM, 5, "\x88\0\6x-test\3yes", 13);
    net_run_until(wire.peer.net, &first.over);
    net_run_until(wire.peer.net, &second.over);
    net_run_until(wire.peer.net, &third.over);
    expect_error(&first, "more than 64 headers, or more than 32768 bytes");
    expect_error(&second, "more than 64 headers, or more than 32768 bytes");
    expect_ok(&third);
    assert_string_equal(third.header, "yes");
    wire_stop(&wire);
}

/* The answer is complete; that the request is not does not matter any more. */
static void test_answer_before_the_request_is_whole(void **state)
{
    struct exchange exchange = {0};
    struct wire wire;

    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    exchange_start(&exchange, wire.peer.h2, "POST", "/", "some", 4, true);
    wire_settings(&wire);
    net_run_until(wire.peer.net, &wire.peer.ready);
    wire_frame(&wire, HEADERS, END_HEADERS | END_STREAM, 1, "\x88", 1);
    net_run_until(wire.peer.net, &exchange.over);
    expect_ok(&exchange);
    wire_stop(&wire);
}

/* GOAWAY in the middle: what the peer has taken goes on, the rest was not processed. */
static void test_goaway_in_the_middle(void **state)
{
    struct exchange first = {0}, second = {0};
    struct wire wire;

    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    exchange_start(&first, wire.peer.h2, "GET", "/", NULL, 0, false);
    exchange_start(&second, wire.peer.h2, "GET", "/", NULL, 0, false);
    wire_settings(&wire);
    net_run_until(wire.peer.net, &wire.peer.ready);
    wire_frame(&wire, GOAWAY, 0, 0, "\0\0\0\1\0\0\0\0sh\nutdown", 17);
    net_run_until(wire.peer.net, &second.over);
    expect_error(&second, "takes no more requests on this connection: it is going away "
                          "(NO_ERROR: sh?utdown)");
    assert_true(second.refused);
    assert_false(mig_h2_usable(wire.peer.h2));
    assert_false(first.over || wire.peer.closed);
    wire_frame(&wire, HEADERS, END_HEADERS | END_STREAM, 1, "\x88", 1);
    net_run_until(wire.peer.net, &first.over);
    expect_ok(&first);
    net_run_until(wire.peer.net, &wire.peer.closed);
    assert_non_null(strstr(wire.peer.error.message, "it is going away"));
    wire_stop(&wire);
}

/* Requests beyond what the peer takes at once wait; a cancelled one does not wait for its turn. */
static void test_peer_takes_one_at_a_time(void **state)
{
    struct exchange first = {0}, second = {0}, third = {0};
    struct wire wire;

    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    wire_frame(&wire, SETTINGS, 0, 0, "\0\3\0\0\0\1", 6);
    net_run_until(wire.peer.net, &wire.peer.ready);
    exchange_start(&first, wire.peer.h2, "GET", "/", NULL, 0, false);
    exchange_start(&second, wire.peer.h2, "POST", "/", "body", 4, true);
    exchange_start(&third, wire.peer.h2, "GET", "/", NULL, 0, false);
    net_run_for(wire.peer.net, 10);
    mig_h2_stream_cancel(second.stream);
    net_run_until(wire.peer.net, &second.over);
    expect_error(&second, "cancelled");
    assert_true(second.refused);
    assert_false(first.over || third.over);
    wire_frame(&wire, HEADERS, END_HEADERS | END_STREAM, 1, "\x88", 1);
    net_run_until(wire.peer.net, &first.over);
    net_run_for(wire.peer.net, 10);
    wire_frame(&wire, HEADERS, END_HEADERS | END_STREAM, 5, "\x88", 1);
    net_run_until(wire.peer.net, &third.over);
    expect_ok(&first);
    expect_ok(&third);
    wire_stop(&wire);
}

/* Whoever submits and cancels without end is stopped, also where nothing can be sent. */
static void test_queue_has_a_limit(void **state)
{
    const struct mig_h2_request request = {.method = "GET", .path = "/"};
    struct mig_h2_stream *stream;
    struct mig_error error;
    struct wire wire;
    unsigned count = 0;
    int rc = 0;

    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    wire_frame(&wire, SETTINGS, 0, 0, "\0\3\0\0\0\0", 6);
    net_run_until(wire.peer.net, &wire.peer.ready);
    for (; count < 100000 && rc == 0; count++) {
        rc = mig_h2_submit(wire.peer.h2, &request, &stream, &error);
        if (rc == 0) {
            mig_h2_stream_cancel(stream);
            uv_run(&wire.peer.net->loop, UV_RUN_NOWAIT);
        }
    }
    assert_int_equal(rc, MIG_E_BUSY);
    assert_true(count > MIG_H2_STREAMS_MAX && count < 10000);
    assert_int_equal(mig_h2_stream_count(wire.peer.h2), 0);
    wire_stop(&wire);
}

/* A peer that has ended its half cannot answer any more. */
static void test_half_closed(void **state)
{
    struct exchange exchange = {0};
    struct wire wire;

    wire_start(state, &wire, (struct mig_h2_connect_options){0});
    exchange_start(&exchange, wire.peer.h2, "GET", "/", NULL, 0, false);
    wire_settings(&wire);
    net_run_until(wire.peer.net, &wire.peer.ready);
    wire_frame(&wire, HEADERS, END_HEADERS, 1, "\x88", 1);
    shutdown(wire.fd, SHUT_WR);
    net_run_until(wire.peer.net, &wire.peer.closed);
    expect_error(&exchange, "the peer closed the connection");
    assert_int_equal(exchange.status, 200);
    assert_int_equal(exchange.body_end_calls, 0);
    wire_stop(&wire);
}

static void test_peers_that_do_not_speak_http2(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *message;
    } cases[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", 28, "does not support HTTP/2"},
        {"\0\0\0\4\0\0\0\0\0\0\0\4\0\0\0\0\0\1\0\0\0\0", 22, "PROTOCOL_ERROR"},
        {"\0\0\0\4\0\0\0\0\0\xff\xff\xff\0\0\0\0\0\1", 18, "FRAME_SIZE_ERROR"},
        {"\0\0\0\4\0\0\0\0\0\0\0\1\1\4\0\0\0\1\xff", 19, "COMPRESSION_ERROR"},
        {"\0\0\0\4\0\0\0\0\0\0\0\4\x08\0\0\0\0\0\xff\xff\xff\xff", 22, ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct exchange exchange = {0};
        struct wire wire;

        wire_start(state, &wire, (struct mig_h2_connect_options){0});
        exchange_start(&exchange, wire.peer.h2, "GET", "/", NULL, 0, false);
        net_run_for(wire.peer.net, 5);
        wire_bytes(&wire, cases[i].bytes, cases[i].size);
        if (*cases[i].message) {
            net_run_until(wire.peer.net, &wire.peer.closed);
            assert_true(exchange.failed);
            assert_non_null(strstr(wire.peer.error.message, cases[i].message));
        } else {
            net_run_for(wire.peer.net, 20);
        }
        wire_stop(&wire);
        assert_int_equal(exchange.end_calls, 1);
    }
}

static void test_silent_peers(void **state)
{
    struct wire wire;

    wire_start(state, &wire, (struct mig_h2_connect_options){.connect_timeout_ms = 100});
    net_run_until(wire.peer.net, &wire.peer.closed);
    assert_non_null(strstr(wire.peer.error.message, "the peer does not speak HTTP/2"));
    assert_false(wire.peer.ready);
    wire_stop(&wire);
    wire_start(state, &wire, (struct mig_h2_connect_options){.ping_interval_ms = 100});
    wire_settings(&wire);
    net_run_until(wire.peer.net, &wire.peer.closed);
    assert_true(wire.peer.ready);
    assert_non_null(strstr(wire.peer.error.message, "nor an answer to a ping"));
    wire_stop(&wire);
}

static void test_ping_keeps_a_living_peer(void **state)
{
    struct peer peer = {.net = *state};

    peer_start_server(&peer);
    peer_connect(&peer, (struct mig_h2_connect_options){.unix_path = peer.net->path,
                                                        .ping_interval_ms = 100});
    net_run_for(peer.net, 800);
    assert_false(peer.closed);
    peer_check_alive(&peer);
    peer_stop(&peer);
}

/* A client made of bytes on our server. */
static int wire_connect(const struct peer *peer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", peer->net->path);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static bool is_cut_off(struct peer *peer, int fd)
{
    char bytes[4096];

    for (unsigned i = 0; i < 2000; i++) {
        ssize_t count = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (count == 0 || (count < 0 && errno == ECONNRESET)) {
            return true;
        }
        if (count < 0) {
            net_run_for(peer->net, 2);
        }
    }
    return false;
}

static void test_clients_that_break_the_rules(void **state)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /* GET / of a stream, and its reset */
    static const char request[] = "\0\0\4\1\5\0\0\0\1\x82\x84\x86\x41";
    struct peer peer;
    struct wire wire;

    peer_start(state, &peer);
    wire.fd = wire_connect(&peer);
    wire_bytes(&wire, "GET / HTTP/1.1\r\n\r\nxxxxxxxxx", 27);
    assert_true(is_cut_off(&peer, wire.fd));
    close(wire.fd);
    wire.fd = wire_connect(&peer);
    wire_bytes(&wire, preface, 24);
    wire_settings(&wire);
    wire_bytes(&wire, request, 13); /* its last field is cut off */
    assert_true(is_cut_off(&peer, wire.fd));
    close(wire.fd);
    /* requests that are reset as soon as they are made, without end */
    wire.fd = wire_connect(&peer);
    wire_bytes(&wire, preface, 24);
    wire_settings(&wire);
    for (int id = 1; id < 4000; id += 2) {
        wire_frame(&wire, HEADERS, END_HEADERS, id, "\x82\x84\x86\x01\1a", 6);
        wire_frame(&wire, RST, 0, id, "\0\0\0\x08", 4);
        if (id % 100 == 1) {
            uv_run(&peer.net->loop, UV_RUN_NOWAIT);
            if (recv(wire.fd, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
                break;
            }
        }
    }
    assert_true(is_cut_off(&peer, wire.fd));
    close(wire.fd);
    peer_check_alive(&peer);
    peer_stop(&peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_interim_answer),
        TEST(test_status_that_is_none),
        TEST(test_too_many_headers),
        TEST(test_answer_before_the_request_is_whole),
        TEST(test_goaway_in_the_middle),
        TEST(test_peer_takes_one_at_a_time),
        TEST(test_queue_has_a_limit),
        TEST(test_half_closed),
        TEST(test_peers_that_do_not_speak_http2),
        TEST(test_silent_peers),
        TEST(test_ping_keeps_a_living_peer),
        TEST(test_clients_that_break_the_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
