/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migctl enable-persistence: GPU and compute instances do not survive a reboot (MIG mode may), so a
 * systemd unit restores the last good geometry at boot. Enabling writes three things: the
 * checkpoint of the present geometry, the unit, and the link that makes systemd start it. The link
 * is written directly because systemctl cannot be asked inside an image, and nothing has to be
 * reloaded before the next boot.
 *
 * The unit has no [Install] section, since its link is made here; --disable removes all three. The
 * checkpoint is also the mark that changes have to refresh it (persist.c).
 */
#include "base/buffer.h"
#include "base/file.h"
#include "cli/document.h"
#include "cli/node.h"
#include "cli/persist.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define UNIT_NAME "migctl-restore.service"
#define UNIT_DIR "/etc/systemd/system"
#define PATH_SIZE 4096
#define UNIT_BYTES_MAX 32768

struct paths {
    char root[PATH_SIZE / 4];
    char state_dir[PATH_SIZE];
    char checkpoint[PATH_SIZE];
    char unit[PATH_SIZE];
    char link_dir[PATH_SIZE];
    char link[PATH_SIZE];
};

static int make_paths(const struct cli *cli, struct paths *ret, struct mig_error *error)
{
    const char *root = cli_has(cli, CLI_ROOT) ? cli->values[CLI_ROOT] : "";
    size_t length = strlen(root);

    while (length && root[length - 1] == '/') {
        length--;
    }
    if (length >= sizeof(ret->root)) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "--root is too long");
    }
    memcpy(ret->root, root, length);
    ret->root[length] = '\0';
    (void)snprintf(ret->unit, sizeof(ret->unit), "%s%s/%s", ret->root, UNIT_DIR, UNIT_NAME);
    (void)snprintf(ret->link_dir, sizeof(ret->link_dir), "%s%s/multi-user.target.wants", ret->root,
                   UNIT_DIR);
    (void)snprintf(ret->link, sizeof(ret->link), "%s%s/multi-user.target.wants/%s", ret->root,
                   UNIT_DIR, UNIT_NAME);
    (void)snprintf(ret->state_dir, sizeof(ret->state_dir), "%s%s", ret->root,
                   persist_state_dir(cli));
    if (persist_state_dir(cli)[0] != '/' || strpbrk(persist_state_dir(cli), "\n\r")) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the state directory '%s' cannot be written into a unit: it has to be "
                             "an absolute path of one line",
                             persist_state_dir(cli));
    }
    return persist_path(cli, ret->root, ret->checkpoint, sizeof(ret->checkpoint), error);
}

/* A condition takes its path as it is, without quotes; systemd expands %. */
static void put_path(struct mig_buffer *text, const char *path)
{
    for (; *path; path++) {
        if (*path == '%') {
            (void)mig_buffer_append(text, path, 1);
        }
        (void)mig_buffer_append(text, path, 1);
    }
}

/* A word of a command line goes into the unit in quotes; there systemd also expands $. */
static int put_word(struct mig_buffer *text, const char *word)
{
    (void)mig_buffer_puts(text, "\"");
    for (; *word; word++) {
        if (strchr("\"\\", *word)) {
            (void)mig_buffer_puts(text, "\\");
        } else if (strchr("%$", *word)) {
            (void)mig_buffer_append(text, word, 1);
        }
        (void)mig_buffer_append(text, word, 1);
    }
    return mig_buffer_puts(text, "\"");
}

static int make_unit(const struct cli *cli, const char *checkpoint, struct mig_buffer *text)
{
    (void)mig_buffer_puts(text, "# Written by migctl enable-persistence.\n"
                                "[Unit]\n"
                                "Description=Restore the MIG geometry of this node\n"
                                "Documentation=man:migctl-enable-persistence(1)\n"
                                "After=nvidia-persistenced.service\n"
                                "Before=nvidia-dcgm.service docker.service containerd.service "
                                "crio.service kubelet.service\n"
                                "ConditionFileNotEmpty=");
    put_path(text, checkpoint);
    (void)mig_buffer_puts(text, "\n\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=");
    (void)put_word(text, MIG_BIN_DIR "/migctl");
    (void)mig_buffer_puts(text, " restore --verbose --timeout 60 --state-dir ");
    (void)put_word(text, persist_state_dir(cli));
    (void)mig_buffer_puts(text, " -- ");
    (void)put_word(text, checkpoint);
    return mig_buffer_puts(text, "\n");
}

/* In an image there is no state yet: an empty file, which the first good change fills. */
static int write_checkpoint(const struct cli *cli, const struct paths *paths,
                            struct mig_error *error)
{
    CLI_AUTO_NODE struct cli_node node = {NULL, NULL};
    MIG_AUTO_FREE char *text = NULL;
    int result = MIG_OK;

    if (!cli_has(cli, CLI_ROOT)) {
        result = cli_node_load(cli, &node, error);
        if (result == MIG_OK) {
            result = mig_checkpoint_write(node.node, &text, error);
        }
    }
    if (result == MIG_OK) {
        result = mig_mkdir_parents(paths->state_dir, 0755, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    return mig_file_write_atomic(paths->checkpoint, text ? text : "", text ? strlen(text) : 0, 0644,
                                 error);
}

static int write_unit(const struct cli *cli, const struct paths *paths, struct mig_error *error)
{
    MIG_AUTO_BUFFER struct mig_buffer text;
    int result = mig_mkdir_parents(paths->link_dir, 0755, error);

    mig_buffer_init(&text, UNIT_BYTES_MAX);
    if (result != MIG_OK) {
        return result;
    }
    /* the unit names the paths of the running system, whatever --root is */
    if (make_unit(cli, paths->checkpoint + strlen(paths->root), &text) != 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, text.error, "could not make the unit");
    }
    result = mig_file_write_atomic(paths->unit, text.data, text.size, 0644, error);
    if (result != MIG_OK) {
        return result;
    }
    if (symlink("../" UNIT_NAME, paths->link) != 0 && errno != EEXIST) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not make the link '%s'",
                                   paths->link);
    }
    return mig_sync_parent(paths->link, error);
}

static int remove_file(const char *path, bool *ret_removed, struct mig_error *error)
{
    *ret_removed = unlink(path) == 0;
    if (!*ret_removed && errno != ENOENT) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not remove '%s'", path);
    }
    return MIG_OK;
}

/* Tells which files were written or removed; NULL entries are left out. */
static void tell(struct cli *cli, const char *verb, const char *const *files, size_t count,
                 bool enabled)
{
    json_t *document, *array;

    if (cli_is_text(cli)) {
        for (size_t i = 0; i < count && !cli_has(cli, CLI_QUIET); i++) {
            if (files[i]) {
                printf("%s %s\n", verb, files[i]);
            }
        }
        return;
    }
    document = doc_start(cli, "enable-persistence");
    array = doc_array();
    doc_put_bool(document, "enabled", enabled);
    for (size_t i = 0; i < count; i++) {
        if (files[i]) {
            doc_add_text(array, files[i]);
        }
    }
    doc_put(document, verb, array);
}

static int disable(struct cli *cli, const struct paths *paths, struct mig_error *error)
{
    const char *files[] = {paths->link, paths->unit, paths->checkpoint};
    bool any = false;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(files); i++) {
        bool removed = false;
        int result = remove_file(files[i], &removed, error);

        if (result != MIG_OK) {
            return result;
        }
        any |= removed;
        files[i] = removed ? files[i] : NULL;
    }
    tell(cli, "removed", files, MIG_ARRAY_SIZE(files), false);
    if (cli_is_text(cli) && !any && !cli_has(cli, CLI_QUIET)) {
        puts("nothing to do: persistence is not enabled");
    }
    return MIG_OK;
}

int cmd_enable_persistence(struct cli *cli, struct mig_error *error)
{
    MIG_AUTO_FREE struct paths *paths = calloc(1, sizeof(*paths));
    const char *files[3];
    int result;

    if (!paths) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "out of memory");
    }
    result = make_paths(cli, paths, error);
    if (result != MIG_OK || cli_has(cli, CLI_DISABLE)) {
        return result != MIG_OK ? result : disable(cli, paths, error);
    }
    result = write_checkpoint(cli, paths, error);
    if (result == MIG_OK) {
        result = write_unit(cli, paths, error);
    }
    if (result != MIG_OK) {
        return result;
    }
    files[0] = paths->checkpoint;
    files[1] = paths->unit;
    files[2] = paths->link;
    tell(cli, "wrote", files, MIG_ARRAY_SIZE(files), true);
    return MIG_OK;
}
