/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts and sessions of OpenSSL for clients. What OpenSSL says about a failed handshake is
 * "certificate verify failed"; what a person needs is which check failed, and for whom the
 * certificate is, so the words here are our own.
 */
#include "net/tls.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "net/tls_session.h"
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>

#define CA_CERTIFICATES_MAX 1024
#define NAMES_TOLD_MAX 8

MIG_DEFINE_CLEANUP(bio, BIO, BIO_free)
MIG_DEFINE_CLEANUP(x509, X509, X509_free)
MIG_DEFINE_CLEANUP(pkey, EVP_PKEY, EVP_PKEY_free)
MIG_DEFINE_CLEANUP(names, GENERAL_NAMES, GENERAL_NAMES_free)
MIG_DEFINE_CLEANUP(tls, struct mig_tls, mig_tls_free)

struct mig_tls {
    SSL_CTX *context;
    BIO_METHOD *socket_method;
    char *server_name; /* NULL = the host */
    bool insecure;
};

/* The reason that OpenSSL noted last, for the end of a message. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : NULL;

    return text ? text : "no reason given";
}

void mig_tls_clear_errors(void)
{
    ERR_clear_error();
}

/* ---- a socket that does not raise SIGPIPE --------------------------------------------------- */

static int socket_write(BIO *bio, const char *bytes, size_t size, size_t *ret)
{
    ssize_t count;

    do {
        count = send((int)(intptr_t)BIO_get_data(bio), bytes, size, MSG_NOSIGNAL);
    } while (count < 0 && errno == EINTR);
    BIO_clear_retry_flags(bio);
    if (count < 0 && errno == EAGAIN) {
        BIO_set_retry_write(bio);
    }
    *ret = count > 0 ? (size_t)count : 0;
    return count > 0;
}

static int socket_read(BIO *bio, char *bytes, size_t size, size_t *ret)
{
    ssize_t count;

    do {
        count = recv((int)(intptr_t)BIO_get_data(bio), bytes, size, 0);
    } while (count < 0 && errno == EINTR);
    BIO_clear_retry_flags(bio);
    if (count < 0 && errno == EAGAIN) {
        BIO_set_retry_read(bio);
    }
    if (count == 0) {
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    }
    *ret = count > 0 ? (size_t)count : 0;
    return count > 0;
}

static long socket_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_EOF:
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    default:
        return 0;
    }
}

static BIO_METHOD *new_socket_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");

    if (method && BIO_meth_set_write_ex(method, socket_write) &&
        BIO_meth_set_read_ex(method, socket_read) && BIO_meth_set_ctrl(method, socket_control)) {
        return method;
    }
    BIO_meth_free(method);
    return NULL;
}

/* ---- certificates that are not accepted ------------------------------------------------------ */

static void add_name(char *text, size_t size, const GENERAL_NAME *name)
{
    char address[INET6_ADDRSTRLEN] = "";
    size_t length = strlen(text);
    const ASN1_STRING *string;
    int kind;

    string = GENERAL_NAME_get0_value(name, &kind);
    if (kind == GEN_DNS) {
        snprintf(text + length, size - length, "%s%.*s", length > 0 ? ", " : "",
                 ASN1_STRING_length(string), (const char *)ASN1_STRING_get0_data(string));
    } else if (kind == GEN_IPADD) {
        int family = ASN1_STRING_length(string) == 4 ? AF_INET : AF_INET6;

        if ((family == AF_INET || ASN1_STRING_length(string) == 16) &&
            inet_ntop(family, ASN1_STRING_get0_data(string), address, sizeof(address))) {
            snprintf(text + length, size - length, "%s%s", length > 0 ? ", " : "", address);
        }
    }
}

/* "a.example, 10.0.0.1" */
static void names_of(X509 *certificate, char *text, size_t size)
{
    MIG_CLEANUP(cleanup_names)
    GENERAL_NAMES *names =
        certificate ? X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL) : NULL;
    int count = names ? sk_GENERAL_NAME_num(names) : 0;

    text[0] = '\0';
    for (int i = 0; i < count && i < NAMES_TOLD_MAX; i++) {
        add_name(text, size, sk_GENERAL_NAME_value(names, i));
    }
    if (count > NAMES_TOLD_MAX) {
        snprintf(text + strlen(text), size - strlen(text), " and %d more", count - NAMES_TOLD_MAX);
    }
    for (char *byte = text; *byte; byte++) {
        if ((unsigned char)*byte < ' ' || *byte == 127) {
            *byte = '?';
        }
    }
}

static void format_time(const ASN1_TIME *when, char *text, size_t size)
{
    struct tm parts;

    if (!when || ASN1_TIME_to_tm(when, &parts) != 1 ||
        strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0) {
        mig_text_copy(text, size, "an unknown time");
    }
}

static void format_issuer(X509 *certificate, char *text, size_t size)
{
    if (!certificate || !X509_NAME_oneline(X509_get_issuer_name(certificate), text, (int)size)) {
        mig_text_copy(text, size, "an unknown issuer");
    }
}

/* The verdict on `certificate`, which is the server's or one that signed it. */
static void describe_refusal(const struct mig_tls_session *session, X509_STORE_CTX *store,
                             struct mig_error *error)
{
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    int verdict = X509_STORE_CTX_get_error(store);
    char text[384];

    switch (verdict) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        names_of(X509_STORE_CTX_get0_cert(store), text, sizeof(text));
        mig_error_set(error, 0, MIG_DOMAIN_NONE, 0,
                      "the server's certificate is not for %s, but for %s", session->name,
                      *text ? text : "no name at all (it has no alternative names)");
        return;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        format_time(certificate ? X509_get0_notAfter(certificate) : NULL, text, sizeof(text));
        mig_error_set(
            error, 0, MIG_DOMAIN_NONE, 0, "the %s certificate has expired (it was valid until %s)",
            X509_STORE_CTX_get_error_depth(store) == 0 ? "server's" : "authority's", text);
        mig_error_hint(error, 0, "renew the certificate, or set this machine's clock");
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        format_time(certificate ? X509_get0_notBefore(certificate) : NULL, text, sizeof(text));
        mig_error_set(error, 0, MIG_DOMAIN_NONE, 0, "the %s certificate is not valid before %s",
                      X509_STORE_CTX_get_error_depth(store) == 0 ? "server's" : "authority's",
                      text);
        mig_error_hint(error, 0, "is this machine's clock right?");
        return;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_UNTRUSTED:
        format_issuer(certificate, text, sizeof(text));
        mig_error_set(error, 0, MIG_DOMAIN_NONE, 0,
                      "the server's certificate is signed by an authority that is not trusted "
                      "(%s): %s",
                      text, X509_verify_cert_error_string(verdict));
        return;
    default:
        mig_error_set(error, 0, MIG_DOMAIN_NONE, 0, "the server's certificate is not accepted: %s",
                      X509_verify_cert_error_string(verdict));
        return;
    }
}

/* OpenSSL's verdict stands; it is only put into words, while the certificate is at hand. */
static int check_certificate(int accepted, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct mig_tls_session *session = SSL_get_app_data(ssl);

    if (!accepted && !*session->refusal.message) {
        describe_refusal(session, store, &session->refusal);
    }
    return accepted;
}

/* ---- contexts ------------------------------------------------------------------------------- */

/* A key with a passphrase is refused; OpenSSL would ask on the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *data)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)data;
    return -1;
}

static BIO *open_pem(const char *text, const char *what, struct mig_error *error)
{
    size_t size = strlen(text);
    BIO *bio;

    if (size > MIG_TLS_PEM_MAX) {
        mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                      "the %s is larger than 1 MiB of PEM text", what);
        return NULL;
    }
    bio = BIO_new_mem_buf(text, (int)size);
    if (!bio) {
        mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read the %s", what);
    }
    return bio;
}

/* The end of a PEM text is an "error" too. */
static bool at_end_of_pem(void)
{
    unsigned long code = ERR_peek_last_error();

    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

static int load_authorities(SSL_CTX *context, const char *ca, struct mig_error *error)
{
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    MIG_CLEANUP(cleanup_bio) BIO *bio = NULL;
    unsigned count = 0;

    /* what is in the list is trusted, also when it is no root: so do all clients of Kubernetes */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    if (!ca) {
        if (SSL_CTX_set_default_verify_paths(context) != 1) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "could not use the system's certificate authorities: %s",
                                 reason());
        }
        return 0;
    }
    bio = open_pem(ca, "list of certificate authorities", error);
    if (!bio) {
        return MIG_E_CONFIG;
    }
    for (; count < CA_CERTIFICATES_MAX; count++) {
        MIG_CLEANUP(cleanup_x509)
        X509 *certificate = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);

        if (!certificate) {
            break;
        }
        if (X509_STORE_add_cert(store, certificate) != 1) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "could not keep a certificate authority: %s", reason());
        }
    }
    if (count == 0 || !at_end_of_pem()) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                             "certificate %u of the list of certificate authorities is not valid "
                             "PEM: %s",
                             count + 1, reason());
    }
    return 0;
}

static int use_chain(SSL_CTX *context, const char *text, struct mig_error *error)
{
    MIG_CLEANUP(cleanup_bio) BIO *bio = open_pem(text, "client certificate", error);
    MIG_CLEANUP(cleanup_x509) X509 *first = NULL;

    if (!bio) {
        return MIG_E_CONFIG;
    }
    first = PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL);
    if (!first || SSL_CTX_use_certificate(context, first) != 1) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                             "the client certificate is not a certificate in PEM: %s", reason());
    }
    for (unsigned count = 0; count < CA_CERTIFICATES_MAX; count++) {
        X509 *next = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);

        if (!next) {
            break;
        }
        if (SSL_CTX_add0_chain_cert(context, next) != 1) {
            X509_free(next);
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "could not keep the client certificate: %s", reason());
        }
    }
    return 0;
}

static int use_own_certificate(SSL_CTX *context, const struct mig_tls_options *options,
                               struct mig_error *error)
{
    MIG_CLEANUP(cleanup_bio) BIO *bio = NULL;
    MIG_CLEANUP(cleanup_pkey) EVP_PKEY *key = NULL;
    int rc;

    if (!options->certificate && !options->key) {
        return 0;
    }
    if (!options->certificate || !options->key) {
        return mig_error_set(
            error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0, "a client %s is given without its %s",
            options->key ? "key" : "certificate", options->key ? "certificate" : "key");
    }
    rc = use_chain(context, options->certificate, error);
    if (rc < 0) {
        return rc;
    }
    bio = open_pem(options->key, "client key", error);
    if (!bio) {
        return MIG_E_CONFIG;
    }
    key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (!key) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                             "the client key is not a private key in PEM without passphrase: %s",
                             reason());
    }
    if (SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0,
                             "the client key does not belong to the client certificate: %s",
                             reason());
    }
    return 0;
}

static int set_up(struct mig_tls *tls, const struct mig_tls_options *options,
                  struct mig_error *error)
{
    static const unsigned char protocols[] = "\x02h2";
    int rc;

    tls->context = SSL_CTX_new(TLS_client_method());
    tls->socket_method = new_socket_method();
    tls->insecure = options->insecure;
    tls->server_name = options->server_name ? strdup(options->server_name) : NULL;
    if (!tls->context || !tls->socket_method || (options->server_name && !tls->server_name) ||
        SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(tls->context, protocols, sizeof(protocols) - 1) != 0) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "could not set up TLS: %s",
                             reason());
    }
    /* HTTP/2 says itself where a message ends, so a missing close_notify cuts nothing off */
    SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                          SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
    /* a verdict that does not count is not to be told when something else goes wrong */
    SSL_CTX_set_verify(tls->context, tls->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER,
                       tls->insecure ? NULL : check_certificate);
    if (!tls->insecure) {
        rc = load_authorities(tls->context, options->ca, error);
        if (rc < 0) {
            return rc;
        }
    }
    return use_own_certificate(tls->context, options, error);
}

int mig_tls_new(const struct mig_tls_options *options, struct mig_tls **ret,
                struct mig_error *error)
{
    MIG_CLEANUP(cleanup_tls) struct mig_tls *tls = calloc(1, sizeof(*tls));
    int rc;

    if (!tls) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not set up TLS");
    }
    mig_tls_clear_errors();
    rc = set_up(tls, options, error);
    mig_tls_clear_errors();
    if (rc < 0) {
        return rc;
    }
    *ret = MIG_TAKE(tls);
    return 0;
}

void mig_tls_free(struct mig_tls *tls)
{
    if (!tls) {
        return;
    }
    SSL_CTX_free(tls->context);
    BIO_meth_free(tls->socket_method);
    free(tls->server_name);
    free(tls);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static bool is_address(const char *name)
{
    unsigned char address[16];

    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

/* Whom to ask for and whom to expect. */
static bool set_name(SSL *ssl, char *name)
{
    X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);

    if (is_address(name)) {
        return X509_VERIFY_PARAM_set1_ip_asc(parameters, name) == 1;
    }
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
                                                    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return X509_VERIFY_PARAM_set1_host(parameters, name, 0) == 1 &&
           SSL_set_tlsext_host_name(ssl, name) == 1;
}

static int set_up_session(struct mig_tls *tls, struct mig_tls_session *session, int fd,
                          struct mig_error *error)
{
    BIO *bio = BIO_new(tls->socket_method);

    session->ssl = SSL_new(tls->context);
    if (!session->ssl || !bio || (session->name && !set_name(session->ssl, session->name))) {
        BIO_free(bio);
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not set up TLS for \"%s\": %s",
                             session->name ? session->name : "anybody", reason());
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio);
    SSL_set_app_data(session->ssl, session);
    SSL_set_connect_state(session->ssl);
    return 0;
}

int mig_tls_session_new(struct mig_tls *tls, const char *host, int fd, struct mig_tls_session **ret,
                        struct mig_error *error)
{
    const char *name = tls->server_name ? tls->server_name : host;
    struct mig_tls_session *session;
    int rc;

    if (!name && !tls->insecure) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "TLS needs the name of the server");
    }
    session = calloc(1, sizeof(*session));
    if (session && name) {
        session->name = strdup(name);
    }
    if (!session || (name && !session->name)) {
        free(session);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not set up TLS");
    }
    rc = set_up_session(tls, session, fd, error);
    if (rc < 0) {
        mig_tls_session_free(session);
        return rc;
    }
    *ret = session;
    return 0;
}

void mig_tls_session_free(struct mig_tls_session *session)
{
    if (session) {
        SSL_free(session->ssl);
        free(session->name);
        free(session);
    }
}

int mig_tls_session_check(const struct mig_tls_session *session, struct mig_error *error)
{
    const unsigned char *protocol = NULL;
    unsigned size = 0;

    SSL_get0_alpn_selected(session->ssl, &protocol, &size);
    if (size == 2 && memcmp(protocol, "h2", 2) == 0) {
        return 0;
    }
    mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                  "the server did not agree on HTTP/2 (by ALPN)");
    return mig_error_hint(error, MIG_E_FAILED,
                          "a proxy that speaks HTTP/1.1 only may be in between; connect to the "
                          "server itself");
}

int mig_tls_session_error(const struct mig_tls_session *session, struct mig_error *error)
{
    int number = errno;
    unsigned long code = ERR_peek_error();
    int rc = MIG_E_FAILED;

    if (*session->refusal.message) {
        if (error) {
            *error = session->refusal;
        }
    } else if (code != 0) {
        mig_error_set(error, rc, MIG_DOMAIN_NONE, 0, "TLS failed: %s", reason());
    } else if (number != 0) {
        mig_error_set_errno(error, rc, number, "the TLS connection failed");
    } else {
        mig_error_set(error, rc, MIG_DOMAIN_NONE, 0, "the peer cut the TLS connection off");
    }
    mig_tls_clear_errors();
    return rc;
}
