/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding NVML for nvidia-smi. Like NVIDIA's tool it opens "libnvidia-ml.so.1" and leaves the
 * search to the loader, so LD_LIBRARY_PATH decides which library answers.
 */
#include "emulator/smi/smi_nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void load_symbol(void *library, const char *name, void *target)
{
    void *symbol = dlsym(library, name);

    /* Through memcpy: ISO C has no cast between object and function pointers. */
    memcpy(target, &symbol, sizeof(symbol));
}

static void load_table(struct smi_nvml *nvml)
{
#define SMI_LOAD(name) load_symbol(nvml->library, "nvml" #name, &nvml->name);
    SMI_NVML_FUNCTIONS(SMI_LOAD)
#undef SMI_LOAD
    load_symbol(nvml->library, "migemu_reset_gpu", &nvml->reset_gpu);
}

int smi_nvml_open(struct smi_nvml *nvml)
{
    nvmlReturn_t code;

    memset(nvml, 0, sizeof(*nvml));
    nvml->library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!nvml->library) {
        printf("NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure "
               "that the NVIDIA Display Driver is properly installed and present in your system.\n"
               "Please also try adding directory that contains libnvidia-ml.so to your system "
               "PATH.\n");
        return NVML_ERROR_LIBRARY_NOT_FOUND;
    }
    load_table(nvml);
    code = nvml->Init_v2 ? nvml->Init_v2() : NVML_ERROR_FUNCTION_NOT_FOUND;
    if (code == NVML_SUCCESS) {
        return 0;
    }
    if (code == NVML_ERROR_DRIVER_NOT_LOADED) {
        printf("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make "
               "sure that the latest NVIDIA driver is installed and running.\n\n");
    } else {
        printf("Failed to initialize NVML: %s\n", smi_nvml_text(nvml, code));
    }
    dlclose(nvml->library);
    nvml->library = NULL;
    return (int)code;
}

void smi_nvml_close(struct smi_nvml *nvml)
{
    if (!nvml->library) {
        return;
    }
    if (nvml->Shutdown) {
        nvml->Shutdown();
    }
    dlclose(nvml->library);
    nvml->library = NULL;
}

const char *smi_nvml_text(const struct smi_nvml *nvml, nvmlReturn_t code)
{
    return nvml->ErrorString ? nvml->ErrorString(code) : "Unknown Error";
}
