/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node as a config file. Equal GPUs become one entry; a device-filter is written only where the
 * node has several kinds of GPU, and `all` stands where an entry covers every GPU of its filters.
 * These are nvidia-mig-parted's rules, so that the files compare equal.
 *
 * Only MIG devices can be written down: a GPU instance without a compute instance has no place in
 * the format.
 */
#include "base/cleanup.h"
#include "config/write.h"
#include <errno.h>
#include <string.h>

#define FILTER_SIZE sizeof(((struct mig_out_entry *)NULL)->filters[0])

/* One entry in the making: what it says, and the GPUs it says it of. */
struct group {
    bool enabled;
    size_t profile_count;
    struct mig_out_profile profiles[MIG_GI_MAX * MIG_CI_MAX];
    size_t device_count, filter_count;
    uint32_t devices[MIG_GPU_MAX];
    char filters[MIG_GPU_MAX][sizeof(((struct mig_out_entry *)NULL)->filters[0])];
};

static void add_profile(struct group *group, const char *name)
{
    for (size_t i = 0; i < group->profile_count; i++) {
        if (strcmp(group->profiles[i].name, name) == 0) {
            group->profiles[i].count++;
            return;
        }
    }
    group->profiles[group->profile_count++] = (struct mig_out_profile){.name = name, .count = 1};
}

static void describe_gpu(const struct mig_gpu *gpu, struct group *ret)
{
    const struct mig_layout *layout = &gpu->layout;

    ret->enabled = gpu->mig_capable && gpu->mig_mode;
    ret->profile_count = 0;
    ret->device_count = ret->filter_count = 0;
    for (uint8_t i = 0; ret->enabled && layout->model && i < layout->gi_count; i++) {
        for (uint8_t k = 0; k < layout->gis[i].ci_count; k++) {
            struct mig_device_kind kind = {.profile = layout->gis[i].profile,
                                           .ci_profile = layout->gis[i].cis[k].profile};

            add_profile(ret, mig_device_kind_name(layout->model, kind));
        }
    }
}

static uint32_t count_of(const struct group *group, const char *name)
{
    for (size_t i = 0; i < group->profile_count; i++) {
        if (strcmp(group->profiles[i].name, name) == 0) {
            return group->profiles[i].count;
        }
    }
    return 0;
}

static bool same_content(const struct group *a, const struct group *b)
{
    if (a->enabled != b->enabled || a->profile_count != b->profile_count) {
        return false;
    }
    for (size_t i = 0; i < a->profile_count; i++) {
        if (count_of(b, a->profiles[i].name) != a->profiles[i].count) {
            return false;
        }
    }
    return true;
}

static void add_gpu(struct group *group, const struct mig_gpu *gpu)
{
    char filter[FILTER_SIZE];
    size_t at = 0;

    group->devices[group->device_count++] = gpu->index;
    snprintf(filter, sizeof(filter), "0x%08X", gpu->pci_device);
    while (at < group->filter_count && strcmp(group->filters[at], filter) < 0) {
        at++;
    }
    if (at < group->filter_count && strcmp(group->filters[at], filter) == 0) {
        return;
    }
    memmove(group->filters[at + 1], group->filters[at], (group->filter_count - at) * FILTER_SIZE);
    memcpy(group->filters[at], filter, FILTER_SIZE);
    group->filter_count++;
}

static bool has_filter(const struct group *group, const struct mig_gpu *gpu)
{
    char filter[FILTER_SIZE];

    snprintf(filter, sizeof(filter), "0x%08X", gpu->pci_device);
    for (size_t i = 0; i < group->filter_count; i++) {
        if (strcmp(group->filters[i], filter) == 0) {
            return true;
        }
    }
    return false;
}

/* True when the group holds every GPU of the node that its filters let through. */
static bool covers_its_filters(const struct group *group, const struct mig_node *node)
{
    size_t count = 0;

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        count += has_filter(group, &node->gpus[i]) ? 1 : 0;
    }
    return count == group->device_count;
}

static bool one_kind_of_gpu(const struct mig_node *node)
{
    for (uint32_t i = 1; i < node->gpu_count; i++) {
        if (node->gpus[i].pci_device != node->gpus[0].pci_device) {
            return false;
        }
    }
    return true;
}

static size_t group_gpus(const struct mig_node *node, struct group *groups)
{
    size_t count = 0;

    for (uint32_t i = 0; i < node->gpu_count; i++) {
        size_t at = 0;

        describe_gpu(&node->gpus[i], &groups[count]);
        while (!same_content(&groups[at], &groups[count])) {
            at++;
        }
        count += at == count ? 1 : 0;
        add_gpu(&groups[at], &node->gpus[i]);
    }
    return count;
}

/* What could not be read must not look like a GPU without instances. */
static int check_known(const struct mig_node *node, struct mig_error *error)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];
        bool unknown = gpu->mig_capable && gpu->mig_mode && !gpu->layout.model;

        if (gpu->problem[0] || unknown) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "could not export the node: GPU %u: %s", gpu->index,
                                 gpu->problem[0] ? gpu->problem : "its MIG profiles are not known");
        }
    }
    return 0;
}

int mig_config_export(const struct mig_node *node, const char *label, enum mig_format format,
                      char **ret, struct mig_error *error)
{
    MIG_AUTO_FREE struct group *groups = NULL;
    struct mig_out_entry entries[MIG_GPU_MAX] = {0};
    struct mig_out_config config = {.name = label, .entries = entries};
    int rc;

    if (node->gpu_count > MIG_GPU_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "a node of %u GPUs is larger than the limit of %d", node->gpu_count,
                             MIG_GPU_MAX);
    }
    rc = check_known(node, error);
    if (rc < 0) {
        return rc;
    }
    groups = calloc(node->gpu_count + 1, sizeof(*groups));
    if (!groups) {
        return mig_error_set_errno(error, MIG_E_FAILED, ENOMEM, "could not export the node");
    }
    config.entry_count = group_gpus(node, groups);
    for (size_t i = 0; i < config.entry_count; i++) {
        struct group *group = &groups[i];
        bool filtered = config.entry_count > 1 && !one_kind_of_gpu(node);

        entries[i] = (struct mig_out_entry){
            .filters = group->filters,
            .filter_count = filtered ? group->filter_count : 0,
            .filter_is_text = group->filter_count == 1,
            .all = covers_its_filters(group, node),
            .devices = group->devices,
            .device_count = group->device_count,
            .enabled = group->enabled,
            .profiles = group->profiles,
            .profile_count = group->profile_count,
        };
    }
    return mig_config_write(&config, 1, format, ret, error);
}
