/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See change.h. The lock is held from before the snapshot until the change is done, and released
 * while waiting for users, so that other runs can pass.
 *
 * A first Ctrl-C, SIGTERM or SIGHUP during the steps is held back until they are done, because
 * stopping half way leaves a node that the next run has to repair; a second one stops at once.
 * Nothing is held back while waiting, for the lock or for users. A reader of our output that goes
 * away (SIGPIPE) never stops a change.
 */
#include "cli/change.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/doc_node.h"
#include "cli/persist.h"
#include "cli/plan_text.h"
#include <signal.h>
#include <string.h>

#define WAIT_STEP_MS 1000
#define WAIT_DEFAULT_S 600
#define TIMEOUT_MAX_S 1000000
#define RESET_WORDS_MAX 32
#define BUSY_RETRY_MS 3000 /* a driver says "in use" for a moment after a process has ended */

struct settings {
    const struct cli *cli;
    bool wait, dry_run;
    uint64_t deadline_ms;
    char *reset_text;
    const char *reset_words[RESET_WORDS_MAX + 1];
    struct mig_apply_options options;
};

/* Signals that are held back, and what they did before. A program has one disposition of each. */
static const int held_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
static struct sigaction before_hold[MIG_ARRAY_SIZE(held_signals)];
static bool holding;
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    static const char text[] =
        "\nmigctl: finishing the change first; once more stops at once, and the next run repairs\n";

    (void)number;
    interrupted = 1;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
}

/* Holds the first signal back, or lets signals do again what they did. */
static void hold_signals(bool hold)
{
    if (hold == holding) {
        return;
    }
    holding = hold;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(held_signals); i++) {
        bool pipe = held_signals[i] == SIGPIPE;
        struct sigaction action = {.sa_handler = pipe ? SIG_IGN : on_signal,
                                   .sa_flags = pipe ? 0 : (int)SA_RESETHAND};

        if (!hold) {
            (void)sigaction(held_signals[i], &before_hold[i], NULL);
        } else if (sigaction(held_signals[i], &action, &before_hold[i]) == 0 &&
                   before_hold[i].sa_handler == SIG_IGN) {
            /* under nohup it stays ignored */
            (void)sigaction(held_signals[i], &before_hold[i], NULL);
        }
    }
}

static void show_progress(const struct mig_apply_progress *progress, void *data)
{
    const struct cli *cli = ((const struct settings *)data)->cli;
    const char *text = progress->text ? progress->text : "";
    char where[64] = "", which[24] = "";

    if (progress->gpu != MIG_ID_NONE) {
        (void)snprintf(which, sizeof(which), "GPU %u: ", progress->gpu);
    }
    hold_signals(progress->stage != MIG_STAGE_WAIT_LOCK);
    if (progress->step && progress->step_count) {
        (void)snprintf(where, sizeof(where), "[%u/%u] %s", progress->step, progress->step_count,
                       which);
    }
    if (cli->progress) {
        cli_progress(cli, "%s%s", where, text);
    } else if (cli_has(cli, CLI_VERBOSE) && *text) {
        cli_note(cli, "%s%s", where, text);
    }
}

/* Splits the words of --reset-command at blanks. */
static int split_reset(const char *command, struct settings *ret, struct mig_error *error)
{
    char *rest;
    size_t count = 0;

    ret->reset_text = strdup(command);
    if (!ret->reset_text) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "out of memory");
    }
    rest = ret->reset_text;
    for (char *word = strsep(&rest, " \t"); word; word = strsep(&rest, " \t")) {
        if (count == RESET_WORDS_MAX) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "--reset-command has more than %d words", RESET_WORDS_MAX);
        }
        if (*word) {
            ret->reset_words[count++] = word;
        }
    }
    if (count == 0) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "--reset-command is empty");
    }
    ret->options.reset_command = ret->reset_words;
    return MIG_OK;
}

static int read_settings(const struct cli *cli, struct settings *ret, struct mig_error *error)
{
    const char *on_busy = cli->values[CLI_ON_BUSY];
    uint64_t timeout_s = 0;
    int result;

    *ret = (struct settings){.cli = cli,
                             .wait = on_busy && strcmp(on_busy, "wait") == 0,
                             .dry_run = cli_has(cli, CLI_DRY_RUN)};
    result = cli_number(cli, CLI_TIMEOUT, TIMEOUT_MAX_S, ret->wait ? WAIT_DEFAULT_S : 0, &timeout_s,
                        error);
    if (result < 0) {
        return result;
    }
    ret->deadline_ms = mig_now_ms() + timeout_s * 1000;
    ret->options.state_dir = persist_state_dir(cli);
    ret->options.skip_reset = cli_has(cli, CLI_SKIP_RESET);
    ret->options.busy_timeout_ms = BUSY_RETRY_MS;
    ret->options.progress = show_progress;
    ret->options.progress_data = ret;
    return cli_has(cli, CLI_RESET_COMMAND) ? split_reset(cli->values[CLI_RESET_COMMAND], ret, error)
                                           : MIG_OK;
}

static void settings_release(struct settings *settings)
{
    free(settings->reset_text);
}

static unsigned left_ms(const struct settings *settings)
{
    uint64_t now = mig_now_ms();

    return now >= settings->deadline_ms ? 0 : (unsigned)(settings->deadline_ms - now);
}

/* Snapshot, goal, plan. */
static int make_plan(change_goal make_goal, void *data, struct change *change,
                     struct mig_error *error)
{
    int result;

    if (change->planned) {
        mig_node_plan_release(&change->plan);
        change->planned = false;
    }
    result = cli_node_read(&change->node, error);
    if (result == MIG_OK) {
        result = make_goal(change->node.node, data, &change->goal, error);
    }
    if (result < 0) {
        return result;
    }
    change->planned = true;
    return mig_node_plan_make(change->node.node, &change->goal, NULL, &change->plan, error);
}

static int change_once(struct settings *settings, change_goal make_goal, void *data,
                       struct change *change, struct mig_error *error)
{
    struct mig_apply *apply = NULL;
    int result;

    if (settings->dry_run) {
        return make_plan(make_goal, data, change, error);
    }
    settings->options.lock_timeout_ms = left_ms(settings);
    hold_signals(true);
    result =
        mig_apply_open(change->node.session, &settings->options, &apply, &change->report, error);
    if (result == MIG_OK) {
        result = make_plan(make_goal, data, change, error);
    }
    if (result == MIG_OK && change->plan.change_count) {
        result = mig_apply_run(apply, change->node.node, &change->plan, &change->report, error);
    }
    change->applied = result == MIG_OK;
    mig_apply_close(apply);
    hold_signals(false);
    return result;
}

static void tell_waiting(const struct cli *cli, const struct mig_error *error, unsigned left,
                         bool first)
{
    const char *who = error->holders[0] ? error->holders : error->message;

    if (cli->progress) {
        cli_progress(cli, "waiting (%u s left) for %s", left / 1000, who);
    } else if (first) {
        cli_note(cli, "waiting at most %u s for %s", (left + 999) / 1000, who);
    }
}

int change_run(const struct cli *cli, change_goal make_goal, void *data, struct change *ret,
               struct mig_error *error)
{
    MIG_CLEANUP(settings_release) struct settings settings;
    bool first = true;
    int result;

    memset(ret, 0, sizeof(*ret));
    result = read_settings(cli, &settings, error);
    if (result == MIG_OK) {
        result = cli_node_open(cli, &ret->node, error);
    }
    while (result == MIG_OK) {
        unsigned left;

        result = change_once(&settings, make_goal, data, ret, error);
        left = left_ms(&settings);
        if (result != MIG_E_BUSY || !settings.wait || settings.dry_run || left == 0 ||
            interrupted) {
            break;
        }
        tell_waiting(cli, error, left, first);
        mig_sleep_ms(left < WAIT_STEP_MS ? left : WAIT_STEP_MS);
        mig_error_clear(error);
        result = MIG_OK;
        first = false;
    }
    cli_progress_end(cli);
    return result;
}

void change_release(struct change *change)
{
    if (change->planned) {
        mig_node_plan_release(&change->plan);
    }
    cli_node_close(&change->node);
}

static void print_summary(const struct change *change, bool dry_run)
{
    const struct mig_apply_report *report = &change->report;
    char time[PLAN_TIME_SIZE];
    unsigned destroy = 0, create = 0, keep = 0;

    if (change->plan.change_count == 0) {
        puts("nothing to do: the node is as wanted");
        return;
    }
    for (uint32_t i = 0; i < change->plan.gpu_count; i++) {
        destroy += change->plan.gpus[i].plan.gi_destroy_count;
        create += change->plan.gpus[i].plan.gi_create_count;
        keep += change->plan.gpus[i].plan.kept_count;
    }
    if (dry_run) {
        printf("%u to destroy, %u to create, %u kept; disturbs nobody; takes %s\n", destroy, create,
               keep, plan_time(change->plan.estimate_ms, time));
        return;
    }
    printf("done in %u.%02u s: %u destroyed, %u created, %u kept, nobody disturbed%s\n",
           report->elapsed_ms / 1000, report->elapsed_ms % 1000 / 10, destroy, create, keep,
           report->mode_pending ? "; a MIG mode is still pending: reset that GPU" : "");
}

static void report_text(const struct cli *cli, const struct change *change, int result)
{
    bool planning = cli_has(cli, CLI_DRY_RUN) || cli->command == CLI_COMMAND_PLAN;

    if (change->report.recovery != MIG_RECOVERY_NONE) {
        cli_note(cli, "%s", change->report.recovery_text);
    }
    if (!change->planned || (cli_has(cli, CLI_QUIET) && !planning)) {
        return;
    }
    if (result == MIG_OK) {
        if (change->plan.change_count || cli_has(cli, CLI_VERBOSE)) {
            plan_print(cli, change->node.node, &change->plan, !planning);
        }
        print_summary(change, planning);
    } else if (result == MIG_E_NO_FIT || result == MIG_E_BUSY) {
        plan_print_refusals(cli, change->node.node, &change->goal, &change->plan);
        fputs(planning ? "" : "nothing was changed\n", stdout);
    }
}

static json_t *doc_recovery(const struct mig_apply_report *report)
{
    static const char *const names[] = {
        [MIG_RECOVERY_NONE] = "none",
        [MIG_RECOVERY_FINISHED] = "finished",
        [MIG_RECOVERY_RESTORED] = "restored",
        [MIG_RECOVERY_OBSOLETE] = "obsolete",
    };
    json_t *object = doc_object();

    doc_put_text(object, "kind", names[report->recovery]);
    doc_put_known_text(object, "text", report->recovery_text);
    return object;
}

static json_t *doc_report(const struct mig_apply_report *report)
{
    json_t *object = doc_object();

    doc_put_int(object, "gi_destroyed", report->gi_destroyed);
    doc_put_int(object, "gi_created", report->gi_created);
    doc_put_int(object, "ci_destroyed", report->ci_destroyed);
    doc_put_int(object, "ci_created", report->ci_created);
    doc_put_int(object, "mode_changed", report->mode_changed);
    doc_put_int(object, "reset_count", report->reset_count);
    doc_put_bool(object, "rolled_back", report->rolled_back);
    doc_put_bool(object, "mode_pending", report->mode_pending);
    doc_put_int(object, "elapsed_ms", report->elapsed_ms);
    return object;
}

void change_report(const struct cli *cli, const struct change *change, int result, json_t *document)
{
    if (cli_is_text(cli)) {
        report_text(cli, change, result);
        return;
    }
    if (cli->command != CLI_COMMAND_PLAN) {
        doc_put_bool(document, "dry_run", cli_has(cli, CLI_DRY_RUN));
        doc_put_bool(document, "applied", change->applied);
        doc_put(document, "recovery", doc_recovery(&change->report));
        doc_put(document, "report", doc_report(&change->report));
    }
    if (change->planned) {
        doc_put_node_plan(document, change->node.node, &change->goal, &change->plan,
                          result != MIG_E_NO_FIT && result != MIG_E_BUSY);
    }
}
