/* SPDX-License-Identifier: Apache-2.0 */
/* What migd reads, keeps and says: GPU clients file, cgroups, record, files that are followed, log.
 */
#include "base/cleanup.h"
#include "base/file.h"
#include "daemon/cgroup.h"
#include "daemon/file_watch.h"
#include "daemon/local_node.h"
#include "daemon/log.h"
#include "daemon/record.h"
#include "daemon/runtime.h"
#include "daemon/web.h"
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct mig_error error;

/* --- cgroups --- */

#define UID "0b3f2a6e-9c1d-4a52-8f60-1d2e3c4b5a69"
#define UID_ "0b3f2a6e_9c1d_4a52_8f60_1d2e3c4b5a69"
#define HASH "8e2f5b7c9d0a1b2c3d4e5f60718293a4"
#define ID "4f9c8b7a6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a"

static void test_cgroups(void **state)
{
    static const struct {
        const char *text, *uid, *container;
    } cases[] = {
        /* v2, both drivers, all classes */
        {"0::/kubepods/burstable/pod" UID "/" ID "\n", UID, ID},
        {"0::/kubepods/pod" UID "/" ID "\n", UID, ID},
        {"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_
         ".slice/cri-containerd-" ID ".scope\n",
         UID, ID},
        {"0::/kubepods.slice/kubepods-pod" UID_ ".slice/crio-" ID ".scope/container\n", UID, ID},
        /* as seen from another cgroup namespace, and under a parent of its own */
        {"0::/../../kubepods-burstable-pod" UID_ ".slice/cri-containerd-" ID ".scope\n", UID, ID},
        {"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_
         ".slice/cri-containerd-" ID ".scope",
         UID, ID},
        /* v1: the first controller that tells */
        {"12:devices:/system.slice\n5:memory:/kubepods/burstable/pod" UID "/" ID "\n", UID, ID},
        {"3:cpu,cpuacct:/kubepods/besteffort/pod" UID "\n", UID, ""},
        /* a static pod */
        {"0::/kubepods/burstable/pod" HASH "/" ID "\n", HASH, ID},
        /* not of a pod */
        {"", NULL, NULL},
        {"0::/system.slice/ssh.service\n", NULL, NULL},
        {"0::/user.slice/podman-" ID ".scope\n", NULL, NULL},
        {"0::/kubepods/burstable/pod\n", NULL, NULL},
        {"0::/kubepods/burstable/podzz3f2a6e-9c1d-4a52-8f60-1d2e3c4b5a69\n", NULL, NULL},
        {"0::/kubepods/burstable/pod" UID "-more/" ID "\n", NULL, NULL},
        {"garbage", NULL, NULL},
        {"0:", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct cgroup_pod pod;

        assert_int_equal(cgroup_parse(cases[i].text, &pod), cases[i].uid != NULL);
        if (cases[i].uid) {
            assert_string_equal(pod.uid, cases[i].uid);
            assert_string_equal(pod.container_id, cases[i].container);
        }
    }
}

static void test_own_cgroup(void **state)
{
    struct cgroup_pod pod;

    (void)state;
    assert_false(cgroup_of_pid("/proc", UINT32_MAX, &pod));
    (void)cgroup_of_pid("/proc", (uint32_t)getpid(), &pod); /* either, but it returns */
}

/* --- the record --- */

static char *temporary_folder(void)
{
    static char path[] = "/tmp/migd-record-XXXXXX";

    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    assert_non_null(mkdtemp(path));
    return path;
}

static void remove_folder(const char *path)
{
    static const char *const names[] = {"record.json", "manager.json", "agent", "file", "other"};
    char name[256];

    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        snprintf(name, sizeof(name), "%s/%s", path, names[i]);
        remove(name);
    }
    remove(path);
}

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(mig_file_write_atomic(path, text, strlen(text), 0644, &error), 0);
}

static void test_record(void **state)
{
    const char *text = "version: v1\nmig-configs: {}\n";
    const struct mig_manager_record written = {
        .label = "all-balanced",
        .config_name = "/etc/config.yaml",
        .config_text = text,
        .config_size = strlen(text),
        .boot_id = "boot",
        .reboot_label = "",
        .reboot_boot_id = NULL,
    };
    const char *folder = temporary_folder();
    struct record record;

    (void)state;
    assert_int_equal(record_read(folder, &record, &error), 0);
    assert_null(record.document);
    assert_int_equal(record_write(folder, &written, &error), 0);
    assert_int_equal(record_read(folder, &record, &error), 0);
    assert_non_null(record.document);
    assert_string_equal(record.record.label, "all-balanced");
    assert_int_equal(record.record.config_size, strlen(text));
    assert_string_equal(record.record.config_text, text);
    assert_string_equal(record.record.reboot_boot_id, "");
    record_release(&record);
    put_file(folder, "record.json", "{\"version\": 2}");
    assert_int_equal(record_read(folder, &record, &error), MIG_E_CONFIG);
    assert_null(record.document);
    put_file(folder, "record.json", "{");
    assert_int_equal(record_read(folder, &record, &error), MIG_E_CONFIG);
    put_file(folder, "record.json", "[]");
    assert_int_equal(record_read(folder, &record, &error), MIG_E_CONFIG);
    remove_folder(folder);
}

static void test_prepare(void **state)
{
    const char *folder = temporary_folder();
    MIG_AUTO_FREE char *agent = NULL;
    struct stat status;

    (void)state;
    assert_int_equal(record_prepare(folder, getuid(), getgid(), &agent, &error), 0);
    assert_int_equal(stat(agent, &status), 0);
    assert_int_equal(status.st_uid, getuid());
    remove_folder(folder);
}

/* --- the local node --- */

static void test_local_node(void **state)
{
    const struct mig_manager_change changes[] = {
        {false, MIG_MANAGER_LABEL_STATE, "success"},
        {true, MIG_MANAGER_ANNOTATION_MESSAGE, "done"},
        {false, "gone", NULL},
    };
    const struct mig_manager_change remove = {false, MIG_MANAGER_LABEL_STATE, NULL};
    struct local_node node = {0};
    struct mig_manager_object object;

    (void)state;
    assert_int_equal(local_node_set(&node, "all-balanced", &error), 0);
    assert_int_equal(local_node_patch(&node, changes, MIG_ARRAY_SIZE(changes), &error), 0);
    object = local_node_object(&node);
    assert_true(object.exists);
    assert_int_equal(object.label_count, 2);
    assert_int_equal(object.annotation_count, 1);
    assert_string_equal(object.resource_version, "2");
    assert_int_equal(local_node_patch(&node, &remove, 1, &error), 0);
    assert_int_equal(local_node_set(&node, "", &error), 0);
    assert_int_equal(local_node_object(&node).label_count, 0);
    for (unsigned i = 0; i < LOCAL_NODE_PAIRS_MAX; i++) {
        char key[16];
        const struct mig_manager_change more = {false, key, "x"};

        snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(local_node_patch(&node, &more, 1, &error), 0);
    }
    assert_int_equal(local_node_patch(&node, changes, 1, &error), MIG_E_FAILED);
    local_node_release(&node);
}

/* --- the log --- */

/* Runs `write` with standard error in a file, and returns what was written. */
static char *logged(void (*write)(void))
{
    static char text[65536];
    char path[] = "/tmp/migd-log-XXXXXX";
    int fd = mkstemp(path), saved = dup(STDERR_FILENO);
    ssize_t size;

    assert_true(fd >= 0 && saved >= 0);
    unlink(path);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    write();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    size = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(size >= 0);
    text[size] = '\0';
    close(fd);
    return text;
}

static void log_odd_text(void)
{
    const struct log_field field = {"holder", "a \"b\" \xc3\xa9 \xff\xc0\x80 \xed\xa0\x80"};

    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_write(LOG_LEVEL_INFO, "test", &field, 1, "one\ntwo\t%s\x01", "\\");
    log_write(LOG_LEVEL_DEBUG, "test", NULL, 0, "not wanted");
}

static void test_log_json(void **state)
{
    char *text = logged(log_odd_text);
    json_t *line;

    (void)state;
    assert_int_equal(strcspn(text, "\n") + 1, strlen(text));
    line = json_loads(text, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "level")), "info");
    assert_string_equal(json_string_value(json_object_get(line, "message")), "one\ntwo\t\\\x01");
    assert_string_equal(json_string_value(json_object_get(line, "holder")),
                        "a \"b\" \xc3\xa9 ??? ???");
    json_decref(line);
}

static void log_error_text(void)
{
    mig_error_set(&error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0, "it is busy");
    mig_error_add_holder(&error, "pod a/b");
    mig_error_hint(&error, MIG_E_BUSY, "wait");
    log_setup(LOG_LEVEL_INFO, LOG_FORMAT_TEXT);
    log_error(LOG_LEVEL_WARNING, "test", &error, "could not %s", "apply");
}

static void test_log_text(void **state)
{
    (void)state;
    assert_non_null(strstr(logged(log_error_text),
                           "Z warning test: could not apply: it is busy holders=\"pod a/b\" "
                           "hint=\"wait\"\n"));
}

static void log_too_much(void)
{
    for (unsigned i = 0; i < 5 * LOG_BURST; i++) {
        log_write(LOG_LEVEL_INFO, "test", NULL, 0, "line");
    }
}

static void test_log_limit(void **state)
{
    unsigned count = 0;

    (void)state;
    for (const char *at = logged(log_too_much); (at = strchr(at, '\n')); at++) {
        count++;
    }
    assert_in_range(count, LOG_BURST / 2, 2 * LOG_BURST);
    assert_true(log_left_out_count() > LOG_BURST);
}

/* --- where to listen --- */

static void test_listen(void **state)
{
    static const struct {
        const char *text, *host;
        uint16_t port;
    } cases[] = {
        {":9400", "", 9400}, {"127.0.0.1:0", "127.0.0.1", 0}, {"[::1]:65535", "::1", 65535}};
    static const char *const bad[] = {"", "9400", ":", ":x", ":65536", "::1:80", "127.0.0.1"};
    char host[64];
    uint16_t port;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_int_equal(web_parse_listen(cases[i].text, host, sizeof(host), &port, &error), 0);
        assert_string_equal(host, cases[i].host);
        assert_int_equal(port, cases[i].port);
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(bad); i++) {
        assert_int_equal(web_parse_listen(bad[i], host, sizeof(host), &port, &error), MIG_E_USAGE);
    }
}

/* --- a file that is followed --- */

struct watched {
    char text[64];
    unsigned count, error_count;
};

static void watched_changed(const char *path, const char *text, size_t size,
                            const struct mig_error *problem, void *data)
{
    struct watched *watched = data;

    (void)path;
    if (problem) {
        watched->error_count++;
        watched->text[0] = '\0';
        return;
    }
    assert_int_equal(strlen(text), size);
    snprintf(watched->text, sizeof(watched->text), "%s", text);
    watched->count++;
}

static void turn(uv_timer_t *timer)
{
    (void)timer;
}

/* Turns the loop until `text` is seen, or 10 s have passed. */
static void wait_for_text(uv_loop_t *loop, const struct watched *watched, const char *text)
{
    uv_timer_t tick;

    uv_timer_init(loop, &tick);
    uv_timer_start(&tick, turn, 20, 20);
    for (unsigned i = 0; i < 500 && strcmp(watched->text, text) != 0; i++) {
        uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    assert_string_equal(watched->text, text);
}

/* Written late, replaced, swapped through a link as ConfigMaps are, deleted. */
static void test_file_watch(void **state)
{
    const char *folder = temporary_folder();
    struct watched watched = {.text = "?"};
    struct file_watch *watch;
    char path[256], other[256];
    uv_loop_t loop;

    (void)state;
    snprintf(path, sizeof(path), "%s/file", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    uv_loop_init(&loop);
    assert_int_equal(file_watch_new(&loop, path, 32, watched_changed, &watched, &watch, &error), 0);
    wait_for_text(&loop, &watched, "");
    assert_int_equal(watched.error_count, 1);
    put_file(folder, "file", "one");
    wait_for_text(&loop, &watched, "one");
    put_file(folder, "file", "two");
    wait_for_text(&loop, &watched, "two");
    put_file(folder, "other", "three");
    assert_int_equal(remove(path), 0);
    assert_int_equal(symlink("other", path), 0);
    wait_for_text(&loop, &watched, "three");
    put_file(folder, "other", "a text that is longer than the limit of it");
    wait_for_text(&loop, &watched, "");
    put_file(folder, "other", "four");
    wait_for_text(&loop, &watched, "four");
    watched.text[0] = '\0';
    file_watch_again(watch);
    wait_for_text(&loop, &watched, "four");
    file_watch_free(watch);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    remove_folder(folder);
}

static void make_noise(uv_timer_t *timer)
{
    put_file(timer->data, "noise", "x");
}

/* Something else in the folder is written all the time. */
static void test_file_watch_in_noise(void **state)
{
    char *folder = strdup(temporary_folder());
    struct watched watched = {.text = "?"};
    struct file_watch *watch;
    uv_timer_t noise;
    char path[256];
    uv_loop_t loop;

    (void)state;
    snprintf(path, sizeof(path), "%s/file", folder);
    put_file(folder, "file", "one");
    uv_loop_init(&loop);
    assert_int_equal(file_watch_new(&loop, path, 32, watched_changed, &watched, &watch, &error), 0);
    wait_for_text(&loop, &watched, "one");
    uv_timer_init(&loop, &noise);
    noise.data = folder;
    uv_timer_start(&noise, make_noise, 1, 5);
    put_file(folder, "file", "two");
    wait_for_text(&loop, &watched, "two");
    uv_close((uv_handle_t *)&noise, NULL);
    file_watch_free(watch);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    remove_folder(folder);
    free(folder);
}

/* --- what the node object says of the container runtime --- */

static void test_runtime(void **state)
{
    static const struct {
        const char *version, *handlers;
        bool cdi_only;
    } known[] = {
        {"containerd://2.1.4", "[{'name': ''}, {'name': 'runc'}]", true},
        {"containerd://2.0.0-k3s1", "[{'features': {}}]", true},
        {"containerd://10.0", "[{'name': 'runc'}]", true},
        {"containerd://2.1.4", "[{'name': 'runc'}, {'name': 'nvidia-cdi'}]", false},
        {"containerd://2.1.4", "[]", false},    /* not told */
        {"containerd://1.7.27", "[{}]", false}, /* CDI is off unless somebody turns it on */
        {"cri-o://1.33.0", "[{'name': 'crun'}]", false}, /* NVIDIA's may be a hook there */
        {"docker://27.0", "[{}]", false},
        {"containerd://", "[{}]", false},
        {"", "[{}]", false},
    };
    char text[256];
    json_t *node;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(known); i++) {
        snprintf(text, sizeof(text),
                 "{'status': {'nodeInfo': {'containerRuntimeVersion': '%s'}, "
                 "'runtimeHandlers': %s}}",
                 known[i].version, known[i].handlers);
        for (char *at = text; *at; at++) {
            *at = *at == '\'' ? '"' : *at;
        }
        node = json_loads(text, 0, NULL);
        assert_non_null(node);
        assert_string_equal(runtime_version(node), known[i].version);
        if (runtime_has_cdi_only(node) != known[i].cdi_only) {
            fail_msg("%s", text);
        }
        json_decref(node);
    }
    assert_false(runtime_has_cdi_only(NULL));
    assert_string_equal(runtime_version(NULL), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cgroups),
        cmocka_unit_test(test_own_cgroup),
        cmocka_unit_test(test_record),
        cmocka_unit_test(test_prepare),
        cmocka_unit_test(test_local_node),
        cmocka_unit_test(test_file_watch),
        cmocka_unit_test(test_file_watch_in_noise),
        cmocka_unit_test(test_log_json),
        cmocka_unit_test(test_log_text),
        cmocka_unit_test(test_log_limit),
        cmocka_unit_test(test_listen),
        cmocka_unit_test(test_runtime),
    };

    (void)unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
