/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Containers that hold devices of several resources but are told of one: the kubelet asks for each
 * resource, and of the answers' variables of one name it keeps one. Nothing fails, the container
 * just sees less than it was given; so it is looked for, and said.
 *
 * The request does not say for which container it is. When no more come for a moment, the kubelet
 * is asked who holds what was given out by the variable alone.
 */
#include "base/cleanup.h"
#include "device_plugin.pb-c.h"
#include "deviceplugin/plugin_internal.h"
#include "deviceplugin/protobuf.h"
#include <stdlib.h>
#include <string.h>

#define PENDING_MAX 256 /* devices; what is beyond is not looked for */
#define QUIET_MS 1000
#define TIMEOUT_MS 2000
#define NAMES_SIZE 256

struct untold {
    struct mig_deviceplugin *plugin;
    uv_timer_t timer;
    struct request_slot slot;
    struct mig_pod_resources_call *call;
    uint64_t pending[PENDING_MAX]; /* of devices as announced */
    size_t pending_count;
};

static bool is_pending(const struct untold *untold, const char *device)
{
    uint64_t hash = plugin_hash(device);

    for (size_t i = 0; i < untold->pending_count; i++) {
        if (untold->pending[i] == hash) {
            return true;
        }
    }
    return false;
}

static bool same_container(const struct mig_pod_device *a, const struct mig_pod_device *b)
{
    return strcmp(a->pod, b->pod) == 0 && strcmp(a->namespace_name, b->namespace_name) == 0 &&
           strcmp(a->container, b->container) == 0;
}

/* Looks at one container, whose devices stand together. */
static void look_at(struct untold *untold, const struct mig_pod_device *devices, size_t count)
{
    struct mig_dp_allocation known = plugin_allocation(untold->plugin, "");
    char names[NAMES_SIZE] = "", text[2 * NAMES_SIZE + 256];
    const char *last = NULL;
    unsigned resources = 0;
    bool pending = false;

    for (size_t i = 0; i < count; i++) {
        const char *resource = devices[i].resource;

        if (!known.table || !mig_dp_table_find(known.table, resource)) {
            continue;
        }
        pending = pending || is_pending(untold, devices[i].device);
        if (!last || strcmp(last, resource) != 0) {
            size_t used = strlen(names);

            snprintf(names + used, sizeof(names) - used, "%s%s", resources ? ", " : "", resource);
            resources++;
            last = resource;
        }
    }
    if (pending && resources > 1) {
        snprintf(text, sizeof(text),
                 "container %.64s of pod %.64s/%.128s holds devices of %s and sees those of one: "
                 "the kubelet keeps one NVIDIA_VISIBLE_DEVICES; where the container runtime has "
                 "CDI, set DEVICE_LIST_STRATEGY=cdi-cri and make the pod again",
                 devices->container, devices->namespace_name, devices->pod, names);
        plugin_event(untold->plugin, MIG_DEVICEPLUGIN_UNTOLD, "", resources, text);
    }
}

static void holders_told(struct mig_pod_devices *devices, const struct mig_error *error, void *data)
{
    struct untold *untold = data;

    untold->call = NULL;
    if (error) {
        plugin_event(untold->plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error->message);
        return; /* with the next request */
    }
    for (size_t i = 0, end; i < devices->count; i = end) {
        end = i + 1;
        while (end < devices->count && same_container(&devices->items[i], &devices->items[end])) {
            end++;
        }
        look_at(untold, &devices->items[i], end - i);
    }
    untold->pending_count = 0;
    mig_pod_devices_free(devices);
}

static void opened(int fd, const struct mig_error *error, void *data)
{
    struct untold *untold = data;
    struct mig_pod_resources_options options = {
        .fd = fd, .timeout_ms = TIMEOUT_MS, .done = holders_told, .data = untold};
    struct mig_error own = {0};

    if (!error &&
        mig_pod_resources_ask(plugin_loop(untold->plugin), &options, &untold->call, &own) < 0) {
        close(fd);
        error = &own;
    }
    if (error) {
        plugin_event(untold->plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error->message);
    }
}

static void timer_fired(uv_timer_t *timer)
{
    struct untold *untold = timer->data;
    struct mig_error error = {0};

    if (untold->slot.request || untold->call) {
        uv_timer_start(timer, timer_fired, QUIET_MS, 0);
    } else if (request_socket(untold->plugin, &untold->slot, MIG_DEVICEPLUGIN_POD_RESOURCES, "",
                              opened, untold, &error) < 0) {
        plugin_event(untold->plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error.message);
    }
}

/* With one resource on the node nothing can be lost. */
static void add(struct untold *untold, const struct mig_dp_allocation *allocation, const char *id)
{
    const struct mig_dp_resource *resource =
        mig_dp_table_find(allocation->table, allocation->resource);
    const struct mig_dp_slice *slice =
        resource ? mig_dp_table_device(allocation->table, resource, id) : NULL;

    if (slice && allocation->table->resource_count > 1 &&
        mig_dp_told_by(allocation->config, slice) == MIG_DP_LIST_ENVVAR &&
        untold->pending_count < PENDING_MAX) {
        untold->pending[untold->pending_count++] = plugin_hash(id);
        uv_timer_start(&untold->timer, timer_fired, QUIET_MS, 0);
    }
}

void untold_allocated(struct untold *untold, const struct mig_dp_allocation *allocation,
                      const void *message, size_t size)
{
    ProtobufCMessage *unpacked = NULL;
    const Dp__AllocateRequest *request;

    if (mig_protobuf_unpack(&dp__allocate_request__descriptor, message, size, &unpacked, NULL) <
        0) {
        return;
    }
    request = (const Dp__AllocateRequest *)unpacked;
    for (size_t i = 0; i < request->n_container_requests; i++) {
        for (size_t j = 0; j < request->container_requests[i]->n_devices_ids; j++) {
            add(untold, allocation, request->container_requests[i]->devices_ids[j]);
        }
    }
    mig_protobuf_free(unpacked);
}

struct untold *untold_new(struct mig_deviceplugin *plugin)
{
    struct untold *untold = calloc(1, sizeof(*untold));

    if (untold) {
        untold->plugin = plugin;
        uv_timer_init(plugin_loop(plugin), &untold->timer);
        untold->timer.data = untold;
    }
    return untold;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void untold_free(struct untold *untold)
{
    if (untold) {
        request_cancel(&untold->slot);
        mig_pod_resources_cancel(MIG_TAKE(untold->call));
        uv_close((uv_handle_t *)&untold->timer, timer_closed);
    }
}
