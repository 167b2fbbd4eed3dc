/* SPDX-License-Identifier: Apache-2.0 */
/* migd's own metrics: the descriptions of its counters, and writing them with those of the GPUs. */
#include "exporter/own.h"
#include "base/cleanup.h"
#include "exporter/text.h"
#include <string.h>

/* From what one driver call takes to what a change of all GPUs takes. */
static const double seconds[] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                 1,     2.5,  5,     10,   30,  60,   300};

#define SECONDS .kind = MIG_HISTOGRAM, .buckets = seconds, .bucket_count = MIG_ARRAY_SIZE(seconds)

const struct mig_counter mig_count_allocations = {
    .name = "migd_allocations_total",
    .help = "Requests for devices by the kubelet.",
    .labels = {"resource", "result"},
};
const struct mig_counter mig_count_untold = {
    .name = "migd_untold_containers_total",
    .help = "Containers that hold devices of several resources and see those of one.",
};
const struct mig_counter mig_count_devices = {
    .name = "migd_devices",
    .help = "Devices that are announced to the kubelet.",
    .kind = MIG_GAUGE,
    .labels = {"resource", "health"},
};
const struct mig_counter mig_count_registrations = {
    .name = "migd_registrations_total",
    .help = "Registrations of resources with the kubelet.",
    .labels = {"resource", "result"},
};
const struct mig_counter mig_count_health_changes = {
    .name = "migd_health_changes_total",
    .help = "Devices that became healthy or unhealthy.",
    .labels = {"health"},
};
const struct mig_counter mig_count_xids = {
    .name = "migd_xid_errors_total",
    .help = "Critical errors (XID) that the driver reported.",
    .labels = {"UUID", "xid"},
};
const struct mig_counter mig_count_recovery = {
    .name = "migd_gpu_recovery_action",
    .help = "What the driver says the GPU needs to recover: 0 nothing, 1 a reset, 2 a reboot of "
            "the node, 3 to be drained of peer traffic, 4 to be drained and reset, 5 the IMEX "
            "domain.",
    .kind = MIG_GAUGE,
    .labels = {"UUID"},
};
const struct mig_counter mig_count_applies = {
    .name = "migd_applies_total",
    .help = "Changes of geometry by their result.",
    .labels = {"result"},
};
const struct mig_counter mig_count_reconcile = {
    .name = "migd_reconcile_seconds",
    .help = "From a wanted geometry to its state being told.",
    .labels = {"result"},
    SECONDS,
};
const struct mig_counter mig_count_publish = {
    .name = "migd_publish_seconds",
    .help = "From a change of the node to device lists, labels and metrics.",
    SECONDS,
};
const struct mig_counter mig_count_api_requests = {
    .name = "migd_api_requests_total",
    .help = "Requests to the Kubernetes API; status 0: no answer.",
    .labels = {"method", "status"},
};
const struct mig_counter mig_count_api_seconds = {
    .name = "migd_api_request_seconds",
    .help = "What requests to the Kubernetes API took.",
    .labels = {"method"},
    SECONDS,
};
const struct mig_counter mig_count_helper_restarts = {
    .name = "migd_helper_restarts_total",
    .help = "Privileged processes that ended or hung and were replaced.",
};
const struct mig_counter mig_count_config_errors = {
    .name = "migd_config_errors_total",
    .help = "Settings or config files that were refused; the old ones stay in force.",
};
const struct mig_counter mig_count_plugin_config = {
    .name = "migd_plugin_config_info",
    .help = "The config of the device plugin that is in force, and what the node's label asks for.",
    .kind = MIG_GAUGE,
    .labels = {"config", "wanted"},
};
const struct mig_counter mig_count_label_writes = {
    .name = "migd_label_writes_total",
    .help = "Node labels written to a file, a NodeFeature or the node.",
    .labels = {"output", "result"},
};
const struct mig_counter mig_count_scrapes = {
    .name = "migd_scrapes_total",
    .help = "Scrapes of this endpoint.",
    .labels = {"result"},
};
const struct mig_counter mig_count_scrape_seconds = {
    .name = "migd_scrape_seconds",
    .help = "What scrapes took, with measuring.",
    SECONDS,
};

static const struct mig_counter *const counters_all[] = {
    &mig_count_allocations,     &mig_count_untold,         &mig_count_devices,
    &mig_count_registrations,   &mig_count_health_changes, &mig_count_xids,
    &mig_count_recovery,        &mig_count_applies,        &mig_count_reconcile,
    &mig_count_publish,         &mig_count_api_requests,   &mig_count_api_seconds,
    &mig_count_helper_restarts, &mig_count_config_errors,  &mig_count_plugin_config,
    &mig_count_label_writes,    &mig_count_scrapes,        &mig_count_scrape_seconds,
};

const struct mig_counter *mig_own_counter(size_t index)
{
    return index < MIG_ARRAY_SIZE(counters_all) ? counters_all[index] : NULL;
}

void mig_own_start(struct mig_counters *counters)
{
    for (size_t i = 0; i < MIG_ARRAY_SIZE(counters_all); i++) {
        if (!counters_all[i]->labels[0] && counters_all[i]->kind == MIG_COUNTER) {
            mig_counter_add(counters, counters_all[i], 0, NULL);
        }
    }
}

/* ---- GPUs ---- */

static void put_gpu(struct mig_buffer *out, const char *name, const struct mig_gpu *gpu,
                    const char *profile, uint64_t value)
{
    size_t start;
    char index[16];

    snprintf(index, sizeof(index), "%u", gpu->index);
    mig_buffer_printf(out, "%s{", name);
    start = out->size;
    mig_text_label(out, start, "gpu", index);
    mig_text_label(out, start, "UUID", gpu->uuid);
    mig_text_label(out, start, "model", gpu->name);
    if (profile) {
        mig_text_label(out, start, "profile", profile);
    }
    mig_buffer_printf(out, "} %llu\n", (unsigned long long)value);
}

static uint64_t readable(const struct mig_gpu *gpu)
{
    return gpu->problem[0] == '\0';
}

static uint64_t mig_mode(const struct mig_gpu *gpu)
{
    return gpu->mig_mode;
}

static uint64_t mig_mode_pending(const struct mig_gpu *gpu)
{
    return gpu->mig_mode != gpu->mig_mode_pending;
}

static uint64_t processes(const struct mig_gpu *gpu)
{
    return gpu->process_count;
}

static const struct gpu_family {
    const char *name, *help;
    uint64_t (*value)(const struct mig_gpu *gpu);
} gpu_families[] = {
    {"migd_gpu_readable", "Whether the GPU can be read; 0: lost, or in need of a reset.", readable},
    {"migd_gpu_mig_mode", "Whether the GPU is in MIG mode.", mig_mode},
    {"migd_gpu_mig_mode_pending", "Whether a change of MIG mode waits for a reset.",
     mig_mode_pending},
    {"migd_gpu_processes", "Processes that use the GPU or a part of it.", processes},
};

/* How many more instances of each profile could be made now; shows fragmentation. */
static void write_room(const struct mig_node *node, struct mig_buffer *out)
{
    bool has_head = false;

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];
        const struct mig_model *model = gpu->layout.model;

        if (!model || !gpu->mig_mode || !mig_model_is_placeable(model)) {
            continue;
        }
        if (!has_head) {
            mig_text_family(out, "migd_gpu_profile_room", "gauge",
                            "How many more GPU instances of a profile fit beside what is there.");
            has_head = true;
        }
        for (unsigned j = 0; j < model->profile_count; j++) {
            put_gpu(out, "migd_gpu_profile_room", gpu, model->profiles[j].name,
                    mig_layout_room(&gpu->layout, j));
        }
    }
}

static void write_gpus(const struct mig_node *node, struct mig_buffer *out)
{
    for (size_t i = 0; node->gpu_count > 0 && i < MIG_ARRAY_SIZE(gpu_families); i++) {
        mig_text_family(out, gpu_families[i].name, "gauge", gpu_families[i].help);
        for (uint32_t j = 0; j < node->gpu_count; j++) {
            put_gpu(out, gpu_families[i].name, &node->gpus[j], NULL,
                    gpu_families[i].value(&node->gpus[j]));
        }
    }
    write_room(node, out);
    mig_text_family(out, "migd_snapshot_generation", "gauge", "Number of the snapshot shown here.");
    mig_buffer_printf(out, "migd_snapshot_generation %llu\n", (unsigned long long)node->generation);
}

/* ---- counters ---- */

static void put_series_labels(struct mig_buffer *out, const struct mig_counter_series *series,
                              const char *bound)
{
    size_t start;

    if (!series->counter->labels[0] && !bound) {
        return;
    }
    mig_buffer_puts(out, "{");
    start = out->size;
    for (size_t i = 0; i < MIG_COUNTER_LABELS_MAX && series->counter->labels[i]; i++) {
        mig_text_label(out, start, series->counter->labels[i], series->values[i]);
    }
    if (bound) {
        mig_text_label(out, start, "le", bound);
    }
    mig_buffer_puts(out, "}");
}

static void put_value(struct mig_buffer *out, const struct mig_counter_series *series,
                      const char *suffix, const char *bound, double value)
{
    mig_buffer_printf(out, "%s%s", series->counter->name, suffix);
    put_series_labels(out, series, bound);
    mig_buffer_puts(out, " ");
    mig_text_number(out, value);
    mig_buffer_puts(out, "\n");
}

static void put_histogram(struct mig_buffer *out, const struct mig_counter_series *series)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < series->counter->bucket_count; i++) {
        MIG_AUTO_BUFFER struct mig_buffer bound;

        mig_buffer_init(&bound, 64);
        mig_text_number(&bound, series->counter->buckets[i]);
        sum += series->buckets[i];
        put_value(out, series, "_bucket", bound.data ? bound.data : "", (double)sum);
    }
    put_value(out, series, "_bucket", "+Inf", (double)series->count);
    put_value(out, series, "_sum", NULL, series->value);
    put_value(out, series, "_count", NULL, (double)series->count);
}

static void write_counters(const struct mig_counters *counters, struct mig_buffer *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    const struct mig_counter *last = NULL;
    const struct mig_counter_series *series;

    for (size_t i = 0; (series = mig_counters_get(counters, i)); i++) {
        if (series->counter != last) {
            last = series->counter;
            mig_text_family(out, last->name, types[last->kind], last->help);
        }
        if (last->kind == MIG_HISTOGRAM) {
            put_histogram(out, series);
        } else {
            put_value(out, series, "", NULL, series->value);
        }
    }
    mig_text_family(out, "migd_metrics_dropped_total", "counter",
                    "Events that were not counted, for want of room.");
    mig_buffer_printf(out, "migd_metrics_dropped_total %llu\n",
                      (unsigned long long)mig_counters_dropped(counters));
}

/* ---- the process ---- */

static void put_process(struct mig_buffer *out, const char *name, const char *type,
                        const char *help, double value)
{
    mig_text_family(out, name, type, help);
    mig_buffer_printf(out, "%s ", name);
    mig_text_number(out, value);
    mig_buffer_puts(out, "\n");
}

static void write_process(const struct mig_metrics_process *process, struct mig_buffer *out)
{
    put_process(out, "process_cpu_seconds_total", "counter", "Processor time of the agent.",
                process->cpu_s);
    put_process(out, "process_resident_memory_bytes", "gauge", "Resident memory of the agent.",
                (double)process->resident_bytes);
    put_process(out, "process_virtual_memory_bytes", "gauge", "Virtual memory of the agent.",
                (double)process->virtual_bytes);
    put_process(out, "process_open_fds", "gauge", "Open descriptors of the agent.",
                (double)process->fd_count);
    put_process(out, "process_start_time_seconds", "gauge", "When the agent was started.",
                process->start_s);
}

void mig_own_write(const struct mig_metrics_view *view, struct mig_buffer *out)
{
    if (view->node) {
        write_gpus(view->node, out);
    }
    mig_text_family(out, "migd_build_info", "gauge", "Version of migd.");
    mig_buffer_puts(out, "migd_build_info{version=\"" MIG_VERSION "\"} 1\n");
    write_counters(view->counters, out);
    if (view->process) {
        write_process(view->process, out);
    }
}
