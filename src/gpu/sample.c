/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measures the GPUs of a session, in one job. GPU instances are found through their MIG devices,
 * without the model, so that the numbers are there also where the tables are not.
 */
#include "base/cleanup.h"
#include "gpu/binding.h"
#include "gpu/gpm.h"
#include <errno.h>
#include <mig/sample.h>
#include <string.h>

#define MIG_DEVICES_MAX (MIG_GI_MAX * MIG_CI_MAX)

MIG_DEFINE_CLEANUP(sample, struct mig_sample, mig_sample_free)

struct sample_job {
    struct mig_sample *sample;
};

static const struct {
    unsigned field;
    enum mig_meter meter;
} fields[] = {
    {NVML_FI_DEV_MEMORY_TEMP, MIG_METER_MEMORY_TEMPERATURE_C},
    {NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, MIG_METER_ENERGY_MJ},
    {NVML_FI_DEV_PCIE_REPLAY_COUNTER, MIG_METER_PCIE_REPLAY_COUNT},
    {NVML_FI_DEV_ECC_SBE_VOL_TOTAL, MIG_METER_ECC_CORRECTED_VOLATILE_COUNT},
    {NVML_FI_DEV_ECC_DBE_VOL_TOTAL, MIG_METER_ECC_UNCORRECTED_VOLATILE_COUNT},
    {NVML_FI_DEV_ECC_SBE_AGG_TOTAL, MIG_METER_ECC_CORRECTED_AGGREGATE_COUNT},
    {NVML_FI_DEV_ECC_DBE_AGG_TOTAL, MIG_METER_ECC_UNCORRECTED_AGGREGATE_COUNT},
    {NVML_FI_DEV_REMAPPED_COR, MIG_METER_REMAPPED_CORRECTABLE_COUNT},
    {NVML_FI_DEV_REMAPPED_UNC, MIG_METER_REMAPPED_UNCORRECTABLE_COUNT},
    {NVML_FI_DEV_REMAPPED_PENDING, MIG_METER_REMAP_PENDING},
    {NVML_FI_DEV_REMAPPED_FAILURE, MIG_METER_REMAP_FAILURE},
    {NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, MIG_METER_RECOVERY_ACTION},
};

void mig_sample_free(struct mig_sample *sample)
{
    if (sample) {
        free(sample->gpus);
    }
    free(sample);
}

static void clear(int64_t *meters)
{
    for (size_t i = 0; i < MIG_METER_COUNT; i++) {
        meters[i] = MIG_METER_ABSENT;
    }
}

static int64_t wide(unsigned long long value)
{
    return value > INT64_MAX ? MIG_METER_ABSENT : (int64_t)value;
}

static int64_t field_value(const nvmlFieldValue_t *field)
{
    if (field->nvmlReturn != NVML_SUCCESS) {
        return MIG_METER_ABSENT;
    }
    switch (field->valueType) {
    case NVML_VALUE_TYPE_UNSIGNED_INT:
        return field->value.uiVal;
    case NVML_VALUE_TYPE_UNSIGNED_LONG:
        return wide(field->value.ulVal);
    case NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
        return wide(field->value.ullVal);
    case NVML_VALUE_TYPE_SIGNED_LONG_LONG:
        return field->value.sllVal;
    case NVML_VALUE_TYPE_SIGNED_INT:
        return field->value.siVal;
    case NVML_VALUE_TYPE_UNSIGNED_SHORT:
        return field->value.usVal;
    case NVML_VALUE_TYPE_DOUBLE:
    case NVML_VALUE_TYPE_COUNT:
        break;
    }
    return MIG_METER_ABSENT;
}

static void measure_fields(struct mig_session *session, uint32_t index, nvmlDevice_t device,
                           int64_t *meters)
{
    nvmlFieldValue_t values[MIG_ARRAY_SIZE(fields)] = {0};

    for (size_t i = 0; i < MIG_ARRAY_SIZE(fields); i++) {
        values[i].fieldId = fields[i].field;
    }
    if (MIG_CALL(session, index, nvmlDeviceGetFieldValues, device, (int)MIG_ARRAY_SIZE(fields),
                 values) != NVML_SUCCESS) {
        return;
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(fields); i++) {
        meters[fields[i].meter] = field_value(&values[i]);
    }
}

/* The second version parts what the driver keeps for itself from what is used. */
static void measure_memory(struct mig_session *session, uint32_t index, nvmlDevice_t device,
                           int64_t *meters)
{
    nvmlMemory_v2_t memory = {.version = nvmlMemory_v2};
    nvmlMemory_t old = {0};

    if (MIG_CALL(session, index, nvmlDeviceGetMemoryInfo_v2, device, &memory) == NVML_SUCCESS) {
        meters[MIG_METER_MEMORY_USED_MIB] = wide(memory.used >> 20);
        meters[MIG_METER_MEMORY_FREE_MIB] = wide(memory.free >> 20);
        meters[MIG_METER_MEMORY_RESERVED_MIB] = wide(memory.reserved >> 20);
    } else if (MIG_CALL(session, index, nvmlDeviceGetMemoryInfo, device, &old) == NVML_SUCCESS) {
        meters[MIG_METER_MEMORY_USED_MIB] = wide(old.used >> 20);
        meters[MIG_METER_MEMORY_FREE_MIB] = wide(old.free >> 20);
    }
}

static void measure_clocks(struct mig_session *session, uint32_t index, nvmlDevice_t device,
                           int64_t *meters)
{
    unsigned long long reasons = 0;
    unsigned value = 0;

    if (MIG_CALL(session, index, nvmlDeviceGetClockInfo, device, NVML_CLOCK_SM, &value) ==
        NVML_SUCCESS) {
        meters[MIG_METER_SM_CLOCK_MHZ] = value;
    }
    if (MIG_CALL(session, index, nvmlDeviceGetClockInfo, device, NVML_CLOCK_MEM, &value) ==
        NVML_SUCCESS) {
        meters[MIG_METER_MEMORY_CLOCK_MHZ] = value;
    }
    if (MIG_CALL(session, index, nvmlDeviceGetCurrentClocksThrottleReasons, device, &reasons) ==
        NVML_SUCCESS) {
        meters[MIG_METER_CLOCK_EVENT_REASONS] = wide(reasons);
    }
    if (MIG_CALL(session, index, nvmlDeviceGetTemperature, device, NVML_TEMPERATURE_GPU, &value) ==
        NVML_SUCCESS) {
        meters[MIG_METER_TEMPERATURE_C] = value;
    }
    if (MIG_CALL(session, index, nvmlDeviceGetPowerUsage, device, &value) == NVML_SUCCESS) {
        meters[MIG_METER_POWER_MW] = value;
    }
}

static void measure_load(struct mig_session *session, uint32_t index, nvmlDevice_t device,
                         int64_t *meters)
{
    nvmlUtilization_t utilization = {0};
    unsigned value = 0, period_us = 0;

    if (MIG_CALL(session, index, nvmlDeviceGetUtilizationRates, device, &utilization) ==
        NVML_SUCCESS) {
        meters[MIG_METER_GPU_LOAD_PERCENT] = utilization.gpu;
        meters[MIG_METER_MEMORY_LOAD_PERCENT] = utilization.memory;
    }
    if (MIG_CALL(session, index, nvmlDeviceGetEncoderUtilization, device, &value, &period_us) ==
        NVML_SUCCESS) {
        meters[MIG_METER_ENCODER_LOAD_PERCENT] = value;
    }
    if (MIG_CALL(session, index, nvmlDeviceGetDecoderUtilization, device, &value, &period_us) ==
        NVML_SUCCESS) {
        meters[MIG_METER_DECODER_LOAD_PERCENT] = value;
    }
}

/* The instance of a MIG device, once; by ascending id. */
static struct mig_gi_sample *add_gi(struct mig_gpu_sample *gpu, uint32_t gi_id)
{
    uint32_t at = gpu->gi_count;

    while (at > 0 && gpu->gis[at - 1].gi_id >= gi_id) {
        at--;
    }
    if (gpu->gi_count >= MIG_GI_MAX || (at < gpu->gi_count && gpu->gis[at].gi_id == gi_id)) {
        return NULL;
    }
    memmove(&gpu->gis[at + 1], &gpu->gis[at], (gpu->gi_count - at) * sizeof(gpu->gis[0]));
    gpu->gi_count++;
    gpu->gis[at].gi_id = gi_id;
    gpu->gis[at].slice_count = MIG_UNKNOWN;
    gpu->gis[at].memory_mib = MIG_UNKNOWN;
    clear(gpu->gis[at].meters);
    return &gpu->gis[at];
}

static void measure_kind(struct mig_session *session, uint32_t index, nvmlDevice_t device,
                         struct mig_gi_sample *gi)
{
    nvmlDeviceAttributes_t told = {0};

    if (MIG_CALL(session, index, nvmlDeviceGetAttributes_v2, device, &told) == NVML_SUCCESS &&
        told.gpuInstanceSliceCount <= INT32_MAX && told.memorySizeMB <= INT32_MAX) {
        gi->slice_count = (int32_t)told.gpuInstanceSliceCount;
        gi->memory_mib = (int64_t)told.memorySizeMB;
    }
}

static void measure_instances(struct mig_session *session, struct mig_gpu_sample *gpu,
                              nvmlDevice_t device)
{
    unsigned current = 0, pending = 0, count = 0;

    if (MIG_CALL(session, gpu->index, nvmlDeviceGetMigMode, device, &current, &pending) !=
            NVML_SUCCESS ||
        current != NVML_DEVICE_MIG_ENABLE ||
        MIG_CALL(session, gpu->index, nvmlDeviceGetMaxMigDeviceCount, device, &count) !=
            NVML_SUCCESS) {
        return;
    }
    for (unsigned i = 0; i < count && i < MIG_DEVICES_MAX; i++) {
        struct mig_gi_sample *gi;
        nvmlDevice_t handle = NULL;
        unsigned id = 0;

        if (MIG_CALL(session, gpu->index, nvmlDeviceGetMigDeviceHandleByIndex, device, i,
                     &handle) != NVML_SUCCESS ||
            MIG_CALL(session, gpu->index, nvmlDeviceGetGpuInstanceId, handle, &id) !=
                NVML_SUCCESS) {
            continue;
        }
        gi = add_gi(gpu, id);
        if (gi) {
            measure_kind(session, gpu->index, handle, gi);
            measure_memory(session, gpu->index, handle, gi->meters);
            mig_gpm_measure(session, gpu, device, id, gi->meters);
        }
    }
}

static void measure_gpu(struct mig_session *session, struct mig_gpu_sample *gpu)
{
    nvmlDevice_t device = NULL;

    if (MIG_CALL(session, gpu->index, nvmlDeviceGetHandleByIndex_v2, gpu->index, &device) !=
            NVML_SUCCESS ||
        MIG_CALL(session, gpu->index, nvmlDeviceGetUUID, device, gpu->uuid,
                 (unsigned)sizeof(gpu->uuid)) != NVML_SUCCESS) {
        gpu->uuid[0] = '\0';
        return;
    }
    measure_clocks(session, gpu->index, device, gpu->meters);
    measure_load(session, gpu->index, device, gpu->meters);
    measure_memory(session, gpu->index, device, gpu->meters);
    measure_fields(session, gpu->index, device, gpu->meters);
    mig_gpm_measure(session, gpu, device, MIG_ID_NONE, gpu->meters);
    measure_instances(session, gpu, device);
}

static int measure_node(struct mig_session *session, void *data, struct mig_error *error)
{
    struct sample_job *job = data;
    struct mig_sample *sample = job->sample;
    unsigned count = 0;
    nvmlReturn_t code = MIG_CALL(session, MIG_ID_NONE, nvmlDeviceGetCount_v2, &count);

    if (code != NVML_SUCCESS) {
        return mig_nvml_error(session, code, error, "could not count the GPUs to measure them");
    }
    if (count > MIG_GPU_MAX) {
        count = MIG_GPU_MAX;
    }
    sample->gpus = calloc(count > 0 ? count : 1, sizeof(*sample->gpus));
    if (!sample->gpus) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not measure %u GPUs", count);
    }
    mig_gpm_begin(session);
    for (uint32_t i = 0; i < count; i++) {
        sample->gpu_count = i + 1;
        sample->gpus[i].index = i;
        clear(sample->gpus[i].meters);
        measure_gpu(session, &sample->gpus[i]);
    }
    mig_gpm_end(session);
    return 0;
}

int mig_sample_read(struct mig_session *session, struct mig_sample **ret, struct mig_error *error)
{
    MIG_AUTO_FREE struct sample_job *job = calloc(1, sizeof(*job));
    MIG_CLEANUP(cleanup_sample) struct mig_sample *sample = calloc(1, sizeof(*sample));
    void *given = job;
    int rc;

    if (!job || !sample) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not measure the node");
    }
    job->sample = sample;
    rc = mig_session_run(session, measure_node, &given, error);
    if (!given) {
        /* a call hangs: the worker keeps both */
        (void)MIG_TAKE(job);
        (void)MIG_TAKE(sample);
        return rc;
    }
    if (rc < 0) {
        return rc;
    }
    *ret = MIG_TAKE(sample);
    return 0;
}
