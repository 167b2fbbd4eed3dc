/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the manager's role share. manager_role.h is its outside. */
#ifndef MIG_DAEMON_MANAGER_INTERNAL_H
#define MIG_DAEMON_MANAGER_INTERNAL_H

#include "config/clients_file.h"
#include "daemon/file_watch.h"
#include "daemon/local_node.h"
#include "daemon/manager_role.h"
#include "daemon/map_watch.h"
#include "daemon/own_node.h"
#include "daemon/record.h"

#define ROLE_LATER_MAX 128u

struct task;

/* An answer that could be given at once; a step must not be made from within another. */
struct role_later {
    uint64_t id;
    int result, status;
    struct mig_error error;
    bool with_object; /* the local node */
    bool with_holders;
};

struct role_publish; /* manager_cluster.c: the generated ConfigMap */

struct manager_role {
    struct manager_role_options options;
    struct mig_manager *machine;
    struct mig_manager_actions actions;
    uv_timer_t timer;
    unsigned open_handles;
    bool helper_lost;
    bool stepping, stopping, told_stopped, freed;
    struct mig_clients_file clients;
    char boot_id[64];

    /* answers */
    struct role_later later[ROLE_LATER_MAX];
    size_t later_count;
    struct task *tasks; /* asked, not answered */
    size_t task_count;
    uint64_t stop_at_ms;

    /* inputs */
    struct mig_node *node; /* the machine's snapshot */
    struct file_watch *config_file, *default_file;
    struct mig_kube_watch *node_watch, *policy_watch;
    struct map_watch *map_watch;
    bool node_known, policy_told;
    json_t *policy; /* the ClusterPolicy that counts */
    uv_timer_t policy_timer;
    struct mig_kube_call *policy_call;
    struct local_node local;

    /* outputs */
    struct own_node_events *events;
    struct role_publish *publish;
    char wanted[MIG_MANAGER_NAME_SIZE], state[32], message[MIG_MANAGER_MESSAGE_SIZE];
    uint32_t failure_count;
    bool clients_paused, settled;
    int64_t since_s;
    uint64_t state_ms; /* of the loop, when the state became what it is */
};

/* --- manager_role.c --- */

/* Takes an event into the machine and begins what comes of it. Only from the loop. */
void role_feed(struct manager_role *role, const struct mig_manager_event *event);
/* As SNAPSHOT, or with an answer: `node` (may be NULL) becomes the role's after the step. */
void role_feed_with_node(struct manager_role *role, struct mig_manager_event *event,
                         struct mig_node *node);

/* An action that is under way. It is in the role's list, and freed by its answer. */
struct task {
    struct manager_role *role; /* NULL: nobody waits any more */
    struct task *next, **link;
    uint64_t id;
    enum mig_manager_action_kind kind;
    bool helper_answers;        /* a helper's done() will come, whatever happens to the role */
    struct mig_kube_call *call; /* cancelled when it is freed before its answer */
    void (*release)(struct task *task); /* what belongs to it; may be NULL */
};

/* `size` >= sizeof(struct task), zeroed. NULL with the answer given when there is no memory. */
void *task_new(struct manager_role *role, const struct mig_manager_action *action, size_t size,
               void (*release)(struct task *task));
/* Answers and frees. The event's kind and id are filled in. From the loop only. */
void task_answer(struct task *task, struct mig_manager_event *event, struct mig_node *node);
/* The same for a result with nothing else. `error` may be NULL. */
void task_result(struct task *task, int result, int status, const struct mig_error *error);
/* From within the beginning of an action: the answer comes after it. Frees. */
void task_answer_later(struct task *task, int result, int status, const struct mig_error *error);
void role_answer_later(struct manager_role *role, const struct role_later *later);

/* --- manager_inputs.c --- */

int inputs_start(struct manager_role *role, struct mig_error *error);
void inputs_look_for_policy(struct manager_role *role, unsigned after_ms);
void inputs_stop(struct manager_role *role); /* watches end; also before free */
/* Calls `use` with what the machine needs of a Node object. */
void inputs_read_object(json_t *node, void (*use)(const struct mig_manager_object *object, void *),
                        void *data);

/* --- manager_cluster.c: actions on the API server --- */

void cluster_patch(struct manager_role *role, const struct mig_manager_action *action);
void cluster_remove_taint(struct manager_role *role, const struct mig_manager_action *action);
void cluster_evict(struct manager_role *role, const struct mig_manager_action *action);
void cluster_list_client_pods(struct manager_role *role, const struct mig_manager_action *action);
void cluster_delete_pods(struct manager_role *role, const struct mig_manager_action *action);
void cluster_event(struct manager_role *role, const struct mig_manager_action *action);
void cluster_publish(struct manager_role *role, const struct mig_manager_action *action);
void cluster_release(struct manager_role *role);

/* --- manager_holders.c --- */

void host_read_holders(struct manager_role *role, const struct mig_manager_action *action);

/* --- manager_host.c: actions of the helper --- */

void host_read_node(struct manager_role *role, const struct mig_manager_action *action);
void host_apply(struct manager_role *role, const struct mig_manager_action *action);
void host_services(struct manager_role *role, const struct mig_manager_action *action);
void host_refresh_cdi(struct manager_role *role, const struct mig_manager_action *action);
void host_reboot(struct manager_role *role, const struct mig_manager_action *action);
void host_save_record(struct manager_role *role, const struct mig_manager_action *action);

#endif
