/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/kube's pure parts: backoff, token bucket, retry classes, paths, JSON, lines. */
#include "kube/json.h"
#include "kube/lines.h"
#include "kube/path.h"
#include "kube/policy.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_backoff_doubles_with_jitter(void **state)
{
    struct mig_kube_backoff backoff = {.first_ms = 100, .max_ms = 3000};
    struct mig_kube_random random = {1}, again = {1};
    unsigned limit_ms = 100;

    (void)state;
    for (int i = 0; i < 100; i++) {
        unsigned delay_ms = mig_kube_backoff_next(&backoff, &random);

        assert_in_range(delay_ms, limit_ms / 2, limit_ms);
        limit_ms = limit_ms * 2 > 3000 ? 3000 : limit_ms * 2;
    }
    mig_kube_backoff_reset(&backoff);
    assert_in_range(mig_kube_backoff_next(&backoff, &random), 50, 100);
    assert_int_equal(mig_kube_random_below(&again, 1000000), /* the seed decides */
                     mig_kube_random_below(&(struct mig_kube_random){1}, 1000000));
    assert_int_equal(mig_kube_random_below(&again, 0), 0);
}

/* Those who were told the same time do not come back at the same time, nor before it. */
static void test_what_the_server_asks_for_has_jitter(void **state)
{
    struct mig_kube_backoff backoff = {.first_ms = 200, .max_ms = 400};
    struct mig_kube_random random = {.state = 1};
    unsigned first = mig_kube_backoff_after(&backoff, 8000, &random), others = 0;

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        unsigned delay_ms = mig_kube_backoff_after(&backoff, 8000, &random);

        assert_in_range(delay_ms, 8000, 10000);
        others += delay_ms != first;
    }
    assert_true(others > 90);
    backoff.first_ms = backoff.max_ms = 20000;
    assert_in_range(mig_kube_backoff_after(&backoff, 8000, &random), 10000, 20000);
    mig_kube_backoff_reset(&backoff);
    assert_in_range(mig_kube_backoff_after(&backoff, 0, &random), 10000, 20000);
    assert_in_range(mig_kube_backoff_after(&backoff, UINT32_MAX / 2, &random), UINT32_MAX / 2,
                    UINT32_MAX);
}

static void test_bucket_holds_the_rate(void **state)
{
    struct mig_kube_bucket bucket;
    uint64_t now_ms = 1000;
    unsigned taken = 0;

    (void)state;
    mig_kube_bucket_init(&bucket, 5, 10, now_ms);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(mig_kube_bucket_take(&bucket, now_ms), 0);
    }
    assert_int_equal(mig_kube_bucket_take(&bucket, now_ms), 200);
    assert_int_equal(mig_kube_bucket_take(&bucket, now_ms + 150), 50);
    for (; now_ms < 101000; now_ms++) {
        taken += mig_kube_bucket_take(&bucket, now_ms) == 0;
    }
    assert_in_range(taken, 499, 500);
    /* clocks that jump */
    assert_int_not_equal(mig_kube_bucket_take(&bucket, 5), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(mig_kube_bucket_take(&bucket, UINT64_MAX), 0);
    }
    assert_int_not_equal(mig_kube_bucket_take(&bucket, UINT64_MAX), 0);
}

static void test_retry_classes(void **state)
{
    static const struct {
        struct mig_kube_outcome outcome;
        bool safe, always;
    } cases[] = {
        {{.status = 0, .sent = false}, true, true},
        {{.status = 0, .sent = true}, false, true},
        {{.status = 429}, true, true},
        {{.status = 503}, true, true},
        {{.status = 504}, true, true},
        {{.status = 500}, false, true},
        {{.status = 429, .final = true}, false, false},
        {{.status = 409}, false, false},
        {{.status = 200}, false, false},
        {{.status = 404}, false, false},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_false(mig_kube_retry_wanted(MIG_KUBE_RETRY_NONE, &cases[i].outcome));
        assert_int_equal(mig_kube_retry_wanted(MIG_KUBE_RETRY_SAFE, &cases[i].outcome),
                         cases[i].safe);
        assert_int_equal(mig_kube_retry_wanted(MIG_KUBE_RETRY_ALWAYS, &cases[i].outcome),
                         cases[i].always);
    }
    assert_int_equal(mig_kube_retry_after_ms("2"), 2000);
    assert_int_equal(mig_kube_retry_after_ms("86400"), MIG_KUBE_RETRY_AFTER_MAX_MS);
    assert_int_equal(mig_kube_retry_after_ms("99999999999999999999"), 0);
    assert_int_equal(mig_kube_retry_after_ms("Wed, 21 Oct 2026 07:28:00 GMT"), 0);
    assert_int_equal(mig_kube_retry_after_ms(NULL), 0);
}

static void test_paths_are_escaped(void **state)
{
    struct mig_kube_path path;
    struct mig_error error;

    (void)state;
    mig_kube_path_init(&path, "/api/v1");
    mig_kube_path_resource(&path, "my ns", "pods");
    mig_kube_path_name(&path, "a?b#c\xc3\xa4");
    mig_kube_path_query(&path, "labelSelector", "a in (b,c),d=e&f");
    mig_kube_path_query(&path, "absent", NULL);
    mig_kube_path_query_number(&path, "limit", 100);
    assert_string_equal(mig_kube_path_text(&path, &error),
                        "/api/v1/namespaces/my%20ns/pods/a%3Fb%23c%C3%A4"
                        "?labelSelector=a%20in%20%28b%2Cc%29%2Cd%3De%26f&limit=100");
    mig_kube_path_release(&path);
}

static void test_names_that_lead_elsewhere_are_refused(void **state)
{
    static const char *const names[] = {"", ".", "..", "a/b", "../secrets", "a%2fb"};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        struct mig_kube_path path;
        struct mig_error error;

        mig_kube_path_init(&path, "/api/v1");
        mig_kube_path_resource(&path, NULL, "nodes");
        mig_kube_path_name(&path, names[i]);
        mig_kube_path_name(&path, "status");
        assert_null(mig_kube_path_text(&path, &error));
        assert_non_null(strstr(error.message, names[i]));
        mig_kube_path_release(&path);
    }
}

static void test_json_has_limits(void **state)
{
    static char deep[2 * MIG_KUBE_JSON_DEPTH_MAX + 2], many[3 * MIG_KUBE_JSON_VALUES_MAX];
    struct mig_error error;
    json_t *value = NULL;

    (void)state;
    memset(deep, '[', MIG_KUBE_JSON_DEPTH_MAX + 1);
    memset(deep + MIG_KUBE_JSON_DEPTH_MAX + 1, ']', MIG_KUBE_JSON_DEPTH_MAX + 1);
    assert_int_not_equal(mig_kube_json_parse(deep, sizeof(deep), &value, &error), 0);
    assert_non_null(strstr(error.message, "deeper"));
    assert_int_equal(mig_kube_json_parse(deep + 1, sizeof(deep) - 2, &value, &error), 0);
    json_decref(value);
    for (size_t i = 0; i < sizeof(many); i += 3) {
        many[i] = i > 0 ? ',' : '[';
        many[i + 1] = '[';
        many[i + 2] = ']';
    }
    assert_int_not_equal(mig_kube_json_parse(many, sizeof(many), &value, &error), 0);
    assert_non_null(strstr(error.message, "more than"));
    /* what is inside texts does not count */
    memset(many, ',', sizeof(many));
    many[0] = '[';
    many[1] = '"';
    many[2] = '\\';
    many[3] = '"';
    many[sizeof(many) - 2] = '"';
    many[sizeof(many) - 1] = ']';
    assert_int_equal(mig_kube_json_parse(many, sizeof(many), &value, &error), 0);
    json_decref(value);
    assert_int_not_equal(mig_kube_json_parse("{\"a\":", 5, &value, &error), 0);
    assert_int_not_equal(mig_kube_json_parse("", 0, &value, &error), 0);
    assert_int_not_equal(mig_kube_json_parse("\"\\", 2, &value, &error), 0);
}

static void test_json_getters_take_anything(void **state)
{
    static const char text[] = "{\"metadata\":{\"name\":\"n\",\"labels\":{\"a.b/c\":\"v\"},"
                               "\"annotations\":[1]},\"spec\":3}";
    MIG_AUTO_JSON json_t *object = NULL;

    (void)state;
    assert_int_equal(mig_kube_json_parse(text, strlen(text), &object, NULL), 0);
    assert_string_equal(mig_kube_metadata(object, "name"), "n");
    assert_string_equal(mig_kube_metadata(object, "labels"), "");
    assert_string_equal(mig_kube_label(object, "a.b/c"), "v");
    assert_null(mig_kube_label(object, "absent"));
    assert_null(mig_kube_annotation(object, "a"));
    assert_string_equal(mig_kube_json_text(object, "spec", "deeper", NULL), "");
    assert_string_equal(mig_kube_json_text(NULL, "spec", NULL), "");
    assert_int_equal(json_integer_value(mig_kube_json_member(object, "spec", NULL)), 3);
}

/* --- lines --- */

struct heard {
    char text[256];
    unsigned count, stop_after;
};

static bool hear(const char *line, size_t size, void *data)
{
    struct heard *heard = data;
    size_t length = strlen(heard->text);

    snprintf(heard->text + length, sizeof(heard->text) - length, "<%.*s>", (int)size, line);
    return ++heard->count != heard->stop_after;
}

static void test_lines_in_any_pieces(void **state)
{
    static const char text[] = "one\ntwo\r\n\n\nthree\nrest";

    (void)state;
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        struct heard heard = {.count = 0};
        struct mig_kube_lines lines;

        mig_kube_lines_init(&lines, 16);
        for (size_t i = 0; i < sizeof(text) - 1; i += piece) {
            size_t left = sizeof(text) - 1 - i;

            assert_int_equal(mig_kube_lines_feed(&lines, text + i, left < piece ? left : piece,
                                                 hear, &heard, NULL),
                             0);
        }
        assert_string_equal(heard.text, "<one><two><three>");
        mig_kube_lines_reset(&lines);
        assert_int_equal(mig_kube_lines_feed(&lines, "x\n", 2, hear, &heard, NULL), 0);
        assert_string_equal(heard.text, "<one><two><three><x>");
        mig_kube_lines_release(&lines);
    }
}

static void test_lines_stop_and_have_a_limit(void **state)
{
    struct heard heard = {.stop_after = 1};
    struct mig_kube_lines lines;
    struct mig_error error;

    (void)state;
    mig_kube_lines_init(&lines, 8);
    assert_int_equal(mig_kube_lines_feed(&lines, "a\nb\n", 4, hear, &heard, &error), 0);
    assert_string_equal(heard.text, "<a>");
    assert_int_equal(mig_kube_lines_feed(&lines, "12345678\n", 9, hear, &heard, &error), 0);
    assert_int_equal(heard.count, 2);
    assert_int_not_equal(mig_kube_lines_feed(&lines, "123456789\n", 10, hear, &heard, &error), 0);
    assert_non_null(strstr(error.message, "larger than the limit of 8 bytes"));
    assert_int_equal(mig_kube_lines_feed(&lines, "12345", 5, hear, &heard, &error), 0);
    assert_int_not_equal(mig_kube_lines_feed(&lines, "6789", 4, hear, &heard, &error), 0);
    mig_kube_lines_release(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff_doubles_with_jitter),
        cmocka_unit_test(test_what_the_server_asks_for_has_jitter),
        cmocka_unit_test(test_bucket_holds_the_rate),
        cmocka_unit_test(test_retry_classes),
        cmocka_unit_test(test_paths_are_escaped),
        cmocka_unit_test(test_names_that_lead_elsewhere_are_refused),
        cmocka_unit_test(test_json_has_limits),
        cmocka_unit_test(test_json_getters_take_anything),
        cmocka_unit_test(test_lines_in_any_pieces),
        cmocka_unit_test(test_lines_stop_and_have_a_limit),
    };

    return cmocka_run_group_tests_name("kube_policy", tests, NULL, NULL);
}
