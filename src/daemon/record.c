/* SPDX-License-Identifier: Apache-2.0 */
/* Both files are JSON, replaced in one step. What is read is checked: an older migd may have
 * written it, or a hand. */
#include "daemon/record.h"
#include "base/cleanup.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#define RECORD_VERSION 1
#define PATH_SIZE 4096

static int path_of(const char *dir, const char *name, char *ret, struct mig_error *error)
{
    if (snprintf(ret, PATH_SIZE, "%s/%s", dir, name) >= PATH_SIZE) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENAMETOOLONG, "could not use '%.64s...'",
                                   dir);
    }
    return 0;
}

int record_prepare(const char *state_dir, unsigned uid, unsigned gid, char **ret_dir,
                   struct mig_error *error)
{
    char path[PATH_SIZE];
    MIG_AUTO_CLOSE int fd = -1;
    int rc = path_of(state_dir, "agent", path, error);

    rc = rc < 0 ? rc : mig_mkdir_parents(path, 0755, error);
    if (rc < 0) {
        return rc;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (geteuid() == 0 && fchown(fd, uid, gid) < 0)) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not prepare '%s'", path);
    }
    *ret_dir = strdup(path);
    return *ret_dir
               ? 0
               : mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not prepare '%s'", path);
}

void record_release(struct record *record)
{
    json_decref(record->document);
    *record = (struct record){0};
}

static const char *text_of(const json_t *document, const char *key)
{
    const char *text = json_string_value(json_object_get(document, key));

    return text ? text : "";
}

int record_read(const char *dir, struct record *ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[PATH_SIZE];
    size_t size;
    json_t *document;
    json_error_t problem;
    int rc = path_of(dir, "record.json", path, error);

    *ret = (struct record){0};
    if (rc < 0 || (access(path, F_OK) < 0 && errno == ENOENT)) {
        return rc;
    }
    rc = mig_file_read(path, RECORD_BYTES_MAX, &text, &size, error);
    if (rc < 0) {
        return rc;
    }
    document = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    if (!json_is_object(document) ||
        json_integer_value(json_object_get(document, "version")) != RECORD_VERSION) {
        json_decref(document);
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                             "'%s' is damaged, and not used", path);
    }
    ret->document = document;
    ret->record = (struct mig_manager_record){
        .label = text_of(document, "label"),
        .config_name = text_of(document, "config_name"),
        .config_text = text_of(document, "config"),
        .config_size = strlen(text_of(document, "config")),
        .boot_id = text_of(document, "boot_id"),
        .reboot_label = text_of(document, "reboot_label"),
        .reboot_boot_id = text_of(document, "reboot_boot_id"),
    };
    return 0;
}

/* Takes `document` over, which may be NULL for want of memory. */
static int write_document(const char *dir, const char *name, json_t *document, mode_t mode,
                          struct mig_error *error)
{
    MIG_AUTO_FREE char *text = document ? json_dumps(document, JSON_INDENT(2)) : NULL;
    char path[PATH_SIZE];
    int rc = path_of(dir, name, path, error);

    json_decref(document);
    if (rc == 0 && !text) {
        rc = mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not write '%s'", path);
    }
    return rc < 0 ? rc : mig_file_write_atomic(path, text, strlen(text), mode, error);
}

static json_t *text_json(const char *text)
{
    return json_string(text ? text : "");
}

int record_write(const char *dir, const struct mig_manager_record *record, struct mig_error *error)
{
    json_t *document = json_pack(
        "{s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "version", RECORD_VERSION, "label",
        text_json(record->label), "config_name", text_json(record->config_name), "config",
        json_stringn(record->config_text ? record->config_text : "",
                     record->config_text ? record->config_size : 0),
        "boot_id", text_json(record->boot_id), "reboot_label", text_json(record->reboot_label),
        "reboot_boot_id", text_json(record->reboot_boot_id));

    return write_document(dir, "record.json", document, 0600, error);
}

int record_write_status(const char *dir, const struct record_status *status,
                        struct mig_error *error)
{
    json_t *document = json_pack(
        "{s:s, s:o, s:o, s:o, s:I, s:I, s:b}", "schema", "migd/manager/v1", "wanted",
        text_json(status->status.wanted), "state", text_json(status->status.state), "message",
        text_json(status->status.message), "since", (json_int_t)status->since_s, "failure_count",
        (json_int_t)status->status.failure_count, "clients_paused", status->status.clients_paused);

    return write_document(dir, "manager.json", document, 0644, error);
}
