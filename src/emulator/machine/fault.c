/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fault rules: their text, their place in the state, and asking them about a call.
 *
 * The function pattern is turned into a set of function ids when the rule is read, so that asking
 * costs a bit test per rule. Which call is the nth is counted machine-wide in the live part. Rules
 * are asked in the order of their slots; delays add up, the first that fails or kills decides.
 */
#include "emulator/machine/fault.h"
#include "emulator/machine/functions.h"
#include "emulator/machine/machine_file.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORD_SIZE 64
#define PPM_PER_PERCENT 10000u

_Static_assert(offsetof(struct emu_state, fault_count) % 8 == 0, "read as a word");
_Static_assert(sizeof(struct emu_fault) % 8 == 0, "rules are read in words");

static const struct {
    const char *name;
    nvmlReturn_t code;
} returns[] = {
    {"SUCCESS", NVML_SUCCESS},
    {"UNINITIALIZED", NVML_ERROR_UNINITIALIZED},
    {"INVALID_ARGUMENT", NVML_ERROR_INVALID_ARGUMENT},
    {"NOT_SUPPORTED", NVML_ERROR_NOT_SUPPORTED},
    {"NO_PERMISSION", NVML_ERROR_NO_PERMISSION},
    {"ALREADY_INITIALIZED", NVML_ERROR_ALREADY_INITIALIZED},
    {"NOT_FOUND", NVML_ERROR_NOT_FOUND},
    {"INSUFFICIENT_SIZE", NVML_ERROR_INSUFFICIENT_SIZE},
    {"INSUFFICIENT_POWER", NVML_ERROR_INSUFFICIENT_POWER},
    {"DRIVER_NOT_LOADED", NVML_ERROR_DRIVER_NOT_LOADED},
    {"TIMEOUT", NVML_ERROR_TIMEOUT},
    {"IRQ_ISSUE", NVML_ERROR_IRQ_ISSUE},
    {"LIBRARY_NOT_FOUND", NVML_ERROR_LIBRARY_NOT_FOUND},
    {"FUNCTION_NOT_FOUND", NVML_ERROR_FUNCTION_NOT_FOUND},
    {"CORRUPTED_INFOROM", NVML_ERROR_CORRUPTED_INFOROM},
    {"GPU_IS_LOST", NVML_ERROR_GPU_IS_LOST},
    {"RESET_REQUIRED", NVML_ERROR_RESET_REQUIRED},
    {"OPERATING_SYSTEM", NVML_ERROR_OPERATING_SYSTEM},
    {"LIB_RM_VERSION_MISMATCH", NVML_ERROR_LIB_RM_VERSION_MISMATCH},
    {"IN_USE", NVML_ERROR_IN_USE},
    {"MEMORY", NVML_ERROR_MEMORY},
    {"NO_DATA", NVML_ERROR_NO_DATA},
    {"VGPU_ECC_NOT_SUPPORTED", NVML_ERROR_VGPU_ECC_NOT_SUPPORTED},
    {"INSUFFICIENT_RESOURCES", NVML_ERROR_INSUFFICIENT_RESOURCES},
    {"FREQ_NOT_SUPPORTED", NVML_ERROR_FREQ_NOT_SUPPORTED},
    {"ARGUMENT_VERSION_MISMATCH", NVML_ERROR_ARGUMENT_VERSION_MISMATCH},
    {"DEPRECATED", NVML_ERROR_DEPRECATED},
    {"NOT_READY", NVML_ERROR_NOT_READY},
    {"GPU_NOT_FOUND", NVML_ERROR_GPU_NOT_FOUND},
    {"INVALID_STATE", NVML_ERROR_INVALID_STATE},
    {"RESET_TYPE_NOT_SUPPORTED", NVML_ERROR_RESET_TYPE_NOT_SUPPORTED},
    {"UNKNOWN", NVML_ERROR_UNKNOWN},
};

const char *emu_return_name(nvmlReturn_t code)
{
    for (size_t i = 0; i < sizeof returns / sizeof returns[0]; i++) {
        if (returns[i].code == code) {
            return returns[i].name;
        }
    }
    return NULL;
}

int emu_return_find(const char *name)
{
    static const char prefix[] = "NVML_ERROR_";
    if (strncasecmp(name, prefix, sizeof prefix - 1) == 0) {
        name += sizeof prefix - 1;
    }
    for (size_t i = 0; i < sizeof returns / sizeof returns[0]; i++) {
        if (strcasecmp(returns[i].name, name) == 0) {
            return (int)returns[i].code;
        }
    }
    return EMU_UNKNOWN;
}

/* ---- text ----------------------------------------------------------------------------------- */

struct reader {
    const char *rest;
    char word[WORD_SIZE];
    char *reason;
    size_t reason_size;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct reader *reader, const char *format,
                                                        ...)
{
    if (reader->reason_size > 0) {
        va_list args;
        va_start(args, format);
        vsnprintf(reader->reason, reader->reason_size, format, args);
        va_end(args);
    }
    return -EINVAL;
}

/* Next blank-separated word; 1, 0 at the end, or -EINVAL when it is too long. */
static int next_word(struct reader *reader)
{
    reader->rest += strspn(reader->rest, " \t");
    size_t size = strcspn(reader->rest, " \t");
    if (size >= WORD_SIZE) {
        return refuse(reader, "a word is longer than %d characters", WORD_SIZE - 1);
    }
    memcpy(reader->word, reader->rest, size);
    reader->word[size] = '\0';
    reader->rest += size;
    return size > 0;
}

/* `*` stands for any text; compared without stepping back further than the last star. */
static bool glob_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *retry = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++retry;
        } else {
            return false;
        }
    }
    pattern += strspn(pattern, "*");
    return *pattern == '\0';
}

static int read_functions(struct reader *reader, struct emu_fault *fault)
{
    const char *pattern = reader->word;
    bool any = false;
    if (strncmp(pattern, "nvml", 4) == 0) {
        pattern += 4;
    }
    for (unsigned i = 0; i < emu_function_names_count; i++) {
        if (glob_matches(pattern, emu_function_names[i])) {
            fault->functions[i / 64] |= 1ull << (i % 64);
            any = true;
        }
    }
    return any ? 0 : refuse(reader, "no function is called \"%s\"", reader->word);
}

static int read_number(struct reader *reader, const char *text, unsigned long max, uint32_t *ret)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > max) {
        return refuse(reader, "\"%s\" is not a number from 0 to %lu", reader->word, max);
    }
    *ret = (uint32_t)value;
    return 0;
}

static int read_option(struct reader *reader, struct emu_fault *fault)
{
    char *value = strchr(reader->word, '=');
    if (!value) {
        if (strcmp(reader->word, "before") == 0 || strcmp(reader->word, "after") == 0) {
            fault->after = reader->word[0] == 'a';
            return 0;
        }
        return refuse(reader, "\"%s\" is not an option", reader->word);
    }
    size_t size = (size_t)(value - reader->word);
    uint32_t number = 0;
    const struct {
        const char *name;
        unsigned long max;
        uint32_t *target;
    } options[] = {
        {"gpu", EMU_GPU_MAX - 1, &number},   {"nth", UINT32_MAX, &fault->nth},
        {"hits", UINT32_MAX, &fault->hits},  {"delay", 3600000, &fault->delay_ms},
        {"chance", 100, &fault->chance_ppm}, {"seed", UINT32_MAX, &fault->seed},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (strlen(options[i].name) != size || strncmp(options[i].name, reader->word, size) != 0) {
            continue;
        }
        int rc = read_number(reader, value + 1, options[i].max, options[i].target);
        if (rc == 0 && options[i].target == &number) {
            fault->gpu = (int32_t)number;
        }
        return rc;
    }
    return refuse(reader, "\"%s\" is not an option", reader->word);
}

static int read_action(struct reader *reader, struct emu_fault *fault)
{
    int rc = next_word(reader);
    if (rc <= 0) {
        return rc < 0 ? rc : refuse(reader, "a return code, KILL or XID=N must follow \"->\"");
    }
    uint32_t number = 0;
    if (strcasecmp(reader->word, "KILL") == 0) {
        fault->action = EMU_FAULT_KILL;
    } else if (strncasecmp(reader->word, "XID=", 4) == 0) {
        if (read_number(reader, reader->word + 4, UINT16_MAX, &number) < 0 || number == 0) {
            return refuse(reader, "\"%s\" is not an XID", reader->word);
        }
        fault->action = EMU_FAULT_XID;
        fault->code = (int32_t)number;
    } else {
        int code = emu_return_find(reader->word);
        if (code < 0) {
            if (read_number(reader, reader->word, 999, &number) < 0) {
                return refuse(reader, "\"%s\" is not a return code", reader->word);
            }
            code = (int)number;
        }
        fault->action = EMU_FAULT_RETURN;
        fault->code = code;
    }
    rc = next_word(reader);
    return rc > 0 ? refuse(reader, "\"%s\" is behind the end of the rule", reader->word) : rc;
}

int emu_fault_parse(const char *text, struct emu_fault *ret, char *reason, size_t reason_size)
{
    struct reader reader = {.rest = text, .reason = reason, .reason_size = reason_size};
    struct emu_fault fault = {.used = 1, .gpu = EMU_UNKNOWN};
    if (strlen(text) >= sizeof fault.text) {
        return refuse(&reader, "the rule is longer than %zu characters", sizeof fault.text - 1);
    }
    int rc = next_word(&reader);
    if (rc <= 0) {
        return rc < 0 ? rc : refuse(&reader, "the rule is empty");
    }
    rc = read_functions(&reader, &fault);
    while (rc == 0 && (rc = next_word(&reader)) > 0) {
        bool arrow = strcmp(reader.word, "->") == 0;
        rc = arrow ? read_action(&reader, &fault) : read_option(&reader, &fault);
        if (arrow) {
            break;
        }
    }
    if (rc < 0) {
        return rc;
    }
    if (fault.action == EMU_FAULT_NONE && fault.delay_ms == 0) {
        return refuse(&reader, "the rule does nothing: \"-> CODE\" or delay=MS is missing");
    }
    if (fault.nth > 0 && fault.hits == 0) {
        fault.hits = 1;
    }
    fault.chance_ppm *= PPM_PER_PERCENT;
    memcpy(fault.text, text, strlen(text) + 1);
    *ret = fault;
    return 0;
}

void emu_fault_format(const struct emu_fault *fault, char *buffer, size_t size)
{
    snprintf(buffer, size, "%.*s", (int)sizeof fault->text - 1, fault->text);
}

/* ---- in the state --------------------------------------------------------------------------- */

int emu_fault_add(const struct emu_machine *machine, struct emu_state *state,
                  const struct emu_fault *fault, unsigned *ret_slot)
{
    for (unsigned i = 0; i < EMU_FAULT_MAX; i++) {
        if (!state->faults[i].used) {
            /* The slot is asked about only when this state is committed. */
            atomic_store(&machine->file->live.fault_seen[i], 0);
            atomic_store(&machine->file->live.fault_hits[i], 0);
            state->faults[i] = *fault;
            state->fault_count++;
            *ret_slot = i;
            return 0;
        }
    }
    return -ENOSPC;
}

int emu_fault_remove(struct emu_state *state, unsigned slot)
{
    if (slot >= EMU_FAULT_MAX || !state->faults[slot].used) {
        return -ENOENT;
    }
    state->faults[slot] = (struct emu_fault){0};
    state->fault_count--;
    return 0;
}

void emu_fault_clear(struct emu_state *state)
{
    memset(state->faults, 0, sizeof state->faults);
    state->fault_count = 0;
}

/* ---- asking --------------------------------------------------------------------------------- */

/* Chance by seed and number of the call alone: the same rule acts on the same calls each time. */
static bool chance_hits(const struct emu_fault *fault, uint64_t number)
{
    uint64_t mixed = (number + ((uint64_t)fault->seed << 32)) * 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return (mixed ^ (mixed >> 31)) % (UINT64_C(100) * PPM_PER_PERCENT) < fault->chance_ppm;
}

/* `number`: which matching call this is. */
static bool rule_acts(struct emu_live *live, unsigned slot, const struct emu_fault *fault,
                      uint64_t number)
{
    if (number < fault->nth || (fault->chance_ppm > 0 && !chance_hits(fault, number))) {
        return false;
    }
    uint64_t hit = atomic_fetch_add(&live->fault_hits[slot], 1);
    if (fault->hits > 0 && hit >= fault->hits) {
        atomic_fetch_sub(&live->fault_hits[slot], 1);
        return false;
    }
    return true;
}

static bool rule_matches(const struct emu_fault *fault, unsigned function, int gpu, bool after)
{
    return (fault->after != 0) == after &&
           (fault->functions[function / 64] >> (function % 64) & 1) &&
           (fault->gpu < 0 || fault->gpu == gpu);
}

struct emu_verdict emu_fault_ask(const struct emu_machine *machine, unsigned function, int gpu,
                                 bool after)
{
    struct emu_verdict verdict = {.fail = false};
    uint64_t word = 0; /* parts are read in words */
    uint32_t rule_count = 0;
    size_t base = offsetof(struct emu_state, faults);
    if (!machine->writable ||
        emu_machine_read_part(machine, offsetof(struct emu_state, fault_count), &word, 8) < 0) {
        return verdict;
    }
    memcpy(&rule_count, &word, sizeof rule_count);
    if (rule_count == 0) {
        return verdict;
    }
    for (unsigned i = 0; i < EMU_FAULT_MAX && rule_count > 0; i++) {
        struct emu_fault fault;
        if (emu_machine_read_part(machine, base + i * sizeof fault, &fault, sizeof fault) < 0 ||
            !fault.used) {
            continue;
        }
        rule_count--;
        if (!rule_matches(&fault, function, gpu, after)) {
            continue;
        }
        /* Every matching rule counts the call; the first that fails or kills decides. */
        uint64_t number = atomic_fetch_add(&machine->file->live.fault_seen[i], 1) + 1;
        if (verdict.fail || verdict.kill || verdict.xid > 0 ||
            !rule_acts(&machine->file->live, i, &fault, number)) {
            continue;
        }
        verdict.delay_ms += fault.delay_ms;
        verdict.kill = fault.action == EMU_FAULT_KILL;
        verdict.fail = fault.action == EMU_FAULT_RETURN;
        verdict.code = (nvmlReturn_t)fault.code;
        verdict.xid = fault.action == EMU_FAULT_XID ? (unsigned)fault.code : 0;
    }
    return verdict;
}
