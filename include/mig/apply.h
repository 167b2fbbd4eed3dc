/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carrying a node plan out, so that whatever happens the node is as it was or as it is wanted.
 *
 * One machine-wide lock; a journal on disk before the first step; steps one by one; everything read
 * back and compared; on failure the instances that were destroyed are made again at the same
 * placements. Killed at any point, the next mig_apply_open finds the journal and finishes or
 * restores first.
 */
#ifndef MIG_APPLY_H
#define MIG_APPLY_H

#include <mig/inventory.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Where the journal and the lock are; MIGD_STATE_DIR in the programs. */
#define MIG_STATE_DIR_DEFAULT "/var/lib/migd"

enum mig_apply_stage {
    MIG_STAGE_WAIT_LOCK = 0,
    MIG_STAGE_RECOVER,
    MIG_STAGE_STEP, /* instance step `step` of `step_count` on this GPU */
    MIG_STAGE_MODE,
    MIG_STAGE_RESET,
    MIG_STAGE_WAIT_IDLE,
    MIG_STAGE_VERIFY,
    MIG_STAGE_ROLLBACK,
};

struct mig_apply_progress {
    enum mig_apply_stage stage;
    uint32_t gpu;              /* NVML's index; MIG_ID_NONE: the whole node */
    uint32_t step, step_count; /* over the whole node plan, from 1 */
    const char *text;          /* one line, "create 3g.20gb at 4" */
};

/* Zeroes are the defaults. What it points to has to live until mig_apply_close. */
struct mig_apply_options {
    const char *state_dir; /* NULL = MIG_STATE_DIR_DEFAULT */

    /* argv; "{bus_id}" in it is replaced. NULL = nvidia-smi --gpu-reset -i {bus_id} */
    const char *const *reset_command;
    const char *reset_root; /* its root directory (needs CAP_SYS_CHROOT); NULL = ours */

    /* A pending mode stays pending, and instances that wait for it are not made. */
    bool skip_reset;

    /* How long to wait for another apply; 0 = fail at once, naming its pid. */
    unsigned lock_timeout_ms;

    /* How long a destroy, or a mode change, that the driver says is in use is tried again. */
    unsigned busy_timeout_ms;

    /* Asked while waiting for users: true = wait no longer. May be NULL. */
    bool (*stop)(void *data);
    void *stop_data;

    void (*progress)(const struct mig_apply_progress *progress, void *data); /* may be NULL */
    void *progress_data;
};

enum mig_recovery {
    MIG_RECOVERY_NONE = 0,
    MIG_RECOVERY_FINISHED,
    MIG_RECOVERY_RESTORED,
    MIG_RECOVERY_OBSOLETE
};

struct mig_apply_report {
    enum mig_recovery recovery; /* what was done about an interrupted run, in mig_apply_open */
    char recovery_text[256];
    uint32_t gi_destroyed, gi_created, ci_destroyed,
        ci_created; /* that now hold; rollback not counted */
    uint32_t mode_changed, reset_count;
    uint64_t reset_gpus; /* bit N: GPU N was reset, by the command or by its change of mode, also
                            in the recovery */
    bool rolled_back;    /* the old state was put back */
    bool mode_pending;   /* some GPU's mode is still pending */
    uint32_t elapsed_ms;
};

struct mig_apply; /* holds the lock */

/*
 * Takes the lock (waits as told), and finishes or undoes what an interrupted run left. MIG_E_BUSY
 * names the pid that holds the lock. `report` is filled as far as it went and may not be NULL. Read
 * the inventory after this call.
 *
 * An interrupted run whose new state holds in full is finished; otherwise the old state is put
 * back, and only if that cannot be done the run is finished instead. Instances that belong to
 * neither state are left alone. MIG_E_BROKEN when neither can be reached: the journal stays for the
 * next try, the third of which is the last. One that is damaged or of another boot is set aside.
 */
MIG_PUBLIC int mig_apply_open(struct mig_session *session, const struct mig_apply_options *options,
                              struct mig_apply **ret, struct mig_apply_report *report,
                              struct mig_error *error);

/*
 * Carries `plan` out. `node` is the snapshot it was made from; if the node has changed since,
 * nothing is done (MIG_E_FAILED, "changed meanwhile"). MIG_OK; MIG_E_FAILED or MIG_E_BUSY: failed,
 * restored; MIG_E_BROKEN: could not restore, the text says what holds now. A plan with nothing to
 * do touches neither the GPUs nor the disk. With skip_reset, MIG_E_FAILED and report->mode_pending
 * when instances could not be made because a mode stays pending; everything else then holds.
 */
MIG_PUBLIC int mig_apply_run(struct mig_apply *apply, const struct mig_node *node,
                             const struct mig_node_plan *plan, struct mig_apply_report *report,
                             struct mig_error *error);

/* Releases the lock. NULL is allowed. */
MIG_PUBLIC void mig_apply_close(struct mig_apply *apply);

/*
 * True when the state directory (NULL = MIG_STATE_DIR_DEFAULT) holds the journal of a run that goes
 * on or was interrupted.
 */
MIG_PUBLIC bool mig_apply_is_on_record(const char *state_dir);

#ifdef __cplusplus
}
#endif
#endif
