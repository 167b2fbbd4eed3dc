/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Journals. Any bytes are refused with a reason, or mean exactly what is written: there is one way
 * to write a journal, so writing what was read gives the same bytes. Each input is given as it is
 * and with the right checksum behind it, which no mutation would ever find.
 */
#include "fuzz.h"
#include "gpu/journal.h"

static uint32_t crc32_of(const char *data, size_t size)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < size; i++) {
        crc ^= (uint8_t)data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
        }
    }
    return ~crc;
}

static void check(const char *data, size_t size)
{
    struct mig_journal *journal = malloc(sizeof(*journal));
    struct mig_error error = {0};
    char *text = NULL;
    size_t length = 0;

    FUZZ_CHECK(journal);
    if (mig_journal_parse("journal", data, size, journal, &error) < 0) {
        FUZZ_CHECK(*error.message && error.code >= 0);
    } else {
        FUZZ_CHECK(journal->gpu_count <= MIG_GPU_MAX);
        FUZZ_CHECK(journal->steps_done <= journal->step_count);
        FUZZ_CHECK(mig_journal_format(journal, &text, &length, NULL) == 0);
        FUZZ_CHECK(length <= journal->valid_size && journal->valid_size <= size);
        FUZZ_CHECK(memcmp(text, data, length) == 0);
        free(text);
    }
    free(journal);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    char *closed = malloc(size + 16);

    FUZZ_CHECK(closed);
    check(text, size);
    memcpy(closed, text, size);
    snprintf(closed + size, 16, "end %08x\n", crc32_of(text, size));
    check(closed, size + 13);
    free(closed);
    free(text);
    return 0;
}
