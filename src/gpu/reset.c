/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs the reset command: no shell, no input, output kept up to a limit, its own process group so
 * that all of it can be ended when it takes too long. A process that hangs inside the driver cannot
 * be ended at all: then it is left behind.
 */
#include "gpu/reset.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#define WORD_MAX 32
#define WORD_SIZE 256
#define OUTPUT_SIZE 4096
#define TICK_MS 50
#define KILL_WAIT_MS 2000u
#define CHUNKS_MAX                                                                \
    64 /* read in one go, so that a command that never stops writing is ended too \
        */
#define BUS_ID_MARK "{bus_id}"

static const char *const default_command[] = {"nvidia-smi", "--gpu-reset", "-i", BUS_ID_MARK, NULL};

struct command {
    char text[WORD_MAX][WORD_SIZE];
    char *words[WORD_MAX + 1];
};

static int expand(const char *const *command, const char *bus_id, struct command *ret,
                  struct mig_error *error)
{
    size_t count = 0;

    for (; command[count]; count++) {
        const char *word = command[count];
        const char *mark = strstr(word, BUS_ID_MARK);
        int head = mark ? (int)(mark - word) : (int)strlen(word);

        if (count == WORD_MAX ||
            snprintf(ret->text[count], WORD_SIZE, "%.*s%s%s", head, word, mark ? bus_id : "",
                     mark ? mark + strlen(BUS_ID_MARK) : "") >= WORD_SIZE) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "the reset command is too long");
        }
        ret->words[count] = ret->text[count];
    }
    if (count == 0) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "the reset command is empty");
    }
    return 0;
}

/* Starts it with its output on `output`. Returns 0 or an errno value. */
static int start(struct command *command, int output, pid_t *ret)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, defaults;
    int rc;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    rc = posix_spawnp(ret, command->text[0], &actions, &attributes, command->words, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Takes what is there to read; what is over the limit is read and dropped. */
static void drain(int fd, char *output, size_t *size)
{
    char chunk[512];

    for (unsigned i = 0; i < CHUNKS_MAX; i++) {
        ssize_t count = read(fd, chunk, sizeof(chunk));
        size_t room = OUTPUT_SIZE - 1 - *size;
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
            /* without a status (SIGCHLD is ignored) the mode that is read next tells */
            drain(fd, output, &size);
            return COMMAND_ENDED;
        }
        if (mig_now_ms() >= end_ms) {
            kill(-pid, SIGKILL);
            return reap(pid, ret_status) ? COMMAND_KILLED : COMMAND_STUCK;
        }
    }
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

static int say_status(const char *name, int status, char *output, struct mig_error *error)
{
    const char *line = last_line(output);

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        return 0;
    }
    if (WIFEXITED(status)) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, status,
                             "'%s' ended with status %d%s%s", name, WEXITSTATUS(status),
                             line[0] != '\0' ? ": " : "", line);
    }
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, status,
                         "'%s' was ended by signal %d", name, WTERMSIG(status));
}

int mig_reset_run(const char *const *command, const char *bus_id, unsigned timeout_ms,
                  struct mig_error *error)
{
    MIG_AUTO_FREE struct command *expanded = calloc(1, sizeof(*expanded));
    char output[OUTPUT_SIZE] = "";
    MIG_AUTO_CLOSE int read_end = -1;
    int ends[2], status = 0;
    enum command_end end;
    pid_t pid;
    int rc;

    if (!expanded) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not run the reset command");
    }
    rc = expand(command ? command : default_command, bus_id, expanded, error);
    if (rc < 0) {
        return rc;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not run the reset command");
    }
    read_end = ends[0];
    /* our end only: the command must not see its writes refused */
    (void)fcntl(read_end, F_SETFL, O_NONBLOCK);
    rc = start(expanded, ends[1], &pid);
    close(ends[1]);
    if (rc != 0) {
        mig_error_set_errno(error, MIG_E_FAILED, rc, "could not run '%s'", expanded->words[0]);
        return mig_error_hint(error, MIG_E_FAILED, "configure the command that resets a GPU");
    }
    end = wait_end(pid, read_end, timeout_ms, output, &status);
    if (end != COMMAND_ENDED) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_EXIT, status,
                             "'%s' did not end within %u ms and %s", expanded->words[0], timeout_ms,
                             end == COMMAND_KILLED ? "was killed"
                                                   : "cannot be killed: it hangs in the driver");
    }
    return say_status(expanded->words[0], status, output, error);
}
