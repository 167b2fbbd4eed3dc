/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building paths. Everything but RFC 3986's unreserved characters is escaped; what is left after
 * that and could still change the path (".", "..") or what proxies undo (a '/' or '%' in a name)
 * makes the path bad.
 */
#include "kube/path.h"
#include <ctype.h>
#include <string.h>

void mig_kube_path_init(struct mig_kube_path *path, const char *prefix)
{
    *path = (struct mig_kube_path){0};
    mig_buffer_init(&path->text, MIG_KUBE_PATH_MAX);
    mig_buffer_puts(&path->text, prefix);
}

void mig_kube_path_release(struct mig_kube_path *path)
{
    mig_buffer_release(&path->text);
}

static void escape(struct mig_buffer *buffer, const char *text)
{
    static const char digits[] = "0123456789ABCDEF";

    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        char escaped[3] = {'%', digits[byte >> 4], digits[byte & 15]};

        if (byte < 0x80 && (isalnum(byte) || strchr("-._~", byte))) {
            mig_buffer_append(buffer, text, 1);
        } else {
            mig_buffer_append(buffer, escaped, sizeof(escaped));
        }
    }
}

void mig_kube_path_name(struct mig_kube_path *path, const char *name)
{
    if (!path->bad &&
        (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strpbrk(name, "/%"))) {
        path->bad = name;
    }
    mig_buffer_puts(&path->text, "/");
    escape(&path->text, name);
}

void mig_kube_path_resource(struct mig_kube_path *path, const char *namespace_name,
                            const char *resource)
{
    if (namespace_name) {
        mig_buffer_puts(&path->text, "/namespaces");
        mig_kube_path_name(path, namespace_name);
    }
    mig_kube_path_name(path, resource);
}

void mig_kube_path_query(struct mig_kube_path *path, const char *key, const char *value)
{
    if (!value) {
        return;
    }
    mig_buffer_puts(&path->text, path->query ? "&" : "?");
    path->query = true;
    escape(&path->text, key);
    mig_buffer_puts(&path->text, "=");
    escape(&path->text, value);
}

void mig_kube_path_query_number(struct mig_kube_path *path, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    mig_kube_path_query(path, key, text);
}

const char *mig_kube_path_text(struct mig_kube_path *path, struct mig_error *error)
{
    if (path->bad) {
        mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                      "'%s' cannot be a name in a path of the Kubernetes API", path->bad);
        return NULL;
    }
    if (path->text.error) {
        mig_error_set_errno(error, MIG_E_USAGE, path->text.error,
                            "could not make a path of the Kubernetes API");
        return NULL;
    }
    return path->text.data;
}
