/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The messages between migd's processes: what goes in comes out, in every field; what is not right
 * is refused; goals mean the same on another snapshot.
 */
#include "helper/codec.h"
#include "helper/protocol.h"
#include "helper_random.h"
#include "plan_support.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDS 300

static void encode(const struct mig_message *message, struct mig_buffer *out)
{
    struct mig_error error = {0};

    mig_buffer_init(out, MIG_MESSAGE_BODY_MAX + MIG_MESSAGE_HEADER_SIZE);
    if (mig_message_encode(message, out, &error) != 0) {
        fail_msg("%s", error.message);
    }
}

static int decode_bytes(const uint8_t *bytes, size_t size, struct mig_message **ret)
{
    struct mig_message_header header;
    struct mig_error error = {0};
    int rc = mig_message_decode_header(bytes, &header, &error);

    if (rc == 0) {
        /* exactly as long as it says, so that reading past it is found */
        MIG_AUTO_FREE uint8_t *body = malloc(header.size > 0 ? header.size : 1);

        assert_non_null(body);
        assert_true(header.size <= size - MIG_MESSAGE_HEADER_SIZE);
        memcpy(body, bytes + MIG_MESSAGE_HEADER_SIZE, header.size);
        rc = mig_message_decode(&header, body, ret, &error);
    }
    if (rc == 0 && header.has_fd) {
        (*ret)->fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    assert_true((rc == 0) == (error.message[0] == '\0'));
    return rc;
}

static struct mig_message *decode(const struct mig_buffer *bytes)
{
    struct mig_message *message = NULL;

    assert_int_equal(decode_bytes((const uint8_t *)bytes->data, bytes->size, &message), 0);
    return message;
}

/* There and back; the bytes of the second way are those of the first. */
static struct mig_message *pass(const struct mig_message *message)
{
    MIG_AUTO_BUFFER struct mig_buffer first, second;
    struct mig_message *got;

    encode(message, &first);
    got = decode(&first);
    encode(got, &second);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    return got;
}

/* ---- nodes ---- */

static void assert_same_ci(const struct mig_ci_profile *a, const struct mig_ci_profile *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->enum_value, b->enum_value);
    assert_int_equal(a->driver_id, b->driver_id);
    assert_int_equal(a->slice_count, b->slice_count);
    assert_int_equal(a->max_instances, b->max_instances);
    assert_int_equal(a->sm_count, b->sm_count);
    assert_int_equal(a->is_default, b->is_default);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->start_count, b->start_count);
    assert_true(a->start_count == 0 || memcmp(a->starts, b->starts, a->start_count) == 0);
}

static void assert_same_profile(const struct mig_profile *a, const struct mig_profile *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->enum_value, b->enum_value);
    assert_int_equal(a->driver_id, b->driver_id);
    assert_int_equal(a->slice_count, b->slice_count);
    assert_int_equal(a->max_instances, b->max_instances);
    assert_int_equal(a->variant, b->variant);
    assert_int_equal(a->memory_mib, b->memory_mib);
    assert_int_equal(a->memory_is_estimate, b->memory_is_estimate);
    assert_int_equal(a->bar1_mib, b->bar1_mib);
    assert_int_equal(a->sm_count, b->sm_count);
    assert_memory_equal(&a->engines, &b->engines, sizeof(a->engines));
    assert_int_equal(a->p2p, b->p2p);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->start_count, b->start_count);
    assert_true(a->start_count == 0 || memcmp(a->starts, b->starts, a->start_count) == 0);
    assert_int_equal(a->confidence, b->confidence);
    assert_int_equal(a->ci_profile_count, b->ci_profile_count);
    for (unsigned i = 0; i < a->ci_profile_count; i++) {
        assert_same_ci(&a->ci_profiles[i], &b->ci_profiles[i]);
    }
}

static void assert_same_model(const struct mig_model *a, const struct mig_model *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->architecture, b->architecture);
    assert_int_equal(a->cc_major, b->cc_major);
    assert_int_equal(a->cc_minor, b->cc_minor);
    assert_int_equal(a->pci_id_count, b->pci_id_count);
    assert_memory_equal(a->pci_ids, b->pci_ids, a->pci_id_count * sizeof(*a->pci_ids));
    assert_int_equal(a->total_memory_mib, b->total_memory_mib);
    assert_int_equal(a->bar1_total_mib, b->bar1_total_mib);
    assert_int_equal(a->unit_count, b->unit_count);
    assert_int_equal(a->compute_slice_count, b->compute_slice_count);
    assert_int_equal(a->sm_total, b->sm_total);
    assert_int_equal(a->max_mig_devices, b->max_mig_devices);
    assert_int_equal(a->mode_needs_reset, b->mode_needs_reset);
    assert_int_equal(a->mode_persists_reboot, b->mode_persists_reboot);
    assert_true(!a->min_driver == !b->min_driver);
    assert_true(!a->min_driver || strcmp(a->min_driver, b->min_driver) == 0);
    assert_int_equal(a->confidence, b->confidence);
    assert_int_equal(a->profile_count, b->profile_count);
    for (unsigned i = 0; i < a->profile_count; i++) {
        assert_same_profile(&a->profiles[i], &b->profiles[i]);
    }
}

static void assert_same_gpu(const struct mig_gpu *a, const struct mig_gpu *b)
{
    MIG_AUTO_FREE struct mig_gpu *copies = calloc(2, sizeof(*copies));

    assert_non_null(copies);
    assert_true(!a->layout.model == !b->layout.model);
    if (a->layout.model) {
        assert_same_model(a->layout.model, b->layout.model);
    }
    if (a->process_known > 0) {
        assert_memory_equal(a->processes, b->processes, a->process_known * sizeof(*a->processes));
    }
    memcpy(&copies[0], a, sizeof(*a));
    memcpy(&copies[1], b, sizeof(*b));
    for (int i = 0; i < 2; i++) {
        copies[i].layout.model = NULL;
        copies[i].processes = NULL;
    }
    assert_memory_equal(&copies[0], &copies[1], sizeof(*copies));
}

static void assert_same_node(const struct mig_node *a, const struct mig_node *b)
{
    assert_int_equal(a->generation, b->generation);
    assert_string_equal(a->driver_version, b->driver_version);
    assert_string_equal(a->nvml_version, b->nvml_version);
    assert_int_equal(a->cuda_version, b->cuda_version);
    assert_int_equal(a->gpu_count, b->gpu_count);
    for (uint32_t i = 0; i < a->gpu_count; i++) {
        assert_same_gpu(&a->gpus[i], &b->gpus[i]);
    }
}

static void random_nodes(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_CHANGED, 0);
        MIG_AUTO_MESSAGE struct mig_message *got = NULL;

        assert_non_null(message);
        message->node = helper_random_node(seed);
        got = pass(message);
        assert_same_node(message->node, got->node);
    }
}

static void every_model(void **state)
{
    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_CHANGED, 0);
        MIG_AUTO_MESSAGE struct mig_message *got = NULL;

        assert_non_null(message);
        message->node = calloc(1, sizeof(*message->node));
        message->node->gpus = calloc(2, sizeof(*message->node->gpus));
        message->node->gpu_count = 2;
        message->node->gpus[0].layout.model = mig_catalog_get(i);
        message->node->gpus[1].layout.model = mig_catalog_get(i);
        got = pass(message);
        assert_same_model(got->node->gpus[0].layout.model, mig_catalog_get(i));
        /* equal GPUs share one */
        assert_ptr_equal(got->node->gpus[0].layout.model, got->node->gpus[1].layout.model);
    }
}

/* ---- the other messages ---- */

static void assert_same_sample(const struct mig_sample *a, const struct mig_sample *b)
{
    assert_int_equal(a == NULL, b == NULL);
    if (a && b) {
        assert_int_equal(a->gpu_count, b->gpu_count);
        assert_memory_equal(a->gpus, b->gpus, a->gpu_count * sizeof(*a->gpus));
    }
}

static void simple_messages(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= ROUNDS; seed++) {
        MIG_AUTO_MESSAGE struct mig_message *message = helper_random_message(seed);
        MIG_AUTO_MESSAGE struct mig_message *got = pass(message);

        assert_int_equal(message->type, got->type);
        assert_int_equal(message->request, got->request);
        if (message->type == MIG_MESSAGE_ANSWER) {
            assert_int_equal(message->answer.result, got->answer.result);
            assert_int_equal(message->answer.changed, got->answer.changed);
            assert_string_equal(message->answer.config_name, got->answer.config_name);
            assert_memory_equal(&message->answer.report, &got->answer.report,
                                sizeof(got->answer.report));
            assert_memory_equal(&message->answer.error, &got->answer.error,
                                sizeof(got->answer.error));
            assert_same_sample(message->answer.sample, got->answer.sample);
        } else if (message->type != MIG_MESSAGE_CHANGED) {
            int fd = got->fd;

            got->fd = message->fd;
            assert_memory_equal(message, got, sizeof(*message));
            got->fd = fd;
        }
    }
}

static void too_much_is_not_written(void **state)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_APPLY, 1);
    MIG_AUTO_BUFFER struct mig_buffer out;
    struct mig_error error = {0};

    (void)state;
    mig_buffer_init(&out, MIG_MESSAGE_BODY_MAX);
    message->apply.gpu_count = MIG_GPU_MAX + 1;
    assert_int_equal(mig_message_encode(message, &out, &error), MIG_E_FAILED);
    assert_non_null(strstr(error.message, "'apply'"));
    assert_int_equal(out.size, 0);
    message->apply.gpu_count = 1;
    message->apply.gpus[0].kind = MIG_GOAL_MODE;
    message->apply.gpus[0].gi_count = MIG_GI_MAX + 1;
    assert_int_equal(mig_message_encode(message, &out, NULL), MIG_E_FAILED);
    message->apply.gpus[0].gi_count = 0;
    memset(message->apply.gpus[0].uuid, 'x', sizeof(message->apply.gpus[0].uuid));
    assert_int_equal(mig_message_encode(message, &out, NULL), MIG_E_FAILED);
}

/* ---- what is not right ---- */

static void wrong_headers(void **state)
{
    MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_READ, 7);
    MIG_AUTO_BUFFER struct mig_buffer bytes;
    struct mig_message *got = NULL;

    (void)state;
    encode(message, &bytes);
    assert_int_equal(bytes.size, MIG_MESSAGE_HEADER_SIZE);
    for (size_t i = 0; i < 8; i++) {
        /* magic, version, descriptor, type: any other value but a type that has no body */
        char was = bytes.data[i];

        bytes.data[i] = (char)(was ^ 0x40);
        assert_true(decode_bytes((const uint8_t *)bytes.data, bytes.size, &got) < 0);
        bytes.data[i] = was;
    }
    bytes.data[15] = 0x7f; /* 2 GiB to come */
    assert_true(decode_bytes((const uint8_t *)bytes.data, bytes.size, &got) < 0);
}

static void cut_short(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 20; seed++) {
        MIG_AUTO_MESSAGE struct mig_message *message = mig_message_new(MIG_MESSAGE_CHANGED, 0);
        MIG_AUTO_BUFFER struct mig_buffer bytes;
        struct mig_message_header header = {.type = MIG_MESSAGE_CHANGED};
        struct mig_message *got = NULL;
        size_t size;

        message->node = helper_random_node(seed);
        encode(message, &bytes);
        size = bytes.size - MIG_MESSAGE_HEADER_SIZE;
        for (size_t cut = size > 3000 ? size - 3000 : 0; cut < size; cut++) {
            MIG_AUTO_FREE uint8_t *body = malloc(cut > 0 ? cut : 1);

            memcpy(body, bytes.data + MIG_MESSAGE_HEADER_SIZE, cut);
            header.size = (uint32_t)cut;
            assert_true(mig_message_decode(&header, body, &got, NULL) < 0);
        }
    }
}

static void changed_bytes(void **state)
{
    unsigned refused = 0;

    (void)state;
    for (unsigned seed = 1; seed <= 40; seed++) {
        MIG_AUTO_MESSAGE struct mig_message *message = helper_random_message(seed);
        MIG_AUTO_BUFFER struct mig_buffer bytes;
        unsigned noise = seed;

        encode(message, &bytes);
        for (unsigned i = 0; i < 300 && bytes.size > MIG_MESSAGE_HEADER_SIZE; i++) {
            size_t at = MIG_MESSAGE_HEADER_SIZE +
                        helper_random(&noise) % (bytes.size - MIG_MESSAGE_HEADER_SIZE);
            char was = bytes.data[at];
            struct mig_message *got = NULL;

            bytes.data[at] = (char)helper_random(&noise);
            if (decode_bytes((const uint8_t *)bytes.data, bytes.size, &got) == 0) {
                mig_message_free(pass(got));
                mig_message_free(got);
            } else {
                refused++;
            }
            bytes.data[at] = was;
        }
    }
    assert_true(refused > 100);
}

/* ---- goals ---- */

struct two_nodes {
    struct mig_gpu gpus[2][2];
    struct mig_node before, after;
};

static void set_gpu(struct mig_gpu *gpu, const char *uuid, const char *model, const char *layout)
{
    snprintf(gpu->uuid, sizeof(gpu->uuid), "%s", uuid);
    snprintf(gpu->name, sizeof(gpu->name), "%s", model);
    gpu->mig_capable = gpu->mig_mode = gpu->mig_mode_pending = true;
    gpu->layout = plan_layout(plan_model(model), layout);
    for (unsigned i = 0; i < gpu->layout.gi_count; i++) {
        gpu->layout.gis[i].id = 7 + i;
    }
}

/* The same two GPUs, in the other order afterwards. */
static void make_two(struct two_nodes *two)
{
    *two = (struct two_nodes){.before = {.gpu_count = 2}, .after = {.gpu_count = 2}};
    two->before.gpus = two->gpus[0];
    two->after.gpus = two->gpus[1];
    set_gpu(&two->gpus[0][0], "GPU-a", "A30", "1g.6gb@0 2g.12gb@2");
    set_gpu(&two->gpus[0][1], "GPU-b", "A100-SXM4-40GB", "3g.20gb@4*");
    set_gpu(&two->gpus[1][1], "GPU-a", "A30", "1g.6gb@0 2g.12gb@2");
    set_gpu(&two->gpus[1][0], "GPU-b", "A100-SXM4-40GB", "3g.20gb@4*");
}

static void goals_follow_uuids(void **state)
{
    MIG_AUTO_FREE struct mig_wire_apply *apply = calloc(1, sizeof(*apply));
    MIG_AUTO_FREE struct mig_goal *goal = calloc(2, sizeof(*goal));
    struct mig_policy policies[MIG_GPU_MAX] = {0};
    struct mig_error error = {0};
    struct two_nodes two;

    (void)state;
    make_two(&two);
    goal->gpu_count = 2;
    goal->gpus[0].kind = MIG_GOAL_LEAVE;
    goal->gpus[1] = (struct mig_gpu_goal){.kind = MIG_GOAL_LAYOUT, .mig_mode = true};
    goal->gpus[1].target = plan_target(plan_model("A100-SXM4-40GB"), "7g.40gb");
    policies[1].may_go = 1;
    assert_int_equal(mig_wire_apply_make(&two.before, goal, policies, apply, &error), 0);
    assert_int_equal(apply->gpu_count, 1);
    memset(policies, 0xff, sizeof(policies));
    assert_int_equal(mig_wire_apply_resolve(apply, &two.after, &goal[1], policies, &error), 0);
    assert_int_equal(goal[1].gpu_count, 2);
    assert_int_equal(goal[1].gpus[1].kind, MIG_GOAL_LEAVE);
    assert_memory_equal(&goal[1].gpus[0], &goal[0].gpus[1], sizeof(goal->gpus[0]));
    assert_int_equal(policies[0].may_go, 1);
    assert_int_equal(policies[0].protect, 0);
    assert_int_equal(policies[1].may_go, 0);
    /* made again: not the instance that may go */
    two.gpus[1][0].layout.gis[0].id = 99;
    assert_int_equal(mig_wire_apply_resolve(apply, &two.after, &goal[1], policies, &error), 0);
    assert_int_equal(policies[0].may_go, 0);
    /* another GPU in its place */
    snprintf(two.gpus[1][0].uuid, MIG_UUID_SIZE, "GPU-c");
    assert_int_equal(mig_wire_apply_resolve(apply, &two.after, &goal[1], policies, &error),
                     MIG_E_FAILED);
    assert_string_equal(error.message, "GPU GPU-b is gone");
}

static void goals_are_checked(void **state)
{
    MIG_AUTO_FREE struct mig_wire_apply *apply = calloc(1, sizeof(*apply));
    MIG_AUTO_FREE struct mig_goal *goal = calloc(1, sizeof(*goal));
    struct mig_policy policies[MIG_GPU_MAX];
    struct mig_error error = {0};
    struct two_nodes two;

    (void)state;
    make_two(&two);
    goal->gpu_count = 1;
    goal->gpus[0] = (struct mig_gpu_goal){.kind = MIG_GOAL_LAYOUT, .mig_mode = true};
    goal->gpus[0].target.gi_count = 1;
    goal->gpus[0].target.gis[0].profile = 23;
    assert_int_equal(mig_wire_apply_make(&two.before, goal, NULL, apply, &error), MIG_E_USAGE);
    goal->gpus[0].target = plan_target(plan_model("A30"), "4g.24gb");
    assert_int_equal(mig_wire_apply_make(&two.before, goal, NULL, apply, &error), 0);
    apply->gpus[0].gis[0].profile = 200;
    assert_int_equal(mig_wire_apply_resolve(apply, &two.after, goal, policies, &error),
                     MIG_E_NO_FIT);
    apply->gpus[0].gis[0].profile = 0;
    apply->gpus[0].gis[0].ci_profiles[0] = 200;
    assert_int_equal(mig_wire_apply_resolve(apply, &two.after, goal, policies, &error),
                     MIG_E_NO_FIT);
    two.gpus[1][1].layout = (struct mig_layout){0};
    snprintf(two.gpus[1][1].problem, MIG_PROBLEM_SIZE, "GPU is lost");
    assert_int_equal(mig_wire_apply_resolve(apply, &two.after, goal, policies, &error),
                     MIG_E_FAILED);
    assert_non_null(strstr(error.message, "GPU is lost"));
    goal->gpu_count = 3;
    assert_int_equal(mig_wire_apply_make(&two.before, goal, NULL, apply, &error), MIG_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_nodes),      cmocka_unit_test(every_model),
        cmocka_unit_test(simple_messages),   cmocka_unit_test(too_much_is_not_written),
        cmocka_unit_test(wrong_headers),     cmocka_unit_test(cut_short),
        cmocka_unit_test(changed_bytes),     cmocka_unit_test(goals_follow_uuids),
        cmocka_unit_test(goals_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
