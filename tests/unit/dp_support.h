/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the device plugin: nodes of catalogue GPUs with ids and UUIDs, settings from text,
 * and tables written as text.
 */
#ifndef MIG_TEST_DP_SUPPORT_H
#define MIG_TEST_DP_SUPPORT_H

#include "config_support.h"
#include "deviceplugin/resources.h"

/*
 * Adds a GPU as config_add_gpu does. Its instances have the ids 1, 2, ... in the order of the
 * notation, their devices the ids 0, 1, ..., the UUIDs "MIG-<gpu>-<gi>-<ci>" and counted indices;
 * the GPU has its index as minor number and no NUMA node.
 */
void dp_add_gpu(struct config_node *node, const char *model, const char *layout);

/* Settings from a config file; fails the test when it is refused. */
struct mig_dp_config *dp_config(const char *text);

/* Settings with only a strategy, "mixed". */
struct mig_dp_config *dp_strategy(const char *name);

struct mig_dp_table *dp_table(const struct config_node *node, const struct mig_dp_config *config);

/*
 * "gpu: GPU-0 GPU-1 | mig-1g.5gb: MIG-2-1-0x4 MIG-2-2-0!": resources without their usual domain; xN
 * are replicas, ! is unhealthy, ~ is kept.
 */
const char *dp_table_text(const struct mig_dp_table *table);

/* The same from a node and a strategy in one go. */
const char *dp_resources(const struct config_node *node, const char *strategy);

/* True when a note holds `text`. */
bool dp_has_note(const struct mig_dp_table *table, const char *text);

#endif
