/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carrying changes out on the GPUs: single steps, mode changes, and bringing all GPUs of a journal
 * to its old or its new side. What apply.c and recover.c share.
 */
#ifndef MIG_GPU_CHANGE_H
#define MIG_GPU_CHANGE_H

#include "gpu/binding.h"
#include "gpu/journal.h"
#include <mig/apply.h>

struct mig_apply {
    struct mig_session *session;
    struct mig_apply_options options;
    struct mig_apply_report *report; /* of the call that runs */
    enum mig_recovery recovery;      /* what mig_apply_open did, for the reports of later calls */
    uint64_t recovery_reset_gpus;
    char recovery_text[sizeof(((struct mig_apply_report *)NULL)->recovery_text)];
    struct mig_journal_file journal; /* open while a run writes to it */
    uint32_t step, step_count;       /* for progress */
    int lock_fd;
    char *lock_path, *journal_path;
};

/* Tells the caller's progress function. */
void mig_tell(const struct mig_apply *apply, enum mig_apply_stage stage, uint32_t gpu,
              const char *format, ...) MIG_PRINTF(4, 5);

/*
 * Carries one step out. `gpu` is our own copy of the GPU as it is now: ids are looked up in its
 * layout, which follows the step. `model` is the model that the step's numbers mean.
 */
int mig_change_step(struct mig_apply *apply, struct mig_gpu *gpu, const struct mig_model *model,
                    const struct mig_step *step, struct mig_error *error);

/*
 * Changes the MIG mode; resets the GPU when the mode stays pending and `may_reset` allows it. 1 =
 * it stays pending because the options forbid resets.
 */
int mig_change_mode(struct mig_apply *apply, const struct mig_gpu *gpu, bool mode, bool may_reset,
                    struct mig_error *error);

/* The two sides of a journal. */
enum mig_side { MIG_SIDE_OLD = 0, MIG_SIDE_NEW };

/* The GPU of the node with this UUID; NULL when it is gone. */
struct mig_gpu *mig_find_uuid(struct mig_node *node, const char *uuid);

/*
 * True when every GPU of the journal that can be read is at this side. Instances that are at
 * neither side do not count.
 */
bool mig_is_at(const struct mig_journal *journal, struct mig_node *node, enum mig_side side);

/*
 * Brings every GPU of the journal to this side, whatever is there now, except instances that belong
 * to neither side. Goes on with the other GPUs when one fails; fails with the first error.
 */
int mig_reach(struct mig_apply *apply, const struct mig_journal *journal, enum mig_side side,
              struct mig_error *error);

/* Writes what the GPUs of the journal hold now: "GPU 0: MIG on, 3g.20gb at 4; GPU 1: ..." */
void mig_describe_now(struct mig_apply *apply, const struct mig_journal *journal, char *buffer,
                      size_t size);

#endif
