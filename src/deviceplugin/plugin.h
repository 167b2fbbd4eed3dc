/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device plugin: it announces the slices of the node to the kubelet, and keeps to what is true.
 *
 * It is given snapshots, errors and settings, and does the rest by itself on the loop:
 *
 *     snapshot -> table of resources -> who holds what would go -> CDI files -> lists to the
 * kubelet
 *
 * One step after the other, in this order; what comes meanwhile is taken up when the round is done.
 * Each resource has a socket and a registration of its own: one that fails is tried again and does
 * not stop the others. Nothing here ends the process, and nothing blocks.
 *
 *     loop thread only; no function calls back from within itself.
 */
#ifndef MIG_DEVICEPLUGIN_PLUGIN_H
#define MIG_DEVICEPLUGIN_PLUGIN_H

#include "deviceplugin/dp_config.h"
#include "deviceplugin/health.h"
#include "deviceplugin/host.h"
#include "deviceplugin/lists.h"
#include "deviceplugin/mps.h"
#include "deviceplugin/resources.h"
#include <uv.h>

struct mig_deviceplugin;

/* Sockets in the kubelet's directories, which only root may open. */
enum mig_deviceplugin_socket {
    MIG_DEVICEPLUGIN_POD_RESOURCES = 0, /* connected, pod-resources/kubelet.sock */
    MIG_DEVICEPLUGIN_KUBELET,           /* connected, device-plugins/kubelet.sock */
    MIG_DEVICEPLUGIN_LISTEN,            /* listening, device-plugins/NAME; an old one is replaced */
    MIG_DEVICEPLUGIN_REGISTRY_LISTEN,   /* the same in plugins_registry */
    MIG_DEVICEPLUGIN_REGISTRY_REMOVE,   /* plugins_registry/NAME goes; what comes is of no use */
};

enum mig_deviceplugin_event_kind {
    MIG_DEVICEPLUGIN_REGISTERED = 0,
    MIG_DEVICEPLUGIN_REGISTER_FAILED, /* is tried again; told once for each reason, `text` */
    MIG_DEVICEPLUGIN_WITHDRAWN,       /* the resource is gone */
    MIG_DEVICEPLUGIN_LISTED,          /* a list was sent, of `count` devices */
    MIG_DEVICEPLUGIN_ALLOCATED,       /* `count` devices */
    MIG_DEVICEPLUGIN_REFUSED,         /* a request of the kubelet; `text` says why */
    MIG_DEVICEPLUGIN_UNHEALTHY,       /* a device, `text` is "UUID: reason" */
    MIG_DEVICEPLUGIN_HEALTHY,
    MIG_DEVICEPLUGIN_NOTE, /* what is not served as one might expect */
    MIG_DEVICEPLUGIN_KUBELET_RESTARTED,
    MIG_DEVICEPLUGIN_UNTOLD, /* a container sees a part of its devices; `text` says which */
    MIG_DEVICEPLUGIN_FAILED, /* something else; is tried again */
};

struct mig_deviceplugin_event {
    enum mig_deviceplugin_event_kind kind;
    const char *resource; /* "" = none */
    const char *text;     /* "" = nothing to say */
    uint32_t count;
};

/* Called from the loop, never from within the function that takes it, and exactly once. */
typedef void mig_deviceplugin_socket_done(int fd, const struct mig_error *error, void *data);
typedef void mig_deviceplugin_file_done(const struct mig_error *error, void *data);

struct mig_deviceplugin_options {
    struct mig_dp_config *config; /* taken over, when new succeeds */
    struct mig_dp_host host;      /* its texts have to outlive the plugin */
    const char *kubelet_dir;      /* NULL = /var/lib/kubelet; copied */
    const char *cdi_dir;          /* NULL = /var/run/cdi; copied */
    bool by_registry; /* the kubelet finds the sockets in plugins_registry, instead of being told */

    /* Opens a socket for somebody without privileges; NULL = it is opened directly. */
    int (*open_socket)(enum mig_deviceplugin_socket what, const char *name,
                       mig_deviceplugin_socket_done *done, void *done_data, struct mig_error *error,
                       void *data);

    /* Writes a CDI file in one step (`text` NULL: removes it); NULL = it is written directly. */
    int (*write_cdi)(const char *name, const char *text, mig_deviceplugin_file_done *done,
                     void *done_data, struct mig_error *error, void *data);

    /* The devices that are to have an MPS control daemon: always all of them, when they are others
     * than before. What becomes of them is told by mig_deviceplugin_mps. NULL = nobody runs any, so
     * that what is shared by MPS stays unhealthy. */
    void (*share)(const struct mig_dp_mps_device *devices, size_t count, void *data);

    void (*event)(const struct mig_deviceplugin_event *event, void *data); /* may be NULL */
    void *data;
};

/* Numbers since the start. */
struct mig_deviceplugin_stats {
    uint64_t registrations, registration_failures, kubelet_restarts;
    uint64_t lists, allocations, allocation_failures, preferences;
    uint64_t xids, xids_ignored, rounds;
    uint64_t round_us; /* of the last round, snapshot to lists */
    uint32_t resources_registered;
};

int mig_deviceplugin_new(uv_loop_t *loop, const struct mig_deviceplugin_options *options,
                         struct mig_deviceplugin **ret, struct mig_error *error);

/* Ends it; the kubelet sees its streams end. Memory goes on the next turns of the loop. NULL is
 * allowed. */
void mig_deviceplugin_free(struct mig_deviceplugin *plugin);

/* A new snapshot. It has to live until the next one was given, or the plugin was freed. NULL: there
 * is none for now; what is announced stays. */
void mig_deviceplugin_update(struct mig_deviceplugin *plugin, const struct mig_node *node);

/* A critical error; MIG_ID_NONE: the driver named no instance. */
void mig_deviceplugin_xid(struct mig_deviceplugin *plugin, const char *gpu_uuid, uint32_t gi_id,
                          uint32_t ci_id, uint64_t xid);

/* A GPU was reset; NULL: all of them, by a reload of the driver or a command of the operator. */
void mig_deviceplugin_reset(struct mig_deviceplugin *plugin, const char *gpu_uuid);

/* The driver's recovery action for a GPU, enum mig_dp_recovery_action or one that is newer. */
void mig_deviceplugin_recovery(struct mig_deviceplugin *plugin, const char *gpu_uuid,
                               uint32_t action);

/* A device's MPS control daemon is ready, or is not and why. */
void mig_deviceplugin_mps(struct mig_deviceplugin *plugin, const char *uuid, bool ready,
                          const char *reason);

/* Whoever runs the MPS daemons has forgotten what it was told: it is told again. */
void mig_deviceplugin_share_again(struct mig_deviceplugin *plugin);

/* No pod may be given these slices, because they are to go. Always the whole set; copied. */
int mig_deviceplugin_withhold(struct mig_deviceplugin *plugin,
                              const struct mig_dp_withheld *withheld, size_t count,
                              struct mig_error *error);

/* Other settings, taken over; they count from the next round, which begins at once. */
void mig_deviceplugin_reload(struct mig_deviceplugin *plugin, struct mig_dp_config *config);

/* The kubelet's socket is another one; for those who can watch it when this process cannot. */
void mig_deviceplugin_kubelet_changed(struct mig_deviceplugin *plugin);

/* What is announced now; NULL before the first round. Valid until the loop runs on. */
const struct mig_dp_table *mig_deviceplugin_table(const struct mig_deviceplugin *plugin);
void mig_deviceplugin_get_stats(const struct mig_deviceplugin *plugin,
                                struct mig_deviceplugin_stats *ret);

#endif
