/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking at a file whenever its folder is worth a look (folder_watch.h) is a stat(); the file is
 * read when that differs, and told when its content does.
 */
#include "daemon/file_watch.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "daemon/folder_watch.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct file_watch {
    struct folder_watch folder;
    char *path;
    size_t max;
    file_watch_changed *changed;
    void *data;
    bool told, told_error;
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

static void look(void *data)
{
    struct file_watch *watch = data;
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

void file_watch_again(struct file_watch *watch)
{
    watch->told = watch->told_error = false;
    watch->seen = (struct stat){0};
    folder_watch_again(&watch->folder);
}

static void release(void *data)
{
    struct file_watch *watch = data;

    free(watch->path);
    free(watch->text);
    free(watch);
}

/* The folder of a path; NULL = no memory. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return !slash          ? strdup(".")
           : slash == path ? strdup("/")
                           : strndup(path, (size_t)(slash - path));
}

int file_watch_new(uv_loop_t *loop, const char *path, size_t max, file_watch_changed *changed,
                   void *data, struct file_watch **ret, struct mig_error *error)
{
    struct file_watch *watch = calloc(1, sizeof(*watch));
    MIG_AUTO_FREE char *folder = folder_of(path);
    int rc;

    if (watch) {
        watch->path = strdup(path);
    }
    if (!watch || !watch->path || !folder) {
        if (watch) {
            release(watch);
        }
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not watch '%s'", path);
    }
    watch->max = max;
    watch->changed = changed;
    watch->data = data;
    rc = folder_watch_start(&watch->folder, loop, folder, look, watch, error);
    if (rc < 0) {
        release(watch);
        return rc;
    }
    *ret = watch;
    return 0;
}

void file_watch_free(struct file_watch *watch)
{
    if (watch) {
        folder_watch_stop(&watch->folder, release);
    }
}
