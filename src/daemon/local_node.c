/* SPDX-License-Identifier: Apache-2.0 */
/* Pairs in the order they were written; few, so they are searched one by one. */
#include "daemon/local_node.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void remove_pair(struct mig_manager_pair *pairs, size_t *count, size_t at)
{
    free((void *)(uintptr_t)pairs[at].key);
    free((void *)(uintptr_t)pairs[at].value);
    pairs[at] = pairs[*count - 1];
    (*count)--;
}

/* value NULL = remove. */
static int set_pair(struct mig_manager_pair *pairs, size_t *count, const char *key,
                    const char *value)
{
    size_t at = 0;
    char *key_copy, *value_copy;

    while (at < *count && strcmp(pairs[at].key, key) != 0) {
        at++;
    }
    if (!value) {
        if (at < *count) {
            remove_pair(pairs, count, at);
        }
        return 0;
    }
    if (at == LOCAL_NODE_PAIRS_MAX) {
        return -ENOSPC;
    }
    key_copy = strdup(key);
    value_copy = strdup(value);
    if (!key_copy || !value_copy) {
        free(key_copy);
        free(value_copy);
        return -ENOMEM;
    }
    if (at < *count) {
        remove_pair(pairs, count, at);
    }
    pairs[*count] = (struct mig_manager_pair){key_copy, value_copy};
    (*count)++;
    return 0;
}

int local_node_patch(struct local_node *node, const struct mig_manager_change *changes,
                     size_t count, struct mig_error *error)
{
    for (size_t i = 0; i < count; i++) {
        int rc = changes[i].is_annotation
                     ? set_pair(node->annotations, &node->annotation_count, changes[i].key,
                                changes[i].value)
                     : set_pair(node->labels, &node->label_count, changes[i].key, changes[i].value);

        if (rc < 0) {
            return mig_error_set_errno(error, MIG_E_FAILED, -rc, "could not keep '%s'",
                                       changes[i].key);
        }
    }
    node->version++;
    return 0;
}

int local_node_set(struct local_node *node, const char *config, struct mig_error *error)
{
    const struct mig_manager_change change = {.key = MIG_MANAGER_LABEL_CONFIG,
                                              .value = config[0] ? config : NULL};

    return local_node_patch(node, &change, 1, error);
}

struct mig_manager_object local_node_object(struct local_node *node)
{
    snprintf(node->version_text, sizeof(node->version_text), "%" PRIu64, node->version);
    return (struct mig_manager_object){
        .exists = true,
        .uid = "local",
        .resource_version = node->version_text,
        .labels = node->labels,
        .annotations = node->annotations,
        .label_count = node->label_count,
        .annotation_count = node->annotation_count,
    };
}

void local_node_release(struct local_node *node)
{
    while (node->label_count) {
        remove_pair(node->labels, &node->label_count, 0);
    }
    while (node->annotation_count) {
        remove_pair(node->annotations, &node->annotation_count, 0);
    }
}
