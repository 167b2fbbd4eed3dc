/* SPDX-License-Identifier: Apache-2.0 */
/* The server's side: a listening socket, its connections, and requests as they come. */
#include "net/http2_connection.h"
#include "net/listen.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECTIONS_DEFAULT 16u
#define ACCEPTS_MAX 16 /* in one turn of the loop */
#define PREFACE_TIMEOUT_MS 10000u
#define ACCEPT_PAUSE_MS 1000u /* when the process has no descriptors left */

struct mig_h2_server {
    struct mig_h2_server_options options;
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t pause;
    struct mig_listener listener; /* fd -1: freed */
    struct mig_h2 *connections;
    unsigned connection_count;
    unsigned handle_count;
};

static void remove_connection(struct mig_h2 *h2)
{
    struct mig_h2_server *server = h2->server;

    *(h2->previous ? &h2->previous->next : &server->connections) = h2->next;
    if (h2->next) {
        h2->next->previous = h2->previous;
    }
    server->connection_count--;
}

void mig_h2_server_closed(struct mig_h2 *h2)
{
    remove_connection(h2);
    mig_h2_free(h2);
}

void mig_h2_server_request(struct mig_h2_stream *stream, const char *method, const char *path,
                           const struct mig_h2_header *headers, size_t count)
{
    struct mig_h2 *h2 = stream->h2;
    const struct mig_h2_server_options *options = &h2->server->options;
    const struct mig_h2_events *events;

    events = options->request(stream, method, path, headers, count, &stream->data, options->data);
    if (h2->freed) {
        return;
    }
    stream->events = events;
    if (!events && stream->list == &h2->streams) {
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id,
                                  NGHTTP2_REFUSED_STREAM);
        mig_h2_stream_over(stream, MIG_H2_CAUSE_CANCELLED);
    }
}

/* No preface in time. */
static void preface_late(uv_timer_t *timer)
{
    struct mig_h2 *h2 = timer->data;
    struct mig_error error;

    mig_h2_enter(h2);
    mig_error_set_errno(&error, MIG_E_FAILED, ETIMEDOUT, "the peer does not speak HTTP/2");
    mig_h2_fail(h2, &error);
    mig_h2_leave(h2);
}

static void add_connection(struct mig_h2_server *server, int fd)
{
    struct mig_error error;
    struct mig_h2 *h2;

    if (mig_h2_new(server->loop, server, &h2, &error) < 0) {
        close(fd);
        return;
    }
    h2->name = strdup("the client");
    h2->next = server->connections;
    if (h2->next) {
        h2->next->previous = h2;
    }
    server->connections = h2;
    server->connection_count++;
    uv_timer_start(&h2->timer, preface_late, PREFACE_TIMEOUT_MS, 0);
    mig_h2_enter(h2);
    if (h2->name) {
        mig_h2_attach(h2, fd);
    } else {
        close(fd);
    }
    mig_h2_leave(h2);
}

static void accept_some(uv_poll_t *poll, int status, int events);

static void pause_over(uv_timer_t *timer)
{
    struct mig_h2_server *server = timer->data;

    uv_poll_start(&server->poll, UV_READABLE, accept_some);
}

static void accept_some(uv_poll_t *poll, int status, int events)
{
    struct mig_h2_server *server = poll->data;
    unsigned max = server->options.connection_max;

    (void)status;
    (void)events;
    for (unsigned i = 0; i < ACCEPTS_MAX && server->listener.fd >= 0; i++) {
        /* cppcheck-suppress nullPointer ; accept4 takes it */
        int fd = accept4(server->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
            uv_poll_stop(poll);
            uv_timer_start(&server->pause, pause_over, ACCEPT_PAUSE_MS, 0);
        }
        if (fd < 0) {
            return;
        }
        if (server->connection_count >= max) {
            close(fd);
            continue;
        }
        add_connection(server, fd);
    }
}

static void handle_closed(uv_handle_t *handle)
{
    struct mig_h2_server *server = handle->data;

    if (--server->handle_count == 0) {
        free(server);
    }
}

int mig_h2_serve(uv_loop_t *loop, const struct mig_h2_server_options *options,
                 struct mig_h2_server **ret, struct mig_error *error)
{
    struct mig_h2_server *server = calloc(1, sizeof(*server));
    int rc;

    if (!server) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not listen");
    }
    server->options = *options;
    server->loop = loop;
    if (options->connection_max == 0) {
        server->options.connection_max = CONNECTIONS_DEFAULT;
    }
    rc = options->unix_path ? mig_listen_unix(options->unix_path, &server->listener, error)
                            : mig_listen_given(options->listen_fd, &server->listener, error);
    if (rc == 0) {
        rc = uv_poll_init(loop, &server->poll, server->listener.fd);
        if (rc < 0) {
            rc = mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not listen");
            if (options->unix_path) {
                mig_listener_close(&server->listener);
            }
        }
    }
    if (rc < 0) {
        free(server);
        return rc;
    }
    uv_timer_init(loop, &server->pause);
    server->handle_count = 2;
    server->poll.data = server->pause.data = server;
    uv_poll_start(&server->poll, UV_READABLE, accept_some);
    *ret = server;
    return 0;
}

void mig_h2_server_free(struct mig_h2_server *server)
{
    if (!server || server->listener.fd < 0) {
        return;
    }
    uv_close((uv_handle_t *)&server->poll, handle_closed);
    uv_close((uv_handle_t *)&server->pause, handle_closed);
    mig_listener_close(&server->listener);
    while (server->connections) {
        struct mig_h2 *h2 = server->connections;

        remove_connection(h2);
        mig_h2_free(h2);
    }
}
