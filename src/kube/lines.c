/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The line splitter. A line that comes in one piece is handed out where it stands; only one that is
 * cut by the end of a piece is copied.
 */
#include "kube/lines.h"
#include <string.h>

void mig_kube_lines_init(struct mig_kube_lines *lines, size_t line_max)
{
    mig_buffer_init(&lines->rest, line_max);
}

void mig_kube_lines_release(struct mig_kube_lines *lines)
{
    mig_buffer_release(&lines->rest);
}

void mig_kube_lines_reset(struct mig_kube_lines *lines)
{
    mig_buffer_release(&lines->rest);
}

static bool tell(const char *bytes, size_t size, mig_kube_line *line, void *data)
{
    if (size > 0 && bytes[size - 1] == '\r') {
        size--;
    }
    return size == 0 || line(bytes, size, data);
}

static int too_long(const struct mig_kube_lines *lines, struct mig_error *error)
{
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                         "an event of the watch is larger than the limit of %zu bytes",
                         lines->rest.max);
}

/* A line that began in an earlier piece. The buffer is taken out first: `line` may release it. */
static bool tell_joined(struct mig_kube_lines *lines, mig_kube_line *line, void *data)
{
    struct mig_buffer joined MIG_AUTO_BUFFER = lines->rest;

    mig_buffer_init(&lines->rest, joined.max);
    return tell(joined.data, joined.size, line, data);
}

int mig_kube_lines_feed(struct mig_kube_lines *lines, const char *bytes, size_t size,
                        mig_kube_line *line, void *data, struct mig_error *error)
{
    while (size > 0) {
        const char *end = memchr(bytes, '\n', size);
        size_t length = end ? (size_t)(end - bytes) : size;
        bool more;

        if (!end) {
            return mig_buffer_append(&lines->rest, bytes, length) ? too_long(lines, error) : 0;
        }
        if (length > lines->rest.max - lines->rest.size) {
            return too_long(lines, error);
        }
        if (lines->rest.size > 0) {
            if (mig_buffer_append(&lines->rest, bytes, length)) {
                return too_long(lines, error);
            }
            more = tell_joined(lines, line, data);
        } else {
            more = tell(bytes, length, line, data);
        }
        if (!more) {
            return 0;
        }
        size -= length + 1;
        bytes = end + 1;
    }
    return 0;
}
