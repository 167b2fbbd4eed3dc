/* SPDX-License-Identifier: Apache-2.0 */
/*
 * List and watch.
 *
 *   LISTING --all pages--> WATCHING --ended--> PAUSED --time--> WATCHING (or LISTING)
 *      ^---------------------- 410, garbage, refused ---------------'
 *
 * What ends a watch without saying anything about its content (a cut connection, the server's time
 * limit, 429, 5xx) is followed by a watch from the last resourceVersion; everything else by a new
 * list, which is always right. So is long silence, without even a bookmark: a server whose store
 * was put back from a copy says nothing before its numbers have caught up with ours.
 *
 * Progress resets the backoff, so a server that only takes connections and drops
 * them is not asked in a tight loop.
 *
 * The owner may free the watch from any of its callbacks: `freed` is looked at after each, and the
 * memory goes when the timer's handle is closed.
 */
#include "kube/watch.h"
#include "base/cleanup.h"
#include "kube/client_internal.h"
#include "kube/json.h"
#include "kube/known.h"
#include "kube/lines.h"
#include "kube/objects.h"
#include "kube/path.h"
#include "kube/status.h"
#include "kube/watch_event.h"
#include <errno.h>
#include <string.h>

#define IDLE_TIMEOUT_MS 300000u
#define OFFLINE_AFTER_MS 30000u
#define RETRY_FIRST_MS 200u
#define RETRY_MAX_MS 15000u
#define STABLE_MS 5000u /* a watch that lasted as long was a good one */
#define SERVER_TIMEOUT_S 300u
#define ERROR_BODY_MAX 4096u
#define ERRORS_IN_A_ROW 3u /* from one resourceVersion: the server will not get over it */

enum state { PAUSED, LISTING, WATCHING };

struct mig_kube_watch {
    struct mig_kube *kube;
    struct mig_kube_watch_options options; /* its texts are copies */
    char *path, *field_selector, *label_selector;
    uv_timer_t timer;
    bool freed;

    enum state state;
    bool list_next;     /* after the pause: a list, not a watch */
    uint64_t resume_ms; /* of the pause */
    struct mig_kube_backoff backoff;
    struct mig_kube_known known;
    char *version; /* resourceVersion to go on from */

    struct mig_kube_list *list;
    bool list_wrong; /* an item made no sense; `error` says why */

    struct mig_kube_try *try;
    int status;
    unsigned retry_after_ms;
    uint64_t opened_ms, heard_ms;
    bool progress;
    struct mig_kube_lines lines;
    struct mig_buffer refusal; /* the body of an answer that is no watch */
    bool over;                 /* nothing more is wanted of this watch; the timer ends it */
    unsigned errors;           /* of the server, in a row, told as events */
    bool wrong;                /* and only a new list is of use: 410, a line that makes no sense */

    uint64_t touch_ms; /* last time that the server was in touch */
    bool in_touch, offline;
    struct mig_error error; /* what happened last */
};

static void schedule(struct mig_kube_watch *watch);
static void on_timer(uv_timer_t *timer);
static void start_list(struct mig_kube_watch *watch);
static void start_watch(struct mig_kube_watch *watch);

static uint64_t now(const struct mig_kube_watch *watch)
{
    return uv_now(watch->timer.loop);
}

/* --- telling --- */

static void tell(struct mig_kube_watch *watch, enum mig_kube_watch_event event, json_t *object,
                 const struct mig_error *error)
{
    if (!watch->freed) {
        watch->options.event(event, object, error, watch->options.data);
    }
}

/* In touch with the server: OFFLINE is over. */
static void touch(struct mig_kube_watch *watch)
{
    watch->touch_ms = now(watch);
    watch->in_touch = true;
}

static void tell_synced(struct mig_kube_watch *watch)
{
    watch->offline = false;
    tell(watch, MIG_KUBE_SYNCED, NULL, NULL);
}

/* An object that is there. Returns a negative mig_result when it makes no sense. */
static int tell_object(struct mig_kube_watch *watch, json_t *object)
{
    MIG_AUTO_JSON json_t *old = NULL;
    int change = mig_kube_known_put(&watch->known, object, &old, &watch->error);

    if (change < 0 || change == MIG_KUBE_KNOWN_SAME) {
        return change;
    }
    if (change == MIG_KUBE_KNOWN_REPLACED) {
        tell(watch, MIG_KUBE_DELETED, old, NULL);
    }
    tell(watch, change == MIG_KUBE_KNOWN_CHANGED ? MIG_KUBE_MODIFIED : MIG_KUBE_ADDED, object,
         NULL);
    return 0;
}

/* --- pauses --- */

static void pause_for(struct mig_kube_watch *watch, unsigned least_ms, bool list_next)
{
    unsigned delay_ms =
        mig_kube_backoff_after(&watch->backoff, least_ms, mig_kube_random(watch->kube));

    if (watch->in_touch) { /* until now */
        watch->touch_ms = now(watch);
        watch->in_touch = false;
    }
    watch->state = PAUSED;
    watch->list_next = watch->list_next || list_next;
    watch->resume_ms = now(watch) + delay_ms;
    schedule(watch);
}

/* --- lists --- */

static void on_item(json_t *object, void *data)
{
    struct mig_kube_watch *watch = data;

    if (!watch->list_wrong && tell_object(watch, object) < 0) {
        watch->list_wrong = true;
    }
}

static void on_restart(void *data)
{
    struct mig_kube_watch *watch = data;

    mig_kube_known_begin(&watch->known);
}

static void tell_stale(struct mig_kube_watch *watch)
{
    json_t *object;

    while (!watch->freed && (object = mig_kube_known_take_stale(&watch->known))) {
        tell(watch, MIG_KUBE_DELETED, object, NULL);
        json_decref(object);
    }
}

static void on_listed(int status, const char *resource_version, const struct mig_error *error,
                      void *data)
{
    struct mig_kube_watch *watch = data;

    (void)status;
    watch->list = NULL;
    if (error) {
        watch->error = *error;
    } else if (!watch->list_wrong && !*resource_version) {
        mig_error_set(&watch->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "GET %s: the list has no resourceVersion", watch->path);
        watch->list_wrong = true;
    }
    if (error || watch->list_wrong) {
        pause_for(watch, 0, true);
        return;
    }
    free(watch->version);
    watch->version = strdup(resource_version);
    if (!watch->version) {
        pause_for(watch, 0, true);
        return;
    }
    watch->list_next = false;
    watch->errors = 0;
    touch(watch);
    tell_stale(watch);
    tell_synced(watch);
    if (!watch->freed) {
        start_watch(watch);
    }
}

static void start_list(struct mig_kube_watch *watch)
{
    const struct mig_kube_list_options options = {
        .path = watch->path,
        .field_selector = watch->field_selector,
        .label_selector = watch->label_selector,
        .item = on_item,
        .restart = on_restart,
        .done = on_listed,
        .data = watch,
    };

    watch->state = LISTING;
    watch->list_wrong = false;
    mig_kube_known_begin(&watch->known);
    if (mig_kube_list(watch->kube, &options, &watch->list, &watch->error) < 0) {
        pause_for(watch, 0, true);
        return;
    }
    schedule(watch);
}

/* --- watches --- */

static bool on_line(const char *text, size_t size, void *data)
{
    struct mig_kube_watch *watch = data;
    struct mig_kube_watch_line line;
    char *version;
    int rc = mig_kube_watch_line_parse(text, size, &line, &watch->error);

    if (rc == 0 && line.kind == MIG_KUBE_LINE_ERROR) {
        watch->over = true;
        watch->wrong = (line.code < 500 && line.code != 429) || ++watch->errors >= ERRORS_IN_A_ROW;
        mig_kube_status_error(&watch->error, "GET", watch->path, line.code, line.object, NULL, 0);
        mig_kube_watch_line_release(&line);
        return false;
    }
    if (rc == 0 && (line.kind == MIG_KUBE_LINE_ADDED || line.kind == MIG_KUBE_LINE_MODIFIED)) {
        rc = tell_object(watch, line.object);
    } else if (rc == 0 && line.kind == MIG_KUBE_LINE_DELETED &&
               mig_kube_known_remove(&watch->known, line.object)) {
        tell(watch, MIG_KUBE_DELETED, line.object, NULL);
    }
    version = rc == 0 ? strdup(line.resource_version) : NULL;
    mig_kube_watch_line_release(&line);
    if (watch->freed) {
        free(version);
        return false;
    }
    if (!version) {
        watch->over = watch->wrong = true;
        return false;
    }
    free(watch->version);
    watch->version = version;
    watch->progress = true;
    watch->errors = 0;
    return true;
}

static void on_headers(int status, unsigned retry_after_ms, void *data)
{
    struct mig_kube_watch *watch = data;

    watch->status = status;
    watch->retry_after_ms = retry_after_ms;
    if (status == 200) {
        watch->opened_ms = watch->heard_ms = now(watch);
        touch(watch);
        if (watch->offline) {
            tell_synced(watch);
        }
        if (!watch->freed) {
            schedule(watch);
        }
    }
}

static void on_body(const void *bytes, size_t size, void *data)
{
    struct mig_kube_watch *watch = data;

    if (watch->over) {
        return;
    }
    watch->heard_ms = now(watch);
    if (watch->opened_ms == 0) {
        mig_buffer_append(&watch->refusal, bytes, size);
        return;
    }
    if (mig_kube_lines_feed(&watch->lines, bytes, size, on_line, watch, &watch->error) < 0) {
        watch->over = watch->wrong = true;
    }
    if (!watch->freed && watch->over) {
        uv_timer_start(&watch->timer, on_timer, 0, 0);
    }
}

/* 2xx other than 200, 3xx, 4xx: what the server thinks of the request, which stays so. */
static bool is_refusal(int status)
{
    return status != 0 && status != 200 && status != 401 && status != 429 && status < 500;
}

static void explain_refusal(struct mig_kube_watch *watch)
{
    MIG_AUTO_JSON json_t *object = NULL;

    if (watch->refusal.size > 0) {
        mig_kube_json_parse(watch->refusal.data, watch->refusal.size, &object, NULL);
    }
    mig_kube_status_error(&watch->error, "GET", watch->path, watch->status, object,
                          watch->refusal.data, watch->refusal.size);
}

/* The watch has ended, whoever did it; the try is gone. */
static void after_watch(struct mig_kube_watch *watch)
{
    bool again = watch->wrong || is_refusal(watch->status);

    if (watch->status == 401) {
        mig_kube_token_refresh(&mig_kube_link(watch->kube)->token, now(watch));
    }
    if (watch->progress || (watch->opened_ms > 0 && now(watch) - watch->opened_ms >= STABLE_MS)) {
        mig_kube_backoff_reset(&watch->backoff);
    }
    mig_kube_lines_reset(&watch->lines);
    pause_for(watch, watch->retry_after_ms, again);
}

static void on_end(const struct mig_error *error, bool refused, void *data)
{
    struct mig_kube_watch *watch = data;

    (void)refused;
    watch->try = NULL;
    if (watch->over) {
        /* `error` tells already */
    } else if (error) {
        watch->error = *error;
    } else if (watch->opened_ms == 0) {
        explain_refusal(watch);
    } else {
        mig_error_set(&watch->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "GET %s: the server ended the watch", watch->path);
    }
    after_watch(watch);
}

static const char *watch_path(struct mig_kube_watch *watch, struct mig_kube_path *path)
{
    uint64_t jitter_s = mig_kube_random_below(mig_kube_random(watch->kube), SERVER_TIMEOUT_S);

    mig_kube_path_init(path, watch->path);
    mig_kube_path_query(path, "watch", "true");
    mig_kube_path_query(path, "allowWatchBookmarks", "true");
    mig_kube_path_query(path, "fieldSelector", watch->field_selector);
    mig_kube_path_query(path, "labelSelector", watch->label_selector);
    mig_kube_path_query(path, "resourceVersion", watch->version);
    mig_kube_path_query_number(path, "timeoutSeconds", SERVER_TIMEOUT_S + jitter_s);
    return mig_kube_path_text(path, &watch->error);
}

static void start_watch(struct mig_kube_watch *watch)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    const struct mig_kube_try_options options = {
        .method = "GET",
        .path = watch_path(watch, &path),
        .headers = on_headers,
        .body_part = on_body,
        .end = on_end,
        .data = watch,
    };

    watch->state = WATCHING;
    watch->status = 0;
    watch->retry_after_ms = 0;
    watch->opened_ms = 0;
    watch->heard_ms = now(watch);
    watch->progress = watch->over = watch->wrong = false;
    mig_buffer_release(&watch->refusal);
    mig_kube_lines_reset(&watch->lines);
    if (!options.path ||
        mig_kube_try(mig_kube_link(watch->kube), &options, &watch->try, &watch->error) < 0) {
        pause_for(watch, 0, !options.path);
        return;
    }
    schedule(watch);
}

/* --- time --- */

/* When the state of now is over, if nothing comes. */
static uint64_t due_ms(const struct mig_kube_watch *watch)
{
    switch (watch->state) {
    case PAUSED:
        return watch->resume_ms;
    case WATCHING:
        return watch->heard_ms + watch->options.idle_timeout_ms;
    case LISTING:
        break;
    }
    return UINT64_MAX; /* requests have a limit of their own */
}

static void schedule(struct mig_kube_watch *watch)
{
    uint64_t wake_ms = due_ms(watch);

    if (!watch->in_touch && !watch->offline &&
        wake_ms > watch->touch_ms + watch->options.offline_after_ms) {
        wake_ms = watch->touch_ms + watch->options.offline_after_ms;
    }
    if (wake_ms != UINT64_MAX) {
        uv_timer_start(&watch->timer, on_timer, wake_ms > now(watch) ? wake_ms - now(watch) : 0, 0);
    }
}

static void end_watch(struct mig_kube_watch *watch)
{
    mig_kube_try_cancel(MIG_TAKE(watch->try));
    if (!watch->over) {
        mig_error_set_errno(&watch->error, MIG_E_FAILED, ETIMEDOUT,
                            "GET %s: nothing was heard for %u ms", watch->path,
                            watch->options.idle_timeout_ms);
        watch->wrong = true; /* a server that is well sends bookmarks; see above */
    }
    after_watch(watch);
}

static void on_timer(uv_timer_t *timer)
{
    struct mig_kube_watch *watch = timer->data;

    if (!watch->in_touch && !watch->offline &&
        now(watch) >= watch->touch_ms + watch->options.offline_after_ms) {
        watch->offline = true;
        if (!watch->error.message[0]) {
            mig_error_set_errno(&watch->error, MIG_E_FAILED, ETIMEDOUT, "GET %s: no answer yet",
                                watch->path);
        }
        tell(watch, MIG_KUBE_OFFLINE, NULL, &watch->error);
        if (watch->freed) {
            return;
        }
    }
    if (watch->state == WATCHING && watch->over) {
        end_watch(watch);
    } else if (now(watch) < due_ms(watch)) {
        schedule(watch);
    } else if (watch->state == WATCHING) {
        end_watch(watch);
    } else if (watch->list_next) {
        start_list(watch);
    } else {
        start_watch(watch);
    }
}

/* --- life --- */

static void free_memory(struct mig_kube_watch *watch)
{
    mig_kube_known_release(&watch->known);
    mig_kube_lines_release(&watch->lines);
    mig_buffer_release(&watch->refusal);
    free(watch->path);
    free(watch->field_selector);
    free(watch->label_selector);
    free(watch->version);
    free(watch);
}

static bool copy(const char *text, char **ret)
{
    *ret = text ? strdup(text) : NULL;
    return *ret || !text;
}

int mig_kube_watch_new(struct mig_kube *kube, const struct mig_kube_watch_options *options,
                       struct mig_kube_watch **ret, struct mig_error *error)
{
    struct mig_kube_watch *watch = calloc(1, sizeof(*watch));

    if (!watch) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not watch %s",
                                   options->path);
    }
    watch->kube = kube;
    watch->options = *options;
    if (watch->options.idle_timeout_ms == 0) {
        watch->options.idle_timeout_ms = IDLE_TIMEOUT_MS;
    }
    if (watch->options.offline_after_ms == 0) {
        watch->options.offline_after_ms = OFFLINE_AFTER_MS;
    }
    watch->backoff = (struct mig_kube_backoff){.first_ms = RETRY_FIRST_MS, .max_ms = RETRY_MAX_MS};
    mig_kube_known_init(&watch->known, MIG_KUBE_WATCH_OBJECTS_MAX);
    mig_kube_lines_init(&watch->lines, MIG_KUBE_WATCH_LINE_MAX);
    mig_buffer_init(&watch->refusal, ERROR_BODY_MAX);
    if (!copy(options->path, &watch->path) ||
        !copy(options->field_selector, &watch->field_selector) ||
        !copy(options->label_selector, &watch->label_selector)) {
        free_memory(watch);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not watch %s",
                                   options->path);
    }
    uv_timer_init(mig_kube_loop(kube), &watch->timer);
    watch->timer.data = watch;
    watch->touch_ms = now(watch);
    start_list(watch);
    *ret = watch;
    return 0;
}

bool mig_kube_watch_is_listing(const struct mig_kube_watch *watch)
{
    return watch->state == LISTING;
}

static void on_closed(uv_handle_t *handle)
{
    free_memory(handle->data);
}

void mig_kube_watch_free(struct mig_kube_watch *watch)
{
    if (!watch) {
        return;
    }
    watch->freed = true;
    mig_kube_list_cancel(MIG_TAKE(watch->list));
    mig_kube_try_cancel(MIG_TAKE(watch->try));
    uv_close((uv_handle_t *)&watch->timer, on_closed);
}
