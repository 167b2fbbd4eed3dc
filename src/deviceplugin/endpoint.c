/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One resource towards the kubelet: its socket, its server, its registration.
 *
 *     waiting -> listening -> connecting -> registering -> registered
 *        ^______________ any failure, with backoff ___________|
 *
 * The other way, by the kubelet's plugin watcher: the socket lies in plugins_registry, the kubelet
 * finds it there, asks who it is (GetInfo) and tells what came of it; nothing is connected here.
 *
 * The kubelet calls back on the socket before it answers Register, so the server runs first. Every
 * registration has a server of its own and the one before is closed with its streams: a stream that
 * ends on the present server was ended by the kubelet, which then has to be told again; streams of
 * older servers say nothing. When the kubelet restarts it deletes all sockets of plugins, so a new
 * registration always begins with a new socket.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "device_plugin.pb-c.h"
#include "deviceplugin/plugin_internal.h"
#include "deviceplugin/protobuf.h"
#include "net/grpc.h"
#include "plugin_registration.pb-c.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define VERSION "v1beta1"
#define STREAMS_MAX 8             /* ListAndWatch at once; the kubelet has one */
#define REGISTER_TIMEOUT_MS 15000 /* the kubelet gives its call back 10 s */
#define WATCH_TIMEOUT_MS 15000    /* from Register to ListAndWatch */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 1000 /* a kubelet that comes back is found within a second */
#define LOST_MS 50          /* after the kubelet ended its stream; it may be about to restart */
#define FLUSH_MS 1000       /* for an empty list to arrive before the socket goes */
#define SOCKET_NAME_SIZE 96
#define UNIQUE_SIZE 37

enum state { WAITING = 0, LISTENING, CONNECTING, REGISTERING, REGISTERED, LEAVING };

struct endpoint {
    struct mig_deviceplugin *plugin;
    char resource[MIG_DP_NAME_SIZE];
    enum state state;
    struct request_slot slot;
    struct mig_grpc_server *server;
    struct mig_h2 *kubelet;
    struct mig_grpc_request *streams[STREAMS_MAX];
    size_t stream_count;
    unsigned backoff_ms;
    char told[256]; /* the last failure that was told; the same again is not */
    uv_timer_t timer;
};

static void start(struct endpoint *endpoint);
static void timer_fired(uv_timer_t *timer);

const char *endpoint_resource(const struct endpoint *endpoint)
{
    return endpoint->resource;
}

bool endpoint_is_registered(const struct endpoint *endpoint)
{
    return endpoint->state == REGISTERED && endpoint->stream_count > 0;
}

bool endpoint_is_leaving(const struct endpoint *endpoint)
{
    return endpoint->state == LEAVING;
}

/* "nvidia.com/mig-1g.5gb" -> "nvidia-mig-1g.5gb.sock"; other domains are part of the name. */
static void socket_name(const struct endpoint *endpoint, char buffer[SOCKET_NAME_SIZE])
{
    const char *name = endpoint->resource;

    if (mig_text_starts_with(name, MIG_DP_DOMAIN)) {
        name += strlen(MIG_DP_DOMAIN);
    }
    snprintf(buffer, SOCKET_NAME_SIZE, "nvidia-%s.sock", name);
    for (char *at = buffer; *at; at++) {
        if (*at == '/') {
            *at = '_';
        }
    }
}

/* Ends everything that is under way; no callback of it comes any more. */
static void stop(struct endpoint *endpoint)
{
    uv_timer_stop(&endpoint->timer);
    request_cancel(&endpoint->slot);
    endpoint->stream_count = 0;
    mig_h2_free(MIG_TAKE(endpoint->kubelet));
    mig_grpc_server_free(MIG_TAKE(endpoint->server));
}

static void tell_failure(struct endpoint *endpoint, const char *text)
{
    plugin_stats(endpoint->plugin)->registration_failures++;
    if (strncmp(endpoint->told, text, sizeof(endpoint->told) - 1) != 0) {
        (void)mig_text_copy(endpoint->told, sizeof(endpoint->told), text);
        plugin_event(endpoint->plugin, MIG_DEVICEPLUGIN_REGISTER_FAILED, endpoint->resource, 0,
                     text);
    }
}

static void fail(struct endpoint *endpoint, const char *text)
{
    unsigned delay_ms = endpoint->backoff_ms;

    endpoint->backoff_ms = delay_ms * 2 < BACKOFF_MAX_MS ? delay_ms * 2 : BACKOFF_MAX_MS;
    tell_failure(endpoint, text);
    endpoint_restart(endpoint, delay_ms);
    plugin_registration_failed(endpoint->plugin);
}

/* The kubelet knows the resource. */
static void registered(struct endpoint *endpoint)
{
    endpoint->state = REGISTERED;
    endpoint->told[0] = '\0';
    if (endpoint->stream_count == 0) {
        uv_timer_start(&endpoint->timer, timer_fired, WATCH_TIMEOUT_MS, 0);
    }
    plugin_stats(endpoint->plugin)->registrations++;
    plugin_event(endpoint->plugin, MIG_DEVICEPLUGIN_REGISTERED, endpoint->resource, 0, "");
}

/* ---- the server ---- */

static void refuse(struct endpoint *endpoint, struct mig_grpc_request *request, int result,
                   const struct mig_error *error)
{
    plugin_event(endpoint->plugin, MIG_DEVICEPLUGIN_REFUSED, endpoint->resource, 0, error->message);
    mig_grpc_finish(request, result == MIG_E_USAGE ? MIG_GRPC_INVALID_ARGUMENT : MIG_GRPC_INTERNAL,
                    error->message);
}

/* Sends one message and ends the call. */
static void reply(struct endpoint *endpoint, struct mig_grpc_request *request, const void *message,
                  size_t size)
{
    struct mig_error error = {0};
    int result = mig_grpc_send(request, message, size, &error);

    if (result < 0) {
        refuse(endpoint, request, result, &error);
    } else {
        mig_grpc_finish(request, MIG_GRPC_OK, NULL);
    }
}

static void on_options(struct mig_grpc_request *request, const void *message, size_t size,
                       void *data)
{
    Dp__DevicePluginOptions options = DP__DEVICE_PLUGIN_OPTIONS__INIT;
    uint8_t bytes[16];

    (void)message;
    (void)size;
    options.get_preferred_allocation_available = true;
    reply(data, request, bytes, dp__device_plugin_options__pack(&options, bytes));
}

static void on_pre_start(struct mig_grpc_request *request, const void *message, size_t size,
                         void *data)
{
    (void)message;
    (void)size;
    reply(data, request, "", 0);
}

static int send_list(struct endpoint *endpoint, struct mig_grpc_request *request, bool empty,
                     struct mig_error *error)
{
    struct mig_dp_allocation allocation = plugin_allocation(endpoint->plugin, endpoint->resource);
    MIG_AUTO_FREE void *message = NULL;
    size_t size;
    int result;

    if (empty) {
        return mig_grpc_send(request, "", 0, error);
    }
    result = mig_dp_list(allocation.table, endpoint->resource, &message, &size, error);
    return result < 0 ? result : mig_grpc_send(request, message, size, error);
}

static uint32_t device_count(const struct endpoint *endpoint)
{
    struct mig_dp_allocation allocation = plugin_allocation(endpoint->plugin, endpoint->resource);
    const struct mig_dp_resource *resource =
        mig_dp_table_find(allocation.table, endpoint->resource);
    uint32_t count = 0;

    for (uint32_t i = 0; resource && i < resource->count; i++) {
        count += mig_dp_slice_devices(&allocation.table->slices[resource->first + i]);
    }
    return count;
}

static void told_list(struct endpoint *endpoint)
{
    plugin_stats(endpoint->plugin)->lists++;
    plugin_event(endpoint->plugin, MIG_DEVICEPLUGIN_LISTED, endpoint->resource,
                 device_count(endpoint), "");
}

static void on_watch(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct endpoint *endpoint = data;
    struct mig_error error = {0};
    int result;

    (void)message;
    (void)size;
    if (endpoint->stream_count >= STREAMS_MAX) {
        mig_grpc_finish(request, MIG_GRPC_RESOURCE_EXHAUSTED, "too many streams");
        return;
    }
    result = send_list(endpoint, request, endpoint->state == LEAVING, &error);
    if (result < 0) {
        refuse(endpoint, request, result, &error);
        return;
    }
    endpoint->streams[endpoint->stream_count++] = request;
    if (endpoint->state == REGISTERED) {
        uv_timer_stop(&endpoint->timer);
    }
    endpoint->backoff_ms = BACKOFF_FIRST_MS;
    told_list(endpoint);
}

/* A random name, in the form of a UUID. */
static void make_unique(char buffer[UNIQUE_SIZE])
{
    uint8_t bytes[16] = {0};
    char *at = buffer;

    (void)uv_random(NULL, NULL, bytes, sizeof(bytes), 0, NULL);
    bytes[6] = (uint8_t)(0x40 | (bytes[6] & 0x0f));
    bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        at += snprintf(at, (size_t)(buffer + UNIQUE_SIZE - at), "%s%02x",
                       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
    }
}

static void on_allocate(struct mig_grpc_request *request, const void *message, size_t size,
                        void *data)
{
    struct endpoint *endpoint = data;
    struct mig_dp_allocation allocation = plugin_allocation(endpoint->plugin, endpoint->resource);
    MIG_AUTO_FREE void *response = NULL;
    struct mig_error error = {0};
    char unique[UNIQUE_SIZE];
    size_t response_size;
    int result;

    make_unique(unique);
    allocation.unique = unique;
    result = mig_dp_allocate(&allocation, message, size, &response, &response_size, &error);
    if (result < 0) {
        plugin_stats(endpoint->plugin)->allocation_failures++;
        refuse(endpoint, request, result, &error);
        return;
    }
    reply(endpoint, request, response, response_size);
    plugin_allocated(endpoint->plugin, &allocation, message, size);
}

static void on_preferred(struct mig_grpc_request *request, const void *message, size_t size,
                         void *data)
{
    struct endpoint *endpoint = data;
    struct mig_dp_allocation allocation = plugin_allocation(endpoint->plugin, endpoint->resource);
    MIG_AUTO_FREE void *response = NULL;
    struct mig_error error = {0};
    size_t response_size;
    int result = mig_dp_preferred(&allocation, message, size, &response, &response_size, &error);

    if (result < 0) {
        refuse(endpoint, request, result, &error);
        return;
    }
    plugin_stats(endpoint->plugin)->preferences++;
    reply(endpoint, request, response, response_size);
}

/* ---- the plugin watcher ---- */

static bool is_by_registry(const struct endpoint *endpoint)
{
    return plugin_options(endpoint->plugin)->by_registry;
}

static void on_info(struct mig_grpc_request *request, const void *message, size_t size, void *data)
{
    struct endpoint *endpoint = data;
    Pr__PluginInfo info;
    MIG_AUTO_FREE void *answer = NULL;
    struct mig_error error = {0};
    char *version = mig_protobuf_text(VERSION);
    size_t answer_size;
    int result;

    (void)message;
    (void)size;
    pr__plugin_info__init(&info);
    info.type = mig_protobuf_text("DevicePlugin");
    info.name = endpoint->resource;
    info.supported_versions = &version;
    info.n_supported_versions = 1;
    result = mig_protobuf_pack(&info.base, &answer, &answer_size, &error);
    if (result < 0) {
        refuse(endpoint, request, result, &error);
    } else {
        reply(endpoint, request, answer, answer_size);
    }
}

/* One that was refused stays: the kubelet asks again for as long as the socket is there. */
static void on_status(struct mig_grpc_request *request, const void *message, size_t size,
                      void *data)
{
    struct endpoint *endpoint = data;
    ProtobufCMessage *unpacked = NULL;
    const Pr__RegistrationStatus *status;
    struct mig_error error = {0};
    int result =
        mig_protobuf_unpack(&pr__registration_status__descriptor, message, size, &unpacked, &error);

    if (result < 0) {
        refuse(endpoint, request, result, &error);
        return;
    }
    status = (const Pr__RegistrationStatus *)unpacked;
    if (!is_by_registry(endpoint) || endpoint->state == LEAVING) {
        mig_error_clear(&error);
    } else if (status->plugin_registered) {
        registered(endpoint);
    } else {
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "the kubelet does not register %s: %.256s", endpoint->resource,
                      status->error);
        tell_failure(endpoint, error.message);
    }
    mig_protobuf_free(unpacked);
    reply(endpoint, request, "", 0);
}

static const struct mig_grpc_method methods[] = {
    {"/pluginregistration.Registration/GetInfo", on_info},
    {"/pluginregistration.Registration/NotifyRegistrationStatus", on_status},
    {"/v1beta1.DevicePlugin/GetDevicePluginOptions", on_options},
    {"/v1beta1.DevicePlugin/ListAndWatch", on_watch},
    {"/v1beta1.DevicePlugin/GetPreferredAllocation", on_preferred},
    {"/v1beta1.DevicePlugin/Allocate", on_allocate},
    {"/v1beta1.DevicePlugin/PreStartContainer", on_pre_start},
};

static void drop_stream(struct endpoint *endpoint, size_t index)
{
    endpoint->streams[index] = endpoint->streams[--endpoint->stream_count];
}

/* Only ListAndWatch stays open; when the last goes, the kubelet has forgotten this registration. */
static void on_cancelled(struct mig_grpc_request *request, void *data)
{
    struct endpoint *endpoint = data;

    for (size_t i = 0; i < endpoint->stream_count; i++) {
        if (endpoint->streams[i] != request) {
            continue;
        }
        drop_stream(endpoint, i);
        if (endpoint->stream_count == 0 && endpoint->state == REGISTERED) {
            endpoint_restart(endpoint, LOST_MS);
        }
        return;
    }
}

void endpoint_list(struct endpoint *endpoint)
{
    bool told = false;

    for (size_t i = endpoint->stream_count; i-- > 0;) {
        struct mig_grpc_request *request = endpoint->streams[i];
        struct mig_error error = {0};

        if (send_list(endpoint, request, endpoint->state == LEAVING, &error) < 0) {
            drop_stream(endpoint, i);
            refuse(endpoint, request, MIG_E_FAILED, &error);
            if (endpoint->stream_count == 0 && endpoint->state == REGISTERED) {
                endpoint_restart(endpoint, LOST_MS);
            }
        } else {
            told = true;
        }
    }
    if (told) {
        told_list(endpoint);
    }
}

/* ---- registration ---- */

static void register_done(struct mig_grpc_call *call, int status, const char *text, void *data)
{
    struct endpoint *endpoint = data;
    struct mig_error error = {0};

    (void)call;
    if (endpoint->state != REGISTERING) {
        return; /* stopped meanwhile */
    }
    if (status != MIG_GRPC_OK) {
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "could not register %s with the kubelet: %s: %s", endpoint->resource,
                      mig_grpc_status_name(status), text ? text : "");
        fail(endpoint, error.message);
        return;
    }
    mig_h2_free(MIG_TAKE(endpoint->kubelet));
    registered(endpoint);
}

static int call_register(struct endpoint *endpoint, struct mig_error *error)
{
    Dp__DevicePluginOptions options = DP__DEVICE_PLUGIN_OPTIONS__INIT;
    Dp__RegisterRequest request;
    MIG_AUTO_FREE void *message = NULL;
    char name[SOCKET_NAME_SIZE];
    struct mig_grpc_call_options call = {.path = "/v1beta1.Registration/Register",
                                         .timeout_ms = REGISTER_TIMEOUT_MS,
                                         .done = register_done,
                                         .data = endpoint};
    struct mig_grpc_call *started;
    int result;

    dp__register_request__init(&request);
    socket_name(endpoint, name);
    options.get_preferred_allocation_available = true;
    request.version = mig_protobuf_text(VERSION);
    request.endpoint = name;
    request.resource_name = endpoint->resource;
    request.options = &options;
    result = mig_protobuf_pack(&request.base, &message, &call.message_size, error);
    call.message = message;
    return result < 0 ? result : mig_grpc_call(endpoint->kubelet, &call, &started, error);
}

static void kubelet_opened(int fd, const struct mig_error *error, void *data)
{
    struct endpoint *endpoint = data;
    struct mig_h2_connect_options options = {.fd = fd};
    struct mig_error own = {0};
    int result;

    if (error) {
        fail(endpoint, error->message);
        return;
    }
    result = mig_h2_connect(plugin_loop(endpoint->plugin), &options, &endpoint->kubelet, &own);
    if (result < 0) {
        close(fd);
    } else {
        endpoint->state = REGISTERING;
        result = call_register(endpoint, &own);
    }
    if (result < 0) {
        fail(endpoint, own.message);
    }
}

static void listen_opened(int fd, const struct mig_error *error, void *data)
{
    struct endpoint *endpoint = data;
    struct mig_grpc_server_options options = {.listen_fd = fd,
                                              .methods = methods,
                                              .method_count = MIG_ARRAY_SIZE(methods),
                                              .cancelled = on_cancelled,
                                              .data = endpoint};
    struct mig_error own = {0};

    if (error) {
        fail(endpoint, error->message);
        return;
    }
    if (mig_grpc_serve(plugin_loop(endpoint->plugin), &options, &endpoint->server, &own) < 0) {
        close(fd);
        fail(endpoint, own.message);
        return;
    }
    if (!plugin_options(endpoint->plugin)->config->kubelet_socket[0]) {
        endpoint->state = REGISTERED; /* served, but nobody is told */
        return;
    }
    if (is_by_registry(endpoint)) {
        endpoint->state = REGISTERING; /* the kubelet comes when it sees the socket */
        return;
    }
    endpoint->state = CONNECTING;
    if (request_socket(endpoint->plugin, &endpoint->slot, MIG_DEVICEPLUGIN_KUBELET, "",
                       kubelet_opened, endpoint, &own) < 0) {
        fail(endpoint, own.message);
    }
}

static void start(struct endpoint *endpoint)
{
    char name[SOCKET_NAME_SIZE];
    struct mig_error error = {0};

    socket_name(endpoint, name);
    endpoint->state = LISTENING;
    if (request_socket(endpoint->plugin, &endpoint->slot,
                       is_by_registry(endpoint) ? MIG_DEVICEPLUGIN_REGISTRY_LISTEN
                                                : MIG_DEVICEPLUGIN_LISTEN,
                       name, listen_opened, endpoint, &error) < 0) {
        fail(endpoint, error.message);
    }
}

static void removed(int fd, const struct mig_error *error, void *data)
{
    (void)error;
    (void)data;
    if (fd >= 0) {
        close(fd);
    }
}

/* The kubelet watches for what is in plugins_registry; in device-plugins it does not look. Nobody
 * waits for the answer. */
static void remove_socket(struct endpoint *endpoint)
{
    struct request_slot slot = {NULL};
    char name[SOCKET_NAME_SIZE];
    struct mig_error error;

    if (is_by_registry(endpoint)) {
        socket_name(endpoint, name);
        (void)request_socket(endpoint->plugin, &slot, MIG_DEVICEPLUGIN_REGISTRY_REMOVE, name,
                             removed, NULL, &error);
        request_cancel(&slot);
    }
}

/* Stopped here and not when it was asked for: that may be from within one of its callbacks. */
static void timer_fired(uv_timer_t *timer)
{
    struct endpoint *endpoint = timer->data;

    if (endpoint->state == LEAVING) {
        remove_socket(endpoint);
        plugin_endpoint_gone(endpoint->plugin, endpoint);
    } else if (endpoint->state == REGISTERED && endpoint->stream_count == 0) {
        fail(endpoint, "the kubelet has registered the resource, but does not ask for its devices");
    } else {
        stop(endpoint);
        start(endpoint);
    }
}

void endpoint_restart(struct endpoint *endpoint, unsigned delay_ms)
{
    endpoint->state = WAITING;
    uv_timer_start(&endpoint->timer, timer_fired, delay_ms, 0);
}

struct endpoint *endpoint_new(struct mig_deviceplugin *plugin, const char *resource)
{
    struct endpoint *endpoint = calloc(1, sizeof(*endpoint));

    if (!endpoint) {
        return NULL;
    }
    endpoint->plugin = plugin;
    endpoint->backoff_ms = BACKOFF_FIRST_MS;
    mig_text_copy(endpoint->resource, sizeof(endpoint->resource), resource);
    uv_timer_init(plugin_loop(plugin), &endpoint->timer);
    endpoint->timer.data = endpoint;
    endpoint_restart(endpoint, 0);
    return endpoint;
}

void endpoint_leave(struct endpoint *endpoint)
{
    bool told = endpoint->stream_count > 0;

    request_cancel(&endpoint->slot);
    endpoint->state = LEAVING;
    endpoint_list(endpoint);
    while (endpoint->stream_count > 0) {
        struct mig_grpc_request *request = endpoint->streams[endpoint->stream_count - 1];

        drop_stream(endpoint, endpoint->stream_count - 1);
        mig_grpc_finish(request, MIG_GRPC_OK, NULL);
    }
    uv_timer_start(&endpoint->timer, timer_fired, told ? FLUSH_MS : 0, 0);
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void endpoint_free(struct endpoint *endpoint)
{
    endpoint->state = WAITING; /* so that what is ended here starts nothing */
    stop(endpoint);
    uv_close((uv_handle_t *)&endpoint->timer, timer_closed);
}
