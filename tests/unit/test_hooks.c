/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of hooks: the file's grammar, and commands run with exactly what they were given. */
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "config/hooks.h"
#include <mig/config.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct mig_error error;
static char directory[] = "/tmp/mig-hooks-XXXXXX";
static char output[64];

static struct mig_hooks *parse(const char *text)
{
    struct mig_hooks *hooks = NULL;

    mig_error_clear(&error);
    if (mig_hooks_parse("file", text, strlen(text), &hooks, &error) < 0) {
        fail_msg("%s", error.message);
    }
    return hooks;
}

static void test_what_is_accepted(void **state)
{
    static const char *const good[] = {
        "",
        "version: v7\n",
        "hooks:\n",
        "hooks: {}\nother: [1]\n",
        "hooks: {unknown-hook: 5}\n",
        "hooks: {apply-start: }\n",
        "hooks: {apply-start: []}\n",
        "hooks: {apply-start: [{command: /bin/true}]}\n",
        "hooks: {apply-start: [{command: a, args: [1, true, ~, 1.5], envs: {A: 1}, x: 1}]}\n",
        "hooks: {apply-start: [{command: a, envs: {B: on}, workdir: 5}]}\n",
        "hooks: {apply-start: [{command: a, args: , envs: , workdir: }]}\n",
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(good); i++) {
        mig_hooks_free(parse(good[i]));
    }
    mig_hooks_free(NULL);
}

static void test_what_is_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"[]", "file:1:1: the file has to be a map with 'version' and 'hooks', found a list"},
        {"hooks: 5\n", "file:1:8: 'hooks' has to be a map of hook names, found a number"},
        {"hooks: {apply-start: {}}\n",
         "file:1:22: apply-start has to be a list of commands, found a map"},
        {"hooks: {apply-exit: [x]}\n",
         "file:1:22: a hook has to be a map with 'command', found text"},
        {"hooks: {apply-exit: [{args: []}]}\n", "file:1:22: a hook without 'command'"},
        {"hooks: {apply-exit: [{command: [a]}]}\n",
         "file:1:32: command has to be text, found a list"},
        {"hooks: {apply-exit: [{command: a, args: b}]}\n",
         "file:1:41: args has to be a list of texts, found text"},
        {"hooks: {apply-exit: [{command: a, args: [[]]}]}\n",
         "file:1:42: an argument has to be text, found a list"},
        {"hooks: {apply-exit: [{command: a, envs: []}]}\n",
         "file:1:41: envs has to be a map of texts, found a list"},
        {"hooks: {apply-exit: [{command: a, envs: {a=b: c}}]}\n",
         "file:1:42: 'a=b' cannot be the name of an environment variable"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(bad); i++) {
        struct mig_hooks *hooks = NULL;

        assert_int_equal(mig_hooks_parse("file", bad[i].text, strlen(bad[i].text), &hooks, &error),
                         MIG_E_CONFIG);
        assert_string_equal(error.message, bad[i].message);
    }
}

/* What the hooks wrote to the output file; it is emptied. */
static const char *take_output(void)
{
    static char text[4096];
    MIG_AUTO_FREE char *data = NULL;
    size_t size;

    text[0] = '\0';
    if (mig_file_read(output, sizeof(text) - 1, &data, &size, NULL) == 0) {
        snprintf(text, sizeof(text), "%s", data);
    }
    unlink(output);
    return text;
}

/* Runs apply-start of a file in which OUT stands for the output file, DIR for its directory. */
static int run(const char *text, char *const *environment)
{
    char filled[4096] = "";
    struct mig_hooks *hooks;
    int rc;

    for (const char *at = text; *at;) {
        size_t used = strlen(filled);
        bool out = mig_text_starts_with(at, "OUT"), dir = mig_text_starts_with(at, "DIR");

        snprintf(filled + used, sizeof(filled) - used, "%.*s", out || dir ? 64 : 1,
                 out   ? output
                 : dir ? directory
                       : at);
        at += out || dir ? 3 : 1;
    }
    hooks = parse(filled);
    rc = mig_hooks_run(hooks, MIG_HOOK_APPLY_START, environment, false, &error);
    mig_hooks_free(hooks);
    return rc;
}

static void test_environment_is_replaced(void **state)
{
    char *environment[] = {(char[]){"MIG_PARTED_CONFIG_FILE=x"}, (char[]){"B=caller"}, NULL};
    const char *text;

    (void)state;
    setenv("MIG_TEST_INHERITED", "1", 1);
    assert_int_equal(run("hooks: {apply-start: [{command: /bin/sh, args: [-c, '/usr/bin/env | "
                         "/usr/bin/sort > OUT'], "
                         "envs: {A: 1, B: own, C: on}}]}\n",
                         environment),
                     0);
    text = take_output();
    assert_true(
        mig_text_starts_with(text, "A=1\nB=caller\nC=true\nMIG_PARTED_CONFIG_FILE=x\nPWD="));
    assert_null(strstr(text, "INHERITED"));
    assert_int_equal(
        run("hooks: {apply-start: [{command: /bin/sh, args: [-c, '/usr/bin/tr \"\\0\" "
            "\"\\n\" < /proc/$$/environ | /usr/bin/grep B= > OUT'], envs: {B: own}}]}\n",
            environment),
        0);
    assert_string_equal(take_output(), "B=caller\n"); /* once */
}

static void test_arguments_and_directory(void **state)
{
    (void)state;
    assert_int_equal(run("hooks: {apply-start: [{workdir: DIR, command: /bin/sh, args: [-c, "
                         "'pwd > OUT; for a; do echo \"<$a>\" >> OUT; done', sh, 1, true, ~, 'a "
                         "b']}]}\n",
                         NULL),
                     0);
    assert_true(mig_text_starts_with(take_output(), directory));
    assert_int_equal(run("hooks: {apply-start: [{command: true}]}\n", NULL), 0); /* from PATH */
    assert_int_equal(run("hooks: {apply-start: [{command: cat}]}\n", NULL), 0);  /* no input */
}

static void test_the_first_failure_ends_it(void **state)
{
    (void)state;
    assert_int_equal(run("hooks: {apply-start: [{command: /bin/sh, args: [-c, 'echo 1 >> OUT']}, "
                         "{command: /bin/sh, args: [-c, 'exit 3']}, "
                         "{command: /bin/sh, args: [-c, 'echo 2 >> OUT']}]}\n",
                         NULL),
                     MIG_E_FAILED);
    assert_string_equal(error.message, "hook apply-start: '/bin/sh' ended with exit status 3");
    assert_int_equal(error.domain, MIG_DOMAIN_EXIT);
    assert_int_equal(WEXITSTATUS(error.code), 3);
    assert_string_equal(take_output(), "1\n");
    assert_int_equal(
        run("hooks: {apply-start: [{command: /bin/sh, args: [-c, 'kill -9 $$']}]}\n", NULL),
        MIG_E_FAILED);
    assert_string_equal(error.message, "hook apply-start: '/bin/sh' was ended by signal 9");
    assert_int_equal(run("hooks: {apply-start: [{command: /nonexistent}]}\n", NULL), MIG_E_FAILED);
    assert_string_equal(error.message,
                        "hook apply-start: could not run '/nonexistent': No such file "
                        "or directory");
    assert_int_equal(
        run("hooks: {apply-start: [{command: 'true', workdir: /nonexistent}]}\n", NULL),
        MIG_E_FAILED);
}

static void test_a_command_that_takes_too_long(void **state)
{
    static const char *const commands[] = {
        "hooks: {apply-start: [{command: /bin/sleep, args: [60]}]}\n",
        "hooks: {apply-start: [{command: /bin/sh, args: [-c, 'trap : TERM; while :; do sleep 1; "
        "done']}]}\n",
    };
    const struct mig_hook_options options = {.limit_ms = 50, .grace_ms = 50};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(commands); i++) {
        struct mig_hooks *hooks = parse(commands[i]);

        assert_int_equal(mig_hooks_run_limited(hooks, MIG_HOOK_APPLY_START, &options, &error),
                         MIG_E_FAILED);
        assert_non_null(strstr(error.message, "took longer than"));
        assert_int_equal(WTERMSIG(error.code), i == 0 ? SIGTERM : SIGKILL);
        mig_hooks_free(hooks);
    }
}

/* In the caller's process group, so that Ctrl-C ends both. */
static void test_the_group_is_the_callers(void **state)
{
    char expected[32];

    (void)state;
    snprintf(expected, sizeof(expected), "%ld\n", (long)getpgrp());
    assert_int_equal(run("hooks: {apply-start: [{command: /bin/sh, args: [-c, "
                         "'read a b c d group rest < /proc/self/stat; echo $group > OUT']}]}\n",
                         NULL),
                     0);
    assert_string_equal(take_output(), expected);
}

static void test_an_end_that_nobody_saw_is_no_success(void **state)
{
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    assert_int_equal(run("hooks: {apply-start: [{command: 'true'}]}\n", NULL), MIG_E_FAILED);
    signal(SIGCHLD, SIG_DFL);
    assert_non_null(strstr(error.message, "is not known"));
}

static void test_other_hooks_do_not_run(void **state)
{
    (void)state;
    assert_int_equal(
        run("hooks: {apply-exit: [{command: 'false'}], x: [{command: 'false'}]}\n", NULL), 0);
    assert_int_equal(mig_hooks_run(NULL, MIG_HOOK_APPLY_EXIT, NULL, false, &error), 0);
}

static void test_load(void **state)
{
    struct mig_hooks *hooks = NULL;

    (void)state;
    assert_int_equal(mig_file_write_atomic(output, "hooks: 5", 8, 0600, &error), 0);
    assert_int_equal(mig_hooks_load(output, &hooks, &error), MIG_E_CONFIG);
    assert_int_equal(mig_file_write_atomic(output, "hooks: {}", 9, 0600, &error), 0);
    assert_int_equal(mig_hooks_load(output, &hooks, &error), 0);
    mig_hooks_free(hooks);
    unlink(output);
    assert_int_equal(mig_hooks_load(output, &hooks, &error), MIG_E_CONFIG);
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(directory)) {
        return -1;
    }
    snprintf(output, sizeof(output), "%s/out", directory);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(output);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_accepted),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_environment_is_replaced),
        cmocka_unit_test(test_arguments_and_directory),
        cmocka_unit_test(test_the_first_failure_ends_it),
        cmocka_unit_test(test_a_command_that_takes_too_long),
        cmocka_unit_test(test_the_group_is_the_callers),
        cmocka_unit_test(test_an_end_that_nobody_saw_is_no_success),
        cmocka_unit_test(test_other_hooks_do_not_run),
        cmocka_unit_test(test_load),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
