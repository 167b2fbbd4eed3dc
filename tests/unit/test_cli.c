/* SPDX-License-Identifier: Apache-2.0 */
/* migctl without a driver: the command line, the drawing of slots, and the writing of documents. */
#include "cli/document.h"
#include "cli/slots.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Splits a command line at blanks and parses it. */
static int parse(struct cli *cli, const char *line, struct mig_error *error)
{
    static char text[512];
    char *argv[64];
    int argc = 0;
    char *rest = text;

    memset(cli, 0, sizeof(*cli));
    snprintf(text, sizeof(text), "migctl %s", line);
    if (!*line) {
        return cli_parse(cli, 1, (char *[]){text, NULL}, error);
    }
    for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " ")) {
        argv[argc++] = word;
    }
    return cli_parse(cli, argc, argv, error);
}

static void test_parse_good(void **state)
{
    struct cli cli;
    struct mig_error error = {0};

    (void)state;
    assert_int_equal(parse(&cli, "-o json apply -f a.yaml -call --on-busy=wait -vq", &error),
                     MIG_OK);
    assert_int_equal(cli.command, CLI_COMMAND_APPLY);
    assert_int_equal(cli.output, CLI_JSON);
    assert_string_equal(cli.values[CLI_FILE], "a.yaml");
    assert_string_equal(cli.values[CLI_CONFIG], "all");
    assert_string_equal(cli.values[CLI_ON_BUSY], "wait");
    assert_true(cli_has(&cli, CLI_QUIET) && cli_has(&cli, CLI_VERBOSE));
    assert_int_equal(parse(&cli, "fit 3g.20gb=2 1g.5gb", &error), MIG_OK);
    assert_int_equal(cli.operand_count, 2);
    assert_int_equal(parse(&cli, "restore -- -odd-name", &error), MIG_OK);
    assert_string_equal(cli.operands[0], "-odd-name");
    assert_int_equal(parse(&cli, "checkpoint -", &error), MIG_OK);
    assert_string_equal(cli.operands[0], "-");
    assert_int_equal(parse(&cli, "--version", &error), MIG_OK);
    assert_int_equal(parse(&cli, "fit --help", &error), MIG_OK);
}

static void test_parse_refused(void **state)
{
    static const struct {
        const char *line, *message, *hint;
    } cases[] = {
        {"", "no command was given", "see migctl help"},
        {"staus", "there is no command 'staus'", "did you mean migctl status?"},
        {"complet", "there is no command 'complet'", "see migctl help"},
        {"status --gpus 0", "there is no option '--gpus'", "did you mean --gpu?"},
        {"status --qui", "there is no option '--qui'", "did you mean --quiet?"},
        {"status -x", "there is no option '-x'", "see migctl help status"},
        {"status extra", "'extra' is one argument too many", "see migctl help status"},
        {"status -f a", "'status' has no option --file", "see migctl help status"},
        {"status -o xml", "--output cannot be 'xml'", "one of table|wide|json|yaml"},
        {"status -o ", "--output cannot be ''", "one of table|wide|json|yaml"},
        {"status -o", "--output needs FORMAT", "see migctl help status"},
        {"status --quiet=1", "--quiet takes no argument", "see migctl help status"},
        {"apply -f a -f b", "--file is given twice", "see migctl help apply"},
        {"validate", "'validate' needs FILE", "see migctl help validate"},
        {"apply --on-busy kill", "--on-busy cannot be 'kill'", "one of keep|wait"},
    };

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        struct cli cli;
        struct mig_error error = {0};

        assert_int_equal(parse(&cli, cases[i].line, &error), MIG_E_USAGE);
        assert_string_equal(error.message, cases[i].message);
        assert_string_equal(error.hint, cases[i].hint);
    }
}

static void test_numbers(void **state)
{
    struct cli cli;
    struct mig_error error = {0};
    uint64_t number = 0;

    (void)state;
    assert_int_equal(parse(&cli, "destroy --gi 7", &error), MIG_OK);
    assert_int_equal(cli_number(&cli, CLI_GI, 100, 1, &number, &error), MIG_OK);
    assert_int_equal(number, 7);
    assert_int_equal(cli_number(&cli, CLI_CI, 100, 42, &number, &error), MIG_OK);
    assert_int_equal(number, 42);
    assert_int_equal(cli_number(&cli, CLI_GI, 6, 1, &number, &error), MIG_E_USAGE);
    assert_string_equal(error.message, "--gi needs a whole number up to 6, not '7'");
}

/* The option table itself: nothing twice, everything with a text. */
static void test_table(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CLI_OPTION_COUNT; i++) {
        assert_non_null(cli_options[i].name);
        assert_true(cli_options[i].help && *cli_options[i].help);
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(cli_options[i].name, cli_options[j].name);
            assert_true(!cli_options[i].letter || cli_options[i].letter != cli_options[j].letter);
        }
    }
    for (unsigned i = 0; i < CLI_COMMAND_COUNT; i++) {
        assert_int_equal(cli_command_find(cli_commands[i].name), i);
        assert_true(*cli_commands[i].summary && *cli_commands[i].description);
        assert_true(cli_commands[i].operand_max <= CLI_OPERAND_MAX);
    }
}

static void add(struct mig_layout *layout, const char *name, unsigned start, bool in_use)
{
    int profile = mig_model_find_profile(layout->model, name);
    struct mig_gi *gi = &layout->gis[layout->gi_count++];

    assert_true(profile >= 0);
    *gi = (struct mig_gi){.profile = (uint8_t)profile,
                          .start = (uint8_t)start,
                          .in_use = in_use,
                          .ci_count = 1,
                          .id = layout->gi_count};
}

/* Draws into memory and compares. */
static void assert_drawn(const struct cli *cli, const struct mig_layout *layout,
                         const char *expected)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    slots_draw(cli, out, layout, 0);
    fclose(out);
    assert_string_equal(text, expected);
}

static void test_slots(void **state)
{
    struct cli cli = {.width = 80};
    struct mig_layout layout = {.model = mig_catalog_find_name("NVIDIA A30")};

    (void)state;
    assert_non_null(layout.model);
    assert_drawn(&cli, &layout,
                 "+0-----+1-----+2-----+3-----+\n"
                 "| free | free | free | free |\n"
                 "+------+------+------+------+\n");
    add(&layout, "2g.12gb", 0, true);
    add(&layout, "1g.6gb", 2, false);
    layout.gis[1].ci_count = 0;
    assert_drawn(&cli, &layout,
                 "+0--------------------+2---------+3---------+\n"
                 "| 2g.12gb *           | 1g.6gb ! | free     |\n"
                 "+---------------------+----------+----------+\n");
    cli.unicode = true;
    cli.color = true;
    assert_drawn(&cli, &layout,
                 "┌0────────────────────┬2─────────┬3─────────┐\n"
                 "│ \033[33m2g.12gb ●\033[0m           │ \033[1;31m1g.6gb !\033[0m │ "
                 "\033[32mfree\033[0m     │\n"
                 "└─────────────────────┴──────────┴──────────┘\n");
}

/* Labels lose their memory part when the terminal is narrow, and dead units stay empty. */
static void test_slots_narrow(void **state)
{
    struct cli cli = {.width = 60};
    struct mig_layout layout = {.model = mig_catalog_find_name("A100-SXM4-80GB")};

    (void)state;
    assert_non_null(layout.model);
    for (unsigned start = 0; start < 7; start++) {
        add(&layout, start == 6 ? "1g.10gb+me" : "1g.10gb", start, false);
    }
    assert_drawn(&cli, &layout,
                 "+0-----+1-----+2-----+3-----+4-----+5-----+6-----+7-----+\n"
                 "| 1g   | 1g   | 1g   | 1g   | 1g   | 1g   |1g+me |      |\n"
                 "+------+------+------+------+------+------+------+------+\n");
}

static void test_placements(void **state)
{
    struct cli cli = {.width = 80};
    struct mig_layout layout = {.model = mig_catalog_find_name("A100-SXM4-40GB")};
    char text[SLOTS_TEXT_SIZE];
    unsigned two, three;

    (void)state;
    assert_non_null(layout.model);
    two = (unsigned)mig_model_find_profile(layout.model, "2g.10gb");
    three = (unsigned)mig_model_find_profile(layout.model, "3g.20gb");
    assert_true(slots_placements(&cli, &layout, two, 0, text));
    assert_string_equal(text, "[][][]..");
    assert_false(slots_placements(&cli, &layout, two, 1, text));
    add(&layout, "3g.20gb", 4, true);
    assert_true(slots_placements(&cli, &layout, two, 0, text));
    assert_string_equal(text, "[][]xx..");
    assert_true(slots_placements(&cli, &layout, three, 0, text));
    assert_string_equal(text, "[==]xxxx");
    cli.unicode = true;
    assert_true(slots_placements(&cli, &layout, three, 0, text));
    assert_string_equal(text, "├──┤××××");
}

static void assert_written(json_t *document, enum cli_output output, const char *expected)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_true(doc_write(document, output, out));
    fclose(out);
    assert_string_equal(text, expected);
}

static void test_document(void **state)
{
    struct cli cli = {.output = CLI_YAML};
    json_t *document = doc_start(&cli, "test");
    struct mig_error error = {0};

    (void)state;
    doc_put_text(document, "plain", "MIG-a.b/c");
    doc_put_text(document, "profile", "1g.5gb");
    doc_put_text(document, "word", "Yes");
    doc_put_text(document, "odd", "a: b\n");
    doc_put_text(document, "latin", "caf\xe9");
    doc_put_known_text(document, "none", "");
    doc_put_known_int(document, "unknown", MIG_UNKNOWN);
    doc_put_id(document, "id", MIG_ID_NONE);
    doc_put_bool(document, "yes", true);
    doc_put(document, "empty", doc_array());
    doc_put(document, "object", doc_object());
    assert_written(document, CLI_YAML,
                   "schema: migctl/test/v1\nplain: MIG-a.b/c\nprofile: \"1g.5gb\"\nword: \"Yes\"\n"
                   "odd: \"a: b\\n\"\nlatin: \"caf?\"\nnone: null\nunknown: null\nid: null\n"
                   "\"yes\": true\nempty: []\nobject: {}\n");
    document = doc_start(&cli, "error");
    mig_error_set(&error, MIG_E_BUSY, MIG_DOMAIN_NVML, 19, "could not");
    mig_error_add_holder(&error, "a (pid 1)");
    doc_put_error(document, MIG_E_BUSY, &error);
    assert_written(document, CLI_JSON,
                   "{\n  \"schema\": \"migctl/error/v1\",\n  \"error\": {\n    \"code\": 5,\n"
                   "    \"class\": \"busy\",\n    \"message\": \"could not\",\n"
                   "    \"in_the_way\": \"a (pid 1)\",\n    \"what_to_do\": null,\n"
                   "    \"domain\": \"nvml\",\n    \"domain_code\": 19\n  }\n}\n");
    json_decref(document);
}

static void test_clean(void **state)
{
    char buffer[8];

    (void)state;
    assert_string_equal(cli_clean(buffer, sizeof(buffer), "a\033[2Jb"), "a?[2Jb");
    assert_string_equal(cli_clean(buffer, sizeof(buffer), "1234567890"), "1234567");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_good), cmocka_unit_test(test_parse_refused),
        cmocka_unit_test(test_numbers),    cmocka_unit_test(test_table),
        cmocka_unit_test(test_slots),      cmocka_unit_test(test_slots_narrow),
        cmocka_unit_test(test_placements), cmocka_unit_test(test_document),
        cmocka_unit_test(test_clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
