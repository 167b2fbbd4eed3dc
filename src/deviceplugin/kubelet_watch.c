/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices that the kubelet was restarted: its socket is another file.
 *
 * inotify says when to look; what counts is the file itself (inode and time of its making, since
 * inodes are used again), so nothing is missed between two looks. Where this process may not read
 * the directory nothing is seen here; the end of its streams still tells that a kubelet is gone.
 */
#include "deviceplugin/plugin_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_SIZE (MIG_DP_PATH_SIZE + 64)

struct kubelet_watch {
    struct mig_deviceplugin *plugin;
    uv_fs_event_t event;
    bool watching;
    bool looked;          /* the members below say which socket was there last */
    ino_t inode;          /* 0 = none */
    struct timespec made; /* its inode's time of change */
};

static void look(struct kubelet_watch *watch)
{
    char path[PATH_SIZE];
    struct stat status = {0};
    bool same;

    snprintf(path, sizeof(path), "%s/device-plugins/kubelet.sock",
             plugin_kubelet_dir(watch->plugin));
    if (stat(path, &status) < 0 && watch->looked) {
        return; /* gone for now; what comes is compared with what was */
    }
    same = watch->inode == status.st_ino && watch->made.tv_sec == status.st_ctim.tv_sec &&
           watch->made.tv_nsec == status.st_ctim.tv_nsec;
    watch->inode = status.st_ino;
    watch->made = status.st_ctim;
    if (watch->looked && !same) {
        plugin_kubelet_restarted(watch->plugin);
    }
    watch->looked = true;
}

static void on_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    struct kubelet_watch *watch = event->data;

    (void)events;
    (void)status;
    if (!name || strcmp(name, "kubelet.sock") == 0) {
        look(watch);
    }
}

/* The watch is on the directory as it is now; one that was replaced is watched anew. */
static void watch_directory(struct kubelet_watch *watch)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "%s/device-plugins", plugin_kubelet_dir(watch->plugin));
    uv_fs_event_stop(&watch->event);
    watch->watching = uv_fs_event_start(&watch->event, on_event, path, 0) == 0;
}

void kubelet_watch_look(struct kubelet_watch *watch)
{
    if (!watch->watching) {
        watch_directory(watch);
    }
    look(watch);
}

int kubelet_watch_new(struct mig_deviceplugin *plugin, struct kubelet_watch **ret,
                      struct mig_error *error)
{
    struct kubelet_watch *watch = calloc(1, sizeof(*watch));

    if (!watch) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not watch the kubelet");
    }
    watch->plugin = plugin;
    uv_fs_event_init(plugin_loop(plugin), &watch->event);
    watch->event.data = watch;
    kubelet_watch_look(watch);
    *ret = watch;
    return MIG_OK;
}

static void event_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void kubelet_watch_free(struct kubelet_watch *watch)
{
    if (watch) {
        uv_close((uv_handle_t *)&watch->event, event_closed);
    }
}
