/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three inputs, in any order: the label, the configs, the default. Whenever one is another, all of
 * it is decided again (src/deviceplugin/dp_choice.h has the rules), so that there is no order in
 * which something is missed.
 *
 * At the start nothing is decided before all inputs are known, or the node would be announced with
 * other settings for a moment; but no longer than START_MS, since a node whose API server is away
 * has devices all the same.
 */
#include "daemon/plugin_select.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "daemon/config_set.h"
#include "daemon/folder_watch.h"
#include "daemon/log.h"
#include "daemon/map_watch.h"
#include "daemon/own_node.h"
#include "deviceplugin/dp_choice.h"
#include "exporter/own.h"
#include <errno.h>
#include <string.h>

#define AREA "plugin"
#define START_MS 5000u
#define NAME_SIZE 256

struct plugin_select {
    struct plugin_select_options options;
    uv_timer_t timer;
    unsigned open_handles; /* of the timer and the folder */
    /* the label */
    struct mig_kube_watch *node_watch;
    bool label_known, has_object;
    char wanted[NAME_SIZE];
    /* the configs */
    struct folder_watch folder;
    uint64_t folder_state;
    struct map_watch *map;
    bool by_policy; /* the ClusterPolicy says where */
    bool configs_known;
    struct config_set configs;
    struct mig_error configs_error; /* message "" = none */
    char default_name[NAME_SIZE];
    /* what came of it */
    struct own_node_events *events;
    bool settled, in_force;
    char force_name[NAME_SIZE]; /* "" = none */
    char told[MIG_ERROR_MESSAGE_SIZE];
};

/* ---- deciding ---- */

static const char *source_name(const struct plugin_select *select)
{
    const char *folder = select->options.values->texts[DAEMON_PLUGIN_CONFIG_DIR];

    return folder[0] ? folder : map_watch_name(select->map);
}

static void show(const struct plugin_select *select)
{
    struct mig_counters *counters = select->options.counters;

    mig_counter_forget(counters, &mig_count_plugin_config);
    mig_counter_set(counters, &mig_count_plugin_config, 1, select->force_name, select->wanted,
                    NULL);
}

/* Each reason is told once, until there is another one or none. */
static void tell_refused(struct plugin_select *select, const struct mig_error *error)
{
    char text[MIG_ERROR_MESSAGE_SIZE + NAME_SIZE + MIG_ERROR_HINT_SIZE + 64];

    if (strcmp(select->told, error->message) == 0) {
        return;
    }
    (void)mig_text_copy(select->told, sizeof(select->told), error->message);
    snprintf(text, sizeof(text), "%s; %s%s stays in force%s%s", error->message,
             select->force_name[0] ? "config " : "no config", select->force_name,
             error->hint[0] ? "; " : "", error->hint);
    log_write(LOG_LEVEL_ERROR, AREA, NULL, 0, "%s", text);
    own_node_event(select->events, true, "DevicePluginConfigInvalid", "Configure", text);
    mig_counter_add(select->options.counters, &mig_count_config_errors, 1, NULL);
}

static void tell_used(struct plugin_select *select, const char *name)
{
    char text[2 * NAME_SIZE + 64];
    bool changed = !select->in_force || strcmp(select->force_name, name) != 0;

    if (!select->told[0] && !changed) {
        return;
    }
    select->told[0] = '\0';
    select->in_force = true;
    (void)mig_text_copy(select->force_name, sizeof(select->force_name), name);
    if (name[0]) {
        snprintf(text, sizeof(text), "the device plugin has config '%s' of %s", name,
                 source_name(select));
    } else {
        snprintf(text, sizeof(text), "the device plugin has no config but its options");
    }
    log_write(LOG_LEVEL_INFO, AREA, NULL, 0, "%s", text);
    if (changed) {
        own_node_event(select->events, false, "DevicePluginConfigApplied", "Configure", text);
    }
}

static int choose(const struct plugin_select *select, const char *wanted, size_t *ret,
                  struct mig_error *error)
{
    const struct daemon_values *values = select->options.values;
    const char *names[CONFIG_SET_MAX];
    const struct mig_dp_choice choice = {
        .label = values->texts[DAEMON_PLUGIN_CONFIG_LABEL],
        .wanted = wanted,
        .default_name = select->default_name,
        .fallbacks = values->texts[DAEMON_PLUGIN_CONFIG_FALLBACK],
        .source = source_name(select),
        .configs = names,
        .count = select->configs.count,
    };

    for (size_t i = 0; i < select->configs.count; i++) {
        names[i] = select->configs.items[i].name;
    }
    return mig_dp_choose(&choice, ret, error);
}

static int use(struct plugin_select *select, size_t index, struct mig_error *error)
{
    const struct config_item *item =
        index == MIG_DP_CHOICE_NONE ? NULL : &select->configs.items[index];

    return select->options.use(item ? item->name : NULL, item ? item->text : NULL,
                               item ? item->size : 0, error, select->options.data);
}

/* One of the configs; an error when what is asked for cannot be had. */
static int follow(struct plugin_select *select, const char *wanted, struct mig_error *error)
{
    size_t index = MIG_DP_CHOICE_NONE;
    int rc = 0;

    if (select->configs_error.message[0]) {
        *error = select->configs_error;
        return MIG_E_CONFIG;
    }
    if (source_name(select)[0]) {
        rc = choose(select, wanted, &index, error);
    }
    rc = rc < 0 ? rc : use(select, index, error);
    if (rc == 0) {
        tell_used(select, index == MIG_DP_CHOICE_NONE ? "" : select->configs.items[index].name);
    }
    return rc;
}

static void settle(struct plugin_select *select)
{
    if (!select->settled) {
        select->settled = true;
        (void)uv_timer_stop(&select->timer);
        select->options.settled(select->options.data);
    }
}

/* A node that never had a config takes the default rather than none when its label is wrong. */
static void decide(struct plugin_select *select)
{
    struct mig_error error = {0}, other = {0};

    if (!select->label_known || !select->configs_known) {
        return;
    }
    if (follow(select, select->wanted, &error) < 0) {
        if (!select->in_force && select->wanted[0]) {
            (void)follow(select, "", &other);
        }
        tell_refused(select, &error);
    }
    show(select);
    settle(select);
}

static void waited_long_enough(uv_timer_t *timer)
{
    struct plugin_select *select = timer->data;

    log_write(LOG_LEVEL_WARNING, AREA, NULL, 0,
              "the config of the device plugin is not known: %s; it begins without",
              select->configs_known ? "the node object could not be read"
                                    : "its source could not be read");
    if (select->configs_known && !select->label_known) {
        select->label_known = true;
        decide(select);
        select->label_known = false;
    }
    settle(select);
}

/* ---- the label ---- */

void plugin_select_object(struct plugin_select *select, const json_t *node)
{
    const json_t *labels = json_object_get(json_object_get(node, "metadata"), "labels");
    const char *value;

    if (!select) {
        return;
    }
    value = json_string_value(
        json_object_get(labels, select->options.values->texts[DAEMON_PLUGIN_CONFIG_LABEL]));
    value = value ? value : "";
    if (!select->label_known || strcmp(select->wanted, value) != 0) {
        select->label_known = true;
        (void)mig_text_copy(select->wanted, sizeof(select->wanted), value);
        decide(select);
    }
}

static void node_event(enum mig_kube_watch_event what, json_t *object,
                       const struct mig_error *error, void *data)
{
    struct plugin_select *select = data;

    (void)error;
    if (what == MIG_KUBE_ADDED || what == MIG_KUBE_MODIFIED) {
        select->has_object = true;
        plugin_select_object(select, object);
    } else if (what == MIG_KUBE_SYNCED && !select->has_object) {
        plugin_select_object(select, NULL);
    }
}

/* ---- the configs ---- */

/* Takes `set` over. With an error the old ones are forgotten: what is not there cannot be chosen;
 * what is in force is not touched by that. */
static void set_configs(struct plugin_select *select, struct config_set *set,
                        const struct mig_error *error)
{
    config_set_release(&select->configs);
    select->configs = *set;
    select->configs_error = error ? *error : (struct mig_error){0};
    select->configs_known = true;
    decide(select);
}

static void look_at_folder(void *data)
{
    struct plugin_select *select = data;
    const char *path = select->options.values->texts[DAEMON_PLUGIN_CONFIG_DIR];
    uint64_t state = config_set_folder_state(path);
    struct config_set set = {0};
    struct mig_error error;

    if (select->configs_known && state == select->folder_state) {
        return;
    }
    select->folder_state = state;
    if (config_set_read_folder(path, &set, &error) < 0) {
        set_configs(select, &set, &error);
    } else {
        set_configs(select, &set, NULL);
    }
}

static void map_changed(const char *name, json_t *values, const struct mig_error *error, void *data)
{
    struct plugin_select *select = data;
    struct config_set set = {0};
    struct mig_error own;

    if (!error && config_set_read_map(values, &set, &own) < 0) {
        mig_error_prefix(&own, "ConfigMap '%s'", name);
        error = &own;
    }
    set_configs(select, &set, error);
}

void plugin_select_policy(struct plugin_select *select, const char *map, const char *default_name)
{
    const struct daemon_values *values;
    struct config_set none = {0};
    struct mig_error error;
    bool same_default;

    if (!select || !select->by_policy) {
        return;
    }
    values = select->options.values;
    if (!values->texts[DAEMON_PLUGIN_DEFAULT_CONFIG][0]) {
        same_default = strcmp(select->default_name, default_name) == 0;
        (void)mig_text_copy(select->default_name, sizeof(select->default_name), default_name);
        if (!same_default && strcmp(map_watch_name(select->map), map) == 0) {
            decide(select);
        }
    }
    if (strcmp(map_watch_name(select->map), map) == 0 && (map[0] || select->configs_known)) {
        return;
    }
    map_watch_free(MIG_TAKE(select->map));
    select->configs_known = false;
    if (!map[0]) {
        set_configs(select, &none, NULL);
    } else if (map_watch_new(select->options.kube, map, map_changed, select, &select->map, &error) <
               0) {
        set_configs(select, &none, &error);
    }
}

/* ---- beginning and end ---- */

static void release(void *data)
{
    struct plugin_select *select = data;

    select->open_handles--;
    if (select->open_handles == 0) {
        config_set_release(&select->configs);
        free(select);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static int start_configs(struct plugin_select *select, struct mig_error *error)
{
    const struct daemon_values *values = select->options.values;
    const char *folder = values->texts[DAEMON_PLUGIN_CONFIG_DIR];
    const char *map = values->texts[DAEMON_PLUGIN_CONFIG_MAP];
    int rc;

    if (folder[0]) {
        rc = folder_watch_start(&select->folder, select->options.loop, folder, look_at_folder,
                                select, error);
        select->open_handles += rc == 0;
        return rc;
    }
    if (map[0]) {
        return map_watch_new(select->options.kube, map, map_changed, select, &select->map, error);
    }
    select->by_policy = true;
    return 0;
}

static int start(struct plugin_select *select, struct mig_error *error)
{
    const struct plugin_select_options *options = &select->options;
    int rc = start_configs(select, error);

    if (rc < 0) {
        return rc;
    }
    if (!options->kube) {
        select->label_known = true;
        return 0;
    }
    select->events = own_node_events_new(options->kube, options->node_name);
    return options->has_manager ? 0
                                : own_node_watch(options->kube, options->node_name, node_event,
                                                 select, &select->node_watch, error);
}

/* A single file (--plugin-config-file) leaves nothing to select. */
static bool is_wanted(const struct plugin_select_options *options)
{
    const struct daemon_values *values = options->values;
    bool by_policy = options->has_manager && values->texts[DAEMON_CLUSTER_POLICY][0] == 'y';

    return !values->texts[DAEMON_PLUGIN_CONFIG_FILE][0] &&
           (values->texts[DAEMON_PLUGIN_CONFIG_DIR][0] ||
            (options->kube && (values->texts[DAEMON_PLUGIN_CONFIG_MAP][0] || by_policy)));
}

int plugin_select_new(const struct plugin_select_options *options, struct plugin_select **ret,
                      struct mig_error *error)
{
    struct plugin_select *select;
    int rc;

    *ret = NULL;
    if (!is_wanted(options)) {
        return 0;
    }
    select = calloc(1, sizeof(*select));
    if (!select) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not follow the configs of the device plugin");
    }
    select->options = *options;
    (void)mig_text_copy(select->default_name, sizeof(select->default_name),
                        options->values->texts[DAEMON_PLUGIN_DEFAULT_CONFIG]);
    (void)uv_timer_init(options->loop, &select->timer);
    select->timer.data = select;
    select->open_handles = 1;
    (void)uv_timer_start(&select->timer, waited_long_enough, START_MS, 0);
    rc = start(select, error);
    if (rc < 0) {
        plugin_select_free(select);
        return rc;
    }
    *ret = select;
    return 0;
}

void plugin_select_free(struct plugin_select *select)
{
    if (select) {
        mig_kube_watch_free(select->node_watch);
        map_watch_free(select->map);
        own_node_events_free(select->events);
        if (select->folder.folder) {
            folder_watch_stop(&select->folder, release);
        }
        uv_close((uv_handle_t *)&select->timer, timer_closed);
    }
}
