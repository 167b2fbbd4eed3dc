/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inotify on the file's folder says that something happened; what happened is seen by looking. A
 * slow timer looks as well: a symbolic link may lead into a folder that is not watched, and the
 * folder may not exist yet. Looking is a stat(); the file is read when that differs, and told when
 * its content does.
 */
#include "daemon/file_watch.h"
#include "base/cleanup.h"
#include "base/file.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define LOOK_MS 5000u
#define SETTLE_MS 50u /* a writer's steps come together */

struct file_watch {
    char *path, *folder;
    size_t max;
    file_watch_changed *changed;
    void *data;
    uv_fs_event_t event;
    uv_timer_t timer;
    unsigned open_handles;
    bool event_works, told, told_error;
    struct stat seen;
    char *text;
    size_t size;
};

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void tell_error(struct file_watch *watch, const struct mig_error *error)
{
    free(MIG_TAKE(watch->text));
    watch->size = 0;
    watch->seen = (struct stat){0};
    if (!watch->told_error) {
        watch->told = watch->told_error = true;
        watch->changed(watch->path, NULL, 0, error, watch->data);
    }
}

static void look(struct file_watch *watch)
{
    MIG_AUTO_FREE char *text = NULL;
    struct mig_error error;
    struct stat now;
    size_t size;

    if (stat(watch->path, &now) < 0) {
        (void)mig_error_set_errno(&error, MIG_E_CONFIG, errno, "could not read '%s'", watch->path);
        tell_error(watch, &error);
        return;
    }
    if (watch->text && same_file(&now, &watch->seen)) {
        return;
    }
    if (mig_file_read(watch->path, watch->max, &text, &size, &error) < 0) {
        tell_error(watch, &error);
        return;
    }
    watch->seen = now;
    if (watch->told && watch->text && size == watch->size && memcmp(text, watch->text, size) == 0) {
        return;
    }
    free(watch->text);
    watch->text = MIG_TAKE(text);
    watch->size = size;
    watch->told = true;
    watch->told_error = false;
    watch->changed(watch->path, watch->text, watch->size, NULL, watch->data);
}

static void timer_fired(uv_timer_t *timer);

static void something_happened(uv_fs_event_t *event, const char *name, int events, int status)
{
    struct file_watch *watch = event->data;

    (void)name;
    (void)events;
    if (status < 0) {
        watch->event_works = false;
        (void)uv_fs_event_stop(event);
    }
    (void)uv_timer_start(&watch->timer, timer_fired, SETTLE_MS, LOOK_MS);
}

static void timer_fired(uv_timer_t *timer)
{
    struct file_watch *watch = timer->data;

    if (!watch->event_works) {
        watch->event_works =
            uv_fs_event_start(&watch->event, something_happened, watch->folder, 0) == 0;
    }
    look(watch);
}

void file_watch_again(struct file_watch *watch)
{
    watch->told = watch->told_error = false;
    watch->seen = (struct stat){0};
    (void)uv_timer_start(&watch->timer, timer_fired, 0, LOOK_MS);
}

static void release(struct file_watch *watch)
{
    free(watch->path);
    free(watch->folder);
    free(watch->text);
    free(watch);
}

int file_watch_new(uv_loop_t *loop, const char *path, size_t max, file_watch_changed *changed,
                   void *data, struct file_watch **ret, struct mig_error *error)
{
    struct file_watch *watch = calloc(1, sizeof(*watch));
    const char *slash = strrchr(path, '/');

    if (watch) {
        watch->path = strdup(path);
        watch->folder = !slash          ? strdup(".")
                        : slash == path ? strdup("/")
                                        : strndup(path, (size_t)(slash - path));
    }
    if (!watch || !watch->path || !watch->folder) {
        if (watch) {
            release(watch);
        }
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not watch '%s'", path);
    }
    watch->max = max;
    watch->changed = changed;
    watch->data = data;
    (void)uv_timer_init(loop, &watch->timer);
    (void)uv_fs_event_init(loop, &watch->event);
    watch->timer.data = watch->event.data = watch;
    watch->open_handles = 2;
    (void)uv_timer_start(&watch->timer, timer_fired, 0, LOOK_MS);
    *ret = watch;
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct file_watch *watch = handle->data;

    watch->open_handles--;
    if (watch->open_handles == 0) {
        release(watch);
    }
}

void file_watch_free(struct file_watch *watch)
{
    if (watch) {
        uv_close((uv_handle_t *)&watch->event, handle_closed);
        uv_close((uv_handle_t *)&watch->timer, handle_closed);
    }
}
