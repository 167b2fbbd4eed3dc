/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a program: no shell, short input, output kept up to a limit, its own process group so that
 * all of it can be ended when it takes too long. A process that hangs inside a driver cannot be
 * ended at all: then it is left behind.
 *
 * The child may belong to a program with threads, so between fork and exec it only makes calls that
 * are safe there; why it could not start comes back through a pipe that exec closes.
 */
#include "base/command.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define TICK_MS 50
#define KILL_WAIT_MS 2000u
#define CHUNKS_MAX                                                                \
    64 /* read in one go, so that a command that never stops writing is ended too \
        */

/* ---- starting ---- */

static void clear_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;

    (void)sigaction(SIGPIPE, &action, NULL);
    (void)sigaction(SIGCHLD, &action, NULL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child; returns only with an errno value. */
static int become(const struct mig_command *command, char *const *words, int given, int output)
{
    int input = given >= 0 ? given : open("/dev/null", O_RDONLY | O_CLOEXEC);
    int reason;

    if (input < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(output, STDERR_FILENO) < 0) {
        return errno;
    }
    (void)setpgid(0, 0);
    clear_signals();
    reason = command->prepare ? command->prepare(command->prepare_data) : 0;
    if (reason != 0) {
        return reason;
    }
    if (command->root && command->root[0] != '\0' &&
        (chroot(command->root) < 0 || chdir("/") < 0)) {
        return errno;
    }
    if (command->environment) {
        execvpe(words[0], words, command->environment);
    } else {
        execvp(words[0], words);
    }
    return errno;
}

/* A pipe with all of the input in it; -1 without any, or a negative errno value. */
static int open_input(const char *input)
{
    size_t size = input ? strlen(input) : 0;
    int ends[2];

    if (!input) {
        return -1;
    }
    if (size > MIG_COMMAND_INPUT_MAX) {
        return -E2BIG;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return -errno;
    }
    if (write(ends[1], input, size) != (ssize_t)size) {
        close(ends[0]);
        ends[0] = -EIO;
    }
    close(ends[1]);
    return ends[0];
}

/* Starts it with its output on `output`. Returns 0 or an errno value. */
static int start(const struct mig_command *command, int output, pid_t *ret)
{
    /* exec does not change the words, but its declaration is older than const */
    union {
        const char *const *given;
        char *const *wanted;
    } words = {command->words};
    MIG_AUTO_CLOSE int read_end = -1;
    MIG_AUTO_CLOSE int input = open_input(command->input);
    int ends[2], reason = 0;

    if (input < -1) {
        return -input;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return errno;
    }
    read_end = ends[0];
    *ret = fork();
    if (*ret == 0) {
        reason = become(command, words.wanted, input, output);
        (void)!write(ends[1], &reason, sizeof(reason));
        _exit(127);
    }
    reason = *ret < 0 ? errno : 0;
    close(ends[1]);
    if (*ret < 0) {
        return reason;
    }
    while (read(read_end, &reason, sizeof(reason)) < 0 && errno == EINTR) {
        ;
    }
    if (reason != 0) {
        (void)waitpid(*ret, NULL, 0);
    }
    return reason;
}

int mig_command_start(const struct mig_command *command, int output, pid_t *ret,
                      struct mig_error *error)
{
    int reason = start(command, output, ret);

    return reason == 0 ? 0
                       : mig_error_set_errno(error, MIG_E_FAILED, reason, "could not run '%s'",
                                             command->words[0]);
}

/* ---- waiting ---- */

/* Takes what is there to read; what is over the limit is read and dropped. */
static void drain(int fd, char *output, size_t *size)
{
    char chunk[512];

    for (unsigned i = 0; i < CHUNKS_MAX; i++) {
        ssize_t count = read(fd, chunk, sizeof(chunk));
        size_t room = MIG_COMMAND_OUTPUT_SIZE - 1 - *size;
        size_t taken = count > 0 && (size_t)count < room ? (size_t)count : room;

        if (count <= 0) {
            return;
        }
        memcpy(output + *size, chunk, taken);
        *size += taken;
        output[*size] = '\0';
    }
}

/* False when a process that was killed is still there. */
static bool reap(pid_t pid, int *ret_status)
{
    uint64_t end_ms = mig_now_ms() + KILL_WAIT_MS;
    pid_t ended;

    while (((ended = waitpid(pid, ret_status, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) &&
           mig_now_ms() < end_ms) {
        mig_sleep_ms(TICK_MS);
    }
    return ended != 0;
}

enum command_end { COMMAND_ENDED, COMMAND_KILLED, COMMAND_STUCK };

/* Waits for the end, or brings it about. */
static enum command_end wait_end(pid_t pid, int fd, unsigned timeout_ms, char *output,
                                 int *ret_status)
{
    uint64_t end_ms = mig_now_ms() + timeout_ms;
    size_t size = 0;
    bool open = true;

    for (;;) {
        struct pollfd entry = {.fd = open ? fd : -1, .events = POLLIN};
        pid_t ended;

        if (poll(&entry, 1, TICK_MS) > 0) {
            drain(fd, output, &size);
            open = (entry.revents & (POLLHUP | POLLERR)) == 0;
        }
        ended = waitpid(pid, ret_status, WNOHANG);
        if (ended == pid || (ended < 0 && errno != EINTR)) {
            /* without a status (SIGCHLD is ignored) the caller sees status 0 */
            drain(fd, output, &size);
            return COMMAND_ENDED;
        }
        if (mig_now_ms() >= end_ms) {
            kill(-pid, SIGKILL);
            return reap(pid, ret_status) ? COMMAND_KILLED : COMMAND_STUCK;
        }
    }
}

int mig_command_run(struct mig_command *command, struct mig_error *error)
{
    const char *name = command->words[0];
    MIG_AUTO_CLOSE int read_end = -1;
    enum command_end end;
    int ends[2], rc;
    pid_t pid = -1;

    command->output[0] = '\0';
    command->status = 0;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not run '%s'", name);
    }
    read_end = ends[0];
    /* our end only: the command must not see its writes refused */
    (void)fcntl(read_end, F_SETFL, O_NONBLOCK);
    rc = start(command, ends[1], &pid);
    close(ends[1]);
    if (rc != 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, rc, "could not run '%s'", name);
    }
    end = wait_end(pid, read_end, command->timeout_ms, command->output, &command->status);
    if (end != COMMAND_ENDED) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, command->status,
                             "'%s' did not end within %u ms and %s", name, command->timeout_ms,
                             end == COMMAND_KILLED ? "was killed"
                                                   : "cannot be killed: it hangs in the driver");
    }
    return 0;
}

/* The last line that says something, for the message. */
static const char *last_line(char *output)
{
    size_t length = strlen(output);
    char *line;

    while (length > 0 && (output[length - 1] == '\n' || output[length - 1] == ' ')) {
        output[--length] = '\0';
    }
    line = strrchr(output, '\n');
    return line ? line + 1 : output;
}

int mig_command_check(struct mig_command *command, struct mig_error *error)
{
    const char *name = command->words[0], *line;
    int status = command->status;

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    line = last_line(command->output);
    if (WIFEXITED(status)) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, status,
                             "'%s' ended with status %d%s%s", name, WEXITSTATUS(status),
                             line[0] != '\0' ? ": " : "", line);
    }
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, status,
                         "'%s' was ended by signal %d", name, WTERMSIG(status));
}
