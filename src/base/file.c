/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File helpers. Replacing a file goes write - fsync - rename - fsync of the directory: after a
 * crash at any point the name holds the old content or the new one, whole.
 */
#include "base/file.h"
#include "base/cleanup.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#define READ_CHUNK 65536u

static int grow(char **data, size_t *capacity, size_t needed)
{
    size_t wanted = *capacity > 0 ? *capacity : READ_CHUNK;
    char *larger;

    while (wanted < needed) {
        wanted *= 2;
    }
    if (wanted == *capacity) {
        return 0;
    }
    larger = realloc(*data, wanted);
    if (!larger) {
        return -ENOMEM;
    }
    *data = larger;
    *capacity = wanted;
    return 0;
}

/* Reads to the end or to one byte past `max`. */
static int read_all(int fd, size_t max, char **data, size_t *ret_size)
{
    size_t size = 0, capacity = 0;

    for (;;) {
        ssize_t count;

        if (grow(data, &capacity, size + READ_CHUNK + 1) < 0) {
            return -ENOMEM;
        }
        count = read(fd, *data + size, READ_CHUNK);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        if (count == 0) {
            break;
        }
        size += (size_t)count;
        if (size > max) {
            return -EFBIG;
        }
    }
    (*data)[size] = '\0';
    *ret_size = size;
    return 0;
}

int mig_file_read(const char *path, size_t max, char **ret, size_t *ret_size,
                  struct mig_error *error)
{
    MIG_AUTO_FREE char *data = NULL;
    MIG_AUTO_CLOSE int fd = -1;
    int source = STDIN_FILENO;
    int rc;

    if (strcmp(path, "-") != 0) {
        source = fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0) {
            return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not open '%s'", path);
        }
    }
    rc = read_all(source, max, &data, ret_size);
    if (rc == -EFBIG) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_ERRNO, EFBIG,
                             "'%s' is larger than the limit of %zu bytes", path, max);
    }
    if (rc < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not read '%s'", path);
    }
    *ret = MIG_TAKE(data);
    return 0;
}

int mig_write_all(int fd, const void *data, size_t size)
{
    const char *position = data;

    while (size > 0) {
        ssize_t count = write(fd, position, size);

        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        position += count;
        size -= (size_t)count;
    }
    return 0;
}

int mig_sync_parent(const char *path, struct mig_error *error)
{
    char directory[PATH_MAX];
    MIG_AUTO_CLOSE int fd = -1;
    const char *slash = strrchr(path, '/');

    if (!slash) {
        snprintf(directory, sizeof(directory), ".");
    } else {
        snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path),
                 path);
    }
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not sync directory '%s'",
                                   directory);
    }
    return 0;
}

static int write_synced(const char *path, const void *data, size_t size, mode_t mode)
{
    MIG_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    int rc;

    if (fd < 0) {
        return -errno;
    }
    rc = mig_write_all(fd, data, size);
    if (rc < 0) {
        return rc;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

int mig_file_write_atomic(const char *path, const void *data, size_t size, mode_t mode,
                          struct mig_error *error)
{
    char temporary[PATH_MAX];
    int rc;

    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.tmp.%ld", path, (long)getpid()) >=
        sizeof(temporary)) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENAMETOOLONG, "could not write '%s'", path);
    }
    unlink(temporary);
    rc = write_synced(temporary, data, size, mode);
    if (rc == 0 && rename(temporary, path) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        unlink(temporary);
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not write '%s'", path);
    }
    return mig_sync_parent(path, error);
}

int mig_file_remove(const char *path, struct mig_error *error)
{
    struct stat status;

    if (lstat(path, &status) < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return 0;
    }
    if (unlink(path) < 0 && errno != ENOENT) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not remove '%s'", path);
    }
    return 0;
}

int mig_mkdir_parents(const char *path, mode_t mode, struct mig_error *error)
{
    char partial[PATH_MAX];

    if (strlen(path) >= sizeof(partial)) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENAMETOOLONG,
                                   "could not make directory '%s'", path);
    }
    for (size_t i = 1; i <= strlen(path); i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, mode) < 0 && errno != EEXIST) {
            return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not make directory '%s'",
                                       partial);
        }
    }
    return 0;
}
