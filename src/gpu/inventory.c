/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One snapshot of the node. The whole reading is one job on the worker of the session; it fills a
 * node that belongs to the job until it is done.
 *
 * What goes wrong with one GPU is told on that GPU and does not hide the others. GPU instances are
 * listed by profile, the only way that also shows those without a compute instance; MIG devices
 * (index, UUID, memory, processes) are found by walking the indices and matching the instance ids,
 * since nothing about them may be derived.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "gpu/binding.h"
#include "gpu/model_reader.h"
#include "gpu/pci.h"
#include "gpu/process.h"
#include <errno.h>
#include <string.h>

#define HANDLE_MAX 256 /* room offered to the driver for the instances of one profile */

struct inventory_job {
    struct mig_node *node;
};

/* One GPU while it is read. */
struct reader {
    struct mig_session *session;
    struct mig_gpu *gpu;
    nvmlDevice_t device;
    nvmlGpuInstance_t gis[MIG_GI_MAX]; /* parallel to gpu->layout.gis */
    struct mig_error *error;
};

static int64_t to_mib(unsigned long long bytes)
{
    return (int64_t)(bytes >> 20);
}

/* ---- instances ---- */

/* 1 = the model has no such profile. */
static int read_ci(const struct reader *reader, nvmlComputeInstance_t handle,
                   const struct mig_profile *profile, struct mig_ci *ret)
{
    nvmlComputeInstanceInfo_t info = {0};
    nvmlReturn_t code =
        MIG_CALL(reader->session, reader->gpu->index, nvmlComputeInstanceGetInfo_v2, handle, &info);
    bool placed = code == NVML_SUCCESS;

    if (code == NVML_ERROR_FUNCTION_NOT_FOUND) {
        nvmlComputeInstanceInfo_v1_t old = {0};

        code =
            MIG_CALL(reader->session, reader->gpu->index, nvmlComputeInstanceGetInfo, handle, &old);
        info.id = old.id;
        info.profileId = old.profileId;
    }
    if (code != NVML_SUCCESS) {
        return mig_nvml_error(reader->session, code, reader->error,
                              "could not read a compute instance");
    }
    for (uint8_t i = 0; i < profile->ci_profile_count; i++) {
        const struct mig_ci_profile *ci_profile = &profile->ci_profiles[i];
        unsigned id =
            ci_profile->driver_id >= 0 ? (unsigned)ci_profile->driver_id : ci_profile->enum_value;

        if (id == info.profileId) {
            bool known = placed && info.placement.start < MIG_START_ANY;

            *ret = (struct mig_ci){
                .profile = i,
                .start = known ? (uint8_t)info.placement.start : MIG_START_ANY,
                .id = info.id,
            };
            return 0;
        }
    }
    return 1;
}

static int compare_ci(const void *a, const void *b)
{
    const struct mig_ci *left = a, *right = b;

    return (left->id > right->id) - (left->id < right->id);
}

static int too_many(const struct reader *reader, const char *what, unsigned limit)
{
    return mig_error_set(reader->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                         "the driver tells of more than %u %s", limit, what);
}

/* Adds the compute instances of one profile. 1 = one has a profile that the model has not. */
static int read_cis_of(const struct reader *reader, nvmlGpuInstance_t handle,
                       const struct mig_profile *profile, unsigned driver_id, struct mig_gi *gi)
{
    nvmlComputeInstance_t handles[HANDLE_MAX] = {NULL};
    unsigned count = HANDLE_MAX;
    nvmlReturn_t code =
        MIG_CALL(reader->session, reader->gpu->index, nvmlGpuInstanceGetComputeInstances, handle,
                 driver_id, handles, &count);

    if (code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_NOT_SUPPORTED ||
        code == NVML_ERROR_INVALID_ARGUMENT) {
        return 0;
    }
    if (code != NVML_SUCCESS) {
        return mig_nvml_error(reader->session, code, reader->error,
                              "could not list compute instances");
    }
    for (unsigned i = 0; i < count && i < HANDLE_MAX; i++) {
        int rc;

        if (gi->ci_count >= MIG_CI_MAX) {
            return too_many(reader, "compute instances of one GPU instance", MIG_CI_MAX);
        }
        rc = read_ci(reader, handles[i], profile, &gi->cis[gi->ci_count]);
        if (rc != 0) {
            return rc;
        }
        gi->ci_count++;
    }
    return 0;
}

static int read_cis(const struct reader *reader, nvmlGpuInstance_t handle,
                    const struct mig_profile *profile, struct mig_gi *gi)
{
    for (unsigned i = 0; i < profile->ci_profile_count; i++) {
        const struct mig_ci_profile *ci_profile = &profile->ci_profiles[i];
        int rc = read_cis_of(reader, handle, profile,
                             ci_profile->driver_id >= 0 ? (unsigned)ci_profile->driver_id
                                                        : ci_profile->enum_value,
                             gi);

        if (rc != 0) {
            return rc;
        }
    }
    qsort(gi->cis, gi->ci_count, sizeof(gi->cis[0]), compare_ci);
    return 0;
}

/* 1 = a better model can be learned from this instance. */
static int read_gi(struct reader *reader, nvmlGpuInstance_t handle, uint8_t profile_index)
{
    struct mig_layout *layout = &reader->gpu->layout;
    const struct mig_profile *profile = &layout->model->profiles[profile_index];
    struct mig_gi *gi = &layout->gis[layout->gi_count];
    enum mig_ci_origin origin =
        mig_model_ci_origin(reader->session->models, layout->model, profile_index);
    nvmlGpuInstanceInfo_t info = {0};
    nvmlReturn_t code =
        MIG_CALL(reader->session, reader->gpu->index, nvmlGpuInstanceGetInfo, handle, &info);
    int rc;

    if (code != NVML_SUCCESS) {
        return mig_nvml_error(reader->session, code, reader->error,
                              "could not read a GPU instance");
    }
    if (info.placement.start >= MIG_UNIT_MAX ||
        (profile->size > 0 && info.placement.size != profile->size)) {
        return mig_error_set(reader->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "GPU instance %u is %s at %u:%u, which is not among its placements",
                             info.id, profile->name, info.placement.start, info.placement.size);
    }
    *gi = (struct mig_gi){
        .profile = profile_index, .start = (uint8_t)info.placement.start, .id = info.id};
    if (origin == MIG_CI_ASSUMED) {
        return 1;
    }
    rc = read_cis(reader, handle, profile, gi);
    if (rc == 1 && origin == MIG_CI_DRIVER) {
        return mig_error_set(reader->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "GPU instance %u has a compute instance of a profile that the driver "
                             "does not list",
                             info.id);
    }
    if (rc == 0) {
        reader->gis[layout->gi_count++] = handle;
    }
    return rc;
}

static int read_gis_of(struct reader *reader, uint8_t profile_index)
{
    const struct mig_profile *profile = &reader->gpu->layout.model->profiles[profile_index];
    nvmlGpuInstance_t handles[HANDLE_MAX] = {NULL};
    unsigned count = HANDLE_MAX;
    nvmlReturn_t code = MIG_CALL(reader->session, reader->gpu->index, nvmlDeviceGetGpuInstances,
                                 reader->device, (unsigned)profile->driver_id, handles, &count);

    if (code == NVML_ERROR_NOT_FOUND || code == NVML_ERROR_NOT_SUPPORTED) {
        return 0;
    }
    if (code != NVML_SUCCESS) {
        return mig_nvml_error(reader->session, code, reader->error, "could not list GPU instances");
    }
    for (unsigned i = 0; i < count && i < HANDLE_MAX; i++) {
        int rc;

        if (reader->gpu->layout.gi_count >= MIG_GI_MAX) {
            return too_many(reader, "GPU instances", MIG_GI_MAX);
        }
        rc = read_gi(reader, handles[i], profile_index);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

/* Orders instances by start, so that equal GPUs give equal snapshots. */
static void sort_gis(struct reader *reader)
{
    struct mig_layout *layout = &reader->gpu->layout;

    for (unsigned i = 1; i < layout->gi_count; i++) {
        for (unsigned j = i; j > 0 && layout->gis[j].start < layout->gis[j - 1].start; j--) {
            struct mig_gi gi = layout->gis[j];
            nvmlGpuInstance_t handle = reader->gis[j];

            layout->gis[j] = layout->gis[j - 1];
            reader->gis[j] = reader->gis[j - 1];
            layout->gis[j - 1] = gi;
            reader->gis[j - 1] = handle;
        }
    }
}

static int read_gis(struct reader *reader)
{
    struct mig_layout *layout = &reader->gpu->layout;

    layout->gi_count = 0;
    for (uint8_t i = 0; i < layout->model->profile_count; i++) {
        int rc = read_gis_of(reader, i);

        if (rc != 0) {
            return rc;
        }
    }
    sort_gis(reader);
    return 0;
}

static int read_instances(struct reader *reader)
{
    const struct mig_profile *profiles = reader->gpu->layout.model->profiles;
    int rc = read_gis(reader);

    for (unsigned tries = 0; rc == 1 && tries < MIG_PROFILE_MAX; tries++) {
        rc = mig_model_read(reader->session, reader->device, reader->gpu, true,
                            &reader->gpu->layout.model, reader->error);
        if (rc == 0) {
            rc = read_gis(reader);
        }
    }
    if (rc == 1) {
        return mig_error_set(reader->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "the driver does not tell the compute-instance profiles of %s",
                             profiles[0].name);
    }
    return rc;
}

/* ---- MIG devices ---- */

static int32_t to_count(unsigned value)
{
    return value > INT32_MAX ? MIG_UNKNOWN : (int32_t)value;
}

static void read_attributes(struct reader *reader, nvmlDevice_t handle, struct mig_attributes *ret)
{
    nvmlDeviceAttributes_t told = {0};

    if (MIG_CALL(reader->session, reader->gpu->index, nvmlDeviceGetAttributes_v2, handle, &told) !=
        NVML_SUCCESS) {
        return;
    }
    *ret = (struct mig_attributes){
        .sm_count = to_count(told.multiprocessorCount),
        .gi_slice_count = to_count(told.gpuInstanceSliceCount),
        .ci_slice_count = to_count(told.computeInstanceSliceCount),
        .copy = to_count(told.sharedCopyEngineCount),
        .decoder = to_count(told.sharedDecoderCount),
        .encoder = to_count(told.sharedEncoderCount),
        .jpeg = to_count(told.sharedJpegCount),
        .ofa = to_count(told.sharedOfaCount),
        .memory_mib = told.memorySizeMB > INT32_MAX ? MIG_UNKNOWN : (int64_t)told.memorySizeMB,
    };
}

static int read_device(struct reader *reader, unsigned index, nvmlDevice_t handle)
{
    struct mig_gpu *gpu = reader->gpu;
    struct mig_process_scope scope = {handle, MIG_ID_NONE, MIG_ID_NONE};
    nvmlMemory_t memory = {0};

    if (MIG_CALL(reader->session, gpu->index, nvmlDeviceGetGpuInstanceId, handle, &scope.gi_id) !=
            NVML_SUCCESS ||
        MIG_CALL(reader->session, gpu->index, nvmlDeviceGetComputeInstanceId, handle,
                 &scope.ci_id) != NVML_SUCCESS) {
        return 0;
    }
    for (uint8_t i = 0; i < gpu->layout.gi_count; i++) {
        const struct mig_gi *gi = &gpu->layout.gis[i];

        for (uint8_t j = 0; gi->id == scope.gi_id && j < gi->ci_count; j++) {
            struct mig_gi_info *info = &gpu->gi_infos[i];

            if (gi->cis[j].id != scope.ci_id) {
                continue;
            }
            info->devices[j].index = (int32_t)index;
            if (MIG_CALL(reader->session, gpu->index, nvmlDeviceGetUUID, handle,
                         info->devices[j].uuid, MIG_UUID_SIZE) != NVML_SUCCESS) {
                info->devices[j].uuid[0] = '\0';
            }
            read_attributes(reader, handle, &info->devices[j].attributes);
            if (info->memory_total_mib == MIG_UNKNOWN &&
                MIG_CALL(reader->session, gpu->index, nvmlDeviceGetMemoryInfo, handle, &memory) ==
                    NVML_SUCCESS) {
                info->memory_total_mib = to_mib(memory.total);
                info->memory_used_mib = to_mib(memory.used);
            }
        }
    }
    return mig_processes_read(reader->session, &scope, gpu, reader->error);
}

static const struct mig_attributes attributes_unknown = {
    MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN,
    MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN, MIG_UNKNOWN,
};

static int read_devices(struct reader *reader)
{
    const struct mig_layout *layout = &reader->gpu->layout;
    unsigned expected = 0;

    for (uint8_t i = 0; i < layout->gi_count; i++) {
        struct mig_gi_info *info = &reader->gpu->gi_infos[i];

        info->memory_used_mib = info->memory_total_mib = MIG_UNKNOWN;
        for (unsigned j = 0; j < MIG_CI_MAX; j++) {
            info->devices[j].index = MIG_UNKNOWN;
            info->devices[j].attributes = attributes_unknown;
        }
        expected += layout->gis[i].ci_count;
    }
    for (unsigned i = 0; expected > 0 && i < layout->model->max_mig_devices; i++) {
        nvmlDevice_t handle = NULL;
        int rc;

        if (MIG_CALL(reader->session, reader->gpu->index, nvmlDeviceGetMigDeviceHandleByIndex,
                     reader->device, i, &handle) != NVML_SUCCESS) {
            continue;
        }
        expected--;
        rc = read_device(reader, i, handle);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* ---- GPUs ---- */

static int gpu_error(const struct reader *reader, nvmlReturn_t code, const char *what)
{
    return mig_nvml_error(reader->session, code, reader->error, "could not read its %s", what);
}

/* "UUID.CLIQUE" of a GPU that has joined an NVLink fabric. */
static void read_clique(struct reader *reader)
{
    struct mig_gpu *gpu = reader->gpu;
    nvmlGpuFabricInfoV_t info = {.version = nvmlGpuFabricInfo_v3};
    nvmlGpuFabricInfo_t old = {0};
    nvmlReturn_t code =
        MIG_CALL(reader->session, gpu->index, nvmlDeviceGetGpuFabricInfoV, reader->device, &info);
    const unsigned char *u = info.clusterUuid;

    if (code == NVML_ERROR_FUNCTION_NOT_FOUND || code == NVML_ERROR_ARGUMENT_VERSION_MISMATCH) {
        code =
            MIG_CALL(reader->session, gpu->index, nvmlDeviceGetGpuFabricInfo, reader->device, &old);
        memcpy(info.clusterUuid, old.clusterUuid, sizeof(info.clusterUuid));
        info.status = old.status;
        info.state = old.state;
        info.cliqueId = old.cliqueId;
    }
    if (code != NVML_SUCCESS || info.state != NVML_GPU_FABRIC_STATE_COMPLETED ||
        info.status != NVML_SUCCESS) {
        return;
    }
    snprintf(gpu->clique, sizeof(gpu->clique),
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x.%u", u[0], u[1],
             u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
             u[15], info.cliqueId);
}

/* What is worth knowing, but no reason to give the GPU up. */
static void read_details(struct reader *reader)
{
    struct mig_gpu *gpu = reader->gpu;
    int major = 0, minor = 0;
    unsigned number;

    if (MIG_CALL(reader->session, gpu->index, nvmlDeviceGetMinorNumber, reader->device, &number) ==
            NVML_SUCCESS &&
        number <= INT32_MAX) {
        gpu->minor = (int32_t)number;
    }
    if (MIG_CALL(reader->session, gpu->index, nvmlDeviceGetCudaComputeCapability, reader->device,
                 &major, &minor) == NVML_SUCCESS) {
        gpu->cc_major = major;
        gpu->cc_minor = minor;
    }
    read_clique(reader);
    mig_pci_read(reader->session->sys_root, gpu);
}

static int read_identity(struct reader *reader)
{
    struct mig_session *session = reader->session;
    struct mig_gpu *gpu = reader->gpu;
    nvmlPciInfo_t pci = {0};
    nvmlMemory_t memory = {0};
    nvmlReturn_t code;

    /* first of all: whatever else cannot be read, it is known which GPU this is */
    code = MIG_CALL(session, gpu->index, nvmlDeviceGetUUID, reader->device, gpu->uuid,
                    (unsigned)sizeof(gpu->uuid));
    if (code != NVML_SUCCESS) {
        gpu->uuid[0] = '\0';
        return gpu_error(reader, code, "UUID");
    }
    code = MIG_CALL(session, gpu->index, nvmlDeviceGetPciInfo_v3, reader->device, &pci);
    if (code != NVML_SUCCESS) {
        return gpu_error(reader, code, "PCI identity");
    }
    mig_text_copy(gpu->bus_id, sizeof(gpu->bus_id), pci.busId);
    gpu->pci_device = pci.pciDeviceId;
    gpu->pci_subsystem = pci.pciSubSystemId;
    code = MIG_CALL(session, gpu->index, nvmlDeviceGetName, reader->device, gpu->name,
                    (unsigned)sizeof(gpu->name));
    if (code != NVML_SUCCESS) {
        return gpu_error(reader, code, "name");
    }
    read_details(reader);
    code = MIG_CALL(session, gpu->index, nvmlDeviceGetMemoryInfo, reader->device, &memory);
    if (code == NVML_SUCCESS) {
        gpu->memory_total_mib = to_mib(memory.total);
        gpu->memory_used_mib = to_mib(memory.used);
    } else if (!mig_nvml_is_absent(code) && code != NVML_ERROR_NO_PERMISSION) {
        return gpu_error(reader, code, "memory");
    }
    return 0;
}

static int read_mode(struct reader *reader)
{
    unsigned current = 0, pending = 0;
    nvmlReturn_t code = MIG_CALL(reader->session, reader->gpu->index, nvmlDeviceGetMigMode,
                                 reader->device, &current, &pending);

    if (mig_nvml_is_absent(code)) {
        return 0;
    }
    if (code != NVML_SUCCESS) {
        return gpu_error(reader, code, "MIG mode");
    }
    reader->gpu->mig_capable = true;
    reader->gpu->mig_mode = current == NVML_DEVICE_MIG_ENABLE;
    reader->gpu->mig_mode_pending = pending == NVML_DEVICE_MIG_ENABLE;
    return 0;
}

static int read_mig(struct reader *reader)
{
    struct mig_gpu *gpu = reader->gpu;
    int rc = read_mode(reader);

    if (rc < 0 || !gpu->mig_capable) {
        return rc;
    }
    rc = mig_model_read(reader->session, reader->device, gpu, false, &gpu->layout.model,
                        reader->error);
    if (rc < 0 || !gpu->layout.model || !gpu->mig_mode) {
        return rc;
    }
    rc = read_instances(reader);
    if (rc < 0) {
        return rc;
    }
    return read_devices(reader);
}

static int read_gpu(struct reader *reader)
{
    struct mig_gpu *gpu = reader->gpu;
    struct mig_process_scope whole = {NULL, MIG_ID_NONE, MIG_ID_NONE};
    nvmlReturn_t code = MIG_CALL(reader->session, gpu->index, nvmlDeviceGetHandleByIndex_v2,
                                 gpu->index, &reader->device);
    int rc;

    if (code != NVML_SUCCESS) {
        return mig_nvml_error(reader->session, code, reader->error, "could not open it");
    }
    rc = read_identity(reader);
    if (rc < 0) {
        return rc;
    }
    rc = read_mig(reader);
    if (rc < 0) {
        return rc;
    }
    gpu->model_from_driver = mig_model_placements_known(reader->session->models, gpu->layout.model);
    whole.device = reader->device;
    rc = mig_processes_read(reader->session, &whole, gpu, reader->error);
    if (rc == 0) {
        mig_processes_assign(reader->session, gpu);
    }
    return rc;
}

static void read_gpu_or_say_why(struct mig_session *session, struct mig_gpu *gpu, uint32_t index)
{
    struct mig_error error = {0};
    struct reader reader = {.session = session, .gpu = gpu, .error = &error};

    gpu->index = index;
    gpu->minor = gpu->numa_node = gpu->cc_major = gpu->cc_minor = MIG_UNKNOWN;
    gpu->memory_used_mib = gpu->memory_total_mib = MIG_UNKNOWN;
    if (read_gpu(&reader) < 0) {
        mig_text_copy(gpu->problem, sizeof(gpu->problem), error.message);
        gpu->layout = (struct mig_layout){0};
        if (gpu->name[0] == '\0') {
            mig_text_copy(gpu->name, sizeof(gpu->name), "unknown");
        }
    }
}

static int read_node(struct mig_session *session, void *data, struct mig_error *error)
{
    struct inventory_job *job = data;
    struct mig_node *node = job->node;
    unsigned count = 0;
    nvmlReturn_t code = MIG_CALL(session, MIG_ID_NONE, nvmlDeviceGetCount_v2, &count);

    if (code != NVML_SUCCESS) {
        return mig_nvml_error(session, code, error, "could not count the GPUs");
    }
    if (count > MIG_GPU_MAX) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "this node has %u GPUs, more than the %u that are supported", count,
                             MIG_GPU_MAX);
    }
    node->gpus = calloc(count > 0 ? count : 1, sizeof(*node->gpus));
    if (!node->gpus) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read %u GPUs", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        node->gpu_count = i + 1;
        read_gpu_or_say_why(session, &node->gpus[i], i);
    }
    return 0;
}

int mig_inventory_read(struct mig_session *session, struct mig_node **ret, struct mig_error *error)
{
    MIG_AUTO_FREE struct inventory_job *job = calloc(1, sizeof(*job));
    MIG_CLEANUP(cleanup_node) struct mig_node *node = calloc(1, sizeof(*node));
    void *given = job;
    int rc;

    if (!job || !node) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read the node");
    }
    node->generation = ++session->generation;
    mig_text_copy(node->driver_version, sizeof(node->driver_version), session->driver_version);
    mig_text_copy(node->nvml_version, sizeof(node->nvml_version), session->nvml_version);
    node->cuda_version = session->cuda_version;
    job->node = node;
    rc = mig_session_run(session, read_node, &given, error);
    if (!given) {
        /* a call hangs: the worker keeps both */
        (void)MIG_TAKE(job);
        (void)MIG_TAKE(node);
        return rc;
    }
    if (rc < 0) {
        return rc;
    }
    *ret = MIG_TAKE(node);
    return 0;
}
