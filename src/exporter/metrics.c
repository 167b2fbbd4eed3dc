/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the metrics, family by family as the format wants it. What the series of a device have in
 * common, its labels, is made once per device and pod and then repeated.
 */
#include "exporter/metrics.h"
#include "base/cleanup.h"
#include "exporter/meters.h"
#include "exporter/own.h"
#include "exporter/text.h"
#include <errno.h>
#include <string.h>

#define NO_GI UINT8_MAX
#define LABELS_MAX (8u << 20)

/* One device, with one of the pods on it. */
struct series {
    const struct mig_gpu *gpu;
    uint8_t gi, ci;   /* NO_GI: none */
    bool first;       /* of its device: others are for more pods */
    size_t labels_at; /* in writer->labels, terminated */
    const struct mig_gpu_sample *gpu_sample;
    const struct mig_gi_sample *gi_sample;
};

struct writer {
    const struct mig_metrics_view *view;
    struct mig_buffer *out;
    struct mig_buffer labels;
    struct series *series;
    size_t count, room;
};

static void release_writer(struct writer *writer)
{
    mig_buffer_release(&writer->labels);
    free(writer->series);
}

/* ---- series ---- */

static const struct mig_gpu_sample *find_sample(const struct mig_sample *sample,
                                                const struct mig_gpu *gpu)
{
    for (uint32_t i = 0; sample && i < sample->gpu_count; i++) {
        if (sample->gpus[i].uuid[0] != '\0' && strcmp(sample->gpus[i].uuid, gpu->uuid) == 0) {
            return &sample->gpus[i];
        }
    }
    return NULL;
}

/* That of an instance of the same kind: ids are given again to others. */
static const struct mig_gi_sample *find_gi_sample(const struct mig_gpu_sample *sample,
                                                  const struct mig_gpu *gpu, uint8_t gi)
{
    const struct mig_attributes *known = &gpu->gi_infos[gi].devices[0].attributes;

    for (uint32_t i = 0; sample && i < sample->gi_count; i++) {
        const struct mig_gi_sample *found = &sample->gis[i];

        if (found->gi_id == gpu->layout.gis[gi].id) {
            bool comparable = found->slice_count > 0 && known->gi_slice_count > 0;

            return !comparable || (found->slice_count == known->gi_slice_count &&
                                   found->memory_mib == known->memory_mib)
                       ? found
                       : NULL;
        }
    }
    return NULL;
}

static void put_label_number(struct mig_buffer *out, size_t start, const char *name, uint32_t value)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", value);
    mig_text_label(out, start, name, text);
}

/* The labels of the GPU in dcgm-exporter's order. */
static void put_gpu_labels(const struct writer *writer, struct mig_buffer *out, size_t start,
                           const struct mig_gpu *gpu)
{
    char device[32];

    (void)writer;
    put_label_number(out, start, "gpu", gpu->index);
    mig_text_label(out, start, "UUID", gpu->uuid);
    mig_text_label(out, start, "pci_bus_id", gpu->bus_id);
    if (gpu->minor >= 0) {
        snprintf(device, sizeof(device), "nvidia%d", gpu->minor);
        mig_text_label(out, start, "device", device);
    }
    mig_text_label(out, start, "modelName", gpu->name);
}

static void put_node_labels(const struct writer *writer, struct mig_buffer *out, size_t start)
{
    const struct mig_metrics_view *view = writer->view;
    bool named = view->hostname && view->hostname[0] != '\0';

    if (named && (view->hostname_label == MIG_METRICS_HOSTNAME_UPPER ||
                  view->hostname_label == MIG_METRICS_HOSTNAME_BOTH)) {
        mig_text_label(out, start, "Hostname", view->hostname);
    }
    if (named && (view->hostname_label == MIG_METRICS_HOSTNAME_LOWER ||
                  view->hostname_label == MIG_METRICS_HOSTNAME_BOTH)) {
        mig_text_label(out, start, "hostname", view->hostname);
    }
    mig_text_label(out, start, "DCGM_FI_DRIVER_VERSION", view->node->driver_version);
}

static const char *device_uuid(const struct mig_gpu *gpu, uint8_t gi, uint8_t ci)
{
    return gi == NO_GI ? gpu->uuid : ci == NO_GI ? "" : gpu->gi_infos[gi].devices[ci].uuid;
}

static void put_labels(struct writer *writer, const struct mig_gpu *gpu, uint8_t gi, uint8_t ci,
                       const struct mig_pod_device *pod)
{
    struct mig_buffer *out = &writer->labels;
    size_t start = out->size;

    put_gpu_labels(writer, out, start, gpu);
    if (gi != NO_GI) {
        const struct mig_gi *instance = &gpu->layout.gis[gi];

        mig_text_label(out, start, "GPU_I_PROFILE",
                       gpu->layout.model->profiles[instance->profile].name);
        put_label_number(out, start, "GPU_I_ID", instance->id);
    }
    put_node_labels(writer, out, start);
    if (gi != NO_GI && ci != NO_GI) {
        put_label_number(out, start, "GPU_CI_ID", gpu->layout.gis[gi].cis[ci].id);
        mig_text_label(out, start, "MIG_UUID", device_uuid(gpu, gi, ci));
    }
    if (pod) {
        mig_text_label(out, start, "container", pod->container);
        mig_text_label(out, start, "namespace", pod->namespace_name);
        mig_text_label(out, start, "pod", pod->pod);
    }
    mig_buffer_append(out, "", 1);
}

static int add_series(struct writer *writer, const struct series *given,
                      const struct mig_pod_device *pod)
{
    if (writer->count >= MIG_METRICS_SERIES_MAX) {
        return -EFBIG;
    }
    if (writer->count == writer->room) {
        size_t room = writer->room > 0 ? writer->room * 2 : 64;
        struct series *larger = realloc(writer->series, room * sizeof(*larger));

        if (!larger) {
            return -ENOMEM;
        }
        writer->series = larger;
        writer->room = room;
    }
    writer->series[writer->count] = *given;
    writer->series[writer->count++].labels_at = writer->labels.size;
    put_labels(writer, given->gpu, given->gi, given->ci, pod);
    return 0;
}

static bool is_same_container(const struct mig_pod_device *a, const struct mig_pod_device *b)
{
    return strcmp(a->container, b->container) == 0 && strcmp(a->pod, b->pod) == 0 &&
           strcmp(a->namespace_name, b->namespace_name) == 0;
}

/* Several replicas of a device in one container are told once. */
static bool is_told(const struct mig_pod_devices *pods, size_t index, const char *uuid)
{
    for (size_t i = 0; i < index; i++) {
        if (is_same_container(&pods->items[i], &pods->items[index]) &&
            mig_pod_device_is(pods->items[i].device, uuid)) {
            return true;
        }
    }
    return false;
}

/* One for each pod that holds it; one without pod when nobody does. */
static int add_device(struct writer *writer, struct series *series)
{
    const struct mig_pod_devices *pods = writer->view->pods;
    const char *uuid = device_uuid(series->gpu, series->gi, series->ci);
    int rc = 0;

    series->first = true;
    for (size_t i = 0; rc == 0 && pods && uuid[0] != '\0' && i < pods->count; i++) {
        if (mig_pod_device_is(pods->items[i].device, uuid) && !is_told(pods, i, uuid)) {
            rc = add_series(writer, series, &pods->items[i]);
            series->first = false;
        }
    }
    return rc == 0 && series->first ? add_series(writer, series, NULL) : rc;
}

static int add_gpu(struct writer *writer, const struct mig_gpu *gpu)
{
    const struct mig_gpu_sample *sample = find_sample(writer->view->sample, gpu);
    struct series series = {.gpu = gpu, .gi = NO_GI, .ci = NO_GI, .gpu_sample = sample};
    int rc = 0;

    if (gpu->problem[0] != '\0') {
        return 0;
    }
    if (!gpu->layout.model || gpu->layout.gi_count == 0) {
        return add_device(writer, &series);
    }
    for (uint8_t i = 0; rc == 0 && i < gpu->layout.gi_count; i++) {
        series.gi = i;
        series.ci = NO_GI;
        series.gi_sample = find_gi_sample(sample, gpu, i);
        if (gpu->layout.gis[i].ci_count == 0) {
            rc = add_device(writer, &series);
        }
        for (uint8_t j = 0; rc == 0 && j < gpu->layout.gis[i].ci_count; j++) {
            series.ci = j;
            rc = add_device(writer, &series);
        }
    }
    return rc;
}

static const char *labels_of(const struct writer *writer, const struct series *series)
{
    return writer->labels.data + series->labels_at;
}

/* ---- what the driver measures ---- */

/* Without a sample the snapshot still knows the memory. */
static int64_t memory_of_snapshot(const struct series *series, enum mig_meter meter)
{
    const struct mig_gi_info *info =
        series->gi == NO_GI ? NULL : &series->gpu->gi_infos[series->gi];
    int64_t used = info ? info->memory_used_mib : series->gpu->memory_used_mib;
    int64_t total = info ? info->memory_total_mib : series->gpu->memory_total_mib;

    if (used < 0 || total <= 0 || used > total) {
        return MIG_METER_ABSENT;
    }
    return meter == MIG_METER_MEMORY_USED_MIB   ? used
           : meter == MIG_METER_MEMORY_FREE_MIB ? total - used
                                                : MIG_METER_ABSENT;
}

static int64_t measured(const struct series *series, const struct mig_meter_family *family)
{
    int64_t value = MIG_METER_ABSENT;

    switch (family->scope) {
    case MIG_SCOPE_WHOLE:
    case MIG_SCOPE_GPU:
        if (series->gpu_sample && !(family->scope == MIG_SCOPE_WHOLE && series->gpu->mig_mode)) {
            value = series->gpu_sample->meters[family->meter];
        }
        break;
    case MIG_SCOPE_INSTANCE:
        if (series->gi == NO_GI && series->gpu_sample) {
            value = series->gpu_sample->meters[family->meter];
        } else if (series->gi_sample) {
            value = series->gi_sample->meters[family->meter];
        }
        if (value == MIG_METER_ABSENT &&
            !(series->gi == NO_GI ? (const void *)series->gpu_sample : series->gi_sample)) {
            value = memory_of_snapshot(series, family->meter);
        }
        break;
    }
    return value;
}

static void write_family(const struct writer *writer, const struct mig_meter_family *family)
{
    bool has_head = false;

    for (size_t i = 0; i < writer->count; i++) {
        int64_t value = measured(&writer->series[i], family);

        if (value == MIG_METER_ABSENT) {
            continue;
        }
        if (!has_head) {
            mig_text_family(writer->out, family->name, family->type, family->help);
            has_head = true;
        }
        mig_buffer_printf(writer->out, "%s{%s} ", family->name,
                          labels_of(writer, &writer->series[i]));
        mig_text_scaled(writer->out, value, family->divisor);
        mig_buffer_puts(writer->out, "\n");
    }
}

/* The last one of the instance, else of the GPU; 0 = none so far. */
static uint64_t last_xid(const struct writer *writer, const struct series *series)
{
    const struct mig_metrics_view *view = writer->view;
    uint64_t of_gpu = 0;

    for (size_t i = 0; i < view->xid_count; i++) {
        if (strcmp(view->xids[i].gpu_uuid, series->gpu->uuid) != 0) {
            continue;
        }
        if (view->xids[i].gi_id == MIG_ID_NONE) {
            of_gpu = view->xids[i].xid;
        } else if (series->gi != NO_GI &&
                   view->xids[i].gi_id == series->gpu->layout.gis[series->gi].id) {
            return view->xids[i].xid;
        }
    }
    return of_gpu;
}

static void write_xids(const struct writer *writer)
{
    if (!writer->view->xids || writer->count == 0) {
        return;
    }
    mig_text_family(writer->out, "DCGM_FI_DEV_XID_ERRORS", "gauge",
                    "The last critical error (XID); 0 = none since migd was started.");
    for (size_t i = 0; i < writer->count; i++) {
        mig_buffer_printf(writer->out, "DCGM_FI_DEV_XID_ERRORS{%s} %llu\n",
                          labels_of(writer, &writer->series[i]),
                          (unsigned long long)last_xid(writer, &writer->series[i]));
    }
}

/* ---- what the snapshot says ---- */

static void write_devices(const struct writer *writer)
{
    bool has_head = false;

    for (size_t i = 0; i < writer->count; i++) {
        const struct series *series = &writer->series[i];
        const struct mig_gi *gi;

        if (series->gi == NO_GI) {
            continue;
        }
        if (!has_head) {
            mig_text_family(writer->out, "migd_mig_device_in_use", "gauge",
                            "Whether a process uses the MIG device.");
            has_head = true;
        }
        gi = &series->gpu->layout.gis[series->gi];
        mig_buffer_printf(writer->out, "migd_mig_device_in_use{%s} %d\n", labels_of(writer, series),
                          series->ci == NO_GI ? gi->in_use : gi->cis[series->ci].in_use);
    }
}

int mig_metrics_write(const struct mig_metrics_view *view, struct mig_buffer *out,
                      struct mig_error *error)
{
    MIG_CLEANUP(release_writer) struct writer writer = {.view = view, .out = out};
    const struct mig_meter_family *family;
    int rc = 0;

    mig_buffer_init(&writer.labels, LABELS_MAX);
    for (uint32_t i = 0; rc == 0 && view->node && i < view->node->gpu_count; i++) {
        rc = add_gpu(&writer, &view->node->gpus[i]);
    }
    if (rc == 0 && writer.labels.error == 0) {
        for (size_t i = 0; (family = mig_meter_family(i)); i++) {
            write_family(&writer, family);
        }
        write_xids(&writer);
        write_devices(&writer);
        mig_own_write(view, out);
    }
    rc = rc != 0 ? -rc : writer.labels.error != 0 ? writer.labels.error : out->error;
    if (rc != 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, rc, "could not write the metrics");
    }
    return 0;
}
