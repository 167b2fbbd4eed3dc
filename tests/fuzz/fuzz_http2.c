/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 and gRPC from a peer that sends any bytes. The first byte of an input says to whom: our
 * client with requests and calls under way, or our gRPC server; how the bytes are cut; whether they
 * begin as a peer has to begin; whether the peer reads what we send. Whatever comes, each stream
 * and each call ends exactly once, and no handle is left open.
 */
#include "fuzz.h"
#include "net/grpc.h"
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    TO_SERVER = 1,
    IN_SMALL_PARTS = 2,
    WITHOUT_BEGINNING = 4,
    PEER_DOES_NOT_READ = 8,
    USER_HOLDS = 16,   /* what is received is consumed later */
    USER_CANCELS = 32, /* at the first event of a stream */
    USER_FREES = 64,   /* the same */
    PEER_HALF_CLOSES = 128,
};

#define STREAMS 3
#define TURNS 6

struct run {
    uv_loop_t loop;
    uint8_t how;
    int fd; /* the peer's */
    struct mig_h2 *h2;
    struct mig_h2_stream *streams[STREAMS]; /* NULL = ended */
    size_t held[STREAMS];
    unsigned stream_ends, call_ends, calls;
    struct mig_grpc_server *server;
    unsigned requests, requests_over;
};

struct slot {
    struct run *run;
    size_t index;
};

/* ---- our client ----------------------------------------------------------------------------- */

static void disturb(struct run *run, size_t index)
{
    if (run->how & USER_CANCELS) {
        mig_h2_stream_cancel(run->streams[index]);
    }
    if (run->how & USER_FREES) {
        struct mig_h2 *h2 = run->h2;

        run->h2 = NULL;
        mig_h2_free(h2);
    }
}

static void got_headers(struct mig_h2_stream *stream, int status,
                        const struct mig_h2_header *headers, size_t count, bool trailers,
                        void *data)
{
    struct slot *slot = data;
    size_t length = 0;

    (void)stream;
    FUZZ_CHECK(trailers ? status == 0 : status >= 200 && status <= 999);
    FUZZ_CHECK(count <= MIG_H2_HEADERS_MAX);
    for (size_t i = 0; i < count; i++) {
        length += strlen(headers[i].name) + strlen(headers[i].value);
    }
    FUZZ_CHECK(length <= MIG_H2_HEADER_BYTES_MAX);
    disturb(slot->run, slot->index);
}

static size_t got_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct slot *slot = data;
    struct run *run = slot->run;

    (void)stream;
    FUZZ_CHECK(bytes && size > 0);
    run->held[slot->index] += size;
    disturb(run, slot->index);
    return run->how & USER_HOLDS ? 0 : size;
}

static void got_end(struct mig_h2_stream *stream, const struct mig_error *error, void *data)
{
    struct slot *slot = data;
    struct run *run = slot->run;

    FUZZ_CHECK(run->streams[slot->index] == stream);
    FUZZ_CHECK(!error || *error->message);
    run->streams[slot->index] = NULL;
    run->stream_ends++;
}

static void got_message(struct mig_grpc_call *call, const void *message, size_t size, void *data)
{
    struct run *run = data;

    FUZZ_CHECK(size <= MIG_GRPC_MESSAGE_MAX && ((const char *)message)[size] == '\0');
    if (run->how & USER_CANCELS) {
        mig_grpc_call_cancel(call);
    }
}

static void call_done(struct mig_grpc_call *call, int status, const char *text, void *data)
{
    struct run *run = data;

    (void)call;
    FUZZ_CHECK(status >= 0 && status <= MIG_GRPC_UNAUTHENTICATED && text);
    run->call_ends++;
}

static void was_closed(struct mig_h2 *h2, const struct mig_error *error, void *data)
{
    (void)data;
    FUZZ_CHECK(*error->message && mig_h2_stream_count(h2) == 0);
}

/* Streams 1 and 3 are plain requests, 5 is a call, 7 a request whose body goes on. */
static void start_client(struct run *run, struct slot *slots)
{
    static const struct mig_h2_events events = {
        .headers = got_headers, .body = got_body, .end = got_end};
    const struct mig_grpc_call_options call = {.path = "/a.A/B",
                                               .message = "x",
                                               .message_size = 1,
                                               .message_received = got_message,
                                               .done = call_done,
                                               .data = run};
    int fds[2];

    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    run->fd = fds[1];
    FUZZ_CHECK(mig_h2_connect(&run->loop,
                              &(struct mig_h2_connect_options){.fd = fds[0], .closed = was_closed},
                              &run->h2, NULL) == 0);
    for (size_t i = 0; i < STREAMS; i++) {
        const struct mig_h2_request request = {.method = "POST",
                                               .path = "/",
                                               .body = "body",
                                               .body_size = 4,
                                               .keep_open = i == 2,
                                               .events = &events,
                                               .data = &slots[i]};

        slots[i] = (struct slot){run, i};
        if (i == 2) {
            FUZZ_CHECK(mig_grpc_call(run->h2, &call, NULL, NULL) == 0);
            run->calls++;
        }
        FUZZ_CHECK(mig_h2_submit(run->h2, &request, &run->streams[i], NULL) == 0);
    }
}

static void consume(struct run *run)
{
    for (size_t i = 0; i < STREAMS; i++) {
        if (run->streams[i] && run->held[i] > 0) {
            mig_h2_stream_consume(run->streams[i], run->held[i]);
        }
        run->held[i] = 0;
    }
}

/* ---- our server ----------------------------------------------------------------------------- */

static void echo(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct run *run = data;

    run->requests++;
    if (run->how & USER_FREES) {
        struct mig_grpc_server *server = run->server;

        run->server = NULL;
        mig_grpc_server_free(server);
        return;
    }
    if (!(run->how & USER_HOLDS)) {
        mig_grpc_send(request, message, size, NULL);
        mig_grpc_finish(request, MIG_GRPC_OK, "fine");
        run->requests_over++;
    }
}

static void request_cancelled(struct mig_grpc_request *request, void *data)
{
    (void)request;
    ((struct run *)data)->requests_over++;
}

static void start_server(struct run *run)
{
    static const struct mig_grpc_method methods[] = {{"/a.A/B", echo}, {"/", echo}};
    static struct sockaddr_un address = {.sun_family = AF_UNIX};
    static socklen_t size = sizeof(sa_family_t); /* asks for an abstract name */
    static int listener = -1;
    struct mig_grpc_server_options options = {
        .methods = methods, .method_count = 2, .cancelled = request_cancelled, .data = run};

    if (listener < 0) {
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        FUZZ_CHECK(bind(listener, (const struct sockaddr *)&address, size) == 0);
        size = sizeof(address);
        FUZZ_CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
        FUZZ_CHECK(listen(listener, 16) == 0);
    }
    options.listen_fd = fcntl(listener, F_DUPFD_CLOEXEC, 3);
    FUZZ_CHECK(mig_grpc_serve(&run->loop, &options, &run->server, NULL) == 0);
    run->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(connect(run->fd, (const struct sockaddr *)&address, size) == 0);
}

/* ---- the peer ------------------------------------------------------------------------------- */

static void turn(struct run *run)
{
    char bytes[8192];

    uv_run(&run->loop, UV_RUN_NOWAIT);
    if (!(run->how & PEER_DOES_NOT_READ)) {
        while (recv(run->fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0) {
        }
    }
    consume(run);
}

static void send_bytes(struct run *run, const uint8_t *bytes, size_t size)
{
    size_t part = run->how & IN_SMALL_PARTS ? 7 : 4096;
    unsigned stalls = 0;

    while (size > 0 && stalls < TURNS) {
        ssize_t count =
            send(run->fd, bytes, size < part ? size : part, MSG_NOSIGNAL | MSG_DONTWAIT);

        stalls = count > 0 ? 0 : stalls + 1;
        bytes += count > 0 ? count : 0;
        size -= count > 0 ? (size_t)count : 0;
        turn(run);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const uint8_t settings[9] = {0, 0, 0, 4};
    struct slot slots[STREAMS];
    struct run run = {.how = size > 0 ? data[0] : 0};

    FUZZ_CHECK(uv_loop_init(&run.loop) == 0);
    if (run.how & TO_SERVER) {
        start_server(&run);
    } else {
        start_client(&run, slots);
    }
    turn(&run);
    if (!(run.how & WITHOUT_BEGINNING)) {
        if (run.how & TO_SERVER) {
            send_bytes(&run, (const uint8_t *)preface, sizeof(preface) - 1);
        }
        send_bytes(&run, settings, sizeof(settings));
    }
    if (size > 1) {
        send_bytes(&run, data + 1, size - 1);
    }
    if (run.how & PEER_HALF_CLOSES) {
        shutdown(run.fd, SHUT_WR);
    }
    for (unsigned i = 0; i < TURNS; i++) {
        turn(&run);
    }
    mig_h2_free(run.h2);
    mig_grpc_server_free(run.server);
    for (unsigned i = 0; i < 100 && uv_loop_alive(&run.loop); i++) {
        uv_run(&run.loop, UV_RUN_NOWAIT);
    }
    FUZZ_CHECK(uv_loop_close(&run.loop) == 0);
    close(run.fd);
    FUZZ_CHECK(run.stream_ends == (run.how & TO_SERVER ? 0 : STREAMS));
    FUZZ_CHECK(run.call_ends == run.calls);
    FUZZ_CHECK(run.requests_over == run.requests);
    return 0;
}
