/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints: the placed state of a node, in the JSON of nvidia-mig-parted (schema v1).
 *
 * What is written is byte for byte what nvidia-mig-parted writes for the same node, so both can
 * read either's files: GPUs that cannot do MIG are left out, profiles are NVML enum values, and
 * lists that are empty are null. The format has no placement of compute instances.
 *
 * JSON is read as the YAML that it is, which gives every complaint a place in the file.
 */
#include "base/buffer.h"
#include "config/document.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VERSION "v1"
#define OUTPUT_MAX (1u << 20)

/* --- writing --- */

/* Instances in the order of their profile's enum value, then as they are in the layout. */
static void write_cis(struct mig_buffer *buffer, const struct mig_profile *profile,
                      const struct mig_gi *gi)
{
    const char *separator = "[";

    for (unsigned value = 0; value <= UINT8_MAX; value++) {
        for (uint8_t i = 0; i < gi->ci_count; i++) {
            if (profile->ci_profiles[gi->cis[i].profile].enum_value == value) {
                mig_buffer_printf(buffer, "%s{\"ProfileID\":%u,\"EngProfileID\":0}", separator,
                                  value);
                separator = ",";
            }
        }
    }
    mig_buffer_puts(buffer, gi->ci_count > 0 ? "]" : "null");
}

static void write_gis(struct mig_buffer *buffer, const struct mig_layout *layout)
{
    const char *separator = "[";

    for (unsigned value = 0; value <= UINT8_MAX; value++) {
        for (uint8_t i = 0; i < layout->gi_count; i++) {
            const struct mig_gi *gi = &layout->gis[i];
            const struct mig_profile *profile = &layout->model->profiles[gi->profile];

            if (profile->enum_value != value) {
                continue;
            }
            mig_buffer_printf(buffer,
                              "%s{\"ProfileID\":%u,\"Placement\":{\"Start\":%u,\"Size\":%u},"
                              "\"ComputeInstances\":",
                              separator, value, gi->start, profile->size);
            write_cis(buffer, profile, gi);
            mig_buffer_puts(buffer, "}");
            separator = ",";
        }
    }
    mig_buffer_puts(buffer, "]");
}

int mig_checkpoint_write(const struct mig_node *node, char **ret, struct mig_error *error)
{
    MIG_AUTO_BUFFER struct mig_buffer buffer;
    const char *separator = "[";

    mig_buffer_init(&buffer, OUTPUT_MAX);
    mig_buffer_puts(&buffer, "{\"Version\":\"" VERSION "\",\"MigState\":{\"Devices\":");
    for (uint32_t i = 0; i < node->gpu_count; i++) {
        const struct mig_gpu *gpu = &node->gpus[i];

        if (gpu->problem[0] || (gpu->mig_capable && gpu->mig_mode && !gpu->layout.model)) {
            return mig_error_set(error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                                 "could not write a checkpoint: GPU %u: %s", gpu->index,
                                 gpu->problem[0] ? gpu->problem : "its MIG profiles are not known");
        }
        if (!gpu->mig_capable) {
            continue;
        }
        mig_buffer_printf(&buffer, "%s{\"UUID\":\"%s\",\"MigMode\":%d,\"GpuInstances\":", separator,
                          gpu->uuid, gpu->mig_mode ? 1 : 0);
        if (gpu->mig_mode && gpu->layout.gi_count > 0) {
            write_gis(&buffer, &gpu->layout);
        } else {
            mig_buffer_puts(&buffer, "null");
        }
        mig_buffer_puts(&buffer, "}");
        separator = ",";
    }
    mig_buffer_puts(&buffer, *separator == ',' ? "]}}" : "null}}");
    *ret = mig_buffer_take(&buffer);
    if (!*ret) {
        return mig_error_set_errno(error, MIG_E_FAILED, buffer.error,
                                   "could not write a checkpoint");
    }
    return 0;
}

/* --- reading --- */

struct reader {
    const char *name;
    const struct mig_node *node;
    struct mig_error *error;
};

/* Each finder returns NULL after an error; every failure of theirs is MIG_E_CONFIG. */

static const struct mig_value *find_field(const struct reader *reader, const struct mig_value *map,
                                          const char *key)
{
    const struct mig_pair *pair = mig_value_find(map, key);

    if (!pair) {
        mig_position_error(reader->error, MIG_E_CONFIG, reader->name, map->position,
                           "missing required field '%s'", key);
        return NULL;
    }
    return pair->value;
}

static bool has_kind(const struct reader *reader, const char *key, const struct mig_value *value,
                     enum mig_value_kind kind)
{
    if (value->kind != kind) {
        mig_position_error(reader->error, MIG_E_CONFIG, reader->name, value->position,
                           "'%s' has to be %s, found %s", key, mig_value_kind_name(kind),
                           mig_value_kind_name(value->kind));
    }
    return value->kind == kind;
}

static const struct mig_value *find_kind(const struct reader *reader, const struct mig_value *map,
                                         const char *key, enum mig_value_kind kind)
{
    const struct mig_value *value = find_field(reader, map, key);

    return value && has_kind(reader, key, value, kind) ? value : NULL;
}

/* A list of at most `max` maps, or null, which has no items. */
static const struct mig_value *find_list(const struct reader *reader, const struct mig_value *map,
                                         const char *key, uint32_t max)
{
    const struct mig_value *list = find_field(reader, map, key);

    if (!list || list->kind == MIG_VALUE_NULL) {
        return list;
    }
    if (!has_kind(reader, key, list, MIG_VALUE_LIST)) {
        return NULL;
    }
    if (list->count > max) {
        mig_position_error(reader->error, MIG_E_CONFIG, reader->name, list->position,
                           "'%s' has %u items, the limit is %u", key, list->count, max);
        return NULL;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        if (!has_kind(reader, key, list->items[i], MIG_VALUE_MAP)) {
            return NULL;
        }
    }
    return list;
}

static int read_number(const struct reader *reader, const struct mig_value *map, const char *key,
                       uint32_t max, uint32_t *ret)
{
    const struct mig_value *value = find_kind(reader, map, key, MIG_VALUE_INTEGER);

    if (!value) {
        return MIG_E_CONFIG;
    }
    if (value->integer < 0 || value->integer > (int64_t)max) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, value->position,
                                  "'%s' is %lld, expected 0 to %u", key, (long long)value->integer,
                                  max);
    }
    *ret = (uint32_t)value->integer;
    return 0;
}

static int read_ci(const struct reader *reader, const struct mig_profile *profile,
                   const struct mig_value *map, uint8_t *ret)
{
    uint32_t value = 0, engine = 0;
    int rc = read_number(reader, map, "ProfileID", UINT8_MAX, &value);

    if (rc == 0) {
        rc = read_number(reader, map, "EngProfileID", 0, &engine);
    }
    if (rc < 0) {
        return rc;
    }
    for (uint8_t i = 0; i < profile->ci_profile_count; i++) {
        if (profile->ci_profiles[i].enum_value == value) {
            *ret = i;
            return 0;
        }
    }
    return mig_position_error(reader->error, MIG_E_NO_FIT, reader->name, map->position,
                              "%s has no compute instance profile %u", profile->name, value);
}

static int read_placement(const struct reader *reader, const struct mig_profile *profile,
                          const struct mig_value *map, struct mig_target_gi *ret)
{
    const struct mig_value *placement = find_kind(reader, map, "Placement", MIG_VALUE_MAP);
    uint32_t start = 0, size = 0;
    int rc;

    if (!placement) {
        return MIG_E_CONFIG;
    }
    rc = read_number(reader, placement, "Start", MIG_UNIT_MAX - 1, &start);
    if (rc == 0) {
        rc = read_number(reader, placement, "Size", MIG_UNIT_MAX, &size);
    }
    if (rc < 0) {
        return rc;
    }
    for (uint8_t i = 0; i < profile->start_count; i++) {
        if (profile->starts[i] == start && profile->size == size) {
            ret->start = (uint8_t)start;
            return 0;
        }
    }
    return mig_position_error(reader->error, MIG_E_NO_FIT, reader->name, placement->position,
                              "%s cannot stand at %u with size %u on this GPU", profile->name,
                              start, size);
}

static int read_gi(const struct reader *reader, const struct mig_gpu *gpu,
                   const struct mig_value *map, struct mig_target_gi *ret)
{
    const struct mig_model *model = gpu->layout.model;
    const struct mig_profile *profile;
    const struct mig_value *cis;
    uint32_t value = 0;
    int index, rc = read_number(reader, map, "ProfileID", UINT8_MAX, &value);

    if (rc < 0) {
        return rc;
    }
    index = mig_model_find_enum(model, value);
    if (index < 0) {
        return mig_position_error(reader->error, MIG_E_NO_FIT, reader->name, map->position,
                                  "GPU %u (%s) has no GPU instance profile %u", gpu->index,
                                  gpu->name, value);
    }
    profile = &model->profiles[index];
    ret->profile = (uint8_t)index;
    rc = read_placement(reader, profile, map, ret);
    if (rc < 0) {
        return rc;
    }
    cis = find_list(reader, map, "ComputeInstances", MIG_CI_MAX);
    if (!cis) {
        return MIG_E_CONFIG;
    }
    for (uint32_t i = 0; rc == 0 && i < cis->count; i++) {
        rc = read_ci(reader, profile, cis->items[i], &ret->ci_profiles[i]);
        ret->ci_count++;
    }
    return rc;
}

static int read_gis(const struct reader *reader, const struct mig_gpu *gpu,
                    const struct mig_value *map, struct mig_target *ret)
{
    const struct mig_value *gis = find_list(reader, map, "GpuInstances", MIG_GI_MAX);
    int rc = 0;

    if (!gis || gis->count == 0) {
        return gis ? 0 : MIG_E_CONFIG;
    }
    if (!gpu->layout.model) {
        return mig_position_error(reader->error, MIG_E_NO_FIT, reader->name, gis->position,
                                  "the MIG profiles of GPU %u (%s) are not known", gpu->index,
                                  gpu->name);
    }
    for (uint32_t i = 0; rc == 0 && i < gis->count; i++) {
        rc = read_gi(reader, gpu, gis->items[i], &ret->gis[i]);
        ret->gi_count++;
    }
    return rc;
}

static int find_gpu(const struct reader *reader, const struct mig_value *uuid, uint32_t *ret)
{
    for (uint32_t i = 0; i < reader->node->gpu_count; i++) {
        if (strcmp(reader->node->gpus[i].uuid, uuid->text) == 0) {
            *ret = i;
            return 0;
        }
    }
    mig_position_error(reader->error, MIG_E_CONFIG, reader->name, uuid->position,
                       "this node has no GPU '%.96s'", uuid->text);
    return mig_error_hint(reader->error, MIG_E_CONFIG,
                          "the checkpoint is of another node, or the GPU was exchanged or is lost");
}

static int read_device(const struct reader *reader, const struct mig_value *map, bool mode_only,
                       struct mig_goal *goal)
{
    const struct mig_value *uuid = find_kind(reader, map, "UUID", MIG_VALUE_TEXT);
    const struct mig_gpu *gpu;
    struct mig_gpu_goal *wanted;
    uint32_t index = 0, mode = 0;
    int rc;

    if (!uuid) {
        return MIG_E_CONFIG;
    }
    rc = find_gpu(reader, uuid, &index);
    if (rc == 0) {
        rc = read_number(reader, map, "MigMode", 1, &mode);
    }
    if (rc < 0) {
        return rc;
    }
    gpu = &reader->node->gpus[index];
    wanted = &goal->gpus[index];
    if (wanted->kind != MIG_GOAL_LEAVE) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, uuid->position,
                                  "GPU '%.96s' stands twice in the checkpoint", uuid->text);
    }
    if (gpu->problem[0] || (mode == 1 && !gpu->mig_capable)) {
        return mig_position_error(reader->error, MIG_E_FAILED, reader->name, uuid->position,
                                  "GPU %u (%s): %s", gpu->index, gpu->name,
                                  gpu->problem[0] ? gpu->problem : "it cannot do MIG");
    }
    wanted->kind = mode_only ? MIG_GOAL_MODE : MIG_GOAL_LAYOUT;
    wanted->mig_mode = mode == 1;
    return mode_only || mode == 0 ? 0 : read_gis(reader, gpu, map, &wanted->target);
}

static int read_root(const struct reader *reader, const struct mig_value *root, bool mode_only,
                     struct mig_goal *goal)
{
    const struct mig_value *version, *state, *devices;
    int rc = 0;

    if (!has_kind(reader, "checkpoint", root, MIG_VALUE_MAP)) {
        return MIG_E_CONFIG;
    }
    version = find_kind(reader, root, "Version", MIG_VALUE_TEXT);
    if (version && strcmp(version->text, VERSION) != 0) {
        return mig_position_error(reader->error, MIG_E_CONFIG, reader->name, version->position,
                                  "unknown version '%.64s', expected " VERSION, version->text);
    }
    state = version ? find_kind(reader, root, "MigState", MIG_VALUE_MAP) : NULL;
    devices = state ? find_list(reader, state, "Devices", MIG_GPU_MAX) : NULL;
    if (!devices) {
        return MIG_E_CONFIG;
    }
    for (uint32_t i = 0; rc == 0 && i < devices->count; i++) {
        rc = read_device(reader, devices->items[i], mode_only, goal);
    }
    return rc;
}

int mig_checkpoint_goal(const char *name, const char *text, size_t size,
                        const struct mig_node *node, bool mode_only, struct mig_goal *ret,
                        struct mig_error *error)
{
    const struct reader reader = {.name = name, .node = node, .error = error};
    struct mig_document *document;
    int rc;

    *ret = (struct mig_goal){.gpu_count = node->gpu_count};
    if (node->gpu_count > MIG_GPU_MAX) {
        return mig_error_set(error, MIG_E_USAGE, MIG_DOMAIN_NONE, 0,
                             "a node of %u GPUs is larger than the limit of %d", node->gpu_count,
                             MIG_GPU_MAX);
    }
    rc = mig_document_parse(name, text, size, &document, error);
    if (rc < 0) {
        return rc;
    }
    rc = read_root(&reader, mig_document_root(document), mode_only, ret);
    mig_document_free(document);
    return rc;
}
