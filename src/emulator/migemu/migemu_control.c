/* SPDX-License-Identifier: Apache-2.0 */
/* migemu reset, reload, reboot, xid, recovery and fault: what happens to a machine, and goes wrong
 * on it. */
#include "emulator/machine/fault.h"
#include "emulator/machine/host_tree.h"
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <getopt.h>
#include <string.h>

#define ALL_GPUS UINT32_MAX

/* Brings the capability files in step with a state that is being committed. */
static void sync_host(const char *node, const struct emu_state *state)
{
    unsigned i;

    for (i = 0; i < state->gpu_count; i++) {
        (void)emu_host_sync(node, i, &state->gpus[i]);
    }
}

/* Processes and holders of a GPU, by name, behind a refusal. */
static void name_users(const struct emu_state *state, unsigned gpu)
{
    unsigned i;

    for (i = 0; i < EMU_PROCESS_MAX; i++) {
        const struct emu_process *process = &state->processes[i];

        if (process->pid != 0 && (gpu == ALL_GPUS || process->gpu == gpu)) {
            migemu_hint("process %u (%s) is on GPU %u", process->pid, process->name, process->gpu);
        }
    }
    for (i = 0; i < EMU_HOLDER_MAX; i++) {
        const struct emu_holder *holder = &state->holders[i];

        if (holder->kind != EMU_HOLDER_FREE && (gpu == ALL_GPUS || holder->gpu == gpu)) {
            migemu_hint("holder %u (%s) is on GPU %u", i, holder->name, holder->gpu);
        }
    }
}

static int end(struct emu_transaction *transaction, const char *node, nvmlReturn_t code,
               unsigned gpu, const char *what)
{
    if (code == NVML_SUCCESS) {
        sync_host(node, transaction->state);
        emu_commit(transaction);
        return 0;
    }
    (void)migemu_fail("could not %s: %s", what,
                      emu_return_name(code) ? emu_return_name(code) : "unknown error");
    name_users(transaction->state, gpu);
    emu_abort(transaction);
    return code == NVML_ERROR_IN_USE ? MIGEMU_EXIT_BUSY : MIGEMU_EXIT_FAILED;
}

/* Opens NODE, begins, and drops processes that have ended. */
static int begin(const char *node, struct emu_machine **machine,
                 struct emu_transaction *transaction)
{
    int status = migemu_open(node, machine);

    if (status == 0) {
        status = migemu_begin(*machine, transaction);
    }
    if (status == 0) {
        (void)emu_process_reap(transaction->state);
    }
    return status;
}

int migemu_reset(int argc, char **argv)
{
    static const struct option options[] = {{"gpu", required_argument, NULL, 'g'},
                                            {NULL, 0, NULL, 0}};
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    nvmlReturn_t code = NVML_SUCCESS;
    uint64_t only = ALL_GPUS;
    unsigned i;
    int option;
    int status;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'g') {
            migemu_print_usage(stderr, "reset");
            return MIGEMU_EXIT_USAGE;
        }
        if (!mig_text_parse_u64(optarg, EMU_GPU_MAX - 1, &only)) {
            return migemu_usage("reset", "'%s' is not the index of a GPU", optarg);
        }
    }
    if (!migemu_operands(argc, argv, optind, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = begin(argv[optind], &machine, &transaction);
    if (status != 0) {
        return status;
    }
    if (only != ALL_GPUS && only >= transaction.state->gpu_count) {
        emu_abort(&transaction);
        return migemu_fail("the machine has no GPU %u", (unsigned)only);
    }
    for (i = 0; code == NVML_SUCCESS && i < transaction.state->gpu_count; i++) {
        if (only == ALL_GPUS || only == i) {
            code = emu_gpu_reset(emu_machine_info(machine), transaction.state, i);
        }
    }
    return end(&transaction, argv[optind], code, only == ALL_GPUS ? ALL_GPUS : (unsigned)only,
               "reset");
}

/* A change of the whole machine, with its name for a refusal. */
static int change_machine(int argc, char **argv, const char *what,
                          nvmlReturn_t (*change)(const struct emu_node_info *, struct emu_state *))
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    int status;

    if (!migemu_operands(argc, argv, 1, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = begin(argv[1], &machine, &transaction);
    if (status != 0) {
        return status;
    }
    return end(&transaction, argv[1], change(emu_machine_info(machine), transaction.state),
               ALL_GPUS, what);
}

static nvmlReturn_t reboot(const struct emu_node_info *info, struct emu_state *state)
{
    emu_reboot(info, state);
    return NVML_SUCCESS;
}

int migemu_reload(int argc, char **argv)
{
    return change_machine(argc, argv, "reload the driver", emu_driver_reload);
}

int migemu_reboot(int argc, char **argv)
{
    return change_machine(argc, argv, "reboot", reboot);
}

/* ---- critical errors ---- */

static void post_recovery(const struct emu_machine *machine, uint32_t gpu, uint8_t action)
{
    const struct emu_event event = {.type = nvmlEventTypeGpuRecoveryAction,
                                    .data = action,
                                    .gpu = gpu,
                                    .gi = EMU_ID_NONE,
                                    .ci = EMU_ID_NONE};

    emu_event_post(machine, &event);
}

struct xid_request {
    uint64_t gpu, gi, ci, xid;
};

static int parse_xid(int argc, char **argv, struct xid_request *request)
{
    static const struct option options[] = {{"gpu", required_argument, NULL, 'g'},
                                            {"gi", required_argument, NULL, 'i'},
                                            {"ci", required_argument, NULL, 'c'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t *value = option == 'g'   ? &request->gpu
                          : option == 'i' ? &request->gi
                          : option == 'c' ? &request->ci
                                          : NULL;

        if (!value || !mig_text_parse_u64(optarg, EMU_GPU_MAX - 1, value)) {
            return migemu_usage("xid", "which GPU and instance? --gpu N [--gi N [--ci N]]");
        }
    }
    if (!migemu_operands(argc, argv, optind, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    if (!mig_text_parse_u64(argv[optind + 1], UINT16_MAX, &request->xid) || request->xid == 0) {
        return migemu_usage("xid", "'%s' is not the number of an XID", argv[optind + 1]);
    }
    return request->ci != EMU_ID_NONE && request->gi == EMU_ID_NONE
               ? migemu_usage("xid", "--ci needs --gi")
               : 0;
}

int migemu_xid(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct xid_request request = {.gi = EMU_ID_NONE, .ci = EMU_ID_NONE};
    struct emu_transaction transaction;
    struct emu_event event = {.type = nvmlEventTypeXidCriticalError};
    bool recovery;
    uint8_t action;
    int status = parse_xid(argc, argv, &request);

    if (status == 0) {
        status = begin(argv[optind], &machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    if (request.gpu >= transaction.state->gpu_count) {
        emu_abort(&transaction);
        return migemu_fail("the machine has no GPU %u", (unsigned)request.gpu);
    }
    event.data = request.xid;
    event.gpu = (uint32_t)request.gpu;
    event.gi = (uint32_t)request.gi;
    event.ci = (uint32_t)request.ci;
    recovery = emu_xid(transaction.state, event.gpu, event.gi, event.ci, (unsigned)request.xid);
    action = transaction.state->gpus[event.gpu].recovery_action;
    emu_commit(&transaction);
    emu_event_post(machine, &event);
    if (recovery) {
        post_recovery(machine, event.gpu, action);
    }
    return 0;
}

/* ---- recovery actions ---- */

static const char *const recovery_names[] = {
    [NVML_GPU_RECOVERY_ACTION_NONE] = "none",
    [NVML_GPU_RECOVERY_ACTION_GPU_RESET] = "gpu-reset",
    [NVML_GPU_RECOVERY_ACTION_NODE_REBOOT] = "node-reboot",
    [NVML_GPU_RECOVERY_ACTION_DRAIN_P2P] = "drain-p2p",
    [NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET] = "drain-and-reset",
    [NVML_GPU_RECOVERY_ACTION_RECOVER_IMEX_DOMAIN] = "recover-imex-domain",
};

const char *migemu_recovery_name(unsigned action)
{
    return action < MIG_ARRAY_SIZE(recovery_names) ? recovery_names[action] : NULL;
}

static int parse_recovery(int argc, char **argv, uint64_t *ret_gpu, unsigned *ret_action)
{
    static const struct option options[] = {{"gpu", required_argument, NULL, 'g'},
                                            {NULL, 0, NULL, 0}};
    int option;

    *ret_gpu = ALL_GPUS;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 'g' || !mig_text_parse_u64(optarg, EMU_GPU_MAX - 1, ret_gpu)) {
            return migemu_usage("recovery", "which GPU? --gpu N");
        }
    }
    if (!migemu_operands(argc, argv, optind, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    for (*ret_action = 0; *ret_action < MIG_ARRAY_SIZE(recovery_names); (*ret_action)++) {
        if (strcmp(argv[optind + 1], recovery_names[*ret_action]) == 0) {
            return 0;
        }
    }
    return migemu_usage("recovery", "'%s' is no recovery action", argv[optind + 1]);
}

int migemu_recovery(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    uint64_t gpu = ALL_GPUS;
    unsigned action = 0;
    uint32_t count;
    int status = parse_recovery(argc, argv, &gpu, &action);

    if (status == 0) {
        status = begin(argv[optind], &machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    count = transaction.state->gpu_count;
    if (gpu != ALL_GPUS && gpu >= count) {
        emu_abort(&transaction);
        return migemu_fail("the machine has no GPU %u", (unsigned)gpu);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (gpu == ALL_GPUS || gpu == i) {
            transaction.state->gpus[i].recovery_action = (uint8_t)action;
        }
    }
    emu_commit(&transaction);
    for (uint32_t i = 0; i < count; i++) {
        if (gpu == ALL_GPUS || gpu == i) {
            post_recovery(machine, i, (uint8_t)action);
        }
    }
    return 0;
}

/* ---- faults ---- */

static int add_preset(const char *node, const char *name, uint64_t gpu)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    const struct migemu_preset *preset = migemu_find_preset(name);
    struct emu_transaction transaction;
    int status = preset ? begin(node, &machine, &transaction) : MIGEMU_EXIT_USAGE;

    if (status != 0) {
        return status;
    }
    if (gpu != EMU_GPU_MAX && gpu >= transaction.state->gpu_count) {
        status = migemu_fail("the machine has no GPU %u", (unsigned)gpu);
    } else {
        status = migemu_apply_preset(machine, transaction.state, preset, gpu);
    }
    if (status == 0) {
        emu_commit(&transaction);
    }
    emu_abort(&transaction);
    return status;
}

int migemu_add_rule(const struct emu_machine *machine, struct emu_state *state, const char *text)
{
    struct emu_fault fault;
    char reason[MIGEMU_TEXT_SIZE] = "";
    unsigned slot = 0;

    if (emu_fault_parse(text, &fault, reason, sizeof(reason)) != 0) {
        return migemu_usage("fault", "'%s' is no fault rule: %s", text, reason);
    }
    if (emu_fault_add(machine, state, &fault, &slot) != 0) {
        return migemu_fail("there are %d fault rules already", EMU_FAULT_MAX);
    }
    printf("rule %u: %s\n", slot, fault.text);
    return 0;
}

static int add_rule(const char *node, const char *text)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    int status = begin(node, &machine, &transaction);

    if (status != 0) {
        return status;
    }
    status = migemu_add_rule(machine, transaction.state, text);
    if (status == 0) {
        emu_commit(&transaction);
    }
    emu_abort(&transaction);
    return status;
}

static int fault_add(int argc, char **argv)
{
    static const struct option options[] = {{"preset", required_argument, NULL, 'p'},
                                            {"gpu", required_argument, NULL, 'g'},
                                            {NULL, 0, NULL, 0}};
    const char *preset = NULL;
    uint64_t gpu = EMU_GPU_MAX; /* all */
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'p') {
            preset = optarg;
        } else if (option != 'g' || !mig_text_parse_u64(optarg, EMU_GPU_MAX - 1, &gpu)) {
            return migemu_usage("fault", "which GPU? --gpu N");
        }
    }
    if (!preset && gpu != EMU_GPU_MAX) {
        return migemu_usage("fault", "a rule says 'gpu=N' itself; --gpu goes with --preset");
    }
    if (!migemu_operands(argc, argv, optind, preset ? 1 : 2, preset ? 1 : 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    return preset ? add_preset(argv[optind], preset, gpu)
                  : add_rule(argv[optind], argv[optind + 1]);
}

static int fault_presets(int argc, char **argv)
{
    if (!migemu_operands(argc, argv, 1, 0, 0)) {
        return MIGEMU_EXIT_USAGE;
    }
    migemu_print_presets();
    return 0;
}

static int fault_list(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    unsigned i;

    if (!migemu_operands(argc, argv, 1, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    state = migemu_open(argv[1], &machine) == 0 ? migemu_read(machine) : NULL;
    if (!state) {
        return MIGEMU_EXIT_FAILED;
    }
    for (i = 0; i < EMU_FAULT_MAX; i++) {
        if (state->faults[i].used) {
            printf("rule %u: %s (%llu calls matched, acted on %llu)\n", i, state->faults[i].text,
                   (unsigned long long)emu_fault_seen(machine, i),
                   (unsigned long long)emu_fault_hits(machine, i));
        }
    }
    return 0;
}

static int fault_clear(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    uint64_t slot = 0;
    int rc = 0;
    int status;

    if (!migemu_operands(argc, argv, 1, 1, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    if (argc > 2 && !mig_text_parse_u64(argv[2], EMU_FAULT_MAX - 1, &slot)) {
        return migemu_usage("fault", "'%s' is not the number of a rule", argv[2]);
    }
    status = begin(argv[1], &machine, &transaction);
    if (status != 0) {
        return status;
    }
    if (argc > 2) {
        rc = emu_fault_remove(transaction.state, (unsigned)slot);
    } else {
        emu_fault_clear(transaction.state);
    }
    emu_commit(&transaction);
    return rc == 0 ? 0 : migemu_fail("there is no rule %s", argv[2]);
}

int migemu_fault(int argc, char **argv)
{
    static const struct migemu_subverb rows[] = {{"add", fault_add},
                                                 {"list", fault_list},
                                                 {"clear", fault_clear},
                                                 {"presets", fault_presets},
                                                 {NULL, NULL}};

    return migemu_run_subverb(argc, argv, rows);
}
