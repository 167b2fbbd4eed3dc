/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated driver's rules for instances, against what facts/README.md says real ones do:
 * creation orders (section 3), numbers (section 4), refusals (section 9), media engines, modes.
 */
#include "emulator/machine/partition.h"
#include "emulator_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* One GPU with MIG on, outside of any file. */
struct bench {
    struct emu_node_info info;
    struct emu_state state;
};

static struct bench *bench_make(enum board board, enum emu_numbering numbering)
{
    struct bench *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    bench->info.gpu_count = 1;
    board_describe(board, numbering, 0, &bench->info.gpus[0]);
    bench->state.gpu_count = 1;
    bench->state.gpus[0].mode = 1;
    bench->state.gpus[0].mode_pending = 1;
    return bench;
}

static nvmlReturn_t create_at(struct bench *bench, unsigned id, unsigned start, unsigned *ret)
{
    int profile = emu_profile_by_id(&bench->info.gpus[0], id);
    assert_true(profile >= 0);
    return emu_gi_create(&bench->info, &bench->state, 0, (unsigned)profile, start, ret);
}

static nvmlReturn_t create(struct bench *bench, unsigned id, unsigned *ret)
{
    return create_at(bench, id, EMU_START_ANY, ret);
}

#define END 99

static void test_captured_creation_orders(void **unused)
{
    static const struct {
        enum board board;
        uint8_t ids[8], starts[8]; /* driver ids in order; starts END-terminated */
        nvmlReturn_t last;         /* what the id behind the last start gives */
    } orders[] = {
        {BOARD_A100, {19, 19, 19, 19, 19, 19, 19}, {6, 4, 5, 0, 1, 2, 3, END}, NVML_SUCCESS},
        {BOARD_A100, {9, 19, 14, 19}, {4, 0, 2, 1, END}, NVML_SUCCESS},
        {BOARD_A100, {14, 19, 19, 19, 19, 19}, {4, 6, 0, 1, 2, 3, END}, NVML_SUCCESS},
        {BOARD_H100, {19, 14, 5}, {6, 4, 0, END}, NVML_SUCCESS},
        {BOARD_A100, {19, 19, 14, 9}, {6, 4, 0, END}, NVML_ERROR_INSUFFICIENT_RESOURCES},
        {BOARD_A100, {9, 9}, {4, 0, END}, NVML_SUCCESS},
        {BOARD_A100, {9, 5}, {4, 0, END}, NVML_SUCCESS},
        {BOARD_A100, {14, 14, 19}, {4, 0, 6, END}, NVML_SUCCESS},
        {BOARD_A30, {14, 14, 5}, {0, 1, 2, END}, NVML_SUCCESS},
        {BOARD_A30, {5, 14, 14}, {0, 2, 3, END}, NVML_SUCCESS},
        {BOARD_RTX, {14, 14, 14, 14}, {0, 3, 6, 9, END}, NVML_SUCCESS},
        {BOARD_RTX, {5, 14, 14}, {0, 6, 9, END}, NVML_SUCCESS},
    };
    (void)unused;
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        for (unsigned numbering = 0; numbering < 2; numbering++) {
            struct bench *bench = bench_make(orders[i].board, (enum emu_numbering)numbering);
            unsigned step = 0, id = 0;
            for (; orders[i].starts[step] != END; step++) {
                assert_int_equal(create(bench, orders[i].ids[step], &id), NVML_SUCCESS);
                assert_int_equal(bench->state.gpus[0].gis[id].start, orders[i].starts[step]);
            }
            if (orders[i].last != NVML_SUCCESS) {
                assert_int_equal(create(bench, orders[i].ids[step], &id), orders[i].last);
            }
            free(bench);
        }
    }
}

static void test_double_memory_behind_media(void **unused)
{
    static const unsigned starts[] = {4, 0, 2};
    struct bench *bench = bench_make(BOARD_A100, EMU_NUMBERING_DIRECT);
    unsigned id = 0;
    (void)unused;
    assert_int_equal(create_at(bench, 20, 6, &id), NVML_SUCCESS);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(create(bench, 15, &id), NVML_SUCCESS);
        assert_int_equal(bench->state.gpus[0].gis[id].start, starts[i]);
    }
    free(bench);
}

static void test_numbers_follow_from_places(void **unused)
{
    static const struct {
        enum board board;
        unsigned profile, start, direct, swapped;
    } rows[] = {
        {BOARD_A100, 19, 0, 7, 11}, {BOARD_A100, 19, 3, 10, 14}, {BOARD_A100, 19, 4, 11, 7},
        {BOARD_A100, 19, 6, 13, 9}, {BOARD_A100, 14, 0, 3, 5},   {BOARD_A100, 14, 2, 4, 6},
        {BOARD_A100, 14, 4, 5, 3},  {BOARD_A100, 15, 6, 6, 4},   {BOARD_A100, 9, 0, 1, 2},
        {BOARD_A100, 9, 4, 2, 1},   {BOARD_A100, 5, 0, 1, 2},    {BOARD_A100, 0, 0, 0, 0},
    };
    static const struct {
        enum board board;
        unsigned profile, start, id;
    } plain[] = {
        {BOARD_A30, 0, 0, 0},  {BOARD_A30, 5, 0, 1}, {BOARD_A30, 5, 2, 2}, {BOARD_A30, 14, 0, 3},
        {BOARD_A30, 14, 3, 6}, {BOARD_RTX, 0, 0, 0}, {BOARD_RTX, 5, 6, 2}, {BOARD_RTX, 14, 9, 6},
    };
    (void)unused;
    for (size_t i = 0; i < 2 * sizeof rows / sizeof rows[0]; i++) {
        size_t row = i / 2;
        unsigned id = END;
        struct bench *bench = bench_make(rows[row].board, (enum emu_numbering)(i % 2));
        assert_int_equal(create_at(bench, rows[row].profile, rows[row].start, &id), NVML_SUCCESS);
        assert_int_equal(id, i % 2 ? rows[row].swapped : rows[row].direct);
        free(bench);
    }
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        unsigned id = END;
        struct bench *bench = bench_make(plain[i].board, EMU_NUMBERING_DIRECT);
        assert_int_equal(create_at(bench, plain[i].profile, plain[i].start, &id), NVML_SUCCESS);
        assert_int_equal(id, plain[i].id);
        free(bench);
    }
}

static void test_places_are_checked(void **unused)
{
    struct bench *bench = bench_make(BOARD_A100, EMU_NUMBERING_DIRECT);
    unsigned id = 0;
    (void)unused;
    assert_int_equal(create_at(bench, 9, 2, &id), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(create_at(bench, 9, 300, &id), NVML_ERROR_INVALID_ARGUMENT);
    assert_int_equal(create_at(bench, 9, 0, &id), NVML_SUCCESS);
    assert_int_equal(create_at(bench, 19, 3, &id), NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(create_at(bench, 5, 0, &id), NVML_ERROR_INSUFFICIENT_RESOURCES);
    bench->state.gpus[0].mode = 0;
    assert_int_equal(create(bench, 19, &id), NVML_ERROR_NOT_SUPPORTED);
    bench->state.gpus[0].lost = 1;
    assert_int_equal(create(bench, 19, &id), NVML_ERROR_GPU_IS_LOST);
    free(bench);
}

static unsigned room(const struct bench *bench, unsigned id)
{
    int profile = emu_profile_by_id(&bench->info.gpus[0], id);
    return emu_gi_room(&bench->info.gpus[0], &bench->state.gpus[0], (unsigned)profile);
}

static void test_media_engines_are_given_once(void **unused)
{
    struct bench *bench = bench_make(BOARD_RTX, EMU_NUMBERING_DIRECT);
    unsigned id = 0;
    (void)unused;
    assert_int_equal(room(bench, 21), 1);
    assert_int_equal(create(bench, 21, &id), NVML_SUCCESS);
    assert_int_equal(room(bench, 21), 0);
    assert_int_equal(create(bench, 21, &id), NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(create(bench, 65, &id), NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(create(bench, 14, &id), NVML_SUCCESS);
    free(bench);

    bench = bench_make(BOARD_RTX, EMU_NUMBERING_DIRECT);
    assert_int_equal(create(bench, 67, &id), NVML_SUCCESS);
    assert_int_equal(create(bench, 65, &id), NVML_SUCCESS);
    assert_int_equal(room(bench, 14), 0);
    assert_int_equal(create(bench, 14, &id), NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(room(bench, 67), 2);
    assert_int_equal(create(bench, 67, &id), NVML_SUCCESS);
    free(bench);

    bench = bench_make(BOARD_RTX, EMU_NUMBERING_DIRECT);
    assert_int_equal(create(bench, 14, &id), NVML_SUCCESS);
    assert_int_equal(room(bench, 65), 0);
    assert_int_equal(create(bench, 65, &id), NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(create(bench, 47, &id), NVML_SUCCESS);
    free(bench);
}

/* Room is what a sequence of creates achieves, for every reachable state of a small board. */
static void check_room(struct bench *bench)
{
    for (unsigned i = 0; i < bench->info.gpus[0].profile_count; i++) {
        unsigned expected = emu_gi_room(&bench->info.gpus[0], &bench->state.gpus[0], i), id = 0;
        struct bench *copy = malloc(sizeof *copy);
        assert_non_null(copy);
        memcpy(copy, bench, sizeof *copy);
        for (unsigned j = 0; j < expected; j++) {
            assert_int_equal(emu_gi_create(&copy->info, &copy->state, 0, i, EMU_START_ANY, &id),
                             NVML_SUCCESS);
        }
        assert_int_equal(emu_gi_create(&copy->info, &copy->state, 0, i, EMU_START_ANY, &id),
                         NVML_ERROR_INSUFFICIENT_RESOURCES);
        free(copy);
    }
}

static void test_room_is_what_creates_achieve(void **unused)
{
    unsigned seed = 7;
    (void)unused;
    for (unsigned board = BOARD_A30; board <= BOARD_RTX; board++) {
        struct bench *bench = bench_make((enum board)board, EMU_NUMBERING_HALF_SWAPPED);
        for (unsigned step = 0; step < 60; step++) {
            unsigned id = 0;
            seed = seed * 1103515245 + 12345;
            const struct emu_gpu_info *info = &bench->info.gpus[0];
            unsigned profile = (seed >> 16) % info->profile_count;
            if (seed >> 29 < 3) {
                emu_gi_destroy(&bench->state, 0, (seed >> 16) % EMU_GI_MAX);
            } else {
                emu_gi_create(&bench->info, &bench->state, 0, profile, EMU_START_ANY, &id);
            }
            check_room(bench);
        }
        free(bench);
    }
}

static void test_compute_instances(void **unused)
{
    struct bench *bench = bench_make(BOARD_A100, EMU_NUMBERING_DIRECT);
    unsigned gi = 0, id = END;
    (void)unused;
    assert_int_equal(create(bench, 9, &gi), NVML_SUCCESS);
    const struct emu_profile *profile =
        &bench->info.gpus[0].profiles[bench->state.gpus[0].gis[gi].profile];
    unsigned one = (unsigned)emu_ci_profile_by_enum(profile, 0);
    unsigned all = (unsigned)emu_ci_profile_by_enum(profile, 2);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(emu_ci_create(&bench->info, &bench->state, 0, gi, one, EMU_START_ANY, &id),
                         NVML_SUCCESS);
        assert_int_equal(id, i);
    }
    assert_int_equal(emu_ci_create(&bench->info, &bench->state, 0, gi, all, EMU_START_ANY, &id),
                     NVML_ERROR_INSUFFICIENT_RESOURCES);
    assert_int_equal(emu_gi_destroy(&bench->state, 0, gi), NVML_ERROR_IN_USE);
    assert_int_equal(emu_ci_destroy(&bench->state, 0, gi, 1), NVML_SUCCESS);
    assert_int_equal(emu_ci_destroy(&bench->state, 0, gi, 1), NVML_ERROR_NOT_FOUND);
    assert_int_equal(emu_ci_create(&bench->info, &bench->state, 0, gi, one, EMU_START_ANY, &id),
                     NVML_SUCCESS);
    assert_int_equal(id, 1); /* the lowest that is free */
    free(bench);
}

static void test_users_are_in_the_way(void **unused)
{
    struct bench *bench = bench_make(BOARD_H100, EMU_NUMBERING_DIRECT);
    struct emu_state *state = &bench->state;
    unsigned gi = 0, ci = 0;
    nvmlReturn_t activation = NVML_SUCCESS;
    (void)unused;
    assert_int_equal(create(bench, 9, &gi), NVML_SUCCESS);
    assert_int_equal(emu_ci_create(&bench->info, state, 0, gi, 0, EMU_START_ANY, &ci),
                     NVML_SUCCESS);
    struct emu_process process = {.pid = 4242, .type = 'C', .gi = gi, .ci = ci};
    assert_int_equal(emu_process_add(state, &process), 0);
    assert_int_equal(emu_ci_destroy(state, 0, gi, ci), NVML_ERROR_IN_USE);
    assert_int_equal(emu_gpu_reset(&bench->info, state, 0), NVML_ERROR_IN_USE);
    assert_int_equal(emu_mode_set(&bench->info, state, 0, 0, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_ERROR_IN_USE);
    assert_true(state->gpus[0].mode && !state->gpus[0].mode_pending);
    assert_int_equal(emu_process_remove(state, 4242, 0), 1);

    /* A holder that no list shows. */
    struct emu_holder leak = {.kind = EMU_HOLDER_LEAKED, .gi = gi, .ci = EMU_ID_NONE};
    assert_int_equal(emu_ci_destroy(state, 0, gi, ci), NVML_SUCCESS);
    assert_int_equal(emu_holder_add(state, &leak), 0);
    assert_int_equal(emu_gi_destroy(state, 0, gi), NVML_ERROR_IN_USE);
    assert_int_equal(emu_holder_remove(state, 0), 0);
    assert_int_equal(emu_gi_destroy(state, 0, gi), NVML_SUCCESS);

    /* An option: whoever holds the whole GPU keeps instances from being made. */
    struct emu_process whole = {.pid = 77, .type = 'C', .gi = EMU_ID_NONE, .ci = EMU_ID_NONE};
    assert_int_equal(emu_process_add(state, &whole), 0);
    assert_int_equal(create(bench, 9, &gi), NVML_SUCCESS);
    state->gpus[0].create_needs_idle = 1;
    assert_int_equal(create(bench, 19, &gi), NVML_ERROR_IN_USE);
    free(bench);
}

static void test_a_dead_process_uses_nothing(void **unused)
{
    struct bench *bench = bench_make(BOARD_A30, EMU_NUMBERING_DIRECT);
    unsigned gi = 0;
    (void)unused;
    assert_int_equal(create(bench, 14, &gi), NVML_SUCCESS);
    struct emu_process self = {.pid = (uint32_t)getpid(),
                               .real = 1,
                               .type = 'C',
                               .gi = gi,
                               .ci = EMU_ID_NONE,
                               .start_time = emu_process_start_time((uint32_t)getpid())};
    assert_true(self.start_time > 0);
    assert_int_equal(emu_process_add(&bench->state, &self), 0);
    assert_int_equal(emu_users(&bench->state, 0, gi, EMU_ID_NONE), 1);
    bench->state.processes[0].start_time--; /* as if the pid had been given to another process */
    assert_int_equal(emu_users(&bench->state, 0, gi, EMU_ID_NONE), 0);
    assert_int_equal(emu_process_reap(&bench->state), 1);
    assert_int_equal(bench->state.process_count, 0);
    assert_int_equal(emu_gi_destroy(&bench->state, 0, gi), NVML_SUCCESS);
    free(bench);
}

static void test_modes_by_generation(void **unused)
{
    nvmlReturn_t activation = NVML_SUCCESS;
    unsigned id = 0;
    (void)unused;
    struct bench *ampere = bench_make(BOARD_A100, EMU_NUMBERING_DIRECT);
    struct emu_gpu *gpu = &ampere->state.gpus[0];
    assert_int_equal(create(ampere, 9, &id), NVML_SUCCESS);
    struct emu_holder drm = {.kind = EMU_HOLDER_CLIENT, .gi = EMU_ID_NONE, .ci = EMU_ID_NONE};
    assert_int_equal(emu_holder_add(&ampere->state, &drm), 0);
    assert_int_equal(emu_mode_set(&ampere->info, &ampere->state, 0, 0, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_ERROR_IN_USE);
    assert_true(gpu->mode && !gpu->mode_pending && gpu->gis[id].used);
    assert_int_equal(emu_gpu_reset(&ampere->info, &ampere->state, 0), NVML_ERROR_IN_USE);
    assert_int_equal(emu_holder_remove(&ampere->state, 0), 0);
    gpu->mode_blocked = NVML_ERROR_RESET_REQUIRED;
    assert_int_equal(emu_mode_set(&ampere->info, &ampere->state, 0, 0, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_ERROR_RESET_REQUIRED);
    assert_true(gpu->mode);
    assert_int_equal(emu_gpu_reset(&ampere->info, &ampere->state, 0), NVML_SUCCESS);
    assert_true(!gpu->mode && !gpu->gis[id].used);
    gpu->mode_blocked = 0;
    assert_int_equal(emu_mode_set(&ampere->info, &ampere->state, 0, 1, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_SUCCESS);
    assert_int_equal(create(ampere, 9, &id), NVML_SUCCESS);
    emu_reboot(&ampere->info, &ampere->state);
    assert_true(gpu->mode && !gpu->gis[id].used); /* kept in the InfoROM; instances are not */
    free(ampere);

    struct bench *hopper = bench_make(BOARD_H100, EMU_NUMBERING_DIRECT);
    gpu = &hopper->state.gpus[0];
    assert_int_equal(emu_holder_add(&hopper->state, &drm), 0);
    assert_int_equal(emu_mode_set(&hopper->info, &hopper->state, 0, 0, &activation), NVML_SUCCESS);
    assert_int_equal(activation, NVML_SUCCESS); /* no reset, so a kernel client does not matter */
    assert_int_equal(emu_mode_set(&hopper->info, &hopper->state, 0, 1, &activation), NVML_SUCCESS);
    emu_reboot(&hopper->info, &hopper->state);
    assert_true(!gpu->mode && !gpu->mode_pending);
    free(hopper);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captured_creation_orders),
        cmocka_unit_test(test_double_memory_behind_media),
        cmocka_unit_test(test_numbers_follow_from_places),
        cmocka_unit_test(test_places_are_checked),
        cmocka_unit_test(test_media_engines_are_given_once),
        cmocka_unit_test(test_room_is_what_creates_achieve),
        cmocka_unit_test(test_compute_instances),
        cmocka_unit_test(test_users_are_in_the_way),
        cmocka_unit_test(test_a_dead_process_uses_nothing),
        cmocka_unit_test(test_modes_by_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
