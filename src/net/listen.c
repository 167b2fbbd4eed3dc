/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets. A unix socket's file is remembered by its inode: after a restart of somebody
 * else its name may belong to another socket, which is not ours to remove. */
#include "net/listen.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define BACKLOG 64

int mig_listen_unix(const char *path, struct mig_listener *ret, struct mig_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    MIG_AUTO_FREE char *copy = strdup(path);
    MIG_AUTO_CLOSE int fd = -1;
    struct stat status;

    *ret = (struct mig_listener){.fd = -1};
    if (!mig_text_copy(address.sun_path, sizeof(address.sun_path), path)) {
        return mig_error_set_errno(error, MIG_E_USAGE, ENAMETOOLONG, "cannot listen at \"%s\"",
                                   path);
    }
    if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) {
        unlink(path);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (!copy || fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, BACKLOG) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not listen at \"%s\"", path);
    }
    if (lstat(path, &status) == 0) {
        ret->device = status.st_dev;
        ret->inode = status.st_ino;
    }
    ret->path = MIG_TAKE(copy);
    ret->fd = MIG_TAKE_FD(fd);
    return 0;
}

/* Returns a listening socket or -errno. */
static int listen_at(const struct addrinfo *address)
{
    MIG_AUTO_CLOSE int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, off = 0;

    if (fd < 0) {
        return -errno;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)); /* "::" means all */
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        return -errno;
    }
    return MIG_TAKE_FD(fd);
}

int mig_listen_tcp(const char *address, uint16_t port, struct mig_listener *ret,
                   struct mig_error *error)
{
    static const char *const all[] = {"::", "0.0.0.0"};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_PASSIVE};
    char service[8];
    int fd = -EADDRNOTAVAIL;

    *ret = (struct mig_listener){.fd = -1};
    snprintf(service, sizeof(service), "%u", port);
    for (size_t i = 0; i < (address ? 1 : MIG_ARRAY_SIZE(all)) && fd < 0; i++) {
        struct addrinfo *list = NULL;

        if (getaddrinfo(address ? address : all[i], service, &hints, &list) != 0) {
            return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "\"%s\" is not an address to listen at",
                                 address ? address : all[i]);
        }
        fd = listen_at(list);
        freeaddrinfo(list);
    }
    if (fd < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, -fd, "could not listen at %s port %u",
                                   address ? address : "any address,", port);
    }
    ret->fd = fd;
    return 0;
}

int mig_listen_given(int fd, struct mig_listener *ret, struct mig_error *error)
{
    int flags = fcntl(fd, F_GETFL);

    *ret = (struct mig_listener){.fd = -1};
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno,
                                   "could not use the listening socket");
    }
    ret->fd = fd;
    return 0;
}

void mig_listener_unlink(struct mig_listener *listener)
{
    struct stat status;

    if (listener->path && lstat(listener->path, &status) == 0 &&
        status.st_dev == listener->device && status.st_ino == listener->inode) {
        unlink(listener->path);
    }
    free(MIG_TAKE(listener->path));
}

void mig_listener_close(struct mig_listener *listener)
{
    mig_listener_unlink(listener);
    mig_cleanup_close(&listener->fd);
    listener->fd = -1;
}

uint16_t mig_listener_port(const struct mig_listener *listener)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);

    if (getsockname(listener->fd, (struct sockaddr *)&address, &size) < 0) {
        return 0;
    }
    return address.ss_family == AF_INET    ? ntohs(((struct sockaddr_in *)&address)->sin_port)
           : address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                                           : 0;
}
