/* SPDX-License-Identifier: Apache-2.0 */
/* How long making and removing an instance takes, from facts/timings.tsv: for estimates only. */
#ifndef MIG_CATALOG_TIMING_H
#define MIG_CATALOG_TIMING_H

#include <mig/model.h>

/* A GPU instance together with its compute instance. */
struct mig_timing {
    uint32_t create_ms, destroy_ms;
    enum mig_confidence confidence;
};

/* One row of the generated table: of one model, or (model NULL) of an architecture. */
struct mig_timing_row {
    const char *model;
    enum mig_architecture architecture;
    uint8_t slice_count;
    uint32_t create_ms, destroy_ms;
    enum mig_confidence confidence;
};

extern const struct mig_timing_row mig_timing_rows[];
extern const size_t mig_timing_row_count;

/*
 * The rows of this model, else of its architecture, else of the slowest architecture; among them
 * the nearest slice count (the larger one on a tie). What is not measured is marked MIG_INFERRED.
 */
struct mig_timing mig_timing_estimate(const struct mig_model *model, unsigned slice_count);

#endif
