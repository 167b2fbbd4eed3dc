/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kube-probe: src/kube on the command line, for tests on a real API server. Answers are one JSON
 * document or one line per event on standard output; an error is one line, and exit status 1.
 */
#include "base/cleanup.h"
#include "kube/events.h"
#include "kube/json.h"
#include "kube/kubeconfig.h"
#include "kube/lease.h"
#include "kube/objects.h"
#include "kube/watch.h"
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 32

static const char usage[] =
    "usage: kube-probe [OPTION ...] COMMAND\n"
    "  get PATH | list PATH | watch PATH\n"
    "  patch NODE KEY=VALUE|KEY- ...     taint NODE KEY=VALUE:EFFECT | taint NODE KEY-\n"
    "  get-pod NS NAME | delete NS NAME [UID] | evict NS NAME [UID]\n"
    "  configmap NS NAME KEY=VALUE ...   event NODE REASON NOTE [TIMES]\n"
    "  lease NS NAME IDENTITY            can VERB GROUP RESOURCE\n"
    "options: --kubeconfig FILE --field SELECTOR --label SELECTOR --page N --for SECONDS\n"
    "  --version RESOURCEVERSION --owner KIND/NAME/UID --timeout MS --offline-after MS --verbose\n";

struct probe {
    uv_loop_t loop;
    uv_timer_t timer;
    struct mig_kube *kube;
    struct mig_kube_watch *watch;
    struct mig_kube_lease *lease;
    struct mig_kube_recorder *recorder;
    const char *kubeconfig, *field, *label, *version, *owner;
    unsigned page, for_ms, timeout_ms, offline_after_ms, requests;
    bool verbose;
    bool is_eviction;
    int exit_code;
};

static void end(struct probe *probe, int exit_code)
{
    probe->exit_code = exit_code;
    uv_stop(&probe->loop);
}

static void put(json_t *object)
{
    MIG_AUTO_FREE char *text = object ? json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

    printf("%s\n", text ? text : "null");
    fflush(stdout);
}

static void put_error(const struct mig_error *error)
{
    fprintf(stderr, "kube-probe: %s%s%s%s%s%s\n", error->message, error->holders[0] ? " [" : "",
            error->holders, error->holders[0] ? "]" : "", error->hint[0] ? "; " : "", error->hint);
}

static void on_done(struct mig_kube_call *call, int status, json_t *object,
                    const struct mig_error *error, void *data)
{
    static const char *const evictions[] = {"evicted", "gone", "blocked", "failed"};
    struct probe *probe = data;

    (void)call;
    if (error) {
        put_error(error);
    }
    if (probe->is_eviction) {
        printf("%s\n", evictions[mig_kube_eviction_of(status, object)]);
    } else if (object && !error) {
        put(object);
    }
    end(probe, error ? 1 : 0);
}

static void on_can(struct mig_kube_call *call, int status, json_t *object,
                   const struct mig_error *error, void *data)
{
    (void)call;
    if (error) {
        put_error(error);
    }
    printf("%s\n", mig_kube_allowed(status, object) ? "yes" : "no");
    end(data, error ? 1 : 0);
}

static void on_item(json_t *object, void *data)
{
    (void)data;
    put(object);
}

static void on_listed(int status, const char *version, const struct mig_error *error, void *data)
{
    (void)status;
    if (error) {
        put_error(error);
    } else {
        fprintf(stderr, "resourceVersion %s\n", version);
    }
    end(data, error ? 1 : 0);
}

static void on_event(enum mig_kube_watch_event event, json_t *object, const struct mig_error *error,
                     void *data)
{
    static const char *const names[] = {"ADDED", "MODIFIED", "DELETED", "SYNCED", "OFFLINE"};

    (void)data;
    printf("%s %s/%s %s %s\n", names[event], mig_kube_metadata(object, "namespace"),
           mig_kube_metadata(object, "name"), mig_kube_metadata(object, "resourceVersion"),
           error ? error->message : "");
    fflush(stdout);
}

static void on_lease(bool held, const char *holder, void *data)
{
    (void)data;
    printf("%s %s\n", held ? "held" : "not-held", holder);
    fflush(stdout);
}

static void observe(const char *method, const char *path, int status, unsigned took_ms, void *data)
{
    struct probe *probe = data;

    probe->requests++;
    if (probe->verbose) {
        fprintf(stderr, "%s %s: %d, %u ms\n", method, path, status, took_ms);
    }
}

/* --- commands --- */

/* KEY=VALUE or KEY-, cut in place. */
static struct mig_kube_pair pair_of(char *word)
{
    char *equals = strchr(word, '=');
    size_t size = strlen(word);

    if (equals) {
        *equals = '\0';
        return (struct mig_kube_pair){word, equals + 1};
    }
    if (size > 0 && word[size - 1] == '-') {
        word[size - 1] = '\0';
    }
    return (struct mig_kube_pair){word, NULL};
}

static size_t pairs_of(char **words, int count, struct mig_kube_pair *pairs)
{
    size_t n = 0;

    for (int i = 0; i < count && i < WORDS_MAX; i++) {
        pairs[n++] = pair_of(words[i]);
    }
    return n;
}

static struct mig_kube_reply reply_of(struct probe *probe)
{
    return (struct mig_kube_reply){.done = on_done, .data = probe, .timeout_ms = probe->timeout_ms};
}

static int run_patch(struct probe *probe, char **words, int count, struct mig_error *error)
{
    const struct mig_kube_reply reply = reply_of(probe);
    struct mig_kube_pair pairs[WORDS_MAX];
    struct mig_kube_metadata_patch patch = {.labels = pairs, .resource_version = probe->version};

    patch.label_count = pairs_of(words + 2, count - 2, pairs);
    return mig_kube_patch_node(probe->kube, words[1], &patch, &reply, error);
}

static int run_taint(struct probe *probe, char **words, struct mig_error *error)
{
    const struct mig_kube_reply reply = reply_of(probe);
    struct mig_kube_pair pair = pair_of(words[2]);
    struct mig_kube_taint taint = {.key = pair.key, .value = pair.value};
    char *colon = pair.value ? strrchr(pair.value, ':') : NULL;

    if (!pair.value) {
        return mig_kube_taint_node(probe->kube, words[1], NULL, pair.key, &reply, NULL, error);
    }
    if (!colon) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "KEY=VALUE:EFFECT is wanted");
    }
    *colon = '\0';
    taint.effect = colon + 1;
    return mig_kube_taint_node(probe->kube, words[1], &taint, NULL, &reply, NULL, error);
}

static int run_pod(struct probe *probe, char **words, int count, struct mig_error *error)
{
    const struct mig_kube_reply reply = reply_of(probe);
    const struct mig_kube_pod pod = {words[1], words[2], count > 3 ? words[3] : NULL, -1};

    if (strcmp(words[0], "get-pod") == 0) {
        return mig_kube_get_pod(probe->kube, words[1], words[2], &reply, error);
    }
    if (strcmp(words[0], "delete") == 0) {
        return mig_kube_delete_pod(probe->kube, &pod, &reply, error);
    }
    probe->is_eviction = true;
    return mig_kube_evict_pod(probe->kube, &pod, &reply, error);
}

static int run_configmap(struct probe *probe, char **words, int count, struct mig_error *error)
{
    const struct mig_kube_reply reply = reply_of(probe);
    struct mig_kube_pair pairs[WORDS_MAX];
    MIG_AUTO_FREE char *kind = probe->owner ? strdup(probe->owner) : NULL;
    char *name = kind ? strchr(kind, '/') : NULL;
    char *uid = name ? strchr(name + 1, '/') : NULL;
    struct mig_kube_owner owner = {.api_version = "v1", .kind = kind};
    struct mig_kube_configmap configmap = {
        .namespace_name = words[1], .name = words[2], .data = pairs};

    if (uid) {
        *name = *uid = '\0';
        owner.name = name + 1;
        owner.uid = uid + 1;
        configmap.owner = &owner;
    }
    configmap.data_count = pairs_of(words + 3, count - 3, pairs);
    return mig_kube_apply_configmap(probe->kube, &configmap, &reply, error);
}

static int run_event(struct probe *probe, char **words, int count, struct mig_error *error)
{
    const struct mig_kube_recorder_options options = {"migd", words[1]};
    const struct mig_kube_regarding node = {"v1", "Node", NULL, words[1], words[1]};
    unsigned times = count > 4 ? (unsigned)strtoul(words[4], NULL, 10) : 1;
    int rc = mig_kube_recorder_new(probe->kube, &options, &probe->recorder, error);

    for (unsigned i = 0; rc == 0 && i < times; i++) {
        mig_kube_record(probe->recorder, &node, true, words[2], "Probe", words[3]);
    }
    return rc;
}

static int run_long(struct probe *probe, char **words, struct mig_error *error)
{
    const struct mig_kube_watch_options watch = {.path = words[1],
                                                 .field_selector = probe->field,
                                                 .label_selector = probe->label,
                                                 .offline_after_ms = probe->offline_after_ms,
                                                 .event = on_event,
                                                 .data = probe};
    const struct mig_kube_list_options list = {.path = words[1],
                                               .field_selector = probe->field,
                                               .label_selector = probe->label,
                                               .page_size = probe->page,
                                               .item = on_item,
                                               .done = on_listed,
                                               .data = probe};
    struct mig_kube_lease_options lease = {.changed = on_lease, .data = probe};

    if (strcmp(words[0], "watch") == 0) {
        return mig_kube_watch_new(probe->kube, &watch, &probe->watch, error);
    }
    if (strcmp(words[0], "list") == 0) {
        return mig_kube_list(probe->kube, &list, NULL, error);
    }
    lease.namespace_name = words[1];
    lease.name = words[2];
    lease.identity = words[3];
    lease.duration_ms = 3000;
    return mig_kube_lease_new(probe->kube, &lease, &probe->lease, error);
}

static int run_can(struct probe *probe, char **words, struct mig_error *error)
{
    const struct mig_kube_reply reply = {.done = on_can, .data = probe};

    return mig_kube_can(probe->kube, words[1], words[2], words[3], NULL, NULL, &reply, error);
}

static int run(struct probe *probe, char **words, int count, struct mig_error *error)
{
    static const struct {
        const char *name;
        int least;
    } commands[] = {{"get", 2},       {"list", 2},    {"watch", 2},  {"patch", 3},
                    {"taint", 3},     {"get-pod", 3}, {"delete", 3}, {"evict", 3},
                    {"configmap", 3}, {"event", 4},   {"lease", 4},  {"can", 4}};
    const struct mig_kube_reply reply = reply_of(probe);
    size_t i = 0;

    while (i < MIG_ARRAY_SIZE(commands) && strcmp(words[0], commands[i].name) != 0) {
        i++;
    }
    if (i == MIG_ARRAY_SIZE(commands) || count < commands[i].least) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0, "%s", usage);
    }
    switch (i) {
    case 0:
        return mig_kube_get(probe->kube, words[1], &reply, error);
    case 3:
        return run_patch(probe, words, count, error);
    case 4:
        return run_taint(probe, words, error);
    case 5:
    case 6:
    case 7:
        return run_pod(probe, words, count, error);
    case 8:
        return run_configmap(probe, words, count, error);
    case 9:
        return run_event(probe, words, count, error);
    case 11:
        return run_can(probe, words, error);
    default:
        return run_long(probe, words, error);
    }
}

/* --- the program --- */

static void on_time(uv_timer_t *timer)
{
    end(timer->data, 0);
}

static void parse_options(struct probe *probe, int argc, char **argv)
{
    static const struct option options[] = {{"kubeconfig", required_argument, NULL, 'k'},
                                            {"field", required_argument, NULL, 'f'},
                                            {"label", required_argument, NULL, 'l'},
                                            {"page", required_argument, NULL, 'p'},
                                            {"for", required_argument, NULL, 's'},
                                            {"version", required_argument, NULL, 'v'},
                                            {"owner", required_argument, NULL, 'o'},
                                            {"timeout", required_argument, NULL, 't'},
                                            {"offline-after", required_argument, NULL, 'a'},
                                            {"verbose", no_argument, NULL, 'V'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        const char **const texts[256] = {['k'] = &probe->kubeconfig,
                                         ['f'] = &probe->field,
                                         ['l'] = &probe->label,
                                         ['v'] = &probe->version,
                                         ['o'] = &probe->owner};
        unsigned number = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;

        if (option == '?') {
            fputs(usage, stderr);
            exit(2);
        }
        if (texts[option]) {
            *texts[option] = optarg;
        }
        probe->page = option == 'p' ? number : probe->page;
        probe->for_ms = option == 's' ? number * 1000 : probe->for_ms;
        probe->timeout_ms = option == 't' ? number : probe->timeout_ms;
        probe->offline_after_ms = option == 'a' ? number : probe->offline_after_ms;
        probe->verbose = probe->verbose || option == 'V';
    }
}

static void free_all(struct probe *probe)
{
    mig_kube_watch_free(probe->watch);
    mig_kube_lease_free(probe->lease);
    mig_kube_recorder_free(probe->recorder);
    if (probe->lease) { /* it is given back */
        probe->lease = NULL;
        uv_timer_start(&probe->timer, on_time, 500, 0);
        uv_run(&probe->loop, UV_RUN_DEFAULT);
    }
    mig_kube_free(probe->kube);
    uv_close((uv_handle_t *)&probe->timer, NULL);
    uv_run(&probe->loop, UV_RUN_DEFAULT);
    uv_loop_close(&probe->loop);
}

int main(int argc, char **argv)
{
    struct probe probe = {.kubeconfig = NULL};
    struct mig_kube_config config = {0};
    const struct mig_kube_options options = {.config = &config,
                                             .user_agent = "kube-probe",
                                             .rate_per_s = 100,
                                             .burst = 100,
                                             .observe = observe,
                                             .data = &probe};
    struct mig_error error = {0};
    int rc;

    parse_options(&probe, argc, argv);
    if (optind == argc) {
        fputs(usage, stderr);
        return 2;
    }
    rc = mig_kube_config_load_default(probe.kubeconfig, &config, &error);
    if (rc == 0) {
        uv_loop_init(&probe.loop);
        uv_timer_init(&probe.loop, &probe.timer);
        probe.timer.data = &probe;
        rc = mig_kube_new(&probe.loop, &options, &probe.kube, &error);
        if (rc == 0) {
            rc = run(&probe, argv + optind, argc - optind, &error);
        }
        if (rc == 0) {
            if (probe.for_ms > 0) {
                uv_timer_start(&probe.timer, on_time, probe.for_ms, 0);
            }
            uv_run(&probe.loop, UV_RUN_DEFAULT);
        }
        free_all(&probe);
    }
    mig_kube_config_release(&config);
    if (rc < 0) {
        put_error(&error);
        return rc == MIG_E_USAGE ? 2 : 1;
    }
    return probe.exit_code;
}
