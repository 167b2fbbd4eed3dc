/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing tables, and carrying over what must stay.
 *
 * A slice is the same one when its UUID is. What is carried over is marked as kept: it has no
 * device any more, so it is never allocated and has no place in the CDI spec.
 */
#include "deviceplugin/lists.h"
#include "base/text.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct mig_dp_slice *find_slice(const struct mig_dp_table *table, const char *uuid)
{
    for (uint32_t i = 0; i < table->slice_count; i++) {
        if (strcmp(table->slices[i].uuid, uuid) == 0) {
            return &table->slices[i];
        }
    }
    return NULL;
}

static const char *resource_of(const struct mig_dp_table *table, const struct mig_dp_slice *slice)
{
    return table->resources[slice->resource].name;
}

bool mig_dp_table_loses(const struct mig_dp_table *table, const struct mig_dp_table *previous)
{
    for (uint32_t i = 0; i < previous->slice_count; i++) {
        const struct mig_dp_slice *before = &previous->slices[i];
        const struct mig_dp_slice *now = find_slice(table, before->uuid);

        if (!now || strcmp(resource_of(table, now), resource_of(previous, before)) != 0 ||
            now->replicas < before->replicas) {
            return true;
        }
    }
    return false;
}

bool mig_dp_table_has_kept(const struct mig_dp_table *table)
{
    for (uint32_t i = 0; i < table->slice_count; i++) {
        if (table->slices[i].kept) {
            return true;
        }
    }
    return false;
}

/* The GPU's problem when it is there but cannot be read; NULL. */
static const char *problem_of_gpu(const struct mig_node *node, const struct mig_dp_slice *slice)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];

        /* a GPU so lost that even its UUID cannot be read is known by its index */
        if (gpu->problem[0] && (strcmp(gpu->uuid, slice->gpu_uuid) == 0 ||
                                (!gpu->uuid[0] && gpu->index == slice->gpu))) {
            return gpu->problem;
        }
    }
    return NULL;
}

/* The holder of a slice as a device of `resource`; NULL. */
static const struct mig_pod_device *holder_of(const struct mig_pod_devices *holders,
                                              const char *resource, const char *uuid)
{
    for (size_t i = 0; holders && i < holders->count; i++) {
        if (strcmp(holders->items[i].resource, resource) == 0 &&
            mig_pod_device_is(holders->items[i].device, uuid)) {
            return &holders->items[i];
        }
    }
    return NULL;
}

static void set_unhealthy(struct mig_dp_slice *slice, const char *reason)
{
    slice->unhealthy = true;
    mig_text_copy(slice->reason, sizeof(slice->reason), reason);
}

/* Kept for its holder, and the kubelet could not be asked this time. */
static bool may_be_held_still(const struct mig_dp_slice *before,
                              const struct mig_pod_devices *holders)
{
    return !holders && before->kept;
}

/* Whether `before` has to stay; then with the reason. */
static bool must_stay(const struct mig_dp_table *previous, const struct mig_dp_slice *before,
                      const struct mig_node *node, const struct mig_pod_devices *holders,
                      char reason[MIG_DP_REASON_SIZE])
{
    const char *problem = problem_of_gpu(node, before);
    const struct mig_pod_device *holder =
        holder_of(holders, resource_of(previous, before), before->uuid);

    if (problem) {
        snprintf(reason, MIG_DP_REASON_SIZE, "%s", problem);
    } else if (holder) {
        snprintf(reason, MIG_DP_REASON_SIZE,
                 "not on the node any more, but held by pod %.40s/%.60s", holder->namespace_name,
                 holder->pod);
    } else if (may_be_held_still(before, holders)) {
        mig_text_copy(reason, MIG_DP_REASON_SIZE, before->reason);
    }
    return problem || holder || may_be_held_still(before, holders);
}

static void keep_slice(struct mig_dp_table *table, const struct mig_dp_table *previous,
                       const struct mig_dp_slice *before, const char *reason)
{
    uint32_t resource = mig_dp_table_resource(table, resource_of(previous, before));
    struct mig_dp_slice *slice = &table->slices[table->slice_count];

    if (resource >= MIG_DP_RESOURCES_MAX) {
        return;
    }
    *slice = *before;
    slice->resource = resource;
    slice->kept = true;
    set_unhealthy(slice, reason);
    table->slice_count++;
    mig_dp_table_note(table, slice->gpu, "%s stays announced: %s", slice->uuid, reason);
}

static void keep_if_needed(struct mig_dp_table *table, uint32_t slice_count,
                           const struct mig_dp_table *previous, const struct mig_dp_slice *before,
                           const struct mig_node *node, const struct mig_pod_devices *holders)
{
    char reason[MIG_DP_REASON_SIZE];

    for (uint32_t i = 0; i < slice_count; i++) {
        struct mig_dp_slice *now = &table->slices[i];

        if (strcmp(now->uuid, before->uuid) != 0) {
            continue;
        }
        if (strcmp(resource_of(table, now), resource_of(previous, before)) != 0 &&
            (may_be_held_still(before, holders) ||
             holder_of(holders, resource_of(previous, before), before->uuid))) {
            set_unhealthy(now, "held by a pod under the name it had before");
            keep_slice(table, previous, before, now->reason);
        }
        return;
    }
    if (must_stay(previous, before, node, holders, reason)) {
        keep_slice(table, previous, before, reason);
    }
}

int mig_dp_table_keep(struct mig_dp_table *table, const struct mig_dp_table *previous,
                      const struct mig_node *node, const struct mig_pod_devices *holders,
                      struct mig_error *error)
{
    uint32_t slice_count = table->slice_count;
    struct mig_dp_slice *slices =
        realloc(table->slices, ((size_t)slice_count + previous->slice_count + 1) * sizeof(*slices));

    if (!slices) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not list the node's devices");
    }
    table->slices = slices;
    for (uint32_t i = 0; i < previous->slice_count; i++) {
        keep_if_needed(table, slice_count, previous, &previous->slices[i], node, holders);
    }
    mig_dp_table_sort(table);
    return MIG_OK;
}

bool mig_dp_slice_is_withheld(const struct mig_dp_slice *slice,
                              const struct mig_dp_withheld *withheld, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(slice->gpu_uuid, withheld[i].gpu_uuid) == 0 &&
            slice->gi_profile == withheld[i].gi_profile &&
            (slice->gi_profile == MIG_DP_WHOLE_GPU || slice->start == withheld[i].start)) {
            return true;
        }
    }
    return false;
}

void mig_dp_table_withhold(struct mig_dp_table *table, const struct mig_dp_withheld *withheld,
                           size_t count)
{
    for (uint32_t i = 0; i < table->slice_count; i++) {
        struct mig_dp_slice *slice = &table->slices[i];

        if (!slice->unhealthy && mig_dp_slice_is_withheld(slice, withheld, count)) {
            set_unhealthy(slice, "is about to be changed: no new pod is given it");
        }
    }
}

bool mig_dp_resource_equal(const struct mig_dp_table *a, const struct mig_dp_resource *in_a,
                           const struct mig_dp_table *b, const struct mig_dp_resource *in_b)
{
    if (!in_a || !in_b) {
        return in_a == in_b;
    }
    if (in_a->count != in_b->count) {
        return false;
    }
    for (uint32_t i = 0; i < in_a->count; i++) {
        const struct mig_dp_slice *left = &a->slices[in_a->first + i];
        const struct mig_dp_slice *right = &b->slices[in_b->first + i];

        if (strcmp(left->uuid, right->uuid) != 0 || left->replicas != right->replicas ||
            left->unhealthy != right->unhealthy || left->numa != right->numa) {
            return false;
        }
    }
    return true;
}
