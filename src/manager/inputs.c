/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events taken in: each replaces what was known of one input. Nothing is decided here. Everything
 * comes from outside, so texts are cut to size; what does not make sense cut is refused where it is
 * used.
 */
#include "base/text.h"
#include "manager/internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void copy_text(char *buffer, size_t size, const char *text)
{
    (void)mig_text_copy(buffer, size, text ? text : "");
}

/* ---- the node object ------------------------------------------------------------------------- */

static const char *find_pair(const struct mig_manager_pair *pairs, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(pairs[i].key, key) == 0) {
            return pairs[i].value ? pairs[i].value : "";
        }
    }
    return NULL;
}

static void see_label(struct mig_manager_label *label, const struct mig_manager_pair *pairs,
                      size_t count, const char *key)
{
    const char *value = find_pair(pairs, count, key);

    label->present = value != NULL;
    copy_text(label->value, sizeof(label->value), value);
}

static void see_labels(struct mig_manager_seen *seen, const struct mig_manager_object *object)
{
    see_label(&seen->config, object->labels, object->label_count, MIG_MANAGER_LABEL_CONFIG);
    see_label(&seen->state, object->labels, object->label_count, MIG_MANAGER_LABEL_STATE);
    for (unsigned i = 0; i < MIG_MANAGER_CLIENT_COUNT; i++) {
        char key[64] = MIG_MANAGER_LABEL_DEPLOY;

        strncat(key, mig_manager_client_names[i], sizeof(key) - strlen(key) - 1);
        see_label(&seen->deploy[i], object->labels, object->label_count, key);
    }
}

static bool see_annotation(char *buffer, size_t size, const struct mig_manager_object *object,
                           const char *key)
{
    const char *value = find_pair(object->annotations, object->annotation_count, key);

    copy_text(buffer, size, value);
    return value != NULL;
}

/* A watch may tell an older state than the answer to a patch did. */
static bool is_older(const struct mig_manager_seen *seen, const struct mig_manager_object *object)
{
    uint64_t known, told;

    return seen->known && seen->exists && object->exists && object->uid &&
           strcmp(seen->uid, object->uid) == 0 && object->resource_version &&
           mig_text_parse_u64(seen->resource_version, UINT64_MAX, &known) &&
           mig_text_parse_u64(object->resource_version, UINT64_MAX, &told) && told < known;
}

/*
 * What a manager that is no more left half done. `pending`: it may have changed instances without
 * having told anybody. `rebooting` without a record of it: the host was rebooted for this config,
 * and once is enough.
 */
static void adopt_first(struct mig_manager *manager)
{
    const char *state = manager->seen.state.value;

    mig_manager_adopt_services(manager);
    if (strcmp(state, "pending") == 0) {
        manager->run.applied = manager->run.unseen = true;
    }
    if (strcmp(state, "rebooting") == 0 && !manager->record.reboot_label[0]) {
        copy_text(manager->record.reboot_label, sizeof(manager->record.reboot_label),
                  manager->seen.config.value);
    }
}

void mig_manager_see_object(struct mig_manager *manager, const struct mig_manager_object *object)
{
    struct mig_manager_seen *seen = &manager->seen;
    const struct mig_manager_label on_busy = seen->on_busy;
    bool first = !seen->known;

    if (!object->listed && is_older(seen, object)) {
        return;
    }
    if (manager->patch_conflict) {
        manager->patch_conflict = false;
        manager->patch_retry = (struct mig_manager_retry){0};
    }
    *seen = (struct mig_manager_seen){.known = true, .exists = object->exists};
    if (!object->exists) {
        return;
    }
    seen->taint = object->not_ready_taint;
    copy_text(seen->uid, sizeof(seen->uid), object->uid);
    copy_text(seen->resource_version, sizeof(seen->resource_version), object->resource_version);
    see_labels(seen, object);
    seen->has_message = see_annotation(seen->message, sizeof(seen->message), object,
                                       MIG_MANAGER_ANNOTATION_MESSAGE);
    seen->has_paused =
        see_annotation(seen->paused, sizeof(seen->paused), object, MIG_MANAGER_ANNOTATION_PAUSED);
    seen->has_services = see_annotation(seen->services, sizeof(seen->services), object,
                                        MIG_MANAGER_ANNOTATION_SERVICES);
    seen->on_busy.present = see_annotation(seen->on_busy.value, sizeof(seen->on_busy.value), object,
                                           MIG_MANAGER_ANNOTATION_ON_BUSY);
    if (on_busy.present != seen->on_busy.present ||
        strcmp(on_busy.value, seen->on_busy.value) != 0) {
        manager->run.retry = (struct mig_manager_retry){0}; /* an answer to what was told */
        manager->run.busy_since_ms = 0;
        manager->run.stalled = false;
    }
    if (first) {
        adopt_first(manager);
    }
}

/* ---- the hardware ---------------------------------------------------------------------------- */

static void see_node(struct mig_manager *manager, const struct mig_node *node)
{
    manager->node = node;
    manager->node_stale = false;
    manager->node_unreadable = false;
    manager->read_retry = (struct mig_manager_retry){0};
}

/* Somebody changed it: what failed for what was there may work now, but not in a hot loop. */
static void see_drift(struct mig_manager *manager)
{
    uint64_t soon_ms = manager->now_ms + manager->options.poll_ms;

    if (manager->run.retry.at_ms > soon_ms) {
        manager->run.retry.at_ms = soon_ms;
    }
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void start(struct mig_manager *manager, const struct mig_manager_record *record)
{
    struct mig_manager_own_record *own = &manager->record;

    manager->started = true;
    manager->start_ms = manager->now_ms;
    if (!record) {
        return;
    }
    copy_text(own->label, sizeof(own->label), record->label);
    copy_text(own->boot_id, sizeof(own->boot_id), record->boot_id);
    copy_text(own->reboot_label, sizeof(own->reboot_label), record->reboot_label);
    copy_text(own->reboot_boot_id, sizeof(own->reboot_boot_id), record->reboot_boot_id);
    if (record->config_text) {
        struct mig_manager_config config = {
            .name = record->config_name, .text = record->config_text, .size = record->config_size};

        mig_manager_set_file(manager, MIG_MANAGER_SOURCE_RECORD, &config);
    }
}

static void see_config(struct mig_manager *manager, const struct mig_manager_config *config)
{
    if (config->source < MIG_MANAGER_SOURCE_GENERATED) {
        mig_manager_set_file(manager, config->source, config);
    }
}

static void see_policy(struct mig_manager *manager, const struct mig_manager_policy *policy)
{
    manager->policy_known = true;
    copy_text(manager->config_map, sizeof(manager->config_map), policy->config_map);
    copy_text(manager->default_config, sizeof(manager->default_config), policy->default_config);
}

static void see_unreadable(struct mig_manager *manager, const struct mig_error *error)
{
    manager->node_unreadable = true;
    manager->node_error = error ? *error : (struct mig_error){0};
}

static void see_online(struct mig_manager *manager, bool online)
{
    manager->offline = !online;
    if (online) {
        manager->patch_retry = (struct mig_manager_retry){0};
        manager->taint_retry = (struct mig_manager_retry){0};
    }
}

static void see_helper(struct mig_manager *manager, bool lost)
{
    if (lost && !manager->helper_lost) {
        manager->helper_lost_ms = manager->now_ms;
    }
    manager->helper_lost = lost;
    manager->node_stale = true;
    manager->read_retry = (struct mig_manager_retry){0};
}

void mig_manager_take(struct mig_manager *manager, const struct mig_manager_event *event)
{
    if (event->node) {
        see_node(manager, event->node);
    }
    switch (event->kind) {
    case MIG_MANAGER_TIME:
        break;
    case MIG_MANAGER_START:
        start(manager, event->record);
        break;
    case MIG_MANAGER_OBJECT:
        mig_manager_see_object(manager, event->object);
        break;
    case MIG_MANAGER_CONFIG:
        see_config(manager, event->config);
        break;
    case MIG_MANAGER_POLICY:
        see_policy(manager, event->policy);
        break;
    case MIG_MANAGER_SNAPSHOT:
        see_drift(manager);
        break;
    case MIG_MANAGER_UNREADABLE:
        see_unreadable(manager, event->error);
        break;
    case MIG_MANAGER_ONLINE:
    case MIG_MANAGER_OFFLINE:
        see_online(manager, event->kind == MIG_MANAGER_ONLINE);
        break;
    case MIG_MANAGER_HELPER_LOST:
    case MIG_MANAGER_HELPER_BACK:
        see_helper(manager, event->kind == MIG_MANAGER_HELPER_LOST);
        break;
    case MIG_MANAGER_ANSWER:
        mig_manager_answer(manager, event);
        break;
    }
}
