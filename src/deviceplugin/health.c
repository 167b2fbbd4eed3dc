/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Marks on parts of GPUs, set by errors and lifted by repairs.
 *
 * A mark names instances by the driver's ids, as errors do. When an instance with a mark is no
 * longer in the snapshot, or its ids stand for another profile or place, it was destroyed: the mark
 * is earned from then on, whatever is made under the same ids afterwards. When there are too many
 * marks those of one GPU are joined into one for the whole GPU: rather too much unhealthy than a
 * sick device handed out.
 */
#include "deviceplugin/health.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

/*
 * Errors that say something about the application and not about the device: graphics engine
 * exception, memory page fault, preemptive cleanup, context switch timeout after those, video
 * processor exception. 109 is for compatibility with NVIDIA's plugin.
 */
static const uint64_t application_xids[] = {13, 31, 43, 45, 68, 109};

/*
 * Errors of the GPU as such, whichever instance the driver names: double-bit ECC, PMU halt and
 * breakpoint, row remap failure, NVLink, fallen off the bus, uncontained ECC, GSP time-outs and
 * errors, unrecovered ECC, GPU initialisation.
 */
static const uint64_t gpu_xids[] = {48, 61, 62, 64, 74, 79, 95, 119, 120, 140, 143};

static bool is_among(const uint64_t *xids, size_t count, uint64_t xid)
{
    for (size_t i = 0; i < count; i++) {
        if (xids[i] == xid) {
            return true;
        }
    }
    return false;
}

static enum mig_dp_xid_action watched_action(uint64_t xid)
{
    return is_among(gpu_xids, MIG_ARRAY_SIZE(gpu_xids), xid) ? MIG_DP_XID_GPU : MIG_DP_XID_DEVICE;
}

enum mig_dp_xid_action mig_dp_xid_policy(const struct mig_dp_health_config *config, uint64_t xid)
{
    for (uint32_t i = config->rule_count; i-- > 0;) {
        if (config->rules[i].xid == xid) {
            return config->rules[i].action == MIG_DP_XID_DEFAULT ? watched_action(xid)
                                                                 : config->rules[i].action;
        }
    }
    if (config->enable_all) {
        return watched_action(xid);
    }
    if (config->disable_all || is_among(application_xids, MIG_ARRAY_SIZE(application_xids), xid)) {
        return MIG_DP_XID_IGNORE;
    }
    return watched_action(xid);
}

static void remove_mark(struct mig_dp_health *health, uint32_t index)
{
    health->marks[index] = health->marks[--health->mark_count];
}

static void remove_marks_of(struct mig_dp_health *health, const char *gpu_uuid)
{
    for (uint32_t i = health->mark_count; i-- > 0;) {
        if (strcmp(health->marks[i].gpu_uuid, gpu_uuid) == 0) {
            remove_mark(health, i);
        }
    }
}

/* Adds a mark, or renews the one that is there. */
static void put_mark(struct mig_dp_health *health, const struct mig_dp_mark *mark)
{
    struct mig_dp_mark joined = *mark;

    for (uint32_t i = 0; i < health->mark_count; i++) {
        struct mig_dp_mark *there = &health->marks[i];

        if (strcmp(there->gpu_uuid, mark->gpu_uuid) == 0 && there->gi_id == mark->gi_id &&
            there->ci_id == mark->ci_id && (there->xid == 0) == (mark->xid == 0)) {
            *there = *mark;
            return;
        }
    }
    if (health->mark_count == MIG_DP_MARKS_MAX) {
        remove_marks_of(health, mark->gpu_uuid);
        joined.gi_id = joined.ci_id = MIG_ID_NONE;
    }
    if (health->mark_count < MIG_DP_MARKS_MAX) {
        health->marks[health->mark_count++] = joined;
    }
}

bool mig_dp_health_xid(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                       const char *gpu_uuid, uint32_t gi_id, uint32_t ci_id, uint64_t xid)
{
    enum mig_dp_xid_action action = mig_dp_xid_policy(config, xid);
    struct mig_dp_mark mark = {.gi_id = MIG_ID_NONE, .ci_id = MIG_ID_NONE, .xid = xid};

    if (action == MIG_DP_XID_IGNORE ||
        !mig_text_copy(mark.gpu_uuid, sizeof(mark.gpu_uuid), gpu_uuid)) {
        return false;
    }
    if (action == MIG_DP_XID_DEVICE && gi_id != MIG_ID_NONE) {
        mark.gi_id = gi_id;
        mark.ci_id = ci_id;
    }
    put_mark(health, &mark);
    return true;
}

static void earn(struct mig_dp_mark *mark, const struct mig_dp_health_config *config,
                 uint64_t now_ms)
{
    if (!mark->earned) {
        mark->earned = true;
        mark->free_ms = now_ms + config->hold_down_ms;
    }
}

void mig_dp_health_reset(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                         const char *gpu_uuid, uint64_t now_ms)
{
    for (uint32_t i = 0; i < health->mark_count; i++) {
        if (!gpu_uuid || strcmp(health->marks[i].gpu_uuid, gpu_uuid) == 0) {
            earn(&health->marks[i], config, now_ms);
        }
    }
}

bool mig_dp_health_recovery(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                            const char *gpu_uuid, uint32_t action, uint64_t now_ms)
{
    struct mig_dp_mark mark = {.gi_id = MIG_ID_NONE, .ci_id = MIG_ID_NONE, .recovery = action};
    bool demanded = false;

    if (config->disable_all && !config->enable_all) {
        action = MIG_DP_RECOVERY_NONE; /* nothing is demanded of whoever does not look */
    }
    if (action != MIG_DP_RECOVERY_NONE && action != MIG_DP_RECOVERY_IMEX_DOMAIN) {
        if (!mig_text_copy(mark.gpu_uuid, sizeof(mark.gpu_uuid), gpu_uuid)) {
            return false;
        }
        put_mark(health, &mark);
        return true;
    }
    for (uint32_t i = 0; i < health->mark_count; i++) {
        const struct mig_dp_mark *there = &health->marks[i];

        demanded |= there->xid == 0 && !there->earned && strcmp(there->gpu_uuid, gpu_uuid) == 0;
    }
    if (demanded) {
        mig_dp_health_reset(health, config, gpu_uuid, now_ms);
    }
    return false;
}

static const struct mig_gpu *find_gpu(const struct mig_node *node, const char *uuid)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (strcmp(node->gpus[i].uuid, uuid) == 0) {
            return &node->gpus[i];
        }
    }
    return NULL;
}

/* What the driver's ids stand for: profiles and places in one number; 0 = there is no such
 * instance.
 */
static uint64_t find_instance(const struct mig_gpu *gpu, uint32_t gi_id, uint32_t ci_id)
{
    for (unsigned i = 0; i < gpu->layout.gi_count; i++) {
        const struct mig_gi *gi = &gpu->layout.gis[i];
        uint64_t place =
            UINT64_C(1) << 32 | (uint64_t)gi->profile << 24 | (uint64_t)gi->start << 16;

        if (gi->id != gi_id) {
            continue;
        }
        if (ci_id == MIG_ID_NONE) {
            return place;
        }
        for (unsigned j = 0; j < gi->ci_count; j++) {
            if (gi->cis[j].id == ci_id) {
                return place | (uint64_t)gi->cis[j].profile << 8 | gi->cis[j].start;
            }
        }
    }
    return 0;
}

/* Whether the instance is gone, or another one has its ids: a change of ours destroys and makes
 * between two snapshots. A snapshot may be older than the error, so only later ones count. */
static bool is_another(struct mig_dp_mark *mark, const struct mig_gpu *gpu)
{
    uint64_t place = 0;

    if (mark->gi_id == MIG_ID_NONE) {
        return false;
    }
    place = find_instance(gpu, mark->gi_id, mark->ci_id);
    if (mark->place == 0) {
        mark->place = place;
    }
    return place != mark->place || place == 0;
}

void mig_dp_health_observe(struct mig_dp_health *health, const struct mig_dp_health_config *config,
                           const struct mig_node *node, uint64_t now_ms)
{
    for (uint32_t i = 0; i < health->mark_count; i++) {
        struct mig_dp_mark *mark = &health->marks[i];
        const struct mig_gpu *gpu = find_gpu(node, mark->gpu_uuid);

        if (!gpu || gpu->problem[0]) {
            mark->lost = true;
        } else if (is_another(mark, gpu) || mark->lost) {
            earn(mark, config, now_ms);
        }
    }
}

bool mig_dp_health_tick(struct mig_dp_health *health, uint64_t now_ms)
{
    uint32_t before = health->mark_count;

    for (uint32_t i = health->mark_count; i-- > 0;) {
        if (health->marks[i].earned && now_ms >= health->marks[i].free_ms) {
            remove_mark(health, i);
        }
    }
    return health->mark_count < before;
}

uint64_t mig_dp_health_next_ms(const struct mig_dp_health *health)
{
    uint64_t next_ms = UINT64_MAX;

    for (uint32_t i = 0; i < health->mark_count; i++) {
        if (health->marks[i].earned && health->marks[i].free_ms < next_ms) {
            next_ms = health->marks[i].free_ms;
        }
    }
    return next_ms;
}

static bool covers(const struct mig_dp_mark *mark, const struct mig_dp_slice *slice)
{
    return strcmp(mark->gpu_uuid, slice->gpu_uuid) == 0 &&
           (mark->gi_id == MIG_ID_NONE || slice->gi_id == MIG_ID_NONE ||
            (mark->gi_id == slice->gi_id &&
             (mark->ci_id == MIG_ID_NONE || mark->ci_id == slice->ci_id)));
}

const char *mig_dp_recovery_name(uint32_t action)
{
    static const char *const names[] = {
        [MIG_DP_RECOVERY_NONE] = "nothing",
        [MIG_DP_RECOVERY_GPU_RESET] = "a reset of the GPU",
        [MIG_DP_RECOVERY_REBOOT] = "a reboot of the node",
        [MIG_DP_RECOVERY_DRAIN_P2P] = "the GPU to be drained of peer traffic",
        [MIG_DP_RECOVERY_DRAIN_AND_RESET] = "the GPU to be drained and reset",
        [MIG_DP_RECOVERY_IMEX_DOMAIN] = "recovery of the IMEX domain",
    };

    return action < MIG_ARRAY_SIZE(names) ? names[action] : "a recovery that migd does not know";
}

static void explain(const struct mig_dp_mark *mark, char *buffer, size_t size)
{
    const char *what = mark->gi_id == MIG_ID_NONE ? "the GPU" : "the instance";
    const char *then =
        mark->earned ? "was repaired and is watched for a while" : "has to be reset or made again";

    if (mark->xid == 0) {
        snprintf(buffer, size, "the driver asks for %s; %s %s",
                 mig_dp_recovery_name(mark->recovery), what,
                 mark->earned ? then : "cannot be used before that");
    } else {
        snprintf(buffer, size, "critical error, XID %llu; %s %s", (unsigned long long)mark->xid,
                 what, then);
    }
}

void mig_dp_health_apply(const struct mig_dp_health *health, struct mig_dp_table *table)
{
    for (uint32_t i = 0; i < table->slice_count; i++) {
        struct mig_dp_slice *slice = &table->slices[i];

        for (uint32_t j = 0; !slice->unhealthy && j < health->mark_count; j++) {
            if (covers(&health->marks[j], slice)) {
                slice->unhealthy = true;
                explain(&health->marks[j], slice->reason, sizeof(slice->reason));
            }
        }
    }
}
