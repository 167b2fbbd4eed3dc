/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of src/base: errors, buffers, text, files, memory. */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_error_is_cut_not_overrun(void **state)
{
    struct mig_error error;
    char long_text[2 * MIG_ERROR_MESSAGE_SIZE];

    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    assert_int_equal(mig_error_set(&error, MIG_E_BUSY, MIG_DOMAIN_NVML, 19, "%s", long_text),
                     MIG_E_BUSY);
    assert_int_equal(strlen(error.message), MIG_ERROR_MESSAGE_SIZE - 1);
    mig_error_prefix(&error, "gpu %d", 3);
    assert_true(mig_text_starts_with(error.message, "gpu 3: xxx"));
    assert_int_equal(strlen(error.message), MIG_ERROR_MESSAGE_SIZE - 1);
    for (int i = 0; i < 100; i++) {
        mig_error_add_holder(&error, "python3 (pid %d)", i);
    }
    assert_true(mig_text_starts_with(error.holders, "python3 (pid 0), python3 (pid 1)"));
    assert_int_equal(strlen(error.holders), MIG_ERROR_HOLDERS_SIZE - 1);
}

static void test_error_may_be_null_and_may_quote_itself(void **state)
{
    struct mig_error error;

    (void)state;
    assert_int_equal(mig_error_set(NULL, -1, MIG_DOMAIN_NONE, 0, "x"), -1);
    mig_error_prefix(NULL, "x");
    mig_error_add_holder(NULL, "x");
    assert_int_equal(mig_error_set_errno(&error, -1, ENOENT, "could not open %s", "a"), -1);
    assert_string_equal(error.message, "could not open a: No such file or directory");
    mig_error_set(&error, -1, MIG_DOMAIN_NONE, 0, "again: %s", error.message);
    assert_string_equal(error.message, "again: could not open a: No such file or directory");
}

static void test_buffer_limit_sticks(void **state)
{
    MIG_AUTO_BUFFER struct mig_buffer buffer;

    (void)state;
    mig_buffer_init(&buffer, 8);
    assert_int_equal(mig_buffer_printf(&buffer, "%d", 1234), 0);
    assert_int_equal(mig_buffer_puts(&buffer, "56789"), EFBIG);
    assert_int_equal(mig_buffer_puts(&buffer, "5"), EFBIG);
    assert_string_equal(buffer.data, "1234");
    assert_null(mig_buffer_take(&buffer));
}

static void test_buffer_take_hands_over(void **state)
{
    MIG_AUTO_BUFFER struct mig_buffer buffer;
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    mig_buffer_init(&buffer, 100000);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(mig_buffer_puts(&buffer, "x"), 0);
    }
    text = mig_buffer_take(&buffer);
    assert_int_equal(strlen(text), 10000);
    assert_null(buffer.data);
}

static void test_text_of_characters(void **state)
{
    static const char *const bad[] = {"\x80",         "a\xc3",        "\xe2\x82",
                                      "\xc0\xaf",     "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80", "\xff"};
    char text[] = "a\xe2\x82\xac\xc3\xa9\xe2\x82";

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(bad); i++) {
        assert_false(mig_text_is_utf8(bad[i]));
    }
    assert_true(mig_text_is_utf8(""));
    assert_true(mig_text_is_utf8("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"));
    mig_text_make_utf8(text);
    assert_string_equal(text, "a\xe2\x82\xac\xc3\xa9??");
}

static void test_text_numbers_are_strict(void **state)
{
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "1x", "0x", "256", "99999999999999999999"};
    uint64_t value;

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(bad); i++) {
        assert_false(mig_text_parse_u64(bad[i], 255, &value));
        assert_false(mig_text_parse_base0(bad[i], 255, &value));
    }
    assert_true(mig_text_parse_u64("255", 255, &value));
    assert_int_equal(value, 255);
    assert_true(mig_text_parse_u64("18446744073709551615", UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
    assert_true(mig_text_parse_base0("0x20B010DE", UINT32_MAX, &value));
    assert_int_equal(value, 0x20B010DE);
    assert_true(mig_text_parse_base0("017", 255, &value));
    assert_int_equal(value, 15);
    assert_true(mig_text_parse_base0("0", 255, &value));
    assert_false(mig_text_parse_base0("08", 255, &value));
}

static void test_text_distance(void **state)
{
    (void)state;
    assert_int_equal(mig_text_distance("all-balanced", "all-balancd", 9), 1);
    assert_int_equal(mig_text_distance("kitten", "sitting", 9), 3);
    assert_int_equal(mig_text_distance("abc", "xyz", 2), 2);
    assert_true(mig_text_equal_nocase("NVIDIA a30", "nvidia A30"));
    assert_false(mig_text_equal_nocase("A30", "A300"));
}

static void test_file_round_trip_and_limit(void **state)
{
    char directory[] = "/tmp/mig-base-XXXXXX";
    char path[128];
    MIG_AUTO_FREE char *data = NULL;
    size_t size = 0;
    struct mig_error error;
    struct stat status;

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/a/b", directory);
    assert_int_equal(mig_mkdir_parents(path, 0700, &error), 0);
    assert_int_equal(mig_mkdir_parents(path, 0700, &error), 0);
    snprintf(path, sizeof(path), "%s/a/b/file", directory);
    assert_int_equal(mig_file_write_atomic(path, "one", 3, 0600, &error), 0);
    assert_int_equal(mig_file_write_atomic(path, "two!", 4, 0600, &error), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(mig_file_read(path, 4, &data, &size, &error), 0);
    assert_string_equal(data, "two!");
    assert_int_equal(size, 4);
    free(MIG_TAKE(data));
    assert_int_equal(mig_file_read(path, 3, &data, &size, &error), MIG_E_FAILED);
    assert_int_equal(error.code, EFBIG);
    assert_int_equal(mig_file_read("/nonexistent", 3, &data, &size, &error), MIG_E_FAILED);
    assert_int_equal(error.code, ENOENT);
    assert_int_equal(mig_file_remove(path, &error), 0);
    assert_int_equal(mig_file_remove(path, &error), 0);
    assert_int_equal(mig_file_remove("/dev/null/x", &error), 0);
    snprintf(path, sizeof(path), "%s/a/b", directory);
    assert_int_equal(mig_file_remove(path, &error), MIG_E_FAILED);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/a", directory);
    rmdir(path);
    rmdir(directory);
}

/* What this process has mapped, in KiB; 0 = the kernel does not say. Unlike VmRSS it is exact. */
static unsigned long resident_kib(void)
{
    unsigned long kib = 0;
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "re");

    while (file && fgets(line, sizeof(line), file)) {
        if (strncmp(line, "Rss:", 4) == 0) {
            kib = strtoul(line + 4, NULL, 10);
        }
    }
    if (file) {
        (void)fclose(file);
    }
    return kib;
}

/* Data that was changed, and pointers to it that the loader has filled in. */
static char written[3 * 4096] = "as it is in the file";
static const char *const pointers[] = {written, written + 4096};

static void test_memory_is_given_back_and_nothing_is_lost(void **state)
{
    unsigned long before_kib = resident_kib();
    unsigned long after_kib;
    char *heap = strdup("on the heap");

    (void)state;
    written[0] = 'A';
    written[4096] = 'x';
    mig_memory_give_back();
    after_kib = resident_kib();
    if (before_kib > 0) {
        assert_true(after_kib + 256 < before_kib);
    }
    assert_string_equal(pointers[0], "As it is in the file");
    assert_string_equal(pointers[1], "x");
    assert_non_null(heap);
    assert_string_equal(heap, "on the heap");
    free(heap);
}

static void test_switch_words(void **state)
{
    static const char *const on[] = {"1", "t", "T", "TRUE", "true", "True"};
    static const char *const off[] = {"0", "f", "F", "FALSE", "false", "False"};
    static const char *const neither[] = {"", "tRUE", "yes", "2", "true ", "10"};

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        assert_string_equal(mig_text_switch(on[i]), "true");
        assert_string_equal(mig_text_switch(off[i]), "false");
        assert_null(mig_text_switch(neither[i]));
    }
}

/* ---- which mappings are given back ---- */

#define MAPPED_SIZE (16 * 4096)

/* A mapping of a new file of this name, all of it touched. */
static char *map_file(const char *name, int rights, int flags)
{
    MIG_AUTO_FREE char *content = malloc(MAPPED_SIZE);
    MIG_AUTO_CLOSE int fd = -1;
    char folder[] = "/tmp/migd-test-XXXXXX", path[64];
    char *mapped;

    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && content);
    memset(content, 'f', MAPPED_SIZE);
    assert_int_equal(mig_write_all(fd, content, MAPPED_SIZE), 0);
    mapped = mmap(NULL, MAPPED_SIZE, rights, flags, fd, 0);
    assert_true(mapped != MAP_FAILED);
    for (size_t i = 0; i < MAPPED_SIZE; i += 4096) {
        assert_int_equal(*(volatile char *)(mapped + i), 'f');
    }
    (void)unlink(path);
    (void)rmdir(folder);
    return mapped;
}

/* How much of a mapping is in memory; -1 = there is none that begins there. */
static long rss_kib(const void *mapped)
{
    MIG_AUTO_FCLOSE FILE *file = fopen("/proc/self/smaps", "re");
    char line[512], start[32];
    bool is_it = false;
    long found = -1;

    (void)snprintf(start, sizeof(start), "%lx-", (unsigned long)(uintptr_t)mapped);
    while (file && found < 0 && fgets(line, sizeof(line), file)) {
        is_it = is_it || strncmp(line, start, strlen(start)) == 0;
        if (is_it && strncmp(line, "Rss:", 4) == 0) {
            found = strtol(line + 4, NULL, 10);
        }
    }
    return found;
}

static void assert_stays(const char *name, int rights, int flags)
{
    char *mapped = map_file(name, rights, flags);
    long before = rss_kib(mapped);

    assert_true(before > 0);
    mig_memory_give_back();
    assert_int_equal(rss_kib(mapped), before);
    (void)munmap(mapped, MAPPED_SIZE);
}

static void test_only_clean_files_are_given_back(void **state)
{
    char *mapped = map_file("libc-of-the-test.so", PROT_READ, MAP_PRIVATE);
    bool kernel_tells;

    (void)state;
    mig_memory_give_back();
    kernel_tells = rss_kib(mapped) == 0;
    assert_int_equal(mapped[MAPPED_SIZE - 1], 'f');
    (void)munmap(mapped, MAPPED_SIZE);
    if (!kernel_tells) {
        skip(); /* a sandbox whose smaps does not say which pages are clean: nothing is given back
                 */
    }
    assert_stays("libnvidia-ml.so.1", PROT_READ, MAP_PRIVATE);
    assert_stays("libnvidia-ml.so.610.43.02", PROT_READ, MAP_PRIVATE);
    assert_stays("libcuda.so.1", PROT_READ, MAP_PRIVATE);
    assert_stays("shared-of-the-test", PROT_READ, MAP_SHARED);
    assert_stays("writable-of-the-test", PROT_READ | PROT_WRITE, MAP_PRIVATE);
}

/* As a relocation, a patch or a breakpoint does it. */
static void test_what_was_written_to_is_kept(void **state)
{
    char *mapped = map_file("patched-of-the-test.so", PROT_READ, MAP_PRIVATE);

    (void)state;
    assert_int_equal(mprotect(mapped, MAPPED_SIZE, PROT_READ | PROT_WRITE), 0);
    mapped[3 * 4096] = 'w';
    assert_int_equal(mprotect(mapped, MAPPED_SIZE, PROT_READ), 0);
    mig_memory_give_back();
    assert_int_equal(mapped[3 * 4096], 'w');
    assert_int_equal(mapped[0], 'f');
    (void)munmap(mapped, MAPPED_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_switch_words),
        cmocka_unit_test(test_error_is_cut_not_overrun),
        cmocka_unit_test(test_error_may_be_null_and_may_quote_itself),
        cmocka_unit_test(test_buffer_limit_sticks),
        cmocka_unit_test(test_buffer_take_hands_over),
        cmocka_unit_test(test_text_of_characters),
        cmocka_unit_test(test_text_numbers_are_strict),
        cmocka_unit_test(test_text_distance),
        cmocka_unit_test(test_file_round_trip_and_limit),
        cmocka_unit_test(test_memory_is_given_back_and_nothing_is_lost),
        cmocka_unit_test(test_only_clean_files_are_given_back),
        cmocka_unit_test(test_what_was_written_to_is_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
