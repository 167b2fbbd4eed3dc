/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migd-helper runs as root, so what is run has to be what was installed with this program: it is
 * looked for where this program itself is, never on a path that the caller could set, and it has to
 * belong to root or to the owner of this program. What was checked is what is run, by descriptor.
 */
#include "helper/program.h"
#include "base/cleanup.h"
#include "helper/arguments.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SELF "/proc/self/exe"

/* The folder of this program, with the '/' at its end; false when /proc is not there. */
static bool find_own_folder(char *buffer, size_t size)
{
    ssize_t length = readlink(SELF, buffer, size - 1);
    char *slash;

    if (length <= 0) {
        return false;
    }
    buffer[length] = '\0';
    slash = strrchr(buffer, '/');
    if (!slash) {
        return false;
    }
    slash[1] = '\0';
    return true;
}

/* Beside this program, as in a build folder, or where an installation has it. */
static int open_own(char *path, size_t size, int *ret_fd)
{
    static const char *const places[] = {"", MIGD_LIBEXEC_FROM_SBIN "/"};
    char folder[PATH_MAX];

    if (!find_own_folder(folder, sizeof(folder))) {
        (void)snprintf(path, size, "%s/" MIG_HELPER_PROGRAM, MIGD_LIBEXEC);
        *ret_fd = open(path, O_PATH | O_CLOEXEC);
        return *ret_fd < 0 ? -errno : 0;
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(places); i++) {
        int length = snprintf(path, size, "%s%s" MIG_HELPER_PROGRAM,
                              places[i][0] == '/' ? "" : folder, places[i]);

        *ret_fd = length > 0 && (size_t)length < size ? open(path, O_PATH | O_CLOEXEC) : -1;
        if (*ret_fd >= 0 || errno != ENOENT) {
            break;
        }
    }
    return *ret_fd < 0 ? -errno : 0;
}

static int check(int fd, const char *path, struct mig_error *error)
{
    struct stat own, status;

    if (fstat(fd, &status) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not look at '%s'", path);
    }
    if (!S_ISREG(status.st_mode) || (status.st_mode & 0111) == 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "'%s' is no program", path);
    }
    if ((status.st_mode & S_IWOTH) != 0 ||
        (status.st_uid != 0 && (stat(SELF, &own) < 0 || own.st_uid != status.st_uid))) {
        (void)mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                            "'%s' is not run with privileges: it can be changed by others than "
                            "root and the owner of migd",
                            path);
        return mig_error_hint(error, MIG_E_FAILED,
                              "it has to belong to root, or to whom migd belongs, and must not be "
                              "writable for all");
    }
    return 0;
}

int mig_helper_open_program(const char *path, int *ret_fd, struct mig_error *error)
{
    MIG_AUTO_CLOSE int fd = -1;
    char found[PATH_MAX] = "";
    int rc = 0;

    if (path) {
        (void)snprintf(found, sizeof(found), "%s", path);
        fd = open(path, O_PATH | O_CLOEXEC);
        rc = fd < 0 ? -errno : 0;
    } else {
        rc = open_own(found, sizeof(found), &fd);
    }
    if (rc < 0) {
        (void)mig_error_set_errno(error, MIG_E_FAILED, -rc,
                                  "could not find the program of the privileged process, '%s'",
                                  found);
        return mig_error_hint(error, MIG_E_FAILED,
                              "it is installed with migd: install migd again, whole");
    }
    rc = check(fd, found, error);
    if (rc == 0) {
        *ret_fd = MIG_TAKE_FD(fd);
    }
    return rc;
}
