/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32 bit by bit: what is checked is a few kilobytes. */
#include "base/checksum.h"

uint32_t mig_checksum(uint32_t seed, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint32_t crc = ~seed;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}
