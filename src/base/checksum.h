/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32, for files that a crash may have cut. */
#ifndef MIG_BASE_CHECKSUM_H
#define MIG_BASE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Of `data` after what gave `seed`; 0 at the start. */
uint32_t mig_checksum(uint32_t seed, const void *data, size_t size);

#endif
