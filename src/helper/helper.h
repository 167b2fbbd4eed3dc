/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The privileged process, seen from migd: it is the only one that opens the NVIDIA driver or
 * changes the host; it has no network. Both are joined by a socketpair with a small typed protocol
 * (protocol.h). What comes from the other side is checked on both sides.
 *
 * Requests are answered in order, one at a time. A request that is not answered in its time fails,
 * and the process is replaced: a hung driver call never blocks migd.
 */
#ifndef MIG_HELPER_H
#define MIG_HELPER_H

#include <mig/apply.h>
#include <uv.h>

struct mig_helper;

enum mig_helper_socket {
    MIG_HELPER_POD_RESOURCES = 0, /* connected, /var/lib/kubelet/pod-resources/kubelet.sock */
    MIG_HELPER_KUBELET,           /* connected, device-plugins/kubelet.sock */
    MIG_HELPER_PLUGIN_LISTEN,     /* listening, device-plugins/NAME */
};

struct mig_helper_options {
    const char *state_dir;   /* journal, lock, last geometry; NULL = MIG_STATE_DIR_DEFAULT */
    const char *library;     /* libnvidia-ml.so.1; NULL = by the loader's rules */
    const char *driver_root; /* prefix under which the driver's files are; NULL = "" */
    const char *host_root;   /* "/host" in a container; NULL = "" */
    const char *kubelet_dir; /* NULL = /var/lib/kubelet */
    unsigned
        poll_interval_ms; /* how often the driver is asked whether something changed; 0 = 2,000 */
    /* The node changed without our doing (drift, new process list is no change), or for the first
     * time. `node` belongs to the callee. */
    void (*changed)(struct mig_node *node, void *data);
    /* The process ended or hung, and a new one is started (with backoff). */
    void (*lost)(const struct mig_error *error, void *data);
    void *data;
};

/* Forks the privileged process (exec of the same program with an internal argument is not needed:
 * it is forked before any thread or network exists). The caller drops its own privileges after. */
int mig_helper_start(uv_loop_t *loop, const struct mig_helper_options *options,
                     struct mig_helper **ret, struct mig_error *error);
void mig_helper_free(struct mig_helper *helper);

/* A fresh snapshot. Exactly one of node (now the callee's) and error is not NULL. */
int mig_helper_read(struct mig_helper *helper,
                    void (*done)(struct mig_node *node, const struct mig_error *error, void *data),
                    void *data, struct mig_error *error);

/* Plans against a fresh snapshot and applies. `policies` is parallel to the goal's GPUs, or NULL.
 */
struct mig_helper_apply {
    const struct mig_goal *goal;
    const struct mig_policy *policies;
    bool skip_reset;
    unsigned busy_timeout_ms;
    unsigned timeout_ms; /* over all; 0 = 600,000 */
    void (*progress)(const struct mig_apply_progress *progress, void *data); /* may be NULL */
    /* `node`: as it was read back afterwards, the callee's; NULL when it could not be read. */
    void (*done)(int result, const struct mig_apply_report *report, struct mig_node *node,
                 const struct mig_error *error, void *data);
    void *data;
};
int mig_helper_apply(struct mig_helper *helper, const struct mig_helper_apply *apply,
                     struct mig_error *error);

#endif
