/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A config file made from what GPUs can do, with the names that nvidia-mig-parted generates:
 * all-disabled, all-enabled, all-<profile> with as many instances as an empty GPU holds, and
 * all-balanced.
 *
 * A GPU is known by its PCI device id; as soon as there are several ids every entry has a filter,
 * and ids that get the same instances share an entry. Counts come from placements where they are
 * known, because what a driver says of its own maximum is wrong on some boards.
 */
#include "base/cleanup.h"
#include "config/write.h"
#include <errno.h>
#include <string.h>

#define DEVICE_MAX 128u /* PCI device ids */
#define CONFIG_MAX 512u
#define ENTRY_MAX 1024u /* over all configs */
#define NAME_SIZE (MIG_NAME_SIZE + 8)
#define MIX_MAX 3u /* profiles of one entry */
#define FILTER_SIZE 16u

struct device {
    uint32_t id;
    const struct mig_model *model;
};

/* An entry in the making: its instances, and its filters. */
struct slot {
    struct mig_out_profile mix[MIX_MAX];
    char filters[DEVICE_MAX][FILTER_SIZE];
};

struct generator {
    struct device devices[DEVICE_MAX]; /* ascending by id */
    size_t device_count;
    struct mig_out_config configs[CONFIG_MAX];
    char names[CONFIG_MAX][NAME_SIZE];
    size_t config_count;
    struct mig_out_entry entries[ENTRY_MAX]; /* those of one config stand together */
    struct slot slots[ENTRY_MAX];
    size_t entry_count;
    bool full; /* a limit was reached */
};

/* What one GPU gets. */
struct mix {
    struct mig_out_profile profiles[MIX_MAX];
    size_t count;
};

/*
 * The shares of all-balanced, by the compute slices of the largest profile; GPUs with another
 * number are left out of it.
 */
static const struct {
    uint8_t slice_count;
    struct {
        uint8_t slices, count;
    } parts[MIX_MAX];
} balanced[] = {{7, {{1, 2}, {2, 1}, {3, 1}}}, {4, {{1, 2}, {2, 1}}}};

static uint32_t max_count(const struct mig_model *model, unsigned profile)
{
    const struct mig_layout empty = {.model = model};

    return model->profiles[profile].start_count > 0 ? mig_layout_room(&empty, profile)
                                                    : model->profiles[profile].max_instances;
}

static void add_device(struct generator *generator, uint32_t id, const struct mig_model *model)
{
    size_t at = 0;

    while (at < generator->device_count && generator->devices[at].id < id) {
        at++;
    }
    if (at < generator->device_count && generator->devices[at].id == id) {
        return; /* two products with one id: the first stands for both */
    }
    if (generator->device_count == DEVICE_MAX) {
        generator->full = true;
        return;
    }
    memmove(&generator->devices[at + 1], &generator->devices[at],
            (generator->device_count - at) * sizeof(generator->devices[0]));
    generator->devices[at] = (struct device){.id = id, .model = model};
    generator->device_count++;
}

static struct mig_out_config *start_config(struct generator *generator, const char *name)
{
    struct mig_out_config *config;

    if (generator->config_count == CONFIG_MAX) {
        generator->full = true;
        return NULL;
    }
    config = &generator->configs[generator->config_count];
    snprintf(generator->names[generator->config_count], NAME_SIZE, "%s", name);
    config->name = generator->names[generator->config_count++];
    config->entries = &generator->entries[generator->entry_count];
    return config;
}

static struct mig_out_entry *add_entry(struct generator *generator, struct mig_out_config *config)
{
    struct mig_out_entry *entry;

    if (!config || generator->entry_count == ENTRY_MAX) {
        generator->full = true;
        return NULL;
    }
    entry = &generator->entries[generator->entry_count];
    *entry = (struct mig_out_entry){.all = true, .enabled = true};
    entry->profiles = generator->slots[generator->entry_count].mix;
    entry->filters = generator->slots[generator->entry_count].filters;
    generator->entry_count++;
    config->entry_count++;
    return entry;
}

static bool has_mix(const struct mig_out_entry *entry, const struct mix *mix)
{
    if (entry->profile_count != mix->count) {
        return false;
    }
    for (size_t i = 0; i < mix->count; i++) {
        if (entry->profiles[i].count != mix->profiles[i].count ||
            strcmp(entry->profiles[i].name, mix->profiles[i].name) != 0) {
            return false;
        }
    }
    return true;
}

/* Adds a device to the entry of `config` that has this mix; there may be none yet. */
static void add_mix(struct generator *generator, struct mig_out_config *config,
                    const struct device *device, const struct mix *mix)
{
    struct mig_out_entry *entry = NULL;

    for (size_t i = 0; config && i < config->entry_count; i++) {
        if (has_mix(&config->entries[i], mix)) {
            entry = &config->entries[i];
        }
    }
    if (!entry) {
        entry = add_entry(generator, config);
        if (!entry) {
            return;
        }
        memcpy(entry->profiles, mix->profiles, sizeof(mix->profiles));
        entry->profile_count = mix->count;
    }
    snprintf(entry->filters[entry->filter_count++], FILTER_SIZE, "0x%08X", device->id);
}

static int compare_counts(const void *a, const void *b)
{
    uint32_t left = ((const struct mig_out_entry *)a)->profiles[0].count;
    uint32_t right = ((const struct mig_out_entry *)b)->profiles[0].count;

    return left < right ? -1 : left > right;
}

/* all-<profile>: an entry for each count, the smallest first. A config name has no '+'. */
static void add_profile_config(struct generator *generator, const char *profile)
{
    char name[NAME_SIZE];
    struct mig_out_config *config;

    snprintf(name, sizeof(name), "all-%s", profile);
    for (char *plus = strchr(name, '+'); plus; plus = strchr(plus, '+')) {
        *plus = '.';
    }
    config = start_config(generator, name);
    for (size_t i = 0; i < generator->device_count; i++) {
        const struct device *device = &generator->devices[i];
        int index = mig_model_find_profile(device->model, profile);
        struct mix mix = {.count = 1};

        if (index >= 0) {
            mix.profiles[0] = (struct mig_out_profile){
                .name = profile, .count = max_count(device->model, (unsigned)index)};
            add_mix(generator, config, device, &mix);
        }
    }
    if (config) {
        qsort(config->entries, config->entry_count, sizeof(config->entries[0]), compare_counts);
    }
}

/* True when an earlier device, or an earlier profile of this one, has a profile of this name. */
static bool seen_before(const struct generator *generator, size_t device, const char *name)
{
    for (size_t i = 0; i < device; i++) {
        if (mig_model_find_profile(generator->devices[i].model, name) >= 0) {
            return true;
        }
    }
    return false;
}

static void add_profile_configs(struct generator *generator)
{
    for (size_t i = 0; i < generator->device_count; i++) {
        const struct mig_model *model = generator->devices[i].model;

        for (unsigned k = 0; k < model->profile_count; k++) {
            const char *name = model->profiles[k].name;

            if (!seen_before(generator, i, name) && mig_model_find_profile(model, name) == (int)k) {
                add_profile_config(generator, name);
            }
        }
    }
}

static bool is_plain(const struct mig_profile *profile)
{
    return profile->variant == MIG_VARIANT_BASE || profile->variant == MIG_VARIANT_MEM2X;
}

/* The plain profile of so many slices that fits most often; NULL when there is none. */
static const struct mig_profile *best_plain(const struct mig_model *model, uint8_t slices)
{
    const struct mig_profile *best = NULL;
    uint32_t best_count = 0;

    for (unsigned i = 0; i < model->profile_count; i++) {
        const struct mig_profile *profile = &model->profiles[i];

        if (is_plain(profile) && profile->slice_count == slices &&
            max_count(model, i) > best_count) {
            best = profile;
            best_count = max_count(model, i);
        }
    }
    return best;
}

static bool balanced_mix(const struct mig_model *model, struct mix *ret)
{
    uint8_t largest = 0;

    for (unsigned i = 0; i < model->profile_count; i++) {
        if (is_plain(&model->profiles[i]) && model->profiles[i].slice_count > largest) {
            largest = model->profiles[i].slice_count;
        }
    }
    for (size_t i = 0; i < MIG_ARRAY_SIZE(balanced); i++) {
        if (balanced[i].slice_count != largest) {
            continue;
        }
        *ret = (struct mix){0};
        for (size_t k = 0; k < MIX_MAX && balanced[i].parts[k].count > 0; k++) {
            const struct mig_profile *profile = best_plain(model, balanced[i].parts[k].slices);

            if (!profile) {
                return false;
            }
            ret->profiles[ret->count++] = (struct mig_out_profile){
                .name = profile->name, .count = balanced[i].parts[k].count};
        }
        return true;
    }
    return false;
}

static void add_balanced_config(struct generator *generator)
{
    struct mig_out_config *config = NULL;

    for (size_t i = 0; i < generator->device_count; i++) {
        struct mix mix;

        if (balanced_mix(generator->devices[i].model, &mix)) {
            config = config ? config : start_config(generator, "all-balanced");
            add_mix(generator, config, &generator->devices[i], &mix);
        }
    }
}

static void add_plain_config(struct generator *generator, const char *name, bool enabled)
{
    struct mig_out_entry *entry = add_entry(generator, start_config(generator, name));

    if (entry) {
        entry->enabled = enabled;
        entry->profiles_unset = !enabled;
    }
}

static int generate(struct generator *generator, const struct mig_model *const *models,
                    size_t model_count, struct mig_error *error)
{
    for (size_t i = 0; i < model_count; i++) {
        for (unsigned k = 0; models[i]->profile_count > 0 && k < models[i]->pci_id_count; k++) {
            add_device(generator, models[i]->pci_ids[k].device, models[i]);
        }
    }
    if (generator->device_count == 0) {
        return mig_error_set(error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0,
                             "could not generate a config: no GPU with known MIG profiles");
    }
    add_plain_config(generator, "all-disabled", false);
    add_plain_config(generator, "all-enabled", true);
    add_profile_configs(generator);
    add_balanced_config(generator);
    for (size_t i = 0; generator->device_count == 1 && i < generator->entry_count; i++) {
        generator->entries[i].filter_count = 0;
    }
    if (generator->full) {
        return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                             "could not generate a config: too many different GPUs or profiles");
    }
    return 0;
}

int mig_config_generate(const struct mig_model *const *models, size_t model_count,
                        enum mig_format format, char **ret, struct mig_error *error)
{
    MIG_AUTO_FREE struct generator *generator = calloc(1, sizeof(*generator));
    int rc;

    if (!generator) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not generate a config");
    }
    rc = generate(generator, models, model_count, error);
    return rc < 0
               ? rc
               : mig_config_write(generator->configs, generator->config_count, format, ret, error);
}
