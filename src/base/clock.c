/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include <errno.h>
#include <time.h>

uint64_t mig_now_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t mig_now_ms(void)
{
    return mig_now_us() / 1000;
}

void mig_sleep_ms(unsigned duration_ms)
{
    struct timespec left = {.tv_sec = duration_ms / 1000,
                            .tv_nsec = (long)(duration_ms % 1000) * 1000000};

    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}
