/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of inventory and apply on emulated nodes: what is done, what is left alone, what is
 * refused, and what holds after a failure.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "gpu/journal.h"
#include "node.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("\"%s\" does not contain \"%s\"", text, part);
    }
}

static void assert_state(struct node *node, const char *expected)
{
    char text[NODE_TEXT_SIZE];

    assert_string_equal(node_text(node, false, text), expected);
}

static void assert_ok(const struct outcome *outcome)
{
    if (outcome->killed || outcome->result != 0) {
        fail_msg("result %d: %s (%s)", outcome->result, outcome->error.message,
                 outcome->error.holders);
    }
}

static void test_fresh_node(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    node_make(&node, "A30*2", true);
    node_apply(&node, "0 2g.12gb=1 1g.6gb=2;1 4g.24gb=1", NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.report.gi_created, 4);
    assert_int_equal(outcome.report.ci_created, 4);
    assert_int_equal(outcome.report.gi_destroyed, 0);
    assert_true(node_is_clean(&node));
    assert_state(&node, "0 on 0:2g.12gb[0:2g.12gb] 2:1g.6gb[0:1g.6gb] 3:1g.6gb[0:1g.6gb]\n"
                        "1 on 0:4g.24gb[0:4g.24gb]\n");
    node_remove(&node);
}

/* How often the driver was asked to create or destroy anything. */
static uint64_t change_calls(const struct node *node)
{
    static const char *const names[] = {
        "DeviceCreateGpuInstance",
        "DeviceCreateGpuInstanceWithPlacement",
        "GpuInstanceDestroy",
        "GpuInstanceCreateComputeInstance",
        "GpuInstanceCreateComputeInstanceWithPlacement",
        "ComputeInstanceDestroy",
        "DeviceSetMigMode",
    };
    uint64_t count = 0;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        int function = emu_function_find(names[i]);

        assert_true(function >= 0);
        count += emu_function_count(node->machine, (unsigned)function);
    }
    return count;
}

static void make_balanced(struct node *node)
{
    node_make(node, "A30*2", true);
    node_add(node, 0, "2g.12gb", 0, "2g.12gb");
    node_add(node, 0, "1g.6gb", 2, "1g.6gb");
    node_add(node, 0, "1g.6gb", 3, "1g.6gb");
    node_add(node, 1, "4g.24gb", 0, "4g.24gb");
}

#define BALANCED                                                        \
    "0 on 0:2g.12gb[0:2g.12gb] 2:1g.6gb[0:1g.6gb] 3:1g.6gb[0:1g.6gb]\n" \
    "1 on 0:4g.24gb[0:4g.24gb]\n"

static void test_no_op_does_nothing(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_apply(&node, "0 2g.12gb=1 1g.6gb=2;1 4g.24gb=1", NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.change_count, 0);
    assert_int_equal(change_calls(&node), 0);
    assert_true(node_is_clean(&node));
    assert_state(&node, BALANCED);
    node_remove(&node);
}

/* What is kept is not made again: ids and births stay. */
static void test_only_what_must_change_is_touched(void **state)
{
    char before[NODE_TEXT_SIZE], after[NODE_TEXT_SIZE];
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_use(&node, 0, 0, 4242);
    node_use(&node, 1, 0, 4243);
    node_text(&node, true, before);
    node_apply(&node, "0 2g.12gb=1 1g.6gb=1", NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.report.gi_destroyed, 1);
    assert_int_equal(outcome.report.gi_created, 0);
    node_text(&node, true, after);
    /* the text up to the first 1g is as it was: the 2g was not made again; so is GPU 1 */
    assert_memory_equal(before, after, (size_t)(strstr(before, " 2:1g") - before));
    assert_string_equal(strstr(before, "\n1 on"), strstr(after, "\n1 on"));
    assert_int_equal(change_calls(&node), 2);
    node_remove(&node);
}

static void use_meanwhile(struct node *node)
{
    node_use(node, 0, 2, 4242);
}

static void test_comes_into_use_meanwhile(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_apply_with(&node, "0 2g.12gb=2", NULL, use_meanwhile, &outcome);
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_contains(outcome.error.message, "came into use meanwhile");
    assert_string_equal(outcome.error.holders, "holder (pid 4242)");
    assert_int_equal(change_calls(&node), 0);
    assert_true(node_is_clean(&node));
    assert_state(&node, BALANCED);
    node_remove(&node);
}

static void destroy_all(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    (void)data;
    memset(state->gpus[0].gis, 0, sizeof(state->gpus[0].gis));
}

static void destroy_meanwhile(struct node *node)
{
    node_change(node, destroy_all, NULL);
}

static void test_changed_meanwhile(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_apply_with(&node, "0 2g.12gb=2", NULL, destroy_meanwhile, &outcome);
    assert_int_equal(outcome.result, MIG_E_FAILED);
    assert_contains(outcome.error.message, "changed meanwhile");
    assert_int_equal(change_calls(&node), 0);
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

static void test_failure_puts_back(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "DeviceCreateGpuInstanceWithPlacement nth=1 -> INSUFFICIENT_RESOURCES");
    node_apply(&node, "0 4g.24gb=1;1 2g.12gb=2", NULL, &outcome);
    assert_int_equal(outcome.result, MIG_E_FAILED);
    assert_contains(outcome.error.message, "could not create 4g.24gb at 0 on GPU 0");
    assert_contains(outcome.error.message, "Insufficient Resources");
    assert_contains(outcome.error.message, "the previous state is back");
    assert_true(outcome.report.rolled_back);
    assert_int_equal(outcome.report.gi_created, 0);
    assert_int_equal(outcome.report.gi_destroyed, 0);
    assert_true(node_is_clean(&node));
    assert_state(&node, BALANCED);
    node_remove(&node);
}

/* At the last moment before everything is read back: an instance is there again. */
static void remnant(const struct mig_apply_progress *progress, void *data)
{
    struct node *node = data;

    if (progress->stage == MIG_STAGE_VERIFY) {
        node_add(node, 0, "1g.6gb", 3, "1g.6gb");
    }
}

/* Success that is none: the driver says done, and an instance is still listed. */
static void test_what_is_read_back_decides(void **state)
{
    struct mig_apply_options options = {.progress = remnant};
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    options.progress_data = &node;
    node_apply(&node, "0 2g.12gb=1 1g.6gb=1", &options, &outcome);
    assert_int_equal(outcome.result, MIG_E_FAILED);
    assert_contains(outcome.error.message, "not as planned");
    assert_contains(outcome.error.message, "the previous state is back");
    assert_state(&node, BALANCED);
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

static void leak(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    const struct emu_holder *holder = data;

    (void)info;
    assert_true(emu_holder_add(state, holder) >= 0);
}

/* In use although no process is listed: the driver refuses, and that is told. */
static void test_leaked_user(void **state)
{
    struct emu_holder holder = {.kind = EMU_HOLDER_LEAKED, .gpu = 0, .gi = 5, .ci = EMU_ID_NONE};
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_change(&node, leak, &holder);
    node_apply(&node, "0 2g.12gb=2", NULL, &outcome);
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_contains(outcome.error.message, "In use by another client");
    assert_contains(outcome.error.hint, "no process is listed");
    assert_true(outcome.report.rolled_back);
    assert_state(&node, BALANCED);
    node_remove(&node);
}

static void test_destroy_waits_while_in_use(void **state)
{
    struct mig_apply_options options = {.busy_timeout_ms = 5000};
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "ComputeInstanceDestroy nth=1 hits=3 -> IN_USE");
    node_apply(&node, "0 2g.12gb=2", &options, &outcome);
    assert_ok(&outcome);
    assert_state(&node, "0 on 0:2g.12gb[0:2g.12gb] 2:2g.12gb[0:2g.12gb]\n"
                        "1 on 0:4g.24gb[0:4g.24gb]\n");
    node_remove(&node);
}

static void test_gi_without_ci_is_repaired(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    node_add(&node, 0, "2g.12gb", 2, "");
    node_apply(&node, "0 2g.12gb=1", NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.report.gi_created, 0);
    assert_int_equal(outcome.report.ci_created, 1);
    assert_state(&node, "0 on 2:2g.12gb[0:2g.12gb]\n");
    node_remove(&node);
}

static void test_compute_instances_of_a_kept_gi(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    node_make(&node, "A100-SXM4-40GB", true);
    node_add(&node, 0, "3g.20gb", 4, "3g.20gb");
    node_apply(&node, "0 1c.3g.20gb=1 2c.3g.20gb=1 1g.5gb=1", NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.report.gi_destroyed, 0);
    assert_int_equal(outcome.report.ci_destroyed, 1);
    assert_int_equal(outcome.report.gi_created, 1);
    node_remove(&node);
}

/* ---- modes ---- */

static void test_mode_on_and_instances(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    node_make(&node, "A30 H100-SXM5-80GB", false);
    node_apply(&node, "0 4g.24gb=1;1 7g.80gb=1", NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.report.mode_changed, 2);
    assert_state(&node, "0 on 0:4g.24gb[0:4g.24gb]\n1 on 0:7g.80gb[0:7g.80gb]\n");
    node_apply(&node, "0 off;1 off", NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.report.mode_changed, 2);
    assert_state(&node, "0 off\n1 off\n");
    node_remove(&node);
}

static const char *reset_command[] = {NULL, "--gpu-reset", "-i", "{bus_id}", NULL};

/* The driver cannot reset the GPU by itself (as in a virtual machine). */
static void block_mode(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    (void)data;
    state->gpus[1].mode_blocked = NVML_ERROR_RESET_REQUIRED;
}

static void make_blocked(struct node *node)
{
    node_make(node, "A30*2", false);
    node_apply(node, "0 2g.12gb=2", NULL, &(struct outcome){0});
    node_use(node, 0, 0, 4242);
    node_change(node, block_mode, NULL);
}

#define BLOCKED_GPU_0 "0 on 0:2g.12gb[0:2g.12gb] 2:2g.12gb[0:2g.12gb]\n"

static void test_only_the_pending_gpu_is_reset(void **state)
{
    struct mig_apply_options options = {.reset_command = reset_command};
    struct outcome outcome;
    struct node node;

    (void)state;
    make_blocked(&node);
    node_apply(&node, "1 4g.24gb=1", &options, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.report.reset_count, 1);
    assert_state(&node, BLOCKED_GPU_0 "1 on 0:4g.24gb[0:4g.24gb]\n");
    node_remove(&node);
}

static void test_failed_reset_takes_the_mode_back(void **state)
{
    static const char *const command[] = {"sh", "-c", "echo GPU {bus_id} is cursed; exit 3", NULL};
    struct mig_apply_options options = {.reset_command = command};
    struct outcome outcome;
    struct node node;

    (void)state;
    make_blocked(&node);
    node_apply(&node, "1 4g.24gb=1", &options, &outcome);
    assert_int_equal(outcome.result, MIG_E_FAILED);
    assert_int_equal(outcome.error.domain, MIG_DOMAIN_EXIT);
    assert_contains(outcome.error.message, "ended with status 3: GPU 00000000:0F:00.0 is cursed");
    assert_state(&node, BLOCKED_GPU_0 "1 off\n");
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

static void test_missing_reset_command_is_the_reason(void **state)
{
    static const char *const command[] = {"/nonexistent", NULL};
    struct mig_apply_options options = {.reset_command = command};
    struct outcome outcome;
    struct node node;

    (void)state;
    make_blocked(&node);
    node_apply(&node, "1 4g.24gb=1", &options, &outcome);
    assert_int_equal(outcome.result, MIG_E_FAILED);
    assert_contains(outcome.error.message, "could not run '/nonexistent'");
    assert_string_equal(outcome.error.hint, "configure the command that resets a GPU");
    node_remove(&node);
}

static void test_skip_reset_leaves_the_mode_pending(void **state)
{
    struct mig_apply_options options = {.skip_reset = true};
    struct outcome outcome;
    struct node node;

    (void)state;
    make_blocked(&node);
    node_apply(&node, "1 on", &options, &outcome);
    assert_ok(&outcome);
    assert_true(outcome.report.mode_pending);
    assert_state(&node, BLOCKED_GPU_0 "1 off (pending)\n");
    node_apply(&node, "1 4g.24gb=1", &options, &outcome);
    assert_int_equal(outcome.result, MIG_E_FAILED);
    assert_contains(outcome.error.message, "stays pending until a reset");
    assert_state(&node, BLOCKED_GPU_0 "1 off (pending)\n");
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

static void test_kernel_client_stops_a_mode_change(void **state)
{
    struct emu_holder holder = {.kind = EMU_HOLDER_CLIENT,
                                .gpu = 0,
                                .gi = EMU_ID_NONE,
                                .ci = EMU_ID_NONE,
                                .name = "nvidia_drm"};
    struct outcome outcome;
    struct node node;

    (void)state;
    node_make(&node, "A30", false);
    node_change(&node, leak, &holder);
    node_apply(&node, "0 4g.24gb=1", NULL, &outcome);
    assert_int_equal(outcome.result, MIG_E_BUSY);
    assert_contains(outcome.error.message, "could not switch MIG mode of GPU 0 on");
    assert_contains(outcome.error.hint, "nvidia_drm");
    assert_state(&node, "0 off\n");
    node_remove(&node);
}

/* ---- interrupted runs ---- */

static void test_killed_run_is_undone(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "DeviceCreateGpuInstanceWithPlacement nth=1 after -> KILL");
    node_apply(&node, "0 4g.24gb=1", NULL, &outcome);
    assert_true(outcome.killed);
    assert_false(node_is_clean(&node));
    assert_state(&node, "0 on 0:4g.24gb\n1 on 0:4g.24gb[0:4g.24gb]\n");
    node_clear_faults(&node);
    node_apply(&node, NULL, NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.open_report.recovery, MIG_RECOVERY_RESTORED);
    assert_contains(outcome.open_report.recovery_text, "was undone after step 6 of 8");
    assert_true(node_is_clean(&node));
    assert_state(&node, BALANCED);
    node_remove(&node);
}

static void test_killed_after_the_last_step_is_finished(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "GpuInstanceCreateComputeInstance* nth=1 after -> KILL");
    node_apply(&node, "0 4g.24gb=1", NULL, &outcome);
    assert_true(outcome.killed);
    node_clear_faults(&node);
    node_apply(&node, NULL, NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.open_report.recovery, MIG_RECOVERY_FINISHED);
    assert_true(node_is_clean(&node));
    assert_state(&node, "0 on 0:4g.24gb[0:4g.24gb]\n1 on 0:4g.24gb[0:4g.24gb]\n");
    node_remove(&node);
}

/* The driver hangs in the middle: the run gives up and says where; the next one recovers. */
static void test_hung_run(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node.deadline_ms = 200;
    node_fault(&node, "DeviceCreateGpuInstanceWithPlacement nth=1 delay=60000");
    node_apply(&node, "0 4g.24gb=1", NULL, &outcome);
    assert_int_equal(outcome.result, MIG_E_BROKEN);
    assert_contains(outcome.error.message,
                    "did not answer nvmlDeviceCreateGpuInstanceWithPlacement for GPU 0 within 200");
    assert_false(node_is_clean(&node));
    node_clear_faults(&node);
    node_apply(&node, NULL, NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.open_report.recovery, MIG_RECOVERY_RESTORED);
    assert_state(&node, BALANCED);
    node_remove(&node);
}

/* What somebody else made meanwhile is left alone, although it is in the way of the old state. */
static void test_strangers_are_left_alone(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "DeviceCreateGpuInstanceWithPlacement nth=1 before -> KILL");
    node_apply(&node, "0 4g.24gb=1", NULL, &outcome);
    assert_true(outcome.killed);
    node_clear_faults(&node);
    node_add(&node, 0, "1g.6gb", 1, "1g.6gb");
    for (unsigned i = 0; i < 3; i++) {
        node_apply(&node, NULL, NULL, &outcome);
        assert_int_equal(outcome.result, MIG_E_BROKEN);
        assert_contains(outcome.error.message, "could not be undone");
        assert_contains(outcome.error.message, "1g.6gb at 1");
    }
    node_apply(&node, NULL, NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.open_report.recovery, MIG_RECOVERY_OBSOLETE);
    assert_contains(outcome.open_report.recovery_text, "journal.failed");
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

/* Replaces a text in the journal by one of the same length. */
static void edit_journal(const struct node *node, const char *from, char to)
{
    MIG_AUTO_FREE char *text = NULL;
    struct mig_error error;
    char path[128];
    size_t size;
    char *place;

    snprintf(path, sizeof(path), "%s/journal", node->state_dir);
    assert_int_equal(mig_file_read(path, 1 << 20, &text, &size, &error), 0);
    place = strstr(text, from);
    assert_non_null(place);
    place[strlen(from) - 1] = to;
    assert_int_equal(mig_file_write_atomic(path, text, size, 0600, &error), 0);
}

static void test_damaged_journal_is_set_aside(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "DeviceCreateGpuInstanceWithPlacement nth=1 before -> KILL");
    node_apply(&node, "0 4g.24gb=1", NULL, &outcome);
    edit_journal(&node, "\nold 1@", '!');
    node_clear_faults(&node);
    node_apply(&node, NULL, NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.open_report.recovery, MIG_RECOVERY_OBSOLETE);
    assert_contains(outcome.open_report.recovery_text, "journal.damaged");
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

/* Writes the journal anew as one of another boot. */
static void age_journal(const struct node *node)
{
    MIG_AUTO_FREE char *text = NULL;
    MIG_AUTO_FREE struct mig_journal *journal = malloc(sizeof(*journal));
    struct mig_journal_file file = {.fd = -1};
    struct mig_error error;
    char path[128];
    size_t size;

    assert_non_null(journal);
    snprintf(path, sizeof(path), "%s/journal", node->state_dir);
    assert_int_equal(mig_file_read(path, MIG_JOURNAL_BYTES_MAX, &text, &size, &error), 0);
    assert_int_equal(mig_journal_parse(path, text, size, journal, &error), 0);
    snprintf(journal->boot_id, sizeof(journal->boot_id), "an-earlier-boot");
    assert_int_equal(mig_journal_create(path, journal, &file, &error), 0);
    mig_journal_close(&file);
}

static void test_journal_of_another_boot(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "DeviceCreateGpuInstanceWithPlacement nth=1 before -> KILL");
    node_apply(&node, "0 4g.24gb=1", NULL, &outcome);
    age_journal(&node);
    node_clear_faults(&node);
    node_apply(&node, NULL, NULL, &outcome);
    assert_ok(&outcome);
    assert_int_equal(outcome.open_report.recovery, MIG_RECOVERY_OBSOLETE);
    assert_contains(outcome.open_report.recovery_text, "interrupted by a reboot");
    assert_true(node_is_clean(&node));
    assert_state(&node, "0 on\n1 on 0:4g.24gb[0:4g.24gb]\n");
    node_remove(&node);
}

/* ---- two at once ---- */

static struct mig_apply_options hold_options;

static void try_beside(struct node *node)
{
    struct mig_apply_options options = {.lock_timeout_ms = hold_options.lock_timeout_ms};
    struct outcome outcome;
    char holder[64];

    snprintf(holder, sizeof(holder), "(pid %ld)", (long)getpid());
    node_apply(node, "0 2g.12gb=2", &options, &outcome);
    if (outcome.result != MIG_E_BUSY || !strstr(outcome.error.holders, holder)) {
        fprintf(stderr, "# %d %s\n", outcome.result, outcome.error.holders);
        abort();
    }
}

static void test_two_at_once(void **state)
{
    struct outcome outcome;
    struct node node;

    (void)state;
#if defined(__SANITIZE_THREAD__)
    return; /* it forks while there are threads, which that sanitizer cannot follow */
#endif
    make_balanced(&node);
    node_apply_with(&node, "0 4g.24gb=1", NULL, try_beside, &outcome);
    assert_ok(&outcome);
    hold_options.lock_timeout_ms = 50;
    node_apply_with(&node, "0 2g.12gb=2", NULL, try_beside, &outcome);
    assert_ok(&outcome);
    node_remove(&node);
}

/* The second waits for the first, whichever that is, and then finds nothing to do. */
static void test_the_second_waits(void **state)
{
    struct mig_apply_options options = {.lock_timeout_ms = 20000};
    struct outcome outcome;
    struct node node;
    int status;
    pid_t pid;

    (void)state;
    make_balanced(&node);
    node_fault(&node, "DeviceCreateGpuInstanceWithPlacement delay=300");
    pid = fork();
    if (pid == 0) {
        node_apply(&node, "0 4g.24gb=1", &options, &outcome);
        _exit(outcome.result == 0 ? 0 : 1);
    }
    node_apply(&node, "0 4g.24gb=1", &options, &outcome);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_ok(&outcome);
    assert_true(node_is_clean(&node));
    assert_state(&node, "0 on 0:4g.24gb[0:4g.24gb]\n1 on 0:4g.24gb[0:4g.24gb]\n");
    node_remove(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh_node),
        cmocka_unit_test(test_no_op_does_nothing),
        cmocka_unit_test(test_only_what_must_change_is_touched),
        cmocka_unit_test(test_comes_into_use_meanwhile),
        cmocka_unit_test(test_changed_meanwhile),
        cmocka_unit_test(test_failure_puts_back),
        cmocka_unit_test(test_what_is_read_back_decides),
        cmocka_unit_test(test_leaked_user),
        cmocka_unit_test(test_destroy_waits_while_in_use),
        cmocka_unit_test(test_gi_without_ci_is_repaired),
        cmocka_unit_test(test_compute_instances_of_a_kept_gi),
        cmocka_unit_test(test_mode_on_and_instances),
        cmocka_unit_test(test_only_the_pending_gpu_is_reset),
        cmocka_unit_test(test_failed_reset_takes_the_mode_back),
        cmocka_unit_test(test_missing_reset_command_is_the_reason),
        cmocka_unit_test(test_skip_reset_leaves_the_mode_pending),
        cmocka_unit_test(test_kernel_client_stops_a_mode_change),
        cmocka_unit_test(test_killed_run_is_undone),
        cmocka_unit_test(test_killed_after_the_last_step_is_finished),
        cmocka_unit_test(test_hung_run),
        cmocka_unit_test(test_strangers_are_left_alone),
        cmocka_unit_test(test_damaged_journal_is_set_aside),
        cmocka_unit_test(test_journal_of_another_boot),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_the_second_waits),
    };

    reset_command[0] = getenv("NVIDIA_SMI");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
