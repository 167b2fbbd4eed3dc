/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated host around one command. In a mount namespace of its own (with a user namespace
 * where the caller may not mount), whose mounts are private and end with the last process in it:
 *
 * - what exists is covered by a bind mount (/proc/devices);
 * - for what does not exist, its directory is shadowed: the real one is kept visible below
 *   NODE/run, a tmpfs takes its place, and links lead to all that was there (/sys/bus/pci/devices,
 *   and /proc itself on a kernel without modules);
 * - /dev is shadowed; the device nodes are real numbers when mknod is allowed and no NVIDIA driver
 *   owns them, otherwise /dev/null by another name.
 *
 * Nothing outside the namespace is written, so there is nothing to clean up.
 */
#include "emulator/migemu/migemu_namespace.h"

#include "emulator/machine/host_tree.h"
#include "emulator/migemu/migemu.h"
#include "emulator/migemu/migemu_devices.h"

#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define SHADOW_MAX 8
#define PROC_FILE_MAX ((size_t)256 * 1024)

struct view {
    const char *node;
    char stage[PATH_MAX / 2]; /* NODE/run, a tmpfs of this namespace */
    char shadows[SHADOW_MAX][64];
    unsigned shadow_count;
    bool may_make_nodes;
};

static int fail_step(const char *what, const char *path)
{
    return migemu_fail_errno(errno, "could not %s '%s'", what, path);
}

static int write_text(const char *path, const char *text)
{
    MIG_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    return fd < 0 ? -errno : mig_write_all(fd, text, strlen(text));
}

/* ---- the namespace ---- */

static int refuse_namespace(int errnum)
{
    (void)migemu_fail_errno(errnum, "could not make a namespace for the command");
    migemu_hint("this system does not allow user namespaces to everybody; run as root, or use "
                "--no-namespace, which leaves out /proc, /sys and /dev");
    return MIGEMU_EXIT_FAILED;
}

/* The caller keeps its identity: its own ids are the only ones that are mapped. */
static int enter_user_namespace(void)
{
    unsigned uid = geteuid();
    unsigned gid = getegid();
    char map[64];
    int rc;

    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
        return -errno;
    }
    rc = write_text("/proc/self/setgroups", "deny");
    if (rc != 0 && rc != -ENOENT) {
        return rc;
    }
    (void)snprintf(map, sizeof(map), "%u %u 1\n", uid, uid);
    rc = write_text("/proc/self/uid_map", map);
    if (rc == 0) {
        (void)snprintf(map, sizeof(map), "%u %u 1\n", gid, gid);
        rc = write_text("/proc/self/gid_map", map);
    }
    return rc;
}

static int enter_namespace(struct view *view)
{
    struct stat st;
    int rc;

    if (unshare(CLONE_NEWNS) == 0) {
        view->may_make_nodes = stat("/dev/nvidiactl", &st) < 0;
    } else {
        rc = enter_user_namespace();
        if (rc != 0) {
            return refuse_namespace(rc);
        }
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        return fail_step("make private", "/");
    }
    if (snprintf(view->stage, sizeof(view->stage), "%s/run", view->node) >=
        (int)sizeof(view->stage)) {
        return migemu_fail_errno(ENAMETOOLONG, "cannot use '%s'", view->node);
    }
    if (mount("migemu", view->stage, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755") < 0) {
        return fail_step("mount a file system on", view->stage);
    }
    return 0;
}

/* ---- covering and shadowing ---- */

static int link_entry(const char *real, const char *directory, const char *name)
{
    char from[PATH_MAX];
    char to[PATH_MAX];
    char target[PATH_MAX];
    ssize_t length;

    if (snprintf(from, sizeof(from), "%s/%s", real, name) >= (int)sizeof(from) ||
        snprintf(to, sizeof(to), "%s/%s", directory, name) >= (int)sizeof(to)) {
        return -ENAMETOOLONG;
    }
    /* A relative link keeps its meaning, because the copy stands at the same place. */
    length = readlink(from, target, sizeof(target) - 1);
    if (length >= 0 && strcmp(directory, "/proc") != 0) {
        target[length] = '\0';
    } else {
        (void)mig_text_copy(target, sizeof(target), from);
    }
    return symlink(target, to) < 0 && errno != EEXIST ? -errno : 0;
}

static int link_entries(const char *real, const char *directory)
{
    MIG_AUTO_CLOSEDIR DIR *entries = opendir(real);
    struct dirent *entry;

    if (!entries) {
        return -errno;
    }
    while ((entry = readdir(entries))) {
        int rc = 0;

        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = link_entry(real, directory, entry->d_name);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static bool is_shadowed(const struct view *view, const char *directory)
{
    unsigned i;

    for (i = 0; i < view->shadow_count; i++) {
        if (strcmp(view->shadows[i], directory) == 0) {
            return true;
        }
    }
    return false;
}

/* Replaces a directory by a tmpfs with links to all that was in it. */
static int shadow(struct view *view, const char *directory, unsigned long flags)
{
    char real[PATH_MAX];
    int rc;

    if (is_shadowed(view, directory)) {
        return 0;
    }
    if (view->shadow_count == SHADOW_MAX ||
        !mig_text_copy(view->shadows[view->shadow_count], sizeof(view->shadows[0]), directory)) {
        return migemu_fail("cannot shadow '%s'", directory);
    }
    (void)snprintf(real, sizeof(real), "%s/real%u", view->stage, view->shadow_count);
    view->shadow_count++;
    if (mkdir(real, 0755) < 0) {
        return fail_step("make", real);
    }
    if (mount(directory, real, NULL, MS_BIND | MS_REC, NULL) < 0) {
        return fail_step("bind", directory);
    }
    if (mount("migemu", directory, "tmpfs", flags, "mode=0755") < 0) {
        return fail_step("mount a file system on", directory);
    }
    rc = link_entries(real, directory);
    return rc == 0 ? 0 : migemu_fail_errno(rc, "could not shadow '%s'", directory);
}

/* Makes the directory that holds `path` ours, down from the nearest one that exists. */
static int prepare_parent(struct view *view, const char *path)
{
    char directory[PATH_MAX];
    char *slash;
    struct stat st;
    struct mig_error error;
    int status;

    (void)mig_text_copy(directory, sizeof(directory), path);
    do {
        slash = strrchr(directory, '/');
        *slash = '\0';
    } while (slash != directory && stat(directory, &st) < 0);
    if (slash == directory) {
        return migemu_fail("cannot show '%s': this system has no such place", path);
    }
    status = shadow(view, directory, MS_NOSUID | MS_NODEV);
    if (status != 0) {
        return status;
    }
    (void)mig_text_copy(directory, sizeof(directory), path);
    *strrchr(directory, '/') = '\0';
    return mig_mkdir_parents(directory, 0755, &error) == 0 ? 0 : migemu_fail_error(&error);
}

/* Shows `source`, a file or directory, as `path`, whether that exists or not. */
static int provide(struct view *view, const char *path, const char *source)
{
    struct stat st;
    struct stat source_st;
    int status;
    int rc;

    if (stat(source, &source_st) < 0) {
        return fail_step("find", source);
    }
    if (stat(path, &st) < 0) {
        status = prepare_parent(view, path);
        if (status != 0) {
            return status;
        }
        rc = S_ISDIR(source_st.st_mode) ? (mkdir(path, 0755) < 0 ? -errno : 0)
                                        : write_text(path, "");
        if (rc != 0) {
            return migemu_fail_errno(rc, "could not make '%s'", path);
        }
    }
    return mount(source, path, NULL, MS_BIND | MS_REC, NULL) < 0 ? fail_step("bind", path) : 0;
}

/* ---- /proc ---- */

/*
 * A file of the stage: `ours` behind the line `after` of the real file (in front of it all when
 * NULL).
 */
static int stage_merged(const struct view *view, const char *real, const char *after,
                        const char *ours, const char *name, char *path, size_t path_size)
{
    MIG_AUTO_FREE char *text = NULL;
    MIG_AUTO_FREE char *merged = NULL;
    struct mig_error error;
    size_t size = 0;
    size_t head = 0;
    size_t room;
    const char *found;

    if (mig_file_read(real, PROC_FILE_MAX, &text, &size, &error) != 0) {
        text = strdup(after ? after : "");
        size = text ? strlen(text) : 0;
    }
    room = size + strlen(ours) + 1;
    merged = malloc(room);
    if (!text || !merged) {
        return migemu_fail_errno(ENOMEM, "could not show '%s'", real);
    }
    found = after ? strstr(text, after) : NULL;
    if (found) {
        head = (size_t)(found - text) + strlen(after);
    }
    (void)snprintf(merged, room, "%.*s%s%s", (int)head, text, ours, text + head);
    (void)snprintf(path, path_size, "%s/%s", view->stage, name);
    return write_text(path, merged) == 0 ? 0 : fail_step("write", path);
}

static int show_proc(struct view *view)
{
    char source[PATH_MAX];
    char devices[256];
    int status = stage_merged(view, "/proc/modules", NULL,
                              "nvidia_uvm 1540096 0 - Live 0x0000000000000000\n"
                              "nvidia 56823808 1 nvidia_uvm, Live 0x0000000000000000\n",
                              "modules", source, sizeof(source));

    if (status == 0) {
        status = provide(view, "/proc/modules", source);
    }
    (void)migemu_proc_devices(devices, sizeof(devices));
    if (status == 0) {
        status = stage_merged(view, "/proc/devices", "Character devices:\n", devices, "devices",
                              source, sizeof(source));
    }
    if (status == 0) {
        status = provide(view, "/proc/devices", source);
    }
    if (status == 0) {
        (void)snprintf(source, sizeof(source), "%s/host/proc/driver/nvidia", view->node);
        status = provide(view, "/proc/driver/nvidia", source);
    }
    if (status == 0) {
        (void)snprintf(source, sizeof(source), "%s/host/proc/driver/nvidia-caps", view->node);
        status = provide(view, "/proc/driver/nvidia-caps", source);
    }
    return status;
}

/* ---- /sys ---- */

static int show_sys(struct view *view, const struct emu_node_info *info)
{
    char source[PATH_MAX];
    char path[64];
    char pci[32];
    unsigned i;
    int status;

    (void)snprintf(source, sizeof(source), "%s/host/sys/module/nvidia", view->node);
    status = provide(view, "/sys/module/nvidia", source);
    for (i = 0; status == 0 && i < info->gpu_count; i++) {
        emu_format_pci(&info->gpus[i], pci, sizeof(pci));
        (void)snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", pci);
        (void)snprintf(source, sizeof(source), "%s/host%s", view->node, path);
        status = provide(view, path, source);
    }
    return status;
}

/* ---- /dev ---- */

static int make_device(struct view *view, const char *path, unsigned major_number,
                       unsigned minor_number, mode_t mode)
{
    int rc;

    if (view->may_make_nodes) {
        if (mknod(path, S_IFCHR | mode, makedev(major_number, minor_number)) == 0) {
            return chmod(path, mode) < 0 ? fail_step("make", path) : 0;
        }
        if (errno != EPERM) {
            return fail_step("make", path);
        }
        view->may_make_nodes = false;
    }
    rc = write_text(path, "");
    if (rc != 0) {
        return migemu_fail_errno(rc, "could not make '%s'", path);
    }
    return mount("/dev/null", path, NULL, MS_BIND, NULL) < 0 ? fail_step("bind", path) : 0;
}

/* Nodes cost nothing, so there is one for each instance that may come; bind mounts do, so only
 * instances that are there have one then. */
static int show_dev(struct view *view, const struct emu_node_info *info,
                    const struct emu_state *state)
{
    MIGEMU_AUTO_DEVICES struct migemu_devices devices = {0};
    size_t i;
    int status = shadow(view, "/dev", MS_NOSUID);

    if (status == 0 && ((unlink("/dev/nvidia-caps") < 0 && errno != ENOENT) ||
                        mkdir("/dev/nvidia-caps", 0755) < 0)) {
        status = fail_step("make", "/dev/nvidia-caps");
    }
    if (status == 0 && migemu_list_devices(info, state, view->may_make_nodes, &devices) != 0) {
        status = migemu_fail_errno(ENOMEM, "could not show '/dev'");
    }
    for (i = 0; status == 0 && i < devices.count; i++) {
        const struct migemu_device *device = &devices.list[i];

        (void)unlink(device->path);
        status = make_device(view, device->path, device->major_number, device->minor_number,
                             device->mode);
    }
    return status;
}

int migemu_enter_host(const char *node, const struct emu_node_info *info,
                      const struct emu_state *state)
{
    struct view view = {.node = node};
    int status = enter_namespace(&view);

    if (status == 0) {
        status = show_proc(&view);
    }
    if (status == 0) {
        status = show_sys(&view, info);
    }
    return status == 0 ? show_dev(&view, info, state) : status;
}
