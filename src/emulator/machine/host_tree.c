/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the host files of an emulated machine. Each file appears complete: it is written under
 * another name and renamed. An instance's directory appears with its contents, and goes in one
 * rename too, so that a reader never finds half of one.
 */
#include "emulator/machine/host_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX 2048
#define CONFIG_SPACE_SIZE 256
#define MINORS_PER_GPU 135 /* 15 GPU instances of 9: the instance, and 8 compute instances */
#define MINORS_PER_GI 9
#define FIRST_MINOR 3
#define MINOR_GPU_COUNT 32 /* the driver's table always has so many GPUs */

unsigned emu_capability_minor(unsigned gpu, unsigned gi, unsigned ci)
{
    return FIRST_MINOR + MINORS_PER_GPU * gpu + MINORS_PER_GI * gi +
           (ci == EMU_ID_NONE ? 0 : 1 + ci);
}

void emu_format_pci(const struct emu_gpu_info *gpu, char *buffer, size_t size)
{
    (void)snprintf(buffer, size, "%04x:%02x:%02x.0", gpu->pci_domain, gpu->pci_bus,
                   gpu->pci_device_number);
}

/* Makes a directory and its parents below NODE. */
static int make_directories(char *path)
{
    char *slash;

    if (mkdir(path, 0755) == 0 || errno == EEXIST) {
        return 0; /* mostly only the last is missing */
    }
    for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST) {
            *slash = '/';
            return -errno;
        }
        *slash = '/';
    }
    return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

static int write_bytes(const char *path, const void *data, size_t size)
{
    char scratch[PATH_MAX];
    ssize_t written;
    int rc = 0;
    int fd;

    if (snprintf(scratch, sizeof(scratch), "%s.%ld~", path, (long)getpid()) >=
        (int)sizeof(scratch)) {
        return -ENAMETOOLONG;
    }
    fd = open(scratch, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    written = write(fd, data, size);
    if (written != (ssize_t)size) {
        rc = written < 0 ? -errno : -EIO;
    }
    close(fd);
    if (rc == 0 && rename(scratch, path) < 0) {
        rc = -errno;
    }
    if (rc != 0) {
        unlink(scratch);
    }
    return rc;
}

/* A file below a directory that is made when it is not there. */
static int put(const char *directory, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int put(const char *directory, const char *name, const char *format, ...)
{
    char path[PATH_MAX];
    char text[FILE_MAX];
    va_list args;
    int size;
    int rc;

    if (snprintf(path, sizeof(path), "%s", directory) >= (int)sizeof(path)) {
        return -ENAMETOOLONG;
    }
    rc = make_directories(path);
    if (rc != 0) {
        return rc;
    }
    if (snprintf(path, sizeof(path), "%s/%s", directory, name) >= (int)sizeof(path)) {
        return -ENAMETOOLONG;
    }
    va_start(args, format);
    size = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (size < 0 || size >= (int)sizeof(text)) {
        return -EFBIG;
    }
    return write_bytes(path, text, (size_t)size);
}

static int put_capability(const char *directory, const char *name, unsigned minor, unsigned mode)
{
    return put(directory, name, "DeviceFileMinor: %u\nDeviceFileMode: %u\nDeviceFileModify: 1\n",
               minor, mode);
}

/* ---- /proc/driver/nvidia ---- */

static int write_driver(const char *host, const struct emu_node_info *info)
{
    char directory[PATH_MAX];
    int rc;

    (void)snprintf(directory, sizeof(directory), "%s/proc/driver/nvidia", host);
    rc = put(directory, "version",
             "NVRM version: NVIDIA UNIX x86_64 Kernel Module  %s  (emulated by migemu)\n"
             "GCC version:  gcc version 12.2.0\n",
             info->driver_version);
    if (rc == 0) {
        rc = put(directory, "params",
                 "ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\n"
                 "DeviceFileMode: 438\nEnablePCIeGen3: 0\nEnableMSI: 1\n");
    }
    if (rc == 0) {
        rc = put(directory, "registry", "Binary: \"\"\n");
    }
    if (rc == 0) {
        (void)snprintf(directory, sizeof(directory), "%s/sys/module/nvidia", host);
        rc = put(directory, "version", "%s\n", info->driver_version);
    }
    return rc == 0 ? put(directory, "initstate", "live\n") : rc;
}

static int write_gpu_information(const char *host, const struct emu_gpu_info *gpu,
                                 const char *driver_version)
{
    char directory[PATH_MAX];
    char pci[32];

    emu_format_pci(gpu, pci, sizeof(pci));
    (void)snprintf(directory, sizeof(directory), "%s/proc/driver/nvidia/gpus/%s", host, pci);
    return put(directory, "information",
               "Model: \t\t %s\nIRQ:   \t\t %u\nGPU UUID: \t %s\nVideo BIOS: \t %s\n"
               "Bus Type: \t PCIe\nDMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\n"
               "Bus Location: \t %s\nDevice Minor: \t %u\nGPU Firmware: \t %s\n"
               "GPU Excluded:\t No\n",
               gpu->name, 64 + gpu->minor, gpu->uuid, gpu->vbios, pci, gpu->minor, driver_version);
}

static int write_capabilities(const char *host, const struct emu_node_info *info)
{
    char directory[PATH_MAX];
    unsigned i;
    int rc;

    (void)snprintf(directory, sizeof(directory), "%s/proc/driver/nvidia/capabilities/mig", host);
    rc = put_capability(directory, "config", 1, 0400);
    if (rc == 0) {
        rc = put_capability(directory, "monitor", 2, 0444);
    }
    for (i = 0; rc == 0 && i < info->gpu_count; i++) {
        (void)snprintf(directory, sizeof(directory), "%s/proc/driver/nvidia/capabilities/gpu%u/mig",
                       host, info->gpus[i].minor);
        rc = make_directories(directory);
    }
    return rc;
}

/* The whole static table of numbers, as the driver gives it. */
static int write_minors(const char *host)
{
    char path[PATH_MAX];
    unsigned gpu;
    unsigned gi;
    unsigned ci;
    FILE *file;
    int rc;

    (void)snprintf(path, sizeof(path), "%s/proc/driver/nvidia-caps", host);
    rc = make_directories(path);
    if (rc != 0) {
        return rc;
    }
    (void)snprintf(path, sizeof(path), "%s/proc/driver/nvidia-caps/mig-minors", host);
    file = fopen(path, "we");
    if (!file) {
        return -errno;
    }
    fputs("config 1\nmonitor 2\n", file);
    for (gpu = 0; gpu < MINOR_GPU_COUNT; gpu++) {
        for (gi = 0; gi < MAX_GPU_INSTANCE_IDS; gi++) {
            fprintf(file, "gpu%u/gi%u/access %u\n", gpu, gi,
                    emu_capability_minor(gpu, gi, EMU_ID_NONE));
            for (ci = 0; ci < MAX_COMPUTE_INSTANCE_IDS_PER_GI; ci++) {
                fprintf(file, "gpu%u/gi%u/ci%u/access %u\n", gpu, gi, ci,
                        emu_capability_minor(gpu, gi, ci));
            }
        }
    }
    return fclose(file) == 0 ? 0 : -EIO;
}

/* ---- sysfs ---- */

static void put_u16(unsigned char *space, unsigned offset, uint32_t value)
{
    space[offset] = (unsigned char)(value & 0xff);
    space[offset + 1] = (unsigned char)(value >> 8 & 0xff);
}

/* The first 64 bytes are standard; the rest is empty, without capabilities. */
static int write_config_space(const char *directory, const struct emu_gpu_info *gpu)
{
    unsigned char space[CONFIG_SPACE_SIZE] = {0};
    char path[PATH_MAX];

    put_u16(space, 0x00, gpu->pci_device & 0xffff);
    put_u16(space, 0x02, gpu->pci_device >> 16);
    put_u16(space, 0x04, 0x0006); /* memory and bus master */
    space[0x08] = 0xa1;           /* revision */
    put_u16(space, 0x0a, 0x0302); /* 3D controller */
    put_u16(space, 0x2c, gpu->pci_subsystem & 0xffff);
    put_u16(space, 0x2e, gpu->pci_subsystem >> 16);
    if (snprintf(path, sizeof(path), "%s/config", directory) >= (int)sizeof(path)) {
        return -ENAMETOOLONG;
    }
    return write_bytes(path, space, sizeof(space));
}

/* BAR 0 is 16 MiB of registers, BAR 1 the memory window, BAR 3 32 MiB; made-up addresses. */
static int write_resource(const char *directory, const struct emu_gpu_info *gpu)
{
    char text[FILE_MAX];
    size_t used = 0;
    unsigned long long bar1 = (unsigned long long)gpu->bar1_mib << 20;
    unsigned long long window = 0x200000000000ULL + ((unsigned long long)gpu->minor << 40);
    unsigned long long registers = 0x90000000ULL + ((unsigned long long)gpu->minor << 25);
    unsigned bar;

    for (bar = 0; bar < 13; bar++) {
        unsigned long long start = bar == 0 ? registers : bar == 1 ? window : window + bar1;
        unsigned long long size = bar == 0 ? 16ULL << 20 : bar == 1 ? bar1 : 32ULL << 20;
        int have = bar == 0 || bar == 1 || bar == 3;
        int count = snprintf(text + used, sizeof(text) - used, "0x%016llx 0x%016llx 0x%016llx\n",
                             have ? start : 0, have ? start + size - 1 : 0,
                             have ? (bar == 0 ? 0x40200ULL : 0x14220cULL) : 0);

        if (count < 0 || (size_t)count >= sizeof(text) - used) {
            return -EFBIG;
        }
        used += (size_t)count;
    }
    return put(directory, "resource", "%s", text);
}

static int write_pci_device(const char *host, const struct emu_gpu_info *gpu)
{
    char directory[PATH_MAX];
    char link[PATH_MAX];
    char pci[32];
    size_t i;
    int rc = 0;
    const struct {
        const char *name;
        unsigned value;
    } numbers[] = {{"vendor", gpu->pci_device & 0xffff},
                   {"device", gpu->pci_device >> 16},
                   {"subsystem_vendor", gpu->pci_subsystem & 0xffff},
                   {"subsystem_device", gpu->pci_subsystem >> 16}};

    emu_format_pci(gpu, pci, sizeof(pci));
    (void)snprintf(directory, sizeof(directory), "%s/sys/bus/pci/devices/%s", host, pci);
    for (i = 0; rc == 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        rc = put(directory, numbers[i].name, "0x%04x\n", numbers[i].value);
    }
    if (rc == 0) {
        rc = put(directory, "class", "0x030200\n");
    }
    if (rc == 0) {
        rc = put(directory, "numa_node", "%d\n", gpu->numa_node);
    }
    if (rc == 0) {
        rc = put(directory, "enable", "1\n");
    }
    if (rc == 0) {
        rc = write_config_space(directory, gpu);
    }
    if (rc == 0) {
        rc = write_resource(directory, gpu);
    }
    (void)snprintf(link, sizeof(link), "%.*s/driver", (int)sizeof(link) - 16, directory);
    if (rc == 0 && symlink("/sys/bus/pci/drivers/nvidia", link) < 0 && errno != EEXIST) {
        rc = -errno;
    }
    return rc;
}

int emu_host_write(const char *node, const struct emu_node_info *info)
{
    char host[PATH_MAX / 2];
    unsigned i;
    int rc;

    if (snprintf(host, sizeof(host), "%s/%s", node, EMU_HOST_DIRECTORY) >= (int)sizeof(host)) {
        return -ENAMETOOLONG;
    }
    rc = write_driver(host, info);
    if (rc == 0) {
        rc = write_capabilities(host, info);
    }
    if (rc == 0) {
        rc = write_minors(host);
    }
    for (i = 0; rc == 0 && i < info->gpu_count; i++) {
        rc = write_gpu_information(host, &info->gpus[i], info->driver_version);
        if (rc == 0) {
            rc = write_pci_device(host, &info->gpus[i]);
        }
    }
    return rc;
}

/* ---- instances ---- */

/* Removes an entry of the tree: DIRECTORY/access, DIRECTORY/ciN/access, DIRECTORY. */
static int remove_entry(const char *directory)
{
    char path[PATH_MAX];
    unsigned ci;

    for (ci = 0; ci < EMU_CI_MAX; ci++) {
        (void)snprintf(path, sizeof(path), "%.*s/ci%u/access", PATH_MAX - 32, directory, ci);
        (void)unlink(path);
        (void)snprintf(path, sizeof(path), "%.*s/ci%u", PATH_MAX - 32, directory, ci);
        (void)rmdir(path);
    }
    (void)snprintf(path, sizeof(path), "%.*s/access", PATH_MAX - 32, directory);
    (void)unlink(path);
    return rmdir(directory) < 0 && errno != ENOENT ? -errno : 0;
}

/*
 * Where entries are put together and taken apart: beside the tree, so that what a killed process
 * leaves there is seen by nobody.
 */
static int scratch_path(const char *node, char ret[PATH_MAX])
{
    int length =
        snprintf(ret, PATH_MAX, "%s/%s/moving.%ld", node, EMU_HOST_DIRECTORY, (long)getpid());

    return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

/* Takes an entry out of sight at once, and then apart. */
static int take_away(const char *node, const char *directory)
{
    char hidden[PATH_MAX];
    int rc = scratch_path(node, hidden);

    if (rc < 0) {
        return rc;
    }
    rc = rename(directory, hidden);
    if (rc < 0 && (errno == ENOTEMPTY || errno == EEXIST)) {
        (void)remove_entry(hidden); /* of a killed process that had this pid */
        rc = rename(directory, hidden);
    }
    if (rc < 0) {
        return errno == ENOENT ? 0 : -errno;
    }
    return remove_entry(hidden);
}

/* Makes DIRECTORY with its access file, at another place first. */
static int bring(const char *node, const char *directory, unsigned minor)
{
    char scratch[PATH_MAX];
    int rc;

    if (access(directory, F_OK) == 0) {
        return 0;
    }
    rc = scratch_path(node, scratch);
    if (rc == 0) {
        rc = put_capability(scratch, "access", minor, 0444);
    }
    if (rc == 0 && rename(scratch, directory) < 0) {
        rc = -errno;
        (void)remove_entry(scratch);
    }
    return rc == -EEXIST || rc == -ENOTEMPTY ? 0 : rc;
}

int emu_host_sync(const char *node, unsigned gpu, const struct emu_gpu *state)
{
    char directory[PATH_MAX / 2];
    char path[PATH_MAX];
    unsigned gi;
    unsigned ci;
    int rc = 0;

    if (snprintf(directory, sizeof(directory), "%s/%s/proc/driver/nvidia/capabilities/gpu%u/mig",
                 node, EMU_HOST_DIRECTORY, gpu) >= (int)sizeof(directory)) {
        return -ENAMETOOLONG;
    }
    if (access(directory, F_OK) < 0) {
        return 0;
    }
    for (gi = 0; rc == 0 && gi < MAX_GPU_INSTANCE_IDS; gi++) {
        const struct emu_gi *instance = &state->gis[gi];

        (void)snprintf(path, sizeof(path), "%s/gi%u", directory, gi);
        if (!instance->used) {
            rc = take_away(node, path);
            continue;
        }
        rc = bring(node, path, emu_capability_minor(gpu, gi, EMU_ID_NONE));
        for (ci = 0; rc == 0 && ci < EMU_CI_MAX; ci++) {
            (void)snprintf(path, sizeof(path), "%s/gi%u/ci%u", directory, gi, ci);
            rc = instance->cis[ci].used ? bring(node, path, emu_capability_minor(gpu, gi, ci))
                                        : take_away(node, path);
        }
    }
    return rc;
}
