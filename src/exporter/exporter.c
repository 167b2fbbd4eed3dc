/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One timer. It runs while scrapes come, and stops a while after the last one. A sample that is on
 * its way is waited for; who asked never asks twice.
 */
#include "exporter/exporter.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "exporter/own.h"
#include "exporter/process.h"
#include <errno.h>
#include <string.h>

#define IDLE_MS 180000u  /* without a scrape: then nothing is measured any more */
#define AGE_INTERVALS 4u /* what is older is not shown */
#define HOSTNAME_SIZE 256

struct mig_exporter {
    uv_timer_t timer;
    struct mig_exporter_options options;
    char hostname[HOSTNAME_SIZE];
    const struct mig_node *node;
    struct mig_sample *sample;
    struct mig_pod_devices *pods;
    uint64_t sample_ms, pods_ms, scrape_ms;
    bool is_measuring, is_asking, is_running;
    size_t xid_count;
    struct mig_metrics_xid xids[MIG_METRICS_XIDS_MAX];
};

static uint64_t now_ms(const struct mig_exporter *exporter)
{
    return uv_now(exporter->timer.loop);
}

static void refresh(struct mig_exporter *exporter)
{
    const struct mig_exporter_options *options = &exporter->options;

    if (options->measure && !exporter->is_measuring) {
        exporter->is_measuring = true;
        exporter->is_measuring = options->measure(options->data) == 0;
    }
    if (options->ask_pods && !exporter->is_asking) {
        exporter->is_asking = true;
        exporter->is_asking = options->ask_pods(options->data) == 0;
    }
}

static void tick(uv_timer_t *timer)
{
    struct mig_exporter *exporter = timer->data;

    if (now_ms(exporter) - exporter->scrape_ms > IDLE_MS) {
        uv_timer_stop(timer);
        exporter->is_running = false;
        return;
    }
    refresh(exporter);
}

int mig_exporter_new(uv_loop_t *loop, const struct mig_exporter_options *options,
                     struct mig_exporter **ret, struct mig_error *error)
{
    struct mig_exporter *exporter = calloc(1, sizeof(*exporter));

    if (!exporter) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start the metrics");
    }
    exporter->options = *options;
    if (exporter->options.interval_ms == 0) {
        exporter->options.interval_ms = MIG_EXPORTER_INTERVAL_MS;
    }
    mig_text_copy(exporter->hostname, sizeof(exporter->hostname),
                  options->hostname ? options->hostname : "");
    uv_timer_init(loop, &exporter->timer);
    exporter->timer.data = exporter;
    mig_own_start(options->counters);
    *ret = exporter;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void mig_exporter_free(struct mig_exporter *exporter)
{
    if (!exporter) {
        return;
    }
    mig_sample_free(exporter->sample);
    mig_pod_devices_free(exporter->pods);
    uv_close((uv_handle_t *)&exporter->timer, on_closed);
}

void mig_exporter_set_node(struct mig_exporter *exporter, const struct mig_node *node)
{
    exporter->node = node;
    if (exporter->is_running) {
        refresh(exporter);
    }
}

void mig_exporter_give_sample(struct mig_exporter *exporter, struct mig_sample *sample)
{
    exporter->is_measuring = false;
    if (sample) {
        mig_sample_free(exporter->sample);
        exporter->sample = sample;
        exporter->sample_ms = now_ms(exporter);
    }
}

void mig_exporter_give_pods(struct mig_exporter *exporter, struct mig_pod_devices *pods)
{
    exporter->is_asking = false;
    if (pods) {
        mig_pod_devices_free(exporter->pods);
        exporter->pods = pods;
        exporter->pods_ms = now_ms(exporter);
    }
}

void mig_exporter_note_xid(struct mig_exporter *exporter, const char *gpu_uuid, uint32_t gi_id,
                           uint64_t xid)
{
    struct mig_metrics_xid *found = NULL;
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)xid);
    mig_counter_add(exporter->options.counters, &mig_count_xids, 1, gpu_uuid, text, NULL);
    for (size_t i = 0; i < exporter->xid_count; i++) {
        if (exporter->xids[i].gi_id == gi_id && strcmp(exporter->xids[i].gpu_uuid, gpu_uuid) == 0) {
            found = &exporter->xids[i];
        }
    }
    if (!found && exporter->xid_count < MIG_METRICS_XIDS_MAX) {
        found = &exporter->xids[exporter->xid_count++];
        mig_text_copy(found->gpu_uuid, sizeof(found->gpu_uuid), gpu_uuid);
        found->gi_id = gi_id;
    }
    if (found) {
        found->xid = xid;
    }
}

static int write_all(struct mig_exporter *exporter, struct mig_buffer *out, struct mig_error *error)
{
    uint64_t age_ms = (uint64_t)exporter->options.interval_ms * AGE_INTERVALS;
    uint64_t now = now_ms(exporter);
    struct mig_metrics_process process;
    struct mig_metrics_view view = {
        .node = exporter->node,
        .sample = now - exporter->sample_ms <= age_ms ? exporter->sample : NULL,
        .pods = now - exporter->pods_ms <= age_ms ? exporter->pods : NULL,
        .xids = exporter->xids,
        .xid_count = exporter->xid_count,
        .counters = exporter->options.counters,
        .process = &process,
        .hostname_label = exporter->options.hostname_label,
        .hostname = exporter->hostname,
    };

    mig_metrics_read_process(&process);
    return mig_metrics_write(&view, out, error);
}

int mig_exporter_scrape(struct mig_exporter *exporter, struct mig_buffer *out,
                        struct mig_error *error)
{
    struct mig_counters *counters = exporter->options.counters;
    uint64_t start_ns = uv_hrtime();
    int rc;

    exporter->scrape_ms = now_ms(exporter);
    if (!exporter->is_running) {
        exporter->is_running = true;
        uv_timer_start(&exporter->timer, tick, exporter->options.interval_ms,
                       exporter->options.interval_ms);
        refresh(exporter);
    }
    rc = write_all(exporter, out, error);
    mig_counter_add(counters, &mig_count_scrapes, 1, rc == 0 ? "ok" : "failed", NULL);
    mig_counter_observe(counters, &mig_count_scrape_seconds, (double)(uv_hrtime() - start_ns) / 1e9,
                        NULL);
    return rc;
}
