/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing events. The decisions are event_series.c's; here they become requests. A request belongs
 * to a place in the table and its generation, so that an answer that comes late changes nothing of
 * another event.
 */
#include "kube/events.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "kube/client_internal.h"
#include "kube/event_series.h"
#include "kube/json.h"
#include "kube/microtime.h"
#include "kube/objects.h"
#include "kube/path.h"
#include <errno.h>
#include <string.h>

#define WRITE_TIMEOUT_MS 120000u
#define WORD_MAX 128 /* reason, action and instance; the API server's limit */
#define NAME_PREFIX_MAX 200
#define WRITES_MAX 128u /* that are under way */

struct mig_kube_recorder {
    struct mig_kube *kube;
    char *component, *instance;
    uv_timer_t timer;
    bool freed;
    unsigned serial, write_count;
    struct mig_kube_event_table table;
};

/* A request under way. */
struct write {
    struct mig_kube_recorder *recorder;
    unsigned index, generation;
    bool is_new;
};

static void flush(uv_timer_t *timer);

int mig_kube_recorder_new(struct mig_kube *kube, const struct mig_kube_recorder_options *options,
                          struct mig_kube_recorder **ret, struct mig_error *error)
{
    struct mig_kube_recorder *recorder = calloc(1, sizeof(*recorder));

    if (recorder) {
        recorder->component = strdup(options->component);
        recorder->instance = strdup(options->instance);
    }
    if (!recorder || !recorder->component || !recorder->instance) {
        if (recorder) {
            free(recorder->component);
            free(recorder->instance);
        }
        free(recorder);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not record events");
    }
    recorder->kube = kube;
    uv_timer_init(mig_kube_loop(kube), &recorder->timer);
    recorder->timer.data = recorder;
    *ret = recorder;
    return 0;
}

static void free_memory(struct mig_kube_recorder *recorder)
{
    free(recorder->component);
    free(recorder->instance);
    free(recorder);
}

static void on_closed(uv_handle_t *handle)
{
    struct mig_kube_recorder *recorder = handle->data;

    recorder->timer.data = NULL;
    if (recorder->write_count == 0) {
        free_memory(recorder);
    }
}

void mig_kube_recorder_free(struct mig_kube_recorder *recorder)
{
    if (recorder) {
        recorder->freed = true;
        uv_close((uv_handle_t *)&recorder->timer, on_closed);
    }
}

/* --- requests --- */

/* The last one of a recorder that was freed meanwhile takes it along. */
static void end_write(struct write *write)
{
    struct mig_kube_recorder *recorder = write->recorder;

    free(write);
    if (--recorder->write_count == 0 && recorder->freed && !recorder->timer.data) {
        free_memory(recorder);
    }
}

static void on_cancelled(void *data)
{
    end_write(data);
}

static void on_written(struct mig_kube_call *call, int status, json_t *object,
                       const struct mig_error *error, void *data)
{
    struct write *write = data;
    struct mig_kube_recorder *recorder = write->recorder;
    struct mig_kube_series *series = &recorder->table.series[write->index];

    (void)call;
    (void)object;
    if (!recorder->freed && series->used && series->generation == write->generation) {
        if (!error || (write->is_new && status == 409)) { /* an earlier try was taken */
            series->live = true;
        } else if (write->is_new || status == 404) { /* the next one is a new event */
            series->used = false;
        }
        uv_timer_start(&recorder->timer, flush, 0, 0);
    }
    end_write(write);
}

static void send_event(struct mig_kube_recorder *recorder, struct mig_kube_series *series,
                       json_t *body, bool is_new)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    MIG_AUTO_FREE struct write *write = calloc(1, sizeof(*write));
    struct mig_kube_request request = {.method = is_new ? "POST" : "PATCH",
                                       .content_type =
                                           is_new ? NULL : "application/merge-patch+json",
                                       .body = body,
                                       .timeout_ms = WRITE_TIMEOUT_MS,
                                       .retry = MIG_KUBE_RETRY_ALWAYS,
                                       .done = on_written,
                                       .cancelled = on_cancelled,
                                       .data = write};

    mig_kube_path_init(&path, "/apis/events.k8s.io/v1");
    mig_kube_path_resource(&path, series->namespace_name, "events");
    if (!is_new) {
        mig_kube_path_name(&path, series->name);
    }
    request.path = mig_kube_path_text(&path, NULL);
    if (!write || !body || !request.path || recorder->write_count >= WRITES_MAX) {
        series->used = series->used && !is_new;
        return;
    }
    *write = (struct write){.recorder = recorder,
                            .index = (unsigned)(series - recorder->table.series),
                            .generation = series->generation,
                            .is_new = is_new};
    if (mig_kube_request(recorder->kube, &request, NULL, NULL) < 0) {
        series->used = series->used && !is_new;
        return;
    }
    recorder->write_count++;
    (void)MIG_TAKE(write);
}

/* --- counts --- */

static void flush(uv_timer_t *timer)
{
    struct mig_kube_recorder *recorder = timer->data;
    struct mig_kube_series *series;
    uint64_t wait_ms;

    while ((series = mig_kube_event_due(&recorder->table, uv_now(timer->loop), &wait_ms))) {
        MIG_AUTO_JSON json_t *body = NULL;
        char time[MIG_KUBE_MICROTIME_SIZE];

        mig_kube_microtime(mig_kube_realtime_us(), time);
        body = json_pack("{s:{s:i, s:s}}", "series", "count", (int)series->count,
                         "lastObservedTime", time);
        send_event(recorder, series, body, false);
    }
    if (wait_ms != UINT64_MAX) {
        uv_timer_start(timer, flush, wait_ms, 0);
    }
}

/* --- new events --- */

/* Cuts at the beginning of a character, so that what is left is UTF-8. */
static void copy_cut(char *buffer, size_t size, const char *text)
{
    size_t length;

    if (mig_text_copy(buffer, size, text)) {
        return;
    }
    length = strlen(buffer);
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
        length--;
    }
    buffer[length] = '\0';
}

static json_t *event_object(const struct mig_kube_recorder *recorder,
                            const struct mig_kube_series *series,
                            const struct mig_kube_regarding *regarding, bool warning,
                            const char *reason, const char *action, const char *note)
{
    char time[MIG_KUBE_MICROTIME_SIZE], short_reason[WORD_MAX + 1], short_action[WORD_MAX + 1];
    char short_instance[WORD_MAX + 1];
    char short_note[MIG_KUBE_NOTE_MAX];

    mig_kube_microtime(mig_kube_realtime_us(), time);
    copy_cut(short_reason, sizeof(short_reason), reason);
    copy_cut(short_action, sizeof(short_action), action);
    copy_cut(short_instance, sizeof(short_instance), recorder->instance);
    copy_cut(short_note, sizeof(short_note), note);
    return json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:s, s:s, s:s, s:s, s:s,"
                     " s:{s:s, s:s, s:s, s:s*, s:s*}}",
                     "apiVersion", "events.k8s.io/v1", "kind", "Event", "metadata", "name",
                     series->name, "namespace", series->namespace_name, "eventTime", time,
                     "reportingController", recorder->component, "reportingInstance",
                     short_instance, "type", warning ? "Warning" : "Normal", "reason", short_reason,
                     "action", short_action, "note", short_note, "regarding", "apiVersion",
                     regarding->api_version, "kind", regarding->kind, "name", regarding->name,
                     "namespace", regarding->namespace_name, "uid", regarding->uid);
}

void mig_kube_record(struct mig_kube_recorder *recorder, const struct mig_kube_regarding *regarding,
                     bool warning, const char *reason, const char *action, const char *note)
{
    MIG_AUTO_JSON json_t *body = NULL;
    char key[MIG_KUBE_SERIES_KEY_MAX], object[256];
    struct mig_kube_series *series;
    const char *namespace_name = regarding->namespace_name ? regarding->namespace_name : "default";

    snprintf(object, sizeof(object), "%s/%s/%s", regarding->kind, namespace_name, regarding->name);
    snprintf(key, sizeof(key), "%d %s %s %s", warning, object, reason, note);
    switch (mig_kube_event_decide(&recorder->table, key, object, uv_now(recorder->timer.loop),
                                  &series)) {
    case MIG_KUBE_EVENT_AGAIN:
        uv_timer_start(&recorder->timer, flush, 0, 0);
        break;
    case MIG_KUBE_EVENT_NEW:
        snprintf(series->name, sizeof(series->name), "%.*s.%llx%04x", NAME_PREFIX_MAX,
                 regarding->name, (unsigned long long)mig_kube_realtime_us(),
                 recorder->serial++ & 0xffff);
        mig_text_copy(series->namespace_name, sizeof(series->namespace_name), namespace_name);
        body = event_object(recorder, series, regarding, warning, reason, action, note);
        send_event(recorder, series, body, true);
        break;
    case MIG_KUBE_EVENT_DROP:
        break;
    }
}
