/* SPDX-License-Identifier: Apache-2.0 */
/* Compute modes: one job each on the session's worker. */
#include "gpu/compute_mode.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "gpu/binding.h"
#include <errno.h>
#include <mig/node.h>

struct mode_job {
    char uuid[MIG_UUID_SIZE];
    bool set;
    int mode;
};

static int change(struct mig_session *session, struct mode_job *job, nvmlDevice_t device,
                  struct mig_error *error)
{
    nvmlComputeMode_t mode = (nvmlComputeMode_t)job->mode;
    nvmlReturn_t code =
        job->set ? MIG_CALL(session, MIG_ID_NONE, nvmlDeviceSetComputeMode, device, mode)
                 : MIG_CALL(session, MIG_ID_NONE, nvmlDeviceGetComputeMode, device, &mode);

    if (mig_nvml_is_absent(code)) {
        job->mode = MIG_COMPUTE_MODE_NONE;
        return 0;
    }
    if (code != NVML_SUCCESS) {
        return mig_nvml_error(session, code, error, "could not %s the compute mode of %s",
                              job->set ? "change" : "read", job->uuid);
    }
    job->mode = (int)mode;
    return 0;
}

static int run_job(struct mig_session *session, void *data, struct mig_error *error)
{
    struct mode_job *job = data;
    nvmlDevice_t device = NULL;
    nvmlReturn_t code =
        MIG_CALL(session, MIG_ID_NONE, nvmlDeviceGetHandleByUUID, job->uuid, &device);

    if (code != NVML_SUCCESS) {
        return mig_nvml_error(session, code, error, "could not find %s", job->uuid);
    }
    return change(session, job, device, error);
}

static int run(struct mig_session *session, const char *uuid, bool set, int *mode,
               struct mig_error *error)
{
    MIG_AUTO_FREE struct mode_job *job = calloc(1, sizeof(*job));
    void *given = job;
    int rc;

    if (!job || !mig_text_copy(job->uuid, sizeof(job->uuid), uuid)) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not ask for the compute mode of a GPU");
    }
    job->set = set;
    job->mode = *mode;
    rc = mig_session_run(session, run_job, &given, error);
    if (!given) {
        (void)MIG_TAKE(job); /* a call hangs: the worker keeps it */
    } else if (rc == 0) {
        *mode = job->mode;
    }
    return rc;
}

int mig_compute_mode_get(struct mig_session *session, const char *gpu_uuid, int *ret,
                         struct mig_error *error)
{
    *ret = MIG_COMPUTE_MODE_NONE;
    return run(session, gpu_uuid, false, ret, error);
}

int mig_compute_mode_set(struct mig_session *session, const char *gpu_uuid, int mode,
                         struct mig_error *error)
{
    return mode == MIG_COMPUTE_MODE_NONE ? 0 : run(session, gpu_uuid, true, &mode, error);
}

int mig_compute_mode_exclusive(void)
{
    return NVML_COMPUTEMODE_EXCLUSIVE_PROCESS;
}
