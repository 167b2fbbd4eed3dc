/* SPDX-License-Identifier: Apache-2.0 */
/* One node and one client at a time, which is what a test needs. */
#include "emulator_client.h"
#include "nvml/nvml_functions.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

void *library;
struct emu_machine *machine;
char directory[64];

void *symbol(const char *name)
{
    void *address = dlsym(library, name);
    if (!address) {
        fail_msg("the library lacks %s", name);
    }
    return address;
}

void load(void)
{
    const char *path = getenv("EMU_LIBRARY");
    assert_non_null(path);
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fail_msg("%s", dlerror());
    }
}

int start(const enum board *boards, unsigned count)
{
    machine = node_make(boards, count, EMU_NUMBERING_DIRECT, directory);
    setenv("MIGEMU_NODE", directory, 1);
    load();
    assert_int_equal(NVML(nvmlInit_v2)(), NVML_SUCCESS);
    return 0;
}

int stop(void **unused)
{
    (void)unused;
    while (NVML(nvmlDeviceGetCount_v2)(&(unsigned){0}) == NVML_SUCCESS) {
        NVML(nvmlShutdown)();
    }
    dlclose(library);
    node_remove(machine, directory);
    return 0;
}

nvmlDevice_t gpu(unsigned index)
{
    nvmlDevice_t device = NULL;
    assert_int_equal(NVML(nvmlDeviceGetHandleByIndex_v2)(index, &device), NVML_SUCCESS);
    return device;
}
