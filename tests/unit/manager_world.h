/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small world for the MIG manager to run in: a node object with its operator, pods and budgets; a
 * machine with GPUs whose changes are planned and replayed by libmig itself; time that only moves
 * when it is told to. It carries the machine's actions out, with faults and delays from a seed, and
 * watches what must never happen.
 */
#ifndef MIG_TEST_MANAGER_WORLD_H
#define MIG_TEST_MANAGER_WORLD_H

#include "manager/manager.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* what cases write again and again */
#define LABEL MIG_MANAGER_LABEL_CONFIG
#define STATE MIG_MANAGER_LABEL_STATE
#define MESSAGE MIG_MANAGER_ANNOTATION_MESSAGE
#define DEPLOY MIG_MANAGER_LABEL_DEPLOY
#define BALANCED "2g.12gb@0 1g.6gb@2 1g.6gb@3" /* an A30 */

#define WORLD_GPUS 2
#define WORLD_PODS 12
#define WORLD_PAIRS 32
#define WORLD_JOBS 64
#define WORLD_SERVICES 2
#define WORLD_TEXT 3300

struct world_pair {
    char key[64], value[WORLD_TEXT];
};

struct world_pairs {
    size_t count;
    struct world_pair list[WORLD_PAIRS];
};

struct world_pod {
    bool alive, process, budget; /* runs something; a PodDisruptionBudget forbids its eviction */
    bool evicted;
    char name[32], uid[32], device[MIG_UUID_SIZE];
    uint64_t ends_ms; /* 0 = never by itself */
};

/* Percent of requests that go wrong. */
struct world_faults {
    unsigned api, conflict, helper, apply, broken, kubelet;
};

struct world_job;

struct world {
    struct mig_manager *manager;
    struct mig_manager_options options;
    uint64_t now_ms, random, wake_ms;
    unsigned epoch; /* counts managers */
    unsigned delay_ms;
    struct world_faults faults;
    bool api_away, helper_away, dead_after_action;
    unsigned die_at; /* the manager is killed when this many actions were begun; 0 = never */

    /* the cluster */
    bool exists, taint;
    unsigned uid, resource_version;
    struct world_pairs labels, annotations;
    const char *config_text; /* NULL = deleted */
    const char *told_config; /* as the manager knows it */
    const char *config_map, *default_config;
    struct world_pod pods[WORLD_PODS];
    bool client_alive[4]; /* pods of device-plugin, gpu-feature-discovery, dcgm-exporter, dcgm */
    uint64_t client_change_ms[4];
    bool client_stuck, hold_handles; /* clients never end; a mode change needs them gone */

    /* the machine */
    struct mig_gpu gpus[WORLD_GPUS];
    uint32_t gpu_count, next_gi_id, next_uuid, next_pod;
    struct mig_node *given, *older; /* the manager's snapshot */
    bool reset_fails, reboot_fails, apply_lies, driver_gone, silent_apply;
    bool service_runs[WORLD_SERVICES], cdi_fails, busy_driver;
    bool started_foreign; /* a service that is none of ours was to be started */
    unsigned boot;
    uint64_t boot_ms;
    uint32_t withheld_count;
    struct mig_manager_slice withheld[64];

    /* the record on disk */
    bool has_record;
    char record_label[64], record_config[4096], record_boot[64], record_reboot[64];
    char record_reboot_boot[64];

    struct world_job *jobs[WORLD_JOBS];
    size_t job_count;

    /* what happened */
    unsigned counts[32]; /* by action kind */
    unsigned applies, destroyed, created, evictions, pauses, reboots, success_writes;
    unsigned snapshots_since_change;
    char last_event[64], events[2048];
    const char *violation; /* the first thing that must never happen */
    char violation_text[256];
};

/* An operator's node with `gpu_count` A30 (model NULL) or other GPUs, MIG off. */
void world_open(struct world *world, const char *model, uint32_t gpu_count, uint64_t seed);
void world_start(struct world *world); /* with world->options, as the agent does at its start */
void world_kill(struct world *world);  /* without a word; effects under way may still happen */
void world_close(struct world *world);
void world_reboot(struct world *world);

/* Lets time pass; true when `state` is the state label before `limit_ms` are over. */
void world_run(struct world *world, uint64_t duration_ms);
bool world_until(struct world *world, const char *state, uint64_t limit_ms);

/* The cluster. value NULL = remove. Told to the manager as the watch would. */
void world_label(struct world *world, const char *key, const char *value);
void world_annotate(struct world *world, const char *key, const char *value);
const char *world_get(const struct world *world, const char *key); /* label or annotation; NULL */
void world_config(struct world *world, const char *text);
void world_delete_node(struct world *world);
void world_create_node(struct world *world);
void world_api(struct world *world, bool away);
void world_helper(struct world *world, bool away);
void world_step(struct world *world, const struct mig_manager_event *event);
void world_tell(struct world *world, enum mig_manager_event_kind kind);
void world_snapshot(struct world *world); /* tells the machine how the hardware is */

/* Gives a pod the first free slice of `profile` on the GPU (NULL: the GPU); NULL when there is
 * none.
 */
struct world_pod *world_add_pod(struct world *world, const char *name, uint32_t gpu,
                                const char *profile);
void world_end_pod(struct world *world, struct world_pod *pod);

/* Somebody changes the GPU by hand, in the notation of plan_support.h; NULL = MIG off. */
void world_set_layout(struct world *world, uint32_t gpu, const char *layout);
const char *world_layout(struct world *world, uint32_t gpu);
void world_add_process(struct world *world, uint32_t gpu, uint32_t gi, uint32_t pid);

uint64_t world_random(struct world *world, uint64_t below);

/* True when the hardware is as the label asks; also how a plan would do. */
bool world_goal(struct world *world, struct mig_goal *ret);
bool world_is_met(struct world *world);
bool world_is_feasible(struct world *world);
bool world_any_paused(const struct world *world);
bool world_happened(const struct world *world, const char *reason);

/* Nothing happened that must never happen; the world is closed. */
void close_world(struct world *world);
void assert_state(const struct world *world, const char *state);
void assert_message(const struct world *world, const char *part); /* of the node's annotation */

#endif
