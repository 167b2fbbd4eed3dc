/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads /sys/bus/pci/devices/ADDRESS/{class,numa_node,config}. These files are small, need no
 * privilege as far as they are read here (the first 64 bytes of config are for everybody, the
 * capabilities behind them only for root), and never block.
 *
 * A hypervisor marks a virtual GPU with a vendor-specific capability that begins with "VF" after
 * its header; records of (type, length, content) follow, and the one of type 0 carries the version
 * and the branch of the host's driver in two fields of ten characters.
 */
#include "gpu/pci.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define FILE_MAX 64
#define STATUS_OFFSET 0x06
#define STATUS_CAPABILITIES 0x10
#define CAPABILITY_POINTER 0x34
#define CAPABILITY_FIRST 0x40
#define CAPABILITY_VENDOR 0x09
#define CAPABILITY_MAX 48 /* of one device; a longer chain is a loop */
#define VGPU_RECORDS 5    /* where they begin in the capability */
#define VGPU_FIELD 10

/* "/sys/.../0000:3b:00.0/NAME": sysfs writes the domain with four digits, NVML with eight. */
static bool sys_path(const char *sys_root, const char *bus_id, const char *name,
                     char path[PATH_MAX])
{
    size_t length = strlen(bus_id);
    char address[MIG_BUS_ID_SIZE];
    const char *start = length == 16 && mig_text_starts_with(bus_id, "0000") ? bus_id + 4 : bus_id;
    size_t i;

    for (i = 0; start[i] && i + 1 < sizeof(address); i++) {
        address[i] = (char)tolower((unsigned char)start[i]);
    }
    address[i] = '\0';
    return length > 0 && !strchr(address, '/') &&
           snprintf(path, PATH_MAX, "%s/sys/bus/pci/devices/%s/%s", sys_root, address, name) <
               PATH_MAX;
}

/* A file of one number; false when there is none. */
static bool read_number(const char *path, uint64_t *ret)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size = 0;

    if (mig_file_read(path, FILE_MAX, &text, &size, NULL) < 0) {
        return false;
    }
    text[strcspn(text, "\n")] = '\0';
    return mig_text_parse_base0(text, UINT32_MAX, ret);
}

static void copy_field(char buffer[MIG_VGPU_TEXT_SIZE], const unsigned char *field)
{
    size_t i;

    for (i = 0; i < VGPU_FIELD && isgraph(field[i]); i++) {
        buffer[i] = (char)field[i];
    }
    buffer[i] = '\0';
}

/* The records of the capability; `size` bytes of it are there. */
static void parse_records(const unsigned char *capability, size_t size,
                          char version[MIG_VGPU_TEXT_SIZE], char branch[MIG_VGPU_TEXT_SIZE])
{
    size_t at = VGPU_RECORDS;

    while (at + 2 <= size && capability[at] != 0) {
        if (capability[at + 1] < 2) {
            return;
        }
        at += capability[at + 1];
    }
    if (at + 2 + (size_t)2 * VGPU_FIELD <= size) {
        copy_field(version, capability + at + 2);
        copy_field(branch, capability + at + 2 + VGPU_FIELD);
    }
}

bool mig_pci_parse_vgpu(const unsigned char *space, size_t size, char version[MIG_VGPU_TEXT_SIZE],
                        char branch[MIG_VGPU_TEXT_SIZE])
{
    size_t at;

    version[0] = branch[0] = '\0';
    if (size <= CAPABILITY_POINTER || !(space[STATUS_OFFSET] & STATUS_CAPABILITIES)) {
        return false;
    }
    at = space[CAPABILITY_POINTER];
    for (unsigned i = 0; i < CAPABILITY_MAX && at >= CAPABILITY_FIRST && at + 3 <= size; i++) {
        size_t length = space[at + 2];

        if (space[at] == CAPABILITY_VENDOR && length >= VGPU_RECORDS && at + length <= size &&
            space[at + 3] == 'V' && space[at + 4] == 'F') {
            parse_records(space + at, length, version, branch);
            return true;
        }
        at = space[at + 1];
    }
    return false;
}

void mig_pci_read(const char *sys_root, struct mig_gpu *gpu)
{
    MIG_AUTO_FREE char *space = NULL;
    char path[PATH_MAX];
    size_t size = 0;
    uint64_t number = 0;

    if (sys_path(sys_root, gpu->bus_id, "class", path) && read_number(path, &number)) {
        gpu->pci_class = (uint32_t)number;
    }
    /* -1 is no number here: there is no NUMA */
    if (sys_path(sys_root, gpu->bus_id, "numa_node", path) && read_number(path, &number) &&
        number <= INT32_MAX) {
        gpu->numa_node = (int32_t)number;
    }
    if (sys_path(sys_root, gpu->bus_id, "config", path) &&
        mig_file_read(path, MIG_PCI_CONFIG_MAX, &space, &size, NULL) == 0) {
        gpu->vgpu = mig_pci_parse_vgpu((const unsigned char *)space, size, gpu->vgpu_host_version,
                                       gpu->vgpu_host_branch);
    }
}
