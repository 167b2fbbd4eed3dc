/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rounds of the device plugin: from what is known now to what the kubelet is told.
 *
 *     make the table -> ask who holds what would go -> write CDI files -> announce
 *
 * One round at a time. What comes while one is under way (a snapshot, an error, settings) only sets
 * `again`, and another round follows: so every round works on the newest state and the kubelet
 * never sees two rounds mixed. When a file cannot be written, devices that are new are announced as
 * unhealthy until it can be.
 */
#include "deviceplugin/plugin.h"
#include "base/cleanup.h"
#include "deviceplugin/plugin_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KUBELET_DIR "/var/lib/kubelet"
#define HOLDERS_TIMEOUT_MS 2000
#define HOLDERS_AGAIN_MS 2000 /* while something is only announced for its holder */
#define ASK_TRIES 15 /* that many times the kubelet may say nothing of devices that were held */
#define RETRY_MS 1000
#define INCOMPLETE_AGAIN_MS 5000 /* the files of an instance may come after it */

#define UNKNOWN_FILE UINT64_MAX /* instead of a hash: an earlier process may have left a file */

enum stage { IDLE = 0, ASKING, WRITING };

struct mig_deviceplugin {
    uv_loop_t *loop;
    struct mig_deviceplugin_options options;
    char kubelet_dir[MIG_DP_PATH_SIZE], cdi_dir[MIG_DP_PATH_SIZE];
    const struct mig_node *node; /* borrowed; the newest */
    struct mig_dp_health health;
    struct mig_dp_mps mps;
    bool shared; /* the list of MPS devices was told */
    struct mig_dp_withheld *withheld;
    size_t withheld_count;
    struct mig_dp_table *table; /* what is announced; NULL before the first round */
    struct mig_dp_table *next;  /* of the round that is under way */
    enum stage stage;
    bool again;
    bool write_failed;
    uint64_t started_us;
    struct request_slot slot;
    struct mig_pod_resources_call *holders_call;
    unsigned asked_in_vain; /* in a row */
    int class;              /* enum mig_dp_cdi_class that is being written */
    /* of the files' texts; 0 = no file */
    uint64_t class_hash, written[MIG_DP_CDI_CLASS_COUNT];
    struct endpoint *endpoints[ENDPOINTS_MAX];
    size_t endpoint_count;
    struct kubelet_watch *watch;
    struct untold *untold;
    uv_timer_t timer;
    struct mig_deviceplugin_stats stats;
};

static void begin_round(struct mig_deviceplugin *plugin);
static void timer_fired(uv_timer_t *timer);
static void write_next_class(struct mig_deviceplugin *plugin);

/* ---- for the other parts ---- */

uv_loop_t *plugin_loop(const struct mig_deviceplugin *plugin)
{
    return plugin->loop;
}

const struct mig_deviceplugin_options *plugin_options(const struct mig_deviceplugin *plugin)
{
    return &plugin->options;
}

const char *plugin_kubelet_dir(const struct mig_deviceplugin *plugin)
{
    return plugin->kubelet_dir;
}

const char *plugin_cdi_dir(const struct mig_deviceplugin *plugin)
{
    return plugin->cdi_dir;
}

struct mig_deviceplugin_stats *plugin_stats(struct mig_deviceplugin *plugin)
{
    return &plugin->stats;
}

struct mig_dp_allocation plugin_allocation(const struct mig_deviceplugin *plugin,
                                           const char *resource)
{
    return (struct mig_dp_allocation){.config = plugin->options.config,
                                      .host = &plugin->options.host,
                                      .table = plugin->table,
                                      .resource = resource,
                                      .unique = "",
                                      .withheld = plugin->withheld,
                                      .withheld_count = plugin->withheld_count};
}

void plugin_allocated(struct mig_deviceplugin *plugin, const struct mig_dp_allocation *allocation,
                      const void *message, size_t size)
{
    plugin->stats.allocations++;
    untold_allocated(plugin->untold, allocation, message, size);
    plugin_event(plugin, MIG_DEVICEPLUGIN_ALLOCATED, allocation->resource, 1, "");
}

void plugin_event(struct mig_deviceplugin *plugin, enum mig_deviceplugin_event_kind kind,
                  const char *resource, uint32_t count, const char *text)
{
    struct mig_deviceplugin_event event = {kind, resource, text, count};

    if (plugin->options.event) {
        plugin->options.event(&event, plugin->options.data);
    }
}

void plugin_endpoint_gone(struct mig_deviceplugin *plugin, struct endpoint *endpoint)
{
    for (size_t i = 0; i < plugin->endpoint_count; i++) {
        if (plugin->endpoints[i] == endpoint) {
            plugin->endpoints[i] = plugin->endpoints[--plugin->endpoint_count];
            plugin_event(plugin, MIG_DEVICEPLUGIN_WITHDRAWN, endpoint_resource(endpoint), 0, "");
            endpoint_free(endpoint);
            return;
        }
    }
}

void plugin_kubelet_restarted(struct mig_deviceplugin *plugin)
{
    plugin->stats.kubelet_restarts++;
    plugin_event(plugin, MIG_DEVICEPLUGIN_KUBELET_RESTARTED, "", 0, "");
    /* one that looks into plugins_registry finds the sockets by itself */
    for (size_t i = 0; !plugin->options.by_registry && i < plugin->endpoint_count; i++) {
        if (!endpoint_is_leaving(plugin->endpoints[i])) {
            endpoint_restart(plugin->endpoints[i], 0);
        }
    }
}

void plugin_registration_failed(struct mig_deviceplugin *plugin)
{
    kubelet_watch_look(plugin->watch);
}

/* ---- the end of a round: announcing ---- */

static struct endpoint *find_endpoint(const struct mig_deviceplugin *plugin, const char *resource)
{
    for (size_t i = 0; i < plugin->endpoint_count; i++) {
        if (strcmp(endpoint_resource(plugin->endpoints[i]), resource) == 0) {
            return plugin->endpoints[i];
        }
    }
    return NULL;
}

static void announce_resource(struct mig_deviceplugin *plugin, const struct mig_dp_table *previous,
                              const struct mig_dp_resource *resource)
{
    struct endpoint *endpoint = find_endpoint(plugin, resource->name);
    const struct mig_dp_resource *before =
        previous ? mig_dp_table_find(previous, resource->name) : NULL;

    if (endpoint && endpoint_is_leaving(endpoint)) {
        endpoint_restart(endpoint, 0);
    } else if (endpoint) {
        if (!mig_dp_resource_equal(previous, before, plugin->table, resource)) {
            endpoint_list(endpoint);
        }
    } else if (plugin->endpoint_count < ENDPOINTS_MAX) {
        endpoint = endpoint_new(plugin, resource->name);
        if (endpoint) {
            plugin->endpoints[plugin->endpoint_count++] = endpoint;
        }
    }
    if (!endpoint) {
        plugin_event(plugin, MIG_DEVICEPLUGIN_FAILED, resource->name, 0,
                     "could not announce the resource: too many resources, or no memory");
    }
}

static bool had_note(const struct mig_dp_table *previous, const struct mig_dp_note *note)
{
    for (uint32_t i = 0; previous && i < previous->note_count; i++) {
        if (strcmp(previous->notes[i].text, note->text) == 0) {
            return true;
        }
    }
    return false;
}

static const struct mig_dp_slice *find_slice(const struct mig_dp_table *table, const char *uuid)
{
    for (uint32_t i = 0; table && i < table->slice_count; i++) {
        if (strcmp(table->slices[i].uuid, uuid) == 0) {
            return &table->slices[i];
        }
    }
    return NULL;
}

static void tell_changes(struct mig_deviceplugin *plugin, const struct mig_dp_table *previous)
{
    const struct mig_dp_table *table = plugin->table;

    for (uint32_t i = 0; i < table->note_count; i++) {
        if (!had_note(previous, &table->notes[i])) {
            plugin_event(plugin, MIG_DEVICEPLUGIN_NOTE, "", 0, table->notes[i].text);
        }
    }
    for (uint32_t i = 0; i < table->slice_count; i++) {
        const struct mig_dp_slice *slice = &table->slices[i];
        const struct mig_dp_slice *before = find_slice(previous, slice->uuid);
        char text[MIG_DP_ID_SIZE + MIG_DP_REASON_SIZE + 4];

        if (slice->unhealthy == (before && before->unhealthy)) {
            continue;
        }
        snprintf(text, sizeof(text), "%s%s%s", slice->uuid, slice->unhealthy ? ": " : "",
                 slice->unhealthy ? slice->reason : "");
        plugin_event(plugin,
                     slice->unhealthy ? MIG_DEVICEPLUGIN_UNHEALTHY : MIG_DEVICEPLUGIN_HEALTHY,
                     table->resources[slice->resource].name, 1, text);
    }
}

/* How long the next round may be away; UINT64_MAX: until something happens. */
static uint64_t again_ms(const struct mig_deviceplugin *plugin)
{
    return plugin->write_failed                                    ? RETRY_MS
           : plugin->table && mig_dp_table_has_kept(plugin->table) ? HOLDERS_AGAIN_MS
           : plugin->table && plugin->table->incomplete            ? INCOMPLETE_AGAIN_MS
                                                                   : UINT64_MAX;
}

static void set_timer(struct mig_deviceplugin *plugin)
{
    uint64_t now_ms = uv_now(plugin->loop);
    uint64_t at_ms = mig_dp_health_next_ms(&plugin->health);
    uint64_t wait_ms = again_ms(plugin);

    if (wait_ms < UINT64_MAX && now_ms + wait_ms < at_ms) {
        at_ms = now_ms + wait_ms;
    }
    if (at_ms == UINT64_MAX) {
        uv_timer_stop(&plugin->timer);
    } else {
        uint64_t delay_ms = at_ms > now_ms ? at_ms - now_ms : 0;

        uv_timer_start(&plugin->timer, timer_fired, delay_ms, 0);
    }
}

static void end_round(struct mig_deviceplugin *plugin)
{
    plugin->stage = IDLE;
    plugin->stats.rounds++;
    plugin->stats.round_us = uv_hrtime() / 1000 - plugin->started_us;
    set_timer(plugin);
    if (plugin->again) {
        begin_round(plugin);
    }
}

static void announce(struct mig_deviceplugin *plugin)
{
    struct mig_dp_table *previous = plugin->table;

    plugin->table = MIG_TAKE(plugin->next);
    for (uint32_t i = 0; i < plugin->table->resource_count; i++) {
        announce_resource(plugin, previous, &plugin->table->resources[i]);
    }
    for (size_t i = 0; i < plugin->endpoint_count; i++) {
        struct endpoint *endpoint = plugin->endpoints[i];

        if (!endpoint_is_leaving(endpoint) &&
            !mig_dp_table_find(plugin->table, endpoint_resource(endpoint))) {
            endpoint_leave(endpoint);
        }
    }
    tell_changes(plugin, previous);
    mig_dp_table_free(previous);
    end_round(plugin);
}

/* ---- CDI files ---- */

uint64_t plugin_hash(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *text; text++) {
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    }
    return hash != 0 && hash != UNKNOWN_FILE ? hash : 1;
}

/* Without its file a new device cannot be used yet. */
static void hold_new_devices_back(struct mig_deviceplugin *plugin)
{
    for (uint32_t i = 0; i < plugin->next->slice_count; i++) {
        struct mig_dp_slice *slice = &plugin->next->slices[i];
        const struct mig_dp_slice *before = find_slice(plugin->table, slice->uuid);

        if (!slice->unhealthy && (!before || before->unhealthy)) {
            slice->unhealthy = true;
            snprintf(slice->reason, sizeof(slice->reason),
                     "the CDI specification could not be written");
        }
    }
}

static void class_written(const struct mig_error *error, void *data)
{
    struct mig_deviceplugin *plugin = data;

    if (error) {
        plugin->write_failed = true;
        plugin_event(plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error->message);
    } else {
        plugin->written[plugin->class] = plugin->class_hash;
    }
    plugin->class ++;
    write_next_class(plugin);
}

/* Begins to write the file of a class if it has to be; 1 when it needs not. */
static int write_class(struct mig_deviceplugin *plugin, enum mig_dp_cdi_class class,
                       struct mig_error *error)
{
    struct mig_dp_cdi_input input = {.config = plugin->options.config,
                                     .host = &plugin->options.host,
                                     .node = plugin->node,
                                     .table = plugin->next};
    MIG_AUTO_FREE char *text = NULL;
    char name[128];
    int result = MIG_OK;

    if (mig_dp_cdi_wanted(plugin->options.config, &plugin->options.host, class)) {
        result = mig_dp_cdi_make(&input, class, &text, error);
    }
    if (result < 0) {
        return result;
    }
    if (!text && plugin->options.config->list_auto &&
        !(plugin->options.config->list_strategies & MIG_DP_LIST_CDI)) {
        return 1; /* containers that were told its names may be started again */
    }
    plugin->class_hash = text ? plugin_hash(text) : 0;
    if (plugin->class_hash == plugin->written[class]) {
        return 1;
    }
    mig_dp_cdi_file_name(class, name, sizeof(name));
    return request_cdi(plugin, &plugin->slot, name, text, class_written, plugin, error);
}

/* The snapshot was taken away in the middle of a round. */
static bool abandoned(struct mig_deviceplugin *plugin)
{
    if (plugin->node) {
        return false;
    }
    mig_dp_table_free(MIG_TAKE(plugin->next));
    plugin->stage = IDLE;
    plugin->again = true;
    return true;
}

static void write_next_class(struct mig_deviceplugin *plugin)
{
    if (abandoned(plugin)) {
        return;
    }
    plugin->stage = WRITING;
    for (; plugin->class < MIG_DP_CDI_CLASS_COUNT; plugin->class ++) {
        struct mig_error error = {0};
        int result = write_class(plugin, (enum mig_dp_cdi_class)plugin->class, &error);

        if (result == MIG_OK) {
            return; /* class_written goes on */
        }
        if (result < 0) {
            plugin->write_failed = true;
            plugin_event(plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error.message);
        }
    }
    if (plugin->write_failed && plugin->options.config->list_auto) {
        mig_dp_cdi_clear(plugin->next); /* the variable has to do */
    } else if (plugin->write_failed &&
               (plugin->options.config->list_strategies & MIG_DP_LIST_CDI)) {
        hold_new_devices_back(plugin);
    }
    announce(plugin);
}

/* ---- MPS ---- */

/* First told on the first round, also when it is empty: daemons of another time have to end. */
static void share_by_mps(struct mig_deviceplugin *plugin)
{
    bool differs = mig_dp_mps_collect(&plugin->mps, plugin->next);

    if (plugin->options.share && (differs || !plugin->shared)) {
        plugin->shared = true;
        plugin->options.share(plugin->mps.devices, plugin->mps.device_count, plugin->options.data);
    }
    mig_dp_mps_apply(&plugin->mps, plugin->next);
}

void mig_deviceplugin_mps(struct mig_deviceplugin *plugin, const char *uuid, bool ready,
                          const char *reason)
{
    if (mig_dp_mps_tell(&plugin->mps, uuid, ready, reason)) {
        begin_round(plugin);
    }
}

void mig_deviceplugin_share_again(struct mig_deviceplugin *plugin)
{
    plugin->shared = false;
    begin_round(plugin);
}

/* ---- holders, and the beginning of a round ---- */

static void finish_table(struct mig_deviceplugin *plugin, const struct mig_pod_devices *holders)
{
    struct mig_error error = {0};

    if (abandoned(plugin)) {
        return;
    }
    if (plugin->table &&
        mig_dp_table_keep(plugin->next, plugin->table, plugin->node, holders, &error) < 0) {
        plugin_event(plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error.message);
    }
    mig_dp_health_apply(&plugin->health, plugin->next);
    share_by_mps(plugin);
    mig_dp_table_withhold(plugin->next, plugin->withheld, plugin->withheld_count);
    plugin->write_failed = false;
    plugin->class = 0;
    write_next_class(plugin);
}

/* Nobody can be asked: what is gone is withdrawn. What was held when the kubelet was asked last
 * stays for a while, since it may only be restarting, but cannot be kept for ever. */
static void no_holders(struct mig_deviceplugin *plugin, const struct mig_error *error)
{
    static const struct mig_pod_devices nobody = {0};

    plugin_event(plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error->message);
    plugin->asked_in_vain++;
    finish_table(plugin, plugin->asked_in_vain < ASK_TRIES ? NULL : &nobody);
}

static void holders_told(struct mig_pod_devices *devices, const struct mig_error *error, void *data)
{
    struct mig_deviceplugin *plugin = data;

    plugin->holders_call = NULL;
    if (error) {
        no_holders(plugin, error);
    } else {
        plugin->asked_in_vain = 0;
        finish_table(plugin, devices);
        mig_pod_devices_free(devices);
    }
}

static void pod_resources_opened(int fd, const struct mig_error *error, void *data)
{
    struct mig_deviceplugin *plugin = data;
    struct mig_pod_resources_options options = {
        .fd = fd, .timeout_ms = HOLDERS_TIMEOUT_MS, .done = holders_told, .data = plugin};
    struct mig_error own = {0};

    if (error) {
        no_holders(plugin, error);
    } else if (mig_pod_resources_ask(plugin->loop, &options, &plugin->holders_call, &own) < 0) {
        close(fd);
        no_holders(plugin, &own);
    }
}

static void ask_holders(struct mig_deviceplugin *plugin)
{
    struct mig_error error = {0};

    plugin->stage = ASKING;
    if (request_socket(plugin, &plugin->slot, MIG_DEVICEPLUGIN_POD_RESOURCES, "",
                       pod_resources_opened, plugin, &error) < 0) {
        no_holders(plugin, &error);
    }
}

static void begin_round(struct mig_deviceplugin *plugin)
{
    struct mig_error error = {0};

    if (!plugin->node || plugin->stage != IDLE) {
        plugin->again = true;
        return;
    }
    plugin->again = false;
    plugin->started_us = uv_hrtime() / 1000;
    if (mig_dp_table_make(plugin->node, plugin->options.config, &plugin->next, &error) < 0) {
        plugin_event(plugin, MIG_DEVICEPLUGIN_FAILED, "", 0, error.message);
        uv_timer_start(&plugin->timer, timer_fired, RETRY_MS, 0);
        return;
    }
    if (plugin->table &&
        (mig_dp_table_loses(plugin->next, plugin->table) || mig_dp_table_has_kept(plugin->table))) {
        ask_holders(plugin);
    } else {
        finish_table(plugin, NULL);
    }
}

static void timer_fired(uv_timer_t *timer)
{
    struct mig_deviceplugin *plugin = timer->data;

    mig_dp_health_tick(&plugin->health, uv_now(plugin->loop));
    begin_round(plugin);
}

/* ---- what the daemon calls ---- */

void mig_deviceplugin_update(struct mig_deviceplugin *plugin, const struct mig_node *node)
{
    plugin->node = node;
    if (!node) {
        return;
    }
    mig_dp_health_observe(&plugin->health, &plugin->options.config->health, node,
                          uv_now(plugin->loop));
    mig_dp_health_tick(&plugin->health, uv_now(plugin->loop));
    begin_round(plugin);
}

void mig_deviceplugin_xid(struct mig_deviceplugin *plugin, const char *gpu_uuid, uint32_t gi_id,
                          uint32_t ci_id, uint64_t xid)
{
    plugin->stats.xids++;
    if (mig_dp_health_xid(&plugin->health, &plugin->options.config->health, gpu_uuid, gi_id, ci_id,
                          xid)) {
        begin_round(plugin);
    } else {
        plugin->stats.xids_ignored++;
    }
}

void mig_deviceplugin_reset(struct mig_deviceplugin *plugin, const char *gpu_uuid)
{
    mig_dp_health_reset(&plugin->health, &plugin->options.config->health, gpu_uuid,
                        uv_now(plugin->loop));
    begin_round(plugin);
}

void mig_deviceplugin_recovery(struct mig_deviceplugin *plugin, const char *gpu_uuid,
                               uint32_t action)
{
    mig_dp_health_recovery(&plugin->health, &plugin->options.config->health, gpu_uuid, action,
                           uv_now(plugin->loop));
    begin_round(plugin);
}

int mig_deviceplugin_withhold(struct mig_deviceplugin *plugin,
                              const struct mig_dp_withheld *withheld, size_t count,
                              struct mig_error *error)
{
    struct mig_dp_withheld *copy = calloc(count + 1, sizeof(*copy));

    if (!copy) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not withhold %zu slices",
                                   count);
    }
    if (count > 0) {
        memcpy(copy, withheld, count * sizeof(*copy));
    }
    free(plugin->withheld);
    plugin->withheld = copy;
    plugin->withheld_count = count;
    begin_round(plugin);
    return MIG_OK;
}

void mig_deviceplugin_reload(struct mig_deviceplugin *plugin, struct mig_dp_config *config)
{
    mig_dp_config_free(plugin->options.config);
    plugin->options.config = config;
    begin_round(plugin);
}

void mig_deviceplugin_kubelet_changed(struct mig_deviceplugin *plugin)
{
    plugin_kubelet_restarted(plugin);
}

const struct mig_dp_table *mig_deviceplugin_table(const struct mig_deviceplugin *plugin)
{
    return plugin->table;
}

void mig_deviceplugin_get_stats(const struct mig_deviceplugin *plugin,
                                struct mig_deviceplugin_stats *ret)
{
    *ret = plugin->stats;
    ret->resources_registered = 0;
    for (size_t i = 0; i < plugin->endpoint_count; i++) {
        ret->resources_registered += endpoint_is_registered(plugin->endpoints[i]);
    }
}

int mig_deviceplugin_new(uv_loop_t *loop, const struct mig_deviceplugin_options *options,
                         struct mig_deviceplugin **ret, struct mig_error *error)
{
    struct mig_deviceplugin *plugin = calloc(1, sizeof(*plugin));
    int result;

    if (!plugin) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not start the device plugin");
    }
    plugin->loop = loop;
    plugin->options = *options;
    snprintf(plugin->kubelet_dir, sizeof(plugin->kubelet_dir), "%s",
             options->kubelet_dir ? options->kubelet_dir : KUBELET_DIR);
    snprintf(plugin->cdi_dir, sizeof(plugin->cdi_dir), "%s",
             options->cdi_dir ? options->cdi_dir : MIG_DP_CDI_DIRECTORY);
    plugin->untold = untold_new(plugin);
    result = plugin->untold ? kubelet_watch_new(plugin, &plugin->watch, error)
                            : mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                                  "could not start the device plugin");
    if (result < 0) {
        untold_free(plugin->untold);
        free(plugin);
        return result;
    }
    for (size_t i = 0; i < MIG_DP_CDI_CLASS_COUNT; i++) {
        plugin->written[i] = UNKNOWN_FILE;
    }
    uv_timer_init(loop, &plugin->timer);
    plugin->timer.data = plugin;
    *ret = plugin;
    return MIG_OK;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void mig_deviceplugin_free(struct mig_deviceplugin *plugin)
{
    if (!plugin) {
        return;
    }
    request_cancel(&plugin->slot);
    mig_pod_resources_cancel(MIG_TAKE(plugin->holders_call));
    while (plugin->endpoint_count > 0) {
        endpoint_free(plugin->endpoints[--plugin->endpoint_count]);
    }
    kubelet_watch_free(plugin->watch);
    untold_free(plugin->untold);
    mig_dp_table_free(plugin->table);
    mig_dp_table_free(plugin->next);
    free(plugin->withheld);
    mig_dp_config_free(plugin->options.config);
    uv_close((uv_handle_t *)&plugin->timer, timer_closed);
}
