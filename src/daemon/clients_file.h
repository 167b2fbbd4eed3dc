/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GPU clients file: systemd services that use GPUs, to be stopped around a change of MIG mode.
 *
 *     version: v1
 *     systemd-services: [nvsm.service, nvidia-dcgm.service]
 */
#ifndef MIG_DAEMON_CLIENTS_FILE_H
#define MIG_DAEMON_CLIENTS_FILE_H

#include <mig/error.h>

#define CLIENTS_FILE_SERVICES_MAX 32u

struct clients_file {
    char **services; /* NULL-terminated, in file order; NULL when there are none */
    size_t count;
};

/* MIG_E_CONFIG with "PATH:LINE:COLUMN: ". Release with clients_file_release. */
int clients_file_load(const char *path, struct clients_file *ret, struct mig_error *error);
int clients_file_parse(const char *name, const char *text, size_t size, struct clients_file *ret,
                       struct mig_error *error);
void clients_file_release(struct clients_file *file);

#endif
