/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Version-5 UUIDs, with the SHA-1 (FIPS 180-4) that they need. Nothing here is for security: the
 * digest only spreads names over the space of UUIDs.
 *
 * A MIG device's UUID is made of its GPU's UUID and its ids, so it comes back when the same
 * instance comes back (facts/README.md section 6).
 */
#include "emulator/machine/uuid.h"
#include <stdio.h>
#include <string.h>

#define BLOCK 64
#define DIGEST_WORDS 5

static uint32_t rotate(uint32_t value, unsigned count)
{
    return value << count | value >> (32 - count);
}

static void sha1_block(uint32_t digest[DIGEST_WORDS], const uint8_t block[BLOCK])
{
    uint32_t words[80];
    for (size_t i = 0; i < 16; i++) {
        words[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
                   (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    }
    for (unsigned i = 16; i < 80; i++) {
        words[i] = rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
    }
    uint32_t a = digest[0], b = digest[1], c = digest[2], d = digest[3], e = digest[4];
    for (unsigned i = 0; i < 80; i++) {
        static const uint32_t constants[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
        uint32_t mixed = i < 20   ? (b & c) | (~b & d)
                         : i < 40 ? b ^ c ^ d
                         : i < 60 ? (b & c) | (b & d) | (c & d)
                                  : b ^ c ^ d;
        uint32_t next = rotate(a, 5) + mixed + e + constants[i / 20] + words[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    digest[0] += a;
    digest[1] += b;
    digest[2] += c;
    digest[3] += d;
    digest[4] += e;
}

/* Of two pieces that together are short; longer input is cut to fit. */
static void sha1_short(const uint8_t *first, size_t first_size, const void *second,
                       size_t second_size, uint32_t digest[DIGEST_WORDS])
{
    uint8_t input[4 * BLOCK] = {0};
    size_t room = sizeof input - first_size - 9;
    size_t used = second_size < room ? second_size : room;
    memcpy(input, first, first_size);
    memcpy(input + first_size, second, used);
    size_t size = first_size + used;
    input[size] = 0x80;
    size_t total = (size + 9 + BLOCK - 1) / BLOCK * BLOCK;
    for (unsigned i = 0; i < 8; i++) {
        input[total - 1 - i] = (uint8_t)((uint64_t)size * 8 >> (8 * i));
    }
    static const uint32_t start[DIGEST_WORDS] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
                                                 0xc3d2e1f0};
    memcpy(digest, start, sizeof start);
    for (size_t i = 0; i < total; i += BLOCK) {
        sha1_block(digest, input + i);
    }
}

void emu_uuid_v5(const uint8_t space[16], const void *name, size_t size, uint8_t ret[16])
{
    uint32_t digest[DIGEST_WORDS];
    sha1_short(space, 16, name, size, digest);
    for (unsigned i = 0; i < 16; i++) {
        ret[i] = (uint8_t)(digest[i / 4] >> (24 - 8 * (i % 4)));
    }
    ret[6] = (uint8_t)((ret[6] & 0x0f) | 0x50);
    ret[8] = (uint8_t)((ret[8] & 0x3f) | 0x80);
}

void emu_uuid_format(const uint8_t uuid[16], char text[EMU_UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            *text++ = '-';
        }
        *text++ = digits[uuid[i] >> 4];
        *text++ = digits[uuid[i] & 15];
    }
    *text = '\0';
}

static int digit(char character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    char lower = (char)(character | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool emu_uuid_parse(const char *text, uint8_t ret[16])
{
    for (unsigned i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-') {
            return false;
        }
        int high = digit(text[0]);
        int low = high < 0 ? -1 : digit(text[1]);
        if (low < 0) {
            return false;
        }
        ret[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return true;
}

void emu_gpu_uuid(const char *machine, unsigned number, char *buffer, size_t size)
{
    static const uint8_t space[16] = {0x6d, 0x69, 0x67, 0x64, 0x2d, 0x65, 0x5d, 0x75,
                                      0xac, 0x61, 0x74, 0x6f, 0x72, 0x2d, 0x76, 0x31};
    char name[160], text[EMU_UUID_TEXT_SIZE];
    uint8_t uuid[16];
    snprintf(name, sizeof name, "%u/%.128s", number, machine);
    emu_uuid_v5(space, name, strlen(name), uuid);
    emu_uuid_format(uuid, text);
    snprintf(buffer, size, "GPU-%s", text);
}

void emu_mig_uuid(const char *gpu_uuid, unsigned gi, unsigned ci, char *buffer, size_t size)
{
    uint8_t space[16] = {0}, uuid[16];
    char name[32], text[EMU_UUID_TEXT_SIZE];
    if (strncmp(gpu_uuid, "GPU-", 4) == 0) {
        emu_uuid_parse(gpu_uuid + 4, space);
    }
    snprintf(name, sizeof name, "%u/%u", gi, ci);
    emu_uuid_v5(space, name, strlen(name), uuid);
    emu_uuid_format(uuid, text);
    snprintf(buffer, size, "MIG-%s", text);
}
