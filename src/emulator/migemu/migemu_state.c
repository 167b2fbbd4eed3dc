/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu show, snapshot, restore and diff. A state is described in lines, one fact each, in a fixed
 * order; show prints them, diff compares those of two states. A snapshot is the state itself
 * behind a header that says which machine it is of: identity is the description, all of it.
 */
#include "emulator/machine/fault.h"
#include "emulator/machine/host_tree.h"
#include "emulator/machine/uuid.h"
#include "emulator/migemu/migemu.h"

#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define SNAPSHOT_MAGIC "migemu state 1\n"
#define LINES_MAX 8192
#define MIB (1ULL << 20)

struct snapshot_header {
    char magic[16];
    uint32_t schema, gpu_count;
    uint64_t state_size;
    char driver_version[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE];
    char uuids[EMU_GPU_MAX][NVML_DEVICE_UUID_BUFFER_SIZE];
    uint64_t checksum; /* of the state */
};

struct snapshot {
    struct snapshot_header header;
    struct emu_state state;
};

/* ---- lines ---- */

void migemu_lines_release(struct migemu_lines *lines)
{
    free(lines->list);
    lines->list = NULL;
}

static void add_line(struct migemu_lines *lines, const char *format, ...) MIG_PRINTF(2, 3);

static void add_line(struct migemu_lines *lines, const char *format, ...)
{
    va_list args;

    if (lines->count == lines->room) {
        size_t room = lines->room == 0 ? 64 : lines->room * 2;
        void *grown = room > LINES_MAX ? NULL : realloc(lines->list, room * sizeof(*lines->list));

        if (!grown) {
            lines->failed = true;
            return;
        }
        lines->list = grown;
        lines->room = room;
    }
    va_start(args, format);
    (void)vsnprintf(lines->list[lines->count], sizeof(*lines->list), format, args);
    va_end(args);
    lines->count++;
}

static const char *mode_name(unsigned mode)
{
    return mode == NVML_DEVICE_MIG_ENABLE ? "enabled" : "disabled";
}

static void describe_instances(const struct emu_gpu_info *info, const struct emu_gpu *gpu,
                               unsigned index, struct migemu_lines *lines)
{
    unsigned gi;
    unsigned ci;

    for (gi = 0; gi < EMU_GI_MAX; gi++) {
        const struct emu_gi *instance = &gpu->gis[gi];
        const struct emu_profile *profile = &info->profiles[instance->profile];

        if (!instance->used || instance->profile >= info->profile_count) {
            continue;
        }
        add_line(lines, "GPU %u GI %u: %s at %u:%u", index, gi, profile->name, instance->start,
                 instance->size);
        for (ci = 0; ci < EMU_CI_MAX; ci++) {
            const struct emu_ci *part = &instance->cis[ci];
            char uuid[NVML_DEVICE_UUID_V2_BUFFER_SIZE];

            if (!part->used || part->profile >= profile->ci_profile_count) {
                continue;
            }
            emu_mig_uuid(info->uuid, gi, ci, uuid, sizeof(uuid));
            add_line(lines, "GPU %u GI %u CI %u: %s at %u:%u, %s", index, gi, ci,
                     profile->ci_profiles[part->profile].name, part->start, part->size, uuid);
        }
    }
}

static void describe_gpu(const struct emu_gpu_info *info, const struct emu_gpu *gpu, unsigned index,
                         struct migemu_lines *lines)
{
    add_line(lines, "GPU %u: MIG %s%s%s, persistence mode %s", index, mode_name(gpu->mode),
             gpu->mode == gpu->mode_pending ? "" : ", pending ",
             gpu->mode == gpu->mode_pending ? "" : mode_name(gpu->mode_pending),
             gpu->persistence ? "on" : "off");
    if (gpu->lost) {
        add_line(lines, "GPU %u: fell off the bus", index);
    }
    if (gpu->reset_required) {
        add_line(lines, "GPU %u: needs a reset", index);
    }
    if (gpu->recovery_action != NVML_GPU_RECOVERY_ACTION_NONE) {
        add_line(lines, "GPU %u: recovery action %s", index,
                 migemu_recovery_name(gpu->recovery_action));
    }
    if (gpu->ecc_corrected > 0 || gpu->ecc_uncorrected > 0) {
        add_line(lines, "GPU %u: ECC errors %llu corrected, %llu uncorrected", index,
                 (unsigned long long)gpu->ecc_corrected, (unsigned long long)gpu->ecc_uncorrected);
    }
    describe_instances(info, gpu, index, lines);
}

static void describe_users(const struct emu_node_info *info, const struct emu_state *state,
                           struct migemu_lines *lines)
{
    char where[MIGEMU_TEXT_SIZE / 2];
    unsigned i;

    for (i = 0; i < EMU_PROCESS_MAX; i++) {
        const struct emu_process *process = &state->processes[i];
        struct migemu_place place = {process->gpu, process->gi, process->ci};

        if (process->pid != 0 && emu_process_is_alive(process)) {
            migemu_format_place(info, &place, where, sizeof(where));
            add_line(lines, "process %u: %s, %llu MiB on %s", process->pid, process->name,
                     (unsigned long long)(process->memory_bytes / MIB), where);
        }
    }
    for (i = 0; i < EMU_HOLDER_MAX; i++) {
        const struct emu_holder *holder = &state->holders[i];
        struct migemu_place place = {holder->gpu, holder->gi, holder->ci};

        if (holder->kind != EMU_HOLDER_FREE) {
            migemu_format_place(info, &place, where, sizeof(where));
            add_line(lines, "holder %u: %s (%s) on %s", i, holder->name,
                     holder->kind == EMU_HOLDER_LEAKED ? "leaked" : "client", where);
        }
    }
    for (i = 0; i < EMU_FAULT_MAX; i++) {
        if (state->faults[i].used) {
            add_line(lines, "fault %u: %s", i, state->faults[i].text);
        }
    }
}

void migemu_describe_state(const struct emu_node_info *info, const struct emu_state *state,
                           struct migemu_lines *ret)
{
    unsigned i;

    add_line(ret, "machine: boot %u, driver load %u", state->boot_count, state->driver_load_count);
    for (i = 0; i < state->gpu_count && i < info->gpu_count; i++) {
        describe_gpu(&info->gpus[i], &state->gpus[i], i, ret);
    }
    describe_users(info, state, ret);
}

int migemu_show(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    MIGEMU_AUTO_LINES struct migemu_lines lines = {0};
    const struct emu_node_info *info;
    size_t i;

    if (!migemu_operands(argc, argv, 1, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    state = migemu_open(argv[1], &machine) == 0 ? migemu_read(machine) : NULL;
    if (!state) {
        return MIGEMU_EXIT_FAILED;
    }
    info = emu_machine_info(machine);
    printf("driver %s, CUDA %d.%d\n", info->driver_version, info->cuda_version / 1000,
           info->cuda_version % 1000 / 10);
    for (i = 0; i < info->gpu_count; i++) {
        const struct emu_gpu_info *gpu = &info->gpus[i];

        printf("GPU %zu: %s, %lld MiB, %s, %08X:%02X:%02X.0, %s numbering\n", i, gpu->name,
               (long long)gpu->memory_mib, gpu->uuid, gpu->pci_domain, gpu->pci_bus,
               gpu->pci_device_number,
               gpu->numbering == EMU_NUMBERING_DIRECT ? "direct" : "half-swapped");
    }
    migemu_describe_state(info, state, &lines);
    for (i = 0; i < lines.count; i++) {
        printf("%s\n", lines.list[i]);
    }
    return lines.failed ? migemu_fail_errno(ENOMEM, "could not describe the machine") : 0;
}

/* ---- snapshots ---- */

static uint64_t hash_of(const void *data, size_t size)
{
    const unsigned char *bytes = data;
    uint64_t hash = 0xcbf29ce484222325ULL;
    size_t i;

    for (i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
    }
    return hash;
}

static void fill_header(const struct emu_node_info *info, const struct emu_state *state,
                        struct snapshot_header *ret)
{
    unsigned i;

    memset(ret, 0, sizeof(*ret));
    (void)mig_text_copy(ret->magic, sizeof(ret->magic), SNAPSHOT_MAGIC);
    ret->schema = EMU_SCHEMA;
    ret->gpu_count = info->gpu_count;
    ret->state_size = sizeof(*state);
    (void)mig_text_copy(ret->driver_version, sizeof(ret->driver_version), info->driver_version);
    for (i = 0; i < info->gpu_count; i++) {
        (void)mig_text_copy(ret->uuids[i], sizeof(ret->uuids[i]), info->gpus[i].uuid);
    }
    ret->checksum = hash_of(state, sizeof(*state));
}

int migemu_snapshot(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    MIG_AUTO_FREE struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
    struct mig_error error;

    if (!migemu_operands(argc, argv, 1, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    if (!snapshot) {
        return migemu_fail_errno(ENOMEM, "could not take a snapshot");
    }
    state = migemu_open(argv[1], &machine) == 0 ? migemu_read(machine) : NULL;
    if (!state) {
        return MIGEMU_EXIT_FAILED;
    }
    snapshot->state = *state;
    fill_header(emu_machine_info(machine), state, &snapshot->header);
    if (mig_file_write_atomic(argv[2], snapshot, sizeof(*snapshot), 0644, &error) != 0) {
        return migemu_fail_error(&error);
    }
    return 0;
}

/* Reads a snapshot and makes sure that it is whole and of this machine. */
static int read_snapshot(const char *path, const struct emu_node_info *info, char **ret)
{
    MIG_AUTO_FREE char *data = NULL;
    const struct snapshot *snapshot;
    struct snapshot_header expected;
    struct mig_error error;
    size_t size = 0;

    if (mig_file_read(path, sizeof(*snapshot), &data, &size, &error) != 0) {
        return migemu_fail_error(&error);
    }
    snapshot = (const struct snapshot *)(const void *)data;
    if (size != sizeof(*snapshot) ||
        memcmp(snapshot->header.magic, SNAPSHOT_MAGIC, sizeof(SNAPSHOT_MAGIC) - 1) != 0) {
        return migemu_fail("'%s' is no snapshot of this version of migemu", path);
    }
    fill_header(info, &snapshot->state, &expected);
    if (snapshot->header.checksum != expected.checksum) {
        return migemu_fail("the snapshot '%s' is damaged", path);
    }
    if (memcmp(&snapshot->header, &expected, sizeof(expected)) != 0) {
        return migemu_fail("the snapshot '%s' is of another machine", path);
    }
    *ret = MIG_TAKE(data);
    return 0;
}

/* Counts that tell one thing from a later one never go back. */
static void put_back(struct emu_state *state, const struct emu_state *kept)
{
    uint64_t change_count = state->change_count;
    uint64_t token_count = state->token_count;
    uint32_t birth_count = state->birth_count;

    *state = *kept;
    state->change_count = change_count;
    state->token_count = token_count > kept->token_count ? token_count : kept->token_count;
    state->birth_count = birth_count > kept->birth_count ? birth_count : kept->birth_count;
}

int migemu_restore(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE char *data = NULL;
    struct emu_transaction transaction;
    unsigned i;
    int status;

    if (!migemu_operands(argc, argv, 1, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = migemu_open(argv[1], &machine);
    if (status == 0) {
        status = read_snapshot(argv[2], emu_machine_info(machine), &data);
    }
    if (status == 0) {
        status = migemu_begin(machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    put_back(transaction.state, &((const struct snapshot *)(const void *)data)->state);
    for (i = 0; i < transaction.state->gpu_count; i++) {
        (void)emu_host_sync(argv[1], i, &transaction.state->gpus[i]);
    }
    emu_commit(&transaction);
    return 0;
}

static bool has_line(const struct migemu_lines *lines, const char *line)
{
    size_t i;

    for (i = 0; i < lines->count; i++) {
        if (strcmp(lines->list[i], line) == 0) {
            return true;
        }
    }
    return false;
}

/* Prints the lines of one that the other lacks; returns how many. */
static size_t print_missing(const struct migemu_lines *lines, const struct migemu_lines *other,
                            char sign)
{
    size_t count = 0;
    size_t i;

    for (i = 0; i < lines->count; i++) {
        if (!has_line(other, lines->list[i])) {
            printf("%c %s\n", sign, lines->list[i]);
            count++;
        }
    }
    return count;
}

int migemu_diff(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    MIG_AUTO_FREE char *data = NULL;
    MIGEMU_AUTO_LINES struct migemu_lines before = {0};
    MIGEMU_AUTO_LINES struct migemu_lines now = {0};
    size_t changes;

    if (!migemu_operands(argc, argv, 1, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    if (migemu_open(argv[1], &machine) != 0 ||
        read_snapshot(argv[2], emu_machine_info(machine), &data) != 0) {
        return MIGEMU_EXIT_USAGE;
    }
    state = migemu_read(machine);
    if (!state) {
        return MIGEMU_EXIT_USAGE;
    }
    migemu_describe_state(emu_machine_info(machine),
                          &((const struct snapshot *)(const void *)data)->state, &before);
    migemu_describe_state(emu_machine_info(machine), state, &now);
    if (before.failed || now.failed) {
        (void)migemu_fail_errno(ENOMEM, "could not compare");
        return MIGEMU_EXIT_USAGE;
    }
    changes = print_missing(&before, &now, '-') + print_missing(&now, &before, '+');
    return changes == 0 ? 0 : 1;
}
