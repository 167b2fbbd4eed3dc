/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/kube's client against a scripted API server: answers, retries, tokens, limits. */
#include "base/cleanup.h"
#include "base/file.h"
#include "kube/json.h"
#include "kube_case.h"
#include "net/http2.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define STATUS(code, reason, message)                                                          \
    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\",\"message\":\"" message \
    "\",\"reason\":\"" reason "\",\"code\":" #code "}"

static struct mig_kube_call *request(struct test *test, const char *method,
                                     enum mig_kube_retry retry, unsigned timeout_ms)
{
    MIG_AUTO_JSON json_t *body = strcmp(method, "GET") != 0 ? json_pack("{s:i}", "a", 1) : NULL;
    const struct mig_kube_request request = {.method = method,
                                             .path = "/api/v1/nodes/n?x=y",
                                             .body = body,
                                             .timeout_ms = timeout_ms,
                                             .retry = retry,
                                             .done = on_done,
                                             .data = test};
    struct mig_kube_call *call = NULL;
    unsigned before = test->done;

    assert_int_equal(mig_kube_request(test->kube, &request, &call, NULL), 0);
    assert_int_equal(test->done, before); /* never from inside */
    return call;
}

static void ask(struct test *test, const char *method, enum mig_kube_retry retry)
{
    unsigned before = test->done;

    request(test, method, retry, 0);
    assert_true(kube_server_run(&test->server, &test->done, before + 1));
    assert_int_equal(test->done, before + 1);
}

static void test_answer(void **state)
{
    static const struct answer answers[] = {{200, "{\"kind\":\"Node\"}", NULL}, {0}};
    struct test test;

    (void)state;
    start(&test, answers);
    ask(&test, "PATCH", MIG_KUBE_RETRY_NONE);
    assert_int_equal(test.status, 200);
    assert_string_equal(mig_kube_json_text(test.object, "kind", NULL), "Node");
    assert_string_equal(test.error.message, "");
    assert_string_equal(test.server.seen[0].method, "PATCH");
    assert_string_equal(test.server.seen[0].path, "/api/v1/nodes/n?x=y");
    assert_string_equal(test.server.seen[0].authorization, "Bearer secret");
    assert_string_equal(test.server.seen[0].content_type, "application/json");
    assert_string_equal(test.server.seen[0].body, "{\"a\":1}");
    ask(&test, "GET", MIG_KUBE_RETRY_ALWAYS);
    assert_string_equal(test.server.seen[1].content_type, "");
    stop(&test);
}

static void test_refusals_are_told_in_the_servers_words(void **state)
{
    static const struct answer answers[] = {
        {403, STATUS(403, "Forbidden", "nodes \\\"n\\\" is\\nforbidden"), NULL},
        {409, STATUS(409, "Conflict", "the object has been modified"), NULL},
        {404, "<html>\x01 no such page", NULL},
        {418, "", NULL},
        {0}};
    struct test test;

    (void)state;
    start(&test, answers);
    ask(&test, "GET", MIG_KUBE_RETRY_ALWAYS);
    assert_int_equal(test.status, 403);
    assert_string_equal(test.error.message,
                        "GET /api/v1/nodes/n: 403 Forbidden: nodes \"n\" is forbidden");
    assert_int_equal(test.error.domain, MIG_DOMAIN_HTTP);
    assert_int_equal(test.error.code, 403);
    assert_non_null(strstr(test.error.hint, "role"));
    ask(&test, "PATCH", MIG_KUBE_RETRY_ALWAYS);
    assert_int_equal(test.status, 409);
    ask(&test, "GET", MIG_KUBE_RETRY_ALWAYS);
    assert_string_equal(test.error.message,
                        "GET /api/v1/nodes/n: 404 Not Found: <html> no such page");
    ask(&test, "GET", MIG_KUBE_RETRY_ALWAYS);
    assert_string_equal(test.error.message, "GET /api/v1/nodes/n: 418 refused");
    assert_int_equal(test.server.count, 4);
    stop(&test);
}

static void test_retry_by_class(void **state)
{
    static const struct {
        struct answer answers[4];
        enum mig_kube_retry retry;
        int status;
        unsigned tries;
    } cases[] = {
        {{{500, "{}", NULL}, {502, "{}", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_ALWAYS, 200, 3},
        {{{500, "{}", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_SAFE, 500, 1},
        {{{503, "{}", NULL}, {429, "{}", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_SAFE, 200, 3},
        {{{503, "{}", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_NONE, 503, 1},
        {{{0, "", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_ALWAYS, 200, 2},
        {{{0, "", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_SAFE, 0, 1},
        {{{-2, "", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_ALWAYS, 200, 2},
        {{{200, "garbage", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_ALWAYS, 200, 2},
        {{{200, "garbage", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_SAFE, 0, 1},
        {{{409, "{}", NULL}, {200, "{}", NULL}}, MIG_KUBE_RETRY_ALWAYS, 409, 1},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct test test;

        start(&test, cases[i].answers);
        ask(&test, "PATCH", cases[i].retry);
        if (test.status != cases[i].status || test.server.count != cases[i].tries) {
            fail_msg("case %zu: status %d after %u tries: %s", i, test.status, test.server.count,
                     test.error.message);
        }
        assert_int_equal(test.status == 200, !test.error.message[0]);
        stop(&test);
    }
}

static void test_retry_after_is_waited_for(void **state)
{
    static const struct answer header[] = {{429, "{}", "1"}, {200, "{}", NULL}, {0}};
    static const struct answer body[] = {
        {503, "{\"kind\":\"Status\",\"details\":{\"retryAfterSeconds\":1}}", NULL},
        {200, "{}", NULL},
        {0}};
    const struct answer *const scripts[] = {header, body};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(scripts); i++) {
        struct test test;

        start(&test, scripts[i]);
        ask(&test, "PATCH", MIG_KUBE_RETRY_SAFE);
        assert_int_equal(test.status, 200);
        assert_true(test.server.seen[1].at_ms - test.server.seen[0].at_ms >= 995);
        stop(&test);
    }
}

static void test_retry_after_beyond_the_time_is_not_waited_for(void **state)
{
    static const struct answer answers[] = {{429, "{}", "60"}, {0}};
    struct test test;

    (void)state;
    start(&test, answers);
    ask(&test, "PATCH", MIG_KUBE_RETRY_SAFE);
    assert_int_equal(test.status, 429);
    assert_int_equal(test.server.count, 1);
    stop(&test);
}

static void test_a_budget_is_an_answer(void **state)
{
    static const struct answer answers[] = {
        {429,
         "{\"kind\":\"Status\",\"message\":\"Cannot evict pod\",\"details\":{\"causes\":[{"
         "\"reason\":\"DisruptionBudget\",\"message\":\"The disruption budget web needs 2 healthy "
         "pods and has 2 currently\"}]}}",
         "10"},
        {0}};
    struct test test;

    (void)state;
    start(&test, answers);
    ask(&test, "POST", MIG_KUBE_RETRY_SAFE);
    assert_int_equal(test.status, 429);
    assert_int_equal(test.server.count, 1);
    assert_non_null(strstr(test.error.holders, "budget web needs 2"));
    stop(&test);
}

static void test_time_is_over(void **state)
{
    static const struct answer silent[] = {{-1, "", NULL}, {0}};
    static const struct answer failing[] = {{500, STATUS(500, "InternalError", "boom"), NULL}, {0}};
    struct test test;

    (void)state;
    start(&test, silent);
    request(&test, "GET", MIG_KUBE_RETRY_ALWAYS, 100);
    assert_true(kube_server_run(&test.server, &test.done, 1));
    assert_int_equal(test.status, 0);
    assert_string_equal(test.error.message,
                        "GET /api/v1/nodes/n: no answer within 100 ms: Connection timed out");
    stop(&test);

    start(&test, failing);
    request(&test, "GET", MIG_KUBE_RETRY_ALWAYS, 1000);
    assert_true(kube_server_run(&test.server, &test.done, 1));
    assert_int_equal(test.status, 500); /* the last answer is told, not a time-out */
    assert_true(test.server.count > 1);
    stop(&test);
}

static void test_server_that_is_not_there_comes_back(void **state)
{
    static const struct answer answers[] = {{200, "{}", NULL}, {0}};
    struct test test;

    (void)state;
    start(&test, answers);
    kube_server_close(&test.server);
    request(&test, "GET", MIG_KUBE_RETRY_SAFE, 0);
    kube_server_run_ms(&test.server, 300);
    assert_int_equal(test.done, 0);
    kube_server_open(&test.server);
    assert_true(kube_server_run(&test.server, &test.done, 1));
    assert_int_equal(test.status, 200);
    /* and without patience the cause is told */
    kube_server_close(&test.server);
    ask(&test, "GET", MIG_KUBE_RETRY_NONE);
    assert_int_equal(test.status, 0);
    assert_true(strncmp(test.error.message, "GET /api/v1/nodes/n: ", 21) == 0);
    kube_server_open(&test.server);
    stop(&test);
}

/* --- tokens --- */

static void keep_waiting(struct kube_seen *request, void *data)
{
    (void)request;
    (void)data;
}

static void test_token_is_read_again_after_401(void **state)
{
    static const struct answer answers[] = {{200, "{}", NULL},
                                            {401, STATUS(401, "Unauthorized", "no"), NULL},
                                            {200, "{}", NULL},
                                            {401, STATUS(401, "Unauthorized", "no"), NULL},
                                            {0}};
    char path[] = "/tmp/migd-token-XXXXXX";
    int fd = mkstemp(path);
    struct test test;

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(mig_file_write_atomic(path, "one\n", 4, 0600, NULL), 0);
    test = (struct test){.answers = answers};
    kube_server_start(&test.server, answer_next, &test);
    test.kube = kube_server_client(&test.server, "fixed", path);
    ask(&test, "GET", MIG_KUBE_RETRY_ALWAYS);
    assert_string_equal(test.server.seen[0].authorization, "Bearer one");
    assert_int_equal(mig_file_write_atomic(path, "two\n", 4, 0600, NULL), 0);
    ask(&test, "POST", MIG_KUBE_RETRY_NONE); /* also what is not repeated otherwise */
    assert_int_equal(test.status, 200);
    assert_string_equal(test.server.seen[1].authorization, "Bearer one");
    assert_string_equal(test.server.seen[2].authorization, "Bearer two");
    ask(&test, "GET", MIG_KUBE_RETRY_ALWAYS); /* the same token is not tried twice */
    assert_int_equal(test.status, 401);
    assert_int_equal(test.server.count, 4);
    /* a file that is away for a moment leaves the token */
    unlink(path);
    ask(&test, "GET", MIG_KUBE_RETRY_ALWAYS);
    assert_string_equal(test.server.seen[4].authorization, "Bearer two");
    stop(&test);
}

/* Two requests are refused for the old token; the first to be told brings the new one. */
static void test_all_are_tried_again_with_the_new_token(void **state)
{
    static const struct answer answers[] = {{401, STATUS(401, "Unauthorized", "no"), NULL},
                                            {401, STATUS(401, "Unauthorized", "no"), NULL},
                                            {200, "{}", NULL},
                                            {0}};
    char path[] = "/tmp/migd-token-XXXXXX";
    int fd = mkstemp(path);
    struct test test;

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(mig_file_write_atomic(path, "one\n", 4, 0600, NULL), 0);
    test = (struct test){.answers = answers};
    kube_server_start(&test.server, answer_next, &test);
    test.server.handler = keep_waiting;
    test.kube = kube_server_client(&test.server, "fixed", path);
    request(&test, "GET", MIG_KUBE_RETRY_ALWAYS, 0);
    request(&test, "GET", MIG_KUBE_RETRY_ALWAYS, 0);
    assert_true(kube_server_run(&test.server, &test.server.count, 2));
    assert_int_equal(mig_file_write_atomic(path, "two\n", 4, 0600, NULL), 0);
    test.server.handler = answer_next;
    answer_next(&test.server.seen[0], &test);
    answer_next(&test.server.seen[1], &test);
    assert_true(kube_server_run(&test.server, &test.done, 1));
    assert_int_equal(test.status, 200);
    assert_true(kube_server_run(&test.server, &test.done, 2));
    assert_int_equal(test.status, 200);
    assert_string_equal(test.server.seen[2].authorization, "Bearer two");
    assert_string_equal(test.server.seen[3].authorization, "Bearer two");
    unlink(path);
    stop(&test);
}

/* --- limits --- */

static void endless(struct kube_seen *request, void *data)
{
    static char piece[1 << 20];

    (void)data;
    memset(piece, ' ', sizeof(piece) - 1);
    kube_begin(request);
    for (int i = 0; i < 4; i++) {
        kube_send(request, piece);
    }
}

static void keep_sending(uv_timer_t *timer)
{
    struct test *test = timer->data;
    static char piece[1 << 20];

    memset(piece, ' ', sizeof(piece) - 1);
    for (unsigned i = 0; i < test->server.count; i++) {
        if (test->server.seen[i].stream) {
            (void)mig_h2_stream_write(test->server.seen[i].stream, piece, sizeof(piece) - 1, NULL);
        }
    }
}

static void test_answers_have_a_limit(void **state)
{
    struct test test = {.done = 0};
    uv_timer_t timer;

    (void)state;
    kube_server_start(&test.server, endless, &test);
    test.kube = kube_server_client(&test.server, NULL, NULL);
    uv_timer_init(&test.server.loop, &timer);
    timer.data = &test;
    uv_timer_start(&timer, keep_sending, 1, 1);
    request(&test, "GET", MIG_KUBE_RETRY_ALWAYS, 0);
    assert_true(kube_server_run(&test.server, &test.done, 1));
    assert_int_equal(test.status, 0);
    assert_non_null(strstr(test.error.message, "too large"));
    assert_int_equal(test.server.count, 1);
    uv_close((uv_handle_t *)&timer, NULL);
    stop(&test);
}

static void test_the_rate_is_held(void **state)
{
    static const struct answer answers[] = {{200, "{}", NULL}, {0}};
    struct mig_kube_config config = {.host = (char[]){"127.0.0.1"}};
    struct mig_kube_options options = {.config = &config, .rate_per_s = 20, .burst = 2};
    struct test test;

    (void)state;
    start(&test, answers);
    mig_kube_free(test.kube);
    config.port = test.server.port;
    assert_int_equal(mig_kube_new(&test.server.loop, &options, &test.kube, NULL), 0);
    for (int i = 0; i < 8; i++) {
        request(&test, "GET", MIG_KUBE_RETRY_NONE, 0);
    }
    assert_true(kube_server_run(&test.server, &test.done, 8));
    assert_true(test.server.seen[7].at_ms - test.server.seen[0].at_ms >= 250); /* 6 x 50 ms */
    stop(&test);
}

static void test_the_queue_has_a_limit(void **state)
{
    static const struct answer answers[] = {{-1, "", NULL}, {0}};
    const struct mig_kube_request one = {.method = "GET", .path = "/"};
    struct mig_error error;
    struct test test;

    (void)state;
    start(&test, answers);
    for (unsigned i = 0; i < MIG_KUBE_CALLS_MAX; i++) {
        assert_int_equal(mig_kube_request(test.kube, &one, NULL, &error), 0);
    }
    assert_int_equal(mig_kube_request(test.kube, &one, NULL, &error), MIG_E_BUSY);
    kube_server_run_ms(&test.server, 100);
    assert_in_range(test.server.count, 1, 32); /* at once */
    stop(&test);
}

/* --- freeing --- */

static void on_done_free(struct mig_kube_call *call, int status, json_t *object,
                         const struct mig_error *error, void *data)
{
    struct test *test = data;

    on_done(call, status, object, error, data);
    mig_kube_free(MIG_TAKE(test->kube));
}

static void test_cancel_and_free_anywhere(void **state)
{
    static const struct answer answers[] = {{200, "{}", NULL}, {0}};
    const int statuses[] = {200, 0};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(statuses); i++) {
        struct mig_kube_request free_it = {
            .method = "GET", .path = "/", .done = on_done_free, .timeout_ms = 5000};
        struct mig_kube_call *call;
        struct test test;

        start(&test, answers);
        if (statuses[i] == 0) {
            kube_server_close(&test.server);
        }
        call = request(&test, "GET", MIG_KUBE_RETRY_ALWAYS, 0);
        mig_kube_cancel(call);
        free_it.data = &test;
        assert_int_equal(mig_kube_request(test.kube, &free_it, NULL, NULL), 0);
        request(&test, "GET", MIG_KUBE_RETRY_ALWAYS, 0);
        assert_true(kube_server_run(&test.server, &test.done, 1));
        assert_int_equal(test.status, statuses[i]);
        kube_server_run_ms(&test.server, 50);
        assert_int_equal(test.done, 1);
        if (statuses[i] == 0) {
            kube_server_open(&test.server);
        }
        stop(&test);
    }
    mig_kube_cancel(NULL);
    mig_kube_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_refusals_are_told_in_the_servers_words),
        cmocka_unit_test(test_retry_by_class),
        cmocka_unit_test(test_retry_after_is_waited_for),
        cmocka_unit_test(test_retry_after_beyond_the_time_is_not_waited_for),
        cmocka_unit_test(test_a_budget_is_an_answer),
        cmocka_unit_test(test_time_is_over),
        cmocka_unit_test(test_server_that_is_not_there_comes_back),
        cmocka_unit_test(test_token_is_read_again_after_401),
        cmocka_unit_test(test_all_are_tried_again_with_the_new_token),
        cmocka_unit_test(test_answers_have_a_limit),
        cmocka_unit_test(test_the_rate_is_held),
        cmocka_unit_test(test_the_queue_has_a_limit),
        cmocka_unit_test(test_cancel_and_free_anywhere),
    };

    return cmocka_run_group_tests_name("kube_client", tests, NULL, NULL);
}
