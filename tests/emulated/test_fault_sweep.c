/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fault sweep. For several plans: every NVML call of a whole run fails in turn with each error
 * that it plausibly can give, before and after it had its effect; from every call on everything
 * fails; and the process is killed before and after every call, also while it undoes a failed run
 * and while it recovers from an earlier kill. Each time:
 *
 *   - a run that says done has left the new state, one that says failed or busy the old one, at
 *     once and with no journal;
 *   - after any other end the next mig_apply_open leaves the old or the new state, never a third,
 *     and no journal.
 *
 * The state is read from the emulator, not through libmig.
 */
#include "base/cleanup.h"
#include "node.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CALL_MAX 4096
#define RULE_SIZE 128

/* A fork under a sanitizer is expensive: there, a sample of the calls is swept. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STRIDE 29
#else
#define STRIDE 1
#endif

struct instance {
    unsigned gpu;
    const char *profile;
    unsigned start;
    const char *cis;
};

/* A change that is swept. */
struct scene {
    const char *gpus;
    bool mig;
    struct instance instances[8]; /* up to the first without a profile */
    const char *wish;
    const char *failing; /* a rule that makes the run undo itself */
    bool blocked;        /* mode changes of GPU 0 stay pending until a reset */
};

/* A scene while it is swept. */
struct sweep {
    const struct scene *scene;
    struct node node;
    struct mig_apply_options options;
    char old_text[NODE_TEXT_SIZE], new_text[NODE_TEXT_SIZE];
    uint64_t call_count;
    uint16_t functions[CALL_MAX]; /* of call i + 1 */
    unsigned run_count;
};

/* ---- the verdict ---- */

static void fail_sweep(const struct sweep *sweep, const char *rules, const char *what,
                       const struct outcome *outcome, const char *text)
{
    fail_msg("%s\nwish %s, faults %s\nresult %d: %s [%s]\nrecovery %d: %s\n"
             "state:\n%sold:\n%snew:\n%s",
             what, sweep->scene->wish, rules, outcome->result, outcome->error.message,
             outcome->error.holders, outcome->open_report.recovery,
             outcome->open_report.recovery_text, text, sweep->old_text, sweep->new_text);
}

static void check_report(const struct sweep *sweep, const char *rules,
                         const struct outcome *outcome, const char *text)
{
    const struct mig_apply_report *report = &outcome->report;
    uint32_t changes = report->gi_destroyed + report->gi_created + report->ci_destroyed +
                       report->ci_created + report->mode_changed;

    if (outcome->result == 0 && (changes == 0 || report->rolled_back)) {
        fail_sweep(sweep, rules, "done, but the report tells of no change", outcome, text);
    }
    if (outcome->result != 0 && changes != 0) {
        fail_sweep(sweep, rules, "failed, but the report tells of changes", outcome, text);
    }
    if (outcome->result != 0 && outcome->error.message[0] == '\0') {
        fail_sweep(sweep, rules, "failed without a word", outcome, text);
    }
}

/* After a run. */
static void check_run(struct sweep *sweep, const char *rules, const struct outcome *outcome)
{
    char text[NODE_TEXT_SIZE];

    if (outcome->killed || outcome->result == MIG_E_BROKEN) {
        return;
    }
    node_text(&sweep->node, false, text);
    check_report(sweep, rules, outcome, text);
    if (strcmp(text, outcome->result == 0 ? sweep->new_text : sweep->old_text) != 0) {
        fail_sweep(sweep, rules, "the run left what it does not say", outcome, text);
    }
    if (!node_is_clean(&sweep->node)) {
        fail_sweep(sweep, rules, "the run ended, but its journal is there", outcome, text);
    }
}

/* After the next mig_apply_open with no faults. */
static void check_recovered(struct sweep *sweep, const char *rules, const struct outcome *before)
{
    struct outcome outcome;
    char text[NODE_TEXT_SIZE];
    bool is_old, is_new;

    node_clear_faults(&sweep->node);
    node_apply(&sweep->node, NULL, &sweep->options, &outcome);
    node_text(&sweep->node, false, text);
    is_old = strcmp(text, sweep->old_text) == 0;
    is_new = strcmp(text, sweep->new_text) == 0;
    if (outcome.result != 0 || (!is_old && !is_new)) {
        fail_sweep(sweep, rules, "a third state", &outcome, text);
    }
    if (!node_is_clean(&sweep->node)) {
        fail_sweep(sweep, rules, "recovered, but the journal is there", &outcome, text);
    }
    if ((outcome.open_report.recovery == MIG_RECOVERY_FINISHED && !is_new) ||
        (outcome.open_report.recovery == MIG_RECOVERY_RESTORED && !is_old)) {
        fail_sweep(sweep, rules, "the recovery left what it does not say", &outcome, text);
    }
    if (!before->killed && before->result != MIG_E_BROKEN &&
        outcome.open_report.recovery != MIG_RECOVERY_NONE) {
        fail_sweep(sweep, rules, "a run that had ended was recovered", &outcome, text);
    }
}

/* ---- one run with faults ---- */

static void run_with(struct sweep *sweep, const char *rule)
{
    struct outcome outcome;

    node_restore(&sweep->node);
    node_fault(&sweep->node, rule);
    node_apply(&sweep->node, sweep->scene->wish, &sweep->options, &outcome);
    check_run(sweep, rule, &outcome);
    check_recovered(sweep, rule, &outcome);
    sweep->run_count++;
}

/* Errors that a call may well give. */
static const char *const query_errors[] = {"NOT_SUPPORTED", "NOT_FOUND", "GPU_IS_LOST", "UNKNOWN"};
static const char *const change_errors[] = {
    "INVALID_ARGUMENT", "NOT_SUPPORTED", "NO_PERMISSION",          "NOT_FOUND",
    "TIMEOUT",          "GPU_IS_LOST",   "RESET_REQUIRED",         "IN_USE",
    "UNKNOWN",          "MEMORY",        "INSUFFICIENT_RESOURCES",
};

static bool is_change(const char *function)
{
    return strstr(function, "Create") || strstr(function, "Destroy") ||
           strstr(function, "SetMigMode");
}

static void fail_call(struct sweep *sweep, unsigned call)
{
    const char *function = emu_function_name(sweep->functions[call - 1]);
    bool change = is_change(function);
    const char *const *errors = change ? change_errors : query_errors;
    size_t count = change ? MIG_ARRAY_SIZE(change_errors) : MIG_ARRAY_SIZE(query_errors);
    char rule[RULE_SIZE];

    for (size_t i = 0; i < count; i++) {
        snprintf(rule, sizeof(rule), "* nth=%u before -> %s", call, errors[i]);
        run_with(sweep, rule);
        if (change) {
            snprintf(rule, sizeof(rule), "* nth=%u after -> %s", call, errors[i]);
            run_with(sweep, rule);
        }
    }
    snprintf(rule, sizeof(rule), "* nth=%u hits=0 -> %s", call, change ? "UNKNOWN" : "GPU_IS_LOST");
    run_with(sweep, rule);
}

static void kill_call(struct sweep *sweep, unsigned call)
{
    char rule[RULE_SIZE];

    snprintf(rule, sizeof(rule), "* nth=%u before -> KILL", call);
    run_with(sweep, rule);
    snprintf(rule, sizeof(rule), "* nth=%u after -> KILL", call);
    run_with(sweep, rule);
}

/* ---- the sweep ---- */

static void block_mode(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    (void)data;
    state->gpus[0].mode_blocked = NVML_ERROR_RESET_REQUIRED;
}

static const char *reset_command[] = {NULL, "--gpu-reset", "-i", "{bus_id}", NULL};

static void begin(struct sweep *sweep, const struct scene *scene)
{
    static struct emu_trace trace[CALL_MAX];
    struct outcome outcome;
    uint64_t first;

    *sweep = (struct sweep){.scene = scene, .options = {.reset_command = reset_command}};
    node_make(&sweep->node, scene->gpus, scene->mig);
    for (size_t i = 0; scene->instances[i].profile; i++) {
        const struct instance *instance = &scene->instances[i];

        node_add(&sweep->node, instance->gpu, instance->profile, instance->start, instance->cis);
    }
    if (scene->blocked) {
        node_change(&sweep->node, block_mode, NULL);
    }
    node_text(&sweep->node, false, sweep->old_text);
    node_save(&sweep->node);
    first = emu_call_count(sweep->node.machine) + 1;
    node_apply(&sweep->node, scene->wish, &sweep->options, &outcome);
    if (outcome.result != 0) {
        fail_msg("without faults: %s", outcome.error.message);
    }
    node_text(&sweep->node, false, sweep->new_text);
    assert_string_not_equal(sweep->old_text, sweep->new_text);
    sweep->call_count = emu_trace_read(sweep->node.machine, first, trace, CALL_MAX);
    assert_in_range(sweep->call_count, 10, CALL_MAX - 1);
    for (size_t i = 0; i < sweep->call_count; i++) {
        sweep->functions[i] = trace[i].function;
    }
}

static void end(struct sweep *sweep)
{
    print_message("# %s: %u calls, %u runs\n", sweep->scene->wish, (unsigned)sweep->call_count,
                  sweep->run_count);
    node_remove(&sweep->node);
}

static const struct scene scenes[] = {
    /* reshaping around an instance that stays */
    {"A30",
     true,
     {{0, "2g.12gb", 2, "2g.12gb"}, {0, "1g.6gb", 0, "1g.6gb"}, {0, "1g.6gb", 1, "1g.6gb"}},
     "0 2g.12gb=2",
     "DeviceCreateGpuInstanceWithPlacement nth=1 -> UNKNOWN",
     false},
    /* from nothing, on two GPUs; a GPU instance without a compute instance */
    {"A30*2",
     true,
     {{1, "2g.12gb", 0, ""}},
     "0 4g.24gb=1;1 2g.12gb=1 1g.6gb=1",
     "GpuInstanceCreateComputeInstance* nth=3 -> UNKNOWN",
     false},
    /* compute instances of a GPU instance that stays */
    {"A100-SXM4-40GB",
     true,
     {{0, "3g.20gb", 4, "3g.20gb"}},
     "0 1c.3g.20gb=2",
     "GpuInstanceCreateComputeInstance* nth=2 -> UNKNOWN",
     false},
    /* mode on and instances; mode off */
    {"A30",
     false,
     {{0}},
     "0 2g.12gb=1",
     "GpuInstanceCreateComputeInstance* nth=1 -> UNKNOWN",
     false},
    {"H100-SXM5-80GB",
     true,
     {{0, "7g.80gb", 0, "7g.80gb"}},
     "0 off",
     "DeviceSetMigMode nth=1 after -> UNKNOWN",
     false},
    /* mode on by a reset; the calls of the reset command count too */
    {"A30",
     false,
     {{0}},
     "0 4g.24gb=1",
     "GpuInstanceCreateComputeInstance* nth=1 -> UNKNOWN",
     true},
};

static void test_every_call_fails(void **state)
{
    static struct sweep sweep;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(scenes); i++) {
        begin(&sweep, &scenes[i]);
        for (unsigned call = 1; call <= sweep.call_count; call += STRIDE) {
            fail_call(&sweep, call);
        }
        end(&sweep);
    }
}

static void test_killed_at_every_call(void **state)
{
    static struct sweep sweep;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(scenes); i++) {
        begin(&sweep, &scenes[i]);
        for (unsigned call = 1; call <= sweep.call_count; call += STRIDE) {
            kill_call(&sweep, call);
        }
        end(&sweep);
    }
}

/* A run that fails, killed at call `call`; false when the run has no such call. */
static bool kill_failing(struct sweep *sweep, unsigned call)
{
    struct outcome outcome;
    char rule[RULE_SIZE];
    unsigned slot;
    bool hit;

    node_restore(&sweep->node);
    node_fault(&sweep->node, sweep->scene->failing);
    snprintf(rule, sizeof(rule), "* nth=%u %s -> KILL", call, call % 2 ? "before" : "after");
    slot = node_fault(&sweep->node, rule);
    node_apply(&sweep->node, sweep->scene->wish, &sweep->options, &outcome);
    hit = node_fault_hits(&sweep->node, slot) > 0;
    check_run(sweep, rule, &outcome);
    check_recovered(sweep, rule, &outcome);
    sweep->run_count++;
    return hit;
}

static void test_killed_while_undoing(void **state)
{
    static struct sweep sweep;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(scenes); i++) {
        unsigned call = 1;

        begin(&sweep, &scenes[i]);
        while (kill_failing(&sweep, call)) {
            call += STRIDE;
            assert_in_range(call, 1, CALL_MAX);
        }
        assert_in_range(call, sweep.call_count / 2, CALL_MAX);
        end(&sweep);
    }
}

/* A run that is killed half way, and its recovery disturbed; false when it has no such call. */
static bool disturb_recovery(struct sweep *sweep, unsigned call, const char *action)
{
    const char *failing = sweep->scene->failing;
    struct outcome outcome;
    char rule[RULE_SIZE];
    unsigned slot;
    bool hit;

    node_restore(&sweep->node);
    snprintf(rule, sizeof(rule), "%.*s-> KILL", (int)(strstr(failing, "->") - failing), failing);
    node_fault(&sweep->node, rule);
    node_apply(&sweep->node, sweep->scene->wish, &sweep->options, &outcome);
    assert_true(outcome.killed);
    node_clear_faults(&sweep->node);
    snprintf(rule, sizeof(rule), "* nth=%u %s", call, action);
    slot = node_fault(&sweep->node, rule);
    node_apply(&sweep->node, NULL, &sweep->options, &outcome);
    hit = node_fault_hits(&sweep->node, slot) > 0;
    /* however it ended: whether a second recovery is needed is not the question */
    outcome.killed = true;
    check_recovered(sweep, rule, &outcome);
    sweep->run_count++;
    return hit;
}

static void test_recovery_is_disturbed(void **state)
{
    static const char *const actions[] = {"before -> KILL", "after -> KILL", "-> UNKNOWN"};
    static struct sweep sweep;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(scenes); i++) {
        begin(&sweep, &scenes[i]);
        for (size_t j = 0; j < MIG_ARRAY_SIZE(actions); j++) {
            unsigned call = 1;

            while (disturb_recovery(&sweep, call, actions[j])) {
                call += STRIDE;
                assert_in_range(call, 1, CALL_MAX);
            }
        }
        end(&sweep);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_call_fails),
        cmocka_unit_test(test_killed_at_every_call),
        cmocka_unit_test(test_killed_while_undoing),
        cmocka_unit_test(test_recovery_is_disturbed),
    };

    reset_command[0] = getenv("NVIDIA_SMI");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
