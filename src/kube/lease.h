/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Lease (coordination.k8s.io/v1): one of several holds it, renews it, and loses it when it
 * cannot.
 *
 * Time on other machines is not trusted: a lease has run out when it has not changed for its
 * duration as this process measured it.
 */
#ifndef MIG_KUBE_LEASE_H
#define MIG_KUBE_LEASE_H

#include "kube/client.h"

struct mig_kube_lease;

struct mig_kube_lease_options {
    const char *namespace_name, *name;
    const char *identity; /* of this process, unique */
    unsigned duration_ms; /* 0 = 15,000; whole seconds */
    unsigned renew_ms;    /* 0 = a third of the duration */
    /* Held or not held any more; `holder` is who has it ("" = nobody). */
    void (*changed)(bool held, const char *holder, void *data);
    void *data;
};

int mig_kube_lease_new(struct mig_kube *kube, const struct mig_kube_lease_options *options,
                       struct mig_kube_lease **ret, struct mig_error *error);

/* Gives it back if it is held (one request that nobody waits for). NULL is allowed. */
void mig_kube_lease_free(struct mig_kube_lease *lease);

#endif
