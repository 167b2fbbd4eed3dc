/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migd, also called nvidia-mig-manager: options, processes, privileges, signals; and the loop that
 * joins the roles.
 *
 * Order matters: options first (nothing is started on a wrong one), then this process becomes the
 * supervisor, which is another program, and what goes on here is its child: the agent. It opens
 * what only root may (its folder, a kubeconfig), then it gives up everything, and only then there
 * is a network, a loop, and text of others to read.
 */
#include "base/cleanup.h"
#include "base/memory.h"
#include "base/text.h"
#include "daemon/app.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/record.h"
#include "kube/kubeconfig.h"
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define ID_MAX 0xfffffffeu

struct identity {
    uid_t uid;
    gid_t gid;
};

static int find_user(const char *name, struct identity *ret, struct mig_error *error)
{
    const struct passwd *user;
    uint64_t id;

    if (mig_text_parse_u64(name, ID_MAX, &id)) {
        *ret = (struct identity){(uid_t)id, (gid_t)id};
        return 0;
    }
    user = getpwnam(name);
    if (!user) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "there is no user '%.64s' to become", name);
    }
    *ret = (struct identity){user->pw_uid, user->pw_gid};
    return 0;
}

static void tell_dead_options(const struct daemon_values *values)
{
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        if (daemon_options[id].dead && values->sources[id] != DAEMON_FROM_TABLE) {
            log_write(LOG_LEVEL_INFO, "options", NULL, 0, "--%s has no effect: %s",
                      daemon_options[id].name, daemon_options[id].dead);
        }
    }
}

static bool wants_cluster(const struct daemon_values *values)
{
    return values->texts[DAEMON_NODE_NAME][0] != '\0';
}

static int check_together(const struct daemon_values *values, struct mig_error *error)
{
    if (values->as_mig_manager && !wants_cluster(values)) {
        (void)mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "the node has no name");
        return mig_error_hint(error, MIG_E_USAGE, "give --node-name or NODE_NAME");
    }
    if (!wants_cluster(values) && values->texts[DAEMON_KUBECONFIG][0] &&
        values->sources[DAEMON_KUBECONFIG] == DAEMON_FROM_COMMAND_LINE) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "--kubeconfig needs --node-name as well");
    }
    return 0;
}

/* The first of the two that is a folder here; "" when a mount that is the default is not there. */
static const char *mount_of(const struct daemon_values *values, enum daemon_option_id id)
{
    struct stat status;

    return values->sources[id] == DAEMON_FROM_TABLE && stat(values->texts[id], &status) < 0
               ? ""
               : values->texts[id];
}

static const char *text_or_null(const char *text)
{
    return text[0] ? text : NULL;
}

static int start_helper(const struct daemon_values *values, struct mig_helper_channel *channel,
                        struct mig_error *error)
{
    const char *library = values->texts[DAEMON_LIBRARY];
    const char *state_file = values->texts[DAEMON_HOST_STATE_FILE];
    const char *driver_root = mount_of(values, DAEMON_DRIVER_ROOT_CTR_PATH);
    const struct mig_helper_options options = {
        .state_dir = values->texts[DAEMON_STATE_DIR],
        .library = text_or_null(library),
        .driver_root = driver_root,
        .dev_root = text_or_null(mount_of(values, DAEMON_DEV_ROOT_CTR_PATH)),
        /* what is not below a root of its own here is at the same place on the host */
        .host_driver_root = driver_root[0] ? text_or_null(values->texts[DAEMON_DRIVER_ROOT]) : NULL,
        .host_dev_root = text_or_null(values->texts[DAEMON_DEV_ROOT]),
        .cdi_hook = text_or_null(values->texts[DAEMON_CDI_HOOK_PATH]),
        .host_root = mount_of(values, DAEMON_HOST_ROOT),
        .kubelet_dir = values->texts[DAEMON_KUBELET_DIR],
        .cdi_dir = values->texts[DAEMON_CDI_DIR],
        .mps_dir =
            values->texts[values->texts[DAEMON_MPS_ROOT_CTR_PATH][0] ? DAEMON_MPS_ROOT_CTR_PATH
                                                                     : DAEMON_MPS_ROOT],
        .state_file = text_or_null(state_file),
        .clients_file = text_or_null(values->texts[DAEMON_GPU_CLIENTS_FILE]),
        .allow_reboot = daemon_value_is_true(values, DAEMON_WITH_REBOOT),
        .poll_interval_ms = (unsigned)daemon_value_ms(values, DAEMON_POLL_INTERVAL),
    };

    return mig_helper_start(NULL, &options, channel, error);
}

static int load_cluster(const struct daemon_values *values, struct mig_kube_config *ret,
                        struct mig_error *error)
{
    const char *namespace_name = values->texts[DAEMON_POD_NAMESPACE];
    char *copy;
    int rc = mig_kube_config_load_default(values->texts[DAEMON_KUBECONFIG], ret, error);

    if (rc < 0 || !namespace_name[0]) {
        return rc;
    }
    copy = strdup(namespace_name);
    if (!copy) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read the kubeconfig");
    }
    free(ret->namespace_name);
    ret->namespace_name = copy;
    return 0;
}

/* From here on in the agent, still with all privileges. */
static int prepare(struct app *app, struct mig_helper_channel *channel, struct mig_error *error)
{
    const struct daemon_values *values = &app->values;
    struct identity identity = {0};
    int rc = find_user(values->texts[DAEMON_USER], &identity, error);

    notify_open();
    rc = rc < 0 ? rc
                : record_prepare(values->texts[DAEMON_STATE_DIR], identity.uid, identity.gid,
                                 &app->agent_dir, error);
    if (rc == 0 && wants_cluster(values)) {
        rc = load_cluster(values, &app->kube_config, error);
        app->has_cluster = rc == 0;
    }
    rc = rc < 0 ? rc : mig_helper_drop_privileges(identity.uid, identity.gid, error);
    app->channel = *channel;
    return rc;
}

static int run(struct app *app, struct mig_error *error)
{
    struct mig_helper_channel channel = {-1};
    int rc = check_together(&app->values, error);

    rc = rc < 0 ? rc : start_helper(&app->values, &channel, error);
    rc = rc < 0 ? rc : prepare(app, &channel, error);
    return rc < 0 ? rc : app_run(app, error);
}

int main(int argc, char **argv)
{
    struct app app = {.argc = argc, .argv = argv};
    struct mig_error error = {0};
    int rc;

    mig_memory_setup();
    (void)signal(SIGPIPE, SIG_IGN);
    rc = daemon_values_read(argc, argv, &app.values, &error);
    if (rc == 0 && daemon_value_is_true(&app.values, DAEMON_HELP)) {
        daemon_print_help(stdout, app.values.as_mig_manager ? "nvidia-mig-manager" : "migd");
        return 0;
    }
    if (rc == 0 && daemon_value_is_true(&app.values, DAEMON_VERSION)) {
        printf("migd %s\n", MIG_VERSION);
        return 0;
    }
    if (rc == 0) {
        log_setup(log_level_of(app.values.texts[DAEMON_LOG_LEVEL]),
                  log_format_of(app.values.texts[DAEMON_LOG_FORMAT]));
        tell_dead_options(&app.values);
        rc = run(&app, &error);
    }
    if (rc < 0) {
        log_error(LOG_LEVEL_ERROR, "migd", &error, "cannot run");
    }
    app_release(&app);
    return -rc;
}
