/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the helper does of the host: sockets of the kubelet, systemd units, a reboot, files. The
 * agent may ask for anything, and is given what the administrator allowed.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "helper_agent.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

/* ---- sockets ---- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    AGENT_CHECK(mig_text_copy(address.sun_path, sizeof(address.sun_path), path));
    AGENT_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                listen(fd, 4) == 0);
    return fd;
}

static char kubelet_dir[sizeof(((struct node *)0)->path) + 4];

static const char *kubelet_path(const char *name)
{
    static char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", kubelet_dir, name);
    return path;
}

static void check_connected(int listening, int connected)
{
    int accepted = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    char byte = 0;

    AGENT_CHECK(accepted >= 0 && write(accepted, "x", 1) == 1);
    AGENT_CHECK(recv(connected, &byte, 1, 0) == 1 && byte == 'x');
    close(accepted);
}

/* Only a socket of a plugin goes, and one that is not there is no error. */
static void scene_registry_remove(struct agent *agent)
{
    FILE *file = fopen(kubelet_path("plugins_registry/nvidia-file.sock"), "w");

    AGENT_CHECK(file && fclose(file) == 0);
    AGENT_CHECK(agent_socket(agent, MIG_HELPER_REGISTRY_REMOVE, "other.sock") == MIG_E_USAGE);
    AGENT_CHECK(agent_socket(agent, MIG_HELPER_REGISTRY_REMOVE, "nvidia-file.sock") == 0);
    close(agent->fd);
    AGENT_CHECK(access(kubelet_path("plugins_registry/nvidia-file.sock"), F_OK) == 0);
    for (unsigned i = 0; i < 2; i++) {
        AGENT_CHECK(agent_socket(agent, MIG_HELPER_REGISTRY_REMOVE, "nvidia-gpu.sock") == 0);
        close(agent->fd);
        AGENT_CHECK(access(kubelet_path("plugins_registry/nvidia-gpu.sock"), F_OK) < 0);
    }
    AGENT_CHECK(access(kubelet_path("device-plugins/nvidia-gpu.sock"), F_OK) == 0);
}

static void scene_sockets(struct agent *agent)
{
    static const char *const wrong[] = {"",
                                        "nvidia-.sock",
                                        "nvidia-a/../b.sock",
                                        "kubelet.sock",
                                        "nvidia-x.sock ",
                                        "../nvidia-x.sock",
                                        "nvidia-x"};
    int resources = listen_at(kubelet_path("pod-resources/kubelet.sock"));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    AGENT_CHECK(agent_socket(agent, MIG_HELPER_POD_RESOURCES, NULL) == 0 && agent->fd >= 0);
    check_connected(resources, agent->fd);
    close(agent->fd);
    close(resources);
    AGENT_CHECK(agent_socket(agent, MIG_HELPER_KUBELET, NULL) != 0 && agent->fd == -1);
    AGENT_CHECK(strstr(agent->error.message, "device-plugins/kubelet.sock': No such file"));
    for (size_t i = 0; i < MIG_ARRAY_SIZE(wrong); i++) {
        AGENT_CHECK(agent_socket(agent, MIG_HELPER_PLUGIN_LISTEN, wrong[i]) == MIG_E_USAGE);
    }
    for (unsigned i = 0; i < 4; i++) { /* the second replaces the first */
        bool by_registry = i >= 2;

        AGENT_CHECK(
            agent_socket(agent, by_registry ? MIG_HELPER_REGISTRY_LISTEN : MIG_HELPER_PLUGIN_LISTEN,
                         "nvidia-gpu.sock") == 0);
        AGENT_CHECK(mig_text_copy(address.sun_path, sizeof(address.sun_path),
                                  kubelet_path(by_registry ? "plugins_registry/nvidia-gpu.sock"
                                                           : "device-plugins/nvidia-gpu.sock")));
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        AGENT_CHECK(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
        check_connected(agent->fd, fd);
        close(fd);
        close(agent->fd);
    }
    scene_registry_remove(agent);
}

static void test_sockets(void **state)
{
    struct mig_helper_options options = {.kubelet_dir = kubelet_dir};
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    (void)snprintf(kubelet_dir, sizeof(kubelet_dir), "%s/k", node.path);
    assert_int_equal(mkdir(kubelet_dir, 0755), 0);
    assert_int_equal(mkdir(kubelet_path("pod-resources"), 0755), 0);
    assert_int_equal(mkdir(kubelet_path("device-plugins"), 0755), 0);
    assert_int_equal(mkdir(kubelet_path("plugins_registry"), 0755), 0);
    assert_int_equal(agent_play(&node, &options, scene_sockets), 0);
    node_remove(&node);
}

/* ---- the host ---- */

static char host_root[sizeof(((struct node *)0)->path) + 4];

static const char *host_path(const char *name)
{
    static char path[160];

    (void)snprintf(path, sizeof(path), "%s/%s", host_root, name);
    return path;
}

static void write_host(const char *name, const char *text)
{
    char directory[160];

    (void)mig_text_copy(directory, sizeof(directory), host_path(name));
    *strrchr(directory, '/') = '\0';
    AGENT_CHECK(mig_mkdir_parents(directory, 0755, NULL) == 0);
    AGENT_CHECK(mig_file_write_atomic(host_path(name), text, strlen(text), 0755, NULL) == 0);
}

static bool host_has(const char *name, const char *part)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size = 0;

    return mig_file_read(host_path(name), 1 << 16, &text, &size, NULL) == 0 && strstr(text, part);
}

#define DROP_IN "etc/systemd/system/nvidia-mig-manager.service.d/override.conf"

static void scene_host(struct agent *agent)
{
    static const char *const wrong[] = {"", "a b", "--now", "../x", "a;reboot", "x\n"};
    uint64_t begin_ms;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(wrong); i++) {
        AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_STOP, wrong[i], 0) == MIG_E_USAGE);
        AGENT_CHECK(agent_host(agent, MIG_HELPER_STATE_FILE, wrong[i], 0) == MIG_E_USAGE);
    }
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_START, "debug-shell.service", 0) == MIG_E_FAILED);
    AGENT_CHECK(strstr(agent->error.message, "is not among the services of the GPU clients file"));
    AGENT_CHECK(!host_has("calls", ""));
    /* no systemd: said at once */
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_STOP, "a.service", 0) == MIG_E_FAILED);
    AGENT_CHECK(strstr(agent->error.message, "does not run systemd"));
    AGENT_CHECK(mkdir(host_path("run"), 0755) == 0 && mkdir(host_path("run/systemd"), 0755) == 0 &&
                mkdir(host_path("run/systemd/system"), 0755) == 0);
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_STOP, "a.service", 0) == 0);
    AGENT_CHECK(agent->host_changed && host_has("units/a.service", "loaded inactive"));
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_STOP, "a.service", 0) == 0);
    AGENT_CHECK(!agent->host_changed);
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_START, "a.service", 0) == 0);
    AGENT_CHECK(agent->host_changed && host_has("calls", "--no-ask-password start -- a.service"));
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_STOP, "absent.service", 0) == 0);
    AGENT_CHECK(!agent->host_changed);
    begin_ms = mig_now_ms();
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_STOP, "hang.service", 300) == MIG_E_FAILED);
    AGENT_CHECK(mig_now_ms() - begin_ms < 10000 && strstr(agent->error.message, "was killed"));
    AGENT_CHECK(agent->host_changed); /* it may end later, and has to be started again then */
    AGENT_CHECK(agent_host(agent, MIG_HELPER_REBOOT, NULL, 0) == 0);
    AGENT_CHECK(host_has("calls", "--no-ask-password reboot"));
    /* the drop-in of nvidia-mig-manager: only if it is there */
    AGENT_CHECK(agent_host(agent, MIG_HELPER_STATE_FILE, "all-1g.6gb", 0) == 0);
    AGENT_CHECK(!agent->host_changed && !host_has(DROP_IN, ""));
    write_host(DROP_IN, "[Service]\nNice=5\nEnvironment=\"MIG_PARTED_SELECTED_CONFIG=old\"\n");
    AGENT_CHECK(agent_host(agent, MIG_HELPER_STATE_FILE, "all-1g.6gb", 0) == 0);
    AGENT_CHECK(agent->host_changed && host_has("calls", "daemon-reload"));
    AGENT_CHECK(host_has(DROP_IN, "Nice=5\nEnvironment=\"MIG_PARTED_SELECTED_CONFIG=all-1g.6gb\""));
    AGENT_CHECK(agent_host(agent, MIG_HELPER_CAPS_NODES, NULL, 0) == 0 && !agent->host_changed);
    /* where it is written is not for the agent to say */
    AGENT_CHECK(agent_host(agent, MIG_HELPER_CDI_MANAGEMENT, host_path("etc/shadow"), 0) ==
                MIG_E_USAGE);
    AGENT_CHECK(agent->lost_count == 0);
}

/* nvidia-ctk of the container: what it writes is what it was told. */
static void scene_cdi(struct agent *agent)
{
    static const char spec[] = "cdi/management.nvidia.com-gpu.yaml";

    AGENT_CHECK(mkdir(host_path("cdi"), 0755) == 0);
    AGENT_CHECK(agent_host(agent, MIG_HELPER_CDI_MANAGEMENT, NULL, 0) == 0 && !agent->host_changed);
    write_host("bin/nvidia-ctk", "#!/bin/sh\n"
                                 "for a; do case $a in --output=*) echo \"$*\" "
                                 ">>\"${a#--output=}\";; esac; done\n");
    AGENT_CHECK(agent_host(agent, MIG_HELPER_CDI_MANAGEMENT, NULL, 0) == 0 && agent->host_changed);
    AGENT_CHECK(host_has(spec, "cdi generate --mode=management "
                               "--vendor=management.nvidia.com --class=gpu "
                               "--driver-root=/drv --dev-root=/drv --output="));
    AGENT_CHECK(host_has(spec, "--nvidia-cdi-hook-path=/hook"));
    AGENT_CHECK(host_has(spec, "cdi transform root --from=/drv --to=/run/nvidia/driver"));
    write_host("bin/nvidia-ctk", "#!/bin/sh\necho no driver >&2\nexit 4\n");
    AGENT_CHECK(agent_host(agent, MIG_HELPER_CDI_MANAGEMENT, NULL, 0) == MIG_E_FAILED);
    AGENT_CHECK(strstr(agent->error.message, "'nvidia-ctk' ended with status 4: no driver"));
}

static void test_cdi(void **state)
{
    struct mig_helper_options options = {
        .driver_root = "/drv", .host_driver_root = "/run/nvidia/driver", .cdi_hook = "/hook"};
    MIG_AUTO_FREE char *path = NULL;
    MIG_AUTO_FREE char *before = strdup(getenv("PATH"));
    char cdi_dir[sizeof(host_root) + 8];
    struct node node;

    (void)state;
    node_make(&node, "A30", true);
    (void)snprintf(host_root, sizeof(host_root), "%s/h", node.path);
    (void)snprintf(cdi_dir, sizeof(cdi_dir), "%s/cdi", host_root);
    options.cdi_dir = cdi_dir;
    assert_int_equal(mkdir(host_root, 0755), 0);
    assert_true(asprintf(&path, "%s/bin:%s", host_root, before) > 0);
    (void)setenv("PATH", path, 1);
    assert_int_equal(agent_play(&node, &options, scene_cdi), 0);
    (void)setenv("PATH", before, 1);
    node_remove(&node);
}

static void copy_program(const char *name)
{
    MIG_AUTO_FREE char *program = NULL;
    const char *path = getenv("FAKE_SYSTEMCTL");
    size_t size = 0;

    AGENT_CHECK(path && mig_file_read(path, 64 << 20, &program, &size, NULL) == 0);
    AGENT_CHECK(mig_mkdir_parents(host_path("usr/bin"), 0755, NULL) == 0);
    AGENT_CHECK(mig_file_write_atomic(host_path(name), program, size, 0755, NULL) == 0);
}

/* Nothing was allowed: no file of services, no reboots. */
static void scene_host_nothing(struct agent *agent)
{
    AGENT_CHECK(agent_host(agent, MIG_HELPER_UNIT_STOP, "a.service", 0) == MIG_E_FAILED);
    AGENT_CHECK(strstr(agent->error.message, "which is not set"));
    AGENT_CHECK(agent_host(agent, MIG_HELPER_REBOOT, NULL, 0) == MIG_E_FAILED);
    AGENT_CHECK(strstr(agent->error.hint, "--with-reboot"));
    AGENT_CHECK(!host_has("calls", ""));
}

static void test_host(void **state)
{
    struct mig_helper_options options = {.host_root = host_root};
    struct node node;
    char clients[200];

    (void)state;
    if (geteuid() != 0) {
        skip(); /* no root directory to change */
    }
    node_make(&node, "A30", true);
    (void)snprintf(host_root, sizeof(host_root), "%s/h", node.path);
    copy_program("usr/bin/systemctl");
    write_host("units/a.service", "loaded active\n");
    write_host("units/hang.service", "loaded active\n");
    assert_int_equal(agent_play(&node, &options, scene_host_nothing), 0);
    write_host("clients.yaml", "version: v1\n"
                               "systemd-services: [a.service, absent.service, hang.service]\n");
    (void)mig_text_copy(clients, sizeof(clients), host_path("clients.yaml"));
    options.clients_file = clients;
    options.allow_reboot = 1;
    assert_int_equal(agent_play(&node, &options, scene_host), 0);
    node_remove(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_host),
        cmocka_unit_test(test_cdi),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
