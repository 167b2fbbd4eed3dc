/* SPDX-License-Identifier: Apache-2.0 */
/* One object by field selector: the right to read it is all that is needed. */
#include "daemon/own_node.h"
#include "daemon/log.h"
#include "kube/events.h"
#include <stdio.h>
#include <stdlib.h>

#define NAME_MAX_SIZE 256

int own_node_watch(struct mig_kube *kube, const char *name,
                   void (*event)(enum mig_kube_watch_event event, json_t *object,
                                 const struct mig_error *error, void *data),
                   void *data, struct mig_kube_watch **ret, struct mig_error *error)
{
    char selector[NAME_MAX_SIZE + 32];
    const struct mig_kube_watch_options options = {
        .path = "/api/v1/nodes", .field_selector = selector, .event = event, .data = data};

    snprintf(selector, sizeof(selector), "metadata.name=%s", name);
    return mig_kube_watch_new(kube, &options, ret, error);
}

struct own_node_events {
    struct mig_kube *kube;
    const char *name;
    struct mig_kube_recorder *recorder; /* made when the first one is told */
};

struct own_node_events *own_node_events_new(struct mig_kube *kube, const char *name)
{
    struct own_node_events *events = calloc(1, sizeof(*events));

    if (events) {
        *events = (struct own_node_events){.kube = kube, .name = name};
    }
    return events;
}

void own_node_event(struct own_node_events *events, bool warning, const char *reason,
                    const char *action, const char *text)
{
    struct mig_kube_regarding node = {.api_version = "v1", .kind = "Node"};
    struct mig_kube_recorder_options options = {.component = "migd"};
    struct mig_error error;

    if (!events || !events->kube) {
        return;
    }
    node.name = node.uid = options.instance = events->name;
    if (!events->recorder &&
        mig_kube_recorder_new(events->kube, &options, &events->recorder, &error) < 0) {
        log_error(LOG_LEVEL_WARNING, "kube", &error, "no events");
        return;
    }
    mig_kube_record(events->recorder, &node, warning, reason, action, text);
}

void own_node_events_free(struct own_node_events *events)
{
    if (events) {
        mig_kube_recorder_free(events->recorder);
        free(events);
    }
}
