/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Builds struct mig_model from what the driver says of a GPU.
 *
 * The driver knows best what this GPU with this driver can do, so profiles and placements come from
 * it, and the catalogue fills what it does not tell: names before the newer profile structs,
 * placements of old drivers, and the compute-instance profiles, which the driver tells only for a
 * GPU instance that exists. A model is never changed after it was given out; when more can be
 * learned a new one is built, and the old one lives as long as the session.
 */
#include "gpu/model_reader.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <errno.h>
#include <string.h>

#define MODELS_MAX 256   /* of one session; each kind of GPU needs one or two */
#define PLACEMENT_MAX 64 /* room offered to the driver */
#define INSTANCE_MAX 64  /* room offered to the driver, over the instances of one profile */
#define CI_START_MAX 16

/* A model with everything that it points to. */
struct model_store {
    struct model_store *next;
    struct mig_model model;
    bool mig_mode; /* the driver tells profiles for the lifetime of a mode */
    bool placements_known;
    struct mig_pci_id pci;
    char name[MIG_UUID_SIZE];
    struct mig_profile profiles[MIG_PROFILE_MAX];
    struct profile_store {
        enum mig_ci_origin origin;
        char name[MIG_NAME_SIZE];
        uint8_t starts[MIG_UNIT_MAX];
        struct mig_ci_profile ci_profiles[MIG_CI_PROFILE_MAX];
        char ci_names[MIG_CI_PROFILE_MAX][MIG_NAME_SIZE];
        uint8_t ci_starts[MIG_CI_PROFILE_MAX][CI_START_MAX];
    } stores[MIG_PROFILE_MAX];
};

struct mig_models {
    struct model_store *first; /* newest first */
    size_t count;
};

/* What building one model needs at hand. */
struct builder {
    struct mig_session *session;
    nvmlDevice_t device;
    const struct mig_gpu *gpu;
    const struct mig_model *known;     /* the catalogue's, or NULL */
    const struct model_store *earlier; /* of the same kind, or NULL */
    struct model_store *store;
    struct mig_error *error;
};

void mig_models_free(struct mig_models *models)
{
    while (models && models->first) {
        struct model_store *store = models->first;

        models->first = store->next;
        free(store);
    }
    free(models);
}

static const struct model_store *store_of(const struct mig_models *models,
                                          const struct mig_model *model)
{
    const struct model_store *store = models ? models->first : NULL;

    while (store && &store->model != model) {
        store = store->next;
    }
    return store;
}

bool mig_model_placements_known(const struct mig_models *models, const struct mig_model *model)
{
    const struct model_store *store = store_of(models, model);

    return store && store->placements_known;
}

enum mig_ci_origin mig_model_ci_origin(const struct mig_models *models,
                                       const struct mig_model *model, unsigned profile)
{
    const struct model_store *store = store_of(models, model);

    return store ? store->stores[profile].origin : MIG_CI_CATALOG;
}

static uint8_t to_u8(unsigned long long value)
{
    return value > UINT8_MAX ? UINT8_MAX : (uint8_t)value;
}

static int16_t to_i16(unsigned value)
{
    return (int16_t)(value > INT16_MAX ? INT16_MAX : value);
}

static int32_t to_i32(unsigned long long value)
{
    return value > INT32_MAX ? INT32_MAX : (int32_t)value;
}

/* ---- compute-instance profiles ---- */

/*
 * The profile that fills a GPU instance: all its slices and, where several have them, the most
 * multiprocessors; unless the catalogue knows which one the driver marks.
 */
static void mark_default(struct mig_profile *profile, struct mig_ci_profile *cis,
                         const struct mig_profile *known)
{
    int best = -1;
    int expected = known ? mig_profile_default_ci(known) : MIG_UNKNOWN;

    for (int i = 0; i < profile->ci_profile_count; i++) {
        if (expected >= 0 && cis[i].enum_value == known->ci_profiles[expected].enum_value) {
            best = i;
            break;
        }
        if (best < 0 || cis[i].slice_count > cis[best].slice_count ||
            (cis[i].slice_count == cis[best].slice_count && cis[i].sm_count > cis[best].sm_count)) {
            best = i;
        }
    }
    if (best >= 0) {
        cis[best].is_default = true;
    }
}

static void name_ci(const struct mig_profile *profile, struct mig_ci_profile *ci, char *name)
{
    if (ci->slice_count >= profile->slice_count) {
        mig_text_copy(name, MIG_NAME_SIZE, profile->name);
    } else {
        snprintf(name, MIG_NAME_SIZE, "%uc.%s", ci->slice_count, profile->name);
    }
    ci->name = name;
}

/* The places of one compute-instance profile; the catalogue's when the driver does not tell. */
static void read_ci_placements(const struct builder *builder, nvmlGpuInstance_t gi,
                               const struct mig_ci_profile *known, struct mig_ci_profile *ci,
                               uint8_t *starts)
{
    nvmlComputeInstancePlacement_t places[PLACEMENT_MAX];
    unsigned count = PLACEMENT_MAX;
    nvmlReturn_t code;

    memset(places, 0, sizeof(places));
    code = MIG_CALL(builder->session, builder->gpu->index,
                    nvmlGpuInstanceGetComputeInstancePossiblePlacements, gi,
                    (unsigned)ci->driver_id, places, &count);
    if (code == NVML_SUCCESS && count > 0 && count <= CI_START_MAX) {
        for (unsigned i = 0; i < count; i++) {
            starts[i] = to_u8(places[i].start);
        }
        ci->size = to_u8(places[0].size);
        ci->start_count = (uint8_t)count;
        ci->starts = starts;
    } else if (known) {
        ci->size = known->size;
        ci->start_count = known->start_count;
        ci->starts = known->starts;
    }
}

static const struct mig_ci_profile *known_ci(const struct mig_profile *known, unsigned enum_value)
{
    for (unsigned i = 0; known && i < known->ci_profile_count; i++) {
        if (known->ci_profiles[i].enum_value == enum_value) {
            return &known->ci_profiles[i];
        }
    }
    return NULL;
}

/* Asks a GPU instance of this profile; false when it does not tell. */
static bool read_cis_from_driver(const struct builder *builder, unsigned index,
                                 const struct mig_profile *known, nvmlGpuInstance_t gi)
{
    struct mig_profile *profile = &builder->store->profiles[index];
    struct profile_store *store = &builder->store->stores[index];
    uint8_t count = 0;

    for (unsigned i = 0; i < NVML_COMPUTE_INSTANCE_PROFILE_COUNT; i++) {
        struct mig_ci_profile *ci = &store->ci_profiles[count];
        nvmlComputeInstanceProfileInfo_t info = {0};
        nvmlReturn_t code = MIG_CALL(builder->session, builder->gpu->index,
                                     nvmlGpuInstanceGetComputeInstanceProfileInfo, gi, i,
                                     NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, &info);

        if (code == NVML_ERROR_INVALID_ARGUMENT || code == NVML_ERROR_FUNCTION_NOT_FOUND) {
            break;
        }
        if (code != NVML_SUCCESS || info.instanceCount == 0) {
            continue;
        }
        *ci = (struct mig_ci_profile){
            .enum_value = (uint8_t)i,
            .driver_id = to_i32(info.id),
            .slice_count = to_u8(info.sliceCount),
            .max_instances = to_u8(info.instanceCount),
            .sm_count = to_i32(info.multiprocessorCount),
        };
        name_ci(profile, ci, store->ci_names[count]);
        read_ci_placements(builder, gi, known_ci(known, i), ci, store->ci_starts[count]);
        count++;
    }
    profile->ci_profile_count = count;
    return count > 0;
}

/* Copies from another model; the names follow this GPU's spelling. */
static void copy_cis(struct mig_profile *profile, struct profile_store *store,
                     const struct mig_profile *source)
{
    profile->ci_profile_count = source->ci_profile_count;
    for (unsigned i = 0; i < source->ci_profile_count; i++) {
        store->ci_profiles[i] = source->ci_profiles[i];
        name_ci(profile, &store->ci_profiles[i], store->ci_names[i]);
    }
}

/* NVML_COMPUTE_INSTANCE_PROFILE_* by compute slices. */
static const struct {
    uint8_t slice_count, enum_value;
} full_ci[] = {
    {1, NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE}, {2, NVML_COMPUTE_INSTANCE_PROFILE_2_SLICE},
    {3, NVML_COMPUTE_INSTANCE_PROFILE_3_SLICE}, {4, NVML_COMPUTE_INSTANCE_PROFILE_4_SLICE},
    {6, NVML_COMPUTE_INSTANCE_PROFILE_6_SLICE}, {7, NVML_COMPUTE_INSTANCE_PROFILE_7_SLICE},
    {8, NVML_COMPUTE_INSTANCE_PROFILE_8_SLICE},
};

static void assume_full_ci(struct mig_profile *profile, struct profile_store *store)
{
    for (size_t i = 0; i < MIG_ARRAY_SIZE(full_ci); i++) {
        if (full_ci[i].slice_count == profile->slice_count) {
            store->ci_profiles[0] = (struct mig_ci_profile){
                .enum_value = full_ci[i].enum_value,
                .driver_id = MIG_UNKNOWN,
                .slice_count = profile->slice_count,
                .max_instances = 1,
                .sm_count = profile->sm_count,
                .is_default = true,
            };
            name_ci(profile, &store->ci_profiles[0], store->ci_names[0]);
            profile->ci_profile_count = 1;
        }
    }
}

/* A GPU instance of this profile on this GPU, or NULL. */
static nvmlGpuInstance_t any_instance(const struct builder *builder,
                                      const struct mig_profile *profile)
{
    nvmlGpuInstance_t handles[INSTANCE_MAX] = {NULL};
    unsigned count = INSTANCE_MAX;
    nvmlReturn_t code;

    if (!builder->gpu->mig_mode || profile->max_instances > INSTANCE_MAX) {
        return NULL;
    }
    code = MIG_CALL(builder->session, builder->gpu->index, nvmlDeviceGetGpuInstances,
                    builder->device, (unsigned)profile->driver_id, handles, &count);
    return code == NVML_SUCCESS && count > 0 ? handles[0] : NULL;
}

static void fill_ci_profiles(const struct builder *builder, unsigned index,
                             const struct mig_profile *known)
{
    struct mig_profile *profile = &builder->store->profiles[index];
    struct profile_store *store = &builder->store->stores[index];
    const struct model_store *earlier = builder->earlier;
    int before = earlier ? mig_model_find_enum(&earlier->model, profile->enum_value) : MIG_UNKNOWN;
    nvmlGpuInstance_t gi = any_instance(builder, profile);

    profile->ci_profiles = store->ci_profiles;
    if (gi && read_cis_from_driver(builder, index, known, gi)) {
        store->origin = MIG_CI_DRIVER;
        mark_default(profile, store->ci_profiles, known);
    } else if (earlier && before >= 0 && earlier->stores[before].origin == MIG_CI_DRIVER) {
        store->origin = MIG_CI_DRIVER;
        copy_cis(profile, store, &earlier->profiles[before]);
    } else if (known && known->ci_profile_count > 0) {
        store->origin = MIG_CI_CATALOG;
        copy_cis(profile, store, known);
    } else {
        store->origin = MIG_CI_ASSUMED;
        assume_full_ci(profile, store);
    }
}

/* ---- GPU-instance profiles ---- */

/* NVML's own meaning of its profile numbers. */
static enum mig_variant variant_of(unsigned enum_value)
{
    switch (enum_value) {
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV1:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_REV1:
        return MIG_VARIANT_ME;
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV2:
        return MIG_VARIANT_MEM2X;
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_GFX:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_GFX:
    case NVML_GPU_INSTANCE_PROFILE_3_SLICE_GFX:
    case NVML_GPU_INSTANCE_PROFILE_4_SLICE_GFX:
        return MIG_VARIANT_GFX;
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_NO_ME:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_NO_ME:
        return MIG_VARIANT_NO_ME;
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_ALL_ME:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_ALL_ME:
        return MIG_VARIANT_ALL_ME;
    default:
        return MIG_VARIANT_BASE;
    }
}

static const char *variant_suffix(enum mig_variant variant)
{
    switch (variant) {
    case MIG_VARIANT_ME:
        return "+me";
    case MIG_VARIANT_ALL_ME:
        return "+me.all";
    case MIG_VARIANT_NO_ME:
        return "-me";
    case MIG_VARIANT_GFX:
        return "+gfx";
    case MIG_VARIANT_BASE:
    case MIG_VARIANT_MEM2X:
        break;
    }
    return "";
}

/* As the driver makes names: eighths of the memory, rounded up, of the whole gibibytes. */
static void make_name(const struct builder *builder, const struct mig_profile *profile, char *name)
{
    int64_t total = builder->gpu->memory_total_mib > 0 ? builder->gpu->memory_total_mib : 1;
    int64_t total_gib = (total + 1023) / 1024;
    int64_t eighths = ((int64_t)profile->memory_mib * 8 + total - 1) / total;
    char text[64];

    snprintf(text, sizeof(text), "%ug.%lldgb%s", profile->slice_count,
             (long long)((eighths * total_gib + 4) / 8), variant_suffix(profile->variant));
    mig_text_copy(name, MIG_NAME_SIZE, text);
}

/* The driver's name ("MIG 1g.5gb"), the catalogue's, or one made as the driver makes them. */
static void name_profile(const struct builder *builder, const struct mig_profile *known,
                         const char *driver_name, struct mig_profile *profile, char *name)
{
    if (mig_text_starts_with(driver_name, "MIG ")) {
        driver_name += strlen("MIG ");
    }
    profile->name = name;
    if (driver_name[0] != '\0' && mig_text_copy(name, MIG_NAME_SIZE, driver_name)) {
        return;
    }
    if (known) {
        mig_text_copy(name, MIG_NAME_SIZE, known->name);
        return;
    }
    make_name(builder, profile, name);
}

/* Reads one profile in the newest struct that the driver knows. */
static nvmlReturn_t read_profile_info(const struct builder *builder, unsigned enum_value,
                                      nvmlGpuInstanceProfileInfo_v3_t *ret)
{
    nvmlGpuInstanceProfileInfo_v2_t v2 = {.version = nvmlGpuInstanceProfileInfo_v2};
    nvmlGpuInstanceProfileInfo_t v1 = {0};
    nvmlReturn_t code;

    *ret = (nvmlGpuInstanceProfileInfo_v3_t){.version = nvmlGpuInstanceProfileInfo_v3};
    code = MIG_CALL(builder->session, builder->gpu->index, nvmlDeviceGetGpuInstanceProfileInfoV,
                    builder->device, enum_value, (void *)ret);
    if (code != NVML_ERROR_ARGUMENT_VERSION_MISMATCH && code != NVML_ERROR_FUNCTION_NOT_FOUND) {
        return code;
    }
    code = MIG_CALL(builder->session, builder->gpu->index, nvmlDeviceGetGpuInstanceProfileInfoV,
                    builder->device, enum_value, (void *)&v2);
    if (code == NVML_ERROR_ARGUMENT_VERSION_MISMATCH || code == NVML_ERROR_FUNCTION_NOT_FOUND) {
        code = MIG_CALL(builder->session, builder->gpu->index, nvmlDeviceGetGpuInstanceProfileInfo,
                        builder->device, enum_value, &v1);
        v2 = (nvmlGpuInstanceProfileInfo_v2_t){
            .id = v1.id,
            .isP2pSupported = v1.isP2pSupported,
            .sliceCount = v1.sliceCount,
            .instanceCount = v1.instanceCount,
            .multiprocessorCount = v1.multiprocessorCount,
            .copyEngineCount = v1.copyEngineCount,
            .decoderCount = v1.decoderCount,
            .encoderCount = v1.encoderCount,
            .jpegCount = v1.jpegCount,
            .ofaCount = v1.ofaCount,
            .memorySizeMB = v1.memorySizeMB,
        };
    }
    *ret = (nvmlGpuInstanceProfileInfo_v3_t){
        .id = v2.id,
        .sliceCount = v2.sliceCount,
        .instanceCount = v2.instanceCount,
        .multiprocessorCount = v2.multiprocessorCount,
        .copyEngineCount = v2.copyEngineCount,
        .decoderCount = v2.decoderCount,
        .encoderCount = v2.encoderCount,
        .jpegCount = v2.jpegCount,
        .ofaCount = v2.ofaCount,
        .memorySizeMB = v2.memorySizeMB,
        .capabilities = v2.isP2pSupported ? NVML_GPU_INSTANCE_PROFILE_CAPS_P2P : 0,
    };
    memcpy(ret->name, v2.name, sizeof(ret->name));
    return code;
}

static int compare_bytes(const void *a, const void *b)
{
    return *(const uint8_t *)a - *(const uint8_t *)b;
}

/* Fills the placements from the driver; false when it does not tell or tells nonsense. */
static bool read_placements(const struct builder *builder, struct mig_profile *profile,
                            uint8_t *starts)
{
    nvmlGpuInstancePlacement_t places[PLACEMENT_MAX];
    unsigned count = PLACEMENT_MAX;
    nvmlReturn_t code;

    memset(places, 0, sizeof(places));
    code = MIG_CALL(builder->session, builder->gpu->index,
                    nvmlDeviceGetGpuInstancePossiblePlacements_v2, builder->device,
                    (unsigned)profile->driver_id, places, &count);
    if (code == NVML_ERROR_FUNCTION_NOT_FOUND) {
        count = PLACEMENT_MAX;
        code = MIG_CALL(builder->session, builder->gpu->index,
                        nvmlDeviceGetGpuInstancePossiblePlacements, builder->device,
                        (unsigned)profile->driver_id, places, &count);
    }
    if (code != NVML_SUCCESS || count == 0 || count > MIG_UNIT_MAX) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        if (places[i].size != places[0].size || places[i].size == 0 ||
            places[i].start >= MIG_UNIT_MAX || places[i].size > MIG_UNIT_MAX - places[i].start) {
            return false;
        }
        starts[i] = (uint8_t)places[i].start;
    }
    qsort(starts, count, 1, compare_bytes);
    profile->size = (uint8_t)places[0].size;
    profile->start_count = (uint8_t)count;
    profile->starts = starts;
    return true;
}

static const struct mig_profile *known_profile(const struct mig_model *known, unsigned enum_value,
                                               unsigned slice_count)
{
    int index = known ? mig_model_find_enum(known, enum_value) : MIG_UNKNOWN;

    if (index < 0 || known->profiles[index].slice_count != slice_count) {
        return NULL;
    }
    return &known->profiles[index];
}

static void fill_profile(const struct builder *builder, unsigned index, unsigned enum_value,
                         const nvmlGpuInstanceProfileInfo_v3_t *info)
{
    struct mig_profile *profile = &builder->store->profiles[index];
    struct profile_store *store = &builder->store->stores[index];
    const struct mig_profile *known = known_profile(builder->known, enum_value, info->sliceCount);
    char driver_name[sizeof(info->name) + 1] = "";

    memcpy(driver_name, info->name, sizeof(info->name));
    *profile = (struct mig_profile){
        .enum_value = (uint8_t)enum_value,
        .driver_id = to_i32(info->id),
        .slice_count = to_u8(info->sliceCount),
        .max_instances = to_u8(info->instanceCount),
        .variant = variant_of(enum_value),
        .memory_mib = to_i32(info->memorySizeMB),
        .bar1_mib = known ? known->bar1_mib : MIG_UNKNOWN,
        .sm_count = to_i32(info->multiprocessorCount),
        .engines = {to_i16(info->copyEngineCount), to_i16(info->decoderCount),
                    to_i16(info->encoderCount), to_i16(info->jpegCount), to_i16(info->ofaCount)},
        .p2p = (info->capabilities & NVML_GPU_INSTANCE_PROFILE_CAPS_P2P) != 0,
        .confidence = MIG_FROM_DRIVER,
    };
    name_profile(builder, known, driver_name, profile, store->name);
    if (!read_placements(builder, profile, store->starts)) {
        builder->store->placements_known = false;
        profile->confidence = known ? known->confidence : MIG_INFERRED;
        profile->size = known ? known->size : 0;
        profile->start_count = known ? known->start_count : 0;
        profile->starts = known ? known->starts : NULL;
    }
    fill_ci_profiles(builder, index, known);
}

/* NVML numbers in the order of the finished table: by slices, then as the driver counts. */
static int read_profiles(const struct builder *builder)
{
    nvmlGpuInstanceProfileInfo_v3_t infos[NVML_GPU_INSTANCE_PROFILE_COUNT];
    bool present[NVML_GPU_INSTANCE_PROFILE_COUNT] = {false};
    uint8_t count = 0;

    for (unsigned i = 0; i < NVML_GPU_INSTANCE_PROFILE_COUNT; i++) {
        nvmlReturn_t code = read_profile_info(builder, i, &infos[i]);

        if (code == NVML_ERROR_INVALID_ARGUMENT || code == NVML_ERROR_FUNCTION_NOT_FOUND) {
            break;
        }
        if (code != NVML_SUCCESS && code != NVML_ERROR_NOT_SUPPORTED) {
            return mig_nvml_error(builder->session, code, builder->error,
                                  "could not read its MIG profiles");
        }
        /* one with no instances cannot be created: as good as absent */
        present[i] = code == NVML_SUCCESS && infos[i].instanceCount > 0;
    }
    for (unsigned slices = 0; slices <= UINT8_MAX; slices++) {
        for (unsigned i = 0; i < NVML_GPU_INSTANCE_PROFILE_COUNT; i++) {
            if (present[i] && to_u8(infos[i].sliceCount) == slices) {
                fill_profile(builder, count++, i, &infos[i]);
            }
        }
    }
    builder->store->model.profile_count = count;
    return 0;
}

_Static_assert(NVML_GPU_INSTANCE_PROFILE_COUNT <= MIG_PROFILE_MAX, "every NVML profile has room");
_Static_assert(NVML_COMPUTE_INSTANCE_PROFILE_COUNT <= MIG_CI_PROFILE_MAX, "the same for CIs");

/* ---- the model ---- */

static enum mig_architecture architecture_of(int major)
{
    switch (major) {
    case 8:
        return MIG_ARCH_AMPERE;
    case 9:
        return MIG_ARCH_HOPPER;
    case 10:
    case 11:
    case 12:
        return MIG_ARCH_BLACKWELL;
    default:
        return MIG_ARCH_UNKNOWN;
    }
}

static void read_architecture(const struct builder *builder, struct mig_model *model)
{
    int major = 0, minor = 0;
    nvmlReturn_t code =
        MIG_CALL(builder->session, builder->gpu->index, nvmlDeviceGetCudaComputeCapability,
                 builder->device, &major, &minor);

    if (code == NVML_SUCCESS && major > 0 && major <= UINT8_MAX && minor >= 0 &&
        minor <= UINT8_MAX) {
        model->architecture = architecture_of(major);
        model->cc_major = (uint8_t)major;
        model->cc_minor = (uint8_t)minor;
        /* facts/README, section 8: only Ampere needs a reset, and only there the mode lasts */
        model->mode_needs_reset = model->architecture == MIG_ARCH_AMPERE;
        model->mode_persists_reboot = model->mode_needs_reset;
    }
}

/* What is not told by profile: the catalogue first, then what the profiles imply. */
static void finish_model(const struct builder *builder)
{
    struct model_store *store = builder->store;
    struct mig_model *model = &store->model;
    const struct mig_model *known = builder->known;
    unsigned devices = 0;

    if (known) {
        uint8_t count = model->profile_count;

        *model = *known;
        model->profile_count = count;
    } else {
        model->sm_total = MIG_UNKNOWN;
        model->bar1_total_mib = MIG_UNKNOWN;
        read_architecture(builder, model);
    }
    model->name = store->name;
    model->pci_ids = &store->pci;
    model->pci_id_count = 1;
    model->total_memory_mib = builder->gpu->memory_total_mib > INT32_MAX
                                  ? MIG_UNKNOWN
                                  : (int32_t)builder->gpu->memory_total_mib;
    model->profiles = store->profiles;
    model->confidence = MIG_FROM_DRIVER;
    if (store->placements_known) {
        model->unit_count = 0;
    }
    for (unsigned i = 0; i < model->profile_count; i++) {
        const struct mig_profile *profile = &store->profiles[i];
        uint8_t end = profile->start_count > 0
                          ? to_u8(profile->starts[profile->start_count - 1] + profile->size)
                          : 0;

        model->unit_count = end > model->unit_count ? end : model->unit_count;
        if (profile->slice_count > model->compute_slice_count) {
            model->compute_slice_count = profile->slice_count;
        }
        if (profile->max_instances > model->max_mig_devices) {
            model->max_mig_devices = profile->max_instances;
        }
    }
    if (MIG_CALL(builder->session, builder->gpu->index, nvmlDeviceGetMaxMigDeviceCount,
                 builder->device, &devices) == NVML_SUCCESS &&
        devices > 0) {
        model->max_mig_devices = to_u8(devices);
    }
}

static const struct model_store *find_store(const struct mig_models *models,
                                            const struct mig_gpu *gpu)
{
    for (const struct model_store *store = models->first; store; store = store->next) {
        if (store->pci.device == gpu->pci_device && store->pci.subsystem == gpu->pci_subsystem &&
            store->mig_mode == gpu->mig_mode && strcmp(store->name, gpu->name) == 0) {
            return store;
        }
    }
    return NULL;
}

static int build(struct builder *builder, struct mig_models *models, const struct mig_model **ret)
{
    MIG_AUTO_FREE struct model_store *store = calloc(1, sizeof(*store));
    const struct mig_gpu *gpu = builder->gpu;
    int rc;

    if (!store || models->count >= MODELS_MAX) {
        return mig_error_set_errno(builder->error, MIG_E_FAILED, ENOMEM,
                                   "could not keep another GPU model");
    }
    store->mig_mode = gpu->mig_mode;
    store->placements_known = true;
    store->pci = (struct mig_pci_id){gpu->pci_device, gpu->pci_subsystem};
    mig_text_copy(store->name, sizeof(store->name), gpu->name);
    builder->store = store;
    rc = read_profiles(builder);
    if (rc < 0) {
        return rc;
    }
    if (store->model.profile_count == 0) {
        *ret = builder->known;
        return 0;
    }
    finish_model(builder);
    store->next = models->first;
    models->first = store;
    models->count++;
    *ret = &MIG_TAKE(store)->model;
    return 0;
}

int mig_model_read(struct mig_session *session, nvmlDevice_t device, const struct mig_gpu *gpu,
                   bool relearn, const struct mig_model **ret, struct mig_error *error)
{
    struct builder builder = {.session = session, .device = device, .gpu = gpu, .error = error};

    if (!session->models) {
        session->models = calloc(1, sizeof(*session->models));
        if (!session->models) {
            return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not keep GPU models");
        }
    }
    builder.earlier = find_store(session->models, gpu);
    if (builder.earlier && !relearn) {
        *ret = &builder.earlier->model;
        return 0;
    }
    builder.known = mig_catalog_find_pci(gpu->pci_device, gpu->pci_subsystem);
    if (!builder.known) {
        builder.known = mig_catalog_find_name(gpu->name);
    }
    return build(&builder, session->models, ret);
}
