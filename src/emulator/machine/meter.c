/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clock and meters.
 *
 * Between two changes of its level (load and power) a GPU's meters follow closed formulas from
 * where they stood at the first: energy is the integral of power, temperature halves its distance
 * to the level's in HALF_MS, and the load swings around the level. The swing is a number by GPU and
 * second whose sign turns every second, so that two seconds add nothing and its integral needs no
 * history. Only integers are used: every host computes the same.
 */
#include "emulator/machine/meter.h"
#include <string.h>
#include <time.h>

#define NS_PER_MS 1000000u
#define SWING_MS 1000u
#define SWING_PERCENT 3 /* at most so far around the level */
#define SWING_ONE 1000  /* a swing is in thousandths of the most */
#define HALF_MS 20000u
#define HEAT_MC 40000 /* warmer than idle at full power */
#define FULL 100u

uint64_t emu_host_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t emu_clock_at(const struct emu_clock *clock, uint64_t host_ns)
{
    uint64_t passed = host_ns > clock->host_ns ? host_ns - clock->host_ns : 0;
    return clock->machine_ns + passed / 1000 * clock->rate + passed % 1000 * clock->rate / 1000;
}

/* ---- the swing ------------------------------------------------------------------------------ */

/* From -SWING_ONE to SWING_ONE in the given pair of seconds, by the GPU's UUID. */
static int64_t swing_of(const struct emu_gpu_info *info, uint64_t pair)
{
    uint64_t first, last, mixed;
    memcpy(&first, info->uuid + 4, sizeof first); /* hexadecimal digits */
    memcpy(&last, info->uuid + 32, sizeof last);
    mixed = (pair + first) * 0x9e3779b97f4a7c15u ^ last;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    return (int64_t)(mixed % (2 * SWING_ONE + 1)) - SWING_ONE;
}

static int64_t swing_at(const struct emu_gpu_info *info, uint64_t now_ms)
{
    uint64_t second = now_ms / SWING_MS;
    int64_t swing = swing_of(info, second / 2);
    return second % 2 == 0 ? swing : -swing;
}

/* Its integral from 0 to `now_ms`, over milliseconds: whole pairs of seconds are nothing. */
static int64_t swing_integral(const struct emu_gpu_info *info, uint64_t now_ms)
{
    uint64_t second = now_ms / SWING_MS, rest = now_ms % SWING_MS;
    int64_t swing = swing_of(info, second / 2);
    return swing * (int64_t)(second % 2 == 0 ? rest : SWING_MS - rest);
}

static unsigned swung(const struct emu_gpu_info *info, unsigned percent, unsigned swing_percent,
                      uint64_t now_ms)
{
    int64_t value = percent + swing_at(info, now_ms) * (int64_t)swing_percent / SWING_ONE;
    return value < 0 ? 0 : value > (int64_t)FULL ? FULL : (unsigned)value;
}

/* ---- levels --------------------------------------------------------------------------------- */

/* What it would draw without a limit. */
static int64_t demand_mw(const struct emu_gpu_info *info, unsigned load_percent)
{
    return info->power_idle_mw +
           (int64_t)(info->power_limit_mw - info->power_idle_mw) * load_percent / FULL;
}

static int64_t level_mw(const struct emu_gpu_info *info, const struct emu_gpu *gpu,
                        unsigned load_percent)
{
    int64_t demand = demand_mw(info, load_percent);
    return demand < gpu->power_limit_mw ? demand : gpu->power_limit_mw;
}

/* How far the power swings: with the load, but never below idle or above the limit. */
static int64_t swing_mw(const struct emu_gpu_info *info, const struct emu_gpu *gpu)
{
    int64_t most =
        (int64_t)(info->power_limit_mw - info->power_idle_mw) * gpu->meter.swing_percent / FULL;
    int64_t above = gpu->power_limit_mw - gpu->meter.power_mw;
    int64_t below = gpu->meter.power_mw - info->power_idle_mw;
    int64_t room = above < below ? above : below;
    return room < 0 ? 0 : most < room ? most : room;
}

/* The temperature that a power leads to, after long. */
static int64_t level_mc(const struct emu_gpu_info *info, int64_t power_mw)
{
    int64_t range = info->power_limit_mw - info->power_idle_mw;
    int64_t above = power_mw > info->power_idle_mw ? power_mw - info->power_idle_mw : 0;
    return (int64_t)info->temperature_c * 1000 + (range > 0 ? HEAT_MC * above / range : 0);
}

/* `distance` after `passed_ms`: halved every HALF_MS, by a parabola in between. */
static int64_t halved(int64_t distance, uint64_t passed_ms)
{
    uint64_t halves = passed_ms / HALF_MS;
    int64_t part = (int64_t)(passed_ms % HALF_MS * 1024 / HALF_MS);
    if (halves > 40) {
        return 0;
    }
    /* 2^-x is 1 - 0.66 x + 0.16 x^2 from 0 to 1 */
    const int64_t one = INT64_C(1) << 20;
    int64_t factor = one - 676 * part + 164 * part * part / 1024;
    return distance / (INT64_C(1) << halves) * factor / one;
}

/* ---- reading -------------------------------------------------------------------------------- */

void emu_meter_read(const struct emu_gpu_info *info, const struct emu_gpu *gpu, uint64_t now_ns,
                    struct emu_reading *ret)
{
    const struct emu_meter *meter = &gpu->meter;
    uint64_t since_ms = meter->since_ns / NS_PER_MS, now_ms = now_ns / NS_PER_MS;
    if (now_ms < since_ms) {
        now_ms = since_ms;
    }
    uint64_t passed_ms = now_ms - since_ms;
    int64_t swing = swing_mw(info, gpu), level = level_mc(info, meter->power_mw);
    int64_t swung_uj =
        (swing_integral(info, now_ms) - swing_integral(info, since_ms)) * swing / SWING_ONE;
    uint64_t energy_uj =
        meter->energy_uj + (uint64_t)((int64_t)meter->power_mw * (int64_t)passed_ms + swung_uj);
    int64_t demand = demand_mw(info, meter->load_percent);
    *ret = (struct emu_reading){
        .load_percent = swung(info, meter->load_percent, meter->swing_percent, now_ms),
        .memory_load_percent =
            swung(info, meter->memory_load_percent, meter->swing_percent / 2, now_ms),
        .temperature_mc = level + halved(meter->temperature_mc - level, passed_ms),
        .power_mw = meter->power_mw + swing_at(info, now_ms) * swing / SWING_ONE,
        .energy_mj = energy_uj / 1000,
        .is_capped = demand > gpu->power_limit_mw,
        .clock_graphics_mhz =
            meter->load_percent > 0 ? info->clock_graphics_mhz : info->clock_idle_mhz,
    };
    if (ret->is_capped && demand > info->power_idle_mw) {
        int64_t range = info->clock_graphics_mhz - info->clock_idle_mhz;
        int64_t share = gpu->power_limit_mw - info->power_idle_mw;
        ret->clock_graphics_mhz =
            info->clock_idle_mhz + range * (share > 0 ? share : 0) / (demand - info->power_idle_mw);
    }
}

unsigned emu_meter_gi_load(const struct emu_gpu_info *info, const struct emu_gpu *gpu, unsigned gi,
                           uint64_t now_ns)
{
    unsigned load = gpu->gis[gi].load_percent;
    unsigned swing = load > 0 && load < FULL ? SWING_PERCENT : 0;
    return swung(info, load, swing < load ? swing : load, now_ns / NS_PER_MS);
}

/* ---- settling ------------------------------------------------------------------------------- */

/* The share of its GPU instance that a process computes on, in slices of `ret_of`. */
static unsigned slices_of(const struct emu_gpu_info *info, const struct emu_gpu *gpu,
                          const struct emu_process *process, unsigned *ret_of)
{
    const struct emu_gi *gi = &gpu->gis[process->gi];
    const struct emu_profile *profile = &info->profiles[gi->profile];
    unsigned slices = profile->slice_count;
    *ret_of = slices > 0 ? slices : 1;
    if (process->ci < EMU_CI_MAX && gi->cis[process->ci].used) {
        slices = profile->ci_profiles[gi->cis[process->ci].profile].slice_count;
    }
    return slices < *ret_of ? slices : *ret_of;
}

/* Adds a process's load to its instance and returns its part of the GPU's, in percent. */
static unsigned add_load(const struct emu_gpu_info *info, struct emu_gpu *gpu,
                         const struct emu_process *process)
{
    if (process->gi >= EMU_GI_MAX || !gpu->gis[process->gi].used) {
        return process->load_percent;
    }
    unsigned of = 1, slices = slices_of(info, gpu, process, &of);
    struct emu_gi *gi = &gpu->gis[process->gi];
    unsigned load = gi->load_percent + process->load_percent * slices / of;
    gi->load_percent = load < FULL ? load : FULL;
    unsigned all = info->compute_slice_count > 0 ? info->compute_slice_count : of;
    return process->load_percent * slices / all;
}

static unsigned load_of_processes(const struct emu_gpu_info *info, const struct emu_state *state,
                                  unsigned index, struct emu_gpu *gpu)
{
    unsigned load = 0;
    for (unsigned i = 0; i < EMU_GI_MAX; i++) {
        gpu->gis[i].load_percent = 0;
    }
    for (unsigned i = 0; state->process_count > 0 && i < EMU_PROCESS_MAX; i++) {
        const struct emu_process *process = &state->processes[i];
        if (process->pid != 0 && process->gpu == index && process->load_percent > 0) {
            load += add_load(info, gpu, process);
        }
    }
    return load < FULL ? load : FULL;
}

static void settle_gpu(const struct emu_gpu_info *info, const struct emu_state *state,
                       unsigned index, struct emu_gpu *gpu, uint64_t now_ns)
{
    struct emu_meter next = gpu->meter;
    unsigned load = load_of_processes(info, state, index, gpu);
    bool by_processes = load > gpu->load_percent;
    unsigned memory = load / 2;
    next.load_percent = by_processes ? load : gpu->load_percent;
    next.memory_load_percent =
        memory > gpu->memory_load_percent ? memory : gpu->memory_load_percent;
    unsigned room = load < FULL - load ? load : FULL - load;
    next.swing_percent = !by_processes ? 0 : room < SWING_PERCENT ? room : SWING_PERCENT;
    next.power_mw = (int32_t)level_mw(info, gpu, next.load_percent);
    if (memcmp(&next, &gpu->meter, sizeof next) == 0) {
        return;
    }
    if (gpu->meter.power_mw > 0) {
        struct emu_reading reading;
        emu_meter_read(info, gpu, now_ns, &reading);
        next.energy_uj = reading.energy_mj * 1000;
        next.temperature_mc = reading.temperature_mc;
    } else { /* nothing was measured yet */
        next.energy_uj = 0;
        next.temperature_mc = (int64_t)info->temperature_c * 1000;
    }
    next.since_ns = now_ns > gpu->meter.since_ns ? now_ns : gpu->meter.since_ns;
    gpu->meter = next;
}

void emu_meter_settle(const struct emu_node_info *info, struct emu_state *state, uint64_t now_ns)
{
    for (unsigned i = 0; i < info->gpu_count && i < EMU_GPU_MAX; i++) {
        settle_gpu(&info->gpus[i], state, i, &state->gpus[i], now_ns);
    }
}
