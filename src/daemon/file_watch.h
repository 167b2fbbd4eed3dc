/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Follows the content of one file: told at the start and whenever it is another one, also when the
 * file comes late, goes, or is swapped through symbolic links as kubelet does with ConfigMaps.
 */
#ifndef MIG_DAEMON_FILE_WATCH_H
#define MIG_DAEMON_FILE_WATCH_H

#include <mig/error.h>
#include <uv.h>

struct file_watch;

/*
 * `text` is terminated and borrowed; NULL with `error` when the file cannot be read. Called from
 * the loop.
 */
typedef void file_watch_changed(const char *path, const char *text, size_t size,
                                const struct mig_error *error, void *data);

/* A file larger than `max` counts as one that cannot be read. */
int file_watch_new(uv_loop_t *loop, const char *path, size_t max, file_watch_changed *changed,
                   void *data, struct file_watch **ret, struct mig_error *error);

/* Tells the content again even if it is the same. */
void file_watch_again(struct file_watch *watch);

/* Its handles are gone after the next turn of the loop. NULL is allowed. */
void file_watch_free(struct file_watch *watch);

#endif
