/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which resources a node has, and which devices each: a pure function of a snapshot and the
 * settings.
 *
 * Whatever state the node is in, what can be served is served, and what cannot is a note with the
 * reason. Every slice belongs to exactly one resource, whose name comes from the instance itself
 * and never from a second computation that could come out differently.
 */
#ifndef MIG_DEVICEPLUGIN_RESOURCES_H
#define MIG_DEVICEPLUGIN_RESOURCES_H

#include "deviceplugin/dp_config.h"
#include <mig/node.h>

#define MIG_DP_ID_SIZE 64        /* 63 characters are the limit of the kubelet's API */
#define MIG_DP_RESOURCES_MAX 64u /* of a node; devices of more are noted */
#define MIG_DP_NOTES_MAX 64u
#define MIG_DP_DEVICES_MAX 16384u /* announced, all resources and replicas together */
#define MIG_DP_REASON_SIZE 160
#define MIG_DP_NUMA_NONE (-1)
#define MIG_DP_WHOLE_GPU 0xff
#define MIG_DP_MPS_CLIENTS_MAX 48u     /* of one MPS server */
#define MIG_DP_MPS_CLIENTS_MAX_OLD 16u /* on GPUs before compute capability 7.5 */

/* One thing that can be handed to a container: a MIG device or a whole GPU. */
struct mig_dp_slice {
    char uuid[MIG_DP_ID_SIZE];
    char gpu_uuid[MIG_DP_ID_SIZE];
    char profile[MIG_NAME_SIZE]; /* "1g.5gb"; "" = the whole GPU */
    uint32_t resource;           /* index into table->resources */
    uint32_t gpu;                /* NVML's index */
    int32_t minor;               /* /dev/nvidiaN; MIG_UNKNOWN */
    int32_t numa;                /* MIG_DP_NUMA_NONE = any */
    int32_t mig_index;           /* MIG device index on its GPU; MIG_UNKNOWN */
    uint32_t gi_id, ci_id;       /* MIG_ID_NONE: the whole GPU */
    uint8_t gi_profile;  /* of its GPU instance, index into the model's profiles; 0xff: whole GPU */
    uint8_t start, size; /* of its GPU instance, in units; 0, 0 for a whole GPU */
    uint32_t replicas;   /* 0 = not shared, the device is the UUID itself */
    bool fail_above_one; /* a request for more than one replica is refused */
    bool mps;            /* shared by MPS: replicas are clients of its MPS daemon */
    uint32_t memory_mib; /* what there is for all of them; 0 = not known */
    bool unhealthy;
    bool kept;                       /* not on the node any more, only announced still */
    bool in_cdi;                     /* the CDI file has it, with all that it needs */
    char reason[MIG_DP_REASON_SIZE]; /* when unhealthy */
};

/* Slices of one resource stand together, ordered by GPU and start. */
struct mig_dp_resource {
    char name[MIG_DP_NAME_SIZE];
    uint32_t first, count; /* in table->slices */
};

/* Something that is not served as one might expect, and why. */
struct mig_dp_note {
    uint32_t gpu; /* NVML's index; MIG_ID_NONE: the node */
    char text[256];
};

struct mig_dp_table {
    uint64_t generation; /* of the snapshot */
    uint32_t resource_count, slice_count, note_count;
    struct mig_dp_resource resources[MIG_DP_RESOURCES_MAX]; /* by name */
    struct mig_dp_note notes[MIG_DP_NOTES_MAX];
    struct mig_dp_slice *slices;
    bool incomplete; /* something has no place in the CDI file; it may have one later */
};

/*
 * Makes the table. Only memory can be missing; everything else becomes a note. Release with
 * mig_dp_table_free.
 */
int mig_dp_table_make(const struct mig_node *node, const struct mig_dp_config *config,
                      struct mig_dp_table **ret, struct mig_error *error);
void mig_dp_table_free(struct mig_dp_table *table); /* NULL is allowed */

/* An empty table of the same kind, with room for `slice_max` slices. */
struct mig_dp_table *mig_dp_table_new(size_t slice_max);

/* Puts slices in order and sets resource->first and count; resources without slices go. */
void mig_dp_table_sort(struct mig_dp_table *table);

/* The index of a resource, made when there is none; MIG_DP_RESOURCES_MAX when there are too many.
 */
uint32_t mig_dp_table_resource(struct mig_dp_table *table, const char *name);

void mig_dp_table_note(struct mig_dp_table *table, uint32_t gpu, const char *format, ...)
    MIG_PRINTF(3, 4);

/* The resource of that name; NULL. */
const struct mig_dp_resource *mig_dp_table_find(const struct mig_dp_table *table, const char *name);

/* The slice that an announced device is (or is a replica of); NULL when there is none such. */
const struct mig_dp_slice *mig_dp_table_device(const struct mig_dp_table *table,
                                               const struct mig_dp_resource *resource,
                                               const char *id);

/* How many devices a slice is announced as. */
uint32_t mig_dp_slice_devices(const struct mig_dp_slice *slice);

/* What the index-th of them is called. Returns buffer. */
char *mig_dp_slice_id(const struct mig_dp_slice *slice, uint32_t index,
                      char buffer[MIG_DP_ID_SIZE]);

/* True when `text` is matched by `pattern`, in which '*' stands for anything. */
bool mig_dp_pattern_matches(const char *pattern, const char *text);

/*
 * A resource name in full: the domain nvidia.com is added where there is none. False when the
 * result is no legal name of an extended resource, or longer than 63 characters.
 */
bool mig_dp_resource_name(const char *text, char buffer[MIG_DP_NAME_SIZE]);

#endif
