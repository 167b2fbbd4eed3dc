/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 3339 in UTC, with microseconds. */
#include "kube/microtime.h"
#include <stdio.h>
#include <time.h>

uint64_t mig_kube_realtime_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void mig_kube_microtime(uint64_t realtime_us, char text[MIG_KUBE_MICROTIME_SIZE])
{
    time_t seconds = (time_t)(realtime_us / 1000000);
    char date[24] = "";
    struct tm parts;

    if (gmtime_r(&seconds, &parts)) {
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &parts);
    }
    snprintf(text, MIG_KUBE_MICROTIME_SIZE, "%s.%06uZ", date, (unsigned)(realtime_us % 1000000));
}
