/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's inside. One step is: take the event in (inputs.c), work out what is wanted
 * (source.c), do the next thing about it (reconcile.c, with holders.c, evict.c and clients.c),
 * write what the node object has to say (publish.c). Each of these compares what is with what is
 * wanted, so it does not matter which event came, or whether the machine was started a moment ago.
 */
#ifndef MIG_MANAGER_INTERNAL_H
#define MIG_MANAGER_INTERNAL_H

#include "manager/manager.h"

#define MIG_MANAGER_TEXTS_MAX 32u    /* log and event texts of one step */
#define MIG_MANAGER_BLOCKERS_MAX 64u /* who is in the way, as far as they are told apart */
#define MIG_MANAGER_CLIENT_COUNT 6u
#define MIG_MANAGER_LIST_SIZE 3200u /* names of services, or of clients, in an annotation */

/* What is asked of the executor, one of each kind at a time (evictions have their own). */
enum mig_manager_op {
    MIG_MANAGER_OP_PATCH = 0,
    MIG_MANAGER_OP_TAINT,
    MIG_MANAGER_OP_CLIENT_PODS,
    MIG_MANAGER_OP_HOLDERS,
    MIG_MANAGER_OP_READ,
    MIG_MANAGER_OP_APPLY,
    MIG_MANAGER_OP_STOP,
    MIG_MANAGER_OP_START,
    MIG_MANAGER_OP_CDI,
    MIG_MANAGER_OP_REBOOT,
    MIG_MANAGER_OP_COUNT
};

struct mig_manager_pending {
    uint64_t id; /* 0 = nothing is under way */
    uint64_t deadline_ms;
};

/* A try that failed is tried again at a time that grows. */
struct mig_manager_retry {
    uint32_t failure_count;
    uint64_t at_ms; /* not before */
};

struct mig_manager_label {
    bool present;
    char value[MIG_MANAGER_NAME_SIZE];
};

/* What of the node object concerns us. */
struct mig_manager_seen {
    bool known, exists, taint;
    char uid[MIG_MANAGER_NAME_SIZE], resource_version[64];
    struct mig_manager_label config, state, deploy[MIG_MANAGER_CLIENT_COUNT];
    struct mig_manager_label on_busy;
    bool has_message, has_paused, has_services;
    char message[MIG_MANAGER_MESSAGE_SIZE];
    char paused[MIG_MANAGER_LIST_SIZE], services[MIG_MANAGER_LIST_SIZE];
};

#define MIG_MANAGER_SOURCE_RECORD MIG_MANAGER_SOURCE_COUNT /* kept from before */

/* A config file as it was told last. */
struct mig_manager_file {
    bool known;
    uint64_t revision; /* another one with each content */
    char name[MIG_MANAGER_NAME_SIZE];
    char *text; /* NULL: it is not there; error says why */
    size_t size;
    struct mig_config *config; /* NULL: it is not there or not valid; error says why */
    struct mig_error error;
};

enum mig_manager_wish_kind {
    MIG_MANAGER_WISH_UNKNOWN = 0, /* not all has been told yet, or there is no node object */
    MIG_MANAGER_WISH_NOTHING,     /* no config is asked for */
    MIG_MANAGER_WISH_INVALID,     /* what is asked for makes no sense: error */
    MIG_MANAGER_WISH_GOAL,
};

/* What is wanted, from the inputs alone. */
struct mig_manager_wish {
    enum mig_manager_wish_kind kind;
    char label[MIG_MANAGER_NAME_SIZE];
    unsigned source;
    uint64_t revision;
    struct mig_goal goal;
    struct mig_error error;
};

/* A pod that holds a device. */
struct mig_manager_pod {
    char namespace_name[MIG_MANAGER_NAME_SIZE], pod[MIG_MANAGER_NAME_SIZE];
    char uid[MIG_MANAGER_NAME_SIZE];
    char device[MIG_UUID_SIZE]; /* without "::N" */
};

/* Someone in the way: a pod, or (pod NULL) a process. */
struct mig_manager_blocker {
    const struct mig_manager_pod *pod;
    const struct mig_process *process;
    uint32_t gpu; /* index into node->gpus */
    uint32_t gi;  /* index into layout.gis; MIG_ID_NONE: the whole GPU */
};

/* Everybody in the way of a plan. */
struct mig_manager_blockers {
    size_t count;
    size_t more;          /* not in the list */
    bool processes_alone; /* something is held by a process and no pod: no eviction frees it */
    bool mode_processes;  /* processes alone stand against a change of mode */
    struct mig_manager_blocker list[MIG_MANAGER_BLOCKERS_MAX];
};

struct mig_manager_eviction {
    char namespace_name[MIG_MANAGER_NAME_SIZE], pod[MIG_MANAGER_NAME_SIZE];
    char uid[MIG_MANAGER_NAME_SIZE];
    struct mig_manager_pending pending;
    struct mig_manager_retry retry;
    bool accepted;
    char refusal[MIG_MANAGER_NAME_SIZE];
};

enum mig_manager_state {
    MIG_MANAGER_STATE_LEAVE = 0, /* nothing is claimed yet: what is there stays */
    MIG_MANAGER_STATE_NONE,      /* nothing is asked for: there is no state */
    MIG_MANAGER_STATE_PENDING,
    MIG_MANAGER_STATE_SUCCESS,
    MIG_MANAGER_STATE_FAILED,
    MIG_MANAGER_STATE_REBOOTING,
};

/* The way from what is to what is wanted. Begun anew when something else is wanted. */
struct mig_manager_run {
    bool begun; /* label, source and revision are set */
    char label[MIG_MANAGER_NAME_SIZE];
    unsigned source;
    uint64_t revision;

    bool confirmed;   /* the hardware was seen to be as wanted */
    bool drifted;     /* ... and then was not any more */
    bool applying;    /* an apply was begun for this run */
    bool unconfirmed; /* it is said to be done: the next read has to show it */
    bool applied;     /* instances or modes were changed */
    bool unseen;      /* ... while GPU clients ran: a device plugin of others has not seen it */
    bool refreshed;   /* CDI specs were made after that */
    bool stalled;     /* waited for too long: told as failed, but still waiting */
    bool escalate;    /* the driver said in use, of nobody we know: GPU clients have to pause */
    bool surprised;   /* the driver said in use, of what we did not see; once */
    bool futile;      /* pausing them did not free the GPU */
    bool leave_mode;  /* for a reboot: the next apply leaves a mode that it cannot set pending */
    struct mig_error reboot_error;  /* what the reboot is needed for */
    bool holders_fresh, node_fresh; /* read since the run last started to look */
    uint64_t busy_since_ms;         /* 0 = nobody is waited for */
    struct mig_manager_retry retry;
};

/* GPU clients and host services: `hold` is what is wanted, the rest how far it is. */
struct mig_manager_clients {
    bool hold;
    bool held;         /* all is paused, ended and stopped: the GPUs are ours */
    bool had_pods;     /* listed and gone, once is enough */
    bool validators;   /* their pods were deleted */
    bool stopped_done; /* services were stopped in this hold */
    bool was_held;     /* since the last success; the operator's validator is to check again */
    uint64_t since_ms, poll_ms;
    struct mig_manager_retry start_retry;
    size_t stopped_count; /* services that we stopped */
    char stopped[MIG_MANAGER_SERVICES_MAX][MIG_MANAGER_NAME_SIZE];
    size_t awaited_count;
    char awaited[MIG_MANAGER_NAME_SIZE];
};

struct mig_manager_own_record {
    char label[MIG_MANAGER_NAME_SIZE];
    char boot_id[MIG_MANAGER_NAME_SIZE], reboot_label[MIG_MANAGER_NAME_SIZE];
    char reboot_boot_id[MIG_MANAGER_NAME_SIZE];
    uint64_t saved_revision;
};

struct mig_manager {
    struct mig_manager_options options;
    char boot_id[MIG_MANAGER_NAME_SIZE];
    size_t service_count; /* of those, how many are to be stopped: all or none */
    size_t service_known_count;
    char services[MIG_MANAGER_SERVICES_MAX][MIG_MANAGER_NAME_SIZE];

    uint64_t now_ms, start_ms, next_id, random, next_revision;
    bool started, offline, helper_lost, kubelet_seen, decided;
    bool patch_lost;     /* one may have been made or not: the next that is answered tells */
    bool patch_conflict; /* the object was another one: the next to be told ends the backoff */
    uint64_t helper_lost_ms;

    /* inputs */
    struct mig_manager_seen seen;
    bool policy_known;
    char config_map[MIG_MANAGER_NAME_SIZE], default_config[MIG_MANAGER_NAME_SIZE];
    struct mig_manager_file files[MIG_MANAGER_SOURCE_COUNT + 1];
    uint64_t models_hash; /* of what the generated config was made for */
    const struct mig_node *node;
    bool node_stale; /* something of ours ended without telling how the node is now */
    bool node_unreadable;
    struct mig_error node_error;
    struct mig_manager_pod *pods;
    size_t pod_count;
    bool pods_known, pods_truncated;
    struct mig_error pods_error;
    struct mig_manager_own_record record;

    /* what is done */
    struct mig_manager_pending ops[MIG_MANAGER_OP_COUNT];
    struct mig_manager_wish wish;
    struct mig_manager_run run;
    struct mig_manager_clients clients;
    struct mig_manager_eviction evictions[MIG_MANAGER_EVICTIONS_MAX];
    size_t eviction_count;
    struct mig_policy policies[MIG_GPU_MAX];
    struct mig_goal apply_goal; /* what the apply under way was given */
    struct mig_manager_retry read_retry, patch_retry, taint_retry;
    uint64_t reboot_deadline_ms;
    bool reboot_asked;

    /* what is said */
    enum mig_manager_state state;
    char message[MIG_MANAGER_MESSAGE_SIZE];
    char said_reason[64], said_text[MIG_MANAGER_MESSAGE_SIZE]; /* the last event, not repeated */
    uint32_t failure_count;

    /* what actions of this step point to */
    struct mig_manager_actions *actions;
    struct mig_manager_change changes[MIG_MANAGER_CHANGES_MAX];
    size_t change_count;
    char paused_text[MIG_MANAGER_LIST_SIZE], services_text[MIG_MANAGER_LIST_SIZE];
    char keys[MIG_MANAGER_CLIENT_COUNT][64],
        values[MIG_MANAGER_CLIENT_COUNT][MIG_MANAGER_NAME_SIZE];
    size_t text_count;
    char texts[MIG_MANAGER_TEXTS_MAX][MIG_MANAGER_MESSAGE_SIZE];
    const char *service_list[MIG_MANAGER_SERVICES_MAX];
    struct mig_manager_record record_out;
    bool withhold_told; /* to whom an earlier manager may have told something else */
    size_t withheld_count;
    struct mig_manager_slice withheld[MIG_MANAGER_SLICES_MAX];
};

/* ---- manager.c: actions, time ---- */

/* An action to fill in; NULL when the step is full (it is tried again at the next). */
struct mig_manager_action *mig_manager_act(struct mig_manager *manager,
                                           enum mig_manager_action_kind kind);

/* The same with an id: the op is under way until it is answered or `limit_ms` have passed. */
struct mig_manager_action *mig_manager_begin(struct mig_manager *manager, enum mig_manager_op op,
                                             enum mig_manager_action_kind kind, unsigned limit_ms);
bool mig_manager_busy(const struct mig_manager *manager, enum mig_manager_op op);
void mig_manager_wake(struct mig_manager *manager, uint64_t at_ms);
bool mig_manager_is_due(struct mig_manager *manager, uint64_t at_ms); /* else wakes then */
void mig_manager_backoff(struct mig_manager *manager, struct mig_manager_retry *retry,
                         unsigned min_ms, unsigned max_ms);
bool mig_manager_expired(struct mig_manager_pending *pending, struct mig_manager *manager);

/* ---- inputs.c ---- */

void mig_manager_take(struct mig_manager *manager, const struct mig_manager_event *event);
void mig_manager_see_object(struct mig_manager *manager, const struct mig_manager_object *object);

/* ---- answers.c ---- */

#define MIG_MANAGER_NOT_SHOWN "the change was made but does not show in what was read back"

void mig_manager_answer(struct mig_manager *manager, const struct mig_manager_event *event);
void mig_manager_expire(struct mig_manager *manager);

/* ---- source.c ---- */

void mig_manager_set_file(struct mig_manager *manager, unsigned source,
                          const struct mig_manager_config *config);
void mig_manager_work_out_wish(struct mig_manager *manager);

/* ---- holders.c ---- */

/* Marks in manager->policies every instance that a pod holds. */
void mig_manager_protect(struct mig_manager *manager);

/* Who is in the way of the plan; ret->count 0 = nobody. */
void mig_manager_find_blockers(const struct mig_manager *manager, const struct mig_node_plan *plan,
                               struct mig_manager_blockers *ret);

/* "default/a (1g.5gb at 3 of GPU 0), python3 (pid 42, GPU 1)" */
void mig_manager_name_blockers(const struct mig_manager *manager,
                               const struct mig_manager_blockers *blockers, char *buffer,
                               size_t size);

/* What has to go for the goal, if `blockers` (may be NULL) did: not to be given to pods any more.
 * True when that is another set than before: pods that were given some meanwhile are to be looked
 * for again. */
bool mig_manager_withhold(struct mig_manager *manager, const struct mig_manager_blockers *blockers);
void mig_manager_release(struct mig_manager *manager);

/* ---- evict.c ---- */

void mig_manager_evict(struct mig_manager *manager, const struct mig_manager_blockers *blockers);
bool mig_manager_evict_answer(struct mig_manager *manager, const struct mig_manager_event *event);
void mig_manager_name_refusals(const struct mig_manager *manager, char *buffer, size_t size);

/* ---- clients.c ---- */

extern const char *const mig_manager_client_names[MIG_MANAGER_CLIENT_COUNT];

/* Goes on with pausing GPU clients and stopping services. True when all are; else it goes on later
 * (or the run has failed). */
bool mig_manager_hold_clients(struct mig_manager *manager);

/* Goes on with undoing it. True when nothing is left but to write labels, which publish does. */
bool mig_manager_free_clients(struct mig_manager *manager);
bool mig_manager_has_clients(const struct mig_manager *manager); /* anything to pause or stop */

/* Adds the changes of labels and annotations that pausing or restoring needs now. */
void mig_manager_client_changes(struct mig_manager *manager);
void mig_manager_adopt_services(struct mig_manager *manager);

/* ---- reconcile.c ---- */

void mig_manager_reconcile(struct mig_manager *manager);
/* True when what is known of holders (and of the hardware) was read since the run last began to
 * look; else that is begun. */
bool mig_manager_look(struct mig_manager *manager, bool at_node);
void mig_manager_look_again(struct mig_manager *manager);

/* ---- finish.c ---- */

/* The hardware is as wanted. */
void mig_manager_finish(struct mig_manager *manager);

/* An apply failed: a reboot is begun if that may help, else the run has failed. */
void mig_manager_consider_reboot(struct mig_manager *manager, const struct mig_error *error);

/* True while the host goes down. */
bool mig_manager_reboot_step(struct mig_manager *manager);
void mig_manager_delete_pods(struct mig_manager *manager, enum mig_manager_pods pods);

/* ---- publish.c ---- */

void mig_manager_publish(struct mig_manager *manager);
void mig_manager_add_change(struct mig_manager *manager, bool is_annotation, const char *key,
                            const char *value);
void mig_manager_patched(struct mig_manager *manager, const struct mig_manager_event *event);

/* ---- message.c ---- */

const char *mig_manager_state_name(enum mig_manager_state state);
void mig_manager_say(struct mig_manager *manager, enum mig_manager_level level, const char *reason,
                     const char *format, ...) MIG_PRINTF(4, 5);
void mig_manager_log(struct mig_manager *manager, enum mig_manager_level level, const char *format,
                     ...) MIG_PRINTF(3, 4);
void mig_manager_set_state(struct mig_manager *manager, enum mig_manager_state state,
                           const char *format, ...) MIG_PRINTF(3, 4);

/* The run has failed: told, undone, and tried again later. */
void mig_manager_fail(struct mig_manager *manager, const char *reason,
                      const struct mig_error *error);

#endif
