/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the calls of the emulated libnvidia-ml.so.1 share.
 *
 * The exported functions are generated (tools/gen-nvml-entries.py). Each makes a struct emu_call,
 * lets emu_enter() resolve its handle and ask for faults, calls emu_NAME(call, arguments...), and
 * ends in emu_leave(). So an implementation starts with a good handle, a consistent copy of its
 * GPU's state, and has only to look at its other arguments.
 *
 * Handles are numbers, not addresses: they carry the place they mean and the birth of what is
 * there. Equal things have equal handles in all processes, nothing has to be kept or freed, and
 * any garbage is recognised.
 */
#ifndef MIG_EMULATOR_LIBRARY_H
#define MIG_EMULATOR_LIBRARY_H

#include "emulator/machine/machine.h"

#define EMU_EXPORT __attribute__((visibility("default")))

/* What the first argument is, and what the rules say about it. */
enum {
    EMU_HANDLE_NONE = 0,
    EMU_HANDLE_GPU = 1,
    EMU_HANDLE_GI = 2,
    EMU_HANDLE_CI = 3,
    EMU_HANDLE_MASK = 3,
    EMU_RULE_MIG_DEVICE = 4,      /* a MIG device will do as well as a GPU */
    EMU_RULE_NOT_IN_MIG_MODE = 8, /* not supported while MIG is on */
};

struct emu_call {
    const struct emu_machine *machine; /* NULL before nvmlInit: nothing below is set */
    const struct emu_node_info *node;
    const struct emu_gpu_info *info; /* of the GPU */
    uint64_t start_ns;               /* CLOCK_REALTIME */
    unsigned function;
    bool has_faults; /* there are rules to ask */
    int gpu;         /* EMU_UNKNOWN: the call is not about one GPU */
    unsigned gi, ci;
    bool is_mig_device;
    bool is_ci_device;    /* a MIG device too, from nvmlComputeInstanceGetInfo */
    struct emu_gpu state; /* of the GPU */
};

nvmlReturn_t emu_enter(struct emu_call *call, unsigned function, unsigned rule, uintptr_t handle);
nvmlReturn_t emu_leave(struct emu_call *call, nvmlReturn_t rc);

/* A call of a function that always gives the same answer (unsupported.tsv), once its handle is
 * good. */
nvmlReturn_t emu_refuse(unsigned function, unsigned rule, uintptr_t handle, nvmlReturn_t answer);

/* Load of one of `count` processes on the call's GPU: its own, else an even share of the GPU's. */
static inline unsigned emu_load_of(const struct emu_call *call, const struct emu_process *process,
                                   unsigned count)
{
    return process->load_percent > 0 ? process->load_percent : call->state.load_percent / count;
}

static inline unsigned emu_memory_load_of(const struct emu_call *call,
                                          const struct emu_process *process, unsigned count)
{
    return process->load_percent > 0 ? process->load_percent / 2
                                     : call->state.memory_load_percent / count;
}

/* What the call's GPU measures now; processes that have ended count no more. Returns the machine's
 * time of the reading, in ns. */
struct emu_reading;
uint64_t emu_measure(struct emu_call *call, struct emu_reading *ret);

/* The driver branch, such as 550, whose library this is. */
extern const unsigned emu_library_branch;

/* Whether this driver tells what a GPU needs to recover, by an event and a field. */
static inline bool emu_has_recovery_action(void)
{
    return emu_library_branch >= 565;
}

/* Handles. */
nvmlDevice_t emu_gpu_handle(unsigned gpu);
nvmlDevice_t emu_mig_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi, unsigned ci);
nvmlDevice_t emu_ci_device_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi,
                                  unsigned ci);
nvmlGpuInstance_t emu_gi_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi);
nvmlComputeInstance_t emu_ci_handle(const struct emu_gpu *state, unsigned gpu, unsigned gi,
                                    unsigned ci);

/*
 * Resolves any handle into call's gpu, info, state, gi and ci. INVALID_ARGUMENT for garbage and
 * handles of another kind, NOT_FOUND when the instance is gone, GPU_IS_LOST.
 */
nvmlReturn_t emu_resolve(struct emu_call *call, unsigned kind, uintptr_t handle);

/* The profiles of the instance a call is about. */
const struct emu_gi *emu_call_gi(const struct emu_call *call);
const struct emu_profile *emu_call_profile(const struct emu_call *call);
const struct emu_ci_profile *emu_call_ci_profile(const struct emu_call *call);

/* Starts a change: permission, lock, processes that have ended; the handle must still hold. */
nvmlReturn_t emu_change_begin(struct emu_call *call, struct emu_transaction *ret);

/* Commits when rc is SUCCESS, else gives up; returns rc. */
nvmlReturn_t emu_change_end(struct emu_transaction *change, nvmlReturn_t rc);

/* The same for a change of instances or mode: the host's capability files follow, and clients that
 * listen are told. */
nvmlReturn_t emu_instances_end(const struct emu_call *call, struct emu_transaction *change,
                               nvmlReturn_t rc);

/* The latency option at this offset of struct emu_latency, and a wait as long as it says. */
uint32_t emu_latency_ms(const struct emu_call *call, size_t option);
void emu_latency_wait(const struct emu_call *call, size_t option);

/* emu_instances_end, and the call takes its time: others see the new instance already. */
nvmlReturn_t emu_instances_end_late(const struct emu_call *call, struct emu_transaction *change,
                                    nvmlReturn_t rc, size_t option);

/* A whole change of instances that is judged at once and comes into force when its time is over;
 * others see the old state until then, and may change it. */
typedef nvmlReturn_t emu_operation(const struct emu_call *call, struct emu_state *state);
nvmlReturn_t emu_change_late(struct emu_call *call, size_t option, emu_operation *operation);

/* container.c: where the machine is, NULL when nobody said; and what of it this process may see. */
const char *emu_node_path(void);
bool emu_gpu_is_visible(const struct emu_call *call, unsigned gpu);
bool emu_mig_is_visible(const struct emu_call *call, unsigned gpu, unsigned gi, unsigned ci);

/* Visible GPUs below `gpu`; the visible one with an index, gpu_count when there is none. */
unsigned emu_visible_before(const struct emu_call *call, unsigned gpu);
unsigned emu_visible_gpu(const struct emu_call *call, unsigned index);

/* A figure of the description that may be unknown: 0 then. */
static inline unsigned emu_known(int value)
{
    return value > 0 ? (unsigned)value : 0;
}

static inline nvmlReturn_t emu_number_out(unsigned value, unsigned int *ret)
{
    if (!ret) {
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    *ret = value;
    return NVML_SUCCESS;
}

/* The processes that the call's device shows, on the heap; NULL when there are none. */
nvmlReturn_t emu_call_processes(const struct emu_call *call, struct emu_process **ret,
                                unsigned *ret_count);

/* A clock as applications clocks and locked clocks leave it. */
unsigned emu_clock_limited(const struct emu_gpu *state, nvmlClockType_t type, unsigned mhz);

/* Domain, bus and device of [domain:]bus:device[.0], hexadecimal, any width up to eight digits. */
bool emu_bus_id_parse(const char *text, unsigned long ret[3]);

/* A session begins: what an index of a MIG device has meant counts no more. */
void emu_forget_devices(void);

/* Not of NVML: resets a GPU, as nvidia-smi --gpu-reset does. */
EMU_EXPORT nvmlReturn_t migemu_reset_gpu(nvmlDevice_t device);

/* Copies text out as NVML does: INSUFFICIENT_SIZE when it does not fit. */
nvmlReturn_t emu_text_out(const char *text, char *buffer, unsigned size);

#endif
