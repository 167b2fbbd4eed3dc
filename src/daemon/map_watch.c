/* SPDX-License-Identifier: Apache-2.0 */
/* A watch by name, so that only this ConfigMap has to be readable. */
#include "daemon/map_watch.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "kube/path.h"
#include <errno.h>
#include <stdio.h>

#define NAME_SIZE 256

struct map_watch {
    struct mig_kube *kube;
    struct mig_kube_watch *watch;
    map_watch_changed *changed;
    void *data;
    char name[NAME_SIZE];
    bool known;
};

static void tell_missing(const struct map_watch *watch, const char *why)
{
    struct mig_error error;

    (void)mig_error_set(&error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0, "ConfigMap '%s/%s' %s",
                        mig_kube_namespace(watch->kube), watch->name, why);
    watch->changed(watch->name, NULL, &error, watch->data);
}

static void map_event(enum mig_kube_watch_event what, json_t *object, const struct mig_error *error,
                      void *data)
{
    struct map_watch *watch = data;

    (void)error;
    if (what == MIG_KUBE_DELETED) {
        watch->known = false;
        tell_missing(watch, "was deleted");
    } else if (what == MIG_KUBE_SYNCED && !watch->known) {
        tell_missing(watch, "is not there");
    } else if (what == MIG_KUBE_ADDED || what == MIG_KUBE_MODIFIED) {
        watch->known = true;
        watch->changed(watch->name, json_object_get(object, "data"), NULL, watch->data);
    }
}

int map_watch_new(struct mig_kube *kube, const char *name, map_watch_changed *changed, void *data,
                  struct map_watch **ret, struct mig_error *error)
{
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    char selector[NAME_SIZE + 32];
    struct map_watch *watch = calloc(1, sizeof(*watch));
    struct mig_kube_watch_options options = {
        .field_selector = selector, .event = map_event, .data = watch};
    int rc;

    mig_kube_path_init(&path, "/api/v1");
    if (!watch) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not follow ConfigMap '%s'",
                                   name);
    }
    *watch = (struct map_watch){.kube = kube, .changed = changed, .data = data};
    (void)mig_text_copy(watch->name, sizeof(watch->name), name);
    mig_kube_path_resource(&path, mig_kube_namespace(kube), "configmaps");
    snprintf(selector, sizeof(selector), "metadata.name=%s", watch->name);
    options.path = mig_kube_path_text(&path, error);
    rc = options.path ? mig_kube_watch_new(kube, &options, &watch->watch, error) : MIG_E_USAGE;
    if (rc < 0) {
        mig_error_prefix(error, "could not follow ConfigMap '%s'", name);
        map_watch_free(watch);
        return rc;
    }
    *ret = watch;
    return 0;
}

const char *map_watch_name(const struct map_watch *watch)
{
    return watch ? watch->name : "";
}

void map_watch_free(struct map_watch *watch)
{
    if (watch) {
        mig_kube_watch_free(watch->watch);
        free(watch);
    }
}
