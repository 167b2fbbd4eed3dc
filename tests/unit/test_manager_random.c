/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager under random labels, configs, pods, faults, kills and reboots. When all is quiet
 * again the label has to be true, the clients as they were, and no pod may have lost its slice
 * unasked. MIGD_SEED is the first seed, MIGD_ROUNDS how many follow.
 */
#include "manager_world.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 1500u
#define APPLIES_MAX 100u /* of a life; without backoff there would be thousands */
#define QUIET_MS 3600000u

static const char config_first[] =
    "version: v1\n"
    "mig-configs:\n"
    "  all-disabled:\n"
    "    - {devices: all, mig-enabled: false}\n"
    "  all-1g.6gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1g.6gb: 4}}\n"
    "  all-4g.24gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {4g.24gb: 1}}\n"
    "  all-balanced:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1g.6gb: 2, 2g.12gb: 1}}\n"
    "  first:\n"
    "    - {devices: [0], mig-enabled: true, mig-devices: {2g.12gb: 2}}\n"
    "  foreign:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {7g.40gb: 1}}\n";

static const char config_second[] =
    "version: v1\n"
    "mig-configs:\n"
    "  all-disabled:\n"
    "    - {devices: all, mig-enabled: false}\n"
    "  all-balanced:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1g.6gb: 1, 2g.12gb: 1}}\n"
    "  all-1g.6gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1g.6gb: 3}}\n";

static const char config_third[] =
    "version: v1\n"
    "mig-configs:\n"
    "  all-disabled:\n"
    "    - {devices: all, mig-enabled: false}\n"
    "  all-1g.6gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1g.5gb: 7}}\n"
    "  all-4g.24gb:\n"
    "    - {devices: all, mig-enabled: true, mig-devices: {1c.3g.20gb: 3, 2g.10gb: 1}}\n"
    "  all-balanced:\n"
    "    - {devices: all, mig-enabled: true,\n"
    "       mig-devices: {1g.5gb: 2, 2g.10gb: 1, 3g.20gb: 1}}\n"
    "  first:\n"
    "    - {devices: [0], mig-enabled: true, mig-devices: {3g.20gb: 2}}\n";

/* Whose profiles the configs are of. */
static const struct family {
    const char *model, *configs[2], *profiles[4], *layouts[4];
} families[] = {
    {"NVIDIA A30",
     {config_first, config_second},
     {"1g.6gb", "2g.12gb", "4g.24gb", "1g.6gb"},
     {"2g.12gb@0", "1g.6gb@0 1g.6gb@3", "4g.24gb@0", "1g.6gb@1{}"}},
    {"NVIDIA A100-SXM4-40GB",
     {config_third, config_third},
     {"1g.5gb", "2g.10gb", "3g.20gb", "1g.5gb"},
     {"3g.20gb@0 3g.20gb@4", "1g.5gb@0 1g.5gb@6", "7g.40gb@0", "2g.10gb@2{}"}},
};
static const struct family *family;

static const char *const labels[] = {
    "all-disabled", "all-1g.6gb", "all-4g.24gb", "all-balanced", "first", "foreign", "all-balanced",
    "no-such",      "",           NULL};
static const char *const clients[] = {"device-plugin", "gpu-feature-discovery", "dcgm-exporter",
                                      "dcgm"};

/* What the user, or another controller, last made of each client label; NULL = absent. */
struct intents {
    const char *values[4];
    unsigned reboots;
    uint64_t pod_count;
};

#define ANY(world, list) ((list)[world_random(world, sizeof(list) / sizeof((list)[0]))])

/* ---- what may happen ------------------------------------------------------------------------- */

static void change_client(struct world *world, struct intents *intents)
{
    static const char *const values[] = {"true", "false", "paused-for-driver-upgrade", NULL};
    uint64_t client = world_random(world, 4);
    char key[64];

    intents->values[client] = ANY(world, values);
    snprintf(key, sizeof(key), DEPLOY "%s", clients[client]);
    world_label(world, key, intents->values[client]);
}

static void change_pods(struct world *world, struct intents *intents)
{
    struct world_pod *pod = &world->pods[world_random(world, WORLD_PODS)];
    char name[32];

    if (pod->alive && world_random(world, 2)) {
        world_end_pod(world, pod);
        return;
    }
    snprintf(name, sizeof(name), "pod-%" PRIu64, intents->pod_count++);
    pod = world_add_pod(world, name, (uint32_t)world_random(world, world->gpu_count),
                        world_random(world, 5) == 0 ? NULL : ANY(world, family->profiles));
    if (pod) {
        pod->process = world_random(world, 2);
        pod->budget = world_random(world, 4) == 0;
    }
}

/* By hand; but nobody takes a slice from under a pod. */
static void drift(struct world *world)
{
    uint32_t gpu = (uint32_t)world_random(world, world->gpu_count);

    for (unsigned i = 0; i < WORLD_PODS; i++) {
        if (world->pods[i].alive) {
            return;
        }
    }
    world_set_layout(world, gpu, world_random(world, 4) == 0 ? NULL : ANY(world, family->layouts));
    world_snapshot(world);
}

static void restart(struct world *world, bool reboot)
{
    if (reboot) {
        world_reboot(world);
        if (world_random(world, 2)) {
            world->has_record = false;
        }
    } else {
        world_kill(world);
    }
    world_start(world);
}

static void delete_node(struct world *world, struct intents *intents)
{
    world_delete_node(world);
    world_run(world, world_random(world, 5000));
    world_create_node(world);
    for (unsigned i = 0; i < 4; i++) {
        intents->values[i] = "true";
    }
}

static void change_faults(struct world *world)
{
    static const unsigned percents[] = {0, 0, 0, 0, 10, 50};

    world->faults = (struct world_faults){
        .api = ANY(world, percents),
        .conflict = ANY(world, percents),
        .helper = ANY(world, percents),
        .apply = ANY(world, percents),
        .broken = ANY(world, percents),
        .kubelet = ANY(world, percents),
    };
    world->delay_ms = world_random(world, 4) == 0 ? 5000 : 20;
    world->client_stuck = world_random(world, 8) == 0;
    world->busy_driver = world_random(world, 8) == 0;
    world->apply_lies = world_random(world, 16) == 0;
    world->silent_apply = world_random(world, 8) == 0;
    world->cdi_fails = world_random(world, 8) == 0;
    world->reset_fails = world_random(world, 8) == 0;
}

static void change_config(struct world *world)
{
    static const char *const wrong[] = {NULL, "version: v3"};

    world_config(world,
                 world_random(world, 4) == 0 ? ANY(world, wrong) : ANY(world, family->configs));
}

static void annotate(struct world *world)
{
    static const char *const values[] = {"keep", "wait", "wait:20", "evict", "nonsense", NULL};

    world_annotate(world, MIG_MANAGER_ANNOTATION_ON_BUSY, ANY(world, values));
}

static void anything(struct world *world, struct intents *intents)
{
    switch (world_random(world, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        world_label(world, LABEL, ANY(world, labels));
        break;
    case 4:
        change_config(world);
        break;
    case 5:
    case 6:
        change_pods(world, intents);
        break;
    case 7:
        change_client(world, intents);
        break;
    case 8:
        world_api(world, !world->api_away && world_random(world, 2));
        break;
    case 9:
        world_helper(world, !world->helper_away && world_random(world, 2));
        break;
    case 10:
        world->die_at = 1 + (unsigned)world_random(world, 20);
        break;
    case 11:
        restart(world, world_random(world, 3) == 0);
        break;
    case 12:
        change_faults(world);
        break;
    case 13:
        drift(world);
        break;
    case 14:
        annotate(world);
        break;
    default:
        if (world_random(world, 4) == 0) {
            delete_node(world, intents);
        }
        break;
    }
}

static void go_down_if_told(struct world *world, struct intents *intents)
{
    if (world->reboots > intents->reboots) {
        intents->reboots = world->reboots;
        restart(world, true);
    }
}

static void pass_time(struct world *world)
{
    static const uint64_t limits[] = {2, 50, 1000, 20000, 400000};

    world_run(world, world_random(world, ANY(world, limits)));
}

/* ---- and when it is quiet -------------------------------------------------------------------- */

static void calm_down(struct world *world, struct intents *intents)
{
    world->faults = (struct world_faults){0};
    world->delay_ms = 20;
    world->client_stuck = world->busy_driver = world->apply_lies = world->silent_apply = false;
    world->cdi_fails = world->reset_fails = false;
    world->die_at = 0;
    for (unsigned i = 0; i < WORLD_PODS; i++) {
        world->pods[i].budget = false;
    }
    if (world->helper_away) {
        world_helper(world, false);
    }
    if (world->api_away) {
        world_api(world, false);
    }
    if (!world->manager) {
        world_start(world);
    }
    for (unsigned i = 0; i < 6; i++) {
        go_down_if_told(world, intents);
        world_run(world, QUIET_MS / 6);
    }
}

static const char *check_clients(const struct world *world, const struct intents *intents)
{
    if (world_any_paused(world)) {
        return "a client is left paused";
    }
    for (unsigned i = 0; i < 4; i++) {
        const char *value;
        char key[64];

        snprintf(key, sizeof(key), DEPLOY "%s", clients[i]);
        value = world_get(world, key);
        if (intents->values[i] ? !value || strcmp(value, intents->values[i]) != 0 : value != NULL) {
            return "a client label is not as it was";
        }
    }
    return !world->service_runs[0] || world_get(world, MIG_MANAGER_ANNOTATION_SERVICES)
               ? "a host service is left stopped"
               : NULL;
}

/* The state says what holds, and everything that could be done is. */
static const char *check_state(struct world *world)
{
    const char *label = world_get(world, LABEL), *state = world_get(world, STATE);
    const char *message = world_get(world, MIG_MANAGER_ANNOTATION_MESSAGE);
    struct mig_goal goal = {0};

    if (!label || !label[0]) {
        return state ? "there is a state of nothing" : NULL;
    }
    if (!state || !message) {
        return "there is no state";
    }
    if (!world_goal(world, &goal)) {
        return strcmp(state, "failed") != 0 ? "what makes no sense is not failed" : NULL;
    }
    if (world_is_met(world)) {
        return strcmp(state, "success") != 0 ? "it is as wanted, and not success" : NULL;
    }
    if (strcmp(state, "success") == 0) {
        return "success is not true";
    }
    if (!world->options.repair_drift && strstr(message, "somebody else changed")) {
        return strcmp(state, "failed") != 0 ? "drift is not failed" : NULL;
    }
    return world_is_feasible(world) ? "it could be done, and is not" : NULL;
}

static const char *check(struct world *world, const struct intents *intents, unsigned patches)
{
    const char *problem = world->violation;

    problem = problem ? problem : check_clients(world, intents);
    problem = problem ? problem : check_state(world);
    if (!problem && patches > 60) {
        problem = "too many patches while nothing happens";
    }
    if (!problem && world->applies > APPLIES_MAX) {
        problem = "it is tried again too often";
    }
    if (!problem && world->taint && world_get(world, STATE) &&
        strcmp(world_get(world, STATE), "success") == 0) {
        problem = "the taint is left";
    }
    return problem;
}

/* ---- a life ---------------------------------------------------------------------------------- */

static void begin(struct world *world, uint64_t seed)
{
    family = &families[seed % 3 == 0];
    world_open(world, family->model, 1 + seed % WORLD_GPUS, seed * 7919 + 1);
    world->config_text = family->configs[0];
    world->options.on_busy = (enum mig_manager_on_busy)world_random(world, 3);
    world->options.busy_timeout_ms = 30000;
    world->options.repair_drift = world_random(world, 2);
    world->options.stop_services = world_random(world, 3) == 0;
    world->options.cdi_enabled = world_random(world, 3) == 0;
    world->options.with_reboot = world_random(world, 3) == 0;
    world->options.restart_plugin = world_random(world, 2);
    world->taint = world_random(world, 2);
    if (world_random(world, 2)) {
        world_set_layout(world, 0, family->layouts[1]);
    }
    world_start(world);
}

static const char *live(struct world *world, uint64_t seed)
{
    struct intents intents = {.values = {"true", "true", "true", "true"}};
    unsigned patches;

    begin(world, seed);
    for (unsigned i = 0; i < 30 && !world->violation; i++) {
        anything(world, &intents);
        pass_time(world);
        go_down_if_told(world, &intents);
    }
    patches = world->counts[MIG_MANAGER_PATCH];
    calm_down(world, &intents);
    return check(world, &intents, world->counts[MIG_MANAGER_PATCH] - patches);
}

static uint64_t from_environment(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 0) : fallback;
}

static void test_lives(void **state)
{
    static struct world world;
    uint64_t first = from_environment("MIGD_SEED", 1);
    uint64_t rounds = from_environment("MIGD_ROUNDS", ROUNDS);
    uint64_t applies = 0, evictions = 0;

    (void)state;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        const char *problem = live(&world, seed);
        const char *now = world_get(&world, STATE);
        const char *message = world_get(&world, MIG_MANAGER_ANNOTATION_MESSAGE);

        if (problem) {
            print_message("label %s, state %s: %s\nGPU 0: %s\n",
                          world_get(&world, LABEL) ? world_get(&world, LABEL) : "-",
                          now ? now : "-", message ? message : "-", world_layout(&world, 0));
            fail_msg("%s (MIGD_SEED=%" PRIu64 " MIGD_ROUNDS=1)", problem, seed);
        }
        applies += world.applies;
        evictions += world.evictions;
        world_close(&world);
    }
    print_message("# %" PRIu64 " lives, %" PRIu64 " changes, %" PRIu64 " evictions\n", rounds,
                  applies, evictions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lives)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
