/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MIG manager: makes the node's GPUs be as its label nvidia.com/mig.config asks, and tells the
 * truth about it. A pure state machine: no I/O, no clock, no globals. docs/manager.md is the
 * contract with users; this header is the contract with whoever runs the machine.
 *
 * How it is run. Everything that happens is told by mig_manager_step() as one event; what has to be
 * done comes back as a list of actions, to be begun in their order. Time is an argument (monotonic,
 * milliseconds); `wake_ms` says when the machine wants MIG_MANAGER_TIME next. A step never waits.
 *
 * How it thinks. Level-triggered: it holds the latest of each input (node object, config, snapshot
 * of the hardware, holders) and, after each event, compares what is with what is wanted and does
 * the next thing. It remembers little, so a machine that starts anew on whatever state a dead one
 * left goes on from there: what has to survive is on the node object (the state label and the
 * annotations below) or in the record.
 *
 * Answers. An action with an id is answered exactly once, by an event that repeats the id (the
 * table at enum mig_manager_action_kind says which), also when it failed or its executor went away.
 * An answer that comes after the machine has given up on it is recognised by its id, and ignored.
 *
 * Memory. What an event points to is copied, with one exception: the snapshot
 * (`struct mig_node *`). It is borrowed, and has to stay valid and unchanged until a step with
 * another snapshot has returned (or the machine is freed). What an action points to is valid until
 * the next step.
 */
#ifndef MIG_MANAGER_H
#define MIG_MANAGER_H

#include <mig/config.h>
#include <mig/node.h>

/* ---- names ----------------------------------------------------------------------------------- */

#define MIG_MANAGER_LABEL_CONFIG "nvidia.com/mig.config"
#define MIG_MANAGER_LABEL_STATE "nvidia.com/mig.config.state"
#define MIG_MANAGER_LABEL_DEPLOY "nvidia.com/gpu.deploy." /* and the name of a GPU client */
#define MIG_MANAGER_PAUSED "paused-for-mig-change"
#define MIG_MANAGER_ANNOTATION_MESSAGE "migd.dev/mig-config-message"
#define MIG_MANAGER_ANNOTATION_PAUSED "migd.dev/paused-clients"
#define MIG_MANAGER_ANNOTATION_SERVICES "migd.dev/stopped-services"
#define MIG_MANAGER_ANNOTATION_ON_BUSY "migd.dev/on-busy"
#define MIG_MANAGER_TAINT "migd.dev/mig-not-ready" /* effect NoSchedule */

#define MIG_MANAGER_NAME_SIZE 256     /* object names, namespaces, uids, label values */
#define MIG_MANAGER_MESSAGE_SIZE 1024 /* annotation, event and log texts */
#define MIG_MANAGER_HOLDERS_MAX 4096u /* pairs of (pod, device) */
#define MIG_MANAGER_EVICTIONS_MAX 64u /* pods that are evicted in one go */
#define MIG_MANAGER_SERVICES_MAX 32u
#define MIG_MANAGER_SLICES_MAX ((size_t)MIG_GPU_MAX * (MIG_GI_MAX + 1u))
#define MIG_MANAGER_CHANGES_MAX 16u  /* labels and annotations of one patch */
#define MIG_MANAGER_ACTIONS_MAX 128u /* of one step */
#define MIG_MANAGER_NEVER UINT64_MAX

/* ---- options --------------------------------------------------------------------------------- */

/* What happens when a slice that has to go is held. */
enum mig_manager_on_busy {
    MIG_MANAGER_BUSY_KEEP = 0, /* nothing is changed: failed, with the names */
    MIG_MANAGER_BUSY_WAIT,     /* pending until it is free, failed after busy_timeout_ms */
    MIG_MANAGER_BUSY_EVICT,    /* its pods are evicted (PodDisruptionBudgets hold), then as WAIT */
};

/* Zeroes are the defaults, where not said otherwise. All is copied. */
struct mig_manager_options {
    const char *node_name; /* needed */
    const char *boot_id;   /* /proc/sys/kernel/random/boot_id; "" = not known: never reboots */
    uint64_t boot_ms;      /* when that was, on the clock of mig_manager_step; 0 is right for
                              CLOCK_MONOTONIC */
    uint64_t seed;         /* of the jitter */

    /* Where configs come from: CONFIG_FILE if it is set, else the ConfigMap that ClusterPolicy
     * names, else made from the hardware, else DEFAULT_CONFIG_FILE. Only what is true here is
     * waited for. */
    bool has_config_file, has_default_file;
    bool has_cluster_policy; /* a MIG_MANAGER_POLICY event will come, also "there is none" */
    bool mode_only;          /* MIG_PARTED_MODE_CHANGE_ONLY: instances are not looked at */

    enum mig_manager_on_busy on_busy; /* the node's annotation migd.dev/on-busy wins */
    unsigned busy_timeout_ms;         /* 0 = 300,000 */
    bool repair_drift;                /* else it is only told */
    bool skip_reset;
    bool with_reboot;            /* when a mode change stays pending, the host is rebooted, once */
    bool cdi_enabled;            /* CDI specs are made again before success is told */
    bool restart_plugin;         /* somebody else's device plugin runs here: its pods are made anew
                                    when instances changed without its having been paused */
    bool stop_services;          /* WITH_SHUTDOWN_HOST_GPU_CLIENTS */
    const char *const *services; /* systemd units, NULL-terminated; at most
                                    MIG_MANAGER_SERVICES_MAX. No other is ever started, whatever
                                    MIG_MANAGER_ANNOTATION_SERVICES says */

    unsigned retry_min_ms, retry_max_ms; /* after a failure; 0 = 5,000 and 300,000 */
    unsigned poll_ms;                    /* while waiting for holders or client pods; 0 = 1,000 */
    unsigned clients_timeout_ms;         /* for the pods of paused clients to end; 0 = 300,000 */
    unsigned apply_timeout_ms; /* 0 = 660,000, more than the helper's own; then it is given up */
    unsigned record_after_ms;  /* no word from the API server: the record is used; 0 = 3,000 */
};

/* ---- events ---------------------------------------------------------------------------------- */

struct mig_manager_pair {
    const char *key, *value;
};

/* The Kubernetes node object. One that is older than the one known (resourceVersion) is ignored,
 * but not from a list: after the cluster's store was put back from a copy, all are older. */
struct mig_manager_object {
    bool exists, listed;
    const char *uid, *resource_version;
    const struct mig_manager_pair *labels, *annotations;
    size_t label_count, annotation_count;
    bool not_ready_taint; /* MIG_MANAGER_TAINT is there */
};

enum mig_manager_source {
    MIG_MANAGER_SOURCE_FILE = 0,     /* CONFIG_FILE */
    MIG_MANAGER_SOURCE_CONFIG_MAP,   /* named by ClusterPolicy, key config.yaml */
    MIG_MANAGER_SOURCE_DEFAULT_FILE, /* DEFAULT_CONFIG_FILE */
    MIG_MANAGER_SOURCE_GENERATED,    /* never in an event: the machine makes it */
    MIG_MANAGER_SOURCE_COUNT
};

/* A config source as it is now. Told once at the start and at each change. */
struct mig_manager_config {
    enum mig_manager_source source;
    const char *name; /* path, or name of the ConfigMap; one that is not asked for is ignored */
    const char *text; /* NULL: it is not there, or could not be read; `error` says which */
    size_t size;
    const struct mig_error *error;
};

/* What of ClusterPolicy concerns the manager. "" where there is no ClusterPolicy. */
struct mig_manager_policy {
    const char *config_map;     /* spec.migManager.config.name */
    const char *default_config; /* spec.migManager.config.default: "" or "all-disabled" */
};

/* One device that a pod holds, as the kubelet says. */
struct mig_manager_holder {
    const char *namespace_name, *pod, *uid; /* uid "" where it is not known */
    const char *device; /* "MIG-...", "GPU-...", also with "::N" as of a shared one */
};

/* What is known from before: see MIG_MANAGER_SAVE_RECORD. NULL texts are "". */
struct mig_manager_record {
    const char *label;       /* the config last confirmed, or the one the host is rebooted for */
    const char *config_name; /* the source's, for messages */
    const char *config_text; /* the whole file */
    size_t config_size;
    const char *boot_id;        /* of the boot in which it was written */
    const char *reboot_label;   /* the host was rebooted for this config; "" = it was not */
    const char *reboot_boot_id; /* in this boot the reboot was asked for */
};

enum mig_manager_event_kind {
    MIG_MANAGER_TIME = 0, /* time has passed; also fine when nobody asked for it */

    /* First of all events; `record` NULL: there is none, or it was damaged. */
    MIG_MANAGER_START,

    /* Inputs: as they are now, whenever they change. */
    MIG_MANAGER_OBJECT,
    MIG_MANAGER_CONFIG,
    MIG_MANAGER_POLICY,
    MIG_MANAGER_SNAPSHOT,   /* `node` set; changed = somebody changed it (drift) */
    MIG_MANAGER_UNREADABLE, /* the hardware cannot be read: `error`; SNAPSHOT follows when it can */
    MIG_MANAGER_ONLINE,     /* the API server answers */
    MIG_MANAGER_OFFLINE,    /* it has not for a while; what was asked of it is tried all the same */
    MIG_MANAGER_HELPER_LOST,
    MIG_MANAGER_HELPER_BACK,

    /* The answer to an action: `id`, `result` and `error` set, and what the kind asks for. */
    MIG_MANAGER_ANSWER,
};

/* The kubelet's answer, in MIG_MANAGER_ANSWER to MIG_MANAGER_READ_HOLDERS. */
struct mig_manager_holders {
    const struct mig_manager_holder *holders;
    size_t count;
    bool truncated; /* there were more than MIG_MANAGER_HOLDERS_MAX: nothing may be destroyed */
};

struct mig_manager_event {
    enum mig_manager_event_kind kind;
    const struct mig_manager_record *record; /* START */
    const struct mig_manager_object *object; /* OBJECT; in the answer to PATCH what came back */
    const struct mig_manager_config *config; /* CONFIG */
    const struct mig_manager_policy *policy; /* POLICY */
    const struct mig_node *node; /* SNAPSHOT; in answers to READ_NODE and APPLY, NULL on failure */

    /* ANSWER */
    uint64_t id;
    int result; /* 0, or an enum mig_result */
    int status; /* HTTP's, of what was asked of the API server; 0 = no answer */
    const struct mig_error *error;
    const struct mig_manager_holders *holders; /* READ_HOLDERS */
    bool mode_pending;                         /* APPLY: struct mig_apply_report */
    const char *const *names; /* LIST_CLIENT_PODS: "ns/name" of those still there; STOP_SERVICES */
    size_t name_count;
};

/* ---- actions --------------------------------------------------------------------------------- */

/* Which slice is meant. profile MIG_MANAGER_WHOLE_GPU: the GPU as such, given to pods as a whole.
 */
#define MIG_MANAGER_WHOLE_GPU 0xff
struct mig_manager_slice {
    char gpu_uuid[MIG_UUID_SIZE];
    uint8_t profile, start; /* as in struct mig_gi */
};

enum mig_manager_action_kind {
    /* Told and done; no id, no answer. */
    MIG_MANAGER_LOG = 0, /* `level`, `text` */
    MIG_MANAGER_EVENT,   /* a Kubernetes event on the node: `level`, `reason`, `text` */
    /* `slices`: no pod may be given these from now on, because they are to go. Always the whole
     * set; none = all may be given out again.
     * For migd's own device plugin; without one there is nothing to do. */
    MIG_MANAGER_WITHHOLD,
    /* `record`: to be there after a restart or reboot. Also goes to HOST_MIG_MANAGER_STATE_FILE
     * where that file exists (nvidia-mig-manager.service's MIG_PARTED_SELECTED_CONFIG). */
    MIG_MANAGER_SAVE_RECORD,
    /* `text` (`text_size` bytes): the config made from the hardware, for the ConfigMap
     * <node>-mig-config. Failures are the executor's to retry. */
    MIG_MANAGER_PUBLISH_CONFIG,

    /* Asked of the API server. The answer's `status` is HTTP's, and 0 when there was none; the
     * executor does not retry: the machine does. */
    MIG_MANAGER_PATCH, /* `changes`. Merge patch of the node, with `resource_version` ("" = whatever
                          it is). Answer: `object` on success; 409: it was another one by then */
    MIG_MANAGER_REMOVE_TAINT, /* MIG_MANAGER_TAINT of the node. Answer: as PATCH */
    MIG_MANAGER_EVICT, /* `namespace_name`, `pod`, by the Eviction API; `uid` ("" = not known)
                          is its precondition. 404 and 409 (another pod now): it is gone;
                          429: a budget forbids it, `error` names it */
    /* Pods on this node of the GPU clients that are paused: those of the operator's namespace with
     * app=nvidia-device-plugin-daemonset, gpu-feature-discovery, nvidia-dcgm-exporter, nvidia-dcgm,
     * and those of DaemonSets anywhere whose nodeSelector has nvidia.com/gpu.deploy.client.
     * Answer: `names`. */
    MIG_MANAGER_LIST_CLIENT_PODS,
    MIG_MANAGER_DELETE_PODS, /* `pods` says which; of this node. Those that are not there are fine
                              */

    /* Asked of the machine at hand. */
    MIG_MANAGER_READ_HOLDERS, /* pod-resources of the kubelet. Answer: `holders`; MIG_E_FAILED when
                                 the kubelet could not be asked */
    MIG_MANAGER_READ_NODE,    /* a fresh snapshot. Answer: `node` */
    MIG_MANAGER_APPLY, /* `goal` and `policies`, parallel to the GPUs of `node`; `skip_reset`.
                          Answer: result, `node` as it was read back, `mode_pending` */
    MIG_MANAGER_STOP_SERVICES,  /* `services`; those that run, in this order. Answer: `names` */
    MIG_MANAGER_START_SERVICES, /* `services`, in this order; goes on after failures */
    MIG_MANAGER_REFRESH_CDI,
    MIG_MANAGER_REBOOT, /* save the record that came before it first */
};

#define MIG_MANAGER_ACTION_KIND_COUNT (MIG_MANAGER_REBOOT + 1)

/* "patch", "read-node": the kind in lower case, with dashes. */
const char *mig_manager_action_name(enum mig_manager_action_kind kind);

enum mig_manager_level { MIG_MANAGER_INFO = 0, MIG_MANAGER_NOTICE, MIG_MANAGER_WARNING };

/* NOTICE and WARNING events are "Normal" and "Warning"; there are none of level INFO. */

enum mig_manager_pods {
    MIG_MANAGER_PODS_VALIDATORS = 0, /* app=nvidia-cuda-validator, nvidia-device-plugin-validator */
    MIG_MANAGER_PODS_OPERATOR,       /* app=nvidia-operator-validator: it checks again */
    MIG_MANAGER_PODS_PLUGIN,         /* app=nvidia-device-plugin-daemonset, gpu-feature-discovery,
                                        nvidia-dcgm-exporter */
};

/* One label or annotation to write. */
struct mig_manager_change {
    bool is_annotation;
    const char *key;
    const char *value; /* NULL = remove */
};

/* Texts that a kind uses are never NULL. */
struct mig_manager_action {
    enum mig_manager_action_kind kind;
    uint64_t id; /* 0: no answer */
    enum mig_manager_level level;
    const char *reason, *text;
    size_t text_size;
    const struct mig_manager_change *changes;
    size_t change_count;
    const char *resource_version;
    const char *namespace_name, *pod, *uid; /* EVICT */
    enum mig_manager_pods pods;
    const struct mig_node *node; /* the borrowed snapshot */
    const struct mig_goal *goal;
    const struct mig_policy *policies;
    const struct mig_manager_slice *slices;
    size_t slice_count;
    bool skip_reset;
    const char *const *services;
    size_t service_count;
    const struct mig_manager_record *record;
};

struct mig_manager_actions {
    size_t count;
    struct mig_manager_action list[MIG_MANAGER_ACTIONS_MAX];
    uint64_t wake_ms; /* when MIG_MANAGER_TIME is wanted at the latest; MIG_MANAGER_NEVER */
};

/* ---- the machine ----------------------------------------------------------------------------- */

struct mig_manager;

int mig_manager_new(const struct mig_manager_options *options, struct mig_manager **ret,
                    struct mig_error *error);
void mig_manager_free(struct mig_manager *manager); /* NULL is allowed */

/* Takes one event in. `now_ms` never goes back; one that does is taken for the last one. */
void mig_manager_step(struct mig_manager *manager, const struct mig_manager_event *event,
                      uint64_t now_ms, struct mig_manager_actions *ret);

/* For migctl status and the metrics: the state and its reason, valid until the next step. */
struct mig_manager_status {
    const char *wanted;     /* "" = nothing is asked for */
    const char *state;      /* as in the label; "" */
    const char *message;    /* as in the annotation; "" */
    uint32_t failure_count; /* in a row */
    bool clients_paused;
    bool settled; /* as wanted, known not to be reachable (for now), or nothing is wanted */
};
void mig_manager_status(const struct mig_manager *manager, struct mig_manager_status *ret);

#endif
