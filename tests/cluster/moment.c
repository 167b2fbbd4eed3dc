/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into migd, so that a test can choose the moment at which something happens to it: the
 * process stops (SIGSTOP) right after it has written a line with a text to its log, and its clocks
 * go ahead or back.
 *
 * Both are told through a file that is mapped before privileges are given up; its layout is that of
 * `struct moment`, and moment.py writes it. Nothing is in migd for this: what it logs at level
 * debug is enough.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct moment {
    volatile int64_t real_s, monotonic_s;  /* added to the clocks */
    char text[4096 - 2 * sizeof(int64_t)]; /* "" = do not stop */
};

static struct moment *moment;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MIGD_MOMENT");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *mapped;

    if (fd < 0) {
        return;
    }
    mapped = mmap(NULL, sizeof(*moment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    moment = mapped == MAP_FAILED ? NULL : mapped;
}

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t written = syscall(SYS_write, fd, data, size);

    if (fd == STDERR_FILENO && moment && moment->text[0] &&
        memmem(data, size, moment->text, strnlen(moment->text, sizeof(moment->text)))) {
        moment->text[0] = '\0'; /* once */
        raise(SIGSTOP);
    }
    return written;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, ret);

    if (rc == 0 && moment) {
        ret->tv_sec +=
            clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ? moment->real_s
            : clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME
                ? moment->monotonic_s
                : 0;
    }
    return rc;
}

time_t time(time_t *ret)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret) {
        *ret = now.tv_sec;
    }
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    *ret = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}
