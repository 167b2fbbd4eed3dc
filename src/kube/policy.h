/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When to ask again: backoff with jitter, token bucket, which answers are worth another try. Pure:
 * the time is an argument, randomness a state that starts from a seed.
 */
#ifndef MIG_KUBE_POLICY_H
#define MIG_KUBE_POLICY_H

#include "kube/client.h"

#define MIG_KUBE_RETRY_AFTER_MAX_MS 60000u

/* A small generator (splitmix64), for jitter only. */
struct mig_kube_random {
    uint64_t state;
};

/* Below `limit`; 0 when it is 0. */
uint64_t mig_kube_random_below(struct mig_kube_random *random, uint64_t limit);

/* Doubles from `first_ms` to `max_ms`; each delay is between half of that and all of it, so that
 * many nodes do not come back in step. */
struct mig_kube_backoff {
    unsigned first_ms, max_ms;
    unsigned failures; /* in a row */
};

unsigned mig_kube_backoff_next(struct mig_kube_backoff *backoff, struct mig_kube_random *random);

/* The same where the server has asked for `least_ms` (0 = it has not): that, and up to a quarter
 * more, for it has asked the others the same. */
unsigned mig_kube_backoff_after(struct mig_kube_backoff *backoff, unsigned least_ms,
                                struct mig_kube_random *random);
void mig_kube_backoff_reset(struct mig_kube_backoff *backoff);

/* `rate_per_s` in the long run, `burst` at once. Starts full. */
struct mig_kube_bucket {
    uint64_t rate_per_s, burst;
    uint64_t level; /* thousandths of a token */
    uint64_t filled_ms;
};

void mig_kube_bucket_init(struct mig_kube_bucket *bucket, unsigned rate_per_s, unsigned burst,
                          uint64_t now_ms);

/* Takes a token and returns 0, or takes none and returns the time until there is one. */
unsigned mig_kube_bucket_take(struct mig_kube_bucket *bucket, uint64_t now_ms);

/* How a try ended. */
struct mig_kube_outcome {
    int status;              /* 0 = no answer */
    bool sent;               /* the server may have seen the request */
    bool final;              /* an answer that only looks like "try again" */
    unsigned retry_after_ms; /* what the server asked for; 0 = nothing */
};

/* Whether a request of the class is worth another try after it. */
bool mig_kube_retry_wanted(enum mig_kube_retry retry, const struct mig_kube_outcome *outcome);

/* A Retry-After header: seconds, cut to MIG_KUBE_RETRY_AFTER_MAX_MS. 0 when it is anything else (a
 * date, which API servers do not send). */
unsigned mig_kube_retry_after_ms(const char *header);

#endif
