/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu set: options of the machine that a test turns, each a row of a table: its name, what its
 * values mean, and where it lies in the state.
 */
#include "emulator/machine/fault.h"
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <getopt.h>
#include <string.h>

enum value_kind {
    VALUE_SWITCH,     /* on, off */
    VALUE_NUMBER,     /* up to `max` */
    VALUE_CODE,       /* an nvmlReturn_t by name; none */
    VALUE_PERMISSION, /* owner, open, root */
    VALUE_LATENCY,    /* a preset; off */
};

struct option_row {
    const char *name;
    enum value_kind kind;
    bool of_gpu;
    uint8_t size; /* bytes at the offset */
    size_t offset;
    uint32_t max;
};

#define GPU_ROW(name, kind, member, max)                            \
    {                                                               \
        name, kind, true, sizeof(((struct emu_gpu *)NULL)->member), \
            offsetof(struct emu_gpu, member), max                   \
    }
#define MACHINE_ROW(name, kind, member, max)                           \
    {                                                                  \
        name, kind, false, sizeof(((struct emu_state *)NULL)->member), \
            offsetof(struct emu_state, member), max                    \
    }

#define DURATION_MAX 3600000U

static const struct option_row rows[] = {
    GPU_ROW("create-needs-idle", VALUE_SWITCH, create_needs_idle, 1),
    GPU_ROW("mode-blocked", VALUE_CODE, mode_blocked, UINT16_MAX),
    GPU_ROW("persistence", VALUE_SWITCH, persistence, 1),
    GPU_ROW("lost", VALUE_SWITCH, lost, 1),
    GPU_ROW("reset-required", VALUE_SWITCH, reset_required, 1),
    GPU_ROW("stale-devices", VALUE_SWITCH, stale_devices, 1),
    GPU_ROW("load", VALUE_NUMBER, load_percent, 100),
    GPU_ROW("memory-load", VALUE_NUMBER, memory_load_percent, 100),
    MACHINE_ROW("permission", VALUE_PERMISSION, permission, EMU_PERMISSION_ROOT),
    MACHINE_ROW("driver-unloaded", VALUE_SWITCH, driver_unloaded, 1),
    MACHINE_ROW("gi-create-ms", VALUE_NUMBER, latency.gi_create_ms, DURATION_MAX),
    MACHINE_ROW("gi-destroy-ms", VALUE_NUMBER, latency.gi_destroy_ms, DURATION_MAX),
    MACHINE_ROW("ci-create-ms", VALUE_NUMBER, latency.ci_create_ms, DURATION_MAX),
    MACHINE_ROW("ci-destroy-ms", VALUE_NUMBER, latency.ci_destroy_ms, DURATION_MAX),
    MACHINE_ROW("mode-ms", VALUE_NUMBER, latency.mode_ms, DURATION_MAX),
    MACHINE_ROW("reset-ms", VALUE_NUMBER, latency.reset_ms, DURATION_MAX),
    MACHINE_ROW("query-us", VALUE_NUMBER, query_us, DURATION_MAX),
    MACHINE_ROW("latency", VALUE_LATENCY, latency, 0),
};

static const struct option_row *find_row(const char *text, size_t length)
{
    size_t i;

    for (i = 0; i < MIG_ARRAY_SIZE(rows); i++) {
        if (strlen(rows[i].name) == length && strncmp(rows[i].name, text, length) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

static bool parse_word(const char *text, const char *const *words, uint32_t count, uint32_t *ret)
{
    for (*ret = 0; *ret < count; (*ret)++) {
        if (strcmp(text, words[*ret]) == 0) {
            return true;
        }
    }
    return false;
}

static bool parse_value(const struct option_row *row, const char *text, uint32_t *ret)
{
    static const char *const switches[] = {"off", "on"};
    static const char *const permissions[] = {"owner", "open", "root"};
    uint64_t number = 0;
    int code;

    switch (row->kind) {
    case VALUE_SWITCH:
        return parse_word(text, switches, 2, ret);
    case VALUE_PERMISSION:
        return parse_word(text, permissions, 3, ret);
    case VALUE_CODE:
        code = strcmp(text, "none") == 0 ? 0 : emu_return_find(text);
        *ret = code < 0 ? 0 : (uint32_t)code;
        return code >= 0;
    case VALUE_LATENCY:
        return false; /* more than a number: apply() sees to it */
    case VALUE_NUMBER:
        break;
    }
    if (!mig_text_parse_u64(text, row->max, &number)) {
        return false;
    }
    *ret = (uint32_t)number;
    return true;
}

static void store(unsigned char *base, const struct option_row *row, uint32_t value)
{
    uint8_t byte = (uint8_t)value;
    uint16_t word = (uint16_t)value;

    switch (row->size) {
    case sizeof(byte):
        memcpy(base + row->offset, &byte, sizeof(byte));
        return;
    case sizeof(word):
        memcpy(base + row->offset, &word, sizeof(word));
        return;
    default: /* a number, or several that are set alike */
        for (size_t i = 0; i < row->size / sizeof(value); i++) {
            memcpy(base + row->offset + i * sizeof(value), &value, sizeof(value));
        }
        return;
    }
}

int migemu_apply_option(struct emu_state *state, uint64_t gpu, const char *text)
{
    const char *equals = strchr(text, '=');
    const struct option_row *row = equals ? find_row(text, (size_t)(equals - text)) : NULL;
    uint32_t value = 0;
    unsigned i;

    if (!row) {
        return migemu_usage("set", "'%s' is no option with a value", text);
    }
    if (row->kind == VALUE_LATENCY && migemu_latency_preset(equals + 1, &state->latency)) {
        return 0;
    }
    if (!parse_value(row, equals + 1, &value)) {
        return migemu_usage("set", "'%s' is no value of '%s'", equals + 1, row->name);
    }
    if (!row->of_gpu) {
        store((unsigned char *)state, row, value);
        return 0;
    }
    for (i = 0; i < state->gpu_count; i++) {
        if (gpu == i || gpu == EMU_GPU_MAX) {
            store((unsigned char *)&state->gpus[i], row, value);
        }
    }
    return 0;
}

int migemu_set(int argc, char **argv)
{
    static const struct option options[] = {{"gpu", required_argument, NULL, 'g'},
                                            {NULL, 0, NULL, 0}};
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    uint64_t gpu = EMU_GPU_MAX; /* all */
    int option;
    int status;
    int i;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'g' || !mig_text_parse_u64(optarg, EMU_GPU_MAX - 1, &gpu)) {
            return migemu_usage("set", "which GPU? --gpu N");
        }
    }
    if (!migemu_operands(argc, argv, optind, 2, INT_MAX)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = migemu_open(argv[optind], &machine);
    if (status == 0) {
        status = migemu_begin(machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    if (gpu != EMU_GPU_MAX && gpu >= transaction.state->gpu_count) {
        status = migemu_fail("the machine has no GPU %u", (unsigned)gpu);
    }
    for (i = optind + 1; status == 0 && i < argc; i++) {
        status = migemu_apply_option(transaction.state, gpu, argv[i]);
    }
    if (status == 0) {
        emu_commit(&transaction);
    }
    emu_abort(&transaction);
    return status;
}
