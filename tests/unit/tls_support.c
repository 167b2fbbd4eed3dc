/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates and a TLS server for tests. The thread is told to end by shutting its socket. */
#include "tls_support.h"
#include "base/text.h"
#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static void add_extension(X509 *certificate, X509 *issuer, int kind, const char *value)
{
    X509_EXTENSION *extension;
    X509V3_CTX context;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

struct identity identity_make(const struct identity_options *options, const struct identity *issuer)
{
    static long serial = 1;
    struct identity identity = {.certificate = X509_new(), .key = EVP_EC_gen("P-256")};
    X509 *certificate = identity.certificate;
    X509_NAME *name = X509_get_subject_name(certificate);

    assert_non_null(identity.key);
    issuer = issuer ? issuer : &identity;
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), options->begin_s ? options->begin_s : -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), options->end_s ? options->end_s : 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               (const unsigned char *)options->common_name, -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(issuer->certificate));
    X509_set_pubkey(certificate, identity.key);
    add_extension(certificate, issuer->certificate, NID_basic_constraints,
                  options->authority ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (options->names) {
        add_extension(certificate, issuer->certificate, NID_subject_alt_name, options->names);
    }
    assert_int_not_equal(X509_sign(certificate, issuer->key, EVP_sha256()), 0);
    return identity;
}

void identity_release(struct identity *identity)
{
    X509_free(identity->certificate);
    EVP_PKEY_free(identity->key);
}

static char *take_text(BIO *bio)
{
    char *data = NULL, *text;
    long size = BIO_get_mem_data(bio, &data);

    text = strndup(data, (size_t)size);
    assert_non_null(text);
    BIO_free(bio);
    return text;
}

char *identity_certificate(const struct identity *identity)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert_int_equal(PEM_write_bio_X509(bio, identity->certificate), 1);
    return take_text(bio);
}

char *identity_key(const struct identity *identity, const char *passphrase)
{
    BIO *bio = BIO_new(BIO_s_mem());

    assert_int_equal(PEM_write_bio_PKCS8PrivateKey(
                         bio, identity->key, passphrase ? EVP_aes_128_cbc() : NULL, passphrase,
                         passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
                     1);
    return take_text(bio);
}

/* ---- the relay ------------------------------------------------------------------------------ */

static int choose_protocol(SSL *ssl, const unsigned char **ret, unsigned char *ret_size,
                           const unsigned char *offered, unsigned size, void *data)
{
    const struct relay *relay = data;
    const char *protocol = relay->options.protocol ? relay->options.protocol : "h2";

    (void)ssl;
    (void)offered;
    (void)size;
    if (!*protocol) {
        return SSL_TLSEXT_ERR_NOACK;
    }
    *ret = (const unsigned char *)protocol;
    *ret_size = (unsigned char)strlen(protocol);
    return SSL_TLSEXT_ERR_OK;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    mig_text_copy(address.sun_path, sizeof(address.sun_path), path);
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = send(fd, bytes, size, MSG_NOSIGNAL);

        if (count <= 0) {
            return false;
        }
        bytes += count;
        size -= (size_t)count;
    }
    return true;
}

/* Copies both ways until one side ends; the relay's own end shows as the end of its listener. */
static void pump(const struct relay *relay, SSL *ssl, int fd, int plain)
{
    char bytes[16384];
    bool going = plain >= 0;

    while (going) {
        struct pollfd fds[] = {{.fd = fd, .events = POLLIN},
                               {.fd = plain, .events = POLLIN},
                               {.fd = relay->fd, .events = POLLRDHUP}};

        if (SSL_pending(ssl) == 0 && poll(fds, 3, -1) < 0) {
            return;
        }
        if (fds[2].revents & (POLLHUP | POLLRDHUP)) {
            return;
        }
        if (SSL_pending(ssl) > 0 || fds[0].revents) {
            int count = SSL_read(ssl, bytes, sizeof(bytes));

            going = count > 0 && write_all(plain, bytes, (size_t)count);
        }
        if (going && fds[1].revents) {
            ssize_t count = recv(plain, bytes, sizeof(bytes), 0);

            going = count > 0 && SSL_write(ssl, bytes, (int)count) == count;
        }
    }
}

static void serve_one(struct relay *relay, int fd)
{
    static const char text[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    char byte;
    SSL *ssl;

    if (relay->options.close_at_once) {
        return;
    }
    if (relay->options.silent) {
        while (recv(fd, &byte, 1, 0) > 0) {
        }
        return;
    }
    if (!relay->options.identity) {
        write_all(fd, text, sizeof(text) - 1);
        while (recv(fd, &byte, 1, 0) > 0) {
        }
        return;
    }
    ssl = SSL_new(relay->context);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        int plain = connect_unix(relay->path);

        mig_text_copy(relay->server_name, sizeof(relay->server_name), name ? name : "");
        pump(relay, ssl, fd, plain);
        if (plain >= 0) {
            close(plain);
        }
        SSL_shutdown(ssl);
    }
    SSL_free(ssl);
}

static void *relay_run(void *data)
{
    struct relay *relay = data;

    for (;;) {
        int fd = accept4(relay->fd, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0) {
            return NULL;
        }
        serve_one(relay, fd);
        close(fd);
    }
}

static void set_up_context(struct relay *relay)
{
    const struct relay_options *options = &relay->options;

    relay->context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate(relay->context, options->identity->certificate), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(relay->context, options->identity->key), 1);
    if (options->intermediate) {
        SSL_CTX_add1_chain_cert(relay->context, options->intermediate->certificate);
    }
    if (options->client_authority) {
        X509_STORE_add_cert(SSL_CTX_get_cert_store(relay->context),
                            options->client_authority->certificate);
        SSL_CTX_set_verify(relay->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    if (options->version_max) {
        SSL_CTX_set_security_level(relay->context, 0);
        SSL_CTX_set_min_proto_version(relay->context, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(relay->context, options->version_max);
    }
    SSL_CTX_set_alpn_select_cb(relay->context, choose_protocol, relay);
}

void relay_start(struct relay *relay, const char *path, const struct relay_options *options)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    memset(relay, 0, sizeof(*relay));
    relay->options = *options;
    mig_text_copy(relay->path, sizeof(relay->path), path);
    if (options->identity) {
        set_up_context(relay);
    }
    relay->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(relay->fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(relay->fd, 16), 0);
    assert_int_equal(getsockname(relay->fd, (struct sockaddr *)&address, &size), 0);
    relay->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&relay->thread, NULL, relay_run, relay), 0);
}

void relay_stop(struct relay *relay)
{
    shutdown(relay->fd, SHUT_RDWR);
    pthread_join(relay->thread, NULL);
    close(relay->fd);
    SSL_CTX_free(relay->context);
}
