/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One question to the kubelet: a connection for it alone, one call, the answer.
 *
 * The connection is freed with the call: questions are rare, and a kubelet that restarts would
 * leave a kept one dead.
 */
#include "base/cleanup.h"
#include "deviceplugin/pod_resources.h"
#include "deviceplugin/protobuf.h"
#include "net/grpc.h"
#include "pod_resources.pb-c.h"
#include <errno.h>
#include <stdlib.h>

struct mig_pod_resources_call {
    struct mig_pod_resources_options options;
    struct mig_h2 *h2;
    struct mig_pod_devices *devices;
    struct mig_error error; /* of the answer that could not be read */
    bool answered;
};

static void message_received(struct mig_grpc_call *grpc, const void *message, size_t size,
                             void *data)
{
    struct mig_pod_resources_call *call = data;

    (void)grpc;
    if (call->answered) {
        return;
    }
    call->answered = true;
    if (call->options.pod) {
        mig_pod_devices_parse_get(message, size, &call->devices, &call->error);
    } else {
        mig_pod_devices_parse(message, size, &call->devices, &call->error);
    }
}

static void call_done(struct mig_grpc_call *grpc, int status, const char *text, void *data)
{
    struct mig_pod_resources_call *call = data;
    struct mig_pod_devices *devices = MIG_TAKE(call->devices);

    (void)grpc;
    if (!call->options.done) {
        return; /* cancelled */
    }
    if (status != MIG_GRPC_OK) {
        mig_pod_devices_free(devices);
        devices = NULL;
        mig_error_set(&call->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "could not ask the kubelet who holds which device: %s%s%s",
                      mig_grpc_status_name(status), text && text[0] ? ": " : "", text ? text : "");
    } else if (!call->answered) {
        mig_error_set(&call->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "the kubelet gave no answer on who holds which device");
    }
    call->options.done(devices, devices ? NULL : &call->error, call->options.data);
    call->options.done = NULL;
    mig_pod_resources_cancel(call);
}

static int ask(struct mig_pod_resources_call *call, struct mig_error *error)
{
    Pr__ListRequest list = PR__LIST_REQUEST__INIT;
    Pr__GetRequest get;
    MIG_AUTO_FREE void *message = NULL;
    struct mig_grpc_call_options options = {
        .path = call->options.pod ? "/v1.PodResourcesLister/Get" : "/v1.PodResourcesLister/List",
        .timeout_ms =
            call->options.timeout_ms ? call->options.timeout_ms : MIG_POD_RESOURCES_TIMEOUT,
        .message_received = message_received,
        .done = call_done,
        .data = call,
    };
    struct mig_grpc_call *grpc;
    int result;

    pr__get_request__init(&get);
    get.pod_name = mig_protobuf_text(call->options.pod ? call->options.pod : "");
    get.pod_namespace =
        mig_protobuf_text(call->options.namespace_name ? call->options.namespace_name : "");
    result = mig_protobuf_pack(call->options.pod ? &get.base : &list.base, &message,
                               &options.message_size, error);
    options.message = message;
    return result < 0 ? result : mig_grpc_call(call->h2, &options, &grpc, error);
}

int mig_pod_resources_ask(uv_loop_t *loop, const struct mig_pod_resources_options *options,
                          struct mig_pod_resources_call **ret, struct mig_error *error)
{
    struct mig_pod_resources_call *call = calloc(1, sizeof(*call));
    struct mig_h2_connect_options connect = {.fd = options->fd};
    int result;

    if (!call) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not ask the kubelet");
    }
    call->options = *options;
    result = mig_h2_connect(loop, &connect, &call->h2, error);
    if (result < 0) {
        free(call);
        return result;
    }
    result = ask(call, error);
    call->options.namespace_name = NULL; /* borrowed; only whether there was a pod counts now */
    if (result < 0) {
        call->options.done = NULL;
        mig_pod_resources_cancel(call);
        return result;
    }
    *ret = call;
    return MIG_OK;
}

void mig_pod_resources_cancel(struct mig_pod_resources_call *call)
{
    if (call) {
        call->options.done = NULL;
        mig_h2_free(MIG_TAKE(call->h2));
        mig_pod_devices_free(call->devices);
        free(call);
    }
}
