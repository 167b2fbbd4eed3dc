/* SPDX-License-Identifier: Apache-2.0 */
/* The server's URL in a kubeconfig file, taken apart. */
#ifndef MIG_KUBE_SERVER_URL_H
#define MIG_KUBE_SERVER_URL_H

#include <stdbool.h>
#include <stdint.h>

#define MIG_KUBE_HOST_SIZE 256u
#define MIG_KUBE_PREFIX_SIZE 1024u

struct mig_kube_server_url {
    bool tls;
    char host[MIG_KUBE_HOST_SIZE]; /* without brackets */
    uint16_t port;
    char path_prefix[MIG_KUBE_PREFIX_SIZE]; /* without a '/' at its end */
};

/* NULL, or what is wrong with it: "needs https:// in front". */
const char *mig_kube_server_url_parse(const char *url, struct mig_kube_server_url *ret);

#endif
