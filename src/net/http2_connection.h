/* SPDX-License-Identifier: Apache-2.0 */
/* A connection from inside: what http2.c, http2_client.c and http2_server.c share. */
#ifndef MIG_NET_HTTP2_CONNECTION_H
#define MIG_NET_HTTP2_CONNECTION_H

#include "base/buffer.h"
#include "net/dial.h"
#include "net/http2.h"
#include "net/transport.h"
#include <nghttp2/nghttp2.h>

enum mig_h2_cause {
    MIG_H2_CAUSE_CLOSED = 0, /* as the frames say: in order, or with an error code */
    MIG_H2_CAUSE_CANCELLED,  /* by the user */
    MIG_H2_CAUSE_HEADERS,    /* the peer's headers are over the limit */
    MIG_H2_CAUSE_CONNECTION, /* the connection failed */
};

struct mig_h2_list {
    struct mig_h2_stream *first, *last;
};

/* Headers to be sent, copied into one block of memory. */
struct mig_h2_fields {
    nghttp2_nv *list; /* malloc'd, texts behind it */
    size_t count;
};

struct mig_h2_stream {
    struct mig_h2 *h2;
    struct mig_h2_list *list; /* open or ended */
    struct mig_h2_stream *next, *previous;
    int32_t id;
    const struct mig_h2_events *events; /* NULL = nobody is told */
    void *data;

    size_t unconsumed;   /* received, and not yet done with */
    bool answered;       /* final headers have come: the next are trailers */
    bool input_ended;    /* the peer has ended its half */
    bool headers_sent;   /* the first frame is out */
    bool reset_by_peer;  /* by an RST_STREAM frame */
    uint32_t error_code; /* of HTTP/2, when the stream was closed */
    enum mig_h2_cause cause;

    struct mig_buffer output; /* from output_sent on it has not been sent */
    size_t output_sent;
    bool responded;       /* server: response headers are submitted */
    bool output_finished; /* by the user: nothing is added any more */
    bool output_ended;    /* all of it, and the end of it, is with nghttp2 */
    struct mig_h2_fields trailers;
};

/* Header fields of the block that is being received; there is one at a time per connection. */
struct mig_h2_block {
    struct mig_buffer text; /* "name\0value\0" ... */
    size_t name[MIG_H2_HEADERS_MAX], value[MIG_H2_HEADERS_MAX];
    size_t count;
    size_t method, path; /* where in the text; 0 = not given (the text begins with a NUL) */
    int status;
};

enum mig_h2_state {
    MIG_H2_CONNECTING = 0, /* the socket, or TLS */
    MIG_H2_OPEN,
    MIG_H2_FAILED, /* `error` says why; the user has not been told yet */
    MIG_H2_CLOSED, /* the user has been told */
};

struct mig_h2 {
    uv_loop_t *loop;
    struct mig_h2_server *server;   /* NULL = client */
    struct mig_h2 *next, *previous; /* in the server's list */
    enum mig_h2_state state;
    bool freed;  /* by the user; memory goes when the handles are closed */
    bool busy;   /* inside a callback of the loop: dispatch comes at its end */
    bool kicked; /* something was submitted since the last dispatch */
    bool ready;  /* SETTINGS have come */
    bool disconnected;
    unsigned handle_count; /* not yet closed */

    struct mig_dial *dial;
    struct mig_transport transport;
    bool connected; /* the transport is there */
    int given_fd;   /* client: not yet attached; -1 = none */
    bool read_again;
    uv_idle_t soon;
    uv_timer_t timer; /* connecting; afterwards PING */
    unsigned ping_interval_ms;
    uint64_t received_ms; /* when something came last */
    bool pinged;          /* since then */

    nghttp2_session *session;
    struct mig_h2_list streams, ended;
    size_t stream_count; /* of both lists */
    struct mig_h2_block block;
    struct mig_buffer output;
    size_t output_sent;

    char *name;      /* of the peer, for messages */
    char *authority; /* client */
    char *host;      /* client: for TLS */
    struct mig_tls *tls;
    void (*ready_callback)(struct mig_h2 *h2, void *data);
    void (*closed_callback)(struct mig_h2 *h2, const struct mig_error *error, void *data);
    void *data;
    bool going_away;     /* the peer, by a GOAWAY */
    uint32_t blamed;     /* the HTTP/2 error code with which we have sent it away; 0 = not */
    char complaint[160]; /* of nghttp2 about the peer, or of the peer that goes; "" = none */
    struct mig_error error;
};

/* A connection without socket. The first frames (preface, SETTINGS) are queued. */
int mig_h2_new(uv_loop_t *loop, struct mig_h2_server *server, struct mig_h2 **ret,
               struct mig_error *error);

/* Gives it its connected socket; the handshake or HTTP/2 begins. Fails the connection on errors. */
void mig_h2_attach(struct mig_h2 *h2, int fd);

/* Around everything the loop calls: leave() sends, tells ends, and carries out free. */
void mig_h2_enter(struct mig_h2 *h2);
void mig_h2_leave(struct mig_h2 *h2);

/* Something has come that was not read yet. */
bool mig_h2_input_waits(const struct mig_h2 *h2);

/* Makes the loop come around, after something was submitted. */
void mig_h2_kick(struct mig_h2 *h2);

/* Notes why the connection cannot go on, first reason first; leave() carries it out. */
void mig_h2_fail(struct mig_h2 *h2, const struct mig_error *error);

/* A new stream in the list of open ones, or NULL without memory. */
struct mig_h2_stream *mig_h2_stream_new(struct mig_h2 *h2);
void mig_h2_stream_drop(struct mig_h2_stream *stream); /* frees it; nobody is told */

/* Copies headers (with `first_count` of `first` in front), checking names, values and limits. */
int mig_h2_fields_copy(const struct mig_h2_header *first, size_t first_count,
                       const struct mig_h2_header *headers, size_t count, struct mig_h2_fields *ret,
                       struct mig_error *error);
void mig_h2_fields_release(struct mig_h2_fields *fields);

/* The callbacks of nghttp2 (http2_session.c). */
int mig_h2_session_new(struct mig_h2 *h2, struct mig_error *error);
nghttp2_data_provider mig_h2_body_provider(void);

/* http2_server.c: a request's headers are complete. */
void mig_h2_server_request(struct mig_h2_stream *stream, const char *method, const char *path,
                           const struct mig_h2_header *headers, size_t count);
/* The connection has failed, or ended; frees it. */
void mig_h2_server_closed(struct mig_h2 *h2);

/* Moves a stream to those whose end has to be told. */
void mig_h2_stream_over(struct mig_h2_stream *stream, enum mig_h2_cause cause);

#endif
