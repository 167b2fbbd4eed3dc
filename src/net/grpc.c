/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of gRPC. A call is a stream of http2.h; its status is the server's grpc-status
 * if one came, and else made from what stopped it, as the gRPC specification maps that.
 */
#include "net/grpc.h"
#include "base/text.h"
#include "net/grpc_wire.h"
#include <errno.h>
#include <string.h>

#define NO_STATUS (-1)
#define CLOCK_SLACK_MS 20u

struct mig_grpc_call {
    struct mig_grpc_call_options options;
    struct mig_h2_stream *stream;
    struct mig_grpc_deadline *deadline;
    uv_loop_t *loop;
    uint64_t started_ms;
    struct mig_grpc_reader reader;
    int status; /* NO_STATUS until it is known */
    char status_text[MIG_GRPC_STATUS_TEXT_SIZE];
    bool status_is_ours; /* decided here; what the server says no longer matters */
    bool reading;        /* the user is being told a message */
    bool over;           /* while reading: to be freed after it */
};

static void free_call(struct mig_grpc_call *call)
{
    mig_grpc_deadline_stop(call->deadline);
    mig_grpc_reader_release(&call->reader);
    free(call);
}

/* Ends the call from here. */
static void stop(struct mig_grpc_call *call, int status, const char *text)
{
    if (!call->status_is_ours) {
        call->status = status;
        call->status_is_ours = true;
        mig_text_copy(call->status_text, sizeof(call->status_text), text);
        mig_h2_stream_cancel(call->stream);
    }
}

static int status_of_http(int status)
{
    switch (status) {
    case 400:
        return MIG_GRPC_INTERNAL;
    case 401:
        return MIG_GRPC_UNAUTHENTICATED;
    case 403:
        return MIG_GRPC_PERMISSION_DENIED;
    case 404:
        return MIG_GRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return MIG_GRPC_UNAVAILABLE;
    default:
        return MIG_GRPC_UNKNOWN;
    }
}

/* The server's clock may be a little before ours; who has set a deadline wants to hear of it. */
static bool deadline_is_due(const struct mig_grpc_call *call)
{
    return call->options.timeout_ms > 0 &&
           uv_now(call->loop) - call->started_ms + CLOCK_SLACK_MS >= call->options.timeout_ms;
}

static int status_of_reset(const struct mig_grpc_call *call, int64_t code)
{
    switch (code) {
    case -1: /* the connection failed */
    case 7:  /* REFUSED_STREAM */
        return MIG_GRPC_UNAVAILABLE;
    case 8: /* CANCEL */
        return deadline_is_due(call) ? MIG_GRPC_DEADLINE_EXCEEDED : MIG_GRPC_CANCELLED;
    case 11: /* ENHANCE_YOUR_CALM */
        return MIG_GRPC_RESOURCE_EXHAUSTED;
    case 12: /* INADEQUATE_SECURITY */
        return MIG_GRPC_PERMISSION_DENIED;
    default:
        return MIG_GRPC_INTERNAL;
    }
}

/* grpc-status and grpc-message, in trailers or, of an answer without messages, in headers. */
static void take_status(struct mig_grpc_call *call, const struct mig_h2_header *headers,
                        size_t count)
{
    const char *status = mig_grpc_find_header(headers, count, "grpc-status");
    const char *text = mig_grpc_find_header(headers, count, "grpc-message");
    uint64_t number;

    if (!status || call->status_is_ours) {
        return;
    }
    call->status = mig_text_parse_u64(status, MIG_GRPC_UNAUTHENTICATED, &number) ? (int)number
                                                                                 : MIG_GRPC_UNKNOWN;
    mig_grpc_decode_text(text ? text : "", call->status_text, sizeof(call->status_text));
}

static void got_headers(struct mig_h2_stream *stream, int status,
                        const struct mig_h2_header *headers, size_t count, bool trailers,
                        void *data)
{
    struct mig_grpc_call *call = data;
    char text[96];

    (void)stream;
    if (!trailers && status != 200) {
        snprintf(text, sizeof(text), "the server answered with HTTP status %d", status);
        stop(call, status_of_http(status), text);
    } else if (!trailers && !mig_grpc_content_type(headers, count)) {
        stop(call, MIG_GRPC_UNKNOWN, "the answer is not gRPC");
    } else {
        take_status(call, headers, count);
    }
}

static size_t got_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct mig_grpc_call *call = data;
    const uint8_t *position = bytes;
    size_t left = size;

    (void)stream;
    call->reading = true;
    while (left > 0 && !call->over && !call->status_is_ours) {
        const char *reason = NULL;
        int rc = mig_grpc_read(&call->reader, &position, &left, &reason);

        if (rc < 0) {
            stop(call, -rc == MIG_GRPC_UNIMPLEMENTED ? MIG_GRPC_INTERNAL : -rc, reason);
        } else if (rc > 0 && call->options.message_received) {
            call->options.message_received(call, call->reader.message.data,
                                           call->reader.message.size, call->options.data);
        }
    }
    call->reading = false;
    if (call->over) {
        free_call(call);
    }
    return size;
}

static void got_end(struct mig_h2_stream *stream, const struct mig_error *error, void *data)
{
    struct mig_grpc_call *call = data;

    if (call->status == NO_STATUS || (error && !call->status_is_ours)) {
        call->status =
            error ? status_of_reset(call, mig_h2_stream_reset_code(stream)) : MIG_GRPC_INTERNAL;
        mig_text_copy(call->status_text, sizeof(call->status_text),
                      error ? error->message : "the answer has no status");
    } else if (call->status == MIG_GRPC_OK && mig_grpc_reader_cut(&call->reader)) {
        call->status = MIG_GRPC_INTERNAL;
        mig_text_copy(call->status_text, sizeof(call->status_text),
                      "the last message of the answer is cut off");
    }
    call->over = true;
    if (call->options.done) {
        call->options.done(call, call->status, call->status_text, call->options.data);
    }
    if (!call->reading) {
        free_call(call);
    }
}

static const struct mig_h2_events call_events = {
    .headers = got_headers, .body = got_body, .end = got_end};

static void deadline_passed(void *data)
{
    stop(data, MIG_GRPC_DEADLINE_EXCEEDED, "the deadline has passed");
}

static int submit(struct mig_h2 *h2, struct mig_grpc_call *call, struct mig_error *error)
{
    char timeout[16];
    const struct mig_h2_header headers[] = {
        {"te", "trailers"},
        {"content-type", "application/grpc"},
        {"user-agent", "migd/" MIG_VERSION},
        {"grpc-accept-encoding", "identity"},
        {"grpc-timeout", timeout},
    };
    size_t size = MIG_GRPC_PREFIX_SIZE + call->options.message_size;
    MIG_AUTO_FREE uint8_t *body = malloc(size);
    struct mig_h2_request request = {
        .method = "POST",
        .path = call->options.path,
        .headers = headers,
        .header_count = MIG_ARRAY_SIZE(headers) - (call->options.timeout_ms > 0 ? 0 : 1),
        .body = body,
        .body_size = size,
        .events = &call_events,
        .data = call,
    };

    if (!body) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not call %s",
                                   call->options.path);
    }
    mig_grpc_format_timeout(call->options.timeout_ms, timeout, sizeof(timeout));
    mig_grpc_put_prefix(body, call->options.message_size);
    if (call->options.message_size > 0) {
        memcpy(body + MIG_GRPC_PREFIX_SIZE, call->options.message, call->options.message_size);
    }
    return mig_h2_submit(h2, &request, &call->stream, error);
}

int mig_grpc_call(struct mig_h2 *h2, const struct mig_grpc_call_options *options,
                  struct mig_grpc_call **ret, struct mig_error *error)
{
    struct mig_grpc_call *call;
    int rc;

    if (options->message_size > MIG_GRPC_MESSAGE_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "cannot call %s: a message of %zu bytes is over the limit of %u",
                             options->path, options->message_size, MIG_GRPC_MESSAGE_MAX);
    }
    call = calloc(1, sizeof(*call));
    if (!call) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not call %s", options->path);
    }
    call->options = *options;
    call->status = NO_STATUS;
    call->loop = mig_h2_loop(h2);
    uv_update_time(call->loop);
    call->started_ms = uv_now(call->loop);
    mig_grpc_reader_init(&call->reader);
    if (options->timeout_ms > 0) {
        call->deadline =
            mig_grpc_deadline_start(call->loop, options->timeout_ms, deadline_passed, call);
        if (!call->deadline) {
            free_call(call);
            return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not call %s",
                                       options->path);
        }
    }
    rc = submit(h2, call, error);
    if (rc < 0) {
        free_call(call);
        return rc;
    }
    if (ret) {
        *ret = call;
    }
    return 0;
}

void mig_grpc_call_cancel(struct mig_grpc_call *call)
{
    stop(call, MIG_GRPC_CANCELLED, "cancelled");
}
