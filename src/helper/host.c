/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Host files, see host.h.
 *
 * The driver says in /proc/driver/nvidia-caps/mig-minors which capability has which minor number,
 * for every instance that could be, and in the file of each capability that exists which mode its
 * node has to have, and whether it may be made by others at all.
 */
#include "helper/host.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PATH_SIZE 4096
#define MINORS_BYTES_MAX (4u << 20) /* 64 GPUs have some 10,000 lines */
#define DEVICES_BYTES_MAX (256u << 10)
#define CAPABILITY_BYTES_MAX 4096
#define MINOR_MAX 0xfffffu
#define CONFIG_VARIABLE "MIG_PARTED_SELECTED_CONFIG="

/* ---- names ---- */

static bool is_of(const char *text, const char *others)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && !strchr(others, *c)) {
            return false;
        }
    }
    return *text != '\0';
}

bool mig_host_is_name(const char *text)
{
    return is_of(text, "@._:-") && text[0] != '-' && text[0] != '.';
}

bool mig_host_is_uuid(const char *text)
{
    return (mig_text_starts_with(text, "GPU-") || mig_text_starts_with(text, "MIG-")) &&
           is_of(text, "-") && strlen(text) > 4 && strlen(text) < 64;
}

bool mig_host_is_plugin_socket(const char *text)
{
    size_t length = strlen(text);

    return mig_host_is_name(text) && mig_text_starts_with(text, "nvidia-") && length > 12 &&
           strcmp(text + length - 5, ".sock") == 0;
}

bool mig_host_is_cdi_file(const char *text)
{
    static const char start[] = "k8s.device-plugin.nvidia.com-", end[] = ".json";
    size_t length = strlen(text);

    return mig_host_is_name(text) && mig_text_starts_with(text, start) &&
           length > sizeof(start) + sizeof(end) - 2 &&
           strcmp(text + length - (sizeof(end) - 1), end) == 0;
}

/* ---- the drop-in of nvidia-mig-manager ---- */

static bool selects_config(const char *line, size_t length)
{
    static const char start[] = "Environment=";

    return length > sizeof(start) && strncmp(line, start, sizeof(start) - 1) == 0 &&
           memmem(line, length, CONFIG_VARIABLE, sizeof(CONFIG_VARIABLE) - 1) != NULL;
}

static void put_selection(struct mig_buffer *out, const char *name)
{
    (void)mig_buffer_printf(out, "Environment=\"" CONFIG_VARIABLE "%s\"\n", name);
}

/* True when one of the lines selects a config. */
static bool has_selection(const char *text)
{
    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");

        if (selects_config(line, length)) {
            return true;
        }
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    return false;
}

int mig_host_select_config(const char *text, const char *name, struct mig_buffer *out)
{
    static const char section[] = "[Service]";
    bool replace = has_selection(text), written = false;

    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");
        bool selects = selects_config(line, length);

        if (!selects) {
            (void)mig_buffer_append(out, line, length);
            (void)mig_buffer_puts(out, "\n");
        }
        if (!written && (selects || (!replace && length == sizeof(section) - 1 &&
                                     strncmp(line, section, length) == 0))) {
            put_selection(out, name);
            written = true;
        }
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    if (!written) {
        (void)mig_buffer_puts(out, "[Service]\n");
        put_selection(out, name);
    }
    return out->error;
}

/* ---- device nodes ---- */

/* The number behind "KEY: " on a line of its own. */
static bool find_number(const char *text, const char *key, uint64_t max, uint64_t *ret)
{
    size_t key_length = strlen(key);

    for (const char *line = text; *line != '\0';) {
        size_t length = strcspn(line, "\n");

        if (length > key_length + 1 && strncmp(line, key, key_length) == 0 &&
            line[key_length] == ':') {
            char number[24];
            const char *start = line + key_length + 1 + strspn(line + key_length + 1, " ");
            size_t digits = length - (size_t)(start - line);

            if (digits >= sizeof(number)) {
                return false;
            }
            memcpy(number, start, digits);
            number[digits] = '\0';
            return mig_text_parse_u64(number, max, ret);
        }
        line += length + (line[length] == '\n' ? 1 : 0);
    }
    return false;
}

/* The major number of nvidia-caps; 0 = the driver has none. */
static unsigned find_major(const char *proc)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[PATH_SIZE];
    size_t size = 0;
    unsigned major = 0;
    char *rest;

    (void)snprintf(path, sizeof(path), "%s/devices", proc);
    if (mig_file_read(path, DEVICES_BYTES_MAX, &text, &size, NULL) < 0) {
        return 0;
    }
    rest = text;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        char *name = line + strspn(line, " ");
        char *number = strsep(&name, " ");
        uint64_t value = 0;

        if (name && strcmp(name, "nvidia-caps") == 0 && mig_text_parse_u64(number, 0xfff, &value)) {
            major = (unsigned)value;
        }
    }
    return major;
}

struct caps {
    const char *proc, *dev;
    unsigned major;
    bool changed;
};

static int make_node(struct caps *caps, unsigned minor, mode_t mode, struct mig_error *error)
{
    dev_t device = makedev(caps->major, minor);
    char path[PATH_SIZE];
    struct stat found;

    (void)snprintf(path, sizeof(path), "%s/nvidia-caps/nvidia-cap%u", caps->dev, minor);
    if (lstat(path, &found) == 0) {
        if (S_ISCHR(found.st_mode) && found.st_rdev == device && (found.st_mode & 0777) == mode) {
            return 0;
        }
        (void)unlink(path);
    }
    /* the mode is set by chmod: mknod minds the umask */
    if (mknod(path, S_IFCHR | 0600, device) < 0 || chmod(path, mode) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not make '%s'", path);
    }
    caps->changed = true;
    return 0;
}

/* A line of mig-minors: "gpu0/gi1/access 12", "config 1". */
static int make_capability(struct caps *caps, const char *line, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    const char *end = strchr(line, ' ');
    const char *slash = strchr(line, '/');
    int name_length = end ? (int)(end - line) : 0;
    int gpu_length = slash && slash < end ? (int)(slash - line) : 0;
    uint64_t minor = 0, mode = 0, modify = 0;
    char path[PATH_SIZE];
    size_t size = 0;

    if (name_length == 0 || memchr(line, '.', (size_t)name_length)) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s/driver/nvidia/capabilities/%.*s%smig/%.*s", caps->proc,
                   gpu_length, line, gpu_length > 0 ? "/" : "",
                   name_length - (gpu_length > 0 ? gpu_length + 1 : 0),
                   gpu_length > 0 ? slash + 1 : line);
    if (mig_file_read(path, CAPABILITY_BYTES_MAX, &text, &size, NULL) < 0) {
        return 0; /* no such instance now */
    }
    if (!find_number(text, "DeviceFileMinor", MINOR_MAX, &minor) ||
        !find_number(text, "DeviceFileMode", 07777, &mode)) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "'%s' does not say which device node belongs to it", path);
    }
    if (find_number(text, "DeviceFileModify", 1, &modify) && modify == 0) {
        return 0; /* the administrator makes them */
    }
    return make_node(caps, (unsigned)minor, (mode_t)(mode & 0777), error);
}

int mig_host_make_caps(const char *proc, const char *dev, bool *ret_changed,
                       struct mig_error *error)
{
    struct caps caps = {.proc = proc, .dev = dev, .major = find_major(proc)};
    MIG_AUTO_FREE char *text = NULL;
    char path[PATH_SIZE];
    size_t size = 0;
    char *rest;
    int rc;

    *ret_changed = false;
    (void)snprintf(path, sizeof(path), "%s/driver/nvidia-caps/mig-minors", proc);
    if (caps.major == 0 || mig_file_read(path, MINORS_BYTES_MAX, &text, &size, NULL) < 0) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s/nvidia-caps", dev);
    rc = mig_mkdir_parents(path, 0755, error);
    rest = text;
    for (char *line = strsep(&rest, "\n"); rc == 0 && line; line = strsep(&rest, "\n")) {
        rc = make_capability(&caps, line, error);
    }
    *ret_changed = caps.changed;
    return rc;
}
