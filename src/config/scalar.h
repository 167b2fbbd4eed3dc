/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a plain YAML word means. The rules are those of YAML 1.1 as nvidia-mig-parted's YAML library
 * applies them, because a config file has to mean the same to both: `yes`, `on` and `y` are true,
 * 010 is eight, 1_000 a thousand, and 1e2 an integer.
 */
#ifndef MIG_CONFIG_SCALAR_H
#define MIG_CONFIG_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mig_value_kind {
    MIG_VALUE_NULL = 0,
    MIG_VALUE_BOOL,
    MIG_VALUE_INTEGER, /* fits in 64 bits, signed */
    MIG_VALUE_NUMBER,  /* any other number */
    MIG_VALUE_TEXT,
    MIG_VALUE_LIST,
    MIG_VALUE_MAP,
};

struct mig_scalar {
    enum mig_value_kind kind;
    bool boolean;
    int64_t integer;
};

/* What the unquoted word `text` is. */
struct mig_scalar mig_scalar_resolve(const char *text);

#endif
