/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of the free devices a pod should get.
 *
 * Pure, and without a way to fail: an error here would make the kubelet refuse the pod. What it
 * asks for in vain (unknown ids, more than there is) is answered as well as can be.
 *
 *   - of MIG devices, those on the GPU that is fullest already, so that the emptiest GPUs stay free
 *     for large profiles; on one GPU, those whose neighbours are taken;
 *   - several of them on one GPU, or at least on one NUMA node, if they can be;
 *   - of replicas, different devices before two of one ("distributed"), or the other way round
 *     ("packed");
 *   - of whole GPUs, those of one NUMA node.
 */
#ifndef MIG_DEVICEPLUGIN_PREFERRED_H
#define MIG_DEVICEPLUGIN_PREFERRED_H

#include "deviceplugin/resources.h"

struct mig_dp_preference {
    const struct mig_dp_table *table;
    const struct mig_dp_resource *resource;
    bool packed; /* replicas of one device together */
    const char *const *available;
    size_t available_count;
    const char *const *must_include;
    size_t must_include_count;
    size_t size; /* how many are wanted, those that must be included among them */
};

/*
 * Writes pointers into available or must_include to `chosen`, which has room for `size`, and
 * returns how many. Without memory the first available ones are taken.
 */
size_t mig_dp_prefer(const struct mig_dp_preference *preference, const char **chosen);

#endif
