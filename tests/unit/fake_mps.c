/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stand-in for nvidia-cuda-mps-control, for tests: our own program, which shares nothing with a
 * GPU. It behaves as the real one of branches 535 and 550 does on its command line, on standard
 * input and in its pipe directory (tests/clients/test_mps.py holds both to the same): -f and -d are
 * the daemon, no argument the front end; the socket is pipe/control; commands are lines.
 *
 * FAKE_MPS is a folder of the test's: `calls` is what was asked of whom; when there is a file
 * `fail` or `fail-UUID` the daemon ends at once, with `deaf` it never listens, with `stuck` it does
 * not answer, with `busy` or `mute` one front end is turned away; `clients` has the pids that are
 * connected. FAKE_MPS_SERVER is what a server runs, with the UUID as its argument.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVERS_MAX 8
#define LINE_MAX_SIZE 4096

static const char *pipe_directory(void)
{
    const char *path = getenv("CUDA_MPS_PIPE_DIRECTORY");

    return path ? path : "/tmp/nvidia-mps";
}

static const char *device(void)
{
    const char *uuid = getenv("CUDA_VISIBLE_DEVICES");

    return uuid ? uuid : "";
}

static const char *file_of(const char *name)
{
    const char *folder = getenv("FAKE_MPS");
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", folder ? folder : "/nonexistent", name);
    return path;
}

static bool has_file(const char *name)
{
    return access(file_of(name), F_OK) == 0;
}

__attribute__((format(printf, 1, 2))) static void write_down(const char *format, ...)
{
    char text[512];
    va_list arguments;
    FILE *file;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    file = fopen(file_of("calls"), "a");
    if (file) {
        fprintf(file, "%s %s\n", device(), text);
        fclose(file);
    }
}

static int open_socket(bool listening)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int length =
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", pipe_directory());

    if (fd < 0 || length >= (int)sizeof(address.sun_path)) {
        return -1;
    }
    if (!listening) {
        return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : fd;
    }
    unlink(address.sun_path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0) {
        return -1;
    }
    chmod(address.sun_path, 0666);
    return fd;
}

/* ---- the daemon ---- */

struct daemon {
    double percentage;
    pid_t servers[SERVERS_MAX];
    unsigned server_count;
};

static void start_server(struct daemon *daemon)
{
    const char *program = getenv("FAKE_MPS_SERVER");
    pid_t pid = program && daemon->server_count < SERVERS_MAX ? fork() : -1;

    if (pid == 0) {
        execl(program, "nvidia-cuda-mps-server", device(), (char *)NULL);
        _exit(127);
    }
    if (pid > 0) {
        daemon->servers[daemon->server_count++] = pid;
    }
}

static void list_clients(char *answer, size_t size)
{
    FILE *file = fopen(file_of("clients"), "r");

    if (file) {
        answer[fread(answer, 1, size - 1, file)] = '\0';
        fclose(file);
    }
}

static void end_servers(struct daemon *daemon)
{
    for (unsigned i = 0; i < daemon->server_count; i++) {
        kill(daemon->servers[i], SIGTERM);
        waitpid(daemon->servers[i], NULL, 0);
    }
}

/* The answer to a line; false when it was the last. */
static bool obey(struct daemon *daemon, const char *line, char *answer, size_t size)
{
    double percentage = 0;
    size_t length = 0;

    answer[0] = '\0';
    write_down("%s", line);
    if (strncmp(line, "quit", 4) == 0) {
        return false;
    }
    if (sscanf(line, "set_default_active_thread_percentage %lf", &percentage) == 1) {
        if (percentage > 0 && percentage <= 100) {
            daemon->percentage = percentage;
        }
        snprintf(answer, size, "%.1f\n", daemon->percentage);
    } else if (strcmp(line, "get_default_active_thread_percentage") == 0) {
        snprintf(answer, size, "%.1f\n", daemon->percentage);
    } else if (strncmp(line, "start_server -uid", 17) == 0) {
        start_server(daemon);
    } else if (strcmp(line, "get_server_list") == 0) {
        for (unsigned i = 0; i < daemon->server_count; i++) {
            length += (size_t)snprintf(answer + length, size - length, "%d\n", daemon->servers[i]);
        }
    } else if (strncmp(line, "get_client_list", 15) == 0) {
        list_clients(answer, size);
    } else if (strncmp(line, "set_default_device_pinned_mem_limit", 35) != 0) {
        snprintf(answer, size, "Unknown command \"%.200s\"\n", line);
    }
    return true;
}

/* One front end at a time; each line is a packet, and so is each answer, of at least a byte. */
static bool serve(struct daemon *daemon, int fd)
{
    char line[LINE_MAX_SIZE], answer[LINE_MAX_SIZE];
    ssize_t size;
    bool goes_on = true;

    while (goes_on && (size = recv(fd, line, sizeof(line) - 1, 0)) > 0) {
        line[size] = '\0';
        goes_on = obey(daemon, line, answer, sizeof(answer));
        if (!goes_on) {
            end_servers(daemon);
        }
        (void)!send(fd, answer, strlen(answer) + 1, MSG_NOSIGNAL);
    }
    return goes_on;
}

static int run_daemon(bool background)
{
    struct daemon daemon = {.percentage = 100};
    char path[512], own[128];
    int lock, fd;
    FILE *file;

    snprintf(own, sizeof(own), "fail-%s", device());
    if (has_file("fail") || has_file(own)) {
        printf("stand-in: told to fail\n");
        return 1;
    }
    mkdir(pipe_directory(), 0777);
    snprintf(path, sizeof(path), "%s/control_lock", pipe_directory());
    lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0) {
        fprintf(stderr, "An instance of this daemon is already running\n");
        return 1;
    }
    if (background && fork() > 0) {
        return 0;
    }
    while (has_file("deaf")) {
        usleep(10000);
    }
    fd = open_socket(true);
    if (fd < 0) {
        return 1;
    }
    snprintf(path, sizeof(path), "%s/nvidia-cuda-mps-control.pid", pipe_directory());
    file = fopen(path, "w");
    if (file) {
        fprintf(file, "%d", getpid());
        fclose(file);
    }
    write_down("start");
    printf("Starting control daemon using socket %s/control\n", pipe_directory());
    fflush(stdout);
    for (bool goes_on = true; goes_on;) {
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

        while (has_file("stuck")) {
            usleep(10000);
        }
        goes_on = peer < 0 || serve(&daemon, peer);
        close(peer);
    }
    unlink(path);
    return 0;
}

/* ---- the front end ---- */

static int run_front_end(void)
{
    char line[LINE_MAX_SIZE], answer[LINE_MAX_SIZE];
    int fd = open_socket(false);

    if (fd >= 0 && has_file("busy")) {
        unlink(file_of("busy"));
        fprintf(stderr, "Cannot send command to MPS control daemon process\n");
        return 1;
    }
    if (fd >= 0 && has_file("mute")) {
        unlink(file_of("mute"));
        return 0; /* the real one was seen to do this as well */
    }
    if (fd < 0) {
        fprintf(stderr, "Cannot find MPS control daemon process\n");
        return 1;
    }
    while (fgets(line, sizeof(line), stdin)) {
        ssize_t size;

        line[strcspn(line, "\n")] = '\0';
        if (send(fd, line, strlen(line) + 1, MSG_NOSIGNAL) < 0) {
            return 1;
        }
        size = recv(fd, answer, sizeof(answer) - 1, 0);
        if (size <= 0) {
            return 1;
        }
        answer[size] = '\0';
        fputs(answer, stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "-f") == 0 || strcmp(argv[1], "-d") == 0)) {
        return run_daemon(argv[1][1] == 'd');
    }
    return run_front_end();
}
