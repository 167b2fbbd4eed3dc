/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting, telling and ending nvidia-cuda-mps-control.
 *
 * It runs in the foreground as a child, so that its end is seen; its front end is the same program
 * without arguments, with commands on its standard input. Who listens on the control socket is
 * asked of the kernel: that finds daemons of an earlier helper, whatever became of its notes, and
 * never another process that has got the number since.
 */
#include "helper/mps_daemon.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/file.h"
#include "base/text.h"
#include "helper/host.h"
#include "helper/mps_files.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define PROGRAM "nvidia-cuda-mps-control"
#define DRIVER_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define QUIT_COMMAND "quit -t 1\n" /* servers with clients are ended after a second */
#define QUIT_MS 1500u              /* beyond the patience */
#define KILL_MS 2000u
#define TICK_MS 5u
#define AGAIN_MS 50u
#define RECORD_BYTES_MAX 512u
#define RECORD_FORMAT "migd mps 1 %u %u %d %s\n"
#define SERVERS_MAX 16u

extern char **environ;

/* ---- who listens ---- */

pid_t mps_daemon_find(const struct mps_place *place, const char *uuid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    MIG_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    char path[MPS_PATH_SIZE];
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);

    if (fd < 0 || !mig_text_copy(address.sun_path, sizeof(address.sun_path),
                                 mps_path(place, uuid, "pipe/control", path))) {
        return 0;
    }
    return connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
                   getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0
               ? peer.pid
               : 0;
}

/* ---- the program ---- */

/* The program as it is called below the driver's root; NULL = it is not there. */
static const char *find_program(const char *driver_root)
{
    static const char *const paths[] = {"/usr/bin/" PROGRAM, "/usr/sbin/" PROGRAM, "/bin/" PROGRAM,
                                        "/usr/local/bin/" PROGRAM};
    char path[MPS_PATH_SIZE];

    if (!driver_root[0]) {
        return PROGRAM; /* by PATH */
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(paths); i++) {
        (void)snprintf(path, sizeof(path), "%s%s", driver_root, paths[i]);
        if (access(path, X_OK) == 0) {
            return paths[i];
        }
    }
    return NULL;
}

/* One call of the program, for one device. */
struct call {
    struct mig_command command;
    struct mps_view view;
    const char *words[3];
    char device[MIG_HELPER_MPS_ID_SIZE + 32], pipe[MPS_PATH_SIZE + 32], log[MPS_PATH_SIZE + 32];
    char **environment;
};

static void free_call(struct call *call)
{
    free((void *)call->environment);
    free(call);
}

MIG_DEFINE_CLEANUP(call, struct call, free_call)
#define AUTO_CALL MIG_CLEANUP(cleanup_call)

/* Ours, without what says the opposite. */
static bool fill_environment(struct call *call, bool below_root)
{
    static char path[] = DRIVER_PATH;
    static const char *const dropped[] = {"CUDA_", "NVIDIA_VISIBLE_DEVICES=", "NOTIFY_SOCKET="};
    size_t count = 0, kept = 0;

    while (environ[count]) {
        count++;
    }
    call->environment = (char **)calloc(count + 5, sizeof(char *));
    for (size_t i = 0; call->environment && i < count; i++) {
        bool drop = below_root && mig_text_starts_with(environ[i], "PATH=");

        for (size_t j = 0; j < MIG_ARRAY_SIZE(dropped); j++) {
            drop = drop || mig_text_starts_with(environ[i], dropped[j]);
        }
        if (!drop) {
            call->environment[kept++] = environ[i];
        }
    }
    if (call->environment) {
        call->environment[kept++] = call->device;
        call->environment[kept++] = call->pipe;
        call->environment[kept++] = call->log;
        call->environment[kept] = below_root ? path : NULL;
    }
    return call->environment != NULL;
}

static struct call *new_call(const struct mps_place *place, const struct mps_daemon *daemon,
                             const char *argument, struct mig_error *error)
{
    AUTO_CALL struct call *call = calloc(1, sizeof(*call));
    const char *uuid = daemon->device.uuid, *program = find_program(place->driver_root);
    char path[MPS_PATH_SIZE];

    if (!program) {
        (void)mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_ERRNO, ENOENT,
                            "there is no " PROGRAM " below '%s'", place->driver_root);
        (void)mig_error_hint(error, MIG_E_FAILED,
                             "it comes with the compute tools of the driver: is it all installed?");
        return NULL;
    }
    if (!call) {
        (void)mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not run " PROGRAM);
        return NULL;
    }
    (void)snprintf(call->device, sizeof(call->device), "CUDA_VISIBLE_DEVICES=%s", uuid);
    (void)snprintf(call->pipe, sizeof(call->pipe), "CUDA_MPS_PIPE_DIRECTORY=%s",
                   mps_path(place, uuid, "pipe", path));
    (void)snprintf(call->log, sizeof(call->log), "CUDA_MPS_LOG_DIRECTORY=%s",
                   mps_path(place, uuid, "log", path));
    if (mps_view_make(place, uuid, &call->view, error) < 0) {
        return NULL;
    }
    if (!fill_environment(call, place->driver_root[0] != '\0')) {
        (void)mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not run " PROGRAM);
        return NULL;
    }
    call->words[0] = program;
    call->words[1] = argument;
    call->command.words = call->words;
    call->command.root = place->driver_root;
    call->command.environment = call->environment;
    call->command.prepare = mps_view_enter;
    call->command.prepare_data = &call->view;
    return MIG_TAKE(call);
}

/* The percentage in the last line of an answer; negative when there is none. */
static double last_percentage(const char *output)
{
    const char *line = strrchr(output, '\n');
    char *end = NULL;
    double said;

    while (line && line > output && line[-1] != '\n') {
        line--;
    }
    line = line ? line : output;
    said = strtod(line, &end);
    return end != line ? said : -1;
}

/* Runs the front end once; without an answer it was turned away, whatever its status. */
static int ask_once(struct call *call, bool answers, struct mig_error *error)
{
    int rc = mig_command_run(&call->command, error);

    if (rc == 0) {
        rc = mig_command_check(&call->command, error);
    }
    if (rc == 0 && answers && last_percentage(call->command.output) < 0) {
        rc = mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                           "its MPS control daemon gave no answer");
    }
    return rc;
}

/*
 * What the front end answers to `input`; in `output`, of MIG_COMMAND_OUTPUT_SIZE. Of two front ends
 * at the same time the daemon turns one away, perhaps ours, and not always with an error: so every
 * question ends with one that has an answer (the percentage of threads, the last line), and as long
 * as somebody listens it is asked again.
 */
static int ask(const struct mps_place *place, const struct mps_daemon *daemon, const char *input,
               unsigned timeout_ms, char *output, struct mig_error *error)
{
    AUTO_CALL struct call *call = new_call(place, daemon, NULL, error);
    bool answers = strcmp(input, QUIT_COMMAND) != 0;
    uint64_t end_ms = mig_now_ms() + timeout_ms;
    char text[MIG_COMMAND_INPUT_MAX];
    int rc;

    if (!call) {
        return MIG_E_FAILED;
    }
    (void)snprintf(text, sizeof(text), "%s%s", input,
                   answers ? "get_default_active_thread_percentage\n" : "");
    call->command.input = text;
    for (;;) {
        uint64_t now_ms = mig_now_ms();

        call->command.timeout_ms = end_ms > now_ms ? (unsigned)(end_ms - now_ms) : 1;
        rc = ask_once(call, answers, error);
        if (rc == 0 || mig_now_ms() + AGAIN_MS >= end_ms ||
            mps_daemon_find(place, daemon->device.uuid) == 0) {
            break;
        }
        mig_sleep_ms(AGAIN_MS);
    }
    (void)mig_text_copy(output, MIG_COMMAND_OUTPUT_SIZE, call->command.output);
    return rc;
}

/* ---- its end ---- */

/* 0 while it runs; 1 when it has ended, with the status if that can be known (-1 = not). */
static int look(struct mps_daemon *daemon, int *ret_status)
{
    siginfo_t info = {0};
    struct pollfd entry = {.events = POLLIN};
    int ended;

    *ret_status = -1;
    if (daemon->is_child) {
        if (waitid(P_PID, (id_t)daemon->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == 0) {
            return 0;
        }
        /* its servers do not stay: while it is not reaped the group's number is its own */
        (void)kill(-daemon->pid, SIGKILL);
        (void)waitpid(daemon->pid, ret_status, 0);
        return 1;
    }
    entry.fd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
    if (entry.fd < 0) {
        return errno == ESRCH || kill(daemon->pid, 0) < 0;
    }
    ended = poll(&entry, 1, 0) > 0;
    close(entry.fd);
    return ended;
}

bool mps_daemon_has_ended(const struct mps_place *place, struct mps_daemon *daemon, char *how,
                          size_t size)
{
    char line[MIG_HELPER_MPS_TEXT_SIZE];
    int status = -1;

    if (daemon->pid == 0 || !look(daemon, &status)) {
        return daemon->pid == 0;
    }
    daemon->pid = 0;
    mps_files_last_line(place, daemon->device.uuid, line, sizeof(line));
    if (status == -1) {
        (void)snprintf(how, size, "its MPS control daemon ended");
    } else {
        (void)snprintf(how, size, "its MPS control daemon %s %d%s%.80s",
                       WIFEXITED(status) ? "ended with status" : "was ended by signal",
                       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                       line[0] ? ": " : "", line);
    }
    return true;
}

static bool wait_end(struct mps_daemon *daemon)
{
    uint64_t end_ms = mig_now_ms() + KILL_MS;
    int status;

    while (!look(daemon, &status)) {
        if (mig_now_ms() >= end_ms) {
            return false;
        }
        mig_sleep_ms(TICK_MS);
    }
    return true;
}

void mps_daemon_end(const struct mps_place *place, struct mps_daemon *daemon)
{
    char output[MIG_COMMAND_OUTPUT_SIZE];

    if (daemon->pid == 0) {
        return;
    }
    (void)ask(place, daemon, QUIT_COMMAND, place->patience_ms + QUIT_MS, output, NULL);
    if (!wait_end(daemon)) {
        (void)kill(-daemon->pid, SIGKILL);
        (void)kill(daemon->pid, SIGKILL);
        (void)wait_end(daemon); /* one that hangs in the driver stays, and does not come back */
    }
    daemon->pid = 0;
}

/* ---- its start ---- */

/* Until it listens. */
static int wait_start(const struct mps_place *place, struct mps_daemon *daemon,
                      struct mig_error *error)
{
    uint64_t end_ms = mig_now_ms() + place->patience_ms;
    char how[MIG_HELPER_MPS_TEXT_SIZE];

    while (mps_daemon_find(place, daemon->device.uuid) != daemon->pid) {
        if (mps_daemon_has_ended(place, daemon, how, sizeof(how))) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "%s", how);
        }
        if (mig_now_ms() >= end_ms) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "its MPS control daemon (pid %d) was not ready within %u ms",
                                 (int)daemon->pid, place->patience_ms);
        }
        mig_sleep_ms(TICK_MS);
    }
    return 0;
}

int mps_daemon_start(const struct mps_place *place, struct mps_daemon *daemon,
                     struct mig_error *error)
{
    AUTO_CALL struct call *call = NULL;
    struct mps_daemon other = {.device = daemon->device};
    MIG_AUTO_CLOSE int log = -1;
    int rc = mps_files_make(place, daemon->device.uuid, error);

    if (rc < 0) {
        return rc;
    }
    other.pid = mps_daemon_find(place, daemon->device.uuid);
    mps_daemon_end(place, &other);
    log = mps_files_open_log(place, daemon->device.uuid, error);
    call = log >= 0 ? new_call(place, daemon, "-f", error) : NULL;
    if (!call) {
        return MIG_E_FAILED;
    }
    rc = mig_command_start(&call->command, log, &daemon->pid, error);
    if (rc < 0) {
        daemon->pid = 0;
        return error && error->domain == MIG_DOMAIN_ERRNO && error->code == EPERM
                   ? mig_error_hint(error, rc,
                                    "a mount namespace of its own needs CAP_SYS_ADMIN: is migd "
                                    "privileged?")
                   : rc;
    }
    daemon->is_child = true;
    rc = wait_start(place, daemon, error);
    if (rc == 0) {
        rc = mps_daemon_limit(place, daemon, error);
    }
    if (rc < 0) {
        mps_daemon_end(place, daemon);
    }
    return rc;
}

/* ---- what is said to it ---- */

int mps_daemon_limit(const struct mps_place *place, const struct mps_daemon *daemon,
                     struct mig_error *error)
{
    const struct mig_helper_mps *device = &daemon->device;
    char input[256], memory[96] = "", output[MIG_COMMAND_OUTPUT_SIZE];
    double said;
    int rc;

    /* the daemon sees one device, which is its device 0 */
    if (device->memory_mib > 0) {
        (void)snprintf(memory, sizeof(memory), "set_default_device_pinned_mem_limit 0 %uM\n",
                       device->memory_mib);
    }
    (void)snprintf(input, sizeof(input), "%sset_default_active_thread_percentage %u\n", memory,
                   device->percentage);
    rc = ask(place, daemon, input, place->patience_ms, output, error);
    said = rc == 0 ? last_percentage(output) : 0;
    if (rc == 0 && (said < device->percentage - 0.5 || said > device->percentage + 0.5)) {
        rc =
            mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                          "its MPS control daemon did not take %u %% of threads, and stays at %.1f",
                          device->percentage, said);
    }
    return rc;
}

/* The number at the beginning of a line; 0 = none. The line is left. */
static uint32_t take_pid(const char **text)
{
    size_t length = strcspn(*text, "\n");
    char word[16];
    uint64_t pid = 0;

    (void)snprintf(word, sizeof(word), "%.*s", (int)(length < 15 ? length : 15), *text);
    word[strcspn(word, " \r")] = '\0';
    *text += length + ((*text)[length] == '\n');
    return mig_text_parse_u64(word, INT32_MAX, &pid) ? (uint32_t)pid : 0;
}

bool mps_daemon_has_clients(const struct mps_place *place, const struct mps_daemon *daemon)
{
    char output[MIG_COMMAND_OUTPUT_SIZE], input[SERVERS_MAX * 48] = "";
    const char *line = output;
    size_t size = 0;

    if (daemon->pid == 0) {
        return false;
    }
    if (ask(place, daemon, "get_server_list\n", place->patience_ms, output, NULL) < 0) {
        return true;
    }
    while (*line && size + 48 < sizeof(input)) {
        uint32_t server = take_pid(&line);

        if (server > 0) {
            size += (size_t)snprintf(input + size, sizeof(input) - size, "get_client_list %u\n",
                                     server);
        }
    }
    if (size == 0) {
        return false;
    }
    if (ask(place, daemon, input, place->patience_ms, output, NULL) < 0) {
        return true;
    }
    for (line = output; *line;) {
        if (take_pid(&line) > 0) {
            return true;
        }
    }
    return false;
}

/* ---- its record ---- */

int mps_daemon_keep(const struct mps_place *place, const struct mps_daemon *daemon,
                    struct mig_error *error)
{
    char path[MPS_PATH_SIZE], text[RECORD_BYTES_MAX];
    int length = snprintf(text, sizeof(text), RECORD_FORMAT, daemon->device.percentage,
                          daemon->device.memory_mib, daemon->has_mode ? daemon->mode_before : -1,
                          daemon->device.gpu_uuid);

    return mig_file_write_atomic(mps_path(place, daemon->device.uuid, MPS_RECORD_NAME, path), text,
                                 (size_t)length, 0600, error);
}

bool mps_daemon_recall(const struct mps_place *place, const char *uuid, struct mps_daemon *ret)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[MPS_PATH_SIZE], gpu[MIG_HELPER_MPS_ID_SIZE] = "";
    unsigned percentage = 0, memory_mib = 0;
    size_t size = 0;
    int mode = -1;

    if (mig_file_read(mps_path(place, uuid, MPS_RECORD_NAME, path), RECORD_BYTES_MAX, &text, &size,
                      NULL) < 0 ||
        sscanf(text, "migd mps 1 %u %u %d %63s", &percentage, &memory_mib, &mode, gpu) != 4 ||
        percentage == 0 || percentage > 100 || !mig_host_is_uuid(gpu)) {
        return false;
    }
    *ret = (struct mps_daemon){.mode_before = mode, .has_mode = mode >= 0};
    (void)mig_text_copy(ret->device.uuid, sizeof(ret->device.uuid), uuid);
    (void)mig_text_copy(ret->device.gpu_uuid, sizeof(ret->device.gpu_uuid), gpu);
    ret->device.percentage = percentage;
    ret->device.memory_mib = memory_mib;
    return true;
}
