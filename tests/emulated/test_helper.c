/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes of migd, real ones, on emulated nodes: what the helper answers and notices, and
 * what is left when it is killed, hangs, loses its driver or its agent.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "helper_agent.h"
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
