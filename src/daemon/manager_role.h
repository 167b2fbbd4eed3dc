/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager's role: runs the state machine of src/manager on the loop. Inputs come from the
 * cluster (or, without one, from the command line), from files and from the helper; actions go to
 * the API server, the kubelet and the helper. Everything that is decided is decided in the machine.
 */
#ifndef MIG_DAEMON_MANAGER_ROLE_H
#define MIG_DAEMON_MANAGER_ROLE_H

#include "base/counters.h"
#include "daemon/options.h"
#include "helper/helper.h"
#include "kube/client.h"
#include "manager/manager.h"
#include <jansson.h>

struct manager_role;

/* "" = nothing is said. */
struct manager_role_policy {
    const char *strategy;                    /* spec.mig.strategy */
    const char *plugin_map, *plugin_default; /* spec.devicePlugin.config: name, default */
};

struct manager_role_options {
    uv_loop_t *loop;
    const struct daemon_values *values; /* borrowed until manager_role_free */
    struct mig_helper *helper;
    struct mig_kube *kube;         /* NULL: a machine without a cluster */
    const char *node_name;         /* borrowed, as values */
    const char *agent_dir;         /* of record.h; borrowed */
    struct mig_counters *counters; /* may be NULL */
    /* No pod may be given these slices; none = all may be. May be NULL. */
    void (*withhold)(const struct mig_manager_slice *slices, size_t count, void *data);
    /* The machine has a newer snapshot than the others: it came with an answer. Borrowed until the
     * next one. May be NULL. */
    void (*snapshot)(const struct mig_node *node, void *data);
    /* A change of our own has reset this GPU. Comes after the snapshot in which that is seen. May
     * be NULL. */
    void (*reset)(const char *gpu_uuid, void *data);
    /* What others need of the ClusterPolicy; also when there is none. May be NULL. */
    void (*policy)(const struct manager_role_policy *policy, void *data);
    /* The Node object, whenever it is another one; NULL = the cluster has none. May be NULL. */
    void (*object)(const json_t *node, void *data);
    /* manager_role_stop is through. */
    void (*stopped)(void *data);
    void *data;
};

int manager_role_new(const struct manager_role_options *options, struct manager_role **ret,
                     struct mig_error *error);

/* What the helper says. `node` is taken over. */
void manager_role_changed(struct manager_role *role, struct mig_node *node);
void manager_role_unreadable(struct manager_role *role, const struct mig_error *error);
void manager_role_helper_lost(struct manager_role *role);

/* The other roles' helper events go through here too, so that there is one snapshot. */
const struct mig_node *manager_role_node(const struct manager_role *role);

/* SIGHUP: files are read again, also when they did not change. */
void manager_role_reload(struct manager_role *role);

/*
 * Begins nothing new that changes the machine, waits for what is under way and for what has to be
 * told about it, at most `timeout_ms`; then `stopped`.
 */
void manager_role_stop(struct manager_role *role, unsigned timeout_ms);

void manager_role_free(struct manager_role *role); /* NULL is allowed */

struct mig_manager_status manager_role_status(const struct manager_role *role);

#endif
