/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver measures: clocks, temperatures, power, load, memory and errors, of GPUs and of
 * GPU instances.
 *
 * A sample is read when somebody wants the numbers (a scrape), so that the snapshot of the node
 * stays cheap. What a driver, a GPU or a mode does not have is absent, never 0 and never guessed.
 * The load of instances is told from Hopper on, as the mean since the last sample of this session.
 */
#ifndef MIG_SAMPLE_H
#define MIG_SAMPLE_H

#include <mig/inventory.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_METER_ABSENT INT64_MIN

/* One measured number each; the unit is the end of the name. */
enum mig_meter {
    MIG_METER_SM_CLOCK_MHZ = 0,
    MIG_METER_MEMORY_CLOCK_MHZ,
    MIG_METER_TEMPERATURE_C,
    MIG_METER_MEMORY_TEMPERATURE_C,
    MIG_METER_POWER_MW,
    MIG_METER_ENERGY_MJ, /* since the driver was loaded */
    MIG_METER_PCIE_REPLAY_COUNT,
    MIG_METER_GPU_LOAD_PERCENT, /* not in MIG mode */
    MIG_METER_MEMORY_LOAD_PERCENT,
    MIG_METER_ENCODER_LOAD_PERCENT,
    MIG_METER_DECODER_LOAD_PERCENT,
    MIG_METER_MEMORY_USED_MIB, /* without what is reserved, if that is known */
    MIG_METER_MEMORY_FREE_MIB,
    MIG_METER_MEMORY_RESERVED_MIB,
    MIG_METER_ECC_CORRECTED_VOLATILE_COUNT,
    MIG_METER_ECC_UNCORRECTED_VOLATILE_COUNT,
    MIG_METER_ECC_CORRECTED_AGGREGATE_COUNT,
    MIG_METER_ECC_UNCORRECTED_AGGREGATE_COUNT,
    MIG_METER_REMAPPED_CORRECTABLE_COUNT, /* rows of memory */
    MIG_METER_REMAPPED_UNCORRECTABLE_COUNT,
    MIG_METER_REMAP_PENDING,
    MIG_METER_REMAP_FAILURE,
    MIG_METER_CLOCK_EVENT_REASONS, /* a mask, nvmlClocksEventReason* */
    MIG_METER_RECOVERY_ACTION,     /* 0 = none, NVML_FI_DEV_GET_GPU_RECOVERY_ACTION */
    /* From Hopper on; parts per million of the time, or of what is possible. */
    MIG_METER_GRAPHICS_ACTIVE_PPM,
    MIG_METER_SM_ACTIVE_PPM,
    MIG_METER_SM_OCCUPANCY_PPM,
    MIG_METER_TENSOR_ACTIVE_PPM,
    MIG_METER_DRAM_ACTIVE_PPM,
    MIG_METER_PCIE_SENT_BYTES_PER_S,
    MIG_METER_PCIE_RECEIVED_BYTES_PER_S,
    MIG_METER_COUNT
};

/*
 * A GPU instance; memory and load only. The driver gives the id of an instance that is gone to
 * another one, so its kind is told too: a sample and a snapshot that differ in it are of different
 * moments.
 */
struct mig_gi_sample {
    uint32_t gi_id;
    int32_t slice_count;             /* MIG_UNKNOWN */
    int64_t memory_mib;              /* MIG_UNKNOWN */
    int64_t meters[MIG_METER_COUNT]; /* MIG_METER_ABSENT */
};

struct mig_gpu_sample {
    uint32_t index;           /* NVML's */
    char uuid[MIG_UUID_SIZE]; /* "" when not even that could be read: nothing else is there then */
    int64_t meters[MIG_METER_COUNT]; /* MIG_METER_ABSENT */
    uint32_t gi_count;
    struct mig_gi_sample gis[MIG_GI_MAX]; /* those that have a compute instance, by id */
};

struct mig_sample {
    uint32_t gpu_count;
    struct mig_gpu_sample *gpus; /* malloc'd, as the sample is */
};

/* Measures every GPU. What cannot be measured is absent; only a driver that does not answer at all
 * is an error. */
MIG_PUBLIC int mig_sample_read(struct mig_session *session, struct mig_sample **ret,
                               struct mig_error *error);
MIG_PUBLIC void mig_sample_free(struct mig_sample *sample); /* NULL is allowed */

#ifdef __cplusplus
}
#endif
#endif
