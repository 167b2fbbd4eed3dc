/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One small state for each output: what is to be written (dirty), whether a request is on its way,
 * and when to try again. A request takes the labels of its moment along; when they have changed
 * until its answer it follows another one.
 */
#include "discovery/discovery.h"
#include "base/file.h"
#include "base/text.h"
#include "discovery/node_feature.h"
#include "kube/json.h"
#include "kube/objects.h"
#include "kube/path.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#define RECHECK_MS 60000u
#define RETRY_FIRST_MS 1000u
#define RETRY_LAST_MS 60000u
#define MACHINE_FILE_MAX 4096u
#define LABEL_FILE_MAX (1u << 20)
#define NAME_SIZE 256
#define PATH_SIZE 1024
#define RESOURCE_SIZE 64

struct output {
    struct mig_discovery *discovery;
    enum mig_discovery_output kind;
    bool enabled, dirty;
    unsigned retry_ms;
    uint64_t due_ms; /* not before */
    struct mig_kube_call *call;
};

struct mig_discovery {
    uv_timer_t timer;
    struct mig_discovery_options options;
    char file[PATH_SIZE], machine_file[PATH_SIZE];
    char node_name[NAME_SIZE], namespace_name[NAME_SIZE], pod_name[NAME_SIZE];
    struct mig_discovery_rules rules;
    struct mig_label_sharing sharing[MIG_DISCOVERY_SHARING_MAX];
    char resources[MIG_DISCOVERY_SHARING_MAX][RESOURCE_SIZE];
    uint64_t settings_s, recheck_ms;
    const struct mig_node *node;
    bool hold;
    bool is_invalid;
    struct mig_labels labels;
    json_t *owners, *wanted; /* of the NodeFeature; the latter while it is on its way */
    struct output outputs[MIG_DISCOVERY_OUTPUT_COUNT];
};

const char *mig_discovery_output_name(enum mig_discovery_output output)
{
    static const char *const names[MIG_DISCOVERY_OUTPUT_COUNT] = {"file", "nodefeature", "node"};

    return names[output];
}

const struct mig_labels *mig_discovery_labels(const struct mig_discovery *discovery)
{
    return &discovery->labels;
}

static uint64_t now_ms(const struct mig_discovery *discovery)
{
    return uv_now(discovery->timer.loop);
}

/* ---- the next time to do something ---- */

static void tick(uv_timer_t *timer);

static void arm(struct mig_discovery *discovery)
{
    uint64_t next_ms = discovery->recheck_ms > 0 ? discovery->recheck_ms : UINT64_MAX;

    for (size_t i = 0; i < MIG_DISCOVERY_OUTPUT_COUNT; i++) {
        const struct output *output = &discovery->outputs[i];

        if (output->enabled && output->dirty && !output->call && output->due_ms < next_ms) {
            next_ms = output->due_ms;
        }
    }
    if (next_ms != UINT64_MAX) {
        uint64_t now = now_ms(discovery);

        uv_timer_start(&discovery->timer, tick, next_ms > now ? next_ms - now : 0, 0);
    }
}

/* ---- the end of an attempt ---- */

static void finish(struct output *output, const struct mig_error *error)
{
    struct mig_discovery *discovery = output->discovery;

    output->call = NULL;
    if (error) {
        output->dirty = true;
        output->due_ms = now_ms(discovery) + output->retry_ms;
        output->retry_ms =
            output->retry_ms * 2 < RETRY_LAST_MS ? output->retry_ms * 2 : RETRY_LAST_MS;
    } else {
        output->retry_ms = RETRY_FIRST_MS;
    }
    arm(discovery);
    if (discovery->options.wrote) {
        discovery->options.wrote(output->kind, error, discovery->options.data);
    }
}

static void fail(struct output *output, int result, struct mig_error *error)
{
    if (result < 0) {
        finish(output, error);
    }
}

/* ---- the file ---- */

static void write_file(struct output *output)
{
    struct mig_discovery *discovery = output->discovery;
    MIG_AUTO_FREE char *text = mig_labels_text(&discovery->labels);
    MIG_AUTO_FREE char *there = NULL;
    struct mig_error error = {0};
    size_t size = 0;
    int rc;

    output->dirty = false;
    if (!text) {
        fail(output,
             mig_error_set_errno(&error, MIG_E_FAILED, ENOMEM, "could not write the labels"),
             &error);
        return;
    }
    if (mig_file_read(discovery->file, LABEL_FILE_MAX, &there, &size, NULL) == 0 &&
        strcmp(there, text) == 0) {
        output->retry_ms = RETRY_FIRST_MS;
        return;
    }
    rc = mig_file_write_atomic(discovery->file, text, strlen(text), 0644, &error);
    if (rc < 0) {
        mig_error_hint(&error, rc,
                       "the folder has to be writable for the user that migd runs as; "
                       "or let the labels go to a NodeFeature or to the node");
    }
    finish(output, rc < 0 ? &error : NULL);
}

/* ---- the node ---- */

static void on_node(struct mig_kube_call *call, int status, json_t *object,
                    const struct mig_error *error, void *data)
{
    (void)call;
    (void)status;
    (void)object;
    finish(data, error);
}

static void write_node(struct output *output)
{
    struct mig_discovery *discovery = output->discovery;
    MIG_AUTO_JSON json_t *object = mig_node_labels_object(&discovery->labels, discovery->node_name);
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    struct mig_kube_reply reply = {.done = on_node, .data = output, .ret = &output->call};
    struct mig_error error = {0};
    const char *text;

    output->dirty = false;
    mig_kube_path_init(&path, "/api/v1");
    mig_kube_path_resource(&path, NULL, "nodes");
    mig_kube_path_name(&path, discovery->node_name);
    text = mig_kube_path_text(&path, &error);
    fail(output,
         text ? mig_kube_apply(discovery->options.kube, text, object, MIG_DISCOVERY_FIELD_MANAGER,
                               true, &reply, &error)
              : MIG_E_USAGE,
         &error);
}

/* ---- the NodeFeature: who owns it, what is there, then what has to change ---- */

static void write_node_feature(struct output *output);

/* The path of the object, or with `name` false of all of them. */
static const char *feature_path(const struct mig_discovery *discovery, struct mig_kube_path *path,
                                char name[2 * NAME_SIZE], bool with_name, struct mig_error *error)
{
    mig_kube_path_init(path, MIG_NODE_FEATURE_API);
    mig_kube_path_resource(path, discovery->namespace_name, "nodefeatures");
    snprintf(name, (size_t)2 * NAME_SIZE, MIG_NODE_FEATURE_PREFIX "%s", discovery->node_name);
    if (with_name) {
        mig_kube_path_name(path, name);
    }
    return mig_kube_path_text(path, error);
}

static void on_feature_written(struct mig_kube_call *call, int status, json_t *object,
                               const struct mig_error *error, void *data)
{
    struct output *output = data;

    (void)call;
    (void)object;
    if (status == 409) {
        /* somebody was faster: look again */
        output->call = NULL;
        output->dirty = true;
        output->due_ms = now_ms(output->discovery) + RETRY_FIRST_MS;
        arm(output->discovery);
        return;
    }
    finish(output, error);
}

static void send_feature(struct output *output, const char *method, json_t *body)
{
    struct mig_discovery *discovery = output->discovery;
    bool is_new = strcmp(method, "POST") == 0;
    MIG_AUTO_KUBE_PATH struct mig_kube_path path;
    char name[2 * NAME_SIZE];
    struct mig_error error = {0};
    struct mig_kube_request request = {
        .method = method,
        .path = feature_path(discovery, &path, name, !is_new, &error),
        .content_type = is_new ? NULL : "application/merge-patch+json",
        .body = body,
        .retry = MIG_KUBE_RETRY_SAFE,
        .done = on_feature_written,
        .data = output,
    };

    fail(output,
         request.path ? mig_kube_request(discovery->options.kube, &request, &output->call, &error)
                      : MIG_E_USAGE,
         &error);
}

static void on_feature_read(struct mig_kube_call *call, int status, json_t *object,
                            const struct mig_error *error, void *data)
{
    struct output *output = data;
    struct mig_discovery *discovery = output->discovery;
    MIG_AUTO_JSON json_t *wanted = MIG_TAKE(discovery->wanted);
    MIG_AUTO_JSON json_t *patch = NULL;
    struct mig_error memory = {0};

    (void)call;
    output->call = NULL;
    if (status == 404) {
        /* that there is no such kind either shows then */
        send_feature(output, "POST", wanted);
    } else if (error) {
        finish(output, error);
    } else if (!mig_node_feature_patch(object, wanted, &patch)) {
        fail(output, mig_error_set_errno(&memory, MIG_E_FAILED, ENOMEM, "could not make a patch"),
             &memory);
    } else if (patch) {
        send_feature(output, "PATCH", patch);
    } else {
        output->retry_ms = RETRY_FIRST_MS;
        arm(discovery);
    }
}

static void on_own_pod(struct mig_kube_call *call, int status, json_t *object,
                       const struct mig_error *error, void *data)
{
    struct output *output = data;
    struct mig_discovery *discovery = output->discovery;

    (void)call;
    output->call = NULL;
    if (error && status != 403 && status != 404) {
        finish(output, error);
        return;
    }
    /* who may not read pods, or is none, makes one that nobody owns */
    discovery->owners = error ? json_array() : mig_node_feature_owners(object);
    write_node_feature(output);
}

static void write_node_feature(struct output *output)
{
    struct mig_discovery *discovery = output->discovery;
    struct mig_kube_reply reply = {.data = output, .ret = &output->call};
    MIG_AUTO_KUBE_PATH struct mig_kube_path path = {0};
    char name[2 * NAME_SIZE];
    struct mig_error error = {0};
    const char *text;

    output->dirty = false;
    if (!discovery->owners && discovery->pod_name[0] != '\0') {
        reply.done = on_own_pod;
        fail(output,
             mig_kube_get_pod(discovery->options.kube, discovery->namespace_name,
                              discovery->pod_name, &reply, &error),
             &error);
        return;
    }
    json_decref(discovery->wanted);
    discovery->wanted =
        mig_node_feature_make(&discovery->labels, discovery->node_name,
                              json_array_size(discovery->owners) > 0 ? discovery->owners : NULL);
    text = feature_path(discovery, &path, name, true, &error);
    reply.done = on_feature_read;
    fail(output,
         !text ? MIG_E_USAGE
         : !discovery->wanted
             ? mig_error_set_errno(&error, MIG_E_FAILED, ENOMEM, "could not make a NodeFeature")
             : mig_kube_get(discovery->options.kube, text, &reply, &error),
         &error);
}

/* ---- all outputs ---- */

static void publish(struct mig_discovery *discovery)
{
    static void (*const writers[MIG_DISCOVERY_OUTPUT_COUNT])(struct output * output) = {
        write_file, write_node_feature, write_node};

    for (size_t i = 0; i < MIG_DISCOVERY_OUTPUT_COUNT; i++) {
        struct output *output = &discovery->outputs[i];

        if (output->enabled && output->dirty && !output->call &&
            now_ms(discovery) >= output->due_ms) {
            writers[i](output);
        }
    }
    arm(discovery);
}

static void mark(struct mig_discovery *discovery, bool at_once)
{
    for (size_t i = 0; i < MIG_DISCOVERY_OUTPUT_COUNT; i++) {
        struct output *output = &discovery->outputs[i];

        output->dirty = output->enabled;
        if (at_once) {
            output->due_ms = 0;
            output->retry_ms = RETRY_FIRST_MS;
        }
    }
}

/* ---- the labels ---- */

static void tell_reason(struct mig_discovery *discovery, const char *reason)
{
    bool is_invalid = reason[0] != '\0';

    if (discovery->options.invalid && (is_invalid || discovery->is_invalid)) {
        discovery->options.invalid(reason, discovery->options.data);
    }
    discovery->is_invalid = is_invalid;
}

static void recompute(struct mig_discovery *discovery)
{
    MIG_AUTO_FREE char *machine = NULL;
    MIG_AUTO_LABELS struct mig_labels labels = {0};
    char reason[MIG_LABEL_REASON_SIZE];
    size_t size = 0;
    struct mig_label_facts facts = {
        .strategy = discovery->rules.strategy,
        .with_timestamp = discovery->rules.with_timestamp,
        .timestamp_s = discovery->settings_s,
        .mps = discovery->rules.mps,
        .sharing_count = discovery->rules.sharing_count,
        .sharing = discovery->sharing,
    };

    if (!discovery->node || discovery->hold) {
        return;
    }
    (void)mig_file_read(discovery->machine_file, MACHINE_FILE_MAX, &machine, &size, NULL);
    facts.machine = machine;
    if (mig_labels_make(discovery->node, &facts, &labels, reason, NULL) < 0 ||
        (mig_labels_equal(&labels, &discovery->labels) && discovery->recheck_ms > 0)) {
        return;
    }
    if (mig_labels_copy(&discovery->labels, &labels)) {
        tell_reason(discovery, reason);
        discovery->recheck_ms = now_ms(discovery) + discovery->options.recheck_ms;
        mark(discovery, true);
        publish(discovery);
    }
}

static void tick(uv_timer_t *timer)
{
    struct mig_discovery *discovery = timer->data;

    if (discovery->recheck_ms > 0 && now_ms(discovery) >= discovery->recheck_ms) {
        discovery->recheck_ms = now_ms(discovery) + discovery->options.recheck_ms;
        mark(discovery, false);
    }
    publish(discovery);
}

void mig_discovery_set_node(struct mig_discovery *discovery, const struct mig_node *node)
{
    discovery->node = node;
    recompute(discovery);
}

void mig_discovery_hold(struct mig_discovery *discovery, bool hold)
{
    discovery->hold = hold;
    recompute(discovery);
}

void mig_discovery_set_rules(struct mig_discovery *discovery,
                             const struct mig_discovery_rules *rules)
{
    size_t count = rules->sharing_count < MIG_DISCOVERY_SHARING_MAX ? rules->sharing_count
                                                                    : MIG_DISCOVERY_SHARING_MAX;

    for (size_t i = 0; i < count; i++) {
        mig_text_copy(discovery->resources[i], RESOURCE_SIZE, rules->sharing[i].resource);
        discovery->sharing[i] = rules->sharing[i];
        discovery->sharing[i].resource = discovery->resources[i];
    }
    discovery->rules = *rules;
    discovery->rules.sharing = discovery->sharing;
    discovery->rules.sharing_count = count;
    discovery->settings_s = (uint64_t)time(NULL);
    recompute(discovery);
}

/* ---- life ---- */

static bool copy(char *buffer, size_t size, const char *text)
{
    return mig_text_copy(buffer, size, text ? text : "");
}

int mig_discovery_new(uv_loop_t *loop, const struct mig_discovery_options *options,
                      struct mig_discovery **ret, struct mig_error *error)
{
    bool needs_kube =
        options->outputs[MIG_DISCOVERY_TO_NODE_FEATURE] || options->outputs[MIG_DISCOVERY_TO_NODE];
    MIG_AUTO_FREE struct mig_discovery *discovery = calloc(1, sizeof(*discovery));

    if (!discovery) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not start the labels");
    }
    if (needs_kube && (!options->kube || !options->node_name || options->node_name[0] == '\0')) {
        return mig_error_set(
            error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
            "labels can be put on a node only with Kubernetes and the node's name");
    }
    discovery->options = *options;
    discovery->options.recheck_ms = options->recheck_ms > 0 ? options->recheck_ms : RECHECK_MS;
    if (!copy(discovery->file, PATH_SIZE,
              options->file ? options->file : MIG_DISCOVERY_FILE_DEFAULT) ||
        !copy(discovery->machine_file, PATH_SIZE,
              options->machine_file ? options->machine_file : MIG_DISCOVERY_MACHINE_DEFAULT) ||
        !copy(discovery->node_name, NAME_SIZE, options->node_name) ||
        !copy(discovery->namespace_name, NAME_SIZE, options->namespace_name) ||
        !copy(discovery->pod_name, NAME_SIZE, options->pod_name)) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "a name or path for the labels is too long");
    }
    if (discovery->namespace_name[0] == '\0') {
        copy(discovery->namespace_name, NAME_SIZE, "default");
    }
    for (size_t i = 0; i < MIG_DISCOVERY_OUTPUT_COUNT; i++) {
        discovery->outputs[i] = (struct output){.discovery = discovery,
                                                .kind = (enum mig_discovery_output)i,
                                                .enabled = options->outputs[i],
                                                .retry_ms = RETRY_FIRST_MS};
    }
    discovery->settings_s = (uint64_t)time(NULL);
    uv_timer_init(loop, &discovery->timer);
    discovery->timer.data = discovery;
    *ret = MIG_TAKE(discovery);
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void mig_discovery_free(struct mig_discovery *discovery)
{
    if (!discovery) {
        return;
    }
    for (size_t i = 0; i < MIG_DISCOVERY_OUTPUT_COUNT; i++) {
        mig_kube_cancel(discovery->outputs[i].call);
    }
    json_decref(discovery->owners);
    json_decref(discovery->wanted);
    mig_labels_release(&discovery->labels);
    uv_close((uv_handle_t *)&discovery->timer, on_closed);
}
