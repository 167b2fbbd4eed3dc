/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making a machine: checks the description, and writes NODE/state complete or not at all.
 *
 * A description passes when nothing in it can lead a reader out of bounds and no two instances can
 * have one number. Everything later relies on that and does not check again.
 */
#include "emulator/machine/machine_file.h"
#include "emulator/machine/meter.h"
#include "emulator/machine/partition.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define IS_TEXT(array) (memchr(array, '\0', sizeof(array)) != NULL)

static bool ci_profile_is_sane(const struct emu_ci_profile *ci)
{
    if (!IS_TEXT(ci->name) || ci->start_count > EMU_CI_START_MAX || ci->enum_value > 63) {
        return false;
    }
    for (unsigned i = 0; i < ci->start_count; i++) {
        if (ci->size == 0 || ci->starts[i] + ci->size > EMU_UNIT_MAX) {
            return false;
        }
    }
    return true;
}

static bool profile_is_sane(const struct emu_gpu_info *gpu, const struct emu_profile *profile)
{
    if (!IS_TEXT(profile->name) || profile->start_count > EMU_START_MAX ||
        profile->enum_value > 63 || profile->ci_profile_count > EMU_CI_PROFILE_MAX) {
        return false;
    }
    for (unsigned i = 0; i < profile->start_count; i++) {
        unsigned start = profile->starts[i], size = profile->size;
        if (size == 0 || gpu->unit_count % size != 0 || start % size != 0 ||
            start + size > gpu->unit_count || emu_gi_id(gpu, start, size) >= MAX_GPU_INSTANCE_IDS) {
            return false;
        }
    }
    for (unsigned i = 0; i < profile->ci_profile_count; i++) {
        if (!ci_profile_is_sane(&profile->ci_profiles[i])) {
            return false;
        }
    }
    return true;
}

static bool gpu_is_sane(const struct emu_gpu_info *gpu)
{
    if (!IS_TEXT(gpu->name) || !IS_TEXT(gpu->uuid) || !IS_TEXT(gpu->serial) ||
        !IS_TEXT(gpu->vbios) || !IS_TEXT(gpu->part_number) || gpu->unit_count > EMU_UNIT_MAX ||
        gpu->profile_count > EMU_PROFILE_MAX || gpu->max_mig_devices > EMU_GI_MAX * EMU_CI_MAX) {
        return false;
    }
    if (gpu->numbering == EMU_NUMBERING_HALF_SWAPPED && gpu->unit_count % 2 != 0) {
        return false;
    }
    for (unsigned i = 0; i < gpu->profile_count; i++) {
        if (!profile_is_sane(gpu, &gpu->profiles[i])) {
            return false;
        }
    }
    return true;
}

bool emu_info_is_sane(const struct emu_node_info *info)
{
    if (!IS_TEXT(info->driver_version) || info->gpu_count > EMU_GPU_MAX) {
        return false;
    }
    for (unsigned i = 0; i < info->gpu_count; i++) {
        if (!gpu_is_sane(&info->gpus[i])) {
            return false;
        }
    }
    return true;
}

static void first_state(const struct emu_node_info *info, unsigned permission,
                        struct emu_state *state)
{
    state->boot_count = 1;
    state->driver_load_count = 1;
    state->gpu_count = info->gpu_count;
    state->permission = permission;
    state->clock = (struct emu_clock){.host_ns = emu_host_ns(), .rate = EMU_CLOCK_REAL};
    for (unsigned i = 0; i < info->gpu_count; i++) {
        state->gpus[i].power_limit_mw = info->gpus[i].power_limit_mw;
        state->gpus[i].ecc = info->gpus[i].ecc_capable;
        state->gpus[i].ecc_pending = info->gpus[i].ecc_capable;
    }
    emu_meter_settle(info, state, 0);
    state->checksum = emu_state_checksum(state);
}

static int fill_file(int fd, const struct emu_node_info *info, unsigned permission)
{
    if (ftruncate(fd, (off_t)sizeof(struct emu_file)) < 0) {
        return -errno;
    }
    void *memory = mmap(NULL, sizeof(struct emu_file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        return -errno;
    }
    struct emu_file *file = memory;
    memcpy(file->magic, EMU_MAGIC, sizeof file->magic);
    file->schema = EMU_SCHEMA;
    file->layout_size = sizeof *file;
    memcpy(&file->info, info, emu_info_size(info->gpu_count));
    file->description_hash = emu_hash(&file->info, emu_info_size(info->gpu_count));
    first_state(info, permission, &file->images[0]);
    int rc = fsync(fd) < 0 ? -errno : 0;
    munmap(memory, sizeof(struct emu_file));
    return rc;
}

int emu_machine_create(const char *node, const struct emu_node_info *info, unsigned permission)
{
    char path[PATH_MAX], scratch[PATH_MAX];
    if (!emu_info_is_sane(info) || permission > EMU_PERMISSION_ROOT) {
        return -EINVAL;
    }
    int size = snprintf(path, sizeof path, "%s/state", node);
    int scratch_size = snprintf(scratch, sizeof scratch, "%s/state.%ld", node, (long)getpid());
    if (size < 0 || scratch_size < 0 || scratch_size >= (int)sizeof scratch) {
        return -ENAMETOOLONG;
    }
    int fd = open(scratch, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    int rc = fill_file(fd, info, permission);
    close(fd);
    /* link, not rename: an existing machine stays. */
    if (rc == 0 && link(scratch, path) < 0) {
        rc = -errno;
    }
    unlink(scratch);
    return rc;
}
