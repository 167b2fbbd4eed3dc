/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a node object; what is not there, or is not understood, is "no". */
#include "daemon/runtime.h"
#include "base/text.h"
#include <stdlib.h>
#include <string.h>

#define CONTAINERD "containerd://"
#define CDI_SINCE 2 /* containerd's first major version with CDI switched on */

const char *runtime_version(const json_t *node)
{
    const json_t *info = json_object_get(json_object_get(node, "status"), "nodeInfo");
    const char *version = json_string_value(json_object_get(info, "containerRuntimeVersion"));

    return version ? version : "";
}

bool runtime_has_cdi_only(const json_t *node)
{
    const json_t *handlers = json_object_get(json_object_get(node, "status"), "runtimeHandlers");
    const json_t *handler;
    const char *version = runtime_version(node);
    size_t i;

    if (!mig_text_starts_with(version, CONTAINERD) ||
        strtoul(version + strlen(CONTAINERD), NULL, 10) < CDI_SINCE ||
        json_array_size(handlers) == 0) {
        return false;
    }
    json_array_foreach(handlers, i, handler)
    {
        const char *name = json_string_value(json_object_get(handler, "name"));

        if (name && strstr(name, "nvidia")) {
            return false;
        }
    }
    return true;
}
