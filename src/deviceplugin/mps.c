/* SPDX-License-Identifier: Apache-2.0 */
/*
 * States are kept by UUID and only for devices that are asked for, so that a slice that is made
 * anew under an old UUID begins without one.
 */
#include "deviceplugin/mps.h"
#include "base/text.h"
#include <string.h>

#define PERCENT 100u
#define NO_DAEMON "its MPS control daemon is being started"

void mig_dp_mps_limits(const struct mig_dp_slice *slice, struct mig_dp_mps_device *ret)
{
    uint32_t replicas = slice->replicas > 0 ? slice->replicas : 1;

    memset(ret, 0, sizeof(*ret)); /* lists are compared as they are */
    (void)mig_text_copy(ret->uuid, sizeof(ret->uuid), slice->uuid);
    (void)mig_text_copy(ret->gpu_uuid, sizeof(ret->gpu_uuid), slice->gpu_uuid);
    ret->percentage = replicas < PERCENT ? PERCENT / replicas : 1;
    ret->memory_mib = slice->memory_mib / replicas;
}

static bool is_asked_for(const struct mig_dp_mps *mps, const char *uuid)
{
    for (uint32_t i = 0; i < mps->device_count; i++) {
        if (strcmp(mps->devices[i].uuid, uuid) == 0) {
            return true;
        }
    }
    return false;
}

static struct mig_dp_mps_state *find_state(struct mig_dp_mps *mps, const char *uuid)
{
    for (uint32_t i = 0; i < mps->state_count; i++) {
        if (strcmp(mps->states[i].uuid, uuid) == 0) {
            return &mps->states[i];
        }
    }
    return NULL;
}

static bool add_device(struct mig_dp_mps *mps, const struct mig_dp_mps_device *device)
{
    struct mig_dp_mps_device *at = &mps->devices[mps->device_count];
    bool differs = memcmp(at, device, sizeof(*at)) != 0;

    *at = *device;
    mps->device_count++;
    return differs;
}

bool mig_dp_mps_collect(struct mig_dp_mps *mps, const struct mig_dp_table *table)
{
    uint32_t before = mps->device_count, kept = 0;
    bool differs = false;

    mps->device_count = 0;
    for (uint32_t i = 0; i < table->slice_count && mps->device_count < MIG_DP_MPS_MAX; i++) {
        struct mig_dp_mps_device device;

        if (table->slices[i].mps && !is_asked_for(mps, table->slices[i].uuid)) {
            mig_dp_mps_limits(&table->slices[i], &device);
            differs |= add_device(mps, &device);
        }
    }
    for (uint32_t i = 0; i < mps->state_count; i++) {
        if (is_asked_for(mps, mps->states[i].uuid)) {
            mps->states[kept++] = mps->states[i];
        }
    }
    mps->state_count = kept;
    return differs || before != mps->device_count;
}

bool mig_dp_mps_tell(struct mig_dp_mps *mps, const char *uuid, bool ready, const char *reason)
{
    struct mig_dp_mps_state *state = find_state(mps, uuid), now = {.ready = ready};

    if (!is_asked_for(mps, uuid)) {
        return false;
    }
    (void)mig_text_copy(now.uuid, sizeof(now.uuid), uuid);
    (void)mig_text_copy(now.reason, sizeof(now.reason), reason);
    if (state && state->ready == ready && strcmp(state->reason, now.reason) == 0) {
        return false;
    }
    if (!state) {
        state = &mps->states[mps->state_count++]; /* not more than devices */
    }
    *state = now;
    return true;
}

void mig_dp_mps_apply(const struct mig_dp_mps *mps, struct mig_dp_table *table)
{
    for (uint32_t i = 0; i < table->slice_count; i++) {
        struct mig_dp_slice *slice = &table->slices[i];
        const char *reason = NO_DAEMON;

        if (!slice->mps || slice->unhealthy) {
            continue;
        }
        for (uint32_t j = 0; j < mps->state_count; j++) {
            if (strcmp(mps->states[j].uuid, slice->uuid) == 0) {
                reason = mps->states[j].ready ? NULL : mps->states[j].reason;
            }
        }
        if (reason) {
            slice->unhealthy = true;
            (void)mig_text_copy(slice->reason, sizeof(slice->reason), reason);
        }
    }
}
