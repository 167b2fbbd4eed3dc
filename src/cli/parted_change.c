/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of an apply or restore:
 *
 *   apply-start, survey, [pre-apply-mode], [pre-apply-config], change, apply-exit
 *
 * The survey repairs what an interrupted run left, and tells whether modes or instances differ; a
 * request that cannot fit ends there, before any hook has stopped somebody's service. The change
 * makes its plan anew, under the lock, because the hooks may have ended the users of slices; modes
 * and instances are one transaction, so a failure puts both back. No driver session is open while
 * hooks run: they may restart what holds the driver.
 */
#include "cli/parted_change.h"
#include "base/cleanup.h"
#include "cli/parted_log.h"
#include <signal.h>
#include <string.h>

#define LOCK_TIMEOUT_MS 60000u
#define BUSY_RETRY_MS 3000u /* a driver says "in use" for a moment after a process has ended */

struct change {
    const struct parted_arguments *arguments;
    const struct mig_hooks *hooks;
    char **environment;
    parted_goal make_goal;
    void *data;
    bool mode_only, debug;
    struct mig_apply_options options;
};

/* One look at the node, the lock held. */
struct view {
    struct parted_node node;
    struct mig_apply *apply;
    struct mig_apply_report report;
    struct mig_goal goal, mode_goal;
};

int parted_node_read(struct parted_node *ret, struct mig_error *error)
{
    int rc = 0;

    if (!ret->session) {
        rc = mig_session_open(NULL, &ret->session, error);
    }
    if (rc == 0) {
        mig_node_free(MIG_TAKE(ret->node));
        rc = mig_inventory_read(ret->session, &ret->node, error);
    }
    return rc;
}

void parted_node_release(struct parted_node *node)
{
    mig_node_free(MIG_TAKE(node->node));
    mig_session_close(MIG_TAKE(node->session));
}

static void view_release(struct view *view)
{
    mig_apply_close(MIG_TAKE(view->apply));
    parted_node_release(&view->node);
}

#define AUTO_VIEW MIG_CLEANUP(view_release)

static void on_progress(const struct mig_apply_progress *progress, void *data)
{
    (void)data;
    if (progress->gpu == MIG_ID_NONE) {
        parted_log(PARTED_LEVEL_DEBUG, "%s", progress->text);
    } else {
        parted_log(PARTED_LEVEL_DEBUG, "GPU %u: %s", progress->gpu, progress->text);
    }
}

static int look(const struct change *change, struct view *view, struct mig_error *error)
{
    int rc = mig_session_open(NULL, &view->node.session, error);

    if (rc == 0) {
        rc = mig_apply_open(view->node.session, &change->options, &view->apply, &view->report,
                            error);
    }
    if (rc == 0 && view->report.recovery != MIG_RECOVERY_NONE) {
        parted_log(PARTED_LEVEL_INFO, "%s", view->report.recovery_text);
    }
    if (rc == 0) {
        rc = parted_node_read(&view->node, error);
    }
    if (rc == 0) {
        rc = change->make_goal(view->node.node, true, change->data, &view->mode_goal, error);
    }
    if (rc == 0) {
        rc =
            change->make_goal(view->node.node, change->mode_only, change->data, &view->goal, error);
    }
    return rc;
}

/* True when instances have to change on a GPU that has, or gets, MIG mode. */
static bool instances_differ(const struct view *view)
{
    const struct mig_node *node = view->node.node;
    struct mig_goal one = {.gpu_count = view->goal.gpu_count};

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu_goal *goal = &view->goal.gpus[i];

        if (goal->kind != MIG_GOAL_LAYOUT || !goal->mig_mode) {
            continue;
        }
        if (!node->gpus[i].mig_mode) {
            if (goal->target.gi_count > 0) {
                return true;
            }
            continue;
        }
        one.gpus[i] = *goal;
    }
    return !mig_goal_is_met(node, &one, NULL);
}

struct need {
    bool mode, instances;
};

/* What has to be done; an error when it can never be. */
static int survey(const struct change *change, struct need *ret, struct mig_error *error)
{
    AUTO_VIEW struct view view = {0};
    struct mig_node_plan plan;
    int rc = look(change, &view, error);

    if (rc < 0) {
        return rc;
    }
    ret->mode = !mig_goal_is_met(view.node.node, &view.mode_goal, NULL);
    ret->instances = !change->mode_only && instances_differ(&view);
    rc = mig_node_plan_make(view.node.node, &view.goal, NULL, &plan, error);
    mig_node_plan_release(&plan);
    return rc == MIG_E_BUSY ? 0 : rc; /* users may be gone once the hooks have run */
}

/* Ctrl-C, SIGTERM and the like wait until the steps are done; the lock, the journal and the node
 * stay in order. */
static void hold_signals(bool hold, sigset_t *old)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGPIPE);
    if (hold) {
        pthread_sigmask(SIG_BLOCK, &set, old);
    } else {
        pthread_sigmask(SIG_SETMASK, old, NULL);
    }
}

static int carry_out(const struct change *change, struct mig_error *error)
{
    AUTO_VIEW struct view view = {0};
    struct mig_node_plan plan;
    int rc = look(change, &view, error);

    if (rc < 0) {
        return rc;
    }
    rc = mig_node_plan_make(view.node.node, &view.goal, NULL, &plan, error);
    if (rc == 0 && plan.change_count > 0) {
        rc = mig_apply_run(view.apply, view.node.node, &plan, &view.report, error);
    }
    mig_node_plan_release(&plan);
    if (rc == 0 && view.report.mode_pending && !change->mode_only) {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "the MIG mode of a GPU is pending, so its MIG devices could not be made");
        return mig_error_hint(error, MIG_E_FAILED, "reset that GPU, or leave --skip-reset out");
    }
    return rc;
}

static int run_hook(const struct change *change, enum mig_hook hook, const char *name,
                    struct mig_error *error)
{
    int rc;

    parted_log(PARTED_LEVEL_DEBUG, "running %s hook", name);
    rc = mig_hooks_run(change->hooks, hook, change->environment, change->debug, error);
    if (rc < 0) {
        mig_error_prefix(error, "error running %s hook", name);
    }
    return rc;
}

static int change_between_hooks(const struct change *change, struct mig_error *error)
{
    struct need need = {false, false};
    sigset_t signals;
    int rc;

    parted_log(PARTED_LEVEL_DEBUG, "checking the current MIG configuration...");
    rc = survey(change, &need, error);
    if (rc < 0 || (!need.mode && !need.instances)) {
        return rc;
    }
    if (need.mode) {
        rc = run_hook(change, MIG_HOOK_PRE_APPLY_MODE, "pre-apply-mode", error);
    }
    if (rc == 0 && need.instances) {
        rc = run_hook(change, MIG_HOOK_PRE_APPLY_CONFIG, "pre-apply-config", error);
    }
    if (rc < 0) {
        return rc;
    }
    parted_log(PARTED_LEVEL_DEBUG, "applying the MIG configuration...");
    hold_signals(true, &signals);
    rc = carry_out(change, error);
    hold_signals(false, &signals);
    return rc;
}

int parted_change(const struct parted_arguments *arguments, const struct mig_hooks *hooks,
                  parted_goal make_goal, void *data, struct mig_error *error)
{
    MIG_AUTO_FREE char **environment = parted_hook_environment(arguments);
    const struct change change = {
        .arguments = arguments,
        .hooks = hooks,
        .environment = environment,
        .make_goal = make_goal,
        .data = data,
        .mode_only = parted_is_set(arguments, PARTED_MODE_ONLY),
        .debug = parted_is_set(arguments, PARTED_DEBUG),
        .options = {.state_dir = getenv("MIGD_STATE_DIR"),
                    .skip_reset = parted_is_set(arguments, PARTED_SKIP_RESET),
                    .lock_timeout_ms = LOCK_TIMEOUT_MS,
                    .busy_timeout_ms = BUSY_RETRY_MS,
                    .progress = on_progress},
    };
    struct mig_error exit_error;
    int rc;

    if (!environment) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "the environment for hooks is too large");
    }
    rc = run_hook(&change, MIG_HOOK_APPLY_START, "apply-start", error);
    if (rc < 0) {
        return rc; /* apply-exit undoes what apply-start did; there is nothing to undo */
    }
    rc = change_between_hooks(&change, error);
    if (run_hook(&change, MIG_HOOK_APPLY_EXIT, "apply-exit", &exit_error) < 0) {
        if (rc == 0) {
            *error = exit_error;
            return MIG_E_FAILED;
        }
        parted_log_error(PARTED_LEVEL_ERROR, "", &exit_error);
    }
    return rc;
}
