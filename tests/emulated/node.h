/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Emulated nodes for tests of the gpu layer: made once, changed and looked at directly, and worked
 * on by libmig in a child process, which faults may kill.
 */
#ifndef MIG_TESTS_EMULATED_NODE_H
#define MIG_TESTS_EMULATED_NODE_H

#include "emulator/machine/machine.h"
#include <mig/apply.h>

#define NODE_TEXT_SIZE 4096

struct node {
    char path[64];
    char state_dir[80]; /* of the apply, in the node */
    struct emu_machine *machine;
    struct emu_state *saved;
    unsigned deadline_ms; /* of sessions in node_apply; 0 = the default */
};

/* Each fails the program when it cannot do its work: a test that cannot be set up is no test. */

/* `gpus` as migemu takes them, parted by blanks: "A30*2". MIG mode is on with `mig`. */
void node_make(struct node *node, const char *gpus, bool mig);
void node_make_one(struct node *node, const char *gpu); /* a name with blanks; MIG off */
void node_remove(struct node *node);

/* Makes the node anew with GPUs that no catalogue knows. */
void node_disguise(struct node *node);

/* Remembers the state of the machine, and puts it back (faults and users included). */
void node_save(struct node *node);
void node_restore(struct node *node);

/* Adds an instance: "3g.20gb", and its compute instances "3g.20gb" or "1c.3g.20gb 2c.3g.20gb". */
void node_add(struct node *node, unsigned gpu, const char *profile, unsigned start,
              const char *cis);

/* A process "holder" (a number that need not exist) on the instance at `start`. */
void node_use(struct node *node, unsigned gpu, unsigned start, unsigned pid);

/* Adds a fault rule and returns its slot; how often it acted; takes all rules away. */
unsigned node_fault(struct node *node, const char *rule);
uint64_t node_fault_hits(const struct node *node, unsigned slot);
void node_clear_faults(struct node *node);

/* Calls `change` on the state in a transaction. */
void node_change(struct node *node,
                 void (*change)(const struct emu_node_info *info, struct emu_state *state,
                                void *data),
                 void *data);

/*
 * Modes and geometry in one line per GPU: "0 on 4:3g.20gb[0:1c.3g.20gb] ...", by start. With
 * `identity`, also the ids of the instances and when they were made, so that a kept one can be told
 * from one that was made again.
 */
const char *node_text(struct node *node, bool identity, char *buffer);

/* True when NODE/migd has no journal. */
bool node_is_clean(const struct node *node);

/* What a child reports. */
struct outcome {
    bool killed;
    int open_result, result; /* of mig_apply_open; of everything */
    struct mig_apply_report open_report, report;
    struct mig_error error;
    uint32_t change_count; /* GPUs that the plan changes */
};

/*
 * In a child: opens a session and an apply, reads the node, plans `wish` and carries it out. A wish
 * is "GPU PROFILE=COUNT ...", GPUs parted by ";", "off" for MIG off, NULL = open only (recovery).
 * `options` may be NULL.
 */
void node_apply(struct node *node, const char *wish, const struct mig_apply_options *options,
                struct outcome *ret);

/* The same with something to do in the child between planning and carrying out. */
void node_apply_with(struct node *node, const char *wish, const struct mig_apply_options *options,
                     void (*meanwhile)(struct node *node), struct outcome *ret);

/* Path of the emulated library. */
const char *node_library(void);

#endif
