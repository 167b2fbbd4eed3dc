/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel driver does beside NVML: the capability files that follow the instances, and the
 * reset of a GPU, for which NVML has no call. NVIDIA's nvidia-smi reaches the reset through a
 * private table; the one for emulated hosts through the one exported symbol that is not NVML's.
 */
#include "emulator/driver/library.h"
#include "emulator/entries.h"
#include "emulator/machine/host_tree.h"
#include <limits.h>
#include <string.h>

/* Files that cannot be written (a node of another user) stay as they are; the change counts. */
static void update_capabilities(const struct emu_call *call, const struct emu_state *state)
{
    char node[PATH_MAX];
    const char *path = emu_machine_path(call->machine);
    const char *slash = strrchr(path, '/');
    size_t length = slash ? (size_t)(slash - path) : 0;

    if (length == 0 || length >= sizeof(node)) {
        return;
    }
    memcpy(node, path, length);
    node[length] = '\0';
    (void)emu_host_sync(node, call->info->minor, &state->gpus[call->gpu]);
}

nvmlReturn_t emu_instances_end(const struct emu_call *call, struct emu_transaction *change,
                               nvmlReturn_t rc)
{
    /* Under the lock, or two changes could leave the files of the first. */
    if (rc == NVML_SUCCESS) {
        update_capabilities(call, change->state);
    }
    emu_change_end(change, rc);
    if (rc == NVML_SUCCESS) {
        struct emu_event event = {.type = nvmlEventMigConfigChange,
                                  .gpu = (uint32_t)call->gpu,
                                  .gi = call->gi,
                                  .ci = call->ci};
        emu_event_post(call->machine, &event);
    }
    return rc;
}

static nvmlReturn_t reset(const struct emu_call *call, struct emu_state *state)
{
    return emu_gpu_reset(call->node, state, (unsigned)call->gpu);
}

nvmlReturn_t migemu_reset_gpu(nvmlDevice_t device)
{
    struct emu_call call;
    nvmlReturn_t rc = emu_enter(&call, EMU_F_migemu_reset_gpu, EMU_HANDLE_GPU, (uintptr_t)device);

    if (rc == NVML_SUCCESS) {
        rc = call.is_mig_device
                 ? NVML_ERROR_INVALID_ARGUMENT
                 : emu_change_late(&call, offsetof(struct emu_latency, reset_ms), reset);
    }
    return emu_leave(&call, rc);
}
