/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 connections, client and server, over TCP, TLS or unix sockets; the one HTTP/2 layer.
 *
 * Everything runs on one libuv loop and one thread. Callbacks are called from the loop, never from
 * inside the function that starts something. Memory is bounded whatever the peer sends: headers of
 * a stream, streams of a connection and unread data have limits, and the flow-control window is
 * only opened by what the user has consumed.
 *
 * A connection that fails ends all its streams, each with the cause; the user decides about trying
 * again.
 *
 * Anything here may be called from any callback, also the functions that free. After mig_h2_free or
 * mig_h2_server_free returned no callback comes any more; the memory goes when libuv has closed the
 * handles, so run the loop until uv_run returns 0 before uv_loop_close.
 */
#ifndef MIG_NET_HTTP2_H
#define MIG_NET_HTTP2_H

#include <mig/error.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define MIG_H2_HEADERS_MAX 64               /* of one request or response */
#define MIG_H2_HEADER_BYTES_MAX (32u << 10) /* names and values of them together */
#define MIG_H2_STREAMS_MAX 256              /* at once on one connection, either side */
#define MIG_H2_OUTPUT_MAX (5u << 20)        /* of one stream, not yet taken by the peer */

struct mig_tls; /* tls.h: an SSL context for a client; NULL = cleartext, HTTP/2 by prior knowledge
                 */

struct mig_h2;        /* a connection */
struct mig_h2_stream; /* one request and its response */

struct mig_h2_header {
    const char *name; /* lower case */
    const char *value;
};

/* What happens on a stream. Any member may be NULL. */
struct mig_h2_events {
    /* Headers are complete: the response's for a client, trailers too (`trailers`). They live for
     * the call only. `status` is 0 for trailers. */
    void (*headers)(struct mig_h2_stream *stream, int status, const struct mig_h2_header *headers,
                    size_t count, bool trailers, void *data);
    /* Some of the body; each byte is told once. Return how many are done with; the others are held
     * by the user, and done with when mig_h2_stream_consume says so: until then the peer may send
     * less. */
    size_t (*body)(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data);
    /* All that the peer sends has come: the whole request on a server, the whole response on a
     * client. */
    void (*body_end)(struct mig_h2_stream *stream, void *data);
    /* The stream is over, and gone after this call. `error` is NULL when it ended in order. Always
     * called exactly once. */
    void (*end)(struct mig_h2_stream *stream, const struct mig_error *error, void *data);
};

struct mig_h2_connect_options {
    const char *host; /* a name or address; NULL for a unix socket */
    uint16_t port;
    const char *unix_path;       /* instead of host */
    int fd;                      /* a connected socket, when both are NULL. Owned on success */
    struct mig_tls *tls;         /* borrowed, has to outlive the connection */
    const char *authority;       /* :authority; NULL = host:port, "localhost" for unix sockets */
    unsigned connect_timeout_ms; /* name, TCP, TLS and SETTINGS together; 0 = 10,000 */
    unsigned ping_interval_ms;   /* a PING when nothing came for so long; the connection fails when
                                    the next interval passes in silence. 0 = none */
    void (*ready)(struct mig_h2 *h2, void *data); /* may be NULL */
    /* The connection failed or was closed by the peer, after all streams' end. Free it from here or
     * later. Not called for mig_h2_free. */
    void (*closed)(struct mig_h2 *h2, const struct mig_error *error, void *data);
    void *data;
};

/* Starts to connect; that it failed is told by closed(). Requests may be submitted at once; they
 * wait for the connection. */
int mig_h2_connect(uv_loop_t *loop, const struct mig_h2_connect_options *options,
                   struct mig_h2 **ret, struct mig_error *error);

/* Ends it at once: streams get their end() with "cancelled" before this returns, closed() is not
 * called. NULL is allowed. */
void mig_h2_free(struct mig_h2 *h2);

/* True while new requests are taken (not closed, no GOAWAY, stream ids left). */
bool mig_h2_usable(const struct mig_h2 *h2);
size_t mig_h2_stream_count(const struct mig_h2 *h2);
uv_loop_t *mig_h2_loop(const struct mig_h2 *h2);

struct mig_h2_request {
    const char *method, *path;
    const struct mig_h2_header *headers; /* without pseudo-headers; copied */
    size_t header_count;
    const void *body; /* copied */
    size_t body_size;
    bool keep_open; /* more body follows with mig_h2_stream_write */
    const struct mig_h2_events *events;
    void *data;
};

int mig_h2_submit(struct mig_h2 *h2, const struct mig_h2_request *request,
                  struct mig_h2_stream **ret, struct mig_error *error);

/* Resets the stream; end() is called with "cancelled" from the loop, and nothing else before it. */
void mig_h2_stream_cancel(struct mig_h2_stream *stream);
void mig_h2_stream_consume(struct mig_h2_stream *stream, size_t size);

/* For end() of a client: the request has certainly not been processed (it was never sent, or the
 * server refused it untouched), so that it can be repeated whatever it was. */
bool mig_h2_stream_refused(const struct mig_h2_stream *stream);

/* For end(): the HTTP/2 error code with which the peer reset the stream, or -1. */
int64_t mig_h2_stream_reset_code(const struct mig_h2_stream *stream);

/*
 * Server side: listens on a unix socket (or takes a listening fd), and calls `request` when the
 * headers of a request are complete. It returns the events for the request's body, or NULL to
 * refuse the stream.
 */
struct mig_h2_server;
struct mig_h2_server_options {
    const char *unix_path;   /* an old socket there is replaced; removed again by free */
    int listen_fd;           /* instead, when unix_path is NULL. Owned on success */
    unsigned connection_max; /* 0 = 16 */
    const struct mig_h2_events *(*request)(struct mig_h2_stream *stream, const char *method,
                                           const char *path, const struct mig_h2_header *headers,
                                           size_t count, void **ret_data, void *data);
    void *data;
};
int mig_h2_serve(uv_loop_t *loop, const struct mig_h2_server_options *options,
                 struct mig_h2_server **ret, struct mig_error *error);
void mig_h2_server_free(struct mig_h2_server *server); /* ends its connections */

/* Response headers, of a server. */
int mig_h2_stream_respond(struct mig_h2_stream *stream, int status,
                          const struct mig_h2_header *headers, size_t count,
                          struct mig_error *error);

/* Body, of a response or of a request with `keep_open`; trailers end it (NULL/0: just end it). What
 * the peer does not take yet is kept up to MIG_H2_OUTPUT_MAX, then MIG_E_BUSY. */
int mig_h2_stream_write(struct mig_h2_stream *stream, const void *bytes, size_t size,
                        struct mig_error *error);
int mig_h2_stream_finish(struct mig_h2_stream *stream, const struct mig_h2_header *trailers,
                         size_t count, struct mig_error *error);

#endif
