/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu env, and where the emulated library and tools are: beside migemu in a build directory, in
 * the directories of the installation otherwise, found from migemu's own place, so that an
 * installation can be moved. The library is that of the machine's driver branch, in a folder by its
 * number; the newest is in the folder above.
 */
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <errno.h>
#include <string.h>

#define LIBRARY "libnvidia-ml.so.1"
#define OLDEST_BRANCH 535u
#define VALUE_MAX ((size_t)3 * PATH_MAX)

static int own_directory(char *directory, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", directory, size - 1);
    char *slash;

    if (length < 0) {
        return -errno;
    }
    directory[length] = '\0';
    slash = strrchr(directory, '/');
    if (!slash) {
        return -ENOENT;
    }
    *slash = '\0';
    return 0;
}

static bool holds(const char *directory, const char *file)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof(path), "%s/%s", directory, file) < (int)sizeof(path) &&
           access(path, R_OK) == 0;
}

/* The first of two directories that holds the file. */
static int choose(const char *file, const char *beside, const char *installed, char ret[PATH_MAX])
{
    char path[PATH_MAX];

    if (holds(beside, file)) {
        (void)mig_text_copy(ret, PATH_MAX, beside);
        return 0;
    }
    if (snprintf(path, sizeof(path), "%s/%s", beside, installed) < (int)sizeof(path) &&
        realpath(path, ret) && holds(ret, file)) {
        return 0;
    }
    (void)migemu_fail("could not find '%s' beside migemu or in '%s'", file, path);
    migemu_hint("install migd, or run migemu from its build directory");
    return MIGEMU_EXIT_FAILED;
}

/* The folder of the newest branch that is not newer than the driver; the oldest for older ones. */
static int choose_branch(const char *driver_version, char library[PATH_MAX])
{
    unsigned long branch = strtoul(driver_version, NULL, 10);
    char path[PATH_MAX];

    if (branch >= MIGEMU_NEWEST_BRANCH) {
        return 0;
    }
    if (branch < OLDEST_BRANCH) {
        branch = OLDEST_BRANCH;
    }
    for (; branch >= OLDEST_BRANCH; branch--) {
        if (snprintf(path, sizeof(path), "%s/r%lu", library, branch) < (int)sizeof(path) &&
            holds(path, LIBRARY)) {
            (void)mig_text_copy(library, PATH_MAX, path);
            return 0;
        }
    }
    return migemu_fail("could not find the library of driver %s in '%s'", driver_version, library);
}

int migemu_find_paths(const char *node, const struct emu_node_info *info, struct migemu_paths *ret)
{
    char own[PATH_MAX];
    int status = own_directory(own, sizeof(own));

    if (status != 0) {
        return migemu_fail_errno(status, "could not find the directory of migemu");
    }
    if (!realpath(node, ret->node)) {
        return migemu_fail_errno(errno, "could not find '%s'", node);
    }
    status = choose(LIBRARY, own, MIGEMU_LIBRARY_FROM_BIN, ret->library);
    if (status == 0) {
        status = choose_branch(info->driver_version, ret->library);
    }
    return status == 0 ? choose("nvidia-smi", own, MIGEMU_TOOLS_FROM_BIN, ret->tools) : status;
}

/* `first` in front of what a variable has, unless it is there already. */
static int prepend(const char *name, const char *first, int (*set)(const char *, const char *))
{
    MIG_AUTO_FREE char *value = malloc(VALUE_MAX);
    const char *old = getenv(name);
    size_t length = strlen(first);

    if (!value) {
        return -ENOMEM;
    }
    if (old && strncmp(old, first, length) == 0 && (old[length] == ':' || old[length] == '\0')) {
        return set(name, old);
    }
    if (snprintf(value, VALUE_MAX, "%s%s%s", first, old && *old ? ":" : "", old ? old : "") >=
        (int)VALUE_MAX) {
        return -ENAMETOOLONG;
    }
    return set(name, value);
}

int migemu_environment(const struct migemu_paths *paths,
                       int (*set)(const char *name, const char *value))
{
    char directory[PATH_MAX];
    int rc = set("MIGEMU_NODE", paths->node);

    if (snprintf(directory, sizeof(directory), "%s/migd", paths->node) >= (int)sizeof(directory)) {
        return -ENAMETOOLONG;
    }
    if (rc == 0) {
        rc = set("MIGD_STATE_DIR", directory);
    }
    if (rc == 0) {
        rc = prepend("LD_LIBRARY_PATH", paths->library, set);
    }
    return rc == 0 ? prepend("PATH", paths->tools, set) : rc;
}

/* In single quotes; a quote inside is written as '\''. */
static int print_export(const char *name, const char *value)
{
    printf("export %s='", name);
    /* value is terminated, which is not followed: NOLINTNEXTLINE(clang-analyzer-core.*) */
    for (; *value; value++) {
        if (*value == '\'') {
            fputs("'\\''", stdout);
        } else {
            putchar(*value);
        }
    }
    fputs("'\n", stdout);
    return 0;
}

int migemu_env(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct migemu_paths paths;
    int status;

    if (!migemu_operands(argc, argv, 1, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = migemu_open(argv[1], &machine);
    if (status == 0) {
        status = migemu_find_paths(argv[1], emu_machine_info(machine), &paths);
    }
    if (status != 0) {
        return status;
    }
    status = migemu_environment(&paths, print_export);
    return status == 0 ? 0 : migemu_fail_errno(status, "could not print the environment");
}
