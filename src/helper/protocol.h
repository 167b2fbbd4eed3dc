/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What agent, helper and supervisor say to each other.
 *
 * A message is a header of fixed size and a body whose form follows from the type. Encoding and
 * decoding are pure; decoding takes nothing on trust: sizes, counts, indices and texts are checked,
 * what is left over is an error, and no more is allocated than the limits allow. Encoding what was
 * decoded gives the same bytes.
 *
 *     agent -> helper       READ SAMPLE APPLY SAVE RESTORE HOST SOCKET CDI MPS, one at a time
 *     helper -> agent       PROGRESS ... ANSWER to each, with its request number;
 *                           HELLO CHANGED UNREADABLE XID RECOVERY RESET SAID MPS_STATE of its own,
 *                           request 0
 *     supervisor -> agent   READY first (with the name of the protocol); then
 *                           STARTED (with the socket of a new helper), ENDED, SAID
 *     agent -> supervisor   REPLACE
 */
#ifndef MIG_HELPER_PROTOCOL_H
#define MIG_HELPER_PROTOCOL_H

#include "base/buffer.h"
#include "helper/helper.h"

#define MIG_MESSAGE_HEADER_SIZE 16
#define MIG_MESSAGE_BODY_MAX (16u << 20) /* a node with the longest lists of processes: 8 MiB */
#define MIG_MESSAGE_TEXT_SIZE 1024
#define MIG_MESSAGE_PATH_SIZE 512

enum mig_message_type {
    MIG_MESSAGE_READ = 1,
    MIG_MESSAGE_APPLY,
    MIG_MESSAGE_SAVE,
    MIG_MESSAGE_RESTORE,
    MIG_MESSAGE_HOST,
    MIG_MESSAGE_SOCKET,
    MIG_MESSAGE_ANSWER, /* carries the socket that was asked for */
    MIG_MESSAGE_PROGRESS,
    MIG_MESSAGE_HELLO,
    MIG_MESSAGE_CHANGED,
    MIG_MESSAGE_UNREADABLE,
    MIG_MESSAGE_XID,
    MIG_MESSAGE_SAID,
    MIG_MESSAGE_STARTED, /* carries a socket */
    MIG_MESSAGE_ENDED,
    MIG_MESSAGE_REPLACE,
    MIG_MESSAGE_SAMPLE,
    MIG_MESSAGE_CDI, /* carries a file with the text, or nothing: the file has to go */
    MIG_MESSAGE_RECOVERY,
    MIG_MESSAGE_READY,
    MIG_MESSAGE_RESET,
    MIG_MESSAGE_MPS,
    MIG_MESSAGE_MPS_STATE,
    MIG_MESSAGE_TYPE_END
};

/*
 * A goal in words that mean the same on another snapshot: GPUs by UUID, profiles by NVML's enum
 * values, instances by profile, start and id.
 */
struct mig_wire_gi {
    uint8_t profile, start; /* start MIG_START_ANY: wherever it is best */
    uint8_t ci_count;
    uint8_t ci_profiles[MIG_CI_MAX];
};

struct mig_wire_instance {
    uint8_t profile, start;
    uint32_t id;
};

struct mig_wire_gpu {
    char uuid[MIG_UUID_SIZE];
    enum mig_goal_kind kind; /* never MIG_GOAL_LEAVE */
    bool mig_mode;
    uint8_t gi_count;
    struct mig_wire_gi gis[MIG_GI_MAX];
    uint8_t go_count, protect_count;
    struct mig_wire_instance go[MIG_GI_MAX], protect[MIG_GI_MAX];
};

struct mig_wire_apply {
    bool skip_reset;
    uint32_t lock_timeout_ms, busy_timeout_ms;
    uint32_t gpu_count; /* those with a goal */
    struct mig_wire_gpu gpus[MIG_GPU_MAX];
};

struct mig_wire_answer {
    int32_t result;
    struct mig_error error; /* when result is not MIG_OK */
    bool changed;
    char config_name[MIG_HELPER_NAME_MAX + 1];
    struct mig_apply_report report;
    struct mig_node *node;     /* NULL = none */
    struct mig_sample *sample; /* NULL = none */
};

struct mig_wire_progress {
    enum mig_apply_stage stage;
    uint32_t gpu, step, step_count;
    char text[MIG_MESSAGE_TEXT_SIZE];
};

struct mig_wire_host {
    uint32_t what; /* enum mig_helper_host or mig_helper_socket */
    uint32_t timeout_ms;
    char name[MIG_MESSAGE_PATH_SIZE];
};

/* The devices to be shared by MPS, all of them. */
struct mig_wire_mps {
    uint32_t count;
    struct mig_helper_mps devices[MIG_HELPER_MPS_MAX];
};

struct mig_message {
    enum mig_message_type type;
    uint32_t request; /* 0 for what nobody asked for */
    int fd;           /* owned; -1 = none */
    union {
        struct mig_wire_apply apply;
        struct mig_wire_answer answer;
        struct mig_wire_progress progress;
        struct mig_wire_host host; /* HOST, SOCKET */
        struct mig_node *node;     /* CHANGED */
        struct mig_error error;    /* UNREADABLE */
        struct mig_helper_xid xid;
        struct mig_helper_recovery recovery;
        struct mig_wire_mps mps;
        struct mig_helper_mps_state mps_state;
        /* SAID; SAVE: the config's name; CDI: the file's; READY: the protocol's; RESET: the GPU's
         * UUID
         */
        char text[MIG_MESSAGE_TEXT_SIZE];
        struct {
            uint32_t pid;
            bool isolated;
        } hello;
        struct {
            uint32_t pid;
            int32_t status; /* ENDED: as of waitpid */
        } process;          /* STARTED, ENDED, REPLACE */
    };
};

/* A message of this type, zeroed; NULL without memory. It is large: it lives on the heap. */
struct mig_message *mig_message_new(enum mig_message_type type, uint32_t request);

/* Frees it with the node, the sample and the descriptor that it holds. NULL is allowed. */
void mig_message_free(struct mig_message *message);

MIG_DEFINE_CLEANUP(message, struct mig_message, mig_message_free)
#define MIG_AUTO_MESSAGE MIG_CLEANUP(cleanup_message)

/* "answer", for messages. */
const char *mig_message_name(enum mig_message_type type);

/* What a header says. */
struct mig_message_header {
    enum mig_message_type type;
    uint32_t request;
    uint32_t size; /* of the body */
    bool has_fd;
};

/* Appends header and body. MIG_E_FAILED when something in it is over its limit. */
int mig_message_encode(const struct mig_message *message, struct mig_buffer *out,
                       struct mig_error *error);

int mig_message_decode_header(const uint8_t bytes[MIG_MESSAGE_HEADER_SIZE],
                              struct mig_message_header *ret, struct mig_error *error);

/* Decodes a body of header->size bytes. The descriptor is put in by who received it. */
int mig_message_decode(const struct mig_message_header *header, const uint8_t *body,
                       struct mig_message **ret, struct mig_error *error);

/* Fills apply->gpus from a goal (policies may be NULL). MIG_E_USAGE when they do not fit. */
int mig_wire_apply_make(const struct mig_node *node, const struct mig_goal *goal,
                        const struct mig_policy *policies, struct mig_wire_apply *ret,
                        struct mig_error *error);

/*
 * The way back, on another snapshot: `policies` has room for MIG_GPU_MAX. MIG_E_FAILED when a GPU
 * is gone or cannot be read, MIG_E_NO_FIT when it lacks a profile.
 */
int mig_wire_apply_resolve(const struct mig_wire_apply *apply, const struct mig_node *node,
                           struct mig_goal *ret, struct mig_policy *ret_policies,
                           struct mig_error *error);

#endif
