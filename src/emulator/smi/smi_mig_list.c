/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia-smi mig -lgip, -lgipp, -lgi, -lcip, -lcipp, -lci: tables and lines of what a GPU offers
 * and holds. An empty list is an error there, "Not Found", and so it is here.
 */
#include "emulator/smi/smi_mig.h"

#include <stdio.h>
#include <string.h>

#define CI_TABLE_INNER 68
#define CI_PROFILE_TABLE_INNER 86
#define PLACEMENT_ROOM 64

static void print_line(unsigned inner, const char *text)
{
    putchar('|');
    smi_cell(inner, "%s", text);
    puts("|");
}

static int fail(const struct smi *smi, const char *what, nvmlReturn_t code)
{
    printf("Failed to display %s: %s\n", what, smi_nvml_text(&smi->nvml, code));
    return (int)code;
}

static int none_found(const struct smi *smi, const char *what)
{
    printf("No %s found: %s\n", what, smi_nvml_text(&smi->nvml, NVML_ERROR_NOT_FOUND));
    return NVML_ERROR_NOT_FOUND;
}

static nvmlReturn_t print_gi_profile(const struct smi *smi, const struct smi_gpu *gpu,
                                     const struct smi_gi_profile *profile, unsigned inner)
{
    const nvmlGpuInstanceProfileInfo_v2_t *info = &profile->info;
    unsigned available = 0;
    nvmlReturn_t code =
        SMI_CALL(smi, DeviceGetGpuInstanceRemainingCapacity, gpu->handle, info->id, &available);

    if (code != NVML_SUCCESS) {
        return code;
    }
    putchar('|');
    smi_cell(inner, "%4u  MIG %-*s%2u%6u/%-9u%-11.2f%-7s%-7u%-6u%-4u", gpu->index,
             (int)smi->layout.profile_name, profile->name, info->id, available, info->instanceCount,
             (double)info->memorySizeMB / 1024.0, info->isP2pSupported ? "Yes" : "No",
             info->multiprocessorCount, info->decoderCount, info->encoderCount);
    puts("|");
    putchar('|');
    smi_cell(inner, "%*s%-6u%-6u%-4u", (int)inner - 16, "", info->copyEngineCount, info->jpegCount,
             info->ofaCount);
    puts("|");
    smi_rule(&inner, 1, '-');
    return NVML_SUCCESS;
}

int smi_list_gi_profiles(const struct smi *smi, const struct smi_mig_options *options)
{
    unsigned inner = 63 + smi->layout.profile_name;
    int gap = (int)smi->layout.profile_name;
    char line[160];
    size_t g;
    size_t i;

    (void)options;
    smi_rule(&inner, 1, '-');
    print_line(inner, " GPU instance profiles:");
    (void)snprintf(line, sizeof(line),
                   " GPU   Name%*sID    Instances   Memory     P2P    SM    DEC   ENC", gap - 1,
                   "");
    print_line(inner, line);
    (void)snprintf(line, sizeof(line), "%*sFree/Total   GiB              CE    JPEG  OFA", gap + 16,
                   "");
    print_line(inner, line);
    smi_bar_rule(&inner, 1, '=');
    for (g = 0; g < smi->gpu_count; g++) {
        struct smi_gi_profiles profiles;
        nvmlReturn_t code = smi_read_gi_profiles(smi, smi->gpus[g].handle, &profiles);

        smi_sort_gi_profiles(&profiles);
        for (i = 0; code == NVML_SUCCESS && i < profiles.count; i++) {
            code = print_gi_profile(smi, &smi->gpus[g], &profiles.list[i], inner);
        }
        if (code != NVML_SUCCESS) {
            return fail(smi, "GPU instance profiles", code);
        }
    }
    return 0;
}

static void print_starts(const unsigned *starts, unsigned count, unsigned size)
{
    unsigned i;

    printf("%s{", count == 1 ? "Placement : " : "Placements: ");
    for (i = 0; i < count; i++) {
        printf("%s%u", i == 0 ? "" : ",", starts[i]);
    }
    printf("}:%u\n", size);
}

static nvmlReturn_t print_gi_placements(const struct smi *smi, const struct smi_gpu *gpu,
                                        const struct smi_gi_profile *profile)
{
    nvmlGpuInstancePlacement_t placements[PLACEMENT_ROOM];
    unsigned starts[PLACEMENT_ROOM];
    unsigned count = PLACEMENT_ROOM;
    unsigned i;
    nvmlReturn_t code = SMI_CALL(smi, DeviceGetGpuInstancePossiblePlacements_v2, gpu->handle,
                                 profile->info.id, placements, &count);

    if (code != NVML_SUCCESS || count == 0 || count > PLACEMENT_ROOM) {
        return code;
    }
    for (i = 0; i < count; i++) {
        starts[i] = placements[i].start;
    }
    printf("GPU %2u Profile ID %2u ", gpu->index, profile->info.id);
    print_starts(starts, count, placements[0].size);
    return NVML_SUCCESS;
}

int smi_list_gi_placements(const struct smi *smi, const struct smi_mig_options *options)
{
    size_t g;
    size_t i;

    (void)options;
    for (g = 0; g < smi->gpu_count; g++) {
        struct smi_gi_profiles profiles;
        nvmlReturn_t code = smi_read_gi_profiles(smi, smi->gpus[g].handle, &profiles);

        smi_sort_gi_profiles(&profiles);
        for (i = 0; code == NVML_SUCCESS && i < profiles.count; i++) {
            code = print_gi_placements(smi, &smi->gpus[g], &profiles.list[i]);
        }
        if (code != NVML_SUCCESS) {
            return fail(smi, "GPU instance profile placements", code);
        }
    }
    return 0;
}

static void print_gi_head(const struct smi *smi, unsigned inner)
{
    int gap = (int)smi->layout.profile_name;
    char line[160];

    smi_rule(&inner, 1, '-');
    print_line(inner, " GPU instances:");
    (void)snprintf(line, sizeof(line), " GPU   Name%*sProfile  Instance   Placement", gap - 1, "");
    print_line(inner, line);
    (void)snprintf(line, sizeof(line), "%*sID       ID       Start:Size", gap + 12, "");
    print_line(inner, line);
    smi_bar_rule(&inner, 1, '=');
}

/* Takes no notice of -gi, as NVIDIA's. */
int smi_list_gis(const struct smi *smi, const struct smi_mig_options *options)
{
    const struct smi_ids all = {.count = 0};
    unsigned inner = 41 + smi->layout.profile_name;
    struct smi_gis gis;
    size_t shown = 0;
    size_t g;
    size_t i;

    (void)options;
    for (g = 0; g < smi->gpu_count; g++) {
        nvmlReturn_t code = smi_read_gis(smi, smi->gpus[g].handle, &all, &gis);

        if (code != NVML_SUCCESS) {
            return fail(smi, "GPU instances", code);
        }
        for (i = 0; i < gis.count; i++) {
            const struct smi_gi *gi = &gis.list[i];

            if (shown++ == 0) {
                print_gi_head(smi, inner);
            }
            putchar('|');
            smi_cell(inner, "%4u  MIG %-*s%2u%9u%11u:%-6u", smi->gpus[g].index,
                     (int)smi->layout.profile_name + 2, gi->profile.name, gi->profile.info.id,
                     gi->info.id, gi->info.placement.start, gi->info.placement.size);
            puts("|");
            smi_rule(&inner, 1, '-');
        }
    }
    return shown > 0 ? 0 : none_found(smi, "GPU instances");
}

/* Calls `visit` for every selected GPU instance; stops at the first error. */
static nvmlReturn_t for_each_gi(const struct smi *smi, const struct smi_ids *wanted,
                                nvmlReturn_t (*visit)(const struct smi *, const struct smi_gpu *,
                                                      const struct smi_gi *, void *),
                                void *context)
{
    struct smi_gis gis;
    nvmlReturn_t code = NVML_SUCCESS;
    size_t seen = 0;
    size_t g;
    size_t i;

    for (g = 0; code == NVML_SUCCESS && g < smi->gpu_count; g++) {
        code = smi_read_gis(smi, smi->gpus[g].handle, wanted, &gis);
        for (i = 0; code == NVML_SUCCESS && i < gis.count; i++) {
            code = visit(smi, &smi->gpus[g], &gis.list[i], context);
            seen++;
        }
    }
    return code == NVML_SUCCESS && seen == 0 ? NVML_ERROR_NOT_FOUND : code;
}

static void print_ci_profile_head(void)
{
    unsigned inner = CI_PROFILE_TABLE_INNER;

    smi_rule(&inner, 1, '-');
    print_line(inner, " Compute instance profiles:");
    print_line(inner,
               " GPU     GPU       Name             Profile  Instances   Exclusive       Shared");
    print_line(
        inner,
        "       Instance                       ID     Free/Total     SM       DEC   ENC   OFA");
    print_line(inner,
               "         ID                                                          CE    JPEG");
    smi_bar_rule(&inner, 1, '=');
}

static nvmlReturn_t print_ci_profiles(const struct smi *smi, const struct smi_gpu *gpu,
                                      const struct smi_gi *gi, void *context)
{
    unsigned inner = CI_PROFILE_TABLE_INNER;
    struct smi_ci_profiles profiles;
    nvmlReturn_t code = smi_read_ci_profiles(smi, gi, &profiles);
    size_t *shown = context;
    size_t i;

    smi_sort_ci_profiles(&profiles);
    for (i = 0; code == NVML_SUCCESS && i < profiles.count; i++) {
        const nvmlComputeInstanceProfileInfo_v2_t *info = &profiles.list[i].info;
        unsigned available = 0;

        (void)SMI_CALL(smi, GpuInstanceGetComputeInstanceRemainingCapacity, gi->handle, info->id,
                       &available);
        if ((*shown)++ == 0) {
            print_ci_profile_head();
        }
        putchar('|');
        smi_cell(inner, "%4u%7u       MIG %-15s%3u%-6s%u/%-12u%-10u%-6u%-6u%u", gpu->index,
                 gi->info.id, profiles.list[i].name, info->id,
                 profiles.list[i].is_default ? "*" : "", available, info->instanceCount,
                 info->multiprocessorCount, info->sharedDecoderCount, info->sharedEncoderCount,
                 info->sharedOfaCount);
        puts("|");
        putchar('|');
        smi_cell(inner, "%70s%-6u%u", "", info->sharedCopyEngineCount, info->sharedJpegCount);
        puts("|");
        smi_rule(&inner, 1, '-');
    }
    return code;
}

int smi_list_ci_profiles(const struct smi *smi, const struct smi_mig_options *options)
{
    size_t shown = 0;
    nvmlReturn_t code = for_each_gi(smi, &options->gi, print_ci_profiles, &shown);

    if (code == NVML_ERROR_NOT_FOUND) {
        return none_found(smi, "GPU instances");
    }
    return code == NVML_SUCCESS ? 0 : fail(smi, "compute instance profiles", code);
}

static nvmlReturn_t print_ci_placements(const struct smi *smi, const struct smi_gpu *gpu,
                                        const struct smi_gi *gi, void *context)
{
    struct smi_ci_profiles profiles;
    nvmlReturn_t code = smi_read_ci_profiles(smi, gi, &profiles);
    size_t i;

    (void)context;
    for (i = 0; code == NVML_SUCCESS && i < profiles.count; i++) {
        nvmlComputeInstancePlacement_t placements[PLACEMENT_ROOM];
        unsigned starts[PLACEMENT_ROOM];
        unsigned count = PLACEMENT_ROOM;
        unsigned p;

        code = SMI_CALL(smi, GpuInstanceGetComputeInstancePossiblePlacements, gi->handle,
                        profiles.list[i].info.id, placements, &count);
        if (code != NVML_SUCCESS || count == 0 || count > PLACEMENT_ROOM) {
            continue;
        }
        for (p = 0; p < count; p++) {
            starts[p] = placements[p].start;
        }
        printf("GPU %2u GI %2u Profile ID %2u ", gpu->index, gi->info.id, profiles.list[i].info.id);
        print_starts(starts, count, placements[0].size);
    }
    return code;
}

int smi_list_ci_placements(const struct smi *smi, const struct smi_mig_options *options)
{
    nvmlReturn_t code = for_each_gi(smi, &options->gi, print_ci_placements, NULL);

    if (code == NVML_ERROR_NOT_FOUND) {
        return none_found(smi, "GPU instances");
    }
    return code == NVML_SUCCESS ? 0 : fail(smi, "compute instance profile placements", code);
}

struct ci_listing {
    const struct smi_ids *wanted;
    size_t shown;
};

static void print_ci_head(void)
{
    unsigned inner = CI_TABLE_INNER;

    smi_rule(&inner, 1, '-');
    print_line(inner, " Compute instances:");
    print_line(inner, " GPU     GPU       Name             Profile   Instance   Placement");
    print_line(inner, "       Instance                       ID        ID       Start:Size");
    print_line(inner, "         ID");
    smi_bar_rule(&inner, 1, '=');
}

static nvmlReturn_t print_cis(const struct smi *smi, const struct smi_gpu *gpu,
                              const struct smi_gi *gi, void *context)
{
    unsigned inner = CI_TABLE_INNER;
    struct ci_listing *listing = context;
    struct smi_cis cis;
    nvmlReturn_t code = smi_read_cis(smi, gi, listing->wanted, &cis);
    size_t i;

    for (i = 0; code == NVML_SUCCESS && i < cis.count; i++) {
        const struct smi_ci *ci = &cis.list[i];

        if (listing->shown++ == 0) {
            print_ci_head();
        }
        putchar('|');
        smi_cell(inner, "%4u%7u       MIG %-15s%3u%10u%11u:%-6u", gpu->index, gi->info.id,
                 ci->profile.name, ci->profile.info.id, ci->info.id, ci->info.placement.start,
                 ci->info.placement.size);
        puts("|");
        smi_rule(&inner, 1, '-');
    }
    return code;
}

int smi_list_cis(const struct smi *smi, const struct smi_mig_options *options)
{
    struct ci_listing listing = {.wanted = &options->ci, .shown = 0};
    nvmlReturn_t code = for_each_gi(smi, &options->gi, print_cis, &listing);

    if (code == NVML_ERROR_NOT_FOUND) {
        return none_found(smi, "GPU instances");
    }
    if (code != NVML_SUCCESS) {
        return fail(smi, "compute instances", code);
    }
    return listing.shown > 0 ? 0 : none_found(smi, "compute instances");
}
