/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Look-up in the generated timing table. An estimate is always given, because "about a second" is
 * more use to a person than nothing; how good it is stands beside it.
 */
#include "catalog/timing.h"
#include <string.h>

/* For a GPU of no known architecture: the slowest that was measured. */
#define ARCHITECTURE_FALLBACK MIG_ARCH_HOPPER

static const struct mig_timing_row *
nearest_row(const char *model, enum mig_architecture architecture, unsigned slice_count)
{
    const struct mig_timing_row *best = NULL;
    unsigned best_distance = 0;

    for (size_t i = 0; i < mig_timing_row_count; i++) {
        const struct mig_timing_row *row = &mig_timing_rows[i];
        unsigned distance = row->slice_count > slice_count ? row->slice_count - slice_count
                                                           : slice_count - row->slice_count;
        bool match = row->model ? model && strcmp(row->model, model) == 0
                                : !model && row->architecture == architecture;

        if (match && (!best || distance < best_distance ||
                      (distance == best_distance && row->slice_count > best->slice_count))) {
            best = row;
            best_distance = distance;
        }
    }
    return best;
}

struct mig_timing mig_timing_estimate(const struct mig_model *model, unsigned slice_count)
{
    const struct mig_timing_row *row = nearest_row(model->name, MIG_ARCH_UNKNOWN, slice_count);
    bool measured = true;

    if (!row) {
        row = nearest_row(NULL, model->architecture, slice_count);
    }
    if (!row) {
        row = nearest_row(NULL, ARCHITECTURE_FALLBACK, slice_count);
        measured = false;
    }
    if (!row) {
        return (struct mig_timing){.confidence = MIG_INFERRED};
    }
    measured = measured && row->slice_count == slice_count;
    return (struct mig_timing){
        .create_ms = row->create_ms,
        .destroy_ms = row->destroy_ms,
        .confidence = measured ? row->confidence : MIG_INFERRED,
    };
}
