/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's clock and meters: energy is what power adds up to, temperature has no jumps and
 * stays between where it was and where it goes, nothing goes back, changes of the level are
 * seamless.
 */
#include "emulator/machine/meter.h"
#include "emulator_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull

struct bench {
    struct emu_node_info info;
    struct emu_state state;
};

static struct bench *bench_make(void)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->info.gpu_count = 1;
    board_describe(BOARD_A100, EMU_NUMBERING_DIRECT, 0, &bench->info.gpus[0]);
    emu_gpu_defaults(&bench->info.gpus[0]);
    bench->state.gpu_count = 1;
    bench->state.gpus[0].power_limit_mw = bench->info.gpus[0].power_limit_mw;
    emu_meter_settle(&bench->info, &bench->state, 0);
    return bench;
}

static struct emu_reading read_at(const struct bench *bench, uint64_t now_ns)
{
    struct emu_reading reading;
    emu_meter_read(&bench->info.gpus[0], &bench->state.gpus[0], now_ns, &reading);
    return reading;
}

static void add_job(struct bench *bench, unsigned load, uint64_t now_ns)
{
    struct emu_process process = {.pid = 5000000 + bench->state.process_count,
                                  .type = 'C',
                                  .gi = EMU_ID_NONE,
                                  .ci = EMU_ID_NONE,
                                  .load_percent = (uint8_t)load};
    assert_int_equal(emu_process_add(&bench->state, &process), 0);
    emu_meter_settle(&bench->info, &bench->state, now_ns);
}

/* ---- the clock ------------------------------------------------------------------------------ */

static void test_clock(void **unused)
{
    struct emu_clock clock = {.host_ns = 1000 * SECOND, .rate = EMU_CLOCK_REAL};
    (void)unused;
    assert_true(emu_clock_at(&clock, 1000 * SECOND) == 0);
    assert_true(emu_clock_at(&clock, 1001 * SECOND + 7) == SECOND + 7);
    assert_true(emu_clock_at(&clock, 999 * SECOND) == 0); /* the host's clock was set back */
    clock.machine_ns = 5 * SECOND;
    clock.rate = 0;
    assert_true(emu_clock_at(&clock, 5000 * SECOND) == 5 * SECOND);
    clock.rate = 2500;
    assert_true(emu_clock_at(&clock, 1002 * SECOND) == 10 * SECOND);
    clock.rate = EMU_CLOCK_FASTEST;
    uint64_t year = 366ull * 24 * 3600 * SECOND;
    assert_true(emu_clock_at(&clock, 1000 * SECOND + year) == 5 * SECOND + 100 * year);
}

/* ---- meters --------------------------------------------------------------------------------- */

static void test_energy_is_the_sum_of_power(void **unused)
{
    struct bench *bench = bench_make();
    uint64_t sum_uj = 0, step_ms = 100;
    (void)unused;
    add_job(bench, 60, 0);
    for (uint64_t ms = 0; ms < 30000; ms += step_ms) {
        struct emu_reading now = read_at(bench, ms * 1000000);
        /* by a rounding of the swing a second at most */
        int64_t off = (int64_t)(sum_uj / 1000) - (int64_t)now.energy_mj;
        assert_true(off > -20 && off < 20);
        sum_uj += (uint64_t)now.power_mw * step_ms;
    }
    assert_true(sum_uj > 0);
    free(bench);
}

static void test_nothing_goes_back(void **unused)
{
    struct bench *bench = bench_make();
    struct emu_reading before = read_at(bench, 0);
    (void)unused;
    for (uint64_t i = 1; i < 2000; i++) {
        uint64_t now_ns = i * 137 * 1000000;
        if (i % 100 == 0) { /* another level, up and down */
            bench->state.gpus[0].load_percent = (unsigned)(i * 37 % 101);
            bench->state.gpus[0].power_limit_mw = (int32_t)(150000 + i * 100);
            emu_meter_settle(&bench->info, &bench->state, now_ns);
        }
        struct emu_reading now = read_at(bench, now_ns);
        assert_true(now.energy_mj >= before.energy_mj);
        /* no jumps: at full power it is 40 degrees in all, half of it in 20 s */
        int64_t change = now.temperature_mc - before.temperature_mc;
        assert_true(change > -500 && change < 500);
        assert_true(now.power_mw <= bench->state.gpus[0].power_limit_mw);
        assert_true(now.load_percent <= 100 && now.memory_load_percent <= 100);
        before = now;
    }
    free(bench);
}

static void test_settling_without_a_change_changes_nothing(void **unused)
{
    struct bench *bench = bench_make();
    (void)unused;
    add_job(bench, 35, SECOND);
    struct emu_meter meter = bench->state.gpus[0].meter;
    for (uint64_t i = 2; i < 50; i++) {
        emu_meter_settle(&bench->info, &bench->state, i * SECOND);
        assert_memory_equal(&bench->state.gpus[0].meter, &meter, sizeof meter);
    }
    free(bench);
}

static void test_temperature_halves_its_distance(void **unused)
{
    struct bench *bench = bench_make();
    int64_t idle = (int64_t)bench->info.gpus[0].temperature_c * 1000;
    (void)unused;
    bench->state.gpus[0].load_percent = 100;
    emu_meter_settle(&bench->info, &bench->state, 0);
    assert_true(read_at(bench, 0).temperature_mc == idle);
    for (unsigned halves = 1; halves < 6; halves++) {
        int64_t expected = idle + 40000 - (40000 >> halves);
        int64_t off = read_at(bench, halves * 20 * SECOND).temperature_mc - expected;
        assert_true(off > -200 && off < 200);
    }
    assert_true(read_at(bench, 100000 * SECOND).temperature_mc == idle + 40000);
    free(bench);
}

static void test_loads_of_instances(void **unused)
{
    struct bench *bench = bench_make();
    struct emu_gpu *gpu = &bench->state.gpus[0];
    (void)unused;
    gpu->mode = 1;
    unsigned third = 0; /* a profile with several slices */
    while (bench->info.gpus[0].profiles[third].slice_count != 3) {
        third++;
    }
    gpu->gis[2] = (struct emu_gi){.used = 1, .profile = (uint8_t)third, .size = 4, .birth = 1};
    struct emu_process process = {.pid = 7, .gi = 2, .ci = EMU_ID_NONE, .load_percent = 70};
    assert_int_equal(emu_process_add(&bench->state, &process), 0);
    emu_meter_settle(&bench->info, &bench->state, 0);
    assert_int_equal(gpu->gis[2].load_percent, 70);
    assert_int_equal(gpu->meter.load_percent, 70 * 3 / 7);
    for (uint64_t i = 0; i < 20; i++) {
        unsigned load = emu_meter_gi_load(&bench->info.gpus[0], gpu, 2, i * SECOND);
        assert_true(load >= 67 && load <= 73);
        assert_int_equal(emu_meter_gi_load(&bench->info.gpus[0], gpu, 1, i * SECOND), 0);
    }
    emu_process_remove(&bench->state, 7, 0);
    emu_meter_settle(&bench->info, &bench->state, SECOND);
    assert_int_equal(gpu->gis[2].load_percent, 0);
    assert_int_equal(gpu->meter.load_percent, 0);
    free(bench);
}

static void test_processes_stay_dense(void **unused)
{
    struct bench *bench = bench_make();
    (void)unused;
    for (unsigned i = 0; i < EMU_PROCESS_MAX; i++) {
        add_job(bench, 1, 0);
    }
    struct emu_process more = {.pid = 1, .gi = EMU_ID_NONE, .ci = EMU_ID_NONE};
    assert_int_not_equal(emu_process_add(&bench->state, &more), 0);
    for (unsigned i = 0; i < EMU_PROCESS_MAX; i += 3) {
        assert_int_equal(emu_process_remove(&bench->state, 5000000 + i, 0), 1);
    }
    for (unsigned i = 0; i < EMU_PROCESS_MAX; i++) {
        assert_int_equal(bench->state.processes[i].pid != 0, i < bench->state.process_count);
    }
    assert_int_equal(bench->state.processes[0].pid, 5000001); /* the order stays */
    assert_int_equal(bench->state.processes[1].pid, 5000002);
    assert_int_equal(bench->state.processes[2].pid, 5000004);
    free(bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_energy_is_the_sum_of_power),
        cmocka_unit_test(test_nothing_goes_back),
        cmocka_unit_test(test_settling_without_a_change_changes_nothing),
        cmocka_unit_test(test_temperature_halves_its_distance),
        cmocka_unit_test(test_loads_of_instances),
        cmocka_unit_test(test_processes_stay_dense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
