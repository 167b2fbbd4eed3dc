/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between migd's processes. Any bytes are refused, or mean exactly one message: writing
 * what was read gives the same bytes. A node that was read can be planned with. The first byte
 * is the type, so that bodies are reached without finding a header first; whole messages are tried
 * as well.
 */
#include "fuzz.h"
#include "helper/protocol.h"
#include <fcntl.h>

static void plan(const struct mig_node *node)
{
    struct mig_goal *goal = calloc(1, sizeof(*goal));
    struct mig_node_plan plan = {0};

    FUZZ_CHECK(goal);
    goal->gpu_count = node->gpu_count;
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        goal->gpus[i].kind = MIG_GOAL_LAYOUT;
        goal->gpus[i].mig_mode = node->gpus[i].mig_mode;
        if (node->gpus[i].layout.model) {
            mig_target_from_layout(&node->gpus[i].layout, &goal->gpus[i].target);
        }
    }
    (void)mig_node_plan_make(node, goal, NULL, &plan, NULL);
    mig_node_plan_release(&plan);
    free(goal);
}

static void check_body(enum mig_message_type type, const uint8_t *data, size_t size)
{
    struct mig_message_header header = {.type = type, .request = 3, .size = (uint32_t)size};
    struct mig_message *message = NULL;
    struct mig_error error = {0};
    struct mig_buffer out;

    if (mig_message_decode(&header, data, &message, &error) < 0) {
        FUZZ_CHECK(*error.message && !message);
        return;
    }
    if (type == MIG_MESSAGE_STARTED) {
        message->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    mig_buffer_init(&out, MIG_MESSAGE_BODY_MAX + MIG_MESSAGE_HEADER_SIZE);
    FUZZ_CHECK(mig_message_encode(message, &out, &error) == 0);
    FUZZ_CHECK(out.size == size + MIG_MESSAGE_HEADER_SIZE);
    FUZZ_CHECK(memcmp(out.data + MIG_MESSAGE_HEADER_SIZE, data, size) == 0);
    if (type == MIG_MESSAGE_CHANGED) {
        plan(message->node);
    }
    mig_buffer_release(&out);
    mig_message_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mig_message_header header;

    if (size > 0) {
        /* a copy of exactly its size, so that reading past it is found */
        uint8_t *body = malloc(size);

        FUZZ_CHECK(body);
        memcpy(body, data + 1, size - 1);
        check_body(1 + data[0] % (MIG_MESSAGE_TYPE_END - 1), body, size - 1);
        free(body);
    }
    if (size >= MIG_MESSAGE_HEADER_SIZE && mig_message_decode_header(data, &header, NULL) == 0 &&
        header.size == size - MIG_MESSAGE_HEADER_SIZE) {
        check_body(header.type, data + MIG_MESSAGE_HEADER_SIZE, header.size);
    }
    return 0;
}
