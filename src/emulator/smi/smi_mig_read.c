/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading profiles and instances for the `mig` verb. Profiles are walked by their NVML number: a
 * gap answers NOT_SUPPORTED, the end INVALID_ARGUMENT. Instances come in the order of that walk, as
 * in NVIDIA's tool; where it lists profiles it sorts them by slices, then memory, then the driver's
 * id.
 */
#include "emulator/smi/smi_mig.h"

#include "base/cleanup.h"
#include <string.h>

#define INSTANCE_ROOM 128 /* handles the driver may write at once; it has far fewer */

static const char *bare_name(const char *name)
{
    return strncmp(name, "MIG ", 4) == 0 ? name + 4 : name;
}

static int compare_u64(unsigned long long a, unsigned long long b)
{
    return (a > b) - (a < b);
}

static int compare_gi_profiles(const void *a, const void *b)
{
    const nvmlGpuInstanceProfileInfo_v2_t *left = &((const struct smi_gi_profile *)a)->info;
    const nvmlGpuInstanceProfileInfo_v2_t *right = &((const struct smi_gi_profile *)b)->info;
    int order = compare_u64(left->sliceCount, right->sliceCount);

    if (order == 0) {
        order = compare_u64(left->memorySizeMB, right->memorySizeMB);
    }
    return order ? order : compare_u64(left->id, right->id);
}

/* Asks for one profile by its NVML number; `owner` is the GPU or GPU instance. */
typedef nvmlReturn_t ask_profile(const struct smi *smi, const void *owner, unsigned number,
                                 void *row);

/* Calls `ask` for each number until the driver says there are no more; rows of `row_size`. */
static nvmlReturn_t walk_profiles(const struct smi *smi, const void *owner, ask_profile *ask,
                                  void *rows, size_t row_size, size_t *ret_count)
{
    unsigned number;

    *ret_count = 0;
    for (number = 0; number < SMI_PROFILE_MAX; number++) {
        void *row = (char *)rows + *ret_count * row_size;
        nvmlReturn_t code;

        memset(row, 0, row_size);
        code = ask(smi, owner, number, row);
        if (code == NVML_ERROR_INVALID_ARGUMENT) {
            break;
        }
        if (code == NVML_SUCCESS) {
            (*ret_count)++;
        } else if (code != NVML_ERROR_NOT_SUPPORTED) {
            return code;
        }
    }
    return NVML_SUCCESS;
}

static nvmlReturn_t ask_gi_profile(const struct smi *smi, const void *owner, unsigned number,
                                   void *row)
{
    const nvmlDevice_t *gpu = owner;
    struct smi_gi_profile *profile = row;

    profile->info.version = nvmlGpuInstanceProfileInfo_v2;
    return SMI_CALL(smi, DeviceGetGpuInstanceProfileInfoV, *gpu, number, &profile->info);
}

nvmlReturn_t smi_read_gi_profiles(const struct smi *smi, nvmlDevice_t gpu,
                                  struct smi_gi_profiles *ret)
{
    nvmlReturn_t code =
        walk_profiles(smi, &gpu, ask_gi_profile, ret->list, sizeof(ret->list[0]), &ret->count);
    size_t i;

    for (i = 0; i < ret->count; i++) {
        ret->list[i].name = bare_name(ret->list[i].info.name);
    }
    return code;
}

void smi_sort_gi_profiles(struct smi_gi_profiles *profiles)
{
    size_t i;

    qsort(profiles->list, profiles->count, sizeof(profiles->list[0]), compare_gi_profiles);
    for (i = 0; i < profiles->count; i++) { /* the names have moved with the rows */
        profiles->list[i].name = bare_name(profiles->list[i].info.name);
    }
}

static nvmlReturn_t add_gis_of_profile(const struct smi *smi, nvmlDevice_t gpu,
                                       const struct smi_gi_profile *profile,
                                       const struct smi_ids *wanted, struct smi_gis *ret)
{
    nvmlGpuInstance_t handles[INSTANCE_ROOM];
    unsigned count = 0;
    unsigned i;
    nvmlReturn_t code =
        SMI_CALL(smi, DeviceGetGpuInstances, gpu, profile->info.id, handles, &count);

    for (i = 0; code == NVML_SUCCESS && i < count && i < INSTANCE_ROOM; i++) {
        struct smi_gi *gi = &ret->list[ret->count];

        if (ret->count == SMI_INSTANCE_MAX) {
            break;
        }
        gi->handle = handles[i];
        gi->profile = *profile;
        code = SMI_CALL(smi, GpuInstanceGetInfo, handles[i], &gi->info);
        if (code == NVML_SUCCESS && smi_ids_has(wanted, gi->info.id)) {
            ret->count++;
        }
    }
    return code;
}

nvmlReturn_t smi_read_gis(const struct smi *smi, nvmlDevice_t gpu, const struct smi_ids *wanted,
                          struct smi_gis *ret)
{
    struct smi_gi_profiles profiles;
    nvmlReturn_t code = smi_read_gi_profiles(smi, gpu, &profiles);
    size_t i;

    ret->count = 0;
    for (i = 0; code == NVML_SUCCESS && i < profiles.count; i++) {
        code = add_gis_of_profile(smi, gpu, &profiles.list[i], wanted, ret);
    }
    for (i = 0; i < ret->count; i++) {
        ret->list[i].profile.name = bare_name(ret->list[i].profile.info.name);
    }
    return code;
}

static int compare_ci_profiles(const void *a, const void *b)
{
    const nvmlComputeInstanceProfileInfo_v2_t *left = &((const struct smi_ci_profile *)a)->info;
    const nvmlComputeInstanceProfileInfo_v2_t *right = &((const struct smi_ci_profile *)b)->info;
    int order = compare_u64(left->sliceCount, right->sliceCount);

    return order ? order : compare_u64(left->id, right->id);
}

/* The one with most slices, then most SMs; the lowest id of equals. */
static void mark_default(struct smi_ci_profiles *profiles)
{
    size_t best = 0;
    size_t i;

    for (i = 1; i < profiles->count; i++) {
        const nvmlComputeInstanceProfileInfo_v2_t *here = &profiles->list[i].info;
        const nvmlComputeInstanceProfileInfo_v2_t *top = &profiles->list[best].info;
        int order = compare_u64(here->sliceCount, top->sliceCount);

        if (order == 0) {
            order = compare_u64(here->multiprocessorCount, top->multiprocessorCount);
        }
        if (order > 0) {
            best = i;
        }
    }
    if (profiles->count > 0) {
        profiles->list[best].is_default = true;
    }
}

static nvmlReturn_t ask_ci_profile(const struct smi *smi, const void *owner, unsigned number,
                                   void *row)
{
    const struct smi_gi *gi = owner;
    struct smi_ci_profile *profile = row;

    profile->info.version = nvmlComputeInstanceProfileInfo_v2;
    return SMI_CALL(smi, GpuInstanceGetComputeInstanceProfileInfoV, gi->handle, number,
                    NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, &profile->info);
}

nvmlReturn_t smi_read_ci_profiles(const struct smi *smi, const struct smi_gi *gi,
                                  struct smi_ci_profiles *ret)
{
    nvmlReturn_t code =
        walk_profiles(smi, gi, ask_ci_profile, ret->list, sizeof(ret->list[0]), &ret->count);
    size_t i;

    for (i = 0; i < ret->count; i++) {
        ret->list[i].name = bare_name(ret->list[i].info.name);
    }
    mark_default(ret);
    return code;
}

void smi_sort_ci_profiles(struct smi_ci_profiles *profiles)
{
    size_t i;

    qsort(profiles->list, profiles->count, sizeof(profiles->list[0]), compare_ci_profiles);
    for (i = 0; i < profiles->count; i++) {
        profiles->list[i].name = bare_name(profiles->list[i].info.name);
    }
}

static nvmlReturn_t add_cis_of_profile(const struct smi *smi, const struct smi_gi *gi,
                                       const struct smi_ci_profile *profile,
                                       const struct smi_ids *wanted, struct smi_cis *ret)
{
    nvmlComputeInstance_t handles[INSTANCE_ROOM];
    unsigned count = 0;
    unsigned i;
    nvmlReturn_t code = SMI_CALL(smi, GpuInstanceGetComputeInstances, gi->handle, profile->info.id,
                                 handles, &count);

    for (i = 0; code == NVML_SUCCESS && i < count && i < INSTANCE_ROOM; i++) {
        struct smi_ci *ci = &ret->list[ret->count];

        if (ret->count == SMI_INSTANCE_MAX) {
            break;
        }
        ci->handle = handles[i];
        ci->profile = *profile;
        code = SMI_CALL(smi, ComputeInstanceGetInfo_v2, handles[i], &ci->info);
        if (code == NVML_SUCCESS && smi_ids_has(wanted, ci->info.id)) {
            ret->count++;
        }
    }
    return code;
}

nvmlReturn_t smi_read_cis(const struct smi *smi, const struct smi_gi *gi,
                          const struct smi_ids *wanted, struct smi_cis *ret)
{
    struct smi_ci_profiles profiles;
    nvmlReturn_t code = smi_read_ci_profiles(smi, gi, &profiles);
    size_t i;

    ret->count = 0;
    for (i = 0; code == NVML_SUCCESS && i < profiles.count; i++) {
        code = add_cis_of_profile(smi, gi, &profiles.list[i], wanted, ret);
    }
    for (i = 0; i < ret->count; i++) {
        ret->list[i].profile.name = bare_name(ret->list[i].profile.info.name);
    }
    return code;
}
