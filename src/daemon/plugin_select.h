/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which config the device plugin has, where there are several: the node's label (--plugin-config-
 * label) names one of those in a folder (--plugin-config-dir), in a ConfigMap (--plugin-config-map)
 * or in the ConfigMap that the ClusterPolicy names; without the label the default and then the
 * fallbacks count. A change of the label, of the configs or of the ClusterPolicy counts at once.
 *
 * What cannot be followed (a name that is not there, a config that is wrong, a ConfigMap that is
 * gone) changes nothing: the config in force stays, and the reason is a line of the log, an event
 * of the node and a metric.
 */
#ifndef MIG_DAEMON_PLUGIN_SELECT_H
#define MIG_DAEMON_PLUGIN_SELECT_H

#include "base/counters.h"
#include "daemon/options.h"
#include "kube/client.h"
#include <uv.h>

struct plugin_select;

struct plugin_select_options {
    uv_loop_t *loop;
    const struct daemon_values *values; /* borrowed until free */
    struct mig_kube *kube;              /* NULL: there is no label, and no ConfigMap */
    const char *node_name;              /* borrowed */
    struct mig_counters *counters;      /* may be NULL */
    bool has_manager;                   /* object and policy are told, see below */
    /* Takes a config, or none (`name` NULL). Negative: it is refused, and the old one stays. */
    int (*use)(const char *name, const char *text, size_t size, struct mig_error *error,
               void *data);
    /* For the first time it is known what counts, or nobody told in time. */
    void (*settled)(void *data);
    void *data;
};

/* *ret is NULL where there is nothing to select from. Nothing is called from within. */
int plugin_select_new(const struct plugin_select_options *options, struct plugin_select **ret,
                      struct mig_error *error);

/* The manager's word, NULL is allowed for the selection: the Node object (NULL: none), and
 * spec.devicePlugin.config of the ClusterPolicy. */
void plugin_select_object(struct plugin_select *select, const json_t *node);
void plugin_select_policy(struct plugin_select *select, const char *map, const char *default_name);

void plugin_select_free(struct plugin_select *select); /* NULL is allowed */

#endif
