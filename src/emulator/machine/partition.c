/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances and MIG mode, as the driver treats them.
 *
 * The places of an instance come from the GPU's description; a geometry is legal when no two
 * instances overlap, so there is nothing else to know about a product. Where the caller leaves the
 * place open, the driver takes the one that keeps the largest number of (profile, start) pairs
 * possible, the lowest of equals: facts/README.md section 3 shows that this gives every creation
 * order that was captured. Numbers follow from the place (section 4).
 *
 * Each function checks everything before it changes anything.
 */
#include "emulator/machine/partition.h"
#include <string.h>

static uint32_t span(unsigned start, unsigned size)
{
    uint32_t ones = size >= 32 ? 0xffffffffu : (1u << size) - 1;
    return start < 32 ? ones << start : 0;
}

int emu_profile_by_id(const struct emu_gpu_info *info, unsigned driver_id)
{
    for (unsigned i = 0; i < info->profile_count; i++) {
        const struct emu_profile *profile = &info->profiles[i];
        if (profile->driver_id >= 0 && (unsigned)profile->driver_id == driver_id &&
            profile->start_count > 0 && profile->max_instances > 0) {
            return (int)i;
        }
    }
    return EMU_UNKNOWN;
}

int emu_profile_by_enum(const struct emu_gpu_info *info, unsigned enum_value)
{
    for (unsigned i = 0; i < info->profile_count; i++) {
        const struct emu_profile *profile = &info->profiles[i];
        if (profile->enum_value == enum_value && profile->start_count > 0 &&
            profile->max_instances > 0) {
            return (int)i;
        }
    }
    return EMU_UNKNOWN;
}

int emu_ci_profile_by_id(const struct emu_profile *profile, unsigned driver_id)
{
    for (unsigned i = 0; i < profile->ci_profile_count; i++) {
        const struct emu_ci_profile *ci = &profile->ci_profiles[i];
        if (ci->driver_id >= 0 && (unsigned)ci->driver_id == driver_id && ci->start_count > 0 &&
            ci->max_instances > 0) {
            return (int)i;
        }
    }
    return EMU_UNKNOWN;
}

int emu_ci_profile_by_enum(const struct emu_profile *profile, unsigned enum_value)
{
    for (unsigned i = 0; i < profile->ci_profile_count; i++) {
        const struct emu_ci_profile *ci = &profile->ci_profiles[i];
        if (ci->enum_value == enum_value && ci->start_count > 0 && ci->max_instances > 0) {
            return (int)i;
        }
    }
    return EMU_UNKNOWN;
}

unsigned emu_gi_id(const struct emu_gpu_info *info, unsigned start, unsigned size)
{
    unsigned total = info->unit_count;
    if (info->numbering == EMU_NUMBERING_HALF_SWAPPED && size < total) {
        start = (start + total / 2) % total;
    }
    return total / size - 1 + start / size;
}

/* ---- places --------------------------------------------------------------------------------- */

static uint32_t units_taken(const struct emu_gpu *gpu)
{
    uint32_t taken = 0;
    for (unsigned i = 0; i < EMU_GI_MAX; i++) {
        if (gpu->gis[i].used) {
            taken |= span(gpu->gis[i].start, gpu->gis[i].size);
        }
    }
    return taken;
}

static uint32_t slots_taken(const struct emu_gi *gi)
{
    uint32_t taken = 0;
    for (unsigned i = 0; i < EMU_CI_MAX; i++) {
        if (gi->cis[i].used) {
            taken |= span(gi->cis[i].start, gi->cis[i].size);
        }
    }
    return taken;
}

/* How many (profile, start) pairs are possible when these units are taken. */
static unsigned gi_pairs(const struct emu_gpu_info *info, uint32_t taken)
{
    unsigned count = 0;
    for (unsigned i = 0; i < info->profile_count; i++) {
        const struct emu_profile *profile = &info->profiles[i];
        for (unsigned j = 0; j < profile->start_count; j++) {
            count += (taken & span(profile->starts[j], profile->size)) == 0;
        }
    }
    return count;
}

static unsigned ci_pairs(const struct emu_profile *profile, uint32_t taken)
{
    unsigned count = 0;
    for (unsigned i = 0; i < profile->ci_profile_count; i++) {
        const struct emu_ci_profile *ci = &profile->ci_profiles[i];
        for (unsigned j = 0; j < ci->start_count; j++) {
            count += (taken & span(ci->starts[j], ci->size)) == 0;
        }
    }
    return count;
}

/* How many equal spans fit: taking the free ones from below is the best for equal sizes. */
static unsigned fit_count(const uint8_t *starts, unsigned start_count, unsigned size,
                          uint32_t taken)
{
    unsigned count = 0;
    for (unsigned i = 0; i < start_count; i++) {
        uint32_t units = span(starts[i], size);
        if ((taken & units) == 0) {
            taken |= units;
            count++;
        }
    }
    return count;
}

/* How many more the rules between instances allow: counts, and media engines given out once. */
static unsigned gi_allowance(const struct emu_gpu_info *info, const struct emu_gpu *gpu,
                             unsigned wanted)
{
    const struct emu_profile *profile = &info->profiles[wanted];
    unsigned same = 0, shared_me = 0, all_me = 0, with_me = 0;
    for (unsigned i = 0; i < EMU_GI_MAX; i++) {
        if (!gpu->gis[i].used) {
            continue;
        }
        uint8_t variant = info->profiles[gpu->gis[i].profile].variant;
        same += gpu->gis[i].profile == wanted;
        shared_me += variant == EMU_VARIANT_ME;
        all_me += variant == EMU_VARIANT_ALL_ME;
        with_me += variant != EMU_VARIANT_NO_ME;
    }
    bool takes_me = profile->variant == EMU_VARIANT_ME || profile->variant == EMU_VARIANT_ALL_ME;
    if ((takes_me && shared_me + all_me > 0) ||
        (all_me > 0 && profile->variant != EMU_VARIANT_NO_ME) ||
        (profile->variant == EMU_VARIANT_ALL_ME && with_me > 0)) {
        return 0;
    }
    unsigned left = profile->max_instances > same ? profile->max_instances - same : 0;
    return takes_me && left > 1 ? 1 : left;
}

unsigned emu_gi_room(const struct emu_gpu_info *info, const struct emu_gpu *gpu, unsigned profile)
{
    const struct emu_profile *wanted = &info->profiles[profile];
    unsigned fit = fit_count(wanted->starts, wanted->start_count, wanted->size, units_taken(gpu));
    unsigned allowed = gi_allowance(info, gpu, profile);
    return fit < allowed ? fit : allowed;
}

/*
 * How many more the limits leave, room aside. Compute slices count too: where slots are more than
 * slices (a 3g on Hopper has four for three), there may be a free slot without a slice for it.
 */
static unsigned ci_allowance(const struct emu_profile *profile, const struct emu_gi *gi,
                             unsigned wanted)
{
    const struct emu_ci_profile *ci = &profile->ci_profiles[wanted];
    unsigned same = 0, all = 0, slices = 0;
    for (unsigned i = 0; i < EMU_CI_MAX; i++) {
        if (gi->cis[i].used) {
            same += gi->cis[i].profile == wanted;
            slices += profile->ci_profiles[gi->cis[i].profile].slice_count;
            all++;
        }
    }
    if (same >= ci->max_instances || all >= EMU_CI_MAX || slices >= profile->slice_count) {
        return 0;
    }
    unsigned by_count = ci->max_instances - same;
    unsigned by_slices = ci->slice_count ? (profile->slice_count - slices) / ci->slice_count : 0;
    return by_count < by_slices ? by_count : by_slices;
}

unsigned emu_ci_room(const struct emu_profile *profile, const struct emu_gi *gi,
                     unsigned ci_profile)
{
    const struct emu_ci_profile *wanted = &profile->ci_profiles[ci_profile];
    unsigned fit = fit_count(wanted->starts, wanted->start_count, wanted->size, slots_taken(gi));
    unsigned allowed = ci_allowance(profile, gi, ci_profile);
    return fit < allowed ? fit : allowed;
}

unsigned emu_gi_free_starts(const struct emu_gpu_info *info, const struct emu_gpu *gpu,
                            unsigned profile, uint8_t starts[EMU_START_MAX])
{
    const struct emu_profile *wanted = &info->profiles[profile];
    unsigned count = 0;
    if (gi_allowance(info, gpu, profile) == 0) {
        return 0;
    }
    uint32_t taken = units_taken(gpu);
    for (unsigned i = 0; i < wanted->start_count; i++) {
        if ((taken & span(wanted->starts[i], wanted->size)) == 0) {
            starts[count++] = wanted->starts[i];
        }
    }
    return count;
}

static bool has_start(const uint8_t *starts, unsigned start_count, unsigned start)
{
    return start < 256 && memchr(starts, (int)start, start_count) != NULL;
}

/* The driver's own choice among the free starts; EMU_START_ANY when there is none. */
static unsigned choose_gi_start(const struct emu_gpu_info *info, const struct emu_profile *profile,
                                uint32_t taken)
{
    unsigned best = EMU_START_ANY, best_pairs = 0;
    for (unsigned i = 0; i < profile->start_count; i++) {
        uint32_t units = span(profile->starts[i], profile->size);
        if (taken & units) {
            continue;
        }
        unsigned pairs = gi_pairs(info, taken | units);
        if (best == EMU_START_ANY || pairs > best_pairs) {
            best = profile->starts[i];
            best_pairs = pairs;
        }
    }
    return best;
}

static unsigned choose_ci_start(const struct emu_profile *profile, const struct emu_ci_profile *ci,
                                uint32_t taken)
{
    unsigned best = EMU_START_ANY, best_pairs = 0;
    for (unsigned i = 0; i < ci->start_count; i++) {
        uint32_t slots = span(ci->starts[i], ci->size);
        if (taken & slots) {
            continue;
        }
        unsigned pairs = ci_pairs(profile, taken | slots);
        if (best == EMU_START_ANY || pairs > best_pairs) {
            best = ci->starts[i];
            best_pairs = pairs;
        }
    }
    return best;
}

/* ---- creating and destroying ---------------------------------------------------------------- */

/* Whether the GPU can have instances at all. */
static nvmlReturn_t check_mode(const struct emu_gpu *gpu)
{
    if (gpu->lost) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    return gpu->mode ? NVML_SUCCESS : NVML_ERROR_NOT_SUPPORTED;
}

/* Whether they can be worked on now. */
static nvmlReturn_t check_gpu(const struct emu_gpu *gpu)
{
    nvmlReturn_t rc = check_mode(gpu);
    return rc == NVML_SUCCESS && gpu->reset_required ? NVML_ERROR_RESET_REQUIRED : rc;
}

nvmlReturn_t emu_gi_create(const struct emu_node_info *info, struct emu_state *state, unsigned gpu,
                           unsigned profile, unsigned start, unsigned *ret_id)
{
    struct emu_gpu *target = &state->gpus[gpu];
    const struct emu_gpu_info *description = &info->gpus[gpu];
    const struct emu_profile *wanted = &description->profiles[profile];
    nvmlReturn_t rc = check_mode(target);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    if (start != EMU_START_ANY && !has_start(wanted->starts, wanted->start_count, start)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (target->reset_required) {
        return NVML_ERROR_RESET_REQUIRED;
    }
    if (target->create_needs_idle && emu_users_whole_gpu(state, gpu) > 0) {
        return NVML_ERROR_IN_USE;
    }
    uint32_t taken = units_taken(target);
    if (start == EMU_START_ANY) {
        start = choose_gi_start(description, wanted, taken);
    }
    if (start == EMU_START_ANY || (taken & span(start, wanted->size)) != 0 ||
        gi_allowance(description, target, profile) == 0) {
        return NVML_ERROR_INSUFFICIENT_RESOURCES;
    }
    unsigned id = emu_gi_id(description, start, wanted->size);
    target->gis[id] = (struct emu_gi){.used = 1,
                                      .profile = (uint8_t)profile,
                                      .start = (uint8_t)start,
                                      .size = wanted->size,
                                      .birth = ++state->birth_count};
    *ret_id = id;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_ci_create(const struct emu_node_info *info, struct emu_state *state, unsigned gpu,
                           unsigned gi, unsigned ci_profile, unsigned start, unsigned *ret_id)
{
    nvmlReturn_t rc = check_mode(&state->gpus[gpu]);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct emu_gi *target = &state->gpus[gpu].gis[gi];
    if (!target->used) {
        return NVML_ERROR_NOT_FOUND;
    }
    const struct emu_profile *profile = &info->gpus[gpu].profiles[target->profile];
    const struct emu_ci_profile *wanted = &profile->ci_profiles[ci_profile];
    if (start != EMU_START_ANY && !has_start(wanted->starts, wanted->start_count, start)) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (state->gpus[gpu].reset_required) {
        return NVML_ERROR_RESET_REQUIRED;
    }
    uint32_t taken = slots_taken(target);
    if (start == EMU_START_ANY) {
        start = choose_ci_start(profile, wanted, taken);
    }
    if (start == EMU_START_ANY || (taken & span(start, wanted->size)) != 0 ||
        ci_allowance(profile, target, ci_profile) == 0) {
        return NVML_ERROR_INSUFFICIENT_RESOURCES;
    }
    unsigned id = 0;
    while (target->cis[id].used) { /* ends: the allowance leaves one free */
        id++;
    }
    target->cis[id] = (struct emu_ci){.used = 1,
                                      .profile = (uint8_t)ci_profile,
                                      .start = (uint8_t)start,
                                      .size = wanted->size,
                                      .birth = ++state->birth_count};
    *ret_id = id;
    return NVML_SUCCESS;
}

nvmlReturn_t emu_gi_destroy(struct emu_state *state, unsigned gpu, unsigned gi)
{
    nvmlReturn_t rc = check_gpu(&state->gpus[gpu]);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct emu_gi *target = &state->gpus[gpu].gis[gi];
    if (!target->used) {
        return NVML_ERROR_NOT_FOUND;
    }
    if (slots_taken(target) != 0 || emu_users(state, gpu, gi, EMU_ID_NONE) > 0) {
        return NVML_ERROR_IN_USE;
    }
    *target = (struct emu_gi){0};
    return NVML_SUCCESS;
}

nvmlReturn_t emu_ci_destroy(struct emu_state *state, unsigned gpu, unsigned gi, unsigned ci)
{
    nvmlReturn_t rc = check_gpu(&state->gpus[gpu]);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    struct emu_gi *holder = &state->gpus[gpu].gis[gi];
    if (!holder->used || !holder->cis[ci].used) {
        return NVML_ERROR_NOT_FOUND;
    }
    if (emu_users(state, gpu, gi, ci) > 0) {
        return NVML_ERROR_IN_USE;
    }
    holder->cis[ci] = (struct emu_ci){0};
    return NVML_SUCCESS;
}

/* ---- mode ----------------------------------------------------------------------------------- */

void emu_mode_activate(struct emu_gpu *gpu)
{
    gpu->mode = gpu->mode_pending;
    memset(gpu->gis, 0, sizeof gpu->gis);
}

nvmlReturn_t emu_mode_set(const struct emu_node_info *info, struct emu_state *state, unsigned gpu,
                          unsigned mode, nvmlReturn_t *ret_activation)
{
    const struct emu_gpu_info *description = &info->gpus[gpu];
    struct emu_gpu *target = &state->gpus[gpu];
    if (target->lost) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    if (!description->mig_capable) {
        return NVML_ERROR_NOT_SUPPORTED;
    }
    if (mode > NVML_DEVICE_MIG_ENABLE) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret_activation = NVML_SUCCESS;
    target->mode_pending = (uint8_t)mode;
    if (target->mode == mode) {
        return NVML_SUCCESS;
    }
    /* Kernel clients hinder the reset that older GPUs need, nothing else. */
    unsigned users = description->mode_needs_reset ? emu_users(state, gpu, EMU_ID_NONE, EMU_ID_NONE)
                                                   : emu_users_no_client(state, gpu);
    if (users > 0) {
        *ret_activation = NVML_ERROR_IN_USE;
    } else if (description->mode_needs_reset && target->mode_blocked) {
        *ret_activation = (nvmlReturn_t)target->mode_blocked;
    } else {
        emu_mode_activate(target);
        if (description->mode_needs_reset) {
            target->reset_required = 0;
            target->reset_count++;
        }
    }
    return NVML_SUCCESS;
}
