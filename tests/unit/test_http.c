/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/net/http.c with clients made of sockets: what is answered, refused, and waited for.
 */
#include "net/http.h"
#include "net_support.h"
#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct site {
    struct net *net;
    struct mig_http *http;
    unsigned calls;
    bool free_in_answer;
};

static int answer_metrics(struct mig_http_answer *answer, void *data)
{
    struct site *site = data;

    site->calls++;
    answer->content_type = "text/plain; version=0.0.4";
    mig_buffer_puts(&answer->body, "migd_up 1\n");
    return 200;
}

static int answer_unready(struct mig_http_answer *answer, void *data)
{
    struct site *site = data;

    site->calls++;
    mig_buffer_puts(&answer->body, "no driver\n");
    return 503;
}

static int answer_nothing(struct mig_http_answer *answer, void *data)
{
    (void)answer;
    ((struct site *)data)->calls++;
    return 204;
}

static int answer_too_much(struct mig_http_answer *answer, void *data)
{
    char *bytes = calloc(1, MIG_HTTP_BODY_MAX + 1);

    (void)data;
    mig_buffer_append(&answer->body, bytes, MIG_HTTP_BODY_MAX + 1);
    free(bytes);
    return 200;
}

static int answer_large(struct mig_http_answer *answer, void *data)
{
    (void)data;
    for (unsigned i = 0; i < 40000; i++) {
        mig_buffer_printf(&answer->body, "migd_slice_memory_bytes{slice=\"%u\"} 1\n", i);
    }
    return 200;
}

static int answer_and_free(struct mig_http_answer *answer, void *data)
{
    struct site *site = data;

    mig_buffer_puts(&answer->body, "bye\n");
    mig_http_free(site->http);
    site->http = NULL;
    return 200;
}

static const struct mig_http_route routes[] = {
    {"/metrics", answer_metrics},   {"/readyz", answer_unready}, {"/empty", answer_nothing},
    {"/too-much", answer_too_much}, {"/large", answer_large},    {"/free", answer_and_free},
};

static void start(void **state, struct site *site, struct mig_http_options options)
{
    struct mig_error error;

    *site = (struct site){.net = *state};
    options.address = options.unix_path ? NULL : "127.0.0.1";
    options.routes = routes;
    options.route_count = sizeof(routes) / sizeof(routes[0]);
    options.data = site;
    if (mig_http_serve(&site->net->loop, &options, &site->http, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

static void stop(struct site *site)
{
    mig_http_free(site->http);
    net_drain(site->net);
}

static int connect_to(const struct site *site)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(mig_http_port(site->http)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Runs the loop until the server closes, or `size` bytes have come; closes. Returns what came. */
static char *receive(struct site *site, int fd, size_t size)
{
    size_t capacity = 4u << 20, count = 0;
    char *text = malloc(capacity + 1);

    assert_non_null(text);
    for (unsigned i = 0; i < 20000 && count < size; i++) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        ssize_t got;

        uv_run(&site->net->loop, UV_RUN_NOWAIT);
        if (poll(&waiting, 1, 1) <= 0) {
            continue;
        }
        got = recv(fd, text + count, capacity - count, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) {
            break;
        }
        count += got > 0 ? (size_t)got : 0;
    }
    text[count] = '\0';
    close(fd);
    return text;
}

/* Sends `request` and returns all that comes until the server closes. */
static char *talk(struct site *site, const char *request)
{
    int fd = connect_to(site);

    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return receive(site, fd, SIZE_MAX);
}

static void expect(struct site *site, const char *request, const char *status, const char *part)
{
    char *text = talk(site, request);

    if (strncmp(text, "HTTP/1.", 7) != 0 || strncmp(text + 9, status, strlen(status)) != 0 ||
        !strstr(text, part)) {
        fail_msg("expected %s with \"%s\" for %s got: %.400s", status, part, request, text);
    }
    free(text);
}

#define END "\r\nHost: a\r\nConnection: close\r\n\r\n"

static void test_answers(void **state)
{
    struct site site;

    start(state, &site, (struct mig_http_options){0});
    assert_int_not_equal(mig_http_port(site.http), 0);
    expect(&site, "GET /metrics HTTP/1.1" END, "200", "\r\n\r\nmigd_up 1\n");
    expect(&site, "GET /metrics HTTP/1.1" END, "200", "Content-Type: text/plain; version=0.0.4");
    expect(&site, "GET /metrics?a=b HTTP/1.1" END, "200", "migd_up 1\n");
    expect(&site, "GET /readyz HTTP/1.1" END, "503", "no driver\n");
    expect(&site, "GET /empty HTTP/1.1" END, "204", "");
    assert_int_equal(site.calls, 5);
    stop(&site);
}

static void test_head_has_no_body(void **state)
{
    struct site site;
    char *text;

    start(state, &site, (struct mig_http_options){0});
    text = talk(&site, "HEAD /metrics HTTP/1.1" END);
    assert_non_null(strstr(text, "Content-Length: 10\r\n"));
    assert_null(strstr(text, "migd_up"));
    free(text);
    stop(&site);
}

static void test_refusals(void **state)
{
    static char long_header[MIG_HTTP_REQUEST_MAX + 4096];
    struct site site;

    start(state, &site, (struct mig_http_options){0});
    expect(&site, "GET / HTTP/1.1" END, "404", "there is nothing here\n");
    expect(&site, "GET /metrics/ HTTP/1.1" END, "404", "");
    expect(&site, "GET /../metrics HTTP/1.1" END, "404", "");
    expect(&site, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "405",
           "Allow: GET, HEAD\r\n");
    expect(&site, "DELETE /metrics HTTP/1.1" END, "405", "only GET and HEAD\n");
    expect(&site, "GET /too-much HTTP/1.1" END, "500", "the answer is too large\n");
    memset(long_header, 'a', sizeof(long_header) - 1);
    memcpy(long_header, "GET /metrics HTTP/1.1\r\nx: ", 26);
    memcpy(long_header + sizeof(long_header) - 6, "\r\n\r\n", 5);
    expect(&site, long_header, "431", "");
    assert_int_equal(site.calls, 0);
    stop(&site);
}

static void test_nonsense_is_no_answer(void **state)
{
    struct site site;
    char *text;

    start(state, &site, (struct mig_http_options){0});
    text = talk(&site, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_null(strstr(text, "200 OK"));
    free(text);
    text = talk(&site, "\x16\x03\x01\r\n\r\n");
    assert_null(strstr(text, "200 OK"));
    free(text);
    assert_int_equal(site.calls, 0);
    expect(&site, "GET /metrics HTTP/1.1" END, "200", "migd_up 1\n");
    stop(&site);
}

static void test_connection_is_kept(void **state)
{
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    struct site site;
    char *text;
    int fd;

    start(state, &site, (struct mig_http_options){0});
    fd = connect_to(&site);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    }
    text = receive(&site, fd, 3 * 110);
    assert_int_equal(site.calls, 3);
    free(text);
    stop(&site);
}

static void test_silent_client_is_dropped(void **state)
{
    struct site site;
    char *text;
    int fd;

    start(state, &site, (struct mig_http_options){.timeout_s = 1});
    fd = connect_to(&site);
    assert_int_equal(send(fd, "GET /met", 8, MSG_NOSIGNAL), 8);
    text = receive(&site, fd, SIZE_MAX);
    assert_null(strstr(text, "200 OK"));
    free(text);
    stop(&site);
}

static void test_connection_limit(void **state)
{
    struct site site;
    int fds[8];
    char byte;

    start(state, &site, (struct mig_http_options){.connection_max = 8}); /* 4 of one address */
    for (unsigned i = 0; i < 8; i++) {
        fds[i] = connect_to(&site);
        net_run_for(site.net, 10);
    }
    for (unsigned i = 0; i < 8; i++) {
        ssize_t got = recv(fds[i], &byte, 1, MSG_DONTWAIT);

        assert_int_equal(got == 0 || (got < 0 && errno == ECONNRESET), i >= 4);
        close(fds[i]);
    }
    net_run_for(site.net, 100); /* the server sees it */
    expect(&site, "GET /metrics HTTP/1.1" END, "200", "migd_up 1\n");
    stop(&site);
}

static void test_large_answer(void **state)
{
    struct site site;
    char *text;

    start(state, &site, (struct mig_http_options){0});
    text = talk(&site, "GET /large HTTP/1.1" END);
    assert_non_null(strstr(text, "slice=\"0\""));
    assert_non_null(strstr(text, "slice=\"39999\"} 1\n"));
    free(text);
    stop(&site);
}

static void test_unix_socket(void **state)
{
    struct net *net = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    struct site site;
    struct stat status;
    char *text;
    int fd;

    start(state, &site, (struct mig_http_options){.unix_path = net->path});
    assert_int_equal(mig_http_port(site.http), 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", net->path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    text = receive(&site, fd, SIZE_MAX);
    assert_non_null(strstr(text, "migd_up 1\n"));
    free(text);
    stop(&site);
    assert_int_not_equal(stat(net->path, &status), 0);
}

static void test_free_in_an_answer(void **state)
{
    struct site site;
    char *text;

    start(state, &site, (struct mig_http_options){0});
    text = talk(&site, "GET /free HTTP/1.1" END);
    free(text);
    assert_null(site.http);
    stop(&site);
}

static void test_free_with_open_connections(void **state)
{
    struct site site;
    int fds[4];

    start(state, &site, (struct mig_http_options){0});
    for (unsigned i = 0; i < 4; i++) {
        fds[i] = connect_to(&site);
        assert_true(send(fds[i], "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", i * 10, 0) >= 0);
        net_run_for(site.net, 5);
    }
    stop(&site);
    for (unsigned i = 0; i < 4; i++) {
        close(fds[i]);
    }
}

static void test_where_it_cannot_listen(void **state)
{
    struct net *net = *state;
    struct mig_http *http;
    struct mig_error error;
    struct site site;

    assert_int_equal(mig_http_serve(&net->loop, &(struct mig_http_options){.address = "localhost"},
                                    &http, &error),
                     MIG_E_USAGE);
    assert_string_equal(error.message, "\"localhost\" is not an address to listen at");
    start(state, &site, (struct mig_http_options){0});
    assert_int_equal(mig_http_serve(&net->loop,
                                    &(struct mig_http_options){.address = "127.0.0.1",
                                                               .port = mig_http_port(site.http)},
                                    &http, &error),
                     MIG_E_FAILED);
    assert_non_null(strstr(error.message, "Address already in use"));
    stop(&site);
}

static void test_memory_is_flat(void **state)
{
    struct site site;
    size_t before = 0;

    start(state, &site, (struct mig_http_options){0});
    for (unsigned i = 0; i < 300; i++) {
        expect(&site, "GET /metrics HTTP/1.1" END, "200", "migd_up 1\n");
        if (i == 99) {
            before = mallinfo2().uordblks;
        }
    }
    assert_true(mallinfo2().uordblks < before + 32768);
    stop(&site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_head_has_no_body, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_refusals, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_nonsense_is_no_answer, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_connection_is_kept, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_silent_client_is_dropped, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_connection_limit, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_large_answer, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_unix_socket, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_free_in_an_answer, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_free_with_open_connections, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_where_it_cannot_listen, net_setup, net_teardown),
        cmocka_unit_test_setup_teardown(test_memory_is_flat, net_setup, net_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
