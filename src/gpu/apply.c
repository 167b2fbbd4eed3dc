/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carrying a node plan out.
 *
 * Before the first step the node is read again and compared with the snapshot that the plan was
 * made from, and the journal is on disk. After the last step everything is read back. On a failure
 * anywhere all GPUs of the plan go back to where they were: a node is never left half changed.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "gpu/change.h"
#include "gpu/lock.h"
#include "gpu/recover.h"
#include <errno.h>
#include <string.h>

/* One call of mig_apply_run. */
struct run {
    struct mig_apply *apply;
    const struct mig_node *node; /* the snapshot */
    const struct mig_node_plan *plan;
    struct mig_node *now; /* our own copy of the node as it is, which follows the steps */
    struct mig_journal journal;
    struct mig_journal expected; /* the same, but without what waits for a pending mode */
    bool left_out[MIG_GPU_MAX];  /* by index in plan->gpus: instances wait for a reset */
};

static void release_run(struct run *run)
{
    mig_node_free(run->now);
    free(run);
}

MIG_DEFINE_CLEANUP(run, struct run, release_run)
MIG_DEFINE_CLEANUP(apply, struct mig_apply, mig_apply_close)

static bool has_work(const struct mig_gpu_plan *plan)
{
    return plan->set_mode || plan->plan.step_count > 0;
}

/* ---- opening ---- */

static void tell_waiting(void *data)
{
    mig_tell(data, MIG_STAGE_WAIT_LOCK, MIG_ID_NONE, "waiting for another change of this node");
}

static int open_state(struct mig_apply *apply, struct mig_error *error)
{
    const char *directory =
        apply->options.state_dir ? apply->options.state_dir : MIG_STATE_DIR_DEFAULT;
    int rc;

    if (asprintf(&apply->lock_path, "%s/lock", directory) < 0) {
        apply->lock_path = NULL;
    }
    if (asprintf(&apply->journal_path, "%s/journal", directory) < 0) {
        apply->journal_path = NULL;
    }
    if (!apply->lock_path || !apply->journal_path) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not open '%s'", directory);
    }
    rc = mig_mkdir_parents(directory, 0755, error);
    if (rc < 0) {
        return mig_error_hint(error, rc, "run as root, or choose another state directory");
    }
    return mig_lock_take(apply->lock_path, apply->options.lock_timeout_ms, tell_waiting, apply,
                         &apply->lock_fd, error);
}

int mig_apply_open(struct mig_session *session, const struct mig_apply_options *options,
                   struct mig_apply **ret, struct mig_apply_report *report, struct mig_error *error)
{
    MIG_CLEANUP(cleanup_apply) struct mig_apply *apply = calloc(1, sizeof(*apply));
    uint64_t begin_ms = mig_now_ms();
    int rc;

    *report = (struct mig_apply_report){0};
    if (!apply) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not begin a change");
    }
    apply->session = session;
    apply->report = report;
    apply->lock_fd = apply->journal.fd = -1;
    if (options) {
        apply->options = *options;
    }
    rc = open_state(apply, error);
    if (rc == 0) {
        rc = mig_recover(apply, error);
    }
    report->elapsed_ms = (uint32_t)(mig_now_ms() - begin_ms);
    apply->report = NULL;
    apply->recovery = report->recovery;
    apply->recovery_reset_gpus = report->reset_gpus;
    memcpy(apply->recovery_text, report->recovery_text, sizeof(apply->recovery_text));
    if (rc == 0) {
        *ret = MIG_TAKE(apply);
    }
    return rc;
}

void mig_apply_close(struct mig_apply *apply)
{
    if (!apply) {
        return;
    }
    mig_journal_close(&apply->journal);
    if (apply->lock_fd >= 0) {
        close(apply->lock_fd);
    }
    free(apply->lock_path);
    free(apply->journal_path);
    free(apply);
}

bool mig_apply_is_on_record(const char *state_dir)
{
    MIG_AUTO_FREE char *path = NULL;

    if (asprintf(&path, "%s/journal", state_dir ? state_dir : MIG_STATE_DIR_DEFAULT) < 0) {
        path = NULL;
    }
    return path && access(path, F_OK) == 0;
}

/* ---- before the first step ---- */

static int changed_meanwhile(const struct mig_gpu *gpu, const char *what, struct mig_error *error)
{
    mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                  "GPU %u changed meanwhile (%s), so nothing was done", gpu->index, what);
    return mig_error_hint(error, MIG_E_FAILED, "plan and apply again");
}

static const struct mig_gi *find_same(const struct mig_layout *layout, const struct mig_gi *gi)
{
    for (unsigned i = 0; i < layout->gi_count; i++) {
        if (layout->gis[i].id == gi->id && layout->gis[i].start == gi->start) {
            return &layout->gis[i];
        }
    }
    return NULL;
}

static int check_unchanged(const struct mig_gpu *before, const struct mig_gpu *now,
                           struct mig_error *error)
{
    struct mig_geometry geometry_before, geometry_now;

    if (!now) {
        return changed_meanwhile(before, "it is gone", error);
    }
    if (now->problem[0] != '\0') {
        return changed_meanwhile(before, now->problem, error);
    }
    if (before->mig_mode != now->mig_mode || before->mig_mode_pending != now->mig_mode_pending) {
        return changed_meanwhile(before, "its MIG mode", error);
    }
    mig_geometry_of(&before->layout, &geometry_before);
    mig_geometry_of(&now->layout, &geometry_now);
    if (!mig_geometry_equal(&geometry_before, &geometry_now)) {
        return changed_meanwhile(before, "its instances", error);
    }
    for (unsigned i = 0; i < now->layout.gi_count; i++) {
        if (!find_same(&before->layout, &now->layout.gis[i])) {
            return changed_meanwhile(before, "its instances", error);
        }
    }
    return 0;
}

/* Refuses when an instance that would go has come into use since the snapshot. */
static int check_idle(const struct mig_gpu_plan *plan, const struct mig_gpu *before,
                      const struct mig_gpu *now, struct mig_error *error)
{
    for (unsigned i = 0; i < plan->plan.step_count; i++) {
        const struct mig_step *step = &plan->plan.steps[i];

        for (unsigned j = 0; j < now->layout.gi_count; j++) {
            const struct mig_gi *gi = &now->layout.gis[j];
            const struct mig_gi *was = find_same(&before->layout, gi);

            if (step->gi_id == gi->id && gi->in_use && !(was && was->in_use) &&
                (step->kind == MIG_STEP_DESTROY_GI || step->kind == MIG_STEP_DESTROY_CI)) {
                mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                              "%s at %u on GPU %u came into use meanwhile, so nothing was done",
                              now->layout.model->profiles[gi->profile].name, gi->start, now->index);
                mig_error_add_holder(error, "%s", gi->holder);
                return MIG_E_BUSY;
            }
        }
    }
    return 0;
}

static void enter_journal(struct run *run, const struct mig_gpu_plan *plan,
                          const struct mig_gpu *now)
{
    struct mig_journal *journal = &run->journal;
    struct mig_journal_gpu *entry = &journal->gpus[journal->gpu_count++];

    *entry = (struct mig_journal_gpu){
        .set_mode = plan->set_mode,
        .may_reset = plan->may_reset,
        .old_mode = now->mig_mode,
        .new_mode = plan->set_mode ? plan->mode : now->mig_mode,
    };
    memcpy(entry->uuid, now->uuid, sizeof(entry->uuid));
    mig_geometry_of(&now->layout, &entry->old_geometry);
    if (entry->new_mode) {
        mig_geometry_of(&plan->plan.result, &entry->new_geometry);
    }
    journal->step_count += plan->plan.step_count + (plan->set_mode ? 1u : 0u);
}

/* Checks everything that can be checked, and puts the journal on disk. 1 = nothing to do. */
static int begin(struct run *run, struct mig_error *error)
{
    struct mig_journal *journal = &run->journal;
    int rc;

    for (uint32_t i = 0; i < run->plan->gpu_count; i++) {
        const struct mig_gpu_plan *plan = &run->plan->gpus[i];
        const struct mig_gpu *before = &run->node->gpus[plan->gpu];
        struct mig_gpu *now;

        if (plan->result != MIG_OK) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "there is no plan for GPU %u to carry out", before->index);
        }
        if (!has_work(plan)) {
            continue;
        }
        rc = run->now ? 0 : mig_inventory_read(run->apply->session, &run->now, error);
        if (rc < 0) {
            return rc;
        }
        now = mig_find_uuid(run->now, before->uuid);
        rc = check_unchanged(before, now, error);
        if (rc == 0) {
            rc = check_idle(plan, before, now, error);
        }
        if (rc < 0) {
            return rc;
        }
        enter_journal(run, plan, now);
    }
    if (journal->gpu_count == 0) {
        return 1;
    }
    mig_boot_id(journal->boot_id, sizeof(journal->boot_id));
    mig_own_command(journal->command, sizeof(journal->command));
    journal->pid = (uint32_t)getpid();
    run->expected = *journal;
    run->apply->step = 0;
    run->apply->step_count = journal->step_count;
    return mig_journal_create(run->apply->journal_path, journal, &run->apply->journal, error);
}

/* ---- the steps ---- */

static int step_done(struct run *run, struct mig_error *error)
{
    return mig_journal_step_done(&run->apply->journal, run->apply->step, error);
}

static int carry_out_steps(struct run *run, const struct mig_gpu_plan *plan, struct mig_gpu *gpu,
                           struct mig_error *error)
{
    const struct mig_model *model = run->node->gpus[plan->gpu].layout.model;

    for (unsigned i = 0; i < plan->plan.step_count; i++) {
        int rc;

        run->apply->step++;
        rc = mig_change_step(run->apply, gpu, model, &plan->plan.steps[i], error);
        if (rc == 0) {
            rc = step_done(run, error);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static struct mig_journal_gpu *entry_of(struct mig_journal *journal, const char *uuid)
{
    uint32_t i = 0;

    while (i + 1 < journal->gpu_count && strcmp(journal->gpus[i].uuid, uuid) != 0) {
        i++;
    }
    return &journal->gpus[i];
}

/* The mode stays pending, as the options want it: what needs it is left out. */
static void leave_pending(struct run *run, uint32_t index, const char *uuid)
{
    const struct mig_gpu_plan *plan = &run->plan->gpus[index];
    struct mig_journal_gpu *entry = entry_of(&run->expected, uuid);

    run->apply->report->mode_pending = true;
    entry->set_mode = false;
    if (plan->mode) {
        entry->new_geometry = entry->old_geometry;
        run->left_out[index] = plan->plan.step_count > 0;
    }
}

/* Switches the mode; afterwards *gpu is in a new snapshot. 1 = it stays pending. */
static int carry_out_mode(struct run *run, uint32_t index, struct mig_gpu **gpu,
                          struct mig_error *error)
{
    const struct mig_gpu_plan *plan = &run->plan->gpus[index];
    const char *uuid = run->node->gpus[plan->gpu].uuid;
    int rc;

    run->apply->step++;
    rc = mig_change_mode(run->apply, *gpu, plan->mode, plan->may_reset, error);
    if (rc < 0) {
        return rc;
    }
    if (rc == 1) {
        leave_pending(run, index, uuid);
        return step_done(run, error) < 0 ? MIG_E_FAILED : 1;
    }
    run->apply->report->mode_changed++;
    mig_node_free(run->now);
    run->now = NULL;
    rc = mig_inventory_read(run->apply->session, &run->now, error);
    if (rc < 0) {
        return rc;
    }
    *gpu = mig_find_uuid(run->now, uuid);
    if (!*gpu || (*gpu)->problem[0] != '\0') {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "GPU %s cannot be read after the change of its mode: %s", uuid,
                             *gpu ? (*gpu)->problem : "it is gone");
    }
    return step_done(run, error);
}

static int carry_out_gpu(struct run *run, uint32_t index, struct mig_error *error)
{
    const struct mig_gpu_plan *plan = &run->plan->gpus[index];
    struct mig_gpu *gpu = mig_find_uuid(run->now, run->node->gpus[plan->gpu].uuid);
    int rc = 0;

    if (!gpu) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %u is gone",
                             run->node->gpus[plan->gpu].index);
    }
    if (plan->set_mode && plan->mode) {
        rc = carry_out_mode(run, index, &gpu, error);
    }
    if (rc == 0) {
        rc = carry_out_steps(run, plan, gpu, error);
    }
    if (rc == 0 && plan->set_mode && !plan->mode) {
        rc = carry_out_mode(run, index, &gpu, error);
    }
    return rc < 0 ? rc : 0;
}

static int verify(struct run *run, struct mig_error *error)
{
    MIG_CLEANUP(cleanup_node) struct mig_node *node = NULL;
    char now[384];
    int rc;

    mig_tell(run->apply, MIG_STAGE_VERIFY, MIG_ID_NONE, "read back");
    rc = mig_inventory_read(run->apply->session, &node, error);
    if (rc < 0) {
        return rc;
    }
    for (uint32_t i = 0; i < run->expected.gpu_count; i++) {
        if (!mig_find_uuid(node, run->expected.gpus[i].uuid)) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "GPU %s is gone after the last step", run->expected.gpus[i].uuid);
        }
    }
    if (mig_is_at(&run->expected, node, MIG_SIDE_NEW)) {
        return 0;
    }
    mig_describe_now(run->apply, &run->journal, now, sizeof(now));
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                         "the driver reported success, but the node is not as planned: %s", now);
}

static int carry_out(struct run *run, struct mig_error *error)
{
    for (uint32_t i = 0; i < run->plan->gpu_count; i++) {
        int rc = has_work(&run->plan->gpus[i]) ? carry_out_gpu(run, i, error) : 0;

        if (rc < 0) {
            return rc;
        }
    }
    return verify(run, error);
}

/* ---- the end ---- */

static int remove_journal(struct mig_apply *apply, struct mig_error *error)
{
    mig_journal_close(&apply->journal);
    if (unlink(apply->journal_path) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not remove '%s'",
                                   apply->journal_path);
    }
    return 0;
}

static void count_steps(const struct mig_plan *plan, struct mig_apply_report *report)
{
    for (unsigned i = 0; i < plan->step_count; i++) {
        switch (plan->steps[i].kind) {
        case MIG_STEP_DESTROY_CI:
            report->ci_destroyed++;
            break;
        case MIG_STEP_DESTROY_GI:
            report->gi_destroyed++;
            break;
        case MIG_STEP_CREATE_GI:
            report->gi_created++;
            break;
        case MIG_STEP_CREATE_CI:
            report->ci_created++;
            break;
        }
    }
}

/* The new state holds. */
static int finish(struct run *run, struct mig_error *error)
{
    int rc = remove_journal(run->apply, error);
    char gpus[128] = "";

    for (uint32_t i = 0; i < run->plan->gpu_count; i++) {
        size_t length = strlen(gpus);

        if (!run->left_out[i]) {
            count_steps(&run->plan->gpus[i].plan, run->apply->report);
        } else {
            snprintf(gpus + length, sizeof(gpus) - length, "%s%u", length > 0 ? ", " : "",
                     run->node->gpus[run->plan->gpus[i].gpu].index);
        }
    }
    if (rc == 0 && gpus[0] != '\0') {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "MIG mode of GPU %s stays pending until a reset, so the instances were not "
                      "created there",
                      gpus);
        return mig_error_hint(error, MIG_E_FAILED,
                              "reset the GPU or reboot, then apply again; the other changes hold");
    }
    return rc;
}

/* Neither side could be reached. The journal stays for the next run. */
static int give_up(struct run *run, const struct mig_error *cause, const struct mig_error *back,
                   struct mig_error *error)
{
    char now[320];

    mig_journal_close(&run->apply->journal);
    mig_describe_now(run->apply, &run->journal, now, sizeof(now));
    mig_error_set(error, MIG_E_BROKEN, cause->domain, cause->code,
                  "%.256s; the previous state could not be put back: %.160s; now %s",
                  cause->message, back->message, now);
    if (error && cause->holders[0] != '\0') {
        mig_error_add_holder(error, "%s", cause->holders);
    }
    return mig_error_hint(error, MIG_E_BROKEN, "the next change tries again (journal '%s')",
                          run->apply->journal_path);
}

/* After a failure: back to the old state. */
static int roll_back(struct run *run, int rc, struct mig_error *error)
{
    struct mig_apply_report *report = run->apply->report;
    struct mig_error cause = error ? *error : (struct mig_error){0};
    struct mig_error back = {0};

    report->mode_changed = 0;
    report->mode_pending = false;
    mig_tell(run->apply, MIG_STAGE_ROLLBACK, MIG_ID_NONE, "put the previous state back");
    (void)mig_journal_rolling_back(&run->apply->journal, NULL);
    if (mig_reach(run->apply, &run->journal, MIG_SIDE_OLD, &back) == 0) {
        report->rolled_back = true;
        if (remove_journal(run->apply, error) == 0 && error) {
            *error = cause;
            snprintf(error->message + strlen(cause.message),
                     sizeof(error->message) - strlen(cause.message),
                     "; the previous state is back");
        }
        return rc == MIG_E_BUSY ? MIG_E_BUSY : MIG_E_FAILED;
    }
    if (mig_reach(run->apply, &run->journal, MIG_SIDE_NEW, NULL) == 0) {
        /* what stopped the run is over: then it has succeeded after all */
        memset(run->left_out, 0, sizeof(run->left_out));
        mig_error_clear(error);
        return finish(run, error);
    }
    return give_up(run, &cause, &back, error);
}

int mig_apply_run(struct mig_apply *apply, const struct mig_node *node,
                  const struct mig_node_plan *plan, struct mig_apply_report *report,
                  struct mig_error *error)
{
    MIG_CLEANUP(cleanup_run) struct run *run = calloc(1, sizeof(*run));
    uint64_t begin_ms = mig_now_ms();
    struct mig_error own;
    int rc;

    if (!run) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not begin a change");
    }
    *report = (struct mig_apply_report){.recovery = apply->recovery,
                                        .reset_gpus = apply->recovery_reset_gpus};
    memcpy(report->recovery_text, apply->recovery_text, sizeof(report->recovery_text));
    mig_error_clear(error);
    apply->report = report;
    run->apply = apply;
    run->node = node;
    run->plan = plan;
    rc = begin(run, error ? error : &own);
    if (rc == 0) {
        rc = carry_out(run, error ? error : &own);
        rc = rc == 0 ? finish(run, error) : roll_back(run, rc, error ? error : &own);
    } else if (rc == 1) {
        rc = 0;
    }
    apply->report = NULL;
    report->elapsed_ms = (uint32_t)(mig_now_ms() - begin_ms);
    return rc;
}
