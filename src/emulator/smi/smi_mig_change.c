/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi mig -cgi [-C], -dgi, -cci, -dci. A list is carried out one by one and is not atomic:
 * what was made before the first failure stays, as with NVIDIA's tool.
 */
#include "emulator/smi/smi_mig.h"

#include <stdio.h>
#include <string.h>

#define PLACEMENT_ROOM 64

/* One wanted profile: "19", "1g.5gb", "MIG 1g.5gb", each with ":START" behind it or not. */
struct wanted {
    char text[64]; /* the profile */
    char full[80]; /* all of it, for messages */
    bool placed;
    unsigned start;
};

static bool parse_wanted(const char *piece, struct wanted *ret)
{
    const char *colon = strchr(piece, ':');
    const char *name = strncmp(piece, "MIG ", 4) == 0 ? piece + 4 : piece;
    size_t length = colon ? (size_t)(colon - name) : strlen(name);

    if (length == 0 || length >= sizeof(ret->text)) {
        return false;
    }
    memcpy(ret->text, name, length);
    ret->text[length] = '\0';
    (void)snprintf(ret->full, sizeof(ret->full), "%s", name);
    ret->placed = colon != NULL;
    return !colon || smi_parse_number(colon + 1, 0xffff, &ret->start);
}

static int fail_last(const struct smi *smi, const char *what, nvmlReturn_t code)
{
    printf("Failed to %s: %s\n", what, smi_nvml_text(&smi->nvml, code));
    return (int)code;
}

static int none_found(const struct smi *smi, const char *what)
{
    printf("No %s found: %s\n", what, smi_nvml_text(&smi->nvml, NVML_ERROR_NOT_FOUND));
    return NVML_ERROR_NOT_FOUND;
}

/* The driver's id of a GPU instance profile: the number written, or the id of the name. */
static bool find_gi_profile(const struct smi *smi, nvmlDevice_t gpu, const struct wanted *wanted,
                            unsigned *ret)
{
    struct smi_gi_profiles profiles;
    size_t i;

    if (smi_parse_number(wanted->text, 0xffff, ret)) {
        return true;
    }
    if (smi_read_gi_profiles(smi, gpu, &profiles) != NVML_SUCCESS) {
        return false;
    }
    for (i = 0; i < profiles.count; i++) {
        if (strcmp(profiles.list[i].name, wanted->text) == 0) {
            *ret = profiles.list[i].info.id;
            return true;
        }
    }
    return false;
}

/* Size comes from the profile; a start that it does not have is the driver's to refuse. */
static nvmlReturn_t create_gi_placed(const struct smi *smi, nvmlDevice_t gpu, unsigned profile,
                                     unsigned start, nvmlGpuInstance_t *ret)
{
    nvmlGpuInstancePlacement_t placements[PLACEMENT_ROOM];
    unsigned count = PLACEMENT_ROOM;
    nvmlReturn_t code =
        SMI_CALL(smi, DeviceGetGpuInstancePossiblePlacements_v2, gpu, profile, placements, &count);

    if (code != NVML_SUCCESS) {
        return code;
    }
    if (count == 0) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    placements[0].start = start;
    return SMI_CALL(smi, DeviceCreateGpuInstanceWithPlacement, gpu, profile, placements, ret);
}

static nvmlReturn_t create_gi(const struct smi *smi, nvmlDevice_t gpu, const struct wanted *wanted,
                              nvmlGpuInstance_t *ret)
{
    unsigned profile;

    if (!find_gi_profile(smi, gpu, wanted, &profile)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    return wanted->placed ? create_gi_placed(smi, gpu, profile, wanted->start, ret)
                          : SMI_CALL(smi, DeviceCreateGpuInstance, gpu, profile, ret);
}

/* Reads back what was made, with its profile. */
static nvmlReturn_t describe_gi(const struct smi *smi, nvmlDevice_t gpu, nvmlGpuInstance_t handle,
                                struct smi_gis *ret)
{
    nvmlGpuInstanceInfo_t info;
    struct smi_ids wanted = {.count = 1};
    nvmlReturn_t code = SMI_CALL(smi, GpuInstanceGetInfo, handle, &info);

    if (code != NVML_SUCCESS) {
        return code;
    }
    wanted.ids[0] = info.id;
    code = smi_read_gis(smi, gpu, &wanted, ret);
    return code == NVML_SUCCESS && ret->count == 0 ? NVML_ERROR_NOT_FOUND : code;
}

/* A compute instance of the given profile, or of the default one. */
static nvmlReturn_t find_ci_profile(const struct smi *smi, const struct smi_gi *gi,
                                    const struct wanted *wanted, unsigned *ret)
{
    struct smi_ci_profiles profiles;
    nvmlReturn_t code;
    size_t i;

    if (wanted && smi_parse_number(wanted->text, 0xffff, ret)) {
        return NVML_SUCCESS;
    }
    code = smi_read_ci_profiles(smi, gi, &profiles);
    for (i = 0; code == NVML_SUCCESS && i < profiles.count; i++) {
        if (wanted ? strcmp(profiles.list[i].name, wanted->text) == 0
                   : profiles.list[i].is_default) {
            *ret = profiles.list[i].info.id;
            return NVML_SUCCESS;
        }
    }
    return code == NVML_SUCCESS ? NVML_ERROR_INVALID_ARGUMENT : code;
}

static nvmlReturn_t create_ci(const struct smi *smi, const struct smi_gi *gi,
                              const struct wanted *wanted, unsigned *profile,
                              nvmlComputeInstance_t *ret)
{
    nvmlComputeInstancePlacement_t placements[PLACEMENT_ROOM];
    unsigned count = PLACEMENT_ROOM;
    nvmlReturn_t code = find_ci_profile(smi, gi, wanted, profile);

    if (code != NVML_SUCCESS) {
        return code;
    }
    if (!wanted || !wanted->placed) {
        return SMI_CALL(smi, GpuInstanceCreateComputeInstance, gi->handle, *profile, ret);
    }
    code = SMI_CALL(smi, GpuInstanceGetComputeInstancePossiblePlacements, gi->handle, *profile,
                    placements, &count);
    if (code != NVML_SUCCESS || count == 0) {
        return code == NVML_SUCCESS ? NVML_ERROR_INVALID_ARGUMENT : code;
    }
    placements[0].start = wanted->start;
    return SMI_CALL(smi, GpuInstanceCreateComputeInstanceWithPlacement, gi->handle, *profile,
                    placements, ret);
}

static nvmlReturn_t report_ci(const struct smi *smi, const struct smi_gpu *gpu,
                              const struct smi_gi *gi, nvmlComputeInstance_t handle)
{
    nvmlComputeInstanceInfo_t info;
    struct smi_cis cis;
    struct smi_ids wanted = {.count = 1};
    nvmlReturn_t code = SMI_CALL(smi, ComputeInstanceGetInfo_v2, handle, &info);

    if (code != NVML_SUCCESS) {
        return code;
    }
    wanted.ids[0] = info.id;
    code = smi_read_cis(smi, gi, &wanted, &cis);
    if (code != NVML_SUCCESS || cis.count == 0) {
        return code == NVML_SUCCESS ? NVML_ERROR_NOT_FOUND : code;
    }
    printf("Successfully created compute instance ID %2u on GPU %2u GPU instance ID %2u using "
           "profile MIG %s (ID %2u)\n",
           info.id, gpu->index, gi->info.id, cis.list[0].profile.name, cis.list[0].profile.info.id);
    return NVML_SUCCESS;
}

/* Makes one compute instance and says so, whichever way it ends. */
static nvmlReturn_t make_ci(const struct smi *smi, const struct smi_gpu *gpu,
                            const struct smi_gi *gi, const struct wanted *wanted)
{
    nvmlComputeInstance_t handle;
    unsigned profile = 0;
    nvmlReturn_t code = create_ci(smi, gi, wanted, &profile, &handle);

    if (code == NVML_SUCCESS) {
        code = report_ci(smi, gpu, gi, handle);
    }
    if (code != NVML_SUCCESS) {
        printf("Unable to create a compute instance on GPU %2u GPU instance ID %2u using profile "
               "%s: %s\n",
               gpu->index, gi->info.id, wanted ? wanted->full : "default",
               smi_nvml_text(&smi->nvml, code));
    }
    return code;
}

static int make_gi(const struct smi *smi, const struct smi_gpu *gpu, const struct wanted *wanted,
                   bool with_compute_instance)
{
    nvmlGpuInstance_t handle;
    struct smi_gis made;
    nvmlReturn_t code = create_gi(smi, gpu->handle, wanted, &handle);

    if (code == NVML_SUCCESS) {
        code = describe_gi(smi, gpu->handle, handle, &made);
    }
    if (code != NVML_SUCCESS) {
        printf("Unable to create a GPU instance on GPU %2u using profile %s: %s\n", gpu->index,
               wanted->full, smi_nvml_text(&smi->nvml, code));
        return fail_last(smi, "create GPU instances", code);
    }
    printf("Successfully created GPU instance ID %2u on GPU %2u using profile MIG %s (ID %2u)\n",
           made.list[0].info.id, gpu->index, made.list[0].profile.name,
           made.list[0].profile.info.id);
    if (with_compute_instance) {
        code = make_ci(smi, gpu, &made.list[0], NULL);
        if (code != NVML_SUCCESS) {
            return fail_last(smi, "create compute instances", code);
        }
    }
    return 0;
}

static int bad_profile(const char *option, const char *list)
{
    printf("Option \"%s\" is not recognized: \"%s\" is not a list of profiles.\n", option, list);
    return SMI_EXIT_USAGE;
}

int smi_create_gis(const struct smi *smi, const struct smi_mig_options *options)
{
    size_t g;

    for (g = 0; g < smi->gpu_count; g++) {
        const char *rest = options->profiles;
        char piece[80];

        while (smi_next_piece(&rest, piece, sizeof(piece))) {
            struct wanted wanted;
            int code;

            if (!parse_wanted(piece, &wanted)) {
                return bad_profile("-cgi", options->profiles);
            }
            code = make_gi(smi, &smi->gpus[g], &wanted, options->with_compute_instance);
            if (code != 0) {
                return code;
            }
        }
        if (rest == options->profiles || *rest != '\0') {
            return bad_profile("-cgi", options->profiles);
        }
    }
    return 0;
}

static int make_cis(const struct smi *smi, const struct smi_gpu *gpu, const struct smi_gi *gi,
                    const struct smi_mig_options *options)
{
    const char *rest = options->profiles;
    nvmlReturn_t code = NVML_SUCCESS;
    char piece[80];

    if (!rest) {
        code = make_ci(smi, gpu, gi, NULL);
    }
    while (rest && code == NVML_SUCCESS && smi_next_piece(&rest, piece, sizeof(piece))) {
        struct wanted wanted;

        if (!parse_wanted(piece, &wanted)) {
            return bad_profile("-cci", options->profiles);
        }
        code = make_ci(smi, gpu, gi, &wanted);
    }
    if (code != NVML_SUCCESS) {
        return fail_last(smi, "create compute instances", code);
    }
    return rest && *rest != '\0' ? bad_profile("-cci", options->profiles) : 0;
}

/*
 * Carries `act` out on every selected GPU instance, lists read before the first change. The action
 * counts what it did: none at all is NOT_FOUND.
 */
static int for_each_gi(const struct smi *smi, const struct smi_mig_options *options,
                       const char *what,
                       int (*act)(const struct smi *, const struct smi_gpu *, const struct smi_gi *,
                                  const struct smi_mig_options *, size_t *))
{
    size_t done = 0;
    size_t g;
    size_t i;

    for (g = 0; g < smi->gpu_count; g++) {
        struct smi_gis gis;
        nvmlReturn_t code = smi_read_gis(smi, smi->gpus[g].handle, &options->gi, &gis);

        if (code != NVML_SUCCESS) {
            return fail_last(smi, "read GPU instances", code);
        }
        for (i = 0; i < gis.count; i++) {
            int status = act(smi, &smi->gpus[g], &gis.list[i], options, &done);

            if (status != 0) {
                return status;
            }
        }
    }
    return done > 0 ? 0 : none_found(smi, what);
}

static int act_create_cis(const struct smi *smi, const struct smi_gpu *gpu, const struct smi_gi *gi,
                          const struct smi_mig_options *options, size_t *done)
{
    (*done)++;
    return make_cis(smi, gpu, gi, options);
}

int smi_create_cis(const struct smi *smi, const struct smi_mig_options *options)
{
    return for_each_gi(smi, options, "GPU instances", act_create_cis);
}

static int act_destroy_gi(const struct smi *smi, const struct smi_gpu *gpu, const struct smi_gi *gi,
                          const struct smi_mig_options *options, size_t *done)
{
    nvmlReturn_t code = SMI_CALL(smi, GpuInstanceDestroy, gi->handle);

    (void)options;
    (*done)++;
    if (code != NVML_SUCCESS) {
        printf("Unable to destroy GPU instance ID %2u from GPU %2u: %s\n", gi->info.id, gpu->index,
               smi_nvml_text(&smi->nvml, code));
        return fail_last(smi, "destroy GPU instances", code);
    }
    printf("Successfully destroyed GPU instance ID %2u from GPU %2u\n", gi->info.id, gpu->index);
    return 0;
}

int smi_destroy_gis(const struct smi *smi, const struct smi_mig_options *options)
{
    return for_each_gi(smi, options, "GPU instances", act_destroy_gi);
}

static int act_destroy_cis(const struct smi *smi, const struct smi_gpu *gpu,
                           const struct smi_gi *gi, const struct smi_mig_options *options,
                           size_t *done)
{
    struct smi_cis cis;
    nvmlReturn_t code = smi_read_cis(smi, gi, &options->ci, &cis);
    size_t i;

    if (code != NVML_SUCCESS) {
        return fail_last(smi, "read compute instances", code);
    }
    for (i = 0; i < cis.count; i++) {
        code = SMI_CALL(smi, ComputeInstanceDestroy, cis.list[i].handle);
        (*done)++;
        if (code != NVML_SUCCESS) {
            printf("Unable to destroy compute instance ID %2u from GPU %2u GPU instance ID %2u: "
                   "%s\n",
                   cis.list[i].info.id, gpu->index, gi->info.id, smi_nvml_text(&smi->nvml, code));
            return fail_last(smi, "destroy compute instances", code);
        }
        printf("Successfully destroyed compute instance ID %2u from GPU %2u GPU instance ID %2u\n",
               cis.list[i].info.id, gpu->index, gi->info.id);
    }
    return 0;
}

int smi_destroy_cis(const struct smi *smi, const struct smi_mig_options *options)
{
    return for_each_gi(smi, options, "compute instances", act_destroy_cis);
}
