/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket that never blocks and never raises SIGPIPE. TLS goes to the socket directly; an OpenSSL
 * call that cannot go on says which way it waits, and that is what the loop watches for.
 */
#include "net/transport.h"
#include "base/cleanup.h"
#include "net/tls_session.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int mig_transport_open(struct mig_transport *transport, uv_loop_t *loop, int fd,
                       struct mig_tls *tls, const char *host, uv_poll_cb ready, void *data,
                       struct mig_error *error)
{
    int flags = fcntl(fd, F_GETFL);
    int rc;

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not use the socket");
    }
    *transport = (struct mig_transport){.fd = -1, .ready = ready};
    if (tls) {
        rc = mig_tls_session_new(tls, host, fd, &transport->tls, error);
        if (rc < 0) {
            return rc;
        }
    }
    rc = uv_poll_init(loop, &transport->poll, fd);
    if (rc < 0) {
        mig_tls_session_free(MIG_TAKE(transport->tls));
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not watch the socket");
    }
    transport->poll.data = data;
    transport->fd = fd;
    return 0;
}

void mig_transport_close(struct mig_transport *transport, uv_close_cb closed)
{
    if (transport->tls) {
        /* tells the peer that nothing is cut off, if the socket takes it; the answer matters to
         * nobody */
        SSL_shutdown(transport->tls->ssl);
        mig_tls_session_free(MIG_TAKE(transport->tls));
    }
    uv_close((uv_handle_t *)&transport->poll, closed);
    close(transport->fd);
    transport->fd = -1;
}

/* What an OpenSSL call that returned `rc` <= 0 means: 0 = closed, or mig_transport_result. */
static int tls_result(struct mig_transport *transport, int rc, struct mig_error *error)
{
    switch (SSL_get_error(transport->tls->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return MIG_TRANSPORT_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        transport->wants_write = true;
        return MIG_TRANSPORT_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        mig_tls_session_error(transport->tls, error);
        return MIG_TRANSPORT_FAILED;
    }
}

int mig_transport_handshake(struct mig_transport *transport, struct mig_error *error)
{
    int rc;

    transport->wants_write = false;
    if (!transport->tls || SSL_is_init_finished(transport->tls->ssl)) {
        return 0;
    }
    mig_tls_clear_errors();
    rc = SSL_do_handshake(transport->tls->ssl);
    if (rc <= 0) {
        rc = tls_result(transport, rc, error);
        if (rc == 0) {
            mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                          "the peer closed the connection in the TLS handshake");
            return MIG_TRANSPORT_FAILED;
        }
        return rc;
    }
    return mig_tls_session_check(transport->tls, error) < 0 ? MIG_TRANSPORT_FAILED : 0;
}

static ssize_t socket_result(ssize_t count, const char *what, struct mig_error *error)
{
    if (count >= 0) {
        return count;
    }
    if (errno == EAGAIN) {
        return MIG_TRANSPORT_AGAIN;
    }
    mig_error_set_errno(error, MIG_E_FAILED, errno, "%s", what);
    return MIG_TRANSPORT_FAILED;
}

ssize_t mig_transport_read(struct mig_transport *transport, void *bytes, size_t size,
                           struct mig_error *error)
{
    size_t count = 0;
    int rc;

    if (!transport->tls) {
        ssize_t received;

        do {
            received = recv(transport->fd, bytes, size, 0);
        } while (received < 0 && errno == EINTR);
        return socket_result(received, "could not receive", error);
    }
    mig_tls_clear_errors();
    rc = SSL_read_ex(transport->tls->ssl, bytes, size, &count);
    return rc > 0 ? (ssize_t)count : tls_result(transport, rc, error);
}

ssize_t mig_transport_write(struct mig_transport *transport, const void *bytes, size_t size,
                            struct mig_error *error)
{
    size_t count = 0;
    int rc;

    if (!transport->tls) {
        ssize_t sent;

        do {
            sent = send(transport->fd, bytes, size, MSG_NOSIGNAL);
        } while (sent < 0 && errno == EINTR);
        return socket_result(sent, "could not send", error);
    }
    mig_tls_clear_errors();
    rc = SSL_write_ex(transport->tls->ssl, bytes, size, &count);
    if (rc > 0) {
        return (ssize_t)count;
    }
    rc = tls_result(transport, rc, error);
    if (rc == 0) {
        mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "the peer closed the connection");
        return MIG_TRANSPORT_FAILED;
    }
    return rc;
}

int mig_transport_watch(struct mig_transport *transport, bool output)
{
    int events = UV_READABLE | (output || transport->wants_write ? UV_WRITABLE : 0);
    int rc = 0;

    if (events != transport->events) {
        rc = uv_poll_start(&transport->poll, events, transport->ready);
        transport->events = events;
    }
    transport->wants_write = false;
    return rc;
}
