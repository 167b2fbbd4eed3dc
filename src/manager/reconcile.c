/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what is to what is wanted, one thing at a time. Each step comes through here from the top:
 * is the wish known, is it met, what is in the way, who has to be asked. Nothing is remembered that
 * could be seen instead, but for the run: how often it failed and for whom it waits.
 *
 * What holds: nothing is destroyed before the kubelet was asked who holds it; success is said only
 * of a snapshot that shows it; whatever ends a run lets GPU clients go.
 */
#include "base/text.h"
#include "manager/internal.h"
#include <stdio.h>
#include <string.h>

#define HOLDERS_MS 15000u
#define READ_MS 120000u
#define HELPER_GRACE_MS 30000u /* a helper that died is replaced in this time */
#define STALLED_POLL_MS 15000u
#define BUSY_SECONDS_MAX 604800u
#define BOOT_MS 600000u /* in which a kubelet that does not answer may not have been there yet */

void mig_manager_look_again(struct mig_manager *manager)
{
    manager->run.holders_fresh = false;
    manager->run.node_fresh = false;
    manager->ops[MIG_MANAGER_OP_HOLDERS].id = 0;
    manager->ops[MIG_MANAGER_OP_READ].id = 0;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void begin_read(struct mig_manager *manager)
{
    if (!mig_manager_busy(manager, MIG_MANAGER_OP_READ)) {
        (void)mig_manager_begin(manager, MIG_MANAGER_OP_READ, MIG_MANAGER_READ_NODE, READ_MS);
    }
}

bool mig_manager_look(struct mig_manager *manager, bool at_node)
{
    const struct mig_manager_run *run = &manager->run;

    if (!run->holders_fresh && !mig_manager_busy(manager, MIG_MANAGER_OP_HOLDERS)) {
        (void)mig_manager_begin(manager, MIG_MANAGER_OP_HOLDERS, MIG_MANAGER_READ_HOLDERS,
                                HOLDERS_MS);
    }
    if (at_node && !run->node_fresh) {
        begin_read(manager);
    }
    return run->holders_fresh && (!at_node || run->node_fresh);
}

/* True when the hardware is known as it is. */
static bool know_hardware(struct mig_manager *manager)
{
    struct mig_error error = manager->node_error;

    if (manager->node && !manager->node_stale && !manager->node_unreadable) {
        return true;
    }
    if (manager->helper_lost) {
        if (!mig_manager_is_due(manager, manager->helper_lost_ms + HELPER_GRACE_MS)) {
            return false;
        }
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "the process that talks to the driver is gone and does not come back");
    } else {
        if (mig_manager_is_due(manager, manager->read_retry.at_ms)) {
            begin_read(manager);
        }
        if (!manager->node_unreadable) {
            return false;
        }
        mig_error_prefix(&error, "the GPUs could not be read");
    }
    if (mig_manager_is_due(manager, manager->run.retry.at_ms)) {
        mig_manager_fail(manager, "MigHardwareUnreadable", &error);
    }
    return false;
}

/* The host boots, and we are before its kubelet: it has not started a pod yet. */
static bool is_before_kubelet(const struct mig_manager *manager)
{
    const struct mig_manager_own_record *record = &manager->record;

    return record->boot_id[0] && manager->boot_id[0] &&
           strcmp(record->boot_id, manager->boot_id) != 0 && !manager->kubelet_seen &&
           manager->now_ms < manager->options.boot_ms + BOOT_MS;
}

/* True when it is known what pods hold. */
static bool know_holders(struct mig_manager *manager)
{
    struct mig_error error = manager->pods_error;

    if (manager->pods_known || is_before_kubelet(manager)) {
        return true;
    }
    mig_error_prefix(&error, "could not learn from the kubelet which pods hold slices");
    mig_manager_fail(manager, "MigHoldersUnknown", &error);
    return false;
}

/* ---- somebody is in the way ------------------------------------------------------------------ */

/* "wait", "evict:600". False: it makes no sense. */
static bool parse_on_busy(const char *text, enum mig_manager_on_busy *ret, unsigned *ret_ms)
{
    static const char *const names[] = {"keep", "wait", "evict"};
    const char *colon = strchrnul(text, ':');
    size_t length = (size_t)(colon - text);
    uint64_t seconds;

    for (unsigned i = 0; i < 3; i++) {
        if (strlen(names[i]) == length && strncmp(text, names[i], length) == 0) {
            if (*colon && (!mig_text_parse_u64(colon + 1, BUSY_SECONDS_MAX, &seconds))) {
                return false;
            }
            *ret = (enum mig_manager_on_busy)i;
            *ret_ms = *colon ? (unsigned)seconds * 1000u : *ret_ms;
            return true;
        }
    }
    return false;
}

static void find_on_busy(struct mig_manager *manager, enum mig_manager_on_busy *ret,
                         unsigned *ret_ms)
{
    const struct mig_manager_label *annotation = &manager->seen.on_busy;

    *ret = manager->options.on_busy;
    *ret_ms = manager->options.busy_timeout_ms;
    if (annotation->present && !parse_on_busy(annotation->value, ret, ret_ms)) {
        mig_manager_say(manager, MIG_MANAGER_WARNING, "MigOnBusyInvalid",
                        "annotation %s is '%.64s': keep, wait or evict is expected, with :SECONDS "
                        "where it is to end; it is ignored",
                        MIG_MANAGER_ANNOTATION_ON_BUSY, annotation->value);
    }
}

static void keep(struct mig_manager *manager, const char *names)
{
    struct mig_error error;

    mig_error_set(&error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                  "'%.64s' needs what is held: nothing was changed", manager->wish.label);
    mig_error_add_holder(&error, "held by %s", names);
    mig_error_hint(&error, MIG_E_BUSY,
                   "end them, or set annotation %s to wait or evict on the node",
                   MIG_MANAGER_ANNOTATION_ON_BUSY);
    mig_manager_fail(manager, "MigConfigBlocked", &error);
}

/* It has taken too long: told as failed, but when they leave it goes on. */
static void tell_stalled(struct mig_manager *manager, const char *names, const char *refusals,
                         unsigned timeout_ms)
{
    struct mig_manager_run *run = &manager->run;

    if (!run->stalled) {
        run->stalled = true;
        manager->failure_count++;
        mig_manager_release(manager);
    }
    mig_manager_set_state(manager, MIG_MANAGER_STATE_FAILED,
                          "'%.64s' needs what is still held after %u s: held by %s%s%s",
                          manager->wish.label, timeout_ms / 1000, names, refusals[0] ? "; " : "",
                          refusals);
    mig_manager_say(manager, MIG_MANAGER_WARNING, "MigConfigBlocked", "%s", manager->message);
}

static void tell_waiting(struct mig_manager *manager, const struct mig_manager_blockers *blockers,
                         const char *names, const char *refusals, unsigned timeout_ms)
{
    (void)mig_manager_withhold(manager, blockers);
    mig_manager_set_state(manager, MIG_MANAGER_STATE_PENDING,
                          "'%.64s' waits for %s, for at most %u s%s%s", manager->wish.label, names,
                          timeout_ms / 1000, refusals[0] ? "; " : "", refusals);
    mig_manager_say(manager, MIG_MANAGER_NOTICE, "MigConfigWaiting", "%s", manager->message);
}

static void wait_for(struct mig_manager *manager, const struct mig_manager_blockers *blockers,
                     bool evict, unsigned timeout_ms)
{
    struct mig_manager_run *run = &manager->run;
    char names[MIG_ERROR_HOLDERS_SIZE], refusals[MIG_ERROR_HOLDERS_SIZE] = "";
    bool late;

    mig_manager_name_blockers(manager, blockers, names, sizeof(names));
    if (run->busy_since_ms == 0) {
        run->busy_since_ms = manager->now_ms > 0 ? manager->now_ms : 1;
    }
    late = run->stalled || mig_manager_is_due(manager, run->busy_since_ms + timeout_ms);
    if (evict && !blockers->processes_alone) {
        mig_manager_evict(manager, blockers);
    }
    if (evict) {
        mig_manager_name_refusals(manager, refusals, sizeof(refusals));
    }
    if (late) {
        tell_stalled(manager, names, refusals, timeout_ms);
    } else {
        tell_waiting(manager, blockers, names, refusals, timeout_ms);
    }
    run->retry.at_ms = manager->now_ms + (late ? STALLED_POLL_MS : manager->options.poll_ms);
    mig_manager_wake(manager, run->retry.at_ms);
    mig_manager_look_again(manager);
}

static void blocked(struct mig_manager *manager, const struct mig_manager_blockers *blockers)
{
    enum mig_manager_on_busy on_busy;
    char names[MIG_ERROR_HOLDERS_SIZE - 16];
    unsigned timeout_ms;

    if (manager->clients.held && blockers->mode_processes) {
        manager->run.futile = true;
    }
    manager->clients.hold = false;
    find_on_busy(manager, &on_busy, &timeout_ms);
    if (on_busy == MIG_MANAGER_BUSY_KEEP) {
        mig_manager_name_blockers(manager, blockers, names, sizeof(names));
        keep(manager, names);
        return;
    }
    wait_for(manager, blockers, on_busy == MIG_MANAGER_BUSY_EVICT, timeout_ms);
}

/* ---- the change ------------------------------------------------------------------------------ */

static bool disturbs(const struct mig_node_plan *plan)
{
    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        const struct mig_gpu_plan *gpu = &plan->gpus[i];

        if (gpu->set_mode || gpu->plan.gi_destroy_count > 0 || gpu->plan.ci_destroy_count > 0) {
            return true;
        }
    }
    return false;
}

static bool needs_idle(const struct mig_manager *manager, const struct mig_node_plan *plan)
{
    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        const struct mig_gpu_plan *gpu = &plan->gpus[i];

        if (gpu->set_mode && manager->node->gpus[gpu->gpu].mig_mode != gpu->mode) {
            return true;
        }
    }
    return manager->run.escalate;
}

static void begin_apply(struct mig_manager *manager)
{
    struct mig_manager_action *action = mig_manager_begin(
        manager, MIG_MANAGER_OP_APPLY, MIG_MANAGER_APPLY, manager->options.apply_timeout_ms);

    if (!action) {
        return;
    }
    manager->apply_goal = manager->wish.goal;
    manager->run.applying = true;
    action->node = manager->node;
    action->goal = &manager->apply_goal;
    action->policies = manager->policies;
    action->skip_reset = manager->options.skip_reset || manager->run.leave_mode;
    mig_manager_set_state(manager, MIG_MANAGER_STATE_PENDING, "changing to '%.64s'",
                          manager->wish.label);
}

/* Only processes stand against a change of mode, and they may be GPU clients not yet paused. */
static bool may_be_clients(const struct mig_manager *manager,
                           const struct mig_manager_blockers *blockers)
{
    if (!blockers->mode_processes || manager->run.futile || manager->clients.held ||
        !mig_manager_has_clients(manager)) {
        return false;
    }
    for (size_t i = 0; i < blockers->count; i++) {
        if (blockers->list[i].pod || blockers->list[i].gi != MIG_ID_NONE) {
            return false;
        }
    }
    return true;
}

static void carry_out(struct mig_manager *manager, const struct mig_node_plan *plan)
{
    struct mig_manager_blockers blockers;
    bool idle = needs_idle(manager, plan), disturbing = disturbs(plan);

    mig_manager_find_blockers(manager, plan, &blockers);
    if (blockers.count > 0 || disturbing || idle) {
        if (!mig_manager_look(manager, blockers.count > 0 || idle) || !know_holders(manager)) {
            return;
        }
    }
    if (blockers.count > 0 && !may_be_clients(manager, &blockers)) {
        blocked(manager, &blockers);
        return;
    }
    manager->run.busy_since_ms = 0;
    manager->run.stalled = false;
    if (disturbing && mig_manager_withhold(manager, NULL)) {
        mig_manager_look_again(manager); /* who was given one before it was withheld */
    }
    idle = idle || blockers.count > 0;
    if ((idle && !mig_manager_hold_clients(manager)) ||
        (disturbing && !mig_manager_look(manager, idle))) {
        return;
    }
    begin_apply(manager);
}

/* The first refusal that no waiting helps against, if there is one. */
static const struct mig_gpu_plan *find_hopeless(const struct mig_node_plan *plan)
{
    for (uint32_t i = 0; i < plan->gpu_count; i++) {
        if (plan->gpus[i].result != MIG_OK && plan->gpus[i].result != MIG_E_BUSY) {
            return &plan->gpus[i];
        }
    }
    return NULL;
}

static void attempt(struct mig_manager *manager)
{
    const struct mig_gpu_plan *hopeless;
    struct mig_node_plan plan;
    struct mig_error error = {0};
    int result;

    if (manager->failure_count == 0 && manager->run.busy_since_ms == 0) {
        mig_manager_set_state(manager, MIG_MANAGER_STATE_PENDING, "changing to '%.64s'",
                              manager->wish.label);
    }
    mig_manager_protect(manager);
    result =
        mig_node_plan_make(manager->node, &manager->wish.goal, manager->policies, &plan, &error);
    hopeless = find_hopeless(&plan);
    if (hopeless || (result != MIG_OK && result != MIG_E_BUSY)) {
        mig_manager_fail(manager, "MigConfigInvalid", hopeless ? &hopeless->error : &error);
    } else {
        carry_out(manager, &plan);
    }
    mig_node_plan_release(&plan);
}

/* ---- drift ----------------------------------------------------------------------------------- */

/* True when that is the end of it. */
static bool drifted(struct mig_manager *manager, const struct mig_error *reason)
{
    struct mig_manager_run *run = &manager->run;

    if (!run->confirmed) {
        return false;
    }
    if (!run->drifted) {
        run->drifted = true;
        mig_manager_say(manager, MIG_MANAGER_WARNING, "MigGeometryDrift",
                        "somebody else changed what '%s' had set: %s", manager->wish.label,
                        reason->message);
    }
    if (manager->options.repair_drift) {
        return false;
    }
    mig_manager_set_state(manager, MIG_MANAGER_STATE_FAILED,
                          "somebody else changed what '%.64s' had set: %s; set the label again to "
                          "have it repaired",
                          manager->wish.label, reason->message);
    return true;
}

/* ---- from the top ---------------------------------------------------------------------------- */

static void reach_goal(struct mig_manager *manager)
{
    struct mig_error reason = {0};

    if (!know_hardware(manager)) {
        return;
    }
    if (mig_goal_is_met(manager->node, &manager->wish.goal, &reason)) {
        mig_manager_finish(manager);
        return;
    }
    if (manager->run.unconfirmed) {
        manager->run.unconfirmed = false;
        mig_error_prefix(&reason, MIG_MANAGER_NOT_SHOWN);
        mig_manager_consider_reboot(manager, &reason);
        return;
    }
    if (drifted(manager, &reason) || !mig_manager_is_due(manager, manager->run.retry.at_ms) ||
        manager->helper_lost) {
        return;
    }
    attempt(manager);
}

static void refuse_wish(struct mig_manager *manager)
{
    if (mig_manager_is_due(manager, manager->run.retry.at_ms)) {
        mig_manager_fail(manager, "MigConfigInvalid", &manager->wish.error);
    }
}

static void want_nothing(struct mig_manager *manager)
{
    manager->run = (struct mig_manager_run){0};
    manager->clients.hold = false;
    manager->failure_count = 0;
    mig_manager_release(manager);
    mig_manager_set_state(manager, MIG_MANAGER_STATE_NONE, "%s", "");
}

/* What is wanted cannot be known (any more): whatever was under way is let go. */
static void want_unknown(struct mig_manager *manager)
{
    if (!manager->node && !manager->helper_lost &&
        mig_manager_is_due(manager, manager->read_retry.at_ms)) {
        begin_read(manager);
    }
    if (manager->decided) {
        manager->clients.hold = false;
        mig_manager_release(manager);
        mig_manager_set_state(manager, MIG_MANAGER_STATE_PENDING,
                              "'%.64s': its config is not known yet", manager->seen.config.value);
    }
}

/* Something else is wanted than before: everything is tried anew, at once. */
static void follow_wish(struct mig_manager *manager)
{
    const struct mig_manager_wish *wish = &manager->wish;
    struct mig_manager_run *run = &manager->run;

    if (run->begun && strcmp(run->label, wish->label) == 0 && run->source == wish->source &&
        run->revision == wish->revision) {
        return;
    }
    *run = (struct mig_manager_run){.begun = true,
                                    .source = wish->source,
                                    .revision = wish->revision,
                                    .applied = run->applied,
                                    .unseen = run->unseen,
                                    .refreshed = run->refreshed};
    (void)mig_text_copy(run->label, sizeof(run->label), wish->label);
    manager->failure_count = 0;
    manager->eviction_count = 0;
    manager->reboot_deadline_ms = 0;
    if (strcmp(manager->record.reboot_label, wish->label) != 0) {
        manager->record.reboot_label[0] = '\0';
    }
    mig_manager_look_again(manager);
    mig_manager_release(manager);
    mig_manager_log(manager, MIG_MANAGER_INFO, "'%s' is wanted", wish->label);
    if (manager->state != MIG_MANAGER_STATE_LEAVE) { /* what was said is of something else */
        mig_manager_set_state(manager, MIG_MANAGER_STATE_PENDING, "changing to '%.64s'",
                              wish->label);
    }
}

void mig_manager_reconcile(struct mig_manager *manager)
{
    mig_manager_work_out_wish(manager);
    if (mig_manager_busy(manager, MIG_MANAGER_OP_APPLY) ||
        mig_manager_busy(manager, MIG_MANAGER_OP_CDI)) {
        return; /* what is under way ends first */
    }
    if (manager->wish.kind == MIG_MANAGER_WISH_UNKNOWN) {
        want_unknown(manager);
        return;
    }
    manager->decided = true;
    if (manager->wish.kind == MIG_MANAGER_WISH_NOTHING) {
        want_nothing(manager);
        return;
    }
    follow_wish(manager);
    if (mig_manager_reboot_step(manager)) {
        return;
    }
    if (manager->wish.kind == MIG_MANAGER_WISH_INVALID) {
        refuse_wish(manager);
    } else {
        reach_goal(manager);
    }
}
