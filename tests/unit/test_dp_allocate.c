/* SPDX-License-Identifier: Apache-2.0 */
/* What a container gets, in each list strategy; device nodes and the CDI files behind the names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "device_plugin.pb-c.h"
#include "deviceplugin/allocate.h"
#include "deviceplugin/cdi.h"
#include "deviceplugin/protobuf.h"
#include "dp_support.h"
#include <ftw.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define A100 "A100-SXM4-40GB"
#define TEXT_SIZE 4096
#ifdef __aarch64__
#define DEBIAN "/usr/lib/aarch64-linux-gnu"
#else
#define DEBIAN "/usr/lib/x86_64-linux-gnu"
#endif

struct world {
    struct config_node node;
    struct mig_dp_config *config;
    struct mig_dp_table *table;
    struct mig_dp_host host;
    struct mig_dp_withheld withheld[2];
    size_t withheld_count;
    char root[64];
};

/* ---- a host made of files ---- */

static void put_file(const struct world *world, const char *path, const char *text)
{
    char full[512], *slash;

    snprintf(full, sizeof(full), "%s%s", world->root, path);
    slash = strrchr(full, '/');
    *slash = '\0';
    assert_int_equal(mig_mkdir_parents(full, 0755, NULL), MIG_OK);
    *slash = '/';
    assert_int_equal(mig_file_write_atomic(full, text, strlen(text), 0644, NULL), MIG_OK);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static int setup(void **state)
{
    static struct world world;

    memset(&world, 0, sizeof(world));
    snprintf(world.root, sizeof(world.root), "/tmp/dp-allocate-XXXXXX");
    assert_non_null(mkdtemp(world.root));
    world.host = (struct mig_dp_host){world.root, world.root, world.root, world.root};
    dp_add_gpu(&world.node, A100, "1g.5gb@0 3g.20gb@4");
    dp_add_gpu(&world.node, A100, "3g.20gb@0");
    put_file(&world, "/dev/nvidiactl", "");
    put_file(&world, "/dev/nvidia-uvm", "");
    put_file(&world, "/proc/driver/nvidia-caps/mig-minors",
             "config 1\nmonitor 2\n"
             "gpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\n"
             "gpu0/gi2/access 21\ngpu0/gi2/ci0/access 22\n"
             "gpu1/gi1/access 147\ngpu1/gi1/ci0/access 148\n");
    *state = &world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    mig_dp_table_free(world->table);
    mig_dp_config_free(world->config);
    return nftw(world->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void use(struct world *world, const char *config)
{
    mig_dp_table_free(world->table);
    mig_dp_config_free(world->config);
    world->config = dp_config(config);
    world->table = dp_table(&world->node, world->config);
}

/* ---- requests, and answers as text ---- */

static void add(char *text, const char *format, ...) MIG_PRINTF(2, 3);

static void add(char *text, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text + used, TEXT_SIZE - used, format, arguments);
    va_end(arguments);
}

/* "env K=V; mount P<-H; node P<-H rw; annotation K=V; cdi N" */
static void write_answer(const Dp__ContainerAllocateResponse *answer, char *text)
{
    text[0] = '\0';
    for (size_t i = 0; i < answer->n_envs; i++) {
        add(text, "env %s=%s; ", answer->envs[i]->key, answer->envs[i]->value);
    }
    for (size_t i = 0; i < answer->n_mounts; i++) {
        add(text, "mount %s<-%s; ", answer->mounts[i]->container_path,
            answer->mounts[i]->host_path);
    }
    for (size_t i = 0; i < answer->n_devices; i++) {
        add(text, "node %s<-%s %s; ", answer->devices[i]->container_path,
            answer->devices[i]->host_path, answer->devices[i]->permissions);
    }
    for (size_t i = 0; i < answer->n_annotations; i++) {
        add(text, "annotation %s=%s; ", answer->annotations[i]->key, answer->annotations[i]->value);
    }
    for (size_t i = 0; i < answer->n_cdi_devices; i++) {
        add(text, "cdi %s; ", answer->cdi_devices[i]->name);
    }
}

static int allocate(const struct world *world, const char *resource, const char *first,
                    const char *second, char *text, struct mig_error *error)
{
    struct mig_dp_allocation allocation = {
        world->config, &world->host,    world->table,         resource,
        "0123",        world->withheld, world->withheld_count};
    char *ids[] = {mig_protobuf_text(first), mig_protobuf_text(second)};
    Dp__ContainerAllocateRequest container = DP__CONTAINER_ALLOCATE_REQUEST__INIT;
    Dp__ContainerAllocateRequest *containers[] = {&container};
    Dp__AllocateRequest request = DP__ALLOCATE_REQUEST__INIT;
    MIG_AUTO_FREE void *message = NULL, *answer = NULL;
    ProtobufCMessage *response = NULL;
    size_t size, answer_size;
    int result;

    container.devices_ids = ids;
    container.n_devices_ids = second ? 2 : 1;
    request.container_requests = containers;
    request.n_container_requests = 1;
    assert_int_equal(mig_protobuf_pack(&request.base, &message, &size, NULL), MIG_OK);
    result = mig_dp_allocate(&allocation, message, size, &answer, &answer_size, error);
    if (result < 0) {
        return result;
    }
    assert_int_equal(mig_protobuf_unpack(&dp__allocate_response__descriptor, answer, answer_size,
                                         &response, NULL),
                     MIG_OK);
    assert_int_equal(((const Dp__AllocateResponse *)response)->n_container_responses, 1);
    write_answer(((const Dp__AllocateResponse *)response)->container_responses[0], text);
    mig_protobuf_free(response);
    return MIG_OK;
}

static void expect(const struct world *world, const char *resource, const char *first,
                   const char *second, const char *wanted)
{
    char text[TEXT_SIZE];
    struct mig_error error = {0};

    if (allocate(world, resource, first, second, text, &error) < 0) {
        fail_msg("%s", error.message);
    }
    assert_string_equal(text, wanted);
}

#define THREE "nvidia.com/mig-3g.20gb"

static void L1_variable(void **state)
{
    use(*state, "flags: {migStrategy: mixed}");
    /* in the order of the node, whatever the order of the request */
    expect(*state, THREE, "MIG-1-1-0", "MIG-0-2-0",
           "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0,MIG-1-1-0; ");
}

static void L2_mounts(void **state)
{
    use(*state, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: volume-mounts}}");
    expect(*state, THREE, "MIG-0-2-0", NULL,
           "env NVIDIA_VISIBLE_DEVICES=/var/run/nvidia-container-devices; "
           "mount /var/run/nvidia-container-devices/MIG-0-2-0<-/dev/null; ");
}

static void L3_annotations(void **state)
{
    use(*state, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: cdi-annotations}}");
    expect(*state, THREE, "MIG-0-2-0", "MIG-1-1-0",
           "annotation cdi.k8s.io/nvidia-device-plugin_0123="
           "k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0,"
           "k8s.device-plugin.nvidia.com/gpu=MIG-1-1-0; ");
    assert_true(strlen("nvidia-device-plugin_") + 36 <= 63);
    use(*state, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: cdi-annotations, "
                "cdiAnnotationPrefix: my.org/}}");
    expect(*state, THREE, "MIG-0-2-0", NULL,
           "annotation my.org/nvidia-device-plugin_0123="
           "k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; ");
}

static void L4_cdi_names_and_nothing_else(void **state)
{
    use(*state, "flags: {migStrategy: mixed, gdsEnabled: true, "
                "plugin: {deviceListStrategy: cdi-cri, passDeviceSpecs: true}}");
    put_file(*state, "/dev/nvidia-fs0", "");
    expect(*state, THREE, "MIG-0-2-0", NULL,
           "cdi k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; "
           "cdi k8s.device-plugin.nvidia.com/gds=all; ");
}

static void L5_all_together(void **state)
{
    use(*state, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: "
                "[envvar, volume-mounts, cdi-annotations, cdi-cri]}}");
    expect(*state, THREE, "MIG-0-2-0", NULL,
           "env NVIDIA_VISIBLE_DEVICES=/var/run/nvidia-container-devices; "
           "mount /var/run/nvidia-container-devices/MIG-0-2-0<-/dev/null; "
           "annotation cdi.k8s.io/nvidia-device-plugin_0123="
           "k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; "
           "cdi k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; ");
    use(*state, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: 'envvar,cdi-cri'}}");
    expect(*state, THREE, "MIG-0-2-0", NULL,
           "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0; "
           "cdi k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; ");
}

static void L6_indices(void **state)
{
    use(*state, "flags: {migStrategy: mixed, plugin: {deviceIDStrategy: index}}");
    expect(*state, THREE, "MIG-0-2-0", "MIG-1-1-0", "env NVIDIA_VISIBLE_DEVICES=0:1,1:0; ");
    use(*state, "flags: {migStrategy: none, plugin: {deviceIDStrategy: index}}");
    expect(*state, "nvidia.com/gpu", "GPU-1", NULL, "env NVIDIA_VISIBLE_DEVICES=1; ");
}

static void L7_device_nodes(void **state)
{
    use(*state, "flags: {migStrategy: mixed, plugin: {passDeviceSpecs: true}}");
    expect(*state, THREE, "MIG-0-2-0", NULL,
           "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0; "
           "node /dev/nvidia0<-/dev/nvidia0 rw; "
           "node /dev/nvidia-caps/nvidia-cap21<-/dev/nvidia-caps/nvidia-cap21 rw; "
           "node /dev/nvidia-caps/nvidia-cap22<-/dev/nvidia-caps/nvidia-cap22 rw; "
           "node /dev/nvidiactl<-/dev/nvidiactl rw; node /dev/nvidia-uvm<-/dev/nvidia-uvm rw; ");
}

static void L7_D5_device_nodes_below_the_dev_root(void **state)
{
    use(*state, "flags: {migStrategy: none, nvidiaDriverRoot: /run/nvidia/driver, "
                "plugin: {passDeviceSpecs: true}}");
    expect(*state, "nvidia.com/gpu", "GPU-1", NULL,
           "env NVIDIA_VISIBLE_DEVICES=GPU-1; "
           "node /dev/nvidia1<-/run/nvidia/driver/dev/nvidia1 rw; "
           "node /dev/nvidiactl<-/run/nvidia/driver/dev/nvidiactl rw; "
           "node /dev/nvidia-uvm<-/run/nvidia/driver/dev/nvidia-uvm rw; ");
    use(*state, "flags: {migStrategy: none, nvidiaDriverRoot: /run/nvidia/driver, "
                "nvidiaDevRoot: /, plugin: {passDeviceSpecs: true}}");
    expect(*state, "nvidia.com/gpu", "GPU-1", NULL,
           "env NVIDIA_VISIBLE_DEVICES=GPU-1; node /dev/nvidia1<-/dev/nvidia1 rw; "
           "node /dev/nvidiactl<-/dev/nvidiactl rw; node /dev/nvidia-uvm<-/dev/nvidia-uvm rw; ");
}

static void L8_companions(void **state)
{
    use(*state, "flags: {gdsEnabled: true, mofedEnabled: true, gdrcopyEnabled: true}");
    expect(*state, "nvidia.com/gpu", "GPU-1", NULL,
           "env NVIDIA_VISIBLE_DEVICES=GPU-1; env NVIDIA_GDRCOPY=enabled; env NVIDIA_GDS=enabled; "
           "env NVIDIA_MOFED=enabled; ");
}

static void L9_imex_channel(void **state)
{
    use(*state, "imex: {channelIDs: [0]}");
    expect(*state, "nvidia.com/gpu", "GPU-1", NULL,
           "env NVIDIA_VISIBLE_DEVICES=GPU-1; env NVIDIA_IMEX_CHANNELS=0; ");
    use(*state, "{flags: {plugin: {deviceListStrategy: volume-mounts}}, imex: {channelIDs: [0]}}");
    expect(*state, "nvidia.com/gpu", "GPU-1", NULL,
           "env NVIDIA_VISIBLE_DEVICES=/var/run/nvidia-container-devices; "
           "mount /var/run/nvidia-container-devices/GPU-1<-/dev/null; "
           "mount /var/run/nvidia-container-devices/imex/0<-/dev/null; ");
}

static void K9_replicas_are_one_device(void **state)
{
    use(*state, "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 4}]}}");
    expect(*state, "nvidia.com/gpu", "GPU-1::0", "GPU-1::3", "env NVIDIA_VISIBLE_DEVICES=GPU-1; ");
    expect(*state, "nvidia.com/gpu", "GPU-1::0", "GPU-0::3",
           "env NVIDIA_VISIBLE_DEVICES=GPU-0,GPU-1; ");
}

static void K9_unknown_devices(void **state)
{
    struct world *world = *state;
    char text[TEXT_SIZE];
    struct mig_error error = {0};

    use(world, "flags: {migStrategy: mixed}");
    assert_int_equal(allocate(world, THREE, "MIG-0-1-0", NULL, text, &error), MIG_E_USAGE);
    assert_non_null(strstr(error.message, "could not allocate MIG-0-1-0"));
    assert_int_equal(allocate(world, "nvidia.com/none", "x", NULL, text, &error), MIG_E_USAGE);
    world->table->slices[1].kept = true;
    assert_int_equal(allocate(world, THREE, "MIG-0-2-0", NULL, text, &error), MIG_E_USAGE);
    assert_non_null(strstr(error.message, "any more"));
}

/* The kubelet may have chosen it before it heard that it is to go. */
static void K9_what_is_about_to_go(void **state)
{
    struct world *world = *state;
    char text[TEXT_SIZE];
    struct mig_error error = {0};

    use(world, "flags: {migStrategy: mixed}");
    world->withheld[0].gi_profile = world->table->slices[1].gi_profile;
    world->withheld[0].start = world->table->slices[1].start;
    (void)mig_text_copy(world->withheld[0].gpu_uuid, MIG_DP_ID_SIZE,
                        world->table->slices[1].gpu_uuid);
    world->withheld_count = 1;
    assert_int_equal(allocate(world, THREE, "MIG-0-2-0", NULL, text, &error), MIG_E_BUSY);
    assert_non_null(strstr(error.message, "MIG-0-2-0: it is about to be changed"));
    assert_int_equal(allocate(world, THREE, "MIG-1-1-0", "MIG-0-2-0", text, &error), MIG_E_BUSY);
    expect(world, THREE, "MIG-1-1-0", NULL, "env NVIDIA_VISIBLE_DEVICES=MIG-1-1-0; ");
    world->withheld_count = 0;
    expect(world, THREE, "MIG-0-2-0", NULL, "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0; ");
}

static void S2_more_than_one_replica(void **state)
{
    struct mig_error error = {0};
    char text[TEXT_SIZE];

    use(*state, "sharing: {timeSlicing: {failRequestsGreaterThanOne: true, "
                "resources: [{name: gpu, replicas: 4}]}}");
    expect(*state, "nvidia.com/gpu", "GPU-1::0", NULL, "env NVIDIA_VISIBLE_DEVICES=GPU-1; ");
    assert_int_equal(allocate(*state, "nvidia.com/gpu", "GPU-1::0", "GPU-1::1", text, &error),
                     MIG_E_USAGE);
    assert_string_equal(error.message, "request for 'nvidia.com/gpu: 2' too large: maximum request "
                                       "size for shared resources is 1");
}

/* ---- minors and CDI files ---- */

static void D1_both_sources_agree(void **state)
{
    struct world *world = *state;
    unsigned from_table, from_file;

    put_file(world, "/proc/driver/nvidia/capabilities/gpu0/mig/gi2/access",
             "DeviceFileMinor: 21\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
    put_file(world, "/proc/driver/nvidia/capabilities/gpu0/mig/gi2/ci0/access",
             "DeviceFileMinor: 22\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
    for (uint32_t ci = 0; ci <= 1; ci++) {
        uint32_t id = ci ? 0 : MIG_ID_NONE;

        assert_int_equal(mig_dp_caps_minor_from_table(&world->host, 0, 2, id, &from_table, NULL),
                         MIG_OK);
        assert_int_equal(mig_dp_caps_minor_from_file(&world->host, 0, 2, id, &from_file, NULL),
                         MIG_OK);
        assert_int_equal(from_table, 21 + ci);
        assert_int_equal(from_table, from_file);
    }
    /* the instance's own file comes first, the table where there is none */
    put_file(world, "/proc/driver/nvidia/capabilities/gpu0/mig/gi2/access",
             "DeviceFileMinor: 77\n");
    assert_int_equal(mig_dp_caps_minor(&world->host, 0, 2, MIG_ID_NONE, &from_file, NULL), MIG_OK);
    assert_int_equal(from_file, 77);
    assert_int_equal(mig_dp_caps_minor(&world->host, 1, 1, 0, &from_file, NULL), MIG_OK);
    assert_int_equal(from_file, 148);
}

static void D1_what_is_no_minor(void **state)
{
    static const char *const bad[] = {"", "DeviceFileMinor:", "DeviceFileMinor: x",
                                      "DeviceFileMinor: 99999999999999999999999"};
    struct world *world = *state;
    struct mig_error error = {0};
    unsigned minor;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(bad); i++) {
        put_file(world, "/proc/driver/nvidia/capabilities/gpu5/mig/gi1/access", bad[i]);
        assert_int_equal(mig_dp_caps_minor(&world->host, 5, 1, MIG_ID_NONE, &minor, &error),
                         MIG_E_FAILED);
    }
    assert_non_null(strstr(error.message, "has no gpu5/gi1"));
    assert_false(
        mig_dp_caps_find("gpu0/gi1/access\ngpu0/gi1/access x\n", 0, 1, MIG_ID_NONE, &minor));
    assert_false(mig_dp_caps_find("gpu0/gi11/access 3\n", 0, 1, MIG_ID_NONE, &minor));
    assert_true(mig_dp_caps_find("x\n\ngpu0/gi1/access 3", 0, 1, MIG_ID_NONE, &minor));
}

static json_t *make_cdi(struct world *world, enum mig_dp_cdi_class class)
{
    struct mig_dp_cdi_input input = {world->config, &world->host, &world->node.node, world->table};
    MIG_AUTO_FREE char *text = NULL;

    assert_int_equal(mig_dp_cdi_make(&input, class, &text, NULL), MIG_OK);
    return text ? json_loads(text, 0, NULL) : NULL;
}

static void set_driver(struct world *world, const char *version)
{
    snprintf(world->node.node.driver_version, sizeof(world->node.node.driver_version), "%s",
             version);
}

/* Nobody chose: CDI names are added for what the file has, and for nothing else. */
static void L10_cdi_names_beside_the_variable(void **state)
{
    struct world *world = *state;

    use(world, "flags: {migStrategy: mixed}");
    assert_true(world->config->list_auto);
    world->config->list_strategies |= MIG_DP_LIST_CDI_CRI;
    expect(world, THREE, "MIG-0-2-0", NULL, "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0; ");
    put_file(world, "/usr/lib64/libcuda.so.550.54", "");
    set_driver(world, "550.54");
    json_decref(make_cdi(world, MIG_DP_CDI_GPU));
    expect(world, THREE, "MIG-0-2-0", NULL,
           "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0; "
           "cdi k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; ");
    /* of two, one is not in the file: a container would not start with half of the names */
    world->table->slices[1].in_cdi = false;
    expect(world, THREE, "MIG-0-2-0", "MIG-1-1-0",
           "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0,MIG-1-1-0; ");
    /* without the driver's files a device is of no use */
    set_driver(world, "1.2");
    json_decref(make_cdi(world, MIG_DP_CDI_GPU));
    expect(world, THREE, "MIG-1-1-0", NULL, "env NVIDIA_VISIBLE_DEVICES=MIG-1-1-0; ");
    mig_dp_cdi_clear(world->table);
    expect(world, THREE, "MIG-1-1-0", NULL, "env NVIDIA_VISIBLE_DEVICES=MIG-1-1-0; ");
}

/* "path<-hostPath path ..." of a list of edits. */
static const char *paths(const json_t *edits, const char *key, const char *inside, const char *host)
{
    static char text[TEXT_SIZE];
    const json_t *item;
    size_t index;

    text[0] = '\0';
    json_array_foreach(json_object_get(edits, key), index, item)
    {
        const char *host_path = json_string_value(json_object_get(item, host));

        add(text, "%s%s", index ? " " : "", json_string_value(json_object_get(item, inside)));
        if (host_path) {
            add(text, "<-%s", host_path);
        }
    }
    return text;
}

static void D3_devices_of_the_file(void **state)
{
    struct world *world = *state;
    json_t *document, *devices, *edits;

    use(world, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: cdi-cri}}");
    document = make_cdi(world, MIG_DP_CDI_GPU);
    devices = json_object_get(document, "devices");
    assert_string_equal(json_string_value(json_object_get(document, "cdiVersion")), "0.3.0");
    assert_string_equal(json_string_value(json_object_get(document, "kind")),
                        "k8s.device-plugin.nvidia.com/gpu");
    assert_int_equal(json_array_size(devices), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(devices, 1), "name")),
                        "MIG-0-2-0");
    assert_string_equal(paths(json_object_get(json_array_get(devices, 1), "containerEdits"),
                              "deviceNodes", "path", "hostPath"),
                        "/dev/nvidia0 /dev/nvidia-caps/nvidia-cap21 /dev/nvidia-caps/nvidia-cap22");
    edits = json_object_get(document, "containerEdits");
    assert_string_equal(paths(edits, "deviceNodes", "path", "hostPath"),
                        "/dev/nvidiactl /dev/nvidia-uvm");
    assert_string_equal(json_string_value(json_array_get(json_object_get(edits, "env"), 0)),
                        "NVIDIA_VISIBLE_DEVICES=void");
    assert_null(json_object_get(edits, "hooks"));
    json_decref(document);
}

static void D5_files_of_the_driver(void **state)
{
    struct world *world = *state;
    char link[256];
    json_t *document, *edits;

    set_driver(world, "550.163.01");
    put_file(world, "/usr/lib64/libcuda.so.550.163.01", "");
    put_file(world, "/usr/lib64/libcuda.so.470.1", "");
    put_file(world, "/usr/lib64/libnvidia-container.so.1", "");
    put_file(world, "/usr/lib64/libother.so.1", "");
    put_file(world, "/usr/bin/nvidia-smi", "");
    put_file(world, "/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin", "");
    snprintf(link, sizeof(link), "%s/usr/lib64/libcuda.so.1", world->root);
    assert_int_equal(symlink("libcuda.so.550.163.01", link), 0);
    snprintf(link, sizeof(link), "%s/usr/lib64/libnvidia-ml.so.1", world->root);
    assert_int_equal(symlink("../../etc/passwd", link), 0);
    use(world, "flags: {migStrategy: mixed, nvidiaDriverRoot: /run/nvidia/driver, "
               "plugin: {deviceListStrategy: cdi-cri}}");
    document = make_cdi(world, MIG_DP_CDI_GPU);
    edits = json_object_get(document, "containerEdits");
    assert_string_equal(json_string_value(json_object_get(document, "cdiVersion")), "0.5.0");
    assert_string_equal(
        paths(edits, "mounts", "containerPath", "hostPath"),
        "/usr/lib64/libcuda.so.1<-/run/nvidia/driver/usr/lib64/libcuda.so.550.163.01 " DEBIAN
        "/libcuda.so.1<-/run/nvidia/driver/usr/lib64/libcuda.so.550.163.01 "
        "/usr/lib64/libcuda.so.550.163.01<-/run/nvidia/driver/usr/lib64/"
        "libcuda.so.550.163.01 " DEBIAN
        "/libcuda.so.550.163.01<-/run/nvidia/driver/usr/lib64/libcuda.so.550.163.01 "
        "/usr/bin/nvidia-smi<-/run/nvidia/driver/usr/bin/nvidia-smi "
        "/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin<-"
        "/run/nvidia/driver/lib/firmware/nvidia/550.163.01/gsp_ga10x.bin");
    assert_string_equal(paths(edits, "deviceNodes", "path", "hostPath"),
                        "/dev/nvidiactl<-/run/nvidia/driver/dev/nvidiactl "
                        "/dev/nvidia-uvm<-/run/nvidia/driver/dev/nvidia-uvm");
    json_decref(document);
    /* with NVIDIA's toolkit there, the loader's cache is renewed */
    put_file(world, "/usr/bin/nvidia-ctk", "");
    document = make_cdi(world, MIG_DP_CDI_GPU);
    edits =
        json_array_get(json_object_get(json_object_get(document, "containerEdits"), "hooks"), 0);
    assert_string_equal(json_string_value(json_object_get(edits, "path")), "/usr/bin/nvidia-ctk");
    assert_int_equal(json_array_size(json_object_get(edits, "args")), 5);
    edits = json_object_get(json_object_get(document, "containerEdits"), "mounts");
    assert_int_equal(json_array_size(edits), 4); /* where the host has them, and nowhere else */
    json_decref(document);
}

static void D3_devices_without_minors_are_left_out(void **state)
{
    struct world *world = *state;
    json_t *document;

    put_file(world, "/proc/driver/nvidia-caps/mig-minors", "gpu0/gi1/access 12\n");
    use(world, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: cdi-cri}}");
    document = make_cdi(world, MIG_DP_CDI_GPU);
    assert_null(document);
    assert_true(dp_has_note(world->table, "has no place in the CDI specification"));
    /* a container that was given one could not be started */
    assert_string_equal(dp_table_text(world->table),
                        "mig-1g.5gb: MIG-0-1-0! | mig-3g.20gb: MIG-0-2-0! MIG-1-1-0!");
    assert_non_null(strstr(world->table->slices[0].reason, "CDI specification: could not find"));
    assert_true(world->table->incomplete);
}

static void D3_whole_gpus_and_their_displays(void **state)
{
    struct world *world = *state;
    json_t *document, *device;

    snprintf(world->node.gpus[1].bus_id, sizeof(world->node.gpus[1].bus_id), "00000000:3B:00.0");
    put_file(world, "/sys/bus/pci/devices/0000:3b:00.0/drm/card1/x", "");
    put_file(world, "/sys/bus/pci/devices/0000:3b:00.0/drm/renderD129/x", "");
    put_file(world, "/sys/bus/pci/devices/0000:3b:00.0/drm/controlD65/x", "");
    use(world, "flags: {migStrategy: none, plugin: {deviceListStrategy: cdi-cri}}");
    document = make_cdi(world, MIG_DP_CDI_GPU);
    device = json_array_get(json_object_get(document, "devices"), 1);
    assert_string_equal(
        paths(json_object_get(device, "containerEdits"), "deviceNodes", "path", "hostPath"),
        "/dev/nvidia1 /dev/dri/card1 /dev/dri/renderD129");
    json_decref(document);
}

static void L8_files_of_the_companions(void **state)
{
    struct world *world = *state;
    json_t *document;

    put_file(world, "/dev/gdrdrv", "");
    use(world, "flags: {gdrcopyEnabled: true, gdsEnabled: true, "
               "plugin: {deviceListStrategy: cdi-cri}}");
    document = make_cdi(world, MIG_DP_CDI_GDRCOPY);
    assert_string_equal(json_string_value(json_object_get(document, "kind")),
                        "k8s.device-plugin.nvidia.com/gdrcopy");
    json_decref(document);
    /* no node, no file, and no name that could not be resolved */
    assert_null(make_cdi(world, MIG_DP_CDI_GDS));
    expect(world, "nvidia.com/gpu", "GPU-1", NULL,
           "cdi k8s.device-plugin.nvidia.com/gpu=GPU-1; "
           "cdi k8s.device-plugin.nvidia.com/gdrcopy=all; ");
}

/* Names may begin with a digit from version 0.5.0 on; runtimes refuse a file that says less. */
static void D3_L9_file_of_the_imex_channel(void **state)
{
    struct world *world = *state;
    json_t *document, *device;

    put_file(world, "/dev/nvidia-caps-imex-channels/channel0", "");
    use(world, "{flags: {plugin: {deviceListStrategy: cdi-cri}}, imex: {channelIDs: [0]}}");
    expect(world, "nvidia.com/gpu", "GPU-1", NULL,
           "cdi k8s.device-plugin.nvidia.com/gpu=GPU-1; "
           "cdi k8s.device-plugin.nvidia.com/imex-channel=0; ");
    document = make_cdi(world, MIG_DP_CDI_IMEX);
    device = json_array_get(json_object_get(document, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(device, "name")), "0");
    assert_string_equal(json_string_value(json_object_get(document, "cdiVersion")), "0.5.0");
    json_decref(document);
    document = make_cdi(world, MIG_DP_CDI_GPU);
    assert_string_equal(json_string_value(json_object_get(document, "cdiVersion")), "0.3.0");
    json_decref(document);
}

static void K4_K15_the_list(void **state)
{
    struct world *world = *state;
    MIG_AUTO_FREE void *message = NULL;
    ProtobufCMessage *unpacked = NULL;
    const Dp__ListAndWatchResponse *list;
    size_t size;

    world->node.gpus[1].numa_node = 1;
    use(world, "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2}]}}");
    world->table->slices[0].unhealthy = true;
    assert_int_equal(mig_dp_list(world->table, "nvidia.com/gpu", &message, &size, NULL), MIG_OK);
    assert_int_equal(mig_protobuf_unpack(&dp__list_and_watch_response__descriptor, message, size,
                                         &unpacked, NULL),
                     MIG_OK);
    list = (const Dp__ListAndWatchResponse *)unpacked;
    assert_int_equal(list->n_devices, 4);
    assert_string_equal(list->devices[1]->id, "GPU-0::1");
    assert_string_equal(list->devices[1]->health, "Unhealthy");
    assert_null(list->devices[1]->topology);
    assert_string_equal(list->devices[2]->health, "Healthy");
    assert_int_equal(list->devices[2]->topology->n_nodes, 1);
    assert_int_equal(list->devices[2]->topology->nodes[0]->id, 1);
    mig_protobuf_free(unpacked);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#define MPS_LIMITS                                      \
    "env CUDA_MPS_PIPE_DIRECTORY=/mps/" THREE "/pipe; " \
    "env CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25; "        \
    "env CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=4992M; "
#define MPS_MOUNTS                                                \
    "mount /mps/" THREE "/pipe<-/run/nvidia/mps/MIG-0-2-0/pipe; " \
    "mount /dev/shm<-/run/nvidia/mps/MIG-0-2-0/shm; "
#define MPS_RULE "sharing: {mps: {resources: [{name: mig-3g.20gb, replicas: 4}]}}\n"

static void S3_S4_mps(void **state)
{
    struct world *world = *state;
    struct mig_error error = {0};
    char text[TEXT_SIZE];

    world->node.gpus[0].gi_infos[1].memory_total_mib = 19968;
    use(world, "flags: {migStrategy: mixed}\n" MPS_RULE);
    expect(world, THREE, "MIG-0-2-0::3", NULL,
           MPS_LIMITS "env NVIDIA_VISIBLE_DEVICES=MIG-0-2-0; " MPS_MOUNTS);
    assert_int_equal(allocate(world, THREE, "MIG-0-2-0::0", "MIG-1-1-0::0", text, &error),
                     MIG_E_USAGE);
    assert_non_null(strstr(error.message, "maximum request size for shared resources is 1"));
    /* with CDI alone too: it names the device, and not what MPS needs */
    use(world, "flags: {migStrategy: mixed, plugin: {deviceListStrategy: cdi-cri}}\n" MPS_RULE);
    expect(world, THREE, "MIG-0-2-0::0", NULL,
           MPS_LIMITS MPS_MOUNTS "cdi k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; ");
    use(world,
        "flags: {migStrategy: mixed, plugin: {deviceListStrategy: cdi-annotations}}\n" MPS_RULE);
    expect(world, THREE, "MIG-0-2-0::0", NULL,
           MPS_LIMITS MPS_MOUNTS "annotation cdi.k8s.io/nvidia-device-plugin_0123="
                                 "k8s.device-plugin.nvidia.com/gpu=MIG-0-2-0; ");
    /* another root on the host; a slice beside it that is not shared */
    use(world, "flags: {migStrategy: mixed, mpsRoot: /m}\n" MPS_RULE);
    expect(world, "nvidia.com/mig-1g.5gb", "MIG-0-1-0", NULL,
           "env NVIDIA_VISIBLE_DEVICES=MIG-0-1-0; ");
    assert_int_equal(allocate(world, THREE, "MIG-0-2-0::0", NULL, text, &error), MIG_OK);
    assert_non_null(strstr(text, "<-/m/MIG-0-2-0/pipe; "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(L1_variable),
        TEST(L2_mounts),
        TEST(L3_annotations),
        TEST(L4_cdi_names_and_nothing_else),
        TEST(L5_all_together),
        TEST(L10_cdi_names_beside_the_variable),
        TEST(L6_indices),
        TEST(L7_device_nodes),
        TEST(L7_D5_device_nodes_below_the_dev_root),
        TEST(L8_companions),
        TEST(L8_files_of_the_companions),
        TEST(L9_imex_channel),
        TEST(K9_replicas_are_one_device),
        TEST(K9_unknown_devices),
        TEST(K9_what_is_about_to_go),
        TEST(S2_more_than_one_replica),
        TEST(D1_both_sources_agree),
        TEST(D1_what_is_no_minor),
        TEST(D3_devices_of_the_file),
        TEST(D3_devices_without_minors_are_left_out),
        TEST(D3_whole_gpus_and_their_displays),
        TEST(D5_files_of_the_driver),
        TEST(D3_L9_file_of_the_imex_channel),
        TEST(K4_K15_the_list),
        TEST(S3_S4_mps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
