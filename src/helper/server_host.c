/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests that change the host or open its sockets. Each has a time limit; names come from outside
 * and are looked at before anything is done with them, here as in the agent.
 *
 * systemd is spoken to by the host's own systemctl below the host's root: it finds the right bus
 * whatever the version, needs no library here, and can be killed when it does not answer.
 */
#include "base/clock.h"
#include "base/command.h"
#include "base/file.h"
#include "base/text.h"
#include "config/clients_file.h"
#include "helper/host.h"
#include "helper/server.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define TIMEOUT_DEFAULT_MS 30000u
#define PATH_SIZE 4096
#define WORD_MAX 12
#define STATE_FILE_BYTES_MAX (64u << 10)
#define STATE_FILE_DEFAULT "/etc/systemd/system/nvidia-mig-manager.service.d/override.conf"
#define KUBELET_DIR_DEFAULT "/var/lib/kubelet"
#define CDI_MANAGEMENT_FILE "management.nvidia.com-gpu.yaml"
#define CDI_DIRECTORY_DEFAULT "/var/run/cdi"
#define CDI_FILE_MODE 0644
#define LISTEN_BACKLOG 16

/* One operation, and the time that is left for it. */
struct operation {
    const struct mig_helper_options *options;
    const char *name;
    uint64_t end_ms;
    struct mig_command command;
    bool changed;
    struct mig_error *error;
};

static const char *or_default(const char *value, const char *fallback)
{
    return value && value[0] != '\0' ? value : fallback;
}

static int refuse_name(const char *what, const char *name, struct mig_error *error)
{
    return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "'%.128s' cannot be %s", name,
                         what);
}

/* ---- programs ---- */

/* Runs words in `root` within the time that is left; MIG_OK when it ended well. */
static int run(struct operation *operation, const char *root, const char *const *words)
{
    uint64_t now_ms = mig_now_ms();
    int rc;

    operation->command.words = words;
    operation->command.root = root;
    operation->command.timeout_ms =
        operation->end_ms > now_ms ? (unsigned)(operation->end_ms - now_ms) : 1;
    rc = mig_command_run(&operation->command, operation->error);
    return rc == 0 ? mig_command_check(&operation->command, operation->error) : rc;
}

static bool is_missing(const struct mig_error *error)
{
    return error->domain == MIG_DOMAIN_ERRNO && error->code == ENOENT;
}

static bool has_systemd(const struct mig_helper_options *options)
{
    char path[PATH_SIZE];

    (void)snprintf(path, sizeof(path), "%s/run/systemd/system", or_default(options->host_root, ""));
    return access(path, F_OK) == 0;
}

static int no_systemd(struct operation *operation)
{
    return mig_error_set(operation->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                         "the host '%s' does not run systemd",
                         or_default(operation->options->host_root, "/"));
}

/* `systemctl VERB [NAME]` on the host. */
static int systemctl(struct operation *operation, const char *verb, const char *name)
{
    const char *words[] = {"systemctl", "--no-ask-password", verb, "--", name, NULL};

    if (!name) {
        words[3] = NULL;
    }
    if (!has_systemd(operation->options)) {
        return no_systemd(operation);
    }
    return run(operation, operation->options->host_root, words);
}

/* ---- units ---- */

/* True when the output has the line "KEY=VALUE" for one of the values. */
static bool says(const char *output, const char *key, const char *const *values)
{
    for (; *values; values++) {
        char line[64];
        int length = snprintf(line, sizeof(line), "%s=%s\n", key, *values);

        if (length > 0 && strstr(output, line)) {
            return true;
        }
    }
    return false;
}

/* Only what the administrator's file names: a started unit can be anything, as root. */
static int check_unit(struct operation *operation)
{
    MIG_AUTO_CLIENTS_FILE struct mig_clients_file clients = {0};
    const char *path = or_default(operation->options->clients_file, NULL);
    int rc = path ? mig_clients_file_load(path, &clients, operation->error) : 0;

    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < clients.count; i++) {
        if (strcmp(clients.services[i], operation->name) == 0) {
            return 0;
        }
    }
    rc = mig_error_set(operation->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                       "'%.128s' is not among the services of the GPU clients file%s%s",
                       operation->name, path ? " " : ", which is not set", path ? path : "");
    return mig_error_hint(operation->error, rc, "name it there, and start migd again");
}

static int change_unit(struct operation *operation, bool start)
{
    static const char *const absent[] = {"not-found", "masked", "error", "bad-setting", NULL};
    static const char *const running[] = {"active", "activating", "reloading", NULL};
    const char *const show[] = {"systemctl", "show",          "--property=LoadState,ActiveState",
                                "--",        operation->name, NULL};
    int rc;

    if (!mig_host_is_name(operation->name)) {
        return refuse_name("the name of a systemd unit", operation->name, operation->error);
    }
    rc = check_unit(operation);
    if (rc < 0) {
        return rc;
    }
    if (!has_systemd(operation->options)) {
        return no_systemd(operation);
    }
    rc = run(operation, operation->options->host_root, show);
    if (rc < 0 || says(operation->command.output, "LoadState", absent) ||
        says(operation->command.output, "ActiveState", running) == start) {
        return rc;
    }
    rc = systemctl(operation, start ? "start" : "stop", operation->name);
    operation->changed = rc == 0 || !start; /* what is told to stop may still do so later */
    return rc;
}

static int reboot_host(struct operation *operation)
{
    const char *const words[] = {"reboot", NULL};

    if (operation->options->allow_reboot == 0) {
        return mig_error_hint(operation->error,
                              mig_error_set(operation->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                            "migd was started without leave to reboot the host"),
                              "start it with --with-reboot");
    }
    return has_systemd(operation->options) ? systemctl(operation, "reboot", NULL)
                                           : run(operation, operation->options->host_root, words);
}

/* ---- files ---- */

static int write_state_file(struct operation *operation)
{
    MIG_AUTO_BUFFER struct mig_buffer text;
    MIG_AUTO_FREE char *old = NULL;
    char path[PATH_SIZE];
    struct stat found;
    size_t size = 0;
    int rc;

    mig_buffer_init(&text, STATE_FILE_BYTES_MAX);
    if (!mig_host_is_name(operation->name)) {
        return refuse_name("the name of a config", operation->name, operation->error);
    }
    (void)snprintf(path, sizeof(path), "%s%s", or_default(operation->options->host_root, ""),
                   or_default(operation->options->state_file, STATE_FILE_DEFAULT));
    if (lstat(path, &found) < 0 && errno == ENOENT) {
        return 0;
    }
    rc = mig_file_read(path, STATE_FILE_BYTES_MAX, &old, &size, operation->error);
    if (rc < 0) {
        return rc;
    }
    if (mig_host_select_config(old, operation->name, &text) != 0) {
        return mig_error_set_errno(operation->error, MIG_E_FAILED, text.error,
                                   "could not write '%s'", path);
    }
    if (strcmp(old, text.data) == 0) {
        return 0;
    }
    rc = mig_file_write_atomic(path, text.data, text.size, found.st_mode & 0777, operation->error);
    operation->changed = rc == 0;
    return rc == 0 && has_systemd(operation->options) ? systemctl(operation, "daemon-reload", NULL)
                                                      : rc;
}

static int make_caps_nodes(struct operation *operation)
{
    char dev[PATH_SIZE];
    const char *root =
        operation->options->dev_root ? operation->options->dev_root : operation->options->host_root;

    (void)snprintf(dev, sizeof(dev), "%s/dev", or_default(root, ""));
    return mig_host_make_caps("/proc", dev, &operation->changed, operation->error);
}

/* ---- the management CDI spec ---- */

/* Rewrites the roots in the spec from what we see to what the host sees. */
static int transform_root(struct operation *operation, const char *path, const char *from,
                          const char *to)
{
    char words[4][PATH_SIZE];
    const char *const command[] = {"nvidia-ctk", "cdi",    "transform", "root", words[0],
                                   words[1],     words[2], words[3],    NULL};

    if (!to || strcmp(from, to) == 0) {
        return 0;
    }
    (void)snprintf(words[0], PATH_SIZE, "--from=%s", from);
    (void)snprintf(words[1], PATH_SIZE, "--to=%s", to);
    (void)snprintf(words[2], PATH_SIZE, "--input=%s", path);
    (void)snprintf(words[3], PATH_SIZE, "--output=%s", path);
    return run(operation, NULL, command);
}

static int write_management_spec(struct operation *operation)
{
    const struct mig_helper_options *options = operation->options;
    char path[PATH_SIZE / 2];
    const char *driver_root = or_default(options->driver_root, "/");
    const char *dev_root = or_default(options->dev_root, driver_root);
    char words[4][PATH_SIZE];
    const char *command[WORD_MAX] = {"nvidia-ctk",
                                     "cdi",
                                     "generate",
                                     "--mode=management",
                                     "--vendor=management.nvidia.com",
                                     "--class=gpu",
                                     words[0],
                                     words[1],
                                     words[2]};
    int rc;

    /* where it goes is not for the agent to say: it is written as root */
    (void)snprintf(path, sizeof(path), "%s/" CDI_MANAGEMENT_FILE,
                   or_default(options->cdi_dir, CDI_DIRECTORY_DEFAULT));
    (void)snprintf(words[0], PATH_SIZE, "--driver-root=%s", driver_root);
    (void)snprintf(words[1], PATH_SIZE, "--dev-root=%s", dev_root);
    (void)snprintf(words[2], PATH_SIZE, "--output=%s", path);
    if (options->cdi_hook) {
        (void)snprintf(words[3], PATH_SIZE, "--nvidia-cdi-hook-path=%s", options->cdi_hook);
        command[9] = words[3];
    }
    rc = run(operation, NULL, command);
    if (rc < 0 && is_missing(operation->error)) {
        mig_error_clear(operation->error);
        return 0;
    }
    if (rc == 0) {
        rc = transform_root(operation, path, driver_root, options->host_driver_root);
    }
    if (rc == 0 && strcmp(dev_root, driver_root) != 0) {
        rc = transform_root(operation, path, dev_root, options->host_dev_root);
    }
    operation->changed = rc == 0;
    return rc;
}

/* ---- requests ---- */

static int carry_out(struct operation *operation, enum mig_helper_host what)
{
    switch (what) {
    case MIG_HELPER_UNIT_STOP:
        return change_unit(operation, false);
    case MIG_HELPER_UNIT_START:
        return change_unit(operation, true);
    case MIG_HELPER_REBOOT:
        return reboot_host(operation);
    case MIG_HELPER_STATE_FILE:
        return write_state_file(operation);
    case MIG_HELPER_CAPS_NODES:
        return make_caps_nodes(operation);
    case MIG_HELPER_CDI_MANAGEMENT:
        return write_management_spec(operation);
    case MIG_HELPER_HOST_COUNT:
        break;
    }
    return mig_error_set(operation->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                         "there is no such host operation");
}

void mig_server_host(struct mig_server *server, const struct mig_message *request,
                     struct mig_wire_answer *answer)
{
    MIG_AUTO_FREE struct operation *operation = calloc(1, sizeof(*operation));
    unsigned timeout_ms =
        request->host.timeout_ms > 0 ? request->host.timeout_ms : TIMEOUT_DEFAULT_MS;

    if (!operation) {
        answer->result =
            mig_error_set_errno(&answer->error, MIG_E_FAILED, ENOMEM, "could not change the host");
        return;
    }
    operation->options = server->options;
    operation->name = request->host.name;
    operation->end_ms = mig_now_ms() + timeout_ms;
    operation->error = &answer->error;
    /* systemctl refuses to act below a root that is not its init's; here that is meant */
    (void)setenv("SYSTEMD_IGNORE_CHROOT", "1", 1);
    answer->result = carry_out(operation, (enum mig_helper_host)request->host.what);
    answer->changed = operation->changed;
}

/* ---- sockets ---- */

static int socket_path(const struct mig_server *server, enum mig_helper_socket what,
                       const char *name, struct sockaddr_un *ret, struct mig_error *error)
{
    const char *directory = or_default(server->options->kubelet_dir, KUBELET_DIR_DEFAULT);
    const char *file = what < MIG_HELPER_PLUGIN_LISTEN ? "kubelet.sock" : name;
    static const char *const folders[MIG_HELPER_SOCKET_COUNT] = {
        [MIG_HELPER_POD_RESOURCES] = "pod-resources",
        [MIG_HELPER_KUBELET] = "device-plugins",
        [MIG_HELPER_PLUGIN_LISTEN] = "device-plugins",
        [MIG_HELPER_REGISTRY_LISTEN] = "plugins_registry",
        [MIG_HELPER_REGISTRY_REMOVE] = "plugins_registry",
    };

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (what >= MIG_HELPER_PLUGIN_LISTEN && !mig_host_is_plugin_socket(name)) {
        return refuse_name("the socket of a device plugin: it has to be nvidia-*.sock", name,
                           error);
    }
    if (snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s/%s", directory, folders[what],
                 file) >= (int)sizeof(ret->sun_path)) {
        return mig_error_set_errno(error, MIG_E_USAGE, ENAMETOOLONG, "could not open '%s/%s'",
                                   directory, file);
    }
    return 0;
}

/* Makes room for the name: only a socket is removed. */
static void remove_socket(const struct sockaddr_un *address)
{
    struct stat found;

    if (lstat(address->sun_path, &found) == 0 && S_ISSOCK(found.st_mode)) {
        (void)unlink(address->sun_path);
    }
}

static int listen_at(int fd, const struct sockaddr_un *address, struct mig_error *error)
{
    remove_socket(address);
    if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ||
        chmod(address->sun_path, 0600) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not listen at '%s'",
                                   address->sun_path);
    }
    return 0;
}

void mig_server_socket(struct mig_server *server, const struct mig_message *request,
                       struct mig_wire_answer *answer, int *ret_fd)
{
    enum mig_helper_socket what = (enum mig_helper_socket)request->host.what;
    MIG_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    if (fd < 0) {
        answer->result =
            mig_error_set_errno(&answer->error, MIG_E_FAILED, errno, "could not open a socket");
        return;
    }
    answer->result = socket_path(server, what, request->host.name, &address, &answer->error);
    if (answer->result == 0 && what == MIG_HELPER_REGISTRY_REMOVE) {
        remove_socket(&address);
    } else if (answer->result == 0 && what >= MIG_HELPER_PLUGIN_LISTEN) {
        answer->result = listen_at(fd, &address, &answer->error);
    } else if (answer->result == 0 &&
               connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        answer->result = mig_error_set_errno(&answer->error, MIG_E_FAILED, errno,
                                             "could not connect to '%s'", address.sun_path);
        (void)mig_error_hint(&answer->error, answer->result,
                             "is kubelet running, and is its directory mounted?");
    }
    if (answer->result == 0) {
        *ret_fd = MIG_TAKE_FD(fd);
    }
}

/* ---- CDI files of the device plugin ---- */

/* The text in a file that the agent made: it may be anything, so what it is and its size count. */
static int read_passed(int fd, char **ret, size_t *ret_size, struct mig_error *error)
{
    struct stat status;
    MIG_AUTO_FREE char *text = NULL;
    size_t size;

    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < 0 ||
        status.st_size > (off_t)MIG_HELPER_CDI_BYTES_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "what was handed over is no CDI file");
    }
    size = (size_t)status.st_size;
    text = malloc(size + 1);
    if (!text || pread(fd, text, size, 0) != (ssize_t)size) {
        return mig_error_set_errno(error, MIG_E_FAILED, text ? EIO : ENOMEM,
                                   "could not read a CDI file of %zu bytes", size);
    }
    *ret = MIG_TAKE(text);
    *ret_size = size;
    return 0;
}

static int write_cdi(const struct mig_server *server, const char *name, int fd,
                     struct mig_error *error)
{
    const char *directory = or_default(server->options->cdi_dir, CDI_DIRECTORY_DEFAULT);
    MIG_AUTO_FREE char *text = NULL;
    char path[PATH_SIZE];
    size_t size = 0;
    int rc;

    if (!mig_host_is_cdi_file(name)) {
        return refuse_name("a CDI file of the device plugin", name, error);
    }
    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    if (fd < 0) {
        return mig_file_remove(path, error);
    }
    rc = read_passed(fd, &text, &size, error);
    if (rc == 0) {
        rc = mig_mkdir_parents(directory, 0755, error);
    }
    return rc == 0 ? mig_file_write_atomic(path, text, size, CDI_FILE_MODE, error) : rc;
}

void mig_server_cdi(struct mig_server *server, const struct mig_message *request,
                    struct mig_wire_answer *answer)
{
    answer->result = write_cdi(server, request->text, request->fd, &answer->error);
}
