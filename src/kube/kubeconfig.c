/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading kubeconfig files.
 *
 * One file or several; a context, cluster or user is looked for in their order and the first that
 * has it counts, as kubectl does it. Paths in a file are relative to it. Data in the file wins over
 * a file that is named, again as kubectl does it.
 */
#include "kube/kubeconfig.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "config/document.h"
#include "kube/base64.h"
#include "kube/server_url.h"
#include <errno.h>
#include <limits.h>
#include <string.h>

#define SHOWN_MAX 200 /* bytes of a name from a file in a message */

struct file {
    char *path;
    struct mig_document *document;
    const struct mig_value *root;
};

struct reader {
    struct file files[MIG_KUBE_CONFIG_FILES_MAX];
    size_t count;
    bool read_files; /* that are named in the files */
    struct mig_kube_config *config;
    struct mig_error *error;
};

/* An entry of a file: where a name led to. */
struct entry {
    const struct file *file;
    const struct mig_value *map;
};

static void release_reader(struct reader *reader)
{
    for (size_t i = 0; i < reader->count; i++) {
        mig_document_free(reader->files[i].document);
        free(reader->files[i].path);
    }
}

/* --- values --- */

static int wrong_kind(struct reader *reader, const struct file *file, const char *key,
                      const struct mig_value *value, const char *wanted)
{
    return mig_position_error(reader->error, MIG_E_CONFIG, file->path, value->position,
                              "%s has to be %s, found %s", key, wanted,
                              mig_value_kind_name(value->kind));
}

static const struct mig_value *find(const struct mig_value *map, const char *key)
{
    const struct mig_pair *pair =
        map && map->kind == MIG_VALUE_MAP ? mig_value_find(map, key) : NULL;

    return pair && pair->value->kind != MIG_VALUE_NULL ? pair->value : NULL;
}

static struct mig_position position_of(const struct mig_value *map, const char *key)
{
    const struct mig_value *value = find(map, key);

    return value ? value->position : (struct mig_position){1, 1};
}

/* *ret is "" when the key is absent. A token of digits only is a text too. */
static int text_of(struct reader *reader, const struct entry *entry, const char *key,
                   const char **ret)
{
    const struct mig_value *value = find(entry->map, key);

    *ret = value ? value->text : "";
    if (value && (value->kind == MIG_VALUE_LIST || value->kind == MIG_VALUE_MAP)) {
        return wrong_kind(reader, entry->file, key, value, "text");
    }
    return 0;
}

static int bool_of(struct reader *reader, const struct entry *entry, const char *key, bool *ret)
{
    const struct mig_value *value = find(entry->map, key);

    *ret = value && value->kind == MIG_VALUE_BOOL && value->boolean;
    if (value && value->kind != MIG_VALUE_BOOL) {
        return wrong_kind(reader, entry->file, key, value, "true or false");
    }
    return 0;
}

static int no_memory(struct reader *reader)
{
    return mig_error_set_errno(reader->error, MIG_E_FAILED, ENOMEM,
                               "could not read the kubeconfig file");
}

static int keep(struct reader *reader, const char *text, char **ret)
{
    free(*ret);
    *ret = strdup(text);
    return *ret ? 0 : no_memory(reader);
}

/* Refuses a key that is not empty: it would be passed over in silence. */
static int refuse(struct reader *reader, const struct entry *entry, const char *key,
                  const char *why, const char *hint)
{
    const struct mig_value *value = find(entry->map, key);
    bool container = value && (value->kind == MIG_VALUE_LIST || value->kind == MIG_VALUE_MAP);
    int rc;

    if (!value || (container ? value->count == 0 : !*value->text)) {
        return 0;
    }
    rc = mig_position_error(reader->error, MIG_E_CONFIG, entry->file->path, value->position,
                            "%s: %s", key, why);
    return mig_error_hint(reader->error, rc, "%s", hint);
}

/* --- files that are named --- */

static int path_beside(struct reader *reader, const char *kubeconfig, const char *path, char **ret)
{
    const char *slash = strrchr(kubeconfig, '/');
    MIG_AUTO_BUFFER struct mig_buffer buffer;

    mig_buffer_init(&buffer, PATH_MAX);
    if (*path != '/' && slash) {
        mig_buffer_append(&buffer, kubeconfig, (size_t)(slash - kubeconfig) + 1);
    }
    mig_buffer_puts(&buffer, path);
    free(*ret);
    *ret = mig_buffer_take(&buffer);
    return *ret ? 0 : no_memory(reader);
}

static int read_named(struct reader *reader, const struct entry *entry, const char *key,
                      const char *path, size_t max, char **ret)
{
    MIG_AUTO_FREE char *full = NULL;
    MIG_AUTO_FREE char *text = NULL;
    size_t size;
    int rc = path_beside(reader, entry->file->path, path, &full);

    if (rc < 0 || !reader->read_files) {
        return rc < 0 ? rc : keep(reader, "", ret);
    }
    rc = mig_file_read(full, max, &text, &size, reader->error);
    if (rc < 0) {
        mig_error_prefix(reader->error, "%.*s: %s", SHOWN_MAX, entry->file->path, key);
        return MIG_E_CONFIG;
    }
    if (strlen(text) != size || size == 0) {
        return mig_error_set(reader->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0, "%.*s: %s: '%s' %s",
                             SHOWN_MAX, entry->file->path, key, full,
                             size == 0 ? "is empty" : "is no text");
    }
    free(*ret);
    *ret = MIG_TAKE(text);
    return 0;
}

/* PEM from KEY-data (base64) or from the file that KEY names. */
static int pem_of(struct reader *reader, const struct entry *entry, const char *key, char **ret)
{
    char data_key[64];
    const char *data, *path;
    int rc;

    snprintf(data_key, sizeof(data_key), "%s-data", key);
    rc = text_of(reader, entry, data_key, &data);
    if (rc == 0) {
        rc = text_of(reader, entry, key, &path);
    }
    if (rc < 0) {
        return rc;
    }
    if (*data) {
        free(*ret);
        *ret = mig_base64_decode_text(data);
        if (!*ret) {
            return mig_position_error(reader->error, MIG_E_CONFIG, entry->file->path,
                                      position_of(entry->map, data_key),
                                      "%s is not base64 of a PEM text", data_key);
        }
        return 0;
    }
    return *path ? read_named(reader, entry, key, path, MIG_KUBE_CONFIG_PEM_MAX, ret) : 0;
}

/* --- clusters, users, contexts --- */

/* Looks NAME up in the list KEY ("contexts") of all files; its member INNER ("context"). */
static int find_entry(struct reader *reader, const char *key, const char *inner, const char *name,
                      struct entry *ret)
{
    for (size_t f = 0; f < reader->count; f++) {
        const struct file *file = &reader->files[f];
        const struct mig_value *list = find(file->root, key);

        if (list && list->kind != MIG_VALUE_LIST) {
            return wrong_kind(reader, file, key, list, "a list");
        }
        for (uint32_t i = 0; list && i < list->count; i++) {
            const struct mig_value *item_name = find(list->items[i], "name");
            const struct mig_value *map = find(list->items[i], inner);

            if (!item_name || strcmp(item_name->text, name) != 0) {
                continue;
            }
            if (map && map->kind != MIG_VALUE_MAP) {
                return wrong_kind(reader, file, inner, map, "a map");
            }
            *ret = (struct entry){file, map};
            return 0;
        }
    }
    mig_error_set(reader->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                  "%.*s: there is no %s named '%.*s'", SHOWN_MAX, reader->files[0].path, inner,
                  SHOWN_MAX, name);
    return mig_error_hint(reader->error, MIG_E_CONFIG, "look at the %s and at current-context",
                          key);
}

static int read_cluster(struct reader *reader, const struct entry *cluster)
{
    static const char proxy[] = "connections through a proxy are not supported";
    static const char proxy_hint[] = "remove it, and let the node reach the API server directly";
    struct mig_kube_config *config = reader->config;
    struct mig_kube_server_url url;
    const char *server, *server_name;
    const char *problem;
    int rc = refuse(reader, cluster, "proxy-url", proxy, proxy_hint);

    if (rc < 0 || (rc = text_of(reader, cluster, "server", &server)) < 0 ||
        (rc = text_of(reader, cluster, "tls-server-name", &server_name)) < 0 ||
        (rc = bool_of(reader, cluster, "insecure-skip-tls-verify", &config->insecure)) < 0) {
        return rc;
    }
    if (!*server) {
        return mig_error_set(reader->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                             "%.*s: the cluster has no server", SHOWN_MAX, cluster->file->path);
    }
    problem = mig_kube_server_url_parse(server, &url);
    if (problem) {
        return mig_position_error(reader->error, MIG_E_CONFIG, cluster->file->path,
                                  position_of(cluster->map, "server"), "server '%.*s' %s",
                                  SHOWN_MAX, server, problem);
    }
    config->tls = url.tls;
    config->port = url.port;
    if ((rc = keep(reader, url.host, &config->host)) < 0 ||
        (rc = keep(reader, url.path_prefix, &config->path_prefix)) < 0 ||
        (*server_name && (rc = keep(reader, server_name, &config->server_name)) < 0)) {
        return rc;
    }
    return pem_of(reader, cluster, "certificate-authority", &config->ca);
}

static int refuse_user_keys(struct reader *reader, const struct entry *user)
{
    static const struct {
        const char *key, *why, *hint;
    } refused[] = {
        {"exec", "programs that make credentials are not run",
         "use a client certificate, a token or a tokenFile; in a pod, its service account"},
        {"auth-provider", "authentication plugins are not supported",
         "use a client certificate, a token or a tokenFile; in a pod, its service account"},
        {"username", "passwords are not accepted by any current API server",
         "use a client certificate, a token or a tokenFile"},
        {"as", "acting as another user is not supported", "give the rights to the user itself"},
        {"as-groups", "acting as another group is not supported",
         "give the rights to the user itself"},
    };

    for (size_t i = 0; i < MIG_ARRAY_SIZE(refused); i++) {
        int rc = refuse(reader, user, refused[i].key, refused[i].why, refused[i].hint);

        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* No bytes that would end the header. */
static bool is_header_value(const char *text)
{
    for (; *text; text++) {
        if (*text < 0x20 || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static int read_token(struct reader *reader, const struct entry *user)
{
    struct mig_kube_config *config = reader->config;
    MIG_AUTO_FREE char *content = NULL;
    const char *token, *path;
    int rc = text_of(reader, user, "token", &token);

    if (rc == 0) {
        rc = text_of(reader, user, "tokenFile", &path);
    }
    if (rc < 0) {
        return rc;
    }
    if (*path) { /* it has to be there now; the client reads it again */
        rc = path_beside(reader, user->file->path, path, &config->token_file);
        return rc < 0 ? rc
                      : read_named(reader, user, "tokenFile", path, MIG_KUBE_TOKEN_MAX, &content);
    }
    if (!is_header_value(token)) {
        return mig_position_error(reader->error, MIG_E_CONFIG, user->file->path,
                                  position_of(user->map, "token"),
                                  "token has a character that cannot be in one");
    }
    return *token ? keep(reader, token, &config->token) : 0;
}

static int read_user(struct reader *reader, const struct entry *user)
{
    struct mig_kube_config *config = reader->config;
    int rc = refuse_user_keys(reader, user);

    if (rc < 0 || (rc = pem_of(reader, user, "client-certificate", &config->certificate)) < 0 ||
        (rc = pem_of(reader, user, "client-key", &config->key)) < 0) {
        return rc;
    }
    if (!config->certificate != !config->key) {
        return mig_error_set(reader->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                             "%.*s: the user has a client-%s without a client-%s", SHOWN_MAX,
                             user->file->path, config->key ? "key" : "certificate",
                             config->key ? "certificate" : "key");
    }
    return read_token(reader, user);
}

static int current_context(struct reader *reader, const char **ret)
{
    for (size_t i = 0; i < reader->count; i++) {
        struct entry top = {&reader->files[i], reader->files[i].root};
        int rc = text_of(reader, &top, "current-context", ret);

        if (rc < 0 || **ret) {
            return rc;
        }
    }
    mig_error_set(reader->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                  "%.*s: current-context is not set", SHOWN_MAX, reader->files[0].path);
    return mig_error_hint(reader->error, MIG_E_CONFIG, "kubectl config use-context NAME");
}

static int read_config(struct reader *reader, const char *context_name)
{
    struct entry context = {NULL, NULL}, cluster = {NULL, NULL}, user = {NULL, NULL};
    const char *cluster_name, *user_name, *namespace_name;
    int rc = context_name ? 0 : current_context(reader, &context_name);

    if (rc < 0 || (rc = find_entry(reader, "contexts", "context", context_name, &context)) < 0 ||
        (rc = text_of(reader, &context, "cluster", &cluster_name)) < 0 ||
        (rc = text_of(reader, &context, "user", &user_name)) < 0 ||
        (rc = text_of(reader, &context, "namespace", &namespace_name)) < 0 ||
        (rc = find_entry(reader, "clusters", "cluster", cluster_name, &cluster)) < 0 ||
        (rc = read_cluster(reader, &cluster)) < 0) {
        return rc;
    }
    if (*user_name && ((rc = find_entry(reader, "users", "user", user_name, &user)) < 0 ||
                       (rc = read_user(reader, &user)) < 0)) {
        return rc;
    }
    return keep(reader, *namespace_name ? namespace_name : "default",
                &reader->config->namespace_name);
}

/* --- files --- */

static int add_file(struct reader *reader, const char *path, const char *text, size_t size)
{
    struct file *file;
    int rc;

    if (reader->count == MIG_KUBE_CONFIG_FILES_MAX) {
        return mig_error_set(reader->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                             "more than %d kubeconfig files", MIG_KUBE_CONFIG_FILES_MAX);
    }
    file = &reader->files[reader->count];
    *file = (struct file){.path = strdup(path)};
    if (!file->path) {
        return no_memory(reader);
    }
    reader->count++;
    rc = mig_document_parse(path, text, size, &file->document, reader->error);
    if (rc < 0) {
        return rc;
    }
    file->root = mig_document_root(file->document);
    if (file->root->kind != MIG_VALUE_MAP && file->root->kind != MIG_VALUE_NULL) {
        return wrong_kind(reader, file, "a kubeconfig file", file->root, "a map");
    }
    return 0;
}

static int load_file(struct reader *reader, const char *path, bool may_be_absent)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size;
    int rc;

    if (may_be_absent && access(path, F_OK) < 0 && errno == ENOENT) {
        return 0;
    }
    rc = mig_document_read_file(path, &text, &size, reader->error);
    if (rc < 0) {
        mig_error_prefix(reader->error, "kubeconfig");
        return rc;
    }
    rc = add_file(reader, path, text, size);
    explicit_bzero(text, size);
    return rc;
}

static int load_files(struct reader *reader, const char *list)
{
    MIG_AUTO_FREE char *copy = strdup(list);
    char *position = copy;
    char *path;

    if (!copy) {
        return no_memory(reader);
    }
    while ((path = strsep(&position, ":"))) {
        int rc = *path ? load_file(reader, path, strchr(list, ':')) : 0;

        if (rc < 0) {
            return rc;
        }
    }
    if (reader->count == 0) {
        return mig_error_set_errno(reader->error, MIG_E_CONFIG, ENOENT,
                                   "kubeconfig: none of the files of '%.*s' could be read",
                                   SHOWN_MAX, list);
    }
    return 0;
}

static int finish(struct reader *reader, int rc)
{
    release_reader(reader);
    if (rc < 0) {
        mig_kube_config_release(reader->config);
    }
    return rc;
}

int mig_kube_config_parse(const char *path, const char *text, size_t size, bool read_files,
                          struct mig_kube_config *ret, struct mig_error *error)
{
    struct reader reader = {.read_files = read_files, .config = ret, .error = error};
    int rc;

    *ret = (struct mig_kube_config){0};
    rc = add_file(&reader, path, text, size);
    if (rc == 0) {
        rc = read_config(&reader, NULL);
    }
    return finish(&reader, rc);
}

/* --- in the cluster --- */

/* Reads SERVICE_ACCOUNT/NAME; the first line without its end when `line`. */
static int read_given(const char *folder, const char *name, bool line, char **ret,
                      struct mig_error *error)
{
    char path[PATH_MAX];
    size_t size;
    int rc;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path)) {
        return mig_error_set_errno(error, MIG_E_CONFIG, ENAMETOOLONG, "could not read '%s'", name);
    }
    rc = mig_file_read(path, MIG_KUBE_CONFIG_PEM_MAX, ret, &size, error);
    if (rc < 0) {
        return mig_error_hint(error, MIG_E_CONFIG,
                              "the pod needs automountServiceAccountToken, or a kubeconfig file");
    }
    if (line) {
        (*ret)[strcspn(*ret, "\r\n")] = '\0';
    }
    return 0;
}

static int load_in_cluster(const struct mig_kube_config_source *source,
                           struct mig_kube_config *config, struct mig_error *error)
{
    const char *folder =
        source->service_account ? source->service_account : MIG_KUBE_SERVICE_ACCOUNT;
    MIG_AUTO_FREE char *token = NULL;
    uint64_t port = 0;
    int rc;

    if (!source->service_host || !*source->service_host || !source->service_port) {
        mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                      "no kubeconfig file was given, and this is not in a pod: "
                      "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set");
        return mig_error_hint(error, MIG_E_CONFIG, "give --kubeconfig FILE or set KUBECONFIG");
    }
    if (!mig_text_parse_u64(source->service_port, UINT16_MAX, &port) || port == 0) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                             "KUBERNETES_SERVICE_PORT: '%.*s' is no number from 1 to 65535",
                             SHOWN_MAX, source->service_port);
    }
    rc = read_given(folder, "token", true, &token, error);
    if (rc < 0 || (rc = read_given(folder, "ca.crt", false, &config->ca, error)) < 0) {
        return rc;
    }
    if (read_given(folder, "namespace", true, &config->namespace_name, NULL) < 0) {
        config->namespace_name = strdup("default");
    }
    config->tls = true;
    config->port = (uint16_t)port;
    config->host = strdup(source->service_host);
    config->path_prefix = strdup("");
    if (asprintf(&config->token_file, "%s/token", folder) < 0) {
        config->token_file = NULL;
    }
    if (!config->host || !config->path_prefix || !config->namespace_name || !config->token_file) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not read the service account");
    }
    return 0;
}

int mig_kube_config_load(const struct mig_kube_config_source *source, struct mig_kube_config *ret,
                         struct mig_error *error)
{
    struct reader reader = {.read_files = true, .config = ret, .error = error};
    int rc;

    *ret = (struct mig_kube_config){0};
    if (!source->path || !*source->path) {
        return finish(&reader, load_in_cluster(source, ret, error));
    }
    rc = load_files(&reader, source->path);
    if (rc == 0) {
        rc = read_config(&reader, source->context);
    }
    return finish(&reader, rc);
}

int mig_kube_config_load_default(const char *path, struct mig_kube_config *ret,
                                 struct mig_error *error)
{
    struct mig_kube_config_source source = {
        .path = path && *path ? path : getenv("KUBECONFIG"),
        .service_host = getenv("KUBERNETES_SERVICE_HOST"),
        .service_port = getenv("KUBERNETES_SERVICE_PORT"),
    };

    return mig_kube_config_load(&source, ret, error);
}

/* --- the struct --- */

/* Its texts, so that copying and releasing forget none. */
static char **text_at(struct mig_kube_config *config, size_t i)
{
    char **const texts[] = {&config->host,        &config->path_prefix, &config->ca,
                            &config->certificate, &config->key,         &config->server_name,
                            &config->token,       &config->token_file,  &config->namespace_name};

    return i < MIG_ARRAY_SIZE(texts) ? texts[i] : NULL;
}

int mig_kube_config_copy(const struct mig_kube_config *config, struct mig_kube_config *ret,
                         struct mig_error *error)
{
    bool copied = true;

    *ret = *config;
    for (size_t i = 0; text_at(ret, i); i++) {
        char **text = text_at(ret, i);

        *text = *text ? strdup(*text) : NULL;
        copied = copied && (*text || !*text_at((struct mig_kube_config *)(uintptr_t)config, i));
    }
    if (!copied) {
        mig_kube_config_release(ret);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not copy the configuration of the Kubernetes client");
    }
    return 0;
}

void mig_kube_config_release(struct mig_kube_config *config)
{
    for (size_t i = 0; text_at(config, i); i++) {
        char **text = text_at(config, i);

        if (*text) {
            explicit_bzero(*text, strlen(*text));
        }
        free(*text);
    }
    *config = (struct mig_kube_config){0};
}
