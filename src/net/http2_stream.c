/* SPDX-License-Identifier: Apache-2.0 */
/* What the user does on a stream: both sides' bodies and trailers, flow control, cancelling. */
#include "net/http2_connection.h"
#include <errno.h>
#include <string.h>

static bool is_over(const struct mig_h2_stream *stream)
{
    return stream->list != &stream->h2->streams;
}

static int over_error(struct mig_error *error)
{
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "the stream is over");
}

/* ---- headers to be sent --------------------------------------------------------------------- */

static int check_header(const struct mig_h2_header *header, struct mig_error *error)
{
    if (!nghttp2_check_header_name((const uint8_t *)header->name, strlen(header->name)) ||
        header->name[0] == ':') {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "\"%s\" is not the name of a header", header->name);
    }
    if (!nghttp2_check_header_value((const uint8_t *)header->value, strlen(header->value))) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the value of header \"%s\" has characters that no header may have",
                             header->name);
    }
    return 0;
}

static char *put_text(char *to, const char *text, uint8_t **ret, size_t *ret_size)
{
    *ret_size = strlen(text);
    *ret = (uint8_t *)to;
    memcpy(to, text, *ret_size);
    return to + *ret_size;
}

static char *put_fields(nghttp2_nv *list, char *text, const struct mig_h2_header *headers,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        /* secrets stay out of the table that compression works with */
        bool secret = strcmp(headers[i].name, "authorization") == 0;

        list[i].flags = secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
        text = put_text(text, headers[i].name, &list[i].name, &list[i].namelen);
        text = put_text(text, headers[i].value, &list[i].value, &list[i].valuelen);
    }
    return text;
}

static size_t text_size(const struct mig_h2_header *headers, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++) {
        size += strlen(headers[i].name) + strlen(headers[i].value);
    }
    return size;
}

int mig_h2_fields_copy(const struct mig_h2_header *first, size_t first_count,
                       const struct mig_h2_header *headers, size_t count, struct mig_h2_fields *ret,
                       struct mig_error *error)
{
    size_t size = text_size(first, first_count) + text_size(headers, count);
    size_t total = first_count + count;
    nghttp2_nv *list;
    char *text;

    *ret = (struct mig_h2_fields){0};
    for (size_t i = 0; i < count; i++) {
        int rc = check_header(&headers[i], error);

        if (rc < 0) {
            return rc;
        }
    }
    if (count > MIG_H2_HEADERS_MAX || size > MIG_H2_HEADER_BYTES_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "%zu headers of %zu bytes are more than %d headers or %u bytes", total,
                             size, MIG_H2_HEADERS_MAX, MIG_H2_HEADER_BYTES_MAX);
    }
    if (total == 0) {
        return 0;
    }
    list = calloc(1, total * sizeof(*list) + size);
    if (!list) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not send headers");
    }
    text = put_fields(list, (char *)(list + total), first, first_count);
    put_fields(list + first_count, text, headers, count);
    *ret = (struct mig_h2_fields){.list = list, .count = total};
    return 0;
}

void mig_h2_fields_release(struct mig_h2_fields *fields)
{
    free(fields->list);
    *fields = (struct mig_h2_fields){0};
}

/* ---- input ---------------------------------------------------------------------------------- */

void mig_h2_stream_consume(struct mig_h2_stream *stream, size_t size)
{
    size = size < stream->unconsumed ? size : stream->unconsumed;
    if (size == 0 || is_over(stream)) {
        return;
    }
    stream->unconsumed -= size;
    nghttp2_session_consume(stream->h2->session, stream->id, size);
    mig_h2_kick(stream->h2);
}

void mig_h2_stream_cancel(struct mig_h2_stream *stream)
{
    struct mig_h2 *h2 = stream->h2;

    if (is_over(stream)) {
        return;
    }
    if (h2->session) {
        nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL);
    }
    mig_h2_stream_over(stream, MIG_H2_CAUSE_CANCELLED);
}

/* ---- output --------------------------------------------------------------------------------- */

int mig_h2_stream_respond(struct mig_h2_stream *stream, int status,
                          const struct mig_h2_header *headers, size_t count,
                          struct mig_error *error)
{
    char text[16];
    const struct mig_h2_header first = {":status", text};
    nghttp2_data_provider provider = mig_h2_body_provider();
    struct mig_h2_fields fields;
    int rc;

    if (is_over(stream)) {
        return over_error(error);
    }
    if (!stream->h2->server || stream->responded || status < 200 || status > 599) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "cannot respond with %d on this stream", status);
    }
    snprintf(text, sizeof(text), "%d", status);
    rc = mig_h2_fields_copy(&first, 1, headers, count, &fields, error);
    if (rc < 0) {
        return rc;
    }
    rc = nghttp2_submit_response(stream->h2->session, stream->id, fields.list, fields.count,
                                 &provider);
    mig_h2_fields_release(&fields);
    if (rc != 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, rc, "could not respond: %s",
                             nghttp2_strerror(rc));
    }
    stream->responded = true;
    mig_h2_kick(stream->h2);
    return 0;
}

/* Makes nghttp2 ask again for the body. */
static void resume(struct mig_h2_stream *stream)
{
    nghttp2_session_resume_data(stream->h2->session, stream->id);
    mig_h2_kick(stream->h2);
}

static int check_output(const struct mig_h2_stream *stream, struct mig_error *error)
{
    if (is_over(stream)) {
        return over_error(error);
    }
    if (stream->output_finished || (stream->h2->server && !stream->responded)) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             stream->output_finished ? "the body has been finished already"
                                                     : "a body cannot come before the headers");
    }
    return 0;
}

int mig_h2_stream_write(struct mig_h2_stream *stream, const void *bytes, size_t size,
                        struct mig_error *error)
{
    size_t waiting = stream->output.size - stream->output_sent;
    int rc = check_output(stream, error);

    if (rc < 0) {
        return rc;
    }
    if (size > MIG_H2_OUTPUT_MAX || waiting > MIG_H2_OUTPUT_MAX - size) {
        return mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                             "%s has not taken %zu bytes yet; %zu more would be over the limit of "
                             "%u",
                             stream->h2->name, waiting, size, MIG_H2_OUTPUT_MAX);
    }
    if (stream->output_sent > 0) {
        memmove(stream->output.data, stream->output.data + stream->output_sent, waiting);
        stream->output.size = waiting;
        stream->output_sent = 0;
    }
    if (mig_buffer_append(&stream->output, bytes, size)) {
        mig_h2_stream_cancel(stream);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not send");
    }
    resume(stream);
    return 0;
}

int mig_h2_stream_finish(struct mig_h2_stream *stream, const struct mig_h2_header *trailers,
                         size_t count, struct mig_error *error)
{
    int rc = check_output(stream, error);

    if (rc < 0) {
        return rc;
    }
    rc = mig_h2_fields_copy(NULL, 0, trailers, count, &stream->trailers, error);
    if (rc < 0) {
        return rc;
    }
    stream->output_finished = true;
    resume(stream);
    return 0;
}
