/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A path is looked at part by part from the left, below a part that belongs to kubelet: the first
 * that names a pod is it, and what stands below it is the container. Static pods have a hash of 32
 * hexadecimal digits instead of a UUID.
 */
#include "daemon/cgroup.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

#define CGROUP_FILE_MAX 65536u
#define HEX "0123456789abcdef"

/* "8-4-4-4-12" (separated by '-' or '_'), or 32 hexadecimal digits. */
static bool read_uid(const char *text, size_t length, char *ret)
{
    static const unsigned char groups[] = {8, 4, 4, 4, 12};
    size_t at = 0;

    if (length >= CGROUP_POD_UID_SIZE) {
        return false;
    }
    memcpy(ret, text, length);
    ret[length] = '\0';
    if (length == 32 && strspn(ret, HEX) == 32) {
        return true;
    }
    for (size_t i = 0; i < sizeof(groups); i++) {
        if (strspn(ret + at, HEX) != groups[i]) {
            return false;
        }
        at += groups[i];
        if (i + 1 < sizeof(groups)) {
            if (ret[at] != '-' && ret[at] != '_') {
                return false;
            }
            ret[at++] = '-';
        }
    }
    return at == length;
}

/* "podUID" or "kubepods[-QOS]-podUID.slice" */
static bool read_pod(const char *part, size_t length, char *ret)
{
    static const char suffix[] = ".slice";
    const size_t suffix_length = sizeof(suffix) - 1;
    const char *dash;

    if (length > suffix_length &&
        memcmp(part + length - suffix_length, suffix, suffix_length) == 0) {
        length -= suffix_length;
        dash = memmem(part, length, "-pod", 4);
        if (!dash || !mig_text_starts_with(part, "kube")) {
            return false;
        }
        length -= (size_t)(dash + 1 - part);
        part = dash + 1;
    }
    return length > 3 && memcmp(part, "pod", 3) == 0 && read_uid(part + 3, length - 3, ret);
}

/* "ID" or "cri-containerd-ID.scope", "crio-ID.scope", "docker-ID.scope". */
static void read_container(const char *part, size_t length, char *ret)
{
    static const char suffix[] = ".scope";
    const size_t suffix_length = sizeof(suffix) - 1;
    size_t from = 0;

    if (length > suffix_length &&
        memcmp(part + length - suffix_length, suffix, suffix_length) == 0) {
        length -= suffix_length;
        for (size_t i = 0; i < length; i++) {
            from = part[i] == '-' ? i + 1 : from;
        }
    }
    if (length - from > 0 && length - from < CGROUP_CONTAINER_ID_SIZE) {
        memcpy(ret, part + from, length - from);
        ret[length - from] = '\0';
        if (strspn(ret, HEX) != length - from) {
            ret[0] = '\0';
        }
    }
}

static bool read_path(const char *path, size_t length, struct cgroup_pod *ret)
{
    const char *end = path + length;
    bool found = false;

    for (const char *part = path; part < end;) {
        const char *slash = memchr(part, '/', (size_t)(end - part));
        size_t size = (size_t)((slash ? slash : end) - part);

        if (found) {
            read_container(part, size, ret->container_id);
            return true;
        }
        found = size > 0 && read_pod(part, size, ret->uid);
        part += size + 1;
    }
    return found;
}

bool cgroup_parse(const char *text, struct cgroup_pod *ret)
{
    *ret = (struct cgroup_pod){0};
    while (*text) {
        size_t length = strcspn(text, "\n");
        const char *path = memchr(text, ':', length); /* "ID:CONTROLLERS:PATH" */

        path = path ? memchr(path + 1, ':', length - (size_t)(path + 1 - text)) : NULL;
        if (path && read_path(path + 1, length - (size_t)(path + 1 - text), ret)) {
            return true;
        }
        *ret = (struct cgroup_pod){0};
        text += length + (text[length] == '\n');
    }
    return false;
}

bool cgroup_of_pid(const char *proc, uint32_t pid, struct cgroup_pod *ret)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[256];
    size_t size;

    *ret = (struct cgroup_pod){0};
    snprintf(path, sizeof(path), "%s/%u/cgroup", proc, pid);
    return mig_file_read(path, CGROUP_FILE_MAX, &text, &size, NULL) == 0 && cgroup_parse(text, ret);
}
