/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the helper for samples and for the kubelet's socket, when the exporter wants them. */
#include "daemon/role_metrics.h"
#include "base/cleanup.h"
#include "daemon/log.h"
#include "exporter/exporter.h"
#include <errno.h>
#include <string.h>

struct role_metrics {
    struct role_metrics_options options;
    struct mig_exporter *exporter;
    struct mig_pod_resources_call *pods;
    bool pods_failed; /* said once */
};

static void sampled(struct mig_sample *sample, const struct mig_error *error, void *data)
{
    struct role_metrics *role = data;

    if (error) {
        log_error(LOG_LEVEL_DEBUG, "metrics", error, "the GPUs could not be measured");
    }
    mig_exporter_give_sample(role->exporter, sample);
}

static int measure(void *data)
{
    struct role_metrics *role = data;

    return mig_helper_sample(role->options.helper, sampled, role, NULL);
}

static void no_pods(struct role_metrics *role, const struct mig_error *error)
{
    if (!role->pods_failed) {
        log_error(LOG_LEVEL_INFO, "metrics", error, "metrics do not tell of pods");
    }
    role->pods_failed = true;
    mig_exporter_give_pods(role->exporter, NULL);
}

static void pods_told(struct mig_pod_devices *devices, const struct mig_error *error, void *data)
{
    struct role_metrics *role = data;

    role->pods = NULL;
    if (error) {
        no_pods(role, error);
        return;
    }
    role->pods_failed = false;
    mig_exporter_give_pods(role->exporter, devices);
}

static void socket_opened(int fd, const struct mig_error *error, void *data)
{
    struct role_metrics *role = data;
    const struct mig_pod_resources_options options = {.fd = fd, .done = pods_told, .data = role};
    struct mig_error local;

    if (error) {
        no_pods(role, error);
    } else if (mig_pod_resources_ask(role->options.loop, &options, &role->pods, &local) < 0) {
        close(fd);
        no_pods(role, &local);
    }
}

static int ask_pods(void *data)
{
    struct role_metrics *role = data;

    return mig_helper_open_socket(role->options.helper, MIG_HELPER_POD_RESOURCES, NULL,
                                  socket_opened, role, NULL);
}

static enum mig_metrics_hostname hostname_label(const char *word)
{
    return strcmp(word, "hostname") == 0 ? MIG_METRICS_HOSTNAME_LOWER
           : strcmp(word, "both") == 0   ? MIG_METRICS_HOSTNAME_BOTH
           : strcmp(word, "none") == 0   ? MIG_METRICS_HOSTNAME_NONE
                                         : MIG_METRICS_HOSTNAME_UPPER;
}

int role_metrics_new(const struct role_metrics_options *options, struct role_metrics **ret,
                     struct mig_error *error)
{
    struct role_metrics *role = calloc(1, sizeof(*role));
    struct mig_exporter_options exporter = {
        .hostname = options->node_name,
        .hostname_label = hostname_label(options->values->texts[DAEMON_METRICS_HOSTNAME]),
        .counters = options->counters,
        .measure = measure,
        .ask_pods = options->helper ? ask_pods : NULL,
        .data = role,
    };
    int rc;

    if (!role) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start the metrics");
    }
    role->options = *options;
    role->options.values = NULL;
    rc = mig_exporter_new(options->loop, &exporter, &role->exporter, error);
    if (rc < 0) {
        free(role);
        return rc;
    }
    *ret = role;
    return 0;
}

void role_metrics_free(struct role_metrics *role)
{
    if (role) {
        mig_pod_resources_cancel(role->pods);
        mig_exporter_free(role->exporter);
        free(role);
    }
}

void role_metrics_set_node(struct role_metrics *role, const struct mig_node *node)
{
    if (role) {
        mig_exporter_set_node(role->exporter, node);
    }
}

void role_metrics_xid(struct role_metrics *role, const struct mig_helper_xid *xid)
{
    if (role) {
        mig_exporter_note_xid(role->exporter, xid->gpu_uuid, xid->gi_id, xid->xid);
    }
}

bool role_metrics_write(struct mig_buffer *out, void *data)
{
    struct role_metrics *role = data;

    return mig_exporter_scrape(role->exporter, out, NULL) == 0;
}
