/* SPDX-License-Identifier: Apache-2.0 */
/* Reading is bounded in number and bytes; what is too much is refused whole. */
#include "daemon/config_set.h"
#include "base/cleanup.h"
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_SIZE 4352
#define TRIES 3 /* of a folder whose files change while they are read */

static size_t bytes_of(const struct config_set *set)
{
    size_t bytes = 0;

    for (size_t i = 0; i < set->count; i++) {
        bytes += set->items[i].size;
    }
    return bytes;
}

static int compare_items(const void *a, const void *b)
{
    const struct config_item *left = a, *right = b;

    return strcmp(left->name, right->name);
}

/* Takes `text` over, also when it fails. */
static int add(struct config_set *set, const char *name, char *text, size_t size,
               struct mig_error *error)
{
    MIG_AUTO_FREE char *owned = text;
    struct config_item *item = &set->items[set->count];

    if (set->count == CONFIG_SET_MAX) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0, "more than %u configs",
                             CONFIG_SET_MAX);
    }
    if (size > CONFIG_SET_BYTES_MAX - bytes_of(set)) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                             "configs of more than %u bytes", CONFIG_SET_BYTES_MAX);
    }
    item->name = strdup(name);
    if (!owned || !item->name) {
        free(item->name);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read config '%.128s'",
                                   name);
    }
    item->text = MIG_TAKE(owned);
    item->size = size;
    set->count++;
    return 0;
}

static int finish(struct config_set *set, int rc)
{
    if (rc < 0) {
        config_set_release(set);
    } else if (set->count > 1) {
        qsort(set->items, set->count, sizeof(set->items[0]), compare_items);
    }
    return rc;
}

/* The next file of a folder; NULL at the end. */
static const char *next_file(DIR *folder, const char *path, char file[PATH_SIZE],
                             struct stat *status)
{
    const struct dirent *entry;

    while ((entry = readdir(folder)) != NULL) {
        snprintf(file, PATH_SIZE, "%s/%s", path, entry->d_name);
        if (entry->d_name[0] != '.' && stat(file, status) == 0 && S_ISREG(status->st_mode)) {
            return entry->d_name;
        }
    }
    return NULL;
}

static int read_folder(const char *path, struct config_set *set, struct mig_error *error)
{
    MIG_AUTO_CLOSEDIR DIR *folder = opendir(path);
    char file[PATH_SIZE];
    struct stat status;
    const char *name;
    int rc = 0;

    *set = (struct config_set){0};
    if (!folder) {
        return mig_error_set_errno(error, MIG_E_CONFIG, errno, "could not read '%s'", path);
    }
    while (rc == 0 && (name = next_file(folder, path, file, &status)) != NULL) {
        char *text = NULL;
        size_t size = 0;

        rc = mig_file_read(file, CONFIG_SET_BYTES_MAX, &text, &size, error);
        if (rc == 0) {
            rc = add(set, name, text, size, error);
            if (rc < 0) {
                mig_error_prefix(error, "%s", path);
            }
        }
    }
    return finish(set, rc);
}

int config_set_read_folder(const char *path, struct config_set *ret, struct mig_error *error)
{
    int rc = MIG_E_FAILED;

    for (unsigned i = 0; rc < 0 && i < TRIES; i++) {
        uint64_t before = config_set_folder_state(path);

        rc = read_folder(path, ret, error);
        if (rc == 0 && i + 1 < TRIES && config_set_folder_state(path) != before) {
            config_set_release(ret);
            rc = MIG_E_FAILED;
        }
    }
    return rc;
}

int config_set_read_map(json_t *values, struct config_set *ret, struct mig_error *error)
{
    const char *name;
    json_t *value;
    int rc = 0;

    *ret = (struct config_set){0};
    json_object_foreach(values, name, value)
    {
        if (rc == 0 && json_is_string(value)) {
            rc = add(ret, name, strdup(json_string_value(value)), json_string_length(value), error);
        }
    }
    return finish(ret, rc);
}

/* Order does not count: readdir has none. */
uint64_t config_set_folder_state(const char *path)
{
    MIG_AUTO_CLOSEDIR DIR *folder = opendir(path);
    uint64_t state = 1;
    char file[PATH_SIZE];
    struct stat status;
    const char *name;

    if (!folder) {
        return 0;
    }
    while ((name = next_file(folder, path, file, &status)) != NULL) {
        const uint64_t parts[] = {
            status.st_dev,
            status.st_ino,
            (uint64_t)status.st_size,
            (uint64_t)status.st_mtim.tv_sec,
            (uint64_t)status.st_mtim.tv_nsec,
            (uint64_t)status.st_ctim.tv_sec,
            (uint64_t)status.st_ctim.tv_nsec,
        };
        uint64_t hash = 0xcbf29ce484222325u;

        for (; *name; name++) {
            hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
        }
        for (size_t i = 0; i < MIG_ARRAY_SIZE(parts); i++) {
            hash = (hash ^ parts[i]) * 0x100000001b3u;
            hash ^= hash >> 29;
        }
        state += hash;
    }
    return state;
}

void config_set_release(struct config_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        free(set->items[i].name);
        free(set->items[i].text);
    }
    *set = (struct config_set){0};
}
