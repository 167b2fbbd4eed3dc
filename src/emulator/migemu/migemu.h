/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migemu: launcher and control of emulated machines. Each verb is a row in the table of
 * migemu_main.c and a function here; a verb parses its own options, works through machine.h, and
 * returns the exit status.
 */
#ifndef MIG_EMULATOR_MIGEMU_H
#define MIG_EMULATOR_MIGEMU_H

#include "emulator/machine/machine.h"

#include "base/cleanup.h"
#include <limits.h>
#include <mig/error.h>
#include <mig/model.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MIGEMU_EXIT_FAILED 1
#define MIGEMU_EXIT_USAGE 2
#define MIGEMU_EXIT_BUSY 5

#define MIGEMU_TEXT_SIZE 256

typedef int migemu_verb(int argc, char **argv);

migemu_verb migemu_create, migemu_destroy, migemu_show, migemu_env, migemu_run;
migemu_verb migemu_ps, migemu_job, migemu_holder, migemu_fault, migemu_set;
migemu_verb migemu_reset, migemu_reload, migemu_reboot, migemu_xid, migemu_recovery;

/* "gpu-reset" of an nvmlDeviceGpuRecoveryAction_t; NULL past the end. */
const char *migemu_recovery_name(unsigned action);

migemu_verb migemu_snapshot, migemu_restore, migemu_diff;
migemu_verb migemu_trace, migemu_stats, migemu_root, migemu_clock;

/* ---- messages, to standard error ---- */

/* "migemu: WHAT"; returns MIGEMU_EXIT_FAILED, or MIGEMU_EXIT_USAGE for the second. */
int migemu_fail(const char *format, ...) MIG_PRINTF(1, 2);
int migemu_usage(const char *verb, const char *format, ...) MIG_PRINTF(2, 3);
/* The same with the text of an errno value (positive or negative) behind it. */
int migemu_fail_errno(int errnum, const char *format, ...) MIG_PRINTF(2, 3);
int migemu_fail_error(const struct mig_error *error);
void migemu_hint(const char *format, ...) MIG_PRINTF(1, 2);

/* Usage text of a verb, to `stream`. */
void migemu_print_usage(FILE *stream, const char *name);

/*
 * Common start of a verb: the positional arguments behind the options. Complains and returns
 * false unless their number is in the range; every verb takes NODE first.
 */
bool migemu_operands(int argc, char **argv, int first, int min, int max);

/* Verbs of two words: runs the row of the second, which then is argv[0]. Ends with a NULL row. */
struct migemu_subverb {
    const char *name;
    migemu_verb *run;
};
int migemu_run_subverb(int argc, char **argv, const struct migemu_subverb *rows);

/* ---- the machine ---- */

/* Opens NODE; complains, with what to do about it. */
int migemu_open(const char *node, struct emu_machine **ret);
MIG_DEFINE_CLEANUP(machine, struct emu_machine, emu_machine_close)
#define MIGEMU_AUTO_MACHINE MIG_CLEANUP(cleanup_machine)

/* A copy of the state on the heap; NULL after a complaint. */
struct emu_state *migemu_read(const struct emu_machine *machine);

/* A transaction; complains. */
int migemu_begin(const struct emu_machine *machine, struct emu_transaction *ret);

/* A place on a machine: a GPU, a GPU instance, or a compute instance. */
struct migemu_place {
    unsigned gpu;
    uint32_t gi, ci; /* EMU_ID_NONE for the whole */
};

/*
 * "0", "0:1", "0:1:0", a GPU's UUID, a MIG device's UUID. Complains when nothing is there.
 */
int migemu_find_place(const struct emu_node_info *info, const struct emu_state *state,
                      const char *text, struct migemu_place *ret);

/* "GPU 0 (NVIDIA A30) GI 1 CI 0" */
void migemu_format_place(const struct emu_node_info *info, const struct migemu_place *place,
                         char *buffer, size_t size);

/* "-" for EMU_ID_NONE; returns it or buffer. */
const char *migemu_text_of_id(uint32_t id, char buffer[16]);
void migemu_print_holder(unsigned slot, const struct emu_holder *holder);

/* ---- the description ---- */

/* Fills the description of one GPU from the catalogue; complains when it cannot be emulated. */
int migemu_describe_gpu(const struct mig_model *model, unsigned index, uint64_t seed,
                        enum emu_numbering numbering, struct emu_gpu_info *ret);

/* The model of a name on the command line; complains and lists near names. */
const struct mig_model *migemu_find_model(const char *name);

/* How long changes take on a kind of board: "a30", "a100", "h100", or "off"; false for others. */
bool migemu_latency_preset(const char *name, struct emu_latency *ret);

/* "NAME=VALUE" of `migemu set`, for one GPU or (EMU_GPU_MAX) for all; complains. */
int migemu_apply_option(struct emu_state *state, uint64_t gpu, const char *text);

/* Parses a fault rule, adds it and says so; complains. */
int migemu_add_rule(const struct emu_machine *machine, struct emu_state *state, const char *text);

/* What goes wrong in the field, by name; migemu_preset.c. */
struct migemu_preset;
const struct migemu_preset *migemu_find_preset(const char *name); /* complains */
int migemu_apply_preset(const struct emu_machine *machine, struct emu_state *state,
                        const struct migemu_preset *preset, uint64_t gpu);
void migemu_print_presets(void);

/* ---- paths ---- */

struct migemu_paths {
    char node[PATH_MAX];    /* absolute */
    char library[PATH_MAX]; /* directory of libnvidia-ml.so.1 */
    char tools[PATH_MAX];   /* directory of nvidia-smi */
};

/* The library is that of the machine's driver branch. */
int migemu_find_paths(const char *node, const struct emu_node_info *info, struct migemu_paths *ret);

/* The variables of `migemu env`, calling `set` for each; values are complete. */
int migemu_environment(const struct migemu_paths *paths,
                       int (*set)(const char *name, const char *value));

/* ---- the state as lines of text ---- */

struct migemu_lines {
    char (*list)[MIGEMU_TEXT_SIZE];
    size_t count, room;
    bool failed; /* memory was short */
};

void migemu_lines_release(struct migemu_lines *lines);
#define MIGEMU_AUTO_LINES MIG_CLEANUP(migemu_lines_release)

/* One line per fact, in a fixed order; live ones (processes' memory) included. */
void migemu_describe_state(const struct emu_node_info *info, const struct emu_state *state,
                           struct migemu_lines *ret);

/* "2G", "512M", "100K", "12345" as bytes. */
bool migemu_parse_size(const char *text, uint64_t *ret);

#endif
