/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sensor values of a GPU where nobody knows better: plausible for the generation, taken from the
 * idle lines of facts/captures where one shows them. They decide nothing; they fill displays.
 */
#include "emulator/machine/machine.h"

struct sensors {
    uint32_t architecture; /* NVML_DEVICE_ARCH_*; the last row stands for all others */
    int32_t temperature_c, power_idle_mw, power_limit_mw, power_min_mw;
    int32_t clock_graphics_mhz, clock_memory_mhz, clock_video_mhz, clock_idle_mhz;
    int32_t pcie_generation;
    int32_t idle_memory_per_slice_mib; /* of a MIG device (facts/README.md section 7) */
};

static const struct sensors table[] = {
    {NVML_DEVICE_ARCH_AMPERE, 32, 44000, 400000, 100000, 1410, 1215, 1290, 210, 4, 13},
    {NVML_DEVICE_ARCH_HOPPER, 30, 70000, 700000, 200000, 1980, 2619, 1545, 345, 5, 14},
    {NVML_DEVICE_ARCH_BLACKWELL, 34, 80000, 600000, 150000, 2430, 3996, 2107, 180, 5, 64},
    {NVML_DEVICE_ARCH_UNKNOWN, 33, 30000, 300000, 100000, 1500, 1250, 1300, 210, 4, 13},
};

static void fill(int32_t *value, int32_t otherwise)
{
    if (*value == 0) {
        *value = otherwise;
    }
}

void emu_gpu_defaults(struct emu_gpu_info *info)
{
    const struct sensors *row = table;
    while (row->architecture != NVML_DEVICE_ARCH_UNKNOWN &&
           row->architecture != info->architecture) {
        row++;
    }
    fill(&info->temperature_c, row->temperature_c);
    fill(&info->power_idle_mw, row->power_idle_mw);
    fill(&info->power_limit_mw, row->power_limit_mw);
    fill(&info->power_min_mw, row->power_min_mw);
    fill(&info->power_max_mw, info->power_limit_mw);
    fill(&info->clock_graphics_mhz, row->clock_graphics_mhz);
    fill(&info->clock_memory_mhz, row->clock_memory_mhz);
    fill(&info->clock_video_mhz, row->clock_video_mhz);
    fill(&info->clock_idle_mhz, row->clock_idle_mhz);
    fill(&info->pcie_generation, row->pcie_generation);
    fill(&info->pcie_width, 16);
    for (unsigned i = 0; i < info->profile_count && i < EMU_PROFILE_MAX; i++) {
        struct emu_profile *profile = &info->profiles[i];
        fill(&profile->idle_memory_mib, row->idle_memory_per_slice_mib * profile->slice_count);
    }
}
