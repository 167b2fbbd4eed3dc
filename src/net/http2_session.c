/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nghttp2 tells about frames, turned into events of streams.
 *
 * nghttp2 must not be entered again, nor its session deleted, from here. So after each callback of
 * the user that may have freed the connection nothing but "failure" is returned, which makes
 * nghttp2 stop; and the end of a stream is only noted, and told when nghttp2 has returned.
 */
#include "base/text.h"
#include "net/http2_connection.h"
#include <errno.h>
#include <string.h>

#define STREAM_WINDOW (256 << 10)
#define CONNECTION_WINDOW (1 << 20)

static int callback_result(const struct mig_h2 *h2)
{
    return h2->freed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* ---- headers -------------------------------------------------------------------------------- */

static void start_block(struct mig_h2_block *block)
{
    block->text.size = 0;
    block->count = block->method = block->path = 0;
    block->status = 0;
    mig_buffer_append(&block->text, "", 1);
}

/* "200" as a number; nghttp2 has checked that it is three digits. */
static int parse_status(const uint8_t *value, size_t size)
{
    return size == 3 ? (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0') : 0;
}

static int add_text(struct mig_h2_block *block, const uint8_t *text, size_t size, size_t *ret)
{
    *ret = block->text.size;
    if (block->text.size + size + 1 > MIG_H2_HEADER_BYTES_MAX) {
        return -EFBIG;
    }
    return mig_buffer_append(&block->text, text, size) || mig_buffer_append(&block->text, "", 1)
               ? -ENOMEM
               : 0;
}

static int add_field(struct mig_h2_block *block, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size)
{
    size_t ignored;
    int rc;

    if (name_size > 0 && name[0] == ':') {
        if (name_size == 7 && memcmp(name, ":status", 7) == 0) {
            block->status = parse_status(value, value_size);
            return 0;
        }
        return add_text(block, value, value_size,
                        name_size == 7 && memcmp(name, ":method", 7) == 0 ? &block->method
                        : name_size == 5 && memcmp(name, ":path", 5) == 0 ? &block->path
                                                                          : &ignored);
    }
    if (block->count == MIG_H2_HEADERS_MAX) {
        return -EFBIG;
    }
    rc = add_text(block, name, name_size, &block->name[block->count]);
    if (rc == 0) {
        rc = add_text(block, value, value_size, &block->value[block->count]);
    }
    block->count += rc == 0;
    return rc;
}

static int begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct mig_h2 *h2 = data;
    struct mig_h2_stream *stream;

    if (h2->freed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    start_block(&h2->block);
    if (!h2->server || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    stream = mig_h2_stream_new(h2);
    if (!stream) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    stream->id = frame->hd.stream_id;
    nghttp2_session_set_stream_user_data(session, stream->id, stream);
    return 0;
}

static int received_header(nghttp2_session *session, const nghttp2_frame *frame,
                           const uint8_t *name, size_t name_size, const uint8_t *value,
                           size_t value_size, uint8_t flags, void *data)
{
    struct mig_h2 *h2 = data;
    struct mig_h2_stream *stream =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags;
    if (h2->freed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (!stream || add_field(&h2->block, name, name_size, value, value_size) == 0) {
        return 0;
    }
    stream->cause = MIG_H2_CAUSE_HEADERS;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* resets the stream */
}

/* The peer makes no sense on this stream. */
static void break_off(struct mig_h2_stream *stream)
{
    nghttp2_submit_rst_stream(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id,
                              NGHTTP2_PROTOCOL_ERROR);
    stream->error_code = NGHTTP2_PROTOCOL_ERROR;
    mig_h2_stream_over(stream, MIG_H2_CAUSE_CLOSED);
}

static void headers_complete(struct mig_h2_stream *stream)
{
    struct mig_h2_block *block = &stream->h2->block;
    struct mig_h2_header headers[MIG_H2_HEADERS_MAX];
    bool trailers = stream->answered;

    if (!stream->h2->server && !trailers && block->status < 200) {
        if (block->status < 100) { /* "060" is no status, though it has three digits */
            break_off(stream);
        }
        return; /* 100 and the like say nothing yet */
    }
    stream->answered = true;
    for (size_t i = 0; i < block->count; i++) {
        headers[i] = (struct mig_h2_header){block->text.data + block->name[i],
                                            block->text.data + block->value[i]};
    }
    if (stream->h2->server && !trailers) {
        mig_h2_server_request(stream, block->text.data + block->method,
                              block->text.data + block->path, headers, block->count);
    } else if (stream->events && stream->events->headers) {
        stream->events->headers(stream, trailers ? 0 : block->status, headers, block->count,
                                trailers, stream->data);
    }
}

/* ---- frames --------------------------------------------------------------------------------- */

/* A user callback may have cancelled the stream, which takes it out of the session. */
static struct mig_h2_stream *still_open(struct mig_h2 *h2, int32_t id)
{
    return h2->freed ? NULL : nghttp2_session_get_stream_user_data(h2->session, id);
}

static void input_ended(struct mig_h2_stream *stream)
{
    struct mig_h2 *h2 = stream->h2;
    int32_t id = stream->id;

    stream->input_ended = true;
    if (stream->events && stream->events->body_end) {
        stream->events->body_end(stream, stream->data);
    }
    if (!h2->server && still_open(h2, id) && !stream->output_ended) {
        /* the answer is complete; nobody wants the rest of the request */
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
    }
}

static void settings_received(struct mig_h2 *h2)
{
    if (!h2->ready) {
        h2->ready = true;
        uv_timer_stop(&h2->timer);
        if (h2->ping_interval_ms > 0) {
            uv_timer_set_repeat(&h2->timer, h2->ping_interval_ms);
            uv_timer_again(&h2->timer);
        }
        if (h2->ready_callback) {
            h2->ready_callback(h2, h2->data);
        }
    }
}

/* What the peer has written, made fit for a message. */
static void make_printable(char *text)
{
    for (; *text; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}

static void note_goaway(struct mig_h2 *h2, const nghttp2_goaway *goaway)
{
    int size = goaway->opaque_data_len < 96 ? (int)goaway->opaque_data_len : 96;

    h2->going_away = true;
    snprintf(h2->complaint, sizeof(h2->complaint), "it is going away (%s%s%.*s)",
             nghttp2_http2_strerror(goaway->error_code), size > 0 ? ": " : "", size,
             size > 0 ? (const char *)goaway->opaque_data : "");
    make_printable(h2->complaint);
}

static int received_frame(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct mig_h2 *h2 = data;
    int32_t id = frame->hd.stream_id;
    struct mig_h2_stream *stream =
        id > 0 ? nghttp2_session_get_stream_user_data(session, id) : NULL;

    if (h2->freed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
        settings_received(h2);
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        note_goaway(h2, &frame->goaway);
    } else if (frame->hd.type == NGHTTP2_RST_STREAM && stream) {
        stream->reset_by_peer = true;
    } else if (frame->hd.type == NGHTTP2_HEADERS && stream) {
        headers_complete(stream);
    }
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        stream = still_open(h2, id);
        if (stream) {
            input_ended(stream);
        }
    }
    return callback_result(h2);
}

static int received_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                         size_t size, void *data)
{
    struct mig_h2 *h2 = data;
    struct mig_h2_stream *stream = nghttp2_session_get_stream_user_data(session, id);
    size_t consumed = size;

    (void)flags;
    if (h2->freed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (!stream) {
        return nghttp2_session_consume(session, id, size);
    }
    stream->unconsumed += size;
    if (stream->events && stream->events->body) {
        consumed = stream->events->body(stream, bytes, size, stream->data);
    }
    if (h2->freed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    mig_h2_stream_consume(stream, consumed);
    return 0;
}

static int sent_frame(nghttp2_session *session, const nghttp2_frame *frame, void *data)
{
    struct mig_h2 *h2 = data;
    int32_t id = frame->hd.stream_id;
    struct mig_h2_stream *stream =
        id > 0 ? nghttp2_session_get_stream_user_data(session, id) : NULL;

    if (frame->hd.type == NGHTTP2_GOAWAY) {
        h2->blamed = frame->goaway.error_code;
    }
    if (!stream || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) {
        return 0;
    }
    stream->headers_sent = true;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        stream->output_ended = true;
        if (h2->server && !stream->input_ended) {
            /* the answer is complete; nobody reads the rest of the request */
            nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR);
        }
    }
    return 0;
}

static int stream_closed(nghttp2_session *session, int32_t id, uint32_t error_code, void *data)
{
    struct mig_h2_stream *stream = nghttp2_session_get_stream_user_data(session, id);

    (void)data;
    if (stream) {
        stream->error_code = error_code;
        mig_h2_stream_over(stream, stream->cause);
    }
    return 0;
}

/* Only the texts of nghttp2 are good enough to be told; the codes are in the frames. */
static int noted_error(nghttp2_session *session, int code, const char *text, size_t size,
                       void *data)
{
    struct mig_h2 *h2 = data;

    (void)session;
    (void)code;
    if (!*h2->complaint) {
        snprintf(h2->complaint, sizeof(h2->complaint), "%.*s", (int)size, text);
        make_printable(h2->complaint);
    }
    return 0;
}

/* ---- bodies to send ------------------------------------------------------------------------- */

static int submit_trailers(struct mig_h2_stream *stream)
{
    int rc = nghttp2_submit_trailer(stream->h2->session, stream->id, stream->trailers.list,
                                    stream->trailers.count);

    mig_h2_fields_release(&stream->trailers);
    return rc;
}

static ssize_t read_output(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t size,
                           uint32_t *flags, nghttp2_data_source *source, void *data)
{
    struct mig_h2_stream *stream = nghttp2_session_get_stream_user_data(session, id);
    size_t available;

    (void)source;
    (void)data;
    if (!stream) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    available = stream->output.size - stream->output_sent;
    size = available < size ? available : size;
    if (size > 0) {
        memcpy(bytes, stream->output.data + stream->output_sent, size);
    }
    stream->output_sent += size;
    if (size < available) {
        return (ssize_t)size;
    }
    mig_buffer_release(&stream->output);
    stream->output_sent = 0;
    if (!stream->output_finished) {
        return size > 0 ? (ssize_t)size : NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->trailers.count > 0) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (submit_trailers(stream) != 0) {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)size;
}

nghttp2_data_provider mig_h2_body_provider(void)
{
    return (nghttp2_data_provider){.read_callback = read_output};
}

/* ---- the session ---------------------------------------------------------------------------- */

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, received_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, received_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, received_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, sent_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    nghttp2_session_callbacks_set_error_callback2(callbacks, noted_error);
}

static int submit_settings(struct mig_h2 *h2)
{
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, MIG_H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MIG_H2_HEADER_BYTES_MAX},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, /* of a client only */
    };
    size_t count = MIG_ARRAY_SIZE(settings) - (h2->server ? 1 : 0);
    int rc = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, count);

    return rc ? rc
              : nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0,
                                                      CONNECTION_WINDOW);
}

int mig_h2_session_new(struct mig_h2 *h2, struct mig_error *error)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);

    if (rc == 0) {
        rc = nghttp2_option_new(&option);
    }
    if (rc == 0) {
        set_callbacks(callbacks);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_no_closed_streams(option, 1);
        rc = h2->server ? nghttp2_session_server_new2(&h2->session, callbacks, h2, option)
                        : nghttp2_session_client_new2(&h2->session, callbacks, h2, option);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    if (rc == 0) {
        rc = submit_settings(h2);
    }
    return rc == 0 ? 0
                   : mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, rc,
                                   "could not set up HTTP/2: %s", nghttp2_strerror(rc));
}
