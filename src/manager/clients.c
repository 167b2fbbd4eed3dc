/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GPU clients and host services: out of the way while a GPU has to be idle, and back after it,
 * whatever happens.
 *
 * A client is paused by its label nvidia.com/gpu.deploy.NAME, and only if that is absent, empty or
 * `true`: `false` is the user's, and another value (paused-for-driver-upgrade) is somebody else's.
 * In the same patch an annotation keeps what each label was, so whoever comes after a crash can put
 * it back exactly; a label that is not ours any more by then is left alone. The same goes for host
 * services: first written down, then stopped.
 */
#include "base/cleanup.h"
#include "base/text.h"
#include "core/describe.h"
#include "manager/internal.h"
#include <stdio.h>
#include <string.h>

#define LIST_MS 30000u
#define SERVICE_STOP_MS 60000u
#define SERVICE_START_MS 150000u

/* The last is paused only where it is in use. */
const char *const mig_manager_client_names[MIG_MANAGER_CLIENT_COUNT] = {
    "device-plugin", "gpu-feature-discovery", "dcgm-exporter", "dcgm", "nvsm", "client"};

#define CLIENT_OPTIONAL (MIG_MANAGER_CLIENT_COUNT - 1)

/* ---- what labels say ------------------------------------------------------------------------- */

/* Some client label is there: else nobody on this node goes by them. */
static bool is_operated(const struct mig_manager_seen *seen)
{
    for (unsigned i = 0; i < MIG_MANAGER_CLIENT_COUNT; i++) {
        if (seen->deploy[i].present) {
            return true;
        }
    }
    return false;
}

static bool is_paused(const struct mig_manager_label *label)
{
    return label->present && strcmp(label->value, MIG_MANAGER_PAUSED) == 0;
}

static bool can_be_paused(const struct mig_manager_seen *seen, unsigned client)
{
    const struct mig_manager_label *label = &seen->deploy[client];

    if (!label->present) {
        return client != CLIENT_OPTIONAL && is_operated(seen);
    }
    return !label->value[0] || strcmp(label->value, "true") == 0;
}

static bool any_paused(const struct mig_manager_seen *seen)
{
    for (unsigned i = 0; i < MIG_MANAGER_CLIENT_COUNT; i++) {
        if (is_paused(&seen->deploy[i])) {
            return true;
        }
    }
    return false;
}

static bool all_paused(const struct mig_manager_seen *seen)
{
    for (unsigned i = 0; i < MIG_MANAGER_CLIENT_COUNT; i++) {
        if (can_be_paused(seen, i)) {
            return false;
        }
    }
    return true;
}

bool mig_manager_has_clients(const struct mig_manager *manager)
{
    const struct mig_manager_seen *seen = &manager->seen;

    return seen->exists && (manager->service_count > 0 || !all_paused(seen) || any_paused(seen));
}

/* ---- what they were: "device-plugin=true,nvsm", without "=" for one that was absent -----------
 */

/* False: not written down. */
static bool find_prior(const char *text, const char *client, struct mig_manager_label *ret)
{
    size_t length = strlen(client);

    while (*text) {
        size_t item = strcspn(text, ",");

        if (item >= length && strncmp(text, client, length) == 0 &&
            (item == length || text[length] == '=')) {
            size_t value = item == length ? 0 : item - length - 1;

            ret->present = item > length;
            value = value < sizeof(ret->value) ? value : sizeof(ret->value) - 1;
            memcpy(ret->value, text + item - value, value);
            ret->value[value] = '\0';
            return true;
        }
        text += item + (text[item] == ',');
    }
    return false;
}

/* Paused by nobody we know of: by a manager of old, which would have made it `true`. */
static void prior_of(const struct mig_manager_seen *seen, unsigned client,
                     struct mig_manager_label *ret)
{
    if (!find_prior(seen->paused, mig_manager_client_names[client], ret)) {
        *ret = (struct mig_manager_label){.present = true, .value = "true"};
    }
}

static void add_prior(struct mig_words *words, unsigned client,
                      const struct mig_manager_label *prior)
{
    mig_words_separate(words, ",");
    mig_words_add(words, "%s%s%s", mig_manager_client_names[client], prior->present ? "=" : "",
                  prior->value);
}

/* ---- changes of labels and annotations ------------------------------------------------------- */

static void change_label(struct mig_manager *manager, unsigned client, const char *value)
{
    (void)snprintf(manager->keys[client], sizeof(manager->keys[client]), "%s%s",
                   MIG_MANAGER_LABEL_DEPLOY, mig_manager_client_names[client]);
    mig_manager_add_change(manager, false, manager->keys[client], value);
}

static void change_list(struct mig_manager *manager, const char *key, bool has, const char *had,
                        const char *text)
{
    if (text[0] ? !has || strcmp(had, text) != 0 : has) {
        mig_manager_add_change(manager, true, key, text[0] ? text : NULL);
    }
}

static void pause_labels(struct mig_manager *manager)
{
    const struct mig_manager_seen *seen = &manager->seen;
    struct mig_words words = mig_words_start(manager->paused_text, sizeof(manager->paused_text));

    for (unsigned i = 0; i < MIG_MANAGER_CLIENT_COUNT; i++) {
        struct mig_manager_label prior = seen->deploy[i];

        if (can_be_paused(seen, i)) {
            change_label(manager, i, MIG_MANAGER_PAUSED);
        } else if (is_paused(&seen->deploy[i])) {
            prior_of(seen, i, &prior);
        } else {
            continue;
        }
        add_prior(&words, i, &prior);
    }
    change_list(manager, MIG_MANAGER_ANNOTATION_PAUSED, seen->has_paused, seen->paused,
                manager->paused_text);
}

static void restore_labels(struct mig_manager *manager)
{
    const struct mig_manager_seen *seen = &manager->seen;

    for (unsigned i = 0; i < MIG_MANAGER_CLIENT_COUNT; i++) {
        struct mig_manager_label prior;

        if (is_paused(&seen->deploy[i])) {
            prior_of(seen, i, &prior);
            (void)mig_text_copy(manager->values[i], sizeof(manager->values[i]), prior.value);
            change_label(manager, i, prior.present ? manager->values[i] : NULL);
        }
    }
    change_list(manager, MIG_MANAGER_ANNOTATION_PAUSED, seen->has_paused, seen->paused, "");
}

/* What will be stopped, then what was, then nothing. */
static void change_services(struct mig_manager *manager)
{
    const struct mig_manager_clients *clients = &manager->clients;
    bool all = clients->hold && !clients->stopped_done;
    size_t count = all ? manager->service_count : clients->stopped_count;
    struct mig_words words =
        mig_words_start(manager->services_text, sizeof(manager->services_text));

    for (size_t i = 0; i < count; i++) {
        mig_words_separate(&words, ",");
        mig_words_add(&words, "%s", all ? manager->services[i] : clients->stopped[i]);
    }
    change_list(manager, MIG_MANAGER_ANNOTATION_SERVICES, manager->seen.has_services,
                manager->seen.services, manager->services_text);
}

void mig_manager_client_changes(struct mig_manager *manager)
{
    change_services(manager);
    if (manager->clients.hold) {
        pause_labels(manager);
    } else {
        restore_labels(manager);
    }
}

static bool is_our_service(const struct mig_manager *manager, const char *name)
{
    for (size_t i = 0; i < manager->service_known_count; i++) {
        if (strcmp(manager->services[i], name) == 0) {
            return true;
        }
    }
    return false;
}

/* Others may write annotations too; to start a service is not theirs to ask for. */
void mig_manager_adopt_services(struct mig_manager *manager)
{
    struct mig_manager_clients *clients = &manager->clients;
    char foreign[MIG_MANAGER_NAME_SIZE];
    struct mig_words words = mig_words_start(foreign, sizeof(foreign));
    const char *text = manager->seen.services;

    while (*text && clients->stopped_count < MIG_MANAGER_SERVICES_MAX) {
        size_t length = strcspn(text, ",");
        char *name = clients->stopped[clients->stopped_count];

        if (length > 0 && length < MIG_UUID_SIZE) {
            memcpy(name, text, length);
            name[length] = '\0';
            if (is_our_service(manager, name)) {
                clients->stopped_count++;
            } else {
                mig_words_separate(&words, ", ");
                mig_words_add(&words, "%s", name);
            }
        }
        text += length + (text[length] == ',');
    }
    if (foreign[0]) {
        mig_manager_say(manager, MIG_MANAGER_WARNING, "MigServices",
                        "annotation %s names services that are not in the file of GPU clients: "
                        "they are not started: %s",
                        MIG_MANAGER_ANNOTATION_SERVICES, foreign);
    }
}

/* ---- out of the way -------------------------------------------------------------------------- */

static bool is_too_late(struct mig_manager *manager)
{
    struct mig_manager_clients *clients = &manager->clients;
    uint64_t end_ms = clients->since_ms + manager->options.clients_timeout_ms;
    struct mig_error error;

    if (!mig_manager_is_due(manager, end_ms)) {
        return false;
    }
    if (!all_paused(&manager->seen)) {
        mig_error_set(&error, MIG_E_FAILED, MIG_DOMAIN_NONE, 0,
                      "GPU clients could not be paused: the node's labels could not be written");
    } else {
        mig_error_set(&error, MIG_E_BUSY, MIG_DOMAIN_NONE, 0,
                      "%zu pod%s of GPU clients did not end within %u s", clients->awaited_count,
                      clients->awaited_count == 1 ? "" : "s",
                      manager->options.clients_timeout_ms / 1000);
        mig_error_add_holder(&error, "%s", clients->awaited);
    }
    mig_manager_fail(manager, "MigClientsTimeout", &error);
    return true;
}

/* True when no pod of a paused client is left. */
static bool pods_have_ended(struct mig_manager *manager)
{
    struct mig_manager_clients *clients = &manager->clients;

    if (!any_paused(&manager->seen)) {
        return true;
    }
    if (!clients->had_pods) {
        if (clients->awaited_count > 0) {
            mig_manager_set_state(manager, MIG_MANAGER_STATE_PENDING,
                                  "changing to '%s': waiting for pods of GPU clients to end: %s",
                                  manager->wish.label, clients->awaited);
        }
        if (!mig_manager_busy(manager, MIG_MANAGER_OP_CLIENT_PODS) &&
            mig_manager_is_due(manager, clients->poll_ms)) {
            (void)mig_manager_begin(manager, MIG_MANAGER_OP_CLIENT_PODS,
                                    MIG_MANAGER_LIST_CLIENT_PODS, LIST_MS);
        }
        return false;
    }
    if (!clients->validators) {
        clients->validators = true;
        mig_manager_delete_pods(manager, MIG_MANAGER_PODS_VALIDATORS);
    }
    return true;
}

static bool services_are_stopped(struct mig_manager *manager)
{
    struct mig_manager_action *action;

    if (manager->service_count == 0 || manager->clients.stopped_done) {
        return true;
    }
    if (!mig_manager_busy(manager, MIG_MANAGER_OP_STOP)) {
        action = mig_manager_begin(manager, MIG_MANAGER_OP_STOP, MIG_MANAGER_STOP_SERVICES,
                                   SERVICE_STOP_MS * (unsigned)manager->service_count);
        for (size_t i = 0; action && i < manager->service_count; i++) {
            manager->service_list[i] = manager->services[i];
            action->services = manager->service_list;
            action->service_count = i + 1;
        }
    }
    return false;
}

static void begin_hold(struct mig_manager *manager)
{
    struct mig_manager_clients *clients = &manager->clients;

    clients->hold = true;
    clients->was_held = true;
    clients->held = clients->had_pods = clients->validators = clients->stopped_done = false;
    clients->since_ms = manager->now_ms;
    clients->poll_ms = 0;
    clients->awaited_count = 0;
    clients->awaited[0] = '\0';
}

bool mig_manager_hold_clients(struct mig_manager *manager)
{
    struct mig_manager_clients *clients = &manager->clients;

    /* Services on their way up are let come up first, or fail. */
    if (mig_manager_busy(manager, MIG_MANAGER_OP_START) ||
        (!clients->hold && clients->stopped_count > 0 && clients->start_retry.failure_count == 0 &&
         !mig_manager_free_clients(manager))) {
        return false;
    }
    if (!clients->hold) {
        begin_hold(manager);
    }
    if (clients->held) {
        return true;
    }
    if (!manager->seen.exists) { /* nobody to pause, and nowhere to write it down */
        clients->held = true;
        return true;
    }
    if (is_too_late(manager)) {
        return false;
    }
    /* Written down before anything is stopped; a patch under way may be undoing that. */
    if (manager->patch_lost || mig_manager_busy(manager, MIG_MANAGER_OP_PATCH) ||
        !all_paused(&manager->seen) ||
        (manager->service_count > 0 && !clients->stopped_done && !manager->seen.has_services)) {
        return false; /* publish writes it */
    }
    if (!pods_have_ended(manager) || !services_are_stopped(manager)) {
        return false;
    }
    clients->held = true;
    mig_manager_look_again(manager);
    return true;
}

/* ---- and back -------------------------------------------------------------------------------- */

static void start_services(struct mig_manager *manager)
{
    struct mig_manager_clients *clients = &manager->clients;
    struct mig_manager_action *action;

    action = mig_manager_begin(manager, MIG_MANAGER_OP_START, MIG_MANAGER_START_SERVICES,
                               SERVICE_START_MS * (unsigned)clients->stopped_count);
    for (size_t i = 0; action && i < clients->stopped_count; i++) {
        manager->service_list[i] = clients->stopped[clients->stopped_count - 1 - i];
        action->services = manager->service_list;
        action->service_count = i + 1;
    }
}

bool mig_manager_free_clients(struct mig_manager *manager)
{
    struct mig_manager_clients *clients = &manager->clients;

    clients->hold = clients->held = false;
    if (mig_manager_busy(manager, MIG_MANAGER_OP_START) ||
        mig_manager_busy(manager, MIG_MANAGER_OP_STOP)) {
        return false;
    }
    if (clients->stopped_count > 0 && mig_manager_is_due(manager, clients->start_retry.at_ms)) {
        start_services(manager);
    }
    return clients->stopped_count == 0;
}
