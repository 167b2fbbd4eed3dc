/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kubelet's answer about pods, put into one block of memory: the list, then all texts. A text
 * that several entries share (pod, container, resource) is kept once.
 */
#include "deviceplugin/pod_resources.h"
#include "base/cleanup.h"
#include "deviceplugin/protobuf.h"
#include "pod_resources.pb-c.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What is needed for a list, and where it is written. */
struct writer {
    size_t count, bytes;
    struct mig_pod_device *items; /* NULL: only counted */
    char *text;
};

static const char *put_text(struct writer *writer, const char *text)
{
    size_t size = strlen(text) + 1;
    char *at = writer->text ? writer->text + writer->bytes : NULL;

    writer->bytes += size;
    return at ? memcpy(at, text, size) : NULL;
}

static void put_container(struct writer *writer, const Pr__ContainerResources *container,
                          const char *namespace_name, const char *pod)
{
    const char *name = put_text(writer, container->name);

    for (size_t i = 0; i < container->n_devices; i++) {
        const Pr__ContainerDevices *devices = container->devices[i];
        const char *resource = put_text(writer, devices->resource_name);

        for (size_t j = 0; j < devices->n_device_ids; j++) {
            const char *device = put_text(writer, devices->device_ids[j]);

            if (writer->items) {
                writer->items[writer->count] =
                    (struct mig_pod_device){namespace_name, pod, name, resource, device};
            }
            writer->count++;
        }
    }
}

/* Pods that hold nothing leave nothing behind. */
static void put_pod(struct writer *writer, const Pr__PodResources *pod)
{
    size_t devices = 0;
    const char *namespace_name, *name;

    for (size_t i = 0; i < pod->n_containers; i++) {
        devices += pod->containers[i]->n_devices;
    }
    if (devices == 0) {
        return;
    }
    namespace_name = put_text(writer, pod->namespace_);
    name = put_text(writer, pod->name);
    for (size_t i = 0; i < pod->n_containers; i++) {
        put_container(writer, pod->containers[i], namespace_name, name);
    }
}

static int make_list(Pr__PodResources *const *pods, size_t pod_count, struct mig_pod_devices **ret,
                     struct mig_error *error)
{
    struct writer need = {0}, writer = {0};
    struct mig_pod_devices *devices;

    for (size_t i = 0; i < pod_count; i++) {
        put_pod(&need, pods[i]);
    }
    if (need.count > MIG_POD_DEVICES_MAX) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not take the kubelet's list of pods: %zu devices, at most %u",
                             need.count, MIG_POD_DEVICES_MAX);
    }
    devices = malloc(sizeof(*devices) + need.count * sizeof(*devices->items) + need.bytes);
    if (!devices) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not take the kubelet's list of pods");
    }
    devices->items = (struct mig_pod_device *)(devices + 1);
    writer.items = devices->items;
    writer.text = (char *)(devices->items + need.count);
    for (size_t i = 0; i < pod_count; i++) {
        put_pod(&writer, pods[i]);
    }
    devices->count = writer.count;
    *ret = devices;
    return MIG_OK;
}

int mig_pod_devices_parse(const void *message, size_t size, struct mig_pod_devices **ret,
                          struct mig_error *error)
{
    ProtobufCMessage *unpacked = NULL;
    const Pr__ListResponse *response;
    int result =
        mig_protobuf_unpack(&pr__list_response__descriptor, message, size, &unpacked, error);

    if (result < 0) {
        return result;
    }
    response = (const Pr__ListResponse *)unpacked;
    result = make_list(response->pod_resources, response->n_pod_resources, ret, error);
    mig_protobuf_free(unpacked);
    return result;
}

int mig_pod_devices_parse_get(const void *message, size_t size, struct mig_pod_devices **ret,
                              struct mig_error *error)
{
    ProtobufCMessage *unpacked = NULL;
    const Pr__GetResponse *response;
    int result =
        mig_protobuf_unpack(&pr__get_response__descriptor, message, size, &unpacked, error);

    if (result < 0) {
        return result;
    }
    response = (const Pr__GetResponse *)unpacked;
    result = make_list(&response->pod_resources, response->pod_resources ? 1 : 0, ret, error);
    mig_protobuf_free(unpacked);
    return result;
}

void mig_pod_devices_free(struct mig_pod_devices *devices)
{
    free(devices);
}

bool mig_pod_device_is(const char *device, const char *uuid)
{
    size_t length = strlen(uuid);

    return length > 0 && strncmp(device, uuid, length) == 0 &&
           (device[length] == '\0' || strncmp(device + length, "::", 2) == 0);
}

const struct mig_pod_device *mig_pod_devices_find(const struct mig_pod_devices *devices,
                                                  const char *uuid)
{
    for (size_t i = 0; i < devices->count; i++) {
        if (mig_pod_device_is(devices->items[i].device, uuid)) {
            return &devices->items[i];
        }
    }
    return NULL;
}
