/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics in Prometheus' text format: of GPUs and MIG devices under the names and labels of
 * dcgm-exporter, and of migd itself. A pure function of a snapshot, a sample, who holds what, and
 * the counters.
 *
 * What is shown of GPUs:
 *   - A GPU outside MIG mode, or in it without GPU instances, is one series of each metric. A GPU
 *     with GPU instances is shown as these only: a series for each MIG device (compute instance),
 *     or one for a GPU instance that has none.
 *   - UUID is always the GPU's. GPU_I_PROFILE and GPU_I_ID name the GPU instance, as dcgm-exporter
 *     does; GPU_CI_ID and MIG_UUID the MIG device. What belongs to the GPU (clocks, temperature,
 *     power, energy, errors) is repeated for each MIG device, what belongs to the GPU instance
 *     (memory, load) for each compute instance of it.
 *   - A device that several pods share has a series for each of them.
 *   - What the driver does not tell is absent. A sample of another moment than the snapshot (an
 *     instance of another kind under the same id) is not used.
 */
#ifndef MIG_EXPORTER_METRICS_H
#define MIG_EXPORTER_METRICS_H

#include "base/buffer.h"
#include "base/counters.h"
#include "deviceplugin/pod_resources.h"
#include <mig/sample.h>

#define MIG_METRICS_BYTES_MAX (16u << 20)
#define MIG_METRICS_SERIES_MAX 8192 /* of GPUs and MIG devices, with the pods on them */
#define MIG_METRICS_XIDS_MAX 256

/* How the name of the node is labelled; dcgm-exporter changed it. */
enum mig_metrics_hostname {
    MIG_METRICS_HOSTNAME_UPPER = 0, /* Hostname="..." */
    MIG_METRICS_HOSTNAME_LOWER,     /* hostname="..." */
    MIG_METRICS_HOSTNAME_BOTH,
    MIG_METRICS_HOSTNAME_NONE,
};

/* The last critical error (XID) of a GPU or of one of its instances. */
struct mig_metrics_xid {
    char gpu_uuid[MIG_UUID_SIZE];
    uint32_t gi_id; /* MIG_ID_NONE: the whole GPU */
    uint64_t xid;
};

/* What the process uses, for process_*; zeroes = not known. */
struct mig_metrics_process {
    double cpu_s, start_s; /* the latter since 1970 */
    uint64_t resident_bytes, virtual_bytes;
    uint32_t fd_count;
};

/* Any of the pointers may be NULL. */
struct mig_metrics_view {
    const struct mig_node *node;
    const struct mig_sample *sample;
    const struct mig_pod_devices *pods;
    const struct mig_metrics_xid *xids;
    size_t xid_count;
    const struct mig_counters *counters;
    const struct mig_metrics_process *process;
    enum mig_metrics_hostname hostname_label;
    const char *hostname; /* NULL or "" = no such label */
};

/* Appends all metrics to `out`, which should have the limit MIG_METRICS_BYTES_MAX. MIG_E_FAILED
 * when it is full or there is no memory; what was appended is then of no use. */
int mig_metrics_write(const struct mig_metrics_view *view, struct mig_buffer *out,
                      struct mig_error *error);

#endif
