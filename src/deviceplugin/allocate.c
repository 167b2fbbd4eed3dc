/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers to Allocate, in every way in which a container can be told its devices.
 *
 * The answer is put together in an arena and packed at once; a request is a few device ids, but
 * what it may cost is limited like everything from outside.
 */
#include "deviceplugin/allocate.h"
#include "base/cleanup.h"
#include "config/arena.h"
#include "device_plugin.pb-c.h"
#include "deviceplugin/cdi.h"
#include "deviceplugin/mps.h"
#include "deviceplugin/protobuf.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define MEMORY_MAX (8u << 20)
#define ITEMS_MAX 1024u /* environment, mounts, nodes, names: each, of one container */
#define TEXT_MAX 65536u
#define VISIBLE_DEVICES "NVIDIA_VISIBLE_DEVICES"
#define VOLUME_MOUNTS "/var/run/nvidia-container-devices"
#define NO_FILE "/dev/null"
#define MPS_CONTAINER_ROOT "/mps" /* as in containers of NVIDIA's plugin */
#define ANNOTATION_NAME "nvidia-device-plugin_"

/* One container's answer while it is made. */
struct maker {
    const struct mig_dp_allocation *allocation;
    struct mig_arena *arena;
    Dp__ContainerAllocateResponse *response;
    const struct mig_dp_slice **slices; /* without repetition, in table order */
    size_t slice_count;
    unsigned told_by; /* set of enum mig_dp_list_strategy */
    bool failed;      /* no memory, or too much */
    struct mig_error *error;
};

static char *text(struct maker *maker, const char *format, ...) MIG_PRINTF(2, 3);

static char *text(struct maker *maker, const char *format, ...)
{
    char buffer[2 * MIG_DP_PATH_SIZE];
    va_list arguments;
    char *copy;
    int length;

    va_start(arguments, format);
    length = vsnprintf(buffer, sizeof(buffer), format, arguments);
    va_end(arguments);
    copy = length >= 0 && (size_t)length < sizeof(buffer)
               ? mig_arena_text(maker->arena, buffer, (size_t)length)
               : NULL;
    maker->failed |= !copy;
    return copy;
}

/* Makes `*items` one longer, in the arena; NULL when it cannot be. The old array stays behind. */
static void *grow(struct maker *maker, void *items, size_t count, size_t size)
{
    void *larger = items;

    if (count >= ITEMS_MAX) {
        maker->failed = true;
        return NULL;
    }
    if ((count & (count - 1)) == 0) { /* 0 and the powers of two: when it is full */
        larger = mig_arena_array(maker->arena, count ? 2 * count : 1, size);
        if (!larger) {
            maker->failed = true;
            return NULL;
        }
        if (count > 0) {
            memcpy(larger, items, count * size);
        }
    }
    return larger;
}

/* ---- pieces of the answer ---- */

static void add_pair(struct maker *maker, Dp__Pair ***pairs, size_t *count, const char *key,
                     const char *value)
{
    Dp__Pair **larger = (Dp__Pair **)grow(maker, (void *)*pairs, *count, sizeof(Dp__Pair *));
    Dp__Pair *pair = mig_arena_take(maker->arena, sizeof(*pair));

    if (!larger || !pair || !key || !value) {
        maker->failed = true;
        return;
    }
    dp__pair__init(pair);
    pair->key = mig_protobuf_text(key);
    pair->value = mig_protobuf_text(value);
    larger[(*count)++] = pair;
    *pairs = larger;
}

/* The last value of a variable counts. */
static void set_env(struct maker *maker, const char *key, const char *value)
{
    Dp__ContainerAllocateResponse *response = maker->response;

    for (size_t i = 0; i < response->n_envs; i++) {
        if (strcmp(response->envs[i]->key, key) == 0 && value) {
            response->envs[i]->value = mig_protobuf_text(value);
            return;
        }
    }
    add_pair(maker, &response->envs, &response->n_envs, key, value);
}

static void add_mount(struct maker *maker, const char *container_path, const char *host_path)
{
    Dp__ContainerAllocateResponse *response = maker->response;
    Dp__Mount **larger = (Dp__Mount **)grow(maker, (void *)response->mounts, response->n_mounts,
                                            sizeof(Dp__Mount *));
    Dp__Mount *mount = mig_arena_take(maker->arena, sizeof(*mount));

    if (!larger || !mount || !container_path || !host_path) {
        maker->failed = true;
        return;
    }
    dp__mount__init(mount);
    mount->container_path = mig_protobuf_text(container_path);
    mount->host_path = mig_protobuf_text(host_path);
    larger[response->n_mounts++] = mount;
    response->mounts = larger;
}

static void add_cdi_name(struct maker *maker, const char *name)
{
    Dp__ContainerAllocateResponse *response = maker->response;
    Dp__CDIDevice **larger = (Dp__CDIDevice **)grow(
        maker, (void *)response->cdi_devices, response->n_cdi_devices, sizeof(Dp__CDIDevice *));
    Dp__CDIDevice *device = mig_arena_take(maker->arena, sizeof(*device));

    if (!larger || !device || !name) {
        maker->failed = true;
        return;
    }
    dp__cdidevice__init(device);
    device->name = mig_protobuf_text(name);
    larger[response->n_cdi_devices++] = device;
    response->cdi_devices = larger;
}

/* A node once; slices of one GPU share the GPU's. */
static void add_node(const char *path, void *data)
{
    struct maker *maker = data;
    Dp__ContainerAllocateResponse *response = maker->response;
    Dp__DeviceSpec **larger, *node;

    for (size_t i = 0; i < response->n_devices; i++) {
        if (strcmp(response->devices[i]->container_path, path) == 0) {
            return;
        }
    }
    larger = (Dp__DeviceSpec **)grow(maker, (void *)response->devices, response->n_devices,
                                     sizeof(Dp__DeviceSpec *));
    node = mig_arena_take(maker->arena, sizeof(*node));
    if (!larger || !node) {
        maker->failed = true;
        return;
    }
    dp__device_spec__init(node);
    node->container_path = text(maker, "%s", path);
    node->host_path = text(maker, "%s%s", mig_dp_dev_root(maker->allocation->config), path);
    node->permissions = mig_protobuf_text("rw");
    if (maker->failed) {
        return;
    }
    larger[response->n_devices++] = node;
    response->devices = larger;
}

/* What the container is told of a slice: its UUID, or its index on the node. */
static char *container_id(struct maker *maker, const struct mig_dp_slice *slice)
{
    if (!maker->allocation->config->index_ids) {
        return text(maker, "%s", slice->uuid);
    }
    return slice->gi_id == MIG_ID_NONE ? text(maker, "%u", slice->gpu)
                                       : text(maker, "%u:%d", slice->gpu, slice->mig_index);
}

/* Texts with commas between them. */
static char *join(struct maker *maker, char *const *items, size_t count)
{
    size_t size = 1;
    char *joined, *at;

    for (size_t i = 0; i < count; i++) {
        size += items[i] ? strlen(items[i]) + 1 : 0;
    }
    joined = size <= TEXT_MAX ? mig_arena_take(maker->arena, size) : NULL;
    if (!joined) {
        maker->failed = true;
        return NULL;
    }
    at = joined;
    for (size_t i = 0; i < count && !maker->failed; i++) {
        size_t length = strlen(items[i]);

        if (i > 0) {
            *at++ = ',';
        }
        memcpy(at, items[i], length);
        at += length;
    }
    *at = '\0';
    return joined;
}

/* ---- the strategies ---- */

static void tell_by_variable(struct maker *maker, char *const *ids)
{
    set_env(maker, VISIBLE_DEVICES, join(maker, ids, maker->slice_count));
    if (maker->allocation->config->imex_channel_count > 0) {
        set_env(maker, "NVIDIA_IMEX_CHANNELS", "0");
    }
}

static void tell_by_mounts(struct maker *maker, char *const *ids)
{
    set_env(maker, VISIBLE_DEVICES, VOLUME_MOUNTS);
    for (size_t i = 0; i < maker->slice_count; i++) {
        add_mount(maker, text(maker, VOLUME_MOUNTS "/%s", ids[i] ? ids[i] : ""), NO_FILE);
    }
    if (maker->allocation->config->imex_channel_count > 0) {
        add_mount(maker, VOLUME_MOUNTS "/imex/0", NO_FILE);
    }
}

/* The CDI names of the slices and of what goes with each. */
static size_t cdi_names(struct maker *maker, char **names)
{
    static const char *const all[] = {NULL, "all", "all", "all", "0"};
    size_t count = 0;

    for (size_t i = 0; i < maker->slice_count; i++) {
        names[count++] = text(maker, MIG_DP_CDI_VENDOR "/gpu=%s", maker->slices[i]->uuid);
    }
    for (int class = MIG_DP_CDI_GDRCOPY; class < MIG_DP_CDI_CLASS_COUNT; class ++) {
        if (mig_dp_cdi_wanted(maker->allocation->config, maker->allocation->host,
                              (enum mig_dp_cdi_class) class)) {
            names[count++] = text(maker, MIG_DP_CDI_VENDOR "/%s=%s",
                                  mig_dp_cdi_class_name((enum mig_dp_cdi_class) class), all[class]);
        }
    }
    return count;
}

static void tell_by_cdi(struct maker *maker)
{
    const struct mig_dp_config *config = maker->allocation->config;
    char **names =
        mig_arena_array(maker->arena, maker->slice_count + MIG_DP_CDI_CLASS_COUNT, sizeof(*names));
    size_t count;

    if (!names) {
        maker->failed = true;
        return;
    }
    count = cdi_names(maker, names);
    if (maker->told_by & MIG_DP_LIST_CDI_ANNOTATIONS) {
        add_pair(maker, &maker->response->annotations, &maker->response->n_annotations,
                 text(maker, "%s" ANNOTATION_NAME "%s", config->cdi_annotation_prefix,
                      maker->allocation->unique),
                 join(maker, names, count));
    }
    for (size_t i = 0; (maker->told_by & MIG_DP_LIST_CDI_CRI) && i < count; i++) {
        add_cdi_name(maker, names[i]);
    }
}

static int add_nodes(struct maker *maker)
{
    const struct mig_dp_host *host = maker->allocation->host;

    for (size_t i = 0; i < maker->slice_count; i++) {
        int result = mig_dp_slice_nodes(host, maker->slices[i], add_node, maker, maker->error);

        if (result < 0) {
            return result;
        }
    }
    for (size_t i = 0; mig_dp_control_node(i); i++) {
        if (mig_dp_host_has_node(host, mig_dp_control_node(i))) {
            add_node(mig_dp_control_node(i), maker);
        }
    }
    return MIG_OK;
}

unsigned mig_dp_told_by(const struct mig_dp_config *config, const struct mig_dp_slice *slice)
{
    return config->list_auto && !slice->in_cdi
               ? config->list_strategies & ~(unsigned)MIG_DP_LIST_CDI
               : config->list_strategies;
}

/*
 * The pipes and the memory that it shares with its MPS server. A request is never for more than one
 * device that is shared by MPS; of a container with two such resources only one can be used, since
 * it has one variable and one /dev/shm.
 */
static void tell_mps(struct maker *maker, const struct mig_dp_slice *slice)
{
    const char *root = maker->allocation->config->mps_root;
    const char *pipe = text(maker, MPS_CONTAINER_ROOT "/%s/pipe", maker->allocation->resource);
    struct mig_dp_mps_device limits;

    mig_dp_mps_limits(slice, &limits);
    set_env(maker, "CUDA_MPS_PIPE_DIRECTORY", pipe);
    set_env(maker, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", text(maker, "%u", limits.percentage));
    if (limits.memory_mib > 0) {
        set_env(maker, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", text(maker, "0=%uM", limits.memory_mib));
    }
    add_mount(maker, pipe, text(maker, "%s/%s/pipe", root, slice->uuid));
    add_mount(maker, "/dev/shm", text(maker, "%s/%s/shm", root, slice->uuid));
}

static int tell(struct maker *maker)
{
    const struct mig_dp_config *config = maker->allocation->config;
    char **ids = mig_arena_array(maker->arena, maker->slice_count, sizeof(*ids));

    maker->told_by = config->list_strategies;
    for (size_t i = 0; ids && i < maker->slice_count; i++) {
        ids[i] = container_id(maker, maker->slices[i]);
        maker->told_by &= mig_dp_told_by(config, maker->slices[i]);
    }
    if (!ids || maker->failed) {
        maker->failed = true;
        return MIG_OK;
    }
    for (size_t i = 0; i < maker->slice_count; i++) {
        if (maker->slices[i]->mps) {
            tell_mps(maker, maker->slices[i]);
        }
    }
    if (maker->told_by & MIG_DP_LIST_CDI) {
        tell_by_cdi(maker);
    }
    if (!(maker->told_by & ~(unsigned)MIG_DP_LIST_CDI)) {
        return MIG_OK; /* only CDI: it says everything */
    }
    if (maker->told_by & MIG_DP_LIST_ENVVAR) {
        tell_by_variable(maker, ids);
    }
    if (maker->told_by & MIG_DP_LIST_VOLUME_MOUNTS) {
        tell_by_mounts(maker, ids);
    }
    if (config->gdrcopy) {
        set_env(maker, "NVIDIA_GDRCOPY", "enabled");
    }
    if (config->gds) {
        set_env(maker, "NVIDIA_GDS", "enabled");
    }
    if (config->mofed) {
        set_env(maker, "NVIDIA_MOFED", "enabled");
    }
    return config->pass_device_specs ? add_nodes(maker) : MIG_OK;
}

/* ---- the request ---- */

static int find_slices(struct maker *maker, char *const *ids, size_t id_count)
{
    const struct mig_dp_table *table = maker->allocation->table;
    const struct mig_dp_resource *resource = mig_dp_table_find(table, maker->allocation->resource);
    MIG_AUTO_FREE bool *wanted = calloc(table->slice_count + 1, sizeof(*wanted));

    maker->slices =
        mig_arena_array(maker->arena, id_count + 1, sizeof(const struct mig_dp_slice *));
    if (!maker->slices || !wanted) {
        maker->failed = true;
        return MIG_OK;
    }
    for (size_t i = 0; i < id_count; i++) {
        const struct mig_dp_slice *slice =
            resource ? mig_dp_table_device(table, resource, ids[i]) : NULL;

        if (!slice || slice->kept) {
            return mig_error_set(maker->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "could not allocate %.64s: %s has no such device%s", ids[i],
                                 maker->allocation->resource, slice ? " any more" : "");
        }
        if (mig_dp_slice_is_withheld(slice, maker->allocation->withheld,
                                     maker->allocation->withheld_count)) {
            return mig_error_set(maker->error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                                 "could not allocate %.64s: it is about to be changed, and the "
                                 "kubelet had not heard of it yet",
                                 ids[i]);
        }
        if (slice->fail_above_one && id_count > 1) {
            return mig_error_set(maker->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "request for '%s: %zu' too large: maximum request size for shared "
                                 "resources is 1",
                                 maker->allocation->resource, id_count);
        }
        wanted[slice - table->slices] = true;
    }
    for (uint32_t i = 0; i < table->slice_count; i++) {
        if (wanted[i]) {
            maker->slices[maker->slice_count++] = &table->slices[i];
        }
    }
    return MIG_OK;
}

static int answer_container(struct maker *maker, const Dp__ContainerAllocateRequest *request)
{
    int result = find_slices(maker, request->devices_ids, request->n_devices_ids);

    if (result == MIG_OK && !maker->failed) {
        result = tell(maker);
    }
    if (result == MIG_OK && maker->failed) {
        result = mig_error_set(maker->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                               "could not allocate %zu devices: the answer would be too large",
                               request->n_devices_ids);
    }
    return result;
}

static int answer(const struct mig_dp_allocation *allocation, const Dp__AllocateRequest *request,
                  struct mig_arena *arena, Dp__AllocateResponse *response, struct mig_error *error)
{
    Dp__ContainerAllocateResponse **answers = mig_arena_array(
        arena, request->n_container_requests + 1, sizeof(Dp__ContainerAllocateResponse *));

    for (size_t i = 0; answers && i < request->n_container_requests; i++) {
        struct maker maker = {.allocation = allocation, .arena = arena, .error = error};
        int result;

        maker.response = mig_arena_take(arena, sizeof(*maker.response));
        if (!maker.response) {
            break;
        }
        dp__container_allocate_response__init(maker.response);
        result = answer_container(&maker, request->container_requests[i]);
        if (result < 0) {
            return result;
        }
        answers[i] = maker.response;
        response->n_container_responses = i + 1;
    }
    response->container_responses = answers;
    if (response->n_container_responses < request->n_container_requests) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not allocate devices");
    }
    return MIG_OK;
}

int mig_dp_allocate(const struct mig_dp_allocation *allocation, const void *message, size_t size,
                    void **ret, size_t *ret_size, struct mig_error *error)
{
    ProtobufCMessage *request = NULL;
    Dp__AllocateResponse response = DP__ALLOCATE_RESPONSE__INIT;
    struct mig_arena arena;
    int result =
        mig_protobuf_unpack(&dp__allocate_request__descriptor, message, size, &request, error);

    if (result < 0) {
        return result;
    }
    mig_arena_init(&arena, MEMORY_MAX);
    result = answer(allocation, (const Dp__AllocateRequest *)request, &arena, &response, error);
    if (result == MIG_OK) {
        result = mig_protobuf_pack(&response.base, ret, ret_size, error);
    }
    mig_arena_release(&arena);
    mig_protobuf_free(request);
    return result;
}
