/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu holder: users of a GPU or instance that no process list shows, a handle that was never
 * closed or a kernel client, as they keep real GPUs from being repartitioned.
 */
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <getopt.h>
#include <string.h>

const char *migemu_text_of_id(uint32_t id, char buffer[16])
{
    (void)snprintf(buffer, 16, "%u", id);
    return id == EMU_ID_NONE ? "-" : buffer;
}

void migemu_print_holder(unsigned slot, const struct emu_holder *holder)
{
    char gi[16];
    char ci[16];

    printf("holder %-2u  %4u  %3s  %3s  %-6s%s  %s\n", slot, holder->gpu,
           migemu_text_of_id(holder->gi, gi), migemu_text_of_id(holder->ci, ci),
           holder->kind == EMU_HOLDER_LEAKED ? "leaked" : "client",
           holder->survives_reboot ? ", persistent" : "", holder->name);
}

struct holder_request {
    const char *on, *name;
    enum emu_holder_kind kind;
    bool persistent;
};

static int parse_holder(int argc, char **argv, struct holder_request *request)
{
    static const struct option options[] = {{"on", required_argument, NULL, 'o'},
                                            {"kind", required_argument, NULL, 'k'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"persistent", no_argument, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'o':
            request->on = optarg;
            break;
        case 'k':
            if (strcmp(optarg, "leaked") != 0 && strcmp(optarg, "client") != 0) {
                return migemu_usage("holder", "'%s' is no kind of holder", optarg);
            }
            request->kind = optarg[0] == 'l' ? EMU_HOLDER_LEAKED : EMU_HOLDER_CLIENT;
            break;
        case 'n':
            request->name = optarg;
            break;
        case 'p':
            request->persistent = true;
            break;
        default:
            migemu_print_usage(stderr, "holder");
            return MIGEMU_EXIT_USAGE;
        }
    }
    if (!migemu_operands(argc, argv, optind, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    return request->on ? 0 : migemu_usage("holder", "what does it hold? --on PLACE");
}

static int holder_add(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct holder_request request = {.kind = EMU_HOLDER_LEAKED, .name = "handle"};
    struct emu_transaction transaction;
    struct emu_holder holder = {0};
    struct migemu_place place;
    int rc;
    int status = parse_holder(argc, argv, &request);

    if (status == 0) {
        status = migemu_open(argv[optind], &machine);
    }
    if (status == 0) {
        status = migemu_begin(machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    status = migemu_find_place(emu_machine_info(machine), transaction.state, request.on, &place);
    if (status != 0) {
        emu_abort(&transaction);
        return status;
    }
    holder.kind = (uint8_t)request.kind;
    holder.gpu = (uint8_t)place.gpu;
    holder.gi = place.gi;
    holder.ci = place.ci;
    holder.survives_reboot = request.persistent;
    (void)mig_text_copy(holder.name, sizeof(holder.name), request.name);
    rc = emu_holder_add(transaction.state, &holder);
    if (rc < 0) {
        emu_abort(&transaction);
        return migemu_fail_errno(rc, "could not add a holder");
    }
    emu_commit(&transaction);
    return 0;
}

static int holder_remove(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    struct emu_transaction transaction;
    uint64_t slot = 0;
    bool all;
    unsigned i;
    int rc = 0;
    int status;

    if (!migemu_operands(argc, argv, 1, 2, 2)) {
        return MIGEMU_EXIT_USAGE;
    }
    all = strcmp(argv[2], "all") == 0;
    if (!all && !mig_text_parse_u64(argv[2], EMU_HOLDER_MAX - 1, &slot)) {
        return migemu_usage("holder", "'%s' is not a holder's number", argv[2]);
    }
    status = migemu_open(argv[1], &machine);
    if (status == 0) {
        status = migemu_begin(machine, &transaction);
    }
    if (status != 0) {
        return status;
    }
    if (!all) {
        rc = emu_holder_remove(transaction.state, (unsigned)slot);
    }
    for (i = 0; all && i < EMU_HOLDER_MAX; i++) {
        (void)emu_holder_remove(transaction.state, i);
    }
    emu_commit(&transaction);
    return rc == 0 ? 0 : migemu_fail("there is no holder %s", argv[2]);
}

static int holder_list(int argc, char **argv)
{
    MIGEMU_AUTO_MACHINE struct emu_machine *machine = NULL;
    MIG_AUTO_FREE struct emu_state *state = NULL;
    unsigned i;
    int status;

    if (!migemu_operands(argc, argv, 1, 1, 1)) {
        return MIGEMU_EXIT_USAGE;
    }
    status = migemu_open(argv[1], &machine);
    state = status == 0 ? migemu_read(machine) : NULL;
    if (!state) {
        return MIGEMU_EXIT_FAILED;
    }
    for (i = 0; i < EMU_HOLDER_MAX; i++) {
        if (state->holders[i].kind != EMU_HOLDER_FREE) {
            migemu_print_holder(i, &state->holders[i]);
        }
    }
    return 0;
}

int migemu_holder(int argc, char **argv)
{
    static const struct migemu_subverb rows[] = {
        {"add", holder_add}, {"list", holder_list}, {"remove", holder_remove}, {NULL, NULL}};

    return migemu_run_subverb(argc, argv, rows);
}
