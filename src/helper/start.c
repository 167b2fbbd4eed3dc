/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The start of migd's processes. The calling process, which is the one that systemd or a container
 * runtime watches, becomes the supervisor by running migd-helper: what is privileged for long holds
 * nothing of the agent's libraries. Before that it forks the agent, which waits until the
 * supervisor has said that it is there and speaks the same protocol. So whatever goes wrong is said
 * once, by the one who knows it, before the agent has touched anything.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "helper/arguments.h"
#include "helper/channel.h"
#include "helper/privilege.h"
#include "helper/program.h"
#include "helper/signals.h"
#include "protocol-id.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>

#define READY_MS 30000u

/* ---- the agent ---- */

static int check_ready(const struct mig_message *message, struct mig_error *error)
{
    if (message->type == MIG_MESSAGE_READY && strcmp(message->text, MIG_PROTOCOL_ID) == 0) {
        return 0;
    }
    (void)mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                        MIG_HELPER_PROGRAM " is of another version: it speaks %.64s, migd %s",
                        message->type == MIG_MESSAGE_READY ? message->text : "otherwise",
                        MIG_PROTOCOL_ID);
    return mig_error_hint(error, MIG_E_FAILED,
                          "they are installed together: install migd again, whole");
}

static int wait_for_supervisor(int fd, struct mig_error *error)
{
    MIG_AUTO_MESSAGE struct mig_message *message = NULL;
    uint64_t now_ms = mig_now_ms(), end_ms = now_ms + READY_MS;
    struct mig_receiver receiver;
    int rc = 0;

    mig_receiver_init(&receiver, MIG_CHANNEL_REQUEST_MAX);
    while (rc == 0 && now_ms < end_ms) {
        struct pollfd entry = {.fd = fd, .events = POLLIN};

        (void)poll(&entry, 1, (int)(end_ms - now_ms));
        rc = mig_receiver_read(&receiver, fd, &message, error);
        now_ms = mig_now_ms();
    }
    mig_receiver_release(&receiver);
    if (rc == 1) {
        return check_ready(message, error);
    }
    return rc == 0 || error->code == EPIPE
               ? mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, MIG_HELPER_PROGRAM " %s",
                               rc == 0 ? "did not start in time" : "ended before it had started")
               : rc;
}

/* In the new process. What the parent's end would do to it comes after what it has to say of it. */
static int become_agent(int fd, pid_t parent, const sigset_t *signals, struct mig_error *error)
{
    int rc = wait_for_supervisor(fd, error);

    rc = rc < 0 ? rc : mig_privilege_die_with(SIGTERM, parent, error);
    (void)sigprocmask(SIG_SETMASK, signals, NULL);
    return rc;
}

/* ---- the supervisor ---- */

/* Returns with an error only. */
static int become_supervisor(const struct mig_helper_options *options, int program, int control,
                             pid_t agent, struct mig_error *error)
{
    const struct mig_helper_arguments arguments = {
        .protocol = MIG_PROTOCOL_ID, .control = control, .agent = agent, .options = *options};
    char *words[MIG_ARGUMENT_MAX];
    int rc = mig_helper_arguments_make(&arguments, words, error);

    if (rc < 0) {
        return rc;
    }
    if (fcntl(control, F_SETFD, 0) == 0) {
        (void)fexecve(program, words, environ);
    }
    rc = mig_error_set_errno(error, MIG_E_FAILED, errno, "could not run " MIG_HELPER_PROGRAM);
    mig_helper_arguments_free(words);
    return rc;
}

/* It waits for a supervisor that does not come: nobody else may speak of that. */
static void end_agent(pid_t agent)
{
    (void)kill(agent, SIGKILL);
    while (waitpid(agent, NULL, 0) < 0 && errno == EINTR) {
        ;
    }
}

int mig_helper_start(const char *program, const struct mig_helper_options *options,
                     struct mig_helper_channel *ret, struct mig_error *error)
{
    MIG_AUTO_CLOSE int file = -1, mine = -1, others = -1;
    pid_t parent = getpid(), agent;
    struct mig_error unread = {0};
    sigset_t before;
    int ends[2], rc;

    ret->fd = -1;
    error = error ? error : &unread;
    rc = mig_helper_open_program(program, &file, error);
    rc = rc < 0 ? rc : mig_channel_pair(ends, error);
    if (rc < 0) {
        return rc;
    }
    mine = ends[0];
    others = ends[1];
    mig_signals_block(&before);
    agent = fork();
    if (agent == 0) {
        close(MIG_TAKE_FD(others));
        rc = become_agent(mine, parent, &before, error);
        ret->fd = rc < 0 ? -1 : MIG_TAKE_FD(mine);
        return rc;
    }
    if (agent > 0) {
        close(MIG_TAKE_FD(mine));
        rc = become_supervisor(options, file, others, agent, error);
        end_agent(agent);
    } else {
        rc = mig_error_set_errno(error, MIG_E_FAILED, errno, "could not start a process");
    }
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    return rc;
}
