/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device plugin's role: joins src/deviceplugin to the helper, to its config file and to the
 * log. Settings come from migd's options, the environment, the file or the config that the node's
 * label selects, and the ClusterPolicy for the strategy where nobody else says one.
 */
#ifndef MIG_DAEMON_ROLE_DEVICEPLUGIN_H
#define MIG_DAEMON_ROLE_DEVICEPLUGIN_H

#include "base/counters.h"
#include "daemon/options.h"
#include "deviceplugin/plugin.h"
#include "helper/helper.h"
#include "kube/client.h"
#include "manager/manager.h"

struct deviceplugin_role;

struct deviceplugin_role_options {
    uv_loop_t *loop;
    const struct daemon_values *values; /* borrowed until free */
    struct mig_helper *helper;
    struct mig_kube *kube;         /* NULL: no cluster */
    const char *node_name;         /* borrowed, as values */
    bool has_manager;              /* it tells of the node object and the ClusterPolicy */
    struct mig_counters *counters; /* may be NULL */
    /* Told at the start and whenever they are others; borrowed for the call. May be NULL. */
    void (*settings)(const struct mig_dp_config *config, void *data);
    void *data;
};

int deviceplugin_role_new(const struct deviceplugin_role_options *options,
                          struct deviceplugin_role **ret, struct mig_error *error);

/* All of these accept a role that is NULL. */

/* The newest snapshot, or NULL; borrowed until the next one. */
void deviceplugin_role_update(struct deviceplugin_role *role, const struct mig_node *node);
void deviceplugin_role_xid(struct deviceplugin_role *role, const struct mig_helper_xid *xid);
void deviceplugin_role_recovery(struct deviceplugin_role *role,
                                const struct mig_helper_recovery *recovery);
/* A GPU was reset: what made it unhealthy before is repaired. */
void deviceplugin_role_reset(struct deviceplugin_role *role, const char *gpu_uuid);
void deviceplugin_role_withhold(struct deviceplugin_role *role,
                                const struct mig_manager_slice *slices, size_t count);

/* What has become of an MPS control daemon; the helper is another one and has to be told again. */
void deviceplugin_role_mps(struct deviceplugin_role *role,
                           const struct mig_helper_mps_state *state);
void deviceplugin_role_helper_lost(struct deviceplugin_role *role);

/* `spec.mig.strategy` of the ClusterPolicy; "" = none. */
void deviceplugin_role_strategy(struct deviceplugin_role *role, const char *strategy);

/* The Node object (NULL: none) and spec.devicePlugin.config of the ClusterPolicy, as the manager
 * tells them. */
void deviceplugin_role_object(struct deviceplugin_role *role, const json_t *node);
void deviceplugin_role_policy(struct deviceplugin_role *role, const char *map,
                              const char *default_name);

/* Reads the settings again. */
void deviceplugin_role_reload(struct deviceplugin_role *role);

/* NULL when the role is. */
struct mig_deviceplugin *deviceplugin_role_plugin(const struct deviceplugin_role *role);
const struct mig_dp_config *deviceplugin_role_config(const struct deviceplugin_role *role);
void deviceplugin_role_free(struct deviceplugin_role *role);

#endif
