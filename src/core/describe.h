/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layouts and targets in words, for messages: "2 x 3g.20gb", "1g.5gb at 6". Texts are cut to the
 * buffer, always terminated.
 */
#ifndef MIG_CORE_DESCRIBE_H
#define MIG_CORE_DESCRIBE_H

#include <mig/plan.h>

/* A text in the making, in a buffer of the caller. */
struct mig_words {
    char *buffer;
    size_t size, length;
};

struct mig_words mig_words_start(char *buffer, size_t size);
void mig_words_add(struct mig_words *words, const char *format, ...) MIG_PRINTF(2, 3);

/* Adds `separator` unless the text is empty. */
void mig_words_separate(struct mig_words *words, const char *separator);

/*
 * The target's instances whose bit in `mask` is set: "2 x 3g.20gb, 1 x 1g.5gb at 6", with compute
 * instances where they are not the one that fills the GPU instance. "nothing" when there are none.
 */
void mig_describe_target(struct mig_words *words, const struct mig_model *model,
                         const struct mig_target *target, uint32_t mask);

/* "1g.5gb at 6" */
void mig_describe_gi(struct mig_words *words, const struct mig_model *model,
                     const struct mig_gi *gi);

/* The instances of a layout whose bit in `mask` is set, in their order; "nothing" for none. */
void mig_describe_layout(struct mig_words *words, const struct mig_layout *layout, uint32_t mask);

#endif
