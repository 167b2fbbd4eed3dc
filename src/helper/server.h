/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The helper process: one loop that answers requests and, between them, asks the driver whether
 * something changed. It blocks in what it does; whoever waits for it has a clock of its own.
 */
#ifndef MIG_HELPER_SERVER_H
#define MIG_HELPER_SERVER_H

#include "gpu/watch.h"
#include "helper/channel.h"
#include <mig/apply.h>

#define MIG_SERVER_SEND_MS 10000u /* an agent that does not read for so long is given up */

struct mig_mps;

struct mig_server {
    const struct mig_helper_options *options;
    int fd, signals;
    struct mig_receiver receiver;

    struct mig_session *session; /* NULL = the driver could not be opened, or was lost */
    struct mig_watch *watch;
    bool driver_hangs;      /* a call never came back: only a new process helps */
    unsigned failure_count; /* in a row */
    uint64_t next_poll_ms, next_read_ms;

    struct mig_mps *mps;
    bool leaving;   /* nobody listens any more */
    bool gave_back; /* memory that was only needed for the last thing done */
    bool has_digest;
    uint64_t digest;                   /* of the last node that was sent */
    char said[MIG_ERROR_MESSAGE_SIZE]; /* the last UNREADABLE; "" = the node is readable */
    uint32_t progress_request;         /* of the apply that runs */
    uint64_t progress_ms;
    char progress_text[MIG_MESSAGE_TEXT_SIZE];
};

/* Serves `fd` until the other side closes it. Options as given, defaults not yet filled in. */
__attribute__((noreturn)) void mig_server_run(const struct mig_helper_options *options, int fd,
                                              bool isolated);

/* Sends; ends the process when that cannot be done: without an agent there is nothing to do. */
void mig_server_send(struct mig_server *server, const struct mig_message *message);
void mig_server_say(struct mig_server *server, const char *format, ...) MIG_PRINTF(2, 3);

/* True when the agent or the supervisor wants the helper to end. */
bool mig_server_is_stopped(const struct mig_server *server);

/* ---- the driver (server_driver.c) ---- */

/* Reads the node, opening the driver first if need be. */
int mig_server_read(struct mig_server *server, struct mig_node **ret, struct mig_error *error);

int mig_server_sample(struct mig_server *server, struct mig_sample **ret, struct mig_error *error);

/* Remembers what the agent knows of the node from the message that is about to be sent. */
void mig_server_remember(struct mig_server *server, const struct mig_node *node);

/* Asks for changes and errors, and tells the agent. */
void mig_server_poll(struct mig_server *server);

/* A session failed in a call: closes it if that is of use. */
void mig_server_check_session(struct mig_server *server, const struct mig_error *error);

/* Finishes or undoes an interrupted run, if one is on record, says so, and which GPUs that has
 * reset. */
void mig_server_recover(struct mig_server *server);

/* ---- requests; each fills the answer ---- */

void mig_server_apply(struct mig_server *server, const struct mig_message *request,
                      struct mig_wire_answer *answer);
void mig_server_restore(struct mig_server *server, const struct mig_message *request,
                        struct mig_wire_answer *answer);
void mig_server_save(struct mig_server *server, const struct mig_message *request,
                     struct mig_wire_answer *answer);
void mig_server_host(struct mig_server *server, const struct mig_message *request,
                     struct mig_wire_answer *answer);

void mig_server_cdi(struct mig_server *server, const struct mig_message *request,
                    struct mig_wire_answer *answer);

/* ---- MPS (server_mps.c) ---- */

struct mig_mps *mig_server_mps_new(struct mig_server *server);
void mig_server_share(struct mig_server *server, const struct mig_message *request);

/* Takes our own MPS servers out of a snapshot; with `idle_only` those alone that have no clients.
 */
void mig_server_hide_mps(struct mig_server *server, struct mig_node *node, bool idle_only);

/* Ends the daemons of what a plan destroys or changes; and starts them again where it is there. */
void mig_server_yield_mps(struct mig_server *server, const struct mig_node *node,
                          const struct mig_node_plan *plan);
void mig_server_resume_mps(struct mig_server *server, struct mig_node *node);

/* Also gives the socket. */
void mig_server_socket(struct mig_server *server, const struct mig_message *request,
                       struct mig_wire_answer *answer, int *ret_fd);

const char *mig_server_state_dir(const struct mig_server *server);

/* What every change of this helper is made with. */
struct mig_apply_options mig_server_apply_options(const struct mig_server *server);

#endif
