/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the kubelet's list of pods, and the limits of that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "deviceplugin/pod_resources.h"
#include "deviceplugin/protobuf.h"
#include "pod_resources.pb-c.h"
#include <string.h>

#define UUID "MIG-11111111-2222-5333-8444-555555555555"

struct bytes {
    void *data;
    size_t size;
};

/* Two pods: one holds a replica and a slice, the other nothing. */
static struct bytes sample(void)
{
    char first_id[] = UUID "::1", a_id[] = "MIG-a", b_id[] = "MIG-b";
    char *shared[] = {first_id}, *slices[] = {a_id, b_id};
    Pr__ContainerDevices gpu, mig;
    Pr__ContainerDevices *devices[] = {&gpu, &mig};
    Pr__ContainerResources busy, idle;
    Pr__ContainerResources *first[] = {&busy}, *second[] = {&idle};
    Pr__PodResources a, b;
    Pr__PodResources *pods[] = {&b, &a};
    Pr__ListResponse response = PR__LIST_RESPONSE__INIT;
    struct bytes bytes;

    pr__container_devices__init(&gpu);
    pr__container_devices__init(&mig);
    pr__container_resources__init(&busy);
    pr__container_resources__init(&idle);
    pr__pod_resources__init(&a);
    pr__pod_resources__init(&b);
    gpu.resource_name = mig_protobuf_text("nvidia.com/gpu.shared");
    gpu.device_ids = shared;
    gpu.n_device_ids = 1;
    mig.resource_name = mig_protobuf_text("nvidia.com/mig-1g.5gb");
    mig.device_ids = slices;
    mig.n_device_ids = 2;
    busy.name = mig_protobuf_text("main");
    busy.devices = devices;
    busy.n_devices = 2;
    a.name = mig_protobuf_text("train-0");
    a.namespace_ = mig_protobuf_text("ml");
    a.containers = first;
    a.n_containers = 1;
    b.name = mig_protobuf_text("web");
    b.containers = second;
    b.n_containers = 1;
    response.pod_resources = pods;
    response.n_pod_resources = 2;
    assert_int_equal(mig_protobuf_pack(&response.base, &bytes.data, &bytes.size, NULL), MIG_OK);
    return bytes;
}

static void M4_list_of_devices(void **state)
{
    MIG_AUTO_FREE void *data = NULL;
    struct mig_pod_devices *devices = NULL;
    struct bytes bytes = sample();

    (void)state;
    data = bytes.data;
    assert_int_equal(mig_pod_devices_parse(bytes.data, bytes.size, &devices, NULL), MIG_OK);
    assert_int_equal(devices->count, 3);
    assert_string_equal(devices->items[0].namespace_name, "ml");
    assert_string_equal(devices->items[0].pod, "train-0");
    assert_string_equal(devices->items[0].container, "main");
    assert_string_equal(devices->items[0].resource, "nvidia.com/gpu.shared");
    assert_string_equal(devices->items[0].device, UUID "::1");
    assert_string_equal(devices->items[2].resource, "nvidia.com/mig-1g.5gb");
    assert_string_equal(devices->items[2].device, "MIG-b");
    assert_ptr_equal(mig_pod_devices_find(devices, UUID), &devices->items[0]);
    assert_ptr_equal(mig_pod_devices_find(devices, "MIG-a"), &devices->items[1]);
    assert_null(mig_pod_devices_find(devices, "MIG-c"));
    assert_null(mig_pod_devices_find(devices, ""));
    mig_pod_devices_free(devices);
}

static void replicas_are_their_device(void **state)
{
    (void)state;
    assert_true(mig_pod_device_is(UUID, UUID));
    assert_true(mig_pod_device_is(UUID "::12", UUID));
    assert_false(mig_pod_device_is(UUID "6", UUID));
    assert_false(mig_pod_device_is(UUID ":", UUID));
    assert_false(mig_pod_device_is("", ""));
}

static void get_answers_one_pod_or_none(void **state)
{
    struct mig_pod_devices *devices = NULL;

    (void)state;
    assert_int_equal(mig_pod_devices_parse_get("", 0, &devices, NULL), MIG_OK);
    assert_int_equal(devices->count, 0);
    mig_pod_devices_free(devices);
}

static void cut_messages_are_refused(void **state)
{
    MIG_AUTO_FREE void *data = NULL;
    struct bytes bytes = sample();
    unsigned refused = 0;

    (void)state;
    data = bytes.data;
    for (size_t size = 0; size < bytes.size; size++) {
        struct mig_pod_devices *devices = NULL;
        struct mig_error error = {0};

        if (mig_pod_devices_parse(bytes.data, size, &devices, &error) < 0) {
            assert_null(devices);
            assert_true(error.message[0]);
            refused++;
        }
        mig_pod_devices_free(devices);
    }
    assert_true(refused > bytes.size / 2);
}

/* Two bytes each on the wire, but a structure each in memory. */
static void memory_of_a_message_is_limited(void **state)
{
    size_t size = 2u << 20;
    MIG_AUTO_FREE char *data = malloc(size);
    struct mig_pod_devices *devices = NULL;
    struct mig_error error = {0};

    (void)state;
    assert_non_null(data);
    for (size_t i = 0; i < size; i += 2) {
        data[i] = 0x0a;
        data[i + 1] = 0;
    }
    assert_int_equal(mig_pod_devices_parse(data, size, &devices, &error), MIG_E_FAILED);
    assert_non_null(strstr(error.message, "too much memory"));
}

/* One container with far more devices than any node has. */
static void number_of_devices_is_limited(void **state)
{
    size_t count = MIG_POD_DEVICES_MAX + 1;
    MIG_AUTO_FREE char **ids = calloc(count, sizeof(*ids));
    MIG_AUTO_FREE void *data = NULL;
    Pr__ContainerDevices gpu, *list[] = {&gpu};
    Pr__ContainerResources container, *containers[] = {&container};
    Pr__PodResources pod;
    Pr__GetResponse response = PR__GET_RESPONSE__INIT;
    struct mig_pod_devices *devices = NULL;
    struct mig_error error = {0};
    char name[] = "d";
    size_t size;

    (void)state;
    assert_non_null(ids);
    pr__container_devices__init(&gpu);
    pr__container_resources__init(&container);
    pr__pod_resources__init(&pod);
    for (size_t i = 0; i < count; i++) {
        ids[i] = name;
    }
    gpu.device_ids = ids;
    gpu.n_device_ids = count;
    container.devices = list;
    container.n_devices = 1;
    pod.containers = containers;
    pod.n_containers = 1;
    response.pod_resources = &pod;
    assert_int_equal(mig_protobuf_pack(&response.base, &data, &size, NULL), MIG_OK);
    assert_int_equal(mig_pod_devices_parse_get(data, size, &devices, &error), MIG_E_FAILED);
    assert_non_null(strstr(error.message, "at most 16384"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(M4_list_of_devices),
        cmocka_unit_test(replicas_are_their_device),
        cmocka_unit_test(get_answers_one_pod_or_none),
        cmocka_unit_test(cut_messages_are_refused),
        cmocka_unit_test(memory_of_a_message_is_limited),
        cmocka_unit_test(number_of_devices_is_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
