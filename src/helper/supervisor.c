/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first process of migd. Its child, from before it ran this program, is the agent (start.c); it
 * starts, again and again, the helper, since an agent without privileges could not; it passes
 * signals on to the agent, and the end of each to the other. A helper is a fork of it and runs no
 * other file: what is running goes on as it is while a package replaces the files. It opens no
 * driver and no network, so nothing can hang it: whoever hangs is killed, or, when even that is
 * impossible (a call into the driver that never returns), left behind. Those keep their memory, so
 * only a few are: then the next is started when one of them has ended after all, which is also the
 * sign that the driver answers again.
 *
 * Being the parent of both it is also the process that a container runtime or systemd watches: when
 * the agent has ended, however, the helper first finishes the change it is in, and then all of it
 * ends with the agent's status.
 */
#include "helper/supervisor.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "helper/channel.h"
#include "helper/privilege.h"
#include "helper/server.h"
#include "helper/signals.h"
#include "protocol-id.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#define BACKOFF_FIRST_MS 100u
#define BACKOFF_MAX_MS 5000u
#define STABLE_MS 30000u      /* a helper that lived so long starts the count of failures anew */
#define KILL_WAIT_MS 2000u    /* then a killed helper is left behind */
#define LEFT_MAX 4u           /* left behind at a time */
#define FINISH_WAIT_MS 60000u /* for the helper, after the agent's end */
#define NO_TIME UINT64_MAX

struct supervisor {
    const struct mig_helper_options *options;
    struct mig_receiver receiver;
    int control, signals;
    pid_t agent, helper;  /* 0 = ended */
    pid_t left[LEFT_MAX]; /* helpers that could not be killed */
    unsigned left_count;
    int agent_status;
    uint64_t start_ms;   /* when to start a helper, or when the present one was started */
    uint64_t give_up_ms; /* when to leave the present helper behind, or the whole after the agent */
    unsigned failure_count;
    bool isolated;
};

/* ---- telling the agent ---- */

/* An agent that reads nothing any more has other troubles. */
static void send_to_agent(const struct supervisor *supervisor, const struct mig_message *message)
{
    if (supervisor->control >= 0) {
        (void)mig_channel_send(supervisor->control, message, 0, NULL);
    }
}

static void tell(struct supervisor *supervisor, enum mig_message_type type, pid_t pid, int status,
                 int fd)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(type, 0);

    if (message) {
        message->process.pid = (uint32_t)pid;
        message->process.status = status;
        message->fd = fd;
        send_to_agent(supervisor, message);
        message->fd = -1;
    }
}

static void tell_left(const struct supervisor *supervisor)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_SAID, 0);

    if (message) {
        (void)snprintf(message->text, sizeof(message->text),
                       "privileged processes that hang in the driver and cannot be ended: %u%s",
                       supervisor->left_count,
                       supervisor->left_count < LEFT_MAX
                           ? ""
                           : "; no other is started until one of them ends: see the kernel log, "
                             "reset the GPU or reboot the node");
        send_to_agent(supervisor, message);
    }
}

/* ---- the helper ---- */

static uint64_t backoff_ms(unsigned failure_count, uint64_t max_ms)
{
    uint64_t wait_ms = BACKOFF_FIRST_MS;

    for (unsigned i = 1; i < failure_count && wait_ms < max_ms; i++) {
        wait_ms *= 2;
    }
    return failure_count == 0 ? 0 : wait_ms < max_ms ? wait_ms : max_ms;
}

static void start_later(struct supervisor *supervisor)
{
    uint64_t now_ms = mig_now_ms();
    unsigned max_ms = supervisor->options->restart_max_ms;

    supervisor->helper = 0;
    supervisor->give_up_ms = NO_TIME;
    supervisor->failure_count =
        now_ms - supervisor->start_ms > STABLE_MS ? 1 : supervisor->failure_count + 1;
    supervisor->start_ms =
        now_ms + backoff_ms(supervisor->failure_count, max_ms > 0 ? max_ms : BACKOFF_MAX_MS);
}

/* It holds on to its memory, and the next may hang as it does: after the second they are started
 * ever less often. */
static void leave_behind(struct supervisor *supervisor)
{
    unsigned max_ms = supervisor->options->restart_max_ms;

    supervisor->left[supervisor->left_count++] = supervisor->helper;
    tell(supervisor, MIG_MESSAGE_ENDED, supervisor->helper, SIGKILL, -1);
    tell_left(supervisor);
    start_later(supervisor);
    if (supervisor->left_count > 1) {
        supervisor->start_ms += (uint64_t)(max_ms > 0 ? max_ms : BACKOFF_MAX_MS)
                                << supervisor->left_count;
    }
}

/* One that was left behind has ended: whatever held it has let go. */
static void forget_left(struct supervisor *supervisor, pid_t pid)
{
    for (unsigned i = 0; i < supervisor->left_count; i++) {
        if (supervisor->left[i] == pid) {
            supervisor->left[i] = supervisor->left[--supervisor->left_count];
            if (supervisor->helper == 0) {
                supervisor->start_ms = mig_now_ms();
            }
            return;
        }
    }
}

static void start_helper(struct supervisor *supervisor)
{
    pid_t parent = getpid();
    int ends[2];

    if (mig_channel_pair(ends, NULL) < 0) {
        start_later(supervisor);
        return;
    }
    supervisor->helper = fork();
    if (supervisor->helper == 0) {
        close(ends[0]);
        close(supervisor->control);
        close(supervisor->signals);
        if (mig_privilege_die_with(SIGTERM, parent, NULL) < 0) {
            _exit(1);
        }
        mig_server_run(supervisor->options, ends[1], supervisor->isolated);
    }
    close(ends[1]);
    if (supervisor->helper < 0) {
        start_later(supervisor);
    } else {
        supervisor->start_ms = mig_now_ms();
        tell(supervisor, MIG_MESSAGE_STARTED, supervisor->helper, 0, ends[0]);
    }
    close(ends[0]);
}

static void kill_helper(struct supervisor *supervisor)
{
    if (supervisor->helper > 0 && supervisor->give_up_ms == NO_TIME) {
        (void)kill(supervisor->helper, SIGKILL);
        supervisor->give_up_ms = mig_now_ms() + KILL_WAIT_MS;
    }
}

/* ---- events ---- */

static void reap(struct supervisor *supervisor)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == supervisor->agent) {
            supervisor->agent = 0;
            supervisor->agent_status = status;
            if (supervisor->give_up_ms == NO_TIME) {
                supervisor->give_up_ms = mig_now_ms() + FINISH_WAIT_MS;
            }
        } else if (pid == supervisor->helper) {
            tell(supervisor, MIG_MESSAGE_ENDED, pid, status, -1);
            start_later(supervisor);
        } else {
            forget_left(supervisor, pid);
        }
    }
}

static void take_signal(struct supervisor *supervisor)
{
    struct signalfd_siginfo info;

    if (read(supervisor->signals, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        return;
    }
    if (info.ssi_signo == SIGCHLD) {
        reap(supervisor);
    } else if (supervisor->agent > 0 && info.ssi_code != SI_KERNEL) {
        /* what comes from a terminal goes to all processes of its group anyway */
        (void)kill(supervisor->agent, (int)info.ssi_signo);
    }
}

static void take_message(struct supervisor *supervisor)
{
    MIG_AUTO_MESSAGE struct mig_message *message = NULL;
    int rc = mig_receiver_read(&supervisor->receiver, supervisor->control, &message, NULL);

    if (rc < 0) {
        close(supervisor->control);
        supervisor->control = -1;
    } else if (rc == 1 && message->type == MIG_MESSAGE_REPLACE &&
               message->process.pid == (uint32_t)supervisor->helper) {
        kill_helper(supervisor);
    }
}

static int exit_status(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void end_all(struct supervisor *supervisor)
{
    if (supervisor->helper > 0) {
        (void)kill(supervisor->helper, SIGKILL);
    }
    _exit(exit_status(supervisor->agent_status));
}

/* What is due by the clock. Returns how long to wait for something else, in ms. */
static int keep_time(struct supervisor *supervisor)
{
    uint64_t now_ms = mig_now_ms();
    uint64_t next_ms = supervisor->give_up_ms;
    bool wanted = supervisor->agent > 0 && supervisor->control >= 0;

    if (supervisor->agent == 0 && (supervisor->helper == 0 || now_ms >= supervisor->give_up_ms)) {
        end_all(supervisor);
    }
    if (supervisor->helper > 0 && now_ms >= supervisor->give_up_ms) {
        /* it cannot be killed: the next one will be told by the lock if it still does something */
        leave_behind(supervisor);
    }
    if (supervisor->helper == 0 && wanted && supervisor->left_count < LEFT_MAX) {
        if (now_ms >= supervisor->start_ms) {
            start_helper(supervisor);
        } else if (supervisor->start_ms < next_ms) {
            next_ms = supervisor->start_ms;
        }
    }
    now_ms = mig_now_ms();
    return next_ms == NO_TIME ? -1 : next_ms <= now_ms ? 0 : (int)(next_ms - now_ms) + 1;
}

__attribute__((noreturn)) static void supervise(struct supervisor *supervisor)
{
    /* before a fork, so that a helper begins with as little */
    mig_memory_give_back();
    for (;;) {
        struct pollfd entries[2] = {{.fd = supervisor->signals, .events = POLLIN},
                                    {.fd = supervisor->control, .events = POLLIN}};

        if (poll(entries, 2, keep_time(supervisor)) < 0) {
            continue;
        }
        if (entries[0].revents != 0) {
            take_signal(supervisor);
        }
        if (entries[1].revents != 0) {
            take_message(supervisor);
        }
    }
}

/* ---- starting ---- */

static void say_ready(int control)
{
    struct mig_message *message = mig_message_new(MIG_MESSAGE_READY, 0);

    if (message) {
        (void)mig_text_copy(message->text, sizeof(message->text), MIG_PROTOCOL_ID);
        (void)mig_channel_send(control, message, 0, NULL);
    }
    mig_message_free(message);
}

void mig_supervisor_run(const struct mig_helper_arguments *arguments)
{
    struct supervisor supervisor = {.options = &arguments->options,
                                    .control = arguments->control,
                                    .agent = arguments->agent,
                                    .give_up_ms = NO_TIME};
    const sigset_t watched = mig_signals_watched();

    mig_signals_block(NULL); /* they are, unless somebody else has started this */
    (void)prctl(PR_SET_NAME, "migd-supervisor", 0, 0, 0);
    (void)fcntl(supervisor.control, F_SETFD, FD_CLOEXEC);
    supervisor.signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (supervisor.signals < 0) {
        (void)fprintf(stderr, MIG_HELPER_PROGRAM ": could not watch signals: %m\n");
        _exit(-MIG_E_FAILED);
    }
    mig_receiver_init(&supervisor.receiver, MIG_CHANNEL_REQUEST_MAX);
    supervisor.isolated = mig_privilege_isolate(NULL) == 0;
    /* what cannot be given up here is said by the helper, which tries as well */
    (void)mig_privilege_reduce(mig_privilege_wanted(), NULL);
    say_ready(supervisor.control);
    supervise(&supervisor);
}

void mig_supervisor_decline(const struct mig_helper_arguments *arguments)
{
    int status = 0;

    say_ready(arguments->control);
    while (waitpid(arguments->agent, &status, 0) < 0) {
        if (errno != EINTR) {
            _exit(-MIG_E_FAILED);
        }
    }
    _exit(exit_status(status));
}
