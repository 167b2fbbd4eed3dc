/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framing on a stream socket. A read never takes more than the rest of one message, so a descriptor
 * always belongs to the message that is being read. At most one comes with a message; any other
 * number is a violation, and what came is closed.
 */
#include "helper/channel.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define FD_ROOM 4 /* more than one is refused, but must not be lost */

int mig_channel_pair(int ret[2], struct mig_error *error)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno,
                                   "could not make a socket between the processes of migd");
    }
    return 0;
}

/* ---- sending ---- */

union control {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(int) * FD_ROOM)];
};

/* Sends a part, the descriptor (or -1) with it. Bytes sent, or a negative errno. */
static ssize_t send_part(int fd, const char *data, size_t size, int passed)
{
    union control control = {.bytes = {0}};
    union {
        const char *given;
        void *wanted;
    } bytes = {data};
    struct iovec part = {.iov_base = bytes.wanted, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t sent;

    if (passed >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.header), &passed, sizeof(passed));
    }
    do {
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

static int wait_for_room(int fd, uint64_t end_ms)
{
    uint64_t now_ms = mig_now_ms();
    struct pollfd entry = {.fd = fd, .events = POLLOUT};

    if (now_ms >= end_ms) {
        return -ETIMEDOUT;
    }
    if (poll(&entry, 1, (int)(end_ms - now_ms)) < 0 && errno != EINTR) {
        return -errno;
    }
    return 0;
}

int mig_channel_send(int fd, const struct mig_message *message, unsigned timeout_ms,
                     struct mig_error *error)
{
    MIG_AUTO_BUFFER struct mig_buffer bytes;
    uint64_t end_ms = mig_now_ms() + timeout_ms;
    size_t sent = 0;
    int rc;

    mig_buffer_init(&bytes, MIG_MESSAGE_BODY_MAX + MIG_MESSAGE_HEADER_SIZE);
    rc = mig_message_encode(message, &bytes, error);
    if (rc < 0) {
        return rc;
    }
    while (rc == 0 && sent < bytes.size) {
        ssize_t count =
            send_part(fd, bytes.data + sent, bytes.size - sent, sent == 0 ? message->fd : -1);

        if (count >= 0) {
            sent += (size_t)count;
        } else {
            rc = count == -EAGAIN ? wait_for_room(fd, end_ms) : (int)count;
        }
    }
    if (rc < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, rc == -ECONNRESET ? EPIPE : -rc,
                                   "could not send the message '%s'",
                                   mig_message_name(message->type));
    }
    return 0;
}

/* ---- receiving ---- */

void mig_receiver_init(struct mig_receiver *receiver, uint32_t body_max)
{
    *receiver = (struct mig_receiver){.body_max = body_max, .fd = -1};
}

void mig_receiver_release(struct mig_receiver *receiver)
{
    free(receiver->body);
    if (receiver->fd >= 0) {
        close(receiver->fd);
    }
    mig_receiver_init(receiver, receiver->body_max);
}

/* Keeps the one descriptor that came; false when there are more than one. */
static bool keep_fd(struct mig_receiver *receiver, struct msghdr *message)
{
    bool fine = (message->msg_flags & MSG_CTRUNC) == 0;

    for (struct cmsghdr *entry = CMSG_FIRSTHDR(message); entry;
         entry = CMSG_NXTHDR(message, entry)) {
        size_t count = entry->cmsg_level == SOL_SOCKET && entry->cmsg_type == SCM_RIGHTS
                           ? (entry->cmsg_len - CMSG_LEN(0)) / sizeof(int)
                           : 0;

        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(entry) + i * sizeof(int), sizeof(fd));
            if (receiver->fd >= 0) {
                close(fd);
                fine = false;
            } else {
                receiver->fd = fd;
            }
        }
    }
    return fine;
}

/* Reads into `data`. Bytes, 0 = nothing there, or a negative errno (EPIPE: closed). */
static ssize_t receive_part(struct mig_receiver *receiver, int fd, uint8_t *data, size_t size)
{
    union control control;
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t count;

    do {
        count = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (count < 0 && errno == EINTR);
    if (count < 0) {
        return errno == EAGAIN ? 0 : errno == ECONNRESET ? -EPIPE : -errno;
    }
    if (!keep_fd(receiver, &message)) {
        return -EPROTO;
    }
    return count == 0 ? -EPIPE : count;
}

static int begin_body(struct mig_receiver *receiver, struct mig_error *error)
{
    int rc = mig_message_decode_header(receiver->bytes, &receiver->header, error);

    if (rc < 0) {
        return rc;
    }
    if (receiver->header.size > receiver->body_max ||
        receiver->header.has_fd != (receiver->fd >= 0)) {
        return mig_error_set_errno(error, MIG_E_FAILED, EPROTO, "could not receive a message");
    }
    receiver->body = malloc(receiver->header.size > 0 ? receiver->header.size : 1);
    return receiver->body
               ? 0
               : mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not receive a message");
}

/* Everything is there. */
static int finish(struct mig_receiver *receiver, struct mig_message **ret, struct mig_error *error)
{
    int rc = mig_message_decode(&receiver->header, receiver->body, ret, error);

    if (rc < 0) {
        return rc;
    }
    (*ret)->fd = MIG_TAKE_FD(receiver->fd);
    mig_receiver_release(receiver);
    return 1;
}

int mig_receiver_read(struct mig_receiver *receiver, int fd, struct mig_message **ret,
                      struct mig_error *error)
{
    for (;;) {
        bool in_body = receiver->body != NULL;
        uint32_t end = MIG_MESSAGE_HEADER_SIZE + (in_body ? receiver->header.size : 0);
        uint8_t *to = in_body ? receiver->body + (receiver->have - MIG_MESSAGE_HEADER_SIZE)
                              : receiver->bytes + receiver->have;
        ssize_t count = 0;
        int rc = 0;

        if (receiver->have < end) {
            count = receive_part(receiver, fd, to, end - receiver->have);
            if (count == 0) {
                return 0;
            }
        }
        if (count < 0) {
            return mig_error_set_errno(error, MIG_E_FAILED, (int)-count,
                                       "could not receive a message");
        }
        receiver->have += (uint32_t)count;
        if (receiver->have < end) {
            continue;
        }
        if (in_body) {
            return finish(receiver, ret, error);
        }
        rc = begin_body(receiver, error);
        if (rc < 0) {
            return rc;
        }
    }
}
