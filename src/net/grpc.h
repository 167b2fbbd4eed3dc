/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gRPC over mig_h2: unary and server-streaming calls, both sides. Messages are opaque bytes here;
 * protobuf-c packs and unpacks them where they are used.
 */
#ifndef MIG_NET_GRPC_H
#define MIG_NET_GRPC_H

#include "net/http2.h"

#define MIG_GRPC_MESSAGE_MAX (4u << 20) /* as grpc-go's default; a larger one ends the call */

enum mig_grpc_status {
    MIG_GRPC_OK = 0,
    MIG_GRPC_CANCELLED = 1,
    MIG_GRPC_UNKNOWN = 2,
    MIG_GRPC_INVALID_ARGUMENT = 3,
    MIG_GRPC_DEADLINE_EXCEEDED = 4,
    MIG_GRPC_NOT_FOUND = 5,
    MIG_GRPC_ALREADY_EXISTS = 6,
    MIG_GRPC_PERMISSION_DENIED = 7,
    MIG_GRPC_RESOURCE_EXHAUSTED = 8,
    MIG_GRPC_FAILED_PRECONDITION = 9,
    MIG_GRPC_ABORTED = 10,
    MIG_GRPC_OUT_OF_RANGE = 11,
    MIG_GRPC_UNIMPLEMENTED = 12,
    MIG_GRPC_INTERNAL = 13,
    MIG_GRPC_UNAVAILABLE = 14,
    MIG_GRPC_DATA_LOSS = 15,
    MIG_GRPC_UNAUTHENTICATED = 16,
};

/* "UNAVAILABLE"; a number that is none of the above is "UNKNOWN". */
const char *mig_grpc_status_name(int status);

struct mig_grpc_call;

struct mig_grpc_call_options {
    const char *path; /* "/v1.PodResourcesLister/List" */
    const void *message;
    size_t message_size;
    unsigned timeout_ms; /* 0 = none (streams) */
    void (*message_received)(struct mig_grpc_call *call, const void *message, size_t size,
                             void *data);
    /* Exactly once, may be NULL. `status` as above, also for failures of the transport
     * (UNAVAILABLE).
     */
    void (*done)(struct mig_grpc_call *call, int status, const char *status_message, void *data);
    void *data;
};

/*
 * A call on a client connection of http2.h. It is gone after done(). The server may send any number
 * of messages; who wants exactly one counts them. As with streams, everything may be called from
 * any callback, and mig_h2_free ends the calls of the connection before it returns.
 */
int mig_grpc_call(struct mig_h2 *h2, const struct mig_grpc_call_options *options,
                  struct mig_grpc_call **ret, struct mig_error *error);
void mig_grpc_call_cancel(struct mig_grpc_call *call); /* done() comes from the loop: CANCELLED */

/* Server. */
struct mig_grpc_server;
struct mig_grpc_request; /* a call that was received; gone after it is finished or cancelled */

struct mig_grpc_method {
    const char *path;
    /* The request message came whole. Answer now or later with mig_grpc_send / mig_grpc_finish. */
    void (*call)(struct mig_grpc_request *request, const void *message, size_t size, void *data);
};

struct mig_grpc_server_options {
    const char *unix_path;
    int listen_fd;                         /* instead, when unix_path is NULL. Owned on success */
    const struct mig_grpc_method *methods; /* has to outlive the server */
    size_t method_count;
    /* The peer went away, cancelled, or its deadline passed before the request was finished; it is
     * gone after this. May be NULL. */
    void (*cancelled)(struct mig_grpc_request *request, void *data);
    void *data;
};

int mig_grpc_serve(uv_loop_t *loop, const struct mig_grpc_server_options *options,
                   struct mig_grpc_server **ret, struct mig_error *error);

/* Cancels what is not finished, before it returns. NULL is allowed. */
void mig_grpc_server_free(struct mig_grpc_server *server);

/* One message of the answer; MIG_E_BUSY when the peer has not taken enough of those before. */
int mig_grpc_send(struct mig_grpc_request *request, const void *message, size_t size,
                  struct mig_error *error);
/* The end of the answer: `message` says why it is not OK (NULL = nothing). The request is gone. */
void mig_grpc_finish(struct mig_grpc_request *request, enum mig_grpc_status status,
                     const char *message);

#endif
