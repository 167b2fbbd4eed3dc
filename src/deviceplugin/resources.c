/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a snapshot to resources: what is there, what it is called, how it is shared.
 *
 * Each step works on all slices and can only rename, drop with a note, or mark; there is no state
 * of a node that ends the process. With strategy single all devices of the node have to be equal,
 * since a pod cannot ask for one kind or the other: of different kinds the largest group of MIG
 * devices is served.
 */
#include "deviceplugin/resources.h"
#include "base/cleanup.h"
#include "base/text.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GPU_RESOURCE MIG_DP_DOMAIN "gpu"
#define SHARED_SUFFIX ".shared"
#define DISPLAY_GPU "DGX Display" /* drives the screen of a workstation, is not for pods */

struct maker {
    const struct mig_node *node;
    const struct mig_dp_config *config;
    struct mig_dp_table *table;
    size_t slice_max;
};

/* ---- what is there ---- */

static size_t count_devices(const struct mig_node *node)
{
    size_t count = 0;

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_layout *layout = &node->gpus[i].layout;

        count++;
        for (unsigned j = 0; j < layout->gi_count; j++) {
            count += layout->gis[j].ci_count;
        }
    }
    return count;
}

static struct mig_dp_slice *add_slice(struct maker *maker, uint32_t gpu_index, const char *uuid)
{
    const struct mig_gpu *gpu = &maker->node->gpus[gpu_index];
    struct mig_dp_slice *slice = &maker->table->slices[maker->table->slice_count];

    if (maker->table->slice_count >= maker->slice_max) {
        return NULL;
    }
    *slice = (struct mig_dp_slice){
        .gpu = gpu->index,
        .minor = gpu->minor,
        .memory_mib = gpu->memory_total_mib > 0 ? (uint32_t)gpu->memory_total_mib : 0,
        .numa = gpu->numa_node >= 0 ? gpu->numa_node : MIG_DP_NUMA_NONE,
        .gi_profile = MIG_DP_WHOLE_GPU,
        .mig_index = MIG_UNKNOWN,
        .gi_id = MIG_ID_NONE,
        .ci_id = MIG_ID_NONE,
    };
    if (!uuid[0] || !mig_text_copy(slice->uuid, sizeof(slice->uuid), uuid) ||
        !mig_text_copy(slice->gpu_uuid, sizeof(slice->gpu_uuid), gpu->uuid)) {
        mig_dp_table_note(
            maker->table, gpu->index,
            "a device of GPU %u is not served: it has no UUID of at most %u characters", gpu->index,
            MIG_DP_ID_SIZE - 1);
        return NULL;
    }
    maker->table->slice_count++;
    return slice;
}

/* The memory belongs to the GPU instance: compute instances in it have equal parts. */
static uint32_t memory_of(const struct mig_gi_info *info, const struct mig_device *device,
                          unsigned ci_count)
{
    int64_t memory_mib =
        info->memory_total_mib > 0 ? info->memory_total_mib : device->attributes.memory_mib;

    return memory_mib > 0 && memory_mib < INT32_MAX ? (uint32_t)memory_mib / ci_count : 0;
}

static void add_gi(struct maker *maker, uint32_t gpu_index, unsigned gi_index)
{
    const struct mig_gpu *gpu = &maker->node->gpus[gpu_index];
    const struct mig_model *model = gpu->layout.model;
    const struct mig_gi *gi = &gpu->layout.gis[gi_index];

    for (unsigned i = 0; i < gi->ci_count; i++) {
        const struct mig_device *device = &gpu->gi_infos[gi_index].devices[i];
        struct mig_device_kind kind = {gi->profile, gi->cis[i].profile};
        struct mig_dp_slice *slice = add_slice(maker, gpu_index, device->uuid);

        if (slice) {
            mig_text_copy(slice->profile, sizeof(slice->profile),
                          mig_device_kind_name(model, kind));
            slice->mig_index = device->index;
            slice->gi_id = gi->id;
            slice->ci_id = gi->cis[i].id;
            slice->gi_profile = gi->profile;
            slice->start = gi->start;
            slice->size = model->profiles[gi->profile].size;
            slice->memory_mib = memory_of(&gpu->gi_infos[gi_index], device, gi->ci_count);
        }
    }
}

static void add_mig_gpu(struct maker *maker, uint32_t gpu_index)
{
    const struct mig_gpu *gpu = &maker->node->gpus[gpu_index];
    uint32_t before = maker->table->slice_count;

    for (unsigned i = 0; gpu->layout.model && i < gpu->layout.gi_count; i++) {
        add_gi(maker, gpu_index, i);
    }
    if (maker->table->slice_count == before) {
        mig_dp_table_note(maker->table, gpu->index,
                          "GPU %u has MIG mode enabled and no MIG device to serve", gpu->index);
    }
}

/* A GPU that cannot be read: what is known of it is announced as unhealthy, if anything is. */
static void add_bad_gpu(struct maker *maker, uint32_t gpu_index)
{
    const struct mig_gpu *gpu = &maker->node->gpus[gpu_index];
    struct mig_dp_slice *slice = NULL;

    if (maker->config->strategy == MIG_DP_STRATEGY_NONE && gpu->uuid[0]) {
        slice = add_slice(maker, gpu_index, gpu->uuid);
    }
    if (slice) {
        slice->unhealthy = true;
        mig_text_copy(slice->reason, sizeof(slice->reason), gpu->problem);
    }
    mig_dp_table_note(maker->table, gpu->index, "GPU %u is not served: %s", gpu->index,
                      gpu->problem);
}

static void add_gpus(struct maker *maker)
{
    for (uint32_t i = 0; i < maker->node->gpu_count; i++) {
        const struct mig_gpu *gpu = &maker->node->gpus[i];

        if (strstr(gpu->name, DISPLAY_GPU)) {
            continue;
        }
        if (gpu->problem[0]) {
            add_bad_gpu(maker, i);
        } else if (gpu->mig_mode && maker->config->strategy != MIG_DP_STRATEGY_NONE) {
            add_mig_gpu(maker, i);
        } else {
            (void)add_slice(maker, i, gpu->uuid);
            if (gpu->mig_mode) {
                mig_dp_table_note(
                    maker->table, gpu->index,
                    "GPU %u has MIG mode enabled, but strategy none announces it as a "
                    "whole; use strategy single or mixed",
                    gpu->index);
            }
        }
    }
}

/* ---- strategy single: one kind for the node ---- */

static uint32_t count_kind(const struct mig_dp_table *table, const char *profile)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < table->slice_count; i++) {
        count += strcmp(table->slices[i].profile, profile) == 0;
    }
    return count;
}

/* The profile of most MIG devices, of equally many the first; "" when there is no MIG device. */
static const char *choose_kind(const struct mig_dp_table *table)
{
    const char *best = "";
    uint32_t best_count = 0;

    for (uint32_t i = 0; i < table->slice_count; i++) {
        const char *profile = table->slices[i].profile;
        uint32_t count = profile[0] ? count_kind(table, profile) : 0;

        if (count > best_count) {
            best = profile;
            best_count = count;
        }
    }
    return best;
}

static void note_kind_left_out(struct mig_dp_table *table, const struct mig_dp_slice *slice,
                               const char *served)
{
    if (slice->profile[0]) {
        mig_dp_table_note(
            table, slice->gpu,
            "strategy single serves %s; a %s of GPU %u is not served: all MIG devices "
            "of the node have to be equal",
            served, slice->profile, slice->gpu);
    } else {
        mig_dp_table_note(table, slice->gpu,
                          "strategy single serves %s; GPU %u is not served: MIG mode has to be "
                          "enabled on all GPUs of the node, or on none",
                          served, slice->gpu);
    }
}

static void keep_one_kind(struct mig_dp_table *table)
{
    char served[MIG_NAME_SIZE];
    uint32_t kept = 0, noted_gpu = MIG_ID_NONE;

    mig_text_copy(served, sizeof(served), choose_kind(table));
    for (uint32_t i = 0; i < table->slice_count; i++) {
        const struct mig_dp_slice *slice = &table->slices[i];

        if (strcmp(slice->profile, served) == 0) {
            table->slices[kept++] = *slice;
        } else if (slice->gpu != noted_gpu) {
            noted_gpu = slice->gpu; /* one note for each GPU is enough */
            note_kind_left_out(table, slice, served);
        }
    }
    table->slice_count = kept;
}

/* ---- names ---- */

/* "1g.10gb+me" -> "nvidia.com/mig-1g.10gb.me"; what a name may not have becomes a dash. */
static bool default_mig_name(const char *profile, char buffer[MIG_DP_NAME_SIZE])
{
    char text[MIG_NAME_SIZE + 4];

    snprintf(text, sizeof(text), "mig-%s", profile);
    for (char *at = text; *at; at++) {
        if (*at == '+' || *at == ',') {
            *at = '.';
        } else if (!isalnum((unsigned char)*at) && *at != '.' && *at != '-' && *at != '_') {
            *at = '-';
        }
    }
    return mig_dp_resource_name(text, buffer);
}

static bool name_by_patterns(const struct mig_dp_pattern *patterns, uint32_t count,
                             const char *subject, char buffer[MIG_DP_NAME_SIZE])
{
    for (uint32_t i = 0; i < count; i++) {
        if (mig_dp_pattern_matches(patterns[i].pattern, subject)) {
            return mig_text_copy(buffer, MIG_DP_NAME_SIZE, patterns[i].name);
        }
    }
    return false;
}

static const char *product_of(const struct maker *maker, const struct mig_dp_slice *slice)
{
    for (uint32_t i = 0; i < maker->node->gpu_count; i++) {
        if (maker->node->gpus[i].index == slice->gpu) {
            return maker->node->gpus[i].name;
        }
    }
    return "";
}

static bool name_slice(const struct maker *maker, const struct mig_dp_slice *slice,
                       char buffer[MIG_DP_NAME_SIZE])
{
    const struct mig_dp_config *config = maker->config;

    if (slice->profile[0]) {
        if (name_by_patterns(config->mig_patterns, config->mig_pattern_count, slice->profile,
                             buffer)) {
            return true;
        }
        if (config->strategy == MIG_DP_STRATEGY_MIXED) {
            return default_mig_name(slice->profile, buffer);
        }
    } else if (name_by_patterns(config->gpu_patterns, config->gpu_pattern_count,
                                product_of(maker, slice), buffer)) {
        return true;
    }
    return mig_text_copy(buffer, MIG_DP_NAME_SIZE, GPU_RESOURCE);
}

/* Gives each slice its resource; drops those that cannot have one. */
static void name_slices(struct maker *maker)
{
    struct mig_dp_table *table = maker->table;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < table->slice_count; i++) {
        struct mig_dp_slice *slice = &table->slices[i];
        char name[MIG_DP_NAME_SIZE];

        if (!name_slice(maker, slice, name)) {
            mig_dp_table_note(table, slice->gpu,
                              "%s of GPU %u is not served: no resource name of "
                              "at most %u characters can be made for it",
                              slice->profile, slice->gpu, MIG_DP_NAME_SIZE - 1);
            continue;
        }
        slice->resource = mig_dp_table_resource(table, name);
        if (slice->resource >= MIG_DP_RESOURCES_MAX) {
            mig_dp_table_note(table, slice->gpu,
                              "%s of GPU %u is not served: more than %u resources on the node",
                              name, slice->gpu, MIG_DP_RESOURCES_MAX);
            continue;
        }
        table->slices[kept++] = *slice;
    }
    table->slice_count = kept;
    mig_dp_table_sort(table);
}

/* ---- sharing ---- */

/* "0" and a GPU's UUID mean the GPU and its slices, "0:1" and a MIG UUID one slice. */
static bool reference_matches(const char *reference, const struct mig_dp_slice *slice)
{
    char index[32];

    if (strcmp(reference, slice->uuid) == 0 || strcmp(reference, slice->gpu_uuid) == 0) {
        return true;
    }
    snprintf(index, sizeof(index), "%u", slice->gpu);
    if (strcmp(reference, index) == 0) {
        return true;
    }
    snprintf(index, sizeof(index), "%u:%d", slice->gpu, slice->mig_index);
    return slice->mig_index >= 0 && strcmp(reference, index) == 0;
}

static bool rule_covers(const struct mig_dp_rule *rule, const struct mig_dp_slice *slice,
                        uint32_t position)
{
    switch (rule->devices) {
    case MIG_DP_DEVICES_ALL:
        return true;
    case MIG_DP_DEVICES_COUNT:
        return position < rule->device_count;
    case MIG_DP_DEVICES_LIST:
        break;
    }
    for (uint32_t i = 0; i < rule->reference_count; i++) {
        if (reference_matches(rule->references[i], slice)) {
            return true;
        }
    }
    return false;
}

static const struct mig_dp_rule *rule_for(const struct mig_dp_sharing *sharing,
                                          const char *resource, const struct mig_dp_slice *slice,
                                          uint32_t position)
{
    for (uint32_t i = 0; i < sharing->rule_count; i++) {
        const struct mig_dp_rule *rule = &sharing->rules[i];

        if (strcmp(rule->name, resource) == 0 && rule_covers(rule, slice, position)) {
            return rule;
        }
    }
    return NULL;
}

/* The name under which a shared resource is announced; false when it would be too long. */
static bool shared_name(const struct mig_dp_sharing *sharing, const struct mig_dp_rule *rule,
                        char buffer[MIG_DP_NAME_SIZE])
{
    if (rule->rename[0]) {
        return mig_text_copy(buffer, MIG_DP_NAME_SIZE, rule->rename);
    }
    return snprintf(buffer, MIG_DP_NAME_SIZE, "%s%s", rule->name,
                    sharing->rename_by_default ? SHARED_SUFFIX : "") < MIG_DP_NAME_SIZE;
}

static bool is_in_mig_mode(const struct maker *maker, const struct mig_dp_slice *slice)
{
    for (uint32_t i = 0; i < maker->node->gpu_count; i++) {
        if (maker->node->gpus[i].index == slice->gpu) {
            return maker->node->gpus[i].mig_mode;
        }
    }
    return false;
}

static uint32_t clients_max(const struct maker *maker, const struct mig_dp_slice *slice)
{
    for (uint32_t i = 0; i < maker->node->gpu_count; i++) {
        const struct mig_gpu *gpu = &maker->node->gpus[i];

        if (gpu->index == slice->gpu && gpu->cc_major >= 0 &&
            gpu->cc_major * 10 + gpu->cc_minor < 75) {
            return MIG_DP_MPS_CLIENTS_MAX_OLD;
        }
    }
    return MIG_DP_MPS_CLIENTS_MAX;
}

/* False when a device cannot be shared by MPS as the rule wants it. */
static bool suits_mps(struct maker *maker, const struct mig_dp_slice *slice,
                      const struct mig_dp_rule *rule)
{
    uint32_t max = clients_max(maker, slice);

    if (rule->replicas > max) {
        mig_dp_table_note(maker->table, slice->gpu,
                          "%s is not shared: MPS has at most %u clients there, not %u", slice->uuid,
                          max, rule->replicas);
        return false;
    }
    if (strchr(slice->uuid, '/')) {
        mig_dp_table_note(maker->table, slice->gpu,
                          "%s is not shared by MPS: that needs a driver from branch 470 on",
                          slice->uuid);
        return false;
    }
    if (slice->gi_profile == MIG_DP_WHOLE_GPU && is_in_mig_mode(maker, slice)) {
        mig_dp_table_note(maker->table, slice->gpu,
                          "%s is not shared by MPS: the GPU has MIG mode enabled, so only its MIG "
                          "devices can be",
                          slice->uuid);
        return false;
    }
    return true;
}

static void share_slice(struct maker *maker, struct mig_dp_slice *slice,
                        const struct mig_dp_rule *rule)
{
    struct mig_dp_table *table = maker->table;
    char name[MIG_DP_NAME_SIZE], last[16];
    int digits = snprintf(last, sizeof(last), "::%u", rule->replicas - 1);
    uint32_t resource;

    if (strlen(slice->uuid) + (size_t)digits >= MIG_DP_ID_SIZE) {
        mig_dp_table_note(
            table, slice->gpu,
            "%s is not shared: ids of its %u replicas would be longer than %u characters",
            slice->uuid, rule->replicas, MIG_DP_ID_SIZE - 1);
        return;
    }
    if (maker->config->mps && !suits_mps(maker, slice, rule)) {
        return;
    }
    if (!shared_name(&maker->config->sharing, rule, name) ||
        (resource = mig_dp_table_resource(table, name)) >= MIG_DP_RESOURCES_MAX) {
        mig_dp_table_note(table, slice->gpu,
                          "%s is not shared: the name of the resource would be longer than %u "
                          "characters, or the node have more than %u resources",
                          slice->uuid, MIG_DP_NAME_SIZE - 1, MIG_DP_RESOURCES_MAX);
        return;
    }
    slice->resource = resource;
    slice->replicas = rule->replicas;
    slice->fail_above_one = maker->config->sharing.fail_requests_above_one;
    slice->mps = maker->config->mps;
}

/* Resources keep their numbers here: what is renamed gets a new one. */
static void share_slices(struct maker *maker)
{
    struct mig_dp_table *table = maker->table;
    uint32_t base_count = table->resource_count;

    for (uint32_t i = 0; i < base_count; i++) {
        struct mig_dp_resource resource = table->resources[i];

        for (uint32_t j = 0; j < resource.count; j++) {
            struct mig_dp_slice *slice = &table->slices[resource.first + j];
            const struct mig_dp_rule *rule =
                rule_for(&maker->config->sharing, resource.name, slice, j);

            if (rule) {
                share_slice(maker, slice, rule);
            }
        }
    }
    mig_dp_table_sort(table);
}

/* A list has to fit into one message to the kubelet. */
static void limit_devices(struct mig_dp_table *table)
{
    uint32_t total = 0, kept = 0;

    for (uint32_t i = 0; i < table->slice_count; i++) {
        uint32_t devices = mig_dp_slice_devices(&table->slices[i]);

        if (total + devices > MIG_DP_DEVICES_MAX) {
            mig_dp_table_note(table, table->slices[i].gpu,
                              "%s is not served: more than %u devices with all replicas",
                              table->slices[i].uuid, MIG_DP_DEVICES_MAX);
            continue;
        }
        total += devices;
        table->slices[kept++] = table->slices[i];
    }
    if (kept < table->slice_count) {
        table->slice_count = kept;
        mig_dp_table_sort(table);
    }
}

int mig_dp_table_make(const struct mig_node *node, const struct mig_dp_config *config,
                      struct mig_dp_table **ret, struct mig_error *error)
{
    size_t slice_max = count_devices(node);
    struct maker maker = {.node = node,
                          .config = config,
                          .table = mig_dp_table_new(slice_max),
                          .slice_max = slice_max};

    if (!maker.table) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM,
                                   "could not list the node's devices");
    }
    maker.table->generation = node->generation;
    add_gpus(&maker);
    if (config->strategy == MIG_DP_STRATEGY_SINGLE) {
        keep_one_kind(maker.table);
    }
    name_slices(&maker);
    share_slices(&maker);
    limit_devices(maker.table);
    *ret = maker.table;
    return MIG_OK;
}
