/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the processes of migd: a test forks one that becomes the supervisor; in the agent
 * that it starts a scene is played, with a loop and everything that the helper says written down.
 */
#ifndef MIG_TESTS_EMULATED_HELPER_AGENT_H
#define MIG_TESTS_EMULATED_HELPER_AGENT_H

#include "helper/helper.h"
#include "node.h"
#include <uv.h>

#define AGENT_WAIT_MS 30000u /* nothing takes so long, unless it never comes */

struct agent {
    uv_loop_t loop;
    struct mig_helper *helper;
    struct node *node;     /* the emulated one */
    struct mig_node *seen; /* the last snapshot, however it came */
    unsigned changed_count, unreadable_count, lost_count, said_count, xid_count, progress_count,
        recovery_count;
    unsigned done_count; /* of requests */
    int result;          /* of the last request */
    bool host_changed;
    int fd; /* of the last socket; -1 */
    struct mig_apply_report report;
    struct mig_error error; /* of the last request */
    struct mig_error told;  /* with unreadable or lost */
    struct mig_helper_xid xid;
    struct mig_helper_recovery recovery;
    char name[256];     /* of the config of the last restore */
    char said[16384];   /* lines */
    pid_t kill_on_next; /* helper to kill at the next thing it says; 0 = none */
};

typedef void agent_scene(struct agent *agent);

/* Plays the scene. Fails the test unless it plays to its end; returns the status of migd then. */
int agent_play(struct node *node, const struct mig_helper_options *options, agent_scene *scene);

/* Ends the scene as failed unless it holds. */
#define AGENT_CHECK(condition) agent_check((condition), #condition, __FILE__, __LINE__)
void agent_check(bool holds, const char *what, const char *file, int line);

/* Turns the loop until *counter has reached `count`; fails the scene when that never comes. */
void agent_wait(struct agent *agent, const unsigned *counter, unsigned count);
void agent_turn(struct agent *agent, unsigned duration_ms); /* just turns it */
pid_t agent_helper_pid(const struct agent *agent);

/* Requests; each waits for its end and returns the result. */
int agent_read(struct agent *agent);
/* "PROFILE*COUNT ..." on GPU 0 (and nothing else there), "off" = MIG off. */
int agent_apply(struct agent *agent, const char *wish);
int agent_save(struct agent *agent, const char *name);
int agent_restore(struct agent *agent);
int agent_host(struct agent *agent, enum mig_helper_host what, const char *name,
               unsigned timeout_ms);
int agent_socket(struct agent *agent, enum mig_helper_socket what, const char *name);

/* Begins to apply; the end is counted in done_count. */
void agent_begin_apply(struct agent *agent, const char *wish, unsigned timeout_ms);

#endif
