/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The private table for NVIDIA's nvidia-smi: what it holds, that slots nobody knows do nothing, and
 * that the known ones do what the public calls do, with rubbish too.
 */
#include "emulator_client.h"
#include "nvml/nvml_functions.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOT_PARSE 12
#define SLOT_GROUP 182
#define SLOT_PLACE 75
#define SLOT_INDEX 81
#define SLOT_RESET 168
#define SLOT_COMPUTE 213
#define SLOT_GRAPHICS 214
#define SLOT_MPS 215
#define SLOT_GENERATION 230
#define ENTRY_SIZE 4128

typedef nvmlReturn_t slot(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t);

static const unsigned char guid[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                       0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};

static int start_two(void **unused)
{
    static const enum board boards[] = {BOARD_A30, BOARD_H100};
    (void)unused;
    return start(boards, 2);
}

static const uintptr_t *table(void)
{
    const void *found = NULL;
    assert_int_equal(NVML(nvmlInternalGetExportTable)(&found, guid), NVML_SUCCESS);
    return found;
}

static nvmlReturn_t call(unsigned number, uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d,
                         uintptr_t e)
{
    uintptr_t word = table()[number];
    slot *function = NULL;
    memcpy(&function, &word, sizeof(function));
    return function(a, b, c, d, e);
}

#define POINTER(value) ((uintptr_t)(value))

static void test_shape(void **unused)
{
    unsigned char other[16];
    const void *found = NULL;
    uintptr_t words[4] = {7, 7, 7, 7};
    unsigned i;

    (void)unused;
    assert_int_equal(table()[0], 251 * sizeof(uintptr_t));
    for (i = 1; i < 251; i++) {
        assert_int_not_equal(table()[i], 0);
    }
    memcpy(other, guid, sizeof(other));
    other[15] ^= 1;
    assert_int_equal(NVML(nvmlInternalGetExportTable)(&found, other), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlInternalGetExportTable)(NULL, guid), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlInternalGetExportTable)(&found, NULL), NVML_ERROR_INVALID_ARGUMENT);
    assert_null(found);
    assert_int_equal(call(SLOT_GROUP, POINTER(&words[0]), POINTER(&words[1]), POINTER(&words[2]),
                          POINTER(&words[3]), 1),
                     NVML_SUCCESS);
    assert_true(words[0] == 7 && words[1] == 7 && words[2] == 7 && words[3] == 7);
}

static void test_finding_gpus(void **unused)
{
    nvmlDevice_t device = NULL;
    nvmlPciInfo_t pci;
    unsigned fields[4] = {9, 9, 9, 9};

    (void)unused;
    assert_int_equal(call(SLOT_INDEX, 1, POINTER(&device), 0x22, 0, 0), NVML_SUCCESS);
    assert_ptr_equal(device, gpu(1));
    assert_int_equal(call(SLOT_INDEX, 2, POINTER(&device), 0x22, 0, 0),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlDeviceGetPciInfo_v3)(gpu(1), &pci), NVML_SUCCESS);
    assert_int_equal(
        call(SLOT_PLACE, 1, POINTER(&fields[0]), POINTER(&fields[1]), POINTER(&fields[2]), 0),
        NVML_SUCCESS);
    assert_true(fields[0] == pci.domain && fields[1] == pci.bus && fields[2] == pci.device);
    memset(fields, 9, sizeof(fields));
    assert_int_equal(call(SLOT_PARSE, POINTER(pci.busId), POINTER(&fields[0]), POINTER(&fields[1]),
                          POINTER(&fields[2]), POINTER(&fields[3])),
                     NVML_SUCCESS);
    assert_true(fields[0] == pci.domain && fields[1] == pci.bus && fields[2] == pci.device &&
                fields[3] == 0);
    assert_int_equal(call(SLOT_PARSE, POINTER("nonsense"), POINTER(&fields[0]), POINTER(&fields[1]),
                          POINTER(&fields[2]), POINTER(&fields[3])),
                     NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(call(SLOT_PARSE, 0, 0, 0, 0, 0), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(call(SLOT_GENERATION, POINTER(gpu(1)), POINTER(&fields[0]), 0, 0, 0),
                     NVML_SUCCESS);
    assert_int_equal(fields[0], 5);
}

/* Entries are 4128 bytes apart; what is behind the last one stays as it was. */
static void test_processes(void **unused)
{
    static unsigned char entries[3 * ENTRY_SIZE];
    struct emu_transaction change;
    struct emu_process process = {.pid = 4200000,
                                  .gpu = 1,
                                  .type = 'C',
                                  .gi = EMU_ID_NONE,
                                  .ci = EMU_ID_NONE,
                                  .memory_bytes = 5 << 20,
                                  .name = "train"};
    unsigned count = 0;

    (void)unused;
    assert_int_equal(emu_begin(machine, &change), 0);
    assert_int_equal(emu_process_add(change.state, &process), 0);
    process.pid++;
    assert_int_equal(emu_process_add(change.state, &process), 0);
    emu_commit(&change);

    assert_int_equal(call(SLOT_COMPUTE, POINTER(gpu(1)), POINTER(&count), 0, 0, 0),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 2);
    memset(entries, 0xee, sizeof(entries));
    count = 3;
    assert_int_equal(call(SLOT_COMPUTE, POINTER(gpu(1)), POINTER(&count), POINTER(entries), 0, 0),
                     NVML_SUCCESS);
    assert_int_equal(count, 2);
    memcpy(&count, entries + ENTRY_SIZE, sizeof(count));
    assert_int_equal(count, 4200001);
    assert_string_equal((const char *)entries + ENTRY_SIZE + 32, "train");
    assert_int_equal(entries[2 * ENTRY_SIZE], 0xee);

    count = 3;
    assert_int_equal(call(SLOT_GRAPHICS, POINTER(gpu(1)), POINTER(&count), POINTER(entries), 0, 0),
                     NVML_SUCCESS);
    assert_int_equal(count, 0);
    assert_int_equal(call(SLOT_MPS, POINTER(gpu(1)), 0, 0, 0, 0), NVML_ERROR_INVALID_ARGUMENT);
    count = 3;
    assert_int_equal(call(SLOT_MPS, 12345, POINTER(&count), POINTER(entries), 0, 0),
                     NVML_ERROR_INVALID_ARGUMENT);
}

static void test_resets(void **unused)
{
    nvmlDevice_t devices[2] = {gpu(0), gpu(1)};
    nvmlReturn_t codes[2] = {NVML_ERROR_UNKNOWN, NVML_ERROR_UNKNOWN};
    struct emu_transaction change;
    struct emu_process process = {
        .pid = 4200000, .gpu = 1, .type = 'C', .gi = EMU_ID_NONE, .ci = EMU_ID_NONE};

    (void)unused;
    assert_int_equal(call(SLOT_RESET, 2, POINTER(devices), POINTER(codes), 0, 0), NVML_SUCCESS);
    assert_true(codes[0] == NVML_SUCCESS && codes[1] == NVML_SUCCESS);

    assert_int_equal(emu_begin(machine, &change), 0);
    assert_int_equal(emu_process_add(change.state, &process), 0);
    emu_commit(&change);
    assert_int_equal(call(SLOT_RESET, 2, POINTER(devices), POINTER(codes), 0, 0),
                     NVML_ERROR_UNKNOWN); /* look at each */
    assert_true(codes[0] == NVML_SUCCESS && codes[1] == NVML_ERROR_IN_USE);
    assert_int_equal(call(SLOT_RESET, 2, 0, 0, 0, 0), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(call(SLOT_RESET, 1u << 20, POINTER(devices), POINTER(codes), 0, 0),
                     NVML_ERROR_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_shape, start_two, stop),
        cmocka_unit_test_setup_teardown(test_finding_gpus, start_two, stop),
        cmocka_unit_test_setup_teardown(test_processes, start_two, stop),
        cmocka_unit_test_setup_teardown(test_resets, start_two, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
