/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/net/http2*.c: our client against our server on a unix socket. */
#include "h2_peer.h"
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- in order ------------------------------------------------------------------------------- */

static void test_request(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
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
    peer_stop(&peer);
    assert_int_equal(peer.ends, 1);
    assert_int_equal(peer.ends_failed, 0);
    exchange_release(&exchange);
}

static void test_without_body(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "GET", "/count?x=%20", NULL, 0, false);
    net_run_until(peer.net, &exchange.over);
    expect_ok(&exchange);
    peer_stop(&peer);
    exchange_release(&exchange);
}

static void test_much_data(void **state)
{
    static const size_t size = 5u << 20;
    struct exchange exchange = {0};
    char *body = malloc(size);
    struct peer peer;

    assert_non_null(body);
    for (size_t i = 0; i < size; i++) {
        body[i] = (char)(i * 7 % 251);
    }
    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "POST", "/echo", body, size, false);
    net_run_until(peer.net, &exchange.over);
    expect_ok(&exchange);
    assert_int_equal(exchange.body_size, size);
    assert_memory_equal(exchange.body, body, size);
    peer_stop(&peer);
    exchange_release(&exchange);
    free(body);
}

static void test_body_in_parts(void **state)
{
    const struct mig_h2_header trailer = {"x-test", "from the client"};
    struct exchange exchange = {0};
    struct mig_error error;
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "POST", "/echo", "one ", 4, true);
    net_run_for(peer.net, 20);
    assert_int_equal(mig_h2_stream_write(exchange.stream, "two ", 4, &error), 0);
    net_run_for(peer.net, 20);
    assert_int_equal(mig_h2_stream_write(exchange.stream, "three", 5, &error), 0);
    assert_int_equal(mig_h2_stream_finish(exchange.stream, &trailer, 1, &error), 0);
    assert_int_equal(mig_h2_stream_finish(exchange.stream, NULL, 0, &error), MIG_E_USAGE);
    assert_int_equal(mig_h2_stream_write(exchange.stream, "x", 1, &error), MIG_E_USAGE);
    net_run_until(peer.net, &exchange.over);
    expect_ok(&exchange);
    assert_string_equal(exchange.body, "one two three");
    peer_stop(&peer);
    exchange_release(&exchange);
}

/* The server has answered; the rest of the request is not wanted. */
static void test_early_answer(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "POST", "/early", "some", 4, true);
    net_run_until(peer.net, &exchange.over);
    expect_ok(&exchange);
    peer_check_alive(&peer);
    peer_stop(&peer);
    assert_int_equal(peer.ends_failed, 0);
}

static void test_many_in_a_row(void **state)
{
    struct peer peer;
    size_t before = 0;

    peer_start(state, &peer);
    for (unsigned i = 0; i < 3000; i++) {
        peer_check_alive(&peer);
        if (i == 500) {
            before = mallinfo2().uordblks;
        }
    }
    assert_true(mallinfo2().uordblks < before + 16384);
    assert_int_equal(peer.requests, 3000);
    peer_stop(&peer);
}

static void test_many_at_once(void **state)
{
    static struct exchange exchanges[MIG_H2_STREAMS_MAX];
    struct mig_h2_request request = {.method = "GET", .path = "/"};
    struct mig_error error;
    struct peer peer;
    char text[32];

    memset(exchanges, 0, sizeof(exchanges));
    peer_start(state, &peer);
    for (size_t i = 0; i < MIG_H2_STREAMS_MAX; i++) {
        snprintf(text, sizeof(text), "/big/%zu", i * 300);
        exchange_start(&exchanges[i], peer.h2, "GET", text, NULL, 0, false);
    }
    assert_int_equal(mig_h2_submit(peer.h2, &request, NULL, &error), MIG_E_BUSY);
    assert_int_equal(mig_h2_stream_count(peer.h2), MIG_H2_STREAMS_MAX);
    for (size_t i = 0; i < MIG_H2_STREAMS_MAX; i++) {
        net_run_until(peer.net, &exchanges[i].over);
        expect_ok(&exchanges[i]);
        assert_int_equal(exchanges[i].body_size, i * 300);
        exchange_release(&exchanges[i]);
    }
    peer_check_alive(&peer);
    peer_stop(&peer);
}

/* ---- flow control --------------------------------------------------------------------------- */

static void test_slow_reader_holds_back_only_itself(void **state)
{
    static const size_t size = 3u << 20;
    struct exchange slow = {.hold = true};
    struct peer peer;
    size_t held;

    peer_start(state, &peer);
    exchange_start(&slow, peer.h2, "GET", "/big/3145728", NULL, 0, false);
    net_run_for(peer.net, 200);
    held = slow.body_size;
    assert_true(held > 0 && held < 512u << 10);
    peer_check_alive(&peer);
    net_run_for(peer.net, 50);
    assert_int_equal(slow.body_size, held);
    mig_h2_stream_consume(slow.stream, held);
    slow.hold = false;
    net_run_until(peer.net, &slow.over);
    expect_ok(&slow);
    assert_int_equal(slow.body_size, size);
    peer_stop(&peer);
    exchange_release(&slow);
}

/* What was never consumed on streams that are gone does not stop the connection. */
static void test_unread_data_is_given_back(void **state)
{
    struct peer peer;

    peer_start(state, &peer);
    for (unsigned i = 0; i < 12; i++) {
        struct exchange slow = {.hold = true};

        exchange_start(&slow, peer.h2, "GET", "/big/1000000", NULL, 0, false);
        for (unsigned j = 0; j < 1000 && slow.body_size < 200000; j++) {
            net_run_for(peer.net, 2);
        }
        assert_true(slow.body_size >= 200000);
        mig_h2_stream_cancel(slow.stream);
        net_run_until(peer.net, &slow.over);
        expect_error(&slow, "cancelled");
        exchange_release(&slow);
    }
    peer_check_alive(&peer);
    peer_stop(&peer);
}

static void test_output_has_a_limit(void **state)
{
    struct exchange exchange = {0};
    static char part[1u << 20];
    struct mig_error error;
    struct peer peer;
    int rc = 0;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "POST", "/hold", NULL, 0, true);
    for (unsigned i = 0; i < 8 && rc == 0; i++) {
        rc = mig_h2_stream_write(exchange.stream, part, sizeof(part), &error);
        assert_int_equal(rc, i < MIG_H2_OUTPUT_MAX / sizeof(part) ? 0 : MIG_E_BUSY);
    }
    assert_non_null(strstr(error.message, "over the limit of 5242880"));
    net_run_for(peer.net, 50); /* the server takes a window of it */
    assert_int_equal(mig_h2_stream_write(exchange.stream, "more", 4, &error), 0);
    peer_stop(&peer);
    expect_error(&exchange, "cancelled");
}

/* ---- headers -------------------------------------------------------------------------------- */

static void refuse_request(struct peer *peer, struct mig_h2_request request, const char *message)
{
    struct mig_error error;

    assert_int_equal(mig_h2_submit(peer->h2, &request, NULL, &error), MIG_E_USAGE);
    if (!strstr(error.message, message)) {
        fail_msg("expected \"%s\", got \"%s\"", message, error.message);
    }
    assert_int_equal(mig_h2_stream_count(peer->h2), 0);
}

static void test_requests_that_are_none(void **state)
{
    static char large[MIG_H2_HEADER_BYTES_MAX + 1];
    struct mig_h2_header many[MIG_H2_HEADERS_MAX + 1];
    const struct mig_h2_header wrong[] = {
        {"Upper", "case"}, {"", "empty"},      {":path", "/"},
        {"sp ace", "x"},   {"x", "new\nline"}, {"x", large},
    };
    struct peer peer;

    memset(large, 'a', sizeof(large) - 1);
    peer_start(state, &peer);
    refuse_request(&peer, (struct mig_h2_request){.method = "G T", .path = "/"}, "not a request");
    refuse_request(&peer, (struct mig_h2_request){.method = "GET", .path = "x"}, "not a request");
    refuse_request(&peer, (struct mig_h2_request){.method = "GET", .path = "/a b"},
                   "not a request");
    refuse_request(&peer, (struct mig_h2_request){.method = "GET", .path = "/a\r\nx: y"},
                   "not a request");
    refuse_request(
        &peer,
        (struct mig_h2_request){.method = "GET", .path = "/", .body_size = MIG_H2_OUTPUT_MAX + 1},
        "over the limit");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        refuse_request(&peer,
                       (struct mig_h2_request){
                           .method = "GET", .path = "/", .headers = &wrong[i], .header_count = 1},
                       i < 4   ? "is not the name of a header"
                       : i < 5 ? "no header may have"
                               : "headers of");
    }
    for (size_t i = 0; i < MIG_H2_HEADERS_MAX + 1; i++) {
        many[i] = (struct mig_h2_header){"x", "y"};
    }
    refuse_request(
        &peer,
        (struct mig_h2_request){
            .method = "GET", .path = "/", .headers = many, .header_count = MIG_H2_HEADERS_MAX + 1},
        "are more than 64 headers");
    peer_check_alive(&peer);
    peer_stop(&peer);
}

/* ---- cancelling ----------------------------------------------------------------------------- */

static void cancel_it(struct exchange *exchange)
{
    mig_h2_stream_cancel(exchange->stream);
    mig_h2_stream_cancel(exchange->stream);
}

static void test_cancel_before_connecting(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "GET", "/", NULL, 0, false);
    cancel_it(&exchange);
    assert_false(exchange.over);
    net_run_until(peer.net, &exchange.over);
    expect_error(&exchange, "cancelled");
    assert_true(exchange.refused);
    peer_check_alive(&peer);
    assert_int_equal(peer.requests, 1); /* the cancelled one was never sent */
    peer_stop(&peer);
}

static void test_cancel_while_waiting(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "GET", "/never", NULL, 0, false);
    while (peer.live == 0) {
        net_run_for(peer.net, 2);
    }
    cancel_it(&exchange);
    net_run_until(peer.net, &exchange.over);
    expect_error(&exchange, "cancelled");
    assert_false(exchange.refused);
    while (peer.live > 0) {
        net_run_for(peer.net, 2);
    }
    assert_int_equal(peer.ends_failed, 1);
    peer_check_alive(&peer);
    peer_stop(&peer);
}

static void test_cancel_in_body(void **state)
{
    struct exchange exchange = {.on_body = cancel_it, .on_end = cancel_it};
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "GET", "/big/1000000", NULL, 0, false);
    net_run_until(peer.net, &exchange.over);
    expect_error(&exchange, "cancelled");
    assert_int_equal(exchange.body_end_calls, 0);
    peer_check_alive(&peer);
    peer_stop(&peer);
    exchange_release(&exchange);
}

static void submit_again(struct exchange *exchange)
{
    struct exchange *next = exchange->data;

    exchange_start(next, ((struct peer *)next->data)->h2, "POST", "/echo", "next", 4, false);
}

static void test_submit_in_end(void **state)
{
    struct peer peer;
    struct exchange second = {.data = &peer};
    struct exchange first = {.on_end = submit_again, .data = &second};

    peer_start(state, &peer);
    exchange_start(&first, peer.h2, "POST", "/echo", "first", 5, false);
    net_run_until(peer.net, &second.over);
    expect_ok(&first);
    expect_ok(&second);
    assert_string_equal(second.body, "next");
    peer_stop(&peer);
    exchange_release(&first);
    exchange_release(&second);
}

/* ---- freeing -------------------------------------------------------------------------------- */

static void free_client(struct exchange *exchange)
{
    struct peer *peer = exchange->data;

    mig_h2_free(peer->h2);
    mig_h2_free(NULL);
    peer->h2 = NULL;
}

static void test_free_in_body(void **state)
{
    struct peer peer;
    struct exchange exchange = {.on_body = free_client, .data = &peer};
    struct exchange other = {0};

    peer_start(state, &peer);
    exchange_start(&other, peer.h2, "GET", "/never", NULL, 0, false);
    exchange_start(&exchange, peer.h2, "GET", "/big/1000000", NULL, 0, false);
    net_run_until(peer.net, &exchange.over);
    expect_error(&exchange, "cancelled");
    expect_error(&other, "cancelled");
    assert_int_equal(peer.closed_calls, 0);
    peer_stop(&peer);
    exchange_release(&exchange);
}

static void test_free_in_end(void **state)
{
    struct peer peer;
    struct exchange exchange = {.on_end = free_client, .data = &peer};
    struct exchange other = {0};

    peer_start(state, &peer);
    exchange_start(&other, peer.h2, "GET", "/never", NULL, 0, false);
    exchange_start(&exchange, peer.h2, "GET", "/echo", NULL, 0, false);
    net_run_until(peer.net, &other.over);
    expect_ok(&exchange);
    expect_error(&other, "cancelled");
    peer_stop(&peer);
}

static void test_free_in_closed(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
    peer.free_client_on_close = true;
    exchange_start(&exchange, peer.h2, "GET", "/goaway", NULL, 0, false);
    net_run_until(peer.net, &peer.closed);
    assert_true(exchange.over);
    assert_int_equal(peer.closed_calls, 1);
    assert_null(peer.h2);
    peer_stop(&peer);
}

static void test_free_at_any_time(void **state)
{
    for (unsigned turns = 0; turns < 24; turns++) {
        struct exchange exchanges[3] = {{.hold = turns % 2}};
        struct peer peer;

        peer_start(state, &peer);
        exchange_start(&exchanges[0], peer.h2, "GET", "/big/1000000", NULL, 0, false);
        exchange_start(&exchanges[1], peer.h2, "POST", "/hold", "x", 1, true);
        exchange_start(&exchanges[2], peer.h2, "GET", "/never", NULL, 0, false);
        for (unsigned i = 0; i < turns; i++) {
            uv_run(&peer.net->loop, UV_RUN_NOWAIT);
        }
        if (turns % 3 == 0) {
            mig_h2_server_free(peer.server);
            peer.server = NULL;
        }
        peer_stop(&peer);
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(exchanges[i].end_calls, 1);
            exchange_release(&exchanges[i]);
        }
    }
}

/* ---- the server ends things ----------------------------------------------------------------- */

static void test_reset(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "GET", "/reset", NULL, 0, false);
    net_run_until(peer.net, &exchange.over);
    expect_error(&exchange, "reset the stream: CANCEL");
    assert_false(exchange.refused);
    assert_int_equal(exchange.reset_code, 8);
    peer_check_alive(&peer);
    peer_stop(&peer);
}

static void test_refusal(void **state)
{
    struct exchange exchange = {0};
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&exchange, peer.h2, "GET", "/refuse", NULL, 0, false);
    net_run_until(peer.net, &exchange.over);
    expect_error(&exchange, "reset the stream: REFUSED_STREAM");
    assert_true(exchange.refused);
    peer_check_alive(&peer);
    peer_stop(&peer);
}

static void test_server_goes_away(void **state)
{
    struct exchange waiting = {0}, exchange = {0};
    struct mig_h2_request request = {.method = "GET", .path = "/"};
    struct mig_error error;
    struct peer peer;

    peer_start(state, &peer);
    exchange_start(&waiting, peer.h2, "GET", "/never", NULL, 0, false);
    exchange_start(&exchange, peer.h2, "GET", "/goaway", NULL, 0, false);
    net_run_until(peer.net, &peer.closed);
    expect_error(&waiting, "it is going away (NO_ERROR)");
    expect_error(&exchange, "it is going away (NO_ERROR)");
    assert_false(waiting.refused);
    assert_int_equal(mig_h2_submit(peer.h2, &request, NULL, &error), MIG_E_FAILED);
    assert_non_null(strstr(error.message, "takes no more requests"));
    peer_stop(&peer);
}

static void test_connection_limit(void **state)
{
    struct peer peer = {.net = *state};
    struct peer second = {.net = *state};
    const struct mig_h2_server_options options = {
        .unix_path = peer.net->path, .connection_max = 1, .request = peer_serve, .data = &peer};
    struct mig_error error;

    assert_int_equal(mig_h2_serve(&peer.net->loop, &options, &peer.server, &error), 0);
    peer_connect(&peer, (struct mig_h2_connect_options){.unix_path = peer.net->path});
    peer_check_alive(&peer);
    peer_connect(&second, (struct mig_h2_connect_options){.unix_path = peer.net->path});
    net_run_until(peer.net, &second.closed);
    assert_false(second.ready);
    peer_check_alive(&peer);
    mig_h2_free(second.h2);
    mig_h2_free(peer.h2);
    net_run_for(peer.net, 50);
    peer_connect(&peer, (struct mig_h2_connect_options){.unix_path = peer.net->path});
    peer_check_alive(&peer);
    peer_stop(&peer);
}

static void test_socket_file(void **state)
{
    struct peer peer = {.net = *state}, next = {.net = *state};
    char other[128];

    peer_start_server(&peer);
    peer_start_server(&next); /* takes the place of the first */
    mig_h2_server_free(peer.server);
    assert_int_equal(access(peer.net->path, F_OK), 0);
    peer_connect(&next, (struct mig_h2_connect_options){.unix_path = next.net->path});
    peer_check_alive(&next);
    peer_stop(&next);
    assert_int_not_equal(access(peer.net->path, F_OK), 0);
    /* what is no socket is left alone */
    snprintf(other, sizeof(other), "%s", peer.net->path);
    close(open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    {
        const struct mig_h2_server_options options = {.unix_path = other, .request = peer_serve};
        struct mig_error error;

        assert_int_equal(mig_h2_serve(&peer.net->loop, &options, &peer.server, &error),
                         MIG_E_FAILED);
        assert_non_null(strstr(error.message, "Address already in use"));
    }
    assert_int_equal(access(other, F_OK), 0);
}

/* ---- nobody there --------------------------------------------------------------------------- */

static void expect_closed(struct peer *peer, struct mig_h2_connect_options options,
                          const char *message)
{
    struct exchange exchange = {0};

    peer_connect(peer, options);
    exchange_start(&exchange, peer->h2, "GET", "/", NULL, 0, false);
    assert_false(peer->closed);
    net_run_until(peer->net, &peer->closed);
    expect_error(&exchange, message);
    assert_true(exchange.refused);
    assert_false(peer->ready);
    mig_h2_free(peer->h2);
    peer->closed = false;
}

static void test_nobody_listens(void **state)
{
    struct peer peer = {.net = *state};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    expect_closed(&peer, (struct mig_h2_connect_options){.unix_path = peer.net->path},
                  "No such file or directory");
    assert_string_equal(peer.error.hint, "is the program that listens there running?");
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0); /* and no listen */
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    expect_closed(
        &peer,
        (struct mig_h2_connect_options){.host = "127.0.0.1", .port = ntohs(address.sin_port)},
        "Connection refused");
    close(fd);
}

static void test_options_that_make_no_sense(void **state)
{
    struct net *net = *state;
    char path[256];
    struct mig_error error;
    struct mig_h2 *h2;

    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(
        mig_h2_connect(&net->loop, &(struct mig_h2_connect_options){.fd = -1}, &h2, &error),
        MIG_E_USAGE);
    assert_int_equal(mig_h2_connect(&net->loop,
                                    &(struct mig_h2_connect_options){.host = "a", .unix_path = "b"},
                                    &h2, &error),
                     MIG_E_USAGE);
    assert_int_equal(
        mig_h2_connect(&net->loop,
                       &(struct mig_h2_connect_options){.host = "a", .authority = "b\nc"}, &h2,
                       &error),
        MIG_E_USAGE);
    assert_int_equal(mig_h2_connect(&net->loop, &(struct mig_h2_connect_options){.unix_path = path},
                                    &h2, &error),
                     MIG_E_USAGE);
    assert_non_null(strstr(error.message, "File name too long"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_request),
        TEST(test_without_body),
        TEST(test_much_data),
        TEST(test_body_in_parts),
        TEST(test_early_answer),
        TEST(test_many_in_a_row),
        TEST(test_many_at_once),
        TEST(test_slow_reader_holds_back_only_itself),
        TEST(test_unread_data_is_given_back),
        TEST(test_output_has_a_limit),
        TEST(test_requests_that_are_none),
        TEST(test_cancel_before_connecting),
        TEST(test_cancel_while_waiting),
        TEST(test_cancel_in_body),
        TEST(test_submit_in_end),
        TEST(test_free_in_body),
        TEST(test_free_in_end),
        TEST(test_free_in_closed),
        TEST(test_free_at_any_time),
        TEST(test_reset),
        TEST(test_refusal),
        TEST(test_server_goes_away),
        TEST(test_connection_limit),
        TEST(test_socket_file),
        TEST(test_nobody_listens),
        TEST(test_options_that_make_no_sense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
