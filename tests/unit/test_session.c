/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of src/gpu/binding.c against a library that behaves badly: what is missing is told, what
 * hangs is given up, what cannot be talked to says what to do.
 */
#include "base/clock.h"
#include <dlfcn.h>
#include <mig/inventory.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct mig_session *open_with(const char *habit, unsigned deadline_ms)
{
    struct mig_session_options options = {.library = getenv("FAKE_NVML_LIBRARY"),
                                          .deadline_ms = deadline_ms};
    struct mig_session *session = NULL;
    struct mig_error error = {0};

    assert_non_null(options.library);
    setenv("FAKE_NVML", habit, 1);
    assert_int_equal(mig_session_open(&options, &session, &error), 0);
    return session;
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part)) {
        fail_msg("\"%s\" does not contain \"%s\"", text, part);
    }
}

static void test_missing_functions_are_named(void **state)
{
    struct mig_session *session = open_with("", 0);
    bool found = false;

    (void)state;
    for (size_t i = 0; mig_session_missing(session, i); i++) {
        found = found || strcmp(mig_session_missing(session, i),
                                "nvmlDeviceGetMigMode: no GPU can be partitioned") == 0;
    }
    assert_true(found);
    mig_session_close(session);
}

static void test_gpus_without_mig_are_shown(void **state)
{
    struct mig_session *session = open_with("", 0);
    struct mig_node *node = NULL;
    uint64_t before = mig_session_call_count(session);

    (void)state;
    assert_int_equal(mig_inventory_read(session, &node, NULL), 0);
    assert_true(mig_session_call_count(session) > before);
    assert_int_equal(node->generation, 1);
    assert_string_equal(node->driver_version, "550.90.07");
    assert_int_equal(node->gpu_count, 2);
    assert_string_equal(node->gpus[1].uuid, "GPU-1");
    assert_string_equal(node->gpus[1].name, "Fake GPU");
    assert_string_equal(node->gpus[1].problem, "");
    assert_false(node->gpus[1].mig_capable);
    assert_null(node->gpus[1].layout.model);
    assert_int_equal(node->gpus[1].memory_total_mib, 4096);
    assert_int_equal(node->gpus[1].minor, MIG_UNKNOWN);
    mig_node_free(node);
    mig_session_close(session);
}

static void test_a_lost_gpu_hides_no_other(void **state)
{
    struct mig_session *session = open_with("lost", 0);
    struct mig_node *node = NULL;

    (void)state;
    assert_int_equal(mig_inventory_read(session, &node, NULL), 0);
    assert_int_equal(node->gpu_count, 2);
    assert_string_equal(node->gpus[0].problem, "");
    assert_contains(node->gpus[1].problem, "GPU is lost");
    mig_node_free(node);
    mig_session_close(session);
}

static void refused_with(const char *habit, const char *library, const char *message,
                         const char *hint)
{
    struct mig_session_options options = {.library = library};
    struct mig_session *session = NULL;
    struct mig_error error = {0};

    assert_non_null(library);
    setenv("FAKE_NVML", habit, 1);
    assert_int_equal(mig_session_open(&options, &session, &error), MIG_E_NO_DRIVER);
    assert_null(session);
    assert_contains(error.message, message);
    assert_contains(error.hint, hint);
}

static void test_no_driver_says_what_to_do(void **state)
{
    const char *library = getenv("FAKE_NVML_LIBRARY");

    (void)state;
    refused_with("mismatch", library, "Driver/library version mismatch", "reboot");
    refused_with("not-loaded", library, "could not start NVML", "modprobe nvidia");
    refused_with("", getenv("FAKE_NVML_OLD_LIBRARY"), "nvmlDeviceGetHandleByUUID", "too old");
    refused_with("", "/nonexistent/libnvidia-ml.so.1", "/nonexistent/libnvidia-ml.so.1",
                 "nvidia-smi");
}

static void test_a_call_that_hangs_is_given_up(void **state)
{
    struct mig_session *session = open_with("hang", 100);
    void *library = dlopen(getenv("FAKE_NVML_LIBRARY"), RTLD_NOW | RTLD_NOLOAD);
    struct mig_node *node = NULL;
    struct mig_error error = {0};
    void (*release)(void);
    unsigned (*call_count)(void);
    unsigned before;

    (void)state;
    assert_non_null(library);
    *(void **)&release = dlsym(library, "fake_release");
    *(void **)&call_count = dlsym(library, "fake_call_count");
    assert_int_equal(mig_inventory_read(session, &node, &error), MIG_E_FAILED);
    assert_null(node);
    assert_contains(error.message, "nvmlDeviceGetName for GPU 0 within 100 ms");
    before = call_count();
    assert_int_equal(mig_inventory_read(session, &node, &error), MIG_E_FAILED);
    assert_contains(error.message, "never came back");
    mig_session_close(session);
    /* the driver answers at last: nothing may follow */
    release();
    for (unsigned i = 0; i < 200 && call_count() == before; i++) {
        mig_sleep_ms(10);
    }
    mig_sleep_ms(50);
    assert_int_equal(call_count(), before + 1);
    dlclose(library);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missing_functions_are_named),
        cmocka_unit_test(test_gpus_without_mig_are_shown),
        cmocka_unit_test(test_a_lost_gpu_hides_no_other),
        cmocka_unit_test(test_no_driver_says_what_to_do),
        cmocka_unit_test(test_a_call_that_hangs_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
