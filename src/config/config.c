/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parsing config files: what nvidia-mig-parted accepts is accepted, what it refuses is refused, but
 * with a place and with what was expected.
 *
 * It accepts some things that cannot be meant: a key written twice (the last one counts), nothing
 * where a truth value is needed (false), nothing as a device number (0). Refusing them would break
 * clusters that run today, so they are accepted here too and kept as problems, which validation
 * reports.
 */
#include "config/config.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "config/document.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_MEMORY_MAX (10u << 20)
#define PROBLEMS_MAX 256u
#define VERSION "v1"
#define STDIN_NAME "<stdin>"
#define NAMES_SHOWN 5u /* config names in a hint */
#define NEAR_DISTANCE 4u

struct parser {
    struct mig_config *config;
    struct mig_error *error;
    const char *config_name; /* the config at hand, "" = none */
    const struct mig_config_problem **problem_end;
    unsigned problem_count;
    uint32_t entry_count;
};

MIG_PRINTF(3, 4)
static int refuse(struct parser *parser, struct mig_position position, const char *format, ...)
{
    char text[MIG_ERROR_MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return mig_position_error(parser->error, MIG_E_CONFIG, parser->config->name, position, "%s",
                              text);
}

static int no_memory(struct parser *parser)
{
    return refuse(parser, (struct mig_position){1, 1},
                  "could not keep the file: it needs more than %u MiB", CONFIG_MEMORY_MAX >> 20);
}

/* Remembers something for validation. What does not fit is left out: there is more than enough. */
MIG_PRINTF(4, 5)
static void add_problem(struct parser *parser, enum mig_severity severity,
                        struct mig_position position, const char *format, ...)
{
    char text[sizeof(((struct mig_finding *)NULL)->text)];
    struct mig_arena *arena = &parser->config->arena;
    struct mig_config_problem *problem;
    va_list arguments;

    if (parser->problem_count == PROBLEMS_MAX) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    problem = mig_arena_take(arena, sizeof(*problem));
    if (!problem) {
        return;
    }
    *problem = (struct mig_config_problem){
        .config = parser->config_name, .severity = severity, .position = position};
    problem->text = mig_arena_text(arena, text, strlen(text));
    if (problem->text) {
        *parser->problem_end = problem;
        parser->problem_end = &problem->next;
        parser->problem_count++;
    }
}

static const char *keep_text(struct parser *parser, const char *text)
{
    return mig_arena_text(&parser->config->arena, text, strlen(text));
}

/* Reports what stands twice in a map, in the words of what the keys are. */
static void find_repeated(struct parser *parser, const struct mig_value *map, const char *what)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct mig_pair *pair = &map->pairs[i];

        if (pair->overridden && !pair->merged) {
            add_problem(parser, MIG_FINDING_ERROR, pair->position,
                        "%s '%.64s' is written again below; this one does not count", what,
                        pair->key);
        }
    }
}

static int expect(struct parser *parser, const struct mig_pair *pair, enum mig_value_kind kind,
                  const char *wanted)
{
    const struct mig_value *value = pair->value;

    if (value->kind == kind) {
        return 0;
    }
    return refuse(parser, value->position, "'%.64s' has to be %s, found %s%s%.64s%s", pair->key,
                  wanted, mig_value_kind_name(value->kind), *value->text ? " '" : "", value->text,
                  *value->text ? "'" : "");
}

/* Keys that may stand in a map; NULL-terminated. */
static int check_keys(struct parser *parser, const struct mig_value *map, const char *const *known)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct mig_pair *pair = &map->pairs[i];
        const char *near = NULL;
        bool found = false;

        for (size_t k = 0; known[k]; k++) {
            found = found || strcmp(known[k], pair->key) == 0;
            if (!near && mig_text_distance(known[k], pair->key, NEAR_DISTANCE) < NEAR_DISTANCE) {
                near = known[k];
            }
        }
        if (!found && near) {
            return refuse(parser, pair->position, "unexpected field '%.64s', did you mean '%s'?",
                          pair->key, near);
        }
        if (!found) {
            return refuse(parser, pair->position, "unexpected field '%.64s'", pair->key);
        }
    }
    return 0;
}

/* --- entries --- */

static int parse_device_numbers(struct parser *parser, const struct mig_value *list,
                                struct mig_config_entry *entry)
{
    struct mig_config_number *numbers;

    if (list->count > MIG_CONFIG_DEVICES_MAX) {
        return refuse(parser, list->position, "more than %d device numbers",
                      MIG_CONFIG_DEVICES_MAX);
    }
    numbers = mig_arena_array(&parser->config->arena, list->count, sizeof(*numbers));
    if (!numbers) {
        return no_memory(parser);
    }
    for (uint32_t i = 0; i < list->count; i++) {
        const struct mig_value *item = list->items[i];

        numbers[i].position = item->position;
        if (item->kind == MIG_VALUE_NULL) {
            add_problem(parser, MIG_FINDING_ERROR, item->position,
                        "an empty device number means GPU 0");
        } else if (item->kind == MIG_VALUE_INTEGER) {
            numbers[i].value = item->integer;
        } else {
            return refuse(parser, item->position,
                          "'devices' has to list GPU numbers, found %s '%.64s'",
                          mig_value_kind_name(item->kind), item->text);
        }
    }
    entry->devices = numbers;
    entry->device_count = list->count;
    return 0;
}

static int parse_devices(struct parser *parser, const struct mig_pair *pair,
                         struct mig_config_entry *entry)
{
    const struct mig_value *value = pair->value;

    entry->devices_position = pair->position;
    if (value->kind == MIG_VALUE_LIST) {
        return parse_device_numbers(parser, value, entry);
    }
    if (value->kind == MIG_VALUE_TEXT && strcmp(value->text, "all") == 0) {
        entry->all = true;
        return 0;
    }
    return refuse(parser, value->position,
                  "'devices' has to be 'all' or a list of GPU numbers, found %s '%.64s'",
                  mig_value_kind_name(value->kind), value->text);
}

/* 0xDDDDVVVV[:0xSSSSVVVV], each number as C writes it, '_' between digits allowed. */
static bool parse_pci_id(const char *text, size_t length, uint32_t *ret)
{
    char digits[32];
    size_t count = 0;
    uint64_t number;

    for (size_t i = 0; i < length; i++) {
        if (text[i] == '_' && i > 0 && i + 1 < length && text[i - 1] != '_') {
            continue;
        }
        if (count + 1 == sizeof(digits)) {
            return false;
        }
        digits[count++] = text[i];
    }
    digits[count] = '\0';
    if (!mig_text_parse_base0(digits, UINT32_MAX, &number)) {
        return false;
    }
    *ret = (uint32_t)number;
    return true;
}

static void parse_filter_text(struct mig_config_filter *filter)
{
    const char *colon = strchr(filter->text, ':');
    size_t length = colon ? (size_t)(colon - filter->text) : strlen(filter->text);

    filter->valid = parse_pci_id(filter->text, length, &filter->device);
    if (colon) {
        filter->has_subsystem = true;
        filter->valid =
            filter->valid && parse_pci_id(colon + 1, strlen(colon + 1), &filter->subsystem);
    }
}

static int parse_filter_value(struct parser *parser, const struct mig_value *value,
                              struct mig_config_filter *filter)
{
    if (value->kind != MIG_VALUE_TEXT && value->kind != MIG_VALUE_NULL) {
        return refuse(parser, value->position,
                      "'device-filter' has to be text like \"0x20B010DE\" (in quotes), found %s "
                      "'%.64s'",
                      mig_value_kind_name(value->kind), value->text);
    }
    filter->position = value->position;
    filter->text = keep_text(parser, value->kind == MIG_VALUE_NULL ? "" : value->text);
    if (!filter->text) {
        return no_memory(parser);
    }
    parse_filter_text(filter);
    return 0;
}

static int parse_filters(struct parser *parser, const struct mig_pair *pair,
                         struct mig_config_entry *entry)
{
    const struct mig_value *value = pair->value;
    bool is_list = value->kind == MIG_VALUE_LIST;
    uint32_t count = is_list ? value->count : 1;
    struct mig_config_filter *filters;

    entry->filter_position = pair->position;
    if (value->kind == MIG_VALUE_NULL || (value->kind == MIG_VALUE_TEXT && !*value->text)) {
        return 0;
    }
    if (count > MIG_CONFIG_DEVICES_MAX) {
        return refuse(parser, value->position, "more than %d device filters",
                      MIG_CONFIG_DEVICES_MAX);
    }
    filters = mig_arena_array(&parser->config->arena, count, sizeof(*filters));
    if (!filters) {
        return no_memory(parser);
    }
    for (uint32_t i = 0; i < count; i++) {
        int rc = parse_filter_value(parser, is_list ? value->items[i] : value, &filters[i]);

        if (rc < 0) {
            return rc;
        }
    }
    entry->filters = filters;
    entry->filter_count = count;
    return 0;
}

static int parse_enabled(struct parser *parser, const struct mig_pair *pair,
                         struct mig_config_entry *entry)
{
    if (pair->value->kind == MIG_VALUE_NULL) {
        add_problem(parser, MIG_FINDING_ERROR, pair->position,
                    "an empty 'mig-enabled' means false: MIG is turned off");
        return 0;
    }
    entry->enabled = pair->value->kind == MIG_VALUE_BOOL && pair->value->boolean;
    return expect(parser, pair, MIG_VALUE_BOOL, "true or false");
}

static int parse_count(struct parser *parser, const struct mig_pair *pair, uint32_t *ret)
{
    const struct mig_value *value = pair->value;

    *ret = 0;
    if (value->kind == MIG_VALUE_NULL) {
        return 0;
    }
    if (value->kind != MIG_VALUE_INTEGER || value->integer < 0) {
        return refuse(parser, value->position,
                      "the count of '%.64s' has to be a whole number from 0, found %s '%.64s'",
                      pair->key, mig_value_kind_name(value->kind), value->text);
    }
    *ret = value->integer > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)value->integer;
    return 0;
}

static int parse_profile(struct parser *parser, const struct mig_pair *pair,
                         struct mig_config_profile *ret)
{
    struct mig_profile_name name;
    struct mig_error error;

    if (mig_profile_parse(pair->key, &name, &error) < 0) {
        refuse(parser, pair->position, "%s", error.message);
        return mig_error_hint(parser->error, MIG_E_CONFIG, "%s", error.hint);
    }
    ret->position = pair->position;
    ret->name = keep_text(parser, pair->key);
    if (!ret->name) {
        return no_memory(parser);
    }
    return parse_count(parser, pair, &ret->count);
}

static int parse_profiles(struct parser *parser, const struct mig_pair *pair,
                          struct mig_config_entry *entry)
{
    const struct mig_value *map = pair->value;
    struct mig_config_profile *profiles;
    uint32_t count = 0;
    bool any = false;
    int rc = expect(parser, pair, MIG_VALUE_MAP, "a map of profiles and counts");

    if (rc < 0) {
        return rc;
    }
    find_repeated(parser, map, "profile");
    if (map->count > MIG_CONFIG_DEVICES_MAX) {
        return refuse(parser, map->position, "more than %d profiles", MIG_CONFIG_DEVICES_MAX);
    }
    profiles = mig_arena_array(&parser->config->arena, map->count, sizeof(*profiles));
    if (!profiles) {
        return no_memory(parser);
    }
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->pairs[i].overridden) {
            continue;
        }
        rc = parse_profile(parser, &map->pairs[i], &profiles[count]);
        if (rc < 0) {
            return rc;
        }
        any = any || profiles[count].count > 0;
        count++;
    }
    if (count > 0 && !any) {
        return refuse(parser, map->position,
                      "all counts in 'mig-devices' are 0; for none write {}");
    }
    entry->profiles = profiles;
    entry->profile_count = count;
    return 0;
}

static int parse_entry_fields(struct parser *parser, const struct mig_value *map,
                              struct mig_config_entry *entry)
{
    const struct mig_pair *devices = mig_value_find(map, "devices");
    const struct mig_pair *enabled = mig_value_find(map, "mig-enabled");
    const struct mig_pair *filter = mig_value_find(map, "device-filter");
    const struct mig_pair *profiles = mig_value_find(map, "mig-devices");
    int rc;

    if (profiles && profiles->value->kind == MIG_VALUE_NULL) {
        profiles = NULL;
    }
    if (!devices || !enabled) {
        return refuse(parser, map->position, "missing required field '%s'",
                      devices ? "mig-enabled" : "devices");
    }
    rc = parse_devices(parser, devices, entry);
    if (rc == 0) {
        rc = parse_enabled(parser, enabled, entry);
    }
    if (rc == 0 && filter) {
        rc = parse_filters(parser, filter, entry);
    }
    if (rc == 0 && profiles) {
        rc = parse_profiles(parser, profiles, entry);
    }
    if (rc < 0) {
        return rc;
    }
    if (entry->enabled && !profiles) {
        return refuse(parser, map->position,
                      "missing required field 'mig-devices' when 'mig-enabled' is true; for none "
                      "write {}");
    }
    if (!entry->enabled && entry->profile_count > 0) {
        return refuse(parser, entry->profiles[0].position,
                      "'mig-devices' names profiles although 'mig-enabled' is false");
    }
    return 0;
}

static int parse_entry(struct parser *parser, const struct mig_value *value,
                       struct mig_config_entry *entry)
{
    static const char *const known[] = {"devices", "mig-enabled", "device-filter", "mig-devices",
                                        NULL};
    int rc;

    entry->position = value->position;
    if (value->kind != MIG_VALUE_MAP) {
        return refuse(parser, value->position,
                      "an entry has to be a map with 'devices' and 'mig-enabled', found %s",
                      mig_value_kind_name(value->kind));
    }
    find_repeated(parser, value, "field");
    rc = check_keys(parser, value, known);
    return rc < 0 ? rc : parse_entry_fields(parser, value, entry);
}

/* --- configs --- */

static int parse_named(struct parser *parser, const struct mig_pair *pair,
                       struct mig_config_named *ret)
{
    const struct mig_value *list = pair->value;
    struct mig_config_entry *entries;

    ret->position = pair->position;
    ret->name = keep_text(parser, pair->key);
    if (!ret->name) {
        return no_memory(parser);
    }
    parser->config_name = ret->name;
    if (list->kind != MIG_VALUE_NULL && list->kind != MIG_VALUE_LIST) {
        return expect(parser, pair, MIG_VALUE_LIST, "a list of entries");
    }
    if (list->kind == MIG_VALUE_NULL || list->count == 0) {
        return refuse(parser, pair->position, "at least one entry in '%.64s' is required",
                      pair->key);
    }
    parser->entry_count += list->count;
    if (list->count > MIG_CONFIG_ENTRIES_MAX || parser->entry_count > MIG_CONFIG_ENTRIES_MAX) {
        return refuse(parser, pair->position, "more than %d entries in the file",
                      MIG_CONFIG_ENTRIES_MAX);
    }
    entries = mig_arena_array(&parser->config->arena, list->count, sizeof(*entries));
    if (!entries) {
        return no_memory(parser);
    }
    for (uint32_t i = 0; i < list->count; i++) {
        int rc = parse_entry(parser, list->items[i], &entries[i]);

        if (rc < 0) {
            return rc;
        }
    }
    ret->entries = entries;
    ret->entry_count = list->count;
    return 0;
}

static int parse_configs(struct parser *parser, const struct mig_pair *pair)
{
    const struct mig_value *map = pair->value;
    struct mig_config_named *configs;
    int rc;

    if (map->kind != MIG_VALUE_NULL) {
        rc = expect(parser, pair, MIG_VALUE_MAP, "a map of config names");
        if (rc < 0) {
            return rc;
        }
    }
    if (map->kind == MIG_VALUE_NULL || map->count == 0) {
        return refuse(parser, pair->position, "at least one entry in 'mig-configs' is required");
    }
    find_repeated(parser, map, "config");
    if (map->count > MIG_CONFIG_CONFIGS_MAX) {
        return refuse(parser, pair->position, "more than %d configs in the file",
                      MIG_CONFIG_CONFIGS_MAX);
    }
    configs = mig_arena_array(&parser->config->arena, map->count, sizeof(*configs));
    if (!configs) {
        return no_memory(parser);
    }
    parser->config->configs = configs;
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->pairs[i].overridden) {
            continue;
        }
        rc = parse_named(parser, &map->pairs[i], &configs[parser->config->count]);
        if (rc < 0) {
            return rc;
        }
        parser->config->count++;
    }
    return 0;
}

static int parse_root(struct parser *parser, const struct mig_value *root)
{
    static const char *const known[] = {"version", "mig-configs", NULL};
    const struct mig_pair *version, *configs;
    int rc;

    if (root->kind == MIG_VALUE_NULL) {
        return 0; /* an empty file is one without configs */
    }
    if (root->kind != MIG_VALUE_MAP) {
        return refuse(parser, root->position,
                      "the file has to be a map with 'version' and 'mig-configs', found %s",
                      mig_value_kind_name(root->kind));
    }
    find_repeated(parser, root, "field");
    version = mig_value_find(root, "version");
    if (!version) {
        return refuse(parser, root->position, "missing required field 'version'");
    }
    rc = expect(parser, version, MIG_VALUE_TEXT, "the text " VERSION);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(version->value->text, VERSION) != 0) {
        return refuse(parser, version->value->position,
                      "unknown version '%.64s', expected " VERSION, version->value->text);
    }
    rc = check_keys(parser, root, known);
    configs = mig_value_find(root, "mig-configs");
    return rc < 0 || !configs ? rc : parse_configs(parser, configs);
}

/* --- public --- */

int mig_config_parse(const char *name, const char *text, size_t size, struct mig_config **ret,
                     struct mig_error *error)
{
    struct mig_config *config = calloc(1, sizeof(*config));
    struct mig_document *document = NULL;
    struct parser parser = {.config = config, .error = error, .config_name = ""};
    int rc;

    if (!config) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read '%s'", name);
    }
    mig_arena_init(&config->arena, CONFIG_MEMORY_MAX);
    parser.problem_end = &config->problems;
    config->name = keep_text(&parser, name);
    if (!config->name) {
        mig_config_free(config);
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not read '%s'", name);
    }
    rc = mig_document_parse(name, text, size, &document, error);
    if (rc == 0) {
        rc = parse_root(&parser, mig_document_root(document));
    }
    mig_document_free(document);
    if (rc < 0) {
        mig_config_free(config);
        return rc;
    }
    *ret = config;
    return 0;
}

int mig_config_load(const char *path, struct mig_config **ret, struct mig_error *error)
{
    MIG_AUTO_FREE char *text = NULL;
    size_t size = 0;
    int rc = mig_document_read_file(path, &text, &size, error);

    if (rc < 0) {
        return rc;
    }
    return mig_config_parse(strcmp(path, "-") == 0 ? STDIN_NAME : path, text, size, ret, error);
}

void mig_config_free(struct mig_config *config)
{
    if (config) {
        mig_arena_release(&config->arena);
        free(config);
    }
}

size_t mig_config_count(const struct mig_config *config)
{
    return config->count;
}

const char *mig_config_name(const struct mig_config *config, size_t index)
{
    return index < config->count ? config->configs[index].name : NULL;
}

static void add_name(const char *name, char *buffer, size_t size)
{
    size_t used = strlen(buffer);

    snprintf(buffer + used, size - used, "%s'%.64s'", used > 0 ? ", " : "", name);
}

/* Names that may have been meant, nearest first; when there are none, the first of the file. */
static void name_hint(const struct mig_config *config, const char *name, char *buffer, size_t size)
{
    unsigned shown = 0;

    buffer[0] = '\0';
    for (unsigned distance = 0; distance < NEAR_DISTANCE; distance++) {
        for (size_t i = 0; i < config->count && shown < NAMES_SHOWN; i++) {
            if (mig_text_distance(config->configs[i].name, name, NEAR_DISTANCE) == distance) {
                add_name(config->configs[i].name, buffer, size);
                shown++;
            }
        }
    }
    for (size_t i = 0; shown == 0 && i < config->count && i < NAMES_SHOWN; i++) {
        add_name(config->configs[i].name, buffer, size);
    }
}

int mig_config_select(const struct mig_config *config, const char *name, size_t *ret,
                      struct mig_error *error)
{
    char names[MIG_ERROR_HINT_SIZE - 32];
    bool named = name && *name;

    for (size_t i = 0; i < config->count; i++) {
        if (named ? strcmp(config->configs[i].name, name) == 0 : config->count == 1) {
            *ret = i;
            return 0;
        }
    }
    name_hint(config, named ? name : "", names, sizeof(names));
    if (config->count == 0) {
        return mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                             "%s: there is no config in it", config->name);
    }
    if (!named) {
        mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0,
                      "%s: it has %zu configs and none was selected", config->name, config->count);
        return mig_error_hint(error, MIG_E_CONFIG, "select one of %s%s", names,
                              config->count > NAMES_SHOWN ? ", ..." : "");
    }
    mig_error_set(error, MIG_E_CONFIG, MIG_DOMAIN_CONFIG, 0, "%s: there is no config '%s'",
                  config->name, name);
    return mig_error_hint(error, MIG_E_CONFIG, "there is %s%s", names,
                          config->count > NAMES_SHOWN ? ", ..." : "");
}

bool mig_config_filter_is(const struct mig_config_filter *filter, uint32_t device,
                          uint32_t subsystem)
{
    return filter->valid && filter->device == device &&
           (!filter->has_subsystem || filter->subsystem == subsystem);
}

bool mig_config_filter_matches(const struct mig_config_entry *entry, uint32_t device,
                               uint32_t subsystem)
{
    for (uint32_t i = 0; i < entry->filter_count; i++) {
        if (mig_config_filter_is(&entry->filters[i], device, subsystem)) {
            return true;
        }
    }
    return entry->filter_count == 0;
}
