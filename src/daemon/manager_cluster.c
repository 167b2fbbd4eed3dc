/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine asks of the API server. Without a cluster the node object is the local one,
 * there are no pods, and events are lines of the log.
 */
#include "base/buffer.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/manager_internal.h"
#include "kube/objects.h"
#include "kube/path.h"
#include <errno.h>
#include <string.h>

#define NAMES_MAX 1024u
#define PUBLISH_RETRY_MS 30000u
#define CLIENT_KEY "nvidia.com/gpu.deploy.client"

/* --- the node --- */

struct object_answer {
    struct task *task;
    int status;
};

static void answer_with_object(const struct mig_manager_object *object, void *data)
{
    struct object_answer *answer = data;
    struct mig_manager_event event = {.status = answer->status, .object = object};
    struct task *task = answer->task;

    answer->task = NULL;
    task_answer(task, &event, NULL);
}

static void node_written(struct mig_kube_call *call, int status, json_t *object,
                         const struct mig_error *error, void *data)
{
    struct task *task = data;
    struct object_answer answer = {task, status};

    (void)call;
    task->call = NULL;
    if (error) {
        task_result(task, MIG_E_FAILED, status, error);
        return;
    }
    inputs_read_object(object, answer_with_object, &answer);
    if (answer.task) {
        task_result(task, 0, status, NULL);
    }
}

static void patch_local(struct manager_role *role, const struct mig_manager_action *action)
{
    struct role_later later = {.id = action->id, .status = 200, .with_object = true};

    if (action->kind == MIG_MANAGER_PATCH) {
        later.result =
            local_node_patch(&role->local, action->changes, action->change_count, &later.error);
        later.status = later.result < 0 ? 0 : 200;
    }
    role_answer_later(role, &later);
}

static struct mig_kube_reply reply_to(struct task *task, mig_kube_done *done)
{
    return (struct mig_kube_reply){.done = done, .data = task, .ret = &task->call};
}

void cluster_patch(struct manager_role *role, const struct mig_manager_action *action)
{
    struct mig_kube_pair labels[MIG_MANAGER_CHANGES_MAX], annotations[MIG_MANAGER_CHANGES_MAX];
    struct mig_kube_metadata_patch patch = {.labels = labels, .annotations = annotations};
    struct mig_kube_reply reply;
    struct mig_error error;
    struct task *task;
    int rc;

    if (!role->options.kube) {
        patch_local(role, action);
        return;
    }
    task = task_new(role, action, sizeof(*task), NULL);
    if (!task) {
        return;
    }
    for (size_t i = 0; i < action->change_count && i < MIG_MANAGER_CHANGES_MAX; i++) {
        const struct mig_manager_change *change = &action->changes[i];
        const struct mig_kube_pair pair = {change->key, change->value};

        if (change->is_annotation) {
            annotations[patch.annotation_count++] = pair;
        } else {
            labels[patch.label_count++] = pair;
        }
    }
    patch.resource_version = action->resource_version[0] ? action->resource_version : NULL;
    reply = reply_to(task, node_written);
    rc = mig_kube_patch_node(role->options.kube, role->options.node_name, &patch, &reply, &error);
    if (rc < 0) {
        task_answer_later(task, rc, 0, &error);
    }
}

/* Reading and writing, perhaps several times: it has its own handle. */
struct taint_task {
    struct task task;
    struct mig_kube_taint_change *change;
};

static void taint_release(struct task *task)
{
    mig_kube_taint_cancel(((struct taint_task *)task)->change);
}

static void taint_removed(struct mig_kube_call *call, int status, json_t *object,
                          const struct mig_error *error, void *data)
{
    struct taint_task *taint = data;

    taint->change = NULL;
    node_written(call, status, object, error, &taint->task);
}

void cluster_remove_taint(struct manager_role *role, const struct mig_manager_action *action)
{
    struct mig_kube_reply reply = {.done = taint_removed};
    struct taint_task *taint;
    struct mig_error error;
    int rc;

    if (!role->options.kube) {
        patch_local(role, action);
        return;
    }
    taint = task_new(role, action, sizeof(*taint), taint_release);
    if (!taint) {
        return;
    }
    reply.data = taint;
    rc = mig_kube_taint_node(role->options.kube, role->options.node_name, NULL, MIG_MANAGER_TAINT,
                             &reply, &taint->change, &error);
    if (rc < 0) {
        task_answer_later(&taint->task, rc, 0, &error);
    }
}

/* --- eviction --- */

static void pod_evicted(struct mig_kube_call *call, int status, json_t *object,
                        const struct mig_error *error, void *data)
{
    struct task *task = data;

    (void)call;
    if (mig_kube_eviction_of(status, object) == MIG_KUBE_EVICTION_GONE) {
        status = 404;
    } else if (status == 409) { /* of something else than the uid: the pod is there */
        status = 500;
    }
    task->call = NULL;
    task_result(task, error ? MIG_E_FAILED : 0, status, error);
}

void cluster_evict(struct manager_role *role, const struct mig_manager_action *action)
{
    const struct mig_kube_pod pod = {
        .namespace_name = action->namespace_name,
        .name = action->pod,
        .uid = action->uid && action->uid[0] ? action->uid : NULL,
        .grace_period_s = -1,
    };
    struct task *task = task_new(role, action, sizeof(*task), NULL);
    struct mig_kube_reply reply;
    struct mig_error error;
    int rc;

    if (!task) {
        return;
    }
    if (!role->options.kube) {
        (void)mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "there is no cluster");
        task_answer_later(task, MIG_E_FAILED, 0, &error);
        return;
    }
    reply = reply_to(task, pod_evicted);
    rc = mig_kube_evict_pod(role->options.kube, &pod, &reply, &error);
    if (rc < 0) {
        task_answer_later(task, rc, 0, &error);
    }
}

/* --- pods of this node --- */

/* A list of pods, and then perhaps deleting them one by one. */
struct pods_task {
    struct task task;
    struct mig_kube_list *list;
    bool clients; /* those that LIST_CLIENT_PODS means */
    char *names[NAMES_MAX];
    size_t count, deleted;
    bool failed;
    struct mig_error error;
};

static void pods_release(struct task *task)
{
    struct pods_task *pods = (struct pods_task *)task;

    mig_kube_list_cancel(pods->list);
    for (size_t i = 0; i < pods->count; i++) {
        free(pods->names[i]);
    }
}

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

static bool is_of_daemonset(const json_t *pod)
{
    const json_t *owners = json_object_get(json_object_get(pod, "metadata"), "ownerReferences");
    const json_t *owner;
    size_t i;

    json_array_foreach(owners, i, owner)
    {
        if (strcmp(text_in(owner, "kind"), "DaemonSet") == 0) {
            return true;
        }
    }
    return false;
}

/* A client that is paused by its gpu.deploy label: one of the operator's, or a DaemonSet that
 * selects nodes by gpu.deploy.client. */
static bool is_client(const struct manager_role *role, const json_t *pod)
{
    static const char *const apps[] = {"nvidia-device-plugin-daemonset", "gpu-feature-discovery",
                                       "nvidia-dcgm-exporter", "nvidia-dcgm"};
    const json_t *metadata = json_object_get(pod, "metadata");
    const char *app = text_in(json_object_get(metadata, "labels"), "app");
    const char *home = role->options.values->texts[DAEMON_GPU_CLIENTS_NAMESPACE];

    for (size_t i = 0; i < MIG_ARRAY_SIZE(apps); i++) {
        if (strcmp(app, apps[i]) == 0 && strcmp(text_in(metadata, "namespace"), home) == 0) {
            return true;
        }
    }
    return is_of_daemonset(pod) &&
           json_object_get(json_object_get(json_object_get(pod, "spec"), "nodeSelector"),
                           CLIENT_KEY);
}

static void pod_listed(json_t *object, void *data)
{
    struct pods_task *pods = data;
    const json_t *metadata = json_object_get(object, "metadata");
    MIG_AUTO_BUFFER struct mig_buffer name;

    mig_buffer_init(&name, 1024); /* before any return: it is released by all of them */
    if (pods->count == NAMES_MAX || (pods->clients && !is_client(pods->task.role, object))) {
        return;
    }
    mig_buffer_printf(&name, "%s/%s", text_in(metadata, "namespace"), text_in(metadata, "name"));
    pods->names[pods->count] = mig_buffer_take(&name);
    pods->count += pods->names[pods->count] != NULL;
}

static void pods_restarted(void *data)
{
    struct pods_task *pods = data;

    while (pods->count) {
        free(pods->names[--pods->count]);
    }
}

static int list_pods(struct pods_task *pods, const char *namespace_name, const char *labels,
                     void (*done)(int status, const char *resource_version,
                                  const struct mig_error *error, void *data),
                     struct mig_error *error)
{
    struct manager_role *role = pods->task.role;
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    char selector[MIG_MANAGER_NAME_SIZE + 32];
    struct mig_kube_list_options options = {
        .field_selector = selector,
        .label_selector = labels,
        .item = pod_listed,
        .restart = pods_restarted,
        .done = done,
        .data = pods,
    };

    snprintf(selector, sizeof(selector), "spec.nodeName=%s", role->options.node_name);
    mig_kube_path_init(&path, "/api/v1");
    mig_kube_path_resource(&path, namespace_name, "pods");
    options.path = mig_kube_path_text(&path, error);
    return options.path ? mig_kube_list(role->options.kube, &options, &pods->list, error)
                        : MIG_E_USAGE;
}

static void clients_listed(int status, const char *resource_version, const struct mig_error *error,
                           void *data)
{
    struct pods_task *pods = data;
    struct mig_manager_event event = {
        .result = error ? MIG_E_FAILED : 0,
        .status = status,
        .error = error,
        .names = (const char *const *)pods->names,
        .name_count = pods->count,
    };

    (void)resource_version;
    pods->list = NULL;
    task_answer(&pods->task, &event, NULL);
}

/* NULL when it is answered already: there is no memory, or no cluster, so nothing to list. */
static struct pods_task *pods_task_new(struct manager_role *role,
                                       const struct mig_manager_action *action)
{
    const struct role_later later = {.id = action->id, .status = 200};

    if (!role->options.kube) {
        role_answer_later(role, &later);
        return NULL;
    }
    return task_new(role, action, sizeof(struct pods_task), pods_release);
}

void cluster_list_client_pods(struct manager_role *role, const struct mig_manager_action *action)
{
    struct pods_task *pods = pods_task_new(role, action);
    struct mig_error error;
    int rc;

    if (!pods) {
        return;
    }
    pods->clients = true;
    rc = list_pods(pods, NULL, NULL, clients_listed, &error);
    if (rc < 0) {
        task_answer_later(&pods->task, rc, 0, &error);
    }
}

static void delete_next(struct pods_task *pods);

static void pod_deleted(struct mig_kube_call *call, int status, json_t *object,
                        const struct mig_error *error, void *data)
{
    struct pods_task *pods = data;

    (void)call;
    (void)object;
    pods->task.call = NULL;
    if (error && status != 404 && !pods->failed) {
        pods->failed = true;
        pods->error = *error;
        mig_error_prefix(&pods->error, "could not delete pod '%s'", pods->names[pods->deleted]);
    }
    pods->deleted++;
    delete_next(pods);
}

static void delete_next(struct pods_task *pods)
{
    while (pods->deleted < pods->count) {
        char *name = pods->names[pods->deleted], *slash = strchr(name, '/');
        struct mig_kube_reply reply = reply_to(&pods->task, pod_deleted);
        const struct mig_kube_pod pod = {
            .namespace_name = name, .name = slash + 1, .grace_period_s = -1};
        int rc;

        *slash = '\0';
        rc = mig_kube_delete_pod(pods->task.role->options.kube, &pod, &reply, &pods->error);
        *slash = '/';
        if (rc == 0) {
            return;
        }
        pods->failed = true;
        pods->deleted++;
    }
    task_result(&pods->task, pods->failed ? MIG_E_FAILED : 0, 200,
                pods->failed ? &pods->error : NULL);
}

static void doomed_listed(int status, const char *resource_version, const struct mig_error *error,
                          void *data)
{
    struct pods_task *pods = data;

    (void)resource_version;
    pods->list = NULL;
    if (error) {
        task_result(&pods->task, MIG_E_FAILED, status, error);
    } else {
        delete_next(pods);
    }
}

void cluster_delete_pods(struct manager_role *role, const struct mig_manager_action *action)
{
    static const char *const selectors[] = {
        [MIG_MANAGER_PODS_VALIDATORS] =
            "app in (nvidia-cuda-validator,nvidia-device-plugin-validator)",
        [MIG_MANAGER_PODS_OPERATOR] = "app=nvidia-operator-validator",
        [MIG_MANAGER_PODS_PLUGIN] =
            "app in (nvidia-device-plugin-daemonset,gpu-feature-discovery,nvidia-dcgm-exporter)",
    };
    struct pods_task *pods = pods_task_new(role, action);
    struct mig_error error;
    int rc;

    if (!pods) {
        return;
    }
    rc = list_pods(pods, role->options.values->texts[DAEMON_GPU_CLIENTS_NAMESPACE],
                   selectors[action->pods], doomed_listed, &error);
    if (rc < 0) {
        task_answer_later(&pods->task, rc, 0, &error);
    }
}

/* --- events --- */

void cluster_event(struct manager_role *role, const struct mig_manager_action *action)
{
    if (role->options.kube && !role->events) {
        role->events = own_node_events_new(role->options.kube, role->options.node_name);
    }
    own_node_event(role->events, action->level == MIG_MANAGER_WARNING, action->reason,
                   "Reconfigure", action->text);
}

/* --- the generated ConfigMap --- */

/* The newest text is published; while that has not worked, it is tried again. */
struct role_publish {
    struct manager_role *role;
    uv_timer_t timer;
    struct mig_kube_call *call;
    char *text;
    char pod_uid[128];
    bool dirty, freed;
};

static void publish_timer_fired(uv_timer_t *timer);

static void publish_again(struct role_publish *publish, const struct mig_error *error,
                          const char *what)
{
    log_error(LOG_LEVEL_WARNING, "manager", error, "%s", what);
    (void)uv_timer_start(&publish->timer, publish_timer_fired, PUBLISH_RETRY_MS, 0);
}

static void map_written(struct mig_kube_call *call, int status, json_t *object,
                        const struct mig_error *error, void *data)
{
    struct role_publish *publish = data;

    (void)call;
    (void)object;
    (void)status;
    publish->call = NULL;
    if (error) {
        publish_again(publish, error, "could not publish the generated configs");
    } else if (publish->dirty) {
        (void)uv_timer_start(&publish->timer, publish_timer_fired, 0, 0);
    }
}

static void write_map(struct role_publish *publish)
{
    struct manager_role *role = publish->role;
    const struct daemon_values *values = role->options.values;
    const struct mig_kube_pair data = {"config.yaml", publish->text};
    const struct mig_kube_pair labels[] = {
        {"app.kubernetes.io/component", "nvidia-mig-manager"},
        {"nvidia.com/node-name", role->options.node_name},
    };
    const struct mig_kube_owner owner = {"v1", "Pod", values->texts[DAEMON_POD_NAME],
                                         publish->pod_uid};
    char name[MIG_MANAGER_NAME_SIZE + 16];
    const struct mig_kube_configmap map = {
        .namespace_name = mig_kube_namespace(role->options.kube),
        .name = name,
        .data = &data,
        .data_count = 1,
        .labels = labels,
        .label_count = MIG_ARRAY_SIZE(labels),
        .owner = publish->pod_uid[0] ? &owner : NULL,
    };
    const struct mig_kube_reply reply = {
        .done = map_written, .data = publish, .ret = &publish->call};
    struct mig_error error;

    snprintf(name, sizeof(name), "%s-mig-config", role->options.node_name);
    publish->dirty = false;
    if (mig_kube_apply_configmap(role->options.kube, &map, &reply, &error) < 0) {
        publish_again(publish, &error, "could not publish the generated configs");
    }
}

static void pod_read(struct mig_kube_call *call, int status, json_t *object,
                     const struct mig_error *error, void *data)
{
    struct role_publish *publish = data;

    (void)call;
    (void)status;
    publish->call = NULL;
    if (error) {
        publish_again(publish, error, "could not read migd's own pod");
        return;
    }
    (void)mig_text_copy(publish->pod_uid, sizeof(publish->pod_uid),
                        text_in(json_object_get(object, "metadata"), "uid"));
    write_map(publish);
}

static void publish_timer_fired(uv_timer_t *timer)
{
    struct role_publish *publish = timer->data;
    struct manager_role *role = publish->role;
    const char *pod = role->options.values->texts[DAEMON_POD_NAME];
    const struct mig_kube_reply reply = {.done = pod_read, .data = publish, .ret = &publish->call};
    struct mig_error error;

    if (publish->call) {
        publish->dirty = true;
    } else if (!pod[0] || publish->pod_uid[0]) {
        write_map(publish);
    } else if (mig_kube_get_pod(role->options.kube, mig_kube_namespace(role->options.kube), pod,
                                &reply, &error) < 0) {
        publish_again(publish, &error, "could not read migd's own pod");
    }
}

void cluster_publish(struct manager_role *role, const struct mig_manager_action *action)
{
    struct role_publish *publish = role->publish;
    char *text;

    if (!role->options.kube) {
        return;
    }
    if (!publish) {
        publish = role->publish = calloc(1, sizeof(*publish));
        if (!publish) {
            return;
        }
        publish->role = role;
        (void)uv_timer_init(role->options.loop, &publish->timer);
        publish->timer.data = publish;
    }
    text = strndup(action->text, action->text_size);
    if (text) {
        free(publish->text);
        publish->text = text;
        publish->dirty = true;
        (void)uv_timer_start(&publish->timer, publish_timer_fired, 0, 0);
    }
}

static void publish_closed(uv_handle_t *handle)
{
    struct role_publish *publish = handle->data;

    free(publish->text);
    free(publish);
}

void cluster_release(struct manager_role *role)
{
    own_node_events_free(role->events);
    role->events = NULL;
    if (role->publish) {
        mig_kube_cancel(role->publish->call);
        uv_close((uv_handle_t *)&role->publish->timer, publish_closed);
        role->publish = NULL;
    }
}
