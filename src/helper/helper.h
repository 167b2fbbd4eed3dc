/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privileged process, seen from migd: it is the only one that opens the NVIDIA driver or
 * changes the host, and it has no network. What comes from the other side is checked on both sides
 * (protocol.h).
 *
 *     migd-helper (supervisor)   first process; no network, no driver; starts and ends the others
 *       |- migd (agent)          unprivileged; Kubernetes, kubelet; the caller of this header
 *       `- migd-helper (helper)  privileged, empty network namespace; NVML and the host
 *
 * migd-helper is a program of its own, without what the agent needs for the network.
 *
 * main() calls, in this order and before any thread, loop or network exists:
 *
 *     mig_helper_start()             returns in the agent only
 *     mig_helper_drop_privileges()
 *     mig_helper_open(loop, ...)     snapshots begin to arrive
 *
 * The supervisor passes SIGTERM, SIGINT, SIGHUP, SIGUSR1 and SIGUSR2 on to the agent and ends with
 * the agent's exit status, after the helper has finished what it was doing. (Under systemd:
 * NotifyAccess=all, KillMode=mixed.)
 *
 * Requests are answered in order, one at a time; they wait in the agent. Each `done` is called
 * exactly once, from the loop, never from within the function that takes it. A request that is not
 * answered in its time fails and the helper is replaced: a hung driver call never blocks migd. A
 * request that returns an error at once never calls `done`.
 */
#ifndef MIG_HELPER_H
#define MIG_HELPER_H

#include <mig/apply.h>
#include <mig/sample.h>
#include <sys/types.h>

struct mig_helper;
typedef struct uv_loop_s uv_loop_t; /* as of uv.h, which only users of a loop need */

#define MIG_HELPER_QUEUE_MAX 64 /* requests that wait; more are refused */
#define MIG_HELPER_NAME_MAX 255 /* of a unit, a config, a socket */

/* ---- starting ---- */

/* Of the privileged side. Texts are copied. NULL and 0 are the defaults. */
struct mig_helper_options {
    const char *state_dir;   /* journal, lock, last good geometry; MIG_STATE_DIR_DEFAULT */
    const char *library;     /* libnvidia-ml.so.1; below driver_root, then by the loader's rules */
    const char *driver_root; /* prefix under which the driver's files are; "" */
    const char *host_root;   /* "/host" in a container; "" */
    const char *kubelet_dir; /* as the helper sees it; /var/lib/kubelet */
    const char *cdi_dir;     /* as the helper sees it; /var/run/cdi */
    const char *dev_root;    /* prefix of the /dev in which device nodes are made; host_root */
    /* For the management CDI spec: the driver's root and /dev's as the host sees them (NULL = as
     * the helper does), and nvidia-cdi-hook on the host. */
    const char *host_driver_root, *host_dev_root, *cdi_hook;
    const char *mps_dir;    /* where MPS daemons have their files; /run/nvidia/mps */
    const char *state_file; /* nvidia-mig-manager's, below host_root; its usual override.conf */
    /* What may be asked of the host, whatever the agent says: units that this GPU clients file
     * names (NULL = none), and a reboot if not 0. */
    const char *clients_file;
    unsigned allow_reboot;
    unsigned poll_interval_ms; /* how often the driver is asked whether something changed; 300 */
    unsigned deadline_ms;      /* of one NVML call; 60,000 */
    unsigned restart_max_ms; /* longest wait before a helper that keeps ending is started; 5,000 */
};

/* What the agent has of the others. */
struct mig_helper_channel {
    int fd; /* to the supervisor; -1 = none */
};

/*
 * Forks. Returns in the agent, when the supervisor is there or with an error when it is not or is
 * of another version; and in the caller, with an error, when nothing could be started. Else the
 * calling process becomes the supervisor, by running `program` (NULL = migd-helper as it is
 * installed with the calling program, never by $PATH), and never returns: it ends with the agent's
 * status.
 */
int mig_helper_start(const char *program, const struct mig_helper_options *options,
                     struct mig_helper_channel *ret, struct mig_error *error);

/*
 * Gives up every privilege of the calling process (groups, user, capabilities, bounding set; no new
 * privileges), and arranges that it ends with the supervisor. Without being root only the last two
 * are done. Fails when anything is left.
 */
int mig_helper_drop_privileges(uid_t uid, gid_t gid, struct mig_error *error);

/* ---- what the helper says of its own ---- */

/* A critical error that the driver reported. */
struct mig_helper_xid {
    char gpu_uuid[MIG_UUID_SIZE];
    uint32_t gi_id, ci_id; /* MIG_ID_NONE: the whole GPU */
    uint64_t xid;
};

/* What the driver says a GPU needs to recover. */
struct mig_helper_recovery {
    char gpu_uuid[MIG_UUID_SIZE];
    uint32_t action; /* nvmlDeviceGpuRecoveryAction_t; 0 = nothing */
};

#define MIG_HELPER_MPS_MAX 512u /* devices: 64 GPUs with 8 slices each */
#define MIG_HELPER_MPS_ID_SIZE 64
#define MIG_HELPER_MPS_TEXT_SIZE 160

/* A device that is shared by MPS: it has an MPS control daemon of its own. */
struct mig_helper_mps {
    char uuid[MIG_HELPER_MPS_ID_SIZE];     /* "GPU-..." or "MIG-..." */
    char gpu_uuid[MIG_HELPER_MPS_ID_SIZE]; /* the GPU that it is, or is on */
    uint32_t percentage;                   /* of threads, of each client: 1 to 100 */
    uint32_t memory_mib;                   /* pinned device memory of each client; 0 = no limit */
};

/* What has become of it. */
struct mig_helper_mps_state {
    char uuid[MIG_HELPER_MPS_ID_SIZE];
    bool ready;                          /* clients can connect */
    char text[MIG_HELPER_MPS_TEXT_SIZE]; /* why it is not */
};

/* Each may be NULL. */
struct mig_helper_events {
    /*
     * The node as it is: first after the start of each helper, then when it differs from every
     * snapshot given so far (here or in an answer): drift, or a driver that came back. Who uses
     * what is not compared. `node` is the callee's; its generation counts all nodes that the agent
     * was given, from 1, also across helpers.
     */
    void (*changed)(struct mig_node *node, void *data);
    /* The node cannot be read (no driver, driver reloaded); said once until it changes. `changed`
     * follows when it can be again. */
    void (*unreadable)(const struct mig_error *error, void *data);
    void (*xid)(const struct mig_helper_xid *xid, void *data);
    /* First of every GPU whose driver tells, from each helper; then when it is another one. */
    void (*recovery)(const struct mig_helper_recovery *recovery, void *data);
    /* The helper has reset this GPU of its own, to undo or finish a change that was interrupted;
     * after the `changed` that shows it. */
    void (*reset)(const char *gpu_uuid, void *data);
    /* As mig_helper_share says. */
    void (*mps)(const struct mig_helper_mps_state *state, void *data);
    /* One line for the log: a helper has started, what it may not do, what was recovered. */
    void (*said)(const char *text, void *data);
    /* The helper ended or hung; what was asked of it has failed. The next is started by itself. */
    void (*lost)(const struct mig_error *error, void *data);
    /* The supervisor is gone: nothing will be started any more; the agent has to end. */
    void (*orphaned)(void *data);
    void *data;
};

/* Takes `channel` over. */
int mig_helper_open(uv_loop_t *loop, struct mig_helper_channel *channel,
                    const struct mig_helper_events *events, struct mig_helper **ret,
                    struct mig_error *error);

/*
 * Ends the connection: every `done` that is still due is called, with an error, before it returns.
 * The helper finishes what it does and ends. Memory is released on the next turns of the loop, so
 * run it until it is empty. NULL is allowed.
 */
void mig_helper_free(struct mig_helper *helper);

/* ---- the driver ---- */

/* A fresh snapshot. Exactly one of node (now the callee's) and error is not NULL. */
int mig_helper_read(struct mig_helper *helper,
                    void (*done)(struct mig_node *node, const struct mig_error *error, void *data),
                    void *data, struct mig_error *error);

/* What the driver measures at this moment (mig/sample.h). Exactly one of sample (now the callee's)
 * and error is not NULL. Like every request it waits for those before it, an apply too. */
int mig_helper_sample(struct mig_helper *helper,
                      void (*done)(struct mig_sample *sample, const struct mig_error *error,
                                   void *data),
                      void *data, struct mig_error *error);

/*
 * Plans against a fresh snapshot and applies. What `node`, `goal` and `policies` say is carried
 * over by GPU UUID and NVML's own profile numbers, so that it means the same on the fresh snapshot,
 * and an instance that is not the same any more is not covered by a policy. They need not live
 * after the call.
 */
struct mig_helper_apply {
    const struct mig_node *node; /* what goal and policies are parallel to */
    const struct mig_goal *goal;
    const struct mig_policy *policies; /* NULL = the default */
    bool skip_reset;
    unsigned lock_timeout_ms; /* how long to wait for another change (migctl); 0 = 10,000 */
    unsigned busy_timeout_ms;
    unsigned timeout_ms; /* over all; 0 = 600,000 */
    void (*progress)(const struct mig_apply_progress *progress, void *data); /* may be NULL */
    /*
     * `result` as of mig_apply_run, or MIG_E_NO_FIT / MIG_E_BUSY of planning; MIG_E_FAILED with a
     * report of zeroes when the helper was lost: read again to know. `error` is NULL when result is
     * MIG_OK. `node`: as it was read back afterwards, the callee's; NULL when it could not be read.
     */
    void (*done)(int result, const struct mig_apply_report *report, struct mig_node *node,
                 const struct mig_error *error, void *data);
    void *data;
};
int mig_helper_apply(struct mig_helper *helper, const struct mig_helper_apply *apply,
                     struct mig_error *error);

/* ---- the last good geometry, for after a boot ---- */

/* `error` is NULL when it was done. */
typedef void mig_helper_done(const struct mig_error *error, void *data);

/*
 * Keeps the geometry that holds now, and the name of the config it came from ("" = none), in the
 * state directory, in one step. It is the checkpoint of migctl enable-persistence.
 */
int mig_helper_save(struct mig_helper *helper, const char *config_name, mig_helper_done *done,
                    void *data, struct mig_error *error);

/*
 * Applies what was kept, as mig_helper_apply with the default policy: nothing that is in use is
 * touched (MIG_E_BUSY), and nothing is done when it holds already. `config_name` is what was saved
 * with it, "" when that is not known. Nothing kept: MIG_E_CONFIG.
 */
int mig_helper_restore(struct mig_helper *helper,
                       void (*done)(int result, const struct mig_apply_report *report,
                                    struct mig_node *node, const char *config_name,
                                    const struct mig_error *error, void *data),
                       void *data, struct mig_error *error);

/* ---- the host ---- */

enum mig_helper_host {
    MIG_HELPER_UNIT_STOP = 0, /* `name`: a systemd unit; changed = it ran before, and was told to
                                 stop, also when it did not do so in time */
    MIG_HELPER_UNIT_START,    /* changed = it did not run before */
    MIG_HELPER_REBOOT,
    /* `name`: the config; writes nvidia-mig-manager's state file if there is one (changed = it was
     * and differed), keeps its other lines, and lets systemd read it again. */
    MIG_HELPER_STATE_FILE,
    /* Makes /dev/nvidia-caps for the instances there are; changed = any was made or corrected. */
    MIG_HELPER_CAPS_NODES,
    /* Writes the management CDI spec by nvidia-ctk, CDI_DIR/management.nvidia.com-gpu.yaml.
     * changed = there is an nvidia-ctk. */
    MIG_HELPER_CDI_MANAGEMENT,
    MIG_HELPER_HOST_COUNT,
};

/*
 * Does one thing to the host, within `timeout_ms` (0 = 30,000). A name outside [A-Za-z0-9@._:-],
 * or where none belongs, is refused with MIG_E_USAGE. But for UNIT_STOP, `changed` is meaningful
 * without an error only. A unit that is not there, or masked, is MIG_OK and not changed.
 */
int mig_helper_host(struct mig_helper *helper, enum mig_helper_host what, const char *name,
                    unsigned timeout_ms,
                    void (*done)(bool changed, const struct mig_error *error, void *data),
                    void *data, struct mig_error *error);

enum mig_helper_socket {
    MIG_HELPER_POD_RESOURCES = 0, /* connected, KUBELET_DIR/pod-resources/kubelet.sock */
    MIG_HELPER_KUBELET,           /* connected, KUBELET_DIR/device-plugins/kubelet.sock */
    MIG_HELPER_PLUGIN_LISTEN,     /* listening, KUBELET_DIR/device-plugins/NAME */
    MIG_HELPER_REGISTRY_LISTEN,   /* the same in KUBELET_DIR/plugins_registry */
    MIG_HELPER_REGISTRY_REMOVE,   /* KUBELET_DIR/plugins_registry/NAME goes; `fd` is of no use */
    MIG_HELPER_SOCKET_COUNT,
};

/*
 * Opens a socket that only root may. `name`: from MIG_HELPER_PLUGIN_LISTEN on, "nvidia-*.sock"; a
 * socket of that name that is there already is replaced. `fd` (non-blocking, close-on-exec) is the
 * callee's; -1 with an error.
 */
int mig_helper_open_socket(struct mig_helper *helper, enum mig_helper_socket what, const char *name,
                           void (*done)(int fd, const struct mig_error *error, void *data),
                           void *data, struct mig_error *error);

#define MIG_HELPER_CDI_BYTES_MAX (8u << 20)

/*
 * Writes a CDI specification of the device plugin in one step, or removes it (`text` NULL). `name`
 * is a file name "k8s.device-plugin.nvidia.com-*.json"; others are refused with MIG_E_USAGE.
 */
int mig_helper_write_cdi(struct mig_helper *helper, const char *name, const char *text,
                         mig_helper_done *done, void *data, struct mig_error *error);

/* ---- sharing by MPS ---- */

/*
 * Says which devices are to have a daemon, always all of them. Daemons are started, told their
 * limits, started again when they end, and stopped when they are not in the list any more; what
 * becomes of each is told by the event `mps`, for every device at least once after each call. A
 * helper that has not been told anything lets daemons of an earlier one be. The helper ends them
 * when migd ends.
 */
int mig_helper_share(struct mig_helper *helper, const struct mig_helper_mps *devices, size_t count,
                     mig_helper_done *done, void *data, struct mig_error *error);

/* ---- for status pages ---- */

struct mig_helper_status {
    pid_t pid;              /* 0 = none runs */
    uint32_t start_count;   /* helpers so far */
    uint32_t waiting_count; /* requests, with the one that is being answered */
    uint64_t message_count; /* received */
    bool network_isolated;  /* it has an empty network namespace */
};
void mig_helper_get_status(const struct mig_helper *helper, struct mig_helper_status *ret);

#endif
