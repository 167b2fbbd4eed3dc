/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections: sockets, nghttp2 and the loop joined, for both sides.
 *
 * Whatever the loop calls is put between mig_h2_enter and mig_h2_leave. Functions of the interface
 * only submit to nghttp2 and kick; what they cause - sending, ends of streams, the end of the
 * connection - is carried out by leave(), from the loop, where nghttp2 is not running. Free is the
 * exception: it tells the ends at once, and leaves only the taking apart to leave() when it was
 * called from inside.
 */
#include "net/http2.h"
#include "net/http2_connection.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define OUTPUT_GATHERED (16u << 10) /* frames are put together up to here, then written */
#define OUTPUT_BUFFER_MAX (64u << 10)
#define READ_SIZE (16u << 10)
#define READS_MAX 16 /* in one turn of the loop, so that one peer does not take all of it */
#define ROUNDS_MAX 8 /* as above, for what callbacks submit */

static void transport_ready(uv_poll_t *poll, int status, int events);
static void come_around(uv_idle_t *idle);

/* ---- lists of streams ----------------------------------------------------------------------- */

static void list_add(struct mig_h2_list *list, struct mig_h2_stream *stream)
{
    stream->list = list;
    stream->next = NULL;
    stream->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = stream;
    list->last = stream;
}

static void list_remove(struct mig_h2_stream *stream)
{
    struct mig_h2_list *list = stream->list;

    *(stream->previous ? &stream->previous->next : &list->first) = stream->next;
    *(stream->next ? &stream->next->previous : &list->last) = stream->previous;
    stream->list = NULL;
}

struct mig_h2_stream *mig_h2_stream_new(struct mig_h2 *h2)
{
    struct mig_h2_stream *stream = calloc(1, sizeof(*stream));

    if (stream) {
        stream->h2 = h2;
        mig_buffer_init(&stream->output, MIG_H2_OUTPUT_MAX);
        list_add(&h2->streams, stream);
        h2->stream_count++;
    }
    return stream;
}

void mig_h2_stream_drop(struct mig_h2_stream *stream)
{
    list_remove(stream);
    stream->h2->stream_count--;
    mig_buffer_release(&stream->output);
    mig_h2_fields_release(&stream->trailers);
    free(stream);
}

void mig_h2_stream_over(struct mig_h2_stream *stream, enum mig_h2_cause cause)
{
    struct mig_h2 *h2 = stream->h2;

    if (stream->list == &h2->ended) {
        return;
    }
    stream->cause = cause;
    if (h2->session && stream->id > 0) {
        nghttp2_session_set_stream_user_data(h2->session, stream->id, NULL);
        nghttp2_session_consume_connection(h2->session, stream->unconsumed);
    }
    stream->unconsumed = 0;
    list_remove(stream);
    list_add(&h2->ended, stream);
    mig_h2_kick(h2);
}

/* ---- why a stream ended --------------------------------------------------------------------- */

static bool ended_in_order(const struct mig_h2_stream *stream)
{
    return stream->cause == MIG_H2_CAUSE_CLOSED && stream->error_code == NGHTTP2_NO_ERROR &&
           (stream->h2->server ? stream->output_ended : stream->input_ended);
}

static void describe_end(const struct mig_h2_stream *stream, struct mig_error *error)
{
    const struct mig_h2 *h2 = stream->h2;
    const char *code = nghttp2_http2_strerror(stream->error_code);

    switch (stream->cause) {
    case MIG_H2_CAUSE_CANCELLED:
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "cancelled");
        return;
    case MIG_H2_CAUSE_CONNECTION:
        *error = h2->error;
        return;
    case MIG_H2_CAUSE_HEADERS:
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "%s sent more than %d headers, or more than %u bytes of them", h2->name,
                      MIG_H2_HEADERS_MAX, MIG_H2_HEADER_BYTES_MAX);
        return;
    case MIG_H2_CAUSE_CLOSED:
    default:
        break;
    }
    if (stream->reset_by_peer) {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "%s reset the stream: %s", h2->name,
                      code);
    } else if (mig_h2_stream_refused(stream)) {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "%s takes no more requests on this connection%s%s", h2->name,
                      *h2->complaint ? ": " : "", h2->complaint);
    } else {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "%s broke the protocol: %s%s%s",
                      h2->name, code, *h2->complaint ? ": " : "", h2->complaint);
    }
}

bool mig_h2_stream_refused(const struct mig_h2_stream *stream)
{
    return !stream->h2->server &&
           (!stream->headers_sent ||
            (stream->cause == MIG_H2_CAUSE_CLOSED && stream->error_code == NGHTTP2_REFUSED_STREAM));
}

int64_t mig_h2_stream_reset_code(const struct mig_h2_stream *stream)
{
    return stream->reset_by_peer ? (int64_t)stream->error_code : -1;
}

static void tell_ends(struct mig_h2 *h2)
{
    struct mig_h2_stream *stream;

    while ((stream = h2->ended.first)) {
        struct mig_error error;
        struct mig_h2_list telling = {0};
        bool in_order = ended_in_order(stream);

        /* out of the list first: the callback may free the connection, which tells the others */
        list_remove(stream);
        list_add(&telling, stream);
        if (stream->events && stream->events->end) {
            if (!in_order) {
                describe_end(stream, &error);
            }
            stream->events->end(stream, in_order ? NULL : &error, stream->data);
        }
        mig_h2_stream_drop(stream);
    }
}

static void end_all(struct mig_h2 *h2, enum mig_h2_cause cause)
{
    while (h2->streams.first) {
        mig_h2_stream_over(h2->streams.first, cause);
    }
}

/* ---- failing and freeing -------------------------------------------------------------------- */

void mig_h2_fail(struct mig_h2 *h2, const struct mig_error *error)
{
    if (h2->state < MIG_H2_FAILED && !h2->freed) {
        h2->state = MIG_H2_FAILED;
        h2->error = *error;
        mig_error_prefix(&h2->error, "%s", h2->name);
        mig_h2_kick(h2);
    }
}

static void fail_with(struct mig_h2 *h2, const char *text)
{
    struct mig_error error;

    mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "%s%s%s", text,
                  *h2->complaint ? ": " : "", h2->complaint);
    mig_h2_fail(h2, &error);
}

static void release(struct mig_h2 *h2)
{
    mig_buffer_release(&h2->block.text);
    mig_buffer_release(&h2->output);
    nghttp2_session_del(h2->session);
    free(h2->name);
    free(h2->authority);
    free(h2->host);
    free(h2);
}

static void handle_closed(uv_handle_t *handle)
{
    struct mig_h2 *h2 = handle->data;

    if (--h2->handle_count == 0) {
        release(h2);
    }
}

/* Says goodbye, as far as the socket takes it. */
static void send_goaway(struct mig_h2 *h2)
{
    struct mig_error ignored;
    const uint8_t *bytes;
    ssize_t size;

    if (h2->state != MIG_H2_OPEN || h2->output.size > 0 ||
        nghttp2_session_terminate_session(h2->session, NGHTTP2_NO_ERROR) != 0) {
        return;
    }
    while (nghttp2_session_want_write(h2->session)) { /* not after the GOAWAY */
        size = nghttp2_session_mem_send(h2->session, &bytes);
        if (size <= 0 ||
            mig_transport_write(&h2->transport, bytes, (size_t)size, &ignored) != size) {
            return;
        }
    }
}

/* Drops the socket and the session. */
static void disconnect(struct mig_h2 *h2)
{
    if (h2->disconnected) {
        return;
    }
    h2->disconnected = true;
    uv_idle_stop(&h2->soon);
    uv_timer_stop(&h2->timer);
    mig_dial_cancel(MIG_TAKE(h2->dial));
    mig_cleanup_close(&h2->given_fd);
    if (h2->connected) {
        send_goaway(h2);
        mig_transport_close(&h2->transport, handle_closed);
        h2->connected = false;
    }
    nghttp2_session_del(MIG_TAKE(h2->session));
}

/* After the user's free, when nothing of this connection is running any more. */
static void take_apart(struct mig_h2 *h2)
{
    disconnect(h2);
    uv_close((uv_handle_t *)&h2->soon, handle_closed);
    uv_close((uv_handle_t *)&h2->timer, handle_closed);
}

void mig_h2_free(struct mig_h2 *h2)
{
    if (!h2 || h2->freed) {
        return;
    }
    h2->freed = true;
    h2->ready_callback = NULL;
    h2->closed_callback = NULL;
    end_all(h2, MIG_H2_CAUSE_CANCELLED);
    tell_ends(h2);
    if (!h2->busy) {
        take_apart(h2);
    }
}

static void finish_failed(struct mig_h2 *h2)
{
    disconnect(h2);
    h2->state = MIG_H2_CLOSED;
    end_all(h2, MIG_H2_CAUSE_CONNECTION);
    tell_ends(h2);
    if (h2->freed) {
        return;
    }
    if (h2->server) {
        mig_h2_server_closed(h2);
    } else if (h2->closed_callback) {
        h2->closed_callback(h2, &h2->error, h2->data);
    }
}

/* ---- in and out ----------------------------------------------------------------------------- */

/* Fills the output buffer with frames; true when there is something to write. */
static bool gather_output(struct mig_h2 *h2)
{
    while (h2->output.size - h2->output_sent < OUTPUT_GATHERED) {
        const uint8_t *bytes;
        ssize_t size = nghttp2_session_mem_send(h2->session, &bytes);

        if (size < 0) {
            fail_with(h2, nghttp2_strerror((int)size));
            return false;
        }
        if (size == 0) {
            break;
        }
        if (mig_buffer_append(&h2->output, bytes, (size_t)size)) {
            fail_with(h2, "no memory to send");
            return false;
        }
    }
    return h2->output.size > h2->output_sent;
}

static void write_output(struct mig_h2 *h2)
{
    while (h2->state == MIG_H2_OPEN && !h2->freed && gather_output(h2)) {
        struct mig_error error;
        size_t size = h2->output.size - h2->output_sent;
        ssize_t count =
            mig_transport_write(&h2->transport, h2->output.data + h2->output_sent, size, &error);

        if (count == MIG_TRANSPORT_FAILED) {
            mig_h2_fail(h2, &error);
        }
        if (count < 0) {
            return;
        }
        h2->output_sent += (size_t)count;
        if (h2->output_sent == h2->output.size) {
            h2->output.size = h2->output_sent = 0;
        } else if (h2->output_sent > OUTPUT_GATHERED) {
            h2->output.size -= h2->output_sent;
            memmove(h2->output.data, h2->output.data + h2->output_sent, h2->output.size);
            h2->output_sent = 0;
        }
    }
    if (h2->state == MIG_H2_OPEN && !h2->freed && !nghttp2_session_want_read(h2->session) &&
        !nghttp2_session_want_write(h2->session)) {
        char text[80] = "the connection has ended";

        if (h2->blamed != NGHTTP2_NO_ERROR) {
            snprintf(text, sizeof(text), "the peer broke the protocol (%s)",
                     nghttp2_http2_strerror(h2->blamed));
        }
        fail_with(h2, text);
    }
}

static void read_input(struct mig_h2 *h2)
{
    uint8_t bytes[READ_SIZE];
    unsigned i = 0;

    h2->read_again = false;
    if (!h2->going_away) {
        h2->complaint[0] = '\0';
    }
    for (; i < READS_MAX && h2->state == MIG_H2_OPEN && !h2->freed; i++) {
        struct mig_error error;
        ssize_t count = mig_transport_read(&h2->transport, bytes, sizeof(bytes), &error);

        if (count == MIG_TRANSPORT_AGAIN) {
            return;
        }
        if (count == MIG_TRANSPORT_FAILED) {
            mig_h2_fail(h2, &error);
            return;
        }
        if (count == 0) {
            fail_with(h2, "the peer closed the connection");
            return;
        }
        h2->received_ms = uv_now(h2->loop);
        h2->pinged = false;
        count = nghttp2_session_mem_recv(h2->session, bytes, (size_t)count);
        if (count < 0 && !h2->freed) {
            fail_with(h2, nghttp2_strerror((int)count));
        }
    }
    h2->read_again = i == READS_MAX; /* TLS may hold more than the socket shows */
}

bool mig_h2_input_waits(const struct mig_h2 *h2)
{
    char byte;

    return h2->connected && recv(h2->transport.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void mig_h2_kick(struct mig_h2 *h2)
{
    h2->kicked = true;
    if (!h2->busy && !h2->freed && h2->state != MIG_H2_CLOSED) {
        uv_idle_start(&h2->soon, come_around);
    }
}

void mig_h2_enter(struct mig_h2 *h2)
{
    h2->busy = true;
    uv_idle_stop(&h2->soon);
}

static void watch(struct mig_h2 *h2)
{
    int rc;

    if (h2->state > MIG_H2_OPEN || !h2->connected) {
        return;
    }
    rc = mig_transport_watch(&h2->transport, h2->output.size > h2->output_sent);
    if (rc < 0) {
        fail_with(h2, uv_strerror(rc));
    }
}

void mig_h2_leave(struct mig_h2 *h2)
{
    for (unsigned i = 0; i < ROUNDS_MAX; i++) {
        h2->kicked = false;
        write_output(h2);
        tell_ends(h2);
        if (h2->state == MIG_H2_FAILED && !h2->freed) {
            finish_failed(h2);
        }
        if (!h2->kicked || h2->freed) {
            break;
        }
    }
    if (!h2->freed) {
        watch(h2);
    }
    h2->busy = false;
    if (h2->freed) {
        take_apart(h2);
    } else if (h2->kicked || h2->read_again) {
        mig_h2_kick(h2);
    }
}

static void go_on(struct mig_h2 *h2)
{
    if (h2->state == MIG_H2_CONNECTING && h2->connected) {
        struct mig_error error;
        int rc = mig_transport_handshake(&h2->transport, &error);

        if (rc == MIG_TRANSPORT_FAILED) {
            mig_h2_fail(h2, &error);
        } else if (rc == 0) {
            h2->state = MIG_H2_OPEN;
        }
    }
    read_input(h2);
}

static void transport_ready(uv_poll_t *poll, int status, int events)
{
    struct mig_h2 *h2 = poll->data;

    (void)events;
    mig_h2_enter(h2);
    go_on(h2);
    if (status < 0 && h2->state < MIG_H2_FAILED) { /* the read has said it better */
        fail_with(h2, "the connection was cut off");
    }
    mig_h2_leave(h2);
}

static void come_around(uv_idle_t *idle)
{
    struct mig_h2 *h2 = idle->data;

    mig_h2_enter(h2);
    if (h2->given_fd >= 0) {
        mig_h2_attach(h2, MIG_TAKE_FD(h2->given_fd));
    } else if (h2->read_again) {
        read_input(h2);
    }
    mig_h2_leave(h2);
}

void mig_h2_attach(struct mig_h2 *h2, int fd)
{
    struct mig_error error;
    int rc = mig_transport_open(&h2->transport, h2->loop, fd, h2->tls, h2->host, transport_ready,
                                h2, &error);

    if (rc < 0) {
        close(fd);
        mig_h2_fail(h2, &error);
        return;
    }
    h2->connected = true;
    h2->handle_count++;
    go_on(h2);
}

int mig_h2_new(uv_loop_t *loop, struct mig_h2_server *server, struct mig_h2 **ret,
               struct mig_error *error)
{
    struct mig_h2 *h2 = calloc(1, sizeof(*h2));
    int rc;

    if (!h2) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not set up HTTP/2");
    }
    h2->loop = loop;
    h2->server = server;
    h2->given_fd = -1;
    mig_buffer_init(&h2->block.text, MIG_H2_HEADER_BYTES_MAX + 1);
    mig_buffer_init(&h2->output, OUTPUT_BUFFER_MAX);
    rc = mig_h2_session_new(h2, error);
    if (rc < 0) {
        release(h2);
        return rc;
    }
    uv_idle_init(loop, &h2->soon);
    uv_timer_init(loop, &h2->timer);
    h2->soon.data = h2->timer.data = h2;
    h2->handle_count = 2;
    *ret = h2;
    return 0;
}

size_t mig_h2_stream_count(const struct mig_h2 *h2)
{
    return h2->stream_count;
}

uv_loop_t *mig_h2_loop(const struct mig_h2 *h2)
{
    return h2->loop;
}
