/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a kind of GPU can do: its profiles, where instances may sit, and the numbers around them.
 *
 * A `struct mig_model` is a table, never code: it comes from the catalogue (compiled from
 * facts/gpus.json) or from the driver of the GPU at hand (inventory.h). All positions and sizes are
 * in placement units, the units of nvmlDeviceGetGpuInstancePossiblePlacements; a GPU has 4, 8, 12
 * or another number of them.
 *
 * Models are immutable once built and may be shared. Catalogue models live for ever.
 */
#ifndef MIG_MODEL_H
#define MIG_MODEL_H

#include <mig/error.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MIG_UNIT_MAX 32       /* placement units of a GPU: a mask of them is a uint32_t */
#define MIG_PROFILE_MAX 24    /* GPU-instance profiles of one model (18 NVML enums known) */
#define MIG_CI_PROFILE_MAX 12 /* compute-instance profiles of one GPU-instance profile */
#define MIG_NAME_SIZE 32      /* a profile name with its terminator, "1c.1g.24gb+me.all" */

#define MIG_UNKNOWN (-1) /* in a signed field: the sources do not say */

enum mig_architecture {
    MIG_ARCH_UNKNOWN = 0,
    MIG_ARCH_AMPERE,
    MIG_ARCH_HOPPER,
    MIG_ARCH_BLACKWELL
};

/* How far a fact can be trusted, worst first. */
enum mig_confidence { MIG_INFERRED = 0, MIG_DOCUMENTED, MIG_CAPTURED, MIG_FROM_DRIVER };

/*
 * What a profile carries beside compute and memory. Rules between instances of one GPU
 * (facts/README, section 3): ME and ALL_ME together at most once; beside ALL_ME only NO_ME
 * instances.
 */
enum mig_variant {
    MIG_VARIANT_BASE = 0, /* no suffix */
    MIG_VARIANT_MEM2X,    /* one compute slice, twice the memory; no suffix */
    MIG_VARIANT_ME,       /* +me: the media engines that can be shared out once */
    MIG_VARIANT_ALL_ME,   /* +me.all: every media engine of the GPU */
    MIG_VARIANT_NO_ME,    /* -me: no media engine */
    MIG_VARIANT_GFX,      /* +gfx: graphics */
};

/* Engine counts; MIG_UNKNOWN where not known. */
struct mig_engines {
    int16_t copy, decoder, encoder, jpeg, ofa;
};

/* A compute-instance profile inside one GPU-instance profile. */
struct mig_ci_profile {
    const char *name;      /* "1c.3g.20gb", or the GI's name for the one that fills it */
    uint8_t enum_value;    /* NVML_COMPUTE_INSTANCE_PROFILE_* */
    int32_t driver_id;     /* what nvidia-smi shows; MIG_UNKNOWN */
    uint8_t slice_count;   /* compute slices */
    uint8_t max_instances; /* in one GPU instance */
    int32_t sm_count;      /* MIG_UNKNOWN */
    bool is_default;       /* the one that fills the GPU instance; exactly one per GI profile */
    uint8_t size; /* placement inside the GPU instance, in its compute-slice units; 0 = not known */
    uint8_t start_count;
    const uint8_t *starts; /* ascending */
};

/* A GPU-instance profile. */
struct mig_profile {
    const char *name;   /* "3g.20gb", "1g.10gb+me" */
    uint8_t enum_value; /* NVML_GPU_INSTANCE_PROFILE_*, the argument of GetGpuInstanceProfileInfo */
    int32_t driver_id;  /* the driver's id, argument of create and of -cgi; MIG_UNKNOWN */
    uint8_t slice_count;   /* compute slices */
    uint8_t max_instances; /* on an empty GPU */
    enum mig_variant variant;
    int32_t memory_mib;      /* memorySizeMB; MIG_UNKNOWN */
    bool memory_is_estimate; /* memory_mib is good for planning only */
    int32_t bar1_mib;        /* BAR1 of a MIG device with this profile; MIG_UNKNOWN */
    int32_t sm_count;        /* MIG_UNKNOWN */
    struct mig_engines engines;
    bool p2p;
    uint8_t size; /* placement units; 0 = placements are not known */
    uint8_t start_count;
    const uint8_t *starts; /* ascending */
    uint8_t ci_profile_count;
    const struct mig_ci_profile *ci_profiles;
    enum mig_confidence confidence;
};

/* A PCI identity that a model is sold under. */
struct mig_pci_id {
    uint32_t device;    /* nvmlPciInfo_t.pciDeviceId: device id << 16 | vendor */
    uint32_t subsystem; /* pciSubSystemId form: subsystem id << 16 | subsystem vendor; 0 = any */
};

struct mig_model {
    const char *name; /* what nvmlDeviceGetName returns */
    const char *const *aliases;
    uint8_t alias_count;
    enum mig_architecture architecture;
    uint8_t cc_major, cc_minor; /* CUDA compute capability */
    const struct mig_pci_id *pci_ids;
    uint8_t pci_id_count;
    int32_t total_memory_mib; /* MIG_UNKNOWN */
    int32_t bar1_total_mib;   /* MIG_UNKNOWN */
    uint8_t unit_count;       /* placement units; 0 = not known: nothing can be planned offline */
    uint8_t compute_slice_count;
    int32_t sm_total; /* MIG_UNKNOWN */
    uint8_t max_mig_devices;
    bool mode_needs_reset; /* a mode change needs a GPU reset (Ampere) */
    bool mode_persists_reboot;
    const char *min_driver; /* first driver with MIG on this GPU; NULL = not known */
    uint8_t profile_count;
    const struct mig_profile *profiles; /* by slice count, then as in the source */
    enum mig_confidence confidence;
};

/* The catalogue, in the order of facts/gpus.json. */
MIG_PUBLIC size_t mig_catalog_count(void);
MIG_PUBLIC const struct mig_model *mig_catalog_get(size_t index); /* NULL past the end */

/* By NVML name, alias or unambiguous short form ("A30", "a100-sxm4-40gb"), case ignored. NULL =
 * none, or several. */
MIG_PUBLIC const struct mig_model *mig_catalog_find_name(const char *name);

/*
 * By PCI identity as NVML gives it. Where one device id carries several products, `subsystem`
 * decides if it is known, else the first in the catalogue. NULL = none.
 */
MIG_PUBLIC const struct mig_model *mig_catalog_find_pci(uint32_t device, uint32_t subsystem);

/* True when every profile has placements, so that planning is exact without the driver. */
MIG_PUBLIC bool mig_model_is_placeable(const struct mig_model *model);

/* Index of a GPU-instance profile by its name / NVML enum / driver id; MIG_UNKNOWN when the model
 * has none. */
MIG_PUBLIC int mig_model_find_profile(const struct mig_model *model, const char *name);
MIG_PUBLIC int mig_model_find_enum(const struct mig_model *model, unsigned enum_value);
MIG_PUBLIC int mig_model_find_driver_id(const struct mig_model *model, int driver_id);

/* Index of the default compute-instance profile of `profile` (the one that fills it). */
MIG_PUBLIC int mig_profile_default_ci(const struct mig_profile *profile);

/* Short lower-case word: "ampere", "captured", "+me". */
MIG_PUBLIC const char *mig_architecture_name(enum mig_architecture architecture);
MIG_PUBLIC const char *mig_confidence_name(enum mig_confidence confidence);

#ifdef __cplusplus
}
#endif
#endif
