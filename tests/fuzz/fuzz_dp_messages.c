/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kubelet may send to the device plugin, and what it answers about pods. The first byte
 * says which message. Whatever the bytes are: an answer that is such a message again, or an error
 * with a reason; the preferred allocation never has more devices than were asked for.
 */
#include "device_plugin.pb-c.h"
#include "deviceplugin/allocate.h"
#include "deviceplugin/pod_resources.h"
#include "deviceplugin/protobuf.h"
#include "fuzz.h"
#include <mig/node.h>

#define GPUS 2

/* Two GPUs, each shared by four. */
static struct mig_dp_table *make_table(const struct mig_dp_config *config)
{
    static struct mig_gpu gpus[GPUS];
    static const struct mig_node node = {.gpu_count = GPUS, .gpus = gpus};
    struct mig_dp_table *table = NULL;

    for (uint32_t i = 0; i < GPUS; i++) {
        gpus[i].index = i;
        gpus[i].minor = (int32_t)i;
        snprintf(gpus[i].uuid, sizeof(gpus[i].uuid), "GPU-%u", i);
    }
    FUZZ_CHECK(mig_dp_table_make(&node, config, &table, NULL) == MIG_OK);
    return table;
}

static struct mig_dp_config *make_config(void)
{
    static const char text[] = "{flags: {plugin: {passDeviceSpecs: true, deviceListStrategy: "
                               "[envvar, volume-mounts, cdi-annotations, cdi-cri]}}, "
                               "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 4}]}}}";
    struct mig_dp_sources sources = {.file_name = "file", .text = text, .size = sizeof(text) - 1};
    struct mig_dp_config *config = NULL;

    FUZZ_CHECK(mig_dp_config_make(&sources, &config, NULL) == MIG_OK);
    return config;
}

static void check_answer(const ProtobufCMessageDescriptor *descriptor, int result, void *answer,
                         size_t size, const struct mig_error *error)
{
    ProtobufCMessage *unpacked = NULL;

    if (result < 0) {
        FUZZ_CHECK(error->message[0]);
        return;
    }
    FUZZ_CHECK(mig_protobuf_unpack(descriptor, answer, size, &unpacked, NULL) == MIG_OK);
    mig_protobuf_free(unpacked);
    free(answer);
}

static void check_preferred(const void *bytes, size_t size, const void *answer, size_t answer_size)
{
    ProtobufCMessage *asked = NULL, *got = NULL;

    FUZZ_CHECK(mig_protobuf_unpack(&dp__preferred_allocation_request__descriptor, bytes, size,
                                   &asked, NULL) == MIG_OK);
    FUZZ_CHECK(mig_protobuf_unpack(&dp__preferred_allocation_response__descriptor, answer,
                                   answer_size, &got, NULL) == MIG_OK);
    for (size_t i = 0; i < ((Dp__PreferredAllocationResponse *)got)->n_container_responses; i++) {
        const Dp__ContainerPreferredAllocationRequest *request =
            ((Dp__PreferredAllocationRequest *)asked)->container_requests[i];

        FUZZ_CHECK(((Dp__PreferredAllocationResponse *)got)->container_responses[i]->n_device_ids <=
                   (request->allocation_size > 0 ? (size_t)request->allocation_size : 0));
    }
    mig_protobuf_free(asked);
    mig_protobuf_free(got);
}

static void try_kubelet(uint8_t which, const void *bytes, size_t size)
{
    static const struct mig_dp_host host = {"/nowhere", "/nowhere", "/nowhere", "/nowhere"};
    static struct mig_dp_config *config;
    static struct mig_dp_table *table;
    struct mig_error error = {0};
    void *answer = NULL;
    size_t answer_size = 0;
    int result;

    if (!table) {
        config = make_config();
        table = make_table(config);
    }
    struct mig_dp_allocation allocation = {.config = config,
                                           .host = &host,
                                           .table = table,
                                           .resource = "nvidia.com/gpu",
                                           .unique = "0"};

    if (which == 0) {
        result = mig_dp_allocate(&allocation, bytes, size, &answer, &answer_size, &error);
        check_answer(&dp__allocate_response__descriptor, result, answer, answer_size, &error);
        return;
    }
    result = mig_dp_preferred(&allocation, bytes, size, &answer, &answer_size, &error);
    if (result == MIG_OK) {
        check_preferred(bytes, size, answer, answer_size);
    }
    check_answer(&dp__preferred_allocation_response__descriptor, result, answer, answer_size,
                 &error);
}

static void try_pods(uint8_t which, const void *bytes, size_t size)
{
    struct mig_pod_devices *devices = NULL;
    struct mig_error error = {0};
    int result = which == 2 ? mig_pod_devices_parse(bytes, size, &devices, &error)
                            : mig_pod_devices_parse_get(bytes, size, &devices, &error);

    if (result < 0) {
        FUZZ_CHECK(error.message[0]);
        return;
    }
    for (size_t i = 0; i < devices->count; i++) {
        const struct mig_pod_device *device = &devices->items[i];

        FUZZ_CHECK(device->namespace_name && device->pod && device->container);
        FUZZ_CHECK(!device->device[0] || mig_pod_devices_find(devices, device->device));
    }
    mig_pod_devices_free(devices);
}

static void try_registration(uint8_t which, const void *bytes, size_t size)
{
    const ProtobufCMessageDescriptor *const descriptors[] = {
        &dp__register_request__descriptor, &dp__device_plugin_options__descriptor,
        &dp__list_and_watch_response__descriptor, &dp__pre_start_container_request__descriptor};
    ProtobufCMessage *unpacked = NULL;
    void *packed = NULL;
    size_t packed_size;

    if (mig_protobuf_unpack(descriptors[which % 4], bytes, size, &unpacked, NULL) == MIG_OK) {
        FUZZ_CHECK(mig_protobuf_pack(unpacked, &packed, &packed_size, NULL) == MIG_OK);
        mig_protobuf_free(unpacked);
        free(packed);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t which = size > 0 ? data[0] % 8 : 0;
    const void *bytes = size > 0 ? data + 1 : data;

    size -= size > 0;
    if (which < 2) {
        try_kubelet(which, bytes, size);
    } else if (which < 4) {
        try_pods(which, bytes, size);
    } else {
        try_registration(which, bytes, size);
    }
    return 0;
}
