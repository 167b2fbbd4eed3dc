/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of src/net/grpc*.c: our client against our server, and each against a peer that speaks
 * HTTP/2 by hand and breaks what it likes of gRPC.
 */
#include "base/text.h"
#include "net/grpc.h"
#include "net/grpc_wire.h"
#include "net_support.h"
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

/* ---- both sides ----------------------------------------------------------------------------- */

struct call {
    struct mig_grpc_call *call;
    unsigned messages, done_calls;
    size_t size; /* of the last message */
    char text[128];
    int status;
    char status_text[256];
    bool done;
    void (*on_message)(struct call *call);
    void *data;
};

struct site {
    struct net *net;
    struct mig_grpc_server *server;
    struct mig_h2 *h2;
    struct mig_grpc_request *held; /* of /test/Hold and /test/Stream */
    unsigned called, cancelled;
    bool was_cancelled;
    bool free_in_cancelled;
};

static void echo(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct site *site = data;
    struct mig_error error;

    site->called++;
    assert_int_equal(mig_grpc_send(request, message, size, &error), 0);
    mig_grpc_finish(request, MIG_GRPC_OK, NULL);
}

static void fail_request(struct mig_grpc_request *request, const void *message, size_t size,
                         void *data)
{
    (void)message;
    (void)size;
    ((struct site *)data)->called++;
    mig_grpc_finish(request, MIG_GRPC_NOT_FOUND, "no \"50%\" slice\nof GPU \xc3\xa9");
}

static void hold(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct site *site = data;

    (void)message;
    (void)size;
    site->called++;
    site->held = request;
}

static void stream(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct site *site = data;
    struct mig_error error;

    hold(request, message, size, data);
    assert_int_equal(mig_grpc_send(request, "one", 3, &error), 0);
    assert_int_equal(mig_grpc_send(request, "", 0, &error), 0);
    assert_int_equal(mig_grpc_send(site->held, "three", 5, &error), 0);
}

static void free_server(struct mig_grpc_request *request, const void *message, size_t size,
                        void *data)
{
    struct site *site = data;

    (void)message;
    (void)size;
    site->held = request;
    mig_grpc_server_free(MIG_TAKE(site->server));
}

static const struct mig_grpc_method methods[] = {
    {"/test.Test/Echo", echo},     {"/test.Test/Fail", fail_request}, {"/test.Test/Hold", hold},
    {"/test.Test/Stream", stream}, {"/test.Test/Free", free_server},
};

static void request_cancelled(struct mig_grpc_request *request, void *data)
{
    struct site *site = data;

    assert_ptr_equal(request, site->held);
    site->held = NULL;
    site->cancelled++;
    site->was_cancelled = true;
    if (site->free_in_cancelled) {
        mig_grpc_server_free(MIG_TAKE(site->server));
    }
}

static void start_server(struct site *site)
{
    const struct mig_grpc_server_options options = {
        .unix_path = site->net->path,
        .methods = methods,
        .method_count = MIG_ARRAY_SIZE(methods),
        .cancelled = request_cancelled,
        .data = site,
    };
    struct mig_error error;

    if (mig_grpc_serve(&site->net->loop, &options, &site->server, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

static void connect_site(struct site *site)
{
    const struct mig_h2_connect_options options = {.unix_path = site->net->path};
    struct mig_error error;

    assert_int_equal(mig_h2_connect(&site->net->loop, &options, &site->h2, &error), 0);
}

static void start(void **state, struct site *site)
{
    *site = (struct site){.net = *state};
    start_server(site);
    connect_site(site);
}

static void stop(struct site *site)
{
    mig_h2_free(site->h2);
    mig_grpc_server_free(site->server);
    net_drain(site->net);
}

static void got_message(struct mig_grpc_call *grpc, const void *message, size_t size, void *data)
{
    struct call *call = data;

    assert_ptr_equal(grpc, call->call);
    assert_false(call->done);
    call->messages++;
    call->size = size;
    memset(call->text, 0, sizeof(call->text));
    memcpy(call->text, message, size < sizeof(call->text) ? size : sizeof(call->text) - 1);
    if (call->on_message) {
        call->on_message(call);
    }
}

static void is_done(struct mig_grpc_call *grpc, int status, const char *text, void *data)
{
    struct call *call = data;

    assert_ptr_equal(grpc, call->call);
    call->done_calls++;
    call->done = true;
    call->status = status;
    mig_text_copy(call->status_text, sizeof(call->status_text), text);
}

static void call_start(struct site *site, struct call *call, const char *path, const void *message,
                       size_t size, unsigned timeout_ms)
{
    const struct mig_grpc_call_options options = {
        .path = path,
        .message = message,
        .message_size = size,
        .timeout_ms = timeout_ms,
        .message_received = got_message,
        .done = is_done,
        .data = call,
    };
    struct mig_error error;

    if (mig_grpc_call(site->h2, &options, &call->call, &error) < 0) {
        fail_msg("%s", error.message);
    }
    assert_false(call->done);
}

static void expect(const struct call *call, int status, const char *text)
{
    if (call->status != status || !strstr(call->status_text, text)) {
        fail_msg("expected %s \"%s\", got %s \"%s\"", mig_grpc_status_name(status), text,
                 mig_grpc_status_name(call->status), call->status_text);
    }
    assert_int_equal(call->done_calls, 1);
}

static void test_unary(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Echo", "hello", 5, 10000);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_OK, "");
    assert_int_equal(call.messages, 1);
    assert_string_equal(call.text, "hello");
    stop(&site);
    assert_int_equal(site.cancelled, 0);
}

static void test_empty_message(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Echo", NULL, 0, 0);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_OK, "");
    assert_int_equal(call.messages, 1);
    assert_int_equal(call.size, 0);
    stop(&site);
}

static void test_status_text_survives(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Fail", "x", 1, 0);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_NOT_FOUND, "no \"50%\" slice\nof GPU \xc3\xa9");
    assert_int_equal(call.messages, 0);
    stop(&site);
}

static void test_unknown_method(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    call_start(&site, &call, "/test.Test/None", "x", 1, 0);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_UNIMPLEMENTED, "there is no method /test.Test/None here");
    stop(&site);
}

static void test_stream(void **state)
{
    struct site site;
    struct call call = {0};
    struct mig_error error;

    start(state, &site);
    call_start(&site, &call, "/test.Test/Stream", "x", 1, 0);
    for (unsigned i = 0; i < 1000 && call.messages < 3; i++) {
        net_run_for(site.net, 5);
    }
    assert_int_equal(call.messages, 3);
    assert_string_equal(call.text, "three");
    assert_false(call.done);
    assert_int_equal(mig_grpc_send(site.held, "four", 4, &error), 0);
    mig_grpc_finish(site.held, MIG_GRPC_OK, NULL);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_OK, "");
    assert_int_equal(call.messages, 4);
    stop(&site);
    assert_int_equal(site.cancelled, 0);
}

/* ---- large messages ------------------------------------------------------------------------- */

static void test_largest_message(void **state)
{
    struct site site;
    struct call call = {0};
    char *message = calloc(1, MIG_GRPC_MESSAGE_MAX);

    assert_non_null(message);
    start(state, &site);
    call_start(&site, &call, "/test.Test/Echo", message, MIG_GRPC_MESSAGE_MAX, 0);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_OK, "");
    assert_int_equal(call.size, MIG_GRPC_MESSAGE_MAX);
    stop(&site);
    free(message);
}

static void test_too_large_to_send(void **state)
{
    const struct mig_grpc_call_options options = {
        .path = "/test.Test/Echo", .message = "", .message_size = MIG_GRPC_MESSAGE_MAX + 1};
    struct mig_grpc_call *call;
    struct mig_error error;
    struct site site;

    start(state, &site);
    assert_int_equal(mig_grpc_call(site.h2, &options, &call, &error), MIG_E_USAGE);
    assert_non_null(strstr(error.message, "over the limit of 4194304"));
    stop(&site);
}

/* ---- cancelling and deadlines --------------------------------------------------------------- */

static void test_cancel(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Hold", "x", 1, 0);
    for (unsigned i = 0; i < 1000 && !site.held; i++) {
        net_run_for(site.net, 5);
    }
    mig_grpc_call_cancel(call.call);
    assert_false(call.done);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_CANCELLED, "cancelled");
    net_run_until(site.net, &site.was_cancelled);
    assert_int_equal(site.cancelled, 1);
    stop(&site);
    assert_int_equal(site.cancelled, 1);
}

static void cancel_now(struct call *call)
{
    mig_grpc_call_cancel(call->call);
}

static void test_cancel_in_message(void **state)
{
    struct site site;
    struct call call = {.on_message = cancel_now};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Stream", "x", 1, 0);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_CANCELLED, "cancelled");
    assert_int_equal(call.messages, 1);
    stop(&site);
}

static void free_connection(struct call *call)
{
    struct site *site = call->data;

    mig_h2_free(MIG_TAKE(site->h2));
    assert_true(call->done);
}

static void test_free_in_message(void **state)
{
    struct site site;
    struct call call = {.on_message = free_connection, .data = &site};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Stream", "x", 1, 5000);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_UNAVAILABLE, "cancelled");
    assert_int_equal(call.messages, 1);
    net_run_until(site.net, &site.was_cancelled);
    stop(&site);
}

static void test_deadline(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Hold", "x", 1, 200);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_DEADLINE_EXCEEDED, "deadline");
    net_run_until(site.net, &site.was_cancelled);
    stop(&site);
    assert_int_equal(site.cancelled, 1);
}

static void test_connection_lost(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    call_start(&site, &call, "/test.Test/Free", "x", 1, 0);
    net_run_until(site.net, &call.done);
    assert_int_equal(call.status, MIG_GRPC_UNAVAILABLE);
    assert_null(site.server);
    assert_int_not_equal(access(site.net->path, F_OK), 0);
    stop(&site);
}

static void test_nobody_listens(void **state)
{
    struct site site = {.net = *state};
    struct call call = {0};

    connect_site(&site);
    call_start(&site, &call, "/test.Test/Echo", "x", 1, 0);
    net_run_until(site.net, &call.done);
    expect(&call, MIG_GRPC_UNAVAILABLE, "No such file or directory");
    stop(&site);
}

static void test_server_freed_with_requests(void **state)
{
    struct site site;
    struct call call = {0};

    start(state, &site);
    site.free_in_cancelled = true;
    call_start(&site, &call, "/test.Test/Hold", "x", 1, 60000);
    for (unsigned i = 0; i < 1000 && !site.held; i++) {
        net_run_for(site.net, 5);
    }
    mig_grpc_server_free(site.server);
    assert_int_equal(site.cancelled, 1);
    net_run_until(site.net, &call.done);
    assert_int_equal(call.status, MIG_GRPC_UNAVAILABLE);
    stop(&site);
}

/* ---- a client that speaks gRPC its own way -------------------------------------------------- */

struct raw {
    const char *path, *method, *content_type, *timeout;
    const char *body;
    size_t size;
    const char *status; /* expected grpc-status; NULL: http_status */
    int http_status;
};

struct answer {
    int status;
    char grpc_status[16], grpc_message[256];
    size_t size;
    bool over, failed;
};

static void raw_headers(struct mig_h2_stream *h2_stream, int status,
                        const struct mig_h2_header *headers, size_t count, bool trailers,
                        void *data)
{
    struct answer *answer = data;
    const char *grpc_status = mig_grpc_find_header(headers, count, "grpc-status");
    const char *text = mig_grpc_find_header(headers, count, "grpc-message");

    (void)h2_stream;
    answer->status = trailers ? answer->status : status;
    if (grpc_status) {
        mig_text_copy(answer->grpc_status, sizeof(answer->grpc_status), grpc_status);
        mig_text_copy(answer->grpc_message, sizeof(answer->grpc_message), text ? text : "");
    }
}

static size_t raw_body(struct mig_h2_stream *h2_stream, const void *bytes, size_t size, void *data)
{
    struct answer *answer = data;

    (void)h2_stream;
    (void)bytes;
    answer->size += size;
    return size;
}

static void raw_end(struct mig_h2_stream *h2_stream, const struct mig_error *error, void *data)
{
    struct answer *answer = data;

    (void)h2_stream;
    answer->over = true;
    answer->failed = error != NULL;
}

static void raw_call(struct site *site, const struct raw *raw)
{
    static const struct mig_h2_events events = {
        .headers = raw_headers, .body = raw_body, .end = raw_end};
    const struct mig_h2_header headers[] = {{"te", "trailers"},
                                            {"content-type", raw->content_type},
                                            {"grpc-timeout", raw->timeout ? raw->timeout : "1H"}};
    struct answer answer = {0};
    const struct mig_h2_request request = {.method = raw->method,
                                           .path = raw->path,
                                           .headers = headers,
                                           .header_count = 3,
                                           .body = raw->body,
                                           .body_size = raw->size,
                                           .events = &events,
                                           .data = &answer};
    struct mig_error error;

    if (mig_h2_submit(site->h2, &request, NULL, &error) < 0) {
        fail_msg("%s", error.message);
    }
    net_run_until(site->net, &answer.over);
    assert_false(answer.failed);
    if (raw->status) {
        assert_int_equal(answer.status, 200);
        if (strcmp(answer.grpc_status, raw->status) != 0) {
            fail_msg("expected status %s, got %s \"%s\"", raw->status, answer.grpc_status,
                     answer.grpc_message);
        }
    } else {
        assert_int_equal(answer.status, raw->http_status);
    }
}

static void test_requests_that_break_the_rules(void **state)
{
    static const char echo_path[] = "/test.Test/Echo", type[] = "application/grpc";
    static const struct raw cases[] = {
        {echo_path, "POST", type, NULL, "\0\0\0\0\1x", 6, "0", 0},
        {echo_path, "POST", "application/grpc+proto", NULL, "\0\0\0\0\1x", 6, "0", 0},
        {echo_path, "POST", type, NULL, "\1\0\0\0\1x", 6, "12", 0},           /* compressed */
        {echo_path, "POST", type, NULL, "\2\0\0\0\1x", 6, "13", 0},           /* no such flag */
        {echo_path, "POST", type, NULL, "\0\0\0\0\2x", 6, "13", 0},           /* cut off */
        {echo_path, "POST", type, NULL, "\0\0\0", 3, "13", 0},                /* in the prefix */
        {echo_path, "POST", type, NULL, NULL, 0, "13", 0},                    /* no message */
        {echo_path, "POST", type, NULL, "\0\x7f\0\0\1x", 6, "8", 0},          /* far too large */
        {echo_path, "POST", type, NULL, "\0\0\x40\0\1x", 6, "8", 0},          /* one too large */
        {echo_path, "POST", type, NULL, "\0\0\0\0\0\0\0\0\0\0", 10, "12", 0}, /* two messages */
        {echo_path, "POST", type, "soon", "\0\0\0\0\0", 5, "13", 0},
        {"/test.Test/Hold", "POST", type, "50m", "\0\0\0\0\0", 5, "4", 0},
        {echo_path, "GET", type, NULL, NULL, 0, NULL, 405},
        {echo_path, "POST", "application/json", NULL, "{}", 2, NULL, 415},
        {echo_path, "POST", "application/grpcish", NULL, "{}", 2, NULL, 415},
    };
    struct site site;

    start(state, &site);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        raw_call(&site, &cases[i]);
    }
    stop(&site);
    assert_int_equal(site.called, 3); /* the first two, and Hold */
    assert_int_equal(site.cancelled, 1);
}

/* ---- a server that speaks gRPC its own way -------------------------------------------------- */

struct script {
    int status;
    struct mig_h2_header headers[4];
    size_t header_count;
    const char *body;
    size_t size;
    struct mig_h2_header trailers[3];
    size_t trailer_count;
    bool reset, no_finish;
    int expected;
    const char *expected_text;
    unsigned expected_messages;
};

static const struct mig_h2_events *play(struct mig_h2_stream *h2_stream, const char *method,
                                        const char *path, const struct mig_h2_header *headers,
                                        size_t count, void **ret_data, void *data)
{
    static const struct mig_h2_events events;
    const struct script *script = *(const struct script **)data;
    struct mig_error error;

    (void)path;
    (void)ret_data;
    assert_string_equal(method, "POST");
    assert_string_equal(mig_grpc_find_header(headers, count, "te"), "trailers");
    if (script->status == 0) {
        return NULL;
    }
    assert_int_equal(mig_h2_stream_respond(h2_stream, script->status, script->headers,
                                           script->header_count, &error),
                     0);
    if (script->size > 0) {
        assert_int_equal(mig_h2_stream_write(h2_stream, script->body, script->size, &error), 0);
    }
    if (script->reset) {
        mig_h2_stream_cancel(h2_stream);
    } else if (!script->no_finish) {
        assert_int_equal(
            mig_h2_stream_finish(h2_stream, script->trailers, script->trailer_count, &error), 0);
    }
    return &events;
}

#define GRPC                               \
    {                                      \
        "content-type", "application/grpc" \
    }

static const struct script scripts[] = {
    {200, {GRPC}, 1, "\0\0\0\0\1x", 6, {{"grpc-status", "0"}}, 1, 0, 0, 0, "", 1},
    /* the status in the headers */
    {200,
     {GRPC, {"grpc-status", "5"}, {"grpc-message", "no%20such%zz%"}},
     3,
     NULL,
     0,
     {{0}},
     0,
     0,
     0,
     MIG_GRPC_NOT_FOUND,
     "no such%zz%",
     0},
    {200, {GRPC}, 1, NULL, 0, {{"grpc-status", "99"}}, 1, 0, 0, MIG_GRPC_UNKNOWN, "", 0},
    {200, {GRPC}, 1, NULL, 0, {{"grpc-status", "-1"}}, 1, 0, 0, MIG_GRPC_UNKNOWN, "", 0},
    {200, {GRPC}, 1, NULL, 0, {{0}}, 0, 0, 0, MIG_GRPC_INTERNAL, "no status", 0},
    {200,
     {GRPC},
     1,
     "\0\0\0\0\2x",
     6,
     {{"grpc-status", "0"}},
     1,
     0,
     0,
     MIG_GRPC_INTERNAL,
     "cut off",
     0},
    {200,
     {GRPC},
     1,
     "\0\0\0\0\0\1\0\0\0\1x",
     11,
     {{"grpc-status", "0"}},
     1,
     0,
     0,
     MIG_GRPC_INTERNAL,
     "compressed",
     1},
    {200,
     {GRPC},
     1,
     "\0\1\0\0\0",
     5,
     {{"grpc-status", "0"}},
     1,
     0,
     0,
     MIG_GRPC_RESOURCE_EXHAUSTED,
     "larger than 4 MiB",
     0},
    {200,
     {{"content-type", "text/html"}},
     1,
     "<html>",
     6,
     {{0}},
     0,
     0,
     0,
     MIG_GRPC_UNKNOWN,
     "not gRPC",
     0},
    {503,
     {{"content-type", "text/html"}},
     1,
     NULL,
     0,
     {{0}},
     0,
     0,
     0,
     MIG_GRPC_UNAVAILABLE,
     "HTTP status 503",
     0},
    {404, {GRPC}, 1, NULL, 0, {{0}}, 0, 0, 0, MIG_GRPC_UNIMPLEMENTED, "HTTP status 404", 0},
    {200, {GRPC}, 1, NULL, 0, {{0}}, 0, 1, 0, MIG_GRPC_CANCELLED, "CANCEL", 0},
    {0, {{0}}, 0, NULL, 0, {{0}}, 0, 0, 0, MIG_GRPC_UNAVAILABLE, "REFUSED_STREAM", 0},
    {200, {GRPC}, 1, "\0\0\0\0\1x", 6, {{0}}, 0, 0, 1, MIG_GRPC_DEADLINE_EXCEEDED, "deadline", 1},
};

static void test_answers_that_break_the_rules(void **state)
{
    const struct script *script = NULL;
    struct site site = {.net = *state};
    const struct mig_h2_server_options options = {
        .unix_path = site.net->path, .request = play, .data = &script};
    struct mig_h2_server *server;
    struct mig_error error;

    assert_int_equal(mig_h2_serve(&site.net->loop, &options, &server, &error), 0);
    connect_site(&site);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(scripts); i++) {
        struct call call = {0};

        script = &scripts[i];
        call_start(&site, &call, "/a/b", "x", 1, script->no_finish ? 100 : 0);
        net_run_until(site.net, &call.done);
        expect(&call, script->expected, script->expected_text);
        assert_int_equal(call.messages, script->expected_messages);
    }
    mig_h2_server_free(server);
    stop(&site);
}

/* ---- many ----------------------------------------------------------------------------------- */

static void test_many_at_once(void **state)
{
    static struct call calls[200];
    struct site site;
    char text[16];

    memset(calls, 0, sizeof(calls));
    start(state, &site);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(calls); i++) {
        snprintf(text, sizeof(text), "call %zu", i);
        call_start(&site, &calls[i], "/test.Test/Echo", text, strlen(text), 60000);
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(calls); i++) {
        net_run_until(site.net, &calls[i].done);
        snprintf(text, sizeof(text), "call %zu", i);
        expect(&calls[i], MIG_GRPC_OK, "");
        assert_string_equal(calls[i].text, text);
    }
    stop(&site);
}

static void test_memory_is_flat(void **state)
{
    struct site site;
    size_t before = 0;

    start(state, &site);
    for (unsigned i = 0; i < 600; i++) {
        struct call call = {0};

        call_start(&site, &call, "/test.Test/Echo", "hello", 5, 10000);
        net_run_until(site.net, &call.done);
        assert_int_equal(call.status, MIG_GRPC_OK);
        if (i == 99) {
            before = mallinfo2().uordblks;
        }
    }
    assert_true(mallinfo2().uordblks < before + 16384);
    stop(&site);
}

/* ---- the wire ------------------------------------------------------------------------------- */

static void test_timeouts(void **state)
{
    static const struct {
        const char *text;
        bool valid;
        unsigned ms;
    } cases[] = {
        {"1H", true, 3600000},
        {"2M", true, 120000},
        {"3S", true, 3000},
        {"4m", true, 4},
        {"5000u", true, 5},
        {"6000000n", true, 6},
        {"99999999H", true, 86400000},
        {"0m", true, 0},
        {"", false, 0},
        {"H", false, 0},
        {"1", false, 0},
        {"1h", false, 0},
        {"1mm", false, 0},
        {"-1m", false, 0},
        {"123456789m", false, 0},
    };
    unsigned ms;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_int_equal(mig_grpc_parse_timeout(cases[i].text, &ms), cases[i].valid);
        if (cases[i].valid) {
            assert_int_equal(ms, cases[i].ms);
        }
    }
}

static void test_status_texts(void **state)
{
    static const char text[] = "100 % of \"A\"\n\tGPU \xc3\xa9\x7f";
    char encoded[128], decoded[128], small[8];

    (void)state;
    mig_grpc_encode_text(text, encoded, sizeof(encoded));
    assert_string_equal(encoded, "100 %25 of \"A\"%0A%09GPU %C3%A9%7F");
    mig_grpc_decode_text(encoded, decoded, sizeof(decoded));
    assert_string_equal(decoded, text);
    mig_grpc_encode_text("\n\n\n\n\n\n", small, sizeof(small));
    assert_string_equal(small, "%0A%0A");
    mig_grpc_decode_text("%00%4", decoded, sizeof(decoded));
    assert_string_equal(decoded, "%00%4");
    mig_grpc_decode_text("abcdefghijk", small, sizeof(small));
    assert_string_equal(small, "abcdefg");
    assert_string_equal(mig_grpc_status_name(14), "UNAVAILABLE");
    assert_string_equal(mig_grpc_status_name(17), "UNKNOWN");
    assert_string_equal(mig_grpc_status_name(-1), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_unary, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_empty_message, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_status_text_survives, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_method, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_stream, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_largest_message, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_too_large_to_send, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_cancel, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_cancel_in_message, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_free_in_message, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_deadline, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_connection_lost, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_nobody_listens, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_server_freed_with_requests, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_requests_that_break_the_rules, net_setup,
                                        net_teardown),
        cmocka_unit_test_setup_teardown(test_answers_that_break_the_rules, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_many_at_once, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_memory_is_flat, net_setup, net_teardown),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_status_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
