/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings of the device plugin, from flags, environment and file.
 *
 * One table says under which names a setting is known in each of the three; they are applied from
 * the weakest to the strongest, so that precedence is the order of the calls and nothing else.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "deviceplugin/dp_config_internal.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_MAX (8u << 20) /* behind one set of settings */
#define HOLD_DOWN_MS 10000u
#define WORD_MAX 64 /* of a list */

#define BOOLEAN(member) MIG_DP_SETTING_BOOL, offsetof(struct mig_dp_config, member)
#define TEXT(member) MIG_DP_SETTING_TEXT, offsetof(struct mig_dp_config, member)

static const struct mig_dp_setting settings[] = {
    {"mig-strategy", NULL, "MIG_STRATEGY", "GFD_MIG_STRATEGY", "flags", "migStrategy",
     MIG_DP_SETTING_STRATEGY, 0},
    {"fail-on-init-error", NULL, "FAIL_ON_INIT_ERROR", "GFD_FAIL_ON_INIT_ERROR", "flags",
     "failOnInitError", BOOLEAN(fail_on_init_error)},
    {"nvidia-driver-root", "driver-root", "NVIDIA_DRIVER_ROOT", NULL, "flags", "nvidiaDriverRoot",
     TEXT(driver_root)},
    {"nvidia-dev-root", "dev-root", "NVIDIA_DEV_ROOT", NULL, "flags", "nvidiaDevRoot",
     TEXT(dev_root)},
    {"gdrcopy-enabled", NULL, "GDRCOPY_ENABLED", NULL, "flags", "gdrcopyEnabled", BOOLEAN(gdrcopy)},
    {"gds-enabled", NULL, "GDS_ENABLED", NULL, "flags", "gdsEnabled", BOOLEAN(gds)},
    {"mofed-enabled", NULL, "MOFED_ENABLED", NULL, "flags", "mofedEnabled", BOOLEAN(mofed)},
    {"mps-root", NULL, "MPS_ROOT", NULL, "flags", "mpsRoot", TEXT(mps_root)},
    {"device-discovery-strategy", NULL, "DEVICE_DISCOVERY_STRATEGY", NULL, "flags",
     "deviceDiscoveryStrategy", TEXT(discovery_strategy)},
    {"use-node-feature-api", NULL, "USE_NODE_FEATURE_API", "GFD_USE_NODE_FEATURE_API", "flags",
     "useNodeFeatureAPI", BOOLEAN(use_node_feature_api)},
    {"pass-device-specs", NULL, "PASS_DEVICE_SPECS", NULL, "flags.plugin", "passDeviceSpecs",
     BOOLEAN(pass_device_specs)},
    {"device-list-strategy", NULL, "DEVICE_LIST_STRATEGY", NULL, "flags.plugin",
     "deviceListStrategy", MIG_DP_SETTING_LIST_STRATEGIES, 0},
    {"device-id-strategy", NULL, "DEVICE_ID_STRATEGY", NULL, "flags.plugin", "deviceIDStrategy",
     MIG_DP_SETTING_ID_STRATEGY, 0},
    {"cdi-annotation-prefix", NULL, "CDI_ANNOTATION_PREFIX", NULL, "flags.plugin",
     "cdiAnnotationPrefix", TEXT(cdi_annotation_prefix)},
    {"nvidia-cdi-hook-path", "nvidia-ctk-path", "NVIDIA_CDI_HOOK_PATH", "NVIDIA_CTK_PATH",
     "flags.plugin", "nvidiaCTKPath", TEXT(cdi_hook_path)},
    {"container-driver-root", "driver-root-ctr-path", "CONTAINER_DRIVER_ROOT",
     "DRIVER_ROOT_CTR_PATH", "flags.plugin", "containerDriverRoot", TEXT(container_driver_root)},
    {"shared-devices-allocation-policy", NULL, "SHARED_DEVICES_ALLOCATION_POLICY", NULL,
     "flags.plugin", "sharedDevicesAllocationPolicy", MIG_DP_SETTING_POLICY, 0},
    {"oneshot", NULL, "GFD_ONESHOT", NULL, "flags.gfd", "oneshot", BOOLEAN(gfd_oneshot)},
    {"no-timestamp", NULL, "GFD_NO_TIMESTAMP", NULL, "flags.gfd", "noTimestamp",
     BOOLEAN(gfd_no_timestamp)},
    {"sleep-interval", NULL, "GFD_SLEEP_INTERVAL", NULL, "flags.gfd", "sleepInterval",
     TEXT(gfd_sleep_interval)},
    {"output-file", NULL, "GFD_OUTPUT_FILE", NULL, "flags.gfd", "outputFile",
     TEXT(gfd_output_file)},
    {"machine-type-file", NULL, "GFD_MACHINE_TYPE_FILE", NULL, "flags.gfd", "machineTypeFile",
     TEXT(gfd_machine_type_file)},
    {"imex-channel-ids", NULL, "IMEX_CHANNEL_IDS", NULL, "imex", "channelIDs",
     MIG_DP_SETTING_IMEX_CHANNELS, 0},
    {"imex-required", NULL, "IMEX_REQUIRED", NULL, "imex", "required", BOOLEAN(imex_required)},
    {"kubelet-socket", NULL, "KUBELET_SOCKET", NULL, NULL, NULL, TEXT(kubelet_socket)},
    {"cdi-feature-flags", NULL, "CDI_FEATURE_FLAGS", NULL, NULL, NULL, TEXT(cdi_feature_flags)},
    {"cdi-disable-hooks", NULL, "CDI_DISABLE_HOOKS", NULL, NULL, NULL, TEXT(cdi_disable_hooks)},
    {NULL, NULL, "DP_DISABLE_HEALTHCHECKS", NULL, "health", "disable", MIG_DP_SETTING_XIDS_DISABLED,
     0},
    {NULL, NULL, "DP_ENABLE_HEALTHCHECKS", NULL, "health", "enable", MIG_DP_SETTING_XIDS_ENABLED,
     0},
};

static const char *const strategy_names[] = {"none", "single", "mixed"};

const char *mig_dp_strategy_name(enum mig_dp_strategy strategy)
{
    return strategy_names[strategy];
}

bool mig_dp_strategy_parse(const char *text, enum mig_dp_strategy *ret)
{
    for (size_t i = 0; i < MIG_ARRAY_SIZE(strategy_names); i++) {
        if (strcmp(text, strategy_names[i]) == 0) {
            *ret = (enum mig_dp_strategy)i;
            return true;
        }
    }
    return false;
}

const struct mig_dp_setting *mig_dp_setting_find(const char *section, const char *key)
{
    for (size_t i = 0; i < MIG_ARRAY_SIZE(settings); i++) {
        if (settings[i].section && strcmp(settings[i].section, section) == 0 &&
            strcmp(settings[i].key, key) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

const char *mig_dp_config_flag(size_t index)
{
    size_t seen = 0;

    for (size_t i = 0; i < MIG_ARRAY_SIZE(settings); i++) {
        const char *names[] = {settings[i].flag, settings[i].other_flag};

        for (size_t j = 0; j < MIG_ARRAY_SIZE(names); j++) {
            if (names[j] && seen++ == index) {
                return names[j];
            }
        }
    }
    return NULL;
}

void mig_dp_config_warn(struct mig_dp_config_maker *maker, struct mig_position position,
                        const char *format, ...)
{
    struct mig_finding *finding = &maker->findings[maker->config.finding_count];
    va_list arguments;

    if (maker->config.finding_count >= MIG_DP_FINDINGS_MAX) {
        return;
    }
    maker->config.finding_count++;
    *finding = (struct mig_finding){.severity = MIG_WARNING, .position = position};
    va_start(arguments, format);
    vsnprintf(finding->text, sizeof(finding->text), format, arguments);
    va_end(arguments);
}

int mig_dp_config_add_xid(struct mig_dp_config_maker *maker, uint64_t xid,
                          enum mig_dp_xid_action action)
{
    struct mig_dp_health_config *health = &maker->config.health;

    if (health->rule_count >= MIG_DP_XID_ACTIONS_MAX) {
        return mig_error_set(maker->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                             "more than %u rules for XIDs", MIG_DP_XID_ACTIONS_MAX);
    }
    maker->xid_rules[health->rule_count++] = (struct mig_dp_xid_rule){xid, action};
    return MIG_OK;
}

/* ---- values from text ---- */

static int refuse(struct mig_dp_config_maker *maker, const char *text, const char *expected)
{
    return mig_error_set(maker->error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0, "'%.64s' is not %s",
                         text, expected);
}

/* The spellings that Go's flag package takes. */
static int parse_bool(struct mig_dp_config_maker *maker, const char *text, bool *ret)
{
    const char *word = mig_text_switch(text);

    if (word) {
        *ret = strcmp(word, "true") == 0;
        return MIG_OK;
    }
    return refuse(maker, text, "true or false");
}

/* The next word of a comma list, without blanks around it; false at the end. */
static bool next_word(const char **at, char word[WORD_MAX])
{
    const char *start = *at;
    size_t length;

    if (*start == '\0') {
        return false;
    }
    length = strcspn(start, ",");
    *at = start + length + (start[length] == ',');
    while (length > 0 && *start == ' ') {
        start++;
        length--;
    }
    while (length > 0 && start[length - 1] == ' ') {
        length--;
    }
    if (length >= WORD_MAX) {
        length = WORD_MAX - 1;
    }
    memcpy(word, start, length);
    word[length] = '\0';
    return true;
}

static int parse_list_strategies(struct mig_dp_config_maker *maker, const char *text)
{
    static const char *const names[] = {"envvar", "volume-mounts", "cdi-annotations", "cdi-cri"};
    unsigned set = 0;
    char word[WORD_MAX];

    maker->config.list_auto = strcmp(text, "auto") == 0;
    if (maker->config.list_auto) {
        maker->config.list_strategies = MIG_DP_LIST_ENVVAR;
        return MIG_OK;
    }
    while (next_word(&text, word)) {
        size_t i = 0;

        while (i < MIG_ARRAY_SIZE(names) && strcmp(word, names[i]) != 0) {
            i++;
        }
        if (i == MIG_ARRAY_SIZE(names)) {
            return refuse(maker, word,
                          "auto, or of envvar, volume-mounts, cdi-annotations, cdi-cri");
        }
        set |= 1u << i;
    }
    if (set == 0) {
        return refuse(maker, "", "a device list strategy");
    }
    maker->config.list_strategies = set;
    return MIG_OK;
}

/* "", "0": only channel 0 can be given out. */
static int parse_imex_channels(struct mig_dp_config_maker *maker, const char *text)
{
    uint32_t count = 0;
    char word[WORD_MAX];

    while (next_word(&text, word)) {
        if (strcmp(word, "0") != 0 || count > 0) {
            return refuse(maker, word, "a list of IMEX channels that can be given out: none, or 0");
        }
        count++;
    }
    maker->config.imex_channel_count = count;
    return MIG_OK;
}

/* What cannot be read in these lists is left out with a warning, as NVIDIA's plugin does. */
static int parse_xids(struct mig_dp_config_maker *maker, const char *text, bool enable)
{
    struct mig_dp_health_config *health = &maker->config.health;
    char word[WORD_MAX];

    while (next_word(&text, word)) {
        uint64_t xid;
        int result = MIG_OK;

        if (strcmp(word, "all") == 0 || (!enable && strcmp(word, "xids") == 0)) {
            health->enable_all |= enable;
            health->disable_all |= !enable;
        } else if (mig_text_parse_u64(word, UINT32_MAX, &xid)) {
            result =
                mig_dp_config_add_xid(maker, xid, enable ? MIG_DP_XID_DEFAULT : MIG_DP_XID_IGNORE);
        } else if (word[0]) {
            mig_dp_config_warn(maker, (struct mig_position){0, 0},
                               "'%s' in the list of %s health checks is no XID", word,
                               enable ? "enabled" : "disabled");
        }
        if (result < 0) {
            return result;
        }
    }
    return MIG_OK;
}

static int set_text(struct mig_dp_config_maker *maker, size_t offset, const char *text)
{
    const char *copy = mig_arena_text(&maker->arena, text, strlen(text));

    if (!copy) {
        return mig_error_set_errno(maker->error, MIG_E_FAILED, ENOMEM, "could not keep '%.64s'",
                                   text);
    }
    memcpy((char *)&maker->config + offset, &copy, sizeof(copy));
    return MIG_OK;
}

int mig_dp_setting_set(struct mig_dp_config_maker *maker, const struct mig_dp_setting *setting,
                       const char *text)
{
    struct mig_dp_config *config = &maker->config;

    switch (setting->kind) {
    case MIG_DP_SETTING_BOOL:
        return parse_bool(maker, text, (bool *)((char *)config + setting->offset));
    case MIG_DP_SETTING_TEXT:
        return set_text(maker, setting->offset, text);
    case MIG_DP_SETTING_STRATEGY:
        config->strategy_given = true;
        return mig_dp_strategy_parse(text, &config->strategy)
                   ? MIG_OK
                   : refuse(maker, text, "one of none, single, mixed");
    case MIG_DP_SETTING_LIST_STRATEGIES:
        return parse_list_strategies(maker, text);
    case MIG_DP_SETTING_ID_STRATEGY:
        config->index_ids = strcmp(text, "index") == 0;
        return config->index_ids || strcmp(text, "uuid") == 0
                   ? MIG_OK
                   : refuse(maker, text, "one of uuid, index");
    case MIG_DP_SETTING_POLICY:
        config->packed = strcmp(text, "packed") == 0;
        return config->packed || strcmp(text, "distributed") == 0
                   ? MIG_OK
                   : refuse(maker, text, "one of distributed, packed");
    case MIG_DP_SETTING_IMEX_CHANNELS:
        return parse_imex_channels(maker, text);
    case MIG_DP_SETTING_XIDS_DISABLED:
    case MIG_DP_SETTING_XIDS_ENABLED:
        return parse_xids(maker, text, setting->kind == MIG_DP_SETTING_XIDS_ENABLED);
    }
    return MIG_OK;
}

/* ---- the sources ---- */

static void set_defaults(struct mig_dp_config *config)
{
    *config = (struct mig_dp_config){
        .strategy = MIG_DP_STRATEGY_NONE,
        .list_strategies = MIG_DP_LIST_ENVVAR,
        .list_auto = true,
        .fail_on_init_error = true,
        .driver_root = "/",
        .dev_root = "",
        .container_driver_root = "/driver-root",
        .cdi_annotation_prefix = "cdi.k8s.io/",
        .cdi_hook_path = "/usr/bin/nvidia-ctk",
        .cdi_feature_flags = "",
        .cdi_disable_hooks = "",
        .kubelet_socket = "/var/lib/kubelet/device-plugins/kubelet.sock",
        .discovery_strategy = "auto",
        .mps_root = "/run/nvidia/mps",
        .use_node_feature_api = true,
        .gfd_sleep_interval = "60s",
        .gfd_output_file = "/etc/kubernetes/node-feature-discovery/features.d/gfd",
        .gfd_machine_type_file = "/sys/class/dmi/id/product_name",
        .health = {.hold_down_ms = HOLD_DOWN_MS},
    };
}

static int apply_environment(struct mig_dp_config_maker *maker,
                             const struct mig_dp_sources *sources)
{
    for (size_t i = 0; sources->environment && i < MIG_ARRAY_SIZE(settings); i++) {
        const char *names[] = {settings[i].variable, settings[i].other_variable};

        for (size_t j = MIG_ARRAY_SIZE(names); j-- > 0;) {
            const char *value =
                names[j] ? sources->environment(names[j], sources->environment_data) : NULL;
            int result =
                value && value[0] ? mig_dp_setting_set(maker, &settings[i], value) : MIG_OK;

            if (result < 0) {
                mig_error_prefix(maker->error, "%s", names[j]);
                return result;
            }
        }
    }
    return MIG_OK;
}

static const struct mig_dp_setting *find_flag(const char *name)
{
    for (size_t i = 0; i < MIG_ARRAY_SIZE(settings); i++) {
        if ((settings[i].flag && strcmp(settings[i].flag, name) == 0) ||
            (settings[i].other_flag && strcmp(settings[i].other_flag, name) == 0)) {
            return &settings[i];
        }
    }
    return NULL;
}

static int apply_flags(struct mig_dp_config_maker *maker, const struct mig_dp_sources *sources)
{
    for (size_t i = 0; i < sources->flag_count; i++) {
        const struct mig_dp_setting *setting = find_flag(sources->flags[i].name);
        int result;

        if (!setting) {
            return mig_error_set(maker->error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                                 "there is no setting --%.64s", sources->flags[i].name);
        }
        result = mig_dp_setting_set(maker, setting, sources->flags[i].value);
        if (result < 0) {
            mig_error_prefix(maker->error, "--%s", sources->flags[i].name);
            return result;
        }
    }
    return MIG_OK;
}

/* The finished settings: one block with the arena behind it, so that free needs only the pointer.
 */
struct kept {
    struct mig_dp_config config;
    struct mig_arena arena;
};

static int finish(struct mig_dp_config_maker *maker, struct mig_dp_config **ret)
{
    struct mig_dp_config *config = &maker->config;
    struct mig_dp_xid_rule *rules =
        mig_arena_array(&maker->arena, config->health.rule_count, sizeof(*rules));
    struct mig_finding *findings =
        mig_arena_array(&maker->arena, config->finding_count, sizeof(*findings));
    struct kept *kept = calloc(1, sizeof(*kept));

    if (!kept || (!rules && config->health.rule_count) || (!findings && config->finding_count)) {
        free(kept);
        return mig_error_set_errno(maker->error, MIG_E_FAILED, ENOMEM,
                                   "could not keep the settings");
    }
    if (rules) {
        memcpy(rules, maker->xid_rules, config->health.rule_count * sizeof(*rules));
    }
    if (findings) {
        memcpy(findings, maker->findings, config->finding_count * sizeof(*findings));
    }
    config->health.rules = rules;
    config->findings = findings;
    kept->config = *config;
    kept->arena = maker->arena;
    *ret = &kept->config;
    return MIG_OK;
}

static int apply_sources(struct mig_dp_config_maker *maker, const struct mig_dp_sources *sources)
{
    int result = MIG_OK;

    if (sources->file_name) {
        maker->name = sources->file_name;
        result = mig_dp_config_read_file(maker, sources->text, sources->size);
    }
    if (result == MIG_OK) {
        result = apply_environment(maker, sources);
    }
    if (result == MIG_OK) {
        result = apply_flags(maker, sources);
    }
    return result;
}

int mig_dp_config_make(const struct mig_dp_sources *sources, struct mig_dp_config **ret,
                       struct mig_error *error)
{
    MIG_AUTO_FREE struct mig_dp_config_maker *maker = calloc(1, sizeof(*maker));
    int result = MIG_OK;

    if (!maker) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read the settings");
    }
    maker->error = error;
    mig_arena_init(&maker->arena, MEMORY_MAX);
    set_defaults(&maker->config);
    if (sources) {
        result = apply_sources(maker, sources);
    }
    if (result == MIG_OK) {
        result = finish(maker, ret);
    }
    if (result < 0) {
        mig_arena_release(&maker->arena);
    }
    return result;
}

void mig_dp_config_free(struct mig_dp_config *config)
{
    if (config) {
        struct kept *kept = (struct kept *)config;

        mig_arena_release(&kept->arena);
        free(kept);
    }
}
