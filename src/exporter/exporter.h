/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metrics endpoint: keeps what is shown up to date for as long as somebody looks.
 *
 * Numbers of the driver and the pods on the devices are asked for in an interval, and only while
 * scrapes come; without them nothing is measured. What is older than a few intervals (the driver
 * hangs, the kubelet is away) is not shown any more. Nothing that is shown outlives the snapshot:
 * a device that is gone has no series in the next scrape.
 */
#ifndef MIG_EXPORTER_EXPORTER_H
#define MIG_EXPORTER_EXPORTER_H

#include "exporter/metrics.h"
#include <uv.h>

#define MIG_EXPORTER_INTERVAL_MS 5000u

struct mig_exporter;

struct mig_exporter_options {
    const char *hostname; /* copied */
    enum mig_metrics_hostname hostname_label;
    unsigned interval_ms;          /* 0 = MIG_EXPORTER_INTERVAL_MS */
    struct mig_counters *counters; /* borrowed; also counts the scrapes. May be NULL */
    /* Asks for a sample, or for the pods; the answer comes with mig_exporter_give_*. Not called
     * again before it has come. May be NULL. Returns 0 when an answer will come. */
    int (*measure)(void *data);
    int (*ask_pods)(void *data);
    void *data;
};

int mig_exporter_new(uv_loop_t *loop, const struct mig_exporter_options *options,
                     struct mig_exporter **ret, struct mig_error *error);

/* Memory goes when libuv has closed the timer. NULL is allowed. */
void mig_exporter_free(struct mig_exporter *exporter);

/* The snapshot to show, borrowed until the next one is set; NULL = none. */
void mig_exporter_set_node(struct mig_exporter *exporter, const struct mig_node *node);

/* Answers to measure and ask_pods, now the exporter's; NULL = there is none, the old one stays
 * until it is too old. */
void mig_exporter_give_sample(struct mig_exporter *exporter, struct mig_sample *sample);
void mig_exporter_give_pods(struct mig_exporter *exporter, struct mig_pod_devices *pods);

/* A critical error; counted, and shown as the last one of its instance. gi_id MIG_ID_NONE: all. */
void mig_exporter_note_xid(struct mig_exporter *exporter, const char *gpu_uuid, uint32_t gi_id,
                           uint64_t xid);

#define MIG_EXPORTER_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Somebody scrapes: writes the metrics, counts it, and has what is measured refreshed from now on.
 */
int mig_exporter_scrape(struct mig_exporter *exporter, struct mig_buffer *out,
                        struct mig_error *error);

#endif
