/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of the inventory on emulated nodes: everything that is there is seen, drivers of all ages
 * give the same picture, and one bad GPU hides no other.
 */
#include "base/buffer.h"
#include "node.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct mig_session *open_session(void)
{
    struct mig_session_options options = {.library = node_library()};
    struct mig_session *session = NULL;
    struct mig_error error = {0};

    if (mig_session_open(&options, &session, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return session;
}

static struct mig_node *read_node(struct mig_session *session)
{
    struct mig_node *node = NULL;
    struct mig_error error = {0};

    if (mig_inventory_read(session, &node, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return node;
}

static void make_mixed(struct node *node)
{
    node_make(node, "A30*2 A100-SXM4-40GB", true);
    node_add(node, 0, "2g.12gb", 2, "2g.12gb");
    node_add(node, 0, "1g.6gb", 0, "");
    node_add(node, 2, "3g.20gb", 4, "1c.3g.20gb 2c.3g.20gb");
    node_add(node, 2, "1g.5gb", 0, "1g.5gb");
    node_use(node, 0, 2, 4242);
    node_use(node, 2, 4, 4243);
    node_use(node, 2, 4, 4244);
}

static void test_everything_is_seen(void **state)
{
    struct node emulated;
    struct mig_session *session;
    struct mig_node *node;
    const struct mig_gpu *gpu;
    const struct mig_gi *gi;

    (void)state;
    make_mixed(&emulated);
    session = open_session();
    node = read_node(session);
    assert_int_equal(node->gpu_count, 3);
    assert_ptr_equal(node->gpus[0].layout.model, node->gpus[1].layout.model);
    gpu = &node->gpus[0];
    assert_true(gpu->mig_capable && gpu->mig_mode && gpu->mig_mode_pending);
    assert_true(gpu->model_from_driver);
    assert_string_equal(gpu->problem, "");
    assert_int_equal(gpu->minor, 0);
    assert_int_equal(gpu->layout.gi_count, 2);
    assert_int_equal(gpu->layout.gis[0].start, 0);
    assert_int_equal(gpu->layout.gis[0].ci_count, 0);
    assert_false(gpu->layout.gis[0].in_use);
    gi = &gpu->layout.gis[1];
    assert_int_equal(gi->start, 2);
    assert_true(gi->in_use && gi->cis[0].in_use);
    assert_string_equal(gi->holder, "holder (pid 4242)");
    assert_int_equal(gpu->gi_infos[1].memory_total_mib, 11968);
    assert_int_equal(gpu->gi_infos[1].devices[0].index, 0);
    assert_memory_equal(gpu->gi_infos[1].devices[0].uuid, "MIG-", 4);
    assert_int_equal(gpu->gi_infos[0].memory_total_mib, MIG_UNKNOWN);
    assert_int_equal(gpu->process_count, 1);
    assert_int_equal(gpu->processes[0].memory_mib, 64);
    assert_int_equal(node->gpus[1].layout.gi_count, 0);
    gpu = &node->gpus[2];
    gi = &gpu->layout.gis[1];
    assert_int_equal(gi->ci_count, 2);
    assert_string_equal(gi->holder, "holder (pid 4243) and others");
    assert_true(gi->cis[0].in_use);
    assert_false(gi->cis[1].in_use);
    assert_string_not_equal(gpu->gi_infos[1].devices[0].uuid, gpu->gi_infos[1].devices[1].uuid);
    mig_node_free(node);
    mig_session_close(session);
    node_remove(&emulated);
}

/* What the emulator needs to know of a GPU. */
static bool can_be_emulated(const struct mig_model *model)
{
    bool memory_known = model->total_memory_mib != MIG_UNKNOWN;

    for (unsigned i = 0; i < model->profile_count; i++) {
        if (model->profiles[i].driver_id == MIG_UNKNOWN ||
            model->profiles[i].memory_mib == MIG_UNKNOWN) {
            return false;
        }
        memory_known = true;
    }
    return memory_known && mig_model_is_placeable(model);
}

static void assert_same_profile(const struct mig_profile *profile, const struct mig_profile *known)
{
    assert_string_equal(profile->name, known->name);
    assert_int_equal(profile->driver_id, known->driver_id);
    assert_int_equal(profile->variant, known->variant);
    assert_int_equal(profile->max_instances, known->max_instances);
    assert_int_equal(profile->size, known->size);
    assert_int_equal(profile->start_count, known->start_count);
    assert_memory_equal(profile->starts, known->starts, known->start_count);
    assert_int_equal(profile->ci_profile_count, known->ci_profile_count);
    for (unsigned i = 0; i < known->ci_profile_count; i++) {
        assert_string_equal(profile->ci_profiles[i].name, known->ci_profiles[i].name);
        assert_int_equal(profile->ci_profiles[i].is_default, known->ci_profiles[i].is_default);
    }
}

/* The tables that the driver gives are those of the catalogue, from which it was made. */
static void test_models_of_the_driver(void **state)
{
    unsigned count = 0;

    (void)state;
    for (size_t i = 0; i < mig_catalog_count(); i++) {
        const struct mig_model *known = mig_catalog_get(i);
        struct node emulated;
        struct mig_session *session;
        struct mig_node *node;
        const struct mig_model *model;

        if (!can_be_emulated(known)) {
            continue;
        }
        node_make_one(&emulated, known->name);
        session = open_session();
        node = read_node(session);
        model = node->gpus[0].layout.model;
        assert_int_equal(model->profile_count, known->profile_count);
        assert_int_equal(model->unit_count, known->unit_count);
        for (unsigned j = 0; j < model->profile_count; j++) {
            int index = mig_model_find_enum(known, model->profiles[j].enum_value);

            assert_true(index >= 0);
            assert_same_profile(&model->profiles[j], &known->profiles[index]);
        }
        mig_node_free(node);
        mig_session_close(session);
        node_remove(&emulated);
        count++;
    }
    assert_in_range(count, 20, mig_catalog_count());
}

/* A node in words: what a plan depends on. */
static char *dump(const struct mig_node *node, bool ci_places)
{
    struct mig_buffer buffer;

    mig_buffer_init(&buffer, 65536);
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_layout *layout = &node->gpus[i].layout;

        mig_buffer_printf(&buffer, "%s %s\n", node->gpus[i].name, node->gpus[i].problem);
        for (unsigned j = 0; layout->model && j < layout->model->profile_count; j++) {
            const struct mig_profile *profile = &layout->model->profiles[j];

            mig_buffer_printf(&buffer, "  %s %d %u:%u x%u\n", profile->name, profile->driver_id,
                              profile->start_count, profile->size, profile->max_instances);
        }
        for (unsigned j = 0; j < layout->gi_count; j++) {
            const struct mig_gi *gi = &layout->gis[j];

            mig_buffer_printf(&buffer, "  gi %u at %u %s\n", gi->id, gi->start, gi->holder);
            for (unsigned k = 0; k < gi->ci_count; k++) {
                mig_buffer_printf(
                    &buffer, "    ci %s at %d use %d\n",
                    layout->model->profiles[gi->profile].ci_profiles[gi->cis[k].profile].name,
                    ci_places ? gi->cis[k].start : 0, gi->cis[k].in_use);
            }
        }
    }
    assert_int_equal(buffer.error, 0);
    return mig_buffer_take(&buffer);
}

struct old_driver {
    const char *rules[2];
    bool no_ci_places, no_placements;
};

static const struct old_driver old_drivers[] = {
    {.rules = {"DeviceGetGpuInstanceProfileInfoV -> ARGUMENT_VERSION_MISMATCH"}},
    {.rules = {"DeviceGetGpuInstanceProfileInfoV nth=2 -> ARGUMENT_VERSION_MISMATCH"}},
    {.rules = {"DeviceGetGpuInstanceProfileInfoV -> FUNCTION_NOT_FOUND"}},
    {.rules = {"*RunningProcesses_v3 -> FUNCTION_NOT_FOUND"}},
    {.rules = {"*RunningProcesses_v3 -> FUNCTION_NOT_FOUND",
               "*RunningProcesses_v2 -> FUNCTION_NOT_FOUND"}},
    {.rules = {"DeviceGetGpuInstancePossiblePlacements_v2 -> FUNCTION_NOT_FOUND"}},
    {.rules = {"DeviceGetGpuInstancePossiblePlacements* -> FUNCTION_NOT_FOUND"},
     .no_placements = true},
    {.rules = {"ComputeInstanceGetInfo_v2 -> FUNCTION_NOT_FOUND"}, .no_ci_places = true},
    {.rules = {"GpuInstanceGetComputeInstanceProfileInfo* -> FUNCTION_NOT_FOUND"}},
    {.rules = {"GpuInstanceGetComputeInstancePossiblePlacements -> NOT_SUPPORTED"}},
    {.rules = {"SystemGetProcessName -> NOT_SUPPORTED", "DeviceGetMinorNumber -> NOT_SUPPORTED"}},
};

static void test_old_drivers_give_the_same_picture(void **state)
{
    struct node emulated;

    (void)state;
    make_mixed(&emulated);
    for (size_t i = 0; i < sizeof(old_drivers) / sizeof(old_drivers[0]); i++) {
        const struct old_driver *old = &old_drivers[i];
        bool no_names = strstr(old->rules[0], "ProcessName") != NULL;
        struct mig_session *session;
        struct mig_node *new_node, *old_node;
        char *new_text, *old_text;

        node_clear_faults(&emulated);
        session = open_session();
        new_node = read_node(session);
        new_text = dump(new_node, !old->no_ci_places);
        mig_node_free(new_node);
        mig_session_close(session);
        for (unsigned j = 0; j < 2 && old->rules[j]; j++) {
            node_fault(&emulated, old->rules[j]);
        }
        session = open_session();
        old_node = read_node(session);
        assert_int_equal(old_node->gpus[0].model_from_driver, !old->no_placements);
        old_text = dump(old_node, !old->no_ci_places);
        if (no_names) {
            /* the processes of the test do not exist: not even /proc knows a name */
            assert_string_equal(old_node->gpus[0].layout.gis[1].holder, "pid 4242");
        } else {
            assert_string_equal(new_text, old_text);
        }
        free(new_text);
        free(old_text);
        mig_node_free(old_node);
        mig_session_close(session);
    }
    node_remove(&emulated);
}

/* A GPU newer than the catalogue: all is read from the driver, and more once instances exist. */
static void test_unknown_gpus_work(void **state)
{
    struct outcome outcome;
    struct node emulated;
    struct mig_session *session;
    struct mig_node *node;
    const struct mig_model *model;
    char text[NODE_TEXT_SIZE];

    (void)state;
    node_make(&emulated, "A100-SXM4-40GB*2", false);
    node_disguise(&emulated);
    session = open_session();
    node = read_node(session);
    model = node->gpus[0].layout.model;
    assert_string_equal(model->name, "Newest GPU");
    assert_int_equal(model->unit_count, 8);
    assert_int_equal(model->architecture, MIG_ARCH_AMPERE);
    assert_true(mig_model_is_placeable(model));
    assert_int_equal(model->profiles[mig_model_find_profile(model, "3g.20gb")].ci_profile_count, 1);
    mig_node_free(node);
    mig_session_close(session);
    node_apply(&emulated, "0 3g.20gb=2;1 1g.5gb=7", NULL, &outcome);
    assert_int_equal(outcome.result, 0);
    session = open_session();
    node = read_node(session);
    model = node->gpus[0].layout.model;
    assert_int_equal(model->profiles[mig_model_find_profile(model, "3g.20gb")].ci_profile_count, 3);
    assert_int_equal(node->gpus[0].layout.gi_count, 2);
    assert_int_equal(node->gpus[1].layout.gi_count, 7);
    assert_int_equal(node->gpus[1].layout.gis[6].ci_count, 1);
    mig_node_free(node);
    mig_session_close(session);
    node_apply(&emulated, "0 1c.3g.20gb=3 3g.20gb=1", NULL, &outcome);
    assert_int_equal(outcome.result, 0);
    assert_non_null(
        strstr(node_text(&emulated, false, text), "[0:1c.3g.20gb][1:1c.3g.20gb][2:1c.3g.20gb]"));
    node_remove(&emulated);
}

static void lose(const struct emu_node_info *info, struct emu_state *state, void *data)
{
    (void)info;
    (void)data;
    state->gpus[0].lost = 1;
}

static void test_a_lost_gpu_hides_no_other(void **state)
{
    struct node emulated;
    struct mig_session *session;
    struct mig_node *node;

    (void)state;
    make_mixed(&emulated);
    session = open_session();
    node_change(&emulated, lose, NULL);
    node = read_node(session);
    assert_int_equal(node->gpu_count, 3);
    assert_non_null(strstr(node->gpus[0].problem, "GPU is lost"));
    assert_null(node->gpus[0].layout.model);
    assert_string_equal(node->gpus[2].problem, "");
    assert_int_equal(node->gpus[2].layout.gi_count, 2);
    assert_int_equal(node->generation, 1);
    mig_node_free(node);
    mig_session_close(session);
    node_remove(&emulated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_seen),
        cmocka_unit_test(test_models_of_the_driver),
        cmocka_unit_test(test_old_drivers_give_the_same_picture),
        cmocka_unit_test(test_unknown_gpus_work),
        cmocka_unit_test(test_a_lost_gpu_hides_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
