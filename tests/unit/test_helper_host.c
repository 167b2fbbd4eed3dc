/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of host operations that are files and text, of messages over a real socket, and of what the
 * privileged program is started with. */
#include "base/cleanup.h"
#include "base/command.h"
#include "base/file.h"
#include "helper/arguments.h"
#include "helper/channel.h"
#include "helper/host.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    assert_true(mig_host_is_name("nvidia-dcgm.service"));
    assert_true(mig_host_is_name("getty@tty1.service"));
    assert_true(mig_host_is_name("all_1g.5gb"));
    assert_false(mig_host_is_name(""));
    assert_false(mig_host_is_name("--force"));
    assert_false(mig_host_is_name("../x"));
    assert_false(mig_host_is_name("a b"));
    assert_false(mig_host_is_name("a/b"));
    assert_false(mig_host_is_name("a;reboot"));
    assert_false(mig_host_is_name("a\nb"));
    assert_false(mig_host_is_name("a\"b"));
    assert_true(mig_host_is_plugin_socket("nvidia-mig-1g.5gb.sock"));
    assert_false(mig_host_is_plugin_socket("nvidia-.sock"));
    assert_false(mig_host_is_plugin_socket("kubelet.sock"));
    assert_false(mig_host_is_plugin_socket("nvidia-gpu.sockx"));
}

/* ---- the drop-in ---- */

static void assert_selected(const char *before, const char *after)
{
    MIG_AUTO_BUFFER struct mig_buffer out;

    mig_buffer_init(&out, 4096);
    assert_int_equal(mig_host_select_config(before, "new", &out), 0);
    assert_string_equal(out.data, after);
}

#define LINE(name) "Environment=\"MIG_PARTED_SELECTED_CONFIG=" name "\"\n"

static void test_state_file(void **state)
{
    MIG_AUTO_BUFFER struct mig_buffer small;

    (void)state;
    assert_selected("", "[Service]\n" LINE("new"));
    assert_selected("[Service]\n" LINE("old"), "[Service]\n" LINE("new"));
    assert_selected("[Service]\nEnvironment=MIG_PARTED_SELECTED_CONFIG=old",
                    "[Service]\n" LINE("new"));
    /* what else is in it stays, and only one line selects */
    assert_selected("# mine\n[Service]\nEnvironment=\"MIG_PARTED_CONFIG_FILE=/etc/c.yaml\"\n" LINE(
                        "old") "Nice=5\n" LINE("older") "[Install]\nAlias=x\n",
                    "# mine\n[Service]\nEnvironment=\"MIG_PARTED_CONFIG_FILE=/etc/c.yaml\"\n" LINE(
                        "new") "Nice=5\n[Install]\nAlias=x\n");
    assert_selected("[Unit]\nAfter=a\n[Service]\nNice=5\n",
                    "[Unit]\nAfter=a\n[Service]\n" LINE("new") "Nice=5\n");
    assert_selected("[Unit]\nAfter=a\n", "[Unit]\nAfter=a\n[Service]\n" LINE("new"));
    mig_buffer_init(&small, 20);
    assert_int_equal(mig_host_select_config("", "new", &small), EFBIG);
}

/* ---- device nodes ---- */

static char tree[64];

static const char *in_tree(const char *name)
{
    static char path[2][256];
    static unsigned which;

    which = !which;
    (void)snprintf(path[which], sizeof(path[which]), "%s/%s", tree, name);
    return path[which];
}

static void put(const char *name, const char *text)
{
    char directory[256];

    (void)snprintf(directory, sizeof(directory), "%s", in_tree(name));
    *strrchr(directory, '/') = '\0';
    assert_int_equal(mig_mkdir_parents(directory, 0755, NULL), 0);
    assert_int_equal(mig_file_write_atomic(in_tree(name), text, strlen(text), 0644, NULL), 0);
}

static void remove_tree(void)
{
    const char *const words[] = {"rm", "-rf", tree, NULL};
    struct mig_command command = {.words = words, .timeout_ms = 10000};

    assert_int_equal(mig_command_run(&command, NULL), 0);
}

static void assert_node(const char *name, unsigned minor, unsigned mode)
{
    struct stat found;

    assert_int_equal(lstat(in_tree(name), &found), 0);
    assert_true(S_ISCHR(found.st_mode));
    assert_int_equal(major(found.st_rdev), 239);
    assert_int_equal(minor(found.st_rdev), minor);
    assert_int_equal(found.st_mode & 0777, mode);
}

static void make_caps_tree(void)
{
    put("proc/devices",
        "Character devices:\n  1 mem\n195 nvidia\n239 nvidia-caps\n\nBlock devices:\n");
    put("proc/driver/nvidia-caps/mig-minors",
        "config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi1/access 12\ngpu0/gi1/ci0/access 13\n"
        "gpu1/gi1/access 147\nbad\n../../x 4\n");
    put("proc/driver/nvidia/capabilities/mig/config",
        "DeviceFileMinor: 1\nDeviceFileMode: 256\nDeviceFileModify: 1\n");
    put("proc/driver/nvidia/capabilities/gpu0/mig/gi1/access",
        "DeviceFileMinor: 12\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
    put("proc/driver/nvidia/capabilities/gpu0/mig/gi1/ci0/access",
        "DeviceFileMinor: 13\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
    put("proc/driver/nvidia/capabilities/gpu1/mig/gi1/access",
        "DeviceFileMinor: 147\nDeviceFileMode: 292\nDeviceFileModify: 0\n");
}

static void test_D2_capability_nodes(void **state)
{
    bool changed = false;
    char proc[256], dev[256];
    struct mig_error error = {0};
    struct stat found;

    (void)state;
    (void)snprintf(tree, sizeof(tree), "/tmp/mig-caps-XXXXXX");
    assert_non_null(mkdtemp(tree));
    (void)snprintf(proc, sizeof(proc), "%s", in_tree("proc"));
    (void)snprintf(dev, sizeof(dev), "%s", in_tree("dev"));
    assert_int_equal(mig_host_make_caps(proc, dev, &changed, &error), 0); /* no driver */
    assert_false(changed);
    make_caps_tree();
    if (mknod(in_tree("probe"), S_IFCHR | 0600, makedev(1, 3)) < 0) {
        remove_tree();
        skip(); /* device nodes cannot be made here */
    }
    assert_int_equal(mig_host_make_caps(proc, dev, &changed, &error), 0);
    assert_true(changed);
    assert_node("dev/nvidia-caps/nvidia-cap1", 1, 0400);
    assert_node("dev/nvidia-caps/nvidia-cap12", 12, 0444);
    assert_node("dev/nvidia-caps/nvidia-cap13", 13, 0444);
    assert_int_equal(lstat(in_tree("dev/nvidia-caps/nvidia-cap147"), &found), -1); /* not ours */
    assert_int_equal(lstat(in_tree("dev/nvidia-caps/nvidia-cap3"), &found), -1);   /* not there */
    assert_int_equal(mig_host_make_caps(proc, dev, &changed, &error), 0);
    assert_false(changed);
    /* what is wrong is corrected: a mode, and something else in its place */
    assert_int_equal(chmod(in_tree("dev/nvidia-caps/nvidia-cap12"), 0600), 0);
    assert_int_equal(unlink(in_tree("dev/nvidia-caps/nvidia-cap13")), 0);
    put("dev/nvidia-caps/nvidia-cap13", "x");
    assert_int_equal(mig_host_make_caps(proc, dev, &changed, &error), 0);
    assert_true(changed);
    assert_node("dev/nvidia-caps/nvidia-cap12", 12, 0444);
    assert_node("dev/nvidia-caps/nvidia-cap13", 13, 0444);
    put("proc/driver/nvidia/capabilities/gpu0/mig/gi1/access", "DeviceFileMode: 292\n");
    assert_int_equal(mig_host_make_caps(proc, dev, &changed, &error), MIG_E_FAILED);
    assert_non_null(strstr(error.message, "does not say which device node"));
    remove_tree();
}

/* ---- messages over a socket ---- */

static int receive(struct mig_receiver *receiver, int fd, struct mig_message **ret)
{
    *ret = NULL;
    return mig_receiver_read(receiver, fd, ret, NULL);
}

static void test_descriptors(void **state)
{
    MIG_AUTO_MESSAGE struct mig_message *started = mig_message_new(MIG_MESSAGE_STARTED, 0);
    MIG_AUTO_MESSAGE struct mig_message *read_it = mig_message_new(MIG_MESSAGE_READ, 5);
    MIG_AUTO_MESSAGE struct mig_message *got = NULL, *next = NULL, *none = NULL;
    struct mig_receiver receiver;
    struct stat sent, arrived;
    int ends[2];

    (void)state;
    mig_receiver_init(&receiver, MIG_CHANNEL_REQUEST_MAX);
    assert_int_equal(mig_channel_pair(ends, NULL), 0);
    started->fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(mig_channel_send(ends[0], started, 0, NULL), 0);
    assert_int_equal(mig_channel_send(ends[0], read_it, 0, NULL), 0);
    assert_int_equal(receive(&receiver, ends[1], &got), 1);
    assert_int_equal(got->type, MIG_MESSAGE_STARTED);
    assert_int_equal(fstat(started->fd, &sent), 0);
    assert_int_equal(fstat(got->fd, &arrived), 0);
    assert_int_equal(sent.st_rdev, arrived.st_rdev);
    assert_int_equal(receive(&receiver, ends[1], &next), 1);
    assert_int_equal(next->type, MIG_MESSAGE_READ);
    assert_int_equal(next->request, 5);
    assert_int_equal(next->fd, -1);
    assert_int_equal(receive(&receiver, ends[1], &none), 0);
    close(ends[0]);
    assert_true(receive(&receiver, ends[1], &none) < 0);
    close(ends[1]);
}

/* Byte by byte it is the same message. */
static void test_pieces(void **state)
{
    MIG_AUTO_MESSAGE struct mig_message *said = mig_message_new(MIG_MESSAGE_SAID, 0);
    MIG_AUTO_MESSAGE struct mig_message *got = NULL;
    MIG_AUTO_BUFFER struct mig_buffer bytes;
    struct mig_receiver receiver;
    int ends[2];

    (void)state;
    mig_receiver_init(&receiver, MIG_CHANNEL_REQUEST_MAX);
    mig_buffer_init(&bytes, 4096);
    (void)snprintf(said->text, sizeof(said->text), "in pieces");
    assert_int_equal(mig_message_encode(said, &bytes, NULL), 0);
    assert_int_equal(mig_channel_pair(ends, NULL), 0);
    for (size_t i = 0; i < bytes.size; i++) {
        assert_int_equal(receive(&receiver, ends[1], &got), 0);
        assert_int_equal(send(ends[0], bytes.data + i, 1, MSG_NOSIGNAL), 1);
    }
    assert_int_equal(receive(&receiver, ends[1], &got), 1);
    assert_string_equal(got->text, "in pieces");
    close(ends[0]);
    close(ends[1]);
}

/* A descriptor that does not belong there, and a body that is too large for this side. */
static void test_violations(void **state)
{
    MIG_AUTO_MESSAGE struct mig_message *big = mig_message_new(MIG_MESSAGE_CHANGED, 0);
    MIG_AUTO_MESSAGE struct mig_message *got = NULL;
    struct mig_receiver receiver;
    int ends[2];

    (void)state;
    big->node = calloc(1, sizeof(*big->node));
    big->node->gpus = calloc(1, sizeof(*big->node->gpus));
    big->node->gpu_count = 1;
    mig_receiver_init(&receiver, 16);
    assert_int_equal(mig_channel_pair(ends, NULL), 0);
    assert_int_equal(mig_channel_send(ends[0], big, 0, NULL), 0);
    assert_true(receive(&receiver, ends[1], &got) < 0);
    mig_receiver_release(&receiver);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(mig_channel_pair(ends, NULL), 0);
    big->fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(mig_channel_send(ends[0], big, 0, NULL), MIG_E_FAILED);
    close(ends[0]);
    close(ends[1]);
}

/* ---- the words that migd-helper is run with ---- */

static int count_of(char **words)
{
    int count = 0;

    while (words[count]) {
        count++;
    }
    return count;
}

static void assert_same_text(const char *one, const char *other)
{
    assert_int_equal(one == NULL, other == NULL);
    if (one) {
        assert_string_equal(one, other);
    }
}

/* What is told is what is read; NULL, "" and 0 stay what they are. */
static void test_arguments(void **state)
{
    const struct mig_helper_arguments given = {
        .protocol = "1-x",
        .control = 7,
        .agent = 4711,
        .options = {.state_dir = "/state dir",
                    .library = "/x=y",
                    .driver_root = "",
                    .host_root = "--host-root=/",
                    .kubelet_dir = "/k",
                    .cdi_dir = "/c",
                    .host_dev_root = "/d",
                    .cdi_hook = "/h",
                    .clients_file = "/clients.yaml",
                    .allow_reboot = 1,
                    .poll_interval_ms = 300,
                    .restart_max_ms = UINT32_MAX},
    };
    struct mig_helper_arguments got = {.options = {.state_file = "nothing"}};
    char *words[MIG_ARGUMENT_MAX];

    (void)state;
    assert_int_equal(mig_helper_arguments_make(&given, words, NULL), 0);
    assert_int_equal(mig_helper_arguments_read_fixed(count_of(words), words, &got, NULL), 0);
    assert_int_equal(mig_helper_arguments_read(count_of(words), words, &got, NULL), 0);
    assert_string_equal(got.protocol, given.protocol);
    assert_int_equal(got.control, given.control);
    assert_int_equal(got.agent, given.agent);
    assert_same_text(got.options.state_dir, given.options.state_dir);
    assert_same_text(got.options.library, given.options.library);
    assert_same_text(got.options.driver_root, given.options.driver_root);
    assert_same_text(got.options.host_root, given.options.host_root);
    assert_same_text(got.options.kubelet_dir, given.options.kubelet_dir);
    assert_same_text(got.options.cdi_dir, given.options.cdi_dir);
    assert_same_text(got.options.dev_root, NULL);
    assert_same_text(got.options.host_driver_root, NULL);
    assert_same_text(got.options.host_dev_root, given.options.host_dev_root);
    assert_same_text(got.options.cdi_hook, given.options.cdi_hook);
    assert_same_text(got.options.state_file, NULL);
    assert_same_text(got.options.clients_file, given.options.clients_file);
    assert_int_equal(got.options.allow_reboot, 1);
    assert_int_equal(got.options.poll_interval_ms, given.options.poll_interval_ms);
    assert_int_equal(got.options.deadline_ms, 0);
    assert_int_equal(got.options.restart_max_ms, given.options.restart_max_ms);
    mig_helper_arguments_free(words);
}

static void test_wrong_arguments(void **state)
{
    static const char *const wrong[] = {
        "--no-such=1",
        "--state-dir",
        "state-dir=/x",
        "--poll-interval-ms=-1",
        "--poll-interval-ms=",
        "",
        "--",
        "--poll-interval-ms=4294967296",
    };
    char words[4][32] = {"migd-helper", "1-x", "7", "4711"};
    struct mig_helper_arguments got = {0};
    struct mig_error error = {0};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(wrong); i++) {
        char word[32];
        char *argv[] = {words[0], words[1], words[2], words[3], word, NULL};

        (void)snprintf(word, sizeof(word), "%s", wrong[i]);
        assert_int_equal(mig_helper_arguments_read_fixed(5, argv, &got, &error), 0);
        assert_int_equal(mig_helper_arguments_read(5, argv, &got, &error), MIG_E_USAGE);
        assert_non_null(strstr(error.message, wrong[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_state_file),
        cmocka_unit_test(test_D2_capability_nodes),
        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_wrong_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
