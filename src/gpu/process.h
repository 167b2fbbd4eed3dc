/* SPDX-License-Identifier: Apache-2.0 */
/* Who uses a GPU, and which part of it. */
#ifndef MIG_GPU_PROCESS_H
#define MIG_GPU_PROCESS_H

#include "gpu/binding.h"

/* A handle to ask, and the instance that it stands for. */
struct mig_process_scope {
    nvmlDevice_t device;
    uint32_t gi_id, ci_id; /* MIG_ID_NONE: the whole GPU */
};

/*
 * Adds the processes of one handle to gpu->processes, each only once. What the driver does not tell
 * is nothing; only a GPU that does not answer at all is an error. Called from jobs.
 */
int mig_processes_read(struct mig_session *session, const struct mig_process_scope *scope,
                       struct mig_gpu *gpu, struct mig_error *error);

/* Gives each process its name, and each instance of gpu->layout its users. */
void mig_processes_assign(struct mig_session *session, struct mig_gpu *gpu);

/* Takes those out that do not count as users, and marks the instances anew. */
void mig_processes_drop(struct mig_gpu *gpu,
                        bool (*drops)(const struct mig_process *process, void *data), void *data);

/* "python3 (pid 4242)" */
void mig_process_label(const struct mig_process *process, char *buffer, size_t size);

#endif
