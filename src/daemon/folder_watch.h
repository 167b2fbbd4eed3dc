/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says when to look at something in a folder: at the start, soon after inotify told of the folder,
 * and from time to time. Looking is the caller's; so is finding that nothing has changed.
 */
#ifndef MIG_DAEMON_FOLDER_WATCH_H
#define MIG_DAEMON_FOLDER_WATCH_H

#include <mig/error.h>
#include <uv.h>

/* Part of whoever looks. */
struct folder_watch {
    uv_fs_event_t event;
    uv_timer_t timer;
    char *folder;
    unsigned open_handles;
    bool event_works;
    void (*look)(void *data); /* called from the loop */
    void (*closed)(void *data);
    void *data;
};

int folder_watch_start(struct folder_watch *watch, uv_loop_t *loop, const char *folder,
                       void (*look)(void *data), void *data, struct mig_error *error);

/* Looks on the next turn of the loop. */
void folder_watch_again(struct folder_watch *watch);

/* `closed` is called, with the data of the start, when the handles are gone: then the memory may
 * go. */
void folder_watch_stop(struct folder_watch *watch, void (*closed)(void *data));

#endif
