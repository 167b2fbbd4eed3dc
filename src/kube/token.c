/* SPDX-License-Identifier: Apache-2.0 */
/* Bearer tokens that change while they are used. */
#include "kube/token.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "kube/kubeconfig.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static void forget(char **text)
{
    if (*text) {
        explicit_bzero(*text, strlen(*text));
    }
    free(*text);
    *text = NULL;
}

static bool set_header(struct mig_kube_token *token, const char *text)
{
    char *header;

    if (asprintf(&header, "Bearer %s", text) < 0) {
        return false;
    }
    token->serial += !token->header || strcmp(token->header, header) != 0;
    forget(&token->header);
    token->header = header;
    return true;
}

int mig_kube_token_init(struct mig_kube_token *token, const char *fixed, const char *path,
                        struct mig_error *error)
{
    *token = (struct mig_kube_token){0};
    if (path) {
        token->path = strdup(path);
    } else if (fixed) {
        set_header(token, fixed);
    }
    if ((path && !token->path) || (!path && fixed && !token->header)) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not keep the bearer token");
    }
    return 0;
}

void mig_kube_token_release(struct mig_kube_token *token)
{
    free(token->path);
    forget(&token->header);
    *token = (struct mig_kube_token){0};
}

/* One line; blanks at its end are nobody's. */
static int clean(char *text, size_t size, const char *path, struct mig_error *error)
{
    while (size > 0 && strchr(" \t\r\n", text[size - 1])) {
        size--;
    }
    text[size] = '\0';
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] == 0x7f) {
            size = 0;
        }
    }
    if (size == 0) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0, "'%s' holds no token",
                             path);
    }
    return 0;
}

static int read_file(struct mig_kube_token *token, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size;
    int rc = mig_file_read(token->path, MIG_KUBE_TOKEN_MAX, &text, &size, error);

    if (rc < 0 || (rc = clean(text, size, token->path, error)) < 0) {
        return rc;
    }
    if (!set_header(token, text)) {
        rc = mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not keep the bearer token");
    }
    explicit_bzero(text, size);
    return rc;
}

/* Reads it when it is another file, or was written again, since it was read last. */
static int look(struct mig_kube_token *token, struct mig_error *error)
{
    struct stat info;
    int rc;

    if (stat(token->path, &info) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, errno, "could not read '%s'", token->path);
    }
    if (token->header && token->inode == info.st_ino &&
        token->modified.tv_sec == info.st_mtim.tv_sec &&
        token->modified.tv_nsec == info.st_mtim.tv_nsec) {
        return 0;
    }
    rc = read_file(token, error);
    if (rc == 0) {
        token->inode = info.st_ino;
        token->modified = info.st_mtim;
    }
    return rc;
}

const char *mig_kube_token_header(struct mig_kube_token *token, uint64_t now_ms,
                                  struct mig_error *error)
{
    bool due = !token->header || now_ms < token->checked_ms ||
               now_ms - token->checked_ms >= MIG_KUBE_TOKEN_CHECK_MS;

    if (token->path && due) {
        token->checked_ms = now_ms;
        look(token, error);
    }
    return token->header;
}

bool mig_kube_token_refresh(struct mig_kube_token *token, uint64_t now_ms)
{
    MIG_AUTO_FREE char *before = token->header ? strdup(token->header) : NULL;
    bool changed;

    if (!token->path) {
        return false;
    }
    token->checked_ms = now_ms;
    changed = read_file(token, NULL) == 0 && (!before || strcmp(before, token->header) != 0);
    if (before) {
        explicit_bzero(before, strlen(before));
    }
    return changed;
}
