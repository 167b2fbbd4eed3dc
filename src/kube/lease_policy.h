/* SPDX-License-Identifier: Apache-2.0 */
/* What to do about a Lease: pure, the time is an argument. */
#ifndef MIG_KUBE_LEASE_POLICY_H
#define MIG_KUBE_LEASE_POLICY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MIG_KUBE_LEASE_TEXT_MAX 256u

struct mig_kube_lease_state {
    uint64_t duration_ms; /* of ours */
    /* What was seen last, and when (of our own clock) it was seen to be another. */
    char seen[2 * MIG_KUBE_LEASE_TEXT_MAX]; /* holder and renewTime */
    uint64_t changed_ms;
    bool ever_seen;
    /* We hold it until then, unless it is renewed. */
    bool held;
    uint64_t held_until_ms;
};

enum mig_kube_lease_step {
    MIG_KUBE_LEASE_WAIT = 0, /* somebody else holds it */
    MIG_KUBE_LEASE_CREATE,   /* there is none */
    MIG_KUBE_LEASE_TAKE,     /* nobody holds it, or not any more */
    MIG_KUBE_LEASE_RENEW,    /* it is ours */
};

/* The lease was read: `object`, or NULL when there is none. */
enum mig_kube_lease_step mig_kube_lease_decide(struct mig_kube_lease_state *state,
                                               const json_t *object, const char *identity,
                                               uint64_t now_ms);

/* Our write was taken; it was sent at `sent_ms`. */
void mig_kube_lease_won(struct mig_kube_lease_state *state, uint64_t sent_ms);

/* Whether we hold it. A holder that cannot renew stops before others may begin. */
bool mig_kube_lease_holds(struct mig_kube_lease_state *state, uint64_t now_ms);

/* The Lease to write: our hold on `object` (NULL = a new one), or, with `identity` "", its end.
 * `time` is now as RFC 3339 with microseconds. NULL when there is no memory. */
json_t *mig_kube_lease_object(const json_t *object, const char *namespace_name, const char *name,
                              const char *identity, uint64_t duration_ms, const char *time);

#endif
