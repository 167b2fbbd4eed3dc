/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MIG manager: any events in any order, with any texts, and answers that make no sense. It
 * stays within its limits, writes only its own keys, and never asks to be woken in the past.
 */
#include "fuzz.h"
#include "manager/manager.h"
#include <string.h>

#define PAIRS 8u
#define TEXT_MAX 300u
#define NODES 2u

static const char config_a30[] =
    "version: v1\n"
    "mig-configs:\n"
    "  a: [{devices: all, mig-enabled: false}]\n"
    "  b: [{devices: all, mig-enabled: true, mig-devices: {1g.6gb: 4}}]\n"
    "  c: [{devices: all, mig-enabled: true, mig-devices: {2g.12gb: 1, 1g.6gb: 2}}]\n";

static const char *const keys[PAIRS] = {
    MIG_MANAGER_LABEL_CONFIG,
    MIG_MANAGER_LABEL_STATE,
    MIG_MANAGER_LABEL_DEPLOY "device-plugin",
    MIG_MANAGER_LABEL_DEPLOY "nvsm",
    MIG_MANAGER_ANNOTATION_PAUSED,
    MIG_MANAGER_ANNOTATION_SERVICES,
    MIG_MANAGER_ANNOTATION_ON_BUSY,
    MIG_MANAGER_ANNOTATION_MESSAGE,
};

struct input {
    const uint8_t *data;
    size_t size;
    uint64_t ids[64]; /* asked last */
    size_t id_count;
};

/* Two A30 in some state; the machine borrows them. */
struct test_node {
    struct mig_node node;
    struct mig_gpu gpus[2];
};

static unsigned take(struct input *input)
{
    if (input->size == 0) {
        return 0;
    }
    input->size--;
    return *input->data++;
}

/* Often one that means something. */
static const char *take_text(struct input *input, char buffer[TEXT_MAX])
{
    static const char *const known[] = {"",
                                        "a",
                                        "b",
                                        "c",
                                        "true",
                                        "false",
                                        "GPU-0",
                                        "MIG-0-1::2",
                                        "evict:1",
                                        "rebooting",
                                        "paused-for-mig-change",
                                        "nvsm,device-plugin=true"};
    unsigned what = take(input);
    size_t length = what < TEXT_MAX - 1 ? what : TEXT_MAX - 1;

    if (what < sizeof(known) / sizeof(known[0])) {
        return known[what];
    }
    length = length < input->size ? length : input->size;
    memcpy(buffer, input->data, length);
    buffer[length] = '\0';
    input->data += length;
    input->size -= length;
    return buffer;
}

static void make_node(struct input *input, struct test_node *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->node.gpu_count = 1 + take(input) % 2;
    ret->node.gpus = ret->gpus;
    for (uint32_t i = 0; i < ret->node.gpu_count; i++) {
        struct mig_gpu *gpu = &ret->gpus[i];
        unsigned bits = take(input);

        gpu->index = i;
        snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-%u", i);
        if (bits == 255) {
            snprintf(gpu->problem, sizeof(gpu->problem), "lost");
            continue;
        }
        gpu->mig_capable = true;
        gpu->layout.model = mig_catalog_find_name("A30");
        gpu->pci_device = gpu->layout.model->pci_ids[0].device;
        gpu->mig_mode = bits & 1u;
        gpu->mig_mode_pending = bits & 2u;
        for (uint8_t start = 0; gpu->mig_mode && start < 4; start++) {
            struct mig_gi *gi = &gpu->layout.gis[gpu->layout.gi_count];

            if (bits >> (2 + start) & 1u) {
                gi->profile = (uint8_t)mig_model_find_profile(gpu->layout.model, "1g.6gb");
                gi->start = start;
                gi->id = start;
                gi->ci_count = 1;
                gi->in_use = bits & 64u;
                snprintf(gpu->gi_infos[gpu->layout.gi_count].devices[0].uuid, MIG_UUID_SIZE,
                         "MIG-%u-%u", i, start);
                gpu->layout.gi_count++;
            }
        }
    }
}

static bool is_ours(const struct mig_manager_change *change)
{
    if (change->is_annotation) {
        return strncmp(change->key, "migd.dev/", 9) == 0;
    }
    return strcmp(change->key, MIG_MANAGER_LABEL_STATE) == 0 ||
           strcmp(change->key, MIG_MANAGER_LABEL_CONFIG) == 0 ||
           strncmp(change->key, MIG_MANAGER_LABEL_DEPLOY, strlen(MIG_MANAGER_LABEL_DEPLOY)) == 0;
}

static void check_actions(struct input *input, const struct mig_manager_actions *actions,
                          uint64_t now_ms)
{
    FUZZ_CHECK(actions->count <= MIG_MANAGER_ACTIONS_MAX);
    FUZZ_CHECK(actions->wake_ms > now_ms);
    for (size_t i = 0; i < actions->count; i++) {
        const struct mig_manager_action *action = &actions->list[i];

        FUZZ_CHECK(action->change_count <= MIG_MANAGER_CHANGES_MAX);
        for (size_t j = 0; j < action->change_count; j++) {
            FUZZ_CHECK(is_ours(&action->changes[j]));
        }
        FUZZ_CHECK(action->kind != MIG_MANAGER_APPLY || (action->goal && action->node));
        if (action->id) {
            input->ids[input->id_count++ % 64] = action->id;
        }
    }
}

static void take_object(struct input *input, struct mig_manager_object *ret,
                        struct mig_manager_pair pairs[PAIRS], char texts[PAIRS + 2][TEXT_MAX])
{
    unsigned bits = take(input), present = take(input);
    size_t count = 0;

    for (unsigned i = 0; i < PAIRS; i++) {
        if (present >> i & 1u) {
            pairs[count++] = (struct mig_manager_pair){keys[i], take_text(input, texts[i])};
        }
    }
    *ret = (struct mig_manager_object){
        .exists = bits & 1u,
        .not_ready_taint = bits & 2u,
        .uid = bits & 4u ? "x" : "y",
        .resource_version = take_text(input, texts[PAIRS]),
        .labels = pairs,
        .annotations = pairs,
        .label_count = count,
        .annotation_count = count,
    };
}

/* What one event may point to. */
struct room {
    struct mig_manager_object object;
    struct mig_manager_pair pairs[PAIRS];
    struct mig_manager_config config;
    struct mig_manager_policy policy;
    struct mig_manager_record record;
    struct mig_manager_holder holder;
    struct mig_manager_holders holders;
    struct mig_error error;
    const char *names[2];
    char texts[PAIRS + 2][TEXT_MAX];
};

static void take_answer(struct input *input, struct mig_manager_event *event, struct room *room)
{
    unsigned bits = take(input);

    event->id = input->ids[take(input) % 64];
    event->result = bits & 1u ? -(int)(bits >> 1 & 7u) : MIG_OK;
    event->status = (int)take(input) * 4;
    event->error = bits & 16u ? &room->error : NULL;
    snprintf(room->error.message, sizeof(room->error.message), "an error");
    room->holder = (struct mig_manager_holder){"ns", take_text(input, room->texts[0]), NULL,
                                               take_text(input, room->texts[1])};
    room->holders = (struct mig_manager_holders){&room->holder, bits >> 5 & 1u, bits == 255};
    event->holders = bits & 64u ? &room->holders : NULL;
    room->names[0] = take_text(input, room->texts[2]);
    room->names[1] = "b";
    event->names = bits & 128u ? room->names : NULL;
    event->name_count = bits & 128u ? 2 : 0;
    take_object(input, &room->object, room->pairs, room->texts);
    event->object = room->object.exists ? &room->object : NULL;
}

static void take_event(struct input *input, struct mig_manager_event *event, struct room *room)
{
    event->kind = (enum mig_manager_event_kind)(take(input) % (MIG_MANAGER_ANSWER + 4));
    if (event->kind >= MIG_MANAGER_ANSWER) { /* most are answers */
        event->kind = MIG_MANAGER_ANSWER;
        take_answer(input, event, room);
    } else if (event->kind == MIG_MANAGER_OBJECT) {
        take_object(input, &room->object, room->pairs, room->texts);
        event->object = &room->object;
    } else if (event->kind == MIG_MANAGER_CONFIG) {
        unsigned bits = take(input);

        room->config = (struct mig_manager_config){.source = (enum mig_manager_source)(bits % 4),
                                                   .name = "map",
                                                   .text = bits & 4u ? config_a30 : NULL};
        room->config.size = room->config.text ? sizeof(config_a30) - 1 : 0;
        event->config = &room->config;
    } else if (event->kind == MIG_MANAGER_POLICY) {
        room->policy = (struct mig_manager_policy){take(input) & 1u ? "map" : "",
                                                   take_text(input, room->texts[0])};
        event->policy = &room->policy;
    } else if (event->kind == MIG_MANAGER_START) {
        room->record = (struct mig_manager_record){.label = take_text(input, room->texts[0]),
                                                   .boot_id = take_text(input, room->texts[1]),
                                                   .reboot_label = "b",
                                                   .config_text = config_a30,
                                                   .config_size = sizeof(config_a30) - 1};
        event->record = &room->record;
    }
}

static void run(struct mig_manager *manager, struct input *input)
{
    static struct mig_manager_actions actions;
    static struct test_node nodes[NODES];
    static struct room room;
    uint64_t now_ms = 1;
    unsigned slot = 0;

    for (unsigned i = 0; input->size > 0 && i < 2000; i++) {
        struct mig_manager_event event = {.kind = MIG_MANAGER_TIME};

        memset(&room, 0, sizeof(room));
        take_event(input, &event, &room);
        if (event.kind == MIG_MANAGER_SNAPSHOT ||
            (event.kind == MIG_MANAGER_ANSWER && take(input) & 1u)) {
            slot = 1 - slot; /* the other one is borrowed */
            make_node(input, &nodes[slot]);
            event.node = &nodes[slot].node;
        }
        now_ms += (uint64_t)take(input) * take(input);
        mig_manager_step(manager, &event, now_ms, &actions);
        check_actions(input, &actions, now_ms);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const services[] = {"a.service", "b.service", NULL};
    struct input input = {.data = data, .size = size};
    unsigned bits = take(&input), more = take(&input);
    const struct mig_manager_options options = {
        .node_name = "n",
        .boot_id = "boot",
        .has_cluster_policy = bits & 1u,
        .has_config_file = bits & 2u,
        .has_default_file = bits & 4u,
        .repair_drift = bits & 8u,
        .with_reboot = bits & 16u,
        .cdi_enabled = bits & 32u,
        .stop_services = bits & 64u,
        .restart_plugin = bits & 128u,
        .services = services,
        .on_busy = (enum mig_manager_on_busy)(more % 3),
        .mode_only = more & 4u,
    };
    struct mig_manager *manager;

    if (mig_manager_new(&options, &manager, NULL) == MIG_OK) {
        run(manager, &input);
        mig_manager_free(manager);
    }
    return 0;
}
