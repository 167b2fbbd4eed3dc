/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency presets: how long changes take on a kind of board. Creating and destroying come from
 * facts/timings.tsv, which has one figure for a GPU instance with its compute instance; all of it
 * counts for the GPU instance. Nobody has published how long a mode change or a reset takes beyond
 * "some seconds": these figures are inferred.
 */
#include "catalog/timing.h"
#include "emulator/migemu/migemu.h"

#include <string.h>

static const struct preset {
    const char *name;
    const char *model;          /* of the catalogue */
    uint32_t mode_ms, reset_ms; /* inferred */
} presets[] = {
    {"a30", "NVIDIA A30", 2000, 2500}, /* a mode change is a reset on Ampere */
    {"a100", "NVIDIA A100-SXM4-40GB", 2000, 2500},
    {"h100", "NVIDIA H100 80GB HBM3", 1000, 2500},
};

bool migemu_latency_preset(const char *name, struct emu_latency *ret)
{
    const struct preset *preset = presets;
    const struct preset *end = presets + MIG_ARRAY_SIZE(presets);
    const struct mig_model *model;
    unsigned slices;

    memset(ret, 0, sizeof(*ret));
    if (strcmp(name, "off") == 0) {
        return true;
    }
    while (preset < end && strcmp(preset->name, name) != 0) {
        preset++;
    }
    model = preset < end ? mig_catalog_find_name(preset->model) : NULL;
    if (!model) {
        return false;
    }
    for (slices = 1; slices <= EMU_SLICE_MAX; slices++) {
        struct mig_timing timing = mig_timing_estimate(model, slices);

        ret->gi_create_ms[slices] = timing.create_ms;
        ret->gi_destroy_ms[slices] = timing.destroy_ms;
    }
    ret->mode_ms = preset->mode_ms;
    ret->reset_ms = preset->reset_ms;
    return true;
}
