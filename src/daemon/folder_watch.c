/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify on the folder says that something happened; what happened is seen by looking. A slow
 * timer looks as well: a symbolic link may lead into a folder that is not watched, and the folder
 * may not exist yet.
 */
#include "daemon/folder_watch.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 5000u
#define SETTLE_MS 50u /* a writer's steps come together */

static void timer_fired(uv_timer_t *timer);

static void something_happened(uv_fs_event_t *event, const char *name, int events, int status)
{
    struct folder_watch *watch = event->data;

    (void)name;
    (void)events;
    if (status < 0) {
        watch->event_works = false;
        (void)uv_fs_event_stop(event);
    }
    /* not put off again and again where something happens all the time */
    if (uv_timer_get_due_in(&watch->timer) > SETTLE_MS) {
        (void)uv_timer_start(&watch->timer, timer_fired, SETTLE_MS, LOOK_MS);
    }
}

static void timer_fired(uv_timer_t *timer)
{
    struct folder_watch *watch = timer->data;

    if (!watch->event_works) {
        watch->event_works =
            uv_fs_event_start(&watch->event, something_happened, watch->folder, 0) == 0;
    }
    watch->look(watch->data);
}

int folder_watch_start(struct folder_watch *watch, uv_loop_t *loop, const char *folder,
                       void (*look)(void *data), void *data, struct mig_error *error)
{
    *watch = (struct folder_watch){.folder = strdup(folder), .look = look, .data = data};
    if (!watch->folder) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not watch '%s'", folder);
    }
    (void)uv_timer_init(loop, &watch->timer);
    (void)uv_fs_event_init(loop, &watch->event);
    watch->timer.data = watch->event.data = watch;
    watch->open_handles = 2;
    (void)uv_timer_start(&watch->timer, timer_fired, 0, LOOK_MS);
    return 0;
}

void folder_watch_again(struct folder_watch *watch)
{
    (void)uv_timer_start(&watch->timer, timer_fired, 0, LOOK_MS);
}

static void handle_closed(uv_handle_t *handle)
{
    struct folder_watch *watch = handle->data;

    watch->open_handles--;
    if (watch->open_handles == 0) {
        free(watch->folder);
        watch->closed(watch->data);
    }
}

void folder_watch_stop(struct folder_watch *watch, void (*closed)(void *data))
{
    watch->closed = closed;
    uv_close((uv_handle_t *)&watch->event, handle_closed);
    uv_close((uv_handle_t *)&watch->timer, handle_closed);
}
