/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One MPS control daemon: its files, its start, what is said to it, its end. When any of this is
 * due is decided in mps.c.
 *
 *     DIR/UUID/migd        what it was started for; readable by the next helper
 *     DIR/UUID/pipe/       CUDA_MPS_PIPE_DIRECTORY; also the containers'
 *     DIR/UUID/log/        CUDA_MPS_LOG_DIRECTORY
 *     DIR/UUID/shm/        its /dev/shm, and the containers'
 */
#ifndef MIG_HELPER_MPS_DAEMON_H
#define MIG_HELPER_MPS_DAEMON_H

#include "helper/helper.h"

#define MPS_PATH_SIZE 512
#define MPS_RECORD_NAME "migd"

struct mps_place {
    const char *dir;         /* as we see it */
    const char *driver_root; /* "" = ours */
    unsigned patience_ms;    /* for an answer, or until it listens */
};

struct mps_daemon {
    struct mig_helper_mps device;
    int mode_before; /* the GPU's compute mode before it was shared; MIG_COMPUTE_MODE_NONE */
    bool has_mode;   /* mode_before is known, and has to be put back */
    pid_t pid;       /* 0 = it does not run */
    bool is_child;   /* else it is of an earlier helper */
};

/* Starts it and waits until it listens; what listens in its place is ended first. */
int mps_daemon_start(const struct mps_place *place, struct mps_daemon *daemon,
                     struct mig_error *error);

/* Tells it the limits of its clients, and that it has taken them over. */
int mps_daemon_limit(const struct mps_place *place, const struct mps_daemon *daemon,
                     struct mig_error *error);

/* Whether anybody is connected; true when it does not answer. */
bool mps_daemon_has_clients(const struct mps_place *place, const struct mps_daemon *daemon);

/* True when it does not run any more; then pid is 0 and `how` says how it ended. */
bool mps_daemon_has_ended(const struct mps_place *place, struct mps_daemon *daemon, char *how,
                          size_t size);

/* Lets it quit, with its servers; kills what does not. */
void mps_daemon_end(const struct mps_place *place, struct mps_daemon *daemon);

/* The process that listens in the place of this device, whoever started it; 0 = nobody. */
pid_t mps_daemon_find(const struct mps_place *place, const char *uuid);

/* Keeps what it is started for, for the next helper; and reads it. False: there is no record. */
int mps_daemon_keep(const struct mps_place *place, const struct mps_daemon *daemon,
                    struct mig_error *error);
bool mps_daemon_recall(const struct mps_place *place, const char *uuid, struct mps_daemon *ret);

/* Removes its files. */
void mps_daemon_remove(const struct mps_place *place, const char *uuid);

/* Cuts a log that has grown. */
void mps_daemon_trim(const struct mps_place *place, const char *uuid);

#endif
