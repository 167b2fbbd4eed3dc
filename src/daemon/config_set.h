/* SPDX-License-Identifier: Apache-2.0 */
/* Several configs by their names: the files of a folder, or the keys of a ConfigMap. */
#ifndef MIG_DAEMON_CONFIG_SET_H
#define MIG_DAEMON_CONFIG_SET_H

#include <jansson.h>
#include <mig/error.h>
#include <stdint.h>

#define CONFIG_SET_MAX 64u
#define CONFIG_SET_BYTES_MAX (1u << 20) /* of all texts; a ConfigMap cannot have more */

struct config_item {
    char *name, *text; /* terminated */
    size_t size;
};

/* Sorted by name. */
struct config_set {
    size_t count;
    struct config_item items[CONFIG_SET_MAX];
};

/*
 * All of it or nothing: a file that cannot be read must not look like one that is not there.
 * Folders and names that begin with '.' are left out: kubelet puts both beside the files of a
 * mounted ConfigMap.
 */
int config_set_read_folder(const char *path, struct config_set *ret, struct mig_error *error);

/* The texts of a ConfigMap's data; NULL is an empty one. */
int config_set_read_map(json_t *values, struct config_set *ret, struct mig_error *error);

/* Differs when a file came, went or was written. 0 when the folder cannot be read. */
uint64_t config_set_folder_state(const char *path);

void config_set_release(struct config_set *set);

#endif
