/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ends of a run: the hardware shows what is wanted, or a reboot is the last resort.
 *
 * The host is rebooted only if that was allowed, once for a config (the record outlives the boot,
 * and so does the state label), and never under pods that hold a GPU. One that was asked for and
 * did not come, because the boot is still the same, is asked for again.
 */
#include "base/text.h"
#include "core/describe.h"
#include "manager/internal.h"
#include <stdio.h>
#include <string.h>

#define CDI_MS 120000u
#define REBOOT_ANSWER_MS 60000u
#define REBOOT_MS 600000u      /* for the host to go down */
#define REBOOT_LABEL_MS 10000u /* for the label to be written first */
#define REBOOT_FOUND_MS 120000u

/* ---- the record ------------------------------------------------------------------------------ */

static void save(struct mig_manager *manager)
{
    struct mig_manager_action *action = mig_manager_act(manager, MIG_MANAGER_SAVE_RECORD);
    const struct mig_manager_file *file = &manager->files[manager->run.source];
    struct mig_manager_own_record *record = &manager->record;

    if (!action) {
        return;
    }
    (void)mig_text_copy(record->label, sizeof(record->label), manager->run.label);
    (void)mig_text_copy(record->boot_id, sizeof(record->boot_id), manager->boot_id);
    record->saved_revision = manager->run.revision;
    manager->record_out = (struct mig_manager_record){
        .label = record->label,
        .config_name = file->name,
        .config_text = file->text ? file->text : "",
        .config_size = file->size,
        .boot_id = record->boot_id,
        .reboot_label = record->reboot_label,
        .reboot_boot_id = record->reboot_boot_id,
    };
    action->record = &manager->record_out;
}

/* ---- success --------------------------------------------------------------------------------- */

static void describe_gpu(struct mig_words *words, const struct mig_gpu *gpu)
{
    struct mig_target target;

    mig_words_separate(words, "; ");
    mig_words_add(words, "GPU %u: ", gpu->index);
    if (!gpu->mig_mode || !gpu->layout.model) {
        mig_words_add(words, gpu->mig_mode ? "MIG on" : "MIG off");
        return;
    }
    mig_target_from_layout(&gpu->layout, &target);
    for (unsigned i = 0; i < target.gi_count; i++) {
        target.gis[i].start = MIG_START_ANY;
    }
    mig_describe_target(words, gpu->layout.model, &target, UINT32_MAX);
}

static void describe_node(const struct mig_node *node, char *buffer, size_t size)
{
    struct mig_words words = mig_words_start(buffer, size);

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (node->gpus[i].mig_capable) {
            describe_gpu(&words, &node->gpus[i]);
        }
    }
}

void mig_manager_delete_pods(struct mig_manager *manager, enum mig_manager_pods pods)
{
    struct mig_manager_action *action = mig_manager_act(manager, MIG_MANAGER_DELETE_PODS);

    if (action) {
        action->id = manager->next_id++; /* nothing depends on the answer */
        action->pods = pods;
    }
}

/* Pods of others that have to look again. */
static void tell_others(struct mig_manager *manager)
{
    if (manager->run.applied && manager->run.unseen && manager->options.restart_plugin) {
        mig_manager_delete_pods(manager, MIG_MANAGER_PODS_PLUGIN);
    }
    if (manager->run.applied || manager->clients.was_held) {
        mig_manager_delete_pods(manager, MIG_MANAGER_PODS_OPERATOR);
    }
    manager->run.applied = manager->run.unseen = false;
    manager->clients.was_held = false;
}

/* True when CDI specs are as the hardware, or nobody wants them. */
static bool refresh_cdi(struct mig_manager *manager)
{
    if (!manager->options.cdi_enabled || !manager->run.applied || manager->run.refreshed) {
        return true;
    }
    if (mig_manager_is_due(manager, manager->run.retry.at_ms)) {
        (void)mig_manager_begin(manager, MIG_MANAGER_OP_CDI, MIG_MANAGER_REFRESH_CDI, CDI_MS);
    }
    return false;
}

static void tell_success(struct mig_manager *manager)
{
    bool again = manager->state == MIG_MANAGER_STATE_SUCCESS ||
                 (manager->state == MIG_MANAGER_STATE_LEAVE &&
                  strcmp(manager->seen.state.value, "success") == 0);
    char text[MIG_ERROR_MESSAGE_SIZE];

    describe_node(manager->node, text, sizeof(text));
    mig_manager_set_state(manager, MIG_MANAGER_STATE_SUCCESS, "'%.64s' is in place: %s",
                          manager->wish.label, text);
    if (again) {
        return;
    }
    mig_manager_say(manager, MIG_MANAGER_NOTICE, "MigConfigApplied", "%s", manager->message);
}

void mig_manager_finish(struct mig_manager *manager)
{
    struct mig_manager_own_record *record = &manager->record;
    struct mig_manager_run *run = &manager->run;

    mig_manager_release(manager);
    if (!refresh_cdi(manager)) {
        return;
    }
    run->confirmed = true;
    run->unconfirmed = run->drifted = run->stalled = run->escalate = run->futile = run->surprised =
        run->leave_mode = false;
    run->busy_since_ms = 0;
    run->retry = (struct mig_manager_retry){0};
    manager->failure_count = 0;
    manager->clients.hold = false;
    tell_others(manager);
    tell_success(manager);
    if (record->saved_revision != run->revision || strcmp(record->label, run->label) != 0 ||
        record->reboot_label[0]) {
        record->reboot_label[0] = record->reboot_boot_id[0] = '\0';
        save(manager);
    }
}

/* ---- the last resort ------------------------------------------------------------------------- */

/* Some mode is not as wanted; with `at_boot`, and would not be so by the next boot either. */
static bool mode_is_unmet(const struct mig_manager *manager, bool at_boot)
{
    const struct mig_node *node = manager->node;

    for (uint32_t i = 0; i < node->gpu_count && i < manager->apply_goal.gpu_count; i++) {
        const struct mig_gpu_goal *goal = &manager->apply_goal.gpus[i];

        if (goal->kind != MIG_GOAL_LEAVE && node->gpus[i].mig_capable &&
            node->gpus[i].mig_mode != goal->mig_mode &&
            (!at_boot || node->gpus[i].mig_mode_pending != goal->mig_mode)) {
            return true;
        }
    }
    return false;
}

static bool is_empty_of_pods(const struct mig_manager *manager)
{
    return manager->pods_known && manager->pod_count == 0;
}

static void fail_for_pods(struct mig_manager *manager, struct mig_error *error)
{
    mig_error_hint(error, MIG_E_BUSY,
                   "a reboot of the host would help, but pods hold GPUs of it: drain the node");
    mig_manager_fail(manager, "MigConfigFailed", error);
}

/* Not asked for before the node says so: somebody may want to know why it went. */
static void begin_reboot(struct mig_manager *manager, const struct mig_error *error)
{
    manager->reboot_asked = false;
    manager->reboot_deadline_ms = manager->now_ms + REBOOT_MS;
    mig_manager_set_state(manager, MIG_MANAGER_STATE_REBOOTING,
                          "'%.64s' needs a reboot of the host: %.512s", manager->run.label,
                          error->message);
    mig_manager_say(manager, MIG_MANAGER_WARNING, "MigRebooting", "%s", manager->message);
}

/* Time has passed since the holders were asked for, and nothing keeps pods off the other GPUs. */
static void ask_for_reboot(struct mig_manager *manager)
{
    struct mig_manager_own_record *record = &manager->record;

    if (!mig_manager_look(manager, false)) {
        return;
    }
    if (!is_empty_of_pods(manager)) {
        manager->reboot_deadline_ms = 0;
        fail_for_pods(manager, &manager->run.reboot_error);
        return;
    }
    (void)mig_text_copy(record->reboot_label, sizeof(record->reboot_label), manager->run.label);
    (void)mig_text_copy(record->reboot_boot_id, sizeof(record->reboot_boot_id), manager->boot_id);
    save(manager);
    manager->reboot_asked = mig_manager_begin(manager, MIG_MANAGER_OP_REBOOT, MIG_MANAGER_REBOOT,
                                              REBOOT_ANSWER_MS) != NULL;
}

/*
 * An apply that fails puts back what was there, a pending mode too, and then a boot changes
 * nothing. So before the reboot there is one more that asks for the mode only, and leaves it
 * pending.
 */
static void prepare_reboot(struct mig_manager *manager, const struct mig_error *error)
{
    struct mig_manager_run *run = &manager->run;
    bool unprepared = mode_is_unmet(manager, true);

    if (!run->leave_mode) {
        run->reboot_error = *error;
    }
    if (!unprepared) {
        begin_reboot(manager, &run->reboot_error);
    } else if (run->leave_mode) {
        mig_manager_fail(manager, "MigConfigFailed", error);
    } else {
        run->leave_mode = true;
    }
}

void mig_manager_consider_reboot(struct mig_manager *manager, const struct mig_error *error)
{
    struct mig_error told = *error;

    if (!manager->run.applying) {
        return; /* something else is wanted by now */
    }
    manager->run.applying = false;
    if (!manager->options.with_reboot || manager->node_stale || !manager->boot_id[0] ||
        !mode_is_unmet(manager, false)) {
        mig_manager_fail(manager, "MigConfigFailed", &told);
    } else if (strcmp(manager->record.reboot_label, manager->run.label) == 0 &&
               strcmp(manager->record.reboot_boot_id, manager->boot_id) != 0) {
        mig_error_prefix(&told, "also after a reboot of the host");
        mig_manager_fail(manager, "MigConfigFailed", &told);
    } else if (!is_empty_of_pods(manager)) {
        fail_for_pods(manager, &told);
    } else {
        prepare_reboot(manager, &told);
    }
}

/* A machine that starts while the host goes down: it is not over before some time has passed. */
static void find_reboot(struct mig_manager *manager)
{
    const struct mig_manager_own_record *record = &manager->record;

    if (manager->state == MIG_MANAGER_STATE_LEAVE && manager->boot_id[0] &&
        strcmp(record->reboot_boot_id, manager->boot_id) == 0 &&
        strcmp(record->reboot_label, manager->wish.label) == 0) {
        manager->reboot_asked = true;
        manager->reboot_deadline_ms = manager->now_ms + REBOOT_FOUND_MS;
        mig_manager_set_state(manager, MIG_MANAGER_STATE_REBOOTING,
                              "'%.64s' needs a reboot of the host, which was asked for",
                              manager->wish.label);
    }
}

bool mig_manager_reboot_step(struct mig_manager *manager)
{
    struct mig_error error;

    find_reboot(manager);
    if (manager->state != MIG_MANAGER_STATE_REBOOTING || manager->reboot_deadline_ms == 0) {
        return false;
    }
    if (mig_manager_is_due(manager, manager->reboot_deadline_ms)) {
        manager->reboot_deadline_ms = 0;
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "the host was told to reboot and did not");
        mig_manager_fail(manager, "MigConfigFailed", &error);
        return false;
    }
    if (!manager->reboot_asked &&
        (strcmp(manager->seen.state.value, "rebooting") == 0 ||
         mig_manager_is_due(manager, manager->reboot_deadline_ms - REBOOT_MS + REBOOT_LABEL_MS))) {
        ask_for_reboot(manager);
    }
    return true;
}
