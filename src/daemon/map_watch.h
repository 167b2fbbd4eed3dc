/* SPDX-License-Identifier: Apache-2.0 */
/* Follows one ConfigMap of migd's namespace: its data, or why there is none. */
#ifndef MIG_DAEMON_MAP_WATCH_H
#define MIG_DAEMON_MAP_WATCH_H

#include "kube/watch.h"

struct map_watch;

/*
 * `values` is the ConfigMap's `data`, borrowed (NULL when it has none); with `error` there is no
 * such ConfigMap. Nothing is told while the server is away. The watch may be freed from here.
 */
typedef void map_watch_changed(const char *name, json_t *values, const struct mig_error *error,
                               void *data);

int map_watch_new(struct mig_kube *kube, const char *name, map_watch_changed *changed, void *data,
                  struct map_watch **ret, struct mig_error *error);
const char *map_watch_name(const struct map_watch *watch); /* "" for NULL */
void map_watch_free(struct map_watch *watch);              /* NULL is allowed */

#endif
