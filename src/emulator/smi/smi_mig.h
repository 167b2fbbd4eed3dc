/* SPDX-License-Identifier: Apache-2.0 */
/* The `mig` verb of nvidia-smi: what its listing and its changing half share. */
#ifndef MIG_EMULATOR_SMI_MIG_H
#define MIG_EMULATOR_SMI_MIG_H

#include "emulator/smi/smi.h"

/* One profile of a GPU or of a GPU instance. */
struct smi_gi_profile {
    nvmlGpuInstanceProfileInfo_v2_t info;
    const char *name; /* inside info, without the leading "MIG " */
};

struct smi_ci_profile {
    nvmlComputeInstanceProfileInfo_v2_t info;
    const char *name;
    bool is_default; /* the one that fills the GPU instance */
};

struct smi_gi_profiles {
    struct smi_gi_profile list[SMI_PROFILE_MAX];
    size_t count;
};

struct smi_ci_profiles {
    struct smi_ci_profile list[SMI_PROFILE_MAX];
    size_t count;
};

/* An existing GPU instance with its profile. */
struct smi_gi {
    nvmlGpuInstance_t handle;
    nvmlGpuInstanceInfo_t info;
    struct smi_gi_profile profile;
};

struct smi_gis {
    struct smi_gi list[SMI_INSTANCE_MAX];
    size_t count;
};

struct smi_ci {
    nvmlComputeInstance_t handle;
    nvmlComputeInstanceInfo_t info;
    struct smi_ci_profile profile;
};

struct smi_cis {
    struct smi_ci list[SMI_INSTANCE_MAX];
    size_t count;
};

/* What the command line asks for. */
struct smi_mig_options {
    struct smi_ids gi, ci;      /* -gi, -ci */
    const char *profiles;       /* argument of -cgi or -cci; NULL for the default of -cci */
    bool with_compute_instance; /* -C */
};

typedef int smi_mig_verb(const struct smi *smi, const struct smi_mig_options *options);

smi_mig_verb smi_list_gi_profiles, smi_list_gi_placements, smi_list_gis;
smi_mig_verb smi_list_ci_profiles, smi_list_ci_placements, smi_list_cis;
smi_mig_verb smi_create_gis, smi_destroy_gis, smi_create_cis, smi_destroy_cis;

/* smi_mig_read.c: all in the order of NVML's numbers, unless sorted for a list of profiles. */
nvmlReturn_t smi_read_gi_profiles(const struct smi *smi, nvmlDevice_t gpu,
                                  struct smi_gi_profiles *ret);
void smi_sort_gi_profiles(struct smi_gi_profiles *profiles);
void smi_sort_ci_profiles(struct smi_ci_profiles *profiles);
nvmlReturn_t smi_read_gis(const struct smi *smi, nvmlDevice_t gpu, const struct smi_ids *wanted,
                          struct smi_gis *ret);
nvmlReturn_t smi_read_ci_profiles(const struct smi *smi, const struct smi_gi *gi,
                                  struct smi_ci_profiles *ret);
nvmlReturn_t smi_read_cis(const struct smi *smi, const struct smi_gi *gi,
                          const struct smi_ids *wanted, struct smi_cis *ret);

#endif
