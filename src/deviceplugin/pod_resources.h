/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pod holds which device: the kubelet's pod resources API, v1, as a client.
 *
 * The kubelet knows the holder of a slice even when no process runs on it, and it is asked before
 * anything is taken away. The answer is a plain list; what it says of CPUs and memory is skipped.
 */
#ifndef MIG_DEVICEPLUGIN_POD_RESOURCES_H
#define MIG_DEVICEPLUGIN_POD_RESOURCES_H

#include <mig/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define MIG_POD_DEVICES_MAX 16384u       /* devices in one answer; more are refused */
#define MIG_POD_RESOURCES_TIMEOUT 10000u /* ms, the usual one of clients of this API */

/* One device that a container holds. */
struct mig_pod_device {
    const char *namespace_name, *pod, *container;
    const char *resource; /* "nvidia.com/mig-1g.5gb" */
    const char *device;   /* as announced: a UUID, with "::N" when it is shared */
};

struct mig_pod_devices {
    size_t count;
    struct mig_pod_device *items; /* in the order of the answer; texts live as long as the list */
};

/* Reads a ListPodResourcesResponse. Release *ret with mig_pod_devices_free. */
int mig_pod_devices_parse(const void *message, size_t size, struct mig_pod_devices **ret,
                          struct mig_error *error);

/* The same for the answer to Get (a GetPodResourcesResponse). */
int mig_pod_devices_parse_get(const void *message, size_t size, struct mig_pod_devices **ret,
                              struct mig_error *error);
void mig_pod_devices_free(struct mig_pod_devices *devices); /* NULL is allowed */

/* The first device of the list whose UUID (without "::N") is `uuid`; NULL when nobody holds it. */
const struct mig_pod_device *mig_pod_devices_find(const struct mig_pod_devices *devices,
                                                  const char *uuid);

/* True when `device`, as announced, is the device `uuid` or a replica of it. */
bool mig_pod_device_is(const char *device, const char *uuid);

/*
 * A question to the kubelet on `fd`, a connected socket that belongs to the call when this
 * succeeds. `done` is called once, from the loop, unless the call is cancelled; exactly one of
 * devices (now the callee's) and error is not NULL. The call is gone after it.
 */
struct mig_pod_resources_call;

struct mig_pod_resources_options {
    int fd;
    unsigned timeout_ms;        /* 0 = MIG_POD_RESOURCES_TIMEOUT */
    const char *namespace_name; /* with `pod`: only this pod (Get); NULL: all (List) */
    const char *pod;
    void (*done)(struct mig_pod_devices *devices, const struct mig_error *error, void *data);
    void *data;
};

int mig_pod_resources_ask(uv_loop_t *loop, const struct mig_pod_resources_options *options,
                          struct mig_pod_resources_call **ret, struct mig_error *error);
void mig_pod_resources_cancel(struct mig_pod_resources_call *call); /* NULL is allowed */

#endif
