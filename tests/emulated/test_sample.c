/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of what the driver measures, and of the details of the snapshot that labels and metrics
 * need, on emulated nodes.
 */
#include "base/cleanup.h"
#include "base/clock.h"
#include "node.h"
#include <mig/sample.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct mig_session *open_session(const struct node *emulated)
{
    char root[128];
    struct mig_session_options options = {.library = node_library(), .sys_root = root};
    struct mig_session *session = NULL;
    struct mig_error error = {0};

    snprintf(root, sizeof(root), "%s/host", emulated->path);
    if (mig_session_open(&options, &session, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return session;
}

static struct mig_sample *read_sample(struct mig_session *session)
{
    struct mig_sample *sample = NULL;
    struct mig_error error = {0};

    if (mig_sample_read(session, &sample, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return sample;
}

static void test_details_of_the_snapshot(void **state)
{
    struct node emulated;
    struct mig_session *session;
    struct mig_node *node = NULL;
    const struct mig_attributes *attributes;

    (void)state;
    node_make(&emulated, "A100-SXM4-40GB", true);
    node_add(&emulated, 0, "3g.20gb", 4, "1c.3g.20gb 2c.3g.20gb");
    session = open_session(&emulated);
    assert_int_equal(mig_inventory_read(session, &node, NULL), 0);
    assert_true(node->cuda_version >= 11000);
    assert_int_equal(node->gpus[0].cc_major, 8);
    assert_int_equal(node->gpus[0].cc_minor, 0);
    assert_int_equal(node->gpus[0].pci_class, 0x030200);
    assert_int_equal(node->gpus[0].numa_node, 0);
    assert_false(node->gpus[0].vgpu);
    assert_string_equal(node->gpus[0].clique, "");
    attributes = &node->gpus[0].gi_infos[0].devices[1].attributes;
    assert_int_equal(attributes->gi_slice_count, 3);
    assert_int_equal(attributes->ci_slice_count, 2);
    assert_int_equal(attributes->sm_count, 28);
    assert_int_equal(attributes->copy, 3);
    assert_int_equal(attributes->decoder, 2);
    assert_int_equal(attributes->memory_mib, 19968);
    mig_node_free(node);
    mig_session_close(session);
    node_remove(&emulated);
}

static void test_a_sample_of_gpus_and_instances(void **state)
{
    struct node emulated;
    struct mig_session *session;
    struct mig_sample *sample;
    const struct mig_gpu_sample *gpu;

    (void)state;
    node_make(&emulated, "A30*2", true);
    node_add(&emulated, 1, "2g.12gb", 2, "1c.2g.12gb 1c.2g.12gb");
    node_add(&emulated, 1, "1g.6gb", 0, "1g.6gb");
    node_use(&emulated, 1, 2, 4242);
    session = open_session(&emulated);
    sample = read_sample(session);
    assert_int_equal(sample->gpu_count, 2);
    assert_int_equal(sample->gpus[0].gi_count, 0);
    gpu = &sample->gpus[1];
    assert_int_equal(gpu->index, 1);
    assert_true(gpu->meters[MIG_METER_SM_CLOCK_MHZ] > 0);
    assert_true(gpu->meters[MIG_METER_POWER_MW] > 1000);
    assert_true(gpu->meters[MIG_METER_TEMPERATURE_C] > 0);
    assert_true(gpu->meters[MIG_METER_ENERGY_MJ] >= 0);
    assert_int_equal(gpu->meters[MIG_METER_REMAPPED_CORRECTABLE_COUNT], 0);
    assert_int_equal(gpu->meters[MIG_METER_ECC_UNCORRECTED_VOLATILE_COUNT], 0);
    assert_int_equal(gpu->meters[MIG_METER_RECOVERY_ACTION], 0);
    assert_int_equal(gpu->gi_count, 2);
    assert_true(gpu->gis[0].gi_id < gpu->gis[1].gi_id);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(gpu->gis[i].meters[MIG_METER_MEMORY_FREE_MIB] > 0);
        assert_true(gpu->gis[i].meters[MIG_METER_MEMORY_USED_MIB] >= 0);
        assert_int_equal(gpu->gis[i].meters[MIG_METER_POWER_MW], MIG_METER_ABSENT);
        /* Ampere does not tell the load of instances */
        assert_int_equal(gpu->gis[i].meters[MIG_METER_GRAPHICS_ACTIVE_PPM], MIG_METER_ABSENT);
    }
    mig_sample_free(sample);
    mig_session_close(session);
    node_remove(&emulated);
}

/* The load comes with the second sample, goes with its instance, and ends with NVML. */
static void test_load_needs_two_samples(void **state)
{
    struct node emulated;
    struct mig_session *session;
    struct mig_sample *sample;
    int64_t first;

    (void)state;
    node_make(&emulated, "H100-80GB-HBM3", true);
    node_add(&emulated, 0, "3g.40gb", 0, "3g.40gb");
    session = open_session(&emulated);
    sample = read_sample(session);
    assert_int_equal(sample->gpus[0].gis[0].meters[MIG_METER_GRAPHICS_ACTIVE_PPM],
                     MIG_METER_ABSENT);
    mig_sample_free(sample);
    mig_sleep_ms(150);
    sample = read_sample(session);
    first = sample->gpus[0].gis[0].meters[MIG_METER_GRAPHICS_ACTIVE_PPM];
    assert_true(first >= 0 && first <= 1000000);
    assert_true(sample->gpus[0].meters[MIG_METER_DRAM_ACTIVE_PPM] >= 0);
    mig_sample_free(sample);
    node_add(&emulated, 0, "1g.10gb", 4, "1g.10gb");
    sample = read_sample(session);
    assert_int_equal(sample->gpus[0].gi_count, 2);
    mig_sample_free(sample);
    mig_session_close(session);
    node_remove(&emulated);
}

static void test_one_lost_gpu(void **state)
{
    struct node emulated;
    struct mig_session *session;
    struct mig_sample *sample;

    (void)state;
    node_make(&emulated, "A30*2", true);
    session = open_session(&emulated);
    node_fault(&emulated, "DeviceGetUUID gpu=0 -> GPU_IS_LOST");
    sample = read_sample(session);
    assert_string_equal(sample->gpus[0].uuid, "");
    assert_int_equal(sample->gpus[0].meters[MIG_METER_POWER_MW], MIG_METER_ABSENT);
    assert_true(sample->gpus[1].meters[MIG_METER_POWER_MW] > 0);
    mig_sample_free(sample);
    mig_session_close(session);
    node_remove(&emulated);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_details_of_the_snapshot),
        cmocka_unit_test(test_a_sample_of_gpus_and_instances),
        cmocka_unit_test(test_load_needs_two_samples),
        cmocka_unit_test(test_one_lost_gpu),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
