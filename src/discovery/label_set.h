/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A sorted set of Kubernetes labels, every one of which an API server accepts: a name of at most 63
 * characters after its prefix, a value of at most 63, letters and digits at both ends.
 */
#ifndef MIG_DISCOVERY_LABEL_SET_H
#define MIG_DISCOVERY_LABEL_SET_H

#include "base/cleanup.h"
#include <mig/error.h>
#include <stdint.h>

#define MIG_LABEL_PREFIX "nvidia.com/"
#define MIG_LABEL_TEXT_MAX 63
#define MIG_LABEL_KEY_SIZE (sizeof(MIG_LABEL_PREFIX) + MIG_LABEL_TEXT_MAX)
#define MIG_LABEL_VALUE_SIZE (MIG_LABEL_TEXT_MAX + 1)
#define MIG_LABELS_MAX 2048 /* of a node */

struct mig_label {
    char key[MIG_LABEL_KEY_SIZE]; /* "nvidia.com/gpu.count" */
    char value[MIG_LABEL_VALUE_SIZE];
};

struct mig_labels {
    size_t count, room;
    struct mig_label *items; /* by key */
    int error;               /* 0, or the errno of the first failure; further changes do nothing */
};

void mig_labels_release(struct mig_labels *labels);
#define MIG_AUTO_LABELS MIG_CLEANUP(mig_labels_release)

/* Sets MIG_LABEL_PREFIX NAME to a value (printf style), in place of one that is there. The value is
 * cut to size and loses what no value may have; a name that is too long or has other characters is
 * a failure (EINVAL). */
void mig_labels_set(struct mig_labels *labels, const char *name, const char *format, ...)
    MIG_PRINTF(3, 4);

/* NULL when there is no such label; `key` with its prefix. */
const char *mig_labels_get(const struct mig_labels *labels, const char *key);
bool mig_labels_equal(const struct mig_labels *a, const struct mig_labels *b);

/* Replaces `to` by a copy. False when there is no memory: `to` is as before. */
bool mig_labels_copy(struct mig_labels *to, const struct mig_labels *from);

/* "key=value" lines in the order of the keys; malloc'd, NULL when there is no memory. */
char *mig_labels_text(const struct mig_labels *labels);

/*
 * What gpu-feature-discovery makes of a name: characters other than letters, digits, '-', '_', '.'
 * go, words are joined with '-'. Also no other than a letter or digit at either end.
 */
void mig_label_sanitise(const char *text, char *buffer, size_t size);

/*
 * Joins `base` and `suffix` to at most `max` characters (at most MIG_LABEL_TEXT_MAX). What does not
 * fit is taken from the base: its last words, as few as will do
 * ("NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-Edition" and "-MIG-1g.24gb" give
 * "NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-MIG-1g.24gb"); of a single word its last
 * characters. The suffix stays whole, so that equal slices of a GPU always have equal names and
 * different ones different names.
 */
void mig_label_shorten(const char *base, const char *suffix, size_t max,
                       char buffer[MIG_LABEL_VALUE_SIZE]);

#endif
