/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding base64 (RFC 4648, section 4), padding required. */
#include "kube/base64.h"
#include "base/cleanup.h"
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static int value_of(char character)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = character ? strchr(digits, character) : NULL;

    return found ? (int)(found - digits) : -1;
}

/* The values of four characters; 64 stands for padding. */
static bool decode_group(const unsigned *values, char *out, size_t *size)
{
    unsigned count = values[3] != 64 ? 3 : values[2] != 64 ? 2 : 1;
    uint32_t bits = values[0] << 18 | values[1] << 12 | (values[2] & 63) << 6 | (values[3] & 63);
    const unsigned char bytes[3] = {(unsigned char)(bits >> 16), (unsigned char)(bits >> 8),
                                    (unsigned char)bits};

    if (values[0] == 64 || values[1] == 64 || (values[2] == 64 && values[3] != 64)) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        out[(*size)++] = (char)bytes[i];
    }
    return true;
}

char *mig_base64_decode_text(const char *encoded)
{
    MIG_AUTO_FREE char *out = malloc(strlen(encoded) / 4 * 3 + 4);
    unsigned values[4] = {0};
    unsigned have = 0;
    size_t size = 0;
    bool ended = false;

    for (; out && *encoded; encoded++) {
        int value = *encoded == '=' ? 64 : value_of(*encoded);

        if (strchr(" \t\r\n", *encoded)) {
            continue;
        }
        if (value < 0 || ended) {
            return NULL;
        }
        values[have++] = (unsigned)value;
        if (have == 4) {
            ended = values[3] == 64;
            have = 0;
            if (!decode_group(values, out, &size)) {
                return NULL;
            }
        }
    }
    if (!out || have > 0 || size == 0 || memchr(out, '\0', size)) {
        return NULL;
    }
    out[size] = '\0';
    return MIG_TAKE(out);
}
