/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu clock: the machine's own time, from 0 when it was made. What GPUs measure follows it;
 * waiting, timeouts and the times in a trace are the host's. It never goes back, so that no counter
 * does.
 */
#include "emulator/machine/meter.h"
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <string.h>

#define NS_PER_SECOND 1000000000ULL
#define SECONDS_MAX 1000000000ULL /* thirty years */

/* "1.5" as 1500 when `one` is 1000 (a power of ten); false when it is more than `max` ones. */
static bool parse_decimal(const char *text, uint64_t one, uint64_t max, uint64_t *ret)
{
    char whole[24];
    size_t length = strcspn(text, ".");
    const char *digit;
    uint64_t value;

    if (length >= sizeof(whole)) {
        return false;
    }
    memcpy(whole, text, length);
    whole[length] = '\0';
    if (!mig_text_parse_u64(whole, max, &value)) {
        return false;
    }
    value *= one;
    for (digit = text + length; *digit && *++digit;) {
        one /= 10;
        if (*digit < '0' || *digit > '9' || one == 0) {
            return false;
        }
        value += (uint64_t)(*digit - '0') * one;
    }
    *ret = value;
    return true;
}

static int print_clock(const struct emu_state *state)
{
    uint64_t now_ns = emu_clock_at(&state->clock, emu_host_ns());

    printf("%llu.%03llu s since the machine was made, ",
           (unsigned long long)(now_ns / NS_PER_SECOND),
           (unsigned long long)(now_ns % NS_PER_SECOND / 1000000));
    if (state->clock.rate == 0) {
        printf("frozen\n");
    } else if (state->clock.rate == EMU_CLOCK_REAL) {
        printf("real time\n");
    } else {
        printf("%g times real time\n", (double)state->clock.rate / EMU_CLOCK_REAL);
    }
    return 0;
}

/* WORD [VALUE], from now on. */
static int change_clock(struct emu_clock *clock, const char *word, const char *value)
{
    uint64_t number = 0;
    bool takes_value = strcmp(word, "step") == 0 || strcmp(word, "scale") == 0;
    uint64_t one = strcmp(word, "scale") == 0 ? EMU_CLOCK_REAL : NS_PER_SECOND;
    uint64_t max = strcmp(word, "scale") == 0 ? EMU_CLOCK_FASTEST / EMU_CLOCK_REAL : SECONDS_MAX;

    if (takes_value && !value) {
        return migemu_usage("clock", "'%s' needs a number", word);
    }
    if (value && !parse_decimal(value, one, max, &number)) {
        return migemu_usage("clock", "'%s' is not a number up to %llu", value,
                            (unsigned long long)max);
    }
    clock->host_ns = emu_host_ns();
    if (strcmp(word, "freeze") == 0) {
        clock->rate = 0;
        if (value && number < clock->machine_ns) {
            return migemu_fail("%s s is past already, and time does not go back", value);
        }
        clock->machine_ns = value ? number : clock->machine_ns;
    } else if (strcmp(word, "step") == 0) {
        clock->machine_ns += number;
    } else if (strcmp(word, "scale") == 0) {
        clock->rate = number;
    } else if (strcmp(word, "real") == 0 && !value) {
        clock->rate = EMU_CLOCK_REAL;
    } else {
        return migemu_usage("clock", "'%s' is nothing to do to a clock", word);
    }
    return 0;
}

int migemu_clock(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    struct emu_transaction transaction;
    struct emu_clock *clock;
    int status;

    if (!migemu_operands(argc, argv, 1, 1, 3)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = migemu_open(argv[1], &machine);
    if (status == 0 && argc == 2) {
        state = migemu_read(machine);
        return state ? print_clock(state) : MIGEMU_EXIT_FAILED;
    }
    if (status == 0) {
        status = migemu_begin(machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    clock = &transaction.state->clock;
    clock->machine_ns = emu_clock_at(clock, emu_host_ns());
    status = change_clock(clock, argv[2], argv[3]);
    if (status == 0) {
        emu_commit(&transaction);
    }
    emu_abort(&transaction);
    return status;
}
