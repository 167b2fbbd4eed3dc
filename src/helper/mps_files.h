/* SPDX-License-Identifier: Apache-2.0 */
/* The folders of an MPS control daemon. */
#ifndef MIG_HELPER_MPS_FILES_H
#define MIG_HELPER_MPS_FILES_H

#include "helper/mps_daemon.h"

/* PATH = DIR/UUID/NAME; `name` may be "". Returns buffer. */
char *mps_path(const struct mps_place *place, const char *uuid, const char *name,
               char buffer[MPS_PATH_SIZE]);

/*
 * Makes the folders. MIG_E_USAGE when the names of sockets in them would be too long for the
 * kernel: the daemon itself would only end without a word.
 */
int mps_files_make(const struct mps_place *place, const char *uuid, struct mig_error *error);

/* The last line of the daemon's log; "" = none. */
void mps_files_last_line(const struct mps_place *place, const char *uuid, char *buffer,
                         size_t size);

/* The log, emptied, to be written to. A negative MIG_E_* with the error. */
int mps_files_open_log(const struct mps_place *place, const char *uuid, struct mig_error *error);

/*
 * In a child that becomes the daemon, or speaks with it: a mount namespace of its own in which
 * /dev/shm is the daemon's, and its folder is found below the driver's root too. `data` is a
 * struct mps_view. 0 or an errno value.
 */
struct mps_view {
    char shm[MPS_PATH_SIZE], shm_target[MPS_PATH_SIZE];
    char folder[MPS_PATH_SIZE], folder_target[MPS_PATH_SIZE]; /* "" = no driver root */
};
int mps_view_make(const struct mps_place *place, const char *uuid, struct mps_view *ret,
                  struct mig_error *error);
int mps_view_enter(void *data);

#endif
