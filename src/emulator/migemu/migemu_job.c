/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu ps and job: who uses the GPUs. A virtual process has a pid above all that Linux
 * gives, so it can never be confused with one of the host; a real one is the command itself, so
 * that its death, however it comes, is the end of its use.
 */
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <errno.h>
#include <getopt.h>
#include <string.h>

#define FIRST_VIRTUAL_PID (1U << 22) /* PID_MAX_LIMIT of 64-bit kernels */
#define DEFAULT_MEMORY (256ULL << 20)
#define MIB (1ULL << 20)
#define EXIT_NOT_FOUND 127

struct job_request {
    const char *on, *name;
    char type;
    uint64_t memory, load;
    char **command; /* NULL: virtual */
};

static int parse_job(int argc, char **argv, struct job_request *request)
{
    static const struct option options[] = {
        {"on", required_argument, NULL, 'o'},   {"memory", required_argument, NULL, 'm'},
        {"load", required_argument, NULL, 'l'}, {"name", required_argument, NULL, 'n'},
        {"type", required_argument, NULL, 't'}, {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            request->on = optarg;
            break;
        case 'm':
            if (!migemu_parse_size(optarg, &request->memory)) {
                return migemu_usage("job", "'%s' is not an amount of memory", optarg);
            }
            break;
        case 'l':
            if (!mig_text_parse_u64(optarg, 100, &request->load)) {
                return migemu_usage("job", "'%s' is not a load in percent", optarg);
            }
            break;
        case 'n':
            request->name = optarg;
            break;
        case 't':
            if (strcmp(optarg, "C") != 0 && strcmp(optarg, "G") != 0) {
                return migemu_usage("job", "'%s' is no type of process; C or G", optarg);
            }
            request->type = optarg[0];
            break;
        default:
            migemu_print_usage(stderr, "job");
            return MIGEMU_EXIT_USAGE;
        }
    }
    if (!migemu_operands(argc, argv, optind, 1, INT_MAX)) {
        return MIGEMU_EXIT_USAGE;
    }
    request->command = optind + 1 < argc ? argv + optind + 1 : NULL;
    return request->on ? 0 : migemu_usage("job", "where does it run? --on PLACE");
}

/* A process runs on a whole GPU or on a compute instance. A GPU instance with one compute
 * instance is as good as that. */
static int choose_instance(const struct emu_state *state, struct migemu_place *place,
                           const char *text)
{
    const struct emu_gpu *gpu = &state->gpus[place->gpu];
    unsigned found = 0;
    unsigned ci;

    if (place->gi == EMU_ID_NONE && gpu->mode == NVML_DEVICE_MIG_ENABLE) {
        (void)migemu_fail("GPU %u is in MIG mode: a process runs on one of its MIG devices",
                          place->gpu);
        migemu_hint("name a MIG UUID or %u:GI:CI; 'migemu show' lists them", place->gpu);
        return MIGEMU_EXIT_FAILED;
    }
    if (place->gi == EMU_ID_NONE || place->ci != EMU_ID_NONE) {
        return 0;
    }
    for (ci = 0; ci < EMU_CI_MAX; ci++) {
        if (gpu->gis[place->gi].cis[ci].used) {
            place->ci = ci;
            found++;
        }
    }
    return found == 1
               ? 0
               : migemu_fail("'%s' has %u compute instances: name one, as GPU:GI:CI", text, found);
}

/* The lowest virtual pid that nobody has. */
static uint32_t free_pid(const struct emu_state *state)
{
    uint32_t pid = FIRST_VIRTUAL_PID + 1;
    unsigned i;

    for (i = 0; i < EMU_PROCESS_MAX; i++) {
        if (state->processes[i].pid == pid) {
            pid++;
            i = UINT32_MAX; /* again from the first */
        }
    }
    return pid;
}

static void describe_process(const struct job_request *request, const struct emu_state *state,
                             const struct migemu_place *place, struct emu_process *ret)
{
    const char *name = request->name;

    memset(ret, 0, sizeof(*ret));
    ret->gpu = (uint8_t)place->gpu;
    ret->gi = place->gi;
    ret->ci = place->ci;
    ret->type = request->type;
    ret->memory_bytes = request->memory;
    ret->load_percent = (uint8_t)request->load;
    if (request->command) {
        ret->real = 1;
        ret->pid = (uint32_t)getpid();
        ret->start_time = emu_process_start_time(ret->pid);
        name = name ? name : request->command[0];
    } else {
        ret->pid = free_pid(state);
    }
    (void)mig_text_copy(ret->name, sizeof(ret->name), name ? name : "python3");
}

/* In one transaction, so that an instance cannot go between being found and being used. */
static int register_job(const struct emu_machine *machine, const struct job_request *request,
                        struct emu_process *process, struct migemu_place *place)
{
    const struct emu_node_info *info = emu_machine_info(machine);
    struct emu_transaction transaction;
    int rc;
    int status = migemu_begin(machine, &transaction);

    if (status != 0) {
        return status;
    }
    (void)emu_process_reap(transaction.state);
    status = migemu_find_place(info, transaction.state, request->on, place);
    if (status == 0) {
        status = choose_instance(transaction.state, place, request->on);
    }
    if (status != 0) {
        emu_abort(&transaction);
        return status;
    }
    describe_process(request, transaction.state, place, process);
    rc = emu_process_add(transaction.state, process);
    if (rc != 0) {
        emu_abort(&transaction);
        return migemu_fail_errno(rc, "could not start a process on '%s'", request->on);
    }
    emu_commit(&transaction);
    return 0;
}

static int job_start(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct job_request request = {.type = 'C', .memory = DEFAULT_MEMORY};
    struct emu_process process;
    struct migemu_place place;
    char where[MIGEMU_TEXT_SIZE];
    int status = parse_job(argc, argv, &request);

    if (status == 0) {
        status = migemu_open(argv[optind], &machine);
    }
    if (status == 0) {
        status = register_job(machine, &request, &process, &place);
    }
    if (status != 0) {
        return status;
    }
    if (request.command) {
        (void)execvp(request.command[0], request.command);
        return migemu_fail_errno(errno, "could not run '%s'", request.command[0]) +
               (EXIT_NOT_FOUND - MIGEMU_EXIT_FAILED);
    }
    migemu_format_place(emu_machine_info(machine), &place, where, sizeof(where));
    printf("process %u (%s) uses %llu MiB on %s\n", process.pid, process.name,
           (unsigned long long)(process.memory_bytes / MIB), where);
    return 0;
}

/* Virtual processes only: a real one ends by itself, or by kill(1). */
static int stop_one(struct emu_state *state, uint32_t pid, bool all)
{
    unsigned removed = 0;
    unsigned i;

    /* from behind: those behind one that goes move up */
    for (i = state->process_count; i-- > 0;) {
        const struct emu_process *process = &state->processes[i];

        if (process->pid == 0 || (!all && process->pid != pid)) {
            continue;
        }
        if (process->real) {
            if (!all) {
                (void)migemu_fail("process %u is one of this host", pid);
                migemu_hint("kill %u ends it and frees the slice", pid);
                return -1;
            }
            continue;
        }
        removed += emu_process_remove(state, process->pid, process->token);
    }
    return (int)removed;
}

static int job_stop(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    uint64_t pid = 0;
    bool all;
    int removed;
    int status;

    if (!migemu_operands(argc, argv, 1, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    all = strcmp(argv[2], "all") == 0;
    if (!all && !mig_text_parse_u64(argv[2], UINT32_MAX, &pid)) {
        return migemu_usage("job", "'%s' is not a pid", argv[2]);
    }
    status = migemu_open(argv[1], &machine);
    if (status == 0) {
        status = migemu_begin(machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    (void)emu_process_reap(transaction.state);
    removed = stop_one(transaction.state, (uint32_t)pid, all);
    if (removed < 0) {
        emu_abort(&transaction);
        return MIGEMU_EXIT_FAILED;
    }
    emu_commit(&transaction);
    if (removed == 0 && !all) {
        return migemu_fail("there is no process %u", (unsigned)pid);
    }
    printf("%d %s stopped\n", removed, removed == 1 ? "process" : "processes");
    return 0;
}

int migemu_job(int argc, char **argv)
{
    static const struct migemu_subverb rows[] = {
        {"start", job_start}, {"stop", job_stop}, {NULL, NULL}};

    return migemu_run_subverb(argc, argv, rows);
}

/* ---- ps ---- */

static void print_process(const struct emu_process *process)
{
    char gi[16];
    char ci[16];

    printf("%9u  %4u  %3s  %3s  %4c  %6llu MiB  %-7s  %s\n", process->pid, process->gpu,
           migemu_text_of_id(process->gi, gi), migemu_text_of_id(process->ci, ci), process->type,
           (unsigned long long)(process->memory_bytes / MIB), process->real ? "real" : "virtual",
           process->name);
}

int migemu_ps(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    unsigned i;
    int status;

    if (!migemu_operands(argc, argv, 1, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = migemu_open(argv[1], &machine);
    if (status != 0) {
        return status;
    }
    state = migemu_read(machine);
    if (!state) {
        return MIGEMU_EXIT_FAILED;
    }
    printf("      PID   GPU   GI   CI  TYPE      MEMORY  KIND     NAME\n");
    for (i = 0; i < EMU_PROCESS_MAX; i++) {
        if (state->processes[i].pid != 0 && emu_process_is_alive(&state->processes[i])) {
            print_process(&state->processes[i]);
        }
    }
    for (i = 0; i < EMU_HOLDER_MAX; i++) {
        if (state->holders[i].kind != EMU_HOLDER_FREE) {
            migemu_print_holder(i, &state->holders[i]);
        }
    }
    return 0;
}
