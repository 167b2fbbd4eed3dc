/* SPDX-License-Identifier: Apache-2.0 */
/* Boards as in facts/README.md section 3, and nodes made of them. */
#include "emulator_support.h"
#include "emulator/machine/fault.h"
#include "emulator/machine/uuid.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct row {
    const char *name;
    int32_t driver_id;
    uint8_t enum_value, slices, max, variant, size;
    int32_t memory_mib;
    const char *starts; /* characters '0' + start */
    const char *parts;  /* slices of the compute profiles, as digits, the default last */
};

static const struct row a30[] = {
    {"1g.6gb", 14, 0, 1, 4, EMU_VARIANT_BASE, 1, 5952, "0123", "1"},
    {"1g.6gb+me", 21, 7, 1, 1, EMU_VARIANT_ME, 1, 5952, "0123", "1"},
    {"2g.12gb", 5, 1, 2, 2, EMU_VARIANT_BASE, 2, 11968, "02", "12"},
    {"2g.12gb+me", 6, 8, 2, 1, EMU_VARIANT_ME, 2, 11968, "02", "12"},
    {"4g.24gb", 0, 3, 4, 1, EMU_VARIANT_BASE, 4, 24000, "0", "124"},
    {0},
};

static const struct row eight[] = {
    {"1g.5gb", 19, 0, 1, 7, EMU_VARIANT_BASE, 1, 4864, "0123456", "1"},
    {"1g.5gb+me", 20, 7, 1, 1, EMU_VARIANT_ME, 1, 4864, "0123456", "1"},
    {"1g.10gb", 15, 9, 1, 4, EMU_VARIANT_MEM2X, 2, 9856, "0246", "1"},
    {"2g.10gb", 14, 1, 2, 3, EMU_VARIANT_BASE, 2, 9856, "024", "12"},
    {"3g.20gb", 9, 2, 3, 2, EMU_VARIANT_BASE, 4, 19968, "04", "123"},
    {"4g.20gb", 5, 3, 4, 1, EMU_VARIANT_BASE, 4, 19968, "0", "124"},
    {"7g.40gb", 0, 4, 7, 1, EMU_VARIANT_BASE, 8, 40192, "0", "12347"},
    {0},
};

static const struct row rtx[] = {
    {"1g.24gb", 14, 0, 1, 4, EMU_VARIANT_BASE, 3, 24192, "0369", "1"},
    {"1g.24gb+me", 21, 7, 1, 1, EMU_VARIANT_ME, 3, 24192, "0369", "1"},
    {"1g.24gb+gfx", 47, 10, 1, 4, EMU_VARIANT_GFX, 3, 24192, "0369", "1"},
    {"1g.24gb+me.all", 65, 15, 1, 1, EMU_VARIANT_ALL_ME, 3, 24192, "0369", "1"},
    {"1g.24gb-me", 67, 13, 1, 4, EMU_VARIANT_NO_ME, 3, 24192, "0369", "1"},
    {"2g.48gb", 5, 1, 2, 2, EMU_VARIANT_BASE, 6, 48512, "06", "12"},
    {"4g.96gb", 0, 3, 4, 1, EMU_VARIANT_BASE, 12, 97280, "0", "124"},
    {0},
};

static void fill_compute(struct emu_profile *profile, const char *name, const char *parts)
{
    for (; *parts; parts++) {
        struct emu_ci_profile *ci = &profile->ci_profiles[profile->ci_profile_count++];
        unsigned slices = (unsigned)(*parts - '0'), all = profile->slice_count;
        static const uint8_t enums[] = {0, 0, 1, 2, 3, 0, 0, 4};
        ci->is_default = parts[1] == '\0';
        if (ci->is_default) {
            snprintf(ci->name, sizeof ci->name, "%s", name);
        } else {
            snprintf(ci->name, sizeof ci->name, "%uc.%s", slices, name);
        }
        ci->enum_value = enums[slices];
        ci->driver_id = ci->enum_value;
        ci->sm_count = (int32_t)(14 * slices);
        ci->slice_count = (uint8_t)slices;
        ci->size = (uint8_t)slices;
        for (unsigned start = 0; start + slices <= all && start < EMU_CI_START_MAX;
             start += slices) {
            ci->starts[ci->start_count++] = (uint8_t)start;
        }
        ci->max_instances = ci->start_count;
    }
}

static void fill_profiles(struct emu_gpu_info *gpu, const struct row *rows)
{
    for (; rows->name; rows++) {
        struct emu_profile *profile = &gpu->profiles[gpu->profile_count++];
        snprintf(profile->name, sizeof profile->name, "%s", rows->name);
        profile->driver_id = rows->driver_id;
        profile->memory_mib = rows->memory_mib;
        profile->bar1_mib = EMU_UNKNOWN;
        profile->sm_count = 14 * rows->slices;
        profile->copy_engines = rows->slices;
        profile->enum_value = rows->enum_value;
        profile->slice_count = rows->slices;
        profile->max_instances = rows->max;
        profile->variant = rows->variant;
        profile->size = rows->size;
        for (const char *start = rows->starts; *start; start++) {
            profile->starts[profile->start_count++] = (uint8_t)(*start - '0');
        }
        fill_compute(profile, rows->name, rows->parts);
    }
}

void board_describe(enum board board, enum emu_numbering numbering, unsigned index,
                    struct emu_gpu_info *ret)
{
    static const struct {
        const char *name;
        const struct row *rows;
        uint32_t architecture;
        int64_t memory_mib;
        uint8_t units, slices, devices;
    } boards[] = {
        [BOARD_A30] = {"NVIDIA A30", a30, NVML_DEVICE_ARCH_AMPERE, 24576, 4, 4, 4},
        [BOARD_A100] = {"NVIDIA A100-SXM4-40GB", eight, NVML_DEVICE_ARCH_AMPERE, 40960, 8, 7, 7},
        [BOARD_H100] = {"NVIDIA H100 PCIe", eight, NVML_DEVICE_ARCH_HOPPER, 40960, 8, 7, 7},
        [BOARD_RTX] = {"NVIDIA RTX PRO 6000", rtx, NVML_DEVICE_ARCH_BLACKWELL, 97887, 12, 4, 4},
        [BOARD_T4] = {"Tesla T4", NULL, NVML_DEVICE_ARCH_TURING, 15360, 0, 0, 0},
    };
    memset(ret, 0, sizeof *ret);
    snprintf(ret->name, sizeof ret->name, "%s", boards[board].name);
    emu_gpu_uuid("test", index, ret->uuid, sizeof ret->uuid);
    snprintf(ret->serial, sizeof ret->serial, "%u", 1000 + index);
    ret->pci_bus = 0x10 + index;
    ret->pci_device = 0x20b710de;
    ret->pci_subsystem = 0x153210de;
    ret->minor = index;
    ret->architecture = boards[board].architecture;
    ret->mig_capable = boards[board].rows != NULL;
    ret->mode_needs_reset = ret->architecture == NVML_DEVICE_ARCH_AMPERE;
    ret->mode_persists_reboot = ret->mode_needs_reset;
    ret->numbering = (uint8_t)numbering;
    ret->unit_count = boards[board].units;
    ret->compute_slice_count = boards[board].slices;
    ret->max_mig_devices = boards[board].devices;
    ret->memory_mib = boards[board].memory_mib;
    ret->bar1_mib = 32768;
    ret->ecc_capable = 1;
    if (boards[board].rows) {
        fill_profiles(ret, boards[board].rows);
    }
    emu_gpu_defaults(ret);
}

struct emu_machine *node_make(const enum board *boards, unsigned count,
                              enum emu_numbering numbering, char directory[64])
{
    struct emu_machine *machine = NULL;
    struct emu_node_info *info = calloc(1, sizeof *info);
    assert_non_null(info);
    snprintf(directory, 64, "/tmp/migd-emulator-XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(info->driver_version, sizeof info->driver_version, "550.90.07");
    info->cuda_version = 12040;
    info->gpu_count = count;
    for (unsigned i = 0; i < count; i++) {
        board_describe(boards[i], numbering, i, &info->gpus[i]);
    }
    assert_int_equal(emu_machine_create(directory, info, EMU_PERMISSION_OWNER), 0);
    free(info);
    assert_int_equal(emu_machine_open(directory, &machine), 0);
    return machine;
}

void node_remove(struct emu_machine *machine, const char *directory)
{
    unlink(emu_machine_path(machine));
    rmdir(directory);
    emu_machine_close(machine);
}

void node_enable(const struct emu_machine *machine, unsigned gpu)
{
    struct emu_transaction change;
    assert_int_equal(emu_begin(machine, &change), 0);
    change.state->gpus[gpu].mode = 1;
    change.state->gpus[gpu].mode_pending = 1;
    emu_commit(&change);
}

struct emu_state *node_read(const struct emu_machine *machine)
{
    struct emu_state *state = calloc(1, sizeof *state);
    assert_non_null(state);
    assert_int_equal(emu_machine_read(machine, state), 0);
    return state;
}

unsigned node_add_fault(const struct emu_machine *machine, const char *text)
{
    struct emu_fault fault;
    struct emu_transaction change;
    char reason[128];
    unsigned slot = 0;
    assert_int_equal(emu_fault_parse(text, &fault, reason, sizeof reason), 0);
    assert_int_equal(emu_begin(machine, &change), 0);
    assert_int_equal(emu_fault_add(machine, change.state, &fault, &slot), 0);
    emu_commit(&change);
    return slot;
}
