/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the host: small files below /proc and /sys, names of nodes, files of the driver.
 *
 * Nothing here is cached: it is read when a CDI spec is made or a container starts, and may have
 * changed since the last time (nodes are made late, drivers are updated).
 */
#include "deviceplugin/host.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CAPS_FILE_MAX 4096u
#define CAPS_TABLE_MAX (4u << 20) /* it lists every possible instance of every GPU */
#define MINOR_MAX 0xfffffu        /* of Linux device numbers */
#define DIRECTORY_ENTRIES_MAX 65536u

static const char *root(const char *path)
{
    return path ? path : "";
}

const char *mig_dp_control_node(size_t index)
{
    static const char *const nodes[] = {"/dev/nvidiactl", "/dev/nvidia-uvm",
                                        "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"};

    return index < MIG_ARRAY_SIZE(nodes) ? nodes[index] : NULL;
}

bool mig_dp_host_has_node(const struct mig_dp_host *host, const char *path)
{
    char full[MIG_DP_PATH_SIZE];
    struct stat status;
    int length = snprintf(full, sizeof(full), "%s%s", root(host->dev_root), path);

    return length > 0 && (size_t)length < sizeof(full) && stat(full, &status) == 0;
}

/* ---- capability minors ---- */

static int parse_minor(const char *text, const char *path, unsigned *ret, struct mig_error *error)
{
    static const char key[] = "DeviceFileMinor:";
    const char *at = strstr(text, key);
    char digits[16];
    size_t length;
    uint64_t minor;

    if (at) {
        at += sizeof(key) - 1;
        at += strspn(at, " \t");
        length = strspn(at, "0123456789");
        if (length < sizeof(digits)) {
            memcpy(digits, at, length);
            digits[length] = '\0';
            if (mig_text_parse_u64(digits, MINOR_MAX, &minor)) {
                *ret = (unsigned)minor;
                return MIG_OK;
            }
        }
    }
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "%s has no DeviceFileMinor",
                         path);
}

static void format_instance(char *buffer, size_t size, uint32_t gi_id, uint32_t ci_id)
{
    if (ci_id == MIG_ID_NONE) {
        snprintf(buffer, size, "gi%u", gi_id);
    } else {
        snprintf(buffer, size, "gi%u/ci%u", gi_id, ci_id);
    }
}

int mig_dp_caps_minor_from_file(const struct mig_dp_host *host, int32_t gpu_minor, uint32_t gi_id,
                                uint32_t ci_id, unsigned *ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    char instance[64], path[MIG_DP_PATH_SIZE];
    size_t size;
    int result;

    format_instance(instance, sizeof(instance), gi_id, ci_id);
    snprintf(path, sizeof(path), "%.300s/proc/driver/nvidia/capabilities/gpu%d/mig/%s/access",
             root(host->proc_root), gpu_minor, instance);
    result = mig_file_read(path, CAPS_FILE_MAX, &text, &size, error);
    return result < 0 ? result : parse_minor(text, path, ret, error);
}

bool mig_dp_caps_find(const char *table, int32_t gpu_minor, uint32_t gi_id, uint32_t ci_id,
                      unsigned *ret)
{
    char instance[64], key[96], digits[16];
    size_t key_size;

    format_instance(instance, sizeof(instance), gi_id, ci_id);
    snprintf(key, sizeof(key), "gpu%d/%s/access ", gpu_minor, instance);
    key_size = strlen(key);
    while (*table) {
        size_t length = strcspn(table, "\n");

        if (strncmp(table, key, key_size) == 0 && length - key_size < sizeof(digits)) {
            uint64_t minor;

            memcpy(digits, table + key_size, length - key_size);
            digits[length - key_size] = '\0';
            if (mig_text_parse_u64(digits, MINOR_MAX, &minor)) {
                *ret = (unsigned)minor;
                return true;
            }
        }
        table += length + (table[length] == '\n');
    }
    return false;
}

int mig_dp_caps_minor_from_table(const struct mig_dp_host *host, int32_t gpu_minor, uint32_t gi_id,
                                 uint32_t ci_id, unsigned *ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    char instance[64], path[MIG_DP_PATH_SIZE];
    size_t size;
    int result;

    snprintf(path, sizeof(path), "%.300s/proc/driver/nvidia-caps/mig-minors",
             root(host->proc_root));
    result = mig_file_read(path, CAPS_TABLE_MAX, &text, &size, error);
    if (result == MIG_OK && !mig_dp_caps_find(text, gpu_minor, gi_id, ci_id, ret)) {
        format_instance(instance, sizeof(instance), gi_id, ci_id);
        result = mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "%s has no gpu%d/%s", path,
                               gpu_minor, instance);
    }
    return result;
}

int mig_dp_caps_minor(const struct mig_dp_host *host, int32_t gpu_minor, uint32_t gi_id,
                      uint32_t ci_id, unsigned *ret, struct mig_error *error)
{
    if (mig_dp_caps_minor_from_file(host, gpu_minor, gi_id, ci_id, ret, NULL) == MIG_OK) {
        return MIG_OK;
    }
    return mig_dp_caps_minor_from_table(host, gpu_minor, gi_id, ci_id, ret, error);
}

/* ---- names in a directory ---- */

struct names {
    char **items;
    size_t count;
};

static void names_release(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->items[i]);
    }
    free(names->items);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a directory that `wanted` takes, sorted; none when it cannot be read. */
static struct names read_names(const char *path, bool (*wanted)(const char *name))
{
    struct names names = {0};
    MIG_AUTO_CLOSEDIR DIR *directory = opendir(path);
    const struct dirent *entry;
    unsigned seen = 0;

    while (directory && seen++ < DIRECTORY_ENTRIES_MAX && (entry = readdir(directory))) {
        char **items;

        if (names.count >= MIG_DP_DRIVER_FILES_MAX || !wanted(entry->d_name)) {
            continue;
        }
        items = realloc(names.items, (names.count + 1) * sizeof(*items));
        if (!items) {
            break;
        }
        names.items = items;
        names.items[names.count] = strdup(entry->d_name);
        if (!names.items[names.count]) {
            break;
        }
        names.count++;
    }
    if (names.count > 1) {
        qsort(names.items, names.count, sizeof(names.items[0]), compare_names);
    }
    return names;
}

static bool is_drm_name(const char *name)
{
    size_t prefix = mig_text_starts_with(name, "card")      ? 4
                    : mig_text_starts_with(name, "renderD") ? 7
                                                            : 0;

    return prefix > 0 && name[prefix] &&
           strspn(name + prefix, "0123456789") == strlen(name + prefix);
}

void mig_dp_host_drm_nodes(const struct mig_dp_host *host, const char *bus_id,
                           void (*found)(const char *path, void *data), void *data)
{
    char bus[MIG_BUS_ID_SIZE], path[MIG_DP_PATH_SIZE];
    struct names names;
    size_t length = strlen(bus_id);

    /* NVML writes eight digits of domain, the kernel four */
    mig_text_copy(bus, sizeof(bus),
                  length > 4 && strncmp(bus_id, "0000", 4) == 0 ? bus_id + 4 : bus_id);
    for (char *at = bus; *at; at++) {
        *at = (char)tolower((unsigned char)*at);
    }
    snprintf(path, sizeof(path), "%.300s/sys/bus/pci/devices/%s/drm", root(host->sys_root), bus);
    names = read_names(path, is_drm_name);
    for (size_t i = 0; i < names.count; i++) {
        snprintf(path, sizeof(path), "/dev/dri/%.64s", names.items[i]);
        found(path, data);
    }
    names_release(&names);
}

/* ---- files of the driver ---- */

struct finder {
    const char *root, *version;
    void (*found)(const char *path, const char *link, void *data);
    void *data;
    unsigned count;
};

static void report(struct finder *finder, const char *path, const char *link)
{
    if (finder->count < MIG_DP_DRIVER_FILES_MAX) {
        finder->count++;
        finder->found(path, link, finder->data);
    }
}

/* Libraries of the driver; not those of the container tools, which have the same prefix. */
static bool is_library_name(const char *name)
{
    static const char *const prefixes[] = {
        "libcuda.",          "libcudadebugger.", "libnvidia-",     "libnvcuvid.",
        "libnvoptix.",       "libGLX_nvidia.",   "libEGL_nvidia.", "libGLESv1_CM_nvidia.",
        "libGLESv2_nvidia.", "libvdpau_nvidia."};

    if (!strstr(name, ".so.") || mig_text_starts_with(name, "libnvidia-container")) {
        return false;
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(prefixes); i++) {
        if (mig_text_starts_with(name, prefixes[i])) {
            return true;
        }
    }
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);

    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/*
 * The file behind a library's name, in the same directory: itself, or what a link there points to.
 * The version, if known, has to be the driver's: other versions may lie around. False otherwise.
 */
static bool resolve_library(const struct finder *finder, const char *directory, const char *name,
                            char target[MIG_DP_PATH_SIZE])
{
    char path[2 * MIG_DP_PATH_SIZE], link[MIG_DP_PATH_SIZE];
    char suffix[MIG_UUID_SIZE + 8];
    struct stat status;
    ssize_t size;

    snprintf(suffix, sizeof(suffix), ".so.%s", finder->version);
    snprintf(path, sizeof(path), "%.400s%.64s/%.256s", finder->root, directory, name);
    mig_text_copy(target, MIG_DP_PATH_SIZE, name);
    if (lstat(path, &status) < 0) {
        return false;
    }
    if (S_ISREG(status.st_mode)) {
        /* a plain file under a short name is a library without versions */
        return ends_with(name, suffix) || ends_with(name, ".so.1");
    }
    if (!S_ISLNK(status.st_mode)) {
        return false;
    }
    size = readlink(path, link, sizeof(link) - 1);
    if (size <= 0) {
        return false;
    }
    link[size] = '\0';
    mig_text_copy(target, MIG_DP_PATH_SIZE, link);
    return !strchr(link, '/') && ends_with(link, suffix);
}

static void find_libraries(struct finder *finder)
{
    static const char *const directories[] = {
        "/usr/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu",
        "/lib64",     "/lib/x86_64-linux-gnu",     "/lib/aarch64-linux-gnu"};
    unsigned before = finder->count;

    /* the first directory that has any: others are the same by links, or of another word size */
    for (size_t i = 0; i < MIG_ARRAY_SIZE(directories) && finder->count == before; i++) {
        char directory[MIG_DP_PATH_SIZE];
        struct names names;

        snprintf(directory, sizeof(directory), "%.400s%s", finder->root, directories[i]);
        names = read_names(directory, is_library_name);
        for (size_t j = 0; j < names.count; j++) {
            char target[MIG_DP_PATH_SIZE], path[2 * MIG_DP_PATH_SIZE], link[MIG_DP_PATH_SIZE];

            if (resolve_library(finder, directories[i], names.items[j], target)) {
                snprintf(path, sizeof(path), "%s/%s", directories[i], target);
                snprintf(link, sizeof(link), "%s/%.256s", directories[i], names.items[j]);
                report(finder, path, link);
            }
        }
        names_release(&names);
    }
}

static void find_fixed(struct finder *finder)
{
    static const char *const paths[] = {"/usr/bin/nvidia-smi",
                                        "/usr/bin/nvidia-debugdump",
                                        "/usr/bin/nvidia-persistenced",
                                        "/usr/bin/nvidia-cuda-mps-control",
                                        "/usr/bin/nvidia-cuda-mps-server",
                                        "/run/nvidia-persistenced/socket",
                                        "/run/nvidia-fabricmanager/socket"};

    for (size_t i = 0; i < MIG_ARRAY_SIZE(paths); i++) {
        char path[MIG_DP_PATH_SIZE];
        struct stat status;

        snprintf(path, sizeof(path), "%.400s%s", finder->root, paths[i]);
        if (stat(path, &status) == 0) {
            report(finder, paths[i], paths[i]);
        }
    }
}

static bool is_firmware_name(const char *name)
{
    return mig_text_starts_with(name, "gsp") && ends_with(name, ".bin");
}

static void find_firmware(struct finder *finder)
{
    static const char *const directories[] = {"/lib/firmware/nvidia", "/usr/lib/firmware/nvidia"};
    unsigned before = finder->count;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(directories) && finder->count == before; i++) {
        char path[MIG_DP_PATH_SIZE];
        struct names names;

        snprintf(path, sizeof(path), "%.300s%s/%s", finder->root, directories[i], finder->version);
        names = read_names(path, is_firmware_name);
        for (size_t j = 0; j < names.count; j++) {
            snprintf(path, sizeof(path), "%s/%s/%.128s", directories[i], finder->version,
                     names.items[j]);
            report(finder, path, path);
        }
        names_release(&names);
    }
}

void mig_dp_host_driver_files(const struct mig_dp_host *host, const char *driver_version,
                              void (*found)(const char *path, const char *link, void *data),
                              void *data)
{
    struct finder finder = {
        .root = root(host->driver_root), .version = driver_version, .found = found, .data = data};

    find_libraries(&finder);
    find_fixed(&finder);
    find_firmware(&finder);
}
