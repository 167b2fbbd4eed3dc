/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evictions: only of pods that hold a slice which must go, each asked for once and again with
 * backoff while a PodDisruptionBudget forbids it. A pod whose eviction was accepted takes its time
 * to end; one that is still there long after (or back under the same name) is asked for again.
 */
#include "base/text.h"
#include "core/describe.h"
#include "manager/internal.h"
#include <string.h>

#define ANSWER_MS 30000u
#define AGAIN_MS 60000u /* after an eviction that was accepted */
#define REFUSED_MIN_MS 2000u
#define REFUSED_MAX_MS 60000u

/* A pod that is back under its name is another one, as far as uids are known. */
static bool is_for(const struct mig_manager_eviction *eviction, const struct mig_manager_pod *pod)
{
    bool same_uid = !eviction->uid[0] || !pod->uid[0] || strcmp(eviction->uid, pod->uid) == 0;

    return same_uid && strcmp(eviction->namespace_name, pod->namespace_name) == 0 &&
           strcmp(eviction->pod, pod->pod) == 0;
}

static bool is_wanted(const struct mig_manager_eviction *eviction,
                      const struct mig_manager_blockers *blockers)
{
    for (size_t i = 0; i < blockers->count; i++) {
        if (blockers->list[i].pod && is_for(eviction, blockers->list[i].pod)) {
            return true;
        }
    }
    return false;
}

/* Forgets pods that are not in the way any more. */
static void drop_others(struct mig_manager *manager, const struct mig_manager_blockers *blockers)
{
    size_t kept = 0;

    for (size_t i = 0; i < manager->eviction_count; i++) {
        struct mig_manager_eviction *eviction = &manager->evictions[i];

        if (eviction->pending.id != 0 || is_wanted(eviction, blockers)) {
            if (kept != i) {
                manager->evictions[kept] = *eviction;
            }
            kept++;
        }
    }
    manager->eviction_count = kept;
}

static struct mig_manager_eviction *find(struct mig_manager *manager,
                                         const struct mig_manager_pod *pod)
{
    struct mig_manager_eviction *eviction;

    for (size_t i = 0; i < manager->eviction_count; i++) {
        if (is_for(&manager->evictions[i], pod)) {
            return &manager->evictions[i];
        }
    }
    if (manager->eviction_count == MIG_MANAGER_EVICTIONS_MAX) {
        return NULL; /* its turn comes when others are gone */
    }
    eviction = &manager->evictions[manager->eviction_count++];
    *eviction = (struct mig_manager_eviction){0};
    (void)mig_text_copy(eviction->namespace_name, sizeof(eviction->namespace_name),
                        pod->namespace_name);
    (void)mig_text_copy(eviction->pod, sizeof(eviction->pod), pod->pod);
    (void)mig_text_copy(eviction->uid, sizeof(eviction->uid), pod->uid);
    return eviction;
}

static void ask(struct mig_manager *manager, struct mig_manager_eviction *eviction)
{
    struct mig_manager_action *action;

    if (eviction->pending.id != 0 || !mig_manager_is_due(manager, eviction->retry.at_ms)) {
        return;
    }
    action = mig_manager_act(manager, MIG_MANAGER_EVICT);
    if (!action) {
        return;
    }
    action->id = manager->next_id++;
    action->namespace_name = eviction->namespace_name;
    action->pod = eviction->pod;
    action->uid = eviction->uid;
    eviction->pending = (struct mig_manager_pending){action->id, manager->now_ms + ANSWER_MS};
    mig_manager_wake(manager, eviction->pending.deadline_ms);
}

void mig_manager_evict(struct mig_manager *manager, const struct mig_manager_blockers *blockers)
{
    drop_others(manager, blockers);
    for (size_t i = 0; i < blockers->count; i++) {
        const struct mig_manager_pod *pod = blockers->list[i].pod;
        struct mig_manager_eviction *eviction = pod ? find(manager, pod) : NULL;

        if (eviction && mig_manager_expired(&eviction->pending, manager)) {
            mig_manager_backoff(manager, &eviction->retry, REFUSED_MIN_MS, REFUSED_MAX_MS);
        }
        if (eviction) {
            ask(manager, eviction);
        }
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static void accept(struct mig_manager *manager, struct mig_manager_eviction *eviction, int status)
{
    eviction->refusal[0] = '\0';
    eviction->retry =
        (struct mig_manager_retry){.at_ms = manager->now_ms + AGAIN_MS, .failure_count = 0};
    if (status == 404 || status == 409) {
        return; /* gone already, or another pod of its name: the kubelet will tell */
    }
    eviction->accepted = true;
    if (manager->run.stalled) { /* it goes on after all */
        manager->run.stalled = false;
        manager->run.busy_since_ms = manager->now_ms;
    }
    mig_manager_say(manager, MIG_MANAGER_NOTICE, "MigPodEvicted",
                    "evicted %s/%s, which holds a slice that '%s' has no place for",
                    eviction->namespace_name, eviction->pod, manager->wish.label);
}

static void refuse(struct mig_manager *manager, struct mig_manager_eviction *eviction,
                   const struct mig_manager_event *event)
{
    struct mig_words words = mig_words_start(eviction->refusal, sizeof(eviction->refusal));

    mig_words_add(&words, "%s", event->error ? event->error->message : "no answer");
    if (event->error && event->error->holders[0]) {
        mig_words_add(&words, " (%s)", event->error->holders);
    }
    mig_manager_backoff(manager, &eviction->retry, REFUSED_MIN_MS, REFUSED_MAX_MS);
    mig_manager_say(manager, MIG_MANAGER_WARNING, "MigEvictionRefused", "%s/%s is not evicted: %s",
                    eviction->namespace_name, eviction->pod, eviction->refusal);
}

bool mig_manager_evict_answer(struct mig_manager *manager, const struct mig_manager_event *event)
{
    for (size_t i = 0; i < manager->eviction_count; i++) {
        struct mig_manager_eviction *eviction = &manager->evictions[i];
        bool gone = event->status == 404 || event->status == 409;

        if (event->id == 0 || eviction->pending.id != event->id) {
            continue;
        }
        eviction->pending.id = 0;
        if (event->result == MIG_OK || gone) {
            accept(manager, eviction, event->status);
        } else {
            refuse(manager, eviction, event);
        }
        return true;
    }
    return false;
}

void mig_manager_name_refusals(const struct mig_manager *manager, char *buffer, size_t size)
{
    struct mig_words words = mig_words_start(buffer, size);

    for (size_t i = 0; i < manager->eviction_count; i++) {
        const struct mig_manager_eviction *eviction = &manager->evictions[i];

        if (eviction->refusal[0]) {
            mig_words_separate(&words, "; ");
            mig_words_add(&words, "%s/%s is not evicted: %s", eviction->namespace_name,
                          eviction->pod, eviction->refusal);
        }
    }
}
