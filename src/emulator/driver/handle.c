/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles: 64-bit numbers made of a mark, a kind, a place and a birth.
 *
 *     63..53 mark   52..50 kind   49..45 GPU   44..41 GI   40..38 CI   37..32 check   31..0 birth
 *
 * The mark makes them no address of anything, so that a client which follows one faults at once,
 * and nobody's pointer is taken for one. The birth is that of the instance, 0 for a GPU.
 */
#include "emulator/driver/library.h"

#define MARK 0x272u
#define KIND_GPU 0u
#define KIND_MIG 1u
#define KIND_GI 2u
#define KIND_CI 3u
#define KIND_CI_DEVICE 4u /* a MIG device as a compute instance's info names it */

_Static_assert(EMU_GPU_MAX <= 32 && EMU_GI_MAX <= 16 && EMU_CI_MAX <= 8, "fields of a handle");
_Static_assert(sizeof(uintptr_t) == 8, "handles are 64 bits wide");

static uint64_t check_of(uint64_t place, uint64_t birth)
{
    return ((place + birth) * 0x9e3779b97f4a7c15u) >> 58;
}

static uintptr_t make(uint64_t kind, uint64_t gpu, uint64_t gi, uint64_t ci, uint64_t birth)
{
    uint64_t place = kind << 12 | gpu << 7 | gi << 3 | ci;
    return (uintptr_t)((uint64_t)MARK << 53 | place << 38 | check_of(place, birth) << 32 | birth);
}

nvmlDevice_t emu_gpu_handle(unsigned gpu)
{
    return (nvmlDevice_t)make(KIND_GPU, gpu, 0, 0, 0);
}

nvmlDevice_t emu_mig_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi, unsigned ci)
{
    return (nvmlDevice_t)make(KIND_MIG, gpu, gi, ci, state->gis[gi].cis[ci].birth);
}

nvmlDevice_t emu_ci_device_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi,
                                  unsigned ci)
{
    return (nvmlDevice_t)make(KIND_CI_DEVICE, gpu, gi, ci, state->gis[gi].cis[ci].birth);
}

nvmlGpuInstance_t emu_gi_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi)
{
    return (nvmlGpuInstance_t)make(KIND_GI, gpu, gi, 0, state->gis[gi].birth);
}

nvmlComputeInstance_t emu_ci_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi,
                                    unsigned ci)
{
    return (nvmlComputeInstance_t)make(KIND_CI, gpu, gi, ci, state->gis[gi].cis[ci].birth);
}

/* Whether what the handle was made for is still there. */
static bool still_holds(const struct emu_gpu *state, unsigned kind, unsigned gi, unsigned ci,
                        uint32_t birth)
{
    const struct emu_gi *instance = &state->gis[gi];
    if (kind == KIND_GI) {
        return instance->used && instance->birth == birth;
    }
    return instance->used && instance->cis[ci].used && instance->cis[ci].birth == birth;
}

static bool is_wanted(unsigned kind, unsigned wanted)
{
    switch (wanted) {
    case EMU_HANDLE_GPU:
        return kind == KIND_GPU || kind == KIND_MIG || kind == KIND_CI_DEVICE;
    case EMU_HANDLE_GI:
        return kind == KIND_GI;
    default:
        return kind == KIND_CI;
    }
}

nvmlReturn_t emu_resolve(struct emu_call *call, unsigned kind, uintptr_t handle)
{
    uint64_t place = handle >> 38 & 0x7fff;
    uint32_t birth = (uint32_t)handle;
    unsigned found = (unsigned)(place >> 12), gpu = place >> 7 & 31, gi = place >> 3 & 15,
             ci = place & 7;
    if (handle >> 53 != MARK || (handle >> 32 & 63) != check_of(place, birth) ||
        !is_wanted(found, kind) || gpu >= call->node->gpu_count) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    call->gpu = (int)gpu;
    call->info = &call->node->gpus[gpu];
    call->gi = EMU_ID_NONE;
    call->ci = EMU_ID_NONE;
    call->is_mig_device = found == KIND_MIG || found == KIND_CI_DEVICE;
    call->is_ci_device = found == KIND_CI_DEVICE;
    if (emu_machine_read_gpu(call->machine, gpu, &call->state) < 0) {
        return NVML_ERROR_TIMEOUT;
    }
    if (found != KIND_GPU) {
        call->gi = gi;
        call->ci = found == KIND_GI ? EMU_ID_NONE : ci;
    }
    if (call->state.lost) {
        return NVML_ERROR_GPU_IS_LOST;
    }
    if (found != KIND_GPU && !still_holds(&call->state, found, gi, ci, birth)) {
        return NVML_ERROR_NOT_FOUND;
    }
    return NVML_SUCCESS;
}

const struct emu_gi *emu_call_gi(const struct emu_call *call)
{
    return &call->state.gis[call->gi];
}

const struct emu_profile *emu_call_profile(const struct emu_call *call)
{
    return &call->info->profiles[emu_call_gi(call)->profile];
}

const struct emu_ci_profile *emu_call_ci_profile(const struct emu_call *call)
{
    return &emu_call_profile(call)->ci_profiles[emu_call_gi(call)->cis[call->ci].profile];
}
