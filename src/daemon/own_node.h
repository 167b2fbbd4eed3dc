/* SPDX-License-Identifier: Apache-2.0 */
/* The Node object of this node: following it, and events about it. */
#ifndef MIG_DAEMON_OWN_NODE_H
#define MIG_DAEMON_OWN_NODE_H

#include "kube/watch.h"

/* As mig_kube_watch_new, with what is told of this one node. */
int own_node_watch(struct mig_kube *kube, const char *name,
                   void (*event)(enum mig_kube_watch_event event, json_t *object,
                                 const struct mig_error *error, void *data),
                   void *data, struct mig_kube_watch **ret, struct mig_error *error);

struct own_node_events;

/* `name` is borrowed. Events that cannot be sent are a line of the log. */
struct own_node_events *own_node_events_new(struct mig_kube *kube, const char *name);
void own_node_event(struct own_node_events *events, bool warning, const char *reason,
                    const char *action, const char *text); /* `events` NULL: nobody is told */
void own_node_events_free(struct own_node_events *events); /* NULL is allowed */

#endif
