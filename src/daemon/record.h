/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What migd keeps on disk for itself, in STATE_DIR/agent, which belongs to the user that migd
 * becomes: record.json, what the manager has to know after a restart, and manager.json, its last
 * word, for `migctl status`.
 */
#ifndef MIG_DAEMON_RECORD_H
#define MIG_DAEMON_RECORD_H

#include "manager/manager.h"

#define RECORD_BYTES_MAX (8u << 20) /* a config of 4 MiB, escaped */

/* A record that was read; the texts point into it. */
struct record {
    struct mig_manager_record record;
    void *document;
};

/* Makes the folder and gives it to the user. To be called while still root. */
int record_prepare(const char *state_dir, unsigned uid, unsigned gid, char **ret_dir,
                   struct mig_error *error);

/* A missing file is no error: ret->document is NULL. One that makes no sense is MIG_E_CONFIG. */
int record_read(const char *dir, struct record *ret, struct mig_error *error);
void record_release(struct record *record);
int record_write(const char *dir, const struct mig_manager_record *record, struct mig_error *error);

struct record_status {
    struct mig_manager_status status;
    int64_t since_s; /* when the state became this one; Unix time */
};
int record_write_status(const char *dir, const struct record_status *status,
                        struct mig_error *error);

#endif
