/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets that connect while the loop goes on.
 *
 * An address given as numbers is used as it is. Names are asked of the resolver in libuv's thread
 * pool, since getaddrinfo blocks; that is the only use of a thread here, and inside a cluster,
 * where the API server is given by address, there is none. The addresses of a name are tried one
 * after the other.
 *
 * The object belongs to the loop: it goes away by itself when its handles are closed and the
 * resolver has answered, so a cancelled one needs no waiting for.
 */
#include "net/dial.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ADDRESSES_MAX 16

/* A try of one address; a handle of libuv is not free before it is closed, so each has its own. */
struct attempt {
    struct mig_dial *dial;
    uv_poll_t poll;
    int fd;
};

struct mig_dial {
    struct mig_dial_options options; /* done is NULL once it was called, or the caller left */
    uv_loop_t *loop;
    char *name; /* for messages: "host:port" or the path */
    struct sockaddr_storage addresses[ADDRESSES_MAX];
    socklen_t address_sizes[ADDRESSES_MAX];
    unsigned address_count, tried_count;
    struct attempt *attempt; /* under way, or NULL */
    uv_getaddrinfo_t resolver;
    bool resolving;
    uv_timer_t timer;
    unsigned references; /* of the timer and the resolver */
    struct mig_error error;
};

static void unref(struct mig_dial *dial)
{
    if (--dial->references == 0) {
        free(dial->name);
        free(dial);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

static void poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Ends the try under way; returns its socket. */
static int end_attempt(struct mig_dial *dial)
{
    struct attempt *attempt = MIG_TAKE(dial->attempt);

    uv_timer_stop(&dial->timer);
    uv_close((uv_handle_t *)&attempt->poll, poll_closed);
    return attempt->fd;
}

/* The end, whichever: `fd` is handed out, or `dial->error` told. */
static void finish(struct mig_dial *dial, int fd)
{
    struct mig_dial_options options = dial->options;

    dial->options.done = NULL;
    uv_close((uv_handle_t *)&dial->timer, timer_closed);
    options.done(fd, fd < 0 ? &dial->error : NULL, options.data);
}

static void fail(struct mig_dial *dial, int number)
{
    mig_error_set_errno(&dial->error, MIG_E_FAILED, number, "could not connect to %s", dial->name);
    if (number == ENOENT || (number == ECONNREFUSED && dial->options.unix_path)) {
        mig_error_hint(&dial->error, 0, "is the program that listens there running?");
    }
}

static void try_next(struct mig_dial *dial);

static void connected(uv_poll_t *poll, int status, int events)
{
    struct attempt *attempt = poll->data;
    struct mig_dial *dial = attempt->dial;
    socklen_t size = sizeof(int);
    int number = 0, fd;

    (void)events;
    if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &number, &size) < 0) {
        number = errno;
    }
    if (number == 0 && status < 0) {
        number = -status;
    }
    fd = end_attempt(dial);
    if (number == 0) {
        finish(dial, fd);
        return;
    }
    close(fd);
    fail(dial, number);
    try_next(dial);
}

/* Starts to connect to one address. Returns 0 or an errno. */
static int start_attempt(struct mig_dial *dial, const struct sockaddr *address, socklen_t size)
{
    MIG_AUTO_FREE struct attempt *attempt = calloc(1, sizeof(*attempt));
    MIG_AUTO_CLOSE int fd =
        socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, rc;

    if (!attempt || fd < 0) {
        return errno;
    }
    if (address->sa_family != AF_UNIX) {
        /* frames are gathered here already */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    /* EAGAIN of a unix socket: its queue is full, and nothing would tell when it is not */
    if (connect(fd, address, size) < 0 && errno != EINPROGRESS) {
        return errno;
    }
    rc = uv_poll_init(dial->loop, &attempt->poll, fd);
    if (rc < 0) {
        return -rc;
    }
    attempt->dial = dial;
    attempt->poll.data = attempt;
    attempt->fd = MIG_TAKE_FD(fd);
    dial->attempt = MIG_TAKE(attempt);
    rc = uv_poll_start(&dial->attempt->poll, UV_WRITABLE, connected);
    if (rc < 0) {
        close(end_attempt(dial));
    }
    return -rc;
}

static void timed_out(uv_timer_t *timer)
{
    struct mig_dial *dial = timer->data;

    if (dial->attempt) { /* else it is the first turn, from mig_dial */
        close(end_attempt(dial));
        fail(dial, ETIMEDOUT);
    }
    try_next(dial);
}

static void try_next(struct mig_dial *dial)
{
    while (dial->tried_count < dial->address_count) {
        unsigned i = dial->tried_count++;
        int number = start_attempt(dial, (const struct sockaddr *)&dial->addresses[i],
                                   dial->address_sizes[i]);

        if (number == 0) {
            uv_timer_start(&dial->timer, timed_out, dial->options.timeout_ms / dial->address_count,
                           0);
            return;
        }
        fail(dial, number);
    }
    finish(dial, -1);
}

static void take_addresses(struct mig_dial *dial, const struct addrinfo *list)
{
    for (; list && dial->address_count < ADDRESSES_MAX; list = list->ai_next) {
        if (list->ai_addrlen <= sizeof(dial->addresses[0])) {
            memcpy(&dial->addresses[dial->address_count], list->ai_addr, list->ai_addrlen);
            dial->address_sizes[dial->address_count++] = list->ai_addrlen;
        }
    }
}

static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct mig_dial *dial = request->data;

    dial->resolving = false;
    if (dial->options.done) {
        take_addresses(dial, list);
        if (dial->address_count > 0) {
            try_next(dial);
        } else {
            mig_error_set(&dial->error, MIG_E_FAILED, MIG_DOMAIN_NONE, status,
                          "could not connect to %s: no address for that name: %s", dial->name,
                          uv_strerror(status < 0 ? status : UV_EAI_NONAME));
            finish(dial, -1);
        }
    }
    uv_freeaddrinfo(list);
    unref(dial);
}

/* Where to: fills the addresses, or asks for them. */
static int resolve(struct mig_dial *dial, struct mig_error *error)
{
    const struct mig_dial_options *options = &dial->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct addrinfo *list = NULL;
    char port[8];
    int rc;

    if (options->unix_path) {
        if (!mig_text_copy(address.sun_path, sizeof(address.sun_path), options->unix_path)) {
            return mig_error_set_errno(error, MIG_E_USAGE, ENAMETOOLONG, "cannot connect to \"%s\"",
                                       options->unix_path);
        }
        memcpy(&dial->addresses[0], &address, sizeof(address));
        dial->address_sizes[0] = sizeof(address);
        dial->address_count = 1;
        return 0;
    }
    snprintf(port, sizeof(port), "%u", options->port);
    if (getaddrinfo(options->host, port, &hints, &list) == 0) {
        take_addresses(dial, list);
        freeaddrinfo(list);
        return 0;
    }
    hints.ai_flags = 0;
    dial->resolver.data = dial;
    rc = uv_getaddrinfo(dial->loop, &dial->resolver, resolved, options->host, port, &hints);
    if (rc < 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, rc,
                             "could not connect to %s: %s", dial->name, uv_strerror(rc));
    }
    dial->resolving = true;
    dial->references++;
    return 0;
}

int mig_dial(uv_loop_t *loop, const struct mig_dial_options *options, struct mig_dial **ret,
             struct mig_error *error)
{
    struct mig_dial *dial = calloc(1, sizeof(*dial));
    int rc;

    if (!dial) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not connect");
    }
    dial->options = *options;
    dial->loop = loop;
    if (options->unix_path) {
        dial->name = strdup(options->unix_path);
    } else {
        bool brackets = strchr(options->host, ':') != NULL;

        if (asprintf(&dial->name, "%s%s%s:%u", brackets ? "[" : "", options->host,
                     brackets ? "]" : "", options->port) < 0) {
            dial->name = NULL;
        }
    }
    if (!dial->name) {
        free(dial);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not connect");
    }
    rc = resolve(dial, error);
    if (rc < 0) {
        free(dial->name);
        free(dial);
        return rc;
    }
    uv_timer_init(loop, &dial->timer);
    dial->timer.data = dial;
    dial->references++;
    if (dial->address_count > 0) {
        uv_timer_start(&dial->timer, timed_out, 0, 0);
    }
    *ret = dial;
    return 0;
}

void mig_dial_cancel(struct mig_dial *dial)
{
    if (!dial || !dial->options.done) {
        return;
    }
    dial->options.done = NULL;
    if (dial->resolving) {
        uv_cancel((uv_req_t *)&dial->resolver);
    }
    if (dial->attempt) {
        close(end_attempt(dial));
    }
    uv_close((uv_handle_t *)&dial->timer, timer_closed);
}
