/* SPDX-License-Identifier: Apache-2.0 */
/* Time for programs and the gpu layer; core/ has none. */
#ifndef MIG_BASE_CLOCK_H
#define MIG_BASE_CLOCK_H

#include <stdint.h>

uint64_t mig_now_ms(void); /* monotonic */
uint64_t mig_now_us(void); /* monotonic */

/* Sleeps through signals. */
void mig_sleep_ms(unsigned duration_ms);

#endif
