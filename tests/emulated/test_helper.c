/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of migd, real ones, on emulated nodes: what the helper answers and notices, and
 * what is left when it is killed, hangs, loses its driver or its agent.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "helper_agent.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SLICES_4 \
    "0 on 0:1g.6gb[0:1g.6gb] 1:1g.6gb[0:1g.6gb] 2:1g.6gb[0:1g.6gb] 3:1g.6gb[0:1g.6gb]\n"

static const struct mig_helper_options defaults;

static void assert_text(struct node *node, const char *expected)
{
    char text[NODE_TEXT_SIZE];

    assert_string_equal(node_text(node, false, text), expected);
}

/* ---- reading and applying ---- */

static void scene_read(struct agent *agent)
{
    struct mig_helper_status status;

    agent_wait(agent, &agent->changed_count, 1);
    AGENT_CHECK(agent->seen->gpu_count == 2 && agent->seen->gpus[1].layout.gi_count == 1);
    AGENT_CHECK(agent->seen->generation == 1);
    AGENT_CHECK(agent_read(agent) == 0 && agent->seen->generation == 2);
    AGENT_CHECK(strcmp(agent->seen->gpus[1].layout.model->name, "NVIDIA A30") == 0);
    AGENT_CHECK(agent->seen->gpus[0].layout.model == agent->seen->gpus[1].layout.model);
    mig_helper_get_status(agent->helper, &status);
    AGENT_CHECK(status.pid > 0 && status.pid != getpid() && status.pid != getppid());
    AGENT_CHECK(status.start_count == 1 && status.waiting_count == 0);
    AGENT_CHECK(agent->lost_count == 0 && agent->changed_count == 1);
}

static void test_read(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30*2", true);
    node_add(&node, 1, "2g.12gb", 2, "2g.12gb");
    assert_int_equal(agent_play(&node, &defaults, scene_read), 0);
    node_remove(&node);
}

static void scene_apply(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0);
    AGENT_CHECK(agent->report.gi_created == 4 && agent->seen->gpus[0].layout.gi_count == 4);
    AGENT_CHECK(agent->progress_count >= 4);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0 && agent->report.gi_created == 0);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*9") == MIG_E_NO_FIT && agent->seen != NULL);
    agent_turn(agent, 500);
    AGENT_CHECK(agent->changed_count == 1); /* nobody else changed it */
}

static void test_apply(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_apply), 0);
    assert_text(&node, SLICES_4);
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

/* From MIG off: the mode needs a reset, for which the helper lets go of the driver. */
static void scene_mode(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0 && agent->report.mode_changed == 1);
    AGENT_CHECK(agent_apply(agent, "off") == 0 && !agent->seen->gpus[0].mig_mode);
    AGENT_CHECK(agent->changed_count == 1 && agent->lost_count == 0);
}

static void switch_on(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    (void)data;
    state->gpus[0].mode = state->gpus[0].mode_pending = 1;
}

static void scene_mode_and_drift(struct agent *agent)
{
    scene_mode(agent);
    node_change(agent->node, switch_on, NULL);
    agent_wait(agent, &agent->changed_count, 2);
    AGENT_CHECK(agent->seen->gpus[0].mig_mode);
}

static void test_mode(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", false);
    assert_int_equal(agent_play(&node, &defaults, scene_mode_and_drift), 0);
    node_remove(&node);
}

/* ---- what others do ---- */

static void scene_drift(struct agent *agent)
{
    uint64_t begin_ms;

    agent_wait(agent, &agent->changed_count, 1);
    agent_turn(agent, 300);
    AGENT_CHECK(agent->changed_count == 1);
    begin_ms = mig_now_ms();
    node_add(agent->node, 0, "2g.12gb", 0, ""); /* nobody can use it, but its place is taken */
    agent_wait(agent, &agent->changed_count, 2);
    AGENT_CHECK(mig_now_ms() - begin_ms < 10000);
    AGENT_CHECK(agent->seen->gpus[0].layout.gi_count == 1);
    node_add(agent->node, 0, "1g.6gb", 2, "1g.6gb");
    agent_wait(agent, &agent->changed_count, 3);
    /* who uses it is not the geometry */
    node_use(agent->node, 0, 2, 4242);
    agent_turn(agent, 800);
    AGENT_CHECK(agent->changed_count == 3);
    AGENT_CHECK(agent_read(agent) == 0 && agent->seen->gpus[0].layout.gis[1].in_use);
}

static void test_drift(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_drift), 0);
    node_remove(&node);
    /* and without the driver's events */
    node_make(&node, "A30", true);
    node_fault(&node, "DeviceGetSupportedEventTypes -> NOT_SUPPORTED");
    assert_int_equal(agent_play(&node, &defaults, scene_drift), 0);
    node_remove(&node);
    node_make(&node, "A30", true);
    node_fault(&node, "EventSetWait_v2 nth=4 -> UNKNOWN");
    assert_int_equal(agent_play(&node, &defaults, scene_drift), 0);
    node_remove(&node);
}

static void let_xid_happen(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    emu_xid(state, 0, 3, 0, *(const unsigned *)data);
}

static void xid(struct node *node, unsigned number)
{
    struct emu_event event = {
        .gpu = 0, .gi = 3, .ci = 0, .type = nvmlEventTypeXidCriticalError, .data = number};

    node_change(node, let_xid_happen, &number);
    emu_event_post(node->machine, &event);
}

static void scene_xid(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    agent_turn(agent, 300);
    xid(agent->node, 94);
    agent_wait(agent, &agent->xid_count, 1);
    AGENT_CHECK(agent->xid.xid == 94 && agent->xid.gi_id == 3 && agent->xid.ci_id == 0);
    AGENT_CHECK(strcmp(agent->xid.gpu_uuid, agent->seen->gpus[0].uuid) == 0);
    /* the GPU is lost: it stays in the node, with its problem */
    xid(agent->node, 79);
    agent_wait(agent, &agent->xid_count, 2);
    agent_wait(agent, &agent->changed_count, 2);
    AGENT_CHECK(agent->seen->gpus[0].problem[0] != '\0');
    AGENT_CHECK(agent->seen->gpus[1].problem[0] == '\0');
    AGENT_CHECK(agent->lost_count == 0);
}

static void set_recovery(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    state->gpus[1].recovery_action = *(const uint8_t *)data;
}

static void scene_recovery(struct agent *agent)
{
    struct emu_event event = {
        .gpu = 1, .gi = EMU_ID_NONE, .ci = EMU_ID_NONE, .type = nvmlEventTypeGpuRecoveryAction};
    uint8_t action = NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET;

    /* at first of both, that there is nothing */
    agent_wait(agent, &agent->recovery_count, 2);
    AGENT_CHECK(agent->recovery.action == NVML_GPU_RECOVERY_ACTION_NONE);
    agent_wait(agent, &agent->changed_count, 1);
    node_change(agent->node, set_recovery, &action);
    event.data = action;
    emu_event_post(agent->node->machine, &event);
    agent_wait(agent, &agent->recovery_count, 3);
    AGENT_CHECK(agent->recovery.action == action);
    AGENT_CHECK(strcmp(agent->recovery.gpu_uuid, agent->seen->gpus[1].uuid) == 0);
    /* an event that tells nothing new */
    emu_event_post(agent->node->machine, &event);
    agent_turn(agent, 300);
    AGENT_CHECK(agent->recovery_count == 3);
    /* withdrawn without an event, as a reset does it */
    action = NVML_GPU_RECOVERY_ACTION_NONE;
    node_change(agent->node, set_recovery, &action);
    agent_wait(agent, &agent->recovery_count, 4);
    AGENT_CHECK(agent->recovery.action == NVML_GPU_RECOVERY_ACTION_NONE);
}

static void test_H5_recovery(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30*2", true);
    assert_int_equal(agent_play(&node, &defaults, scene_recovery), 0);
    node_remove(&node);
    /* with the field and without the event */
    node_make(&node, "A30*2", true);
    node_fault(&node, "EventSetCreate -> NOT_SUPPORTED");
    assert_int_equal(agent_play(&node, &defaults, scene_recovery), 0);
    node_remove(&node);
}

static void test_xid(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30*2", true);
    node_add(&node, 0, "1g.6gb", 0, "1g.6gb");
    assert_int_equal(agent_play(&node, &defaults, scene_xid), 0);
    node_remove(&node);
}

/* ---- a driver that comes and goes ---- */

static void scene_no_driver(struct agent *agent)
{
    agent_wait(agent, &agent->unreadable_count, 1);
    AGENT_CHECK(strstr(agent->told.message, "Driver Not Loaded") && agent->told.hint[0] != '\0');
    AGENT_CHECK(agent_read(agent) == MIG_E_FAILED);
    agent_turn(agent, 700);
    AGENT_CHECK(agent->unreadable_count == 1); /* said once */
    node_clear_faults(agent->node);
    agent_wait(agent, &agent->changed_count, 1);
    AGENT_CHECK(agent->seen->gpu_count == 1 && agent->lost_count == 0);
    /* it goes while it is open, and comes back */
    node_fault(agent->node, "Device* -> UNINITIALIZED");
    agent_wait(agent, &agent->unreadable_count, 2);
    node_clear_faults(agent->node);
    agent_wait(agent, &agent->changed_count, 2);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0);
}

static void test_no_driver(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    node_fault(&node, "Init* -> DRIVER_NOT_LOADED");
    assert_int_equal(agent_play(&node, &defaults, scene_no_driver), 0);
    assert_text(&node, SLICES_4);
    node_remove(&node);
}

/* ---- a driver that hangs ---- */

static void scene_hang(struct agent *agent)
{
    pid_t first;

    agent_wait(agent, &agent->changed_count, 1);
    first = agent_helper_pid(agent);
    node_fault(agent->node, "DeviceGetMemoryInfo hits=1 delay=600000");
    AGENT_CHECK(agent_read(agent) == MIG_E_FAILED);
    AGENT_CHECK(strstr(agent->error.message, "did not answer nvmlDeviceGetMemoryInfo"));
    agent_wait(agent, &agent->lost_count, 1);
    agent_wait(agent, &agent->changed_count, 2); /* of the next one */
    AGENT_CHECK(agent_helper_pid(agent) != first && agent_helper_pid(agent) > 0);
    AGENT_CHECK(strstr(agent->said, "the driver hangs"));
    /* while nobody asked */
    node_fault(agent->node, "DeviceGetCount_v2 hits=1 delay=600000");
    agent_wait(agent, &agent->unreadable_count, 1);
    agent_wait(agent, &agent->lost_count, 2);
    agent_wait(agent, &agent->changed_count, 3);
    /* in the middle of a change: it is undone or finished by the next one */
    node_fault(agent->node, "GpuInstanceCreateComputeInstance* nth=2 delay=600000");
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") != MIG_OK);
    agent_wait(agent, &agent->lost_count, 3);
    agent_wait(agent, &agent->changed_count, 4);
    AGENT_CHECK(strstr(agent->said, "an interrupted change was dealt with"));
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0);
}

static void test_hang(void **state)
{
    struct mig_helper_options options = {.deadline_ms = 400};
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &options, scene_hang), 0);
    assert_text(&node, SLICES_4);
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

/* The helper itself does not come back: stopped, it takes no message and ends by SIGKILL alone. */
static void scene_stopped(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    (void)kill(agent_helper_pid(agent), SIGSTOP);
    agent_begin_apply(agent, "1g.6gb*4", 500);
    agent_wait(agent, &agent->done_count, 1);
    AGENT_CHECK(agent->result == MIG_E_FAILED && agent->lost_count == 1);
    AGENT_CHECK(strstr(agent->error.message, "did not answer 'apply' within 500 ms"));
    agent_wait(agent, &agent->changed_count, 2);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0);
}

static void test_stopped(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_stopped), 0);
    node_remove(&node);
}

/* ---- a driver that hangs for good ---- */

#define LEFT_MAX 4 /* as in supervisor.c */

/* A process whose tracer does not look is not gone when it was killed: as one that hangs in the
 * kernel. Returns the tracer; 0 when that is not allowed here. */
static pid_t hold(pid_t pid)
{
    char byte = 0;
    int ends[2];
    pid_t tracer;

    if (pipe(ends) < 0) {
        return 0;
    }
    tracer = fork();
    if (tracer == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        byte = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
        (void)!write(ends[1], &byte, 1);
        for (;;) {
            (void)pause();
        }
    }
    (void)!read(ends[0], &byte, 1);
    close(ends[0]);
    close(ends[1]);
    if (!byte && tracer > 0) {
        (void)kill(tracer, SIGKILL);
        (void)waitpid(tracer, NULL, 0);
    }
    return byte ? tracer : 0;
}

static void let_go(pid_t tracer)
{
    (void)kill(tracer, SIGKILL);
    (void)waitpid(tracer, NULL, 0);
}

static void scene_left_behind(struct agent *agent)
{
    pid_t tracers[LEFT_MAX];
    struct mig_helper_status status;

    for (unsigned i = 0; i < LEFT_MAX; i++) {
        pid_t pid;

        agent_wait(agent, &agent->changed_count, i + 1);
        pid = agent_helper_pid(agent);
        tracers[i] = hold(pid);
        AGENT_CHECK(tracers[i] > 0);
        (void)kill(pid, SIGKILL);
        agent_wait(agent, &agent->lost_count, i + 1);
    }
    /* no more of them: each keeps its memory */
    agent_turn(agent, 8000);
    mig_helper_get_status(agent->helper, &status);
    AGENT_CHECK(status.start_count == LEFT_MAX && status.pid == 0);
    AGENT_CHECK(strstr(agent->said, "cannot be ended: 4; no other is started"));
    /* the driver answers again: one has ended, and the next is started */
    let_go(tracers[2]);
    agent_wait(agent, &agent->changed_count, LEFT_MAX + 1);
    AGENT_CHECK(agent_read(agent) == 0);
    for (unsigned i = 0; i < LEFT_MAX; i++) {
        if (i != 2) {
            let_go(tracers[i]);
        }
    }
}

static void test_left_behind(void **state)
{
    struct node node;
    pid_t pid = fork(), tracer;

    (void)state;
    if (pid == 0) {
        (void)pause();
        _exit(0);
    }
    tracer = hold(pid);
    (void)kill(pid, SIGKILL);
    if (tracer > 0) {
        let_go(tracer);
    }
    (void)waitpid(pid, NULL, 0);
    if (tracer == 0) {
        skip(); /* no tracing here */
    }
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_left_behind), 0);
    node_remove(&node);
}

/* ---- kill -9 ---- */

/* The helper is killed at whatever it says next, over and over, while changes are asked for. */
static void scene_killed_at_messages(struct agent *agent)
{
    unsigned kills = 0, tries = 0;

    agent_wait(agent, &agent->changed_count, 1);
    while (kills < 12 && tries++ < 60) {
        unsigned done = agent->done_count, lost = agent->lost_count;

        agent_begin_apply(agent, tries % 2 ? "1g.6gb*4" : "2g.12gb*2", 0);
        agent_turn(agent, tries % 3);
        agent->kill_on_next = agent_helper_pid(agent);
        agent_wait(agent, &agent->done_count, done + 1);
        agent->kill_on_next = 0;
        agent_turn(agent, 50);
        kills += agent->lost_count - lost;
        AGENT_CHECK(agent->lost_count - lost <= 1);
        AGENT_CHECK(agent_read(agent) == 0);
    }
    AGENT_CHECK(kills >= 3);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0);
}

static void test_killed_at_messages(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_killed_at_messages), 0);
    assert_text(&node, SLICES_4);
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

/* Killed in the nth call that changes something: what was there, or what was wanted, in full. */
static void scene_killed_in_calls(struct agent *agent)
{
    static const char *const calls[] = {"ComputeInstanceDestroy", "GpuInstanceDestroy",
                                        "DeviceCreateGpuInstance*",
                                        "GpuInstanceCreateComputeInstance*"};
    char rule[96];

    agent_wait(agent, &agent->changed_count, 1);
    for (unsigned i = 0; i < MIG_ARRAY_SIZE(calls); i++) {
        for (unsigned after = 0; after < 2; after++) {
            unsigned lost = agent->lost_count, gi_count;

            AGENT_CHECK(agent_apply(agent, "2g.12gb*2") == 0);
            (void)snprintf(rule, sizeof(rule), "%s nth=2 %s -> KILL", calls[i],
                           after ? "after" : "before");
            node_fault(agent->node, rule);
            AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == MIG_E_FAILED);
            AGENT_CHECK(strstr(agent->error.message, "ended while it was asked for: apply"));
            AGENT_CHECK(agent->lost_count == lost + 1);
            node_clear_faults(agent->node);
            AGENT_CHECK(agent_read(agent) == 0);
            gi_count = agent->seen->gpus[0].layout.gi_count;
            AGENT_CHECK(gi_count == 2 || gi_count == 4);
        }
    }
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0);
}

static void test_killed_in_calls(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_killed_in_calls), 0);
    assert_text(&node, SLICES_4);
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

/* The agent ends in the middle of a change: the helper brings it to its end. */
static void scene_agent_ends(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    node_fault(agent->node, "DeviceCreateGpuInstance* delay=200");
    agent_begin_apply(agent, "1g.6gb*4", 0);
    agent_wait(agent, &agent->progress_count, 1);
    _exit(7);
}

static void scene_agent_killed(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    (void)kill(getpid(), SIGKILL);
}

static void test_agent_ends(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_agent_ends), 7);
    assert_text(&node, SLICES_4);
    assert_true(node_is_clean(&node));
    assert_int_equal(agent_play(&node, &defaults, scene_agent_killed), 128 + SIGKILL);
    node_remove(&node);
}

static void on_term(int number)
{
    _exit(number == SIGTERM ? 9 : 1);
}

static void scene_term(struct agent *agent)
{
    struct sigaction action = {.sa_handler = on_term};

    agent_wait(agent, &agent->changed_count, 1);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)kill(getppid(), SIGTERM);
    agent_turn(agent, AGENT_WAIT_MS);
}

/* The supervisor is killed: nothing of it stays. */
static void scene_orphan(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    (void)kill(getppid(), SIGKILL);
    agent_turn(agent, AGENT_WAIT_MS);
}

static void test_signals(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_term), 9);
    assert_int_equal(agent_play(&node, &defaults, scene_orphan), 128 + SIGKILL);
    node_remove(&node);
}

/* ---- privileges ---- */

static uint64_t capabilities_of(pid_t pid, const char *set)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[64];
    size_t size = 0;
    const char *line;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    AGENT_CHECK(mig_file_read(path, 1 << 16, &text, &size, NULL) == 0);
    line = strstr(text, set);
    AGENT_CHECK(line);
    return strtoull(line + strlen(set), NULL, 16);
}

static void scene_privileges(struct agent *agent)
{
    uint64_t allowed = 0;
    struct mig_error error = {0};
    struct mig_helper_status status;

    AGENT_CHECK(mig_helper_drop_privileges(65534, 65534, &error) == 0);
    AGENT_CHECK(getuid() == 65534 && geteuid() == 65534 && getgid() == 65534);
    AGENT_CHECK(setuid(0) < 0 && seteuid(0) < 0 && setgid(0) < 0);
    AGENT_CHECK(capabilities_of(getpid(), "CapPrm:") == 0);
    AGENT_CHECK(capabilities_of(getpid(), "CapBnd:") == 0);
    AGENT_CHECK(capabilities_of(getpid(), "NoNewPrivs:") == 1);
    agent_wait(agent, &agent->changed_count, 1);
    /* SYS_ADMIN, DAC_OVERRIDE, FOWNER, CHOWN, MKNOD, SYS_CHROOT, KILL, SETUID, SETGID */
    allowed = 1ull << 21 | 1u << 1 | 1u << 3 | 1u << 0 | 1u << 27 | 1u << 18 | 1u << 5 | 1u << 7 |
              1u << 6;
    AGENT_CHECK((capabilities_of(agent_helper_pid(agent), "CapEff:") & ~allowed) == 0);
    AGENT_CHECK((capabilities_of(agent_helper_pid(agent), "CapBnd:") & ~allowed) == 0);
    AGENT_CHECK(capabilities_of(agent_helper_pid(agent), "NoNewPrivs:") == 1);
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == 0);
    /* it can be replaced all the same */
    mig_helper_get_status(agent->helper, &status);
    AGENT_CHECK(kill(status.pid, SIGKILL) < 0 && errno == EPERM);
}

static void test_privileges(void **state)
{
    struct node node;

    (void)state;
    if (geteuid() != 0) {
        skip(); /* nobody to become */
    }
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_privileges), 0);
    assert_text(&node, SLICES_4);
    node_remove(&node);
}

static void scene_refused(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    node_fault(agent->node, "*Create* -> NO_PERMISSION");
    AGENT_CHECK(agent_apply(agent, "1g.6gb*4") == MIG_E_FAILED);
    AGENT_CHECK(strstr(agent->error.message, "Insufficient Permissions"));
    AGENT_CHECK(agent->error.hint[0] != '\0' && agent->lost_count == 0);
    AGENT_CHECK(agent->seen->gpus[0].layout.gi_count == 0);
}

static void test_refused(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_refused), 0);
    assert_true(node_is_clean(&node));
    node_remove(&node);
}

/* ---- after a boot ---- */

static void reboot_node(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)data;
    emu_reboot(info, state);
}

static void scene_restore(struct agent *agent)
{
    agent_wait(agent, &agent->changed_count, 1);
    AGENT_CHECK(agent_restore(agent) == MIG_E_CONFIG); /* nothing was kept */
    AGENT_CHECK(agent_apply(agent, "1g.6gb*2 2g.12gb") == 0);
    AGENT_CHECK(agent_save(agent, "all-balanced") == 0);
    node_change(agent->node, reboot_node, NULL);
    agent_wait(agent, &agent->changed_count, 2);
    AGENT_CHECK(agent->seen->gpus[0].layout.gi_count == 0);
    AGENT_CHECK(agent_restore(agent) == 0 && agent->report.gi_created == 3);
    AGENT_CHECK(strcmp(agent->name, "all-balanced") == 0);
    AGENT_CHECK(agent_restore(agent) == 0 && agent->report.gi_created == 0);
    /* somebody was faster, and uses what is in the way */
    node_change(agent->node, reboot_node, NULL);
    node_add(agent->node, 0, "4g.24gb", 0, "4g.24gb");
    node_use(agent->node, 0, 0, 4242);
    AGENT_CHECK(agent_restore(agent) == MIG_E_BUSY);
    AGENT_CHECK(strstr(agent->error.holders, "4242"));
}

static void test_restore(void **state)
{
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    assert_int_equal(agent_play(&node, &defaults, scene_restore), 0);
    assert_text(&node, "0 on 0:4g.24gb[0:4g.24gb]\n");
    node_remove(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_mode),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_xid),
        cmocka_unit_test(test_H5_recovery),
        cmocka_unit_test(test_no_driver),
        cmocka_unit_test(test_hang),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_left_behind),
        cmocka_unit_test(test_killed_at_messages),
        cmocka_unit_test(test_killed_in_calls),
        cmocka_unit_test(test_agent_ends),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_privileges),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_restore),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
