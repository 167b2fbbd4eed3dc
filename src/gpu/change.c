/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps, modes, and reaching one side of a journal.
 *
 * Reaching works from what is there, never from what should be there: the state is read, the steps
 * to the wanted side follow from it, and afterwards it is read again. So the same code undoes a
 * failed run, finishes or undoes an interrupted one, and may itself be interrupted at any point.
 */
#include "gpu/change.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "gpu/operation.h"
#include "gpu/process.h"
#include "gpu/reset.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define BUSY_POLL_MS 50
#define HOLDER_MAX 6 /* named in a message */

void mig_tell(const struct mig_apply *apply, enum mig_apply_stage stage, uint32_t gpu,
              const char *format, ...)
{
    char text[160];
    va_list arguments;
    struct mig_apply_progress progress = {
        .stage = stage,
        .gpu = gpu,
        .step = apply->step,
        .step_count = apply->step_count,
        .text = text,
    };

    if (!apply->options.progress) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    apply->options.progress(&progress, apply->options.progress_data);
}

/* ---- who is in the way ---- */

/* Adds the processes of a GPU (gi_id MIG_ID_NONE) or of an instance to the error. */
static void name_holders(struct mig_apply *apply, const char *uuid, uint32_t gi_id,
                         struct mig_error *error)
{
    MIG_CLEANUP(cleanup_node) struct mig_node *node = NULL;
    const struct mig_gpu *gpu;
    unsigned count = 0;

    if (mig_inventory_read(apply->session, &node, NULL) < 0) {
        return;
    }
    gpu = mig_find_uuid(node, uuid);
    for (uint32_t i = 0; gpu && i < gpu->process_known && count < HOLDER_MAX; i++) {
        if (gi_id == MIG_ID_NONE || gpu->processes[i].gi_id == gi_id) {
            char label[MIG_HOLDER_SIZE + 16];

            mig_process_label(&gpu->processes[i], label, sizeof(label));
            mig_error_add_holder(error, "%s", label);
            count++;
        }
    }
    if (count == 0) {
        mig_error_hint(error, MIG_E_BUSY,
                       "no process is listed for it; monitors (DCGM, nvidia-persistenced) and "
                       "kernel clients (nvidia_drm) hold GPUs too: fuser -v /dev/nvidia*");
    }
}

/* ---- steps ---- */

static int find_gi(const struct mig_layout *layout, unsigned enum_value, unsigned start)
{
    for (int i = 0; i < layout->gi_count; i++) {
        const struct mig_gi *gi = &layout->gis[i];

        if (gi->start == start && layout->model->profiles[gi->profile].enum_value == enum_value) {
            return i;
        }
    }
    return -1;
}

static int find_ci(const struct mig_gi *gi, uint32_t id)
{
    for (int i = 0; i < gi->ci_count; i++) {
        if (gi->cis[i].id == id) {
            return i;
        }
    }
    return -1;
}

static void describe_step(const struct mig_model *model, const struct mig_step *step, char *buffer,
                          size_t size)
{
    const struct mig_profile *profile = &model->profiles[step->gi_profile];

    switch (step->kind) {
    case MIG_STEP_CREATE_GI:
        snprintf(buffer, size, "create %s at %u", profile->name, step->gi_start);
        break;
    case MIG_STEP_DESTROY_GI:
        snprintf(buffer, size, "destroy %s at %u", profile->name, step->gi_start);
        break;
    case MIG_STEP_CREATE_CI:
        snprintf(buffer, size, "create compute instance %s in %s at %u",
                 profile->ci_profiles[step->ci_profile].name, profile->name, step->gi_start);
        break;
    case MIG_STEP_DESTROY_CI:
        snprintf(buffer, size, "destroy compute instance %s of %s at %u",
                 profile->ci_profiles[step->ci_profile].name, profile->name, step->gi_start);
        break;
    }
}

static bool is_stopped(const struct mig_apply *apply)
{
    return apply->options.stop && apply->options.stop(apply->options.stop_data);
}

/* Runs an operation; while a destroy is refused as in use, tries again as long as allowed. */
static int run_patiently(struct mig_apply *apply, struct mig_operation *operation,
                         struct mig_error *error)
{
    uint64_t end_ms = mig_now_ms() + apply->options.busy_timeout_ms;
    int rc;

    for (;;) {
        rc = mig_operation_run(apply->session, operation, error);
        if (operation->code != NVML_ERROR_IN_USE || operation->kind == MIG_STEP_CREATE_GI ||
            operation->kind == MIG_STEP_CREATE_CI || mig_now_ms() >= end_ms || is_stopped(apply)) {
            break;
        }
        mig_tell(apply, MIG_STAGE_WAIT_IDLE, operation->gpu, "waiting until it is idle");
        mig_sleep_ms(BUSY_POLL_MS);
    }
    if (rc == MIG_E_BUSY) {
        name_holders(apply, operation->uuid,
                     operation->kind == MIG_STEP_CREATE_GI ? MIG_ID_NONE : operation->gi_id, error);
    }
    return rc;
}

/* Lets our copy of the layout follow a step that was carried out. */
static void follow(struct mig_layout *layout, int gi_index, uint8_t profile, int ci_profile,
                   const struct mig_operation *operation)
{
    struct mig_gi *gi = gi_index >= 0 ? &layout->gis[gi_index] : NULL;
    int ci_index;

    switch (operation->kind) {
    case MIG_STEP_CREATE_GI:
        if (layout->gi_count < MIG_GI_MAX) {
            layout->gis[layout->gi_count++] = (struct mig_gi){
                .profile = profile, .start = operation->gi_start, .id = operation->gi_id};
        }
        break;
    case MIG_STEP_DESTROY_GI:
        if (gi) {
            *gi = layout->gis[--layout->gi_count];
        }
        break;
    case MIG_STEP_CREATE_CI:
        if (gi && gi->ci_count < MIG_CI_MAX) {
            gi->cis[gi->ci_count++] = (struct mig_ci){.profile = (uint8_t)ci_profile,
                                                      .start = operation->ci_start,
                                                      .id = operation->ci_id};
        }
        break;
    case MIG_STEP_DESTROY_CI:
        ci_index = gi ? find_ci(gi, operation->ci_id) : -1;
        if (ci_index >= 0) {
            gi->cis[ci_index] = gi->cis[--gi->ci_count];
        }
        break;
    }
}

/*
 * Compute instances that are still in a GPU instance that goes: a plan destroys them by steps of
 * their own, and this is for those that a step was not told of.
 */
static int empty_gi(struct mig_apply *apply, struct mig_gpu *gpu, int gi_index,
                    struct mig_operation operation, struct mig_error *error)
{
    struct mig_gi *gi = &gpu->layout.gis[gi_index];

    operation.kind = MIG_STEP_DESTROY_CI;
    while (gi->ci_count > 0) {
        int rc;

        operation.ci_id = gi->cis[gi->ci_count - 1].id;
        rc = run_patiently(apply, &operation, error);
        if (rc < 0) {
            return rc;
        }
        gi->ci_count--;
    }
    return 0;
}

/* Fills in what the operation needs, by the numbers of the GPU's own model. */
static int prepare(const struct mig_gpu *gpu, const struct mig_model *model,
                   const struct mig_step *step, int *ret_profile, int *ret_gi,
                   struct mig_operation *ret, struct mig_error *error)
{
    const struct mig_profile *meant = &model->profiles[step->gi_profile];
    const struct mig_model *own = gpu->layout.model;
    int profile = own ? mig_model_find_enum(own, meant->enum_value) : MIG_UNKNOWN;

    if (profile < 0 || own->profiles[profile].driver_id < 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "the driver does not know the profile");
    }
    *ret_profile = profile;
    *ret_gi = find_gi(&gpu->layout, meant->enum_value, step->gi_start);
    *ret = (struct mig_operation){
        .kind = step->kind,
        .gpu = gpu->index,
        .gi_id = *ret_gi >= 0 ? gpu->layout.gis[*ret_gi].id : step->gi_id,
        .ci_id = step->ci_id,
        .gi_profile_id = (uint32_t)own->profiles[profile].driver_id,
        .gi_start = step->gi_start,
        .gi_size = own->profiles[profile].size,
        .ci_start = MIG_START_ANY,
    };
    mig_text_copy(ret->uuid, sizeof(ret->uuid), gpu->uuid);
    if (step->kind == MIG_STEP_CREATE_CI || step->kind == MIG_STEP_DESTROY_CI) {
        ret->ci_profile = meant->ci_profiles[step->ci_profile].enum_value;
        ret->ci_start = step->ci_start;
    }
    if (*ret_gi < 0 && step->kind != MIG_STEP_CREATE_GI) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "there is no such GPU instance");
    }
    return 0;
}

static int find_ci_profile(const struct mig_profile *profile, unsigned enum_value)
{
    for (int i = 0; i < profile->ci_profile_count; i++) {
        if (profile->ci_profiles[i].enum_value == enum_value) {
            return i;
        }
    }
    return 0;
}

int mig_change_step(struct mig_apply *apply, struct mig_gpu *gpu, const struct mig_model *model,
                    const struct mig_step *step, struct mig_error *error)
{
    struct mig_operation operation = {0};
    char text[128];
    int profile = 0, gi_index = -1;
    int rc;

    describe_step(model, step, text, sizeof(text));
    mig_tell(apply, MIG_STAGE_STEP, gpu->index, "%s", text);
    rc = prepare(gpu, model, step, &profile, &gi_index, &operation, error);
    if (rc == 0 && step->kind == MIG_STEP_DESTROY_GI) {
        rc = empty_gi(apply, gpu, gi_index, operation, error);
    }
    if (rc == 0) {
        rc = run_patiently(apply, &operation, error);
    }
    if (rc < 0) {
        mig_error_prefix(error, "could not %s on GPU %u", text, gpu->index);
        return rc;
    }
    follow(&gpu->layout, gi_index, (uint8_t)profile,
           find_ci_profile(&gpu->layout.model->profiles[profile], operation.ci_profile),
           &operation);
    return 0;
}

/* ---- modes ---- */

/* Tries to set the mode, again while the GPU is in use, as long as allowed. */
static int set_mode_patiently(struct mig_apply *apply, struct mig_mode_change *change,
                              struct mig_error *error)
{
    uint64_t end_ms = mig_now_ms() + apply->options.busy_timeout_ms;

    for (;;) {
        int rc = mig_mode_change_run(apply->session, change, error);

        if ((change->code != NVML_ERROR_IN_USE && change->activation != NVML_ERROR_IN_USE) ||
            mig_now_ms() >= end_ms || is_stopped(apply)) {
            return rc;
        }
        mig_tell(apply, MIG_STAGE_WAIT_IDLE, change->gpu, "waiting until the GPU is idle");
        mig_sleep_ms(BUSY_POLL_MS);
    }
}

static void note_reset(struct mig_apply *apply, const struct mig_gpu *gpu)
{
    if (gpu->index < MIG_GPU_MAX) {
        apply->report->reset_gpus |= UINT64_C(1) << gpu->index;
    }
}

static int reset_gpu(struct mig_apply *apply, const struct mig_gpu *gpu,
                     struct mig_mode_change *change, struct mig_error *error)
{
    struct mig_error reset_error = {0}, resume_error = {0};
    int rc;

    mig_tell(apply, MIG_STAGE_RESET, gpu->index, "reset %s", gpu->bus_id);
    rc = mig_session_suspend(apply->session, &reset_error);
    if (rc == 0) {
        rc = mig_reset_run(apply->options.reset_command, apply->options.reset_root, gpu->bus_id,
                           MIG_RESET_TIMEOUT_MS, &reset_error);
    }
    if (mig_session_resume(apply->session, &resume_error) < 0) {
        if (error) {
            *error = resume_error;
        }
        return MIG_E_FAILED;
    }
    if (rc < 0) {
        /* whoever holds the GPU matters only when the command ran and was refused */
        if (reset_error.domain == MIG_DOMAIN_EXIT) {
            name_holders(apply, gpu->uuid, MIG_ID_NONE, &reset_error);
        }
        if (error) {
            *error = reset_error;
        }
        return rc;
    }
    apply->report->reset_count++;
    note_reset(apply, gpu);
    change->set = false;
    return mig_mode_change_run(apply->session, change, error);
}

static int still_pending(struct mig_apply *apply, const struct mig_mode_change *change,
                         struct mig_error *error)
{
    if (change->activation == NVML_ERROR_IN_USE) {
        mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NVML, NVML_ERROR_IN_USE,
                      "the GPU is in use, so the mode stays pending");
        name_holders(apply, change->uuid, MIG_ID_NONE, error);
        return MIG_E_BUSY;
    }
    mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NVML, (int)change->activation,
                  "the mode stays pending%s%s", change->activation != NVML_SUCCESS ? ": " : "",
                  change->activation != NVML_SUCCESS
                      ? mig_nvml_text(apply->session, change->activation)
                      : "");
    return mig_error_hint(error, MIG_E_FAILED,
                          "the GPU has to be reset, in a virtual machine by rebooting the machine");
}

static int change_mode(struct mig_apply *apply, const struct mig_gpu *gpu,
                       struct mig_mode_change *change, bool may_reset, struct mig_error *error)
{
    int rc = set_mode_patiently(apply, change, error);

    if (rc < 0) {
        if (rc == MIG_E_BUSY) {
            name_holders(apply, gpu->uuid, MIG_ID_NONE, error);
        }
        return rc;
    }
    if (change->current == change->mode && change->pending == change->mode) {
        return 0;
    }
    if (apply->options.skip_reset && change->pending == change->mode) {
        return 1;
    }
    if (change->activation == NVML_ERROR_IN_USE || !may_reset || change->pending != change->mode) {
        return still_pending(apply, change, error);
    }
    rc = reset_gpu(apply, gpu, change, error);
    if (rc < 0) {
        return rc;
    }
    return change->current == change->mode ? 0 : still_pending(apply, change, error);
}

int mig_change_mode(struct mig_apply *apply, const struct mig_gpu *gpu, bool mode, bool may_reset,
                    struct mig_error *error)
{
    struct mig_mode_change change = {.gpu = gpu->index, .set = true, .mode = mode};
    int rc;

    mig_tell(apply, MIG_STAGE_MODE, gpu->index, "switch MIG mode %s", mode ? "on" : "off");
    mig_text_copy(change.uuid, sizeof(change.uuid), gpu->uuid);
    rc = change_mode(apply, gpu, &change, may_reset, error);
    if (rc == 0 && gpu->layout.model && gpu->layout.model->mode_needs_reset) {
        note_reset(apply, gpu); /* an idle GPU is reset by the driver itself */
    }
    if (rc < 0) {
        mig_error_prefix(error, "could not switch MIG mode of GPU %u %s", gpu->index,
                         mode ? "on" : "off");
    }
    return rc;
}

/* ---- sides ---- */

struct mig_gpu *mig_find_uuid(struct mig_node *node, const char *uuid)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (strcmp(node->gpus[i].uuid, uuid) == 0) {
            return &node->gpus[i];
        }
    }
    return NULL;
}

static const struct mig_geometry *geometry_of(const struct mig_journal_gpu *gpu, enum mig_side side)
{
    return side == MIG_SIDE_OLD ? &gpu->old_geometry : &gpu->new_geometry;
}

static const struct mig_geometry *other_of(const struct mig_journal_gpu *gpu, enum mig_side side)
{
    return geometry_of(gpu, side == MIG_SIDE_OLD ? MIG_SIDE_NEW : MIG_SIDE_OLD);
}

static bool mode_of(const struct mig_journal_gpu *gpu, enum mig_side side)
{
    return side == MIG_SIDE_OLD ? gpu->old_mode : gpu->new_mode;
}

static bool gpu_is_at(const struct mig_journal_gpu *entry, const struct mig_gpu *gpu,
                      enum mig_side side)
{
    MIG_AUTO_FREE struct mig_steps *steps = malloc(sizeof(*steps));
    bool mode = mode_of(entry, side);

    if (!steps || gpu->problem[0] != '\0') {
        return false;
    }
    if (entry->set_mode && (gpu->mig_mode != mode || gpu->mig_mode_pending != mode)) {
        return false;
    }
    return mig_geometry_steps(&gpu->layout, geometry_of(entry, side), other_of(entry, side), steps,
                              NULL) == 0 &&
           steps->count == 0;
}

/*
 * A GPU that is gone took its instances along. One that does not even tell its UUID may be any:
 * then nothing is known of those that were not found.
 */
static const struct mig_gpu *find_nameless(const struct mig_node *node)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if (node->gpus[i].uuid[0] == '\0') {
            return &node->gpus[i];
        }
    }
    return NULL;
}

bool mig_is_at(const struct mig_journal *journal, struct mig_node *node, enum mig_side side)
{
    for (uint32_t i = 0; i < journal->gpu_count; i++) {
        const struct mig_gpu *gpu = mig_find_uuid(node, journal->gpus[i].uuid);

        if (gpu ? !gpu_is_at(&journal->gpus[i], gpu, side) : find_nameless(node) != NULL) {
            return false;
        }
    }
    return true;
}

/* *ret is NULL when the GPU is gone. */
static int read_again(struct mig_apply *apply, const char *uuid, struct mig_node **node,
                      struct mig_gpu **ret, struct mig_error *error)
{
    struct mig_node *fresh = NULL;
    const struct mig_gpu *bad;
    int rc = mig_inventory_read(apply->session, &fresh, error);

    if (rc < 0) {
        return rc;
    }
    mig_node_free(*node);
    *node = fresh;
    *ret = mig_find_uuid(fresh, uuid);
    bad = *ret ? *ret : find_nameless(fresh);
    if (bad && bad->problem[0] != '\0') {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "GPU %u: %s", bad->index,
                             bad->problem);
    }
    return 0;
}

static int reach_geometry(struct mig_apply *apply, struct mig_gpu *gpu,
                          const struct mig_geometry *target, const struct mig_geometry *other,
                          struct mig_error *error)
{
    MIG_AUTO_FREE struct mig_steps *steps = malloc(sizeof(*steps));
    int rc;

    if (!steps) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not plan the way back");
    }
    rc = mig_geometry_steps(&gpu->layout, target, other, steps, error);
    for (uint16_t i = 0; rc == 0 && i < steps->count; i++) {
        rc = mig_change_step(apply, gpu, gpu->layout.model, &steps->steps[i], error);
    }
    return rc;
}

static int reach_gpu(struct mig_apply *apply, const struct mig_journal_gpu *entry,
                     enum mig_side side, struct mig_error *error)
{
    static const struct mig_geometry nothing;
    const struct mig_geometry *target = geometry_of(entry, side);
    const struct mig_geometry *other = other_of(entry, side);
    bool mode = mode_of(entry, side);
    MIG_CLEANUP(cleanup_node) struct mig_node *node = NULL;
    struct mig_gpu *gpu = NULL;
    int rc = read_again(apply, entry->uuid, &node, &gpu, error);

    if (rc < 0 || !gpu) {
        return rc;
    }
    if (entry->set_mode && (gpu->mig_mode != mode || gpu->mig_mode_pending != mode)) {
        /* what is ours goes first: a mode change takes it along or is refused because of it */
        if (gpu->mig_mode && !mode) {
            rc = reach_geometry(apply, gpu, &nothing, other, error);
        }
        if (rc == 0) {
            rc = mig_change_mode(apply, gpu, mode, entry->may_reset, error);
        }
        if (rc == 1) {
            rc = mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                               "MIG mode of GPU %u stays pending until the GPU is reset",
                               gpu->index);
        }
        if (rc == 0) {
            rc = read_again(apply, entry->uuid, &node, &gpu, error);
        }
    }
    return rc < 0 || !gpu ? rc : reach_geometry(apply, gpu, target, other, error);
}

int mig_reach(struct mig_apply *apply, const struct mig_journal *journal, enum mig_side side,
              struct mig_error *error)
{
    MIG_CLEANUP(cleanup_node) struct mig_node *node = NULL;
    struct mig_error ignored;
    int result = 0;

    for (uint32_t i = journal->gpu_count; i-- > 0;) {
        int rc = reach_gpu(apply, &journal->gpus[i], side, result == 0 ? error : &ignored);

        result = result == 0 ? rc : result;
    }
    if (result < 0) {
        return result;
    }
    result = mig_inventory_read(apply->session, &node, error);
    if (result == 0 && !mig_is_at(journal, node, side)) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "the driver reported success, but the instances are not as they "
                             "should be");
    }
    return result;
}

void mig_describe_now(struct mig_apply *apply, const struct mig_journal *journal, char *buffer,
                      size_t size)
{
    MIG_CLEANUP(cleanup_node) struct mig_node *node = NULL;
    struct mig_error error = {0};
    size_t length = 0;

    buffer[0] = '\0';
    if (mig_inventory_read(apply->session, &node, &error) < 0) {
        snprintf(buffer, size, "the present state could not be read: %s", error.message);
        return;
    }
    for (uint32_t i = 0; i < journal->gpu_count && length < size; i++) {
        const struct mig_gpu *gpu = mig_find_uuid(node, journal->gpus[i].uuid);
        char instances[256] = "";
        int count;

        if (gpu && gpu->layout.model && gpu->mig_mode) {
            mig_geometry_describe(&gpu->layout, instances, sizeof(instances));
        }
        count = snprintf(buffer + length, size - length, "%sGPU %d: %s%s%s", length > 0 ? "; " : "",
                         gpu ? (int)gpu->index : -1,
                         !gpu                      ? "gone"
                         : gpu->problem[0] != '\0' ? gpu->problem
                         : gpu->mig_mode           ? "MIG on"
                                                   : "MIG off",
                         instances[0] != '\0' ? ", " : "", instances);
        length += count > 0 ? (size_t)count : 0;
    }
}
