/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An API server that does what a test says: HTTP/2 on a loopback port, on the test's own loop. Each
 * request is kept, and given to the test's handler when it is complete.
 */
#ifndef MIG_TESTS_KUBE_SERVER_H
#define MIG_TESTS_KUBE_SERVER_H

#include "kube/client.h"

#define KUBE_SERVER_REQUESTS_MAX 512

struct kube_server;

struct kube_seen {
    struct kube_server *server;
    struct mig_h2_stream *stream; /* NULL when it is over */
    char method[16], path[1024], authorization[256], content_type[128];
    char body[4096];
    size_t body_size;
    uint64_t at_ms;
};

struct kube_server {
    uv_loop_t loop;
    uv_timer_t guard;
    struct mig_h2_server *h2;
    int listener;
    uint16_t port;
    bool timed_out;
    struct kube_seen seen[KUBE_SERVER_REQUESTS_MAX];
    unsigned count;
    void (*handler)(struct kube_seen *request, void *data);
    void *data;
};

/* Asserts that it works. */
void kube_server_start(struct kube_server *server,
                       void (*handler)(struct kube_seen *request, void *data), void *data);
/* Everything of the loop has to be freed by then; checks that nothing is left. */
void kube_server_stop(struct kube_server *server);

/* A client of it. */
struct mig_kube *kube_server_client(struct kube_server *server, const char *token,
                                    const char *token_file);

/* All connections fail; later ones are taken again. */
void kube_server_cut(struct kube_server *server);
/* Nobody listens any more, and again. */
void kube_server_close(struct kube_server *server);
void kube_server_open(struct kube_server *server);

/* Runs the loop until *value >= wanted. False after 20 s. */
bool kube_server_run(struct kube_server *server, const unsigned *value, unsigned wanted);
/* Runs the loop for a time. */
void kube_server_run_ms(struct kube_server *server, unsigned duration_ms);

/* `retry_after` may be NULL. */
void kube_answer(struct kube_seen *request, int status, const char *retry_after, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));
/* Headers only; the body follows with kube_send. */
void kube_begin(struct kube_seen *request);
void kube_send(struct kube_seen *request, const char *text);
void kube_finish(struct kube_seen *request);
void kube_reset(struct kube_seen *request);

#endif
