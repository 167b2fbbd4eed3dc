/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last good geometry, on disk. The checkpoint is nvidia-mig-parted's and has no room for a
 * name, so that is in a file of its own, with the checksum of the checkpoint that it belongs to:
 * the two cannot come apart, whoever writes the checkpoint alone.
 */
#include "base/checksum.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include <errno.h>
#include <mig/config.h>
#include <string.h>

#define NAME_FILE "last-good.config"
#define CHECKPOINT_BYTES_MAX (4u << 20)
#define MODE 0644
#define PATH_SIZE 4096
#define SUM_LENGTH 9 /* eight digits and a blank */

static int make_path(const char *state_dir, const char *name, char path[PATH_SIZE],
                     struct mig_error *error)
{
    if (snprintf(path, PATH_SIZE, "%s/%s", state_dir, name) >= PATH_SIZE) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the path of the state directory is too long");
    }
    return 0;
}

/* Writes the file unless it is so already. */
static int replace(const char *path, const char *text, struct mig_error *error)
{
    MIG_AUTO_FREE char *old = NULL;
    size_t size = 0;

    if (mig_file_read(path, CHECKPOINT_BYTES_MAX, &old, &size, NULL) == 0 &&
        strcmp(old, text) == 0) {
        return 0;
    }
    return mig_file_write_atomic(path, text, strlen(text), MODE, error);
}

int mig_saved_write(const char *state_dir, const struct mig_node *node, const char *config_name,
                    struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[PATH_SIZE], name[MIG_SAVED_NAME_SIZE + SUM_LENGTH + 1];
    int rc;

    if (strlen(config_name) >= MIG_SAVED_NAME_SIZE || strpbrk(config_name, "\n\r")) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "'%.64s' cannot be the name of a config", config_name);
    }
    rc = mig_checkpoint_write(node, &text, error);
    if (rc == 0) {
        rc = mig_mkdir_parents(state_dir, 0755, error);
    }
    if (rc == 0) {
        rc = make_path(state_dir, MIG_SAVED_FILE, path, error);
    }
    if (rc == 0) {
        rc = replace(path, text, error);
    }
    if (rc == 0) {
        rc = make_path(state_dir, NAME_FILE, path, error);
    }
    if (rc < 0) {
        return rc;
    }
    if (config_name[0] == '\0') {
        return 0; /* a name that is there counts if it is of the same geometry */
    }
    (void)snprintf(name, sizeof(name), "%08x %s\n", mig_checksum(0, text, strlen(text)),
                   config_name);
    return replace(path, name, error);
}

static void read_name(const char *state_dir, uint32_t sum, char ret_name[MIG_SAVED_NAME_SIZE])
{
    MIG_AUTO_FREE char *text = NULL;
    char path[PATH_SIZE], expected[SUM_LENGTH + 1];
    size_t size = 0;

    ret_name[0] = '\0';
    (void)snprintf(expected, sizeof(expected), "%08x ", sum);
    if (make_path(state_dir, NAME_FILE, path, NULL) < 0 ||
        mig_file_read(path, PATH_SIZE, &text, &size, NULL) < 0 || size <= SUM_LENGTH ||
        !mig_text_starts_with(text, expected) || text[size - 1] != '\n') {
        return;
    }
    text[size - 1] = '\0';
    if (!mig_text_copy(ret_name, MIG_SAVED_NAME_SIZE, text + SUM_LENGTH)) {
        ret_name[0] = '\0';
    }
}

int mig_saved_goal(const char *state_dir, const struct mig_node *node, struct mig_goal *ret,
                   char ret_name[MIG_SAVED_NAME_SIZE], struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[PATH_SIZE];
    size_t size = 0;
    int rc = make_path(state_dir, MIG_SAVED_FILE, path, error);

    ret_name[0] = '\0';
    if (rc < 0) {
        return rc;
    }
    if (mig_file_read(path, CHECKPOINT_BYTES_MAX, &text, &size, error) < 0) {
        return MIG_E_CONFIG;
    }
    if (size == 0) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                             "'%s' is empty: no geometry was kept yet", path);
    }
    rc = mig_checkpoint_goal(path, text, size, node, false, ret, error);
    if (rc == 0) {
        read_name(state_dir, mig_checksum(0, text, size), ret_name);
    }
    return rc;
}
