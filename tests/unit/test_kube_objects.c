/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/kube's requests by kind, events and leases against a scripted API server. */
#include "base/cleanup.h"
#include "kube/event_series.h"
#include "kube/events.h"
#include "kube/json.h"
#include "kube/lease.h"
#include "kube/lease_policy.h"
#include "kube/microtime.h"
#include "kube/objects.h"
#include "kube_case.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct mig_kube_reply reply_to(struct test *test)
{
    return (struct mig_kube_reply){.done = on_done, .data = test};
}

static void wait(struct test *test)
{
    unsigned before = test->done;

    assert_true(kube_server_run(&test->server, &test->done, before + 1));
}

static const struct answer ok[] = {{200, "{}", NULL}, {0}};

static void test_what_is_sent(void **state)
{
    const struct mig_kube_pair labels[] = {{"nvidia.com/mig.config.state", "success"},
                                           {"nvidia.com/gone", NULL}};
    const struct mig_kube_pair note = {"migd.dev/mig-config-message", "\xc3\xa4 \"quoted\""};
    const struct mig_kube_metadata_patch patch = {.labels = labels,
                                                  .label_count = 2,
                                                  .annotations = &note,
                                                  .annotation_count = 1,
                                                  .resource_version = "7"};
    const struct mig_kube_pod pod = {"ns", "p", "u2", 5}, any_pod = {"ns", "p", NULL, -1};
    struct mig_kube_reply reply;
    struct kube_seen *seen;
    struct test test;

    (void)state;
    start(&test, ok);
    reply = reply_to(&test);
    seen = test.server.seen;
    assert_int_equal(mig_kube_patch_node(test.kube, "n", &patch, &reply, NULL), 0);
    wait(&test);
    assert_string_equal(seen[0].method, "PATCH");
    assert_string_equal(seen[0].path, "/api/v1/nodes/n?fieldManager=migd");
    assert_string_equal(seen[0].content_type, "application/merge-patch+json");
    assert_string_equal(seen[0].body,
                        "{\"metadata\":{\"labels\":{\"nvidia.com/mig.config.state\":\"success\","
                        "\"nvidia.com/gone\":null},\"annotations\":{\"migd.dev/mig-config-message\""
                        ":\"\xc3\xa4 \\\"quoted\\\"\"},\"resourceVersion\":\"7\"}}");

    assert_int_equal(mig_kube_delete_pod(test.kube, &pod, &reply, NULL), 0);
    wait(&test);
    assert_string_equal(seen[1].method, "DELETE");
    assert_string_equal(seen[1].path, "/api/v1/namespaces/ns/pods/p");
    assert_string_equal(seen[1].body,
                        "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\","
                        "\"gracePeriodSeconds\":5,\"preconditions\":{\"uid\":\"u2\"}}");

    assert_int_equal(mig_kube_evict_pod(test.kube, &any_pod, &reply, NULL), 0);
    wait(&test);
    assert_string_equal(seen[2].method, "POST");
    assert_string_equal(seen[2].path, "/api/v1/namespaces/ns/pods/p/eviction");
    assert_string_equal(
        seen[2].body, "{\"apiVersion\":\"policy/v1\",\"kind\":\"Eviction\",\"metadata\":{\"name\":"
                      "\"p\",\"namespace\":\"ns\"},\"deleteOptions\":{\"apiVersion\":\"v1\","
                      "\"kind\":\"DeleteOptions\"}}");
    stop(&test);
}

static void test_what_is_sent_for_other_kinds(void **state)
{
    const struct mig_kube_pair data = {"config.yaml", "version: v1"}, label = {"a", "b"};
    const struct mig_kube_owner owner = {"v1", "Pod", "me", "u1"};
    const struct mig_kube_configmap configmap = {.namespace_name = "gpu",
                                                 .name = "n-mig-config",
                                                 .data = &data,
                                                 .data_count = 1,
                                                 .labels = &label,
                                                 .label_count = 1,
                                                 .owner = &owner};
    struct mig_kube_reply reply;
    struct kube_seen *seen;
    struct test test;

    (void)state;
    start(&test, ok);
    reply = reply_to(&test);
    seen = test.server.seen;
    assert_int_equal(mig_kube_apply_configmap(test.kube, &configmap, &reply, NULL), 0);
    wait(&test);
    assert_string_equal(seen[0].method, "PATCH");
    assert_string_equal(seen[0].path, "/api/v1/namespaces/gpu/configmaps/n-mig-config"
                                      "?fieldManager=migd&force=true");
    assert_string_equal(seen[0].content_type, "application/apply-patch+yaml");
    assert_non_null(strstr(seen[0].body, "\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":"
                                         "\"Pod\",\"name\":\"me\",\"uid\":\"u1\"}]"));

    assert_int_equal(mig_kube_can(test.kube, "patch", "", "nodes", NULL, "n", &reply, NULL), 0);
    wait(&test);
    assert_non_null(strstr(seen[1].body, "\"resourceAttributes\":{\"verb\":\"patch\",\"group\":"
                                         "\"\",\"resource\":\"nodes\",\"name\":\"n\"}"));
    assert_int_equal(mig_kube_get_pod(test.kube, "ns", "p", &reply, NULL), 0);
    wait(&test);
    assert_string_equal(seen[2].path, "/api/v1/namespaces/ns/pods/p");
    assert_int_equal(test.server.count, 3);
    stop(&test);
}

/* A repetition would find its own change and take it for somebody else's. */
static void test_patch_with_a_version_is_not_repeated_blindly(void **state)
{
    static const struct answer answers[] = {{500, "{}", NULL}, {200, "{}", NULL}, {0}};
    const char *const versions[] = {"7", NULL};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(versions); i++) {
        const struct mig_kube_metadata_patch patch = {.resource_version = versions[i]};
        struct mig_kube_reply reply;
        struct test test;

        start(&test, answers);
        reply = reply_to(&test);
        assert_int_equal(mig_kube_patch_node(test.kube, "n", &patch, &reply, NULL), 0);
        wait(&test);
        assert_int_equal(test.status, versions[i] ? 500 : 200);
        stop(&test);
    }
}

static void test_bad_names_are_not_sent(void **state)
{
    const struct mig_kube_pod pod = {"..", "p", NULL, -1};
    const struct mig_kube_pair label = {"a", "\xff"};
    const struct mig_kube_metadata_patch patch = {.labels = &label, .label_count = 1};
    struct mig_kube_reply reply;
    struct mig_error error;
    struct test test;

    (void)state;
    start(&test, ok);
    reply = reply_to(&test);
    assert_int_equal(mig_kube_get_node(test.kube, "../secrets", &reply, &error), MIG_E_USAGE);
    assert_int_equal(mig_kube_delete_pod(test.kube, &pod, &reply, &error), MIG_E_USAGE);
    assert_int_equal(mig_kube_evict_pod(test.kube, &pod, &reply, &error), MIG_E_USAGE);
    assert_int_equal(mig_kube_get_configmap(test.kube, "a", "", &reply, &error), MIG_E_USAGE);
    assert_int_equal(mig_kube_patch_node(test.kube, "n", &patch, &reply, &error), MIG_E_USAGE);
    assert_non_null(strstr(error.message, "UTF-8"));
    kube_server_run_ms(&test.server, 20);
    assert_int_equal(test.server.count, 0);
    stop(&test);
}

static void test_what_evictions_mean(void **state)
{
    static const struct {
        int status;
        const char *body;
        enum mig_kube_eviction eviction;
    } cases[] = {
        {201, "{\"kind\":\"Status\",\"status\":\"Success\"}", MIG_KUBE_EVICTED},
        {404, "{}", MIG_KUBE_EVICTION_GONE},
        {409,
         "{\"message\":\"Operation cannot be fulfilled on pods \\\"p\\\": Precondition failed: UID "
         "in precondition: a, UID in object meta: b\"}",
         MIG_KUBE_EVICTION_GONE},
        {409, "{\"message\":\"the object has been modified\"}", MIG_KUBE_EVICTION_FAILED},
        {429, "{\"kind\":\"Status\",\"details\":{\"causes\":[{\"reason\":\"DisruptionBudget\"}]}}",
         MIG_KUBE_EVICTION_BLOCKED},
        {429, "{\"kind\":\"Status\"}", MIG_KUBE_EVICTION_FAILED},
        {500, "{}", MIG_KUBE_EVICTION_FAILED},
        {0, "{}", MIG_KUBE_EVICTION_FAILED},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        MIG_AUTO_JSON json_t *object = json_loads(cases[i].body, 0, NULL);

        assert_non_null(object);
        assert_int_equal(mig_kube_eviction_of(cases[i].status, object), cases[i].eviction);
    }
}

/* --- taints --- */

static void test_taints_patch(void **state)
{
    static const struct {
        const char *taints, *add_value, *remove_key, *expected; /* add_value NULL = none */
    } cases[] = {
        {"[]", "x", NULL, "[{\"key\":\"k\",\"value\":\"x\",\"effect\":\"NoSchedule\"}]"},
        {"[{\"key\":\"k\",\"value\":\"x\",\"effect\":\"NoSchedule\"}]", "x", NULL, NULL},
        {"[{\"key\":\"k\",\"value\":\"y\",\"effect\":\"NoSchedule\"},{\"key\":\"o\"}]", "x", NULL,
         "[{\"key\":\"o\"},{\"key\":\"k\",\"value\":\"x\",\"effect\":\"NoSchedule\"}]"},
        {"[{\"key\":\"k\",\"effect\":\"NoExecute\"}]", "", NULL,
         "[{\"key\":\"k\",\"effect\":\"NoExecute\"},"
         "{\"key\":\"k\",\"value\":\"\",\"effect\":\"NoSchedule\"}]"},
        {"[{\"key\":\"k\",\"effect\":\"A\"},{\"key\":\"o\",\"timeAdded\":\"t\"},"
         "{\"key\":\"k\",\"effect\":\"B\"}]",
         NULL, "k", "[{\"key\":\"o\",\"timeAdded\":\"t\"}]"},
        {"[{\"key\":\"o\"}]", NULL, "k", NULL},
        {"null", NULL, "k", NULL},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        const struct mig_kube_taint add = {"k", cases[i].add_value, "NoSchedule"};
        MIG_AUTO_JSON json_t *taints = json_loads(cases[i].taints, JSON_DECODE_ANY, NULL);
        MIG_AUTO_JSON json_t *node = json_pack("{s:{s:s}, s:{s:O}}", "metadata", "resourceVersion",
                                               "3", "spec", "taints", taints);
        MIG_AUTO_JSON json_t *patch = NULL;

        assert_int_equal(mig_kube_taints_patch(node, cases[i].add_value ? &add : NULL,
                                               cases[i].remove_key, &patch, NULL),
                         0);
        assert_int_equal(patch != NULL, cases[i].expected != NULL);
        if (patch) {
            MIG_AUTO_JSON json_t *expected = json_loads(cases[i].expected, 0, NULL);

            assert_true(json_equal(expected, mig_kube_json_member(patch, "spec", "taints", NULL)));
            assert_string_equal(mig_kube_metadata(patch, "resourceVersion"), "3");
        }
    }
}

static void test_taint_when_somebody_else_was_first(void **state)
{
    static const struct answer answers[] = {
        {200, "{\"metadata\":{\"resourceVersion\":\"3\"},\"spec\":{}}", NULL},
        {409, "{\"kind\":\"Status\",\"reason\":\"Conflict\"}", NULL},
        {200, "{\"metadata\":{\"resourceVersion\":\"4\"},\"spec\":{\"taints\":[{\"key\":\"o\"}]}}",
         NULL},
        {200, "{\"metadata\":{\"resourceVersion\":\"5\"}}", NULL},
        {0}};
    const struct mig_kube_taint taint = {"migd.dev/starting", "", "NoSchedule"};
    struct mig_kube_taint_change *change;
    struct mig_kube_reply reply;
    struct test test;

    (void)state;
    start(&test, answers);
    reply = reply_to(&test);
    assert_int_equal(mig_kube_taint_node(test.kube, "n", &taint, NULL, &reply, NULL, NULL), 0);
    wait(&test);
    assert_int_equal(test.status, 200);
    assert_string_equal(mig_kube_metadata(test.object, "resourceVersion"), "5");
    assert_string_equal(test.server.seen[3].body,
                        "{\"metadata\":{\"resourceVersion\":\"4\"},\"spec\":{\"taints\":[{\"key\":"
                        "\"o\"},{\"key\":\"migd.dev/starting\",\"value\":\"\",\"effect\":"
                        "\"NoSchedule\"}]}}");
    assert_int_equal(mig_kube_taint_node(test.kube, "n", NULL, "k", &reply, &change, NULL), 0);
    mig_kube_taint_cancel(change);
    assert_int_equal(mig_kube_taint_node(test.kube, "n", NULL, "k", &reply, NULL, NULL), 0);
    stop(&test); /* what is under way goes with the client */
}

/* --- events --- */

static const struct mig_kube_regarding node = {"v1", "Node", NULL, "n", "n"};

static void test_series_are_counted(void **state)
{
    static struct mig_kube_event_table table;
    struct mig_kube_series *series, *again;
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(mig_kube_event_decide(&table, "a", "o", 1000, &series), MIG_KUBE_EVENT_NEW);
    assert_int_equal(mig_kube_event_decide(&table, "a", "o", 1500, &again), MIG_KUBE_EVENT_AGAIN);
    assert_ptr_equal(series, again);
    assert_null(mig_kube_event_due(&table, 100000, &wait_ms)); /* the event is not there yet */
    series->live = true;
    assert_null(mig_kube_event_due(&table, 2000, &wait_ms));
    assert_int_equal(wait_ms, 9000);
    assert_ptr_equal(mig_kube_event_due(&table, 11000, &wait_ms), series);
    assert_int_equal(series->count, 2);
    assert_null(mig_kube_event_due(&table, 30000, &wait_ms));
    assert_true(wait_ms == UINT64_MAX);
    /* after the window it is a new one */
    assert_int_equal(
        mig_kube_event_decide(&table, "a", "o", 1500 + MIG_KUBE_SERIES_WINDOW_MS, &again),
        MIG_KUBE_EVENT_NEW);
    assert_int_equal(again->count, 1);
}

static void test_too_many_events_are_dropped(void **state)
{
    static struct mig_kube_event_table table;
    struct mig_kube_series *series;
    char key[16];

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(mig_kube_event_decide(&table, key, "o", i, &series),
                         i < MIG_KUBE_EVENTS_PER_WINDOW ? MIG_KUBE_EVENT_NEW : MIG_KUBE_EVENT_DROP);
    }
    assert_int_equal(mig_kube_event_decide(&table, "k0", "o", 100, &series), MIG_KUBE_EVENT_AGAIN);
    assert_int_equal(mig_kube_event_decide(&table, "x", "other", 100, &series), MIG_KUBE_EVENT_NEW);
    assert_int_equal(table.dropped, 75);
    assert_int_equal(mig_kube_event_decide(&table, "y", "o", MIG_KUBE_SERIES_WINDOW_MS, &series),
                     MIG_KUBE_EVENT_NEW);
    /* more objects and series than there is room for */
    for (unsigned i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "z%u", i);
        assert_int_equal(mig_kube_event_decide(&table, key, key, 700000 + i, &series),
                         MIG_KUBE_EVENT_NEW);
        assert_string_equal(series->key, key);
    }
}

static void test_events_are_written(void **state)
{
    static const struct answer answers[] = {{201, "{}", NULL}, {0}};
    const struct mig_kube_recorder_options options = {"migd", "n"};
    struct mig_kube_recorder *recorder;
    MIG_AUTO_JSON json_t *event = NULL;
    char note[2 * MIG_KUBE_NOTE_MAX];
    struct test test;

    (void)state;
    memset(note, 'x', sizeof(note));
    memcpy(note + MIG_KUBE_NOTE_MAX - 2, "\xc3\xa4", 2); /* cut in the middle of it */
    note[sizeof(note) - 1] = '\0';
    start(&test, answers);
    assert_int_equal(mig_kube_recorder_new(test.kube, &options, &recorder, NULL), 0);
    mig_kube_record(recorder, &node, true, "MigConfigFailed", "Reconfigure", note);
    mig_kube_record(recorder, &node, true, "MigConfigFailed", "Reconfigure", note);
    assert_true(kube_server_run(&test.server, &test.server.count, 1));
    kube_server_run_ms(&test.server, 50);
    assert_int_equal(test.server.count, 1); /* the count is written later */
    assert_string_equal(test.server.seen[0].method, "POST");
    assert_string_equal(test.server.seen[0].path,
                        "/apis/events.k8s.io/v1/namespaces/default/events");
    event = json_loads(test.server.seen[0].body, 0, NULL);
    assert_non_null(event);
    assert_string_equal(mig_kube_json_text(event, "regarding", "kind", NULL), "Node");
    assert_string_equal(mig_kube_json_text(event, "type", NULL), "Warning");
    assert_string_equal(mig_kube_json_text(event, "reportingController", NULL), "migd");
    assert_int_equal(strlen(mig_kube_json_text(event, "note", NULL)), MIG_KUBE_NOTE_MAX - 2);
    mig_kube_record(recorder, &node, false, "Other", "Reconfigure", "x");
    mig_kube_recorder_free(recorder); /* with a request under way */
    stop(&test);
}

static void test_microtime(void **state)
{
    char text[MIG_KUBE_MICROTIME_SIZE];

    (void)state;
    mig_kube_microtime(1767225599000042u, text);
    assert_string_equal(text, "2025-12-31T23:59:59.000042Z");
}

/* --- leases --- */

static json_t *lease(const char *holder, const char *renewed)
{
    return json_pack("{s:{s:s}, s:{s:s, s:s, s:i, s:i}}", "metadata", "resourceVersion", "9",
                     "spec", "holderIdentity", holder, "renewTime", renewed, "leaseDurationSeconds",
                     10, "leaseTransitions", 3);
}

static void test_lease_is_decided_by_our_own_clock(void **state)
{
    struct mig_kube_lease_state mine = {.duration_ms = 15000};
    MIG_AUTO_JSON json_t *first = lease("other", "1970-01-01T00:00:00Z");
    MIG_AUTO_JSON json_t *renewed = lease("other", "2099-01-01T00:00:00Z");
    MIG_AUTO_JSON json_t *free_lease = lease("", "2099-01-01T00:00:00Z");
    MIG_AUTO_JSON json_t *ours = lease("me", "x");

    (void)state;
    assert_int_equal(mig_kube_lease_decide(&mine, NULL, "me", 1000), MIG_KUBE_LEASE_CREATE);
    /* an old time says nothing, the clock over there may be wrong */
    assert_int_equal(mig_kube_lease_decide(&mine, first, "me", 2000), MIG_KUBE_LEASE_WAIT);
    assert_int_equal(mig_kube_lease_decide(&mine, first, "me", 11999), MIG_KUBE_LEASE_WAIT);
    assert_int_equal(mig_kube_lease_decide(&mine, renewed, "me", 11999), MIG_KUBE_LEASE_WAIT);
    assert_int_equal(mig_kube_lease_decide(&mine, renewed, "me", 21998), MIG_KUBE_LEASE_WAIT);
    assert_int_equal(mig_kube_lease_decide(&mine, renewed, "me", 21999), MIG_KUBE_LEASE_TAKE);
    assert_int_equal(mig_kube_lease_decide(&mine, free_lease, "me", 22000), MIG_KUBE_LEASE_TAKE);
    assert_int_equal(mig_kube_lease_decide(&mine, ours, "me", 22000), MIG_KUBE_LEASE_RENEW);

    mig_kube_lease_won(&mine, 22000);
    assert_true(mig_kube_lease_holds(&mine, 36999));
    assert_false(mig_kube_lease_holds(&mine, 37000));
    mig_kube_lease_won(&mine, 40000);
    assert_int_equal(mig_kube_lease_decide(&mine, renewed, "me", 41000), MIG_KUBE_LEASE_WAIT);
    assert_false(mig_kube_lease_holds(&mine, 41001));
}

static void test_lease_objects(void **state)
{
    MIG_AUTO_JSON json_t *other = lease("other", "x");
    MIG_AUTO_JSON json_t *taken =
        mig_kube_lease_object(other, "ns", "l", "me", 15000, "2026-01-01T00:00:00.000000Z");
    MIG_AUTO_JSON json_t *ended = mig_kube_lease_object(taken, "ns", "l", "", 15000, "t");
    MIG_AUTO_JSON json_t *fresh = mig_kube_lease_object(NULL, "ns", "l", "me", 15000, "t");

    (void)state;
    assert_string_equal(mig_kube_metadata(taken, "resourceVersion"), "9");
    assert_string_equal(mig_kube_json_text(taken, "spec", "holderIdentity", NULL), "me");
    assert_int_equal(
        json_integer_value(mig_kube_json_member(taken, "spec", "leaseTransitions", NULL)), 4);
    assert_string_equal(mig_kube_json_text(ended, "spec", "acquireTime", NULL),
                        "2026-01-01T00:00:00.000000Z");
    assert_string_equal(mig_kube_json_text(ended, "spec", "holderIdentity", NULL), "");
    assert_null(mig_kube_json_member(fresh, "metadata", "resourceVersion", NULL));
    assert_int_equal(
        json_integer_value(mig_kube_json_member(fresh, "spec", "leaseTransitions", NULL)), 0);
}

/* A server that keeps one lease. */
struct leases {
    struct kube_server server;
    json_t *object;
    unsigned version, conflicts, changes;
    bool held[2];
};

static void handle_lease(struct kube_seen *request, void *data)
{
    struct leases *leases = data;
    json_t *written;
    char version[16];

    if (strcmp(request->method, "GET") == 0) {
        char *text = leases->object ? json_dumps(leases->object, 0) : NULL;

        kube_answer(request, text ? 200 : 404, NULL, "%s", text ? text : "{}");
        free(text);
        return;
    }
    written = json_loads(request->body, 0, NULL);
    assert_non_null(written);
    if ((strcmp(request->method, "POST") == 0) != !leases->object ||
        strcmp(mig_kube_metadata(written, "resourceVersion"),
               mig_kube_metadata(leases->object, "resourceVersion")) != 0) {
        leases->conflicts++;
        json_decref(written);
        kube_answer(request, 409, NULL, "{}");
        return;
    }
    snprintf(version, sizeof(version), "%u", ++leases->version);
    json_object_set_new(json_object_get(written, "metadata"), "resourceVersion",
                        json_string(version));
    json_decref(leases->object);
    leases->object = written;
    kube_answer(request, 200, NULL,
                "{\"metadata\":{\"resourceVersion\":\"%s\"},\"spec\":{"
                "\"holderIdentity\":\"%s\"}}",
                version, mig_kube_json_text(written, "spec", "holderIdentity", NULL));
}

static struct leases *all_leases;

static void on_changed(bool held, const char *holder, void *data)
{
    unsigned index = *(unsigned *)data;

    (void)holder;
    all_leases->held[index] = held;
    all_leases->changes += held;
    assert_false(all_leases->held[0] && all_leases->held[1]);
}

static void test_one_of_two_holds_a_lease(void **state)
{
    static struct leases leases;
    unsigned indexes[] = {0, 1};
    struct mig_kube *kubes[2];
    struct mig_kube_lease *held[2];

    (void)state;
    all_leases = &leases;
    kube_server_start(&leases.server, handle_lease, &leases);
    for (unsigned i = 0; i < 2; i++) {
        const struct mig_kube_lease_options options = {.namespace_name = "ns",
                                                       .name = "l",
                                                       .identity = i ? "second" : "first",
                                                       .duration_ms = 1000,
                                                       .renew_ms = 100,
                                                       .changed = on_changed,
                                                       .data = &indexes[i]};

        kubes[i] = kube_server_client(&leases.server, NULL, NULL);
        assert_int_equal(mig_kube_lease_new(kubes[i], &options, &held[i], NULL), 0);
    }
    assert_true(kube_server_run(&leases.server, &leases.changes, 1));
    kube_server_run_ms(&leases.server, 400);
    assert_int_equal(leases.held[0] + leases.held[1], 1);
    {
        unsigned winner = leases.held[1];

        leases.held[winner] = false;       /* it is not told about its own end */
        mig_kube_lease_free(held[winner]); /* gives it back: the other one does not wait */
        assert_true(kube_server_run(&leases.server, &leases.changes, 2));
        assert_true(leases.held[!winner]);
        mig_kube_lease_free(held[!winner]);
    }
    kube_server_run_ms(&leases.server, 50);
    assert_string_equal(mig_kube_json_text(leases.object, "spec", "holderIdentity", NULL), "");
    mig_kube_free(kubes[0]);
    mig_kube_free(kubes[1]);
    kube_server_stop(&leases.server);
    json_decref(leases.object);
}

/* --- lists --- */

static void on_item(json_t *object, void *data)
{
    (void)object;
    ++*(unsigned *)data;
}

static void on_listed(int status, const char *version, const struct mig_error *error, void *data)
{
    (void)status;
    (void)version;
    (void)error;
    ++*(unsigned *)data;
}

struct listed {
    unsigned items, restarts, done;
    int status;
    char version[16];
};

static void on_listed_item(json_t *object, void *data)
{
    (void)object;
    ((struct listed *)data)->items++;
}

static void on_restart(void *data)
{
    struct listed *listed = data;

    listed->restarts++;
    listed->items = 0;
}

static void on_list_done(int status, const char *version, const struct mig_error *error, void *data)
{
    struct listed *listed = data;

    (void)error;
    listed->done++;
    listed->status = status;
    snprintf(listed->version, sizeof(listed->version), "%s", version);
}

static void test_list_begins_again_and_at_last_without_pages(void **state)
{
    static const struct answer answers[] = {
        {200, "{\"items\":[{},{}],\"metadata\":{\"continue\":\"x\"}}", NULL},
        {410, "{}", NULL},
        {200, "{\"items\":[{}],\"metadata\":{\"continue\":\"y\"}}", NULL},
        {410, "{}", NULL},
        {200, "{\"items\":[{}],\"metadata\":{\"continue\":\"z\"}}", NULL},
        {410, "{}", NULL},
        {200, "{\"items\":[{},{},{}],\"metadata\":{\"resourceVersion\":\"9\"}}", NULL},
        {0}};
    struct listed listed = {.items = 0};
    const struct mig_kube_list_options options = {.path = "/api/v1/pods",
                                                  .item = on_listed_item,
                                                  .restart = on_restart,
                                                  .done = on_list_done,
                                                  .data = &listed};
    struct test test;

    (void)state;
    start(&test, answers);
    assert_int_equal(mig_kube_list(test.kube, &options, NULL, NULL), 0);
    assert_true(kube_server_run(&test.server, &listed.done, 1));
    assert_int_equal(listed.status, 200);
    assert_int_equal(listed.items, 3);
    assert_int_equal(listed.restarts, 3);
    assert_string_equal(listed.version, "9");
    assert_string_equal(test.server.seen[6].path, "/api/v1/pods");
    stop(&test);
}

static void test_lists_can_be_cancelled_and_freed(void **state)
{
    static const struct answer answers[] = {
        {200, "{\"items\":[{},{}],\"metadata\":{\"continue\":\"x\"}}", NULL}, {0}};
    unsigned heard = 0;
    const struct mig_kube_list_options options = {
        .path = "/api/v1/pods", .item = on_item, .done = on_listed, .data = &heard};
    struct mig_kube_list *list;
    struct test test;

    (void)state;
    start(&test, answers);
    assert_int_equal(mig_kube_list(test.kube, &options, &list, NULL), 0);
    assert_true(kube_server_run(&test.server, &heard, 4));
    mig_kube_list_cancel(list);
    heard = 0;
    kube_server_run_ms(&test.server, 20);
    assert_int_equal(heard, 0);
    assert_int_equal(mig_kube_list(test.kube, &options, NULL, NULL), 0);
    stop(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_sent),
        cmocka_unit_test(test_what_is_sent_for_other_kinds),
        cmocka_unit_test(test_patch_with_a_version_is_not_repeated_blindly),
        cmocka_unit_test(test_bad_names_are_not_sent),
        cmocka_unit_test(test_what_evictions_mean),
        cmocka_unit_test(test_taints_patch),
        cmocka_unit_test(test_taint_when_somebody_else_was_first),
        cmocka_unit_test(test_series_are_counted),
        cmocka_unit_test(test_too_many_events_are_dropped),
        cmocka_unit_test(test_events_are_written),
        cmocka_unit_test(test_microtime),
        cmocka_unit_test(test_lease_is_decided_by_our_own_clock),
        cmocka_unit_test(test_lease_objects),
        cmocka_unit_test(test_one_of_two_holds_a_lease),
        cmocka_unit_test(test_list_begins_again_and_at_last_without_pages),
        cmocka_unit_test(test_lists_can_be_cancelled_and_freed),
    };

    return cmocka_run_group_tests_name("kube_objects", tests, NULL, NULL);
}
