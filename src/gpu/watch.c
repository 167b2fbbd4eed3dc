/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See watch.h. One poll is one job: the number of GPUs, the events that have come, and of each GPU
 * its MIG mode; where the driver has no event for changed instances, also how many there are of
 * each profile and the ids of the MIG devices.
 *
 * An event set lives as long as NVML is initialised: a reset in between ends it, which the
 * session's epoch shows, and then everything may have changed.
 */
#include "gpu/watch.h"
#include "base/text.h"
#include "gpu/binding.h"
#include <errno.h>
#include <string.h>

#define HANDLE_MAX 64
#define COUNT_EVERY 5 /* polls: where there are events they are not relied upon alone */
#define RECOVERY_UNKNOWN UINT32_MAX
#define FNV_BASIS 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

struct watched_gpu {
    nvmlDevice_t device;
    bool has_events; /* of changed instances */
    bool has_recovery, has_recovery_events;
    unsigned recovery; /* that was told last; RECOVERY_UNKNOWN = none yet */
    unsigned device_max;
    unsigned profile_count;
    unsigned profiles[MIG_PROFILE_MAX]; /* driver's ids */
    uint64_t mode_print, mode_expected, print, expected;
};

struct mig_watch {
    struct mig_session *session;
    uint32_t epoch; /* of the session when it began to listen */
    bool listening, has_set;
    unsigned poll_count;
    nvmlEventSet_t set;
    uint32_t gpu_count;
    struct watched_gpu gpus[MIG_GPU_MAX];
    struct mig_watch_news news;
};

/* ---- what a GPU needs to recover ---- */

static void look_at_recovery(struct mig_watch *watch, uint32_t index)
{
    struct watched_gpu *gpu = &watch->gpus[index];
    struct mig_watch_news *news = &watch->news;
    struct mig_watch_recovery *told = &news->recoveries[news->recovery_count];
    nvmlFieldValue_t value = {.fieldId = NVML_FI_DEV_GET_GPU_RECOVERY_ACTION};
    nvmlReturn_t code;

    if (!gpu->has_recovery || !gpu->device || news->recovery_count == MIG_GPU_MAX) {
        return;
    }
    code = MIG_CALL(watch->session, index, nvmlDeviceGetFieldValues, gpu->device, 1, &value);
    code = code == NVML_SUCCESS ? value.nvmlReturn : code;
    gpu->has_recovery = code != NVML_ERROR_NOT_SUPPORTED && code != NVML_ERROR_FUNCTION_NOT_FOUND &&
                        code != NVML_ERROR_INVALID_ARGUMENT;
    if (code != NVML_SUCCESS || value.value.uiVal == gpu->recovery ||
        MIG_CALL(watch->session, index, nvmlDeviceGetUUID, gpu->device, told->gpu_uuid,
                 (unsigned)sizeof(told->gpu_uuid)) != NVML_SUCCESS) {
        return;
    }
    told->action = gpu->recovery = value.value.uiVal;
    news->recovery_count++;
}

/* An event tells of a new demand. That one is met by a reset need not be an event: it is looked
 * for while there is one, and always where the driver has the field alone. */
static void look_at_demands(struct mig_watch *watch)
{
    for (uint32_t i = 0; i < watch->gpu_count; i++) {
        const struct watched_gpu *gpu = &watch->gpus[i];

        if (!gpu->has_recovery_events || gpu->recovery != NVML_GPU_RECOVERY_ACTION_NONE) {
            look_at_recovery(watch, i);
        }
    }
}

/* ---- listening ---- */

static void listen_to(struct mig_watch *watch, uint32_t index)
{
    struct watched_gpu *gpu = &watch->gpus[index];
    unsigned long long types = 0;
    unsigned long long wanted =
        nvmlEventTypeXidCriticalError | nvmlEventMigConfigChange | nvmlEventTypeGpuRecoveryAction;

    gpu->device = NULL;
    gpu->has_events = gpu->has_recovery_events = false;
    gpu->has_recovery = true; /* until the driver says no */
    if (MIG_CALL(watch->session, index, nvmlDeviceGetHandleByIndex_v2, index, &gpu->device) !=
            NVML_SUCCESS ||
        !watch->has_set ||
        MIG_CALL(watch->session, index, nvmlDeviceGetSupportedEventTypes, gpu->device, &types) !=
            NVML_SUCCESS) {
        return;
    }
    wanted &= types;
    if (wanted != 0 && MIG_CALL(watch->session, index, nvmlDeviceRegisterEvents, gpu->device,
                                wanted, watch->set) == NVML_SUCCESS) {
        gpu->has_events = (wanted & nvmlEventMigConfigChange) != 0;
        gpu->has_recovery_events = (wanted & nvmlEventTypeGpuRecoveryAction) != 0;
    }
}

static int listen_to_all(struct mig_watch *watch, struct mig_error *error)
{
    unsigned count = 0;
    nvmlReturn_t code = MIG_CALL(watch->session, MIG_ID_NONE, nvmlDeviceGetCount_v2, &count);

    if (code != NVML_SUCCESS) {
        return mig_nvml_error(watch->session, code, error, "could not count the GPUs");
    }
    watch->has_set =
        MIG_CALL(watch->session, MIG_ID_NONE, nvmlEventSetCreate, &watch->set) == NVML_SUCCESS;
    watch->gpu_count = count < MIG_GPU_MAX ? count : MIG_GPU_MAX;
    for (uint32_t i = 0; i < watch->gpu_count; i++) {
        listen_to(watch, i);
        look_at_recovery(watch, i);
    }
    watch->epoch = watch->session->epoch;
    watch->listening = true;
    watch->news.changed = true;
    return 0;
}

/* ---- what has come ---- */

static void add_xid(struct mig_watch *watch, const nvmlEventData_t *event)
{
    struct mig_watch_xid *xid = &watch->news.xids[watch->news.xid_count];

    *xid = (struct mig_watch_xid){
        .gi_id = event->gpuInstanceId, .ci_id = event->computeInstanceId, .xid = event->eventData};
    /* one that cannot be named is still told: somebody has to look */
    if (MIG_CALL(watch->session, MIG_ID_NONE, nvmlDeviceGetUUID, event->device, xid->gpu_uuid,
                 (unsigned)sizeof(xid->gpu_uuid)) != NVML_SUCCESS) {
        xid->gpu_uuid[0] = '\0';
    }
    watch->news.xid_count++;
    watch->news.changed = true; /* it may have cost the GPU, or ended processes */
}

static void take_events(struct mig_watch *watch)
{
    nvmlReturn_t code = NVML_SUCCESS;
    bool recovery = false;

    while (watch->has_set && watch->news.xid_count < MIG_WATCH_XID_MAX) {
        nvmlEventData_t event = {0};

        code = MIG_CALL(watch->session, MIG_ID_NONE, nvmlEventSetWait_v2, watch->set, &event, 0);
        if (code != NVML_SUCCESS) {
            break;
        }
        if (event.eventType == nvmlEventTypeXidCriticalError) {
            add_xid(watch, &event);
        } else if (event.eventType == nvmlEventTypeGpuRecoveryAction) {
            recovery = true;
        } else {
            watch->news.changed = true;
        }
    }
    if (code != NVML_SUCCESS && code != NVML_ERROR_TIMEOUT && code != NVML_ERROR_GPU_IS_LOST) {
        /* no more events: the numbers have to do */
        watch->has_set = false;
        for (uint32_t i = 0; i < watch->gpu_count; i++) {
            watch->gpus[i].has_events = watch->gpus[i].has_recovery_events = false;
        }
        watch->news.changed = true;
    }
    for (uint32_t i = 0; recovery && i < watch->gpu_count; i++) {
        look_at_recovery(watch, i);
    }
}

/* ---- fingerprints ---- */

static void mix(uint64_t *print, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        *print = (*print ^ (value >> (8 * i) & 0xff)) * FNV_PRIME;
    }
}

static void mix_instances(struct mig_watch *watch, uint32_t index, uint64_t *print)
{
    const struct watched_gpu *gpu = &watch->gpus[index];

    for (unsigned i = 0; i < gpu->profile_count; i++) {
        nvmlGpuInstance_t handles[HANDLE_MAX] = {NULL};
        unsigned count = HANDLE_MAX;

        mix(print, MIG_CALL(watch->session, index, nvmlDeviceGetGpuInstances, gpu->device,
                            gpu->profiles[i], handles, &count));
        mix(print, count);
    }
    for (unsigned i = 0; i < gpu->device_max; i++) {
        unsigned gi = MIG_ID_NONE, ci = MIG_ID_NONE;
        nvmlDevice_t device = NULL;

        if (MIG_CALL(watch->session, index, nvmlDeviceGetMigDeviceHandleByIndex, gpu->device, i,
                     &device) == NVML_SUCCESS) {
            (void)MIG_CALL(watch->session, index, nvmlDeviceGetGpuInstanceId, device, &gi);
            (void)MIG_CALL(watch->session, index, nvmlDeviceGetComputeInstanceId, device, &ci);
        }
        mix(print, (uint64_t)gi << 32 | ci);
    }
}

/* Reads the numbers of a GPU, those of its instances too if they are due. */
static bool has_changed(struct mig_watch *watch, uint32_t index)
{
    struct watched_gpu *gpu = &watch->gpus[index];
    unsigned current = 0, pending = 0;

    gpu->mode_print = FNV_BASIS;
    mix(&gpu->mode_print, gpu->device ? MIG_CALL(watch->session, index, nvmlDeviceGetMigMode,
                                                 gpu->device, &current, &pending)
                                      : NVML_ERROR_GPU_IS_LOST);
    mix(&gpu->mode_print, (uint64_t)current << 32 | pending);
    if (!gpu->has_events || watch->poll_count % COUNT_EVERY == 0) {
        gpu->print = FNV_BASIS;
        if (current == NVML_DEVICE_MIG_ENABLE) {
            mix_instances(watch, index, &gpu->print);
        }
    }
    return gpu->mode_print != gpu->mode_expected || gpu->print != gpu->expected;
}

/* ---- the job ---- */

static int poll_all(struct mig_session *session, void *job, struct mig_error *error)
{
    struct mig_watch *watch = job;
    unsigned count = 0;
    nvmlReturn_t code;

    watch->news = (struct mig_watch_news){.changed = false};
    if (!watch->listening || watch->epoch != session->epoch) {
        return listen_to_all(watch, error);
    }
    code = MIG_CALL(session, MIG_ID_NONE, nvmlDeviceGetCount_v2, &count);
    if (code != NVML_SUCCESS) {
        return mig_nvml_error(session, code, error, "could not count the GPUs");
    }
    watch->news.changed = count != watch->gpu_count;
    take_events(watch);
    watch->poll_count++;
    if (watch->poll_count % COUNT_EVERY == 0) {
        look_at_demands(watch);
    }
    for (uint32_t i = 0; i < watch->gpu_count; i++) {
        watch->news.changed |= has_changed(watch, i);
    }
    return 0;
}

static int stop_listening(struct mig_session *session, void *job, struct mig_error *error)
{
    struct mig_watch *watch = job;

    (void)error;
    if (watch->has_set && watch->epoch == session->epoch) {
        (void)MIG_CALL(session, MIG_ID_NONE, nvmlEventSetFree, watch->set);
    }
    return 0;
}

/* ---- for others ---- */

int mig_watch_new(struct mig_session *session, struct mig_watch **ret, struct mig_error *error)
{
    struct mig_watch *watch = calloc(1, sizeof(*watch));

    if (!watch) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not watch the GPUs");
    }
    watch->session = session;
    for (uint32_t i = 0; i < MIG_GPU_MAX; i++) {
        watch->gpus[i].recovery = RECOVERY_UNKNOWN;
    }
    *ret = watch;
    return 0;
}

void mig_watch_free(struct mig_watch *watch)
{
    void *job = watch;

    if (watch && watch->has_set) {
        (void)mig_session_run(watch->session, stop_listening, &job, NULL);
    }
    free(job);
}

int mig_watch_poll(struct mig_watch **watch, struct mig_watch_news *ret, struct mig_error *error)
{
    void *job = *watch;
    int rc = mig_session_run((*watch)->session, poll_all, &job, error);

    *watch = job;
    if (job) {
        *ret = (*watch)->news;
    }
    return rc;
}

void mig_watch_expect(struct mig_watch *watch, const struct mig_node *node)
{
    for (uint32_t i = 0; i < watch->gpu_count; i++) {
        struct watched_gpu *gpu = &watch->gpus[i];
        const struct mig_model *model = i < node->gpu_count ? node->gpus[i].layout.model : NULL;

        gpu->mode_expected = gpu->mode_print;
        gpu->expected = gpu->print;
        gpu->device_max = model ? model->max_mig_devices : 0;
        gpu->profile_count = 0;
        for (unsigned k = 0; model && k < model->profile_count; k++) {
            if (model->profiles[k].driver_id >= 0) {
                gpu->profiles[gpu->profile_count++] = (unsigned)model->profiles[k].driver_id;
            }
        }
    }
}
