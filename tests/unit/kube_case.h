/* SPDX-License-Identifier: Apache-2.0 */
/* A case with a client and a scripted API server: what it answers, and what came of a call. */
#ifndef MIG_TEST_KUBE_CASE_H
#define MIG_TEST_KUBE_CASE_H

#include "kube/client.h"
#include "kube_server.h"

/* What a test's server answers, in order; the last one again and again. */
struct answer {
    int status; /* 0 = the connection is cut, -1 = no answer, -2 = stream reset */
    const char *body, *retry_after;
};

struct test {
    struct kube_server server;
    const struct answer *answers;
    struct mig_kube *kube;
    unsigned done;
    int status;
    json_t *object;
    struct mig_error error;
};

/* The server's handler: the next answer. */
void answer_next(struct kube_seen *request, void *data);

void start(struct test *test, const struct answer *answers);
void stop(struct test *test);

/* For a call's `done`, with the test as `data`. */
void on_done(struct mig_kube_call *call, int status, json_t *object, const struct mig_error *error,
             void *data);

#endif
