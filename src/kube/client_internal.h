/* SPDX-License-Identifier: Apache-2.0 */
/* What watches need of the client besides requests. */
#ifndef MIG_KUBE_CLIENT_INTERNAL_H
#define MIG_KUBE_CLIENT_INTERNAL_H

#include "kube/link.h"
#include "kube/policy.h"

uv_loop_t *mig_kube_loop(struct mig_kube *kube);
struct mig_kube_link *mig_kube_link(struct mig_kube *kube);
struct mig_kube_random *mig_kube_random(struct mig_kube *kube);

#endif
