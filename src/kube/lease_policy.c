/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases, decided. The holder's clock is never compared with ours: what counts is for how long its
 * renewTime has not changed while we looked. The holder counts its time from when it sent a
 * renewal, the others from when they saw it, which is later.
 */
#include "kube/lease_policy.h"
#include "kube/json.h"
#include <stdio.h>
#include <string.h>

#define DURATION_MS_MAX 3600000u

static uint64_t duration_of(const json_t *object, uint64_t ours_ms)
{
    json_int_t seconds =
        json_integer_value(mig_kube_json_member(object, "spec", "leaseDurationSeconds", NULL));

    if (seconds <= 0) {
        return ours_ms;
    }
    return seconds > DURATION_MS_MAX / 1000 ? DURATION_MS_MAX : (uint64_t)seconds * 1000;
}

enum mig_kube_lease_step mig_kube_lease_decide(struct mig_kube_lease_state *state,
                                               const json_t *object, const char *identity,
                                               uint64_t now_ms)
{
    const char *holder = mig_kube_json_text(object, "spec", "holderIdentity", NULL);
    char seen[sizeof(state->seen)];

    snprintf(seen, sizeof(seen), "%.255s %.255s", holder,
             mig_kube_json_text(object, "spec", "renewTime", NULL));
    if (!state->ever_seen || strcmp(seen, state->seen) != 0) {
        memcpy(state->seen, seen, sizeof(seen));
        state->changed_ms = now_ms;
        state->ever_seen = true;
    }
    if (!object) {
        return MIG_KUBE_LEASE_CREATE;
    }
    if (strcmp(holder, identity) == 0) {
        return MIG_KUBE_LEASE_RENEW;
    }
    state->held = false;
    if (!*holder || now_ms - state->changed_ms >= duration_of(object, state->duration_ms)) {
        return MIG_KUBE_LEASE_TAKE;
    }
    return MIG_KUBE_LEASE_WAIT;
}

void mig_kube_lease_won(struct mig_kube_lease_state *state, uint64_t sent_ms)
{
    state->held = true;
    state->held_until_ms = sent_ms + state->duration_ms;
}

bool mig_kube_lease_holds(struct mig_kube_lease_state *state, uint64_t now_ms)
{
    if (now_ms >= state->held_until_ms) {
        state->held = false;
    }
    return state->held;
}

json_t *mig_kube_lease_object(const json_t *object, const char *namespace_name, const char *name,
                              const char *identity, uint64_t duration_ms, const char *time)
{
    const char *version = mig_kube_metadata(object, "resourceVersion");
    const char *holder = mig_kube_json_text(object, "spec", "holderIdentity", NULL);
    const char *acquired = mig_kube_json_text(object, "spec", "acquireTime", NULL);
    json_int_t transitions =
        json_integer_value(mig_kube_json_member(object, "spec", "leaseTransitions", NULL));

    if (strcmp(holder, identity) != 0 && *identity) {
        acquired = time;
        transitions += object != NULL;
    }
    return json_pack("{s:s, s:s, s:{s:s, s:s, s:s*}, s:{s:s, s:i, s:s, s:s, s:I}}", "apiVersion",
                     "coordination.k8s.io/v1", "kind", "Lease", "metadata", "name", name,
                     "namespace", namespace_name, "resourceVersion", *version ? version : NULL,
                     "spec", "holderIdentity", identity, "leaseDurationSeconds",
                     (int)(duration_ms / 1000), "acquireTime", *acquired ? acquired : time,
                     "renewTime", time, "leaseTransitions", transitions);
}
