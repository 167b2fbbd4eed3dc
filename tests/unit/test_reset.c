/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the reset command: words, output, and that no command can hold the caller up. */
#include "base/clock.h"
#include "gpu/reset.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct mig_error error;

static int reset(const char *script, unsigned timeout_ms)
{
    const char *const command[] = {"sh", "-c", script, "sh", "{bus_id}", NULL};

    mig_error_clear(&error);
    return mig_reset_run(command, NULL, "00000000:07:00.0", timeout_ms, &error);
}

static void test_what_it_says(void **state)
{
    static const char *const missing[] = {"/nonexistent", NULL};

    (void)state;
    assert_int_equal(reset("[ \"$1\" = 00000000:07:00.0 ]", 10000), 0);
    assert_int_equal(reset("echo first; echo second; echo; exit 3", 10000), MIG_E_FAILED);
    assert_string_equal(error.message, "'sh' ended with status 3: second");
    assert_int_equal(reset("kill -9 $$", 10000), MIG_E_FAILED);
    assert_string_equal(error.message, "'sh' was ended by signal 9");
    assert_int_equal(mig_reset_run(missing, NULL, "", 10000, &error), MIG_E_FAILED);
    assert_string_equal(error.message, "could not run '/nonexistent': No such file or directory");
    assert_string_equal(error.hint, "configure the command that resets a GPU");
}

static void test_none_takes_for_ever(void **state)
{
    static const char *const scripts[] = {
        "sleep 30", "trap '' TERM INT; sleep 30 & wait", "exec yes", /* output without end */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(scripts) / sizeof(scripts[0]); i++) {
        uint64_t begin_ms = mig_now_ms();

        assert_int_equal(reset(scripts[i], 100), MIG_E_FAILED);
        assert_string_equal(error.message, "'sh' did not end within 100 ms and was killed");
        assert_true(mig_now_ms() - begin_ms < 20000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_it_says),
        cmocka_unit_test(test_none_takes_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
