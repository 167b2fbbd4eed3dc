/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts a stream of bytes into lines, one event of a watch each. A line may come in any number of
 * pieces; one that is longer than the limit is an error, and nothing comes after it.
 */
#ifndef MIG_KUBE_LINES_H
#define MIG_KUBE_LINES_H

#include "base/buffer.h"
#include <stdbool.h>

struct mig_kube_lines {
    struct mig_buffer rest; /* the line that has begun */
};

/* Returns false to stop: the bytes that are left are not looked at. */
typedef bool mig_kube_line(const char *line, size_t size, void *data);

void mig_kube_lines_init(struct mig_kube_lines *lines, size_t line_max);
void mig_kube_lines_release(struct mig_kube_lines *lines);
void mig_kube_lines_reset(struct mig_kube_lines *lines);

/* Calls `line` for each line that is complete, without its end; empty ones are passed over. The
 * struct may be released from `line` if it then returns false. MIG_E_FAILED when a line is too
 * long. */
int mig_kube_lines_feed(struct mig_kube_lines *lines, const char *bytes, size_t size,
                        mig_kube_line *line, void *data, struct mig_error *error);

#endif
