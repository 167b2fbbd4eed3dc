/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making the connection and requests on it.
 *
 * A dead peer is found by PING: a watch may be silent for minutes, and a node that lost its network
 * must not believe the last thing it heard for as long.
 */
#include "kube/link.h"
#include "base/cleanup.h"
#include "kube/kubeconfig.h"
#include "kube/policy.h"
#include "net/http2.h"
#include "net/tls.h"
#include <errno.h>
#include <string.h>

#define PING_INTERVAL_MS 10000u
#define CONNECT_TIMEOUT_MS 10000u

struct mig_kube_try {
    struct mig_h2_stream *stream;
    struct mig_kube_try_options options; /* only the callbacks are used after it was submitted */
    bool cancelled;
};

int mig_kube_link_init(struct mig_kube_link *link, uv_loop_t *loop,
                       const struct mig_kube_config *config, const char *user_agent,
                       struct mig_error *error)
{
    const struct mig_tls_options tls = {.ca = config->ca,
                                        .certificate = config->certificate,
                                        .key = config->key,
                                        .server_name = config->server_name,
                                        .insecure = config->insecure};
    int rc;

    *link = (struct mig_kube_link){.loop = loop};
    link->user_agent = strdup(user_agent);
    rc = mig_kube_config_copy(config, &link->config, error);
    if (rc == 0) {
        rc = mig_kube_token_init(&link->token, config->token, config->token_file, error);
    }
    if (rc == 0 && config->tls) {
        rc = mig_tls_new(&tls, &link->tls, error);
    }
    if (rc == 0 && !link->user_agent) {
        rc = mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                 "could not make a client of the Kubernetes API");
    }
    if (rc < 0) {
        mig_kube_link_release(link);
    }
    return rc;
}

void mig_kube_link_release(struct mig_kube_link *link)
{
    for (unsigned i = 0; i < MIG_KUBE_CONNECTIONS_MAX; i++) {
        mig_h2_free(MIG_TAKE(link->connections[i]));
    }
    mig_tls_free(link->tls);
    mig_kube_token_release(&link->token);
    mig_kube_config_release(&link->config);
    free(link->user_agent);
    *link = (struct mig_kube_link){0};
}

/* --- connections --- */

static void drop(struct mig_kube_link *link, unsigned index)
{
    struct mig_h2 *h2 = link->connections[index];

    for (unsigned i = index; i + 1 < MIG_KUBE_CONNECTIONS_MAX; i++) {
        link->connections[i] = link->connections[i + 1];
    }
    link->connections[MIG_KUBE_CONNECTIONS_MAX - 1] = NULL;
    mig_h2_free(h2);
}

static void connection_closed(struct mig_h2 *h2, const struct mig_error *error, void *data)
{
    struct mig_kube_link *link = data;

    (void)error; /* each request on it was told */
    for (unsigned i = 0; i < MIG_KUBE_CONNECTIONS_MAX; i++) {
        if (link->connections[i] == h2) {
            drop(link, i);
            return;
        }
    }
}

/* Those that the server has left and that nothing runs on any more. */
static void drop_left(struct mig_kube_link *link)
{
    for (unsigned i = MIG_KUBE_CONNECTIONS_MAX; i > 0; i--) {
        struct mig_h2 *h2 = link->connections[i - 1];

        if (h2 && !mig_h2_usable(h2) && mig_h2_stream_count(h2) == 0) {
            drop(link, i - 1);
        }
    }
}

void mig_kube_link_trim(struct mig_kube_link *link)
{
    drop_left(link);
    for (unsigned i = MIG_KUBE_CONNECTIONS_MAX; i > MIG_KUBE_CONNECTIONS_KEPT; i--) {
        if (link->connections[i - 1]) { /* what is told may have freed the others */
            drop(link, i - 1);
        }
    }
}

static int connection(struct mig_kube_link *link, struct mig_h2 **ret, struct mig_error *error)
{
    const struct mig_h2_connect_options options = {
        .host = link->config.host,
        .port = link->config.port,
        .fd = -1,
        .tls = link->tls,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .ping_interval_ms = PING_INTERVAL_MS,
        .closed = connection_closed,
        .data = link,
    };
    int rc;

    drop_left(link);
    if (link->connections[0] && mig_h2_usable(link->connections[0])) {
        *ret = link->connections[0];
        return 0;
    }
    if (link->connections[MIG_KUBE_CONNECTIONS_MAX - 1]) {
        return mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                             "the API server has left %u connections that are still in use",
                             MIG_KUBE_CONNECTIONS_MAX);
    }
    rc = mig_h2_connect(link->loop, &options, ret, error);
    if (rc < 0) {
        return rc;
    }
    memmove(link->connections + 1, link->connections,
            (MIG_KUBE_CONNECTIONS_MAX - 1) * sizeof(struct mig_h2 *));
    link->connections[0] = *ret;
    return 0;
}

/* --- tries --- */

static void on_headers(struct mig_h2_stream *stream, int status,
                       const struct mig_h2_header *headers, size_t count, bool trailers, void *data)
{
    struct mig_kube_try *try = data;
    unsigned retry_after_ms = 0;

    (void)stream;
    if (try->cancelled || trailers) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(headers[i].name, "retry-after") == 0) {
            retry_after_ms = mig_kube_retry_after_ms(headers[i].value);
        }
    }
    try->options.headers(status, retry_after_ms, try->options.data);
}

static size_t on_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct mig_kube_try *try = data;

    (void)stream;
    if (!try->cancelled) {
        try->options.body_part(bytes, size, try->options.data);
    }
    return size;
}

static void on_end(struct mig_h2_stream *stream, const struct mig_error *error, void *data)
{
    struct mig_kube_try *try = data;

    if (!try->cancelled) {
        try->options.end(error, error && mig_h2_stream_refused(stream), try->options.data);
    }
    free(try);
}

static const struct mig_h2_events stream_events = {
    .headers = on_headers, .body = on_body, .end = on_end};

static int submit(struct mig_kube_link *link, struct mig_kube_try *try, struct mig_h2 *h2,
                  struct mig_error *error)
{
    const struct mig_kube_try_options *options = &try->options;
    struct mig_error token_error = {0};
    const char *token = mig_kube_token_header(&link->token, uv_now(link->loop), &token_error);
    struct mig_h2_header headers[4] = {{"user-agent", link->user_agent},
                                       {"accept", "application/json"}};
    MIG_AUTO_FREE char *path = NULL;
    struct mig_h2_request request = {.method = options->method,
                                     .headers = headers,
                                     .header_count = 2,
                                     .body = options->body,
                                     .body_size = options->body_size,
                                     .events = &stream_events,
                                     .data = try};

    if (!token && link->token.path) {
        *error = token_error;
        return MIG_E_FAILED;
    }
    if (asprintf(&path, "%s%s", link->config.path_prefix ? link->config.path_prefix : "",
                 options->path) < 0) {
        path = NULL;
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not send a request");
    }
    request.path = path;
    if (token) {
        headers[request.header_count++] = (struct mig_h2_header){"authorization", token};
    }
    if (options->content_type) {
        headers[request.header_count++] =
            (struct mig_h2_header){"content-type", options->content_type};
    }
    return mig_h2_submit(h2, &request, &try->stream, error);
}

int mig_kube_try(struct mig_kube_link *link, const struct mig_kube_try_options *options,
                 struct mig_kube_try **ret, struct mig_error *error)
{
    MIG_AUTO_FREE struct mig_kube_try *try = calloc(1, sizeof(*try));
    struct mig_h2 *h2 = NULL;
    int rc;

    if (!try) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not send a request");
    }
    try->options = *options;
    rc = connection(link, &h2, error);
    if (rc == 0) {
        rc = submit(link, try, h2, error);
    }
    if (rc == 0) {
        *ret = MIG_TAKE(try);
    }
    return rc;
}

void mig_kube_try_cancel(struct mig_kube_try *try)
{
    if (try) {
        try->cancelled = true;
        mig_h2_stream_cancel(try->stream);
    }
}
