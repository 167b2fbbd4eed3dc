/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmicrohttpd on the loop: it keeps its sockets in an epoll set of its own, and the loop watches
 * that set's descriptor and the time it asks for.
 *
 * It is there for HTTP alone, but as distributions build it it brings GnuTLS along: 0.6 MiB of the
 * agent's RSS, 0.24 MiB of them its own. The libraries without that have a loop or threads of their
 * own, or are no longer looked after, and HTTP read by code of ours would have to be kept safe.
 */
#include "net/http.h"
#include "net/listen.h"
#include <errno.h>
#include <microhttpd.h>
#include <string.h>

#define CONNECTIONS_DEFAULT 64u
#define TIMEOUT_DEFAULT_S 10u
#define WAIT_MAX_MS 1000u /* timeouts are whole seconds */

struct mig_http {
    struct mig_http_options options;
    struct mig_listener listener;
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handle_count;
    bool running; /* inside libmicrohttpd */
    bool freed;
};

/* ---- answers -------------------------------------------------------------------------------- */

static enum MHD_Result send_answer(struct MHD_Connection *connection, int status, void *body,
                                   size_t size, const char *content_type)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, body, MHD_RESPMEM_MUST_FREE);
    enum MHD_Result rc = MHD_NO;

    if (!response) {
        free(body);
        return MHD_NO;
    }
    if (MHD_add_response_header(response, "Content-Type", content_type) == MHD_YES &&
        (status != MHD_HTTP_METHOD_NOT_ALLOWED ||
         MHD_add_response_header(response, "Allow", "GET, HEAD") == MHD_YES)) {
        rc = MHD_queue_response(connection, (unsigned)status, response);
    }
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result send_text(struct MHD_Connection *connection, int status, const char *text)
{
    char *body = strdup(text);

    return body ? send_answer(connection, status, body, strlen(body), "text/plain; charset=utf-8")
                : MHD_NO;
}

static enum MHD_Result call_route(struct MHD_Connection *connection,
                                  const struct mig_http_route *route, void *data)
{
    struct mig_http_answer answer = {.content_type = "text/plain; charset=utf-8"};
    size_t size;
    char *body;
    int status;

    mig_buffer_init(&answer.body, MIG_HTTP_BODY_MAX);
    status = route->answer(&answer, data);
    size = answer.body.size;
    body = mig_buffer_take(&answer.body);
    if (!body) {
        mig_buffer_release(&answer.body);
        return send_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "the answer is too large\n");
    }
    return send_answer(connection, status, body, size, answer.content_type);
}

static enum MHD_Result handle(void *data, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_size, void **state)
{
    struct mig_http *http = data;

    (void)version;
    (void)upload;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    if (!*state) { /* the headers only; a body, which means nothing here, may follow */
        *state = http;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    for (size_t i = 0; i < http->options.route_count && !http->freed; i++) {
        if (strcmp(http->options.routes[i].path, path) == 0) {
            return call_route(connection, &http->options.routes[i], http->options.data);
        }
    }
    return send_text(connection, MHD_HTTP_NOT_FOUND, "there is nothing here\n");
}

/* ---- the loop ------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    struct mig_http *http = handle->data;

    if (--http->handle_count == 0) {
        free(http);
    }
}

/* The daemon owns the listening socket, and the descriptor of its epoll set. */
static void take_apart(struct mig_http *http)
{
    uv_close((uv_handle_t *)&http->poll, handle_closed);
    uv_close((uv_handle_t *)&http->timer, handle_closed);
    mig_listener_unlink(&http->listener);
    MHD_stop_daemon(http->daemon);
}

static void timer_rang(uv_timer_t *timer);

static void run(struct mig_http *http)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;

    http->running = true;
    MHD_run(http->daemon);
    http->running = false;
    if (http->freed) {
        take_apart(http);
    } else if (MHD_get_timeout(http->daemon, &wait_ms) == MHD_YES) {
        uv_timer_start(&http->timer, timer_rang, wait_ms < WAIT_MAX_MS ? wait_ms : WAIT_MAX_MS, 0);
    } else {
        uv_timer_stop(&http->timer);
    }
}

static void timer_rang(uv_timer_t *timer)
{
    run(timer->data);
}

static void poll_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

/* ---- starting and stopping ------------------------------------------------------------------ */

static int listen_somewhere(struct mig_http *http, struct mig_error *error)
{
    const struct mig_http_options *options = &http->options;

    if (options->unix_path) {
        return mig_listen_unix(options->unix_path, &http->listener, error);
    }
    if (options->listen_fd > 0) {
        return mig_listen_given(options->listen_fd, &http->listener, error);
    }
    return mig_listen_tcp(options->address, options->port, &http->listener, error);
}

static struct MHD_Daemon *start_daemon(struct mig_http *http)
{
    const struct mig_http_options *options = &http->options;
    unsigned connections =
        options->connection_max > 0 ? options->connection_max : CONNECTIONS_DEFAULT;
    unsigned per_address = (connections + 1) / 2;

    return MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, handle, http, MHD_OPTION_LISTEN_SOCKET,
                            http->listener.fd, MHD_OPTION_CONNECTION_LIMIT, connections,
                            MHD_OPTION_PER_IP_CONNECTION_LIMIT, per_address,
                            MHD_OPTION_CONNECTION_TIMEOUT,
                            options->timeout_s > 0 ? options->timeout_s : TIMEOUT_DEFAULT_S,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MIG_HTTP_REQUEST_MAX,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

static int start(struct mig_http *http, uv_loop_t *loop, struct mig_error *error)
{
    const union MHD_DaemonInfo *info;
    int rc;

    http->daemon = start_daemon(http);
    if (!http->daemon) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not start the HTTP server");
    }
    info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    rc = info ? uv_poll_init(loop, &http->poll, info->epoll_fd) : UV_EINVAL;
    if (rc < 0) {
        if (http->options.listen_fd > 0) {
            MHD_quiesce_daemon(http->daemon); /* the caller's socket is given back */
        }
        MHD_stop_daemon(http->daemon);
        http->listener.fd = -1;
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not start the HTTP server");
    }
    return 0;
}

int mig_http_serve(uv_loop_t *loop, const struct mig_http_options *options, struct mig_http **ret,
                   struct mig_error *error)
{
    struct mig_http *http = calloc(1, sizeof(*http));
    int rc;

    if (!http) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start the HTTP server");
    }
    http->options = *options;
    rc = listen_somewhere(http, error);
    if (rc == 0) {
        rc = start(http, loop, error);
        if (rc < 0) {
            mig_listener_unlink(&http->listener);
            if (options->unix_path || options->listen_fd <= 0) {
                mig_listener_close(&http->listener);
            }
        }
    }
    if (rc < 0) {
        free(http);
        return rc;
    }
    uv_timer_init(loop, &http->timer);
    http->handle_count = 2;
    http->poll.data = http->timer.data = http;
    uv_poll_start(&http->poll, UV_READABLE, poll_ready);
    *ret = http;
    return 0;
}

void mig_http_free(struct mig_http *http)
{
    if (!http || http->freed) {
        return;
    }
    http->freed = true;
    if (!http->running) {
        take_apart(http);
    }
}

uint16_t mig_http_port(const struct mig_http *http)
{
    return mig_listener_port(&http->listener);
}
