/* SPDX-License-Identifier: Apache-2.0 */
/* One socket, connected while the path can still be reached; losing a message is no error. */
#include "daemon/notify.h"
#include "base/cleanup.h"
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int notify_fd = -1;

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    MIG_AUTO_CLOSE int fd = -1;

    if (length < 2 || length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@')) {
        return;
    }
    memcpy(address.sun_path, path, length);
    if (path[0] == '@') {
        address.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address,
                           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) == 0) {
        notify_fd = MIG_TAKE_FD(fd);
    }
    (void)unsetenv("NOTIFY_SOCKET");
}

void notify_send(const char *text)
{
    if (notify_fd >= 0) {
        (void)send(notify_fd, text, strlen(text), MSG_NOSIGNAL);
    }
}

void notify_close(void)
{
    if (notify_fd >= 0) {
        close(notify_fd);
        notify_fd = -1;
    }
}
