/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GPU clients file: systemd services that use GPUs, to be stopped around a change of MIG mode.
 *
 *     version: v1
 *     systemd-services: [nvsm.service, nvidia-dcgm.service]
 */
#ifndef MIG_CONFIG_CLIENTS_FILE_H
#define MIG_CONFIG_CLIENTS_FILE_H

#include "base/cleanup.h"
#include <mig/error.h>

#define MIG_CLIENTS_FILE_SERVICES_MAX 32u

struct mig_clients_file {
    char **services; /* NULL-terminated, in file order; NULL when there are none */
    size_t count;
};

/* MIG_E_CONFIG with "PATH:LINE:COLUMN: ". Release with mig_clients_file_release. */
int mig_clients_file_load(const char *path, struct mig_clients_file *ret, struct mig_error *error);
int mig_clients_file_parse(const char *name, const char *text, size_t size,
                           struct mig_clients_file *ret, struct mig_error *error);
void mig_clients_file_release(struct mig_clients_file *file);

#define MIG_AUTO_CLIENTS_FILE MIG_CLEANUP(mig_clients_file_release)

#endif
