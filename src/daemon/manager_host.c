/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine asks of the helper: snapshots, changes, services, CDI, the record. */
#include "base/cleanup.h"
#include "daemon/log.h"
#include "daemon/manager_internal.h"
#include "exporter/own.h"
#include <errno.h>
#include <string.h>

#define SERVICE_STOP_MS 30000u
#define SERVICE_START_MS 120000u

/* --- snapshot and change --- */

static void node_read(struct mig_node *node, const struct mig_error *error, void *data)
{
    struct task *task = data;
    struct mig_manager_event event = {.result = error ? MIG_E_FAILED : 0, .error = error};

    task_answer(task, &event, node);
}

void host_read_node(struct manager_role *role, const struct mig_manager_action *action)
{
    struct task *task = task_new(role, action, sizeof(*task), NULL);
    struct mig_error error;
    int rc;

    if (!task) {
        return;
    }
    task->helper_answers = true;
    rc = mig_helper_read(role->options.helper, node_read, task, &error);
    if (rc < 0) {
        task_answer_later(task, rc, 0, &error);
    }
}

static void progress(const struct mig_apply_progress *progress, void *data)
{
    static const char *const stages[] = {
        [MIG_STAGE_WAIT_LOCK] = "wait-lock", [MIG_STAGE_RECOVER] = "recover",
        [MIG_STAGE_STEP] = "step",           [MIG_STAGE_MODE] = "mode",
        [MIG_STAGE_RESET] = "reset",         [MIG_STAGE_WAIT_IDLE] = "wait-idle",
        [MIG_STAGE_VERIFY] = "verify",       [MIG_STAGE_ROLLBACK] = "rollback",
    };

    (void)data;
    log_write(LOG_LEVEL_DEBUG, "manager", NULL, 0, "stage %s, GPU %d: %s (%u of %u)",
              stages[progress->stage], progress->gpu == MIG_ID_NONE ? -1 : (int)progress->gpu,
              progress->text, progress->step, progress->step_count);
}

static void tell_resets(const struct manager_role *role, uint64_t gpus)
{
    for (uint32_t i = 0; role->node && role->options.reset && i < role->node->gpu_count; i++) {
        const struct mig_gpu *gpu = &role->node->gpus[i];

        if (gpu->index < MIG_GPU_MAX && (gpus >> gpu->index & 1) != 0) {
            role->options.reset(gpu->uuid, role->options.data);
        }
    }
}

static void applied(int result, const struct mig_apply_report *report, struct mig_node *node,
                    const struct mig_error *error, void *data)
{
    struct task *task = data;
    const struct manager_role *role = task->role;
    struct mig_manager_event event = {
        .result = result, .error = error, .mode_pending = report && report->mode_pending};

    if (report) {
        log_write(LOG_LEVEL_INFO, "helper", NULL, 0,
                  "%s in %u ms: %u GPU instances destroyed, %u created; compute instances %u, %u; "
                  "%u mode changes, %u resets",
                  result == 0           ? "applied"
                  : report->rolled_back ? "failed and put back"
                                        : "not applied",
                  report->elapsed_ms, report->gi_destroyed, report->gi_created,
                  report->ci_destroyed, report->ci_created, report->mode_changed,
                  report->reset_count);
    }
    mig_counter_add(task->role ? task->role->options.counters : NULL, &mig_count_applies, 1,
                    result == 0                     ? "applied"
                    : report && report->rolled_back ? "rolled_back"
                    : result == MIG_E_BUSY          ? "busy"
                    : result == MIG_E_NO_FIT        ? "no_fit"
                                                    : "failed",
                    NULL);
    task_answer(task, &event, node);
    if (role && report) {
        tell_resets(role, report->reset_gpus);
    }
}

void host_apply(struct manager_role *role, const struct mig_manager_action *action)
{
    struct task *task = task_new(role, action, sizeof(*task), NULL);
    const struct mig_helper_apply apply = {
        .node = action->node,
        .goal = action->goal,
        .policies = action->policies,
        .skip_reset = action->skip_reset,
        .progress = progress,
        .done = applied,
        .data = task,
    };
    struct mig_error error;
    int rc;

    if (!task) {
        return;
    }
    task->helper_answers = true;
    rc = mig_helper_apply(role->options.helper, &apply, &error);
    if (rc < 0) {
        task_answer_later(task, rc, 0, &error);
    }
}

/* --- one thing after the other on the host --- */

struct host_task {
    struct task task;
    enum mig_helper_host what;
    unsigned timeout_ms;
    bool goes_on;   /* after a failure */
    char **names;   /* NULL-terminated copies */
    size_t at;      /* the one that is under way */
    char **changed; /* of names, those that were, or may have been */
    size_t changed_count;
    int result;
    struct mig_error error;
    enum mig_helper_host then; /* after all; MIG_HELPER_HOST_COUNT = nothing */
};

static void host_release(struct task *task)
{
    struct host_task *host = (struct host_task *)task;

    for (size_t i = 0; host->names && host->names[i]; i++) {
        free(host->names[i]);
    }
    free(host->names);
    free(host->changed);
}

static void host_answer(struct host_task *host)
{
    struct mig_manager_event event = {
        .result = host->result,
        .error = host->result < 0 ? &host->error : NULL,
        .names = (const char *const *)host->changed,
        .name_count = host->changed_count,
    };

    host->task.helper_answers = false;
    task_answer(&host->task, &event, NULL);
}

static int host_next(struct host_task *host);

/* A service that was told to stop may do so whether we hear of it or not. */
static bool may_have_stopped(const struct host_task *host, bool changed)
{
    return host->what == MIG_HELPER_UNIT_STOP &&
           (changed || (host->task.role && host->task.role->helper_lost));
}

static void host_done(bool changed, const struct mig_error *error, void *data)
{
    struct host_task *host = data;

    if (error) {
        if (host->result == 0) {
            host->error = *error;
            mig_error_prefix(&host->error, "%s", host->names[host->at]);
        }
        host->result = MIG_E_FAILED;
    }
    if (error ? may_have_stopped(host, changed) : changed) {
        host->changed[host->changed_count++] = host->names[host->at];
    }
    host->at++;
    if (host->task.role && (host->result == 0 || host->goes_on) && host_next(host) == 0) {
        return;
    }
    host_answer(host);
}

/* 0 when the next one is on its way; 1 when there is none; negative when it could not be asked. */
static int host_next(struct host_task *host)
{
    struct mig_error error;
    int rc;

    if (!host->names[host->at]) {
        return 1;
    }
    host->task.helper_answers = true;
    rc = mig_helper_host(host->task.role->options.helper, host->what, host->names[host->at],
                         host->timeout_ms, host_done, host, &error);
    if (rc < 0) {
        host->result = rc;
        host->error = error;
    }
    return rc;
}

static void host_begin(struct manager_role *role, const struct mig_manager_action *action,
                       const struct host_task *plan, const char *const *names, size_t count)
{
    struct host_task *host = task_new(role, action, sizeof(*host), host_release);
    size_t copied = 0;
    int rc;

    if (!host) {
        return;
    }
    host->what = plan->what;
    host->timeout_ms = plan->timeout_ms;
    host->goes_on = plan->goes_on;
    host->names = calloc(count + 1, sizeof(*host->names));
    host->changed = calloc(count + 1, sizeof(*host->changed));
    while (host->names && host->changed && copied < count) {
        host->names[copied] = strdup(names[copied]);
        if (!host->names[copied]) {
            break;
        }
        copied++;
    }
    if (!host->names || !host->changed || copied < count) {
        (void)mig_error_set_errno(&host->error, MIG_E_FAILED, ENOMEM, "could not begin");
        task_answer_later(&host->task, MIG_E_FAILED, 0, &host->error);
        return;
    }
    rc = host_next(host);
    if (rc != 0) {
        host->task.helper_answers = false;
        task_answer_later(&host->task, rc > 0 ? 0 : rc, 0, rc > 0 ? NULL : &host->error);
    }
}

void host_services(struct manager_role *role, const struct mig_manager_action *action)
{
    bool stop = action->kind == MIG_MANAGER_STOP_SERVICES;
    const struct host_task plan = {
        .what = stop ? MIG_HELPER_UNIT_STOP : MIG_HELPER_UNIT_START,
        .timeout_ms = stop ? SERVICE_STOP_MS : SERVICE_START_MS,
        .goes_on = !stop,
    };

    host_begin(role, action, &plan, action->services, action->service_count);
}

void host_reboot(struct manager_role *role, const struct mig_manager_action *action)
{
    const struct host_task plan = {.what = MIG_HELPER_REBOOT};
    const char *const names[] = {""};

    host_begin(role, action, &plan, names, 1);
}

/* --- CDI --- */

static void cdi_written(bool changed, const struct mig_error *error, void *data)
{
    struct task *task = data;

    (void)changed;
    task_result(task, error ? MIG_E_FAILED : 0, 0, error);
}

static void caps_made(bool changed, const struct mig_error *error, void *data)
{
    struct task *task = data;
    struct mig_error problem;

    (void)changed;
    if (error || !task->role) {
        task_result(task, error ? MIG_E_FAILED : 0, 0, error);
    } else if (mig_helper_host(task->role->options.helper, MIG_HELPER_CDI_MANAGEMENT, "", 0,
                               cdi_written, task, &problem) < 0) {
        task_result(task, MIG_E_FAILED, 0, &problem);
    }
}

void host_refresh_cdi(struct manager_role *role, const struct mig_manager_action *action)
{
    struct task *task = task_new(role, action, sizeof(*task), NULL);
    struct mig_error error;
    int rc;

    if (!task) {
        return;
    }
    task->helper_answers = true;
    rc = mig_helper_host(role->options.helper, MIG_HELPER_CAPS_NODES, "", 0, caps_made, task,
                         &error);
    if (rc < 0) {
        task_answer_later(task, rc, 0, &error);
    }
}

/* --- the record --- */

static void saved(const struct mig_error *error, void *data)
{
    (void)data;
    if (error) {
        log_error(LOG_LEVEL_WARNING, "helper", error, "the geometry is not kept for the next boot");
    }
}

static void state_file_written(bool changed, const struct mig_error *error, void *data)
{
    (void)changed;
    (void)data;
    if (error) {
        log_error(LOG_LEVEL_WARNING, "helper", error,
                  "nvidia-mig-manager's state file is not up to date");
    }
}

void host_save_record(struct manager_role *role, const struct mig_manager_action *action)
{
    const struct mig_manager_record *record = action->record;
    struct mig_error error;

    if (record_write(role->options.agent_dir, record, &error) < 0) {
        log_error(LOG_LEVEL_WARNING, "manager", &error, "the config is not kept for the next boot");
    }
    if (!record->label || !record->label[0]) {
        return;
    }
    if ((!record->reboot_label || !record->reboot_label[0]) &&
        mig_helper_save(role->options.helper, record->label, saved, NULL, &error) < 0) {
        saved(&error, NULL);
    }
    if (role->options.values->texts[DAEMON_HOST_STATE_FILE][0] &&
        mig_helper_host(role->options.helper, MIG_HELPER_STATE_FILE, record->label, 0,
                        state_file_written, NULL, &error) < 0) {
        state_file_written(false, &error, NULL);
    }
}
