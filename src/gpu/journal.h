/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal of a run: what was there, what is wanted, how far it came.
 *
 * The file is text. The first part is written in one step and synced before the first change of a
 * GPU, and ends with a checksum; one line per finished step is appended. Lines of progress are not
 * synced: a killed process does not lose them, and when the machine goes down the instances go with
 * it, so that the journal only has to be recognised as one of another boot.
 */
#ifndef MIG_GPU_JOURNAL_H
#define MIG_GPU_JOURNAL_H

#include "gpu/geometry.h"
#include <mig/node.h>

#define MIG_JOURNAL_BYTES_MAX (1u << 20)
#define MIG_BOOT_ID_SIZE 64
#define MIG_COMMAND_SIZE 64

struct mig_journal_gpu {
    char uuid[MIG_UUID_SIZE];
    bool set_mode; /* the run changes the mode */
    bool may_reset;
    bool old_mode, new_mode;
    struct mig_geometry old_geometry, new_geometry;
};

struct mig_journal {
    char boot_id[MIG_BOOT_ID_SIZE];
    uint32_t pid;
    char command[MIG_COMMAND_SIZE]; /* of the program that made it */
    uint32_t step_count;            /* of the whole run */
    uint32_t gpu_count;
    struct mig_journal_gpu gpus[MIG_GPU_MAX];
    /* progress */
    uint32_t steps_done;
    bool rolling_back;      /* the run had begun to undo itself */
    uint32_t attempt_count; /* recoveries that were begun */
    /* of the text */
    uint32_t seed;     /* checksum of the first part: ties progress to it */
    size_t valid_size; /* up to the first line of progress that is cut or damaged */
};

/*
 * Reads a journal from memory; `name` is for messages. The first part has to be whole and sound
 * (MIG_E_CONFIG). Progress counts up to the first line that is cut or damaged.
 */
int mig_journal_parse(const char *name, const char *data, size_t size, struct mig_journal *ret,
                      struct mig_error *error);

/* The first part as text; *ret is malloc'd, *ret_size its length. */
int mig_journal_format(const struct mig_journal *journal, char **ret, size_t *ret_size,
                       struct mig_error *error);

/* The journal's file while a run writes to it. */
struct mig_journal_file {
    int fd; /* -1: not open */
    uint32_t seed;
};

/* Writes the first part, synced, and opens the file for progress. */
int mig_journal_create(const char *path, const struct mig_journal *journal,
                       struct mig_journal_file *ret, struct mig_error *error);

/* Opens the file of a journal that was read, for more progress; a damaged end is cut off. */
int mig_journal_reopen(const char *path, const struct mig_journal *journal,
                       struct mig_journal_file *ret, struct mig_error *error);

/* Appends progress. */
int mig_journal_step_done(const struct mig_journal_file *file, uint32_t step,
                          struct mig_error *error);
int mig_journal_rolling_back(const struct mig_journal_file *file, struct mig_error *error);
int mig_journal_attempt(const struct mig_journal_file *file, struct mig_error *error);

void mig_journal_close(struct mig_journal_file *file);

/* The kernel's name for this boot; "unknown" when it does not tell. */
void mig_boot_id(char *buffer, size_t size);

#endif
