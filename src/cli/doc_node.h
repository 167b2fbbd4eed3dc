/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs, layouts and plans as parts of documents (docs/json.md). */
#ifndef MIG_CLI_DOC_NODE_H
#define MIG_CLI_DOC_NODE_H

#include "cli/document.h"

/* "enabled" or "disabled" */
const char *doc_mode(bool enabled);

/* index, uuid, name, bus_id: what names a GPU, in every document the same. */
void doc_put_gpu_name(json_t *object, const struct mig_gpu *gpu);

/* The whole GPU as `status` shows it. */
json_t *doc_gpu(const struct mig_gpu *gpu);

/* Instances of a layout; new ones have null ids. `gpu` (may be NULL) adds what the driver knows. */
json_t *doc_instances(const struct mig_layout *layout, const struct mig_gpu *gpu);

/* Instances of a target: profile, start (null = any), compute instances. */
json_t *doc_target_gi(const struct mig_model *model, const struct mig_target_gi *gi);

json_t *doc_steps(const struct mig_model *model, const struct mig_plan *plan);

/* Why a GPU's plan is refused. */
json_t *doc_refusal(const struct mig_layout *layout, const struct mig_target *target,
                    const struct mig_certificate *certificate, const struct mig_error *error);

/* feasible, change_count, estimate_ms and gpus of a node plan. */
void doc_put_node_plan(json_t *document, const struct mig_node *node, const struct mig_goal *goal,
                       const struct mig_node_plan *plan, bool feasible);

#endif
