/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: the file, the environment, flags, and which of them counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "dp_support.h"
#include <stdio.h>
#include <string.h>

static void F1_defaults(void **state)
{
    struct mig_dp_config *config = NULL;

    (void)state;
    assert_int_equal(mig_dp_config_make(NULL, &config, NULL), MIG_OK);
    assert_int_equal(config->strategy, MIG_DP_STRATEGY_NONE);
    assert_int_equal(config->list_strategies, MIG_DP_LIST_ENVVAR);
    assert_true(config->fail_on_init_error);
    assert_true(config->use_node_feature_api);
    assert_false(config->index_ids || config->pass_device_specs || config->packed);
    assert_string_equal(config->driver_root, "/");
    assert_string_equal(config->cdi_annotation_prefix, "cdi.k8s.io/");
    assert_string_equal(config->container_driver_root, "/driver-root");
    assert_int_equal(config->finding_count, 0);
    mig_dp_config_free(config);
}

/* Every key that the schema declares, in one file. */
static void F1_every_key_is_accepted(void **state)
{
    struct mig_dp_config *config = dp_config("version: v1\n"
                                             "flags:\n"
                                             "  migStrategy: single\n"
                                             "  failOnInitError: false\n"
                                             "  mpsRoot: /run/nvidia/mps\n"
                                             "  nvidiaDriverRoot: /run/nvidia/driver\n"
                                             "  nvidiaDevRoot: /\n"
                                             "  gdrcopyEnabled: true\n"
                                             "  gdsEnabled: true\n"
                                             "  mofedEnabled: true\n"
                                             "  useNodeFeatureAPI: false\n"
                                             "  deviceDiscoveryStrategy: nvml\n"
                                             "  plugin:\n"
                                             "    passDeviceSpecs: true\n"
                                             "    deviceListStrategy: [envvar, cdi-cri]\n"
                                             "    deviceIDStrategy: index\n"
                                             "    cdiAnnotationPrefix: my.org/\n"
                                             "    nvidiaCTKPath: /opt/nvidia-ctk\n"
                                             "    containerDriverRoot: /host\n"
                                             "    sharedDevicesAllocationPolicy: packed\n"
                                             "  gfd:\n"
                                             "    oneshot: true\n"
                                             "    noTimestamp: true\n"
                                             "    sleepInterval: 30s\n"
                                             "    outputFile: /tmp/gfd\n"
                                             "    machineTypeFile: /tmp/machine\n"
                                             "resources:\n"
                                             "  gpus: [{pattern: '*', name: nvidia.com/gpu}]\n"
                                             "  mig: [{pattern: 1g.*, name: nvidia.com/small}]\n"
                                             "sharing:\n"
                                             "  timeSlicing:\n"
                                             "    renameByDefault: true\n"
                                             "    failRequestsGreaterThanOne: true\n"
                                             "    resources:\n"
                                             "    - name: nvidia.com/gpu\n"
                                             "      rename: nvidia.com/half\n"
                                             "      devices: [0, '0:1', GPU-1234]\n"
                                             "      replicas: 2\n"
                                             "    - {name: gpu, devices: 3, replicas: 4}\n"
                                             "    - {name: gpu, devices: all, replicas: 5}\n"
                                             "imex: {channelIDs: [0], required: true}\n");

    (void)state;
    assert_int_equal(config->finding_count, 0);
    assert_int_equal(config->strategy, MIG_DP_STRATEGY_SINGLE);
    assert_int_equal(config->list_strategies, MIG_DP_LIST_ENVVAR | MIG_DP_LIST_CDI_CRI);
    assert_true(config->index_ids && config->pass_device_specs && config->packed &&
                config->gdrcopy && config->gds && config->mofed && config->imex_required &&
                config->gfd_oneshot && config->gfd_no_timestamp);
    assert_false(config->fail_on_init_error || config->use_node_feature_api);
    assert_string_equal(config->driver_root, "/run/nvidia/driver");
    assert_string_equal(config->dev_root, "/");
    assert_string_equal(config->mps_root, "/run/nvidia/mps");
    assert_string_equal(config->cdi_hook_path, "/opt/nvidia-ctk");
    assert_string_equal(config->gfd_sleep_interval, "30s");
    assert_int_equal(config->imex_channel_count, 1);
    assert_int_equal(config->sharing.rule_count, 3);
    assert_int_equal(config->sharing.rules[0].reference_count, 3);
    assert_string_equal(config->sharing.rules[0].references[1], "0:1");
    assert_string_equal(config->sharing.rules[0].rename, "nvidia.com/half");
    assert_int_equal(config->sharing.rules[1].device_count, 3);
    assert_string_equal(config->sharing.rules[2].name, "nvidia.com/gpu");
    mig_dp_config_free(config);
}

static void F1_json_and_nothing(void **state)
{
    struct mig_dp_config *config = dp_config("{\"version\": \"v1\", \"flags\": {\"migStrategy\": "
                                             "\"mixed\", \"plugin\": {\"deviceListStrategy\": "
                                             "\"envvar,volume-mounts\"}}, \"sharing\": null}");

    (void)state;
    assert_int_equal(config->strategy, MIG_DP_STRATEGY_MIXED);
    assert_int_equal(config->list_strategies, MIG_DP_LIST_ENVVAR | MIG_DP_LIST_VOLUME_MOUNTS);
    mig_dp_config_free(config);
    config = dp_config("");
    mig_dp_config_free(config);
    config = dp_config("version:\nflags: {migStrategy: null}\n");
    assert_int_equal(config->strategy, MIG_DP_STRATEGY_NONE);
    mig_dp_config_free(config);
}

static void F1_unknown_keys_are_ignored_and_named(void **state)
{
    struct mig_dp_config *config = dp_config("version: v1\n"
                                             "flags:\n"
                                             "  migstrategy: mixed\n"
                                             "extra: 1\n"
                                             "sharing: {mpss: {resources: "
                                             "[{name: gpu, replicas: 4}]}}\n");

    (void)state;
    assert_int_equal(config->strategy, MIG_DP_STRATEGY_NONE);
    assert_int_equal(config->finding_count, 3);
    assert_int_equal(config->findings[0].position.line, 3);
    assert_non_null(strstr(config->findings[0].text, "'migstrategy' in flags is not known"));
    assert_int_equal(config->findings[1].position.line, 4);
    assert_int_equal(config->findings[2].position.line, 5);
    assert_non_null(strstr(config->findings[2].text, "'mpss' in sharing is not known"));
    assert_false(config->mps);
    assert_int_equal(config->sharing.rule_count, 0);
    mig_dp_config_free(config);
}

static void S3_S4_mps_settings(void **state)
{
    struct mig_dp_config *config = dp_config("sharing:\n"
                                             "  timeSlicing:\n"
                                             "    resources: [{name: gpu, replicas: 2}]\n"
                                             "  mps:\n"
                                             "    renameByDefault: true\n"
                                             "    failRequestsGreaterThanOne: false\n"
                                             "    resources: [{name: mig-1g.5gb, replicas: 4}]\n");

    (void)state;
    assert_true(config->mps && config->sharing.rename_by_default);
    assert_true(config->sharing.fail_requests_above_one); /* always */
    assert_int_equal(config->sharing.rule_count, 1);
    assert_string_equal(config->sharing.rules[0].name, "nvidia.com/mig-1g.5gb");
    assert_string_equal(config->mps_root, "/run/nvidia/mps");
    assert_int_equal(config->finding_count, 2);
    assert_int_equal(config->findings[0].position.line, 2);
    assert_non_null(strstr(config->findings[0].text, "timeSlicing has no effect beside"));
    assert_int_equal(config->findings[1].position.line, 4);
    assert_non_null(strstr(config->findings[1].text, "failRequestsGreaterThanOne is always true"));
    mig_dp_config_free(config);
    config = dp_config("flags: {mpsRoot: /x}\n"
                       "sharing: {mps: {resources: [{name: gpu, replicas: 4}]}}\n");
    assert_int_equal(config->finding_count, 0);
    assert_true(config->mps && config->sharing.fail_requests_above_one);
    assert_string_equal(config->mps_root, "/x");
    mig_dp_config_free(config);
}

static void F1_what_is_wrong_has_a_place(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"version: v2", "file:1:10: version has to be v1"},
        {"[1]", "file:1:1: the file has to be a map, not a list"},
        {"flags: {migStrategy: both}", "file:1:22: migStrategy: 'both' is not one of none, single"},
        {"flags:\n  failOnInitError: 'true'", "file:2:20: failOnInitError has to be a truth value"},
        {"flags: {plugin: {deviceListStrategy: [env]}}", "'env' is not auto, or of envvar"},
        {"flags: {plugin: {deviceListStrategy: []}}", "'' is not a device list strategy"},
        {"flags: {plugin: {deviceIDStrategy: name}}", "'name' is not one of uuid, index"},
        {"imex: {channelIDs: [1]}", "'1' is not a list of IMEX channels"},
        {"sharing: {timeSlicing: {resources: [{name: gpu}]}}", "needs a name and replicas"},
        {"sharing: {timeSlicing: {resources: [{name: gpu, replicas: 1}]}}",
         "replicas has to be a number from 2"},
        {"sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, devices: none}]}}",
         "devices has to be all, a number above 0 or a list"},
        {"sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, devices: []}]}}",
         "devices has to name 1 to"},
        {"sharing: {mps: {resources: [{name: gpu, replicas: 0}]}}", "replicas has to be"},
        {"resources: {mig: [{pattern: 1g.5gb}]}", "needs a pattern and a name"},
        {"resources: {gpus: [{pattern: a, name: a/b/c}]}", "is no name of a resource"},
        {"health: {xids: [{action: gpu}]}", "needs an xid"},
        {"health: {xids: [{xid: 48, action: reboot}]}", "action has to be default, ignore"},
        {"health: {holdDownSeconds: -1}", "holdDownSeconds has to be"},
        {"flags: [", "file:"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mig_dp_sources sources = {
            .file_name = "file", .text = cases[i].text, .size = strlen(cases[i].text)};
        struct mig_dp_config *config = NULL;
        struct mig_error error = {0};

        assert_int_equal(mig_dp_config_make(&sources, &config, &error), MIG_E_CONFIG);
        if (!strstr(error.message, cases[i].message)) {
            fail_msg("%s: %s", cases[i].text, error.message);
        }
    }
}

static const char *lookup(const char *name, void *data)
{
    const char *const *pair = data;

    for (; pair[0]; pair += 2) {
        if (strcmp(pair[0], name) == 0) {
            return pair[1];
        }
    }
    return NULL;
}

static void F2_flags_over_environment_over_file(void **state)
{
    static const char file[] = "flags: {migStrategy: single, nvidiaDriverRoot: /file, "
                               "plugin: {passDeviceSpecs: true}}";
    const char *variables[] = {"MIG_STRATEGY",
                               "mixed",
                               "NVIDIA_DRIVER_ROOT",
                               "/variable",
                               "DEVICE_LIST_STRATEGY",
                               "cdi-cri",
                               "PASS_DEVICE_SPECS",
                               "",
                               "FAIL_ON_INIT_ERROR",
                               "0",
                               NULL};
    const struct mig_dp_flag flags[] = {{"driver-root", "/flag"}, {"device-id-strategy", "index"}};
    struct mig_dp_sources sources = {.file_name = "file",
                                     .text = file,
                                     .size = sizeof(file) - 1,
                                     .environment = lookup,
                                     .environment_data = variables,
                                     .flags = flags,
                                     .flag_count = 2};
    struct mig_dp_config *config = NULL;

    (void)state;
    assert_int_equal(mig_dp_config_make(&sources, &config, NULL), MIG_OK);
    assert_int_equal(config->strategy, MIG_DP_STRATEGY_MIXED);
    assert_string_equal(config->driver_root, "/flag");
    assert_int_equal(config->list_strategies, MIG_DP_LIST_CDI_CRI);
    assert_true(config->pass_device_specs); /* an empty variable is none */
    assert_true(config->index_ids);
    assert_false(config->fail_on_init_error);
    mig_dp_config_free(config);
}

static void F2_wrong_values_name_their_source(void **state)
{
    const char *variables[] = {"GDS_ENABLED", "maybe", NULL};
    const struct mig_dp_flag flags[] = {{"mig-strategy", "x"}}, unknown[] = {{"speed", "x"}};
    struct mig_dp_sources sources = {.environment = lookup, .environment_data = variables};
    struct mig_dp_config *config = NULL;
    struct mig_error error = {0};

    (void)state;
    assert_int_equal(mig_dp_config_make(&sources, &config, &error), MIG_E_CONFIG);
    assert_string_equal(error.message, "GDS_ENABLED: 'maybe' is not true or false");
    sources = (struct mig_dp_sources){.flags = flags, .flag_count = 1};
    assert_int_equal(mig_dp_config_make(&sources, &config, &error), MIG_E_CONFIG);
    assert_string_equal(error.message, "--mig-strategy: 'x' is not one of none, single, mixed");
    sources.flags = unknown;
    assert_int_equal(mig_dp_config_make(&sources, &config, &error), MIG_E_USAGE);
}

static void F2_all_flags_have_names(void **state)
{
    size_t count = 0;

    (void)state;
    for (; mig_dp_config_flag(count); count++) {
        for (size_t i = 0; i < count; i++) {
            assert_string_not_equal(mig_dp_config_flag(i), mig_dp_config_flag(count));
        }
    }
    assert_true(count > 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(F1_defaults),
        cmocka_unit_test(F1_every_key_is_accepted),
        cmocka_unit_test(F1_json_and_nothing),
        cmocka_unit_test(F1_unknown_keys_are_ignored_and_named),
        cmocka_unit_test(F1_what_is_wrong_has_a_place),
        cmocka_unit_test(S3_S4_mps_settings),
        cmocka_unit_test(F2_flags_over_environment_over_file),
        cmocka_unit_test(F2_wrong_values_name_their_source),
        cmocka_unit_test(F2_all_flags_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
