/* SPDX-License-Identifier: Apache-2.0 */
/* Answers are made at once from what the agent knows; nothing here asks the driver. */
#include "daemon/web.h"
#include "base/text.h"
#include "net/http.h"
#include <errno.h>
#include <string.h>

#define HOST_SIZE 64

struct web {
    struct web_options options;
    struct mig_http *http;
};

static int bad_listen(const char *text, struct mig_error *error)
{
    (void)mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "cannot listen on '%.64s'", text);
    return mig_error_hint(error, MIG_E_USAGE,
                          "it is ADDRESS:PORT, the address a number or left "
                          "out: \":9400\", \"127.0.0.1:9400\", \"[::1]:9400\"");
}

int web_parse_listen(const char *text, char *host, size_t host_size, uint16_t *port,
                     struct mig_error *error)
{
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    uint64_t number;

    if (!colon || !mig_text_parse_u64(colon + 1, UINT16_MAX, &number) || length >= host_size) {
        return bad_listen(text, error);
    }
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    } else if (memchr(text, ':', length)) {
        return bad_listen(text, error);
    }
    memcpy(host, text, length);
    host[length] = '\0';
    *port = (uint16_t)number;
    return 0;
}

static int answer_health(struct mig_http_answer *answer, void *data)
{
    (void)data;
    mig_buffer_puts(&answer->body, "ok\n");
    return 200;
}

static int answer_ready(struct mig_http_answer *answer, void *data)
{
    const struct web *web = data;
    bool ready = web->options.is_ready(web->options.data);

    mig_buffer_puts(&answer->body, ready ? "ok\n" : "the geometry is not settled\n");
    return ready ? 200 : 503;
}

static int answer_metrics(struct mig_http_answer *answer, void *data)
{
    const struct web *web = data;

    if (!web->options.metrics) {
        return 404;
    }
    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
    return web->options.metrics(&answer->body, web->options.data) ? 200 : 503;
}

int web_start(uv_loop_t *loop, const struct web_options *options, struct web **ret,
              struct mig_error *error)
{
    static const struct mig_http_route routes[] = {
        {"/healthz", answer_health}, {"/readyz", answer_ready}, {"/metrics", answer_metrics}};
    char host[HOST_SIZE] = "";
    struct mig_http_options http = {.routes = routes, .route_count = MIG_ARRAY_SIZE(routes)};
    struct web *web;
    int rc = web_parse_listen(options->listen, host, sizeof(host), &http.port, error);

    if (rc < 0) {
        return rc;
    }
    web = calloc(1, sizeof(*web));
    if (!web) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not listen on '%s'",
                                   options->listen);
    }
    web->options = *options;
    http.address = host[0] ? host : NULL;
    http.data = web;
    rc = mig_http_serve(loop, &http, &web->http, error);
    if (rc < 0) {
        free(web);
        return rc;
    }
    *ret = web;
    return 0;
}

void web_free(struct web *web)
{
    if (web) {
        mig_http_free(web->http);
        free(web);
    }
}
