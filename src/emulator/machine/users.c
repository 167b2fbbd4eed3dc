/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who uses the machine (processes, holders), and what happens to it as a whole (reset, driver
 * reload, reboot).
 *
 * Instances outlive nothing of the latter on any generation; what the MIG mode survives is in the
 * GPU's description (facts/README.md section 8). A real process counts until the kernel says that
 * it has ended; its start time tells it from a later process with the same pid.
 */
#include "emulator/machine/machine.h"
#include "emulator/machine/partition.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- processes ------------------------------------------------------------------------------ */

uint64_t emu_process_start_time(uint32_t pid)
{
    char path[48], text[1024];
    /* By way of ourselves: in a namespace of migemu run /proc may be links to the real one, made
     * before the process existed. */
    snprintf(path, sizeof path, "/proc/self/../%u/stat", (unsigned)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0) {
        return 0;
    }
    text[size] = '\0';
    /* The name, in brackets, may hold anything; after it: state is field 3, start time 22. */
    char *field = strrchr(text, ')');
    if (!field || strchr("ZX", field[1] ? field[2] : '\0')) {
        return 0; /* a zombie holds no GPU */
    }
    for (unsigned number = 2; field && number < 22; number++) {
        field = strchr(field + 1, ' ');
    }
    return field ? strtoull(field + 1, NULL, 10) : 0;
}

bool emu_process_is_alive(const struct emu_process *process)
{
    return process->pid != 0 &&
           (!process->real || emu_process_start_time(process->pid) == process->start_time);
}

static bool place_exists(const struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci)
{
    if (gpu >= state->gpu_count) {
        return false;
    }
    if (gi == EMU_ID_NONE) {
        return ci == EMU_ID_NONE;
    }
    if (gi >= EMU_GI_MAX || !state->gpus[gpu].gis[gi].used) {
        return false;
    }
    return ci == EMU_ID_NONE || (ci < EMU_CI_MAX && state->gpus[gpu].gis[gi].cis[ci].used);
}

int emu_process_add(struct emu_state *state, struct emu_process *process)
{
    if (process->pid == 0) {
        return -EINVAL;
    }
    if (!place_exists(state, process->gpu, process->gi, process->ci)) {
        return -ENOENT;
    }
    for (unsigned i = 0; i < EMU_PROCESS_MAX; i++) {
        if (state->processes[i].pid == 0) {
            process->token = ++state->token_count;
            process->name[sizeof process->name - 1] = '\0';
            state->processes[i] = *process;
            state->process_count++;
            return 0;
        }
    }
    return -ENOSPC;
}

/* Those behind it move up: the first process_count entries are the used ones. */
static void drop_process(struct emu_state *state, unsigned slot)
{
    struct emu_process *gone = &state->processes[slot];
    memmove(gone, gone + 1, (EMU_PROCESS_MAX - 1 - slot) * sizeof *gone);
    state->processes[EMU_PROCESS_MAX - 1] = (struct emu_process){0};
    state->process_count--;
}

unsigned emu_process_remove(struct emu_state *state, uint32_t pid, uint64_t token)
{
    unsigned count = 0;
    for (unsigned i = EMU_PROCESS_MAX; i-- > 0;) {
        const struct emu_process *process = &state->processes[i];
        if (process->pid != 0 && (token ? process->token == token : process->pid == pid)) {
            drop_process(state, i);
            count++;
        }
    }
    return count;
}

unsigned emu_process_reap(struct emu_state *state)
{
    unsigned count = 0;
    for (unsigned i = state->process_count; i-- > 0;) {
        if (state->processes[i].pid != 0 && !emu_process_is_alive(&state->processes[i])) {
            drop_process(state, i);
            count++;
        }
    }
    return count;
}

/* ---- holders -------------------------------------------------------------------------------- */

int emu_holder_add(struct emu_state *state, const struct emu_holder *holder)
{
    if (holder->kind != EMU_HOLDER_LEAKED && holder->kind != EMU_HOLDER_CLIENT) {
        return -EINVAL;
    }
    if (!place_exists(state, holder->gpu, holder->gi, holder->ci)) {
        return -ENOENT;
    }
    for (unsigned i = 0; i < EMU_HOLDER_MAX; i++) {
        if (state->holders[i].kind == EMU_HOLDER_FREE) {
            state->holders[i] = *holder;
            state->holders[i].name[sizeof holder->name - 1] = '\0';
            state->holder_count++;
            return 0;
        }
    }
    return -ENOSPC;
}

int emu_holder_remove(struct emu_state *state, unsigned slot)
{
    if (slot >= EMU_HOLDER_MAX || state->holders[slot].kind == EMU_HOLDER_FREE) {
        return -ENOENT;
    }
    state->holders[slot] = (struct emu_holder){0};
    state->holder_count--;
    return 0;
}

/* ---- counting ------------------------------------------------------------------------------- */

static bool is_within(unsigned user_gi, unsigned user_ci, unsigned gi, unsigned ci)
{
    return (gi == EMU_ID_NONE || user_gi == gi) && (ci == EMU_ID_NONE || user_ci == ci);
}

static unsigned count_processes(const struct emu_state *state, unsigned gpu, unsigned gi,
                                unsigned ci)
{
    unsigned count = 0;
    for (unsigned i = 0; state->process_count > 0 && i < EMU_PROCESS_MAX; i++) {
        const struct emu_process *process = &state->processes[i];
        count += process->pid != 0 && process->gpu == gpu &&
                 is_within(process->gi, process->ci, gi, ci) && emu_process_is_alive(process);
    }
    return count;
}

static unsigned count_holders(const struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci,
                              bool clients)
{
    unsigned count = 0;
    for (unsigned i = 0; state->holder_count > 0 && i < EMU_HOLDER_MAX; i++) {
        const struct emu_holder *holder = &state->holders[i];
        bool counts =
            holder->kind == EMU_HOLDER_LEAKED || (clients && holder->kind == EMU_HOLDER_CLIENT);
        count += counts && holder->gpu == gpu && is_within(holder->gi, holder->ci, gi, ci);
    }
    return count;
}

unsigned emu_users(const struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci)
{
    return count_processes(state, gpu, gi, ci) + count_holders(state, gpu, gi, ci, true);
}

unsigned emu_users_no_client(const struct emu_state *state, unsigned gpu)
{
    return count_processes(state, gpu, EMU_ID_NONE, EMU_ID_NONE) +
           count_holders(state, gpu, EMU_ID_NONE, EMU_ID_NONE, false);
}

unsigned emu_users_whole_gpu(const struct emu_state *state, unsigned gpu)
{
    unsigned count = 0;
    for (unsigned i = 0; i < EMU_PROCESS_MAX; i++) {
        const struct emu_process *process = &state->processes[i];
        count += process->pid != 0 && process->gpu == gpu && process->gi == EMU_ID_NONE &&
                 emu_process_is_alive(process);
    }
    for (unsigned i = 0; i < EMU_HOLDER_MAX; i++) {
        const struct emu_holder *holder = &state->holders[i];
        count += holder->kind != EMU_HOLDER_FREE && holder->gpu == gpu && holder->gi == EMU_ID_NONE;
    }
    return count;
}

/* ---- the machine as a whole ----------------------------------------------------------------- */

/* What every kind of restart does to a GPU: pending settings hold, volatile ones are forgotten. */
static void restart_gpu(struct emu_gpu *gpu)
{
    emu_mode_activate(gpu);
    gpu->ecc = gpu->ecc_pending;
    gpu->reset_required = 0;
    if (gpu->recovery_action != NVML_GPU_RECOVERY_ACTION_NODE_REBOOT) {
        gpu->recovery_action = NVML_GPU_RECOVERY_ACTION_NONE;
    }
    gpu->ecc_corrected_before += gpu->ecc_corrected;
    gpu->ecc_uncorrected_before += gpu->ecc_uncorrected;
    gpu->ecc_corrected = 0;
    gpu->ecc_uncorrected = 0;
    gpu->app_graphics_mhz = 0;
    gpu->app_memory_mhz = 0;
    memset(gpu->lock_graphics_mhz, 0, sizeof gpu->lock_graphics_mhz);
    memset(gpu->lock_memory_mhz, 0, sizeof gpu->lock_memory_mhz);
    gpu->reset_count++;
}

/* As restart_gpu, with the driver leaving: what it kept in memory goes too. */
static void reload_gpu(const struct emu_gpu_info *info, struct emu_gpu *gpu)
{
    if (!info->mode_persists_reboot) {
        gpu->mode_pending = NVML_DEVICE_MIG_DISABLE;
    }
    restart_gpu(gpu);
    gpu->lost = 0;
    gpu->drain = 0;
    gpu->gpm_streaming = 0;
    gpu->persistence = NVML_FEATURE_DISABLED;
    gpu->compute_mode = NVML_COMPUTEMODE_DEFAULT;
    gpu->power_limit_mw = info->power_limit_mw;
    gpu->load_percent = 0;
    gpu->memory_load_percent = 0;
    gpu->meter.energy_uj = 0;
    gpu->meter.power_mw = 0; /* counts anew */
}

bool emu_xid(struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci, unsigned xid)
{
    if (gpu >= state->gpu_count) {
        return false;
    }
    struct emu_gpu *target = &state->gpus[gpu];
    uint8_t before = target->recovery_action;
    if (xid == 79) {
        target->lost = 1;
    } else if (xid == 48 || xid == 95) {
        target->ecc_uncorrected++;
        target->reset_required = 1;
        target->recovery_action = NVML_GPU_RECOVERY_ACTION_GPU_RESET;
    } else if (xid == 94) {
        for (unsigned i = state->process_count; i-- > 0;) {
            const struct emu_process *process = &state->processes[i];
            if (process->pid != 0 && process->gpu == gpu &&
                is_within(process->gi, process->ci, gi, ci)) {
                drop_process(state, i);
            }
        }
    }
    return target->recovery_action != before;
}

nvmlReturn_t emu_gpu_reset(const struct emu_node_info *info, struct emu_state *state, unsigned gpu)
{
    if (gpu >= info->gpu_count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    emu_process_reap(state);
    if (emu_users(state, gpu, EMU_ID_NONE, EMU_ID_NONE) > 0) {
        return NVML_ERROR_IN_USE;
    }
    if (state->gpus[gpu].lost) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    restart_gpu(&state->gpus[gpu]);
    return NVML_SUCCESS;
}

nvmlReturn_t emu_driver_reload(const struct emu_node_info *info, struct emu_state *state)
{
    emu_process_reap(state);
    for (unsigned i = 0; i < info->gpu_count; i++) {
        if (emu_users(state, i, EMU_ID_NONE, EMU_ID_NONE) > 0) {
            return NVML_ERROR_IN_USE;
        }
    }
    for (unsigned i = 0; i < info->gpu_count; i++) {
        reload_gpu(&info->gpus[i], &state->gpus[i]);
    }
    state->driver_load_count++;
    state->driver_unloaded = 0;
    return NVML_SUCCESS;
}

void emu_reboot(const struct emu_node_info *info, struct emu_state *state)
{
    memset(state->processes, 0, sizeof state->processes);
    state->process_count = 0;
    for (unsigned i = 0; i < EMU_HOLDER_MAX; i++) {
        struct emu_holder *holder = &state->holders[i];
        if (holder->kind != EMU_HOLDER_FREE && !holder->survives_reboot) {
            emu_holder_remove(state, i);
        }
        holder->gi = EMU_ID_NONE;
        holder->ci = EMU_ID_NONE;
    }
    for (unsigned i = 0; i < info->gpu_count; i++) {
        reload_gpu(&info->gpus[i], &state->gpus[i]);
        state->gpus[i].recovery_action = NVML_GPU_RECOVERY_ACTION_NONE;
    }
    state->boot_count++;
    state->driver_load_count++;
    state->driver_unloaded = 0;
}
