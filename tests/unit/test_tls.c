/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of src/net/tls.c and transport.c: our client through TLS to our server, and to servers that
 * are not who they should be.
 */
#include "base/cleanup.h"
#include "net/tls.h"
#include "net_support.h"
#include "tls_support.h"
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* Certificates that all tests share: making keys takes time. */
static struct {
    struct identity authority, server;
    char *ca;
} shared;

static int make_shared(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN); /* of the relay; ours is tested by the others */
    shared.authority = identity_make(
        &(struct identity_options){.common_name = "test authority", .authority = true}, NULL);
    shared.server = identity_make(&(struct identity_options){.common_name = "server",
                                                             .names = "DNS:localhost,DNS:api."
                                                                      "example,IP:127.0.0.1"},
                                  &shared.authority);
    shared.ca = identity_certificate(&shared.authority);
    return 0;
}

static int release_shared(void **state)
{
    (void)state;
    identity_release(&shared.authority);
    identity_release(&shared.server);
    free(shared.ca);
    return 0;
}

/* ---- one request through TLS ---------------------------------------------------------------- */

static size_t echo_body(struct mig_h2_stream *stream, const void *bytes, size_t size, void *data)
{
    struct mig_error error;

    (void)data;
    assert_int_equal(mig_h2_stream_write(stream, bytes, size, &error), 0);
    return size;
}

static void echo_end(struct mig_h2_stream *stream, void *data)
{
    struct mig_error error;

    (void)data;
    assert_int_equal(mig_h2_stream_finish(stream, NULL, 0, &error), 0);
}

static const struct mig_h2_events echo_events = {.body = echo_body, .body_end = echo_end};

static const struct mig_h2_events *echo(struct mig_h2_stream *stream, const char *method,
                                        const char *path, const struct mig_h2_header *headers,
                                        size_t count, void **ret_data, void *data)
{
    struct mig_error error;

    (void)method;
    (void)path;
    (void)headers;
    (void)count;
    (void)ret_data;
    (void)data;
    assert_int_equal(mig_h2_stream_respond(stream, 200, NULL, 0, &error), 0);
    return &echo_events;
}

struct attempt {
    struct mig_tls_options tls;
    struct relay_options relay;
    const char *host;
    size_t body_size; /* 0 = 5 */
    unsigned timeout_ms;
    char asked_name[64]; /* that the server was asked for */
    struct exchange exchange;
};

/* Makes the request; what became of it is in attempt->exchange. */
static void attempt_run(void **state, struct attempt *attempt)
{
    struct net *net = *state;
    size_t size = attempt->body_size ? attempt->body_size : 5;
    char *body = calloc(1, size);
    struct mig_h2_server *server;
    struct mig_tls *tls;
    struct relay relay;
    struct mig_error error;
    struct mig_h2 *h2;

    assert_non_null(body);
    relay_start(&relay, net->path, &attempt->relay);
    assert_int_equal(
        mig_h2_serve(&net->loop,
                     &(struct mig_h2_server_options){.unix_path = net->path, .request = echo},
                     &server, &error),
        0);
    if (mig_tls_new(&attempt->tls, &tls, &error) < 0) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(mig_h2_connect(&net->loop,
                                    &(struct mig_h2_connect_options){
                                        .host = attempt->host ? attempt->host : "127.0.0.1",
                                        .port = relay.port,
                                        .tls = tls,
                                        .connect_timeout_ms = attempt->timeout_ms},
                                    &h2, &error),
                     0);
    exchange_start(&attempt->exchange, h2, "POST", "/", body, size, false);
    net_run_until(net, &attempt->exchange.over);
    mig_h2_free(h2);
    mig_tls_free(tls);
    mig_h2_server_free(server);
    net_drain(net);
    relay_stop(&relay);
    snprintf(attempt->asked_name, sizeof(attempt->asked_name), "%s", relay.server_name);
    free(body);
    if (!attempt->exchange.failed) {
        assert_int_equal(attempt->exchange.body_size, size);
    }
    exchange_release(&attempt->exchange);
}

static void expect_success(void **state, struct attempt attempt)
{
    attempt_run(state, &attempt);
    if (attempt.exchange.failed) {
        fail_msg("%s", attempt.exchange.error.message);
    }
}

static void expect_failure(void **state, struct attempt attempt, const char *message)
{
    attempt_run(state, &attempt);
    if (!attempt.exchange.failed || !strstr(attempt.exchange.error.message, message)) {
        fail_msg("expected \"%s\", got \"%s\"", message, attempt.exchange.error.message);
    }
    assert_true(attempt.exchange.refused); /* nothing was sent to a server that is not trusted */
}

static struct attempt good(void)
{
    return (struct attempt){.tls.ca = shared.ca, .relay.identity = &shared.server};
}

static void test_by_address(void **state)
{
    struct attempt attempt = good();

    attempt_run(state, &attempt);
    assert_false(attempt.exchange.failed);
    assert_string_equal(attempt.asked_name, ""); /* there is no SNI for addresses */
}

static void test_by_name(void **state)
{
    struct attempt attempt = good();

    attempt.host = "localhost";
    attempt_run(state, &attempt);
    if (attempt.exchange.failed) {
        fail_msg("%s", attempt.exchange.error.message);
    }
    assert_string_equal(attempt.asked_name, "localhost");
}

static void test_by_server_name(void **state)
{
    struct attempt attempt = good();

    attempt.tls.server_name = "api.example";
    attempt_run(state, &attempt);
    assert_false(attempt.exchange.failed);
    assert_string_equal(attempt.asked_name, "api.example");
}

static void test_much_data(void **state)
{
    struct attempt attempt = good();

    attempt.body_size = 4u << 20;
    expect_success(state, attempt);
    attempt.relay.version_max = TLS1_2_VERSION;
    expect_success(state, attempt);
}

static void test_insecure(void **state)
{
    struct attempt attempt = good();

    attempt.tls.ca = NULL;
    attempt.tls.insecure = true;
    attempt.tls.server_name = "somebody.else";
    expect_success(state, attempt);
}

/* What is not checked is not blamed either. */
static void test_insecure_that_fails(void **state)
{
    struct attempt attempt = good();

    attempt.tls.ca = NULL;
    attempt.tls.insecure = true;
    attempt.tls.server_name = "somebody.else";
    attempt.relay.client_authority = &shared.authority;
    attempt_run(state, &attempt);
    assert_true(attempt.exchange.failed);
    assert_null(strstr(attempt.exchange.error.message, "the server's certificate"));
}

/* ---- servers that are not trusted ----------------------------------------------------------- */

static void test_wrong_name(void **state)
{
    struct attempt attempt = good();

    attempt.tls.server_name = "kubernetes.default";
    expect_failure(state, attempt,
                   "the server's certificate is not for kubernetes.default, but for localhost, "
                   "api.example, 127.0.0.1");
}

static void test_wrong_address(void **state)
{
    struct attempt attempt = good();
    struct identity other =
        identity_make(&(struct identity_options){.common_name = "127.0.0.1",
                                                 .names = "DNS:127.0.0.1,IP:10.0.0.1"},
                      &shared.authority);

    attempt.relay.identity = &other;
    expect_failure(state, attempt,
                   "the server's certificate is not for 127.0.0.1, but for 127.0.0.1, 10.0.0.1");
    identity_release(&other);
}

static void test_common_name_is_no_name(void **state)
{
    struct attempt attempt = good();
    struct identity other =
        identity_make(&(struct identity_options){.common_name = "api.example"}, &shared.authority);

    attempt.relay.identity = &other;
    attempt.tls.server_name = "api.example";
    expect_failure(state, attempt, "no name at all (it has no alternative names)");
    identity_release(&other);
}

static void test_time(void **state)
{
    static const char names[] = "IP:127.0.0.1";
    struct attempt attempt = good();
    struct identity old = identity_make(
        &(struct identity_options){
            .common_name = "old", .names = names, .begin_s = -7200, .end_s = -3600},
        &shared.authority);
    struct identity early = identity_make(
        &(struct identity_options){
            .common_name = "early", .names = names, .begin_s = 3600, .end_s = 7200},
        &shared.authority);

    attempt.relay.identity = &old;
    expect_failure(state, attempt, "the server's certificate has expired (it was valid until 20");
    attempt.relay.identity = &early;
    expect_failure(state, attempt, "is not valid before 20");
    identity_release(&old);
    identity_release(&early);
}

static void test_unknown_authority(void **state)
{
    struct attempt attempt = good();
    struct identity stranger = identity_make(
        &(struct identity_options){.common_name = "a stranger", .authority = true}, NULL);
    struct identity other = identity_make(
        &(struct identity_options){.common_name = "server", .names = "IP:127.0.0.1"}, &stranger);

    attempt.relay.identity = &other;
    expect_failure(state, attempt,
                   "signed by an authority that is not trusted (/CN=a stranger): unable to get "
                   "local issuer certificate");
    attempt.relay.identity = &stranger; /* signed by itself */
    expect_failure(state, attempt, "not trusted (/CN=a stranger): self-signed certificate");
    attempt.relay.identity = &shared.server;
    attempt.tls.ca = NULL; /* the system's authorities */
    expect_failure(state, attempt, "not trusted (/CN=test authority)");
    identity_release(&stranger);
    identity_release(&other);
}

/* The list may name an authority that is no root, as clients of Kubernetes take it. */
static void test_intermediate_authority(void **state)
{
    struct attempt attempt = good();
    struct identity middle = identity_make(
        &(struct identity_options){.common_name = "middle", .authority = true}, &shared.authority);
    struct identity server = identity_make(
        &(struct identity_options){.common_name = "server", .names = "IP:127.0.0.1"}, &middle);
    char *ca = identity_certificate(&middle);

    attempt.relay.identity = &server;
    attempt.tls.ca = ca;
    expect_success(state, attempt);
    attempt.tls.ca = shared.ca;
    expect_failure(state, attempt, "not trusted (/CN=middle)");
    attempt.relay.intermediate = &middle;
    expect_success(state, attempt);
    free(ca);
    identity_release(&middle);
    identity_release(&server);
}

/* ---- our own certificate -------------------------------------------------------------------- */

static void test_client_certificate(void **state)
{
    struct attempt attempt = good();
    struct identity client =
        identity_make(&(struct identity_options){.common_name = "node"}, &shared.authority);
    char *certificate = identity_certificate(&client), *key = identity_key(&client, NULL);

    attempt.relay.client_authority = &shared.authority;
    attempt.tls.certificate = certificate;
    attempt.tls.key = key;
    expect_success(state, attempt);
    attempt.tls.certificate = attempt.tls.key = NULL;
    attempt_run(state, &attempt);
    assert_true(attempt.exchange.failed);
    assert_non_null(strstr(attempt.exchange.error.message, "certificate required"));
    free(certificate);
    free(key);
    identity_release(&client);
}

/* ---- servers that do not speak as they should ----------------------------------------------- */

static void test_no_http2(void **state)
{
    struct attempt attempt = good();

    attempt.relay.protocol = "http/1.1"; /* which was not offered */
    expect_failure(state, attempt, "TLS failed: bad extension");
    attempt.relay.protocol = "";
    expect_failure(state, attempt, "the server did not agree on HTTP/2");
}

static void test_old_version(void **state)
{
    struct attempt attempt = good();

    attempt.relay.version_max = TLS1_1_VERSION;
    expect_failure(state, attempt, "TLS failed: ");
}

static void test_no_tls(void **state)
{
    struct attempt attempt = good();

    attempt.relay.identity = NULL;
    expect_failure(state, attempt, "TLS failed: wrong version number");
}

static void test_silent_server(void **state)
{
    struct attempt attempt = good();

    attempt.relay.silent = true;
    attempt.timeout_ms = 200;
    expect_failure(state, attempt, "could not connect (TLS handshake): Connection timed out");
}

static void test_closed_in_handshake(void **state)
{
    struct attempt attempt = good();

    attempt.relay.close_at_once = true;
    attempt_run(state, &attempt);
    assert_true(attempt.exchange.failed);
    assert_true(strstr(attempt.exchange.error.message, "handshake") ||
                strstr(attempt.exchange.error.message, "reset by peer"));
}

static void test_free_at_any_time(void **state)
{
    struct attempt attempt = good();
    struct net *net = *state;
    struct mig_h2_server *server;
    struct mig_tls *tls;
    struct relay relay;
    struct mig_error error;

    relay_start(&relay, net->path, &attempt.relay);
    assert_int_equal(
        mig_h2_serve(&net->loop,
                     &(struct mig_h2_server_options){.unix_path = net->path, .request = echo},
                     &server, &error),
        0);
    assert_int_equal(mig_tls_new(&attempt.tls, &tls, &error), 0);
    for (unsigned turns = 0; turns < 16; turns++) {
        const struct mig_h2_connect_options options = {
            .host = "127.0.0.1", .port = relay.port, .tls = tls};
        struct exchange exchange = {0};
        struct mig_h2 *h2;

        assert_int_equal(mig_h2_connect(&net->loop, &options, &h2, &error), 0);
        exchange_start(&exchange, h2, "POST", "/", "hello", 5, true);
        for (unsigned i = 0; i < turns; i++) {
            net_run_for(net, i % 3);
        }
        mig_h2_free(h2);
        assert_int_equal(exchange.end_calls, 1);
        exchange_release(&exchange);
    }
    mig_tls_free(tls);
    mig_h2_server_free(server);
    net_drain(net);
    relay_stop(&relay);
}

/* ---- names ---------------------------------------------------------------------------------- */

static void test_name_that_is_nobodys(void **state)
{
    struct net *net = *state;
    struct exchange exchange = {0};
    struct mig_error error;
    struct mig_h2 *h2;

    assert_int_equal(
        mig_h2_connect(&net->loop,
                       &(struct mig_h2_connect_options){.host = "nobody.invalid", .port = 6443},
                       &h2, &error),
        0);
    exchange_start(&exchange, h2, "GET", "/", NULL, 0, false);
    net_run_until(net, &exchange.over);
    assert_true(exchange.failed && exchange.refused);
    assert_non_null(strstr(exchange.error.message, "nobody.invalid:6443"));
    mig_h2_free(h2);
}

/* The resolver's thread outlives the connection. */
static void test_free_while_resolving(void **state)
{
    struct net *net = *state;
    struct mig_error error;
    struct mig_h2 *h2;

    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(
            mig_h2_connect(&net->loop,
                           &(struct mig_h2_connect_options){.host = "localhost", .port = 1}, &h2,
                           &error),
            0);
        if (i % 2) {
            uv_run(&net->loop, UV_RUN_NOWAIT);
        }
        mig_h2_free(h2);
    }
}

/* ---- what is given by the user -------------------------------------------------------------- */

static void refuse_options(struct mig_tls_options options, const char *message)
{
    struct mig_tls *tls = NULL;
    struct mig_error error;

    assert_int_equal(mig_tls_new(&options, &tls, &error), MIG_E_CONFIG);
    assert_null(tls);
    if (!strstr(error.message, message)) {
        fail_msg("expected \"%s\", got \"%s\"", message, error.message);
    }
}

static void test_options_that_are_not_valid(void **state)
{
    char *certificate = identity_certificate(&shared.server);
    char *key = identity_key(&shared.server, NULL);
    char *secret = identity_key(&shared.server, "secret");
    char *other = identity_key(&shared.authority, NULL);
    char *cut = NULL, *large = malloc(MIG_TLS_PEM_MAX + 2);

    (void)state;
    assert_true(asprintf(&cut, "%s%.200s\n-----END CERTIFICATE-----\n", shared.ca, shared.ca) > 0);
    assert_non_null(large);
    memset(large, '\n', MIG_TLS_PEM_MAX + 1);
    large[MIG_TLS_PEM_MAX + 1] = '\0';
    refuse_options((struct mig_tls_options){.ca = ""}, "certificate 1 of the list");
    refuse_options((struct mig_tls_options){.ca = "no PEM"}, "certificate 1 of the list");
    refuse_options((struct mig_tls_options){.ca = cut}, "certificate 2 of the list");
    refuse_options((struct mig_tls_options){.ca = large}, "larger than 1 MiB");
    refuse_options((struct mig_tls_options){.certificate = certificate},
                   "a client certificate is given without its key");
    refuse_options((struct mig_tls_options){.key = key},
                   "a client key is given without its certificate");
    refuse_options((struct mig_tls_options){.certificate = key, .key = key},
                   "the client certificate is not a certificate");
    refuse_options((struct mig_tls_options){.certificate = certificate, .key = certificate},
                   "the client key is not a private key");
    refuse_options((struct mig_tls_options){.certificate = certificate, .key = secret},
                   "without passphrase");
    refuse_options((struct mig_tls_options){.certificate = certificate, .key = other},
                   "does not belong to the client certificate");
    free(certificate);
    free(key);
    free(secret);
    free(other);
    free(cut);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_by_address, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_by_name, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_by_server_name, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_much_data, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_insecure, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_insecure_that_fails, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_name, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_wrong_address, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_common_name_is_no_name, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_time, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_unknown_authority, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_intermediate_authority, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_client_certificate, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_no_http2, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_old_version, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_no_tls, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_silent_server, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_closed_in_handshake, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_free_at_any_time, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_name_that_is_nobodys, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_free_while_resolving, net_setup, net_teardown),
        cmocka_unit_test(test_options_that_are_not_valid),
    };

    return cmocka_run_group_tests(tests, make_shared, release_shared);
}
