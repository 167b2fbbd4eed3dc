/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the machine's inputs come from: the Node object by watch, ClusterPolicy by watch when the
 * cluster has that kind, the ConfigMap that it names by watch, files by inotify. Without a cluster,
 * the node object is made here.
 */
#include "base/buffer.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/manager_internal.h"
#include "kube/objects.h"
#include <string.h>

#define POLICIES "/apis/nvidia.com/v1/clusterpolicies"
#define POLICY_AGAIN_MS 60000u
#define POLICY_RETRY_MS 2000u
#define MAP_KEY "config.yaml"
#define PAIRS_MAX 1024u

/* --- the Node object --- */

static struct mig_manager_pair *read_pairs(json_t *map, size_t *ret_count)
{
    size_t size = json_object_size(map), count = 0;
    struct mig_manager_pair *pairs = calloc(size + 1, sizeof(*pairs));
    const char *key;
    json_t *value;

    if (pairs) {
        json_object_foreach(map, key, value)
        {
            if (json_is_string(value) && count < PAIRS_MAX) {
                pairs[count++] = (struct mig_manager_pair){key, json_string_value(value)};
            }
        }
    }
    *ret_count = count;
    return pairs;
}

static bool has_taint(const json_t *node)
{
    const json_t *taints = json_object_get(json_object_get(node, "spec"), "taints"), *taint;
    size_t i;

    json_array_foreach(taints, i, taint)
    {
        const char *key = json_string_value(json_object_get(taint, "key"));

        if (key && strcmp(key, MIG_MANAGER_TAINT) == 0) {
            return true;
        }
    }
    return false;
}

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

void inputs_read_object(json_t *node, void (*use)(const struct mig_manager_object *object, void *),
                        void *data)
{
    json_t *metadata = json_object_get(node, "metadata");
    struct mig_manager_object object = {
        .exists = true,
        .uid = text_in(metadata, "uid"),
        .resource_version = text_in(metadata, "resourceVersion"),
        .not_ready_taint = has_taint(node),
    };
    MIG_AUTO_FREE struct mig_manager_pair *labels =
        read_pairs(json_object_get(metadata, "labels"), &object.label_count);
    MIG_AUTO_FREE struct mig_manager_pair *annotations =
        read_pairs(json_object_get(metadata, "annotations"), &object.annotation_count);

    if (labels && annotations) {
        object.labels = labels;
        object.annotations = annotations;
        use(&object, data);
    }
}

static void feed_object(const struct mig_manager_object *object, void *data)
{
    struct manager_role *role = data;
    struct mig_manager_object told = *object;
    const struct mig_manager_event event = {.kind = MIG_MANAGER_OBJECT, .object = &told};

    told.listed = role->node_watch && mig_kube_watch_is_listing(role->node_watch);
    role_feed(role, &event);
}

static void feed_no_object(struct manager_role *role)
{
    const struct mig_manager_object object = {.exists = false, .uid = "", .resource_version = ""};

    feed_object(&object, role);
}

static void feed_online(struct manager_role *role, bool online)
{
    const struct mig_manager_event event = {.kind =
                                                online ? MIG_MANAGER_ONLINE : MIG_MANAGER_OFFLINE};

    role_feed(role, &event);
}

static void tell_object(const struct manager_role *role, const json_t *object)
{
    if (role->options.object) {
        role->options.object(object, role->options.data);
    }
}

static void node_event(enum mig_kube_watch_event what, json_t *object,
                       const struct mig_error *error, void *data)
{
    struct manager_role *role = data;

    switch (what) {
    case MIG_KUBE_ADDED:
    case MIG_KUBE_MODIFIED:
        role->node_known = true;
        tell_object(role, object);
        inputs_read_object(object, feed_object, role);
        break;
    case MIG_KUBE_DELETED:
        role->node_known = false;
        log_write(LOG_LEVEL_WARNING, "manager", NULL, 0, "the node object is gone");
        feed_no_object(role);
        break;
    case MIG_KUBE_SYNCED:
        if (!role->node_known) {
            log_write(LOG_LEVEL_WARNING, "manager", NULL, 0, "the cluster has no node '%s' (yet)",
                      role->options.node_name);
            tell_object(role, NULL);
            feed_no_object(role);
        }
        feed_online(role, true);
        break;
    case MIG_KUBE_OFFLINE:
        log_error(LOG_LEVEL_WARNING, "kube", error, "the API server does not answer");
        feed_online(role, false);
        break;
    default:
        break;
    }
}

/* --- configs --- */

static void feed_config(struct manager_role *role, enum mig_manager_source source, const char *name,
                        const char *text, size_t size, const struct mig_error *error)
{
    const struct mig_manager_config config = {
        .source = source, .name = name, .text = text, .size = size, .error = error};
    const struct mig_manager_event event = {.kind = MIG_MANAGER_CONFIG, .config = &config};

    if (error) {
        log_error(LOG_LEVEL_WARNING, "manager", error, "no configs from '%s'", name);
    } else {
        log_write(LOG_LEVEL_DEBUG, "manager", NULL, 0, "configs from '%s', %zu bytes", name, size);
    }
    role_feed(role, &event);
}

static void file_changed(const char *path, const char *text, size_t size,
                         const struct mig_error *error, void *data)
{
    feed_config(data, MIG_MANAGER_SOURCE_FILE, path, text, size, error);
}

static void default_file_changed(const char *path, const char *text, size_t size,
                                 const struct mig_error *error, void *data)
{
    feed_config(data, MIG_MANAGER_SOURCE_DEFAULT_FILE, path, text, size, error);
}

static void map_changed(const char *name, json_t *values, const struct mig_error *error, void *data)
{
    struct manager_role *role = data;
    const json_t *text = json_object_get(values, MAP_KEY);
    struct mig_error missing;

    if (!error && !json_is_string(text)) {
        (void)mig_error_set(&missing, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                            "ConfigMap '%s/%s' has no key " MAP_KEY,
                            mig_kube_namespace(role->options.kube), name);
        error = &missing;
    }
    feed_config(role, MIG_MANAGER_SOURCE_CONFIG_MAP, name, json_string_value(text),
                json_string_length(text), error);
}

/* Follows another ConfigMap; "" = none. */
static void watch_map(struct manager_role *role, const char *name)
{
    struct mig_error error;

    if (strcmp(map_watch_name(role->map_watch), name) == 0) {
        return;
    }
    map_watch_free(role->map_watch);
    role->map_watch = NULL;
    if (name[0] &&
        map_watch_new(role->options.kube, name, map_changed, role, &role->map_watch, &error) < 0) {
        log_error(LOG_LEVEL_ERROR, "manager", &error, "no configs from a ConfigMap");
    }
}

/* --- ClusterPolicy --- */

/* The oldest one counts, as for the GPU operator; NULL in `object` = there is none. */
static void feed_policy(struct manager_role *role, const json_t *object)
{
    const json_t *spec = json_object_get(object, "spec");
    const json_t *config = json_object_get(json_object_get(spec, "migManager"), "config");
    const struct mig_manager_policy policy = {
        .config_map = text_in(config, "name"),
        .default_config = text_in(config, "default"),
    };
    const struct mig_manager_event event = {.kind = MIG_MANAGER_POLICY, .policy = &policy};
    const json_t *plugin = json_object_get(json_object_get(spec, "devicePlugin"), "config");
    const struct manager_role_policy others = {
        .strategy = text_in(json_object_get(spec, "mig"), "strategy"),
        .plugin_map = text_in(plugin, "name"),
        .plugin_default = text_in(plugin, "default"),
    };

    watch_map(role, policy.config_map);
    role_feed(role, &event);
    if (role->options.policy) {
        role->options.policy(&others, role->options.data);
    }
}

static const char *age_key(const json_t *object, const char *key)
{
    return text_in(json_object_get(object, "metadata"), key);
}

static bool is_older(const json_t *a, const json_t *b)
{
    int order = strcmp(age_key(a, "creationTimestamp"), age_key(b, "creationTimestamp"));

    return order < 0 || (order == 0 && strcmp(age_key(a, "name"), age_key(b, "name")) < 0);
}

static bool same_object(const json_t *a, const json_t *b)
{
    return strcmp(age_key(a, "uid"), age_key(b, "uid")) == 0;
}

static void policy_event(enum mig_kube_watch_event what, json_t *object,
                         const struct mig_error *error, void *data)
{
    struct manager_role *role = data;

    (void)error;
    if (what == MIG_KUBE_ADDED || what == MIG_KUBE_MODIFIED) {
        if (!role->policy || same_object(role->policy, object) || is_older(object, role->policy)) {
            json_decref(role->policy);
            role->policy = json_incref(object);
            feed_policy(role, object);
        }
    } else if (what == MIG_KUBE_DELETED && role->policy && same_object(role->policy, object)) {
        json_decref(role->policy);
        role->policy = NULL;
        mig_kube_watch_free(role->policy_watch); /* another one may be there: list again */
        role->policy_watch = NULL;
        inputs_look_for_policy(role, 0);
    } else if (what == MIG_KUBE_SYNCED && !role->policy) {
        feed_policy(role, NULL);
    }
}

static void watch_policies(struct manager_role *role)
{
    const struct mig_kube_watch_options options = {
        .path = POLICIES, .event = policy_event, .data = role};
    struct mig_error error;

    if (mig_kube_watch_new(role->options.kube, &options, &role->policy_watch, &error) < 0) {
        log_error(LOG_LEVEL_ERROR, "manager", &error, "could not follow ClusterPolicy");
    }
}

/* Does the cluster have that kind? Where it has not, it may get it later. */
static void policy_answered(struct mig_kube_call *call, int status, json_t *object,
                            const struct mig_error *error, void *data)
{
    struct manager_role *role = data;

    (void)call;
    (void)object;
    role->policy_call = NULL;
    if (status == 200) {
        role->policy_told = false; /* what there is will be told, and when there is nothing again */
        watch_policies(role);
        return;
    }
    if (status == 404 || status == 403) {
        if (!role->policy_told) {
            role->policy_told = true;
            if (status == 403) {
                log_error(LOG_LEVEL_WARNING, "manager", error, "ClusterPolicy is not followed");
            } else {
                log_write(LOG_LEVEL_INFO, "manager", NULL, 0, "the cluster has no ClusterPolicy");
            }
            feed_policy(role, NULL);
        }
        inputs_look_for_policy(role, POLICY_AGAIN_MS);
        return;
    }
    inputs_look_for_policy(role, POLICY_RETRY_MS);
}

static void policy_timer_fired(uv_timer_t *timer)
{
    struct manager_role *role = timer->data;
    const struct mig_kube_reply reply = {
        .done = policy_answered, .data = role, .ret = &role->policy_call};
    struct mig_error error;

    if (mig_kube_get(role->options.kube, POLICIES "?limit=1", &reply, &error) < 0) {
        log_error(LOG_LEVEL_WARNING, "manager", &error, "could not ask for ClusterPolicy");
        inputs_look_for_policy(role, POLICY_RETRY_MS);
    }
}

void inputs_look_for_policy(struct manager_role *role, unsigned after_ms)
{
    (void)uv_timer_start(&role->policy_timer, policy_timer_fired, after_ms, 0);
}

/* --- beginning and end --- */

static int start_files(struct manager_role *role, struct mig_error *error)
{
    const struct daemon_values *values = role->options.values;
    const char *file = values->texts[DAEMON_CONFIG_FILE];
    const char *fallback = values->texts[DAEMON_DEFAULT_CONFIG_FILE];
    int rc = 0;

    if (file[0]) {
        rc = file_watch_new(role->options.loop, file, MIG_CONFIG_BYTES_MAX, file_changed, role,
                            &role->config_file, error);
    }
    if (rc == 0 && fallback[0]) {
        rc = file_watch_new(role->options.loop, fallback, MIG_CONFIG_BYTES_MAX,
                            default_file_changed, role, &role->default_file, error);
    }
    return rc;
}

static int start_local(struct manager_role *role, struct mig_error *error)
{
    struct mig_manager_object object;
    int rc = local_node_set(&role->local, role->options.values->texts[DAEMON_CONFIG], error);

    if (rc < 0) {
        return rc;
    }
    feed_online(role, true);
    object = local_node_object(&role->local);
    feed_object(&object, role);
    return 0;
}

int inputs_start(struct manager_role *role, struct mig_error *error)
{
    int rc = start_files(role, error);

    if (rc < 0) {
        return rc;
    }
    if (!role->options.kube) {
        return start_local(role, error);
    }
    if (role->options.values->texts[DAEMON_CLUSTER_POLICY][0] == 'y') {
        inputs_look_for_policy(role, 0);
    }
    return own_node_watch(role->options.kube, role->options.node_name, node_event, role,
                          &role->node_watch, error);
}

void inputs_stop(struct manager_role *role)
{
    file_watch_free(role->config_file);
    file_watch_free(role->default_file);
    role->config_file = role->default_file = NULL;
    mig_kube_watch_free(role->node_watch);
    mig_kube_watch_free(role->policy_watch);
    map_watch_free(role->map_watch);
    role->node_watch = role->policy_watch = NULL;
    role->map_watch = NULL;
    mig_kube_cancel(role->policy_call);
    role->policy_call = NULL;
    (void)uv_timer_stop(&role->policy_timer);
    json_decref(role->policy);
    role->policy = NULL;
}
