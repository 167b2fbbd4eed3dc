/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces of Prometheus' text format (version 0.0.4). */
#ifndef MIG_EXPORTER_TEXT_H
#define MIG_EXPORTER_TEXT_H

#include "base/buffer.h"
#include <stdint.h>

/* "# HELP name help" and "# TYPE name type". */
void mig_text_family(struct mig_buffer *out, const char *name, const char *type, const char *help);

/* NAME="VALUE" with what has to be escaped, and a comma in front unless it is the first after
 * `start` in the buffer. */
void mig_text_label(struct mig_buffer *out, size_t start, const char *name, const char *value);

/* A number in its shortest form that is exact: "42", "0.25", "1e+21", "NaN". */
void mig_text_number(struct mig_buffer *out, double value);

/* value / divisor without rounding, for divisors that are powers of ten: "63.5". */
void mig_text_scaled(struct mig_buffer *out, int64_t value, int64_t divisor);

#endif
