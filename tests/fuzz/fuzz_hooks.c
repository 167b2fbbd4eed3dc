/* SPDX-License-Identifier: Apache-2.0 */
/* Hooks files: parsed, never run. */
#include "fuzz.h"
#include <mig/config.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mig_hooks *hooks = NULL;
    struct mig_error error;

    if (mig_hooks_parse("file", (const char *)data, size, &hooks, &error) < 0) {
        FUZZ_CHECK(strncmp(error.message, "file:", 5) == 0);
        return 0;
    }
    mig_hooks_free(hooks);
    return 0;
}
