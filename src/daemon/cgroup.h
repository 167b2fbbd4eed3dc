/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pod a process belongs to, as its cgroups say: for messages that name who is in the way.
 * Both hierarchies (v1, v2) and both of kubelet's drivers (cgroupfs:
 * "/kubepods/burstable/podUID/ID", systemd:
 * ".../kubepods-burstable-podUID_WITH_UNDERSCORES.slice/cri-containerd-ID.scope").
 */
#ifndef MIG_DAEMON_CGROUP_H
#define MIG_DAEMON_CGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CGROUP_POD_UID_SIZE 64
#define CGROUP_CONTAINER_ID_SIZE 80

struct cgroup_pod {
    char uid[CGROUP_POD_UID_SIZE];               /* as in metadata.uid, with dashes */
    char container_id[CGROUP_CONTAINER_ID_SIZE]; /* "" when it is the pod's own cgroup */
};

/* Reads the text of /proc/PID/cgroup. False when it is of no pod. */
bool cgroup_parse(const char *text, struct cgroup_pod *ret);

/* The same for a process; `proc` is "/proc". */
bool cgroup_of_pid(const char *proc, uint32_t pid, struct cgroup_pod *ret);

#endif
