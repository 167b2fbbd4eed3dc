/* SPDX-License-Identifier: Apache-2.0 */
/* Which of several configs of the device plugin a node takes. */
#include "base/cleanup.h"
#include "deviceplugin/dp_choice.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *const three[] = {"a100", "default", "shared"};
static const char *const two[] = {"a100", "shared"};

struct one_case {
    const char *wanted, *default_name, *fallbacks;
    const char *const *configs;
    size_t count;
    const char *chosen;  /* "" = none at all; NULL = an error */
    const char *message; /* a part of it */
};

static void check(const struct one_case *one)
{
    const struct mig_dp_choice choice = {
        .label = MIG_DP_CHOICE_LABEL,
        .wanted = one->wanted,
        .default_name = one->default_name,
        .fallbacks = one->fallbacks,
        .source = "/configs",
        .configs = one->configs,
        .count = one->count,
    };
    struct mig_error error = {0};
    size_t index = 0;
    int rc = mig_dp_choose(&choice, &index, &error);

    assert_int_equal(rc, one->chosen ? MIG_OK : MIG_E_CONFIG);
    if (!one->chosen) {
        assert_int_equal(index, MIG_DP_CHOICE_NONE);
        assert_non_null(strstr(error.message, one->message));
        assert_true(error.hint[0]);
    } else if (one->chosen[0]) {
        assert_string_equal(one->configs[index], one->chosen);
    } else {
        assert_int_equal(index, MIG_DP_CHOICE_NONE);
    }
}

static void F3_label_default_fallbacks(void **state)
{
    static const struct one_case cases[] = {
        /* the label counts before everything else, or is an error */
        {"shared", "a100", "named", three, 3, "shared", NULL},
        {"a200", "a100", "named,empty", three, 3, NULL,
         MIG_DP_CHOICE_LABEL " asks for the config 'a200'"},
        {"a200", "", "empty", NULL, 0, NULL, "which is not in /configs"},
        /* so does the default without a label */
        {"", "a100", "named", three, 3, "a100", NULL},
        {"", "a200", "named,empty", three, 3, NULL, "the default asks for the config 'a200'"},
        /* fallbacks in their order */
        {"", "", "named,single", three, 3, "default", NULL},
        {"", "", "named,single", two, 1, "a100", NULL},
        {"", "", "single,named", three, 3, "default", NULL},
        {"", "", "empty,named", three, 3, "", NULL},
        {"", "", "named,single,empty", two, 2, "", NULL},
        {"", "", "named,single,empty", NULL, 0, "", NULL},
        {"", "", "named,single", two, 2, NULL, "no fallback (named,single) finds one"},
        {"", "", "", three, 3, NULL, "no fallback () finds one"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        check(&cases[i]);
    }
}

/* The hint names what there is, as far as there is room. */
static void F3_names_that_there_are(void **state)
{
    char names[64][64];
    const char *configs[64];
    struct mig_error error = {0};
    struct mig_dp_choice choice = {
        .label = MIG_DP_CHOICE_LABEL,
        .wanted = "x",
        .default_name = "",
        .fallbacks = "",
        .source = "/configs",
        .configs = three,
        .count = 3,
    };
    size_t index;

    (void)state;
    assert_int_equal(mig_dp_choose(&choice, &index, &error), MIG_E_CONFIG);
    assert_string_equal(error.hint, "the configs are a100, default, shared");
    for (size_t i = 0; i < MIG_ARRAY_SIZE(names); i++) {
        memset(names[i], 'n', sizeof(names[i]) - 1);
        names[i][sizeof(names[i]) - 1] = '\0';
        configs[i] = names[i];
    }
    choice.configs = configs;
    choice.count = MIG_ARRAY_SIZE(configs);
    assert_int_equal(mig_dp_choose(&choice, &index, &error), MIG_E_CONFIG);
    assert_string_equal(error.hint + strlen(error.hint) - 5, ", ...");
    choice.count = 0;
    assert_int_equal(mig_dp_choose(&choice, &index, &error), MIG_E_CONFIG);
    assert_string_equal(error.hint, "there are no configs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F3_label_default_fallbacks),
        cmocka_unit_test(F3_names_that_there_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
