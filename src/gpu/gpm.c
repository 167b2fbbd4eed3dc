/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVML measures load between two samples of the program's. The last sample of each GPU and GPU
 * instance is kept in the session, with what was computed from it; samples that would be too close
 * for a mean are not taken, and the last numbers are given again. Everything ends with NVML's
 * session, and an instance that was not asked for in a round is forgotten after it, so that the
 * table never holds more than is there.
 */
#include "gpu/gpm.h"
#include "base/clock.h"
#include "base/text.h"
#include <string.h>

#define ENTRY_MAX ((size_t)MIG_GPU_MAX * (MIG_GI_MAX + 1))
#define INTERVAL_MIN_MS 100u
#define PER_PERCENT 10000.0 /* parts per million */
#define PER_MIB 1048576.0

/* The numbers of NVML's metrics, with what makes our unit of theirs. */
static const struct {
    unsigned metric;
    enum mig_meter meter;
    double factor;
} metrics[] = {
    {1, MIG_METER_GRAPHICS_ACTIVE_PPM, PER_PERCENT},
    {2, MIG_METER_SM_ACTIVE_PPM, PER_PERCENT},
    {3, MIG_METER_SM_OCCUPANCY_PPM, PER_PERCENT},
    {5, MIG_METER_TENSOR_ACTIVE_PPM, PER_PERCENT},
    {10, MIG_METER_DRAM_ACTIVE_PPM, PER_PERCENT},
    {20, MIG_METER_PCIE_SENT_BYTES_PER_S, PER_MIB},
    {21, MIG_METER_PCIE_RECEIVED_BYTES_PER_S, PER_MIB},
};

struct entry {
    char uuid[MIG_UUID_SIZE];
    uint32_t gi_id;
    bool asked; /* in this round */
    uint64_t taken_ms;
    nvmlGpmSample_t sample;
    int64_t values[MIG_ARRAY_SIZE(metrics)];
};

struct mig_gpm {
    struct entry *entries;
    size_t count, room;
    nvmlGpmMetricsGet_t request; /* too large for a stack */
};

static void give_back(struct mig_session *session, struct entry *entry)
{
    if (entry->sample) {
        (void)MIG_CALL(session, MIG_ID_NONE, nvmlGpmSampleFree, entry->sample);
        entry->sample = NULL;
    }
}

void mig_gpm_begin(struct mig_session *session)
{
    struct mig_gpm *gpm = session->gpm;

    for (size_t i = 0; gpm && i < gpm->count; i++) {
        gpm->entries[i].asked = false;
    }
}

void mig_gpm_end(struct mig_session *session)
{
    struct mig_gpm *gpm = session->gpm;
    size_t kept = 0;

    for (size_t i = 0; gpm && i < gpm->count; i++) {
        if (gpm->entries[i].asked) {
            gpm->entries[kept++] = gpm->entries[i];
        } else {
            give_back(session, &gpm->entries[i]);
        }
    }
    if (gpm) {
        gpm->count = kept;
    }
}

void mig_gpm_drop(struct mig_session *session)
{
    mig_gpm_begin(session);
    mig_gpm_end(session);
}

void mig_gpm_free(struct mig_gpm *gpm)
{
    if (gpm) {
        free(gpm->entries);
    }
    free(gpm);
}

static struct entry *add_entry(struct mig_session *session, const char *uuid, uint32_t gi_id)
{
    struct mig_gpm *gpm = session->gpm;
    struct entry *entry;

    if (!gpm) {
        gpm = session->gpm = calloc(1, sizeof(*gpm));
    }
    if (!gpm || gpm->count >= ENTRY_MAX) {
        return NULL;
    }
    if (gpm->count == gpm->room) {
        size_t room = gpm->room > 0 ? gpm->room * 2 : 8;
        struct entry *larger = realloc(gpm->entries, room * sizeof(*larger));

        if (!larger) {
            return NULL;
        }
        gpm->entries = larger;
        gpm->room = room;
    }
    entry = &gpm->entries[gpm->count++];
    *entry = (struct entry){.gi_id = gi_id};
    mig_text_copy(entry->uuid, sizeof(entry->uuid), uuid);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(metrics); i++) {
        entry->values[i] = MIG_METER_ABSENT;
    }
    return entry;
}

static struct entry *find_entry(struct mig_session *session, const char *uuid, uint32_t gi_id)
{
    struct mig_gpm *gpm = session->gpm;

    for (size_t i = 0; gpm && i < gpm->count; i++) {
        if (gpm->entries[i].gi_id == gi_id && strcmp(gpm->entries[i].uuid, uuid) == 0) {
            return &gpm->entries[i];
        }
    }
    return add_entry(session, uuid, gi_id);
}

static bool is_supported(struct mig_session *session, uint32_t gpu, nvmlDevice_t device)
{
    nvmlGpmSupport_t support = {.version = NVML_GPM_SUPPORT_VERSION};

    return MIG_CALL(session, gpu, nvmlGpmQueryDeviceSupport, device, &support) == NVML_SUCCESS &&
           support.isSupportedDevice;
}

static nvmlGpmSample_t take_sample(struct mig_session *session, uint32_t gpu, nvmlDevice_t device,
                                   uint32_t gi_id)
{
    nvmlGpmSample_t sample = NULL;
    nvmlReturn_t code = MIG_CALL(session, gpu, nvmlGpmSampleAlloc, &sample);

    if (code != NVML_SUCCESS) {
        return NULL;
    }
    code = gi_id == MIG_ID_NONE
               ? MIG_CALL(session, gpu, nvmlGpmSampleGet, device, sample)
               : MIG_CALL(session, gpu, nvmlGpmMigSampleGet, device, gi_id, sample);
    if (code != NVML_SUCCESS) {
        (void)MIG_CALL(session, gpu, nvmlGpmSampleFree, sample);
        return NULL;
    }
    return sample;
}

static void compute(struct mig_session *session, uint32_t gpu, struct entry *entry,
                    nvmlGpmSample_t sample)
{
    nvmlGpmMetricsGet_t *request = &session->gpm->request;

    memset(request, 0, sizeof(*request));
    request->version = NVML_GPM_METRICS_GET_VERSION;
    request->numMetrics = (unsigned)MIG_ARRAY_SIZE(metrics);
    request->sample1 = entry->sample;
    request->sample2 = sample;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(metrics); i++) {
        request->metrics[i].metricId = metrics[i].metric;
        entry->values[i] = MIG_METER_ABSENT;
    }
    if (MIG_CALL(session, gpu, nvmlGpmMetricsGet, request) != NVML_SUCCESS) {
        return;
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(metrics); i++) {
        double value = request->metrics[i].value * metrics[i].factor;

        if (request->metrics[i].nvmlReturn == NVML_SUCCESS && value >= 0.0 && value < 1e18) {
            entry->values[i] = (int64_t)(value + 0.5);
        }
    }
}

void mig_gpm_measure(struct mig_session *session, const struct mig_gpu_sample *gpu,
                     nvmlDevice_t device, uint32_t gi_id, int64_t *meters)
{
    uint64_t now_ms = mig_now_ms();
    struct entry *entry;

    if (!is_supported(session, gpu->index, device)) {
        return;
    }
    entry = find_entry(session, gpu->uuid, gi_id);
    if (!entry) {
        return;
    }
    entry->asked = true;
    if (!entry->sample || now_ms - entry->taken_ms >= INTERVAL_MIN_MS) {
        nvmlGpmSample_t sample = take_sample(session, gpu->index, device, gi_id);

        if (sample && entry->sample) {
            compute(session, gpu->index, entry, sample);
        }
        give_back(session, entry);
        entry->sample = sample;
        entry->taken_ms = now_ms;
    }
    for (size_t i = 0; entry->sample && i < MIG_ARRAY_SIZE(metrics); i++) {
        meters[metrics[i].meter] = entry->values[i];
    }
}
