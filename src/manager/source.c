/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is wanted: the label, looked up in the config file that counts, against the GPUs at hand.
 *
 * A file counts by what was set up, never because another one is missing: when the ConfigMap that
 * ClusterPolicy names is deleted or not valid, its old content is forgotten, and that is the reason
 * that is told. Only while the API server has not said anything since the start does the record
 * stand in.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "manager/internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FNV_START 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

/* ---- files ----------------------------------------------------------------------------------- */

static void parse_file(struct mig_manager_file *file)
{
    struct mig_config *config = NULL;

    mig_config_free(file->config);
    file->config = NULL;
    if (mig_config_parse(file->name, file->text, file->size, &config, &file->error) == MIG_OK) {
        file->config = config;
    }
}

static bool is_same(const struct mig_manager_file *file, const struct mig_manager_config *config)
{
    return file->known && file->text && config->text && file->size == config->size &&
           memcmp(file->text, config->text, config->size) == 0 &&
           strcmp(file->name, config->name ? config->name : "") == 0;
}

void mig_manager_set_file(struct mig_manager *manager, unsigned source,
                          const struct mig_manager_config *config)
{
    struct mig_manager_file *file = &manager->files[source];

    if (is_same(file, config) && file->config) {
        return;
    }
    file->known = true;
    file->revision = manager->next_revision++;
    (void)mig_text_copy(file->name, sizeof(file->name), config->name ? config->name : "");
    free(MIG_TAKE(file->text));
    mig_config_free(MIG_TAKE(file->config));
    file->size = 0;
    if (!config->text) {
        mig_error_set(&file->error, MIG_E_CONFIG, MIG_DOMAIN_NONE, 0, "config '%s' is not there",
                      file->name);
        if (config->error) {
            file->error = *config->error;
        }
        return;
    }
    /* One byte more, so that an empty file is no failure. */
    file->text = config->size <= MIG_CONFIG_BYTES_MAX ? malloc(config->size + 1) : NULL;
    if (!file->text) {
        mig_error_set_errno(&file->error, MIG_E_FAILED,
                            config->size <= MIG_CONFIG_BYTES_MAX ? ENOMEM : EFBIG,
                            "could not keep config '%s'", file->name);
        return;
    }
    memcpy(file->text, config->text, config->size);
    file->text[config->size] = '\0';
    file->size = config->size;
    parse_file(file);
}

/* ---- the config made from the hardware ------------------------------------------------------- */

static uint64_t hash_text(uint64_t hash, const char *text)
{
    for (; *text; text++) {
        hash = (hash ^ (unsigned char)*text) * FNV_PRIME;
    }
    return (hash ^ 0xff) * FNV_PRIME;
}

/* Of what decides about the generated config. */
static size_t collect_models(const struct mig_node *node,
                             const struct mig_model *models[MIG_GPU_MAX], uint64_t *ret_hash)
{
    size_t count = 0;

    *ret_hash = FNV_START;
    for (uint32_t i = 0; i < node->gpu_count && count < MIG_GPU_MAX; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];

        if (gpu->mig_capable && gpu->layout.model) {
            models[count++] = gpu->layout.model;
            *ret_hash = hash_text(*ret_hash, gpu->layout.model->name);
            *ret_hash = (*ret_hash ^ gpu->pci_device) * FNV_PRIME;
        }
    }
    return count;
}

static void publish_generated(struct mig_manager *manager, const struct mig_manager_file *file)
{
    struct mig_manager_action *action = mig_manager_act(manager, MIG_MANAGER_PUBLISH_CONFIG);

    if (action) {
        action->text = file->text;
        action->text_size = file->size;
    }
}

/* Made again when the GPUs are others. Without MIG-capable GPUs there is none. */
static void generate(struct mig_manager *manager)
{
    struct mig_manager_file *file = &manager->files[MIG_MANAGER_SOURCE_GENERATED];
    struct mig_manager_config config = {.name = "generated"};
    const struct mig_model *models[MIG_GPU_MAX];
    MIG_AUTO_FREE char *text = NULL;
    struct mig_error error = {0};
    uint64_t hash, revision = file->revision;
    size_t count = collect_models(manager->node, models, &hash);

    if (file->known && hash == manager->models_hash) {
        return;
    }
    manager->models_hash = hash;
    if (count == 0) {
        mig_error_set(&error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0, "no GPU of this node can do MIG");
    } else if (mig_config_generate(models, count, MIG_FORMAT_YAML, &text, &error) == MIG_OK) {
        config.text = text;
        config.size = strlen(text);
    }
    config.error = &error;
    mig_manager_set_file(manager, MIG_MANAGER_SOURCE_GENERATED, &config);
    if (file->config && file->revision != revision) {
        publish_generated(manager, file);
    }
}

/* ---- which file counts ----------------------------------------------------------------------- */

/* The API server has not told us of the node since the start, and that long enough. */
static bool stands_alone(struct mig_manager *manager)
{
    return !manager->seen.known &&
           (manager->offline ||
            mig_manager_is_due(manager, manager->start_ms + manager->options.record_after_ms));
}

static const struct mig_manager_file *known_file(struct mig_manager *manager, unsigned source)
{
    return manager->files[source].known ? &manager->files[source] : NULL;
}

/* NULL: not known yet. */
static const struct mig_manager_file *file_that_counts(struct mig_manager *manager, bool alone)
{
    const struct mig_manager_file *file;

    if (manager->options.has_config_file) {
        return known_file(manager, MIG_MANAGER_SOURCE_FILE);
    }
    if (manager->options.has_cluster_policy && !manager->policy_known) {
        return alone ? known_file(manager, MIG_MANAGER_SOURCE_RECORD) : NULL;
    }
    if (manager->config_map[0]) {
        file = known_file(manager, MIG_MANAGER_SOURCE_CONFIG_MAP);
        return file && strcmp(file->name, manager->config_map) == 0 ? file : NULL;
    }
    if (!manager->node) {
        return NULL;
    }
    generate(manager);
    file = &manager->files[MIG_MANAGER_SOURCE_GENERATED];
    return !file->config && manager->options.has_default_file
               ? known_file(manager, MIG_MANAGER_SOURCE_DEFAULT_FILE)
               : file;
}

/* ---- the wish -------------------------------------------------------------------------------- */

/* The label, or what stands in for it. False: not known. */
static bool find_label(struct mig_manager *manager, bool alone, const char **ret)
{
    *ret = manager->seen.config.value;
    if (alone) {
        *ret = manager->record.label;
        return manager->record.label[0] != '\0';
    }
    return manager->seen.known && manager->seen.exists;
}

static void look_up(struct mig_manager *manager, const struct mig_manager_file *file)
{
    struct mig_manager_wish *wish = &manager->wish;
    size_t index;
    int result;

    wish->kind = MIG_MANAGER_WISH_INVALID;
    if (!file->config) {
        wish->error = file->error;
        return;
    }
    if (mig_config_select(file->config, wish->label, &index, &wish->error) != MIG_OK) {
        return;
    }
    if (!manager->node) {
        wish->kind = MIG_MANAGER_WISH_GOAL; /* nothing is known against it */
        return;
    }
    result = mig_config_goal(file->config, index, manager->node, manager->options.mode_only,
                             &wish->goal, &wish->error);
    if (result == MIG_OK) {
        wish->kind = MIG_MANAGER_WISH_GOAL;
        return;
    }
    mig_error_prefix(&wish->error, "cannot be as '%s' asks", wish->label);
}

void mig_manager_work_out_wish(struct mig_manager *manager)
{
    struct mig_manager_wish *wish = &manager->wish;
    bool alone = stands_alone(manager);
    const struct mig_manager_file *file;
    const char *label;

    wish->kind = MIG_MANAGER_WISH_UNKNOWN;
    mig_error_clear(&wish->error);
    if (!find_label(manager, alone, &label)) {
        return;
    }
    (void)mig_text_copy(wish->label, sizeof(wish->label), label);
    if (!label[0]) {
        wish->kind = MIG_MANAGER_WISH_NOTHING;
        return;
    }
    file = file_that_counts(manager, alone);
    if (file) {
        wish->source = (unsigned)(file - manager->files);
        wish->revision = file->revision;
        look_up(manager, file);
    }
}
