/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu: the table of verbs, help, and the messages that all verbs share. Results go to standard
 * output, complaints to standard error; a complaint about the command line ends with status 2 and
 * the usage of that verb.
 */
#include "emulator/migemu/migemu.h"

#include "base/text.h"
#include <errno.h>
#include <stdarg.h>
#include <string.h>

struct verb_row {
    const char *name;
    migemu_verb *run;
    const char *usage;   /* behind the name */
    const char *summary; /* one line */
    const char *details; /* options and the like; may be empty */
};

static const struct verb_row verbs[] = {
    {"create", migemu_create, "NODE --gpu NAME[*COUNT] ... [OPTION ...]",
     "make an emulated machine",
     "  --gpu NAME[*COUNT]    a GPU of the catalogue, by name or alias; may be repeated\n"
     "  --driver VERSION      driver version; default 550.90.07, or what the GPUs need\n"
     "  --gi-numbering WHAT   direct (default) or half-swapped, for boards of 8 units\n"
     "  --mig on|off          MIG mode of all GPUs; default off, as shipped\n"
     "  --persistence on|off  persistence mode; default off\n"
     "  --permission WHO      who may change instances: owner (and root, default), open, root\n"
     "  --latency PRESET      how long changes take: off (default), a30, a100, h100\n"
     "  --clock frozen|real   whether the machine's time runs (default); see 'clock'\n"
     "  --seed N              UUIDs and serials; the same seed gives the same; default 1\n"
     "  --force               replace a machine that is there\n"},
    {"destroy", migemu_destroy, "NODE", "remove the machine and its directory", ""},
    {"show", migemu_show, "NODE", "what the machine is and the state it is in", ""},
    {"env", migemu_env, "NODE", "lines for a shell: eval \"$(migemu env NODE)\"", ""},
    {"run", migemu_run, "NODE [--no-namespace] -- COMMAND [ARGUMENT ...]",
     "run a command on the machine",
     "  --no-namespace       only the library path and PATH, no /proc, /sys and /dev\n"},
    {"root", migemu_root, "NODE DIR", "write the driver's files for containers into a directory",
     "DIR becomes a driver root: libraries, nvidia-smi, /dev stand-ins, links to /proc and /sys "
     "of\n"
     "the machine, devices.tsv, and cdi/migemu.json, a CDI specification that mounts them. One "
     "that\n"
     "was written before is brought up to date.\n"},
    {"ps", migemu_ps, "NODE", "processes and holders on the GPUs", ""},
    {"job", migemu_job, "start NODE --on PLACE [OPTION ...] [-- COMMAND ...] | stop NODE PID|all",
     "let a process use a GPU or a slice",
     "  --on PLACE           MIG UUID, GPU UUID, GPU index, or GPU:GI:CI\n"
     "  --memory SIZE        GPU memory it uses, such as 2G or 500M; default 256M\n"
     "  --load PERCENT       how busy it keeps what it is on; default 0\n"
     "  --name NAME          what nvidia-smi shows; default python3, or COMMAND\n"
     "  --type C|G           compute (default) or graphics\n"
     "Without COMMAND the process is virtual and stays until it is stopped. COMMAND runs in the\n"
     "foreground; its end, however it comes, frees the slice.\n"},
    {"holder", migemu_holder,
     "add NODE --on PLACE [OPTION ...] | list NODE | remove NODE NUMBER|all",
     "users that no process list shows",
     "  --on PLACE            GPU index or UUID, GPU:GI, GPU:GI:CI, or MIG UUID\n"
     "  --kind leaked|client  a handle that was never closed (default), or a kernel client\n"
     "  --name NAME           such as nvidia_drm\n"
     "  --persistent          back again after a reset or reboot\n"},
    {"fault", migemu_fault,
     "add NODE RULE | add NODE --preset NAME [--gpu N] | list NODE | clear NODE [NUMBER] | presets",
     "let calls fail, hang or kill their caller",
     "  --preset NAME        what was seen to go wrong in the field; 'fault presets' lists them\n"
     "  --gpu N              the preset for one GPU only; default all\n"
     "RULE: FUNCTION [gpu=N] [nth=N] [hits=N] [delay=MS] [chance=PERCENT] [seed=N]\n"
     "      [before|after] [-> CODE|KILL|XID=N]\n"
     "For example: 'GpuInstanceDestroy gpu=0 nth=3 -> IN_USE'\n"},
    {"set", migemu_set, "NODE [--gpu N] NAME=VALUE ...", "turn options of the machine",
     "Of a GPU (--gpu N, or all):\n"
     "  create-needs-idle=on|off     creating instances is refused while the GPU has users\n"
     "  mode-blocked=CODE|none       what keeps a MIG mode pending, such as RESET_REQUIRED\n"
     "  persistence=on|off           persistence mode\n"
     "  lost=on|off                  fell off the bus\n"
     "  reset-required=on|off        nothing works before a reset\n"
     "  stale-devices=on|off         an index of a MIG device means the same one for a session\n"
     "  load=PERCENT                 of the whole GPU\n"
     "  memory-load=PERCENT          of its memory\n"
     "Of the machine:\n"
     "  permission=owner|open|root   who may change instances\n"
     "  driver-unloaded=on|off       no driver: nvmlInit fails\n"
     "  latency=PRESET               how long changes take: off, a30, a100, h100; or one by one:\n"
     "  gi-create-ms=N               how long creating a GPU instance takes\n"
     "  gi-destroy-ms=N              destroying one\n"
     "  ci-create-ms=N               creating a compute instance\n"
     "  ci-destroy-ms=N              destroying one\n"
     "  mode-ms=N                    changing the MIG mode\n"
     "  reset-ms=N                   resetting a GPU\n"
     "  query-us=N                   every call\n"},
    {"clock", migemu_clock, "NODE [freeze [SECONDS] | step SECONDS | scale FACTOR | real]",
     "the time of the machine, which meters follow",
     "Without a word it is printed. freeze stops it (at that time, when it has not come yet), "
     "step\n"
     "lets it jump ahead, scale lets it run so many times as fast as real time (0 to 100).\n"},
    {"xid", migemu_xid, "NODE --gpu N [--gi N [--ci N]] NUMBER", "let a critical error happen",
     "79 takes the GPU off the bus, 48 and 95 make a reset necessary, 94 ends the processes of\n"
     "one instance; every error is an event for all programs that wait for one.\n"},
    {"recovery", migemu_recovery, "NODE [--gpu N] ACTION",
     "what the driver says a GPU needs to recover",
     "none, gpu-reset, node-reboot, drain-p2p, drain-and-reset, recover-imex-domain; an event, "
     "and\n"
     "a field, for programs that ask; drivers before 565 have neither. A reset lifts all but\n"
     "node-reboot.\n"
     "  --gpu N              index of the GPU; default all\n"},
    {"reset", migemu_reset, "NODE [--gpu N]", "reset one GPU or all, as nvidia-smi -r does",
     "  --gpu N              index of the GPU\n"},
    {"reload", migemu_reload, "NODE", "unload and load the driver", ""},
    {"reboot", migemu_reboot, "NODE", "reboot the machine: everything on it ends", ""},
    {"trace", migemu_trace, "NODE [--json] [--last N]", "the last NVML calls on the machine",
     "  --json               one JSON object a line\n"
     "  --last N             only so many; default all that are kept\n"},
    {"snapshot", migemu_snapshot, "NODE FILE", "keep the state of the machine in a file", ""},
    {"restore", migemu_restore, "NODE FILE", "put a kept state back", ""},
    {"diff", migemu_diff, "NODE FILE", "what changed since a snapshot; status 1 if anything", ""},
    {"stats", migemu_stats, "NODE [--json] [--zero]", "how often NVML was called, and for what",
     "  --json               as JSON\n"
     "  --zero               start counting from 0 afterwards\n"},
};

static const struct verb_row *find_verb(const char *name)
{
    size_t i;

    for (i = 0; i < MIG_ARRAY_SIZE(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return &verbs[i];
        }
    }
    return NULL;
}

void migemu_print_usage(FILE *stream, const char *name)
{
    const struct verb_row *verb = find_verb(name);

    if (verb) {
        fprintf(stream, "Usage: migemu %s %s\n", verb->name, verb->usage);
    }
}

static int print_verb_help(const struct verb_row *verb)
{
    migemu_print_usage(stdout, verb->name);
    printf("\nPurpose: %s.\n", verb->summary);
    if (*verb->details) {
        printf("\n%s", verb->details);
    }
    return 0;
}

static int print_help(void)
{
    size_t i;

    printf("Usage: migemu VERB NODE [ARGUMENT ...]\n\n"
           "Emulated machines with MIG-capable GPUs, for programs that speak NVML. NODE is a "
           "directory.\n\n");
    for (i = 0; i < MIG_ARRAY_SIZE(verbs); i++) {
        printf("  %-10s %s\n", verbs[i].name, verbs[i].summary);
    }
    printf("\n'migemu VERB --help' tells more. For example:\n"
           "  migemu create /tmp/node --gpu A30*2 && eval \"$(migemu env /tmp/node)\"\n"
           "  nvidia-smi\n");
    return 0;
}

/* ---- messages ---- */

static void complain(const char *format, va_list args) MIG_PRINTF(1, 0);

static void complain(const char *format, va_list args)
{
    fputs("migemu: ", stderr);
    (void)vfprintf(stderr, format, args);
}

int migemu_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(format, args);
    va_end(args);
    fputc('\n', stderr);
    return MIGEMU_EXIT_FAILED;
}

int migemu_usage(const char *verb, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(format, args);
    va_end(args);
    fputc('\n', stderr);
    migemu_print_usage(stderr, verb);
    return MIGEMU_EXIT_USAGE;
}

int migemu_fail_errno(int errnum, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain(format, args);
    va_end(args);
    fprintf(stderr, ": %s\n", strerror(errnum < 0 ? -errnum : errnum));
    return MIGEMU_EXIT_FAILED;
}

int migemu_fail_error(const struct mig_error *error)
{
    (void)migemu_fail("%s", error->message);
    if (error->hint[0]) {
        migemu_hint("%s", error->hint);
    }
    return MIGEMU_EXIT_FAILED;
}

void migemu_hint(const char *format, ...)
{
    va_list args;

    fputs("migemu: hint: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

bool migemu_operands(int argc, char **argv, int first, int min, int max)
{
    int count = argc - first;

    if (count < min) {
        (void)migemu_usage(argv[0], "%s: too few arguments", argv[0]);
        return false;
    }
    if (count > max) {
        (void)migemu_usage(argv[0], "%s: unexpected argument '%s'", argv[0], argv[first + max]);
        return false;
    }
    return true;
}

int migemu_run_subverb(int argc, char **argv, const struct migemu_subverb *rows)
{
    const struct migemu_subverb *row;

    for (row = rows; argc > 1 && row->name; row++) {
        if (strcmp(argv[1], row->name) == 0) {
            argv[1] = argv[0];
            return row->run(argc - 1, argv + 1);
        }
    }
    return argc > 1 ? migemu_usage(argv[0], "%s: unknown word '%s'", argv[0], argv[1])
                    : migemu_usage(argv[0], "%s: too few arguments", argv[0]);
}

/* Help is answered before a verb sees its arguments; behind "--" they belong to a command. */
static bool asks_help(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

static int unknown_verb(const char *name)
{
    const char *nearest = NULL;
    unsigned best = 3;
    size_t i;

    for (i = 0; i < MIG_ARRAY_SIZE(verbs); i++) {
        unsigned distance = mig_text_distance(name, verbs[i].name, best);

        if (distance < best) {
            best = distance;
            nearest = verbs[i].name;
        }
    }
    (void)migemu_fail("unknown verb '%s'", name);
    if (nearest) {
        migemu_hint("did you mean '%s'?", nearest);
    } else {
        migemu_hint("'migemu --help' lists the verbs");
    }
    return MIGEMU_EXIT_USAGE;
}

int main(int argc, char **argv)
{
    const struct verb_row *verb;
    int status;

    if (argc < 2) {
        fputs("Usage: migemu VERB NODE [ARGUMENT ...]; see migemu --help\n", stderr);
        return MIGEMU_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        verb = argc > 2 ? find_verb(argv[2]) : NULL;
        return verb ? print_verb_help(verb) : print_help();
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("migemu %s\n", MIG_VERSION);
        return 0;
    }
    verb = find_verb(argv[1]);
    if (!verb) {
        return unknown_verb(argv[1]);
    }
    if (asks_help(argc - 1, argv + 1)) {
        return print_verb_help(verb);
    }
    status = verb->run(argc - 1, argv + 1);
    if (fflush(stdout) != 0 && status == 0) {
        return migemu_fail_errno(errno, "could not write the output");
    }
    return status;
}
