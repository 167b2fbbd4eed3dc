/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the metrics: names, labels and numbers, who holds what, and that nothing stale is told.
 */
#include "base/cleanup.h"
#include "config_support.h"
#include "exporter/exporter.h"
#include "exporter/meters.h"
#include "exporter/own.h"
#include "exporter/process.h"
#include "exporter/text.h"
#include "plan_support.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PODS_MAX 8

struct fixture {
    struct config_node node;
    struct mig_sample sample;
    struct mig_gpu_sample gpus[CONFIG_TEST_GPUS];
    struct mig_pod_devices pods;
    struct mig_pod_device items[PODS_MAX];
    struct mig_metrics_view view;
};

static void absent(int64_t *meters)
{
    for (unsigned i = 0; i < MIG_METER_COUNT; i++) {
        meters[i] = MIG_METER_ABSENT;
    }
}

/* A GPU with what the driver would say of it and its instances: ids 1, 2, ... by start. */
static void add_gpu(struct fixture *fixture, const char *model, const char *layout)
{
    struct mig_gpu *gpu;
    struct mig_gpu_sample *sample = &fixture->gpus[fixture->node.node.gpu_count];

    config_add_gpu(&fixture->node, model, layout);
    gpu = &fixture->node.gpus[fixture->node.node.gpu_count - 1];
    gpu->minor = (int32_t)gpu->index;
    snprintf(gpu->bus_id, sizeof(gpu->bus_id), "00000000:0%u:00.0", gpu->index + 7);
    gpu->memory_used_mib = gpu->memory_total_mib = MIG_UNKNOWN;
    fixture->sample.gpus = fixture->gpus;
    fixture->sample.gpu_count = fixture->node.node.gpu_count;
    sample->index = gpu->index;
    memcpy(sample->uuid, gpu->uuid, sizeof(sample->uuid));
    absent(sample->meters);
    sample->meters[MIG_METER_POWER_MW] = 63500 + gpu->index;
    sample->meters[MIG_METER_TEMPERATURE_C] = 40;
    sample->meters[MIG_METER_GPU_LOAD_PERCENT] = 7;
    sample->meters[MIG_METER_MEMORY_USED_MIB] = 100;
    for (uint8_t i = 0; i < gpu->layout.gi_count; i++) {
        struct mig_gi_sample *gi = &sample->gis[sample->gi_count];
        struct mig_gi_info *info = &gpu->gi_infos[i];

        gpu->layout.gis[i].id = i + 1u;
        info->memory_used_mib = 20 + i;
        info->memory_total_mib = 5000;
        for (uint8_t j = 0; j < gpu->layout.gis[i].ci_count; j++) {
            gpu->layout.gis[i].cis[j].id = j;
            snprintf(info->devices[j].uuid, MIG_UUID_SIZE, "MIG-%u-%u-%u", gpu->index, i, j);
            info->devices[j].attributes.gi_slice_count = 1;
            info->devices[j].attributes.memory_mib = 4864;
        }
        if (gpu->layout.gis[i].ci_count > 0) {
            sample->gi_count++;
            gi->gi_id = i + 1u;
            gi->slice_count = 1;
            gi->memory_mib = 4864;
            absent(gi->meters);
            gi->meters[MIG_METER_MEMORY_USED_MIB] = 10 + i;
        }
    }
}

static struct fixture *new_fixture(void)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    snprintf(fixture->node.node.driver_version, MIG_UUID_SIZE, "550.90.07");
    fixture->node.node.gpus = fixture->node.gpus;
    fixture->node.node.generation = 42;
    fixture->pods.items = fixture->items;
    fixture->view = (struct mig_metrics_view){
        .node = &fixture->node.node, .sample = &fixture->sample, .hostname = "node-1"};
    return fixture;
}

static void add_pod(struct fixture *fixture, const char *pod, const char *resource,
                    const char *device)
{
    fixture->items[fixture->pods.count++] =
        (struct mig_pod_device){"ml", pod, "main", resource, device};
    fixture->view.pods = &fixture->pods;
}

static char *write_all(const struct fixture *fixture)
{
    MIG_AUTO_BUFFER struct mig_buffer out;
    struct mig_error error;

    mig_buffer_init(&out, MIG_METRICS_BYTES_MAX);
    if (mig_metrics_write(&fixture->view, &out, &error) != 0) {
        fail_msg("%s", error.message);
    }
    return mig_buffer_take(&out);
}

static void has_line(const char *text, const char *line)
{
    size_t length = strlen(line);
    const char *at = text;

    while ((at = strstr(at, line)) &&
           ((at != text && at[-1] != '\n') || (at[length] != '\n' && at[length] != '\0'))) {
        at++;
    }
    if (!at) {
        fail_msg("no line '%s' in\n%s", line, text);
    }
}

static unsigned count_of(const char *text, const char *part)
{
    unsigned count = 0;

    for (const char *at = text; (at = strstr(at, part)); at++) {
        count++;
    }
    return count;
}

#define GPU_LABELS(index, model)                                             \
    "gpu=\"" index "\",UUID=\"GPU-" index "\",pci_bus_id=\"00000000:0" model \
    "\",Hostname=\"node-1\",DCGM_FI_DRIVER_VERSION=\"550.90.07\""
#define A30(index, bus) \
    GPU_LABELS(index, bus ":00.0\",device=\"nvidia" index "\",modelName=\"NVIDIA A30")

static void test_m1_names_and_labels_of_a_gpu(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", NULL);
    text = write_all(fixture);
    has_line(text, "# TYPE DCGM_FI_DEV_POWER_USAGE gauge");
    has_line(text, "DCGM_FI_DEV_POWER_USAGE{" A30("0", "7") "} 63.5");
    has_line(text, "DCGM_FI_DEV_GPU_TEMP{" A30("0", "7") "} 40");
    has_line(text, "DCGM_FI_DEV_GPU_UTIL{" A30("0", "7") "} 7");
    has_line(text, "DCGM_FI_DEV_FB_USED{" A30("0", "7") "} 100");
    /* what is not told is not there, not even its head */
    assert_null(strstr(text, "DCGM_FI_DEV_SM_CLOCK"));
    assert_null(strstr(text, "DCGM_FI_PROF_GR_ENGINE_ACTIVE"));
    has_line(text, "migd_snapshot_generation 42");
    has_line(text, "migd_gpu_mig_mode{gpu=\"0\",UUID=\"GPU-0\",model=\"NVIDIA A30\"} 0");
    free(fixture);
}

static void test_m1_hostname_option(void **state)
{
    struct fixture *fixture = new_fixture();
    static const struct {
        enum mig_metrics_hostname option;
        unsigned upper, lower;
    } cases[] = {{MIG_METRICS_HOSTNAME_UPPER, 1, 0},
                 {MIG_METRICS_HOSTNAME_LOWER, 0, 1},
                 {MIG_METRICS_HOSTNAME_BOTH, 1, 1},
                 {MIG_METRICS_HOSTNAME_NONE, 0, 0}};

    (void)state;
    add_gpu(fixture, "A30", NULL);
    for (size_t i = 0; i < MIG_ARRAY_SIZE(cases); i++) {
        MIG_AUTO_FREE char *text = NULL;

        fixture->view.hostname_label = cases[i].option;
        text = write_all(fixture);
        assert_int_equal(count_of(text, ",Hostname=\"node-1\"") > 0, cases[i].upper);
        assert_int_equal(count_of(text, ",hostname=\"node-1\"") > 0, cases[i].lower);
    }
    free(fixture);
}

static void test_m1_values_are_escaped(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", NULL);
    fixture->view.hostname = "a\\b\"c\nd";
    text = write_all(fixture);
    assert_non_null(strstr(text, "Hostname=\"a\\\\b\\\"c\\nd\""));
    free(fixture);
}

static void test_m1_numbers(void **state)
{
    static const struct {
        int64_t value, divisor;
        const char *text;
    } scaled[] = {{0, 1, "0"},      {63500, 1000, "63.5"}, {1, 1000000, "0.000001"},
                  {-5, 10, "-0.5"}, {100000, 1000, "100"}, {INT64_MAX, 1, "9223372036854775807"}};
    static const struct {
        double value;
        const char *text;
    } numbers[] = {{0.005, "0.005"},
                   {1e21, "1e+21"},
                   {3, "3"},
                   {0.1 + 0.2, "0.30000000000000004"},
                   {123456789, "123456789"}};

    (void)state;
    for (size_t i = 0; i < MIG_ARRAY_SIZE(scaled); i++) {
        MIG_AUTO_BUFFER struct mig_buffer out;

        mig_buffer_init(&out, 100);
        mig_text_scaled(&out, scaled[i].value, scaled[i].divisor);
        assert_string_equal(out.data, scaled[i].text);
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(numbers); i++) {
        MIG_AUTO_BUFFER struct mig_buffer out;

        mig_buffer_init(&out, 100);
        mig_text_number(&out, numbers[i].value);
        assert_string_equal(out.data, numbers[i].text);
    }
}

#define SLICE(profile, id)                                                                   \
    "gpu=\"0\",UUID=\"GPU-0\",pci_bus_id=\"00000000:07:00.0\",device=\"nvidia0\",modelName=" \
    "\"NVIDIA A30\",GPU_I_PROFILE=\"" profile "\",GPU_I_ID=\"" id "\",Hostname=\"node-1\","  \
    "DCGM_FI_DRIVER_VERSION=\"550.90.07\""

static void test_m2_profile_and_id_of_each_instance(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", "1g.6gb@0 1g.6gb@1{} 2g.12gb@2");
    text = write_all(fixture);
    has_line(text, "DCGM_FI_DEV_FB_USED{" SLICE("1g.6gb", "1") ",GPU_CI_ID=\"0\",MIG_UUID="
                                                               "\"MIG-0-0-0\"} 10");
    has_line(text, "DCGM_FI_DEV_FB_USED{" SLICE("2g.12gb", "3") ",GPU_CI_ID=\"0\",MIG_UUID="
                                                                "\"MIG-0-2-0\"} 12");
    /* one without compute instance has no MIG device; the GPU's numbers are its too */
    has_line(text, "DCGM_FI_DEV_POWER_USAGE{" SLICE("1g.6gb", "2") "} 63.5");
    assert_int_equal(count_of(text, "DCGM_FI_DEV_POWER_USAGE{"), 3);
    /* no meaning for a part of the GPU */
    assert_null(strstr(text, "DCGM_FI_DEV_GPU_UTIL"));
    free(fixture);
}

static void test_m3_a_series_for_each_mig_device(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", "2g.12gb@0{1c.2g.12gb@0,1c.2g.12gb@1*}");
    text = write_all(fixture);
    has_line(text, "DCGM_FI_DEV_FB_USED{" SLICE("2g.12gb", "1") ",GPU_CI_ID=\"0\",MIG_UUID="
                                                                "\"MIG-0-0-0\"} 10");
    has_line(text, "DCGM_FI_DEV_FB_USED{" SLICE("2g.12gb", "1") ",GPU_CI_ID=\"1\",MIG_UUID="
                                                                "\"MIG-0-0-1\"} 10");
    has_line(text, "migd_mig_device_in_use{" SLICE("2g.12gb", "1") ",GPU_CI_ID=\"1\",MIG_UUID="
                                                                   "\"MIG-0-0-1\"} 1");
    free(fixture);
}

static void test_m4_pods_by_mig_uuid(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", "1g.6gb@0 1g.6gb@1");
    add_gpu(fixture, "A30", NULL);
    add_pod(fixture, "train", "nvidia.com/mig-1g.6gb", "MIG-0-1-0");
    add_pod(fixture, "whole", "nvidia.com/gpu", "GPU-1");
    add_pod(fixture, "other", "example.com/nic", "GPU-10");
    text = write_all(fixture);
    has_line(text, "DCGM_FI_DEV_FB_USED{" SLICE(
                       "1g.6gb",
                       "2") ",GPU_CI_ID=\"0\",MIG_UUID="
                            "\"MIG-0-1-0\",container=\"main\",namespace=\"ml\",pod=\"train\"} 11");
    has_line(text, "DCGM_FI_DEV_FB_USED{" SLICE("1g.6gb", "1") ",GPU_CI_ID=\"0\",MIG_UUID="
                                                               "\"MIG-0-0-0\"} 10");
    has_line(text, "DCGM_FI_DEV_FB_USED{" A30(
                       "1", "8") ",container=\"main\",namespace=\"ml\",pod=\"whole\"} 100");
    assert_null(strstr(text, "pod=\"other\""));
    free(fixture);
}

static void test_m5_several_pods_on_a_shared_device(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", "1g.6gb@0");
    add_pod(fixture, "a", "nvidia.com/mig-1g.6gb", "MIG-0-0-0::0");
    add_pod(fixture, "b", "nvidia.com/mig-1g.6gb", "MIG-0-0-0::3");
    add_pod(fixture, "b", "nvidia.com/mig-1g.6gb", "MIG-0-0-0::4");
    text = write_all(fixture);
    assert_int_equal(count_of(text, "DCGM_FI_DEV_FB_USED{"), 2);
    has_line(text,
             "DCGM_FI_DEV_FB_USED{" SLICE(
                 "1g.6gb", "1") ",GPU_CI_ID=\"0\",MIG_UUID="
                                "\"MIG-0-0-0\",container=\"main\",namespace=\"ml\",pod=\"a\"} 10");
    has_line(text,
             "DCGM_FI_DEV_FB_USED{" SLICE(
                 "1g.6gb", "1") ",GPU_CI_ID=\"0\",MIG_UUID="
                                "\"MIG-0-0-0\",container=\"main\",namespace=\"ml\",pod=\"b\"} 10");
    free(fixture);
}

static void test_m6_renamed_resources_are_mapped(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", NULL);
    add_pod(fixture, "a", "nvidia.com/gpu.shared", "GPU-0::1");
    add_pod(fixture, "b", "example.com/fast-gpu", "GPU-0::2");
    text = write_all(fixture);
    assert_int_equal(count_of(text, "DCGM_FI_DEV_FB_USED{"), 2);
    assert_non_null(strstr(text, "pod=\"a\""));
    assert_non_null(strstr(text, "pod=\"b\""));
    free(fixture);
}

static void test_m7_own_counters(void **state)
{
    struct mig_counters *counters = mig_counters_new();
    struct mig_metrics_process process;
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    mig_own_start(counters);
    mig_counter_add(counters, &mig_count_allocations, 1, "nvidia.com/gpu", "ok", NULL);
    mig_counter_add(counters, &mig_count_allocations, 2, "nvidia.com/gpu", "ok", NULL);
    mig_counter_add(counters, &mig_count_allocations, 1, "nvidia.com/gpu", "refused", NULL);
    mig_counter_set(counters, &mig_count_devices, 7, "nvidia.com/mig-1g.5gb", "Healthy", NULL);
    mig_counter_observe(counters, &mig_count_reconcile, 0.3, "success", NULL);
    mig_counter_observe(counters, &mig_count_reconcile, 4000, "success", NULL);
    mig_counter_add(counters, &mig_count_api_requests, 1, "GET", NULL);
    mig_metrics_read_process(&process);
    fixture->view = (struct mig_metrics_view){.counters = counters, .process = &process};
    text = write_all(fixture);
    has_line(text, "# TYPE migd_allocations_total counter");
    has_line(text, "migd_allocations_total{resource=\"nvidia.com/gpu\",result=\"ok\"} 3");
    has_line(text, "migd_allocations_total{resource=\"nvidia.com/gpu\",result=\"refused\"} 1");
    has_line(text, "migd_devices{resource=\"nvidia.com/mig-1g.5gb\",health=\"Healthy\"} 7");
    has_line(text, "# TYPE migd_reconcile_seconds histogram");
    has_line(text, "migd_reconcile_seconds_bucket{result=\"success\",le=\"0.25\"} 0");
    has_line(text, "migd_reconcile_seconds_bucket{result=\"success\",le=\"0.5\"} 1");
    has_line(text, "migd_reconcile_seconds_bucket{result=\"success\",le=\"300\"} 1");
    has_line(text, "migd_reconcile_seconds_bucket{result=\"success\",le=\"+Inf\"} 2");
    has_line(text, "migd_reconcile_seconds_sum{result=\"success\"} 4000.3");
    has_line(text, "migd_reconcile_seconds_count{result=\"success\"} 2");
    has_line(text, "migd_api_requests_total{method=\"GET\",status=\"\"} 1");
    has_line(text, "migd_helper_restarts_total 0");
    has_line(text, "migd_metrics_dropped_total 0");
    assert_true(process.resident_bytes > 100000 && process.start_s > 1e9);
    assert_int_equal(count_of(text, "# TYPE migd_allocations_total"), 1);
    mig_counters_free(counters);
    free(fixture);
}

static void test_m7_counters_are_bounded(void **state)
{
    struct mig_counters *counters = mig_counters_new();
    static const struct mig_counter one = {.name = "one_total", .help = "x", .labels = {"a"}};
    const struct mig_counter_series *last = NULL;
    char long_text[2 * MIG_COUNTER_TEXT_SIZE];

    (void)state;
    for (unsigned i = 0; i < MIG_COUNTER_SERIES_MAX + 10; i++) {
        char text[16];

        snprintf(text, sizeof(text), "%u", i);
        mig_counter_add(counters, &one, 1, text, NULL);
    }
    assert_int_equal(mig_counters_dropped(counters), 10);
    for (size_t i = 0; i < MIG_COUNTER_SERIES_MAX; i++) {
        const struct mig_counter_series *series = mig_counters_get(counters, i);

        assert_true(!last || strcmp(last->values[0], series->values[0]) < 0);
        last = series;
    }
    assert_null(mig_counters_get(counters, MIG_COUNTER_SERIES_MAX));
    mig_counter_forget(counters, &one);
    assert_null(mig_counters_get(counters, 0));
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    mig_counter_add(counters, &one, 1, long_text, NULL);
    assert_int_equal(strlen(mig_counters_get(counters, 0)->values[0]), MIG_COUNTER_TEXT_SIZE - 1);
    mig_counters_free(counters);
    mig_counter_add(NULL, &one, 1, "a", NULL);
    mig_counters_free(NULL);
}

static void test_m7_xids(void **state)
{
    struct fixture *fixture = new_fixture();
    struct mig_metrics_xid xids[] = {
        {"GPU-0", 2, 94}, {"GPU-0", MIG_ID_NONE, 48}, {"GPU-1", MIG_ID_NONE, 79}};
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", "1g.6gb@0{} 1g.6gb@1{}");
    fixture->view.xids = xids;
    fixture->view.xid_count = 3;
    text = write_all(fixture);
    has_line(text, "DCGM_FI_DEV_XID_ERRORS{" SLICE("1g.6gb", "1") "} 48");
    has_line(text, "DCGM_FI_DEV_XID_ERRORS{" SLICE("1g.6gb", "2") "} 94");
    free(fixture);
}

static void test_m7_room_for_more(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", "1g.6gb@0");
    text = write_all(fixture);
    has_line(text, "migd_gpu_profile_room{gpu=\"0\",UUID=\"GPU-0\",model=\"NVIDIA A30\",profile="
                   "\"1g.6gb\"} 3");
    has_line(text, "migd_gpu_profile_room{gpu=\"0\",UUID=\"GPU-0\",model=\"NVIDIA A30\",profile="
                   "\"4g.24gb\"} 0");
    free(fixture);
}

/* An instance was replaced by another kind under the same id between snapshot and sample. */
static void test_m9_sample_of_another_moment(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL, *without = NULL;

    (void)state;
    add_gpu(fixture, "A30", "1g.6gb@0 1g.6gb@1");
    fixture->gpus[0].gis[0].slice_count = 2;
    fixture->gpus[0].gis[1].gi_id = 9;
    fixture->gpus[0].gis[1].meters[MIG_METER_MEMORY_USED_MIB] = 999;
    text = write_all(fixture);
    assert_null(strstr(text, "999"));
    /* then the snapshot's own numbers */
    has_line(text, "DCGM_FI_DEV_FB_USED{" SLICE("1g.6gb", "1") ",GPU_CI_ID=\"0\",MIG_UUID="
                                                               "\"MIG-0-0-0\"} 20");
    has_line(text, "DCGM_FI_DEV_FB_FREE{" SLICE("1g.6gb", "2") ",GPU_CI_ID=\"0\",MIG_UUID="
                                                               "\"MIG-0-1-0\"} 4979");
    fixture->view.sample = NULL;
    without = write_all(fixture);
    assert_null(strstr(without, "DCGM_FI_DEV_POWER_USAGE"));
    assert_int_equal(count_of(without, "DCGM_FI_DEV_FB_USED{"), 2);
    free(fixture);
}

static void test_m9_lost_gpu(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    add_gpu(fixture, "A30", NULL);
    add_gpu(fixture, "A30", NULL);
    snprintf(fixture->node.gpus[0].problem, MIG_PROBLEM_SIZE, "GPU is lost");
    text = write_all(fixture);
    assert_int_equal(count_of(text, "DCGM_FI_DEV_POWER_USAGE{"), 1);
    has_line(text, "migd_gpu_readable{gpu=\"0\",UUID=\"GPU-0\",model=\"NVIDIA A30\"} 0");
    has_line(text, "migd_gpu_readable{gpu=\"1\",UUID=\"GPU-1\",model=\"NVIDIA A30\"} 1");
    free(fixture);
}

/* ---- the endpoint ---- */

struct asked {
    struct mig_exporter *exporter;
    unsigned measured, pods;
};

static int on_measure(void *data)
{
    ((struct asked *)data)->measured++;
    return 0;
}

static int on_ask_pods(void *data)
{
    ((struct asked *)data)->pods++;
    return 0;
}

static struct mig_sample *copy_sample(const struct fixture *fixture)
{
    struct mig_sample *sample = calloc(1, sizeof(*sample));

    assert_non_null(sample);
    sample->gpus = calloc(fixture->sample.gpu_count, sizeof(*sample->gpus));
    assert_non_null(sample->gpus);
    sample->gpu_count = fixture->sample.gpu_count;
    memcpy(sample->gpus, fixture->gpus, sample->gpu_count * sizeof(*sample->gpus));
    return sample;
}

static char *scrape(struct asked *asked)
{
    MIG_AUTO_BUFFER struct mig_buffer out;

    mig_buffer_init(&out, MIG_METRICS_BYTES_MAX);
    assert_int_equal(mig_exporter_scrape(asked->exporter, &out, NULL), 0);
    return mig_buffer_take(&out);
}

static void run_for(uv_loop_t *loop, unsigned duration_ms)
{
    uint64_t end = uv_hrtime() + duration_ms * 1000000ull;

    while (uv_hrtime() < end) {
        uv_run(loop, UV_RUN_NOWAIT);
        uv_sleep(2);
    }
}

static void test_m9_asks_while_scraped_and_shows_nothing_old(void **state)
{
    struct fixture *fixture = new_fixture();
    struct asked asked = {0};
    struct mig_counters *counters = mig_counters_new();
    struct mig_exporter_options options = {.hostname = "node-1",
                                           .interval_ms = 20,
                                           .counters = counters,
                                           .measure = on_measure,
                                           .ask_pods = on_ask_pods,
                                           .data = &asked};
    uv_loop_t loop;
    char *text;

    (void)state;
    add_gpu(fixture, "A30", NULL);
    uv_loop_init(&loop);
    assert_int_equal(mig_exporter_new(&loop, &options, &asked.exporter, NULL), 0);
    mig_exporter_set_node(asked.exporter, &fixture->node.node);
    run_for(&loop, 30);
    assert_int_equal(asked.measured, 0);
    text = scrape(&asked);
    assert_int_equal(asked.measured, 1);
    assert_int_equal(asked.pods, 1);
    assert_null(strstr(text, "DCGM_FI_DEV_POWER_USAGE"));
    free(text);
    /* not again before the answer */
    run_for(&loop, 60);
    assert_int_equal(asked.measured, 1);
    mig_exporter_give_sample(asked.exporter, copy_sample(fixture));
    text = scrape(&asked);
    assert_non_null(strstr(text, "DCGM_FI_DEV_POWER_USAGE"));
    assert_non_null(strstr(text, "migd_scrapes_total{result=\"ok\"} 1\n"));
    free(text);
    run_for(&loop, 150);
    assert_int_equal(asked.measured, 2);
    text = scrape(&asked);
    assert_null(strstr(text, "DCGM_FI_DEV_POWER_USAGE"));
    free(text);
    mig_exporter_give_sample(asked.exporter, NULL);
    mig_exporter_note_xid(asked.exporter, "GPU-0", MIG_ID_NONE, 79);
    mig_exporter_note_xid(asked.exporter, "GPU-0", MIG_ID_NONE, 48);
    text = scrape(&asked);
    assert_non_null(strstr(text, "migd_xid_errors_total{UUID=\"GPU-0\",xid=\"79\"} 1\n"));
    assert_non_null(strstr(text, "modelName=\"NVIDIA A30\",Hostname=\"node-1\""));
    assert_int_equal(count_of(text, "} 48\n"), 1);
    free(text);
    mig_exporter_set_node(asked.exporter, NULL);
    text = scrape(&asked);
    assert_null(strstr(text, "GPU_TEMP"));
    free(text);
    mig_exporter_free(asked.exporter);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    mig_counters_free(counters);
    free(fixture);
}

/* 8 GPUs with 7 MIG devices each: size of the answer, and what the limits do. */
static void test_m8_size_of_an_answer(void **state)
{
    struct fixture *fixture = new_fixture();
    MIG_AUTO_BUFFER struct mig_buffer small;
    MIG_AUTO_FREE char *text = NULL;

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        add_gpu(fixture, "A100-SXM4-40GB",
                "1g.5gb@0 1g.5gb@1 1g.5gb@2 1g.5gb@3 1g.5gb@4 1g.5gb@5 1g.5gb@6");
    }
    text = write_all(fixture);
    assert_int_equal(count_of(text, "DCGM_FI_DEV_POWER_USAGE{"), 56);
    assert_true(strlen(text) < 1u << 20);
    mig_buffer_init(&small, 1000);
    assert_int_equal(mig_metrics_write(&fixture->view, &small, NULL), MIG_E_FAILED);
    free(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_m1_names_and_labels_of_a_gpu),
        cmocka_unit_test(test_m1_hostname_option),
        cmocka_unit_test(test_m1_values_are_escaped),
        cmocka_unit_test(test_m1_numbers),
        cmocka_unit_test(test_m2_profile_and_id_of_each_instance),
        cmocka_unit_test(test_m3_a_series_for_each_mig_device),
        cmocka_unit_test(test_m4_pods_by_mig_uuid),
        cmocka_unit_test(test_m5_several_pods_on_a_shared_device),
        cmocka_unit_test(test_m6_renamed_resources_are_mapped),
        cmocka_unit_test(test_m7_own_counters),
        cmocka_unit_test(test_m7_counters_are_bounded),
        cmocka_unit_test(test_m7_xids),
        cmocka_unit_test(test_m7_room_for_more),
        cmocka_unit_test(test_m8_size_of_an_answer),
        cmocka_unit_test(test_m9_sample_of_another_moment),
        cmocka_unit_test(test_m9_lost_gpu),
        cmocka_unit_test(test_m9_asks_while_scraped_and_shows_nothing_old),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
