/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node: its GPUs as they are (one snapshot), what is wanted of each, and the plan that joins the
 * two.
 *
 * Everything here is data and pure functions; inventory.h fills a node from NVML, config.h makes
 * goals from files, apply.h carries a node plan out. A GPU without a goal is left alone in every
 * respect.
 */
#ifndef MIG_NODE_H
#define MIG_NODE_H

#include <mig/plan.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_GPU_MAX 64       /* GPUs of a node */
#define MIG_UUID_SIZE 96     /* "GPU-...", "MIG-...", "MIG-GPU-.../7/0" */
#define MIG_BUS_ID_SIZE 32   /* "00000000:3B:00.0" */
#define MIG_PROCESS_MAX 1024 /* processes kept per GPU; more are counted only */
#define MIG_CLIQUE_SIZE 64   /* "<cluster uuid>.<clique id>" */
#define MIG_VGPU_TEXT_SIZE 16

/* A process that uses a GPU or a part of it. */
struct mig_process {
    uint32_t pid;
    uint32_t gi_id, ci_id;      /* MIG_ID_NONE: the whole GPU */
    int64_t memory_mib;         /* MIG_UNKNOWN */
    char type;                  /* 'C' compute, 'G' graphics, 'M' MPS */
    char name[MIG_HOLDER_SIZE]; /* "" when it cannot be read */
};

/*
 * What a MIG device has, as nvmlDeviceGetAttributes_v2 counts it: multiprocessors and slices of its
 * own, engines of its GI that it shares. MIG_UNKNOWN each where the driver does not tell.
 */
struct mig_attributes {
    int32_t sm_count, gi_slice_count, ci_slice_count;
    int32_t copy, decoder, encoder, jpeg, ofa; /* engines */
    int64_t memory_mib;
};

/* What the driver says of one MIG device (a GI with a CI). Parallel to layout.gis[i].cis[j]. */
struct mig_device {
    char uuid[MIG_UUID_SIZE]; /* "" when there is none */
    int32_t index;            /* MIG device index on its GPU; MIG_UNKNOWN */
    struct mig_attributes attributes;
};

/* Parallel to layout.gis[i]. Memory belongs to the GI: its CIs share it. */
struct mig_gi_info {
    int64_t memory_used_mib, memory_total_mib; /* MIG_UNKNOWN */
    struct mig_device devices[MIG_CI_MAX];
};

#define MIG_PROBLEM_SIZE 160

struct mig_gpu {
    uint32_t index; /* NVML's */
    /*
     * Why this GPU could not be read in full ("could not read MIG mode: GPU is lost"); "" = it
     * could. With a problem, layout.model is NULL and nothing may be planned for the GPU; the other
     * GPUs are not affected.
     */
    char problem[MIG_PROBLEM_SIZE];
    char uuid[MIG_UUID_SIZE];
    char name[MIG_UUID_SIZE]; /* "unknown" when not even that could be read */
    char bus_id[MIG_BUS_ID_SIZE];
    uint32_t pci_device, pci_subsystem; /* as struct mig_pci_id */
    int32_t minor;                      /* /dev/nvidiaN; MIG_UNKNOWN */
    int32_t numa_node;                  /* MIG_UNKNOWN also where the machine has none */
    uint32_t pci_class;                 /* 0x030200 = 3D controller; 0 = not known */
    int32_t cc_major, cc_minor;         /* CUDA compute capability; MIG_UNKNOWN */
    char clique[MIG_CLIQUE_SIZE];       /* of the NVLink fabric that it is in; "" = none */
    bool vgpu;                          /* a virtual GPU of a hypervisor, which is of ... */
    char vgpu_host_version[MIG_VGPU_TEXT_SIZE], vgpu_host_branch[MIG_VGPU_TEXT_SIZE]; /* "" */
    bool mig_capable;
    bool mig_mode, mig_mode_pending;
    bool model_from_driver; /* else the model is the catalogue's, because the driver does not tell
                               placements */
    int64_t memory_used_mib, memory_total_mib;
    struct mig_layout layout; /* layout.model is NULL when the GPU has no MIG, is not known or has
                                 a problem */
    struct mig_gi_info gi_infos[MIG_GI_MAX];
    uint32_t process_count; /* all; the first process_known of them are kept */
    uint32_t process_known;
    struct mig_process *processes;
};

/* One snapshot. */
struct mig_node {
    uint64_t generation; /* counts the snapshots of a session from 1 */
    char driver_version[MIG_UUID_SIZE];
    char nvml_version[MIG_UUID_SIZE];
    int32_t cuda_version; /* of the driver, 1000 * major + 10 * minor; MIG_UNKNOWN */
    uint32_t gpu_count;
    struct mig_gpu *gpus; /* these and their processes are malloc'd, as the node is */
    void *models;         /* what holds the GPUs' models when they belong to the node (malloc'd);
                             NULL: they belong to a session or to the catalogue */
};

MIG_PUBLIC void mig_node_free(struct mig_node *node); /* NULL is allowed */

enum mig_goal_kind {
    MIG_GOAL_LEAVE = 0, /* nothing is said about this GPU */
    MIG_GOAL_MODE,      /* MIG mode only; instances stay as far as the mode lets them */
    MIG_GOAL_LAYOUT,    /* MIG mode, and these instances */
};

struct mig_gpu_goal {
    enum mig_goal_kind kind;
    bool mig_mode;
    struct mig_target target; /* MIG_GOAL_LAYOUT with mig_mode only */
};

/* Parallel to node->gpus. */
struct mig_goal {
    uint32_t gpu_count;
    struct mig_gpu_goal gpus[MIG_GPU_MAX];
};

/* What happens to one GPU. */
struct mig_gpu_plan {
    uint32_t gpu;  /* index into node->gpus */
    bool set_mode; /* MIG mode has to be changed to `mode` */
    bool mode;
    bool may_reset;       /* this mode change may stay pending, and then this GPU alone is reset */
    int result;           /* MIG_OK, MIG_E_NO_FIT, MIG_E_BUSY: what planning this GPU gave;
                             MIG_E_FAILED when it could not be read */
    struct mig_plan plan; /* instance steps: before the mode change when it goes off, after it when
                             it goes on */
    struct mig_certificate certificate; /* when result is not MIG_OK */
    struct mig_error error;
};

struct mig_node_plan {
    uint32_t gpu_count;        /* GPUs that have a goal */
    struct mig_gpu_plan *gpus; /* release with mig_node_plan_release */
    uint32_t change_count;     /* GPUs with anything to do, of those that can be reached */
    uint32_t estimate_ms;      /* GPUs are changed one after the other */
};

/*
 * Plans every GPU that has a goal. Returns MIG_OK when all can be reached; otherwise the first
 * refusal's code and text (all are in ret->gpus). `policies` is parallel to node->gpus, or NULL for
 * the default. Release ret in each case. A change of mode needs the GPU free: it is refused with
 * MIG_E_BUSY naming the processes that hold the GPU (users of instances that the policy lets go do
 * not count). Taking back a change that is still pending needs nothing.
 */
MIG_PUBLIC int mig_node_plan_make(const struct mig_node *node, const struct mig_goal *goal,
                                  const struct mig_policy *policies, struct mig_node_plan *ret,
                                  struct mig_error *error);
MIG_PUBLIC void mig_node_plan_release(struct mig_node_plan *plan);

/*
 * True when the node is as the goal wants it: modes (current and pending), and the same count of
 * every MIG device, with no GI that lacks a CI. On false, `ret_reason` (may be NULL) says on which
 * GPU what differs.
 */
MIG_PUBLIC bool mig_goal_is_met(const struct mig_node *node, const struct mig_goal *goal,
                                struct mig_error *ret_reason);

/* Finds a GPU by index ("0"), UUID or PCI bus id (any width of domain); MIG_E_USAGE with what there
 * is. */
MIG_PUBLIC int mig_node_find_gpu(const struct mig_node *node, const char *text, uint32_t *ret,
                                 struct mig_error *error);

#ifdef __cplusplus
}
#endif
#endif
