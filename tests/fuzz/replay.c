/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzzer over its seeds without libFuzzer, so that what was once found stays tested with
 * every compiler. Each file is given whole and cut short at up to 64 places. Prints TAP; a broken
 * promise aborts, and the test is incomplete.
 */
#include "base/cleanup.h"
#include "base/file.h"
#include "fuzz.h"

#define SEED_BYTES_MAX (4u << 20)
#define CUTS_MAX 64

static void replay(const char *data, size_t size)
{
    size_t step = size / CUTS_MAX + 1;

    for (size_t length = 0; length < size; length += step) {
        LLVMFuzzerTestOneInput((const uint8_t *)data, length);
    }
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
}

int main(int argc, char **argv)
{
    MIG_AUTO_CLOSEDIR DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    unsigned count = 0;
    struct dirent *entry;

    if (!directory) {
        fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
        return 2;
    }
    while ((entry = readdir(directory))) {
        MIG_AUTO_FREE char *data = NULL;
        struct mig_error error;
        char path[4096];
        size_t size;

        if (entry->d_name[0] == '.') {
            continue;
        }
        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        if (mig_file_read(path, SEED_BYTES_MAX, &data, &size, &error) != MIG_OK) {
            printf("not ok %u - %s: %s\n", ++count, entry->d_name, error.message);
            continue;
        }
        replay(data, size);
        printf("ok %u - %s\n", ++count, entry->d_name);
    }
    printf("1..%u\n", count);
    return 0;
}
