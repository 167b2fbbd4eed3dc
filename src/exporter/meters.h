/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics of dcgm-exporter that NVML can give: names, types, and which meter each one shows. */
#ifndef MIG_EXPORTER_METERS_H
#define MIG_EXPORTER_METERS_H

#include <mig/sample.h>

/* Whose number it is. */
enum mig_meter_scope {
    MIG_SCOPE_GPU = 0,  /* the GPU's; repeated for its MIG devices */
    MIG_SCOPE_WHOLE,    /* the GPU's, and has no meaning for MIG devices: not shown for them */
    MIG_SCOPE_INSTANCE, /* the GPU instance's, or the GPU's when it has none */
};

struct mig_meter_family {
    const char *name, *type, *help;
    enum mig_meter meter;
    enum mig_meter_scope scope;
    int64_t divisor; /* a power of ten; makes the unit of the name */
};

/* NULL past the end. */
const struct mig_meter_family *mig_meter_family(size_t index);

#endif
