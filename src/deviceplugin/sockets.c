/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests for what needs privileges. They go to the callbacks of the options; without those they
 * are done here, and answered from the loop all the same, so that the callers see one behaviour.
 *
 * A request cannot be taken back from the other side. One that nobody waits for any more stays
 * alive until its answer came, and what came with it is released.
 */
#include "base/cleanup.h"
#include "base/file.h"
#include "deviceplugin/plugin_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BACKLOG 16
#define FILE_MODE 0644

struct request {
    struct request_slot *slot; /* NULL: nobody waits */
    mig_deviceplugin_socket_done *socket_done;
    mig_deviceplugin_file_done *file_done;
    void *data;
    uv_timer_t timer; /* when it is done here */
    int fd;
    bool failed;
    struct mig_error error;
};

/* Frees the request before the answer is told: the callee may begin another one in the slot. */
static void answer(struct request *request, int fd, const struct mig_error *error)
{
    mig_deviceplugin_socket_done *socket_done = request->socket_done;
    mig_deviceplugin_file_done *file_done = request->file_done;
    struct mig_error copy = error ? *error : (struct mig_error){0};
    void *data = request->data;
    bool wanted = request->slot != NULL;

    if (wanted) {
        request->slot->request = NULL;
    }
    free(request);
    if (!wanted) {
        if (fd >= 0) {
            close(fd);
        }
    } else if (socket_done) {
        socket_done(fd, error ? &copy : NULL, data);
    } else {
        file_done(error ? &copy : NULL, data);
    }
}

static void socket_answered(int fd, const struct mig_error *error, void *data)
{
    answer(data, fd, error);
}

static void file_answered(const struct mig_error *error, void *data)
{
    answer(data, -1, error);
}

static void timer_closed(uv_handle_t *handle)
{
    struct request *request = handle->data;

    answer(request, request->fd, request->failed ? &request->error : NULL);
}

static void timer_fired(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, timer_closed);
}

static void answer_later(struct mig_deviceplugin *plugin, struct request *request)
{
    uv_timer_init(plugin_loop(plugin), &request->timer);
    request->timer.data = request;
    uv_timer_start(&request->timer, timer_fired, 0, 0);
}

static struct request *new_request(struct request_slot *slot, void *data, struct mig_error *error)
{
    struct request *request = calloc(1, sizeof(*request));

    if (!request) {
        mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not ask for a socket or file");
        return NULL;
    }
    request->slot = slot;
    request->data = data;
    request->fd = -1;
    slot->request = request;
    return request;
}

static void drop_request(struct request *request)
{
    request->slot->request = NULL;
    free(request);
}

void request_cancel(struct request_slot *slot)
{
    if (slot->request) {
        slot->request->slot = NULL;
        slot->request = NULL;
    }
}

/* ---- done here ---- */

static int socket_address(const struct mig_deviceplugin *plugin, enum mig_deviceplugin_socket what,
                          const char *name, struct sockaddr_un *ret, struct mig_error *error)
{
    static const char *const folders[] = {
        [MIG_DEVICEPLUGIN_POD_RESOURCES] = "pod-resources",
        [MIG_DEVICEPLUGIN_KUBELET] = "device-plugins",
        [MIG_DEVICEPLUGIN_LISTEN] = "device-plugins",
        [MIG_DEVICEPLUGIN_REGISTRY_LISTEN] = "plugins_registry",
        [MIG_DEVICEPLUGIN_REGISTRY_REMOVE] = "plugins_registry",
    };
    int length =
        snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%s/%s", plugin_kubelet_dir(plugin),
                 folders[what], what >= MIG_DEVICEPLUGIN_LISTEN ? name : "kubelet.sock");

    ret->sun_family = AF_UNIX;
    if (length < 0 || (size_t)length >= sizeof(ret->sun_path)) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENAMETOOLONG,
                                   "could not open the socket %s", name);
    }
    return MIG_OK;
}

static int open_directly(const struct mig_deviceplugin *plugin, enum mig_deviceplugin_socket what,
                         const char *name, int *ret, struct mig_error *error)
{
    struct sockaddr_un address = {0};
    MIG_AUTO_CLOSE int fd = -1;
    int result = socket_address(plugin, what, name, &address, error);
    int rc;

    if (result < 0) {
        return result;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not open a socket");
    }
    if (what >= MIG_DEVICEPLUGIN_LISTEN) {
        (void)unlink(address.sun_path);
    }
    if (what == MIG_DEVICEPLUGIN_REGISTRY_REMOVE) {
        rc = 0;
    } else if (what == MIG_DEVICEPLUGIN_LISTEN || what == MIG_DEVICEPLUGIN_REGISTRY_LISTEN) {
        rc = bind(fd, (const struct sockaddr *)&address, sizeof(address));
        rc = rc < 0 ? rc : listen(fd, BACKLOG);
    } else {
        rc = connect(fd, (const struct sockaddr *)&address, sizeof(address));
    }
    if (rc < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not open %s",
                                   address.sun_path);
    }
    *ret = MIG_TAKE_FD(fd);
    return MIG_OK;
}

static int write_directly(const struct mig_deviceplugin *plugin, const char *name, const char *text,
                          struct mig_error *error)
{
    char path[MIG_DP_PATH_SIZE];
    int result;

    snprintf(path, sizeof(path), "%.300s/%.128s", plugin_cdi_dir(plugin), name);
    if (!text) {
        return mig_file_remove(path, error);
    }
    result = mig_mkdir_parents(plugin_cdi_dir(plugin), 0755, error);
    return result < 0 ? result : mig_file_write_atomic(path, text, strlen(text), FILE_MODE, error);
}

/* ---- both ways ---- */

int request_socket(struct mig_deviceplugin *plugin, struct request_slot *slot,
                   enum mig_deviceplugin_socket what, const char *name,
                   mig_deviceplugin_socket_done *done, void *data, struct mig_error *error)
{
    const struct mig_deviceplugin_options *options = plugin_options(plugin);
    struct request *request = new_request(slot, data, error);
    int result;

    if (!request) {
        return MIG_E_FAILED;
    }
    request->socket_done = done;
    if (options->open_socket) {
        result = options->open_socket(what, name, socket_answered, request, error, options->data);
        if (result < 0) {
            drop_request(request);
        }
        return result;
    }
    request->failed = open_directly(plugin, what, name, &request->fd, &request->error) < 0;
    answer_later(plugin, request);
    return MIG_OK;
}

int request_cdi(struct mig_deviceplugin *plugin, struct request_slot *slot, const char *name,
                const char *text, mig_deviceplugin_file_done *done, void *data,
                struct mig_error *error)
{
    const struct mig_deviceplugin_options *options = plugin_options(plugin);
    struct request *request = new_request(slot, data, error);
    int result;

    if (!request) {
        return MIG_E_FAILED;
    }
    request->file_done = done;
    if (options->write_cdi) {
        result = options->write_cdi(name, text, file_answered, request, error, options->data);
        if (result < 0) {
            drop_request(request);
        }
        return result;
    }
    request->failed = write_directly(plugin, name, text, &request->error) < 0;
    answer_later(plugin, request);
    return MIG_OK;
}
