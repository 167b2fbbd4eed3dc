/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that change a GPU, each as one job under the session's deadline. GPUs are named by
 * UUID: an index may shift when a GPU is reset or lost.
 */
#ifndef MIG_GPU_OPERATION_H
#define MIG_GPU_OPERATION_H

#include "gpu/binding.h"

/* One change of an instance. Which fields count follows from the kind. */
struct mig_operation {
    enum mig_step_kind kind;
    uint32_t gpu; /* index, for messages */
    char uuid[MIG_UUID_SIZE];
    uint32_t gi_id, ci_id; /* of what exists; filled in for what is created */
    uint32_t gi_profile_id;
    uint8_t gi_start, gi_size;
    uint8_t ci_profile; /* NVML number */
    uint8_t ci_start;   /* MIG_START_ANY; filled in with what the driver says */
    nvmlReturn_t code;  /* out: NVML's answer */
};

/* Carries it out. On failure the error is NVML's text only; the caller says what was tried. */
int mig_operation_run(struct mig_session *session, struct mig_operation *operation,
                      struct mig_error *error);

struct mig_mode_change {
    uint32_t gpu;
    char uuid[MIG_UUID_SIZE];
    bool set, mode;          /* without `set` the modes are only read */
    bool current, pending;   /* out */
    nvmlReturn_t activation; /* out: why it is only pending */
    nvmlReturn_t code;       /* out: NVML's answer */
};

int mig_mode_change_run(struct mig_session *session, struct mig_mode_change *change,
                        struct mig_error *error);

#endif
