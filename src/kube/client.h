/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a Kubernetes API server, on one libuv loop.
 *
 * One HTTP/2 connection, made when it is needed and made again when it fails. Requests that can be
 * repeated are, with backoff, as their retry class says; 429 and 503 with Retry-After are honoured;
 * a token bucket holds the rate. Answers have a size limit. Bearer tokens are read again when their
 * file changes, and after a 401.
 *
 * Callbacks are called from the loop, never from inside the function that starts something, and may
 * cancel and free whatever they like.
 */
#ifndef MIG_KUBE_CLIENT_H
#define MIG_KUBE_CLIENT_H

#include <jansson.h>
#include <mig/error.h>
#include <stdint.h>
#include <uv.h>

#define MIG_KUBE_ANSWER_MAX (16u << 20)
#define MIG_KUBE_BODY_MAX (1u << 20) /* of a request, as encoded */
#define MIG_KUBE_CALLS_MAX 1024u     /* not finished at once; more are refused: MIG_E_BUSY */

/* Where the server is and who we are; kubeconfig.h makes it. All malloc'd; PEM text, not paths. */
struct mig_kube_config {
    char *host; /* without brackets, also an IPv6 address */
    uint16_t port;
    char *path_prefix; /* of the server URL, "" */
    bool tls;
    char *ca, *certificate, *key, *server_name;
    bool insecure;
    char *token, *token_file; /* token_file wins */
    char *namespace_name;     /* "default" when nothing says otherwise */
};

struct mig_kube;
struct mig_kube_call;

struct mig_kube_options {
    const struct mig_kube_config *config; /* copied */
    const char *user_agent;               /* "migd/0.1.0" */
    unsigned rate_per_s, burst;           /* 0 = 5 and 10, as client-go */
    uint64_t seed;                        /* of the jitter; 0 = a random one */
    /* For logs and metrics, may be NULL: each try that ended. status 0 = no answer. */
    void (*observe)(const char *method, const char *path, int status, unsigned took_ms, void *data);
    void *data;
};

int mig_kube_new(uv_loop_t *loop, const struct mig_kube_options *options, struct mig_kube **ret,
                 struct mig_error *error);

/* Cancels what is under way: no done() is called any more. Watches, recorders and leases are freed
 * before. Its handles are gone after the next turn of the loop. NULL is allowed. */
void mig_kube_free(struct mig_kube *kube);

/* The namespace of the configuration. */
const char *mig_kube_namespace(const struct mig_kube *kube);

enum mig_kube_retry {
    MIG_KUBE_RETRY_NONE = 0,
    MIG_KUBE_RETRY_SAFE, /* nothing was sent, or 429/503/504: also for what must not happen twice */
    MIG_KUBE_RETRY_ALWAYS /* also lost connections and 500: for GET and idempotent patches */
};

/*
 * The answer. `status` is HTTP's; `object` the JSON of the body (NULL when there is none); for
 * status >= 300 or no answer at all (status 0) `error` says what the server said (its Status
 * message and reason; domain HTTP, code the status) or what stopped the request; otherwise it is
 * NULL. All are borrowed for the call; json_incref to keep. `call` is gone after it.
 */
typedef void mig_kube_done(struct mig_kube_call *call, int status, json_t *object,
                           const struct mig_error *error, void *data);

struct mig_kube_request {
    const char *method, *path; /* path with query, escaped (path.h) */
    const char *content_type;  /* NULL = application/json */
    json_t *body;              /* NULL = none; borrowed, encoded at once */
    unsigned timeout_ms;       /* over all tries; 0 = 30,000 */
    enum mig_kube_retry retry;
    mig_kube_done *done; /* may be NULL */
    /* Instead of done(), when it is cancelled or the client is freed; may be NULL. For data that
     * only the request knows of. */
    void (*cancelled)(void *data);
    void *data;
};

/* `ret` may be NULL. */
int mig_kube_request(struct mig_kube *kube, const struct mig_kube_request *request,
                     struct mig_kube_call **ret, struct mig_error *error);
void mig_kube_cancel(struct mig_kube_call *call); /* done() is not called; NULL is allowed */

#endif
