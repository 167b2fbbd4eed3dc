/* SPDX-License-Identifier: Apache-2.0 */
/* What this process uses, from /proc/self. */
#ifndef MIG_EXPORTER_PROCESS_H
#define MIG_EXPORTER_PROCESS_H

#include "exporter/metrics.h"

/* What cannot be read stays 0. */
void mig_metrics_read_process(struct mig_metrics_process *ret);

#endif
