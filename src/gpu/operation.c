/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating and destroying instances, and switching MIG mode, through NVML.
 *
 * Handles are looked up anew for each operation: those of earlier calls may be stale after a change
 * of the same GPU.
 */
#include "gpu/operation.h"
#include "base/cleanup.h"
#include <errno.h>
#include <string.h>

#define PLACEMENT_MAX 64

/* Remembers NVML's answer; 0 or a result code. */
static int answer(struct mig_session *session, nvmlReturn_t code, nvmlReturn_t *ret_code,
                  struct mig_error *error, const char *what)
{
    *ret_code = code;
    return code == NVML_SUCCESS ? 0 : mig_nvml_error(session, code, error, "%s", what);
}

static int find_device(struct mig_session *session, const char *uuid, uint32_t gpu,
                       nvmlDevice_t *ret, nvmlReturn_t *ret_code, struct mig_error *error)
{
    return answer(session, MIG_CALL(session, gpu, nvmlDeviceGetHandleByUUID, uuid, ret), ret_code,
                  error, "the GPU was not found");
}

static int create_gi(struct mig_session *session, struct mig_operation *operation,
                     nvmlDevice_t device, struct mig_error *error)
{
    nvmlGpuInstancePlacement_t placement = {operation->gi_start, operation->gi_size};
    nvmlGpuInstance_t gi = NULL;
    nvmlGpuInstanceInfo_t info = {0};
    int rc = answer(session,
                    MIG_CALL(session, operation->gpu, nvmlDeviceCreateGpuInstanceWithPlacement,
                             device, operation->gi_profile_id, &placement, &gi),
                    &operation->code, error, "the driver refused it");

    if (rc < 0) {
        return rc;
    }
    rc = answer(session, MIG_CALL(session, operation->gpu, nvmlGpuInstanceGetInfo, gi, &info),
                &operation->code, error, "the new GPU instance could not be read");
    if (rc < 0) {
        return rc;
    }
    operation->gi_id = info.id;
    if (info.placement.start != operation->gi_start) {
        /* no journal tells of an instance there, so nobody else would take it away */
        (void)MIG_CALL(session, operation->gpu, nvmlGpuInstanceDestroy, gi);
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "the driver put it at %u",
                             info.placement.start);
    }
    return 0;
}

static int find_gi(struct mig_session *session, struct mig_operation *operation,
                   nvmlDevice_t device, nvmlGpuInstance_t *ret, struct mig_error *error)
{
    return answer(session,
                  MIG_CALL(session, operation->gpu, nvmlDeviceGetGpuInstanceById, device,
                           operation->gi_id, ret),
                  &operation->code, error, "its GPU instance was not found");
}

/* The driver's own words on where such a compute instance may sit; size 0 = it does not say. */
static nvmlComputeInstancePlacement_t find_ci_place(struct mig_session *session,
                                                    const struct mig_operation *operation,
                                                    nvmlGpuInstance_t gi, unsigned profile_id)
{
    nvmlComputeInstancePlacement_t places[PLACEMENT_MAX];
    unsigned count = PLACEMENT_MAX;

    memset(places, 0, sizeof(places));
    if (operation->ci_start != MIG_START_ANY &&
        session->nvml.nvmlGpuInstanceCreateComputeInstanceWithPlacement &&
        MIG_CALL(session, operation->gpu, nvmlGpuInstanceGetComputeInstancePossiblePlacements, gi,
                 profile_id, places, &count) == NVML_SUCCESS) {
        for (unsigned i = 0; i < count && i < PLACEMENT_MAX; i++) {
            if (places[i].start == operation->ci_start) {
                return places[i];
            }
        }
    }
    return (nvmlComputeInstancePlacement_t){0, 0};
}

static int create_ci(struct mig_session *session, struct mig_operation *operation,
                     nvmlGpuInstance_t gi, struct mig_error *error)
{
    nvmlComputeInstanceProfileInfo_t profile = {0};
    nvmlComputeInstancePlacement_t place;
    nvmlComputeInstance_t ci = NULL;
    nvmlComputeInstanceInfo_t info = {0};
    nvmlReturn_t code;
    int rc = answer(session,
                    MIG_CALL(session, operation->gpu, nvmlGpuInstanceGetComputeInstanceProfileInfo,
                             gi, (unsigned)operation->ci_profile,
                             NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, &profile),
                    &operation->code, error, "its profile could not be read");

    if (rc < 0) {
        return rc;
    }
    place = find_ci_place(session, operation, gi, profile.id);
    code = place.size > 0 ? MIG_CALL(session, operation->gpu,
                                     nvmlGpuInstanceCreateComputeInstanceWithPlacement, gi,
                                     profile.id, &place, &ci)
                          : MIG_CALL(session, operation->gpu, nvmlGpuInstanceCreateComputeInstance,
                                     gi, profile.id, &ci);
    rc = answer(session, code, &operation->code, error, "the driver refused it");
    if (rc == 0 && MIG_CALL(session, operation->gpu, nvmlComputeInstanceGetInfo_v2, ci, &info) ==
                       NVML_SUCCESS) {
        operation->ci_id = info.id;
    }
    return rc;
}

static int destroy_ci(struct mig_session *session, struct mig_operation *operation,
                      nvmlGpuInstance_t gi, struct mig_error *error)
{
    nvmlComputeInstance_t ci = NULL;
    int rc = answer(session,
                    MIG_CALL(session, operation->gpu, nvmlGpuInstanceGetComputeInstanceById, gi,
                             operation->ci_id, &ci),
                    &operation->code, error, "it was not found");

    if (rc < 0) {
        return rc;
    }
    return answer(session, MIG_CALL(session, operation->gpu, nvmlComputeInstanceDestroy, ci),
                  &operation->code, error, "the driver refused it");
}

static int run_operation(struct mig_session *session, void *data, struct mig_error *error)
{
    struct mig_operation *operation = data;
    nvmlDevice_t device = NULL;
    nvmlGpuInstance_t gi = NULL;
    int rc =
        find_device(session, operation->uuid, operation->gpu, &device, &operation->code, error);

    if (rc == 0 && operation->kind != MIG_STEP_CREATE_GI) {
        rc = find_gi(session, operation, device, &gi, error);
    }
    if (rc < 0) {
        return rc;
    }
    switch (operation->kind) {
    case MIG_STEP_CREATE_GI:
        return create_gi(session, operation, device, error);
    case MIG_STEP_CREATE_CI:
        return create_ci(session, operation, gi, error);
    case MIG_STEP_DESTROY_CI:
        return destroy_ci(session, operation, gi, error);
    case MIG_STEP_DESTROY_GI:
        break;
    }
    return answer(session, MIG_CALL(session, operation->gpu, nvmlGpuInstanceDestroy, gi),
                  &operation->code, error, "the driver refused it");
}

static int change_mode(struct mig_session *session, void *data, struct mig_error *error)
{
    struct mig_mode_change *change = data;
    nvmlDevice_t device = NULL;
    unsigned current = 0, pending = 0;
    int rc = find_device(session, change->uuid, change->gpu, &device, &change->code, error);

    if (rc < 0) {
        return rc;
    }
    change->activation = NVML_SUCCESS;
    if (change->set) {
        unsigned mode = change->mode ? NVML_DEVICE_MIG_ENABLE : NVML_DEVICE_MIG_DISABLE;

        rc = answer(
            session,
            MIG_CALL(session, change->gpu, nvmlDeviceSetMigMode, device, mode, &change->activation),
            &change->code, error, "the driver refused it");
        if (rc < 0) {
            return rc;
        }
    }
    rc = answer(session,
                MIG_CALL(session, change->gpu, nvmlDeviceGetMigMode, device, &current, &pending),
                &change->code, error, "the mode could not be read");
    change->current = current == NVML_DEVICE_MIG_ENABLE;
    change->pending = pending == NVML_DEVICE_MIG_ENABLE;
    return rc;
}

/* A job lives on the heap: the driver may keep it for ever (binding.h). */
static int run_copy(struct mig_session *session, mig_job_function *function, void *data,
                    size_t size, struct mig_error *error)
{
    void *job = malloc(size);
    int rc;

    if (!job) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not ask the driver");
    }
    memcpy(job, data, size);
    rc = mig_session_run(session, function, &job, error);
    if (job) {
        memcpy(data, job, size);
        free(job);
    }
    return rc;
}

int mig_operation_run(struct mig_session *session, struct mig_operation *operation,
                      struct mig_error *error)
{
    operation->code = NVML_SUCCESS;
    return run_copy(session, run_operation, operation, sizeof(*operation), error);
}

int mig_mode_change_run(struct mig_session *session, struct mig_mode_change *change,
                        struct mig_error *error)
{
    change->code = NVML_SUCCESS;
    return run_copy(session, change_mode, change, sizeof(*change), error);
}
