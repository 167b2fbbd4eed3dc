/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of src/kube's watch against a scripted API server: pages, resuming, 410, garbage, silence,
 * and what is told of it.
 */
#include "kube/json.h"
#include "kube/known.h"
#include "kube/policy.h"
#include "kube/watch.h"
#include "kube_server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define OBJECT(name, version)                                                                    \
    "{\"metadata\":{\"name\":\"" name "\",\"uid\":\"u-" name "\",\"resourceVersion\":\"" version \
    "\"}}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define LIST(version, items) \
    "{\"metadata\":{\"resourceVersion\":\"" version "\"},\"items\":[" items "]}"

struct test {
    struct kube_server server;
    struct mig_kube *kube;
    struct mig_kube_watch *watch;
    char told[4096]; /* "+a +b =" ... */
    unsigned events, lists, watches, synced, offline, listed;
    const char *const *list_answers; /* the last one again and again; "410" is one */
    struct kube_seen *stream;        /* the newest watch */
    int watch_status;
    struct mig_error error;
};

static void handle(struct kube_seen *request, void *data)
{
    struct test *test = data;

    if (strstr(request->path, "watch=true")) {
        test->watches++;
        test->stream = request;
        if (test->watch_status == 200) {
            kube_begin(request);
        } else {
            kube_answer(request, test->watch_status, NULL, "{\"kind\":\"Status\"}");
        }
        return;
    }
    test->lists++;
    if (strcmp(test->list_answers[0], "410") == 0) {
        kube_answer(request, 410, NULL, "{\"kind\":\"Status\",\"reason\":\"Expired\"}");
    } else {
        kube_answer(request, 200, NULL, "%s", test->list_answers[0]);
    }
    if (test->list_answers[1]) {
        test->list_answers++;
    }
}

static void on_event(enum mig_kube_watch_event event, json_t *object, const struct mig_error *error,
                     void *data)
{
    static const char *const marks[] = {"+", "~", "-", "=", "!"};
    struct test *test = data;
    size_t size = strlen(test->told);

    snprintf(test->told + size, sizeof(test->told) - size, "%s%s ", marks[event],
             mig_kube_metadata(object, "name"));
    test->events++;
    test->synced += event == MIG_KUBE_SYNCED;
    test->listed += (event == MIG_KUBE_ADDED || event == MIG_KUBE_MODIFIED) &&
                    mig_kube_watch_is_listing(test->watch);
    test->offline += event == MIG_KUBE_OFFLINE;
    if (error) {
        test->error = *error;
    }
}

static void start_with(struct test *test, const char *const *lists,
                       struct mig_kube_watch_options options)
{
    *test = (struct test){.list_answers = lists, .watch_status = 200};
    kube_server_start(&test->server, handle, test);
    test->kube = kube_server_client(&test->server, "secret", NULL);
    options.path = "/api/v1/pods";
    options.event = on_event;
    options.data = test;
    assert_int_equal(mig_kube_watch_new(test->kube, &options, &test->watch, NULL), 0);
    assert_int_equal(test->events, 0);
}

static void start(struct test *test, const char *const *lists)
{
    start_with(test, lists, (struct mig_kube_watch_options){.field_selector = "spec.nodeName=n"});
}

static void stop(struct test *test)
{
    mig_kube_watch_free(test->watch);
    mig_kube_free(test->kube);
    kube_server_stop(&test->server);
}

static void wait_for(struct test *test, const unsigned *value, unsigned wanted)
{
    if (!kube_server_run(&test->server, value, wanted)) {
        fail_msg("told: %s; lists %u, watches %u, error %s", test->told, test->lists, test->watches,
                 test->error.message);
    }
}

static void test_pages_then_events(void **state)
{
    static const char *const lists[] = {
        "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"c&1\"},\"items\":[" OBJECT(
            "a", "1") "," OBJECT("b", "2") "]}",
        LIST("5", OBJECT("c", "3")), NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    wait_for(&test, &test.watches, 1);
    assert_string_equal(test.told, "+a +b +c = ");
    assert_string_equal(test.server.seen[0].path,
                        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn&limit=50");
    assert_string_equal(test.server.seen[1].path,
                        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn&limit=50&continue=c%261");
    assert_non_null(strstr(test.stream->path, "allowWatchBookmarks=true&"
                                              "fieldSelector=spec.nodeName%3Dn&resourceVersion=5"));
    assert_string_equal(test.stream->authorization, "Bearer secret");
    kube_send(test.stream, EVENT("MODIFIED", OBJECT("a", "6")) EVENT("DELETED", OBJECT("b", "7")));
    kube_send(test.stream, EVENT("ADDED", OBJECT("d", "8")));
    wait_for(&test, &test.events, 7);
    assert_string_equal(test.told, "+a +b +c = ~a -b +d ");
    assert_int_equal(test.listed, 3); /* of the pages, not of the events */
    stop(&test);
}

static void test_resumes_where_it_ended(void **state)
{
    static const char *const lists[] = {LIST("5", ""), NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    wait_for(&test, &test.watches, 1);
    kube_send(test.stream, EVENT("ADDED", OBJECT("a", "6")));
    wait_for(&test, &test.events, 2);
    kube_finish(test.stream); /* in order */
    wait_for(&test, &test.watches, 2);
    assert_non_null(strstr(test.stream->path, "resourceVersion=6&"));
    kube_send(test.stream,
              EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"9\"}}") "{\"type\":\"ADD");
    kube_server_run_ms(&test.server, 20);
    kube_reset(test.stream); /* in the middle of a line */
    wait_for(&test, &test.watches, 3);
    assert_non_null(strstr(test.stream->path, "resourceVersion=9&"));
    kube_server_cut(&test.server);
    wait_for(&test, &test.watches, 4);
    assert_non_null(strstr(test.stream->path, "resourceVersion=9&"));
    /* what was told is not told again, whoever repeats it */
    kube_send(test.stream, EVENT("ADDED", OBJECT("a", "6")) EVENT("MODIFIED", OBJECT("a", "10")));
    wait_for(&test, &test.events, 3);
    assert_string_equal(test.told, "= +a ~a ");
    assert_int_equal(test.lists, 1);
    stop(&test);
}

static void test_gone_lists_again_and_tells_the_difference(void **state)
{
    static const char *const lists[] = {
        LIST("5", OBJECT("a", "1") "," OBJECT("b", "2") "," OBJECT("c", "3")),
        LIST("20", OBJECT("a", "1") "," OBJECT("b", "12") "," OBJECT("d", "13")), NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    wait_for(&test, &test.watches, 1);
    kube_send(test.stream, EVENT("ERROR", "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\""
                                          ",\"message\":\"too old resource version\"}"));
    wait_for(&test, &test.watches, 2);
    assert_string_equal(test.told, "+a +b +c = ~b +d -c = ");
    assert_non_null(strstr(test.stream->path, "resourceVersion=20&"));
    /* and when the watch is refused with it */
    test.watch_status = 410;
    kube_finish(test.stream);
    wait_for(&test, &test.lists, 3);
    stop(&test);
}

static void test_error_events_and_refusals_of_the_server(void **state)
{
    static const char *const lists[] = {LIST("5", ""), NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    wait_for(&test, &test.watches, 1);
    kube_send(test.stream, EVENT("ERROR", "{\"kind\":\"Status\",\"code\":500}"));
    wait_for(&test, &test.watches, 2);
    test.watch_status = 503;
    kube_finish(test.stream);
    wait_for(&test, &test.watches, 4);
    test.watch_status = 200;
    wait_for(&test, &test.watches, 5);
    assert_int_equal(test.lists, 1);
    kube_send(test.stream, EVENT("ERROR", "{\"kind\":\"Status\",\"code\":400}"));
    wait_for(&test, &test.lists, 2);
    stop(&test);
}

/* An event that the server cannot send, each time from the same resourceVersion. */
static void test_errors_of_the_server_without_end(void **state)
{
    static const char *const lists[] = {LIST("5", ""), NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    for (unsigned i = 1; i <= 3; i++) {
        wait_for(&test, &test.watches, i);
        assert_int_equal(test.lists, 1);
        kube_send(test.stream, EVENT("ERROR", "{\"kind\":\"Status\",\"code\":500}"));
    }
    wait_for(&test, &test.lists, 2);
    stop(&test);
}

static void test_garbage_lists_again(void **state)
{
    static const char *const garbage[] = {
        "garbage\n",
        "[]\n",
        EVENT("SURPRISE", OBJECT("a", "1")),
        EVENT("ADDED", "3"),
        EVENT("ADDED", "{\"metadata\":{\"resourceVersion\":\"3\"}}"),
        EVENT("MODIFIED", "{\"metadata\":{\"name\":\"a\"}}"),
    };
    static const char *const lists[] = {LIST("5", ""), NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    for (unsigned i = 0; i < MIG_ARRAY_SIZE(garbage); i++) {
        wait_for(&test, &test.watches, i + 1);
        kube_send(test.stream, EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"6\"}}"));
        kube_send(test.stream, garbage[i]);
        wait_for(&test, &test.lists, i + 2);
    }
    assert_null(strchr(test.told, '+'));
    stop(&test);
}

static void test_another_object_of_the_name(void **state)
{
    static const char *const lists[] = {
        LIST("5", OBJECT("a", "1")),
        LIST("9", "{\"metadata\":{\"name\":\"a\",\"uid\":\"other\",\"resourceVersion\":\"8\"}}"),
        NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    wait_for(&test, &test.watches, 1);
    kube_send(test.stream, "garbage\n");
    wait_for(&test, &test.watches, 2);
    assert_string_equal(test.told, "+a = -a +a = ");
    stop(&test);
}

static void test_continue_token_that_ran_out(void **state)
{
    static const char *const lists[] = {
        "{\"metadata\":{\"resourceVersion\":\"5\",\"continue\":\"c\"},\"items\":[" OBJECT(
            "a", "1") "," OBJECT("b", "2") "]}",
        "410", LIST("9", OBJECT("a", "1")), NULL};
    struct test test;

    (void)state;
    start(&test, lists);
    wait_for(&test, &test.watches, 1);
    assert_string_equal(test.told, "+a +b -b = ");
    assert_int_equal(test.lists, 3);
    stop(&test);
}

static void test_silence_makes_it_anew(void **state)
{
    static const char *const lists[] = {LIST("5", ""), NULL};
    struct test test;

    (void)state;
    start_with(&test, lists, (struct mig_kube_watch_options){.idle_timeout_ms = 50});
    wait_for(&test, &test.watches, 3);
    assert_int_equal(test.lists, 3);
    stop(&test);
}

static void test_offline_is_told_once_and_its_end(void **state)
{
    static const char *const lists[] = {LIST("5", OBJECT("a", "1")), NULL};
    struct test test;

    (void)state;
    start_with(&test, lists, (struct mig_kube_watch_options){.offline_after_ms = 100});
    wait_for(&test, &test.watches, 1);
    kube_server_run_ms(&test.server, 200);
    assert_int_equal(test.offline, 0); /* silence is not absence */
    kube_server_close(&test.server);
    wait_for(&test, &test.offline, 1);
    assert_true(test.error.message[0]);
    kube_server_run_ms(&test.server, 300);
    assert_int_equal(test.offline, 1);
    kube_server_open(&test.server);
    wait_for(&test, &test.synced, 2);
    assert_string_equal(test.told, "+a = ! = ");
    assert_int_equal(test.lists, 1);
    stop(&test);
}

static void test_known_objects_have_a_limit(void **state)
{
    struct mig_kube_known known;
    struct mig_error error;
    json_t *old = NULL;

    (void)state;
    mig_kube_known_init(&known, 2);
    for (int i = 0; i < 3; i++) {
        MIG_AUTO_JSON json_t *object = json_pack("{s:{s:s}}", "metadata", "name",
                                                 i == 0   ? "b"
                                                 : i == 1 ? "a"
                                                          : "c");

        assert_int_equal(mig_kube_known_put(&known, object, &old, &error),
                         i < 2 ? MIG_KUBE_KNOWN_NEW : MIG_E_FAILED);
    }
    assert_string_equal(error.message, "more than 2 objects match");
    mig_kube_known_release(&known);
}

/* A list that cannot be told whole is never taken for one. */
static void test_too_many_objects_are_no_list(void **state)
{
    static char text[MIG_KUBE_WATCH_OBJECTS_MAX * 80 + 4096];
    const char *const lists[] = {text, NULL};
    size_t size = 0;
    struct test test;

    (void)state;
    size += (size_t)snprintf(text, sizeof(text),
                             "{\"metadata\":{\"resourceVersion\":\"5\"},"
                             "\"items\":[" OBJECT("x", "1"));
    for (unsigned i = 0; i < MIG_KUBE_WATCH_OBJECTS_MAX; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size,
                                 ",{\"metadata\":{\"name\":\"p%u\",\"resourceVersion\":\"1\"}}", i);
    }
    snprintf(text + size, sizeof(text) - size, "]}");
    start(&test, lists);
    wait_for(&test, &test.lists, 2);
    assert_int_equal(test.synced, 0);
    assert_int_equal(test.watches, 0);
    assert_true(test.events <= MIG_KUBE_WATCH_OBJECTS_MAX);
    stop(&test);
}

/* --- freed from its own callbacks --- */

struct freer {
    struct test test;
    unsigned at; /* the event that frees it */
};

static void on_event_free(enum mig_kube_watch_event event, json_t *object,
                          const struct mig_error *error, void *data)
{
    struct freer *freer = data;

    on_event(event, object, error, &freer->test);
    assert_true(freer->test.events <= freer->at);
    if (freer->test.events == freer->at) {
        mig_kube_watch_free(MIG_TAKE(freer->test.watch));
    }
}

static void test_freed_at_any_event(void **state)
{
    static const char *const lists[] = {LIST("5", OBJECT("a", "1") "," OBJECT("b", "1")),
                                        LIST("6", OBJECT("b", "1")), NULL};

    (void)state;
    for (unsigned at = 1; at <= 7; at++) {
        struct freer freer = {.at = at};
        struct mig_kube_watch_options options = {
            .path = "/p", .event = on_event_free, .data = &freer};
        struct test *test = &freer.test;

        *test = (struct test){.list_answers = lists, .watch_status = 200};
        kube_server_start(&test->server, handle, test);
        test->kube = kube_server_client(&test->server, NULL, NULL);
        assert_int_equal(mig_kube_watch_new(test->kube, &options, &test->watch, NULL), 0);
        if (at > 3) {
            wait_for(test, &test->watches, 1);
            kube_send(test->stream, EVENT("ADDED", OBJECT("c", "6")) "garbage\n");
        }
        wait_for(test, &test->events, at);
        kube_server_run_ms(&test->server, 20);
        stop(test);
    }
}

/* --- against a model --- */

/*
 * A server that changes objects at random and misbehaves at random; whatever it does, what the
 * watch told is what there is, once it is quiet.
 */
#define MODEL_NAMES 8

struct model {
    struct test test;
    struct mig_kube_random random;
    unsigned version, truth[MODEL_NAMES], told[MODEL_NAMES]; /* 0 = is not there */
    char log[256][160]; /* events since the start, by version */
    unsigned compacted; /* older ones are gone */
};

static void model_send(struct model *model, unsigned from)
{
    for (unsigned v = from + 1; v <= model->version && model->test.stream; v++) {
        kube_send(model->test.stream, model->log[v]);
    }
}

static void model_handle(struct kube_seen *request, void *data)
{
    struct model *model = data;
    const char *from = strstr(request->path, "resourceVersion=");
    char items[2048] = "";

    if (mig_kube_random_below(&model->random, 5) == 0) {
        kube_answer(request, 503, NULL, "{}");
        return;
    }
    if (from) {
        unsigned version = (unsigned)strtoul(from + strlen("resourceVersion="), NULL, 10);

        kube_begin(request);
        if (version < model->compacted) {
            kube_send(request, EVENT("ERROR", "{\"kind\":\"Status\",\"code\":410}"));
            kube_finish(request);
            return;
        }
        model->test.stream = request;
        model_send(model, version);
        return;
    }
    for (unsigned i = 0; i < MODEL_NAMES; i++) {
        size_t size = strlen(items);

        if (model->truth[i] > 0) {
            snprintf(items + size, sizeof(items) - size,
                     "%s{\"metadata\":{\"name\":\"%u\",\"resourceVersion\":\"%u\"}}",
                     size > 0 ? "," : "", i, model->truth[i]);
        }
    }
    kube_answer(request, 200, NULL, "{\"metadata\":{\"resourceVersion\":\"%u\"},\"items\":[%s]}",
                model->version, items);
}

static void model_event(enum mig_kube_watch_event event, json_t *object,
                        const struct mig_error *error, void *data)
{
    struct model *model = data;
    unsigned i = (unsigned)strtoul(mig_kube_metadata(object, "name"), NULL, 10) % MODEL_NAMES;
    unsigned version = (unsigned)strtoul(mig_kube_metadata(object, "resourceVersion"), NULL, 10);

    (void)error;
    switch (event) {
    case MIG_KUBE_ADDED:
        assert_int_equal(model->told[i], 0);
        model->told[i] = version;
        break;
    case MIG_KUBE_MODIFIED:
        assert_int_not_equal(model->told[i], 0);
        assert_true(version > model->told[i]);
        model->told[i] = version;
        break;
    case MIG_KUBE_DELETED:
        assert_int_not_equal(model->told[i], 0);
        model->told[i] = 0;
        break;
    case MIG_KUBE_SYNCED:
    case MIG_KUBE_OFFLINE:
        break;
    }
}

static void model_change(struct model *model)
{
    unsigned i = (unsigned)mig_kube_random_below(&model->random, MODEL_NAMES);
    bool removes = model->truth[i] > 0 && mig_kube_random_below(&model->random, 2) == 0;
    const char *type = removes ? "DELETED" : model->truth[i] > 0 ? "MODIFIED" : "ADDED";

    model->version++;
    model->truth[i] = removes ? 0 : model->version;
    snprintf(model->log[model->version], sizeof(model->log[0]),
             "{\"type\":\"%s\",\"object\":{\"metadata\":{\"name\":\"%u\",\"resourceVersion\":"
             "\"%u\"}}}\n",
             type, i, model->version);
    if (model->test.stream) {
        kube_send(model->test.stream, model->log[model->version]);
    }
}

static void model_misbehave(struct model *model)
{
    struct kube_seen *stream = model->test.stream;

    switch (mig_kube_random_below(&model->random, 12)) {
    case 0:
        kube_server_cut(&model->test.server);
        break;
    case 1:
        if (stream) {
            kube_reset(stream);
        }
        break;
    case 2:
        if (stream) {
            kube_finish(stream);
        }
        break;
    case 3:
        if (stream) {
            kube_send(stream, "}{\n");
        }
        break;
    case 4:
        model->compacted = model->version; /* the stream that there is goes on */
        return;
    default:
        return;
    }
    model->test.stream = NULL;
}

static bool model_agrees(const struct model *model)
{
    return memcmp(model->truth, model->told, sizeof(model->truth)) == 0;
}

static void test_what_is_told_is_what_there_is(void **state)
{
    const char *wish = getenv("MIGD_SEED");
    uint64_t seed = wish ? strtoull(wish, NULL, 0) : uv_hrtime();
    static struct model model;
    const struct mig_kube_watch_options options = {
        .path = "/p", .event = model_event, .data = &model};
    struct test *test = &model.test;

    (void)state;
    print_message("# MIGD_SEED=%llu\n", (unsigned long long)seed);
    memset(&model, 0, sizeof(model));
    model.random.state = seed;
    model.version = 1;
    kube_server_start(&test->server, model_handle, &model);
    test->kube = kube_server_client(&test->server, NULL, NULL);
    assert_int_equal(mig_kube_watch_new(test->kube, &options, &test->watch, NULL), 0);
    for (unsigned i = 0; i < 200; i++) {
        model_change(&model);
        model_misbehave(&model);
        kube_server_run_ms(&test->server, 5);
        if (test->server.count > KUBE_SERVER_REQUESTS_MAX - 64) {
            break;
        }
    }
    for (unsigned i = 0; i < 200 && !model_agrees(&model); i++) {
        kube_server_run_ms(&test->server, 100);
    }
    assert_memory_equal(model.truth, model.told, sizeof(model.truth));
    stop(test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages_then_events),
        cmocka_unit_test(test_resumes_where_it_ended),
        cmocka_unit_test(test_gone_lists_again_and_tells_the_difference),
        cmocka_unit_test(test_error_events_and_refusals_of_the_server),
        cmocka_unit_test(test_errors_of_the_server_without_end),
        cmocka_unit_test(test_garbage_lists_again),
        cmocka_unit_test(test_another_object_of_the_name),
        cmocka_unit_test(test_continue_token_that_ran_out),
        cmocka_unit_test(test_silence_makes_it_anew),
        cmocka_unit_test(test_offline_is_told_once_and_its_end),
        cmocka_unit_test(test_known_objects_have_a_limit),
        cmocka_unit_test(test_too_many_objects_are_no_list),
        cmocka_unit_test(test_freed_at_any_event),
        cmocka_unit_test(test_what_is_told_is_what_there_is),
    };

    return cmocka_run_group_tests_name("kube_watch", tests, NULL, NULL);
}
