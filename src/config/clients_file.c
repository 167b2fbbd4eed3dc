/* SPDX-License-Identifier: Apache-2.0 */
/* Names become words of a systemctl command, so they are checked as strictly as systemd would. */
#include "config/clients_file.h"
#include "base/cleanup.h"
#include "config/document.h"
#include <errno.h>
#include <string.h>

#define UNIT_NAME_MAX 255u

MIG_DEFINE_CLEANUP(document, struct mig_document, mig_document_free)

void mig_clients_file_release(struct mig_clients_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        free(file->services[i]);
    }
    free(file->services);
    *file = (struct mig_clients_file){0};
}

/* What systemd allows in the name of a unit, and no '/': it becomes a word of a command. */
static bool is_unit_name(const char *text)
{
    size_t length = strlen(text);

    return length > 0 && length <= UNIT_NAME_MAX && text[0] != '-' && text[0] != '.' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.@-") ==
               length;
}

static int check_version(const char *name, const struct mig_value *root, struct mig_error *error)
{
    const struct mig_pair *version = mig_value_find(root, "version");

    if (!version) {
        return mig_position_error(error, MIG_E_CONFIG, name, root->position,
                                  "version is missing, it has to be v1");
    }
    if (version->value->kind != MIG_VALUE_TEXT || strcmp(version->value->text, "v1") != 0) {
        return mig_position_error(error, MIG_E_CONFIG, name, version->value->position,
                                  "unknown version '%.64s', it has to be v1",
                                  version->value->text ? version->value->text : "");
    }
    return 0;
}

static int check_keys(const char *name, const struct mig_value *root, struct mig_error *error)
{
    for (uint32_t i = 0; i < root->count; i++) {
        const struct mig_pair *pair = &root->pairs[i];

        if (strcmp(pair->key, "version") != 0 && strcmp(pair->key, "systemd-services") != 0) {
            return mig_position_error(error, MIG_E_CONFIG, name, pair->position,
                                      "unknown field '%.64s'", pair->key);
        }
    }
    return 0;
}

static int read_services(const char *name, const struct mig_value *list,
                         struct mig_clients_file *ret, struct mig_error *error)
{
    if (list->kind == MIG_VALUE_NULL) {
        return 0;
    }
    if (list->kind != MIG_VALUE_LIST) {
        return mig_position_error(error, MIG_E_CONFIG, name, list->position,
                                  "systemd-services has to be a list, found %s",
                                  mig_value_kind_name(list->kind));
    }
    if (list->count > MIG_CLIENTS_FILE_SERVICES_MAX) {
        return mig_position_error(error, MIG_E_CONFIG, name, list->position,
                                  "%u services, at most %u are possible", list->count,
                                  MIG_CLIENTS_FILE_SERVICES_MAX);
    }
    ret->services = calloc(list->count + 1, sizeof(*ret->services));
    for (uint32_t i = 0; ret->services && i < list->count; i++) {
        const struct mig_value *item = list->items[i];

        if (item->kind != MIG_VALUE_TEXT || !is_unit_name(item->text)) {
            return mig_position_error(error, MIG_E_CONFIG, name, item->position,
                                      "'%.64s' is not the name of a systemd unit",
                                      item->text ? item->text : mig_value_kind_name(item->kind));
        }
        ret->services[i] = strdup(item->text);
        if (!ret->services[i]) {
            break;
        }
        ret->count = i + 1;
    }
    if (ret->count < list->count) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read '%s'", name);
    }
    return 0;
}

int mig_clients_file_parse(const char *name, const char *text, size_t size,
                           struct mig_clients_file *ret, struct mig_error *error)
{
    MIG_CLEANUP(cleanup_document) struct mig_document *document = NULL;
    const struct mig_value *root;
    const struct mig_pair *services;
    int rc = mig_document_parse(name, text, size, &document, error);

    *ret = (struct mig_clients_file){0};
    if (rc < 0) {
        return rc;
    }
    root = mig_document_root(document);
    if (root->kind != MIG_VALUE_MAP) {
        return mig_position_error(error, MIG_E_CONFIG, name, root->position,
                                  "a GPU clients file has to be a map, found %s",
                                  mig_value_kind_name(root->kind));
    }
    rc = check_version(name, root, error);
    rc = rc < 0 ? rc : check_keys(name, root, error);
    services = mig_value_find(root, "systemd-services");
    if (rc == 0 && services) {
        rc = read_services(name, services->value, ret, error);
    }
    if (rc < 0) {
        mig_clients_file_release(ret);
    }
    return rc;
}

int mig_clients_file_load(const char *path, struct mig_clients_file *ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size;
    int rc;

    *ret = (struct mig_clients_file){0};
    rc = mig_document_read_file(path, &text, &size, error);
    return rc < 0 ? rc : mig_clients_file_parse(path, text, size, ret, error);
}
