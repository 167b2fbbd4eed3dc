/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The selection of the device plugin's config against a scripted API server: one node, one
 * ConfigMap, events that are counted; and a folder as the kubelet mounts a ConfigMap.
 */
#include "base/cleanup.h"
#include "daemon/config_set.h"
#include "daemon/log.h"
#include "daemon/plugin_select.h"
#include "exporter/own.h"
#include "kube_server.h"
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct test {
    struct kube_server server;
    struct mig_kube *kube;
    struct daemon_values values;
    char words[8][96], *argv[8]; /* of the command line */
    struct plugin_select *select;
    struct mig_counters *counters;
    char folder[64];
    char label[64];  /* "" = the node has none */
    const char *map; /* items of the list of ConfigMaps */
    unsigned version;
    bool silent; /* the API server does not answer for nodes */
    struct kube_seen *node_stream, *map_stream;
    /* what came of it */
    unsigned used, settled, events, refused, looked;
    char name[64], text[256], event[1024];
    const char *bad; /* a text that is refused */
};

#define NODE                                                                                     \
    "{\"metadata\":{\"name\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"%u\",\"labels\":{%s%s%s}" \
    "}}"
#define MAP(version, data)                                                        \
    "{\"metadata\":{\"name\":\"plugin\",\"namespace\":\"default\",\"uid\":\"m\"," \
    "\"resourceVersion\":\"" version "\"},\"data\":{" data "}}"

static void write_node(struct test *test, char *out, size_t size)
{
    snprintf(out, size, NODE, ++test->version,
             test->label[0] ? "\"nvidia.com/device-plugin.config\":\"" : "", test->label,
             test->label[0] ? "\"" : "");
}

static void answer_list(struct kube_seen *request, const char *items)
{
    kube_answer(request, 200, NULL, "{\"metadata\":{\"resourceVersion\":\"1\"},\"items\":[%s]}",
                items);
}

static void handle(struct kube_seen *request, void *data)
{
    struct test *test = data;
    bool is_watch = strstr(request->path, "watch=true") != NULL;
    char node[512];

    if (strstr(request->path, "/events")) {
        snprintf(test->event, sizeof(test->event), "%.*s", (int)request->body_size, request->body);
        test->events++;
        kube_answer(request, 201, NULL, "{}");
    } else if (strstr(request->path, "/nodes")) {
        if (is_watch) {
            test->node_stream = request;
            kube_begin(request);
        } else if (!test->silent) {
            write_node(test, node, sizeof(node));
            answer_list(request, node);
        }
    } else if (is_watch) {
        test->map_stream = request;
        kube_begin(request);
    } else {
        answer_list(request, test->map ? test->map : "");
    }
    test->looked++;
}

static int use(const char *name, const char *text, size_t size, struct mig_error *error, void *data)
{
    struct test *test = data;

    if (text && test->bad && strcmp(text, test->bad) == 0) {
        test->refused++;
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 1, "%s:1:1: is bad", name);
    }
    assert_int_equal(text ? strlen(text) : 0, size);
    snprintf(test->name, sizeof(test->name), "%s", name ? name : "-");
    snprintf(test->text, sizeof(test->text), "%s", text ? text : "");
    test->used++;
    return 0;
}

static void settled(void *data)
{
    ((struct test *)data)->settled++;
}

static void put(const struct test *test, const char *name, const char *text)
{
    char path[160];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", test->folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void begin(struct test *test)
{
    static const char template[] = "/tmp/migd-select-XXXXXX";

    *test = (struct test){0};
    memcpy(test->folder, template, sizeof(template));
    assert_non_null(mkdtemp(test->folder));
    test->counters = mig_counters_new();
    kube_server_start(&test->server, handle, test);
    test->kube = kube_server_client(&test->server, "secret", NULL);
}

static void start(struct test *test, bool has_manager, bool has_cluster, const char *const *words)
{
    int argc = 0;
    const struct plugin_select_options options = {
        .loop = &test->server.loop,
        .values = &test->values,
        .kube = has_cluster ? test->kube : NULL,
        .node_name = "n",
        .counters = test->counters,
        .has_manager = has_manager,
        .use = use,
        .settled = settled,
        .data = test,
    };

    for (; words[argc]; argc++) {
        snprintf(test->words[argc], sizeof(test->words[argc]), "%s", words[argc]);
        test->argv[argc] = test->words[argc];
    }
    assert_int_equal(daemon_values_read(argc, test->argv, &test->values, NULL), 0);
    assert_int_equal(plugin_select_new(&options, &test->select, NULL), 0);
    assert_int_equal(test->used, 0);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static void end(struct test *test)
{

    plugin_select_free(test->select);
    mig_kube_free(test->kube);
    kube_server_stop(&test->server);
    mig_counters_free(test->counters);
    daemon_values_release(&test->values);
    assert_int_equal(nftw(test->folder, remove_one, 4, FTW_DEPTH | FTW_PHYS), 0);
}

#define START(test, has_manager, has_cluster, ...) \
    start(test, has_manager, has_cluster, (const char *const[]){"migd", __VA_ARGS__, NULL})

static void wait_for(struct test *test, const unsigned *value, unsigned wanted)
{
    if (!kube_server_run(&test->server, value, wanted)) {
        fail_msg("used %u '%s', settled %u, events %u: %s", test->used, test->name, test->settled,
                 test->events, test->event);
    }
}

static void label(struct test *test, const char *value)
{
    char node[512], event[600];

    snprintf(test->label, sizeof(test->label), "%s", value);
    write_node(test, node, sizeof(node));
    snprintf(event, sizeof(event), "{\"type\":\"MODIFIED\",\"object\":%s}\n", node);
    kube_send(test->node_stream, event);
}

static void is_used(struct test *test, unsigned times, const char *name, const char *text)
{
    wait_for(test, &test->used, times);
    assert_int_equal(test->used, times);
    assert_string_equal(test->name, name);
    assert_string_equal(test->text, text);
}

static void is_told(struct test *test, unsigned times, const char *reason, const char *part)
{
    wait_for(test, &test->events, times);
    assert_non_null(strstr(test->event, reason));
    if (!strstr(test->event, part)) {
        fail_msg("'%s' lacks '%s'", test->event, part);
    }
}

/* The label changes live; a name that is not there changes nothing and is told; then the default.
 */
static void F3_label_and_folder(void **state)
{
    struct test test;

    (void)state;
    begin(&test);
    put(&test, "default", "D");
    put(&test, "shared", "S");
    put(&test, ".hidden", "H");
    snprintf(test.label, sizeof(test.label), "shared");
    START(&test, false, true, "--plugin-config-dir", test.folder);
    is_used(&test, 1, "shared", "S");
    assert_int_equal(test.settled, 1);
    is_told(&test, 1, "DevicePluginConfigApplied", "config 'shared'");
    wait_for(&test, &test.looked, 3);
    label(&test, "default");
    is_used(&test, 2, "default", "D");
    is_told(&test, 2, "DevicePluginConfigApplied", "config 'default'");
    label(&test, "shard");
    is_told(&test, 3, "DevicePluginConfigInvalid", "'shard'");
    assert_non_null(strstr(test.event, "config default stays in force"));
    assert_non_null(strstr(test.event, "the configs are default, shared"));
    label(&test, "shared");
    is_used(&test, 3, "shared", "S");
    label(&test, "");
    is_used(&test, 4, "default", "D");
    assert_int_equal(test.settled, 1);
    end(&test);
}

/* Files that change, come and go under a label that stays. */
static void F3_F4_configs_change_under_their_names(void **state)
{
    struct test test;

    (void)state;
    begin(&test);
    put(&test, "one", "1");
    snprintf(test.label, sizeof(test.label), "two");
    test.bad = "bad";
    START(&test, false, true, "--plugin-config-dir", test.folder, "--plugin-config-fallback",
          "single");
    /* nothing was in force, so the node has what it would have without the label */
    is_used(&test, 1, "one", "1");
    is_told(&test, 2, "DevicePluginConfigInvalid", "'two'");
    put(&test, "two", "2");
    is_used(&test, 2, "two", "2");
    put(&test, "two", "22");
    is_used(&test, 3, "two", "22");
    put(&test, "two", "bad");
    is_told(&test, 4, "DevicePluginConfigInvalid", "two:1:1: is bad; config two stays");
    assert_string_equal(test.text, "22");
    put(&test, "two", "222");
    is_used(&test, 4, "two", "222");
    end(&test);
}

static void F3_configs_of_a_config_map(void **state)
{
    struct test test;

    (void)state;
    begin(&test);
    snprintf(test.label, sizeof(test.label), "b");
    test.map = MAP("5", "\"a\":\"A\",\"b\":\"B\"");
    START(&test, false, true, "--plugin-config-map", "plugin", "--plugin-default-config", "a");
    is_used(&test, 1, "b", "B");
    wait_for(&test, &test.looked, 4);
    kube_send(test.map_stream,
              "{\"type\":\"MODIFIED\",\"object\":" MAP("6", "\"a\":\"A\",\"b\":\"BB\"") "}\n");
    is_used(&test, 2, "b", "BB");
    kube_send(test.map_stream, "{\"type\":\"DELETED\",\"object\":" MAP("7", "") "}\n");
    is_told(&test, 2, "DevicePluginConfigInvalid", "'default/plugin' was deleted; config b stays");
    label(&test, "");
    kube_server_run_ms(&test.server, 200);
    is_used(&test, 2, "b", "BB");
    kube_send(test.map_stream, "{\"type\":\"ADDED\",\"object\":" MAP("8", "\"a\":\"A\"") "}\n");
    is_used(&test, 3, "a", "A");
    end(&test);
}

/* What the manager tells: the ClusterPolicy says where the configs are, and the default. */
static void F3_configs_of_the_cluster_policy(void **state)
{
    struct test test;
    json_t *node =
        json_pack("{s:{s:{s:s}}}", "metadata", "labels", "nvidia.com/device-plugin.config", "b");

    (void)state;
    begin(&test);
    test.map = MAP("5", "\"a\":\"A\",\"b\":\"B\"");
    START(&test, true, true, "--cluster-policy", "yes");
    plugin_select_policy(test.select, "plugin", "a");
    plugin_select_object(test.select, NULL);
    is_used(&test, 1, "a", "A");
    plugin_select_object(test.select, node);
    is_used(&test, 2, "b", "B");
    plugin_select_policy(test.select, "", "");
    is_used(&test, 3, "-", "");
    assert_int_equal(test.settled, 1);
    json_decref(node);
    end(&test);
}

/* Without a policy there is nothing to wait for; without an answer, it is not waited for long. */
static void F3_beginning(void **state)
{
    struct test test;

    (void)state;
    begin(&test);
    START(&test, true, true, "--cluster-policy", "yes");
    plugin_select_policy(test.select, "", "");
    assert_int_equal(test.settled, 0);
    plugin_select_object(test.select, NULL);
    assert_int_equal(test.settled, 1);
    is_used(&test, 1, "-", "");
    end(&test);

    begin(&test);
    put(&test, "default", "D");
    test.silent = true;
    START(&test, false, true, "--plugin-config-dir", test.folder);
    wait_for(&test, &test.settled, 1);
    is_used(&test, 1, "default", "D");
    end(&test);

    begin(&test);
    put(&test, "only", "O");
    START(&test, false, false, "--plugin-config-dir", test.folder);
    kube_server_run_ms(&test.server, 1); /* what comes of a timer does not end a turn */
    is_used(&test, 1, "only", "O");
    end(&test);

    begin(&test);
    START(&test, false, true, "--plugin-config-file", "x", "--plugin-config-dir", test.folder);
    assert_null(test.select);
    test.select = NULL;
    plugin_select_object(test.select, NULL);
    plugin_select_policy(test.select, "", "");
    kube_server_run_ms(&test.server, 1);
    end(&test);
}

static void F3_limits_of_configs(void **state)
{
    struct test test;
    struct config_set set;
    struct mig_error error;
    char name[16], *large = calloc(1, CONFIG_SET_BYTES_MAX);

    (void)state;
    begin(&test);
    assert_int_equal(config_set_read_folder("/does/not/exist", &set, &error), MIG_E_CONFIG);
    assert_int_equal(config_set_folder_state("/does/not/exist"), 0);
    for (unsigned i = 0; i < CONFIG_SET_MAX; i++) {
        snprintf(name, sizeof(name), "c%02u", CONFIG_SET_MAX - i);
        put(&test, name, "x");
    }
    assert_int_equal(config_set_read_folder(test.folder, &set, &error), 0);
    assert_int_equal(set.count, CONFIG_SET_MAX);
    assert_string_equal(set.items[0].name, "c01");
    config_set_release(&set);
    put(&test, "one-more", "x");
    assert_int_equal(config_set_read_folder(test.folder, &set, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "more than 64 configs"));
    assert_int_equal(set.count, 0);
    end(&test);

    begin(&test);
    assert_non_null(large);
    memset(large, 'x', CONFIG_SET_BYTES_MAX - 1);
    put(&test, "large", large);
    put(&test, "small", "xx");
    assert_int_equal(config_set_read_folder(test.folder, &set, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "configs of more than"));
    free(large);
    end(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F3_label_and_folder),
        cmocka_unit_test(F3_F4_configs_change_under_their_names),
        cmocka_unit_test(F3_configs_of_a_config_map),
        cmocka_unit_test(F3_configs_of_the_cluster_policy),
        cmocka_unit_test(F3_beginning),
        cmocka_unit_test(F3_limits_of_configs),
    };

    for (size_t i = 0; i < DAEMON_OPTION_COUNT; i++) {
        for (size_t j = 0; j < 2 && daemon_options[i].variables[j]; j++) {
            (void)unsetenv(daemon_options[i].variables[j]);
        }
    }
    log_setup(log_level_of("error"), log_format_of("text"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
