/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/config/clients_file.c: what a GPU clients file may say, and what is refused. */
#include "base/cleanup.h"
#include "config/clients_file.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct mig_error error;

static int parse_clients(const char *text, struct mig_clients_file *file)
{
    return mig_clients_file_parse("clients.yaml", text, strlen(text), file, &error);
}

static void test_clients(void **state)
{
    struct mig_clients_file file;

    (void)state;
    assert_int_equal(parse_clients("version: v1\nsystemd-services:\n- nvsm.service\n"
                                   "- dcgm-exporter.service\n",
                                   &file),
                     0);
    assert_int_equal(file.count, 2);
    assert_string_equal(file.services[1], "dcgm-exporter.service");
    assert_null(file.services[2]);
    mig_clients_file_release(&file);
    assert_int_equal(parse_clients("version: v1\nsystemd-services: []\n", &file), 0);
    assert_int_equal(file.count, 0);
    mig_clients_file_release(&file);
    assert_int_equal(parse_clients("{\"version\": \"v1\"}", &file), 0);
    assert_int_equal(file.count, 0);
    mig_clients_file_release(&file);
}

static void test_bad_clients(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "clients.yaml:1:1: a GPU clients file has to be a map"},
        {"systemd-services: []\n", "version is missing"},
        {"version: v2\n", "clients.yaml:1:10: unknown version 'v2'"},
        {"version: v1\nservices: []\n", "clients.yaml:2:1: unknown field 'services'"},
        {"version: v1\nsystemd-services: nvsm\n", "has to be a list"},
        {"version: v1\nsystemd-services:\n- a.service\n- ../b\n", "clients.yaml:4:3: '../b'"},
        {"version: v1\nsystemd-services: ['a b']\n", "'a b' is not the name"},
        {"version: v1\nsystemd-services: [--now]\n", "'--now' is not the name"},
        {"version: v1\nsystemd-services: [{}]\n", "is not the name"},
    };
    struct mig_clients_file file;
    char many[2048] = "version: v1\nsystemd-services: [";

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        assert_int_equal(parse_clients(cases[i].text, &file), MIG_E_CONFIG);
        if (!strstr(error.message, cases[i].message)) {
            fail_msg("'%s' lacks '%s'", error.message, cases[i].message);
        }
        assert_null(file.services);
    }
    for (unsigned i = 0; i <= MIG_CLIENTS_FILE_SERVICES_MAX; i++) {
        size_t used = strlen(many);

        snprintf(many + used, sizeof(many) - used, "%ss%u.service", i ? ", " : "", i);
    }
    snprintf(many + strlen(many), sizeof(many) - strlen(many), "]\n");
    assert_int_equal(parse_clients(many, &file), MIG_E_CONFIG);
    assert_int_equal(mig_clients_file_load("/does/not/exist", &file, &error), MIG_E_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients),
        cmocka_unit_test(test_bad_clients),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
