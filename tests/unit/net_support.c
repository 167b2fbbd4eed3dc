/* SPDX-License-Identifier: Apache-2.0 */
/* Runs loops with a limit, and records what happens to a request. */
#include "net_support.h"
#include "base/text.h"
#include <stdio.h>
#include <unistd.h>

int net_setup(void **state)
{
    struct net *net = calloc(1, sizeof(*net));

    assert_non_null(net);
    mig_text_copy(net->directory, sizeof(net->directory), "/tmp/migd-net-XXXXXX");
    assert_non_null(mkdtemp(net->directory));
    snprintf(net->path, sizeof(net->path), "%s/socket", net->directory);
    assert_int_equal(uv_loop_init(&net->loop), 0);
    *state = net;
    return 0;
}

int net_teardown(void **state)
{
    struct net *net = *state;
    int rc;

    net_drain(net);
    rc = uv_loop_close(&net->loop);
    unlink(net->path);
    rmdir(net->directory);
    free(net);
    return rc;
}

static void rang(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void closed(uv_handle_t *handle)
{
    handle->data = NULL;
}

static void run(struct net *net, const bool *flag, unsigned duration_ms, bool must)
{
    bool late = false;
    uv_timer_t timer;

    uv_timer_init(&net->loop, &timer);
    timer.data = &late;
    uv_update_time(&net->loop);
    uv_timer_start(&timer, rang, duration_ms, 10); /* again, as it may ring before the poll */
    while (!*flag && !late) {
        uv_run(&net->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, closed);
    while (timer.data) {
        uv_run(&net->loop, UV_RUN_NOWAIT);
    }
    if (must && !*flag) {
        fail_msg("waited for %u ms", duration_ms);
    }
}

void net_run_until(struct net *net, const bool *flag)
{
    run(net, flag, LIMIT_MS, true);
}

void net_run_for(struct net *net, unsigned duration_ms)
{
    bool never = false;

    run(net, &never, duration_ms, false);
}

void net_drain(struct net *net)
{
    bool late = false;
    uv_timer_t timer;

    uv_timer_init(&net->loop, &timer);
    timer.data = &late;
    uv_update_time(&net->loop);
    uv_timer_start(&timer, rang, LIMIT_MS, 10);
    uv_unref((uv_handle_t *)&timer);
    while (uv_loop_alive(&net->loop) && !late) {
        uv_run(&net->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, closed);
    while (timer.data) {
        uv_run(&net->loop, UV_RUN_NOWAIT);
    }
}

/* ---- exchanges ------------------------------------------------------------------------------ */

static const char *find(const struct mig_h2_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(headers[i].name, "x-test") == 0) {
            return headers[i].value;
        }
    }
    return "";
}

static void got_headers(struct mig_h2_stream *stream, int status,
                        const struct mig_h2_header *headers, size_t count, bool trailers,
                        void *data)
{
    struct exchange *exchange = data;

    assert_ptr_equal(stream, exchange->stream);
    assert_false(exchange->over);
    if (trailers) {
        exchange->trailer_calls++;
        mig_text_copy(exchange->trailer, sizeof(exchange->trailer), find(headers, count));
    } else {
        exchange->header_calls++;
        exchange->status = status;
        mig_text_copy(exchange->header, sizeof(exchange->header), find(headers, count));
    }
}

static size_t got_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct exchange *exchange = data;
    char *body = realloc(exchange->body, exchange->body_size + size + 1);

    (void)stream;
    assert_non_null(body);
    assert_false(exchange->over);
    memcpy(body + exchange->body_size, bytes, size);
    exchange->body = body;
    exchange->body_size += size;
    body[exchange->body_size] = '\0';
    if (exchange->on_body) {
        exchange->on_body(exchange);
    }
    return exchange->hold ? 0 : size;
}

static void got_body_end(struct mig_h2_stream *stream, void *data)
{
    struct exchange *exchange = data;

    (void)stream;
    assert_false(exchange->over);
    exchange->body_end_calls++;
}

static void got_end(struct mig_h2_stream *stream, const struct mig_error *error, void *data)
{
    struct exchange *exchange = data;

    exchange->end_calls++;
    exchange->over = true;
    exchange->refused = mig_h2_stream_refused(stream);
    exchange->reset_code = mig_h2_stream_reset_code(stream);
    exchange->failed = error != NULL;
    if (error) {
        exchange->error = *error;
        assert_true(*error->message);
    }
    if (exchange->on_end) {
        exchange->on_end(exchange);
    }
}

const struct mig_h2_events exchange_events = {got_headers, got_body, got_body_end, got_end};

void exchange_release(struct exchange *exchange)
{
    free(exchange->body);
    exchange->body = NULL;
    exchange->body_size = 0;
}

void exchange_start(struct exchange *exchange, struct mig_h2 *h2, const char *method,
                    const char *path, const void *body, size_t size, bool keep_open)
{
    const struct mig_h2_header header = {"x-test", "from the client"};
    const struct mig_h2_request request = {
        .method = method,
        .path = path,
        .headers = &header,
        .header_count = 1,
        .body = body,
        .body_size = size,
        .keep_open = keep_open,
        .events = &exchange_events,
        .data = exchange,
    };
    struct mig_error error;
    int rc = mig_h2_submit(h2, &request, &exchange->stream, &error);

    if (rc < 0) {
        fail_msg("%s", error.message);
    }
}
