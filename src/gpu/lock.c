/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An open-file-description lock on a file. It belongs to the descriptor, so two sessions of one
 * process exclude each other too, and it goes with the process. Waiting is polling: such a lock
 * cannot be waited for with a limit.
 */
#include "gpu/lock.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define POLL_MS 20
#define HOLDER_SIZE 128

void mig_own_command(char *buffer, size_t size)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t length = 0;

    mig_text_copy(buffer, size, "unknown");
    if (mig_file_read("/proc/self/comm", HOLDER_SIZE, &text, &length, NULL) < 0) {
        return;
    }
    text[strcspn(text, "\n")] = '\0';
    for (char *c = text; *c != '\0'; c++) {
        if (!isgraph((unsigned char)*c)) {
            *c = '_';
        }
    }
    if (text[0] != '\0') {
        mig_text_copy(buffer, size, text);
    }
}

/* 1 = somebody else has it. */
static int try_lock(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        return 0;
    }
    return errno == EAGAIN || errno == EACCES ? 1 : -errno;
}

/* For the message of those who find it taken; failing to write it is no failure. */
static void write_holder(int fd)
{
    char command[64], line[HOLDER_SIZE];
    int length;

    mig_own_command(command, sizeof(command));
    length = snprintf(line, sizeof(line), "%s (pid %ld)\n", command, (long)getpid());
    if (ftruncate(fd, 0) == 0) {
        (void)!pwrite(fd, line, (size_t)length, 0);
    }
}

static int is_taken(int fd, const char *path, unsigned timeout_ms, struct mig_error *error)
{
    char holder[HOLDER_SIZE];
    ssize_t length = pread(fd, holder, sizeof(holder) - 1, 0);

    holder[length > 0 ? length : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    if (timeout_ms > 0) {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                      "another change of this node did not end within %u ms ('%s' is locked)",
                      timeout_ms, path);
    } else {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                      "another change of this node is running ('%s' is locked)", path);
    }
    if (holder[0] != '\0') {
        mig_error_add_holder(error, "%s", holder);
    }
    return mig_error_hint(error, MIG_E_BUSY, "wait until it is done, or allow more time to wait");
}

int mig_lock_take(const char *path, unsigned timeout_ms, void (*waiting)(void *data), void *data,
                  int *ret_fd, struct mig_error *error)
{
    MIG_AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    uint64_t end_ms = mig_now_ms() + timeout_ms;
    int rc;

    if (fd < 0) {
        mig_error_set_errno(error, MIG_E_FAILED, errno, "could not open '%s'", path);
        return mig_error_hint(error, MIG_E_FAILED,
                              "run as root, or choose another state directory");
    }
    for (bool told = false; (rc = try_lock(fd)) == 1 && mig_now_ms() < end_ms;) {
        if (!told && waiting) {
            waiting(data);
        }
        told = true;
        mig_sleep_ms(POLL_MS);
    }
    if (rc == 1) {
        return is_taken(fd, path, timeout_ms, error);
    }
    if (rc < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not lock '%s'", path);
    }
    write_holder(fd);
    *ret_fd = MIG_TAKE_FD(fd);
    return 0;
}
