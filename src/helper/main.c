/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migd-helper: the privileged processes of migd, supervisor and helper. It is linked to nothing
 * that speaks over a network, and is run by migd (start.c) with what is in arguments.h.
 */
#include "base/memory.h"
#include "helper/supervisor.h"
#include "protocol-id.h"
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    struct mig_helper_arguments arguments = {0};
    struct mig_error error = {0};
    int rc;

    mig_memory_setup();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf(MIG_HELPER_PROGRAM " %s, protocol %s\n", MIG_VERSION, MIG_PROTOCOL_ID);
        return 0;
    }
    rc = mig_helper_arguments_read_fixed(argc, argv, &arguments, &error);
    if (rc == 0 && strcmp(arguments.protocol, MIG_PROTOCOL_ID) != 0) {
        mig_supervisor_decline(&arguments);
    }
    rc = rc < 0 ? rc : mig_helper_arguments_read(argc, argv, &arguments, &error);
    if (rc == 0) {
        mig_supervisor_run(&arguments);
    }
    (void)fprintf(stderr, MIG_HELPER_PROGRAM ": %s (%s)\n", error.message, error.hint);
    return -rc;
}
