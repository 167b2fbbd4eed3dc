/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the world share. */
#ifndef MIG_TEST_MANAGER_WORLD_INTERNAL_H
#define MIG_TEST_MANAGER_WORLD_INTERNAL_H

#include "manager_world.h"

/* An action under way. */
struct world_job {
    enum mig_manager_action_kind kind;
    uint64_t id, due_ms;
    unsigned epoch;
    size_t change_count;
    struct {
        bool is_annotation, removes;
        char key[64], value[WORLD_TEXT];
    } changes[MIG_MANAGER_CHANGES_MAX];
    char resource_version[64], pod[64], uid[64];
    bool shows_success; /* PATCH: the snapshot that was given last is as the label asks */
    struct mig_goal goal;
    bool skip_reset;
    size_t slice_count, name_count;
    struct mig_manager_slice slices[64]; /* protected */
    char names[WORLD_SERVICES][64];
};

/* A view for one event: texts are the world's. */
struct world_view {
    struct mig_manager_object object;
    struct mig_manager_pair labels[WORLD_PAIRS], annotations[WORLD_PAIRS];
    char uid[16], resource_version[16];
};

extern const char *const world_clients[4], *const world_services[WORLD_SERVICES + 1];

bool world_chance(struct world *world, unsigned percent);
void world_violate(struct world *world, const char *what, const char *detail);
const struct world_pair *world_find_pair(const struct world_pairs *pairs, const char *key);
void world_set_pair(struct world_pairs *pairs, const char *key, const char *value);
const struct mig_manager_object *world_view_object(const struct world *world,
                                                   struct world_view *view);
void world_tell_object(struct world *world);
void world_tell_config(struct world *world);
bool world_pod_is_on(const struct world_pod *pod, const struct mig_gpu *gpu, unsigned gi);
struct mig_node *world_take_snapshot(const struct world *world);
void world_apply_layout(struct world *world, struct mig_gpu *gpu, const struct mig_layout *layout);
void world_give(struct world *world, struct mig_node *node);
bool world_is_taken(const struct world *world, const char *device);
void world_finish_job(struct world *world, struct world_job *job);
bool world_is_for_helper(enum mig_manager_action_kind kind);
bool world_snapshot_shows(struct world *world);

#endif
