/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the last good geometry: it comes back, with its name or without, and never with a wrong
 * one. */
#include "base/cleanup.h"
#include "base/file.h"
#include "config_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char directory[64];
static struct mig_goal goal;
static struct mig_error error;
static char name[MIG_SAVED_NAME_SIZE];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof(directory), "/tmp/mig-saved-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static const char *path_of(const char *file)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", directory, file);
    return path;
}

static int remove_directory(void **state)
{
    (void)state;
    (void)unlink(path_of("last-good.json"));
    (void)unlink(path_of("last-good.config"));
    return rmdir(directory);
}

static int load(const struct config_node *node)
{
    mig_error_clear(&error);
    return mig_saved_goal(directory, &node->node, &goal, name, &error);
}

static void make_node(struct config_node *node, const char *layout)
{
    *node = (struct config_node){0};
    config_add_gpu(node, "A30", layout);
}

static void test_it_comes_back(void **state)
{
    struct config_node node, empty;

    (void)state;
    make_node(&node, "1g.6gb@0 2g.12gb@2");
    make_node(&empty, "");
    assert_int_equal(load(&empty), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "last-good.json"));
    assert_int_equal(mig_saved_write(directory, &node.node, "all balanced", &error), 0);
    assert_int_equal(load(&empty), 0);
    assert_string_equal(name, "all balanced");
    assert_string_equal(config_goal_text(&empty, &goal, 0), "on 1g.6gb@0 2g.12gb@2");
}

static void test_the_name_belongs_to_the_geometry(void **state)
{
    struct config_node node, other;

    (void)state;
    make_node(&node, "1g.6gb@0 2g.12gb@2");
    make_node(&other, "4g.24gb@0");
    assert_int_equal(mig_saved_write(directory, &node.node, "a", &error), 0);
    /* somebody who knows no names: the same geometry, then another */
    assert_int_equal(mig_saved_write(directory, &node.node, "", &error), 0);
    assert_int_equal(load(&node), 0);
    assert_string_equal(name, "a");
    assert_int_equal(mig_saved_write(directory, &other.node, "", &error), 0);
    assert_int_equal(load(&node), 0);
    assert_string_equal(name, "");
    assert_string_equal(config_goal_text(&node, &goal, 0), "on 4g.24gb@0");
    assert_int_equal(mig_saved_write(directory, &other.node, "b", &error), 0);
    assert_int_equal(load(&node), 0);
    assert_string_equal(name, "b");
}

static void test_what_has_not_changed_is_not_written(void **state)
{
    struct config_node node;
    struct stat before, after;

    (void)state;
    make_node(&node, "4g.24gb@0");
    assert_int_equal(mig_saved_write(directory, &node.node, "b", &error), 0);
    assert_int_equal(stat(path_of("last-good.json"), &before), 0);
    assert_int_equal(mig_saved_write(directory, &node.node, "b", &error), 0);
    assert_int_equal(stat(path_of("last-good.json"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void test_names_are_one_line(void **state)
{
    struct config_node node;
    char longest[MIG_SAVED_NAME_SIZE + 1];

    (void)state;
    make_node(&node, "4g.24gb@0");
    memset(longest, 'x', sizeof(longest));
    longest[MIG_SAVED_NAME_SIZE] = '\0';
    assert_int_equal(mig_saved_write(directory, &node.node, longest, &error), MIG_E_USAGE);
    assert_int_equal(mig_saved_write(directory, &node.node, "a\nb", &error), MIG_E_USAGE);
    longest[MIG_SAVED_NAME_SIZE - 1] = '\0';
    assert_int_equal(mig_saved_write(directory, &node.node, longest, &error), 0);
    assert_int_equal(load(&node), 0);
    assert_string_equal(name, longest);
}

static void test_empty_is_nothing(void **state)
{
    struct config_node node;

    (void)state;
    make_node(&node, "");
    assert_int_equal(mig_file_write_atomic(path_of("last-good.json"), "", 0, 0644, &error), 0);
    assert_int_equal(load(&node), MIG_E_CONFIG);
    assert_non_null(strstr(error.message, "is empty"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_comes_back),
        cmocka_unit_test(test_the_name_belongs_to_the_geometry),
        cmocka_unit_test(test_what_has_not_changed_is_not_written),
        cmocka_unit_test(test_names_are_one_line),
        cmocka_unit_test(test_empty_is_nothing),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
