/* SPDX-License-Identifier: Apache-2.0 */
/* One line of a watch: what it says, or why it makes no sense. Pure. */
#ifndef MIG_KUBE_WATCH_EVENT_H
#define MIG_KUBE_WATCH_EVENT_H

#include <jansson.h>
#include <mig/error.h>
#include <stddef.h>

enum mig_kube_watch_line_kind {
    MIG_KUBE_LINE_ADDED = 0,
    MIG_KUBE_LINE_MODIFIED,
    MIG_KUBE_LINE_DELETED,
    MIG_KUBE_LINE_BOOKMARK,
    MIG_KUBE_LINE_ERROR, /* object is a Status; `code` is its */
};

struct mig_kube_watch_line {
    enum mig_kube_watch_line_kind kind;
    json_t *document;             /* owned; the others are of it */
    json_t *object;               /* never NULL */
    const char *resource_version; /* not empty but for ERROR */
    int code;
};

int mig_kube_watch_line_parse(const char *bytes, size_t size, struct mig_kube_watch_line *ret,
                              struct mig_error *error);
void mig_kube_watch_line_release(struct mig_kube_watch_line *line);

#endif
