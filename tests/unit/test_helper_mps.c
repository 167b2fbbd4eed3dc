/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPS control daemons: started, told their limits, started again, taken over and ended; with a
 * stand-in for the control program (FAKE_MPS_CONTROL), which is a process of its own as the real
 * one.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/command.h"
#include "base/file.h"
#include "helper/host.h"
#include "helper/mps.h"
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define GPU "GPU-6ae6bf4e-1111-2222-3333-0123456789ab"
#define MIG "MIG-7bf7c05f-1111-2222-3333-0123456789ab"
#define WAIT_MS 20000u
#define MODES_MAX 8

struct bench {
    char root[32], dir[96], control[64];
    struct mig_mps *mps;
    struct mig_helper_mps_state told[64];
    unsigned told_count;
    unsigned patience_ms;
    int mode, mode_error; /* of the GPU; what changing it gives */
    char said[8192];
};

static void told(const struct mig_helper_mps_state *state, void *data)
{
    struct bench *bench = data;

    bench->told[bench->told_count++ % 64] = *state;
}

static void said(const char *text, void *data)
{
    struct bench *bench = data;
    size_t length = strlen(bench->said);

    snprintf(bench->said + length, sizeof(bench->said) - length, "%s\n", text);
}

static int get_mode(const char *gpu_uuid, int *ret, struct mig_error *error, void *data)
{
    const struct bench *bench = data;

    (void)error;
    assert_string_equal(gpu_uuid, GPU);
    *ret = bench->mode;
    return 0;
}

static int set_mode(const char *gpu_uuid, int mode, struct mig_error *error, void *data)
{
    struct bench *bench = data;

    assert_string_equal(gpu_uuid, GPU);
    if (bench->mode_error) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "could not change the mode");
    }
    bench->mode = mode;
    return 0;
}

static void open_set(struct bench *bench, const char *driver_root)
{
    const struct mig_mps_options options = {
        .dir = bench->dir,
        .driver_root = driver_root,
        .get_mode = get_mode,
        .set_mode = set_mode,
        .exclusive_mode = 3,
        .patience_ms = bench->patience_ms,
        .told = told,
        .said = said,
        .data = bench,
    };

    bench->mps = mig_mps_new(&options);
    assert_non_null(bench->mps);
}

static void begin_with(struct bench *bench, unsigned patience_ms)
{
    char program[128];

    *bench = (struct bench){.root = "/tmp/mpsXXXXXX", .patience_ms = patience_ms};
    assert_non_null(mkdtemp(bench->root));
    snprintf(bench->dir, sizeof(bench->dir), "%s/mps", bench->root);
    snprintf(bench->control, sizeof(bench->control), "%s/control", bench->root);
    assert_int_equal(mkdir(bench->control, 0755), 0);
    snprintf(program, sizeof(program), "%s/nvidia-cuda-mps-control", bench->root);
    assert_int_equal(symlink(getenv("FAKE_MPS_CONTROL"), program), 0);
    snprintf(program, sizeof(program), "%s:/usr/bin:/bin", bench->root);
    setenv("PATH", program, 1);
    setenv("FAKE_MPS", bench->control, 1);
    open_set(bench, "");
}

static void begin(struct bench *bench)
{
    begin_with(bench, 0);
}

static void shell(const char *format, ...) MIG_PRINTF(1, 2);

static void shell(const char *format, ...)
{
    char text[1024];
    const char *const words[] = {"/bin/sh", "-ec", text, NULL};
    struct mig_command command = {.words = words, .timeout_ms = WAIT_MS};
    struct mig_error error = {0};
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    setenv("PATH", "/usr/bin:/bin", 1);
    if (mig_command_run(&command, &error) < 0 || mig_command_check(&command, &error) < 0) {
        fail_msg("%s", error.message);
    }
}

static void finish(struct bench *bench)
{
    mig_mps_end(bench->mps);
    assert_int_equal(mig_mps_running_count(bench->mps), 0);
    mig_mps_free(bench->mps);
    shell("rm -rf '%s'", bench->root);
}

/* What needs a mount namespace of its own cannot be tested without the right to one. */
static void need_mounts(void)
{
    int status = 1;
    pid_t pid = fork();

    if (pid == 0) {
        _exit(unshare(CLONE_NEWNS) == 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    if (status != 0) {
        skip();
    }
}

static void settle(struct bench *bench)
{
    while (mig_mps_tick(bench->mps)) {
        ;
    }
}

static const struct mig_helper_mps_state *last_told(const struct bench *bench, const char *uuid)
{
    static const struct mig_helper_mps_state nothing = {.text = "nothing was told"};

    for (unsigned i = bench->told_count; i-- > 0;) {
        if (strcmp(bench->told[i % 64].uuid, uuid) == 0) {
            return &bench->told[i % 64];
        }
    }
    return &nothing;
}

static void wait_for(struct bench *bench, const char *uuid, bool ready)
{
    uint64_t end_ms = mig_now_ms() + WAIT_MS;

    for (;;) {
        (void)mig_mps_tick(bench->mps);
        if (last_told(bench, uuid)->ready == ready) {
            return;
        }
        assert_true(mig_now_ms() < end_ms);
        mig_sleep_ms(5);
    }
}

static struct mig_helper_mps device(const char *uuid, const char *gpu, uint32_t percentage,
                                    uint32_t memory_mib)
{
    struct mig_helper_mps made = {.percentage = percentage, .memory_mib = memory_mib};

    snprintf(made.uuid, sizeof(made.uuid), "%s", uuid);
    snprintf(made.gpu_uuid, sizeof(made.gpu_uuid), "%s", gpu);
    return made;
}

static void want(struct bench *bench, const struct mig_helper_mps *devices, size_t count)
{
    mig_mps_want(bench->mps, devices, count);
    settle(bench);
}

static char *calls(const struct bench *bench)
{
    char path[128], *text = NULL;
    size_t size;

    snprintf(path, sizeof(path), "%s/calls", bench->control);
    return mig_file_read(path, 1 << 20, &text, &size, NULL) < 0 ? strdup("") : text;
}

static void assert_called(const struct bench *bench, const char *expected)
{
    MIG_AUTO_FREE char *text = calls(bench);

    if (!strstr(text, expected)) {
        fail_msg("'%s' is not in\n%s", expected, text);
    }
}

static void put(const struct bench *bench, const char *name, const char *text)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", bench->control, name);
    assert_int_equal(mig_file_write_atomic(path, text, strlen(text), 0644, NULL), 0);
}

static void take(const struct bench *bench, const char *name)
{
    char path[160];

    snprintf(path, sizeof(path), "%s/%s", bench->control, name);
    assert_int_equal(unlink(path), 0);
}

static bool exists(const struct bench *bench, const char *uuid, const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s/%s", bench->dir, uuid, name);
    return access(path, F_OK) == 0;
}

static pid_t daemon_pid(const struct bench *bench, const char *uuid)
{
    MIG_AUTO_FREE char *text = NULL;
    char path[256];
    size_t size;

    snprintf(path, sizeof(path), "%s/%s/pipe/nvidia-cuda-mps-control.pid", bench->dir, uuid);
    assert_int_equal(mig_file_read(path, 64, &text, &size, NULL), 0);
    return (pid_t)strtol(text, NULL, 10);
}

/* ---- tests ---- */

static void test_S3_life(void **state)
{
    struct bench bench;
    struct mig_helper_mps gpu = device(GPU, GPU, 25, 10240);
    pid_t pid;

    (void)state;
    need_mounts();
    begin(&bench);
    want(&bench, &gpu, 1);
    assert_true(last_told(&bench, GPU)->ready);
    assert_called(&bench, GPU " start\n");
    assert_called(&bench, GPU " set_default_device_pinned_mem_limit 0 10240M\n");
    assert_called(&bench, GPU " set_default_active_thread_percentage 25\n");
    assert_int_equal(bench.mode, 3);
    assert_true(exists(&bench, GPU, "pipe/control") && exists(&bench, GPU, "shm"));
    pid = daemon_pid(&bench, GPU);
    assert_true(mig_mps_owns(bench.mps, (uint32_t)pid));
    assert_false(mig_mps_owns(bench.mps, (uint32_t)getpid()));
    want(&bench, NULL, 0);
    assert_called(&bench, GPU " quit -t 1\n");
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(bench.mode, 0);
    assert_false(exists(&bench, GPU, ""));
    finish(&bench);
}

static void test_S4_slices(void **state)
{
    struct bench bench;
    struct mig_helper_mps both[] = {device(MIG, GPU, 50, 0), device("MIG-2", GPU, 10, 700)};

    (void)state;
    need_mounts();
    begin(&bench);
    bench.mode_error = 1; /* nobody may touch the mode of a GPU for a slice */
    want(&bench, both, 2);
    assert_true(last_told(&bench, MIG)->ready && last_told(&bench, "MIG-2")->ready);
    assert_int_not_equal(daemon_pid(&bench, MIG), daemon_pid(&bench, "MIG-2"));
    assert_called(&bench, "MIG-2 set_default_device_pinned_mem_limit 0 700M\n");
    assert_called(&bench, MIG " set_default_active_thread_percentage 50\n");
    want(&bench, &both[1], 1);
    assert_false(exists(&bench, MIG, ""));
    assert_int_equal(mig_mps_running_count(bench.mps), 1);
    finish(&bench);
    assert_null(strstr(bench.said, "mode"));
}

/* One that ends is told, and started again; its limits are set again. */
static void test_S3_restart(void **state)
{
    struct bench bench;
    struct mig_helper_mps gpu = device(GPU, GPU, 25, 0);
    pid_t pid;

    (void)state;
    need_mounts();
    begin(&bench);
    want(&bench, &gpu, 1);
    pid = daemon_pid(&bench, GPU);
    assert_int_equal(kill(pid, SIGKILL), 0);
    wait_for(&bench, GPU, false);
    assert_non_null(strstr(last_told(&bench, GPU)->text, "was ended by signal 9"));
    assert_int_equal(bench.mode, 3);
    wait_for(&bench, GPU, true);
    assert_int_not_equal(daemon_pid(&bench, GPU), pid);
    finish(&bench);
    assert_int_equal(bench.mode, 0);
}

static void test_S3_failures(void **state)
{
    struct bench bench;
    struct mig_helper_mps two[] = {device(GPU, GPU, 25, 0), device(MIG, GPU, 25, 0)};

    (void)state;
    need_mounts();
    begin(&bench);
    put(&bench, "fail-" GPU, "");
    want(&bench, two, 2);
    assert_false(last_told(&bench, GPU)->ready);
    assert_non_null(strstr(last_told(&bench, GPU)->text, "ended with status 1: stand-in: told"));
    assert_true(last_told(&bench, MIG)->ready); /* others are not held up */
    take(&bench, "fail-" GPU);
    wait_for(&bench, GPU, true);
    finish(&bench);
    /* without the program */
    begin(&bench);
    setenv("PATH", "/nonexistent", 1);
    want(&bench, two, 1);
    assert_false(last_told(&bench, GPU)->ready);
    assert_non_null(
        strstr(last_told(&bench, GPU)->text, "could not run 'nvidia-cuda-mps-control'"));
    setenv("PATH", "/usr/bin:/bin", 1);
    finish(&bench);
    /* the mode cannot be set: nothing is started */
    begin(&bench);
    bench.mode_error = 1;
    want(&bench, two, 1);
    assert_string_equal(last_told(&bench, GPU)->text, "could not change the mode");
    assert_int_equal(mig_mps_running_count(bench.mps), 0);
    finish(&bench);
}

/* Somebody else speaks with the daemon just then: it is no reason to end it. */
static void test_S3_S4_two_front_ends(void **state)
{
    struct bench bench;
    struct mig_helper_mps slice = device(MIG, GPU, 25, 0);
    pid_t pid;

    (void)state;
    need_mounts();
    begin(&bench);
    put(&bench, "busy", "");
    want(&bench, &slice, 1);
    assert_true(last_told(&bench, MIG)->ready);
    pid = daemon_pid(&bench, MIG);
    put(&bench, "busy", "");
    put(&bench, "mute", "");
    slice.percentage = 10;
    want(&bench, &slice, 1);
    assert_true(last_told(&bench, MIG)->ready);
    assert_int_equal(daemon_pid(&bench, MIG), pid);
    assert_called(&bench, MIG " set_default_active_thread_percentage 10\n");
    finish(&bench);
}

/* One that does not quit is killed. */
static void test_S3_stuck(void **state)
{
    struct bench bench;
    struct mig_helper_mps gpu = device(MIG, GPU, 25, 0);
    pid_t pid;

    (void)state;
    need_mounts();
    begin_with(&bench, 500);
    want(&bench, &gpu, 1);
    pid = daemon_pid(&bench, MIG);
    put(&bench, "stuck", "");
    mig_mps_end(bench.mps);
    assert_int_equal(kill(pid, 0), -1);
    assert_false(exists(&bench, MIG, ""));
    finish(&bench);
}

/* Whatever the earlier helper was doing, the next one finds its daemons. */
static void test_S3_S4_next_helper(void **state)
{
    struct bench bench;
    struct mig_helper_mps two[] = {device(GPU, GPU, 25, 0), device(MIG, GPU, 25, 0)};
    struct mig_helper_mps more = device(MIG, GPU, 10, 0);
    pid_t pids[2];

    (void)state;
    need_mounts();
    begin(&bench);
    want(&bench, two, 2);
    pids[0] = daemon_pid(&bench, GPU);
    pids[1] = daemon_pid(&bench, MIG);
    mig_mps_free(bench.mps);
    open_set(&bench, "");
    settle(&bench); /* nothing is said yet: nothing is done */
    assert_int_equal(kill(pids[0], 0), 0);
    want(&bench, &more, 1);
    assert_int_equal(daemon_pid(&bench, MIG), pids[1]);
    assert_true(last_told(&bench, MIG)->ready);
    assert_called(&bench, MIG " set_default_active_thread_percentage 10\n");
    assert_non_null(strstr(bench.said, "is taken over"));
    assert_false(exists(&bench, GPU, ""));
    assert_int_equal(bench.mode, 0); /* as it was before the first helper */
    (void)waitpid(pids[0], NULL, WNOHANG);
    /* its end is seen though it is no child of this one */
    assert_int_equal(kill(pids[1], SIGKILL), 0);
    (void)waitpid(pids[1], NULL, 0);
    wait_for(&bench, MIG, false);
    wait_for(&bench, MIG, true);
    finish(&bench);
}

static bool only_mig(const char *uuid, void *data)
{
    (void)data;
    return strcmp(uuid, MIG) == 0;
}

static void test_S4_yield(void **state)
{
    struct bench bench;
    struct mig_helper_mps two[] = {device(GPU, GPU, 25, 0), device(MIG, GPU, 25, 0)};

    (void)state;
    need_mounts();
    begin(&bench);
    want(&bench, two, 2);
    mig_mps_yield(bench.mps, MIG);
    mig_mps_yield(bench.mps, GPU);
    mig_mps_yield(bench.mps, "MIG-unknown");
    assert_int_equal(mig_mps_running_count(bench.mps), 0);
    assert_int_equal(bench.mode, 0);
    assert_false(last_told(&bench, MIG)->ready);
    settle(&bench);
    assert_int_equal(mig_mps_running_count(bench.mps), 0);
    mig_mps_resume(bench.mps, only_mig, NULL);
    settle(&bench);
    assert_true(last_told(&bench, MIG)->ready);
    assert_false(last_told(&bench, GPU)->ready);
    finish(&bench);
}

static void test_S4_clients(void **state)
{
    struct bench bench;
    struct mig_helper_mps slice = device(MIG, GPU, 25, 0);
    uint32_t pid;

    (void)state;
    need_mounts();
    begin_with(&bench, 500);
    want(&bench, &slice, 1);
    pid = (uint32_t)daemon_pid(&bench, MIG);
    assert_false(mig_mps_owns_used(bench.mps, pid)); /* no server: nobody is connected */
    put(&bench, "stuck", "");
    assert_true(mig_mps_owns_used(bench.mps, pid)); /* who does not answer may have clients */
    take(&bench, "stuck");
    finish(&bench);
}

/* Below a driver's root: the program is that of the driver, and sees its folder there. */
static void test_S3_driver_root(void **state)
{
    struct bench bench;
    struct mig_helper_mps gpu = device(MIG, GPU, 25, 0);
    char root[64], path[256];

    (void)state;
    need_mounts();
    begin(&bench);
    mig_mps_free(bench.mps);
    snprintf(root, sizeof(root), "%s/driver", bench.root);
    open_set(&bench, root);
    want(&bench, &gpu, 1);
    assert_non_null(strstr(last_told(&bench, MIG)->text, "there is no nvidia-cuda-mps-control"));
    shell("mkdir -p %s/usr/bin && cp '%s' %s/usr/bin/%s", root, getenv("FAKE_MPS_CONTROL"), root,
          "nvidia-cuda-mps-control");
    wait_for(&bench, MIG, true);
    assert_true(exists(&bench, MIG, "pipe/control"));
    /* nothing is mounted where others see it */
    snprintf(path, sizeof(path), "%s%s/" MIG "/pipe", root, bench.dir);
    assert_int_not_equal(access(path, F_OK), 0);
    mig_mps_end(bench.mps);
    snprintf(path, sizeof(path), "%s%s/" MIG, root, bench.dir);
    assert_int_not_equal(access(path, F_OK), 0);
    finish(&bench);
}

/* What containers leave in their folders is removed, and nothing that it points to. */
static void test_S4_left_in_folders(void **state)
{
    struct bench bench;
    struct mig_helper_mps slice = device(MIG, GPU, 25, 0);

    (void)state;
    need_mounts();
    begin(&bench);
    want(&bench, &slice, 1);
    put(&bench, "precious", "x");
    shell("cd %s/" MIG " && mkdir -p pipe/a/b shm/c && ln -s %s pipe/a/link && "
          "ln -s %s shm/link && touch pipe/a/b/file",
          bench.dir, bench.control, bench.control);
    want(&bench, NULL, 0);
    assert_false(exists(&bench, MIG, ""));
    take(&bench, "precious");
    finish(&bench);
}

static void test_S3_long_root(void **state)
{
    struct bench bench;
    struct mig_helper_mps gpu = device(MIG, GPU, 25, 0);

    (void)state;
    begin(&bench);
    mig_mps_free(bench.mps);
    snprintf(bench.dir, sizeof(bench.dir), "%s/a-folder-with-a-name-that-is-long", bench.root);
    open_set(&bench, "");
    want(&bench, &gpu, 1);
    assert_non_null(strstr(last_told(&bench, MIG)->text, "is too long for the name of a socket"));
    finish(&bench);
}

/* A folder that is not ours is nobody's to remove. */
static void test_S3_strangers(void **state)
{
    struct bench bench;

    (void)state;
    begin(&bench);
    shell("mkdir -p %s/nvidia.com/gpu/pipe %s/" GPU "/pipe && echo x >%s/" GPU "/migd", bench.dir,
          bench.dir, bench.dir);
    want(&bench, NULL, 0);
    assert_true(exists(&bench, "nvidia.com", "gpu/pipe") && exists(&bench, GPU, "migd"));
    finish(&bench);
    assert_true(mig_host_is_uuid(MIG));
    assert_false(mig_host_is_uuid("MIG-GPU-x/7/0") || mig_host_is_uuid("GPU-../..") ||
                 mig_host_is_uuid("GPU-") || mig_host_is_uuid("nvidia.com"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_S3_life),
        cmocka_unit_test(test_S4_slices),
        cmocka_unit_test(test_S3_restart),
        cmocka_unit_test(test_S3_failures),
        cmocka_unit_test(test_S3_stuck),
        cmocka_unit_test(test_S3_S4_two_front_ends),
        cmocka_unit_test(test_S3_S4_next_helper),
        cmocka_unit_test(test_S4_yield),
        cmocka_unit_test(test_S4_clients),
        cmocka_unit_test(test_S3_driver_root),
        cmocka_unit_test(test_S4_left_in_folders),
        cmocka_unit_test(test_S3_long_root),
        cmocka_unit_test(test_S3_strangers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
