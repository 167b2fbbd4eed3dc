/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of resources as a container: finding, ordering, names of devices. What goes in is
 * decided in resources.c and lists.c.
 *
 * The order is total and depends on the content only, so that equal nodes give equal lists and a
 * comparison of two tables is a walk along both.
 */
#include "base/text.h"
#include "deviceplugin/resources.h"
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mig_dp_table *mig_dp_table_new(size_t slice_max)
{
    struct mig_dp_table *table = calloc(1, sizeof(*table));

    if (!table) {
        return NULL;
    }
    table->slices = calloc(slice_max ? slice_max : 1, sizeof(*table->slices));
    if (!table->slices) {
        free(table);
        return NULL;
    }
    return table;
}

void mig_dp_table_free(struct mig_dp_table *table)
{
    if (table) {
        free(table->slices);
        free(table);
    }
}

void mig_dp_table_note(struct mig_dp_table *table, uint32_t gpu, const char *format, ...)
{
    struct mig_dp_note *note = &table->notes[table->note_count];
    va_list arguments;

    if (table->note_count >= MIG_DP_NOTES_MAX) {
        return;
    }
    table->note_count++;
    note->gpu = gpu;
    va_start(arguments, format);
    vsnprintf(note->text, sizeof(note->text), format, arguments);
    va_end(arguments);
}

uint32_t mig_dp_table_resource(struct mig_dp_table *table, const char *name)
{
    uint32_t i = 0;

    while (i < table->resource_count && strcmp(table->resources[i].name, name) != 0) {
        i++;
    }
    if (i == table->resource_count && i < MIG_DP_RESOURCES_MAX) {
        mig_text_copy(table->resources[i].name, sizeof(table->resources[i].name), name);
        table->resource_count++;
    }
    return i;
}

static int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_slices(const void *a, const void *b)
{
    const struct mig_dp_slice *left = a, *right = b;
    int order = compare_numbers(left->resource, right->resource);

    if (order == 0) {
        order = compare_numbers(left->gpu, right->gpu);
    }
    if (order == 0) {
        order = compare_numbers(left->start, right->start);
    }
    if (order == 0) {
        order = compare_numbers(left->ci_id, right->ci_id);
    }
    return order != 0 ? order : strcmp(left->uuid, right->uuid);
}

/* A resource's place while resources are sorted. */
struct ranked {
    struct mig_dp_resource resource;
    uint32_t before; /* its index so far */
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *left = a, *right = b;

    return strcmp(left->resource.name, right->resource.name);
}

/* Sorts the resources that have slices by name, and renumbers them in the slices. */
static void sort_resources(struct mig_dp_table *table)
{
    struct ranked ranked[MIG_DP_RESOURCES_MAX];
    uint32_t after[MIG_DP_RESOURCES_MAX] = {0}, used[MIG_DP_RESOURCES_MAX] = {0}, count = 0;

    for (uint32_t i = 0; i < table->slice_count; i++) {
        used[table->slices[i].resource]++;
    }
    for (uint32_t i = 0; i < table->resource_count; i++) {
        if (used[i] > 0) {
            ranked[count++] = (struct ranked){table->resources[i], i};
        }
    }
    if (count > 1) {
        qsort(ranked, count, sizeof(ranked[0]), compare_ranked);
    }
    for (uint32_t i = 0; i < count; i++) {
        table->resources[i] = ranked[i].resource;
        after[ranked[i].before] = i;
    }
    table->resource_count = count;
    for (uint32_t i = 0; i < table->slice_count; i++) {
        table->slices[i].resource = after[table->slices[i].resource];
    }
}

void mig_dp_table_sort(struct mig_dp_table *table)
{
    sort_resources(table);
    qsort(table->slices, table->slice_count, sizeof(table->slices[0]), compare_slices);
    for (uint32_t i = 0; i < table->resource_count; i++) {
        table->resources[i].count = 0;
    }
    for (uint32_t i = table->slice_count; i-- > 0;) {
        struct mig_dp_resource *resource = &table->resources[table->slices[i].resource];

        resource->first = i;
        resource->count++;
    }
}

const struct mig_dp_resource *mig_dp_table_find(const struct mig_dp_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->resource_count; i++) {
        if (strcmp(table->resources[i].name, name) == 0) {
            return &table->resources[i];
        }
    }
    return NULL;
}

uint32_t mig_dp_slice_devices(const struct mig_dp_slice *slice)
{
    return slice->replicas > 0 ? slice->replicas : 1;
}

char *mig_dp_slice_id(const struct mig_dp_slice *slice, uint32_t index, char buffer[MIG_DP_ID_SIZE])
{
    size_t length = strlen(slice->uuid);

    memcpy(buffer, slice->uuid, length + 1);
    if (slice->replicas > 0) {
        snprintf(buffer + length, MIG_DP_ID_SIZE - length, "::%u", index);
    }
    return buffer;
}

const struct mig_dp_slice *mig_dp_table_device(const struct mig_dp_table *table,
                                               const struct mig_dp_resource *resource,
                                               const char *id)
{
    for (uint32_t i = resource->first; i < resource->first + resource->count; i++) {
        const struct mig_dp_slice *slice = &table->slices[i];
        size_t length = strlen(slice->uuid);
        uint64_t replica;

        if (strncmp(id, slice->uuid, length) != 0) {
            continue;
        }
        if (slice->replicas == 0 && id[length] == '\0') {
            return slice;
        }
        if (slice->replicas > 0 && strncmp(id + length, "::", 2) == 0 &&
            mig_text_parse_u64(id + length + 2, slice->replicas - 1, &replica)) {
            return slice;
        }
    }
    return NULL;
}

/* The usual two-pointer match: on a mismatch the last '*' takes one character more. */
bool mig_dp_pattern_matches(const char *pattern, const char *text)
{
    const char *star = NULL, *resume = NULL;

    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == *text) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

/* Letters, digits and `others`, with a letter or digit first and last. */
static bool is_label(const char *text, size_t size, const char *others)
{
    if (size == 0 || !isalnum((unsigned char)text[0]) || !isalnum((unsigned char)text[size - 1])) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)text[i]) && !strchr(others, text[i])) {
            return false;
        }
    }
    return true;
}

bool mig_dp_resource_name(const char *text, char buffer[MIG_DP_NAME_SIZE])
{
    const char *slash = strchr(text, '/');
    int length = snprintf(buffer, MIG_DP_NAME_SIZE, "%s%s", slash ? "" : MIG_DP_DOMAIN, text);
    const char *name;

    if (length < 0 || length >= MIG_DP_NAME_SIZE) {
        return false;
    }
    slash = strchr(buffer, '/');
    name = slash + 1;
    for (const char *at = buffer; at < slash; at++) {
        if (isupper((unsigned char)*at)) {
            return false;
        }
    }
    return is_label(buffer, (size_t)(slash - buffer), "-.") && !strstr(buffer, "kubernetes.io/") &&
           is_label(name, strlen(name), "-_.");
}
