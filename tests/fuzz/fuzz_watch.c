/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of a watch: cut into lines in pieces as the input says, each line read and remembered.
 * However they are cut, the events are the same.
 */
#include "fuzz.h"
#include "kube/json.h"
#include "kube/known.h"
#include "kube/lines.h"
#include "kube/status.h"
#include "kube/watch_event.h"

#define LINE_MAX_BYTES 4096u
#define OBJECTS_MAX 8u

struct watched {
    struct mig_kube_known known;
    unsigned lines, events;
};

static bool on_line(const char *text, size_t size, void *data)
{
    struct watched *watched = data;
    struct mig_kube_watch_line line;
    MIG_AUTO_JSON json_t *old = NULL;
    struct mig_error error;
    int change = 0;

    watched->lines++;
    FUZZ_CHECK(size > 0 && size <= LINE_MAX_BYTES);
    if (mig_kube_watch_line_parse(text, size, &line, &error) < 0) {
        FUZZ_CHECK(error.message[0] && !line.document);
        return true;
    }
    watched->events++;
    FUZZ_CHECK(line.object && (line.kind == MIG_KUBE_LINE_ERROR || *line.resource_version));
    if (line.kind == MIG_KUBE_LINE_ERROR) {
        mig_kube_status_error(&error, "GET", "/", line.code, line.object, NULL, 0);
        FUZZ_CHECK(!strpbrk(error.message, "\r\n\x1b"));
    } else if (line.kind == MIG_KUBE_LINE_DELETED) {
        mig_kube_known_remove(&watched->known, line.object);
    } else if (line.kind != MIG_KUBE_LINE_BOOKMARK) {
        change = mig_kube_known_put(&watched->known, line.object, &old, &error);
        FUZZ_CHECK((change == MIG_KUBE_KNOWN_REPLACED) == (old != NULL));
        FUZZ_CHECK(change < 0 || mig_kube_known_put(&watched->known, line.object, &old, &error) ==
                                     MIG_KUBE_KNOWN_SAME);
    }
    FUZZ_CHECK(watched->known.count <= OBJECTS_MAX);
    mig_kube_watch_line_release(&line);
    return true;
}

/* All in pieces of `piece` bytes; how many lines and events there were. */
static void watch(const char *text, size_t size, size_t piece, struct watched *watched, int *result)
{
    struct mig_kube_lines lines;
    json_t *stale;

    *watched = (struct watched){0};
    *result = 0;
    mig_kube_lines_init(&lines, LINE_MAX_BYTES);
    mig_kube_known_init(&watched->known, OBJECTS_MAX);
    for (size_t i = 0; i < size && *result == 0; i += piece) {
        *result = mig_kube_lines_feed(&lines, text + i, size - i < piece ? size - i : piece,
                                      on_line, watched, NULL);
    }
    mig_kube_known_begin(&watched->known);
    while ((stale = mig_kube_known_take_stale(&watched->known))) {
        FUZZ_CHECK(*mig_kube_metadata(stale, "name"));
        json_decref(stale);
    }
    FUZZ_CHECK(watched->known.count == 0);
    mig_kube_known_release(&watched->known);
    mig_kube_lines_release(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct watched whole, pieces;
    int whole_result, pieces_result;
    size_t piece = size > 0 ? data[0] % 64u + 1u : 1;

    watch((const char *)data, size, size > 0 ? size : 1, &whole, &whole_result);
    watch((const char *)data, size, piece, &pieces, &pieces_result);
    FUZZ_CHECK(whole_result == pieces_result);
    FUZZ_CHECK(whole.lines == pieces.lines && whole.events == pieces.events);
    return 0;
}
