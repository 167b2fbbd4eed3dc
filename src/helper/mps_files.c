/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folders of MPS control daemons, and how a daemon sees them.
 *
 * Client and server meet in /dev/shm, so the daemon and the containers of one device need the same
 * one, and no other device should have it. It is a small file system in memory where a mount of
 * ours reaches the host (else containers would be given the empty folder below it), and a plain
 * folder elsewhere.
 *
 * Containers can write into pipe/ and shm/: what they left there is removed without following links
 * and without trusting a path twice.
 */
#include "helper/mps_files.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/un.h>

#define FOLDER_MODE 0755
#define SHM_MODE 01777
#define SHM_OPTIONS "size=64m,mode=1777" /* the size of NVIDIA's */
#define LOG_NAME "log/control.log"
#define LOG_MODE 0644
#define LOG_BYTES_MAX (1 << 20)
#define LONGEST_SOCKET "pipe/control_privileged"
#define DEPTH_MAX 16
#define MOUNT_LINE_MAX 4096

char *mps_path(const struct mps_place *place, const char *uuid, const char *name,
               char buffer[MPS_PATH_SIZE])
{
    (void)snprintf(buffer, MPS_PATH_SIZE, "%s/%s%s%s", place->dir, uuid, name[0] ? "/" : "", name);
    return buffer;
}

/* ---- mounts ---- */

/* True when this line of mountinfo is of a mount that holds `path`; then its length and kind. */
static bool holds(char *line, const char *path, size_t *ret_length, bool *ret_reaches_host)
{
    char *point = line, *end;
    size_t length;

    for (unsigned i = 0; point && i < 4; i++) {
        point = strchr(point, ' ');
        point = point ? point + 1 : NULL;
    }
    end = point ? strchr(point, ' ') : NULL;
    if (!end || !strstr(end, " - ")) {
        return false;
    }
    length = (size_t)(end - point);
    if (strncmp(path, point, length) != 0 ||
        !(length == 1 || path[length] == '/' || path[length] == '\0')) {
        return false;
    }
    *strstr(end, " - ") = '\0';
    *ret_length = length;
    *ret_reaches_host = strstr(end, " shared:") && !strstr(end, " master:");
    return true;
}

/* Whether what is mounted below this path is seen outside of our mount namespace. */
static bool reaches_host(const char *path)
{
    MIG_AUTO_FCLOSE FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[MOUNT_LINE_MAX];
    size_t longest = 0;
    bool found = false;

    while (file && fgets(line, sizeof(line), file)) {
        size_t length = 0;
        bool reaches = false;

        if (holds(line, path, &length, &reaches) && length >= longest) {
            longest = length;
            found = reaches;
        }
    }
    return found;
}

static bool is_mount_point(const char *folder, const char *path)
{
    struct stat above, here;

    return stat(folder, &above) == 0 && lstat(path, &here) == 0 && here.st_dev != above.st_dev;
}

/* ---- making ---- */

static int make_shm(const struct mps_place *place, const char *uuid, struct mig_error *error)
{
    char folder[MPS_PATH_SIZE], path[MPS_PATH_SIZE];

    mps_path(place, uuid, "", folder);
    if (mig_mkdir_parents(mps_path(place, uuid, "shm", path), FOLDER_MODE, error) < 0) {
        return MIG_E_FAILED;
    }
    if (is_mount_point(folder, path) ||
        (reaches_host(folder) &&
         mount("shm", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, SHM_OPTIONS) == 0)) {
        return 0;
    }
    return chmod(path, SHM_MODE) == 0
               ? 0
               : mig_error_set_errno(error, MIG_E_FAILED, errno, "could not make '%s'", path);
}

int mps_files_make(const struct mps_place *place, const char *uuid, struct mig_error *error)
{
    static const char *const folders[] = {"pipe", "log"};
    char path[MPS_PATH_SIZE];
    int rc = 0;

    if (strlen(mps_path(place, uuid, LONGEST_SOCKET, path)) >=
        sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        (void)mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                            "'%s' is too long for the name of a socket", path);
        return mig_error_hint(error, MIG_E_USAGE, "give a shorter --mps-root");
    }
    for (size_t i = 0; rc == 0 && i < MIG_ARRAY_SIZE(folders); i++) {
        rc = mig_mkdir_parents(mps_path(place, uuid, folders[i], path), FOLDER_MODE, error);
    }
    return rc == 0 ? make_shm(place, uuid, error) : rc;
}

int mps_files_open_log(const struct mps_place *place, const char *uuid, struct mig_error *error)
{
    char path[MPS_PATH_SIZE];
    int fd = open(mps_path(place, uuid, LOG_NAME, path),
                  O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_NOFOLLOW | O_CLOEXEC, LOG_MODE);

    return fd >= 0 ? fd
                   : mig_error_set_errno(error, MIG_E_FAILED, errno, "could not write '%s'", path);
}

void mps_files_last_line(const struct mps_place *place, const char *uuid, char *buffer, size_t size)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[MPS_PATH_SIZE];
    size_t length = 0;
    char *line;

    buffer[0] = '\0';
    if (mig_file_read(mps_path(place, uuid, LOG_NAME, path), (size_t)2 * LOG_BYTES_MAX, &text,
                      &length, NULL) < 0) {
        return;
    }
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == ' ')) {
        text[--length] = '\0';
    }
    line = strrchr(text, '\n');
    (void)mig_text_copy(buffer, size, line ? line + 1 : text);
}

void mps_daemon_trim(const struct mps_place *place, const char *uuid)
{
    char path[MPS_PATH_SIZE];
    struct stat status;

    /* whoever has it open for appending goes on at the new end */
    if (lstat(mps_path(place, uuid, LOG_NAME, path), &status) == 0 && S_ISREG(status.st_mode) &&
        status.st_size > LOG_BYTES_MAX) {
        (void)!truncate(path, 0);
    }
}

/* ---- the view ---- */

/* A folder below the driver's root to mount on. */
static int make_target(const char *root, const char *path, char target[MPS_PATH_SIZE],
                       struct mig_error *error)
{
    struct stat status;

    (void)snprintf(target, MPS_PATH_SIZE, "%s%s", root, path);
    return stat(target, &status) == 0 && S_ISDIR(status.st_mode)
               ? 0
               : mig_mkdir_parents(target, FOLDER_MODE, error);
}

int mps_view_make(const struct mps_place *place, const char *uuid, struct mps_view *ret,
                  struct mig_error *error)
{
    int rc;

    *ret = (struct mps_view){0};
    mps_path(place, uuid, "shm", ret->shm);
    rc = make_target(place->driver_root, "/dev/shm", ret->shm_target, error);
    if (rc == 0 && place->driver_root[0]) {
        mps_path(place, uuid, "", ret->folder);
        rc = make_target(place->driver_root, ret->folder, ret->folder_target, error);
    }
    return rc;
}

int mps_view_enter(void *data)
{
    const struct mps_view *view = data;

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount(view->shm, view->shm_target, NULL, MS_BIND, NULL) < 0 ||
        (view->folder[0] &&
         mount(view->folder, view->folder_target, NULL, MS_BIND | MS_REC, NULL) < 0)) {
        return errno;
    }
    return 0;
}

/* ---- removing ---- */

static void empty(int folder, unsigned depth);

static void remove_entry(int folder, const char *name, unsigned depth)
{
    int below;

    if (unlinkat(folder, name, 0) == 0 || (errno != EISDIR && errno != EPERM)) {
        return;
    }
    below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below >= 0 && depth < DEPTH_MAX) {
        empty(below, depth + 1);
    } else if (below >= 0) {
        close(below);
    }
    (void)unlinkat(folder, name, AT_REMOVEDIR);
}

/* Takes the descriptor over. */
static void empty(int folder, unsigned depth)
{
    MIG_AUTO_CLOSEDIR DIR *entries = fdopendir(folder);
    const struct dirent *entry;

    if (!entries) {
        close(folder);
        return;
    }
    while ((entry = readdir(entries)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            remove_entry(dirfd(entries), entry->d_name, depth);
        }
    }
}

void mps_daemon_remove(const struct mps_place *place, const char *uuid)
{
    char path[MPS_PATH_SIZE];
    int folder;

    if (place->driver_root[0]) {
        char target[MPS_PATH_SIZE];

        /* what was only made to be mounted on; where it is the same folder it is not empty yet */
        (void)snprintf(target, sizeof(target), "%s%s", place->driver_root,
                       mps_path(place, uuid, "", path));
        (void)rmdir(target);
    }
    while (umount2(mps_path(place, uuid, "shm", path), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
        ;
    }
    folder = open(place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
        remove_entry(folder, uuid, 0);
        close(folder);
    }
}
