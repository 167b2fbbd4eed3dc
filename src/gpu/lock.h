/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine-wide lock: one change of the node at a time. The kernel drops it when its holder
 * dies; the file stays, with the last holder's pid and program in it.
 */
#ifndef MIG_GPU_LOCK_H
#define MIG_GPU_LOCK_H

#include <mig/error.h>
#include <stdint.h>

/*
 * Takes the lock, trying for timeout_ms. `waiting` (may be NULL) is called once when it has to
 * wait. *ret_fd is closed to release. MIG_E_BUSY names the holder.
 */
int mig_lock_take(const char *path, unsigned timeout_ms, void (*waiting)(void *data), void *data,
                  int *ret_fd, struct mig_error *error);

/* The name of this program, as the kernel has it, without blanks. */
void mig_own_command(char *buffer, size_t size);

#endif
