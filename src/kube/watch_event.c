/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the lines of a watch. A type that is not known is an error: what it changes would be
 * missed. */
#include "kube/watch_event.h"
#include "kube/json.h"
#include <string.h>

void mig_kube_watch_line_release(struct mig_kube_watch_line *line)
{
    json_decref(line->document);
    *line = (struct mig_kube_watch_line){0};
}

static int wrong(struct mig_kube_watch_line *line, struct mig_error *error, const char *what)
{
    mig_kube_watch_line_release(line);
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "an event of the watch %s", what);
}

static bool find_kind(const char *type, enum mig_kube_watch_line_kind *ret)
{
    static const char *const names[] = {
        [MIG_KUBE_LINE_ADDED] = "ADDED",     [MIG_KUBE_LINE_MODIFIED] = "MODIFIED",
        [MIG_KUBE_LINE_DELETED] = "DELETED", [MIG_KUBE_LINE_BOOKMARK] = "BOOKMARK",
        [MIG_KUBE_LINE_ERROR] = "ERROR",
    };

    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        if (strcmp(type, names[i]) == 0) {
            *ret = (enum mig_kube_watch_line_kind)i;
            return true;
        }
    }
    return false;
}

int mig_kube_watch_line_parse(const char *bytes, size_t size, struct mig_kube_watch_line *ret,
                              struct mig_error *error)
{
    int rc;

    *ret = (struct mig_kube_watch_line){0};
    rc = mig_kube_json_parse(bytes, size, &ret->document, error);
    if (rc < 0) {
        mig_error_prefix(error, "an event of the watch");
        return rc;
    }
    if (!find_kind(mig_kube_json_text(ret->document, "type", NULL), &ret->kind)) {
        return wrong(ret, error, "has a type that is not known");
    }
    ret->object = mig_kube_json_member(ret->document, "object", NULL);
    if (!json_is_object(ret->object)) {
        return wrong(ret, error, "has no object");
    }
    ret->resource_version = mig_kube_metadata(ret->object, "resourceVersion");
    if (ret->kind == MIG_KUBE_LINE_ERROR) {
        json_int_t code = json_integer_value(mig_kube_json_member(ret->object, "code", NULL));

        ret->code = code >= 100 && code < 600 ? (int)code : 0;
        return 0;
    }
    if (!*ret->resource_version) {
        return wrong(ret, error, "has no resourceVersion");
    }
    if (ret->kind != MIG_KUBE_LINE_BOOKMARK && !*mig_kube_metadata(ret->object, "name")) {
        return wrong(ret, error, "has an object without a name");
    }
    return 0;
}
