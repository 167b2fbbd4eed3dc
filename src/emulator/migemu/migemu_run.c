/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu run: the command takes the place of migemu, in the environment of `migemu env` and, unless
 * told otherwise, with the files of an emulated host around it.
 */
#include "emulator/machine/host_tree.h"
#include "emulator/migemu/migemu.h"
#include "emulator/migemu/migemu_namespace.h"

#include <errno.h>
#include <getopt.h>

#define EXIT_NOT_FOUND 127
#define EXIT_NOT_RUNNABLE 126

static int set_variable(const char *name, const char *value)
{
    return setenv(name, value, 1) < 0 ? -errno : 0;
}

/*
 * Instances may have come and gone without the library, by a restore say: the capability files are
 * brought up to date before a command sees them. Who may not write there takes them as they are.
 */
static int refresh_host(const char *node, const struct emu_node_info *info,
                        const struct emu_state *state)
{
    unsigned i;
    int rc = 0;

    for (i = 0; rc == 0 && i < info->gpu_count; i++) {
        rc = emu_host_sync(node, i, &state->gpus[i]);
    }
    return rc == -EACCES || rc == -EROFS || rc == -EPERM ? 0 : rc;
}

static int prepare(const char *node, struct migemu_paths *paths, bool with_namespace)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    int status = migemu_open(node, &machine);
    int rc;

    if (status == 0) {
        status = migemu_find_paths(node, emu_machine_info(machine), paths);
    }
    if (status != 0 || !with_namespace) {
        return status;
    }
    state = migemu_read(machine);
    if (!state) {
        return MIGEMU_EXIT_FAILED;
    }
    rc = refresh_host(paths->node, emu_machine_info(machine), state);
    if (rc != 0) {
        return migemu_fail_errno(rc, "could not bring the host files of '%s' up to date", node);
    }
    return migemu_enter_host(paths->node, emu_machine_info(machine), state);
}

int migemu_run(int argc, char **argv)
{
    static const struct option options[] = {{"no-namespace", no_argument, NULL, 'n'},
                                            {NULL, 0, NULL, 0}};
    struct migemu_paths paths;
    bool with_namespace = true;
    int option;
    int status;
    int rc;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'n') {
            migemu_print_usage(stderr, "run");
            return MIGEMU_EXIT_USAGE;
        }
        with_namespace = false;
    }
    if (!migemu_operands(argc, argv, optind, 2, INT_MAX)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = prepare(argv[optind], &paths, with_namespace);
    if (status != 0) {
        return status;
    }
    rc = migemu_environment(&paths, set_variable);
    if (rc != 0) {
        return migemu_fail_errno(rc, "could not set the environment");
    }
    (void)execvp(argv[optind + 1], argv + optind + 1);
    rc = errno;
    (void)migemu_fail_errno(rc, "could not run '%s'", argv[optind + 1]);
    return rc == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE;
}
