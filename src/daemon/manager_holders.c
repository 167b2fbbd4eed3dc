/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who holds what, from three sources: the kubelet's word (which pod has which device), the API
 * server's (which pods there are on this node, and their uids), and the processes on the GPUs,
 * whose cgroups tell their pods. The last finds pods that have GPUs without having asked the
 * kubelet for them. Only the kubelet's word has to be had; without the others less is known, and
 * nothing wrong.
 */
#include "base/cleanup.h"
#include "daemon/cgroup.h"
#include "daemon/log.h"
#include "daemon/manager_internal.h"
#include "deviceplugin/pod_resources.h"
#include "kube/objects.h"
#include <string.h>

#define PODS_MAX 1024u
#define PROC "/proc"
#define STATIC_POD_KEY "kubernetes.io/config.hash" /* what cgroups call a static pod */

struct known_pod {
    char *namespace_name, *name, *uid, *hash;
};

struct holders_task {
    struct task task;
    struct mig_pod_resources_call *call;
    struct mig_kube_list *list;
    struct mig_pod_devices *devices;
    struct known_pod pods[PODS_MAX];
    size_t pod_count;
    struct mig_manager_holder *holders; /* texts belong to the others */
    size_t holder_count;
    bool truncated;
};

static void forget_pods(void *data)
{
    struct holders_task *task = data;

    while (task->pod_count) {
        struct known_pod *pod = &task->pods[--task->pod_count];

        free(pod->namespace_name);
        free(pod->name);
        free(pod->uid);
        free(pod->hash);
    }
}

static void holders_release(struct task *task)
{
    struct holders_task *holders = (struct holders_task *)task;

    mig_pod_resources_cancel(holders->call);
    mig_kube_list_cancel(holders->list);
    mig_pod_devices_free(holders->devices);
    forget_pods(holders);
    free(holders->holders);
}

/* --- putting together --- */

static void add_holder(struct holders_task *task, const struct mig_manager_holder *holder)
{
    for (size_t i = 0; i < task->holder_count; i++) {
        const struct mig_manager_holder *known = &task->holders[i];

        if (strcmp(known->device, holder->device) == 0 && strcmp(known->pod, holder->pod) == 0 &&
            strcmp(known->namespace_name, holder->namespace_name) == 0) {
            return;
        }
    }
    if (task->holder_count == MIG_MANAGER_HOLDERS_MAX) {
        task->truncated = true;
    } else {
        task->holders[task->holder_count++] = *holder;
    }
}

static void add_devices(struct holders_task *task)
{
    for (size_t i = 0; i < task->devices->count && !task->truncated; i++) {
        const struct mig_pod_device *device = &task->devices->items[i];
        struct mig_manager_holder holder = {.namespace_name = device->namespace_name,
                                            .pod = device->pod,
                                            .uid = "",
                                            .device = device->device};

        for (size_t p = 0; p < task->pod_count && !holder.uid[0]; p++) {
            if (strcmp(task->pods[p].name, device->pod) == 0 &&
                strcmp(task->pods[p].namespace_name, device->namespace_name) == 0) {
                holder.uid = task->pods[p].uid;
            }
        }
        add_holder(task, &holder);
    }
}

/* The UUID of what a process uses; "" when it has none. */
static const char *device_of(const struct mig_gpu *gpu, const struct mig_process *process)
{
    if (process->gi_id == MIG_ID_NONE) {
        return gpu->uuid;
    }
    for (unsigned g = 0; g < gpu->layout.gi_count; g++) {
        const struct mig_gi *gi = &gpu->layout.gis[g];

        for (unsigned c = 0; gi->id == process->gi_id && c < gi->ci_count; c++) {
            if (process->ci_id == MIG_ID_NONE || gi->cis[c].id == process->ci_id) {
                return gpu->gi_infos[g].devices[c].uuid;
            }
        }
    }
    return "";
}

static void add_process(struct holders_task *task, const struct mig_gpu *gpu,
                        const struct mig_process *process)
{
    const char *device = device_of(gpu, process);
    struct cgroup_pod pod;

    if (!device[0] || !cgroup_of_pid(PROC, process->pid, &pod)) {
        return;
    }
    for (size_t i = 0; i < task->pod_count; i++) {
        const struct known_pod *known = &task->pods[i];
        const struct mig_manager_holder holder = {.namespace_name = known->namespace_name,
                                                  .pod = known->name,
                                                  .uid = known->uid,
                                                  .device = device};

        if (strcmp(known->uid, pod.uid) == 0 || strcmp(known->hash, pod.uid) == 0) {
            add_holder(task, &holder);
            return;
        }
    }
}

static void answer(struct holders_task *task)
{
    const struct mig_node *node = task->task.role->node;
    struct mig_manager_holders holders;
    struct mig_manager_event event = {.holders = &holders};

    task->holders = calloc(MIG_MANAGER_HOLDERS_MAX, sizeof(*task->holders));
    if (!task->holders) {
        task_result(&task->task, MIG_E_FAILED, 0, NULL);
        return;
    }
    add_devices(task);
    for (uint32_t i = 0; node && i < node->gpu_count; i++) {
        for (uint32_t p = 0; p < node->gpus[i].process_known; p++) {
            add_process(task, &node->gpus[i], &node->gpus[i].processes[p]);
        }
    }
    holders = (struct mig_manager_holders){
        .holders = task->holders, .count = task->holder_count, .truncated = task->truncated};
    task_answer(&task->task, &event, NULL);
}

/* --- asking --- */

static char *copy_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return strdup(text ? text : "");
}

static void pod_listed(json_t *object, void *data)
{
    struct holders_task *task = data;
    const json_t *metadata = json_object_get(object, "metadata");
    struct known_pod pod;

    if (task->pod_count == PODS_MAX) {
        return;
    }
    pod = (struct known_pod){
        .namespace_name = copy_of(metadata, "namespace"),
        .name = copy_of(metadata, "name"),
        .uid = copy_of(metadata, "uid"),
        .hash = copy_of(json_object_get(metadata, "annotations"), STATIC_POD_KEY),
    };
    task->pods[task->pod_count++] = pod;
    if (!pod.namespace_name || !pod.name || !pod.uid || !pod.hash) {
        task->pod_count--;
        free(pod.namespace_name);
        free(pod.name);
        free(pod.uid);
        free(pod.hash);
    }
}

static void pods_listed(int status, const char *resource_version, const struct mig_error *error,
                        void *data)
{
    struct holders_task *task = data;

    (void)status;
    (void)resource_version;
    task->list = NULL;
    if (error) {
        log_error(LOG_LEVEL_DEBUG, "manager", error, "pods are known by the kubelet's word only");
        forget_pods(task);
    }
    answer(task);
}

static void devices_told(struct mig_pod_devices *devices, const struct mig_error *error, void *data)
{
    struct holders_task *task = data;
    struct manager_role *role = task->task.role;
    char selector[MIG_MANAGER_NAME_SIZE + 32];
    const struct mig_kube_list_options options = {
        .path = "/api/v1/pods",
        .field_selector = selector,
        .item = pod_listed,
        .restart = forget_pods,
        .done = pods_listed,
        .data = task,
        .timeout_ms = 5000,
    };

    task->call = NULL;
    task->devices = devices;
    if (error) {
        task_result(&task->task, MIG_E_FAILED, 0, error);
        return;
    }
    snprintf(selector, sizeof(selector), "spec.nodeName=%s", role->options.node_name);
    if (mig_kube_list(role->options.kube, &options, &task->list, NULL) < 0) {
        answer(task);
    }
}

static void kubelet_opened(int fd, const struct mig_error *error, void *data)
{
    struct holders_task *task = data;
    struct mig_pod_resources_options options = {.fd = fd, .done = devices_told, .data = task};
    struct mig_error problem;

    task->task.helper_answers = false;
    if (!task->task.role || error) {
        if (fd >= 0) {
            close(fd);
        }
        task_result(&task->task, MIG_E_FAILED, 0, error);
        return;
    }
    if (mig_pod_resources_ask(task->task.role->options.loop, &options, &task->call, &problem) < 0) {
        close(fd);
        task_result(&task->task, MIG_E_FAILED, 0, &problem);
    }
}

void host_read_holders(struct manager_role *role, const struct mig_manager_action *action)
{
    const struct role_later nobody = {.id = action->id, .with_holders = true};
    struct holders_task *task;
    struct mig_error error;
    int rc;

    if (!role->options.kube) {
        role_answer_later(role, &nobody); /* no pods here; processes are in the snapshot */
        return;
    }
    task = task_new(role, action, sizeof(*task), holders_release);
    if (!task) {
        return;
    }
    task->task.helper_answers = true;
    rc = mig_helper_open_socket(role->options.helper, MIG_HELPER_POD_RESOURCES, "", kubelet_opened,
                                task, &error);
    if (rc < 0) {
        task_answer_later(&task->task, rc, 0, &error);
    }
}
