/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a config and the GPUs of a node to what is wanted of each GPU.
 *
 * First every entry claims its GPUs, the later one wins, and only then are profiles looked up: what
 * an entry says about a GPU that another entry decides does not matter. Whatever would have to be
 * left undone in silence (a filter that is no PCI id, a GPU that is not there, a profile that the
 * GPU lacks, no GPU at all) is an error here.
 */
#include "config/goal.h"
#include "config/document.h"
#include <stdio.h>
#include <string.h>

struct context {
    const struct mig_config *config;
    const struct mig_node *node;
    struct mig_error *error;
};

static int check_filters(const struct context *context, const struct mig_config_entry *entry)
{
    for (uint32_t i = 0; i < entry->filter_count; i++) {
        const struct mig_config_filter *filter = &entry->filters[i];

        if (!filter->valid) {
            mig_position_error(context->error, MIG_E_CONFIG, context->config->name,
                               filter->position, "device-filter '%.64s' is not a PCI id",
                               filter->text);
            return mig_error_hint(context->error, MIG_E_CONFIG, "%s", MIG_FILTER_FORM);
        }
    }
    return 0;
}

static const struct mig_gpu *find_gpu(const struct mig_node *node, int64_t index)
{
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        if ((int64_t)node->gpus[i].index == index) {
            return &node->gpus[i];
        }
    }
    return NULL;
}

/* GPUs that are named by number have to be there, and able to do what is asked. */
static int check_numbers(const struct context *context, const struct mig_config_entry *entry)
{
    for (uint32_t i = 0; i < entry->device_count; i++) {
        const struct mig_config_number *number = &entry->devices[i];
        const struct mig_gpu *gpu = find_gpu(context->node, number->value);

        if (!gpu) {
            return mig_position_error(context->error, MIG_E_CONFIG, context->config->name,
                                      number->position, "there is no GPU %lld; the node has %u",
                                      (long long)number->value, context->node->gpu_count);
        }
        if (entry->enabled && !gpu->mig_capable && !gpu->problem[0] &&
            mig_config_filter_matches(entry, gpu->pci_device, gpu->pci_subsystem)) {
            return mig_position_error(context->error, MIG_E_NO_FIT, context->config->name,
                                      number->position, "GPU %u (%s) cannot do MIG", gpu->index,
                                      gpu->name);
        }
    }
    return 0;
}

bool mig_config_entry_claims(const struct mig_config_entry *entry, const struct mig_gpu *gpu)
{
    /* a GPU that could not even tell its PCI id may be meant: it must not be left out in silence */
    bool is_nameless = gpu->problem[0] && gpu->pci_device == 0;

    if (!is_nameless && !mig_config_filter_matches(entry, gpu->pci_device, gpu->pci_subsystem)) {
        return false;
    }
    if (entry->all) {
        return gpu->mig_capable || gpu->problem[0] || !entry->enabled;
    }
    for (uint32_t i = 0; i < entry->device_count; i++) {
        if (entry->devices[i].value == (int64_t)gpu->index) {
            return true;
        }
    }
    return false;
}

const struct mig_config_entry *mig_config_entry_for(const struct mig_config_named *named,
                                                    const struct mig_gpu *gpu)
{
    for (uint32_t i = named->entry_count; i > 0; i--) {
        if (mig_config_entry_claims(&named->entries[i - 1], gpu)) {
            return &named->entries[i - 1];
        }
    }
    return NULL;
}

static void add_device(struct mig_device_count *devices, size_t *count, struct mig_device_kind kind,
                       uint32_t number)
{
    for (size_t i = 0; i < *count; i++) {
        if (devices[i].kind.profile == kind.profile &&
            devices[i].kind.ci_profile == kind.ci_profile) {
            devices[i].count =
                number > UINT32_MAX - devices[i].count ? UINT32_MAX : devices[i].count + number;
            return;
        }
    }
    devices[*count] = (struct mig_device_count){.kind = kind, .count = number};
    ++*count;
}

int mig_config_entry_devices(const struct mig_config_entry *entry, const struct mig_model *model,
                             struct mig_device_count devices[MIG_CONFIG_DEVICES_MAX],
                             size_t *ret_count, struct mig_position *ret_position,
                             struct mig_error *error)
{
    *ret_count = 0;
    for (uint32_t i = 0; i < entry->profile_count; i++) {
        const struct mig_config_profile *profile = &entry->profiles[i];
        struct mig_device_kind kind;
        int rc;

        if (profile->count == 0) {
            continue;
        }
        rc = mig_profile_resolve(model, profile->name, &kind, error);
        if (rc < 0) {
            *ret_position = profile->position;
            return rc;
        }
        add_device(devices, ret_count, kind, profile->count);
    }
    *ret_position = entry->profile_count > 0 ? entry->profiles[0].position : entry->position;
    return 0;
}

/* Puts the place in the file and the GPU in front of what went wrong. */
static int gpu_error(const struct context *context, int result, struct mig_position position,
                     const struct mig_gpu *gpu)
{
    mig_error_prefix(context->error, "GPU %u (%s)", gpu->index, gpu->name);
    mig_error_prefix(context->error, "%.200s:%u:%u", context->config->name, position.line,
                     position.column);
    if (context->error) {
        context->error->domain = MIG_DOMAIN_CONFIG;
        context->error->code = (int)position.line;
    }
    return result;
}

static int set_gpu_goal(const struct context *context, const struct mig_config_entry *entry,
                        const struct mig_gpu *gpu, bool mode_only, struct mig_gpu_goal *ret)
{
    struct mig_device_count devices[MIG_CONFIG_DEVICES_MAX];
    struct mig_position position = entry->position;
    size_t device_count = 0;
    int rc;

    if (gpu->problem[0]) {
        mig_error_set(context->error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0, "%s", gpu->problem);
        gpu_error(context, MIG_E_FAILED, position, gpu);
        return mig_error_hint(context->error, MIG_E_FAILED,
                              "list the other GPUs by number under 'devices' to go on without it");
    }
    if (!gpu->mig_capable) {
        return 0; /* MIG off is what is wanted, and it cannot be otherwise */
    }
    ret->kind = mode_only ? MIG_GOAL_MODE : MIG_GOAL_LAYOUT;
    ret->mig_mode = entry->enabled;
    if (mode_only || !entry->enabled || entry->profile_count == 0) {
        return 0;
    }
    if (!gpu->layout.model) {
        mig_error_set(context->error, MIG_E_NO_FIT, MIG_DOMAIN_NONE, 0,
                      "its MIG profiles are not known, neither from the driver nor from the "
                      "catalogue");
        return gpu_error(context, MIG_E_NO_FIT, position, gpu);
    }
    rc = mig_config_entry_devices(entry, gpu->layout.model, devices, &device_count, &position,
                                  context->error);
    if (rc == 0) {
        rc = mig_target_from_devices(gpu->layout.model, &gpu->layout, devices, device_count,
                                     &ret->target, context->error);
    }
    return rc < 0 ? gpu_error(context, rc, position, gpu) : 0;
}

static int no_gpu(const struct context *context, const struct mig_config_named *named)
{
    unsigned capable = 0;

    for (uint32_t i = 0; i < context->node->gpu_count; i++) {
        capable += context->node->gpus[i].mig_capable ? 1 : 0;
    }
    mig_position_error(context->error, MIG_E_CONFIG, context->config->name, named->position,
                       "config '%.64s' applies to none of the %u GPUs of this node (%u can do MIG)",
                       named->name, context->node->gpu_count, capable);
    return mig_error_hint(context->error, MIG_E_CONFIG,
                          "compare its device-filter with the PCI ids of the GPUs");
}

int mig_config_goal(const struct mig_config *config, size_t index, const struct mig_node *node,
                    bool mode_only, struct mig_goal *ret, struct mig_error *error)
{
    const struct context context = {.config = config, .node = node, .error = error};
    const struct mig_config_named *named;
    bool any = false;

    *ret = (struct mig_goal){.gpu_count = node->gpu_count};
    if (index >= config->count || node->gpu_count > MIG_GPU_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "%s: there is no config %zu, or the node has more than %d GPUs",
                             config->name, index, MIG_GPU_MAX);
    }
    named = &config->configs[index];
    for (uint32_t i = 0; i < named->entry_count; i++) {
        int rc = check_filters(&context, &named->entries[i]);

        if (rc == 0) {
            rc = check_numbers(&context, &named->entries[i]);
        }
        if (rc < 0) {
            return rc;
        }
    }
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_config_entry *entry = mig_config_entry_for(named, &node->gpus[i]);
        int rc =
            entry ? set_gpu_goal(&context, entry, &node->gpus[i], mode_only, &ret->gpus[i]) : 0;

        if (rc < 0) {
            return rc;
        }
        any = any || entry;
    }
    return any ? 0 : no_gpu(&context, named);
}
