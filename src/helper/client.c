/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's end. One request is on its way at a time, the others wait here, so what is sent
 * always has room in the socket and nothing here ever blocks. The clock of a request runs while it
 * is on its way; when it ends the helper is given up: the supervisor is asked to replace it, and
 * whatever the old one may still say is not listened to.
 *
 * Callbacks may make new requests, and may free the client: memory is released when the loop has
 * closed the handles, never before the callback returns.
 */
#include "base/file.h"
#include "base/text.h"
#include "helper/channel.h"
#include "helper/host.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <uv.h>

#define READ_MS 180000u /* some hundred NVML calls, each with its own deadline */
#define APPLY_MS 600000u
#define RESTORE_MS 600000u
#define SAVE_MS 180000u
#define HOST_MS 30000u
#define HOST_GRACE_MS 10000u /* of a host operation beyond its own limit */
#define SOCKET_MS 10000u
#define NO_HELPER_MS 120000u /* how long requests wait for a helper to be there */
#define MESSAGES_MAX 32      /* taken in one turn of the loop */

typedef void read_done(struct mig_node *node, const struct mig_error *error, void *data);
typedef void sample_done(struct mig_sample *sample, const struct mig_error *error, void *data);
typedef void apply_done(int result, const struct mig_apply_report *report, struct mig_node *node,
                        const struct mig_error *error, void *data);
typedef void restore_done(int result, const struct mig_apply_report *report, struct mig_node *node,
                          const char *config_name, const struct mig_error *error, void *data);
typedef void host_done(bool changed, const struct mig_error *error, void *data);
typedef void socket_done(int fd, const struct mig_error *error, void *data);

/* A request, from the call until its `done`. */
struct request {
    struct request *next;
    struct mig_message *message;
    unsigned timeout_ms;
    union {
        read_done *read;
        sample_done *sample;
        apply_done *apply;
        restore_done *restore;
        mig_helper_done *save;
        host_done *host;
        socket_done *socket;
    } done;
    void (*progress)(const struct mig_apply_progress *progress, void *data);
    void *data;
};

/* One socket on the loop: to the supervisor, or to one helper. */
struct connection {
    uv_poll_t poll;
    struct mig_helper *helper;
    int fd;
    struct mig_receiver receiver;
};

struct mig_helper {
    uv_loop_t *loop;
    struct mig_helper_events events;
    struct connection *supervisor; /* NULL = it is gone */
    struct connection *connection; /* NULL = no helper */
    bool broken;                   /* the connection is of no use; told from the loop */
    uv_timer_t timer;
    unsigned open_count; /* handles that are not closed yet */
    bool closing;
    struct request *first; /* the one on its way, if `sent` */
    bool sent;
    uint32_t number; /* of the last request */
    uint64_t generation;
    struct mig_helper_status status;
};

static void work(struct mig_helper *helper);

/* ---- the end of a request ---- */

static void finish(struct request *request, struct mig_message *answer,
                   const struct mig_error *error)
{
    static const struct mig_apply_report nothing;
    struct mig_wire_answer *got = answer ? &answer->answer : NULL;
    struct mig_node *node = got ? MIG_TAKE(got->node) : NULL;
    const struct mig_apply_report *report = got ? &got->report : &nothing;
    int result = got ? got->result : MIG_E_FAILED;

    switch ((int)request->message->type) {
    case MIG_MESSAGE_READ:
        request->done.read(node, error, request->data);
        break;
    case MIG_MESSAGE_SAMPLE:
        mig_node_free(node);
        request->done.sample(got ? MIG_TAKE(got->sample) : NULL, error, request->data);
        break;
    case MIG_MESSAGE_APPLY:
        request->done.apply(result, report, node, error, request->data);
        break;
    case MIG_MESSAGE_RESTORE:
        request->done.restore(result, report, node, got ? got->config_name : "", error,
                              request->data);
        break;
    case MIG_MESSAGE_SAVE:
    case MIG_MESSAGE_CDI:
    case MIG_MESSAGE_MPS:
        mig_node_free(node);
        request->done.save(error, request->data);
        break;
    case MIG_MESSAGE_HOST:
        mig_node_free(node);
        request->done.host(got && got->changed, error, request->data);
        break;
    default:
        mig_node_free(node);
        request->done.socket(got ? MIG_TAKE_FD(answer->fd) : -1, error, request->data);
        break;
    }
    mig_message_free(request->message);
    free(request);
}

static struct request *take_first(struct mig_helper *helper)
{
    struct request *request = helper->first;

    helper->first = request->next;
    helper->sent = false;
    helper->status.waiting_count--;
    return request;
}

/* An answer without what it has to have. */
static bool lacks_something(enum mig_message_type type, const struct mig_message *answer)
{
    if (answer->answer.result != MIG_OK) {
        return false;
    }
    return (type == MIG_MESSAGE_READ && !answer->answer.node) ||
           (type == MIG_MESSAGE_SAMPLE && !answer->answer.sample) ||
           (type == MIG_MESSAGE_SOCKET && answer->fd < 0);
}

/* ---- losing the helper ---- */

static void closed_one(struct mig_helper *helper)
{
    helper->open_count--;
    if (helper->closing && helper->open_count == 0) {
        free(helper);
    }
}

static void on_connection_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    struct mig_helper *helper = connection->helper;

    free(connection);
    closed_one(helper);
}

static void disconnect(struct connection *connection)
{
    if (connection) {
        (void)uv_poll_stop(&connection->poll);
        uv_close((uv_handle_t *)&connection->poll, on_connection_closed);
        close(MIG_TAKE_FD(connection->fd));
        mig_receiver_release(&connection->receiver);
    }
}

/* Takes the descriptor over, also on failure. */
static struct connection *connect_to(struct mig_helper *helper, int fd, uint32_t body_max,
                                     uv_poll_cb on_readable)
{
    struct connection *connection = calloc(1, sizeof(*connection));

    if (!connection || uv_poll_init(helper->loop, &connection->poll, fd) != 0) {
        free(connection);
        close(fd);
        return NULL;
    }
    helper->open_count++;
    connection->helper = helper;
    connection->fd = fd;
    connection->poll.data = connection;
    mig_receiver_init(&connection->receiver, body_max);
    (void)uv_poll_start(&connection->poll, UV_READABLE, on_readable);
    return connection;
}

static void ask_for_another(struct mig_helper *helper)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_REPLACE, 0);

    if (message && helper->supervisor) {
        message->process.pid = (uint32_t)helper->status.pid;
        (void)mig_channel_send(helper->supervisor->fd, message, 0, NULL);
    }
}

static void lose(struct mig_helper *helper, const struct mig_error *error)
{
    struct request *request = helper->first && helper->sent ? take_first(helper) : NULL;

    ask_for_another(helper);
    disconnect(MIG_TAKE(helper->connection));
    helper->broken = false;
    helper->status.pid = 0;
    (void)uv_timer_stop(&helper->timer);
    if (helper->events.lost) {
        helper->events.lost(error, helper->events.data);
    }
    if (request) {
        finish(request, NULL, error);
    }
    if (!helper->closing) {
        work(helper);
    }
}

static void lose_ended(struct mig_helper *helper)
{
    struct mig_error error = {0};

    mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                  "the privileged process (pid %d) ended%s%s", (int)helper->status.pid,
                  helper->sent ? " while it was asked for: " : "",
                  helper->sent ? mig_message_name(helper->first->message->type) : "");
    lose(helper, &error);
}

/* ---- time ---- */

static void on_time(uv_timer_t *timer)
{
    struct mig_helper *helper = timer->data;
    struct mig_error error = {0};

    if (helper->broken) {
        lose_ended(helper);
    } else if (helper->sent) {
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "the privileged process (pid %d) did not answer '%s' within %u ms",
                      (int)helper->status.pid, mig_message_name(helper->first->message->type),
                      helper->first->timeout_ms);
        mig_error_hint(&error, MIG_E_FAILED,
                       "a call into the driver may hang: see the kernel log; it is replaced");
        lose(helper, &error);
    } else if (helper->first) {
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "there has been no privileged process for %u ms", NO_HELPER_MS);
        finish(take_first(helper), NULL, &error);
        if (!helper->closing) {
            work(helper);
        }
    }
}

static void set_time(struct mig_helper *helper, uint64_t wait_ms)
{
    (void)uv_timer_start(&helper->timer, on_time, wait_ms, 0);
}

/* Sends the next request if that can be. */
static void work(struct mig_helper *helper)
{
    struct request *request = helper->first;

    if (helper->broken || helper->sent) {
        return;
    }
    if (!request) {
        (void)uv_timer_stop(&helper->timer);
        return;
    }
    if (!helper->connection) {
        if (!uv_is_active((const uv_handle_t *)&helper->timer)) {
            set_time(helper, NO_HELPER_MS);
        }
        return;
    }
    helper->sent = true;
    /* there is room: nothing else is on its way */
    if (mig_channel_send(helper->connection->fd, request->message, 0, NULL) < 0) {
        helper->broken = true; /* told from the loop */
        set_time(helper, 0);
    } else {
        set_time(helper, request->timeout_ms);
    }
}

/* ---- messages of the helper ---- */

static void number_node(struct mig_helper *helper, struct mig_node *node)
{
    if (node) {
        node->generation = ++helper->generation;
    }
}

static int take_answer(struct mig_helper *helper, struct mig_message *answer)
{
    struct request *request;

    if (!helper->sent || helper->first->message->request != answer->request ||
        lacks_something(helper->first->message->type, answer)) {
        return -EPROTO;
    }
    request = take_first(helper);
    (void)uv_timer_stop(&helper->timer);
    number_node(helper, answer->answer.node);
    finish(request, answer, answer->answer.result == MIG_OK ? NULL : &answer->answer.error);
    if (!helper->closing) {
        work(helper);
    }
    return 0;
}

static int take_progress(struct mig_helper *helper, const struct mig_message *message)
{
    struct mig_apply_progress progress = {.stage = message->progress.stage,
                                          .gpu = message->progress.gpu,
                                          .step = message->progress.step,
                                          .step_count = message->progress.step_count,
                                          .text = message->progress.text};

    if (!helper->sent || helper->first->message->request != message->request) {
        return -EPROTO;
    }
    if (helper->first->progress) {
        helper->first->progress(&progress, helper->first->data);
    }
    return 0;
}

static void say(const struct mig_helper *helper, const char *text)
{
    if (helper->events.said) {
        helper->events.said(text, helper->events.data);
    }
}

static void take_changed(struct mig_helper *helper, struct mig_message *message)
{
    struct mig_node *node = MIG_TAKE(message->node);

    number_node(helper, node);
    if (helper->events.changed) {
        helper->events.changed(node, helper->events.data);
    } else {
        mig_node_free(node);
    }
}

static int take_message(struct mig_helper *helper, struct mig_message *message)
{
    helper->status.message_count++;
    switch ((int)message->type) {
    case MIG_MESSAGE_ANSWER:
        return take_answer(helper, message);
    case MIG_MESSAGE_PROGRESS:
        return take_progress(helper, message);
    case MIG_MESSAGE_HELLO:
        helper->status.network_isolated = message->hello.isolated;
        return 0;
    case MIG_MESSAGE_CHANGED:
        take_changed(helper, message);
        return 0;
    case MIG_MESSAGE_UNREADABLE:
        if (helper->events.unreadable) {
            helper->events.unreadable(&message->error, helper->events.data);
        }
        return 0;
    case MIG_MESSAGE_XID:
        if (helper->events.xid) {
            helper->events.xid(&message->xid, helper->events.data);
        }
        return 0;
    case MIG_MESSAGE_RECOVERY:
        if (helper->events.recovery) {
            helper->events.recovery(&message->recovery, helper->events.data);
        }
        return 0;
    case MIG_MESSAGE_RESET:
        if (helper->events.reset) {
            helper->events.reset(message->text, helper->events.data);
        }
        return 0;
    case MIG_MESSAGE_MPS_STATE:
        if (helper->events.mps) {
            helper->events.mps(&message->mps_state, helper->events.data);
        }
        return 0;
    case MIG_MESSAGE_SAID:
        say(helper, message->text);
        return 0;
    default:
        return -EPROTO;
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct connection *connection = poll->data;
    struct mig_helper *helper = connection->helper;

    (void)status;
    (void)events;
    for (unsigned i = 0; i < MESSAGES_MAX && helper->connection == connection; i++) {
        MIG_AUTO_MESSAGE struct mig_message *message = NULL;
        struct mig_error error = {0};
        int rc = mig_receiver_read(&connection->receiver, connection->fd, &message, &error);

        if (rc == 0) {
            return;
        }
        if (rc == 1 && take_message(helper, message) == 0) {
            continue;
        }
        if (rc < 0 && error.code == EPIPE) {
            lose_ended(helper);
            return;
        }
        if (rc == 1) {
            mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                          "the privileged process said '%s' when nobody expected it",
                          mig_message_name(message->type));
        }
        lose(helper, &error);
        return;
    }
}

/* ---- messages of the supervisor ---- */

static void take_helper(struct mig_helper *helper, struct mig_message *message)
{
    char text[64];

    if (helper->connection) {
        lose_ended(helper);
    }
    if (helper->closing) {
        return;
    }
    helper->status.pid = (pid_t)message->process.pid;
    helper->status.start_count++;
    (void)uv_timer_stop(&helper->timer);
    helper->connection =
        connect_to(helper, MIG_TAKE_FD(message->fd), MIG_MESSAGE_BODY_MAX, on_readable);
    (void)snprintf(text, sizeof(text), "the privileged process runs (pid %d)",
                   (int)helper->status.pid);
    say(helper, text);
    if (!helper->closing) {
        work(helper);
    }
}

static void tell_end(const struct mig_helper *helper, const struct mig_message *message)
{
    char text[96];
    int status = message->process.status;

    (void)snprintf(text, sizeof(text), "the privileged process (pid %u) %s %d",
                   message->process.pid,
                   WIFEXITED(status) ? "ended with status" : "was ended by signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    say(helper, text);
}

static void lose_supervisor(struct mig_helper *helper)
{
    disconnect(MIG_TAKE(helper->supervisor));
    if (helper->connection) {
        lose_ended(helper);
    }
    if (!helper->closing && helper->events.orphaned) {
        helper->events.orphaned(helper->events.data);
    }
}

static void on_supervisor_readable(uv_poll_t *poll, int status, int events)
{
    struct connection *connection = poll->data;
    struct mig_helper *helper = connection->helper;

    (void)status;
    (void)events;
    while (helper->supervisor == connection) {
        MIG_AUTO_MESSAGE struct mig_message *message = NULL;
        int rc = mig_receiver_read(&connection->receiver, connection->fd, &message, NULL);

        if (rc == 0) {
            return;
        }
        if (rc == 1 && message->type == MIG_MESSAGE_STARTED) {
            take_helper(helper, message);
        } else if (rc == 1 && message->type == MIG_MESSAGE_ENDED) {
            tell_end(helper, message);
        } else if (rc == 1 && message->type == MIG_MESSAGE_SAID) {
            say(helper, message->text);
        } else {
            lose_supervisor(helper);
        }
    }
}

/* ---- opening and closing ---- */

int mig_helper_open(uv_loop_t *loop, struct mig_helper_channel *channel,
                    const struct mig_helper_events *events, struct mig_helper **ret,
                    struct mig_error *error)
{
    struct mig_helper *helper = calloc(1, sizeof(*helper));

    if (!helper || uv_timer_init(loop, &helper->timer) != 0) {
        free(helper);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not listen to the privileged process");
    }
    helper->loop = loop;
    helper->events = *events;
    helper->timer.data = helper;
    helper->open_count = 1;
    helper->supervisor = connect_to(helper, MIG_TAKE_FD(channel->fd), MIG_CHANNEL_REQUEST_MAX,
                                    on_supervisor_readable);
    if (!helper->supervisor) {
        mig_helper_free(helper);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not listen to the privileged process");
    }
    *ret = helper;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    closed_one(handle->data);
}

void mig_helper_free(struct mig_helper *helper)
{
    struct mig_error error = {0};

    if (!helper || helper->closing) {
        return;
    }
    helper->closing = true;
    mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                  "migd ends its connection to the privileged process");
    disconnect(MIG_TAKE(helper->connection));
    disconnect(MIG_TAKE(helper->supervisor));
    uv_close((uv_handle_t *)&helper->timer, on_timer_closed);
    while (helper->first) {
        finish(take_first(helper), NULL, &error);
    }
}

void mig_helper_get_status(const struct mig_helper *helper, struct mig_helper_status *ret)
{
    *ret = helper->status;
}

/* ---- requests ---- */

static int refuse(struct mig_error *error, const char *what, const char *why)
{
    return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                         "could not ask the privileged process for '%s': %s", what, why);
}

/* A request with its message; NULL with an error. */
static struct request *new_request(struct mig_helper *helper, enum mig_message_type type,
                                   unsigned timeout_ms, void *data, struct mig_error *error)
{
    struct request *request;

    if (helper->closing || !helper->supervisor) {
        (void)refuse(error, mig_message_name(type), "the connection is closed");
        return NULL;
    }
    if (helper->status.waiting_count >= MIG_HELPER_QUEUE_MAX) {
        (void)refuse(error, mig_message_name(type), "too many requests wait already");
        return NULL;
    }
    request = calloc(1, sizeof(*request));
    if (!request || !(request->message = mig_message_new(type, ++helper->number))) {
        free(request);
        (void)refuse(error, mig_message_name(type), "out of memory");
        return NULL;
    }
    request->timeout_ms = timeout_ms;
    request->data = data;
    return request;
}

static int enter(struct mig_helper *helper, struct request *request)
{
    struct request **end = &helper->first;

    while (*end) {
        end = &(*end)->next;
    }
    *end = request;
    helper->status.waiting_count++;
    work(helper);
    return 0;
}

int mig_helper_read(struct mig_helper *helper,
                    void (*done)(struct mig_node *node, const struct mig_error *error, void *data),
                    void *data, struct mig_error *error)
{
    struct request *request = new_request(helper, MIG_MESSAGE_READ, READ_MS, data, error);

    if (!request) {
        return MIG_E_FAILED;
    }
    request->done.read = done;
    return enter(helper, request);
}

int mig_helper_sample(struct mig_helper *helper,
                      void (*done)(struct mig_sample *sample, const struct mig_error *error,
                                   void *data),
                      void *data, struct mig_error *error)
{
    struct request *request = new_request(helper, MIG_MESSAGE_SAMPLE, READ_MS, data, error);

    if (!request) {
        return MIG_E_FAILED;
    }
    request->done.sample = done;
    return enter(helper, request);
}

int mig_helper_apply(struct mig_helper *helper, const struct mig_helper_apply *apply,
                     struct mig_error *error)
{
    struct request *request =
        new_request(helper, MIG_MESSAGE_APPLY, apply->timeout_ms > 0 ? apply->timeout_ms : APPLY_MS,
                    apply->data, error);
    struct mig_wire_apply *wire;
    int rc;

    if (!request) {
        return MIG_E_FAILED;
    }
    wire = &request->message->apply;
    rc = mig_wire_apply_make(apply->node, apply->goal, apply->policies, wire, error);
    if (rc < 0) {
        mig_message_free(request->message);
        free(request);
        return rc;
    }
    wire->skip_reset = apply->skip_reset;
    wire->lock_timeout_ms = apply->lock_timeout_ms;
    wire->busy_timeout_ms = apply->busy_timeout_ms;
    request->progress = apply->progress;
    request->done.apply = apply->done;
    return enter(helper, request);
}

int mig_helper_save(struct mig_helper *helper, const char *config_name, mig_helper_done *done,
                    void *data, struct mig_error *error)
{
    struct request *request;

    if (strlen(config_name) > MIG_HELPER_NAME_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "the name of the config is too long");
    }
    request = new_request(helper, MIG_MESSAGE_SAVE, SAVE_MS, data, error);
    if (!request) {
        return MIG_E_FAILED;
    }
    (void)mig_text_copy(request->message->text, sizeof(request->message->text), config_name);
    request->done.save = done;
    return enter(helper, request);
}

int mig_helper_restore(struct mig_helper *helper,
                       void (*done)(int result, const struct mig_apply_report *report,
                                    struct mig_node *node, const char *config_name,
                                    const struct mig_error *error, void *data),
                       void *data, struct mig_error *error)
{
    struct request *request = new_request(helper, MIG_MESSAGE_RESTORE, RESTORE_MS, data, error);

    if (!request) {
        return MIG_E_FAILED;
    }
    request->done.restore = done;
    return enter(helper, request);
}

/* The rules of each name, held here so that nothing else is ever sent. */
static bool is_fit(enum mig_helper_host what, const char *name)
{
    bool needs_name = what == MIG_HELPER_UNIT_STOP || what == MIG_HELPER_UNIT_START ||
                      what == MIG_HELPER_STATE_FILE;

    return needs_name ? mig_host_is_name(name) && strlen(name) <= MIG_HELPER_NAME_MAX
                      : name[0] == '\0';
}

static int refuse_name(const char *name, struct mig_error *error)
{
    return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                         "'%.128s' is no name that the privileged process would take", name);
}

int mig_helper_host(struct mig_helper *helper, enum mig_helper_host what, const char *name,
                    unsigned timeout_ms,
                    void (*done)(bool changed, const struct mig_error *error, void *data),
                    void *data, struct mig_error *error)
{
    struct request *request;

    if (!is_fit(what, name ? name : "")) {
        return refuse_name(name ? name : "", error);
    }
    request = new_request(helper, MIG_MESSAGE_HOST,
                          (timeout_ms > 0 ? timeout_ms : HOST_MS) + HOST_GRACE_MS, data, error);
    if (!request) {
        return MIG_E_FAILED;
    }
    request->message->host.what = what;
    request->message->host.timeout_ms = timeout_ms;
    (void)mig_text_copy(request->message->host.name, sizeof(request->message->host.name),
                        name ? name : "");
    request->done.host = done;
    return enter(helper, request);
}

/* The text goes over as a file in memory: messages are small. */
static int text_file(const char *text, struct mig_error *error)
{
    int fd = memfd_create("migd-cdi", MFD_CLOEXEC);
    int rc = fd < 0 ? -errno : mig_write_all(fd, text, strlen(text));

    if (rc < 0) {
        if (fd >= 0) {
            close(fd);
        }
        return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not hand a CDI file over");
    }
    return fd;
}

int mig_helper_write_cdi(struct mig_helper *helper, const char *name, const char *text,
                         mig_helper_done *done, void *data, struct mig_error *error)
{
    MIG_AUTO_CLOSE int fd = -1;
    struct request *request;

    if (strlen(name) > MIG_HELPER_NAME_MAX || !mig_host_is_cdi_file(name) ||
        (text && strlen(text) > MIG_HELPER_CDI_BYTES_MAX)) {
        return refuse_name(name, error);
    }
    fd = text ? text_file(text, error) : -1;
    if (text && fd < 0) {
        return MIG_E_FAILED;
    }
    request = new_request(helper, MIG_MESSAGE_CDI, SAVE_MS, data, error);
    if (!request) {
        return MIG_E_FAILED;
    }
    request->message->fd = MIG_TAKE_FD(fd);
    (void)mig_text_copy(request->message->text, sizeof(request->message->text), name);
    request->done.save = done;
    return enter(helper, request);
}

int mig_helper_share(struct mig_helper *helper, const struct mig_helper_mps *devices, size_t count,
                     mig_helper_done *done, void *data, struct mig_error *error)
{
    struct request *request;

    if (count > MIG_HELPER_MPS_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "could not share %zu devices by MPS: there may be %u", count,
                             MIG_HELPER_MPS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (!mig_host_is_uuid(devices[i].uuid) || !mig_host_is_uuid(devices[i].gpu_uuid) ||
            devices[i].percentage == 0 || devices[i].percentage > 100) {
            return refuse_name(devices[i].uuid, error);
        }
    }
    request = new_request(helper, MIG_MESSAGE_MPS, SAVE_MS, data, error);
    if (!request) {
        return MIG_E_FAILED;
    }
    request->message->mps.count = (uint32_t)count;
    if (count > 0) {
        memcpy(request->message->mps.devices, devices, count * sizeof(*devices));
    }
    request->done.save = done;
    return enter(helper, request);
}

int mig_helper_open_socket(struct mig_helper *helper, enum mig_helper_socket what, const char *name,
                           void (*done)(int fd, const struct mig_error *error, void *data),
                           void *data, struct mig_error *error)
{
    struct request *request;

    if (what >= MIG_HELPER_PLUGIN_LISTEN &&
        (!name || strlen(name) > MIG_HELPER_NAME_MAX || !mig_host_is_plugin_socket(name))) {
        return refuse_name(name ? name : "", error);
    }
    request = new_request(helper, MIG_MESSAGE_SOCKET, SOCKET_MS, data, error);
    if (!request) {
        return MIG_E_FAILED;
    }
    request->message->host.what = what;
    if (what >= MIG_HELPER_PLUGIN_LISTEN) {
        (void)mig_text_copy(request->message->host.name, sizeof(request->message->host.name), name);
    }
    request->done.socket = done;
    return enter(helper, request);
}
