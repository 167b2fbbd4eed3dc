/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu root: what a container needs of an emulated host, as a directory.
 *
 * DIR is a driver root as NVIDIA's container toolkit and device plugin know it (usr/lib, usr/bin,
 * dev), with links to the live /proc and /sys of the machine. cdi/migemu.json mounts the library,
 * nvidia-smi, the device stand-ins and the machine itself; it mounts nothing below /proc, which
 * runc refuses. The programs are copies, so a root outlives the build it came from.
 */
#include "emulator/machine/host_tree.h"
#include "emulator/migemu/migemu.h"
#include "emulator/migemu/migemu_devices.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LIBRARY_DIRECTORY "usr/lib/x86_64-linux-gnu"
#define MARKER "devices.tsv" /* a directory that has it is a root already */
#define SPECIFICATION "cdi/migemu.json"
#define PROGRAM_SIZE_MAX ((size_t)64 << 20)
#define TEXT_SIZE_MAX ((size_t)4 << 20)
#define NODE_INSIDE "/run/migemu/node"
#define LIBRARY_INSIDE "/run/migemu/lib"

struct root {
    char path[PATH_MAX / 2]; /* absolute */
    struct migemu_paths paths;
    const struct emu_node_info *info;
    struct migemu_devices devices;
};

/* DIR/NAME, its directory made. */
static int place_of(const struct root *root, const char *name, char ret[PATH_MAX])
{
    struct mig_error error;
    char *slash;
    int rc;

    if (snprintf(ret, PATH_MAX, "%s/%s", root->path, name) >= PATH_MAX) {
        return migemu_fail_errno(ENAMETOOLONG, "cannot write '%s'", name);
    }
    slash = strrchr(ret, '/');
    *slash = '\0';
    rc = mig_mkdir_parents(ret, 0755, &error);
    *slash = '/';
    return rc == 0 ? 0 : migemu_fail_error(&error);
}

static int put_text(const struct root *root, const char *name, const struct mig_buffer *text)
{
    char path[PATH_MAX];
    struct mig_error error;
    int status = place_of(root, name, path);

    if (text->error != 0) {
        return migemu_fail_errno(text->error, "could not write '%s'", name);
    }
    if (status == 0 && mig_file_write_atomic(path, text->data, text->size, 0644, &error) != 0) {
        return migemu_fail_error(&error);
    }
    return status;
}

static int put_copy(const struct root *root, const char *name, const char *directory,
                    const char *file)
{
    MIG_AUTO_FREE char *data = NULL;
    char from[PATH_MAX];
    char path[PATH_MAX];
    struct mig_error error;
    size_t size = 0;
    int status = place_of(root, name, path);

    if (status != 0) {
        return status;
    }
    (void)snprintf(from, sizeof(from), "%.*s/%s", PATH_MAX - 64, directory, file);
    if (mig_file_read(from, PROGRAM_SIZE_MAX, &data, &size, &error) != 0 ||
        mig_file_write_atomic(path, data, size, 0755, &error) != 0) {
        return migemu_fail_error(&error);
    }
    return 0;
}

static int put_link(const struct root *root, const char *name, const char *target)
{
    char path[PATH_MAX];
    int status = place_of(root, name, path);

    if (status != 0) {
        return status;
    }
    if ((unlink(path) < 0 && errno != ENOENT) || symlink(target, path) < 0) {
        return migemu_fail_errno(errno, "could not make '%s'", path);
    }
    return 0;
}

/* ---- the parts ------------------------------------------------------------------------------ */

static int put_programs(const struct root *root)
{
    char real[PATH_MAX / 2];
    char name[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE + 32];
    int status;

    (void)snprintf(name, sizeof(name), "libnvidia-ml.so.%s", root->info->driver_version);
    (void)snprintf(real, sizeof(real), LIBRARY_DIRECTORY "/%s", name);
    status = put_copy(root, real, root->paths.library, "libnvidia-ml.so.1");
    if (status == 0) {
        status = put_link(root, LIBRARY_DIRECTORY "/libnvidia-ml.so.1", name);
    }
    return status == 0 ? put_copy(root, "usr/bin/nvidia-smi", root->paths.tools, "nvidia-smi")
                       : status;
}

static int put_links(const struct root *root)
{
    char target[PATH_MAX];
    int status;

    (void)snprintf(target, sizeof(target), "%.*s/" EMU_HOST_DIRECTORY "/proc", PATH_MAX - 32,
                   root->paths.node);
    status = put_link(root, "proc", target);
    (void)snprintf(target, sizeof(target), "%.*s/" EMU_HOST_DIRECTORY "/sys", PATH_MAX - 32,
                   root->paths.node);
    return status == 0 ? put_link(root, "sys", target) : status;
}

/* The node with its real numbers, or an empty file of its name for who may not make nodes. */
static int put_device(const struct root *root, const struct migemu_device *device)
{
    char path[PATH_MAX];
    struct mig_error error;
    int status = place_of(root, device->path + 1, path);

    if (status != 0) {
        return status;
    }
    (void)unlink(path);
    if (mknod(path, S_IFCHR | device->mode, makedev(device->major_number, device->minor_number)) ==
        0) {
        return chmod(path, device->mode) == 0
                   ? 0
                   : migemu_fail_errno(errno, "could not make '%s'", path);
    }
    if (errno != EPERM && errno != EACCES) {
        return migemu_fail_errno(errno, "could not make '%s'", path);
    }
    return mig_file_write_atomic(path, "", 0, device->mode, &error) == 0
               ? 0
               : migemu_fail_error(&error);
}

static int put_devices(const struct root *root)
{
    MIG_AUTO_BUFFER struct mig_buffer text;
    size_t i;
    int status = 0;

    mig_buffer_init(&text, TEXT_SIZE_MAX);
    (void)mig_buffer_puts(&text, "path\tmajor\tminor\tmode\tgpu\n");
    for (i = 0; status == 0 && i < root->devices.count; i++) {
        const struct migemu_device *device = &root->devices.list[i];

        (void)mig_buffer_printf(&text, "%s\t%u\t%u\t%04o\t", device->path, device->major_number,
                                device->minor_number, (unsigned)device->mode);
        (void)mig_buffer_printf(&text, device->gpu < 0 ? "-\n" : "%d\n", device->gpu);
        status = put_device(root, device);
    }
    return status == 0 ? put_text(root, MARKER, &text) : status;
}

/* ---- the CDI specification ------------------------------------------------------------------ */

static void add_string(struct mig_buffer *text, const char *value)
{
    (void)mig_buffer_puts(text, "\"");
    for (; *value; value++) {
        unsigned char byte = (unsigned char)*value;

        if (byte < 0x20) {
            (void)mig_buffer_printf(text, "\\u%04x", byte);
        } else {
            (void)mig_buffer_printf(text, byte == '"' || byte == '\\' ? "\\%c" : "%c", byte);
        }
    }
    (void)mig_buffer_puts(text, "\"");
}

static void add_mount(struct mig_buffer *text, const char **gap, const char *from, const char *to,
                      bool writable)
{
    (void)mig_buffer_printf(text, "%s\n        {\"hostPath\": ", *gap);
    add_string(text, from);
    (void)mig_buffer_puts(text, ", \"containerPath\": ");
    add_string(text, to);
    (void)mig_buffer_printf(text, ", \"options\": [\"%s\", \"nosuid\", \"bind\"]}",
                            writable ? "rw" : "ro");
    *gap = ",";
}

/* The stand-ins of a GPU, of all GPUs (only EMU_GPU_MAX), or of the host (EMU_UNKNOWN). */
static void add_device_mounts(struct mig_buffer *text, const struct root *root, const char **gap,
                              int only)
{
    char from[PATH_MAX];
    size_t i;

    for (i = 0; i < root->devices.count; i++) {
        const struct migemu_device *device = &root->devices.list[i];

        if (device->gpu == only || (only == EMU_GPU_MAX && device->gpu >= 0)) {
            (void)snprintf(from, sizeof(from), "%s%s", root->path, device->path);
            add_mount(text, gap, from, device->path, true);
        }
    }
}

static void add_device(struct mig_buffer *text, const struct root *root, const char *name,
                       const char *after, int gpu)
{
    const char *gap = "";

    (void)mig_buffer_printf(
        text, "    {\"name\": \"%s\", \"containerEdits\": {\n      \"mounts\": [", name);
    add_device_mounts(text, root, &gap, gpu);
    (void)mig_buffer_printf(text, "\n      ]}}%s\n", after);
}

static int put_specification(const struct root *root)
{
    MIG_AUTO_BUFFER struct mig_buffer text;
    char from[PATH_MAX];
    char name[16];
    const char *gap = "";
    unsigned i;

    mig_buffer_init(&text, TEXT_SIZE_MAX);
    (void)mig_buffer_puts(&text, "{\n  \"cdiVersion\": \"0.5.0\",\n  \"kind\": \"migemu/gpu\",\n"
                                 "  \"devices\": [\n");
    for (i = 0; i < root->info->gpu_count; i++) {
        (void)snprintf(name, sizeof(name), "%u", i);
        add_device(&text, root, name, ",", (int)i);
    }
    add_device(&text, root, "all", "", EMU_GPU_MAX);
    (void)mig_buffer_puts(&text, "  ],\n  \"containerEdits\": {\n"
                                 "    \"env\": [\"MIGEMU_NODE=" NODE_INSIDE "\", "
                                 "\"LD_LIBRARY_PATH=" LIBRARY_INSIDE "\"],\n    \"mounts\": [");
    add_mount(&text, &gap, root->paths.node, NODE_INSIDE, true);
    (void)snprintf(from, sizeof(from), "%s/" LIBRARY_DIRECTORY, root->path);
    add_mount(&text, &gap, from, LIBRARY_INSIDE, false);
    (void)snprintf(from, sizeof(from), "%s/usr/bin/nvidia-smi", root->path);
    add_mount(&text, &gap, from, "/usr/bin/nvidia-smi", false);
    add_device_mounts(&text, root, &gap, EMU_UNKNOWN);
    (void)mig_buffer_puts(&text, "\n    ]\n  }\n}\n");
    return put_text(root, SPECIFICATION, &text);
}

/* ---- the verb ------------------------------------------------------------------------------- */

/* Makes the directory; one with other things in it is refused. */
static int open_root(const char *directory, struct root *root)
{
    MIG_AUTO_CLOSEDIR DIR *entries = NULL;
    struct mig_error error;
    struct dirent *entry;
    char real[PATH_MAX];
    bool is_root = false;
    bool is_empty = true;

    if (mig_mkdir_parents(directory, 0755, &error) != 0) {
        return migemu_fail_error(&error);
    }
    if (!realpath(directory, real) || !mig_text_copy(root->path, sizeof(root->path), real)) {
        return migemu_fail_errno(ENAMETOOLONG, "cannot use '%s'", directory);
    }
    entries = opendir(root->path);
    while (entries && (entry = readdir(entries))) {
        is_root = is_root || strcmp(entry->d_name, MARKER) == 0;
        is_empty =
            is_empty && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0);
    }
    if (!is_root && !is_empty) {
        (void)migemu_fail("'%s' has other things in it", directory);
        migemu_hint("name an empty directory, or one that migemu root has written");
        return MIGEMU_EXIT_FAILED;
    }
    return 0;
}

static int write_root(const struct root *root)
{
    int status = put_devices(root); /* first: a root that is not finished is one, too */

    if (status == 0) {
        status = put_programs(root);
    }
    if (status == 0) {
        status = put_links(root);
    }
    return status == 0 ? put_specification(root) : status;
}

int migemu_root(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    struct root root = {.devices = {.list = NULL}};
    int status;

    if (!migemu_operands(argc, argv, 1, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    state = migemu_open(argv[1], &machine) == 0 ? migemu_read(machine) : NULL;
    if (!state) {
        return MIGEMU_EXIT_FAILED;
    }
    root.info = emu_machine_info(machine);
    status = migemu_find_paths(argv[1], root.info, &root.paths);
    if (status == 0) {
        status = open_root(argv[2], &root);
    }
    if (status == 0 && migemu_list_devices(root.info, state, false, &root.devices) != 0) {
        status = migemu_fail_errno(ENOMEM, "could not list the devices");
    }
    if (status == 0) {
        status = write_root(&root);
    }
    migemu_devices_release(&root.devices);
    return status;
}
