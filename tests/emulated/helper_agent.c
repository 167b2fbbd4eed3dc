/* SPDX-License-Identifier: Apache-2.0 */
/* See helper_agent.h. A scene ends its process with status 0 or, at the first thing wrong, 1. */
#include "helper_agent.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

static const struct agent *present; /* of this process, to tell how far it came */

void agent_check(bool holds, const char *what, const char *file, int line)
{
    if (!holds) {
        fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
        if (present) {
            fprintf(stderr, "last error: %s (%s); told: %s; said:\n%s", present->error.message,
                    present->error.holders, present->told.message, present->said);
        }
        _exit(1);
    }
}

/* ---- what the helper says ---- */

static void heard(struct agent *agent)
{
    if (agent->kill_on_next > 0) {
        (void)kill(agent->kill_on_next, SIGKILL);
        agent->kill_on_next = 0;
    }
}

static void see(struct agent *agent, struct mig_node *node)
{
    if (node) {
        AGENT_CHECK(!agent->seen || node->generation > agent->seen->generation);
        mig_node_free(agent->seen);
        agent->seen = node;
    }
}

static void on_changed(struct mig_node *node, void *data)
{
    struct agent *agent = data;

    see(agent, node);
    agent->changed_count++;
    heard(agent);
}

static void on_unreadable(const struct mig_error *error, void *data)
{
    struct agent *agent = data;

    agent->told = *error;
    agent->unreadable_count++;
    heard(agent);
}

static void on_xid(const struct mig_helper_xid *xid, void *data)
{
    struct agent *agent = data;

    agent->xid = *xid;
    agent->xid_count++;
    heard(agent);
}

static void on_recovery(const struct mig_helper_recovery *recovery, void *data)
{
    struct agent *agent = data;

    agent->recovery = *recovery;
    agent->recovery_count++;
    heard(agent);
}

static void on_said(const char *text, void *data)
{
    struct agent *agent = data;
    size_t length = strlen(agent->said);

    (void)snprintf(agent->said + length, sizeof(agent->said) - length, "%s\n", text);
    agent->said_count++;
    heard(agent);
}

static void on_lost(const struct mig_error *error, void *data)
{
    struct agent *agent = data;

    agent->told = *error;
    agent->lost_count++;
}

static void on_orphaned(void *data)
{
    (void)data;
    _exit(3);
}

/* ---- turning ---- */

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

void agent_turn(struct agent *agent, unsigned duration_ms)
{
    uint64_t end_ms = mig_now_ms() + duration_ms;

    while (mig_now_ms() < end_ms) {
        (void)uv_run(&agent->loop, UV_RUN_ONCE);
    }
}

void agent_wait(struct agent *agent, const unsigned *counter, unsigned count)
{
    uint64_t end_ms = mig_now_ms() + AGENT_WAIT_MS;

    while (*counter < count && mig_now_ms() < end_ms) {
        (void)uv_run(&agent->loop, UV_RUN_ONCE);
    }
    if (*counter < count) {
        fprintf(stderr, "waited in vain: %u of %u\n", *counter, count);
        agent_check(false, "came in time", __FILE__, __LINE__);
    }
}

pid_t agent_helper_pid(const struct agent *agent)
{
    struct mig_helper_status status;

    mig_helper_get_status(agent->helper, &status);
    return status.pid;
}

/* ---- requests ---- */

static void end_request(struct agent *agent, int result, const struct mig_error *error)
{
    agent->result = result;
    agent->error = error ? *error : (struct mig_error){0};
    agent->done_count++;
    heard(agent);
}

static int wait_request(struct agent *agent, int rc)
{
    if (rc < 0) {
        return rc;
    }
    agent_wait(agent, &agent->done_count, agent->done_count + 1);
    return agent->result;
}

static void read_done(struct mig_node *node, const struct mig_error *error, void *data)
{
    AGENT_CHECK(!node == !!error);
    see(data, node);
    end_request(data, error ? MIG_E_FAILED : MIG_OK, error);
}

int agent_read(struct agent *agent)
{
    return wait_request(agent, mig_helper_read(agent->helper, read_done, agent, &agent->error));
}

static void on_progress(const struct mig_apply_progress *progress, void *data)
{
    struct agent *agent = data;

    AGENT_CHECK(progress->text[0] != '\0');
    agent->progress_count++;
    heard(agent);
}

static void apply_done(int result, const struct mig_apply_report *report, struct mig_node *node,
                       const struct mig_error *error, void *data)
{
    struct agent *agent = data;

    AGENT_CHECK((result == MIG_OK) == (error == NULL));
    see(agent, node);
    agent->report = *report;
    end_request(agent, result, error);
}

/* "1g.6gb*2 2g.12gb" */
static void make_goal(const struct mig_gpu *gpu, const char *wish, struct mig_gpu_goal *ret)
{
    struct mig_device_count devices[MIG_PROFILE_MAX];
    char words[256];
    char *rest = words;
    size_t count = 0;

    *ret = (struct mig_gpu_goal){.kind = MIG_GOAL_LAYOUT, .mig_mode = strcmp(wish, "off") != 0};
    (void)mig_text_copy(words, sizeof(words), wish);
    while (ret->mig_mode && rest) {
        char *word = strsep(&rest, " ");
        char *number = strchr(word, '*');

        if (number) {
            *number++ = '\0';
        }
        if (*word != '\0') {
            AGENT_CHECK(mig_profile_resolve(gpu->layout.model, word, &devices[count].kind, NULL) ==
                        0);
            devices[count++].count = number ? (uint32_t)strtoul(number, NULL, 10) : 1;
        }
    }
    AGENT_CHECK(!ret->mig_mode || mig_target_from_devices(gpu->layout.model, &gpu->layout, devices,
                                                          count, &ret->target, NULL) == 0);
}

static int begin_apply(struct agent *agent, const char *wish, unsigned timeout_ms)
{
    MIG_AUTO_FREE struct mig_goal *goal = calloc(1, sizeof(*goal));
    struct mig_helper_apply apply = {.node = agent->seen,
                                     .goal = goal,
                                     .timeout_ms = timeout_ms,
                                     .progress = on_progress,
                                     .done = apply_done,
                                     .data = agent};

    AGENT_CHECK(goal && agent->seen);
    goal->gpu_count = 1;
    make_goal(&agent->seen->gpus[0], wish, &goal->gpus[0]);
    return mig_helper_apply(agent->helper, &apply, &agent->error);
}

void agent_begin_apply(struct agent *agent, const char *wish, unsigned timeout_ms)
{
    AGENT_CHECK(begin_apply(agent, wish, timeout_ms) == 0);
}

int agent_apply(struct agent *agent, const char *wish)
{
    return wait_request(agent, begin_apply(agent, wish, 0));
}

static void plain_done(const struct mig_error *error, void *data)
{
    end_request(data, error ? MIG_E_FAILED : MIG_OK, error);
}

int agent_save(struct agent *agent, const char *name)
{
    return wait_request(agent,
                        mig_helper_save(agent->helper, name, plain_done, agent, &agent->error));
}

static void restore_done(int result, const struct mig_apply_report *report, struct mig_node *node,
                         const char *config_name, const struct mig_error *error, void *data)
{
    struct agent *agent = data;

    (void)mig_text_copy(agent->name, sizeof(agent->name), config_name);
    apply_done(result, report, node, error, data);
}

int agent_restore(struct agent *agent)
{
    return wait_request(agent,
                        mig_helper_restore(agent->helper, restore_done, agent, &agent->error));
}

static void host_done(bool changed, const struct mig_error *error, void *data)
{
    struct agent *agent = data;

    agent->host_changed = changed;
    plain_done(error, data);
}

int agent_host(struct agent *agent, enum mig_helper_host what, const char *name,
               unsigned timeout_ms)
{
    return wait_request(agent, mig_helper_host(agent->helper, what, name, timeout_ms, host_done,
                                               agent, &agent->error));
}

static void socket_done(int fd, const struct mig_error *error, void *data)
{
    struct agent *agent = data;

    agent->fd = fd;
    plain_done(error, data);
}

int agent_socket(struct agent *agent, enum mig_helper_socket what, const char *name)
{
    return wait_request(agent, mig_helper_open_socket(agent->helper, what, name, socket_done, agent,
                                                      &agent->error));
}

/* ---- the processes ---- */

static void play(struct agent *agent, struct mig_helper_channel *channel, agent_scene *scene)
{
    struct mig_helper_events events = {.changed = on_changed,
                                       .unreadable = on_unreadable,
                                       .xid = on_xid,
                                       .recovery = on_recovery,
                                       .said = on_said,
                                       .lost = on_lost,
                                       .orphaned = on_orphaned,
                                       .data = agent};
    uv_timer_t tick;

    AGENT_CHECK(uv_loop_init(&agent->loop) == 0);
    AGENT_CHECK(mig_helper_open(&agent->loop, channel, &events, &agent->helper, NULL) == 0);
    (void)uv_timer_init(&agent->loop, &tick);
    (void)uv_timer_start(&tick, on_tick, 20, 20);
    scene(agent);
    mig_helper_free(agent->helper);
    uv_close((uv_handle_t *)&tick, NULL);
    AGENT_CHECK(uv_run(&agent->loop, UV_RUN_DEFAULT) == 0);
    AGENT_CHECK(uv_loop_close(&agent->loop) == 0);
    mig_node_free(agent->seen);
}

/* In a process of its own: what main() of migd does. */
static void be_migd(struct node *node, const struct mig_helper_options *options, agent_scene *scene)
{
    struct agent *agent = calloc(1, sizeof(*agent));
    struct mig_helper_channel channel;

    AGENT_CHECK(agent &&
                mig_helper_start(getenv("MIGD_HELPER"), options, &channel, &agent->error) == 0);
    present = agent;
    agent->node = node;
    agent->fd = -1;
    play(agent, &channel, scene);
    present = NULL;
    free(agent);
    exit(0); /* through the checks for leaks */
}

int agent_play(struct node *node, const struct mig_helper_options *options, agent_scene *scene)
{
    struct mig_helper_options filled = *options;
    char library[4096];
    int status = 0;
    pid_t pid;

    (void)mig_text_copy(library, sizeof(library), node_library());
    filled.library = library;
    filled.state_dir = options->state_dir ? options->state_dir : node->state_dir;
    filled.poll_interval_ms = options->poll_interval_ms > 0 ? options->poll_interval_ms : 100;
    filled.restart_max_ms = 200;
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        be_migd(node, &filled, scene);
    }
    assert_true(pid > 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        ;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
