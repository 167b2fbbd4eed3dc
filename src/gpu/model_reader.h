/* SPDX-License-Identifier: Apache-2.0 */
/* Models as the driver tells them, shared between equal GPUs and kept by the session. */
#ifndef MIG_GPU_MODEL_READER_H
#define MIG_GPU_MODEL_READER_H

#include "gpu/binding.h"

/* Where the compute-instance profiles of a GPU-instance profile come from, weakest first. */
enum mig_ci_origin {
    MIG_CI_ASSUMED = 0, /* only the one that fills the GPU instance, by its slices */
    MIG_CI_CATALOG,
    MIG_CI_DRIVER,
};

/*
 * The model of `gpu`, whose name, PCI identity and modes are filled in; built at the first GPU of
 * its kind. With `relearn`, built anew because a GPU instance is there now from which more can be
 * learned. *ret is NULL when neither the driver nor the catalogue knows the profiles. Called from
 * jobs.
 */
int mig_model_read(struct mig_session *session, nvmlDevice_t device, const struct mig_gpu *gpu,
                   bool relearn, const struct mig_model **ret, struct mig_error *error);

/* True when the driver told the profiles and all placements of a model that mig_model_read gave. */
bool mig_model_placements_known(const struct mig_models *models, const struct mig_model *model);
enum mig_ci_origin mig_model_ci_origin(const struct mig_models *models,
                                       const struct mig_model *model, unsigned profile);

void mig_models_free(struct mig_models *models);

#endif
