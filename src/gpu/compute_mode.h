/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compute mode of a whole GPU: who may use it. In MIG mode a GPU has none, and drivers of
 * virtual GPUs may have none; that is an answer, not an error.
 */
#ifndef MIG_GPU_COMPUTE_MODE_H
#define MIG_GPU_COMPUTE_MODE_H

#include <mig/error.h>
#include <mig/inventory.h>

#define MIG_COMPUTE_MODE_NONE (-1) /* this GPU, or its driver, has no compute mode */

/* Reads it as NVML's number, or MIG_COMPUTE_MODE_NONE. */
int mig_compute_mode_get(struct mig_session *session, const char *gpu_uuid, int *ret,
                         struct mig_error *error);

/* Sets it. Nothing is done for MIG_COMPUTE_MODE_NONE. */
int mig_compute_mode_set(struct mig_session *session, const char *gpu_uuid, int mode,
                         struct mig_error *error);

/* The mode in which only one process, the MPS server, has the GPU. */
int mig_compute_mode_exclusive(void);

#endif
