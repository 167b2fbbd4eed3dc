/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of the helper. Requests come one at a time; while one is carried out nothing else is,
 * which is what a node wants. SIGTERM (also sent by the kernel when the supervisor ends) and the
 * end of the connection end the process between two requests, and end waiting for users within one;
 * steps on the GPUs are never cut short.
 */
#include "helper/server.h"
#include "base/clock.h"
#include "base/memory.h"
#include "helper/mps.h"
#include "helper/privilege.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#define POLL_DEFAULT_MS 300u

/*
 * Ends the process; whoever still hangs in the driver must not keep the connection open. When migd
 * ends (status 0) MPS ends with it; after a failure the next helper takes the daemons over.
 */
__attribute__((noreturn)) static void leave(struct mig_server *server, int status)
{
    if (status == 0 && server->mps && !server->leaving) {
        server->leaving = true;
        mig_mps_end(server->mps);
    }
    (void)shutdown(server->fd, SHUT_RDWR);
    _exit(status);
}

void mig_server_send(struct mig_server *server, const struct mig_message *message)
{
    if (mig_channel_send(server->fd, message, MIG_SERVER_SEND_MS, NULL) < 0 && !server->leaving &&
        message->type != MIG_MESSAGE_PROGRESS) {
        leave(server, 0);
    }
}

void mig_server_say(struct mig_server *server, const char *format, ...)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_SAID, 0);
    va_list arguments;

    if (message) {
        va_start(arguments, format);
        (void)vsnprintf(message->text, sizeof(message->text), format, arguments);
        va_end(arguments);
        mig_server_send(server, message);
    }
}

bool mig_server_is_stopped(const struct mig_server *server)
{
    struct pollfd entries[2] = {{.fd = server->fd, .events = POLLRDHUP},
                                {.fd = server->signals, .events = POLLIN}};

    return poll(entries, 2, 0) > 0 &&
           ((entries[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0 || entries[1].revents != 0);
}

const char *mig_server_state_dir(const struct mig_server *server)
{
    return server->options->state_dir ? server->options->state_dir : MIG_STATE_DIR_DEFAULT;
}

/* ---- requests ---- */

static void read_node(struct mig_server *server, struct mig_wire_answer *answer)
{
    answer->result = mig_server_read(server, &answer->node, &answer->error);
}

static void answer_request(struct mig_server *server, const struct mig_message *request)
{
    MIG_AUTO_MESSAGE struct mig_message *message =
        mig_message_new(MIG_MESSAGE_ANSWER, request->request);
    struct mig_wire_answer *answer = message ? &message->answer : NULL;

    if (!message) {
        leave(server, 1);
    }
    switch ((int)request->type) {
    case MIG_MESSAGE_READ:
        read_node(server, answer);
        break;
    case MIG_MESSAGE_SAMPLE:
        answer->result = mig_server_sample(server, &answer->sample, &answer->error);
        break;
    case MIG_MESSAGE_APPLY:
        mig_server_apply(server, request, answer);
        server->gave_back = false;
        break;
    case MIG_MESSAGE_SAVE:
        mig_server_save(server, request, answer);
        break;
    case MIG_MESSAGE_RESTORE:
        mig_server_restore(server, request, answer);
        break;
    case MIG_MESSAGE_HOST:
        mig_server_host(server, request, answer);
        break;
    case MIG_MESSAGE_CDI:
        mig_server_cdi(server, request, answer);
        break;
    case MIG_MESSAGE_MPS:
        mig_server_share(server, request);
        break;
    case MIG_MESSAGE_SOCKET:
        mig_server_socket(server, request, answer, &message->fd);
        break;
    default:
        leave(server, 1); /* no request: the agent is not what it should be */
    }
    if (answer->node) {
        mig_server_remember(server, answer->node);
    }
    mig_server_send(server, message);
}

static void take_request(struct mig_server *server)
{
    MIG_AUTO_MESSAGE struct mig_message *request = NULL;
    int rc = mig_receiver_read(&server->receiver, server->fd, &request, NULL);

    if (rc < 0) {
        leave(server, 0);
    }
    if (rc == 1) {
        answer_request(server, request);
    }
}

/* ---- the process ---- */

static int open_signals(void)
{
    sigset_t watched;

    /* a terminal's signals are for the agent */
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGHUP);
    sigaddset(&watched, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &watched, NULL);
    sigemptyset(&watched);
    sigaddset(&watched, SIGTERM);
    return signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void prepare(struct mig_server *server, bool isolated)
{
    MIG_AUTO_MESSAGE struct mig_message *hello = mig_message_new(MIG_MESSAGE_HELLO, 0);
    struct mig_error error = {0};
    sigset_t child;

    (void)prctl(PR_SET_NAME, "migd-helper", 0, 0, 0);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    (void)sigprocmask(SIG_UNBLOCK, &child, NULL);
    server->signals = open_signals();
    if (!hello || server->signals < 0) {
        leave(server, 1);
    }
    hello->hello.pid = (uint32_t)getpid();
    hello->hello.isolated = isolated;
    mig_server_send(server, hello);
    if (!isolated) {
        mig_server_say(server, "the privileged process has no network namespace of its own: that "
                               "needs CAP_SYS_ADMIN");
    }
    if (mig_privilege_reduce(mig_privilege_wanted(), &error) < 0) {
        mig_server_say(server, "the privileged process keeps all privileges: %s", error.message);
    }
}

/* Until a request comes or the next poll is due. */
static void wait_for_work(struct mig_server *server, bool more)
{
    uint64_t now_ms = mig_now_ms();
    int wait_ms = !more && server->next_poll_ms > now_ms ? (int)(server->next_poll_ms - now_ms) : 0;
    struct pollfd entries[2] = {{.fd = server->fd, .events = POLLIN},
                                {.fd = server->signals, .events = POLLIN}};

    if (poll(entries, 2, wait_ms) > 0) {
        if (entries[1].revents != 0) {
            leave(server, 0);
        }
        if (entries[0].revents != 0) {
            take_request(server);
        }
    }
}

/* Opening the driver, and a change, are rare; what only they need is not kept for the polls. */
static void give_back_once(struct mig_server *server)
{
    if (!server->gave_back && server->has_digest && !server->driver_hangs) {
        mig_memory_give_back();
        server->gave_back = true;
    }
}

void mig_server_run(const struct mig_helper_options *options, int fd, bool isolated)
{
    struct mig_server *server = calloc(1, sizeof(*server));
    unsigned interval_ms =
        options->poll_interval_ms > 0 ? options->poll_interval_ms : POLL_DEFAULT_MS;

    if (!server) {
        _exit(1);
    }
    server->options = options;
    server->fd = fd;
    mig_receiver_init(&server->receiver, MIG_CHANNEL_REQUEST_MAX);
    server->mps = mig_server_mps_new(server);
    if (!server->mps) {
        _exit(1);
    }
    prepare(server, isolated);
    mig_server_recover(server);
    for (;;) {
        bool more = mig_mps_tick(server->mps);

        if (server->driver_hangs) {
            leave(server, 1);
        }
        if (mig_now_ms() >= server->next_poll_ms) {
            mig_server_poll(server);
            give_back_once(server);
            server->next_poll_ms = mig_now_ms() + interval_ms;
        } else {
            wait_for_work(server, more);
        }
    }
}
