/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container gets for the devices that the kubelet chose: the answer to Allocate.
 *
 * The kubelet keeps the answer and uses it again when the container restarts, and of two answers
 * for one container (two resources) it drops keys that are there already. So an answer has to stay
 * true, and what is needed of both answers must not clash: mounts and CDI names do not, the
 * environment variable does.
 */
#ifndef MIG_DEVICEPLUGIN_ALLOCATE_H
#define MIG_DEVICEPLUGIN_ALLOCATE_H

#include "deviceplugin/host.h"
#include "deviceplugin/lists.h"
#include "deviceplugin/resources.h"

struct mig_dp_allocation {
    const struct mig_dp_config *config;
    const struct mig_dp_host *host;
    const struct mig_dp_table *table;
    const char *resource;
    const char *unique; /* ends the name of an annotation; another one for each call */
    const struct mig_dp_withheld *withheld; /* as of now, which the table may not show yet */
    size_t withheld_count;
};

/*
 * The strategies by which a container is told of a slice: those of the settings, but where nobody
 * chose any, CDI names only for what is in the file. A runtime refuses a container with a name
 * that it cannot find.
 */
unsigned mig_dp_told_by(const struct mig_dp_config *config, const struct mig_dp_slice *slice);

/*
 * Answers an AllocateRequest with an AllocateResponse; *ret is malloc'd. MIG_E_USAGE when a device
 * is not known, not there any more, or when more replicas are asked for than allowed; MIG_E_BUSY
 * when it is about to be changed. The message is for the kubelet.
 */
int mig_dp_allocate(const struct mig_dp_allocation *allocation, const void *message, size_t size,
                    void **ret, size_t *ret_size, struct mig_error *error);

/* Answers a PreferredAllocationRequest; fails only when it is not one. */
int mig_dp_preferred(const struct mig_dp_allocation *allocation, const void *message, size_t size,
                     void **ret, size_t *ret_size, struct mig_error *error);

/* The ListAndWatchResponse of a resource; an empty list when the table has no such resource. */
int mig_dp_list(const struct mig_dp_table *table, const char *resource, void **ret,
                size_t *ret_size, struct mig_error *error);

#endif
