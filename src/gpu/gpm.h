/* SPDX-License-Identifier: Apache-2.0 */
/* The load of GPUs and GPU instances from NVML's GPU performance monitoring (Hopper and later). */
#ifndef MIG_GPU_GPM_H
#define MIG_GPU_GPM_H

#include "gpu/binding.h"
#include <mig/sample.h>

/*
 * Fills the meters from MIG_METER_GRAPHICS_ACTIVE_PPM on, for a GPU (gi_id MIG_ID_NONE) or one of
 * its instances, with the mean since the last time it was asked; nothing at the first time. Called
 * from a job, between mig_gpm_begin and mig_gpm_end.
 */
void mig_gpm_begin(struct mig_session *session);
void mig_gpm_measure(struct mig_session *session, const struct mig_gpu_sample *gpu,
                     nvmlDevice_t device, uint32_t gi_id, int64_t *meters);

/* Forgets what was not asked for since begin: it is gone. */
void mig_gpm_end(struct mig_session *session);

/* Gives all samples back, from a job: NVML is shut down next. */
void mig_gpm_drop(struct mig_session *session);

/* Frees the table without a call. NULL is allowed. */
void mig_gpm_free(struct mig_gpm *gpm);

#endif
