/* SPDX-License-Identifier: Apache-2.0 */
/* What the processes of migd may do. */
#ifndef MIG_HELPER_PRIVILEGE_H
#define MIG_HELPER_PRIVILEGE_H

#include <mig/error.h>
#include <stdint.h>

/*
 * What the helper keeps, of what it has:
 *   SYS_ADMIN     the driver asks for it when MIG mode or instances change
 *   DAC_OVERRIDE  state directory, host files and kubelet's directory, whoever owns them
 *   FOWNER, CHOWN modes of device nodes, also those that others made
 *   MKNOD         /dev/nvidia-caps
 *   SYS_CHROOT    programs of the host and of the driver's root
 *   KILL          the supervisor passes signals to the agent, which is another user's
 *   SETUID, SETGID  MPS control daemons start a server as the user that connects
 */
uint64_t mig_privilege_wanted(void);

/*
 * Reduces effective, permitted, inheritable and bounding sets to `kept`, clears the ambient set,
 * and allows no new privileges. What the process does not have cannot be kept.
 */
int mig_privilege_reduce(uint64_t kept, struct mig_error *error);

/* An empty network namespace of its own. */
int mig_privilege_isolate(struct mig_error *error);

/* The signal that it gets when its parent ends; MIG_E_FAILED when that has happened already. */
int mig_privilege_die_with(int signal, int parent, struct mig_error *error);

#endif
