/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVIDIA's config file of the device plugin, version v1, YAML or JSON.
 *
 * Types are as strict as there; keys that are not known are ignored but reported with their line.
 * The sections that NVIDIA's plugin reads and then disables (resources, rename, devices of a rule)
 * are carried out here.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "deviceplugin/dp_config_internal.h"
#include "deviceplugin/resources.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VERSION "v1"
#define REPLICAS_MIN 2
#define HOLD_DOWN_MAX_S 86400
#define TEXT_MAX 512 /* of one value that is a list in the file and words here */

static const char *const flag_sections[] = {"flags", "flags.plugin", "flags.gfd", "imex"};

MIG_PRINTF(3, 4)
static int refuse(struct mig_dp_config_maker *maker, struct mig_position position,
                  const char *format, ...)
{
    char text[MIG_ERROR_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return mig_position_error(maker->error, MIG_E_CONFIG, maker->name, position, "%s", text);
}

static int no_memory(struct mig_dp_config_maker *maker, struct mig_position position)
{
    return refuse(maker, position, "could not keep the file: it needs too much memory");
}

static int expect(struct mig_dp_config_maker *maker, const struct mig_value *value,
                  enum mig_value_kind kind, const char *key)
{
    if (value->kind != kind) {
        return refuse(maker, value->position, "%s has to be %s, not %s", key,
                      mig_value_kind_name(kind), mig_value_kind_name(value->kind));
    }
    return MIG_OK;
}

static void warn_unknown(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                         const char *section)
{
    mig_dp_config_warn(maker, pair->position, "'%.64s' in %s is not known and has no effect",
                       pair->key, section);
}

/*
 * Calls `take` for each pair of a map that counts and is not null. `take` returns 1 for a key that
 * it does not know.
 */
typedef int take_pair(struct mig_dp_config_maker *maker, const struct mig_pair *pair, void *data);

static int each_pair(struct mig_dp_config_maker *maker, const struct mig_value *map,
                     const char *section, take_pair *take, void *data)
{
    int result = expect(maker, map, MIG_VALUE_MAP, section);

    for (uint32_t i = 0; result >= 0 && i < map->count; i++) {
        const struct mig_pair *pair = &map->pairs[i];

        if (pair->overridden) {
            mig_dp_config_warn(maker, pair->position, "'%.64s' comes again later, which counts",
                               pair->key);
            continue;
        }
        if (pair->value->kind == MIG_VALUE_NULL) {
            continue;
        }
        result = take(maker, pair, data);
        if (result == 1) {
            warn_unknown(maker, pair, section);
        }
    }
    return result < 0 ? result : MIG_OK;
}

/* ---- flags and imex: settings of dp_config.c ---- */

static bool is_scalar(const struct mig_value *value)
{
    return value->kind != MIG_VALUE_LIST && value->kind != MIG_VALUE_MAP;
}

/* A scalar as it is; a list of scalars with commas between. */
static int flat_text(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                     char buffer[TEXT_MAX])
{
    const struct mig_value *value = pair->value;
    size_t size = 0;

    if (is_scalar(value)) {
        return mig_text_copy(buffer, TEXT_MAX, value->text)
                   ? MIG_OK
                   : refuse(maker, value->position, "%s is too long", pair->key);
    }
    if (value->kind == MIG_VALUE_MAP) {
        return refuse(maker, value->position, "%s cannot be a map", pair->key);
    }
    buffer[0] = '\0';
    for (uint32_t i = 0; i < value->count; i++) {
        int length;

        if (!is_scalar(value->items[i])) {
            return refuse(maker, value->items[i]->position, "items of %s have to be text",
                          pair->key);
        }
        length = snprintf(buffer + size, TEXT_MAX - size, "%s%s", i > 0 ? "," : "",
                          value->items[i]->text);
        if (length < 0 || (size_t)length >= TEXT_MAX - size) {
            return refuse(maker, value->position, "%s is too long", pair->key);
        }
        size += (size_t)length;
    }
    return MIG_OK;
}

static bool takes_lists(const struct mig_dp_setting *setting)
{
    return setting->kind == MIG_DP_SETTING_LIST_STRATEGIES ||
           setting->kind == MIG_DP_SETTING_IMEX_CHANNELS ||
           setting->kind == MIG_DP_SETTING_XIDS_DISABLED ||
           setting->kind == MIG_DP_SETTING_XIDS_ENABLED;
}

static int take_setting(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                        const struct mig_dp_setting *setting)
{
    char text[TEXT_MAX];
    int result = MIG_OK;

    if (setting->kind == MIG_DP_SETTING_BOOL) {
        result = expect(maker, pair->value, MIG_VALUE_BOOL, pair->key);
    } else if (!takes_lists(setting) && !is_scalar(pair->value)) {
        result = expect(maker, pair->value, MIG_VALUE_TEXT, pair->key);
    }
    if (result < 0) {
        return result;
    }
    if (setting->kind == MIG_DP_SETTING_BOOL) {
        mig_text_copy(text, sizeof(text), pair->value->boolean ? "true" : "false");
    } else {
        result = flat_text(maker, pair, text);
    }
    if (result == MIG_OK) {
        result = mig_dp_setting_set(maker, setting, text);
        if (result < 0) {
            struct mig_error inner = maker->error ? *maker->error : (struct mig_error){0};

            return refuse(maker, pair->value->position, "%s: %.256s", pair->key, inner.message);
        }
    }
    return result;
}

static int take_flag(struct mig_dp_config_maker *maker, const struct mig_pair *pair, void *data)
{
    size_t section = *(const size_t *)data;
    const struct mig_dp_setting *setting = mig_dp_setting_find(flag_sections[section], pair->key);

    if (!setting && section == 0) {
        for (size_t i = 1; i <= 2; i++) {
            if (strcmp(pair->key, strchr(flag_sections[i], '.') + 1) == 0) {
                return each_pair(maker, pair->value, flag_sections[i], take_flag, &i);
            }
        }
    }
    return setting ? take_setting(maker, pair, setting) : 1;
}

/* ---- resources ---- */

static int full_name(struct mig_dp_config_maker *maker, const struct mig_value *value,
                     const char **ret)
{
    char name[MIG_DP_NAME_SIZE];
    int result = expect(maker, value, MIG_VALUE_TEXT, "name");

    if (result < 0) {
        return result;
    }
    if (!mig_dp_resource_name(value->text, name)) {
        return refuse(maker, value->position,
                      "'%.64s' is no name of a resource (with its domain at most %u characters, "
                      "letters and digits at both ends)",
                      value->text, MIG_DP_NAME_SIZE - 1);
    }
    *ret = mig_arena_text(&maker->arena, name, strlen(name));
    return *ret ? MIG_OK : no_memory(maker, value->position);
}

static int take_pattern_key(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                            void *data)
{
    struct mig_dp_pattern *pattern = data;

    if (strcmp(pair->key, "name") == 0) {
        return full_name(maker, pair->value, &pattern->name);
    }
    if (strcmp(pair->key, "pattern") != 0) {
        return 1;
    }
    if (!is_scalar(pair->value)) {
        return expect(maker, pair->value, MIG_VALUE_TEXT, "pattern");
    }
    pattern->pattern = mig_arena_text(&maker->arena, pair->value->text, strlen(pair->value->text));
    return pattern->pattern ? MIG_OK : no_memory(maker, pair->position);
}

static int take_patterns(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                         const struct mig_dp_pattern **ret, uint32_t *ret_count)
{
    struct mig_dp_pattern *patterns;
    int result = expect(maker, pair->value, MIG_VALUE_LIST, pair->key);

    if (result == MIG_OK && pair->value->count > MIG_DP_PATTERNS_MAX) {
        return refuse(maker, pair->position, "more than %u patterns", MIG_DP_PATTERNS_MAX);
    }
    if (result < 0) {
        return result;
    }
    patterns = mig_arena_array(&maker->arena, pair->value->count, sizeof(*patterns));
    if (!patterns && pair->value->count > 0) {
        return no_memory(maker, pair->position);
    }
    for (uint32_t i = 0; result == MIG_OK && i < pair->value->count; i++) {
        const struct mig_value *item = pair->value->items[i];

        result = each_pair(maker, item, "a resource", take_pattern_key, &patterns[i]);
        if (result == MIG_OK && (!patterns[i].pattern || !patterns[i].name)) {
            return refuse(maker, item->position, "a resource needs a pattern and a name");
        }
    }
    *ret = patterns;
    *ret_count = pair->value->count;
    return result;
}

static int take_resources(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                          void *data)
{
    struct mig_dp_config *config = &maker->config;

    (void)data;
    if (strcmp(pair->key, "gpus") == 0) {
        return take_patterns(maker, pair, &config->gpu_patterns, &config->gpu_pattern_count);
    }
    if (strcmp(pair->key, "mig") == 0) {
        return take_patterns(maker, pair, &config->mig_patterns, &config->mig_pattern_count);
    }
    return 1;
}

/* ---- sharing ---- */

static int take_references(struct mig_dp_config_maker *maker, const struct mig_value *list,
                           struct mig_dp_rule *rule)
{
    const char **references;

    if (list->count == 0 || list->count > MIG_DP_REFERENCES_MAX) {
        return refuse(maker, list->position, "devices has to name 1 to %u devices",
                      MIG_DP_REFERENCES_MAX);
    }
    references = mig_arena_array(&maker->arena, list->count, sizeof(*references));
    for (uint32_t i = 0; references && i < list->count; i++) {
        const struct mig_value *item = list->items[i];

        if (!is_scalar(item) || !item->text[0]) {
            return refuse(maker, item->position, "a device is an index (0, 0:1) or a UUID, not %s",
                          mig_value_kind_name(item->kind));
        }
        references[i] = mig_arena_text(&maker->arena, item->text, strlen(item->text));
        if (!references[i]) {
            references = NULL;
        }
    }
    if (!references) {
        return no_memory(maker, list->position);
    }
    rule->devices = MIG_DP_DEVICES_LIST;
    rule->references = references;
    rule->reference_count = list->count;
    return MIG_OK;
}

static int take_devices(struct mig_dp_config_maker *maker, const struct mig_value *value,
                        struct mig_dp_rule *rule)
{
    if (value->kind == MIG_VALUE_LIST) {
        return take_references(maker, value, rule);
    }
    if (value->kind == MIG_VALUE_INTEGER && value->integer > 0 && value->integer <= UINT32_MAX) {
        rule->devices = MIG_DP_DEVICES_COUNT;
        rule->device_count = (uint32_t)value->integer;
        return MIG_OK;
    }
    if (value->kind == MIG_VALUE_TEXT && strcmp(value->text, "all") == 0) {
        rule->devices = MIG_DP_DEVICES_ALL;
        return MIG_OK;
    }
    return refuse(maker, value->position, "devices has to be all, a number above 0 or a list");
}

static int take_rule_key(struct mig_dp_config_maker *maker, const struct mig_pair *pair, void *data)
{
    struct mig_dp_rule *rule = data;
    const struct mig_value *value = pair->value;

    if (strcmp(pair->key, "name") == 0) {
        return full_name(maker, value, &rule->name);
    }
    if (strcmp(pair->key, "rename") == 0) {
        return full_name(maker, value, &rule->rename);
    }
    if (strcmp(pair->key, "devices") == 0) {
        return take_devices(maker, value, rule);
    }
    if (strcmp(pair->key, "replicas") != 0) {
        return 1;
    }
    if (value->kind != MIG_VALUE_INTEGER || value->integer < REPLICAS_MIN ||
        value->integer > MIG_DP_REPLICAS_MAX) {
        return refuse(maker, value->position, "replicas has to be a number from %d to %u",
                      REPLICAS_MIN, MIG_DP_REPLICAS_MAX);
    }
    rule->replicas = (uint32_t)value->integer;
    return MIG_OK;
}

static int take_rules(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                      struct mig_dp_sharing *sharing)
{
    struct mig_dp_rule *rules;
    int result = expect(maker, pair->value, MIG_VALUE_LIST, "resources");

    if (result == MIG_OK && pair->value->count > MIG_DP_RULES_MAX) {
        return refuse(maker, pair->position, "more than %u shared resources", MIG_DP_RULES_MAX);
    }
    if (result < 0) {
        return result;
    }
    rules = mig_arena_array(&maker->arena, pair->value->count, sizeof(*rules));
    if (!rules && pair->value->count > 0) {
        return no_memory(maker, pair->position);
    }
    for (uint32_t i = 0; result == MIG_OK && i < pair->value->count; i++) {
        const struct mig_value *item = pair->value->items[i];

        rules[i].rename = "";
        result = each_pair(maker, item, "a shared resource", take_rule_key, &rules[i]);
        if (result == MIG_OK && (!rules[i].name || rules[i].replicas == 0)) {
            return refuse(maker, item->position, "a shared resource needs a name and replicas");
        }
    }
    sharing->rules = rules;
    sharing->rule_count = pair->value->count;
    return result;
}

static int take_bool(struct mig_dp_config_maker *maker, const struct mig_pair *pair, bool *ret)
{
    int result = expect(maker, pair->value, MIG_VALUE_BOOL, pair->key);

    if (result == MIG_OK) {
        *ret = pair->value->boolean;
    }
    return result;
}

static int take_sharing_key(struct mig_dp_config_maker *maker, const struct mig_pair *pair,
                            void *data)
{
    struct mig_dp_sharing *sharing = data;

    if (strcmp(pair->key, "renameByDefault") == 0) {
        return take_bool(maker, pair, &sharing->rename_by_default);
    }
    if (strcmp(pair->key, "failRequestsGreaterThanOne") == 0) {
        return take_bool(maker, pair, &sharing->fail_requests_above_one);
    }
    return strcmp(pair->key, "resources") == 0 ? take_rules(maker, pair, sharing) : 1;
}

struct sharings {
    struct mig_dp_sharing slicing, mps;
    struct mig_position slicing_position, mps_position;
};

static int take_sharing(struct mig_dp_config_maker *maker, const struct mig_pair *pair, void *data)
{
    struct sharings *sharings = data;

    if (strcmp(pair->key, "timeSlicing") == 0) {
        sharings->slicing_position = pair->position;
        return each_pair(maker, pair->value, "sharing.timeSlicing", take_sharing_key,
                         &sharings->slicing);
    }
    if (strcmp(pair->key, "mps") != 0) {
        return 1;
    }
    maker->config.mps = true;
    sharings->mps.fail_requests_above_one = true;
    sharings->mps_position = pair->position;
    return each_pair(maker, pair->value, "sharing.mps", take_sharing_key, &sharings->mps);
}

/* Of both ways MPS counts, as in NVIDIA's plugin. */
static int take_sharings(struct mig_dp_config_maker *maker, const struct mig_pair *pair)
{
    struct sharings sharings = {0};
    int result = each_pair(maker, pair->value, "sharing", take_sharing, &sharings);

    if (result < 0) {
        return result;
    }
    maker->config.sharing = maker->config.mps ? sharings.mps : sharings.slicing;
    if (maker->config.mps && sharings.slicing.rule_count > 0) {
        mig_dp_config_warn(maker, sharings.slicing_position,
                           "sharing.timeSlicing has no effect beside sharing.mps");
    }
    if (maker->config.mps && !sharings.mps.fail_requests_above_one) {
        maker->config.sharing.fail_requests_above_one = true;
        mig_dp_config_warn(maker, sharings.mps_position,
                           "failRequestsGreaterThanOne is always true with sharing.mps: a client "
                           "of two replicas has the limits of one");
    }
    return MIG_OK;
}

/* ---- health: our own section ---- */

struct xid_entry {
    int64_t xid;
    enum mig_dp_xid_action action;
};

static int take_xid_key(struct mig_dp_config_maker *maker, const struct mig_pair *pair, void *data)
{
    static const char *const names[] = {"default", "ignore", "device", "gpu"};
    struct xid_entry *entry = data;

    if (strcmp(pair->key, "xid") == 0) {
        if (pair->value->kind != MIG_VALUE_INTEGER || pair->value->integer <= 0 ||
            pair->value->integer > UINT32_MAX) {
            return refuse(maker, pair->value->position, "xid has to be a number above 0");
        }
        entry->xid = pair->value->integer;
        return MIG_OK;
    }
    if (strcmp(pair->key, "action") != 0) {
        return 1;
    }
    for (size_t i = 0; pair->value->kind == MIG_VALUE_TEXT && i < MIG_ARRAY_SIZE(names); i++) {
        if (strcmp(pair->value->text, names[i]) == 0) {
            entry->action = (enum mig_dp_xid_action)i;
            return MIG_OK;
        }
    }
    return refuse(maker, pair->value->position, "action has to be default, ignore, device or gpu");
}

static int take_xids(struct mig_dp_config_maker *maker, const struct mig_value *list)
{
    int result = expect(maker, list, MIG_VALUE_LIST, "xids");

    for (uint32_t i = 0; result == MIG_OK && i < list->count; i++) {
        struct xid_entry entry = {0};

        result = each_pair(maker, list->items[i], "an XID", take_xid_key, &entry);
        if (result == MIG_OK && entry.xid == 0) {
            return refuse(maker, list->items[i]->position, "an entry of xids needs an xid");
        }
        if (result == MIG_OK &&
            mig_dp_config_add_xid(maker, (uint64_t)entry.xid, entry.action) < 0) {
            return refuse(maker, list->position, "more than %u rules for XIDs",
                          MIG_DP_XID_ACTIONS_MAX);
        }
    }
    return result;
}

static int take_health(struct mig_dp_config_maker *maker, const struct mig_pair *pair, void *data)
{
    const struct mig_dp_setting *setting = mig_dp_setting_find("health", pair->key);
    const struct mig_value *value = pair->value;

    (void)data;
    if (setting) {
        return take_setting(maker, pair, setting);
    }
    if (strcmp(pair->key, "xids") == 0) {
        return take_xids(maker, value);
    }
    if (strcmp(pair->key, "holdDownSeconds") != 0) {
        return 1;
    }
    if (value->kind != MIG_VALUE_INTEGER || value->integer < 0 ||
        value->integer > HOLD_DOWN_MAX_S) {
        return refuse(maker, value->position, "holdDownSeconds has to be a number up to %d",
                      HOLD_DOWN_MAX_S);
    }
    maker->config.health.hold_down_ms = (uint32_t)value->integer * 1000u;
    return MIG_OK;
}

/* ---- the whole ---- */

static int take_version(struct mig_dp_config_maker *maker, const struct mig_pair *pair)
{
    const struct mig_value *value = pair->value;

    if (!is_scalar(value) || (value->text[0] && strcmp(value->text, VERSION) != 0)) {
        return refuse(maker, value->position, "version has to be %s", VERSION);
    }
    return MIG_OK;
}

static int take_top(struct mig_dp_config_maker *maker, const struct mig_pair *pair, void *data)
{
    size_t section = strcmp(pair->key, "imex") == 0 ? 3 : 0;

    (void)data;
    if (strcmp(pair->key, "version") == 0) {
        return take_version(maker, pair);
    }
    if (strcmp(pair->key, "flags") == 0 || section == 3) {
        return each_pair(maker, pair->value, pair->key, take_flag, &section);
    }
    if (strcmp(pair->key, "resources") == 0) {
        return each_pair(maker, pair->value, "resources", take_resources, NULL);
    }
    if (strcmp(pair->key, "sharing") == 0) {
        return take_sharings(maker, pair);
    }
    return strcmp(pair->key, "health") == 0
               ? each_pair(maker, pair->value, "health", take_health, NULL)
               : 1;
}

int mig_dp_config_read_file(struct mig_dp_config_maker *maker, const char *text, size_t size)
{
    struct mig_document *document = NULL;
    int result;

    if (size > MIG_DP_CONFIG_BYTES_MAX) {
        return mig_error_set_errno(maker->error, MIG_E_CONFIG, EFBIG, "could not read %.200s",
                                   maker->name);
    }
    result = mig_document_parse(maker->name, text, size, &document, maker->error);
    if (result == MIG_OK && mig_document_root(document)->kind != MIG_VALUE_NULL) {
        result = each_pair(maker, mig_document_root(document), "the file", take_top, NULL);
    }
    mig_document_free(document);
    return result;
}
