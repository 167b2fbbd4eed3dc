/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured, on the wire. Absent numbers take a byte. */
#include "helper/codec.h"

#define GPU_SIZE_MIN (9 + MIG_METER_COUNT) /* of one on the wire */

static void pass_meters(struct mig_wire *wire, int64_t *meters)
{
    for (size_t i = 0; !wire->failed && i < MIG_METER_COUNT; i++) {
        bool is_there = meters[i] != MIG_METER_ABSENT;

        mig_wire_bool(wire, &is_there);
        if (is_there) {
            mig_wire_i64(wire, &meters[i]);
            mig_wire_check(wire, meters[i] != MIG_METER_ABSENT);
        } else if (mig_wire_is_reading(wire)) {
            meters[i] = MIG_METER_ABSENT;
        }
    }
}

static void pass_gpu(struct mig_wire *wire, struct mig_gpu_sample *gpu)
{
    mig_wire_u32(wire, &gpu->index, UINT32_MAX);
    mig_wire_text(wire, gpu->uuid, sizeof(gpu->uuid));
    pass_meters(wire, gpu->meters);
    mig_wire_u32(wire, &gpu->gi_count, MIG_GI_MAX);
    for (uint32_t i = 0; !wire->failed && i < gpu->gi_count; i++) {
        mig_wire_u32(wire, &gpu->gis[i].gi_id, UINT32_MAX);
        mig_wire_i32(wire, &gpu->gis[i].slice_count);
        mig_wire_i64(wire, &gpu->gis[i].memory_mib);
        pass_meters(wire, gpu->gis[i].meters);
    }
}

void mig_wire_sample(struct mig_wire *wire, struct mig_sample **sample)
{
    uint32_t count = mig_wire_is_reading(wire) ? 0 : (*sample)->gpu_count;

    mig_wire_u32(wire, &count, MIG_GPU_MAX);
    if (mig_wire_is_reading(wire)) {
        mig_wire_check(wire, wire->size / GPU_SIZE_MIN >= count);
        *sample = wire->failed ? NULL : calloc(1, sizeof(**sample));
        if (*sample) {
            (*sample)->gpus = calloc(count > 0 ? count : 1, sizeof(*(*sample)->gpus));
            (*sample)->gpu_count = (*sample)->gpus ? count : 0;
        }
        mig_wire_check(wire, *sample && (*sample)->gpus);
    }
    for (uint32_t i = 0; !wire->failed && i < count; i++) {
        pass_gpu(wire, &(*sample)->gpus[i]);
    }
    if (wire->failed && mig_wire_is_reading(wire)) {
        mig_sample_free(*sample);
        *sample = NULL;
    }
}
