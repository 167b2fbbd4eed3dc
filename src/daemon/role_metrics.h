/* SPDX-License-Identifier: Apache-2.0 */
/* The role "metrics": what /metrics shows (src/exporter), with samples from the helper. */
#ifndef MIG_DAEMON_ROLE_METRICS_H
#define MIG_DAEMON_ROLE_METRICS_H

#include "base/buffer.h"
#include "base/counters.h"
#include "daemon/options.h"
#include "helper/helper.h"

struct role_metrics;

struct role_metrics_options {
    uv_loop_t *loop;
    const struct daemon_values *values; /* borrowed for the call only */
    struct mig_helper *helper;
    const char *node_name;
    struct mig_counters *counters;
};

int role_metrics_new(const struct role_metrics_options *options, struct role_metrics **ret,
                     struct mig_error *error);

/* Only after mig_helper_free: answers may be on their way. NULL is allowed, here and below. */
void role_metrics_free(struct role_metrics *role);

/* Borrowed until the next one; NULL: not readable now. */
void role_metrics_set_node(struct role_metrics *role, const struct mig_node *node);
void role_metrics_xid(struct role_metrics *role, const struct mig_helper_xid *xid);

/* For struct web_options. */
bool role_metrics_write(struct mig_buffer *out, void *role);

#endif
