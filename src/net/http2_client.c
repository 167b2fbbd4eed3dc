/* SPDX-License-Identifier: Apache-2.0 */
/* The client's side: connecting, keeping alive, requests. */
#include "net/http2_connection.h"
#include <errno.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000u
/* of frames that wait in nghttp2: requests, and the resets of those that were cancelled */
#define QUEUE_MAX ((size_t)4 * MIG_H2_STREAMS_MAX)

static void dialled(int fd, const struct mig_error *error, void *data)
{
    struct mig_h2 *h2 = data;

    mig_h2_enter(h2);
    h2->dial = NULL;
    if (fd < 0) {
        mig_h2_fail(h2, error);
    } else {
        mig_h2_attach(h2, fd);
    }
    mig_h2_leave(h2);
}

static void fail_silent(struct mig_h2 *h2, unsigned duration_ms)
{
    struct mig_error error;

    if (!h2->ready) {
        mig_error_set_errno(&error, MIG_E_FAILED, ETIMEDOUT, "could not connect (%s)",
                            h2->state == MIG_H2_OPEN ? "the peer does not speak HTTP/2"
                            : h2->connected          ? "TLS handshake"
                                                     : "no answer");
    } else {
        mig_error_set_errno(&error, MIG_E_FAILED, ETIMEDOUT,
                            "nothing has come for %u ms, nor an answer to a ping", duration_ms);
    }
    mig_h2_fail(h2, &error);
}

/* The connection is not there in time, or has been silent for long. */
static void timer_rang(uv_timer_t *timer)
{
    struct mig_h2 *h2 = timer->data;
    uint64_t silent_ms = uv_now(h2->loop) - h2->received_ms;

    mig_h2_enter(h2);
    if (!h2->ready) {
        fail_silent(h2, 0);
    } else if (silent_ms < h2->ping_interval_ms) {
        uv_timer_start(timer, timer_rang, h2->ping_interval_ms - silent_ms, 0);
    } else if (h2->pinged && !mig_h2_input_waits(h2)) {
        fail_silent(h2, (unsigned)silent_ms);
    } else {
        nghttp2_submit_ping(h2->session, NGHTTP2_FLAG_NONE, NULL);
        h2->pinged = true;
        uv_timer_start(timer, timer_rang, h2->ping_interval_ms, 0);
    }
    mig_h2_leave(h2);
}

static int check_options(const struct mig_h2_connect_options *options, struct mig_error *error)
{
    if ((options->host && options->unix_path) ||
        (!options->host && !options->unix_path && options->fd < 0)) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "a host, a unix socket or a descriptor is needed to connect");
    }
    if (options->authority &&
        !nghttp2_check_authority((const uint8_t *)options->authority, strlen(options->authority))) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "\"%s\" cannot be the authority of a request", options->authority);
    }
    return 0;
}

/* Who the peer is: for messages, for TLS, and in requests. */
static int name_peer(struct mig_h2 *h2, const struct mig_h2_connect_options *options)
{
    if (options->host) {
        bool brackets = strchr(options->host, ':') != NULL;

        h2->host = strdup(options->host);
        if (asprintf(&h2->name, "%s%s%s:%u", brackets ? "[" : "", options->host,
                     brackets ? "]" : "", options->port) < 0) {
            h2->name = NULL;
        }
        h2->authority = options->authority ? strdup(options->authority)
                        : h2->name         ? strdup(h2->name)
                                           : NULL;
        return h2->host && h2->authority ? 0 : -ENOMEM;
    }
    h2->name = strdup(options->unix_path ? options->unix_path : "the given socket");
    h2->authority = strdup(options->authority ? options->authority : "localhost");
    return h2->name && h2->authority ? 0 : -ENOMEM;
}

static int start(struct mig_h2 *h2, const struct mig_h2_connect_options *options,
                 struct mig_error *error)
{
    unsigned timeout_ms =
        options->connect_timeout_ms > 0 ? options->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    struct mig_dial_options dial = {.host = options->host,
                                    .port = options->port,
                                    .unix_path = options->unix_path,
                                    .timeout_ms = timeout_ms,
                                    .done = dialled,
                                    .data = h2};
    int rc;

    if (name_peer(h2, options) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not connect");
    }
    h2->tls = options->tls;
    h2->ping_interval_ms = options->ping_interval_ms;
    uv_update_time(h2->loop);
    uv_timer_start(&h2->timer, timer_rang, timeout_ms, 0);
    if (options->host || options->unix_path) {
        rc = mig_dial(h2->loop, &dial, &h2->dial, error);
        if (rc < 0) {
            return rc;
        }
    } else {
        h2->given_fd = options->fd; /* used by the loop, as nothing is told from in here */
        mig_h2_kick(h2);
    }
    h2->ready_callback = options->ready;
    h2->closed_callback = options->closed;
    h2->data = options->data;
    return 0;
}

int mig_h2_connect(uv_loop_t *loop, const struct mig_h2_connect_options *options,
                   struct mig_h2 **ret, struct mig_error *error)
{
    struct mig_h2 *h2 = NULL;
    int rc = check_options(options, error);

    if (rc == 0) {
        rc = mig_h2_new(loop, NULL, &h2, error);
    }
    if (rc < 0) {
        return rc;
    }
    rc = start(h2, options, error);
    if (rc < 0) {
        mig_h2_free(h2);
        return rc;
    }
    *ret = h2;
    return 0;
}

bool mig_h2_usable(const struct mig_h2 *h2)
{
    return !h2->freed && h2->state <= MIG_H2_OPEN &&
           nghttp2_session_check_request_allowed(h2->session);
}

static int check_request(const struct mig_h2 *h2, const struct mig_h2_request *request,
                         struct mig_error *error)
{
    if (!mig_h2_usable(h2)) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "%s takes no more requests on this connection%s%s", h2->name,
                             *h2->complaint ? ": " : "", h2->complaint);
    }
    if (h2->stream_count >= MIG_H2_STREAMS_MAX ||
        nghttp2_session_get_outbound_queue_size(h2->session) > QUEUE_MAX) {
        return mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                             "%s: %zu requests are under way on one connection", h2->name,
                             h2->stream_count);
    }
    if (!nghttp2_check_method((const uint8_t *)request->method, strlen(request->method)) ||
        !nghttp2_check_path((const uint8_t *)request->path, strlen(request->path)) ||
        request->path[0] != '/') {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "\"%s %s\" is not a request",
                             request->method, request->path);
    }
    if (request->body_size > MIG_H2_OUTPUT_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "a request of %zu bytes is over the limit of %u", request->body_size,
                             MIG_H2_OUTPUT_MAX);
    }
    return 0;
}

/* Hands the request to nghttp2, which copies the fields. */
static int submit(struct mig_h2 *h2, struct mig_h2_stream *stream,
                  const struct mig_h2_request *request, struct mig_error *error)
{
    const struct mig_h2_header first[] = {{":method", request->method},
                                          {":scheme", h2->tls ? "https" : "http"},
                                          {":authority", h2->authority},
                                          {":path", request->path}};
    nghttp2_data_provider provider = mig_h2_body_provider();
    bool has_body = request->body_size > 0 || request->keep_open;
    struct mig_h2_fields fields;
    int rc = mig_h2_fields_copy(first, MIG_ARRAY_SIZE(first), request->headers,
                                request->header_count, &fields, error);

    if (rc < 0) {
        return rc;
    }
    if (request->body_size > 0 &&
        mig_buffer_append(&stream->output, request->body, request->body_size)) {
        rc = NGHTTP2_ERR_NOMEM;
    } else {
        rc = nghttp2_submit_request(h2->session, NULL, fields.list, fields.count,
                                    has_body ? &provider : NULL, stream);
    }
    mig_h2_fields_release(&fields);
    if (rc < 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, rc,
                             "could not send a request: %s", nghttp2_strerror(rc));
    }
    stream->id = rc;
    return 0;
}

int mig_h2_submit(struct mig_h2 *h2, const struct mig_h2_request *request,
                  struct mig_h2_stream **ret, struct mig_error *error)
{
    struct mig_h2_stream *stream;
    int rc = check_request(h2, request, error);

    if (rc < 0) {
        return rc;
    }
    stream = mig_h2_stream_new(h2);
    if (!stream) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not send a request");
    }
    rc = submit(h2, stream, request, error);
    if (rc < 0) {
        mig_h2_stream_drop(stream);
        return rc;
    }
    stream->events = request->events;
    stream->data = request->data;
    stream->output_finished = !request->keep_open;
    mig_h2_kick(h2);
    if (ret) {
        *ret = stream;
    }
    return 0;
}
