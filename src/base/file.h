/* SPDX-License-Identifier: Apache-2.0 */
/* Files: read with a limit, replace in one step, and nothing half done. */
#ifndef MIG_BASE_FILE_H
#define MIG_BASE_FILE_H

#include <mig/error.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Reads a whole file ("-" = standard input) of at most `max` bytes; *ret is malloc'd and
 * terminated. Fails with MIG_E_FAILED and the errno; EFBIG when it is larger.
 */
int mig_file_read(const char *path, size_t max, char **ret, size_t *ret_size,
                  struct mig_error *error);

/*
 * Replaces a file: written beside it, synced, renamed over it, and the directory synced; a crash
 * leaves the old or the new content.
 */
int mig_file_write_atomic(const char *path, const void *data, size_t size, mode_t mode,
                          struct mig_error *error);

/* Removes a file. One that is not there is fine, also where nothing may be written. */
int mig_file_remove(const char *path, struct mig_error *error);

/* Writes all of it, whatever the size of single writes. Returns 0 or -errno. */
int mig_write_all(int fd, const void *data, size_t size);

/* Makes a directory and its parents; one that is there already is fine. */
int mig_mkdir_parents(const char *path, mode_t mode, struct mig_error *error);

/* Syncs the directory that holds `path`, so that a rename or unlink in it lasts. */
int mig_sync_parent(const char *path, struct mig_error *error);

#endif
