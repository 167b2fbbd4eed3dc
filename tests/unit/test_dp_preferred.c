/* SPDX-License-Identifier: Apache-2.0 */
/* Which free devices a pod gets: packed by GPU, with what must be included, never an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "deviceplugin/preferred.h"
#include "dp_support.h"
#include <stdio.h>
#include <string.h>

#define A100 "A100-SXM4-40GB"
#define SEVEN "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6"
#define WORDS_MAX 64

/* Splits at blanks, in place. */
static size_t split(char *text, const char **words)
{
    size_t count = 0;

    for (char *at = text; *at && count < WORDS_MAX;) {
        words[count++] = at;
        at += strcspn(at, " ");
        if (*at) {
            *at++ = '\0';
        }
    }
    return count;
}

static const char *prefer(const struct mig_dp_table *table, const char *resource, bool packed,
                          const char *available, const char *required, size_t size)
{
    static char result[1024];
    char available_text[2048], required_text[512];
    const char *available_words[WORDS_MAX], *required_words[WORDS_MAX], *chosen[WORDS_MAX];
    struct mig_dp_preference preference = {.table = table,
                                           .resource = mig_dp_table_find(table, resource),
                                           .packed = packed,
                                           .available = available_words,
                                           .must_include = required_words,
                                           .size = size};
    size_t count, used = 0;

    snprintf(available_text, sizeof(available_text), "%s", available);
    snprintf(required_text, sizeof(required_text), "%s", required);
    preference.available_count = split(available_text, available_words);
    preference.must_include_count = split(required_text, required_words);
    count = mig_dp_prefer(&preference, chosen);
    result[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        used +=
            (size_t)snprintf(result + used, sizeof(result) - used, "%s%s", i ? " " : "", chosen[i]);
    }
    return result;
}

struct world {
    struct config_node node;
    struct mig_dp_config *config;
    struct mig_dp_table *table;
};

static void make(struct world *world, const char *config)
{
    world->config = dp_config(config);
    world->table = dp_table(&world->node, world->config);
}

static void unmake(struct world *world)
{
    mig_dp_table_free(world->table);
    mig_dp_config_free(world->config);
}

/* Of two GPUs the one with less room is filled, so that the other can be cut anew. */
static void K12_the_fullest_gpu_first(void **state)
{
    struct world world = {0};

    (void)state;
    dp_add_gpu(&world.node, A100, SEVEN);
    dp_add_gpu(&world.node, A100, SEVEN);
    make(&world, "flags: {migStrategy: mixed}");
    assert_string_equal(prefer(world.table, "nvidia.com/mig-1g.5gb", false,
                               "MIG-0-1-0 MIG-0-2-0 MIG-0-3-0 MIG-1-5-0 MIG-1-6-0", "", 1),
                        "MIG-1-5-0");
    /* three do not fit there */
    assert_string_equal(prefer(world.table, "nvidia.com/mig-1g.5gb", false,
                               "MIG-0-1-0 MIG-0-2-0 MIG-0-3-0 MIG-1-5-0 MIG-1-6-0", "", 3),
                        "MIG-0-1-0 MIG-0-2-0 MIG-0-3-0");
    unmake(&world);
}

static void K12_beside_what_is_taken(void **state)
{
    struct world world = {0};

    (void)state;
    dp_add_gpu(&world.node, A100, SEVEN);
    make(&world, "flags: {migStrategy: mixed}");
    /* 3 has two free neighbours, 7 has none */
    assert_string_equal(prefer(world.table, "nvidia.com/mig-1g.5gb", false,
                               "MIG-0-2-0 MIG-0-3-0 MIG-0-4-0 MIG-0-7-0", "", 1),
                        "MIG-0-7-0");
    unmake(&world);
}

/* What is included already decides where the others come from. */
static void K12_K11_company(void **state)
{
    struct world world = {0};

    (void)state;
    dp_add_gpu(&world.node, A100, SEVEN);
    dp_add_gpu(&world.node, A100, SEVEN);
    make(&world, "flags: {migStrategy: mixed}");
    assert_string_equal(prefer(world.table, "nvidia.com/mig-1g.5gb", false,
                               "MIG-0-1-0 MIG-0-2-0 MIG-0-3-0 MIG-1-5-0", "MIG-0-3-0", 2),
                        "MIG-0-3-0 MIG-0-1-0");
    unmake(&world);
}

static void K12_numa_node(void **state)
{
    struct world world = {0};

    (void)state;
    for (int32_t i = 0; i < 4; i++) {
        dp_add_gpu(&world.node, A100, NULL);
        world.node.gpus[i].numa_node = i % 2;
    }
    make(&world, "flags: {migStrategy: mixed}");
    assert_string_equal(
        prefer(world.table, "nvidia.com/gpu", false, "GPU-0 GPU-1 GPU-2 GPU-3", "GPU-1", 2),
        "GPU-1 GPU-3");
    assert_string_equal(
        prefer(world.table, "nvidia.com/gpu", false, "GPU-1 GPU-0 GPU-2 GPU-3", "", 2),
        "GPU-0 GPU-2");
    unmake(&world);
}

static void K12_replicas_distributed_and_packed(void **state)
{
    struct world world = {0};
    static const char available[] =
        "GPU-0::1 GPU-0::2 GPU-0::3 GPU-1::0 GPU-1::1 GPU-1::2 GPU-1::3";

    (void)state;
    dp_add_gpu(&world.node, A100, NULL);
    dp_add_gpu(&world.node, A100, NULL);
    make(&world, "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 4}]}}");
    assert_string_equal(prefer(world.table, "nvidia.com/gpu", false, available, "", 1), "GPU-1::0");
    assert_string_equal(prefer(world.table, "nvidia.com/gpu", true, available, "", 1), "GPU-0::1");
    assert_string_equal(prefer(world.table, "nvidia.com/gpu", false, available, "", 3),
                        "GPU-1::0 GPU-0::1 GPU-1::1");
    assert_string_equal(prefer(world.table, "nvidia.com/gpu", true, available, "", 4),
                        "GPU-0::1 GPU-0::2 GPU-0::3 GPU-1::0");
    unmake(&world);
}

static void K11_included_and_size(void **state)
{
    struct world world = {0};

    (void)state;
    dp_add_gpu(&world.node, A100, SEVEN);
    make(&world, "flags: {migStrategy: mixed}");
    assert_string_equal(prefer(world.table, "nvidia.com/mig-1g.5gb", false, "MIG-0-1-0 MIG-0-2-0",
                               "MIG-0-2-0 MIG-0-1-0", 2),
                        "MIG-0-2-0 MIG-0-1-0");
    assert_string_equal(prefer(world.table, "nvidia.com/mig-1g.5gb", false, "MIG-0-1-0 MIG-0-2-0",
                               "MIG-0-2-0 MIG-0-1-0", 1),
                        "MIG-0-2-0");
    assert_string_equal(
        prefer(world.table, "nvidia.com/mig-1g.5gb", false, "MIG-0-1-0 MIG-0-2-0", "", 0), "");
    unmake(&world);
}

/* A lost GPU, unknown ids, too few devices: an answer all the same. */
static void K10_never_an_error(void **state)
{
    struct world world = {0};

    (void)state;
    dp_add_gpu(&world.node, A100, NULL);
    dp_add_gpu(&world.node, A100, NULL);
    snprintf(world.node.gpus[0].problem, sizeof(world.node.gpus[0].problem), "GPU is lost");
    make(&world, "flags: {migStrategy: none}");
    assert_string_equal(prefer(world.table, "nvidia.com/gpu", false, "GPU-0 GPU-1", "", 1),
                        "GPU-1");
    assert_string_equal(prefer(world.table, "nvidia.com/gpu", false, "GPU-9 GPU-1", "GPU-7", 3),
                        "GPU-7 GPU-1 GPU-9");
    assert_string_equal(prefer(world.table, "nvidia.com/gpu", false, "GPU-1", "", 5), "GPU-1");
    assert_string_equal(prefer(world.table, "nvidia.com/none", false, "a b", "b", 2), "b a");
    unmake(&world);
}

#define MANY_SLICES 14u
#define MANY_REPLICAS 1000u
#define MANY_WANTED 13000u

/* As many as a node may announce, of which a pod wants nearly all: each slice gives as many. */
static void K11_thousands_of_replicas(void **state)
{
    static char ids[MANY_SLICES * MANY_REPLICAS][MIG_DP_ID_SIZE];
    static const char *available[MANY_SLICES * MANY_REPLICAS], *chosen[MANY_WANTED];
    struct config_node node = {0};
    struct mig_dp_config *config = dp_config("{flags: {migStrategy: mixed}, sharing: {timeSlicing: "
                                             "{resources: [{name: mig-1g.5gb, replicas: 1000}]}}}");
    struct mig_dp_preference preference = {.available = available,
                                           .available_count = MANY_SLICES * MANY_REPLICAS,
                                           .size = MANY_WANTED};
    unsigned taken[MANY_SLICES] = {0};
    struct mig_dp_table *table;

    (void)state;
    dp_add_gpu(&node, A100, SEVEN);
    dp_add_gpu(&node, A100, SEVEN);
    table = dp_table(&node, config);
    assert_int_equal(table->slice_count, MANY_SLICES);
    for (unsigned i = 0; i < MANY_SLICES * MANY_REPLICAS; i++) {
        available[i] = mig_dp_slice_id(&table->slices[i % MANY_SLICES], i / MANY_SLICES, ids[i]);
    }
    preference.table = table;
    preference.resource = &table->resources[0];
    assert_int_equal(mig_dp_prefer(&preference, chosen), MANY_WANTED);
    for (unsigned i = 0; i < MANY_WANTED; i++) {
        taken[mig_dp_table_device(table, preference.resource, chosen[i]) - table->slices]++;
    }
    for (unsigned i = 0; i < MANY_SLICES; i++) {
        assert_in_range(taken[i], MANY_WANTED / MANY_SLICES, MANY_WANTED / MANY_SLICES + 1);
    }
    mig_dp_table_free(table);
    mig_dp_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(K12_the_fullest_gpu_first),
        cmocka_unit_test(K12_beside_what_is_taken),
        cmocka_unit_test(K12_K11_company),
        cmocka_unit_test(K12_numa_node),
        cmocka_unit_test(K12_replicas_distributed_and_packed),
        cmocka_unit_test(K11_included_and_size),
        cmocka_unit_test(K10_never_an_error),
        cmocka_unit_test(K11_thousands_of_replicas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
