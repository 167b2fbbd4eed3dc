/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the device plugin is told to do: the settings of NVIDIA's device plugin (flags, environment,
 * config file of version v1) and a few of our own, in one structure.
 *
 * Every key that NVIDIA's file may have is accepted. Keys that nobody knows are ignored, as
 * NVIDIA's plugin does, but reported. What can have no effect here is reported too, so that a
 * setting is either followed or named.
 */
#ifndef MIG_DEVICEPLUGIN_DP_CONFIG_H
#define MIG_DEVICEPLUGIN_DP_CONFIG_H

#include <mig/config.h>

#define MIG_DP_CONFIG_BYTES_MAX (1u << 20) /* of a file */
#define MIG_DP_PATTERNS_MAX 64u            /* each of resources.gpus and resources.mig */
#define MIG_DP_RULES_MAX 64u               /* sharing.*.resources */
#define MIG_DP_REFERENCES_MAX 256u         /* devices of one rule */
#define MIG_DP_REPLICAS_MAX 1024u          /* of one device */
#define MIG_DP_XID_ACTIONS_MAX 128u
#define MIG_DP_FINDINGS_MAX 256u
#define MIG_DP_NAME_SIZE                                                     \
    64 /* "nvidia.com/mig-1g.5gb": 63 characters are the limit of Kubernetes \
        */
#define MIG_DP_DOMAIN "nvidia.com/"

enum mig_dp_strategy { MIG_DP_STRATEGY_NONE = 0, MIG_DP_STRATEGY_SINGLE, MIG_DP_STRATEGY_MIXED };

/* How a container is told its devices: a set of these. */
enum mig_dp_list_strategy {
    MIG_DP_LIST_ENVVAR = 1 << 0,
    MIG_DP_LIST_VOLUME_MOUNTS = 1 << 1,
    MIG_DP_LIST_CDI_ANNOTATIONS = 1 << 2,
    MIG_DP_LIST_CDI_CRI = 1 << 3,
};
#define MIG_DP_LIST_CDI (MIG_DP_LIST_CDI_ANNOTATIONS | MIG_DP_LIST_CDI_CRI)

/* Which devices a pattern turns into which resource. */
struct mig_dp_pattern {
    const char *pattern; /* '*' stands for anything; the whole name has to match */
    const char *name;    /* with its domain */
};

enum mig_dp_devices { MIG_DP_DEVICES_ALL = 0, MIG_DP_DEVICES_COUNT, MIG_DP_DEVICES_LIST };

/* Sharing of the devices of one resource, or of some of them. */
struct mig_dp_rule {
    const char *name;   /* the resource, as it is called unshared */
    const char *rename; /* "" = by rename_by_default */
    uint32_t replicas;
    enum mig_dp_devices devices;
    uint32_t device_count;         /* COUNT: the first so many */
    uint32_t reference_count;      /* LIST */
    const char *const *references; /* "0", "0:1", a UUID; a GPU stands for its slices too */
};

struct mig_dp_sharing {
    bool rename_by_default; /* ".shared" is added to the name */
    bool fail_requests_above_one;
    uint32_t rule_count;
    const struct mig_dp_rule *rules; /* the first that matches a device counts */
};

/* What a critical error (XID) makes unhealthy. */
enum mig_dp_xid_action {
    MIG_DP_XID_DEFAULT = 0, /* by the built-in table */
    MIG_DP_XID_IGNORE,
    MIG_DP_XID_DEVICE, /* the compute instance that it names; more when it names none */
    MIG_DP_XID_GPU,    /* all devices of the GPU */
};

struct mig_dp_xid_rule {
    uint64_t xid;
    enum mig_dp_xid_action action;
};

struct mig_dp_health_config {
    bool disable_all, enable_all; /* "all" or "xids" in DP_DISABLE_HEALTHCHECKS, "all" in ENABLE */
    uint32_t rule_count;          /* the last for an XID counts */
    const struct mig_dp_xid_rule *rules;
    uint32_t hold_down_ms; /* how long a device stays unhealthy after what repaired it */
};

struct mig_dp_config {
    enum mig_dp_strategy strategy;
    bool strategy_given;      /* by one of the sources; else it is the default */
    unsigned list_strategies; /* set of enum mig_dp_list_strategy, never empty */
    bool list_auto; /* nobody said how: the variable, and CDI names where only they can work */
    bool index_ids; /* deviceIDStrategy index */
    bool pass_device_specs;
    bool fail_on_init_error;
    bool packed; /* sharedDevicesAllocationPolicy packed */
    bool gdrcopy, gds, mofed;
    const char *driver_root;           /* on the host; "/" */
    const char *dev_root;              /* on the host; "" = driver_root */
    const char *container_driver_root; /* where the driver root is in our container */
    const char *cdi_annotation_prefix;
    const char *cdi_hook_path;                         /* written into hooks of the CDI spec */
    const char *cdi_feature_flags, *cdi_disable_hooks; /* comma lists */
    const char *kubelet_socket;                        /* "" = do not register */
    const char *discovery_strategy;
    const char *mps_root; /* on the host */
    bool imex_required;
    uint32_t imex_channel_count; /* 0 or 1: only channel 0 is known */
    /* of gpu-feature-discovery, for the labels */
    bool gfd_oneshot, gfd_no_timestamp, use_node_feature_api;
    const char *gfd_sleep_interval, *gfd_output_file, *gfd_machine_type_file;
    uint32_t gpu_pattern_count, mig_pattern_count;
    const struct mig_dp_pattern *gpu_patterns, *mig_patterns;
    struct mig_dp_sharing sharing;
    bool mps; /* `sharing` is by MPS, else by time-slicing */
    struct mig_dp_health_config health;
    uint32_t finding_count; /* warnings only; what is wrong is an error */
    const struct mig_finding *findings;
};

/* A flag of the command line, "mig-strategy" without dashes, and its value. */
struct mig_dp_flag {
    const char *name, *value;
};

struct mig_dp_sources {
    const char *file_name; /* for messages; NULL = no file */
    const char *text;
    size_t size;
    const char *(*environment)(const char *name, void *data); /* NULL = none; getenv-like */
    void *environment_data;
    const struct mig_dp_flag *flags;
    size_t flag_count;
};

/*
 * Puts the settings together: flags over environment over file over defaults. MIG_E_CONFIG with
 * "NAME:LINE:COLUMN: " for the file, with the name of the variable or flag for the others.
 * `sources` NULL: the defaults. Release *ret with mig_dp_config_free.
 */
int mig_dp_config_make(const struct mig_dp_sources *sources, struct mig_dp_config **ret,
                       struct mig_error *error);
void mig_dp_config_free(struct mig_dp_config *config); /* NULL is allowed */

/* The names of the flags there are, for the command line; NULL past the end. */
const char *mig_dp_config_flag(size_t index);

/* "none", "single", "mixed". */
const char *mig_dp_strategy_name(enum mig_dp_strategy strategy);

/* The other way round; false when there is none of that name. */
bool mig_dp_strategy_parse(const char *text, enum mig_dp_strategy *ret);

#endif
