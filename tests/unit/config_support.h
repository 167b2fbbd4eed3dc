/* SPDX-License-Identifier: Apache-2.0 */
/* For tests of config/: nodes made by hand from models of the catalogue. */
#ifndef MIG_TEST_CONFIG_SUPPORT_H
#define MIG_TEST_CONFIG_SUPPORT_H

#include <mig/config.h>

#define CONFIG_TEST_GPUS 8

struct config_node {
    struct mig_node node;
    struct mig_gpu gpus[CONFIG_TEST_GPUS];
};

/*
 * Adds a GPU: a catalogue name, and its instances in the notation of plan_support.h; NULL = MIG
 * mode is off. The name "T4" is a GPU without MIG. Its UUID is "GPU-<index>".
 */
void config_add_gpu(struct config_node *node, const char *model, const char *layout);

/* Parses; fails the test when that fails. */
struct mig_config *config_parse(const char *text);

/* The goal of GPU `gpu` in words: "leave", "mode on", "off", "on 3g.20gb 2g.10gb@0{1c.2g.10gb}". */
const char *config_goal_text(const struct config_node *node, const struct mig_goal *goal,
                             size_t gpu);

#endif
