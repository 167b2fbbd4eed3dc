/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's loop: event in, actions out, answers back.
 *
 * A step is never made from within another: answers that are there at once (a request that could
 * not be sent, the node object of a machine without a cluster) wait in `later` until the actions of
 * the step have been begun.
 */
#include "daemon/manager_role.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "daemon/log.h"
#include "daemon/manager_internal.h"
#include "daemon/notify.h"
#include "exporter/own.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define STOP_POLL_MS 100u

/* --- tasks --- */

static void task_free(struct task *task)
{
    if (task->link) {
        *task->link = task->next;
        if (task->next) {
            task->next->link = task->link;
        }
        task->role->task_count--;
    }
    mig_kube_cancel(task->call);
    if (task->release) {
        task->release(task);
    }
    free(task);
}

void *task_new(struct manager_role *role, const struct mig_manager_action *action, size_t size,
               void (*release)(struct task *task))
{
    struct task *task = calloc(1, size);

    if (!task) {
        struct role_later later = {.id = action->id, .result = MIG_E_FAILED};

        (void)mig_error_set_errno(&later.error, MIG_E_FAILED, ENOMEM, "could not begin");
        role_answer_later(role, &later);
        return NULL;
    }
    task->role = role;
    task->id = action->id;
    task->kind = action->kind;
    task->release = release;
    task->next = role->tasks;
    task->link = &role->tasks;
    if (task->next) {
        task->next->link = &task->next;
    }
    role->tasks = task;
    role->task_count++;
    return task;
}

/* The role is going: what the helper still answers is for nobody. */
static void forget_tasks(struct manager_role *role)
{
    struct task *next;

    for (struct task *task = role->tasks; task; task = next) {
        next = task->next;
        if (task->helper_answers) {
            task->role = NULL;
            task->link = NULL;
        } else {
            task->link = NULL;
            task_free(task);
        }
    }
    role->tasks = NULL;
    role->task_count = 0;
}

/* With the line at its beginning: what was under way, should this process end here. */
static void log_end(const struct task *task)
{
    log_write(LOG_LEVEL_DEBUG, "manager", NULL, 0, "end %s", mig_manager_action_name(task->kind));
}

void task_answer(struct task *task, struct mig_manager_event *event, struct mig_node *node)
{
    struct manager_role *role = task->role;

    log_end(task);
    event->kind = MIG_MANAGER_ANSWER;
    event->id = task->id;
    if (!role) {
        mig_node_free(node);
        task_free(task);
        return;
    }
    role_feed_with_node(role, event, node);
    task_free(task);
}

void task_result(struct task *task, int result, int status, const struct mig_error *error)
{
    struct mig_manager_event event = {.result = result, .status = status, .error = error};

    task_answer(task, &event, NULL);
}

void role_answer_later(struct manager_role *role, const struct role_later *later)
{
    if (later->id && role->later_count < ROLE_LATER_MAX) {
        role->later[role->later_count++] = *later;
    }
}

void task_answer_later(struct task *task, int result, int status, const struct mig_error *error)
{
    struct role_later later = {.id = task->id, .result = result, .status = status};

    log_end(task);
    if (error) {
        later.error = *error;
    }
    role_answer_later(task->role, &later);
    task_free(task);
}

/* --- what is said --- */

static void log_action(const struct mig_manager_action *action)
{
    enum log_level level =
        action->level == MIG_MANAGER_WARNING ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO;
    const struct log_field field = {"reason", action->reason ? action->reason : ""};

    log_write(level, "manager", &field, action->reason && action->reason[0] ? 1 : 0, "%s",
              action->text);
}

/* The log, systemd and manager.json, when there is something new to say. */
static void tell_status(struct manager_role *role)
{
    struct mig_manager_status status;
    struct record_status record;
    struct mig_error error;
    char line[MIG_MANAGER_MESSAGE_SIZE + 64];
    bool same_state;

    mig_manager_status(role->machine, &status);
    role->settled = status.settled;
    same_state = strcmp(role->state, status.state) == 0;
    if (role->since_s && same_state && strcmp(role->message, status.message) == 0 &&
        strcmp(role->wanted, status.wanted) == 0 && role->failure_count == status.failure_count &&
        role->clients_paused == status.clients_paused) {
        return;
    }
    if (!same_state || !role->since_s) {
        role->since_s = (int64_t)time(NULL);
        if (strcmp(role->state, "pending") == 0) {
            mig_counter_observe(role->options.counters, &mig_count_reconcile,
                                (double)(uv_now(role->options.loop) - role->state_ms) / 1000.0,
                                status.state, NULL);
        }
        role->state_ms = uv_now(role->options.loop);
        log_write(LOG_LEVEL_DEBUG, "manager", NULL, 0, "state %s",
                  status.state[0] ? status.state : "none");
    }
    (void)mig_text_copy(role->wanted, sizeof(role->wanted), status.wanted);
    (void)mig_text_copy(role->state, sizeof(role->state), status.state);
    (void)mig_text_copy(role->message, sizeof(role->message), status.message);
    role->failure_count = status.failure_count;
    role->clients_paused = status.clients_paused;
    record = (struct record_status){.status = status, .since_s = role->since_s};
    if (record_write_status(role->options.agent_dir, &record, &error) < 0) {
        log_error(LOG_LEVEL_WARNING, "manager", &error, "status is not kept");
    }
    snprintf(line, sizeof(line), "STATUS=%s%s%s", status.state, status.message[0] ? ": " : "",
             status.message);
    notify_send(line);
}

/* --- actions --- */

/* While migd stops, what would change the machine anew is left for the next migd. */
static bool begins_change(const struct mig_manager_action *action)
{
    enum mig_manager_action_kind kind = action->kind;

    return kind == MIG_MANAGER_APPLY || kind == MIG_MANAGER_EVICT || kind == MIG_MANAGER_REBOOT ||
           kind == MIG_MANAGER_STOP_SERVICES ||
           /* the others are told of a change that was made, and the next migd would not do it */
           (kind == MIG_MANAGER_DELETE_PODS && action->pods == MIG_MANAGER_PODS_VALIDATORS);
}

static void begin(struct manager_role *role, const struct mig_manager_action *action)
{
    if (role->stopping && begins_change(action)) {
        return;
    }
    if (action->kind != MIG_MANAGER_LOG) {
        log_write(LOG_LEVEL_DEBUG, "manager", NULL, 0, "begin %s",
                  mig_manager_action_name(action->kind));
    }
    switch (action->kind) {
    case MIG_MANAGER_LOG:
        log_action(action);
        break;
    case MIG_MANAGER_EVENT:
        cluster_event(role, action);
        break;
    case MIG_MANAGER_WITHHOLD:
        if (role->options.withhold) {
            role->options.withhold(action->slices, action->slice_count, role->options.data);
        }
        break;
    case MIG_MANAGER_SAVE_RECORD:
        host_save_record(role, action);
        break;
    case MIG_MANAGER_PUBLISH_CONFIG:
        cluster_publish(role, action);
        break;
    case MIG_MANAGER_PATCH:
        cluster_patch(role, action);
        break;
    case MIG_MANAGER_REMOVE_TAINT:
        cluster_remove_taint(role, action);
        break;
    case MIG_MANAGER_EVICT:
        cluster_evict(role, action);
        break;
    case MIG_MANAGER_LIST_CLIENT_PODS:
        cluster_list_client_pods(role, action);
        break;
    case MIG_MANAGER_DELETE_PODS:
        cluster_delete_pods(role, action);
        break;
    case MIG_MANAGER_READ_HOLDERS:
        host_read_holders(role, action);
        break;
    case MIG_MANAGER_READ_NODE:
        host_read_node(role, action);
        break;
    case MIG_MANAGER_APPLY:
        host_apply(role, action);
        break;
    case MIG_MANAGER_STOP_SERVICES:
    case MIG_MANAGER_START_SERVICES:
        host_services(role, action);
        break;
    case MIG_MANAGER_REFRESH_CDI:
        host_refresh_cdi(role, action);
        break;
    case MIG_MANAGER_REBOOT:
        host_reboot(role, action);
        break;
    default:
        break;
    }
}

static void timer_fired(uv_timer_t *timer);

static void set_timer(struct manager_role *role)
{
    uint64_t now_ms = mig_now_ms(), wake_ms = role->actions.wake_ms;

    if (role->stopping) {
        return;
    }
    if (wake_ms == MIG_MANAGER_NEVER) {
        (void)uv_timer_stop(&role->timer);
        return;
    }
    uv_update_time(role->options.loop);
    (void)uv_timer_start(&role->timer, timer_fired, wake_ms > now_ms ? wake_ms - now_ms : 0, 0);
}

static void step(struct manager_role *role, const struct mig_manager_event *event)
{
    mig_manager_step(role->machine, event, mig_now_ms(), &role->actions);
    for (size_t i = 0; i < role->actions.count; i++) {
        begin(role, &role->actions.list[i]);
    }
}

/* The answers that waited; each may leave others. */
static void answer_later(struct manager_role *role)
{
    for (unsigned round = 0; role->later_count && round < ROLE_LATER_MAX; round++) {
        struct role_later later = role->later[0];
        struct mig_manager_object object;
        const struct mig_manager_holders nobody = {0};
        struct mig_manager_event event = {
            .kind = MIG_MANAGER_ANSWER,
            .id = later.id,
            .result = later.result,
            .status = later.status,
            .error = later.result < 0 ? &later.error : NULL,
        };

        role->later_count--;
        memmove(role->later, role->later + 1, role->later_count * sizeof(role->later[0]));
        if (later.with_object) {
            object = local_node_object(&role->local);
            event.object = &object;
        }
        if (later.with_holders) {
            event.holders = &nobody;
        }
        step(role, &event);
    }
}

void role_feed(struct manager_role *role, const struct mig_manager_event *event)
{
    if (role->stepping || role->freed) {
        return; /* cannot be: nothing calls back from within what it begins */
    }
    role->stepping = true;
    step(role, event);
    answer_later(role);
    role->stepping = false;
    set_timer(role);
    tell_status(role);
}

void role_feed_with_node(struct manager_role *role, struct mig_manager_event *event,
                         struct mig_node *node)
{
    struct mig_node *old = role->node;

    event->node = node;
    role_feed(role, event);
    if (node) {
        role->node = node;
        if (role->options.snapshot) {
            role->options.snapshot(node, role->options.data);
        }
        mig_node_free(old);
    }
}

static void stop_poll(struct manager_role *role)
{
    if (role->told_stopped) {
        return;
    }
    if (role->task_count == 0 || mig_now_ms() >= role->stop_at_ms) {
        role->told_stopped = true;
        (void)uv_timer_stop(&role->timer);
        if (role->task_count) {
            log_write(LOG_LEVEL_WARNING, "manager", NULL, 0,
                      "%zu requests are still under way; the next start goes on from there",
                      role->task_count);
        }
        role->options.stopped(role->options.data);
    }
}

static void timer_fired(uv_timer_t *timer)
{
    struct manager_role *role = timer->data;
    const struct mig_manager_event event = {.kind = MIG_MANAGER_TIME};

    if (role->stopping) {
        stop_poll(role);
    } else {
        role_feed(role, &event);
    }
}

/* --- outside --- */

void manager_role_changed(struct manager_role *role, struct mig_node *node)
{
    const struct mig_manager_event back = {.kind = MIG_MANAGER_HELPER_BACK};
    struct mig_manager_event event = {.kind = MIG_MANAGER_SNAPSHOT};

    if (role->helper_lost) {
        role->helper_lost = false;
        role_feed(role, &back);
    }
    role_feed_with_node(role, &event, node);
}

void manager_role_unreadable(struct manager_role *role, const struct mig_error *error)
{
    const struct mig_manager_event back = {.kind = MIG_MANAGER_HELPER_BACK};
    const struct mig_manager_event event = {.kind = MIG_MANAGER_UNREADABLE, .error = error};

    log_error(LOG_LEVEL_WARNING, "helper", error, "the GPUs cannot be read");
    if (role->helper_lost) { /* it is back, only the driver is not */
        role->helper_lost = false;
        role_feed(role, &back);
    }
    role_feed(role, &event);
}

void manager_role_helper_lost(struct manager_role *role)
{
    const struct mig_manager_event event = {.kind = MIG_MANAGER_HELPER_LOST};

    role->helper_lost = true;
    role_feed(role, &event);
}

const struct mig_node *manager_role_node(const struct manager_role *role)
{
    return role->node;
}

void manager_role_reload(struct manager_role *role)
{
    if (role->config_file) {
        file_watch_again(role->config_file);
    }
    if (role->default_file) {
        file_watch_again(role->default_file);
    }
}

struct mig_manager_status manager_role_status(const struct manager_role *role)
{
    return (struct mig_manager_status){
        .wanted = role->wanted,
        .state = role->state,
        .message = role->message,
        .failure_count = role->failure_count,
        .clients_paused = role->clients_paused,
        .settled = role->settled,
    };
}

void manager_role_stop(struct manager_role *role, unsigned timeout_ms)
{
    role->stopping = true;
    role->stop_at_ms = mig_now_ms() + timeout_ms;
    inputs_stop(role);
    (void)uv_timer_start(&role->timer, timer_fired, 0, STOP_POLL_MS);
}

/* --- beginning and end --- */

static struct mig_manager_options machine_options(const struct manager_role *role)
{
    const struct daemon_values *values = role->options.values;
    const char *on_busy = values->texts[DAEMON_ON_BUSY];
    bool cluster = role->options.kube != NULL;

    return (struct mig_manager_options){
        .node_name = role->options.node_name,
        .boot_id = role->boot_id,
        .seed = mig_now_us(),
        .has_config_file = values->texts[DAEMON_CONFIG_FILE][0] != '\0',
        .has_default_file = values->texts[DAEMON_DEFAULT_CONFIG_FILE][0] != '\0',
        .has_cluster_policy = cluster && values->texts[DAEMON_CLUSTER_POLICY][0] == 'y',
        .mode_only = daemon_value_is_true(values, DAEMON_MODE_ONLY),
        .on_busy = strcmp(on_busy, "evict") == 0  ? MIG_MANAGER_BUSY_EVICT
                   : strcmp(on_busy, "wait") == 0 ? MIG_MANAGER_BUSY_WAIT
                                                  : MIG_MANAGER_BUSY_KEEP,
        .busy_timeout_ms = (unsigned)daemon_value_ms(values, DAEMON_ON_BUSY_TIMEOUT),
        .repair_drift = daemon_value_is_true(values, DAEMON_REPAIR_DRIFT),
        .skip_reset = daemon_value_is_true(values, DAEMON_SKIP_RESET),
        .with_reboot = daemon_value_is_true(values, DAEMON_WITH_REBOOT),
        .cdi_enabled = daemon_value_is_true(values, DAEMON_CDI_ENABLED),
        .restart_plugin = cluster && !daemon_value_has(values, DAEMON_ROLES, "device-plugin"),
        .stop_services = daemon_value_is_true(values, DAEMON_SHUTDOWN_HOST_CLIENTS),
        .services = (const char *const *)role->clients.services,
    };
}

static void read_boot_id(struct manager_role *role)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size;

    if (mig_file_read(BOOT_ID, 4096, &text, &size, NULL) == 0) {
        text[strcspn(text, "\n")] = '\0';
        (void)mig_text_copy(role->boot_id, sizeof(role->boot_id), text);
    }
}

static void start_machine(struct manager_role *role)
{
    struct mig_manager_event event = {.kind = MIG_MANAGER_START};
    struct record record;
    struct mig_error error;

    if (record_read(role->options.agent_dir, &record, &error) < 0) {
        log_error(LOG_LEVEL_WARNING, "manager", &error, "nothing is known of the last run");
    }
    if (record.document) {
        event.record = &record.record;
    }
    role_feed(role, &event);
    record_release(&record);
}

int manager_role_new(const struct manager_role_options *options, struct manager_role **ret,
                     struct mig_error *error)
{
    const char *clients = options->values->texts[DAEMON_GPU_CLIENTS_FILE];
    struct manager_role *role = calloc(1, sizeof(*role));
    struct mig_manager_options machine;
    int rc = 0;

    if (!role) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start the manager");
    }
    role->options = *options;
    (void)uv_timer_init(options->loop, &role->timer);
    (void)uv_timer_init(options->loop, &role->policy_timer);
    role->timer.data = role->policy_timer.data = role;
    role->open_handles = 2;
    read_boot_id(role);
    if (clients[0]) {
        rc = mig_clients_file_load(clients, &role->clients, error);
    }
    if (rc == 0) {
        machine = machine_options(role);
        rc = mig_manager_new(&machine, &role->machine, error);
    }
    if (rc == 0) {
        start_machine(role);
        rc = inputs_start(role, error);
    }
    if (rc < 0) {
        manager_role_free(role);
        return rc;
    }
    *ret = role;
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct manager_role *role = handle->data;

    role->open_handles--;
    if (role->open_handles == 0) {
        free(role);
    }
}

void manager_role_free(struct manager_role *role)
{
    if (!role) {
        return;
    }
    role->freed = true;
    inputs_stop(role);
    cluster_release(role);
    forget_tasks(role);
    mig_manager_free(role->machine);
    mig_node_free(role->node);
    mig_clients_file_release(&role->clients);
    local_node_release(&role->local);
    uv_close((uv_handle_t *)&role->timer, handle_closed);
    uv_close((uv_handle_t *)&role->policy_timer, handle_closed);
}
