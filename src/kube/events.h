/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes Events (events.k8s.io/v1), what `kubectl describe` shows below an object.
 *
 * The same event again becomes a count in the one that is there (its series), and an object that
 * produces too many different ones is cut off for a while: a broken GPU must not fill etcd. Events
 * are told when they can be; one that the server does not take is dropped after its retries.
 */
#ifndef MIG_KUBE_EVENTS_H
#define MIG_KUBE_EVENTS_H

#include "kube/client.h"

#define MIG_KUBE_NOTE_MAX 1024u /* bytes; the API server's limit */

struct mig_kube_recorder;

struct mig_kube_recorder_options {
    const char *component; /* "migd": reportingController */
    const char *instance;  /* the node's or pod's name: reportingInstance */
};

struct mig_kube_regarding {
    const char *api_version, *kind, *namespace_name,
        *name;       /* namespace_name NULL: of the cluster */
    const char *uid; /* of a node: its name, as kubelet does it, for `kubectl describe node` */
};

int mig_kube_recorder_new(struct mig_kube *kube, const struct mig_kube_recorder_options *options,
                          struct mig_kube_recorder **ret, struct mig_error *error);
void mig_kube_recorder_free(struct mig_kube_recorder *recorder); /* NULL is allowed */

/*
 * `reason` is one word ("MigConfigApplied"), `action` what was being done ("Reconfigure"); `note`
 * is cut to MIG_KUBE_NOTE_MAX.
 */
void mig_kube_record(struct mig_kube_recorder *recorder, const struct mig_kube_regarding *regarding,
                     bool warning, const char *reason, const char *action, const char *note);

#endif
