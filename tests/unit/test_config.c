/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of config files: what is accepted and refused (the same as by nvidia-mig-parted, each line
 * here was tried with it), where a complaint points, and what hostile files cost.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "config/config.h"
#include <limits.h>
#include <mig/config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

#define HEAD "version: v1\nmig-configs:\n  a:\n"
#define OFF "  - {devices: all, mig-enabled: false}\n"

static struct mig_error error;

static int parse(const char *text, struct mig_config **ret)
{
    mig_error_clear(&error);
    return mig_config_parse("file", text, strlen(text), ret, &error);
}

static void accept(const char *text)
{
    struct mig_config *config = NULL;

    if (parse(text, &config) != 0) {
        fail_msg("refused: %s\n%s", error.message, text);
    }
    mig_config_free(config);
}

static void refuse(const char *text)
{
    struct mig_config *config = NULL;

    if (parse(text, &config) == 0) {
        mig_config_free(config);
        fail_msg("accepted:\n%s", text);
    }
    assert_int_equal(error.domain, MIG_DOMAIN_CONFIG);
    assert_true(mig_text_starts_with(error.message, "file:"));
    assert_true(error.code >= 1);
}

/* `head` with the value under test behind it. */
static const char *with(const char *head, const char *value)
{
    static char text[1024];

    snprintf(text, sizeof(text), "%s%s\n", head, value);
    return text;
}

#define ENABLED HEAD "  - devices: all\n    mig-devices: {}\n    mig-enabled: "
#define DEVICES HEAD "  - mig-enabled: true\n    mig-devices: {}\n    devices: "
#define PROFILES HEAD "  - mig-enabled: true\n    devices: all\n    mig-devices: "
#define FILTER \
    HEAD "  - mig-enabled: true\n    devices: all\n    mig-devices: {}\n    device-filter: "

static void check_values(const char *head, const char *const *good, const char *const *bad)
{
    for (size_t i = 0; good[i]; i++) {
        accept(with(head, good[i]));
    }
    for (size_t i = 0; bad[i]; i++) {
        refuse(with(head, bad[i]));
    }
}

static void test_truth_values(void **state)
{
    static const char *const good[] = {"true", "True",  "TRUE", "y",  "Y",
                                       "yes",  "on",    "n",    "no", "off",
                                       "~",    "False", "null", "",   "!!bool \"false\"",
                                       NULL};
    static const char *const bad[] = {"\"true\"",   "1",           "''",      "t",  "oN",
                                      "!!bool foo", "!!str false", "! false", "[]", NULL};

    (void)state;
    check_values(ENABLED, good, bad);
}

static void test_devices(void **state)
{
    static const char *const good[] = {
        "all",           "\"all\"",      "[]",     "[null]",   "[1.0]",     "[1e2]",
        "[0x10]",        "[010]",        "[08]",   "[0o7]",    "[0b1]",     "[1_000]",
        "[+1]",          "[-1]",         "[1, 1]", "!foo all", "!!str all", "[!!int \"1\"]",
        "[99999999999]", "[0, 1, 2, 3]", NULL};
    static const char *const bad[] = {
        "ALL",      "",           "null",     "[1.5]",       "[\"1\"]",
        "1",        "[[1]]",      "{}",       "{1: 1}",      "[.inf]",
        "[1, all]", "2001-01-01", "[9.3e18]", "!!int \"1\"", "[99999999999999999999]",
        "true",     NULL};

    (void)state;
    check_values(DEVICES, good, bad);
}

static void test_device_numbers_have_their_yaml_value(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {{"010", 8},   {"0o17", 15}, {"08", 8},       {"0x1F", 31},
                 {"0b101", 5}, {"1e2", 100}, {"12.0", 12},    {"1_0", 10},
                 {"-3", -3},   {"~", 0},     {"1500e-2", 15}, {"9223372036854775807", INT64_MAX}};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct mig_config *config = NULL;
        char list[64];

        snprintf(list, sizeof(list), "[%s]", cases[i].text);
        assert_int_equal(parse(with(DEVICES, list), &config), 0);
        assert_int_equal(config->configs[0].entries[0].devices[0].value, cases[i].value);
        mig_config_free(config);
    }
}

static void test_profiles(void **state)
{
    static const char *const good[] = {"{}",
                                       "{1g.5gb: 7}",
                                       "{1g.5gb: 0, 2g.10gb: 1}",
                                       "{1g.5gb: 7.0}",
                                       "{1g.5gb+me: 1}",
                                       "{1c.3g.20gb: 2}",
                                       "{1g.24gb+gfx: 1}",
                                       "{1g.24gb+me.all: 1}",
                                       "{1g.24gb-me: 1}",
                                       "{1g.5gb+ME: 1}",
                                       "{01g.5gb: 1}",
                                       "{0g.0gb: 1}",
                                       "{9c.1g.5gb: 1}",
                                       "{\"1g.5gb+me,gfx\": 1}",
                                       "{1g.5gb: 1000000}",
                                       "{1g.5gb: 9999999999}",
                                       "{1g.5gb: 1, 1g.5gb: 2}",
                                       NULL};
    static const char *const bad[] = {"null",
                                      "",
                                      "[]",
                                      "{1g.5gb: null}",
                                      "{1g.5gb: 0}",
                                      "{1g.5gb: \"7\"}",
                                      "{1g.5gb: -1}",
                                      "{1g.5gb: true}",
                                      "{1g.5gb: 1.5}",
                                      "{1g.5gb.me: 1}",
                                      "{MIG 1g.5gb: 1}",
                                      "{1g.5GB: 1}",
                                      "{+me: 1}",
                                      "{1g.5gb+: 1}",
                                      "{\"1g.5gb+me-gfx\": 1}",
                                      "{1g.5gb+1a: 1}",
                                      "{1g.5gb+me.: 1}",
                                      "{\"1g.5gb \": 1}",
                                      "{\"1g.5gb+me,me\": 1}",
                                      "{\"\": 1}",
                                      "{1: 1}",
                                      "{true: 1}",
                                      "{1G.5gb: 1}",
                                      "{1g.0x5gb: 1}",
                                      "{? [a] : 1}",
                                      "{1g.5gb: [1]}",
                                      NULL};

    (void)state;
    check_values(PROFILES, good, bad);
    refuse(HEAD "  - {devices: all, mig-enabled: false, mig-devices: {1g.5gb: 1}}\n");
    refuse(HEAD "  - {devices: all, mig-enabled: false, mig-devices: {1g.5gb: 0}}\n");
    refuse(HEAD "  - {devices: all, mig-enabled: true}\n");
    accept(HEAD "  - {devices: all, mig-enabled: false, mig-devices: {}}\n");
    accept(HEAD "  - {devices: all, mig-enabled: false, mig-devices: null}\n");
}

static void test_filters(void **state)
{
    static const char *const good[] = {"",
                                       "null",
                                       "\"\"",
                                       "[]",
                                       "[null]",
                                       "\"0x20B010DE\"",
                                       "[\"0x20B010DE\"]",
                                       "\"zz\"",
                                       "'548409566'",
                                       "0x20B010DE:0x1",
                                       "[\"zz\", \"0x20B010DE\"]",
                                       NULL};
    static const char *const bad[] = {"0x20B010DE", "[0x20B010DE]", "{}",
                                      "true",       "548409566",    NULL};

    (void)state;
    check_values(FILTER, good, bad);
}

static void test_filters_are_pci_ids(void **state)
{
    static const struct {
        const char *text;
        bool valid, has_subsystem;
        uint32_t device, subsystem;
    } cases[] = {
        {"'0x20B010DE'", true, false, 0x20B010DE, 0},
        {"'548409566'", true, false, 548409566, 0},
        {"'0x20B0_10DE'", true, false, 0x20B010DE, 0},
        {"'0x20B010DE:0x134F10DE'", true, true, 0x20B010DE, 0x134F10DE},
        {"'0x20B010DE:0'", true, true, 0x20B010DE, 0},
        {"'20B010DE'", false, false, 0, 0},
        {"'0x120B010DE'", false, false, 0, 0},
        {"'0x20B010DE:'", false, true, 0x20B010DE, 0},
        {"'0x20B010DE:0x1:0x2'", false, true, 0x20B010DE, 0},
        {"' 0x20B010DE'", false, false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct mig_config *config = NULL;
        const struct mig_config_filter *filter;

        assert_int_equal(parse(with(FILTER, cases[i].text), &config), 0);
        assert_int_equal(config->configs[0].entries[0].filter_count, 1);
        filter = &config->configs[0].entries[0].filters[0];
        assert_int_equal(filter->valid, cases[i].valid);
        assert_int_equal(filter->has_subsystem, cases[i].has_subsystem);
        if (filter->valid) {
            assert_int_equal(filter->device, cases[i].device);
            assert_int_equal(filter->subsystem, cases[i].subsystem);
        }
        mig_config_free(config);
    }
}

static void test_shapes(void **state)
{
    static const char *const good[] = {
        "",
        "\n",
        "# nothing\n",
        "null",
        "version: v1\n",
        "{\"version\": \"v1\",\n\t\"mig-configs\": {\"a\": [{\"devices\": [0,1], \"mig-enabled\": "
        "false, \"mig-devices\": null}]}}",
        "{\"version\":\"v1\",\"mig-configs\":{\"a\":[{\"devices\":\"all\",\"mig-enabled\":true,"
        "\"mig-devices\":{\"1g.5gb\":7}}]}}",
        "%YAML 1.1\n---\n" HEAD OFF "...\n",
        "\xef\xbb\xbf" HEAD OFF,
        "version: v1\nmig-configs:\n  \xc3\xa4:\n" OFF,
        "version: v1\nmig-configs:\n  a: !foo\n  - !bar {devices: all, mig-enabled: false}\n",
        "version: v1\nmig-configs:\n  a: &x\n" OFF "  b: *x\n",
        "version: v1\nmig-configs:\n  a:\n  - &x {devices: all, mig-enabled: false}\n  b:\n  - <<: "
        "*x\n"
        "    mig-enabled: true\n    mig-devices: {}\n",
        "version: v1\nmig-configs:\n  a:\n  - &x {devices: all, mig-enabled: false}\n  b:\n"
        "  - <<: [*x, {mig-enabled: true, mig-devices: {}}]\n",
    };
    static const char *const bad[] = {
        "{}",
        "a",
        "[]",
        "version: v2\n",
        "version: 1\n",
        "mig-configs: {}\n",
        "version: v1\nmig-configs: {}\n",
        "version: v1\nmig-configs:\n",
        "version: v1\nmig-configs: []\n",
        HEAD,
        "version: v1\nmig-configs:\n  a: {}\n",
        "version: v1\nmig-configs:\n  a: []\n",
        HEAD "  - \n",
        HEAD "  - 5\n",
        HEAD "  - {devices: all}\n",
        HEAD "  - {mig-enabled: false}\n",
        HEAD "  - {devices: all, mig-enabled: false, x: 1}\n",
        "x: 1\n" HEAD OFF,
        "version: v1\nMig-Configs:\n  a:\n" OFF,
        "version: v1\nmig-configs:\n  ~:\n" OFF,
        "version: v1\nmig-configs:\n  a:\n  b:\n" OFF,
        "version: v1\nmig-configs:\n\ta:\n" OFF,
        HEAD OFF "  \xff: 1\n",
        HEAD OFF "---\nfoo\n",
        HEAD OFF "  b: *c\n",
        "version: v1\nmig-configs: &c\n  a:\n" OFF "  b: *c\n",
        "version: v1\nmig-configs:\n  a:\n  - <<: 1\n",
        "version: v1\nmig-configs:\n  a:\n  - \"<<\": {devices: all, mig-enabled: false}\n",
        "version: v1\nversion: v2\nmig-configs:\n  a:\n" OFF,
        HEAD OFF "  a:\n  - 5\n",
        "version: v1\nmig-configs:\n  a:\n  - &x {devices: all, mig-enabled: false}\n  b:\n"
        "  - mig-enabled: true\n    mig-devices: {1g.5gb: 1}\n    <<: *x\n",
        HEAD "  - {devices: \"a\\0b\", mig-enabled: false}\n",
        "version: !!binary djE=\n",
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(good); i++) {
        accept(good[i]);
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(bad); i++) {
        refuse(bad[i]);
    }
}

static void test_names_are_those_of_the_json(void **state)
{
    static const char *const keys[][2] = {
        {"on", "true"}, {"0x10", "16"}, {"1", "1"}, {"2001-01-01", "2001-01-01"}, {"\"\"", ""}};
    struct mig_config *config = NULL;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(keys); i++) {
        char text[128];

        snprintf(text, sizeof(text), "version: v1\nmig-configs:\n  %s:\n" OFF, keys[i][0]);
        assert_int_equal(parse(text, &config), 0);
        assert_string_equal(mig_config_name(config, 0), keys[i][1]);
        assert_null(mig_config_name(config, 1));
        mig_config_free(config);
    }
}

static void test_the_last_of_equal_keys_counts(void **state)
{
    struct mig_config *config = NULL;

    (void)state;
    assert_int_equal(parse(HEAD "  - 5\n  a:\n"
                                "  - {devices: all, mig-enabled: false, mig-enabled: true,"
                                " mig-devices: {1g.5gb: 1, 2g.10gb: 1, 1g.5gb: 3}}\n",
                           &config),
                     0);
    assert_int_equal(mig_config_count(config), 1);
    assert_true(config->configs[0].entries[0].enabled);
    assert_int_equal(config->configs[0].entries[0].profile_count, 2);
    assert_string_equal(config->configs[0].entries[0].profiles[1].name, "1g.5gb");
    assert_int_equal(config->configs[0].entries[0].profiles[1].count, 3);
    assert_non_null(config->problems);
    assert_int_equal(config->problems->position.line, 3);
    mig_config_free(config);
}

static void test_merges(void **state)
{
    struct mig_config *config = NULL;

    (void)state;
    /* of a list the first wins, and what is written behind the merge wins over both */
    assert_int_equal(parse("version: v1\nmig-configs:\n  a:\n"
                           "  - &x {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1}}\n"
                           "  - &y {devices: [1], mig-enabled: true, mig-devices: {2g.10gb: 1}}\n"
                           "  - {<<: [*y, *x]}\n"
                           "  - {<<: [*y, *x], devices: [2]}\n",
                           &config),
                     0);
    assert_false(config->configs[0].entries[2].all);
    assert_int_equal(config->configs[0].entries[2].devices[0].value, 1);
    assert_string_equal(config->configs[0].entries[2].profiles[0].name, "2g.10gb");
    assert_int_equal(config->configs[0].entries[3].devices[0].value, 2);
    assert_null(config->problems);
    mig_config_free(config);
}

static void test_complaints_have_a_place(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {HEAD "  - devices: all\n    mig-enabled: 1\n",
         "file:5:18: 'mig-enabled' has to be true or false, found a number '1'"},
        {HEAD "  - devices: all\n    mig-enable: true\n",
         "file:5:5: unexpected field 'mig-enable', did you mean 'mig-enabled'?"},
        {HEAD "  - devices: [0, x]\n    mig-enabled: true\n    mig-devices: {}\n",
         "file:4:18: 'devices' has to list GPU numbers, found text 'x'"},
        {HEAD "  - device-filter: 0x20B010DE\n    devices: all\n    mig-enabled: false\n",
         "file:4:20: 'device-filter' has to be text like \"0x20B010DE\" (in quotes), found a "
         "number "
         "'0x20B010DE'"},
        {"version: v2\n", "file:1:10: unknown version 'v2', expected v1"},
        {HEAD "  - devices: all\n    mig-enabled: true\n",
         "file:4:5: missing required field 'mig-devices' when 'mig-enabled' is true; for none "
         "write "
         "{}"},
        {HEAD "  - [\n", "file:5:1: did not find expected node content, while parsing a flow node "
                         "that starts at line 5"},
        {HEAD OFF "  \xff: 1\n", "file:5:3: not UTF-8 text: invalid leading UTF-8 octet"},
        {HEAD OFF "---\nx\n", "file:5:1: a second document; only one is allowed in a file"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        refuse(cases[i].text);
        assert_string_equal(error.message, cases[i].message);
    }
}

static void test_select(void **state)
{
    struct mig_config *config = NULL;
    size_t index = 99;

    (void)state;
    assert_int_equal(
        parse("version: v1\nmig-configs:\n  all-1g.5gb:\n" OFF "  all-balanced:\n" OFF, &config),
        0);
    assert_int_equal(mig_config_select(config, "all-balanced", &index, &error), 0);
    assert_int_equal(index, 1);
    assert_int_equal(mig_config_select(config, "all-balancd", &index, &error), MIG_E_CONFIG);
    assert_string_equal(error.message, "file: there is no config 'all-balancd'");
    assert_string_equal(error.hint, "there is 'all-balanced'");
    assert_int_equal(mig_config_select(config, "zzzzzzzz", &index, &error), MIG_E_CONFIG);
    assert_string_equal(error.hint, "there is 'all-1g.5gb', 'all-balanced'");
    assert_int_equal(mig_config_select(config, NULL, &index, &error), MIG_E_CONFIG);
    assert_int_equal(mig_config_select(config, "", &index, &error), MIG_E_CONFIG);
    mig_config_free(config);
    assert_int_equal(parse(HEAD OFF, &config), 0);
    assert_int_equal(mig_config_select(config, NULL, &index, &error), 0);
    assert_int_equal(index, 0);
    mig_config_free(config);
    assert_int_equal(parse("", &config), 0);
    assert_int_equal(mig_config_select(config, NULL, &index, &error), MIG_E_CONFIG);
    mig_config_free(config);
}

static void test_load(void **state)
{
    char path[] = "/tmp/mig-config-XXXXXX";
    struct mig_config *config = NULL;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, HEAD OFF, strlen(HEAD OFF)), strlen(HEAD OFF));
    assert_int_equal(mig_config_load(path, &config, &error), 0);
    mig_config_free(config);
    assert_int_equal(ftruncate(fd, MIG_CONFIG_BYTES_MAX + 1), 0);
    assert_int_equal(mig_config_load(path, &config, &error), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "limit"));
    close(fd);
    unlink(path);
    assert_int_equal(mig_config_load(path, &config, &error), MIG_E_CONFIG);
    assert_int_equal(mig_config_load("/dev/zero", &config, &error), MIG_E_CONFIG);
    mig_config_free(NULL);
}

/* --- hostile files --- */

/* What checks memory needs memory; tools/run-valgrind sets the variable. */
static long rss_max_kib(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return LONG_MAX;
#else
    return getenv("MIG_UNDER_VALGRIND") ? LONG_MAX : 50 * 1024;
#endif
}

/* Writes `unit` over and over until `size` bytes are full. */
static char *repeat(const char *head, const char *unit, size_t size)
{
    char *text = malloc(size + 1);
    size_t used = strlen(head), length = strlen(unit);

    assert_non_null(text);
    memcpy(text, head, used);
    while (used + length <= size) {
        memcpy(text + used, unit, length);
        used += length;
    }
    text[used] = '\0';
    return text;
}

/*
 * Parses in a child with little memory and time, so that a file that gets through the limits fails
 * the test instead of hanging it. The text must be refused.
 */
static void survive(const char *what, const char *text)
{
    const struct rlimit cpu = {.rlim_cur = 10, .rlim_max = 10};
    struct rusage usage;
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct mig_config *config = NULL;

        setrlimit(RLIMIT_CPU, &cpu);
        _exit(mig_config_parse("file", text, strlen(text), &config, &error) == MIG_E_CONFIG ? 0
                                                                                            : 1);
    }
    assert_int_equal(wait4(pid, &status, 0, &usage), pid);
    print_message("# %-28s %4ld ms, %6ld KiB\n", what,
                  usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000, usage.ru_maxrss);
    assert_true(usage.ru_maxrss < rss_max_kib());
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        fail_msg("%s: status %d", what, status);
    }
}

static void survive_repeated(const char *what, const char *head, const char *unit)
{
    MIG_AUTO_FREE char *text = repeat(head, unit, MIG_CONFIG_BYTES_MAX);

    survive(what, text);
}

static void test_hostile_files(void **state)
{
    static const char laughs[] =
        "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
        "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
        "g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\nversion: v1\nmig-configs: *g\n";
    static const char merges[] =
        "a: &a {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8}\n"
        "b: &b {<<: [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]}\nc: &c {<<: [*b,*b,*b,*b,*b,*b,*b,*b,*b]}\n"
        "d: &d {<<: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]}\ne: &e {<<: [*d,*d,*d,*d,*d,*d,*d,*d,*d]}\n"
        "f: &f {<<: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]}\n";

    (void)state;
    survive("billion laughs", laughs);
    survive("billion merges", merges);
    survive_repeated("many entries", HEAD, OFF);
    survive_repeated("many small values", "[", "a,");
    survive_repeated("many empty maps", "[", "{},");
    survive_repeated("deep flow lists", "", "[");
    survive_repeated("deep flow maps", "", "{a: ");
    survive_repeated("deep block lists", "", "- ");
    survive_repeated("many anchors", "[", "&a x,");
    survive_repeated("many aliases", "a: &a x\nb: [", "*a,");
    survive_repeated("many keys", "{", "k: v,");
    survive_repeated("one long word", "", "a");
    survive_repeated("one long quoted word", "\"", "a");
    survive_repeated("many directives", "", "%TAG !a! b\n");
    survive_repeated("many documents", "", "---\n");
    survive_repeated("blank lines in a word", "a", "\n\n ");
    survive_repeated("tags", "[", "!a x,");
    survive_repeated("question marks", "", "? ");
    survive_repeated("tabs", "a:", "\t");
    survive_repeated("binary", "", "\x7f\x45\x4c\x46\x01");
    survive_repeated("more binary", "", "\xc3\x28");
}

/* Entries shared through an alias are written once and kept many times. */
static void test_aliases_cannot_ask_for_much_memory(void **state)
{
    char head[1024] = HEAD "  - &e {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 1}, "
                           "device-filter: ['0x1'";
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    for (int i = 0; i < 60; i++) {
        snprintf(head + strlen(head), sizeof(head) - strlen(head), ",'0x1'");
    }
    snprintf(head + strlen(head), sizeof(head) - strlen(head), "]}\n");
    text = repeat(head, "  - *e\n", strlen(head) + 16000 * 7);
    survive("many aliased entries", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truth_values),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_device_numbers_have_their_yaml_value),
        cmocka_unit_test(test_profiles),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_filters_are_pci_ids),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_names_are_those_of_the_json),
        cmocka_unit_test(test_the_last_of_equal_keys_counts),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_complaints_have_a_place),
        cmocka_unit_test(test_select),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_hostile_files),
        cmocka_unit_test(test_aliases_cannot_ask_for_much_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
