/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The emulated machine's file: creation, transactions, crashes, damage, counters, events, and the
 * text of fault rules.
 */
#include "emulator/machine/fault.h"
#include "emulator/machine/machine_file.h"
#include "emulator/machine/partition.h"
#include "emulator/machine/uuid.h"
#include "emulator_support.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static const enum board two[] = {BOARD_A100, BOARD_A30};

static void test_create_checks_and_never_replaces(void **unused)
{
    char directory[64];
    (void)unused;
    struct emu_machine *machine = node_make(two, 2, EMU_NUMBERING_DIRECT, directory);
    struct emu_node_info *info = calloc(1, sizeof *info);
    assert_non_null(info);
    memcpy(info, emu_machine_info(machine), sizeof *info);
    assert_int_equal(emu_machine_create(directory, info, EMU_PERMISSION_OWNER), -EEXIST);
    info->gpus[0].profiles[0].starts[0] = 8; /* behind the last unit */
    assert_int_equal(emu_machine_create(directory, info, EMU_PERMISSION_OWNER), -EINVAL);
    info->gpus[0].profiles[0].starts[0] = 0;
    info->gpus[0].profile_count = 200;
    assert_int_equal(emu_machine_create(directory, info, EMU_PERMISSION_OWNER), -EINVAL);
    free(info);
    node_remove(machine, directory);
}

static void test_commit_is_seen_and_abort_is_not(void **unused)
{
    char directory[64];
    struct emu_machine *second = NULL;
    struct emu_transaction change;
    struct emu_gpu gpu;
    (void)unused;
    struct emu_machine *first = node_make(two, 2, EMU_NUMBERING_DIRECT, directory);
    assert_int_equal(emu_machine_open(directory, &second), 0);
    uint64_t generation = emu_machine_generation(second);
    assert_int_equal(emu_begin(first, &change), 0);
    change.state->gpus[1].mode = 1;
    assert_int_equal(emu_machine_read_gpu(second, 1, &gpu), 0);
    assert_int_equal(gpu.mode, 0);
    emu_abort(&change);
    assert_int_equal(emu_machine_generation(second), generation);
    node_enable(first, 1);
    assert_int_equal(emu_machine_read_gpu(second, 1, &gpu), 0);
    assert_int_equal(gpu.mode, 1);
    assert_int_equal(emu_machine_generation(second), generation + 1);
    emu_machine_close(second);
    node_remove(first, directory);
}

static void test_machines_do_not_see_each_other(void **unused)
{
    char a_directory[64], b_directory[64];
    struct emu_gpu gpu;
    (void)unused;
    struct emu_machine *a = node_make(two, 2, EMU_NUMBERING_DIRECT, a_directory);
    struct emu_machine *b = node_make(two, 2, EMU_NUMBERING_DIRECT, b_directory);
    node_enable(a, 0);
    assert_int_equal(emu_machine_read_gpu(b, 0, &gpu), 0);
    assert_int_equal(gpu.mode, 0);
    node_remove(a, a_directory);
    node_remove(b, b_directory);
}

static void test_a_node_made_anew_is_noticed(void **unused)
{
    char directory[64];
    struct emu_machine *again = NULL;
    struct emu_transaction change;
    (void)unused;
    struct emu_machine *machine = node_make(two, 2, EMU_NUMBERING_DIRECT, directory);
    assert_true(emu_machine_is_current(machine));
    unlink(emu_machine_path(machine));
    assert_false(emu_machine_is_current(machine));
    assert_int_equal(emu_begin(machine, &change), -ESTALE);
    assert_int_equal(emu_machine_create(directory, emu_machine_info(machine), EMU_PERMISSION_OWNER),
                     0);
    assert_false(emu_machine_is_current(machine));
    assert_int_equal(emu_begin(machine, &change), -ESTALE);
    assert_int_equal(emu_machine_open(directory, &again), 0);
    emu_machine_close(machine);
    node_remove(again, directory);
}

/* Overwrites bytes of the file. */
static void damage(const struct emu_machine *machine, size_t offset)
{
    static const char junk[16] = "junkjunkjunkjunk";
    int fd = open(emu_machine_path(machine), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, junk, sizeof junk, (off_t)offset), sizeof junk);
    close(fd);
}

static void test_damage_is_found(void **unused)
{
    char directory[64];
    struct emu_machine *again = NULL;
    struct emu_gpu gpu;
    (void)unused;
    struct emu_machine *machine = node_make(two, 2, EMU_NUMBERING_DIRECT, directory);
    size_t image = sizeof(struct emu_state);
    size_t gpus = offsetof(struct emu_file, images) + offsetof(struct emu_state, gpus);
    node_enable(machine, 0); /* image 1 is current, image 0 the state before */
    damage(machine, gpus + image);
    assert_int_equal(emu_machine_open(directory, &again), 0);
    assert_int_equal(emu_machine_read_gpu(again, 0, &gpu), 0);
    assert_int_equal(gpu.mode, 0); /* the state before holds */
    emu_machine_close(again);
    damage(machine, gpus);
    damage(machine, gpus + image);
    assert_int_equal(emu_machine_open(directory, &again), -EBADMSG);
    node_remove(machine, directory);

    machine = node_make(two, 2, EMU_NUMBERING_DIRECT, directory);
    damage(machine, offsetof(struct emu_file, info) + 600);
    assert_int_equal(emu_machine_open(directory, &again), -EBADMSG);
    assert_int_equal(truncate(emu_machine_path(machine), 4096), 0);
    assert_int_equal(emu_machine_open(directory, &again), -EPROTO);
    /* The mapping is shorter now than it looks: touch nothing of it any more. */
    unlink(emu_machine_path(machine));
    rmdir(directory);
    emu_machine_close(machine);
    assert_int_equal(emu_machine_open(directory, &again), -ENOENT);
}

/* ---- crashes -------------------------------------------------------------------------------- */

/* No two instances overlap and every number is the one its place gives. */
static void check_state(const struct emu_node_info *info, const struct emu_state *state)
{
    assert_int_equal(state->checksum, emu_state_checksum(state));
    for (unsigned g = 0; g < info->gpu_count; g++) {
        uint32_t taken = 0;
        for (unsigned i = 0; i < EMU_GI_MAX; i++) {
            const struct emu_gi *gi = &state->gpus[g].gis[i];
            if (!gi->used) {
                continue;
            }
            uint32_t units = ((1u << gi->size) - 1) << gi->start;
            assert_int_equal(taken & units, 0);
            taken |= units;
            assert_int_equal(emu_gi_id(&info->gpus[g], gi->start, gi->size), i);
        }
    }
}

/* Creates and destroys for ever. */
static void churn(const char *directory, unsigned seed)
{
    struct emu_machine *machine = NULL;
    if (emu_machine_open(directory, &machine) < 0) {
        _exit(3);
    }
    const struct emu_node_info *info = emu_machine_info(machine);
    for (;;) {
        struct emu_transaction change;
        unsigned id = 0, gpu = (seed = seed * 1103515245 + 12345) >> 16 & 1;
        if (emu_begin(machine, &change) < 0) {
            _exit(4);
        }
        if (seed >> 20 & 1) {
            emu_gi_destroy(change.state, gpu, seed >> 24 & 15);
        } else {
            emu_gi_create(info, change.state, gpu, (seed >> 24) % info->gpus[gpu].profile_count,
                          EMU_START_ANY, &id);
        }
        emu_commit(&change);
    }
}

static void pause_us(unsigned duration_us)
{
    struct timespec duration = {.tv_nsec = (long)duration_us * 1000};
    nanosleep(&duration, NULL);
}

static void test_killed_writers_leave_a_whole_state(void **unused)
{
    char directory[64];
    (void)unused;
    struct emu_machine *machine = node_make(two, 2, EMU_NUMBERING_HALF_SWAPPED, directory);
    node_enable(machine, 0);
    node_enable(machine, 1);
    uint64_t before = emu_machine_generation(machine);
    for (unsigned round = 0; round < 60; round++) {
        pid_t children[2];
        for (unsigned i = 0; i < 2; i++) {
            children[i] = fork();
            assert_true(children[i] >= 0);
            if (children[i] == 0) {
                churn(directory, round * 2 + i + 1);
            }
        }
        pause_us(3000 + round * 137);
        for (unsigned i = 0; i < 2; i++) {
            int status = 0;
            kill(children[i], SIGKILL);
            assert_int_equal(waitpid(children[i], &status, 0), children[i]);
            assert_true(WIFSIGNALED(status)); /* it had not given up by itself */
        }
        struct emu_state *state = node_read(machine);
        check_state(emu_machine_info(machine), state);
        free(state);
        node_enable(machine, 0); /* the lock is free */
    }
    assert_true(emu_machine_generation(machine) > before + 60);
    node_remove(machine, directory);
}

#define TURNS 3000

/* Adds to two fields, one at each end of the state. */
static void add_both(const char *path)
{
    struct emu_machine *machine = NULL;
    if (emu_machine_open(path, &machine) < 0) {
        _exit(3);
    }
    for (unsigned i = 0; i < TURNS; i++) {
        struct emu_transaction change;
        if (emu_begin(machine, &change) < 0) {
            _exit(4);
        }
        change.state->birth_count++;
        change.state->gpus[1].reset_count++;
        emu_commit(&change);
    }
    _exit(0);
}

static void test_no_change_is_lost_or_seen_by_half(void **unused)
{
    char directory[64];
    pid_t children[2];
    unsigned left = 2;
    (void)unused;
    struct emu_machine *machine = node_make(two, 2, EMU_NUMBERING_DIRECT, directory);
    for (unsigned i = 0; i < 2; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) {
            add_both(directory);
        }
    }
    while (left > 0) {
        struct emu_state *state = node_read(machine);
        assert_int_equal(state->birth_count, state->gpus[1].reset_count);
        assert_int_equal(state->checksum, emu_state_checksum(state));
        free(state);
        int status = 0;
        if (waitpid(-1, &status, WNOHANG) > 0) {
            assert_int_equal(status, 0);
            left--;
        }
    }
    struct emu_state *state = node_read(machine);
    assert_int_equal(state->birth_count, 2 * TURNS);
    free(state);
    node_remove(machine, directory);
}

/* ---- live part ------------------------------------------------------------------------------ */

static void test_calls_are_counted_and_kept(void **unused)
{
    char directory[64];
    struct emu_trace *traces = calloc(EMU_TRACE_MAX, sizeof *traces);
    (void)unused;
    assert_non_null(traces);
    struct emu_machine *machine = node_make(two, 1, EMU_NUMBERING_DIRECT, directory);
    unsigned function = (unsigned)emu_function_find("nvmlDeviceGetCount_v2");
    assert_string_equal(emu_function_name(function), "DeviceGetCount_v2");
    assert_int_equal(emu_function_find("DeviceGetCount_v3"), EMU_UNKNOWN);
    for (unsigned i = 0; i < EMU_TRACE_MAX + 10; i++) {
        struct emu_trace entry = {.function = (uint16_t)function, .result = (int32_t)i, .gpu = -1};
        emu_trace_add(machine, &entry);
    }
    assert_int_equal(emu_call_count(machine), EMU_TRACE_MAX + 10);
    assert_int_equal(emu_function_count(machine, function), EMU_TRACE_MAX + 10);
    assert_int_equal(emu_trace_read(machine, 0, traces, EMU_TRACE_MAX), EMU_TRACE_MAX);
    assert_int_equal(traces[0].sequence, 11);
    assert_int_equal(traces[0].result, 10);
    assert_int_equal(emu_trace_read(machine, EMU_TRACE_MAX + 9, traces, EMU_TRACE_MAX), 2);
    emu_counters_clear(machine);
    assert_int_equal(emu_function_count(machine, function), 0);
    free(traces);
    node_remove(machine, directory);
}

static void test_events_are_kept_in_order(void **unused)
{
    char directory[64];
    struct emu_event event;
    uint64_t cursor = 0;
    (void)unused;
    struct emu_machine *machine = node_make(two, 1, EMU_NUMBERING_DIRECT, directory);
    assert_int_equal(emu_event_next(machine, &cursor, &event), -ENOENT);
    for (unsigned i = 0; i < EMU_EVENT_MAX + 5; i++) {
        emu_event_post(machine, &(struct emu_event){.type = 8, .data = i});
    }
    assert_int_equal(emu_event_next(machine, &cursor, &event), 0);
    assert_int_equal(event.data, 5); /* the first five have been overwritten */
    cursor = EMU_EVENT_MAX + 4;
    assert_int_equal(emu_event_next(machine, &cursor, &event), 0);
    assert_int_equal(event.data, EMU_EVENT_MAX + 4);
    assert_int_equal(emu_event_next(machine, &cursor, &event), -ENOENT);
    assert_int_equal(cursor, emu_event_last(machine));
    node_remove(machine, directory);
}

/* ---- fault rules ---------------------------------------------------------------------------- */

static void test_fault_rules_are_read(void **unused)
{
    struct emu_fault fault;
    char reason[128];
    (void)unused;
    assert_int_equal(
        emu_fault_parse("GpuInstanceDestroy gpu=0 nth=3 -> IN_USE", &fault, reason, sizeof reason),
        0);
    assert_int_equal(fault.gpu, 0);
    assert_int_equal(fault.nth, 3);
    assert_int_equal(fault.hits, 1);
    assert_int_equal(fault.code, NVML_ERROR_IN_USE);
    assert_int_equal(fault.action, EMU_FAULT_RETURN);
    assert_int_equal(emu_fault_parse("DeviceCreateGpuInstanceWithPlacement nth=1 after -> KILL",
                                     &fault, reason, sizeof reason),
                     0);
    assert_true(fault.after && fault.action == EMU_FAULT_KILL);
    assert_int_equal(emu_fault_parse("* delay=200", &fault, reason, sizeof reason), 0);
    assert_int_equal(fault.delay_ms, 200);
    assert_int_equal(emu_fault_parse("nvml*MigMode -> 999", &fault, reason, sizeof reason), 0);
    assert_int_equal(fault.code, NVML_ERROR_UNKNOWN);
    unsigned set = (unsigned)emu_function_find("DeviceSetMigMode");
    unsigned get = (unsigned)emu_function_find("DeviceGetMigMode");
    unsigned other = (unsigned)emu_function_find("DeviceGetName");
    assert_true(fault.functions[set / 64] >> (set % 64) & 1);
    assert_true(fault.functions[get / 64] >> (get % 64) & 1);
    assert_false(fault.functions[other / 64] >> (other % 64) & 1);
}

static void test_bad_fault_rules_are_refused(void **unused)
{
    static const char *const rules[] = {
        "",
        "   ",
        "NoSuchFunction -> IN_USE",
        "* -> NO_SUCH_CODE",
        "*",
        "* ->",
        "* nth=x -> IN_USE",
        "* nth=-1 -> IN_USE",
        "* gpu=32 -> IN_USE",
        "* often -> IN_USE",
        "* -> IN_USE more",
        "* chance=101 -> IN_USE",
        "* nth= -> IN_USE",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa -> IN_USE",
    };
    struct emu_fault fault;
    char reason[128];
    (void)unused;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        reason[0] = '\0';
        assert_int_equal(emu_fault_parse(rules[i], &fault, reason, sizeof reason), -EINVAL);
        assert_true(reason[0] != '\0');
    }
}

static void test_rules_act_on_the_right_calls(void **unused)
{
    char directory[64];
    (void)unused;
    struct emu_machine *machine = node_make(two, 2, EMU_NUMBERING_DIRECT, directory);
    unsigned name = (unsigned)emu_function_find("DeviceGetName");
    unsigned slot = node_add_fault(machine, "DeviceGetName gpu=1 nth=2 hits=2 -> UNKNOWN");
    static const bool expected[] = {false, true, true, false};
    for (unsigned i = 0; i < 4; i++) {
        assert_false(emu_fault_ask(machine, name, 0, false).fail);
        assert_false(emu_fault_ask(machine, name, 1, true).fail);
        assert_int_equal(emu_fault_ask(machine, name, 1, false).fail, expected[i]);
    }
    assert_int_equal(emu_fault_seen(machine, slot), 4);
    assert_int_equal(emu_fault_hits(machine, slot), 2);

    /* A chance hits the same calls each time, about as often as it says. */
    unsigned hits[2] = {0, 0};
    for (unsigned round = 0; round < 2; round++) {
        struct emu_transaction change;
        assert_int_equal(emu_begin(machine, &change), 0);
        emu_fault_clear(change.state);
        emu_commit(&change);
        node_add_fault(machine, "DeviceGetName chance=25 seed=5 -> TIMEOUT");
        for (unsigned i = 0; i < 1000; i++) {
            hits[round] += emu_fault_ask(machine, name, 0, false).fail * (i + 1);
        }
    }
    assert_int_equal(hits[0], hits[1]);
    assert_in_range(hits[0], 80000, 180000);
    node_remove(machine, directory);
}

static void test_version_5_uuids(void **unused)
{
    /* As Python's uuid.uuid5 gives it. */
    char text[80];
    uint8_t uuid[16];
    (void)unused;
    emu_mig_uuid("GPU-11111111-2222-3333-4444-555555555555", 7, 0, text, sizeof text);
    assert_string_equal(text, "MIG-fa9d79be-aa78-5559-8963-6ea1020f819a");
    assert_true(emu_uuid_parse("fa9d79be-aa78-5559-8963-6ea1020f819a", uuid));
    assert_false(emu_uuid_parse("fa9d79be-aa78-5559-8963-6ea1020f81", uuid));
    assert_false(emu_uuid_parse("", uuid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_checks_and_never_replaces),
        cmocka_unit_test(test_commit_is_seen_and_abort_is_not),
        cmocka_unit_test(test_machines_do_not_see_each_other),
        cmocka_unit_test(test_a_node_made_anew_is_noticed),
        cmocka_unit_test(test_damage_is_found),
        cmocka_unit_test(test_killed_writers_leave_a_whole_state),
        cmocka_unit_test(test_no_change_is_lost_or_seen_by_half),
        cmocka_unit_test(test_calls_are_counted_and_kept),
        cmocka_unit_test(test_events_are_kept_in_order),
        cmocka_unit_test(test_fault_rules_are_read),
        cmocka_unit_test(test_bad_fault_rules_are_refused),
        cmocka_unit_test(test_rules_act_on_the_right_calls),
        cmocka_unit_test(test_version_5_uuids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
