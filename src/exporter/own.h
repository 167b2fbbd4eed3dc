/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What migd counts of itself and of the GPUs it looks after, beyond dcgm-exporter's metrics. Who
 * counts uses one of these descriptions with mig_counter_add and its sisters (base/counters.h).
 */
#ifndef MIG_EXPORTER_OWN_H
#define MIG_EXPORTER_OWN_H

#include "exporter/metrics.h"

/* Labels in this order. */
extern const struct mig_counter mig_count_allocations;     /* resource, result "ok" "refused" */
extern const struct mig_counter mig_count_untold;          /* - */
extern const struct mig_counter mig_count_devices;         /* resource, health; a gauge */
extern const struct mig_counter mig_count_registrations;   /* resource, result */
extern const struct mig_counter mig_count_health_changes;  /* health "healthy" "unhealthy" */
extern const struct mig_counter mig_count_xids;            /* UUID, xid */
extern const struct mig_counter mig_count_recovery;        /* UUID; a gauge */
extern const struct mig_counter mig_count_applies;         /* result */
extern const struct mig_counter mig_count_reconcile;       /* seconds from a label to its state */
extern const struct mig_counter mig_count_publish;         /* seconds from a change to devices */
extern const struct mig_counter mig_count_api_requests;    /* method, status */
extern const struct mig_counter mig_count_api_seconds;     /* method */
extern const struct mig_counter mig_count_helper_restarts; /* */
extern const struct mig_counter mig_count_config_errors;   /* */
extern const struct mig_counter mig_count_plugin_config;   /* config, wanted; a gauge */
extern const struct mig_counter mig_count_label_writes;    /* output, result */
extern const struct mig_counter mig_count_scrapes;         /* result */
extern const struct mig_counter mig_count_scrape_seconds;  /* */

/* NULL past the end: for whoever wants all names. */
const struct mig_counter *mig_own_counter(size_t index);

/* Makes the counters without labels known, so that they are shown as 0 from the start. */
void mig_own_start(struct mig_counters *counters);

/* GPUs, process and counters of a view. */
void mig_own_write(const struct mig_metrics_view *view, struct mig_buffer *out);

#endif
