/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device plugin in migd. What needs privileges goes to the helper; what happens goes to the
 * log; a config file that cannot be read or is wrong leaves the settings as they were. Which of
 * several configs counts is decided in plugin_select.c, and what the container runtime wants is
 * read from the node object; until both are known nothing is announced, because what a container
 * was told cannot be told again.
 */
#include "daemon/role_deviceplugin.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/config_set.h"
#include "daemon/file_watch.h"
#include "daemon/log.h"
#include "daemon/plugin_select.h"
#include "daemon/runtime.h"
#include "exporter/own.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define AREA "plugin"
#define FLAGS_MAX 8
#define RUNTIME_WAIT_MS 5000 /* without the API server there are no new pods either */

/* Outlives the role while the helper is asked: its answer may come when the role is gone. */
struct share_link {
    struct deviceplugin_role *role; /* NULL = gone */
    unsigned asked;
};

struct deviceplugin_role {
    struct share_link *link;
    struct deviceplugin_role_options options;
    struct mig_deviceplugin *plugin;
    char driver_root[MIG_DP_PATH_SIZE], dev_root[MIG_DP_PATH_SIZE]; /* as this process sees them */
    const struct mig_dp_config *config;                             /* the plugin's */
    struct file_watch *file;
    struct plugin_select *select; /* NULL: nothing to select from */
    bool held;                    /* until it is known which config counts */
    bool runtime_awaited;         /* until the node object is known */
    bool cdi_only;                /* of the runtime, see runtime.h */
    uv_timer_t *timer;            /* of runtime_awaited */
    const struct mig_node *node;  /* for then; borrowed */
    struct config_item file_text; /* the config file; text NULL = none */
    enum mig_dp_strategy policy_strategy;
    bool has_policy_strategy;
    bool share_again; /* with the next snapshot */
};

/* ---- settings ---- */

static const char *variable(const char *name, void *data)
{
    (void)data;
    return getenv(name);
}

/* Values of migd's own options count as flags of the plugin where somebody gave them. */
static size_t make_flags(const struct daemon_values *values, struct mig_dp_flag flags[FLAGS_MAX])
{
    static const struct {
        enum daemon_option_id id;
        const char *flag;
        bool always; /* the default is migd's, not the plugin's */
    } known[] = {
        {DAEMON_MIG_STRATEGY, "mig-strategy", false},
        {DAEMON_DRIVER_ROOT, "nvidia-driver-root", true},
        {DAEMON_DRIVER_ROOT_CTR_PATH, "container-driver-root", false},
        {DAEMON_DEV_ROOT, "nvidia-dev-root", false},
        {DAEMON_CDI_HOOK_PATH, "nvidia-cdi-hook-path", false},
        {DAEMON_NO_TIMESTAMP, "no-timestamp", false},
        {DAEMON_MPS_ROOT, "mps-root", false},
    };
    size_t count = 0;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(known); i++) {
        if (known[i].always || values->sources[known[i].id] == DAEMON_FROM_FILE ||
            values->sources[known[i].id] == DAEMON_FROM_COMMAND_LINE) {
            flags[count++] = (struct mig_dp_flag){known[i].flag, values->texts[known[i].id]};
        }
    }
    return count;
}

static void tell_settings(const struct deviceplugin_role *role, const struct mig_dp_config *config)
{
    const struct daemon_values *values = role->options.values;

    if (role->options.settings) {
        role->options.settings(config, role->options.data);
    }
    for (uint32_t i = 0; i < config->finding_count; i++) {
        log_write(LOG_LEVEL_WARNING, AREA, NULL, 0, "settings, line %u: %s",
                  config->findings[i].position.line, config->findings[i].text);
    }
    if (config->mps && !values->texts[DAEMON_MPS_ROOT_CTR_PATH][0] &&
        strcmp(config->mps_root, values->texts[DAEMON_MPS_ROOT]) != 0) {
        log_write(LOG_LEVEL_WARNING, AREA, NULL, 0,
                  "mpsRoot is '%s', but MPS daemons have their files in '%s': give --mps-root, or "
                  "--mps-root-ctr-path when it is the same folder",
                  config->mps_root, values->texts[DAEMON_MPS_ROOT]);
    }
}

static int make_config(const struct deviceplugin_role *role, const struct config_item *file,
                       struct mig_dp_config **ret, struct mig_error *error)
{
    struct mig_dp_flag flags[FLAGS_MAX];
    struct mig_dp_sources sources = {
        .file_name = file->name,
        .text = file->text,
        .size = file->size,
        .environment = variable,
        .flags = flags,
        .flag_count = make_flags(role->options.values, flags),
    };
    int rc = mig_dp_config_make(&sources, ret, error);

    if (rc == 0) {
        if (!(*ret)->strategy_given && role->has_policy_strategy) {
            (*ret)->strategy = role->policy_strategy;
        }
        /* who hands device nodes out by himself has arranged the rest too */
        if ((*ret)->list_auto && role->cdi_only && !(*ret)->pass_device_specs) {
            (*ret)->list_strategies |= MIG_DP_LIST_CDI_CRI;
        }
        tell_settings(role, *ret);
    }
    return rc;
}

static int apply_config(struct deviceplugin_role *role, const struct config_item *file,
                        struct mig_error *error)
{
    struct mig_dp_config *config = NULL;
    int rc = make_config(role, file, &config, error);

    if (rc == 0) {
        role->config = config;
        mig_deviceplugin_reload(role->plugin, config);
    }
    return rc;
}

static void tell_old_settings(const struct deviceplugin_role *role, const struct mig_error *error)
{
    log_error(LOG_LEVEL_ERROR, AREA, error, "the old settings of the device plugin stay");
    mig_counter_add(role->options.counters, &mig_count_config_errors, 1, NULL);
}

void deviceplugin_role_reload(struct deviceplugin_role *role)
{
    struct mig_error error = {0};

    if (role && apply_config(role, &role->file_text, &error) < 0) {
        tell_old_settings(role, &error);
    }
}

static void release_text(struct config_item *file)
{
    free(file->name);
    free(file->text);
    *file = (struct config_item){0};
}

/* The text becomes the file's if it makes sense; what is there already changes nothing. */
static int take_text(struct deviceplugin_role *role, const char *name, const char *text,
                     size_t size, struct mig_error *error)
{
    struct config_item file = {.size = size};
    const char *old = role->file_text.text;
    int rc;

    if ((!text && !old) ||
        (text && old && size == role->file_text.size && memcmp(text, old, size) == 0)) {
        return 0;
    }
    if (text) {
        file.name = strdup(name);
        file.text = malloc(size + 1);
        if (!file.name || !file.text) {
            release_text(&file);
            return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read '%s'", name);
        }
        memcpy(file.text, text, size);
        file.text[size] = '\0';
    }
    rc = apply_config(role, &file, error);
    if (rc < 0) {
        release_text(&file);
        return rc;
    }
    release_text(&role->file_text);
    role->file_text = file;
    return 0;
}

static void file_changed(const char *path, const char *text, size_t size,
                         const struct mig_error *error, void *data)
{
    struct deviceplugin_role *role = data;
    struct mig_error wrong = {0};

    if (!error && take_text(role, path, text, size, &wrong) < 0) {
        error = &wrong;
    }
    if (error) {
        tell_old_settings(role, error);
    } else {
        log_write(LOG_LEVEL_INFO, AREA, NULL, 0, "settings from %s", path);
    }
}

/* The newest snapshot, once nothing is waited for. */
static void announce(struct deviceplugin_role *role)
{
    if (!role->held && !role->runtime_awaited) {
        mig_deviceplugin_update(role->plugin, role->node);
    }
}

/* ---- the container runtime ---- */

static void runtime_settled(struct deviceplugin_role *role)
{
    if (role->runtime_awaited) {
        role->runtime_awaited = false;
        uv_timer_stop(role->timer);
        announce(role);
    }
}

static void waited_long_enough(uv_timer_t *timer)
{
    runtime_settled(timer->data);
}

static void look_at_runtime(struct deviceplugin_role *role, const json_t *node)
{
    bool cdi_only = runtime_has_cdi_only(node);

    if (cdi_only != role->cdi_only) {
        role->cdi_only = cdi_only;
        log_write(LOG_LEVEL_INFO, AREA, NULL, 0,
                  "%s %s runtime of NVIDIA's: without a device list strategy containers are told "
                  "of devices by NVIDIA_VISIBLE_DEVICES%s",
                  runtime_version(node), cdi_only ? "has no" : "may have a",
                  cdi_only ? " and CDI names" : " alone");
        deviceplugin_role_reload(role);
    }
    runtime_settled(role);
}

static int await_runtime(struct deviceplugin_role *role, struct mig_error *error)
{
    role->timer = calloc(1, sizeof(*role->timer));
    if (!role->timer) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not start the device plugin");
    }
    uv_timer_init(role->options.loop, role->timer);
    role->timer->data = role;
    role->runtime_awaited = role->options.kube && role->options.has_manager;
    if (role->runtime_awaited) {
        uv_timer_start(role->timer, waited_long_enough, RUNTIME_WAIT_MS, 0);
    }
    return 0;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

/* ---- the config that is selected ---- */

static int use_selected(const char *name, const char *text, size_t size, struct mig_error *error,
                        void *data)
{
    return take_text(data, name, text, size, error);
}

static void selection_settled(void *data)
{
    struct deviceplugin_role *role = data;

    role->held = false;
    announce(role);
}

static int start_selection(struct deviceplugin_role *role, struct mig_error *error)
{
    const struct plugin_select_options options = {
        .loop = role->options.loop,
        .values = role->options.values,
        .kube = role->options.kube,
        .node_name = role->options.node_name,
        .counters = role->options.counters,
        .has_manager = role->options.has_manager,
        .use = use_selected,
        .settled = selection_settled,
        .data = role,
    };
    int rc = plugin_select_new(&options, &role->select, error);

    role->held = rc == 0 && role->select;
    return rc;
}

void deviceplugin_role_object(struct deviceplugin_role *role, const json_t *node)
{
    if (role) {
        plugin_select_object(role->select, node);
        look_at_runtime(role, node);
    }
}

void deviceplugin_role_policy(struct deviceplugin_role *role, const char *map,
                              const char *default_name)
{
    if (role) {
        plugin_select_policy(role->select, map, default_name);
    }
}

void deviceplugin_role_strategy(struct deviceplugin_role *role, const char *strategy)
{
    enum mig_dp_strategy parsed = MIG_DP_STRATEGY_NONE;
    bool has = strategy[0] && mig_dp_strategy_parse(strategy, &parsed);

    if (!role || (has == role->has_policy_strategy && parsed == role->policy_strategy)) {
        return;
    }
    role->has_policy_strategy = has;
    role->policy_strategy = parsed;
    deviceplugin_role_reload(role);
}

/* ---- what needs privileges ---- */

static int open_socket(enum mig_deviceplugin_socket what, const char *name,
                       mig_deviceplugin_socket_done *done, void *done_data, struct mig_error *error,
                       void *data)
{
    static const enum mig_helper_socket sockets[] = {
        [MIG_DEVICEPLUGIN_POD_RESOURCES] = MIG_HELPER_POD_RESOURCES,
        [MIG_DEVICEPLUGIN_KUBELET] = MIG_HELPER_KUBELET,
        [MIG_DEVICEPLUGIN_LISTEN] = MIG_HELPER_PLUGIN_LISTEN,
        [MIG_DEVICEPLUGIN_REGISTRY_LISTEN] = MIG_HELPER_REGISTRY_LISTEN,
        [MIG_DEVICEPLUGIN_REGISTRY_REMOVE] = MIG_HELPER_REGISTRY_REMOVE,
    };
    struct deviceplugin_role *role = data;

    return mig_helper_open_socket(role->options.helper, sockets[what], name, done, done_data,
                                  error);
}

static int write_cdi(const char *name, const char *text, mig_deviceplugin_file_done *done,
                     void *done_data, struct mig_error *error, void *data)
{
    struct deviceplugin_role *role = data;

    return mig_helper_write_cdi(role->options.helper, name, text, done, done_data, error);
}

static void release_link(struct share_link *link)
{
    if (!link->role && link->asked == 0) {
        free(link);
    }
}

static void shared(const struct mig_error *error, void *data)
{
    struct share_link *link = data;

    link->asked--;
    if (error && link->role) {
        log_error(LOG_LEVEL_WARNING, AREA, error, "the helper does not know what MPS shares");
        link->role->share_again = true;
    }
    release_link(link);
}

static void share(const struct mig_dp_mps_device *devices, size_t count, void *data)
{
    struct deviceplugin_role *role = data;
    MIG_AUTO_FREE struct mig_helper_mps *list = calloc(count + 1, sizeof(*list));
    struct mig_error error = {0};
    int rc = list ? 0 : MIG_E_FAILED;

    for (size_t i = 0; rc == 0 && i < count; i++) {
        (void)mig_text_copy(list[i].uuid, sizeof(list[i].uuid), devices[i].uuid);
        (void)mig_text_copy(list[i].gpu_uuid, sizeof(list[i].gpu_uuid), devices[i].gpu_uuid);
        list[i].percentage = devices[i].percentage;
        list[i].memory_mib = devices[i].memory_mib;
    }
    role->link->asked++;
    rc = rc == 0 ? mig_helper_share(role->options.helper, list, count, shared, role->link, &error)
                 : rc;
    if (rc < 0) {
        shared(&error, role->link);
    }
}

/* ---- what happens ---- */

static enum log_level level_of(enum mig_deviceplugin_event_kind kind)
{
    switch (kind) {
    case MIG_DEVICEPLUGIN_REGISTER_FAILED:
    case MIG_DEVICEPLUGIN_REFUSED:
    case MIG_DEVICEPLUGIN_UNHEALTHY:
    case MIG_DEVICEPLUGIN_NOTE:
    case MIG_DEVICEPLUGIN_UNTOLD:
    case MIG_DEVICEPLUGIN_FAILED:
        return LOG_LEVEL_WARNING;
    case MIG_DEVICEPLUGIN_REGISTERED:
    case MIG_DEVICEPLUGIN_WITHDRAWN:
    case MIG_DEVICEPLUGIN_HEALTHY:
    case MIG_DEVICEPLUGIN_KUBELET_RESTARTED:
        return LOG_LEVEL_INFO;
    case MIG_DEVICEPLUGIN_LISTED:
    case MIG_DEVICEPLUGIN_ALLOCATED:
        break;
    }
    return LOG_LEVEL_DEBUG;
}

static void count(const struct deviceplugin_role *role, const struct mig_deviceplugin_event *event)
{
    struct mig_counters *counters = role->options.counters;

    switch ((int)event->kind) {
    case MIG_DEVICEPLUGIN_ALLOCATED:
        mig_counter_add(counters, &mig_count_allocations, 1, event->resource, "ok", NULL);
        break;
    case MIG_DEVICEPLUGIN_REFUSED:
        mig_counter_add(counters, &mig_count_allocations, 1, event->resource, "refused", NULL);
        break;
    case MIG_DEVICEPLUGIN_REGISTERED:
        mig_counter_add(counters, &mig_count_registrations, 1, event->resource, "ok", NULL);
        break;
    case MIG_DEVICEPLUGIN_REGISTER_FAILED:
        mig_counter_add(counters, &mig_count_registrations, 1, event->resource, "failed", NULL);
        break;
    case MIG_DEVICEPLUGIN_UNHEALTHY:
        mig_counter_add(counters, &mig_count_health_changes, 1, "unhealthy", NULL);
        break;
    case MIG_DEVICEPLUGIN_HEALTHY:
        mig_counter_add(counters, &mig_count_health_changes, 1, "healthy", NULL);
        break;
    case MIG_DEVICEPLUGIN_UNTOLD:
        mig_counter_add(counters, &mig_count_untold, 1, NULL);
        break;
    default:
        break;
    }
}

/* How many devices of each resource there are, when lists have changed. */
static void count_devices(const struct deviceplugin_role *role)
{
    const struct mig_dp_table *table = mig_deviceplugin_table(role->plugin);
    struct mig_counters *counters = role->options.counters;
    struct mig_deviceplugin_stats stats;

    mig_deviceplugin_get_stats(role->plugin, &stats);
    mig_counter_observe(counters, &mig_count_publish, (double)stats.round_us / 1e6, NULL);
    mig_counter_forget(counters, &mig_count_devices);
    for (uint32_t i = 0; table && i < table->resource_count; i++) {
        const struct mig_dp_resource *resource = &table->resources[i];
        unsigned numbers[2] = {0, 0};

        for (uint32_t j = 0; j < resource->count; j++) {
            const struct mig_dp_slice *slice = &table->slices[resource->first + j];

            numbers[slice->unhealthy] += mig_dp_slice_devices(slice);
        }
        mig_counter_set(counters, &mig_count_devices, numbers[0], resource->name, "healthy", NULL);
        mig_counter_set(counters, &mig_count_devices, numbers[1], resource->name, "unhealthy",
                        NULL);
    }
}

static void on_event(const struct mig_deviceplugin_event *event, void *data)
{
    static const char *const words[] = {
        [MIG_DEVICEPLUGIN_REGISTERED] = "registered",
        [MIG_DEVICEPLUGIN_REGISTER_FAILED] = "could not be registered, and is tried again",
        [MIG_DEVICEPLUGIN_WITHDRAWN] = "withdrawn",
        [MIG_DEVICEPLUGIN_LISTED] = "announced",
        [MIG_DEVICEPLUGIN_ALLOCATED] = "allocated",
        [MIG_DEVICEPLUGIN_REFUSED] = "refused a request of kubelet",
        [MIG_DEVICEPLUGIN_UNHEALTHY] = "unhealthy",
        [MIG_DEVICEPLUGIN_HEALTHY] = "healthy again",
        [MIG_DEVICEPLUGIN_NOTE] = "not served as asked",
        [MIG_DEVICEPLUGIN_KUBELET_RESTARTED] = "kubelet was restarted",
        [MIG_DEVICEPLUGIN_UNTOLD] = "not all devices are seen",
        [MIG_DEVICEPLUGIN_FAILED] = "failed, and is tried again",
    };
    const struct log_field field = {"resource", event->resource};
    const struct deviceplugin_role *role = data;

    count(role, event);
    if (event->kind == MIG_DEVICEPLUGIN_LISTED || event->kind == MIG_DEVICEPLUGIN_WITHDRAWN) {
        count_devices(role);
    }
    log_write(level_of(event->kind), AREA, &field, event->resource[0] ? 1 : 0, "%s%s%s%s%s",
              event->resource, event->resource[0] ? " " : "", words[event->kind],
              event->text[0] ? ": " : "", event->text);
}

/* ---- what the app calls ---- */

void deviceplugin_role_update(struct deviceplugin_role *role, const struct mig_node *node)
{
    if (role && node && role->share_again) {
        role->share_again = false;
        mig_deviceplugin_share_again(role->plugin);
    }
    if (role) {
        role->node = node;
        announce(role);
    }
}

void deviceplugin_role_xid(struct deviceplugin_role *role, const struct mig_helper_xid *xid)
{
    if (role) {
        mig_deviceplugin_xid(role->plugin, xid->gpu_uuid, xid->gi_id, xid->ci_id, xid->xid);
    }
}

void deviceplugin_role_recovery(struct deviceplugin_role *role,
                                const struct mig_helper_recovery *recovery)
{
    if (role) {
        mig_deviceplugin_recovery(role->plugin, recovery->gpu_uuid, recovery->action);
    }
}

void deviceplugin_role_mps(struct deviceplugin_role *role, const struct mig_helper_mps_state *state)
{
    if (role) {
        mig_deviceplugin_mps(role->plugin, state->uuid, state->ready, state->text);
    }
}

/* The next helper gives a snapshot first of all. */
void deviceplugin_role_helper_lost(struct deviceplugin_role *role)
{
    if (role) {
        role->share_again = true;
    }
}

void deviceplugin_role_reset(struct deviceplugin_role *role, const char *gpu_uuid)
{
    if (role) {
        mig_deviceplugin_reset(role->plugin, gpu_uuid);
    }
}

void deviceplugin_role_withhold(struct deviceplugin_role *role,
                                const struct mig_manager_slice *slices, size_t count)
{
    MIG_AUTO_FREE struct mig_dp_withheld *withheld = NULL;
    struct mig_error error = {0};

    if (!role) {
        return;
    }
    withheld = calloc(count + 1, sizeof(*withheld));
    for (size_t i = 0; withheld && i < count; i++) {
        (void)mig_text_copy(withheld[i].gpu_uuid, sizeof(withheld[i].gpu_uuid), slices[i].gpu_uuid);
        withheld[i].gi_profile = slices[i].profile;
        withheld[i].start = slices[i].start;
    }
    if (!withheld || mig_deviceplugin_withhold(role->plugin, withheld, count, &error) < 0) {
        log_error(LOG_LEVEL_ERROR, AREA, &error, "slices that are to go may still be given out");
    }
}

struct mig_deviceplugin *deviceplugin_role_plugin(const struct deviceplugin_role *role)
{
    return role ? role->plugin : NULL;
}

const struct mig_dp_config *deviceplugin_role_config(const struct deviceplugin_role *role)
{
    return role ? role->config : NULL;
}

/* Where this process sees the driver; "" when a default mount is not there. */
static void set_view(const struct daemon_values *values, enum daemon_option_id id,
                     char view[MIG_DP_PATH_SIZE])
{
    struct stat status;

    if (stat(values->texts[id], &status) == 0) {
        (void)mig_text_copy(view, MIG_DP_PATH_SIZE, values->texts[id]);
    }
}

static int start(struct deviceplugin_role *role, struct mig_error *error)
{
    const struct daemon_values *values = role->options.values;
    struct mig_dp_config *config = NULL;
    struct mig_deviceplugin_options options = {
        .host = {.driver_root = role->driver_root, .dev_root = role->dev_root},
        .kubelet_dir = values->texts[DAEMON_KUBELET_DIR],
        .by_registry = strcmp(values->texts[DAEMON_PLUGIN_REGISTRATION], "registry") == 0,
        .open_socket = open_socket,
        .write_cdi = write_cdi,
        .share = share,
        .event = on_event,
        .data = role,
    };
    const char *path = values->texts[DAEMON_PLUGIN_CONFIG_FILE];
    int rc = make_config(role, &role->file_text, &config, error);

    set_view(values, DAEMON_DRIVER_ROOT_CTR_PATH, role->driver_root);
    set_view(values, DAEMON_DEV_ROOT_CTR_PATH, role->dev_root);
    options.config = config;
    if (rc == 0) {
        rc = mig_deviceplugin_new(role->options.loop, &options, &role->plugin, error);
        if (rc < 0) {
            mig_dp_config_free(config);
        }
    }
    role->config = config;
    rc = rc < 0 ? rc : await_runtime(role, error);
    if (rc == 0 && path[0]) {
        rc = file_watch_new(role->options.loop, path, MIG_DP_CONFIG_BYTES_MAX, file_changed, role,
                            &role->file, error);
    }
    return rc < 0 ? rc : start_selection(role, error);
}

int deviceplugin_role_new(const struct deviceplugin_role_options *options,
                          struct deviceplugin_role **ret, struct mig_error *error)
{
    struct deviceplugin_role *role = calloc(1, sizeof(*role));
    int rc;

    if (!role) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not start the device plugin");
    }
    role->options = *options;
    role->link = calloc(1, sizeof(*role->link));
    if (role->link) {
        role->link->role = role;
    }
    rc = role->link ? start(role, error)
                    : mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                          "could not start the device plugin");
    if (rc < 0) {
        deviceplugin_role_free(role);
        return rc;
    }
    *ret = role;
    return 0;
}

void deviceplugin_role_free(struct deviceplugin_role *role)
{
    if (role) {
        plugin_select_free(role->select);
        file_watch_free(role->file);
        if (role->timer) {
            uv_close((uv_handle_t *)role->timer, timer_closed);
        }
        mig_deviceplugin_free(role->plugin);
        if (role->link) {
            role->link->role = NULL;
            release_link(role->link);
        }
        release_text(&role->file_text);
        free(role);
    }
}
