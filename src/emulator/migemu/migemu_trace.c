/* SPDX-License-Identifier: Apache-2.0 */
/* migemu trace and stats: what was called on the machine, one by one and in sum. */
#include "emulator/machine/fault.h"
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <time.h>

struct trace_request {
    bool json;
    uint64_t last;
};

static const char *return_text(int32_t result, char buffer[16])
{
    const char *name = result == 0 ? "SUCCESS" : emu_return_name((nvmlReturn_t)result);

    if (name) {
        return name;
    }
    (void)snprintf(buffer, 16, "%d", result);
    return buffer;
}

/* All names but the private reset lack their "nvml". */
static const char *function_text(unsigned function, char buffer[96])
{
    const char *name = emu_function_name(function);

    (void)snprintf(buffer, 96, "%s%s", name && mig_text_starts_with(name, "migemu") ? "" : "nvml",
                   name ? name : "?");
    return buffer;
}

static void print_json(const struct emu_trace *entry)
{
    char function[96];
    char result[16];

    printf("{\"call\":%llu,\"time_ns\":%llu,\"pid\":%u,\"function\":\"%s\",",
           (unsigned long long)entry->sequence, (unsigned long long)entry->time_ns, entry->pid,
           function_text(entry->function, function));
    if (entry->gpu != EMU_UNKNOWN) {
        printf("\"gpu\":%d,", entry->gpu);
    }
    if (entry->gi != EMU_ID_NONE) {
        printf("\"gi\":%u,", entry->gi);
    }
    if (entry->ci != EMU_ID_NONE) {
        printf("\"ci\":%u,", entry->ci);
    }
    printf("\"result\":\"%s\",\"duration_us\":%u}\n", return_text(entry->result, result),
           entry->duration_us);
}

static void print_line(const struct emu_trace *entry)
{
    char function[96];
    char result[16];
    char place[48] = "";
    char gi[16];
    char ci[16];
    char clock[16] = "?";
    time_t seconds = (time_t)(entry->time_ns / 1000000000U);
    struct tm tm;

    if (localtime_r(&seconds, &tm)) {
        (void)strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    }
    if (entry->gpu != EMU_UNKNOWN) {
        (void)snprintf(place, sizeof(place), " gpu=%d gi=%s ci=%s", entry->gpu,
                       migemu_text_of_id(entry->gi, gi), migemu_text_of_id(entry->ci, ci));
    }
    printf("%llu %s.%06llu [%u] %s%s = %s <%u us>\n", (unsigned long long)entry->sequence, clock,
           (unsigned long long)(entry->time_ns % 1000000000U / 1000U), entry->pid,
           function_text(entry->function, function), place, return_text(entry->result, result),
           entry->duration_us);
}

static int parse_trace(int argc, char **argv, struct trace_request *request)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"last", required_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            request->json = true;
            break;
        case 'l':
            if (!mig_text_parse_u64(optarg, EMU_TRACE_MAX, &request->last)) {
                return migemu_usage("trace", "'%s' is not a number up to %d", optarg,
                                    EMU_TRACE_MAX);
            }
            break;
        default:
            migemu_print_usage(stderr, "trace");
            return MIGEMU_EXIT_USAGE;
        }
    }
    return migemu_operands(argc, argv, optind, 1, 1) ? 0 : MIGEMU_EXIT_USAGE;
}

int migemu_trace(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_trace *entries = calloc(EMU_TRACE_MAX, sizeof(*entries));
    struct trace_request request = {.last = EMU_TRACE_MAX};
    size_t count;
    size_t i;
    int status = parse_trace(argc, argv, &request);

    if (status == 0) {
        status = migemu_open(argv[optind], &machine);
    }
    if (status != 0) {
        return status;
    }
    if (!entries) {
        return migemu_fail_errno(ENOMEM, "could not read the trace");
    }
    count = emu_trace_read(machine, 0, entries, EMU_TRACE_MAX);
    for (i = count > request.last ? count - (size_t)request.last : 0; i < count; i++) {
        if (request.json) {
            print_json(&entries[i]);
        } else {
            print_line(&entries[i]);
        }
    }
    return 0;
}

/* ---- stats ---- */

static uint64_t sum_of(const struct emu_machine *machine, const char *const *names, size_t count)
{
    uint64_t sum = 0;
    size_t i;

    for (i = 0; i < count; i++) {
        int function = emu_function_find(names[i]);

        if (function != EMU_UNKNOWN) {
            sum += emu_function_count(machine, (unsigned)function);
        }
    }
    return sum;
}

static void print_stats(const struct emu_machine *machine, bool json)
{
    static const char *const creates[] = {
        "DeviceCreateGpuInstance", "DeviceCreateGpuInstanceWithPlacement",
        "GpuInstanceCreateComputeInstance", "GpuInstanceCreateComputeInstanceWithPlacement"};
    static const char *const destroys[] = {"GpuInstanceDestroy", "ComputeInstanceDestroy"};
    uint64_t total = 0;
    uint64_t created = sum_of(machine, creates, MIG_ARRAY_SIZE(creates));
    uint64_t destroyed = sum_of(machine, destroys, MIG_ARRAY_SIZE(destroys));
    char function[96];
    bool first = true;
    unsigned i;

    for (i = 0; emu_function_name(i); i++) {
        total += emu_function_count(machine, i);
    }
    printf(json ? "{\"total\":%llu,\"creates\":%llu,\"destroys\":%llu,\"functions\":{"
                : "calls     %llu\ncreates   %llu\ndestroys  %llu\n",
           (unsigned long long)total, (unsigned long long)created, (unsigned long long)destroyed);
    for (i = 0; emu_function_name(i); i++) {
        uint64_t count = emu_function_count(machine, i);

        if (count == 0) {
            continue;
        }
        if (json) {
            printf("%s\"%s\":%llu", first ? "" : ",", function_text(i, function),
                   (unsigned long long)count);
        } else {
            printf("%8llu  %s\n", (unsigned long long)count, function_text(i, function));
        }
        first = false;
    }
    fputs(json ? "}}\n" : "", stdout);
}

int migemu_stats(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"zero", no_argument, NULL, 'z'}, {NULL, 0, NULL, 0}};
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    bool json = false;
    bool zero = false;
    int option;
    int status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'j' && option != 'z') {
            migemu_print_usage(stderr, "stats");
            return MIGEMU_EXIT_USAGE;
        }
        json = json || option == 'j';
        zero = zero || option == 'z';
    }
    if (!migemu_operands(argc, argv, optind, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = migemu_open(argv[optind], &machine);
    if (status != 0) {
        return status;
    }
    print_stats(machine, json);
    if (zero && !emu_machine_is_writable(machine)) {
        return migemu_fail_errno(EACCES, "could not clear the counters");
    }
    if (zero) {
        emu_counters_clear(machine);
    }
    return 0;
}
