/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of requests.
 *
 * A call is waiting (for its turn, for a token of the bucket, or for the time of its next try) or
 * is being tried. One timer, set to the earliest thing that can happen, drives all; it starts
 * tries, ends calls whose time is over, and is the only place besides the end of a try where done()
 * is called. A call is taken out of the list before that, so that done() may do anything, also free
 * the client: `closing` is looked at after each.
 */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "kube/client_internal.h"
#include "kube/json.h"
#include "kube/kubeconfig.h"
#include "kube/status.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#define TRIES_MAX 32u           /* at once */
#define ANSWERS_MAX (32u << 20) /* bytes of all answers that are being received */
#define TIMEOUT_MS 30000u       /* unless the request says otherwise */
#define RETRY_FIRST_MS 200u
#define RETRY_MAX_MS 10000u
#define PATH_SHOWN_MAX 160
#define NEVER UINT64_MAX

struct mig_kube_call {
    struct mig_kube *kube;
    struct mig_kube_call *next, *previous;
    char *method, *path, *content_type, *body;
    size_t body_size;
    enum mig_kube_retry retry;
    mig_kube_done *done;
    void (*cancelled)(void *data);
    void *data;
    unsigned timeout_ms;
    uint64_t deadline_ms, due_ms; /* due_ms: not tried before */
    struct mig_kube_backoff backoff;
    bool reauthorised; /* was tried again because of a new token */

    /* of the try that runs */
    struct mig_kube_try *try;
    uint64_t started_ms;
    unsigned token_serial; /* of the token that was sent */
    int status;
    unsigned retry_after_ms;
    struct mig_buffer answer;
    bool too_large;

    struct mig_error error; /* of the last try; empty message = there was none */
};

struct mig_kube {
    uv_loop_t *loop;
    uv_timer_t timer;
    bool closing;
    struct mig_kube_link link;
    struct mig_kube_bucket bucket;
    struct mig_kube_random random;
    struct mig_kube_call *first, *last;
    unsigned call_count, try_count;
    size_t answer_bytes;
    void (*observe)(const char *method, const char *path, int status, unsigned took_ms, void *data);
    void *observe_data;
};

static void schedule(struct mig_kube *kube);

/* --- life --- */

static void run(uv_timer_t *timer);

int mig_kube_new(uv_loop_t *loop, const struct mig_kube_options *options, struct mig_kube **ret,
                 struct mig_error *error)
{
    MIG_AUTO_FREE struct mig_kube *kube = calloc(1, sizeof(*kube));
    int rc;

    if (!kube) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not make a client of the Kubernetes API");
    }
    rc = mig_kube_link_init(&kube->link, loop, options->config,
                            options->user_agent ? options->user_agent : "migd/" MIG_VERSION, error);
    if (rc < 0) {
        return rc;
    }
    kube->loop = loop;
    kube->random.state = options->seed;
    if (options->seed == 0 &&
        getrandom(&kube->random.state, sizeof(kube->random.state), GRND_NONBLOCK) < 0) {
        kube->random.state = uv_hrtime();
    }
    mig_kube_bucket_init(&kube->bucket, options->rate_per_s > 0 ? options->rate_per_s : 5,
                         options->burst > 0 ? options->burst : 10, uv_now(loop));
    kube->observe = options->observe;
    kube->observe_data = options->data;
    uv_timer_init(loop, &kube->timer);
    kube->timer.data = kube;
    *ret = MIG_TAKE(kube);
    return 0;
}

static void unlink_call(struct mig_kube_call *call)
{
    struct mig_kube *kube = call->kube;

    if (call->previous) {
        call->previous->next = call->next;
    } else {
        kube->first = call->next;
    }
    if (call->next) {
        call->next->previous = call->previous;
    } else {
        kube->last = call->previous;
    }
    kube->call_count--;
}

static void drop_answer(struct mig_kube_call *call)
{
    call->kube->answer_bytes -= call->answer.size;
    mig_buffer_release(&call->answer);
}

/* Leaves the try, if there is one. */
static void end_try(struct mig_kube_call *call)
{
    if (call->try) {
        mig_kube_try_cancel(MIG_TAKE(call->try));
        call->kube->try_count--;
    }
    drop_answer(call);
}

static void free_call(struct mig_kube_call *call)
{
    free(call->method);
    free(call->path);
    free(call->content_type);
    free(call->body);
    free(call);
}

void mig_kube_cancel(struct mig_kube_call *call)
{
    struct mig_kube *kube;

    if (!call) {
        return;
    }
    kube = call->kube;
    end_try(call);
    unlink_call(call);
    if (call->cancelled) {
        call->cancelled(call->data);
    }
    free_call(call);
    schedule(kube);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void mig_kube_free(struct mig_kube *kube)
{
    if (!kube) {
        return;
    }
    kube->closing = true;
    while (kube->first) {
        mig_kube_cancel(kube->first);
    }
    mig_kube_link_release(&kube->link);
    uv_close((uv_handle_t *)&kube->timer, on_closed);
}

const char *mig_kube_namespace(const struct mig_kube *kube)
{
    const char *name = kube->link.config.namespace_name;

    return name ? name : "default";
}

uv_loop_t *mig_kube_loop(struct mig_kube *kube)
{
    return kube->loop;
}

struct mig_kube_link *mig_kube_link(struct mig_kube *kube)
{
    return &kube->link;
}

struct mig_kube_random *mig_kube_random(struct mig_kube *kube)
{
    return &kube->random;
}

/* --- how a call ends --- */

/* The call is gone after this, and maybe the client. */
static void finish(struct mig_kube_call *call, int status, json_t *object,
                   const struct mig_error *error)
{
    end_try(call);
    unlink_call(call);
    if (call->done) {
        call->done(call, status, object, error, call->data);
    }
    free_call(call);
}

static void finish_timed_out(struct mig_kube_call *call)
{
    struct mig_error error;
    int path_size = (int)strcspn(call->path, "?");

    if (path_size > PATH_SHOWN_MAX) {
        path_size = PATH_SHOWN_MAX;
    }
    mig_error_set_errno(&error, MIG_E_FAILED, ETIMEDOUT, "%s %.*s: no answer within %u ms",
                        call->method, path_size, call->path, call->timeout_ms);
    if (call->error.message[0]) {
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_ERRNO, ETIMEDOUT, "%s; the last try: %.300s",
                      error.message, call->error.message);
    }
    finish(call, 0, NULL, &error);
}

/* The token that was refused may have been replaced by now, on behalf of another call. */
static bool has_new_token(struct mig_kube_call *call, uint64_t now_ms)
{
    struct mig_kube_token *token = &call->kube->link.token;

    return token->serial != call->token_serial || mig_kube_token_refresh(token, now_ms);
}

/* Another try, unless its time would come too late. */
static bool try_again(struct mig_kube_call *call, const struct mig_kube_outcome *outcome)
{
    struct mig_kube *kube = call->kube;
    uint64_t now_ms = uv_now(kube->loop);

    if (outcome->status == 401 && !call->reauthorised && has_new_token(call, now_ms)) {
        call->reauthorised = true;
        call->due_ms = now_ms;
        return true;
    }
    if (!mig_kube_retry_wanted(call->retry, outcome)) {
        return false;
    }
    call->due_ms =
        now_ms + mig_kube_backoff_after(&call->backoff, outcome->retry_after_ms, &kube->random);
    return call->due_ms < call->deadline_ms;
}

/* The try is over; its answer, or `error`. */
static void judge(struct mig_kube_call *call, const struct mig_kube_outcome *outcome,
                  json_t *object, const struct mig_error *error)
{
    struct mig_kube *kube = call->kube;

    if (kube->observe) {
        kube->observe(call->method, call->path, outcome->status,
                      (unsigned)(uv_now(kube->loop) - call->started_ms), kube->observe_data);
        if (kube->closing) {
            return; /* and the call is gone with it */
        }
    }
    if (error) {
        call->error = *error;
    }
    if (try_again(call, outcome)) {
        drop_answer(call);
    } else {
        finish(call, outcome->status, object, error ? &call->error : NULL);
    }
}

static void judge_failure(struct mig_kube_call *call, bool sent, const struct mig_error *cause)
{
    const struct mig_kube_outcome outcome = {.sent = sent};
    struct mig_error error = *cause;
    int path_size = (int)strcspn(call->path, "?");

    mig_error_prefix(&error, "%s %.*s", call->method,
                     path_size < PATH_SHOWN_MAX ? path_size : PATH_SHOWN_MAX, call->path);
    judge(call, &outcome, NULL, &error);
}

static void judge_answer(struct mig_kube_call *call)
{
    struct mig_kube_outcome outcome = {
        .status = call->status, .sent = true, .retry_after_ms = call->retry_after_ms};
    MIG_AUTO_JSON json_t *object = NULL;
    struct mig_error error;
    int rc = 0;

    if (call->answer.size > 0) {
        rc = mig_kube_json_parse(call->answer.data, call->answer.size, &object, &error);
    }
    if (call->status < 300 && rc < 0) {
        mig_error_prefix(&error, "the answer of the server");
        judge_failure(call, true, &error);
        return;
    }
    if (call->status < 300) {
        judge(call, &outcome, object, NULL);
        return;
    }
    outcome.final = mig_kube_status_is_budget(object);
    if (outcome.retry_after_ms == 0) {
        outcome.retry_after_ms = mig_kube_status_retry_ms(object);
    }
    mig_kube_status_error(&error, call->method, call->path, call->status, object, call->answer.data,
                          call->answer.size);
    judge(call, &outcome, object, &error);
}

/* --- one try --- */

static void on_headers(int status, unsigned retry_after_ms, void *data)
{
    struct mig_kube_call *call = data;

    call->status = status;
    call->retry_after_ms = retry_after_ms;
}

static void on_body(const void *bytes, size_t size, void *data)
{
    struct mig_kube_call *call = data;
    struct mig_kube *kube = call->kube;

    if (call->too_large) {
        return;
    }
    if (size > ANSWERS_MAX - kube->answer_bytes ||
        mig_buffer_append(&call->answer, bytes, size) != 0) {
        call->too_large = true;
        drop_answer(call);
        call->due_ms = 0; /* the timer ends it: a try is not cancelled from inside */
        schedule(kube);
        return;
    }
    kube->answer_bytes += size;
}

static void on_end(const struct mig_error *error, bool refused, void *data)
{
    struct mig_kube_call *call = data;
    struct mig_kube *kube = call->kube;
    struct mig_error none;

    call->try = NULL;
    kube->try_count--;
    if (!error && !call->too_large && call->status == 0) {
        mig_error_set(&none, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "the server ended the request without an answer");
        error = &none;
    }
    if (call->too_large) {
        return; /* the timer is about to tell */
    }
    if (error) {
        judge_failure(call, !refused, error);
    } else {
        judge_answer(call);
    }
    schedule(kube); /* of a client that is being freed it does nothing */
}

static void start_try(struct mig_kube_call *call)
{
    struct mig_kube *kube = call->kube;
    const struct mig_kube_try_options options = {
        .method = call->method,
        .path = call->path,
        .content_type = call->content_type,
        .body = call->body,
        .body_size = call->body_size,
        .headers = on_headers,
        .body_part = on_body,
        .end = on_end,
        .data = call,
    };
    struct mig_error error;

    call->status = 0;
    call->retry_after_ms = 0;
    call->started_ms = uv_now(kube->loop);
    mig_buffer_init(&call->answer, MIG_KUBE_ANSWER_MAX);
    if (mig_kube_try(&kube->link, &options, &call->try, &error) < 0) {
        judge_failure(call, false, &error);
        return;
    }
    call->token_serial = kube->link.token.serial;
    kube->try_count++;
}

/* --- what is next --- */

static void finish_too_large(struct mig_kube_call *call)
{
    struct mig_error error;
    int path_size = (int)strcspn(call->path, "?");

    mig_error_set_errno(&error, MIG_E_FAILED, EFBIG, "%s %.*s: the answer is too large (limit %u)",
                        call->method, path_size < PATH_SHOWN_MAX ? path_size : PATH_SHOWN_MAX,
                        call->path, MIG_KUBE_ANSWER_MAX);
    finish(call, 0, NULL, &error);
}

/* Does what can be done now for one call. True when something was done: the list may be another.
 * *wake_ms becomes the time of the next thing to do, if that is earlier. */
static bool step(struct mig_kube *kube, struct mig_kube_call *call, uint64_t now_ms,
                 uint64_t *wake_ms)
{
    uint64_t due_ms = call->deadline_ms;

    if (call->too_large) {
        finish_too_large(call);
        return true;
    }
    if (now_ms >= call->deadline_ms) {
        finish_timed_out(call);
        return true;
    }
    if (!call->try && kube->try_count < TRIES_MAX) {
        if (now_ms >= call->due_ms) {
            unsigned wait_ms = mig_kube_bucket_take(&kube->bucket, now_ms);

            if (wait_ms == 0) {
                start_try(call);
                return true;
            }
            due_ms = now_ms + wait_ms;
        } else {
            due_ms = call->due_ms;
        }
    }
    due_ms = due_ms < call->deadline_ms ? due_ms : call->deadline_ms;
    *wake_ms = *wake_ms < due_ms ? *wake_ms : due_ms;
    return false;
}

static void run(uv_timer_t *timer)
{
    struct mig_kube *kube = timer->data;
    uint64_t now_ms = uv_now(kube->loop);
    uint64_t wake_ms = NEVER;
    struct mig_kube_call *call;

    mig_kube_link_trim(&kube->link);
    if (kube->closing) {
        return;
    }
    call = kube->first;
    /* each call does at most two things now (is tried, fails at once and ends); what new calls
     * want comes with the next turn of the loop */
    for (unsigned budget = 2 * kube->call_count + 1; call && budget > 0;) {
        if (!step(kube, call, now_ms, &wake_ms)) {
            call = call->next;
            continue;
        }
        if (kube->closing) {
            return;
        }
        budget--;
        wake_ms = NEVER;
        call = kube->first;
    }
    if (call) {
        wake_ms = now_ms;
    }
    if (wake_ms != NEVER) {
        uv_timer_start(timer, run, wake_ms - now_ms, 0);
    }
}

static void schedule(struct mig_kube *kube)
{
    if (!kube->closing && kube->first) {
        uv_timer_start(&kube->timer, run, 0, 0);
    }
}

/* --- new calls --- */

static int encode(struct mig_kube_call *call, const struct mig_kube_request *request,
                  struct mig_error *error)
{
    if (!request->body) {
        return 0;
    }
    call->body = json_dumps(request->body, JSON_COMPACT | JSON_ENCODE_ANY);
    call->content_type = strdup(request->content_type ? request->content_type : "application/json");
    if (!call->body || !call->content_type) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not encode a request");
    }
    call->body_size = strlen(call->body);
    if (call->body_size > MIG_KUBE_BODY_MAX) {
        return mig_error_set_errno(error, MIG_E_USAGE, EFBIG, "%s %.*s", request->method,
                                   PATH_SHOWN_MAX, request->path);
    }
    return 0;
}

static int fill(struct mig_kube_call *call, const struct mig_kube_request *request,
                struct mig_error *error)
{
    call->method = strdup(request->method);
    call->path = strdup(request->path);
    if (!call->method || !call->path) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not make a request");
    }
    call->retry = request->retry;
    call->done = request->done;
    call->cancelled = request->cancelled;
    call->data = request->data;
    call->timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : TIMEOUT_MS;
    call->due_ms = uv_now(call->kube->loop);
    call->deadline_ms = call->due_ms + call->timeout_ms;
    call->backoff = (struct mig_kube_backoff){.first_ms = RETRY_FIRST_MS, .max_ms = RETRY_MAX_MS};
    return encode(call, request, error);
}

int mig_kube_request(struct mig_kube *kube, const struct mig_kube_request *request,
                     struct mig_kube_call **ret, struct mig_error *error)
{
    struct mig_kube_call *call;
    int rc;

    if (kube->closing || kube->call_count >= MIG_KUBE_CALLS_MAX) {
        return mig_error_set(error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                             "%u requests to the API server are waiting already", kube->call_count);
    }
    call = calloc(1, sizeof(*call));
    if (!call) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not make a request");
    }
    call->kube = kube;
    rc = fill(call, request, error);
    if (rc < 0) {
        free_call(call);
        return rc;
    }
    call->previous = kube->last;
    if (kube->last) {
        kube->last->next = call;
    } else {
        kube->first = call;
    }
    kube->last = call;
    kube->call_count++;
    schedule(kube);
    if (ret) {
        *ret = call;
    }
    return 0;
}
