/* SPDX-License-Identifier: Apache-2.0 */
/* The shorter answers: the list of devices, and the preferred ones among the free. */
#include "base/cleanup.h"
#include "config/arena.h"
#include "device_plugin.pb-c.h"
#include "deviceplugin/allocate.h"
#include "deviceplugin/preferred.h"
#include "deviceplugin/protobuf.h"
#include <errno.h>

#define MEMORY_MAX (16u << 20) /* of one list, with all replicas */

/* What one announced device needs. */
struct entry {
    Dp__Device device;
    Dp__TopologyInfo topology;
    Dp__NUMANode node, *nodes[1];
    char id[MIG_DP_ID_SIZE];
};

static void fill(struct entry *entry, const struct mig_dp_slice *slice, uint32_t index)
{
    dp__device__init(&entry->device);
    entry->device.id = mig_dp_slice_id(slice, index, entry->id);
    entry->device.health = mig_protobuf_text(slice->unhealthy ? "Unhealthy" : "Healthy");
    if (slice->numa >= 0) {
        dp__numanode__init(&entry->node);
        dp__topology_info__init(&entry->topology);
        entry->node.id = slice->numa;
        entry->nodes[0] = &entry->node;
        entry->topology.nodes = entry->nodes;
        entry->topology.n_nodes = 1;
        entry->device.topology = &entry->topology;
    }
}

static int no_memory(struct mig_error *error)
{
    return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not list devices");
}

static int list_into(const struct mig_dp_table *table, const struct mig_dp_resource *resource,
                     struct mig_arena *arena, Dp__ListAndWatchResponse *response)
{
    size_t count = 0, at = 0;
    struct entry *entries;

    for (uint32_t i = 0; i < resource->count; i++) {
        count += mig_dp_slice_devices(&table->slices[resource->first + i]);
    }
    entries = mig_arena_array(arena, count, sizeof(*entries));
    response->devices = mig_arena_array(arena, count, sizeof(Dp__Device *));
    if (!entries || !response->devices) {
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < resource->count; i++) {
        const struct mig_dp_slice *slice = &table->slices[resource->first + i];

        for (uint32_t j = 0; j < mig_dp_slice_devices(slice); j++) {
            fill(&entries[at], slice, j);
            response->devices[at] = &entries[at].device;
            at++;
        }
    }
    response->n_devices = count;
    return 0;
}

int mig_dp_list(const struct mig_dp_table *table, const char *resource, void **ret,
                size_t *ret_size, struct mig_error *error)
{
    const struct mig_dp_resource *found = mig_dp_table_find(table, resource);
    Dp__ListAndWatchResponse response = DP__LIST_AND_WATCH_RESPONSE__INIT;
    struct mig_arena arena;
    int result = MIG_OK;

    mig_arena_init(&arena, MEMORY_MAX);
    if (found && found->count > 0 && list_into(table, found, &arena, &response) < 0) {
        result = no_memory(error);
    }
    if (result == MIG_OK) {
        result = mig_protobuf_pack(&response.base, ret, ret_size, error);
    }
    mig_arena_release(&arena);
    return result;
}

/* ---- preferred ones ---- */

static size_t wanted_size(const Dp__ContainerPreferredAllocationRequest *request)
{
    size_t most = request->n_available_device_ids + request->n_must_include_device_ids;
    size_t wanted = request->allocation_size > 0 ? (size_t)request->allocation_size : 0;

    return wanted < most ? wanted : most;
}

static int prefer_container(const struct mig_dp_allocation *allocation, struct mig_arena *arena,
                            const Dp__ContainerPreferredAllocationRequest *request,
                            Dp__ContainerPreferredAllocationResponse *response)
{
    size_t size = wanted_size(request);
    struct mig_dp_preference preference = {
        .table = allocation->table,
        .resource = mig_dp_table_find(allocation->table, allocation->resource),
        .packed = allocation->config->packed,
        .available = (const char *const *)request->available_device_ids,
        .available_count = request->n_available_device_ids,
        .must_include = (const char *const *)request->must_include_device_ids,
        .must_include_count = request->n_must_include_device_ids,
        .size = size,
    };
    const char **chosen = mig_arena_array(arena, size + 1, sizeof(*chosen));
    char **ids = mig_arena_array(arena, size + 1, sizeof(*ids));

    if (!chosen || !ids) {
        return -ENOMEM;
    }
    response->n_device_ids = mig_dp_prefer(&preference, chosen);
    for (size_t i = 0; i < response->n_device_ids; i++) {
        ids[i] = mig_protobuf_text(chosen[i]);
    }
    response->device_ids = ids;
    return 0;
}

static int prefer(const struct mig_dp_allocation *allocation, struct mig_arena *arena,
                  const Dp__PreferredAllocationRequest *request,
                  Dp__PreferredAllocationResponse *response)
{
    size_t count = request->n_container_requests;
    Dp__ContainerPreferredAllocationResponse *answers =
        mig_arena_array(arena, count + 1, sizeof(*answers));

    response->container_responses =
        mig_arena_array(arena, count + 1, sizeof(Dp__ContainerPreferredAllocationResponse *));
    if (!answers || !response->container_responses) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        dp__container_preferred_allocation_response__init(&answers[i]);
        if (prefer_container(allocation, arena, request->container_requests[i], &answers[i]) < 0) {
            return -ENOMEM;
        }
        response->container_responses[i] = &answers[i];
    }
    response->n_container_responses = count;
    return 0;
}

int mig_dp_preferred(const struct mig_dp_allocation *allocation, const void *message, size_t size,
                     void **ret, size_t *ret_size, struct mig_error *error)
{
    ProtobufCMessage *request = NULL;
    Dp__PreferredAllocationResponse response = DP__PREFERRED_ALLOCATION_RESPONSE__INIT;
    struct mig_arena arena;
    int result = mig_protobuf_unpack(&dp__preferred_allocation_request__descriptor, message, size,
                                     &request, error);

    if (result < 0) {
        return result;
    }
    mig_arena_init(&arena, MEMORY_MAX);
    result = prefer(allocation, &arena, (const Dp__PreferredAllocationRequest *)request, &response);
    result =
        result < 0 ? no_memory(error) : mig_protobuf_pack(&response.base, ret, ret_size, error);
    mig_arena_release(&arena);
    mig_protobuf_free(request);
    return result;
}
