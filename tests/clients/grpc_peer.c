/* SPDX-License-Identifier: Apache-2.0 */
/*
 * src/net/grpc as a program, for tests with other implementations of gRPC.
 *
 *   grpc_peer server SOCKET                        serves until its standard input ends
 *   grpc_peer client SOCKET METHOD TEXT [TIMEOUT_MS [COUNT]]
 *
 * The methods of peer.Peer: Echo; Fail, NOT_FOUND with the message as its text; Stream, the decimal
 * number in the message of messages; Hold, no answer. TEXT "@N" is N bytes. What happens is
 * printed, a line each.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "net/grpc.h"
#include <stdio.h>
#include <string.h>

/* ---- server --------------------------------------------------------------------------------- */

static void echo(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct mig_error error;

    (void)data;
    if (mig_grpc_send(request, message, size, &error) < 0) {
        mig_grpc_finish(request, MIG_GRPC_INTERNAL, error.message);
    } else {
        mig_grpc_finish(request, MIG_GRPC_OK, NULL);
    }
}

static void fail(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    (void)size;
    (void)data;
    mig_grpc_finish(request, MIG_GRPC_NOT_FOUND, message); /* messages are terminated */
}

static void stream(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct mig_error error;
    uint64_t count;
    int rc = 0;

    (void)size;
    (void)data;
    if (!mig_text_parse_u64(message, 1000000, &count)) {
        mig_grpc_finish(request, MIG_GRPC_INVALID_ARGUMENT, "not a number");
        return;
    }
    for (uint64_t i = 0; i < count && rc == 0; i++) {
        char text[32];
        int length = snprintf(text, sizeof(text), "message %llu", (unsigned long long)i);

        rc = mig_grpc_send(request, text, (size_t)length, &error);
    }
    mig_grpc_finish(request, rc < 0 ? MIG_GRPC_RESOURCE_EXHAUSTED : MIG_GRPC_OK,
                    rc < 0 ? error.message : NULL);
}

static void hold(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    (void)request;
    (void)message;
    (void)size;
    (void)data;
    puts("held");
}

static void cancelled(struct mig_grpc_request *request, void *data)
{
    (void)request;
    (void)data;
    puts("cancelled");
}

static const struct mig_grpc_method methods[] = {
    {"/peer.Peer/Echo", echo},
    {"/peer.Peer/Fail", fail},
    {"/peer.Peer/Stream", stream},
    {"/peer.Peer/Hold", hold},
};

struct serving {
    uv_poll_t input;
    struct mig_grpc_server *server;
};

static void input_ended(uv_poll_t *poll, int status, int events)
{
    struct serving *serving = poll->data;
    char byte;

    (void)status;
    (void)events;
    if (read(STDIN_FILENO, &byte, 1) <= 0) {
        uv_close((uv_handle_t *)poll, NULL);
        mig_grpc_server_free(serving->server);
    }
}

static int serve(uv_loop_t *loop, const char *path)
{
    static struct serving serving;
    const struct mig_grpc_server_options options = {.unix_path = path,
                                                    .methods = methods,
                                                    .method_count = MIG_ARRAY_SIZE(methods),
                                                    .cancelled = cancelled};
    struct mig_error error;

    if (mig_grpc_serve(loop, &options, &serving.server, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    serving.input.data = &serving;
    uv_poll_init(loop, &serving.input, STDIN_FILENO);
    uv_poll_start(&serving.input, UV_READABLE, input_ended);
    puts("ready");
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}

/* ---- client --------------------------------------------------------------------------------- */

struct calling {
    struct mig_h2 *h2;
    unsigned left;
};

static void received(struct mig_grpc_call *call, const void *message, size_t size, void *data)
{
    (void)call;
    (void)data;
    printf("message %zu %.64s\n", size, (const char *)message);
}

static void done(struct mig_grpc_call *call, int status, const char *text, void *data)
{
    struct calling *calling = data;

    (void)call;
    printf("status %d %s\n", status, text);
    if (--calling->left == 0) {
        mig_h2_free(calling->h2);
    }
}

static int call_all(struct calling *calling, const char *method, const char *text,
                    unsigned timeout_ms)
{
    struct mig_grpc_call_options options = {.path = method,
                                            .message = text,
                                            .message_size = strlen(text),
                                            .timeout_ms = timeout_ms,
                                            .message_received = received,
                                            .done = done,
                                            .data = calling};
    MIG_AUTO_FREE char *bytes = NULL;
    struct mig_error error;
    uint64_t size;

    if (text[0] == '@' && mig_text_parse_u64(text + 1, MIG_GRPC_MESSAGE_MAX, &size)) {
        bytes = malloc(size + 1);
        if (!bytes) {
            return 1;
        }
        memset(bytes, 'x', size);
        options.message = bytes;
        options.message_size = size;
    }
    for (unsigned i = 0, count = calling->left; i < count; i++) {
        if (mig_grpc_call(calling->h2, &options, NULL, &error) < 0) {
            fprintf(stderr, "%s\n", error.message);
            mig_h2_free(calling->h2);
            return 1;
        }
    }
    return 0;
}

static int call(uv_loop_t *loop, int argc, char **argv)
{
    const struct mig_h2_connect_options options = {.unix_path = argv[2]};
    struct calling calling = {0};
    uint64_t timeout_ms = 0, count = 1;
    struct mig_error error;
    int rc;

    if ((argc > 5 && !mig_text_parse_u64(argv[5], 1000000, &timeout_ms)) ||
        (argc > 6 && !mig_text_parse_u64(argv[6], MIG_H2_STREAMS_MAX, &count))) {
        return 2;
    }
    if (mig_h2_connect(loop, &options, &calling.h2, &error) < 0) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    calling.left = (unsigned)count;
    rc = call_all(&calling, argv[3], argv[4], (unsigned)timeout_ms);
    uv_run(loop, UV_RUN_DEFAULT);
    return rc;
}

int main(int argc, char **argv)
{
    uv_loop_t loop;
    int rc = 2;

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (uv_loop_init(&loop) < 0) {
        return 1;
    }
    if (argc == 3 && strcmp(argv[1], "server") == 0) {
        rc = serve(&loop, argv[2]);
    } else if (argc >= 5 && argc <= 7 && strcmp(argv[1], "client") == 0) {
        rc = call(&loop, argc, argv);
    } else {
        fprintf(stderr, "usage: %s server SOCKET | client SOCKET METHOD TEXT [MS [COUNT]]\n",
                argv[0]);
    }
    if (uv_loop_close(&loop) < 0) {
        fprintf(stderr, "a handle was left open\n");
        rc = 1;
    }
    return rc;
}
