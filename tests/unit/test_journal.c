/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of src/gpu/journal.c: what is written is read back; whatever happens to the file, it is
 * refused, or only progress is forgotten.
 */
#include "base/checksum.h"
#include "base/file.h"
#include "gpu/journal.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct mig_journal sample(void)
{
    struct mig_journal journal = {
        .boot_id = "6a1c8d0e-0000-4000-8000-123456789abc",
        .pid = 4242,
        .command = "migctl",
        .step_count = 7,
        .gpu_count = 2,
    };
    struct mig_journal_gpu *first = &journal.gpus[0], *second = &journal.gpus[1];

    *first = (struct mig_journal_gpu){.uuid = "GPU-1", .old_mode = true, .new_mode = true};
    first->old_geometry =
        (struct mig_geometry){.gi_count = 2,
                              .gis = {{.profile = 2, .start = 4, .ci_count = 1, .cis = {{2, 0}}},
                                      {.profile = 0, .start = 0, .ci_count = 0}}};
    first->new_geometry =
        (struct mig_geometry){.gi_count = 1,
                              .gis = {{.profile = 2,
                                       .start = 4,
                                       .ci_count = 3,
                                       .cis = {{0, 0}, {0, 1}, {0, MIG_START_ANY}}}}};
    *second = (struct mig_journal_gpu){
        .uuid = "GPU-2", .set_mode = true, .may_reset = true, .new_mode = true};
    return journal;
}

static char *format(const struct mig_journal *journal, size_t *size)
{
    struct mig_error error;
    char *text = NULL;

    assert_int_equal(mig_journal_format(journal, &text, size, &error), 0);
    return text;
}

/* Everything but progress and the fields about the text. */
static void assert_same_first_part(const struct mig_journal *a, const struct mig_journal *b)
{
    assert_string_equal(a->boot_id, b->boot_id);
    assert_string_equal(a->command, b->command);
    assert_int_equal(a->pid, b->pid);
    assert_int_equal(a->step_count, b->step_count);
    assert_int_equal(a->gpu_count, b->gpu_count);
    assert_memory_equal(a->gpus, b->gpus, sizeof(a->gpus));
}

static void test_round_trip(void **state)
{
    static struct mig_journal read;
    struct mig_journal journal = sample();
    struct mig_error error;
    size_t size;
    char *text = format(&journal, &size);

    (void)state;
    assert_int_equal(mig_journal_parse("j", text, size, &read, &error), 0);
    assert_same_first_part(&journal, &read);
    assert_int_equal(read.steps_done, 0);
    assert_false(read.rolling_back);
    assert_int_equal(read.valid_size, size);
    free(text);
}

/* A journal with progress in a file; returns its text. */
static char *written(const char *path, size_t *size)
{
    struct mig_journal journal = sample();
    struct mig_journal_file file = {.fd = -1};
    struct mig_error error;
    char *text = NULL;

    assert_int_equal(mig_journal_create(path, &journal, &file, &error), 0);
    assert_int_equal(mig_journal_step_done(&file, 1, &error), 0);
    assert_int_equal(mig_journal_step_done(&file, 2, &error), 0);
    assert_int_equal(mig_journal_rolling_back(&file, &error), 0);
    assert_int_equal(mig_journal_attempt(&file, &error), 0);
    mig_journal_close(&file);
    assert_int_equal(mig_file_read(path, MIG_JOURNAL_BYTES_MAX, &text, size, &error), 0);
    return text;
}

static char *in_directory(void **state, const char *name)
{
    char *path = NULL;

    assert_true(asprintf(&path, "%s/%s", (const char *)*state, name) > 0);
    return path;
}

static void test_progress_is_read(void **state)
{
    static struct mig_journal read;
    char *path = in_directory(state, "journal");
    struct mig_error error;
    size_t size;
    char *text = written(path, &size);

    assert_int_equal(mig_journal_parse("j", text, size, &read, &error), 0);
    assert_int_equal(read.steps_done, 2);
    assert_true(read.rolling_back);
    assert_int_equal(read.attempt_count, 1);
    assert_int_equal(read.valid_size, size);
    free(text);
    free(path);
}

/* Refused, or the first part is what was written and progress is not more than what was. */
static void assert_harmless(const char *text, size_t size)
{
    static struct mig_journal read;
    struct mig_journal journal = sample();
    struct mig_error error;

    if (mig_journal_parse("j", text, size, &read, &error) < 0) {
        assert_true(strstr(error.message, "damaged") != NULL);
        return;
    }
    assert_same_first_part(&journal, &read);
    assert_true(read.steps_done <= 2);
    assert_true(read.attempt_count <= 1);
}

static void test_every_truncation(void **state)
{
    char *path = in_directory(state, "journal");
    size_t size, first_part;
    char *text = written(path, &size);
    struct mig_journal journal = sample();

    free(format(&journal, &first_part));
    for (size_t i = 0; i < size; i++) {
        static struct mig_journal read;
        /* its own block, so that a byte read past the end is found */
        char *cut = malloc(i > 0 ? i : 1);

        assert_non_null(cut);
        memcpy(cut, text, i);
        assert_harmless(cut, i);
        assert_int_equal(mig_journal_parse("j", cut, i, &read, NULL) == 0, i >= first_part);
        free(cut);
    }
    free(text);
    free(path);
}

static void test_every_bit_flip(void **state)
{
    char *path = in_directory(state, "journal");
    size_t size, first_part;
    char *text = written(path, &size);
    struct mig_journal journal = sample();
    static struct mig_journal read;

    free(format(&journal, &first_part));
    for (size_t i = 0; i < size * 8; i++) {
        text[i / 8] = (char)(text[i / 8] ^ (1 << (i % 8)));
        assert_harmless(text, size);
        if (i / 8 < first_part) {
            assert_int_equal(mig_journal_parse("j", text, size, &read, NULL), MIG_E_CONFIG);
        } else {
            assert_int_equal(mig_journal_parse("j", text, size, &read, NULL), 0);
            assert_true(read.valid_size <= i / 8);
        }
        text[i / 8] = (char)(text[i / 8] ^ (1 << (i % 8)));
    }
    free(text);
    free(path);
}

static void test_damaged_end_is_cut_before_more(void **state)
{
    static struct mig_journal read;
    struct mig_journal_file file = {.fd = -1};
    char *path = in_directory(state, "journal");
    struct mig_error error;
    size_t size;
    char *text = written(path, &size);

    assert_int_equal(truncate(path, (off_t)size - 3), 0);
    assert_int_equal(mig_journal_parse("j", text, size - 3, &read, &error), 0);
    assert_int_equal(read.attempt_count, 0);
    assert_int_equal(mig_journal_reopen(path, &read, &file, &error), 0);
    assert_int_equal(mig_journal_attempt(&file, &error), 0);
    assert_int_equal(mig_journal_attempt(&file, &error), 0);
    mig_journal_close(&file);
    free(text);
    assert_int_equal(mig_file_read(path, MIG_JOURNAL_BYTES_MAX, &text, &size, &error), 0);
    assert_int_equal(mig_journal_parse("j", text, size, &read, &error), 0);
    assert_int_equal(read.attempt_count, 2);
    assert_int_equal(read.steps_done, 2);
    free(text);
    free(path);
}

static void test_what_cannot_be_read_back_is_not_begun(void **state)
{
    struct mig_journal journal = sample();
    struct mig_journal_file file = {.fd = -1};
    char *path = in_directory(state, "not-written");
    struct mig_error error;

    memcpy(journal.gpus[0].uuid, "GPU 1", 6);
    assert_int_equal(mig_journal_create(path, &journal, &file, &error), MIG_E_FAILED);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
}

static void test_refusals(void **state)
{
    static const char *const texts[] = {
        "",
        "migd journal 2\n",
        "migd journal 1\nboot \nrun 1 1 a\nend 00000000\n",
        "migd journal 1\nboot b\nrun 01 1 a\nend 00000000\n",
        "migd journal 1\nboot b\nrun 1 1 a\nold 2@4\nend 00000000\n",
        "migd journal 1\nboot b\nrun 1 1 a\ngpu G 1 1 0 2\nend 00000000\n",
    };
    static struct mig_journal read;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct mig_error error;

        assert_int_equal(mig_journal_parse("j", texts[i], strlen(texts[i]), &read, &error),
                         MIG_E_CONFIG);
        assert_true(strncmp(error.message, "j:", 2) == 0);
    }
}

/* There is one way to write a journal: what was stands before what is wanted. */
static void test_order_of_a_gpu(void **state)
{
    static const char head[] = "migd journal 1\nboot b\nrun 1 1 a\ngpu G 1 1 0 0\n";
    static const char *const bodies[] = {"old 2@4\nnew 2@4 2@0\n", "new 2@4 2@0\nold 2@4\n"};
    static struct mig_journal read;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct mig_error error;
        char text[200];
        int size = snprintf(text, sizeof(text), "%s%s", head, bodies[i]);

        size += snprintf(text + size, sizeof(text) - (size_t)size, "end %08x\n",
                         mig_checksum(0, text, (size_t)size));
        assert_int_equal(mig_journal_parse("j", text, (size_t)size, &read, &error),
                         i == 0 ? 0 : MIG_E_CONFIG);
        if (i == 1) {
            assert_true(strstr(error.message, "j:6: ") != NULL);
        }
    }
}

static int make_directory(void **state)
{
    char *path = strdup("/tmp/mig-test-journal-XXXXXX");

    *state = path;
    return path && mkdtemp(path) ? 0 : -1;
}

static int remove_directory(void **state)
{
    char *path = in_directory(state, "journal");

    unlink(path);
    rmdir(*state);
    free(path);
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_progress_is_read),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_bit_flip),
        cmocka_unit_test(test_damaged_end_is_cut_before_more),
        cmocka_unit_test(test_what_cannot_be_read_back_is_not_begun),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_order_of_a_gpu),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
