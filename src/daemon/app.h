/* SPDX-License-Identifier: Apache-2.0 */
/* The agent: one loop, the helper's connection, the cluster's, and the roles. */
#ifndef MIG_DAEMON_APP_H
#define MIG_DAEMON_APP_H

#include "base/counters.h"
#include "daemon/manager_role.h"
#include "daemon/role_deviceplugin.h"
#include "daemon/role_labels.h"
#include "daemon/role_metrics.h"
#include "daemon/web.h"
#include "helper/helper.h"
#include "kube/client.h"

struct app {
    int argc;
    char **argv;
    struct daemon_values values;
    struct mig_helper_channel channel;
    struct mig_kube_config kube_config;
    bool has_cluster;
    char *agent_dir;

    uv_loop_t loop;
    struct mig_helper *helper;
    struct mig_kube *kube;
    struct manager_role *manager;
    struct deviceplugin_role *deviceplugin;
    struct role_labels *labels;
    struct role_metrics *metrics;
    struct mig_counters *counters;
    struct mig_node *own_node; /* the snapshot, where there is no manager to keep it */
    struct web *web;
    uv_signal_t signals[3];
    uv_timer_t ready_timer;
    char node_name[256];
    uint64_t started_ms;
    bool ready, stopping;
    struct daemon_values *next_values; /* SIGHUP: the role is made anew with these */
    int result;
};

/* Runs until it is told to stop. Privileges have been dropped. */
int app_run(struct app *app, struct mig_error *error);
void app_release(struct app *app);

#endif
