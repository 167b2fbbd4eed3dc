/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the API server is and who we are: from a kubeconfig file, or from what Kubernetes gives to
 * a pod. What would need another program to run (exec, auth-provider), or would be passed over in
 * silence with another meaning (proxy, impersonation, passwords), is refused with what to use
 * instead. Keys that are not known are passed over, as kubectl does.
 */
#ifndef MIG_KUBE_KUBECONFIG_H
#define MIG_KUBE_KUBECONFIG_H

#include "kube/client.h"

#define MIG_KUBE_CONFIG_FILES_MAX 8        /* of the list in KUBECONFIG */
#define MIG_KUBE_CONFIG_PEM_MAX (1u << 20) /* a certificate, key or bundle of authorities */
#define MIG_KUBE_TOKEN_MAX (64u << 10)

#define MIG_KUBE_SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/* All members may be NULL. */
struct mig_kube_config_source {
    /* A kubeconfig file, or several separated by ':', of which the first to say something counts;
     * of several, files that do not exist are passed over. NULL or "" = in the cluster. */
    const char *path;
    const char *context; /* NULL = current-context of the file */
    /* In the cluster. */
    const char *service_host, *service_port; /* KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT */
    const char *service_account;             /* folder; NULL = MIG_KUBE_SERVICE_ACCOUNT */
};

/*
 * MIG_E_CONFIG with "FILE:LINE:COLUMN: " where a file is wrong. A token file has to be readable,
 * and is read again by the client later.
 */
int mig_kube_config_load(const struct mig_kube_config_source *source, struct mig_kube_config *ret,
                         struct mig_error *error);

/* The same from `path` when it is not empty, else KUBECONFIG, else the cluster's. */
int mig_kube_config_load_default(const char *path, struct mig_kube_config *ret,
                                 struct mig_error *error);

/* From text, that files named in it are looked up beside `path`. For mig_kube_config_load and the
 * fuzzer: with `read_files` false they are not read and count as empty. */
int mig_kube_config_parse(const char *path, const char *text, size_t size, bool read_files,
                          struct mig_kube_config *ret, struct mig_error *error);

int mig_kube_config_copy(const struct mig_kube_config *config, struct mig_kube_config *ret,
                         struct mig_error *error);
/* Wipes secrets before their memory is given back. */
void mig_kube_config_release(struct mig_kube_config *config);

#endif
