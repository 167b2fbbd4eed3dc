/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of gRPC: unary requests, answered with one message or many.
 *
 * A request that is refused before its method is called (no such method, compressed, too large,
 * cut off) is answered here. An answer always has headers and trailers of their own; a lone block
 * of headers, which gRPC allows too, says nothing more.
 */
#include "base/text.h"
#include "net/grpc.h"
#include "net/grpc_wire.h"
#include <errno.h>
#include <string.h>

struct mig_grpc_server {
    struct mig_grpc_server_options options;
    uv_loop_t *loop;
    struct mig_h2_server *h2;
};

struct mig_grpc_request {
    struct mig_grpc_server *server;
    struct mig_h2_stream *stream;
    const struct mig_grpc_method *method;
    struct mig_grpc_reader reader;
    struct mig_grpc_deadline *deadline;
    bool called;    /* the user knows of it */
    bool responded; /* headers are out */
    bool finished;  /* nothing is told to the user, nor taken from it, any more */
};

/* ---- answers -------------------------------------------------------------------------------- */

static int respond(struct mig_grpc_request *request, struct mig_error *error)
{
    const struct mig_h2_header headers[] = {{"content-type", "application/grpc"},
                                            {"grpc-accept-encoding", "identity"}};
    int rc = 0;

    if (!request->responded) {
        rc = mig_h2_stream_respond(request->stream, 200, headers, MIG_ARRAY_SIZE(headers), error);
        request->responded = rc == 0;
    }
    return rc;
}

int mig_grpc_send(struct mig_grpc_request *request, const void *message, size_t size,
                  struct mig_error *error)
{
    MIG_AUTO_FREE uint8_t *frame = NULL;
    int rc;

    if (size > MIG_GRPC_MESSAGE_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "a message of %zu bytes is over the limit of %u", size,
                             MIG_GRPC_MESSAGE_MAX);
    }
    frame = malloc(MIG_GRPC_PREFIX_SIZE + size);
    if (!frame) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not send a message");
    }
    rc = respond(request, error);
    if (rc < 0) {
        return rc;
    }
    mig_grpc_put_prefix(frame, size);
    if (size > 0) {
        memcpy(frame + MIG_GRPC_PREFIX_SIZE, message, size);
    }
    return mig_h2_stream_write(request->stream, frame, MIG_GRPC_PREFIX_SIZE + size, error);
}

void mig_grpc_finish(struct mig_grpc_request *request, enum mig_grpc_status status,
                     const char *message)
{
    char number[16], text[MIG_GRPC_STATUS_TEXT_SIZE];
    const struct mig_h2_header trailers[] = {{"grpc-status", number}, {"grpc-message", text}};
    struct mig_error error;

    request->finished = true;
    mig_grpc_deadline_stop(MIG_TAKE(request->deadline));
    snprintf(number, sizeof(number), "%d", (int)status);
    mig_grpc_encode_text(message ? message : "", text, sizeof(text));
    if (respond(request, &error) < 0 ||
        mig_h2_stream_finish(request->stream, trailers, message && *message ? 2 : 1, &error) < 0) {
        mig_h2_stream_cancel(request->stream);
    }
}

/* ---- requests ------------------------------------------------------------------------------- */

static void deadline_passed(void *data)
{
    struct mig_grpc_request *request = data;
    const struct mig_grpc_server_options options = request->server->options;
    bool tell = request->called && options.cancelled;

    mig_grpc_finish(request, MIG_GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
    if (tell) {
        options.cancelled(request, options.data);
    }
}

static size_t got_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct mig_grpc_request *request = data;
    const uint8_t *position = bytes;
    size_t left = size;

    (void)stream;
    while (left > 0 && !request->finished) {
        const char *reason = NULL;
        int rc;

        if (request->reader.whole) {
            mig_grpc_finish(request, MIG_GRPC_UNIMPLEMENTED,
                            "a request of more than one message is not supported");
            break;
        }
        rc = mig_grpc_read(&request->reader, &position, &left, &reason);
        if (rc < 0) {
            mig_grpc_finish(request, (enum mig_grpc_status)(-rc), reason);
        }
    }
    return size;
}

/* The request is whole. Nothing of it is touched after its method was called: it may be gone. */
static void got_body_end(struct mig_h2_stream *stream, void *data)
{
    struct mig_grpc_request *request = data;

    (void)stream;
    if (request->finished) {
        return;
    }
    if (!request->reader.whole) {
        mig_grpc_finish(request, MIG_GRPC_INTERNAL,
                        mig_grpc_reader_cut(&request->reader) ? "the message is cut off"
                                                              : "the request has no message");
        return;
    }
    request->called = true;
    request->method->call(request, request->reader.message.data, request->reader.message.size,
                          request->server->options.data);
}

static void got_end(struct mig_h2_stream *stream, const struct mig_error *error, void *data)
{
    struct mig_grpc_request *request = data;
    const struct mig_grpc_server_options *options = &request->server->options;

    (void)stream;
    (void)error;
    if (!request->finished) {
        request->finished = true;
        if (request->called && options->cancelled) {
            options->cancelled(request, options->data);
        }
    }
    mig_grpc_deadline_stop(request->deadline);
    mig_grpc_reader_release(&request->reader);
    free(request);
}

static const struct mig_h2_events request_events = {
    .body = got_body, .body_end = got_body_end, .end = got_end};

/* What is not gRPC is answered in plain HTTP. */
static const struct mig_h2_events *refuse(struct mig_h2_stream *stream, int status)
{
    static const struct mig_h2_events no_events;
    struct mig_error error;

    if (mig_h2_stream_respond(stream, status, NULL, 0, &error) < 0 ||
        mig_h2_stream_finish(stream, NULL, 0, &error) < 0) {
        return NULL;
    }
    return &no_events;
}

static const struct mig_grpc_method *find_method(const struct mig_grpc_server *server,
                                                 const char *path)
{
    for (size_t i = 0; i < server->options.method_count; i++) {
        if (strcmp(server->options.methods[i].path, path) == 0) {
            return &server->options.methods[i];
        }
    }
    return NULL;
}

/* The deadline that the client has asked for, if any. */
static void start_deadline(struct mig_grpc_request *request, const char *timeout)
{
    unsigned timeout_ms;

    if (!timeout) {
        return;
    }
    if (!mig_grpc_parse_timeout(timeout, &timeout_ms)) {
        mig_grpc_finish(request, MIG_GRPC_INTERNAL, "grpc-timeout is not a timeout");
        return;
    }
    request->deadline =
        mig_grpc_deadline_start(request->server->loop, timeout_ms, deadline_passed, request);
}

static const struct mig_h2_events *got_request(struct mig_h2_stream *stream, const char *method,
                                               const char *path,
                                               const struct mig_h2_header *headers, size_t count,
                                               void **ret_data, void *data)
{
    struct mig_grpc_server *server = data;
    struct mig_grpc_request *request;

    if (strcmp(method, "POST") != 0) {
        return refuse(stream, 405);
    }
    if (!mig_grpc_content_type(headers, count)) {
        return refuse(stream, 415);
    }
    request = calloc(1, sizeof(*request));
    if (!request) {
        return NULL;
    }
    request->server = server;
    request->stream = stream;
    request->method = find_method(server, path);
    mig_grpc_reader_init(&request->reader);
    *ret_data = request;
    if (!request->method) {
        char text[256];

        snprintf(text, sizeof(text), "there is no method %s here", path);
        mig_grpc_finish(request, MIG_GRPC_UNIMPLEMENTED, text);
    } else {
        start_deadline(request, mig_grpc_find_header(headers, count, "grpc-timeout"));
    }
    return &request_events;
}

/* ---- the server ----------------------------------------------------------------------------- */

int mig_grpc_serve(uv_loop_t *loop, const struct mig_grpc_server_options *options,
                   struct mig_grpc_server **ret, struct mig_error *error)
{
    struct mig_grpc_server *server = calloc(1, sizeof(*server));
    const struct mig_h2_server_options h2 = {.unix_path = options->unix_path,
                                             .listen_fd = options->listen_fd,
                                             .request = got_request,
                                             .data = server};
    int rc;

    if (!server) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not listen");
    }
    server->options = *options;
    server->loop = loop;
    rc = mig_h2_serve(loop, &h2, &server->h2, error);
    if (rc < 0) {
        free(server);
        return rc;
    }
    *ret = server;
    return 0;
}

void mig_grpc_server_free(struct mig_grpc_server *server)
{
    if (server && server->h2) { /* else it is called from cancelled(), and freed already */
        mig_h2_server_free(MIG_TAKE(server->h2));
        free(server);
    }
}
