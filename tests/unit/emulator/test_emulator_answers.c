/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the emulated driver answers beside MIG: the functions with one fixed answer, bad arguments,
 * and settings whose effect other calls show.
 */
#include "emulator_client.h"
#include "nvml/nvml_functions.h"
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { A100 = 0, H100, T4, A30 }; /* by index */

static int start_four(void **unused)
{
    static const enum board boards[] = {BOARD_A100, BOARD_H100, BOARD_T4, BOARD_A30};
    (void)unused;
    start(boards, 4);
    node_enable(machine, A30);
    return 0;
}

/* ---- fixed answers and bad arguments -------------------------------------------------------- */

typedef uintptr_t any_function(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t);

static char scratch[1 << 16]; /* what good pointers point at */

static any_function *any(const char *name)
{
    return (any_function *)symbol(name);
}

static unsigned code_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned code;
    } codes[] = {
        {"NOT_SUPPORTED", NVML_ERROR_NOT_SUPPORTED},
        {"NOT_FOUND", NVML_ERROR_NOT_FOUND},
        {"INVALID_ARGUMENT", NVML_ERROR_INVALID_ARGUMENT},
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (strcmp(codes[i].name, name) == 0) {
            return codes[i].code;
        }
    }
    fail_msg("no code %s", name);
    return 0;
}

/* Every row says the same on every kind of GPU. Functions on GPU instances have none here. */
static void test_fixed_answers(void **unused)
{
    char line[256], name[96], answer[32];
    unsigned rows = 0;
    const char *path = getenv("EMU_UNSUPPORTED");
    (void)unused;
    assert_non_null(path);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "%95s %31s", name, answer) != 2 || line[0] == '#' ||
            strncmp(name, "nvmlGpuInstance", 15) == 0) {
            continue;
        }
        for (unsigned i = 0; i < 4; i++) {
            uintptr_t rest = (uintptr_t)scratch;
            unsigned rc = (unsigned)any(name)((uintptr_t)gpu(i), rest, rest, rest, rest, rest);
            if (rc != code_of(answer)) {
                fail_msg("%s on GPU %u: %u, not %s", name, i, rc, answer);
            }
        }
        rows++;
    }
    fclose(file);
    assert_true(rows > 150);
}

#define GOOD ((uintptr_t)scratch)
#define RUBBISH 0x7ff0

/* Calls with a device and what they refuse. Good pointers point at zeros, version words too. */
static void test_bad_arguments(void **unused)
{
    static const struct {
        const char *name;
        unsigned gpu;
        uintptr_t rest[4];
        unsigned code;
    } rows[] = {
        {"nvmlDeviceGetSamples", A100, {RUBBISH, 0, GOOD, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetSamples", A100, {0, 0, 0, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetSamples", A30, {1, 0, GOOD, GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlDeviceGetSamples", A100, {7, 0, GOOD, GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlDeviceSetApplicationsClocks", A100, {1, 1}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceSetGpuLockedClocks", A100, {900, 800}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetSupportedGraphicsClocks", A100, {1, GOOD, GOOD}, NVML_ERROR_NOT_FOUND},
        {"nvmlDeviceSetAccountingMode", A100, {2}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceSetAccountingMode", A30, {1}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlDeviceGetAccountingPids", A100, {0, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetAccountingStats", A100, {1, 0}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetAccountingStats", A100, {1, GOOD}, NVML_ERROR_NOT_FOUND},
        {"nvmlDeviceGetProcessesUtilizationInfo",
         A100,
         {GOOD},
         NVML_ERROR_ARGUMENT_VERSION_MISMATCH},
        {"nvmlDeviceGetSramEccErrorStatus", A100, {GOOD}, NVML_ERROR_ARGUMENT_VERSION_MISMATCH},
        {"nvmlDeviceGetMarginTemperature", H100, {GOOD}, NVML_ERROR_ARGUMENT_VERSION_MISMATCH},
        {"nvmlDeviceSetPowerManagementLimit_v2",
         A100,
         {GOOD},
         NVML_ERROR_ARGUMENT_VERSION_MISMATCH},
        {"nvmlGpmQueryDeviceSupport", H100, {GOOD}, NVML_ERROR_ARGUMENT_VERSION_MISMATCH},
        {"nvmlGpmSampleGet", H100, {RUBBISH}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlGpmMigSampleGet", H100, {0, GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlGpmMigSampleGet", A30, {0, GOOD}, NVML_ERROR_NOT_FOUND},
        {"nvmlDeviceClearEccErrorCounts", A100, {2}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetRetiredPages", A100, {0, GOOD, GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlDeviceGetRetiredPages", T4, {RUBBISH, GOOD, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetRetiredPages", T4, {0, GOOD, GOOD}, NVML_SUCCESS},
        {"nvmlDeviceGetViolationStatus", A100, {7, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetViolationStatus", A100, {11, GOOD}, NVML_SUCCESS},
        {"nvmlDeviceGetP2PStatus", A100, {RUBBISH, 0, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetTopologyNearestGpus", A100, {0, 0, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetEncoderStats", A100, {GOOD, 0, GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetC2cModeInfoV", H100, {GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlDeviceGetDriverModel", A100, {GOOD, GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlDeviceGetNvLinkState", H100, {0, GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlDeviceGetSupportedVgpus", A100, {GOOD, GOOD}, NVML_ERROR_NOT_SUPPORTED},
        {"nvmlVgpuInstanceGetFbUsage", A100, {GOOD}, NVML_ERROR_NOT_FOUND},
        {"nvmlUnitGetLedState", A100, {GOOD}, NVML_ERROR_INVALID_ARGUMENT},
        {"nvmlDeviceGetFanSpeed_v2", A100, {0, GOOD}, NVML_ERROR_NOT_SUPPORTED},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(scratch, 0, sizeof scratch);
        const uintptr_t *rest = rows[i].rest;
        unsigned rc = (unsigned)any(rows[i].name)((uintptr_t)gpu(rows[i].gpu), rest[0], rest[1],
                                                  rest[2], rest[3], 0);
        if (rc != rows[i].code) {
            fail_msg("row %zu, %s: %u, not %u", i, rows[i].name, rc, rows[i].code);
        }
    }
}

/* ---- settings ------------------------------------------------------------------------------- */

static unsigned clock_of(unsigned index, nvmlClockType_t type)
{
    unsigned mhz = 0;
    assert_int_equal(NVML(nvmlDeviceGetClockInfo)(gpu(index), type, &mhz), NVML_SUCCESS);
    return mhz;
}

static void set_load(unsigned index, unsigned percent)
{
    struct emu_transaction change;
    assert_int_equal(emu_begin(machine, &change), 0);
    change.state->gpus[index].load_percent = percent;
    emu_commit(&change);
}

static void test_clocks(void **unused)
{
    unsigned memory = 0, count = 1, clocks[256], mhz = 0;
    (void)unused;
    assert_int_equal(NVML(nvmlDeviceGetSupportedMemoryClocks)(gpu(A100), &count, &memory), 0);
    count = 0;
    assert_int_equal(NVML(nvmlDeviceGetSupportedGraphicsClocks)(gpu(A100), memory, &count, NULL),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_true(count > 10 && count < 256);
    assert_int_equal(NVML(nvmlDeviceGetSupportedGraphicsClocks)(gpu(A100), memory, &count, clocks),
                     0);
    assert_true(clocks[0] > clocks[1] && clocks[count - 1] >= 200);
    set_load(A100, 100);
    assert_int_equal(clock_of(A100, NVML_CLOCK_SM), clocks[0]);
    assert_int_equal(NVML(nvmlDeviceSetApplicationsClocks)(gpu(A100), memory, clocks[5]), 0);
    NVML(nvmlDeviceGetApplicationsClock)(gpu(A100), NVML_CLOCK_GRAPHICS, &mhz);
    assert_int_equal(mhz, clocks[5]);
    assert_int_equal(clock_of(A100, NVML_CLOCK_SM), clocks[5]);
    assert_int_equal(NVML(nvmlDeviceSetGpuLockedClocks)(gpu(A100), clocks[9], clocks[8]), 0);
    assert_int_equal(clock_of(A100, NVML_CLOCK_SM), clocks[8]);
    set_load(A100, 0);
    assert_int_equal(clock_of(A100, NVML_CLOCK_SM), clocks[9]);
    assert_int_equal(NVML(nvmlDeviceResetGpuLockedClocks)(gpu(A100)), 0);
    assert_int_equal(NVML(nvmlDeviceResetApplicationsClocks)(gpu(A100)), 0);
    set_load(A100, 100);
    assert_int_equal(clock_of(A100, NVML_CLOCK_SM), clocks[0]);
}

static void test_error_counts(void **unused)
{
    unsigned long long count = 0;
    struct emu_transaction change;
    (void)unused;
    assert_int_equal(emu_begin(machine, &change), 0);
    emu_xid(change.state, T4, EMU_ID_NONE, EMU_ID_NONE, 48);
    emu_commit(&change);
    for (unsigned round = 0; round < 3; round++) {
        nvmlFieldValue_t fields[] = {{.fieldId = NVML_FI_DEV_ECC_DBE_VOL_TOTAL},
                                     {.fieldId = NVML_FI_DEV_ECC_DBE_AGG_TOTAL}};
        assert_int_equal(NVML(nvmlDeviceGetFieldValues)(gpu(T4), 2, fields), 0);
        assert_int_equal(fields[0].value.ullVal, round == 0);
        assert_int_equal(fields[1].value.ullVal, round < 2);
        NVML(nvmlDeviceGetTotalEccErrors)
        (gpu(T4), NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_AGGREGATE_ECC, &count);
        assert_int_equal(count, round < 2);
        assert_int_equal(NVML(nvmlDeviceClearEccErrorCounts)(
                             gpu(T4), round == 0 ? NVML_VOLATILE_ECC : NVML_AGGREGATE_ECC),
                         0);
    }
}

static void test_accounting(void **unused)
{
    unsigned pids[4], count = 4;
    nvmlAccountingStats_t stats;
    struct emu_process process = {.pid = 4711,
                                  .gpu = A100,
                                  .type = 'C',
                                  .gi = EMU_ID_NONE,
                                  .ci = EMU_ID_NONE,
                                  .memory_bytes = 1 << 20};
    struct emu_transaction change;
    (void)unused;
    assert_int_equal(emu_begin(machine, &change), 0);
    assert_int_equal(emu_process_add(change.state, &process), 0);
    emu_commit(&change);
    assert_int_equal(NVML(nvmlDeviceGetAccountingPids)(gpu(A100), &count, pids), 0);
    assert_int_equal(count, 0); /* it is off */
    assert_int_equal(NVML(nvmlDeviceSetAccountingMode)(gpu(A100), NVML_FEATURE_ENABLED), 0);
    count = 0;
    assert_int_equal(NVML(nvmlDeviceGetAccountingPids)(gpu(A100), &count, NULL),
                     NVML_ERROR_INSUFFICIENT_SIZE);
    assert_int_equal(count, 1);
    assert_int_equal(NVML(nvmlDeviceGetAccountingPids)(gpu(A100), &count, pids), 0);
    assert_int_equal(pids[0], 4711);
    assert_int_equal(NVML(nvmlDeviceGetAccountingStats)(gpu(A100), 4711, (void *)&stats), 0);
    assert_int_equal(stats.maxMemoryUsage, 1 << 20);
    assert_int_equal(stats.isRunning, 1);
    assert_int_equal(NVML(nvmlDeviceGetAccountingStats)(gpu(A100), 4712, (void *)&stats),
                     NVML_ERROR_NOT_FOUND);
}

static void test_performance_monitoring(void **unused)
{
    nvmlGpmMetricsGet_t *metrics = calloc(1, sizeof *metrics);
    nvmlGpmSample_t samples[2];
    nvmlGpmSupport_t support = {.version = NVML_GPM_SUPPORT_VERSION};
    (void)unused;
    assert_non_null(metrics);
    assert_int_equal(NVML(nvmlGpmQueryDeviceSupport)(gpu(A100), &support), 0);
    assert_int_equal(support.isSupportedDevice, 0);
    assert_int_equal(NVML(nvmlGpmQueryDeviceSupport)(gpu(H100), &support), 0);
    assert_int_equal(support.isSupportedDevice, 1);
    for (unsigned i = 0; i < 2; i++) {
        set_load(H100, 40 * i);
        assert_int_equal(NVML(nvmlGpmSampleAlloc)(&samples[i]), 0);
        assert_int_equal(NVML(nvmlGpmSampleGet)(gpu(A100), samples[i]), NVML_ERROR_NOT_SUPPORTED);
        assert_int_equal(NVML(nvmlGpmSampleGet)(gpu(H100), samples[i]), 0);
    }
    *metrics =
        (nvmlGpmMetricsGet_t){.version = NVML_GPM_METRICS_GET_VERSION,
                              .numMetrics = 3,
                              .sample1 = samples[0],
                              .sample2 = samples[1],
                              .metrics = {{.metricId = 2}, {.metricId = 0}, {.metricId = 60}}};
    assert_int_equal(NVML(nvmlGpmMetricsGet)(metrics), 0);
    assert_true(metrics->metrics[0].value > 19.9 && metrics->metrics[0].value < 20.1);
    assert_int_equal(metrics->metrics[1].nvmlReturn, NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(metrics->metrics[2].nvmlReturn, NVML_ERROR_NOT_SUPPORTED);
    metrics->numMetrics = NVML_GPM_METRIC_MAX + 1;
    assert_int_equal(NVML(nvmlGpmMetricsGet)(metrics), NVML_ERROR_INVALID_ARGUMENT);
    metrics->numMetrics = 1;
    assert_int_equal(NVML(nvmlGpmSampleFree)(samples[0]), 0);
    assert_int_equal(NVML(nvmlGpmSampleFree)(samples[0]), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlGpmMetricsGet)(metrics), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlGpmSampleFree)(samples[1]), 0);
    free(metrics);
    assert_int_equal(NVML(nvmlGpmSetStreamingEnabled)(gpu(A100), 1), NVML_ERROR_NOT_SUPPORTED);
    assert_int_equal(NVML(nvmlGpmSetStreamingEnabled)(gpu(H100), 2), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(NVML(nvmlGpmSetStreamingEnabled)(gpu(H100), 1), 0);
    assert_int_equal(NVML(nvmlGpmQueryIfStreamingEnabled)(gpu(H100), &support.version), 0);
    assert_int_equal(support.version, 1);
}

static void test_topology(void **unused)
{
    nvmlDevice_t devices[8];
    unsigned count = 0;
    nvmlGpuP2PStatus_t status;
    (void)unused;
    assert_int_equal(NVML(nvmlSystemGetTopologyGpuSet)(0, &count, NULL), 0);
    assert_int_equal(count, 4);
    assert_int_equal(NVML(nvmlSystemGetTopologyGpuSet)(0, &count, devices), 0);
    assert_ptr_equal(devices[3], gpu(3));
    count = 8;
    assert_int_equal(
        NVML(nvmlDeviceGetTopologyNearestGpus)(gpu(0), NVML_TOPOLOGY_NODE, &count, devices), 0);
    assert_int_equal(count, 3);
    assert_ptr_equal(devices[0], gpu(1));
    count = 8;
    NVML(nvmlDeviceGetTopologyNearestGpus)(gpu(0), NVML_TOPOLOGY_SINGLE, &count, devices);
    assert_int_equal(count, 0);
    NVML(nvmlDeviceGetP2PStatus)(gpu(A100), gpu(H100), NVML_P2P_CAPS_INDEX_READ, &status);
    assert_int_equal(status, NVML_P2P_STATUS_OK);
    NVML(nvmlDeviceGetP2PStatus)(gpu(A100), gpu(A30), NVML_P2P_CAPS_INDEX_READ, &status);
    assert_int_equal(status, NVML_P2P_STATUS_NOT_SUPPORTED); /* MIG is on there */
    NVML(nvmlDeviceGetP2PStatus)(gpu(A100), gpu(H100), NVML_P2P_CAPS_INDEX_NVLINK, &status);
    assert_int_equal(status, NVML_P2P_STATUS_NOT_SUPPORTED);
}

static void test_draining(void **unused)
{
    nvmlPciInfo_t pci, elsewhere = {.bus = 0xff};
    nvmlEnableState_t draining = NVML_FEATURE_ENABLED;
    (void)unused;
    assert_int_equal(NVML(nvmlDeviceGetPciInfo_v3)(gpu(A100), &pci), 0);
    assert_int_equal(NVML(nvmlDeviceQueryDrainState)(&pci, &draining), 0);
    assert_int_equal(draining, NVML_FEATURE_DISABLED);
    assert_int_equal(NVML(nvmlDeviceSetPersistenceMode)(gpu(A100), NVML_FEATURE_ENABLED), 0);
    assert_int_equal(NVML(nvmlDeviceModifyDrainState)(&pci, NVML_FEATURE_ENABLED),
                     NVML_ERROR_IN_USE);
    assert_int_equal(NVML(nvmlDeviceSetPersistenceMode)(gpu(A100), NVML_FEATURE_DISABLED), 0);
    assert_int_equal(NVML(nvmlDeviceModifyDrainState)(&pci, NVML_FEATURE_ENABLED), 0);
    assert_int_equal(NVML(nvmlDeviceQueryDrainState)(&pci, &draining), 0);
    assert_int_equal(draining, NVML_FEATURE_ENABLED);
    assert_int_equal(NVML(nvmlDeviceQueryDrainState)(&elsewhere, &draining),
                     NVML_ERROR_INVALID_ARGUMENT);
}

/* Field ids: what each board answers, and with which type; nvidia-smi leaves rubbish in the scope
 * of fields that have none. */
static void test_fields(void **unused)
{
    static const struct {
        unsigned gpu, field, scope;
        unsigned code, type;
    } rows[] = {
        {A100, NVML_FI_DEV_RESET_STATUS, 0, 0, NVML_VALUE_TYPE_UNSIGNED_INT},
        {A100, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, 0, 0, NVML_VALUE_TYPE_UNSIGNED_LONG_LONG},
        {A100, NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT, 0, 3, NVML_VALUE_TYPE_SIGNED_INT},
        {H100, NVML_FI_DEV_TEMPERATURE_SHUTDOWN_TLIMIT, 0, 0, NVML_VALUE_TYPE_SIGNED_INT},
        {H100, NVML_FI_DEV_PCIE_COUNT_LANE_ERROR, 0, 0, NVML_VALUE_TYPE_UNSIGNED_INT},
        {H100, NVML_FI_DEV_MEMORY_TEMP, RUBBISH, 0, NVML_VALUE_TYPE_UNSIGNED_INT},
        {H100, NVML_FI_DEV_POWER_INSTANT, 0, 0, NVML_VALUE_TYPE_UNSIGNED_INT},
        {H100, NVML_FI_DEV_POWER_INSTANT, 1, 3, NVML_VALUE_TYPE_UNSIGNED_INT},
        {H100, 0, 0, 3, NVML_VALUE_TYPE_UNSIGNED_INT},
        {H100, 9999, 0, 3, NVML_VALUE_TYPE_UNSIGNED_INT},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        nvmlFieldValue_t value = {.fieldId = rows[i].field, .scopeId = rows[i].scope};
        assert_int_equal(NVML(nvmlDeviceGetFieldValues)(gpu(rows[i].gpu), 1, &value), 0);
        assert_int_equal(value.nvmlReturn, rows[i].code);
        assert_int_equal(value.valueType, rows[i].type);
    }
}

/* What nvidia-smi reads from its private table agrees with NVML. */
static void test_private_figures(void **unused)
{
    typedef nvmlReturn_t number_slot(nvmlDevice_t, unsigned *);
    static const unsigned char guid[16] = {0xc4, 0xfe, 0x3e, 0x6c, 0xc9, 0x8f, 0x6c, 0x4e,
                                           0xa3, 0x27, 0xee, 0x69, 0x6e, 0x12, 0xf7, 0xc4};
    static const struct {
        unsigned slot, gpu, code;
    } rows[] = {{108, A100, 0}, {240, H100, 0}, {240, A100, 3}, {209, H100, 3}, {232, H100, 3}};
    const void *table = NULL;
    (void)unused;
    assert_int_equal(NVML(nvmlInternalGetExportTable)(&table, guid), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned value = 0;
        number_slot *slot = ((number_slot *const *)table)[rows[i].slot];
        assert_int_equal(slot(gpu(rows[i].gpu), &value), rows[i].code);
        assert_int_equal(value > 0, rows[i].code == 0);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_four, stop)
    const struct CMUnitTest tests[] = {
        TEST(test_fixed_answers),   TEST(test_bad_arguments), TEST(test_clocks),
        TEST(test_error_counts),    TEST(test_accounting),    TEST(test_performance_monitoring),
        TEST(test_topology),        TEST(test_draining),      TEST(test_fields),
        TEST(test_private_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
