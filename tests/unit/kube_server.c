/* SPDX-License-Identifier: Apache-2.0 */
/* The scripted API server, over the project's own HTTP/2 server. */
#include "kube_server.h"
#include "base/cleanup.h"
#include "net/http2.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define GUARD_MS 20000

static size_t on_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct kube_seen *request = data;
    size_t room = sizeof(request->body) - 1 - request->body_size;
    size_t kept = size < room ? size : room;

    (void)stream;
    memcpy(request->body + request->body_size, bytes, kept);
    request->body_size += kept;
    return size;
}

static void on_body_end(struct mig_h2_stream *stream, void *data)
{
    struct kube_seen *request = data;

    (void)stream;
    request->server->handler(request, request->server->data);
}

static void on_end(struct mig_h2_stream *stream, const struct mig_error *error, void *data)
{
    struct kube_seen *request = data;

    (void)stream;
    (void)error;
    request->stream = NULL;
}

static const struct mig_h2_events *on_request(struct mig_h2_stream *stream, const char *method,
                                              const char *path, const struct mig_h2_header *headers,
                                              size_t count, void **ret_data, void *data)
{
    static const struct mig_h2_events events = {
        .body = on_body, .body_end = on_body_end, .end = on_end};
    struct kube_server *server = data;
    struct kube_seen *request = &server->seen[server->count];

    if (server->count == KUBE_SERVER_REQUESTS_MAX) {
        return NULL;
    }
    server->count++;
    *request =
        (struct kube_seen){.server = server, .stream = stream, .at_ms = uv_now(&server->loop)};
    snprintf(request->method, sizeof(request->method), "%s", method);
    snprintf(request->path, sizeof(request->path), "%s", path);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(headers[i].name, "authorization") == 0) {
            snprintf(request->authorization, sizeof(request->authorization), "%s",
                     headers[i].value);
        } else if (strcmp(headers[i].name, "content-type") == 0) {
            snprintf(request->content_type, sizeof(request->content_type), "%s", headers[i].value);
        }
    }
    *ret_data = request;
    return &events;
}

static void serve(struct kube_server *server)
{
    const struct mig_h2_server_options options = {
        .listen_fd = dup(server->listener), .request = on_request, .data = server};
    struct mig_error error;

    assert_true(options.listen_fd >= 0);
    if (mig_h2_serve(&server->loop, &options, &server->h2, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

void kube_server_open(struct kube_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(server->port)};
    socklen_t size = sizeof(address);
    int one = 1;

    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(server->listener >= 0);
    setsockopt(server->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(server->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(server->listener, 16), 0);
    assert_int_equal(getsockname(server->listener, (struct sockaddr *)&address, &size), 0);
    server->port = ntohs(address.sin_port);
    serve(server);
}

void kube_server_close(struct kube_server *server)
{
    mig_h2_server_free(MIG_TAKE(server->h2));
    if (server->listener >= 0) {
        close(MIG_TAKE_FD(server->listener));
    }
}

void kube_server_cut(struct kube_server *server)
{
    mig_h2_server_free(server->h2);
    serve(server);
}

void kube_server_start(struct kube_server *server,
                       void (*handler)(struct kube_seen *request, void *data), void *data)
{
    memset(server, 0, sizeof(*server));
    server->handler = handler;
    server->data = data;
    assert_int_equal(uv_loop_init(&server->loop), 0);
    uv_timer_init(&server->loop, &server->guard);
    server->guard.data = server;
    kube_server_open(server);
}

void kube_server_stop(struct kube_server *server)
{
    kube_server_close(server);
    uv_close((uv_handle_t *)&server->guard, NULL);
    assert_int_equal(uv_run(&server->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&server->loop), 0);
}

struct mig_kube *kube_server_client(struct kube_server *server, const char *token,
                                    const char *token_file)
{
    struct mig_kube_config config = {.host = (char[]){"127.0.0.1"},
                                     .port = server->port,
                                     .token = (char *)(uintptr_t)token,
                                     .token_file = (char *)(uintptr_t)token_file};
    const struct mig_kube_options options = {
        .config = &config, .user_agent = "test/1", .rate_per_s = 1000, .burst = 100, .seed = 1};
    struct mig_kube *kube = NULL;
    struct mig_error error;

    if (mig_kube_new(&server->loop, &options, &kube, &error) < 0) {
        fail_msg("%s", error.message);
    }
    return kube;
}

static void on_guard(uv_timer_t *timer)
{
    struct kube_server *server = timer->data;

    server->timed_out = true;
}

bool kube_server_run(struct kube_server *server, const unsigned *value, unsigned wanted)
{
    server->timed_out = false;
    uv_update_time(&server->loop);
    uv_timer_start(&server->guard, on_guard, GUARD_MS, 0);
    while (*value < wanted && !server->timed_out) {
        uv_run(&server->loop, UV_RUN_ONCE);
    }
    uv_timer_stop(&server->guard);
    return *value >= wanted;
}

void kube_server_run_ms(struct kube_server *server, unsigned duration_ms)
{
    server->timed_out = false;
    uv_update_time(&server->loop);
    uv_timer_start(&server->guard, on_guard, duration_ms, 0);
    while (!server->timed_out) {
        uv_run(&server->loop, UV_RUN_ONCE);
    }
}

void kube_answer(struct kube_seen *request, int status, const char *retry_after, const char *format,
                 ...)
{
    const struct mig_h2_header headers[] = {{"content-type", "application/json"},
                                            {"retry-after", retry_after}};
    MIG_AUTO_FREE char *text = NULL;
    va_list arguments;

    va_start(arguments, format);
    assert_true(vasprintf(&text, format, arguments) >= 0);
    va_end(arguments);
    if (request->stream) {
        assert_int_equal(
            mig_h2_stream_respond(request->stream, status, headers, retry_after ? 2 : 1, NULL), 0);
        kube_send(request, text);
        kube_finish(request);
    }
}

void kube_begin(struct kube_seen *request)
{
    assert_int_equal(mig_h2_stream_respond(request->stream, 200, NULL, 0, NULL), 0);
}

void kube_send(struct kube_seen *request, const char *text)
{
    if (request->stream && *text) {
        assert_int_equal(mig_h2_stream_write(request->stream, text, strlen(text), NULL), 0);
    }
}

void kube_finish(struct kube_seen *request)
{
    if (request->stream) {
        assert_int_equal(mig_h2_stream_finish(request->stream, NULL, 0, NULL), 0);
    }
}

void kube_reset(struct kube_seen *request)
{
    if (request->stream) {
        mig_h2_stream_cancel(request->stream);
    }
}
