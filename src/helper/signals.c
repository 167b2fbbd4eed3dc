/* SPDX-License-Identifier: Apache-2.0 */
/* Both programs have this: migd blocks them while it becomes the supervisor. */
#include "helper/signals.h"
#include "base/cleanup.h"

static const int passed[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};

sigset_t mig_signals_watched(void)
{
    sigset_t watched;

    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(passed); i++) {
        sigaddset(&watched, passed[i]);
    }
    return watched;
}

void mig_signals_block(sigset_t *ret_before)
{
    const sigset_t watched = mig_signals_watched();

    (void)sigprocmask(SIG_BLOCK, &watched, ret_before);
}
