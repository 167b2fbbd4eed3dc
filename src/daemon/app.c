/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of the agent: open, run, stop in order.
 *
 * Stopping has two parts. First the roles end what is under way, so that what the labels say is
 * true; then everything is freed and the loop runs empty. A second SIGTERM skips the first part.
 *
 * migd is "ready" (systemd's READY=1, so what is ordered after it may start) when the geometry is
 * settled for the first time: as wanted, or known not to be reachable, or nothing is wanted. It
 * does not keep the boot waiting longer than READY_MS.
 */
#include "daemon/app.h"
#include "base/cleanup.h"
#include "base/memory.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/notify.h"
#include "exporter/own.h"
#include "kube/kubeconfig.h"
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define STOP_MS 25000u
#define RELOAD_MS 10000u
#define READY_MS 120000u
#define READY_LOOK_MS 100u

static const int signal_numbers[] = {SIGTERM, SIGINT, SIGHUP};

/* --- the other roles --- */

/* Every new snapshot comes by here, whoever keeps it. */
static void share_node(const struct mig_node *node, void *data)
{
    struct app *app = data;

    deviceplugin_role_update(app->deviceplugin, node);
    role_metrics_set_node(app->metrics, node);
    role_labels_set_node(app->labels, node);
}

static void gpu_reset(const char *gpu_uuid, void *data)
{
    const struct app *app = data;

    deviceplugin_role_reset(app->deviceplugin, gpu_uuid);
}

static void share_policy(const struct manager_role_policy *policy, void *data)
{
    const struct app *app = data;

    deviceplugin_role_strategy(app->deviceplugin, policy->strategy);
    deviceplugin_role_policy(app->deviceplugin, policy->plugin_map, policy->plugin_default);
    role_labels_set_strategy(app->labels, policy->strategy);
}

static void share_object(const json_t *node, void *data)
{
    const struct app *app = data;

    deviceplugin_role_object(app->deviceplugin, node);
}

static void share_settings(const struct mig_dp_config *config, void *data)
{
    const struct app *app = data;

    role_labels_set_config(app->labels, config);
}

static void withhold(const struct mig_manager_slice *slices, size_t count, void *data)
{
    const struct app *app = data;

    deviceplugin_role_withhold(app->deviceplugin, slices, count);
}

static bool is_changing(void *data)
{
    const struct app *app = data;

    return app->manager && strcmp(manager_role_status(app->manager).state, "pending") == 0;
}

/* Without a cluster there is a kubelet only if somebody says so. */
static bool wants_deviceplugin(const struct app *app)
{
    return daemon_value_has(&app->values, DAEMON_ROLES, "device-plugin") &&
           (app->has_cluster || app->values.sources[DAEMON_ROLES] != DAEMON_FROM_TABLE);
}

static int start_roles(struct app *app, struct mig_error *error)
{
    const struct role_metrics_options metrics = {
        .loop = &app->loop,
        .values = &app->values,
        .helper = app->helper,
        .node_name = app->node_name,
        .counters = app->counters,
    };
    const struct role_labels_options labels = {
        .loop = &app->loop,
        .values = &app->values,
        .kube = app->kube,
        .node_name = app->node_name,
        .counters = app->counters,
        .is_changing = is_changing,
        .data = app,
    };
    const struct deviceplugin_role_options plugin = {
        .loop = &app->loop,
        .values = &app->values,
        .helper = app->helper,
        .kube = app->kube,
        .node_name = app->node_name,
        .has_manager = daemon_value_has(&app->values, DAEMON_ROLES, "manager"),
        .counters = app->counters,
        .settings = share_settings,
        .data = app,
    };
    int rc = 0;

    if (daemon_value_has(&app->values, DAEMON_ROLES, "metrics")) {
        rc = role_metrics_new(&metrics, &app->metrics, error);
    }
    if (rc == 0 && daemon_value_has(&app->values, DAEMON_ROLES, "labels")) {
        rc = role_labels_new(&labels, &app->labels, error);
    }
    if (rc == 0 && wants_deviceplugin(app)) {
        rc = deviceplugin_role_new(&plugin, &app->deviceplugin, error);
    }
    return rc;
}

/* --- the helper's word --- */

static void node_changed(struct mig_node *node, void *data)
{
    struct app *app = data;

    if (app->manager) {
        manager_role_changed(app->manager, node);
    } else {
        share_node(node, app);
        mig_node_free(app->own_node);
        app->own_node = node;
    }
}

static void node_unreadable(const struct mig_error *error, void *data)
{
    struct app *app = data;

    if (app->manager) {
        manager_role_unreadable(app->manager, error);
    }
}

static void helper_said(const char *text, void *data)
{
    (void)data;
    log_write(LOG_LEVEL_INFO, "helper", NULL, 0, "%s", text);
}

static void helper_lost(const struct mig_error *error, void *data)
{
    struct app *app = data;

    log_error(LOG_LEVEL_ERROR, "helper", error, "the helper is replaced");
    mig_counter_add(app->counters, &mig_count_helper_restarts, 1, NULL);
    if (app->manager) {
        manager_role_helper_lost(app->manager);
    }
    deviceplugin_role_helper_lost(app->deviceplugin);
}

static void stop(struct app *app);

static void helper_orphaned(void *data)
{
    log_write(LOG_LEVEL_ERROR, "migd", NULL, 0, "the first process of migd is gone, stopping");
    stop(data);
}

static void mps_told(const struct mig_helper_mps_state *state, void *data)
{
    const struct app *app = data;

    deviceplugin_role_mps(app->deviceplugin, state);
}

static void mps_left(const struct mig_error *error, void *data)
{
    (void)data;
    if (error) {
        log_error(LOG_LEVEL_WARNING, "helper", error, "MPS daemons of another time may run on");
    }
}

/* Without a device plugin nothing is shared; what was is ended. */
static void share_nothing(const struct app *app)
{
    struct mig_error error = {0};

    if (!app->deviceplugin && mig_helper_share(app->helper, NULL, 0, mps_left, NULL, &error) < 0) {
        mps_left(&error, NULL);
    }
}

static void xid_seen(const struct mig_helper_xid *xid, void *data)
{
    const struct app *app = data;

    log_write(LOG_LEVEL_WARNING, "helper", NULL, 0, "%s reports XID %llu", xid->gpu_uuid,
              (unsigned long long)xid->xid);
    role_metrics_xid(app->metrics, xid);
    deviceplugin_role_xid(app->deviceplugin, xid);
}

static void recovery_seen(const struct mig_helper_recovery *recovery, void *data)
{
    const struct app *app = data;

    if (recovery->action != MIG_DP_RECOVERY_NONE) {
        log_write(LOG_LEVEL_WARNING, "helper", NULL, 0, "%s: the driver asks for %s",
                  recovery->gpu_uuid, mig_dp_recovery_name(recovery->action));
    }
    mig_counter_set(app->counters, &mig_count_recovery, recovery->action, recovery->gpu_uuid, NULL);
    deviceplugin_role_recovery(app->deviceplugin, recovery);
}

/* --- the manager --- */

static void manager_stopped(void *data);

static int start_manager(struct app *app, struct mig_error *error)
{
    const struct manager_role_options options = {
        .loop = &app->loop,
        .values = &app->values,
        .helper = app->helper,
        .kube = app->kube,
        .node_name = app->node_name,
        .agent_dir = app->agent_dir,
        .counters = app->counters,
        .withhold = withhold,
        .snapshot = share_node,
        .reset = gpu_reset,
        .policy = share_policy,
        .object = share_object,
        .stopped = manager_stopped,
        .data = app,
    };

    return manager_role_new(&options, &app->manager, error);
}

/* --- stopping --- */

static void close_all(struct app *app)
{
    web_free(app->web);
    app->web = NULL;
    deviceplugin_role_free(app->deviceplugin);
    app->deviceplugin = NULL;
    role_labels_free(app->labels);
    app->labels = NULL;
    share_node(NULL, app);
    manager_role_free(app->manager);
    app->manager = NULL;
    mig_kube_free(app->kube);
    app->kube = NULL;
    mig_helper_free(app->helper);
    app->helper = NULL;
    role_metrics_free(app->metrics);
    app->metrics = NULL;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(app->signals); i++) {
        if (!uv_is_closing((uv_handle_t *)&app->signals[i])) {
            uv_close((uv_handle_t *)&app->signals[i], NULL);
        }
    }
    if (!uv_is_closing((uv_handle_t *)&app->ready_timer)) {
        uv_close((uv_handle_t *)&app->ready_timer, NULL);
    }
}

static void stop(struct app *app)
{
    if (app->stopping || !app->manager) {
        close_all(app);
        return;
    }
    app->stopping = true;
    notify_send("STOPPING=1");
    log_write(LOG_LEVEL_INFO, "migd", NULL, 0, "stopping");
    manager_role_stop(app->manager, STOP_MS);
}

/* --- SIGHUP --- */

static void fresh_node(struct mig_node *node, const struct mig_error *error, void *data)
{
    if (node) {
        node_changed(node, data);
    } else {
        node_unreadable(error, data);
    }
}

/* The role has ended what was under way, and begins again with other options. */
static void restart_manager(struct app *app)
{
    struct daemon_values old = app->values;
    struct mig_error error;

    share_node(NULL, app);
    manager_role_free(app->manager);
    app->manager = NULL;
    app->values = *app->next_values;
    free(app->next_values);
    app->next_values = NULL;
    daemon_values_release(&old);
    deviceplugin_role_reload(app->deviceplugin);
    if (start_manager(app, &error) < 0) {
        log_error(LOG_LEVEL_ERROR, "migd", &error, "cannot go on");
        app->result = MIG_E_CONFIG;
        close_all(app);
        return;
    }
    if (mig_helper_read(app->helper, fresh_node, app, &error) < 0) {
        node_unreadable(&error, app);
    }
    notify_send("READY=1");
}

static void manager_stopped(void *data)
{
    struct app *app = data;

    if (app->stopping) {
        close_all(app);
    } else if (app->next_values) {
        restart_manager(app);
    }
}

/* What the helper or the connection has been made with. */
static bool needs_restart(enum daemon_option_id id)
{
    return daemon_options[id].group == DAEMON_GROUP_HOST || id == DAEMON_KUBECONFIG ||
           id == DAEMON_NODE_NAME || id == DAEMON_POD_NAMESPACE || id == DAEMON_USER ||
           id == DAEMON_LISTEN || id == DAEMON_ROLES || id == DAEMON_PLUGIN_CONFIG_FILE ||
           (id >= DAEMON_PLUGIN_CONFIG_DIR && id <= DAEMON_PLUGIN_REGISTRATION);
}

/* True when the manager has to be made anew. */
static bool compare_values(const struct daemon_values *old, const struct daemon_values *values)
{
    bool differs = false;

    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        if (strcmp(old->texts[id], values->texts[id]) == 0) {
            continue;
        }
        if (needs_restart(id)) {
            log_write(LOG_LEVEL_WARNING, "options", NULL, 0,
                      "--%s is another one now; it counts from the next start of migd",
                      daemon_options[id].name);
        } else {
            differs = differs || (id != DAEMON_LOG_LEVEL && id != DAEMON_LOG_FORMAT);
        }
    }
    return differs;
}

/* Without a manager there is nothing that would have to end first. */
static void take_values(struct app *app, struct daemon_values *values)
{
    struct daemon_values old = app->values;

    app->values = *values;
    free(values);
    daemon_values_release(&old);
    deviceplugin_role_reload(app->deviceplugin);
    notify_send("READY=1");
}

static void reload(struct app *app)
{
    struct daemon_values *values = calloc(1, sizeof(*values));
    struct mig_error error;

    if (!values || app->stopping || app->next_values) {
        free(values);
        return;
    }
    notify_send("RELOADING=1");
    if (daemon_values_read(app->argc, app->argv, values, &error) < 0) {
        log_error(LOG_LEVEL_ERROR, "options", &error, "the old settings stay");
        daemon_values_release(values);
        free(values);
        notify_send("READY=1");
        return;
    }
    log_setup(log_level_of(values->texts[DAEMON_LOG_LEVEL]),
              log_format_of(values->texts[DAEMON_LOG_FORMAT]));
    log_write(LOG_LEVEL_INFO, "migd", NULL, 0, "settings and files are read again");
    if (compare_values(&app->values, values)) {
        if (!app->manager) {
            take_values(app, values);
            return;
        }
        app->next_values = values;
        manager_role_stop(app->manager, RELOAD_MS);
        return;
    }
    daemon_values_release(values);
    free(values);
    if (app->manager) {
        manager_role_reload(app->manager);
    }
    deviceplugin_role_reload(app->deviceplugin);
    notify_send("READY=1");
}

/* --- signals, readiness --- */

static void got_signal(uv_signal_t *handle, int number)
{
    struct app *app = handle->data;

    if (number == SIGHUP) {
        reload(app);
    } else {
        stop(app);
    }
}

/* Without a manager there is no geometry to wait for, but the GPUs have to be known. */
static bool is_settled(const struct app *app)
{
    if (!app->manager) {
        return app->own_node != NULL;
    }
    return manager_role_node(app->manager) && manager_role_status(app->manager).settled;
}

static void ready_timer_fired(uv_timer_t *timer)
{
    struct app *app = timer->data;
    bool late = uv_now(&app->loop) - app->started_ms >= READY_MS;

    if (!app->ready && (is_settled(app) || late)) {
        app->ready = true;
        notify_send("READY=1");
        (void)uv_timer_stop(timer);
        mig_memory_give_back();
        log_write(LOG_LEVEL_INFO, "migd", NULL, 0, "ready%s",
                  late ? ", though the geometry is not settled" : "");
    }
}

/* --- beginning --- */

static void set_node_name(struct app *app)
{
    (void)mig_text_copy(app->node_name, sizeof(app->node_name),
                        app->values.texts[DAEMON_NODE_NAME]);
    if (!app->node_name[0] && gethostname(app->node_name, sizeof(app->node_name) - 1) < 0) {
        (void)mig_text_copy(app->node_name, sizeof(app->node_name), "localhost");
    }
}

static void kube_observed(const char *method, const char *path, int status, unsigned took_ms,
                          void *data)
{
    const struct app *app = data;
    char text[16];

    snprintf(text, sizeof(text), "%d", status);
    mig_counter_add(app->counters, &mig_count_api_requests, 1, method, text, NULL);
    mig_counter_observe(app->counters, &mig_count_api_seconds, took_ms / 1000.0, method, NULL);
    log_write(LOG_LEVEL_DEBUG, "kube", NULL, 0, "%s %s: %d in %u ms", method, path, status,
              took_ms);
}

static bool web_is_ready(void *data)
{
    const struct app *app = data;

    return app->ready && !app->stopping;
}

static bool web_metrics(struct mig_buffer *out, void *data)
{
    const struct app *app = data;

    return role_metrics_write(out, app->metrics);
}

static int start_web(struct app *app, struct mig_error *error)
{
    const struct web_options options = {
        .listen = app->values.texts[DAEMON_LISTEN],
        .is_ready = web_is_ready,
        .metrics = app->metrics ? web_metrics : NULL,
        .data = app,
    };

    return options.listen[0] ? web_start(&app->loop, &options, &app->web, error) : 0;
}

static int start_all(struct app *app, struct mig_error *error)
{
    const struct mig_helper_events events = {
        .changed = node_changed,
        .unreadable = node_unreadable,
        .xid = xid_seen,
        .recovery = recovery_seen,
        .reset = gpu_reset,
        .mps = mps_told,
        .said = helper_said,
        .lost = helper_lost,
        .orphaned = helper_orphaned,
        .data = app,
    };
    const struct mig_kube_options kube = {
        .config = &app->kube_config,
        .user_agent = "migd/" MIG_VERSION,
        /* a change of geometry is some ten requests, and several may follow each other; what is
         * kept from ever getting through is a loop */
        .rate_per_s = 20,
        .burst = 60,
        .observe = kube_observed,
        .data = app,
    };
    int rc;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(app->signals); i++) {
        (void)uv_signal_init(&app->loop, &app->signals[i]);
        app->signals[i].data = app;
        (void)uv_signal_start(&app->signals[i], got_signal, signal_numbers[i]);
    }
    (void)uv_timer_init(&app->loop, &app->ready_timer);
    app->ready_timer.data = app;
    (void)uv_timer_start(&app->ready_timer, ready_timer_fired, 0, READY_LOOK_MS);
    rc = mig_helper_open(&app->loop, &app->channel, &events, &app->helper, error);
    if (rc == 0 && app->has_cluster) {
        rc = mig_kube_new(&app->loop, &kube, &app->kube, error);
    }
    rc = rc < 0 ? rc : start_roles(app, error);
    if (rc == 0) {
        share_nothing(app);
        rc = start_web(app, error);
    }
    if (rc == 0 && daemon_value_has(&app->values, DAEMON_ROLES, "manager")) {
        rc = start_manager(app, error);
    }
    return rc;
}

int app_run(struct app *app, struct mig_error *error)
{
    int rc;

    if (uv_loop_init(&app->loop) < 0) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start");
    }
    app->started_ms = uv_now(&app->loop);
    app->counters = mig_counters_new();
    set_node_name(app);
    log_write(LOG_LEVEL_INFO, "migd", NULL, 0, "migd %s on '%s', %s", MIG_VERSION, app->node_name,
              app->has_cluster ? "in a cluster" : "without a cluster");
    rc = start_all(app, error);
    if (rc < 0) {
        close_all(app);
    }
    (void)uv_run(&app->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&app->loop);
    return rc < 0 ? rc : app->result;
}

void app_release(struct app *app)
{
    daemon_values_release(&app->values);
    if (app->next_values) {
        daemon_values_release(app->next_values);
        free(app->next_values);
    }
    mig_kube_config_release(&app->kube_config);
    free(app->agent_dir);
    mig_node_free(app->own_node);
    mig_counters_free(app->counters);
    notify_close();
}
