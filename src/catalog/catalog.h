/* SPDX-License-Identifier: Apache-2.0 */
/* The generated table behind mig_catalog_*; see tools/gen-catalog.py. */
#ifndef MIG_CATALOG_CATALOG_H
#define MIG_CATALOG_CATALOG_H

#include <mig/model.h>

extern const struct mig_model mig_catalog_models[];
extern const size_t mig_catalog_model_count;

#endif
