/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML's GPU performance monitoring (GPM), from Hopper on: metrics between two samples.
 *
 * A sample is a place in a table of the process; its handle carries the number of times that place
 * was given out, so a freed sample and garbage are recognised. Metrics are the mean of the loads
 * at the two samples; engines and links that nothing here uses show 0.
 */
#include "emulator/entries.h"
#include "emulator/machine/meter.h"

#define SAMPLE_MAX 1024
#define MARK 0x69a3u
#define METRIC_GRAPHICS_UTIL 1
#define METRIC_SM_UTIL 2
#define METRIC_SM_OCCUPANCY 3
#define METRIC_DRAM_UTIL 10
#define METRIC_VIDEO_LAST 51 /* the last of the engines; links follow */

struct sample {
    uint64_t time_ns; /* 0: nothing was sampled yet */
    unsigned gpu, gi;
    unsigned load_percent, memory_load_percent;
};

static atomic_uint births[SAMPLE_MAX]; /* odd while the place is given out */
static struct sample samples[SAMPLE_MAX];

static struct sample *find_sample(nvmlGpmSample_t handle, atomic_uint **birth)
{
    uintptr_t value = (uintptr_t)handle;
    unsigned index = value >> 32 & 0xffff;
    if (value >> 48 != MARK || index >= SAMPLE_MAX ||
        (atomic_load(&births[index]) != (unsigned)value) || (unsigned)value % 2 == 0) {
        return NULL;
    }
    if (birth) {
        *birth = &births[index];
    }
    return &samples[index];
}

nvmlReturn_t emu_GpmSampleAlloc(struct emu_call *call, nvmlGpmSample_t *sample)
{
    (void)call;
    if (!sample) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < SAMPLE_MAX; i++) {
        unsigned birth = atomic_load(&births[i]);
        if (birth % 2 == 0 && atomic_compare_exchange_strong(&births[i], &birth, birth + 1)) {
            samples[i] = (struct sample){0};
            *sample = (nvmlGpmSample_t)((uint64_t)MARK << 48 | (uint64_t)i << 32 | (birth + 1u));
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_MEMORY;
}

nvmlReturn_t emu_GpmSampleFree(struct emu_call *call, nvmlGpmSample_t handle)
{
    atomic_uint *birth = NULL;
    (void)call;
    if (!find_sample(handle, &birth)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    unsigned expected = (unsigned)(uintptr_t)handle;
    return atomic_compare_exchange_strong(birth, &expected, expected + 1)
               ? NVML_SUCCESS
               : NVML_ERROR_INVALID_ARGUMENT;
}

static bool is_supported(const struct emu_gpu_info *info)
{
    return info->architecture >= NVML_DEVICE_ARCH_HOPPER;
}

nvmlReturn_t emu_GpmQueryDeviceSupport(struct emu_call *call, nvmlGpmSupport_t *support)
{
    if (!support) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (support->version != NVML_GPM_SUPPORT_VERSION) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    support->isSupportedDevice = is_supported(call->info);
    return NVML_SUCCESS;
}

/* Streaming is a mode of other tools; it changes no metric. */
nvmlReturn_t emu_GpmQueryIfStreamingEnabled(struct emu_call *call, unsigned int *state)
{
    if (!state) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return is_supported(call->info) ? emu_number_out(call->state.gpm_streaming, state)
                                    : NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t emu_GpmSetStreamingEnabled(struct emu_call *call, unsigned int state)
{
    struct emu_transaction change;
    if (state > NVML_FEATURE_ENABLED) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!is_supported(call->info)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    nvmlReturn_t rc = emu_change_begin(call, &change);
    if (rc == NVML_SUCCESS) {
        change.state->gpus[call->gpu].gpm_streaming = (uint8_t)state;
        rc = emu_change_end(&change, NVML_SUCCESS);
    }
    return rc;
}

static nvmlReturn_t take_sample(struct emu_call *call, unsigned gi, nvmlGpmSample_t handle)
{
    struct sample *sample = find_sample(handle, NULL);
    if (!sample) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!is_supported(call->info)) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    struct emu_reading reading;
    uint64_t now_ns = emu_measure(call, &reading);
    *sample = (struct sample){call->start_ns, (unsigned)call->gpu, gi, reading.load_percent,
                              reading.memory_load_percent};
    if (gi != EMU_ID_NONE) {
        sample->load_percent = emu_meter_gi_load(call->info, &call->state, gi, now_ns);
        sample->memory_load_percent = sample->load_percent / 2;
    }
    return NVML_SUCCESS;
}

nvmlReturn_t emu_GpmSampleGet(struct emu_call *call, nvmlGpmSample_t sample)
{
    return take_sample(call, EMU_ID_NONE, sample);
}

nvmlReturn_t emu_GpmMigSampleGet(struct emu_call *call, unsigned int gi, nvmlGpmSample_t sample)
{
    if (!call->state.mode) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (gi >= EMU_GI_MAX || !call->state.gis[gi].used) {
        return NVML_ERROR_NOT_FOUND;
    }
    return take_sample(call, gi, sample);
}

static void fill_metric(nvmlGpmMetric_t *metric, const struct sample *first,
                        const struct sample *second)
{
    static char none[] = "";
    metric->nvmlReturn = NVML_SUCCESS;
    metric->value = 0;
    metric->metricInfo = (nvmlGpmMetricMetricInfo_t){none, none, none};
    switch (metric->metricId) {
    case METRIC_GRAPHICS_UTIL:
    case METRIC_SM_UTIL:
    case METRIC_SM_OCCUPANCY:
        metric->value = (first->load_percent + second->load_percent) / 2.0;
        break;
    case METRIC_DRAM_UTIL:
        metric->value = (first->memory_load_percent + second->memory_load_percent) / 2.0;
        break;
    default:
        if (metric->metricId == 0 || metric->metricId >= NVML_GPM_METRIC_MAX) {
            metric->nvmlReturn = NVML_ERROR_INVALID_ARGUMENT;
        } else if (metric->metricId > METRIC_VIDEO_LAST) {
            metric->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
        }
    }
}

nvmlReturn_t emu_GpmMetricsGet(struct emu_call *call, nvmlGpmMetricsGet_t *metrics)
{
    (void)call;
    if (!metrics) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (metrics->version != NVML_GPM_METRICS_GET_VERSION) {
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    const struct sample *first = find_sample(metrics->sample1, NULL);
    const struct sample *second = find_sample(metrics->sample2, NULL);
    if (!first || !second || metrics->numMetrics == 0 ||
        metrics->numMetrics > NVML_GPM_METRIC_MAX) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (first->time_ns == 0 || second->time_ns < first->time_ns || first->gpu != second->gpu ||
        first->gi != second->gi) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (unsigned i = 0; i < metrics->numMetrics; i++) {
        fill_metric(&metrics->metrics[i], first, second);
    }
    return NVML_SUCCESS;
}
