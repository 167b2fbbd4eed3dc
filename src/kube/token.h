/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bearer token: fixed, or in a file that is replaced while we run (kubelet does so before it
 * runs out). The file is looked at once a minute, and read when it is another one.
 */
#ifndef MIG_KUBE_TOKEN_H
#define MIG_KUBE_TOKEN_H

#include <mig/error.h>
#include <stdint.h>
#include <time.h>

#define MIG_KUBE_TOKEN_CHECK_MS 60000u

struct mig_kube_token {
    char *path;      /* NULL = the token is fixed */
    char *header;    /* "Bearer ..."; NULL = none */
    unsigned serial; /* another one with each token */
    uint64_t checked_ms, inode;
    struct timespec modified;
};

/* Both may be NULL; the file wins. The file is not read yet. */
int mig_kube_token_init(struct mig_kube_token *token, const char *fixed, const char *path,
                        struct mig_error *error);
void mig_kube_token_release(struct mig_kube_token *token);

/*
 * The value of the authorization header, NULL when there is none. A file that cannot be read leaves
 * the token that was read last; *error is set when there was none.
 */
const char *mig_kube_token_header(struct mig_kube_token *token, uint64_t now_ms,
                                  struct mig_error *error);

/* Reads the file now, because the server refused the token. True when it is another one. */
bool mig_kube_token_refresh(struct mig_kube_token *token, uint64_t now_ms);

#endif
