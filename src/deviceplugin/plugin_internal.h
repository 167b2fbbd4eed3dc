/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the parts of the device plugin: the rounds (plugin.c), one resource's server and
 * registration (endpoint.c), and what only root may open (sockets.c).
 */
#ifndef MIG_DEVICEPLUGIN_PLUGIN_INTERNAL_H
#define MIG_DEVICEPLUGIN_PLUGIN_INTERNAL_H

#include "deviceplugin/allocate.h"
#include "deviceplugin/cdi.h"
#include "deviceplugin/plugin.h"
#include "deviceplugin/pod_resources.h"

#define ENDPOINTS_MAX ((size_t)2 * MIG_DP_RESOURCES_MAX) /* those that are leaving too */

struct endpoint;

/* ---- sockets.c: requests to the privileged side, or done here when there is none ---- */

struct request;

/* Who asks; the request points here as long as it is under way. */
struct request_slot {
    struct request *request;
};

/* `done` is not called after request_cancel. */
int request_socket(struct mig_deviceplugin *plugin, struct request_slot *slot,
                   enum mig_deviceplugin_socket what, const char *name,
                   mig_deviceplugin_socket_done *done, void *data, struct mig_error *error);
int request_cdi(struct mig_deviceplugin *plugin, struct request_slot *slot, const char *name,
                const char *text, mig_deviceplugin_file_done *done, void *data,
                struct mig_error *error);
void request_cancel(struct request_slot *slot);

/* ---- endpoint.c ---- */

/* Starts to serve and register. NULL when there is no memory. */
struct endpoint *endpoint_new(struct mig_deviceplugin *plugin, const char *resource);
const char *endpoint_resource(const struct endpoint *endpoint);
bool endpoint_is_registered(const struct endpoint *endpoint);

/* True between leave and the end. */
bool endpoint_is_leaving(const struct endpoint *endpoint);

/* The list has changed. */
void endpoint_list(struct endpoint *endpoint);

/* A new socket and registration, after `delay_ms`. */
void endpoint_restart(struct endpoint *endpoint, unsigned delay_ms);

/* Announces an empty list, and then ends; plugin_endpoint_gone follows. */
void endpoint_leave(struct endpoint *endpoint);

/* Ends at once. */
void endpoint_free(struct endpoint *endpoint);

/* ---- kubelet_watch.c ---- */

struct kubelet_watch;

/* Calls plugin_kubelet_restarted when device-plugins/kubelet.sock is another one. */
int kubelet_watch_new(struct mig_deviceplugin *plugin, struct kubelet_watch **ret,
                      struct mig_error *error);

/* Looks now; also begins to watch when that was not possible before. */
void kubelet_watch_look(struct kubelet_watch *watch);
void kubelet_watch_free(struct kubelet_watch *watch);

/* ---- untold.c ---- */

struct untold;

/* Looks for containers that are told of a part of their devices. NULL when there is no memory. */
struct untold *untold_new(struct mig_deviceplugin *plugin);

/* An AllocateRequest was answered. */
void untold_allocated(struct untold *untold, const struct mig_dp_allocation *allocation,
                      const void *message, size_t size);
void untold_free(struct untold *untold); /* NULL is allowed */

/* ---- plugin.c ---- */

uv_loop_t *plugin_loop(const struct mig_deviceplugin *plugin);
const struct mig_deviceplugin_options *plugin_options(const struct mig_deviceplugin *plugin);
const char *plugin_kubelet_dir(const struct mig_deviceplugin *plugin);
const char *plugin_cdi_dir(const struct mig_deviceplugin *plugin);
struct mig_deviceplugin_stats *plugin_stats(struct mig_deviceplugin *plugin);

/* What an answer for a resource is made from. */
struct mig_dp_allocation plugin_allocation(const struct mig_deviceplugin *plugin,
                                           const char *resource);
void plugin_allocated(struct mig_deviceplugin *plugin, const struct mig_dp_allocation *allocation,
                      const void *message, size_t size);

/* FNV-1a; never 0, which stands for nothing. */
uint64_t plugin_hash(const char *text);
void plugin_event(struct mig_deviceplugin *plugin, enum mig_deviceplugin_event_kind kind,
                  const char *resource, uint32_t count, const char *text);
void plugin_endpoint_gone(struct mig_deviceplugin *plugin, struct endpoint *endpoint);
void plugin_kubelet_restarted(struct mig_deviceplugin *plugin);

/* A registration failed: whether the kubelet is another one is looked up too. */
void plugin_registration_failed(struct mig_deviceplugin *plugin);

#endif
