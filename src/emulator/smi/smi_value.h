/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single facts of a GPU as text, shared by --query-gpu and -q. A value that the driver does not
 * give is "N/A"; other failures show as NVIDIA's tool shows them.
 */
#ifndef MIG_EMULATOR_SMI_VALUE_H
#define MIG_EMULATOR_SMI_VALUE_H

#include "emulator/smi/smi.h"

#define SMI_VALUE_SIZE 128

/* One column of --query-gpu. */
struct smi_field {
    const char *name;  /* as printed in the header */
    const char *alias; /* other spelling that is accepted; NULL */
    const char *unit;  /* "MiB"; NULL */
    nvmlReturn_t (*read)(const struct smi *smi, const struct smi_gpu *gpu, char *value,
                         size_t size);
};

/* NULL when there is no such field. */
const struct smi_field *smi_find_field(const char *name);
const struct smi_field *smi_field_at(size_t index); /* NULL past the end */

/* The value, or what stands in its place ("N/A", "GPU is lost"). */
void smi_read_field(const struct smi *smi, const struct smi_gpu *gpu, const struct smi_field *field,
                    char *value, size_t size);

/* Now, as the tables show it: "Thu Nov 21 07:12:15 2024". */
void smi_format_time(char *text, size_t size);

#endif
