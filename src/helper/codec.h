/* SPDX-License-Identifier: Apache-2.0 */
/* The larger parts of bodies; see wire.h for how one function goes both ways. */
#ifndef MIG_HELPER_CODEC_H
#define MIG_HELPER_CODEC_H

#include "helper/wire.h"
#include <mig/sample.h>

/*
 * A node with the models of its GPUs. What is read belongs to the caller (mig_node_free), models
 * included. NULL after a failure; while writing *node is not changed.
 */
void mig_wire_node(struct mig_wire *wire, struct mig_node **node);

/* What was measured, likewise (mig_sample_free). */
void mig_wire_sample(struct mig_wire *wire, struct mig_sample **sample);

/* Models in one block of memory, which the GPUs of a node point into. */
struct mig_wire_model;
struct mig_wire_model *mig_wire_models_new(size_t count);
const struct mig_model *mig_wire_model_get(const struct mig_wire_model *models, size_t index);

void mig_wire_model_put(struct mig_wire *wire, const struct mig_model *model);
void mig_wire_model_take(struct mig_wire *wire, struct mig_wire_model *models, size_t index);

#endif
