/* SPDX-License-Identifier: Apache-2.0 */
/* Options of migd: every way to give one, which way counts, and what is refused. */
#include "base/cleanup.h"
#include "daemon/options.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARGUMENTS_MAX 16

static struct daemon_values values;
static struct mig_error error;

/* Reads "WORD|WORD"; the words live until the next call. */
static int read_words(const char *line)
{
    static char text[1024];
    char *argv[ARGUMENTS_MAX];
    int argc = 0;

    snprintf(text, sizeof(text), "%s", line);
    for (char *at = text; at && argc < ARGUMENTS_MAX;) {
        argv[argc++] = strsep(&at, "|");
    }
    daemon_values_release(&values);
    return daemon_values_read(argc, argv, &values, &error);
}

static int clean(void **state)
{
    (void)state;
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        for (size_t i = 0; i < MIG_ARRAY_SIZE(daemon_options[id].variables); i++) {
            if (daemon_options[id].variables[i]) {
                unsetenv(daemon_options[id].variables[i]);
            }
        }
    }
    daemon_values_release(&values);
    return 0;
}

static void test_defaults(void **state)
{
    (void)state;
    assert_int_equal(read_words("/usr/sbin/migd"), 0);
    assert_false(values.as_mig_manager);
    assert_string_equal(values.texts[DAEMON_ROLES], "manager,device-plugin,labels,metrics");
    assert_string_equal(values.texts[DAEMON_HOST_ROOT], "");
    assert_true(daemon_value_has(&values, DAEMON_ROLES, "labels"));
    assert_false(daemon_value_has(&values, DAEMON_ROLES, "label"));
    assert_int_equal(daemon_value_ms(&values, DAEMON_ON_BUSY_TIMEOUT), 600000);
    assert_int_equal(read_words("/usr/bin/nvidia-mig-manager"), 0);
    assert_true(values.as_mig_manager);
    assert_string_equal(values.texts[DAEMON_ROLES], "manager");
    assert_string_equal(values.texts[DAEMON_HOST_ROOT], "/host");
}

/* Everything that nvidia-mig-manager takes, in each form. */
static void test_forms(void **state)
{
    (void)state;
    assert_int_equal(
        read_words("nvidia-mig-manager|-n|a100|--config-file=/c.yaml|-s|/x.sh|-m=/h|-i/nv|-o|/o|"
                   "-k|k3s.service|-g|/g.yaml|-rd|-p"),
        MIG_E_USAGE);
    assert_int_equal(read_words("nvidia-mig-manager|-rd|-n|a100|--config-file=/c.yaml|-m=/h|-i/nv"),
                     0);
    assert_string_equal(values.texts[DAEMON_NODE_NAME], "a100");
    assert_string_equal(values.texts[DAEMON_CONFIG_FILE], "/c.yaml");
    assert_string_equal(values.texts[DAEMON_HOST_ROOT], "/h");
    assert_string_equal(values.texts[DAEMON_HOST_NVIDIA_DIR], "/nv");
    assert_true(daemon_value_is_true(&values, DAEMON_WITH_REBOOT));
    assert_true(daemon_value_is_true(&values, DAEMON_SHUTDOWN_HOST_CLIENTS));
    assert_int_equal(read_words("migd|-kubeconfig|/k|-s|/r.sh|-o|/o|-k|k3s|-g|/g|-p|ns|-t|/t"), 0);
    assert_string_equal(values.texts[DAEMON_KUBECONFIG], "/k");
    assert_string_equal(values.texts[DAEMON_RECONFIGURE_SCRIPT], "/r.sh");
    assert_string_equal(values.texts[DAEMON_GPU_CLIENTS_NAMESPACE], "ns");
    assert_int_equal(read_words("migd|-a|/a|-b|/b|-j|/j|--cdi-enabled=true|--with-reboot=false"),
                     0);
    assert_string_equal(values.texts[DAEMON_DEV_ROOT_CTR_PATH], "/j");
    assert_true(daemon_value_is_true(&values, DAEMON_CDI_ENABLED));
    assert_false(daemon_value_is_true(&values, DAEMON_WITH_REBOOT));
}

static void test_refused(void **state)
{
    static const char *const lines[] = {
        "migd|--no-such",
        "migd|-z",
        "migd|word",
        "migd|--on-busy=kill",
        "migd|--roles=manager,x",
        "migd|--roles=",
        "migd|--roles=manager,",
        "migd|--roles=,manager",
        "migd|--on-busy-timeout",
        "migd|--on-busy-timeout=10d",
        "migd|--poll-interval=",
        "migd|--poll-interval=-1",
        "migd|--poll-interval=9999999999h",
        "migd|--with-reboot=maybe",
        "migd|--log-level=loud",
        "migd|-n",
        "migd|--",
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(lines); i++) {
        assert_int_equal(read_words(lines[i]), MIG_E_USAGE);
        assert_int_not_equal(error.message[0], 0);
    }
}

static void test_durations(void **state)
{
    static const struct {
        const char *line;
        uint64_t ms;
    } cases[] = {{"migd|--poll-interval=250ms", 250},  {"migd|--poll-interval=3", 3000},
                 {"migd|--poll-interval=0", 0},        {"migd|--poll-interval=2m", 120000},
                 {"migd|--poll-interval=1h", 3600000}, {"migd|--poll-interval=7s", 7000}};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_int_equal(read_words(cases[i].line), 0);
        assert_int_equal(daemon_value_ms(&values, DAEMON_POLL_INTERVAL), cases[i].ms);
    }
}

static char *settings_file(const char *text)
{
    static char path[] = "/tmp/migd-settings-XXXXXX";
    int fd;

    memcpy(path + strlen(path) - 6, "XXXXXX", 6);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    return path;
}

/* Command line, then environment, then file, then table. */
static void test_precedence(void **state)
{
    char *path = settings_file("roles: [manager, labels]\non-busy: wait\nrepair-drift: yes\n"
                               "on-busy-timeout: 30\nnode-name: from-file\n");
    char line[256];

    (void)state;
    setenv("NODE_NAME", "from-environment", 1);
    setenv("MIGD_ON_BUSY", "evict", 1);
    setenv("DRIVER_ROOT", "/second", 1);
    setenv("CONFIG_FILE", "", 1);
    snprintf(line, sizeof(line), "migd|--settings|%s|--on-busy=keep", path);
    assert_int_equal(read_words(line), 0);
    unlink(path);
    assert_string_equal(values.texts[DAEMON_ON_BUSY], "keep");
    assert_int_equal(values.sources[DAEMON_ON_BUSY], DAEMON_FROM_COMMAND_LINE);
    assert_string_equal(values.texts[DAEMON_NODE_NAME], "from-environment");
    assert_string_equal(values.texts[DAEMON_DRIVER_ROOT], "/second");
    assert_string_equal(values.texts[DAEMON_ROLES], "manager,labels");
    assert_int_equal(values.sources[DAEMON_ROLES], DAEMON_FROM_FILE);
    assert_true(daemon_value_is_true(&values, DAEMON_REPAIR_DRIFT));
    assert_int_equal(daemon_value_ms(&values, DAEMON_ON_BUSY_TIMEOUT), 30000);
    assert_string_equal(values.texts[DAEMON_CONFIG_FILE], "");
    setenv("MIGD_ON_BUSY", "nonsense", 1);
    assert_int_equal(read_words("migd"), MIG_E_USAGE);
    assert_non_null(strstr(error.message, "MIGD_ON_BUSY"));
}

static void test_bad_settings(void **state)
{
    static const struct {
        const char *text, *place;
    } cases[] = {
        {"on-busy: keep\nno-such: 1\n", ":2:1: unknown setting 'no-such'"},
        {"on-busy: never\n", ":1:10: on-busy cannot be 'never'"},
        {"roles:\n  - manager\n  - {}\n", "roles cannot be 'a list'"},
        {"- manager\n", "settings have to be a map"},
        {"settings: other\n", "unknown setting"},
        {"on-busy: [", ":"},
    };
    char line[256];

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        char *path = settings_file(cases[i].text);

        snprintf(line, sizeof(line), "migd|--settings=%s", path);
        assert_int_equal(read_words(line), MIG_E_CONFIG);
        unlink(path);
        if (!strstr(error.message, cases[i].place)) {
            fail_msg("'%s' lacks '%s'", error.message, cases[i].place);
        }
    }
    assert_int_equal(read_words("migd|--settings=/does/not/exist"), MIG_E_CONFIG);
}

/* Letters and names are each used once; what is shown has no full stop at its end. */
static void test_table(void **state)
{
    (void)state;
    for (enum daemon_option_id id = 0; id < DAEMON_OPTION_COUNT; id++) {
        const struct daemon_option *option = &daemon_options[id];

        assert_non_null(option->name);
        assert_non_null(option->fallback);
        assert_int_not_equal(option->help[strlen(option->help) - 1], '.');
        assert_int_equal(option->argument == NULL, option->kind == DAEMON_SWITCH);
        for (enum daemon_option_id other = 0; other < id; other++) {
            assert_string_not_equal(option->name, daemon_options[other].name);
            assert_false(option->letter && option->letter == daemon_options[other].letter);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_defaults, clean),
        cmocka_unit_test_teardown(test_forms, clean),
        cmocka_unit_test_teardown(test_refused, clean),
        cmocka_unit_test_teardown(test_durations, clean),
        cmocka_unit_test_teardown(test_precedence, clean),
        cmocka_unit_test_teardown(test_bad_settings, clean),
        cmocka_unit_test_teardown(test_table, clean),
    };

    return cmocka_run_group_tests(tests, clean, NULL);
}
